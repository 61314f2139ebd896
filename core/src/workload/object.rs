//! Kubernetes objects that run pods, and the location of the pod in each of them.
//!
//! Parses the JSON of a Pod, Deployment, CronJob, ... into an [`Object`] with its [`Pod`] in a single pass. Other kinds
//! are skipped.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    base::text::{Text, nullable},
    workload::pod::{Container, ContainerList, Pod, StringMap, Volume},
};

/// The kinds that are a pod or contain a pod template.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// core/v1 Pod.
    Pod,
    /// apps Deployment.
    Deployment,
    /// apps StatefulSet.
    StatefulSet,
    /// apps DaemonSet.
    DaemonSet,
    /// apps ReplicaSet.
    ReplicaSet,
    /// core/v1 ReplicationController.
    ReplicationController,
    /// batch Job.
    Job,
    /// batch CronJob.
    CronJob,
    /// core/v1 PodTemplate.
    PodTemplate,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
        Self::PodTemplate,
    ];

    /// The `kind` in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::PodTemplate => "PodTemplate",
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController | Self::PodTemplate => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// Finds the kind with this name and group. `extensions` counts as `apps`, for old manifests.
    pub fn find(group: &str, kind: &str) -> Option<Self> {
        let group = if group == "extensions" { "apps" } else { group };
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.group() == group)
    }

    /// Finds the kind by an `apiVersion`, such as `apps/v1`.
    fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::find(group, kind)
    }

    /// The location of the pod: the tokens of its JSON pointer.
    pub const fn pod_at(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &[],
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::Job => &["spec", "template"],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template"],
            Self::PodTemplate => &["template"],
        }
    }
}

/// An object that runs pods: a Pod, or a workload with a template.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// The kind.
    pub kind: Kind,
    /// `metadata.namespace`, if it is set.
    pub namespace: Option<Text<'a>>,
    /// `metadata.name`; absent for a Pod that is created with `generateName`.
    pub name: Option<Text<'a>>,
    /// `metadata.generateName`.
    pub generate_name: Option<Text<'a>>,
    /// The controller that owns the object.
    pub owner: Option<Owner<'a>>,
    /// The pod, or the pod template.
    pub pod: Pod<'a>,
}

impl<'a> Object<'a> {
    /// Parses an object; `None` if its kind does not run pods.
    ///
    /// # Errors
    ///
    /// Returns an error if `json` is not JSON, or a field has another type than in the Kubernetes API.
    pub fn read(json: &'a str) -> Result<Option<Self>, serde_json::Error> {
        let Some(kind) = TypeMeta::read(json)?.kind() else { return Ok(None) };
        serde_json::from_str::<Manifest<'a>>(json).map(|manifest| Some(manifest.into_object(kind)))
    }

    /// Parses an object of a known kind, since items of a list do not name theirs.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Self::read`].
    pub fn read_as(kind: Kind, json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Manifest<'a>>(json).map(|manifest| manifest.into_object(kind))
    }

    /// The name for messages: `metadata.name`, otherwise `generateName` with an asterisk, otherwise `(unnamed)`.
    pub fn display_name(&self) -> String {
        match (&self.name, &self.generate_name) {
            (Some(name), _) if !name.is_empty() => name.to_string(),
            (_, Some(prefix)) if !prefix.is_empty() => format!("{prefix}*"),
            _ => "(unnamed)".to_owned(),
        }
    }
}

/// `apiVersion` and `kind` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeMeta<'a> {
    /// `apiVersion`.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub api_version: Text<'a>,
    /// `kind`.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
}

impl<'a> TypeMeta<'a> {
    /// Reads only the two fields.
    ///
    /// # Errors
    ///
    /// Returns an error if `json` is not a JSON object, or one of the fields is not a string.
    pub fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The kind, if it runs pods.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(&self.api_version, &self.kind)
    }
}

/// The controller among `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Owner<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    api_version: Text<'a>,
    /// The kind.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
    /// The name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    #[serde(default, deserialize_with = "nullable")]
    controller: bool,
}

impl Owner<'_> {
    /// The kind, if it runs pods and so is judged itself.
    pub fn judged(&self) -> Option<Kind> {
        Kind::of(&self.api_version, &self.kind)
    }
}

/// An object of any of these kinds, with the fields of all of them, so that a single pass is enough.
#[derive(Debug, Deserialize)]
pub struct Manifest<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    template: Option<Box<Self>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    generate_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    labels: StringMap<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    annotations: StringMap<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    owner_references: Vec<Owner<'a>>,
}

/// The fields of a PodSpec, and the template fields of workload specs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(default, deserialize_with = "nullable")]
    host_network: bool,
    #[serde(borrow, default)]
    service_account_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    security_context: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    containers: Vec<Container<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    volumes: Vec<Volume<'a>>,
    #[serde(borrow, default)]
    template: Option<Box<Manifest<'a>>>,
    #[serde(borrow, default)]
    job_template: Option<Box<Manifest<'a>>>,
}

impl<'a> Manifest<'a> {
    /// The object of this kind.
    pub(crate) fn into_object(self, kind: Kind) -> Object<'a> {
        let Self { metadata, spec, template } = self;
        let mut own =
            Metadata { labels: StringMap::default(), annotations: StringMap::default(), ..metadata };
        let template = match kind {
            Kind::Pod => Some((metadata.labels, metadata.annotations, spec)),
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::Job => Self::template(spec.template),
            Kind::CronJob => Self::template(spec.job_template.and_then(|job| job.spec.template)),
            Kind::PodTemplate => Self::template(template),
        };
        let mut pod = template.map_or_else(Pod::default, |(labels, annotations, spec)| Pod {
            labels,
            annotations,
            host_network: spec.host_network,
            service_account: spec.service_account_name,
            security_context: spec.security_context.filter(|raw| raw.get() != "null"),
            init_containers: place(spec.init_containers, ContainerList::Init),
            containers: place(spec.containers, ContainerList::Regular),
            volumes: spec.volumes,
            ..Pod::default()
        });
        pod.at = kind.pod_at();
        let owner = own.owner_references.iter().position(|owner| owner.controller);
        Object {
            kind,
            namespace: own.namespace,
            name: own.name,
            generate_name: own.generate_name,
            owner: owner.map(|index| own.owner_references.swap_remove(index)),
            pod,
        }
    }

    fn template(template: Option<Box<Self>>) -> Option<(StringMap<'a>, StringMap<'a>, Spec<'a>)> {
        let Self { metadata, spec, .. } = *template?;
        Some((metadata.labels, metadata.annotations, spec))
    }
}

fn place(mut containers: Vec<Container<'_>>, list: ContainerList) -> Vec<Container<'_>> {
    for (index, container) in containers.iter_mut().enumerate() {
        container.list = list;
        container.index = index;
    }
    containers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(kind: Kind) -> String {
        let pod = serde_json::json!({
            "metadata": {"annotations": {"linkerd.io/inject": "enabled", "other/key": "skipped"}},
            "spec": {"containers": [{"name": "web", "livenessProbe": {"httpGet": {"port": "http"}},
                     "ports": [{"name": "http", "containerPort": 8080}]}], "initContainers": null},
        });
        let mut object = pod;
        for token in kind.pod_at().iter().rev() {
            object = serde_json::json!({ *token: object });
        }
        let version = if kind.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group()) };
        object["apiVersion"] = version.into();
        object["kind"] = kind.as_str().into();
        object["metadata"]["name"] = "web".into();
        object.to_string()
    }

    #[test]
    fn every_kind_contains_a_pod() {
        for kind in Kind::ALL {
            let json = wrap(kind);
            let object = Object::read(&json).unwrap().unwrap();
            assert_eq!(object.kind, kind);
            assert_eq!(object.display_name(), "web");
            assert_eq!(object.pod.annotations.get("linkerd.io/inject"), Some("enabled"), "{kind:?}");
            assert_eq!(object.pod.annotations.get("other/key"), None);
            let probe = &object.pod.containers[0].probes[0];
            assert_eq!((probe.port, probe.period.as_secs()), (Some(8080), 10));
            let pointer = object.pod.container_pointer(&object.pod.containers[0], ["name"]);
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(pointer.resolve(&value).unwrap(), "web");
        }
    }

    #[test]
    fn other_kinds_are_not_read() {
        let json = r#"{"apiVersion":"example.com/v1","kind":"Deployment","spec":{"containers":3}}"#;
        assert!(Object::read(json).unwrap().is_none());
    }

    #[test]
    fn a_field_of_another_type_is_an_error() {
        let json = r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":3}}"#;
        assert!(Object::read(json).unwrap_err().to_string().contains("invalid type"));
    }
}
