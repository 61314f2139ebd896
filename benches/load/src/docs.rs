//! `docs/performance.md`, from a run.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, ensure};

use crate::{build, report::Report};

const HEAD: &str = include_str!("docs.md");

/// Writes the page.
pub fn write(report: &Report) -> anyhow::Result<()> {
    ensure!(!report.quick, "a quick run measures nothing that can be published: leave --quick out");
    let path = build::repository().join("docs/performance.md");
    let (all, core) = (dependencies("linkerd-linger")?, dependencies("linkerd-linger-core")?);
    let counted = format!(
        "## Dependencies\n\nThe program depends on {all} crates. linkerd-linger-core, which judges, depends on {core} of them \
         (`cargo tree --edges normal`).\n"
    );
    fs::write(&path, format!("{HEAD}\n{}\n{counted}", report.tables()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// How many crates a package of the workspace depends on, on this platform.
fn dependencies(package: &str) -> anyhow::Result<usize> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package]);
    let output = cargo.current_dir(build::repository()).output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout)?;
    let crates: BTreeSet<_> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    // The package is in its own tree.
    Ok(crates.len().saturating_sub(1))
}
