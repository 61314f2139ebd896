use rstest::rstest;

use super::super::testing::{TestFiles, value_with_file};
use super::*;

const FOLDER: TestFiles<'_> = TestFiles {
    files: &[("/etc/l/conf.d/a.conf", "\nserver.max-keep-alive-idle = 7")],
    variables: &[("KEEP", "9")],
    of_image: true,
};

fn ask(text: &str) -> String {
    let query = Query { key: "server.max-keep-alive-idle", port: Some(80) };
    value_with_file(read(&FOLDER, "/etc/l/l.conf", text, query))
}

#[rstest]
#[case::set("server.port = 80\nserver.max-keep-alive-idle = 10 # x", "10 at l.conf:2")]
#[case::absent("server.modules = (\n \"a\", # b\n \"c\" => 3,\n)\nserver.port = 80", "absent")]
#[case::comment("# server.max-keep-alive-idle = 10", "absent")]
#[case::later_wins("server.max-keep-alive-idle = 1\nserver.max-keep-alive-idle := 2", "2 at l.conf:2")]
#[case::global("global { server.max-keep-alive-idle = 3 }", "3 at l.conf:1")]
#[case::string("server.max-keep-alive-idle = \"3\"", "3 at l.conf:1")]
#[case::variable("x = 4\nserver.max-keep-alive-idle = var.x", "4 at l.conf:2")]
#[case::environment("server.max-keep-alive-idle = env.KEEP", "9 at l.conf:1")]
#[case::unknown_variable(
    "server.max-keep-alive-idle = x",
    "? /etc/l/l.conf line 1: the value of server.max-keep-alive-idle is not a literal"
)]
#[case::sum(
    "server.max-keep-alive-idle = 3 + 4",
    "? /etc/l/l.conf line 1: the value of server.max-keep-alive-idle is not a literal"
)]
#[case::no_requests("server.max-keep-alive-idle = 3\nserver.max-keep-alive-requests = 0", "0 at l.conf:2")]
#[case::some_requests("server.max-keep-alive-idle = 3\nserver.max-keep-alive-requests = 10", "3 at l.conf:1")]
#[case::condition(
    "$SERVER[\"socket\"] == \":81\" {\n server.max-keep-alive-idle = 3\n}",
    "? /etc/l/l.conf line 2: a condition sets server.max-keep-alive-idle = 3"
)]
#[case::condition_that_agrees(
    "$HTTP[\"host\"] =~ \"a{2}\" { server.max-keep-alive-idle = 3 } else { x = 1 }\nserver.max-keep-alive-idle = 3",
    "3 at l.conf:2"
)]
#[case::behind_a_condition(
    "if $HTTP[\"url\"] =^ \"/a\" {\n}\nelse if $HTTP[\"url\"] !~ \"b\" {\n}\nserver.max-keep-alive-idle = 3",
    "3 at l.conf:5"
)]
#[case::include("include \"conf.d/*.conf\"", "7 at a.conf:2")]
#[case::include_by_variable("var.d = \"/etc/l\"\ninclude d + \"/conf.d/a.conf\"", "7 at a.conf:2")]
#[case::include_in_a_condition(
    "$HTTP[\"host\"] == \"a\" { include \"conf.d/a.conf\" }",
    "? /etc/l/conf.d/a.conf line 2: a condition sets server.max-keep-alive-idle = 7"
)]
#[case::unseen("include \"b.conf\"", "? /etc/l/l.conf line 1: /etc/l/b.conf of the image may set it")]
#[case::harmless("include \"conf.d/mime.conf\"\nserver.max-keep-alive-idle = 3", "3 at l.conf:2")]
#[case::working_directory(
    "include \"./b.conf\"",
    "? /etc/l/l.conf line 1: the included file is in the working directory"
)]
#[case::command("include_shell \"cat x\"", "? /etc/l/l.conf line 1: the output of a command is included")]
#[case::harmless_command("include_shell \"/usr/share/lighttpd/create-mime.conf.pl\"", "absent")]
#[case::harmless_command_with_port(
    "server.port = 80\ninclude_shell \"/usr/share/lighttpd/use-ipv6.pl \" + server.port",
    "absent"
)]
#[case::command_with_more(
    "include_shell \"/usr/share/lighttpd/use-ipv6.pl; cat x\"",
    "? /etc/l/l.conf line 1: the output of a command is included"
)]
#[case::open_block("global {", "? /etc/l/l.conf: a block is not closed")]
#[case::open_quote("a = \"", "? /etc/l/l.conf line 1: a quote is not closed")]
#[case::template("{{ x }}", "? /etc/l/l.conf line 1: this is not an assignment")]
#[case::character("a = %", "? /etc/l/l.conf line 1: there is an unexpected character")]
fn values(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text), expected);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_soon(
        text in "([a-z{}()$=+\"\\\\#\n ]|server.max-keep-alive-idle = |include |var.x|global \\{){0,400}"
    ) {
        let started = std::time::Instant::now();
        ask(&text);
        proptest::prop_assert!(started.elapsed().as_millis() < 500);
    }
}
