//! The cases in `tests/catalog/`: containers and the expected servers.
//!
//! `linkerd-linger catalog test tests/catalog/*.yaml` runs the same; `docs/catalog.md` documents the format.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use linkerd_linger::servers::{Catalog, cases};

#[test]
fn every_case_says_what_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalog");
    let mut wrong = Vec::new();
    let mut covered = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let cases = cases::parse(&text).unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", path.display()));
        for (line, case) in cases {
            covered.insert(case.name.split('/').next().unwrap_or_default().to_owned());
            // `certain gunicorn 10s`: the entry that answers.
            let id = case.expect.split_whitespace().nth(1).unwrap_or_default();
            covered.insert(id.trim_end_matches(':').to_owned());
            if let Err(why) = case.check(Catalog::builtin()) {
                wrong.push(format!("{}:{line}: {}: {why}", path.display(), case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let servers = Catalog::builtin().servers().map(|server| server.id.as_str());
    let without: Vec<_> = servers.filter(|id| !covered.contains(*id)).collect();
    assert!(without.is_empty(), "no case is about {}", without.join(", "));
}

/// The minimum share of cases with an answer. The others use a configuration file in a volume.
const SHARE_IN_PERCENT: usize = 75;

#[test]
fn most_of_what_people_run_is_told() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalog/wild.yaml");
    let cases = cases::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let told = cases.iter().filter(|(_, case)| !case.expect.starts_with("unknown")).count();
    let share = told * 100 / cases.len();
    println!("the idle timeout of {told} of {} probed ports is told: {share} %", cases.len());
    assert!(share >= SHARE_IN_PERCENT, "{share} %");
}
