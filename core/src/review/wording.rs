//! The texts of a response, within the limits of the API: warnings, the denial and the audit annotation.

use std::{
    collections::HashSet,
    fmt::{Display, Write},
};

use super::WebhookKind;
use crate::{
    judgement::{
        finding::{Action, Finding, RuleId},
        verdict::Verdict,
    },
    servers::Certainty,
    workload::object::Kind,
};

/// The maximum length of a warning, in characters. The API asks clients to "limit warnings to 120 characters if
/// possible".
const WARNING_CHARS: usize = 120;
/// The maximum number of warnings. All webhooks share the API server's budget of 4096 characters.
const MAX_WARNINGS: usize = 5;
/// The maximum length of a denial, in characters. With the text that the API server adds, it must fit into an event,
/// which holds 1024.
const DENIAL_CHARS: usize = 900;

/// The warnings of a verdict. A finding with a patch gives a warning only for a final pod, which can no longer be
/// patched.
pub(super) fn warnings(verdict: &Verdict, webhook: WebhookKind, kind: Kind) -> Vec<String> {
    let is_shown = |action: Action| match action {
        Action::Reject | Action::Warn => true,
        Action::Patch => webhook == WebhookKind::Validating && kind == Kind::Pod,
        Action::Ignore => false,
    };
    verdict
        .judged
        .iter()
        .filter(|judged| judged.exempt.is_none() && is_shown(judged.action))
        .map(|judged| &judged.finding.message)
        .chain(&verdict.remarks)
        .map(|warning| format!("linkerd-linger: {warning}"))
        .collect()
}

/// Truncates warnings to the limits and counts the omitted ones. Equal warnings are merged; the API server would drop
/// the duplicates.
pub(super) fn limit(warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    if warnings.len() > MAX_WARNINGS {
        let more = warnings.len() - (MAX_WARNINGS - 1);
        warnings.truncate(MAX_WARNINGS - 1);
        warnings.push(format!("linkerd-linger: {more} more; `linkerd linger explain` shows all"));
    }
    for warning in warnings {
        *warning = one_line(warning, WARNING_CHARS);
    }
}

/// Lists every reason with its help. A long denial omits the notes first, then the last reasons, which are counted.
pub(super) fn denial<'f>(findings: impl Iterator<Item = &'f Finding>) -> String {
    let findings: Vec<_> = findings.collect();
    // The note says why a match that looks harmless is rejected.
    let fact = |finding: &Finding| match finding.reachable {
        true => finding.message.clone(),
        false => format!(
            "{}. Rejected because the policy also rejects findings that can fail only later",
            finding.message
        ),
    };
    let whole =
        |finding: &Finding| format!("{} ({}). To fix: {}.", fact(finding), finding.note, finding.help);
    let short = |finding: &Finding| format!("{}. To fix: {}.", fact(finding), finding.help);
    let (mut text, more) = fitting(&findings.iter().map(|finding| whole(finding)).collect::<Vec<_>>());
    if more > 0 || text.chars().count() > DENIAL_CHARS {
        text = fitting(&findings.iter().map(|finding| short(finding)).collect::<Vec<_>>()).0;
    }
    one_line(&text, DENIAL_CHARS)
}

/// Returns the reasons that fit, at least one and none of them truncated, and the number of those omitted.
fn fitting(reasons: &[String]) -> (String, usize) {
    let mut text = "linkerd-linger:".to_owned();
    for (index, reason) in reasons.iter().enumerate() {
        let more = reasons.len() - index;
        let ending = format!(" ... and {more} more; `linkerd linger explain` shows all");
        let last = more == 1;
        let room = DENIAL_CHARS.saturating_sub(if last { 0 } else { ending.chars().count() });
        if index > 0 && text.chars().count() + 1 + reason.chars().count() > room {
            return (text + &ending, more);
        }
        text.push(' ');
        text.push_str(reason);
    }
    (text, 0)
}

/// `rule=action` for each finding, `rule=action(likely)` if it is not certain; exempt findings are marked.
pub(super) fn audit(verdict: &Verdict) -> String {
    counted(verdict.judged.iter().map(|judged| {
        let action = if judged.exempt.is_some() { "exempt" } else { judged.action.as_str() };
        let grade = match judged.finding.certainty {
            Certainty::Certain => "",
            Certainty::Likely(_) => "(likely)",
        };
        (judged.finding.rule, format!("{action}{grade}"))
    }))
}

/// `rule=action`, separated by commas; repeated items are counted: `rule=action x3`.
pub fn counted<A: Display + PartialEq>(findings: impl IntoIterator<Item = (RuleId, A)>) -> String {
    let mut counts: Vec<((RuleId, A), usize)> = Vec::new();
    for finding in findings {
        match counts.iter_mut().find(|(known, _)| *known == finding) {
            Some((_, count)) => *count += 1,
            None => counts.push((finding, 1)),
        }
    }
    let mut text = String::new();
    for ((rule, action), count) in counts {
        let comma = if text.is_empty() { "" } else { "," };
        let times = if count == 1 { String::new() } else { format!(" x{count}") };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{rule}={action}{times}");
    }
    text
}

/// Truncates to one line of at most `most` characters. Control characters become blanks, because the API server drops
/// warnings that contain them.
fn one_line(text: &str, most: usize) -> String {
    let mut line = text.replace(char::is_control, " ");
    if line.chars().count() > most {
        let end = line.char_indices().nth(most - 1).map_or(line.len(), |(end, _)| end);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(message: &str) -> Finding {
        Finding {
            rule: RuleId::ProbeMatchesIdleTimeout,
            reachable: true,
            certainty: Certainty::Certain,
            container: None,
            at: Vec::new(),
            message: message.to_owned(),
            note: "note".to_owned(),
            help: "help".to_owned(),
            edits: Vec::new().into(),
            timeline: None,
        }
    }

    #[test]
    fn a_denial_lists_every_reason_with_its_help() {
        let findings = [finding("one"), finding("two")];
        let text = denial(findings.iter());
        assert_eq!(text, "linkerd-linger: one (note). To fix: help. two (note). To fix: help.");
    }

    #[test]
    fn a_long_denial_omits_notes_first() {
        let findings: Vec<_> = (0..12).map(|index| finding(&format!("{index} {}", "x".repeat(50)))).collect();
        let text = denial(findings.iter());
        assert!(text.chars().count() <= DENIAL_CHARS && !text.contains("note"));
        assert_eq!(text.matches("To fix: help.").count(), 12);
    }

    #[test]
    fn a_denial_counts_omitted_reasons_and_truncates_none() {
        let findings: Vec<_> = (0..20).map(|index| finding(&format!("{index} {}", "x".repeat(90)))).collect();
        let text = denial(findings.iter());
        assert!(text.chars().count() <= DENIAL_CHARS && !text.contains("note"));
        assert!(
            text.ends_with("To fix: help. ... and 13 more; `linkerd linger explain` shows all"),
            "{text}"
        );
        assert_eq!(text.matches("To fix: help.").count(), 7);
    }

    #[test]
    fn equal_findings_are_counted() {
        let (probe, unset) = (RuleId::ProbeMatchesIdleTimeout, RuleId::CloseWaitUnset);
        let text = counted([(probe, "reject"), (unset, "patch"), (probe, "warn"), (probe, "reject")]);
        assert_eq!(
            text,
            "probe-matches-idle-timeout=reject x2,close-wait-unset=patch,probe-matches-idle-timeout=warn"
        );
    }

    #[test]
    fn warnings_are_short_clean_and_few() {
        let mut warnings: Vec<String> =
            (0..9).map(|index| format!("{index}\n\t{}", "ü".repeat(200))).collect();
        limit(&mut warnings);
        assert_eq!(warnings.len(), MAX_WARNINGS);
        assert!(
            warnings.iter().all(|w| w.chars().count() <= WARNING_CHARS && !w.chars().any(char::is_control))
        );
        assert!(warnings[4].contains("5 more"));
    }
}
