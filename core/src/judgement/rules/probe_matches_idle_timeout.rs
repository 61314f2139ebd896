//! Periodic requests arrive when the server closes the idle connection.
//!
//! Measured with the real proxy: an HTTP/1 probe can fail if the connection has been idle for as long as the server's
//! timeout and is still in the proxy's pool. A connection that is used more often stays open; one that the proxy closes
//! earlier is not reused. HTTP/2 has no such pool, and has the race at any timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{MAX_FINDINGS, Rule, RuleInput, closes, evidence, or_declare, seconds};
use crate::{
    judgement::{
        finding::{Finding, RuleId},
        survey::{App, ProbeUse, Survey, Transport, port_transport},
        timeline::{Requests, Timeline},
        timing::{self, Budget},
    },
    linkerd::{Proxy, pool},
    servers::{Answer, Evidence, Idle, Origin, Window},
    workload::pod::ProbeKind,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::ProbeMatchesIdleTimeout,
    help: "probes or regular requests arrive at the moment when the server closes the idle connection",
    check,
};

/// The maximum number of probes that a finding names; further ones are counted.
const MAX_NAMED: usize = 4;

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    let Some(proxy) = input.survey.mesh.proxy() else { return Vec::new() };
    let mut findings = Vec::new();
    let mut budget = Budget::default();
    for (app, pools) in input.survey.apps.iter().zip(pools(input.survey)) {
        let server = |answer| {
            Some(Server { input, proxy, app, answer, window: window(answer)?.0, how: window(answer)?.1 })
        };
        for (pool, probes) in &pools {
            if let Some(server) = server(app.detected.at(Some(pool.port))) {
                server.check_probes(pool, probes, &mut budget, &mut findings);
            }
        }
        for server in app.answers().into_iter().filter_map(server) {
            server.check_traffic(&mut findings);
        }
        if findings.len() > MAX_FINDINGS {
            break;
        }
    }
    findings
}

/// When a server closes idle connections, with the evidence; `None` if it does not, or if it is unknown.
const fn window(answer: &Answer) -> Option<(&Window, &Evidence)> {
    match &answer.idle {
        Idle::ClosesAfter(window, evidence) => Some((window, evidence)),
        Idle::ClosesEachResponse(_) | Idle::NeverCloses(_) | Idle::Unknown(_) => None,
    }
}

/// The key of a pooled connection that probes share: the port, the protocol and the authority. Startup probes run
/// before the others, so they have their own.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Pool {
    port: u16,
    http2: bool,
    startup: bool,
    authority: Option<String>,
}

impl Pool {
    const fn transport(&self) -> Transport {
        if self.http2 { Transport::Http2 } else { Transport::Http1 }
    }
}

/// The pools of each app, with the probes that use them.
fn pools<'s>(survey: &'s Survey<'_, '_>) -> Vec<BTreeMap<Pool, Vec<&'s ProbeUse<'s>>>> {
    let mut pools: Vec<BTreeMap<_, Vec<_>>> = survey.apps.iter().map(|_| BTreeMap::new()).collect();
    for used in survey.probes.iter().filter(|used| used.transport.is_pooled()) {
        let Some(port) = used.probe.port else { continue };
        let pool = Pool {
            port,
            http2: used.transport == Transport::Http2,
            startup: used.probe.kind == ProbeKind::Startup,
            authority: used.authority(),
        };
        pools[used.answered_by].entry(pool).or_default().push(used);
    }
    pools
}

/// A time in which the requests leave a connection idle.
#[derive(Clone, Copy)]
struct Gap {
    /// When it begins.
    start: Duration,
    /// How long it is.
    idle: Duration,
}

/// A server whose idle timeout is known.
struct Server<'a> {
    input: &'a RuleInput<'a>,
    proxy: &'a Proxy,
    app: &'a App<'a, 'a>,
    answer: &'a Answer,
    window: &'a Window,
    how: &'a Evidence,
}

impl Server<'_> {
    fn check_probes(
        &self,
        pool: &Pool,
        probes: &[&ProbeUse<'_>],
        budget: &mut Budget,
        findings: &mut Vec<Finding>,
    ) {
        let (port, transport) = (pool.port, pool.transport());
        let periods: Vec<Duration> = probes.iter().map(|used| used.probe.period).collect();
        let matching: BTreeSet<Duration> =
            periods.iter().copied().filter(|period| self.input.meets(*period, self.window)).collect();
        for period in &matching {
            let of: Vec<_> = probes.iter().copied().filter(|used| used.probe.period == *period).collect();
            let runs = if of.len() == 1 { "runs" } else { "run" };
            let fact = format!("{} on port {port} {runs} every {}", self.name(&of), seconds(*period));
            let gap = Gap { start: Duration::ZERO, idle: *period };
            findings.push(self.finding(&fact, &of, transport, gap));
        }
        // Only gaps that are shorter than the pool's timeout can be dangerous.
        if transport == Transport::Http1 && self.window.from > self.proxy.pool.timeout {
            return;
        }
        let mut gaps: BTreeMap<Duration, Duration> = BTreeMap::new();
        for (timing::Gap { idle, .. }, start) in timing::gaps(&periods, pool.http2, budget) {
            if !matching.contains(&idle)
                && self.input.meets(idle, self.window)
                && self.reachable(transport, idle)
            {
                gaps.entry(idle).or_insert(start);
            }
        }
        for (idle, start) in gaps {
            let fact =
                format!("{} on port {port} leave a connection idle for {}", self.name(probes), seconds(idle));
            findings.push(self.finding(&fact, probes, transport, Gap { start, idle }));
        }
    }

    /// Checks the traffic that the pod declares, on every port that the proxy handles as HTTP.
    fn check_traffic(&self, findings: &mut Vec<Finding>) {
        let ports = &self.app.container.ports;
        if !ports.is_empty() && ports.iter().all(|port| port_transport(self.proxy, port.number).is_some()) {
            return;
        }
        for period in &self.input.survey.annotations.traffic_periods {
            if self.input.meets(*period, self.window) {
                let fact = format!("the declared traffic has a period of {}", seconds(*period));
                let gap = Gap { start: Duration::ZERO, idle: *period };
                findings.push(self.finding(&fact, &[], Transport::Http1, gap));
            }
        }
    }

    /// Whether the proxy may reuse a connection that has been idle for this long, and the server may have closed it.
    fn reachable(&self, transport: Transport, idle: Duration) -> bool {
        let kept = self.proxy.pool.timeout;
        transport == Transport::Http2 || (self.window.from <= kept && idle <= kept + self.input.tolerance)
    }

    fn finding(&self, fact: &str, probes: &[&ProbeUse<'_>], transport: Transport, gap: Gap) -> Finding {
        let idle = gap.idle;
        let pod = self.input.survey.pod;
        let at = probes
            .iter()
            .take(MAX_NAMED)
            .map(|used| pod.container_pointer(used.container, [used.probe.kind.field(), "periodSeconds"]))
            .chain([match &self.how.origin {
                Origin::SetBy { at, .. } => jsonptr::PointerBuf::parse(at.clone()).ok(),
                Origin::DefaultOf { .. } | Origin::Measured { .. } => None,
            }
            .unwrap_or_else(|| pod.container_pointer(self.app.container, []))])
            .collect();
        Finding {
            rule: RULE.id,
            reachable: self.reachable(transport, idle),
            certainty: self.how.certainty.clone(),
            container: Some(self.app.container.name.to_string()),
            at,
            message: format!(
                "{}: {}; {fact}",
                self.app.container.name,
                closes(self.app, self.window, self.how)
            ),
            note: format!("{}; {}", evidence(self.how), self.reachability(transport, idle)),
            help: self.help(transport, idle),
            edits: Arc::default(),
            timeline: Some(self.timeline(probes, transport, gap)),
        }
    }

    fn timeline(&self, probes: &[&ProbeUse<'_>], transport: Transport, gap: Gap) -> Timeline {
        let requests = if probes.is_empty() {
            vec![Requests { name: "declared traffic".to_owned(), period: gap.idle }]
        } else {
            let named = probes.iter().take(MAX_NAMED);
            named.map(|used| Requests { name: self.kind(used), period: used.probe.period }).collect()
        };
        Timeline {
            start: gap.start,
            idle: Some(gap.idle),
            window: *self.window,
            tolerance: self.input.tolerance,
            pool: (transport != Transport::Http2).then_some(self.proxy.pool.timeout),
            requests,
            more: probes.len().saturating_sub(MAX_NAMED),
        }
    }

    fn reachability(&self, transport: Transport, idle: Duration) -> String {
        let pool = &self.proxy.pool;
        let kept = seconds(pool.timeout);
        match transport {
            Transport::Http2 => {
                "can fail now: the proxy re-uses the HTTP/2 connection while it is open".to_owned()
            }
            _ if self.reachable(transport, idle) => {
                format!("can fail now: the proxy re-uses idle connections for up to {kept} ({})", pool.from)
            }
            _ => format!(
                "cannot fail with the current proxy settings: the proxy closes idle connections after {kept} ({}); \
                 can fail if that timeout is raised to {} or more",
                pool.from,
                seconds(self.window.from)
            ),
        }
    }

    fn help(&self, transport: Transport, idle: Duration) -> String {
        let mut ways =
            vec![format!("raise {} well above {}", self.app.idle_timeout_name(self.answer), seconds(idle))];
        if transport == Transport::Http1 && self.reachable(transport, idle) {
            ways.push(format!(
                "set {} of linkerd-proxy below {}",
                pool::setting_name(self.proxy.version, self.proxy.line),
                seconds(self.window.from)
            ));
        }
        let tolerance = self.input.tolerance;
        ways.push(format!(
            "choose a period below {} or above {}",
            seconds(self.window.from.saturating_sub(tolerance)),
            seconds(self.window.to + tolerance)
        ));
        ways.join(", or ") + &or_declare(self.how)
    }

    /// `the liveness probe`, `the liveness and readiness probes`; for another container `the front/liveness probe`.
    fn name(&self, probes: &[&ProbeUse<'_>]) -> String {
        let mut kinds: Vec<_> = probes.iter().take(MAX_NAMED).map(|used| self.kind(used)).collect();
        if probes.len() > MAX_NAMED {
            kinds.push(format!("{} more", probes.len() - MAX_NAMED));
        }
        match kinds.as_slice() {
            [one] => format!("the {one} probe"),
            [first @ .., last] => format!("the {} and {last} probes", first.join(", ")),
            [] => String::new(),
        }
    }

    fn kind(&self, used: &ProbeUse<'_>) -> String {
        let kind = used.probe.kind.as_str();
        if used.container.name == self.app.container.name {
            kind.to_owned()
        } else {
            format!("{}/{kind}", used.container.name)
        }
    }
}
