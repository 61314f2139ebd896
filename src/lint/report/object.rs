//! Converts a judgement into the report of an object.

use super::{
    CloseWaitReport, ContainerReport, FindingReport, IdleReport, MeshReport, MeshState, ObjectReport,
    PortReport, ProbeReport, Seconds, TimelineReport,
};
use crate::{
    judgement::{
        finding::{Action, Finding},
        judge::Judgement,
        patch,
        survey::{ProbeUse, Survey, Transport},
    },
    linkerd::{Mesh, Proxy},
    workload::{object::Object, pod::Layout},
};

impl ObjectReport {
    /// The report of an object, and the findings in the same order, whose lines the caller adds.
    pub fn of(object: &Object<'_>, judgement: &Judgement<'_>) -> (Self, Vec<Finding>) {
        let Judgement { survey, plan, verdict } = judgement;
        let edits = verdict.edits();
        // The patch is for pods; only a template has the same fields. The webhook does not send one that would not apply.
        let is_sent = !edits.is_empty()
            && survey.pod.layout == Layout::Template
            && patch::check(survey.pod, &edits).is_ok();
        let patch = if is_sent { edits.into_iter().cloned().collect() } else { Vec::new() };
        let report = Self {
            kind: object.kind_name().to_owned(),
            namespace: object.namespace.as_deref().unwrap_or_default().to_owned(),
            name: object.display_name(),
            template: object.custom.as_ref().map(|custom| custom.template.clone()),
            file: None,
            line: None,
            rendered_from: None,
            mesh: mesh(&survey.mesh),
            containers: survey.apps.iter().map(container).collect(),
            probes: survey.probes.iter().map(|used| probe(used, survey)).collect(),
            close_wait: CloseWaitReport {
                action: plan.action,
                seconds: plan.seconds.map(|seconds| Seconds(std::time::Duration::from_secs(seconds.into()))),
                why: plan.why.clone(),
            },
            findings: verdict.judged.iter().map(FindingReport::of).collect(),
            remarks: verdict.remarks.clone(),
            verdict: verdict.decision(),
            patch,
        };
        (report, verdict.judged.iter().map(|judged| judged.finding.clone()).collect())
    }
}

impl FindingReport {
    fn of(judged: &crate::judgement::verdict::Judged) -> Self {
        let finding = &judged.finding;
        Self {
            rule: finding.rule,
            action: if judged.exempt.is_some() { Action::Ignore } else { judged.action },
            exempt: judged.exempt.clone(),
            reachable: finding.reachable,
            certainty: finding.certainty.as_str(),
            container: finding.container.clone(),
            message: finding.message.clone(),
            note: finding.note.clone(),
            help: finding.help.clone(),
            lines: Vec::new(),
            timeline: finding.timeline.as_ref().map(TimelineReport::from),
            suppressed: None,
        }
    }
}

fn mesh(mesh: &Mesh) -> MeshReport {
    let (state, why, proxy) = match mesh {
        Mesh::Injected(proxy) => (MeshState::Injected, shape(proxy), Some(proxy)),
        Mesh::WillBeInjected(proxy) => (MeshState::WillBeInjected, String::new(), Some(proxy)),
        Mesh::Not(why) => (MeshState::NotMeshed, why.to_string(), None),
    };
    MeshReport {
        state,
        why,
        line: proxy.and_then(Proxy::line_text),
        pool_idle_timeout: proxy.map(|proxy| Seconds(proxy.pool.timeout)),
        pool_idle_timeout_from: proxy.map(|proxy| proxy.pool.from.to_string()).unwrap_or_default(),
        cni: proxy.is_some_and(|proxy| proxy.cni),
    }
}

fn shape(proxy: &Proxy) -> String {
    if proxy.native == Some(true) {
        "linkerd-proxy is a native sidecar"
    } else {
        "linkerd-proxy is a sidecar"
    }
    .to_owned()
}

fn container(app: &crate::judgement::survey::App<'_, '_>) -> ContainerReport {
    ContainerReport {
        name: app.container.name.to_string(),
        server: app.detected.server.map_or("unknown", |server| &server.id).to_owned(),
        idle: IdleReport::from(&app.detected.general.idle),
        ports: app
            .detected
            .by_port
            .iter()
            .filter(|(_, answer)| answer.idle != app.detected.general.idle)
            .map(|(port, answer)| PortReport { port: *port, idle: IdleReport::from(&answer.idle) })
            .collect(),
    }
}

fn probe(used: &ProbeUse<'_>, survey: &Survey<'_, '_>) -> ProbeReport {
    let why = match (used.transport, survey.mesh.proxy()) {
        (Transport::Not(why), _) => why.to_string(),
        (Transport::Http2, _) => {
            "over the proxy's HTTP/2 connection, which it re-uses while it is open".to_owned()
        }
        (Transport::Http1, Some(proxy)) => {
            let kept = crate::base::duration::format(proxy.pool.timeout);
            format!("over the proxy's HTTP/1 connections, which it re-uses for up to {kept}")
        }
        (Transport::Http1, None) => String::new(),
    };
    ProbeReport {
        container: used.container.name.to_string(),
        probe: used.probe.kind.as_str(),
        handler: used.probe.handler.as_str(),
        port: used.probe.port,
        period: Seconds(used.probe.period),
        proxied: used.transport.is_pooled(),
        why,
    }
}
