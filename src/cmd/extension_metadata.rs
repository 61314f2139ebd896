//! `_extension-metadata`: what the Linkerd CLI asks every `linkerd-*` executable in the path (linkerd2
//! `cli/cmd/check_extensions.go`).

use std::process::ExitCode;

use super::manifests::print;

/// It takes no flags.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {}

/// Prints it.
///
/// The name must be the executable's. The only value that Linkerd acts on is `always`, which makes `linkerd check` run
/// our checks, and fail, in clusters in which linkerd-linger is not installed; with any other, it runs them where the
/// label of our Namespace asks for them. `cluster` is the word that linkerd2 keeps for that.
///
/// # Errors
///
/// When stdout is gone.
pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let metadata = serde_json::json!({"name": "linkerd-linger", "checks": "cluster"});
    print(&format!("{metadata}\n"))?;
    Ok(ExitCode::SUCCESS)
}
