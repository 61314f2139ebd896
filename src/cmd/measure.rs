//! `measure`: how long a server keeps an idle connection, measured.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use hyper::Uri;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, interval, sleep, timeout},
};

use super::{connection::Connection, manifests::print};
use crate::{
    base::{clock::today, duration, errors::describe},
    cluster::Cluster,
    measure::{
        connection::{self, Ask, MeasureError, Protocol, Sample},
        half_close::half_close,
        report::Measurement,
        target::{self, Server, Workload},
    },
    workload::annotations::IDLE_TIMEOUT,
};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Over what time connections are opened: servers that look at their timers once a second close at different times.
const STAGGER: Duration = Duration::from_secs(1);
/// By how much later a port-forward may show a close: what container runtimes wait for the client's side.
const FORWARD_DELAY: Duration = Duration::from_secs(1);
/// The most connections: a measurement must not be a load.
const MOST_CONNECTIONS: usize = 8;
/// The field manager of `--annotate`.
const MANAGER: &str = "linkerd-linger-measure";

const EXAMPLES: &str = "\
Examples:
  linkerd linger measure deploy/web -n shop
  linkerd linger measure deploy/web -n shop --annotate
  linkerd linger measure pod/web-0 -n shop --port 8080 --path /healthz
  linkerd-linger measure http://127.0.0.1:8080/

Exit codes:
  0  measured, and the spec does not say otherwise
  1  measured, and the spec says otherwise
  2  nothing could be measured, or the command line cannot be understood";

/// The flags of `measure`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A URL, or a workload: deploy/web, statefulset/db, daemonset/agent, pod/web-0
    target: String,
    /// The namespace of the workload
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The port to measure [default: those that the httpGet probes ask]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The path to ask for [default: that of the probe, else /]
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Option<String>,
    /// How long to wait for a close
    #[arg(long, value_name = "DURATION", default_value = "130s", value_parser = duration::read)]
    max: Duration,
    /// How many connections to open, at most 8
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = connections)]
    connections: usize,
    /// The protocol to speak
    #[arg(long, value_enum, value_name = "PROTOCOL", default_value_t = Protocols::Http1)]
    protocol: Protocols,
    /// Write the annotation to the workload's pod template, whose pods are then created again
    #[arg(long)]
    annotate: bool,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Protocols {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 without TLS
    H2c,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

fn path(text: &str) -> Result<String, String> {
    match text.parse::<Uri>() {
        Ok(uri) if text.starts_with('/') && uri.authority().is_none() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("it is no path of a URL: write it like /healthz".to_owned()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST_CONNECTIONS) => Ok(number),
        Ok(_) | Err(_) => Err(format!("it is no number from 1 to {MOST_CONNECTIONS}")),
    }
}

/// Measures, and prints.
///
/// # Errors
///
/// When nothing can be measured.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let measurements = runtime.block_on(measure(args))?;
    let text = match args.output {
        Format::Text => measurements.iter().map(Measurement::text).collect::<Vec<_>>().join("\n"),
        Format::Json => {
            let reports: Vec<_> = measurements.iter().map(Measurement::report).collect();
            serde_json::to_string_pretty(&json!({"servers": reports}))? + "\n"
        }
    };
    print(&text)?;
    if measurements.iter().all(|measurement| measurement.behaviour().is_err()) {
        return Ok(ExitCode::from(2));
    }
    let differs = measurements.iter().any(|measurement| measurement.agrees() == Some(false));
    Ok(if differs { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

async fn measure(args: &Args) -> anyhow::Result<Vec<Measurement>> {
    if args.target.contains("://") {
        ensure!(!args.annotate, "--annotate writes to a workload: give one, such as deploy/web");
        return Ok(vec![measure_url(args).await?]);
    }
    let workload = Workload::parse(&args.target).map_err(anyhow::Error::msg)?;
    ensure!(
        !args.annotate || workload.kind.is_some(),
        "--annotate writes to a pod template: an annotation of a pod is lost when it is created again; give its workload, \
         such as deploy/web"
    );
    let cluster =
        Cluster::connect(&args.connection.target()).await.map_err(|error| anyhow::anyhow!(error.told()))?;
    let namespace = args.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let found =
        target::servers(&cluster, &namespace, &workload, args.port, args.path.as_deref(), today()).await?;
    let mut measurements = Vec::new();
    for server in found {
        measurements.push(measure_server(args, &cluster, &namespace, &workload, server).await);
    }
    if args.annotate {
        annotate(&cluster, &namespace, &workload, &measurements).await?;
    }
    Ok(measurements.into_iter().map(|(_, measurement)| measurement).collect())
}

/// Measures a server of this machine, or of its network.
async fn measure_url(args: &Args) -> anyhow::Result<Measurement> {
    let uri: Uri = args.target.parse().with_context(|| format!("cannot read the URL {:?}", args.target))?;
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
        bail!(
            "{:?} is no URL that can be measured: give http://HOST[:PORT]/PATH. TLS is not measured, since the proxy passes \
             it on as it is",
            args.target
        );
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = args.port.or_else(|| authority.port_u16()).unwrap_or(80);
    let path = args.path.clone().or_else(|| uri.path_and_query().map(ToString::to_string));
    let ask = ask(args, authority.to_string(), path.unwrap_or_else(|| "/".to_owned()));
    let open = async || {
        let connect = timeout(CONNECT, TcpStream::connect((host.as_str(), port)));
        match connect.await {
            Ok(stream) => stream.map_err(|error| MeasureError::Connect(error.to_string())),
            Err(_) => Err(MeasureError::Connect(format!("no answer within {}s", CONNECT.as_secs()))),
        }
    };
    let samples = samples(args, &ask, &open).await;
    let answered = samples.iter().any(Result::is_ok) && ask.protocol == Protocol::Http1;
    let half_close = match open().await {
        Ok(stream) if answered => half_close(stream, &ask).await.ok(),
        Ok(_) | Err(_) => None,
    };
    let title = format!("http://{authority}{}", ask.path);
    Ok(Measurement {
        title,
        protocol: ask.protocol,
        samples,
        half_close,
        known: None,
        uncertain: Duration::ZERO,
    })
}

/// Measures a server in a pod, by port-forward, over which a client cannot close only its own side.
async fn measure_server(
    args: &Args,
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    server: Server,
) -> (Server, Measurement) {
    let mut ask = ask(args, format!("localhost:{}", server.port), server.path.clone());
    let open = async || {
        let stream = cluster.port_forward(namespace, &server.pod, server.port).await;
        stream.map_err(|error| MeasureError::Connect(describe(&error)))
    };
    let mut uncertain = FORWARD_DELAY;
    if let Ok(stream) = open().await
        && ask.protocol == Protocol::Http1
        && let Ok(Some(delay)) = connection::delay(stream, &ask).await
    {
        (ask.delay, uncertain) = (delay, Duration::ZERO);
    }
    let samples = samples(args, &ask, &open).await;
    let title = format!(
        "{namespace} {}, pod {}, container {}, port {}, GET {}",
        workload.shown(),
        server.pod,
        server.container,
        server.port,
        server.path
    );
    let known = Some(server.known.clone());
    (server, Measurement { title, protocol: ask.protocol, samples, half_close: None, known, uncertain })
}

fn ask(args: &Args, host: String, path: String) -> Ask {
    let protocol = match args.protocol {
        Protocols::Http1 => Protocol::Http1,
        Protocols::H2c => Protocol::H2c,
    };
    Ask { protocol, host, path, max: args.max, delay: Duration::ZERO }
}

/// Opens connections one after the other, and waits for the end of all.
async fn samples<S>(
    args: &Args,
    ask: &Ask,
    open: &impl AsyncFn() -> Result<S, MeasureError>,
) -> Vec<Result<Sample, MeasureError>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ended = Arc::new(AtomicUsize::new(0));
    let progress = tokio::spawn(progress(args.connections, args.max, Arc::clone(&ended)));
    let mut tasks = Vec::new();
    for number in 0..args.connections {
        if number > 0 {
            // No connection can be a multiple of a second apart from another.
            sleep(STAGGER / u32::try_from(args.connections).unwrap_or(1)).await;
        }
        let stream = match open().await {
            Ok(stream) => stream,
            Err(error) => {
                tasks.push(Err(error));
                // Where one cannot be opened, neither can the others.
                break;
            }
        };
        let (ask, ended) = (ask.clone(), Arc::clone(&ended));
        tasks.push(Ok(tokio::spawn(async move {
            let sample = connection::sample(stream, &ask).await;
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
    progress.abort();
    if stderr().is_terminal() {
        anstream::eprint!("\r\x1b[K");
    }
    samples
}

/// Shows on a terminal how long it has been waiting.
async fn progress(connections: usize, max: Duration, ended: Arc<AtomicUsize>) {
    if !stderr().is_terminal() {
        return;
    }
    let since = Instant::now();
    let mut tick = interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        anstream::eprint!(
            "\r\x1b[Kwaiting for {}s of at most {}: {} of {connections} connections ended",
            since.elapsed().as_secs(),
            duration::show(max),
            ended.load(Ordering::Relaxed),
        );
    }
}

/// Writes the annotation to the pod template, after a dry run.
async fn annotate(
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    measurements: &[(Server, Measurement)],
) -> anyhow::Result<()> {
    let Some(kind) = workload.kind else { return Ok(()) };
    let values: Vec<(&str, String)> = measurements
        .iter()
        .filter_map(|(server, measurement)| Some((server.container.as_str(), measurement.annotation()?)))
        .collect();
    let Some((first, value)) = values.first() else {
        bail!("nothing was annotated: no measurement gave an idle timeout");
    };
    for (container, value) in &values {
        let other = values.iter().find(|(name, other)| name == container && other != value);
        if let Some((_, other)) = other {
            bail!(
                "nothing was annotated: the ports of the container {container} have different timeouts ({value}, {other}), \
                 and the annotation has one for each container; choose a port with --port"
            );
        }
    }
    let value = if values.iter().all(|(container, _)| container == first) {
        format!("{first}={value}")
    } else {
        let mut parts: Vec<_> =
            values.iter().map(|(container, value)| format!("{container}={value}")).collect();
        parts.dedup();
        parts.join(",")
    };
    let part = json!({
        "apiVersion": "apps/v1",
        "kind": kind.kind(),
        "metadata": {"name": workload.name, "namespace": namespace},
        "spec": {"template": {"metadata": {"annotations": {IDLE_TIMEOUT: value}}}},
    });
    let path = kind.path(namespace, &workload.name);
    for dry_run in [true, false] {
        cluster.apply(&path, &part, MANAGER, dry_run).await.with_context(|| {
            format!("cannot annotate {}; the line is {IDLE_TIMEOUT}: {value}", workload.shown())
        })?;
    }
    anstream::eprintln!("annotated {} in {namespace}: {IDLE_TIMEOUT}: {value}", workload.shown());
    Ok(())
}
