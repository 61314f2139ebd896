//! The corridor behind every door: an object in, a [`Judgement`] out.
//!
//! Calls survey, rules and verdict in turn, so that admission, `lint` and `explain` cannot differ.

use jiff::civil::Date;

use crate::{
    judgement::{
        close_wait::Plan,
        policy::Policy,
        rules,
        survey::{self, Survey},
        verdict::{self, Verdict},
    },
    linkerd::Injection,
    workload::{context::Context, object::Object},
};

/// All that is known of an object, and what follows.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// What there is.
    pub survey: Survey<'a, 'a>,
    /// What will be done about the close-wait timeout.
    pub plan: Plan,
    /// What follows from the findings.
    pub verdict: Verdict,
}

/// Judges an object.
pub fn judge<'a>(
    object: &'a Object<'a>,
    namespace: &str,
    context: &Context,
    policy: &'a Policy,
    today: Date,
    injection: Injection,
) -> Judgement<'a> {
    let mut survey = survey::of(&object.pod, namespace, &policy.catalog, context, injection);
    policy.facts.apply(&mut survey.apps, object, namespace);
    let inspected = rules::inspect(&survey, policy);
    let verdict = verdict::decide(inspected.findings, object, namespace, policy, today);
    Judgement { survey, plan: inspected.plan, verdict }
}
