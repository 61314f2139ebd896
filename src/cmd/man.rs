//! `man`: writes the manual pages.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

/// The flags of `man`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The directory for the pages, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page for this command line and for each of its commands.
///
/// # Errors
///
/// Returns an error if the directory cannot be created, or a page cannot be written.
pub fn run(args: &Args, command: clap::Command) -> anyhow::Result<ExitCode> {
    let directory = args.directory.display();
    fs::create_dir_all(&args.directory)
        .with_context(|| format!("cannot create the directory {directory}"))?;
    clap_mangen::generate_to(command, &args.directory)
        .with_context(|| format!("cannot write the man pages to {directory}"))?;
    Ok(ExitCode::SUCCESS)
}
