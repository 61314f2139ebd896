//! What admission would do with the workloads of a cluster and with their running pods.
//!
//! [`Audit`] judges the JSON of one object after another, and keeps a report and a few numbers for each owner.
//! `read` gets the objects from the API server, and [`report`] has the result.

mod events;
mod policy_report;
mod read;
pub mod report;
mod text;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use jiff::civil::Date;
use serde::Deserialize;

use self::report::{
    Admission, AuditReport, ExemptionReport, ExemptionState, OwnerReport, PodCounts, Reference, Unknown,
};
pub use self::{
    policy_report::ReportApi,
    read::{Objects, Scope},
    text::{summary, text},
    write::Written,
};
use crate::{
    cluster::check::Snapshot,
    judgement::{
        close_wait::{self, CurrentState, Forecast, PlanAction},
        facts::workload,
        finding::Action,
        judge::{Judgement, judge},
        policy::{Policy, Subject},
        verdict::Decision,
    },
    linkerd::Injection,
    lint::report::{ErrorReport, IdleKind, MeshState, ObjectReport},
    review::Mode,
    workload::{
        context::Context,
        object::{Kind, Object},
    },
};

/// The workload that pods belong to, or a pod without one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Key {
    namespace: String,
    kind: String,
    name: String,
}

/// What is kept of an owner.
#[derive(Debug)]
struct Owner {
    report: ObjectReport,
    reference: Option<Reference>,
    admission: Admission,
    pods: PodCounts,
    refusals: BTreeSet<String>,
}

impl Owner {
    fn of(
        object: &Object<'_>,
        reference: Option<Reference>,
        judgement: &Judgement<'_>,
        policy: &Policy,
    ) -> Self {
        Self {
            report: ObjectReport::of(object, judgement).0,
            reference,
            admission: Admission::of(judgement, policy),
            pods: PodCounts::default(),
            refusals: BTreeSet::new(),
        }
    }
}

/// The audit of a cluster.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    context: Context,
    today: Date,
    modes: BTreeMap<String, Mode>,
    owners: BTreeMap<Key, Owner>,
    /// The CronJob of each Job, and the custom resource of each ReplicaSet, such as an Argo Rollout.
    owners_of: HashMap<Key, Key>,
    /// How many findings each exemption of the policy suppressed, in the order of the policy.
    exempted: Vec<usize>,
    errors: Vec<ErrorReport>,
}

/// The fields that only an audit reads.
#[derive(Default, Deserialize)]
struct Live {
    #[serde(default)]
    metadata: LiveMetadata,
    #[serde(default)]
    status: LiveStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveMetadata {
    #[serde(default)]
    deletion_timestamp: Option<String>,
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
struct LiveStatus {
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

impl Live {
    /// Whether it is being deleted, or is a Job that has ended: neither creates pods.
    fn is_over(&self, kind: Kind) -> bool {
        let ended = |condition: &Condition| {
            matches!(&*condition.kind, "Complete" | "Failed") && condition.status == "True"
        };
        self.metadata.deletion_timestamp.is_some()
            || kind == Kind::Job && self.status.conditions.iter().flatten().any(ended)
    }

    /// The object itself, or the controller of a pod: the pod is replaced more often than its controller.
    fn reference(self, kind: Kind) -> Option<Reference> {
        let LiveMetadata { name, uid, owner_references, .. } = self.metadata;
        let controller = owner_references
            .into_iter()
            .flatten()
            .find(|owner| kind == Kind::Pod && owner.controller == Some(true) && !owner.uid.is_empty());
        if let Some(LiveOwner { api_version, kind, name, uid, .. }) = controller {
            return Some(Reference { api_version, kind, name, uid });
        }
        let api_version = match kind.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        };
        Some(Reference { api_version, kind: kind.as_str().to_owned(), name: name?, uid: uid? })
    }
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
            owners: BTreeMap::new(),
            owners_of: HashMap::new(),
            errors: Vec::new(),
        }
    }

    /// Notes that something could not be read; the audit is not whole then.
    fn fail(&mut self, message: String, help: Option<String>) {
        self.errors.push(ErrorReport::of_cluster(message, help));
    }

    /// Judges the JSON of an object of this kind. Workloads come before pods.
    fn add(&mut self, kind: Kind, json: &str) {
        let live: Live = serde_json::from_str(json).unwrap_or_default();
        if live.is_over(kind) {
            return;
        }
        match Object::read_as(kind, json) {
            Ok(object) if kind == Kind::Pod => self.add_pod(&object, live),
            Ok(object) => self.add_workload(&object, live),
            Err(error) => self.fail(format!("cannot read a {}: {error}", kind.as_str()), None),
        }
    }

    fn add_workload(&mut self, object: &Object<'_>, live: Live) {
        let namespace = object.namespace.as_deref().unwrap_or_default().to_owned();
        let key = Key { namespace, kind: object.kind.as_str().to_owned(), name: object.display_name() };
        if let Some(owner) = &object.owner
            && (owner.judged().is_some() || object.kind == Kind::ReplicaSet)
        {
            // The pods of a Deployment are known by its name.
            if owner.judged() != Some(Kind::Deployment) {
                let (kind, name) = (owner.kind.to_string(), owner.name.to_string());
                let owner = Key { namespace: key.namespace.clone(), kind, name };
                self.owners_of.insert(key, owner);
            }
            return;
        }
        let injection = self.policy.injection(object.kind);
        let reference = live.reference(object.kind);
        let owner = self
            .judge(object, injection, |judgement, policy| Owner::of(object, reference, judgement, policy));
        self.owners.insert(key, owner);
    }

    fn add_pod(&mut self, pod: &Object<'_>, live: Live) {
        let key = self.key(pod);
        let known = self.owners.contains_key(&key);
        let (state, refusal, first) = self.judge(pod, Injection::Completed, |judgement, policy| {
            let first = (!known).then(|| Owner::of(pod, live.reference(Kind::Pod), judgement, policy));
            let refusal = judgement.verdict.with_action(Action::Reject).next();
            (PodState::of(pod, judgement), refusal.map(|finding| finding.message.clone()), first)
        });
        if let Some(mut first) = first {
            first.report.kind.clone_from(&key.kind);
            first.report.name.clone_from(&key.name);
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
        let controller = pod.owner.as_ref().map(|owner| key(&owner.kind, &owner.name));
        if let Some(owner) = controller.and_then(|controller| self.owners_of.get(&controller)) {
            return owner.clone();
        }
        workload(pod)
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
            .into_iter()
            .map(|(key, Owner { report, reference, admission, pods, refusals })| OwnerReport {
                mode: modes.get(&key.namespace).copied(),
                admission,
                pods,
                refusals: refusals.into_iter().collect(),
                reference,
                object: report,
            })
            .collect();
        let unknown = owners.iter().flat_map(Unknown::of).collect();
        AuditReport { owners, unknown, exemptions, errors: self.errors }
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
    fn of(owner: &OwnerReport) -> Vec<Self> {
        let object = &owner.object;
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
                name: object.name.clone(),
                container: container.name.clone(),
                why: container.idle.evidence.clone(),
            })
            .collect()
    }
}

impl Admission {
    /// What the webhooks would do with the object, or with its pods, in each mode.
    fn of(judgement: &Judgement<'_>, policy: &Policy) -> Self {
        let Judgement { plan, verdict, .. } = judgement;
        let patches =
            |forecast: &Forecast| forecast.rule.is_some_and(|rule| policy.action(rule) == Action::Patch);
        // A workload whose pods are not injected yet has no edits, but a forecast for each way to inject them.
        let all = !plan.forecasts.is_empty() && plan.forecasts.iter().all(patches);
        let patched = !verdict.edits().is_empty() || all;
        let may_be_patched = plan.forecasts.iter().any(patches);
        let decision = verdict.decision();
        let warned = match (decision, patched, may_be_patched) {
            (Decision::Admit, true, _) => "patched",
            (Decision::Admit, false, true) => "may be patched",
            (Decision::Admit, false, false) => "admitted",
            (Decision::Warn | Decision::Reject, true, _) => "patched, warned",
            (Decision::Warn | Decision::Reject, false, true) => "may be patched, warned",
            (Decision::Warn | Decision::Reject, false, false) => "warned",
        };
        let enforce = if decision == Decision::Reject { "rejected" } else { warned };
        let audit = if warned == "admitted" { warned } else { "recorded" };
        Self { enforce, warn: warned, audit }
    }
}

#[cfg(test)]
mod tests;
