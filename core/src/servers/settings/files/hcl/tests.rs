use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::{NOTHING, value_with_line};
use super::*;

fn ask(text: &str, port: Option<u16>) -> String {
    let describe = value_with_line(read(&NOTHING, "/v.hcl", text, Query { key: "http_idle_timeout", port }));
    describe.replacen("? /v.hcl line ", "? ", 1)
}

const DIFFER: &str = "? the listeners in /v.hcl have different values of http_idle_timeout";

#[rstest]
#[case::plain(
    "ui = true\nlistener \"tcp\" {\n  address = \"[::]:8200\"\n  http_idle_timeout = \"5m\"\n}",
    "5m at 4"
)]
#[case::default_port("listener tcp { http_idle_timeout = \"5m\" }", "5m at 1")]
#[case::absent("listener \"tcp\" { address = \"0.0.0.0:8200\" tls_disable = 1 }", "absent")]
#[case::number("listener \"tcp\" {\n http_idle_timeout = 300\n}", "300 at 2")]
#[case::other_case("Listener \"TCP\" { HTTP_Idle_Timeout = \"5m\" }", "5m at 1")]
#[case::other_port("listener \"tcp\" { address = \"x:8300\" }", "? no listener has port 8200 in /v.hcl")]
#[case::of_the_port(
    "listener \"tcp\" { address = \"x:1\" http_idle_timeout = 1 }\nlistener \"tcp\" { http_idle_timeout = 2 }",
    "2 at 2"
)]
#[case::two_of_one_port("listener \"tcp\" { }\nlistener \"tcp\" { http_idle_timeout = 2 }", DIFFER)]
#[case::socket("listener \"unix\" { address = \"/x\" http_idle_timeout = 1 }\nlistener \"tcp\" {}", "absent")]
#[case::type_within("listener { type = \"tcp\" http_idle_timeout = 3 }", "3 at 1")]
#[case::other_type("listener \"quic\" {}", "? the type of a listener in /v.hcl is not a literal")]
#[case::template(
    "listener \"tcp\" { address = \"{{ GetPrivateIP }}:8200\" http_idle_timeout = 3 }",
    "3 at 1"
)]
#[case::no_port_in_the_address(
    "listener \"tcp\" { address = \"{{ Get }}\" }",
    "? 1: the address is not a literal"
)]
#[case::twice(
    "listener \"tcp\" { http_idle_timeout = 1 http_idle_timeout = 2 }",
    "? 1: the value of http_idle_timeout is not a literal"
)]
#[case::truth(
    "listener \"tcp\" { http_idle_timeout = true }",
    "? 1: the value of http_idle_timeout is not a literal"
)]
#[case::comments(
    "# x\n/* listener \"tcp\" {\n*/ listener \"tcp\" { // y\n http_idle_timeout = 4 }",
    "4 at 4"
)]
#[case::nested("listener \"tcp\" { telemetry { http_idle_timeout = 1 } x = [\"a\", { b = 1 },]\n}", "absent")]
#[case::elsewhere("storage \"x\" { http_idle_timeout = 1 }\nlistener \"tcp\" {}", "absent")]
#[case::here_document("x = <<EOF\nlistener {\n  EOF\nlistener \"tcp\" { http_idle_timeout = 4 }", "4 at 4")]
#[case::json(
    "{\"listener\": {\"tcp\": {\"address\": \":8200\",\n \"http_idle_timeout\": \"5m\"}}}",
    "5m at 2"
)]
#[case::json_list("{\"ui\": true, \"listener\": [{\"tcp\": {\"http_idle_timeout\": \"5m\"}}]}", "5m at 1")]
#[case::json_inner_list("{\"listener\": {\"tcp\": [{\"http_idle_timeout\": 60}, {}]}}", DIFFER)]
#[case::none("ui = true", "? no listener has port 8200 in /v.hcl")]
#[case::scalar("listener = 1", "? the type of a listener in /v.hcl is not a literal")]
#[case::brace("listener \"tcp\" {", "? 1: a brace is not closed")]
#[case::code(
    "listener \"tcp\" { http_idle_timeout = \"${x}\" }",
    "? 1: a string contains code, which is not evaluated"
)]
#[case::other_language("listener:\n  - tcp", "? 2: this is not HCL")]
fn files(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, Some(8200)), expected);
}

#[rstest]
#[case::all_agree(
    "listener \"tcp\" { http_idle_timeout = 1 }\nlistener \"tcp\" { address = \"x:1\" http_idle_timeout = 1 }",
    "1 at 1"
)]
#[case::all_differ(
    "listener \"tcp\" { http_idle_timeout = 1 }\nlistener \"tcp\" { address = \"x:1\" }",
    DIFFER
)]
#[case::none("", "? /v.hcl has no listener")]
fn without_a_port(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text, None), expected);
}

#[test]
fn the_text_is_that_of_the_item() {
    let query = Query { key: "http_idle_timeout", port: None };
    let text = "listener \"tcp\" { http_idle_timeout   = \"5m\" # why\n }";
    let Answer::Set(entry) = read(&NOTHING, "/x", text, query) else { panic!() };
    assert_eq!(entry.text, "http_idle_timeout = \"5m\"");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(listener|tcp|http_idle_timeout|<<|/\\*|[ =:,#\"{}\\[\\]\\\\\n-]|\\PC){0,60}") {
        ask(&text, Some(8200));
    }
}
