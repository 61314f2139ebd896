//! A DaemonSet that exposes the half-closed connections of each node's pods as metrics.

use serde_json::{Value, json};

use super::{Options, labels, object, pods, with};
use crate::base::names;

/// What reading the sockets of a network namespace needs: conntrack's entries (`NET_ADMIN`), and the files of other users'
/// processes (`SYS_PTRACE`, `DAC_READ_SEARCH`).
pub const READ_SOCKETS: [&str; 3] = ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE"];
/// What entering the network namespace of another pod needs (`setns`).
const ENTER_NAMESPACES: &str = "SYS_ADMIN";
/// The port of the metrics, and its name.
const PORT: u16 = 9991;
pub(super) const METRICS: &str = "metrics";

/// A namespace of its own, since Pod Security lets these pods run only in a privileged one.
pub(super) fn objects(options: &Options) -> Vec<Value> {
    let mut namespace = named("v1", "Namespace");
    let namespace_labels = &mut namespace["metadata"]["labels"];
    // The Linkerd CLI takes the one namespace with this label for that of the extension.
    if let Some(labels) = namespace_labels.as_object_mut() {
        labels.remove(names::EXTENSION_LABEL);
    }
    namespace_labels["config.linkerd.io/admission-webhooks"] = json!("disabled");
    namespace_labels["pod-security.kubernetes.io/enforce"] = json!("privileged");
    let account = with(inside("v1", "ServiceAccount"), json!({"automountServiceAccountToken": false}));
    let spec = json!({
        "selector": {"matchLabels": selector()},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
        "template": {
            "metadata": {"labels": with(labels(), selector()), "annotations": {"linkerd.io/inject": "disabled"}},
            "spec": pod(options),
        },
    });
    let daemon_set = with(inside("apps/v1", "DaemonSet"), json!({"spec": spec}));
    vec![namespace, account, daemon_set]
}

pub(super) fn selector() -> Value {
    json!({"app.kubernetes.io/name": names::SOCKETS})
}

/// An object by our name, with its label.
fn named(api_version: &str, kind: &str) -> Value {
    let mut named = object(api_version, kind, names::SOCKETS);
    named["metadata"]["labels"] = with(labels(), selector());
    named
}

pub(super) fn inside(api_version: &str, kind: &str) -> Value {
    let mut object = named(api_version, kind);
    object["metadata"]["namespace"] = json!(names::SOCKETS);
    object
}

fn pod(options: &Options) -> Value {
    let capabilities: Vec<_> = READ_SOCKETS.into_iter().chain([ENTER_NAMESPACES]).collect();
    let pod = json!({
        "serviceAccountName": names::SOCKETS,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // The processes of other pods are seen only from the node's own PIDs.
        "hostPID": true,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": names::SOCKETS,
            "image": options.image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["sockets", "--node", "--listen", format!("[::]:{PORT}")],
            "ports": [{"name": METRICS, "containerPort": PORT}],
            "livenessProbe": {
                "httpGet": {"path": "/livez", "port": METRICS},
                "periodSeconds": 10,
                "timeoutSeconds": 3,
                "failureThreshold": 3,
            },
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": capabilities, "drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
            },
        }],
    });
    // Tainted nodes run pods too.
    with(pod, pods::on_every_node(options))
}
