//! Tests `check` with clusters that have one problem each.

mod certificate;
mod data_plane;
mod dry_run;
mod output;
mod pre;
mod reports;
mod without_server;

use jiff::{Timestamp, civil::Date};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{base::names, review::Mode};

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn today() -> Date {
    jiff::civil::date(2026, 6, 1)
}

/// An authority, and a certificate of it for `name` from and to these months of 2026; both in PEM.
fn certificates(name: &str, from: u8, to: u8) -> (String, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.not_before = date_time_ymd(2026, from, 1);
    leaf.not_after = date_time_ymd(2026, to, 1);
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
    (authority.pem(), leaf.pem())
}

const SERVER_NAME: &str = "linkerd-linger.linkerd-linger.svc";

fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

fn secret(chain: &str) -> Secret {
    serde_json::from_value(json!({"data": {"tls.crt": base64(chain)}})).unwrap()
}

fn configuration(name: &str, webhook: &str, bundle: &str) -> Value {
    let entries: Vec<_> = Mode::ALL
        .into_iter()
        .map(|mode| {
            let mode = mode.as_str();
            let service = json!({"name": "linkerd-linger", "namespace": "linkerd-linger",
                                 "path": format!("/{webhook}/{mode}")});
            let pods = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                              "resources": ["pods"]});
            json!({
                "name": format!("{mode}.{webhook}.linkerd-linger.io"),
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": service, "caBundle": base64(bundle)},
                "reinvocationPolicy": "IfNeeded",
                "rules": [pods],
                "namespaceSelector": {"matchExpressions": [
                    {"key": "linkerd-linger.io/mode", "operator": "In", "values": [mode]},
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
                ]},
            })
        })
        .collect();
    json!({"metadata": {"name": name}, "webhooks": entries})
}

/// A namespace in which nothing privileged is added, and webhook configurations that know the label for that.
fn never_privileged(snapshot: &mut Snapshot, value: &str) {
    let labels = json!({"linkerd-linger.io/mode": "enforce", "linkerd-linger.io/privileged": value});
    snapshot.namespaces.as_mut().unwrap()[2] = namespace("shop", labels, json!({}));
    let webhook_entries =
        snapshot.mutating.as_mut().unwrap().iter_mut().flat_map(|it| it.webhooks.iter_mut());
    for webhook_entries in webhook_entries {
        let unprivileged = webhook_entries.iter_mut().filter(|hook| hook.name.ends_with("linkerd-linger.io")).map(|hook| {
            let mut other = hook.clone();
            for (hook, operator) in [(hook, "NotIn"), (&mut other, "In")] {
                let expressions = &mut hook.namespace_selector.as_mut().unwrap().match_expressions;
                let expression = json!({"key": "linkerd-linger.io/privileged", "operator": operator, "values": ["never"]});
                expressions.as_mut().unwrap().push(serde_json::from_value(expression).unwrap());
            }
            *other.client_config.service.as_mut().unwrap().path.as_mut().unwrap() += "/unprivileged";
            other
        });
        let unprivileged: Vec<_> = unprivileged.collect();
        webhook_entries.extend(unprivileged);
    }
}

/// A configuration of someone else, with one entry for pods.
fn other(name: &str, entry: &str) -> MutatingWebhookConfiguration {
    let pods = json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]});
    let entry = json!({"name": entry, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                       "clientConfig": {"url": "https://example.com"}, "rules": [pods]});
    serde_json::from_value(json!({"metadata": {"name": name}, "webhooks": [entry]})).unwrap()
}

fn namespace(name: &str, labels: Value, annotations: Value) -> Namespace {
    let mut labels = labels;
    labels["kubernetes.io/metadata.name"] = name.into();
    let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

fn labelled(name: &str, mode: &str) -> Namespace {
    namespace(name, json!({"linkerd-linger.io/mode": mode}), json!({}))
}

fn deployment(image: &str, available: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"generation": 1},
        "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [
            {"name": "proxy-injector", "image": image},
        ]}}},
        "status": {"availableReplicas": available, "updatedReplicas": 2, "observedGeneration": 1},
    }))
    .unwrap()
}

/// The webhook's Deployment, as `install` writes it where it matters.
fn server(available: i32) -> Deployment {
    let mut server = deployment("linger:1", available);
    let template = &mut server.spec.template;
    template.spec.as_mut().unwrap().containers[0].args =
        Some(["serve", "--init-image", "linger:1"].map(str::to_owned).to_vec());
    server
}

fn exemption(of: &str, until: &str) -> String {
    format!("exemptions:\n- {of}\n  reason: moving\n  until: {until}\n")
}

/// A cluster in which all is well.
fn healthy() -> Snapshot {
    let (authority, chain) = certificates(SERVER_NAME, 5, 8);
    let ours = |webhook| configuration(names::WEBHOOK_CONFIGURATION, webhook, &authority);
    let injector = other("linkerd-proxy-injector-webhook-config", "linkerd-proxy-injector.linkerd.io");
    Snapshot {
        mutating: Ok(vec![serde_json::from_value(ours("mutate")).unwrap(), injector]),
        validating: Ok(vec![serde_json::from_value(ours("validate")).unwrap()]),
        namespaces: Ok(vec![
            namespace("linkerd-linger", json!({"linkerd.io/extension": "linger"}), json!({})),
            labelled("kube-system", "off"),
            labelled("shop", "enforce"),
            labelled("lab", "warn"),
        ]),
        server: Ok(Some(server(2))),
        certificate: Ok(Some(secret(&chain))),
        policy: Ok(None),
        injector: Ok(Some(deployment("cr.l5d.io/linkerd/controller:edge-24.11.8", 1))),
        resources: Ok(BTreeMap::new()),
        policies: Ok(Policies::default()),
        reports: Ok(None),
    }
}

/// A rule of the validating webhook for a custom resource, and the resources of its group.
fn reviewed(snapshot: &mut Snapshot, plural: &str, served: &[(&str, bool)]) {
    let rule = json!({"apiGroups": ["argoproj.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                      "resources": [plural], "scope": "Namespaced"});
    for entry in snapshot.validating.as_mut().unwrap()[0].webhooks.iter_mut().flatten() {
        entry.rules.as_mut().unwrap().push(serde_json::from_value(rule.clone()).unwrap());
    }
    let served = served.iter().map(|(plural, namespaced)| ((*plural).to_owned(), *namespaced)).collect();
    snapshot.resources = Ok([("argoproj.io".to_owned(), served)].into());
}

fn outcome_of(snapshot: &Snapshot, id: CheckId) -> Outcome {
    let results = installed(snapshot, now());
    let found: Vec<_> = results.into_iter().filter(|result| result.id == id).collect();
    assert_eq!(found.len(), 1, "{id:?}");
    found.into_iter().next().unwrap().outcome
}

/// The word for an outcome and a part of its text.
fn assert_outcome(outcome: &Outcome, kind: &str, part: &str) {
    let (found, text) = match outcome {
        Outcome::Good => ("good", ""),
        Outcome::Warning(text) => ("warning", text.as_str()),
        Outcome::Error(text) => ("error", text.as_str()),
    };
    assert_eq!(found, kind, "{text}");
    assert!(text.contains(part), "{text}");
}

#[test]
fn all_is_well_in_a_healthy_cluster() {
    let results = installed(&healthy(), now());
    let bad: Vec<_> = results.iter().filter(|result| result.outcome != Outcome::Good).collect();
    assert_eq!(bad, Vec::<&CheckResult>::new());
    let told = |id| results.iter().find(|result| result.id == id).unwrap().description.as_str();
    assert_eq!(
        told(CheckId::LinkerdInjector),
        "Linkerd's proxy injector is installed (edge-24.11.8, line 2.17)"
    );
    assert_eq!(told(CheckId::OptedIn), "namespaces opt in (2 namespaces: 1 enforce, 1 warn)");
    assert_eq!(
        told(CheckId::Lifetime),
        "certificates do not expire soon (the serving certificate expires on 2026-08-01T00:00:00Z)"
    );
}

type Change = fn(&mut Snapshot);

fn ours(snapshot: &mut Snapshot) -> &mut MutatingWebhookConfiguration {
    &mut snapshot.mutating.as_mut().unwrap()[0]
}

#[rstest]
#[case::not_installed(
    |it: &mut Snapshot| { it.namespaces = Ok(vec![]); it.mutating = Ok(vec![]); it.validating = Ok(vec![]); },
    CheckId::Namespace, "error", "is not installed"
)]
#[case::no_label(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[0].metadata.labels = None,
    CheckId::ExtensionLabel, "error", "it is missing"
)]
#[case::other_label(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[0] =
        namespace("linkerd-linger", json!({"linkerd.io/extension": "linkerd-linger"}), json!({})),
    CheckId::ExtensionLabel, "error", "is \"linkerd-linger\""
)]
#[case::no_linkerd(|it: &mut Snapshot| it.injector = Ok(None), CheckId::LinkerdInjector, "warning", "--linkerd-namespace")]
#[case::no_deployment(|it: &mut Snapshot| it.server = Ok(None), CheckId::Server, "error", "no Deployment")]
#[case::exemption_over(
    |it: &mut Snapshot| it.policy = Ok(Some(exemption("namespace: shop", "2026-05-31"))),
    CheckId::Policy, "warning", "* line 2: it expired on 2026-05-31 (reason: moving)"
)]
#[case::exemption_of_nothing(
    |it: &mut Snapshot| it.policy = Ok(Some(exemption("namespace: gone-*", "2026-06-01"))),
    CheckId::Policy, "warning", "* line 2: no namespace matches it"
)]
#[case::exemption_in_use(
    |it: &mut Snapshot| it.policy = Ok(Some(exemption("namespace: sh*", "2026-06-01"))),
    CheckId::Policy, "good", ""
)]
#[case::no_pod_ready(
    |it: &mut Snapshot| it.server = Ok(Some(server(0))),
    CheckId::Server, "error", "0 of 2 pods are available"
)]
#[case::some_pods_ready(
    |it: &mut Snapshot| it.server = Ok(Some(server(1))),
    CheckId::Server, "warning", "1 of 2 pods are available"
)]
#[case::rollout_stuck(
    |it: &mut Snapshot| {
        let server = it.server.as_mut().unwrap().as_mut().unwrap();
        server.status.as_mut().unwrap().updated_replicas = Some(1);
    },
    CheckId::Server, "error", "its rollout is not complete: 1 of 2 pods are updated"
)]
#[case::rollout_not_seen(
    |it: &mut Snapshot| it.server.as_mut().unwrap().as_mut().unwrap().metadata.generation = Some(2),
    CheckId::Server, "error", "its rollout has not started yet"
)]
#[case::bad_policy(|it: &mut Snapshot| it.policy = Ok(Some("reject: never".into())), CheckId::Policy, "error", "line 1: reject")]
#[case::no_validating(
    |it: &mut Snapshot| it.validating = Ok(vec![]),
    CheckId::Configurations, "error", "ValidatingWebhookConfiguration zz-linkerd-linger-webhook-config does not exist"
)]
#[case::a_mode_is_missing(
    |it: &mut Snapshot| { ours(it).webhooks.as_mut().unwrap().remove(0); },
    CheckId::Configurations, "error", "has no webhook for enforce"
)]
#[case::workloads_that_exist(
    |it: &mut Snapshot| reviewed(it, "rollouts", &[("rollouts", true), ("rollouts/status", true)]),
    CheckId::Workloads, "good", ""
)]
#[case::workloads_without_crd(
    |it: &mut Snapshot| reviewed(it, "rollouts", &[("workflows", true)]),
    CheckId::Workloads, "warning", "rollouts.argoproj.io: the cluster has no such CRD"
)]
#[case::workloads_of_no_namespace(
    |it: &mut Snapshot| reviewed(it, "clusterworkflowtemplates", &[("clusterworkflowtemplates", false)]),
    CheckId::Workloads, "warning", "clusterworkflowtemplates.argoproj.io: it is not namespaced"
)]
#[case::workloads_not_readable(
    |it: &mut Snapshot| {
        reviewed(it, "rollouts", &[]);
        it.resources = Err(ReadError::Forbidden { what: "read the resources".to_owned() });
    },
    CheckId::Workloads, "warning", "read the resources"
)]
#[case::called_too_early(
    |it: &mut Snapshot| ours(it).metadata.name = Some("linger".into()),
    CheckId::Order, "error", "linger is called before these, so the pod is not injected yet:\n\t* linkerd-proxy"
)]
#[case::bytes_count_not_letters(
    |it: &mut Snapshot| ours(it).metadata.name = Some("Zz-linger".into()),
    CheckId::Order, "error", "Zz-linger is called before"
)]
#[case::injector_under_another_name(
    |it: &mut Snapshot| it.mutating.as_mut().unwrap()[1] = other("zzz-mesh", "linkerd-proxy-injector.linkerd.io"),
    CheckId::Order, "error", "zzz-mesh"
)]
#[case::nothing_injects(
    |it: &mut Snapshot| { it.mutating.as_mut().unwrap().pop(); },
    CheckId::Order, "warning", "no pod is injected"
)]
#[case::later_webhook_and_never_again(
    |it: &mut Snapshot| {
        ours(it).webhooks.as_mut().unwrap()[0].reinvocation_policy = None;
        it.mutating.as_mut().unwrap().push(other("zzz-late", "late.example.com"));
    },
    CheckId::Reinvocation, "warning", "enforce.mutate.linkerd-linger.io is not IfNeeded, but these webhooks are called later"
)]
#[case::later_webhook_and_again(
    |it: &mut Snapshot| it.mutating.as_mut().unwrap().push(other("zzz-late", "late.example.com")),
    CheckId::Reinvocation, "good", ""
)]
#[case::earlier_webhook_and_never_again(
    |it: &mut Snapshot| {
        ours(it).webhooks.as_mut().unwrap()[0].reinvocation_policy = None;
        it.mutating.as_mut().unwrap().push(other("early", "early.example.com"));
    },
    CheckId::Reinvocation, "good", ""
)]
#[case::typo_in_the_mode(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap().push(labelled("till", "Enforced")),
    CheckId::ModeLabels, "warning", "till: linkerd-linger.io/mode is \"Enforced\"; the valid values are enforce, warn, \
                                     audit, off; did you mean enforce?"
)]
#[case::word_like_no_mode(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap().push(labelled("till", "disabled")),
    CheckId::ModeLabels, "warning", "the valid values are enforce, warn, audit, off"
)]
#[case::typo_in_the_key(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap().push(namespace("till", json!({"linkerd-linger.io/mod": "warn"}), json!({}))),
    CheckId::ModeLabels, "warning", "unknown label linkerd-linger.io/mod"
)]
#[case::annotation(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap().push(namespace("till", json!({}), json!({"linkerd-linger.io/mode": "warn"}))),
    CheckId::ModeLabels, "warning", "is an annotation"
)]
#[case::left_out(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[1] = labelled("kube-system", "enforce"),
    CheckId::ModeLabels, "warning", "the webhook configurations exclude this namespace"
)]
#[case::nobody(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap().truncate(2),
    CheckId::OptedIn, "warning", "no namespace opts in"
)]
#[case::baseline(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[2] = namespace(
        "shop",
        json!({"linkerd-linger.io/mode": "enforce", "pod-security.kubernetes.io/enforce": "baseline"}),
        json!({}),
    ),
    CheckId::PodSecurity, "warning", "\n\t* shop"
)]
#[case::baseline_and_only_audited(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[2] = namespace(
        "shop",
        json!({"linkerd-linger.io/mode": "audit", "pod-security.kubernetes.io/enforce": "baseline"}),
        json!({}),
    ),
    CheckId::PodSecurity, "good", ""
)]
#[case::never_privileged(|it: &mut Snapshot| never_privileged(it, "never"), CheckId::PodSecurity, "warning", "\n\t* shop")]
#[case::never_privileged_is_a_label_that_we_know(
    |it: &mut Snapshot| never_privileged(it, "never"), CheckId::ModeLabels, "good", ""
)]
#[case::privileged_by_another_word(
    |it: &mut Snapshot| never_privileged(it, "false"),
    CheckId::ModeLabels, "warning", "linkerd-linger.io/privileged is \"false\"; the only valid value is never"
)]
#[case::never_privileged_before_the_webhooks_knew_it(
    |it: &mut Snapshot| it.namespaces.as_mut().unwrap()[2] = namespace(
        "shop",
        json!({"linkerd-linger.io/mode": "enforce", "linkerd-linger.io/privileged": "never"}),
        json!({}),
    ),
    CheckId::ModeLabels, "warning", "the webhook configurations are older than this label: apply the manifests again"
)]
fn each_problem_is_reported(
    #[case] change: Change,
    #[case] id: CheckId,
    #[case] kind: &str,
    #[case] part: &str,
) {
    let mut snapshot = healthy();
    change(&mut snapshot);
    assert_outcome(&outcome_of(&snapshot, id), kind, part);
}

#[test]
fn missing_permissions_are_named_and_the_rest_is_checked() {
    let forbidden = |what: &str| ReadError::Forbidden { what: what.to_owned() };
    let mut snapshot = healthy();
    snapshot.certificate =
        Err(forbidden("get the secret linkerd-linger-tls in the namespace linkerd-linger"));
    snapshot.namespaces = Err(forbidden("list namespaces"));
    let told = outcome_of(&snapshot, CheckId::CaBundle);
    assert_outcome(&told, "warning", "not checked: no permission to get the secret linkerd-linger-tls");
    assert_outcome(
        &outcome_of(&snapshot, CheckId::ModeLabels),
        "warning",
        "no permission to list namespaces",
    );
    assert_eq!(outcome_of(&snapshot, CheckId::Order), Outcome::Good);
    assert!(super::output::success(&installed(&snapshot, now())));
}

#[test]
fn other_failures_are_errors() {
    let mut snapshot = healthy();
    snapshot.server = Err(ReadError::Failed { what: "get it".into(), why: "no answer".into() });
    assert_outcome(&outcome_of(&snapshot, CheckId::Server), "error", "cannot get it: no answer");
}

#[test]
fn only_what_may_become_well_by_itself_is_waited_for() {
    let error = |id| CheckResult::of(id, Outcome::Error("x".into()));
    assert!(error(CheckId::Server).may_recover());
    assert!(!error(CheckId::Order).may_recover());
    assert!(!CheckResult::of(CheckId::Server, Outcome::Warning("x".into())).may_recover());
}

#[test]
fn every_check_has_a_name_of_its_own_and_a_section_in_the_documentation() {
    let page = include_str!("../../../docs/check.md");
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let names: Vec<_> = CheckId::ALL.map(CheckId::as_str).to_vec();
    assert_eq!(sections, names);
    assert!(CheckId::ALL.iter().all(|id| id.category().as_str().is_ascii()));
}
