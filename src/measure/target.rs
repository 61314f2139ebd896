//! The servers of a workload: one of its pods, the ports of its probes, and the expected idle timeouts.

use std::collections::BTreeMap;

use jiff::civil::Date;
use k8s_openapi::{
    api::core::v1::{Container, Pod, Probe},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    cluster::{
        Cluster,
        check::{Read, ReadError},
        gather::NOT_COMPLETED,
    },
    judgement::{judge::judge, policy::Policy},
    linkerd::{Injection, PROXY},
    servers::Idle,
    workload::{
        context::Context,
        object::{Kind, Object},
    },
};

/// A pod or a workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    /// The kind; `None` for a pod.
    pub kind: Option<WorkloadKind>,
    /// The name.
    pub name: String,
}

/// A kind with a pod template that can be annotated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The kind in manifests.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// The API path of an object.
    pub fn path(self, namespace: &str, name: &str) -> String {
        format!("/apis/apps/v1/namespaces/{namespace}/{}/{name}", self.plural())
    }
}

impl Workload {
    /// Parses `deploy/web`, `pod/web-0` or `web-0`, with kubectl's names for kinds.
    ///
    /// # Errors
    ///
    /// Returns an error if the kind is not supported, or the name is empty.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
        let kind = match kind.to_lowercase().as_str() {
            "pod" | "pods" | "po" => None,
            "deploy" | "deployment" | "deployments" | "deployment.apps" => Some(WorkloadKind::Deployment),
            "sts" | "statefulset" | "statefulsets" | "statefulset.apps" => Some(WorkloadKind::StatefulSet),
            "ds" | "daemonset" | "daemonsets" | "daemonset.apps" => Some(WorkloadKind::DaemonSet),
            _ => {
                return Err(format!(
                    "unknown kind {kind:?}; expected one of pod, deployment, statefulset, daemonset"
                ));
            }
        };
        if name.is_empty() || name.contains('/') {
            return Err(format!(
                "{text:?} is not a workload or URL: write it like deploy/web, pod/web-0 or http://127.0.0.1:8080/"
            ));
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// The name as users write it.
    pub fn display_name(&self) -> String {
        format!(
            "{}/{}",
            self.kind.map_or_else(|| "pod".to_owned(), |kind| kind.kind().to_lowercase()),
            self.name
        )
    }
}

/// A server to measure, in a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// The pod.
    pub pod: String,
    /// The container that listens, as far as the spec shows.
    pub container: String,
    /// The image of the container, as written.
    pub image: String,
    /// The digest of that image, as the node pulled it.
    pub digest: Option<String>,
    /// The port.
    pub port: u16,
    /// The request path.
    pub path: String,
    /// The idle timeout from the spec.
    pub known: Idle,
}

/// The fields of a workload that only this module reads.
#[derive(Deserialize)]
struct WorkloadObject {
    spec: WorkloadSpec,
}

#[derive(Deserialize)]
struct WorkloadSpec {
    selector: LabelSelector,
}

/// The servers of a workload in one of its ready pods: those that HTTP probes use, or the one at a port.
///
/// # Errors
///
/// Returns an error if the workload cannot be read, has no ready pod, or no port to measure.
pub async fn servers(
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    port: Option<u16>,
    path: Option<&str>,
    today: Date,
) -> Read<Vec<Server>> {
    let what = format!("measure {} in the namespace {namespace}", workload.display_name());
    let failed = |why: String| ReadError::Failed { what: what.clone(), why };
    let json = pod_of(cluster, namespace, workload)
        .await?
        .ok_or_else(|| failed("it has no ready pod".to_owned()))?;
    let pod: Pod = serde_json::from_str(json.get()).map_err(|error| failed(error.to_string()))?;
    let mut servers = endpoints(&pod, port, path);
    if servers.is_empty() {
        return Err(failed("it has no HTTP probe (httpGet) that names a port: give --port".to_owned()));
    }
    let object = Object::read_as(Kind::Pod, json.get()).map_err(|error| failed(error.to_string()))?;
    // The annotation is ignored; otherwise it would be compared with itself.
    let policy = Policy::default();
    let judgement = judge(&object, namespace, &Context::default(), &policy, today, Injection::Completed);
    for server in &mut servers {
        let app = judgement.survey.apps.iter().find(|app| &*app.container.name == server.container.as_str());
        if let Some(app) = app {
            server.known = app.detected.at(Some(server.port)).idle.clone();
        }
    }
    Ok(servers)
}

/// The JSON of a ready pod of the workload.
async fn pod_of(cluster: &Cluster, namespace: &str, workload: &Workload) -> Read<Option<Box<RawValue>>> {
    let pods = pods_of(cluster, namespace, workload).await?;
    Ok(pods.into_iter().find(|pod| is_ready(pod.get())))
}

/// The JSON of the pods of a workload, without completed ones.
///
/// # Errors
///
/// Returns an error if they cannot be read, or the workload does not exist.
pub async fn pods_of(cluster: &Cluster, namespace: &str, workload: &Workload) -> Read<Vec<Box<RawValue>>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let what = format!("get {} in the namespace {namespace}", workload.display_name());
    let missing = || ReadError::Failed { what: what.clone(), why: "it does not exist".to_owned() };
    let Some(kind) = workload.kind else {
        let pod: Option<Box<RawValue>> = cluster.get(&format!("{path}/{}", workload.name), &what).await?;
        return Ok(vec![pod.ok_or_else(missing)?]);
    };
    let object: Option<WorkloadObject> = cluster.get(&kind.path(namespace, &workload.name), &what).await?;
    let selector = selector(&object.ok_or_else(missing)?.spec.selector);
    let params = ListParams::default().labels(&selector).fields(NOT_COMPLETED);
    let mut pods = Vec::new();
    let what = format!("list pods in the namespace {namespace}");
    cluster.pages(&path, params, &what, |page: Vec<Box<RawValue>>| pods.extend(page)).await?;
    Ok(pods)
}

/// A label selector as a query parameter.
fn selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.as_deref().unwrap_or_default().join(",");
        let key = &expression.key;
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn is_ready(json: &str) -> bool {
    let Ok(pod) = serde_json::from_str::<Pod>(json) else { return false };
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The servers that the HTTP probes of a pod use, or the one at a port.
fn endpoints(pod: &Pod, port: Option<u16>, path: Option<&str>) -> Vec<Server> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let apps = || spec.containers.iter().filter(|container| container.name != PROXY);
    let mut paths: BTreeMap<(&str, u16), String> = BTreeMap::new();
    for container in apps() {
        for (probed, probed_path) in probes(container) {
            paths.entry((&container.name, probed)).or_insert(probed_path);
        }
    }
    if let Some(port) = port {
        paths.retain(|(_, probed), _| *probed == port);
        if paths.is_empty() {
            let declares = |container: &&Container| {
                container.ports.iter().flatten().any(|declared| declared.container_port == i32::from(port))
            };
            if let Some(container) = apps().find(declares).or_else(|| apps().next()) {
                paths.insert((&container.name, port), "/".to_owned());
            }
        }
    }
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let server = |((container, port), probed): ((&str, u16), String)| {
        let image = apps().find(|it| it.name == container).and_then(|it| it.image.clone());
        let id =
            statuses.iter().find(|status| status.name == container).map(|status| status.image_id.as_str());
        Server {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            container: container.to_owned(),
            image: image.unwrap_or_default(),
            digest: id.and_then(|id| id.split_once('@')).map(|(_, digest)| digest.to_owned()),
            port,
            path: path.map_or(probed, str::to_owned),
            known: Idle::Unknown(crate::servers::Why("the spec does not show it".to_owned())),
        }
    };
    paths.into_iter().map(server).collect()
}

/// The ports and paths of the HTTP probes of a container.
fn probes(container: &Container) -> impl Iterator<Item = (u16, String)> {
    let probes: [&Option<Probe>; 3] =
        [&container.readiness_probe, &container.liveness_probe, &container.startup_probe];
    probes.into_iter().flatten().filter_map(|probe| {
        let get = probe.http_get.as_ref()?;
        if get.scheme.as_deref() == Some("HTTPS") {
            return None;
        }
        let number = match &get.port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
                named.map_or_else(|| name.parse().unwrap_or(0), |port| port.container_port)
            }
        };
        let port = u16::try_from(number).ok().filter(|port| *port > 0)?;
        Some((port, get.path.clone().unwrap_or_else(|| "/".to_owned())))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::short("deploy/web", Ok((Some(WorkloadKind::Deployment), "web")))]
    #[case::long("StatefulSet/db", Ok((Some(WorkloadKind::StatefulSet), "db")))]
    #[case::pod("pod/web-0", Ok((None, "web-0")))]
    #[case::bare("web-0", Ok((None, "web-0")))]
    #[case::other(
        "job/web",
        Err("unknown kind \"job\"; expected one of pod, deployment, statefulset, daemonset")
    )]
    #[case::empty("deploy/", Err("\"deploy/\" is not a workload or URL"))]
    fn targets(#[case] text: &str, #[case] expected: Result<(Option<WorkloadKind>, &str), &str>) {
        match (Workload::parse(text), expected) {
            (Ok(found), Ok((kind, name))) => assert_eq!((found.kind, found.name.as_str()), (kind, name)),
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-0"},
            "spec": {"containers": [
                {"name": "linkerd-proxy", "readinessProbe": {"httpGet": {"path": "/ready", "port": 4191}}},
                {"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
                 "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                 "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
                 "startupProbe": {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}}},
                {"name": "admin", "image": "admin:1", "livenessProbe": {"httpGet": {"port": 9000}}},
            ]},
            "status": {"containerStatuses": [{"name": "web", "image": "", "ready": true, "restartCount": 0,
                                              "imageID": "registry.example.com/web@sha256:00"}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_servers_are_those_that_probes_ask() {
        let found = endpoints(&pod(), None, None);
        let found: Vec<_> =
            found.iter().map(|it| (it.container.as_str(), it.port, it.path.as_str())).collect();
        assert_eq!(found, [("admin", 9000, "/"), ("web", 8080, "/ready")]);
    }

    #[test]
    fn a_port_is_that_of_the_container_that_has_it() {
        let found = endpoints(&pod(), Some(8080), Some("/x"));
        assert_eq!((found.len(), found[0].container.as_str(), found[0].path.as_str()), (1, "web", "/x"));
        assert_eq!(found[0].digest.as_deref(), Some("sha256:00"));
        let found = endpoints(&pod(), Some(1234), None);
        assert_eq!(
            (found[0].container.as_str(), found[0].path.as_str()),
            ("web", "/"),
            "one that no probe asks"
        );
    }

    #[test]
    fn a_selector_is_a_query() {
        let of = |value| selector(&serde_json::from_value(value).unwrap());
        assert_eq!(of(json!({"matchLabels": {"a": "1", "b": "2"}})), "a=1,b=2");
        let expressions = json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["1", "2"]},
            {"key": "b", "operator": "NotIn", "values": ["3"]},
            {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"},
        ]});
        assert_eq!(of(expressions), "a in (1,2),b notin (3),c,!d");
    }
}
