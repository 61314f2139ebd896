//! Linkerd cannot set the close-wait timeout of this pod, and no other method is allowed.

use super::{Rule, RuleInput};
use crate::{
    judgement::{
        close_wait::Obstacle,
        finding::{Finding, RuleId},
    },
    linkerd::proxy_init::FLAG,
    workload::context::Unprivileged,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUnsupported,
    help: "Linkerd cannot set the pod's close-wait timeout, and no alternative is allowed",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    // What Linkerd does here. Together with the following text it must fit a warning.
    let cni = input.survey.mesh.proxy().is_some_and(|proxy| proxy.cni);
    let linkerd = match &input.survey.proxy_init {
        Some(init) if init.combined && init.effective_seconds() != Ok(None) => {
            format!("linkerd-init 2.20+ crash-loops with {FLAG}")
        }
        Some(init) if init.combined => {
            "linkerd-init of Linkerd 2.20+ cannot set the close-wait timeout".to_owned()
        }
        None if cni => "linkerd-cni cannot set the close-wait timeout".to_owned(),
        Some(_) | None => "linkerd-init is not allowed to set the close-wait timeout".to_owned(),
    };
    let (message, help) = match input.plan.method {
        Err(Obstacle::NoImage) => (
            format!("{linkerd}, and the webhook has no --init-image"),
            "start the webhook with --init-image, so that it adds an init container that sets the timeout",
        ),
        Err(Obstacle::OnlyProxyInit) => (
            format!("{linkerd}, and closeWait.via allows nothing else"),
            "set closeWait.via of the policy to auto, or proxyInit.closeWaitTimeoutSecs of Linkerd to 0",
        ),
        Err(Obstacle::Unprivileged) => (
            "the namespace forbids the privileged container that sets the close-wait timeout: the kernel's 60s remain"
                .to_owned(),
            match input.survey.unprivileged {
                Some(Unprivileged::Label) => {
                    "remove the label linkerd-linger.io/privileged from the namespace, or exempt it from \
                     close-wait-unsupported"
                }
                Some(Unprivileged::PodSecurity | Unprivileged::PodSecurityOrLabel) | None => {
                    "label the namespace pod-security.kubernetes.io/enforce: privileged, or exempt it from \
                     close-wait-unsupported"
                }
            },
        ),
        // No plan with these obstacles belongs to this rule.
        Ok(_) | Err(Obstacle::NotWanted | Obstacle::Untrusted { .. }) => (linkerd, ""),
    };
    (message, help.to_owned())
}
