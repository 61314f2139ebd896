//! An annotation of linkerd-linger is invalid and has no effect.

use std::sync::Arc;

use super::{Rule, RuleInput};
use crate::{
    judgement::{
        finding::{Finding, RuleId},
        policy::{AnnotationError, AnnotationExemption},
    },
    servers::Certainty,
    workload::annotations::{EXEMPT, Mistake},
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::InvalidAnnotation,
    help: "a linkerd-linger annotation is not valid, so it is ignored",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    let mistakes = input.survey.annotations.mistakes.iter().cloned();
    mistakes.chain(exemption(input)).map(|mistake| finding(input, mistake)).collect()
}

/// The mistake in the exemption annotation of the pod.
fn exemption(input: &RuleInput<'_>) -> Option<Mistake> {
    let error = AnnotationExemption::parse(input.survey.pod.annotations.get(EXEMPT)?).err()?;
    Some(Mistake { key: EXEMPT.to_owned(), message: error.reason, help: AnnotationError::HELP.to_owned() })
}

fn finding(input: &RuleInput<'_>, mistake: Mistake) -> Finding {
    Finding {
        rule: RULE.id,
        reachable: true,
        certainty: Certainty::Certain,
        container: None,
        at: vec![input.survey.pod.annotation_pointer(&mistake.key)],
        message: format!("{}: {}", mistake.key, mistake.message),
        note: "the annotation is ignored".to_owned(),
        help: mistake.help,
        edits: Arc::default(),
        timeline: None,
    }
}
