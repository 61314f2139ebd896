//! Property tests with generated pods: every patch applies, fixes its finding, and is empty when it is computed again.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/oracles.rs"]
mod oracles;

use linkerd_linger::{
    base::names::INIT_CONTAINER,
    cluster::apiserver,
    judgement::{
        close_wait::{self, CurrentState, PlanAction},
        finding::RuleId,
        patch,
        policy::{Policy, Via},
        rules::{self, Inspection},
        survey,
    },
    linkerd::Injection,
    workload::{context::Context, object::Object},
};
use oracles::IMAGE;
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
        // The API server refuses a pod that has one and refuses the other.
        let escalation = escalation.filter(|value| privileged != Some(Some(true)) || *value != Some(false));
        add("allowPrivilegeEscalation", escalation.map(|value| json!(value)));
        add("runAsNonRoot", non_root.map(|value| json!(value)));
        add("runAsUser", user.map(|value| json!(value)));
        add("runAsGroup", group.map(|value| json!(value)));
        add("futureField", Some(json!({"a/b~c": [1]})));
        Value::Object(context)
    })
}

fn linkerd_init() -> impl Strategy<Value = Value> {
    let image =
        select(vec!["cr.l5d.io/linkerd/proxy-init:v2.4.1", "ghcr.io/linkerd/proxy-init@sha256:00", "evil:1"]);
    let combined = "/usr/lib/linkerd/linkerd2-proxy-init";
    let command = option::weighted(0.4, select(vec![combined, combined, combined, "/bin/sh"]));
    (arguments(), security_context(), image, command, any::<bool>(), option::of(resources())).prop_map(
        |(args, context, image, command, null, resources)| {
            let mut init = json!({"name": "linkerd-init", "image": image, "securityContext": context});
            if !args.is_empty() || null {
                init["args"] = if args.is_empty() { Value::Null } else { json!(args) };
            }
            if let Some(command) = command {
                init["command"] = json!([command]);
            }
            if let Some(resources) = resources {
                init["resources"] = resources;
            }
            init
        },
    )
}

fn resources() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"limits": null, "requests": {"cpu": "10m", "nvidia.com/gpu": "1"}}),
        json!({"limits": {"cpu": 1, "memory": "20Mi"}, "requests": {"cpu": "100m", "memory": "20Mi"}}),
    ])
}

/// A container with the name of ours: as we write it, or as somebody else would.
fn named_as_ours() -> impl Strategy<Value = Value> {
    let root = json!({"privileged": true, "runAsUser": 0, "runAsNonRoot": false});
    let image = select(vec![IMAGE, "registry.example.com/linkerd-linger@sha256:00", "evil:1"]);
    let seconds = select(vec!["3600", "60", "0", "60s"]);
    let context = select(vec![root, Value::Null, json!({"privileged": false})]);
    let more = option::weighted(
        0.3,
        select(vec![
            ("command", json!(["/evil"])),
            ("args", json!(["serve"])),
            ("restartPolicy", json!("Always")),
            ("env", json!([{"name": "LD_PRELOAD", "value": "/evil"}])),
        ]),
    );
    (image, seconds, context, more).prop_map(|(image, seconds, context, more)| {
        let mut container = json!({"name": INIT_CONTAINER, "image": image, "securityContext": context,
                                   "args": ["set-close-wait", seconds]});
        if let Some((field, value)) = more {
            container[field] = value;
        }
        container
    })
}

fn pod_security_context() -> impl Strategy<Value = Option<Value>> {
    let sysctl = |name: &str, value: &str| json!({"name": name, "value": value});
    let ours = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";
    let sysctls = vec![sysctl("net.core.somaxconn", "9"), sysctl(ours, "90"), sysctl(ours, "x")];
    let lists = vec(select(sysctls), 0..3).prop_map(|list| json!({"runAsNonRoot": true, "sysctls": list}));
    option::of(prop_oneof![Just(Value::Null), Just(json!({"runAsNonRoot": true})), lists])
}

prop_compose! {
    fn pods()(
        init in option::weighted(0.8, linkerd_init()),
        ours in option::weighted(0.3, (named_as_ours(), 0..4_usize, any::<bool>())),
        before in 0..3_usize,
        native in any::<bool>(),
        null in any::<bool>(),
        context in pod_security_context(),
    ) -> Value {
        let mut inits: Vec<Value> =
            (0..before).map(|index| json!({"name": format!("init-{index}"), "image": "busybox"})).collect();
        inits.extend(init);
        let proxy = json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-24.11.8"});
        let mut containers = vec![json!({"name": "web", "image": "nginx"})];
        if native {
            let mut sidecar = proxy;
            sidecar["restartPolicy"] = "Always".into();
            inits.push(sidecar);
        } else {
            containers.insert(0, proxy);
        }
        match ours {
            Some((ours, _, true)) => containers.push(ours),
            Some((ours, index, false)) => inits.insert(index.min(inits.len()), ours),
            None => {}
        }
        let mut spec = json!({"containers": containers});
        if !inits.is_empty() || null {
            spec["initContainers"] = if inits.is_empty() { Value::Null } else { json!(inits) };
        }
        if let Some(context) = context {
            spec["securityContext"] = context;
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
    }
}

/// What a policy says of the timeout: `via`, `cni`, and whether there is an image.
fn wishes() -> impl Strategy<Value = (Via, bool, bool)> {
    (select(Via::ALL.to_vec()), any::<bool>(), any::<bool>())
}

fn policy((via, cni, image): (Via, bool, bool)) -> Policy {
    let mut policy = Policy::default();
    policy.close_wait.via = via;
    policy.close_wait.cni = cni;
    policy.close_wait.init_image = image.then(|| IMAGE.to_owned());
    policy
}

fn inspect(pod: &Value, policy: &Policy) -> Inspection {
    let json = pod.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let context = Context::default();
    let survey = survey::of(&object.pod, "shop", &policy.catalog, &context, Injection::AsAnnotated);
    rules::inspect(&survey, policy)
}

/// The pod after the patch, if there is one.
fn patched(pod: &Value, policy: &Policy) -> Option<(Inspection, Value)> {
    let found = inspect(pod, policy);
    let edits: Vec<_> = found.findings.iter().flat_map(|finding| &*finding.edits).collect();
    if edits.is_empty() {
        return None;
    }
    let json = pod.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    patch::check(&object.pod, &edits).unwrap();
    let patch = serde_json::from_value(serde_json::to_value(&edits).unwrap()).unwrap();
    let patched = apiserver::patched(pod, &patch).unwrap();
    Some((found, patched))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_patch_applies_removes_its_finding_and_is_made_once(pod in pods(), wish in wishes()) {
        let policy = policy(wish);
        let Some((found, patched)) = patched(&pod, &policy) else { return Ok(()) };
        let again = inspect(&patched, &policy);
        let about_close_wait = |rule: RuleId| rule.as_str().starts_with("close-wait-");
        prop_assert!(!again.findings.iter().any(|finding| about_close_wait(finding.rule)), "{:?}", again.findings);
        prop_assert_eq!((again.plan.action, again.plan.seconds), (PlanAction::Keep, found.plan.seconds));
        prop_assert_eq!(oracles::untouched(&patched), oracles::untouched(&pod));

        let json = patched.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let now = close_wait::current(&object.pod, policy.close_wait.init_image.as_deref());
        prop_assert!(matches!(now, CurrentState::Sets(..)), "{:?}", now);
    }

    #[test]
    fn no_other_container_becomes_privileged(pod in pods(), wish in wishes()) {
        let policy = policy(wish);
        let Some((found, patched)) = patched(&pod, &policy) else { return Ok(()) };
        oracles::only_linkerd_linger_is_privileged(&pod, &patched, &policy);
        if let Some(after) = oracles::init_container(&patched, INIT_CONTAINER)
            && Some(after) != oracles::init_container(&pod, INIT_CONTAINER)
        {
            let seconds = found.plan.seconds.unwrap().to_string();
            prop_assert_eq!(&after["args"], &json!(["set-close-wait", seconds]));
        }
    }

    #[test]
    fn our_container_comes_before_all_that_could_open_connections(pod in pods(), wish in wishes()) {
        let policy = policy(wish);
        let Some((found, patched)) = patched(&pod, &policy) else { return Ok(()) };
        if found.plan.method == Ok(close_wait::Method::InitContainer) {
            let inits = patched["spec"]["initContainers"].as_array().unwrap();
            let place = inits.iter().position(|init| init["name"] == INIT_CONTAINER).unwrap();
            prop_assert!(inits[..place].iter().all(|init| init["name"] == "linkerd-init"), "{:?}", inits);
        }
    }
}
