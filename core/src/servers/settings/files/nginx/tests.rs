use rstest::rstest;

use super::super::testing::{TestFiles, value_with_file};
use super::*;

const FOLDER: TestFiles<'_> = TestFiles {
    files: &[("/etc/nginx/conf.d/site.conf", "server { listen 8443; keepalive_timeout 20s; }")],
    variables: &[],
    of_image: true,
};

fn ask(text: &str, port: Option<u16>) -> String {
    let query = Query { key: "keepalive_timeout", port };
    value_with_file(read(&FOLDER, "/etc/nginx/nginx.conf", text, query))
}

#[rstest]
#[case::of_http(
    "events {}\nhttp {\n  keepalive_timeout 10s;\n  server { listen 8080; }\n}",
    Some(8080),
    "10s at nginx.conf:3"
)]
#[case::of_the_server(
    "http { keepalive_timeout 10s; server { listen 8080; keepalive_timeout 30; } }",
    Some(8080),
    "30 at nginx.conf:1"
)]
#[case::of_another_server(
    "http { server { listen 81; keepalive_timeout 30; } server { listen 80; } }",
    Some(80),
    "absent"
)]
#[case::all_servers_agree(
    "http { keepalive_timeout 5; server { listen 81; } server { listen 80; } }",
    None,
    "5 at nginx.conf:1"
)]
#[case::servers_differ(
    "http { server { listen 81; keepalive_timeout 5; } server { listen 80; } }",
    None,
    "? the servers in /etc/nginx/nginx.conf have different values of keepalive_timeout"
)]
#[case::two_of_one_port(
    "http { server { server_name a; keepalive_timeout 5; } server { server_name b; } }",
    Some(80),
    "? the servers in /etc/nginx/nginx.conf have different values of keepalive_timeout"
)]
#[case::no_such_port(
    "http { server { listen 80; } }",
    Some(8080),
    "? no server listens on port 8080 in /etc/nginx/nginx.conf"
)]
#[case::location(
    "http { server { location / { keepalive_timeout 5; } } }",
    Some(80),
    "? /etc/nginx/nginx.conf line 1: keepalive_timeout has a different value in one location"
)]
#[case::location_that_agrees(
    "http { keepalive_timeout 5; server { location / { keepalive_timeout 5; } } }",
    Some(80),
    "5 at nginx.conf:1"
)]
#[case::include("http { keepalive_timeout 65; include conf.d/*.conf; }", Some(8443), "20s at site.conf:1")]
#[case::harmless_include(
    "http { include /etc/nginx/mime.types; keepalive_timeout 65; }",
    None,
    "65 at nginx.conf:1"
)]
#[case::unseen_include(
    "http { include extra.conf; }",
    None,
    "? /etc/nginx/nginx.conf line 1: /etc/nginx/extra.conf of the image may set it"
)]
#[case::header_timeout("http { keepalive_timeout 75s 60s; }", None, "75s at nginx.conf:1")]
#[case::comment("http { # keepalive_timeout 1;\n }", None, "absent")]
#[case::quotes(
    "http { keepalive_timeout '7s'; log_format main '$remote_addr {';\n }",
    None,
    "7s at nginx.conf:1"
)]
#[case::variable(
    "http { keepalive_timeout $x; }",
    None,
    "? /etc/nginx/nginx.conf line 1: the value of keepalive_timeout is not a literal"
)]
#[case::variable_in_braces(
    "http { keepalive_timeout 4; server { return 301 https://${host}/x; } }",
    None,
    "4 at nginx.conf:1"
)]
#[case::lua(
    "http { init_by_lua_block { local x = '}' -- }\n y = {} }\n keepalive_timeout 3; }",
    None,
    "3 at nginx.conf:3"
)]
#[case::stream(
    "stream { server { listen 8080; } } http { keepalive_timeout 3; server {} }",
    Some(8080),
    "? no server listens on port 8080 in /etc/nginx/nginx.conf"
)]
#[case::address(
    "http { server { listen [::]:8080 default_server; keepalive_timeout 3; } }",
    Some(8080),
    "3 at nginx.conf:1"
)]
#[case::open("http { server {", None, "? /etc/nginx/nginx.conf line 1: the file ends within a directive")]
#[case::template("{{ .Values.config }}", None, "? /etc/nginx/nginx.conf line 1: a brace closes nothing")]
fn values(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
    assert_eq!(ask(text, port), expected);
}

#[rstest]
#[case::braces("keepalive_timeout ${KEEP};", "keepalive_timeout 9s;")]
#[case::plain("keepalive_timeout $KEEP;", "keepalive_timeout 9s;")]
#[case::other_variable("return 200 $host;", "return 200 $host;")]
fn templates(#[case] text: &str, #[case] expected: &str) {
    let variable = |name: &str| (name == "KEEP").then(|| Ok("9s".to_owned()));
    assert_eq!(envsubst(text, &variable), Ok(expected.to_owned()));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_soon(text in "[a-z{};'\"#$\\\\ \n]{0,2000}") {
        let started = std::time::Instant::now();
        ask(&text, Some(80));
        proptest::prop_assert!(started.elapsed().as_millis() < 500);
    }
}
