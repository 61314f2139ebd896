//! `check`: checks an installation, in the format of `linkerd check`.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{ArgAction, ValueEnum};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    connection::Connection,
    output::{note_line, print},
};
use crate::{
    base::{clock::today, duration},
    cluster::{
        Cluster,
        check::{self, CheckId, CheckResult, Outcome, Snapshot, data_plane, dry_run, output, pre},
        install::Engine,
    },
    sockets::remote,
};

/// The delay between two attempts with `--wait`.
const PAUSE: Duration = Duration::from_secs(2);
/// The maximum of `--wait`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  # before the installation
  linkerd linger check --pre
  # after the installation; waits until the webhook answers
  linkerd linger check
  # also check the init containers of running pods
  linkerd linger check --proxy --namespace shop
  # as `linkerd check` runs it
  linkerd linger check --wait=0s --output=json

Exit codes:
  0  no check failed; there may be warnings
  1  a check failed
  2  the command line is not valid";

/// The flags of `check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only check whether linkerd-linger can be installed
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_possible_values = true, hide_default_value = true)]
    pre: bool,
    /// Also check the close-wait timeouts that init containers of injected pods set
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_possible_values = true, hide_default_value = true)]
    proxy: bool,
    /// What judges and patches pods; for --pre
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Engine::Webhook)]
    engine: Engine,
    /// The namespace for --proxy [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
    /// How long to wait for checks that can still pass, such as a server that is starting
    #[arg(long, value_name = "DURATION", default_value = "5m0s", value_parser = duration::parse)]
    wait: Duration,
    #[command(flatten)]
    connection: Connection,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Every check
    #[value(alias = "basic")]
    Table,
    /// JSON for programs, and for `linkerd check`
    Json,
    /// Only the checks that did not pass
    Short,
}

/// Runs the command.
///
/// # Errors
///
/// Returns an error if stdout is closed, or the flags contradict each other.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Both flags accept the value false, so clap cannot declare them as conflicting.
    anyhow::ensure!(!(args.pre && args.proxy), "--pre and --proxy cannot be used together");
    args.connection.log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let results = runtime.block_on(results(args));
    let text = match args.output {
        Format::Table => output::table(&results),
        Format::Json => output::json(&results)?,
        Format::Short => output::short(&results),
    };
    print(&text)?;
    Ok(if output::success(&results) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn results(args: &Args) -> Vec<CheckResult> {
    let deadline = Instant::now() + args.wait.min(MAX_WAIT);
    let cluster = match Cluster::connect(&args.connection.target()).await {
        Ok(cluster) => cluster,
        Err(error) => return vec![CheckResult::of(CheckId::ApiClient, Outcome::Error(error.message()))],
    };
    let mut results = vec![CheckResult::of(CheckId::ApiClient, Outcome::Good)];
    match cluster.version().await {
        Err(error) => {
            results.push(CheckResult::of(CheckId::ApiQuery, Outcome::Error(error.to_string())));
            return results;
        }
        Ok(version) => {
            results.push(CheckResult::of(CheckId::ApiQuery, Outcome::Good));
            results.push(pre::version(args.engine, &version.major, &version.minor, &version.git_version));
        }
    }
    if args.pre {
        let snapshot = cluster.snapshot(&args.connection.linkerd_namespace).await;
        results.extend(pre::checks(&snapshot, &cluster.access(pre::permissions(args.engine)).await));
        return results;
    }
    let (snapshot, installed) = retry_until_ok(&cluster, args, deadline).await;
    results.extend(installed);
    if args.proxy {
        let namespace = args.namespace.as_deref().filter(|name| !name.is_empty());
        if let Some(missing_namespace) =
            namespace.and_then(|name| data_plane::missing_namespace(&snapshot, name))
        {
            results.push(missing_namespace);
            return results;
        }
        let judge = data_plane::PodJudge::of(&snapshot, today());
        let pods = cluster.pods(namespace, &judge).await;
        let kernels = kernels(&cluster, namespace).await;
        results.extend(data_plane::checks(&snapshot, &pods, kernels.as_ref()));
    }
    results
}

/// Reads the close-wait timeouts of injected pods, without changing them; `None` if that is not possible.
async fn kernels(cluster: &Cluster, namespace: Option<&str>) -> Option<data_plane::Kernels> {
    let selection =
        remote::Selection { namespace: namespace.map(str::to_owned), ..remote::Selection::default() };
    // The check that lists the same pods reports the error.
    let targets = remote::targets(cluster, &selection).await.ok()?;
    let agents = remote::agents(cluster).await.unwrap_or_default();
    let readable: Vec<_> = targets.into_iter().filter(|target| target.is_readable(&agents)).collect();
    if readable.is_empty() {
        return None;
    }
    let report = remote::read_targets(cluster, readable, &agents, None, |_, _| {}).await;
    let timeouts = report.namespaces.iter().filter_map(|namespace| {
        Some((namespace.pod_uid.as_deref()?.to_owned(), namespace.close_wait_timeout_seconds?))
    });
    let entries = report.namespaces.iter().filter_map(|namespace| {
        let entries = data_plane::Entries {
            close_wait: namespace.conntrack_close_wait?,
            all: namespace.conntrack_entries?,
            max: namespace.conntrack_max?,
        };
        Some((namespace.pod_uid.as_deref()?.to_owned(), entries))
    });
    let entries = entries.collect();
    Some(data_plane::Kernels { timeouts: timeouts.collect(), entries, errors: report.errors })
}

/// Repeats the checks until no failure may recover, or until the deadline.
async fn retry_until_ok(cluster: &Cluster, args: &Args, deadline: Instant) -> (Snapshot, Vec<CheckResult>) {
    let mut message = None;
    loop {
        let snapshot = cluster.snapshot(&args.connection.linkerd_namespace).await;
        let mut results = check::installed(&snapshot, Timestamp::now());
        if snapshot.is_installed() {
            let (dry_runs, skipped) = dry_run::dry_runs(&snapshot, today());
            for dry_run in &dry_runs {
                results.push(cluster.dry_run(dry_run).await);
            }
            results.extend(skipped);
        }
        let waits_for = results.iter().find(|result| result.may_recover());
        let Some(result) = waits_for.filter(|_| Instant::now() + PAUSE <= deadline) else {
            return (snapshot, results);
        };
        if message != Some(result.id) && args.output != Format::Json && stderr().is_terminal() {
            note_line!("waiting: {}", result.id.description());
            message = Some(result.id);
        }
        sleep(PAUSE).await;
    }
}
