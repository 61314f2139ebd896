//! Finds existing binaries of a control plane, in the layout of controller-runtime's `setup-envtest`.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::KeyPair;
use tempfile::TempDir;

use super::{Cluster, Process, START, last_lines};
use crate::support::{Authority, NotRun};

/// Starts the programs, and ends them with its standard input.
const SUPERVISOR: &str = r#"
"$ASSETS/etcd" --data-dir="$DIR/etcd" --unsafe-no-fsync --log-level=error \
  --listen-client-urls="http://127.0.0.1:$ETCD" --advertise-client-urls="http://127.0.0.1:$ETCD" \
  --listen-peer-urls=http://127.0.0.1:0 --initial-advertise-peer-urls=http://127.0.0.1:0 \
  --initial-cluster=default=http://127.0.0.1:0 >&2 &
etcd=$!
without=
[ -x "$ASSETS/kube-controller-manager" ] || without=--disable-admission-plugins=ServiceAccount
"$ASSETS/kube-apiserver" --advertise-address=127.0.0.1 --endpoint-reconciler-type=none --allow-privileged=true \
  --authorization-mode=RBAC --bind-address=127.0.0.1 --secure-port="$PORT" --etcd-servers="http://127.0.0.1:$ETCD" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$DIR/service-account.pub" \
  --service-account-signing-key-file="$DIR/service-account.key" --service-cluster-ip-range="$SERVICES" \
  --tls-cert-file="$DIR/apiserver.crt" --tls-private-key-file="$DIR/apiserver.key" \
  --token-auth-file="$DIR/tokens.csv" $without >&2 &
apiserver=$!
controllers=
if [ -z "$without" ]; then
  # It ends when there is no API server yet.
  (
    trap 'kill -KILL $!; exit' TERM
    while :; do
      "$ASSETS/kube-controller-manager" --kubeconfig="$DIR/kubeconfig" --leader-elect=false --secure-port=0 \
        --root-ca-file="$DIR/ca.crt" --service-account-private-key-file="$DIR/service-account.key" \
        --use-service-account-credentials=true >&2 &
      wait $!
    done
  ) &
  controllers=$!
fi
read -r _
# There is nothing to be saved, and the API server would look for etcd for a minute.
[ -z "$controllers" ] || kill "$controllers"
kill -KILL "$apiserver" "$etcd"
wait
rm -rf "$DIR"
"#;

pub(super) fn start(assets: &Path, dir: TempDir, services: &str) -> Result<Cluster, NotRun> {
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        if !assets.join(program).exists() {
            return Err(NotRun(format!("KUBEBUILDER_ASSETS has no {program}")));
        }
    }
    // Ports that are only looked up can be taken before they are used; nothing else can be told to these programs.
    let [etcd, port] = free_ports();
    write_files(dir.path(), port);
    let mut command = Command::new("sh");
    command.args(["-c", SUPERVISOR]).env("ASSETS", assets).env("DIR", dir.path()).env("SERVICES", services);
    command.env("ETCD", etcd.to_string()).env("PORT", port.to_string());
    let process = Process::spawn(command, dir.path());
    let controllers = assets.join("kube-controller-manager").exists();
    let path = dir.keep();
    let cluster = Cluster { process, dir: path, kubectl: vec![assets.join("kubectl")], controllers };
    let needed: &[&str] = if controllers {
        &["get", "serviceaccount/default", "configmap/kube-root-ca.crt"]
    } else {
        &["get", "--raw=/readyz"]
    };
    let deadline = Instant::now() + START;
    while !cluster
        .command()
        .args(needed)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
    {
        let ended = cluster.process.has_ended_within(Duration::from_millis(100));
        assert!(!ended && Instant::now() < deadline, "no cluster: {}", last_lines(&cluster.dir));
    }
    Ok(cluster)
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_files(dir: &Path, port: u16) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    let authority = Authority::new();
    let pair = authority.issue();
    write("ca.crt", &authority.pem());
    write("apiserver.crt", &pair.chain);
    write("apiserver.key", &pair.key);
    let key = KeyPair::generate().unwrap();
    write("service-account.key", &key.serialize_pem());
    write("service-account.pub", &key.public_key_pem());
    let random = || RandomState::new().build_hasher().finish();
    let token = format!("{:016x}{:016x}", random(), random());
    write("tokens.csv", &format!("{token},admin,admin,system:masters\n"));
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": dir.join("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        "current-context": "test",
    });
    write("kubeconfig", &kubeconfig.to_string());
}
