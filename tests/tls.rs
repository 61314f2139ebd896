//! Tests the webhook port on a real listener: certificates that change, and clients that are slow, silent or old.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    net::{IpAddr, SocketAddr},
    thread::park_timeout,
    time::{Duration, Instant, SystemTime},
};

use jiff::civil::Date;
use linkerd_linger::{
    admission::serve::{
        self, CertificateSource, Config, MAX_BODY_BYTES, MAX_SMALL_BODY_BYTES, Running, Timeouts, TlsVersion,
    },
    judgement::policy::Policy,
    review::{self, Endpoint, InvalidReview, Reviewed},
};
use rustls::version::TLS12;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use self::support::{
    Authority, Connection, Mount, eventually, get, head, metric, review_of_a_pod, say, until_closed, within,
};

const PATH: &str = "/validate/enforce?timeout=10s";
/// Long enough for an honest client on a loaded machine.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

async fn start(mount: &Mount, timeouts: Timeouts) -> Running {
    let certificate = CertificateSource::Files(mount.files());
    serve::start(Config { certificate, timeouts, ..Config::loopback() }).await.unwrap()
}

/// Clusters are of either family, and what listens must not have to know.
#[tokio::test]
async fn every_address_is_of_both_families() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let certificate = CertificateSource::Files(mount.files());
    let everywhere = "[::]:0".parse().unwrap();
    let config = Config { certificate, listen: everywhere, admin_listen: everywhere, ..Config::loopback() };
    let server = serve::start(config).await.unwrap();
    // Without IPv6 it has bound the other one alone.
    let loopbacks: &[&str] = if server.addr().is_ipv6() { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
    for loopback in loopbacks.iter().map(|ip| ip.parse::<IpAddr>().unwrap()) {
        let at = |addr: SocketAddr| SocketAddr::new(loopback, addr.port());
        if TcpStream::connect(at(server.addr())).await.is_err() && loopback.is_ipv6() {
            say("there is no ::1 here");
            continue;
        }
        let mut connection = Connection::open(at(server.addr()), &authority.pem()).await;
        assert_eq!(connection.post(PATH, &review_of_a_pod("both")).await.status, 200);
        assert_eq!(get(at(server.admin_addr()), "/readyz").await.status, 200);
    }
}

fn patient() -> Timeouts {
    Timeouts { poll: Duration::from_millis(20), shutdown_delay: Duration::ZERO, ..Timeouts::default() }
}

#[tokio::test]
async fn each_rotation_is_seen_by_new_connections_and_spares_the_old_ones() {
    let authority = Authority::new();
    let mut mount = Mount::new(&authority.issue());
    let server = start(&mount, patient()).await;
    let mut kept = Connection::open(server.addr(), &authority.pem()).await;
    // A watch on a file survives one swap of the symlink above it, so it takes two to tell.
    for _ in 0..2 {
        let next = authority.issue();
        mount.swap(&next.chain, &next.key);
        eventually("new connections see the new certificate", async || {
            Connection::open(server.addr(), &authority.pem()).await.certificate() == next.leaf
        })
        .await;
        assert_eq!(kept.post(PATH, &review_of_a_pod("kept")).await.status, 200);
    }
    assert_eq!(metric(server.admin_addr(), "linger_certificate_reloads_total{result=\"ok\"}").await, 2.0);
    assert_eq!(metric(server.admin_addr(), "linger_certificate_reloads_total{result=\"failed\"}").await, 0.0);
}

#[tokio::test]
async fn a_bad_pair_leaves_the_last_good_one_and_a_good_one_mends_it() {
    let authority = Authority::new();
    let (first, other, last) = (authority.issue(), authority.issue(), authority.issue());
    let mut mount = Mount::new(&first);
    let server = start(&mount, patient()).await;
    let failed = "linger_certificate_reloads_total{result=\"failed\"}";
    let bad = [(&*first.chain, &*other.key), ("no certificate", &*first.key), (&*first.chain, "")];
    for (count, (chain, key)) in (1..).zip(bad) {
        mount.swap(chain, key);
        eventually("the bad pair is counted", async || {
            metric(server.admin_addr(), failed).await == f64::from(count)
        })
        .await;
        let mut connection = Connection::open(server.addr(), &authority.pem()).await;
        assert_eq!(connection.certificate(), first.leaf);
        assert_eq!(connection.post(PATH, &review_of_a_pod("bad")).await.status, 200);
    }
    mount.swap(&last.chain, &last.key);
    eventually("the good pair is used", async || {
        Connection::open(server.addr(), &authority.pem()).await.certificate() == last.leaf
    })
    .await;
    // Each was reported once, though it was looked at many times.
    assert_eq!(metric(server.admin_addr(), failed).await, 3.0);
}

#[tokio::test]
async fn a_pair_that_is_not_valid_now_does_not_replace_one_that_is() {
    let authority = Authority::new();
    let first = authority.issue();
    let mut mount = Mount::new(&first);
    let server = start(&mount, patient()).await;
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let expired = authority.issue_for(now - 2 * day, now - day);
    mount.swap(&expired.chain, &expired.key);
    let of = |result: &str| format!("linger_certificate_reloads_total{{result=\"{result}\"}}");
    eventually("the expired pair is counted", async || {
        metric(server.admin_addr(), &of("failed")).await == 1.0
    })
    .await;
    assert_eq!(Connection::open(server.addr(), &authority.pem()).await.certificate(), first.leaf);
    let early = authority.issue_for(now + Duration::from_secs(5), now + day);
    mount.swap(&early.chain, &early.key);
    eventually("the early pair is counted", async || metric(server.admin_addr(), &of("failed")).await == 2.0)
        .await;
    assert_eq!(Connection::open(server.addr(), &authority.pem()).await.certificate(), first.leaf);
    // Its files do not change any more, but its time comes.
    eventually("it is used", async || metric(server.admin_addr(), &of("ok")).await == 1.0).await;
    assert_eq!(Connection::open(server.addr(), &authority.pem()).await.certificate(), early.leaf);
}

#[tokio::test]
async fn an_expired_pair_is_served_at_the_start_and_replaced_by_any_other() {
    let authority = Authority::new();
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let mut mount = Mount::new(&authority.issue_for(now - 2 * day, now - day));
    let server = start(&mount, patient()).await;
    let other = authority.issue_for(now - 3 * day, now - day);
    mount.swap(&other.chain, &other.key);
    eventually("the other is used", async || {
        metric(server.admin_addr(), "linger_certificate_reloads_total{result=\"ok\"}").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn the_server_does_not_start_with_the_key_of_another_certificate() {
    let authority = Authority::new();
    let (ours, other) = (authority.issue(), authority.issue());
    let mut mount = Mount::new(&ours);
    mount.swap(&ours.chain, &other.key);
    let certificate = CertificateSource::Files(mount.files());
    let error = serve::start(Config { certificate, ..Config::loopback() }).await.err().unwrap().to_string();
    assert!(error.contains("tls.key does not belong to the first certificate in "), "{error}");
}

#[tokio::test]
async fn the_end_of_the_certificate_is_measured() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let ends = metric(server.admin_addr(), "linger_certificate_not_after_timestamp_seconds").await;
    let years = (ends - jiff::Timestamp::now().as_second() as f64) / (365.25 * 86_400.0);
    assert!((9.9..10.1).contains(&years), "{years}");
}

#[tokio::test]
async fn a_self_signed_server_is_trusted_by_its_authority() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let answer = connection.post(PATH, &review_of_a_pod("7d2f")).await;
    assert_eq!(answer.json()["response"]["uid"], "7d2f");
}

#[tokio::test]
async fn a_stalled_handshake_is_cut() {
    let mount = Mount::new(&Authority::new().issue());
    let server = start(&mount, Timeouts { handshake: SHORT, ..patient() }).await;
    let mut silent = TcpStream::connect(server.addr()).await.unwrap();
    // axum-server has a deadline of 10 s of its own: ours must come before.
    timeout(Duration::from_secs(8), until_closed(&mut silent)).await.unwrap();
    eventually("it is counted", async || {
        metric(server.admin_addr(), "linger_tls_handshake_failures_total").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_no_first_request_is_cut() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, Timeouts { first_request: SHORT, ..patient() }).await;
    let mut silent = Connection::open(server.addr(), &authority.pem()).await;
    let mut slow = Connection::open(server.addr(), &authority.pem()).await;
    slow.send(b"POST /validate/enforce HTTP/1.1\r\nhost: loc").await;
    silent.cut().await;
    slow.cut().await;
    eventually("nothing is left of them", async || {
        metric(server.admin_addr(), "linger_connections").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, Timeouts { answer: SHORT, ..patient() }).await;
    let mut slow = Connection::open(server.addr(), &authority.pem()).await;
    slow.send(&head(PATH, 1000)).await;
    slow.send(b"{").await;
    let answer = slow.answer().await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.body, "the request body was not complete before the deadline\n");
    slow.cut().await;
    assert_eq!(metric(server.admin_addr(), "linger_refused_requests_total{reason=\"too_slow\"}").await, 1.0);
}

/// Answers with more than the buffers of both sides hold.
fn at_length(_: &[u8], endpoint: Endpoint, policy: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    let reviewed = review::review(review_of_a_pod("long").as_bytes(), endpoint, policy, today)?;
    Ok(Reviewed { body: vec![b' '; 64 << 20], ..reviewed })
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_cut() {
    let config = Config::loopback();
    let timeouts = Timeouts { write: SHORT, ..config.timeouts };
    let server = serve::start(Config { timeouts, review: at_length, ..config }).await.unwrap();
    let mut deaf = Connection::open(server.addr(), server.authority().unwrap()).await;
    deaf.send(&head(PATH, 2)).await;
    deaf.send(b"{}").await;
    let reviewed = "linger_review_duration_seconds_count";
    eventually("it is reviewed", async || metric(server.admin_addr(), reviewed).await == 1.0).await;
    eventually("nothing is left of it", async || {
        metric(server.admin_addr(), "linger_connections").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_no_metrics_is_cut() {
    let config = Config::loopback();
    let timeouts = Timeouts { write: SHORT, ..config.timeouts };
    let server = serve::start(Config { timeouts, ..config }).await.unwrap();
    let mut deaf = TcpStream::connect(server.admin_addr()).await.unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    within("it is cut", async { while deaf.write_all(requests.as_bytes()).await.is_ok() {} }).await;
}

/// Slow for bodies that end with a space; only a long body is reviewed on a thread of its own.
fn slow(body: &[u8], endpoint: Endpoint, policy: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    let end = Instant::now() + Duration::from_secs(5);
    while body.ends_with(b" ") && Instant::now() < end {
        park_timeout(end - Instant::now());
    }
    review::review(body, endpoint, policy, today)
}

#[tokio::test]
async fn slow_reviews_stop_neither_the_others_nor_the_plain_port() {
    let server = serve::start(Config { review: slow, ..Config::loopback() }).await.unwrap();
    let authority = server.authority().unwrap();
    let review = review_of_a_pod("slow") + &" ".repeat(MAX_SMALL_BODY_BYTES);
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(server.addr(), authority).await;
        connection.send(&head("/validate/enforce?timeout=5s", review.len())).await;
        connection.send(review.as_bytes()).await;
        slow.push(connection);
    }
    let started = Instant::now();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(server.admin_addr(), path).await.status, 200, "{path}");
    }
    let mut other = Connection::open(server.addr(), authority).await;
    assert_eq!(other.post(PATH, &review_of_a_pod("quick")).await.json()["response"]["uid"], "quick");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    for mut connection in slow {
        assert_eq!(connection.answer().await.json()["response"]["allowed"], true);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A review of 6 MiB in the order in which the API server writes it, without its last bytes.
fn long_review(uid: &str) -> String {
    let padding = " ".repeat(6 << 20);
    format!(
        "{{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{{\"uid\":\"{uid}\",\"kind\":{{\"group\":\
         \"\",\"version\":\"v1\",\"kind\":\"Pod\"}},\"namespace\":\"shop\",\"operation\":\"CREATE\",\"userInfo\":{{}},\"object\":\
         {{\"metadata\":{{}},{padding}\"spec\":{{"
    )
}

const END_OF_REVIEW: &str = "}}}}";

#[tokio::test(flavor = "multi_thread")]
async fn small_reviews_do_not_wait_for_long_ones_on_a_slow_link() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let (addr, authority) = (server.addr(), server.authority().unwrap().to_owned());
    let mut long = JoinSet::new();
    for number in 0..24 {
        let authority = authority.clone();
        long.spawn(async move {
            let mut connection = Connection::open(addr, &authority).await;
            let review = long_review(&format!("long-{number}"));
            connection.send(&head("/mutate/enforce?timeout=10s", review.len() + END_OF_REVIEW.len())).await;
            connection.send(review.as_bytes()).await;
            sleep(Duration::from_secs(3)).await;
            connection.send(END_OF_REVIEW.as_bytes()).await;
            let answer = connection.answer().await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let response = answer.json()["response"].take();
            assert_eq!(response["uid"], format!("long-{number}"));
            assert_eq!(response["allowed"], true);
        });
    }
    let mut took = Vec::new();
    let mut small = Connection::open(addr, &authority).await;
    while !long.is_empty() {
        let started = Instant::now();
        assert_eq!(small.post(PATH, &review_of_a_pod("small")).await.json()["response"]["uid"], "small");
        took.push(started.elapsed());
        if let Ok(Some(ended)) = timeout(Duration::from_millis(20), long.join_next()).await {
            ended.unwrap();
        }
    }
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{} small reviews: median {median:?}, worst {worst:?}", took.len());
    // Without places of their own they waited for 4 to 8 s; a loaded machine gets some time.
    assert!(worst < Duration::from_secs(3), "{worst:?}");
}

#[tokio::test]
async fn a_long_review_that_is_not_complete_in_time_is_admitted_with_a_warning() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let mut slow = Connection::open(server.addr(), server.authority().unwrap()).await;
    let review = long_review("slow");
    slow.send(&head("/mutate/enforce?timeout=2s", review.len() + END_OF_REVIEW.len())).await;
    slow.send(review.as_bytes()).await;
    let response = slow.answer().await.json()["response"].take();
    assert_eq!((&response["uid"], &response["allowed"]), (&"slow".into(), &true.into()));
    assert_eq!(response["warnings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let (addr, admin_addr) = (server.addr(), server.admin_addr());
    let mut kept = Connection::open(addr, server.authority().unwrap()).await;
    assert_eq!(kept.post(PATH, &review_of_a_pod("kept")).await.status, 200);
    drop(server);
    kept.cut().await;
    for addr in [addr, admin_addr] {
        eventually("the port is free", async || TcpStream::connect(addr).await.is_err()).await;
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_every_other_deadline() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let timeouts = Timeouts {
        handshake: SHORT,
        first_request: SHORT,
        answer: SHORT,
        write: SHORT,
        idle: LONG,
        ..patient()
    };
    let server = start(&mount, timeouts).await;
    let mut kept = Connection::open(server.addr(), &authority.pem()).await;
    for _ in 0..3 {
        assert_eq!(kept.post(PATH, &review_of_a_pod("kept")).await.status, 200);
        // What a connection without a request may take has passed once this one is cut.
        Connection::open(server.addr(), &authority.pem()).await.cut().await;
    }
    assert_eq!(kept.post(PATH, &review_of_a_pod("kept")).await.status, 200);
}

#[tokio::test]
async fn a_later_request_has_the_idle_time_for_its_headers() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, Timeouts { idle: SHORT, ..patient() }).await;
    let mut slow = Connection::open(server.addr(), &authority.pem()).await;
    assert_eq!(slow.post(PATH, &review_of_a_pod("first")).await.status, 200);
    slow.send(b"POST /validate/enforce HTTP/1.1\r\nhost: loc").await;
    slow.cut().await;
}

#[tokio::test]
async fn a_body_of_one_byte_too_many_is_answered_with_413() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, patient()).await;
    let mut connection = Connection::open(server.addr(), &authority.pem()).await;
    assert_eq!(connection.post(PATH, &" ".repeat(MAX_BODY_BYTES + 1)).await.status, 413);
    let mut connection = Connection::open(server.addr(), &authority.pem()).await;
    let mut review = review_of_a_pod("long");
    review.push_str(&" ".repeat(MAX_BODY_BYTES - review.len()));
    assert_eq!(connection.post(PATH, &review).await.status, 200);
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_when_asked_for() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    for (tls_min, spoken) in [(TlsVersion::V13, false), (TlsVersion::V12, true)] {
        let certificate = CertificateSource::Files(mount.files());
        let server = serve::start(Config { certificate, tls_min, ..Config::loopback() }).await.unwrap();
        let opened = Connection::try_open(server.addr(), &authority.pem(), &[&TLS12]).await;
        assert_eq!(opened.is_ok(), spoken, "tls-min {}", tls_min.as_str());
    }
}

#[tokio::test]
async fn http_2_is_preferred_and_http_1_1_is_enough() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let cases: [(&[&str], Option<&[u8]>); 3] =
        [(&["http/1.1", "h2"], Some(b"h2")), (&["http/1.1"], Some(b"http/1.1")), (&[], None)];
    for (offered, chosen) in cases {
        let authority = server.authority().unwrap();
        let opened = Connection::negotiate(server.addr(), authority, rustls::ALL_VERSIONS, offered).await;
        assert_eq!(opened.unwrap().protocol(), chosen, "{offered:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_counted() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let stranger = Authority::new().pem();
    assert!(Connection::try_open(server.addr(), &stranger, rustls::ALL_VERSIONS).await.is_err());
    eventually("it is counted", async || {
        metric(server.admin_addr(), "linger_tls_handshake_failures_total").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn stopping_is_in_order() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, Timeouts { shutdown_delay: Duration::from_secs(3), ..patient() }).await;
    let (addr, admin_addr) = (server.addr(), server.admin_addr());
    let mut kept = Connection::open(addr, &authority.pem()).await;
    assert!(!kept.post(PATH, &review_of_a_pod("kept")).await.headers.contains("connection: close"));
    assert_eq!(get(admin_addr, "/readyz").await.status, 200);
    server.stop();
    let readyz = get(admin_addr, "/readyz").await;
    assert_eq!((readyz.status, &readyz.body[..9]), (503, "stopping:"));
    assert_eq!(get(admin_addr, "/livez").await.status, 200);
    // Told to go elsewhere, the client cannot lose the race against the close at the end of the delay.
    assert!(kept.post(PATH, &review_of_a_pod("kept")).await.headers.contains("connection: close"));
    kept.cut().await;
    within("the server has stopped", server.wait()).await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    assert!(TcpStream::connect(admin_addr).await.is_err());
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let server = start(&mount, Timeouts { drain: SHORT, answer: LONG, ..patient() }).await;
    let mut stuck = Connection::open(server.addr(), &authority.pem()).await;
    stuck.send(&head(PATH, 1000)).await;
    eventually("it is open", async || metric(server.admin_addr(), "linger_connections").await == 1.0).await;
    server.stop();
    within("the server has stopped", server.wait()).await.unwrap();
    stuck.cut().await;
}
