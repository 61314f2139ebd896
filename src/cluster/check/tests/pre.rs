use rstest::rstest;

use super::*;
use crate::cluster::{
    check::pre::{PERMISSIONS, checks, version},
    install::Engine,
};

#[rstest]
#[case::new("1", "31+", "good")]
#[case::oldest("1", "25", "good")]
#[case::old("1", "24", "error")]
#[case::next_major("2", "0", "good")]
#[case::unreadable("", "", "warning")]
fn the_api_server_must_not_be_too_old(#[case] major: &str, #[case] minor: &str, #[case] kind: &str) {
    assert_outcome(&version(Engine::Webhook, major, minor, "v1.24.3-x").outcome, kind, "");
}

#[test]
fn an_empty_cluster_is_ready() {
    let mut snapshot = healthy();
    snapshot.namespaces.as_mut().unwrap().remove(0);
    snapshot.mutating.as_mut().unwrap().remove(0);
    snapshot.validating = Ok(vec![]);
    let access: Vec<_> = PERMISSIONS.iter().map(|it| (*it, Ok(true))).collect();
    let results = checks(&snapshot, &access);
    assert!(results.iter().all(|result| result.outcome == Outcome::Good), "{results:?}");
    assert_eq!(results.len(), 2 + PERMISSIONS.len());
    assert_eq!(results[2].description, "can create Namespaces");
}

#[test]
fn missing_create_permissions_are_listed() {
    let access = [(PERMISSIONS[3], Ok(false))];
    let results = checks(&healthy(), &access);
    let told = &results.last().unwrap().outcome;
    let part = "missing permission: create mutatingwebhookconfigurations.admissionregistration.k8s.io";
    assert_outcome(told, "error", part);
}

#[test]
fn another_installation_is_found_under_any_name() {
    let mut snapshot = healthy();
    snapshot.namespaces = Ok(vec![namespace("mesh", json!({"linkerd.io/extension": "linger"}), json!({}))]);
    ours(&mut snapshot).metadata.name = Some("own-name".to_owned());
    let told = &checks(&snapshot, &[])[1].outcome;
    assert_outcome(
        told,
        "error",
        "\n\t* Namespace mesh\n\t* webhook configuration own-name\n\t* webhook conf",
    );
}

#[rstest]
#[case::before("35", "error")]
#[case::since("36+", "good")]
fn the_policy_engine_needs_a_newer_api_server(#[case] minor: &str, #[case] kind: &str) {
    let result = version(Engine::Policy, "1", minor, "v1.35.2");
    let text = if kind == "good" { "" } else { "it is v1.35.2; --engine policy needs v1.36 or newer" };
    assert_outcome(&result.outcome, kind, text);
}
