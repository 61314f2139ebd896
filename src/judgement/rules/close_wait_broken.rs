//! linkerd-init is told to set the close-wait timeout, and will fail to: the pod crash-loops.

use super::{Case, Rule};
use crate::judgement::{
    close_wait::Way,
    finding::{Change, Edit, Finding, RuleId},
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitBroken,
    help: "linkerd-init is told to set the close-wait timeout without what that needs, and crash-loops",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    case.of_plan(RULE.id, || words(case))
}

fn words(case: &Case<'_>) -> (String, String) {
    // The kernel takes a negative number, and more on some machines than on others: no crash is certain then.
    let init = case.survey.proxy_init.as_ref();
    let runs = init.is_some_and(|init| {
        !init.combined && init.reads_its_flags() && init.lacks(case.survey.pod).is_empty()
    });
    let message = if runs {
        "linkerd-init is told to set a close-wait timeout that is out of range"
    } else {
        "linkerd-init cannot set the close-wait timeout as it is told to, and crash-loops"
    };
    let otherwise = match case.plan.way {
        Ok(Way::ProxyInit) | Err(_) => {
            let sets: Vec<_> = case.plan.edits.iter().filter_map(by_hand).collect();
            format!("set on linkerd-init: {}", sets.join(", "))
        }
        Ok(Way::InitContainer | Way::PodSysctl) => {
            "unset proxyInit.closeWaitTimeoutSecs of Linkerd, and let the webhook set the timeout".to_owned()
        }
    };
    (message.to_owned(), format!("let the webhook repair the pod, or {otherwise}"))
}

/// An edit as a person would do it: `runAsUser 0`, `args[11] "3600"`.
fn by_hand(edit: &Edit) -> Option<String> {
    let last = edit.at.last()?;
    let field = last.decoded();
    Some(match &edit.change {
        Change::Set(value) => format!("{field} {value}"),
        Change::Replace(value) => format!("args[{field}] {value}"),
        Change::Append(value) => format!("{value} at the end of {field}"),
        Change::Insert(_) | Change::Remove => return None,
    })
}
