//! The server closes idle connections that the proxy may still reuse, so any request can fail.
//!
//! Measured: requests fail if a connection is reused at the moment of the close, and never if the proxy closes it
//! first. Servers with HTTP/2 are no exception, because HTTP/1 requests reach them through the same pool.

use std::{sync::Arc, time::Duration};

use super::{MAX_FINDINGS, Rule, RuleInput, closes, evidence, or_declare, seconds};
use crate::{
    judgement::{
        finding::{Finding, RuleId},
        survey::port_transport,
        timeline::Timeline,
    },
    linkerd::pool,
    servers::Idle,
};

pub(super) const RULE: Rule = Rule {
    id: RuleId::IdleTimeoutBelowProxyPool,
    help: "the server closes idle connections before the proxy does, so any request can fail",
    check,
};

fn check(input: &RuleInput<'_>) -> Vec<Finding> {
    let Some(proxy) = input.survey.mesh.proxy() else { return Vec::new() };
    if input.survey.pod.queue_proxy {
        // The proxy's connections end at the queue-proxy.
        return Vec::new();
    }
    let mut findings = Vec::new();
    let answers =
        input.survey.apps.iter().flat_map(|app| app.answers().into_iter().map(move |answer| (app, answer)));
    for (app, answer) in answers {
        let Idle::ClosesAfter(window, how) = &answer.idle else { continue };
        let ports = &app.container.ports;
        let pooled =
            ports.is_empty() || ports.iter().any(|port| port_transport(proxy, port.number).is_none());
        if window.from >= proxy.pool.timeout || !pooled {
            continue;
        }
        if findings.len() > MAX_FINDINGS {
            break;
        }
        let kept = seconds(proxy.pool.timeout);
        findings.push(Finding {
            rule: RULE.id,
            reachable: true,
            certainty: how.certainty.clone(),
            container: Some(app.container.name.to_string()),
            at: vec![input.survey.pod.container_pointer(app.container, [])],
            message: format!(
                "{}: {}; the proxy re-uses them for up to {kept}",
                app.container.name,
                closes(app, window, how)
            ),
            note: format!("{}; the proxy's pool timeout: {}", evidence(how), proxy.pool.from),
            help: format!(
                "raise {} above {kept}, or set {} of linkerd-proxy below {}{}",
                app.idle_timeout_name(answer),
                pool::setting_name(proxy.version, proxy.line),
                seconds(window.from),
                or_declare(how)
            ),
            edits: Arc::default(),
            timeline: Some(Timeline {
                start: Duration::ZERO,
                idle: None,
                window: *window,
                tolerance: Duration::ZERO,
                pool: Some(proxy.pool.timeout),
                requests: Vec::new(),
                more: 0,
            }),
        });
    }
    findings
}
