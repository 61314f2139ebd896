//! The pipeline of every entry point: takes an object and returns a [`Judgement`].
//!
//! Runs the survey, the rules and the verdict, so that admission, `lint` and `explain` always agree.

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

/// The survey of an object and what follows from it.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The survey.
    pub survey: Survey<'a, 'a>,
    /// The plan for the close-wait timeout.
    pub plan: Plan,
    /// The verdict.
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
