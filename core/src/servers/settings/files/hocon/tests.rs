use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::{TestFiles, value_with_file};
use super::*;

const FOLDER: TestFiles<'_> = TestFiles {
    files: &[
        ("/c/other.conf", "\na.b.idle = 9 s\nb.idle = 8 s"),
        ("/c/loop.conf", "include \"loop.conf\""),
        ("/c/secret.conf", "?"),
    ],
    variables: &[("SET", "7s"), ("SECRET", "?")],
    of_image: false,
};

fn ask(text: &str) -> String {
    let describe = value_with_file(read(&FOLDER, "/c/app.conf", text, Query { key: "a.b.idle", port: None }));
    describe.replacen("? /c/app.conf line ", "? ", 1)
}

const NOT_PLAIN: &str = "? 1: the value is not a literal";
const AROUND: &str = "a value above or below the key is not a literal";

#[rstest]
#[case::empty("", "absent")]
#[case::dotted("a.b.idle = 75 s", "75 s at app.conf:1")]
#[case::colon("a.b.idle: 75s\n", "75s at app.conf:1")]
#[case::nested("a {\n  b {\n    idle = 75 s\n  }\n}", "75 s at app.conf:3")]
#[case::nested_with_equals("a = {\n  b.idle = 75 s }", "75 s at app.conf:2")]
#[case::braces_around("{ \"a\": { \"b\": { \"idle\": \"75 s\" } } }", "75 s at app.conf:1")]
#[case::brace_on_the_next_line("a\n{\n b.idle = 1 }", "1 at app.conf:3")]
#[case::value_on_the_next_line("a.b.idle =\n 1", "1 at app.conf:1")]
#[case::commas("x = 1, a.b.idle = 2, y = 3", "2 at app.conf:1")]
#[case::quoted_key("a.\"b\".idle = 2", "2 at app.conf:1")]
#[case::quoted_dot("\"a.b\".idle = 2", "absent")]
#[case::blanks_in_the_path("a . b . idle = 2", "absent")]
#[case::longer_key("a.b.idle.x = 2", &format!("? 1: {AROUND}"))]
#[case::other_keys("a.b.idlex = 2\nb.idle = 3\nx.a.b.idle = 4\na.idle = 4", "absent")]
#[case::comments("# a.b.idle = 1\n// a.b.idle = 2\na.b.idle = 3 # 4\na.x = 5 // 6", "3 at app.conf:3")]
#[case::triple_quotes("x = \"\"\"\na.b.idle = 2\n\"\"\"\"\na.b.idle = 3", "3 at app.conf:4")]
#[case::windows_lines("x = 1\r\na.b.idle = 3 s\r\n", "3 s at app.conf:2")]
#[case::later_wins("a.b.idle = 1\na { b { idle = 2 } }", "2 at app.conf:2")]
#[case::merged("a.b.idle = 1\na { b { x = 2 } }", "1 at app.conf:1")]
#[case::lists("x = [1, [2, { a.b.idle = 2 }]\n 3]\na.b.idle = 3", "3 at app.conf:3")]
#[case::infinite("a.b.idle = infinite", "infinite at app.conf:1")]
#[case::null("a.b.idle = null", NOT_PLAIN)]
#[case::list("a.b.idle = [1]", NOT_PLAIN)]
#[case::object("a.b.idle = { x = 1 }", NOT_PLAIN)]
#[case::append("a.b.idle += 1", "? 1: the value is a list")]
#[case::two_parts("a.b.idle = \"7\" s", NOT_PLAIN)]
#[case::parent_is_plain("a.b.idle = 1\na = 2", &format!("? 2: {AROUND}"))]
#[case::parent_is_a_substitution("a.b = ${x.y}", &format!("? 1: {AROUND}"))]
#[case::parent_inherits("a.b = ${x.y} { x = 2 }", &format!("? 1: {AROUND}"))]
#[case::set_behind_a_parent("a = ${x}\na.b.idle = 3", "3 at app.conf:2")]
#[case::variable("a.b.idle = ${SET}", "7s at app.conf:1")]
#[case::optional_variable("a.b.idle = 1\na.b.idle = ${?SET}", "7s at app.conf:2")]
#[case::optional_variable_not_set("a.b.idle = 1\na.b.idle = ${?X}", "1 at app.conf:1")]
#[case::variable_not_set("a.b.idle = ${X}", "? 1: X is not set")]
#[case::secret("a.b.idle = ${?SECRET}", "? SECRET comes from a Secret")]
#[case::variable_with_unit("a.b.idle = ${SET} s", NOT_PLAIN)]
#[case::substitution("a.b.idle = ${x.idle}", NOT_PLAIN)]
#[case::shadowed_variable(
    "SET = 3\na.b.idle = ${SET}",
    "? the file sets SET, which takes precedence over the variable"
)]
#[case::other_variables("x = ${y.z} \"b\"${?C} d\na.b.idle = 1", "1 at app.conf:2")]
#[case::include("include \"other.conf\"", "9 s at other.conf:2")]
#[case::include_in_an_object("a { include \"other.conf\" }", "8 s at other.conf:3")]
#[case::include_elsewhere("x { include \"missing\" }\na.b.idle = 3", "3 at app.conf:2")]
#[case::include_missing("a.b.idle = 3\ninclude \"application\"", "? 2: application is not in the input")]
#[case::include_before("include classpath(\"application\")\na.b.idle = 3", "3 at app.conf:2")]
#[case::include_required("include required(file(\"/x.conf\"))", "? 1: /x.conf is not in the input")]
#[case::include_unseen("include \"secret.conf\"", "? /c/secret.conf comes from a Secret")]
#[case::include_itself("include \"loop.conf\"", "? /c/loop.conf line 1: objects are nested too deeply")]
#[case::key_named_include("include = 1\na.b.idle = 3", "3 at app.conf:2")]
#[case::brace("a { b {", "? 1: a brace is not closed")]
#[case::brace_too_many("a.b.idle = 1\n}", "? 2: a key is not a literal")]
#[case::no_value("a.b.idle =", "? 1: a key has no value")]
#[case::other_language("a.b.idle = 1\n<html>", "? 2: a key has no value")]
#[case::url("x = http://example.com", "? 1: a value is not a literal")]
fn files(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text), expected);
}

#[test]
fn the_text_is_that_of_the_field() {
    let query = Query { key: "a.idle", port: None };
    let Answer::Set(entry) = read(&FOLDER, "/x", "a {\n idle  = 75 s # why\n}", query) else { panic!() };
    assert_eq!(entry.text, "idle = 75 s");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(a|b|idle|include|\\$\\{|\"\"\"|[ =:+.,#\"(){}\\[\\]\\\\\n]|\\PC){0,60}") {
        ask(&text);
    }
}
