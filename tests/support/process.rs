//! The binary as a process, as kubelet runs it.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::{Mount, within};

/// A running server, which ends with this.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) admin_addr: SocketAddr,
    pub(crate) log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    /// Starts it on free ports.
    pub(crate) async fn start(mount: &Mount, flags: &[&str]) -> Self {
        Self::start_as(command(), mount, flags).await
    }

    /// Starts it with this program, `serve` in front of its flags.
    pub(crate) async fn start_as(command: Command, mount: &Mount, flags: &[&str]) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(command, mount, [any_port; 2], flags).await
    }

    /// Starts it on these addresses, of the webhook port and the plain port.
    pub(crate) async fn start_at(
        mut command: Command,
        mount: &Mount,
        addresses: [SocketAddr; 2],
        flags: &[&str],
    ) -> Self {
        let mut child = arguments(&mut command, mount, addresses).args(flags).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = loop {
            let line = within("the server started", log.next_line()).await.unwrap().expect("it ended");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["fields"]["message"] == "serving" {
                break event;
            }
        };
        let addr = |name: &str| serving["fields"][name].as_str().unwrap().parse().unwrap();
        Self { addr: addr("listen"), admin_addr: addr("admin_listen"), child, log }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
    }

    /// The resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:").trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:").parse().unwrap()
    }

    /// The value of a field of proc_pid_status(5).
    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim().to_owned()
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap())).unwrap().count()
    }

    pub(crate) async fn end(mut self) -> ExitStatus {
        let status = within("the process ended", self.child.wait()).await.unwrap();
        while let Some(line) = self.log.next_line().await.unwrap() {
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
        }
        status
    }
}

/// The flags that every server gets.
pub(crate) fn arguments<'c>(
    command: &'c mut Command,
    mount: &Mount,
    addresses: [SocketAddr; 2],
) -> &'c mut Command {
    let (files, [listen, admin_listen]) = (mount.files(), addresses.map(|address| address.to_string()));
    command
        .args(["--listen", &listen, "--admin-listen", &admin_listen, "--log-format", "json", "--tls-cert"])
        .arg(&files.chain)
        .arg("--tls-key")
        .arg(&files.key)
}

/// The binary with `serve`.
pub(crate) fn command() -> Command {
    serve(Command::new(env!("CARGO_BIN_EXE_linkerd-linger")))
}

/// A program that runs the binary, with `serve`.
pub(crate) fn serve(mut command: Command) -> Command {
    command.arg("serve").stderr(Stdio::piped()).kill_on_drop(true);
    command
}
