//! linkerd-init has the flag for the close-wait timeout, and will fail because of it: the pod crash-loops.

use super::{Rule, RuleInput};
use crate::judgement::{
    close_wait::Method,
    finding::{Change, Edit, Finding, RuleId},
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitBroken,
    help: "linkerd-init cannot set the close-wait timeout in its arguments, and crash-loops",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    // The kernel accepts negative numbers, and its maximum differs between machines, so the crash is not certain.
    let init = input.survey.proxy_init.as_ref();
    let runs = init.is_some_and(|init| {
        !init.combined && init.has_valid_flags() && init.missing_fields(input.survey.pod).is_empty()
    });
    let message = if runs {
        "the close-wait timeout in linkerd-init's arguments is out of range"
    } else {
        "linkerd-init cannot set the close-wait timeout in its arguments, and crash-loops"
    };
    let otherwise = match input.plan.method {
        Ok(Method::ProxyInit) | Err(_) => {
            let sets: Vec<_> = input.plan.edits.iter().filter_map(manual_help).collect();
            format!("set on linkerd-init: {}", sets.join(", "))
        }
        Ok(Method::InitContainer | Method::PodSysctl) => {
            "remove proxyInit.closeWaitTimeoutSecs from Linkerd's values, and let the webhook set the timeout"
                .to_owned()
        }
    };
    (message.to_owned(), format!("let the webhook repair the pod, or {otherwise}"))
}

/// Describes an edit for manual use: `runAsUser 0`, `args[11] "3600"`.
fn manual_help(edit: &Edit) -> Option<String> {
    let last = edit.at.last()?;
    let field = last.decoded();
    Some(match &edit.change {
        Change::Set(value) => format!("{field} {value}"),
        Change::Replace(value) => format!("args[{field}] {value}"),
        Change::Append(value) => format!("{value} at the end of {field}"),
        Change::Insert(_) | Change::Remove => return None,
    })
}
