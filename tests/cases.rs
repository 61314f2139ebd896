//! Golden tests of the whole behaviour: `cases/<rule>/<case>.yaml` is the input, `<case>.snap` the expected result. A
//! line `# policy: {...}` in a case sets its policy.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use insta::Settings;
use jiff::civil::{Date, date};
use json_patch::{Patch, jsonptr::PointerBuf};
use linkerd_linger::{
    judgement::{
        finding::{Action, Edit},
        judge,
        policy::Policy,
    },
    lint::{
        manifest::{self, Document},
        report::{ContainerReport, FindingReport, ObjectReport, ProbeReport},
    },
    workload::{
        context::Context,
        object::{Object, Reading},
    },
};
use serde::Serialize;
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
/// Custom resources with pod templates, and without them: `kinds/<operator>.yaml`.
const KINDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kinds");
const TODAY: Date = date(2026, 11, 23);

/// The files of all cases with an extension, sorted.
fn files(extension: &str) -> Vec<PathBuf> {
    [files_in(CASES, extension), files_in(KINDS, extension)].concat()
}

fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn every_case_is_judged_as_its_snapshot_says() {
    let cases = files_in(CASES, "yaml");
    assert!(cases.len() >= 60, "the cases are there, not only {}", cases.len());
    assert_all(&cases, check);
}

#[test]
fn every_kind_is_read_as_its_snapshot_says() {
    let cases = files_in(KINDS, "yaml");
    assert!(cases.len() >= 12, "the cases are there, not only {}", cases.len());
    assert_all(&cases, check_kind);
}

fn assert_all(cases: &[PathBuf], check: fn(&Path)) {
    let differ: Vec<_> = cases
        .iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err())
        .map(|case| format!("\n  {}", case.display()))
        .collect();
    assert!(differ.is_empty(), "these differ from their snapshots, see above:{}", differ.concat());
}

#[test]
fn no_snapshot_outlives_its_case() {
    for snapshot in files("snap") {
        assert!(snapshot.with_extension("yaml").exists(), "{} has no case", snapshot.display());
    }
}

#[test]
fn every_case_says_what_it_shows() {
    for case in files("yaml") {
        let text = fs::read_to_string(&case).unwrap();
        assert!(text.starts_with("# "), "{} begins with no comment", case.display());
    }
}

fn check(case: &Path) {
    let text = fs::read_to_string(case).unwrap();
    let policy = text.lines().find_map(|line| line.strip_prefix("# policy: ")).unwrap_or_default();
    let policy = Policy::parse(policy).unwrap_or_else(|errors| panic!("the case's policy: {errors:?}"));
    let read = manifest::read("", &text);
    let context = manifest::context(&read.documents);
    let objects: Vec<_> =
        read.documents.iter().flat_map(|document| told(document, &context, &policy)).collect();
    let errors: Vec<_> = read.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, [""; 0], "a case can be read");
    assert_snapshot(case, &serde_saphyr::to_string(&objects).unwrap());
}

/// Checks what is read from each document, and what is found in it.
fn check_kind(case: &Path) {
    let text = fs::read_to_string(case).unwrap();
    let read = manifest::read("", &text);
    let context = manifest::context(&read.documents);
    let policy = Policy::default();
    let mut lines = String::new();
    for document in &read.documents {
        match document.read().unwrap() {
            Reading::Pods(objects) => {
                for object in &objects {
                    lines.push_str(&kind_lines(object, document, &context, &policy));
                }
            }
            other => lines.push_str(&format!("{}: {other:?}\n", document.kind())),
        }
    }
    assert_snapshot(case, &lines);
}

/// A pod of an object: its containers with their lines, and its findings.
fn kind_lines(object: &Object<'_>, document: &Document, context: &Context, policy: &Policy) -> String {
    let told = told_of(object, document, context, policy);
    let mut lines = format!("{}: {}, {}\n", told.object, object.pod.at, told.mesh);
    for container in object.pod.all_containers() {
        let line = document.line_of(&object.pod.container_pointer(container, []));
        lines.push_str(&format!("  {} ({line}: {})\n", container.name, document.line_text(line).trim()));
    }
    for probe in told.probes {
        lines.push_str(&format!("  probe: {probe}\n"));
    }
    for finding in told.findings {
        lines.push_str(&format!(
            "  {} {}: {} ({})\n",
            finding.action, finding.rule, finding.message, finding.note
        ));
        for line in finding.lines {
            lines.push_str(&format!("    {line}\n"));
        }
    }
    lines.push_str(&format!(
        "  {}, {}\n",
        told.verdict,
        if told.patch.is_empty() { "no patch" } else { "patch" }
    ));
    lines
}

fn assert_snapshot(case: &Path, text: &str) {
    let mut settings = Settings::new();
    settings.set_snapshot_path(case.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let name = case.file_stem().unwrap().to_str().unwrap();
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The relevant parts of a report.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    object: String,
    mesh: String,
    servers: BTreeMap<String, String>,
    probes: Vec<String>,
    close_wait: String,
    findings: Vec<ToldFinding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    verdict: &'static str,
    patch: Vec<String>,
}

#[derive(Serialize)]
struct ToldFinding {
    rule: &'static str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exempt: Option<String>,
    message: String,
    note: String,
    help: String,
    lines: Vec<String>,
}

fn told(document: &Document, context: &Context, policy: &Policy) -> Vec<Told> {
    let objects = document.objects().unwrap();
    objects.iter().map(|object| told_of(object, document, context, policy)).collect()
}

fn told_of(object: &Object<'_>, document: &Document, context: &Context, policy: &Policy) -> Told {
    let (report, at) = judged(object, context, policy);
    if !report.patch.is_empty() {
        patched_once_for_all(object, document.json(), &report, context, policy);
    }
    let servers = report.containers.iter().map(|container| (container.name.clone(), server(container)));
    Told {
        object: format!("{} {}", report.kind, report.name),
        mesh: mesh(&report),
        servers: servers.collect(),
        probes: report.probes.iter().map(probe).collect(),
        close_wait: format!("{}: {}", report.close_wait.action.as_str(), report.close_wait.why),
        findings: report.findings.iter().zip(at).map(|(found, at)| finding(found, &at, document)).collect(),
        remarks: report.remarks.clone(),
        verdict: report.verdict.as_str(),
        patch: report.patch.iter().map(operation).collect(),
    }
}

fn finding(finding: &FindingReport, at: &[PointerBuf], document: &Document) -> ToldFinding {
    let line = |at: &PointerBuf| {
        let line = document.line_of(at);
        format!("{line}: {}", document.line_text(line).trim())
    };
    ToldFinding {
        rule: finding.rule.as_str(),
        action: finding.action.as_str(),
        exempt: finding.exempt.clone(),
        message: finding.message.clone(),
        note: finding.note.clone(),
        help: finding.help.clone(),
        lines: at.iter().map(line).collect(),
    }
}

fn operation(operation: &Edit) -> String {
    let operation = serde_json::to_value(operation).unwrap();
    let (op, path) = (operation["op"].as_str().unwrap(), operation["path"].as_str().unwrap());
    format!("{op} {path} {}", operation["value"])
}

fn mesh(report: &ObjectReport) -> String {
    let mesh = &report.mesh;
    let line = mesh.line.as_deref().unwrap_or("unknown line");
    match mesh.pool_idle_timeout {
        Some(pool) => {
            let (state, pool) = (mesh.state.as_str(), pool.0.as_secs_f64());
            format!("{state}, {line}, pool {pool}s ({})", mesh.pool_idle_timeout_from)
        }
        None => format!("{}: {}", mesh.state.as_str(), mesh.why),
    }
}

fn server(container: &ContainerReport) -> String {
    let idle = &container.idle;
    let window = idle.window_seconds.map(|[from, to]| (from.0.as_secs_f64(), to.0.as_secs_f64()));
    let closes = match window {
        Some((from, to)) if from < to => format!("closes after {from}s to {to}s"),
        Some((from, _)) => format!("closes after {from}s"),
        None => serde_json::to_value(idle.kind).unwrap().as_str().unwrap().replace('-', " "),
    };
    format!("{}, {closes}: {}", container.server, idle.evidence)
}

fn probe(probe: &ProbeReport) -> String {
    let port = probe.port.map(|port| format!(" on {port}")).unwrap_or_default();
    let every = probe.period.0.as_secs();
    format!("{} {} {}{port} every {every}s: {}", probe.container, probe.probe, probe.handler, probe.why)
}

fn judged(object: &Object<'_>, context: &Context, policy: &Policy) -> (ObjectReport, Vec<Vec<PointerBuf>>) {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let judgement = judge::judge(object, namespace, context, policy, TODAY, policy.injection(object.kind));
    let (report, findings) = ObjectReport::of(object, &judgement);
    (report, findings.into_iter().map(|finding| finding.at).collect())
}

/// Checks that a patch applies to the original object, fixes the findings, and is empty when it is computed again.
fn patched_once_for_all(
    before: &Object<'_>,
    json: &str,
    report: &ObjectReport,
    context: &Context,
    policy: &Policy,
) {
    let mut object: Value = serde_json::from_str(json).unwrap();
    let patch: Patch = serde_json::from_value(serde_json::to_value(&report.patch).unwrap()).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    let json = object.to_string();
    let objects = Object::read_all(&json).unwrap().objects();
    let object = objects.iter().find(|object| object.pod.at == before.pod.at).unwrap();
    let (after, _) = judged(object, context, policy);
    assert!(after.patch.is_empty(), "it is patched twice: {:?}", after.patch);
    let left: Vec<_> = after.findings.iter().filter(|finding| finding.action == Action::Patch).collect();
    assert!(left.is_empty(), "the patch leaves {left:?}");
}
