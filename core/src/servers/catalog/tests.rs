use std::{fs, path::Path};

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
fn the_builtin_catalog_is_what_its_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/catalog");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut entries = 0;
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let text = fs::read_to_string(&path).unwrap();
        let family = path.file_stem().unwrap().to_str().unwrap();
        let raw: Vec<Spanned<RawServer>> =
            parse(&text).unwrap_or_else(|mistakes| panic!("{family}: {mistakes:?}"));
        let known: Vec<Server> =
            Catalog::builtin().servers().filter(|server| server.family != family).cloned().collect();
        let read = check::servers(&known, raw.into_iter().map(|entry| (family, entry)));
        let read = read.unwrap_or_else(|mistakes| panic!("{family}: {mistakes:?}"));
        for server in read {
            assert_eq!(format!("{server:?}"), format!("{:?}", Catalog::builtin().find(&server.id).unwrap()));
            entries += 1;
        }
    }
    assert_eq!(entries, Catalog::builtin().servers().count());
}

#[rstest]
#[case::source_missing(", source: mill.c", "", "line 12: closes: 5s has no source")]
#[case::no_grade(
    "certain: it has no other setting, ",
    "",
    "line 12: closes: 5s has no grade; add certain or likely, with the reason"
)]
#[case::two_grades(
    "certain: it",
    "likely: code may, certain: it",
    "line 12: closes: 5s has no grade; add certain or likely, with the reason"
)]
#[case::empty_grade(
    "certain: it has no other setting",
    "certain: ' '",
    "line 12: closes: 5s has no grade; add certain or likely, with the reason"
)]
#[case::odd_window("closes: 5s", "closes: 7s..5s", "line 12: \"7s..5s\" is not a window such as 65s..75s")]
#[case::source_empty("source: mill.c", "source: ' '", "line 12: closes: 5s has no source")]
#[case::unknown_without_why("closes: 5s", "closes: unknown", "line 12: a default of unknown needs why")]
#[case::odd_default("closes: 5s", "closes: unset", "line 12: closes: unset is not a valid default")]
#[case::odd_duration("closes: 5s", "closes: soon", "line 12: \"soon\" is not a duration such as 5s or 1m30s")]
#[case::odd_late("late: 1s", "late: 1", "line 12: \"1\" is not a duration such as 5s or 1m30s")]
#[case::odd_obeys(
    "late: 1s",
    "obeys: me",
    "line 12: unknown value \"me\" of obeys; expected one of all, special, nothing"
)]
#[case::odd_mode("[slow, fast]", "[slow, quick]", "line 12: there is no mode quick")]
#[case::odd_versions("'>=2'", "'2'", "line 10: \"2\" is not a version range such as >=2.5 <3 || >=4")]
#[case::odd_special("'0': never", "'0': soon", "line 10: \"soon\" is not a duration such as 5s or 1m30s")]
#[case::no_format("format: seconds, ", "", "line 10: a setting of the idle timeout needs a format")]
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
#[case::odd_flag(
    "--idle",
    "idle",
    "line 10: a flag must start with a dash or a slash, and its brackets must be closed"
)]
#[case::open_bracket(
    "[--idle]",
    "['--id[le']",
    "line 10: a flag must start with a dash or a slash, and its brackets must be closed"
)]
#[case::odd_sets(
    "format: s",
    "sets: off, format: s",
    "line 10: unknown value \"off\" of sets; expected one of idle, file, doubt, part, nothing"
)]
#[case::doubt_without_why(
    "format: s",
    "sets: doubt, format: s",
    "line 10: a setting with sets: doubt needs why"
)]
#[case::gap_of_one_value(
    "[--idle]",
    "[--idle.<port>]",
    "line 10: a name with a <gap> stands for one of several settings, so it needs sets: part"
)]
#[case::choice_of_nothing(", values: {fast: fast}", "", "line 8: a choice of mode needs values or otherwise")]
#[case::odd_sign(
    "commands: [mill]",
    "commands: [m*ll]",
    "line 4: \"m*ll\" is not a valid sign: an asterisk is allowed only at the end"
)]
#[case::no_registry("commands: [mill]", "images: [mill]", "line 4: image mill needs its registry")]
#[case::odd_tag(
    "commands: [mill]",
    "images: [a.b/c d]",
    "line 4: \"a.b/c d\": after the image, only +word or -word of its tag may follow"
)]
#[case::reliable_setting(
    "commands: [mill]",
    "settings: [MILL_*]",
    "line 4: setting MILL_* can only be a hint, because many programs may read it"
)]
#[case::odd_id(
    "id: mill",
    "id: Mill",
    "line 1: id \"Mill\" may contain only a-z, 0-9, dashes and underscores"
)]
#[case::refines_nothing("name: Mill", "refines: x\n  name: Mill", "line 2: refines x, which does not exist")]
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
    "line 10: unknown format eons; expected one of seconds, "
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
    assert_eq!(errors[0].to_string(), "line 13: id mill is used twice");
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
