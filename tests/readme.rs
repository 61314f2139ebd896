//! Tests that the examples in the README and the tour are real output, and that the links of all pages work.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "readme/links.rs"]
mod links;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The pages with examples, and how many each has.
const PAGES: [(&str, usize); 2] = [("README.md", 1), ("docs/tour.md", 2)];
/// How an example begins.
const PROGRAM: &str = "$ linkerd-linger ";

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(page)
}

fn run(arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(arguments.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + std::str::from_utf8(&output.stderr).unwrap();
    // The demo takes any free port.
    let ports = |line: &str| match line.split_once("https://127.0.0.1:") {
        Some((head, tail)) => {
            format!("{head}https://127.0.0.1:PORT{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line.to_owned(),
    };
    text.lines().map(|line| ports(line).trim_end().to_owned() + "\n").collect()
}

/// Rewrites each example with the current output, and counts them. An example that ends with `...` keeps its number of lines.
fn refreshed(page: &str) -> (String, usize) {
    let (mut told, mut examples) = (String::new(), 0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        told += &format!("{line}\n");
        let Some(arguments) = line.strip_prefix(PROGRAM) else { continue };
        examples += 1;
        let shown: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let output = run(arguments);
        if shown.last() == Some(&"...") {
            let kept = output.lines().take(shown.len() - 1);
            told += &kept.map(|line| format!("{line}\n")).collect::<String>();
            told += "...\n";
        } else {
            told += &output;
        }
        told += "```\n";
    }
    (told, examples)
}

#[test]
fn the_examples_are_what_the_program_prints() {
    for (page, count) in PAGES {
        let text = fs::read_to_string(path(page)).unwrap();
        let (told, examples) = refreshed(&text);
        assert_eq!(examples, count, "examples in {page}");
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path(page), told).unwrap();
            continue;
        }
        assert!(
            told == text,
            "{page} does not show what the program prints: run UPDATE_DOCS=1 cargo test --test readme"
        );
    }
}

/// The messages that `kubectl` printed in the tests on a real API server.
const SHOWN: [&str; 3] = ["kubectl_rejected_pod", "kubectl_rejected_deployment", "kubectl_replica_failure"];

#[test]
fn kubectl_shows_the_messages_of_the_api_server() {
    let tour = fs::read_to_string(path("docs/tour.md")).unwrap();
    for name in SHOWN {
        let snapshot = fs::read_to_string(path(&format!("tests/snapshots/cluster__{name}.snap"))).unwrap();
        let told = snapshot.splitn(3, "---\n").nth(2).unwrap().trim();
        assert!(tour.contains(told), "docs/tour.md does not show {name}: {told}");
    }
}
