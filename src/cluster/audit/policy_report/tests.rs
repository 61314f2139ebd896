use rstest::rstest;

use super::*;
use crate::{
    cluster::audit::{
        events,
        tests::{audit_with, deployment, pod},
    },
    judgement::policy::Policy,
    workload::object::Kind,
};

const NOW: Timestamp = Timestamp::constant(1_796_040_000, 0);
const LATER: Timestamp = Timestamp::constant(1_796_043_600, 0);

/// A Deployment whose pods the webhook rejects, with a uid.
fn rejected(name: &str) -> Value {
    let mut object = deployment(&["--timeout-keep-alive", "10"], 10);
    object["metadata"]["name"] = name.into();
    object["metadata"]["uid"] = format!("uid-of-{name}").into();
    object
}

fn audit(objects: &[(Kind, Value)], policy: &str) -> AuditReport {
    audit_with(objects, None, Policy::parse(policy).unwrap())
}

fn rendered(report: &AuditReport, api: ReportApi) -> Vec<Value> {
    failing(report).iter().map(|failing| render(failing, api, NOW)).collect()
}

#[rstest]
#[case::open_reports(ReportApi::OpenReports, "openreports.io/v1alpha1", "Report")]
#[case::policy_reports(ReportApi::PolicyReports, "wgpolicyk8s.io/v1alpha2", "PolicyReport")]
fn a_report_belongs_to_its_workload(#[case] api: ReportApi, #[case] version: &str, #[case] kind: &str) {
    let report = audit(&[(Kind::Deployment, rejected("cart"))], "");
    let [found] = rendered(&report, api).try_into().unwrap();
    assert_eq!((&found["apiVersion"], &found["kind"]), (&json!(version), &json!(kind)));
    assert_eq!(
        found["metadata"],
        json!({
            "name": "linkerd-linger-deployment-cart",
            "namespace": "shop",
            "labels": {"app.kubernetes.io/managed-by": "linkerd-linger"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart", "uid": "uid-of-cart"}],
        })
    );
    assert_eq!(found["scope"]["uid"], "uid-of-cart");
    assert_eq!(found["summary"], json!({"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}));
    let result = &found["results"][0];
    assert_eq!(
        [&result["rule"], &result["result"], &result["severity"], &result["scored"]],
        [&json!("probe-matches-idle-timeout"), &json!("fail"), &json!("high"), &json!(true)]
    );
    assert!(
        result["message"].as_str().unwrap().starts_with("cart: Uvicorn closes idle connections"),
        "{found:#}"
    );
    assert_eq!(result["timestamp"], json!({"seconds": 1_796_040_000, "nanos": 0}));
}

#[rstest]
#[case::reject("rules: {probe-matches-idle-timeout: reject}", Some(("fail", 1, 0)))]
#[case::warn("rules: {probe-matches-idle-timeout: warn}", Some(("warn", 0, 1)))]
#[case::ignore("rules: {probe-matches-idle-timeout: ignore}", None)]
#[case::exempt(
    "exemptions: [{owner: cart, rules: [probe-matches-idle-timeout], reason: SHOP-1, until: 2027-01-31}]",
    None
)]
fn only_what_fails_or_warns_is_reported(
    #[case] policy: &str,
    #[case] expected: Option<(&str, usize, usize)>,
) {
    let report = audit(&[(Kind::Deployment, rejected("cart"))], policy);
    let reports = rendered(&report, ReportApi::OpenReports);
    let found = reports.first().map(|report| {
        let count = |field: &str| report["summary"][field].as_u64().unwrap() as usize;
        (report["results"][0]["result"].as_str().unwrap(), count("fail"), count("warn"))
    });
    assert_eq!(found, expected);
}

#[test]
fn a_pod_without_a_readable_workload_is_represented_by_its_controller() {
    let mut pod = pod("cart-1", &["--timeout-keep-alive", "10"], Some(3600));
    pod["metadata"]["uid"] = "uid-of-pod".into();
    pod["metadata"]["ownerReferences"][0]["uid"] = "uid-of-replica-set".into();
    let report = audit(&[(Kind::Pod, pod)], "");
    let [found] = rendered(&report, ReportApi::OpenReports).try_into().unwrap();
    let metadata = &found["metadata"];
    assert_eq!(metadata["name"], "linkerd-linger-deployment-cart");
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7c9f8b6d5", "uid": "uid-of-replica-set"}]);
    assert_eq!(metadata["ownerReferences"], owner);
}

#[test]
fn a_result_keeps_the_time_when_it_was_found_first() {
    let report = audit(&[(Kind::Deployment, rejected("cart"))], "");
    let failing = failing(&report);
    let mut stored = render(&failing[0], ReportApi::OpenReports, NOW);
    stored["metadata"]["resourceVersion"] = "7".into();
    let mut again = render(&failing[0], ReportApi::OpenReports, LATER);
    assert!(!is_stored(&again, &stored));
    keep_timestamps(&mut again, &stored);
    assert!(is_stored(&again, &stored));
    stored["results"][0]["message"] = "something else".into();
    let mut changed = render(&failing[0], ReportApi::OpenReports, LATER);
    keep_timestamps(&mut changed, &stored);
    assert!(!is_stored(&changed, &stored));
    assert_eq!(changed["results"][0]["timestamp"]["seconds"], LATER.as_second());
}

#[test]
fn workloads_that_fail_come_before_those_that_warn() {
    let mut warned = rejected("api");
    warned["spec"]["template"]["metadata"]["labels"] = json!({"app": "api"});
    let objects = [(Kind::Deployment, warned), (Kind::Deployment, rejected("cart"))];
    let mut report = audit(&objects, "");
    for finding in &mut report.owners[0].object.findings {
        finding.action = Action::Warn;
    }
    let names: Vec<_> = failing(&report).iter().map(|failing| failing.reference.name.clone()).collect();
    assert_eq!(names, ["cart", "api"]);
}

#[test]
fn results_and_texts_are_limited_and_the_summary_counts_all() {
    let mut report = audit(&[(Kind::Deployment, rejected("cart"))], "");
    let findings = &mut report.owners[0].object.findings;
    findings.retain(|finding| finding.action == Action::Reject);
    findings[0].message = "ä".repeat(2000);
    *findings = vec![findings[0].clone(); 2 * MAX_RESULTS];
    let [found] = rendered(&report, ReportApi::OpenReports).try_into().unwrap();
    assert_eq!(found["results"].as_array().unwrap().len(), MAX_RESULTS);
    assert_eq!(found["summary"]["fail"], 2 * MAX_RESULTS);
    let message = found["results"][0]["message"].as_str().unwrap();
    assert!(message.len() <= MAX_TEXT_LEN && message.ends_with("ä…"), "{message}");
    let event = events::render(&failing(&report)[0], NOW);
    assert!(event["note"].as_str().unwrap().len() <= MAX_TEXT_LEN, "{event:#}");
}

#[test]
fn names_fit_and_stay_different() {
    let long = |last: &str| name("ReplicationController", &format!("{}{last}", "a".repeat(252)));
    assert_eq!(name("CronJob", "report"), "linkerd-linger-cronjob-report");
    assert_eq!(long("b").len(), MAX_NAME_LEN);
    assert_ne!(long("b"), long("c"));
    assert_eq!(long("b"), long("b"));
}

#[test]
fn an_event_is_about_the_workload_and_has_a_stable_name() {
    let report = audit(&[(Kind::Deployment, rejected("cart"))], "");
    let failing = failing(&report);
    let [now, later] = [NOW, LATER].map(|time| events::render(&failing[0], time));
    assert_eq!(now["metadata"]["name"], later["metadata"]["name"]);
    assert!(now["metadata"]["name"].as_str().unwrap().starts_with("cart."), "{now:#}");
    assert_eq!((&now["reason"], &now["type"]), (&json!("PodsWouldBeRejected"), &json!("Warning")));
    assert_eq!(
        (&now["regarding"]["kind"], &now["regarding"]["uid"]),
        (&json!("Deployment"), &json!("uid-of-cart"))
    );
    assert_eq!(now["eventTime"], "2026-11-30T12:00:00.000000Z");
}
