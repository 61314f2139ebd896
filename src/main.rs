//! The binary: parses the command line, runs one command, and turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use linkerd_linger::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
