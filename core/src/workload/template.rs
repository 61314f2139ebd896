//! Finds pod templates in objects of any kind, by their shape.
//!
//! Custom resources have their pod templates at any depth: `spec.template` in a Rollout, one for each group of workers
//! in a RayCluster. A part of an object is a pod template if it has a pod spec in which each container has an image.
//! Containers without an image are changes to containers that a controller creates, not a pod. Argo, Tekton and KServe
//! have pods in a form of their own.

use jsonptr::PointerBuf;
use serde::Deserialize;

use crate::{
    base::{
        text::{Text, nullable},
        walk::children,
    },
    workload::pod::{Layout, Main},
};

/// The maximum depth of the search. The deepest known template is 9 levels deep (that of a TrainingRuntime). The limit
/// bounds the cost, because each level is parsed again.
const MAX_DEPTH: usize = 16;
/// The maximum number of templates in an object. The limit bounds the time of a review.
const MAX_TEMPLATES: usize = 1000;

/// The API group of Tekton, whose tasks have steps instead of containers.
pub(super) const TEKTON: &str = "tekton.dev";
/// The API group of KServe, whose components are pod specs.
pub(super) const KSERVE: &str = "serving.kserve.io";

/// A pod template in an object.
#[derive(Debug)]
pub(super) struct Template<'a> {
    /// The JSON pointer of the template.
    pub at: PointerBuf,
    /// The same for messages: `spec.workerGroupSpecs[small].template`.
    pub path: String,
    /// What the template looks like.
    pub layout: Layout,
    /// The JSON of the template.
    pub json: &'a str,
    /// The JSON of the metadata that the pods of all templates get: `podMetadata` of an Argo Workflow, and the metadata of
    /// objects of Tekton and KServe.
    pub pod_metadata: Option<&'a str>,
}

/// The result of the search.
#[derive(Debug, Default)]
pub(super) struct Search<'a> {
    /// The templates, in the order of the object.
    pub templates: Vec<Template<'a>>,
    /// The workload whose pod template a Rollout uses.
    pub workload_ref: Option<WorkloadRef<'a>>,
    /// Whether a field looks as if a controller creates pods for the object.
    pub may_run_pods: bool,
    family: Family,
    path: Vec<Step<'a>>,
    pod_metadata: Option<&'a str>,
}

/// A workload whose pod template another object uses.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct WorkloadRef<'a> {
    /// The kind.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
    /// The name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
}

/// A step from a value to one of its parts.
#[derive(Debug)]
struct Step<'a> {
    token: Text<'a>,
    /// The name of an item of a list, or its index.
    item: Option<Text<'a>>,
}

/// Objects whose pods have a form of their own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Family {
    Tekton,
    KServe,
    #[default]
    Other,
}

impl Family {
    fn of(group: &str) -> Self {
        match group {
            TEKTON => Self::Tekton,
            KSERVE => Self::KServe,
            _ => Self::Other,
        }
    }

    /// Whether a controller makes pods for objects with this field.
    fn runs_pods_for(self, field: &str) -> bool {
        match self {
            Self::Tekton => field == "steps",
            Self::KServe => field == "predictor",
            Self::Other => false,
        }
    }
}

/// Searches an object of an API group; `json` must be valid JSON.
pub(super) fn search<'a>(json: &'a str, group: &str) -> Search<'a> {
    let mut search = Search { family: Family::of(group), ..Search::default() };
    search.object(json);
    search
}

impl<'a> Search<'a> {
    fn value(&mut self, json: &'a str) {
        if self.path.len() > MAX_DEPTH || self.templates.len() >= MAX_TEMPLATES {
            return;
        }
        if json.starts_with('[') {
            for (index, item) in children(json) {
                let name = Named::of(item).or_else(|| Some(index.clone()));
                self.part(Step { token: index, item: name }, item);
            }
        } else if json.starts_with('{') {
            self.object(json);
        }
    }

    fn part(&mut self, step: Step<'a>, json: &'a str) {
        self.path.push(step);
        self.value(json);
        self.path.pop();
    }

    fn object(&mut self, json: &'a str) {
        let members = children(json);
        if let Some(layout) = self.layout(json, &members) {
            return self.found(layout, json);
        }
        let outer = self.pod_metadata;
        let is_root = self.path.is_empty();
        let inherits = is_root && self.family != Family::Other;
        let metadata = if inherits { "metadata" } else { "podMetadata" };
        self.pod_metadata = member(&members, metadata).or(outer);
        for (name, value) in members {
            let is_about_the_object = is_root && matches!(&*name, "metadata" | "status");
            if is_about_the_object || is_partial(&name) {
                continue;
            }
            self.may_run_pods |= hints_at_pods(&name, value) || self.family.runs_pods_for(&name);
            if &*name == "workloadRef" {
                self.workload_ref = serde_json::from_str(value).ok();
            }
            self.part(Step { token: name, item: None }, value);
        }
        self.pod_metadata = outer;
    }

    /// The layout of an object that is a pod template.
    fn layout(&self, json: &str, members: &[(Text<'a>, &'a str)]) -> Option<Layout> {
        let last = self.path.last()?;
        if member(members, "spec").is_some_and(PodSpec::is_complete) && !is_other_kind(members) {
            return Some(Layout::Template);
        }
        if &*last.token == "podSpec" && PodSpec::is_complete(json) {
            return Some(Layout::PodSpec);
        }
        if self.family == Family::KServe
            && matches!(&*last.token, "predictor" | "transformer" | "explainer")
            && PodSpec::is_complete(json)
        {
            return Some(Layout::PodSpec);
        }
        if self.family == Family::Tekton
            && matches!(&*last.token, "spec" | "taskSpec")
            && let Some(length) = member(members, "steps").and_then(Image::length)
        {
            return Some(Layout::Step(Main::Steps(length)));
        }
        let list = self.path.len().checked_sub(2).map(|list| &*self.path[list].token);
        if last.item.is_none() || list != Some("templates") {
            return None;
        }
        if member(members, "container").is_some_and(Image::is_set) {
            return Some(Layout::Step(Main::Container));
        }
        if member(members, "script").is_some_and(Image::is_set) {
            return Some(Layout::Step(Main::Script));
        }
        let length = member(members, "containerSet").and_then(PodSpec::length)?;
        Some(Layout::Step(Main::ContainerSet(length)))
    }

    fn found(&mut self, layout: Layout, json: &'a str) {
        let mut path = String::new();
        for step in &self.path {
            match &step.item {
                Some(item) => path.push_str(&format!("[{item}]")),
                None if path.is_empty() => path.push_str(&step.token),
                None => path.push_str(&format!(".{}", step.token)),
            }
        }
        self.templates.push(Template {
            at: PointerBuf::from_tokens(self.path.iter().map(|step| &*step.token)),
            path,
            layout,
            json,
            pod_metadata: self.pod_metadata,
        });
    }
}

/// The last member with this name, as serde reads it.
fn member<'a>(members: &[(Text<'a>, &'a str)], name: &str) -> Option<&'a str> {
    members.iter().rev().find(|(found, _)| &**found == name).map(|(_, value)| *value)
}

/// Whether the value of this field is a part of a pod, or a pattern for pods: a patch in an overlay, a rule of a policy.
fn is_partial(field: &str) -> bool {
    let words =
        [("patch", "Patch"), ("pattern", "Pattern"), ("overlay", "Overlay"), ("override", "Override")];
    words.iter().any(|(first, inner)| field.starts_with(first) || field.contains(inner))
}

/// Whether an object in another one has a type, and is no Pod. What it does with containers in its `spec` is unknown.
fn is_other_kind(members: &[(Text<'_>, &str)]) -> bool {
    member(members, "apiVersion").is_some()
        && member(members, "kind").is_some_and(|kind| kind != "\"Pod\"" && kind != "\"PodTemplate\"")
}

/// Whether a field is one that controllers have for the pods that they create.
fn hints_at_pods(field: &str, value: &str) -> bool {
    match field {
        "image" | "pod" | "podTemplate" | "podSpec" | "podMetadata" => {
            value.len() > 2 && value.starts_with(['"', '{'])
        }
        "containers" | "initContainers" => value.len() > 2 && value.starts_with('['),
        "replicas" => value.starts_with(|first: char| first.is_ascii_digit()),
        _ => false,
    }
}

/// The fields that show whether a pod spec is complete.
#[derive(Deserialize)]
struct PodSpec<'a> {
    #[serde(borrow)]
    containers: Vec<Image<'a>>,
}

impl PodSpec<'_> {
    /// The number of containers, if there are some and each has an image.
    fn length(json: &str) -> Option<usize> {
        let spec: PodSpec<'_> = serde_json::from_str(json).ok()?;
        Image::count(&spec.containers)
    }

    fn is_complete(json: &str) -> bool {
        Self::length(json).is_some()
    }
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    image: Text<'a>,
}

impl Image<'_> {
    fn is_set(json: &str) -> bool {
        serde_json::from_str::<Image<'_>>(json).is_ok_and(|container| !container.image.is_empty())
    }

    /// The number of containers in a list, if there are some and each has an image.
    fn length(json: &str) -> Option<usize> {
        let containers: Vec<Image<'_>> = serde_json::from_str(json).ok()?;
        Image::count(&containers)
    }

    fn count(containers: &[Image<'_>]) -> Option<usize> {
        let all_have_one = containers.iter().all(|container| !container.image.is_empty());
        (!containers.is_empty() && all_have_one).then_some(containers.len())
    }
}

/// An item of a list with a name.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, alias = "groupName")]
    name: Text<'a>,
}

impl<'a> Named<'a> {
    fn of(json: &'a str) -> Option<Text<'a>> {
        let named: Self = serde_json::from_str(json).ok().filter(|_| json.starts_with('{'))?;
        Some(named.name).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// The path and pointer of each template.
    fn found(object: &Value) -> Vec<(String, String)> {
        let json = object.to_string();
        search(&json, "example.com").templates.into_iter().map(|it| (it.path, it.at.to_string())).collect()
    }

    fn pod() -> Value {
        json!({"spec": {"containers": [{"name": "web", "image": "web:1"}]}})
    }

    #[rstest]
    #[case::rollout(json!({"spec": {"template": pod()}}), &[("spec.template", "/spec/template")])]
    #[case::named_item(
        json!({"spec": {"groups": [{"name": "a/b", "template": pod()}]}}),
        &[("spec.groups[a/b].template", "/spec/groups/0/template")]
    )]
    #[case::item_without_name(
        json!({"spec": {"groups": [7, {"template": pod()}]}}),
        &[("spec.groups[1].template", "/spec/groups/1/template")]
    )]
    #[case::several(
        json!({"spec": {"Master": {"template": pod()}, "Worker": {"template": pod()}}}),
        &[("spec.Master.template", "/spec/Master/template"), ("spec.Worker.template", "/spec/Worker/template")]
    )]
    #[case::pod_spec(
        json!({"spec": {"podSpec": {"containers": [{"image": "web:1"}]}}}),
        &[("spec.podSpec", "/spec/podSpec")]
    )]
    #[case::embedded_object(
        json!({"objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": pod()}}]}),
        &[("objects[0].spec.template", "/objects/0/spec/template")]
    )]
    #[case::key_with_a_slash(json!({"spec": {"a/b": pod()}}), &[("spec.a/b", "/spec/a~1b")])]
    #[case::containers_of_the_object_itself(pod(), &[])]
    #[case::container_without_image(
        json!({"spec": {"podTemplate": {"spec": {"containers": [{"name": "db"}, {"name": "x", "image": "x"}]}}}}),
        &[]
    )]
    #[case::no_containers(json!({"spec": {"template": {"spec": {"containers": []}}}}), &[])]
    #[case::bare_containers(json!({"spec": {"vmselect": {"containers": [{"image": "x"}]}}}), &[])]
    #[case::pattern(json!({"spec": {"rules": [{"validate": {"pattern": pod()}}]}}), &[])]
    #[case::patch(json!({"spec": {"subsets": [{"patch": pod()}]}}), &[])]
    #[case::status(json!({"status": {"template": pod()}}), &[])]
    #[case::metadata(json!({"metadata": {"template": pod()}}), &[])]
    #[case::embedded_object_of_another_kind(
        json!({"spec": {"manifests": [{"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
                                       "spec": {"containers": [{"name": "auth", "image": "auth:1"}]}}]}}),
        &[]
    )]
    fn templates_are_found_by_their_shape(#[case] object: Value, #[case] expected: &[(&str, &str)]) {
        let found = found(&object);
        let found: Vec<_> = found.iter().map(|(path, at)| (path.as_str(), at.as_str())).collect();
        assert_eq!(found, expected);
        for (_, at) in found {
            assert!(object.pointer(at).is_some());
        }
    }

    #[rstest]
    #[case::task(TEKTON, json!({"spec": {"steps": [{"image": "a"}, {"image": "b"}]}}), &["/spec"])]
    #[case::pipeline(
        TEKTON,
        json!({"spec": {"tasks": [{"name": "a", "taskSpec": {"steps": [{"image": "a"}]}}]}}),
        &["/spec/tasks/0/taskSpec"]
    )]
    #[case::step_from_elsewhere(TEKTON, json!({"spec": {"steps": [{"image": "a"}, {"ref": {"name": "b"}}]}}), &[])]
    #[case::no_steps(TEKTON, json!({"spec": {"steps": []}}), &[])]
    #[case::steps_of_another_group("example.com", json!({"spec": {"steps": [{"image": "a"}]}}), &[])]
    #[case::predictor(KSERVE, json!({"spec": {"predictor": {"containers": [{"image": "a"}]}}}), &["/spec/predictor"])]
    #[case::model(KSERVE, json!({"spec": {"predictor": {"model": {"image": "a"}}}}), &[])]
    #[case::predictor_of_another_group("example.com", json!({"spec": {"predictor": {"containers": [{"image": "a"}]}}}), &[])]
    #[case::script(
        "argoproj.io",
        json!({"spec": {"templates": [{"name": "a", "script": {"image": "a", "source": "true"}}]}}),
        &["/spec/templates/0"]
    )]
    fn some_groups_have_pods_in_a_form_of_their_own(
        #[case] group: &str,
        #[case] object: Value,
        #[case] expected: &[&str],
    ) {
        let json = object.to_string();
        let found: Vec<_> = search(&json, group).templates.into_iter().map(|it| it.at.to_string()).collect();
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::at_the_limit(MAX_DEPTH, 1)]
    #[case::too_deep(MAX_DEPTH + 1, 0)]
    #[case::much_too_deep(100, 0)]
    fn the_depth_is_limited(#[case] depth: usize, #[case] expected: usize) {
        let object = (0..depth).fold(pod(), |object, _| json!({"a": object}));
        assert_eq!(found(&object).len(), expected);
    }

    #[test]
    fn the_number_is_limited() {
        let object = json!({"spec": vec![pod(); MAX_TEMPLATES + 5]});
        assert_eq!(found(&object).len(), MAX_TEMPLATES);
    }

    #[rstest]
    #[case::image(json!({"spec": {"image": "x"}}), true)]
    #[case::chart_values(json!({"spec": {"values": {"image": {"tag": "1"}}}}), true)]
    #[case::replicas(json!({"spec": {"replicas": 3}}), true)]
    #[case::template_of_strimzi(json!({"spec": {"kafka": {"template": {"pod": {"metadata": {}}}}}}), true)]
    #[case::containers(json!({"spec": {"containers": [{}]}}), true)]
    #[case::no_image(json!({"spec": {"image": ""}}), false)]
    #[case::no_containers(json!({"spec": {"containers": []}}), false)]
    #[case::route(json!({"spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}), false)]
    #[case::status(json!({"status": {"replicas": 3}}), false)]
    fn fields_hint_at_pods(#[case] object: Value, #[case] expected: bool) {
        assert_eq!(search(&object.to_string(), "example.com").may_run_pods, expected);
    }
}
