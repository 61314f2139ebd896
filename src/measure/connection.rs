//! Measures a connection: a request, its response, and the time until the server closes.

use std::{future::poll_fn, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

pub use super::watched::Close;
use super::{
    USER_AGENT,
    watched::{Log, Watched},
};

/// The timeout of a response; a server that takes longer is too busy to be measured.
const RESPONSE: Duration = Duration::from_secs(10);
/// The timeout for the close of a connection with `Connection: close`. Container runtimes add 1 s (see [`delay`]).
const REQUESTED_CLOSE: Duration = Duration::from_secs(3);
/// A close within this time after the response belongs to the response. No idle timeout in the catalog is shorter than
/// 1 s.
const WITH_RESPONSE: Duration = Duration::from_millis(300);
/// The first byte of a TLS alert record (RFC 8446, section 5.1), which a TLS server sends to clients that do not use
/// TLS.
const TLS_ALERT: u8 = 21;

/// The protocol of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

impl Protocol {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::H2c => "h2c",
        }
    }
}

/// The request to send.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// The protocol.
    pub protocol: Protocol,
    /// The `Host` header, or the authority.
    pub host: String,
    /// The path, with its query.
    pub path: String,
    /// How long to wait for a close.
    pub max: Duration,
    /// The delay between the server's close and its detection.
    pub delay: Duration,
}

/// The result of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// The status of the response.
    pub status: u16,
    /// The `timeout` of the `Keep-Alive` header, in seconds.
    pub announced: Option<u64>,
    /// What the server did with the idle connection.
    pub end: End,
}

/// What a server did with an idle connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Closed it together with the response.
    WithResponse,
    /// Closed it this long after the last byte of the response.
    After(Duration, Close),
    /// Had not closed it this long after the last byte of the response.
    StillOpen(Duration),
}

/// Why a connection has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MeasureError {
    /// The connection failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server uses TLS.
    #[error("the port uses TLS, which the proxy forwards as TCP without re-using connections")]
    Tls,
    /// The response is not HTTP.
    #[error("the port does not answer in {protocol}: {why}", protocol = .0.as_str(), why = .1)]
    NotHttp(Protocol, String),
    /// The response did not arrive in time.
    #[error("no response within {}s", RESPONSE.as_secs())]
    NoResponse,
    /// The server closed the connection before the response.
    #[error("the server closed the connection without a response")]
    ClosedBefore,
}

/// Sends a request on a new stream, and waits until the server closes it.
///
/// # Errors
///
/// Returns an error if there is no complete response.
pub async fn sample<S>(stream: S, request_options: &RequestOptions) -> Result<Sample, MeasureError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, log) = Watched::new(stream);
    let io = TokioIo::new(stream);
    let failed = |error: hyper::Error| explain(&error, &log, request_options.protocol);
    // hyper closes a connection when its sender is dropped, so it is kept until the wait ends.
    match request_options.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await.map_err(failed)?;
            let exchange = async {
                poll_fn(|cx| sender.poll_ready(cx)).await?;
                read(sender.send_request(request(request_options)).await?).await
            };
            watch(exchange, connection, &log, request_options).await
        }
        Protocol::H2c => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new());
            let (mut sender, connection) = builder.handshake(io).await.map_err(failed)?;
            let exchange = async {
                poll_fn(|cx| sender.poll_ready(cx)).await?;
                read(sender.send_request(request(request_options)).await?).await
            };
            watch(exchange, connection, &log, request_options).await
        }
    }
}

/// Waits for the response, then for the end of the connection.
async fn watch<C>(
    exchange: impl Future<Output = Result<(u16, Option<u64>), hyper::Error>>,
    connection: C,
    log: &Log,
    request_options: &RequestOptions,
) -> Result<Sample, MeasureError>
where
    C: Future<Output: Send> + Send + 'static,
{
    let mut connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let (status, announced) = respond(exchange, log, request_options.protocol).await?;
    let end = idle(log, request_options, async { drop((&mut connection).await) }).await;
    Ok(Sample { status, announced, end })
}

/// Measures the delay between the server's close and its detection on this stream: the time until a connection with
/// `Connection: close` ends. `None` if the server does not close it.
///
/// A port-forward shows a close late: container runtimes wait up to 1 s for the client's side, which stays open
/// (containerd 2.4.2, `internal/cri/server/sandbox_portforward_linux.go`).
///
/// # Errors
///
/// Returns an error if there is no complete response.
pub async fn delay<S>(stream: S, request_options: &RequestOptions) -> Result<Option<Duration>, MeasureError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut stream, log) = Watched::new(stream);
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        request_options.path, request_options.host
    );
    let failed = |error: std::io::Error| MeasureError::Connect(error.to_string());
    stream.write_all(text.as_bytes()).await.map_err(failed)?;
    let mut buffer = vec![0; 16 << 10];
    let closed = timeout(RESPONSE, async {
        loop {
            let wait = if log.seen().last_bytes.is_some() { REQUESTED_CLOSE } else { RESPONSE };
            match timeout(wait, stream.read(&mut buffer)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return true,
                Err(_) => return false,
            }
        }
    });
    let closed = closed.await.unwrap_or(false);
    let seen = log.seen();
    let Some(last) = seen.last_bytes else {
        return Err(if closed { MeasureError::ClosedBefore } else { MeasureError::NoResponse });
    };
    Ok(seen.end.filter(|_| closed).map(|(at, _)| at.saturating_duration_since(last)))
}

fn request(request_options: &RequestOptions) -> Request<Empty<Bytes>> {
    let uri = match request_options.protocol {
        Protocol::Http1 => request_options.path.clone(),
        Protocol::H2c => format!("http://{}{}", request_options.host, request_options.path),
    };
    let mut request = Request::new(Empty::new());
    // The path and the host name were validated before.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let (Protocol::Http1, Ok(host)) = (request_options.protocol, request_options.host.parse()) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, header::HeaderValue::from_static("*/*"));
    request
}

/// Reads the whole response; returns the status and the announced timeout.
async fn read(response: Response<Incoming>) -> Result<(u16, Option<u64>), hyper::Error> {
    let announced = response.headers().get("keep-alive").and_then(|value| announced(value.to_str().ok()?));
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok((status, announced))
}

/// The `timeout` in `Keep-Alive: timeout=5, max=100` (RFC 2068, section 19.7.1.1).
fn announced(text: &str) -> Option<u64> {
    text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })
}

async fn respond<T>(
    exchange: impl Future<Output = Result<T, hyper::Error>>,
    log: &Log,
    protocol: Protocol,
) -> Result<T, MeasureError> {
    match timeout(RESPONSE, exchange).await {
        Ok(result) => result.map_err(|error| explain(&error, log, protocol)),
        Err(_) => Err(MeasureError::NoResponse),
    }
}

/// Waits until the server closes; `ended` returns when the connection can no longer be used.
async fn idle(log: &Log, request_options: &RequestOptions, ended: impl Future<Output = ()>) -> End {
    let last = log.seen().last_bytes.unwrap_or_else(Instant::now);
    if timeout_at(last + request_options.max + request_options.delay, ended).await.is_err() {
        return End::StillOpen(request_options.max);
    }
    let (at, close) = log.seen().end.unwrap_or_else(|| (Instant::now(), Close::Closed));
    let after = at.saturating_duration_since(last).saturating_sub(request_options.delay);
    if after < WITH_RESPONSE { End::WithResponse } else { End::After(after, close) }
}

fn explain(error: &hyper::Error, log: &Log, protocol: Protocol) -> MeasureError {
    let seen = log.seen();
    match (seen.first_byte, seen.end) {
        (Some(TLS_ALERT), _) => MeasureError::Tls,
        (None, Some(_)) => MeasureError::ClosedBefore,
        _ if error.is_incomplete_message() => MeasureError::ClosedBefore,
        _ => MeasureError::NotHttp(protocol, crate::base::errors::describe(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_timeout_is_read() {
        assert_eq!(announced("timeout=5"), Some(5));
        assert_eq!(announced("max=100, Timeout = 15"), Some(15));
        assert_eq!(announced("max=100"), None);
        assert_eq!(announced("timeout=soon"), None);
    }
}
