//! Tests the `measure` command with servers of known behaviour on loopback.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hyper::{Response, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{sleep, timeout},
};

use self::support::{Authority, within};

/// What a server of the tests does.
#[derive(Clone, Copy, Debug)]
enum Server {
    /// Closes an idle connection after so many milliseconds.
    Closes(u64),
    /// Resets it.
    Resets(u64),
    /// Answers with `Connection: close`.
    ClosesEach,
    /// Says `Keep-Alive: timeout=1`, and closes after so many milliseconds.
    Announces(u64),
    /// Closes connections in turn after either.
    Differs(u64, u64),
    /// Never closes, not even when the client does.
    NeverCloses,
    /// Reads, and says nothing.
    Hangs,
    /// Closes before it has answered.
    ClosesAtOnce,
    /// Speaks something else.
    NotHttp,
    /// A body in chunks.
    Chunked(u64),
}

async fn start(server: Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0_u64.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, server, number));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, server: Server, number: u64) {
    if matches!(server, Server::NotHttp) {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
    }
    if matches!(server, Server::ClosesAtOnce) {
        return;
    }
    let mut buffer = [0; 4096];
    loop {
        let idle = match server {
            Server::Closes(millis)
            | Server::Resets(millis)
            | Server::Announces(millis)
            | Server::Chunked(millis) => millis,
            Server::Differs(even, odd) => {
                if number.is_multiple_of(2) {
                    even
                } else {
                    odd
                }
            }
            _ => 60_000,
        };
        match timeout(Duration::from_millis(idle), stream.read(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) if matches!(server, Server::NeverCloses) => return sleep(Duration::from_secs(60)).await,
            Ok(_) => return,
            Err(_) => {
                if matches!(server, Server::Resets(_)) {
                    stream.set_zero_linger().unwrap();
                }
                return;
            }
        }
        let answer = match server {
            Server::Hangs => continue,
            Server::ClosesEach => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            Server::Announces(_) => "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
            Server::Chunked(_) => {
                "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if matches!(server, Server::ClosesEach) {
            return;
        }
    }
}

async fn measure(url: &str, flags: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
    command.args(["measure", "-o", "json", url]).args(flags).kill_on_drop(true);
    let output = within("it ended", command.output()).await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report["servers"][0].clone(), String::from_utf8(output.stderr).unwrap())
}

#[rstest]
#[case::closes(Server::Closes(1200), "closes-after", Some(1.2), "answers-and-closes")]
#[case::resets(Server::Resets(1300), "closes-after", Some(1.3), "answers-and-closes")]
#[case::chunked(Server::Chunked(1100), "closes-after", Some(1.1), "answers-and-closes")]
#[case::announces_another(Server::Announces(1600), "closes-after", Some(1.6), "answers-and-closes")]
#[case::closes_each(Server::ClosesEach, "closes-each-response", None, "answers-and-closes")]
#[case::never(Server::NeverCloses, "still-open", None, "answers-and-stays-open")]
#[tokio::test]
async fn each_server_behaviour_is_measured(
    #[case] server: Server,
    #[case] kind: &str,
    #[case] seconds: Option<f64>,
    #[case] half_close: &str,
) {
    let address = start(server).await;
    let (code, report, _) = measure(&format!("http://{address}/x?y=1"), &["--max", "2s"]).await;
    assert_eq!((code, report["kind"].as_str()), (Some(0), Some(kind)), "{report}");
    assert_eq!(report["halfClose"], half_close, "{report}");
    if let Some(seconds) = seconds {
        let closes = &report["closesAfterSeconds"];
        for bound in [&closes[0], &closes[1]] {
            let error = bound.as_f64().unwrap() - seconds;
            // 50 ms is the goal; a loaded machine may be late, and never early.
            assert!((-0.05..0.3).contains(&error), "{report}");
        }
        assert!((closes[0].as_f64().unwrap() - seconds).abs() < 0.05, "{report}");
    }
    let announced = if matches!(server, Server::Announces(_)) { Value::from(1) } else { Value::Null };
    assert_eq!(report["announcedSeconds"], announced);
}

#[tokio::test]
async fn connections_that_end_differently_are_a_window_or_no_answer() {
    let address = start(Server::Differs(1000, 1900)).await;
    let (_, report, _) = measure(&format!("http://{address}/"), &[]).await;
    let closes = &report["closesAfterSeconds"];
    assert!(closes[0].as_f64().unwrap() < 1.1 && closes[1].as_f64().unwrap() > 1.8, "{report}");
    let address = start(Server::Differs(1000, 9000)).await;
    let (_, report, _) = measure(&format!("http://{address}/"), &["--max", "2s"]).await;
    assert_eq!((&report["kind"], &report["annotation"]), (&"differs".into(), &Value::Null), "{report}");
}

#[rstest]
#[case::hangs(Server::Hangs, "no response within 10s")]
#[case::closes_at_once(Server::ClosesAtOnce, "the server closed the connection without a response")]
#[case::not_http(Server::NotHttp, "the port does not answer in HTTP/1.1: ")]
#[tokio::test]
async fn measurement_errors_are_sentences(#[case] server: Server, #[case] error: &str) {
    let address = start(server).await;
    let (code, report, _) = measure(&format!("http://{address}/"), &[]).await;
    assert_eq!((code, report["kind"].as_str()), (Some(2), Some("error")), "{report}");
    assert!(report["error"].as_str().unwrap().starts_with(error), "{report}");
}

#[tokio::test]
async fn a_closed_port_is_a_sentence() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, report, _) = measure(&format!("http://{address}/"), &[]).await;
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().starts_with("cannot connect: Connection refused"), "{report}");
}

#[tokio::test]
async fn a_server_that_speaks_tls_is_named() {
    let pair = Authority::new().issue();
    let chain = rustls::pki_types::pem::PemObject::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap);
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(acceptor.accept(stream));
        }
    });
    let (code, report, _) = measure(&format!("http://{address}/"), &[]).await;
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().starts_with("the port uses TLS"), "{report}");
}

#[tokio::test]
async fn http2_without_tls_is_measured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = service_fn(async |_| {
                    Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from("ok"))))
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                if timeout(Duration::from_millis(1500), connection.as_mut()).await.is_err() {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            });
        }
    });
    let (code, report, _) =
        measure(&format!("http://{address}/"), &["--protocol", "h2c", "--connections", "2"]).await;
    assert_eq!((code, report["kind"].as_str()), (Some(0), Some("closes-after")), "{report}");
    assert!((report["closesAfterSeconds"][0].as_f64().unwrap() - 1.5).abs() < 0.1, "{report}");
}

#[rstest]
#[case::tls("https://127.0.0.1/", "cannot measure the URL")]
#[case::kind("job/web", "expected one of pod, deployment, statefulset, daemonset")]
#[case::annotate("http://127.0.0.1/", "--annotate needs a workload")]
#[tokio::test]
async fn a_target_that_cannot_be_is_refused(#[case] target: &str, #[case] error: &str) {
    let flags: &[&str] = if error.starts_with("--annotate") { &["--annotate"] } else { &[] };
    let started = Instant::now();
    let (code, _, stderr) = measure(target, flags).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains(error), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(5));
}
