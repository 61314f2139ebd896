use serde::de::DeserializeOwned;

use super::*;
use crate::cluster::{
    check::dry_run::{Answer, dry_runs, result},
    install::{Options, policies},
};

/// A cluster with the output of `install --engine policy`.
fn without_a_server() -> Snapshot {
    let objects = policies(&Options::default(), &Policy::default()).unwrap();
    fn of<T: DeserializeOwned>(objects: &[Value], kind: &str) -> Vec<T> {
        let of_kind = objects.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| serde_json::from_value(object.clone()).unwrap()).collect()
    }
    let mut snapshot = healthy();
    snapshot
        .mutating
        .as_mut()
        .unwrap()
        .retain(|it| it.metadata.name.as_deref() != Some(names::WEBHOOK_CONFIGURATION));
    snapshot.validating = Ok(Vec::new());
    (snapshot.server, snapshot.certificate) = (Ok(None), Ok(None));
    snapshot.policies = Ok(Policies {
        mutating: of(&objects, "MutatingAdmissionPolicy"),
        mutating_bindings: of(&objects, "MutatingAdmissionPolicyBinding"),
        validating: of(&objects, "ValidatingAdmissionPolicy"),
        validating_bindings: of(&objects, "ValidatingAdmissionPolicyBinding"),
    });
    snapshot
}

#[test]
fn all_is_well_without_a_server() {
    let results = installed(&without_a_server(), now());
    let bad: Vec<_> = results.iter().filter(|result| result.outcome != Outcome::Good).collect();
    assert_eq!(bad, Vec::<&CheckResult>::new());
    let told = |id| results.iter().find(|result| result.id == id).map(|result| result.description.as_str());
    assert_eq!(told(CheckId::OptedIn), Some("namespaces opt in (2 namespaces: 1 enforce, 1 warn)"));
    assert_eq!(told(CheckId::AdmissionPolicies), Some("admission policies and their bindings exist"));
    assert_eq!((told(CheckId::Server), told(CheckId::CaBundle)), (None, None), "there is no server to check");
    let (sent, skipped) = dry_runs(&without_a_server(), today());
    assert_eq!((sent.len(), skipped), (2, vec![]));
}

type Change = fn(&mut Policies);

#[rstest]
#[case::no_binding(
    |policies: &mut Policies| drop(policies.mutating_bindings.pop()),
    "MutatingAdmissionPolicyBinding linkerd-linger-close-wait-warn does not exist"
)]
#[case::no_mutating_policy(
    |policies: &mut Policies| policies.mutating.clear(), "MutatingAdmissionPolicy linkerd-linger-close-wait does not exist"
)]
#[case::no_validating_policy(
    |policies: &mut Policies| policies.validating.clear(), "ValidatingAdmissionPolicy linkerd-linger-probes does not exist"
)]
fn missing_objects_are_named(#[case] change: Change, #[case] part: &str) {
    let mut snapshot = without_a_server();
    change(snapshot.policies.as_mut().unwrap());
    assert_outcome(&outcome_of(&snapshot, CheckId::AdmissionPolicies), "error", part);
}

/// A pod that our policies should have changed or rejected.
#[rstest]
#[case::patch(
    0,
    "was admitted without the patch: the API server did not evaluate the MutatingAdmissionPolicy linkerd-linger-close-wait"
)]
#[case::rejection(
    1,
    "was admitted: the API server did not evaluate the ValidatingAdmissionPolicy linkerd-linger-probes"
)]
fn an_admitted_dry_run_names_the_policy(#[case] index: usize, #[case] part: &str) {
    let (sent, _) = dry_runs(&without_a_server(), today());
    let answer = Answer::Admitted { pod: sent[index].pod.to_string(), warnings: Vec::new() };
    let outcome = result(&sent[index], &answer, None).outcome;
    assert_outcome(&outcome, "error", part);
    assert!(!format!("{outcome:?}").contains("webhook"), "{outcome:?}");
}

#[test]
fn no_rejection_is_expected_of_policies_that_cannot_decide_it() {
    let mut snapshot = without_a_server();
    snapshot.policy = Ok(Some("reject: reachable\n".to_owned()));
    let (sent, skipped) = dry_runs(&snapshot, today());
    assert_eq!((sent.len(), skipped.len()), (1, 1));
    assert_eq!(skipped[0].outcome, Outcome::Good);
    assert!(skipped[0].description.contains("cannot evaluate `reject: reachable`"), "{skipped:?}");
}

#[test]
fn both_engines_at_once_are_reported() {
    let snapshot = Snapshot { policies: without_a_server().policies, ..healthy() };
    assert_outcome(
        &outcome_of(&snapshot, CheckId::AdmissionPolicies),
        "warning",
        "the webhook is installed as well",
    );
}

#[rstest]
#[case::by_our_policy(
    "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'linkerd-linger-probes' with binding \
     'linkerd-linger-probes-enforce' denied request: linkerd-linger: web: Gunicorn closes idle connections",
    "good"
)]
#[case::by_another_one(
    "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'others' with binding 'others' denied request: no",
    "warning"
)]
fn a_denied_dry_run(#[case] message: &str, #[case] kind: &str) {
    let (sent, _) = dry_runs(&without_a_server(), today());
    let result = result(&sent[1], &Answer::Refused(message.to_owned()), None);
    assert_outcome(&result.outcome, kind, "");
}
