//! Kubernetes objects that run pods, and the location of the pod in each of them.
//!
//! Parses the JSON of a Pod, Deployment, CronJob, ... into an [`Object`] with its [`Pod`] in a single pass. In custom
//! resources the pod templates are found by their shape, so that one object can have several.

use std::{borrow::Cow, collections::HashMap};

use json_patch::jsonptr::Pointer;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    base::text::{Text, nullable},
    workload::{
        pod::{Container, ContainerList, Layout, Main, Pod, StringMap, Volume},
        template::{self, KSERVE, TEKTON, Template},
    },
};

pub use super::template::WorkloadRef;

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
    /// A custom resource with a pod template. [`Object::kind_name`] is its kind in the API.
    Custom,
}

/// `spec.template`.
const TEMPLATE: &Pointer = Pointer::from_static("/spec/template");
/// The pod template of a CronJob.
const JOB_TEMPLATE: &Pointer = Pointer::from_static("/spec/jobTemplate/spec/template");
/// The pod template of a PodTemplate.
const OWN_TEMPLATE: &Pointer = Pointer::from_static("/template");

impl Kind {
    /// The kinds that are part of Kubernetes.
    pub const BUILT_IN: [Self; 9] = [
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
            Self::Custom => "custom resource",
        }
    }

    /// The API group; empty for the core group, and for custom resources, which can have any.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController | Self::PodTemplate | Self::Custom => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// Finds the built-in kind with this name and group. `extensions` counts as `apps`, for old manifests.
    pub fn find(group: &str, kind: &str) -> Option<Self> {
        let group = if group == "extensions" { "apps" } else { group };
        Self::BUILT_IN.into_iter().find(|known| known.as_str() == kind && known.group() == group)
    }

    /// Finds the kind by an `apiVersion`, such as `apps/v1`.
    fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::find(group_of(api_version), kind)
    }

    /// The JSON pointer of the pod, for built-in kinds.
    pub const fn pod_at(self) -> &'static Pointer {
        match self {
            Self::Pod | Self::Custom => Pointer::root(),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::Job => TEMPLATE,
            Self::CronJob => JOB_TEMPLATE,
            Self::PodTemplate => OWN_TEMPLATE,
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
    /// The facts about a custom resource.
    pub custom: Option<Box<Custom<'a>>>,
}

/// The facts about a custom resource with a pod template.
#[derive(Clone, Debug)]
pub struct Custom<'a> {
    /// `kind`.
    pub kind: Text<'a>,
    /// The path of the pod template: `spec.workerGroupSpecs[small].template`.
    pub template: String,
    /// Whether the object has several pod templates.
    pub several: bool,
    /// Whether it is known that the controller creates pods from the template as it is written. Others may change
    /// containers, or not create a pod at all.
    pub as_written: bool,
}

/// The custom resources whose controllers create pods from the template as it is written.
const AS_WRITTEN: [(&str, &str); 11] = [
    ("apps.kruise.io", "AdvancedCronJob"),
    ("apps.kruise.io", "BroadcastJob"),
    ("apps.kruise.io", "CloneSet"),
    ("apps.kruise.io", "DaemonSet"),
    ("apps.kruise.io", "StatefulSet"),
    ("apps.kruise.io", "UnitedDeployment"),
    ("apps.openshift.io", "DeploymentConfig"),
    ("argoproj.io", "Rollout"),
    ("jobset.x-k8s.io", "JobSet"),
    ("keda.sh", "ScaledJob"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"),
];

/// Whether the controller of this custom resource creates pods from the template as it is written.
pub fn is_as_written(group: &str, kind: &str) -> bool {
    AS_WRITTEN.contains(&(group, kind))
}

/// The groups of Kubernetes itself that contain a dot (k8s.io/api, apiextensions-apiserver, kube-aggregator). None of
/// their kinds runs pods.
const KUBERNETES_GROUPS: [&str; 17] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// The API group of Knative Serving.
const KNATIVE: &str = "serving.knative.dev";

/// The annotation of an InferenceService that says what KServe creates (kserve `pkg/constants`).
const DEPLOYMENT_MODE: &str = "serving.kserve.io/deploymentMode";

/// Whether KServe creates a Deployment for an InferenceService. Otherwise it creates a Knative Service, unless its
/// configuration, which is not known, has another default.
fn is_without_knative(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Annotated<'a> {
        #[serde(borrow)]
        metadata: Annotations<'a>,
    }
    #[derive(Deserialize)]
    struct Annotations<'a> {
        #[serde(borrow)]
        annotations: HashMap<Text<'a>, Text<'a>>,
    }
    let object: Option<Annotated<'_>> = serde_json::from_str(json).ok();
    let mode = object.and_then(|mut object| object.metadata.annotations.remove(&Text::from(DEPLOYMENT_MODE)));
    mode.is_some_and(|mode| matches!(&*mode, "RawDeployment" | "Standard"))
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

/// A part of a custom resource that looks like a pod template, but cannot be read.
#[derive(Debug)]
pub struct UnreadableTemplate<'a> {
    /// Its path.
    pub template: String,
    /// The part of the object's JSON that cannot be parsed.
    pub json: &'a str,
    /// The reason, with the position in that part.
    pub error: serde_json::Error,
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

    /// The parts of a custom resource that look like pod templates, but have a field of another type than in a pod.
    pub fn unreadable_templates(json: &'a str) -> Vec<UnreadableTemplate<'a>> {
        let Ok(meta) = TypeMeta::read(json) else { return Vec::new() };
        if meta.kind().is_some() || !meta.is_custom() {
            return Vec::new();
        }
        let search = template::search(json, meta.group());
        let unreadable = search.templates.into_iter().filter_map(|template| {
            let (json, error) = read_template(&template, meta.group()).err()?;
            Some(UnreadableTemplate { template: template.path, json, error })
        });
        unreadable.collect()
    }

    fn custom(meta: &TypeMeta<'a>, json: &'a str, templates: &[Template<'a>]) -> Vec<Self> {
        let pods: Vec<_> = templates
            .iter()
            .filter_map(|template| Some((template, read_template(template, meta.group()).ok()?)))
            .collect();
        let Ok(Root { metadata }) = serde_json::from_str::<Root<'a>>(json) else { return Vec::new() };
        let several = pods.len() > 1;
        let group = meta.group();
        let as_written = is_as_written(group, &meta.kind);
        let has_queue_proxy = group == KNATIVE || group == KSERVE && !is_without_knative(json);
        let object = |(template, mut pod): (&Template<'a>, Pod<'a>)| {
            pod.at = Cow::Owned(template.at.clone());
            pod.layout = template.layout;
            pod.queue_proxy = has_queue_proxy;
            for container in pod.containers.iter_mut().filter(|container| container.name.is_empty()) {
                container.name = Text::from(default_name(group, pod.layout));
            }
            let custom = Custom {
                kind: meta.kind.clone(),
                template: template.path.clone(),
                several,
                as_written: as_written && template.layout == Layout::Template,
            };
            let object = Self::new(Kind::Custom, metadata.clone(), pod);
            Self { custom: Some(Box::new(custom)), ..object }
        };
        pods.into_iter().map(object).collect()
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

/// The API group of an `apiVersion`; empty for the core group.
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether an API group is none of Kubernetes itself.
pub fn is_custom_group(group: &str) -> bool {
    group.contains('.') && !KUBERNETES_GROUPS.contains(&group)
}

/// `metadata` of any object.
#[derive(Deserialize)]
struct Root<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
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

    /// Whether it is a custom resource.
    pub fn is_custom(&self) -> bool {
        is_custom_group(group_of(&self.api_version))
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
            security_context: self.security_context.filter(|raw| raw.get() != "null"),
            init_containers: place(self.init_containers, ContainerList::Init),
            containers: place(self.containers, ContainerList::Regular),
            volumes: self.volumes,
            ..Pod::default()
        }
    }
}

/// A template of an Argo Workflow, or a Tekton task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step<'a> {
    #[serde(borrow, default)]
    container: Option<Container<'a>>,
    #[serde(borrow, default)]
    script: Option<Container<'a>>,
    #[serde(borrow, default)]
    steps: Option<&'a RawValue>,
    #[serde(borrow, default)]
    container_set: Option<ContainerSet<'a>>,
    #[serde(borrow, default)]
    sidecars: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContainerSet<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    containers: Vec<Container<'a>>,
}

/// The script of a container of Tekton.
#[derive(Deserialize)]
struct Scripted<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    script: Text<'a>,
}

/// The file that Argo writes the script of a template to (argo-workflows `workflow/common`).
const ARGO_SCRIPT: &str = "/argo/staging/script";
/// The files that Tekton writes scripts to, and executes (tekton `pkg/pod/script.go`).
const TEKTON_SCRIPT: &str = "/tekton/scripts/script";

/// JSON that cannot be parsed, and why.
type Unreadable<'a> = (&'a str, serde_json::Error);

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Unreadable<'a>> {
    serde_json::from_str(json).map_err(|error| (json, error))
}

/// The containers of a list of Tekton. One with a script runs that, and not its image's command.
fn scripted(json: Option<&RawValue>) -> Result<Vec<Container<'_>>, Unreadable<'_>> {
    let json = json.map_or("[]", RawValue::get);
    let mut containers: Vec<Container<'_>> = parse(json)?;
    let scripts: Vec<Scripted<'_>> = parse(json)?;
    for (container, Scripted { script }) in containers.iter_mut().zip(scripts) {
        if !script.is_empty() {
            container.command = vec![Text::from(TEKTON_SCRIPT)];
        }
    }
    Ok(containers)
}

/// The name that a controller gives to a container without one (argo-workflows `workflow/common`, knative/serving
/// `pkg/apis/serving/v1`, kserve `pkg/constants`).
fn default_name(group: &str, layout: Layout) -> &'static str {
    match (group, layout) {
        (KNATIVE, Layout::Template) => "user-container",
        (KSERVE, _) => "kserve-container",
        (TEKTON, _) => "(unnamed)",
        (_, Layout::Step(_)) => "main",
        (_, Layout::Template | Layout::PodSpec) => "(unnamed)",
    }
}

/// Reads a template that was found. `spec` and the other fields are where its layout has them.
fn read_template<'a>(template: &Template<'a>, group: &str) -> Result<Pod<'a>, Unreadable<'a>> {
    let shared = || -> Result<Metadata<'a>, Unreadable<'a>> {
        let shared: Option<Metadata<'a>> = template.pod_metadata.map_or(Ok(None), parse)?;
        Ok(shared.unwrap_or_default())
    };
    match template.layout {
        Layout::Template => {
            let Manifest { metadata, spec, .. } = parse(template.json)?;
            Ok(spec.into_pod(metadata.labels, metadata.annotations))
        }
        Layout::PodSpec => {
            let spec: Spec<'a> = parse(template.json)?;
            if group != KSERVE {
                return Ok(spec.into_pod(StringMap::default(), StringMap::default()));
            }
            // A component has `labels` and `annotations` beside its containers.
            let Metadata { labels, annotations, .. } = shared()?.then(parse(template.json)?);
            Ok(spec.into_pod(labels, annotations))
        }
        Layout::Step(main) => {
            let Root { metadata } = parse(template.json)?;
            let mut spec: Spec<'a> = parse(template.json)?;
            let step: Step<'a> = parse(template.json)?;
            let sidecars = scripted(step.sidecars)?;
            spec.containers = match main {
                Main::Container => step.container.into_iter().collect(),
                Main::Script => {
                    let mut script = step.script;
                    script.iter_mut().for_each(|container| container.args.push(Text::from(ARGO_SCRIPT)));
                    script.into_iter().collect()
                }
                Main::ContainerSet(_) => step.container_set.map(|set| set.containers).unwrap_or_default(),
                Main::Steps(_) => scripted(step.steps)?,
            };
            spec.containers.extend(sidecars);
            // The metadata of the template takes precedence over that of the object.
            let Metadata { labels, annotations, .. } = shared()?.then(metadata);
            Ok(spec.into_pod(labels, annotations))
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
