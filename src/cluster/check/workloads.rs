//! Checks that the custom resources exist for which the validating webhook is called.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use super::{CheckId, CheckResult, Outcome, Snapshot, webhook_entries};
use crate::workload::object::is_custom_group;

/// Whether each resource of an API group is namespaced, by its plural name.
pub type Resources = BTreeMap<String, bool>;

/// The custom resources in the rules of our entries: the plural names for each group.
pub fn in_rules(configurations: &[ValidatingWebhookConfiguration]) -> BTreeMap<String, BTreeSet<String>> {
    let entries = configurations.iter().flat_map(|configuration| configuration.webhooks.iter().flatten());
    let ours = entries.filter(|entry| webhook_entries::is_ours(&entry.name));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in ours.flat_map(|entry| entry.rules.iter().flatten()) {
        let groups = rule.api_groups.iter().flatten().filter(|group| is_custom_group(group));
        for group in groups {
            let resources = rule.resources.iter().flatten().filter(|resource| !resource.starts_with('*'));
            let plurals = resources.map(|resource| resource.split('/').next().unwrap_or(resource).to_owned());
            found.entry(group.clone()).or_default().extend(plurals);
        }
    }
    found
}

/// The check; `None` if there is no custom resource in the rules.
pub(super) fn check(snapshot: &Snapshot) -> Option<CheckResult> {
    let id = CheckId::Workloads;
    // `webhook-configurations` reports the error.
    let wanted = in_rules(snapshot.validating.as_ref().ok()?);
    if wanted.is_empty() {
        return None;
    }
    let served = match &snapshot.resources {
        Ok(served) => served,
        Err(error) => return Some(CheckResult::unread(id, error)),
    };
    let mut problems = Vec::new();
    for (group, plurals) in &wanted {
        for plural in plurals {
            let problem = match served.get(group).and_then(|resources| resources.get(plural)) {
                Some(true) => continue,
                Some(false) => "it is not namespaced, so no namespace has a mode for it",
                None => "the cluster has no such CRD",
            };
            problems.push(format!("{plural}.{group}: {problem}"));
        }
    }
    let headline = "the webhook is never called for these; install the CRD, or remove the name from `install --workloads`";
    Some(CheckResult::of(id, Outcome::warn_about(headline, &problems)))
}
