//! `install`: prints the manifests of an installation.

use std::{
    collections::BTreeMap,
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    admission::{
        policy_file::{self, PolicyFileError},
        review::Mode,
    },
    cluster::install::{self, FailurePolicy, Options, Tls, Toleration},
    judgement::close_wait,
};

/// Print what to install in a cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Mode of namespaces without the label linkerd-linger.io/mode
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DefaultMode::Off)]
    default_mode: DefaultMode,

    /// Run three replicas, spread over hosts and zones, with the priority of cluster components
    #[arg(long)]
    ha: bool,

    /// Who makes the serving certificate
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = TlsSource::SelfSigned)]
    tls: TlsSource,

    /// Certificates of the authorities to trust, in PEM; with --tls byo
    #[arg(long, value_name = "FILE", required_if_eq("tls", "byo"))]
    ca_bundle: Option<PathBuf>,

    /// Image of the webhook [default: the one of this version]
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    image: Option<String>,

    /// Policy file to install [default: one without any setting]
    #[arg(long, value_name = "FILE")]
    set_policy: Option<PathBuf>,

    /// File to install with what was measured of servers (see `measure`)
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,

    /// What becomes of objects in enforcing namespaces while no server answers; elsewhere they are always admitted.
    /// Install with Ignore first: until the first server answers, Fail refuses every pod there
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true, default_value_t = FailurePolicy::Ignore)]
    failure_policy: FailurePolicy,

    /// Restrict the traffic of the server's pods to its two ports
    #[arg(long, conflicts_with = "host_network")]
    network_policy: bool,

    /// Also run a pod on each node that exposes metrics about half-closed connections, in a namespace of its own; it sees
    /// every process of its node
    #[arg(long)]
    sockets: bool,

    /// Run the server on the network of its nodes, for API servers that cannot reach pods
    ///
    /// At most one replica runs on a node, and a rollout replaces one after the other, so there must be a node for each
    /// replica. The namespace allows privileged pods, as Pod Security requires. Probes and metrics are served on 127.0.0.1
    /// only, unless --pod-monitor is given.
    #[arg(long)]
    host_network: bool,

    /// Port of the webhook on its pods, such as one that a firewall between API server and nodes lets through
    #[arg(long, value_name = "PORT", value_parser = port(), default_value_t = Options::default().webhook_port)]
    webhook_port: u16,

    /// Port of probes and metrics on the server's pods
    #[arg(long, value_name = "PORT", value_parser = port(), default_value_t = Options::default().admin_port)]
    admin_port: u16,

    /// Secret in our namespaces that nodes need to pull the image; may be repeated
    ///
    /// It does not help where the server adds an init container with that image to a user's pod: the kubelet looks for the
    /// Secret in the pod's own namespace, and the pod waits with ErrImagePull if it cannot pull. Make the image pullable
    /// without a Secret (credentials of the nodes, a registry mirror), or create the Secret in those namespaces and add it
    /// to their ServiceAccounts. See docs/helm.md#private-registries.
    #[arg(long, value_name = "NAME", value_parser = install::read_secret_name)]
    image_pull_secret: Vec<String>,

    /// Label of the nodes that may run the server; may be repeated. Nodes must run Linux in any case
    #[arg(long, value_name = "KEY=VALUE", value_parser = install::read_label)]
    node_selector: Vec<(String, String)>,

    /// Taint that the server tolerates, as `kubectl taint` writes it; may be repeated. Without a value or an effect, all
    /// values or effects are tolerated
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = Toleration::read)]
    toleration: Vec<Toleration>,

    /// Also print PodMonitors, which tell the Prometheus Operator where the metrics are; its CRDs must be installed
    #[arg(long)]
    pod_monitor: bool,

    /// Label of the PodMonitors that a Prometheus selects; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "pod_monitor", value_parser = install::read_label)]
    pod_monitor_label: Vec<(String, String)>,
}

/// The ports that a process without privileges can listen on.
fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1024..)
}

const EXAMPLES: &str = "\
Examples:
  linkerd-linger install | kubectl apply -f -
  linkerd-linger install --ha --default-mode audit | kubectl apply -f -
  linkerd-linger install --node-selector pool=system --toleration pool | kubectl apply -f -
  kubectl label namespace shop linkerd-linger.io/mode=enforce

Exit codes:
  0  printed
  2  a file or an option cannot be used";

/// The mode of namespaces without the label.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum DefaultMode {
    /// They are left alone
    Off,
    /// Nothing that users see; logs and metrics only
    Audit,
    /// Pods are patched, what would be refused is admitted with a warning
    Warn,
    /// Pods are patched, and what a rule rejects is refused
    Enforce,
}

impl DefaultMode {
    const fn mode(self) -> Option<Mode> {
        match self {
            Self::Off => None,
            Self::Audit => Some(Mode::Audit),
            Self::Warn => Some(Mode::Warn),
            Self::Enforce => Some(Mode::Enforce),
        }
    }
}

/// Who makes the serving certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum TlsSource {
    /// Linger itself, in a Job now and in a CronJob every day
    SelfSigned,
    /// cert-manager, which must be installed with its cainjector
    CertManager,
    /// You, in a Secret that the manifests do not hold
    Byo,
}

impl ValueEnum for FailurePolicy {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.as_str().into())
    }
}

/// Prints the manifests.
///
/// # Errors
///
/// Returns an error if a file cannot be read, or has mistakes.
pub fn run(args: &Args) -> Result<ExitCode> {
    let objects = install::manifests(&options(args)?);
    stdout().write_all(install::print(&objects)?.as_bytes()).context("cannot write the manifests")?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> Result<Options> {
    let tls = match (args.tls, &args.ca_bundle) {
        (TlsSource::Byo, Some(path)) => Tls::Byo { ca_bundle: ca_bundle(path)? },
        (TlsSource::Byo, None) | (_, Some(_)) => bail!("--tls byo and --ca-bundle go together"),
        (TlsSource::SelfSigned, None) => Tls::SelfSigned,
        (TlsSource::CertManager, None) => Tls::CertManager,
    };
    if args.webhook_port == args.admin_port {
        bail!(
            "--webhook-port and --admin-port are both {}, but the server listens at two ports: choose another for one",
            args.admin_port
        );
    }
    let node_selector = by_key("--node-selector", &args.node_selector)?;
    let monitor_labels = by_key("--pod-monitor-label", &args.pod_monitor_label)?;
    let defaults = Options::default();
    Ok(Options {
        default_mode: args.default_mode.mode(),
        ha: args.ha,
        tls,
        image: args.image.clone().unwrap_or(defaults.image),
        policy: args.set_policy.as_deref().map(policy).transpose()?.unwrap_or(defaults.policy),
        facts: args.facts.as_deref().map(facts).transpose()?,
        failure_policy: args.failure_policy,
        network_policy: args.network_policy,
        sockets: args.sockets,
        host_network: args.host_network,
        webhook_port: args.webhook_port,
        admin_port: args.admin_port,
        image_pull_secrets: args.image_pull_secret.clone(),
        node_selector,
        tolerations: args.toleration.clone(),
        pod_monitor: args.pod_monitor.then_some(monitor_labels),
    })
}

/// Collects labels, and refuses repeated keys.
fn by_key(flag: &str, labels: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (key, value) in labels {
        if let Some(other) = found.insert(key.clone(), value.clone()) {
            bail!("{flag} gives {key} two values, {other:?} and {value:?}: a node or an object has one");
        }
    }
    Ok(found)
}

/// Reads a policy and checks that the server will accept it.
fn policy(path: &Path) -> Result<String, PolicyFileError> {
    let text = policy_file::text(path)?;
    policy_file::parse(path, &text)?;
    Ok(text)
}

/// Reads facts and checks that the server will accept them.
fn facts(path: &Path) -> Result<String, PolicyFileError> {
    let text = policy_file::text(path)?;
    policy_file::facts(path, &text)?;
    Ok(text)
}

/// The certificates in a file, without anything else: a private key in the same file must not get into a manifest.
fn ca_bundle(path: &Path) -> Result<String> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(crate::base::pem::certificates(&certificates)),
        Ok(_) | Err(_) => bail!("cannot find a certificate in PEM in {}", path.display()),
    }
}
