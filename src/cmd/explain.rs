//! `explain`: prints all facts about the pods in manifests.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{
    manifests::{self, Inputs},
    output,
};
use crate::{
    judgement::{finding::RuleId, rules},
    lint::report::{
        json,
        text::{self, Styles},
    },
};

const EXAMPLES: &str = "\
Examples:
  linkerd-linger explain deploy/shop.yaml
  linkerd-linger explain probe-matches-idle-timeout
  kubectl get pod cart-0 -o yaml | linkerd-linger explain -
  kubectl get deployment cart -o json | linkerd-linger explain --assume-injected -o json -

Exit codes:
  0  everything was read
  2  an input could not be read, or there was nothing to explain";

/// The flags of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// The output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

/// Runs the command.
///
/// # Errors
///
/// Returns an error if there is nothing to explain, or the policy cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(rule) = rule(args) {
        output::print(&format!("# {rule}\n\n{}\n", rules::page(rule)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = args.inputs.report()?;
    match args.output {
        Format::Text => output::print(&text::explain(&report, &Styles::colored()))?,
        Format::Json => output::print(&json::render(&report)?)?,
    }
    manifests::print_errors(&report);
    Ok(if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The rule that the only argument names, unless it is a file.
fn rule(args: &Args) -> Option<RuleId> {
    let [path] = args.inputs.paths.as_slice() else { return None };
    path.to_str()?.parse().ok().filter(|_| !path.exists())
}
