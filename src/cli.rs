//! The command line: the list of commands.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cmd;

/// Prevents the 500s, 502s and lost answers that connection timeouts cause behind Linkerd.
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
    /// Find in manifests what the webhook would reject, patch or warn about
    ///
    /// Reads what `kubectl apply` would be given, and judges every pod in it as the webhook would. Namespaces and
    /// ConfigMaps in the same input count: `linkerd.io/inject: enabled` on a namespace puts its pods into the mesh.
    Lint(cmd::lint::Args),
    /// Show what is known of each pod in manifests: its proxy, servers, probes and what follows
    ///
    /// Every number comes with its source: a field of the manifest, or the default of a version of a server. With the name of a
    /// rule in place of a PATH, prints what the rule finds, why, and what to do.
    Explain(cmd::explain::Args),
    /// List what is known about servers, with its sources; test entries of your own
    Catalog(cmd::catalog::Args),
    /// Answer the admission reviews of an API server
    Serve(cmd::serve::Args),
    /// Print what to install in a cluster
    ///
    /// For `kubectl apply -f -`. The same flags always print the same text, and no secret is in it.
    Install(cmd::install::Args),
    /// Print what to remove from a cluster
    ///
    /// For `kubectl delete --ignore-not-found -f -`: the cluster-scoped parts of any installation, and its namespace.
    Uninstall(cmd::uninstall::Args),
    /// Make and renew the serving certificate
    Certs(cmd::certs::Args),
    /// Show on a few pods what the webhook does; needs no cluster
    Demo(cmd::demo::Args),
    /// Set how long this network namespace remembers a silent half-closed connection; Linux only
    ///
    /// What the init container runs that the webhook adds where linkerd-init cannot do it. It writes
    /// /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait and reads it back, for which it needs uid 0 and a
    /// privileged container.
    SetCloseWait(cmd::set_close_wait::Args),
    /// Find half-closed connections: which process leaves them, and when conntrack forgets them
    ///
    /// Reads the network namespaces of pods through the API server, or those of this machine. It changes nothing there.
    Sockets(cmd::sockets::Args),
    /// Measure how long a server keeps an idle connection
    ///
    /// Opens a few connections, sends one GET on each, and waits until the server closes them. A workload is reached by a
    /// port-forward through the API server, which passes Linkerd's proxy by.
    Measure(cmd::measure::Args),
    /// Find why requests failed: from the proxy's log and metrics to the cause
    ///
    /// Counts each failed request once, tells an idle-timeout race from an app that ends requests, refused connections and other
    /// causes, and says what ends it. What the logs and metrics cannot tell is undetermined.
    Diagnose(cmd::diagnose::Args),
    /// Measure the servers of a cluster that no manifest tells about
    ///
    /// Finds the injected workloads whose idle timeouts are unknown or likely, measures their servers, and prints a facts file
    /// for `serve --facts`, `lint --facts` and `install --facts`.
    Learn(cmd::learn::Args),
    /// Check an installation, and what would fail in silence around it
    ///
    /// Reads only. What it may not read it names, and goes on.
    Check(cmd::check::Args),
    /// Print the JSON Schema of the policy, the facts, the baseline or the JSON output
    Schema(cmd::schema::Args),
    /// Print the script with which a shell completes commands and flags
    Completion(cmd::completion::Args),
    /// Write the manual pages to a directory
    Man(cmd::man::Args),
    /// Keep the container of `sockets --debug-container` running
    #[command(name = "_wait", hide = true)]
    Wait(cmd::wait::Args),
    /// What the Linkerd CLI asks extensions
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
            Self::Check(args) => cmd::check::run(&args),
            Self::Schema(args) => cmd::schema::run(args),
            Self::Completion(args) => cmd::completion::run(args, Cli::command()),
            Self::Man(args) => cmd::man::run(&args, Cli::command()),
            Self::Wait(args) => cmd::wait::run(args),
            Self::ExtensionMetadata(args) => cmd::extension_metadata::run(args),
        }
    }
}
