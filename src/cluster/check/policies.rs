//! Checks the admission policies of `install --engine policy`.

use k8s_openapi::{
    api::admissionregistration::v1::{
        MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{CheckId, CheckResult, Outcome, Snapshot, listed, webhook_entries};
use crate::{
    base::names::{CLOSE_WAIT_POLICY, PROBE_POLICY},
    judgement::{
        finding::{Action, RuleId},
        policy::{Policy, RejectWhen},
    },
    review::Mode,
};

/// All admission policies of a cluster, and their bindings.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// The mutating policies.
    pub mutating: Vec<MutatingAdmissionPolicy>,
    /// The bindings of mutating policies.
    pub mutating_bindings: Vec<MutatingAdmissionPolicyBinding>,
    /// The validating policies.
    pub validating: Vec<ValidatingAdmissionPolicy>,
    /// The bindings of validating policies.
    pub validating_bindings: Vec<ValidatingAdmissionPolicyBinding>,
}

/// A binding of one of our policies.
pub(super) struct Binding<'a> {
    policy: &'a str,
    pub(super) mode: Mode,
    pub(super) namespaces: Option<&'a LabelSelector>,
}

impl Policies {
    /// Our bindings, those of the validating policy first: they have every mode.
    pub(super) fn own_bindings(&self) -> Vec<Binding<'_>> {
        let validating = self.validating_bindings.iter().filter_map(|binding| {
            let resources = binding.spec.match_resources.as_ref();
            let namespaces = resources.and_then(|resources| resources.namespace_selector.as_ref());
            own(PROBE_POLICY, binding.metadata.name.as_deref()?, namespaces)
        });
        let mutating = self.mutating_bindings.iter().filter_map(|binding| {
            let resources = binding.spec.as_ref()?.match_resources.as_ref();
            let namespaces = resources.and_then(|resources| resources.namespace_selector.as_ref());
            own(CLOSE_WAIT_POLICY, binding.metadata.name.as_deref()?, namespaces)
        });
        validating.chain(mutating).collect()
    }

    /// The names of our policies that exist.
    fn own_policies(&self) -> Vec<&str> {
        let mutating = self.mutating.iter().filter_map(|policy| policy.metadata.name.as_deref());
        let validating = self.validating.iter().filter_map(|policy| policy.metadata.name.as_deref());
        mutating.chain(validating).filter(|name| [CLOSE_WAIT_POLICY, PROBE_POLICY].contains(name)).collect()
    }

    /// Whether a policy of ours, or a binding, exists.
    pub fn is_installed(&self) -> bool {
        !self.own_policies().is_empty() || !self.own_bindings().is_empty()
    }
}

/// Our binding with this name.
fn own<'a>(policy: &'a str, name: &str, namespaces: Option<&'a LabelSelector>) -> Option<Binding<'a>> {
    let mode = name.strip_prefix(policy)?.strip_prefix('-')?;
    let mode = Mode::ALL.into_iter().find(|known| known.as_str() == mode)?;
    Some(Binding { policy, mode, namespaces })
}

/// The policies and their bindings must exist; the API server ignores a policy without a binding.
pub(super) fn check(snapshot: &Snapshot, policies: &Policies) -> CheckResult {
    let id = CheckId::AdmissionPolicies;
    let found = policies.own_policies();
    let bindings = policies.own_bindings();
    let mut missing = Vec::new();
    let mut expected: Vec<(&str, &str, &[Mode])> =
        vec![("MutatingAdmissionPolicy", CLOSE_WAIT_POLICY, &[Mode::Enforce, Mode::Warn])];
    if snapshot.policy_in_force().is_ok_and(|policy| has_probe_policy(&policy)) {
        expected.push(("ValidatingAdmissionPolicy", PROBE_POLICY, &Mode::ALL));
    }
    for (kind, name, modes) in expected {
        if !found.contains(&name) {
            missing.push(format!("{kind} {name} does not exist"));
            continue;
        }
        let lacks = |mode: &&Mode| !bindings.iter().any(|it| it.policy == name && it.mode == **mode);
        for mode in modes.iter().filter(lacks) {
            missing.push(format!("{kind}Binding {name}-{} does not exist", mode.as_str()));
        }
    }
    if missing.is_empty() && !webhook_entries::own_entries(snapshot).is_empty() {
        let why = "the webhook is installed as well, so each pod is judged twice; remove one of them with \
                   `linkerd linger uninstall` or `linkerd linger uninstall --engine policy`";
        return CheckResult::of(id, Outcome::Warning(why.to_owned()));
    }
    let outcome = if missing.is_empty() {
        Outcome::Good
    } else {
        Outcome::Error(listed(
            "the API server does not evaluate these; apply the output of `install --engine policy` again",
            &missing,
        ))
    };
    CheckResult::of(id, outcome)
}

/// Whether `install --engine policy` prints the validating policy.
pub(super) fn has_probe_policy(policy: &Policy) -> bool {
    match policy.action(RuleId::ProbeMatchesIdleTimeout) {
        Action::Reject => policy.reject == RejectWhen::Always,
        Action::Warn => true,
        Action::Patch | Action::Ignore => false,
    }
}
