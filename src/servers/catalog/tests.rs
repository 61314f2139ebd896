use rstest::rstest;

use super::*;

/// An entry that is right; cases break it.
const GOOD: &str = "\
- id: mill
  name: Mill
  reliable:
    commands: [mill]
  mode:
    start: slow
    steps:
      - choices: [{flag: [--speed], values: {fast: fast}}]
  settings:
    - {flag: [--idle], format: seconds, special: {'0': never}, versions: '>=2'}
  idle:
    - {closes: 5s, late: 1s, modes: [slow, fast], certain: it has no other setting, source: mill.c}
";

#[test]
fn the_builtin_catalog_parses() {
    let catalog = Catalog::read_builtin().unwrap();
    assert!(catalog.servers().count() >= 25);
}

#[rstest]
#[case::source_missing(", source: mill.c", "", "line 12: closes: 5s has no source")]
#[case::no_grade(
    "certain: it has no other setting, ",
    "",
    "line 12: closes: 5s has no grade: either certain or likely, with the reason as a sentence"
)]
#[case::two_grades(
    "certain: it",
    "likely: code may, certain: it",
    "line 12: closes: 5s has no grade: either certain or likely, with the reason as a sentence"
)]
#[case::empty_grade(
    "certain: it has no other setting",
    "certain: ' '",
    "line 12: closes: 5s has no grade: either certain or likely, with the reason as a sentence"
)]
#[case::odd_window("closes: 5s", "closes: 7s..5s", "line 12: \"7s..5s\" is no window, such as 65s..75s")]
#[case::source_empty("source: mill.c", "source: ' '", "line 12: closes: 5s has no source")]
#[case::unknown_without_why("closes: 5s", "closes: unknown", "line 12: a default that is not known says why")]
#[case::odd_default("closes: 5s", "closes: unset", "line 12: closes: unset is no default")]
#[case::odd_duration("closes: 5s", "closes: soon", "line 12: \"soon\" is no duration, such as 5s or 1m30s")]
#[case::odd_late("late: 1s", "late: 1", "line 12: \"1\" is no duration, such as 5s or 1m30s")]
#[case::odd_obeys(
    "late: 1s",
    "obeys: me",
    "line 12: \"me\" is nothing that a default obeys: all, special or nothing"
)]
#[case::odd_mode("[slow, fast]", "[slow, quick]", "line 12: no mode is named quick")]
#[case::odd_versions("'>=2'", "'2'", "line 10: \"2\" is no range of versions, such as >=2.5 <3 || >=4")]
#[case::odd_special("'0': never", "'0': soon", "line 10: \"soon\" is no duration, such as 5s or 1m30s")]
#[case::no_format("format: seconds, ", "", "line 10: a setting of the idle timeout needs its format")]
#[case::no_place(
    "flag: [--idle], ",
    "",
    "line 10: a setting needs exactly one of flag, argument, env, property, spring, mount, subcommand, file"
)]
#[case::two_places(
    "format: s",
    "env: [A], format: s",
    "line 10: a setting needs exactly one of flag, argument, env, property, spring, mount, subcommand, file"
)]
#[case::odd_flag("--idle", "idle", "line 10: a flag starts with a dash or a slash, and its brackets close")]
#[case::open_bracket(
    "[--idle]",
    "['--id[le']",
    "line 10: a flag starts with a dash or a slash, and its brackets close"
)]
#[case::odd_sets(
    "format: s",
    "sets: off, format: s",
    "line 10: \"off\" is nothing that a setting sets: idle, file, doubt, part or nothing"
)]
#[case::doubt_without_why(
    "format: s",
    "sets: doubt, format: s",
    "line 10: a setting that sets doubt says why"
)]
#[case::gap_of_one_value(
    "[--idle]",
    "[--idle.<port>]",
    "line 10: a name with a <gap> is that of one of several: it sets part"
)]
#[case::choice_of_nothing(", values: {fast: fast}", "", "line 8: a choice of mode needs values or otherwise")]
#[case::odd_sign(
    "commands: [mill]",
    "commands: [m*ll]",
    "line 4: \"m*ll\" is no sign: an asterisk may only end it"
)]
#[case::no_registry("commands: [mill]", "images: [mill]", "line 4: image mill does not name its registry")]
#[case::odd_tag(
    "commands: [mill]",
    "images: [a.b/c d]",
    "line 4: \"a.b/c d\": after an image come +word or -word of its tag"
)]
#[case::reliable_setting(
    "commands: [mill]",
    "settings: [MILL_*]",
    "line 4: setting MILL_* can only be a hint: many programs may read it"
)]
#[case::odd_id("id: mill", "id: Mill", "line 1: id \"Mill\" is not made of a-z, 0-9, dashes and underscores")]
#[case::refines_nothing("name: Mill", "refines: x\n  name: Mill", "line 2: refines x, which is not there")]
#[case::not_yaml("name: Mill", "name: [", "")]
fn mistakes(#[case] good: &str, #[case] bad: &str, #[case] message: &str) {
    assert!(Catalog::parse(GOOD).is_ok(), "{:?}", Catalog::parse(GOOD).err());
    let errors = Catalog::parse(&GOOD.replacen(good, bad, 1)).unwrap_err();
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(messages.iter().any(|found| found == message || message.is_empty()), "{messages:#?}");
}

#[rstest]
#[case::unknown_format(
    "format: seconds",
    "format: eons",
    "line 10: no format is named eons; there are seconds, "
)]
#[case::unknown_field("name: Mill", "title: Mill", "line 2: ")]
#[case::missing_field("  name: Mill\n", "", "line 10: missing field `name`")]
fn mistakes_that_start(#[case] good: &str, #[case] bad: &str, #[case] message: &str) {
    let errors = Catalog::parse(&GOOD.replacen(good, bad, 1)).unwrap_err();
    assert!(errors[0].to_string().starts_with(message), "{errors:?}");
}

#[test]
fn all_mistakes_are_told_in_order() {
    let bad = GOOD.replace("closes: 5s", "closes: soon").replace("format: seconds", "format: eons");
    let lines: Vec<u64> = Catalog::parse(&bad).unwrap_err().iter().map(|error| error.line).collect();
    assert_eq!(lines, [10, 12]);
}

#[test]
fn no_default_at_all_is_a_mistake() {
    let text = "- {id: a, name: A, reliable: {commands: [a]}}";
    let errors = Catalog::parse(text).unwrap_err();
    assert_eq!(errors[0].to_string(), "line 1: a has no default under idle");
}

#[test]
fn an_id_is_there_once() {
    let errors = Catalog::parse(&format!("{GOOD}{GOOD}")).unwrap_err();
    assert_eq!(errors[0].to_string(), "line 13: id mill is there twice");
}

#[test]
fn entries_join_and_replace() {
    let text = "- {id: nginx, name: Ours, reliable: {commands: [ours]}, idle: [{closes: 9s, certain: it is ours, source: us}]}\n\
                - {id: extra, name: Extra, refines: nginx, reliable: {commands: [extra]}, idle: [{closes: 9s, certain: it is ours, source: us}]}";
    let extra: Vec<Spanned<RawServer>> = serde_saphyr::from_str(text).unwrap();
    let catalog = Catalog::builtin().with(extra).unwrap();
    assert_eq!(catalog.servers().count(), Catalog::builtin().servers().count() + 1);
    assert_eq!(
        catalog.servers().filter(|server| server.id == "nginx").map(|server| &*server.name).next(),
        Some("Ours")
    );
    assert!(catalog.matches(SignKind::Image, "docker.io/library/nginx").is_empty());
    assert_eq!(catalog.matches(SignKind::Command, "ours").len(), 1);
}
