//! Comments in manifests that suppress findings: `# linkerd-linger: ignore[RULE] REASON`.
//!
//! A comment after a value covers its line. A comment on its own line covers the next line that is not a comment. A
//! finding is suppressed if one of its lines, or the first line of its object, is covered.

use super::report::{ErrorReport, ObjectReport, Report, Suppression};
use crate::{
    base::yaml,
    judgement::{fields::unknown_name, finding::RuleId},
};

/// The start of such a comment.
const MARK: &str = "linkerd-linger: ignore";

const FORM: &str =
    "write it like `# linkerd-linger: ignore[probe-matches-idle-timeout] fixed in the next release`";

/// A parsed comment.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Comment {
    line: usize,
    /// The covered line.
    covers: usize,
    rules: Vec<RuleId>,
    reason: String,
}

/// Suppresses the findings of a report that are covered by comments in this file. Invalid comments, and comments that
/// suppress nothing, become warnings.
pub fn apply(report: &mut Report, file: &str, text: &str) {
    if !text.contains(MARK) {
        return;
    }
    let mut objects: Vec<&mut ObjectReport> =
        report.objects.iter_mut().filter(|object| object.file.as_deref() == Some(file)).collect();
    for comment in read(text) {
        let (line, message, help) = match comment {
            Ok(comment) => {
                let unused: Vec<_> = comment
                    .rules
                    .iter()
                    .filter(|rule| !suppress(&mut objects, &comment, **rule))
                    .map(|rule| rule.as_str())
                    .collect();
                if unused.is_empty() {
                    continue;
                }
                let message = format!("this comment suppresses no finding of {}", unused.join(", "));
                (comment.line, message, "remove it, or put it on the line above the finding or its object")
            }
            Err((line, message)) => (line, message, FORM),
        };
        report.warnings.push(ErrorReport {
            file: file.to_owned(),
            line: Some(line),
            column: None,
            message,
            help: Some(help.to_owned()),
        });
    }
}

/// Suppresses the findings that a comment covers; returns whether there are any.
fn suppress(objects: &mut [&mut ObjectReport], comment: &Comment, rule: RuleId) -> bool {
    let mut is_used = false;
    for object in objects {
        let whole = object.line == Some(comment.covers);
        for finding in object.findings.iter_mut().filter(|finding| finding.rule == rule) {
            if whole || finding.lines.iter().any(|line| line.line == comment.covers) {
                is_used = true;
                finding.suppressed = Some(Suppression::Comment(comment.reason.clone()));
            }
        }
    }
    is_used
}

/// The comments of a text, and the lines of invalid ones.
fn read(text: &str) -> Vec<Result<Comment, (usize, String)>> {
    let lines: Vec<&str> = yaml::lines(text).map(|(_, line)| line).collect();
    let mut comments = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((before, rest)) = mark(line) else { continue };
        let covers = if before.trim().is_empty() {
            let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
            (index + 1..lines.len()).find(|next| says(&lines[*next])).unwrap_or(index)
        } else {
            index
        };
        let read = rules_and_reason(rest).map(|(rules, reason)| Comment {
            line: index + 1,
            covers: covers + 1,
            rules,
            reason,
        });
        comments.push(read.map_err(|message| (index + 1, message)));
    }
    comments
}

/// The text before the `#` of the comment, and the text after its mark.
fn mark(line: &str) -> Option<(&str, &str)> {
    let at = line.find(MARK)?;
    let before = line[..at].trim_end().strip_suffix('#')?;
    let is_comment = before.is_empty() || before.ends_with(char::is_whitespace);
    is_comment.then_some((before, &line[at + MARK.len()..]))
}

fn rules_and_reason(text: &str) -> Result<(Vec<RuleId>, String), String> {
    let (rules, reason) = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .ok_or("this comment names no rule, so it suppresses nothing")?;
    let known = RuleId::ALL.map(RuleId::as_str);
    let read = |name: &str| name.parse::<RuleId>().map_err(|_| unknown_name("rule", name, &known));
    let rules = rules.split(',').map(|name| read(name.trim())).collect::<Result<Vec<_>, _>>()?;
    let reason = reason.trim().trim_start_matches([':', '-']).trim();
    if reason.is_empty() {
        return Err("this comment gives no reason, so it suppresses nothing".to_owned());
    }
    Ok((rules, reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::after_a_value("a: 1\nb: 2 # linkerd-linger: ignore[close-wait-unset] why", 2, "why")]
    #[case::line_of_its_own("# linkerd-linger: ignore[close-wait-unset]: why\n\n# more\na: 1", 4, "why")]
    #[case::no_space("#linkerd-linger: ignore[close-wait-unset] - why\na: 1", 2, "why")]
    #[case::lone_carriage_returns(
        "a: 1\r\r\nb: 2 # linkerd-linger: ignore[close-wait-unset] why\r",
        3,
        "why"
    )]
    #[case::at_the_end("a: 1\n# linkerd-linger: ignore[close-wait-unset] why", 2, "why")]
    fn comments_cover_a_line(#[case] text: &str, #[case] covers: usize, #[case] reason: &str) {
        let [Ok(comment)] = &*read(text) else { unreachable!("{text}") };
        assert_eq!((comment.covers, &*comment.reason), (covers, reason));
        assert_eq!(comment.rules, [RuleId::CloseWaitUnset]);
    }

    #[rstest]
    #[case::no_rule("# linkerd-linger: ignore why", "this comment names no rule")]
    #[case::no_reason("# linkerd-linger: ignore[close-wait-unset] ", "this comment gives no reason")]
    #[case::unknown_rule("# linkerd-linger: ignore[close-wait-unse] why", "did you mean close-wait-unset?")]
    fn a_comment_that_cannot_be_read_says_why(#[case] text: &str, #[case] expected: &str) {
        let [Err((1, message))] = &*read(text) else { unreachable!("{text}") };
        assert!(message.contains(expected), "{message}");
    }

    #[rstest]
    #[case::text("a: 'x#linkerd-linger: ignore[close-wait-unset] why'")]
    #[case::word("a: linkerd-linger: ignore")]
    fn other_text_is_no_comment(#[case] text: &str) {
        assert_eq!(read(text), []);
    }
}
