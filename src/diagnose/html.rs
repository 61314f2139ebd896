//! Prints a diagnosis as one HTML page for people, in the frame and the style of the page of `lint`.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::report::{FailureReport, PortReport, Report};
use crate::lint::report::html::{
    About,
    page::{self, Choice, Total, badge, clean, section},
    timeline,
};

/// The page for log files, or for a workload.
pub fn workload(report: &Report) -> String {
    page(std::slice::from_ref(report), &[])
}

/// The page for several workloads, and for the errors of those that could not be read.
pub fn workloads(reports: &[Report], errors: &[String]) -> String {
    page(reports, errors)
}

fn page(reports: &[Report], errors: &[String]) -> String {
    let about = About { title: "Failed requests, found by linkerd-linger".to_owned(), facts: read(reports) };
    let failing: Vec<_> = numbered(reports).filter(|(report, _)| report.failed() > 0).collect();
    let body = html! {
        (section("summary", "Summary", &summary(reports)))
        @if !errors.is_empty() {
            (section("errors", "Errors while reading", &html! {
                ul.errors { @for error in errors { li { (badge("reject", "error")) " " (clean(error)) } } }
            }))
        }
        (filter(reports))
        @if !failing.is_empty() {
            (section("findings", "Failed requests", &html! {
                @for (report, number) in &failing { (object(report, *number)) }
            }))
        }
        @let notes: BTreeSet<&str> = reports.iter().flat_map(|report| &report.notes).map(String::as_str).collect();
        @if !notes.is_empty() {
            (section("notes", "Notes", &html! { ul { @for note in notes { li { (clean(note)) } } } }))
        }
    };
    page::page(&about, &body)
}

/// Each report with the number of its first finding in the page.
fn numbered(reports: &[Report]) -> impl Iterator<Item = (&Report, usize)> {
    reports.iter().scan(1, |next, report| {
        let number = *next;
        *next += report.ports.iter().map(|port| port.failures.len()).sum::<usize>();
        Some((report, number))
    })
}

fn read(reports: &[Report]) -> Vec<(&'static str, String)> {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let mut facts = Vec::new();
    if let [Report { workload: Some(workload), .. }] = reports {
        facts.push(("Workload", workload.clone()));
    }
    facts.push(("Lines of the proxy's log", sum(|report| report.read.lines).to_string()));
    let others = [
        ("Lines of access logs", sum(|report| report.read.access_log_lines)),
        ("Lines of other programs", sum(|report| report.read.other_lines)),
        ("Incomplete lines", sum(|report| report.read.incomplete_lines)),
    ];
    facts.extend(
        others.into_iter().filter(|(_, number)| *number > 0).map(|(label, it)| (label, it.to_string())),
    );
    facts
}

fn summary(reports: &[Report]) -> Markup {
    let failed = reports.iter().map(Report::failed).sum::<u64>();
    let ports = || reports.iter().flat_map(|report| &report.ports);
    let (bad, good): (Vec<&PortReport>, Vec<_>) = ports().partition(|port| !port.failures.is_empty());
    let class = if failed > 0 { "reject" } else { "admit" };
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut totals = vec![
        Total::new(number(failed), "failed request", "failed requests", class),
        Total::new(bad.len(), "port with failures", "ports with failures", ""),
        Total::new(good.len(), "port without failures", "ports without failures", ""),
    ];
    if reports.len() > 1 {
        totals.push(Total::new(reports.len(), "workload", "workloads", ""));
    }
    html! {
        (page::totals(&totals))
        @if reports.len() > 1 { (table(reports)) }
    }
}

/// The workloads, the worst first.
fn table(reports: &[Report]) -> Markup {
    html! {
        table {
            caption { "Workloads" }
            thead {
                tr {
                    th scope="col" { "Workload" }
                    th.number scope="col" { "Failed" }
                    th.number scope="col" { "Requests" }
                    th scope="col" { "Main cause" }
                }
            }
            tbody {
                @for report in reports {
                    @let requests: Option<u64> = report.ports.iter().map(|port| port.requests).sum();
                    tr.item data-cause=(causes(report)) {
                        th scope="row" { bdi { (clean(report.workload.as_deref().unwrap_or_default())) } }
                        td.number { (report.failed()) }
                        td.number { @match requests { Some(requests) => (requests), None => "unknown" } }
                        td {
                            @if let Some((port, failure)) = report.worst() {
                                (failure.cause.as_str()) " at " (port.direction.as_str()) " port " (port.port)
                            } @else { "none" }
                        }
                    }
                }
            }
        }
    }
}

fn causes(report: &Report) -> String {
    let failures = report.ports.iter().flat_map(|port| &port.failures);
    let causes: BTreeSet<_> = failures.map(|failure| failure.cause.as_str()).collect();
    causes.into_iter().collect::<Vec<_>>().join(" ")
}

fn filter(reports: &[Report]) -> Markup {
    let ports = || reports.iter().flat_map(|report| &report.ports);
    let failures = || ports().flat_map(|port| &port.failures);
    let same = |names: BTreeSet<&'static str>| names.into_iter().map(|name| (name, name)).collect();
    let directions = ports().filter(|port| !port.failures.is_empty()).map(|port| port.direction.as_str());
    page::filter(
        "workloads",
        &[
            Choice {
                name: "cause",
                label: "Cause",
                values: same(failures().map(|failure| failure.cause.as_str()).collect()),
            },
            Choice {
                name: "certainty",
                label: "Certainty",
                values: same(failures().map(certainty).collect()),
            },
            Choice { name: "direction", label: "Direction", values: same(directions.collect()) },
        ],
    )
}

fn certainty(failure: &FailureReport) -> &'static str {
    failure.certainty.unwrap_or("unknown")
}

fn object(report: &Report, number: usize) -> Markup {
    let failures = report.ports.iter().flat_map(|port| {
        port.failures.iter().enumerate().map(move |(index, failure)| (port, index, failure))
    });
    html! {
        section.object {
            h3 { bdi { (clean(report.workload.as_deref().unwrap_or("The logs"))) } }
            @for (number, (port, index, failure)) in (number..).zip(failures) {
                (article(port, failure, number, index + 1 == port.failures.len()))
            }
        }
    }
}

/// The failures of one cause; the last of a port names its clients.
fn article(port: &PortReport, failure: &FailureReport, number: usize, is_last: bool) -> Markup {
    let id = format!("finding-{number}");
    let class = if failure.certainty.is_some() { "reject" } else { "warn" };
    html! {
        article.finding.(class) aria-labelledby=(id) data-cause=(failure.cause.as_str())
            data-certainty=(certainty(failure)) data-direction=(port.direction.as_str()) {
            h4 #(id) {
                (badge(class, failure.cause.as_str())) " " (port.direction.as_str()) " port " (port.port)
            }
            p.message {
                "Failed requests: " (failure.counts())
                @if let Some(requests) = port.requests { ", of " (requests) " requests at this port" }
            }
            @if let Some(timeline) = &failure.timeline { (timeline::figure(timeline, true, &id)) }
            dl {
                @if let Some(when) = failure.when() { dt { "When" } dd { (clean(&when)) } }
                @if !failure.evidence.is_empty() { dt { "Evidence" } dd { (clean(&failure.evidence)) } }
                dt { "Certainty" }
                dd { (certainty(failure)) }
                @if !failure.help.is_empty() { dt { "Fix" } dd.fix { (clean(&failure.help)) } }
                @if is_last && !port.clients.is_empty() {
                    dt { "Clients of the port" }
                    dd {
                        ul.clients {
                            @for client in &port.clients {
                                li { (clean(&client.address)) ": " (client.count) }
                            }
                        }
                    }
                }
            }
        }
    }
}
