//! Tests that rules, metrics, flags, servers and annotations are documented and used everywhere.
//!
//! `docs/cli.md`, `docs/servers.md` and a row of `docs/policy-engine.md` are generated: `UPDATE_DOCS=1 cargo test --test tables` writes them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use linkerd_linger::{
    admission::{
        metrics::METRICS,
        serve::{MAX_BODY_BYTES, Timeouts},
    },
    cli::Cli,
    judgement::{finding::RuleId, rules::RULES},
    servers::{Catalog, Server},
    workload::{annotations, context::PRIVILEGED_LABEL},
};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a Markdown file under a heading of the second level.
fn section<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n"))?;
    Some(rest.split("\n## ").next().unwrap())
}

/// Compares a generated document, or writes it anew.
fn compare(path: &str, generated: &str) {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), generated).unwrap();
    }
    let same = read(path) == generated;
    assert!(same, "{path} is not what the code says: run UPDATE_DOCS=1 cargo test --test tables");
}

#[test]
fn each_rule_is_in_the_table_in_order() {
    let ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids, RuleId::ALL);
}

#[test]
fn each_rule_has_its_file_and_no_file_is_left_over() {
    let rules: BTreeSet<_> = RuleId::ALL.iter().map(|rule| rule.as_str().replace('-', "_") + ".rs").collect();
    let files: BTreeSet<_> = fs::read_dir(root().join("core/src/judgement/rules"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, rules);
}

#[test]
fn each_rule_has_its_page_with_a_message_from_a_case() {
    let page = read("docs/rules.md");
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, RuleId::ALL.map(RuleId::as_str), "docs/rules.md lists the rules in their order");
    for rule in RuleId::ALL {
        let section = section(&page, rule.as_str()).unwrap();
        let messages = messages(rule);
        let shown = messages.iter().any(|message| section.contains(&format!("```text\n{message}\n```")));
        assert!(shown, "docs/rules.md shows no message of {rule} that is in its cases, such as {messages:?}");
        for part in ["**Why.**", "**How to fix it**", "**How to relax it**"] {
            assert!(section.contains(part), "docs/rules.md: {rule} has no {part}");
        }
    }
}

#[test]
fn each_rule_has_cases_with_and_without_a_finding() {
    for rule in RuleId::ALL {
        let snapshots = snapshots(rule);
        let found = snapshots.iter().filter(|objects| !found(objects, rule).is_empty()).count();
        assert!(found > 0, "no case of {rule} shows a finding");
        assert!(found < snapshots.len(), "no case of {rule} shows that there is none");
    }
    let folders = fs::read_dir(root().join("tests/cases")).unwrap().count();
    assert_eq!(folders, RuleId::ALL.len(), "each folder of cases is a rule's");
}

/// What the cases of a rule say.
fn snapshots(rule: RuleId) -> Vec<Value> {
    let folder = root().join("tests/cases").join(rule.as_str());
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let snapshots = files.filter(|path: &PathBuf| path.extension().is_some_and(|found| found == "snap"));
    snapshots
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            serde_saphyr::from_str(text.splitn(3, "---\n").nth(2).unwrap()).unwrap()
        })
        .collect()
}

fn found(objects: &Value, rule: RuleId) -> Vec<&Value> {
    let objects = objects.as_array().unwrap().iter();
    let findings = objects.flat_map(|object| object["findings"].as_array().unwrap());
    findings.filter(|finding| finding["rule"] == rule.as_str()).collect()
}

fn messages(rule: RuleId) -> BTreeSet<String> {
    let message = |finding: &Value| finding["message"].as_str().unwrap().to_owned();
    snapshots(rule)
        .iter()
        .flat_map(|objects| found(objects, rule).into_iter().map(message).collect::<Vec<_>>())
        .collect()
}

#[test]
fn each_metric_is_documented_and_each_documented_one_exists() {
    let page = read("docs/metrics.md");
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {} | {} |", metric.name, metric.kind.as_str(), labels.join(", "));
        let row = row.replace("|  |", "| |");
        assert!(page.contains(&row), "docs/metrics.md has no row {row}");
        for label in metric.labels.iter().filter(|label| **label != "version") {
            assert!(page.contains(&format!("\n| `{label}` | ")), "docs/metrics.md has no values of {label}");
        }
    }
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    for name in page.split(word).filter(|word| word.starts_with("linger_")) {
        assert!(METRICS.iter().any(|metric| metric.name == name), "docs/metrics.md invents {name}");
    }
}

#[test]
fn the_servers_that_admission_policies_decide_are_counted() {
    let catalog = Catalog::builtin();
    let servers: Vec<_> = catalog.servers().collect();
    let decided = servers.iter().filter(|server| catalog.literal(server).is_ok()).count();
    const ROW: &str = "| servers of the catalog | timeouts | ";
    let page = read("docs/policy-engine.md");
    let (head, rest) = page.split_once(ROW).unwrap();
    let (_, tail) = rest.split_once(" |\n").unwrap();
    let current = format!("{head}{ROW}{decided} of {} |\n{tail}", servers.len());
    compare("docs/policy-engine.md", &current);
}

#[test]
fn each_annotation_is_documented_and_each_documented_one_exists() {
    let page = read("docs/annotations.md");
    for annotation in annotations::ALL {
        assert!(section(&page, annotation).is_some(), "docs/annotations.md has no section {annotation}");
    }
    for document in ["docs/annotations.md", "docs/rules.md", "docs/policy.md"] {
        let text = read(document);
        for (at, _) in text.match_indices(annotations::PREFIX) {
            let rest = &text[at..];
            let name = |c: char| !(c.is_ascii_lowercase() || matches!(c, '-' | '/' | '.'));
            let key = rest.split(name).next().unwrap();
            let known =
                [annotations::PREFIX, PRIVILEGED_LABEL].contains(&key) || annotations::ALL.contains(&key);
            assert!(known, "{document} invents {key}");
        }
    }
}

#[test]
fn each_rule_and_its_default_is_in_the_policys_page() {
    let page = read("docs/policy.md");
    for rule in RuleId::ALL {
        let row = format!("| `{rule}` | `{}` |", rule.default_action().as_str());
        assert!(page.contains(&row), "docs/policy.md has no row {row}");
    }
}

#[test]
fn the_command_line_is_documented() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let mut page = "# The command line\n\nGenerated from `--help`; `UPDATE_DOCS=1 cargo test --test tables` writes it anew.\n".to_owned();
    let help = |command: &mut clap::Command| {
        let help = command.clone().term_width(100).render_long_help().to_string();
        help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    };
    write!(page, "\n## linkerd-linger\n\n```text\n{}\n```\n", help(&mut cli)).unwrap();
    for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let name = command.get_name().to_owned();
        write!(page, "\n## {name}\n\n```text\n{}\n```\n", help(command)).unwrap();
    }
    compare("docs/cli.md", &page);
}

#[test]
fn the_servers_are_documented() {
    let mut page = SERVERS.to_owned();
    let mut family = "";
    for server in Catalog::builtin().servers() {
        if server.family != family {
            family = &server.family;
            writeln!(page, "\n## {family}").unwrap();
        }
        page += &server_section(server);
    }
    page += &measured();
    compare("docs/servers.md", &page);
}

/// What `tests/servers.rs` measured of real servers.
fn measured() -> String {
    let entries: Vec<Value> = serde_json::from_str(&read("tests/servers/measured.json")).unwrap();
    let mut text = MEASURED.to_owned();
    for entry in entries {
        let cell = |key: &str| entry[key].as_str().unwrap().replace('|', "\\|").replace('<', "\\<");
        let name = cell("case");
        let (server, case) = name.split_once('/').unwrap();
        let known = Catalog::builtin().servers().any(|known| known.id == server);
        assert!(known, "tests/servers/measured.json has {name}, and the catalog no {server}");
        let set = match entry["set"].as_str().unwrap() {
            "" => "-".to_owned(),
            _ => format!("`{}`", cell("set")),
        };
        let cells = [server, case, &cell("version"), &set, &cell("measured"), &cell("says"), &cell("date")];
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text
}

const MEASURED: &str = "
## Measured

`SERVERS=all cargo test --locked --test servers` starts real servers from package registries, measures over loopback when each closes an
idle connection, and compares that with what `linkerd-linger explain` reports for the same command line, variables and
configuration files. With `UPDATE_DOCS=1` it writes `tests/servers/measured.json`, from which this table is generated. Three
connections are measured for each case; [catalog.md](catalog.md#measurements) explains how to run it. Netty has no idle timeout of its
own: Quarkus, Vert.x and Spring Boot with Reactor Netty are measured in its place.

| server | case | version | set | measured | explain reports | date |
|---|---|---|---|---|---|---|
";

const SERVERS: &str = "\
# Servers

What the built-in catalog knows, by kind: how a server is recognised in a container, and what it does with idle connections.
`UPDATE_DOCS=1 cargo test --test tables` makes this page from the catalog; [catalog.md](catalog.md) explains the schema. A
[policy](policy.md) can bring servers of its own. `linkerd-linger catalog show ID` says the same of one server.

One sign is proof, and so are two hints of different kinds. Whatever could change the timeout and cannot be read makes the
answer unknown.
";

fn server_section(server: &Server) -> String {
    let mut text = format!("\n### {}\n\n{}.\n\n", server.id, server.name);
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            writeln!(text, "* {title}: {}", lines.join("; ")).unwrap();
        }
    };
    list("recognised by", server.describe_signs());
    list("configuration files", server.describe_files());
    list("listeners", server.describe_listeners());
    list("settings, the strongest first", server.describe_settings());
    let products = server.products.iter();
    list("programs", products.map(|product| format!("{} ({})", product.name, product.source)).collect());
    list("note", server.gotchas.clone());
    list("sources", server.sources.clone());
    text += "\n| idle connections | when | how sure | source |\n|---|---|---|---|\n";
    for default in server.describe_defaults() {
        let because =
            if default.because.is_empty() { String::new() } else { format!(": {}", default.because) };
        let sure = format!("{}{because}", default.certainty);
        let cells = [default.closes, default.when, sure, default.source].map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text.replace('<', "\\<").replace('*', "\\*").replace("\n\\* ", "\n* ")
}

#[test]
fn each_deadline_of_the_server_is_in_the_page_on_the_architecture() {
    let page = read("docs/architecture.md");
    let Timeouts { handshake, first_request, answer, write, idle, poll, shutdown_delay, drain } =
        Timeouts::default();
    for (row, wait, more) in [
        ("TCP connection to TLS", handshake, ""),
        ("TLS to the headers of the first request", first_request, ""),
        ("headers of a request to its answer", answer, ", or four fifths of the API server's timeout"),
        ("a write that makes no progress", write, ""),
        ("keep-alive idle timeout", idle, ""),
        ("interval between two looks at the files", poll, ""),
        ("SIGTERM to the end of accepting", shutdown_delay, ""),
        ("after that, open requests", drain, ""),
    ] {
        let row = format!("| {row} | {} s{more} |", wait.as_secs());
        assert!(page.contains(&row), "docs/architecture.md has no row {row}");
    }
    let longest = format!("at most {} MiB", MAX_BODY_BYTES / 1024 / 1024);
    assert!(page.contains(&longest), "docs/architecture.md does not say that a body has {longest}");
}

#[test]
fn the_readme_and_ci_run_the_same_tests() {
    let script = read(".ci/run");
    let command = script.lines().find_map(|line| line.strip_prefix("TEST='")?.strip_suffix('\'')).unwrap();
    assert_eq!(command, "cargo test --locked");
    assert!(read("README.md").contains(command), "README.md does not say {command}");
}
