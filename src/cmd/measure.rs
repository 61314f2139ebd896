//! `measure`: measures how long a server keeps an idle connection.

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
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
use tokio::time::{Instant, interval};

use super::{
    connection::{self, Connection},
    facts,
    output::{note, note_line, print},
};
use crate::{
    base::{clock::today, duration},
    cluster::Cluster,
    measure::{
        connection::Protocol,
        report::Measurement,
        run::{self, Settings},
        target::{self, Server, Workload},
    },
    workload::annotations::IDLE_TIMEOUT,
};

/// The maximum number of connections; a measurement must not put load on the server.
const MAX_CONNECTIONS: usize = 8;
/// The field manager of `--annotate`.
const MANAGER: &str = "linkerd-linger-measure";

const EXAMPLES: &str = "\
Examples:
  linkerd linger measure deploy/web -n shop
  linkerd linger measure deploy/web -n shop --annotate
  linkerd linger measure pod/web-0 -n shop --port 8080 --path /healthz
  linkerd-linger measure http://127.0.0.1:8080/

Exit codes:
  0  measured; no measurement contradicts the pod spec
  1  measured; a measurement contradicts the pod spec
  2  nothing could be measured, or the command line is not valid";

/// The flags of `measure`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A URL, or a workload: deploy/web, statefulset/db, daemonset/agent, pod/web-0
    target: String,
    /// The namespace of the workload
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The port to measure [default: the ports of the httpGet probes]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The path to request [default: the path of the probe, or /]
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Option<String>,
    /// How long to wait for the server to close a connection
    #[arg(long, value_name = "DURATION", default_value = "130s", value_parser = duration::parse)]
    max: Duration,
    /// How many connections to open, at most 8
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = connections)]
    connections: usize,
    /// The protocol to speak
    #[arg(long, value_enum, value_name = "PROTOCOL", default_value_t = Protocols::Http1)]
    protocol: Protocols,
    /// Write the annotation to the workload's pod template, which starts a rollout
    #[arg(long)]
    annotate: bool,
    /// Add the measured timeouts to this facts file, for --facts of `serve`, `lint` and `explain`
    #[arg(long, value_name = "FILE")]
    write_facts: Option<PathBuf>,
    /// The output format
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
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

fn path(text: &str) -> Result<String, String> {
    match text.parse::<Uri>() {
        Ok(uri) if text.starts_with('/') && uri.authority().is_none() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("it is not a URL path; write it like /healthz".to_owned()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MAX_CONNECTIONS) => Ok(number),
        Ok(_) | Err(_) => Err(format!("it is not a number from 1 to {MAX_CONNECTIONS}")),
    }
}

/// Measures and prints the result.
///
/// # Errors
///
/// Returns an error if nothing can be measured.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.log();
    let measurements = connection::runtime()?.block_on(measure(args))?;
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
    let protocol = match args.protocol {
        Protocols::Http1 => Protocol::Http1,
        Protocols::H2c => Protocol::H2c,
    };
    let settings = Settings { connections: args.connections, max: args.max, protocol, ended: Arc::default() };
    let progress = tokio::spawn(progress(args.connections, args.max, Arc::clone(&settings.ended)));
    let measured = measure_target(args, &settings).await;
    progress.abort();
    if stderr().is_terminal() {
        note!("\r\x1b[K");
    }
    measured
}

async fn measure_target(args: &Args, settings: &Settings) -> anyhow::Result<Vec<Measurement>> {
    if args.target.contains("://") {
        ensure!(!args.annotate, "--annotate needs a workload such as deploy/web, not a URL");
        ensure!(args.write_facts.is_none(), "--write-facts needs a workload such as deploy/web, not a URL");
        return Ok(vec![measure_url(args, settings).await?]);
    }
    let workload = Workload::parse(&args.target).map_err(anyhow::Error::msg)?;
    ensure!(
        !args.annotate || workload.kind.is_some(),
        "--annotate needs a workload such as deploy/web: an annotation on a pod is lost when the pod is replaced"
    );
    let cluster = args.connection.connect().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let found =
        target::servers(&cluster, &namespace, &workload, args.port, args.path.as_deref(), today()).await?;
    let mut measurements = Vec::new();
    for server in found {
        let measurement = run::server(&cluster, &namespace, &workload, &server, settings).await;
        measurements.push((server, measurement));
    }
    if let Some(path) = &args.write_facts {
        let facts = measurements.iter().filter_map(|(server, measurement)| {
            facts::fact(&namespace, &workload, server, measurement, today())
        });
        facts::write(path, facts.collect(), Vec::new())?;
    }
    if args.annotate {
        annotate(&cluster, &namespace, &workload, &measurements).await?;
    }
    Ok(measurements.into_iter().map(|(_, measurement)| measurement).collect())
}

/// Measures a server on this machine or its network.
async fn measure_url(args: &Args, settings: &Settings) -> anyhow::Result<Measurement> {
    let uri: Uri = args.target.parse().with_context(|| format!("cannot read the URL {:?}", args.target))?;
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
        bail!(
            "cannot measure the URL {:?}: write it like http://HOST[:PORT]/PATH. TLS is not measured, because \
             the proxy forwards it as TCP",
            args.target
        );
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = args.port.or_else(|| authority.port_u16()).unwrap_or(80);
    let path = args.path.clone().or_else(|| uri.path_and_query().map(ToString::to_string));
    Ok(run::url(host, port, authority.as_str(), path.unwrap_or_else(|| "/".to_owned()), settings).await)
}

/// Shows the elapsed time on a terminal.
async fn progress(connections: usize, max: Duration, ended: Arc<AtomicUsize>) {
    if !stderr().is_terminal() {
        return;
    }
    let since = Instant::now();
    let mut tick = interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        note!(
            "\r\x1b[Kwaited {}s of at most {}: the server closed {} of {connections} connections",
            since.elapsed().as_secs(),
            duration::format(max),
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
                "nothing was annotated: the ports of the container {container} have different timeouts ({value}, \
                 {other}), but the annotation sets one per container; choose a port with --port"
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
            format!(
                "cannot annotate {}; to set the annotation by hand, use {IDLE_TIMEOUT}: {value}",
                workload.display_name()
            )
        })?;
    }
    note_line!("annotated {} in {namespace}: {IDLE_TIMEOUT}: {value}", workload.display_name());
    Ok(())
}
