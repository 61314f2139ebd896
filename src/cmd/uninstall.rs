//! `uninstall`: prints the namespace of an installation and its objects outside of it, for `kubectl delete`.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::cluster::install::{self, Engine};

/// Print the objects to delete when you remove linkerd-linger from a cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What judges and patches pods in this installation
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Engine::Webhook)]
    engine: Engine,
}

const EXAMPLES: &str = "\
Examples:
  linkerd-linger uninstall | kubectl delete --ignore-not-found -f -
  linkerd-linger uninstall --engine policy | kubectl delete --ignore-not-found -f -

Exit codes:
  0  printed";

/// Prints the names of the cluster-scoped objects of any installation.
///
/// # Errors
///
/// Returns an error if stdout is closed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let text = install::print(&install::cluster_scoped(args.engine))?;
    stdout().write_all(text.as_bytes()).context("cannot write the manifests")?;
    Ok(ExitCode::SUCCESS)
}
