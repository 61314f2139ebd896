//! What Linkerd has added or will add to a pod: the proxy, its release line, the ports that bypass it, and its idle
//! timeout for connections to the app.
//!
//! Turns a pod into a [`Mesh`]. [`proxy_init`] describes what the linkerd-init container needs.

pub mod expected;
pub mod pool;
pub mod ports;
pub mod proxy_init;
pub mod version;

use std::fmt;

use self::{
    pool::{DISCOVERY_UNUSED_TIMEOUT, PoolIdle, PoolInputs},
    ports::{Names, PortSet},
    version::{Line, Version},
};
use crate::workload::{
    context::{Context, Unprivileged},
    environment,
    image::ImageRef,
    pod::{Container, ContainerList, EnvVar, Pod, StringMap},
};

/// The name of the proxy container, in either list.
pub const PROXY: &str = "linkerd-proxy";
/// The init container that replaces linkerd-init in CNI mode since 2.13.
pub const NETWORK_VALIDATOR: &str = "linkerd-network-validator";
/// The init container that replaces linkerd-init in CNI mode in 2.12.2 to 2.12.6.
pub const NOOP: &str = "noop";
/// The annotation that the injector uses.
pub const INJECT: &str = "linkerd.io/inject";
/// The only version string that the injector writes into a pod.
const PROXY_VERSION: &str = "linkerd.io/proxy-version";
/// Ports that bypass the proxy.
pub const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// Ports that the proxy forwards as TCP.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Environment variables for the proxy, as a JSON array of EnvVar (2.20, edge-26.4.3, linkerd2 #15156).
const PROXY_ADDITIONAL_ENV: &str = "config.linkerd.io/proxy-additional-env";
/// The image of linkerd-init, up to 2.19.
const INIT_IMAGE: &str = "config.linkerd.io/init-image";
/// A version that the user sets for the injector.
const CONFIG_PROXY_VERSION: &str = "config.linkerd.io/proxy-version";
/// [`OPAQUE_PORTS`] in the environment of the proxy.
pub const OPAQUE_PORTS_ENV: &str = "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION";

/// The proxy's own ports and their defaults, which the injector always skips. The CNI plugin uses its own settings.
pub const OWN_PORTS: [(&str, &str); 2] =
    [("config.linkerd.io/control-port", "4190"), ("config.linkerd.io/admin-port", "4191")];
/// The default of further skipped ports, since 2.11 (`values.yaml`, `proxyInit.ignoreInboundPorts`).
pub const DEFAULT_SKIPPED: &str = "4567,4568";
/// The default of opaque ports, since 2.11 (`values.yaml`, `proxy.opaquePorts`).
pub const DEFAULT_OPAQUE: &str = "25,587,3306,4444,5432,6379,9300,11211";

/// Whether a pod has a Linkerd proxy.
#[derive(Clone, Debug)]
pub enum Mesh {
    /// The pod was injected.
    Injected(Proxy),
    /// The pod will be injected; the values are those that the injector usually writes.
    WillBeInjected(Proxy),
    /// The pod has no proxy and will get none.
    Not(NotMeshed),
}

impl Mesh {
    /// The name in the JSON of `explain`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::WillBeInjected(_) => "will-be-injected",
            Self::Not(_) => "not-meshed",
        }
    }

    /// The proxy, present or expected.
    pub const fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Injected(proxy) | Self::WillBeInjected(proxy) => Some(proxy),
            Self::Not(_) => None,
        }
    }
}

/// Why a pod has no proxy and will get none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotMeshed {
    /// `hostNetwork: true`: the injector skips such pods.
    HostNetwork,
    /// A mirror of a static pod, which kubelet already runs.
    Mirror,
    /// `linkerd.io/inject: disabled` on the pod or its namespace.
    Disabled,
    /// A value that the injector does not know, and treats as disabled.
    InvalidInject(String),
    /// The pod has a sidecar or an init container of another mesh.
    OtherSidecar(String),
    /// Injection was not requested.
    NotRequested,
    /// Injection was requested, but the pod was not injected.
    NotInjected,
}

impl fmt::Display for NotMeshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => f.write_str("hostNetwork: Linkerd does not inject such pods"),
            Self::Mirror => f.write_str("the mirror pod of a static pod, which the kubelet already runs"),
            Self::Disabled => f.write_str("linkerd.io/inject is disabled"),
            Self::InvalidInject(value) => {
                write!(f, "linkerd.io/inject is {value:?}, which is neither enabled, ingress nor disabled")
            }
            Self::OtherSidecar(name) => write!(f, "the injector skips pods with {name}"),
            Self::NotInjected => {
                f.write_str("injection is enabled, but Linkerd's injector did not inject the pod")
            }
            Self::NotRequested => {
                f.write_str("no proxy, and no linkerd.io/inject annotation that enables injection")
            }
        }
    }
}

/// What is known about the proxy of a pod.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Whether it is a native sidecar; `None` if that depends on the injector's settings.
    pub native: Option<bool>,
    /// The version, if the pod shows it.
    pub version: Option<Version>,
    /// The release line, if the version or the containers of the pod show it.
    pub line: Option<Line>,
    /// Whether Linkerd's CNI plugin redirects the traffic, so that there is no linkerd-init.
    pub cni: bool,
    /// Ports that bypass the proxy.
    pub skipped: PortSet,
    /// If present, the only ports that are redirected to the proxy.
    pub redirected_only: Option<PortSet>,
    /// Ports that the proxy forwards as TCP.
    pub opaque: PortSet,
    /// How long the proxy keeps idle HTTP/1 connections to the app.
    pub pool: PoolIdle,
}

impl Proxy {
    /// The release line or, for edges without a line, the version: `2.17`, `2.16-2.17`, `2.20+`, `edge-26.8.3`.
    pub fn line_text(&self) -> Option<String> {
        self.line.map(|line| line.to_string()).or_else(|| self.version.map(|version| version.to_string()))
    }
}

/// How to judge a pod without a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Injection {
    /// It will be injected if the annotations of the pod, or of its namespace if known, say so.
    AsAnnotated,
    /// The same, and a pod without annotations is in a namespace with injection enabled.
    Assumed,
    /// Injection has already happened: a pod without a proxy will get none.
    Completed,
}

/// Whether the pod is a mirror of a static pod, which kubelet already runs. Rejecting it would only hide it, and a
/// patch would have no effect (kubernetes `pkg/kubelet/types/pod_update.go`).
pub fn is_mirror(pod: &Pod<'_>) -> bool {
    pod.annotations.get("kubernetes.io/config.mirror").is_some()
}

/// Reads the Linkerd settings of a pod.
pub fn mesh(pod: &Pod<'_>, namespace: &str, context: &Context, injection: Injection) -> Mesh {
    if is_mirror(pod) {
        return Mesh::Not(NotMeshed::Mirror);
    }
    if pod.host_network {
        return Mesh::Not(NotMeshed::HostNetwork);
    }
    if let Some(proxy) = pod.all_containers().find(|container| &*container.name == PROXY) {
        return Mesh::Injected(injected(pod, proxy, namespace, context));
    }
    let of_namespace = |key: &str| context.namespace_annotation(namespace, key);
    let assumed = injection == Injection::Assumed;
    match inject(pod.annotations.get(INJECT), of_namespace(INJECT), assumed) {
        Err(not) => Mesh::Not(not),
        Ok(()) if injection == Injection::Completed => Mesh::Not(NotMeshed::NotInjected),
        Ok(()) => match other_sidecar(pod) {
            Some(name) => Mesh::Not(NotMeshed::OtherSidecar(name)),
            None => Mesh::WillBeInjected(expected_proxy(pod, namespace, context)),
        },
    }
}

/// The decision of the injector (linkerd2 `pkg/inject/report.go`).
fn inject(pod: Option<&str>, namespace: Option<&str>, assume: bool) -> Result<(), NotMeshed> {
    let known = |value: &str| matches!(value, "enabled" | "ingress" | "disabled");
    let pod = pod.filter(|value| !value.is_empty());
    let namespace = namespace.filter(|value| !value.is_empty());
    if let Some(invalid) = [namespace, pod].into_iter().flatten().find(|value| !known(value)) {
        return Err(NotMeshed::InvalidInject(invalid.to_owned()));
    }
    match (pod, namespace) {
        (Some("disabled"), _) | (None, Some("disabled")) => Err(NotMeshed::Disabled),
        (Some(_), _) | (None, Some(_)) => Ok(()),
        (None, None) if assume => Ok(()),
        (None, None) => Err(NotMeshed::NotRequested),
    }
}

/// A container that the injector takes for an existing sidecar (linkerd2 `pkg/healthcheck/sidecar.go`).
fn other_sidecar(pod: &Pod<'_>) -> Option<String> {
    pod.all_containers()
        .find(|container| match &*container.name {
            "istio-proxy" => true,
            proxy_init::NAME | "istio-init" => container.list == ContainerList::Init,
            _ => sidecar_image_prefix(&container.image).is_some(),
        })
        .map(|container| container.name.to_string())
}

/// The image prefix that makes the injector take a container for a sidecar (the same file).
pub fn sidecar_image_prefix(image: &str) -> Option<&'static str> {
    [
        "cr.l5d.io/linkerd/proxy:",
        "cr.l5d.io/linkerd/proxy-init:",
        "docker.io/istio/proxyv2:",
        "docker.io/istio/proxy_init:",
    ]
    .into_iter()
    .find(|beginning| image.starts_with(beginning))
}

fn injected(pod: &Pod<'_>, proxy: &Container<'_>, namespace: &str, context: &Context) -> Proxy {
    let init = pod.init_containers.iter().find(|container| &*container.name == proxy_init::NAME);
    let annotated = pod.annotations.get(PROXY_VERSION).unwrap_or_default();
    let tag = ImageRef::of(&proxy.image).tag;
    let version = Version::parse(annotated).or_else(|| Version::parse(tag));
    let (skipped, redirected_only) = match init {
        Some(init) => skipped_by_proxy_init(init),
        None => (skipped_by_cni(pod.annotations.get(SKIP_INBOUND_PORTS)), None),
    };
    let line = version.map_or_else(|| line_from_containers(pod, init), Version::line);
    let last = |name: &str| proxy.env.iter().rev().find(|var| &*var.name == name);
    let inputs = PoolInputs {
        variable: environment::variables(proxy, namespace, context),
        discovery: pod.annotations.get(DISCOVERY_UNUSED_TIMEOUT),
        version,
        version_text: if annotated.is_empty() { tag } else { annotated },
        line,
    };
    Proxy {
        native: Some(proxy.list == ContainerList::Init),
        version,
        line,
        cni: init.is_none(),
        skipped,
        redirected_only,
        opaque: last(OPAQUE_PORTS_ENV).map(|var| PortSet::parse([&*var.value])).unwrap_or_default(),
        pool: inputs.pool(),
    }
}

/// The release line by the containers of the pod, for versions with a custom tag.
fn line_from_containers(pod: &Pod<'_>, init: Option<&Container<'_>>) -> Option<Line> {
    let Some(init) = init else {
        let has = |name: &str| pod.init_containers.iter().any(|container| &*container.name == name);
        return if has(NETWORK_VALIDATOR) {
            Some(Line::since(13))
        } else if has(NOOP) {
            Some(Line::exactly(12))
        } else {
            None
        };
    };
    if !init.command.is_empty() {
        return Some(Line::since(20));
    }
    let tag = ImageRef::of(&init.image).tag;
    PROXY_INIT_LINES.iter().find(|(known, _)| *known == tag).map(|(_, line)| *line)
}

/// The proxy-init tags of each release line (linkerd2 `pkg/version/version.go`).
const PROXY_INIT_LINES: [(&str, Line); 11] = [
    ("v1.3.9", Line::between(9, 10)),
    ("v1.3.11", Line::exactly(10)),
    ("v1.4.0", Line::exactly(11)),
    ("v1.5.3", Line::exactly(11)),
    ("v2.0.0", Line::exactly(12)),
    ("v2.2.1", Line::between(13, 14)),
    ("v2.2.3", Line::between(13, 14)),
    ("v2.2.4", Line::exactly(15)),
    ("v2.4.1", Line::between(16, 17)),
    ("v2.4.2", Line::exactly(18)),
    ("v2.4.3", Line::exactly(19)),
];

/// The ports of `--inbound-ports-to-ignore`, whose occurrences are combined, and of `--ports-to-redirect`.
fn skipped_by_proxy_init(init: &Container<'_>) -> (PortSet, Option<PortSet>) {
    let values = |flag: &str| {
        let lists = init.args.iter().enumerate().filter_map(|(index, argument)| {
            match argument.strip_prefix(flag)? {
                "" => init.args.get(index + 1).map(|value| &**value),
                joined => joined.strip_prefix('='),
            }
        });
        let mut lists = lists.peekable();
        lists.peek().is_some().then(|| PortSet::parse(lists))
    };
    (values("--inbound-ports-to-ignore").unwrap_or_default(), values("--ports-to-redirect"))
}

/// The ports that the CNI plugin skips; it has no default list (`linkerd2-cni`, `ignoreInboundPorts`).
fn skipped_by_cni(annotation: Option<&str>) -> PortSet {
    PortSet::parse(OWN_PORTS.into_iter().map(|(_, port)| port).chain(annotation))
}

/// The proxy that the injector will add. Annotations of the pod take precedence over those of its namespace. If Pod
/// Security refuses linkerd-init, which needs NET_ADMIN and NET_RAW, only linkerd-cni is possible.
fn expected_proxy(pod: &Pod<'_>, namespace: &str, context: &Context) -> Proxy {
    let of_namespace = |key: &str| context.namespace_annotation(namespace, key);
    let annotations = &pod.annotations;
    let either = |key: &str| annotations.get(key).or_else(|| of_namespace(key));
    let version_text = either(CONFIG_PROXY_VERSION).unwrap_or_default();
    let version = Version::parse(version_text);
    let env = [of_namespace(PROXY_ADDITIONAL_ENV), annotations.get(PROXY_ADDITIONAL_ENV)]
        .into_iter()
        .flatten()
        .filter_map(|json| serde_json::from_str::<Vec<EnvVar<'_>>>(json).ok())
        .flatten()
        .collect::<Vec<_>>();
    let line = version.and_then(Version::line);
    let proxy = Container { env, ..Container::default() };
    let inputs = PoolInputs {
        variable: environment::variables(&proxy, namespace, context),
        discovery: either(DISCOVERY_UNUSED_TIMEOUT),
        version,
        version_text,
        line,
    };
    let cni = context.unprivileged.get(namespace) == Some(&Unprivileged::PodSecurity);
    Proxy {
        native: native_annotation(annotations, of_namespace),
        version,
        line,
        cni,
        skipped: if cni {
            skipped_by_cni(either(SKIP_INBOUND_PORTS))
        } else {
            let own = OWN_PORTS.into_iter().map(|(key, default)| either(key).unwrap_or(default));
            PortSet::parse(own.chain([either(SKIP_INBOUND_PORTS).unwrap_or(DEFAULT_SKIPPED)]))
        },
        redirected_only: None,
        opaque: PortSet::parse_named([either(OPAQUE_PORTS).unwrap_or(DEFAULT_OPAQUE)], &named_ports(pod)),
        pool: inputs.pool(),
    }
}

/// The named ports that the injector knows; the last one of equal names wins.
fn named_ports<'p>(pod: &'p Pod<'_>) -> Names<'p> {
    let ports = pod.containers.iter().flat_map(|container| &container.ports);
    ports.filter_map(|port| Some((&**port.name.as_ref()?, port.number))).collect()
}

/// Reads the annotations for native sidecars; those of the pod take precedence over those of the namespace.
fn native_annotation<'a>(
    annotations: &'a StringMap<'_>,
    of_namespace: impl Fn(&str) -> Option<&'a str>,
) -> Option<bool> {
    ["config.linkerd.io", "config.beta.linkerd.io", "config.alpha.linkerd.io"]
        .into_iter()
        .map(|prefix| format!("{prefix}/proxy-enable-native-sidecar"))
        .find_map(|key| annotations.get(&key).or_else(|| of_namespace(&key)))
        .and_then(|value| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::workload::object::Object;

    fn of(pod: &serde_json::Value) -> Mesh {
        let mut pod = pod.clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        let json = pod.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        mesh(&object.pod, "shop", &Context::default(), Injection::AsAnnotated)
    }

    #[rstest]
    #[case::by_the_pod(Some("enabled"), None, Ok(()))]
    #[case::by_the_namespace(None, Some("enabled"), Ok(()))]
    #[case::as_ingress(Some("ingress"), None, Ok(()))]
    #[case::pod_against_namespace(Some("enabled"), Some("disabled"), Ok(()))]
    #[case::namespace_with_a_pod_that_does_not_want(
        Some("disabled"),
        Some("enabled"),
        Err(NotMeshed::Disabled)
    )]
    #[case::nobody(None, None, Err(NotMeshed::NotRequested))]
    #[case::typo(Some("true"), Some("enabled"), Err(NotMeshed::InvalidInject("true".into())))]
    #[case::empty_is_unsaid(Some(""), Some("enabled"), Ok(()))]
    fn the_injector_decides(
        #[case] pod: Option<&str>,
        #[case] namespace: Option<&str>,
        #[case] expected: Result<(), NotMeshed>,
    ) {
        assert_eq!(inject(pod, namespace, false), expected);
    }

    #[rstest]
    #[case::nobody_says(None, None, None)]
    #[case::by_the_pod(Some("true"), None, Some(true))]
    #[case::by_the_namespace(None, Some("true"), Some(true))]
    #[case::pod_against_namespace(Some("false"), Some("true"), Some(false))]
    #[case::no_word_for_it(Some("yes"), None, None)]
    fn native_sidecars_to_come(
        #[case] pod: Option<&str>,
        #[case] namespace: Option<&str>,
        #[case] expected: Option<bool>,
    ) {
        const KEY: &str = "config.beta.linkerd.io/proxy-enable-native-sidecar";
        let mut annotations = serde_json::json!({"linkerd.io/inject": "enabled"});
        annotations[KEY] = pod.into();
        if pod.is_none() {
            annotations.as_object_mut().unwrap().remove(KEY);
        }
        let json =
            serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": annotations},
                                      "spec": {"containers": [{"name": "web"}]}})
            .to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let mut context = Context::default();
        let said = namespace.map(|value| (KEY.to_owned(), value.to_owned()));
        context.namespaces.insert("shop".to_owned(), said.into_iter().collect());
        let mesh = mesh(&object.pod, "shop", &context, Injection::AsAnnotated);
        assert_eq!(mesh.proxy().unwrap().native, expected);
    }

    #[test]
    fn annotations_configure_the_expected_proxy() {
        let mesh = of(&serde_json::json!({"metadata": {"annotations": {
            "linkerd.io/inject": "enabled",
            "config.linkerd.io/skip-inbound-ports": "8081,9000-9002",
            "config.linkerd.io/opaque-ports": "5432",
            "config.linkerd.io/proxy-additional-env":
                "[{\"name\":\"LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT\",\"value\":\"1s\"}]",
        }}, "spec": {"containers": [{"name": "web"}]}}));
        assert_eq!(mesh.as_str(), "will-be-injected");
        let proxy = mesh.proxy().unwrap();
        assert_eq!(proxy.skipped.to_string(), "4190-4191,8081,9000-9002");
        assert!(proxy.opaque.contains(5432) && !proxy.opaque.contains(3306));
        assert_eq!(proxy.pool.timeout.as_secs(), 1);
    }

    #[test]
    fn host_network_and_mirror_pods_have_none() {
        let host = of(
            &serde_json::json!({"spec": {"hostNetwork": true, "containers": [{"name": "linkerd-proxy"}]}}),
        );
        assert!(matches!(host, Mesh::Not(NotMeshed::HostNetwork)));
        let mirror =
            of(&serde_json::json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"containers": [{"name": "linkerd-proxy"}]}}));
        assert!(matches!(mirror, Mesh::Not(NotMeshed::Mirror)));
    }

    #[rstest]
    #[case::proxy_init_of_two_lines(
        "linkerd-init",
        "cr.l5d.io/linkerd/proxy-init:v2.2.3",
        None,
        "2.13-2.14",
        false
    )]
    #[case::combined(
        "linkerd-init",
        "cr.l5d.io/linkerd/proxy:x",
        Some("/usr/lib/linkerd/linkerd2-proxy-init"),
        "2.20+",
        false
    )]
    #[case::validator("linkerd-network-validator", "cr.l5d.io/linkerd/proxy:x", None, "2.13+", true)]
    #[case::noop("noop", "gcr.io/google_containers/pause:3.2", None, "2.12", true)]
    fn release_lines_follow_from_containers(
        #[case] name: &str,
        #[case] image: &str,
        #[case] command: Option<&str>,
        #[case] line: &str,
        #[case] cni: bool,
    ) {
        let command: Vec<_> = command.into_iter().collect();
        let mesh = of(&serde_json::json!({"spec": {
            "initContainers": [{"name": name, "image": image, "command": command}],
            "containers": [{"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:x"}]}}));
        let proxy = mesh.proxy().unwrap();
        assert_eq!((proxy.line_text().unwrap().as_str(), proxy.cni), (line, cni));
    }
}
