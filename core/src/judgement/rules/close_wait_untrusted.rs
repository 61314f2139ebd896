//! A container is not what its name says, so it must not become privileged.

use super::{Rule, RuleInput};
use crate::{
    base::names::INIT_CONTAINER,
    judgement::{
        close_wait::Obstacle,
        finding::{Finding, RuleId},
    },
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUntrusted,
    help: "linkerd-init or linger-close-wait has unexpected fields, so it is not made privileged",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    let (message, help) = match input.plan.method {
        Err(Obstacle::Untrusted { container: INIT_CONTAINER }) => (
            format!(
                "{INIT_CONTAINER} is not the webhook's container, so it is not made privileged: the kernel's 60s remain"
            ),
            "rename that container",
        ),
        _ => (
            "linkerd-init differs from the injector's, so it is not made privileged: the kernel's 60s remain"
                .to_owned(),
            "if the image is a mirror of Linkerd's, add its repository to closeWait.images of the policy; otherwise let Linkerd inject the container",
        ),
    };
    (message, help.to_owned())
}
