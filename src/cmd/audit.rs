//! `audit`: what admission would do with the workloads of a cluster.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{ValueEnum, builder::PossibleValue};

use super::{
    connection::{self, Connection},
    formats::{self, Output},
    manifests,
    output::note_line,
    progress::Progress,
};
use crate::{
    admission::policy_file,
    base::{
        clock::{now, today},
        names,
        plural::count,
    },
    cluster::{
        Cluster,
        audit::{
            self, Audit, ReportApi, Scope,
            report::{AuditReport, OwnerReport},
        },
        check::Snapshot,
    },
    judgement::{
        close_wait,
        facts::Facts,
        finding::Action,
        policy::{Policy, PolicyError},
    },
    lint::report::{Report, html::About, junit, sarif, text::Styles},
    review::Mode,
};

const EXAMPLES: &str = "\
Examples:
  # the whole cluster, with the policy that is installed
  linkerd linger audit -A
  # a policy before it is installed, as if every namespace were in the mode enforce
  linkerd linger audit -A --policy policy.yaml --mode enforce
  # a report in the cluster for each workload with findings
  linkerd linger audit -A --write-reports -o summary
  # one team's workloads, for people and for programs
  linkerd linger audit -n shop -l team=checkout -o table -o json=audit.json

Exit codes:
  0  no object would be rejected
  1  an object would be rejected; with --fail-on warning, also if there is a warning
  2  an object or a kind of objects could not be read: the result is not whole; or a report could not be written";

/// The flags of `audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The namespace; may be repeated [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Vec<String>,
    /// Every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only workloads and pods with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// A policy file to try [default: the policy of the installation, or the built-in one]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A facts file to try [default: the facts of the installation]
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// The image of the init container that the webhook adds [default: that of the installation]
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    init_image: Option<String>,
    /// Judge what a drain breaks as if every namespace had this mode [default: the mode of each namespace]
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<ModeArg>,
    /// The output format: table, summary, json, html, sarif or junit; may be repeated
    ///
    /// FORMAT=FILE writes to a file atomically. Only one output can go to stdout. `html` is a page with what
    /// the table has, without other files.
    #[arg(short, long, value_name = "FORMAT[=FILE]", default_value = "table", value_parser = formats::parse::<Format>)]
    output: Vec<Output<Format>>,
    /// When to exit with code 1
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Reject)]
    fail_on: FailOn,
    /// Write a report for each workload with findings to the cluster: OpenReports, or PolicyReports if it has only those
    ///
    /// A report belongs to its workload and is deleted with it. Reports that say the same are not written again, and those
    /// of workloads without findings are deleted. See docs/audit.md#reports-in-the-cluster.
    #[arg(long, conflicts_with = "selector")]
    write_reports: bool,
    /// Write an Event for each workload with findings, at most 100 in a run
    #[arg(long)]
    events: bool,
    /// Write nothing: print how many reports and Events would be written
    #[arg(long)]
    dry_run: bool,
    /// Leave out custom resources that you may not list, with a note instead of an error
    ///
    /// Their pods, and the workloads that they own, are judged all the same.
    #[arg(long)]
    only_permitted: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A mode on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct ModeArg(Mode);

impl ValueEnum for ModeArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ModeArg; 3] = [ModeArg(Mode::Enforce), ModeArg(Mode::Warn), ModeArg(Mode::Audit)];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.as_str()))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// If an object would be rejected
    Reject,
    /// If an object would be rejected, or has a warning
    Warning,
    /// Findings do not change the exit code
    Never,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Table,
    Summary,
    Json,
    Html,
    Sarif,
    Junit,
}

impl formats::Format for Format {
    const ALL: &'static [Self] =
        &[Self::Table, Self::Summary, Self::Json, Self::Html, Self::Sarif, Self::Junit];

    fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Summary => "summary",
            Self::Json => "json",
            Self::Html => "html",
            Self::Sarif => "sarif",
            Self::Junit => "junit",
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// Returns an error if the cluster cannot be reached, a policy cannot be used, or an output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    formats::check(&args.output, "report")?;
    args.connection.log();
    let report = connection::runtime()?.block_on(audit(args))?;
    formats::write_all(&args.output, |output| render(output, &report, args))?;
    manifests::print_errors(&Report { errors: report.errors.clone(), ..Report::default() });
    Ok(exit_code(&report, args.fail_on))
}

fn render(output: &Output<Format>, report: &AuditReport, args: &Args) -> anyhow::Result<String> {
    let styles = if output.file.is_some() { Styles::plain() } else { Styles::colored() };
    Ok(match output.format {
        Format::Table => audit::text(report, &styles),
        Format::Summary => audit::summary(report),
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        Format::Html => audit::page(report, &about(args)),
        Format::Sarif => sarif::render(&report.objects())?,
        Format::Junit => junit::render(&report.objects(), args.fail_on == FailOn::Warning),
    })
}

/// The top of the page.
fn about(args: &Args) -> About {
    let context = args.connection.target().context.unwrap_or_else(|| "the current one".to_owned());
    let namespaces = match (args.namespace.is_empty(), args.all_namespaces) {
        (_, true) => "all".to_owned(),
        (true, false) => "that of the context".to_owned(),
        (false, false) => args.namespace.join(", "),
    };
    let mut facts = vec![("Context", context), ("Namespaces", namespaces)];
    facts.extend(args.selector.clone().map(|labels| ("Labels", labels)));
    facts.push(("Time", format!("{:.0}", now())));
    About { title: "Audit by linkerd-linger".to_owned(), facts }
}

async fn audit(args: &Args) -> anyhow::Result<AuditReport> {
    if args.dry_run && !args.write_reports && !args.events {
        bail!("--dry-run needs --write-reports or --events: an audit without them writes nothing");
    }
    let cluster = args.connection.connect().await?;
    let apis = if args.write_reports { report_apis(&cluster).await? } else { Vec::new() };
    let snapshot = cluster.snapshot(&args.connection.linkerd_namespace).await;
    let mut policy = policy(args, &snapshot)?;
    let facts = facts(args, &cluster).await?;
    let unusable_facts = facts.as_ref().err().cloned();
    policy.facts = facts.unwrap_or_default();
    let mut audit = Audit::new(&snapshot, policy, args.mode.map(|mode| mode.0), today());
    if let (None, Err(error)) = (&args.policy, &snapshot.policy) {
        let help = "ask for this permission, or pass the policy with --policy";
        audit.fail(format!("{error}, so the built-in policy was used"), Some(help.to_owned()));
    }
    if let Some((problem, help)) = unusable_facts {
        audit.fail(problem, Some(help.to_owned()));
    }
    let namespaces = match (args.namespace.is_empty(), args.all_namespaces) {
        (_, true) => Vec::new(),
        (true, false) => vec![cluster.default_namespace().to_owned()],
        (false, false) => args.namespace.clone(),
    };
    let scope = Scope { namespaces, selector: args.selector.clone(), only_permitted: args.only_permitted };
    let mut progress = Progress::new("auditing");
    cluster.audit(&mut audit, &scope, |objects| progress.show_text(&objects)).await;
    drop(progress);
    let mut report = audit.finish();
    if !report.left_out.is_empty() {
        note_line!("note: custom resources were left out: {}", report.left_out.join("; "));
    }
    let mut written = Vec::new();
    if args.write_reports {
        written.push(cluster.write_reports(&apis, &report, &scope, now(), args.dry_run).await);
    }
    if args.events {
        written.push(cluster.write_events(&report, now(), args.dry_run).await);
    }
    for written in written {
        note_line!("{written}");
        report.add_errors(&written.errors);
    }
    Ok(report)
}

/// The APIs for reports, and an error if there is none.
async fn report_apis(cluster: &Cluster) -> anyhow::Result<Vec<ReportApi>> {
    let served = cluster.report_apis().await?;
    if served.is_empty() {
        let known = ReportApi::ALL.map(|api| format!("{} of {}", api.resource(), api.api_version()));
        bail!(
            "--write-reports: the cluster has no API for reports ({}): install the CRDs of openreports.io, or leave \
             out --write-reports",
            known.join(", or ")
        );
    }
    Ok(served)
}

/// The policy of the flags; what they do not give comes from the installation.
fn policy(args: &Args, snapshot: &Snapshot) -> anyhow::Result<Policy> {
    let installed = snapshot.policy_in_force();
    let mut policy = match (&args.policy, installed) {
        (Some(path), installed) => {
            let mut policy = policy_file::parse(path, &policy_file::text(path)?)?;
            policy.close_wait.init_image =
                installed.ok().and_then(|installed| installed.close_wait.init_image);
            policy
        }
        (None, Ok(installed)) => installed,
        (None, Err(errors)) => {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            bail!("the policy of the installation cannot be used: {first}; pass one with --policy");
        }
    };
    if let Some(image) = &args.init_image {
        policy.close_wait.init_image = Some(image.clone());
    }
    Ok(policy)
}

/// The facts of the flag, or those of the installation; otherwise why these cannot be used, and what to do.
async fn facts(args: &Args, cluster: &Cluster) -> anyhow::Result<Result<Facts, (String, &'static str)>> {
    if let Some(path) = &args.facts {
        return Ok(Ok(policy_file::facts(path, &policy_file::text(path)?)?));
    }
    Ok(match cluster.facts_text().await {
        Ok(Some(text)) => Facts::parse(&text).map_err(|errors| {
            (unusable(&errors), "correct the ConfigMap, or pass a facts file with --facts")
        }),
        Ok(None) => Ok(Facts::default()),
        Err(error) => Err((
            format!("{error}, so the facts of the installation were not used"),
            "ask for this permission, or pass a facts file with --facts",
        )),
    })
}

/// Why the facts of the installation cannot be used.
fn unusable(errors: &[PolicyError]) -> String {
    let (namespace, map, key) = (names::NAMESPACE, names::FACTS_CONFIG_MAP, names::FACTS_KEY);
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    let more = match errors.len() {
        0 | 1 => String::new(),
        all => format!(" (and {})", count(all - 1, "more mistake")),
    };
    format!(
        "the facts of the installation were not used: {key} in the ConfigMap {map} of the namespace {namespace}, \
         {first}{more}"
    )
}

fn exit_code(report: &AuditReport, fail_on: FailOn) -> ExitCode {
    if !report.errors.is_empty() {
        return ExitCode::from(2);
    }
    if fail_on == FailOn::Never {
        return ExitCode::SUCCESS;
    }
    let mut findings = report.owners.iter().flat_map(OwnerReport::findings);
    let fails = findings.any(|finding| {
        finding.counts()
            && match finding.action {
                Action::Reject => true,
                Action::Warn => fail_on == FailOn::Warning,
                Action::Patch | Action::Ignore => false,
            }
    });
    let refused = report.owners.iter().any(|owner| owner.pods.rejected_if_recreated > 0);
    if fails || refused { ExitCode::from(1) } else { ExitCode::SUCCESS }
}
