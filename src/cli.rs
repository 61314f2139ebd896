//! The command line: the list of commands.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cmd;

/// Prevents the HTTP 500s, 502s and lost responses that connection timeouts cause in Linkerd meshes.
#[derive(Debug, Parser)]
#[command(name = "linkerd-linger", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report what the webhook would reject, patch or warn about in manifests
    ///
    /// Reads the manifests that you would pass to `kubectl apply`, and judges every pod in them as the webhook would.
    /// Namespaces and ConfigMaps in the same input are used: `linkerd.io/inject: enabled` on a namespace adds its pods to
    /// the mesh.
    Lint(cmd::lint::Args),
    /// Show the proxy, servers, idle timeouts, probes and findings of each pod in manifests
    ///
    /// Every value is printed with its source: a field of the manifest, or the default of a server version. With the name
    /// of a rule instead of a PATH, prints what the rule finds, why it matters, and how to fix it.
    Explain(cmd::explain::Args),
    /// List the known servers with their sources, or test your own catalog entries
    Catalog(cmd::catalog::Args),
    /// Run the webhook server, which answers admission reviews
    Serve(cmd::serve::Args),
    /// Print the manifests that install linkerd-linger in a cluster
    ///
    /// Pipe them to `kubectl apply -f -`. The same flags always print the same manifests. They contain no secrets.
    Install(cmd::install::Args),
    /// Print the objects to delete when you remove linkerd-linger from a cluster
    ///
    /// Pipe them to `kubectl delete --ignore-not-found -f -`. They are the cluster-scoped objects that any installation
    /// can have, and its namespaces.
    Uninstall(cmd::uninstall::Args),
    /// Issue and rotate the serving certificate
    Certs(cmd::certs::Args),
    /// Show what the webhook does with a few example pods; needs no cluster
    Demo(cmd::demo::Args),
    /// Set the conntrack timeout for half-closed connections in this network namespace; Linux only
    ///
    /// The webhook adds an init container that runs this command where linkerd-init cannot set the timeout. The command
    /// writes /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait and reads it back. It needs uid 0 and a
    /// privileged container.
    SetCloseWait(cmd::set_close_wait::Args),
    /// Find half-closed connections, the processes that leave them open, and their conntrack timeouts
    ///
    /// Reads the network namespaces of pods through the API server, or those of this machine. It changes nothing in them.
    Sockets(cmd::sockets::Args),
    /// Measure how long a server keeps an idle connection open
    ///
    /// Opens a few connections, sends one GET on each, and waits until the server closes them. A workload is measured
    /// through a port-forward from the API server, which bypasses Linkerd's proxy.
    Measure(cmd::measure::Args),
    /// Find why requests failed, from the logs and metrics of Linkerd's proxy
    ///
    /// Counts each failed request once. Distinguishes an idle-timeout race from an app that aborts requests, refused
    /// connections and other causes, and prints how to fix each one. If the logs and metrics do not show the cause, it is
    /// reported as undetermined.
    Diagnose(cmd::diagnose::Args),
    /// Measure the servers of a cluster whose idle timeouts the manifests do not show
    ///
    /// Finds the injected workloads whose idle timeouts are unknown or only likely, measures their servers, and prints a
    /// facts file for `serve --facts`, `lint --facts` and `install --facts`.
    Learn(cmd::learn::Args),
    /// Report what the webhook would do with the workloads and pods of a cluster
    ///
    /// Judges every workload and its running pods by the policy of the installation or another one, and shows what the
    /// webhook would do in each mode, which pods need a restart, and which would not come back after a drain. Only reads.
    Audit(cmd::audit::Args),
    /// Check an installation, and find problems that cause no error message
    ///
    /// Only reads. If it has no permission to read an object, it reports that and continues with the next check.
    Check(cmd::check::Args),
    /// Print the JSON Schema of the policy file, the facts file, the baseline or the JSON output
    Schema(cmd::schema::Args),
    /// Print a shell completion script
    Completion(cmd::completion::Args),
    /// Write the man pages to a directory
    Man(cmd::man::Args),
    /// Keep the container of `sockets --debug-container` running
    #[command(name = "_wait", hide = true)]
    Wait(cmd::wait::Args),
    /// Print the metadata that the Linkerd CLI reads from its extensions
    #[command(name = "_extension-metadata", hide = true)]
    ExtensionMetadata(cmd::extension_metadata::Args),
}

impl Command {
    /// Runs the command; an error means that it could not do its work.
    ///
    /// # Errors
    ///
    /// Returns an error if the command could not do its work.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Lint(args) => cmd::lint::run(&args),
            Self::Explain(args) => cmd::explain::run(&args),
            Self::Catalog(args) => cmd::catalog::run(&args),
            Self::Serve(args) => cmd::serve::run(args),
            Self::Install(args) => cmd::install::run(&args),
            Self::Uninstall(args) => cmd::uninstall::run(&args),
            Self::Certs(args) => cmd::certs::run(&args),
            Self::Demo(args) => cmd::demo::run(&args),
            Self::SetCloseWait(args) => cmd::set_close_wait::run(args),
            Self::Sockets(args) => cmd::sockets::run(&args),
            Self::Measure(args) => cmd::measure::run(&args),
            Self::Diagnose(args) => cmd::diagnose::run(&args),
            Self::Learn(args) => cmd::learn::run(&args),
            Self::Audit(args) => cmd::audit::run(&args),
            Self::Check(args) => cmd::check::run(&args),
            Self::Schema(args) => cmd::schema::run(args),
            Self::Completion(args) => cmd::completion::run(args, Cli::command()),
            Self::Man(args) => cmd::man::run(&args, Cli::command()),
            Self::Wait(args) => cmd::wait::run(args),
            Self::ExtensionMetadata(args) => cmd::extension_metadata::run(args),
        }
    }
}
