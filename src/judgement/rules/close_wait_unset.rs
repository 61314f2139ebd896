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
    help: "nothing raises the 60s after which the kernel forgets a half-closed connection that is silent: opaque TCP loses \
           the answer",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    input.of_plan(RULE.id, || texts(input))
}

fn texts(input: &RuleInput<'_>) -> (String, String) {
    let seconds = input.plan.seconds.unwrap_or_default();
    let (message, otherwise) = match input.plan.method {
        Ok(Method::ProxyInit) | Err(_) => (
            "linkerd-init leaves the kernel's 60s: opaque TCP that is half-closed and silent for longer is lost",
            format!("give linkerd-init {FLAG} {seconds} and make it privileged and root"),
        ),
        Ok(Method::InitContainer) => (
            "nothing sets the close-wait timeout: opaque TCP that is half-closed and silent for 60s is lost",
            format!("put the init container {INIT_CONTAINER} before all others"),
        ),
        Ok(Method::PodSysctl) => (
            "nothing sets the close-wait timeout: opaque TCP that is half-closed and silent for 60s is lost",
            format!(
                "set net.netfilter.nf_conntrack_tcp_timeout_close_wait to {seconds} in the pod's sysctls"
            ),
        ),
    };
    (message.to_owned(), format!("let the webhook patch the pod, or {otherwise}; {NOT_HTTP}"))
}
