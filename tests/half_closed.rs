//! Tests that the close-wait timeout decides whether a half-closed connection gets its answer, with the kernel's
//! conntrack.
//!
//! Two network namespaces represent a pod and another host. In the pod, rules redirect inbound and outbound traffic to
//! a relay, as linkerd-init does. The relay forwards half-closes, as Linkerd's proxy does on an opaque port. The server
//! answers after some seconds of silence, when the client has closed its side.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Stdio,
    thread::{self, JoinHandle},
    time::Duration,
};

use rstest::rstest;
use rustix::{
    net::{self, AddressFamily, SocketType, sockopt},
    process::Uid,
    thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_uid},
};
use serde_json::Value;
use tokio::process::{Child, Command};

use self::support::within;

const BINARY: &str = env!("CARGO_BIN_EXE_linkerd-linger");
/// How long the app is silent before it answers.
const SILENCE: Duration = Duration::from_secs(4);
/// The timeout of the client.
const PATIENCE: Duration = Duration::from_secs(9);

/// The network namespace of an idle process.
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

    /// Runs a script in it; returns the output if it fails.
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

    /// Runs a function in a thread that has entered the namespace.
    fn spawn<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        })
    }
}

/// Forwards bytes and the end of the stream.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// The relay: like Linkerd's proxy on an opaque port; it ends with its first connection.
fn relay(listener: &TcpListener, server: &str) {
    // Only this thread: traffic of this user is not redirected, as with linkerd-init.
    set_thread_uid(Uid::from_raw(PROXY_UID)).unwrap();
    let (client, _) = listener.accept().unwrap();
    let app = TcpStream::connect(server).unwrap();
    let (to_app, from_client) = (app.try_clone().unwrap(), client.try_clone().unwrap());
    let there = thread::spawn(move || pass(from_client, to_app));
    pass(app, client);
    there.join().unwrap();
}

/// The server: reads everything, waits, and answers.
#[expect(clippy::disallowed_methods, reason = "the silence is what is tested")]
fn answer(listener: &TcpListener) {
    let (mut relay, _) = listener.accept().unwrap();
    relay.read_to_end(&mut Vec::new()).unwrap();
    thread::sleep(SILENCE);
    // Fails if the connection is forgotten.
    let _ = relay.write_all(b"answer");
}

/// The response to a client that half-closes after its request.
fn ask(server: &str) -> io::Result<String> {
    let mut server = TcpStream::connect(server)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(b"question")?;
    server.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A connection from a fixed port, as when source ports are reused.
fn connect_from(port: u16, server: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    net::connect(&socket, &server)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The user that Linkerd's proxy runs as.
const PROXY_UID: u32 = 2102;
const REDIRECTS: &str = "iptables -t nat -A PREROUTING -p tcp --dport 9000:9001 -j REDIRECT --to-port 4143
                         iptables -t nat -A OUTPUT -m owner --uid-owner 2102 -j RETURN
                         iptables -t nat -A OUTPUT -p tcp -d 10.99.0.1 --dport 9000 -j REDIRECT --to-port 4140";

/// The client, the relay and the server of a case.
#[derive(Clone, Copy, Debug)]
struct Method {
    /// The address of the relay.
    relay: &'static str,
    /// The address of the server, which the relay connects to.
    server: &'static str,
    /// The address that the client connects to.
    asked: &'static str,
    /// Whether the client is in the pod, and the server elsewhere.
    outbound: bool,
}

const INBOUND: Method =
    Method { relay: "0.0.0.0:4143", server: "127.0.0.1:9000", asked: "10.99.0.2:9000", outbound: false };
const OUTBOUND: Method =
    Method { relay: "0.0.0.0:4140", server: "10.99.0.1:9000", asked: "10.99.0.1:9000", outbound: true };

/// The two connected namespaces with the redirect, or why they could not be created.
async fn connected(seconds: u32) -> Result<(Namespace, Namespace), String> {
    let (Some(pod), Some(client)) = (Namespace::new(), Namespace::new()) else {
        return Err("there is no unshare".to_owned());
    };
    // Waits until both processes are in their own namespace.
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
    pod.run(REDIRECTS).await?;
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
#[case::inbound_is_lost_where_conntrack_forgets_it(INBOUND, 2, false)]
#[case::inbound_arrives_with_our_timeout(INBOUND, 3600, true)]
#[case::outbound_is_lost_where_conntrack_forgets_it(OUTBOUND, 2, false)]
#[case::outbound_arrives_with_our_timeout(OUTBOUND, 3600, true)]
#[tokio::test]
async fn an_answer_after_silence_to_a_half_closed_client(
    #[case] method: Method,
    #[case] seconds: u32,
    #[case] arrives: bool,
) {
    let (pod, elsewhere) = match connected(seconds).await {
        Ok(namespaces) => namespaces,
        Err(why) => {
            support::say(&format!("not run: {}", why.lines().next().unwrap_or_default()));
            return;
        }
    };
    let (asking, serving) = if method.outbound { (&pod, &elsewhere) } else { (&elsewhere, &pod) };
    let inbound = pod.spawn(move || TcpListener::bind(method.relay).unwrap()).join().unwrap();
    let own = serving.spawn(move || TcpListener::bind(method.server).unwrap()).join().unwrap();
    let relaying = pod.spawn(move || relay(&inbound, method.server));
    let answering = thread::spawn(move || answer(&own));
    let asked = asking.spawn(move || ask(method.asked));
    support::eventually("the connection is half-closed", async || {
        let report = sockets(&pod).await;
        let namespace = &report["namespaces"][0];
        assert_eq!(namespace["closeWaitTimeoutSeconds"], seconds);
        let relay = method.relay.rsplit(':').next().unwrap();
        let is_relays = |it: &&Value| {
            it["state"] == "CLOSE_WAIT" && it["local"].as_str().unwrap().ends_with(&format!(":{relay}"))
        };
        namespace["sockets"].as_array().unwrap().iter().filter(is_relays).count() == 1
    })
    .await;
    let got = tokio::task::spawn_blocking(|| asked.join().unwrap()).await.unwrap();
    match got {
        Ok(answer) => assert!(arrives && answer == "answer", "it got {answer:?}"),
        Err(error) => assert!(!arrives, "{error}"),
    }
    if arrives {
        tokio::task::spawn_blocking(|| relaying.join().unwrap()).await.unwrap();
        tokio::task::spawn_blocking(|| answering.join().unwrap()).await.unwrap();
    }
}

/// Two redirected connections from one port of the client to two ports of the pod; the first is half-closed and
/// forgotten when the second begins.
#[rstest]
#[case::destroys_the_first_where_conntrack_forgets_it(2, false)]
#[case::is_kept_apart_with_our_timeout(3600, true)]
#[tokio::test]
async fn a_new_connection_from_the_same_port(#[case] seconds: u32, #[case] apart: bool) {
    const PORT: u16 = 23_456;
    let (pod, elsewhere) = match connected(seconds).await {
        Ok(namespaces) => namespaces,
        Err(why) => {
            support::say(&format!("not run: {}", why.lines().next().unwrap_or_default()));
            return;
        }
    };
    let relay = pod.spawn(|| TcpListener::bind("0.0.0.0:4143").unwrap()).join().unwrap();
    let first = elsewhere.spawn(|| {
        let first = connect_from(PORT, SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 2), 9000)).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        first
    });
    let mut first = first.join().unwrap();
    let (mut old, _) = relay.accept().unwrap();
    assert_eq!(old.read(&mut [0]).unwrap(), 0);
    let half_closed = async || {
        let report = sockets(&pod).await;
        let sockets = report["namespaces"][0]["sockets"].as_array().unwrap().clone();
        let client = format!("10.99.0.1:{PORT}");
        sockets.iter().filter(|it| it["state"] == "CLOSE_WAIT" && it["remote"] == client).count()
    };
    assert_eq!(half_closed().await, 1);
    tokio::time::sleep(SILENCE).await;
    let second = elsewhere.spawn(|| {
        let mut second = connect_from(PORT, SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 2), 9001)).unwrap();
        second.write_all(b"question").unwrap();
        let mut answer = [0; 6];
        second.read_exact(&mut answer).unwrap();
        // Stays open, because closing it would half-close its peer, too.
        (second, answer)
    });
    let answering = thread::spawn(move || {
        let (mut new, _) = relay.accept().unwrap();
        new.read_exact(&mut [0; 8]).unwrap();
        new.write_all(b"second").unwrap();
        new
    });
    let (_second, answer) = tokio::task::spawn_blocking(|| second.join().unwrap()).await.unwrap();
    assert_eq!(&answer, b"second");
    let _new = tokio::task::spawn_blocking(|| answering.join().unwrap()).await.unwrap();
    assert_eq!(half_closed().await, usize::from(apart), "the old connection");
    let mut answer = String::new();
    if apart {
        old.write_all(b"first").unwrap();
        drop(old);
        tokio::task::spawn_blocking(move || {
            first.read_to_string(&mut answer).map(|_| assert_eq!(answer, "first"))
        })
        .await
        .unwrap()
        .unwrap();
    } else {
        // It was reset.
        assert!(old.write_all(b"first").is_err(), "the answer was sent on a connection that is gone");
    }
}
