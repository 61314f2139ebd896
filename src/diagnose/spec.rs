//! The expected behaviour of the ports of a judged pod.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    judgement::{finding::RuleId, judge::Judgement},
    servers::{Certainty, Idle},
};

/// The expected behaviour of a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpecPort {
    /// The name of the server.
    pub server: String,
    /// When the server closes idle connections.
    pub closes: Closes,
    /// The evidence, as text.
    pub evidence: String,
    /// The idle timeout of the inbound HTTP/1 pool.
    pub pool: Duration,
    /// The periods of the probes on this port.
    pub periods: Vec<Duration>,
    /// How to fix the race, from the rule that found it.
    pub help: Option<String>,
    /// The setting of the server's idle timeout.
    pub setting: String,
}

/// When a server closes idle connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closes {
    /// Within these bounds.
    After {
        /// The earliest.
        from: Duration,
        /// The latest.
        to: Duration,
        /// Whether the value is certain.
        certain: bool,
    },
    /// After each response: no connection is reused.
    EachResponse,
    /// Never.
    Never,
    /// Unknown.
    Unknown,
}

/// Adds the ports that the containers of a pod declare and its probes use.
pub fn ports(judgement: &Judgement<'_>, into: &mut BTreeMap<u16, SpecPort>) {
    let survey = &judgement.survey;
    let Some(proxy) = survey.mesh.proxy() else { return };
    for (index, app) in survey.apps.iter().enumerate() {
        let declared = app.container.ports.iter().map(|port| port.number);
        let asked = survey.probes.iter().filter(|used| used.answered_by == index);
        let asked: Vec<(u16, Duration)> =
            asked.filter_map(|used| Some((used.probe.port?, used.probe.period))).collect();
        for port in declared.chain(asked.iter().map(|(port, _)| *port)) {
            let answer = app.detected.at(Some(port));
            let help = judgement.verdict.judged.iter().map(|judged| &judged.finding).find(|finding| {
                finding.rule == RuleId::ProbeMatchesIdleTimeout
                    && finding.container.as_deref() == Some(&*app.container.name)
                    && finding.message.contains(&format!("port {port}"))
            });
            let spec = SpecPort {
                server: app.server_name().to_owned(),
                closes: closes(&answer.idle),
                evidence: answer.idle.evidence().map(ToString::to_string).unwrap_or_default(),
                pool: proxy.pool.timeout,
                periods: asked
                    .iter()
                    .filter(|(asked, _)| *asked == port)
                    .map(|(_, period)| *period)
                    .collect(),
                help: help.map(|finding| finding.help.clone()),
                setting: app.idle_timeout_name(answer),
            };
            into.entry(port).or_insert(spec);
        }
    }
}

fn closes(idle: &Idle) -> Closes {
    match idle {
        Idle::ClosesAfter(window, evidence) => Closes::After {
            from: window.from,
            to: window.to,
            certain: evidence.certainty == Certainty::Certain,
        },
        Idle::ClosesEachResponse(_) => Closes::EachResponse,
        Idle::NeverCloses(_) => Closes::Never,
        Idle::Unknown(_) => Closes::Unknown,
    }
}
