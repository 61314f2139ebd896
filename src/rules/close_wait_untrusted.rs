//! A container is named linkerd-init and is not Linkerd's: whoever wrote it shall not be made root by us.

use super::{Case, Rule};
use crate::finding::{Finding, RuleId};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUntrusted,
    help: "linkerd-init is not as Linkerd's injector writes it, so it is given no privilege",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    case.of_plan(
        RULE.id,
        "linkerd-init is not as Linkerd's injector writes it: it is not made privileged, the kernel's 60s stay"
            .to_owned(),
        "if the image mirrors Linkerd's, add its repository to the policy's closeWait.images; else let Linkerd inject \
         the container"
            .to_owned(),
    )
}
