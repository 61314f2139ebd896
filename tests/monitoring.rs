//! The Prometheus rules and dashboards of `manifests/monitoring`: all forms are equal, every metric in them exists, and
//! promtool runs them on recorded metrics. `UPDATE_DOCS=1` rewrites the generated files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod monitoring {
    pub(crate) mod exposition;
    pub(crate) mod promql;
    pub(crate) mod promtool;
    pub(crate) mod scenario;
}
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use linkerd_linger::{admission::metrics::Metrics, base::names};
use rstest::rstest;
use serde_json::Value;

use self::monitoring::{
    exposition::samples,
    promql::{Selector, selectors},
    promtool::Promtool,
    scenario::{POD_MONITOR, Pod, Prometheus, test},
};

const CURRENT: &str = include_str!("fixtures/proxy-metrics/current.prom");
const OLDER: &str = include_str!("fixtures/proxy-metrics/older.prom");
const API_SERVER: &str = include_str!("fixtures/apiserver-metrics.txt");

/// The rule files, by the names that they and their PrometheusRules have.
const RULES: [&str; 2] = ["linkerd-symptoms", "webhook"];
const DASHBOARDS: [&str; 2] = ["dashboard-webhook.json", "dashboard-timeouts.json"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/monitoring")
}

fn rules_path(name: &str) -> PathBuf {
    folder().join(format!("{name}.rules.yaml"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every rule of every group of a rule file.
fn rules(name: &str) -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read(rules_path(name))).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> Vec<Value> {
    RULES.iter().flat_map(|name| rules(name)).filter(|rule| rule["alert"].is_string()).collect()
}

/// The panels of a dashboard, those of folded rows included.
fn panels(dashboard: &str) -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read(folder().join(dashboard))).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// The expressions of a dashboard, with its variables filled in.
fn dashboard_expressions(dashboard: &str) -> Vec<String> {
    let targets = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let expression = |target: Value| target["expr"].as_str().unwrap().to_owned();
    let fill = |text: String| text.replace("$__rate_interval", "5m").replace("$namespace", "shop");
    panels(dashboard).iter().flat_map(targets).map(expression).map(fill).collect()
}

/// A rule file as a PrometheusRule: the same text, indented.
fn prometheus_rule(name: &str) -> String {
    let rules = read(rules_path(name));
    let (comment, groups) = rules.split_at(rules.find("groups:\n").unwrap());
    let groups: String = groups.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "# Generated from {name}.rules.yaml; `UPDATE_DOCS=1 cargo test --test monitoring` writes it anew.\n{comment}\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {}-{name}\n  namespace: {}\n  \
         labels:\n    app.kubernetes.io/name: {}\nspec:\n{groups}",
        names::SERVER,
        names::NAMESPACE,
        names::SERVER
    )
}

#[test]
fn the_prometheus_rules_hold_the_same_groups() {
    for name in RULES {
        let (path, text) = (folder().join(format!("{name}.prometheusrule.yaml")), prometheus_rule(name));
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let same = read(&path) == text;
        assert!(same, "{} is old: UPDATE_DOCS=1 cargo test --test monitoring", path.display());
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        let plain: Value = serde_saphyr::from_str(&read(rules_path(name))).unwrap();
        assert_eq!(object["spec"], plain);
        assert_eq!(object["kind"], "PrometheusRule");
    }
}

#[test]
fn no_file_is_left_over() {
    let forms = ["rules", "prometheusrule"];
    let rules = RULES.iter().flat_map(|name| forms.map(|form| format!("{name}.{form}.yaml")));
    let expected: BTreeSet<_> = rules.chain(DASHBOARDS.map(str::to_owned)).collect();
    let found =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn each_alert_has_a_section_and_each_section_an_alert() {
    let page = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md"));
    let headings: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(headings, names, "docs/monitoring.md has a section for each alert");
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        let link = format!("/docs/monitoring.md#{}", name.to_lowercase());
        assert!(alert["annotations"]["runbook_url"].as_str().unwrap().ends_with(&link), "{name}");
        for annotation in ["summary", "description"] {
            assert!(alert["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
    }
}

/// What is known of a metric: the values that each of its labels has, none where they are not known.
type Labels = BTreeMap<String, BTreeSet<String>>;

fn of_exposition(text: &str) -> BTreeMap<String, Labels> {
    let mut metrics: BTreeMap<String, Labels> = BTreeMap::new();
    for sample in samples(text) {
        let labels = metrics.entry(sample.name).or_default();
        for (name, value) in sample.labels {
            labels.entry(name).or_default().insert(value);
        }
    }
    metrics
}

/// Every metric that there is: of our server, of API servers, of Linkerd's proxies, and what the rules record.
fn known() -> BTreeMap<String, Labels> {
    let ours = Metrics::new().encode().unwrap();
    let mut known = of_exposition(&ours);
    known.extend(of_exposition(OLDER));
    known.extend(of_exposition(CURRENT));
    for line in API_SERVER.lines().filter(|line| !line.starts_with('#')) {
        let [name, kind, labels] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let mut labels: Labels = labels.split(',').map(|label| (label.to_owned(), BTreeSet::new())).collect();
        if kind == "histogram" {
            labels.insert("le".to_owned(), BTreeSet::new());
            for suffix in ["_bucket", "_count", "_sum"] {
                known.insert(format!("{name}{suffix}"), labels.clone());
            }
        } else {
            known.insert(name.to_owned(), labels);
        }
    }
    for rule in RULES.iter().flat_map(|name| rules(name)) {
        if let Some(name) = rule["record"].as_str() {
            let mut labels = Labels::new();
            for label in ["namespace", "deployment", "statefulset", "daemonset", "target_port"] {
                labels.insert(label.to_owned(), BTreeSet::new());
            }
            known.insert(name.to_owned(), labels);
        }
    }
    known
}

/// Labels that Prometheus adds when it scrapes.
const OF_TARGETS: [&str; 2] = ["namespace", "pod"];

fn check(place: &str, known: &BTreeMap<String, Labels>, selector: &Selector) {
    let Selector { metric, matchers } = selector;
    let labels = known.get(metric).unwrap_or_else(|| panic!("{place}: no metric is named {metric}"));
    for (label, pattern) in matchers.iter().filter(|(label, _)| !OF_TARGETS.contains(&&**label)) {
        let values = labels.get(label).unwrap_or_else(|| panic!("{place}: {metric} has no label {label}"));
        // `5(\\.0)?` is 5 in the recordings.
        for value in pattern.split('|').map(|value| value.trim_end_matches("(\\\\.0)?")) {
            let absent = value.is_empty() && label == "status_code";
            assert!(
                values.is_empty() || values.contains(value) || absent,
                "{place}: {metric} has no {label}={value:?}; there are {values:?}"
            );
        }
    }
}

#[test]
fn each_metric_and_label_exists() {
    let known = known();
    for rule in RULES.iter().flat_map(|name| rules(name)) {
        let name = rule["alert"].as_str().or_else(|| rule["record"].as_str()).unwrap().to_owned();
        let found = selectors(rule["expr"].as_str().unwrap());
        assert!(!found.is_empty(), "{name} reads nothing");
        found.iter().for_each(|selector| check(&name, &known, selector));
    }
    for dashboard in DASHBOARDS {
        for expression in dashboard_expressions(dashboard) {
            selectors(&expression).iter().for_each(|selector| check(dashboard, &known, selector));
        }
    }
}

#[test]
fn the_dashboards_can_be_imported() {
    for name in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(&read(folder().join(name))).unwrap();
        assert!(dashboard["uid"].as_str().unwrap().starts_with(names::SERVER), "{name}");
        assert_eq!(dashboard["id"], Value::Null, "{name}: an id belongs to one Grafana");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(
            variables.iter().any(|it| it["name"] == "datasource" && it["type"] == "datasource"),
            "{name}"
        );
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in panels(name) {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: the id of {title} is taken");
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {title} is wider than the grid");
            for (x, y) in
                (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                assert!(cells.insert((x, y)), "{name}: {title} covers another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(panel["description"].is_string(), "{name}: {title} has no description");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{name}: {title} shows nothing");
        }
    }
}

#[test]
fn promtool_reads_the_rules_and_the_dashboards() {
    let promtool = match Promtool::find() {
        Ok(promtool) => promtool,
        Err(missing) => return missing.tell(),
    };
    for name in RULES {
        promtool.check(&rules_path(name));
    }
    let rules: String = DASHBOARDS
        .into_iter()
        .flat_map(dashboard_expressions)
        .enumerate()
        .map(|(index, expression)| format!("  - {{record: \"panel:{index}\", expr: {expression:?}}}\n"))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboards.yaml");
    fs::write(&file, format!("groups:\n- name: dashboards\n  rules:\n{rules}")).unwrap();
    promtool.check(&file);
}

#[rstest]
#[case::of_the_webhook("webhook")]
#[case::of_linkerds_symptoms("linkerd-symptoms")]
fn the_alerts_say_what_they_should(#[case] name: &str) {
    match Promtool::find() {
        Ok(promtool) => {
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitoring");
            promtool.test(&tests.join(format!("{name}.test.yaml")));
        }
        Err(missing) => missing.tell(),
    }
}

/// The labels of an alert about a port of the Deployment `web`.
fn of_web(name: &str, severity: &str, port: &str) -> String {
    format!(
        "alertname=\"{name}\",severity=\"{severity}\",namespace=\"shop\",deployment=\"web\",target_port=\"{port}\""
    )
}

fn race(port: &str) -> String {
    of_web("LinkerdIdleTimeoutRace", "warning", port)
}

fn ends(port: &str) -> String {
    of_web("LinkerdAppEndsRequests", "warning", port)
}

fn undetermined(port: &str) -> String {
    of_web("LinkerdRequestsClosedByApp", "info", port)
}

fn refused(pod: &str) -> String {
    format!(
        "alertname=\"LinkerdConnectionsRefused\",severity=\"warning\",namespace=\"shop\",pod=\"{pod}\",target_port=\"8084\""
    )
}

/// A pod that refuses connections while its app starts, and lives for an hour and a half.
fn starting(name: &'static str, minute: usize) -> Pod {
    let there = minute..minute + 90;
    let age = -i64::try_from(minute).unwrap();
    let failing = (minute..minute + 4, 10);
    Pod { ports: &["8081"], name, busy: there.clone(), there, failing, age, ..Pod::steady(CURRENT) }
}

/// A pod whose app has stopped four minutes before the pod is gone.
fn stopping(name: &'static str, minute: usize) -> Pod {
    let failing = (minute - 4..minute, 10);
    Pod { ports: &["8081"], name, there: 0..minute, failing, ..Pod::steady(CURRENT) }
}

const STEADY: &str = "web-7d9c8b5f4-abcde";

fn each_fault() -> Vec<String> {
    let undetermined = ["8086", "8088"].map(undetermined);
    let determined = [race("8080"), race("8081"), ends("8082"), ends("8083"), refused(STEADY)];
    determined.into_iter().chain(undetermined).collect()
}

#[rstest]
#[case::each_fault_has_its_alert(vec![Pod::steady(CURRENT)], Prometheus::V2, 400, each_fault())]
#[case::each_fault_has_its_alert_in_prometheus_3(vec![Pod::steady(CURRENT)], Prometheus::V3, 400, each_fault())]
#[case::older_proxies_tell_less(
    vec![Pod::steady(OLDER)], Prometheus::V2, 400,
    vec![race("8080"), race("8081"), ends("8082"), undetermined("8080"), undetermined("8083")],
)]
#[case::a_pod_monitor_names_the_workload(
    vec![Pod { ports: &["8080"], target: POD_MONITOR, ..Pod::steady(CURRENT) }], Prometheus::V2, 400,
    vec![race("8080").replace("deployment", "statefulset")],
)]
#[case::two_pods_are_one_workload(
    vec![
        Pod { ports: &["8080"], ..Pod::steady(CURRENT) },
        Pod { ports: &["8080"], name: "web-7d9c8b5f4-fghij", ..Pod::steady(CURRENT) },
    ],
    Prometheus::V2, 400, vec![race("8080")],
)]
#[case::a_race_is_seen_within_an_hour(
    vec![Pod { ports: &["8080"], ..Pod::steady(CURRENT) }], Prometheus::V2, 60, vec![race("8080")],
)]
#[case::a_race_that_ended_is_forgotten_after_six_hours(
    vec![Pod { ports: &["8080"], busy: 0..30, ..Pod::steady(CURRENT) }], Prometheus::V2, 410, vec![],
)]
#[case::apps_that_start_are_no_race(
    vec![starting("web-1", 100), starting("web-2", 200), starting("web-3", 300)], Prometheus::V2, 400, vec![],
)]
#[case::apps_that_stop_before_their_proxies_are_no_race(
    vec![stopping("web-1", 150), stopping("web-2", 250), stopping("web-3", 350)], Prometheus::V2, 400, vec![],
)]
#[case::an_app_that_refuses_for_a_while_is_no_race(
    vec![Pod { ports: &["8081"], failing: (102..122, 100), ..Pod::steady(CURRENT) }], Prometheus::V2, 400, vec![],
)]
#[case::four_failures_are_too_few(
    vec![Pod { ports: &["8081"], busy: 90..130, failing: (100..120, 1), ..Pod::steady(CURRENT) }],
    Prometheus::V2, 400, vec![],
)]
#[case::five_failures_are_enough(
    vec![Pod { ports: &["8081"], busy: 90..130, failing: (100..125, 1), ..Pod::steady(CURRENT) }],
    Prometheus::V2, 400, vec![race("8081")],
)]
#[case::a_refusing_app_is_told_while_it_refuses(
    vec![Pod { ports: &["8084"], busy: 0..60, ..Pod::steady(CURRENT) }], Prometheus::V2, 60, vec![refused(STEADY)],
)]
#[case::a_refusing_app_is_no_race_afterwards(
    vec![Pod { ports: &["8084"], busy: 0..60, ..Pod::steady(CURRENT) }], Prometheus::V2, 400, vec![],
)]
#[case::series_that_proxies_drop_begin_anew(
    vec![
        Pod { ports: &["8080"], ..Pod::steady(CURRENT) },
        Pod { ports: &["8080"], there: 0..200, labels: &[("client_id", "a.shop")], ..Pod::steady(CURRENT) },
        Pod { ports: &["8080"], there: 230..420, busy: 230..420, labels: &[("client_id", "b.shop")], ..Pod::steady(CURRENT) },
    ],
    Prometheus::V2, 400, vec![race("8080")],
)]
fn alerts_fire_for_what_happened(
    #[case] pods: Vec<Pod>,
    #[case] prometheus: Prometheus,
    #[case] minute: usize,
    #[case] firing: Vec<String>,
) {
    let promtool = match Promtool::find() {
        Ok(promtool) => promtool,
        Err(missing) => return missing.tell(),
    };
    let rules = rules_path("linkerd-symptoms");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.yaml");
    fs::write(&file, test(rules.to_str().unwrap(), &pods, prometheus, minute, &firing)).unwrap();
    promtool.test(&file);
}
