//! Nothing sets the close-wait timeout, although it could be set.

use super::{Rule, RuleInput};
use crate::{
    base::names::INIT_CONTAINER,
    judgement::{
        close_wait::{Method, NOT_HTTP},
        finding::{Finding, RuleId},
    },
    linkerd::proxy_init::FLAG,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUnset,
    help: "nothing raises the kernel's close-wait timeout of 60s: opaque TCP connections that are half-closed \
         and silent for longer are lost",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    let seconds = input.plan.seconds.unwrap_or_default();
    let (message, otherwise) = match input.plan.method {
        Ok(Method::ProxyInit) | Err(_) => (
            "linkerd-init keeps the kernel's 60s: opaque TCP connections half-closed and silent for longer are lost",
            format!("add {FLAG} {seconds} to linkerd-init, and run it privileged and as root"),
        ),
        Ok(Method::InitContainer) => (
            "nothing sets the close-wait timeout: opaque TCP connections half-closed and silent for 60s are lost",
            format!("add the init container {INIT_CONTAINER} before all others"),
        ),
        Ok(Method::PodSysctl) => (
            "nothing sets the close-wait timeout: opaque TCP connections half-closed and silent for 60s are lost",
            format!(
                "set net.netfilter.nf_conntrack_tcp_timeout_close_wait to {seconds} in the pod's sysctls"
            ),
        ),
    };
    (message.to_owned(), format!("let the webhook patch the pod, or {otherwise}; {NOT_HTTP}"))
}
