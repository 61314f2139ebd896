use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::{NOTHING, TestFiles, value_with_line};
use super::*;

const VARIABLES: TestFiles<'_> =
    TestFiles { variables: &[("SET", "7"), ("OCTAL", "010"), ("SECRET", "?")], ..NOTHING };

fn ask(text: &str) -> String {
    let query = Query { key: "persistent_timeout", port: None };
    value_with_line(read(&VARIABLES, "/puma.rb", text, query)).replacen("? /puma.rb line ", "? ", 1)
}

const RAILS: &str = "# Puma can load options. persistent_timeout 1
threads_count = ENV.fetch('RAILS_MAX_THREADS', 3).to_i
threads threads_count, threads_count
port ENV.fetch(\"PORT\") { 3000 }
worker_timeout 3600 if ENV.fetch(\"RAILS_ENV\", \"development\") == \"development\"
plugin :tmp_restart
plugin :solid_queue if ENV[\"SOLID_QUEUE_IN_PUMA\"]
pidfile ENV[\"PIDFILE\"] if ENV[\"PIDFILE\"]
bind \"tcp://#{ENV.fetch('BIND', \"0.0.0.0\")}:#{ENV['PORT']}\"
if ENV.fetch('WEB_CONCURRENCY', 1).to_i > 1
  preload_app!
  on_worker_boot do |index|
    ActiveSupport.on_load(:active_record) { ActiveRecord::Base.establish_connection }
    x = if index > 1 then 2 else 3 end
  end
end
";

const NOT_PLAIN: &str = "? 1: the value is not a plain number";
const NOT_TOP: &str = "persistent_timeout is not a plain call at the top level";

#[rstest]
#[case::empty("", "absent")]
#[case::rails(RAILS, "absent")]
#[case::behind_rails(&format!("{RAILS}persistent_timeout 20"), "20 at 17")]
#[case::plain("persistent_timeout 20", "20 at 1")]
#[case::parentheses("port 80\npersistent_timeout(20)\n", "20 at 2")]
#[case::comment_behind("persistent_timeout 20 # seconds\r\n", "20 at 1")]
#[case::dollar_before_a_line_break("x = $\npersistent_timeout 20", "20 at 2")]
#[case::string("persistent_timeout '20'", "20 at 1")]
#[case::last_wins("persistent_timeout 20\npersistent_timeout 30", "30 at 2")]
#[case::semicolon("port 80; persistent_timeout 30; workers 2", "30 at 1")]
#[case::comment("# persistent_timeout 20", "absent")]
#[case::comment_block("=begin\npersistent_timeout 20\n=end\nport 80", "absent")]
#[case::behind_the_end("port 80\n__END__\npersistent_timeout 20", "absent")]
#[case::in_a_string("x = 'a\npersistent_timeout 20\n'", "absent")]
#[case::other_method("first_data_timeout 20", "absent")]
#[case::fetch("persistent_timeout ENV.fetch('X', 20)", "20 at 1")]
#[case::fetch_a_block("persistent_timeout ENV.fetch('X') { 20 }", "20 at 1")]
#[case::fetch_a_block_to_i("persistent_timeout(ENV.fetch('X') { 20 }.to_i)", "20 at 1")]
#[case::fetch_set("persistent_timeout ENV.fetch('SET', 20).to_i", "7 at 1")]
#[case::fetch_nested("persistent_timeout Integer(ENV.fetch('X', ENV.fetch(\"SET\", '20')))", "7 at 1")]
#[case::fetch_alone("persistent_timeout ENV.fetch('X').to_i", "? 1: X is not set")]
#[case::index("persistent_timeout Integer(ENV['SET'])", "7 at 1")]
#[case::index_or("persistent_timeout Integer(ENV['X'] || 20)", "20 at 1")]
#[case::index_or_to_i("persistent_timeout (ENV['X'] || 20).to_i", "20 at 1")]
#[case::lines("persistent_timeout(\n  ENV\n    .fetch('X', 20)\n)", "20 at 1")]
#[case::secret("persistent_timeout ENV.fetch('SECRET', 20)", "? SECRET comes from a Secret")]
#[case::octal("persistent_timeout ENV.fetch('OCTAL', 20)", "? 1: OCTAL is not a whole number")]
#[case::environment_set(
    "ENV['X'] ||= '9'\npersistent_timeout ENV.fetch('X', 20)",
    "? 1: the file may change the environment"
)]
#[case::dotenv(
    "require 'dotenv/load'\npersistent_timeout ENV.fetch('X', 20)",
    "? 1: the file may change the environment"
)]
#[case::library("require 'etc'\npersistent_timeout ENV.fetch('X', 20)", "20 at 2")]
#[case::float("persistent_timeout 2.5", NOT_PLAIN)]
#[case::octal_number("persistent_timeout 010", NOT_PLAIN)]
#[case::sum("persistent_timeout 10 + 5", NOT_PLAIN)]
#[case::negative("persistent_timeout -5", NOT_PLAIN)]
#[case::variable("persistent_timeout timeout", NOT_PLAIN)]
#[case::active_support("persistent_timeout 30.seconds", NOT_PLAIN)]
#[case::ternary("persistent_timeout x ? 1 : 2", NOT_PLAIN)]
#[case::modifier("persistent_timeout 20 if x", NOT_PLAIN)]
#[case::modifier_in_parentheses("persistent_timeout(20) unless x", NOT_PLAIN)]
#[case::no_argument("persistent_timeout", NOT_PLAIN)]
#[case::in_if("if x\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
#[case::in_else("unless x\nelse\npersistent_timeout 20\nend", &format!("? 3: {NOT_TOP}"))]
#[case::in_case("case x\nwhen 1 then 2\nelse\npersistent_timeout 20\nend", &format!("? 4: {NOT_TOP}"))]
#[case::in_a_block("on_worker_boot do\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
#[case::in_braces("inject {\n  persistent_timeout 20\n}", &format!("? 2: {NOT_TOP}"))]
#[case::in_while("while x do\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
#[case::in_a_method("def x\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
#[case::in_an_assigned_if("x = if y\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
#[case::behind_then("x and persistent_timeout 20", &format!("? 1: {NOT_TOP}"))]
#[case::behind_and("x and\n  persistent_timeout 20", &format!("? 2: {NOT_TOP}"))]
#[case::own_method("def persistent_timeout(x)\nend", &format!("? 1: {NOT_TOP}"))]
#[case::assignment("persistent_timeout = 20", &format!("? 1: {NOT_TOP}"))]
#[case::receiver("self.persistent_timeout 20", &format!("? 1: {NOT_TOP}"))]
#[case::continued("foo x,\n  persistent_timeout(20)", &format!("? 2: {NOT_TOP}"))]
#[case::behind_a_block("if x\n  y\nend\npersistent_timeout 20", "20 at 4")]
#[case::behind_a_loop("while x do y end\npersistent_timeout 20", "20 at 2")]
#[case::behind_modifiers("a if b\nreturn unless x\nbegin\n y\nend while z\npersistent_timeout 20", "20 at 6")]
#[case::class_call("x = self.class\npersistent_timeout 20", "20 at 2")]
#[case::labels("foo if: 1, end: 2, class: 'x'\nbar :if, :end\npersistent_timeout 20", "20 at 3")]
#[case::words("x = %w[if do end]\npersistent_timeout 20", "20 at 2")]
#[case::pattern("x =~ /if \\/ [do]/\npersistent_timeout 20 ", "20 at 2")]
#[case::division("x = y / 2\nz = a/b\npersistent_timeout 20", "20 at 3")]
#[case::lambda("lowlevel_error_handler do |e|\n  [500, {}, [\"x\"]]\nend\npersistent_timeout 20", "20 at 4")]
#[case::hash("ssl_bind 'x', 9292, {\n  key: 'a',\n  'cert' => 'b',\n}\npersistent_timeout 20", "20 at 5")]
#[case::here_document("x = <<~END\n  persistent_timeout 20\nEND", "? 1: here-documents are not evaluated")]
#[case::append("x << y\npersistent_timeout 20", "20 at 2")]
#[case::send("send(:port, 1)", "? 1: send may set persistent_timeout")]
#[case::symbol(
    "@x[:persistent_timeout] = 20",
    "? 1: persistent_timeout may be set through a string with its name"
)]
#[case::options("@options[x] = 20", "? 1: @options may set persistent_timeout")]
#[case::eval(
    "persistent_timeout 20\ninstance_eval(File.read('x'))",
    "? 2: instance_eval may set persistent_timeout"
)]
#[case::load("load 'config/puma/production.rb'", "? 1: load may set persistent_timeout")]
#[case::load_of_a_receiver("x = YAML.load('a: 1')\npersistent_timeout 20", "20 at 2")]
#[case::require_relative("require_relative 'x'", "? 1: require_relative may set persistent_timeout")]
#[case::require_path("require './config/x'", "? 1: a file of the app is read")]
#[case::require_computed("require File.expand_path('x')", "? 1: a file of the app is read")]
#[case::require("require 'barnes'\npersistent_timeout 20", "20 at 2")]
#[case::plugin("plugin :heroku", "? 1: this plugin is not known")]
#[case::not_closed("persistent_timeout 20\nif x", "? 2: a block or bracket is not closed")]
#[case::end_too_many("persistent_timeout 20\nend", "? 2: end closes nothing")]
#[case::string_not_closed("persistent_timeout 20\nx = 'a", "? 2: a string is not closed")]
#[case::code_in_a_string(
    "persistent_timeout 20\nx = \"#{y = 1}\"",
    "? 2: a string contains code, which is not evaluated"
)]
fn files(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(ask(text), expected);
}

#[test]
fn the_text_is_on_one_line() {
    let query = Query { key: "persistent_timeout", port: None };
    let text = "persistent_timeout ENV.fetch('X') { # why\n  20\n}";
    let Answer::Set(entry) = read(&VARIABLES, "/puma.rb", text, query) else { panic!() };
    assert_eq!(entry.text, "persistent_timeout ENV.fetch('X') { 20 }");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(persistent_timeout|if|do|end|ENV|fetch|%w|<<|#\\{|[ =:;#'\"(){}/?\\\\\n]|\\PC){0,60}") {
        ask(&text);
    }
}
