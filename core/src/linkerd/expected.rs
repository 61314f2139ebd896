//! The pod after injection, as far as its init containers are concerned.
//!
//! Unless the pod says so, the setup depends on the cluster: on the version of Linkerd, and on whether linkerd-cni is
//! installed. Each possible [`Setup`] gives another pod. `close_wait` plans for each of them.

use super::{
    INIT_IMAGE, NETWORK_VALIDATOR, PROXY, Proxy,
    proxy_init::{COMBINED_COMMAND, FLAG, NAME, UPSTREAM_IMAGES},
};
use crate::{
    base::{duration, text::Text},
    workload::{
        annotations::LINKERD_CLOSE_WAIT_TIMEOUT,
        context::Context,
        pod::{Container, ContainerList, Pod},
    },
};

/// What redirects the connections of a pod to its proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redirection {
    /// linkerd-init from the image of proxy-init: Linkerd up to 2.19.
    ProxyInit,
    /// linkerd-init from the image of the proxy: Linkerd 2.20 and newer.
    CombinedInit,
    /// The CNI plugin, before any container starts.
    Cni,
}

impl Redirection {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::ProxyInit, Self::CombinedInit, Self::Cni];

    /// The name for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyInit => "Linkerd up to 2.19",
            Self::CombinedInit => "Linkerd 2.20 and newer",
            Self::Cni => "linkerd-cni",
        }
    }
}

/// A setup that the injector may choose for a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setup {
    /// What redirects the connections.
    pub redirection: Redirection,
    /// Whether the proxy is a native sidecar.
    pub native: bool,
}

impl Setup {
    /// The setups that are possible for a pod with this proxy.
    pub fn possible(proxy: &Proxy) -> impl Iterator<Item = Self> {
        let (cni, natives): (_, &[bool]) =
            (proxy.cni, if proxy.native == Some(false) { &[false] } else { &[false, true] });
        let redirections = Redirection::ALL.into_iter().filter(move |it| !cni || *it == Redirection::Cni);
        redirections
            .flat_map(move |redirection| natives.iter().map(move |&native| Self { redirection, native }))
    }

    /// The name for messages.
    pub fn as_str(self) -> &'static str {
        match (self.redirection, self.native) {
            (redirection, false) => redirection.as_str(),
            (Redirection::ProxyInit, true) => "Linkerd up to 2.19 as a native sidecar",
            (Redirection::CombinedInit, true) => "Linkerd 2.20 and newer as a native sidecar",
            (Redirection::Cni, true) => "linkerd-cni and a native sidecar",
        }
    }

    /// Adds the containers as the injector does, in the same positions (linkerd2 `charts/patch`).
    pub fn inject<'p>(self, pod: &Pod<'p>, namespace: &str, context: &Context) -> Pod<'p> {
        let mut injected = pod.clone();
        let mut added = vec![self.init(pod, namespace, context)];
        let proxy = Container { name: Text::from(PROXY), ..Container::default() };
        if self.native {
            added.push(Container { restart_always: true, ..proxy });
            added.append(&mut injected.init_containers);
            injected.init_containers = added;
        } else {
            injected.init_containers.append(&mut added);
            injected.containers.insert(0, proxy);
        }
        number(&mut injected.init_containers, ContainerList::Init);
        number(&mut injected.containers, ContainerList::Regular);
        injected
    }

    /// The init container. Linkerd adds the flag for its own annotation on the pod, not on the namespace.
    fn init<'p>(self, pod: &Pod<'p>, namespace: &str, context: &Context) -> Container<'p> {
        let flag = || {
            let timeout = duration::parse(pod.annotations.get(LINKERD_CLOSE_WAIT_TIMEOUT)?).ok()?;
            Some(vec![Text::from(FLAG), Text(timeout.as_secs().to_string().into())])
        };
        let of_namespace = || context.namespace_annotation(namespace, INIT_IMAGE);
        let image = || pod.annotations.get(INIT_IMAGE).or_else(of_namespace).unwrap_or(UPSTREAM_IMAGES[0]);
        match self.redirection {
            Redirection::ProxyInit => Container {
                name: Text::from(NAME),
                image: Text(image().to_owned().into()),
                args: flag().unwrap_or_default(),
                ..Container::default()
            },
            Redirection::CombinedInit => Container {
                name: Text::from(NAME),
                image: Text::from("cr.l5d.io/linkerd/proxy"),
                command: vec![Text::from(COMBINED_COMMAND)],
                args: flag().unwrap_or_default(),
                ..Container::default()
            },
            Redirection::Cni => Container { name: Text::from(NETWORK_VALIDATOR), ..Container::default() },
        }
    }
}

fn number(containers: &mut [Container<'_>], list: ContainerList) {
    for (index, container) in containers.iter_mut().enumerate() {
        (container.list, container.index) = (list, index);
    }
}
