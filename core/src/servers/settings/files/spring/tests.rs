use rstest::rstest;

use super::super::{
    Entry,
    testing::{TestFiles, describe},
};
use super::{profiles::split_names, *};

/// `profiles`: `?` if it is unknown.
fn ask(files: &[(&str, &str)], profiles: &str) -> String {
    let paths: Vec<_> = files.iter().map(|(name, text)| (format!("/config/{name}"), *text)).collect();
    let files: Vec<_> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let variables = &[("KEEP", "9s"), ("APP_IDLE", "9s"), ("SECRET", "?")];
    let folder = TestFiles { files: &files, variables, of_image: false };
    let list: Vec<String> = split_names(profiles);
    let profiles = Some(list.as_slice()).filter(|_| profiles != "?");
    let answer = read(&folder, "/config/", "application", profiles, "server.keep-alive");
    describe(answer, |Entry { value, text, path, line }| format!("{value} | {text} | {path}:{line}"))
        .replace("/config/", "")
}

const YAML: &str = "server:\n  keepAlive: 1s\n";
const PROPERTIES: &str = "server.keep-alive=2s\n";

#[rstest]
#[case::nothing(&[], "", "absent")]
#[case::yaml(&[("application.yaml", YAML)], "", "1s | server.keepAlive: 1s | application.yaml:2")]
#[case::properties(&[("application.properties", PROPERTIES)], "", "2s | server.keep-alive=2s | application.properties:1")]
#[case::properties_beat_yaml(
    &[("application.properties", PROPERTIES), ("application.yml", YAML)], "",
    "2s | server.keep-alive=2s | application.properties:1"
)]
#[case::yml_beats_yaml(
    &[("application.yaml", YAML), ("application.yml", "server.keep-alive: 3s")], "",
    "3s | server.keep-alive: 3s | application.yml:1"
)]
#[case::other_name(&[("other.yaml", YAML)], "", "absent")]
#[case::unseen(&[("application.yml", YAML), ("application.properties", "secret")], "", "? Secret x at application.properties may set it")]
#[case::xml(&[("application.xml", "<a/>")], "", "? application.xml may set it")]
#[case::empty(&[("application.properties", "server.keep-alive=")], "", "? application.properties line 1: server.keep-alive is empty")]
#[case::null(&[("application.yml", "server.keep-alive:")], "", "? application.yml line 1: server.keep-alive is null")]
#[case::broken(&[("application.yml", "a: [")], "", "? application.yml line 1: unclosed bracket '['")]
#[case::two_spellings(
    &[("application.properties", "server.keepAlive=1\nserver.keep-alive=2")], "",
    "? application.properties line 2: server.keep-alive is set twice"
)]
fn base(#[case] files: &[(&str, &str)], #[case] profiles: &str, #[case] expected: &str) {
    assert_eq!(ask(files, profiles), expected);
}

#[rstest]
#[case::of_profile("prod", "2s | server.keep-alive=2s | application-prod.properties:1")]
#[case::of_another("dev", "1s | server.keepAlive: 1s | application.yml:2")]
#[case::the_last("prod,test", "7s | server.keep-alive: 7s | application-test.yml:1")]
#[case::the_last_again("test,prod", "2s | server.keep-alive=2s | application-prod.properties:1")]
#[case::none("", "? application-prod.properties line 1: server.keep-alive applies only in some profiles")]
#[case::any("?", "? application-prod.properties line 1: server.keep-alive applies only in some profiles")]
#[case::odd("a/../b", "? the profile a/../b is not a plain name")]
fn files_of_profiles(#[case] profiles: &str, #[case] expected: &str) {
    let files = [
        ("application.yml", YAML),
        ("application-prod.properties", PROPERTIES),
        ("application-test.yml", "server.keep-alive: 7s"),
    ];
    assert_eq!(ask(&files, profiles), expected);
}

#[rstest]
#[case::simple("on-profile: prod", "prod", "5s")]
#[case::other("on-profile: prod", "dev", "1s")]
#[case::one_of("on-profile: [a, prod]", "prod", "5s")]
#[case::one_of_text("on-profile: a, prod", "prod", "5s")]
#[case::not("on-profile: '!prod'", "dev", "5s")]
#[case::not_not("on-profile: '!prod'", "prod", "1s")]
#[case::camel("onProfile: prod", "prod", "5s")]
#[case::open("on-profile: prod", "", "?")]
#[case::unknown("on-profile: prod", "?", "?")]
#[case::both("on-profile: a & b", "prod", "?")]
#[case::cloud("on-cloud-platform: kubernetes", "prod", "?")]
#[case::placeholder("on-profile: ${P}", "prod", "?")]
fn conditions(#[case] condition: &str, #[case] profiles: &str, #[case] expected: &str) {
    let text = format!("{YAML}---\nspring.config.activate:\n  {condition}\nserver.keep-alive: 5s\n");
    let answer = ask(&[("application.yml", &text)], profiles);
    assert_eq!(answer.split(' ').next(), Some(expected), "{answer}");
    let property = condition.replace(": ", "=").replace(['[', ']', '\''], "");
    let text =
        format!("server.keep-alive=1s\n#---\nspring.config.activate.{property}\nserver.keep-alive=5s\n");
    let answer = ask(&[("application.properties", &text)], profiles);
    assert_eq!(answer.split(' ').next(), Some(expected), "{answer}");
}

#[rstest]
#[case::old(
    "spring.profiles: prod\nserver.keep-alive: 5s",
    "prod",
    "5s | server.keep-alive: 5s | application.yml:5"
)]
#[case::old_other(
    "spring.profiles: prod\nserver.keep-alive: 5s",
    "dev",
    "? application.yml line 5: server.keep-alive applies only in some profiles"
)]
#[case::does_not_set_it("spring.profiles: prod\na: 5s", "", "1s | server.keepAlive: 1s | application.yml:2")]
#[case::later("server.keep-alive: 5s", "", "5s | server.keep-alive: 5s | application.yml:4")]
#[case::import(
    "spring.config.import: x",
    "",
    "? application.yml line 4: spring.config.import may set it elsewhere"
)]
#[case::imports(
    "spring.config.import: [x, y]",
    "",
    "? application.yml line 4: spring.config.import may set it elsewhere"
)]
#[case::import_of_another(
    "spring.config:\n  import: x\n  activate.on-profile: a",
    "b",
    "1s | server.keepAlive: 1s | application.yml:2"
)]
#[case::include(
    "spring.profiles.include: x",
    "",
    "? application.yml line 4: spring.profiles.include may set it elsewhere"
)]
#[case::group(
    "spring.profiles.group.a: x",
    "b",
    "? application.yml line 4: spring.profiles.group.a may set it elsewhere"
)]
#[case::active("spring.profiles.active: prod", "", "8s | server.keep-alive: 8s | application-prod.yml:1")]
#[case::active_list(
    "spring.profiles.active: [x, prod]",
    "",
    "8s | server.keep-alive: 8s | application-prod.yml:1"
)]
#[case::active_default(
    "spring.profiles.active: '${PROFILES:x,prod}'",
    "",
    "8s | server.keep-alive: 8s | application-prod.yml:1"
)]
#[case::active_elsewhere("spring.profiles.active: x", "y", "1s | server.keepAlive: 1s | application.yml:2")]
#[case::active_secret(
    "spring.profiles.active: '${SECRET}'",
    "",
    "? application.yml line 4: SECRET comes from a Secret"
)]
#[case::active_maven("spring.profiles.active: '@x@ y'", "", "? the profile @x@ y is not a plain name")]
#[case::active_of_a_profile(
    "spring.config.activate.on-profile: a\nspring.profiles.active: b",
    "",
    "? application.yml line 5: spring.profiles.active depends on a profile"
)]
fn second_document(#[case] document: &str, #[case] profiles: &str, #[case] expected: &str) {
    let text = format!("{YAML}---\n{document}\n");
    let mut files = vec![("application.yml", text.as_str())];
    if expected.contains("-prod") {
        files.push(("application-prod.yml", "server.keep-alive: 8s"));
    }
    assert_eq!(ask(&files, profiles), expected);
}

#[rstest]
#[case::variable("${KEEP:1s}", "9s | server.keep-alive=${KEEP:1s} | application.properties:1")]
#[case::default("${NONE:1s}", "1s | server.keep-alive=${NONE:1s} | application.properties:1")]
#[case::property("${app.idle}", "9s | server.keep-alive=${app.idle} | application.properties:1")]
#[case::own("${my.idle:1s}", "4s | server.keep-alive=${my.idle:1s} | application.properties:1")]
#[case::own_spelled_otherwise(
    "${my.Idle:1s}",
    "? application.properties line 1: application.properties line 2: my.idle may be another spelling of my.Idle"
)]
#[case::of_the_app("${x.idle:1s}", "? application.properties line 1: x.idle may be set elsewhere")]
#[case::random(
    "${random.int:1}",
    "? application.properties line 1: random.int is decided when the program runs"
)]
#[case::secret("${SECRET:1}", "? application.properties line 1: SECRET comes from a Secret")]
#[case::unset("${NONE}", "? application.properties line 1: NONE is not set in the pod spec")]
fn placeholders(#[case] value: &str, #[case] expected: &str) {
    let text = format!("server.keep-alive={value}\nmy.idle=4s");
    assert_eq!(ask(&[("application.properties", &text)], ""), expected);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text in "(server|spring|profiles|active|keep-alive|[.:= \n#${}!,-]|---|a){0,60}") {
        ask(&[("application.yml", &text), ("application-a.properties", &text)], "a");
        ask(&[("application.properties", &text), ("application-a.yml", &text)], "");
    }
}
