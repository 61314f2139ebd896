//! `audit --write-reports --events` with the rights of `install --reports`, at a real API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod support;

use std::process::Command;

use linkerd_linger::{
    base::names,
    cluster::{
        audit::ReportApi,
        install::{Options, Reports, manifests},
    },
};
use serde_json::{Value, json};

use self::cluster::{
    Cluster,
    pods::{GUNICORN, deployment, template},
};

const NAMESPACE: &str = "checkout";
const REPORT: &str = "linkerd-linger-deployment-cart";
/// The garbage collector looks for new kinds every 30 s.
const COLLECTED: &str = "--timeout=120s";

/// A CRD with the fields that both published ones have, their types and their enumerations. The API server drops others.
fn crd(api: ReportApi) -> Value {
    let (text, number, flag) =
        (json!({"type": "string"}), json!({"type": "integer"}), json!({"type": "boolean"}));
    let map = json!({"type": "object", "additionalProperties": text});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let result = json!({
        "type": "object",
        "required": ["policy"],
        "properties": {
            "source": text, "policy": text, "rule": text, "category": text, "message": text,
            "severity": {"type": "string", "enum": ["high", "low", "medium"]},
            "result": {"type": "string", "enum": ["pass", "fail", "warn", "error", "skip"]},
            "scored": flag,
            "properties": map,
            "timestamp": {
                "type": "object",
                "required": ["nanos", "seconds"],
                "properties": {
                    "nanos": {"type": "integer", "format": "int32"},
                    "seconds": {"type": "integer", "format": "int64"},
                },
            },
        },
    });
    let schema = object(json!({
        "scope": object(json!({"apiVersion": text, "kind": text, "name": text, "namespace": text, "uid": text})),
        "summary": object(json!({"pass": number, "fail": number, "warn": number, "error": number, "skip": number})),
        "results": {"type": "array", "items": result},
    }));
    let version = api.api_version().split_once('/').unwrap().1;
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", api.resource(), api.group())},
        "spec": {
            "group": api.group(),
            "scope": "Namespaced",
            "names": {"kind": api.kind(), "plural": api.resource()},
            "versions": [{
                "name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

/// Runs the audit as the CronJob does, with the rights of its ServiceAccount; returns the exit code and stderr.
fn audit(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
    let account = format!("system:serviceaccount:{}:{}", names::NAMESPACE, names::REPORTS);
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(args)
        .args(["--as", &account])
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap().trim().to_owned())
}

async fn apply(cluster: &Cluster, object: &Value) {
    cluster.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.ok();
}

async fn cart(cluster: &Cluster, period: u32) {
    let mut object = deployment(&template(GUNICORN, period));
    object["metadata"]["namespace"] = NAMESPACE.into();
    object["spec"]["replicas"] = 0.into();
    apply(cluster, &object).await;
}

async fn lives_through_its_life(cluster: &Cluster, api: ReportApi, args: &[&str]) {
    let crd = crd(api);
    apply(cluster, &crd).await;
    let resource = crd["metadata"]["name"].as_str().unwrap();
    let established = format!("crd/{resource}");
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &established]).await.ok();
    cart(cluster, 10).await;

    let name = format!("{resource}/{REPORT}");
    let get = ["get", "-n", NAMESPACE, &*name, "-o", "json"];
    let told = audit(cluster, args);
    assert_eq!(told.0, Some(0), "{}", told.1);
    assert!(told.1.starts_with("reports: 1 written, 0 unchanged"), "{}", told.1);
    let report = cluster.kubectl(&get).await.ok().json();
    assert_eq!(report["summary"]["fail"], 1, "{report:#}");
    assert_eq!(report["results"][0]["rule"], "probe-matches-idle-timeout", "{report:#}");

    let again = audit(cluster, args);
    assert!(again.1.starts_with("reports: 0 written, 1 unchanged"), "{}", again.1);
    let unchanged = cluster.kubectl(&get).await.ok().json();
    assert_eq!(unchanged["metadata"]["resourceVersion"], report["metadata"]["resourceVersion"]);

    cart(cluster, 3).await;
    let fixed = audit(cluster, args);
    assert!(fixed.1.starts_with("reports: 0 written, 0 unchanged, 1 deleted"), "{}", fixed.1);
    assert!(!cluster.kubectl(&get).await.success);

    cart(cluster, 10).await;
    audit(cluster, args);
    cluster.kubectl(&get).await.ok();
    cluster.kubectl(&["delete", "deployment", "cart", "-n", NAMESPACE]).await.ok();
    if cluster.has_controllers() {
        cluster.kubectl(&["wait", "--for=delete", "-n", NAMESPACE, &name, COLLECTED]).await.ok();
    }
}

#[tokio::test]
async fn reports_and_events_are_written_with_the_rights_of_the_cron_job() {
    let cluster = match tokio::task::spawn_blocking(Cluster::start).await.unwrap() {
        Ok(cluster) => cluster,
        Err(why) => return why.tell(),
    };
    let reports = Some(Reports { events: true, ..Reports::default() });
    let ours = |object: &Value| object["kind"] == "Namespace" || object["metadata"]["name"] == names::REPORTS;
    let mut args = Vec::new();
    for object in manifests(&Options { reports, ..Options::default() }).into_iter().filter(ours) {
        let container = object.pointer("/spec/jobTemplate/spec/template/spec/containers/0/args");
        args.extend(container.and_then(Value::as_array).into_iter().flatten().cloned());
        apply(&cluster, &object).await;
    }
    let args: Vec<_> = args.iter().map(|word| word.as_str().unwrap()).collect();
    let meshed = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "annotations": {"linkerd.io/inject": "enabled"}},
    });
    apply(&cluster, &meshed).await;

    let (code, told) = audit(&cluster, &args);
    assert!(told.contains("the cluster has no API for reports"), "{told}");
    assert_eq!(code, Some(2));

    lives_through_its_life(&cluster, ReportApi::PolicyReports, &args).await;
    lives_through_its_life(&cluster, ReportApi::OpenReports, &args).await;

    let events =
        cluster.kubectl(&["get", "events.events.k8s.io", "-n", NAMESPACE, "-o", "json"]).await.ok().json();
    let ours: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["reportingController"] == "linkerd-linger.io/audit")
        .map(|event| (event["regarding"]["name"].as_str().unwrap(), event["reason"].as_str().unwrap()))
        .collect();
    // One for each of the two Deployments: the second one has another uid.
    assert_eq!(ours, [("cart", "PodsWouldBeRejected"); 2], "{events:#}");
}
