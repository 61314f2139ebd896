//! An API server as webhooks see it: which of them it calls, in which order, and what it does with their responses.
//!
//! It follows k8s.io/apiserver `pkg/admission/plugin/webhook`. The tests of `cluster.rs` run a real API server; this one
//! is quick enough for every recorded object.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod pod;
mod webhook;

use std::{collections::BTreeSet, net::SocketAddr};

use linkerd_linger::{
    base::names,
    cluster::apiserver::{self, Admission, PatchedError},
    review::WebhookKind,
};
use serde_json::{Value, json};

pub(crate) use self::pod::{default, fails_to_start, violations_of_baseline};
use self::webhook::Entry;
use crate::{
    cluster::others::Other,
    selector::{self, Labels},
};

/// The budget for the warnings of a request, in characters (k8s.io/apiserver `pkg/endpoints/filters/warning.go`).
const WARNING_BUDGET: usize = 4096;

/// An API server with webhooks.
pub(crate) struct ApiServer {
    entries: Vec<Entry>,
    ours: apiserver::Webhook,
}

/// A write request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) namespace: String,
    /// The labels of the namespace, without its name.
    pub(crate) labels: Labels,
    pub(crate) operation: &'static str,
    pub(crate) sub_resource: &'static str,
    pub(crate) object: Value,
    pub(crate) old_object: Value,
    pub(crate) dry_run: bool,
}

/// What a client gets for an admitted object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) object: Value,
    /// The warnings in the order of their headers.
    pub(crate) warnings: Vec<String>,
    /// The audit annotations with the names of their webhooks.
    pub(crate) audit: Vec<(String, String)>,
    /// The webhooks that were called, in order.
    pub(crate) called: Vec<String>,
    /// The webhooks whose failure was ignored.
    pub(crate) failed_open: Vec<String>,
    /// The patches of our webhooks, as they are in the audit log.
    pub(crate) patches: Vec<String>,
}

/// Why a client gets an error.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// A webhook denied it. The text is what the client reads.
    #[error("{code}: {text}")]
    Denied { code: u16, text: String },
    /// A webhook failed, and its failure policy is `Fail`.
    #[error("{0}")]
    Failed(String),
    /// A patch cannot be applied or makes the object invalid, whatever the failure policy is.
    #[error("internal error: {0}")]
    Patch(String),
}

impl Request {
    /// The creation of an object.
    pub(crate) fn creation(namespace: &str, labels: Labels, object: Value) -> Self {
        Self {
            namespace: namespace.to_owned(),
            labels,
            operation: "CREATE",
            sub_resource: "",
            object,
            old_object: Value::Null,
            dry_run: false,
        }
    }

    /// The resource of the object: its group, version, kind and plural name.
    fn resource(&self) -> (&str, &str, &str, String) {
        let object = if self.object.is_null() { &self.old_object } else { &self.object };
        let api_version = object["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = object["kind"].as_str().unwrap();
        (group, version, kind, format!("{}s", kind.to_ascii_lowercase()))
    }

    /// The review of the current object.
    fn review(&self, object: &Value, uid: &str) -> Value {
        let (group, version, kind, resource) = self.resource();
        let kind = json!({"group": group, "version": version, "kind": kind});
        let resource = json!({"group": group, "version": version, "resource": resource});
        let mut review = apiserver::creation(object, uid);
        let request = review["request"].as_object_mut().unwrap();
        for (field, value) in [
            ("kind", &kind),
            ("requestKind", &kind),
            ("resource", &resource),
            ("requestResource", &resource),
            ("namespace", &self.namespace.clone().into()),
            ("operation", &self.operation.into()),
            ("oldObject", &self.old_object),
            ("dryRun", &self.dry_run.into()),
        ] {
            request.insert(field.to_owned(), value.clone());
        }
        if !self.sub_resource.is_empty() {
            request.insert("subResource".to_owned(), self.sub_resource.into());
        }
        review
    }
}

impl ApiServer {
    /// An API server with the webhook configurations among these manifests, whose Service is at `address`, and with
    /// webhooks of others.
    pub(crate) fn new(manifests: &[Value], others: &[&Other], address: SocketAddr, authority: &str) -> Self {
        let mut entries: Vec<_> = manifests.iter().flat_map(|manifest| Entry::read(manifest, None)).collect();
        for other in others {
            entries.extend(Entry::read(
                &other.manifest(&json!({"url": "https://example.com/"})),
                Some(other.mutate),
            ));
        }
        // By the bytes of the configuration's name, and then as they are listed.
        entries.sort_by(|a, b| a.configuration.cmp(&b.configuration));
        let name = format!("{}.{}.svc", names::SERVER, names::NAMESPACE);
        Self { entries, ours: apiserver::Webhook::new(address, &name, authority).unwrap() }
    }

    /// Runs the admission chain of a request.
    pub(crate) async fn admit(&self, request: &Request) -> Result<Admitted, Refused> {
        let mut state = Admitted { object: request.object.clone(), ..Admitted::default() };
        if !state.object.is_null() {
            state.object["metadata"]["namespace"] = request.namespace.clone().into();
            default(&mut state.object);
        }
        let again = self.mutate(request, &mut state, None).await?;
        if !again.is_empty() {
            self.mutate(request, &mut state, Some(&again)).await?;
        }
        // Names are generated between the two chains.
        let generated =
            state.object["metadata"]["generateName"].as_str().map(|prefix| format!("{prefix}x7k2p"));
        if let (Some(name), None) = (generated, state.object["metadata"].get("name")) {
            state.object["metadata"]["name"] = name.into();
        }
        let mut denied = None;
        for entry in self.matching(WebhookKind::Validating, request, &state.object) {
            // They are called in parallel, so all are called, and their order does not matter.
            let object = state.object.clone();
            if let Err(refused) = self.call(entry, request, &object, &mut state).await {
                denied.get_or_insert(refused);
            }
        }
        match denied {
            Some(refused) => Err(refused),
            None => Ok(state),
        }
    }

    /// Calls the mutating webhooks in their order. Returns those that must be called again: webhooks with
    /// `IfNeeded`, after which another one changed the object. There is only one more round.
    async fn mutate<'s>(
        &'s self,
        request: &Request,
        state: &mut Admitted,
        only: Option<&BTreeSet<&'s str>>,
    ) -> Result<BTreeSet<&'s str>, Refused> {
        let (mut reinvocable, mut again) = (BTreeSet::new(), BTreeSet::new());
        for entry in self.entries.iter().filter(|entry| entry.webhook == WebhookKind::Mutating) {
            let is_called = only.is_none_or(|only| only.contains(&*entry.name));
            if !is_called || !entry.matches(request, &state.object) {
                continue;
            }
            let before = state.object.clone();
            let Some(admission) = self.call(entry, request, &before, state).await? else { continue };
            let patched =
                apply(&before, &admission).map_err(|why| Refused::Patch(format!("{}: {why}", entry.name)))?;
            if patched != before {
                again.extend(reinvocable.iter().copied());
            }
            state.object = patched;
            if entry.reinvoked {
                reinvocable.insert(&*entry.name);
            }
        }
        Ok(again)
    }

    /// The webhooks of a kind that a request matches.
    fn matching<'s>(&'s self, webhook: WebhookKind, request: &Request, object: &Value) -> Vec<&'s Entry> {
        let of_kind = self.entries.iter().filter(|entry| entry.webhook == webhook);
        of_kind.filter(|entry| entry.matches(request, object)).collect()
    }

    /// Calls a webhook. Returns `None` if its failure is ignored.
    async fn call(
        &self,
        entry: &Entry,
        request: &Request,
        object: &Value,
        state: &mut Admitted,
    ) -> Result<Option<Admission>, Refused> {
        assert!(!request.dry_run || entry.without_side_effects, "{} refuses dry runs", entry.name);
        state.called.push(entry.name.clone());
        let review = request.review(object, &format!("7d2f-{}", state.called.len()));
        let admission = match (entry.mutate, &entry.path) {
            (Some(mutate), _) => Ok(others(mutate, object)),
            (None, Some(path)) => self.ours.call(entry.webhook, path, &review).await,
            (None, None) => panic!("{} is nobody's", entry.name),
        };
        let admission = match admission {
            Ok(admission) => admission,
            Err(error) if entry.fails_open => {
                state.failed_open.push(format!("{}: {error}", entry.name));
                return Ok(None);
            }
            Err(error) => {
                return Err(Refused::Failed(format!("failed calling webhook {:?}: {error}", entry.name)));
            }
        };
        // One list for the whole request. Duplicates are dropped.
        for warning in &admission.warnings {
            if !state.warnings.contains(warning) {
                state.warnings.push(warning.clone());
            }
        }
        let length: usize = state.warnings.iter().map(|warning| warning.chars().count()).sum();
        assert!(length <= WARNING_BUDGET, "warnings would be truncated: {:?}", state.warnings);
        state.audit.extend(
            admission.audit.iter().map(|(key, value)| (format!("{}/{key}", entry.name), value.clone())),
        );
        if !admission.allowed {
            return Err(Refused::Denied {
                // A code that is no error is replaced by that of a bad request.
                code: if admission.code < 400 { 400 } else { admission.code },
                text: format!("admission webhook {:?} denied the request: {}", entry.name, admission.message),
            });
        }
        if entry.mutate.is_none() && !admission.patch.0.is_empty() {
            state.patches.push(serde_json::to_string(&admission.patch).unwrap());
        }
        Ok(Some(admission))
    }
}

/// The response of a webhook of others.
fn others(mutate: fn(&Value) -> Vec<Value>, object: &Value) -> Admission {
    let patch = serde_json::from_value(mutate(object).into()).unwrap();
    Admission { allowed: true, message: String::new(), code: 200, patch, warnings: vec![], audit: vec![] }
}

/// Applies a patch, decodes the object, and sets its defaults again.
fn apply(object: &Value, admission: &Admission) -> Result<Value, String> {
    if admission.patch.0.is_empty() {
        return Ok(object.clone());
    }
    let patched = match apiserver::patched(object, &admission.patch) {
        Ok(patched) => patched,
        Err(PatchedError::Decode(error)) => return Err(format!("failed to decode: {error}")),
        Err(error) => return Err(error.to_string()),
    };
    let unknown = pod::unknown_fields(object, &patched);
    if !unknown.is_empty() {
        return Err(format!("the API server drops what it does not know: {unknown:?}"));
    }
    let mut patched = patched;
    default(&mut patched);
    pod::validate(&patched)?;
    Ok(patched)
}

impl Entry {
    fn matches(&self, request: &Request, object: &Value) -> bool {
        let mut labels = request.labels.clone();
        labels.insert(names::NAMESPACE_NAME_LABEL.to_owned(), request.namespace.clone());
        let labels_of = |object: &Value| -> Labels {
            let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
            labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
        };
        // Either of the two objects is enough.
        let objects = [object, &request.old_object];
        let object_matches = || {
            objects
                .iter()
                .any(|object| !object.is_null() && selector::matches(&self.objects, &labels_of(object)))
        };
        let (group, version, _, resource) = request.resource();
        selector::matches(&self.namespaces, &labels)
            && object_matches()
            && self.has_rule(group, version, &resource, request.sub_resource, request.operation)
    }
}
