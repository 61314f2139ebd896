//! Simulates kubelet for one pod of the webhook's Deployment.

use std::{fs, net::SocketAddr, process::Stdio};

use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    RUNTIME,
    support::{Mount, PATIENCE, Pair, within},
};

/// A pod of the Deployment: the real binary with the arguments of the container.
pub(crate) struct Replica {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    mount: Mount,
    mounted: String,
    _policy: TempDir,
}

pub(crate) fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

impl Replica {
    pub(crate) async fn start(deployment: &Value, policy: &Value, secret: &Secret) -> Self {
        let (chain, key) = (text(secret, "tls.crt"), text(secret, "tls.key"));
        let mount = Mount::new(&Pair { chain: chain.clone(), key, leaf: Vec::new().into() });
        let directory = tempfile::tempdir().unwrap();
        let policy_file = directory.path().join("policy.yaml");
        fs::write(&policy_file, policy["data"]["policy.yaml"].as_str().unwrap()).unwrap();
        let files = mount.files();
        let path = |word: &str| match word {
            "/tls/tls.crt" => files.chain.display().to_string(),
            "/tls/tls.key" => files.key.display().to_string(),
            "/policy/policy.yaml" => policy_file.display().to_string(),
            word => word.to_owned(),
        };
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
            .args(container["args"].as_array().unwrap().iter().map(|word| path(word.as_str().unwrap())))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = loop {
            let line = within("the server started", log.next_line()).await.unwrap().expect("it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["fields"]["message"] == "serving" {
                break event;
            }
        };
        // Reads the log, because the server blocks when the pipe is full.
        RUNTIME.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let addr = |name: &str| serving["fields"][name].as_str().unwrap().parse().unwrap();
        let (address, admin) = (addr("listen"), addr("admin_listen"));
        Self { child, address, admin, mount, mounted: chain, _policy: directory }
    }

    pub(crate) fn mount_secret(&mut self, secret: &Secret) {
        let keys = secret
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key("tls.crt") && data.contains_key("tls.key"));
        if keys && text(secret, "tls.crt") != self.mounted {
            self.mounted = text(secret, "tls.crt");
            self.mount.swap(&self.mounted, &text(secret, "tls.key"));
        }
    }

    /// Terminates it as kubelet does, and waits for it.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().await.unwrap().success());
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ended").unwrap();
        assert_eq!(status.code(), Some(0));
    }
}
