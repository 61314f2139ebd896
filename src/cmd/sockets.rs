//! `sockets`: reports half-closed connections of pods, a process, a network namespace or a node.

use std::{
    io::{self, BufWriter, IsTerminal, Write as _, stderr, stdout},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::{
    connection::Connection,
    output::{self, note, note_line},
};
use crate::{
    base::duration,
    cluster::{Cluster, install},
    judgement::close_wait,
    sockets::{
        self, Ages,
        remote::{self, Selection},
        report::{self, Report},
    },
};

const EXAMPLES: &str = "\
Examples:
  # pods, through the API server
  linkerd linger sockets -n shop
  linkerd linger sockets -n shop web-0 --debug-container
  linkerd linger sockets -A -o prometheus
  # on a node, as root
  linkerd-linger sockets --node
  linkerd-linger sockets --pid 1234 --watch 5s
  linkerd-linger sockets --netns /var/run/netns/web --fail-on half-closed=10

Exit codes:
  0  read
  1  the limit of --fail-on is reached
  2  nothing could be read, or the command line is not valid";

/// The flags of `sockets`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The pod to read through the API server [default without -l: every injected pod of the namespace]
    #[arg(conflicts_with_all = ["here", "selector", "all_namespaces"])]
    pod: Option<String>,
    /// The namespace of the pods
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "here")]
    namespace: Option<String>,
    /// The labels of the pods
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "here")]
    selector: Option<String>,
    /// Read the pods of every namespace
    #[arg(short = 'A', long, conflicts_with_all = ["here", "namespace"])]
    all_namespaces: bool,
    /// If a pod cannot be read otherwise, add an ephemeral container to it, which stays in its spec
    #[arg(long, conflicts_with = "here")]
    debug_container: bool,
    /// The image of the ephemeral container [default: the image of this version]
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image, requires = "debug_container")]
    image: Option<String>,
    /// Read the network namespace of this process
    #[arg(long, group = "here")]
    pid: Option<i32>,
    /// Read the network namespace that this file refers to
    #[arg(long, value_name = "FILE", group = "here")]
    netns: Option<PathBuf>,
    /// Read every network namespace of this node
    #[arg(long, group = "here")]
    node: bool,
    /// With --node, read only the network namespace of the pod with this UID; may be repeated
    #[arg(long, value_name = "UID", requires = "node")]
    pod_uid: Vec<String>,
    /// With --node, serve the metrics of the node's pods over HTTP on this address until SIGTERM
    #[arg(long, value_name = "ADDRESS", requires = "node", conflicts_with_all = ["pod_uid", "watch", "fail_on"])]
    listen: Option<SocketAddr>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Read again at this interval, and show the age of each connection; stop with Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = pause)]
    watch: Option<Duration>,
    /// Exit with code 1 if at least this many connections are half-closed
    #[arg(long, value_name = "half-closed=N", value_parser = threshold)]
    fail_on: Option<usize>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// JSON for programs
    Json,
    /// Metrics in the Prometheus text format
    Prometheus,
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = duration::parse(text).map_err(|error| error.to_string())?;
    if pause.is_zero() { Err("the interval cannot be 0s".to_owned()) } else { Ok(pause) }
}

fn threshold(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix("half-closed=").ok_or("write it like half-closed=10")?;
    match number.parse() {
        Ok(0) | Err(_) => Err(format!("{number:?} is not a number of connections of at least 1")),
        Ok(number) => Ok(number),
    }
}

/// Reads and prints a report.
///
/// # Errors
///
/// Returns an error if nothing can be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let is_remote =
        args.pod.is_some() || args.namespace.is_some() || args.selector.is_some() || args.all_namespaces;
    if is_remote {
        args.connection.log();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let cluster = runtime.block_on(args.connection.connect())?;
        return repeat(args, |show| show(runtime.block_on(read_pods(args, &cluster))?));
    }
    if args.debug_container {
        bail!("--debug-container works only for pods: name a pod, or give -n NAMESPACE, -l LABELS or -A");
    }
    if let Some(address) = args.listen {
        return listen(address);
    }
    repeat(args, |show| read_here(args, show))
}

/// Reads once or periodically. `read` passes each report to its argument, which returns whether `--fail-on` applies.
fn repeat(
    args: &Args,
    read: impl Fn(&mut dyn FnMut(Report<'_>) -> anyhow::Result<bool>) -> anyhow::Result<bool>,
) -> anyhow::Result<ExitCode> {
    let (mut ages, mut is_read) = (Ages::default(), true);
    loop {
        let failed = read(&mut |mut report| {
            if report.namespaces.is_empty() {
                bail!("nothing could be read:\n  {}", report.errors.join("\n  "));
            }
            if args.watch.is_some() {
                ages.update(&mut report, Instant::now());
                sockets::judge(&mut report);
            }
            is_read = show(args, &report)?;
            Ok(args.fail_on.is_some_and(|most| report.half_closed() >= most))
        })?;
        match args.watch {
            Some(pause) if !failed && is_read => thread::park_timeout(pause),
            Some(_) | None => return Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }),
        }
    }
}

/// Prints a report. Returns whether somebody still reads stdout.
fn show(args: &Args, report: &Report<'_>) -> anyhow::Result<bool> {
    match args.output {
        Format::Table => output::try_print(&report::table(report)),
        Format::Json => output::is_read(write_json(report)),
        Format::Prometheus => output::try_print(&report::prometheus(report)),
    }
}

/// Streams the JSON, because a node may have 100,000 sockets.
fn write_json(report: &Report<'_>) -> io::Result<()> {
    let mut stdout = BufWriter::new(stdout().lock());
    serde_json::to_writer_pretty(&mut stdout, report)?;
    writeln!(stdout)?;
    stdout.flush()
}

/// Reads pods through the API server.
async fn read_pods(args: &Args, cluster: &Cluster) -> anyhow::Result<Report<'static>> {
    let namespace = match (&args.namespace, args.all_namespaces) {
        (_, true) => None,
        (Some(name), false) => Some(name.clone()),
        (None, false) => Some(cluster.default_namespace().to_owned()),
    };
    let pod = args.pod.as_deref().map(|pod| pod.strip_prefix("pod/").unwrap_or(pod).to_owned());
    let selection = Selection { namespace, pod, selector: args.selector.clone() };
    let default_image = || install::Options::default().image;
    let image = args.debug_container.then(|| args.image.clone().unwrap_or_else(default_image));
    let terminal = stderr().is_terminal();
    let progress = |read: usize, all: usize| {
        if terminal && all > 1 {
            let end = if read == all { "\r\x1b[K" } else { "" };
            note!("\r{read} of {all} pods read{end}");
        }
    };
    let report = remote::read(cluster, &selection, image.as_deref(), progress).await?;
    if report.namespaces.is_empty() && report.errors.is_empty() {
        let kind =
            if args.selector.is_some() { "running pod with these labels" } else { "running injected pod" };
        match &selection.namespace {
            Some(name) => bail!(
                "there is no {kind} in the namespace {name}; choose another namespace with -n, or all with -A"
            ),
            None => bail!("there is no {kind}"),
        }
    }
    Ok(report)
}

/// Reads namespaces of this machine.
#[cfg(target_os = "linux")]
fn read_here(args: &Args, show: &mut dyn FnMut(Report<'_>) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    use crate::sockets::kernel::{self, Target};

    let (mut targets, hidden) = match (args.pid, &args.netns, args.node) {
        (Some(pid), ..) => {
            let target = Target::of_process(pid)
                .with_context(|| format!("cannot read the network namespace of the process {pid}"))?;
            (vec![target], 0)
        }
        (None, Some(path), _) => (
            vec![
                Target::at(path)
                    .with_context(|| format!("cannot read the network namespace {}", path.display()))?,
            ],
            0,
        ),
        (None, None, true) => kernel::of_node().context("cannot read /proc")?,
        (None, None, false) => (vec![Target::own().context("cannot read /proc/self/ns/net")?], 0),
    };
    if !args.pod_uid.is_empty() {
        targets.retain(|target| target.pod.as_ref().is_some_and(|pod| args.pod_uid.contains(&pod.uid)));
    }
    let (namespaces, unseen) = kernel::sample(&targets);
    let errors = kernel::hidden_processes(hidden).into_iter().chain(unseen).collect();
    show(kernel::report(&namespaces, errors))
}

/// Serves metrics until a signal.
#[cfg(target_os = "linux")]
fn listen(address: SocketAddr) -> anyhow::Result<ExitCode> {
    use crate::{admission::serve, base::shutdown::Signals, sockets::exporter};

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let signals = Signals::catch().context("cannot install the handlers for SIGTERM and SIGINT")?;
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(signals.drive(stop.clone(), || {}));
        let (listener, address) = serve::listen(address).await?;
        note_line!("serving metrics at http://{address}/metrics");
        exporter::serve(listener, stop).await.context("the server stopped without a signal")
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(target_os = "linux"))]
const ELSEWHERE: &str = "network namespaces and conntrack exist only on Linux: give -n NAMESPACE, a pod, -l LABELS or -A to read pods through the API server";

/// Returns the error for other systems than Linux.
#[cfg(not(target_os = "linux"))]
fn read_here(_: &Args, _: &mut dyn FnMut(Report<'_>) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    bail!(ELSEWHERE)
}

/// Returns the error for other systems than Linux.
#[cfg(not(target_os = "linux"))]
fn listen(_: SocketAddr) -> anyhow::Result<ExitCode> {
    bail!(ELSEWHERE)
}
