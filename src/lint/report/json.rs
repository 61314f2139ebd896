//! Prints a report as JSON.

use super::Report;

/// The report as indented JSON, with a newline at the end.
///
/// # Errors
///
/// Every key is a string, so no error is known.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report).map(|json| json + "\n")
}
