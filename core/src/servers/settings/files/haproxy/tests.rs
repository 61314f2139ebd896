use rstest::rstest;

use super::super::testing::{NOTHING, TestFiles, describe};
use super::*;

const VARIABLES: TestFiles<'_> = TestFiles { variables: &[("KEEP", "9s")], ..NOTHING };

fn ask(text: &str, port: Option<u16>) -> String {
    let answer = read(&VARIABLES, "/h.cfg", text, Query { key: "idle", port });
    describe(answer, |Entry { value, line, text, .. }| format!("{value} at {line}: {text}"))
}

#[rstest]
#[case::keep_alive(
    "timeout client 50s\n timeout http-keep-alive  4s # c\ntimeout http-request 6s",
    "4s at 6: timeout http-keep-alive 4s"
)]
#[case::request("timeout client 12s\ntimeout http-request 6s", "6s at 6: timeout http-request 6s")]
#[case::longer_than_the_client(
    "timeout client 5s\nmaxconn 3\ntimeout http-keep-alive 6000",
    "? /h.cfg line 7: timeout client is shorter, and releases before 2.9 may use it"
)]
#[case::as_long_as_the_client(
    "timeout client 5s\ntimeout http-request 5000",
    "5000 at 6: timeout http-request 5000"
)]
#[case::endless_client("timeout client 0\ntimeout http-keep-alive 1m", "1m at 6: timeout http-keep-alive 1m")]
#[case::no_time(
    "timeout client 5s\ntimeout http-request soon",
    "? /h.cfg line 6: this time or timeout client is not a literal"
)]
#[case::client("timeout client 5000\ntimeout server 9s", "5000 at 5: timeout client 5000")]
#[case::nothing("", "absent")]
#[case::later_wins("timeout client 5s\ntimeout client 7s", "7s at 6: timeout client 7s")]
#[case::zero_is_unset("timeout http-keep-alive 0s\ntimeout client 7s", "7s at 6: timeout client 7s")]
#[case::zero_of_the_client("timeout client 0", "0 at 5: timeout client 0")]
#[case::close("option httpclose\ntimeout client 7s", "close at 5: option httpclose")]
#[case::close_of_the_server("option http-server-close\ntimeout client 7s", "7s at 6: timeout client 7s")]
#[case::close_is_overridden(
    "option httpclose\noption http-keep-alive\ntimeout client 7s",
    "7s at 7: timeout client 7s"
)]
#[case::close_is_taken_back("option forceclose\nno option forceclose", "absent")]
#[case::other_is_taken_back("option httpclose\nno option http-server-close", "close at 5: option httpclose")]
#[case::quoted("timeout client \"${KEEP}\"", "9s at 5: timeout client \"${KEEP}\"")]
#[case::variable("timeout client \"$X\"", "? /h.cfg line 5: the value of the variable X is not known")]
#[case::mode("mode tcp", "? /h.cfg line 2: this section is not in mode http")]
#[case::condition(
    ".if defined(X)\ntimeout client 3s\n.endif",
    "? /h.cfg line 6: a condition may exclude this"
)]
#[case::other_condition(".if defined(X)\nmaxconn 3\n.endif\ntimeout client 3s", "3s at 8: timeout client 3s")]
#[case::next_section("backend b\ntimeout client 3s\noption httpclose", "absent")]
#[case::open_condition(".if 1", "? /h.cfg: a condition is not closed")]
#[case::open_quote("acl x '", "? /h.cfg line 5: a quote is not closed")]
fn lines(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(&format!("global\nfrontend web\nbind :80\nmode http\n{text}"), Some(80)), expected);
}

#[rstest]
#[case::defaults(
    "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind *:80",
    Some(80),
    "5s at 3: timeout client 5s"
)]
#[case::weaker_of_its_own(
    "defaults\nmode http\ntimeout http-keep-alive 5s\nfrontend a\nbind *:80\ntimeout client 9s",
    Some(80),
    "5s at 3: timeout http-keep-alive 5s"
)]
#[case::of_its_own(
    "defaults\nmode http\ntimeout client 5s\nlisten a\nbind ipv4@:80 name x\ntimeout client 6s",
    Some(80),
    "6s at 6: timeout client 6s"
)]
#[case::last_defaults(
    "defaults\nmode http\ntimeout client 5s\ndefaults\nmode http\nfrontend a\nbind :80",
    Some(80),
    "absent"
)]
#[case::named(
    "defaults x\nmode http\ntimeout client 5s\ndefaults y\nmode http\nfrontend a from x\nbind :80",
    Some(80),
    "5s at 3: timeout client 5s"
)]
#[case::defaults_of_defaults(
    "defaults x\nmode http\ntimeout client 5s\ndefaults y from x\nfrontend a from y\nbind :80",
    Some(80),
    "5s at 3: timeout client 5s"
)]
#[case::missing_defaults(
    "frontend a from x",
    Some(80),
    "? /h.cfg line 1: the defaults section x does not exist"
)]
#[case::close_of_defaults(
    "defaults\nmode http\noption httpclose\nfrontend a\nbind :80\nfrontend b\nno option httpclose\nbind :81",
    Some(81),
    "absent"
)]
#[case::list_and_range("frontend a\nmode http\nbind :80,[::]:8000-8010", Some(8005), "absent")]
#[case::old_addresses(
    "listen a 0.0.0.0:80\nmode http\nclitimeout 5000",
    Some(80),
    "5000 at 3: clitimeout 5000"
)]
#[case::socket(
    "frontend a\nbind unix@/x:80\nbind quic4@:80",
    Some(80),
    "? no frontend has port 80 in /h.cfg"
)]
#[case::disabled("frontend a\ndisabled\nbind :80", Some(80), "? no frontend has port 80 in /h.cfg")]
#[case::port_of_a_variable(
    "frontend a\nbind \":${PORT}\"",
    Some(80),
    "? /h.cfg line 2: the value of the variable PORT is not known"
)]
#[case::set_variable(
    "global\nsetenv PORT 80\nsetenv X 3s\nfrontend a\nmode http\nbind \":${PORT}\"\ntimeout client \"$X\"",
    Some(80),
    "3s at 7: timeout client \"$X\""
)]
#[case::all(
    "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind :80\nfrontend b\nbind :81",
    None,
    "5s at 3: timeout client 5s"
)]
#[case::differ(
    "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind :80\nfrontend b\nbind :81\ntimeout client 6s",
    None,
    "? the frontends in /h.cfg have different idle timeouts"
)]
#[case::section_in_a_condition(
    ".if 1\nfrontend a\nmode http\nbind :80\n.endif",
    Some(80),
    "? /h.cfg line 2: a condition may exclude this section"
)]
#[case::line_behind_such_a_section(
    "frontend b\nmode http\nbind :81\n.if 1\nfrontend a\n.endif\ntimeout client 6s",
    Some(81),
    "? /h.cfg line 7: this may belong to a section that a condition excludes"
)]
#[case::other_section_in_a_condition(
    ".if 1\nfrontend a\nbind :80\n.endif\nfrontend b\nmode http\nbind :81\ntimeout client 6s",
    Some(81),
    "6s at 8: timeout client 6s"
)]
fn sections(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
    assert_eq!(ask(text, port), expected);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_soon(
        text in "([a-z:0\"'${}\\\\ \n]|timeout |client|\nfrontend |\ndefaults |bind |\n.if|\n.endif|from ){0,400}"
    ) {
        let started = std::time::Instant::now();
        ask(&text, Some(80));
        proptest::prop_assert!(started.elapsed().as_millis() < 500);
    }
}
