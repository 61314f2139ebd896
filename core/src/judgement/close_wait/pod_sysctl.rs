//! Sets the timeout in `spec.securityContext.sysctls`, for clusters whose kubelets allow it.
//!
//! kubelet writes the sysctl when it creates the network namespace of the pod, before any container runs. It refuses a
//! pod with a sysctl that `--allowed-unsafe-sysctls` does not list.

use serde_json::{Value, json};

use crate::{
    judgement::finding::{Change, Edit},
    workload::{
        annotations::{MAX_SECONDS, MIN_SECONDS},
        pod::{Pod, Sysctl},
    },
};

/// The sysctl with dots. Pods may use slashes.
pub const NAME: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";

fn is_ours(sysctl: &Sysctl<'_>) -> bool {
    sysctl.name.replace('/', ".") == NAME
}

/// The seconds that the sysctls of the pod set; the last entry wins.
pub(super) fn seconds(pod: &Pod<'_>) -> Option<u32> {
    let sysctls = pod.security_context.as_ref()?.sysctls.as_ref()?;
    let seconds = sysctls.iter().rfind(|sysctl| is_ours(sysctl))?.value.parse().ok()?;
    (MIN_SECONDS..=MAX_SECONDS).contains(&seconds).then_some(seconds)
}

/// The edits that set the sysctl; other sysctls are kept.
pub(super) fn edits(pod: &Pod<'_>, seconds: u32) -> Vec<Edit> {
    let ours = json!({"name": NAME, "value": seconds.to_string()});
    let at = |tokens: &[&'static str]| {
        pod.pointer(["spec", "securityContext"].into_iter().chain(tokens.iter().copied()))
    };
    let set = |at, value| vec![Edit { at, change: Change::Set(value) }];
    let Some(context) = &pod.security_context else {
        return set(at(&[]), json!({"sysctls": [ours]}));
    };
    let Some(sysctls) = &context.sysctls else { return set(at(&["sysctls"]), Value::Array(vec![ours])) };
    let there: Vec<usize> =
        sysctls.iter().enumerate().filter(|(_, sysctl)| is_ours(sysctl)).map(|(index, _)| index).collect();
    if there.is_empty() {
        return vec![Edit { at: at(&["sysctls"]), change: Change::Append(ours) }];
    }
    let replace = |index| {
        let mut at = at(&["sysctls"]);
        at.push_back(index);
        Edit { at, change: Change::Replace(ours.clone()) }
    };
    there.into_iter().map(replace).collect()
}
