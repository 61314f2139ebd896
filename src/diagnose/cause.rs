//! What is known of the failures of a port -> their causes.
//!
//! A race and an app that ends a request say the same words. Time tells them apart: a race fails within a few milliseconds,
//! after a pause that is always the same, and it fails a small share of the requests. The app's own end of a request takes as
//! long as it takes. What is not known is never taken for known: without a time nothing is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Cause, Direction, FAST, SLOW,
    error::{Kind, Named},
    log::{FailedRequest, Key, Logs, Port},
    metrics::{self, Metrics},
    pattern::{Gap, PATTERN, SAME_GAP, is_regular, milliseconds, period, seconds},
    spec::{Closes, SpecPort},
};
use crate::{
    base::duration,
    judgement::timeline::{Requests, Timeline},
    servers::Window,
};

/// More than this of the requests no race fails: 19 % were measured where twelve connections met the moment at once.
const MAX_RACE_SHARE: f64 = 0.3;
/// So much of the requests fails only where something is broken: no stream of requests met the race twice in a row.
const BROKEN: f64 = 0.5;

/// A timeline has at most this many probes.
const MAX_DRAWN: usize = 4;

/// The failures of one cause at a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// How many requests failed so.
    pub count: u64,
    /// `certain` or `likely`; `None` where the cause is undetermined.
    pub certainty: Option<&'static str>,
    /// How many of them had which status; those whose status is unknown are left out.
    pub statuses: BTreeMap<u16, u64>,
    /// When the first and the last failed, in microseconds.
    pub times: Option<Times>,
    /// The time between failures, if it is always the same or a multiple of it.
    pub period: Option<Duration>,
    /// How we know.
    pub evidence: Vec<String>,
    /// What ends it, or what would tell the cause.
    pub help: String,
    /// The idle timeouts of the server and of the proxy, if they are the cause and known.
    pub timeline: Option<Timeline>,
}

/// When the first and the last failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// The first, in microseconds.
    pub first: i64,
    /// The last, in microseconds.
    pub last: i64,
    /// They are since 1970, not since the start of the proxy.
    pub wall: bool,
}

/// What is known of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortDiagnosis {
    /// The port.
    pub key: Key,
    /// How many requests there were, where a source tells.
    pub requests: Option<u64>,
    /// What failed.
    pub findings: Vec<Finding>,
    /// Who sent the requests that failed.
    pub clients: Vec<(String, u64)>,
}

/// Finds the causes. `spec` is what the spec says of the inbound ports.
pub fn diagnose(logs: &Logs, metrics: &Metrics, spec: &BTreeMap<u16, SpecPort>) -> Vec<PortDiagnosis> {
    let (limit, slow) = metrics.slow_outbound();
    let keys: BTreeSet<Key> = logs.ports.keys().chain(metrics.ports.keys()).copied().collect();
    let nothing = (Port::default(), metrics::Port::default());
    keys.into_iter()
        .map(|key| {
            let port = logs.ports.get(&key).unwrap_or(&nothing.0);
            let counted = metrics.ports.get(&key);
            let slow = slow.get(&key.1).filter(|_| key.0 == Direction::Outbound);
            let unexpected = slow.map(|slow| if *slow { (limit, u64::MAX) } else { (0, limit) });
            let spec = (key.0 == Direction::Inbound).then(|| spec.get(&key.1)).flatten();
            Case { key, port, counted, unexpected, spec, logs }.diagnose()
        })
        .filter(|port| !port.findings.is_empty() || port.requests.is_some_and(|requests| requests > 0))
        .collect()
}

struct Case<'a> {
    key: Key,
    port: &'a Port,
    counted: Option<&'a metrics::Port>,
    /// The bounds in milliseconds of how long the proxy's own 500s took, from the metrics of all outbound ports.
    unexpected: Option<(u64, u64)>,
    spec: Option<&'a SpecPort>,
    logs: &'a Logs,
}

/// What was decided of a failure.
struct Decision {
    cause: Cause,
    certain: bool,
    evidence: Vec<String>,
}

/// How long a failure took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speed {
    Fast,
    Between,
    Slow,
    Unknown,
}

impl Case<'_> {
    fn diagnose(&self) -> PortDiagnosis {
        let mut findings: Vec<Finding> = Vec::new();
        let mut ended: BTreeMap<u8, Vec<&FailedRequest>> = BTreeMap::new();
        let mut plain: BTreeMap<Cause, (Vec<&FailedRequest>, bool)> = BTreeMap::new();
        for failure in &self.port.failures {
            if failure.kind.is_ended_by_app() {
                ended.entry(self.speed(failure) as u8).or_default().push(failure);
            } else {
                let (cause, certain) = self.cause_of_kind(failure);
                let group = plain.entry(cause).or_insert_with(|| (Vec::new(), true));
                group.0.push(failure);
                group.1 &= certain;
            }
        }
        for (cause, (failures, certain)) in plain {
            findings.push(self.plain(cause, certain, &failures));
        }
        let of = |speed: Speed| ended.get(&(speed as u8)).map_or(&[][..], Vec::as_slice);
        let slow = of(Speed::Slow);
        if !slow.is_empty() {
            // A JSON log has the same words for an answer that is no HTTP, which becomes a 500.
            let certain = slow.iter().all(|it| it.kind != Kind::SendRequest || it.status == Some(502));
            let decision =
                Decision { cause: Cause::AppEndedRequest, certain, evidence: vec![self.took(slow)] };
            findings.push(self.finding(decision, slow));
        }
        let mut quick: Vec<&FailedRequest> = of(Speed::Fast).to_vec();
        quick.extend(of(Speed::Between));
        for group in [quick, of(Speed::Unknown).to_vec()] {
            if !group.is_empty() {
                findings.push(self.finding(self.ended(&group), &group));
            }
        }
        let causes: BTreeSet<Cause> = findings.iter().map(|finding| finding.cause).collect();
        for (kind, count) in &self.port.more {
            let alike: Vec<Cause> = if kind.is_ended_by_app() {
                let of_app = |cause: &Cause| matches!(cause, Cause::IdleTimeoutRace | Cause::AppEndedRequest);
                causes.iter().copied().filter(of_app).collect()
            } else {
                Vec::new()
            };
            findings.push(not_kept(*kind, *count, &alike));
        }
        PortDiagnosis {
            key: self.key,
            requests: self.requests(),
            findings: merged(findings),
            clients: self.clients(),
        }
    }

    fn requests(&self) -> Option<u64> {
        self.port.requests.or_else(|| Some(self.counted?.requests()).filter(|requests| *requests > 0))
    }

    /// The share of the requests that the app's end failed: at least, and at most, since lines of either log may be missing.
    fn share(&self) -> Option<(f64, f64)> {
        if let Some(requests) = self.port.requests {
            let ended =
                self.port.failures.iter().filter(|it| it.kind.is_ended_by_app() && it.duration.is_some());
            let ended = u64::try_from(ended.count()).unwrap_or(u64::MAX);
            return Some((ratio(ended, requests), ratio(self.port.access.failed.max(ended), requests)));
        }
        let counted = self.counted.filter(|counted| counted.requests() > 0)?;
        let share = ratio(counted.failed(), counted.requests());
        Some((share, share))
    }

    fn speed(&self, failure: &FailedRequest) -> Speed {
        let micros = |limit: Duration| i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
        if failure.at_least >= micros(SLOW) {
            return Speed::Slow;
        }
        match failure.duration {
            Some(duration) if duration <= micros(FAST) => return Speed::Fast,
            Some(duration) if duration >= micros(SLOW) => return Speed::Slow,
            Some(_) => return Speed::Between,
            None => {}
        }
        let milliseconds = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        match self.bounds(failure) {
            // Buckets are wide: nothing but a race is known to fail in between.
            Some((_, to)) if to <= milliseconds(SLOW) / 2 => Speed::Fast,
            Some((from, _)) if from >= milliseconds(SLOW) / 2 => Speed::Slow,
            Some(_) | None => Speed::Unknown,
        }
    }

    /// The bounds in milliseconds of how long answers with this status took, by the metrics.
    fn bounds(&self, failure: &FailedRequest) -> Option<(u64, u64)> {
        let counted = self.counted?;
        // A JSON log does not say what was reset; what did not become a 500 became a 502.
        let only_502 = || counted.statuses.get(&None).is_none_or(|count| *count == 0);
        let status =
            failure.status.or_else(|| (failure.kind == Kind::SendRequest && only_502()).then_some(502))?;
        match status {
            500 => counted.unexpected().or(self.unexpected),
            status => counted.latency(status),
        }
    }

    /// The cause of a failure whose words tell it, and whether they tell it for certain.
    fn cause_of_kind(&self, failure: &FailedRequest) -> (Cause, bool) {
        match failure.kind {
            Kind::Refused => (Cause::ConnectionRefused, true),
            Kind::ConnectTimeout => (Cause::ConnectTimeout, true),
            Kind::NotHttp => (Cause::NotHttp, true),
            Kind::Named(named) => (Cause::Other(named), true),
            Kind::Connect => {
                let only = |status| {
                    self.counted.is_some_and(|counted| {
                        let count = |status| counted.statuses.get(&Some(status)).copied().unwrap_or(0);
                        count(status) > 0 && count(1006 - status) == 0
                    })
                };
                match failure.status {
                    Some(504) => (Cause::ConnectTimeout, true),
                    Some(502) => (Cause::ConnectionRefused, false),
                    _ if only(504) => (Cause::ConnectTimeout, true),
                    _ if only(502) => (Cause::ConnectionRefused, false),
                    _ => (Cause::Undetermined, false),
                }
            }
            _ => (Cause::Undetermined, false),
        }
    }

    /// The cause of failures in which the app's end of the connection went away soon, or nobody knows when.
    fn ended(&self, failures: &[&FailedRequest]) -> Decision {
        let known = failures.iter().any(|failure| self.speed(failure) != Speed::Unknown);
        let mut evidence = Vec::new();
        if known {
            evidence.push(self.took(failures));
        }
        let share = self.share();
        if let Some((_, most)) = share {
            evidence.push(format!("{} of the requests failed", percent(most)));
        }
        let gap = Gap::of(failures);
        let undetermined = |evidence| Decision { cause: Cause::Undetermined, certain: false, evidence };
        let unspecific = failures.iter().any(|failure| failure.kind == Kind::SendRequest);

        let is_rare = share.is_some_and(|(_, most)| most <= MAX_RACE_SHARE);
        if share.is_some_and(|(least, _)| least > BROKEN) {
            if unspecific {
                evidence.push(
                    "nearly all requests fail, unlike in a race: the app closes each connection immediately, or \
                     it does not speak HTTP"
                        .to_owned(),
                );
                return undetermined(evidence);
            }
            evidence.push("nearly all requests fail, unlike in a race".to_owned());
            return Decision { cause: Cause::AppEndedRequest, certain: false, evidence };
        }
        if share.is_none() && is_regular(failures) {
            evidence.push("they fail at regular intervals, as if every request failed".to_owned());
            return undetermined(evidence);
        }
        if let Some(spec) = self.spec {
            match spec.closes {
                Closes::EachResponse | Closes::Never => {
                    evidence.push(format!("{} closes no idle connection ({})", spec.server, spec.evidence));
                    return undetermined(evidence);
                }
                Closes::After { from, certain, .. } if from > spec.pool && known => {
                    evidence.push(format!(
                        "{} keeps idle connections for {}, longer than the proxy ({})",
                        spec.server,
                        duration::format(from),
                        duration::format(spec.pool)
                    ));
                    // Nobody knows the code of the app: what is likely may be wrong.
                    let race = gap.as_ref().is_some_and(|gap| gap.is_same(failures.len()));
                    if certain && !race {
                        return Decision { cause: Cause::AppEndedRequest, certain: false, evidence };
                    }
                    return undetermined(evidence);
                }
                Closes::After { .. } | Closes::Unknown => {}
            }
        }
        let race = |evidence| Decision { cause: Cause::IdleTimeoutRace, certain: false, evidence };
        if let Some(gap) = &gap {
            let outside = self.port.access.outside(gap.from - SAME_GAP, gap.to + SAME_GAP);
            if gap.is_same(failures.len()) {
                let mut race = race(evidence.clone());
                race.evidence.push(gap.to_string());
                race.evidence.push(format!(
                    "so the server likely closes idle connections after {}",
                    seconds(i64::midpoint(gap.from, gap.to))
                ));
                if let Some(text) = self.matches_spec(gap) {
                    race.evidence.push(text);
                    race.certain = is_rare;
                } else {
                    // Requests after other pauses did not fail: it is the pause.
                    race.certain = failures.len() >= PATTERN && is_rare && outside > gap.same as u64;
                }
                if is_rare {
                    return race;
                }
            }
            if known && gap.of >= PATTERN && gap.same * 5 < gap.of * 2 {
                evidence.push(
                    "they occur after pauses of different length; a race occurs after pauses of the \
                     same length"
                        .to_owned(),
                );
                return undetermined(evidence);
            }
        }
        match share {
            Some(_) if known && is_rare => return race(evidence),
            None if known => return race(evidence),
            Some(_) if known => {
                evidence.push("that is more than in a race".to_owned());
                return undetermined(evidence);
            }
            _ => {}
        }
        let written = failures.iter().filter(|failure| failure.kind == Kind::WriteFailed).count();
        if written * 2 >= failures.len() {
            evidence.push(format!(
                "in {written} of {}, the connection was closed before the request was sent",
                failures.len()
            ));
            return race(evidence);
        }
        undetermined(evidence)
    }

    /// The pause is the idle timeout that the spec says.
    fn matches_spec(&self, gap: &Gap) -> Option<String> {
        let spec = self.spec?;
        let Closes::After { from, to, .. } = spec.closes else { return None };
        let micros = |it: Duration| i64::try_from(it.as_micros()).unwrap_or(i64::MAX);
        let middle = i64::midpoint(gap.from, gap.to);
        (micros(from) - 2 * SAME_GAP..=micros(to).saturating_add(2 * SAME_GAP)).contains(&middle).then(|| {
            format!(
                "{} closes idle connections after {} ({}), but the proxy keeps them for {}",
                spec.server,
                duration::format(from),
                spec.evidence,
                duration::format(spec.pool)
            )
        })
    }

    /// How long failures took, in a sentence.
    fn took(&self, failures: &[&FailedRequest]) -> String {
        let count = failures.len();
        let times: Vec<i64> = failures.iter().filter_map(|failure| failure.duration).collect();
        if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max())
            && times.len() == count
        {
            return if *most <= i64::try_from(FAST.as_micros()).unwrap_or(i64::MAX) {
                format!("{count} failed within {} of the request", milliseconds(*most))
            } else {
                format!(
                    "{count} failed {} to {} after the request",
                    milliseconds(*least),
                    milliseconds(*most)
                )
            };
        }
        if let Some(least) = failures.iter().map(|failure| failure.at_least).min().filter(|least| *least > 0)
        {
            return format!("{count} failed at least {} after the request", milliseconds(least));
        }
        let bounds = failures.iter().map(|failure| self.bounds(failure));
        let bounds: Option<(u64, u64)> = bounds
            .reduce(|one, other| one.zip(other).map(|(one, other)| (one.0.min(other.0), one.1.max(other.1))))
            .flatten();
        match bounds {
            Some((from, u64::MAX)) => {
                format!("{count} failed more than {from} ms after the request, according to the metrics")
            }
            Some((0, to)) => {
                format!("{count} failed within {to} ms of the request, according to the metrics")
            }
            Some((from, to)) => {
                format!("{count} failed {from} to {to} ms after the request, according to the metrics")
            }
            None => format!("{count} failed; their duration is not known"),
        }
    }

    fn plain(&self, cause: Cause, certain: bool, failures: &[&FailedRequest]) -> Finding {
        let mut evidence = Vec::new();
        match cause {
            Cause::Other(named) => evidence.push(named.describe().to_owned()),
            Cause::ConnectionRefused => evidence.push(if certain {
                "the kernel refused the connection".to_owned()
            } else {
                "the proxy could not open a connection, and returned a 502".to_owned()
            }),
            Cause::ConnectTimeout => {
                evidence.push("the app did not accept the connection in time".to_owned())
            }
            Cause::NotHttp => evidence.push("the app's response is not HTTP".to_owned()),
            Cause::IdleTimeoutRace | Cause::AppEndedRequest | Cause::Undetermined => {}
        }
        if let Some(share) = self.requests().filter(|requests| *requests > 0) {
            let failed = ratio(u64::try_from(failures.len()).unwrap_or(u64::MAX), share);
            evidence.push(format!("{} of the requests failed", percent(failed.min(1.0))));
        }
        self.finding(Decision { cause, certain, evidence }, failures)
    }

    fn finding(&self, decision: Decision, failures: &[&FailedRequest]) -> Finding {
        let mut statuses = BTreeMap::new();
        for status in failures.iter().filter_map(|failure| failure.status) {
            *statuses.entry(status).or_default() += 1;
        }
        let of = |time: fn(&FailedRequest) -> Option<i64>, wall| {
            let times = || failures.iter().filter_map(|failure| time(failure));
            Some(Times { first: times().min()?, last: times().max()?, wall })
        };
        let times =
            of(|failure| failure.at.wall, true).or_else(|| of(|failure| failure.at.since_start, false));
        let mut evidence = decision.evidence;
        let kubelet = failures.iter().filter(|failure| failure.from_kubelet).count();
        let meshed = failures.iter().filter(|failure| failure.meshed).count();
        if kubelet > 0 {
            evidence.push(format!("{kubelet} of them are probes of the kubelet"));
        }
        if meshed > 0 {
            evidence.push(format!("{meshed} of them are from meshed clients"));
        }
        Finding {
            cause: decision.cause,
            count: u64::try_from(failures.len()).unwrap_or(u64::MAX),
            certainty: match (decision.cause, decision.certain) {
                (Cause::Undetermined, _) => None,
                (_, true) => Some("certain"),
                (_, false) => Some("likely"),
            },
            statuses,
            times,
            period: period(failures),
            help: self.help(decision.cause, failures),
            timeline: self.timeline(decision.cause),
            evidence,
        }
    }

    /// The idle timeouts of the server and of the proxy, if the race is the cause and both are known.
    fn timeline(&self, cause: Cause) -> Option<Timeline> {
        let spec = self.spec.filter(|_| cause == Cause::IdleTimeoutRace)?;
        let Closes::After { from, to, .. } = spec.closes else { return None };
        let request = |period: &Duration| Requests { name: "probe".to_owned(), period: *period };
        (from < spec.pool).then(|| Timeline {
            start: Duration::ZERO,
            idle: None,
            window: Window { timeout: None, from, to },
            tolerance: Duration::ZERO,
            pool: Some(spec.pool),
            requests: spec.periods.iter().take(MAX_DRAWN).map(request).collect(),
            more: spec.periods.len().saturating_sub(MAX_DRAWN),
        })
    }

    fn help(&self, cause: Cause, failures: &[&FailedRequest]) -> String {
        match cause {
            Cause::IdleTimeoutRace => self.end_of_race(),
            Cause::AppEndedRequest => {
                "the app aborts requests that it has read: check its log and its restarts for crashes, worker timeouts and limits of requests per worker"
                    .to_owned()
            }
            Cause::ConnectionRefused => {
                "nothing listens on this port of the address that the proxy connects to: check that the app \
                 listens on this port, and on 0.0.0.0 or [::] instead of a single address"
                    .to_owned()
            }
            Cause::ConnectTimeout => {
                "the app accepts connections too slowly: raise its backlog (listen queue) or its number of workers".to_owned()
            }
            Cause::NotHttp => {
                "the port uses another protocol: add it to config.linkerd.io/opaque-ports, and probe it with \
                 tcpSocket or exec"
                    .to_owned()
            }
            Cause::Other(named) => format!("see {}", named.page()),
            Cause::Undetermined => self.what_would_tell(failures),
        }
    }

    fn end_of_race(&self) -> String {
        if let Some(help) = self.spec.and_then(|spec| spec.help.clone()) {
            return help;
        }
        match (self.key.0, self.spec) {
            (Direction::Inbound, Some(spec)) => format!(
                "raise {} above {} (how long the proxy keeps idle connections), or change the period of the requests",
                spec.setting,
                duration::format(spec.pool)
            ),
            (Direction::Inbound, None) => {
                "raise the server's idle timeout (keep-alive) above the 3s for which the proxy keeps idle \
                 connections (longer before Linkerd 2.11.5 and 2.12.1), or change the period of the requests; \
                 --manifest shows which setting to change"
                    .to_owned()
            }
            (Direction::Outbound, _) => {
                "the called server closes idle connections when the proxy re-uses them: raise that server's idle \
                 timeout, mesh it, or retry in the app; run diagnose on that workload"
                    .to_owned()
            }
        }
    }

    /// What would tell an undetermined cause.
    fn what_would_tell(&self, failures: &[&FailedRequest]) -> String {
        let timed = failures.iter().any(|failure| failure.duration.is_some());
        let mut ways = Vec::new();
        if self.logs.without_sources {
            ways.push("set config.linkerd.io/proxy-log-format: plain, because JSON logs do not contain the kind of error");
        }
        if self.counted.is_none() {
            ways.push("add the proxy's metrics with --metrics");
        }
        if !timed && self.key.0 == Direction::Inbound {
            ways.push(
                "set config.linkerd.io/access-log: json on the pods, to log the duration of each request",
            );
        }
        if self.spec.is_none() && self.key.0 == Direction::Inbound {
            ways.push("add the workload with --manifest");
        }
        if self.key.0 == Direction::Outbound {
            ways.push("run diagnose on the called workload");
        }
        if ways.is_empty() {
            ways.push("check the app's log at these times");
        }
        format!("to find the cause: {}", ways.join("; "))
    }

    fn clients(&self) -> Vec<(String, u64)> {
        const MAX_CLIENTS: usize = 5;
        let mut clients: Vec<(String, u64)> =
            self.port.clients.iter().map(|(address, count)| (address.to_string(), *count)).collect();
        clients.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        clients.truncate(MAX_CLIENTS);
        clients
    }
}

/// Failures beyond those that are kept one by one.
fn not_kept(kind: Kind, count: u64, alike: &[Cause]) -> Finding {
    let (cause, certainty) = match kind {
        // Those that are looked at all have this cause.
        _ if alike.len() == 1 => (alike[0], Some("likely")),
        Kind::Refused => (Cause::ConnectionRefused, Some("certain")),
        Kind::ConnectTimeout => (Cause::ConnectTimeout, Some("certain")),
        Kind::NotHttp => (Cause::NotHttp, Some("certain")),
        Kind::Named(named) => (Cause::Other(named), Some("certain")),
        _ => (Cause::Undetermined, None),
    };
    Finding {
        cause,
        count,
        certainty,
        statuses: BTreeMap::new(),
        times: None,
        period: None,
        evidence: vec![format!("{count} more failures, which were not analysed one by one")],
        help: match cause {
            Cause::Other(named) => format!("see {}", Named::page(named)),
            _ if !alike.is_empty() => String::new(),
            _ => "to analyse all failures: use a shorter log".to_owned(),
        },
        timeline: None,
    }
}

/// Puts findings of one cause and certainty together.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let same = merged
            .iter_mut()
            .find(|known| known.cause == finding.cause && known.certainty == finding.certainty);
        let Some(known) = same else {
            merged.push(finding);
            continue;
        };
        known.count += finding.count;
        for (status, count) in finding.statuses {
            *known.statuses.entry(status).or_default() += count;
        }
        known.times = match (known.times, finding.times) {
            (Some(one), Some(other)) if one.wall == other.wall => Some(Times {
                first: one.first.min(other.first),
                last: one.last.max(other.last),
                wall: one.wall,
            }),
            (one, other) => one.or(other),
        };
        known.period = known.period.filter(|period| finding.period == Some(*period));
        known.evidence.extend(
            finding.evidence.into_iter().filter(|text| !known.evidence.contains(text)).collect::<Vec<_>>(),
        );
    }
    merged.sort_by_key(|finding| (std::cmp::Reverse(finding.count), finding.cause));
    merged
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}
