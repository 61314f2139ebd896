//! Spans of reviews at an OpenTelemetry collector, which is played on the loopback interface.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by panicking, and uses a part of the support"
)]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use linkerd_linger::{
    admission::{
        serve::{self, CertificateSource, Config},
        traces::Traces,
    },
    review::{Endpoint, Mode, WebhookKind},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

use self::support::{Authority, Connection, Mount, head};

const REVIEW: &str = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that takes spans, and sends what it got.
fn collector() -> (String, Receiver<(String, Vec<Span>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let length = head.to_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            let spans = scopes.flat_map(|scope| scope.spans).collect();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if sender.send((head.lines().next().unwrap().to_owned(), spans)).is_err() {
                return;
            }
        }
    });
    (url, received)
}

/// Sends a body to a server with these traces, stops both, and returns how long that took.
async fn review(traces: &Traces, traceparent: &str, body: &str) -> Duration {
    let authority = Authority::new();
    let mount = Mount::new(&authority.issue());
    let certificate = CertificateSource::Files(mount.files());
    let config = Config { certificate, traces: Some(traces.clone()), ..Config::loopback() };
    let server = serve::start(config).await.unwrap();
    let mut connection = Connection::open(server.addr(), &authority.pem()).await;
    let path = Endpoint::new(WebhookKind::Mutating, Mode::Enforce).path();
    let started = Instant::now();
    let head = String::from_utf8(head(&path, body.len())).unwrap();
    let head = head.replace("\r\n\r\n", &format!("\r\ntraceparent: {traceparent}\r\n\r\n"));
    connection.send(head.as_bytes()).await;
    connection.send(body.as_bytes()).await;
    connection.answer().await;
    let traces = traces.clone();
    tokio::task::spawn_blocking(move || traces.stop()).await.unwrap();
    started.elapsed()
}

async fn start(url: String) -> Traces {
    let url = url.parse().unwrap();
    tokio::task::spawn_blocking(move || Traces::start(&url)).await.unwrap().unwrap()
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    span.attributes
        .iter()
        .map(|attribute| {
            let value = match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                Value::BoolValue(truth) => truth.to_string(),
                other => format!("{other:?}"),
            };
            (&*attribute.key, value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_span_continues_the_trace_of_the_api_server() {
    let (url, received) = collector();
    review(&start(url).await, &format!("00-{TRACE}-{PARENT}-01"), REVIEW).await;
    let (line, spans) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1");
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(span.name, "AdmissionReview");
    let attributes = attributes(span);
    let expected = [
        ("k8s.namespace.name", "i-edge-24-11-8"),
        ("linkerd_linger.dry_run", "false"),
        ("linkerd_linger.kind", "Pod"),
        ("linkerd_linger.mode", "enforce"),
        ("linkerd_linger.outcome", "rejected"),
        ("linkerd_linger.unprivileged", "false"),
        ("linkerd_linger.webhook", "mutate"),
    ];
    for (key, value) in expected {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key} of {attributes:?}");
    }
}

#[tokio::test]
async fn a_request_that_gets_an_error_is_a_failed_span() {
    let (url, received) = collector();
    review(&start(format!("{url}/v1/traces")).await, &format!("00-{TRACE}-{PARENT}-01"), "{}").await;
    let (line, spans) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1");
    let status = spans[0].status.as_ref().unwrap();
    assert_eq!((status.code, &*status.message), (2, "not_a_review"), "{spans:?}");
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_not_sent() {
    let (url, received) = collector();
    review(&start(url).await, &format!("00-{TRACE}-{PARENT}-00"), REVIEW).await;
    assert!(received.try_recv().is_err());
}

/// The collector accepts connections, and never answers.
#[tokio::test]
async fn a_collector_that_does_not_answer_delays_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let took = review(&start(url).await, &format!("00-{TRACE}-{PARENT}-01"), REVIEW).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}
