//! The checks of `check --pre`, before the installation.

use std::collections::BTreeSet;

use super::{CheckId, CheckResult, Outcome, Read, Snapshot, installation, webhook_entries};
use crate::{
    base::names,
    cluster::install::{Engine, POLICY_ENGINE_MIN_MINOR_VERSION},
};

/// The oldest supported API server, as a minor version of 1.
const MIN_MINOR_VERSION: u32 = 25;

/// A permission to create objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The kind, for messages.
    pub kind: &'static str,
    /// Whether the resource is namespaced.
    pub namespaced: bool,
}

const fn cluster(group: &'static str, resource: &'static str, kind: &'static str) -> Permission {
    Permission { group, resource, kind, namespaced: false }
}

const fn namespaced(group: &'static str, resource: &'static str, kind: &'static str) -> Permission {
    Permission { group, resource, kind, namespaced: true }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// The permissions that an installation with this engine needs.
pub const fn permissions(engine: Engine) -> &'static [Permission] {
    match engine {
        Engine::Webhook => &PERMISSIONS,
        Engine::Policy => &POLICY_PERMISSIONS,
    }
}

/// The permissions for `install --engine policy`.
const POLICY_PERMISSIONS: [Permission; 6] = [
    cluster("", "namespaces", "Namespaces"),
    cluster(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicies"),
    cluster(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBindings"),
    cluster(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicies"),
    cluster(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBindings"),
    namespaced("", "configmaps", "ConfigMaps"),
];

/// The permissions that an installation of the webhook needs.
pub const PERMISSIONS: [Permission; 14] = [
    cluster("", "namespaces", "Namespaces"),
    cluster(RBAC, "clusterroles", "ClusterRoles"),
    cluster(RBAC, "clusterrolebindings", "ClusterRoleBindings"),
    cluster(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfigurations"),
    cluster(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfigurations"),
    namespaced("", "serviceaccounts", "ServiceAccounts"),
    namespaced("", "services", "Services"),
    namespaced("", "configmaps", "ConfigMaps"),
    namespaced("apps", "deployments", "Deployments"),
    namespaced("batch", "jobs", "Jobs"),
    namespaced("batch", "cronjobs", "CronJobs"),
    namespaced("policy", "poddisruptionbudgets", "PodDisruptionBudgets"),
    namespaced(RBAC, "roles", "Roles"),
    namespaced(RBAC, "rolebindings", "RoleBindings"),
];

/// Checks whether the API server is new enough; `major` and `minor` are as it reports them (`1`, `31+`).
pub fn version(engine: Engine, major: &str, minor: &str, git: &str) -> CheckResult {
    let id = CheckId::ApiVersion;
    let (oldest, what) = match engine {
        Engine::Webhook => (MIN_MINOR_VERSION, "linkerd-linger"),
        Engine::Policy => (POLICY_ENGINE_MIN_MINOR_VERSION, "--engine policy"),
    };
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u32>().ok()
    };
    match (number(major), number(minor)) {
        (Some(major), Some(minor)) if (major, minor) >= (1, oldest) => {
            CheckResult::good(id, format!("{} ({git})", id.description()))
        }
        (Some(_), Some(_)) => {
            CheckResult::of(id, Outcome::Error(format!("it is {git}; {what} needs v1.{oldest} or newer")))
        }
        _ => {
            let why = format!("its version {git:?} cannot be parsed; {what} needs v1.{oldest} or newer");
            CheckResult::of(id, Outcome::Warning(why))
        }
    }
}

/// The checks of `--pre`; `access` says for each of [`PERMISSIONS`] whether the user has it.
pub fn checks(snapshot: &Snapshot, access: &[(Permission, Read<bool>)]) -> Vec<CheckResult> {
    let mut results = vec![installation::injector(snapshot), fresh(snapshot)];
    for (permission, allowed) in access {
        let outcome = match allowed {
            Ok(true) => Outcome::Good,
            Ok(false) => {
                let group = if permission.group.is_empty() {
                    String::new()
                } else {
                    format!(".{}", permission.group)
                };
                Outcome::Error(format!("missing permission: create {}{group}", permission.resource))
            }
            Err(error) => error.into(),
        };
        let description = format!("can create {}", permission.kind);
        results.push(CheckResult { id: CheckId::PreAccess, description, outcome });
    }
    results
}

/// Checks that the extension is not installed. Two installations would patch each pod twice, and their checks would
/// contradict each other.
fn fresh(snapshot: &Snapshot) -> CheckResult {
    let id = CheckId::PreFresh;
    let unread = [snapshot.namespaces.as_ref().err(), snapshot.mutating.as_ref().err()];
    if let Some(error) = unread.into_iter().flatten().next() {
        return CheckResult::unread(id, error);
    }
    let mut found = Vec::new();
    for namespace in snapshot.namespaces.iter().flatten() {
        let label =
            namespace.metadata.labels.iter().flatten().find(|(key, _)| *key == names::EXTENSION_LABEL);
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        if label.is_some_and(|(_, value)| value == names::EXTENSION) || name == names::NAMESPACE {
            found.push(format!("Namespace {name}"));
        }
    }
    let configurations: BTreeSet<_> = webhook_entries::own_entries(snapshot)
        .into_iter()
        .map(|entry| format!("webhook configuration {}", entry.configuration))
        .collect();
    found.extend(configurations);
    if snapshot.own_policies().is_some() {
        found.push("admission policies".to_owned());
    }
    CheckResult::of(id, Outcome::fail_about("these objects exist already", &found))
}
