//! Tests the running server after faults of its log, its files and the clock, and after SIGKILL and SIGTERM.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
};

use self::support::{
    Authority, Connection, Mount, eventually, get, head, metric,
    process::{Process, arguments, command, serve},
    review_of_a_pod, within,
};

const PATH: &str = "/mutate/enforce?timeout=10s";
const DROPPED: &str = "linger_dropped_log_lines_total";

/// Two addresses that are free now.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Sends reviews that are logged each: only repeats are not.
async fn reviews_that_are_logged(addr: SocketAddr, authority: &str, number: usize) {
    let mut connection = Connection::open(addr, authority).await;
    for number in 0..number {
        let review = review_of_a_pod("7d2f").replace("shop", &format!("shop-{number}"));
        assert_eq!(connection.post(PATH, &review).await.status, 200);
    }
}

/// A server whose log goes elsewhere.
async fn start_with_log(mount: &Mount, log: impl Into<Stdio>) -> (Child, [SocketAddr; 2]) {
    let addresses = free_addresses();
    let child = arguments(&mut command(), mount, addresses).stderr(log).spawn().unwrap();
    eventually("it listens", async || TcpStream::connect(addresses[1]).await.is_ok()).await;
    (child, addresses)
}

#[tokio::test]
async fn with_a_closed_stderr_it_serves_on() {
    let authority = Authority::new();
    let Process { child: _child, addr, admin_addr, log } =
        Process::start(&Mount::new(&authority.issue()), &[]).await;
    drop(log);
    reviews_that_are_logged(addr, &authority.pem(), 10).await;
    assert_eq!(get(admin_addr, "/livez").await.status, 200);
    eventually("each line is counted", async || metric(admin_addr, DROPPED).await >= 10.0).await;
}

#[tokio::test]
async fn with_a_full_disk_for_its_log_it_serves_on() {
    let authority = Authority::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mount = Mount::new(&authority.issue());
    let (_child, [addr, admin_addr]) = start_with_log(&mount, full).await;
    reviews_that_are_logged(addr, &authority.pem(), 10).await;
    // The lines of the start are lost, too.
    eventually("each line is counted", async || metric(admin_addr, DROPPED).await > 10.0).await;
    assert_eq!(get(admin_addr, "/livez").await.status, 200);
}

#[tokio::test]
async fn with_a_log_that_nobody_reads_it_serves_on_and_counts_the_dropped_lines() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let mut process = Process::start(&mount, &[]).await;
    // A pipe holds 64 KiB, and the queue 1024 lines; each of these is a line of some 400 bytes.
    assert_eq!(metric(process.admin_addr, DROPPED).await, 0.0);
    reviews_that_are_logged(process.addr, &authority.pem(), 1500).await;
    assert_eq!(get(process.admin_addr, "/livez").await.status, 200);
    let (mut reviewed, mut dropped) = (0, 0);
    while reviewed + dropped < 1500 {
        let line = within("the rest of the log was written", process.log.next_line()).await.unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        match event["fields"]["message"].as_str().unwrap() {
            "reviewed" => reviewed += 1,
            _ => dropped += event["fields"]["lines"].as_u64().unwrap_or_else(|| panic!("{line}")),
        }
    }
    assert!(dropped > 0);
    assert_eq!(metric(process.admin_addr, DROPPED).await, dropped as f64);
}

#[tokio::test]
async fn with_a_log_that_nobody_reads_it_stops() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let mut process = Process::start(&mount, &["--shutdown-delay", "0s"]).await;
    reviews_that_are_logged(process.addr, &authority.pem(), 1500).await;
    process.signal("TERM").await;
    // Its log is read only after its end.
    let status = within("the process ended", process.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn after_sigkill_it_starts_again_at_once_on_the_same_port() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let addresses = free_addresses();
    for _ in 0..3 {
        let mut process = Process::start_at(command(), &mount, addresses, &[]).await;
        let mut kept = Connection::open(process.addr, &authority.pem()).await;
        assert_eq!(kept.post(PATH, &review_of_a_pod("kept")).await.status, 200);
        process.child.kill().await.unwrap();
        // Its connections are closed by the kernel, which keeps the port in use for a minute.
        kept.cut().await;
    }
}

#[tokio::test]
async fn sigterm_under_load_fails_no_review() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let stopping = Process::start(&mount, &["--shutdown-delay", "2s"]).await;
    let other = Process::start(&mount, &[]).await;
    // Like those of a Service: new connections go only to replicas that are ready.
    let endpoints = Arc::new(Mutex::new(vec![stopping.addr, other.addr]));
    let (answered, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (endpoints, authority) = (Arc::clone(&endpoints), authority.pem());
        let (answered, end) = (Arc::clone(&answered), Arc::clone(&end));
        clients.spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let addr = {
                    let endpoints = endpoints.lock().unwrap();
                    endpoints[client % endpoints.len()]
                };
                let mut connection = Connection::open(addr, &authority).await;
                let mut closes = false;
                while !closes && !end.load(Ordering::Relaxed) {
                    let uid = format!("{client}-{}", answered.fetch_add(1, Ordering::Relaxed));
                    let answer = connection.post(PATH, &review_of_a_pod(&uid)).await;
                    assert_eq!((answer.status, &answer.json()["response"]["uid"]), (200, &uid.into()));
                    closes = answer.headers.contains("connection: close");
                }
            }
        });
    }
    let more = async |number: usize| {
        let before = answered.load(Ordering::Relaxed);
        eventually("reviews are answered", async || answered.load(Ordering::Relaxed) > before + number).await;
    };
    more(500).await;
    stopping.signal("TERM").await;
    eventually("it is unready", async || get(stopping.admin_addr, "/readyz").await.status == 503).await;
    more(50).await;
    endpoints.lock().unwrap().retain(|addr| *addr != stopping.addr);
    assert_eq!(stopping.end().await.code(), Some(0));
    more(500).await;
    end.store(true, Ordering::Relaxed);
    clients.join_all().await;
}

/// A library that steps the wall clock of a process.
fn clock_library(dir: &Path) -> std::path::PathBuf {
    let library = dir.join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c");
    // `ring` has been built with the same compiler.
    let built =
        std::process::Command::new("cc").args(["-shared", "-fPIC", source, "-o"]).arg(&library).status();
    assert!(built.unwrap().success(), "cannot build {source}");
    library
}

/// A pod whose probe is rejected, unless its exemption is valid until a month from now.
fn review_of_an_exempt_pod() -> String {
    let review = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
    let mut review: serde_json::Value = serde_json::from_str(review).unwrap();
    let until = Timestamp::now().to_zoned(TimeZone::UTC).date().checked_add(30.days()).unwrap();
    review["request"]["object"]["metadata"]["annotations"]["linkerd-linger.io/exempt"] =
        format!("probe-matches-idle-timeout; until={until}; reason=OPS-12").into();
    review.to_string()
}

#[tokio::test]
async fn steps_of_the_clock_change_dates_and_no_deadline() {
    const DAY: i64 = 24 * 3600;
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let (day, now) = (Duration::from_secs(24 * 3600), SystemTime::now());
    let mount = Mount::new(&authority.issue_for(now - day, now + day));
    let step = dir.path().join("step");
    fs::write(&step, "0").unwrap();
    let mut stepped = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
    stepped.env("LD_PRELOAD", clock_library(dir.path())).env("CLOCK_STEP", &step);
    let process = Process::start_as(serve(stepped), &mount, &[]).await;
    let mut kept = Connection::open(process.addr, &authority.pem()).await;
    let review = review_of_an_exempt_pod();
    // The certificate has expired by its clock after 10 days, and the exemption after 400.
    for (days, allowed) in [(0, true), (10, true), (400, false), (-30 * 365, true), (0, true)] {
        fs::write(&step, (days * DAY).to_string()).unwrap();
        let mut new = Connection::open(process.addr, &authority.pem()).await;
        for connection in [&mut kept, &mut new] {
            let response = connection.post(PATH, &review).await.json()["response"].take();
            assert_eq!(response["allowed"], allowed, "after {days} days: {response}");
        }
        let started = Instant::now();
        new.send(&head("/mutate/enforce?timeout=1s", 1000)).await;
        assert_eq!(new.answer().await.status, 408, "after {days} days");
        assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
        assert_eq!(get(process.admin_addr, "/readyz").await.status, 200, "after {days} days");
    }
}
