//! Groups what was judged by its owner: a workload, a custom resource, or a pod without one.
//!
//! A workload or a pod that a custom resource owns counts for the custom resource, if that has a pod template itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::report::{Admission, PodCounts, Reference};
use crate::{
    judgement::{close_wait::Forecast, finding::Action, judge::Judgement, policy::Policy, verdict::Decision},
    lint::report::ObjectReport,
    workload::object::Object,
};

/// The longest chain of owners. A Knative Service has one of four: Configuration, Revision, Deployment and ReplicaSet.
const MAX_OWNERS: usize = 16;

/// The workload that pods belong to, or a pod without one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub namespace: String,
    pub kind: String,
    pub name: String,
}

/// What is kept of an owner.
#[derive(Debug)]
pub(super) struct Owner {
    /// One for each pod template.
    pub reports: Vec<ObjectReport>,
    pub reference: Option<Reference>,
    pub admission: Admission,
    pub pods: PodCounts,
    pub refusals: BTreeSet<String>,
    /// Whether the report is on one of its pods, because the owner itself is not known yet.
    pub is_of_pod: bool,
    outcomes: Outcomes,
}

impl Owner {
    pub(super) fn of(
        object: &Object<'_>,
        reference: Option<Reference>,
        judgement: &Judgement<'_>,
        policy: &Policy,
    ) -> Self {
        let outcomes = Outcomes::of(judgement, policy);
        Self {
            reports: vec![ObjectReport::of(object, judgement).0],
            reference,
            admission: outcomes.admission(),
            pods: PodCounts::default(),
            refusals: BTreeSet::new(),
            is_of_pod: false,
            outcomes,
        }
    }

    /// Adds the next pod template of the same object.
    fn add_template(&mut self, other: Self) {
        self.reports.extend(other.reports);
        self.join(other.outcomes);
    }

    /// Adds what was found about a workload that this object owns, and its pods. A finding that both have counts once.
    fn add_owned(&mut self, key: &Key, other: Self) {
        let known: BTreeSet<_> = self
            .reports
            .iter()
            .flat_map(|report| &report.findings)
            .map(|finding| (finding.rule, finding.message.clone()))
            .collect();
        let new = other
            .reports
            .into_iter()
            .flat_map(|report| report.findings)
            .filter(|finding| !known.contains(&(finding.rule, finding.message.clone())));
        let owned = format!("{} {}", key.kind, key.name);
        let new = new.map(|mut finding| {
            finding.message = format!("{owned}: {}", finding.message);
            finding
        });
        if let Some(first) = self.reports.first_mut() {
            first.findings.extend(new);
        }
        self.join(other.outcomes);
        self.pods = self.pods + other.pods;
        self.refusals.extend(other.refusals);
    }

    fn join(&mut self, outcomes: Outcomes) {
        self.outcomes = self.outcomes.or(outcomes);
        self.admission = self.outcomes.admission();
    }
}

/// What admission does with a pod template, or with several.
#[derive(Clone, Copy, Debug)]
struct Outcomes {
    decision: Decision,
    patched: bool,
    may_be_patched: bool,
}

impl Outcomes {
    fn of(judgement: &Judgement<'_>, policy: &Policy) -> Self {
        let Judgement { plan, verdict, .. } = judgement;
        let patches =
            |forecast: &Forecast| forecast.rule.is_some_and(|rule| policy.action(rule) == Action::Patch);
        // A workload whose pods are not injected yet has no edits, but a forecast for each way to inject them.
        let all = !plan.forecasts.is_empty() && plan.forecasts.iter().all(patches);
        Self {
            decision: verdict.decision(),
            patched: !verdict.edits().is_empty() || all,
            may_be_patched: plan.forecasts.iter().any(patches),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            decision: self.decision.max(other.decision),
            patched: self.patched || other.patched,
            may_be_patched: self.may_be_patched || other.may_be_patched,
        }
    }

    /// What the webhooks would do with the object, or with its pods, in each mode.
    const fn admission(self) -> Admission {
        let Self { decision, patched, may_be_patched } = self;
        let warned = match (decision, patched, may_be_patched) {
            (Decision::Admit, true, _) => "patched",
            (Decision::Admit, false, true) => "may be patched",
            (Decision::Admit, false, false) => "admitted",
            (Decision::Warn | Decision::Reject, true, _) => "patched, warned",
            (Decision::Warn | Decision::Reject, false, true) => "may be patched, warned",
            (Decision::Warn | Decision::Reject, false, false) => "warned",
        };
        let enforce = if matches!(decision, Decision::Reject) { "rejected" } else { warned };
        let is_admitted = matches!((decision, patched, may_be_patched), (Decision::Admit, false, false));
        Admission { enforce, warn: warned, audit: if is_admitted { warned } else { "recorded" } }
    }
}

/// All owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    owners: BTreeMap<Key, Owner>,
    /// The CronJob of each Job, and the custom resource of each workload that one owns.
    controllers: HashMap<Key, Key>,
}

impl Owners {
    /// Notes the controller of an object.
    pub(super) fn own(&mut self, object: Key, controller: Key) {
        self.controllers.insert(object, controller);
    }

    /// The first judged object in the chain of owners that begins with this object; otherwise the last one of the chain,
    /// which is judged later or is not readable.
    pub(super) fn judged_or_last(&self, object: Key) -> Key {
        if self.contains(&object) {
            return object;
        }
        let judged = self.chain(&object).find(|key| self.contains(key));
        judged.or_else(|| self.chain(&object).last()).cloned().unwrap_or(object)
    }

    fn chain(&self, object: &Key) -> impl Iterator<Item = &Key> {
        std::iter::successors(self.controllers.get(object), |key| self.controllers.get(key)).take(MAX_OWNERS)
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.owners.contains_key(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Owner> {
        self.owners.get_mut(key)
    }

    /// Adds an owner, or a further pod template of one. It replaces what is known from its pods.
    pub(super) fn insert(&mut self, key: Key, owner: Owner) {
        match self.owners.get_mut(&key) {
            Some(known) if known.is_of_pod => {
                let Owner { pods, refusals, .. } = std::mem::replace(known, owner);
                (known.pods, known.refusals) = (pods, refusals);
            }
            Some(known) => known.add_template(owner),
            None => {
                self.owners.insert(key, owner);
            }
        }
    }

    /// The owners that no other one owns, by namespace, kind and name.
    pub(super) fn finish(mut self) -> BTreeMap<Key, Owner> {
        let mut owned = Vec::new();
        for key in self.owners.keys() {
            let judged = self.chain(key).filter(|owner| *owner != key && self.owners.contains_key(owner));
            if let Some(top) = judged.last() {
                owned.push((key.clone(), top.clone()));
            }
        }
        for (key, top) in owned {
            if let Some(owner) = self.owners.remove(&key) {
                match self.owners.get_mut(&top) {
                    Some(top) => top.add_owned(&key, owner),
                    // Objects that own each other.
                    None => drop(self.owners.insert(key, owner)),
                }
            }
        }
        self.owners
    }
}
