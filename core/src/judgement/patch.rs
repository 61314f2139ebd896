//! Checks edits before they are sent as a JSON Patch.
//!
//! Applies the edits to the parts of the pod that they touch, and checks the result: the API server rejects the pod if a
//! patch does not apply, whatever the failure policy is.

use jsonptr::PointerBuf;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    base::text::Text,
    judgement::{
        close_wait::{self, CurrentState},
        finding::{Change, Edit},
    },
    workload::pod::{Container, ContainerList, Pod, SecurityContext, Sysctl},
};

/// Why a patch is not sent.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// An operation does not apply.
    #[error("the patch does not apply to the object in the request: {0} is not there")]
    Apply(PointerBuf),
    /// The patch applies, but the pod would still not set the timeout.
    #[error("the patch has no effect: {0}")]
    Useless(String),
}

/// Checks that the edits of a pod apply, and that the result sets the timeout.
///
/// # Errors
///
/// Returns an error if the patch would not apply or not help; it must not be sent then.
pub fn check(pod: &Pod<'_>, edits: &[&Edit]) -> Result<(), PatchError> {
    let mut patched = Pod {
        at: pod.at.clone(),
        init_containers: pod.init_containers.clone(),
        security_context: pod.security_context.clone(),
        ..Pod::default()
    };
    for edit in edits {
        apply(&mut patched, edit).ok_or_else(|| PatchError::Apply(edit.at.clone()))?;
    }
    for (index, container) in patched.init_containers.iter_mut().enumerate() {
        (container.list, container.index) = (ContainerList::Init, index);
    }
    match close_wait::current(&patched, None) {
        CurrentState::Sets(..) => Ok(()),
        CurrentState::Unset => Err(PatchError::Useless("nothing sets the timeout".to_owned())),
        CurrentState::Fails(why) => Err(PatchError::Useless(why)),
    }
}

/// Applies an edit as JSON Patch applies its operation, and only where an edit of the timeout can be.
fn apply<'e>(pod: &mut Pod<'e>, edit: &'e Edit) -> Option<()> {
    let below_spec = edit.at.as_str().strip_prefix(pod.at.as_str())?.strip_prefix("/spec/")?;
    // No token has escapes.
    let tokens: Vec<&str> = below_spec.split('/').collect();
    match (tokens.as_slice(), &edit.change) {
        (["securityContext"], Change::Set(value)) => {
            pod.security_context = Some(SecurityContext::deserialize(value).ok()?);
        }
        (["securityContext", "sysctls", index @ ..], change) => {
            let sysctls = &mut pod.security_context.as_mut()?.sysctls;
            let exists = sysctls.is_some();
            let sysctl = |value| Sysctl::deserialize(value).ok();
            change_list(sysctls.get_or_insert_default(), exists, index, change, sysctl)?;
        }
        (["initContainers"] | ["initContainers", _], change) => {
            let list = &mut pod.init_containers;
            change_list(list, !list.is_empty(), &tokens[1..], change, container)?;
        }
        (["initContainers", index, field @ ..], change) => {
            let container = pod.init_containers.get_mut(index.parse::<usize>().ok()?)?;
            change_container(container, field, change)?;
        }
        _ => return None,
    }
    Some(())
}

fn change_container<'e>(container: &mut Container<'e>, field: &[&str], change: &'e Change) -> Option<()> {
    match (field, change) {
        (["args", index @ ..], change) => {
            let args = &mut container.args;
            change_list(args, !args.is_empty(), index, change, text)?;
        }
        (["securityContext"], Change::Set(value)) => {
            container.security_context = Some(SecurityContext::deserialize(value).ok()?);
        }
        (["securityContext", field], Change::Set(value)) => {
            let context = container.security_context.as_mut()?;
            match *field {
                "privileged" => context.privileged = value.as_bool(),
                "allowPrivilegeEscalation" => context.allow_privilege_escalation = value.as_bool(),
                "runAsUser" => context.run_as_user = value.as_i64(),
                "runAsGroup" => context.run_as_group = value.as_i64(),
                "runAsNonRoot" => context.run_as_non_root = value.as_bool(),
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

/// Changes a list, or the item with this index. A list that is read as empty may be absent in the object: `exists` says
/// whether it is there.
fn change_list<'e, T>(
    list: &mut Vec<T>,
    exists: bool,
    index: &[&str],
    change: &'e Change,
    read: impl Fn(&'e Value) -> Option<T>,
) -> Option<()> {
    match (index, change) {
        ([], Change::Set(value)) => *list = value.as_array()?.iter().map(read).collect::<Option<_>>()?,
        ([], Change::Append(value)) if exists => list.push(read(value)?),
        ([index], change) => {
            let index = index.parse::<usize>().ok().filter(|index| *index < list.len())?;
            match change {
                Change::Insert(value) => list.insert(index, read(value)?),
                Change::Replace(value) => list[index] = read(value)?,
                Change::Remove => drop(list.remove(index)),
                Change::Set(_) | Change::Append(_) => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

/// A container that an edit adds, with the fields that decide whether it sets the timeout.
fn container(value: &Value) -> Option<Container<'_>> {
    let texts = |field| match value.get(field) {
        Some(list) => list.as_array()?.iter().map(text).collect::<Option<Vec<_>>>(),
        None => Some(Vec::new()),
    };
    Some(Container {
        name: text(value.get("name")?)?,
        image: text(value.get("image")?)?,
        command: texts("command")?,
        args: texts("args")?,
        restart_always: value.get("restartPolicy").is_some_and(|policy| policy == "Always"),
        security_context: Some(SecurityContext::deserialize(value.get("securityContext")?).ok()?),
        ..Container::default()
    })
}

fn text(value: &Value) -> Option<Text<'_>> {
    value.as_str().map(Text::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn invalid_patches_are_not_sent() {
        let ours = json!({
            "name": "linger-close-wait", "image": "x", "args": ["set-close-wait", "60"],
            "securityContext": {"privileged": true, "runAsUser": 0},
        });
        let pod = Pod::default();
        let list = pod.pointer(["spec", "initContainers"]);
        let first = pod.pointer(["spec", "initContainers", "0"]);
        let whole = Edit { at: list.clone(), change: Change::Set(vec![ours.clone()].into()) };
        assert!(check(&pod, &[&whole]).is_ok());
        for edit in [
            Edit { at: first.clone(), change: Change::Insert(ours.clone()) },
            Edit { at: first.clone(), change: Change::Replace(ours.clone()) },
            Edit { at: first, change: Change::Remove },
            Edit { at: list, change: Change::Append(ours) },
        ] {
            let error = check(&pod, &[&edit]).unwrap_err();
            assert!(matches!(error, PatchError::Apply(_)), "{edit:?}: {error}");
        }
    }
}
