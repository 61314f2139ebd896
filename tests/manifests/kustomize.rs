//! The same installations as a kustomize base with overlays, whose differences are JSON patches.

use linkerd_linger::cluster::install::{Options, manifests, print};
use serde_json::{Value, json};

/// Path and text of every file below `manifests/`.
pub(crate) fn files(variants: &[(&str, Options)]) -> Vec<(String, String)> {
    let (_, base) = &variants[0];
    let base = manifests(base);
    let mut files = vec![
        ("kustomize/base/linkerd-linger.yaml".to_owned(), print(&base).unwrap()),
        ("kustomize/base/kustomization.yaml".to_owned(), kustomization(&["linkerd-linger.yaml"], &[])),
    ];
    for (name, options) in &variants[1..] {
        files.extend(overlay(name, &base, &manifests(options)));
    }
    files
}

fn overlay(name: &str, base: &[Value], wanted: &[Value]) -> Vec<(String, String)> {
    let directory = format!("kustomize/overlays/{name}");
    let same = |one: &Value, other: &Value| {
        one["kind"] == other["kind"] && one["metadata"]["name"] == other["metadata"]["name"]
    };
    let mut patches = vec![];
    for object in base {
        let target = json!({"kind": object["kind"], "name": object["metadata"]["name"]});
        match wanted.iter().find(|other| same(object, other)) {
            None => patches.push(json!({"patch": print(&[deleted(object)]).unwrap(), "target": target})),
            Some(other) if other != object => {
                let operations = json_patch::diff(object, other);
                let operations = serde_json::to_value(operations.0).unwrap();
                let text: String = operations.as_array().unwrap().iter().map(line).collect();
                patches.push(json!({"patch": text, "target": target}));
            }
            Some(_) => {}
        }
    }
    let added: Vec<_> =
        wanted.iter().filter(|object| !base.iter().any(|other| same(object, other))).cloned().collect();
    let mut files = vec![];
    let mut resources = vec!["../../base"];
    if !added.is_empty() {
        files.push((format!("{directory}/more.yaml"), print(&added).unwrap()));
        resources.push("more.yaml");
    }
    files.push((format!("{directory}/kustomization.yaml"), kustomization(&resources, &patches)));
    files
}

/// One operation in YAML's flow style, which is JSON.
fn line(operation: &Value) -> String {
    format!("- {operation}\n")
}

fn deleted(object: &Value) -> Value {
    let mut deleted = json!({"$patch": "delete"});
    for key in ["apiVersion", "kind"] {
        deleted[key] = object[key].clone();
    }
    deleted["metadata"] = json!({"name": object["metadata"]["name"]});
    if let Some(namespace) = object["metadata"].get("namespace") {
        deleted["metadata"]["namespace"] = namespace.clone();
    }
    deleted
}

fn kustomization(resources: &[&str], patches: &[Value]) -> String {
    let mut kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    if !patches.is_empty() {
        kustomization["patches"] = json!(patches);
    }
    print(&[kustomization]).unwrap()
}
