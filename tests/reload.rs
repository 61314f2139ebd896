//! A policy file that changes under a running server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, time::Duration};

use linkerd_linger::serve::{self, Config, Waits};

use self::support::{eventually, metric};

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
