//! `install`: the manifests of an installation, for kubectl.

use std::{
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
    cluster::install::{self, FailurePolicy, Options, Tls},
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
    #[arg(long)]
    network_policy: bool,

    /// Also run a pod on each node that exposes metrics about half-closed connections, in a namespace of its own; it sees
    /// every process of its node
    #[arg(long)]
    sockets: bool,
}

const EXAMPLES: &str = "\
Examples:
  linkerd-linger install | kubectl apply -f -
  linkerd-linger install --ha --default-mode audit | kubectl apply -f -
  kubectl label namespace shop linkerd-linger.io/mode=enforce

Exit codes:
  0  printed
  2  a file cannot be used";

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
/// When a file cannot be read, or holds mistakes.
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
    })
}

/// The text of a policy that the server will take.
fn policy(path: &Path) -> Result<String, PolicyFileError> {
    let text = policy_file::text(path)?;
    policy_file::parse(path, &text)?;
    Ok(text)
}

/// The text of facts that the server will take.
fn facts(path: &Path) -> Result<String, PolicyFileError> {
    let text = policy_file::text(path)?;
    policy_file::facts(path, &text)?;
    Ok(text)
}

/// The certificates of a file and nothing else of it, for a private key beside them must not get into a manifest.
fn ca_bundle(path: &Path) -> Result<String> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(crate::base::pem::certificates(&certificates)),
        Ok(_) | Err(_) => bail!("cannot find a certificate in PEM in {}", path.display()),
    }
}
