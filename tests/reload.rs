//! Tests a policy file that changes while the server runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use linkerd_linger::{
    admission::serve::{self, CertificateSource, Config, Timeouts},
    review::{Endpoint, Mode, WebhookKind},
};

use self::support::{Authority, Connection, Mount, eventually, get, metric};

/// In one step, so that nobody sees half of it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_bad_policy_leaves_the_last_good_one_and_a_good_one_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    replace(&file, "");
    let timeouts = Timeouts { poll: Duration::from_millis(20), ..Config::loopback().timeouts };
    let policy = Some(file.clone());
    let server = serve::start(Config { policy, timeouts, ..Config::loopback() }).await.unwrap();
    let admin = server.admin_addr();
    let of = |result: &str| format!("linger_policy_reloads_total{{result=\"{result}\"}}");
    assert_eq!(metric(admin, "linger_policy_valid").await, 1.0);

    replace(&file, "[bad]\n");
    eventually("the bad policy is seen", async || metric(admin, "linger_policy_valid").await == 0.0).await;
    assert_eq!(metric(admin, &of("failed")).await, 1.0);

    replace(&file, "# nothing but the defaults\n");
    eventually("the good policy is seen", async || metric(admin, "linger_policy_valid").await == 1.0).await;
    assert_eq!(metric(admin, &of("ok")).await, 1.0);

    std::fs::remove_file(&file).unwrap();
    eventually("its absence is seen", async || metric(admin, &of("failed")).await == 2.0).await;
    // One report for each change, not for each look.
    assert_eq!(metric(admin, &of("ok")).await, 1.0);
    assert_eq!(metric(admin, "linger_policy_valid").await, 0.0);
}

/// The ConfigMap and the Secret are deleted, or their volumes are gone.
#[tokio::test]
async fn files_that_are_gone_leave_the_last_ones_in_use_until_they_are_back() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let volume = dir.path().join("policy");
    std::fs::create_dir(&volume).unwrap();
    let policy = volume.join("policy.yaml");
    replace(&policy, "rules: {probe-matches-idle-timeout: warn}\n");
    let mount = Mount::new(&authority.issue());
    let timeouts = Timeouts { poll: Duration::from_millis(20), ..Config::loopback().timeouts };
    let (certificate, policy) = (CertificateSource::Files(mount.files()), Some(policy));
    let config = Config { certificate, policy, timeouts, ..Config::loopback() };
    let server = serve::start(config).await.unwrap();
    let admin = server.admin_addr();
    let of = |file: &str, result: &str| format!("linger_{file}_reloads_total{{result=\"{result}\"}}");
    let review = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
    let path = Endpoint::new(WebhookKind::Mutating, Mode::Enforce).path();
    let allowed = async || {
        let mut new = Connection::open(server.addr(), &authority.pem()).await;
        new.post(&path, review).await.json()["response"]["allowed"] == true
    };
    assert!(allowed().await, "the policy only warns");

    let gone = dir.path().join("gone");
    std::fs::rename(&volume, &gone).unwrap();
    mount.unmount();
    for file in ["policy", "certificate"] {
        eventually("its absence is seen", async || metric(admin, &of(file, "failed")).await == 1.0).await;
    }
    assert_eq!(metric(admin, "linger_policy_valid").await, 0.0);
    assert!(allowed().await, "the last policy and the last certificate stay in use");
    assert_eq!(get(admin, "/readyz").await.status, 200);

    std::fs::rename(&gone, &volume).unwrap();
    mount.mount();
    for file in ["policy", "certificate"] {
        eventually("its return is seen", async || metric(admin, &of(file, "ok")).await == 1.0).await;
    }
    assert_eq!(metric(admin, "linger_policy_valid").await, 1.0);
    assert!(allowed().await);
}

#[tokio::test]
async fn the_init_image_of_the_flag_outlives_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    replace(&file, "");
    let timeouts = Timeouts { poll: Duration::from_millis(20), ..Config::loopback().timeouts };
    let (policy, init_image) = (Some(file.clone()), Some("registry.example.com/linger:1".to_owned()));
    let server = serve::start(Config { policy, timeouts, init_image, ..Config::loopback() }).await.unwrap();
    replace(&file, "closeWait: {timeout: 90s}\n");
    let reloads = "linger_policy_reloads_total{result=\"ok\"}";
    eventually("the policy is taken", async || metric(server.admin_addr(), reloads).await == 1.0).await;

    let review = include_str!("fixtures/reviews/real-injector/version-2.20/front-nginx.json");
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let answer =
        connection.post(&Endpoint::new(WebhookKind::Mutating, Mode::Enforce).path(), review).await.json();
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch[0]["value"]["image"], "registry.example.com/linger:1");
    assert_eq!(patch[0]["value"]["args"][1], "90");
}

/// A pod of the Deployment `cart`, whose server nobody knows.
fn review_of_a_custom_image() -> String {
    let review = include_str!("fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
    let mut review: serde_json::Value = serde_json::from_str(review).unwrap();
    let object = &mut review["request"]["object"];
    object["metadata"]["ownerReferences"] = serde_json::json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6bdb4c48bb", "uid": "u", "controller": true},
    ]);
    let containers = object["spec"]["containers"].as_array_mut().unwrap();
    let app = containers.iter_mut().find(|container| container["name"] == "cart").unwrap();
    app.as_object_mut().unwrap().remove("command");
    app["image"] = "registry.example.com/shop/cart:5".into();
    review.to_string()
}

#[tokio::test]
async fn facts_are_taken_again_and_outlive_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, facts) = (dir.path().join("policy.yaml"), dir.path().join("facts.yaml"));
    replace(&policy, "");
    replace(&facts, "version: 1\n");
    let timeouts = Timeouts { poll: Duration::from_millis(20), ..Config::loopback().timeouts };
    let files = Config { policy: Some(policy.clone()), facts: Some(facts.clone()), ..Config::loopback() };
    let server = serve::start(Config { timeouts, ..files }).await.unwrap();
    let admin = server.admin_addr();
    let review = review_of_a_custom_image();
    let namespace =
        serde_json::from_str::<serde_json::Value>(&review).unwrap()["request"]["namespace"].clone();
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let path = Endpoint::new(WebhookKind::Validating, Mode::Enforce).path();
    let mut allowed = async || connection.post(&path, &review).await.json()["response"]["allowed"] == true;
    assert!(allowed().await, "nothing is known of this image");

    let known = format!(
        "version: 1\nservers:\n- {{namespace: {namespace}, kind: Deployment, name: cart, container: cart, port: 8000, image: \
         'registry.example.com/shop/cart:5', closesAfter: [10s, 10.1s], source: a test, date: 2026-11-30}}\n"
    );
    let of = |result: &str| format!("linger_facts_reloads_total{{result=\"{result}\"}}");
    replace(&facts, &known);
    eventually("the facts are taken", async || metric(admin, &of("ok")).await == 1.0).await;
    assert!(!allowed().await, "its probe runs every 10 s");

    replace(&policy, "closeWait: {timeout: 90s}\n");
    let reloads = "linger_policy_reloads_total{result=\"ok\"}";
    eventually("the policy is taken", async || metric(admin, reloads).await == 1.0).await;
    assert!(!allowed().await);

    replace(&facts, "version: 7\n");
    eventually("the bad facts are seen", async || metric(admin, "linger_facts_valid").await == 0.0).await;
    assert!(!allowed().await, "the last good facts stay in use");
}
