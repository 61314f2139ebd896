use rstest::rstest;

use super::*;
use crate::cluster::check::dry_run::{self, Answer, DryRun, dry_runs};

fn dry_run(snapshot: &Snapshot, index: usize) -> DryRun {
    dry_runs(snapshot, today()).0.swap_remove(index)
}

fn result(dry_run: &DryRun, answer: &Answer) -> CheckResult {
    dry_run::result(dry_run, answer, None)
}

fn admitted(pod: &Value, warnings: &[&str]) -> Answer {
    Answer::Admitted { pod: pod.to_string(), warnings: warnings.iter().map(ToString::to_string).collect() }
}

/// The pod as the webhook patches it.
fn patched(dry_run: &DryRun, seconds: u32) -> Value {
    let mut pod = dry_run.pod.clone();
    let init = &mut pod["spec"]["initContainers"][0];
    let args = init["args"].as_array_mut().unwrap();
    args.extend([json!("--timeout-close-wait-secs"), json!(seconds.to_string())]);
    init["securityContext"] = json!({"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0,
                                     "runAsNonRoot": false});
    pod
}

#[test]
fn a_patched_pod_proves_the_live_path() {
    let dry_run = dry_run(&healthy(), 0);
    assert_eq!(dry_run.namespace, "shop");
    let proved = result(&dry_run, &admitted(&patched(&dry_run, 3600), &[]));
    assert_eq!(proved.description, "a pod is patched (server-side dry run) in shop: linkerd-init sets 3600s");
    assert_eq!(proved.outcome, Outcome::Good);
    let not_called_message = result(&dry_run, &admitted(&dry_run.pod, &[]));
    assert_outcome(
        &not_called_message.outcome,
        "error",
        "was admitted without the patch: the API server did not call",
    );
    assert!(not_called_message.may_recover());
    let other = result(&dry_run, &admitted(&patched(&dry_run, 60), &[]));
    assert_outcome(&other.outcome, "error", "linkerd-init sets 60s; expected 3600s");
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
    let dry_run = dry_run(&snapshot, 0);
    let not_called_message = result(&dry_run, &admitted(&dry_run.pod, &[]));
    assert_outcome(&not_called_message.outcome, "error", "was admitted without the patch");
    let mut pod = dry_run.pod.clone();
    if via == "pod-sysctl" {
        pod["spec"]["securityContext"]["sysctls"] =
            json!([{"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "3600"}]);
    } else {
        let ours = json!({"name": "linger-close-wait", "image": "linger:1", "args": ["set-close-wait", "3600"],
                          "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false}});
        pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, ours);
    }
    let proved = result(&dry_run, &admitted(&pod, &[]));
    assert!(proved.description.contains(way), "{proved:?}");
    assert_eq!(proved.outcome, Outcome::Good);
}

#[test]
fn half_a_patch_is_none() {
    let dry_run = dry_run(&healthy(), 0);
    let mut pod = patched(&dry_run, 3600);
    pod["spec"]["initContainers"][0]["securityContext"]["runAsUser"] = json!(65534);
    let outcome = result(&dry_run, &admitted(&pod, &[])).outcome;
    assert_outcome(
        &outcome,
        "error",
        "would not start: linkerd-init should set 3600s, but its securityContext has wrong values for runAsUser",
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
    "another admission check rejects the pod in shop"
)]
#[case::by_pod_security(r#"pods "x" is forbidden: violates PodSecurity"#, "warning", "not checked: ")]
fn refusals_are_told_apart(#[case] message: &str, #[case] kind: &str, #[case] part: &str) {
    let outcome = result(&dry_run(&healthy(), 1), &Answer::Refused(message.to_owned())).outcome;
    assert_outcome(&outcome, kind, part);
}

#[rstest]
#[case::by_a_webhook(
    r#"admission webhook "validation.gatekeeper.sh" denied the request: [psp-privileged] no"#,
    "the webhook validation.gatekeeper.sh rejects the pod only if linkerd-linger has patched it"
)]
#[case::by_a_policy(
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'no-privilege' with binding 'all' denied request: no",
    "the ValidatingAdmissionPolicy no-privilege rejects"
)]
#[case::by_pod_security_without_a_label(
    r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged"#,
    "Pod Security baseline:latest rejects"
)]
#[case::by_openshift(
    r#"pods "x" is forbidden: unable to validate against any security context constraint: [provider]"#,
    "a security context constraint of OpenShift rejects"
)]
#[case::by_something(r#"pods "x" is forbidden: no"#, "an admission plugin rejects")]
fn a_refusal_that_our_patch_causes_is_an_error(#[case] message: &str, #[case] part: &str) {
    let dry_run = dry_run(&healthy(), 0);
    let refused = Answer::Refused(message.to_owned());
    let unpatched = dry_run.without_patch(&refused).unwrap();
    assert_eq!(unpatched["metadata"]["annotations"]["linkerd-linger.io/close-wait-timeout"], "off");
    let of_both = |second: &Answer| dry_run::result(&dry_run, &refused, Some(second));
    let result = of_both(&admitted(&unpatched, &[]));
    assert_outcome(&result.outcome, "error", part);
    assert_outcome(&result.outcome, "error", "label the namespace linkerd-linger.io/privileged=never");
    assert!(!result.may_recover(), "no policy goes away by itself");
    let both = of_both(&refused);
    assert_outcome(&both.outcome, "warning", "another admission check rejects the pod in shop");
}

#[test]
fn only_what_others_refuse_is_sent_again() {
    let dry_run = dry_run(&healthy(), 1);
    let ours = r#"admission webhook "enforce.validate.linkerd-linger.io" denied the request: x"#;
    assert_eq!(dry_run.without_patch(&Answer::Refused(ours.to_owned())), None);
    assert_eq!(dry_run.without_patch(&admitted(&dry_run.pod, &[])), None);
    let unasked = ReadError::Forbidden { what: "create pods".to_owned() };
    assert_eq!(dry_run.without_patch(&Answer::NotSent(unasked)), None);
}

#[test]
fn no_patch_is_expected_in_namespaces_with_privileged_never() {
    let labels = json!({"linkerd-linger.io/mode": "enforce", "linkerd-linger.io/privileged": "never"});
    let mut snapshot = healthy();
    snapshot.namespaces.as_mut().unwrap().truncate(2);
    snapshot.namespaces.as_mut().unwrap().push(namespace("shop", labels, json!({})));
    let (dry_runs, skipped) = dry_runs(&snapshot, today());
    assert_eq!((dry_runs.len(), skipped.len()), (1, 1));
    assert_eq!(skipped[0].outcome, Outcome::Good);
    assert!(
        skipped[0].description.contains("has the label linkerd-linger.io/privileged: never"),
        "{skipped:?}"
    );
}

#[test]
fn a_bad_pod_that_passes_is_an_error() {
    let dry_run = dry_run(&healthy(), 1);
    let outcome = result(&dry_run, &admitted(&dry_run.pod, &["linkerd-linger: x"])).outcome;
    assert_outcome(
        &outcome,
        "error",
        "in shop the pod was admitted: the API server did not call the webhook",
    );
}

#[test]
fn a_warning_is_required_in_warn_mode() {
    let mut snapshot = healthy();
    snapshot.namespaces.as_mut().unwrap().remove(2);
    let dry_run = dry_run(&snapshot, 1);
    assert_eq!(dry_run.namespace, "lab");
    let ours = admitted(&dry_run.pod, &[r#"299 - "linkerd-linger: cart: x""#]);
    assert_eq!(result(&dry_run, &ours).outcome, Outcome::Good);
    let others = admitted(&dry_run.pod, &[r#"299 - "would violate PodSecurity""#]);
    assert_outcome(&result(&dry_run, &others).outcome, "error", "without a warning");
}

#[rstest]
#[case::nobody_opts_in(|it: &mut Snapshot| it.namespaces.as_mut().unwrap().truncate(2), "no namespace is in enforce or warn mode")]
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
    "Pod Security rejects linkerd-init in every namespace that opts in"
)]
fn without_a_place_nothing_is_tried(#[case] change: Change, #[case] part: &str) {
    let mut snapshot = healthy();
    change(&mut snapshot);
    let (dry_runs, skipped) = dry_runs(&snapshot, today());
    assert_eq!((dry_runs.len(), skipped.len()), (0, 2));
    for result in skipped {
        assert_outcome(&result.outcome, "warning", part);
    }
}

#[test]
fn only_actions_of_the_policy_are_expected() {
    let mut snapshot = healthy();
    let policy = "closeWait: {timeout: off}\nrules: {probe-matches-idle-timeout: warn}\n";
    snapshot.policy = Ok(Some(policy.to_owned()));
    assert!(snapshot.policy_in_force().is_ok());
    let (dry_runs, skipped) = dry_runs(&snapshot, today());
    assert_eq!(dry_runs, []);
    assert!(skipped.iter().all(|result| result.outcome == Outcome::Good), "{skipped:?}");
    assert!(
        skipped[0].description.contains("not expected, because of the policy: turned off"),
        "{skipped:?}"
    );
}
