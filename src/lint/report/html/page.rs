//! The frame of an HTML page: one file that loads nothing and sends nothing.
//!
//! The policy in the page allows its own style and its own script, by their digests, and nothing else. So a browser runs
//! nothing that the content of a manifest brings in, and no request leaves the page.

use std::{borrow::Cow, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ring::digest::{SHA256, digest};

use crate::lint::report::text;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the top of a page says.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The title.
    pub title: String,
    /// What the page is about: labels with their values, such as the context of the cluster and the time.
    pub facts: Vec<(&'static str, String)>,
}

/// A number of a summary, and what it counts.
pub(crate) struct Total {
    number: usize,
    noun: &'static str,
    class: &'static str,
}

impl Total {
    /// A total with the noun for one or for many, and a class of the style: `reject`, `warn`, `patch`, `admit` or nothing.
    pub(crate) const fn new(
        number: usize,
        one: &'static str,
        many: &'static str,
        class: &'static str,
    ) -> Self {
        Self { number, noun: if number == 1 { one } else { many }, class }
    }
}

static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The page.
pub(crate) fn page(about: &About, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(*CONTENT_SECURITY_POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (clean(&about.title)) }
                // Both are files of this program, and a test checks that they do not end their element.
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    h1 { (clean(&about.title)) }
                    @if !about.facts.is_empty() {
                        dl.about {
                            @for (label, value) in &about.facts { div { dt { (label) } dd { (clean(value)) } } }
                        }
                    }
                }
                main #content tabindex="-1" { (body) }
                footer { p { (env!("CARGO_PKG_NAME")) " " (env!("CARGO_PKG_VERSION")) } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string() + "\n"
}

/// A list of numbers.
pub(crate) fn totals(totals: &[Total]) -> Markup {
    html! {
        ul.totals {
            @for total in totals { li.(total.class) { b { (total.number) } " " (total.noun) } }
        }
    }
}

/// A choice of the filter.
pub(crate) struct Choice<'v> {
    /// The name of the data attribute that it compares, without `data-`.
    pub(crate) name: &'static str,
    /// Its label.
    pub(crate) label: &'static str,
    /// The values of the attribute, each with the text for it.
    pub(crate) values: Vec<(&'v str, &'v str)>,
}

/// The form of the filter, which the script shows. It filters articles of the class `finding`, and rows of the class
/// `item`, which `rows` names.
pub(crate) fn filter(rows: &str, choices: &[Choice<'_>]) -> Markup {
    html! {
        form #filter role="search" aria-label="Filter the findings" data-rows=(rows) hidden {
            label.text { "Text" input type="search" name="text" autocomplete="off" spellcheck="false"; }
            @for choice in choices {
                label {
                    (choice.label)
                    select name=(choice.name) {
                        option value="" { "all" }
                        @for (value, text) in &choice.values { option value=(clean(value)) { (clean(text)) } }
                    }
                }
            }
            button type="reset" { "Show all" }
            p #shown role="status" {}
        }
    }
}

/// A label with a colour; the text alone has the meaning.
pub(crate) fn badge(class: &str, text: &str) -> Markup {
    html! { span.badge.(class) { (text) } }
}

/// The heading of a section, and what is in it.
pub(crate) fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! { section aria-labelledby=(id) { h2 #(id) { (title) } (body) } }
}

/// A text of the input in one line, without control characters.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    text::clean(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_do_not_end_their_elements() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn the_style_has_the_same_colours_for_dark_and_light() {
        let variables = |text: &str| -> Vec<String> {
            let mut names: Vec<_> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"))
                .map(|(name, _)| name.to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let dark = rest.split_once("\n}\n").unwrap().0;
        assert!(variables(light).len() > 10);
        assert_eq!(variables(light), variables(dark));
    }
}
