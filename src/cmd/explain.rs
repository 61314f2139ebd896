//! `explain`: manifests -> all that is known of their pods.

use std::process::ExitCode;

use super::manifests::{self, Format, Inputs};
use crate::lint::report::{
    json,
    text::{self, Styles},
};

const EXAMPLES: &str = "\
Examples:
  linkerd-linger explain deploy/shop.yaml
  kubectl get pod cart-0 -o yaml | linkerd-linger explain -
  kubectl get deployment cart -o json | linkerd-linger explain --assume-injected -o json -

Exit codes:
  0  all of it was read
  2  something could not be read, or there was nothing to explain";

/// The flags of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
}

/// Runs it.
///
/// # Errors
///
/// When there is nothing to explain, or the policy cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = args.inputs.report()?;
    match args.inputs.output {
        Format::Text => manifests::print(&text::explain(&report, &Styles::colored()))?,
        Format::Json => manifests::print(&json::render(&report)?)?,
    }
    manifests::print_errors(&report);
    Ok(if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
