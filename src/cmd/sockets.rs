//! `sockets`: half-closed connections of a pod, a process, a network namespace or a whole node.

use std::{path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::manifests;
use crate::base::duration;

const EXAMPLES: &str = "\
Examples:
  linkerd-linger sockets
  linkerd-linger sockets --pid 1234 --watch 5s
  linkerd-linger sockets --node -o prometheus
  linkerd-linger sockets --netns /var/run/netns/web --fail-on half-closed=10";

/// The flags of `sockets`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Look into the network namespace of this process
    #[arg(long, group = "where")]
    pid: Option<i32>,
    /// Look into the network namespace of this file
    #[arg(long, value_name = "FILE", group = "where")]
    netns: Option<PathBuf>,
    /// Look into every network namespace of this node
    #[arg(long, group = "where")]
    node: bool,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Look again after each such time, and tell ages; Ctrl-C ends it
    #[arg(long, value_name = "DURATION", value_parser = pause)]
    watch: Option<Duration>,
    /// End with exit code 1 where so many connections or more are half-closed
    #[arg(long, value_name = "half-closed=N", value_parser = threshold)]
    fail_on: Option<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// Metrics in Prometheus' text format
    Prometheus,
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = duration::read(text).map_err(|error| error.to_string())?;
    if pause.is_zero() { Err("there is no pause of 0s".to_owned()) } else { Ok(pause) }
}

fn threshold(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix("half-closed=").ok_or("write it like half-closed=10")?;
    match number.parse() {
        Ok(0) | Err(_) => Err(format!("{number:?} is no number of connections from 1 on")),
        Ok(number) => Ok(number),
    }
}

/// Looks, and says what it saw.
///
/// # Errors
///
/// When nothing can be looked at, or this is not Linux.
#[cfg(target_os = "linux")]
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    use std::time::Instant;

    use crate::sockets::{self, Ages, report::Report};

    let mut ages = Ages::default();
    loop {
        let (targets, hidden) = targets(args)?;
        let (mut namespaces, unseen) = sockets::sample(&targets);
        let errors: Vec<String> = sockets::hidden_processes(hidden).into_iter().chain(unseen).collect();
        if namespaces.is_empty() {
            bail!("no network namespace can be looked into:\n  {}", errors.join("\n  "));
        }
        if args.watch.is_some() {
            ages.tell(&mut namespaces, Instant::now());
        }
        let report = Report::of(&namespaces, errors);
        match args.output {
            Format::Table => manifests::print(&sockets::report::table(&report))?,
            Format::Json => print_json(&report)?,
            Format::Prometheus => manifests::print(&sockets::report::prometheus(&namespaces))?,
        }
        let failed = args.fail_on.is_some_and(|most| report.half_closed() >= most);
        match args.watch {
            Some(pause) if !failed => thread::park_timeout(pause),
            Some(_) | None => return Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }),
        }
    }
}

/// A node may have 100,000 sockets, so that the text is not made as a whole.
#[cfg(target_os = "linux")]
fn print_json(report: &crate::sockets::report::Report<'_>) -> anyhow::Result<()> {
    use std::io::{BufWriter, ErrorKind, Write as _, stdout};

    let mut stdout = BufWriter::new(stdout().lock());
    let written = serde_json::to_writer_pretty(&mut stdout, report).map_err(std::io::Error::from);
    match written.and_then(|()| writeln!(stdout)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// The namespaces to look into, and how many processes could not be looked at.
#[cfg(target_os = "linux")]
fn targets(args: &Args) -> anyhow::Result<(Vec<crate::sockets::Target>, usize)> {
    use crate::sockets::{Target, of_node};

    Ok(match (args.pid, &args.netns, args.node) {
        (Some(pid), ..) => {
            let target = Target::of_process(pid).with_context(|| format!("cannot look at process {pid}"))?;
            (vec![target], 0)
        }
        (None, Some(path), _) => {
            (vec![Target::at(path).with_context(|| format!("cannot look at {}", path.display()))?], 0)
        }
        (None, None, true) => of_node().context("cannot read /proc")?,
        (None, None, false) => (vec![Target::own().context("cannot read /proc/self/ns/net")?], 0),
    })
}

/// Says that this is not Linux.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    bail!("sockets is for Linux only: no other system has network namespaces and conntrack")
}
