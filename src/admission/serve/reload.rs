//! Looks at the certificate pair and the policy every few seconds, and swaps what changed and is good.
//!
//! A watch on a file goes deaf when a kubelet swaps the symlink above it, so the bytes are compared. What is bad leaves
//! the last good one in use, is reported once, and shows in a metric.

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

/// A timer of no time at all would be an endless loop; tokio panics on it.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A file's content as it was last seen, or why it could not be read.
type LastRead<T> = Result<T, String>;

/// A certificate pair that may be replaced while we serve.
pub(crate) struct PairOnDisk {
    files: CertificateFiles,
    min_version: TlsVersion,
    last_read: LastRead<PairBytes>,
    in_use: Certificate,
    /// A pair whose time may come.
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

    /// The new pair, or what is wrong with it; `None` while nothing changed.
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
        // Before its time or after it, no API server would accept the new one.
        let new = self.pending.as_ref()?.certificate.clone();
        if new.is_valid(now) || !self.in_use.is_valid(now) {
            self.in_use = new;
            return self.pending.take().map(Ok);
        }
        let problem = || {
            let (from, to) = (new.not_before(), new.not_after());
            format!("the new certificate is valid from {from} to {to}, and the one in use is valid now")
        };
        changed.then(|| Err(problem()))
    }
}

/// A file of text, such as the policy, that may be replaced while we serve.
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

    /// The new content, or what is wrong with it; `None` while nothing changed.
    fn poll(&mut self) -> Option<Result<T, String>> {
        let current = policy_file::text(&self.path).map_err(|error| describe(&error));
        if current == self.last_read {
            return None;
        }
        self.last_read = current;
        let parsed = self.last_read.clone().and_then(|text| {
            // In one line, as the log has it.
            let line = |error| describe(&error).replace(":\n  ", ": ").replace("\n  ", "; ");
            (self.parse)(&self.path, &text).map_err(line)
        });
        Some(parsed)
    }
}

/// What may change while we serve, and who has to hear of it.
pub(crate) struct Reloader {
    /// The certificate pair, unless we made it.
    pub(crate) pair: Option<PairOnDisk>,
    /// The policy, unless it is the built-in one.
    pub(crate) policy: Option<FileOnDisk<Policy>>,
    /// The facts, if there is a file of them.
    pub(crate) facts: Option<FileOnDisk<Facts>>,
    /// The configuration that the TLS server takes for each new connection.
    pub(crate) tls: RustlsConfig,
    /// Holds the policy and the metrics.
    pub(crate) state: Arc<State>,
}

impl Reloader {
    /// Looks once in `every` until `stop`.
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
                report_certificate(&self.state, &credentials, "took the new certificate pair");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last good certificate pair");
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
                info!("took the new policy");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last good policy");
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
                info!("took the new facts");
                Reload::Ok
            }
            Err(problem) => {
                warn!(error = %problem, "kept the last good facts");
                Reload::Failed
            }
        };
        self.state.metrics().facts_reloaded(result);
    }
}

/// Looks on a thread that may block. A panic on content that we did not foresee is one more bad content.
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
        (source, current.unwrap_or_else(|_| Some(Err("we panicked on it".to_owned()))))
    });
    // The only error left is that the runtime ends, and with it every look.
    let (source, current) = task.await.ok()?;
    *slot = Some(source);
    current
}

/// Logs and measures when the certificate in use ends.
pub(crate) fn report_certificate(state: &State, credentials: &Credentials, message: &'static str) {
    let certificate = &credentials.certificate;
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    state.metrics().certificate_ends(not_after.as_second());
    if !certificate.is_valid(Timestamp::now()) {
        // Serving on makes the API server's message say what is wrong; not serving would say connection refused.
        warn!(%not_before, %not_after, "the certificate in use is not valid now");
    }
    info!(%not_after, "{message}");
}
