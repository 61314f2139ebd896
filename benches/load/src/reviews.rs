//! Reviews of any size, made from one that a real API server sent: a pod with linkerd-init 2.12.6, which linkerd-linger
//! patches.

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use json_patch::Patch;
use serde_json::{Value, json};

const RECORDED: &[u8] =
    include_bytes!("../../../tests/fixtures/reviews/real-injector/stable-2.12.6/front-nginx.json");

/// The sizes that are measured: a bare pod, an injected one, a large one, and the largest object that an API server
/// takes.
pub const SIZES: [usize; 4] = [2 << 10, COMMON, 100 << 10, 3 << 20];

/// The size of most pods that Linkerd has injected.
pub const COMMON: usize = 9 << 10;

/// A review of exactly this many bytes: the recorded one without its managed fields and the proxy's trust anchors, with
/// less in it still, or with more containers.
pub fn of_size(size: usize) -> anyhow::Result<Vec<u8>> {
    let mut review: Value = serde_json::from_slice(RECORDED)?;
    let pod = &mut review["request"]["object"];
    pod["metadata"].as_object_mut().context("no metadata")?.remove("managedFields");
    for container in pod["spec"]["containers"].as_array_mut().context("no containers")? {
        if let Some(variables) = container.get_mut("env").and_then(Value::as_array_mut) {
            variables.retain(|variable| variable["name"] != "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS");
        }
    }
    if size < COMMON {
        shrink(pod)?;
        let user = review["request"]["userInfo"].as_object_mut().context("no user")?;
        user.retain(|key, _| key == "username");
    }
    let application = review["request"]["object"]["spec"]["containers"]
        .as_array()
        .and_then(|containers| containers.iter().find(|container| container["name"] != "linkerd-proxy"))
        .context("no application")?
        .clone();
    let mut length = serde_json::to_vec(&review)?.len();
    let mut copies = Vec::new();
    for copy in 1.. {
        let next = sidecar(&application, copy);
        let more = serde_json::to_vec(&next)?.len() + 1;
        // The last bytes are an annotation.
        if length + more + 100 > size {
            break;
        }
        length += more;
        copies.push(next);
    }
    let containers =
        review["request"]["object"]["spec"]["containers"].as_array_mut().context("no containers")?;
    containers.extend(copies);
    fill(review, size)
}

/// Leaves out what a decision does not read.
fn shrink(pod: &mut Value) -> anyhow::Result<()> {
    let metadata = pod["metadata"].as_object_mut().context("no metadata")?;
    metadata.retain(|key, _| ["generateName", "annotations"].contains(&key.as_str()));
    let annotations = metadata["annotations"].as_object_mut().context("no annotations")?;
    annotations.retain(|key, _| key == "linkerd.io/inject");
    let spec = pod["spec"].as_object_mut().context("no spec")?;
    spec.retain(|key, _| ["initContainers", "containers"].contains(&key.as_str()));
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().context("no containers")? {
            let kept = ["name", "image", "args", "command", "livenessProbe", "resources", "securityContext"];
            container.as_object_mut().context("no container")?.retain(|key, _| kept.contains(&key.as_str()));
        }
    }
    Ok(())
}

fn sidecar(application: &Value, copy: usize) -> Value {
    let mut container = application.clone();
    container["name"] = format!("sidecar-{copy}").into();
    let port = 10_000 + copy % 50_000;
    container["ports"] = json!([{"containerPort": port, "protocol": "TCP"}]);
    let probe = json!({"httpGet": {"path": "/ready", "port": port, "scheme": "HTTP"}, "periodSeconds": 10});
    container["livenessProbe"] = probe;
    let variable = |number| {
        let value = format!("http://service-{copy}-{number}.shop.svc.cluster.local:8080");
        json!({"name": format!("SERVICE_{number}_URL"), "value": value})
    };
    container["env"] = (0..4).map(variable).collect();
    container
}

/// Makes it this long by an annotation.
fn fill(mut review: Value, size: usize) -> anyhow::Result<Vec<u8>> {
    let write = |review: &mut Value, filler: usize| {
        review["request"]["object"]["metadata"]["annotations"]["example.com/note"] =
            "x".repeat(filler).into();
        serde_json::to_vec(review)
    };
    let without = write(&mut review, 0)?.len();
    let filler =
        size.checked_sub(without).with_context(|| format!("{size} bytes hold no review: {without} do"))?;
    let bytes = write(&mut review, filler)?;
    ensure!(bytes.len() == size, "the review has {} bytes instead of {size}", bytes.len());
    Ok(bytes)
}

/// What linkerd-init is once the patch of this answer is applied.
pub fn patched_init_container(review: &[u8], answer: &[u8]) -> anyhow::Result<Value> {
    let answer: Value = serde_json::from_slice(answer)?;
    let encoded = answer["response"]["patch"].as_str().context("the answer has no patch")?;
    let patch: Patch = serde_json::from_slice(&STANDARD.decode(encoded)?)?;
    let mut review: Value = serde_json::from_slice(review)?;
    let pod = &mut review["request"]["object"];
    json_patch::patch(pod, &patch)?;
    Ok(pod["spec"]["initContainers"][0].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_have_the_size_that_was_asked_for() {
        for size in SIZES.into_iter().chain([7 << 20]) {
            let review = of_size(size).unwrap();
            assert_eq!(review.len(), size);
            let review: Value = serde_json::from_slice(&review).unwrap();
            assert_eq!(review["request"]["object"]["spec"]["initContainers"][0]["name"], "linkerd-init");
        }
    }

    #[test]
    fn a_size_that_holds_no_review_is_refused() {
        assert!(of_size(100).unwrap_err().to_string().starts_with("100 bytes hold no review"));
    }
}
