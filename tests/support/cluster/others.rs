//! Webhooks of others, which change pods before or after ours is called.

use serde_json::{Value, json};

use super::{
    pods::{containers, injected},
    webhook,
};

/// Before the labels of namespaces that ask for the webhooks of others.
const OTHERS: &str = "tests.linkerd-linger.io/";

/// A mutating webhook of someone else, called for pods of the namespaces that ask for it.
pub(crate) struct Other {
    /// The label by which a namespace asks for it is [`OTHERS`] with this.
    pub(crate) key: &'static str,
    configuration: &'static str,
    pub(crate) mutate: webhook::Mutate,
}

pub(crate) const OTHER_WEBHOOKS: [Other; 4] = [
    Other { key: "injector", configuration: "linkerd-proxy-injector-webhook-config", mutate: inject },
    Other { key: "late-injector", configuration: "zzz-injector", mutate: inject },
    Other { key: "late-server", configuration: "zzz-server", mutate: add_server },
    Other { key: "late-logger", configuration: "zzz-logger", mutate: add_logger },
];

impl Other {
    pub(crate) fn label(key: &str) -> String {
        format!("{OTHERS}{key}")
    }

    pub(crate) fn manifest(&self, client_config: &Value) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.configuration},
            "webhooks": [{
                "name": format!("{}.tests.linkerd-linger.io", self.key),
                "clientConfig": client_config,
                "namespaceSelector": {"matchLabels": {Self::label(self.key): "called"}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        })
    }
}

/// Does what Linkerd's injector did to a recorded pod.
fn inject(pod: &Value) -> Vec<Value> {
    if containers(pod, "containers").contains_key("linkerd-proxy") {
        return vec![];
    }
    let injected = injected("front-nginx");
    let mut patch = vec![];
    for (list, empty) in [
        ("/metadata/annotations", json!({})),
        ("/spec/volumes", json!([])),
        ("/spec/initContainers", json!([])),
    ] {
        if pod.pointer(list).is_none() {
            patch.push(json!({"op": "add", "path": list, "value": empty}));
        }
    }
    for (key, value) in injected["metadata"]["annotations"].as_object().unwrap() {
        let path = format!("/metadata/annotations/{}", key.replace('/', "~1"));
        patch.push(json!({"op": "add", "path": path, "value": value}));
    }
    for volume in injected["spec"]["volumes"].as_array().unwrap() {
        patch.push(json!({"op": "add", "path": "/spec/volumes/-", "value": volume}));
    }
    let init = &containers(&injected, "initContainers")["linkerd-init"];
    patch.push(json!({"op": "add", "path": "/spec/initContainers/-", "value": init}));
    let proxy = &containers(&injected, "containers")["linkerd-proxy"];
    patch.push(json!({"op": "add", "path": "/spec/containers/0", "value": proxy}));
    patch
}

fn add_server(pod: &Value) -> Vec<Value> {
    add(
        pod,
        json!({
            "name": "sidecar",
            "image": "registry.example.com/sidecar:1",
            "command": ["uvicorn", "sidecar:app", "--port", "7000"],
            "ports": [{"containerPort": 7000}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 7000}, "periodSeconds": 5},
        }),
    )
}

fn add_logger(pod: &Value) -> Vec<Value> {
    add(pod, json!({"name": "logger", "image": "registry.example.com/logger:1"}))
}

fn add(pod: &Value, container: Value) -> Vec<Value> {
    if containers(pod, "containers").contains_key(container["name"].as_str().unwrap()) {
        return vec![];
    }
    vec![json!({"op": "add", "path": "/spec/containers/-", "value": container})]
}
