//! The entries of webhook configurations, with the defaults of the API.

use k8s_openapi::api::admissionregistration::v1::{RuleWithOperations, WebhookClientConfig};
use linkerd_linger::{base::names, review::WebhookKind};
use serde_json::{Value, json};

use crate::cluster::webhook::Mutate;

/// An entry of a webhook configuration.
pub(super) struct Entry {
    pub(super) configuration: String,
    pub(super) name: String,
    pub(super) webhook: WebhookKind,
    /// The path of our server.
    pub(super) path: Option<String>,
    /// What a webhook of others does.
    pub(super) mutate: Option<Mutate>,
    pub(super) namespaces: Value,
    pub(super) objects: Value,
    pub(super) fails_open: bool,
    pub(super) reinvoked: bool,
    pub(super) without_side_effects: bool,
    rules: Vec<RuleWithOperations>,
}

impl Entry {
    /// The entries of a manifest, if it is a webhook configuration.
    pub(super) fn read(manifest: &Value, mutate: Option<Mutate>) -> Vec<Self> {
        let kind = WebhookKind::ALL.into_iter().find(|kind| manifest["kind"] == kind.configuration());
        let Some(webhook) = kind else { return vec![] };
        let configuration = manifest["metadata"]["name"].as_str().unwrap();
        let entries = manifest["webhooks"].as_array().unwrap().iter();
        entries.map(|entry| Self::of(configuration, webhook, entry, mutate)).collect()
    }

    fn of(configuration: &str, webhook: WebhookKind, entry: &Value, mutate: Option<Mutate>) -> Self {
        assert_eq!(entry["admissionReviewVersions"], json!(["v1"]), "only v1 is spoken");
        // Their errors reject requests under `Fail`, and their costs are limited; our entries need none.
        assert_eq!(entry.get("matchConditions"), None, "match conditions are not evaluated");
        let client: WebhookClientConfig = serde_json::from_value(entry["clientConfig"].clone()).unwrap();
        let path = client.service.map(|service| {
            assert_eq!((&*service.name, &*service.namespace), (names::SERVER, names::NAMESPACE));
            service.path.unwrap()
        });
        Self {
            configuration: configuration.to_owned(),
            name: entry["name"].as_str().unwrap().to_owned(),
            webhook,
            path,
            mutate,
            namespaces: entry["namespaceSelector"].clone(),
            objects: entry["objectSelector"].clone(),
            // The defaults are `Fail` and `Never`.
            fails_open: entry["failurePolicy"] == "Ignore",
            reinvoked: entry["reinvocationPolicy"] == "IfNeeded",
            without_side_effects: entry["sideEffects"] == "None" || entry["sideEffects"] == "NoneOnDryRun",
            rules: serde_json::from_value(entry["rules"].clone()).unwrap(),
        }
    }

    /// Whether a rule lists the resource and the operation (k8s.io/apiserver
    /// `pkg/admission/plugin/webhook/predicates/rules/rules.go`). All requests are for namespaced objects.
    pub(super) fn has_rule(
        &self,
        group: &str,
        version: &str,
        resource: &str,
        sub_resource: &str,
        operation: &str,
    ) -> bool {
        let lists = |list: &Option<Vec<String>>, word: &str| {
            list.iter().flatten().any(|item| item == "*" || item == word)
        };
        let name = match sub_resource {
            "" => resource.to_owned(),
            sub_resource => format!("{resource}/{sub_resource}"),
        };
        self.rules.iter().any(|rule| {
            rule.scope.as_deref() != Some("Cluster")
                && lists(&rule.api_groups, group)
                && lists(&rule.api_versions, version)
                && lists(&rule.operations, operation)
                // `*` is every resource without its subresources.
                && rule.resources.iter().flatten().any(|item| {
                    *item == name || item == "*/*" || (item == "*" && sub_resource.is_empty())
                })
        })
    }
}
