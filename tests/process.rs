//! Tests the binary as kubelet runs it: signals and exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};

use self::support::{Authority, Connection, Mount, eventually, get, head, review_of_a_pod, within};

const PATH: &str = "/mutate/enforce?timeout=10s";

struct Process {
    child: Child,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    async fn start(mount: &Mount, flags: &[&str]) -> Self {
        let files = mount.files();
        let mut child = command()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--tls-cert",
            ])
            .arg(&files.chain)
            .arg("--tls-key")
            .arg(&files.key)
            .args(flags)
            .spawn()
            .unwrap();
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

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
    }

    async fn end(mut self) -> ExitStatus {
        let status = within("the process ended", self.child.wait()).await.unwrap();
        while let Some(line) = self.log.next_line().await.unwrap() {
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
        }
        status
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
    command.arg("serve").stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn sigterm_unready_then_serving_on_then_draining_then_exit_code_0() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let process = Process::start(&mount, &["--shutdown-delay", "3s", "--drain", "30s"]).await;
    let (addr, admin_addr) = (process.addr, process.admin_addr);
    assert_eq!(get(admin_addr, "/readyz").await.status, 200);
    process.signal("TERM").await;
    eventually("it is unready", async || get(admin_addr, "/readyz").await.status == 503).await;
    let mut late = Connection::open(addr, &authority.pem()).await;
    assert_eq!(late.post(PATH, &review_of_a_pod("late")).await.status, 200);
    let review = review_of_a_pod("open");
    let (first, rest) = review.split_at(100);
    let mut open = Connection::open(addr, &authority.pem()).await;
    open.send(&head(PATH, review.len())).await;
    open.send(first.as_bytes()).await;
    eventually("it accepts no more", async || TcpStream::connect(addr).await.is_err()).await;
    open.send(rest.as_bytes()).await;
    let answer = open.answer().await;
    assert_eq!((answer.status, &answer.json()["response"]["uid"]), (200, &"open".into()));
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mount = Mount::new(&Authority::new().issue());
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let process = Process::start(&mount, &["--shutdown-delay", "1h"]).await;
        process.signal("TERM").await;
        eventually("it is unready", async || get(process.admin_addr, "/readyz").await.status == 503).await;
        process.signal(signal).await;
        assert_eq!(process.end().await.code(), Some(code));
    }
}

#[tokio::test]
async fn a_bad_policy_at_the_start_is_reported_with_its_lines() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "[bad]\n").unwrap();
    let command = command().args(["--self-signed", "--policy"]).arg(policy.path()).output();
    let output = within("the process ended", command).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let (_, place) = stderr.split_once(&format!("  {}:", policy.path().display())).unwrap();
    assert!(place.starts_with(|digit: char| digit.is_ascii_digit()), "{stderr}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        within("the process ended", command().args(["--self-signed", "--listen", &address]).output()).await;
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("error: cannot listen on {address}: ")), "{stderr}");
}
