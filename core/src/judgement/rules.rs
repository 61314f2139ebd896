//! The rules, one file each, and [`inspect`], which runs them.
//!
//! Turns a survey into findings. The verdict decides what follows.

mod close_wait_broken;
mod close_wait_unset;
mod close_wait_unsupported;
mod close_wait_untrusted;
mod idle_timeout_below_proxy_pool;
mod invalid_annotation;
mod probe_matches_idle_timeout;

use std::{fmt::Write, time::Duration};

use crate::{
    base::duration,
    judgement::{
        close_wait::{self, Obstacle, Plan},
        finding::{Finding, RuleId},
        policy::Policy,
        survey::{App, Survey},
    },
    linkerd::proxy_init,
    servers::{Certainty, Evidence, Origin, Window},
    workload::annotations::IDLE_TIMEOUT,
};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What it finds, in one line.
    pub help: &'static str,
    check: fn(&RuleInput<'_>) -> Vec<Finding>,
}

/// Every rule, in the order of [`RuleId::ALL`].
pub const RULES: [&Rule; 7] = [
    &probe_matches_idle_timeout::RULE,
    &idle_timeout_below_proxy_pool::RULE,
    &close_wait_unset::RULE,
    &close_wait_broken::RULE,
    &close_wait_unsupported::RULE,
    &close_wait_untrusted::RULE,
    &invalid_annotation::RULE,
];

/// The section of docs/rules.md about a rule, in Markdown: what it finds, why, and what to do. A test checks that each
/// rule has one.
pub fn page(rule: RuleId) -> &'static str {
    let pages = include_str!("../../../docs/rules.md").split("\n## ").skip(1);
    let of_rule = pages.filter_map(|page| page.split_once('\n')).find(|(title, _)| *title == rule.as_str());
    of_rule.map_or("", |(_, text)| text.trim())
}

/// The maximum number of findings for one rule and object. Real pods have a handful. A review of several megabytes must
/// not become a response that is many times as large.
const MAX_FINDINGS: usize = 100;

/// The input of a rule.
struct RuleInput<'a> {
    survey: &'a Survey<'a, 'a>,
    plan: &'a Plan,
    tolerance: Duration,
}

/// The findings of the rules, and the plan that some of them report.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The findings, in the order of [`RULES`].
    pub findings: Vec<Finding>,
    /// The plan for the close-wait timeout.
    pub plan: Plan,
}

/// Runs all rules.
pub fn inspect<'a>(survey: &'a Survey<'a, 'a>, policy: &Policy) -> Inspection {
    let plan = close_wait::plan(survey, &policy.close_wait);
    let input = RuleInput { survey, plan: &plan, tolerance: policy.tolerance };
    let findings =
        RULES.iter().flat_map(|rule| (rule.check)(&input).into_iter().take(MAX_FINDINGS)).collect();
    Inspection { findings, plan }
}

impl RuleInput<'_> {
    /// The finding of a close-wait rule, if the plan belongs to this rule. `words` returns the message and the help.
    fn of_plan(&self, rule: RuleId, words: impl FnOnce() -> (String, String)) -> Vec<Finding> {
        if self.plan.rule != Some(rule) {
            return Vec::new();
        }
        let (message, help) = words();
        let name = match self.plan.method {
            Err(Obstacle::Untrusted { container }) => container,
            Ok(_) | Err(_) => proxy_init::NAME,
        };
        let init = self.survey.pod.all_containers().find(|container| &*container.name == name);
        vec![Finding {
            rule,
            reachable: true,
            certainty: Certainty::Certain,
            container: init.map(|init| init.name.to_string()),
            at: init.map(|init| self.survey.pod.container_pointer(init, [])).into_iter().collect(),
            message,
            note: self.plan.why.clone(),
            help,
            edits: self.plan.edits.clone(),
            timeline: None,
        }]
    }

    /// Whether the server may close a connection just when it has been idle for this long.
    fn meets(&self, idle: Duration, window: &Window) -> bool {
        idle + self.tolerance >= window.from && idle <= window.to + self.tolerance
    }
}

/// `Gunicorn closes idle connections after 10s`, with the window if there is one.
fn closes(app: &App<'_, '_>, window: &Window, evidence: &Evidence) -> String {
    let likely = if evidence.certainty.is_certain() { "" } else { "likely " };
    let mut text =
        format!("{} {likely}closes idle connections after {}", app.server_name(), seconds(window.from));
    if window.to > window.from {
        // Writing to a String cannot fail.
        let _ = write!(text, " to {}", seconds(window.to));
    }
    text
}

/// How the idle timeout is known, for a note.
fn evidence(evidence: &Evidence) -> String {
    let origin = match &evidence.origin {
        // Reports show a JSON pointer as lines of the file.
        Origin::SetBy { text, at } if !at.starts_with('/') => format!("set by {text} in {at}"),
        Origin::SetBy { text, .. } => format!("set by {text}"),
        Origin::DefaultOf { server, .. } => format!("the default of {server}"),
        Origin::Measured { text } => text.clone(),
    };
    let image_fields = if evidence.image_fields.is_empty() {
        String::new()
    } else {
        format!(", as shown by {}", evidence.image_fields.join(" and "))
    };
    let origin = format!("{origin}{image_fields}");
    match &evidence.certainty {
        Certainty::Certain => origin,
        Certainty::Likely(why) => format!("{origin}; {why}"),
    }
}

/// How to declare a timeout that differs from the default; empty if the pod sets it.
fn or_declare(evidence: &Evidence) -> String {
    match &evidence.origin {
        Origin::SetBy { .. } | Origin::Measured { .. } if evidence.certainty.is_certain() => String::new(),
        Origin::SetBy { .. } | Origin::DefaultOf { .. } | Origin::Measured { .. } => {
            format!(", or set the annotation {IDLE_TIMEOUT} if the timeout is different")
        }
    }
}

/// Formats a duration in the unit of probe periods: `90s`, not `1m30s`.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        duration::format(duration)
    } else {
        format!("{}s", duration.as_secs_f64())
    }
}
