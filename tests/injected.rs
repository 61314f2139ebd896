//! Manifests as Linkerd itself injects them, of four lines: what is read of each, and what would be done.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write, fs, path::PathBuf};

use jiff::civil::date;
use linkerd_linger::{
    judgement::{judge, policy::Policy},
    lint::{manifest, report::ObjectReport},
};

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/linkerd-injected");

fn goldens() -> Vec<PathBuf> {
    let mut files: Vec<_> = walkdir::WalkDir::new(GOLDENS)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|found| found == "yml" || found == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn what_linkerd_injects_is_read_by_line() {
    let policy = Policy::default();
    let (mut table, mut objects) = (String::new(), 0);
    for path in goldens() {
        let name = path.strip_prefix(GOLDENS).unwrap().to_str().unwrap();
        writeln!(table, "{name}").unwrap();
        let read = manifest::read(name, &fs::read_to_string(&path).unwrap());
        assert!(read.errors.is_empty(), "{:?}", read.errors);
        let context = manifest::context(&read.documents);
        for document in &read.documents {
            let Some(object) = document.object().unwrap() else { continue };
            objects += 1;
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let injection = policy.injection(object.kind);
            let judgement =
                judge::judge(&object, namespace, &context, &policy, date(2026, 11, 23), injection);
            let (report, _) = ObjectReport::of(&object, &judgement);
            let mesh = &report.mesh;
            let found: Vec<_> = report.findings.iter().map(|finding| finding.rule.as_str()).collect();
            writeln!(
                table,
                "  {:<10} {:<10} {:<16} line {:<9} {:<8} {:<14} {} edits  {}",
                report.kind,
                report.name,
                mesh.state.as_str(),
                mesh.line.as_deref().unwrap_or("?"),
                if mesh.cni { "cni" } else { "" },
                report.close_wait.action.as_str(),
                report.patch.0.len(),
                found.join(" ")
            )
            .unwrap();
        }
    }
    assert!(objects > 40, "the golden manifests are there, {objects} objects are");
    insta::assert_snapshot!("linkerd_injected", table);
}
