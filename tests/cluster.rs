//! Tests the webhook behind a real API server: the output of `kubectl` and the stored objects.
//!
//! Services have loopback addresses on which the server itself listens, because there is no node to run it as a pod.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod support;

use std::{
    net::{IpAddr, SocketAddr},
    ops::Deref,
    process::Stdio,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::civil::date;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Resource, api::ListParams};
use linkerd_linger::{
    admission::serve::{self, CertificateSource, Config, Running, Timeouts},
    base::names,
    cluster::{
        self as cluster_of_kubeconfig,
        check::{CheckId, CheckResult, Outcome, dry_run},
        install::{self, Options, Tls},
    },
};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    sync::{OnceCell, RwLock, RwLockReadGuard},
};

use self::{
    cluster::{
        Cluster, Told,
        others::{OTHER_WEBHOOKS, Other},
        pods::{GUNICORN, assert_patched, containers, deployment, init, injected, pod_of, template},
        webhook,
    },
    support::{Authority, Mount, NotRun, eventually, started},
};

/// The shared cluster of this file, with an installation.
struct Bed {
    cluster: Cluster,
    installed: Installed,
    /// Locked for writing by tests that stop the server.
    server: RwLock<Running>,
}

struct Installed {
    address: SocketAddr,
    mount: Mount,
}

/// Outlives the runtime of each test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static BED: OnceCell<Result<Bed, NotRun>> = OnceCell::const_new();

/// The test bed, with its server running until this is dropped.
struct InUse {
    bed: &'static Bed,
    _server: RwLockReadGuard<'static, Running>,
}

impl Deref for InUse {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        self.bed
    }
}

async fn bed() -> Option<InUse> {
    let bed = any_bed().await?;
    Some(InUse { bed, _server: bed.server.read().await })
}

/// As [`bed`], with controllers.
async fn bed_with_controllers() -> Option<InUse> {
    let bed = bed().await?;
    if !bed.cluster.has_controllers() {
        NotRun("there is no kube-controller-manager".to_owned()).tell();
        return None;
    }
    Some(bed)
}

/// The test bed; `None` on a machine that cannot run it, which is a failure only in CI.
async fn any_bed() -> Option<&'static Bed> {
    started(&BED, Bed::start).await
}

impl Bed {
    async fn start() -> Result<Self, NotRun> {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap()?;
        let authority = Authority::new();
        let mount = Mount::new(
            &authority.issue_to("linkerd-linger", &[&format!("{}.{}.svc", names::SERVER, names::NAMESPACE)]),
        );
        let port = webhook_port();
        for manifest in manifests(port, &authority.pem()) {
            cluster.kubectl_with(&["apply", "-f", "-"], &manifest.to_string()).await.ok();
        }
        let service =
            ["get", "service", names::SERVER, "-n", names::NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"];
        let ip: IpAddr = cluster.kubectl(&service).await.ok().stdout.parse().unwrap();
        let installed = Installed { address: SocketAddr::new(ip, port), mount };
        let server = RwLock::new(installed.serve().await);
        for other in OTHER_WEBHOOKS {
            let manifest = other.manifest(&RUNTIME.spawn(webhook::serve(other.mutate)).await.unwrap());
            cluster.kubectl_with(&["apply", "-f", "-"], &manifest.to_string()).await.ok();
        }
        let bed = Self { cluster, installed, server };
        bed.is_in_force().await;
        Ok(bed)
    }

    /// Waits until the API server uses all webhooks.
    async fn is_in_force(&self) {
        let rejected = injected("cart-gunicorn");
        let pod = pod_of(&template(GUNICORN, 7));
        let namespace = self.namespace("enforce", &[]).await;
        eventually("the webhooks are called", async || {
            !self.create(&namespace, &rejected, &["--dry-run=server"]).await.success
        })
        .await;
        for other in OTHER_WEBHOOKS {
            let namespace = self.namespace("off", &[other.key]).await;
            eventually("the webhooks of others are called", async || {
                let told = self.create(&namespace, &pod, &["--dry-run=server", "-o", "json"]).await.ok();
                containers(&told.json(), "containers").len() > 1
            })
            .await;
        }
    }

    /// Creates a namespace in which these webhooks of others are called, and waits until it is ready for pods.
    async fn namespace(&self, mode: &str, others: &[&str]) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{mode}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.named_namespace(&name, mode, others).await;
        name
    }

    async fn named_namespace(&self, name: &str, mode: &str, others: &[&str]) {
        let mut labels = json!({});
        if mode != "unlabelled" {
            labels[names::MODE_LABEL] = mode.into();
        }
        for other in others {
            labels[Other::label(other)] = "called".into();
        }
        let manifest =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.cluster.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).await.ok();
        if self.cluster.has_controllers() {
            let account = ["get", "serviceaccount/default", "-n", name];
            eventually("it has a ServiceAccount", async || self.cluster.kubectl(&account).await.success)
                .await;
        }
    }

    /// `kubectl create` of an object.
    async fn create(&self, namespace: &str, object: &Value, args: &[&str]) -> Told {
        let args = [&["create", "-n", namespace, "-f", "-"], args].concat();
        self.cluster.kubectl_with(&args, &object.to_string()).await
    }

    /// Creates a pod, and returns the stored object.
    async fn stored(&self, namespace: &str, pod: &Value) -> Value {
        self.create(namespace, pod, &["-o", "json"]).await.ok().json()
    }

    async fn pods(&self, namespace: &str) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client().await, namespace);
        pods.list(&ListParams::default()).await.unwrap().items
    }
}

impl Installed {
    /// Simulates the Deployment.
    async fn serve(&self) -> Running {
        let config = Config {
            listen: self.address,
            certificate: CertificateSource::Files(self.mount.files()),
            timeouts: Timeouts { shutdown_delay: std::time::Duration::ZERO, ..Timeouts::default() },
            ..Config::loopback()
        };
        RUNTIME.spawn(serve::start(config)).await.unwrap().unwrap()
    }
}

/// The port of the Service, or a port above 1023 without root.
fn webhook_port() -> u16 {
    match std::net::TcpListener::bind("127.0.0.1:443") {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => 8443,
        Ok(_) | Err(_) => 443,
    }
}

/// The output of `install`, with this port in the Service.
fn manifests(port: u16, authority: &str) -> Vec<Value> {
    let tls = Tls::Byo { ca_bundle: authority.to_owned() };
    let mut manifests = install::manifests(&Options { tls, ..Options::default() });
    for manifest in &mut manifests {
        if manifest["kind"] == "Service" {
            manifest["spec"]["ports"][0]["port"] = port.into();
        }
        for webhook in manifest["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"]["service"]["port"] = port.into();
        }
    }
    manifests
}

const REASON: &str =
    "cart: Gunicorn closes idle connections after 10s to 11s; the liveness probe on port 8000 runs every 10s";

#[tokio::test]
async fn enforce_an_injected_pod_is_stored_patched() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &[]).await;
    let pod = injected("front-nginx");
    let stored = bed.stored(&namespace, &pod).await;
    assert_patched(&stored);
    assert!(stored["metadata"]["name"].as_str().unwrap().starts_with("front-nginx-"), "by generateName");
    for list in ["initContainers", "containers"] {
        assert!(containers(&stored, list).keys().eq(containers(&pod, list).keys()), "nothing else is added");
    }
}

#[tokio::test]
async fn enforce_what_kubectl_prints_for_a_rejected_pod() {
    let Some(bed) = bed().await else { return };
    bed.named_namespace("shop", "enforce", &[]).await;
    let told = bed.cluster.kubectl(&["apply", "-f", "examples/pods/2-rejected.yaml"]).await;
    assert!(!told.success && told.stdout.is_empty(), "{told:?}");
    insta::assert_snapshot!("kubectl_rejected_pod", told.stderr);
    assert!(bed.pods("shop").await.is_empty());
}

#[tokio::test]
async fn enforce_what_kubectl_prints_for_a_rejected_deployment() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &[]).await;
    let mut template = template(GUNICORN, 10);
    template["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
    let told = bed.create(&namespace, &deployment(&template), &[]).await;
    assert!(!told.success && told.stdout.is_empty(), "{told:?}");
    insta::assert_snapshot!("kubectl_rejected_deployment", told.stderr);
}

#[tokio::test]
async fn enforce_a_deployment_says_why_it_has_no_pods() {
    let Some(bed) = bed_with_controllers().await else { return };
    let namespace = bed.namespace("enforce", &["injector"]).await;
    // The webhook does not know the annotations of the namespace when it judges the Deployment; only the injector does.
    bed.create(&namespace, &deployment(&template(GUNICORN, 10)), &[]).await.ok();
    let failure = "jsonpath={.status.conditions[?(@.type==\"ReplicaFailure\")].message}";
    let get = ["get", "deployment", "cart", "-n", &namespace, "-o", failure];
    eventually("the Deployment says why", async || {
        bed.cluster.kubectl(&get).await.ok().stdout.contains(REASON)
    })
    .await;
    insta::assert_snapshot!("kubectl_replica_failure", bed.cluster.kubectl(&get).await.ok().stdout);
    let events: Api<Event> = Api::namespaced(bed.cluster.client().await, &namespace);
    let failed = ListParams::default().fields("reason=FailedCreate");
    eventually("there is an event", async || {
        let events = events.list(&failed).await.unwrap();
        events.items.iter().any(|event| event.message.as_deref().unwrap_or_default().contains(REASON))
    })
    .await;
    assert!(bed.pods(&namespace).await.is_empty());
}

#[tokio::test]
async fn enforce_a_deployment_gets_its_pod_patched() {
    let Some(bed) = bed_with_controllers().await else { return };
    let namespace = bed.namespace("enforce", &["injector"]).await;
    bed.create(&namespace, &deployment(&template(GUNICORN, 7)), &[]).await.ok();
    eventually("there is a pod", async || !bed.pods(&namespace).await.is_empty()).await;
    assert_patched(&serde_json::to_value(&bed.pods(&namespace).await[0]).unwrap());
}

#[tokio::test]
async fn warn_what_kubectl_prints() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("warn", &[]).await;
    let told = bed.create(&namespace, &injected("cart-gunicorn"), &["-o", "json"]).await.ok();
    insta::assert_snapshot!("kubectl_warned_pod", told.stderr);
    assert_patched(&told.json());
}

#[tokio::test]
async fn audit_changes_and_says_nothing() {
    let Some(bed) = bed().await else { return };
    for mode in ["audit", "off", "unlabelled"] {
        let namespace = bed.namespace(mode, &[]).await;
        for name in ["cart-gunicorn", "front-nginx"] {
            let told = bed.create(&namespace, &injected(name), &["-o", "json"]).await.ok();
            assert_eq!(told.stderr, "", "{mode}");
            assert_eq!(init(&told.json())["args"], init(&injected(name))["args"], "{mode}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_stores_nothing() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &[]).await;
    let told =
        bed.create(&namespace, &injected("front-nginx"), &["--dry-run=server", "-o", "json"]).await.ok();
    assert_patched(&told.json());
    let told = bed.create(&namespace, &injected("cart-gunicorn"), &["--dry-run=server"]).await;
    assert!(!told.success && told.stderr.contains(REASON), "{told:?}");
    assert!(bed.pods(&namespace).await.is_empty());
}

#[tokio::test]
async fn a_mirror_pod_is_left_alone() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &[]).await;
    let mut pod = injected("cart-gunicorn");
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("generateName");
    metadata.insert("name".to_owned(), "cart-node".into());
    metadata["annotations"]["kubernetes.io/config.mirror"] = "0a1b".into();
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.insert("nodeName".to_owned(), "node".into());
    // A mirror pod must not use a ServiceAccount.
    spec.retain(|field, _| !field.starts_with("serviceAccount"));
    let without_token = |part: &Value| part["name"] != "linkerd-identity-token";
    spec["volumes"].as_array_mut().unwrap().retain(without_token);
    for container in spec["containers"].as_array_mut().unwrap() {
        container["volumeMounts"].as_array_mut().unwrap().retain(without_token);
    }
    let told = bed.create(&namespace, &pod, &["-o", "json"]).await.ok();
    assert_eq!(told.stderr, "");
    assert_eq!(init(&told.json())["args"], init(&pod)["args"]);
}

#[tokio::test]
async fn without_the_server_pods_pass_as_they_are() {
    let Some(bed) = any_bed().await else { return };
    let namespace = bed.namespace("enforce", &[]).await;
    let mut server = bed.server.write().await;
    server.stop();
    let address = server.addr();
    eventually("nobody listens", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    let told = bed.create(&namespace, &injected("cart-gunicorn"), &["-o", "json"]).await.ok();
    assert_eq!(init(&told.json())["args"], init(&injected("cart-gunicorn"))["args"]);
    *server = bed.installed.serve().await;
    let told = bed.create(&namespace, &injected("cart-gunicorn"), &[]).await;
    assert!(!told.success, "and from its return on it is asked again");
    let metrics = bed.cluster.kubectl(&["get", "--raw", "/metrics"]).await.ok().stdout;
    for line in include_str!("fixtures/apiserver-metrics.txt").lines().filter(|line| !line.starts_with('#')) {
        let [name, _, labels] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let is_ours = |series: &&str| {
            series.starts_with(name) && series.contains("name=\"enforce.mutate.linkerd-linger.io\"")
        };
        let ours =
            metrics.lines().find(is_ours).unwrap_or_else(|| panic!("the API server does not count {name}"));
        for label in labels.split(',') {
            assert!(ours.contains(&format!("{label}=\"")), "no label {label}: {ours}");
        }
    }
}

#[tokio::test]
async fn the_injector_comes_first() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &["injector"]).await;
    assert_patched(&bed.stored(&namespace, &pod_of(&template(GUNICORN, 7))).await);
    let told = bed.create(&namespace, &pod_of(&template(GUNICORN, 10)), &[]).await;
    assert!(!told.success && told.stderr.contains(REASON), "{told:?}");
}

#[tokio::test]
async fn an_injector_that_comes_later_leads_to_another_call() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &["late-injector"]).await;
    assert_patched(&bed.stored(&namespace, &pod_of(&template(GUNICORN, 7))).await);
    let told = bed.create(&namespace, &pod_of(&template(GUNICORN, 10)), &[]).await;
    assert!(!told.success && told.stderr.contains(REASON), "{told:?}");
}

#[tokio::test]
async fn a_container_that_is_added_later_is_judged_too() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("enforce", &["injector", "late-server"]).await;
    let told = bed.create(&namespace, &pod_of(&template(GUNICORN, 7)), &[]).await;
    assert!(
        !told.success && told.stderr.contains("sidecar: Uvicorn closes idle connections after 5s"),
        "{told:?}"
    );
    let namespace = bed.namespace("enforce", &["injector", "late-logger"]).await;
    let stored = bed.stored(&namespace, &pod_of(&template(GUNICORN, 7))).await;
    assert_patched(&stored);
    assert!(containers(&stored, "containers").contains_key("logger"));
}

/// A policy that refuses privileged containers in labelled namespaces, as Gatekeeper and Kyverno do.
fn no_privilege() -> String {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-privilege"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            }]},
            "validations": [{
                "expression": "!object.spec.?initContainers.orValue([]).exists(c, \
                               c.?securityContext.privileged.orValue(false))",
                "message": "privileged init containers are not allowed",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-privilege"},
        "spec": {
            "policyName": "no-privilege",
            "validationActions": ["Deny"],
            "matchResources": {
                "namespaceSelector": {"matchLabels": {Other::label("no-privilege"): "called"}},
            },
        },
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}).to_string()
}

#[tokio::test]
async fn a_policy_that_refuses_our_patch_is_told_and_the_label_ends_it() {
    let Some(bed) = bed().await else { return };
    bed.cluster.kubectl_with(&["apply", "-f", "-"], &no_privilege()).await.ok();
    let namespace = bed.namespace("enforce", &["no-privilege"]).await;
    let pod = injected("front-nginx");
    eventually("the policy refuses what we patch", async || {
        let told = bed.create(&namespace, &pod, &["--dry-run=server"]).await;
        !told.success && told.stderr.contains("ValidatingAdmissionPolicy 'no-privilege'")
    })
    .await;

    let kubeconfig = Some(bed.cluster.kubeconfig());
    let target = cluster_of_kubeconfig::Target { kubeconfig, ..Default::default() };
    let client = cluster_of_kubeconfig::Cluster::connect(&target).await.unwrap();
    let results = async || {
        let mut snapshot = client.snapshot("linkerd").await;
        let is_ours = |it: &Namespace| it.metadata.name.as_deref() == Some(&namespace);
        snapshot.namespaces.as_mut().unwrap().retain(is_ours);
        let (dry_runs, mut results) = dry_run::dry_runs(&snapshot, date(2026, 11, 23));
        for trial in &dry_runs {
            results.push(client.dry_run(trial).await);
        }
        results
    };
    let refused = results().await;
    let Some(CheckResult { outcome: Outcome::Error(why), .. }) =
        refused.iter().find(|result| result.id == CheckId::PatchAdmitted)
    else {
        panic!("{refused:?}")
    };
    assert!(why.contains("the ValidatingAdmissionPolicy no-privilege rejects the pod only if"), "{why}");
    assert!(why.contains("label the namespace linkerd-linger.io/privileged=never"), "{why}");

    let label = ["label", "namespace", &namespace, "linkerd-linger.io/privileged=never"];
    bed.cluster.kubectl(&label).await.ok();
    eventually("the pod is admitted unpatched", async || {
        bed.create(&namespace, &pod, &["--dry-run=server"]).await.success
    })
    .await;
    let told = bed.create(&namespace, &pod, &["-o", "json"]).await.ok();
    assert_eq!(init(&told.json())["args"], init(&pod)["args"]);
    assert!(told.stderr.contains("the namespace forbids the privileged container"), "{}", told.stderr);
    let told = bed.create(&namespace, &injected("cart-gunicorn"), &[]).await;
    assert!(!told.success && told.stderr.contains(REASON), "probes are judged all the same: {told:?}");
    let labelled = results().await;
    assert!(labelled.iter().all(|result| result.outcome == Outcome::Good), "{labelled:?}");
}

#[tokio::test]
async fn a_cluster_that_is_dropped_ends_and_leaves_nothing() {
    // Starts after the other tests: two concurrent starts take longer than sequential ones.
    let Some(bed) = bed().await else { return };
    let other = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
    let kubeconfig = other.kubeconfig();
    assert_ne!(kubeconfig, bed.cluster.kubeconfig());
    assert!(other.kubectl(&["get", "--raw=/readyz"]).await.success);
    drop(other);
    let dir = kubeconfig.parent().unwrap();
    assert!(!dir.exists(), "{} is left", dir.display());
}

/// Runs `audit`: what it prints, its exit code, and the most memory that it used, in bytes.
async fn audit(bed: &Bed, args: &[&str]) -> (String, Option<i32>, u64) {
    let program =
        std::env::var_os("AUDIT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_linkerd-linger").into());
    let mut command = tokio::process::Command::new(program);
    command.arg("audit").args(args).env("KUBECONFIG", bed.cluster.kubeconfig());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let output = child.wait_with_output();
    tokio::pin!(output);
    let mut peak = 0;
    loop {
        tokio::select! {
            output = &mut output => {
                let output = output.unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
                return (text, output.status.code(), peak);
            }
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                let read = std::fs::read_to_string(&status).unwrap_or_default();
                let line = read.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
                peak = peak.max(kib.unwrap_or_default() * 1024);
            }
        }
    }
}

#[tokio::test]
async fn audit_tells_what_admission_does_and_what_a_drain_breaks() {
    let Some(bed) = bed().await else { return };
    let namespace = "checkout".to_owned();
    bed.named_namespace(&namespace, "off", &[]).await;
    // It runs already: the webhook was not called for it.
    let pod = bed.stored(&namespace, &injected("cart-gunicorn")).await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    let before = audit(&bed, &["-n", &namespace]).await;
    assert!(before.0.contains("rejected") && !before.0.contains("drain"), "{}", before.0);
    let label = format!("{}=enforce", names::MODE_LABEL);
    bed.cluster.kubectl(&["label", "--overwrite", "namespace", &namespace, &label]).await.ok();
    let (text, code, _) = audit(&bed, &["-n", &namespace]).await;
    let told = format!("  {namespace} pod/{name} (1 pod): cart: ");
    assert!(text.contains("so a drain of their nodes would break them:\n"), "{text}");
    assert!(text.contains(&told), "{text}");
    assert_eq!(code, Some(1));
    let tried = audit(&bed, &["-n", &namespace, "--mode", "warn", "-o", "json"]).await.0;
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert_eq!((&tried["owners"][0]["mode"], &tried["errors"]), (&json!("warn"), &json!([])));
}

/// A CustomResourceDefinition of argoproj.io/v1alpha1 with this schema of `spec`.
fn definition(plural: &str, kind: &str, spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.argoproj.io")},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

/// The schema of a pod template, as Kubernetes publishes it, without descriptions and references.
async fn pod_template_schema(bed: &Bed) -> Value {
    fn resolve(schema: &Value, all: &Value, depth: usize) -> Value {
        if let Some(name) = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str()) {
            return resolve(&all[name.rsplit('/').next().unwrap()], all, depth);
        }
        match schema["type"].as_str() {
            Some("object") if schema["properties"].is_object() && depth < 12 => {
                let fields = schema["properties"].as_object().unwrap().iter();
                let fields = fields.map(|(name, schema)| (name.clone(), resolve(schema, all, depth + 1)));
                json!({"type": "object", "properties": Value::Object(fields.collect())})
            }
            Some("array") => json!({"type": "array", "items": resolve(&schema["items"], all, depth + 1)}),
            Some("string" | "integer" | "boolean") if schema["format"] != "int-or-string" => {
                json!({"type": schema["type"]})
            }
            _ => json!({"x-kubernetes-preserve-unknown-fields": true}),
        }
    }
    let published = bed.cluster.kubectl(&["get", "--raw=/openapi/v3/api/v1"]).await.ok().json();
    let all = &published["components"]["schemas"];
    resolve(&all["io.k8s.api.core.v1.PodTemplateSpec"], all, 0)
}

#[tokio::test]
async fn audit_reads_custom_resources_and_counts_their_pods_for_them() {
    let Some(bed) = bed().await else { return };
    let namespace = bed.namespace("off", &[]).await;
    let template_schema = pod_template_schema(&bed).await;
    assert!(template_schema.to_string().len() > 20_000, "a whole schema: {template_schema}");
    let rollout = json!({"type": "object", "properties": {"template": template_schema}});
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    for definition in
        [definition("rollouts", "Rollout", &rollout), definition("workflows", "Workflow", &open)]
    {
        bed.cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &definition.to_string()).await.ok();
    }
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd"];
    for name in ["rollouts.argoproj.io", "workflows.argoproj.io"] {
        bed.cluster.kubectl(&[&wait[..], &[name]].concat()).await.ok();
    }
    let create = async |object: Value| {
        let args = ["create", "-n", &*namespace, "-f", "-", "-o", "json"];
        bed.cluster.kubectl_with(&args, &object.to_string()).await.ok().json()
    };
    let custom = |kind: &str, spec: Value| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "cart"}, "spec": spec});
    let mut template = template(GUNICORN, 10);
    template["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
    let rollout = create(custom("Rollout", json!({"template": template}))).await;
    create(custom("Workflow", json!({"templates": [{"name": "main", "container": {"image": "job:1"}}]})))
        .await;
    let mut pod = injected("cart-gunicorn");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "cart", "controller": true,
        "uid": rollout["metadata"]["uid"],
    }]);
    create(pod).await;
    let (text, code, _) = audit(&bed, &["-n", &namespace, "-o", "json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    let owners = report["owners"].as_array().unwrap();
    let found: Vec<_> = owners.iter().map(|owner| (&owner["kind"], &owner["pods"]["running"])).collect();
    assert_eq!(found, [(&json!("Rollout"), &json!(1)), (&json!("Workflow"), &json!(0))], "{report:#}");
    assert_eq!((&owners[0]["template"], &report["errors"]), (&json!("spec.template"), &json!([])));
    assert_eq!((&owners[0]["admission"]["enforce"], code), (&json!("rejected"), Some(1)));

    // Without the right to list one of them.
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{
            "apiGroups": ["", "apps", "batch", "argoproj.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"],
            "resources": [
                "namespaces", "pods", "configmaps", "replicationcontrollers", "deployments", "statefulsets", "daemonsets",
                "replicasets", "jobs", "cronjobs", "workflows", "customresourcedefinitions",
                "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
            ],
            "verbs": ["list", "get"],
        }],
    });
    create(reader).await;
    bed.cluster
        .kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=reader"])
        .await
        .ok();
    let report = async |flags: &[&str]| {
        let args = [&["-n", &*namespace, "-o", "json", "--as", "reader"], flags].concat();
        let (text, code, _) = audit(&bed, &args).await;
        (serde_json::from_str::<Value>(&text).unwrap(), code)
    };
    let (told, code) = report(&[]).await;
    let message = format!("no permission to list rollouts.argoproj.io in the namespace {namespace}");
    assert_eq!(
        (&told["errors"][0]["message"], &told["errors"][1], code),
        (&json!(message), &json!(null), Some(2))
    );
    assert_eq!(
        (&told["owners"][0]["kind"], &told["owners"][0]["pods"]["running"]),
        (&json!("Rollout"), &json!(1))
    );
    let (told, code) = report(&["--only-permitted"]).await;
    assert_eq!((&told["errors"], &told["leftOut"], code), (&json!([]), &json!([message]), Some(1)));
    for kind in [
        "crd/rollouts.argoproj.io",
        "crd/workflows.argoproj.io",
        "clusterrolebinding/reader",
        "clusterrole/reader",
    ] {
        bed.cluster.kubectl(&["delete", kind]).await.ok();
    }
}

/// How many pods a workload has in the test of many pods.
const PODS_OF_AN_OWNER: usize = 10;

/// What an audit may use for its objects, in bytes: a program without optimisation has half of 100 MB before it reads any.
const MAX_AUDIT_BYTES: u64 = 60_000_000;

/// Memory does not grow with the number of pods: pages are judged and dropped. `AUDIT_PODS=10000` is the size of a large
/// cluster.
#[tokio::test]
async fn audit_reads_many_pods_with_little_memory() {
    let Some(bed) = bed().await else { return };
    let number: usize = std::env::var("AUDIT_PODS").map_or(1_200, |number| number.parse().unwrap());
    let namespace = bed.namespace("off", &[]).await;
    let pod: Pod = serde_json::from_value(injected("front-nginx")).unwrap();
    let pods: Api<Pod> = Api::namespaced(bed.cluster.client().await, &namespace);
    let owners: Api<ConfigMap> = Api::namespaced(bed.cluster.client().await, &namespace);
    let mut owner: Option<OwnerReference> = None;
    let mut created = tokio::task::JoinSet::new();
    for index in 0..number {
        if created.len() >= 32 {
            created.join_next().await.unwrap().unwrap();
        }
        if index % PODS_OF_AN_OWNER == 0 {
            // No controller looks for the pods of a ConfigMap, and the garbage collector finds their owner.
            let mut object = ConfigMap::default();
            object.metadata.name = Some(format!("front-{index}"));
            owner = owners.create(&Default::default(), &object).await.unwrap().controller_owner_ref(&());
        }
        let (pods, mut pod) = (pods.clone(), pod.clone());
        pod.metadata.owner_references = owner.clone().map(|owner| vec![owner]);
        created.spawn(async move {
            pods.create(&Default::default(), &pod).await.unwrap();
        });
    }
    while let Some(created) = created.join_next().await {
        created.unwrap();
    }
    let base = audit(&bed, &["-n", "default"]).await.2;
    let started = Instant::now();
    let (text, _, peak) = audit(&bed, &["-n", &namespace, "--mode", "enforce", "-o", "json"]).await;
    let took = started.elapsed();
    let report: Value = serde_json::from_str(&text).unwrap();
    let running: u64 = report["owners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|owner| owner["pods"]["running"].as_u64().unwrap())
        .sum();
    assert_eq!(running, number as u64);
    println!("{number} pods took {took:?} and {} MB, {} MB without them", peak / 1_000_000, base / 1_000_000);
    assert!(peak < base + MAX_AUDIT_BYTES, "{peak} bytes for {number} pods, and {base} without them");
}
