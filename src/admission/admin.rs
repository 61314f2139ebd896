//! The plain HTTP port: `/livez`, `/readyz` and `/metrics`.
//!
//! These endpoints change nothing and return no secrets.

mod self_check;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio_util::sync::CancellationToken;

pub use self::self_check::SelfCheck;
use crate::admission::metrics::Metrics;

/// The media type of OpenMetrics text, as specified by OpenMetrics 1.0.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the webhook port should get traffic.
#[derive(Debug)]
pub struct Readiness {
    serving: AtomicBool,
    stopping: CancellationToken,
}

/// The state of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The server is still loading files and binding ports.
    Starting,
    /// The server answers requests.
    Serving,
    /// The server answers open requests, but is not ready for new clients.
    Stopping,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Serving, Self::Stopping];

    /// The response body of `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting: the webhook port does not accept connections yet",
            Self::Serving => "ready",
            Self::Stopping => "stopping: finishing open requests",
        }
    }
}

impl Readiness {
    /// Creates a state that is not ready until [`Self::serve`] is called, nor after `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { serving: AtomicBool::new(false), stopping }
    }

    /// Marks everything as loaded and bound.
    pub fn serve(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        match (self.stopping.is_cancelled(), self.serving.load(Ordering::Acquire)) {
            (true, _) => Phase::Stopping,
            (false, true) => Phase::Serving,
            (false, false) => Phase::Starting,
        }
    }
}

/// Builds the routes of the plain port. `self_check` connects to the webhook port; `connections` returns the number of
/// its open connections.
pub fn router(
    readiness: Arc<Readiness>,
    self_check: Arc<SelfCheck>,
    metrics: Arc<Metrics>,
    connections: impl Fn() -> usize + Clone + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || readyz(&readiness, &self_check).await))
        .route(
            "/metrics",
            get(async move || {
                metrics.connections(connections());
                exposition(&metrics)
            }),
        )
}

async fn readyz(readiness: &Readiness, self_check: &SelfCheck) -> Response {
    let phase = readiness.phase();
    let answers = match phase {
        Phase::Serving => self_check.check().await,
        Phase::Starting | Phase::Stopping => Ok(()),
    };
    let status = match (phase, &answers) {
        (Phase::Serving, Ok(())) => StatusCode::OK,
        (Phase::Serving, Err(_)) | (Phase::Starting | Phase::Stopping, _) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = match answers {
        Ok(()) => phase.as_str().to_owned(),
        Err(problem) => format!("failing: TLS handshake with the webhook port failed: {problem}"),
    };
    (status, format!("{text}\n")).into_response()
}

fn exposition(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot print the metrics: {error}\n"))
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use jiff::{SignedDuration, Timestamp};
    use rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject},
    };
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::admission::certs::issue;

    #[test]
    fn ready_lasts_from_serving_to_stopping() {
        let stopping = CancellationToken::new();
        let readiness = Readiness::new(stopping.clone());
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.serve();
        assert_eq!(readiness.phase(), Phase::Serving);
        stopping.cancel();
        assert_eq!(readiness.phase(), Phase::Stopping);
    }

    /// Starts a server that completes the TLS handshake with any client.
    async fn webhook_port() -> SocketAddr {
        let (_, leaf) =
            issue::leaf_and_authority(&["localhost"], SignedDuration::from_hours(1), Timestamp::now())
                .unwrap();
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.certificate.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tls.accept(stream).await.unwrap();
            }
        });
        addr
    }

    #[tokio::test]
    async fn readyz_succeeds_only_while_the_webhook_port_answers() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        for (port, answers) in [(webhook_port().await, true), (nobody, false)] {
            let self_check = SelfCheck::new(port).unwrap();
            for phase in Phase::ALL {
                let readiness = Readiness::new(CancellationToken::new());
                if phase != Phase::Starting {
                    readiness.serve();
                }
                if phase == Phase::Stopping {
                    readiness.stopping.cancel();
                }
                assert_eq!(readiness.phase(), phase);
                let is_ready = readyz(&readiness, &self_check).await.status() == StatusCode::OK;
                assert_eq!(is_ready, answers && phase == Phase::Serving, "{phase:?} {answers}");
            }
        }
    }
}
