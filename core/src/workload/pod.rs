//! A read-only view of a pod spec, borrowed from the JSON of the object.
//!
//! Parses the fields that the rules need into checked types, each with its JSON pointer, and skips all others. The
//! other modules interpret them.

mod probe;
mod security_context;
mod volume;

use std::{borrow::Cow, collections::BTreeSet};

use jsonptr::{Pointer, PointerBuf, Token};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub use self::{
    probe::{Handler, PortRef, Probe, ProbeKind},
    security_context::{SecurityContext, Sysctl},
    volume::{FileSource, KeyToPath, Mount, Volume, VolumeKind},
};
use crate::base::text::{Text, nullable};

/// A pod, or the pod template of a workload. Pods are equal if all fields that the rules read are equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod<'a> {
    /// The JSON pointer from the root of the object to the pod: empty for a Pod, `/spec/template` for a Deployment.
    pub at: Cow<'static, Pointer>,
    /// Where the metadata and the containers are below that.
    pub layout: Layout,
    /// Whether Knative puts its queue-proxy in front of the containers.
    pub queue_proxy: bool,
    /// The labels with a relevant key, see [`StringMap`].
    pub labels: StringMap<'a>,
    /// The annotations with a relevant key, see [`StringMap`].
    pub annotations: StringMap<'a>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.serviceAccountName`.
    pub service_account: Option<Text<'a>>,
    /// `spec.securityContext`.
    pub security_context: Option<SecurityContext<'a>>,
    /// `spec.initContainers`, including native sidecars.
    pub init_containers: Vec<Container<'a>>,
    /// `spec.containers`.
    pub containers: Vec<Container<'a>>,
    /// `spec.volumes`.
    pub volumes: Vec<Volume<'a>>,
}

impl<'a> Pod<'a> {
    /// All containers, init containers first.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The containers that run as long as the pod: regular ones and native sidecars (init containers with
    /// `restartPolicy: Always`).
    pub fn running_containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.all_containers().filter(|container| container.runs_on())
    }

    /// The names of the ConfigMaps that its variables and volumes read.
    pub fn config_maps(&self) -> BTreeSet<&str> {
        let containers = || self.all_containers();
        let keys = containers()
            .flat_map(|container| &container.env)
            .filter_map(|variable| Some(&*variable.value_from.as_ref()?.config_map_key_ref.as_ref()?.name));
        let whole = containers()
            .flat_map(|container| &container.env_from)
            .filter_map(|source| Some(&*source.config_map_ref.as_ref()?.name));
        let files = self.volumes.iter().flat_map(Volume::config_maps);
        keys.chain(whole).chain(files).collect()
    }

    /// The JSON pointer from the root of the object to `tokens` below the pod.
    pub fn pointer<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> PointerBuf {
        parsed(tokens.into_iter().fold(self.at.as_str().to_owned(), push))
    }

    /// The JSON pointer of a container, followed by `tokens`.
    pub fn container_pointer<'t>(
        &self,
        container: &Container<'_>,
        tokens: impl IntoIterator<Item = &'t str>,
    ) -> PointerBuf {
        let list = container.list.field();
        let mut index = Some(container.index);
        let path: &[&str] = match (self.layout, container.list) {
            (Layout::Template, _) => &["spec", list],
            (Layout::PodSpec, _) | (Layout::Step(_), ContainerList::Init) => &[list],
            (Layout::Step(main), ContainerList::Regular) => {
                match container.index.checked_sub(main.length()) {
                    None => {
                        if main.is_single() {
                            index = None;
                        }
                        main.field()
                    }
                    sidecar => {
                        index = sidecar;
                        &["sidecars"]
                    }
                }
            }
        };
        let mut text = String::with_capacity(POINTER_BYTES);
        text.push_str(self.at.as_str());
        text = path.iter().copied().fold(text, push);
        if let Some(index) = index {
            text = push(text, &index.to_string());
        }
        parsed(tokens.into_iter().fold(text, push))
    }

    /// The JSON pointer of an annotation.
    pub fn annotation_pointer(&self, key: &str) -> PointerBuf {
        self.pointer(["metadata", "annotations", key])
    }
}

/// The initial capacity for a JSON pointer, in bytes. Most pointers into a pod are shorter.
const POINTER_BYTES: usize = 80;

/// Appends a token to the text of a JSON pointer. [`PointerBuf::push_back`] takes several times as long.
fn push(mut text: String, token: &str) -> String {
    text.push('/');
    text.push_str(Token::new(token).encoded());
    text
}

fn parsed(text: String) -> PointerBuf {
    PointerBuf::parse(text).expect("each token is encoded")
}

/// Where the parts of a pod are, below its JSON pointer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Layout {
    /// A pod or a pod template, with `metadata` and `spec`.
    #[default]
    Template,
    /// A pod spec without metadata.
    PodSpec,
    /// A template of an Argo Workflow, or the steps of a Tekton task. It has the containers itself, and `metadata`.
    Step(Main),
}

/// The main containers of a [`Layout::Step`]. They come first among the regular containers, before the sidecars.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Main {
    /// One, in `container`.
    Container,
    /// One, in `script`, with a script as its last argument.
    Script,
    /// This number, in `containerSet.containers`.
    ContainerSet(usize),
    /// This number, in `steps` of Tekton.
    Steps(usize),
}

impl Main {
    /// The number of main containers.
    const fn length(self) -> usize {
        match self {
            Self::Container | Self::Script => 1,
            Self::ContainerSet(length) | Self::Steps(length) => length,
        }
    }

    /// Whether the field is a container, and not a list.
    const fn is_single(self) -> bool {
        matches!(self, Self::Container | Self::Script)
    }

    /// The path of the field.
    const fn field(self) -> &'static [&'static str] {
        match self {
            Self::Container => &["container"],
            Self::Script => &["script"],
            Self::ContainerSet(_) => &["containerSet", "containers"],
            Self::Steps(_) => &["steps"],
        }
    }
}

/// The list of the pod spec that a container is in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ContainerList {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    #[default]
    Regular,
}

impl ContainerList {
    /// The field of the pod spec.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Regular => "containers",
        }
    }
}

/// A container, init container or native sidecar.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "RawContainer<'a>", bound(deserialize = "'de: 'a"))]
pub struct Container<'a> {
    /// The list that contains it.
    pub list: ContainerList,
    /// The index in that list.
    pub index: usize,
    /// `name`.
    pub name: Text<'a>,
    /// `image`, as written.
    pub image: Text<'a>,
    /// `command`, which replaces the image's ENTRYPOINT if it is not empty.
    pub command: Vec<Text<'a>>,
    /// `args`, which replaces the image's CMD if it is not empty.
    pub args: Vec<Text<'a>>,
    /// `env`, in order; the last of several equal names wins.
    pub env: Vec<EnvVar<'a>>,
    /// `envFrom`, in order; `env` takes precedence.
    pub env_from: Vec<EnvFrom<'a>>,
    /// `ports`.
    pub ports: Vec<Port<'a>>,
    /// `volumeMounts`.
    pub mounts: Vec<Mount<'a>>,
    /// `workingDir`; that of the image if absent.
    pub working_dir: Option<Text<'a>>,
    /// The probes, in the order of [`ProbeKind::ALL`].
    pub probes: Vec<Probe<'a>>,
    /// Whether it is a native sidecar: an init container with `restartPolicy: Always`.
    pub restart_always: bool,
    /// Rarely used fields that are set and change what the container does: `lifecycle hooks`, `volumeDevices`, `stdin`,
    /// `tty`, `terminationMessagePath`.
    pub unusual: Vec<&'static str>,
    /// The hook that runs after the container has started.
    pub post_start: Option<Hook<'a>>,
    /// `securityContext`.
    pub security_context: Option<SecurityContext<'a>>,
    /// `resources` as raw JSON.
    pub resources: Option<&'a RawValue>,
}

impl Container<'_> {
    /// Whether it runs as long as the pod: a regular container or a native sidecar.
    pub fn runs_on(&self) -> bool {
        match self.list {
            ContainerList::Regular => true,
            ContainerList::Init => self.restart_always,
        }
    }
}

/// A hook of a container's `lifecycle`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Hook<'a> {
    /// `exec`: a command that runs in the container; absent for other kinds of hook.
    #[serde(borrow, default)]
    pub exec: Option<Exec<'a>>,
}

/// A command of a hook.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Exec<'a> {
    /// `command`, which is not run in a shell.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub command: Vec<Text<'a>>,
}

/// A variable of `env`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar<'a> {
    /// `name`.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// `value`; empty if absent, as for kubelet.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub value: Text<'a>,
    /// `valueFrom`; `value` is empty then. Few variables have it, so the others do not hold room for it.
    #[serde(borrow, default)]
    pub value_from: Option<Box<ValueFrom<'a>>>,
}

/// The source of a variable whose value is not in the spec.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom<'a> {
    /// A key of a ConfigMap.
    #[serde(borrow, default)]
    pub config_map_key_ref: Option<KeyRef<'a>>,
    /// A key of a Secret.
    #[serde(borrow, default)]
    pub secret_key_ref: Option<KeyRef<'a>>,
}

/// A key of a ConfigMap or Secret in the pod's namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct KeyRef<'a> {
    /// The name of the object.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// The key.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub key: Text<'a>,
    /// Whether the container starts without it.
    #[serde(default, deserialize_with = "nullable")]
    pub optional: bool,
}

/// An item of `envFrom`: every key of an object becomes a variable.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvFrom<'a> {
    /// The prefix of each key.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub prefix: Text<'a>,
    /// A ConfigMap.
    #[serde(borrow, default)]
    pub config_map_ref: Option<ObjectRef<'a>>,
    /// A Secret.
    #[serde(borrow, default)]
    pub secret_ref: Option<ObjectRef<'a>>,
}

/// A ConfigMap or Secret in the pod's namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ObjectRef<'a> {
    /// The name of the object.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
}

/// A port of a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Port<'a> {
    /// `name`, which probes may refer to.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// `containerPort`.
    #[serde(rename = "containerPort")]
    pub number: u16,
}

/// The label that a Deployment gives its ReplicaSets and their pods.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// The relevant entries of a label or annotation map: those of Linkerd, of linkerd-linger and of mirror pods, and
/// [`TEMPLATE_HASH`]. Other entries are skipped without a copy; `kubectl.kubernetes.io/last-applied-configuration`
/// contains the whole object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StringMap<'a>(pub Vec<(Text<'a>, Text<'a>)>);

impl StringMap<'_> {
    /// The value of `key`; the last of several equal keys wins.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(found, _)| &**found == key).map(|(_, value)| &**value)
    }

    fn is_relevant_key(key: &str) -> bool {
        key == TEMPLATE_HASH
            || key.split_once('/').is_some_and(|(prefix, _)| {
                matches!(prefix, "kubernetes.io" | "linkerd-linger.io")
                    || prefix == "linkerd.io"
                    || prefix.ends_with(".linkerd.io")
            })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StringMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringMapVisitor;
        impl<'de> Visitor<'de> for StringMapVisitor {
            type Value = StringMap<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kept = StringMap::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if StringMap::is_relevant_key(&key) {
                        let value = map.next_value::<Option<Text<'de>>>()?.unwrap_or_default();
                        kept.0.push((key, value));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(kept)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(StringMap::default())
            }
        }
        deserializer.deserialize_any(StringMapVisitor)
    }
}

/// The default of `terminationMessagePath` (kubernetes `pkg/apis/core/v1/defaults.go`).
pub const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

/// A container in the pod spec.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    image: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    command: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    args: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    env: Vec<EnvVar<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    env_from: Vec<EnvFrom<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    ports: Vec<Port<'a>>,
    #[serde(borrow, default)]
    working_dir: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    volume_mounts: Vec<Mount<'a>>,
    #[serde(borrow, default)]
    liveness_probe: Option<probe::RawProbe<'a>>,
    #[serde(borrow, default)]
    readiness_probe: Option<probe::RawProbe<'a>>,
    #[serde(borrow, default)]
    startup_probe: Option<probe::RawProbe<'a>>,
    #[serde(borrow, default)]
    restart_policy: Option<Text<'a>>,
    #[serde(borrow, default)]
    lifecycle: Option<Lifecycle<'a>>,
    #[serde(default, deserialize_with = "nullable")]
    volume_devices: Vec<IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    stdin: bool,
    #[serde(default, deserialize_with = "nullable")]
    stdin_once: bool,
    #[serde(default, deserialize_with = "nullable")]
    tty: bool,
    #[serde(borrow, default, deserialize_with = "nullable")]
    termination_message_path: Text<'a>,
    #[serde(borrow, default)]
    security_context: Option<SecurityContext<'a>>,
    #[serde(borrow, default)]
    resources: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle<'a> {
    #[serde(borrow, default)]
    post_start: Option<Hook<'a>>,
    #[serde(default)]
    pre_stop: Option<IgnoredAny>,
}

impl<'a> From<RawContainer<'a>> for Container<'a> {
    fn from(raw: RawContainer<'a>) -> Self {
        let ports = raw.ports;
        let probes = [
            (ProbeKind::Liveness, raw.liveness_probe),
            (ProbeKind::Readiness, raw.readiness_probe),
            (ProbeKind::Startup, raw.startup_probe),
        ]
        .into_iter()
        .filter_map(|(kind, probe)| Some(probe?.check(kind, &ports)))
        .collect();
        let lifecycle = raw.lifecycle.unwrap_or_default();
        let message_path = &*raw.termination_message_path;
        let unusual = [
            ("lifecycle hooks", lifecycle.post_start.is_some() || lifecycle.pre_stop.is_some()),
            ("volumeDevices", !raw.volume_devices.is_empty()),
            ("stdin", raw.stdin || raw.stdin_once),
            ("tty", raw.tty),
            ("terminationMessagePath", !matches!(message_path, "" | DEFAULT_MESSAGE_PATH)),
        ];
        let unusual = unusual.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect();
        Self {
            list: ContainerList::default(),
            index: 0,
            name: raw.name,
            image: raw.image,
            command: raw.command,
            args: raw.args,
            env: raw.env,
            env_from: raw.env_from,
            ports,
            working_dir: raw.working_dir,
            mounts: raw.volume_mounts,
            probes,
            restart_always: raw.restart_policy.is_some_and(|policy| &*policy == "Always"),
            unusual,
            post_start: lifecycle.post_start,
            security_context: raw.security_context,
            resources: raw.resources.filter(|raw| raw.get() != "null"),
        }
    }
}

/// Ignores `resources`, which are only used for containers that the webhook adds.
impl PartialEq for Container<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
            && self.index == other.index
            && self.name == other.name
            && self.image == other.image
            && self.command == other.command
            && self.args == other.args
            && self.env == other.env
            && self.env_from == other.env_from
            && self.ports == other.ports
            && self.working_dir == other.working_dir
            && self.mounts == other.mounts
            && self.probes == other.probes
            && self.restart_always == other.restart_always
            && self.unusual == other.unusual
            && self.post_start == other.post_start
            && self.security_context == other.security_context
    }
}
