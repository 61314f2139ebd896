//! The result of an audit as text: a summary, what is not just admitted, and what to do.

use std::{collections::BTreeMap, fmt::Write as _};

use super::report::{AuditReport, OwnerReport, Restart};
use crate::{
    base::plural::count,
    lint::report::{
        IdleKind,
        text::{self as lint, Styles},
    },
    review::Mode,
};

/// The longest list of a part; the JSON has all.
const MAX_LINES: usize = 50;

/// The audit as text.
pub fn text(report: &AuditReport, styles: &Styles) -> String {
    let mut text = summary(report);
    let owners: Vec<_> = report.owners.iter().filter(|owner| owner.admission.enforce != "admitted").collect();
    if !owners.is_empty() {
        let _ = write!(text, "\n{}", table(&owners));
    }
    let findings = lint::lint(&report.objects(), styles);
    if !owners.is_empty() {
        let _ = write!(text, "\n{findings}");
    }
    part(
        &mut text,
        "These pods would be rejected when they are created anew, so a drain of their nodes would break them",
        report.drained().map(|owner| {
            let pods = count(owner.pods.rejected_if_recreated, "pod");
            let (namespace, name) = (&owner.object.namespace, owner.reference());
            format!("{namespace} {name} ({pods}): {}", owner.refusals.join("; "))
        }),
    );
    part(
        &mut text,
        "These pods run without the close-wait timeout; a restart fixes them",
        report.restarts().map(|(owner, restart)| {
            let pods = count(owner.pods.patched_if_recreated, "pod");
            let name = format!("{} {} ({pods})", owner.object.namespace, owner.reference());
            match restart {
                Restart::NotYet => {
                    format!("{name}: fix its findings first, because its new pods would be rejected")
                }
                Restart::Command(command) => format!("{command}  # {pods}"),
                Restart::ThroughOwner => format!("{name}: create them anew through their owner"),
            }
        }),
    );
    part(
        &mut text,
        "The idle timeouts of these containers are not known; measure them, or all of them with `linkerd linger learn`",
        report.unknown.iter().map(|unknown| format!("{}  # {}", unknown.command(), unknown.container)),
    );
    part(
        &mut text,
        "These exemptions of the policy do nothing",
        report
            .exemptions
            .iter()
            .map(|exemption| format!("line {}, {:?}: {}", exemption.line, exemption.reason, exemption.why())),
    );
    text
}

fn part(text: &mut String, headline: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{headline}:");
    for line in lines.iter().take(MAX_LINES) {
        let _ = writeln!(text, "  {}", lint::clean(line));
    }
    if lines.len() > MAX_LINES {
        let _ = writeln!(text, "  {} more, see -o json", lines.len() - MAX_LINES);
    }
}

/// The numbers: workloads and pods, outcomes in each mode, certainties and servers.
pub fn summary(report: &AuditReport) -> String {
    let owners = &report.owners;
    let meshed: Vec<_> = owners.iter().filter(|owner| owner.is_meshed()).collect();
    let pods: usize = owners.iter().map(|owner| owner.pods.running).sum();
    let namespaces = grouped(owners.iter().map(|owner| &*owner.object.namespace));
    let mut text = format!(
        "{} in {} with {}; {} meshed\n",
        count(owners.len(), "workload"),
        count(namespaces.len(), "namespace"),
        count(pods, "running pod"),
        meshed.len(),
    );
    for (mode, outcomes) in outcomes(owners) {
        let name = format!("in {}:", mode.as_str());
        let _ = writeln!(text, "  {name:<12} {outcomes}");
    }
    let modes = owners.iter().map(|owner| owner.mode.map_or("off", Mode::as_str));
    let _ = writeln!(text, "  {:<12} {}", "mode now:", numbers(modes));
    let findings = owners.iter().flat_map(OwnerReport::findings).filter(|finding| finding.counts());
    let certainties = numbers(findings.map(|finding| finding.certainty));
    if !certainties.is_empty() {
        let _ = writeln!(text, "  {:<12} {certainties}", "findings:");
    }
    let objects = meshed.iter().flat_map(|owner| owner.objects());
    let containers = objects.flat_map(|object| &object.containers);
    let servers = containers.map(|container| match container.idle.kind {
        IdleKind::Unknown => "unknown",
        IdleKind::ClosesAfter | IdleKind::ClosesEachResponse | IdleKind::NeverCloses => &container.server,
    });
    let servers = numbers(servers);
    if !servers.is_empty() {
        let _ = writeln!(text, "  {:<12} {servers}", "servers:");
    }
    text
}

/// How many owners have each outcome in each mode: `3 rejected; 1 patched, warned`.
pub(super) fn outcomes(owners: &[OwnerReport]) -> [(Mode, String); 3] {
    [
        (Mode::Enforce, (|owner| owner.admission.enforce) as fn(&OwnerReport) -> &'static str),
        (Mode::Warn, |owner| owner.admission.warn),
        (Mode::Audit, |owner| owner.admission.audit),
    ]
    .map(|(mode, outcome)| (mode, numbers(owners.iter().map(outcome))))
}

fn grouped<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeMap<&'t str, usize> {
    let mut numbers = BTreeMap::new();
    for text in texts {
        *numbers.entry(text).or_default() += 1;
    }
    numbers
}

/// `3 rejected; 1 patched, warned`: the most frequent first.
fn numbers<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut numbers: Vec<_> = grouped(texts).into_iter().collect();
    numbers.sort_by_key(|(text, number)| (std::cmp::Reverse(*number), *text));
    let numbers: Vec<_> =
        numbers.iter().map(|(text, number)| format!("{number} {}", lint::clean(text))).collect();
    numbers.join("; ")
}

/// The owners that are not just admitted, with their outcome in each mode.
fn table(owners: &[&OwnerReport]) -> String {
    let mut rows =
        vec![["NAMESPACE", "WORKLOAD", "MODE", "ENFORCE", "WARN", "AUDIT", "PODS"].map(str::to_owned)];
    rows.extend(owners.iter().take(MAX_LINES).map(|owner| {
        [
            lint::clean(&owner.object.namespace).into_owned(),
            lint::clean(&owner.reference()).into_owned(),
            owner.mode.map_or("off", Mode::as_str).to_owned(),
            owner.admission.enforce.to_owned(),
            owner.admission.warn.to_owned(),
            owner.admission.audit.to_owned(),
            owner.pods.running.to_string(),
        ]
    }));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    if owners.len() > MAX_LINES {
        let _ = writeln!(text, "{} more, see -o json", owners.len() - MAX_LINES);
    }
    text
}
