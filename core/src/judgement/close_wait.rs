//! Plans `nf_conntrack_tcp_timeout_close_wait`: the desired value, the current state of the pod, and the edits from one
//! to the other.
//!
//! Turns a survey and the policy into a [`Plan`]. The rules report it as findings.

mod forecast;
mod own_init;
mod pod_sysctl;
mod with_proxy_init;

use std::sync::Arc;

use self::own_init::OwnInit;
pub use self::{
    forecast::Forecast,
    own_init::{
        COMMAND as OWN_COMMAND, RESOURCES as COPIED_RESOURCES, RESOURCES_OF as COPIES_RESOURCES_OF,
        read_image,
    },
    pod_sysctl::NAME as SYSCTL,
};
use crate::{
    base::{duration, names::INIT_CONTAINER},
    judgement::{
        finding::{Change, Edit, RuleId},
        policy::{CloseWait as CloseWaitPolicy, Via},
        survey::Survey,
    },
    linkerd::{
        Mesh,
        proxy_init::{self, FLAG, ProxyInit},
    },
    workload::{
        annotations::{CloseWait, MAX_SECONDS, MIN_SECONDS},
        context::Unprivileged,
        pod::Pod,
    },
};

/// What a longer timeout helps, as measured with Linkerd's proxy (`docs/sockets.md`).
pub const HELPS: &str = "a longer timeout helps opaque TCP connections that are half-closed and silent, and prevents port conflicts; it does not help HTTP/1";
/// What no timeout helps, and the workaround: the proxy ends an HTTP/1 request at once when its client half-closes.
pub const NOT_HTTP: &str = "this does not help HTTP/1, where the proxy aborts a request if its client half-closes: mark the port opaque, or keep the client's side open";

/// What the plan does about the close-wait timeout of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlanAction {
    /// Add the flag and the privileges that it needs, or a sysctl of the pod.
    Patch,
    /// Change nothing: the pod already sets the timeout.
    Keep,
    /// Repair linkerd-init, which would fail: add what is missing, or remove the flag and set the timeout in another
    /// way.
    Repair,
    /// Add our init container.
    InitContainer,
    /// Change nothing: the timeout is not wanted, or cannot be set.
    None,
}

impl PlanAction {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Patch, Self::Keep, Self::Repair, Self::InitContainer, Self::None];

    /// The name in the JSON of `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Keep => "keep",
            Self::Repair => "repair",
            Self::InitContainer => "init-container",
            Self::None => "none",
        }
    }
}

/// A plan for the close-wait timeout, and the reason for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The action.
    pub action: PlanAction,
    /// The timeout that the pod will run with, in seconds, if it is set at all.
    pub seconds: Option<u32>,
    /// The reason, in one line.
    pub why: String,
    /// The rule that reports the plan, if there is something to report.
    pub rule: Option<RuleId>,
    /// How the timeout is set, or why it cannot be set.
    pub method: Result<Method, Obstacle>,
    /// The edits that set the timeout.
    pub edits: Arc<[Edit]>,
    /// For a pod that is not injected yet: the plan for each possible [`Setup`](crate::linkerd::expected::Setup).
    pub forecasts: Vec<Forecast>,
}

/// The methods of setting the timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// The flag of linkerd-init.
    ProxyInit,
    /// Our own init container.
    InitContainer,
    /// `spec.securityContext.sysctls`.
    PodSysctl,
}

impl Method {
    /// Describes a pod that sets the timeout with this method.
    pub fn describe(self, seconds: u32) -> String {
        match self {
            Self::ProxyInit => format!("linkerd-init sets {seconds}s"),
            Self::InitContainer => {
                format!(
                    "the init container {INIT_CONTAINER} sets {seconds}s before any container opens connections"
                )
            }
            Self::PodSysctl => format!("spec.securityContext.sysctls sets {seconds}s"),
        }
    }
}

/// Why the timeout cannot be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// Nothing to do: the timeout is not wanted, or the pod has no proxy.
    NotWanted,
    /// Linkerd cannot set it, and there is no image for our init container.
    NoImage,
    /// Linkerd cannot set it, and the policy allows no other method.
    OnlyProxyInit,
    /// The namespace would refuse the pod.
    Unprivileged,
    /// A container is not what its name says, so it must not become privileged.
    Untrusted {
        /// The name of the container.
        container: &'static str,
    },
}

impl Obstacle {
    /// The rule that reports the obstacle.
    const fn rule(self) -> Option<RuleId> {
        match self {
            Self::NotWanted => None,
            Self::NoImage | Self::OnlyProxyInit | Self::Unprivileged => Some(RuleId::CloseWaitUnsupported),
            Self::Untrusted { .. } => Some(RuleId::CloseWaitUntrusted),
        }
    }
}

impl Plan {
    fn nothing(why: impl Into<String>) -> Self {
        Self::blocked(Obstacle::NotWanted, why)
    }

    fn blocked(obstacle: Obstacle, why: impl Into<String>) -> Self {
        Self {
            action: PlanAction::None,
            seconds: None,
            why: why.into(),
            rule: obstacle.rule(),
            method: Err(obstacle),
            edits: Arc::default(),
            forecasts: Vec::new(),
        }
    }

    fn keep(method: Method, seconds: u32) -> Self {
        let why = method.describe(seconds);
        let (action, seconds) = (PlanAction::Keep, Some(seconds));
        Self {
            action,
            seconds,
            why,
            rule: None,
            method: Ok(method),
            edits: Arc::default(),
            forecasts: Vec::new(),
        }
    }
}

/// What a pod does without any change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CurrentState {
    /// It sets the timeout to this number of seconds.
    Sets(Method, u32),
    /// It keeps the kernel's default for a new network namespace: 60 seconds.
    Unset,
    /// It crash-loops, for this reason.
    Fails(String),
}

/// Returns the current state of a pod. linkerd-init takes precedence over our init container, which runs before it, and
/// both over the sysctls that kubelet sets. An init container with our name counts if it has our image; without
/// `image`, any image counts.
pub fn current(pod: &Pod<'_>, image: Option<&str>) -> CurrentState {
    current_state(pod, ProxyInit::find(pod).as_ref(), &own_init::find(pod, image))
}

fn current_state(pod: &Pod<'_>, init: Option<&ProxyInit<'_>>, own: &OwnInit<'_>) -> CurrentState {
    match init.map_or(Ok(None), |init| working_flag(pod, init)) {
        Err(why) => return CurrentState::Fails(why),
        Ok(Some(seconds)) => return CurrentState::Sets(Method::ProxyInit, seconds),
        Ok(None) => {}
    }
    if let OwnInit::OwnContainer(own_container) = own
        && let Some(seconds) = own_container.seconds.filter(|_| own_container.early)
    {
        return CurrentState::Sets(Method::InitContainer, seconds);
    }
    pod_sysctl::seconds(pod)
        .map_or(CurrentState::Unset, |seconds| CurrentState::Sets(Method::PodSysctl, seconds))
}

/// The seconds that linkerd-init sets, or why it fails.
fn working_flag(pod: &Pod<'_>, init: &ProxyInit<'_>) -> Result<Option<u32>, String> {
    let set = init.effective_seconds();
    if set == Ok(None) {
        return Ok(None);
    }
    if init.combined {
        let image = &init.container.image;
        return Err(format!(
            "linkerd-init runs from {image}, which has no sysctl program: {FLAG} makes it crash-loop"
        ));
    }
    let seconds = set.map_err(|flag| {
        if init.has_valid_flags() {
            format!("{flag} is out of range: use {MIN_SECONDS}s to {MAX_SECONDS}s")
        } else {
            format!("linkerd-init cannot parse {flag}")
        }
    })?;
    let lacks = init.missing_fields(pod);
    match seconds {
        Some(seconds) if !lacks.is_empty() => {
            let fields = lacks.join(", ");
            Err(format!(
                "linkerd-init should set {seconds}s, but its securityContext has wrong values for {fields}"
            ))
        }
        seconds => Ok(seconds),
    }
}

/// Plans the close-wait timeout of a pod. For a pod that is not injected yet, plans what to do after injection.
pub fn plan(survey: &Survey<'_, '_>, policy: &CloseWaitPolicy) -> Plan {
    match &survey.mesh {
        Mesh::Not(why) => Plan::nothing(why.to_string()),
        Mesh::WillBeInjected(_) => forecast::forecast(survey, policy),
        Mesh::Injected(_) => plan_injected(survey, survey.pod, survey.proxy_init.as_ref(), policy),
    }
}

/// Plans the close-wait timeout of an injected pod: the surveyed pod, or one that it may become. `init` is its
/// linkerd-init.
fn plan_injected(
    survey: &Survey<'_, '_>,
    pod: &Pod<'_>,
    init: Option<&ProxyInit<'_>>,
    policy: &CloseWaitPolicy,
) -> Plan {
    let (wanted, from) = match wanted(survey, policy) {
        Ok(wanted) => wanted,
        Err(off) => return Plan::nothing(off),
    };
    let own = own_init::find(pod, policy.init_image.as_deref());
    let current = current_state(pod, init, &own);
    let planner = Planner { pod, unprivileged: survey.unprivileged, policy, init, own, current, wanted };
    match (planner.method(), &planner.current) {
        (_, CurrentState::Sets(method, seconds)) => Plan::keep(*method, *seconds),
        (Ok(method), CurrentState::Unset | CurrentState::Fails(_)) => planner.plan(method, &from),
        // Shows the required action even without an image.
        (Err((obstacle @ Obstacle::NoImage, why)), CurrentState::Unset | CurrentState::Fails(_)) => {
            let seconds = planner.init.and_then(ProxyInit::requested_seconds).or(Some(wanted));
            Plan { action: PlanAction::InitContainer, seconds, ..Plan::blocked(obstacle, why) }
        }
        (Err((obstacle, why)), CurrentState::Unset | CurrentState::Fails(_)) => Plan::blocked(obstacle, why),
    }
}

/// The desired seconds and the source of the value, or why no timeout is set.
fn wanted(survey: &Survey<'_, '_>, policy: &CloseWaitPolicy) -> Result<(u32, String), String> {
    match (survey.annotations.close_wait, policy.timeout) {
        (Some((CloseWait::Seconds(seconds), key)), _) => Ok((seconds, format!("annotation {key}"))),
        (Some((CloseWait::Off, key)), _) => Err(format!("turned off by annotation {key}")),
        (None, Some(timeout)) => {
            // The policy parser keeps the timeout within the range.
            let seconds = u32::try_from(timeout.as_secs()).unwrap_or(MAX_SECONDS);
            Ok((seconds, format!("the policy (closeWait.timeout: {})", duration::format(timeout))))
        }
        (None, None) => Err("turned off by the policy (closeWait.timeout: off)".to_owned()),
    }
}

/// The inputs of a plan for a pod that does not set the timeout yet.
struct Planner<'p> {
    pod: &'p Pod<'p>,
    unprivileged: Option<Unprivileged>,
    policy: &'p CloseWaitPolicy,
    init: Option<&'p ProxyInit<'p>>,
    own: OwnInit<'p>,
    current: CurrentState,
    wanted: u32,
}

impl Planner<'_> {
    /// Selects the method, or returns the obstacle.
    fn method(&self) -> Result<Method, (Obstacle, String)> {
        let untrusted_reason = self.untrusted_reason();
        let with_flag = match self.init {
            Some(init) if !init.combined => untrusted_reason.clone().map_or(Ok(Method::ProxyInit), Err),
            Some(_) | None => Err((Obstacle::OnlyProxyInit, self.linkerd_obstacle())),
        };
        let keeps_own_init = matches!(self.own, OwnInit::OwnContainer(_)) && self.policy.init_image.is_some();
        let method = match self.policy.via {
            Via::ProxyInit => with_flag,
            Via::PodSysctl => Ok(Method::PodSysctl),
            Via::InitContainer => self.own_init_method(),
            Via::Auto if with_flag.is_ok() && !keeps_own_init => with_flag,
            Via::Auto if self.init.is_none() && !self.policy.cni => {
                return Err((Obstacle::NotWanted, self.linkerd_obstacle() + ", and closeWait.cni is false"));
            }
            // Without our init container, the problem of linkerd-init is the more useful message.
            Via::Auto => self.own_init_method().map_err(|error| match (error.0, &untrusted_reason) {
                (Obstacle::NoImage, Some(untrusted_reason)) => untrusted_reason.clone(),
                _ => error,
            }),
        };
        if let Some(unprivileged) = self.unprivileged {
            let why = format!("{}, so nothing privileged is added", unprivileged.why());
            return Err((Obstacle::Unprivileged, why));
        }
        match (&self.current, untrusted_reason) {
            // The arguments can be interpreted only if the container really runs proxy-init.
            (CurrentState::Fails(_), Some(untrusted_reason)) => Err(untrusted_reason),
            _ => method,
        }
    }

    /// Why linkerd-init is not trusted with privileges: it was not written by Linkerd.
    fn untrusted_reason(&self) -> Option<(Obstacle, String)> {
        let init = self.init.filter(|init| !init.combined)?;
        let why = init.untrusted_reason(self.pod, &self.policy.images)?;
        let container = proxy_init::NAME;
        Some((Obstacle::Untrusted { container }, format!("{container} is not made privileged: {why}")))
    }

    fn own_init_method(&self) -> Result<Method, (Obstacle, String)> {
        match (&self.policy.init_image, &self.own) {
            (None, _) => Err((Obstacle::NoImage, self.linkerd_obstacle())),
            (Some(_), OwnInit::Foreign(why)) => {
                let container = INIT_CONTAINER;
                Err((Obstacle::Untrusted { container }, format!("{container} is not made privileged: {why}")))
            }
            (Some(_), OwnInit::Absent | OwnInit::OwnContainer(_)) => Ok(Method::InitContainer),
        }
    }

    /// Why Linkerd itself does not set the timeout.
    fn linkerd_obstacle(&self) -> String {
        match (&self.current, self.init) {
            (CurrentState::Fails(why), _) => why.clone(),
            (CurrentState::Sets(..) | CurrentState::Unset, Some(init)) if init.combined => format!(
                "linkerd-init runs from {} (2.20 and newer), which has no sysctl program: the flag would make it \
                 crash-loop",
                init.container.image
            ),
            (CurrentState::Sets(..) | CurrentState::Unset, Some(_)) => {
                match (self.policy.via, self.untrusted_reason()) {
                    (Via::Auto, Some((_, why))) => why,
                    (Via::Auto, None) => {
                        format!("{INIT_CONTAINER} exists already, but does not work")
                    }
                    (Via::InitContainer | Via::ProxyInit | Via::PodSysctl, _) => {
                        format!("closeWait.via is {}", self.policy.via.as_str())
                    }
                }
            }
            (CurrentState::Sets(..) | CurrentState::Unset, None) => {
                "the pod uses linkerd-cni, which cannot set the timeout, so the kernel's 60s remain"
                    .to_owned()
            }
        }
    }

    fn plan(&self, method: Method, from: &str) -> Plan {
        let pod = self.pod;
        // A value that linkerd-init already has is kept, whichever method sets it.
        let requested = self.init.and_then(ProxyInit::requested_seconds);
        let mut seconds = requested.unwrap_or(self.wanted);
        let mut edits = Vec::new();
        if let (Method::InitContainer | Method::PodSysctl, Some(init), CurrentState::Fails(_)) =
            (method, self.init, &self.current)
        {
            edits.push(with_proxy_init::remove_flags(pod, init));
        }
        let mut stays = requested.is_some();
        match (method, self.init, self.seconds_without_proxy_init()) {
            (Method::ProxyInit, Some(init), _) => edits.extend(with_proxy_init::set_flag(pod, init, seconds)),
            (Method::ProxyInit, None, _) => {}
            (Method::InitContainer, ..) => edits.extend(self.own_edits(seconds)),
            (Method::PodSysctl, _, Some(seconds_without_proxy_init)) => {
                (seconds, stays) = (seconds_without_proxy_init, true)
            }
            (Method::PodSysctl, _, None) => edits.extend(pod_sysctl::edits(pod, seconds)),
        }
        let (action, rule, why) = match (&self.current, method) {
            (CurrentState::Fails(why), method) => {
                let then = match (stays, method) {
                    (true, Method::ProxyInit) => String::new(),
                    (true, Method::InitContainer | Method::PodSysctl) => format!("; {seconds}s is kept"),
                    (false, _) => format!("; it is replaced by {seconds}s, requested by {from}"),
                };
                (PlanAction::Repair, RuleId::CloseWaitBroken, why.clone() + &then)
            }
            (CurrentState::Sets(..) | CurrentState::Unset, Method::InitContainer) => {
                let why = format!("{}; requested by {from}", self.linkerd_obstacle());
                (PlanAction::InitContainer, RuleId::CloseWaitUnset, why)
            }
            (CurrentState::Sets(..) | CurrentState::Unset, Method::ProxyInit | Method::PodSysctl) => {
                (PlanAction::Patch, RuleId::CloseWaitUnset, format!("requested by {from}"))
            }
        };
        Plan {
            action,
            seconds: Some(seconds),
            why,
            rule: Some(rule),
            method: Ok(method),
            edits: edits.into(),
            forecasts: Vec::new(),
        }
    }

    /// The seconds that the pod sets without linkerd-init.
    fn seconds_without_proxy_init(&self) -> Option<u32> {
        match &self.own {
            OwnInit::OwnContainer(own_container)
                if own_container.early && own_container.seconds.is_some() =>
            {
                own_container.seconds
            }
            OwnInit::Absent | OwnInit::OwnContainer(_) | OwnInit::Foreign(_) => pod_sysctl::seconds(self.pod),
        }
    }

    /// The edits that put our init container first, because any other init container could open connections. They come
    /// last, since they shift the indexes that other edits refer to.
    fn own_edits(&self, seconds: u32) -> Vec<Edit> {
        let pod = self.pod;
        let Some(image) = &self.policy.init_image else { return Vec::new() };
        let own_container = own_init::container(pod, image, seconds);
        let mut first = pod.pointer(["spec", "initContainers"]);
        if pod.init_containers.is_empty() {
            return vec![Edit { at: first, change: Change::Set(vec![own_container].into()) }];
        }
        first.push_back(0_usize);
        let insert = Edit { at: first, change: Change::Insert(own_container.clone()) };
        match &self.own {
            OwnInit::OwnContainer(existing) if existing.early && existing.seconds == Some(seconds) => {
                Vec::new()
            }
            OwnInit::OwnContainer(existing) => {
                let at = pod.container_pointer(existing.container, []);
                if existing.early {
                    // Replaces the whole container, so that nothing in it that others wrote runs privileged.
                    vec![Edit { at, change: Change::Replace(own_container) }]
                } else {
                    vec![Edit { at, change: Change::Remove }, insert]
                }
            }
            OwnInit::Absent | OwnInit::Foreign(_) => vec![insert],
        }
    }
}

#[cfg(test)]
mod tests;
