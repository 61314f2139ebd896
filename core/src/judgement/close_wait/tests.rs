use json_patch::Patch;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    judgement::{patch, policy::Policy, survey},
    linkerd::Injection,
    workload::{
        context::{Context, Unprivileged},
        object::Object,
    },
};

const IMAGE: &str = "registry.example.com/linkerd-linger:1.0.0";
const PROXY: &str = "cr.l5d.io/linkerd/proxy:version-2.20";

/// A pod with these init containers; linkerd-proxy is a native sidecar behind them.
fn pod(inits: &[Value]) -> Value {
    let mut inits = inits.to_vec();
    inits.push(json!({"name": "linkerd-proxy", "image": PROXY, "restartPolicy": "Always"}));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
           "spec": {"initContainers": inits, "containers": [{"name": "web", "image": "web:1"}]}})
}

fn combined(flags: &[&str]) -> Value {
    let args = [&["--proxy-uid", "2102"], flags].concat();
    json!({"name": "linkerd-init", "image": PROXY, "command": ["/usr/lib/linkerd/linkerd2-proxy-init"], "args": args,
           "securityContext": {"privileged": true, "runAsUser": 0}})
}

fn separate(image: &str, flags: &[&str], privileged: bool) -> Value {
    let root =
        json!({"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0, "runAsNonRoot": false});
    let context = if privileged { root } else { json!({"privileged": false}) };
    json!({"name": "linkerd-init", "image": image, "args": flags, "securityContext": context})
}

fn linkerds(flags: &[&str], privileged: bool) -> Value {
    separate("cr.l5d.io/linkerd/proxy-init:v2.4.1", flags, privileged)
}

fn validator() -> Value {
    json!({"name": "linkerd-network-validator", "image": PROXY})
}

fn ours(seconds: &str) -> Value {
    json!({"name": INIT_CONTAINER, "image": IMAGE, "args": ["set-close-wait", seconds],
           "securityContext": {"privileged": true, "runAsUser": 0, "runAsNonRoot": false}})
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

fn policy(text: &str, image: bool) -> Policy {
    let mut policy = Policy::parse(text).unwrap();
    policy.close_wait.init_image = image.then(|| IMAGE.to_owned());
    policy
}

fn planned(pod: &Value, policy: &Policy, unprivileged: bool) -> Plan {
    let (json, mut context) = (pod.to_string(), Context::default());
    if unprivileged {
        context.unprivileged.insert("shop".to_owned(), Unprivileged::PodSecurityOrLabel);
    }
    let object = Object::read(&json).unwrap().unwrap();
    let survey = survey::of(&object.pod, "shop", &policy.catalog, &context, Injection::AsAnnotated);
    plan(&survey, &policy.close_wait)
}

/// The pod after the plan; a second plan must keep it as it is.
fn after(pod: &Value, policy: &Policy) -> Value {
    let plan = planned(pod, policy, false);
    let json = pod.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    patch::check(&object.pod, &plan.edits.iter().collect::<Vec<_>>()).unwrap();
    let patch: Patch = serde_json::from_value(serde_json::to_value(&*plan.edits).unwrap()).unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    let again = planned(&patched, policy, false);
    assert_eq!((again.action, again.seconds), (PlanAction::Keep, plan.seconds), "{}", again.why);
    patched
}

fn names(pod: &Value) -> Vec<&str> {
    let inits = pod["spec"]["initContainers"].as_array().unwrap();
    inits.iter().map(|init| init["name"].as_str().unwrap()).collect()
}

const FLAG_3600: [&str; 2] = [FLAG, "3600"];

#[rstest]
// Linkerd 2.20 and newer.
#[case::combined(pod(&[combined(&[])]), "", "init-container", "close-wait-unset")]
#[case::combined_crash_loops(pod(&[combined(&FLAG_3600)]), "", "repair", "close-wait-broken")]
#[case::combined_with_a_flag_that_does_nothing(pod(&[combined(&[FLAG, "0"])]), "", "init-container", "close-wait-unset")]
#[case::combined_only_proxy_init(pod(&[combined(&[])]), "via: proxy-init", "none", "close-wait-unsupported")]
#[case::combined_sysctl(pod(&[combined(&[])]), "via: pod-sysctl", "patch", "close-wait-unset")]
#[case::combined_sysctl_crash_loops(pod(&[combined(&FLAG_3600)]), "via: pod-sysctl", "repair", "close-wait-broken")]
#[case::combined_off(pod(&[combined(&FLAG_3600)]), "timeout: off", "none", "")]
// linkerd-cni.
#[case::cni(pod(&[validator()]), "", "none", "")]
#[case::cni_allowed(pod(&[validator()]), "cni: true", "init-container", "close-wait-unset")]
#[case::cni_asked_for(pod(&[validator()]), "via: init-container", "init-container", "close-wait-unset")]
#[case::cni_only_proxy_init(pod(&[validator()]), "via: proxy-init", "none", "close-wait-unsupported")]
#[case::cni_sysctl(pod(&[]), "via: pod-sysctl", "patch", "close-wait-unset")]
// Linkerd up to 2.19.
#[case::separate(pod(&[linkerds(&[], false)]), "", "patch", "close-wait-unset")]
#[case::separate_by_our_container(pod(&[linkerds(&[], false)]), "via: init-container", "init-container", "close-wait-unset")]
#[case::separate_does_it(pod(&[linkerds(&FLAG_3600, true)]), "via: init-container", "keep", "")]
#[case::separate_fails(pod(&[linkerds(&FLAG_3600, false)]), "", "repair", "close-wait-broken")]
#[case::separate_fails_by_our_container(pod(&[linkerds(&FLAG_3600, false)]), "via: init-container", "repair", "close-wait-broken")]
#[case::mirrored(pod(&[separate("mirror/proxy-init", &[], false)]), "", "init-container", "close-wait-unset")]
#[case::mirrored_fails(pod(&[separate("mirror/proxy-init", &FLAG_3600, false)]), "", "none", "close-wait-untrusted")]
#[case::mirrored_only_proxy_init(pod(&[separate("mirror/proxy-init", &[], false)]), "via: proxy-init", "none", "close-wait-untrusted")]
// Our container is there.
#[case::ours(pod(&[ours("3600"), combined(&[])]), "", "keep", "")]
#[case::ours_behind_linkerd_init(pod(&[combined(&[]), ours("3600")]), "", "keep", "")]
#[case::ours_with_other_seconds(pod(&[ours("60"), combined(&[])]), "", "keep", "")]
#[case::ours_with_other_seconds_on_2_19(pod(&[ours("60"), linkerds(&[], false)]), "", "keep", "")]
#[case::ours_where_linkerd_init_crash_loops(pod(&[ours("3600"), combined(&FLAG_3600)]), "", "repair", "close-wait-broken")]
#[case::ours_and_a_sysctl_is_wished(pod(&[ours("60"), combined(&[])]), "via: pod-sysctl", "keep", "")]
#[case::ours_without_privilege(pod(&[with(ours("3600"), "/securityContext", Value::Null), combined(&[])]), "", "init-container", "close-wait-unset")]
#[case::ours_too_late(pod(&[json!({"name": "migrate", "image": "web:1"}), ours("3600"), combined(&[])]), "", "init-container", "close-wait-unset")]
#[case::another_image(pod(&[with(ours("3600"), "/image", json!("evil:1")), combined(&[])]), "", "none", "close-wait-untrusted")]
#[case::another_command(pod(&[with(ours("3600"), "/command", json!(["sh"])), combined(&[])]), "", "none", "close-wait-untrusted")]
#[case::other_arguments(pod(&[with(ours("3600"), "/args", json!(["serve"])), combined(&[])]), "", "none", "close-wait-untrusted")]
#[case::a_sidecar(pod(&[with(ours("3600"), "/restartPolicy", json!("Always")), combined(&[])]), "", "none", "close-wait-untrusted")]
#[case::a_regular_container(with(pod(&[combined(&[])]), "/spec/containers/0/name", json!(INIT_CONTAINER)), "", "none", "close-wait-untrusted")]
fn the_way_follows_from_the_pod_and_the_policy(
    #[case] pod: Value,
    #[case] close_wait: &str,
    #[case] action: &str,
    #[case] rule: &str,
) {
    let policy = policy(&format!("closeWait: {{{close_wait}}}\n"), true);
    let plan = planned(&pod, &policy, false);
    assert_eq!((plan.action.as_str(), plan.rule.map_or("", RuleId::as_str)), (action, rule), "{}", plan.why);
    if plan.rule.is_some_and(RuleId::can_patch) {
        let patched = after(&pod, &policy);
        assert!(names(&patched).len() == names(&pod).len() || names(&patched)[0] == INIT_CONTAINER);
    }
}

#[rstest]
#[case::privileged_and_root(json!({"privileged": true, "runAsUser": 0}), None)]
#[case::in_another_group(json!({"privileged": true, "runAsUser": 0, "runAsGroup": 65534}), None)]
#[case::not_privileged(json!({"runAsUser": 0}), Some("privileged"))]
#[case::not_root(json!({"privileged": true}), Some("runAsUser"))]
#[case::nobody(json!({"privileged": true, "runAsUser": 65534}), Some("runAsUser"))]
#[case::must_not_be_root(json!({"privileged": true, "runAsUser": 0, "runAsNonRoot": true}), Some("runAsNonRoot"))]
#[case::refused_by_the_api_server(
    json!({"privileged": true, "runAsUser": 0, "allowPrivilegeEscalation": false}),
    Some("allowPrivilegeEscalation")
)]
fn two_fields_do_the_work(#[case] context: Value, #[case] lacks: Option<&str>) {
    for image in ["cr.l5d.io/linkerd/proxy-init:v2.4.1", "mirror/proxy-init:v2.4.1"] {
        let init = with(separate(image, &[FLAG, "600"], false), "/securityContext", context.clone());
        let before = pod(&[init]);
        let plan = planned(&before, &policy("", false), false);
        match lacks {
            None => assert_eq!((plan.action, plan.seconds), (PlanAction::Keep, Some(600)), "{}", plan.why),
            Some(_) if image.starts_with("mirror") => {
                assert_eq!(plan.rule, Some(RuleId::CloseWaitUntrusted), "{}", plan.why);
            }
            Some(field) => {
                let why = format!(
                    "linkerd-init should set 600s, but its securityContext has wrong values for {field}"
                );
                assert_eq!((plan.action, plan.seconds, plan.why), (PlanAction::Repair, Some(600), why));
                after(&before, &policy("", false));
            }
        }
    }
}

#[rstest]
#[case::by_the_container(json!({"privileged": true}), json!({"runAsUser": 0}), true)]
#[case::the_container_wins(json!({"privileged": true, "runAsUser": 65534}), json!({"runAsUser": 0}), false)]
#[case::not_root(json!({"privileged": true, "runAsUser": 0}), json!({"runAsNonRoot": true}), false)]
fn the_security_context_of_the_pod_is_inherited(
    #[case] own: Value,
    #[case] of_pod: Value,
    #[case] works: bool,
) {
    let before = pod(&[with(linkerds(&FLAG_3600, true), "/securityContext", own)]);
    let plan = planned(&with(before, "/spec/securityContext", of_pod), &policy("", false), false);
    assert_eq!(plan.action == PlanAction::Keep, works, "{}", plan.why);
}

#[rstest]
#[case::combined(combined(&[FLAG, "600"]), "", Some("600"))]
#[case::combined_the_last_wins(combined(&[FLAG, "x", FLAG, "600"]), "", Some("600"))]
#[case::combined_out_of_range(combined(&[FLAG, "600", FLAG, "-1"]), "", Some("3600"))]
#[case::sysctl(combined(&[FLAG, "600"]), "via: pod-sysctl", None)]
#[case::our_container_instead(linkerds(&[FLAG, "600"], false), "via: init-container", Some("600"))]
fn the_seconds_that_somebody_chose_stay(
    #[case] init: Value,
    #[case] close_wait: &str,
    #[case] expected: Option<&str>,
) {
    let policy = policy(&format!("closeWait: {{{close_wait}}}\n"), true);
    let after = after(&pod(&[init]), &policy);
    match expected {
        Some(seconds) => {
            assert_eq!(after["spec"]["initContainers"][0]["args"], json!(["set-close-wait", seconds]));
        }
        None => assert_eq!(after["spec"]["securityContext"]["sysctls"][0]["value"], "600"),
    }
}

#[rstest]
#[case::mirrored(
    separate("mirror/proxy-init", &[], false),
    "",
    "linkerd-init is not made privileged: its image mirror/proxy-init is not in closeWait.images of the policy; \
     requested by the policy (closeWait.timeout: 1h)"
)]
#[case::asked_for(
    linkerds(&[], false),
    "via: init-container",
    "closeWait.via is init-container; requested by the policy (closeWait.timeout: 1h)"
)]
fn why_our_container_comes(#[case] init: Value, #[case] close_wait: &str, #[case] why: &str) {
    let policy = policy(&format!("closeWait: {{{close_wait}}}\n"), true);
    let plan = planned(&pod(&[init]), &policy, false);
    assert_eq!((plan.action, &*plan.why), (PlanAction::InitContainer, why));
}

#[test]
fn without_an_image_the_plan_tells_the_seconds_that_stay() {
    let plan = planned(&pod(&[combined(&[FLAG, "600"])]), &policy("", false), false);
    assert_eq!((plan.action, plan.seconds), (PlanAction::InitContainer, Some(600)));
}

#[rstest]
#[case::combined(pod(&[combined(&[])]), "", "close-wait-unsupported")]
#[case::combined_crash_loops(pod(&[combined(&FLAG_3600)]), "", "close-wait-unsupported")]
#[case::cni_allowed(pod(&[validator()]), "cni: true", "close-wait-unsupported")]
#[case::cni(pod(&[validator()]), "", "")]
#[case::mirrored(pod(&[separate("mirror/proxy-init", &[], false)]), "", "close-wait-untrusted")]
#[case::our_container_wished(pod(&[linkerds(&[], false)]), "via: init-container", "close-wait-unsupported")]
fn without_an_image_there_is_only_a_warning(
    #[case] pod: Value,
    #[case] close_wait: &str,
    #[case] rule: &str,
) {
    let policy = policy(&format!("closeWait: {{{close_wait}}}\n"), false);
    let plan = planned(&pod, &policy, false);
    // The plan still says what it would take.
    let action = if rule == "close-wait-unsupported" { PlanAction::InitContainer } else { PlanAction::None };
    assert_eq!((plan.action, plan.rule.map_or("", RuleId::as_str)), (action, rule), "{}", plan.why);
    assert!(plan.edits.is_empty());
}

#[rstest]
#[case::combined(pod(&[combined(&[])]), "", "close-wait-unsupported")]
#[case::separate(pod(&[linkerds(&[], false)]), "", "close-wait-unsupported")]
#[case::sysctl(pod(&[combined(&[])]), "via: pod-sysctl", "close-wait-unsupported")]
#[case::cni_allowed(pod(&[validator()]), "cni: true", "close-wait-unsupported")]
#[case::cni(pod(&[validator()]), "", "")]
#[case::what_is_there_stays(pod(&[ours("3600"), combined(&[])]), "", "")]
fn no_privileges_are_added_in_unprivileged_namespaces(
    #[case] pod: Value,
    #[case] close_wait: &str,
    #[case] rule: &str,
) {
    let plan = planned(&pod, &policy(&format!("closeWait: {{{close_wait}}}\n"), true), true);
    assert_eq!(plan.rule.map_or("", RuleId::as_str), rule, "{}", plan.why);
    assert!(plan.edits.is_empty());
}

#[test]
fn our_container_is_root_and_nothing_else() {
    let resources =
        json!({"limits": {"cpu": "1", "memory": "20Mi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "10m"}});
    let before = pod(&[with(combined(&FLAG_3600), "/resources", resources)]);
    let after = after(&before, &policy("", true));
    let expected = json!({
        "name": "linger-close-wait",
        "image": IMAGE,
        "args": ["set-close-wait", "3600"],
        "securityContext": {"privileged": true, "readOnlyRootFilesystem": true, "runAsNonRoot": false, "runAsUser": 0},
        "resources": {"limits": {"cpu": "1", "memory": "20Mi"}, "requests": {"cpu": "10m"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    assert_eq!(after["spec"]["initContainers"][0], expected);
    assert_eq!(after["spec"]["initContainers"][1]["args"], json!(["--proxy-uid", "2102"]));
    assert_eq!(names(&after), ["linger-close-wait", "linkerd-init", "linkerd-proxy"]);
}

#[rstest]
#[case::twice(&[FLAG, "60", "--ipv6=false", "--timeout-close-wait-secs=7"], &["--ipv6=false"])]
#[case::without_a_value(&["--ipv6=false", FLAG], &["--ipv6=false"])]
#[case::its_own_value(&[FLAG, FLAG, "5"], &["5"])]
#[case::as_the_value_of_another(&["--log-level", FLAG, FLAG, "5"], &["--log-level", FLAG])]
fn the_flag_is_taken_out_wherever_it_is(#[case] flags: &[&str], #[case] left: &[&str]) {
    let after = after(&pod(&[combined(flags)]), &policy("", true));
    assert_eq!(after["spec"]["initContainers"][1]["args"], json!([&["--proxy-uid", "2102"], left].concat()));
}

#[rstest]
#[case::none(Value::Null, None)]
#[case::empty(json!({"runAsUser": 1}), None)]
#[case::no_list(json!({"sysctls": null}), None)]
#[case::others(json!({"sysctls": [{"name": "net.core.somaxconn", "value": "9"}]}), None)]
#[case::of_no_use(json!({"sysctls": [{"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "0"}]}), None)]
#[case::there(json!({"sysctls": [{"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "90"}]}), Some(90))]
#[case::with_slashes(json!({"sysctls": [{"name": "net/netfilter/nf_conntrack_tcp_timeout_close_wait", "value": "90"}]}), Some(90))]
fn a_sysctl_of_the_pod_is_added_to_the_others(#[case] context: Value, #[case] there: Option<u32>) {
    let before = with(pod(&[combined(&[])]), "/spec/securityContext", context.clone());
    let policy = policy("closeWait: {via: pod-sysctl}", false);
    let plan = planned(&before, &policy, false);
    if let Some(seconds) = there {
        assert_eq!((plan.action, plan.seconds), (PlanAction::Keep, Some(seconds)));
        return;
    }
    let after = after(&before, &policy);
    let sysctls = after["spec"]["securityContext"]["sysctls"].as_array().unwrap();
    let ours = json!({"name": "net.netfilter.nf_conntrack_tcp_timeout_close_wait", "value": "3600"});
    assert_eq!(sysctls.iter().filter(|sysctl| **sysctl == ours).count(), 1);
    let others = |context: &Value| {
        let list = context["sysctls"].as_array().cloned().unwrap_or_default();
        list.into_iter().filter(|sysctl| sysctl["name"] != ours["name"]).collect::<Vec<_>>()
    };
    assert_eq!(others(&after["spec"]["securityContext"]), others(&context));
    assert_eq!(after["spec"]["securityContext"].get("runAsUser"), context.get("runAsUser"));
}

#[test]
fn a_pod_without_init_containers_gets_the_list() {
    for list in [Value::Null, json!([])] {
        let mut before = pod(&[]);
        before["spec"]["initContainers"] = list;
        before["spec"]["containers"][0]["name"] = "linkerd-proxy".into();
        let after = after(&before, &policy("closeWait: {cni: true}", true));
        assert_eq!(names(&after), ["linger-close-wait"]);
    }
}

#[test]
fn a_changed_init_container_is_replaced_as_a_whole() {
    let powerless = with(ours("60"), "/securityContext", Value::Null);
    let extended = with(powerless, "/env", json!([{"name": "LD_PRELOAD", "value": "/evil.so"}]));
    let after = after(&pod(&[extended, combined(&[])]), &policy("", true));
    assert_eq!(after["spec"]["initContainers"][0].get("env"), None);
    assert_eq!(names(&after).len(), 3);
}

#[test]
fn a_late_init_container_is_moved_to_the_front() {
    let before = pod(&[json!({"name": "migrate", "image": "web:1"}), combined(&FLAG_3600), ours("3600")]);
    let after = after(&before, &policy("", true));
    assert_eq!(names(&after), ["linger-close-wait", "migrate", "linkerd-init", "linkerd-proxy"]);
    assert_eq!(after["spec"]["initContainers"][2]["args"], json!(["--proxy-uid", "2102"]));
}
