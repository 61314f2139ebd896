//! Checks the certificate pair, the policy and the facts every few seconds, and replaces changed files that are valid.
//!
//! Compares the bytes, because a file watch gets no events when kubelet swaps the symlink above the file. An invalid
//! file leaves the last valid one in use, is logged once, and shows in a metric.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    credentials::{CertificateFiles, Credentials, CredentialsError, PairBytes, TlsVersion},
    router::State,
};
use crate::{
    admission::{
        certs::Certificate,
        metrics::Reload,
        policy_file::{self, PolicyFileError},
    },
    base::errors::describe,
    judgement::{facts::Facts, policy::Policy},
};

/// The minimum interval; tokio panics on an interval of zero.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The content of a file when it was last read, or why it could not be read.
type LastRead<T> = Result<T, String>;

/// A certificate pair that may change while the server runs.
pub(crate) struct PairOnDisk {
    files: CertificateFiles,
    min_version: TlsVersion,
    last_read: LastRead<PairBytes>,
    in_use: Certificate,
    /// A pair that is not valid yet.
    pending: Option<Credentials>,
}

impl PairOnDisk {
    /// Reads and checks the pair for the first time.
    pub(crate) fn open(
        files: CertificateFiles,
        min_version: TlsVersion,
    ) -> Result<(Self, Credentials), CredentialsError> {
        let pair = files.read()?;
        let credentials = files.certify(&pair, min_version)?;
        let in_use = credentials.certificate.clone();
        Ok((Self { files, min_version, last_read: Ok(pair), in_use, pending: None }, credentials))
    }

    /// Returns the new pair, or what is wrong with it; `None` if nothing changed.
    fn poll(&mut self) -> Option<Result<Credentials, String>> {
        let current = self.files.read().map_err(|error| describe(&error));
        let changed = current != self.last_read;
        if changed {
            self.last_read = current;
            self.pending = None;
            let certified = match &self.last_read {
                Ok(pair) => self.files.certify(pair, self.min_version).map_err(|error| describe(&error)),
                Err(problem) => Err(problem.clone()),
            };
            match certified {
                Ok(credentials) => self.pending = Some(credentials),
                Err(problem) => return Some(Err(problem)),
            }
        }
        let now = Timestamp::now();
        // API servers would not accept a certificate outside of its validity period.
        let new = self.pending.as_ref()?.certificate.clone();
        if new.is_valid(now) || !self.in_use.is_valid(now) {
            self.in_use = new;
            return self.pending.take().map(Ok);
        }
        let problem = || {
            let (from, to) = (new.not_before(), new.not_after());
            format!(
                "the new certificate is valid only from {from} to {to}, but the certificate in use is valid now"
            )
        };
        changed.then(|| Err(problem()))
    }
}

/// A text file, such as the policy, that may change while the server runs.
pub(crate) struct FileOnDisk<T> {
    path: PathBuf,
    parse: fn(&Path, &str) -> Result<T, PolicyFileError>,
    last_read: LastRead<String>,
}

impl<T> FileOnDisk<T> {
    /// Reads and checks the file for the first time.
    pub(crate) fn open(
        path: PathBuf,
        parse: fn(&Path, &str) -> Result<T, PolicyFileError>,
    ) -> Result<(Self, T), PolicyFileError> {
        let text = policy_file::text(&path)?;
        let parsed = parse(&path, &text)?;
        Ok((Self { path, parse, last_read: Ok(text) }, parsed))
    }

    /// Returns the new content, or what is wrong with it; `None` if nothing changed.
    fn poll(&mut self) -> Option<Result<T, String>> {
        let current = policy_file::text(&self.path).map_err(|error| describe(&error));
        if current == self.last_read {
            return None;
        }
        self.last_read = current;
        let parsed = self.last_read.clone().and_then(|text| {
            // The log has one line for each event.
            let line = |error| describe(&error).replace(":\n  ", ": ").replace("\n  ", "; ");
            (self.parse)(&self.path, &text).map_err(line)
        });
        Some(parsed)
    }
}

/// The files that may change while the server runs, and the parts that use them.
pub(crate) struct Reloader {
    /// The certificate pair; `None` if it is self-signed.
    pub(crate) pair: Option<PairOnDisk>,
    /// The policy file; `None` for the default policy.
    pub(crate) policy: Option<FileOnDisk<Policy>>,
    /// The facts file, if there is one.
    pub(crate) facts: Option<FileOnDisk<Facts>>,
    /// The TLS configuration that the server uses for new connections.
    pub(crate) tls: RustlsConfig,
    /// The state with the policy and the metrics.
    pub(crate) state: Arc<State>,
}

impl Reloader {
    /// Checks the files once in `every` until `stop`.
    pub(crate) async fn run(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every.max(MIN_POLL_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.poll_pair().await;
            self.poll_policy().await;
            self.poll_facts().await;
        }
    }

    async fn poll_pair(&mut self) {
        let Some(current) = run_blocking(&mut self.pair, PairOnDisk::poll).await else { return };
        let result = match current {
            Ok(credentials) => {
                self.tls.reload_from_config(Arc::clone(&credentials.tls));
                report_certificate(&self.state, &credentials, "loaded the new certificate and its key");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last valid certificate and key");
                Reload::Failed
            }
        };
        self.state.metrics().certificate_reloaded(result);
    }

    async fn poll_policy(&mut self) {
        let Some(current) = run_blocking(&mut self.policy, FileOnDisk::poll).await else { return };
        let result = match current {
            Ok(policy) => {
                self.state.replace_policy(policy);
                info!("loaded the new policy");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last valid policy");
                Reload::Failed
            }
        };
        self.state.metrics().policy_reloaded(result);
    }

    async fn poll_facts(&mut self) {
        let Some(current) = run_blocking(&mut self.facts, FileOnDisk::poll).await else { return };
        let result = match current {
            Ok(facts) => {
                self.state.replace_facts(facts);
                info!("loaded the new facts");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last valid facts");
                Reload::Failed
            }
        };
        self.state.metrics().facts_reloaded(result);
    }
}

/// Polls on a blocking thread. A panic counts as invalid content.
async fn run_blocking<T, R>(
    slot: &mut Option<T>,
    poll: fn(&mut T) -> Option<Result<R, String>>,
) -> Option<Result<R, String>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let mut source = slot.take()?;
    let task = spawn_blocking(move || {
        let current = catch_unwind(AssertUnwindSafe(|| poll(&mut source)));
        (source, current.unwrap_or_else(|_| Some(Err("a panic occurred while reading it".to_owned()))))
    });
    // The only remaining error is that the runtime is shutting down.
    let (source, current) = task.await.ok()?;
    *slot = Some(source);
    current
}

/// Logs the expiry of the certificate in use and sets its metric.
pub(crate) fn report_certificate(state: &State, credentials: &Credentials, message: &'static str) {
    let certificate = &credentials.certificate;
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    state.metrics().certificate_ends(not_after.as_second());
    if !certificate.is_valid(Timestamp::now()) {
        // Serving an expired certificate lets the API server report the real reason; otherwise it would report
        // "connection refused".
        warn!(%not_before, %not_after, "the certificate in use is not valid now");
    }
    info!(%not_after, "{message}");
}
