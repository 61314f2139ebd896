//! Prints findings in the style of a compiler: the location, the problem, the lines and the help.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{Styles, clean, full_name, paint, severity};
use crate::{
    base::plural::count,
    judgement::finding::{Action, RuleId},
    lint::report::{FindingReport, LineReport, NotJudged, ObjectReport, Report, Skipped, count_objects},
};

/// With more findings than this, a summary comes first, and findings that differ only in their location are merged.
const GROUP_THRESHOLD: usize = 10;

/// Every finding with its lines, and a summary.
pub fn lint(report: &Report, styles: &Styles) -> String {
    let findings: Vec<Shown<'_>> = report
        .objects
        .iter()
        .flat_map(|object| shown(object).map(move |finding| Shown { object, finding }))
        .collect();
    let is_long = findings.len() > GROUP_THRESHOLD;
    let mut text = if is_long { overview(&findings, styles) } else { String::new() };
    let mut groups: Vec<Vec<Shown<'_>>> = Vec::new();
    let mut places: HashMap<_, usize> = HashMap::new();
    for shown in findings {
        match places.get(&shown.kind()).filter(|_| is_long) {
            Some(place) => groups[*place].push(shown),
            None => {
                places.insert(shown.kind(), groups.len());
                groups.push(vec![shown]);
            }
        }
    }
    for group in &groups {
        let [first, others @ ..] = group.as_slice() else { continue };
        text.push_str(&headline(first.object, first.finding, styles));
        text.push_str(&excerpt(first.finding, styles));
        text.push_str(&also(others, gutter(first.finding), styles));
        text.push('\n');
    }
    for object in &report.objects {
        for remark in &object.remarks {
            let name = full_name(&object.namespace, &object.name);
            let who = paint(&format!("{} {}", clean(&object.kind), clean(&name)), styles.strong);
            text.push_str(&format!("{who}  {}: {}\n\n", paint("warning", styles.warning), clean(remark)));
        }
    }
    text.push_str(&summary(report, styles));
    text
}

/// A finding that is reported.
#[derive(Clone, Copy)]
struct Shown<'r> {
    object: &'r ObjectReport,
    finding: &'r FindingReport,
}

impl<'r> Shown<'r> {
    /// The key that merged findings share.
    fn kind(&self) -> (RuleId, Action, &'r str, &'r str, &'r str) {
        let FindingReport { rule, action, message, note, help, container, .. } = self.finding;
        let of_container =
            container.as_deref().and_then(|name| message.strip_prefix(name)?.strip_prefix(": "));
        (*rule, *action, of_container.unwrap_or(message), note, help)
    }
}

/// The number of findings for each rule.
fn overview(findings: &[Shown<'_>], styles: &Styles) -> String {
    let files: BTreeSet<_> = findings.iter().map(|shown| &shown.object.file).collect();
    let mut text = format!("{} in {}\n", count(findings.len(), "finding"), count(files.len(), "file"));
    let mut rules: BTreeMap<_, (usize, BTreeSet<_>, String)> = BTreeMap::new();
    for Shown { object, finding } in findings {
        let (number, objects, word) = rules.entry((Reverse(finding.action), finding.rule)).or_default();
        *number += 1;
        objects.insert((&object.file, object.line, &object.kind, object.own_name()));
        *word = severity(finding, styles);
    }
    for (number, objects, word) in rules.values() {
        text.push_str(&format!("{number:>6}  {word} in {}\n", count(objects.len(), "object")));
    }
    text + "\n"
}

/// The locations of the other merged findings.
fn also(others: &[Shown<'_>], width: usize, styles: &Styles) -> String {
    let mut text = String::new();
    for Shown { object, finding } in others.iter().take(MAX_NAMES) {
        let place = format!("{}{} {}", place(object, finding), clean(&object.kind), name_of(object));
        text.push_str(&format!("{:width$} {} also: {place}\n", "", paint("=", styles.frame)));
    }
    if others.len() > MAX_NAMES {
        let more = others.len() - MAX_NAMES;
        let mark = paint("=", styles.frame);
        text.push_str(&format!("{:width$} {mark} also: {more} more, see -o json\n", ""));
    }
    text
}

fn shown(object: &ObjectReport) -> impl Iterator<Item = &FindingReport> {
    object.findings.iter().filter(|finding| finding.counts())
}

fn name_of(object: &ObjectReport) -> String {
    clean(&full_name(&object.namespace, &object.name)).into_owned()
}

/// `shop.yaml:12 `; empty without a file.
fn place(object: &ObjectReport, finding: &FindingReport) -> String {
    let line = finding.lines.first().map(|line| line.line).or(object.line);
    match (&object.file, line) {
        (Some(file), Some(line)) => format!("{}:{line} ", clean(file)),
        (Some(file), None) => format!("{} ", clean(file)),
        (None, _) => String::new(),
    }
}

fn headline(object: &ObjectReport, finding: &FindingReport, styles: &Styles) -> String {
    let place = place(object, finding);
    let who = paint(&format!("{place}{} {}", clean(&object.kind), name_of(object)), styles.strong);
    format!("{who}  {}: {}\n", severity(finding, styles), clean(&finding.message))
}

/// The width of the longest line number.
fn gutter(finding: &FindingReport) -> usize {
    finding.lines.iter().map(|line| line.line.to_string().len()).max().unwrap_or(1)
}

/// The lines of a finding with their numbers, followed by its help.
fn excerpt(finding: &FindingReport, styles: &Styles) -> String {
    let mut lines: Vec<&LineReport> = finding.lines.iter().collect();
    lines.sort_by_key(|line| line.line);
    let width = gutter(finding);
    let edge = format!("{:width$} {}\n", "", paint("|", styles.frame));
    let mut text = String::new();
    // Findings that are fixed need no excerpt.
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
    for (label, content) in [("note", &finding.note), ("help", &finding.help)] {
        if !content.is_empty() {
            text.push_str(&format!(
                "{:width$} {} {label}: {}\n",
                "",
                paint("=", styles.frame),
                clean(content)
            ));
        }
    }
    text
}

fn summary(report: &Report, styles: &Styles) -> String {
    let objects = &report.objects;
    let is_rejected = |object: &ObjectReport| shown(object).any(|found| found.action == Action::Reject);
    let of_any = |is: &dyn Fn(&ObjectReport) -> bool| {
        ObjectReport::by_object(objects).filter(|templates| templates.iter().any(is)).count()
    };
    let rejected = of_any(&is_rejected);
    let suppressed =
        objects.iter().flat_map(|object| &object.findings).filter(|found| found.suppressed.is_some()).count();
    let patched = of_any(&|object| !object.patch.is_empty());
    let warnings = objects
        .iter()
        .map(|object| shown(object).filter(|f| f.action == Action::Warn).count() + object.remarks.len())
        .sum::<usize>()
        + report.warnings.len();
    let mut parts = vec![count_objects(objects)];
    if rejected > 0 {
        parts.push(paint(&format!("{rejected} would be rejected"), styles.error));
    }
    if patched > 0 {
        parts.push(paint(&format!("{patched} would be patched"), styles.note));
    }
    if warnings > 0 {
        parts.push(paint(&count(warnings, "warning"), styles.warning));
    }
    if suppressed > 0 {
        parts.push(format!("{} suppressed", count(suppressed, "finding")));
    }
    if objects.is_empty() {
        let none = if report.errors.is_empty() { "no object runs pods" } else { "nothing judged" };
        parts = vec![none.to_owned()];
    } else if parts.len() == 1 {
        parts.push(paint("nothing found", styles.good));
    }
    if !report.errors.is_empty() {
        parts.push(paint(&format!("{} while reading", count(report.errors.len(), "error")), styles.error));
    }
    let skipped = &report.skipped;
    let mut ends = Vec::new();
    if skipped.documents > 0 {
        ends.push(format!(
            "skipped {} that are not Kubernetes objects",
            count(skipped.documents, "document")
        ));
    }
    let files = [(skipped.patches.len(), "patch file"), (skipped.templates.len(), "template file")];
    let not_linted: Vec<_> =
        files.iter().filter(|(number, _)| *number > 0).map(|(number, noun)| count(*number, noun)).collect();
    if !not_linted.is_empty() {
        ends.push(format!("not linted: {}", not_linted.join(", ")));
    }
    if let Some(kinds) = without_template(skipped) {
        ends.push(format!("not judged, no pod template: {kinds}"));
    }
    let mut text = parts.join(", ");
    for end in ends {
        text.push_str(&format!("; {end}"));
    }
    text + "\n"
}

/// The kinds of objects that probably run pods, but have no pod template: `2 Kafka, 1 Prometheus`.
fn without_template(skipped: &Skipped) -> Option<String> {
    let kinds: Vec<_> = skipped
        .kinds
        .iter()
        .filter(|kind| kind.why == NotJudged::NoPodTemplate)
        .map(|kind| format!("{} {}", kind.objects, kind.kind))
        .collect();
    let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
    (!kinds.is_empty()).then(|| listed(&kinds))
}

/// The maximum number of names in a note, and of reasons with a note.
const MAX_NAMES: usize = 5;

/// The files that were not linted, one line for each reason.
pub fn not_linted(skipped: &Skipped) -> String {
    let mut text = String::new();
    let mut note = |what: String, names: Vec<&str>| {
        if !names.is_empty() {
            text.push_str(&format!("note: {what}: {}\n", listed(&names)));
        }
    };
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for directory in &skipped.not_rendered {
        by_reason.entry(&directory.why).or_default().push(&directory.file);
    }
    let more: usize = by_reason.values().skip(MAX_NAMES).map(Vec::len).sum();
    for (why, files) in by_reason.into_iter().take(MAX_NAMES) {
        note(format!("not rendered, {}", clean(why)), files);
    }
    if more > 0 {
        note(
            "not rendered, for other reasons".to_owned(),
            vec![&format!("{more} more directories, see -o json")],
        );
    }
    let files = [("patches", &skipped.patches), ("templates", &skipped.templates)];
    for (what, files) in files {
        note(format!("{what} that were not linted"), files.iter().map(String::as_str).collect());
    }
    for (judged, what) in [
        (true, "judged with the object that has their pod template"),
        (false, "not judged, because the object with their pod template is not in the input"),
    ] {
        let of = skipped.references.iter().filter(|reference| reference.judged == judged);
        let names: Vec<_> = of
            .map(|reference| {
                let name = full_name(&reference.namespace, &reference.name);
                format!("{} {name} ({} {})", reference.kind, reference.target_kind, reference.target_name)
            })
            .collect();
        note(what.to_owned(), names.iter().map(String::as_str).collect());
    }
    text
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let shown: Vec<_> = names.iter().take(MAX_NAMES).map(|name| clean(name)).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}
