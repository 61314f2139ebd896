//! Tests the `audit` command against a simulated API server, which also answers 429, 403 and 410, and closes within a
//! page.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

mod audit {
    mod custom;
    mod reports;
}
#[path = "support/simulated.rs"]
mod simulated;

use std::process::{Command, Output};

use rstest::rstest;
use serde_json::{Value, json};

use self::simulated::{Answers, ApiServer, Fault, kubeconfig};

fn run(server: &ApiServer, args: &[&str]) -> Output {
    let directory = kubeconfig(server.address);
    let kubeconfig = format!("--kubeconfig={}", directory.path().join("config").display());
    Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["audit", &kubeconfig, "--context=test"])
        .args(args)
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env_remove("LINKERD_NAMESPACE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}")).unwrap()
}

fn list(items: &Value) -> (u16, Value) {
    (200, json!({"metadata": {}, "items": items}))
}

/// A Deployment in the meshed namespace `shop` whose server closes idle connections when the probe comes.
fn racing(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-of-{name}")},
        "spec": {"template": {"spec": {"containers": [{
            "name": "cart", "image": "cart:1",
            "command": ["sh", "-c", "exec uvicorn app:app --timeout-keep-alive $KEEP_ALIVE"],
            "env": [{"name": "KEEP_ALIVE", "valueFrom": {"configMapKeyRef": {"name": "cart", "key": "keepAlive"}}}],
            "livenessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 10},
        }]}}},
    })
}

const KINDS: [&str; 8] = [
    "GET /apis/apps/v1/deployments?",
    "GET /apis/apps/v1/statefulsets?",
    "GET /apis/apps/v1/daemonsets?",
    "GET /apis/apps/v1/replicasets?",
    "GET /apis/batch/v1/cronjobs?",
    "GET /apis/batch/v1/jobs?",
    "GET /api/v1/replicationcontrollers?",
    "GET /api/v1/pods?",
];

const DEFINITIONS: &str = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions?";

/// A cluster with one Deployment, whose timeout is in a ConfigMap.
fn cluster() -> Answers {
    let shop = json!({"metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}});
    let mut answers: Answers = KINDS.into_iter().map(|kind| (kind, list(&json!([])))).collect();
    answers.insert("GET /api/v1/namespaces?", list(&json!([shop])));
    let admission = "GET /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    answers.insert(admission, list(&json!([])));
    let admission = "GET /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    answers.insert(admission, list(&json!([])));
    answers.insert(DEFINITIONS, list(&json!([])));
    answers.insert(KINDS[0], list(&json!([racing("cart")])));
    let config_map = json!({"metadata": {"name": "cart", "namespace": "shop"}, "data": {"keepAlive": "10"}});
    answers.insert("GET /api/v1/namespaces/shop/configmaps/cart", (200, config_map));
    answers
}

#[test]
fn the_page_names_the_cluster_and_shows_the_findings() {
    let server = ApiServer::start(cluster());
    let page = stdout(&run(&server, &["-A", "-o", "html"]));
    for part in ["<dt>Context</dt><dd>test</dd>", "Deployment shop/cart", "liveness, every 10s", "<svg "] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
}

#[test]
fn the_config_maps_of_workloads_are_read() {
    let server = ApiServer::start(cluster());
    let output = run(&server, &["-A", "-o", "json"]);
    let report = json(&output);
    let [owner] = report["owners"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!(owner["admission"]["enforce"], "rejected", "{owner:#}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let read = |request: &&String| request.contains("/configmaps/cart ");
    assert_eq!(server.requests().iter().filter(read).count(), 1);
}

#[test]
fn a_try_with_another_policy_and_mode() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, "rules: {probe-matches-idle-timeout: warn}\n").unwrap();
    let server = ApiServer::start(cluster());
    let output = run(&server, &["-A", "--policy", policy.to_str().unwrap(), "--mode", "warn", "-o", "json"]);
    let report = json(&output);
    let owner = &report["owners"][0];
    assert_eq!(
        (&owner["mode"], &owner["admission"]["enforce"]),
        (&json!("warn"), &json!("may be patched, warned"))
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[rstest]
#[case::overloaded(Fault::TooManyRequests)]
#[case::closed_within_the_page(Fault::Closes)]
fn a_page_that_fails_once_is_read_again(#[case] fault: Fault) {
    let server = ApiServer::start_with(cluster(), vec![(KINDS[0], fault)]);
    let output = run(&server, &["-A", "-o", "json"]);
    let report = json(&output);
    assert_eq!(
        (report["owners"].as_array().unwrap().len(), &report["errors"]),
        (1, &json!([])),
        "{report:#}"
    );
}

#[rstest]
#[case::error(vec![], 500, "returned 500: no leader")]
#[case::closed(vec![(KINDS[0], Fault::Closes); 2], 200, "cannot list deployments")]
fn a_kind_that_cannot_be_read_is_told_once_and_the_rest_goes_on(
    #[case] faults: Vec<(&'static str, Fault)>,
    #[case] status: u16,
    #[case] told: &str,
) {
    let mut answers = cluster();
    let mut daemon_set = racing("agent");
    daemon_set["metadata"]["name"] = "agent".into();
    answers.insert(KINDS[2], list(&json!([daemon_set])));
    if status != 200 {
        answers.insert(KINDS[0], (status, json!({"kind": "Status", "message": "no leader", "code": status})));
    }
    let output = run(&ApiServer::start_with(answers, faults), &["-A"]);
    let text = stdout(&output);
    assert!(text.contains("daemonset/agent"), "{text}");
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(errors.matches("cannot list deployments").count(), 1, "{errors}");
    assert!(errors.contains(told), "{errors}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn missing_permissions_are_told_once_for_each_kind() {
    let forbidden = (403, json!({"kind": "Status", "message": "forbidden", "code": 403}));
    let mut answers = cluster();
    answers.insert(KINDS[4], forbidden.clone());
    answers.insert("GET /api/v1/namespaces/shop/configmaps/", forbidden.clone());
    answers.remove("GET /api/v1/namespaces/shop/configmaps/cart");
    answers.insert(KINDS[0], list(&json!([racing("cart"), racing("api")])));
    let output = run(&ApiServer::start(answers), &["-A", "-o", "json"]);
    let report = json(&output);
    let messages: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|error| &error["message"]).collect();
    assert_eq!(
        messages,
        ["no permission to get configmaps in the namespace shop", "no permission to list cronjobs"],
    );
    assert_eq!(report["owners"].as_array().unwrap().len(), 2);
    assert_eq!(report["unknown"][0]["container"], "cart", "{report:#}");
    assert_eq!(output.status.code(), Some(2));
}

#[rstest]
#[case::policy(
    "policy",
    "closeWait: {timeout: 1h}",
    "so the built-in policy was used",
    "pass the policy with --policy"
)]
#[case::facts(
    "facts",
    "version: 1",
    "so the facts of the installation were not used",
    "pass a facts file with --facts"
)]
fn an_installation_that_cannot_be_read_is_told_once(
    #[case] name: &str,
    #[case] text: &str,
    #[case] consequence: &str,
    #[case] help: &str,
) {
    let forbidden = (403, json!({"kind": "Status", "message": "forbidden", "code": 403}));
    let path = format!("GET /api/v1/namespaces/linkerd-linger/configmaps/linkerd-linger-{name}");
    let mut answers = cluster();
    answers.insert(path.leak(), forbidden);
    let output = run(&ApiServer::start(answers.clone()), &["-A", "--fail-on=never", "-o", "json"]);
    let report = json(&output);
    let [error] = report["errors"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("no permission to ") && message.ends_with(consequence), "{message}");
    assert_eq!(error["help"], format!("ask for this permission, or {help}"));
    assert_eq!(output.status.code(), Some(2));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.yaml");
    std::fs::write(&path, text).unwrap();
    let flag = format!("--{name}={}", path.display());
    let output = run(&ApiServer::start(answers), &["-A", "--fail-on=never", "-o", "json", &flag]);
    assert_eq!((&json(&output)["errors"], output.status.code()), (&json!([]), Some(0)));
}

#[rstest]
#[case::one("version: 1\nservers: 3\n", "line 2: ", "found a number")]
#[case::several("servers: 3\nimages: 4\n", "line 1: ", " (and 2 more mistakes)")]
fn facts_of_the_installation_that_cannot_be_parsed_are_told_once(
    #[case] facts: &str,
    #[case] place: &str,
    #[case] end: &str,
) {
    let mut answers = cluster();
    let map = json!({"metadata": {}, "data": {"facts.yaml": facts}});
    answers.insert("GET /api/v1/namespaces/linkerd-linger/configmaps/linkerd-linger-facts", (200, map));
    let output = run(&ApiServer::start(answers.clone()), &["-A", "--fail-on=never", "-o", "json"]);
    let report = json(&output);
    let [error] = report["errors"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    let message = error["message"].as_str().unwrap();
    let start = format!(
        "the facts of the installation were not used: facts.yaml in the ConfigMap linkerd-linger-facts of the \
         namespace linkerd-linger, {place}"
    );
    assert!(message.starts_with(&start) && message.ends_with(end), "{message}");
    assert_eq!(error["help"], "correct the ConfigMap, or pass a facts file with --facts");
    assert_eq!(output.status.code(), Some(2));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("facts.yaml");
    std::fs::write(&file, "version: 1\n").unwrap();
    let flags = ["-A", "--fail-on=never", "-o", "json", "--facts", file.to_str().unwrap()];
    let output = run(&ApiServer::start(answers), &flags);
    assert_eq!((&json(&output)["errors"], output.status.code()), (&json!([]), Some(0)));
}

#[test]
fn only_the_named_namespaces_and_labels_are_read() {
    let mut answers = cluster();
    answers.insert("GET /apis/apps/v1/namespaces/shop/deployments?", list(&json!([racing("cart")])));
    for kind in KINDS {
        answers.remove(kind);
        let (root, plural) = kind.trim_end_matches('?').rsplit_once('/').unwrap();
        let path = format!("{root}/namespaces/shop/{plural}?");
        answers.entry(path.leak()).or_insert_with(|| list(&json!([])));
    }
    let server = ApiServer::start(answers);
    let report = json(&run(&server, &["-n", "shop", "-l", "team=checkout", "-o", "json"]));
    assert_eq!(
        (report["owners"].as_array().unwrap().len(), &report["errors"]),
        (1, &json!([])),
        "{report:#}"
    );
    let requests = server.requests();
    let lists: Vec<_> =
        requests.iter().filter(|request| request.contains("labelSelector=team%3Dcheckout")).collect();
    assert_eq!(lists.len(), KINDS.len(), "{requests:#?}");
}
