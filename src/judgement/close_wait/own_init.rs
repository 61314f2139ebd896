//! Our own init container: how it is written, and whether one of its name is ours.
//!
//! It runs `set-close-wait` from our image, for pods whose linkerd-init cannot set the timeout or is not there.

use serde_json::{Map, Value, json};

use crate::{
    base::names::INIT_CONTAINER,
    linkerd::{self, proxy_init},
    workload::{
        annotations::{MAX_SECONDS, MIN_SECONDS},
        image::ImageRef,
        pod::{Container, ContainerList, Pod},
    },
};

/// The command of our binary, and the first argument of the container.
const COMMAND: &str = "set-close-wait";
/// Containers that may run before ours, since they open no connections: linkerd-init, and `pause -v` in CNI mode of
/// 2.12.2 to 2.12.6.
const OPENS_NOTHING: [&str; 2] = [proxy_init::NAME, linkerd::NOOP];
/// The resources that LimitRanges and quotas are about. Others, such as GPUs, must not be taken twice.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What is to be said of a container with the name of ours.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnInit<'p> {
    /// There is none.
    Absent,
    /// It is ours.
    OwnContainer(OwnContainer<'p>),
    /// It is not, and this is how we know.
    Foreign(String),
}

/// Our container in a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnContainer<'p> {
    pub(super) container: &'p Container<'p>,
    /// The seconds that it sets; `None` where it would fail.
    pub(super) seconds: Option<u32>,
    /// Nothing that opens connections runs before it.
    pub(super) early: bool,
}

/// Looks for our container. Without `image` any image will do: then we add none, and give nothing to this one.
pub(super) fn find<'p>(pod: &'p Pod<'p>, image: Option<&str>) -> OwnInit<'p> {
    let Some(container) = pod.all_containers().find(|container| &*container.name == INIT_CONTAINER) else {
        return OwnInit::Absent;
    };
    let repository = ImageRef::of(&container.image).repository;
    let argument = match container.args.as_slice() {
        [command, argument] if &**command == COMMAND => &**argument,
        _ => return OwnInit::Foreign(format!("it does not run {COMMAND}")),
    };
    if container.list != ContainerList::Init || container.restart_always {
        return OwnInit::Foreign("it is no init container that ends".to_owned());
    }
    if image.is_some_and(|image| ImageRef::of(image).repository != repository) {
        return OwnInit::Foreign(format!("its image {repository} is not the one of --init-image"));
    }
    if let Some(command) = container.command.first() {
        return OwnInit::Foreign(format!("it overrides the image's command with {command:?}"));
    }
    let in_range = |seconds: &u32| (MIN_SECONDS..=MAX_SECONDS).contains(seconds);
    let seconds = argument
        .parse()
        .ok()
        .filter(in_range)
        .filter(|_| proxy_init::missing_fields(pod, container).is_empty());
    let before = pod.init_containers.iter().take(container.index);
    let early = before.into_iter().all(|before| OPENS_NOTHING.contains(&&*before.name));
    OwnInit::OwnContainer(OwnContainer { container, seconds, early })
}

/// The container as we write it. `runAsNonRoot` is there for pods that set it to true for all containers; a message of
/// failure is to be read where people look first, in the container's status.
pub(super) fn container(pod: &Pod<'_>, image: &str, seconds: u32) -> Value {
    let mut container = json!({
        "name": INIT_CONTAINER,
        "image": image,
        "args": [COMMAND, seconds.to_string()],
        "securityContext": {
            "privileged": true,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(resources) = resources(pod) {
        container["resources"] = resources;
    }
    container
}

/// The requests and limits of the container of Linkerd's that stands beside ours.
///
/// A LimitRange and a quota let ours pass where they let that one pass; the pod keeps its QoS class, and asks the
/// scheduler for no more, since of init containers that run one after another the largest counts.
fn resources(pod: &Pod<'_>) -> Option<Value> {
    [proxy_init::NAME, linkerd::NETWORK_VALIDATOR, linkerd::NOOP, linkerd::PROXY].into_iter().find_map(
        |name| {
            let container = pod.all_containers().find(|container| &*container.name == name)?;
            let given: Map<String, Value> = serde_json::from_str(container.resources?.get()).ok()?;
            let part = |part: &str| -> Option<(String, Value)> {
                let quantities: Map<String, Value> = given
                    .get(part)?
                    .as_object()?
                    .clone()
                    .into_iter()
                    .filter(|(name, _)| RESOURCES.contains(&name.as_str()))
                    .collect();
                (!quantities.is_empty()).then(|| (part.to_owned(), quantities.into()))
            };
            let copied: Map<String, Value> = ["limits", "requests"].into_iter().filter_map(part).collect();
            (!copied.is_empty()).then_some(Value::Object(copied))
        },
    )
}

/// Reads the image of our container, as a flag gives it.
///
/// # Errors
///
/// When it is no image reference, or one that would mislead Linkerd's injector.
pub fn read_image(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) || text.contains("://")
    {
        return Err("write it like registry.example.com/linkerd-linger:1.2.3".to_owned());
    }
    if let Some(prefix) = linkerd::sidecar_image_prefix(text) {
        return Err(format!("Linkerd's injector would take a container of {prefix}... for its own"));
    }
    Ok(text.to_owned())
}
