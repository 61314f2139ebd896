//! Tests an installation on a real node: kubelet, containerd, kube-proxy and the kernel's conntrack.
//!
//! The output of `install` is applied unchanged, and everything runs in pods. `tests/cluster/pod` replaces Linkerd's
//! containers: it accepts linkerd-init's flags, writes the same setting and redirects with the same rules.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/recordings.rs"]
#[allow(dead_code, reason = "tests/diagnose.rs uses all of it")]
mod recordings;
mod support;

use std::{
    fs,
    io::Read,
    process::Stdio,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use linkerd_linger::cmd::set_close_wait::SYSCTL_FILE;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    runtime::Runtime,
    sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::{
    cluster::{
        Cluster, Told,
        node::POD_IMAGE,
        pods::{LINES, app, of_line},
    },
    recordings::{Fault, Form, Recording, record},
    support::{NotRun, say, started},
};

/// Longer than any start of pods takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(150);
/// A program that leaves three connections half-closed, and closes none.
const LEAVES_OPEN: &[&str] = &["leave-open", "-connect", "3"];

struct Bed {
    cluster: Cluster,
    /// Locked for writing by a test that takes something away.
    whole: RwLock<()>,
}

/// Outlives the runtime of each test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static BED: OnceCell<Result<Bed, NotRun>> = OnceCell::const_new();

/// The bed with everything running; nothing on a machine that cannot run it, which is a failure only in CI.
async fn bed() -> Option<(&'static Bed, RwLockReadGuard<'static, ()>)> {
    let bed = any_bed().await?;
    Some((bed, bed.whole.read().await))
}

/// The bed for a test that takes something away, and gives it back.
async fn bed_alone() -> Option<(&'static Bed, RwLockWriteGuard<'static, ()>)> {
    let bed = any_bed().await?;
    Some((bed, bed.whole.write().await))
}

async fn any_bed() -> Option<&'static Bed> {
    started(&BED, Bed::start).await
}

impl Bed {
    async fn start() -> Result<Self, NotRun> {
        let cluster = RUNTIME.spawn_blocking(Cluster::start_with_node).await.unwrap()?;
        let bed = Self { cluster, whole: RwLock::new(()) };
        bed.install(&[]).await;
        for (name, mode) in [("shop", "enforce"), ("warned", "warn"), ("audited", "audit")] {
            bed.namespace(name, mode).await;
        }
        Ok(bed)
    }

    /// Applies what `install` prints, and waits until it is there.
    async fn install(&self, flags: &[&str]) {
        let manifests = self.linger(&[&["install", "--sockets"], flags].concat()).await.ok().stdout;
        self.cluster.kubectl_with(&["apply", "-f", "-"], &manifests).await.ok();
        self.is_rolled_out().await;
    }

    async fn is_rolled_out(&self) {
        for (namespace, workload) in [
            ("linkerd-linger", "deployment/linkerd-linger"),
            ("linkerd-linger-sockets", "daemonset/linkerd-linger-sockets"),
        ] {
            self.kubectl(&["rollout", "status", workload, "-n", namespace, "--timeout=120s"]).await;
        }
    }

    async fn namespace(&self, name: &str, mode: &str) {
        self.kubectl(&["create", "namespace", name]).await;
        self.kubectl(&["label", "namespace", name, &format!("linkerd-linger.io/mode={mode}")]).await;
        eventually("it has a ServiceAccount", async || {
            self.cluster.kubectl(&["get", "serviceaccount/default", "-n", name]).await.success
        })
        .await;
    }

    /// What kubectl prints, which must succeed.
    async fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(args).await.ok().stdout
    }

    /// Runs our own program as a user does: it reaches the cluster by the kubeconfig alone.
    async fn linger(&self, args: &[&str]) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
        command.args(args).env("KUBECONFIG", self.cluster.kubeconfig()).env_remove("LINKERD_NAMESPACE");
        command.stdin(Stdio::null()).kill_on_drop(true);
        Told::from(timeout(PATIENCE, command.output()).await.expect("it ends").unwrap())
    }

    async fn create(&self, namespace: &str, pod: &Value) -> Told {
        self.cluster.kubectl_with(&["create", "-n", namespace, "-f", "-"], &pod.to_string()).await
    }

    /// Creates a pod, which must be admitted, and waits until it runs.
    async fn run(&self, namespace: &str, pod: &Value) -> Told {
        let told = self.create(namespace, pod).await.ok();
        self.runs(namespace, pod["metadata"]["name"].as_str().unwrap()).await;
        told
    }

    async fn runs(&self, namespace: &str, pod: &str) {
        let state = "jsonpath={.status.phase} {.status.containerStatuses[*].state}";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.kubectl(&["get", "pod", pod, "-n", namespace, "-o", state]).await;
            if told.starts_with("Running") && !told.contains("waiting") && !told.contains("terminated") {
                return;
            }
            if Instant::now() > deadline {
                panic!(
                    "{pod} does not run: {}",
                    self.kubectl(&["describe", "pod", pod, "-n", namespace]).await
                );
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    async fn delete(&self, namespace: &str, pod: &str) {
        self.kubectl(&["delete", "pod", pod, "-n", namespace, "--wait=false"]).await;
    }

    /// The close-wait timeout, read by a program in the pod's own container.
    async fn timeout_by_exec(&self, namespace: &str, pod: &str) -> String {
        let read = ["exec", pod, "-n", namespace, "-c", "web-svc", "--", "/usr/bin/pod", "cat", SYSCTL_FILE];
        self.kubectl(&read).await.trim().to_owned()
    }

    /// The reports of `sockets` on the pods that its flags choose, as JSON.
    async fn sockets(&self, flags: &[&str]) -> Value {
        self.linger(&[&["sockets", "-o", "json"], flags].concat()).await.ok().json()
    }

    /// Whether the probes of a pod can fail, as `lint` says; `None` if no probe matches the idle timeout.
    async fn predicts(&self, pod: &Value) -> Option<bool> {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        fs::write(file.path(), pod.to_string()).unwrap();
        let report = self.linger(&["lint", "-o", "json", file.path().to_str().unwrap()]).await.json();
        let findings = report["objects"][0]["findings"].as_array().unwrap().iter();
        let mut findings = findings.filter(|finding| finding["rule"] == "probe-matches-idle-timeout");
        findings.next().map(|finding| finding["reachable"].as_bool().unwrap())
    }

    /// Creates pods until it is told to stop, and returns how many; each must be admitted, and patched.
    fn create_pods(&self) -> Stream {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kubeconfig) = (Arc::clone(&stop), self.cluster.kubeconfig());
        let task = RUNTIME.spawn(async move {
            let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
            let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(
                kube::Client::try_from(config).unwrap(),
                "shop",
            );
            let mut created = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut pod = of_line("stable-2.14.10", &format!("stream-{created}"), &["pause"]);
                // It is admitted like any other, and never runs.
                pod["spec"]["nodeSelector"] = json!({"nowhere": "true"});
                let pod = serde_json::from_value(pod).unwrap();
                let created_pod = pods.create(&Default::default(), &pod).await;
                let pod =
                    created_pod.unwrap_or_else(|error| panic!("pod {created} was not admitted: {error}"));
                let args = pod.spec.unwrap().init_containers.unwrap()[0].args.clone().unwrap();
                assert_eq!(args.last().unwrap(), "3600", "pod {created} was not patched");
                created += 1;
                sleep(Duration::from_millis(100)).await;
            }
            created
        });
        Stream { stop, task }
    }

    /// Waits until the webhook answers again: a pod is refused that it must refuse.
    async fn refuses(&self) {
        eventually("the webhook refuses a pod", async || {
            let told = self.create("shop", &racing("refused", 2, "2s")).await;
            !told.success && told.stderr.contains("closes idle connections after 2s")
        })
        .await;
    }
}

/// Pods that are created all the while.
struct Stream {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Stream {
    async fn end(self, bed: &Bed) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let created = self.task.await.unwrap();
        let selector = "spec.nodeName=";
        bed.kubectl(&["delete", "pods", "-n", "shop", "--field-selector", selector, "--wait=false"]).await;
        created
    }
}

/// Polls a condition until it holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(250)).await;
    }
}

/// A pod whose server closes idle connections after `idle`, probed every `period` seconds.
fn racing(name: &str, period: u32, idle: &str) -> Value {
    // The server does not read for 30 ms before it closes, as long as a throttled one (measured) may not.
    let mut pod =
        of_line("stable-2.14.10", name, &["serve", "-listen", ":8080", "-idle", idle, "-deaf", "30ms"]);
    pod["metadata"]["annotations"]["linkerd-linger.io/idle-timeout"] = idle.into();
    let app = app(&mut pod);
    app["ports"] = json!([{"containerPort": 8080}]);
    app["readinessProbe"] = json!({
        "httpGet": {"path": "/", "port": 8080}, "periodSeconds": period, "timeoutSeconds": 1, "failureThreshold": 3,
    });
    pod
}

/// A pod that Pod Security's restricted level admits.
fn restricted_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "web", "image": POD_IMAGE, "command": ["/usr/bin/pod"], "args": LEAVES_OPEN,
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]},
    })
}

/// The entries of a report for one pod.
fn of_pod<'r>(report: &'r Value, pod: &str) -> &'r Value {
    let namespaces = report["namespaces"].as_array().unwrap();
    namespaces
        .iter()
        .find(|namespace| namespace["pod"] == pod)
        .unwrap_or_else(|| panic!("no {pod} in {report}"))
}

#[tokio::test]
async fn install_as_printed_comes_up_and_check_is_content() {
    let Some((bed, _whole)) = bed().await else { return };
    let job = "jsonpath={.items[*].status.succeeded}";
    assert_eq!(bed.kubectl(&["get", "jobs", "-n", "linkerd-linger", "-o", job]).await, "1");
    let ready = "jsonpath={.status.readyReplicas}";
    let get = ["get", "deployment", "linkerd-linger", "-n", "linkerd-linger", "-o", ready];
    assert_eq!(bed.kubectl(&get).await, "2");
    let told = bed.linger(&["check", "--wait=60s", "-o", "json"]).await;
    let report = told.json();
    let bad: Vec<_> = report["categories"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|category| category["checks"].as_array().unwrap())
        .filter(|check| check["result"] != "success")
        .collect();
    // There is no control plane of Linkerd, whose injector the order of webhooks is about.
    let known =
        ["Linkerd's proxy injector is installed", "mutating webhook is called after Linkerd's injectors"];
    let other = bad.iter().filter(|check| !known.iter().any(|known| check["description"] == *known));
    assert_eq!(other.count(), 0, "{bad:?}");
    assert!(told.success && report["success"] == true, "{report}");
}

/// Each line of Linkerd sets it in its own way; 2.20 by our own init container, whose linkerd-init has no sysctl.
#[rstest]
#[tokio::test]
async fn a_patched_pod_has_an_hour_in_its_own_kernel(#[values(0, 1, 2, 3)] line: usize) {
    let Some((bed, _whole)) = bed().await else { return };
    let (line, pod) = (LINES[line], format!("line-{line}"));
    bed.run("shop", &of_line(line, &pod, LEAVES_OPEN)).await;
    assert_eq!(bed.timeout_by_exec("shop", &pod).await, "3600", "{line}");
    let report = bed.sockets(&["-n", "shop", &pod]).await;
    let found = of_pod(&report, &pod);
    assert_eq!(found["closeWaitTimeoutSeconds"], 3600, "{line}");
    let check = bed.linger(&["check", "--proxy", "--namespace", "shop", "--wait=0s"]).await;
    assert!(check.stdout.contains("in the kernels of injected pods: 3600s in "), "{}", check.stdout);
    bed.delete("shop", &pod).await;
}

#[tokio::test]
async fn in_an_audited_namespace_a_pod_keeps_its_kernels_minute() {
    let Some((bed, _whole)) = bed().await else { return };
    let pod = of_line("stable-2.14.10", "untouched", &["pause"]);
    bed.run("audited", &pod).await;
    assert_eq!(bed.timeout_by_exec("audited", "untouched").await, "60");
    bed.delete("audited", "untouched").await;
}

#[tokio::test]
async fn a_rejected_pod_is_refused_and_the_repaired_one_runs() {
    let Some((bed, _whole)) = bed().await else { return };
    let told = bed.create("shop", &racing("repaired", 2, "2s")).await;
    assert!(
        !told.success && told.stderr.contains("web-svc: its server closes idle connections after 2s"),
        "{told:?}"
    );
    bed.run("shop", &racing("repaired", 2, "65s")).await;
    bed.delete("shop", "repaired").await;
}

#[tokio::test]
async fn probes_fail_where_we_say_so_and_nowhere_else() {
    let Some((bed, _whole)) = bed().await else { return };
    // The proxy keeps an idle connection for 3 s.
    let cases =
        [("fails", 2, "2s", Some(true)), ("out-of-reach", 5, "5s", Some(false)), ("works", 2, "65s", None)];
    for (name, period, idle, predicted) in cases {
        let pod = racing(name, period, idle);
        assert_eq!(bed.predicts(&pod).await, predicted, "{name}");
        let told = bed.run("warned", &pod).await;
        assert_eq!(
            told.stderr.contains("its server closes idle connections"),
            predicted.is_some(),
            "{told:?}"
        );
    }
    let failures = async |pod: &str| {
        let of = format!("reason=Unhealthy,involvedObject.name={pod}");
        let told =
            bed.kubectl(&["get", "events", "-n", "warned", "--field-selector", &of, "-o", "json"]).await;
        let events: Value = serde_json::from_str(&told).unwrap();
        let events = events["items"].as_array().unwrap().iter();
        let failures = events.filter(|event| event["message"].as_str().unwrap().contains("statuscode: 50"));
        failures.map(|event| event["count"].as_u64().unwrap_or(1)).sum::<u64>()
    };
    let since = Instant::now();
    eventually("probes fail", async || failures("fails").await >= 5).await;
    // As long again, and at least four periods of the slowest.
    sleep(since.elapsed().max(Duration::from_secs(20))).await;
    let failed = failures("fails").await;
    say(&format!("probes failed {failed} times in {}s", since.elapsed().as_secs()));
    for pod in ["out-of-reach", "works"] {
        assert_eq!(failures(pod).await, 0, "{pod}");
    }
    for pod in ["fails", "out-of-reach", "works"] {
        bed.delete("warned", pod).await;
    }
}

#[tokio::test]
async fn sockets_names_the_app_that_leaves_connections_open() {
    let Some((bed, _whole)) = bed().await else { return };
    bed.run("shop", &of_line("stable-2.14.10", "leaver", LEAVES_OPEN)).await;
    // By the DaemonSet's pod, and then by an ephemeral container of the pod.
    for flags in [&["-n", "shop", "leaver"][..], &["-n", "shop", "leaver", "--debug-container"]] {
        let told = bed.linger(&[&["sockets"], flags].concat()).await.ok().stdout;
        let found = "app pod (PID ";
        let rest = " in the container web-svc has left 3 connections half-closed";
        assert!(
            told.starts_with("pod shop/leaver\n") && told.contains(found) && told.contains(rest),
            "{told}"
        );
    }
    let fails = bed.linger(&["sockets", "-n", "shop", "leaver", "--fail-on", "half-closed=3"]).await;
    assert!(!fails.success);
    let metrics = bed.linger(&["sockets", "-n", "shop", "leaver", "-o", "prometheus"]).await.ok().stdout;
    let series = "linger_sockets_half_closed{namespace=\"shop\",pod=\"leaver\",uid=\"";
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with(series) && line.ends_with(",state=\"CLOSE_WAIT\",side=\"app\"} 3")),
        "{metrics}"
    );
    bed.delete("shop", "leaver").await;
}

#[tokio::test]
async fn without_the_daemon_set_an_ephemeral_container_reads_a_pod() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    bed.run("shop", &of_line("version-2.20", "debugged", LEAVES_OPEN)).await;
    let of = ["-n", "linkerd-linger-sockets"];
    bed.kubectl(
        &[&["delete", "daemonset", "linkerd-linger-sockets", "--cascade=foreground"], &of[..]].concat(),
    )
    .await;
    let told = bed.linger(&["sockets", "-n", "shop", "debugged"]).await;
    assert!(!told.success && told.stderr.contains("1 pod cannot be read (shop/debugged)"), "{told:?}");
    let check = bed.linger(&["check", "--proxy", "-n", "shop", "--wait=0s"]).await;
    assert!(check.stdout.contains("in the kernels of injected pods (not read: "), "{}", check.stdout);
    for flags in [&["-n", "shop", "debugged", "--debug-container"][..], &["-n", "shop", "debugged"]] {
        let report = bed.sockets(flags).await;
        let found = of_pod(&report, "debugged");
        assert_eq!(found["closeWaitTimeoutSeconds"], 3600, "{found}");
        assert_eq!(found["conntrackCloseWait"], 0, "it may read conntrack: {found}");
        let sockets = found["sockets"].as_array().unwrap();
        assert_eq!(sockets.len(), 6, "{found}");
        assert!(sockets.iter().all(|socket| socket["containerName"] == "web-svc"), "{found}");
    }
    let containers = "jsonpath={.spec.ephemeralContainers[*].name}";
    let containers = bed.kubectl(&["get", "pod", "debugged", "-n", "shop", "-o", containers]).await;
    assert_eq!(containers, "linger-sockets-1", "the second report used the first container");
    let check = bed.linger(&["check", "--proxy", "-n", "shop", "--wait=0s"]).await;
    assert!(check.stdout.contains("in the kernels of injected pods: 3600s in 1 pod"), "{}", check.stdout);
    bed.delete("shop", "debugged").await;

    // Where Pod Security is restricted, the container has no privileges, and reads less.
    bed.namespace("restricted", "off").await;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    bed.kubectl(&["label", "namespace", "restricted", restricted]).await;
    bed.run("restricted", &restricted_pod("plain")).await;
    let report = bed.sockets(&["-n", "restricted", "plain", "--debug-container"]).await;
    let found = of_pod(&report, "plain");
    assert_eq!((&found["closeWaitTimeoutSeconds"], &found["conntrackCloseWait"]), (&json!(60), &Value::Null));
    assert_eq!(found["sockets"].as_array().unwrap().len(), 6, "{found}");
    assert_eq!(found["sockets"][0]["side"], "app", "{found}");
    assert!(found["gaps"].to_string().contains("reading conntrack entries needs CAP_NET_ADMIN"), "{found}");
    bed.kubectl(&["delete", "namespace", "restricted", "--wait=false"]).await;
    bed.install(&[]).await;
}

/// By port-forward, past the proxy, whose own port has another timeout.
#[tokio::test]
async fn a_deployments_server_is_measured_and_annotated() {
    let Some((bed, _whole)) = bed().await else { return };
    let mut pod = racing("measured-web", 10, "1500ms");
    pod["metadata"]["annotations"].as_object_mut().unwrap().remove("linkerd-linger.io/idle-timeout");
    pod["metadata"]["labels"]["app"] = "measured-web".into();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "measured-web"},
        "spec": {
            "selector": {"matchLabels": {"app": "measured-web"}},
            "template": {"metadata": pod["metadata"], "spec": pod["spec"]},
        },
    });
    bed.create("shop", &deployment).await.ok();
    let rollout = ["rollout", "status", "deployment/measured-web", "-n", "shop", "--timeout=120s"];
    bed.kubectl(&rollout).await;
    let told = bed.linger(&["measure", "deploy/measured-web", "-n", "shop", "-o", "json"]).await.ok();
    let server = &told.json()["servers"][0];
    assert_eq!(server["kind"], "closes-after", "{server}");
    assert!((server["closesAfterSeconds"][0].as_f64().unwrap() - 1.5).abs() < 0.15, "{server}");
    assert!(server["server"].as_str().unwrap().contains("container web-svc, port 8080, GET /"), "{server}");
    assert!(server["spec"].as_str().unwrap().starts_with("unknown: "), "{server}");
    // The same, as a fact that the next command reads.
    let directory = tempfile::tempdir().unwrap();
    let facts = directory.path().join("facts.yaml");
    let facts = facts.to_str().unwrap();
    let asks = bed.linger(&["learn", "-n", "shop"]).await;
    assert!(
        !asks.success && asks.stderr.contains("nothing was measured: stdin is not a terminal"),
        "{asks:?}"
    );
    let told = bed.linger(&["learn", "-n", "shop", "--yes", "--max", "5s", "--write-facts", facts]).await;
    assert!(told.stderr.contains("with the new facts: "), "{told:?}");
    let text = fs::read_to_string(facts).unwrap();
    assert!(text.contains("name: measured-web") && text.contains("closesAfter:\n  - 1.5"), "{text}");
    let told = bed.linger(&["learn", "-n", "shop", "--facts", facts]).await;
    let known = told.stderr.lines().next().unwrap_or_default().to_owned();
    assert!(!told.stderr.contains("shop deployment/measured-web"), "{known}: it is known: {told:?}");
    let told = bed.linger(&["measure", "deploy/measured-web", "-n", "shop", "--annotate"]).await.ok();
    assert!(told.stderr.contains("annotated deployment/measured-web in shop: "), "{told:?}");
    let path = "jsonpath={.spec.template.metadata.annotations['linkerd-linger\\.io/idle-timeout']}";
    let annotation = bed.kubectl(&["get", "deployment", "measured-web", "-n", "shop", "-o", path]).await;
    assert_eq!(annotation, "web-svc=1.5s");
    bed.kubectl(&rollout).await;
    let told = bed.linger(&["measure", "deploy/measured-web", "-n", "shop", "-o", "json"]).await.ok();
    assert_eq!(told.json()["servers"][0]["agrees"], true);
    bed.kubectl(&["delete", "deployment", "measured-web", "-n", "shop"]).await;
}

#[tokio::test]
async fn the_daemon_set_exposes_the_metrics_of_its_nodes_pods() {
    let Some((bed, _whole)) = bed().await else { return };
    bed.run("shop", &of_line("edge-24.11.8-l5d2.17", "measured", LEAVES_OPEN)).await;
    let name = "jsonpath={.items[0].metadata.name}";
    let pod = bed.kubectl(&["get", "pods", "-n", "linkerd-linger-sockets", "-o", name]).await;
    let proxy = format!("/api/v1/namespaces/linkerd-linger-sockets/pods/{pod}:9991/proxy/metrics");
    let metrics = bed.kubectl(&["get", "--raw", &proxy]).await;
    let half_closed = "linger_sockets_half_closed{pod=\"measured\",uid=\"";
    assert!(
        metrics.lines().any(|line| line.starts_with(half_closed) && line.ends_with("side=\"app\"} 3")),
        "{metrics}"
    );
    let timeout = "linger_close_wait_timeout_seconds{pod=\"measured\",uid=\"";
    assert!(metrics.lines().any(|line| line.starts_with(timeout) && line.ends_with("} 3600")), "{metrics}");
    bed.delete("shop", "measured").await;
}

#[tokio::test]
async fn pods_are_patched_during_a_rolling_restart_and_a_rotation() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    bed.install(&["--failure-policy", "Fail"]).await;
    let stream = bed.create_pods();
    bed.kubectl(&["rollout", "restart", "deployment/linkerd-linger", "-n", "linkerd-linger"]).await;
    bed.is_rolled_out().await;
    let certificate = "jsonpath={.data['tls\\.crt']}";
    let secret = ["get", "secret", "linkerd-linger-tls", "-n", "linkerd-linger", "-o", certificate];
    let before = bed.kubectl(&secret).await;
    let no_key = r#"[{"op": "remove", "path": "/data/ca.key"}]"#;
    let patch =
        ["patch", "secret", "linkerd-linger-tls", "-n", "linkerd-linger", "--type=json", "-p", no_key];
    bed.kubectl(&patch).await;
    let job = ["create", "job", "rotate-now", "--from=cronjob/linkerd-linger-certs", "-n", "linkerd-linger"];
    bed.kubectl(&job).await;
    bed.kubectl(&[
        "wait",
        "job/rotate-now",
        "-n",
        "linkerd-linger",
        "--for=condition=complete",
        "--timeout=120s",
    ])
    .await;
    assert_ne!(bed.kubectl(&secret).await, before, "the certificate was renewed");
    // Kubelets write a changed Secret within two minutes; the old pair stays good as long.
    sleep(Duration::from_secs(10)).await;
    let created = stream.end(bed).await;
    assert!(created > 50, "only {created} pods were created");
    say(&format!("{created} pods were patched during a restart and a rotation"));
    bed.kubectl(&["delete", "job", "rotate-now", "-n", "linkerd-linger"]).await;
    bed.install(&[]).await;
}

#[tokio::test]
async fn with_every_replica_gone_pods_are_refused_until_it_comes_back_by_itself() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    bed.install(&["--failure-policy", "Fail"]).await;
    bed.kubectl(&["scale", "deployment/linkerd-linger", "-n", "linkerd-linger", "--replicas=0"]).await;
    let pod = of_line("stable-2.14.10", "refused", &["pause"]);
    eventually("pods are refused", async || {
        let told = bed.create("shop", &pod).await;
        if told.success {
            bed.delete("shop", "refused").await;
        }
        !told.success && told.stderr.contains("failed calling webhook")
    })
    .await;
    // Elsewhere, and where the webhook's own pods start, nothing is refused.
    bed.create("warned", &pod).await.ok();
    bed.delete("warned", "refused").await;
    bed.kubectl(&["scale", "deployment/linkerd-linger", "-n", "linkerd-linger", "--replicas=2"]).await;
    eventually("pods are admitted again", async || bed.create("shop", &pod).await.success).await;
    bed.runs("shop", "refused").await;
    assert_eq!(bed.timeout_by_exec("shop", "refused").await, "3600");
    bed.delete("shop", "refused").await;
    bed.install(&[]).await;
}

/// The bed has one node, so the second replica waits for its ports, and the first one answers.
#[tokio::test]
async fn on_the_host_network_one_replica_of_a_node_patches_pods() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    let flags = ["install", "--sockets", "--host-network", "--webhook-port", "18443"];
    let manifests = bed.linger(&flags).await.ok().stdout;
    bed.cluster.kubectl_with(&["apply", "-f", "-"], &manifests).await.ok();
    let server =
        ["get", "pods", "-n", "linkerd-linger", "-l", "app.kubernetes.io/component=server", "-o", "json"];
    let condition = |pod: &Value, name: &str| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == name).cloned().unwrap_or_default()
    };
    eventually("one replica serves on the host network, and the other one waits", async || {
        let pods: Value = serde_json::from_str(&bed.kubectl(&server).await).unwrap();
        let pods = pods["items"].as_array().unwrap();
        let ready = pods.iter().filter(|pod| condition(pod, "Ready")["status"] == "True").count();
        let waiting = pods.iter().map(|pod| condition(pod, "PodScheduled")["message"].to_string());
        let waiting = waiting.filter(|message| message.contains("didn't have free ports")).count();
        let moved = pods.iter().all(|pod| pod["spec"]["hostNetwork"] == true);
        (pods.len(), ready, waiting, moved) == (2, 1, 1, true)
    })
    .await;
    let pod = of_line("stable-2.14.10", "by-the-host", &["pause"]);
    bed.run("shop", &pod).await;
    assert_eq!(bed.timeout_by_exec("shop", "by-the-host").await, "3600");
    bed.delete("shop", "by-the-host").await;
    bed.install(&[]).await;
}

/// Helm waits for the Deployment, which waits for the certificate, which the Job makes.
#[tokio::test]
async fn helm_waits_until_the_installation_works() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    let helm = match tokio::task::spawn_blocking(cluster::helm).await.unwrap() {
        Ok(helm) => helm,
        Err(why) => return why.tell(),
    };
    let manifests = bed.linger(&["uninstall"]).await.ok().stdout;
    bed.cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &manifests).await.ok();
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/linkerd-linger");
    let mut helm = Command::from(helm);
    helm.args(["install", "linger", chart, "--namespace", "linkerd-linger", "--create-namespace"]);
    helm.args(["--set", "sockets=true", "--wait", "--timeout", "120s", "--kubeconfig"]);
    helm.arg(bed.cluster.kubeconfig()).kill_on_drop(true);
    let told = Told::from(timeout(PATIENCE, helm.output()).await.expect("it ends").unwrap()).ok();
    let labels = told.stdout.lines().skip_while(|line| !line.contains("kubectl label --overwrite namespace"));
    let labels: Vec<_> =
        labels.take(2).flat_map(str::split_whitespace).filter(|word| *word != "\\").collect();
    bed.kubectl(&labels[1..]).await;
    let check = bed.linger(&["check", "--wait=60s"]).await;
    assert!(check.success, "{}{}", check.stdout, check.stderr);
    bed.refuses().await;
    bed.install(&[]).await;
}

/// Every process of the node but the control plane is killed at once, as by a loss of power.
#[tokio::test]
async fn after_a_restart_of_the_node_pods_have_an_hour_again() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    bed.install(&["--failure-policy", "Fail"]).await;
    let pod = of_line("stable-2.14.10", "survivor", &["pause"]);
    bed.run("shop", &pod).await;
    let restarts = async |pod: &str, namespace: &str| {
        let count = "jsonpath={.status.containerStatuses[0].restartCount}";
        bed.kubectl(&["get", "pod", pod, "-n", namespace, "-o", count]).await
    };
    let before = restarts("survivor", "shop").await;
    bed.cluster.kill_node();
    eventually("the pod is started again", async || restarts("survivor", "shop").await != before).await;
    bed.runs("shop", "survivor").await;
    assert_eq!(bed.timeout_by_exec("shop", "survivor").await, "3600");
    bed.is_rolled_out().await;
    bed.refuses().await;
    bed.delete("shop", "survivor").await;
    bed.install(&[]).await;
}

/// A container of the proxy's name plays a recording; the log comes through the kubelet, the metrics by port-forward.
#[tokio::test]
async fn diagnose_reads_the_proxies_of_a_workload() {
    let Some((bed, _whole)) = bed().await else { return };
    bed.kubectl(&["create", "namespace", "replayed"]).await;
    eventually("it has a ServiceAccount", async || {
        bed.cluster.kubectl(&["get", "serviceaccount/default", "-n", "replayed"]).await.success
    })
    .await;
    let Recording { log, metrics, truth } = record(Form::Plain, false, 1);
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "recording"},
        "data": {"log": log, "metrics": metrics},
    });
    bed.cluster.kubectl_with(&["create", "-n", "replayed", "-f", "-"], &files.to_string()).await.ok();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "labels": {"linkerd.io/control-plane-ns": "linkerd"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "web", "image": POD_IMAGE, "command": ["/usr/bin/pod", "pause"]},
                {
                    "name": "linkerd-proxy", "image": POD_IMAGE, "command": ["/usr/bin/pod", "replay"],
                    "args": ["-log", "/recording/log", "-metrics", "/recording/metrics"],
                    "ports": [{"name": "linkerd-admin", "containerPort": 4191}],
                    "volumeMounts": [{"name": "recording", "mountPath": "/recording"}],
                },
            ],
            "volumes": [{"name": "recording", "configMap": {"name": "recording"}}],
        },
    });
    bed.run("replayed", &pod).await;
    let told = bed.linger(&["diagnose", "pod/web-0", "-n", "replayed", "-o", "json"]).await;
    assert!(!told.success, "requests failed");
    let report = told.json();
    for (port, (fault, failed)) in truth.iter().filter(|(_, (fault, _))| *fault != Fault::Healthy) {
        let found = report["ports"].as_array().unwrap().iter().find(|found| found["port"] == *port).unwrap();
        assert_eq!(found["failures"][0]["cause"], fault.cause(), "{found}");
        assert_eq!(found["failures"][0]["count"], *failed, "{found}");
        assert_eq!(found["requests"], 119, "{found}");
    }
    let all = bed.linger(&["diagnose", "-A"]).await;
    let worst = all.stdout.lines().nth(1).unwrap();
    assert!(worst.contains("replayed pod/web-0"), "the worst comes first: {}", all.stdout);
    let nothing = bed.linger(&["diagnose", "deploy/none", "-n", "replayed"]).await;
    assert!(!nothing.success && nothing.stderr.contains("it does not exist"), "{}", nothing.stderr);
    bed.kubectl(&["delete", "namespace", "replayed", "--wait=false"]).await;
}

#[tokio::test]
async fn uninstall_leaves_nothing() {
    let Some((bed, _alone)) = bed_alone().await else { return };
    let manifests = bed.linger(&["uninstall"]).await.ok().stdout;
    bed.cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &manifests).await.ok();
    for kinds in [
        "namespaces",
        "clusterroles,clusterrolebindings",
        "mutatingwebhookconfigurations,validatingwebhookconfigurations",
        "deployments,daemonsets,jobs,cronjobs,secrets,configmaps,serviceaccounts,pods",
    ] {
        let left = bed.kubectl(&["get", kinds, "-A", "-o", "name"]).await;
        assert!(!left.contains("linger"), "{left}");
    }
    bed.create("shop", &racing("unjudged", 2, "2s")).await.ok();
    bed.delete("shop", "unjudged").await;
    bed.install(&[]).await;
}

/// `just cluster`: a cluster with an installation for a person, until standard input ends.
#[test]
#[ignore = "it waits for a person"]
fn run_for_a_person() {
    let bed = RUNTIME.block_on(Bed::start()).unwrap_or_else(|why| panic!("{}", why.0));
    say(&format!(
        "\nexport KUBECONFIG={}\n\nlinkerd-linger is installed; the namespaces shop, warned and audited opt in. Enter ends it.",
        bed.cluster.kubeconfig().display()
    ));
    let _ = std::io::stdin().read(&mut [0]);
    let dir = bed.cluster.kubeconfig().parent().unwrap().to_owned();
    drop(bed);
    assert!(fs::metadata(dir).is_err(), "the cluster left its files");
}
