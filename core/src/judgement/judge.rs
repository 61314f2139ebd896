//! The pipeline of every entry point: takes an object and returns a [`Judgement`].
//!
//! Runs the survey, the rules and the verdict, so that admission, `lint` and `explain` always agree.

use jiff::civil::Date;

use crate::{
    judgement::{
        close_wait::Plan,
        finding::Finding,
        policy::Policy,
        rules,
        survey::{self, Survey},
        verdict::{self, Verdict},
    },
    linkerd::Injection,
    servers::Certainty,
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
    let mut inspected = rules::inspect(&survey, policy);
    if object.is_guess() {
        inspected.findings.iter_mut().for_each(|finding| doubt(finding, object.kind_name()));
    }
    let verdict = verdict::decide(inspected.findings, object, namespace, policy, today);
    Judgement { survey, plan: inspected.plan, verdict }
}

/// Makes a finding in a pod template that was found by its shape likely.
fn doubt(finding: &mut Finding, kind: &str) {
    let why = format!("the controller of this {kind} may change the pod");
    let separator = if finding.note.is_empty() { "" } else { "; " };
    finding.note.push_str(&format!("{separator}{why}"));
    if finding.certainty.is_certain() {
        finding.certainty = Certainty::Likely(why);
    }
}
