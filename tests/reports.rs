//! `audit --write-reports --events` with the rights of `install --reports`, at a real API server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod support;

use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use linkerd_linger::{
    base::names,
    cluster::{
        audit::ReportApi,
        install::{Options, Reports, manifests},
    },
};
use serde_json::{Value, json};

use self::{
    cluster::{
        Cluster,
        pods::{GUNICORN, deployment, template},
    },
    support::eventually,
};

const NAMESPACE: &str = "checkout";
const REPORT: &str = "linkerd-linger-deployment-cart";
/// The garbage collector looks for new kinds every 30 s.
const COLLECTED: &str = "--timeout=120s";

/// The published CRD.
fn crd(api: ReportApi) -> &'static str {
    match api {
        ReportApi::OpenReports => include_str!("fixtures/crds/reports.openreports.io.yaml"),
        ReportApi::PolicyReports => include_str!("fixtures/crds/policyreports.wgpolicyk8s.io.yaml"),
    }
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

/// What `check` reports about the API for reports, and about the runs of the CronJob.
fn check(cluster: &Cluster) -> (Value, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["check", "--output=json", "--wait=0s"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let categories = report["categories"].as_array().unwrap();
    let found = categories.iter().find(|category| category["categoryName"] == "linkerd-linger-reports");
    let checks = &found.unwrap_or_else(|| panic!("{report:#}"))["checks"];
    (checks[0]["result"].clone(), checks[1].clone())
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
    cluster.kubectl_with(&["apply", "-f", "-"], crd(api)).await.ok();
    let resource = format!("{}.{}", api.resource(), api.group());
    let established = format!("crd/{resource}");
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &established]).await.ok();
    // The API server serves a new API a moment later.
    eventually("check sees the API", async || check(cluster).0 == json!("success")).await;
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

    let (apis, runs) = check(&cluster);
    assert_eq!((apis, &runs["result"]), (json!("error"), &json!("success")), "{runs:#}");
    let (code, told) = audit(&cluster, &args);
    assert!(told.contains("the cluster has no API for reports"), "{told}");
    if cluster.has_controllers() {
        a_run_fails(&cluster, &told).await;
    }
    assert_eq!(code, Some(2));

    lives_through_its_life(&cluster, ReportApi::PolicyReports, &args).await;
    lives_through_its_life(&cluster, ReportApi::OpenReports, &args).await;

    let ours = events(&cluster).await;
    let told: Vec<_> = ours
        .iter()
        .map(|event| (event["regarding"]["name"].as_str().unwrap(), event["reason"].as_str().unwrap()))
        .collect();
    // One for each of the two Deployments: the second one has another uid.
    assert_eq!(told, [("cart", "PodsWouldBeRejected"); 2], "{ours:#?}");
    an_event_counts_repetitions(&cluster, &args).await;
}

/// The Events that we wrote.
async fn events(cluster: &Cluster) -> Vec<Value> {
    let get = ["get", "events.events.k8s.io", "-n", NAMESPACE, "-o", "json"];
    let events = cluster.kubectl(&get).await.ok().json();
    let mut events = events["items"].as_array().unwrap().clone();
    events.retain(|event| event["reportingController"] == "linkerd-linger.io/audit");
    events
}

/// A run whose container ends with the error of the audit. There is no node, so the test writes what the kubelet would.
async fn a_run_fails(cluster: &Cluster, error: &str) {
    let from = format!("--from=cronjob/{}", names::REPORTS);
    let kubectl = async |args: &[&str]| {
        cluster.kubectl(&[&["-n", names::NAMESPACE], args].concat()).await.ok();
    };
    kubectl(&["create", "job", "reports-now", &from]).await;
    let pods = ["get", "pods", "-n", names::NAMESPACE, "-l", "job-name=reports-now", "-o", "name"];
    let mut pod = String::new();
    eventually("the run has a pod", async || {
        pod = cluster.kubectl(&pods).await.ok().stdout.trim().to_owned();
        !pod.is_empty()
    })
    .await;
    let ended = json!({
        "name": "audit", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 2, "reason": "Error", "message": error}},
    });
    let status = json!({"status": {"phase": "Failed", "containerStatuses": [ended]}}).to_string();
    kubectl(&["patch", &pod, "--subresource=status", "--type=merge", "-p", &status]).await;
    kubectl(&["wait", "--for=condition=Failed", "--timeout=60s", "job/reports-now"]).await;
    let runs = check(cluster).1;
    let why = runs["error"].as_str().unwrap_or_else(|| panic!("{runs:#}"));
    let expected =
        "the last run, Job reports-now, failed: exit code 2, error: --write-reports: the cluster has no API";
    assert!(why.starts_with(expected), "{why}");
}

/// An Event whose last occurrence was an hour ago is counted again, and its series is what the API server stores.
async fn an_event_counts_repetitions(cluster: &Cluster, args: &[&str]) {
    cart(cluster, 10).await;
    let get = ["get", "deployment", "cart", "-n", NAMESPACE, "-o", "json"];
    let uid = cluster.kubectl(&get).await.ok().json()["metadata"]["uid"].take();
    audit(cluster, args);
    // The Deployments of the same name before this one have Events too, in an order that depends on the uids.
    let mut about_it = events(cluster).await;
    about_it.retain(|event| event["regarding"]["uid"] == uid);
    assert_eq!(about_it.len(), 1, "{about_it:#?}");
    let mut event = about_it.remove(0);
    assert_eq!(event["series"], Value::Null, "{event:#}");
    let name = event["metadata"]["name"].as_str().unwrap().to_owned();
    let hour_ago = || format!("{:.6}", Timestamp::now() - SignedDuration::from_hours(1));
    // The time of an Event cannot be changed, so the test writes another one with the same name.
    let (name, stored) = (&*name, ["get", "events.events.k8s.io", "-n", NAMESPACE, "-o", "json"]);
    let delete = ["delete", "events.events.k8s.io", "-n", NAMESPACE, name];
    cluster.kubectl(&delete).await.ok();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        event["metadata"].as_object_mut().unwrap().remove(field);
    }
    event["eventTime"] = hour_ago().into();
    cluster.kubectl_with(&["create", "-f", "-"], &event.to_string()).await.ok();
    let series =
        async || cluster.kubectl(&[&stored[..], &[name]].concat()).await.ok().json()["series"].take();

    audit(cluster, args);
    assert_eq!(series().await["count"], 2);
    audit(cluster, args);
    assert_eq!(series().await["count"], 2, "the last occurrence was just now");
    let older = json!({"series": {"count": 2, "lastObservedTime": hour_ago()}}).to_string();
    cluster
        .kubectl(&["patch", "events.events.k8s.io", name, "-n", NAMESPACE, "--type=merge", "-p", &older])
        .await
        .ok();
    audit(cluster, args);
    let counted = series().await;
    assert_eq!(counted["count"], 3);
    let last: Timestamp = counted["lastObservedTime"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(last) < SignedDuration::from_mins(5), "{counted}");
}
