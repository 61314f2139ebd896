//! Sets the timeout in `spec.securityContext.sysctls`, for clusters whose kubelets allow it.
//!
//! kubelet writes the sysctl when it creates the network namespace of the pod, before any container runs. It refuses a
//! pod with a sysctl that `--allowed-unsafe-sysctls` does not list.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    base::text::{Text, nullable},
    judgement::finding::{Change, Edit},
    workload::annotations::{MAX_SECONDS, MIN_SECONDS},
    workload::pod::Pod,
};

/// The sysctl with dots. Pods may use slashes.
pub const NAME: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";

#[derive(Default, Deserialize)]
struct SecurityContext<'a> {
    #[serde(borrow, default)]
    sysctls: Option<Vec<Sysctl<'a>>>,
}

#[derive(Deserialize)]
struct Sysctl<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    value: Text<'a>,
}

fn sysctls<'p>(pod: &Pod<'p>) -> Option<Vec<Sysctl<'p>>> {
    let context: SecurityContext<'p> = serde_json::from_str(pod.security_context?.get()).ok()?;
    context.sysctls
}

fn is_ours(sysctl: &Sysctl<'_>) -> bool {
    sysctl.name.replace('/', ".") == NAME
}

/// The seconds that the sysctls of the pod set; the last entry wins.
pub(super) fn seconds(pod: &Pod<'_>) -> Option<u32> {
    let sysctls = sysctls(pod)?;
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
    if pod.security_context.is_none() {
        return set(at(&[]), json!({"sysctls": [ours]}));
    }
    let Some(sysctls) = sysctls(pod) else { return set(at(&["sysctls"]), Value::Array(vec![ours])) };
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
