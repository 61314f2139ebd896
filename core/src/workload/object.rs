//! Kubernetes objects that run pods, and the location of the pod in each of them.
//!
//! Parses the JSON of a Pod, Deployment, CronJob, ... into an [`Object`] with its [`Pod`] in a single pass. In custom
//! resources the pod templates are found by their shape, so that one object can have several.

mod custom;

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    base::text::{Text, nullable},
    workload::{
        owner::{Owner, deployment_of},
        pod::{Container, ContainerList, Pod, SecurityContext, StringMap, TEMPLATE_HASH, Volume},
        template,
    },
};

pub use self::custom::{Custom, UnreadableTemplate, is_as_written};
pub use super::{
    kind::{Kind, group_of, is_custom_group},
    template::WorkloadRef,
};

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
    /// The facts about a custom resource.
    pub custom: Option<Box<Custom<'a>>>,
}

/// The pods that an object of any kind describes.
#[derive(Clone, Debug)]
pub enum Reading<'a> {
    /// It has pod templates, or is a pod: one [`Object`] for each.
    Pods(Vec<Object<'a>>),
    /// It uses the pod template of another workload, which is judged itself.
    WorkloadRef(WorkloadRef<'a>),
    /// A controller probably creates pods for it, but the object has no complete pod template.
    NoTemplate,
    /// Nothing in it looks like pods.
    NoPods,
}

impl<'a> Reading<'a> {
    /// The objects to judge, one for each pod template.
    pub fn objects(self) -> Vec<Object<'a>> {
        match self {
            Self::Pods(objects) => objects,
            Self::WorkloadRef(_) | Self::NoTemplate | Self::NoPods => Vec::new(),
        }
    }
}

impl<'a> Object<'a> {
    /// Parses an object of any kind, and finds the pod templates of custom resources.
    ///
    /// # Errors
    ///
    /// Returns an error if `json` is not JSON, or a field of a built-in kind has another type than in the Kubernetes
    /// API. A part of a custom resource that cannot be parsed as a pod template is not one.
    pub fn read_all(json: &'a str) -> Result<Reading<'a>, serde_json::Error> {
        Self::read_all_as(&TypeMeta::read(json)?, json)
    }

    /// Parses an object whose `apiVersion` and `kind` are known, as those of the items of a list.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Self::read_all`].
    pub fn read_all_as(meta: &TypeMeta<'a>, json: &'a str) -> Result<Reading<'a>, serde_json::Error> {
        if let Some(kind) = meta.kind() {
            return Ok(Reading::Pods(vec![Self::read_as(kind, json)?]));
        }
        if !meta.is_custom() {
            return Ok(Reading::NoPods);
        }
        let search = template::search(json, meta.group());
        let objects = Self::custom(meta, json, &search.templates);
        Ok(match search.workload_ref {
            _ if !objects.is_empty() => Reading::Pods(objects),
            Some(workload_ref) if !workload_ref.name.is_empty() => Reading::WorkloadRef(workload_ref),
            _ if search.may_run_pods || !search.templates.is_empty() => Reading::NoTemplate,
            _ => Reading::NoPods,
        })
    }

    fn new(kind: Kind, mut own: Metadata<'a>, pod: Pod<'a>) -> Self {
        let owner = own.owner_references.iter().position(|owner| owner.controller);
        Self {
            kind,
            namespace: own.namespace,
            name: own.name,
            generate_name: own.generate_name,
            owner: owner.map(|index| own.owner_references.swap_remove(index)),
            pod,
            custom: None,
        }
    }

    /// Parses an object of a built-in kind; `None` if its kind does not run pods.
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

    /// `kind` in the API.
    pub fn kind_name(&self) -> &str {
        self.custom.as_ref().map_or(self.kind.as_str(), |custom| &custom.kind)
    }

    /// The kind and name of the workload that it is or belongs to; `None` if it has no name of its own.
    pub fn workload(&self) -> Option<(&str, &str)> {
        match &self.owner {
            Some(owner) if owner.is_replica_set() => Some(("Deployment", self.deployment()?)),
            Some(owner) => Some((&owner.kind, &owner.name)),
            None => Some((self.kind_name(), self.name.as_deref()?)),
        }
    }

    /// The Deployment whose ReplicaSet owns it.
    pub fn deployment(&self) -> Option<&str> {
        let owner = self.owner.as_ref().filter(|owner| owner.is_replica_set())?;
        deployment_of(&owner.name, self.pod.labels.get(TEMPLATE_HASH))
    }

    /// The path of the pod template, if it is one of several.
    pub fn template_of_several(&self) -> Option<&str> {
        self.custom.as_ref().filter(|custom| custom.several).map(|custom| custom.template.as_str())
    }

    /// Whether it is not known that pods are created from the template as it is written.
    pub fn is_guess(&self) -> bool {
        self.custom.as_ref().is_some_and(|custom| !custom.as_written)
    }

    /// `metadata.name`, otherwise `generateName` with an asterisk, otherwise `(unnamed)`.
    pub fn own_name(&self) -> String {
        match (&self.name, &self.generate_name) {
            (Some(name), _) if !name.is_empty() => name.to_string(),
            (_, Some(prefix)) if !prefix.is_empty() => format!("{prefix}*"),
            _ => "(unnamed)".to_owned(),
        }
    }

    /// The name for messages: [`Self::own_name`], followed by the path of the pod template if it is one of several.
    pub fn display_name(&self) -> String {
        match self.template_of_several() {
            Some(template) => format!("{} ({template})", self.own_name()),
            None => self.own_name(),
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

    /// The kind, if it is a built-in one that runs pods.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(&self.api_version, &self.kind)
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether the kind is none of Kubernetes itself, and so may have a pod template anywhere. Groups of custom
    /// resources contain a dot.
    pub fn is_custom(&self) -> bool {
        is_custom_group(self.group())
    }
}

/// `metadata` of any object.
#[derive(Deserialize)]
struct Root<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
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

#[derive(Clone, Debug, Default, Deserialize)]
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

impl Metadata<'_> {
    /// Adds the labels and annotations of other metadata, which take precedence.
    fn then(mut self, other: Self) -> Self {
        self.labels.0.extend(other.labels.0);
        self.annotations.0.extend(other.annotations.0);
        self
    }
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
    security_context: Option<SecurityContext<'a>>,
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
        let own = Metadata { labels: StringMap::default(), annotations: StringMap::default(), ..metadata };
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
            // Only the search knows where its pod templates are.
            Kind::Custom => None,
        };
        let mut pod = template
            .map_or_else(Pod::default, |(labels, annotations, spec)| spec.into_pod(labels, annotations));
        pod.at = Cow::Borrowed(kind.pod_at());
        Object::new(kind, own, pod)
    }

    fn template(template: Option<Box<Self>>) -> Option<(StringMap<'a>, StringMap<'a>, Spec<'a>)> {
        let Self { metadata, spec, .. } = *template?;
        Some((metadata.labels, metadata.annotations, spec))
    }
}

impl<'a> Spec<'a> {
    fn into_pod(self, labels: StringMap<'a>, annotations: StringMap<'a>) -> Pod<'a> {
        Pod {
            labels,
            annotations,
            host_network: self.host_network,
            service_account: self.service_account_name,
            security_context: self.security_context,
            init_containers: place(self.init_containers, ContainerList::Init),
            containers: place(self.containers, ContainerList::Regular),
            volumes: self.volumes,
            ..Pod::default()
        }
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
        let mut at = kind.pod_at();
        while let Some((parent, token)) = at.split_back() {
            object = serde_json::json!({ token.decoded(): object });
            at = parent;
        }
        let version = if kind.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group()) };
        object["apiVersion"] = version.into();
        object["kind"] = kind.as_str().into();
        object["metadata"]["name"] = "web".into();
        object.to_string()
    }

    #[test]
    fn every_kind_contains_a_pod() {
        for kind in Kind::BUILT_IN {
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
