//! The checks of `check`: turns a snapshot of a cluster's objects into results with hints.
//!
//! All functions here are pure, so that failures can be tested with tables of objects. The module is not part of the
//! core because it verifies certificates. `cluster` reads the objects, [`output`] prints the results.

pub mod certificate;
pub mod data_plane;
pub mod dry_run;
mod id;
mod installation;
mod namespaces;
mod order;
pub mod output;
pub mod policies;
pub mod pre;
pub mod reports;
mod selector;
mod webhook_entries;
pub mod workloads;

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};

pub use self::{
    id::{Category, CheckId},
    policies::Policies,
};
use self::{reports::ReportsJob, workloads::Resources};
use crate::{
    base::names::INIT_IMAGE_FLAG,
    judgement::policy::{Policy, PolicyError},
    review::Mode,
    workload::context::Context,
};

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckResult {
    /// The check.
    pub id: CheckId,
    /// What is checked, possibly with details of the result.
    pub description: String,
    /// The outcome.
    pub outcome: Outcome,
}

impl CheckResult {
    /// A successful check.
    pub fn good(id: CheckId, description: impl Into<String>) -> Self {
        Self { id, description: description.into(), outcome: Outcome::Good }
    }

    /// A check with its default description.
    pub fn of(id: CheckId, outcome: Outcome) -> Self {
        Self { id, description: id.description().to_owned(), outcome }
    }

    /// A check that could not be run, because something could not be read.
    pub fn unread(id: CheckId, error: &ReadError) -> Self {
        Self::of(id, error.into())
    }

    /// Whether it failed, but may succeed later without a change, for example just after the installation.
    pub fn may_recover(&self) -> bool {
        matches!(self.outcome, Outcome::Error(_)) && self.id.may_recover()
    }
}

/// The outcome of a check. The text contains the fact and the reason; lists have an item on each line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Success.
    Good,
    /// Something to look at, or something that could not be checked.
    Warning(String),
    /// A failure.
    Error(String),
}

impl Outcome {
    /// A warning with a list, or success if it is empty.
    fn warn_about(headline: &str, items: &[String]) -> Self {
        if items.is_empty() { Self::Good } else { Self::Warning(listed(headline, items)) }
    }

    /// An error with a list, or success if it is empty.
    fn fail_about(headline: &str, items: &[String]) -> Self {
        if items.is_empty() { Self::Good } else { Self::Error(listed(headline, items)) }
    }
}

/// A headline with items, in the format of Linkerd's own checks.
fn listed(headline: &str, items: &[String]) -> String {
    format!("{headline}:\n\t* {}", items.join("\n\t* "))
}

/// Why something could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The user has no permission.
    #[error("no permission to {what}")]
    Forbidden {
        /// The operation: `list namespaces`.
        what: String,
    },
    /// Any other error.
    #[error("cannot {what}: {why}")]
    Failed {
        /// The operation.
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

/// A value, or why it could not be read.
pub type Read<T> = Result<T, ReadError>;

/// The objects that the checks use, read at one moment.
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
    /// The policy in the ConfigMap; `None` if the ConfigMap or its key does not exist.
    pub policy: Read<Option<String>>,
    /// Linkerd's proxy injector.
    pub injector: Read<Option<Deployment>>,
    /// The resources of each API group for whose custom resources the validating webhook is called.
    pub resources: Read<BTreeMap<String, Resources>>,
    /// The admission policies.
    pub policies: Read<Policies>,
    /// The CronJob that writes reports, if `install --reports` installed it.
    pub reports: Read<Option<ReportsJob>>,
}

impl Snapshot {
    /// Whether an object of the installation exists, so that further checks make sense.
    pub fn is_installed(&self) -> bool {
        // Objects that could not be read may exist.
        let namespace = self.namespaces.as_ref().map_or(true, |all| namespaces::own_namespace(all).is_some());
        namespace || !webhook_entries::own_entries(self).is_empty() || self.own_policies().is_some()
    }

    /// The admission policies, if some are ours.
    fn own_policies(&self) -> Option<&Policies> {
        self.policies.as_ref().ok().filter(|policies| policies.is_installed())
    }

    /// Whether the cluster uses our admission policies, and not the webhook.
    pub(self) fn has_policy_engine(&self) -> bool {
        self.own_policies().is_some() && webhook_entries::own_entries(self).is_empty()
    }

    /// The mode of each namespace that the API server sends to our webhooks.
    pub fn modes(&self) -> BTreeMap<String, Mode> {
        let all = self.namespaces.as_deref().unwrap_or_default();
        namespaces::opted_in(self, all).iter().map(|it| (it.name.to_owned(), it.mode)).collect()
    }

    /// What is known of the namespaces: annotations, and whether a pod may be privileged.
    pub fn context(&self) -> Context {
        dry_run::context(self)
    }

    /// The policy of the server, with its init container image. The default policy if there is none, or if it cannot be
    /// read.
    ///
    /// # Errors
    ///
    /// Returns the mistakes in the policy.
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

/// The init container image of the server, from the flag `--init-image IMAGE` or `--init-image=IMAGE`.
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

/// The checks of an installation that use only the snapshot.
pub fn installed(snapshot: &Snapshot, now: Timestamp) -> Vec<CheckResult> {
    let mut results = vec![installation::injector(snapshot)];
    let today = now.to_zoned(TimeZone::UTC).date();
    results.extend(installation::checks(snapshot, today));
    if !snapshot.is_installed() {
        return results;
    }
    if !snapshot.has_policy_engine() {
        results.extend(workloads::check(snapshot));
        results.extend(order::checks(snapshot));
        results.extend(certificate::checks(snapshot, now));
    }
    results.extend(namespaces::checks(snapshot));
    results.extend(reports::checks(snapshot, now));
    results
}

#[cfg(test)]
mod tests;
