//! The Helm chart, rendered by Helm: it has the same objects as `install` prints, documented values and clear errors.
//! `UPDATE_DOCS=1` writes the generated files of the chart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod chart {
    pub(crate) mod values;
}
mod support;

use std::{collections::BTreeSet, env, fs, path::Path};

use linkerd_linger::{
    admission::traces::CollectorUrl,
    base::names,
    cluster::install::{
        FailurePolicy, Options, Reports, Tls, Toleration, manifests, policies, print, read_label,
    },
    judgement::policy::Policy,
    review::Mode,
};
use rstest::rstest;
use serde_json::{Value, json};

use self::{
    chart::values,
    cluster::Told,
    support::{Authority, NotRun},
};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/linkerd-linger");

/// Runs Helm with these values; `None` on a machine that cannot build it.
fn helm(args: &[&str], values: &Value) -> Option<Told> {
    let mut helm = match cluster::helm() {
        Ok(helm) => helm,
        Err(why) => {
            NotRun::tell(&why);
            return None;
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.yaml");
    fs::write(&file, values.to_string()).unwrap();
    Some(Told::from(helm.args(args).arg("--values").arg(&file).output().unwrap()))
}

fn template(values: &Value) -> Option<Told> {
    helm(&["template", "linger", CHART, "--namespace", names::NAMESPACE], values)
}

/// The objects, sorted by name.
fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| (name(object), object["metadata"]["namespace"].to_string()));
    objects
}

fn name(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// The differences between Helm and `kubectl apply`: Helm deletes the Job of another version itself, and would report a
/// Job as lost that is deleted after an hour.
fn for_helm(mut object: Value) -> Value {
    if object["kind"] == "Job" {
        object["spec"].as_object_mut().unwrap().remove("ttlSecondsAfterFinished").unwrap();
        object["metadata"].as_object_mut().unwrap().remove("annotations").unwrap();
    }
    object
}

fn default_mode(mode: Mode) -> Options {
    Options { default_mode: Some(mode), ..Options::default() }
}

fn placed() -> Options {
    Options {
        image_pull_secrets: vec!["registry".to_owned(), "mirror".to_owned()],
        node_selector: [read_label("pool=system").unwrap(), read_label("example.com/zone=").unwrap()].into(),
        tolerations: ["node-role.kubernetes.io/control-plane:NoSchedule", "pool=system"]
            .map(|text| Toleration::read(text).unwrap())
            .into(),
        ..Options::default()
    }
}

fn placed_values() -> Value {
    json!({
        "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
        "nodeSelector": {"pool": "system", "example.com/zone": ""},
        "tolerations": [
            {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "pool", "operator": "Equal", "value": "system"},
        ],
    })
}

fn monitored(labels: &[&str]) -> Option<std::collections::BTreeMap<String, String>> {
    Some(labels.iter().map(|label| read_label(label).unwrap()).collect())
}

fn collector(url: &str) -> Option<CollectorUrl> {
    Some(url.parse().unwrap())
}

const POLICY: &str = "# Müller & Söhne <ops@example.com>\ntolerance: 50ms\n";

#[rstest]
#[case::default(Options::default(), json!({}))]
#[case::audit(default_mode(Mode::Audit), json!({"defaultMode": "audit"}))]
#[case::warn(default_mode(Mode::Warn), json!({"defaultMode": "warn"}))]
#[case::enforce(default_mode(Mode::Enforce), json!({"defaultMode": "enforce"}))]
#[case::off_without_quotes(Options::default(), json!({"defaultMode": false}))]
#[case::ha(Options { ha: true, ..Options::default() }, json!({"ha": true}))]
#[case::cert_manager(
    Options { tls: Tls::CertManager, ..Options::default() },
    json!({"tls": {"source": "cert-manager"}})
)]
#[case::fail(
    Options { failure_policy: FailurePolicy::Fail, ..default_mode(Mode::Enforce) },
    json!({"failurePolicy": "Fail", "defaultMode": "enforce"})
)]
#[case::files(
    Options { policy: POLICY.to_owned(), facts: Some("images: []\n".to_owned()), ..Options::default() },
    json!({"policy": POLICY, "facts": "images: []\n"})
)]
#[case::image(
    Options { image: "registry.example.com/linger:1.2.3".to_owned(), ..Options::default() },
    json!({"image": {"repository": "registry.example.com/linger", "tag": "1.2.3"}})
)]
#[case::network_policy(Options { network_policy: true, ..Options::default() }, json!({"networkPolicy": true}))]
#[case::traces(
    Options { otlp_endpoint: collector("https://otlp.example.com/otlp"), ..Options::default() },
    json!({"otlpEndpoint": "https://otlp.example.com/otlp"})
)]
#[case::traces_through_a_network_policy(
    Options { otlp_endpoint: collector("http://collector.traces:4318"), network_policy: true, ..Options::default() },
    json!({"otlpEndpoint": "http://collector.traces:4318", "networkPolicy": true})
)]
#[case::traces_at_the_port_of_http(
    Options { otlp_endpoint: collector("http://[fd00::1]/"), network_policy: true, ..Options::default() },
    json!({"otlpEndpoint": "http://[fd00::1]/", "networkPolicy": true})
)]
#[case::traces_at_the_port_of_https(
    Options { otlp_endpoint: collector("https://otlp.example.com"), network_policy: true, ..Options::default() },
    json!({"otlpEndpoint": "https://otlp.example.com", "networkPolicy": true})
)]
#[case::sockets(Options { sockets: true, ..Options::default() }, json!({"sockets": true}))]
#[case::reports(
    Options { reports: Some(Reports::default()), ..Options::default() },
    json!({"reports": {"enabled": true}})
)]
#[case::ports(
    Options { webhook_port: 10_260, admin_port: 10_261, ..Options::default() },
    json!({"webhookPort": 10260, "adminPort": 10261})
)]
#[case::host_network(Options { host_network: true, ..Options::default() }, json!({"hostNetwork": true}))]
#[case::placed(placed(), placed_values())]
#[case::monitored(
    Options { pod_monitor: monitored(&[]), ..Options::default() },
    json!({"podMonitor": {"enabled": true}})
)]
#[case::workloads(
    Options {
        workloads: ["rollouts.argoproj.io", "clonesets.apps.kruise.io"].map(str::to_owned).into(),
        ..Options::default()
    },
    json!({"workloads": ["rollouts.argoproj.io", "clonesets.apps.kruise.io", "rollouts.argoproj.io"]})
)]
#[case::everything(
    Options {
        ha: true,
        facts: Some("images: []\n".to_owned()),
        sockets: true,
        reports: Some(Reports { schedule: "*/30 * * * *".to_owned(), events: true }),
        host_network: true,
        webhook_port: 10_260,
        pod_monitor: monitored(&["release=prometheus", "app.kubernetes.io/name=mine"]),
        ..placed()
    },
    {
        let mut values = placed_values();
        for (key, value) in [
            ("ha", json!(true)),
            ("facts", json!("images: []\n")),
            ("sockets", json!(true)),
            ("reports", json!({"enabled": true, "schedule": "*/30 * * * *", "events": true})),
            ("hostNetwork", json!(true)),
            ("webhookPort", json!(10260)),
            ("podMonitor", json!({"enabled": true, "labels": {"release": "prometheus", "app.kubernetes.io/name": "mine"}})),
        ] {
            values[key] = value;
        }
        values
    }
)]
fn the_chart_is_what_install_prints(#[case] options: Options, #[case] mut values: Value) {
    values["namespace"] = json!({"create": true});
    renders(&values, manifests(&options).into_iter().map(for_helm).collect());
}

#[rstest]
#[case::default(Options::default(), json!({}))]
#[case::audit(default_mode(Mode::Audit), json!({"defaultMode": "audit"}))]
#[case::enforce(default_mode(Mode::Enforce), json!({"defaultMode": "enforce"}))]
#[case::image(
    Options { image: "registry.example.com/linger:1.2.3".to_owned(), ..default_mode(Mode::Warn) },
    json!({"image": {"repository": "registry.example.com/linger", "tag": "1.2.3"}, "defaultMode": "warn"})
)]
fn the_chart_has_the_policies_that_install_prints(#[case] options: Options, #[case] mut values: Value) {
    values["namespace"] = json!({"create": true});
    values["engine"] = json!("policy");
    renders(&values, policies(&options, &Policy::default()).unwrap());
}

/// Checks that the chart with these values is valid and renders these objects.
fn renders(values: &Value, printed: Vec<Value>) {
    let Some(told) = template(values) else { return };
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&told.ok().stdout).unwrap();
    let rendered = sorted(rendered);
    let printed = sorted(printed);
    let names = |objects: &[Value]| objects.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(&rendered), names(&printed));
    for (rendered, printed) in rendered.iter().zip(&printed) {
        assert!(rendered == printed, "{}: {rendered} is not {printed}", name(rendered));
    }
    let linted = helm(&["lint", "--strict", CHART, "--namespace", names::NAMESPACE], values).unwrap().ok();
    assert!(linted.stdout.contains("0 chart(s) failed"), "{linted:?}");
}

#[test]
fn an_authority_of_the_user_is_in_every_entry() {
    let ca_bundle = Authority::new().pem();
    let values = json!({"namespace": {"create": true}, "tls": {"source": "byo", "caBundle": ca_bundle}});
    the_chart_is_what_install_prints(Options { tls: Tls::Byo { ca_bundle }, ..Options::default() }, values);
}

#[test]
fn the_namespace_is_left_to_helm() {
    let Some(told) = template(&json!({})) else { return };
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&told.ok().stdout).unwrap();
    let printed = manifests(&Options::default()).into_iter().filter(|object| object["kind"] != "Namespace");
    assert_eq!(sorted(rendered), sorted(printed.map(for_helm).collect()));
}

#[test]
fn a_digest_pins_the_image() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let Some(told) = template(&json!({"image": {"tag": "1.2.3", "digest": digest}})) else { return };
    let image = format!("{}:1.2.3@{digest}", names::IMAGE_REPOSITORY);
    let printed = manifests(&Options { image, ..Options::default() });
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&told.ok().stdout).unwrap();
    let of = |objects: &[Value]| objects.iter().find(|object| object["kind"] == "Deployment").cloned();
    assert_eq!(of(&rendered), of(&printed));
}

#[rstest]
#[case::unknown_value(json!({"replicas": 3}), "additional properties 'replicas' not allowed")]
#[case::unknown_value_inside(json!({"tls": {"ca": ""}}), "at '/tls': additional properties 'ca' not allowed")]
#[case::unknown_mode(json!({"defaultMode": "on"}), "at '/defaultMode'")]
#[case::a_word_for_a_number(json!({"webhookPort": "https"}), "at '/webhookPort'")]
#[case::no_schedule(json!({"reports": {"enabled": true, "schedule": "0 * * *"}}), "at '/reports/schedule'")]
#[case::a_port_of_root(json!({"webhookPort": 443}), "at '/webhookPort'")]
#[case::a_number_for_a_label(json!({"nodeSelector": {"pool": 1}}), "at '/nodeSelector/pool'")]
#[case::a_name_for_an_object(json!({"imagePullSecrets": ["registry"]}), "at '/imagePullSecrets/0'")]
#[case::no_digest(json!({"image": {"digest": "latest"}}), "at '/image/digest'")]
#[case::a_key_in_the_bundle(
    json!({"tls": {"source": "byo", "caBundle": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}),
    "at '/tls/caBundle'"
)]
#[case::a_workload_of_kubernetes(json!({"workloads": ["deployments.apps"]}), "at '/workloads/0'")]
#[case::a_collector_without_a_scheme(json!({"otlpEndpoint": "collector:4318"}), "at '/otlpEndpoint'")]
#[case::a_collector_with_a_password(json!({"otlpEndpoint": "http://user:secret@collector"}), "at '/otlpEndpoint'")]
#[case::a_collector_with_a_query(json!({"otlpEndpoint": "http://collector?key=1"}), "at '/otlpEndpoint'")]
#[case::no_bundle(json!({"tls": {"source": "byo"}}), "tls.source byo and tls.caBundle must be used together")]
#[case::two_servers_at_a_port(json!({"adminPort": 8443}), "webhookPort and adminPort are both 8443")]
#[case::no_such_engine(json!({"engine": "cel"}), "at '/engine'")]
#[case::no_server_to_run_three_times(
    json!({"engine": "policy", "ha": true}),
    "ha configures the server or other pods, but engine policy installs none: remove ha"
)]
#[case::no_port_of_no_server(json!({"engine": "policy", "webhookPort": 10260}), "webhookPort configures the server")]
#[case::no_reports_of_no_pods(json!({"engine": "policy", "reports": {"enabled": true}}), "reports.enabled configures")]
#[case::no_compiled_policy(
    json!({"engine": "policy", "policy": "tolerance: 50ms"}),
    "apply the output of `linkerd-linger install --engine policy --set-policy FILE` instead"
)]
#[case::no_network_policy_on_the_host_network(
    json!({"hostNetwork": true, "networkPolicy": true}),
    "networkPolicy does not apply to pods on the host network"
)]
fn values_that_cannot_work_are_refused(#[case] values: Value, #[case] reason: &str) {
    let Some(told) = template(&values) else { return };
    assert!(!told.success && told.stderr.contains(reason), "{told:?}");
}

#[test]
fn another_namespace_is_refused() {
    let args = ["template", "linger", CHART, "--namespace", "tools"];
    let Some(told) = helm(&args, &json!({})) else { return };
    assert!(!told.success && told.stderr.contains("use --namespace linkerd-linger"), "{told:?}");
}

#[test]
fn a_parent_chart_may_share_its_global_values() {
    let Some(told) = template(&json!({"global": {"region": "eu"}})) else { return };
    told.ok();
}

#[test]
fn the_notes_name_what_helm_leaves_to_the_user() {
    let args = ["install", "linger", CHART, "--namespace", names::NAMESPACE, "--dry-run=client"];
    let values = json!({"hostNetwork": true, "imagePullSecrets": [{"name": "registry"}]});
    let Some(told) = helm(&args, &values) else { return };
    let told = told.ok();
    let (_, notes) = told.stdout.split_once("\nNOTES:\n").unwrap();
    for words in [
        "kubectl label --overwrite namespace linkerd-linger linkerd.io/extension=linger",
        "pod-security.kubernetes.io/enforce=privileged",
        "The Secret registry must exist in linkerd-linger",
    ] {
        assert!(notes.contains(words), "{words:?} is not in {notes}");
    }
}

#[test]
fn the_generated_files_are_current() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let is_webhook = |object: &Value| object["kind"].as_str().unwrap().ends_with("WebhookConfiguration");
    let webhooks: Vec<_> = manifests(&Options::default()).into_iter().filter(is_webhook).collect();
    let webhooks = print(&[json!(webhooks)]).unwrap();
    let is_policy = |object: &Value| object["kind"].as_str().unwrap().contains("AdmissionPolicy");
    let all = policies(&Options::default(), &Policy::default()).unwrap();
    let policies: Vec<_> = all.into_iter().filter(is_policy).collect();
    let policies = print(&[json!(policies)]).unwrap();
    let readme = read("README.md");
    let files = [
        ("values.yaml", values::file(&schema)),
        ("README.md", values::in_readme(&readme, &schema)),
        ("files/webhooks.yaml", webhooks),
        ("files/policies.yaml", policies),
    ];
    for (path, text) in files {
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(Path::new(CHART).join(path), &text).unwrap();
        }
        assert!(
            read(path) == text,
            "charts/linkerd-linger/{path} is old: UPDATE_DOCS=1 cargo test --test chart"
        );
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(CHART).join(path)).unwrap_or_default()
}

#[test]
fn every_value_is_described_and_closed() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let mut seen = BTreeSet::new();
    for value in values::all(&schema) {
        assert!(value.description.ends_with('.'), "{}", value.path);
        assert!(seen.insert(value.path.clone()), "{}", value.path);
    }
    assert!(seen.contains("tls.source") && seen.contains("ha"));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")).unwrap();
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
}
