//! Checks the order in which API servers call mutating webhooks: sorted by the names of the configurations, bytewise
//! (kubernetes `pkg/admission/configuration/mutating_webhook_manager.go`).
//!
//! If our webhook were called before Linkerd's injector, there would be no linkerd-init to patch, and no error.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use super::{CheckId, CheckResult, Outcome, Snapshot, webhook_entries};

/// Linkerd's configurations: the proxy injector and the tap injector of linkerd-viz.
const LINKERD_CONFIGURATIONS: [&str; 2] =
    ["linkerd-proxy-injector-webhook-config", "linkerd-tap-injector-webhook-config"];
/// The suffix of Linkerd's entries, whatever the name of their configuration.
const LINKERD_ENTRY_SUFFIX: &str = ".linkerd.io";

pub(super) fn checks(snapshot: &Snapshot) -> Vec<CheckResult> {
    let all = match &snapshot.mutating {
        Ok(all) => all,
        Err(error) => return vec![CheckResult::unread(CheckId::Order, error)],
    };
    let Some(ours) = all.iter().filter(|it| is_ours(it)).map(name).min() else { return Vec::new() };
    vec![order(all, ours), reinvocation(snapshot, all, ours)]
}

fn order(all: &[MutatingWebhookConfiguration], ours: &str) -> CheckResult {
    let id = CheckId::Order;
    let of_linkerd: Vec<_> = all.iter().filter(|it| is_of_linkerd(it)).map(name).collect();
    if of_linkerd.is_empty() {
        let why = "there is no webhook configuration of Linkerd's injector, so no pod is injected or patched";
        return CheckResult::of(id, Outcome::Warning(why.to_owned()));
    }
    let late: Vec<_> = of_linkerd.iter().filter(|name| **name > ours).map(ToString::to_string).collect();
    let headline = format!("{ours} is called before these, so the pod is not injected yet");
    CheckResult::of(id, Outcome::fail_about(&headline, &late))
}

/// An entry with `reinvocationPolicy: IfNeeded` is called again if a later webhook changes the pod.
fn reinvocation(snapshot: &Snapshot, all: &[MutatingWebhookConfiguration], ours: &str) -> CheckResult {
    let id = CheckId::Reinvocation;
    let later: Vec<_> = all
        .iter()
        .filter(|it| !is_ours(it) && name(it) > ours && changes_pods(it))
        .map(|it| name(it).to_owned())
        .collect();
    let never: Vec<_> = webhook_entries::own_entries(snapshot)
        .into_iter()
        .filter(|entry| entry.webhook == crate::review::WebhookKind::Mutating && !entry.reinvoked)
        .map(|entry| entry.name)
        .collect();
    if never.is_empty() || later.is_empty() {
        return CheckResult::good(id, id.description());
    }
    let headline = format!(
        "reinvocationPolicy of {} is not IfNeeded, but these webhooks are called later and may change pods",
        never.join(", ")
    );
    CheckResult::of(id, Outcome::warn_about(&headline, &later))
}

fn name(configuration: &MutatingWebhookConfiguration) -> &str {
    configuration.metadata.name.as_deref().unwrap_or_default()
}

fn is_ours(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.webhooks.iter().flatten().any(|hook| webhook_entries::is_ours(&hook.name))
}

fn is_of_linkerd(configuration: &MutatingWebhookConfiguration) -> bool {
    LINKERD_CONFIGURATIONS.contains(&name(configuration))
        || configuration.webhooks.iter().flatten().any(|hook| hook.name.ends_with(LINKERD_ENTRY_SUFFIX))
}

fn changes_pods(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration
        .webhooks
        .iter()
        .flatten()
        .any(|hook| webhook_entries::match_pod_creation(hook.rules.as_deref()))
}
