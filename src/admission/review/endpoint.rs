//! The entries of the webhook configurations: which door, which mode, and what the namespace lets a pod have.
//!
//! A review does not hold the labels of the namespace, so the API server chooses the entry by them, and each entry has
//! a path. A path can hold no query, since each of its segments must be a DNS name (apiserver `pkg/util/webhook`,
//! `ValidateWebhookService`), hence one more segment.

use super::{Mode, WebhookKind};

/// The last segment of the paths of entries under which nothing privileged is added.
pub const UNPRIVILEGED: &str = "unprivileged";

/// An entry of a webhook configuration: what is known of a request by its path.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// The webhook.
    pub webhook: WebhookKind,
    /// How much follows from a verdict.
    pub mode: Mode,
    /// The namespace refuses what setting the timeout takes: it enforces Pod Security `baseline` or `restricted`, or has
    /// the label `linkerd-linger.io/privileged: never`.
    pub unprivileged: bool,
}

impl Endpoint {
    /// The entry for namespaces that let pods be privileged.
    pub const fn new(webhook: WebhookKind, mode: Mode) -> Self {
        Self { webhook, mode, unprivileged: false }
    }

    /// The entry for namespaces with `pod-security.kubernetes.io/enforce in (baseline, restricted)` or
    /// `linkerd-linger.io/privileged: never`.
    pub const fn unprivileged(webhook: WebhookKind, mode: Mode) -> Self {
        Self { webhook, mode, unprivileged: true }
    }

    /// Every entry.
    pub fn all() -> impl Iterator<Item = Self> {
        WebhookKind::ALL.into_iter().flat_map(|webhook| {
            Mode::ALL
                .into_iter()
                .flat_map(move |mode| [Self::new(webhook, mode), Self::unprivileged(webhook, mode)])
        })
    }

    /// Its path, for `clientConfig.service.path`: `/mutate/enforce`, `/mutate/enforce/unprivileged`.
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
