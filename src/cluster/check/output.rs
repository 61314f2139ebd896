//! Prints results in the text and JSON formats of Linkerd's own checks (linkerd2
//! `pkg/healthcheck/healthcheck_output.go`). `linkerd check` includes the JSON in its own output.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{Category, CheckResult, Outcome};

/// The URL of the hints; each check has a section with its name.
const HINTS: &str = "https://github.com/linkerd-linger/linkerd-linger/blob/main/docs/check.md#";

/// Whether no result is an error; warnings do not count.
pub fn success(results: &[CheckResult]) -> bool {
    !results.iter().any(|result| matches!(result.outcome, Outcome::Error(_)))
}

/// The URL of the section about a check.
fn hint(result: &CheckResult) -> String {
    format!("{HINTS}{}", result.id.as_str())
}

/// Every check under its category, and the status.
pub fn table(results: &[CheckResult]) -> String {
    let mut text = rows(results.iter());
    text.push('\n');
    text.push_str(&status(results));
    text
}

/// Only warnings and errors, and the status.
pub fn short(results: &[CheckResult]) -> String {
    let mut text = rows(results.iter().filter(|result| result.outcome != Outcome::Good));
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&status(results));
    text
}

fn status(results: &[CheckResult]) -> String {
    let mark = if success(results) { mark(&Outcome::Good) } else { mark(&Outcome::Error(String::new())) };
    format!("Status check results are {mark}\n")
}

fn rows<'a>(results: impl Iterator<Item = &'a CheckResult>) -> String {
    let mut text = String::new();
    let mut last: Option<Category> = None;
    for result in results {
        let category = result.id.category();
        if last != Some(category) {
            if last.is_some() {
                text.push('\n');
            }
            let name = category.as_str();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}\n{}", "-".repeat(name.len()));
            last = Some(category);
        }
        let _ = writeln!(text, "{} {}", mark(&result.outcome), clean(&result.description));
        if let Outcome::Warning(why) | Outcome::Error(why) = &result.outcome {
            let _ = writeln!(text, "    {}\n    see {} for hints", clean(why), hint(result));
        }
    }
    text
}

fn mark(outcome: &Outcome) -> String {
    let (mark, color) = match outcome {
        Outcome::Good => ('\u{221a}', AnsiColor::Green),
        Outcome::Warning(_) => ('\u{203c}', AnsiColor::Yellow),
        Outcome::Error(_) => ('\u{d7}', AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(color.into())).bold();
    format!("{style}{mark}{style:#}")
}

/// Removes control characters, because parts of the text come from other objects and servers.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    success: bool,
    categories: Vec<CategoryOutput>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CategoryOutput {
    category_name: &'static str,
    checks: Vec<CheckOutput>,
}

#[derive(Serialize)]
struct CheckOutput {
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    result: &'static str,
}

/// The JSON that `linkerd check` reads from extensions.
///
/// # Errors
///
/// Every value can be written as JSON, so no error is known.
pub fn json(results: &[CheckResult]) -> Result<String, serde_json::Error> {
    let mut categories: Vec<CategoryOutput> = Vec::new();
    for result in results {
        let category_name = result.id.category().as_str();
        let (word, error) = match &result.outcome {
            Outcome::Good => ("success", None),
            Outcome::Warning(why) => ("warning", Some(clean(why))),
            Outcome::Error(why) => ("error", Some(clean(why))),
        };
        let check = CheckOutput {
            description: clean(&result.description),
            hint: error.as_ref().map(|_| hint(result)),
            error,
            result: word,
        };
        match categories.last_mut().filter(|category| category.category_name == category_name) {
            Some(category) => category.checks.push(check),
            None => categories.push(CategoryOutput { category_name, checks: vec![check] }),
        }
    }
    let output = Output { success: success(results), categories };
    serde_json::to_string_pretty(&output).map(|text| text + "\n")
}
