//! Pods for tests: recorded ones from Linkerd's injector, and typical ones of users.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::node::POD_IMAGE;

/// Linkerd's edge release whose injected pods the tests start from.
const INJECTED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews/real-injector/edge-24.11.8");

/// Linkerd's lines, by the directories of their recorded pods.
pub(crate) const LINES: [&str; 4] =
    ["stable-2.12.6", "stable-2.14.10", "edge-24.11.8-l5d2.17", "version-2.20"];
const REVIEWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews");

/// A recorded pod as the injector left it, without what the API server and controllers had added.
pub(crate) fn injected(name: &str) -> Value {
    recorded(&Path::new(INJECTED).join(format!("{name}.json")), name)
}

/// A pod of a line of Linkerd, whose app is a program of `tests/cluster/pod`.
pub(crate) fn of_line(line: &str, name: &str, program: &[&str]) -> Value {
    let mut pod = recorded(&Path::new(REVIEWS).join(line).join("deployment.json"), name);
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("generateName");
    metadata.insert("name".to_owned(), name.into());
    // What belongs to a ReplicaSet, or to a Deployment's Service.
    metadata["labels"].as_object_mut().unwrap().retain(|label, _| label.starts_with("linkerd.io/"));
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let app = app(&mut pod);
    app["image"] = POD_IMAGE.into();
    app["command"] = [&["/usr/bin/pod"], program].concat().into();
    pod
}

/// The container that is not Linkerd's.
pub(crate) fn app(pod: &mut Value) -> &mut Value {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.iter_mut().find(|container| container["name"] != "linkerd-proxy").unwrap()
}

fn recorded(file: &Path, name: &str) -> Value {
    let review: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut pod = review["request"]["object"].clone();
    let metadata = &review["request"]["object"]["metadata"];
    pod["metadata"] = json!({
        "generateName": format!("{name}-"), "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    let is_api_access = |part: &Value| part["name"].as_str().unwrap().starts_with("kube-api-access-");
    pod["spec"]["volumes"].as_array_mut().unwrap().retain(|volume| !is_api_access(volume));
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().unwrap() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(|mount| !is_api_access(mount));
            }
        }
    }
    pod
}

/// A pod template before injection.
pub(crate) fn template(command: &[&str], period: u32) -> Value {
    json!({
        "metadata": {"labels": {"app": "cart"}},
        "spec": {
            // Set by an admission plugin that is off where no controller makes ServiceAccounts.
            "serviceAccountName": "default",
            "containers": [{
                "name": "cart",
                "image": "registry.example.com/shop/cart:4.1.0",
                "command": command,
                "ports": [{"name": "http", "containerPort": 8000}],
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": period},
            }],
        },
    })
}

pub(crate) const GUNICORN: &[&str] =
    &["gunicorn", "--threads", "8", "--keep-alive", "10", "--bind", "0.0.0.0:8000", "cart:app"];

pub(crate) fn pod_of(template: &Value) -> Value {
    let mut pod = template.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["generateName"] = "cart-".into();
    pod
}

pub(crate) fn deployment(template: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cart"},
        "spec": {"selector": {"matchLabels": {"app": "cart"}}, "template": template},
    })
}

/// The containers of a list by their names.
pub(crate) fn containers(pod: &Value, list: &str) -> Map<String, Value> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| (container["name"].as_str().unwrap().to_owned(), container.clone())).collect()
}

pub(crate) fn init(pod: &Value) -> Value {
    containers(pod, "initContainers")["linkerd-init"].clone()
}

pub(crate) fn assert_patched(pod: &Value) {
    let init = init(pod);
    let args = init["args"].as_array().unwrap();
    assert_eq!(args.iter().filter(|arg| *arg == "--timeout-close-wait-secs").count(), 1, "{init}");
    assert_eq!(args[args.len() - 2..], ["--timeout-close-wait-secs", "3600"], "{init}");
    let context = &init["securityContext"];
    assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(0), &json!(0)), "{init}");
    assert_eq!((&context["privileged"], &context["runAsNonRoot"]), (&json!(true), &json!(false)), "{init}");
}
