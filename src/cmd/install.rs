//! `install`: prints the manifests of an installation.

use std::{
    collections::BTreeMap,
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{ValueEnum, builder::PossibleValue};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    admission::{
        policy_file::{self, PolicyFileError},
        traces::CollectorUrl,
    },
    cluster::install::{self, Engine, FailurePolicy, Options, Reports, Tls, Toleration},
    judgement::{close_wait, policy::Policy},
    review::Mode,
};

/// Print the manifests that install linkerd-linger in a cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What judges and patches pods
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Engine::Webhook)]
    engine: Engine,

    /// Mode of namespaces without the label linkerd-linger.io/mode
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DefaultMode::Off)]
    default_mode: DefaultMode,

    /// Run three replicas, spread over hosts and zones, with the priority class system-cluster-critical
    #[arg(long)]
    ha: bool,

    /// The source of the serving certificate
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = TlsSource::SelfSigned)]
    tls: TlsSource,

    /// CA certificates to trust, in PEM; for --tls byo
    #[arg(long, value_name = "FILE", required_if_eq("tls", "byo"))]
    ca_bundle: Option<PathBuf>,

    /// Image of the webhook [default: the image of this version]
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    image: Option<String>,

    /// Policy file to install [default: an empty policy]
    #[arg(long, value_name = "FILE")]
    set_policy: Option<PathBuf>,

    /// Facts file to install, with measured idle timeouts (see `measure`)
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,

    /// What the API server does with objects in enforcing namespaces while no webhook server answers: Ignore admits them, Fail
    /// rejects them. In other namespaces, they are always admitted. Install with Ignore first: with Fail, all are
    /// rejected until the first webhook server answers
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true, default_value_t = FailurePolicy::Ignore)]
    failure_policy: FailurePolicy,

    /// Install a NetworkPolicy that allows only traffic to the server's two ports
    #[arg(long, conflicts_with = "host_network")]
    network_policy: bool,

    /// Also install a DaemonSet that exports metrics about half-closed connections, in its own namespace; its pods see
    /// every process of their node
    #[arg(long)]
    sockets: bool,

    /// Also install a CronJob that audits the cluster and writes a report for each workload with findings
    ///
    /// It reads workloads, pods, ConfigMaps and namespaces of the whole cluster, and no Secrets. The cluster must have the CRDs
    /// of openreports.io, or policyreports of wgpolicyk8s.io. See docs/audit.md#reports-in-the-cluster.
    #[arg(long)]
    reports: bool,

    /// When the CronJob of --reports runs, in the format of cron [default: once an hour]
    #[arg(long, value_name = "CRON", requires = "reports", value_parser = install::read_schedule)]
    reports_schedule: Option<String>,

    /// Let the CronJob of --reports also write Events about workloads with findings
    #[arg(long, requires = "reports")]
    reports_events: bool,

    /// Run the server on the network of its nodes, for API servers that cannot reach pods
    ///
    /// At most one replica runs on a node, and a rollout replaces one replica at a time, so there must be a node for each
    /// replica. The namespace allows privileged pods, because Pod Security forbids host networking otherwise. Probes and
    /// metrics are served only on 127.0.0.1, unless --pod-monitor is given.
    #[arg(long)]
    host_network: bool,

    /// Port of the webhook on its pods; a firewall between API server and nodes must allow it
    #[arg(long, value_name = "PORT", value_parser = port(), default_value_t = Options::default().webhook_port)]
    webhook_port: u16,

    /// Port of probes and metrics on the server's pods
    #[arg(long, value_name = "PORT", value_parser = port(), default_value_t = Options::default().admin_port)]
    admin_port: u16,

    /// Image pull secret in the namespaces of linkerd-linger; may be repeated
    ///
    /// It is not used for the init container that the webhook adds to your pods: the kubelet looks for the Secret in the
    /// pod's own namespace, and the pod does not start (ErrImagePull) if the image cannot be pulled. Make the image
    /// pullable without a Secret (node credentials, a registry mirror), or create the Secret in those namespaces and add
    /// it to their ServiceAccounts. See docs/helm.md#private-registries.
    #[arg(long, value_name = "NAME", value_parser = install::read_secret_name)]
    image_pull_secret: Vec<String>,

    /// Node label that the server's pods require; may be repeated. The nodes must also run Linux
    #[arg(long, value_name = "KEY=VALUE", value_parser = install::read_label)]
    node_selector: Vec<(String, String)>,

    /// Taint that the server tolerates, as in `kubectl taint`; may be repeated. Without a value, all values are tolerated;
    /// without an effect, all effects
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = Toleration::read)]
    toleration: Vec<Toleration>,

    /// Also print PodMonitors for the Prometheus Operator, whose CRDs must be installed
    #[arg(long)]
    pod_monitor: bool,

    /// Label of the PodMonitors, for Prometheus instances that select by label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "pod_monitor", value_parser = install::read_label)]
    pod_monitor_label: Vec<(String, String)>,

    /// Send a span of each review to this OpenTelemetry collector (OTLP over HTTP), such as `http://collector.traces:4318`
    ///
    /// With --network-policy, the server may then connect to this port and to DNS servers. A NetworkPolicy applies to the port
    /// of the collector's pods: if the port of its Service differs, add that of the pods. See docs/monitoring.md#traces.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<CollectorUrl>,

    /// Custom resources with pod templates that the validating webhook also reviews; separated by commas, or repeated
    ///
    /// Give the names of their CRDs. The pod templates are found in any field. For a kind whose controller may change the
    /// pod template, such as a RayCluster, findings are only warnings. Without this flag, the webhook first sees the objects
    /// that the controller creates: ReplicaSets, Jobs or pods.
    #[arg(long, value_name = "PLURAL.GROUP", value_delimiter = ',', value_parser = install::read_workload)]
    workloads: Vec<String>,
}

/// The ports that a process without privileges can listen on.
fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1024..)
}

const EXAMPLES: &str = "\
Examples:
  linkerd-linger install | kubectl apply -f -
  linkerd-linger install --ha --default-mode audit | kubectl apply -f -
  linkerd-linger install --engine policy | kubectl apply -f -
  linkerd-linger install --node-selector pool=system --toleration pool | kubectl apply -f -
  linkerd-linger install --workloads rollouts.argoproj.io,clonesets.apps.kruise.io | kubectl apply -f -
  kubectl label namespace shop linkerd-linger.io/mode=enforce

Exit codes:
  0  the manifests were printed
  2  a file or a flag cannot be used, or the policy needs --engine webhook";

/// The mode of namespaces without the label.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum DefaultMode {
    /// Pods are not reviewed
    Off,
    /// Findings are only logged and counted; nothing is patched, warned about or rejected
    Audit,
    /// Pods are patched; rejections become warnings
    Warn,
    /// Pods are patched, and findings that a rule rejects are refused
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
    /// linkerd-linger, in a Job after the installation and in a daily CronJob
    SelfSigned,
    /// cert-manager, which must be installed with its cainjector
    CertManager,
    /// You, in a Secret that you create
    Byo,
}

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Webhook, Self::Policy]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Webhook => {
                PossibleValue::new("webhook").help("A server, which the API server calls; it evaluates every rule")
            }
            Self::Policy => PossibleValue::new("policy").help(
                "The API server itself, by admission policies and without a server; needs Kubernetes 1.36, and \
                 decides fewer cases (docs/policy-engine.md)",
            ),
        })
    }
}

impl ValueEnum for FailurePolicy {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(self.as_str().into())
    }
}

/// Prints the manifests.
///
/// # Errors
///
/// Returns an error if a file cannot be read, or has mistakes.
pub fn run(args: &Args) -> Result<ExitCode> {
    let options = options(args)?;
    let objects = match args.engine {
        Engine::Webhook => install::manifests(&options),
        Engine::Policy => {
            args.refuse_pods()?;
            install::policies(&options, &parsed_policy(args)?)?
        }
    };
    stdout().write_all(install::print(&objects)?.as_bytes()).context("cannot write the manifests")?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Refuses the flags about pods: `--engine policy` installs none.
    fn refuse_pods(&self) -> Result<()> {
        if self.reports {
            bail!(
                "--reports installs a CronJob, but --engine policy installs no pods: remove --reports, and run \
                 `linkerd-linger audit --all-namespaces --write-reports` where you run scheduled jobs"
            );
        }
        if self.sockets {
            bail!(
                "--sockets installs a DaemonSet, but --engine policy installs no pods: remove --sockets; \
                 `linkerd-linger sockets` reads the connections of pods without it"
            );
        }
        let defaults = Options::default();
        let of_server = [
            ("--ha", self.ha),
            ("--tls", self.tls != TlsSource::SelfSigned),
            ("--facts", self.facts.is_some()),
            ("--failure-policy", self.failure_policy != defaults.failure_policy),
            ("--network-policy", self.network_policy),
            ("--host-network", self.host_network),
            ("--webhook-port", self.webhook_port != defaults.webhook_port),
            ("--admin-port", self.admin_port != defaults.admin_port),
            ("--image-pull-secret", !self.image_pull_secret.is_empty()),
            ("--node-selector", !self.node_selector.is_empty()),
            ("--toleration", !self.toleration.is_empty()),
            ("--pod-monitor", self.pod_monitor),
            ("--otlp-endpoint", self.otlp_endpoint.is_some()),
            ("--workloads", !self.workloads.is_empty()),
        ];
        match of_server.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => {
                bail!("{flag} configures the server, but --engine policy installs none: remove {flag}")
            }
            None => Ok(()),
        }
    }
}

/// The policy to install.
fn parsed_policy(args: &Args) -> Result<Policy, PolicyFileError> {
    match &args.set_policy {
        Some(path) => policy_file::parse(path, &policy_file::text(path)?),
        None => Ok(Policy::default()),
    }
}

fn options(args: &Args) -> Result<Options> {
    let tls = match (args.tls, &args.ca_bundle) {
        (TlsSource::Byo, Some(path)) => Tls::Byo { ca_bundle: ca_bundle(path)? },
        (TlsSource::Byo, None) | (_, Some(_)) => bail!("--tls byo and --ca-bundle must be used together"),
        (TlsSource::SelfSigned, None) => Tls::SelfSigned,
        (TlsSource::CertManager, None) => Tls::CertManager,
    };
    if args.webhook_port == args.admin_port {
        bail!(
            "--webhook-port and --admin-port are both {}, but the server listens on two ports: choose another \
             port for one of them",
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
        reports: args.reports.then(|| reports(args)),
        host_network: args.host_network,
        webhook_port: args.webhook_port,
        admin_port: args.admin_port,
        image_pull_secrets: args.image_pull_secret.clone(),
        node_selector,
        tolerations: args.toleration.clone(),
        pod_monitor: args.pod_monitor.then_some(monitor_labels),
        otlp_endpoint: args.otlp_endpoint.clone(),
        workloads: args.workloads.iter().cloned().collect(),
    })
}

fn reports(args: &Args) -> Reports {
    let defaults = Reports::default();
    Reports {
        schedule: args.reports_schedule.clone().unwrap_or(defaults.schedule),
        events: args.reports_events,
    }
}

/// Collects labels, and refuses repeated keys.
fn by_key(flag: &str, labels: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (key, value) in labels {
        if let Some(other) = found.insert(key.clone(), value.clone()) {
            bail!("{flag} gives {key} two values, {other:?} and {value:?}: remove one of them");
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
        Ok(_) | Err(_) => bail!("{} contains no certificate in PEM", path.display()),
    }
}
