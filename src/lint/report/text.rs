//! Prints a report as text: findings in the style of a compiler, or all facts about each object.

pub(super) mod explain;
mod lint;

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};

pub use self::{
    explain::explain,
    lint::{lint, not_linted},
};
use super::{ErrorReport, FindingReport};
use crate::judgement::finding::Action;

/// The style of each part of the text.
#[derive(Clone, Copy, Debug)]
pub struct Styles {
    error: Style,
    warning: Style,
    note: Style,
    good: Style,
    frame: Style,
    strong: Style,
    faint: Style,
}

impl Styles {
    /// No colours.
    pub const fn plain() -> Self {
        let none = Style::new();
        Self { error: none, warning: none, note: none, good: none, frame: none, strong: none, faint: none }
    }

    /// With colours, which the printer removes if the output is not a terminal.
    pub const fn colored() -> Self {
        Self {
            error: AnsiColor::Red.on_default().bold(),
            warning: AnsiColor::Yellow.on_default().bold(),
            note: AnsiColor::Cyan.on_default().bold(),
            good: AnsiColor::Green.on_default().bold(),
            frame: AnsiColor::Blue.on_default().bold(),
            strong: Style::new().bold(),
            faint: Style::new().dimmed(),
        }
    }
}

/// Formats an error with its help.
pub fn error(error: &ErrorReport, styles: &Styles) -> String {
    format_error(error, "error", styles.error, styles)
}

/// Formats a warning about a comment with its help.
pub fn warning(warning: &ErrorReport, styles: &Styles) -> String {
    format_error(warning, "warning", styles.warning, styles)
}

fn format_error(error: &ErrorReport, word: &str, style: Style, styles: &Styles) -> String {
    let number = |number: Option<usize>| number.map(|it| format!(":{it}")).unwrap_or_default();
    let place = format!("{}{}{}", clean(&error.file), number(error.line), number(error.column));
    let help =
        error.help.as_deref().map(|help| format!("  {} help: {}\n", paint("=", styles.frame), clean(help)));
    let (place, word) = (paint(&place, styles.strong), paint(word, style));
    format!("{place}: {word}: {}\n{}", clean(&error.message), help.unwrap_or_default())
}

fn paint(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// The severity and the rule of a finding: `error[rule]`.
fn severity(finding: &FindingReport, styles: &Styles) -> String {
    let (word, style) = match finding.action {
        Action::Reject => ("error", styles.error),
        Action::Warn => ("warning", styles.warning),
        Action::Patch => ("patch", styles.note),
        Action::Ignore => ("ignored", styles.faint),
    };
    paint(&format!("{word}[{}]", finding.rule), style)
}

/// Removes control characters, because the content of manifests is not trusted.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.replace('\t', "    ").replace(char::is_control, "\u{fffd}").into()
}

/// `shop/cart`, or `cart` where there is no namespace.
pub(super) fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
