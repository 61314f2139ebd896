//! The groups of modules in `src/lib.rs`: a file imports from its own group and from those above it, and up to *words*
//! nothing does I/O, asks a clock or is asynchronous.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rstest::rstest;

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The first group that may touch the world.
const EDGES: &str = "edges";

/// What belongs to the edges: I/O, clocks, and the crates that wait.
const WORLD: [&str; 24] = [
    "anstream",
    "arc_swap",
    "axum",
    "axum_server",
    "clap",
    "hyper",
    "hyper_util",
    "jiff::Timestamp",
    "jiff::Zoned",
    "kube::client",
    "kube::Client",
    "prometheus_client",
    "rcgen",
    "rustls",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "tracing",
];

/// The group of each module, and the groups' names from the top down, as the comments of `lib.rs` have them.
struct Groups {
    names: Vec<String>,
    of: BTreeMap<String, usize>,
}

impl Groups {
    fn read(lib: &str) -> Self {
        let (mut names, mut of) = (Vec::new(), BTreeMap::new());
        for line in lib.lines() {
            if let Some(name) = line.strip_prefix("// ") {
                names.push(name.to_owned());
            } else if let Some(module) = module(line) {
                assert!(!names.is_empty(), "{module} stands in no group of lib.rs");
                of.insert(module.to_owned(), names.len() - 1);
            }
        }
        Self { names, of }
    }

    fn named(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap()
    }

    /// What is wrong with the imports of a file of this module.
    fn faults(&self, module: &str, text: &str) -> Vec<String> {
        let own = self.of[module];
        let mut faults = Vec::new();
        for path in paths(text) {
            if let Some(used) = path.strip_prefix("crate::").and_then(|path| path.split("::").next()) {
                match self.of.get(used) {
                    Some(group) if *group <= own => {}
                    Some(group) => faults.push(format!("{path}, of {}", self.names[*group])),
                    // A macro, or an item of lib.rs itself.
                    None => faults.push(format!("{path}, of no group")),
                }
            }
            let world = WORLD.iter().any(|world| path == *world || path.starts_with(&format!("{world}::")));
            if world && own < self.named(EDGES) {
                faults.push(format!("{path}, which belongs to the edges"));
            }
        }
        faults
    }
}

fn module(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// Every path of a file that begins with a crate, from `use` declarations with their braces taken apart and from
/// paths in the code. Comments and tests are left out.
fn paths(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    let (mut rest, mut outside) = (code.as_str(), String::new());
    while let Some(at) = rest.find("use ") {
        // The word may stand in a text, too.
        let before = rest[..at].rsplit('\n').next().unwrap().trim();
        let begins = before.is_empty() || (before.starts_with("pub") && !before.contains(' '));
        outside.push_str(&rest[..at]);
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        if begins {
            expand("", &rest[at + 4..end], &mut paths);
        } else {
            outside.push_str(&rest[at..end]);
        }
        rest = &rest[end..];
    }
    outside.push_str(rest);
    let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    paths.extend(outside.split(word).filter(|path| path.contains("::")).map(str::to_owned));
    paths
}

/// `a::{b, c::{d, e}}` -> `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        if !path.is_empty() {
            paths.push(format!("{prefix}{path}"));
        }
        return;
    };
    let list = &list[..list.rfind('}').unwrap()];
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut from) = (0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &list[from..at], paths);
                from = at + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &list[from..], paths);
}

/// The module below the crate's root that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let first = path.strip_prefix(SRC).unwrap().components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap();
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

fn files() -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(SRC).into_iter().map(|entry| entry.unwrap().into_path());
    let is_test =
        |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    files.filter(|path| path.extension().is_some_and(|found| found == "rs") && !is_test(path)).collect()
}

fn groups() -> Groups {
    Groups::read(&fs::read_to_string(Path::new(SRC).join("lib.rs")).unwrap())
}

#[test]
fn a_file_imports_from_its_own_group_or_those_above() {
    let groups = groups();
    assert_eq!(groups.names, ["nouns", "knowledge", "judgement", "words", "edges", "entry"]);
    let mut faults = String::new();
    for path in files() {
        let Some(module) = module_of(&path) else { continue };
        assert!(groups.of.contains_key(&module), "lib.rs does not know {module}");
        for fault in groups.faults(&module, &fs::read_to_string(&path).unwrap()) {
            let (path, group) = (path.strip_prefix(SRC).unwrap(), &groups.names[groups.of[&module]]);
            faults += &format!("\n  src/{} ({group}) uses {fault}", path.display());
        }
    }
    assert!(faults.is_empty(), "against the groups of src/lib.rs:{faults}");
}

#[rstest]
#[case::lower_group("pod", "use crate::policy::Policy;")]
#[case::lower_group_in_braces("rules", "use crate::{\n    finding::Finding,\n    serve::State,\n};")]
#[case::path_in_the_code("linkerd", "fn f() { crate::report::json::render(&x); }")]
#[case::files("manifest", "use std::{fmt, fs, path::Path};")]
#[case::clock("verdict", "let today = jiff::Timestamp::now();")]
#[case::clock_in_braces("close_wait", "use std::time::{Duration, Instant};")]
#[case::asynchronous("review", "use tokio::time::sleep;")]
fn what_is_out_of_order_is_found(#[case] module: &str, #[case] text: &str) {
    assert_eq!(groups().faults(module, text).len(), 1);
}

#[rstest]
#[case::own_group("close_wait", "use crate::policy::CloseWait as Wish;")]
#[case::group_above("serve", "use crate::{review, policy::Policy};\nuse tokio::fs;")]
#[case::duration("timing", "use std::{collections::BTreeSet, time::Duration};")]
#[case::comment("pod", "// use std::fs;\n/// std::fs is for others")]
#[case::tests("pod", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}")]
#[case::date("policy", "use jiff::civil::Date;")]
fn what_is_in_order_is_not(#[case] module: &str, #[case] text: &str) {
    assert_eq!(groups().faults(module, text), [""; 0]);
}
