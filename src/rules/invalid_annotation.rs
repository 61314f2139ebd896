//! An annotation of ours cannot be read, so it does not count.

use super::{Case, Rule};
use crate::finding::{Finding, RuleId};

pub(super) const RULE: Rule = Rule {
    id: RuleId::InvalidAnnotation,
    help: "an annotation of linkerd-linger cannot be read, so it does not count",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    case.survey
        .annotations
        .mistakes
        .iter()
        .map(|mistake| Finding {
            rule: RULE.id,
            reachable: true,
            container: None,
            at: vec![case.survey.pod.annotation_pointer(&mistake.key)],
            message: format!("{}: {}", mistake.key, mistake.message),
            note: "the annotation does not count".to_owned(),
            help: mistake.help.clone(),
            edits: Vec::new(),
        })
        .collect()
}
