//! linkerd-init is told to set the close-wait timeout, and will fail to: the pod crash-loops.

use super::{Case, Rule};
use crate::finding::{Change, Finding, RuleId};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitBroken,
    help: "linkerd-init is told to set the close-wait timeout without what that needs, and crash-loops",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    let sets: Vec<_> = case
        .plan
        .edits
        .iter()
        .filter_map(|edit| match &edit.change {
            Change::Set(value) | Change::Replace(value) => {
                Some(format!("{} {value}", edit.at.last()?.decoded()))
            }
            Change::Append(_) => None,
        })
        .collect();
    case.of_plan(
        RULE.id,
        "linkerd-init cannot set the close-wait timeout as it is told to, and crash-loops".to_owned(),
        format!("let the webhook repair the pod, or set on linkerd-init: {}", sets.join(", ")),
    )
}
