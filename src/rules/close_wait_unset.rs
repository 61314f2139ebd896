//! Nothing sets the close-wait timeout, and linkerd-init could.

use super::{Case, Rule};
use crate::{
    finding::{Finding, RuleId},
    linkerd::proxy_init::FLAG,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUnset,
    help: "the kernel forgets half-closed connections after 60s, and linkerd-init is not told to set more",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    let seconds = case.plan.seconds.unwrap_or_default();
    case.of_plan(
        RULE.id,
        "linkerd-init leaves the kernel's 60s, after which half-closed connections are forgotten".to_owned(),
        format!("let the webhook patch the pod, or give linkerd-init {FLAG} {seconds} and make it privileged and root"),
    )
}
