use jiff::civil::date;
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    report::{Admission, PodCounts},
    *,
};
use crate::{
    cluster::check::{ReadError, Snapshot},
    judgement::finding::RuleId,
};

const TODAY: Date = date(2026, 11, 30);

/// A cluster with the namespace shop, where Linkerd injects, and without an installation.
fn snapshot() -> Snapshot {
    let shop = json!({"metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}});
    let unread = || ReadError::Forbidden { what: "read".to_owned() };
    Snapshot {
        mutating: Ok(Vec::new()),
        validating: Ok(Vec::new()),
        namespaces: Ok(vec![serde_json::from_value(shop).unwrap()]),
        server: Ok(None),
        certificate: Err(unread()),
        policy: Ok(None),
        injector: Err(unread()),
        resources: Ok(std::collections::BTreeMap::new()),
        policies: Err(unread()),
        reports: Err(unread()),
    }
}

fn template(flags: &[&str], period: u64) -> Value {
    let command: Vec<_> = ["uvicorn", "app:app"].iter().chain(flags).collect();
    json!({
        "metadata": {"labels": {"app": "cart"}},
        "spec": {"containers": [{
            "name": "cart", "image": "cart:1", "command": command, "ports": [{"containerPort": 8000}],
            "livenessProbe": {"httpGet": {"port": 8000}, "periodSeconds": period},
        }]},
    })
}

pub(super) fn deployment(flags: &[&str], period: u64) -> Value {
    json!({"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"template": template(flags, period)}})
}

/// A pod of the deployment `cart`, as Linkerd 2.14 injects it; `seconds` is the flag of linkerd-init.
pub(super) fn pod(name: &str, flags: &[&str], seconds: Option<u32>) -> Value {
    let mut pod = template(flags, 10);
    pod["metadata"] = json!({
        "name": name, "namespace": "shop",
        "labels": {"pod-template-hash": "7c9f8b6d5", "linkerd.io/control-plane-ns": "linkerd"},
        "annotations": {"linkerd.io/inject": "enabled", "linkerd.io/proxy-version": "stable-2.14.10"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7c9f8b6d5", "controller": true}],
    });
    let mut args = vec!["--incoming-proxy-port".to_owned(), "4143".to_owned()];
    let mut context = json!({"privileged": false, "runAsUser": 65534, "runAsNonRoot": true});
    if let Some(seconds) = seconds {
        args.extend(["--timeout-close-wait-secs".to_owned(), seconds.to_string()]);
        context = json!({"privileged": true, "runAsUser": 0, "runAsNonRoot": false});
    }
    pod["spec"]["initContainers"] = json!([{
        "name": "linkerd-init", "image": "cr.l5d.io/linkerd/proxy-init:v2.2.3", "args": args, "securityContext": context,
    }]);
    let proxy = json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:stable-2.14.10"});
    pod["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    pod
}

fn audit(objects: &[(Kind, Value)], mode: Option<Mode>) -> AuditReport {
    audit_with(objects, mode, Policy::default())
}

pub(super) fn audit_with(objects: &[(Kind, Value)], mode: Option<Mode>, policy: Policy) -> AuditReport {
    let mut audit = Audit::new(&snapshot(), policy, mode, TODAY);
    for (kind, object) in objects {
        match kind {
            Kind::Custom => {
                let text = |field| object[field].as_str().unwrap();
                let meta = super::custom::type_meta(text("apiVersion"), text("kind"));
                audit.add_custom(&meta, &object.to_string());
            }
            kind => audit.add(*kind, &object.to_string()),
        }
    }
    audit.finish()
}

#[rstest]
#[case::rejected(&["--timeout-keep-alive", "10"], ["rejected", "may be patched, warned", "recorded"])]
#[case::patched(&["--timeout-keep-alive", "75"], ["may be patched", "may be patched", "recorded"])]
fn a_workload_is_judged_for_each_mode(#[case] flags: &[&str], #[case] outcomes: [&str; 3]) {
    let report = audit(&[(Kind::Deployment, deployment(flags, 10))], None);
    let [owner] = report.owners.as_slice() else { panic!("{report:?}") };
    let Admission { enforce, warn, audit } = owner.admission;
    // Without --init-image, only linkerd-init of lines before 2.20 can be patched.
    assert_eq!([enforce, warn, audit], outcomes);
    assert_eq!(owner.mode, None);
}

#[test]
fn pods_count_for_their_deployment() {
    let flags = &["--timeout-keep-alive", "75"][..];
    let objects = [
        (Kind::Deployment, deployment(flags, 10)),
        (Kind::Pod, pod("cart-1", flags, Some(3600))),
        (Kind::Pod, pod("cart-2", flags, None)),
        (Kind::Pod, pod("cart-3", flags, None)),
    ];
    let report = audit(&objects, Some(Mode::Enforce));
    let [owner] = report.owners.as_slice() else { panic!("{report:?}") };
    let expected = PodCounts {
        running: 3,
        meshed: 3,
        without_timeout: 2,
        patched_if_recreated: 2,
        rejected_if_recreated: 0,
        crash_looping: 0,
    };
    assert_eq!(owner.pods, expected);
    let text = text(&report, &crate::lint::report::text::Styles::plain());
    assert!(text.contains("\n  kubectl rollout restart -n shop deployment/cart  # 2 pods\n"), "{text}");
}

#[rstest]
#[case::enforce(Mode::Enforce, true)]
#[case::warn(Mode::Warn, false)]
#[case::audit(Mode::Audit, false)]
fn a_drain_breaks_pods_that_are_rejected_now(#[case] mode: Mode, #[case] breaks: bool) {
    let flags = &["--timeout-keep-alive", "10"][..];
    let report = audit(&[(Kind::Pod, pod("cart-1", flags, Some(3600)))], Some(mode));
    let [owner] = report.owners.as_slice() else { panic!("{report:?}") };
    assert_eq!((owner.breaks_when_drained(), owner.pods.rejected_if_recreated), (breaks, 1));
    assert_eq!(owner.reference(), "deployment/cart");
    let text = text(&report, &crate::lint::report::text::Styles::plain());
    assert_eq!(text.contains("a drain of their nodes would break them"), breaks, "{text}");
}

#[test]
fn owned_workloads_and_ended_jobs_are_left_out() {
    let owned = |kind: &str, owner: &str| {
        let mut object = deployment(&[], 10);
        object["metadata"]["name"] = format!("{owner}-123").into();
        let group = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": group, "kind": kind, "name": owner, "controller": true}]);
        object
    };
    let mut ended = deployment(&[], 10);
    ended["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let mut of_job = pod("report-123-x", &[], Some(3600));
    of_job["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "report-123", "controller": true}]);
    let objects = [
        (Kind::ReplicaSet, owned("Deployment", "cart")),
        (Kind::Job, owned("CronJob", "report")),
        (Kind::Job, ended),
        (Kind::Pod, of_job),
    ];
    let report = audit(&objects, None);
    let references: Vec<_> = report.owners.iter().map(OwnerReport::reference).collect();
    assert_eq!(references, ["cronjob/report"]);
}

#[test]
fn pods_of_a_custom_resource_count_for_it() {
    let mut replica_set = deployment(&[], 10);
    replica_set["metadata"]["name"] = "cart-7c9f8b6d5".into();
    replica_set["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "cart", "controller": true,
    }]);
    let objects = [(Kind::ReplicaSet, replica_set), (Kind::Pod, pod("cart-1", &[], Some(3600)))];
    let report = audit(&objects, None);
    let references: Vec<_> = report.owners.iter().map(OwnerReport::reference).collect();
    assert_eq!(references, ["rollout/cart"]);
}

/// An object that a custom resource of example.com owns.
fn owned(mut object: Value, name: &str, kind: &str, owner: &str) -> Value {
    object["metadata"]["name"] = name.into();
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "example.com/v1", "kind": kind, "name": owner, "controller": true}]);
    object
}

/// A custom resource of example.com with this `spec`.
fn custom(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": spec,
    })
}

#[rstest]
#[case::same_finding("10", 10, 1)]
#[case::another_finding("20", 20, 2)]
fn a_custom_resource_its_workloads_and_their_pods_are_one_owner(
    #[case] timeout: &str,
    #[case] period: u64,
    #[case] expected: usize,
) {
    let flags = &["--timeout-keep-alive", "10"][..];
    let changed = deployment(&["--timeout-keep-alive", timeout], period);
    let replica_set =
        |name| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "controller": true}]);
    let mut pod = pod("site-1-7c9f8b6d5-a", flags, Some(3600));
    pod["metadata"]["ownerReferences"] = replica_set("site-1-7c9f8b6d5");
    let objects = [
        (Kind::Deployment, owned(changed, "site-1", "Revision", "site-1")),
        (Kind::Pod, pod),
        (Kind::Custom, owned(custom("Revision", "site-1", &json!({})), "site-1", "Site", "site")),
        (Kind::Custom, custom("Site", "site", &json!({"template": template(flags, 10)}))),
    ];
    let report = audit(&objects, None);
    let [site] = report.owners.as_slice() else { panic!("{report:?}") };
    assert_eq!((site.reference(), site.pods.running), ("site/site".to_owned(), 1));
    let races = site.findings().filter(|finding| finding.rule == RuleId::ProbeMatchesIdleTimeout);
    let messages: Vec<_> = races.map(|finding| &finding.message).collect();
    assert_eq!(messages.len(), expected, "{messages:?}");
    assert_eq!(site.reference.as_ref().unwrap().api_version, "example.com/v1");
}

#[test]
fn a_workload_of_a_custom_resource_without_a_template_stays_one() {
    let flags = &["--timeout-keep-alive", "75"][..];
    let mut pod = pod("db-0", flags, Some(3600));
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]);
    let objects = [
        (Kind::StatefulSet, owned(deployment(flags, 10), "db", "Database", "db")),
        (Kind::Pod, pod),
        (Kind::Custom, custom("Database", "db", &json!({"replicas": 1}))),
    ];
    let report = audit(&objects, None);
    let [owner] = report.owners.as_slice() else { panic!("{report:?}") };
    assert_eq!((owner.reference(), owner.pods.running), ("statefulset/db".to_owned(), 1));
}

#[test]
fn the_templates_of_a_custom_resource_are_one_owner() {
    let [good, bad] = ["75", "10"].map(|seconds| template(&["--timeout-keep-alive", seconds], 10));
    let spec = json!({"head": {"template": good}, "workers": [{"name": "small", "template": bad}]});
    let pod = owned(pod("ray-head", &[], Some(3600)), "ray-head", "Cluster", "ray");
    let report = audit(&[(Kind::Pod, pod), (Kind::Custom, custom("Cluster", "ray", &spec))], None);
    let [owner] = report.owners.as_slice() else { panic!("{report:?}") };
    let paths: Vec<_> = owner.objects().map(|object| object.template.as_deref().unwrap()).collect();
    assert_eq!(paths, ["spec.head.template", "spec.workers[small].template"]);
    assert_eq!((owner.reference(), owner.pods.running), ("cluster/ray".to_owned(), 1));
    // The controller may change the pods, so the webhook only warns.
    assert_eq!(owner.admission.enforce, "may be patched, warned");
}

#[rstest]
#[case::tekton(json!({"completionTime": "2026-11-30T12:00:00Z"}), true)]
#[case::argo(json!({"finishedAt": "2026-11-30T12:00:00Z"}), true)]
#[case::argo_running(json!({"finishedAt": null, "phase": "Running"}), false)]
#[case::job_set(json!({"terminalState": "Failed"}), true)]
#[case::other_types(json!({"finishedAt": 3}), false)]
#[case::none(json!(null), false)]
fn custom_resources_that_have_ended_are_left_out(#[case] status: Value, #[case] is_over: bool) {
    let mut run = custom("Run", "run", &json!({"template": template(&[], 10)}));
    run["status"] = status;
    assert_eq!(audit(&[(Kind::Custom, run)], None).owners.is_empty(), is_over);
}

#[test]
fn custom_resources_that_own_each_other_are_kept() {
    let spec = json!({"template": template(&[], 10)});
    let objects = [("a", "b"), ("b", "a")]
        .map(|(name, owner)| (Kind::Custom, owned(custom("Node", name, &spec), name, "Node", owner)));
    assert_eq!(audit(&objects, None).owners.len(), 1);
}

#[test]
fn exemptions_that_do_nothing_are_listed() {
    let policy = Policy::parse(
        "
exemptions:
- {owner: cart, rules: [probe-matches-idle-timeout], reason: known, until: 2027-01-31}
- {owner: gone, rules: [probe-matches-idle-timeout], reason: SHOP-1, until: 2027-01-31}
- {owner: cart, rules: [probe-matches-idle-timeout], reason: SHOP-2, until: 2026-01-31}
",
    )
    .unwrap();
    let flags = &["--timeout-keep-alive", "10"][..];
    let report = audit_with(&[(Kind::Deployment, deployment(flags, 10))], None, policy);
    let found: Vec<_> = report.exemptions.iter().map(|it| (&*it.reason, it.state)).collect();
    assert_eq!(found, [("SHOP-1", ExemptionState::Unused), ("SHOP-2", ExemptionState::Expired)]);
}

#[test]
fn an_object_that_cannot_be_read_is_told_and_the_rest_goes_on() {
    let broken = json!({"metadata": {"name": "x"}, "spec": {"containers": "none"}});
    let flags = &["--timeout-keep-alive", "75"][..];
    let report = audit(&[(Kind::Pod, broken), (Kind::Deployment, deployment(flags, 10))], None);
    assert_eq!((report.errors.len(), report.owners.len()), (1, 1));
    assert!(report.errors[0].message.starts_with("cannot read a Pod: "), "{:?}", report.errors);
}

#[test]
fn unknown_timeouts_come_with_the_command_that_measures_them() {
    let mut unknown = deployment(&[], 10);
    unknown["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/app/server"]);
    let report = audit(&[(Kind::Deployment, unknown)], None);
    let text = text(&report, &crate::lint::report::text::Styles::plain());
    assert!(text.contains("\n  linkerd linger measure -n shop deployment/cart  # cart\n"), "{text}");
}
