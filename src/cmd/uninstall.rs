//! `uninstall`: what an installation left outside its namespace, and the namespace itself, for kubectl.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::cluster::install;

/// Print what to remove from a cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

const EXAMPLES: &str = "\
Examples:
  linkerd-linger uninstall | kubectl delete --ignore-not-found -f -

Exit codes:
  0  printed";

/// Prints the cluster-scoped parts of every kind of installation, by name.
///
/// # Errors
///
/// When standard output is closed.
pub fn run(_: &Args) -> Result<ExitCode> {
    let text = install::print(&install::cluster_scoped())?;
    stdout().write_all(text.as_bytes()).context("cannot write the manifests")?;
    Ok(ExitCode::SUCCESS)
}
