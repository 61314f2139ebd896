//! `completion`: prints the completion script for a shell.

use std::process::ExitCode;

use clap_complete::Shell;

use super::output::print;

const EXAMPLES: &str = "\
Examples:
  source <(linkerd-linger completion bash)
  linkerd-linger completion zsh > \"${fpath[1]}/_linkerd-linger\"
  linkerd-linger completion fish > ~/.config/fish/completions/linkerd-linger.fish";

/// The flags of `completion`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script for this command line.
///
/// # Errors
///
/// Returns an error if stdout cannot be written.
pub fn run(args: Args, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
