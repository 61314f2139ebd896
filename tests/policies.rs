//! Compares `install --engine policy` with the webhook: every case of the project, on a real API server.
//!
//! The API server creates each object in a dry run. The policies may leave a pod alone that the webhook patches or
//! rejects, but they never do anything else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod support;

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

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
    judgement::policy::{Policy, RejectWhen},
    linkerd::{self, Injection, Mesh},
    lint::manifest,
    review::{self, Endpoint, Mode, WebhookKind},
    servers::{self, literal::wrappers},
    workload::{
        context::Context,
        object::{Kind, Object},
    },
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::OnceCell};

use self::{
    cluster::{
        Cluster, Told,
        others::{OTHER_WEBHOOKS, Other},
        pods::{
            GUNICORN, LINES, app, assert_patched, containers, deployment, init, injected, of_line, pod_of,
            template,
        },
        webhook,
    },
    support::{NotRun, eventually, say, started},
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
    started(&BED, Bed::start).await
}

impl Bed {
    async fn start() -> Result<Self, NotRun> {
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
            let injected = json!({Other::label("injector"): "called"});
            bed.namespace(&format!("enforce-{index}-injected"), index, "enforce", injected).await;
        }
        bed.namespace("unbound", usize::MAX, "off", json!({})).await;
        let injected = json!({Other::label("injector"): "called"});
        bed.namespace("unbound-injected", usize::MAX, "off", injected).await;
        for other in OTHER_WEBHOOKS {
            let manifest = other.manifest(&RUNTIME.spawn(webhook::serve(other.mutate)).await.unwrap());
            bed.cluster.kubectl_with(&["apply", "-f", "-"], &manifest.to_string()).await.ok();
        }
        bed.is_in_force().await;
        Ok(bed)
    }

    /// Waits until the API server evaluates all policies.
    async fn is_in_force(&self) {
        let client = self.cluster.client().await;
        let pod = complete(pod_of(&template(GUNICORN, 7)));
        eventually("the injector is called", async || {
            let created = create(&client, "unbound-injected", &pod).await.unwrap();
            containers(&created, "containers").contains_key("linkerd-proxy")
        })
        .await;
        for (index, text) in self.variants.iter().enumerate() {
            let namespace = format!("enforce-{index}");
            let policy = policy(text);
            let pod = complete(injected("front-nginx"));
            if webhook(&pod, &policy).unwrap() != pod {
                eventually("the mutating policy is in force", async || {
                    create(&client, &namespace, &pod).await.unwrap()["spec"]["initContainers"]
                        != pod["spec"]["initContainers"]
                })
                .await;
            }
            let pod = complete(injected("cart-gunicorn"));
            if webhook(&pod, &policy).is_err() && policy.reject == RejectWhen::Always {
                let what = "the validating policy is in force";
                eventually(what, async || create(&client, &namespace, &pod).await.is_err()).await;
            }
        }
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
        // An expression that fails, or costs too much, must not go unnoticed.
        if let Some(policy) = object["spec"].get_mut("failurePolicy") {
            *policy = "Fail".into();
        }
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
            // The API server of the tests has no custom resources.
            if !matches!(document.objects().unwrap().as_slice(), [object] if object.kind != Kind::Custom) {
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
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|field, _| {
        ["name", "generateName", "labels", "annotations", "ownerReferences"].contains(&field.as_str())
    });
    if metadata.contains_key("generateName") {
        metadata.remove("name");
    }
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

/// What came of the comparison of many objects.
#[derive(Default)]
struct Comparison {
    /// Of what the webhook does, how much the policies do, too.
    shares: BTreeMap<&'static str, (usize, usize)>,
    contradictions: Vec<String>,
    /// What the policies leave alone.
    left: Vec<String>,
    /// What the API server itself refuses.
    invalid: Vec<String>,
}

impl Comparison {
    fn count(&mut self, what: &'static str, decided: bool) {
        let (of, all) = self.shares.entry(what).or_default();
        *of += usize::from(decided);
        *all += 1;
    }

    /// Creates an object with and without the policies of a variant, and compares the result with the webhook's.
    async fn compare(
        &mut self,
        client: &Client,
        variant: usize,
        policy: &Policy,
        name: &str,
        object: &Value,
    ) {
        let suffix = if will_be_injected(object) { "-injected" } else { "" };
        let before = match create(client, &format!("unbound{suffix}"), object).await {
            Ok(object) => object,
            Err(why) => return self.invalid.push(format!("{name}: {why}")),
        };
        let with_policies = create(client, &format!("enforce-{variant}{suffix}"), object).await;
        match (webhook(&before, policy), with_policies) {
            (Err(_), Err(why)) => {
                assert!(why.contains("denied request: linkerd-linger: "), "{name}: {why}");
                self.count("rejections", true);
            }
            (Err(why), Ok(_)) => {
                self.left.push(format!("{name}: {why}"));
                self.count("rejections", false);
            }
            (Ok(_), Err(why)) => self.contradictions.push(format!("{name}: {why}")),
            (Ok(patched), Ok(with_policies)) => {
                let mut expected = patched.clone();
                if patched != before {
                    expected = create(client, "unbound", &patched).await.unwrap();
                }
                let [before, expected, with_policies] =
                    [before, expected, with_policies].map(|object| object["spec"].clone());
                if before != expected {
                    if with_policies == before {
                        self.left.push(format!("{name}: unpatched"));
                    }
                    self.count("patches", with_policies == expected);
                }
                if with_policies != expected && with_policies != before {
                    self.contradictions.push(format!("{name}: {with_policies}\n instead of {expected}"));
                }
            }
        }
    }

    /// Prints the shares, and fails if there is a contradiction.
    fn conclude(&self, what: &str) {
        for line in self.left.iter().filter(|_| std::env::var_os("POLICIES_LOG").is_some()) {
            say(&format!("left alone: {line}"));
        }
        for line in &self.invalid {
            say(&format!("not valid for the API server: {line}"));
        }
        for (kind, (of, all)) in &self.shares {
            say(&format!("{what}: the policies decide {of} of {all} {kind}"));
        }
        let contradictions = self.contradictions.join("\n");
        assert!(contradictions.is_empty(), "these contradict the webhook:\n{contradictions}");
        for (kind, (of, all)) in &self.shares {
            let row = format!("| {what} | {kind} | {of} of {all} |");
            let page = include_str!("../docs/policy-engine.md");
            assert!(page.contains(&row), "docs/policy-engine.md has no row {row}");
        }
    }
}

/// Whether Linkerd's injector would inject the pod.
fn will_be_injected(object: &Value) -> bool {
    let json = object.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let mesh = linkerd::mesh(&object.pod, "", &Context::default(), Injection::AsAnnotated);
    object.kind == Kind::Pod && matches!(mesh, Mesh::WillBeInjected(_))
}

#[tokio::test]
async fn no_case_contradicts_the_webhook() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let mut comparison = Comparison::default();
    for Case { name, policy: text, object } in cases() {
        if let Some(variant) = bed.variant(&text) {
            comparison.compare(&client, variant, &policy(&text), &name, &object).await;
        }
    }
    comparison.conclude("cases of the rules");
}

/// Typical periods of probes, and typical idle timeouts.
const PERIODS: [u64; 15] = [1, 2, 3, 4, 5, 6, 10, 15, 20, 30, 60, 65, 75, 90, 120];

#[tokio::test]
async fn no_server_of_the_catalog_contradicts_the_webhook() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let (variant, policy) = (bed.variant("").unwrap(), policy(""));
    let mut comparison = Comparison::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalog");
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name().min_depth(1) {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for (_, case) in servers::cases::parse(&text).unwrap() {
            let timeout = case.expect.split([' ', '.']).find_map(|word| word.strip_suffix('s')?.parse().ok());
            let timeout: u64 = timeout.filter(|seconds| *seconds > 0).unwrap_or(5);
            // Probes at the timeout, and at any other time.
            let meets = probed(&case, case.port.unwrap_or(8000), &[timeout]);
            comparison.compare(&client, variant, &policy, &case.name, &meets).await;
            let others: Vec<_> = PERIODS.into_iter().filter(|period| period.abs_diff(timeout) > 11).collect();
            let misses = probed(&case, 8000, &others);
            comparison.compare(&client, variant, &policy, &format!("{} (others)", case.name), &misses).await;
        }
    }
    comparison.conclude("cases of the catalog");
}

/// The pod of a case after injection, with a container for each period of a probe, the first on this port.
fn probed(case: &servers::cases::Case, port: u16, periods: &[u64]) -> Value {
    let mut pod = complete(case.object().unwrap());
    pod["metadata"]["annotations"] = json!({"linkerd-linger.io/close-wait-timeout": "off"});
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    let app = containers.pop().unwrap();
    containers.push(json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-24.11.8"}));
    for (index, period) in periods.iter().enumerate() {
        let mut app = app.clone();
        app["name"] = format!("app-{index}").into();
        app["livenessProbe"] =
            json!({"httpGet": {"port": usize::from(port) + index}, "periodSeconds": period});
        containers.push(app);
    }
    pod
}

#[tokio::test]
async fn a_server_is_read_behind_wrappers() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let namespace = format!("enforce-{}", bed.variant("").unwrap());
    let behind = async |wrapper: &[&str]| {
        let mut pod = complete(injected("cart-gunicorn"));
        let command = app(&mut pod)["command"].as_array_mut().unwrap();
        command.splice(0..0, wrapper.iter().filter(|word| !word.is_empty()).map(|word| json!(word)));
        let refused =
            |result: Result<Value, String>| result.is_err_and(|why| why.contains("linkerd-linger: "));
        (refused(webhook(&pod, &policy(""))), refused(create(&client, &namespace, &pod).await))
    };
    for (wrapper, subcommand) in wrappers() {
        for separator in ["", "--"] {
            let decided = behind(&[wrapper, subcommand, separator]).await;
            assert_eq!(decided, (true, true), "{wrapper} {subcommand} {separator}");
        }
    }
    assert_eq!(behind(&["/usr/bin/tini", "--", "poetry", "run"]).await, (true, true));
    for left in [&["tini", "-g", "--"][..], &["env", "KEEP=1"], &["poetry", "exec"], &["timeout", "9"]] {
        assert!(!behind(left).await.1, "{left:?}");
    }
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
        assert_eq!(created["spec"], expected["spec"], "{line}");
        assert_ne!(created["spec"]["initContainers"], pod["spec"]["initContainers"], "{line}");
    }
}

#[tokio::test]
async fn what_kubectl_prints_in_each_mode() {
    let Some(bed) = bed().await else { return };
    let variant = bed.variant("").unwrap();
    let pod = injected("cart-gunicorn").to_string();
    const FACT: &str = "linkerd-linger: cart: Gunicorn closes idle connections after 10s to 11s; the liveness probe on \
                        port 8000 runs every 10s. To fix: ";
    for mode in ["enforce", "warn", "audit"] {
        let name = format!("prints-{mode}");
        bed.namespace(&name, variant, mode, json!({})).await;
        let args = ["create", "-n", &name, "-f", "-", "--dry-run=server"];
        match mode {
            "enforce" => {
                eventually("the namespace is bound", async || {
                    let told = bed.cluster.kubectl_with(&args, &pod).await;
                    !told.success && told.stderr.contains(FACT)
                })
                .await;
            }
            "warn" => {
                eventually("the namespace is bound", async || {
                    let told = bed.cluster.kubectl_with(&args, &pod).await.ok();
                    told.stderr.starts_with("Warning: ") && told.stderr.contains(FACT)
                })
                .await;
            }
            _ => assert_eq!(bed.cluster.kubectl_with(&args, &pod).await.ok().stderr, ""),
        }
    }
}

#[tokio::test]
async fn an_update_of_something_else_is_admitted() {
    let Some(bed) = bed().await else { return };
    bed.namespace("updates", bed.variant("").unwrap(), "off", json!({})).await;
    let mut template = template(GUNICORN, 10);
    template["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
    let deployment = deployment(&template).to_string();
    bed.cluster.kubectl_with(&["create", "-n", "updates", "-f", "-"], &deployment).await.ok();
    let label = format!("{}=enforce", names::MODE_LABEL);
    bed.cluster.kubectl(&["label", "namespace", "updates", &label, "--overwrite"]).await.ok();
    let patch = async |patch: Value| {
        bed.cluster.kubectl(&["patch", "deployment", "cart", "-n", "updates", "-p", &patch.to_string()]).await
    };
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "cart", "image": "cart:5"}]}}}});
    eventually("a change of the container is rejected", async || {
        let told = patch(image.clone()).await;
        !told.success && told.stderr.contains("linkerd-linger: cart: Gunicorn closes")
    })
    .await;
    patch(json!({"spec": {"replicas": 2}})).await.ok();
    let restart = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-23T10:00:00Z"});
    patch(json!({"spec": {"template": {"metadata": {"annotations": restart}}}})).await.ok();
}

/// A pod that is larger than usual ones: the expressions of each policy may cost 10 000 000 units, and each one 1 000 000.
#[tokio::test]
async fn a_large_pod_is_within_the_cost_budget() {
    let Some(bed) = bed().await else { return };
    let client = bed.cluster.client().await;
    let namespace = format!("enforce-{}", bed.variant("").unwrap());
    let mut pod = complete(injected("front-nginx"));
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    for index in 0..LARGE_POD.containers {
        let words =
            (0..LARGE_POD.words).map(|word| format!("--an-option-of-the-app-{word}=a-value-of-some-length"));
        let variables =
            (0..LARGE_POD.variables).map(|it| json!({"name": format!("VARIABLE_{it}"), "value": "a value"}));
        containers.push(json!({
            "name": format!("app-{index}"),
            "image": "registry.example.com/app:1",
            "command": ["gunicorn", "--threads", "8", "--keep-alive", "10", "app:app"],
            "args": words.collect::<Vec<_>>(),
            "env": variables.collect::<Vec<_>>(),
            "ports": [{"containerPort": 8000 + index}],
            "livenessProbe": {"httpGet": {"port": 8000 + index}, "periodSeconds": 20},
            "readinessProbe": {"httpGet": {"port": 8000 + index}, "periodSeconds": 5},
        }));
    }
    let created = create(&client, &namespace, &pod).await.unwrap();
    assert_ne!(init(&created)["args"], init(&pod)["args"], "it is patched");
    let last = format!("/spec/containers/{}/livenessProbe/periodSeconds", LARGE_POD.containers);
    *pod.pointer_mut(&last).unwrap() = 10.into();
    let why = create(&client, &namespace, &pod).await.unwrap_err();
    assert!(why.contains("denied request: linkerd-linger: "), "{why}");
}

struct LargePod {
    containers: usize,
    words: usize,
    variables: usize,
}

/// Documented in `docs/policy-engine.md`.
const LARGE_POD: LargePod = LargePod { containers: 20, words: 60, variables: 60 };

#[tokio::test]
async fn an_installation_is_checked_and_removed() {
    let cluster = match tokio::task::spawn_blocking(Cluster::start).await.unwrap() {
        Ok(cluster) => cluster,
        Err(why) => return why.tell(),
    };
    let linger = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
        command.args(args).env("KUBECONFIG", cluster.kubeconfig());
        Told::from(command.output().await.unwrap())
    };
    let check = async |args: &[&str]| {
        let told = linger(&[&["check", "--output", "json"], args].concat()).await;
        let categories = told.json()["categories"].as_array().unwrap().clone();
        let checks = categories.into_iter().flat_map(|it| it["checks"].as_array().unwrap().clone());
        let bad = checks.filter(|check| check["result"] == "error").map(|check| check.to_string());
        (bad.collect::<Vec<_>>().join("\n"), told.stdout)
    };
    assert_eq!(check(&["--pre", "--engine", "policy"]).await.0, "");
    let printed = linger(&["install", "--engine", "policy"]).await.ok().stdout;
    cluster.kubectl_with(&["apply", "-f", "-"], &printed).await.ok();
    cluster.kubectl(&["create", "namespace", "shop"]).await.ok();
    let label = format!("{}=enforce", names::MODE_LABEL);
    cluster.kubectl(&["label", "namespace", "shop", &label]).await.ok();
    let (bad, all) = check(&["--wait", "30s"]).await;
    assert_eq!(bad, "", "{all}");
    for told in
        ["admission policies and their bindings exist", "in shop: rejected, as expected", "sets 3600s"]
    {
        assert!(all.contains(told), "{told}: {all}");
    }
    assert!(
        check(&["--pre", "--engine", "policy"]).await.0.contains("admission policies"),
        "it is installed already"
    );
    let printed = linger(&["uninstall", "--engine", "policy"]).await.ok().stdout;
    cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &printed).await.ok();
    for kind in ["mutatingadmissionpolicies", "validatingadmissionpolicies"] {
        for kind in [kind.to_owned(), kind.replace("policies", "policybindings")] {
            assert_eq!(cluster.kubectl(&["get", &kind, "-o", "name"]).await.ok().stdout, "", "{kind}");
        }
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
