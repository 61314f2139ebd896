//! The modules of `core/src/lib.rs` and `src/lib.rs`: a file imports only from its own module and from those above it, the pure modules use
//! no I/O, no clock and no async code, and no two files import from each other.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rstest::rstest;

/// The source of the crates, from the top down.
const SOURCES: [&str; 2] =
    [concat!(env!("CARGO_MANIFEST_DIR"), "/core/src"), concat!(env!("CARGO_MANIFEST_DIR"), "/src")];

/// I/O, clocks, and the crates that wait.
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

/// Values of the crates above: a time or an address that stands in a text does no I/O and asks no clock.
const VALUES: [&str; 2] = ["jiff::Timestamp", "std::net::IpAddr"];

/// The folders from the top down, as each `lib.rs` lists them. A folder of both crates counts as one.
struct Folders(Vec<String>);

impl Folders {
    fn read(libs: &str) -> Self {
        let mut folders: Vec<String> = Vec::new();
        for module in libs.lines().filter_map(module) {
            if !folders.iter().any(|known| known == module) {
                folders.push(module.to_owned());
            }
        }
        Self(folders)
    }

    fn of(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    /// What is wrong with the imports of a file of this module, such as `judgement::rules`.
    fn faults(&self, module: &str, text: &str) -> Vec<String> {
        let own = self.of(module.split("::").next().unwrap()).unwrap();
        let mut faults = Vec::new();
        for path in paths(text) {
            if let Some(used) = path.strip_prefix("crate::").and_then(|path| path.split("::").next()) {
                match self.of(used) {
                    Some(folder) if folder <= own => {}
                    Some(_) => faults.push(format!("{path}, which is below it")),
                    // A macro, or an item of lib.rs itself.
                    None => faults.push(format!("{path}, of no folder")),
                }
            }
            let is_value = module.starts_with("diagnose::") && VALUES.contains(&path.as_str());
            let world = !is_value
                && WORLD.iter().any(|world| path == *world || path.starts_with(&format!("{world}::")));
            if world && computes(module) {
                faults.push(format!("{path}, which does I/O, waits or asks a clock"));
            }
        }
        faults
    }
}

/// Whether a module only computes.
fn computes(module: &str) -> bool {
    const FOLDERS: [&str; 8] =
        ["base", "workload", "linkerd", "servers", "judgement", "review", "lint", "diagnose"];
    const WAITS: [&str; 5] =
        ["base::clock", "base::pem", "base::shutdown", "lint::report::text", "diagnose::live"];
    let within = |folder: &&str| module == *folder || module.starts_with(&format!("{folder}::"));
    !WAITS.iter().any(within) && FOLDERS.iter().any(within)
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

/// The module of a file, such as `judgement::rules`; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let path = SOURCES.iter().find_map(|source| path.strip_prefix(source).ok()).unwrap().with_extension("");
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_str().unwrap()).collect();
    (!matches!(parts[0], "lib" | "main")).then(|| parts.join("::"))
}

fn files() -> Vec<PathBuf> {
    let files = SOURCES.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let is_test =
        |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    files.filter(|path| path.extension().is_some_and(|found| found == "rs") && !is_test(path)).collect()
}

fn folders() -> Folders {
    let libs = SOURCES.map(|source| fs::read_to_string(Path::new(source).join("lib.rs")).unwrap());
    Folders::read(&libs.concat())
}

#[test]
fn a_file_imports_from_its_own_folder_or_those_above() {
    let folders = folders();
    let expected = [
        "base",
        "workload",
        "linkerd",
        "servers",
        "judgement",
        "review",
        "lint",
        "admission",
        "cluster",
        "images",
        "sockets",
        "measure",
        "diagnose",
        "cmd",
        "cli",
    ];
    assert_eq!(folders.0, expected);
    let mut faults = String::new();
    for path in files() {
        let Some(module) = module_of(&path) else { continue };
        for fault in folders.faults(&module, &fs::read_to_string(&path).unwrap()) {
            faults += &format!("\n  {} uses {fault}", path.display());
        }
    }
    assert!(faults.is_empty(), "against the order of core/src/lib.rs and src/lib.rs:{faults}");
}

/// The modules with files of their own that a file of `module` imports from, itself and those around it left out: a
/// module may use its parts, and they its nouns.
fn imports(module: &str, text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let absolute = |path: String| {
        if let Some(rest) = path.strip_prefix("crate::") {
            Some(rest.to_owned())
        } else if let Some(rest) = path.strip_prefix("super::") {
            Some(format!("{parent}::{rest}"))
        } else {
            path.strip_prefix("self::").map(|rest| format!("{module}::{rest}"))
        }
    };
    let file_of = |path: String| {
        let mut path = path.as_str();
        while !modules.contains(path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path.to_owned())
    };
    let around = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}::"));
    let used = paths(text).into_iter().filter_map(absolute).filter_map(file_of);
    used.filter(|used| !around(used, module) && !around(module, used)).collect()
}

#[test]
fn no_two_files_import_from_each_other() {
    let files: BTreeMap<String, String> = files()
        .into_iter()
        .filter_map(|path| Some((module_of(&path)?, fs::read_to_string(&path).unwrap())))
        .collect();
    let modules: BTreeSet<String> = files.keys().cloned().collect();
    let imports: BTreeMap<_, _> =
        files.iter().map(|(module, text)| (module.as_str(), imports(module, text, &modules))).collect();
    let mut faults = String::new();
    for (module, used) in &imports {
        for used in used.iter().filter(|used| module < &used.as_str()) {
            if imports[used.as_str()].contains(*module) {
                faults += &format!("\n  {module} and {used}");
            }
        }
    }
    assert!(faults.is_empty(), "these import from each other:{faults}");
}

#[test]
fn imports_of_siblings_and_parts_are_seen() {
    let modules = ["a", "a::b", "a::c", "a::c::d"].map(str::to_owned).into();
    let text = "use super::{c::d::X, b};\nuse self::y::Z;\nfn f() { crate::a::c::g() }";
    assert_eq!(imports("a::b", text, &modules), ["a::c", "a::c::d"].map(str::to_owned).into());
    assert_eq!(imports("a", "use self::b::X;", &modules), BTreeSet::new());
}

#[rstest]
#[case::lower_folder("workload::pod", "use crate::judgement::policy::Policy;")]
#[case::lower_folder_in_braces(
    "judgement::rules",
    "use crate::{\n    judgement::finding::Finding,\n    admission::serve::State,\n};"
)]
#[case::path_in_the_code("linkerd", "fn f() { crate::lint::report::json::render(&x); }")]
#[case::files("lint::manifest", "use std::{fmt, fs, path::Path};")]
#[case::clock("judgement::verdict", "let today = jiff::Timestamp::now();")]
#[case::clock_in_braces("judgement::close_wait", "use std::time::{Duration, Instant};")]
#[case::asynchronous("review", "use tokio::time::sleep;")]
fn forbidden_imports_are_found(#[case] module: &str, #[case] text: &str) {
    assert_eq!(folders().faults(module, text).len(), 1);
}

#[rstest]
#[case::own_folder("judgement::close_wait", "use crate::judgement::policy::CloseWait as Wish;")]
#[case::folder_above("admission::serve", "use crate::judgement::policy::Policy;\nuse tokio::fs;")]
#[case::duration("judgement::timing", "use std::{collections::BTreeSet, time::Duration};")]
#[case::comment("workload::pod", "// use std::fs;\n/// std::fs is for others")]
#[case::tests("workload::pod", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}")]
#[case::date("judgement::policy", "use jiff::civil::Date;")]
#[case::clock("base::clock", "use jiff::Timestamp;")]
fn allowed_imports_are_accepted(#[case] module: &str, #[case] text: &str) {
    assert_eq!(folders().faults(module, text), [""; 0]);
}
