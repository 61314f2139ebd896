//! A report -> the JSON that programs read.

use super::Report;

/// The report as JSON, indented, with a newline at its end.
///
/// # Errors
///
/// No error is known: every key is a string.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report).map(|json| json + "\n")
}
