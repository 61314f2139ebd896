//! Tests reviews through the router: recorded ones of a real API server, and the rules of the protocol.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/oracles.rs"]
mod oracles;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use linkerd_linger::{
    admission::{
        metrics::Metrics,
        serve::{self, State},
    },
    cluster::apiserver::{self, Admission},
    judgement::policy::Policy,
    review::{self, Endpoint, Mode, WebhookKind},
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews");

/// A webhook without a socket.
struct Hook(Arc<State>);

impl Hook {
    fn with(policy: &str) -> Self {
        Self::of(Policy::parse(policy).unwrap())
    }

    /// One that may add its own init container.
    fn with_image(policy: &str) -> Self {
        let mut policy = Policy::parse(policy).unwrap();
        policy.close_wait.init_image = Some("registry.example.com/linkerd-linger:1.0.0".to_owned());
        Self::of(policy)
    }

    fn of(policy: Policy) -> Self {
        let (metrics, stopping) = (Arc::new(Metrics::new()), CancellationToken::new());
        Self(Arc::new(State::new(policy, metrics, review::review, Duration::from_secs(10), stopping)))
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
        let response = serve::router(Arc::clone(&self.0)).oneshot(request).await.unwrap();
        (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    }

    /// Posts a review, and takes the answer as the API server would.
    async fn admit(&self, webhook: WebhookKind, mode: Mode, review: &Value) -> Admission {
        self.enter(Endpoint::new(webhook, mode), review).await
    }

    async fn enter(&self, endpoint: Endpoint, review: &Value) -> Admission {
        let (status, body) = self.post(&format!("{}?timeout=5s", endpoint.path()), review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        oracles::response(endpoint, review, &body)
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn recorded(name: &str) -> Value {
    read(&Path::new(RECORDED).join(name))
}

/// Every recorded review, by its path below the fixtures.
fn all_recorded() -> Vec<(String, PathBuf)> {
    let mut all: Vec<_> = walkdir::WalkDir::new(RECORDED)
        .into_iter()
        .map(|endpoint| endpoint.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.strip_prefix(RECORDED).unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    all.sort();
    assert!(all.len() > 90, "the recorded reviews are there");
    all
}

fn door_of(name: &str) -> WebhookKind {
    if name.ends_with(".validate.json") { WebhookKind::Validating } else { WebhookKind::Mutating }
}

/// The answer in a line or a few.
fn told(admission: &Admission) -> String {
    let mut text = String::new();
    for (key, value) in &admission.audit {
        write!(text, " {key}={value}").unwrap();
    }
    for operation in &admission.patch.0 {
        let operation = serde_json::to_value(operation).unwrap();
        let (op, path) = (operation["op"].as_str().unwrap(), operation["path"].as_str().unwrap());
        let value = operation.get("value").map(|value| format!(" {value}")).unwrap_or_default();
        write!(text, "\n  {op} {path}{value}").unwrap();
    }
    for warning in &admission.warnings {
        write!(text, "\n  warning: {warning}").unwrap();
    }
    if !admission.allowed {
        write!(text, "\n  denied: {}", admission.message).unwrap();
    }
    text
}

#[tokio::test]
async fn every_recorded_review_is_answered_as_its_line_needs() {
    let hook = Hook::with("");
    for mode in [Mode::Enforce, Mode::Warn] {
        let mut told_all = String::new();
        for (name, path) in all_recorded() {
            let review = read(&path);
            let admission = hook.admit(door_of(&name), mode, &review).await;
            writeln!(told_all, "{name}:{}", told(&admission)).unwrap();
        }
        insta::assert_snapshot!(format!("recorded_{}", mode.as_str()), told_all);
    }
}

/// Like the recorded ones of Linkerd 2.20, where it was told to set the timeout and to run as root, and crash-loops.
fn crash_looping(mut review: Value) -> Value {
    let inits = review["request"]["object"]["spec"]["initContainers"].as_array_mut().unwrap();
    let init = inits.iter_mut().find(|init| init["name"] == "linkerd-init").unwrap();
    init["args"].as_array_mut().unwrap().extend([json!("--timeout-close-wait-secs"), json!("3600")]);
    let context = init["securityContext"].as_object_mut().unwrap();
    for (field, value) in [
        ("privileged", json!(true)),
        ("allowPrivilegeEscalation", json!(true)),
        ("runAsNonRoot", json!(false)),
    ] {
        context.insert(field.to_owned(), value);
    }
    context.insert("runAsUser".to_owned(), json!(0));
    context.insert("runAsGroup".to_owned(), json!(0));
    review
}

/// The recorded reviews of pods whose linkerd-init cannot set the timeout, and those of pods that have none.
fn without_a_linkerd_that_can() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, path) in all_recorded() {
        let review = read(&path);
        let spec = &review["request"]["object"]["spec"];
        let find = |list: &str, name: &str| {
            spec[list].as_array().into_iter().flatten().find(|container| container["name"] == name).cloned()
        };
        let meshed =
            ["containers", "initContainers"].iter().any(|list| find(list, "linkerd-proxy").is_some());
        let init = find("initContainers", "linkerd-init");
        let combined = init.as_ref().is_some_and(|init| init["command"].is_array());
        if door_of(&name) == WebhookKind::Mutating && meshed && (combined || init.is_none()) {
            if combined {
                all.push((format!("{name}, crash-looping"), crash_looping(review.clone())));
            }
            all.push((name, review));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

#[tokio::test]
async fn with_an_image_every_pod_gets_its_timeout() {
    let hook = Hook::with_image("closeWait: {cni: true}\n");
    let mut told_all = String::new();
    let reviews = without_a_linkerd_that_can();
    let of_2_20 = reviews.iter().filter(|(name, _)| name.contains("version-2.20")).count();
    assert!(
        of_2_20 > 30 && reviews.len() > of_2_20,
        "2.20 and CNI are there: {of_2_20} of {}",
        reviews.len()
    );
    for (name, mut review) in reviews {
        let admission = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        writeln!(told_all, "{name}:{}", told(&admission)).unwrap();
        let patched = apiserver::patched(&review["request"]["object"], &admission.patch).unwrap();
        assert_eq!(patched["spec"]["initContainers"][0]["name"], "linger-close-wait", "{name}");
        review["request"]["object"] = patched;
        let again = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        assert!(again.patch.0.is_empty(), "{name} is patched twice");
        let last = hook.admit(WebhookKind::Validating, Mode::Warn, &review).await;
        assert!(!told(&last).contains("close-wait"), "{name}: {}", told(&last));
    }
    insta::assert_snapshot!("recorded_init_image", told_all);
}

#[tokio::test]
async fn unprivileged_namespaces_get_a_warning_and_no_patch() {
    let hook = Hook::with_image("closeWait: {cni: true}\n");
    let expected = "linkerd-linger: the namespace forbids the privileged container that sets the close-wait timeout: the kernel's 60s remain";
    for (name, review) in without_a_linkerd_that_can() {
        for webhook in WebhookKind::ALL {
            let admission = hook.enter(Endpoint::unprivileged(webhook, Mode::Warn), &review).await;
            assert!(admission.patch.0.is_empty(), "{name}");
            assert!(admission.warnings.iter().any(|told| told == expected), "{name}: {}", told(&admission));
        }
    }
}

#[tokio::test]
async fn without_an_image_the_warning_says_so_to_its_end() {
    for (name, review) in without_a_linkerd_that_can() {
        let hook = Hook::with("closeWait: {cni: true}\n");
        let admission = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        let ends = |warning: &String| warning.ends_with(", and the webhook has no --init-image");
        assert!(
            admission.patch.0.is_empty() && admission.warnings.iter().any(ends),
            "{name}: {}",
            told(&admission)
        );
        let hook = Hook::with_image("closeWait: {via: proxy-init}\n");
        let admission = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        let ends = |warning: &String| warning.ends_with(", and closeWait.via allows nothing else");
        assert!(
            admission.patch.0.is_empty() && admission.warnings.iter().any(ends),
            "{name}: {}",
            told(&admission)
        );
    }
}

#[tokio::test]
async fn audit_changes_nothing_and_tells_all() {
    let (hook, mut would) = (Hook::with(""), 0);
    for (name, path) in all_recorded() {
        let review = read(&path);
        let audited = hook.admit(door_of(&name), Mode::Audit, &review).await;
        assert!(audited.allowed && audited.patch.0.is_empty() && audited.warnings.is_empty(), "{name}");
        let enforced = hook.admit(door_of(&name), Mode::Enforce, &review).await;
        let find = |admission: &Admission, key| {
            admission.audit.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
        };
        assert_eq!(find(&audited, "findings"), find(&enforced, "findings"), "{name}");
        let outcome = find(&audited, "outcome").unwrap_or_default();
        if !enforced.allowed {
            assert_eq!(outcome, "would_reject", "{name}");
            would += 1;
        } else if !enforced.patch.0.is_empty() {
            assert_eq!(outcome, "would_patch", "{name}");
            would += 1;
        } else if !enforced.warnings.is_empty() {
            assert_eq!(outcome, "would_warn", "{name}");
            would += 1;
        }
    }
    assert!(would > 40, "most of the recorded pods have something to be done, {would} had");
}

#[tokio::test]
async fn every_patch_applies_helps_and_is_not_made_twice() {
    let (hook, mut patched) = (Hook::with(""), 0);
    for (name, path) in all_recorded() {
        let mut review = read(&path);
        if door_of(&name) == WebhookKind::Validating {
            continue;
        }
        let admission = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        if admission.patch.0.is_empty() {
            continue;
        }
        patched += 1;
        review["request"]["object"] =
            apiserver::patched(&review["request"]["object"], &admission.patch).unwrap();
        let again = hook.admit(WebhookKind::Mutating, Mode::Warn, &review).await;
        assert!(again.patch.0.is_empty(), "{name} is patched twice");
        let last = hook.admit(WebhookKind::Validating, Mode::Warn, &review).await;
        assert!(!told(&last).contains("close-wait"), "{name}: {}", told(&last));
    }
    assert!(patched > 40, "most of the recorded pods are patched, {patched} were");
}

#[rstest]
#[case::not_json("hello", "the request body is not an AdmissionReview")]
#[case::not_an_object("[]", "the request body is not an AdmissionReview")]
#[case::another_kind(r#"{"apiVersion":"v1","kind":"Pod"}"#, "but \"Pod\" of \"v1\"")]
#[case::an_old_version(r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, "v1beta1")]
#[case::no_request(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
    "no request with a uid"
)]
#[case::no_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"kind":{}}}"#,
    "no request with a uid"
)]
#[tokio::test]
async fn invalid_reviews_are_errors(#[case] body: &'static str, #[case] reason: &str) {
    let (status, body) = Hook::with("").post("/mutate/enforce", body).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains(reason), "{body}");
}

fn cart() -> Value {
    recorded("real-injector/edge-24.11.8/cart-gunicorn.json")
}

#[rstest]
#[case::service("/request/kind/kind", json!("Service"))]
#[case::another_group("/request/kind/group", json!("example.com"))]
#[case::deletion("/request/operation", json!("DELETE"))]
#[case::connection("/request/operation", json!("CONNECT"))]
#[case::subresource("/request/subResource", json!("ephemeralcontainers"))]
#[case::no_object("/request/object", Value::Null)]
#[case::mirror_pod("/request/object/metadata/annotations", json!({"kubernetes.io/config.mirror": "x"}))]
#[tokio::test]
async fn other_objects_are_admitted_without_warnings(#[case] pointer: &str, #[case] value: Value) {
    let mut review = cart();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    review.pointer_mut(parent).unwrap()[key] = value;
    for webhook in WebhookKind::ALL {
        let admission = Hook::with("").admit(webhook, Mode::Enforce, &review).await;
        assert!(admission.allowed);
        assert_eq!(told(&admission), "");
    }
}

/// A review of a custom resource whose pod template has a server that closes connections when a probe comes.
fn custom(group: &str, kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "7d2f0b62-5b5e-4a55-8f0e-3f7f4d1d9a10",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": "things"},
            "operation": "CREATE",
            "namespace": "shop",
            "name": "cart",
            "object": {
                "apiVersion": format!("{group}/v1"),
                "kind": kind,
                "metadata": {"name": "cart", "namespace": "shop"},
                "spec": spec,
            },
            "oldObject": null,
        },
    })
}

fn racing_template() -> Value {
    json!({
        "metadata": {"annotations": {
            "linkerd.io/inject": "enabled",
            "config.linkerd.io/proxy-additional-env":
                "[{\"name\":\"LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT\",\"value\":\"90s\"}]",
        }},
        "spec": {"containers": [{
            "name": "web",
            "image": "example.com/cart:1",
            "command": ["uvicorn", "cart:app"],
            "ports": [{"containerPort": 8000}],
            "livenessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 5},
        }]},
    })
}

#[rstest]
#[case::rollout("argoproj.io", "Rollout", json!({"template": racing_template()}), "rejected")]
#[case::jobs("jobset.x-k8s.io", "JobSet",
    json!({"replicatedJobs": [{"name": "a", "template": {"spec": {"template": racing_template()}}}]}), "rejected")]
#[case::controller_is_not_known("ray.io", "RayCluster",
    json!({"headGroupSpec": {"template": racing_template()}}), "warned")]
#[case::knative("serving.knative.dev", "Service", json!({"template": racing_template()}), "admitted")]
#[case::workload_ref("argoproj.io", "Rollout", json!({"workloadRef": {"kind": "Deployment", "name": "cart"}}), "")]
#[case::no_template("kafka.strimzi.io", "Kafka", json!({"kafka": {"replicas": 3}}), "")]
#[case::spec_of_another_type("example.com", "Text", json!("template"), "")]
#[case::fields_of_other_types("example.com", "Form", json!({"template": 3, "containers": "web"}), "")]
#[case::template_that_is_none("example.com", "Page",
    json!({"template": {"spec": {"containers": [{"image": "cover.png", "ports": "none"}]}}}), "")]
#[tokio::test]
async fn custom_resources_are_judged_by_their_pod_templates(
    #[case] group: &str,
    #[case] kind: &str,
    #[case] spec: Value,
    #[case] expected: &str,
) {
    let review = custom(group, kind, spec);
    let hook = Hook::with("reject: likely\n");
    let admission = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    let outcome = admission.audit.iter().find(|(key, _)| key == "outcome").map_or("", |(_, value)| value);
    assert_eq!(outcome, expected, "{}", told(&admission));
    assert_eq!(admission.allowed, expected != "rejected");
    assert_eq!(admission.warnings.is_empty(), expected != "warned", "{}", told(&admission));
    let mutating = hook.admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    assert_eq!((mutating.allowed, told(&mutating)), (true, String::new()));
}

#[tokio::test]
async fn each_of_several_pod_templates_is_named() {
    let groups = json!([{"groupName": "small", "template": racing_template()},
                        {"groupName": "large", "template": racing_template()}]);
    let review = custom("ray.io", "RayCluster", json!({"workerGroupSpecs": groups}));
    let admission = Hook::with("").admit(WebhookKind::Validating, Mode::Warn, &review).await;
    for template in
        ["spec.workerGroupSpecs[small].template: web: ", "spec.workerGroupSpecs[large].template: web: "]
    {
        let named = format!("linkerd-linger: {template}");
        assert!(admission.warnings.iter().any(|warning| warning.starts_with(&named)), "{}", told(&admission));
    }
}

#[tokio::test]
async fn an_update_of_a_custom_resource_is_judged_only_where_a_template_changes() {
    let hook = Hook::with("");
    let mut review = custom("argoproj.io", "Rollout", json!({"replicas": 2, "template": racing_template()}));
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = review["request"]["object"].clone();
    review["request"]["object"]["spec"]["replicas"] = json!(0);
    let scaled = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    assert_eq!((scaled.allowed, told(&scaled)), (true, String::new()));
    review["request"]["oldObject"]["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sleep"]);
    let changed = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    assert!(!changed.allowed);
}

#[rstest]
#[case::containers("/request/object/spec/containers", json!(3))]
#[case::period("/request/object/spec/containers/1/livenessProbe/periodSeconds", json!("often"))]
#[case::port("/request/object/spec/containers/1/ports/0/containerPort", json!(70_000))]
#[tokio::test]
async fn a_pod_that_we_cannot_read_is_admitted_with_a_warning(#[case] pointer: &str, #[case] value: Value) {
    let mut review = cart();
    *review.pointer_mut(pointer).unwrap() = value;
    let admission = Hook::with("").admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    assert!(admission.allowed);
    assert_eq!(admission.warnings, ["linkerd-linger: cannot parse this Pod, so it was admitted unchecked"]);
    assert_eq!(admission.audit, [("outcome".to_owned(), "unreadable".to_owned())]);
}

#[tokio::test]
async fn unknown_fields_and_their_order_do_not_matter() {
    let (hook, mut review) = (Hook::with(""), cart());
    let before = hook.admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    review["request"]["object"]["spec"]["futureField"] = json!({"deep": [1, null, "x"]});
    review["request"]["object"]["spec"]["containers"][1]["livenessProbe"]["futureField"] = json!(true);
    review["request"]["futureField"] = json!([]);
    let after = hook.admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    assert_eq!(told(&after), told(&before));
}

#[tokio::test]
async fn an_update_is_judged_only_when_it_changes_the_pod() {
    let hook = Hook::with("");
    let mut review = cart();
    review["request"]["operation"] = json!("UPDATE");
    let pod = review["request"]["object"].clone();
    review["request"]["oldObject"] = pod;
    review["request"]["object"]["metadata"]["labels"]["app"] = json!("cart2");
    let same = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    assert_eq!((same.allowed, told(&same)), (true, String::new()));
    review["request"]["oldObject"]["spec"]["containers"][1]["command"] = json!(["sleep", "1"]);
    let changed = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    assert!(!changed.allowed);
}

#[rstest]
#[case::unreachable_matches_may_pass("reject: reachable\n", "warned")]
#[case::the_rule_may_only_warn("rules: {probe-matches-idle-timeout: warn}\n", "warned")]
#[case::the_rule_may_be_off(
    "rules: {probe-matches-idle-timeout: ignore, idle-timeout-below-proxy-pool: ignore}\n",
    "patched"
)]
#[case::the_namespace_may_be_exempt(
    "exemptions: [{namespace: i-edge-24-11-8, reason: known, until: 2999-12-31}]\n",
    "admitted"
)]
#[case::workloads_only("rejectAt: workloads\n", "warned")]
#[case::another_tolerance("tolerance: 0s\n", "rejected")]
#[tokio::test]
async fn the_policy_has_the_last_word(#[case] policy: &str, #[case] expected: &str) {
    let admission = Hook::with(policy).admit(WebhookKind::Mutating, Mode::Enforce, &cart()).await;
    let outcome = match (admission.allowed, admission.warnings.is_empty(), admission.patch.0.is_empty()) {
        (false, ..) => "rejected",
        (true, false, _) => "warned",
        (true, true, false) => "patched",
        (true, true, true) => "admitted",
    };
    assert_eq!(outcome, expected, "{}", told(&admission));
}

#[rstest]
#[case::of_a_deployment("apps/v1", "Deployment")]
#[case::of_a_rollout("argoproj.io/v1alpha1", "Rollout")]
#[case::of_an_unknown_kind("example.com/v1", "Shop")]
#[tokio::test]
async fn where_only_workloads_are_rejected_objects_of_controllers_are_not(
    #[case] api_version: &str,
    #[case] kind: &str,
) {
    let owner = json!([{"apiVersion": api_version, "kind": kind, "name": "cart", "controller": true}]);
    let mut replica_set = cart();
    let mut template = replica_set["request"]["object"].clone();
    template["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    replica_set["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "ReplicaSet"});
    replica_set["request"]["object"] = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "cart-1", "ownerReferences": owner}, "spec": {"template": template},
    });
    let mut pod = cart();
    pod["request"]["object"]["metadata"]["ownerReferences"] = owner;
    for mut review in [replica_set, pod] {
        let hook = Hook::with("rejectAt: workloads\n");
        let admission = hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await;
        assert!(admission.allowed && !admission.warnings.is_empty(), "{}", told(&admission));
        let hook = Hook::with("");
        assert!(!hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await.allowed);
        // A ConfigMap creates nothing.
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "cart", "controller": true}]);
        review["request"]["object"]["metadata"]["ownerReferences"] = owner;
        let hook = Hook::with("rejectAt: workloads\n");
        assert!(!hook.admit(WebhookKind::Validating, Mode::Enforce, &review).await.allowed);
    }
}

#[tokio::test]
async fn a_pod_may_exempt_itself_for_a_while() {
    let mut review = cart();
    let key = "linkerd-linger.io/exempt";
    let exempt = |until: &str| json!(format!("probe-matches-idle-timeout; until={until}; reason=OPS-12"));
    review["request"]["object"]["metadata"]["annotations"][key] = exempt("2999-12-31");
    let admission = Hook::with("").admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    assert!(admission.allowed && !admission.patch.0.is_empty(), "{}", told(&admission));
    assert!(told(&admission).contains("probe-matches-idle-timeout=exempt"));

    let forbidden = Hook::with("annotations: {exempt: forbid}\n")
        .admit(WebhookKind::Mutating, Mode::Enforce, &review)
        .await;
    assert!(!forbidden.allowed);

    review["request"]["object"]["metadata"]["annotations"][key] = exempt("2020-01-31");
    let expired = Hook::with("").admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    assert!(!expired.allowed);
    let expired = Hook::with("").admit(WebhookKind::Mutating, Mode::Warn, &review).await;
    let warning = "linkerd-linger: the exemption from probe-matches-idle-timeout expired on 2020-01-31";
    assert!(expired.warnings.iter().any(|told| told == warning), "{}", told(&expired));
}

/// Every probe of its own, on a port that nobody declares, with periods whose hyperperiod is long.
fn thousands_of_probes() -> Value {
    let mut review = cart();
    let probe = |period: u32| json!({"httpGet": {"port": 8000}, "periodSeconds": period});
    let container = json!({
        "livenessProbe": probe(9_973), "readinessProbe": probe(7_919), "startupProbe": probe(6_007)
    });
    let containers = review["request"]["object"]["spec"]["containers"].as_array_mut().unwrap();
    containers.extend(std::iter::repeat_n(container, 5_000));
    review["request"]["object"]["metadata"]["annotations"]["linkerd-linger.io/idle-timeout"] = json!("1s");
    review
}

fn thousands_of_probes_of_one_server() -> Value {
    let mut review = thousands_of_probes();
    review["request"]["object"]["spec"]["containers"][1]["ports"] = json!([{"containerPort": 8000}]);
    review["request"]["object"]["metadata"]["annotations"]["linkerd-linger.io/idle-timeout"] = json!("9973s");
    review
}

fn thousands_of_containers_and_periods() -> Value {
    let mut review = thousands_of_probes();
    let periods: Vec<_> = (0..600).map(|index| if index % 2 == 0 { "1s" } else { "1000ms" }).collect();
    review["request"]["object"]["metadata"]["annotations"]["linkerd-linger.io/traffic-period"] =
        json!(periods.join(","));
    review
}

fn thousands_of_ports_that_are_skipped() -> Value {
    let mut review = cart();
    let ports: Vec<_> = (0..60_000_u32).map(|port| json!({"containerPort": port})).collect();
    let skipped: Vec<_> = (0..60_000_u32).rev().map(|port| port.to_string()).collect();
    let spec = &mut review["request"]["object"]["spec"];
    spec["containers"][1]["ports"] = json!(ports);
    spec["initContainers"][0]["args"] = json!(["--inbound-ports-to-ignore", skipped.join(",")]);
    review
}

/// Lists in lists, as deep as they are searched.
fn deep_lists() -> Value {
    let leaves = json!(vec![json!({"a": 1}); 300_000]);
    custom("example.com", "Deep", (0..14).fold(leaves, |inner, _| json!([inner])))
}

fn thousands_of_templates() -> Value {
    let groups = vec![json!({"template": racing_template()}); 10_000];
    custom("example.com", "Many", json!({"groups": groups}))
}

#[rstest]
#[case::deep_lists(deep_lists())]
#[case::thousands_of_templates(thousands_of_templates())]
#[tokio::test]
async fn no_custom_resource_costs_more_than_its_size(#[case] review: Value) {
    let started = Instant::now();
    let admission = Hook::with("").admit(WebhookKind::Validating, Mode::Enforce, &review).await;
    assert!(admission.allowed);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[rstest]
#[case::probes(thousands_of_probes())]
#[case::probes_of_one_server(thousands_of_probes_of_one_server())]
#[case::containers_and_periods(thousands_of_containers_and_periods())]
#[case::skipped_ports(thousands_of_ports_that_are_skipped())]
#[tokio::test]
async fn no_pod_costs_more_than_its_size(#[case] review: Value) {
    let started = Instant::now();
    let admission = Hook::with("").admit(WebhookKind::Mutating, Mode::Enforce, &review).await;
    let audit: usize = admission.audit.iter().map(|(_, value)| value.len()).sum();
    assert!(audit < 1_000, "{audit} bytes of audit annotations");
    // Without bounds these took from half a minute to hours on such a machine.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
