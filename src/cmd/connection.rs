//! The flags of Linkerd's extension model that select a cluster; `linkerd check` passes them to every extension.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgAction, Args};
use tokio::runtime::Runtime;
use tracing_subscriber::filter::Targets;

use super::log::{self, LogFormat};
use crate::cluster::{Cluster, Target};

/// Which cluster, and as whom. As `linkerd check` does, each may be given as `--flag=value`, switches too.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Connection {
    /// The kubeconfig to use
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// A group to impersonate; may be repeated
    #[arg(long = "as-group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Ignored; the Linkerd CLI passes it to every extension
    #[arg(long, value_name = "ADDRESS")]
    api_addr: Option<String>,
    /// The namespace of Linkerd's control plane
    #[arg(short = 'L', long, value_name = "NAMESPACE", env = "LINKERD_NAMESPACE", default_value = "linkerd")]
    pub(crate) linkerd_namespace: String,
    /// Log the requests to the API server on stderr
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true
    )]
    verbose: bool,
}

impl Connection {
    /// The cluster that the flags select.
    pub(crate) fn target(&self) -> Target {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Target {
            kubeconfig: self.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty()),
            context: some(&self.context),
            user: some(&self.user),
            groups: self.groups.iter().flat_map(|group| groups(group)).collect(),
        }
    }

    /// Creates a client for that cluster.
    ///
    /// # Errors
    ///
    /// Returns an error if the kubeconfig cannot be used.
    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        Cluster::connect(&self.target()).await.map_err(|error| anyhow::anyhow!(error.message()))
    }

    /// Enables the log if requested.
    pub(crate) fn log(&self) {
        if self.verbose {
            let levels = Targets::new()
                .with_target("kube_client", tracing::Level::DEBUG)
                .with_target("linkerd_linger", tracing::Level::DEBUG);
            log::to_stderr(LogFormat::Text, levels);
        }
    }
}

/// A runtime for commands that mostly wait for the API server.
///
/// # Errors
///
/// Returns an error if the operating system cannot start threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// `linkerd check` passes all groups in one value, in Go's list format: `[a,b]`, or `[]` if there are none (linkerd2
/// `getExtensionCheckFlags`, pflag `stringArrayValue.String`).
fn groups(text: &str) -> Vec<String> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(list) => list
            .split(',')
            .map(|group| group.trim_matches('"').to_owned())
            .filter(|group| !group.is_empty())
            .collect(),
        None => vec![text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        connection: Connection,
    }

    fn parse(flags: &[&str]) -> Connection {
        Program::try_parse_from(["linkerd-linger"].iter().chain(flags)).unwrap().connection
    }

    #[test]
    fn groups_are_read_as_linkerd_passes_them() {
        let groups = |flags: &[&str]| parse(flags).target().groups;
        assert_eq!(groups(&["--as-group=[]"]), Vec::<String>::new());
        assert_eq!(groups(&["--as-group=[system:masters,dev]"]), ["system:masters", "dev"]);
        assert_eq!(groups(&["--as-group", "a", "--as-group", "b"]), ["a", "b"]);
    }

    #[test]
    fn switches_take_a_value_as_linkerd_passes_them() {
        assert!(!parse(&["--verbose=false"]).verbose);
        assert!(parse(&["--verbose=true"]).verbose);
        assert!(parse(&["--verbose"]).verbose);
    }
}
