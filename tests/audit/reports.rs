//! What `audit --write-reports` and `audit --events` send to the API server.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    KINDS, cluster, list, racing, run,
    simulated::{Answers, ApiServer},
};

/// An API for reports: the paths of its resources, of all reports, and of those in the namespace `shop`.
struct Api {
    discovery: &'static str,
    resource: &'static str,
    list: &'static str,
    apply: &'static str,
    delete: &'static str,
}

const OPEN_REPORTS: Api = Api {
    discovery: "GET /apis/openreports.io/v1alpha1",
    resource: "reports",
    list: "GET /apis/openreports.io/v1alpha1/reports?",
    apply: "PATCH /apis/openreports.io/v1alpha1/namespaces/shop/reports/",
    delete: "DELETE /apis/openreports.io/v1alpha1/namespaces/shop/reports/",
};

const POLICY_REPORTS: Api = Api {
    discovery: "GET /apis/wgpolicyk8s.io/v1alpha2",
    resource: "policyreports",
    list: "GET /apis/wgpolicyk8s.io/v1alpha2/policyreports?",
    apply: "PATCH /apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports/",
    delete: "DELETE /apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports/",
};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// The cluster, which also serves an API with these reports.
fn serving(mut answers: Answers, api: &Api, stored: &Value) -> Answers {
    let resource =
        json!({"name": api.resource, "singularName": "", "namespaced": true, "kind": "", "verbs": []});
    answers.insert(
        api.discovery,
        (200, json!({"kind": "APIResourceList", "groupVersion": "", "resources": [resource]})),
    );
    answers.insert(api.list, list(stored));
    answers.insert(api.apply, (200, json!({})));
    answers.insert(api.delete, (200, json!({})));
    answers
}

/// The cluster without findings.
fn fixed() -> Answers {
    let mut answers = cluster();
    answers.insert(KINDS[0], list(&json!([])));
    answers
}

/// Runs `audit -A` with flags; returns the exit code, stderr, and the requests that change something.
fn audit(answers: Answers, flags: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let server = ApiServer::start(answers);
    let flags: Vec<_> = ["-A", "-o", "summary", "--fail-on", "never"].iter().chain(flags).copied().collect();
    let output = run(&server, &flags);
    let mut changes = server.requests();
    changes.retain(|request| !request.starts_with("GET "));
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), changes)
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[rstest]
#[case::open_reports(OPEN_REPORTS)]
#[case::policy_reports(POLICY_REPORTS)]
fn a_report_is_written_once_and_deleted_when_its_findings_are_gone(#[case] api: Api) {
    let (code, told, changes) = audit(serving(cluster(), &api, &json!([])), &["--write-reports"]);
    let [written] = changes.as_slice() else { panic!("{changes:?}") };
    let line = format!(
        "{}linkerd-linger-deployment-cart?&force=true&fieldManager=linkerd-linger-reports ",
        api.apply
    );
    assert!(written.starts_with(&line), "{written}");
    let report = body(written);
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "uid-of-cart", "{report:#}");
    assert_eq!((code, told.trim()), (Some(0), "reports: 1 written, 0 unchanged"));

    let stored = json!([report]);
    let (code, told, changes) = audit(serving(cluster(), &api, &stored), &["--write-reports"]);
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!((code, told.trim()), (Some(0), "reports: 0 written, 1 unchanged"));

    let (code, told, changes) = audit(serving(fixed(), &api, &stored), &["--write-reports"]);
    let [deleted] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(deleted.starts_with(&format!("{}linkerd-linger-deployment-cart", api.delete)), "{deleted}");
    assert_eq!((code, told.trim()), (Some(0), "reports: 0 written, 0 unchanged, 1 deleted"));
}

#[test]
fn a_report_with_another_finding_is_written_again() {
    let first = audit(serving(cluster(), &OPEN_REPORTS, &json!([])), &["--write-reports"]).2;
    let mut stored = body(&first[0]);
    stored["results"][0]["message"] = "something else".into();
    let changes = audit(serving(cluster(), &OPEN_REPORTS, &json!([stored])), &["--write-reports"]).2;
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[test]
fn only_our_reports_are_listed() {
    let server = ApiServer::start(serving(cluster(), &OPEN_REPORTS, &json!([])));
    run(&server, &["-A", "--write-reports"]);
    let lists = server.requests();
    let listed = lists.iter().find(|request| request.starts_with(OPEN_REPORTS.list)).unwrap();
    assert!(listed.contains("labelSelector=app.kubernetes.io%2Fmanaged-by%3Dlinkerd-linger"), "{listed}");
}

#[test]
fn with_both_apis_the_newer_one_is_used_and_the_older_one_is_cleaned_up() {
    let old = json!({"metadata": {"name": "linkerd-linger-deployment-cart", "namespace": "shop"}});
    let answers = serving(cluster(), &OPEN_REPORTS, &json!([]));
    let changes = audit(serving(answers, &POLICY_REPORTS, &json!([old])), &["--write-reports"]).2;
    let [written, deleted] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(
        written.starts_with(OPEN_REPORTS.apply) && deleted.starts_with(POLICY_REPORTS.delete),
        "{changes:?}"
    );
}

#[test]
fn a_cluster_without_an_api_for_reports_is_refused_before_the_audit() {
    let server = ApiServer::start(cluster());
    let output = run(&server, &["-A", "--write-reports"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("reports of openreports.io/v1alpha1, or policyreports of wgpolicyk8s.io/v1alpha2"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn nothing_is_deleted_if_not_everything_could_be_read() {
    let other = json!({"metadata": {"name": "linkerd-linger-cronjob-report", "namespace": "shop"}});
    let mut answers = serving(cluster(), &OPEN_REPORTS, &json!([other]));
    answers.insert(KINDS[4], (403, json!({"kind": "Status", "message": "forbidden", "code": 403})));
    let (code, told, changes) = audit(answers, &["--write-reports"]);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].starts_with("PATCH "), "{changes:?}");
    assert!(
        told.contains("reports: 1 written, 0 unchanged, 1 kept because not everything could be read"),
        "{told}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let mut answers = serving(cluster(), &OPEN_REPORTS, &json!([]));
    answers.insert(OPEN_REPORTS.apply, (403, json!({"kind": "Status", "message": "forbidden", "code": 403})));
    let (code, told, _) = audit(answers, &["--write-reports"]);
    assert!(
        told.contains("no permission to apply the reports shop/linkerd-linger-deployment-cart"),
        "{told}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn after_a_few_failed_requests_no_more_are_sent() {
    let mut answers = serving(cluster(), &OPEN_REPORTS, &json!([]));
    let many: Vec<_> = (0..20).map(|index| racing(&format!("cart-{index}"))).collect();
    answers.insert(KINDS[0], list(&json!(many)));
    answers.insert(OPEN_REPORTS.apply, (400, json!({"kind": "Status", "message": "no", "code": 400})));
    let (code, told, changes) = audit(answers, &["--write-reports"]);
    assert_eq!(changes.len(), 5, "{changes:?}");
    assert!(told.contains("stopped after 5 failed requests"), "{told}");
    assert_eq!(code, Some(2));
}

#[test]
fn a_dry_run_changes_nothing() {
    let old = json!({"metadata": {"name": "linkerd-linger-cronjob-report", "namespace": "shop"}});
    let answers = serving(cluster(), &OPEN_REPORTS, &json!([old]));
    let (code, told, changes) = audit(answers, &["--write-reports", "--events", "--dry-run"]);
    assert!(changes.is_empty(), "{changes:?}");
    let expected = "reports: 1 would be written, 0 unchanged, 1 would be deleted\nevents: 1 would be written, 0 unchanged";
    assert_eq!((code, told.trim()), (Some(0), expected));
}

#[test]
fn an_event_is_created_once_and_then_counted() {
    let mut answers = cluster();
    answers.insert("POST /apis/events.k8s.io/v1/namespaces/shop/events", (201, json!({})));
    let (code, told, changes) = audit(answers.clone(), &["--events"]);
    let [created] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(created.starts_with(&format!("POST {EVENTS}?")), "{created}");
    assert_eq!((code, told.trim()), (Some(0), "events: 1 written, 0 unchanged"));
    let mut event = body(created);
    let name = event["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("GET {EVENTS}/{name}").leak();

    answers.insert(path, (200, event.clone()));
    let (_, told, changes) = audit(answers.clone(), &["--events"]);
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(told.trim(), "events: 0 written, 1 unchanged");

    event["eventTime"] = "2026-01-01T00:00:00.000000Z".into();
    answers.insert(path, (200, event));
    answers.insert("PATCH /apis/events.k8s.io/v1/namespaces/shop/events/", (200, json!({})));
    let changes = audit(answers, &["--events"]).2;
    let [counted] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(counted.starts_with(&format!("PATCH {EVENTS}/{name}?")), "{counted}");
    assert_eq!(body(counted)["series"]["count"], 2);
}

#[rstest]
#[case::dry_run_of_nothing(&["--dry-run"], "--dry-run needs --write-reports or --events")]
#[case::a_part_of_the_workloads(&["--write-reports", "-l", "team=checkout"], "cannot be used with")]
fn flags_that_cannot_work_are_refused(#[case] flags: &[&str], #[case] reason: &str) {
    let server = ApiServer::start(cluster());
    let output = run(&server, flags);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(reason), "{told}");
    assert_eq!(output.status.code(), Some(2));
    assert!(server.requests().is_empty());
}
