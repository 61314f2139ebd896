//! Findings as a compiler shows them: the place, what is wrong, the lines that say so, the way out.

use super::{Styles, clean, full_name, paint, severity};
use crate::{
    base::plural::count,
    judgement::{finding::Action, verdict::Decision},
    lint::report::{FindingReport, LineReport, ObjectReport, Report},
};

/// Every finding with its lines, and a summary.
pub fn lint(report: &Report, styles: &Styles) -> String {
    let mut text = String::new();
    for object in &report.objects {
        for finding in shown(object) {
            text.push_str(&headline(object, finding, styles));
            text.push_str(&excerpt(finding, styles));
            text.push('\n');
        }
        for remark in &object.remarks {
            let name = full_name(&object.namespace, &object.name);
            let who = paint(&format!("{} {}", clean(&object.kind), clean(&name)), styles.strong);
            text.push_str(&format!("{who}  {}: {}\n\n", paint("warning", styles.warning), clean(remark)));
        }
    }
    text.push_str(&summary(report, styles));
    text
}

fn shown(object: &ObjectReport) -> impl Iterator<Item = &FindingReport> {
    object.findings.iter().filter(|finding| finding.action != Action::Ignore)
}

fn headline(object: &ObjectReport, finding: &FindingReport, styles: &Styles) -> String {
    let line = finding.lines.first().map(|line| line.line).or(object.line);
    let place = match (&object.file, line) {
        (Some(file), Some(line)) => format!("{}:{line} ", clean(file)),
        (Some(file), None) => format!("{} ", clean(file)),
        (None, _) => String::new(),
    };
    let name = full_name(&object.namespace, &object.name);
    let who = paint(&format!("{place}{} {}", clean(&object.kind), clean(&name)), styles.strong);
    format!("{who}  {}: {}\n", severity(finding, styles), clean(&finding.message))
}

/// The lines that a finding is about between a gutter's numbers, then its help.
fn excerpt(finding: &FindingReport, styles: &Styles) -> String {
    let mut lines: Vec<&LineReport> = finding.lines.iter().collect();
    lines.sort_by_key(|line| line.line);
    let width = lines.iter().map(|line| line.line.to_string().len()).max().unwrap_or(1);
    let edge = format!("{:width$} {}\n", "", paint("|", styles.frame));
    let mut text = String::new();
    // What is mended anyway needs no excerpt.
    if !lines.is_empty() && finding.action != Action::Patch {
        text.push_str(&edge);
        let mut last = None;
        for line in lines {
            if last.is_some_and(|last| last + 1 < line.line) {
                text.push_str(&format!("{}\n", paint("...", styles.frame)));
            }
            let gutter = paint(&format!("{:>width$} |", line.line), styles.frame);
            text.push_str(format!("{gutter} {}", clean(&line.text)).trim_end());
            text.push('\n');
            last = Some(line.line);
        }
        text.push_str(&edge);
    }
    for (label, told) in [("note", &finding.note), ("help", &finding.help)] {
        if !told.is_empty() {
            text.push_str(&format!("{:width$} {} {label}: {}\n", "", paint("=", styles.frame), clean(told)));
        }
    }
    text
}

fn summary(report: &Report, styles: &Styles) -> String {
    let objects = &report.objects;
    let rejected = objects.iter().filter(|object| object.verdict == Decision::Reject).count();
    let patched = objects.iter().filter(|object| !object.patch.0.is_empty()).count();
    let warnings = objects
        .iter()
        .map(|object| shown(object).filter(|f| f.action == Action::Warn).count() + object.remarks.len())
        .sum();
    let mut parts = vec![count(objects.len(), "object")];
    if rejected > 0 {
        parts.push(paint(&format!("{rejected} would be rejected"), styles.error));
    }
    if patched > 0 {
        parts.push(paint(&format!("{patched} would be patched"), styles.note));
    }
    if warnings > 0 {
        parts.push(paint(&count(warnings, "warning"), styles.warning));
    }
    if objects.is_empty() {
        let none = if report.errors.is_empty() { "no object here runs pods" } else { "nothing judged" };
        parts = vec![none.to_owned()];
    } else if parts.len() == 1 {
        parts.push(paint("nothing found", styles.good));
    }
    if !report.errors.is_empty() {
        parts.push(paint(&format!("{} while reading", count(report.errors.len(), "error")), styles.error));
    }
    parts.join(", ") + "\n"
}
