//! The certificates of an installation: computes the next step from the current state.
//!
//! Pure functions. [`issue`] creates keys and certificates, [`rotate`] runs the steps.
//!
//! API servers and pods see a change some time after it was written, and not at the same moment. Therefore every bundle
//! that an API server may still use must trust every certificate that a pod may still serve:
//!
//! ```text
//! Secret         old CA, old leaf | new CA, old leaf                              | new CA, new leaf
//! caBundle (2x)  old              | old           | old + new                     | old + new ... new
//!                                   CA renewed      published, seen, and waited     leaf renewed   old CA expired
//! ```

pub mod issue;
mod material;
pub mod rotate;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use self::material::{CHAIN, Certificate, Leaf, Stored, verify};
use crate::{base::names, review::WebhookKind};

/// How long a CA certificate is valid.
pub const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a serving certificate is valid. It is renewed after 60 days. A CA is replaced when 121 days are left, so a
/// leaf never outlives its issuer.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How far `notBefore` lies in the past, for API servers whose clocks are slow.
pub const BACKDATING: SignedDuration = SignedDuration::from_hours(1);
/// How long to wait until every API server has seen a new CA bundle. They watch webhook configurations and get changes
/// within seconds.
pub const PROPAGATION: Duration = Duration::from_secs(30);

/// The CA bundles of a webhook configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Published {
    /// The bundle of each webhook in the configuration.
    pub bundles: Vec<Vec<Certificate>>,
}

/// The state of the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Secret, if it exists.
    pub stored: Option<Stored>,
    /// The configurations that exist, in the order of [`WebhookKind::ALL`].
    pub published: [Option<Published>; 2],
}

/// The time since which all configurations trust the issuing CA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust {
    authority: Certificate,
    since: Timestamp,
}

/// The next step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Create a CA and put it before those in the Secret.
    RenewAuthority {
        /// Also create a serving certificate, because no API server trusts the current one.
        with_leaf: bool,
    },
    /// Create a serving certificate.
    RenewLeaf,
    /// Write a CA bundle into a webhook configuration.
    Publish {
        /// The configuration.
        configuration: WebhookKind,
        /// The CA certificates to trust.
        bundle: Vec<Certificate>,
    },
    /// Wait until a configuration exists.
    AwaitConfiguration(WebhookKind),
    /// Wait until every API server has seen the bundle.
    AwaitPropagation(Duration),
    /// Nothing to do for now.
    Done,
}

/// Computes the next step. Running the steps repeatedly ends at [`Step::Done`] from any state.
pub fn next(observed: &Observed, trust: Option<&Trust>, propagation: Duration, now: Timestamp) -> Step {
    let Some(stored) = observed.stored.as_ref().filter(|stored| stored.can_issue(now)) else {
        return Step::RenewAuthority { with_leaf: observed.trusted(now).is_empty() };
    };
    let bundle = observed.desired_bundle(now);
    let mut missing = None;
    for (configuration, published) in WebhookKind::ALL.into_iter().zip(&observed.published) {
        match published {
            None => missing = missing.or(Some(configuration)),
            Some(published) if !published.has_exactly(&bundle) => {
                return Step::Publish { configuration, bundle };
            }
            Some(_) => {}
        }
    }
    // A missing configuration trusts nothing, so it does not delay renewal.
    let no_configuration = observed.published.iter().all(Option::is_none);
    if no_configuration || stored.leaf_is_good(&names::SERVICE_NAMES, now) {
        return missing.map_or(Step::Done, Step::AwaitConfiguration);
    }
    let waited = trust.map_or(Duration::ZERO, |trust| elapsed_since(trust.since, now));
    match propagation.checked_sub(waited) {
        None | Some(Duration::ZERO) => Step::RenewLeaf,
        Some(rest) => Step::AwaitPropagation(rest),
    }
}

/// Tracks since when all configurations trust the issuing CA.
pub fn track_trust(before: Option<Trust>, observed: &Observed, now: Timestamp) -> Option<Trust> {
    let authority = observed.stored.as_ref().and_then(Stored::issuing)?;
    if !observed.published.iter().flatten().all(|published| published.trusts(authority)) {
        return None;
    }
    match before {
        Some(trust) if trust.authority == *authority && trust.since <= now => Some(trust),
        Some(_) | None => Some(Trust { authority: authority.clone(), since: now }),
    }
}

/// Computes the new content of the Secret for a step.
///
/// # Errors
///
/// Returns an error if the step does not write the Secret, or a key cannot be created or used.
pub fn renew(stored: Option<&Stored>, step: &Step, now: Timestamp) -> Result<Stored, issue::IssueError> {
    let mut renew = stored.cloned().unwrap_or_default();
    let with_leaf = match step {
        Step::RenewAuthority { with_leaf } => {
            renew.replace_authority(issue::authority(AUTHORITY_LIFETIME, now)?, now);
            *with_leaf
        }
        Step::RenewLeaf => true,
        Step::Publish { .. } | Step::AwaitConfiguration(_) | Step::AwaitPropagation(_) | Step::Done => false,
    };
    if with_leaf {
        let issuer = issue::issuer(&renew)?;
        renew.leaf = Some(issue::leaf(&issuer, &names::SERVICE_NAMES, LEAF_LIFETIME, now)?);
        // Without this check, a CA that cannot issue for these names would cause endless renewals.
        if !renew.leaf_is_good(&names::SERVICE_NAMES, now) {
            return Err(issue::IssueError::UnfitAuthority);
        }
    }
    Ok(renew)
}

impl Published {
    /// Reports whether each webhook trusts exactly these certificates.
    fn has_exactly(&self, desired_bundle: &[Certificate]) -> bool {
        let same = |bundle: &Vec<Certificate>| {
            desired_bundle.iter().all(|one| bundle.contains(one))
                && bundle.iter().all(|one| desired_bundle.contains(one))
        };
        self.bundles.iter().all(same)
    }

    fn trusts(&self, authority: &Certificate) -> bool {
        self.bundles.iter().all(|bundle| bundle.contains(authority))
    }
}

impl Observed {
    /// The valid CA certificates that API servers may trust now.
    fn trusted(&self, now: Timestamp) -> Vec<&Certificate> {
        let published =
            self.published.iter().flatten().flat_map(|published| published.bundles.iter().flatten());
        published.filter(|authority| authority.is_valid(now)).collect()
    }

    /// The bundle to publish: the CAs of the Secret and those that are already trusted, since a pod may still serve a
    /// certificate of an older CA. Expired CAs are left out.
    fn desired_bundle(&self, now: Timestamp) -> Vec<Certificate> {
        let stored = self.stored.iter().flat_map(|stored| &stored.authorities);
        let mut desired_bundle: Vec<Certificate> = Vec::new();
        for authority in stored.filter(|authority| authority.is_valid(now)).chain(self.trusted(now)) {
            if !desired_bundle.contains(authority) {
                desired_bundle.push(authority.clone());
            }
        }
        desired_bundle
    }
}

/// Returns zero if the clock went backwards.
fn elapsed_since(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
