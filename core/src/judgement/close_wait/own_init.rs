//! Our own init container: its content, and how to recognise it.
//!
//! It runs `set-close-wait` from our image, for pods whose linkerd-init is missing or cannot set the timeout.

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

/// The subcommand of our binary, which is the first argument of the container.
pub const COMMAND: &str = "set-close-wait";
/// Containers that may run before ours because they open no connections: linkerd-init, and `pause -v` in CNI mode of
/// 2.12.2 to 2.12.6.
const OPENS_NOTHING: [&str; 2] = [proxy_init::NAME, linkerd::NOOP];
/// The resources that LimitRanges and quotas limit. Others, such as GPUs, must not be requested twice.
pub const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// The containers of Linkerd whose resources our init container gets; the first that has some.
pub const RESOURCES_OF: [&str; 4] =
    [proxy_init::NAME, linkerd::NETWORK_VALIDATOR, linkerd::NOOP, linkerd::PROXY];

/// A container with the name of our init container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnInit<'p> {
    /// There is none.
    Absent,
    /// The container is ours.
    OwnContainer(OwnContainer<'p>),
    /// The container is not ours, for this reason.
    Foreign(String),
}

/// Our init container in a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnContainer<'p> {
    pub(super) container: &'p Container<'p>,
    /// The seconds that it sets; `None` if it would fail.
    pub(super) seconds: Option<u32>,
    /// Nothing that opens connections runs before it.
    pub(super) early: bool,
}

/// Finds our init container. Without `image` any image matches; in that case no container is added, and this one gets
/// no privileges.
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
        return OwnInit::Foreign("it is not an init container that completes".to_owned());
    }
    if image.is_some_and(|image| ImageRef::of(image).repository != repository) {
        return OwnInit::Foreign(format!("its image {repository} is not the image of --init-image"));
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

/// Renders the container. `runAsNonRoot` is set for pods that set it to true for all containers. The termination
/// message shows an error in the status of the container, where users look first.
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

/// The requests and limits of Linkerd's container, for ours.
///
/// LimitRanges and quotas that admit Linkerd's container then also admit ours. The QoS class stays, and the scheduler
/// reserves no more, because init containers that run one after another count with the largest request.
fn resources(pod: &Pod<'_>) -> Option<Value> {
    RESOURCES_OF.into_iter().find_map(|name| {
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
    })
}

/// Parses the image of our init container from a flag.
///
/// # Errors
///
/// Returns an error if it is not an image reference, or if Linkerd's injector would take it for a sidecar.
pub fn read_image(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) || text.contains("://")
    {
        return Err("write it like registry.example.com/linkerd-linger:1.2.3".to_owned());
    }
    if let Some(prefix) = linkerd::sidecar_image_prefix(text) {
        return Err(format!(
            "Linkerd's injector would treat a container with an image of {prefix}... as its own"
        ));
    }
    Ok(text.to_owned())
}
