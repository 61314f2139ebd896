//! Checks the serving certificate against the CA bundles of the webhooks, and the remaining validity of both.
//!
//! `check` runs outside of the cluster and cannot connect to the Service, so it uses the chain in the Secret. The dry
//! run shows that the server really uses it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::CertificateError;

use super::{CheckId, CheckResult, Outcome, Snapshot, webhook_entries};
use crate::{
    admission::certs::{self, CHAIN, Certificate},
    base::names,
};

/// The fraction of a certificate's validity at which a warning is due. Renewal is due at a third. A fixed number of
/// days would give false alarms for short-lived certificates (linkerd2 #5149).
const LAST_PART: f64 = 0.25;

pub(super) fn checks(snapshot: &Snapshot, now: Timestamp) -> Vec<CheckResult> {
    let entries = webhook_entries::own_entries(snapshot);
    if entries.is_empty() {
        return Vec::new();
    }
    // The webhooks usually share their bundle and name, and then one line is enough.
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
        _ => Outcome::fail_about(
            "the API server cannot call these webhooks, so their failurePolicy applies",
            &problems,
        ),
    };
    let mut results = vec![CheckResult::of(CheckId::CaBundle, trust)];
    results.extend(lifetime(chain.as_deref().unwrap_or_default(), &authorities, now));
    results
}

fn chain(secret: &Secret) -> Result<Vec<Certificate>, String> {
    let place = format!("{CHAIN} of the Secret {}", names::CERTIFICATE_SECRET);
    let bytes =
        secret.data.as_ref().and_then(|data| data.get(CHAIN)).ok_or_else(|| format!("{place} is missing"))?;
    // The server refuses a chain with an unreadable certificate.
    match Certificate::read_chain(&bytes.0) {
        Some(chain) if chain.is_empty() => Err(format!("{place} contains no certificate in PEM")),
        Some(chain) => Ok(chain),
        None => Err(format!("{place} contains a certificate that cannot be read")),
    }
}

fn authorities_of(bundle: &[u8]) -> Result<Vec<Certificate>, String> {
    if bundle.is_empty() {
        return Err("it has no caBundle, so the API server trusts only public CAs".to_owned());
    }
    let authorities = Certificate::read_all(bundle);
    if authorities.is_empty() {
        return Err("its caBundle contains no certificate in PEM".to_owned());
    }
    Ok(authorities)
}

fn verify(roots: &[Certificate], chain: &[Certificate], name: &str, now: Timestamp) -> Result<(), String> {
    if !roots.iter().any(|root| root.is_valid(now)) {
        return Err("no CA in its caBundle is valid now".to_owned());
    }
    match certs::verify(roots, chain, name, now) {
        Ok(()) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(message(&error, name)),
        Err(error) => Err(format!("{name:?}: {error}")),
    }
}

fn message(error: &CertificateError, name: &str) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!(
                "no CA in its caBundle has signed the certificate chain in the Secret {}",
                names::CERTIFICATE_SECRET
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the serving certificate is not for {name}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the serving certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the serving certificate is not valid yet".to_owned()
        }
        other => format!("the certificate chain is not valid: {other}"),
    }
}

/// The remaining validity of the chain and of the CA that is valid longest, because an old CA may be listed next to its
/// successor.
fn lifetime(chain: &[Certificate], authorities: &[Certificate], now: Timestamp) -> Option<CheckResult> {
    let id = CheckId::Lifetime;
    let lives = chain.iter().enumerate().map(|(index, certificate)| {
        let what = if index == 0 { "the serving certificate" } else { "an intermediate certificate" };
        (what, certificate)
    });
    let authority = authorities.iter().max_by_key(|authority| authority.not_after());
    let lives: Vec<_> = lives.chain(authority.map(|it| ("the CA in caBundle", it))).collect();
    let (first, ends_first) = lives.iter().min_by_key(|(_, certificate)| certificate.not_after())?;
    let texts = |holds: &dyn Fn(&Certificate) -> bool| -> Vec<_> {
        let held = lives.iter().filter(|(_, certificate)| holds(certificate));
        held.map(|(what, certificate)| end(what, certificate, now)).collect()
    };
    let over = texts(&|certificate| !certificate.is_valid(now));
    let late = texts(&|certificate| certificate.remaining_fraction(now) < LAST_PART);
    Some(if !over.is_empty() {
        CheckResult::of(
            id,
            Outcome::fail_about(
                "these certificates are not valid now, so API servers do not trust them",
                &over,
            ),
        )
    } else if !late.is_empty() {
        CheckResult::of(id, Outcome::warn_about("these certificates are due for renewal", &late))
    } else {
        CheckResult::good(id, format!("{} ({first} expires on {})", id.description(), ends_first.not_after()))
    })
}

fn end(what: &str, certificate: &Certificate, now: Timestamp) -> String {
    if certificate.is_not_yet_valid(now) {
        return format!("{what} is not valid yet");
    }
    let word = if certificate.is_valid(now) { "expires" } else { "expired" };
    format!("{what} {word} on {}", certificate.not_after())
}
