//! `lint`: reports findings in manifests, with an exit code for pipelines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::{
    fix::Fixes,
    formats::{self, Output},
    manifests::{self, Inputs},
    output::{self, note_line},
    write,
};
use crate::{
    base::plural::count,
    judgement::{finding::Action, policy::Policy, rules::RULES},
    lint::{
        baseline::Baseline,
        report::{
            Report, github,
            html::{self, About},
            json, junit, sarif,
            text::{self, Styles},
        },
    },
};

const EXAMPLES: &str = "\
Examples:
  linkerd-linger lint .
  linkerd-linger lint -o text -o sarif=lint.sarif deploy/
  linkerd-linger lint -o text -o html=report.html deploy/
  helm template shop charts/shop | linkerd-linger lint -
  kubectl kustomize overlays/prod | linkerd-linger lint --policy policy.yaml -
  kubectl get deployments -A -o json | linkerd-linger lint -o json -
  linkerd-linger lint --diff deploy/
  linkerd-linger lint --fix deploy/
  linkerd-linger lint --write-baseline known.yaml .
  linkerd-linger lint --baseline known.yaml .

Exit codes:
  0  no finding fails the run
  1  an object would be rejected; with --fail-on warning, also if there is a warning
  2  an input could not be read, or there was nothing to lint";

/// The flags of `lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// The output format: text, json, html, sarif, junit or github; may be repeated
    ///
    /// FORMAT=FILE writes to a file atomically. Only one output can go to stdout. `html` is a page without
    /// other files. `github` prints workflow commands, which GitHub Actions shows as annotations.
    #[arg(short, long, value_name = "FORMAT[=FILE]", default_value = "text", value_parser = formats::parse::<Format>)]
    output: Vec<Output<Format>>,
    /// When to exit with code 1
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Reject)]
    fail_on: FailOn,
    /// Do not report the findings in this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the findings to a file for --baseline, and exit with code 0
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
    /// Fix findings in the files, by changing a server's flag or the period of a probe
    ///
    /// Each change is checked before it is made, and leaves the rest of the file as it is. Findings that cannot be fixed
    /// are still reported. Output of kustomize or Helm is not changed; use --no-render to read and fix the source files.
    #[arg(long, conflicts_with = "write_baseline")]
    fix: bool,
    /// Print what --fix would change, without changing files
    #[arg(long, conflicts_with = "write_baseline")]
    diff: bool,
    /// List the rules with the policy's action for each, and exit
    #[arg(long)]
    list_rules: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// If an object would be rejected
    Reject,
    /// If an object would be rejected, or has a warning
    Warning,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Text,
    Json,
    Html,
    Sarif,
    Junit,
    Github,
}

impl formats::Format for Format {
    const ALL: &'static [Self] =
        &[Self::Text, Self::Json, Self::Html, Self::Sarif, Self::Junit, Self::Github];

    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Html => "html",
            Self::Sarif => "sarif",
            Self::Junit => "junit",
            Self::Github => "github",
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// Returns an error if there is nothing to lint, the policy or the baseline cannot be used, or an output cannot be
/// written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list_rules {
        output::print(&rules(&args.inputs.policy()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    formats::check(&args.output, "lint")?;
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let mut loaded = args.inputs.load()?;
    let mut report = loaded.report();
    if let Some(path) = &args.write_baseline {
        return write_baseline(path, &report);
    }
    if let Some(baseline) = &baseline {
        let gone = baseline.apply(&mut report);
        if gone > 0 {
            let gone = count(gone, "finding");
            note_line!(
                "note: the baseline has {gone} not found in the manifests; update it with --write-baseline"
            );
        }
    }
    if args.fix || args.diff {
        let fixes = Fixes::plan(&loaded, &report)?;
        if args.diff {
            output::print(&fixes.diff())?;
            report_to_user(&fixes, "would fix");
            return Ok(exit_code(&report, args.fail_on));
        }
        fixes.write()?;
        report_to_user(&fixes, "fixed");
        if fixes.fixed > 0 {
            report = args.inputs.report()?;
            if let Some(baseline) = &baseline {
                baseline.apply(&mut report);
            }
        }
    }
    formats::write_all(&args.output, |output| render(output, &report, args))?;
    manifests::print_errors(&report);
    Ok(exit_code(&report, args.fail_on))
}

/// Prints to stderr what was fixed, and what could not be fixed.
fn report_to_user(fixes: &Fixes, verb: &str) {
    let files = count(fixes.changed().count(), "file");
    note_line!("{verb} {} in {files}", count(fixes.fixed, "finding"));
    for failed in &fixes.failed {
        note_line!("{failed}: not fixed");
    }
    if fixes.rendered > 0 {
        note_line!(
            "note: not fixed: {} in output of kustomize or Helm; use --no-render to read the source files",
            count(fixes.rendered, "finding")
        );
    }
}

fn render(output: &Output<Format>, report: &Report, args: &Args) -> anyhow::Result<String> {
    let styles = if output.file.is_some() { Styles::plain() } else { Styles::colored() };
    Ok(match output.format {
        Format::Text => text::lint(report, &styles),
        Format::Json => json::render(report)?,
        Format::Html => html::render(report, &about(&args.inputs)),
        Format::Sarif => sarif::render(report)?,
        Format::Junit => junit::render(report, args.fail_on == FailOn::Warning),
        Format::Github => github::render(report),
    })
}

/// The top of the page. It has no time, so that equal manifests have equal pages.
fn about(inputs: &Inputs) -> About {
    About { title: "Findings of linkerd-linger".to_owned(), facts: vec![("Input", inputs.names())] }
}

/// The rules, one a line.
fn rules(policy: &Policy) -> String {
    let width = RULES.iter().map(|rule| rule.id.as_str().len()).max().unwrap_or_default();
    RULES
        .iter()
        .map(|rule| {
            let action = policy.action(rule.id).as_str();
            format!("{:width$}  {action:6}  {}\n", rule.id.as_str(), rule.help)
        })
        .collect()
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the baseline {}", path.display()))?;
    Baseline::parse(&text).with_context(|| format!("cannot use the baseline {}", path.display()))
}

/// Does not write a baseline if something could not be read, because it would be incomplete.
fn write_baseline(path: &Path, report: &Report) -> anyhow::Result<ExitCode> {
    if !report.errors.is_empty() {
        manifests::print_errors(report);
        let errors = count(report.errors.len(), "error");
        bail!("{} was not written: {errors} while reading the manifests", path.display());
    }
    let baseline = Baseline::of(report);
    write::atomically(path, &baseline.text()?)?;
    note_line!("wrote {} to {}", count(baseline.len(), "finding"), path.display());
    Ok(ExitCode::SUCCESS)
}

fn exit_code(report: &Report, fail_on: FailOn) -> ExitCode {
    if !report.errors.is_empty() {
        return ExitCode::from(2);
    }
    let has = |action| {
        let mut findings = report.objects.iter().flat_map(|object| &object.findings);
        findings.any(|finding| finding.counts() && finding.action == action)
    };
    let warned = || {
        has(Action::Warn)
            || !report.warnings.is_empty()
            || report.objects.iter().any(|object| !object.remarks.is_empty())
    };
    let fails = has(Action::Reject) || (fail_on == FailOn::Warning && warned());
    if fails { ExitCode::from(1) } else { ExitCode::SUCCESS }
}
