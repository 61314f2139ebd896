//! Measures servers: opens connections, waits for all of them, and keeps what they showed.

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

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Over what time connections are opened: servers that look at their timers once a second close at different times.
const STAGGER: Duration = Duration::from_secs(1);
/// By how much later a port-forward may show a close: what container runtimes wait for the client's side.
const FORWARD_DELAY: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many connections to open.
    pub connections: usize,
    /// How long to wait for a close.
    pub max: Duration,
    /// The protocol to speak.
    pub protocol: Protocol,
    /// Counts connections that have ended, for whoever shows progress.
    pub ended: Arc<AtomicUsize>,
}

impl Settings {
    fn request_options(&self, host: String, path: String) -> RequestOptions {
        RequestOptions { protocol: self.protocol, host, path, max: self.max, delay: Duration::ZERO }
    }
}

/// Measures a server that a URL names: its host, without the brackets of an IPv6 address, its port, authority and path.
pub async fn url(host: &str, port: u16, authority: &str, path: String, settings: &Settings) -> Measurement {
    let request_options = settings.request_options(authority.to_owned(), path);
    let open = async || {
        let connect = timeout(CONNECT, TcpStream::connect((host, port)));
        match connect.await {
            Ok(stream) => stream.map_err(|error| MeasureError::Connect(error.to_string())),
            Err(_) => Err(MeasureError::Connect(format!("no answer within {}s", CONNECT.as_secs()))),
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

/// Measures a server in a pod, by port-forward, over which a client cannot close only its own side.
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

/// By how much later than the server's close we see it: the shortest time of some connections, since a busy machine can only add to
/// it. `None` if the server does not close when it is asked to.
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

/// Opens connections one after the other, and waits for the end of all.
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
                // Where one cannot be opened, neither can the others.
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
