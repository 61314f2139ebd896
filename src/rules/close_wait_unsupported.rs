//! The pod's line of Linkerd cannot set the close-wait timeout.

use super::{Case, Rule};
use crate::{
    finding::{Finding, RuleId},
    linkerd::proxy_init::{FLAG, ProxyInit},
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::CloseWaitUnsupported,
    help: "linkerd-init of Linkerd 2.20 and newer has no sysctl, so it cannot set the close-wait timeout",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    let crashes = ProxyInit::find(case.survey.pod).is_some_and(|init| init.is_told());
    let (message, help) = if crashes {
        (
            format!("linkerd-init of Linkerd 2.20+ has no sysctl: {FLAG} crash-loops it"),
            "unset proxyInit.closeWaitTimeoutSecs of Linkerd",
        )
    } else {
        (
            "linkerd-init of Linkerd 2.20+ has no sysctl to set the close-wait timeout: the kernel's 60s stay".to_owned(),
            "set net.netfilter.nf_conntrack_tcp_timeout_close_wait from a privileged init container of your own",
        )
    };
    case.of_plan(RULE.id, message, help.to_owned())
}
