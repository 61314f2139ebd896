//! The survey of a pod: each container with its server and idle timeout, each probe with its transport.
//!
//! Turns a pod, the catalog and the context into a [`Survey`]. It holds facts and no judgement.

use std::fmt;

use foldhash::HashMap;

use crate::{
    base::duration,
    linkerd::{
        self, Injection, Mesh, Proxy,
        expected::Setup,
        proxy_init::{self, ProxyInit},
    },
    servers::{self, Answer, Catalog, DetectedServer, Evidence, Idle, Window},
    workload::{
        annotations::{Annotations, IDLE_TIMEOUT, IdleTimeout},
        context::{Context, Unprivileged},
        pod::{Container, Handler, Pod, Probe, ProbeKind},
    },
};

/// The facts about a pod.
#[derive(Debug)]
pub struct Survey<'p, 'c> {
    /// The pod.
    pub pod: &'p Pod<'p>,
    /// The proxy.
    pub mesh: Mesh,
    /// The annotations of linkerd-linger.
    pub annotations: Annotations,
    /// The running containers of the user: regular ones and native sidecars, without Linkerd's.
    pub apps: Vec<App<'p, 'c>>,
    /// The probes of these containers.
    pub probes: Vec<ProbeUse<'p>>,
    /// The linkerd-init container.
    pub proxy_init: Option<ProxyInit<'p>>,
    /// The pods that the injector may produce, if the pod is not injected yet.
    pub expected: Vec<Expected<'p>>,
    /// Why the namespace refuses privileged containers and unsafe sysctls, if it does.
    pub unprivileged: Option<Unprivileged>,
}

/// A pod as the injector may set it up.
#[derive(Debug)]
pub struct Expected<'p> {
    /// The setup.
    pub setup: Setup,
    /// The pod with Linkerd's containers.
    pub pod: Pod<'p>,
}

/// A container with its server.
#[derive(Debug)]
pub struct App<'p, 'c> {
    /// The container.
    pub container: &'p Container<'p>,
    /// The server in the container and its idle timeout.
    pub detected: DetectedServer<'c>,
}

impl App<'_, '_> {
    /// The name for messages: that of the server, otherwise "its server".
    pub fn server_name(&self) -> &str {
        self.detected.name().unwrap_or("its server")
    }

    /// The setting to raise, for a help text: `Gunicorn's idle timeout (--keep-alive)`.
    pub fn idle_timeout_name(&self, answer: &Answer) -> String {
        let setting = answer.raise.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        format!("{}'s idle timeout{setting}", self.server_name())
    }

    /// The distinct answers for the ports that requests may reach: those that the container declares, or that were
    /// queried.
    pub fn answers(&self) -> Vec<&Answer> {
        let declared = self.container.ports.iter().map(|port| port.number);
        let ports: Vec<u16> = if self.container.ports.is_empty() {
            self.detected.by_port.keys().copied().collect()
        } else {
            declared.collect()
        };
        let mut answers: Vec<&Answer> = Vec::new();
        for answer in ports.into_iter().map(|port| self.detected.at(Some(port))) {
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
        if answers.is_empty() { vec![&self.detected.general] } else { answers }
    }
}

/// A probe and the transport of its requests.
#[derive(Debug)]
pub struct ProbeUse<'p> {
    /// The container with the probe.
    pub container: &'p Container<'p>,
    /// The probe.
    pub probe: &'p Probe<'p>,
    /// The index in [`Survey::apps`] of the container that answers the probe.
    pub answered_by: usize,
    /// The transport.
    pub transport: Transport,
}

/// How a request reaches the app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Through the proxy's HTTP/1 pool, which reuses connections that have been idle for less than its timeout.
    Http1,
    /// Through the proxy's HTTP/2 connection, which is reused as long as it is open.
    Http2,
    /// Not over a connection that the proxy reuses.
    Not(NotPooled),
}

impl Transport {
    /// Whether the proxy reuses the connection.
    pub const fn is_pooled(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2)
    }
}

/// Why the proxy does not reuse the connection of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotPooled {
    /// The pod has no proxy.
    NotMeshed,
    /// The port bypasses the proxy.
    SkippedPort,
    /// Only other ports are redirected to the proxy.
    NotRedirected,
    /// The proxy forwards the port as TCP.
    OpaquePort,
    /// The command runs inside the container.
    Exec,
    /// The proxy accepts the connection itself; no request follows.
    TcpSocket,
    /// TLS from kubelet to the app: the proxy forwards it as TCP.
    Https,
    /// The request goes to another address than that of the pod.
    OtherHost,
    /// Knative's queue-proxy answers it.
    QueueProxy,
    /// The container has no port with this name.
    UnknownPort,
    /// The handler is unknown.
    UnknownHandler,
}

impl fmt::Display for NotPooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMeshed => "the pod has no Linkerd proxy",
            Self::SkippedPort => "the port is skipped: its connections bypass the proxy",
            Self::NotRedirected => "the port is not redirected to the proxy",
            Self::OpaquePort => {
                "the port is opaque: the proxy forwards each connection as TCP and re-uses none"
            }
            Self::Exec => "an exec probe runs inside the container",
            Self::TcpSocket => "a tcpSocket probe only connects, and the proxy accepts the connection",
            Self::Https => "scheme HTTPS: the proxy forwards each TLS connection as TCP and re-uses none",
            Self::OtherHost => "the probe sets a host other than the pod",
            Self::QueueProxy => {
                "Knative's queue-proxy answers the probe, and connects to the container inside the pod"
            }
            Self::UnknownPort => "the container has no port with the probe's port name",
            Self::UnknownHandler => "the probe's handler is not known",
        })
    }
}

/// Surveys a pod.
pub fn of<'p, 'c>(
    pod: &'p Pod<'p>,
    namespace: &str,
    catalog: &'c Catalog,
    context: &Context,
    injection: Injection,
) -> Survey<'p, 'c> {
    let mesh = linkerd::mesh(pod, namespace, context, injection);
    let annotations = Annotations::read(pod);
    let apps: Vec<_> = pod
        .running_containers()
        .filter(|container| !matches!(&*container.name, linkerd::PROXY | proxy_init::NAME))
        .map(|container| {
            // Another container's probe is answered here only on a port that this one declares.
            let probed = container.probes.iter().filter_map(|probe| probe.port);
            let own = container.ports.iter().map(|port| port.number);
            let mut ports: Vec<_> = probed.chain(own).collect();
            ports.sort_unstable();
            ports.dedup();
            let mut detected = servers::detected(catalog, pod, container, &ports, namespace, context);
            if let Some(idle) = annotations.idle_of(&container.name) {
                detected.general = declared(pod, idle);
                detected.by_port.clear();
            }
            App { container, detected }
        })
        .collect();
    let declared_in = declared_in(&apps);
    let probes = apps
        .iter()
        .enumerate()
        .flat_map(|(index, app)| app.container.probes.iter().map(move |probe| (index, app.container, probe)))
        .map(|(index, container, probe)| ProbeUse {
            container,
            probe,
            answered_by: container_on_port(&apps[index], &declared_in, probe.port).unwrap_or(index),
            transport: transport(mesh.proxy(), pod.queue_proxy, probe),
        })
        .collect();
    let unprivileged = context.unprivileged.get(namespace).copied();
    let expected = match &mesh {
        Mesh::WillBeInjected(proxy) => Setup::possible(proxy)
            .map(|setup| Expected { setup, pod: setup.inject(pod, namespace, context) })
            .collect(),
        Mesh::Injected(_) | Mesh::Not(_) => Vec::new(),
    };
    Survey { pod, mesh, annotations, apps, probes, proxy_init: ProxyInit::find(pod), expected, unprivileged }
}

/// The idle timeout that an annotation declares, with the annotation as evidence.
fn declared(pod: &Pod<'_>, idle: IdleTimeout) -> Answer {
    let value = match idle {
        IdleTimeout::After(timeout) => duration::format(timeout),
        IdleTimeout::None => "none".to_owned(),
    };
    let at = pod.annotation_pointer(IDLE_TIMEOUT).to_string();
    let evidence = Evidence::set_by(at, format!("{IDLE_TIMEOUT}: {value}"));
    let idle = match idle {
        IdleTimeout::After(timeout) => Idle::ClosesAfter(Window::exactly(timeout), evidence),
        IdleTimeout::None => Idle::NeverCloses(evidence),
    };
    Answer { idle, raise: None }
}

/// The first container that declares each port.
fn declared_in(apps: &[App<'_, '_>]) -> HashMap<u16, usize> {
    let ports = apps
        .iter()
        .enumerate()
        .flat_map(|(index, app)| app.container.ports.iter().map(move |port| (port.number, index)));
    let mut first = HashMap::default();
    for (port, index) in ports {
        first.entry(port).or_insert(index);
    }
    first
}

/// The container that answers a probe, if it is not the probed container. The containers of a pod share their ports:
/// the container that declares the port answers, otherwise the probed one.
fn container_on_port(
    probed: &App<'_, '_>,
    declared_in: &HashMap<u16, usize>,
    port: Option<u16>,
) -> Option<usize> {
    let port = port?;
    let itself = probed.container.ports.iter().any(|declared| declared.number == port);
    if itself { None } else { declared_in.get(&port).copied() }
}

fn transport(proxy: Option<&Proxy>, queue_proxy: bool, probe: &Probe<'_>) -> Transport {
    let (pooled, port) = match &probe.handler {
        Handler::Exec => return Transport::Not(NotPooled::Exec),
        Handler::TcpSocket => return Transport::Not(NotPooled::TcpSocket),
        Handler::Unknown => return Transport::Not(NotPooled::UnknownHandler),
        Handler::HttpGet { https: true, .. } => return Transport::Not(NotPooled::Https),
        Handler::HttpGet { host: Some(_), .. } => return Transport::Not(NotPooled::OtherHost),
        Handler::HttpGet { .. } => (Transport::Http1, probe.port),
        Handler::Grpc { .. } => (Transport::Http2, probe.port),
    };
    // Knative removes the readiness probe from the container and points the HTTP liveness probe at its queue-proxy
    // (knative/serving `pkg/reconciler/revision/resources/deploy.go`).
    let is_queue_proxys = match probe.kind {
        ProbeKind::Readiness => true,
        ProbeKind::Liveness => pooled == Transport::Http1,
        ProbeKind::Startup => false,
    };
    match (proxy, port) {
        (None, _) => Transport::Not(NotPooled::NotMeshed),
        _ if queue_proxy && is_queue_proxys => Transport::Not(NotPooled::QueueProxy),
        (_, None) => Transport::Not(NotPooled::UnknownPort),
        (Some(proxy), Some(port)) => port_transport(proxy, port).map_or(pooled, Transport::Not),
    }
}

/// Why requests to a port do not use connections that the proxy reuses; `None` if they do.
pub fn port_transport(proxy: &Proxy, port: u16) -> Option<NotPooled> {
    if proxy.skipped.contains(port) {
        Some(NotPooled::SkippedPort)
    } else if proxy.redirected_only.as_ref().is_some_and(|only| !only.contains(port)) {
        Some(NotPooled::NotRedirected)
    } else if proxy.opaque.contains(port) {
        Some(NotPooled::OpaquePort)
    } else {
        None
    }
}

impl ProbeUse<'_> {
    /// The authority of the requests, if they have one. The proxy keeps a client with its own pool for each authority
    /// (linkerd2-proxy `linkerd/app/inbound/src/http/router.rs`, `Logical`). An IP address, or port 80, is not part of
    /// it.
    pub fn authority(&self) -> Option<String> {
        let Handler::HttpGet { authority: Some(host), .. } = &self.probe.handler else { return None };
        let is_address = host.starts_with('[')
            || host.matches(':').count() > 1
            || host.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':'));
        (!is_address).then(|| host.strip_suffix(":80").unwrap_or(host).to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::workload::object::Object;

    #[rstest]
    #[case::name(r#"[{"name": "Host", "value": "Web.example.com"}]"#, Some("web.example.com"))]
    #[case::usual_port(r#"[{"name": "host", "value": "web:80"}]"#, Some("web"))]
    #[case::other_port(r#"[{"name": "HOST", "value": "web:8080"}]"#, Some("web:8080"))]
    #[case::first_of_two(r#"[{"name": "Host", "value": "a"}, {"name": "Host", "value": "b"}]"#, Some("a"))]
    #[case::empty(r#"[{"name": "Host", "value": ""}]"#, None)]
    #[case::address(r#"[{"name": "Host", "value": "10.0.0.1:8000"}]"#, None)]
    #[case::address_of_version_6(r#"[{"name": "Host", "value": "[::1]:80"}]"#, None)]
    #[case::another_header(r#"[{"name": "Accept", "value": "web"}, {}]"#, None)]
    #[case::null("null", None)]
    fn the_host_header_of_a_probe_is_its_authority(#[case] headers: &str, #[case] expected: Option<&str>) {
        let json = format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "spec": {{"containers": [{{"name": "web",
                "livenessProbe": {{"httpGet": {{"port": 80, "httpHeaders": {headers}}}}}}}]}}}}"#
        );
        let object = Object::read(&json).unwrap().unwrap();
        let container = &object.pod.containers[0];
        let transport = Transport::Not(NotPooled::NotMeshed);
        let used = ProbeUse { container, probe: &container.probes[0], answered_by: 0, transport };
        assert_eq!(used.authority().as_deref(), expected);
    }
}
