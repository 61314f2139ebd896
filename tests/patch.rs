//! For generated pods: every patch applies, removes its finding, and is made once.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use linkerd_linger::{
    apiserver,
    finding::RuleId,
    linkerd::{Injection, proxy_init::ProxyInit},
    patch,
    policy::Policy,
    rules::{self, Inspected},
    surroundings::Surroundings,
    survey,
    workload::Object,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Arguments as injectors and people write them, in any order and number.
fn arguments() -> impl Strategy<Value = Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let flag = "--timeout-close-wait-secs";
    let groups = vec![
        words(&["--ipv6=false"]),
        words(&["--incoming-proxy-port", "4143"]),
        words(&["--proxy-uid=2102"]),
        words(&["--firewall-bin-path", "iptables-nft"]),
        words(&["--firewall-bin-path", "/evil"]),
        words(&["--inbound-ports-to-ignore", "4190,4191"]),
        words(&[flag, "3600"]),
        words(&[flag, "0x10"]),
        words(&[flag, "0"]),
        words(&[flag, "60s"]),
        words(&[flag, "-1"]),
        words(&["--timeout-close-wait-secs=120"]),
        words(&["--timeout-close-wait-secs="]),
        words(&["--timeout-close-wait-secs=99999999999"]),
        words(&[flag]),
        words(&["--netns"]),
        words(&["--"]),
    ];
    vec(select(groups), 0..6).prop_map(|groups| groups.concat())
}

fn security_context() -> impl Strategy<Value = Value> {
    let flag = || option::of(option::of(any::<bool>()));
    let id = || option::of(option::of(select(vec![0_i64, 65_534])));
    let fields = (flag(), flag(), flag(), id(), id());
    option::of(fields).prop_map(|fields| {
        let Some((privileged, escalation, non_root, user, group)) = fields else { return Value::Null };
        let mut context = Map::new();
        let mut add = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                context.insert(key.to_owned(), value);
            }
        };
        add("privileged", privileged.map(|value| json!(value)));
        add("allowPrivilegeEscalation", escalation.map(|value| json!(value)));
        add("runAsNonRoot", non_root.map(|value| json!(value)));
        add("runAsUser", user.map(|value| json!(value)));
        add("runAsGroup", group.map(|value| json!(value)));
        add("futureField", Some(json!({"a/b~c": [1]})));
        Value::Object(context)
    })
}

fn pods() -> impl Strategy<Value = Value> {
    let image =
        select(vec!["cr.l5d.io/linkerd/proxy-init:v2.4.1", "ghcr.io/linkerd/proxy-init@sha256:00", "evil:1"]);
    let command = option::weighted(0.1, select(vec!["/usr/lib/linkerd/linkerd2-proxy-init", "/bin/sh"]));
    (arguments(), security_context(), image, command, 0..3_usize, any::<bool>(), any::<bool>()).prop_map(
        |(args, context, image, command, before, native, null)| {
            let mut init = json!({"name": "linkerd-init", "image": image, "securityContext": context});
            if !args.is_empty() || null {
                init["args"] = if args.is_empty() { Value::Null } else { json!(args) };
            }
            if let Some(command) = command {
                init["command"] = json!([command]);
            }
            let mut inits: Vec<Value> = (0..before)
                .map(|index| json!({"name": format!("init-{index}"), "image": "busybox"}))
                .collect();
            inits.push(init);
            let proxy = json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-24.11.8"});
            let mut containers = vec![json!({"name": "web", "image": "nginx"})];
            if native {
                let mut sidecar = proxy;
                sidecar["restartPolicy"] = "Always".into();
                inits.push(sidecar);
            } else {
                containers.insert(0, proxy);
            }
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
                   "spec": {"initContainers": inits, "containers": containers}})
        },
    )
}

fn inspect(pod: &Value, policy: &Policy) -> Inspected {
    let json = pod.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let around = Surroundings::default();
    let survey = survey::of(&object.pod, "shop", &policy.catalog, &around, Injection::AsAnnotated);
    rules::inspect(&survey, policy)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_patch_applies_removes_its_finding_and_is_made_once(pod in pods()) {
        let policy = Policy::default();
        let found = inspect(&pod, &policy);
        let edits: Vec<_> = found.findings.iter().flat_map(|finding| finding.edits.clone()).collect();
        if edits.is_empty() {
            return Ok(());
        }
        let json = pod.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let patch = patch::render(&object.pod, &edits).unwrap();
        let patched = apiserver::patched(&pod, &patch).unwrap();

        let again = inspect(&patched, &policy);
        let about_close_wait = |rule: RuleId| rule.as_str().starts_with("close-wait-");
        prop_assert!(!again.findings.iter().any(|finding| about_close_wait(finding.rule)), "{:?}", again.findings);
        let json = patched.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let init = ProxyInit::find(&object.pod).unwrap();
        prop_assert_eq!(init.will_set().ok().flatten(), again.plan.seconds);
        prop_assert!(init.missing_privileges().is_empty());

        // Nothing but the arguments and the privileges of linkerd-init has changed.
        let mut undone = patched.clone();
        let index = init.container.index;
        for field in ["args", "securityContext"] {
            let before = pod["spec"]["initContainers"][index].get(field).cloned();
            let container = undone["spec"]["initContainers"][index].as_object_mut().unwrap();
            match before {
                Some(before) => container.insert(field.to_owned(), before),
                None => container.remove(field),
            };
        }
        prop_assert_eq!(undone, pod);
    }

    #[test]
    fn nobody_else_is_made_privileged(pod in pods()) {
        let found = inspect(&pod, &Policy::default());
        let patches = found.findings.iter().any(|finding| !finding.edits.is_empty());
        let json = pod.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let init = ProxyInit::find(&object.pod).unwrap();
        let evil = init.container.args.iter().any(|arg| &**arg == "/evil")
            || init.container.image.starts_with("evil")
            || !init.container.command.is_empty();
        prop_assert!(!(evil && patches));
    }
}
