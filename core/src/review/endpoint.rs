//! The endpoints of the webhook server: each path stands for a webhook, a mode and the privileges that the namespace
//! allows.
//!
//! A review does not contain the labels of the namespace. The API server selects a webhook entry by these labels, and
//! each entry has its own path. The path cannot have a query, because each of its segments must be a DNS name
//! (apiserver `pkg/util/webhook`, `ValidateWebhookService`).

use super::{Mode, WebhookKind};

/// The last path segment of endpoints that add no privileged container.
pub const UNPRIVILEGED: &str = "unprivileged";

/// An endpoint: what the server knows about a request from its path.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// The webhook.
    pub webhook: WebhookKind,
    /// What the webhook does with a verdict.
    pub mode: Mode,
    /// The namespace refuses privileged containers: it enforces Pod Security `baseline` or `restricted`, or has the
    /// label `linkerd-linger.io/privileged: never`.
    pub unprivileged: bool,
}

impl Endpoint {
    /// The endpoint for namespaces that allow privileged pods.
    pub const fn new(webhook: WebhookKind, mode: Mode) -> Self {
        Self { webhook, mode, unprivileged: false }
    }

    /// The endpoint for namespaces with `pod-security.kubernetes.io/enforce in (baseline, restricted)` or
    /// `linkerd-linger.io/privileged: never`.
    pub const fn unprivileged(webhook: WebhookKind, mode: Mode) -> Self {
        Self { webhook, mode, unprivileged: true }
    }

    /// All endpoints.
    pub fn all() -> impl Iterator<Item = Self> {
        WebhookKind::ALL.into_iter().flat_map(|webhook| {
            Mode::ALL
                .into_iter()
                .flat_map(move |mode| [Self::new(webhook, mode), Self::unprivileged(webhook, mode)])
        })
    }

    /// The path, for `clientConfig.service.path`: `/mutate/enforce`, `/mutate/enforce/unprivileged`.
    pub fn path(self) -> String {
        let path = format!("/{}/{}", self.webhook.as_str(), self.mode.as_str());
        if self.unprivileged { format!("{path}/{UNPRIVILEGED}") } else { path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_a_path_of_its_own() {
        let mut paths: Vec<_> = Endpoint::all().map(Endpoint::path).collect();
        paths.sort();
        let expected = [
            "/mutate/audit",
            "/mutate/audit/unprivileged",
            "/mutate/enforce",
            "/mutate/enforce/unprivileged",
            "/mutate/warn",
            "/mutate/warn/unprivileged",
            "/validate/audit",
            "/validate/audit/unprivileged",
            "/validate/enforce",
            "/validate/enforce/unprivileged",
            "/validate/warn",
            "/validate/warn/unprivileged",
        ];
        assert_eq!(paths, expected);
    }
}
