//! That the close-wait timeout decides whether a half-closed connection gets its answer, in the kernel's own conntrack.
//!
//! Two network namespaces that the test makes stand for a client and a pod. In the pod a rule redirects the app's port to a
//! relay, as linkerd-init does, and the relay passes half-closes on, as Linkerd's proxy does on an opaque port. The app
//! answers after some seconds of silence, when the client has closed its side.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Stdio,
    thread::{self, JoinHandle},
    time::Duration,
};

use rstest::rstest;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tokio::process::{Child, Command};

use self::support::within;

const BINARY: &str = env!("CARGO_BIN_EXE_linkerd-linger");
/// How long the app is silent before it answers.
const SILENCE: Duration = Duration::from_secs(4);
/// When the client gives up.
const PATIENCE: Duration = Duration::from_secs(9);

/// A network namespace of a process that does nothing.
struct Namespace {
    process: Child,
}

impl Namespace {
    fn new() -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "60"]).kill_on_drop(true);
        Some(Self { process: command.spawn().ok()? })
    }

    fn pid(&self) -> String {
        self.process.id().unwrap().to_string()
    }

    /// Runs a script in it; what it says where it fails is returned.
    async fn run(&self, script: &str) -> Result<String, String> {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.pid(), "-n", "sh", "-ec", script])
            .env("BINARY", BINARY)
            .stdin(Stdio::null());
        let output = within("the script ended", command.output()).await.map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Does something in a thread that has moved there.
    fn spawn<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        })
    }
}

/// Passes bytes and the end of them on.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// The relay, as Linkerd's proxy is on an opaque port; it ends with its first connection.
fn relay(listener: &TcpListener) {
    let (client, _) = listener.accept().unwrap();
    let app = TcpStream::connect("127.0.0.1:9000").unwrap();
    let (to_app, from_client) = (app.try_clone().unwrap(), client.try_clone().unwrap());
    let there = thread::spawn(move || pass(from_client, to_app));
    pass(app, client);
    there.join().unwrap();
}

/// The app: it reads all, is silent, and answers.
#[expect(clippy::disallowed_methods, reason = "the silence is what is tested")]
fn app(listener: &TcpListener) {
    let (mut relay, _) = listener.accept().unwrap();
    relay.read_to_end(&mut Vec::new()).unwrap();
    thread::sleep(SILENCE);
    // Where the connection is forgotten this may fail.
    let _ = relay.write_all(b"answer");
}

/// What the client gets that half-closes after its request.
fn client() -> io::Result<String> {
    let mut pod = TcpStream::connect("10.99.0.2:9000")?;
    pod.set_read_timeout(Some(PATIENCE))?;
    pod.write_all(b"question")?;
    pod.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    pod.read_to_string(&mut answer)?;
    Ok(answer)
}

const REDIRECT: &str = "iptables -t nat -A PREROUTING -p tcp --dport 9000 -j REDIRECT --to-port 4143";

/// The two namespaces, connected, with the redirect; or why there are none.
async fn connected(seconds: u32) -> Result<(Namespace, Namespace), String> {
    let (Some(pod), Some(client)) = (Namespace::new(), Namespace::new()) else {
        return Err("there is no unshare".to_owned());
    };
    // Until both processes are in their own.
    support::eventually("the namespaces are there", async || {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let (own, pod, client) = (of("self"), of(&pod.pid()), of(&client.pid()));
        pod.is_some() && pod != own && client != own && pod != client
    })
    .await;
    let link = format!("ip link set lo up; ip link add eth0 type veth peer name eth0 netns {}", client.pid());
    pod.run(&link).await?;
    pod.run("ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up").await?;
    client.run("ip link set lo up; ip addr add 10.99.0.1/24 dev eth0; ip link set eth0 up").await?;
    pod.run(REDIRECT).await?;
    pod.run(&format!("$BINARY set-close-wait {seconds}")).await?;
    Ok((pod, client))
}

async fn sockets(pod: &Namespace) -> Value {
    let path = format!("/proc/{}/ns/net", pod.pid());
    let output =
        Command::new(BINARY).args(["sockets", "--netns", &path, "-o", "json"]).output().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[rstest]
#[case::is_lost_where_conntrack_forgets_it(2, false)]
#[case::arrives_with_our_timeout(3600, true)]
#[tokio::test]
async fn an_answer_after_silence_to_a_half_closed_client(#[case] seconds: u32, #[case] arrives: bool) {
    let (pod, client_side) = match connected(seconds).await {
        Ok(namespaces) => namespaces,
        Err(why) => {
            support::say(&format!("not run: {}", why.lines().next().unwrap_or_default()));
            return;
        }
    };
    let listening = pod
        .spawn(|| (TcpListener::bind("0.0.0.0:4143").unwrap(), TcpListener::bind("127.0.0.1:9000").unwrap()));
    let (inbound, own) = listening.join().unwrap();
    let relaying = pod.spawn(move || relay(&inbound));
    let answering = thread::spawn(move || app(&own));
    let asking = client_side.spawn(client);
    support::eventually("the connection is half-closed", async || {
        let report = sockets(&pod).await;
        let namespace = &report["namespaces"][0];
        assert_eq!(namespace["closeWaitTimeoutSeconds"], seconds);
        let half_closed = |local: &str| {
            let sockets = namespace["sockets"].as_array().unwrap().iter();
            sockets.filter(|it| it["state"] == "CLOSE_WAIT" && it["local"] == local).count()
        };
        half_closed("10.99.0.2:4143") == 1 && half_closed("127.0.0.1:9000") == 1
    })
    .await;
    let answer = tokio::task::spawn_blocking(|| asking.join().unwrap()).await.unwrap();
    match answer {
        Ok(answer) => assert!(arrives && answer == "answer", "it got {answer:?}"),
        Err(error) => assert!(!arrives, "{error}"),
    }
    if arrives {
        tokio::task::spawn_blocking(|| relaying.join().unwrap()).await.unwrap();
        tokio::task::spawn_blocking(|| answering.join().unwrap()).await.unwrap();
    }
}
