//! The two webhook configurations, with an entry for each mode. The API server selects the entry by the labels of the
//! namespace.
//!
//! Therefore the server needs no access to the API: the path of a request contains the mode of its namespace.

use serde_json::{Value, json};

use super::{
    FailurePolicy, Options, Tls, object,
    pods::{ReadError, is_subdomain},
    with,
};
use crate::{
    base::names,
    review::{Endpoint, Mode, WebhookKind},
    workload::{
        context::{NEVER, POD_SECURITY_LABEL, PRIVILEGED_LABEL, UNPRIVILEGED_LEVELS},
        object::is_custom_group,
    },
};

/// The timeout of the API server. A review takes less than a millisecond.
const TIMEOUT_SECONDS: u32 = 5;

/// The mutating and the validating configuration.
pub(super) fn configurations(options: &Options) -> [Value; 2] {
    [configuration(options, WebhookKind::Mutating), configuration(options, WebhookKind::Validating)]
}

fn configuration(options: &Options, webhook: WebhookKind) -> Value {
    let kind = webhook.configuration();
    let mut configuration = object("admissionregistration.k8s.io/v1", kind, names::WEBHOOK_CONFIGURATION);
    // AKS would rewrite our selectors, and every apply would change them back: https://github.com/Azure/AKS/issues/1771
    let mut annotations = json!({"admissions.enforcer/disabled": "true"});
    match &options.tls {
        Tls::CertManager => {
            let certificate = format!("{}/{}", names::NAMESPACE, names::CERTIFICATE_SECRET);
            annotations["cert-manager.io/inject-ca-from"] = json!(certificate);
        }
        Tls::SelfSigned | Tls::Byo { .. } => {}
    }
    configuration["metadata"]["annotations"] = annotations;
    let of_webhook = Endpoint::all().filter(|of| of.webhook == webhook);
    let entries: Vec<_> = of_webhook
        .flat_map(|of| {
            Privilege::ALL
                .into_iter()
                .filter(move |it| it.is_never() == of.unprivileged)
                .map(move |it| (of, it))
        })
        .map(|(of, privilege)| endpoint(options, of, privilege))
        .collect();
    with(configuration, json!({"webhooks": entries}))
}

/// The namespaces of an entry. A selector cannot express "or", so two entries share the path for namespaces without
/// privileged containers. No namespace matches two of these.
#[derive(Clone, Copy)]
pub(super) enum Privilege {
    /// Namespaces that allow privileged containers.
    Allowed,
    /// Namespaces whose Pod Security level refuses them.
    PodSecurity,
    /// Other namespaces with our label.
    Label,
}

impl Privilege {
    const ALL: [Self; 3] = [Self::Allowed, Self::PodSecurity, Self::Label];

    const fn is_never(self) -> bool {
        !matches!(self, Self::Allowed)
    }

    /// The suffix of the entry's name after the mode.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Allowed => "",
            Self::PodSecurity => "-unprivileged",
            Self::Label => "-never-privileged",
        }
    }

    pub(super) fn expressions(self) -> Vec<Value> {
        let operator = |is_in: bool| if is_in { "In" } else { "NotIn" };
        let pod_security = json!({
            "key": POD_SECURITY_LABEL,
            "operator": operator(matches!(self, Self::PodSecurity)),
            "values": UNPRIVILEGED_LEVELS,
        });
        let label = json!({
            "key": PRIVILEGED_LABEL,
            "operator": operator(matches!(self, Self::Label)),
            "values": [NEVER],
        });
        match self {
            Self::Allowed | Self::Label => vec![pod_security, label],
            Self::PodSecurity => vec![pod_security],
        }
    }
}

fn endpoint(options: &Options, of: Endpoint, privilege: Privilege) -> Value {
    let Endpoint { webhook, mode, .. } = of;
    let namespaces = [namespaces(options.default_mode, mode), privilege.expressions()].concat();
    let endpoint = json!({
        "name": format!("{}{}.{}.linkerd-linger.io", mode.as_str(), privilege.suffix(), webhook.as_str()),
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config(options, &of.path()),
        "failurePolicy": failure_policy(options, mode).as_str(),
        "matchPolicy": "Equivalent",
        "namespaceSelector": {
            "matchExpressions": namespaces,
        },
        "objectSelector": objects(),
        "rules": rules(options, webhook),
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
    });
    match webhook {
        // The name sorts us after Linkerd's injector; if another webhook injects later, the API server calls us again.
        WebhookKind::Mutating => with(endpoint, json!({"reinvocationPolicy": "IfNeeded"})),
        WebhookKind::Validating => endpoint,
    }
}

/// Contains `caBundle` only if the user provides it. Otherwise each apply would remove the one that was added later.
fn client_config(options: &Options, path: &str) -> Value {
    let service = json!({"name": names::SERVER, "namespace": names::NAMESPACE, "path": path, "port": 443});
    match &options.tls {
        Tls::SelfSigned | Tls::CertManager => json!({"service": service}),
        Tls::Byo { ca_bundle } => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            json!({"service": service, "caBundle": STANDARD.encode(ca_bundle)})
        }
    }
}

/// Audit and warn never block objects, whatever failure policy is configured.
pub(super) const fn failure_policy(options: &Options, mode: Mode) -> FailurePolicy {
    match mode {
        Mode::Enforce => options.failure_policy,
        Mode::Warn | Mode::Audit => FailurePolicy::Ignore,
    }
}

pub(super) fn namespaces(default_mode: Option<Mode>, mode: Mode) -> Vec<Value> {
    let excluded = json!({
        "key": names::NAMESPACE_NAME_LABEL,
        "operator": "NotIn",
        "values": names::EXCLUDED_NAMESPACES,
    });
    // `NotIn` also matches namespaces without the label, and those with an unknown value.
    let labelled = if default_mode == Some(mode) {
        let others = Mode::ALL.into_iter().filter(|other| *other != mode).map(Mode::as_str);
        let others: Vec<_> = others.chain([names::MODE_OFF]).collect();
        json!({"key": names::MODE_LABEL, "operator": "NotIn", "values": others})
    } else {
        json!({"key": names::MODE_LABEL, "operator": "In", "values": [mode.as_str()]})
    };
    vec![excluded, labelled]
}

/// Linkerd's injector excludes these, too: its control plane must be able to start first.
pub(super) fn objects() -> Value {
    json!({
        "matchExpressions": [{"key": "linkerd.io/control-plane-component", "operator": "DoesNotExist"}],
    })
}

/// Pods are mutated on creation, because almost none of their fields can change later. Workloads are only validated, so
/// that controllers and GitOps tools see no difference, while users see the response when they apply them. For running
/// pods only images and labels can change, and a failure policy must not block the removal of finalizers.
pub(super) fn rules(options: &Options, webhook: WebhookKind) -> Value {
    let rule = |group: &str, version: &str, resources: &[&str], operations: &[&str]| {
        json!({
            "apiGroups": [group],
            "apiVersions": [version],
            "operations": operations,
            "resources": resources,
            "scope": "Namespaced",
        })
    };
    match webhook {
        WebhookKind::Mutating => json!([rule("", "v1", &["pods"], &["CREATE"])]),
        WebhookKind::Validating => {
            let operations = ["CREATE", "UPDATE"];
            let mut rules = vec![
                rule("", "v1", &["pods"], &["CREATE"]),
                rule("", "v1", &["podtemplates", "replicationcontrollers"], &operations),
                rule(
                    "apps",
                    "v1",
                    &["daemonsets", "deployments", "replicasets", "statefulsets"],
                    &operations,
                ),
                rule("batch", "v1", &["cronjobs", "jobs"], &operations),
            ];
            // The pod templates are found by their shape, so every version can be read.
            let custom = options.workloads.iter().filter_map(|name| name.split_once('.'));
            rules.extend(custom.map(|(plural, group)| rule(group, "*", &[plural], &operations)));
            rules.into()
        }
    }
}

/// Parses the name of a custom resource definition: `rollouts.argoproj.io`.
///
/// # Errors
///
/// Returns an error if it is not valid, or names a kind of Kubernetes itself.
pub fn read_workload(text: &str) -> Result<String, ReadError> {
    let is_custom = text.split_once('.').is_some_and(|(_, group)| is_custom_group(group));
    if is_custom && is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(ReadError::Workload(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::custom("rollouts.argoproj.io", true)]
    #[case::kubernetes_sigs("jobsets.jobset.x-k8s.io", true)]
    #[case::community_group("sparkapplications.sparkoperator.k8s.io", true)]
    #[case::kind("Rollout.argoproj.io", false)]
    #[case::no_group("rollouts", false)]
    #[case::core("pods", false)]
    #[case::built_in("deployments.apps", false)]
    #[case::built_in_with_a_dot("ingresses.networking.k8s.io", false)]
    #[case::subresource("rollouts/scale.argoproj.io", false)]
    #[case::all("*.argoproj.io", false)]
    #[case::empty("", false)]
    fn workloads_are_custom_resources(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(read_workload(name).is_ok(), expected);
    }
}
