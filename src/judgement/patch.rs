//! Edits as a JSON Patch against the object as it was sent.
//!
//! Turns edits into operations of RFC 6902, and proves on the touched parts that they apply and bring what they
//! promise: the API server refuses the pod when a patch does not apply, whatever the failure policy is.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Value, json, value::RawValue};

use crate::{
    judgement::{
        close_wait::{self, CurrentState},
        finding::{Change, Edit},
    },
    workload::{
        object::Object,
        pod::{Container, Pod},
    },
};

/// A patch that we do not send.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// An operation does not apply.
    #[error("the patch does not apply to the object that was sent")]
    Apply(#[source] json_patch::PatchError),
    /// The patched parts cannot be read back.
    #[error("the patched object cannot be read back")]
    Read(#[source] serde_json::Error),
    /// It applies, and the pod still does not set the timeout.
    #[error("the patch does not help: {0}")]
    Useless(String),
}

/// Renders the edits of one object's pod, applies them to the parts that they touch, and checks that these parts then
/// set the timeout.
///
/// # Errors
///
/// When the patch would not apply, or not help; then nothing must be sent.
pub fn render(pod: &Pod<'_>, edits: &[Edit]) -> Result<Patch, PatchError> {
    let patch = Patch(edits.iter().map(operation).collect());
    let mut touched = touched(pod);
    json_patch::patch(&mut touched, &patch).map_err(PatchError::Apply)?;
    let json = touched.to_string();
    let object = Object::read(&json).map_err(PatchError::Read)?;
    let object = object.ok_or_else(|| PatchError::Useless("the pod is gone".to_owned()))?;
    match close_wait::current(&object.pod, None) {
        CurrentState::Sets(..) => Ok(patch),
        CurrentState::Unset => Err(PatchError::Useless("nothing sets the timeout".to_owned())),
        CurrentState::Fails(why) => Err(PatchError::Useless(why)),
    }
}

/// `add` to a member replaces one that is there (RFC 6902, 4.1), so it never depends on what we believe of the object;
/// `replace`, `remove` and `add` before an item are only for items of a list that we have read.
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

/// The object with nothing but the fields that an edit can touch, as a Pod at the pod's place.
fn touched(pod: &Pod<'_>) -> Value {
    let mut object = json!({"spec": {}});
    // An empty list may as well be absent: nothing must be inserted into it.
    if !pod.init_containers.is_empty() {
        let init: Vec<Value> = pod.init_containers.iter().map(container).collect();
        object["spec"]["initContainers"] = init.into();
    }
    if let Some(context) = pod.security_context.and_then(read) {
        object["spec"]["securityContext"] = context;
    }
    for token in pod.at.iter().rev() {
        object = json!({ *token: object });
    }
    let kind = crate::workload::object::Kind::ALL.into_iter().find(|kind| kind.pod_at() == pod.at);
    if let Some(kind) = kind {
        object["kind"] = kind.as_str().into();
        object["apiVersion"] =
            if kind.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group()) }.into();
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

/// What is no JSON cannot have been read by the API server either.
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
