//! Tests an installation: applies the output of `install` to a real API server, and runs the real binary in place of
//! the Deployment.
//!
//! There is no node, so the test simulates kubelet, which mounts the Secret and the policy; kube-proxy, which forwards
//! new connections to ready pods; and the Job of the certificates, which runs with its ServiceAccount.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod install {
    pub(crate) mod replica;
    mod upgrade;
}
mod support;

use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, LazyLock, Mutex as StdMutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, api::PostParams, config::Kubeconfig};
use linkerd_linger::{
    admission::certs::rotate::{self, Timeouts},
    base::names,
};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
    runtime::Runtime,
    sync::{Mutex, MutexGuard, OnceCell},
    task::JoinSet,
    time::interval,
};

use self::{
    cluster::{
        Cluster, Told,
        pods::{GUNICORN, assert_patched, containers, injected, pod_of, template},
    },
    install::replica::{Replica, text},
    support::{NotRun, eventually, get, metric, say, within},
};

/// The number of reloaded certificates of a pod.
const RELOADED: &str = "linger_certificate_reloads_total{result=\"ok\"}";
/// The ServiceAccount of the certificate Job.
const JOB_ACCOUNT: &str = "system:serviceaccount:linkerd-linger:linkerd-linger-certs";

/// The shared cluster, used by one test at a time.
struct Bed {
    cluster: Cluster,
    pods: Mutex<Vec<Replica>>,
    ready: StdMutex<Vec<SocketAddr>>,
    /// The simulated kubelet and kube-proxy, while there is an installation.
    node: Mutex<JoinSet<()>>,
}

/// Outlives the runtime of each test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static BED: OnceCell<Result<Arc<Bed>, NotRun>> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// The cluster, for one test at a time; `None` on a machine that cannot run it, which is a failure only in CI.
async fn bed() -> Option<(Arc<Bed>, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().await;
    let started = BED
        .get_or_init(|| async {
            let port = std::net::TcpListener::bind("127.0.0.1:443").map(drop);
            if port.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
                return Err(NotRun("only root may listen at port 443, which the Service has".to_owned()));
            }
            let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap()?;
            if !cluster.has_controllers() {
                return Err(NotRun("there is no kube-controller-manager".to_owned()));
            }
            Ok(Arc::new(Bed {
                cluster,
                pods: Mutex::default(),
                ready: StdMutex::default(),
                node: Mutex::default(),
            }))
        })
        .await;
    match started {
        Ok(bed) => Some((Arc::clone(bed), turn)),
        Err(why) => {
            why.tell();
            None
        }
    }
}

/// Runs the program with these arguments.
async fn linger(args: &[&str]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger")).args(args).output().await.unwrap();
    Told::from(output)
}

impl Bed {
    /// Applies the output of `install`, creates the certificates, and runs all replicas of the Deployment.
    async fn install(self: &Arc<Self>, args: &[&str]) {
        let printed = linger(&[&["install"], args].concat()).await.ok().stdout;
        self.cluster.kubectl_with(&["apply", "-f", "-"], &printed).await.ok();
        self.start_pods().await;
    }

    /// Simulates the nodes of the installation, if that has not been started.
    async fn start_pods(self: &Arc<Self>) {
        if self.pods.lock().await.is_empty() {
            self.run_the_job().await;
            self.serve_the_service().await;
            let replicas = self.deployment().await["spec"]["replicas"].as_u64().unwrap();
            for _ in 0..replicas {
                self.add_replica().await;
            }
            self.node.lock().await.spawn_on(Arc::clone(self).play_kubelet(), RUNTIME.handle());
        }
    }

    /// Replaces every pod, as the Deployment does with maxUnavailable 0: a new one is ready before an old one ends.
    async fn roll_out(&self) {
        let replicas = self.pods.lock().await.len();
        for _ in 0..replicas {
            self.add_replica().await;
            let old = self.pods.lock().await.remove(0);
            old.terminate().await;
        }
    }

    /// Removes the installation, and waits until its namespace is gone.
    async fn uninstall(&self) -> Told {
        let printed = linger(&["uninstall"]).await.ok().stdout;
        let told =
            self.cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &printed).await.ok();
        // The next test installs again, with another address of the Service.
        self.node.lock().await.shutdown().await;
        self.pods.lock().await.clear();
        eventually("the namespace is gone", async || {
            !self.cluster.kubectl(&["get", "namespace", names::NAMESPACE]).await.success
        })
        .await;
        told
    }

    async fn json(&self, args: &[&str]) -> Value {
        self.cluster.kubectl(&[&["get", "-o", "json"], args].concat()).await.ok().json()
    }

    async fn deployment(&self) -> Value {
        self.json(&["deployment", names::SERVER, "-n", names::NAMESPACE]).await
    }

    /// Runs the container of the Job with the Job's ServiceAccount.
    async fn run_the_job(&self) {
        let config = self.kubeconfig_of_the_job();
        let path = self.cluster.kubeconfig().with_file_name("job");
        fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
            .args(["certs", "rotate", "--timeout", "60s"])
            .env("KUBECONFIG", &path)
            .output();
        Told::from(within("the Job ended", output).await.unwrap()).ok();
    }

    fn kubeconfig_of_the_job(&self) -> Kubeconfig {
        let mut config = Kubeconfig::read_from(self.cluster.kubeconfig()).unwrap();
        for user in &mut config.auth_infos {
            user.auth_info.as_mut().unwrap().impersonate = Some(JOB_ACCOUNT.to_owned());
        }
        config
    }

    async fn secret(&self) -> Secret {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client().await, names::NAMESPACE);
        secrets.get(names::CERTIFICATE_SECRET).await.unwrap()
    }

    /// Listens on the address of the Service, and forwards each new connection to the next ready pod.
    async fn serve_the_service(self: &Arc<Self>) {
        let service = self.json(&["service", names::SERVER, "-n", names::NAMESPACE]).await;
        let address = format!("{}:443", service["spec"]["clusterIP"].as_str().unwrap());
        let bed = Arc::clone(self);
        let listener = RUNTIME.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let proxy = async move {
            for turn in 0.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let ready = bed.ready.lock().unwrap().clone();
                if ready.is_empty() {
                    continue;
                }
                let pod = ready[turn % ready.len()];
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(pod).await else { return };
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        };
        self.node.lock().await.spawn_on(proxy, RUNTIME.handle());
    }

    async fn add_replica(&self) {
        let deployment = self.deployment().await;
        let policy = self.json(&["configmap", names::POLICY_CONFIG_MAP, "-n", names::NAMESPACE]).await;
        let replica = Replica::start(&deployment, &policy, &self.secret().await).await;
        let admin = replica.admin;
        self.pods.lock().await.push(replica);
        eventually("the new pod is ready", async || self.ready_now(admin).await).await;
        let address = self.pods.lock().await.last().unwrap().address;
        self.ready.lock().unwrap().push(address);
    }

    async fn ready_now(&self, admin: SocketAddr) -> bool {
        // The pod may end during the request.
        let answer = tokio::spawn(async move { get(admin, "/readyz").await.status });
        matches!(answer.await, Ok(200))
    }

    /// Syncs Secrets to the pods, and readiness to the Service, until the runtime ends.
    async fn play_kubelet(self: Arc<Self>) {
        let mut tick = interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let mut pods = self.pods.lock().await;
            let mut ready = Vec::new();
            for pod in pods.iter() {
                if self.ready_now(pod.admin).await {
                    ready.push(pod.address);
                }
            }
            *self.ready.lock().unwrap() = ready;
            let secrets: Api<Secret> = Api::namespaced(self.cluster.client().await, names::NAMESPACE);
            let Ok(Some(secret)) = secrets.get_opt(names::CERTIFICATE_SECRET).await else { continue };
            for pod in pods.iter_mut() {
                pod.mount_secret(&secret);
            }
        }
    }

    /// Creates a namespace with these labels, and waits until it is ready for pods.
    async fn namespace(&self, labels: &Value) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("shop-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let manifest =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.cluster.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).await.ok();
        let account = ["get", "serviceaccount/default", "-n", &name];
        eventually("it has a ServiceAccount", async || self.cluster.kubectl(&account).await.success).await;
        name
    }

    async fn create(&self, namespace: &str, object: &Value, args: &[&str]) -> Told {
        let args = [&["create", "-n", namespace, "-f", "-"], args].concat();
        self.cluster.kubectl_with(&args, &object.to_string()).await
    }

    /// Waits until the last change is effective: pods like this one are rejected in the namespace, or admitted.
    async fn is_in_force(&self, namespace: &str, refused: bool) {
        let pod = injected("cart-gunicorn");
        eventually("the configurations are in force", async || {
            self.create(namespace, &pod, &["--dry-run=server"]).await.success != refused
        })
        .await;
    }
}

/// Creates pods continuously; returns their number after checking that each was admitted and patched.
struct Stream {
    stop: Arc<AtomicBool>,
    workers: JoinSet<usize>,
}

impl Stream {
    async fn start(bed: &Arc<Bed>, namespace: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for _ in 0..4 {
            let (bed, stop, namespace) = (Arc::clone(bed), Arc::clone(&stop), namespace.to_owned());
            workers.spawn_on(
                async move {
                    let pods: Api<Pod> = Api::namespaced(bed.cluster.client().await, &namespace);
                    let pod: Pod = serde_json::from_value(injected("front-nginx")).unwrap();
                    let mut created = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let stored = pods.create(&PostParams::default(), &pod).await;
                        assert_patched(&serde_json::to_value(stored.unwrap()).unwrap());
                        created += 1;
                    }
                    created
                },
                RUNTIME.handle(),
            );
        }
        Self { stop, workers }
    }

    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut created = 0;
        while let Some(worker) = self.workers.join_next().await {
            created += worker.expect("each pod is admitted and patched");
        }
        created
    }
}

#[tokio::test]
async fn opt_in_only_labelled_namespaces_are_looked_at() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&[]).await;
    let enforced = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&enforced, true).await;
    let stored = bed.create(&enforced, &injected("front-nginx"), &["-o", "json"]).await.ok().json();
    assert_patched(&stored);
    let unlabelled = bed.namespace(&json!({})).await;
    let pod = injected("cart-gunicorn");
    let stored = bed.create(&unlabelled, &pod, &["-o", "json"]).await.ok().json();
    let args = |pod: &Value| containers(pod, "initContainers")["linkerd-init"]["args"].clone();
    assert_eq!(args(&stored), args(&pod), "nothing is patched");
}

#[tokio::test]
async fn cluster_wide_every_namespace_but_the_ones_that_must_start() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&["--default-mode", "enforce"]).await;
    let unlabelled = bed.namespace(&json!({})).await;
    bed.is_in_force(&unlabelled, true).await;
    let opted_out = bed.namespace(&json!({names::MODE_LABEL: "off"})).await;
    for namespace in [&opted_out, "kube-system"] {
        bed.create(namespace, &injected("cart-gunicorn"), &["--dry-run=server"]).await.ok();
    }
}

#[tokio::test]
async fn audit_first_changes_nothing_where_nobody_asked() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&["--default-mode", "audit"]).await;
    let unlabelled = bed.namespace(&json!({})).await;
    bed.is_in_force(&unlabelled, false).await;
    let pod = injected("cart-gunicorn");
    let told = bed.create(&unlabelled, &pod, &["-o", "json"]).await.ok();
    assert_eq!(told.stderr, "", "no warning");
    let args = |pod: &Value| containers(pod, "initContainers")["linkerd-init"]["args"].clone();
    assert_eq!(args(&told.json()), args(&pod), "nothing is patched");
    let enforced = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&enforced, true).await;
}

#[tokio::test]
async fn a_combined_image_gets_an_init_container_of_ours() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&[]).await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    let pod = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pods/6-combined.yaml"))
        .unwrap();
    let pod = pod.replace("namespace: shop", &format!("namespace: {namespace}"));
    let told = bed.cluster.kubectl_with(&["create", "-o", "json", "-f", "-"], &pod).await.ok().json();
    let first = &told["spec"]["initContainers"][0];
    assert_eq!(first["name"], names::INIT_CONTAINER);
    assert_eq!(first["args"], json!(["set-close-wait", "3600"]));
    assert_eq!(first["image"], bed.deployment().await["spec"]["template"]["spec"]["containers"][0]["image"]);
}

#[tokio::test]
async fn two_rotations_under_a_stream_of_pods_and_none_fails() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&["--failure-policy", "Fail"]).await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    let stream = Stream::start(&bed, &namespace).await;
    let config =
        kube::Config::from_custom_kubeconfig(bed.kubeconfig_of_the_job(), &Default::default()).await.unwrap();
    for _ in 0..2 {
        let before = text(&bed.secret().await, "tls.crt");
        let mut reloaded = Vec::new();
        for pod in bed.pods.lock().await.iter() {
            reloaded.push((pod.admin, metric(pod.admin, RELOADED).await));
        }
        // Without the key of the CA no certificate can be issued, so this triggers a rotation.
        let lost = json!([{"op": "remove", "path": "/data/ca.key"}, {"op": "remove", "path": "/data/tls.crt"},
                          {"op": "remove", "path": "/data/tls.key"}]);
        let patch =
            ["patch", "secret", names::CERTIFICATE_SECRET, "-n", names::NAMESPACE, "--type=json", "-p"];
        bed.cluster.kubectl(&[&patch[..], &[&lost.to_string()]].concat()).await.ok();
        let timeouts = Timeouts { propagation: Duration::from_secs(3), ..Timeouts::default() };
        let client = Client::try_from(config.clone()).unwrap();
        rotate::rotate(client, Timestamp::now, timeouts).await.unwrap();
        let after = text(&bed.secret().await, "tls.crt");
        assert_ne!(before, after);
        for (admin, times) in reloaded {
            eventually("each pod serves the new certificate", async || metric(admin, RELOADED).await > times)
                .await;
        }
    }
    let created = stream.end().await;
    say(&format!("{created} pods were created while two rotations went on, and none failed"));
    assert!(created > 50, "the stream was steady: {created}");
}

#[tokio::test]
async fn a_rolling_restart_under_a_stream_of_pods_and_none_fails() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&["--failure-policy", "Fail"]).await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    let replicas = bed.pods.lock().await.len();
    assert_eq!(replicas, 2);
    let stream = Stream::start(&bed, &namespace).await;
    bed.roll_out().await;
    let created = stream.end().await;
    say(&format!("{created} pods were created while both replicas were replaced, and none failed"));
    assert!(created > 50, "the stream was steady: {created}");
}

#[tokio::test]
async fn check_sees_an_installation_that_works() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&[]).await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    let kubeconfig = bed.cluster.kubeconfig();
    let told =
        linger(&["check", "-o", "json", "--wait", "1s", "--kubeconfig", kubeconfig.to_str().unwrap()]).await;
    let report: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    let checks: Vec<&Value> = report["categories"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|c| c["checks"].as_array().unwrap())
        .collect();
    let result = |words: &str| {
        let found = checks.iter().find(|check| check["description"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("no check {words:?} in {report:#}"))["result"].clone()
    };
    for words in ["patched", "rejected"] {
        assert_eq!(result(words), "success", "{report:#}");
    }
}

#[tokio::test]
async fn custom_resources_that_install_names_are_reviewed() {
    let Some((bed, _turn)) = bed().await else { return };
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "names": {"kind": "Rollout", "listKind": "RolloutList", "plural": "rollouts", "singular": "rollout"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    bed.cluster.kubectl_with(&["apply", "-f", "-"], &crd.to_string()).await.ok();
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "crd/rollouts.argoproj.io"];
    bed.cluster.kubectl(&established).await.ok();
    bed.install(&["--workloads", "rollouts.argoproj.io,clonesets.apps.kruise.io"]).await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    let rollout = |period: u32| {
        let mut template = template(GUNICORN, period);
        template["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
        json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": format!("cart-{period}")},
            "spec": {"replicas": 2, "template": template},
        })
    };
    let refused = bed.create(&namespace, &rollout(10), &[]).await;
    assert!(!refused.success && refused.stderr.contains("the liveness probe on port"), "{refused:?}");
    bed.create(&namespace, &rollout(7), &[]).await.ok();

    let kubeconfig = bed.cluster.kubeconfig();
    let args = ["check", "-o", "short", "--wait", "1s", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let told = linger(&args).await.stdout;
    assert!(told.contains("clonesets.apps.kruise.io: the cluster has no such CRD"), "{told}");
    assert!(!told.contains("rollouts.argoproj.io"), "{told}");
    bed.cluster.kubectl(&["delete", "crd", "rollouts.argoproj.io"]).await.ok();
}

#[tokio::test]
async fn uninstall_leaves_nothing() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.install(&["--network-policy"]).await;
    let told = bed.uninstall().await;
    assert!(told.stdout.contains("zz-linkerd-linger-webhook-config"), "{told:?}");
    let kinds =
        "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,clusterrolebindings";
    let left = bed.cluster.kubectl(&["get", kinds, "-o", "name"]).await.ok().stdout;
    assert!(!left.contains("linger"), "{left}");
    let anywhere = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.create(&anywhere, &pod_of(&template(GUNICORN, 10)), &[]).await.ok();
}
