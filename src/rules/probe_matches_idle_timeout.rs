//! Requests that come in a rhythm meet the moment at which the server closes the idle connection.
//!
//! Measured on the real proxy: an HTTP/1 probe can fail if the connection was idle for as long as the server's
//! timeout, and the proxy's pool still had it. A connection that is used sooner stays warm; one that is closed earlier
//! is not used. HTTP/2 has no such pool, and the same race at any timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Case, Rule, closes, evidence, seconds};
use crate::{
    finding::{Finding, RuleId},
    linkerd::{Proxy, pool},
    pod::ProbeKind,
    servers::{Evidence, Idle, Window},
    survey::{App, ProbeUse, Way, port_way},
    timing,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::ProbeMatchesIdleTimeout,
    help: "regular requests come at the moment at which the server closes the idle connection",
    check,
};

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(proxy) = case.survey.mesh.proxy() else { return Vec::new() };
    let mut findings = Vec::new();
    for (index, app) in case.survey.apps.iter().enumerate() {
        let Idle::ClosesAfter(window, how) = &app.idle else { continue };
        let server = Server { case, proxy, app, window, how };
        for ((port, way, _), probes) in streams(case, index) {
            server.judge_probes(port, way, &probes, &mut findings);
        }
        server.judge_traffic(&mut findings);
    }
    findings
}

/// Probes that share a pooled connection: those of one port that run at the same time. A startup probe runs before
/// the others do.
type Streams<'a> = BTreeMap<(u16, bool, bool), Vec<&'a ProbeUse<'a>>>;

fn streams<'a>(
    case: &'a Case<'a>,
    app: usize,
) -> impl Iterator<Item = ((u16, Way, bool), Vec<&'a ProbeUse<'a>>)> {
    let mut streams: Streams<'a> = BTreeMap::new();
    for used in &case.survey.probes {
        let (Some(port), true) = (used.probe.port, used.answered_by == app && used.way.is_pooled()) else {
            continue;
        };
        let key = (port, used.way == Way::Http2, used.probe.kind == ProbeKind::Startup);
        streams.entry(key).or_default().push(used);
    }
    streams.into_iter().map(|((port, http2, startup), probes)| {
        ((port, if http2 { Way::Http2 } else { Way::Http1 }, startup), probes)
    })
}

/// A server whose closing window is known.
struct Server<'a> {
    case: &'a Case<'a>,
    proxy: &'a Proxy,
    app: &'a App<'a, 'a>,
    window: &'a Window,
    how: &'a Evidence,
}

impl Server<'_> {
    fn judge_probes(&self, port: u16, way: Way, probes: &[&ProbeUse<'_>], findings: &mut Vec<Finding>) {
        let reachable = self.reachable(way);
        let periods: Vec<Duration> = probes.iter().map(|used| used.probe.period).collect();
        let matching: BTreeSet<Duration> =
            periods.iter().copied().filter(|period| self.case.meets(*period, self.window)).collect();
        for period in &matching {
            let of: Vec<_> = probes.iter().copied().filter(|used| used.probe.period == *period).collect();
            let comes = if of.len() == 1 { "comes" } else { "come" };
            let fact = format!("{} on {port} {comes} every {}", self.name(&of), seconds(*period));
            findings.push(self.finding(&fact, &of, way, *period));
        }
        if !reachable {
            return;
        }
        let gaps: BTreeSet<Duration> = timing::gaps(&periods, way == Way::Http2)
            .into_iter()
            .map(|gap| gap.idle)
            .filter(|idle| !matching.contains(idle) && self.case.meets(*idle, self.window))
            .collect();
        for idle in gaps {
            let fact = format!("{} on {port} leave one idle for {}", self.name(probes), seconds(idle));
            findings.push(self.finding(&fact, probes, way, idle));
        }
    }

    /// Traffic that the pod declares goes to every port that the proxy reads.
    fn judge_traffic(&self, findings: &mut Vec<Finding>) {
        let ports = &self.app.container.ports;
        if !ports.is_empty() && ports.iter().all(|port| port_way(self.proxy, port.number).is_some()) {
            return;
        }
        for period in &self.case.survey.annotations.traffic_periods {
            if self.case.meets(*period, self.window) {
                let fact = format!("the declared traffic comes every {}", seconds(*period));
                findings.push(self.finding(&fact, &[], Way::Http1, *period));
            }
        }
    }

    fn reachable(&self, way: Way) -> bool {
        way == Way::Http2 || self.window.from <= self.proxy.pool.timeout
    }

    fn finding(&self, fact: &str, probes: &[&ProbeUse<'_>], way: Way, idle: Duration) -> Finding {
        let pod = self.case.survey.pod;
        let at = probes
            .iter()
            .map(|used| pod.container_pointer(used.container, [used.probe.kind.field(), "periodSeconds"]))
            .chain([match self.how {
                Evidence::SetBy { at, .. } => json_patch::jsonptr::PointerBuf::parse(at.clone()).ok(),
                Evidence::DefaultOf { .. } => None,
            }
            .unwrap_or_else(|| pod.container_pointer(self.app.container, []))])
            .collect();
        Finding {
            rule: RULE.id,
            reachable: self.reachable(way),
            container: Some(self.app.container.name.to_string()),
            at,
            message: format!("{}: {}; {fact}", self.app.container.name, closes(self.app, self.window)),
            note: format!("{}; {}", evidence(self.how), self.reach(way)),
            help: self.help(way, idle),
            edits: Vec::new(),
        }
    }

    fn reach(&self, way: Way) -> String {
        let pool = &self.proxy.pool;
        let kept = seconds(pool.timeout);
        match way {
            Way::Http2 => {
                "reachable over HTTP/2: the proxy re-uses that connection as long as it is open".to_owned()
            }
            _ if self.reachable(way) => {
                format!("reachable: the proxy re-uses idle connections up to {kept} ({})", pool.from)
            }
            _ => format!("not reachable now: the proxy drops idle connections after {kept} ({})", pool.from),
        }
    }

    fn help(&self, way: Way, idle: Duration) -> String {
        let mut ways = vec![format!("raise {} well above {}", self.app.idle_timeout_name(), seconds(idle))];
        if way == Way::Http1 && self.reachable(way) {
            ways.push(format!(
                "set {} of linkerd-proxy below {}",
                pool::knob(self.proxy.version),
                seconds(self.window.from)
            ));
        }
        let tolerance = self.case.tolerance;
        ways.push(format!(
            "choose a period outside {} to {}",
            seconds(self.window.from.saturating_sub(tolerance)),
            seconds(self.window.to + tolerance)
        ));
        ways.join(", or ")
    }

    /// `the liveness probe`, `the liveness and readiness probes`; one of another container as
    /// `the front/liveness probe`.
    fn name(&self, probes: &[&ProbeUse<'_>]) -> String {
        let kinds: Vec<_> = probes.iter().map(|used| self.kind(used)).collect();
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
