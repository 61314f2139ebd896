//! linkerd-init is told to set the close-wait timeout, and will fail to: the pod crash-loops.

use super::{Case, Rule};
use crate::{
    close_wait::Way,
    finding::{Change, Edit, Finding, RuleId},
    linkerd::proxy_init::ProxyInit,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitBroken,
    help: "linkerd-init is told to set the close-wait timeout without what that needs, and crash-loops",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    // The kernel takes a negative number, and more on some machines than on others: no crash is certain then.
    let runs = ProxyInit::find(case.survey.pod)
        .is_some_and(|init| !init.combined && init.reads_its_flags() && init.missing_privileges().is_empty());
    let message = if runs {
        "linkerd-init is told to set a close-wait timeout that is out of range"
    } else {
        "linkerd-init cannot set the close-wait timeout as it is told to, and crash-loops"
    };
    let otherwise = match case.plan.way {
        Ok(Way::ProxyInit) | Err(_) => {
            let sets: Vec<_> = case.plan.edits.iter().filter_map(words).collect();
            format!("set on linkerd-init: {}", sets.join(", "))
        }
        Ok(Way::InitContainer | Way::PodSysctl) => {
            "unset proxyInit.closeWaitTimeoutSecs of Linkerd, and let the webhook set the timeout".to_owned()
        }
    };
    case.of_plan(RULE.id, message.to_owned(), format!("let the webhook repair the pod, or {otherwise}"))
}

/// An edit as a person would do it: `runAsUser 0`, `args[11] "3600"`.
fn words(edit: &Edit) -> Option<String> {
    let last = edit.at.last()?;
    let field = last.decoded();
    Some(match &edit.change {
        Change::Set(value) => format!("{field} {value}"),
        Change::Replace(value) => format!("args[{field}] {value}"),
        Change::Append(value) => format!("{value} at the end of {field}"),
        Change::Insert(_) | Change::Remove => return None,
    })
}
