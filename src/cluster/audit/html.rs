//! The result of an audit as one HTML page: what admission does, what to do about it, and the findings.

use maud::{Markup, html};

use super::{
    report::{AuditReport, ExemptionReport, OwnerReport, Restart, Unknown},
    text::outcomes,
};
use crate::lint::report::html::{
    self as report, About,
    page::{clean, section},
};

/// The page.
pub fn page(audit: &AuditReport, about: &About) -> String {
    report::render_with(&audit.objects(), about, &sections(audit))
}

/// What a page of `lint` does not have.
fn sections(audit: &AuditReport) -> Markup {
    let drained: Vec<_> = audit.drained().collect();
    let restarts: Vec<_> = audit.restarts().collect();
    html! {
        (section("admission", "Admission", &admission(audit)))
        @if !audit.left_out.is_empty() {
            (section("left-out", "Custom resources that were left out", &html! {
                p { "Their pods, and the workloads that they own, were judged all the same." }
                ul { @for what in &audit.left_out { li { (clean(what)) } } }
            }))
        }
        @if !drained.is_empty() { (section("drain", "What a drain would break", &drain(&drained))) }
        @if !restarts.is_empty() { (section("restart", "Pods that need a restart", &restart(&restarts))) }
        @if !audit.unknown.is_empty() {
            (section("unknown", "Idle timeouts that are not known", &unknown(&audit.unknown)))
        }
        @if !audit.exemptions.is_empty() {
            (section("exemptions", "Exemptions that do nothing", &exemptions(&audit.exemptions)))
        }
    }
}

fn admission(audit: &AuditReport) -> Markup {
    html! {
        table {
            caption { "What the webhook would do with the workloads, by the mode of their namespaces" }
            thead { tr { th scope="col" { "Mode" } th scope="col" { "Workloads" } } }
            tbody {
                @for (mode, outcomes) in outcomes(&audit.owners) {
                    tr {
                        th scope="row" { (mode.as_str()) }
                        td { @if outcomes.is_empty() { "none" } @else { (outcomes) } }
                    }
                }
            }
        }
    }
}

/// The header of a row about a workload.
fn workload(owner: &OwnerReport) -> Markup {
    html! { th scope="row" { bdi { (clean(&owner.object.namespace)) " " (clean(&owner.reference())) } } }
}

fn drain(owners: &[&OwnerReport]) -> Markup {
    html! {
        p { "These pods run, and would be rejected when they are created anew. A drain of their nodes would break them." }
        table {
            thead {
                tr { th scope="col" { "Workload" } th.number scope="col" { "Pods" } th scope="col" { "Why" } }
            }
            tbody {
                @for owner in owners {
                    tr {
                        (workload(owner))
                        td.number { (owner.pods.rejected_if_recreated) }
                        td { @for refusal in &owner.refusals { div { (clean(refusal)) } } }
                    }
                }
            }
        }
    }
}

fn restart(owners: &[(&OwnerReport, Restart)]) -> Markup {
    html! {
        p { "These pods run without the close-wait timeout. A restart fixes them." }
        table {
            thead {
                tr { th scope="col" { "Workload" } th.number scope="col" { "Pods" } th scope="col" { "How" } }
            }
            tbody {
                @for (owner, restart) in owners {
                    tr {
                        (workload(owner))
                        td.number { (owner.pods.patched_if_recreated) }
                        td {
                            @match restart {
                                Restart::Command(command) => { code { (clean(command)) } }
                                Restart::NotYet => { "Fix its findings first, because its new pods would be rejected." }
                                Restart::ThroughOwner => { "Create them anew through their owner." }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn unknown(containers: &[Unknown]) -> Markup {
    html! {
        p {
            "Probes reach these containers through the proxy. Measure their timeouts one by one, or all of them with "
            code { "linkerd linger learn" } "."
        }
        table {
            thead {
                tr {
                    th scope="col" { "Workload" }
                    th scope="col" { "Container" }
                    th scope="col" { "Why, and the command that measures it" }
                }
            }
            tbody {
                @for unknown in containers {
                    tr {
                        th scope="row" { bdi { (clean(&unknown.namespace)) " " (clean(&unknown.workload())) } }
                        td { bdi { (clean(&unknown.container)) } }
                        td { div { (clean(&unknown.why)) } code { (clean(&unknown.command())) } }
                    }
                }
            }
        }
    }
}

fn exemptions(exemptions: &[ExemptionReport]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th.number scope="col" { "Line of the policy" }
                    th scope="col" { "Reason" }
                    th scope="col" { "Why it does nothing" }
                }
            }
            tbody {
                @for exemption in exemptions {
                    tr {
                        th.number scope="row" { (exemption.line) }
                        td { (clean(&exemption.reason)) }
                        td { (exemption.why()) }
                    }
                }
            }
        }
    }
}
