//! The serving certificate against what API servers were told to trust, and how much of their lives is left.
//!
//! `check` runs outside the cluster and cannot dial the Service, so the chain is the one in the Secret; that the
//! server serves it too is proved by the dry run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CheckId, CheckResult, Outcome, Snapshot, hooks};
use crate::names;

/// The key of the chain in a Secret of type `kubernetes.io/tls`.
const CHAIN: &str = "tls.crt";
/// Of a certificate's life, the part that is left when a warning is due. Renewal is due at a third; a fixed number of
/// days would cry wolf over short lives (linkerd2 #5149).
const LAST_PART: f64 = 0.25;

pub(super) fn checks(snapshot: &Snapshot, now: Timestamp) -> Vec<CheckResult> {
    let entries = hooks::ours(snapshot);
    if entries.is_empty() {
        return Vec::new();
    }
    // Entries share their bundle and name as a rule, and then one line says it for all.
    let mut bundles: BTreeMap<(Vec<u8>, String), BTreeSet<&str>> = BTreeMap::new();
    for entry in &entries {
        let bundle = entry.client.ca_bundle.as_ref().map(|bytes| bytes.0.clone()).unwrap_or_default();
        let name = entry.server_name().unwrap_or_default();
        bundles.entry((bundle, name)).or_default().insert(entry.name);
    }
    let chain = match &snapshot.certificate {
        Err(error) => Err(Outcome::from(error)),
        Ok(None) => Err(Outcome::Error(format!(
            "there is no Secret {} in the namespace {}",
            names::CERTIFICATE_SECRET,
            names::NAMESPACE
        ))),
        Ok(Some(secret)) => chain(secret).map_err(Outcome::Error),
    };
    let mut problems = Vec::new();
    let mut authorities = Vec::new();
    for ((bundle, name), entries) in &bundles {
        let who = entries.iter().copied().collect::<Vec<_>>().join(", ");
        match authorities_of(bundle) {
            Err(problem) => problems.push(format!("{who}: {problem}")),
            Ok(roots) => {
                if let Ok(chain) = &chain
                    && let Err(problem) = verify(&roots, chain, name, now)
                {
                    problems.push(format!("{who}: {problem}"));
                }
                authorities.extend(roots);
            }
        }
    }
    let trust = match (&chain, problems.is_empty()) {
        (Err(outcome), true) => outcome.clone(),
        _ => Outcome::fail_of("calls to these fail, and the failurePolicy decides", &problems),
    };
    let mut results = vec![CheckResult::of(CheckId::CaBundle, trust)];
    results.extend(lifetime(chain.as_deref().unwrap_or_default(), &authorities, now));
    results
}

fn chain(secret: &Secret) -> Result<Vec<CertificateDer<'static>>, String> {
    let place = format!("{CHAIN} of the Secret {}", names::CERTIFICATE_SECRET);
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(CHAIN))
        .ok_or_else(|| format!("there is no {place}"))?;
    match certificates(&bytes.0) {
        Some(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!("{place} holds no certificate in PEM")),
    }
}

fn authorities_of(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if bundle.is_empty() {
        return Err("it has no caBundle, so the API server trusts only public authorities".to_owned());
    }
    match certificates(bundle) {
        Some(roots) if !roots.is_empty() => Ok(roots),
        _ => Err("its caBundle holds no certificate in PEM".to_owned()),
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// Verifies as API servers do: they do not trust an authority that has ended either.
fn verify(
    roots: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    name: &str,
    now: Timestamp,
) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for root in roots.iter().filter(|root| Life::of(root).is_some_and(|life| life.holds(now))) {
        // What is no certificate of an authority signs nothing.
        let _ = store.add(root.clone());
    }
    if store.is_empty() {
        return Err("none of the authorities in its caBundle is valid now".to_owned());
    }
    let Some((leaf, rest)) = chain.split_first() else { return Ok(()) };
    let server = ServerName::try_from(name).map_err(|_| format!("{name:?} is no name of a server"))?;
    let time =
        UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap_or_default()));
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| error.to_string())?;
    match verifier.verify_server_cert(leaf, rest, &server, &[], time) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(told(&error, name)),
        Err(error) => Err(error.to_string()),
    }
}

fn told(error: &CertificateError, name: &str) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!(
                "no authority in its caBundle has signed the chain in the Secret {}",
                names::CERTIFICATE_SECRET
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the serving certificate is not for {name}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the serving certificate has ended".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the serving certificate is not valid yet".to_owned()
        }
        other => format!("the chain is not valid: {other}"),
    }
}

/// How much is left of the chain and, of the authorities, the one that lasts longest: an old one may stand beside its
/// successor.
fn lifetime(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    now: Timestamp,
) -> Option<CheckResult> {
    let id = CheckId::Lifetime;
    let lives = chain.iter().enumerate().filter_map(|(index, certificate)| {
        let what = if index == 0 { "the serving certificate" } else { "an intermediate certificate" };
        Some((what, Life::of(certificate)?))
    });
    let authority = authorities.iter().filter_map(Life::of).max_by_key(|life| life.to);
    let lives: Vec<_> = lives.chain(authority.map(|life| ("the authority in caBundle", life))).collect();
    let first = lives.iter().min_by_key(|(_, life)| life.to)?;
    let over: Vec<_> =
        lives.iter().filter(|(_, life)| !life.holds(now)).map(|(what, life)| life.told(what, now)).collect();
    let late: Vec<_> = lives
        .iter()
        .filter(|(_, life)| life.left(now) < LAST_PART)
        .map(|(what, life)| life.told(what, now))
        .collect();
    Some(if !over.is_empty() {
        CheckResult::of(id, Outcome::fail_of("API servers trust none of these", &over))
    } else if !late.is_empty() {
        CheckResult::of(id, Outcome::warn_of("these should have been renewed by now", &late))
    } else {
        let (what, life) = first;
        CheckResult::good(id, format!("{} ({what} ends on {})", id.description(), life.end()))
    })
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy)]
struct Life {
    from: i64,
    to: i64,
}

impl Life {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self { from: validity.not_before.timestamp(), to: validity.not_after.timestamp() })
    }

    fn holds(self, now: Timestamp) -> bool {
        (self.from..=self.to).contains(&now.as_second())
    }

    /// The part of it that is left.
    fn left(self, now: Timestamp) -> f64 {
        let whole = (self.to - self.from).max(1);
        (self.to - now.as_second()) as f64 / whole as f64
    }

    fn end(self) -> String {
        Timestamp::from_second(self.to).map_or_else(|_| "an absurd date".to_owned(), |end| end.to_string())
    }

    fn told(self, what: &str, now: Timestamp) -> String {
        if now.as_second() < self.from {
            return format!("{what} is not valid yet");
        }
        let word = if self.holds(now) { "ends" } else { "ended" };
        format!("{what} {word} on {}", self.end())
    }
}
