//! Tests that the examples in the README are real output.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, process::Command};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// The program's name in the README; `cargo run` is how it is started there.
const PROGRAM: &str = "$ linkerd-linger ";

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

/// Rewrites each example with what the program prints now; lines after `...` in an example are left out.
fn refreshed(readme: &str) -> (String, usize) {
    let (mut told, mut examples) = (String::new(), 0);
    let mut lines = readme.lines();
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
fn its_examples_are_what_the_program_prints() {
    let readme = fs::read_to_string(README).unwrap();
    let (told, examples) = refreshed(&readme);
    assert!(examples >= 3, "the README shows the demo, lint and explain");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(README, told).unwrap();
        return;
    }
    assert!(
        told == readme,
        "README.md is not what the program prints: run UPDATE_DOCS=1 cargo test --test readme"
    );
}

/// What the tests on a real API server saw `kubectl` print.
const SHOWN: [&str; 3] = ["kubectl_rejected_pod", "kubectl_rejected_deployment", "kubectl_replica_failure"];

#[test]
fn kubectl_shows_the_messages_of_the_api_server() {
    let readme = fs::read_to_string(README).unwrap();
    for name in SHOWN {
        let path = format!("{}/tests/snapshots/cluster__{name}.snap", env!("CARGO_MANIFEST_DIR"));
        let snapshot = fs::read_to_string(path).unwrap();
        let told = snapshot.splitn(3, "---\n").nth(2).unwrap().trim();
        assert!(readme.contains(told), "README.md does not show {name}: {told}");
    }
}
