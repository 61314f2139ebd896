//! Renders an audit as policy reports: one for each owner with findings.
//!
//! Pure functions. Both APIs have the same fields, and only fields that both have are used.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::report::{AuditReport, OwnerReport, Reference};
use crate::{
    base::{digest, names},
    judgement::finding::Action,
    lint::report::FindingReport,
};

/// The most reports of a cluster. They are as long as a ConfigMap, and the API server keeps each of them in etcd.
pub(super) const MAX_REPORTS: usize = 1000;
/// The most results of a report. A workload rarely has more than a few, and 50 of the longest are below 200 KiB, far from
/// etcd's limit of 1.5 MiB for an object.
const MAX_RESULTS: usize = 50;
/// The longest text in a result, in bytes, as long as the note of an Event may be.
pub(super) const MAX_TEXT_LEN: usize = 1024;
/// The longest name of an object (apimachinery `DNS1123SubdomainMaxLength`).
const MAX_NAME_LEN: usize = 253;

/// An API for policy reports. The Policy Working Group made the second one, and then the first one to replace it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportApi {
    /// `reports` of openreports.io/v1alpha1.
    OpenReports,
    /// `policyreports` of wgpolicyk8s.io/v1alpha2.
    PolicyReports,
}

impl ReportApi {
    /// Every API, the preferred one first.
    pub const ALL: [Self; 2] = [Self::OpenReports, Self::PolicyReports];

    /// The API group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::OpenReports => "openreports.io",
            Self::PolicyReports => "wgpolicyk8s.io",
        }
    }

    /// The group and the version.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::OpenReports => "openreports.io/v1alpha1",
            Self::PolicyReports => "wgpolicyk8s.io/v1alpha2",
        }
    }

    /// The kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::OpenReports => "Report",
            Self::PolicyReports => "PolicyReport",
        }
    }

    /// The resource in paths and in RBAC.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::OpenReports => "reports",
            Self::PolicyReports => "policyreports",
        }
    }

    /// The path of a namespace's reports, or of all reports without a namespace.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        let (version, resource) = (self.api_version(), self.resource());
        match namespace {
            Some(namespace) => format!("/apis/{version}/namespaces/{namespace}/{resource}"),
            None => format!("/apis/{version}/{resource}"),
        }
    }
}

/// An owner with findings that the webhook does not fix.
pub(super) struct Failing<'r> {
    pub(super) owner: &'r OwnerReport,
    pub(super) reference: &'r Reference,
    /// The findings that reject come before those that warn.
    pub(super) findings: Vec<(&'r FindingReport, Outcome)>,
}

/// The result of a rule.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Outcome {
    /// The webhook rejects the pods in the mode `enforce`.
    Fail,
    /// The webhook warns.
    Warn,
}

impl Outcome {
    const fn of(action: Action) -> Option<Self> {
        match action {
            Action::Reject => Some(Self::Fail),
            Action::Warn => Some(Self::Warn),
            Action::Patch | Action::Ignore => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
        }
    }

    /// The older API has only `high`, `medium` and `low`.
    const fn severity(self) -> &'static str {
        match self {
            Self::Fail => "high",
            Self::Warn => "medium",
        }
    }
}

impl Failing<'_> {
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|(_, found)| *found == outcome).count()
    }
}

/// The owners with findings that fail or warn: those with failures first, each part in the order of the audit.
pub(super) fn failing(report: &AuditReport) -> Vec<Failing<'_>> {
    let mut failing: Vec<_> = report.owners.iter().filter_map(of_owner).collect();
    failing.sort_by_key(|failing| failing.count(Outcome::Fail) == 0);
    failing
}

/// `None` for owners without findings. The API server gives each object a uid; without one nothing can be owned.
fn of_owner(owner: &OwnerReport) -> Option<Failing<'_>> {
    let mut findings: Vec<_> = owner
        .findings()
        .filter(|finding| finding.counts())
        .filter_map(|finding| Some((finding, Outcome::of(finding.action)?)))
        .collect();
    findings.sort_by_key(|(_, outcome)| *outcome);
    let reference = owner.reference.as_ref()?;
    (!findings.is_empty()).then_some(Failing { owner, reference, findings })
}

/// The report on an owner.
pub(super) fn render(failing: &Failing<'_>, api: ReportApi, now: Timestamp) -> Value {
    let Failing { owner, reference, findings } = failing;
    let object = &owner.object;
    let Reference { api_version, kind, name, uid } = reference;
    let results: Vec<_> =
        findings.iter().take(MAX_RESULTS).map(|(finding, outcome)| result(finding, *outcome, now)).collect();
    json!({
        "apiVersion": api.api_version(),
        "kind": api.kind(),
        "metadata": {
            "name": self::name(&object.kind, &owner.own_name),
            "namespace": object.namespace,
            "labels": {names::MANAGED_BY_LABEL: names::MANAGED_BY},
            "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}],
        },
        "scope": {
            "apiVersion": api_version,
            "kind": kind,
            "namespace": object.namespace,
            "name": name,
            "uid": uid,
        },
        "summary": {
            "pass": 0,
            "fail": failing.count(Outcome::Fail),
            "warn": failing.count(Outcome::Warn),
            "error": 0,
            "skip": 0,
        },
        "results": results,
    })
}

fn result(finding: &FindingReport, outcome: Outcome, now: Timestamp) -> Value {
    let mut properties = json!({
        "certainty": finding.certainty,
        "note": clip(&finding.note),
        "help": clip(&finding.help),
    });
    if let Some(container) = &finding.container {
        properties["container"] = json!(container);
    }
    json!({
        "source": names::MANAGED_BY,
        "policy": names::MANAGED_BY,
        "rule": finding.rule.as_str(),
        "category": "Connection timeouts",
        "severity": outcome.severity(),
        "result": outcome.as_str(),
        "scored": outcome == Outcome::Fail,
        "message": clip(&finding.message),
        "properties": properties,
        "timestamp": {"seconds": now.as_second(), "nanos": 0},
    })
}

/// The name of the report on an owner: `linkerd-linger-deployment-cart`. A longer one ends with a hash instead.
fn name(kind: &str, name: &str) -> String {
    let name = format!("{}-{}-{name}", names::MANAGED_BY, kind.to_lowercase());
    shorten(&name, MAX_NAME_LEN)
}

/// An object name of at most `max` bytes. A longer one is cut, and gets a hash of the whole name.
pub(super) fn shorten(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let hash = digest::short(name);
    let kept = start(name, max - hash.len() - 1);
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// The text, or its beginning.
pub(super) fn clip(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= MAX_TEXT_LEN {
        return text.to_owned();
    }
    start(text, MAX_TEXT_LEN - ELLIPSIS.len()).to_owned() + ELLIPSIS
}

/// The longest start of a text with at most `max` bytes.
fn start(text: &str, max: usize) -> &str {
    let ends = text.char_indices().map(|(index, c)| index + c.len_utf8());
    let end = ends.take_while(|end| *end <= max).last().unwrap_or_default();
    &text[..end]
}

/// Gives the results that the stored report has, too, the time at which they were found first.
pub(super) fn keep_timestamps(report: &mut Value, stored: &Value) {
    let without_timestamp = |result: &Value| {
        let mut result = result.clone();
        if let Some(fields) = result.as_object_mut() {
            fields.remove("timestamp");
        }
        result
    };
    let known: Vec<_> = stored["results"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|result| (without_timestamp(result), &result["timestamp"]))
        .collect();
    for result in report["results"].as_array_mut().into_iter().flatten() {
        let bare = without_timestamp(result);
        if let Some((_, found)) = known.iter().find(|(known, found)| *known == bare && found.is_object()) {
            result["timestamp"] = (*found).clone();
        }
    }
}

/// Whether the stored report says the same, whatever else it has.
pub(super) fn is_stored(report: &Value, stored: &Value) -> bool {
    ["/metadata/ownerReferences", "/scope", "/summary", "/results"]
        .iter()
        .all(|field| report.pointer(field) == stored.pointer(field))
}

#[cfg(test)]
mod tests;
