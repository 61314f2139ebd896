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
    help: "linkerd-init is not as Linkerd's injector writes it, or linger-close-wait not ours: it gets no privilege",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    let (message, help) = match input.plan.method {
        Err(Obstacle::Untrusted { container: INIT_CONTAINER }) => (
            format!("{INIT_CONTAINER} is not our container: it is not made privileged, the kernel's 60s stay"),
            "give that container another name",
        ),
        _ => (
            "linkerd-init is not as Linkerd's injector writes it: it is not made privileged, the kernel's 60s stay"
                .to_owned(),
            "if the image mirrors Linkerd's, add its repository to the policy's closeWait.images; else let Linkerd \
             inject the container",
        ),
    };
    (message, help.to_owned())
}
