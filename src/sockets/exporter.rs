//! Serves the metrics of a node over HTTP; each scrape reads the kernel.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_server::Handle;
use tokio::{
    sync::Mutex,
    task::{spawn, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::{kernel, report};

/// The media type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The idle timeout of connections: longer than Prometheus' default scrape interval of 1 m.
const IDLE: Duration = Duration::from_secs(90);
/// The timeout for the first request on a connection.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long open requests may take after the shutdown signal.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `/metrics` and `/livez` until `stop` is cancelled.
///
/// # Errors
///
/// Returns an error if the listener cannot be used.
pub async fn serve(listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    // Scrapes run one after the other, so that concurrent ones do not cost more.
    let turn = Arc::new(Mutex::new(()));
    let routes = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/metrics", get(async move || metrics(&turn).await));
    let handle = Handle::new();
    let ended = handle.clone();
    spawn(async move {
        stop.cancelled().await;
        ended.graceful_shutdown(Some(DRAIN));
    });
    let mut server = axum_server::from_tcp(listener)?;
    server.http_builder().http1().header_read_timeout(IDLE);
    server.first_request_timeout(FIRST_REQUEST).handle(handle).serve(routes.into_make_service()).await
}

async fn metrics(turn: &Mutex<()>) -> Response {
    let _turn = turn.lock().await;
    match spawn_blocking(sample).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read /proc: {error}\n")).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The metrics of the pods of this node.
fn sample() -> io::Result<String> {
    let (mut targets, _) = kernel::of_node()?;
    targets.retain(|target| target.pod.is_some());
    let (namespaces, errors) = kernel::sample(&targets);
    Ok(report::prometheus(&kernel::report(&namespaces, errors)))
}
