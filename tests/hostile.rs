//! Tests clients that break the rules of TLS and HTTP: their connections end, are counted, and harm no other client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use linkerd_linger::{
    admission::serve::{self, CertificateSource, Config, MAX_SMALL_BODY_BYTES, Running, Timeouts},
    cluster::apiserver::Webhook,
    review::WebhookKind,
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
};

use self::support::{Authority, Connection, Mount, eventually, get, head, metric, review_of_a_pod, within};

const PATH: &str = "/mutate/enforce?timeout=10s";
const SHORT: Duration = Duration::from_secs(1);

async fn start() -> Running {
    let timeouts = Timeouts { handshake: SHORT, first_request: SHORT, ..Config::loopback().timeouts };
    serve::start(Config { timeouts, ..Config::loopback() }).await.unwrap()
}

/// The tasks of this test, which are those of its server.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Those that accept connections, look at the files and wait for the end.
const TASKS: usize = 3;

async fn failed_handshakes(server: &Running) -> f64 {
    metric(server.admin_addr(), "linger_tls_handshake_failures_total").await
}

/// Nothing of the hostile client is left, and another one is served.
async fn serves_on(server: &Running) {
    eventually("nothing is left of it", async || {
        metric(server.admin_addr(), "linger_connections").await == 0.0 && tasks() <= TASKS
    })
    .await;
    let mut other = Connection::open(server.addr(), server.authority().unwrap()).await;
    assert_eq!(other.post(PATH, &review_of_a_pod("other")).await.status, 200);
    assert_eq!(get(server.admin_addr(), "/readyz").await.status, 200);
}

/// The beginning of a ClientHello: a record of 512 bytes that ends after 100.
fn half_a_client_hello() -> Vec<u8> {
    [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 89]].concat()
}

#[rstest]
#[case::plain_http(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec())]
#[case::random_bytes((0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect())]
#[case::zeros(vec![0; 100_000])]
#[case::half_a_client_hello(half_a_client_hello())]
#[case::record_that_is_too_long([&[0x16, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat())]
#[case::nothing(vec![])]
#[tokio::test]
async fn what_is_no_tls_is_cut_and_counted(#[case] bytes: Vec<u8>, #[values(true, false)] hangs_up: bool) {
    let server = start().await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    // The server may close the connection before it has read all.
    let _ = stream.write_all(&bytes).await;
    if hangs_up {
        let _ = stream.shutdown().await;
    }
    // An alert may come before the end.
    let _ = within("it is cut", stream.read_to_end(&mut vec![])).await;
    eventually("it is counted", async || failed_handshakes(&server).await == 1.0).await;
    serves_on(&server).await;
}

/// Sends bytes, and then hangs up or waits for the end. Returns the first line of the response, if there is one.
async fn sent(addr: SocketAddr, authority: &str, bytes: &[u8], hangs_up: bool) -> String {
    let mut connection = Connection::open(addr, authority).await;
    // Headers that are too long are refused before they are complete.
    connection.try_send(bytes).await;
    if hangs_up {
        return String::new();
    }
    connection.rest().await.lines().next().unwrap_or_default().to_owned()
}

#[rstest]
#[case::half_headers(b"POST /mutate/enforce HTTP/1.1\r\nhost: loc".to_vec(), "")]
#[case::no_http(b"\x00\xff\x00\xff\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request")]
#[case::long_headers(
    [b"POST /mutate/enforce HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 200_000], b"\r\n\r\n".to_vec()].concat(),
    "HTTP/1.1 431 Request Header Fields Too Large"
)]
#[case::many_headers(
    format!("POST /mutate/enforce HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)).into_bytes(),
    "HTTP/1.1 431 Request Header Fields Too Large"
)]
#[case::two_lengths(
    b"POST /mutate/enforce HTTP/1.1\r\nhost: l\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_vec(),
    "HTTP/1.1 400 Bad Request"
)]
#[case::length_of_a_petabyte(head("/mutate/enforce?timeout=1s", 1 << 50), "HTTP/1.1 408 Request Timeout")]
#[case::half_a_body([head("/mutate/enforce?timeout=1s", 1000), vec![b'{'; 500]].concat(), "HTTP/1.1 408 Request Timeout")]
#[tokio::test]
async fn what_is_no_request_is_refused_and_cut(#[case] bytes: Vec<u8>, #[case] status: &str) {
    let server = start().await;
    let (addr, authority) = (server.addr(), server.authority().unwrap());
    assert_eq!(sent(addr, authority, &bytes, true).await, "");
    assert_eq!(sent(addr, authority, &bytes, false).await, status);
    serves_on(&server).await;
}

/// The preface of HTTP/2 with empty SETTINGS (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[rstest]
#[case::half_a_preface(&PREFACE[..10])]
#[case::no_request(PREFACE)]
#[case::half_headers(&[PREFACE, b"\x00\x00\x03\x01\x00\x00\x00\x00\x01\x83\x87\x84"].concat())]
#[tokio::test]
async fn a_client_of_http_2_without_a_request_is_cut(#[case] bytes: &[u8]) {
    let server = start().await;
    let (addr, authority) = (server.addr(), server.authority().unwrap());
    let mut silent = Connection::negotiate(addr, authority, rustls::ALL_VERSIONS, &["h2"]).await.unwrap();
    assert!(silent.try_send(bytes).await);
    silent.rest().await;
    serves_on(&server).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_body_is_counted() {
    let server = start().await;
    let bytes = [head(PATH, 1000), vec![b'{'; 500]].concat();
    sent(server.addr(), server.authority().unwrap(), &bytes, true).await;
    let interrupted = "linger_refused_requests_total{reason=\"interrupted\"}";
    eventually("it is counted", async || metric(server.admin_addr(), interrupted).await == 1.0).await;
    serves_on(&server).await;
}

/// Why the API server does not get a response.
async fn refusal(addr: SocketAddr, name: &str, authority: &str) -> String {
    let review: Value = serde_json::from_str(&review_of_a_pod("7d2f")).unwrap();
    let webhook = Webhook::new(addr, name, authority).unwrap();
    let error = webhook.call(WebhookKind::Validating, "/validate/enforce", &review).await.err();
    error.map(|error| format!("{:#}", anyhow::Error::new(error))).unwrap_or_default()
}

/// The certificate is shown to every client, whatever name it asks for: it can then say what is wrong with it.
#[rstest]
#[case::ours("linkerd-linger.linkerd-linger.svc", None)]
#[case::another_service("other.shop.svc", Some("other.shop.svc"))]
#[case::address_without_sni("127.0.0.1", Some("127.0.0.1"))]
#[tokio::test]
async fn a_client_that_expects_another_name_sees_ours_and_is_counted(
    #[case] name: &str,
    #[case] missing: Option<&str>,
) {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue_to("linkerd-linger", &["linkerd-linger.linkerd-linger.svc"]));
    let certificate = CertificateSource::Files(mount.files());
    let server = serve::start(Config { certificate, ..Config::loopback() }).await.unwrap();
    let refused = refusal(server.addr(), name, &authority.pem()).await;
    match missing {
        None => assert_eq!(refused, ""),
        Some(name) => {
            assert!(
                refused.contains(name) && refused.contains("linkerd-linger.linkerd-linger.svc"),
                "{refused}"
            );
            eventually("it is counted", async || failed_handshakes(&server).await == 1.0).await;
        }
    }
}

#[rstest]
#[case::expired(-2, -1, "expired")]
#[case::not_yet_valid(1, 2, "not valid yet")]
#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_refused_by_its_reader_and_counted(
    #[case] from: i64,
    #[case] to: i64,
    #[case] reason: &str,
) {
    let at =
        |days: i64| SystemTime::from(jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days));
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue_for(at(from), at(to)));
    let certificate = CertificateSource::Files(mount.files());
    let server = serve::start(Config { certificate, ..Config::loopback() }).await.unwrap();
    let refused = refusal(server.addr(), "localhost", &authority.pem()).await;
    assert!(refused.contains(reason), "{refused}");
    eventually("it is counted", async || failed_handshakes(&server).await == 1.0).await;
}

#[tokio::test]
async fn a_field_that_is_nested_deeply_stops_no_pod() {
    let server = start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let review =
        review_of_a_pod("deep").replace("\"containers\"", &format!("\"deep\":{deep},\"containers\""));
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let response = connection.post(PATH, &review).await.json()["response"].take();
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("deep"), &json!(true)), "{response}");
}

/// Slow clients take all memory for bodies of this length, which each is below the limit for a small one.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_that_take_all_memory_stop_no_pod() {
    const SLOW: usize = 300;
    let server = serve::start(Config::loopback()).await.unwrap();
    let (addr, authority) = (server.addr(), server.authority().unwrap());
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut connection = Connection::open(addr, authority).await;
        connection.send(&head(PATH, MAX_SMALL_BODY_BYTES)).await;
        connection.send(&vec![b' '; MAX_SMALL_BODY_BYTES - 1]).await;
        slow.push(connection);
    }
    let started = Instant::now();
    let review = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
    let uid = &serde_json::from_str::<Value>(review).unwrap()["request"]["uid"];
    let mut other = Connection::open(addr, authority).await;
    let answer = other.post("/mutate/enforce?timeout=5s", review).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let response = answer.json()["response"].take();
    assert_eq!((&response["uid"], &response["allowed"]), (uid, &json!(true)));
    let warning = "linkerd-linger: too many requests are in memory, so this object was admitted unchecked";
    assert_eq!(response["warnings"], json!([warning]));
    let failed = "linger_reviews_total{door=\"mutate\",mode=\"enforce\",outcome=\"failed\"}";
    assert_eq!(metric(server.admin_addr(), failed).await, 1.0);
}

/// The API server waits for a response, whether it has sent its whole request or not.
#[tokio::test]
async fn half_a_review_is_admitted_with_a_warning() {
    let server = start().await;
    let review = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
    let uid = &serde_json::from_str::<Value>(review).unwrap()["request"]["uid"];
    let mut slow = Connection::open(server.addr(), server.authority().unwrap()).await;
    slow.send(&head("/mutate/enforce?timeout=1s", review.len())).await;
    slow.send(&review.as_bytes()[..review.len() / 2]).await;
    let response = slow.answer().await.json()["response"].take();
    assert_eq!((&response["uid"], &response["allowed"]), (uid, &json!(true)));
    assert_eq!(response["warnings"].as_array().unwrap().len(), 1);
}
