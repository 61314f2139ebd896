//! What `check` proves: a snapshot of a cluster's objects -> results, each with a way out.
//!
//! Every function here is pure, so that what fails in silence in a cluster can be played in a table; it stands among
//! the edges for the crate that verifies certificates. Reading the objects is left to `cluster`, the words of each
//! format to [`output`].

pub mod certificate;
pub mod data_plane;
pub mod dry_run;
mod id;
mod installation;
mod namespaces;
mod order;
pub mod output;
pub mod pre;
mod selector;
mod webhook_entries;

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};

pub use self::id::{Category, CheckId};
use crate::{
    base::names::INIT_IMAGE_FLAG,
    judgement::policy::{Policy, PolicyError},
};

/// What became of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckResult {
    /// The check.
    pub id: CheckId,
    /// What it proves, or has proved.
    pub description: String,
    /// What came out.
    pub outcome: Outcome,
}

impl CheckResult {
    /// A check that came out well.
    pub fn good(id: CheckId, description: impl Into<String>) -> Self {
        Self { id, description: description.into(), outcome: Outcome::Good }
    }

    /// A check under its usual description.
    pub fn of(id: CheckId, outcome: Outcome) -> Self {
        Self { id, description: id.description().to_owned(), outcome }
    }

    /// A check that could not be made.
    pub fn unread(id: CheckId, error: &ReadError) -> Self {
        Self::of(id, error.into())
    }

    /// Whether it failed at something that a cluster which was just changed may still mend by itself.
    pub fn may_recover(&self) -> bool {
        matches!(self.outcome, Outcome::Error(_)) && self.id.may_recover()
    }
}

/// What came out of a check. The texts are the fact and the reason; of a list, an item a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All is well.
    Good,
    /// Something that should be looked at, or could not be.
    Warning(String),
    /// Something that does not work.
    Error(String),
}

impl Outcome {
    /// A warning that lists things, or all is well if there are none.
    fn warn_about(headline: &str, items: &[String]) -> Self {
        if items.is_empty() { Self::Good } else { Self::Warning(listed(headline, items)) }
    }

    /// An error that lists things, or all is well if there are none.
    fn fail_about(headline: &str, items: &[String]) -> Self {
        if items.is_empty() { Self::Good } else { Self::Error(listed(headline, items)) }
    }
}

/// A headline and items, as Linkerd's own checks write them.
fn listed(headline: &str, items: &[String]) -> String {
    format!("{headline}:\n\t* {}", items.join("\n\t* "))
}

/// Why something could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The user may not.
    #[error("no permission to {what}")]
    Forbidden {
        /// What was tried: `list namespaces`.
        what: String,
    },
    /// Anything else.
    #[error("cannot {what}: {why}")]
    Failed {
        /// What was tried.
        what: String,
        /// The reason.
        why: String,
    },
}

impl From<&ReadError> for Outcome {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Forbidden { .. } => Self::Warning(format!("not checked: {error}")),
            ReadError::Failed { .. } => Self::Error(error.to_string()),
        }
    }
}

/// What was read, or why it could not be.
pub type Read<T> = Result<T, ReadError>;

/// The objects that the checks look at, as they were at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All mutating webhook configurations.
    pub mutating: Read<Vec<MutatingWebhookConfiguration>>,
    /// All validating webhook configurations.
    pub validating: Read<Vec<ValidatingWebhookConfiguration>>,
    /// All namespaces.
    pub namespaces: Read<Vec<Namespace>>,
    /// The webhook's Deployment.
    pub server: Read<Option<Deployment>>,
    /// The Secret with the serving certificate.
    pub certificate: Read<Option<Secret>>,
    /// The text of the policy in the ConfigMap; `None` where there is no ConfigMap or it has no policy.
    pub policy: Read<Option<String>>,
    /// Linkerd's proxy injector.
    pub injector: Read<Option<Deployment>>,
}

impl Snapshot {
    /// Whether anything of ours is there, so that looking further makes sense.
    pub fn is_installed(&self) -> bool {
        // What could not be read may be there.
        let namespace = self.namespaces.as_ref().map_or(true, |all| namespaces::own_namespace(all).is_some());
        namespace || !webhook_entries::own_entries(self).is_empty()
    }

    /// The policy that the server reviews by, with its image for init containers: the default policy where there is
    /// none, or it cannot be read.
    ///
    /// # Errors
    ///
    /// The policy's mistakes.
    pub fn policy_in_force(&self) -> Result<Policy, Vec<PolicyError>> {
        let mut policy = match &self.policy {
            Ok(Some(text)) => Policy::parse(text)?,
            Ok(None) | Err(_) => Policy::default(),
        };
        policy.close_wait.init_image =
            self.server.as_ref().ok().and_then(Option::as_ref).and_then(init_image);
        Ok(policy)
    }
}

/// The image that the server was given for init containers, as `install` writes the flag or with an equals sign.
fn init_image(server: &Deployment) -> Option<String> {
    let containers = &server.spec.template.spec.as_ref()?.containers;
    let mut args = containers.iter().flat_map(|container| container.args.iter().flatten());
    while let Some(arg) = args.next() {
        if arg == INIT_IMAGE_FLAG {
            return args.next().cloned();
        }
        if let Some(image) = arg.strip_prefix(INIT_IMAGE_FLAG).and_then(|rest| rest.strip_prefix('=')) {
            return Some(image.to_owned());
        }
    }
    None
}

/// The checks of an installation that need only the snapshot.
pub fn installed(snapshot: &Snapshot, now: Timestamp) -> Vec<CheckResult> {
    let mut results = vec![installation::injector(snapshot)];
    let today = now.to_zoned(TimeZone::UTC).date();
    results.extend(installation::checks(snapshot, today));
    if !snapshot.is_installed() {
        return results;
    }
    results.extend(order::checks(snapshot));
    results.extend(certificate::checks(snapshot, now));
    results.extend(namespaces::checks(snapshot));
    results
}

#[cfg(test)]
mod tests;
