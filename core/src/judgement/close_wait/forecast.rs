//! Forecasts the plan for a pod that Linkerd has not injected yet.
//!
//! The cluster decides how the pod is set up, so each possible [`Setup`] is planned. If all of them lead to the same
//! warning, the warning is reported now. A patch needs no warning, because the webhook applies it after injection.

use super::{Method, Obstacle, Plan, PlanAction, plan_injected};
use crate::{
    judgement::{
        finding::RuleId,
        policy::CloseWait as CloseWaitPolicy,
        survey::{Expected, Survey},
    },
    linkerd::{
        expected::{Redirection, Setup},
        proxy_init::ProxyInit,
    },
    workload::context::Unprivileged,
};

/// The plan for a pod with a given setup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forecast {
    /// How Linkerd sets up the pod.
    pub setup: Setup,
    /// How the timeout will be set, or why it cannot be set.
    pub method: Result<Method, Obstacle>,
    /// The timeout that the pod will run with, in seconds, if it is set at all.
    pub seconds: Option<u32>,
    /// The rule that will report the plan, if there is something to report.
    pub rule: Option<RuleId>,
    /// The action, as a clause.
    what: String,
}

impl Forecast {
    fn of(setup: Setup, plan: &Plan) -> Self {
        let Plan { action, seconds, why, rule, method, .. } = plan;
        let seconds_text = seconds.map_or_else(String::new, |seconds| format!("{seconds}s"));
        let what = match (method, action) {
            (Ok(_), PlanAction::Keep) => why.clone(),
            (Ok(Method::ProxyInit), _) => format!("linkerd-init is patched to set {seconds_text}"),
            (Ok(Method::InitContainer), _) => format!("an init container that sets {seconds_text} is added"),
            (Ok(Method::PodSysctl), _) => format!("a sysctl that sets {seconds_text} is added"),
            (Err(Obstacle::NotWanted), _) => "nothing is done: closeWait.cni is false".to_owned(),
            (Err(Obstacle::NoImage), _) => "a warning: the webhook has no --init-image".to_owned(),
            (Err(Obstacle::OnlyProxyInit), _) => "a warning: closeWait.via is proxy-init".to_owned(),
            (Err(Obstacle::Unprivileged | Obstacle::Untrusted { .. }), _) => format!("a warning: {why}"),
        };
        Self { setup, method: *method, seconds: *seconds, rule: *rule, what }
    }
}

/// Plans each possible setup, and combines what they have in common.
pub(super) fn forecast(survey: &Survey<'_, '_>, policy: &CloseWaitPolicy) -> Plan {
    if let Err(off) = super::wanted(survey, policy) {
        return Plan::nothing(off);
    }
    let plan = |Expected { setup, pod }: &Expected<'_>| {
        let plan = plan_injected(survey, pod, ProxyInit::find(pod).as_ref(), policy);
        (Forecast::of(*setup, &plan), plan)
    };
    let (forecasts, plans): (Vec<_>, Vec<_>) = survey.expected.iter().map(plan).unzip();
    let refused = match survey.unprivileged {
        Some(reason @ Unprivileged::PodSecurity) => {
            let why = reason.why();
            format!(
                "{why}, which rejects linkerd-init (NET_ADMIN and NET_RAW), so the pod needs linkerd-cni; "
            )
        }
        Some(Unprivileged::Label | Unprivileged::PodSecurityOrLabel) | None => String::new(),
    };
    let why = format!("not injected yet; {refused}{}", describe(&forecasts));
    let Some((first, others)) = plans.split_first() else { return Plan::nothing(why) };
    let alike = |other: &Plan| (other.method, other.rule) == (first.method, first.rule);
    let obstacle = match first.method {
        Err(obstacle) if others.iter().all(alike) => obstacle,
        Ok(_) | Err(_) => Obstacle::NotWanted,
    };
    Plan { forecasts, ..Plan::blocked(obstacle, why) }
}

/// Describes the plan for each setup; setups with the same plan are merged.
fn describe(forecasts: &[Forecast]) -> String {
    let mut groups: Vec<(&str, Vec<&Forecast>)> = Vec::new();
    for forecast in forecasts {
        match groups.iter_mut().find(|(what, _)| *what == forecast.what) {
            Some((_, group)) => group.push(forecast),
            None => groups.push((&forecast.what, vec![forecast])),
        }
    }
    if let [(what, _)] = groups.as_slice() {
        return format!("then {what}");
    }
    let describe = groups.iter().map(|(what, group)| {
        let named = Redirection::ALL.into_iter().flat_map(|redirection| {
            let of = |all: &[&Forecast]| all.iter().filter(|it| it.setup.redirection == redirection).count();
            let every: Vec<_> = forecasts.iter().collect();
            if of(group) == of(&every) && of(group) > 0 {
                vec![redirection.as_str()]
            } else {
                let some = group.iter().filter(|it| it.setup.redirection == redirection);
                some.map(|it| it.setup.as_str()).collect()
            }
        });
        format!("with {}, {what}", named.collect::<Vec<_>>().join(" or "))
    });
    describe.collect::<Vec<_>>().join("; ")
}
