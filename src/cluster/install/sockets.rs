//! A DaemonSet that exposes metrics about the half-closed connections of each node's pods.

use serde_json::{Value, json};

use super::{Options, labels, object, pods, with};
use crate::base::names;

/// The capabilities for reading the sockets of a network namespace: conntrack entries (`NET_ADMIN`), and files of other
/// users' processes (`SYS_PTRACE`, `DAC_READ_SEARCH`).
pub const READ_SOCKETS: [&str; 3] = ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE"];
/// The capability for entering the network namespace of another pod (`setns`).
const ENTER_NAMESPACES: &str = "SYS_ADMIN";
/// The port of the metrics and its name.
const PORT: u16 = 9991;
pub(super) const METRICS: &str = "metrics";

/// Uses its own namespace, because Pod Security allows these pods only in privileged ones.
pub(super) fn objects(options: &Options) -> Vec<Value> {
    let mut namespace = named("v1", "Namespace");
    let namespace_labels = &mut namespace["metadata"]["labels"];
    // The Linkerd CLI expects exactly one namespace with this label.
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

/// An object with our name and label.
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
        // The processes of other pods are only visible in the PID namespace of the host.
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
    // Pods also run on tainted nodes.
    with(pod, pods::on_every_node(options))
}
