//! The plan for `nf_conntrack_tcp_timeout_close_wait`: what is wanted, what the pod does by itself, and which edits
//! bring the two together.
//!
//! Turns a Survey and the policy's wish into a [`Plan`]. The rules make findings of it.

use serde_json::Value;

use crate::{
    annotations::CloseWait,
    duration,
    finding::{Change, Edit, RuleId},
    linkerd::{
        Mesh,
        proxy_init::{FLAG, MAX_SECONDS, MIN_SECONDS, ProxyInit},
    },
    policy::CloseWait as Wish,
    survey::Survey,
};

/// What will be done about the close-wait timeout of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlanAction {
    /// The flag and the privileges that it needs are added.
    Patch,
    /// The pod does it already.
    Keep,
    /// The flag is there and would fail: what is missing is added.
    Repair,
    /// Only an init container of our own could do it.
    InitContainer,
    /// Nothing.
    None,
}

impl PlanAction {
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
    /// How.
    pub edits: Vec<Edit>,
}

impl Plan {
    fn nothing(why: impl Into<String>) -> Self {
        Self { action: PlanAction::None, seconds: None, why: why.into(), rule: None, edits: Vec::new() }
    }
}

/// Plans the close-wait timeout of a pod.
pub fn plan(survey: &Survey<'_, '_>, policy: &Wish) -> Plan {
    let proxy = match &survey.mesh {
        Mesh::Not(why) => return Plan::nothing(why.to_string()),
        Mesh::WillBeInjected(_) => {
            return Plan::nothing("linkerd-init is not there yet; once it is injected, the pod is patched");
        }
        Mesh::Injected(proxy) => proxy,
    };
    let Some(init) = ProxyInit::find(survey.pod) else {
        debug_assert!(proxy.cni, "a proxy without linkerd-init is CNI mode");
        return Plan::nothing(
            "meshed through linkerd-cni, which cannot set it: the pod keeps the kernel's 60s unless an init \
             container of its own sets more",
        );
    };
    let (wanted, from) = match wanted(survey, policy) {
        Ok(wanted) => wanted,
        Err(off) => return Plan::nothing(off),
    };
    if init.combined { unsupported(&init, wanted) } else { with_sysctl(survey, policy, &init, wanted, &from) }
}

/// The wanted seconds and who wants them; or who wants none.
fn wanted(survey: &Survey<'_, '_>, policy: &Wish) -> Result<(u32, String), String> {
    match (survey.annotations.close_wait, policy.timeout) {
        (Some((CloseWait::Seconds(seconds), key)), _) => Ok((seconds, format!("annotation {key}"))),
        (Some((CloseWait::Off, key)), _) => Err(format!("switched off by the annotation {key}")),
        (None, Some(timeout)) => {
            // The policy's own check keeps the timeout within the range.
            let seconds = u32::try_from(timeout.as_secs()).unwrap_or(MAX_SECONDS);
            Ok((seconds, format!("policy, closeWait.timeout {}", duration::show(timeout))))
        }
        (None, None) => Err("switched off by the policy, closeWait.timeout off".to_owned()),
    }
}

fn unsupported(init: &ProxyInit<'_>, wanted: u32) -> Plan {
    let image = &init.container.image;
    let why = if init.is_told() {
        format!(
            "linkerd-init runs from {image} (2.20 and newer), which has no sysctl: its {FLAG} crash-loops it"
        )
    } else {
        format!(
            "linkerd-init runs from {image} (2.20 and newer), which has no sysctl: the flag would crash-loop it"
        )
    };
    Plan {
        action: PlanAction::InitContainer,
        seconds: Some(wanted),
        why,
        rule: Some(RuleId::CloseWaitUnsupported),
        edits: Vec::new(),
    }
}

fn with_sysctl(
    survey: &Survey<'_, '_>,
    policy: &Wish,
    init: &ProxyInit<'_>,
    wanted: u32,
    from: &str,
) -> Plan {
    let set = init.will_set();
    let missing = init.missing_privileges();
    if let (Ok(Some(seconds)), true) = (&set, missing.is_empty()) {
        let why = format!("linkerd-init sets {seconds}s by itself");
        return Plan {
            action: PlanAction::Keep,
            seconds: Some(*seconds),
            why,
            rule: None,
            edits: Vec::new(),
        };
    }
    if let Some(forged) = init.forged(survey.pod, &policy.images) {
        let rule = Some(RuleId::CloseWaitUntrusted);
        return Plan { rule, ..Plan::nothing(format!("linkerd-init gets no privilege from us: {forged}")) };
    }
    let fields = missing.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(", ");
    let (action, seconds, why) = match &set {
        Ok(Some(seconds)) => {
            let why = format!("linkerd-init is told to set {seconds}s, and fails for want of {fields}");
            (PlanAction::Repair, *seconds, why)
        }
        Ok(None) => (PlanAction::Patch, wanted, format!("wanted by {from}")),
        Err(flag) => {
            let fails = if init.reads_its_flags() {
                format!("{flag} is not within the {MIN_SECONDS}s to {MAX_SECONDS}s that work")
            } else {
                format!("linkerd-init fails at {flag}")
            };
            (PlanAction::Repair, wanted, format!("{fails}; instead {wanted}s, wanted by {from}"))
        }
    };
    let mut edits = match &set {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => add_flag(survey, init, wanted),
        Err(_) => mend_flags(survey, init, wanted),
    };
    edits.extend(add_privileges(survey, init, missing));
    let rule = match action {
        PlanAction::Patch => RuleId::CloseWaitUnset,
        _ => RuleId::CloseWaitBroken,
    };
    Plan { action, seconds: Some(seconds), why, rule: Some(rule), edits }
}

/// Two arguments more, as the injector writes them.
fn add_flag(survey: &Survey<'_, '_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let at = survey.pod.container_pointer(init.container, ["args"]);
    let (flag, value) = (Value::from(FLAG), Value::from(seconds.to_string()));
    if init.container.args.is_empty() {
        return vec![Edit { at, change: Change::Set(Value::Array(vec![flag, value])) }];
    }
    [flag, value].map(|value| Edit { at: at.clone(), change: Change::Append(value) }).into()
}

/// Each value at which proxy-init would fail, replaced by the wanted one.
fn mend_flags(survey: &Survey<'_, '_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let args = |index: usize| {
        let mut at = survey.pod.container_pointer(init.container, ["args"]);
        at.push_back(index);
        at
    };
    let last = init.flags.len().saturating_sub(1);
    init.flags
        .iter()
        .enumerate()
        .filter(|(index, flag)| *index == last || flag.seconds.is_none())
        .map(|(_, flag)| {
            if flag.value_at >= init.container.args.len() {
                let at = survey.pod.container_pointer(init.container, ["args"]);
                return Edit { at, change: Change::Append(seconds.to_string().into()) };
            }
            let value = if flag.joined { format!("{FLAG}={seconds}") } else { seconds.to_string() };
            Edit { at: args(flag.value_at), change: Change::Replace(value.into()) }
        })
        .collect()
}

fn add_privileges(
    survey: &Survey<'_, '_>,
    init: &ProxyInit<'_>,
    missing: Vec<(&'static str, Value)>,
) -> Vec<Edit> {
    if init.container.security_context.is_none() {
        let context = missing.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        let at = survey.pod.container_pointer(init.container, ["securityContext"]);
        return vec![Edit { at, change: Change::Set(Value::Object(context)) }];
    }
    missing
        .into_iter()
        .map(|(field, value)| Edit {
            at: survey.pod.container_pointer(init.container, ["securityContext", field]),
            change: Change::Set(value),
        })
        .collect()
}
