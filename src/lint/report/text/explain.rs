//! Prints all facts about each object: the proxy, the servers, the probes and the verdict.

use super::{Styles, clean, full_name, paint, severity};
use crate::{
    base::duration::format,
    judgement::{
        close_wait::HELPS,
        finding::{Change, Edit},
        verdict::Decision,
    },
    lint::report::{
        ContainerReport, IdleKind, IdleReport, MeshReport, MeshState, ObjectReport, ProbeReport, Report,
        Suppression,
    },
    servers::Certainty,
};

/// The width of the column with the labels.
const LABEL: usize = 12;

/// A block of lines for each object.
pub fn explain(report: &Report, styles: &Styles) -> String {
    let blocks: Vec<_> = report.objects.iter().map(|object| block(object, styles)).collect();
    if blocks.is_empty() { "no object runs pods\n".to_owned() } else { blocks.join("\n") }
}

fn block(object: &ObjectReport, styles: &Styles) -> String {
    let name = full_name(&object.namespace, &object.name);
    let title = paint(&format!("{} {}", clean(&object.kind), clean(&name)), styles.strong);
    let place = match (&object.file, object.line) {
        (Some(file), Some(line)) => format!("  {}", paint(&format!("{}:{line}", clean(file)), styles.faint)),
        _ => String::new(),
    };
    let mut text = format!("{title}{place}\n");
    let mut section = |label: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 {
                paint(label, styles.frame) + &" ".repeat(LABEL - label.len())
            } else {
                " ".repeat(LABEL)
            };
            text.push_str(&format!("  {label}{line}\n"));
        }
    };
    section("mesh", mesh(&object.mesh, styles));
    section("servers", servers(&object.containers, styles));
    section("probes", probes(&object.probes, styles));
    section("close-wait", close_wait(object, styles));
    section("findings", findings(object, styles));
    section("verdict", vec![verdict(object.verdict, styles)]);
    section("patch", object.patch.iter().map(|edit| change(edit, styles)).collect());
    text
}

fn mesh(mesh: &MeshReport, styles: &Styles) -> Vec<String> {
    let mut lines = vec![because(mesh.state.as_str(), &mesh.why)];
    let mut facts = Vec::new();
    facts.extend(mesh.line.as_deref().map(|line| format!("Linkerd {}", clean(line))));
    facts.extend(mesh.pool_idle_timeout.map(|pool| {
        let from = &mesh.pool_idle_timeout_from;
        let from = if from.is_empty() { String::new() } else { format!(" ({})", clean(from)) };
        format!("the proxy keeps idle connections for {}{from}", format(pool.0))
    }));
    if mesh.cni {
        facts.push("CNI plugin instead of linkerd-init".to_owned());
    }
    if !facts.is_empty() {
        lines.push(paint(&facts.join("; "), styles.faint));
    }
    lines
}

fn servers(containers: &[ContainerReport], styles: &Styles) -> Vec<String> {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for container in containers {
        let (name, server) = (clean(&container.name).into_owned(), clean(&container.server).into_owned());
        rows.push([name.clone(), server, idle(&container.idle)]);
        notes.push(container.idle.evidence.as_str());
        for port in &container.ports {
            rows.push([name.clone(), format!("port {}", port.port), idle(&port.idle)]);
            notes.push(port.idle.evidence.as_str());
        }
    }
    with_notes(&rows, notes.into_iter(), styles)
}

/// What a server does with idle connections, in words.
pub(in crate::lint::report) fn idle(idle: &IdleReport) -> String {
    let likely = if idle.certainty == Some(Certainty::NAMES[1]) { "likely " } else { "" };
    match idle.kind {
        IdleKind::ClosesAfter => {
            let after =
                idle.seconds.map(|timeout| format!(" after {}", format(timeout.0))).unwrap_or_default();
            let window = match (idle.window_seconds, idle.seconds) {
                (Some([from, to]), None) => format!(" after {} to {}", format(from.0), format(to.0)),
                (Some([from, to]), Some(_)) if from != to => {
                    format!(", in practice between {} and {}", format(from.0), format(to.0))
                }
                (Some([from, _]), Some(timeout)) if from != timeout => {
                    format!(", in practice {}", format(from.0))
                }
                (Some(_) | None, _) => String::new(),
            };
            format!("{likely}closes idle connections{after}{window}")
        }
        IdleKind::ClosesEachResponse => format!("{likely}closes the connection after each response"),
        IdleKind::NeverCloses => format!("{likely}never closes idle connections"),
        IdleKind::Unknown => "idle timeout unknown".to_owned(),
    }
}

fn probes(probes: &[ProbeReport], styles: &Styles) -> Vec<String> {
    let row = |probe: &ProbeReport| {
        let port = probe.port.map(|port| format!(" {port}")).unwrap_or_default();
        [
            clean(&probe.container).into_owned(),
            probe.probe.to_owned(),
            format!("{}{port}", probe.handler),
            format!("every {}", format(probe.period.0)),
            if probe.proxied { "through the proxy" } else { "not through the proxy" }.to_owned(),
        ]
    };
    let rows: Vec<_> = probes.iter().map(row).collect();
    with_notes(&rows, probes.iter().map(|probe| probe.why.as_str()), styles)
}

fn close_wait(object: &ObjectReport, styles: &Styles) -> Vec<String> {
    let plan = &object.close_wait;
    let timeout = plan.seconds.map(|timeout| format!(" {}", format(timeout.0))).unwrap_or_default();
    let mut lines = vec![because(&format!("{}{timeout}", plan.action.as_str()), &plan.why)];
    match object.mesh.state {
        MeshState::Injected | MeshState::WillBeInjected => lines.push(paint(HELPS, styles.faint)),
        MeshState::NotMeshed => {}
    }
    lines
}

fn findings(object: &ObjectReport, styles: &Styles) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &object.findings {
        let line = finding.lines.first().map(|line| format!(" (line {})", line.line)).unwrap_or_default();
        lines.push(format!("{}: {}{line}", severity(finding, styles), clean(&finding.message)));
        if !finding.note.is_empty() {
            lines.push(format!("  {} note: {}", paint("=", styles.frame), clean(&finding.note)));
        }
        if let Some(reason) = &finding.exempt {
            lines.push(format!("  {} exempt: {}", paint("=", styles.frame), clean(reason)));
        }
        match &finding.suppressed {
            Some(Suppression::Comment(reason)) => {
                lines.push(format!("  {} suppressed: {}", paint("=", styles.frame), clean(reason)));
            }
            // `explain` has no baseline.
            Some(Suppression::Baseline) | None => {}
        }
        if !finding.help.is_empty() {
            lines.push(format!("  {} help: {}", paint("=", styles.frame), clean(&finding.help)));
        }
    }
    lines.extend(object.remarks.iter().map(|remark| clean(remark).into_owned()));
    or_none(lines)
}

fn verdict(verdict: Decision, styles: &Styles) -> String {
    let style = match verdict {
        Decision::Admit => styles.good,
        Decision::Warn => styles.warning,
        Decision::Reject => styles.error,
    };
    paint(verdict.as_str(), style)
}

/// `+ metadata > annotations > a/b = "c"`: an unescaped pointer and the value.
pub(in crate::lint::report) fn change(edit: &Edit, styles: &Styles) -> String {
    let (sign, style, value) = match &edit.change {
        Change::Set(value) | Change::Insert(value) | Change::Append(value) => ("+", styles.good, Some(value)),
        Change::Replace(value) => ("~", styles.note, Some(value)),
        Change::Remove => ("-", styles.error, None),
    };
    let path: Vec<_> = edit.path().tokens().map(|token| token.decoded().into_owned()).collect();
    let value = value.map(|value| format!(" = {value}")).unwrap_or_default();
    format!("{} {}{}", paint(sign, style), clean(&path.join(" > ")), clean(&value))
}

fn because(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {}", clean(why)) }
}

/// Aligns rows in columns, each with its note on the next line.
fn with_notes<'n, const N: usize>(
    rows: &[[String; N]],
    notes: impl Iterator<Item = &'n str>,
    styles: &Styles,
) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let indent = widths.first().map_or(0, |first| first + 2);
    let mut lines = Vec::new();
    for (row, note) in rows.iter().zip(notes) {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        lines.push(cells.join("  ").trim_end().to_owned());
        if !note.is_empty() {
            lines.push(format!("{:indent$}{}", "", paint(&clean(note), styles.faint)));
        }
    }
    or_none(lines)
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}
