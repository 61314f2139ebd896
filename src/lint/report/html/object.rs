//! An object with its findings: the picture, the evidence and the fix of each, and the facts about the pod.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{
    page::{badge, clean},
    timeline,
};
use crate::{
    base::duration::format,
    judgement::finding::Action,
    lint::report::{
        ContainerReport, FindingReport, IdleKind, IdleReport, LineReport, ObjectReport, Suppression,
        text::{Styles, explain, full_name},
    },
};

/// `Deployment shop/cart`.
pub(super) fn name(object: &ObjectReport) -> String {
    clean(&format!("{} {}", object.kind, full_name(&object.namespace, &object.name))).into_owned()
}

/// The verdict on a finding: its class in the style, which the filter uses too, and its word.
pub(super) fn verdict(finding: &FindingReport) -> (&'static str, &'static str) {
    if finding.suppressed.is_some() {
        return ("ignore", "suppressed");
    }
    if finding.exempt.is_some() {
        return ("ignore", "exempt");
    }
    match finding.action {
        Action::Reject => ("reject", "rejected"),
        Action::Patch => ("patch", "patched"),
        Action::Warn => ("warn", "warning"),
        Action::Ignore => ("ignore", "ignored"),
    }
}

/// How much a finding needs a person: a change by the webhook needs less than a warning.
pub(super) fn severity(finding: &FindingReport) -> u8 {
    match finding.action {
        _ if !finding.counts() => 0,
        Action::Ignore => 0,
        Action::Patch => 1,
        Action::Warn => 2,
        Action::Reject => 3,
    }
}

/// The id of the server that a finding is about; empty if it is about the whole pod.
pub(super) fn server<'r>(object: &'r ObjectReport, finding: &FindingReport) -> &'r str {
    let name = finding.container.as_deref();
    let container = object.containers.iter().find(|container| Some(container.name.as_str()) == name);
    container.map_or("", |container| &container.server)
}

/// An object that has findings. `number` is the number of its first finding in the page.
pub(super) fn section(object: &ObjectReport, number: usize) -> Markup {
    let mut findings: Vec<_> = object.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(severity(finding)));
    html! {
        section.object {
            h3 { bdi { (name(object)) } }
            @if let Some(place) = place(object) { p.place { (place) } }
            @for remark in &object.remarks { p.remark { (badge("warn", "warning")) " " (clean(remark)) } }
            @for (number, finding) in (number..).zip(findings) { (article(object, finding, number)) }
            (facts(object))
        }
    }
}

/// A row for an object without findings.
pub(super) fn row(object: &ObjectReport) -> Markup {
    let servers: BTreeSet<&str> =
        object.containers.iter().map(|container| container.server.as_str()).collect();
    let servers = clean(&servers.into_iter().collect::<Vec<_>>().join(" ")).into_owned();
    html! {
        tr.item data-verdict="admit" data-server=(servers) {
            th scope="row" {
                bdi { (name(object)) }
                @if let Some(place) = place(object) { br; span.place { (place) } }
            }
            td { (object.mesh.state.as_str()) @if !object.mesh.why.is_empty() { ": " (clean(&object.mesh.why)) } }
            td { (servers_of(&object.containers)) }
        }
    }
}

fn servers_of(containers: &[ContainerReport]) -> Markup {
    html! {
        @if containers.is_empty() { "none" }
        @for container in containers {
            div { bdi { (clean(&container.name)) } ": " (clean(&container.server)) ", " (explain::idle(&container.idle)) }
        }
    }
}

fn place(object: &ObjectReport) -> Option<String> {
    let file = object.file.as_deref()?;
    let line = object.line.map(|line| format!(":{line}")).unwrap_or_default();
    let from = object.rendered_from.as_deref().map(|from| format!(", rendered from {from}"));
    Some(clean(&format!("{file}{line}{}", from.unwrap_or_default())).into_owned())
}

fn article(object: &ObjectReport, finding: &FindingReport, number: usize) -> Markup {
    let (class, word) = verdict(finding);
    let id = format!("finding-{number}");
    html! {
        article.finding.(class) aria-labelledby=(id) data-verdict=(class) data-rule=(finding.rule)
            data-certainty=(finding.certainty) data-server=(clean(server(object, finding))) {
            h4 #(id) { (badge(class, word)) " " (finding.rule) }
            p.message { (clean(&finding.message)) }
            @if let Some(timeline) = &finding.timeline {
                (timeline::figure(timeline, finding.reachable, &id))
            }
            dl {
                @if let Some(why) = suppression(finding) { dt { "Not reported" } dd { (why) } }
                @if !finding.note.is_empty() { dt { "Evidence" } dd { (clean(&finding.note)) } }
                dt { "Certainty" }
                dd { (finding.certainty) }
                @if !finding.help.is_empty() { dt { "Fix" } dd.fix { (clean(&finding.help)) } }
                @if !finding.lines.is_empty() { dt { "Lines" } dd { (lines(&finding.lines)) } }
            }
        }
    }
}

fn suppression(finding: &FindingReport) -> Option<String> {
    match (&finding.suppressed, &finding.exempt) {
        (Some(Suppression::Comment(reason)), _) => {
            Some(format!("a comment suppresses it: {}", clean(reason)))
        }
        (Some(Suppression::Baseline), _) => Some("it is in the baseline".to_owned()),
        (None, Some(reason)) => Some(format!("exempt: {}", clean(reason))),
        (None, None) => None,
    }
}

fn lines(lines: &[LineReport]) -> Markup {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|line| line.line);
    html! {
        ol.lines {
            @for line in lines { li value=(line.line) { code { (clean(&line.text)) } } }
        }
    }
}

/// What is known about the pod.
fn facts(object: &ObjectReport) -> Markup {
    let mesh = &object.mesh;
    let plan = &object.close_wait;
    html! {
        details {
            summary { "Proxy, servers, probes and patch of " bdi { (name(object)) } }
            dl {
                dt { "Proxy" }
                dd {
                    (mesh.state.as_str())
                    @if !mesh.why.is_empty() { ": " (clean(&mesh.why)) }
                    @if let Some(line) = &mesh.line { "; Linkerd " (clean(line)) }
                    @if let Some(pool) = mesh.pool_idle_timeout {
                        "; keeps idle connections for " (format(pool.0)) " (" (clean(&mesh.pool_idle_timeout_from)) ")"
                    }
                    @if mesh.cni { "; CNI plugin instead of linkerd-init" }
                }
                dt { "Close-wait timeout" }
                dd {
                    (plan.action.as_str())
                    @if let Some(timeout) = plan.seconds { " " (format(timeout.0)) }
                    @if !plan.why.is_empty() { ": " (clean(&plan.why)) }
                }
                @for container in &object.containers {
                    dt { "Container " bdi { (clean(&container.name)) } }
                    dd {
                        (clean(&container.server)) ": " (idle(&container.idle))
                        @for port in &container.ports { br; "port " (port.port) ": " (idle(&port.idle)) }
                    }
                }
                @for probe in &object.probes {
                    dt { "Probe " (probe.probe) " of " bdi { (clean(&probe.container)) } }
                    dd {
                        (probe.handler)
                        @if let Some(port) = probe.port { " on port " (port) }
                        ", every " (format(probe.period.0)) ", "
                        @if probe.proxied { "through the proxy" } @else { "not through the proxy" }
                        @if !probe.why.is_empty() { ": " (clean(&probe.why)) }
                    }
                }
                @if !object.patch.is_empty() {
                    dt { "Patch" }
                    dd {
                        ul.patch {
                            @for change in &object.patch {
                                li { code { (explain::change(change, &Styles::plain())) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn idle(idle: &IdleReport) -> Markup {
    html! {
        (explain::idle(idle)) @if !idle.evidence.is_empty() { " (" (clean(&idle.evidence)) ")" }
        @if idle.kind == IdleKind::Unknown { ". No timeline is drawn, because the rules compare no unknown timeout." }
    }
}
