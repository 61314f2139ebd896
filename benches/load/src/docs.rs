//! `docs/performance.md`, from a run.

use std::fs;

use anyhow::{Context, ensure};

use crate::{build, report::Report};

const HEAD: &str = include_str!("docs.md");

/// Writes the page.
pub fn write(report: &Report) -> anyhow::Result<()> {
    ensure!(!report.quick, "a quick run measures nothing that can be published: leave --quick out");
    let path = build::repository().join("docs/performance.md");
    fs::write(&path, format!("{HEAD}\n{}", report.tables()))
        .with_context(|| format!("cannot write {}", path.display()))
}
