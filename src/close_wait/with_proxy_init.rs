//! The edits of linkerd-init: the flag and the privileges that it takes put in, or the flag taken out.

use serde_json::Value;

use crate::{
    finding::{Change, Edit},
    linkerd::proxy_init::{FLAG, ProxyInit},
    pod::Pod,
};

/// What makes linkerd-init set the timeout: those seconds, where its flags do not set any.
pub(super) fn put_in(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let mut edits = match init.will_set() {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => add_flag(pod, init, seconds),
        Err(_) => mend_flags(pod, init, seconds),
    };
    edits.extend(add_privileges(pod, init));
    edits
}

/// Two arguments more, as the injector writes them.
fn add_flag(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let at = pod.container_pointer(init.container, ["args"]);
    let (flag, value) = (Value::from(FLAG), Value::from(seconds.to_string()));
    if init.container.args.is_empty() {
        return vec![Edit { at, change: Change::Set(Value::Array(vec![flag, value])) }];
    }
    [flag, value].map(|value| Edit { at: at.clone(), change: Change::Append(value) }).into()
}

/// Each value at which proxy-init would fail, replaced by the wanted one.
fn mend_flags(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let last = init.flags.len().saturating_sub(1);
    init.flags
        .iter()
        .enumerate()
        .filter(|(index, flag)| *index == last || flag.seconds.is_none())
        .map(|(_, flag)| {
            let mut at = pod.container_pointer(init.container, ["args"]);
            if flag.value_at >= init.container.args.len() {
                return Edit { at, change: Change::Append(seconds.to_string().into()) };
            }
            at.push_back(flag.value_at);
            let value = if flag.joined { format!("{FLAG}={seconds}") } else { seconds.to_string() };
            Edit { at, change: Change::Replace(value.into()) }
        })
        .collect()
}

fn add_privileges(pod: &Pod<'_>, init: &ProxyInit<'_>) -> Vec<Edit> {
    let missing = init.missing_privileges();
    if init.container.security_context.is_none() {
        let context = missing.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        let at = pod.container_pointer(init.container, ["securityContext"]);
        return vec![Edit { at, change: Change::Set(Value::Object(context)) }];
    }
    missing
        .into_iter()
        .map(|(field, value)| Edit {
            at: pod.container_pointer(init.container, ["securityContext", field]),
            change: Change::Set(value),
        })
        .collect()
}

/// Every occurrence of the flag removed with its value, the last one first: so each pointer is right when its turn
/// comes.
pub(super) fn take_out(pod: &Pod<'_>, init: &ProxyInit<'_>) -> Vec<Edit> {
    let remove = |index: usize| {
        let mut at = pod.container_pointer(init.container, ["args"]);
        at.push_back(index);
        Edit { at, change: Change::Remove }
    };
    let mut edits = Vec::new();
    for flag in init.flags.iter().rev() {
        if flag.value_at < init.container.args.len() {
            edits.push(remove(flag.value_at));
        }
        if !flag.joined {
            edits.push(remove(flag.value_at - 1));
        }
    }
    edits
}
