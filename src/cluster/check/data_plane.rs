//! The injected pods that run now: what their init containers set, and which are older than the webhook.
//!
//! Pods come a page at a time, and of each only a [`PodSummary`] is kept.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::civil::Date;
use serde::Deserialize;

use super::{CheckId, CheckResult, Outcome, Read, Snapshot, dry_run, namespaces};
use crate::{
    admission::review::Mode,
    base::plural::count,
    judgement::{
        close_wait::{self, CurrentState},
        facts::deployment_of,
        finding::{Action, RuleId},
        judge::judge,
        policy::Policy,
    },
    linkerd::Injection,
    workload::{
        context::Context,
        object::{Kind, Object},
        pod::TEMPLATE_HASH,
    },
};

/// What is to be known of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodSummary {
    uid: String,
    name: String,
    namespace: String,
    owner: Workload,
    close_wait: CurrentState,
    /// Whether the webhook would patch it, if it were created again.
    would_be_patched: bool,
    /// Why it would be rejected, if it were created again.
    rejection: Option<String>,
}

/// What a pod belongs to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Workload {
    kind: String,
    name: String,
}

/// What of a pod's metadata only we read.
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

/// What pods are judged by.
#[derive(Debug)]
pub struct PodJudge {
    policy: Policy,
    context: Context,
    today: Date,
}

impl PodJudge {
    /// By the policy of the installation, or the default one while that cannot be read.
    pub fn of(snapshot: &Snapshot, today: Date) -> Self {
        let policy = snapshot.policy_in_force().unwrap_or_default();
        Self { policy, context: dry_run::context(snapshot), today }
    }

    /// Judges a Pod's JSON; `None` where it has no proxy, or is on its way out.
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
        // Our container may be of an older image than the server's: it sets what it sets.
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

/// The Deployment behind a ReplicaSet, else the controller, else the pod itself.
fn owner(object: &Object<'_>) -> Workload {
    let Some(owner) = &object.owner else {
        return Workload { kind: "pod".to_owned(), name: object.display_name() };
    };
    let (kind, name) = (owner.kind.to_lowercase(), owner.name.to_string());
    if kind == "replicaset" {
        let hash = object.pod.labels.get(TEMPLATE_HASH);
        if let Some(deployment) = deployment_of(&name, hash) {
            return Workload { kind: "deployment".to_owned(), name: deployment.to_owned() };
        }
    }
    Workload { kind, name }
}

/// That a namespace to be looked at is not there; in one that cannot be seen there may be pods all the same.
pub fn missing_namespace(snapshot: &Snapshot, name: &str) -> Option<CheckResult> {
    let all = snapshot.namespaces.as_ref().ok()?;
    let there = all.iter().any(|namespace| namespace.metadata.name.as_deref() == Some(name));
    let outcome = || Outcome::Error(format!("the namespace {name} does not exist"));
    (!there).then(|| CheckResult::of(CheckId::CloseWait, outcome()))
}

/// What was read in the kernels of pods.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    /// Close-wait timeouts in seconds, by the UIDs of pods.
    pub timeouts: BTreeMap<String, u32>,
    /// The entries of conntrack, by the UIDs of pods.
    pub entries: BTreeMap<String, Entries>,
    /// Why pods could not be read.
    pub errors: Vec<String>,
}

/// The entries of conntrack in the network namespace of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entries {
    /// Those in CLOSE_WAIT.
    pub close_wait: usize,
    /// Those in any state.
    pub all: u32,
    /// How many there may be; 0 is no limit.
    pub max: u32,
}

impl Entries {
    /// Whether the limit is near (the share at which the alert NodeHighNumberConntrackEntriesUsed of node_exporter's
    /// mixin fires).
    fn is_nearly_full(&self) -> bool {
        const THRESHOLD: f64 = 0.75;
        self.max > 0 && f64::from(self.all) > THRESHOLD * f64::from(self.max)
    }
}

/// The checks of `--proxy`; `kernels` are `None` if there was no way to read any.
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

/// What is set in each namespace, and by whose pods.
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
        return vec![CheckResult::good(id, format!("{}: there are no such pods", id.description()))];
    }
    let told = |(seconds, owners): (&Option<u32>, &Owners<'_>)| {
        let value = seconds.map_or_else(|| "the kernel's own".to_owned(), |seconds| format!("{seconds}s"));
        let owners: Vec<_> = owners
            .iter()
            .map(|(owner, number)| format!("{}/{} ({})", owner.kind, owner.name, count(*number, "pod")))
            .collect();
        format!("{value} in {}", owners.join(", "))
    };
    namespaces
        .iter()
        .map(|(name, values)| {
            let values: Vec<_> = values.iter().rev().map(told).collect();
            CheckResult::good(id, format!("{} in {name}: {}", id.description(), values.join("; ")))
        })
        .collect()
}

/// The timeouts that were read, and the pods that have another one than their init containers set.
fn kernel_timeouts(pods: &[PodSummary], kernels: Option<&Kernels>) -> CheckResult {
    let id = CheckId::CloseWaitKernel;
    let Some(kernels) = kernels else {
        let how = "not read: `linkerd-linger install --sockets` makes them readable, `sockets --debug-container` reads one pod";
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
                    "{}/{}: {seconds}s, and not the {set}s that its init container sets",
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
        Outcome::warn_about("these have another value than their pods say", &wrong)
    };
    let mut result = CheckResult::of(id, outcome);
    if !values.is_empty() {
        result.description = format!("{}: {}", id.description(), values.join(", "));
    }
    result
}

/// What the timeout costs: the pod with the most entries in CLOSE_WAIT, and those that near the limit.
fn conntrack_entries(pods: &[PodSummary], kernels: &Kernels) -> CheckResult {
    let id = CheckId::ConntrackEntries;
    let mut counted: Vec<_> =
        pods.iter().filter_map(|pod| Some((pod, *kernels.entries.get(&pod.uid)?))).collect();
    counted.sort_by_key(|(_, entries)| Reverse(entries.close_wait));
    let told = |(pod, entries): &(&PodSummary, Entries)| {
        let Entries { close_wait, all, max } = entries;
        let limit = if *max > 0 { format!(" of at most {max}") } else { String::new() };
        let timeout = kernels.timeouts.get(&pod.uid).filter(|_| *close_wait > 0);
        let rate = timeout.map(|seconds| {
            let rate = *close_wait as f64 / f64::from(*seconds);
            format!(": {rate:.2} connections a second stay half-closed for {seconds}s")
        });
        let rate = rate.unwrap_or_default();
        format!("{}/{} {close_wait} in CLOSE_WAIT, {all}{limit} in all{rate}", pod.namespace, pod.name)
    };
    let near: Vec<_> = counted.iter().filter(|(_, entries)| entries.is_nearly_full()).map(told).collect();
    let headline =
        "at their limit, the kernel drops new connections of these; set a shorter closeWait.timeout";
    let mut result = CheckResult::of(id, Outcome::warn_about(headline, &near));
    if let Some(most) = counted.first() {
        result.description = format!("{}: most in {}", id.description(), told(most));
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
    CheckResult::of(CheckId::CloseWaitFails, Outcome::fail_about("these do not start", &items))
}

fn restarts(pods: &[&PodSummary]) -> CheckResult {
    let items = group_by_owner(pods.iter().filter(|pod| pod.would_be_patched).map(|pod| (*pod, "")));
    let items: Vec<_> = items.iter().map(|(place, (number, _))| place.restart(*number)).collect();
    CheckResult::of(
        CheckId::Restarts,
        Outcome::warn_about("these run without what the webhook adds, until they are created again", &items),
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
            "these run, and would be rejected or warned of when they are created again",
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

    /// The command that has the pods created again, where there is one.
    fn restart(&self, number: usize) -> String {
        let Workload { kind, name } = self.owner;
        let pods = count(number, "pod");
        match kind.as_str() {
            "deployment" | "statefulset" | "daemonset" => {
                format!("kubectl rollout restart -n {} {kind}/{name}  # {pods}", self.namespace)
            }
            _ => format!("{} ({pods}): to be created again by its owner", self.shown()),
        }
    }
}

/// Pods by what they belong to, with their number and what is to be said of the first.
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
