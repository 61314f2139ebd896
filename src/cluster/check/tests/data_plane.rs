use super::*;
use crate::{
    cluster::check::data_plane::{Entries, Kernels, PodJudge, PodSummary, checks, missing_namespace},
    lint::manifest,
};

const BAD: &str = include_str!("../../../../examples/pods/2-rejected.yaml");
const PATCHED: &str = include_str!("../../../../examples/pods/1-patched.yaml");
const BROKEN: &str = include_str!("../../../../examples/pods/5-repaired.yaml");
const COMBINED: &str = include_str!("../../../../examples/pods/6-combined.yaml");

/// A pod of `shop` as a list has it, without its kind, made by a ReplicaSet of a Deployment.
fn pod(text: &str, namespace: &str, name: &str) -> Value {
    let mut pod: Value = serde_json::from_str(manifest::read("x", text).documents[0].json()).unwrap();
    pod.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["labels"]["pod-template-hash"] = "7d9c8b5f4".into();
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": "ReplicaSet", "name": format!("{name}-7d9c8b5f4"), "controller": true}]);
    pod
}

fn check(pods: &[Value]) -> Vec<CheckResult> {
    let snapshot = healthy();
    let judge = PodJudge::of(&snapshot, today());
    let seen: Vec<PodSummary> = pods.iter().filter_map(|pod| judge.summarize(&pod.to_string())).collect();
    checks(&snapshot, &Ok(seen), None)
}

fn outcome(results: &[CheckResult], id: CheckId) -> &Outcome {
    &results.iter().find(|result| result.id == id).unwrap().outcome
}

#[test]
fn values_are_counted() {
    let mut set = pod(PATCHED, "shop", "front");
    let init = &mut set["spec"]["initContainers"][0];
    init["args"].as_array_mut().unwrap().push(json!("--timeout-close-wait-secs=600"));
    init["securityContext"] = json!({"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0,
                                     "runAsNonRoot": false});
    let none = json!({"metadata": {"name": "job"}, "spec": {"containers": [{"name": "job"}]}});
    let mut going = pod(PATCHED, "shop", "going");
    going["metadata"]["deletionTimestamp"] = "2026-06-01T00:00:00Z".into();
    let results = check(&[set.clone(), set, pod(PATCHED, "shop", "old"), none, going]);
    assert_eq!(
        results[0].description,
        "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods in shop: 600s in deployment/front (2 pods); the kernel's default in \
         deployment/old (1 pod)"
    );
    assert_eq!(
        check(&[])[0].description,
        "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods: there are none"
    );
}

#[test]
fn a_deployment_is_found_without_the_label_of_its_template() {
    let mut unlabelled = pod(PATCHED, "shop", "front");
    unlabelled["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    let results = check(&[unlabelled]);
    assert!(
        results[0].description.ends_with("the kernel's default in deployment/front (1 pod)"),
        "{results:?}"
    );
}

#[test]
fn pods_from_before_are_listed_with_the_command_that_mends_them() {
    let mut lonely = pod(PATCHED, "shop", "x");
    lonely["metadata"]["ownerReferences"] = json!([]);
    let mut stateful = pod(PATCHED, "lab", "x");
    stateful["metadata"]["ownerReferences"] =
        json!([{"kind": "StatefulSet", "name": "db", "controller": true}]);
    let results = check(&[
        pod(PATCHED, "shop", "front"),
        pod(PATCHED, "shop", "front"),
        lonely,
        stateful,
        pod(PATCHED, "elsewhere", "front"),
    ]);
    let Outcome::Warning(told) = outcome(&results, CheckId::Restarts) else { panic!("{results:?}") };
    let lines: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "\t* kubectl rollout restart -n lab statefulset/db  # 1 pod",
            "\t* kubectl rollout restart -n shop deployment/front  # 2 pods",
            "\t* shop pod/front (1 pod): re-create them through their owner",
        ]
    );
}

#[test]
fn init_containers_that_fail_are_errors_wherever_they_are() {
    let results = check(&[pod(BROKEN, "elsewhere", "till")]);
    assert_outcome(
        outcome(&results, CheckId::CloseWaitFails),
        "error",
        "* elsewhere deployment/till (1 pod): linkerd-init should set ",
    );
}

#[rstest]
#[case::a_number(&["--timeout-close-wait-secs", "3600"], "--timeout-close-wait-secs makes it crash-loop")]
#[case::nothing(&["--timeout-close-wait-secs", "0"], "")]
#[case::no_flag(&[], "")]
fn a_combined_image_fails_at_what_it_is_told(#[case] flag: &[&str], #[case] part: &str) {
    let mut pod = pod(COMBINED, "shop", "orders");
    let init = &mut pod["spec"]["initContainers"][0];
    let args = init["args"].as_array_mut().unwrap();
    args.retain(|arg| arg != "--timeout-close-wait-secs" && arg != "3600");
    args.extend(flag.iter().map(|arg| json!(arg)));
    let results = check(&[pod]);
    let kind = if part.is_empty() { "good" } else { "error" };
    assert_outcome(outcome(&results, CheckId::CloseWaitFails), kind, part);
    // The server adds its own container in either case.
    let part = "kubectl rollout restart -n shop deployment/orders";
    assert_outcome(outcome(&results, CheckId::Restarts), "warning", part);
}

#[test]
fn pods_that_would_be_rejected_are_told_of() {
    let results = check(&[pod(BAD, "shop", "cart")]);
    let part = "* shop deployment/cart (1 pod): cart: ";
    assert_outcome(outcome(&results, CheckId::ProbeRaces), "warning", part);
    let elsewhere = check(&[pod(BAD, "elsewhere", "cart")]);
    assert_eq!(outcome(&elsewhere, CheckId::ProbeRaces), &Outcome::Good);
}

#[test]
fn a_namespace_that_is_not_there_has_no_good_pods() {
    assert_eq!(missing_namespace(&healthy(), "shop"), None);
    let typo = missing_namespace(&healthy(), "shpo").unwrap();
    assert_outcome(&typo.outcome, "error", "the namespace shpo does not exist");
    let unseen = Snapshot { namespaces: Err(ReadError::Forbidden { what: "list".to_owned() }), ..healthy() };
    assert_eq!(missing_namespace(&unseen, "shop"), None);
}

#[test]
fn pods_that_cannot_be_listed_are_one_result() {
    let forbidden = ReadError::Forbidden { what: "list pods".to_owned() };
    let results = checks(&healthy(), &Err(forbidden), None);
    assert_eq!(results.len(), 1);
    assert_outcome(&results[0].outcome, "warning", "no permission to list pods");
}

#[rstest]
#[case::few(
    1200,
    1350,
    262_144,
    "good",
    "most in shop/x 1200 in CLOSE_WAIT, 1350 of at most 262144 in all: 0.33 connections per second stay \
     half-closed for 3600s"
)]
#[case::none(0, 12, 262_144, "good", "most in shop/x 0 in CLOSE_WAIT, 12 of at most 262144 in all")]
#[case::no_limit(
    3600,
    4_000_000,
    0,
    "good",
    "3600 in CLOSE_WAIT, 4000000 in all: 1.00 connections per second"
)]
#[case::three_quarters(190_000, 196_608, 262_144, "good", "190000 in CLOSE_WAIT")]
#[case::near_the_limit(
    190_000,
    196_609,
    262_144,
    "warning",
    "190000 in CLOSE_WAIT, 196609 of at most 262144"
)]
fn the_cost_of_the_timeout_is_told(
    #[case] close_wait: usize,
    #[case] all: u32,
    #[case] max: u32,
    #[case] kind: &str,
    #[case] part: &str,
) {
    let snapshot = healthy();
    let mut named = pod(PATCHED, "shop", "front");
    named["metadata"]["name"] = "x".into();
    named["metadata"]["uid"] = "1".into();
    let mut less = named.clone();
    (less["metadata"]["name"], less["metadata"]["uid"]) = ("y".into(), "2".into());
    let judge = PodJudge::of(&snapshot, today());
    let seen = [less, named].iter().filter_map(|pod| judge.summarize(&pod.to_string())).collect();
    let other = Entries { close_wait: 0, all: 1, max };
    let kernels = Kernels {
        timeouts: [("1".to_owned(), 3600), ("2".to_owned(), 3600)].into(),
        entries: [("1".to_owned(), Entries { close_wait, all, max }), ("2".to_owned(), other)].into(),
        errors: Vec::new(),
    };
    let results = checks(&snapshot, &Ok(seen), Some(&kernels));
    let result = results.iter().find(|result| result.id == CheckId::ConntrackEntries).unwrap();
    assert_outcome(&result.outcome, kind, if kind == "good" { "" } else { part });
    if close_wait > 0 {
        assert!(result.description.contains(part), "{result:?}");
    }
}
