//! The result of an audit, as plain data. The names of the JSON are an interface: scripts read them.

use std::ops::Add;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Serialize, Serializer};

use crate::{
    cluster::check::ReadError,
    lint::report::{ErrorReport, FindingReport, MeshState, ObjectReport, Report},
    review::Mode,
    workload::object::{group_of, is_custom_group},
};

/// What admission would do with a cluster.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// The workloads, and the pods without one, by namespace, kind and name.
    pub owners: Vec<OwnerReport>,
    /// The containers whose idle timeout is not known.
    pub unknown: Vec<Unknown>,
    /// The exemptions of the policy that do nothing.
    pub exemptions: Vec<ExemptionReport>,
    /// What could not be read: the audit is not whole.
    pub errors: Vec<ErrorReport>,
    /// With `--only-permitted`, the custom resources that the user may not list. Their pods are judged all the same.
    pub left_out: Vec<String>,
}

impl AuditReport {
    /// Adds what could not be written.
    pub fn add_errors(&mut self, errors: &[ReadError]) {
        self.errors.extend(errors.iter().map(|error| ErrorReport::of_cluster(error.to_string(), None)));
    }

    /// The owners whose pods would not come back after a drain of their nodes.
    pub fn drained(&self) -> impl Iterator<Item = &OwnerReport> {
        self.owners.iter().filter(|owner| owner.breaks_when_drained())
    }

    /// The owners with pods that a restart fixes, and how to restart them.
    pub fn restarts(&self) -> impl Iterator<Item = (&OwnerReport, Restart)> {
        let acted_on = self.owners.iter().filter(|owner| owner.is_acted_on());
        acted_on.filter(|owner| owner.pods.patched_if_recreated > 0).map(|owner| {
            let restart = match owner.restart() {
                _ if owner.breaks_when_drained() => Restart::NotYet,
                Some(command) => Restart::Command(command),
                None => Restart::ThroughOwner,
            };
            (owner, restart)
        })
    }

    /// The reports on the objects, for the formats that `lint` has too.
    pub fn objects(&self) -> Report {
        Report {
            objects: self.owners.iter().flat_map(OwnerReport::objects).cloned().collect(),
            errors: self.errors.clone(),
            ..Report::default()
        }
    }
}

/// A workload with its running pods.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReport {
    /// The mode of the namespace; missing if the webhooks are not called for it.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "mode_name")]
    pub mode: Option<Mode>,
    /// What the webhooks would do with it in each mode.
    pub admission: Admission,
    /// Its running pods.
    pub pods: PodCounts,
    /// Why its running pods would be rejected if they were created anew.
    pub refusals: Vec<String>,
    /// The live object that owns what is written about it; not part of the JSON.
    #[serde(skip)]
    pub reference: Option<Reference>,
    /// The name of the workload, without the path of a pod template; not part of the JSON.
    #[serde(skip)]
    pub own_name: String,
    /// The workload; the first of its pods if the workload itself is not readable.
    #[serde(flatten)]
    pub object: ObjectReport,
    /// The other pod templates of a custom resource that has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_templates: Vec<ObjectReport>,
}

impl OwnerReport {
    /// The report on each pod template.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectReport> {
        std::iter::once(&self.object).chain(&self.other_templates)
    }

    /// The findings of all pod templates.
    pub fn findings(&self) -> impl Iterator<Item = &FindingReport> {
        self.objects().flat_map(|object| &object.findings)
    }

    /// Whether its pods have a proxy, or will get one.
    pub fn is_meshed(&self) -> bool {
        self.objects().any(|object| object.mesh.state != MeshState::NotMeshed)
    }

    /// Whether the webhook acts on pods of the namespace now.
    pub fn is_acted_on(&self) -> bool {
        matches!(self.mode, Some(Mode::Enforce | Mode::Warn))
    }

    /// Whether pods that are evicted, as by a drain, would not come back.
    pub fn breaks_when_drained(&self) -> bool {
        self.mode == Some(Mode::Enforce) && self.pods.rejected_if_recreated > 0
    }

    /// `deployment/cart`, as kubectl takes it.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.object.kind.to_lowercase(), self.own_name)
    }

    /// The command that creates its pods anew, for the kinds that have one.
    pub fn restart(&self) -> Option<String> {
        // Custom resources can have the same kinds, and kubectl restarts only those of Kubernetes.
        let is_custom = self.reference.as_ref().is_some_and(|it| is_custom_group(group_of(&it.api_version)));
        (!is_custom && matches!(&*self.object.kind, "Deployment" | "StatefulSet" | "DaemonSet"))
            .then(|| format!("kubectl rollout restart -n {} {}", self.object.namespace, self.reference()))
    }
}

/// How pods are created anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restart {
    /// With this command.
    Command(String),
    /// Not before the findings are fixed, because the new pods would be rejected.
    NotYet,
    /// Through their owner: there is no command for its kind.
    ThroughOwner,
}

/// A reference to a live object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// What the webhooks would do with an object in each mode: `rejected`, `patched`, `warned`, `recorded` or `admitted`. A
/// patch that depends on how Linkerd injects the pod is `may be patched`, and a patch with a warning `patched, warned`.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// In the mode `enforce`.
    pub enforce: &'static str,
    /// In the mode `warn`.
    pub warn: &'static str,
    /// In the mode `audit`, which users do not see.
    pub audit: &'static str,
}

/// The numbers of running pods.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// All that run or start.
    pub running: usize,
    /// Those with a proxy.
    pub meshed: usize,
    /// Those with a proxy and without the close-wait timeout that the policy wants.
    pub without_timeout: usize,
    /// Those that the webhook would patch if they were created anew.
    pub patched_if_recreated: usize,
    /// Those that the webhook would reject in the mode `enforce` if they were created anew.
    pub rejected_if_recreated: usize,
    /// Those whose linkerd-init cannot succeed.
    pub crash_looping: usize,
}

impl Add for PodCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            running: self.running + other.running,
            meshed: self.meshed + other.meshed,
            without_timeout: self.without_timeout + other.without_timeout,
            patched_if_recreated: self.patched_if_recreated + other.patched_if_recreated,
            rejected_if_recreated: self.rejected_if_recreated + other.rejected_if_recreated,
            crash_looping: self.crash_looping + other.crash_looping,
        }
    }
}

/// A container whose idle timeout is not known, though a probe passes through the proxy.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unknown {
    /// The namespace.
    pub namespace: String,
    /// The kind of the workload.
    pub kind: String,
    /// The name of the workload.
    pub name: String,
    /// The container.
    pub container: String,
    /// The reason.
    pub why: String,
}

impl Unknown {
    /// The workload, as kubectl takes it.
    pub fn workload(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// The command that measures the timeout.
    pub fn command(&self) -> String {
        format!("linkerd linger measure -n {} {}", self.namespace, self.workload())
    }
}

/// An exemption of the policy that does nothing.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptionReport {
    /// Its line in the policy.
    pub line: u64,
    /// Its reason.
    pub reason: String,
    /// Its last day.
    pub until: String,
    /// Why it does nothing.
    pub state: ExemptionState,
}

impl ExemptionReport {
    /// Why it does nothing.
    pub fn why(&self) -> String {
        match self.state {
            ExemptionState::Expired => format!("it expired on {}", self.until),
            ExemptionState::Unused => "it covers no finding".to_owned(),
        }
    }
}

/// Why an exemption does nothing.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExemptionState {
    /// Its last day is over.
    Expired,
    /// It covers no finding of the objects that were read.
    Unused,
}

/// The JSON Schema of what `audit -o json` prints.
pub fn schema() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<AuditReport>()
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn mode_name<S: Serializer>(mode: &Option<Mode>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(Mode::as_str).serialize(serializer)
}
