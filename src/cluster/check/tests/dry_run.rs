use rstest::rstest;

use super::*;
use crate::cluster::check::dry_run::{self, Answer, Trial, trials};

fn trial(snapshot: &Snapshot, index: usize) -> Trial {
    trials(snapshot, today()).0.swap_remove(index)
}

fn result(trial: &Trial, answer: &Answer) -> CheckResult {
    dry_run::result(trial, answer, None)
}

fn admitted(pod: &Value, warnings: &[&str]) -> Answer {
    Answer::Admitted { pod: pod.to_string(), warnings: warnings.iter().map(ToString::to_string).collect() }
}

/// The pod as the webhook patches it.
fn patched(trial: &Trial, seconds: u32) -> Value {
    let mut pod = trial.pod.clone();
    let init = &mut pod["spec"]["initContainers"][0];
    let args = init["args"].as_array_mut().unwrap();
    args.extend([json!("--timeout-close-wait-secs"), json!(seconds.to_string())]);
    init["securityContext"] = json!({"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0,
                                     "runAsNonRoot": false});
    pod
}

#[test]
fn a_patched_pod_proves_the_live_path() {
    let trial = trial(&healthy(), 0);
    assert_eq!(trial.namespace, "shop");
    let proved = result(&trial, &admitted(&patched(&trial, 3600), &[]));
    assert_eq!(
        proved.description,
        "a pod is patched (server-side dry run) in shop: linkerd-init sets 3600s by itself"
    );
    assert_eq!(proved.outcome, Outcome::Good);
    let silent = result(&trial, &admitted(&trial.pod, &[]));
    assert_outcome(&silent.outcome, "error", "came back without the patch: the API server did not call");
    assert!(silent.may_heal());
    let other = result(&trial, &admitted(&patched(&trial, 60), &[]));
    assert_outcome(&other.outcome, "error", "linkerd-init sets 60s by itself; expected are 3600s");
}

#[rstest]
#[case::as_a_sysctl("pod-sysctl", "spec.securityContext.sysctls sets 3600s")]
#[case::in_our_container(
    "init-container",
    "the init container linger-close-wait sets 3600s before any container"
)]
fn other_ways_prove_it_as_well(#[case] via: &str, #[case] way: &str) {
    let mut snapshot = healthy();
    snapshot.policy = Ok(Some(format!("closeWait: {{via: {via}}}\n")));
    let trial = trial(&snapshot, 0);
    let silent = result(&trial, &admitted(&trial.pod, &[]));
    assert_outcome(&silent.outcome, "error", "came back without the patch");
    let mut pod = trial.pod.clone();
    if via == "pod-sysctl" {
        pod["spec"]["securityContext"]["sysctls"] =
            json!([{"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "3600"}]);
    } else {
        let ours = json!({"name": "linger-close-wait", "image": "linger:1", "args": ["set-close-wait", "3600"],
                          "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false}});
        pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, ours);
    }
    let proved = result(&trial, &admitted(&pod, &[]));
    assert!(proved.description.contains(way), "{proved:?}");
    assert_eq!(proved.outcome, Outcome::Good);
}

#[test]
fn half_a_patch_is_none() {
    let trial = trial(&healthy(), 0);
    let mut pod = patched(&trial, 3600);
    pod["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = json!(65534);
    let outcome = result(&trial, &admitted(&pod, &[])).outcome;
    assert_outcome(
        &outcome,
        "error",
        "would not start: linkerd-init is told to set 3600s, and fails for want of runAsUser",
    );
}

#[rstest]
#[case::by_us(r#"admission webhook "enforce.validate.linkerd-linger.io" denied the request: x"#, "good", "")]
#[case::cannot_be_called(
    r#"Internal error occurred: failed calling webhook "enforce.mutate.linkerd-linger.io": x509: unknown authority"#,
    "error",
    "x509: unknown authority"
)]
#[case::by_another(
    r#"admission webhook "validate.example.com" denied the request: no"#,
    "warning",
    "something else refuses the pod in shop"
)]
#[case::by_pod_security(r#"pods "x" is forbidden: violates PodSecurity"#, "warning", "not checked: ")]
fn refusals_are_told_apart(#[case] message: &str, #[case] kind: &str, #[case] part: &str) {
    let outcome = result(&trial(&healthy(), 1), &Answer::Refused(message.to_owned())).outcome;
    assert_outcome(&outcome, kind, part);
}

#[rstest]
#[case::by_a_webhook(
    r#"admission webhook "validation.gatekeeper.sh" denied the request: [psp-privileged] no"#,
    "the webhook validation.gatekeeper.sh refuses a pod that the webhook has patched"
)]
#[case::by_a_policy(
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'no-privilege' with binding 'all' denied request: no",
    "the ValidatingAdmissionPolicy no-privilege refuses"
)]
#[case::by_pod_security_without_a_label(
    r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged"#,
    "Pod Security baseline:latest refuses"
)]
#[case::by_openshift(
    r#"pods "x" is forbidden: unable to validate against any security context constraint: [provider]"#,
    "a security context constraint of OpenShift refuses"
)]
#[case::by_something(r#"pods "x" is forbidden: no"#, "an admission plugin refuses")]
fn a_refusal_that_our_patch_causes_is_an_error(#[case] message: &str, #[case] part: &str) {
    let trial = trial(&healthy(), 0);
    let refused = Answer::Refused(message.to_owned());
    let unpatched = trial.without_patch(&refused).unwrap();
    assert_eq!(unpatched["metadata"]["annotations"]["linkerd-linger.io/close-wait-timeout"], "off");
    let of_both = |second: &Answer| dry_run::result(&trial, &refused, Some(second));
    let result = of_both(&admitted(&unpatched, &[]));
    assert_outcome(&result.outcome, "error", part);
    assert_outcome(&result.outcome, "error", "label the namespace linkerd-linger.io/privileged=never");
    assert!(!result.may_heal(), "no policy goes away by itself");
    let both = of_both(&refused);
    assert_outcome(&both.outcome, "warning", "something else refuses the pod in shop");
}

#[test]
fn only_what_others_refuse_is_sent_again() {
    let trial = trial(&healthy(), 1);
    let ours = r#"admission webhook "enforce.validate.linkerd-linger.io" denied the request: x"#;
    assert_eq!(trial.without_patch(&Answer::Refused(ours.to_owned())), None);
    assert_eq!(trial.without_patch(&admitted(&trial.pod, &[])), None);
    let unasked = ReadError::Forbidden { what: "create pods".to_owned() };
    assert_eq!(trial.without_patch(&Answer::Unasked(unasked)), None);
}

#[test]
fn where_our_label_says_never_no_patch_is_expected() {
    let labels = json!({"linkerd-linger.io/mode": "enforce", "linkerd-linger.io/privileged": "never"});
    let mut snapshot = healthy();
    snapshot.namespaces.as_mut().unwrap().truncate(2);
    snapshot.namespaces.as_mut().unwrap().push(namespace("shop", labels, json!({})));
    let (trials, instead) = trials(&snapshot, today());
    assert_eq!((trials.len(), instead.len()), (1, 1));
    assert_eq!(instead[0].outcome, Outcome::Good);
    assert!(
        instead[0].description.contains("has the label linkerd-linger.io/privileged: never"),
        "{instead:?}"
    );
}

#[test]
fn a_bad_pod_that_passes_is_an_error() {
    let trial = trial(&healthy(), 1);
    let outcome = result(&trial, &admitted(&trial.pod, &["linkerd-linger: x"])).outcome;
    assert_outcome(&outcome, "error", "in shop it was admitted: the API server did not call the webhook");
}

#[test]
fn where_only_warnings_are_due_one_must_come() {
    let mut snapshot = healthy();
    snapshot.namespaces.as_mut().unwrap().remove(2);
    let trial = trial(&snapshot, 1);
    assert_eq!(trial.namespace, "lab");
    let ours = admitted(&trial.pod, &[r#"299 - "linkerd-linger: cart: x""#]);
    assert_eq!(result(&trial, &ours).outcome, Outcome::Good);
    let others = admitted(&trial.pod, &[r#"299 - "would violate PodSecurity""#]);
    assert_outcome(&result(&trial, &others).outcome, "error", "without a warning");
}

#[rstest]
#[case::nobody_opts_in(|it: &mut Snapshot| it.namespaces.as_mut().unwrap().truncate(2), "no namespace is in the mode")]
#[case::unknown(
    |it: &mut Snapshot| it.namespaces = Err(ReadError::Forbidden { what: "list namespaces".into() }),
    "no permission to list namespaces"
)]
#[case::bad_policy(|it: &mut Snapshot| it.policy = Ok(Some("reject: never".into())), "the policy cannot be used")]
#[case::restricted(
    |it: &mut Snapshot| {
        let labels = json!({"linkerd-linger.io/mode": "warn", "pod-security.kubernetes.io/enforce": "restricted"});
        it.namespaces.as_mut().unwrap().truncate(2);
        it.namespaces.as_mut().unwrap().push(namespace("lab", labels, json!({})));
    },
    "Pod Security refuses linkerd-init in every namespace that opts in"
)]
fn without_a_place_nothing_is_tried(#[case] change: Change, #[case] part: &str) {
    let mut snapshot = healthy();
    change(&mut snapshot);
    let (trials, instead) = trials(&snapshot, today());
    assert_eq!((trials.len(), instead.len()), (0, 2));
    for result in instead {
        assert_outcome(&result.outcome, "warning", part);
    }
}

#[test]
fn what_the_policy_does_not_ask_for_is_not_expected() {
    let mut snapshot = healthy();
    let policy = "closeWait: {timeout: off}\nrules: {probe-matches-idle-timeout: warn}\n";
    snapshot.policy = Ok(Some(policy.to_owned()));
    assert!(snapshot.policy_in_force().is_ok());
    let (trials, instead) = trials(&snapshot, today());
    assert_eq!(trials, []);
    assert!(instead.iter().all(|result| result.outcome == Outcome::Good), "{instead:?}");
    assert!(instead[0].description.contains("not expected, by the policy: switched off"), "{instead:?}");
}
