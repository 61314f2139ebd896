//! A policy file that changes under a running server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use linkerd_linger::admission::{
    review::{Door, Entry, Mode},
    serve::{self, Config, Waits},
};

use self::support::{Connection, eventually, metric};

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
    let waits = Waits { poll: Duration::from_millis(20), ..Config::loopback().waits };
    let policy = Some(file.clone());
    let server = serve::start(Config { policy, waits, ..Config::loopback() }).await.unwrap();
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

#[tokio::test]
async fn the_init_image_of_the_flag_outlives_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    replace(&file, "");
    let waits = Waits { poll: Duration::from_millis(20), ..Config::loopback().waits };
    let (policy, init_image) = (Some(file.clone()), Some("registry.example.com/linger:1".to_owned()));
    let server = serve::start(Config { policy, waits, init_image, ..Config::loopback() }).await.unwrap();
    replace(&file, "closeWait: {timeout: 90s}\n");
    let reloads = "linger_policy_reloads_total{result=\"ok\"}";
    eventually("the policy is taken", async || metric(server.admin_addr(), reloads).await == 1.0).await;

    let review = include_str!("fixtures/reviews/real-injector/version-2.20/front-nginx.json");
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let answer = connection.post(&Entry::new(Door::Mutate, Mode::Enforce).path(), review).await.json();
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch[0]["value"]["image"], "registry.example.com/linger:1");
    assert_eq!(patch[0]["value"]["args"][1], "90");
}
