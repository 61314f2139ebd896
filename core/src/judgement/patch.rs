//! Renders edits as a JSON Patch against the original object.
//!
//! Turns edits into RFC 6902 operations. Then applies them to the parts that they touch, and checks the result: the API
//! server rejects the pod if a patch does not apply, whatever the failure policy is.

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
    jsonptr::{Pointer, PointerBuf},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    judgement::{
        close_wait::{self, CurrentState},
        finding::{Change, Edit},
    },
    workload::{
        object::{Kind, Object},
        pod::{Container, Pod},
    },
};

/// Why a patch is not sent.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// An operation does not apply.
    #[error("the patch does not apply to the object in the request: {0} is not there")]
    Apply(PointerBuf),
    /// The patched parts cannot be parsed.
    #[error("the patched object cannot be read back")]
    Read(#[source] serde_json::Error),
    /// The patch applies, but the pod would still not set the timeout.
    #[error("the patch has no effect: {0}")]
    Useless(String),
}

/// Renders the edits of a pod, applies them to the parts that they touch, and checks that the result sets the timeout.
///
/// # Errors
///
/// Returns an error if the patch would not apply or not help; it must not be sent then.
pub fn render(pod: &Pod<'_>, edits: &[Edit]) -> Result<Patch, PatchError> {
    let mut touched = touched(pod);
    for edit in edits {
        apply(&mut touched, edit).ok_or_else(|| PatchError::Apply(edit.at.clone()))?;
    }
    let patched = pod.at.resolve(&touched).ok();
    let patched =
        patched.ok_or_else(|| PatchError::Useless("the patched object has no pod spec".to_owned()))?;
    let json = serde_json::to_string(patched).map_err(PatchError::Read)?;
    let object = Object::read_as(Kind::Pod, &json).map_err(PatchError::Read)?;
    match close_wait::current(&object.pod, None) {
        CurrentState::Sets(..) => Ok(Patch(edits.iter().map(operation).collect())),
        CurrentState::Unset => Err(PatchError::Useless("nothing sets the timeout".to_owned())),
        CurrentState::Fails(why) => Err(PatchError::Useless(why)),
    }
}

/// `add` replaces an existing member (RFC 6902, 4.1), so it does not depend on the current content of the object.
/// `replace`, `remove` and `add` before an item are used only for items of a list that was read.
fn operation(edit: &Edit) -> PatchOperation {
    match &edit.change {
        Change::Set(value) | Change::Insert(value) => {
            PatchOperation::Add(AddOperation { path: edit.at.clone(), value: value.clone() })
        }
        Change::Remove => PatchOperation::Remove(RemoveOperation { path: edit.at.clone() }),
        Change::Replace(value) => {
            PatchOperation::Replace(ReplaceOperation { path: edit.at.clone(), value: value.clone() })
        }
        Change::Append(value) => {
            let mut path = edit.at.clone();
            path.push_back("-");
            PatchOperation::Add(AddOperation { path, value: value.clone() })
        }
    }
}

/// Applies an edit as JSON Patch applies its operation, and only where the edit expects an object or a list.
/// `json_patch::patch` would decode each pointer into new strings.
fn apply(object: &mut Value, edit: &Edit) -> Option<()> {
    let at = &*edit.at;
    match &edit.change {
        Change::Append(value) => list(object, at)?.push(value.clone()),
        Change::Set(value) => {
            let (parent, member) = at.split_back()?;
            let parent = parent.resolve_mut(object).ok()?.as_object_mut()?;
            parent.insert(member.decoded().into_owned(), value.clone());
        }
        Change::Insert(value) => {
            let (parent, index) = at.split_back()?;
            let list = list(object, parent)?;
            list.insert(index.to_index().ok()?.for_len_incl(list.len()).ok()?, value.clone());
        }
        Change::Replace(value) => at.resolve_mut(object).ok()?.clone_from(value),
        Change::Remove => {
            let (parent, index) = at.split_back()?;
            let list = list(object, parent)?;
            list.remove(index.to_index().ok()?.for_len(list.len()).ok()?);
        }
    }
    Some(())
}

fn list<'v>(object: &'v mut Value, at: &Pointer) -> Option<&'v mut Vec<Value>> {
    at.resolve_mut(object).ok()?.as_array_mut()
}

/// A Pod with only those fields of the object that an edit can touch, at the path of the pod. An item of a list is the
/// member of an object here, which JSON Patch finds by the same token.
fn touched(pod: &Pod<'_>) -> Value {
    let mut object = json!({"spec": {}});
    // An empty list may be absent in the object, so nothing can be inserted into it.
    if !pod.init_containers.is_empty() {
        let init: Vec<Value> = pod.init_containers.iter().map(container).collect();
        object["spec"]["initContainers"] = init.into();
    }
    if let Some(context) = pod.security_context.and_then(read) {
        object["spec"]["securityContext"] = context;
    }
    let mut at = &*pod.at;
    while let Some((parent, token)) = at.split_back() {
        object = json!({ token.decoded(): object });
        at = parent;
    }
    object
}

fn container(container: &Container<'_>) -> Value {
    let texts = |list: &[crate::base::text::Text<'_>]| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    let mut value = json!({"name": &*container.name, "image": &*container.image});
    if !container.command.is_empty() {
        value["command"] = texts(&container.command).into();
    }
    if !container.args.is_empty() {
        value["args"] = texts(&container.args).into();
    }
    if container.restart_always {
        value["restartPolicy"] = "Always".into();
    }
    if let Some(context) = container.security_context.and_then(read) {
        value["securityContext"] = context;
    }
    value
}

/// Parses raw JSON; it is valid, since the API server has parsed it.
fn read(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
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
        assert!(render(&pod, &[whole]).is_ok());
        for edit in [
            Edit { at: first.clone(), change: Change::Insert(ours.clone()) },
            Edit { at: first.clone(), change: Change::Replace(ours.clone()) },
            Edit { at: first, change: Change::Remove },
            Edit { at: list, change: Change::Append(ours) },
        ] {
            let error = render(&pod, std::slice::from_ref(&edit)).unwrap_err();
            assert!(matches!(error, PatchError::Apply(_)), "{edit:?}: {error}");
        }
    }
}
