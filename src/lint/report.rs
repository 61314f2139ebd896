//! What people and programs see: the verdict on each object, and what led to it.
//!
//! Plain data, filled by the judgement and made into words by `text` and `json`. The names of the JSON are an
//! interface: scripts read them.

pub mod catalog;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
mod object;
pub mod sarif;
pub mod text;

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Serialize, Serializer};

use crate::{
    base::plural::count,
    judgement::{
        close_wait::PlanAction,
        finding::{Action, Edit, RuleId},
        timeline::Timeline,
        verdict::Decision,
    },
    lint::manifest::ManifestError,
    servers::Idle,
};

/// All objects of a run.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The objects that run pods, in the order in which they were read.
    pub objects: Vec<ObjectReport>,
    /// The inputs that could not be read.
    pub errors: Vec<ErrorReport>,
    /// Errors in comments that suppress findings, and pod templates in custom resources that could not be read.
    pub warnings: Vec<ErrorReport>,
    /// The skipped documents, files and directories.
    pub skipped: Skipped,
}

/// Documents, files and directories that were not linted.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// The number of documents that are not Kubernetes objects.
    pub documents: usize,
    /// Files with patches that no built kustomization uses.
    pub patches: Vec<String>,
    /// Files with templates that were not rendered.
    pub templates: Vec<String>,
    /// Directories that kustomize or Helm could not render.
    pub not_rendered: Vec<NotRendered>,
    /// The Kubernetes objects that were not judged, counted by kind.
    pub kinds: Vec<SkippedKind>,
    /// The objects whose pod template is that of another object.
    pub references: Vec<TemplateReference>,
}

/// Objects of one kind that were not judged.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedKind {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// The number of objects.
    pub objects: usize,
    /// Why they were not judged.
    pub why: NotJudged,
}

/// Why an object was not judged.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotJudged {
    /// A controller probably creates pods for it, but the object has no complete pod template.
    NoPodTemplate,
    /// Nothing in it looks like pods.
    NoPods,
}

/// An object that uses the pod template of another one.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateReference {
    /// `kind`.
    pub kind: String,
    /// The namespace; empty if it is not known.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The kind of the object with the pod template.
    pub target_kind: String,
    /// Its name.
    pub target_name: String,
    /// Whether that object was judged, too.
    pub judged: bool,
}

/// A directory that was not rendered.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRendered {
    /// Its kustomization.yaml or Chart.yaml.
    pub file: String,
    /// The reason.
    pub why: String,
}

/// The report on one object.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// `kind`.
    pub kind: String,
    /// The namespace; empty if it is not known.
    pub namespace: String,
    /// The name that messages show. If the object has several pod templates, it contains the path of the template.
    pub name: String,
    /// The path of the pod template in a custom resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The file that contains the object, as given.
    pub file: Option<String>,
    /// The line of the object in that file.
    pub line: Option<usize>,
    /// The kustomization.yaml or Chart.yaml of a rendered object; `file` is then the command, and `line` a line of its
    /// output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendered_from: Option<String>,
    /// The proxy.
    pub mesh: MeshReport,
    /// The containers that run as long as the pod does.
    pub containers: Vec<ContainerReport>,
    /// Their probes.
    pub probes: Vec<ProbeReport>,
    /// The close-wait timeout.
    pub close_wait: CloseWaitReport,
    /// The findings.
    pub findings: Vec<FindingReport>,
    /// Remarks about exemptions that have expired or are not allowed.
    pub remarks: Vec<String>,
    /// The verdict.
    #[schemars(schema_with = "decision_names")]
    #[serde(serialize_with = "decision_name")]
    pub verdict: Decision,
    /// What the webhook would change, as JSON Patch.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub patch: Vec<Edit>,
}

impl ObjectReport {
    /// The name of the object, without the path of the pod template.
    pub fn own_name(&self) -> &str {
        let own = || self.name.strip_suffix(')')?.strip_suffix(self.template.as_deref()?)?.strip_suffix(" (");
        own().unwrap_or(&self.name)
    }

    /// Whether the next report is on another pod template of the same object.
    fn is_same_object(&self, next: &Self) -> bool {
        let object = |it: &Self| (it.kind.clone(), it.namespace.clone(), it.own_name().to_owned());
        self.template.is_some()
            && self.template != next.template
            && (&self.file, self.line) == (&next.file, next.line)
            && object(self) == object(next)
    }

    /// The reports of each object, one for each of its pod templates.
    fn by_object(reports: &[Self]) -> impl Iterator<Item = &[Self]> {
        reports.chunk_by(Self::is_same_object)
    }
}

/// `3 objects`, and if an object has several pod templates, `3 objects with 5 pod templates`.
fn count_objects(reports: &[ObjectReport]) -> String {
    let objects = ObjectReport::by_object(reports).count();
    let text = count(objects, "object");
    if objects == reports.len() {
        text
    } else {
        format!("{text} with {}", count(reports.len(), "pod template"))
    }
}

/// Whether there is a proxy, and what it does with idle connections.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshReport {
    /// Whether the pod has a proxy.
    pub state: MeshState,
    /// The evidence.
    pub why: String,
    /// The Linkerd version, such as 2.14.
    pub line: Option<String>,
    /// How long the proxy keeps idle connections to the server.
    #[serde(rename = "poolIdleTimeoutSeconds")]
    pub pool_idle_timeout: Option<Seconds>,
    /// The evidence.
    pub pool_idle_timeout_from: String,
    /// Whether linkerd-cni sets up the network instead of linkerd-init.
    pub cni: bool,
}

/// Whether a pod has a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeshState {
    /// It has one.
    Injected,
    /// The injector will add one.
    WillBeInjected,
    /// It has none and will get none.
    NotMeshed,
}

impl MeshState {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::WillBeInjected => "will be injected",
            Self::NotMeshed => "not meshed",
        }
    }
}

/// A container and its server.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// The server's name in the catalog, or `unknown`.
    pub server: String,
    /// What the server does with idle connections.
    pub idle: IdleReport,
    /// The ports with a different idle timeout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortReport>,
}

/// What the server does with idle connections at one port.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// The port.
    pub port: u16,
    /// What the server does.
    pub idle: IdleReport,
}

/// What a server does with idle connections.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleReport {
    /// The kind.
    pub kind: IdleKind,
    /// The certainty: `certain` or `likely`; missing if the timeout is unknown.
    pub certainty: Option<&'static str>,
    /// The configured timeout, if it has one.
    pub seconds: Option<Seconds>,
    /// The earliest and the latest close.
    pub window_seconds: Option<[Seconds; 2]>,
    /// The evidence, or why the timeout is unknown.
    pub evidence: String,
}

/// The kinds of [`Idle`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleKind {
    /// The server closes idle connections after a timeout.
    ClosesAfter,
    /// The server closes each connection after a response.
    ClosesEachResponse,
    /// The server never closes idle connections.
    NeverCloses,
    /// The idle timeout is not known.
    Unknown,
}

impl From<&Idle> for IdleReport {
    fn from(idle: &Idle) -> Self {
        let certainty = idle.evidence().map(|evidence| evidence.certainty.as_str());
        let plain = |kind, evidence| Self { kind, certainty, seconds: None, window_seconds: None, evidence };
        match idle {
            Idle::ClosesAfter(window, evidence) => Self {
                kind: IdleKind::ClosesAfter,
                certainty,
                seconds: window.timeout.map(Seconds),
                window_seconds: Some([Seconds(window.from), Seconds(window.to)]),
                evidence: evidence.to_string(),
            },
            Idle::ClosesEachResponse(evidence) => plain(IdleKind::ClosesEachResponse, evidence.to_string()),
            Idle::NeverCloses(evidence) => plain(IdleKind::NeverCloses, evidence.to_string()),
            Idle::Unknown(why) => plain(IdleKind::Unknown, why.to_string()),
        }
    }
}

/// A probe, and whether it passes through the proxy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// The container.
    pub container: String,
    /// liveness, readiness or startup.
    pub probe: &'static str,
    /// The field of the pod spec: httpGet, grpc, ...
    pub handler: &'static str,
    /// The port's number, where it is known.
    pub port: Option<u16>,
    /// The period.
    #[serde(rename = "periodSeconds")]
    pub period: Seconds,
    /// Whether it passes through the proxy.
    pub proxied: bool,
    /// The reason.
    pub why: String,
}

/// The plan for the close-wait timeout.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseWaitReport {
    /// The plan.
    #[schemars(schema_with = "plan_names")]
    #[serde(serialize_with = "plan_name")]
    pub action: PlanAction,
    /// The timeout that results.
    pub seconds: Option<Seconds>,
    /// The reason.
    pub why: String,
}

/// Something that a rule found.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingReport {
    /// The rule.
    #[schemars(schema_with = "rule_names")]
    #[serde(serialize_with = "rule_name")]
    pub rule: RuleId,
    /// The action, after exemptions.
    #[schemars(schema_with = "action_names")]
    #[serde(serialize_with = "action_name")]
    pub action: Action,
    /// The reason of the exemption that applies.
    pub exempt: Option<String>,
    /// Whether requests can fail with the current proxy settings.
    pub reachable: bool,
    /// The certainty: `certain` or `likely`.
    pub certainty: &'static str,
    /// The container; missing if the finding is about the whole pod.
    pub container: Option<String>,
    /// The place and the fact.
    pub message: String,
    /// The reason: the evidence, and whether requests can fail now.
    pub note: String,
    /// How to fix it.
    pub help: String,
    /// The lines of the finding, the most important first.
    pub lines: Vec<LineReport>,
    /// The numbers that the rule compared; missing if the finding is not about idle connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineReport>,
    /// Why `lint` does not report it. The webhook ignores this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
}

impl FindingReport {
    /// Whether `lint` reports it.
    pub fn counts(&self) -> bool {
        self.action != Action::Ignore && self.suppressed.is_none()
    }
}

/// What happens to one connection after its last response.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineReport {
    /// The time from the start of all requests to the moment at which the connection becomes idle.
    #[serde(rename = "startSeconds")]
    pub start: Seconds,
    /// How long the requests leave the connection idle; `null` if requests can arrive at any time.
    #[serde(rename = "idleSeconds")]
    pub idle: Option<Seconds>,
    /// The earliest and the latest close by the server.
    #[serde(rename = "windowSeconds")]
    pub window: [Seconds; 2],
    /// The tolerance at both ends of the window.
    #[serde(rename = "toleranceSeconds")]
    pub tolerance: Seconds,
    /// How long the proxy may reuse the connection; `null` for HTTP/2, whose connection is reused while it is open.
    #[serde(rename = "poolIdleTimeoutSeconds")]
    pub pool: Option<Seconds>,
    /// The regular requests. All start together.
    pub requests: Vec<RequestsReport>,
    /// How many more probes the finding has.
    pub more: usize,
}

/// Requests with a period.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsReport {
    /// Their name, such as `liveness`.
    pub name: String,
    /// Their period.
    #[serde(rename = "periodSeconds")]
    pub period: Seconds,
}

impl From<&Timeline> for TimelineReport {
    fn from(timeline: &Timeline) -> Self {
        let requests = timeline.requests.iter();
        Self {
            start: Seconds(timeline.start),
            idle: timeline.idle.map(Seconds),
            window: [Seconds(timeline.window.from), Seconds(timeline.window.to)],
            tolerance: Seconds(timeline.tolerance),
            pool: timeline.pool.map(Seconds),
            requests: requests
                .map(|it| RequestsReport { name: it.name.clone(), period: Seconds(it.period) })
                .collect(),
            more: timeline.more,
        }
    }
}

/// Why `lint` does not report a finding.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Suppression {
    /// A comment in the manifest, with this reason.
    Comment(String),
    /// The baseline.
    Baseline,
}

/// A line of a file.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineReport {
    /// The file, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// An input that could not be read.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// The file, as given.
    pub file: String,
    /// The line, if it is known.
    pub line: Option<usize>,
    /// The column, if it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl ErrorReport {
    /// Something that went wrong with a cluster.
    pub fn of_cluster(message: String, help: Option<String>) -> Self {
        Self { file: "cluster".to_owned(), line: None, column: None, message, help }
    }
}

impl From<ManifestError> for ErrorReport {
    fn from(error: ManifestError) -> Self {
        let line = (error.line > 0).then_some(error.line);
        Self { file: error.file, line, column: error.column, message: error.message, help: error.help }
    }
}

/// A duration in seconds. Whole seconds have no decimal point.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq)]
#[schemars(with = "f64")]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

/// The JSON Schema of what `explain -o json` and `lint -o json` print.
pub fn schema() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<Report>()
}

fn rule_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": RuleId::ALL.map(RuleId::as_str)})
}

fn plan_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": PlanAction::ALL.map(PlanAction::as_str)})
}

fn decision_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": Decision::ALL.map(Decision::as_str)})
}

fn action_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": Action::ALL.map(Action::as_str)})
}

fn rule_name<S: Serializer>(rule: &RuleId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.as_str())
}

fn plan_name<S: Serializer>(plan: &PlanAction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(plan.as_str())
}

fn decision_name<S: Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(decision.as_str())
}

fn action_name<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.as_str())
}

#[cfg(test)]
mod tests;
