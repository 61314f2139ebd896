//! `catalog`: lists the known servers with their sources, and checks custom entries and cases.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};

use super::output;
use crate::{
    cluster::install::Engine,
    judgement::policy::Policy,
    lint::report::catalog::{self as report, ServerReport},
    servers::{Catalog, CatalogError, cases},
};

const EXAMPLES: &str = "\
Examples:
  linkerd-linger catalog list
  linkerd-linger catalog list --family python -o json
  linkerd-linger catalog list --engine policy
  linkerd-linger catalog show gunicorn
  linkerd-linger catalog test --servers ours.yaml ours-cases.yaml";

/// The flags of `catalog`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the known servers by family
    List {
        /// List only this family, such as python
        #[arg(long)]
        family: Option<String>,
        /// A policy file with your own servers
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// With policy: list which servers the admission policies of `install --engine policy` decide
        #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Engine::Webhook)]
        engine: Engine,
        /// The output format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Show how a server is recognised, its settings, its defaults and their sources
    Show {
        /// The server's id
        id: String,
        /// A policy file with your own servers
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// The output format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Check catalog entries, and run test cases against the catalog
    ///
    /// A test case is a container and the expected result; docs/catalog.md documents the format. Exit codes: 0 if all
    /// cases pass, 1 if a case fails, 2 if a file cannot be used.
    Test {
        /// Files with test cases; `-` reads stdin
        #[arg(value_name = "FILE")]
        cases: Vec<PathBuf>,
        /// Files with entries to add to the catalog, as a list or as `servers` of a policy
        #[arg(long, value_name = "FILE")]
        servers: Vec<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

/// Runs the command.
///
/// # Errors
///
/// Returns an error if a file cannot be used, or the server is unknown.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List { family, policy, engine, output } => {
            list(family.as_deref(), policy.as_deref(), *engine, *output)
        }
        Command::Show { id, policy, output } => show(id, policy.as_deref(), *output),
        Command::Test { cases, servers } => test(cases, servers),
    }
}

fn policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    Ok(match path {
        Some(path) => {
            crate::admission::policy_file::parse(path, &crate::admission::policy_file::text(path)?)?
        }
        None => Policy::default(),
    })
}

fn list(
    family: Option<&str>,
    path: Option<&Path>,
    engine: Engine,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let policy = policy(path)?;
    let servers: Vec<_> = policy
        .catalog
        .servers()
        .filter(|server| family.is_none_or(|family| server.family == family))
        .map(|server| match engine {
            Engine::Webhook => ServerReport::of(server),
            Engine::Policy => ServerReport::of(server).with_policy_engine(policy.catalog.literal(server)),
        })
        .collect();
    if let Some(family) = family.filter(|_| servers.is_empty()) {
        let mut known: Vec<_> = policy.catalog.servers().map(|server| server.family.as_str()).collect();
        known.dedup();
        bail!("unknown family {family}; expected one of {}", known.join(", "));
    }
    output::print(&match output {
        Format::Text => report::list(&servers),
        Format::Json => serde_json::to_string_pretty(&servers)? + "\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

fn show(id: &str, path: Option<&Path>, output: Format) -> anyhow::Result<ExitCode> {
    let policy = policy(path)?;
    let Some(server) = policy.catalog.find(id) else {
        let ids = policy.catalog.servers().map(|server| server.id.as_str());
        let near = ids.max_by(|a, b| strsim::jaro(a, id).total_cmp(&strsim::jaro(b, id))).unwrap_or_default();
        bail!("unknown server id {id}; did you mean {near}? `linkerd-linger catalog list` lists all ids");
    };
    let server = ServerReport::of(server);
    output::print(&match output {
        Format::Text => report::show(&server),
        Format::Json => serde_json::to_string_pretty(&server)? + "\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

fn test(paths: &[PathBuf], servers: &[PathBuf]) -> anyhow::Result<ExitCode> {
    if paths.is_empty() && servers.is_empty() {
        bail!("nothing to test: give a file with cases, or --servers with entries");
    }
    let mut catalog = Catalog::builtin().clone();
    for path in servers {
        let text = read(path)?;
        catalog = if is_policy(&text) {
            let policy = crate::admission::policy_file::parse(path, &text)?;
            policy.catalog.as_ref().clone()
        } else {
            catalog.with_text(&text).map_err(|mistakes| catalog_error(path, &mistakes))?
        };
    }
    let (mut passed, mut failed) = (0, 0);
    let mut text = String::new();
    for path in paths {
        let cases = cases::parse(&read(path)?).map_err(|mistakes| catalog_error(path, &mistakes))?;
        for (line, case) in cases {
            match case.check(&catalog) {
                Ok(()) => passed += 1,
                Err(why) => {
                    failed += 1;
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{}:{line}: {}: {why}", path.display(), case.name);
                }
            }
        }
    }
    output::print(&format!("{text}{passed} passed, {failed} failed\n"))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Whether a file is a policy instead of a list of entries.
fn is_policy(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(['#', '-']));
    lines.next().is_some_and(|line| !line.starts_with([' ', '[']))
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn catalog_error(path: &Path, mistakes: &[CatalogError]) -> anyhow::Error {
    let lines: Vec<_> = mistakes
        .iter()
        .map(|mistake| format!("\n  {}:{}: {}", path.display(), mistake.line, mistake.message))
        .collect();
    anyhow::anyhow!("cannot use {}:{}", path.display(), lines.concat())
}
