use std::fmt::Write;

use rstest::rstest;

use super::super::testing::{NOTHING, TestFiles, value_with_text};
use super::*;

const VARIABLES: TestFiles<'_> = TestFiles { variables: &[("KEEP", "9s")], ..NOTHING };

fn ask(text: &str, style: Style, key: &str, placeholders: bool) -> String {
    value_with_text(read(&VARIABLES, "f", text, Query { key, port: None }, style, placeholders))
}

#[rstest]
#[case::text("server:\n  # c\n  idle: 10s\n", "10s | server.idle: 10s | 3")]
#[case::number("a: 1\nserver: {idle: 30}", "30 | server.idle: 30 | 2")]
#[case::fraction("server: {idle: 1.5}", "1.5 | server.idle: 1.5 | 1")]
#[case::quoted("server: {idle: \"0644\"}", "0644 | server.idle: 0644 | 1")]
#[case::on_the_next_line("server:\n  idle:\n    10s", "10s | server.idle: 10s | 2")]
#[case::boolean("server: {idle: true}", "true | server.idle: true | 1")]
#[case::mark("\u{feff}server:\n  idle: 1s", "1s | server.idle: 1s | 2")]
#[case::merged("x: &x\n  idle: 1s\nserver:\n  <<: *x", "1s | server.idle: 1s | 2")]
#[case::alias("x: &x 1s\nserver:\n  idle: *x", "1s | server.idle: 1s | 3")]
#[case::left_out("server:\n  read: 1s", "absent")]
#[case::nothing("", "absent")]
#[case::only_comments("# server:\n#  idle: 1s", "absent")]
#[case::empty_map("server:\n", "absent")]
#[case::other_case("Server: {Idle: 1s}", "absent")]
#[case::octal("server: {idle: 010}", "? f line 1: server.idle is not a plain value")]
#[case::exponent("server: {idle: 1e3}", "? f line 1: server.idle is not a plain value")]
#[case::word("server: {idle: off}", "? f line 1: server.idle is not a plain value")]
#[case::null("server:\n  idle:\n", "? f line 2: server.idle is null")]
#[case::list("server: {idle: [1s]}", "? f line 1: server.idle is a list, not a value")]
#[case::map("server:\n  idle: {a: 1}", "? f line 2: server.idle is a map, not a value")]
#[case::no_map("server: 5", "? f line 1: server is not a map")]
#[case::scalar("hello", "? f line 1: the file is not a map")]
#[case::twice("server:\n  idle: 1s\n  idle: 2s", "? f line 3: server.idle is set twice")]
#[case::map_twice("server:\n  idle: 1s\nserver:\n  read: 2s", "? f line 3: server is set twice")]
#[case::dotted("server.idle: 1s", "? f line 1: server.idle has a key with a dot")]
#[case::documents("server: {idle: 1s}\n---\na: 1", "? f line 3: the file has several documents")]
#[case::placeholder("server: {idle: '${KEEP}'}", "? f line 1: server.idle has a placeholder")]
#[case::broken("server:\n  idle: [", "? f line 2: unclosed bracket '['")]
fn yaml(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::Yaml, "server.idle", false), expected);
}

#[rstest]
#[case::variable("idle: ${KEEP}", "9s | idle: ${KEEP} | 1")]
#[case::default("idle: ${NONE:3s}", "3s | idle: ${NONE:3s} | 1")]
#[case::unset("\nidle: ${NONE}", "? f line 2: NONE is not set in the pod spec")]
fn placeholders(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::Yaml, "idle", true), expected);
}

#[rstest]
#[case::text("{\n\t\"a\": {},\n\t\"server\": {\n\"idle\"\n: \"10s\"}}", "10s | server.idle: 10s | 4")]
#[case::number("{\"server\": {\n\n\"idle\": 5000}}", "5000 | server.idle: 5000 | 3")]
#[case::escape("{\"server\": {\"\\u0069dle\": \"1\\u0073\"}}", "1s | server.idle: 1s | 1")]
#[case::negative("{\"server\": {\"idle\": -1}}", "-1 | server.idle: -1 | 1")]
#[case::blanks("\n \n", "absent")]
#[case::null_above("{\"server\": null}", "absent")]
#[case::exponent("{\"server\": {\"idle\": 1e3}}", "? f line 1: server.idle is not a plain value")]
#[case::twice("{\"server\": {\"idle\": 1,\n\"idle\": 2}}", "? f line 2: server.idle is set twice")]
#[case::in_two_maps(
    "{\"server\": {\"idle\": 1},\n\"server\": {\"idle\": 2}}",
    "? f line 2: server.idle is set twice"
)]
#[case::comment("{\n// c\n}", "? f line 2: key must be a string at line 2 column 1")]
#[case::list("[]", "? f line 1: the file is not a map")]
fn json(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::Json, "server.idle", false), expected);
}

#[rstest]
#[case::table("[server]\nidle = \"10s\"", "10s | server.idle = 10s | 2")]
#[case::dotted("\nserver.idle = 1_000", "1000 | server.idle = 1000 | 2")]
#[case::inline("server = { read = 1,\n idle = true }", "true | server.idle = true | 2")]
#[case::left_out("idle = 1", "absent")]
#[case::hexadecimal("[server]\nidle = 0x10", "? f line 2: server.idle is not a plain value")]
#[case::quoted_key("\"server.idle\" = 1", "? f line 1: server.idle has a key with a dot")]
#[case::tables("[[server]]\nidle = 1", "? f line 1: server is not a map")]
fn toml(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::Toml, "server.idle", false), expected);
}

#[test]
fn broken_toml() {
    assert!(
        ask("[server]\nidle = 1\nidle = 2", Style::Toml, "server.idle", false).starts_with("? f line 3: ")
    );
}

#[rstest]
#[case::comments(
    "// c\n{ /* a,\n} */ \"kestrel\": { \"LIMITS\": {\n\"KeepAliveTimeout\": \"00:01:00\", /* x */ }, },\n}",
    "00:01:00 | kestrel.LIMITS.KeepAliveTimeout: 00:01:00 | 4"
)]
#[case::colons(
    "{\"Kestrel:Limits\": {\"KeepAliveTimeout\": 1}}",
    "1 | Kestrel.Limits.KeepAliveTimeout: 1 | 1"
)]
#[case::dots(
    "{\"Kestrel.Limits\": {\"KeepAliveTimeout\": 1}, \"Kestrel\": 1}",
    "? f line 1: Kestrel.Limits.KeepAliveTimeout has a key with a dot"
)]
#[case::beside_a_value("{\"Kestrel\": \"x\"}", "absent")]
#[case::in_text("{\"url\": \"http://x\", \"a\": \"\\\"/*\"}", "absent")]
#[case::cases(
    "{\"Kestrel\": {\"Limits\": {\"KeepAliveTimeout\": \"1\",\n\"keepAliveTimeout\": \"2\"}}}",
    "? f line 2: Kestrel.Limits.keepAliveTimeout is set twice"
)]
#[case::open("{}\n/* x", "? f line 2: a comment is not closed")]
fn appsettings(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::Appsettings, "Kestrel.Limits.KeepAliveTimeout", false), expected);
}

#[rstest]
#[case::camel("server:\n  tomcat.keepAliveTimeout: 10s", "10s | server.tomcat.keepAliveTimeout: 10s | 2")]
#[case::last(
    "server.tomcat.keep-alive-timeout: 1s\n---\nserver.tomcat.keep-alive-timeout: 2s",
    "2s | server.tomcat.keep-alive-timeout: 2s | 3"
)]
#[case::other_document(
    "server.tomcat.keep-alive-timeout: 1s\n---\na: 1",
    "1s | server.tomcat.keep-alive-timeout: 1s | 1"
)]
#[case::condition(
    "server.tomcat.keep-alive-timeout: 1s\n---\nspring.config.activate.on-profile: a\nserver.tomcat.keepalivetimeout: 2s",
    "? f line 4: server.tomcat.keepalivetimeout applies only in some profiles"
)]
#[case::spellings(
    "server.tomcat:\n  keep-alive-timeout: 1s\n  keepAliveTimeout: 2s",
    "? f line 3: server.tomcat.keepAliveTimeout is set twice"
)]
fn relaxed_yaml(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Style::RelaxedYaml, "server.tomcat.keep-alive-timeout", false), expected);
}

#[rstest]
#[case::map("a:\n  web: {x: 1, y: 2}\n  api: {}\n", "a", &["web", "api"])]
#[case::top("a: 1\nb: {c: 2}", "", &["a", "b"])]
#[case::nothing("a:\n", "a", &[])]
#[case::deeper("a: {b: {c: {d: 1}}}", "a.b", &["c"])]
fn keys(#[case] text: &str, #[case] key: &str, #[case] expected: &[&str]) {
    let expected = expected.iter().map(ToString::to_string).collect();
    assert_eq!(children(text, Style::Yaml, key), Ok(expected));
}

#[rstest]
#[case::value("a: 1", "a", "line 1: a is not a map")]
#[case::dot("a: {b.c: 1}", "a", "line 1: a.b.c has a key with a dot")]
fn no_keys(#[case] text: &str, #[case] key: &str, #[case] why: &str) {
    assert_eq!(children(text, Style::Yaml, key), Err(why.to_owned()));
}

#[test]
fn aliases_do_not_multiply() {
    let mut text = "a0: &a0 {x: 1, y: 1}\n".to_owned();
    for n in 1..30 {
        let before = n - 1;
        writeln!(text, "a{n}: &a{n} {{x: *a{before}, y: *a{before}}}").unwrap();
    }
    assert!(ask(&text, Style::Yaml, "b", false).starts_with("? f line "));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text in "[a-c{}\\[\\]:,.\"'/*#=&<|\\-\\\\ \n\té]{0,400}") {
        for style in [Style::Yaml, Style::Json, Style::Toml, Style::Appsettings, Style::RelaxedYaml] {
            ask(&text, style, "a.b", true);
            drop(children(&text, style, "a"));
        }
    }
}
