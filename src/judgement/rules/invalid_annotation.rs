//! An annotation of ours cannot be read, so it does not count.

use super::{Case, Rule};
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
    help: "an annotation of linkerd-linger cannot be read, so it does not count",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    let mistakes = case.survey.annotations.mistakes.iter().cloned();
    mistakes.chain(exemption(case)).map(|mistake| finding(case, mistake)).collect()
}

/// What is wrong with the exemption that the pod claims for itself.
fn exemption(case: &Case<'_>) -> Option<Mistake> {
    let error = AnnotationExemption::parse(case.survey.pod.annotations.get(EXEMPT)?).err()?;
    Some(Mistake { key: EXEMPT.to_owned(), message: error.reason, help: AnnotationError::HELP.to_owned() })
}

fn finding(case: &Case<'_>, mistake: Mistake) -> Finding {
    Finding {
        rule: RULE.id,
        reachable: true,
        certainty: Certainty::Certain,
        container: None,
        at: vec![case.survey.pod.annotation_pointer(&mistake.key)],
        message: format!("{}: {}", mistake.key, mistake.message),
        note: "the annotation does not count".to_owned(),
        help: mistake.help,
        edits: Vec::new(),
    }
}
