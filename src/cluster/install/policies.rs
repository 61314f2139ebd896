//! The installation without a server: admission policies in CEL, which API servers evaluate themselves.
//!
//! Turns the options and the policy into a MutatingAdmissionPolicy for the close-wait timeout, with a binding for each
//! mode. Expressions know the object and the labels of its namespace, but no clock, so a policy with exemptions cannot be
//! expressed.

mod cel;
mod close_wait;
mod probes;
mod servers;

use serde_json::{Value, json};

use super::{
    Options, namespace, object, server,
    webhooks::{self, Privilege},
    with,
};
use crate::{
    base::names,
    judgement::{
        finding::{Action, RuleId},
        policy::{Policy, RejectWhen, Via},
    },
    review::{Mode, WebhookKind},
};

/// The oldest minor version of Kubernetes with MutatingAdmissionPolicies in `admissionregistration.k8s.io/v1`.
pub const MIN_MINOR_VERSION: u32 = 36;

const API_VERSION: &str = "admissionregistration.k8s.io/v1";

/// Why the API server cannot evaluate a policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyEngineError {
    /// Exemptions end on a date.
    #[error(
        "the policy has exemptions, which --engine policy cannot evaluate, because expressions do not know the current \
         date; remove them, and set linkerd-linger.io/mode=off on the namespaces, or use --engine webhook"
    )]
    Exemptions,
    /// Sysctls of the pod.
    #[error("closeWait.via is {}, which --engine policy does not support; use auto, proxy-init or init-container, or use --engine webhook", Via::PodSysctl.as_str())]
    Sysctl,
}

/// The objects of an installation without a server, in the order in which to apply them.
///
/// # Errors
///
/// Returns an error if the policy cannot be expressed in CEL.
pub fn policies(options: &Options, policy: &Policy) -> Result<Vec<Value>, PolicyEngineError> {
    if !policy.exemptions.is_empty() {
        return Err(PolicyEngineError::Exemptions);
    }
    if policy.close_wait.via == Via::PodSysctl {
        return Err(PolicyEngineError::Sysctl);
    }
    let mut objects = vec![namespace(options), server::policy(options)];
    objects.extend(close_wait(options, policy));
    objects.extend(probes(options, policy));
    Ok(objects)
}

/// Every object outside of our namespace, with nothing but its name: the bindings first, so that no API server evaluates a
/// policy without its bindings.
pub(super) fn names() -> Vec<Value> {
    let options = Options { default_mode: None, ..Options::default() };
    let mut objects = close_wait(&options, &Policy::default());
    objects.extend(probes(&options, &Policy::default()));
    for object in &mut objects {
        if let Some(object) = object.as_object_mut() {
            object.remove("spec");
        }
    }
    objects.reverse();
    objects
}

/// The mutating policy, and its bindings to the modes that patch.
fn close_wait(options: &Options, policy: &Policy) -> Vec<Value> {
    let name = names::CLOSE_WAIT_POLICY;
    let mut spec = json!({
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "objectSelector": webhooks::objects(),
            "resourceRules": webhooks::rules(&without_custom_resources(options), WebhookKind::Mutating),
        },
        "matchConditions": match_conditions(),
    });
    spec = with(spec, close_wait::fields(policy, &options.image));
    let bindings = [Mode::Enforce, Mode::Warn].into_iter().map(|mode| {
        let namespaces =
            [webhooks::namespaces(options.default_mode, mode), Privilege::Allowed.expressions()].concat();
        binding("MutatingAdmissionPolicyBinding", name, mode, namespaces, json!({}))
    });
    let policy = with(object(API_VERSION, "MutatingAdmissionPolicy", name), json!({"spec": spec}));
    [policy].into_iter().chain(bindings).collect()
}

/// The validating policy, and its bindings to the modes; nothing if the policy does not reject or warn.
fn probes(options: &Options, policy: &Policy) -> Vec<Value> {
    let action = policy.action(RuleId::ProbeMatchesIdleTimeout);
    let is_told = match action {
        // Whether a finding can fail now depends on the settings of the proxy, which expressions do not read.
        Action::Reject => policy.reject == RejectWhen::Always,
        Action::Warn => true,
        Action::Patch | Action::Ignore => false,
    };
    if !is_told {
        return Vec::new();
    }
    let name = names::PROBE_POLICY;
    let spec = json!({
        "failurePolicy": "Ignore",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "objectSelector": webhooks::objects(),
            "resourceRules": webhooks::rules(&without_custom_resources(options), WebhookKind::Validating),
        },
    });
    let spec = with(spec, probes::fields(policy));
    let bindings = Mode::ALL.into_iter().map(|mode| {
        let does = match (mode, action) {
            (Mode::Enforce, Action::Reject) => "Deny",
            (Mode::Enforce | Mode::Warn, _) => "Warn",
            (Mode::Audit, _) => "Audit",
        };
        let namespaces = webhooks::namespaces(options.default_mode, mode);
        binding(
            "ValidatingAdmissionPolicyBinding",
            name,
            mode,
            namespaces,
            json!({"validationActions": [does]}),
        )
    });
    let policy = with(object(API_VERSION, "ValidatingAdmissionPolicy", name), json!({"spec": spec}));
    [policy].into_iter().chain(bindings).collect()
}

/// The binding of a policy to the namespaces of a mode.
fn binding(kind: &str, policy: &str, mode: Mode, namespaces: Vec<Value>, fields: Value) -> Value {
    let spec = json!({
        "policyName": policy,
        "matchResources": {"namespaceSelector": {"matchExpressions": namespaces}},
    });
    let name = format!("{policy}-{}", mode.as_str());
    with(object(API_VERSION, kind, &name), json!({"spec": with(spec, fields)}))
}

/// The options for the rules: expressions do not find the pod templates of custom resources.
fn without_custom_resources(options: &Options) -> Options {
    Options { workloads: Default::default(), ..options.clone() }
}

/// Pods that Linkerd never injects. None of these fields is one that the injector adds.
fn match_conditions() -> Value {
    json!([
        {
            "name": "is-no-mirror-pod",
            "expression": "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
        },
        {
            "name": "has-own-network",
            "expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
        },
    ])
}
