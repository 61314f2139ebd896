//! Renders an audit as Events: at most one for each owner, and one for all repetitions.
//!
//! Pure functions. The API server deletes an Event an hour after its last change, unless its `--event-ttl` differs.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::policy_report::{Failing, Outcome, clip, shorten};
use crate::base::{digest, names, plural::count};

/// The most Events of a run. Every Event is a write to etcd, and nobody reads more of them.
pub(super) const MAX_EVENTS: usize = 100;
/// The shortest time between two writes of an Event. Runs by hand between those of the CronJob do not count.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// The longest name of an owner in the name of an Event, which ends with two hashes.
const MAX_OWNER_LEN: usize = 200;
/// Who reports, as a qualified name.
const CONTROLLER: &str = "linkerd-linger.io/audit";

/// The path of the Events of a namespace.
pub(super) fn path(namespace: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")
}

/// The Event about an owner. Its name depends on the owner and the note, so an equal Event has the same name.
pub(super) fn render(failing: &Failing<'_>, now: Timestamp) -> Value {
    let reference = failing.reference;
    let namespace = &failing.owner.object.namespace;
    let first = failing.findings.first().map(|(finding, _)| &*finding.message).unwrap_or_default();
    let note = match failing.findings.len() {
        0 | 1 => clip(first),
        all => clip(&format!("{}, the first: {first}", count(all, "finding"))),
    };
    let reason = if failing.count(Outcome::Fail) > 0 { "PodsWouldBeRejected" } else { "TimeoutsMismatch" };
    let hash = digest::short(&format!("{}\n{reason}\n{note}", reference.uid));
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{hash}", shorten(&reference.name, MAX_OWNER_LEN)),
            "namespace": namespace,
            "labels": {names::MANAGED_BY_LABEL: names::MANAGED_BY},
        },
        "eventTime": micro_time(now),
        "reportingController": CONTROLLER,
        "reportingInstance": names::REPORTS,
        "action": "Audit",
        "reason": reason,
        "type": "Warning",
        "regarding": {
            "apiVersion": reference.api_version,
            "kind": reference.kind,
            "namespace": namespace,
            "name": reference.name,
            "uid": reference.uid,
        },
        "note": note,
    })
}

/// The change that counts one more occurrence of a stored Event; `None` if the last one was a short time ago.
pub(super) fn repetition(stored: &Value, now: Timestamp) -> Option<Value> {
    let series = &stored["series"];
    let last = series["lastObservedTime"].as_str().or_else(|| stored["eventTime"].as_str());
    let last: Option<Timestamp> = last.and_then(|last| last.parse().ok());
    if last.is_some_and(|last| now.duration_since(last) < MIN_INTERVAL) {
        return None;
    }
    let count = series["count"].as_u64().unwrap_or(1) + 1;
    Some(json!({"series": {"count": count, "lastObservedTime": micro_time(now)}}))
}

/// A `MicroTime` of the Kubernetes API.
fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_short_time_ago(json!({"eventTime": "2026-11-30T11:50:00.000000Z"}), None)]
    #[case::the_second(json!({"eventTime": "2026-11-30T11:00:00.000000Z", "series": null}), Some(2))]
    #[case::a_series(
        json!({
            "eventTime": "2026-11-30T09:00:00.000000Z",
            "series": {"count": 2, "lastObservedTime": "2026-11-30T11:00:00.000000Z"},
        }),
        Some(3)
    )]
    #[case::a_series_a_short_time_ago(
        json!({
            "eventTime": "2026-11-30T09:00:00.000000Z",
            "series": {"count": 2, "lastObservedTime": "2026-11-30T11:59:00.000000Z"},
        }),
        None
    )]
    fn an_event_counts_repetitions(#[case] stored: Value, #[case] expected: Option<u64>) {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let series =
            |count| json!({"series": {"count": count, "lastObservedTime": "2026-11-30T12:00:00.000000Z"}});
        assert_eq!(repetition(&stored, now), expected.map(series));
    }
}
