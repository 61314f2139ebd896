//! Prints a report as one HTML page for people, which needs no other file and no network.
//!
//! The page can be read without its script, which only filters.

mod object;
pub(crate) mod page;
pub(crate) mod timeline;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use maud::{Markup, html};

pub use self::page::About;
use self::page::{Choice, Total, badge, clean, section, totals};
use super::{ErrorReport, ObjectReport, Report, Skipped};
use crate::{
    base::plural,
    judgement::{
        finding::{Action, RuleId},
        rules::RULES,
    },
};

/// The page: a summary, a filter, the findings by object, and the objects without findings.
pub fn render(report: &Report, about: &About) -> String {
    render_with(report, about, &html! {})
}

/// The same page, with further sections between the summary and the findings.
pub(crate) fn render_with(report: &Report, about: &About, sections: &Markup) -> String {
    page::page(about, &body(report, sections))
}

fn body(report: &Report, sections: &Markup) -> Markup {
    let (mut found, quiet): (Vec<_>, Vec<_>) =
        report.objects.iter().partition(|object| !object.findings.is_empty() || !object.remarks.is_empty());
    found.sort_by_key(|object| Reverse(severity(object)));
    html! {
        (section("summary", "Summary", &summary(report)))
        @if !report.errors.is_empty() || !report.warnings.is_empty() {
            (section("errors", "Errors while reading", &errors(report)))
        }
        (sections)
        (filter(&report.objects.iter().collect::<Vec<_>>()))
        @if !found.is_empty() { (section("findings", "Findings", &findings(&found))) }
        @if !quiet.is_empty() { (section("quiet", "Objects without findings", &without_findings(&quiet))) }
        @let skipped = skipped(&report.skipped);
        @if !skipped.is_empty() {
            (section("skipped", "Not linted", &html! { ul { @for line in &skipped { li { (clean(line)) } } } }))
        }
    }
}

/// The sections of objects that have findings.
pub(crate) fn findings(objects: &[&ObjectReport]) -> Markup {
    let numbered = objects.iter().scan(1, |next, object| {
        let number = *next;
        *next += object.findings.len();
        Some((object, number))
    });
    html! { @for (object, number) in numbered { (object::section(object, number)) } }
}

/// How much an object needs a person: one that would be patched needs less than one with a warning.
fn severity(object: &ObjectReport) -> u8 {
    let remark = if object.remarks.is_empty() { 0 } else { 2 };
    object.findings.iter().map(object::severity).max().unwrap_or(0).max(remark)
}

fn summary(report: &Report) -> Markup {
    let findings = || report.objects.iter().flat_map(|object| &object.findings);
    let counted = |action| findings().filter(|finding| finding.counts() && finding.action == action).count();
    let of_any = |is: &dyn Fn(&ObjectReport) -> bool| {
        ObjectReport::by_object(&report.objects).filter(|templates| templates.iter().any(is)).count()
    };
    let objects = of_any(&|_| true);
    let templates = if objects == report.objects.len() { 0 } else { report.objects.len() };
    let rejected = of_any(&|object| severity(object) == 3);
    let patched = of_any(&|object| !object.patch.is_empty());
    let remarks: usize = report.objects.iter().map(|object| object.remarks.len()).sum();
    let entries = [
        (objects, "object that runs pods", "objects that run pods", ""),
        (templates, "pod template", "pod templates", ""),
        (rejected, "object would be rejected", "objects would be rejected", "reject"),
        (counted(Action::Warn) + remarks + report.warnings.len(), "warning", "warnings", "warn"),
        (patched, "object would be patched", "objects would be patched", "patch"),
        (
            findings().filter(|finding| !finding.counts()).count(),
            "finding that is exempt or suppressed",
            "findings that are exempt or suppressed",
            "",
        ),
        (report.errors.len(), "error while reading", "errors while reading", "reject"),
    ];
    let entries: Vec<_> = (0..)
        .zip(entries)
        .filter(|(index, (number, ..))| *index == 0 || *number > 0)
        .map(|(_, (number, one, many, class))| Total::new(number, one, many, class))
        .collect();
    html! {
        (totals(&entries))
        @if findings().next().is_some() { (by_rule(report)) }
        @else if report.errors.is_empty() { p { "Nothing was found." } }
    }
}

/// The rules with findings, and how many each has.
fn by_rule(report: &Report) -> Markup {
    let mut rules: BTreeMap<RuleId, (usize, usize)> = BTreeMap::new();
    for templates in ObjectReport::by_object(&report.objects) {
        let mut seen = BTreeSet::new();
        for finding in templates.iter().flat_map(|object| &object.findings) {
            let (findings, objects) = rules.entry(finding.rule).or_default();
            *findings += 1;
            *objects += usize::from(seen.insert(finding.rule));
        }
    }
    let help = |rule| RULES.iter().find(|known| known.id == rule).map_or("", |known| known.help);
    html! {
        table {
            caption { "Findings by rule" }
            thead {
                tr {
                    th scope="col" { "Rule" }
                    th.number scope="col" { "Findings" }
                    th.number scope="col" { "Objects" }
                }
            }
            tbody {
                @for (rule, (findings, objects)) in &rules {
                    tr {
                        th scope="row" { (rule) div.place { (help(*rule)) } }
                        td.number { (findings) }
                        td.number { (objects) }
                    }
                }
            }
        }
    }
}

/// The filter, with the values that the report has.
pub(crate) fn filter(objects: &[&ObjectReport]) -> Markup {
    let mut verdicts = BTreeSet::new();
    let (mut rules, mut certainties, mut servers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for object in objects {
        servers.extend(object.containers.iter().map(|container| container.server.as_str()));
        if object.findings.is_empty() {
            verdicts.insert("admit");
        }
        for finding in &object.findings {
            verdicts.insert(object::verdict(finding).0);
            rules.insert(finding.rule);
            certainties.insert(finding.certainty);
        }
    }
    let same = |names: BTreeSet<&'static str>| names.into_iter().map(|name| (name, name)).collect();
    let verdicts = VERDICTS.into_iter().filter(|(class, _)| verdicts.contains(class)).collect();
    let rules = rules.into_iter().map(|rule| (rule.as_str(), rule.as_str())).collect();
    let servers = servers.into_iter().map(|server| (server, server)).collect();
    page::filter(
        "objects without findings",
        &[
            Choice { name: "verdict", label: "Verdict", values: verdicts },
            Choice { name: "rule", label: "Rule", values: rules },
            Choice { name: "certainty", label: "Certainty", values: same(certainties) },
            Choice { name: "server", label: "Server", values: servers },
        ],
    )
}

/// The verdicts of the filter: classes, and words for them.
const VERDICTS: [(&str, &str); 5] = [
    ("reject", "rejected"),
    ("warn", "warning"),
    ("patch", "patched"),
    ("ignore", "exempt or suppressed"),
    ("admit", "no finding"),
];

fn without_findings(objects: &[&ObjectReport]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Object" }
                    th scope="col" { "Proxy" }
                    th scope="col" { "Servers" }
                }
            }
            tbody { @for object in objects { (object::row(object)) } }
        }
    }
}

fn errors(report: &Report) -> Markup {
    let errors = report.errors.iter().map(|error| (error, "reject", "error"));
    let warnings = report.warnings.iter().map(|warning| (warning, "warn", "warning"));
    html! {
        ul.errors {
            @for (error, class, word) in errors.chain(warnings) {
                li {
                    (badge(class, word)) " " span.place { (place(error)) } ": " (clean(&error.message))
                    @if let Some(help) = &error.help { br; "Fix: " (clean(help)) }
                }
            }
        }
    }
}

fn place(error: &ErrorReport) -> String {
    let number = |number: Option<usize>| number.map(|it| format!(":{it}")).unwrap_or_default();
    format!("{}{}{}", clean(&error.file), number(error.line), number(error.column))
}

/// What was not linted, one line for each file or directory.
fn skipped(skipped: &Skipped) -> Vec<String> {
    let mut lines = Vec::new();
    if skipped.documents > 0 {
        let documents = plural::count(skipped.documents, "document");
        lines.push(format!("{documents} that are not Kubernetes objects"));
    }
    lines.extend(
        skipped
            .not_rendered
            .iter()
            .map(|directory| format!("{}: not rendered, {}", directory.file, directory.why)),
    );
    lines.extend(skipped.patches.iter().map(|file| format!("{file}: a patch")));
    lines.extend(skipped.templates.iter().map(|file| format!("{file}: a template")));
    lines
}
