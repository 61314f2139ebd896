//! The binary: parses the command line, runs one command, and turns its result into an exit code.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use linkerd_linger::cli::Cli;
use mimalloc::MiMalloc;

/// Returns the memory of long requests to the system, and is quick with musl, whose own allocator the image would use.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            // `eprintln!` would panic if stderr cannot be written to, and the exit code would be another one.
            let _ = writeln!(anstream::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}
