//! `diagnose`: from the proxy's log and metrics to the cause of each failed request.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IsTerminal, Read as _, stderr, stdin},
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use super::{
    connection::{self, Connection},
    output::{self, note, note_line},
};
use crate::{
    base::{clock::today, duration, plural::count},
    diagnose::{
        cause, html,
        line::{Block, Reader},
        live::{self, ReadOptions, Selection},
        log::{Log, MAX_LINE_LEN},
        metrics::{MAX_PAGE_LEN, Metrics},
        report::Report,
        spec::{self, SpecPort},
    },
    judgement::{judge::judge, policy::Policy},
    linkerd::Injection,
    lint::manifest,
    measure::target::Workload,
};

const EXAMPLES: &str = "\
Examples:
  # saved logs and metrics
  kubectl logs deploy/web -c linkerd-proxy --timestamps | linkerd linger diagnose --logs -
  linkerd-linger diagnose --logs proxy.log --metrics metrics.txt --manifest web.yaml
  # a workload in the cluster
  linkerd linger diagnose deploy/web -n shop --since 1h
  linkerd linger diagnose -A
  linkerd linger diagnose -A -o html > report.html

Exit codes:
  0  no request failed
  1  requests failed
  2  nothing could be read, or the command line is not valid";

/// The flags of `diagnose`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The workload to diagnose: deploy/web, sts/db, ds/agent or pod/web-0
    #[arg(conflicts_with_all = ["logs", "metrics", "manifest", "all_namespaces"])]
    target: Option<String>,
    /// The log of a proxy, or - for stdin; may be repeated
    ///
    /// Accepts the output of `kubectl logs` or `stern` and the node's log files: plain or JSON, with or without timestamps,
    /// prefixes and colours. Lines of other programs are skipped.
    #[arg(long, value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// The metrics page of a proxy; may be repeated
    #[arg(long, value_name = "FILE")]
    metrics: Vec<PathBuf>,
    /// The manifest of the workload, for its servers' idle timeouts; may be repeated
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,
    /// The namespace of the workload
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with_all = ["logs", "metrics", "manifest"])]
    namespace: Option<String>,
    /// Diagnose every injected workload, and print one line for each, the worst first
    #[arg(short = 'A', long, conflicts_with_all = ["logs", "metrics", "manifest", "namespace"])]
    all_namespaces: bool,
    /// How far back to read the logs
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    since: Duration,
    /// Also read the logs of the containers before their last restart
    #[arg(long, conflicts_with = "logs")]
    previous: bool,
    /// Also measure the idle timeouts of the workload's servers
    #[arg(long, requires = "target")]
    measure: bool,
    /// Also look for half-closed connections of the workload's pods
    #[arg(long, requires = "target")]
    sockets: bool,
    /// The output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
    /// A page without other files, for people
    Html,
}

/// Looks, and prints.
///
/// # Errors
///
/// When nothing could be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.target.is_none() && !args.all_namespaces {
        let report = files(args)?;
        return show(args.output, &report);
    }
    args.connection.log();
    connection::runtime()?.block_on(tokio::task::LocalSet::new().run_until(cluster(args)))
}

fn show(output: Format, report: &Report) -> anyhow::Result<ExitCode> {
    match output {
        Format::Text => output::print(&report.text())?,
        Format::Json => output::print(&(serde_json::to_string_pretty(report)? + "\n"))?,
        Format::Html => output::print(&html::workload(report))?,
    }
    Ok(code(report.failed()))
}

const fn code(failed: u64) -> ExitCode {
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Reads files.
fn files(args: &Args) -> anyhow::Result<Report> {
    ensure!(
        !args.logs.is_empty(),
        "there is no log to read: use --logs FILE, a workload such as deploy/web, or -A"
    );
    let mut log = Log::default();
    for path in &args.logs {
        let display_name = if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() };
        let before = log.lines();
        let read = if is_stdin(path) {
            read(stdin().lock(), &mut log)
        } else {
            File::open(path).and_then(|file| read(file, &mut log))
        };
        read.with_context(|| format!("cannot read {display_name}"))?;
        ensure!(
            log.lines() > before,
            "{display_name}: it contains no line of Linkerd's proxy: it is empty, or the log of another container; \
             `kubectl logs POD -c linkerd-proxy` prints the proxy's log"
        );
    }
    let mut metrics = Metrics::default();
    for path in &args.metrics {
        let page = page(path).with_context(|| format!("cannot read {}", path.display()))?;
        metrics.read(&page).with_context(|| path.display().to_string())?;
    }
    let spec = specs(&args.manifest)?;
    let logs = log.finish();
    let ports = cause::diagnose(&logs, &metrics, &spec);
    let notes = live::notes(&ports, &logs);
    Ok(Report::new(None, ports, &logs, notes))
}

/// As much of a file is read at once, which the cache of a core holds.
const CHUNK: usize = 256 << 10;
/// As many threads read lines at most.
const MAX_THREADS: usize = 8;

/// Whole lines, and what they tell. Their memory is used again.
#[derive(Default)]
struct Piece {
    text: Vec<u8>,
    block: Block,
}

/// Reads a log: some threads read its lines, and this one puts together what they tell, in the order of the log.
fn read(mut input: impl io::Read, log: &mut Log) -> io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (pieces, todo) = mpsc::sync_channel::<Piece>(2);
                let (read, done) = mpsc::sync_channel::<Piece>(2);
                scope.spawn(move || {
                    let mut reader = Reader::default();
                    while let Ok(mut piece) = todo.recv() {
                        reader.block(&piece.text, &mut piece.block);
                        if read.send(piece).is_err() {
                            break;
                        }
                    }
                });
                (pieces, done)
            })
            .collect();
        let (mut sent, mut taken) = (0, 0);
        let mut spare = Vec::new();
        let mut rest = Vec::new();
        loop {
            let Piece { mut text, block } = spare.pop().unwrap_or_default();
            text.append(&mut rest);
            let before = text.len();
            input.by_ref().take(u64::try_from(CHUNK).unwrap_or(u64::MAX)).read_to_end(&mut text)?;
            let is_end = text.len() == before;
            match memchr::memrchr(b'\n', &text) {
                Some(end) if !is_end => {
                    rest.extend_from_slice(&text[end + 1..]);
                    text.truncate(end + 1);
                }
                // A line of this length tells nothing; its end is passed over.
                None if !is_end && text.len() <= MAX_LINE_LEN => {
                    rest = text;
                    continue;
                }
                Some(_) | None => {}
            }
            // Each worker has at most two pieces, and one that waits to be taken.
            if sent - taken == 2 * threads {
                spare.push(next(&workers[taken % threads].1, log)?);
                taken += 1;
            }
            if workers[sent % threads].0.send(Piece { text, block }).is_err() {
                return Err(stopped());
            }
            sent += 1;
            if is_end {
                break;
            }
        }
        while taken < sent {
            next(&workers[taken % threads].1, log)?;
            taken += 1;
        }
        log.end();
        Ok(())
    })
}

/// Takes what the next piece tells. Returns it empty.
fn next(done: &mpsc::Receiver<Piece>, log: &mut Log) -> io::Result<Piece> {
    let mut piece = done.recv().map_err(|_| stopped())?;
    log.take(&piece.block);
    piece.text.clear();
    piece.block.clear();
    Ok(piece)
}

/// A thread that panicked says so itself.
fn stopped() -> io::Error {
    io::Error::other("the thread that reads lines has stopped")
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn page(path: &Path) -> anyhow::Result<String> {
    let mut page = Vec::new();
    let longest = u64::try_from(MAX_PAGE_LEN)?;
    if is_stdin(path) {
        stdin().lock().take(longest).read_to_end(&mut page)?;
    } else {
        File::open(path)?.take(longest).read_to_end(&mut page)?;
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// What manifests say of ports.
fn specs(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<u16, SpecPort>> {
    let mut ports = BTreeMap::new();
    for path in paths {
        let display_name = path.display().to_string();
        let text = page(path).with_context(|| format!("cannot read {display_name}"))?;
        let read = manifest::read(&display_name, &text);
        if let Some(error) = read.errors.first() {
            bail!("{error}");
        }
        let context = manifest::context(&read.documents);
        let (policy, today) = (Policy::default(), today());
        let mut pods = 0;
        for document in &read.documents {
            for object in document.objects().map_err(|error| anyhow::anyhow!("{error}"))? {
                pods += 1;
                let namespace = object.namespace.as_deref().unwrap_or_default();
                let judgement = judge(&object, namespace, &context, &policy, today, Injection::Assumed);
                spec::ports(&judgement, &mut ports);
            }
        }
        ensure!(pods > 0, "{display_name}: it contains no object that runs pods");
    }
    Ok(ports)
}

async fn cluster(args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = args.connection.connect().await?;
    let read_options = ReadOptions { since: args.since, previous: args.previous };
    let Some(target) = &args.target else {
        return all(args, &cluster, &read_options).await;
    };
    let workload = Workload::parse(target).map_err(anyhow::Error::msg)?;
    let namespace = args.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let selection = Selection::of(&cluster, &namespace, &workload).await?;
    let progress = |text: &str| {
        if stderr().is_terminal() {
            note!("\r\x1b[K{text}");
        }
    };
    let read = live::read(&cluster, &selection, &read_options, &progress).await;
    progress("");
    let mut report = read?;
    if args.measure {
        report.notes.extend(live::measured(&cluster, &namespace, &workload).await);
    }
    if args.sockets {
        report.notes.extend(live::half_closed(&cluster, &namespace, &selection).await);
    }
    show(args.output, &report)
}

/// One line for each workload.
async fn all(
    args: &Args,
    cluster: &crate::cluster::Cluster,
    read_options: &ReadOptions,
) -> anyhow::Result<ExitCode> {
    let selections = Selection::all(cluster).await?;
    ensure!(!selections.is_empty(), "there is no running injected pod");
    let many = selections.len();
    let progress = |done: usize| {
        if stderr().is_terminal() {
            let end = if done == many { "\r\x1b[K" } else { "" };
            note!("\r{done} of {} read{end}", count(many, "workload"));
        }
    };
    let (mut reports, errors) = live::read_all(cluster, selections, read_options, &progress).await;
    reports.sort_by_key(|report| (std::cmp::Reverse(report.failed()), report.workload.clone()));
    for error in &errors {
        note_line!("error: {error}");
    }
    if reports.is_empty() {
        bail!("nothing could be read");
    }
    match args.output {
        Format::Text => output::print(&live::table(&reports))?,
        Format::Json => {
            let value = serde_json::json!({"workloads": reports, "errors": errors});
            output::print(&(serde_json::to_string_pretty(&value)? + "\n"))?;
        }
        Format::Html => output::print(&html::workloads(&reports, &errors))?,
    }
    Ok(code(reports.iter().map(Report::failed).sum()))
}
