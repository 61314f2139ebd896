//! Tests `sockets` with the kernel: half-closed connections of this process and of network namespaces that these tests
//! create.
//!
//! Each namespace belongs to a process and ends with it.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeSet,
    io::Read as _,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use self::support::{NotRun, eventually, within};

const BINARY: &str = env!("CARGO_BIN_EXE_linkerd-linger");

/// Connections whose client has closed its side, and whose server has not.
struct HalfClosed {
    ends: Vec<(TcpStream, TcpStream)>,
}

impl HalfClosed {
    fn at(address: &str, count: usize) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ends = (0..count).map(|_| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            // The end has arrived.
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
            (client, server)
        });
        Self { ends: ends.collect() }
    }

    fn server(&self) -> SocketAddr {
        self.ends[0].1.local_addr().unwrap()
    }

    /// The addresses of the servers' ends and of the clients'.
    fn addresses(&self) -> BTreeSet<(String, String)> {
        let text = |address: SocketAddr| address.to_string();
        let ends = self
            .ends
            .iter()
            .map(|(_, server)| (text(server.local_addr().unwrap()), text(server.peer_addr().unwrap())));
        ends.collect()
    }
}

#[tokio::test]
async fn a_watch_ends_with_its_reader() {
    for format in ["table", "json"] {
        let mut command = Command::new(BINARY);
        command.args(["sockets", "--watch", "100ms", "-o", format]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut watch = command.spawn().unwrap();
        let mut stdout = watch.stdout.take().unwrap();
        within("it printed", stdout.read_u8()).await.unwrap();
        drop(stdout);
        assert_eq!(within("it ended", watch.wait()).await.unwrap().code(), Some(0), "{format}");
    }
}

async fn sockets(args: &[&str]) -> Output {
    let command = Command::new(BINARY).arg("sockets").args(args).output();
    within("it ended", command).await.unwrap()
}

async fn json(args: &[&str]) -> Value {
    let output = sockets(&[args, &["-o", "json"]].concat()).await;
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The two addresses of each socket of this process in a state that has to do with a server. Other tests run beside this one.
fn of_this_process(report: &Value, state: &str, servers: &[SocketAddr]) -> BTreeSet<(String, String)> {
    let servers: BTreeSet<_> = servers.iter().map(SocketAddr::to_string).collect();
    let sockets = report["namespaces"][0]["sockets"].as_array().unwrap().iter();
    let meant = |socket: &&Value| {
        let is_server = |end: &str| servers.contains(socket[end].as_str().unwrap());
        socket["state"] == state
            && socket["pid"] == process::id()
            && (is_server("local") || is_server("remote"))
    };
    let own = sockets.filter(meant);
    let address = |socket: &Value, end: &str| socket[end].as_str().unwrap().to_owned();
    own.map(|socket| (address(socket, "local"), address(socket, "remote"))).collect()
}

#[tokio::test]
async fn each_half_closed_connection_of_both_families_is_found_on_its_side_and_no_other() {
    let four = HalfClosed::at("127.0.0.1:0", 500);
    let six = HalfClosed::at("[::1]:0", 500);
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let _open = TcpStream::connect(open.local_addr().unwrap()).unwrap();
    let at = [four.server(), six.server(), open.local_addr().unwrap()];
    let servers: BTreeSet<_> = four.addresses().into_iter().chain(six.addresses()).collect();
    let clients: BTreeSet<_> = servers.iter().cloned().map(|(local, remote)| (remote, local)).collect();
    assert_eq!(servers.len(), 1000);
    let pid = process::id().to_string();
    let mut report = Value::Null;
    // The kernel may acknowledge an end some 40 ms later, and until then the client is not in FIN_WAIT2.
    eventually("both ends of each are seen, and no other", async || {
        report = json(&["--pid", &pid]).await;
        of_this_process(&report, "CLOSE_WAIT", &at) == servers
            && of_this_process(&report, "FIN_WAIT2", &at) == clients
    })
    .await;
    let verdicts = report["namespaces"][0]["verdicts"].as_array().unwrap();
    let own = format!("(PID {}) has left ", process::id());
    assert!(verdicts.iter().any(|verdict| verdict.as_str().unwrap().contains(&own)), "{verdicts:?}");
}

#[tokio::test]
async fn the_report_agrees_with_ss() {
    let made = HalfClosed::at("127.0.0.1:0", 50);
    let port = made.server().port();
    let filter = format!("sport = :{port}");
    let ss = Command::new("ss").args(["-Htn", "state", "close-wait", &filter]).output().await;
    let Ok(ss) = ss else {
        NotRun("there is no ss".to_owned()).tell();
        return;
    };
    let text = String::from_utf8(ss.stdout).unwrap();
    let theirs: BTreeSet<(String, String)> = text
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace().skip(2);
            (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(theirs.len(), 50);
    let report = json(&["--pid", &process::id().to_string()]).await;
    assert_eq!(of_this_process(&report, "CLOSE_WAIT", &[made.server()]), theirs);
}

#[tokio::test]
async fn so_many_and_more_fail() {
    let _made = HalfClosed::at("127.0.0.1:0", 3);
    let pid = process::id().to_string();
    let of = |most: usize| format!("half-closed={most}");
    assert_eq!(sockets(&["--pid", &pid, "--fail-on", &of(3)]).await.status.code(), Some(1));
    assert_eq!(sockets(&["--pid", &pid, "--fail-on", &of(1_000_000)]).await.status.code(), Some(0));
    assert_eq!(sockets(&["--fail-on", "half-closed=0"]).await.status.code(), Some(2));
    assert_eq!(sockets(&["--fail-on", "3"]).await.status.code(), Some(2));
}

/// A process in a network namespace of its own that sets the close-wait timeout there.
async fn in_a_namespace_with(seconds: u32) -> Option<Child> {
    let script = format!("{BINARY} set-close-wait {seconds} && exec sleep 60");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", &script]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    // It says what it did, or ends.
    let mut line = [0; 1];
    let mut said = child.stdout.take()?;
    let read = within("it said something", tokio::io::AsyncReadExt::read(&mut said, &mut line)).await;
    if read.ok()? == 1 { Some(child) } else { None }
}

#[tokio::test]
async fn the_timeout_of_another_namespace_is_read() {
    let Some(child) = in_a_namespace_with(3600).await else {
        NotRun("no network namespace can be made here".to_owned()).tell();
        return;
    };
    let pid = child.id().unwrap();
    eventually("the timeout is read", async || {
        let of_process = json(&["--pid", &pid.to_string()]).await;
        of_process["namespaces"][0]["closeWaitTimeoutSeconds"] == 3600
    })
    .await;
    let of_file = json(&["--netns", &format!("/proc/{pid}/ns/net")]).await;
    assert_eq!(of_file["namespaces"][0]["closeWaitTimeoutSeconds"], 3600);
    assert_eq!(of_file["namespaces"][0]["sockets"].as_array().unwrap().len(), 0);
    assert_eq!(of_file["namespaces"][0]["conntrackEntries"], 0);
    let max = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap();
    assert_eq!(of_file["namespaces"][0]["conntrackMax"].to_string(), max.trim(), "one limit for all");
    let of_node = json(&["--node"]).await;
    let inode = &of_file["namespaces"][0]["inode"];
    let namespaces = of_node["namespaces"].as_array().unwrap();
    let found = namespaces.iter().find(|namespace| namespace["inode"] == *inode).unwrap();
    assert_eq!(found["closeWaitTimeoutSeconds"], 3600);
    let metrics = sockets(&["--node", "-o", "prometheus"]).await;
    let metrics = String::from_utf8(metrics.stdout).unwrap();
    for (name, value) in [
        ("linger_close_wait_timeout_seconds", "3600"),
        ("linger_conntrack_entries", "0"),
        ("linger_conntrack_entries_limit", max.trim()),
    ] {
        let line = format!("{name}{{pod=\"\",uid=\"{inode}\"}} {value}");
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

/// Makes half-closed connections in the network namespace of a process, in a thread that has moved there.
fn half_closed_in(pid: u32, count: usize) -> (HalfClosed, HalfClosed) {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let made = std::thread::spawn(move || {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;

        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        (HalfClosed::at("127.0.0.1:0", count), HalfClosed::at("[::1]:0", count))
    });
    made.join().unwrap()
}

/// Needs iptables, whose rule makes the kernel track connections in the namespace.
#[tokio::test]
async fn entries_of_conntrack_are_read_with_their_remaining_time() {
    let rule = "-A INPUT -m conntrack --ctstate INVALID -j DROP";
    let script = format!("ip link set lo up; iptables {rule}; ip6tables {rule}; echo ready; exec sleep 60");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-ec", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        support::say("not run: there is no unshare");
        return;
    };
    let mut said = String::new();
    let mut output = child.stdout.take().unwrap();
    within("it is ready", async {
        let mut part = [0; 6];
        let read = tokio::io::AsyncReadExt::read(&mut output, &mut part).await.unwrap();
        said.push_str(std::str::from_utf8(&part[..read]).unwrap());
    })
    .await;
    if said != "ready\n" {
        support::say("not run: there is no iptables, or it may not be used");
        return;
    }
    let pid = child.id().unwrap();
    let (four, six) = half_closed_in(pid, 5);
    let mut report = Value::Null;
    eventually("both ends of each are seen", async || {
        report = json(&["--pid", &pid.to_string()]).await;
        report["namespaces"][0]["sockets"].as_array().unwrap().len() == 20
    })
    .await;
    let namespace = &report["namespaces"][0];
    assert_eq!(namespace["conntrackCloseWait"], 10);
    let sockets = namespace["sockets"].as_array().unwrap();
    let expected: BTreeSet<_> = four.addresses().into_iter().chain(six.addresses()).collect();
    let found: BTreeSet<_> = sockets
        .iter()
        .filter(|socket| socket["state"] == "CLOSE_WAIT")
        .map(|socket| {
            let remaining = socket["forgottenInSeconds"].as_u64().unwrap();
            assert!((30..=60).contains(&remaining), "{socket}");
            let address = |end: &str| socket[end].as_str().unwrap().to_owned();
            (address("local"), address("remote"))
        })
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn unreadable_namespaces_are_reported() {
    for (args, told) in [
        (
            ["--pid", "2147483646"],
            "error: cannot read the network namespace of the process 2147483646: No such file or directory",
        ),
        (
            ["--netns", "/nowhere"],
            "error: cannot read the network namespace /nowhere: No such file or directory",
        ),
    ] {
        let output = sockets(&args).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with(told), "{error}");
        assert_eq!(output.status.code(), Some(2));
    }
}
