//! Checks the labels of namespaces, and whether the webhooks handle them as the labels say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;

use super::{CheckId, CheckResult, Outcome, Policies, Snapshot, listed, selector, webhook_entries};
use crate::{
    base::{names, plural::count},
    review::Mode,
    workload::context::{NEVER, PRIVILEGED_LABEL, Unprivileged},
};

/// The prefix of our labels.
const PREFIX: &str = "linkerd-linger.io/";
/// The maximum edit distance for suggestions.
const MAX_EDIT_DISTANCE: usize = 3;

/// A namespace that the webhooks handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptedIn<'a> {
    pub(super) name: &'a str,
    pub(super) mode: Mode,
    /// Why no privileged container is added there.
    pub(super) unprivileged: Option<Unprivileged>,
    /// Whether the labels forbid privileged containers, but the called path allows them.
    pub(super) label_is_ignored: bool,
    pub(super) terminating: bool,
}

/// Our own namespace.
pub(super) fn own_namespace(all: &[Namespace]) -> Option<&Namespace> {
    all.iter().find(|namespace| name(namespace) == names::NAMESPACE)
}

/// The namespaces that the API server sends to our webhooks, with the mode of the path.
pub(super) fn opted_in<'a>(snapshot: &'a Snapshot, all: &'a [Namespace]) -> Vec<OptedIn<'a>> {
    let entries = webhook_entries::own_entries(snapshot);
    let bindings = snapshot.own_policies().map(Policies::own_bindings).unwrap_or_default();
    let none = BTreeMap::new();
    let mut found = Vec::new();
    for namespace in all {
        let labels = namespace.metadata.labels.as_ref().unwrap_or(&none);
        let entry = entries.iter().find(|entry| selector::matches(entry.namespaces, labels));
        let entry = entry.and_then(|entry| Some((entry.mode()?, entry.is_unprivileged())));
        // The bindings of a policy that patches leave out unprivileged namespaces.
        let binding = || bindings.iter().find(|binding| selector::matches(binding.namespaces, labels));
        let Some((mode, is_unprivileged)) = entry.or_else(|| Some((binding()?.mode, true))) else { continue };
        found.push(OptedIn {
            name: name(namespace),
            mode,
            unprivileged: unprivileged(namespace),
            label_is_ignored: unprivileged(namespace).is_some() && !is_unprivileged,
            terminating: namespace.metadata.deletion_timestamp.is_some(),
        });
    }
    found
}

/// Why pods in a namespace cannot be privileged.
pub(super) fn unprivileged(namespace: &Namespace) -> Option<Unprivileged> {
    let labels = namespace.metadata.labels.iter().flatten();
    Unprivileged::of(labels.map(|(key, value)| (key.as_str(), value.as_str())))
}

pub(super) fn checks(snapshot: &Snapshot) -> Vec<CheckResult> {
    let all = match &snapshot.namespaces {
        Ok(all) => all,
        Err(error) => return vec![CheckResult::unread(CheckId::ModeLabels, error)],
    };
    let opted_in = opted_in(snapshot, all);
    vec![labels(all, &opted_in), modes(&opted_in), pod_security(&opted_in)]
}

fn labels(all: &[Namespace], opted_in: &[OptedIn<'_>]) -> CheckResult {
    let mut problems = Vec::new();
    for namespace in all {
        let (name, metadata) = (name(namespace), &namespace.metadata);
        for (key, value) in metadata.labels.iter().flatten().filter(|(key, _)| key.starts_with(PREFIX)) {
            if let Some(problem) = label_problem(key, value, opted_in.iter().find(|it| it.name == name)) {
                problems.push(format!("{name}: {problem}"));
            }
        }
        if metadata.annotations.iter().flatten().any(|(key, _)| key == names::MODE_LABEL) {
            problems.push(format!(
                "{name}: {} is an annotation, which has no effect; use a label",
                names::MODE_LABEL
            ));
        }
    }
    CheckResult::of(
        CheckId::ModeLabels,
        Outcome::warn_about(
            "these namespaces have a linkerd-linger label or annotation without effect",
            &problems,
        ),
    )
}

fn label_problem(key: &str, value: &str, opted_in: Option<&OptedIn<'_>>) -> Option<String> {
    if key == PRIVILEGED_LABEL {
        return match opted_in {
            _ if value != NEVER => Some(format!("{key} is {value:?}; the only valid value is {NEVER}")),
            Some(namespace) if namespace.label_is_ignored => Some(format!(
                "{key} is {NEVER}, but the webhook configurations are older than this label: apply the manifests again"
            )),
            Some(_) | None => None,
        };
    }
    if key != names::MODE_LABEL {
        return Some(format!("unknown label {key}; use {} or {PRIVILEGED_LABEL}", names::MODE_LABEL));
    }
    let known: Vec<_> = Mode::ALL.into_iter().map(Mode::as_str).chain([names::MODE_OFF]).collect();
    if !known.contains(&value) {
        let meant = known.iter().min_by_key(|word| strsim::damerau_levenshtein(word, &value.to_lowercase()));
        let near = meant
            .filter(|word| strsim::damerau_levenshtein(word, &value.to_lowercase()) <= MAX_EDIT_DISTANCE)
            .map(|word| format!("; did you mean {word}?"));
        let known = known.join(", ");
        return Some(format!("{key} is {value:?}; the valid values are {known}{}", near.unwrap_or_default()));
    }
    (value != names::MODE_OFF && opted_in.is_none())
        .then(|| format!("{key} is {value}, but the webhook configurations exclude this namespace"))
}

fn modes(opted_in: &[OptedIn<'_>]) -> CheckResult {
    let id = CheckId::OptedIn;
    if opted_in.is_empty() {
        let why = format!(
            "no namespace opts in, so nothing is patched or rejected; label one with {}=warn",
            names::MODE_LABEL
        );
        return CheckResult::of(id, Outcome::Warning(why));
    }
    let counts: Vec<_> = Mode::ALL
        .into_iter()
        .map(|mode| (mode, opted_in.iter().filter(|it| it.mode == mode).count()))
        .filter(|(_, number)| *number > 0)
        .map(|(mode, number)| format!("{number} {}", mode.as_str()))
        .collect();
    let text =
        format!("{} ({}: {})", id.description(), count(opted_in.len(), "namespace"), counts.join(", "));
    CheckResult::good(id, text)
}

fn pod_security(opted_in: &[OptedIn<'_>]) -> CheckResult {
    let names: Vec<_> = opted_in
        .iter()
        .filter(|it| it.unprivileged.is_some() && it.mode != Mode::Audit)
        .map(|it| it.name.to_owned())
        .collect();
    let outcome = if names.is_empty() {
        Outcome::Good
    } else {
        Outcome::Warning(listed(
            "Pod Security or the label linkerd-linger.io/privileged forbids privileged containers in these \
             namespaces, so their pods keep the kernel's close-wait timeout",
            &names,
        ))
    };
    CheckResult::of(CheckId::PodSecurity, outcome)
}

fn name(namespace: &Namespace) -> &str {
    namespace.metadata.name.as_deref().unwrap_or_default()
}
