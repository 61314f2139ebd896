use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::{NOTHING, TestFiles, value_with_line};
use super::*;

const VARIABLES: TestFiles<'_> =
    TestFiles { variables: &[("SET", "7"), ("EMPTY", ""), ("SECRET", "?")], ..NOTHING };

fn ask(text: &str) -> String {
    let query = Query { key: "keepalive", port: None };
    let describe = value_with_line(read(&VARIABLES, "/app/gunicorn.conf.py", text, query));
    describe.replacen("? /app/gunicorn.conf.py line ", "? ", 1)
}

const NOT_PLAIN: &str = "? 1: the value is not a plain number or string";
const NOT_TOP: &str = "keepalive is not set in the plain form at top level";

#[rstest]
#[case::empty("", "absent")]
#[case::plain("bind = '0.0.0.0'\nkeepalive = 5\nworkers = 2", "5 at 2")]
#[case::no_spaces("keepalive=5", "5 at 1")]
#[case::windows_lines("workers = 2\r\nkeepalive = 5\r\n", "5 at 2")]
#[case::byte_order_mark("\u{feff}keepalive = 5", "5 at 1")]
#[case::string("keepalive = 'gthread'", "gthread at 1")]
#[case::raw_string("keepalive = r'gthread'", "gthread at 1")]
#[case::annotation("keepalive: int = 5", "5 at 1")]
#[case::annotation_alone("keepalive: int", "absent")]
#[case::last_wins("keepalive = 5\nkeepalive = 6", "6 at 2")]
#[case::semicolons("a = 1; keepalive = 5; b = 2", "5 at 1")]
#[case::parentheses("keepalive = (\n  5\n)", "5 at 1")]
#[case::continuation("keepalive = \\\n  5", "5 at 1")]
#[case::comment("# keepalive = 5\nx = 1 # keepalive = 6", "absent")]
#[case::docstring("\"\"\"\nkeepalive = 5\n\"\"\"\nx = 1", "absent")]
#[case::string_with_hash("x = '#'; keepalive = 5", "5 at 1")]
#[case::string_of_lines("x = '''it's\n'''\nkeepalive = 5", "5 at 3")]
#[case::dictionary("x = {\n 'a': 1,\n 'keepalive': 7,\n}\nkeepalive = 5", "5 at 5")]
#[case::other_name("keepalive_str = 5\nmy.keepalive()", "absent")]
#[case::keyword_argument("x = dict(keepalive=5)", "absent")]
#[case::use_of_it("keepalive = 5\nprint(keepalive)\nx = keepalive + 1\nif keepalive == 3: pass", "5 at 1")]
#[case::float("keepalive = 2.5", "2.5 at 1")]
#[case::sum("keepalive = 5 + 1", NOT_PLAIN)]
#[case::tuple("keepalive = 5,", NOT_PLAIN)]
#[case::negative("keepalive = -1", NOT_PLAIN)]
#[case::hexadecimal("keepalive = 0x10", NOT_PLAIN)]
#[case::underscore("keepalive = 1_0", NOT_PLAIN)]
#[case::none("keepalive = None", NOT_PLAIN)]
#[case::truth("keepalive = True", NOT_PLAIN)]
#[case::conditional("keepalive = 5 if x else 6", NOT_PLAIN)]
#[case::two_strings("keepalive = '5' '6'", NOT_PLAIN)]
#[case::escape("keepalive = '\\x35'", NOT_PLAIN)]
#[case::f_string("keepalive = f'{5}'", NOT_PLAIN)]
#[case::later_plain("keepalive = 5 + 1\nkeepalive = 5", "5 at 2")]
#[case::in_if("if x:\n    keepalive = 5", &format!("? 2: {NOT_TOP}"))]
#[case::in_if_on_a_line("if x: keepalive = 5", &format!("? 1: {NOT_TOP}"))]
#[case::in_else("if x:\n  pass\nelse: keepalive = 5", &format!("? 3: {NOT_TOP}"))]
#[case::in_try("try:\n\tkeepalive = 5\nexcept: pass", &format!("? 2: {NOT_TOP}"))]
#[case::in_match("match x:\n  case 1:\n    keepalive = 5", &format!("? 3: {NOT_TOP}"))]
#[case::if_before("if x:\n    keepalive = 6\nkeepalive = 5", "5 at 3")]
#[case::if_behind("keepalive = 5\nif x:\n\n    # a comment\n    keepalive = 6", &format!("? 5: {NOT_TOP}"))]
#[case::augmented("keepalive = 5\nkeepalive += 1", &format!("? 2: {NOT_TOP}"))]
#[case::chain("keepalive = x = 5", &format!("? 1: {NOT_TOP}"))]
#[case::chain_behind("x = keepalive = 5", &format!("? 1: {NOT_TOP}"))]
#[case::unpacking("keepalive, x = 5, 6", &format!("? 1: {NOT_TOP}"))]
#[case::unpacking_in_brackets("[x, keepalive] = 5, 6", &format!("? 1: {NOT_TOP}"))]
#[case::walrus("print(keepalive := 5)", &format!("? 1: {NOT_TOP}"))]
#[case::loop_variable("for keepalive in range(5): pass", &format!("? 1: {NOT_TOP}"))]
#[case::loop_variables("for x, keepalive in y: pass", &format!("? 1: {NOT_TOP}"))]
#[case::with_as("with x as keepalive: pass", &format!("? 1: {NOT_TOP}"))]
#[case::deleted("keepalive = 5\ndel keepalive", &format!("? 2: {NOT_TOP}"))]
#[case::function_of_the_name("def keepalive(): pass", &format!("? 1: {NOT_TOP}"))]
#[case::local_variable("def f(x, keepalive=3):\n    keepalive = 6\nkeepalive = 5", "5 at 3")]
#[case::local_in_if("def f():\n  if x:\n    keepalive = 6\n  keepalive = 7\n", "absent")]
#[case::behind_a_function("def f():\n  pass\nif x:\n  keepalive = 5", &format!("? 4: {NOT_TOP}"))]
#[case::global("def f():\n    global x, keepalive\n    keepalive = 6\n", &format!("? 2: {NOT_TOP}"))]
#[case::global_on_a_line("def f(): global keepalive; keepalive = 6", &format!("? 1: {NOT_TOP}"))]
#[case::method("class A:\n    keepalive = 3\n    def keepalive(self): pass\n", "absent")]
#[case::hook(
    "def f(server, worker):\n    server.cfg.set('keepalive', 5)",
    "? 2: keepalive may be set through a string with its name"
)]
#[case::attribute("x.keepalive = 5", "? 1: an attribute named keepalive is set")]
#[case::subscript("x['keepalive'] = 5", "? 1: keepalive may be set through a string with its name")]
#[case::globals("globals()['keep' + 'alive'] = 5", "? 1: globals may set keepalive")]
#[case::exec("exec(open('x').read())", "? 1: exec may set keepalive")]
#[case::exec_before("exec('x')\nkeepalive = 5", "5 at 2")]
#[case::exec_in_a_function("keepalive = 5\ndef f():\n    exec('x', g)", "? 3: exec may set keepalive")]
#[case::plain_imports(
    "import os, sys\nimport os.path\nfrom multiprocessing import cpu_count\nkeepalive = 5",
    "5 at 4"
)]
#[case::import("import app.settings", "? 1: the file imports unknown code")]
#[case::import_before("import app\nkeepalive = 5", "5 at 2")]
#[case::import_behind("keepalive = 5\nfrom app import x", "? 2: the file imports unknown code")]
#[case::import_star("from os import *", "? 1: the file imports unknown code")]
#[case::relative_import("from .base import keepalive", "? 1: the file imports unknown code")]
#[case::import_in_try("try:\n  import app\nexcept ImportError: pass", "? 2: the file imports unknown code")]
#[case::import_as("import time as keepalive", "? 1: an import sets keepalive")]
#[case::import_in_a_hook(
    "keepalive = 5\ndef child_exit(server, worker):\n    from prometheus_client import x\n    x.y(worker.pid)",
    "5 at 1"
)]
#[case::import_in_a_called_function(
    "keepalive = 5\ndef f():\n    import app\nf()",
    "? 3: the file imports unknown code"
)]
#[case::import_in_a_class("class A:\n    import app\n", "? 2: the file imports unknown code")]
#[case::bracket("keepalive = 5\nx = (", "? 2: a bracket is not closed")]
#[case::quote("keepalive = 5\nx = 'a\n", "? 3: a string is not closed")]
#[case::other_language("keepalive = 5\n$x", "? 2: this is not Python")]
#[case::other_letters("k\u{e9}\u{e9}palive = 5", "? 1: a name has letters that are not ASCII")]
#[case::nested_quotes(
    "keepalive = 5\nx = f'{d['a']}'",
    "? 2: an f-string contains code, which is not evaluated"
)]
#[case::braces_in_f_string("x = f'{{{os.getenv(\"A\")}}}'\nkeepalive = 5", "5 at 2")]
fn files(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text), expected);
}

#[rstest]
#[case::default("keepalive = int(os.environ.get('X', '5'))", "5")]
#[case::number("keepalive = int(os.environ.get('X', 5))", "5")]
#[case::not_converted("keepalive = os.environ.get('X', 5)", "5")]
#[case::set("keepalive = int(os.getenv('SET', '5'))", "7")]
#[case::keyword("keepalive = os.getenv('X', default=5)", "? 2: the value is not a plain number or string")]
#[case::subscript("keepalive = int(os.environ['SET'])", "7")]
#[case::subscript_not_set("keepalive = int(os.environ['X'])", "? 2: X is not set")]
#[case::nested("keepalive = int(os.getenv('X', os.getenv('SET', 5)))", "7")]
#[case::leading_zero("keepalive = int('05')", "5")]
#[case::empty("keepalive = int(os.getenv('EMPTY', 5))", "? 2: the value is not a whole number")]
#[case::secret("keepalive = int(os.getenv('SECRET', 5))", "? SECRET comes from a Secret")]
#[case::no_default("keepalive = os.getenv('X')", "? 2: X is not set")]
#[case::or("keepalive = os.getenv('X') or 5", "? 2: the value is not a plain number or string")]
#[case::sum(
    "keepalive = int(os.getenv('X', 5)) + int(os.getenv('X', 5))",
    "? 2: the value is not a plain number or string"
)]
#[case::computed_name(
    "keepalive = os.getenv('A' + 'B', 5)",
    "? 2: the value is not a plain number or string"
)]
#[case::base("keepalive = int('10', 8)", "? 2: the value is not a plain number or string")]
#[case::through_a_variable("x = os.getenv('SET', 5)\nkeepalive = int(x)", "7")]
#[case::variable_set_later("keepalive = x\nx = 5", "? 2: the value is not a plain number or string")]
#[case::variable_set_again("x = 4\nx = 5\nkeepalive = x\nx = 6", "5")]
#[case::conditional_variable(
    "x = 4\nif y: x = 5\nkeepalive = x",
    "? 3: x is not set in the plain form at top level"
)]
#[case::circle("x = x\nkeepalive = x", "? 2: the value is not a plain number or string")]
#[case::environment_changed(
    "os.environ['X'] = '8'\nkeepalive = int(os.getenv('X', 5))",
    "? 2: the file may change the environment"
)]
#[case::environment_default(
    "os.environ.setdefault('X', '8')\nkeepalive = os.getenv('X', 5)",
    "? 2: the file may change the environment"
)]
#[case::dotenv(
    "from dotenv import load_dotenv\nload_dotenv()\nkeepalive = os.getenv('X', 5)",
    "? 2: the file imports unknown code"
)]
#[case::own_int(
    "def int(x): return 9\nkeepalive = int(5)",
    "? 2: int is not set in the plain form at top level"
)]
#[case::own_os("os = x\nkeepalive = os.getenv('X', 5)", "? 2: the file sets os")]
#[case::from_os("from os import environ, getenv\nkeepalive = getenv('X', environ.get('SET'))", "7")]
#[case::other_getenv("from time import getenv\nkeepalive = getenv('X', 5)", "? 2: an import sets getenv")]
fn environment(#[case] text: &str, #[case] expected: &str) {
    let answer = ask(&format!("import os\n{text}"));
    let value = if answer.starts_with('?') { &answer } else { answer.split(" at ").next().unwrap() };
    assert_eq!(value, expected);
}

#[test]
fn the_file_of_tiangolos_images() {
    let text = "import json\nimport multiprocessing\nimport os\n\nhost = os.getenv(\"HOST\", \"0.0.0.0\")\n\
            if host:\n    bind = host\nelse:\n    bind = f\"{host}:80\"\n\
            keepalive_str = os.getenv(\"KEEP_ALIVE\", \"5\")\nkeepalive = int(keepalive_str)\n\
            log_data = {\n    \"bind\": bind,\n    \"keepalive\": keepalive,\n}\nprint(json.dumps(log_data))\n";
    assert_eq!(ask(text), "5 at 11");
}

#[test]
fn the_text_is_on_one_line() {
    let query = Query { key: "keepalive", port: None };
    let Answer::Set(entry) = read(&VARIABLES, "x.py", "keepalive = int(  # why\n  5)", query) else {
        panic!()
    };
    assert_eq!(entry.text, "keepalive = int( 5)");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(keepalive|import|def|if|int|os|[ =:;#'\"(){}\\\\\n]|\\PC){0,60}") {
        ask(&text);
    }
}
