//! Checks the running injected pods: the timeouts that their init containers set, and pods that are older than the
//! webhook.
//!
//! Reads pods page by page, and keeps only a [`PodSummary`] of each.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::civil::Date;
use serde::Deserialize;

use super::{CheckId, CheckResult, Outcome, Read, Snapshot, dry_run, namespaces};
use crate::{
    base::plural::count,
    judgement::{
        close_wait::{self, CurrentState},
        finding::{Action, RuleId},
        judge::judge,
        policy::Policy,
    },
    linkerd::Injection,
    review::Mode,
    workload::{
        context::Context,
        object::{Kind, Object},
    },
};

/// The relevant properties of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodSummary {
    uid: String,
    name: String,
    namespace: String,
    owner: Workload,
    close_wait: CurrentState,
    /// Whether the webhook would patch it if it were recreated.
    would_be_patched: bool,
    /// Why it would be rejected if it were recreated.
    rejection: Option<String>,
}

/// The owner of a pod.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Workload {
    kind: String,
    name: String,
}

/// The metadata fields that only this module reads.
#[derive(Default, Deserialize)]
struct ObjectMetadata {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    uid: Option<String>,
}

/// The inputs for judging pods.
#[derive(Debug)]
pub struct PodJudge {
    policy: Policy,
    context: Context,
    today: Date,
}

impl PodJudge {
    /// Uses the policy of the installation, or the default policy if that cannot be read.
    pub fn of(snapshot: &Snapshot, today: Date) -> Self {
        let policy = snapshot.policy_in_force().unwrap_or_default();
        Self { policy, context: dry_run::context(snapshot), today }
    }

    /// Judges the JSON of a Pod; `None` if it has no proxy, or is terminating.
    pub fn summarize(&self, json: &str) -> Option<PodSummary> {
        let ObjectMetadata { metadata } = serde_json::from_str(json).ok()?;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        let object = Object::read_as(Kind::Pod, json).ok()?;
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let judgement =
            judge(&object, namespace, &self.context, &self.policy, self.today, Injection::Completed);
        judgement.survey.mesh.proxy()?;
        // The init container may have another image version than the server; only what it sets matters.
        let close_wait = close_wait::current(&object.pod, None);
        let would_be_patched = !judgement.verdict.edits().is_empty();
        let rejection = judgement
            .verdict
            .with_action(Action::Reject)
            .find(|finding| finding.rule == RuleId::ProbeMatchesIdleTimeout)
            .map(|finding| finding.message.clone());
        let owner = owner(&object);
        let (uid, name) = (metadata.uid.unwrap_or_default(), object.display_name());
        Some(PodSummary {
            uid,
            name,
            namespace: namespace.to_owned(),
            owner,
            close_wait,
            would_be_patched,
            rejection,
        })
    }
}

/// The Deployment of a ReplicaSet, otherwise the controller, otherwise the pod itself.
fn owner(object: &Object<'_>) -> Workload {
    let Some(owner) = &object.owner else {
        return Workload { kind: "pod".to_owned(), name: object.display_name() };
    };
    match object.deployment() {
        Some(deployment) => Workload { kind: "deployment".to_owned(), name: deployment.to_owned() },
        None => Workload { kind: owner.kind.to_lowercase(), name: owner.name.to_string() },
    }
}

/// The error for a namespace that does not exist; `None` if the namespaces could not be listed, because pods may exist
/// then.
pub fn missing_namespace(snapshot: &Snapshot, name: &str) -> Option<CheckResult> {
    let all = snapshot.namespaces.as_ref().ok()?;
    let there = all.iter().any(|namespace| namespace.metadata.name.as_deref() == Some(name));
    let outcome = || Outcome::Error(format!("the namespace {name} does not exist"));
    (!there).then(|| CheckResult::of(CheckId::CloseWait, outcome()))
}

/// The values read from the kernels of pods.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    /// The close-wait timeouts in seconds, by pod UID.
    pub timeouts: BTreeMap<String, u32>,
    /// The conntrack entries, by pod UID.
    pub entries: BTreeMap<String, Entries>,
    /// The errors for pods that could not be read.
    pub errors: Vec<String>,
}

/// The conntrack entries in the network namespace of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entries {
    /// The entries in CLOSE_WAIT.
    pub close_wait: usize,
    /// The entries in any state.
    pub all: u32,
    /// The maximum number of entries; 0 means no limit.
    pub max: u32,
}

impl Entries {
    /// Whether the number of entries is close to the limit; the threshold is that of the alert
    /// NodeHighNumberConntrackEntriesUsed in node_exporter's mixin.
    fn is_nearly_full(&self) -> bool {
        const THRESHOLD: f64 = 0.75;
        self.max > 0 && f64::from(self.all) > THRESHOLD * f64::from(self.max)
    }
}

/// The checks of `--proxy`; `kernels` is `None` if no kernel could be read.
pub fn checks(
    snapshot: &Snapshot,
    pods: &Read<Vec<PodSummary>>,
    kernels: Option<&Kernels>,
) -> Vec<CheckResult> {
    let pods = match pods {
        Ok(pods) => pods,
        Err(error) => return vec![CheckResult::unread(CheckId::CloseWait, error)],
    };
    let no_namespaces = Vec::new();
    let all = snapshot.namespaces.as_ref().unwrap_or(&no_namespaces);
    let acting: Vec<_> = namespaces::opted_in(snapshot, all)
        .into_iter()
        .filter(|it| it.mode != Mode::Audit)
        .map(|it| it.name)
        .collect();
    let acted_on: Vec<_> = pods.iter().filter(|pod| acting.contains(&pod.namespace.as_str())).collect();
    let mut results = values(pods);
    results.push(kernel_timeouts(pods, kernels));
    results.extend(kernels.map(|kernels| conntrack_entries(pods, kernels)));
    results.extend([failing_pods(pods), restarts(&acted_on), probe_races(&acted_on)]);
    results
}

/// The timeouts that init containers set, for each namespace.
fn values(pods: &[PodSummary]) -> Vec<CheckResult> {
    let id = CheckId::CloseWait;
    type Owners<'a> = BTreeMap<&'a Workload, usize>;
    let mut namespaces: BTreeMap<&str, BTreeMap<Option<u32>, Owners<'_>>> = BTreeMap::new();
    for pod in pods {
        let seconds = match pod.close_wait {
            CurrentState::Sets(_, seconds) => Some(seconds),
            CurrentState::Fails(_) | CurrentState::Unset => None,
        };
        let values = namespaces.entry(&pod.namespace).or_default();
        *values.entry(seconds).or_default().entry(&pod.owner).or_default() += 1;
    }
    if namespaces.is_empty() {
        return vec![CheckResult::good(id, format!("{}: there are none", id.description()))];
    }
    let describe = |(seconds, owners): (&Option<u32>, &Owners<'_>)| {
        let value =
            seconds.map_or_else(|| "the kernel's default".to_owned(), |seconds| format!("{seconds}s"));
        let owners: Vec<_> = owners
            .iter()
            .map(|(owner, number)| format!("{}/{} ({})", owner.kind, owner.name, count(*number, "pod")))
            .collect();
        format!("{value} in {}", owners.join(", "))
    };
    namespaces
        .iter()
        .map(|(name, values)| {
            let values: Vec<_> = values.iter().rev().map(describe).collect();
            CheckResult::good(id, format!("{} in {name}: {}", id.description(), values.join("; ")))
        })
        .collect()
}

/// The timeouts in the kernels, and the pods with another timeout than their init containers set.
fn kernel_timeouts(pods: &[PodSummary], kernels: Option<&Kernels>) -> CheckResult {
    let id = CheckId::CloseWaitKernel;
    let Some(kernels) = kernels else {
        let how = "not read: install with `linkerd-linger install --sockets`, or read one pod with `sockets \
             --debug-container`";
        return CheckResult::good(id, format!("{} ({how})", id.description()));
    };
    let mut values: BTreeMap<u32, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for pod in pods {
        let Some(seconds) = kernels.timeouts.get(&pod.uid) else { continue };
        *values.entry(*seconds).or_default() += 1;
        match pod.close_wait {
            CurrentState::Sets(_, set) if set != *seconds => {
                wrong.push(format!(
                    "{}/{}: {seconds}s instead of the {set}s that its init container sets",
                    pod.namespace, pod.name
                ));
            }
            CurrentState::Sets(..) | CurrentState::Fails(_) | CurrentState::Unset => {}
        }
    }
    let values =
        values.iter().rev().map(|(seconds, number)| format!("{seconds}s in {}", count(*number, "pod")));
    let mut values: Vec<_> = values.collect();
    let unread = pods.iter().filter(|pod| !kernels.timeouts.contains_key(&pod.uid)).count();
    if unread > 0 {
        values.push(format!("not read in {}", count(unread, "pod")));
    }
    let outcome = if wrong.is_empty() && !kernels.errors.is_empty() {
        Outcome::warn_about("these could not be read", &kernels.errors)
    } else {
        Outcome::warn_about("the kernel's value differs from the init container's", &wrong)
    };
    let mut result = CheckResult::of(id, outcome);
    if !values.is_empty() {
        result.description = format!("{}: {}", id.description(), values.join(", "));
    }
    result
}

/// The cost of the timeout: the pod with the most entries in CLOSE_WAIT, and the pods close to the limit.
fn conntrack_entries(pods: &[PodSummary], kernels: &Kernels) -> CheckResult {
    let id = CheckId::ConntrackEntries;
    let mut counted: Vec<_> =
        pods.iter().filter_map(|pod| Some((pod, *kernels.entries.get(&pod.uid)?))).collect();
    counted.sort_by_key(|(_, entries)| Reverse(entries.close_wait));
    let describe = |(pod, entries): &(&PodSummary, Entries)| {
        let Entries { close_wait, all, max } = entries;
        let limit = if *max > 0 { format!(" of at most {max}") } else { String::new() };
        let timeout = kernels.timeouts.get(&pod.uid).filter(|_| *close_wait > 0);
        let rate = timeout.map(|seconds| {
            let rate = *close_wait as f64 / f64::from(*seconds);
            format!(": {rate:.2} connections per second stay half-closed for {seconds}s")
        });
        let rate = rate.unwrap_or_default();
        format!("{}/{} {close_wait} in CLOSE_WAIT, {all}{limit} in all{rate}", pod.namespace, pod.name)
    };
    let near: Vec<_> = counted.iter().filter(|(_, entries)| entries.is_nearly_full()).map(describe).collect();
    let headline = "the kernel drops new connections of these pods at their conntrack limit; set a shorter \
         closeWait.timeout";
    let mut result = CheckResult::of(id, Outcome::warn_about(headline, &near));
    if let Some(most) = counted.first() {
        result.description = format!("{}: most in {}", id.description(), describe(most));
    }
    result
}

fn failing_pods(pods: &[PodSummary]) -> CheckResult {
    let items = group_by_owner(pods.iter().filter_map(|pod| match &pod.close_wait {
        CurrentState::Fails(why) => Some((pod, why.as_str())),
        CurrentState::Sets(..) | CurrentState::Unset => None,
    }));
    let items: Vec<_> = items
        .iter()
        .map(|(place, (number, why))| format!("{} ({}): {why}", place.shown(), count(*number, "pod")))
        .collect();
    CheckResult::of(CheckId::CloseWaitFails, Outcome::fail_about("these pods do not start", &items))
}

fn restarts(pods: &[&PodSummary]) -> CheckResult {
    let items = group_by_owner(pods.iter().filter(|pod| pod.would_be_patched).map(|pod| (*pod, "")));
    let items: Vec<_> = items.iter().map(|(place, (number, _))| place.restart(*number)).collect();
    CheckResult::of(
        CheckId::Restarts,
        Outcome::warn_about(
            "these pods were created before the webhook, so they are not patched until they are re-created",
            &items,
        ),
    )
}

fn probe_races(pods: &[&PodSummary]) -> CheckResult {
    let items = group_by_owner(pods.iter().filter_map(|pod| Some((*pod, pod.rejection.as_deref()?))));
    let items: Vec<_> = items
        .iter()
        .map(|(place, (number, why))| format!("{} ({}): {why}", place.shown(), count(*number, "pod")))
        .collect();
    CheckResult::of(
        CheckId::ProbeRaces,
        Outcome::warn_about(
            "these pods would be rejected or cause a warning when they are re-created",
            &items,
        ),
    )
}

#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Place<'a> {
    namespace: &'a str,
    owner: &'a Workload,
}

impl Place<'_> {
    fn shown(&self) -> String {
        format!("{} {}/{}", self.namespace, self.owner.kind, self.owner.name)
    }

    /// The command that recreates the pods, if there is one.
    fn restart(&self, number: usize) -> String {
        let Workload { kind, name } = self.owner;
        let pods = count(number, "pod");
        match kind.as_str() {
            "deployment" | "statefulset" | "daemonset" => {
                format!("kubectl rollout restart -n {} {kind}/{name}  # {pods}", self.namespace)
            }
            _ => format!("{} ({pods}): re-create them through their owner", self.shown()),
        }
    }
}

/// Groups pods by owner, with the number of pods and the text for the first one.
fn group_by_owner<'a>(
    pods: impl Iterator<Item = (&'a PodSummary, &'a str)>,
) -> BTreeMap<Place<'a>, (usize, &'a str)> {
    let mut owners = BTreeMap::new();
    for (pod, why) in pods {
        let place = Place { namespace: &pod.namespace, owner: &pod.owner };
        owners.entry(place).or_insert((0, why)).0 += 1;
    }
    owners
}
