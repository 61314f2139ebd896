//! Prints a report as SARIF 2.1.0, for code scanning services and editors.
//!
//! Does not use a library: the SARIF crate has some hundred types, and this needs ten. A test validates the output
//! against the official schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ErrorReport, FindingReport, ObjectReport, Report, Suppression};
use crate::judgement::{
    finding::{Action, RuleId},
    rules::{RULES, page},
};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report as a SARIF log, indented, with a newline at its end.
///
/// # Errors
///
/// Every key is a string, so no error is known.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut seen = BTreeMap::new();
    let results: Vec<_> = report
        .objects
        .iter()
        .flat_map(|object| object.findings.iter().map(move |finding| (object, finding)))
        .map(|(object, finding)| result(object, finding, &mut seen))
        .collect();
    let remarks =
        report.objects.iter().flat_map(|object| object.remarks.iter().map(move |text| (object, text)));
    let notifications: Vec<_> = report
        .errors
        .iter()
        .map(|error| notification(error, "error"))
        .chain(report.warnings.iter().map(|warning| notification(warning, "warning")))
        .chain(remarks.map(|(object, text)| {
            json!({"level": "warning", "message": {"text": text}, "locations": [location(object, None)]})
        }))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": RULES.iter().map(|rule| rule_of(rule.id, rule.help)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": report.errors.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).map(|json| json + "\n")
}

fn rule_of(id: RuleId, help: &str) -> Value {
    json!({
        "id": id.as_str(),
        "shortDescription": {"text": help},
        "help": {"text": page(id), "markdown": page(id)},
        "defaultConfiguration": {"level": level(id.default_action())},
    })
}

const fn level(action: Action) -> &'static str {
    match action {
        Action::Reject => "error",
        Action::Warn => "warning",
        Action::Patch | Action::Ignore => "note",
    }
}

fn result(object: &ObjectReport, finding: &FindingReport, seen: &mut BTreeMap<String, usize>) -> Value {
    let index = RuleId::ALL.iter().position(|rule| *rule == finding.rule);
    let mut text = finding.message.clone();
    for (label, more) in [("note", &finding.note), ("help", &finding.help)] {
        if !more.is_empty() {
            text.push_str(&format!("\n{label}: {more}"));
        }
    }
    let mut result = json!({
        "ruleId": finding.rule.as_str(),
        "ruleIndex": index,
        "level": level(finding.action),
        "message": {"text": text},
        "locations": [location(object, finding.lines.first().map(|line| line.line))],
        "partialFingerprints": {"linkerdLingerFinding/v1": fingerprint(object, finding, seen)},
        "properties": {"certainty": finding.certainty, "reachable": finding.reachable},
    });
    let suppression = match (&finding.suppressed, &finding.exempt) {
        (Some(Suppression::Comment(reason)), _) => Some(("inSource", reason.as_str())),
        (Some(Suppression::Baseline), _) => Some(("external", "it is in the baseline")),
        (None, Some(reason)) => Some(("external", reason.as_str())),
        (None, None) => None,
    };
    if let Some((kind, reason)) = suppression {
        result["suppressions"] = json!([{"kind": kind, "justification": reason}]);
    }
    result
}

/// The identity of a finding if lines move: the object, the container and the index among equal findings.
fn fingerprint(object: &ObjectReport, finding: &FindingReport, seen: &mut BTreeMap<String, usize>) -> String {
    let container = finding.container.as_deref().unwrap_or_default();
    let parts = [finding.rule.as_str(), &object.kind, &object.namespace, &object.name, container];
    let key = parts.join("/");
    let number = seen.entry(key.clone()).or_insert(0);
    *number += 1;
    format!("{key}/{number}")
}

fn location(object: &ObjectReport, line: Option<usize>) -> Value {
    let mut location = Map::new();
    // Code scanning needs a file in the repository; lines of rendered documents do not exist there.
    let (file, line) = match &object.rendered_from {
        Some(from) => (Some(from), Some(1)),
        None => (object.file.as_ref(), line.or(object.line)),
    };
    if let Some(file) = file {
        location.insert("physicalLocation".to_owned(), place(file, line, None));
    }
    let name = super::text::full_name(&object.namespace, &object.name);
    let logical = json!([{"fullyQualifiedName": format!("{} {name}", object.kind), "kind": "resource"}]);
    location.insert("logicalLocations".to_owned(), logical);
    location.into()
}

fn notification(error: &ErrorReport, level: &str) -> Value {
    let help = error.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    json!({
        "level": level,
        "message": {"text": format!("{}{help}", error.message)},
        "locations": [{"physicalLocation": place(&error.file, error.line, error.column)}],
    })
}

fn place(file: &str, line: Option<usize>, column: Option<usize>) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri(file)}});
    if let Some(line) = line {
        place["region"] = json!({"startLine": line});
        if let Some(column) = column {
            place["region"]["startColumn"] = json!(column);
        }
    }
    place
}

/// A path as a URI reference; relative paths stay relative to the working directory.
fn uri(path: &str) -> String {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::uri;

    #[rstest]
    #[case::relative("./deploy/web.yaml", "deploy/web.yaml")]
    #[case::absolute("/src/web.yaml", "file:///src/web.yaml")]
    #[case::space_and_colon("my deploy/a:b.yaml", "my%20deploy/a%3Ab.yaml")]
    #[case::stdin("<stdin>", "%3Cstdin%3E")]
    fn paths_become_uris(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(uri(path), expected);
    }
}
