use super::*;
use crate::cluster::check::output::{json, short, success, table};

fn results() -> Vec<CheckResult> {
    vec![
        CheckResult::of(CheckId::ApiClient, Outcome::Good),
        CheckResult::of(CheckId::ApiQuery, Outcome::Good),
        CheckResult::of(CheckId::Order, Outcome::Error("a \u{1b}[31mred:\n\t* one\n\t* two".to_owned())),
        CheckResult::of(CheckId::OptedIn, Outcome::Warning("none does".to_owned())),
        CheckResult::of(CheckId::PodSecurity, Outcome::Good),
    ]
}

#[test]
fn the_table_is_that_of_linkerd() {
    insta::assert_snapshot!(anstream::adapter::strip_str(&table(&results())).to_string());
}

#[test]
fn the_short_form_has_only_what_is_not_well() {
    insta::assert_snapshot!(anstream::adapter::strip_str(&short(&results())).to_string());
    let well = [CheckResult::of(CheckId::ApiClient, Outcome::Good)];
    let text = anstream::adapter::strip_str(&short(&well)).to_string();
    assert_eq!(text, "Status check results are \u{221a}\n");
}

#[test]
fn the_json_is_what_linkerd_reads_from_extensions() {
    insta::assert_snapshot!(json(&results()).unwrap());
}

#[test]
fn marks_have_linkerds_colours() {
    let text = table(&results());
    assert!(text.contains("\u{1b}[1m\u{1b}[32m\u{221a}\u{1b}[0m can query"), "{text:?}");
    assert!(text.contains("\u{1b}[33m\u{203c}"), "{text:?}");
    assert!(text.contains("\u{1b}[31m\u{d7}"), "{text:?}");
    assert!(!text.contains("\u{1b}[31mred"), "{text:?}");
}

#[test]
fn warnings_alone_are_success() {
    assert!(!success(&results()));
    assert!(success(&[CheckResult::of(CheckId::OptedIn, Outcome::Warning("x".to_owned()))]));
}
