//! Prints a report as JUnit XML, which CI services show as tests: one test for each object, which fails if it has
//! findings.
//!
//! Does not use a library: the format needs only five elements, and the available crate depends on a second XML
//! library, UUIDs and dates.

use super::{ErrorReport, FindingReport, ObjectReport, Report};
use crate::judgement::finding::Action;

/// The report as XML. Rejected objects are failures; with `warnings_fail`, so are objects with warnings.
pub fn render(report: &Report, warnings_fail: bool) -> String {
    let fails = |finding: &&FindingReport| {
        finding.counts()
            && match finding.action {
                Action::Reject => true,
                Action::Warn => warnings_fail,
                Action::Patch | Action::Ignore => false,
            }
    };
    let mut cases = String::new();
    let mut failures = 0;
    for object in &report.objects {
        let failed: Vec<_> = object.findings.iter().filter(fails).collect();
        let remarks = if warnings_fail { object.remarks.as_slice() } else { &[] };
        failures += usize::from(!failed.is_empty() || !remarks.is_empty());
        cases.push_str(&case(object, &failed, remarks));
    }
    let errors: String = report.errors.iter().map(error).collect();
    let tests = report.objects.len() + report.errors.len();
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{}\"", report.errors.len());
    let name = env!("CARGO_PKG_NAME");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{name}\" {counts}>\n  \
         <testsuite name=\"{name}\" {counts}>\n{cases}{errors}  </testsuite>\n</testsuites>\n"
    )
}

fn case(object: &ObjectReport, failed: &[&FindingReport], remarks: &[String]) -> String {
    let name = format!("{} {}", object.kind, super::text::full_name(&object.namespace, &object.name));
    let file = object.file.as_deref().unwrap_or_default();
    let open = format!("    <testcase classname=\"{}\" name=\"{}\"", escape(file), escape(&name));
    if failed.is_empty() && remarks.is_empty() {
        return open + "/>\n";
    }
    let mut text = open + ">\n";
    for finding in failed {
        let mut body = match finding.lines.first() {
            Some(line) => format!("{}:{}\n", line.file, line.line),
            None => String::new(),
        };
        for (label, more) in [("note", &finding.note), ("help", &finding.help)] {
            if !more.is_empty() {
                body.push_str(&format!("{label}: {more}\n"));
            }
        }
        text.push_str(&failure(finding.rule.as_str(), &finding.message, &body));
    }
    for remark in remarks {
        text.push_str(&failure("warning", remark, ""));
    }
    text + "    </testcase>\n"
}

fn failure(kind: &str, message: &str, body: &str) -> String {
    let (message, body) = (escape(message), escape(body));
    format!("      <failure type=\"{kind}\" message=\"{message}\">{body}</failure>\n")
}

fn error(error: &ErrorReport) -> String {
    let place = error.line.map_or_else(|| error.file.clone(), |line| format!("{}:{line}", error.file));
    format!(
        "    <testcase classname=\"{}\" name=\"{}\">\n      <error type=\"unreadable\" message=\"{}\">{}</error>\n    </testcase>\n",
        escape(&error.file),
        escape(&place),
        escape(&error.message),
        escape(error.help.as_deref().unwrap_or_default())
    )
}

/// Escapes text for XML attributes and elements; characters that XML 1.0 does not allow become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
