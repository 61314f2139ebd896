//! Prints the exchange of `demo` as one HTML page: for each pod what the webhook answered, and why.

use anyhow::{Context as _, Result};
use maud::{Markup, html};

use super::{Call, EXAMPLES, Example, Exchange, INIT_IMAGE, Sign};
use crate::{
    cmd::manifests,
    judgement::policy::Policy,
    lint::{
        manifest,
        report::{
            ObjectReport,
            html::{
                self as report, About,
                page::{self, Total, badge, clean, section},
            },
        },
    },
};

/// The page.
pub(super) fn render(exchanges: &[Exchange]) -> Result<String> {
    let pods = EXAMPLES.iter().map(judged).collect::<Result<Vec<_>>>()?;
    let pods: Vec<&ObjectReport> = pods.iter().collect();
    let about = About {
        title: "What linkerd-linger answers".to_owned(),
        facts: vec![(
            "Input",
            "examples/pods, sent as an API server sends them (HTTP/1.1 over TLS)".to_owned(),
        )],
    };
    let answers = html! {
        @for ((number, example), exchange) in (1_usize..).zip(&EXAMPLES).zip(exchanges) {
            (answer(number, example, exchange))
        }
    };
    let body = html! {
        (section("summary", "Summary", &summary(exchanges)))
        (section("answers", "Answers", &answers))
        (report::filter(&pods))
        (section("findings", "Findings, which decide the answers", &report::findings(&pods)))
    };
    Ok(page::page(&about, &body))
}

/// The pod of an example, judged with the policy of the server.
fn judged(example: &Example) -> Result<ObjectReport> {
    let mut policy = Policy::default();
    policy.close_wait.init_image = Some(INIT_IMAGE.to_owned());
    let read = manifest::read(example.file, example.text);
    let document = read.documents.first().with_context(|| format!("{} has no object", example.file))?;
    manifests::judge_alone(document, &policy)
}

fn summary(exchanges: &[Exchange]) -> Markup {
    let with = |class| {
        let first = exchanges.iter().filter_map(|exchange| exchange.calls.first());
        first.filter(|call| call.outcome().2 == class).count()
    };
    page::totals(&[
        Total::new(exchanges.len(), "pod", "pods", ""),
        Total::new(with("reject"), "rejected", "rejected", "reject"),
        Total::new(with("patch"), "patched", "patched", "patch"),
        Total::new(with("warn") + with("admit"), "admitted unchanged", "admitted unchanged", "admit"),
    ])
}

fn answer(number: usize, example: &Example, exchange: &Exchange) -> Markup {
    html! {
        section.object.exchange {
            h3 { (number) ". " (example.title) }
            p.place { (example.file) ", in a namespace in the mode " (example.mode.as_str()) }
            dl {
                @for (index, call) in exchange.calls.iter().enumerate() {
                    (answer_to(call))
                    @if index == 0 && !exchange.diff.is_empty() {
                        dt { "Changed init containers" }
                        dd { (changes(exchange)) }
                    }
                }
            }
        }
    }
}

fn answer_to(call: &Call) -> Markup {
    let (word, _, class) = call.outcome();
    html! {
        dt { "POST " (call.path) }
        dd {
            p { (badge(class, word)) }
            @for warning in &call.admission.warnings { p { "Warning: " (clean(warning)) } }
            @if let Some(denial) = call.denial() { p { (clean(&denial)) } }
            @if !call.admission.audit.is_empty() {
                ul.audit {
                    @for (key, value) in &call.admission.audit { li { "audit: " (clean(key)) "=" (clean(value)) } }
                }
            }
        }
    }
}

fn changes(exchange: &Exchange) -> Markup {
    html! {
        ul.diff {
            @for (sign, line) in &exchange.diff {
                @let class = match sign { Sign::Removed => "remove", Sign::Added => "add", Sign::Kept => "keep" };
                li.(class) { code { (sign.as_char()) " " (clean(line)) } }
            }
        }
    }
}
