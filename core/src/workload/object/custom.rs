//! The pod templates of custom resources.
//!
//! Reads each template that [`template::search`] found: a pod template, a pod spec, or the steps of Argo Workflows and
//! Tekton.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Kind, Manifest, Metadata, Object, Root, Spec, TypeMeta};
use crate::{
    base::text::{Text, nullable},
    workload::{
        pod::{Container, Layout, Main, Pod, StringMap},
        template::{self, KSERVE, TEKTON, Template},
    },
};

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

    pub(super) fn custom(meta: &TypeMeta<'a>, json: &'a str, templates: &[Template<'a>]) -> Vec<Self> {
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
