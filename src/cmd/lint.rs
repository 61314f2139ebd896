//! `lint`: manifests -> findings, and an exit code for pipelines.

use std::process::ExitCode;

use clap::ValueEnum;

use super::manifests::{self, Format, Inputs};
use crate::{
    judgement::{finding::Action, verdict::Decision},
    lint::report::{
        Report, json,
        text::{self, Styles},
    },
};

const EXAMPLES: &str = "\
Examples:
  linkerd-linger lint deploy/
  helm template shop charts/shop | linkerd-linger lint -
  kubectl kustomize overlays/prod | linkerd-linger lint --policy policy.yaml -
  kubectl get deployments -A -o json | linkerd-linger lint -o json -

Exit codes:
  0  nothing found that fails the run
  1  an object would be rejected; with --fail-on warning, also a warning
  2  something could not be read, or there was nothing to lint";

/// The flags of `lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// What makes the exit code 1
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Reject)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// An object that would be rejected
    Reject,
    /// That, or a warning
    Warning,
}

/// Runs it.
///
/// # Errors
///
/// When there is nothing to lint, or the policy cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = args.inputs.report()?;
    match args.inputs.output {
        Format::Text => manifests::print(&text::lint(&report, &Styles::colored()))?,
        Format::Json => manifests::print(&json::render(&report)?)?,
    }
    manifests::print_errors(&report);
    Ok(exit_code(&report, args.fail_on))
}

fn exit_code(report: &Report, fail_on: FailOn) -> ExitCode {
    if !report.errors.is_empty() {
        return ExitCode::from(2);
    }
    let rejected = report.objects.iter().any(|object| object.verdict == Decision::Reject);
    let warned = report.objects.iter().any(|object| {
        object.verdict == Decision::Warn
            || object.findings.iter().any(|finding| finding.action == Action::Warn)
    });
    if rejected || (fail_on == FailOn::Warning && warned) { ExitCode::from(1) } else { ExitCode::SUCCESS }
}
