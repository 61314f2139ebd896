//! Our entries in webhook configurations: their target, and the mode of a namespace.

use k8s_openapi::{
    api::admissionregistration::v1::{RuleWithOperations, WebhookClientConfig},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::Snapshot;
use crate::review::{Mode, UNPRIVILEGED, WebhookKind};

/// The suffix of the names of our entries.
const ENTRY_SUFFIX: &str = ".linkerd-linger.io";

/// One of our entries.
pub(super) struct WebhookEntry<'a> {
    pub(super) name: &'a str,
    pub(super) configuration: &'a str,
    pub(super) webhook: WebhookKind,
    pub(super) client: &'a WebhookClientConfig,
    pub(super) namespaces: Option<&'a LabelSelector>,
    pub(super) reinvoked: bool,
}

impl WebhookEntry<'_> {
    /// The mode in the path: `/validate/enforce`, `/mutate/warn/unprivileged`.
    pub(super) fn mode(&self) -> Option<Mode> {
        let mode = self.path()?.nth(1)?;
        Mode::ALL.into_iter().find(|known| known.as_str() == mode)
    }

    /// Whether the path forbids privileged containers.
    pub(super) fn is_unprivileged(&self) -> bool {
        self.path().and_then(|mut words| words.nth(2)) == Some(UNPRIVILEGED)
    }

    /// The segments of the path, from the kind of webhook on.
    fn path(&self) -> Option<impl Iterator<Item = &str>> {
        let service = self.client.service.as_ref().and_then(|service| service.path.as_deref());
        let path = service.or(self.client.url.as_deref())?;
        Some(path.split('/').skip_while(|word| *word != self.webhook.as_str()))
    }

    /// The name that the serving certificate must be valid for (k8s.io/apiserver `pkg/util/webhook/client.go`).
    pub(super) fn server_name(&self) -> Option<String> {
        if let Some(service) = &self.client.service {
            return Some(format!("{}.{}.svc", service.name, service.namespace));
        }
        let (_, rest) = self.client.url.as_deref()?.split_once("://")?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        Some(host.trim_matches(['[', ']']).to_owned())
    }
}

/// Whether an entry with this name is ours.
pub(super) fn is_ours(entry: &str) -> bool {
    entry.ends_with(ENTRY_SUFFIX)
}

/// Our entries in all readable configurations of both kinds.
pub(super) fn own_entries(snapshot: &Snapshot) -> Vec<WebhookEntry<'_>> {
    let mut entries = Vec::new();
    for configuration in snapshot.mutating.iter().flatten() {
        for hook in configuration.webhooks.iter().flatten().filter(|hook| is_ours(&hook.name)) {
            entries.push(WebhookEntry {
                name: &hook.name,
                configuration: configuration.metadata.name.as_deref().unwrap_or_default(),
                webhook: WebhookKind::Mutating,
                client: &hook.client_config,
                namespaces: hook.namespace_selector.as_ref(),
                reinvoked: hook.reinvocation_policy.as_deref() == Some("IfNeeded"),
            });
        }
    }
    for configuration in snapshot.validating.iter().flatten() {
        for hook in configuration.webhooks.iter().flatten().filter(|hook| is_ours(&hook.name)) {
            entries.push(WebhookEntry {
                name: &hook.name,
                configuration: configuration.metadata.name.as_deref().unwrap_or_default(),
                webhook: WebhookKind::Validating,
                client: &hook.client_config,
                namespaces: hook.namespace_selector.as_ref(),
                reinvoked: false,
            });
        }
    }
    entries
}

/// Whether rules match the creation of pods.
pub(super) fn match_pod_creation(rules: Option<&[RuleWithOperations]>) -> bool {
    let any = |list: Option<&Vec<String>>, words: &[&str]| {
        list.is_some_and(|list| list.iter().any(|item| words.contains(&item.as_str())))
    };
    rules.into_iter().flatten().any(|rule| {
        any(rule.api_groups.as_ref(), &["", "*"])
            && any(rule.resources.as_ref(), &["pods", "*", "*/*"])
            && any(rule.operations.as_ref(), &["CREATE", "*"])
    })
}
