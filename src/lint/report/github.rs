//! Prints a report as workflow commands, which GitHub Actions shows as annotations in a pull request.

use super::{ErrorReport, FindingReport, ObjectReport, Report};
use crate::judgement::finding::Action;

/// One command for each finding, warning and error.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for object in &report.objects {
        for finding in object.findings.iter().filter(|finding| finding.counts()) {
            text.push_str(&of_finding(object, finding));
        }
        for remark in &object.remarks {
            let message = format!("{} {}: {remark}", object.kind, name(object));
            text.push_str(&command("warning", place(object, None), "exemption", &message));
        }
    }
    for (level, list) in [("error", &report.errors), ("warning", &report.warnings)] {
        for ErrorReport { file, line, message, help, .. } in list {
            let help = help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
            text.push_str(&command(level, (file, *line), level, &format!("{message}{help}")));
        }
    }
    text
}

fn of_finding(object: &ObjectReport, finding: &FindingReport) -> String {
    let level = match finding.action {
        Action::Reject => "error",
        Action::Warn => "warning",
        Action::Patch | Action::Ignore => "notice",
    };
    let mut message = format!("{} {}: {}", object.kind, name(object), finding.message);
    for (label, more) in [("note", &finding.note), ("help", &finding.help)] {
        if !more.is_empty() {
            message.push_str(&format!("\n{label}: {more}"));
        }
    }
    let line = finding.lines.first().map(|line| line.line);
    command(level, place(object, line), finding.rule.as_str(), &message)
}

fn name(object: &ObjectReport) -> String {
    super::text::full_name(&object.namespace, &object.name)
}

/// The file in the repository and the line; rendered documents have no line.
fn place(object: &ObjectReport, line: Option<usize>) -> (&str, Option<usize>) {
    match &object.rendered_from {
        Some(from) => (from, None),
        None => (object.file.as_deref().unwrap_or_default(), line.or(object.line)),
    }
}

fn command(level: &str, (file, line): (&str, Option<usize>), title: &str, message: &str) -> String {
    let file = property(file.trim_start_matches("./"));
    let line = line.map(|line| format!(",line={line}")).unwrap_or_default();
    format!("::{level} file={file}{line},title={}::{}\n", property(title), data(message))
}

/// The escapes of `toCommandValue` in actions/toolkit `packages/core/src/command.ts`.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    // The content of manifests is not trusted, and job logs are shown in terminals.
    text.replace(char::is_control, "\u{fffd}")
}

/// The same for the properties before the second `::`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
