//! What people and programs see: the verdict on each object, and what led to it.
//!
//! Plain data, filled by the judgement and made into words by `text` and `json`. The names of the JSON are an
//! interface: scripts read them.

pub mod catalog;
pub mod github;
pub mod json;
pub mod junit;
mod object;
pub mod sarif;
pub mod text;

use std::time::Duration;

use json_patch::Patch;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Serialize, Serializer};

use crate::{
    judgement::{
        close_wait::PlanAction,
        finding::{Action, RuleId},
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
    /// What could not be read.
    pub errors: Vec<ErrorReport>,
    /// What is wrong with comments that suppress findings.
    pub warnings: Vec<ErrorReport>,
    /// What was passed over.
    pub skipped: Skipped,
}

/// What was read, or found, and not linted.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// How many documents are no objects of Kubernetes.
    pub documents: usize,
    /// The files of patches that no kustomization was built with.
    pub patches: Vec<String>,
    /// The files of templates that nothing rendered.
    pub templates: Vec<String>,
    /// The directories that kustomize or Helm should have rendered, and did not.
    pub not_rendered: Vec<NotRendered>,
}

/// A directory that was not rendered.
#[derive(Clone, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRendered {
    /// Its kustomization.yaml or Chart.yaml.
    pub file: String,
    /// Why.
    pub why: String,
}

/// What is to be said of one object.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// `kind`.
    pub kind: String,
    /// The namespace; empty when unknown.
    pub namespace: String,
    /// The name for messages.
    pub name: String,
    /// The file that it comes from, as given.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<usize>,
    /// The kustomization.yaml or Chart.yaml that it was rendered from; `file` then names the command, and `line` is one of
    /// its output.
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
    /// What the rules found.
    pub findings: Vec<FindingReport>,
    /// What is to be said besides: exemptions that are over or not allowed.
    pub remarks: Vec<String>,
    /// What follows.
    #[schemars(schema_with = "decision_names")]
    #[serde(serialize_with = "decision_name")]
    pub verdict: Decision,
    /// What the webhook would change, as JSON Patch.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub patch: Patch,
}

/// Whether there is a proxy, and what it does with idle connections.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshReport {
    /// Whether there is one.
    pub state: MeshState,
    /// How we know.
    pub why: String,
    /// The line of Linkerd.
    pub line: Option<String>,
    /// How long the proxy keeps idle connections to the server.
    #[serde(rename = "poolIdleTimeoutSeconds")]
    pub pool_idle_timeout: Option<Seconds>,
    /// How we know.
    pub pool_idle_timeout_from: String,
    /// The CNI plugin sets up the network in place of proxy-init.
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
    /// The same for ports where it is another.
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
    /// How sure it is: `certain` or `likely`; `None` where it is unknown.
    pub certainty: Option<&'static str>,
    /// The configured timeout, if it has one.
    pub seconds: Option<Seconds>,
    /// The earliest and the latest close.
    pub window_seconds: Option<[Seconds; 2]>,
    /// How we know, or why we do not.
    pub evidence: String,
}

/// The kinds of [`Idle`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleKind {
    /// It closes them after a while.
    ClosesAfter,
    /// It keeps none.
    ClosesEachResponse,
    /// It keeps them.
    NeverCloses,
    /// We do not know.
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
    /// How often.
    #[serde(rename = "periodSeconds")]
    pub period: Seconds,
    /// It passes through the proxy.
    pub proxied: bool,
    /// Why, or why not.
    pub why: String,
}

/// What is planned for the close-wait timeout.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseWaitReport {
    /// The plan.
    #[schemars(schema_with = "plan_names")]
    #[serde(serialize_with = "plan_name")]
    pub action: PlanAction,
    /// The timeout that results.
    pub seconds: Option<Seconds>,
    /// Why.
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
    /// What is done about it, exemptions and all.
    #[schemars(schema_with = "action_names")]
    #[serde(serialize_with = "action_name")]
    pub action: Action,
    /// The reason of the exemption that keeps anything from being done.
    pub exempt: Option<String>,
    /// Whether it can do harm with this pod's proxy as it is set up now.
    pub reachable: bool,
    /// How sure it is: `certain` or `likely`.
    pub certainty: &'static str,
    /// The container, unless it is about the whole pod.
    pub container: Option<String>,
    /// The place and the fact.
    pub message: String,
    /// The reason: how we know, and whether it can do harm now.
    pub note: String,
    /// The way out.
    pub help: String,
    /// The lines that it is about, most telling first.
    pub lines: Vec<LineReport>,
    /// What keeps `lint` from reporting it. The webhook does not see that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
}

impl FindingReport {
    /// Whether `lint` reports it.
    pub fn counts(&self) -> bool {
        self.action != Action::Ignore && self.suppressed.is_none()
    }
}

/// What keeps `lint` from reporting a finding.
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

/// Something that could not be read.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// The file, as given.
    pub file: String,
    /// The line, where there is one.
    pub line: Option<usize>,
    /// The column, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl From<ManifestError> for ErrorReport {
    fn from(error: ManifestError) -> Self {
        let line = (error.line > 0).then_some(error.line);
        Self { file: error.file, line, column: error.column, message: error.message, help: error.help }
    }
}

/// A duration that JSON has in seconds: whole ones without a point.
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
