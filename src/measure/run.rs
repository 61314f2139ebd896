//! Measures servers: opens connections and collects the results.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    connection::{self, MeasureError, Protocol, RequestOptions, Sample},
    half_close::half_close,
    report::Measurement,
    target::{Server, Workload},
};
use crate::{base::errors::describe, cluster::Cluster};

/// The timeout for opening a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The period over which connections are opened. Servers that check their timers once a second then close at different
/// times.
const STAGGER: Duration = Duration::from_secs(1);
/// The maximum delay of a close over port-forward: container runtimes wait this long for the client's side.
const FORWARD_DELAY: Duration = Duration::from_secs(1);

/// The settings of a measurement.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of connections.
    pub connections: usize,
    /// How long to wait for a close.
    pub max: Duration,
    /// The protocol.
    pub protocol: Protocol,
    /// Counts finished connections, for progress reports.
    pub ended: Arc<AtomicUsize>,
}

impl Settings {
    fn request_options(&self, host: String, path: String) -> RequestOptions {
        RequestOptions { protocol: self.protocol, host, path, max: self.max, delay: Duration::ZERO }
    }
}

/// Measures a server at a URL: its host (without the brackets of an IPv6 address), port, authority and path.
pub async fn url(host: &str, port: u16, authority: &str, path: String, settings: &Settings) -> Measurement {
    let request_options = settings.request_options(authority.to_owned(), path);
    let open = async || {
        let connect = timeout(CONNECT, TcpStream::connect((host, port)));
        match connect.await {
            Ok(stream) => stream.map_err(|error| MeasureError::Connect(error.to_string())),
            Err(_) => Err(MeasureError::Connect(format!("no response within {}s", CONNECT.as_secs()))),
        }
    };
    let samples = samples(settings, &request_options, &open).await;
    let answered = samples.iter().any(Result::is_ok) && request_options.protocol == Protocol::Http1;
    let half_close = match open().await {
        Ok(stream) if answered => half_close(stream, &request_options).await.ok(),
        Ok(_) | Err(_) => None,
    };
    let title = format!("http://{authority}{}", request_options.path);
    Measurement {
        title,
        protocol: request_options.protocol,
        samples,
        half_close,
        known: None,
        uncertain: Duration::ZERO,
    }
}

/// Measures a server in a pod by port-forward. A client cannot close only its own side over it.
pub async fn server(
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    server: &Server,
    settings: &Settings,
) -> Measurement {
    let mut request_options =
        settings.request_options(format!("localhost:{}", server.port), server.path.clone());
    let open = async || {
        let stream = cluster.port_forward(namespace, &server.pod, server.port).await;
        stream.map_err(|error| MeasureError::Connect(describe(&error)))
    };
    let mut uncertain = FORWARD_DELAY;
    if request_options.protocol == Protocol::Http1
        && let Some(delay) = delay(&request_options, &open).await
    {
        (request_options.delay, uncertain) = (delay, Duration::ZERO);
    }
    let samples = samples(settings, &request_options, &open).await;
    let title = format!(
        "{namespace} {}, pod {}, container {}, port {}, GET {}",
        workload.display_name(),
        server.pod,
        server.container,
        server.port,
        server.path
    );
    let known = Some(server.known.clone());
    Measurement { title, protocol: request_options.protocol, samples, half_close: None, known, uncertain }
}

/// The delay of a detected close: the minimum over some connections, because a busy machine only adds to it. `None` if
/// the server does not close on request.
async fn delay<S>(
    request_options: &RequestOptions,
    open: &impl AsyncFn() -> Result<S, MeasureError>,
) -> Option<Duration>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let one = async || connection::delay(open().await.ok()?, request_options).await.ok()?;
    let (first, second, third) = tokio::join!(one(), one(), one());
    [first, second, third].into_iter().flatten().min()
}

/// Opens connections one after the other, and waits for all of them.
async fn samples<S>(
    settings: &Settings,
    request_options: &RequestOptions,
    open: &impl AsyncFn() -> Result<S, MeasureError>,
) -> Vec<Result<Sample, MeasureError>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut tasks = Vec::new();
    for number in 0..settings.connections {
        if number > 0 {
            sleep(STAGGER / u32::try_from(settings.connections).unwrap_or(1)).await;
        }
        let stream = match open().await {
            Ok(stream) => stream,
            Err(error) => {
                tasks.push(Err(error));
                // If one cannot be opened, the others cannot either.
                break;
            }
        };
        let (request_options, ended) = (request_options.clone(), Arc::clone(&settings.ended));
        tasks.push(Ok(tokio::spawn(async move {
            let sample = connection::sample(stream, &request_options).await;
            ended.fetch_add(1, Ordering::Relaxed);
            sample
        })));
    }
    let mut samples = Vec::new();
    for task in tasks {
        samples.push(match task {
            Ok(task) => task.await.unwrap_or_else(|error| Err(MeasureError::Connect(error.to_string()))),
            Err(error) => Err(error),
        });
    }
    samples
}
