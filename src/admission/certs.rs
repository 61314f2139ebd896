//! The certificates of an installation: what is there -> the next step.
//!
//! Pure. Making keys is left to [`issue`], doing the steps to [`rotate`].
//!
//! API servers and pods see a change some time after it was written, each at another moment. So at every moment each
//! bundle that some API server still has must trust each certificate that some pod still serves:
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
use crate::{admission::review::WebhookKind, base::names};

/// How long an authority is valid.
pub const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a serving certificate is valid. It is renewed after 60 days, and an authority is replaced while it has 121
/// left, so a leaf never outlives the authority that issued it.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// By how much every certificate is dated back, for API servers whose clocks are behind ours.
pub const BACKDATING: SignedDuration = SignedDuration::from_hours(1);
/// From reading a bundle back to relying on it: API servers learn of it from a watch, within seconds.
pub const PROPAGATION: Duration = Duration::from_secs(30);

/// What a webhook configuration trusts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Published {
    /// The bundle of each of its webhooks.
    pub bundles: Vec<Vec<Certificate>>,
}

/// What is in the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Secret, if there is one.
    pub stored: Option<Stored>,
    /// The configurations in the order of [`WebhookKind::ALL`], if they are there.
    pub published: [Option<Published>; 2],
}

/// Since when the configurations have been seen to trust the authority that issues.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust {
    authority: Certificate,
    since: Timestamp,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make an authority and put it before those in the Secret.
    RenewAuthority {
        /// Make a serving certificate in the same breath: nobody trusts the one that there may be.
        with_leaf: bool,
    },
    /// Make a serving certificate.
    RenewLeaf,
    /// Write a bundle into a configuration.
    Publish {
        /// Into which.
        configuration: WebhookKind,
        /// What to trust.
        bundle: Vec<Certificate>,
    },
    /// Wait until somebody has made a configuration.
    AwaitConfiguration(WebhookKind),
    /// Wait until every API server knows the bundle.
    AwaitPropagation(Duration),
    /// Nothing, for now.
    Done,
}

/// Decides the next step. Doing it and asking again leads to [`Step::Done`], from wherever one starts.
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
    // A configuration that is not there trusts nothing, so the other one's certificate is renewed without it.
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

/// Remembers, from one look to the next, since when the authority that issues is trusted.
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

/// Makes what a step puts into the Secret.
///
/// # Errors
///
/// When the step writes no Secret, or a key cannot be made or used.
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
        // Otherwise it would be renewed for ever, by an authority that somebody put there.
        if !renew.leaf_is_good(&names::SERVICE_NAMES, now) {
            return Err(issue::IssueError::UnfitAuthority);
        }
    }
    Ok(renew)
}

impl Published {
    /// Whether each of its webhooks trusts these and no others.
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
    /// The authorities that some API server may trust now.
    fn trusted(&self, now: Timestamp) -> Vec<&Certificate> {
        let published =
            self.published.iter().flatten().flat_map(|published| published.bundles.iter().flatten());
        published.filter(|authority| authority.is_valid(now)).collect()
    }

    /// What to trust: the authorities of the Secret, and those that are trusted already, for a pod may still serve a
    /// certificate by one of them. The expired ones are of no use to anybody.
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

/// Zero when the clock went back.
fn elapsed_since(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
