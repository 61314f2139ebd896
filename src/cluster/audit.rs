//! What admission would do with the workloads of a cluster and with their running pods.
//!
//! [`Audit`] judges the JSON of one object after another, and keeps a report and a few numbers for each owner.
//! `read` gets the objects from the API server, and [`report`] has the result.

mod custom;
mod events;
mod html;
mod owners;
mod policy_report;
mod read;
pub mod report;
mod text;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::{
    html::page,
    policy_report::ReportApi,
    read::{Objects, Scope},
    text::{summary, text},
    write::Written,
};
use self::{
    owners::{Key, Owner, Owners},
    report::{AuditReport, ExemptionReport, ExemptionState, OwnerReport, Reference, Unknown},
};
use crate::{
    cluster::check::Snapshot,
    judgement::{
        close_wait::{self, CurrentState, PlanAction},
        finding::Action,
        judge::{Judgement, judge},
        policy::{Policy, Subject},
    },
    linkerd::Injection,
    lint::report::{ErrorReport, IdleKind, MeshState, ObjectReport},
    review::Mode,
    workload::{
        context::Context,
        object::{Kind, Object, TypeMeta, group_of, is_custom_group},
    },
};

/// The audit of a cluster.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    context: Context,
    today: Date,
    modes: BTreeMap<String, Mode>,
    owners: Owners,
    /// The API groups and kinds of the custom resources that own workloads or pods.
    custom_owners: BTreeSet<(String, String)>,
    /// How many findings each exemption of the policy suppressed, in the order of the policy.
    exempted: Vec<usize>,
    errors: Vec<ErrorReport>,
    /// What was left out on purpose, because the user may not list it.
    left_out: Vec<String>,
}

/// The fields that only an audit reads.
#[derive(Default, Deserialize)]
struct Live<'a> {
    #[serde(default)]
    metadata: LiveMetadata,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveMetadata {
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    owner_references: Option<Vec<LiveOwner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveOwner {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
struct JobStatus {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
}

/// The fields that custom resources have when their work has ended: those of Kubeflow and Tekton, of Argo Workflows, and
/// of JobSet.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomStatus {
    #[serde(default)]
    completion_time: Option<String>,
    #[serde(default)]
    finished_at: Option<String>,
    #[serde(default)]
    terminal_state: Option<String>,
}

impl Live<'_> {
    /// Whether it is being deleted, or is a Job or a custom resource that has ended: none of them creates pods.
    fn is_over(&self, kind: Kind) -> bool {
        let status = self.status.map_or("null", RawValue::get);
        let ended = |condition: &Condition| {
            matches!(&*condition.kind, "Complete" | "Failed") && condition.status == "True"
        };
        self.metadata.deletion_timestamp.is_some()
            || match kind {
                Kind::Job => {
                    let status: Option<JobStatus> = serde_json::from_str(status).unwrap_or_default();
                    status.and_then(|it| it.conditions).iter().flatten().any(ended)
                }
                Kind::Custom => {
                    let status: Option<CustomStatus> = serde_json::from_str(status).unwrap_or_default();
                    let status = status.unwrap_or_default();
                    let ends = [status.completion_time, status.finished_at, status.terminal_state];
                    ends.iter().flatten().any(|end| !end.is_empty())
                }
                Kind::Pod
                | Kind::Deployment
                | Kind::StatefulSet
                | Kind::DaemonSet
                | Kind::ReplicaSet
                | Kind::ReplicationController
                | Kind::CronJob
                | Kind::PodTemplate => false,
            }
    }

    fn controller(&self) -> Option<&LiveOwner> {
        self.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
    }

    /// The object itself.
    fn reference(&self, api_version: String, kind: &str) -> Option<Reference> {
        let LiveMetadata { name, uid, .. } = &self.metadata;
        Some(Reference { api_version, kind: kind.to_owned(), name: name.clone()?, uid: uid.clone()? })
    }
}

/// A built-in object itself, or the controller of a pod: the pod is replaced more often than its controller.
fn reference(live: &Live<'_>, kind: Kind) -> Option<Reference> {
    let controller = live.controller().filter(|owner| kind == Kind::Pod && !owner.uid.is_empty());
    if let Some(LiveOwner { api_version, kind, name, uid, .. }) = controller {
        return Some(Reference {
            api_version: api_version.clone(),
            kind: kind.clone(),
            name: name.clone(),
            uid: uid.clone(),
        });
    }
    let api_version = match kind.group() {
        "" => "v1".to_owned(),
        group => format!("{group}/v1"),
    };
    live.reference(api_version, kind.as_str())
}

impl Audit {
    /// Begins an audit with a policy. The namespaces are those of the snapshot; with `mode`, each of them is judged as if
    /// it had this mode, and otherwise as the webhook configurations say.
    pub fn new(snapshot: &Snapshot, policy: Policy, mode: Option<Mode>, today: Date) -> Self {
        let mut context = snapshot.context();
        context.known_images.clone_from(&policy.facts.index);
        let modes = match mode {
            Some(mode) => context.namespaces.keys().map(|name| (name.clone(), mode)).collect(),
            None => snapshot.modes(),
        };
        Self {
            exempted: vec![0; policy.exemptions.len()],
            policy,
            context,
            today,
            modes,
            owners: Owners::default(),
            custom_owners: BTreeSet::new(),
            errors: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Notes that something could not be read; the audit is not whole then.
    pub fn fail(&mut self, message: String, help: Option<String>) {
        self.errors.push(ErrorReport::of_cluster(message, help));
    }

    /// Judges the JSON of an object of this kind. Workloads come before pods.
    fn add(&mut self, kind: Kind, json: &str) {
        let live: Live<'_> = serde_json::from_str(json).unwrap_or_default();
        if live.is_over(kind) {
            return;
        }
        match Object::read_as(kind, json) {
            Ok(object) if kind == Kind::Pod => self.add_pod(&object, &live),
            Ok(object) => self.add_workload(&object, &live),
            Err(error) => self.fail(format!("cannot read a {}: {error}", kind.as_str()), None),
        }
    }

    /// Judges the JSON of a custom resource of this type. Custom resources come after workloads and pods.
    fn add_custom(&mut self, meta: &TypeMeta<'_>, json: &str) {
        let live: Live<'_> = serde_json::from_str(json).unwrap_or_default();
        if live.is_over(Kind::Custom) {
            return;
        }
        let LiveMetadata { namespace, name, .. } = &live.metadata;
        let key = Key {
            namespace: namespace.clone(),
            kind: meta.kind.to_string(),
            name: name.clone().unwrap_or_default(),
        };
        self.own(&key, live.controller());
        let objects = match Object::read_all_as(meta, json) {
            Ok(reading) => reading.objects(),
            Err(error) => return self.fail(format!("cannot read a {}: {error}", meta.kind), None),
        };
        for object in &objects {
            let injection = self.policy.injection(object.kind);
            let reference = live.reference(meta.api_version.to_string(), &meta.kind);
            let owner = self.judge(object, injection, |judgement, policy| {
                Owner::of(object, reference, judgement, policy)
            });
            self.owners.insert(key.clone(), owner);
        }
    }

    /// Notes the controller of an object, unless it is a Deployment, whose pods are known by its name.
    fn own(&mut self, object: &Key, controller: Option<&LiveOwner>) {
        self.note_custom(controller);
        let Some(LiveOwner { api_version, kind, name, .. }) = controller else { return };
        if Kind::find(group_of(api_version), kind) != Some(Kind::Deployment) {
            let (namespace, kind, name) = (object.namespace.clone(), kind.clone(), name.clone());
            self.owners.own(object.clone(), Key { namespace, kind, name });
        }
    }

    /// Notes the type of a custom resource that owns an object.
    fn note_custom(&mut self, owner: Option<&LiveOwner>) {
        let Some(LiveOwner { api_version, kind, .. }) = owner else { return };
        let group = group_of(api_version);
        if is_custom_group(group) {
            self.custom_owners.insert((group.to_owned(), kind.clone()));
        }
    }

    fn add_workload(&mut self, object: &Object<'_>, live: &Live<'_>) {
        let namespace = object.namespace.as_deref().unwrap_or_default().to_owned();
        let key = Key { namespace, kind: object.kind.as_str().to_owned(), name: object.display_name() };
        self.own(&key, live.controller());
        let is_judged = object.owner.as_ref().is_some_and(|owner| owner.judged().is_some());
        if is_judged || object.owner.is_some() && object.kind == Kind::ReplicaSet {
            return;
        }
        let injection = self.policy.injection(object.kind);
        let reference = reference(live, object.kind);
        let owner = self
            .judge(object, injection, |judgement, policy| Owner::of(object, reference, judgement, policy));
        self.owners.insert(key, owner);
    }

    fn add_pod(&mut self, pod: &Object<'_>, live: &Live<'_>) {
        self.note_custom(live.controller());
        let key = self.key(pod);
        let known = self.owners.contains(&key);
        let (state, refusal, first) = self.judge(pod, Injection::Completed, |judgement, policy| {
            let first = (!known).then(|| Owner::of(pod, reference(live, Kind::Pod), judgement, policy));
            let refusal = judgement.verdict.with_action(Action::Reject).next();
            (PodState::of(pod, judgement), refusal.map(|finding| finding.message.clone()), first)
        });
        if let Some(mut first) = first {
            first.is_of_pod = true;
            for report in &mut first.reports {
                report.kind.clone_from(&key.kind);
                report.name.clone_from(&key.name);
            }
            self.owners.insert(key.clone(), first);
        }
        let Some(owner) = self.owners.get_mut(&key) else { return };
        let pods = &mut owner.pods;
        pods.running += 1;
        pods.meshed += usize::from(state.meshed);
        pods.without_timeout += usize::from(state.without_timeout);
        pods.patched_if_recreated += usize::from(state.patched_if_recreated);
        pods.crash_looping += usize::from(state.crash_looping);
        if let Some(refusal) = refusal {
            pods.rejected_if_recreated += 1;
            owner.refusals.insert(refusal);
        }
    }

    /// The owner of a pod: its Deployment, CronJob or another controller, otherwise the pod itself.
    fn key(&self, pod: &Object<'_>) -> Key {
        let namespace = pod.namespace.as_deref().unwrap_or_default();
        let key = |kind: &str, name: &str| Key {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        if let Some(owner) = &pod.owner {
            let controller = key(&owner.kind, &owner.name);
            let owner = self.owners.judged_or_last(controller.clone());
            if owner != controller {
                return owner;
            }
        }
        pod.workload()
            .map_or_else(|| key(pod.kind.as_str(), &pod.display_name()), |(kind, name)| key(kind, name))
    }

    /// Judges an object, and counts the exemptions that cover its findings.
    fn judge<R>(
        &mut self,
        object: &Object<'_>,
        injection: Injection,
        then: impl FnOnce(&Judgement<'_>, &Policy) -> R,
    ) -> R {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let judgement = judge(object, namespace, &self.context, &self.policy, self.today, injection);
        let subject = Subject::of(object, namespace);
        for (exemption, exempted) in self.policy.exemptions.iter().zip(&mut self.exempted) {
            let covered = judgement.verdict.judged.iter();
            *exempted += covered.filter(|judged| exemption.covers(&subject, judged.finding.rule)).count();
        }
        then(&judgement, &self.policy)
    }

    /// The result.
    pub fn finish(mut self) -> AuditReport {
        let exemptions = mem::take(&mut self.exempted);
        let exemptions = self.policy.exemptions.iter().zip(exemptions).filter_map(|(exemption, covered)| {
            let state = match (exemption.until < self.today, covered) {
                (true, _) => ExemptionState::Expired,
                (false, 0) => ExemptionState::Unused,
                (false, _) => return None,
            };
            Some(ExemptionReport {
                line: exemption.line,
                reason: exemption.reason.clone(),
                until: exemption.until.to_string(),
                state,
            })
        });
        let exemptions = exemptions.collect();
        let modes = self.modes;
        let owners: Vec<_> = self
            .owners
            .finish()
            .into_iter()
            .filter_map(|(key, Owner { reports, reference, admission, pods, refusals, .. })| {
                let mut reports = reports.into_iter();
                Some(OwnerReport {
                    mode: modes.get(&key.namespace).copied(),
                    admission,
                    pods,
                    refusals: refusals.into_iter().collect(),
                    reference,
                    own_name: key.name,
                    object: reports.next()?,
                    other_templates: reports.collect(),
                })
            })
            .collect();
        let unknown =
            owners.iter().flat_map(|owner| owner.objects().flat_map(|object| Unknown::of(owner, object)));
        let unknown = unknown.collect();
        AuditReport { owners, unknown, exemptions, errors: self.errors, left_out: self.left_out }
    }
}

/// What a running pod does, and what would change if it were created anew.
struct PodState {
    meshed: bool,
    without_timeout: bool,
    patched_if_recreated: bool,
    crash_looping: bool,
}

impl PodState {
    fn of(pod: &Object<'_>, judgement: &Judgement<'_>) -> Self {
        let meshed = judgement.survey.mesh.proxy().is_some();
        let wanted = !matches!(judgement.plan.action, PlanAction::None | PlanAction::Keep);
        Self {
            meshed,
            without_timeout: meshed && wanted,
            patched_if_recreated: meshed && !judgement.verdict.edits().is_empty(),
            // The init container may have another image version than the server; only what it sets matters.
            crash_looping: meshed && matches!(close_wait::current(&pod.pod, None), CurrentState::Fails(_)),
        }
    }
}

impl Unknown {
    /// The containers of an owner whose idle timeout matters and is not known.
    fn of(owner: &OwnerReport, object: &ObjectReport) -> Vec<Self> {
        if object.mesh.state == MeshState::NotMeshed {
            return Vec::new();
        }
        let probed: BTreeSet<_> =
            object.probes.iter().filter(|probe| probe.proxied).map(|probe| &*probe.container).collect();
        object
            .containers
            .iter()
            .filter(|container| container.idle.kind == IdleKind::Unknown && probed.contains(&*container.name))
            .map(|container| Self {
                namespace: object.namespace.clone(),
                kind: object.kind.clone(),
                name: owner.own_name.clone(),
                container: container.name.clone(),
                why: container.idle.evidence.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
