//! The servers that linkerd-linger is compared with: the same axum, axum-server and rustls with the same settings.
//!
//! [`echo`] sends the body back. [`lean`] parses what a decision needs, borrowed, and answers with a constant patch.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use axum_server::{
    accept::Accept,
    tls_rustls::{RustlsConfig, from_tcp_rustls},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::TLS13,
};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

/// The longest body, as in `src/admission/serve/bodies.rs`.
const LONGEST_BODY: usize = 7 * 1024 * 1024;

/// What each server is told: the flags of the Go webhooks are the same.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the webhook.
    #[arg(long)]
    listen: SocketAddr,
    /// Certificate in PEM.
    #[arg(long)]
    tls_cert: PathBuf,
    /// Private key in PEM.
    #[arg(long)]
    tls_key: PathBuf,
}

/// Serves the body of each request as its answer.
pub fn echo(args: &Args) -> anyhow::Result<()> {
    serve(args, |request| async { Ok(read(request).await?.into_response()) })
}

/// Serves a constant patch for each review of a pod with linkerd-init.
pub fn lean(args: &Args) -> anyhow::Result<()> {
    serve(args, |request| async {
        let body = read(request).await?;
        let answer = answer(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response())
    })
}

async fn read(request: Request) -> Result<Bytes, StatusCode> {
    to_bytes(request.into_body(), LONGEST_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)
}

/// As `src/admission/serve.rs` and `credentials.rs` set up the webhook port.
fn serve<F>(args: &Args, reply: impl Fn(Request) -> F + Clone + Send + Sync + 'static) -> anyhow::Result<()>
where
    F: Future<Output = Result<Response, StatusCode>> + Send + 'static,
{
    let chain = CertificateDer::pem_file_iter(&args.tls_cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&args.tls_key)?)?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = RustlsConfig::from_config(Arc::new(tls));
    let router = Router::new().route("/mutate/enforce", post(reply));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await.context("cannot listen")?.into_std()?;
        let mut server = from_tcp_rustls(listener, tls)?
            .map(|tls| tls.handshake_timeout(Duration::from_secs(5)).acceptor(StallAcceptor));
        let http = server.http_builder();
        http.http1().header_read_timeout(Duration::from_secs(180)).max_buf_size(64 * 1024);
        http.http2()
            .keep_alive_interval(Duration::from_secs(180))
            .keep_alive_timeout(Duration::from_secs(10));
        http.http2().initial_connection_window_size(64 * 1024).initial_stream_window_size(64 * 1024);
        server.first_request_timeout(Duration::from_secs(10)).serve(router.into_make_service()).await?;
        Ok(())
    })
}

/// The acceptor of `src/admission/serve/stall.rs`.
#[derive(Clone, Copy, Debug)]
struct StallAcceptor;

impl<S> Accept<TcpStream, S> for StallAcceptor {
    type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let no_delay = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(Duration::from_secs(10)));
        ready(no_delay.map(|()| (Box::pin(stream), service)))
    }
}

/// What a decision on a pod reads of a review, borrowed from the body.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: ReviewRequest<'a>,
}

#[derive(Deserialize)]
struct ReviewRequest<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
    #[serde(borrow)]
    object: Pod<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the annotations are parsed, as a decision would read them")]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, as a decision would read them")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    annotations: BTreeMap<Text<'a>, Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the containers are parsed, as a decision would read them")]
struct Spec<'a> {
    #[serde(borrow, default)]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow)]
    containers: Vec<Container<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed, as a decision would read them")]
struct Container<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default)]
    image: Option<Text<'a>>,
    #[serde(borrow, default)]
    command: Vec<Text<'a>>,
    #[serde(borrow, default)]
    args: Vec<Text<'a>>,
    #[serde(borrow, default)]
    env: Vec<Variable<'a>>,
    #[serde(default)]
    liveness_probe: Option<Probe>,
    #[serde(default)]
    readiness_probe: Option<Probe>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, as a decision would read them")]
struct Variable<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed, as a decision would read them")]
struct Probe {
    #[serde(default)]
    period_seconds: Option<u32>,
}

#[derive(Deserialize, Eq, Ord, PartialEq, PartialOrd)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: AnswerResponse<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

/// The patch that linkerd-linger makes for the first init container, if that is linkerd-init.
const PATCH: &str = r#"[{"op":"add","path":"/spec/initContainers/0/args/-","value":"--timeout-close-wait-secs"},{"op":"add","path":"/spec/initContainers/0/args/-","value":"3600"},{"op":"add","path":"/spec/initContainers/0/securityContext/privileged","value":true},{"op":"add","path":"/spec/initContainers/0/securityContext/allowPrivilegeEscalation","value":true},{"op":"add","path":"/spec/initContainers/0/securityContext/runAsUser","value":0},{"op":"add","path":"/spec/initContainers/0/securityContext/runAsNonRoot","value":false}]"#;

static ENCODED_PATCH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(PATCH));

fn answer(body: &[u8]) -> serde_json::Result<Vec<u8>> {
    let request = serde_json::from_slice::<Review<'_>>(body)?.request;
    let first = request.object.spec.init_containers.first();
    let patch = first.filter(|container| container.name.0 == "linkerd-init").map(|_| ENCODED_PATCH.as_str());
    serde_json::to_vec(&Answer {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: AnswerResponse {
            uid: &request.uid.0,
            allowed: true,
            patch,
            patch_type: patch.map(|_| "JSONPatch"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reviews;

    #[test]
    fn the_lean_webhook_answers_reviews_of_every_size() {
        for size in reviews::SIZES {
            let review = reviews::of_size(size).unwrap();
            let answer = answer(&review).unwrap();
            assert!(reviews::patched_init_container(&review, &answer).unwrap()["args"].is_array());
        }
    }
}
