//! Tests the binary as kubelet runs it: signals and exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{net::SocketAddr, time::Instant};

use linkerd_linger::admission::serve::MAX_BODY_BYTES;
use rstest::rstest;
use tokio::{net::TcpStream, process::Command};

use self::support::{
    Authority, Connection, Mount, eventually, get, head, metric,
    process::{Process, command, serve},
    review_of_a_pod, within,
};

const PATH: &str = "/mutate/enforce?timeout=10s";

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

/// A number that an environment variable replaces for a long run: `just soak`.
fn scaled(variable: &str, quick: usize) -> usize {
    std::env::var(variable).map_or(quick, |number| number.parse().unwrap())
}

/// Pods that are admitted, rejected and patched, each in one of many namespaces, so that most reviews are logged.
fn soak_review(uid: &str, number: usize) -> String {
    const RECORDED: [&str; 2] = [
        include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json"),
        include_str!("fixtures/reviews/real-injector/edge-24.11.8/front-nginx.json"),
    ];
    let review = match number % 3 {
        0 => review_of_a_pod("UID").replace("\"shop\"", "\"i-edge-24-11-8\""),
        recorded => RECORDED[recorded - 1].to_owned(),
    };
    let old = review.split("\"uid\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap().to_owned();
    review.replacen(&old, uid, 1).replace("i-edge-24-11-8", &format!("shop-{}", number % 5000))
}

/// Sends reviews over one connection after another. Some requests are left in the middle, by their client.
async fn soak(addr: SocketAddr, authority: &str, client: usize, reviews: usize) {
    let mut connection = Connection::open(addr, authority).await;
    for number in 0..reviews {
        let uid = format!("{client}-{number}");
        let review = soak_review(&uid, number);
        if number % 100 == 50 {
            connection.send(&head(PATH, review.len())).await;
            connection.send(&review.as_bytes()[..review.len() / 2]).await;
            connection = Connection::open(addr, authority).await;
        }
        let answer = connection.post(PATH, &review).await;
        assert_eq!(answer.json()["response"]["uid"], *uid);
    }
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Resources {
    resident_kib: u64,
    descriptors: usize,
    threads: usize,
}

#[tokio::test]
async fn memory_descriptors_and_threads_stay_flat_over_many_reviews() {
    const CONNECTIONS: usize = 8;
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    // Nobody reads its log, too.
    let process = Process::start(&mount, &[]).await;
    let reviews = scaled("SOAK_REVIEWS", 4000);
    let round = async |reviews: usize| {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CONNECTIONS {
            let (addr, authority) = (process.addr, authority.pem());
            clients.spawn(async move { soak(addr, &authority, client, reviews / CONNECTIONS).await });
        }
        clients.join_all().await;
        eventually("its connections are closed", async || {
            metric(process.admin_addr, "linger_connections").await == 0.0
        })
        .await;
        Resources {
            resident_kib: process.resident(),
            descriptors: process.descriptors(),
            threads: process.threads(),
        }
    };
    let before = round(reviews.min(2000)).await;
    let started = Instant::now();
    let after = round(reviews).await;
    println!("{reviews} reviews in {:?}: {before:?}, then {after:?}", started.elapsed());
    eventually("no descriptor is left open", async || process.descriptors() <= before.descriptors).await;
    assert!(after.resident_kib < before.resident_kib + 4096, "{before:?}, then {after:?}");
    assert!(after.threads <= before.threads, "{before:?}, then {after:?}");
}

#[tokio::test]
async fn the_memory_of_long_reviews_is_returned() {
    let authority = Authority::new();
    let process = Process::start(&Mount::new(&authority.issue()), &[]).await;
    let mut connection = Connection::open(process.addr, &authority.pem()).await;
    assert_eq!(connection.post(PATH, &review_of_a_pod("short")).await.status, 200);
    let before = process.resident();
    let review = review_of_a_pod("long");
    let long = review.clone() + &" ".repeat(MAX_BODY_BYTES - review.len());
    for _ in 0..8 {
        assert_eq!(connection.post(PATH, &long).await.status, 200);
    }
    eventually("its memory is returned", async || {
        // An allocator returns memory when it is used.
        assert_eq!(connection.post(PATH, &review).await.status, 200);
        process.resident() < before + 16 * 1024
    })
    .await;
}

#[tokio::test]
async fn idle_connections_cost_little_and_keep_nobody_out() {
    let authority = Authority::new();
    let process = Process::start(&Mount::new(&authority.issue()), &[]).await;
    let idle = scaled("SOAK_CONNECTIONS", 300);
    let before = process.resident();
    let mut connections = Vec::new();
    for _ in 0..idle {
        connections.push(Connection::open(process.addr, &authority.pem()).await);
    }
    let each = process.resident().saturating_sub(before) / u64::try_from(idle).unwrap();
    println!("{idle} idle connections: {each} KiB each");
    assert!(each < 64, "{each} KiB");
    let mut other = Connection::open(process.addr, &authority.pem()).await;
    assert_eq!(other.post(PATH, &review_of_a_pod("other")).await.status, 200);
}

#[tokio::test]
async fn without_free_descriptors_it_serves_again_once_some_are_closed() {
    let authority = Authority::new();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_linkerd-linger")]);
    let process = Process::start_as(serve(limited), &Mount::new(&authority.issue()), &[]).await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(process.addr).await.unwrap());
    }
    eventually("it has no free descriptors", async || process.descriptors() >= 40).await;
    drop(idle);
    eventually("it serves again", async || {
        match Connection::try_open(process.addr, &authority.pem(), rustls::ALL_VERSIONS).await {
            Ok(mut connection) => connection.is_answered(PATH, &review_of_a_pod("again")).await,
            Err(_) => false,
        }
    })
    .await;
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// `POST https /`, from the static table of HPACK (RFC 7541, appendix A).
const REQUEST: [u8; 3] = [0x83, 0x87, 0x84];

#[rstest]
#[case::garbage(&[], |_| b"\x00\xff\x00\xff".repeat(1000))]
#[case::rapid_reset(&["h2"], |number| {
    let stream = 2 * number + 1;
    [frame(HEADERS, END_HEADERS, stream, &REQUEST), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
})]
#[case::endless_headers(&["h2"], |number| match number {
    0 => frame(HEADERS, 0, 1, &REQUEST),
    // A header without indexing: 1 byte of name, 100 of value.
    _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'x', 100], &[b'x'; 100][..]].concat()),
})]
#[tokio::test]
async fn a_flood_ends_with_its_connection(#[case] protocols: &[&str], #[case] flood: fn(u32) -> Vec<u8>) {
    let authority = Authority::new();
    let process = Process::start(&Mount::new(&authority.issue()), &[]).await;
    let before = process.resident();
    let mut hostile =
        Connection::negotiate(process.addr, &authority.pem(), rustls::ALL_VERSIONS, protocols).await.unwrap();
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
    let mut sent = protocols.is_empty() || hostile.try_send(&preface).await;
    let mut number = 0;
    while sent && number < 100_000 {
        sent = hostile.try_send(&flood(number)).await;
        number += 1;
    }
    println!("cut after {number} writes");
    assert!(!sent, "it was not cut");
    assert!(process.resident() < before + 16 * 1024, "{before} KiB, then {} KiB", process.resident());
    let mut other = Connection::open(process.addr, &authority.pem()).await;
    assert_eq!(other.post(PATH, &review_of_a_pod("other")).await.status, 200);
}
