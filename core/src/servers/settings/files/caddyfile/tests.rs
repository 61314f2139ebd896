use rstest::rstest;

use super::super::testing::{TestFiles, value_with_file};
use super::*;

const FOLDER: TestFiles<'_> = TestFiles {
    files: &[
        ("/c/idle.caddy", "\nservers {\n timeouts {\n  idle 8s\n }\n}"),
        ("/c/sites/a.caddy", ":8081 {\n respond a\n}"),
    ],
    variables: &[("KEEP", "9s")],
    of_image: true,
};

fn ask(text: &str, port: Option<u16>) -> String {
    value_with_file(read(&FOLDER, "/c/Caddyfile", text, Query { key: "idle", port }))
}

/// A file with one `servers` option for all, and one for port 8443.
const BOTH: &str = "{\n servers {\n  timeouts {\n   idle 30s\n  }\n }\n servers :8443 {\n  timeouts {\n   \
                        read_body 1s\n   idle 5s\n  }\n }\n}\n";
const ONE: &str = "{\n servers {\n  timeouts {\n   idle 30s\n  }\n }\n}\n";

#[rstest]
#[case::all(":8080 {\n}", Some(8080), "30s at Caddyfile:4")]
#[case::own("a:8080 {\n}\nb:8443 {\n}", Some(8443), "5s at Caddyfile:10")]
#[case::other("a:8080 {\n}\nb:8443 {\n}", Some(8080), "30s at Caddyfile:4")]
#[case::shared_server(
    "a:8080, b:8443 {\n}",
    Some(8080),
    "? the servers in /c/Caddyfile have different idle timeouts"
)]
#[case::bound(
    ":8443 {\n bind 127.0.0.1\n}",
    Some(8443),
    "? the servers in /c/Caddyfile have different idle timeouts"
)]
#[case::no_port(":8443 {\n}", None, "? the servers in /c/Caddyfile have different idle timeouts")]
#[case::unknown_address(
    "{$SITE} {\n}",
    Some(8443),
    "? the servers in /c/Caddyfile have different idle timeouts"
)]
#[case::no_site(":8443 {\n}", Some(9000), "? no site in /c/Caddyfile has port 9000")]
#[case::admin("{$SITE} {\n}", Some(2019), "? no site in /c/Caddyfile has port 2019")]
#[case::unseen_sites(
    "import /other/*.caddy\nimport other",
    Some(8443),
    "? the servers in /c/Caddyfile have different idle timeouts"
)]
fn two_options(#[case] sites: &str, #[case] port: Option<u16>, #[case] expected: &str) {
    assert_eq!(ask(&format!("{BOTH}{sites}"), port), expected);
}

#[rstest]
#[case::no_port(":8443 {\n}", None, "30s at Caddyfile:4")]
#[case::unknown_address("{$SITE} {\n}", Some(8443), "30s at Caddyfile:4")]
#[case::without_braces(":8443\nrespond \"{\"", Some(8443), "30s at Caddyfile:4")]
#[case::http("http://a {\n}", Some(80), "30s at Caddyfile:4")]
#[case::https("a.example.com {\n}", Some(443), "30s at Caddyfile:4")]
#[case::redirect("a.example.com {\n}", Some(80), "? no site in /c/Caddyfile has port 80")]
#[case::sites_of_files("import sites/*.caddy", Some(8081), "30s at Caddyfile:4")]
#[case::several_lines("a:80,\nb:80 {\n}", Some(80), "30s at Caddyfile:4")]
#[case::heredoc(":80 {\n respond <<END\n } {\n END 200\n}\n", Some(80), "30s at Caddyfile:4")]
#[case::snippet_and_route("(s) {\n bind x\n}\n&(r) {\n}\n:80 {\n}", Some(80), "30s at Caddyfile:4")]
fn one_option(#[case] sites: &str, #[case] port: Option<u16>, #[case] expected: &str) {
    assert_eq!(ask(&format!("{ONE}{sites}"), port), expected);
}

#[rstest]
#[case::nothing(":80 {\n}", "absent")]
#[case::other_options(
    "{\n email a@b\n log {\n  output stdout\n }\n servers {\n  trace\n }\n}\n:80",
    "absent"
)]
#[case::not_global(":80 {\n servers {\n  timeouts {\n   idle 3s\n  }\n }\n}", "absent")]
#[case::comment("{\n servers {\n  timeouts {\n   # idle 3s\n  }\n }\n}\n:80", "absent")]
#[case::file("{\n import idle.caddy\n}\n:80", "8s at idle.caddy:4")]
#[case::first_file("import /c/sites/*.caddy\n:80 {\n}", "absent")]
#[case::unseen_first_file("import x\n:80 {\n}", "? /c/Caddyfile line 1: /c/x of the image may set it")]
#[case::unseen_file("{\n import x\n}\n:80", "? /c/Caddyfile line 2: /c/x of the image may set it")]
#[case::snippet(
    "(t) {\n timeouts {\n  idle {args[0]}\n }\n}\n{\n servers {\n  import t 6s\n }\n}\n:80",
    "6s at Caddyfile:3"
)]
#[case::snippet_of_itself("(t) {\n import t\n}\n{\n import t\n}\n:80", "? the Caddyfile is too long")]
#[case::variable("{\n servers {\n  timeouts {\n   idle {$KEEP:4s}\n  }\n }\n}\n:80", "9s at Caddyfile:4")]
#[case::unknown_variable(
    "{\n servers {\n  timeouts {\n   idle {$X:4s}\n  }\n }\n}\n:80",
    "? /c/Caddyfile line 4: the value of idle is not a literal"
)]
#[case::unknown_options("{\n {$X}\n}\n:80", "? /c/Caddyfile line 2: it is not clear which option this is")]
#[case::http_port("{\n http_port 8080\n}\nhttp://a {\n}", "? no site in /c/Caddyfile has port 80")]
#[case::open_block("{\n servers {", "? /c/Caddyfile line 2: a block is not closed")]
#[case::open_quote("respond \"", "? /c/Caddyfile line 1: a quote is not closed")]
#[case::second_global(":80 {\n}\n{\n}", "? /c/Caddyfile line 3: a block has no address")]
fn files(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Some(80)), expected);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_soon(
        text in "([a-z:{}\"`<\\\\$, \n]|\\{\n|\n\\}|servers |timeouts |idle |import |\\(a\\)|:80|<<E\n){0,300}"
    ) {
        let started = std::time::Instant::now();
        ask(&text, Some(80));
        proptest::prop_assert!(started.elapsed().as_millis() < 500);
    }
}
