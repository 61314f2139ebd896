//! Compares `install --engine policy` with the webhook: every case of the project, on a real API server.
//!
//! The API server creates each object in a dry run. The policies may leave a pod alone that the webhook patches or
//! rejects, but they never do anything else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::civil::date;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use linkerd_linger::{
    base::names,
    cluster::{
        apiserver,
        install::{self, Options},
    },
    judgement::policy::Policy,
    lint::manifest,
    review::{self, Endpoint, Mode, WebhookKind},
    workload::object::{Kind, Object},
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::OnceCell};

use self::{
    cluster::{
        Cluster,
        others::{OTHER_WEBHOOKS, Other},
        pods::{GUNICORN, LINES, assert_patched, containers, init, injected, of_line, pod_of, template},
        webhook,
    },
    support::{NotRun, eventually, say},
};

/// The image of our init container.
const IMAGE: &str = "registry.example.com/linkerd-linger:1.0.0";
/// The label of the namespaces of a policy.
const VARIANT: &str = "tests.linkerd-linger.io/policy";

/// Outlives the runtime of each test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static BED: OnceCell<Result<Bed, NotRun>> = OnceCell::const_new();

/// The shared cluster of this file, with the policies of every case.
struct Bed {
    cluster: Cluster,
    variants: Vec<String>,
}

/// The cluster; `None` on a machine that cannot run it, which is a failure only in CI.
async fn bed() -> Option<&'static Bed> {
    match BED.get_or_init(Bed::start).await {
        Ok(bed) => Some(bed),
        Err(why) => {
            why.tell();
            None
        }
    }
}

impl Bed {
    async fn start() -> Result<Self, NotRun> {
        static TRIED: AtomicBool = AtomicBool::new(false);
        assert!(
            !TRIED.swap(true, Ordering::Relaxed),
            "the cluster did not start: the test that started it tells why"
        );
        if std::env::var_os("KUBEBUILDER_ASSETS").is_some() {
            return Err(NotRun(format!(
                "KUBEBUILDER_ASSETS may be older than Kubernetes 1.{}",
                install::POLICY_ENGINE_MIN_MINOR_VERSION
            )));
        }
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap()?;
        let mut variants: Vec<_> = cases().into_iter().map(|case| case.policy).collect();
        variants.push(String::new());
        variants.sort();
        variants.dedup();
        variants.retain(|text| install::policies(&options(text), &policy(text)).is_ok());
        let bed = Self { cluster, variants };
        for (index, text) in bed.variants.iter().enumerate() {
            for object in objects_of(index, text) {
                bed.cluster.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.ok();
            }
            bed.namespace(&format!("enforce-{index}"), index, "enforce", json!({})).await;
        }
        bed.namespace("unbound", usize::MAX, "off", json!({})).await;
        for other in OTHER_WEBHOOKS {
            let manifest = other.manifest(&RUNTIME.spawn(webhook::serve(other.mutate)).await.unwrap());
            bed.cluster.kubectl_with(&["apply", "-f", "-"], &manifest.to_string()).await.ok();
        }
        let client = bed.cluster.client().await;
        let pod = injected("front-nginx");
        for (index, text) in bed.variants.iter().enumerate() {
            if text.contains("timeout: off")
                || text.contains("close-wait-unset")
                || text.contains("closeWait: {images")
            {
                continue;
            }
            eventually("the mutating policies are in force", async || {
                let created = create(&client, &format!("enforce-{index}"), &pod).await.unwrap();
                created["spec"]["initContainers"] != pod["spec"]["initContainers"]
            })
            .await;
        }
        Ok(bed)
    }

    async fn namespace(&self, name: &str, variant: usize, mode: &str, labels: Value) {
        let mut namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {names::MODE_LABEL: mode, VARIANT: variant.to_string()}},
        });
        for (key, value) in labels.as_object().unwrap() {
            namespace["metadata"]["labels"][key] = value.clone();
        }
        self.cluster.kubectl_with(&["create", "-f", "-"], &namespace.to_string()).await.ok();
        let namespaces: Api<Namespace> = Api::all(self.cluster.client().await);
        eventually("there is a namespace", async || namespaces.get(name).await.is_ok()).await;
        let account = ["get", "serviceaccount/default", "-n", name];
        eventually("it has a ServiceAccount", async || self.cluster.kubectl(&account).await.success).await;
    }

    fn variant(&self, policy: &str) -> Option<usize> {
        self.variants.iter().position(|known| known == policy)
    }
}

fn policy(text: &str) -> Policy {
    let mut policy = Policy::parse(text).unwrap_or_else(|errors| panic!("the case's policy: {errors:?}"));
    policy.close_wait.init_image = Some(IMAGE.to_owned());
    policy
}

fn options(text: &str) -> Options {
    Options { image: IMAGE.to_owned(), policy: text.to_owned(), ..Options::default() }
}

/// The policies and bindings for the namespaces of a variant.
fn objects_of(index: usize, text: &str) -> Vec<Value> {
    let mut objects = install::policies(&options(text), &policy(text)).unwrap();
    objects.retain(|object| object["kind"].as_str().unwrap().contains("AdmissionPolicy"));
    for object in &mut objects {
        let rename = |name: &mut Value| *name = format!("{}-{index}", name.as_str().unwrap()).into();
        rename(&mut object["metadata"]["name"]);
        if let Some(resources) = object["spec"].get_mut("matchResources") {
            let of_variant = json!({"key": VARIANT, "operator": "In", "values": [index.to_string()]});
            resources["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(of_variant);
            rename(&mut object["spec"]["policyName"]);
        }
    }
    objects
}

/// An object of the project's cases.
struct Case {
    name: String,
    policy: String,
    object: Value,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases = Vec::new();
    for entry in walkdir::WalkDir::new(&folder).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let policy = text.lines().find_map(|line| line.strip_prefix("# policy: ")).unwrap_or_default();
        for document in manifest::read("", &text).documents {
            if document.object().unwrap().is_none() {
                continue;
            }
            let name = format!("{} line {}", path.strip_prefix(&folder).unwrap().display(), document.line());
            let object = complete(serde_json::from_str(document.json()).unwrap());
            cases.push(Case { name, policy: policy.to_owned(), object });
        }
    }
    cases
}

/// Adds what the API server requires, and the cases leave out.
fn complete(mut object: Value) -> Value {
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    if object["metadata"].get("name").is_none() && object["metadata"].get("generateName").is_none() {
        object["metadata"]["name"] = "case".into();
    }
    for reference in
        object["metadata"].get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten()
    {
        reference["uid"] = "6b2e7d6c-0000-4000-8000-000000000000".into();
    }
    let kind = object["kind"].as_str().unwrap().to_owned();
    let template = match kind.as_str() {
        "Pod" => &mut object,
        "CronJob" => {
            let schedule = &mut object["spec"]["schedule"];
            if schedule.is_null() {
                *schedule = "0 * * * *".into();
            }
            &mut object["spec"]["jobTemplate"]["spec"]["template"]
        }
        "PodTemplate" => &mut object["template"],
        _ => &mut object["spec"]["template"],
    };
    if kind != "Pod" {
        template["metadata"]["labels"]["app"] = "case".into();
    }
    let spec = template["spec"].as_object_mut().unwrap();
    spec.entry("automountServiceAccountToken").or_insert(false.into());
    spec.retain(|field, _| !field.starts_with("serviceAccountName"));
    if matches!(kind.as_str(), "Job" | "CronJob") {
        spec.entry("restartPolicy").or_insert("Never".into());
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().unwrap().entry("image").or_insert("registry.example.com/app:1".into());
        }
    }
    let selects = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&kind.as_str());
    if selects {
        object["spec"]["selector"] = json!({"matchLabels": {"app": "case"}});
    }
    if kind == "ReplicationController" {
        object["spec"]["selector"] = json!({"app": "case"});
    }
    object
}

/// Creates an object in a dry run, and returns what would be stored, or why it is refused.
async fn create(client: &Client, namespace: &str, object: &Value) -> Result<Value, String> {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &serde_json::from_value(object).unwrap()).await {
        Ok(created) => Ok(serde_json::to_value(created).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// What the webhook in the mode enforce does with an object: the object that it admits, or why it rejects it.
fn webhook(object: &Value, policy: &Policy) -> Result<Value, String> {
    let today = date(2026, 11, 23);
    let kind = Object::read(&object.to_string()).unwrap().unwrap().kind;
    let review = |webhook, object: &Value| {
        let mut request = apiserver::creation(object, "case");
        request["request"]["kind"] = json!({"group": kind.group(), "version": "v1", "kind": kind.as_str()});
        let endpoint = Endpoint::new(webhook, Mode::Enforce);
        let reviewed = review::review(request.to_string().as_bytes(), endpoint, policy, today).unwrap();
        apiserver::verify(webhook, "case", &reviewed.body).unwrap()
    };
    let mut object = object.clone();
    if kind == Kind::Pod {
        let admission = review(WebhookKind::Mutating, &object);
        if !admission.allowed {
            return Err(admission.message);
        }
        object = apiserver::patched(&object, &admission.patch).unwrap();
    }
    let admission = review(WebhookKind::Validating, &object);
    if admission.allowed { Ok(object) } else { Err(admission.message) }
}

/// The part of a stored object that the webhook and the policies may change.
fn spec(object: &Value) -> Value {
    object["spec"].clone()
}

#[derive(Default)]
struct Shares(BTreeMap<&'static str, (usize, usize)>);

impl Shares {
    fn count(&mut self, what: &'static str, decided: bool) {
        let (of, all) = self.0.entry(what).or_default();
        *of += usize::from(decided);
        *all += 1;
    }
}

#[tokio::test]
async fn no_case_contradicts_the_webhook() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let mut shares = Shares::default();
    let (mut contradictions, mut left, mut invalid, mut other) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for case in cases() {
        let Some(variant) = bed.variant(&case.policy) else {
            other += 1;
            continue;
        };
        let name = &case.name;
        let before = match create(&client, "unbound", &case.object).await {
            Ok(object) => object,
            Err(why) => {
                invalid.push(format!("{name}: {why}"));
                continue;
            }
        };
        let with_policies = create(&client, &format!("enforce-{variant}"), &case.object).await;
        match (webhook(&case.object, &policy(&case.policy)), with_policies) {
            (Err(_), Err(why)) => {
                assert!(why.contains("ValidatingAdmissionPolicy"), "{name}: {why}");
                shares.count("rejections", true);
            }
            (Err(why), Ok(_)) => {
                left.push(format!("{name}: {why}"));
                shares.count("rejections", false);
            }
            (Ok(_), Err(why)) => contradictions.push(format!("{name}: {why}")),
            (Ok(patched), Ok(with_policies)) => {
                let expected = create(&client, "unbound", &patched).await.unwrap();
                let (before, expected, with_policies) =
                    (spec(&before), spec(&expected), spec(&with_policies));
                if before != expected {
                    if with_policies == before {
                        left.push(format!("{name}: unpatched"));
                    }
                    shares.count("patches", with_policies == expected);
                }
                if with_policies != expected && with_policies != before {
                    contradictions.push(format!("{name}: {with_policies}\n instead of {expected}"));
                }
            }
        }
    }
    for line in &left {
        say(&format!("left alone: {line}"));
    }
    for line in &invalid {
        say(&format!("not valid for the API server: {line}"));
    }
    say(&format!("{:?}, {other} with another policy", shares.0));
    assert!(contradictions.is_empty(), "these contradict the webhook:\n{}", contradictions.join("\n"));
}

#[tokio::test]
async fn a_pod_is_patched_behind_the_injector() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let pod = pod_of(&template(GUNICORN, 7));
    for mode in ["enforce", "warn"] {
        let name = format!("behind-the-injector-{mode}");
        bed.namespace(&name, bed.variant("").unwrap(), mode, json!({Other::label("injector"): "called"}))
            .await;
        eventually("the injector is called", async || {
            let created = create(&client, &name, &pod).await.unwrap();
            containers(&created, "containers").contains_key("linkerd-proxy")
        })
        .await;
        assert_patched(&create(&client, &name, &pod).await.unwrap());
    }
}

#[tokio::test]
async fn every_line_of_linkerd_sets_the_timeout() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let namespace = format!("enforce-{}", bed.variant("").unwrap());
    for line in LINES {
        let pod = complete(of_line(line, "line", &[]));
        let expected = create(&client, "unbound", &webhook(&pod, &policy("")).unwrap()).await.unwrap();
        let created = create(&client, &namespace, &pod).await.unwrap();
        assert_eq!(spec(&created), spec(&expected), "{line}");
        assert_ne!(spec(&created)["initContainers"], pod["spec"]["initContainers"], "{line}");
    }
}

#[tokio::test]
async fn other_namespaces_get_no_patch() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let pod = injected("front-nginx");
    let cases = [
        ("audit", "audit", json!({})),
        ("off", "off", json!({})),
        ("baseline", "enforce", json!({"pod-security.kubernetes.io/enforce": "baseline"})),
        ("never-privileged", "enforce", json!({"linkerd-linger.io/privileged": "never"})),
    ];
    for (name, mode, labels) in cases {
        bed.namespace(&format!("no-patch-{name}"), bed.variant("").unwrap(), mode, labels).await;
        match create(&client, &format!("no-patch-{name}"), &pod).await {
            Ok(created) => assert_eq!(init(&created)["args"], init(&pod)["args"], "{name}"),
            // Pod Security refuses linkerd-init as well.
            Err(why) => assert!(name == "baseline" && why.contains("violates PodSecurity"), "{why}"),
        }
    }
}
