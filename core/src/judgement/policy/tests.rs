use jiff::civil::date;
use rstest::rstest;

use super::*;

fn mistakes(text: &str) -> Vec<String> {
    Policy::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[rstest]
#[case("")]
#[case("# nothing\n")]
#[case("---\n")]
#[case("closeWait:\nrules:\nexemptions:\nservers:\n")]
#[case("{}")]
fn an_empty_file_is_the_default(#[case] text: &str) {
    let policy = policy(text);
    assert_eq!(policy.close_wait, CloseWait::default());
    assert_eq!((policy.tolerance, policy.annotation_exemptions), (Duration::from_millis(100), true));
    assert_eq!((policy.reject, policy.reject_at), (RejectWhen::Always, RejectAt::Both));
    for rule in RuleId::ALL {
        assert_eq!(policy.action(rule), rule.default_action());
    }
}

#[test]
fn the_example_is_a_policy() {
    let policy = policy(include_str!("../../../../examples/policy.yaml"));
    assert_eq!(policy.close_wait.timeout, Some(Duration::from_secs(3600)));
    assert_eq!(policy.close_wait.images.len(), 4);
    assert_eq!(policy.exemptions.len(), 2);
    assert_eq!(policy.rules.len(), RuleId::ALL.len());
}

#[test]
fn every_field_is_read() {
    let policy = policy(
        "closeWait: {timeout: off, via: pod-sysctl, cni: true, images: [r.example.com:5000/l/proxy-init]}\ntolerance: 0s\nreject: reachable\n\
         rejectAt: workloads\nrules: {probe-matches-idle-timeout: warn, close-wait-unset: reject}\n\
         annotations: {exempt: forbid}\n",
    );
    assert_eq!(policy.close_wait.timeout, None);
    assert_eq!((policy.close_wait.via, policy.close_wait.cni), (Via::PodSysctl, true));
    assert_eq!(policy.close_wait.images[3], "r.example.com:5000/l/proxy-init");
    assert_eq!((policy.tolerance, policy.annotation_exemptions), (Duration::ZERO, false));
    assert_eq!((policy.reject, policy.reject_at), (RejectWhen::Reachable, RejectAt::Workloads));
    assert_eq!(policy.action(RuleId::ProbeMatchesIdleTimeout), Action::Warn);
    assert_eq!(policy.action(RuleId::CloseWaitUnset), Action::Reject);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "\
closewait: {}
closeWait:
  timeout: 0s
  via: sysctl
  cni: allow
  images:
  - docker.io/linkerd/proxy-init:v2
  - https://x/y
tolerance: -5s
reject: sometimes
rejectAt: workload
rules:
  probe-matches-idle-timout: warn
  probe-matches-idle-timeout: patch
  close-wait-unset: stop
exemptions:
- reason: x
- namespace: shop
  owner: a/b/c
  rules: [close-wait-unst]
  reason: ''
  until: 31.1.2027
- namespace: [shop]
  because: x
annotations: {exempt: maybe}
tolerance: 1s
";
    let expected = "\
line 1: unknown field \"closewait\"; did you mean closeWait?
line 3: closeWait.timeout: 0s is not between 1s and 2147483s; or write off
line 4: closeWait.via: unknown value \"sysctl\"; did you mean pod-sysctl?
line 5: closeWait.cni: unknown value \"allow\"; expected one of true, false
line 7: closeWait.images[0]: \"docker.io/linkerd/proxy-init:v2\" has a tag or a digest; write only the repository, which matches all of them
line 8: closeWait.images[1]: \"https://x/y\" has a scheme; write only the repository, like registry.example.com/linkerd/proxy-init
line 10: reject: unknown value \"sometimes\"; expected one of always, reachable, certain, likely
line 11: rejectAt: unknown value \"workload\"; did you mean workloads?
line 13: rules: unknown rule \"probe-matches-idle-timout\"; did you mean probe-matches-idle-timeout?
line 14: rules.probe-matches-idle-timeout: this rule has no patch; use reject, warn or ignore
line 15: rules.close-wait-unset: unknown action \"stop\"; expected one of ignore, warn, patch, reject
line 17: exemptions[0]: it would exempt everything; give at least one of namespace, owner and serviceAccount
line 17: exemptions[0]: until is missing; give the last day of the exemption, such as 2027-01-31
line 19: exemptions[1].owner: \"a/b/c\" is neither like Deployment/web nor like web-*
line 20: exemptions[1].rules[0]: unknown rule \"close-wait-unst\"; did you mean close-wait-unset?
line 21: exemptions[1].reason: it is empty
line 22: exemptions[1].until: \"31.1.2027\" is not a date such as 2027-01-31
line 23: exemptions[2].namespace: expected a string, found a list
line 23: exemptions[2]: reason is missing; explain why the exemption is needed
line 23: exemptions[2]: until is missing; give the last day of the exemption, such as 2027-01-31
line 24: exemptions[2]: unknown field \"because\"; expected one of namespace, owner, serviceAccount, rules, reason, until
line 25: annotations.exempt: unknown value \"maybe\"; expected one of allow, forbid
line 26: tolerance: already set on line 9; keep one of them";
    assert_eq!(mistakes(text).join("\n"), expected);
}

#[rstest]
#[case(
    "tolerance: -5s",
    "line 1: tolerance: \"-5s\" is not a duration: it is negative; write it like 1h, 1m30s or 100ms"
)]
#[case(
    "tolerance: 5",
    "line 1: tolerance: \"5\" is not a duration: it has no unit; write it like 1h, 1m30s or 100ms"
)]
#[case(
    "closeWait: {timeout: 2147484s}",
    "line 1: closeWait.timeout: 2147484s is not between 1s and 2147483s; or write off"
)]
#[case(
    "closeWait: {timeout: 1.5s}",
    "line 1: closeWait.timeout: 1.5s is not a whole number of seconds, which the kernel requires"
)]
#[case("- a", "line 1: the file: expected a map, found a list")]
#[case("rules: [a]", "line 1: rules: expected a map, found a list")]
#[case(
    "reject: always\n---\nreject: always\n",
    "line 3: a second document; a policy file must have only one"
)]
#[case(
    "a:\n\tb: 1",
    "line 2: tabs disallowed within this context (block indentation) at column 2; indent YAML with spaces \
     instead of tabs"
)]
fn mistakes_say_what_and_where(#[case] text: &str, #[case] message: &str) {
    assert_eq!(mistakes(text), [message]);
}

const GOOD: &str = "{id: good, name: Good, reliable: {commands: [good]}, idle: [{closes: 5s, certain: it has no other setting, source: its documentation}]}";

#[test]
fn a_mistake_in_one_server_does_not_hide_that_in_the_next() {
    let found = mistakes(&format!("reject: always\nservers:\n- {GOOD}\n- {{}}\n- id: [x]\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("line 4: servers[1]: "), "{found:?}");
    assert!(found[1].starts_with("line 5: servers[2]: "), "{found:?}");
}

const OF_WEB: Subject<'static> = Subject {
    namespace: "shop",
    owner_kind: "ReplicaSet",
    owner: "web-6d4cf56db6",
    template_hash: None,
    name: "web-6d4cf56db6-x7kqp",
    service_account: "",
};

#[rstest]
#[case("namespace: shop", true)]
#[case("namespace: sho", false)]
#[case("namespace: sh*", true)]
#[case("owner: Deployment/web", true)]
#[case("owner: ReplicaSet/web-*", true)]
#[case("owner: StatefulSet/web", false)]
#[case("owner: web", true)]
#[case("owner: we", false)]
#[case("owner: web-6d4cf56db6-x7kqp", true)]
#[case("owner: '*'", true)]
#[case("serviceAccount: default", true)]
#[case("serviceAccount: other", false)]
#[case("namespace: shop, owner: other", false)]
#[case("namespace: shop, rules: [close-wait-unset]", false)]
#[case("namespace: shop, rules: [close-wait-unset, probe-matches-idle-timeout]", true)]
fn exemptions_cover(#[case] fields: &str, #[case] covered: bool) {
    let policy = policy(&format!("exemptions:\n- {{{fields}, reason: OPS-12, until: 2027-01-31}}\n"));
    let exempt = policy.exemption(&OF_WEB, RuleId::ProbeMatchesIdleTimeout, date(2027, 1, 31));
    assert_eq!(exempt, if covered { Exempt::Yes("OPS-12".into()) } else { Exempt::No });
}

#[test]
fn an_exemption_ends_with_its_last_day() {
    let text = "exemptions:\n- {namespace: shop, reason: old, until: 2027-01-31}\n";
    let rule = RuleId::CloseWaitUnset;
    let expired = policy(text).exemption(&OF_WEB, rule, date(2027, 2, 1));
    assert_eq!(expired, Exempt::Expired { reason: "old".into(), until: date(2027, 1, 31) });
    let renewed = policy(&format!("{text}- {{namespace: shop, reason: new, until: 2027-02-01}}\n"));
    assert_eq!(renewed.exemption(&OF_WEB, rule, date(2027, 2, 1)), Exempt::Yes("new".into()));
    let cron = Subject { owner_kind: "Job", owner: "report-29012345", ..OF_WEB };
    let text = "exemptions:\n- {owner: CronJob/report, reason: x, until: 2027-02-01}\n";
    assert_eq!(policy(text).exemption(&cron, rule, date(2027, 1, 1)), Exempt::Yes("x".into()));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,100}") {
        let _ = Policy::parse(&text);
        let _ = AnnotationExemption::parse(&text);
    }
}

#[test]
fn the_document_lists_every_rule_with_its_default() {
    let document = include_str!("../../../../docs/policy.md");
    for rule in RuleId::ALL {
        let patch = if rule.can_patch() { "yes" } else { "no" };
        let row = format!("| `{rule}` | `{}` | {patch} |", rule.default_action().as_str());
        assert!(document.contains(&row), "docs/policy.md lacks {row}");
    }
}
