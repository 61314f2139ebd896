//! `_extension-metadata`: the metadata that the Linkerd CLI reads from every `linkerd-*` executable on the PATH
//! (linkerd2 `cli/cmd/check_extensions.go`).

use std::process::ExitCode;

use super::output::print;

/// It takes no flags.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {}

/// Prints the metadata.
///
/// The name must be that of the executable. The only value with an effect is `always`: it makes `linkerd check` run our
/// checks in every cluster, where they fail if linkerd-linger is not installed. With any other value, it runs them if
/// our Namespace has the extension label. `cluster` is the name that linkerd2 uses for that.
///
/// # Errors
///
/// Returns an error if stdout is closed.
pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let metadata = serde_json::json!({"name": "linkerd-linger", "checks": "cluster"});
    print(&format!("{metadata}\n"))?;
    Ok(ExitCode::SUCCESS)
}
