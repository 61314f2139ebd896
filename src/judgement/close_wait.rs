//! The plan for `nf_conntrack_tcp_timeout_close_wait`: what is wanted, what the pod does by itself, and which edits
//! bring the two together.
//!
//! Turns a Survey and the policy's wish into a [`Plan`]. The rules make findings of it.

mod forecast;
mod own_init;
mod pod_sysctl;
mod with_proxy_init;

use self::own_init::OwnInit;
pub use self::{forecast::Forecast, own_init::read_image};
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
pub const HELPS: &str = "the timeout helps opaque TCP that is half-closed and silent for longer than the timeout, and prevents port conflicts; \
     no timeout helps HTTP/1";
/// What no timeout helps, and what does: the proxy ends an HTTP/1 request whose client half-closes, at once.
pub const NOT_HTTP: &str = "no timeout helps HTTP/1, where the proxy ends a request whose client half-closes: mark the port opaque, or keep \
     the client's side open";

/// What will be done about the close-wait timeout of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlanAction {
    /// The flag and the privileges that it needs are added, or a sysctl of the pod.
    Patch,
    /// The pod does it already.
    Keep,
    /// linkerd-init would fail: what is missing is added, or the flag taken out and the timeout set in another way.
    Repair,
    /// An init container of our own is added.
    InitContainer,
    /// Nothing.
    None,
}

impl PlanAction {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Patch, Self::Keep, Self::Repair, Self::InitContainer, Self::None];

    /// The word for it in the JSON of `explain`.
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

/// What will be done, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What.
    pub action: PlanAction,
    /// The timeout that the pod will run with, where it is set at all, in seconds.
    pub seconds: Option<u32>,
    /// Why, in one line.
    pub why: String,
    /// The rule that has something to say about it.
    pub rule: Option<RuleId>,
    /// How the timeout is set, or why it cannot be.
    pub method: Result<Method, Obstacle>,
    /// The edits that set it.
    pub edits: Vec<Edit>,
    /// Of a pod that is not injected yet, what will follow from each [`Setup`](crate::linkerd::expected::Setup) that is possible.
    pub forecasts: Vec<Forecast>,
}

/// The ways to set the timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// The flag of linkerd-init.
    ProxyInit,
    /// An init container of our own.
    InitContainer,
    /// `spec.securityContext.sysctls`.
    PodSysctl,
}

impl Method {
    /// That a pod does it already, in words.
    pub fn describe(self, seconds: u32) -> String {
        match self {
            Self::ProxyInit => format!("linkerd-init sets {seconds}s by itself"),
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
    /// Nothing is to be done: nobody wants it, or there is no proxy.
    NotWanted,
    /// Linkerd cannot do it, and we have no image for a container of our own.
    NoImage,
    /// Linkerd cannot do it, and the policy lets nobody else.
    OnlyProxyInit,
    /// The namespace would refuse the pod.
    Unprivileged,
    /// A container is not as its name says, so it must not be made privileged.
    Untrusted {
        /// Its name.
        container: &'static str,
    },
}

impl Obstacle {
    /// The rule that tells of it.
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
            edits: Vec::new(),
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
            edits: Vec::new(),
            forecasts: Vec::new(),
        }
    }
}

/// What a pod does by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CurrentState {
    /// It runs with so many seconds.
    Sets(Method, u32),
    /// It runs with what the kernel starts a network namespace with: 60 seconds.
    Unset,
    /// It crash-loops, and this is why.
    Fails(String),
}

/// What a pod does by itself. linkerd-init counts before our container, which runs before it where we put it, and both
/// before kubelet's sysctls. An init container of our name counts if it has our image, which without `image` is any.
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
            "linkerd-init runs from {image}, which has no sysctl: its {FLAG} crash-loops it"
        ));
    }
    let seconds = set.map_err(|flag| {
        if init.has_valid_flags() {
            format!("{flag} is not within the {MIN_SECONDS}s to {MAX_SECONDS}s that work")
        } else {
            format!("linkerd-init fails at {flag}")
        }
    })?;
    let lacks = init.missing_fields(pod);
    match seconds {
        Some(seconds) if !lacks.is_empty() => {
            let fields = lacks.join(", ");
            Err(format!("linkerd-init is told to set {seconds}s, and fails for want of {fields}"))
        }
        seconds => Ok(seconds),
    }
}

/// Plans the close-wait timeout of a pod. Of one that is not injected yet, what will be planned once it is.
pub fn plan(survey: &Survey<'_, '_>, policy: &CloseWaitPolicy) -> Plan {
    match &survey.mesh {
        Mesh::Not(why) => Plan::nothing(why.to_string()),
        Mesh::WillBeInjected(_) => forecast::forecast(survey, policy),
        Mesh::Injected(_) => plan_injected(survey, survey.pod, policy),
    }
}

/// Plans the close-wait timeout of an injected pod: the surveyed one, or one that it may become.
fn plan_injected(survey: &Survey<'_, '_>, pod: &Pod<'_>, policy: &CloseWaitPolicy) -> Plan {
    let (wanted, from) = match wanted(survey, policy) {
        Ok(wanted) => wanted,
        Err(off) => return Plan::nothing(off),
    };
    let init = ProxyInit::find(pod);
    let init = init.as_ref();
    let own = own_init::find(pod, policy.init_image.as_deref());
    let current = current_state(pod, init, &own);
    let planner = Planner { pod, unprivileged: survey.unprivileged, policy, init, own, current, wanted };
    match (planner.method(), &planner.current) {
        (_, CurrentState::Sets(method, seconds)) => Plan::keep(*method, *seconds),
        (Ok(method), CurrentState::Unset | CurrentState::Fails(_)) => planner.plan(method, &from),
        // What it would take, though nobody can do it yet.
        (Err((obstacle @ Obstacle::NoImage, why)), CurrentState::Unset | CurrentState::Fails(_)) => {
            let seconds = planner.init.and_then(ProxyInit::requested_seconds).or(Some(wanted));
            Plan { action: PlanAction::InitContainer, seconds, ..Plan::blocked(obstacle, why) }
        }
        (Err((obstacle, why)), CurrentState::Unset | CurrentState::Fails(_)) => Plan::blocked(obstacle, why),
    }
}

/// The wanted seconds and who wants them; or who wants none.
fn wanted(survey: &Survey<'_, '_>, policy: &CloseWaitPolicy) -> Result<(u32, String), String> {
    match (survey.annotations.close_wait, policy.timeout) {
        (Some((CloseWait::Seconds(seconds), key)), _) => Ok((seconds, format!("annotation {key}"))),
        (Some((CloseWait::Off, key)), _) => Err(format!("switched off by the annotation {key}")),
        (None, Some(timeout)) => {
            // The policy's own check keeps the timeout within the range.
            let seconds = u32::try_from(timeout.as_secs()).unwrap_or(MAX_SECONDS);
            Ok((seconds, format!("policy, closeWait.timeout {}", duration::format(timeout))))
        }
        (None, None) => Err("switched off by the policy, closeWait.timeout off".to_owned()),
    }
}

/// All that a plan for a pod that does not do it by itself follows from.
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
    /// The way to take, or what is in it.
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
            // Where we can add nothing, what is wrong with linkerd-init is the better news.
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
            // Its arguments mean what they do to proxy-init only if it is proxy-init.
            (CurrentState::Fails(_), Some(untrusted_reason)) => Err(untrusted_reason),
            _ => method,
        }
    }

    /// That linkerd-init is not Linkerd's, where it would be made privileged.
    fn untrusted_reason(&self) -> Option<(Obstacle, String)> {
        let init = self.init.filter(|init| !init.combined)?;
        let why = init.untrusted_reason(self.pod, &self.policy.images)?;
        let container = proxy_init::NAME;
        Some((Obstacle::Untrusted { container }, format!("{container} gets no privilege from us: {why}")))
    }

    fn own_init_method(&self) -> Result<Method, (Obstacle, String)> {
        match (&self.policy.init_image, &self.own) {
            (None, _) => Err((Obstacle::NoImage, self.linkerd_obstacle())),
            (Some(_), OwnInit::Foreign(why)) => {
                let container = INIT_CONTAINER;
                Err((
                    Obstacle::Untrusted { container },
                    format!("{container} gets no privilege from us: {why}"),
                ))
            }
            (Some(_), OwnInit::Absent | OwnInit::OwnContainer(_)) => Ok(Method::InitContainer),
        }
    }

    /// Why Linkerd itself does not do it.
    fn linkerd_obstacle(&self) -> String {
        match (&self.current, self.init) {
            (CurrentState::Fails(why), _) => why.clone(),
            (CurrentState::Sets(..) | CurrentState::Unset, Some(init)) if init.combined => format!(
                "linkerd-init runs from {} (2.20 and newer), which has no sysctl: its flag would crash-loop it",
                init.container.image
            ),
            (CurrentState::Sets(..) | CurrentState::Unset, Some(_)) => {
                match (self.policy.via, self.untrusted_reason()) {
                    (Via::Auto, Some((_, why))) => why,
                    (Via::Auto, None) => {
                        format!("{INIT_CONTAINER} is there already, and does not work as it is")
                    }
                    (Via::InitContainer | Via::ProxyInit | Via::PodSysctl, _) => {
                        format!("closeWait.via is {}", self.policy.via.as_str())
                    }
                }
            }
            (CurrentState::Sets(..) | CurrentState::Unset, None) => {
                "meshed through linkerd-cni, which cannot set it: the pod keeps the kernel's 60s".to_owned()
            }
        }
    }

    fn plan(&self, method: Method, from: &str) -> Plan {
        let pod = self.pod;
        // What somebody told linkerd-init stays, whoever sets it then.
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
                    (true, Method::InitContainer | Method::PodSysctl) => format!("; the {seconds}s stay"),
                    (false, _) => format!("; instead {seconds}s, wanted by {from}"),
                };
                (PlanAction::Repair, RuleId::CloseWaitBroken, why.clone() + &then)
            }
            (CurrentState::Sets(..) | CurrentState::Unset, Method::InitContainer) => {
                let why = format!("{}; wanted by {from}", self.linkerd_obstacle());
                (PlanAction::InitContainer, RuleId::CloseWaitUnset, why)
            }
            (CurrentState::Sets(..) | CurrentState::Unset, Method::ProxyInit | Method::PodSysctl) => {
                (PlanAction::Patch, RuleId::CloseWaitUnset, format!("wanted by {from}"))
            }
        };
        Plan {
            action,
            seconds: Some(seconds),
            why,
            rule: Some(rule),
            method: Ok(method),
            edits,
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

    /// Our container, first of all: any other init container could open connections. These edits come last, since they
    /// move the containers that others point to.
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
                    // Replaced as a whole, so that nothing that somebody else wrote into it runs privileged.
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
