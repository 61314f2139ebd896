//! `serve`: the admission webhook.
//!
//! Turns flags into a [`serve::Config`], and stops the server on a signal.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::ArgGroup;
use jiff::SignedDuration;
use prometheus_client::metrics::counter::Counter;
use tracing::error;
use tracing_subscriber::filter::Targets;

use super::log::{self, Flush, LogFormat};
use crate::{
    admission::{
        serve::{self, CertificateFiles, CertificateSource, Clients, Timeouts, TlsVersion},
        traces::{CollectorUrl, CollectorUrlError, Traces},
    },
    base::shutdown::Signals,
    judgement::close_wait,
    review,
};

/// The value of `--otlp-endpoint`; `None` if it is empty. An alias, because clap treats an `Option` in an `Option` otherwise.
type Collector = Option<CollectorUrl>;

/// Run the webhook server, which answers admission reviews.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("certificate").args(["tls_cert", "self_signed"]).required(true))]
pub struct Args {
    /// Address of the HTTPS port for admission reviews. [::] means every IPv6 and IPv4 address.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen: SocketAddr,

    /// Address of the plain HTTP port for /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9990")]
    admin_listen: SocketAddr,

    /// Policy file; it is reloaded when it changes. Without it, the default policy applies.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Facts file with measured idle timeouts (see `measure`); it is reloaded when it changes.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,

    /// Image of the init container that is added to pods whose linkerd-init cannot set the close-wait timeout. Use the
    /// image of this program. Without it, such pods get a warning.
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    init_image: Option<String>,

    /// Certificate chain in PEM, with the serving certificate first; it is reloaded when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "self_signed")]
    tls_key: Option<PathBuf>,

    /// Create a CA and a certificate for localhost in memory, for testing.
    #[arg(long)]
    self_signed: bool,

    /// Additional DNS name or IP address in the self-signed certificate; may be repeated.
    #[arg(long, value_name = "NAME", requires = "self_signed", conflicts_with = "tls_cert")]
    self_signed_name: Vec<String>,

    /// Accept only clients with a certificate from a CA in this file; it is reloaded when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "self_signed")]
    client_ca: Option<PathBuf>,

    /// With --client-ca, accept only clients with this common name, DNS name or URI; may be repeated.
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    client_name: Vec<String>,

    /// Minimum TLS version: 1.2 or 1.3.
    #[arg(long, value_name = "VERSION", default_value = TlsVersion::default().as_str())]
    tls_min: TlsVersion,

    /// How long to accept connections after SIGTERM, until the endpoints no longer list this pod.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    shutdown_delay: Duration,

    /// How long to wait for open requests after that.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    drain: Duration,

    /// Send a span of each review to this OpenTelemetry collector (OTLP over HTTP), such as `http://collector.traces:4318`.
    ///
    /// A span continues the trace of the API server. If the collector does not answer, spans are lost and no review waits.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector)]
    otlp_endpoint: Option<Collector>,

    /// Format of the log, which is written to stderr.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// Log level: off, error, warn, info, debug or trace; also per module, such as info,linkerd_linger=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Targets,
}

/// Serves until a signal. Exits with 0 after SIGTERM or SIGINT, even if the drain timed out.
///
/// # Errors
///
/// Returns an error if the server cannot start, or ends unexpectedly.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let dropped_log_lines = Counter::default();
    let log = log::queued(args.log_format, args.log_level.clone(), dropped_log_lines.clone())
        .context("cannot start the thread that writes the log")?;
    // Logs only the location: the message of a panic may quote its input, such as a password in the environment of a
    // pod.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        error!(at, "a bug in linkerd-linger: please report it");
    }));
    let traces = args.otlp_endpoint.as_ref().and_then(Option::as_ref).map(Traces::start).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the server")?;
    let config = serve::Config { traces: traces.clone(), dropped_log_lines, ..config(args) };
    let ended = runtime.block_on(serve(config, log.clone()));
    if let Some(traces) = traces {
        traces.stop();
    }
    // Does not wait for blocking file reads on a mount that hangs.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: serve::Config, log: Flush) -> anyhow::Result<()> {
    let signals = Signals::catch().context("cannot install the handlers for SIGTERM and SIGINT")?;
    let running = serve::start(config).await?;
    let signals = tokio::spawn(signals.drive(running.stop_token(), || drop(log)));
    let ended = running.wait().await;
    signals.abort();
    ended.context("the server stopped without a signal")
}

fn config(args: Args) -> serve::Config {
    let certificate = match (args.tls_cert, args.tls_key) {
        (Some(chain), Some(key)) => {
            let clients = args.client_ca.map(|authorities| Clients { authorities, names: args.client_name });
            CertificateSource::Files(CertificateFiles { chain, key, clients })
        }
        _ => CertificateSource::SelfSigned { names: args.self_signed_name },
    };
    serve::Config {
        listen: args.listen,
        admin_listen: args.admin_listen,
        certificate,
        tls_min: args.tls_min,
        policy: args.policy,
        facts: args.facts,
        init_image: args.init_image,
        timeouts: Timeouts { shutdown_delay: args.shutdown_delay, drain: args.drain, ..Timeouts::default() },
        review: review::review,
        traces: None,
        dropped_log_lines: Counter::default(),
    }
}

/// Reads the URL of a collector. OpenTelemetry treats an empty variable like an unset one.
fn collector(text: &str) -> Result<Collector, CollectorUrlError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration =
        text.parse().map_err(|error: jiff::Error| format!("{error}; try 30s or 1m30s"))?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<serve::Config, String> {
        let words = ["linkerd-linger"].iter().chain(flags);
        Program::try_parse_from(words).map(|program| config(program.args)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_and_the_library_agree_on_the_defaults() {
        let config = parse(&["--self-signed"]).unwrap();
        assert_eq!(config.timeouts, Timeouts::default());
        assert_eq!(config.tls_min, TlsVersion::V13);
        assert_eq!(config.listen.port(), 8443);
        assert_eq!(config.admin_listen.port(), 9990);
    }

    #[test]
    fn an_idle_connection_outlives_that_of_the_api_server() {
        assert!(Timeouts::default().idle >= Duration::from_secs(120));
    }

    #[test]
    fn stopping_fits_the_default_grace_period() {
        let timeouts = Timeouts::default();
        assert!(timeouts.shutdown_delay + timeouts.drain < Duration::from_secs(30));
    }

    #[test]
    fn half_a_pair_is_refused_by_name() {
        assert!(parse(&["--tls-cert", "tls.crt"]).unwrap_err().contains("--tls-key <FILE>"));
        assert!(parse(&["--tls-key", "tls.key"]).unwrap_err().contains("--tls-cert <FILE>"));
    }

    #[test]
    fn a_certificate_is_needed_and_only_one() {
        assert!(parse(&[]).unwrap_err().contains("--tls-cert <FILE>|--self-signed"));
        assert!(parse(&["--self-signed", "--tls-cert", "a", "--tls-key", "b"]).is_err());
        assert!(parse(&["--tls-cert", "a", "--tls-key", "b", "--self-signed-name", "c"]).is_err());
    }

    #[test]
    fn an_image_is_a_reference_that_misleads_nobody() {
        let image = "registry.example.com:5000/linkerd-linger@sha256:00";
        let config = parse(&["--self-signed", "--init-image", image]).unwrap();
        assert_eq!(config.init_image.as_deref(), Some(image));
        for bad in ["", "a b", "https://registry.example.com/x", "cr.l5d.io/linkerd/proxy:edge-26.8.3"] {
            assert!(parse(&["--self-signed", "--init-image", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_collector_is_a_url_or_unset() {
        assert!(parse(&["--self-signed", "--otlp-endpoint", "http://collector.traces:4318"]).is_ok());
        assert!(parse(&["--self-signed", "--otlp-endpoint", ""]).is_ok());
        let error = parse(&["--self-signed", "--otlp-endpoint", "collector:4318"]).unwrap_err();
        assert!(error.contains("http://collector.traces:4318"), "{error}");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("30").is_err());
        assert_eq!(duration("-1s"), Err("a duration cannot be negative".to_owned()));
    }
}
