//! The binary: parses the command line, runs one command, and turns its result into an exit code.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use linkerd_linger::cli::Cli;
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
use tikv_jemallocator::Jemalloc;

/// Is quick with musl, whose own allocator the image would use, and returns memory to the system. `.cargo/config.toml` has
/// its settings.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
