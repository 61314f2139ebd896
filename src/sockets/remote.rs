//! Reads the half-closed connections of pods through the API server, by running our program near them.
//!
//! Uses, in this order: a running container of the pod with our image, the pod of `install --sockets` on its node, and
//! an ephemeral container, which is only added on request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    judge,
    report::{NamespaceReport, Report},
};
use crate::{
    base::{names, plural::count},
    cluster::{
        Cluster,
        check::{Read, ReadError},
        gather::{INJECTED, NOT_COMPLETED},
        install::READ_SOCKETS,
    },
    linkerd::PROXY,
    workload::image::ImageRef,
};

const RUNNING: &str = "Running";
/// The program in our image.
const PROGRAM: &str = "/linkerd-linger";
/// The prefix of the names of our ephemeral containers, followed by a number, because they cannot be removed from a
/// pod.
const DEBUG_CONTAINER: &str = "linger-sockets-";
/// How long our ephemeral container runs before it exits.
const DEBUG_LIFETIME: &str = "15m";
/// The timeout for starting an ephemeral container, including the image pull.
const START: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);
/// The maximum number of concurrent programs.
const MAX_CONCURRENT: usize = 16;
/// The maximum number of pod UIDs to request from a node; with more, all pods of the node are read.
const MAX_UIDS: usize = 100;

/// The selected pods.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// The name of a single pod.
    pub pod: Option<String>,
    /// A label selector. Without it, and without a name, the injected pods are selected.
    pub selector: Option<String>,
}

/// A running pod.
#[derive(Clone, Debug)]
pub struct Target {
    namespace: String,
    name: String,
    uid: String,
    node: String,
    /// A running container with our image.
    ours: Option<String>,
    /// The app container that our ephemeral container targets.
    app: Option<String>,
    /// The names of the containers, by ID.
    containers: HashMap<String, String>,
    /// The number of the next ephemeral container.
    next: usize,
}

impl Target {
    /// `None` for a pod that is not running, or is being deleted.
    fn of(pod: &Pod) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        if status.phase.as_deref() != Some(RUNNING) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let statuses = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let statuses: Vec<&ContainerStatus> = statuses.into_iter().flatten().flatten().collect();
        let is_running = |name: &str| {
            let status = statuses.iter().find(|status| status.name == name);
            status.and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
        };
        let images = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let images = images.map(|container| (&container.name, container.image.as_deref(), false));
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        let ephemeral = ephemeral.map(|container| {
            (&container.name, container.image.as_deref(), container.name.starts_with(DEBUG_CONTAINER))
        });
        let mut ours = images
            .chain(ephemeral)
            .filter(|(name, image, debug)| is_running(name) && (*debug || image.is_some_and(is_ours)));
        let containers = statuses.iter().filter_map(|status| {
            let id = status.container_id.as_deref()?;
            Some((id.rsplit("://").next().unwrap_or(id).to_owned(), status.name.clone()))
        });
        let taken = spec.ephemeral_containers.iter().flatten();
        let taken =
            taken.filter_map(|container| container.name.strip_prefix(DEBUG_CONTAINER)?.parse::<usize>().ok());
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            node: spec.node_name.clone()?,
            ours: ours.next().map(|(name, ..)| name.clone()),
            app: spec.containers.iter().map(|it| &it.name).find(|name| *name != PROXY).cloned(),
            containers: containers.collect(),
            next: taken.max().map_or(1, |last| last.saturating_add(1)),
        })
    }

    /// Whether it can be read without changing it.
    pub fn is_readable(&self, agents: &Agents) -> bool {
        self.ours.is_some() || agents.0.contains_key(&self.node)
    }

    fn shown(&self) -> String {
        format!("pod {}/{}", self.namespace, self.name)
    }

    /// Adds what only the API server knows.
    fn name(&self, namespace: &mut NamespaceReport<'_>) {
        namespace.pod_namespace = Some(self.namespace.clone());
        namespace.pod = Some(self.name.clone().into());
        namespace.pod_uid = Some(self.uid.clone().into());
        for socket in &mut namespace.sockets {
            let name = socket.container.as_deref().and_then(|id| self.containers.get(id));
            socket.container_name = name.cloned();
        }
    }
}

/// Whether an image is ours, from any registry.
fn is_ours(image: &str) -> bool {
    let ours = names::IMAGE_REPOSITORY.rsplit('/').next();
    ImageRef::of(image).repository.rsplit('/').next() == ours
}

/// Reads pods; calls `progress` with the number of read pods and their total.
///
/// # Errors
///
/// Returns an error if the pods cannot be listed. Errors for single pods are part of the report.
pub async fn read(
    cluster: &Cluster,
    selection: &Selection,
    debug_image: Option<&str>,
    progress: impl FnMut(usize, usize),
) -> Read<Report<'static>> {
    let targets = targets(cluster, selection).await?;
    // If the DaemonSet is missing or cannot be read, the other methods are used.
    let agents = agents(cluster).await.unwrap_or_default();
    Ok(read_targets(cluster, targets, &agents, debug_image, progress).await)
}

/// The running pods.
///
/// # Errors
///
/// Returns an error if they cannot be listed, or there is no pod with the name.
pub async fn targets(cluster: &Cluster, selection: &Selection) -> Read<Vec<Target>> {
    let (path, place) = match &selection.namespace {
        Some(name) => (format!("/api/v1/namespaces/{name}/pods"), format!(" in the namespace {name}")),
        None => ("/api/v1/pods".to_owned(), String::new()),
    };
    if let (Some(name), Some(_)) = (&selection.pod, &selection.namespace) {
        let what = format!("get the pod {name}{place}");
        let failed = |why: &str| ReadError::Failed { what: what.clone(), why: why.to_owned() };
        let pod: Option<Pod> = cluster.get(&format!("{path}/{name}"), &what).await?;
        let pod = pod.ok_or_else(|| failed("the pod does not exist"))?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
        if phase != RUNNING {
            return Err(failed(&format!("it is not running: its phase is {phase}")));
        }
        return Ok(Target::of(&pod).into_iter().collect());
    }
    let selector = selection.selector.as_deref().unwrap_or(INJECTED);
    running(cluster, &path, selector, &format!("list pods{place}")).await
}

/// The running pods below a path with these labels.
async fn running(cluster: &Cluster, path: &str, selector: &str, what: &str) -> Read<Vec<Target>> {
    let params = ListParams::default().labels(selector).fields(NOT_COMPLETED);
    let mut targets = Vec::new();
    let add = |pods: Vec<Pod>| targets.extend(pods.iter().filter_map(Target::of));
    cluster.pages(path, params, what, add).await?;
    Ok(targets)
}

/// The pods of `install --sockets`, by node.
///
/// # Errors
///
/// Returns an error if they cannot be listed.
pub async fn agents(cluster: &Cluster) -> Read<Agents> {
    let path = format!("/api/v1/namespaces/{}/pods", names::SOCKETS);
    let what = format!("list pods in the namespace {}", names::SOCKETS);
    let pods = running(cluster, &path, names::SOCKETS_SELECTOR, &what).await?;
    Ok(Agents(pods.into_iter().map(|pod| (pod.node, pod.name)).collect()))
}

/// The pods of `install --sockets`, by node.
#[derive(Clone, Debug, Default)]
pub struct Agents(BTreeMap<String, String>);

/// Reads pods with the available methods.
pub async fn read_targets(
    cluster: &Cluster,
    targets: Vec<Target>,
    agents: &Agents,
    debug_image: Option<&str>,
    mut progress: impl FnMut(usize, usize),
) -> Report<'static> {
    let all = targets.len();
    let limit = Arc::new(Semaphore::new(MAX_CONCURRENT));
    let mut tasks: JoinSet<(usize, Report<'static>)> = JoinSet::new();
    let mut nodes: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    let mut report = Report::default();
    let mut unreached = Vec::new();
    for target in targets {
        let (cluster, limit) = (cluster.clone(), Arc::clone(&limit));
        if target.ours.is_none() && agents.0.contains_key(&target.node) {
            nodes.entry(target.node.clone()).or_default().push(target);
            continue;
        }
        let image = debug_image.map(str::to_owned);
        if !target.is_readable(agents) && image.is_none() {
            unreached.push(format!("{}/{}", target.namespace, target.name));
            continue;
        }
        tasks.spawn(async move {
            let _permit = limit.acquire().await;
            (1, read_alone(&cluster, &target, image.as_deref()).await)
        });
    }
    for (node, targets) in nodes {
        let (cluster, limit) = (cluster.clone(), Arc::clone(&limit));
        let Some(agent) = agents.0.get(&node).cloned() else { continue };
        tasks.spawn(async move {
            let _permit = limit.acquire().await;
            (targets.len(), read_node(&cluster, &agent, &targets).await)
        });
    }
    report.errors.extend(unreachable(&unreached));
    let mut read = unreached.len();
    progress(read, all);
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((number, part)) => {
                read += number;
                report.namespaces.extend(part.namespaces);
                report.errors.extend(part.errors);
            }
            Err(error) => report.errors.push(error.to_string()),
        }
        progress(read, all);
    }
    let key = |it: &NamespaceReport<'_>| (it.pod_namespace.clone(), it.pod.as_deref().map(str::to_owned));
    report.namespaces.sort_by_key(key);
    report.errors.sort();
    judge(&mut report);
    report
}

/// The error about pods that cannot be read with any method.
fn unreachable(pods: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let (first, rest) = pods.split_at(pods.len().min(SHOWN));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!pods.is_empty()).then(|| {
        format!(
            "{} cannot be read ({}{more}): they have no container with the linkerd-linger image, and no pod of `linkerd-linger install --sockets` runs on their nodes; install with --sockets, or add --debug-container",
            count(pods.len(), "pod"),
            first.join(", ")
        )
    })
}

/// Reads a pod from one of its containers.
async fn read_alone(cluster: &Cluster, target: &Target, debug_image: Option<&str>) -> Report<'static> {
    let read = async {
        let container = match (&target.ours, debug_image) {
            (Some(container), _) => container.clone(),
            (None, Some(image)) => debug_container(cluster, target, image).await?,
            (None, None) => return Ok(Report::default()),
        };
        let command = command(&[]);
        let output = cluster.exec(&target.namespace, &target.name, &container, &command).await?;
        parse(&output, &target.shown())
    };
    match read.await {
        Ok(mut report) => {
            report.namespaces.iter_mut().for_each(|namespace| target.name(namespace));
            report.errors =
                report.errors.into_iter().map(|error| format!("{}: {error}", target.shown())).collect();
            report
        }
        Err(error) => Report { namespaces: Vec::new(), errors: vec![format!("{}: {error}", target.shown())] },
    }
}

/// Reads the pods of a node through the pod of `install --sockets` on it.
async fn read_node(cluster: &Cluster, agent: &str, targets: &[Target]) -> Report<'static> {
    let mut flags = vec!["--node".to_owned()];
    if targets.len() <= MAX_UIDS {
        flags.extend(targets.iter().flat_map(|target| ["--pod-uid".to_owned(), target.uid.clone()]));
    }
    let read = async {
        let output = cluster.exec(names::SOCKETS, agent, names::SOCKETS, &command(&flags)).await?;
        parse(&output, &format!("pod {}/{agent}", names::SOCKETS))
    };
    let node = targets.first().map(|target| target.node.clone()).unwrap_or_default();
    let mut whole = match read.await {
        Ok(report) => report,
        Err(error) => {
            let errors = targets.iter().map(|target| format!("{}: {error}", target.shown())).collect();
            return Report { namespaces: Vec::new(), errors };
        }
    };
    let errors = whole.errors.drain(..).map(|error| format!("node {node}: {error}")).collect();
    let mut report = Report { namespaces: Vec::new(), errors };
    let mut found: HashMap<_, _> = whole
        .namespaces
        .into_iter()
        .filter_map(|namespace| Some((namespace.pod_uid.as_deref()?.to_owned(), namespace)))
        .collect();
    for target in targets {
        match found.remove(&target.uid) {
            Some(mut namespace) => {
                target.name(&mut namespace);
                report.namespaces.push(namespace);
            }
            None => report
                .errors
                .push(format!("{}: its network namespace was not found on the node {node}", target.shown())),
        }
    }
    report
}

fn command(flags: &[String]) -> Vec<String> {
    let words = [PROGRAM, "sockets", "--output", "json"];
    words.into_iter().map(str::to_owned).chain(flags.iter().cloned()).collect()
}

fn parse(output: &[u8], place: &str) -> Read<Report<'static>> {
    serde_json::from_slice(output).map_err(|error| ReadError::Failed {
        what: format!("read the report of {place}"),
        why: format!("{error}; check that its linkerd-linger has the same version as this one"),
    })
}

/// Adds an ephemeral container, waits until it runs, and returns its name.
async fn debug_container(cluster: &Cluster, target: &Target, image: &str) -> Read<String> {
    let name = format!("{DEBUG_CONTAINER}{}", target.next);
    let container = |security: Value| {
        json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": [PROGRAM, "_wait", DEBUG_LIFETIME],
            "targetContainerName": target.app,
            "securityContext": security,
        })
    };
    let added =
        cluster.add_ephemeral_container(&target.namespace, &target.name, &container(privileges())).await;
    match added {
        Err(ReadError::Failed { why, .. }) if why.contains("violates PodSecurity") => {
            let container = container(no_privileges());
            cluster.add_ephemeral_container(&target.namespace, &target.name, &container).await?;
        }
        added => added?,
    }
    let path = format!("/api/v1/namespaces/{}/pods/{}", target.namespace, target.name);
    let what = format!("start the ephemeral container {name} in the {}", target.shown());
    let failed = |why: String| ReadError::Failed { what: what.clone(), why };
    let deadline = Instant::now() + START;
    loop {
        let pod: Option<Pod> = cluster.get(&path, &what).await?;
        let pod = pod.ok_or_else(|| failed("the pod no longer exists".to_owned()))?;
        let statuses = pod.status.and_then(|status| status.ephemeral_container_statuses).unwrap_or_default();
        let state = statuses.into_iter().find(|status| status.name == name).and_then(|status| status.state);
        let state = state.unwrap_or_default();
        if state.running.is_some() {
            return Ok(name);
        }
        if let Some(ended) = state.terminated {
            let why = ended.message.or(ended.reason).unwrap_or_default();
            return Err(failed(format!("it ended with exit code {}: {why}", ended.exit_code)));
        }
        if Instant::now() > deadline {
            let waiting = state.waiting.unwrap_or_default();
            let why = waiting.message.or(waiting.reason).unwrap_or_default();
            return Err(failed(format!("it did not run within {}s: {why}", START.as_secs())));
        }
        sleep(PAUSE).await;
    }
}

fn privileges() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"add": READ_SOCKETS, "drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsGroup": 0,
        "runAsNonRoot": false,
        "runAsUser": 0,
    })
}

/// A restricted security context: it can read sockets and the timeout, but not conntrack and processes.
fn no_privileges() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::default(&format!("{}:0.1.0", names::IMAGE_REPOSITORY), true)]
    #[case::mirror("registry.example.com:5000/mirror/linkerd-linger@sha256:00", true)]
    #[case::other("registry.example.com/linkerd-linger/web:1", false)]
    #[case::longer("registry.example.com/not-linkerd-linger:1", false)]
    fn images(#[case] image: &str, #[case] ours: bool) {
        assert_eq!(is_ours(image), ours);
    }

    fn pod(value: Value) -> Target {
        Target::of(&serde_json::from_value(value).unwrap()).unwrap()
    }

    fn with_containers(ephemeral: Value, statuses: Value) -> Value {
        json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u"},
            "spec": {
                "nodeName": "a",
                "containers": [{"name": "linkerd-proxy"}, {"name": "web", "image": "web:1"}],
                "ephemeralContainers": ephemeral,
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "web", "containerID": "containerd://abc", "image": "", "imageID": "",
                                       "ready": true, "restartCount": 0, "state": {"running": {}}}],
                "ephemeralContainerStatuses": statuses,
            },
        })
    }

    #[test]
    fn pods_that_nothing_can_read_are_one_error() {
        let pods: Vec<_> = (0..7).map(|number| format!("shop/web-{number}")).collect();
        assert_eq!(unreachable(&[]), None);
        let error = unreachable(&pods[..1]).unwrap();
        assert!(error.starts_with("1 pod cannot be read (shop/web-0): "), "{error}");
        let error = unreachable(&pods).unwrap();
        assert!(error.starts_with("7 pods cannot be read (shop/web-0, shop/web-1, "), "{error}");
        assert!(error.contains("shop/web-4 and 2 more): "), "{error}");
    }

    #[test]
    fn a_debug_container_looks_at_the_app() {
        let target = pod(with_containers(json!([]), json!([])));
        assert_eq!((target.app.as_deref(), target.ours, target.next), (Some("web"), None, 1));
        assert_eq!(target.containers["abc"], "web");
    }

    #[test]
    fn a_debug_container_is_used_again_while_it_runs() {
        let containers = json!([{"name": "linger-sockets-1", "image": "x:1"}, {"name": "linger-sockets-2", "image": "x:1"}]);
        let status = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let ended = status("linger-sockets-1", json!({"terminated": {"exitCode": 0}}));
        let runs = status("linger-sockets-2", json!({"running": {}}));
        let target = pod(with_containers(containers.clone(), json!([ended.clone(), runs])));
        assert_eq!(target.ours.as_deref(), Some("linger-sockets-2"));
        let over = status("linger-sockets-2", json!({"terminated": {"exitCode": 0}}));
        let target = pod(with_containers(containers, json!([ended, over])));
        assert_eq!((target.ours, target.next), (None, 3));
    }
}
