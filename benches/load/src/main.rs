//! Compares the webhook with other webhooks under load. README.md says how to run it, and what it compares.

mod build;
mod client;
mod compare;
mod docs;
mod files;
mod load;
mod process;
mod report;
mod reviews;
mod server;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// That of linkerd-linger, for the servers that it is compared with.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything, and print a table.
    Compare(compare::Args),
    /// Serve the body of each request as its answer.
    Echo(server::Args),
    /// Serve a constant patch after a lean parse.
    Lean(server::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Echo(args) => server::echo(&args),
        Command::Lean(args) => server::lean(&args),
    }
}
