//! Tests the `check` command against a minimal simulated API server.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

#[path = "support/simulated.rs"]
mod simulated;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Command, Output},
    sync::Arc,
};

use serde_json::{Value, json};

use self::simulated::{Answers, ApiServer, kubeconfig};

fn run(server: &ApiServer, args: &[&str]) -> Output {
    let directory = kubeconfig(server.address);
    let kubeconfig = format!("--kubeconfig={}", directory.path().join("config").display());
    Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["check", &kubeconfig, "--context=test", "--wait=0s"])
        .args(args)
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env_remove("LINKERD_NAMESPACE")
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}")).unwrap()
}

fn find<'a>(report: &'a Value, category: &str, description: &str) -> &'a Value {
    let categories = report["categories"].as_array().unwrap();
    let category = categories.iter().find(|it| it["categoryName"] == category).unwrap();
    let checks = category["checks"].as_array().unwrap();
    checks.iter().find(|it| it["description"].as_str().unwrap().starts_with(description)).unwrap()
}

fn list(items: &Value) -> (u16, Value) {
    (200, json!({"kind": "List", "metadata": {}, "items": items}))
}

/// An API server without Linkerd and without the extension.
fn empty() -> Answers {
    BTreeMap::from([
        ("GET /version", (200, json!({"major": "1", "minor": "31", "gitVersion": "v1.31.4"}))),
        ("GET /api/v1/namespaces?", list(&json!([{"metadata": {"name": "default"}}]))),
        ("GET /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", list(&json!(null))),
        ("GET /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", list(&json!([]))),
    ])
}

#[test]
fn the_flags_that_linkerd_passes_are_taken() {
    let server = ApiServer::start(empty());
    let output = run(
        &server,
        &[
            "--api-addr=localhost:8085",
            "--as=jane",
            "--as-group=[dev,ops]",
            "--linkerd-namespace=mesh",
            "--verbose=false",
            "--namespace=shop",
            "--proxy=false",
            "--output=json",
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let report = json(&output);
    assert_eq!(report["success"], false);
    let missing_namespace = find(&report, "linkerd-linger", "linkerd-linger Namespace exists");
    assert_eq!(missing_namespace["result"], "error");
    assert!(
        missing_namespace["hint"].as_str().unwrap().ends_with("docs/check.md#namespace"),
        "{missing_namespace}"
    );
    let requests = server.requests();
    let injector = "/apis/apps/v1/namespaces/mesh/deployments/linkerd-proxy-injector";
    assert!(requests.iter().any(|head| head.contains(injector)), "{requests:?}");
    for head in &requests {
        for header in ["impersonate-user: jane", "impersonate-group: dev", "impersonate-group: ops"] {
            assert!(head.contains(header), "{head}");
        }
    }
}

#[test]
fn permissions_that_are_missing_are_named() {
    let mut answers = empty();
    let forbidden =
        (403, json!({"kind": "Status", "message": "namespaces is forbidden: User ...", "code": 403}));
    answers.insert("GET /api/v1/namespaces?", forbidden);
    let report = json(&run(&ApiServer::start(answers), &["-o", "json"]));
    let namespace = find(&report, "linkerd-linger", "linkerd-linger Namespace exists");
    assert_eq!(namespace["result"], "warning");
    assert_eq!(namespace["error"], "not checked: no permission to list namespaces");
}

#[test]
fn an_empty_cluster_passes_pre() {
    let mut answers = empty();
    let allowed = (201, json!({"spec": {}, "status": {"allowed": true}}));
    answers.insert("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", allowed);
    let output = run(&ApiServer::start(answers), &["--pre"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("kubernetes-api\n--------------\n\u{221a} can initialize the client\n"),
        "{text}"
    );
    assert!(text.contains("\u{221a} can create MutatingWebhookConfigurations\n"), "{text}");
    assert!(text.ends_with("\n\nStatus check results are \u{221a}\n"), "{text}");
}

#[test]
fn pods_come_page_by_page() {
    let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"containers": [{"name": "linkerd-proxy"}]}});
    let mut answers = empty();
    answers.insert("GET /api/v1/namespaces?", list(&json!([{"metadata": {"name": "shop"}}])));
    let first = json!({"metadata": {"continue": "next"}, "items": [pod("a"), pod("b")]});
    answers.insert("GET /api/v1/namespaces/shop/pods?", (200, first));
    let second = json!({"metadata": {"continue": ""}, "items": [pod("c")]});
    let page = "GET /api/v1/namespaces/shop/pods?&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed\
                &labelSelector=linkerd.io%2Fcontrol-plane-ns&limit=500&continue=next";
    answers.insert(page, (200, second));
    let server = ApiServer::start(answers);
    let report = json(&run(&server, &["--proxy", "-n", "shop", "-o", "json"]));
    let values = find(
        &report,
        "linkerd-linger-data-plane",
        "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods",
    );
    let expected = "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods in shop: the kernel's default in pod/a (1 pod), pod/b (1 pod), pod/c (1 pod)";
    assert_eq!(values["description"], expected, "{:?}", server.requests());
}

#[test]
fn a_list_goes_on_where_the_api_server_says_when_its_token_has_expired() {
    let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"containers": [{"name": "linkerd-proxy"}]}});
    let page = |token: &str| {
        format!(
            "GET /api/v1/pods?&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed\
             &labelSelector=linkerd.io%2Fcontrol-plane-ns&limit=500&continue={token}"
        )
    };
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old",
                      "metadata": {"continue": "fresh"}});
    let (old, fresh) = (page("old"), page("fresh"));
    let mut answers = empty();
    answers.insert("GET /api/v1/pods?", (200, json!({"metadata": {"continue": "old"}, "items": [pod("a")]})));
    answers.insert(old.leak(), (410, gone));
    answers.insert(fresh.leak(), (200, json!({"metadata": {}, "items": [pod("b")]})));
    let report = json(&run(&ApiServer::start(answers), &["--proxy", "-o", "json"]));
    let values = find(
        &report,
        "linkerd-linger-data-plane",
        "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods",
    );
    let expected = "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods in shop: the kernel's default in pod/a (1 pod), pod/b (1 pod)";
    assert_eq!(values["description"], expected);
}

/// A namespace that is opted in, and webhook configurations that cover it.
fn opted_in() -> Answers {
    let entry = |webhook: &str| {
        json!({
            "name": format!("enforce.{webhook}.linkerd-linger.io"), "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "reinvocationPolicy": "IfNeeded",
            "clientConfig": {"url": format!("https://linger.example.com:8443/{webhook}/enforce")},
            "namespaceSelector": {"matchLabels": {"linkerd-linger.io/mode": "enforce"}},
        })
    };
    let configuration = |webhook: &str| {
        list(&json!([{"metadata": {"name": "zz-linkerd-linger"}, "webhooks": [entry(webhook)]}]))
    };
    let mut answers = empty();
    let shop = json!({"metadata": {"name": "shop", "labels": {"linkerd-linger.io/mode": "enforce"}}});
    answers.insert("GET /api/v1/namespaces?", list(&json!([shop])));
    let path = "GET /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    answers.insert(path, configuration("mutate"));
    let path = "GET /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    answers.insert(path, configuration("validate"));
    answers
}

#[test]
fn pods_are_created_for_show_only() {
    let mut answers = opted_in();
    let message =
        "admission webhook \"enforce.validate.linkerd-linger.io\" denied the request: linkerd-linger: no";
    let denied = (403, json!({"kind": "Status", "code": 403, "message": message}));
    answers.insert("POST /api/v1/namespaces/shop/pods", denied);
    let server = ApiServer::start(answers);
    let report = json(&run(&server, &["-o", "json"]));
    let rejection = find(&report, "linkerd-linger-dry-run", "a pod is rejected");
    assert_eq!(rejection["result"], "success", "{rejection}");
    let patched = find(&report, "linkerd-linger-dry-run", "a pod is patched");
    assert!(patched["error"].as_str().unwrap().contains("denied the request"), "{patched}");
    let requests = server.requests();
    let writes: Vec<_> = requests.iter().filter(|head| !head.starts_with("GET ")).collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(
        writes.iter().all(|head| head.contains("/api/v1/namespaces/shop/pods?&dryRun=All ")),
        "{writes:?}"
    );
}

#[test]
fn a_failed_run_of_the_reports_is_told_with_its_reason() {
    let ours = json!({"metadata": {"name": "linkerd-linger", "labels": {"linkerd.io/extension": "linger"}}});
    let batch = "/apis/batch/v1/namespaces/linkerd-linger";
    let (cron_job, jobs) =
        (format!("GET {batch}/cronjobs/linkerd-linger-reports"), format!("GET {batch}/jobs?"));
    let owned = |name: &str, owner: &str| {
        json!({"name": name, "uid": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Owner", "name": owner, "uid": owner},
        ]})
    };
    let schedule = json!({"schedule": "41 * * * *", "jobTemplate": {}});
    let failed = json!({"type": "Failed", "status": "True", "message": "no retries"});
    let log = json!({"exitCode": 2, "message": "error: cannot list pods"});
    let container = json!({"name": "audit", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                           "state": {"terminated": log}});
    let mut answers = empty();
    answers.insert("GET /api/v1/namespaces?", list(&json!([ours])));
    answers.insert(cron_job.leak(), (200, json!({"metadata": {"uid": "c"}, "spec": schedule})));
    let run = json!({"metadata": owned("run-1", "c"), "status": {"conditions": [failed]}});
    answers.insert(jobs.leak(), list(&json!([run])));
    let pod = json!({"metadata": owned("run-1-x", "run-1"), "status": {"containerStatuses": [container]}});
    answers.insert("GET /api/v1/namespaces/linkerd-linger/pods?", list(&json!([pod])));
    let report = json(&self::run(&ApiServer::start(answers), &["-o", "json"]));
    let apis = find(&report, "linkerd-linger-reports", "the cluster has an API for reports");
    assert!(apis["error"].as_str().unwrap().contains("neither the CRD reports.openreports.io nor"), "{apis}");
    let runs = find(&report, "linkerd-linger-reports", "reports are written");
    let why = "the last run, Job run-1, failed: exit code 2, error: cannot list pods; it never succeeded.";
    assert!(runs["error"].as_str().unwrap().starts_with(why), "{runs}");
    assert!(runs["hint"].as_str().unwrap().ends_with("docs/check.md#report-runs"), "{runs}");
}

#[test]
fn missing_permission_to_create_pods_is_reported() {
    let mut answers = opted_in();
    let message = "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"shop\"";
    let denied = (403, json!({"kind": "Status", "code": 403, "message": message}));
    answers.insert("POST /api/v1/namespaces/shop/pods", denied);
    let report = json(&run(&ApiServer::start(answers), &["-o", "json"]));
    let patched = find(&report, "linkerd-linger-dry-run", "a pod is patched");
    assert_eq!(patched["result"], "warning");
    let expected = "not checked: no permission to create pods in the namespace shop in a dry run";
    assert_eq!(patched["error"], expected);
}

#[test]
fn a_server_that_is_not_there_is_a_result() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = ApiServer { address, requests: Arc::default() };
    let output = run(&server, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    let query = find(&report, "kubernetes-api", "can query the Kubernetes API");
    assert!(query["error"].as_str().unwrap().contains("Connection refused"), "{query}");
}

#[test]
fn a_kubeconfig_that_is_not_there_is_a_result() {
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["check", "--kubeconfig", "/nowhere/config", "-o", "short"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\u{d7} can initialize the client\n    cannot use the kubeconfig: "), "{text}");
    assert!(text.contains("/nowhere/config"), "{text}");
}

#[test]
fn linkerd_learns_that_the_label_decides() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_linkerd-linger")).arg("_extension-metadata").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&output), json!({"name": "linkerd-linger", "checks": "cluster"}));
}
