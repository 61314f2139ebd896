//! Edits of linkerd-init: add the flag and its privileges, or remove the flag.

use serde_json::Value;

use crate::{
    judgement::finding::{Change, Edit},
    linkerd::proxy_init::{FLAG, FlagAt, ProxyInit},
    workload::pod::Pod,
};

/// The edits that make linkerd-init set the timeout: to `seconds`, unless its flags already set one.
pub(super) fn set_flag(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let mut edits = match init.effective_seconds() {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => add_flag(pod, init, seconds),
        Err(_) => repair_flags(pod, init, seconds),
    };
    edits.extend(add_privileges(pod, init));
    edits
}

/// Appends two arguments, as the injector writes them.
fn add_flag(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let at = pod.container_pointer(init.container, ["args"]);
    let (flag, value) = (Value::from(FLAG), Value::from(seconds.to_string()));
    if init.container.args.is_empty() {
        return vec![Edit { at, change: Change::Set(Value::Array(vec![flag, value])) }];
    }
    [flag, value].map(|value| Edit { at: at.clone(), change: Change::Append(value) }).into()
}

/// Replaces each value that makes proxy-init fail, and the last value if it sets nothing.
fn repair_flags(pod: &Pod<'_>, init: &ProxyInit<'_>, seconds: u32) -> Vec<Edit> {
    let last = init.flags.len().saturating_sub(1);
    let is_bad = |index: usize, flag: &FlagAt| {
        flag.seconds.is_none() || (index == last && init.requested_seconds().is_none())
    };
    init.flags
        .iter()
        .enumerate()
        .filter(|(index, flag)| is_bad(*index, flag))
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
    let at = pod.container_pointer(init.container, ["securityContext"]);
    if init.container.security_context.is_none() {
        let context = missing.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        return vec![Edit { at, change: Change::Set(Value::Object(context)) }];
    }
    missing
        .into_iter()
        .map(|(field, value)| Edit { at: at.with_trailing_token(field), change: Change::Set(value) })
        .collect()
}

/// Replaces the arguments by those without the flag: one edit, however often the flag occurs.
pub(super) fn remove_flags(pod: &Pod<'_>, init: &ProxyInit<'_>) -> Edit {
    let mut flags = init.flags.iter().peekable();
    let mut left: Vec<Value> = Vec::new();
    for (index, argument) in init.container.args.iter().enumerate() {
        flags.next_if(|flag| flag.value_at < index);
        let of_flag = flags
            .peek()
            .is_some_and(|flag| index == flag.value_at || (!flag.joined && index + 1 == flag.value_at));
        if !of_flag {
            left.push(Value::from(&**argument));
        }
    }
    Edit { at: pod.container_pointer(init.container, ["args"]), change: Change::Set(left.into()) }
}
