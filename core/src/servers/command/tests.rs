use rstest::rstest;
use serde_json::json;

use super::*;
use crate::workload::{context::Context, environment::MAX_EXPANSION};

/// The command line as we would print it; an error starts with `!`, what is not known is `?`.
fn run(command: &[&str], env: &serde_json::Value) -> String {
    let text = json!({ "command": command, "env": env }).to_string();
    let container: Container<'_> = serde_json::from_str(&text).unwrap();
    let environment = Environment::read(&container, "", &Context::default(), MAX_EXPANSION);
    match launch(&container, environment) {
        Err(why) => format!("! {why}"),
        Ok(launch) => {
            let show = |word: &Word| match word.known() {
                Ok(text) if text.is_empty() || text.contains(' ') => format!("<{text}>"),
                Ok(text) => text.to_owned(),
                Err(_) => format!("{}?", word.prefix()),
            };
            launch.words.iter().map(show).collect::<Vec<_>>().join(" ")
        }
    }
}

#[rstest]
#[case::plain(&["uvicorn", "app:app"], "uvicorn app:app")]
#[case::nothing(&[], "")]
#[case::sh(&["sh", "-c", "uvicorn app:app"], "uvicorn app:app")]
#[case::login_shell(&["bash", "-lc", "uvicorn app:app"], "uvicorn app:app")]
#[case::strict_shell(&["/bin/ash", "-ec", "uvicorn app:app"], "uvicorn app:app")]
#[case::pipefail(&["bash", "-euo", "pipefail", "-c", "uvicorn app:app"], "uvicorn app:app")]
#[case::shell_in_shell(&["sh", "-c", "exec bash -c 'exec uvicorn app:app'"], "uvicorn app:app")]
#[case::exec(&["exec", "-a", "web", "uvicorn"], "uvicorn")]
#[case::env(&["env", "-u", "X", "A=1", "uvicorn"], "uvicorn")]
#[case::tini(&["/sbin/tini", "-g", "--", "uvicorn", "--reload"], "uvicorn --reload")]
#[case::dumb_init(&["dumb-init", "--rewrite", "15:3", "uvicorn"], "uvicorn")]
#[case::su_exec(&["su-exec", "app:app", "uvicorn"], "uvicorn")]
#[case::gosu(&["gosu", "app", "tini", "--", "uvicorn"], "uvicorn")]
#[case::nice(&["nice", "-n", "5", "uvicorn"], "uvicorn")]
#[case::timeout(&["timeout", "-s", "KILL", "1h", "uvicorn"], "uvicorn")]
#[case::ddtrace(&["ddtrace-run", "uvicorn"], "uvicorn")]
#[case::newrelic(&["newrelic-admin", "run-program", "uvicorn"], "uvicorn")]
#[case::opentelemetry(&["opentelemetry-instrument", "--traces_exporter", "otlp", "uvicorn"], "uvicorn")]
#[case::poetry(&["poetry", "run", "uvicorn"], "uvicorn")]
#[case::uv(&["uv", "run", "--frozen", "--with", "x", "uvicorn"], "uvicorn")]
#[case::bundle(&["bundle", "exec", "puma"], "puma")]
#[case::npx(&["npx", "--yes", "next", "start"], "next start")]
#[case::entrypoint(&["docker-entrypoint.sh", "nginx", "-g", "daemon off;"], "nginx -g <daemon off;>")]
#[case::npm_start_stays(&["npm", "start"], "npm start")]
#[case::poetry_install_stays(&["poetry", "install"], "poetry install")]
#[case::wrapper_of_nothing(&["tini", "--"], "! tini has no command to run")]
#[case::script_file(&["sh", "/app/start.sh"], "! the script start.sh is in the image and cannot be read")]
#[case::shell_alone(&["bash"], "! a shell runs, but the program that it starts is not known")]
fn wrappers(#[case] command: &[&str], #[case] words: &str) {
    assert_eq!(run(command, &json!([])), words);
}

#[rstest]
#[case::and("migrate && exec uvicorn app:app", "uvicorn app:app")]
#[case::semicolon("migrate; uvicorn app:app;", "uvicorn app:app")]
#[case::lines("set -e\nmigrate # once\nuvicorn \\\n  app:app\n", "uvicorn app:app")]
#[case::background("watch & uvicorn app:app", "uvicorn app:app")]
#[case::exec_ends("exec uvicorn app:app; echo over", "uvicorn app:app")]
#[case::last_one_stays("uvicorn app:app; sleep 9", "sleep 9")]
#[case::earlier_or("migrate || true; exec uvicorn app:app", "uvicorn app:app")]
#[case::redirected("exec uvicorn app:app > /dev/stdout 2>&1", "uvicorn app:app")]
#[case::only_background("uvicorn app:app &", "! the shell script runs nothing in the foreground")]
#[case::empty("", "! the shell script runs nothing in the foreground")]
#[case::or("uvicorn app:app || sleep 9", "! the shell script has commands joined by ||")]
#[case::pipe("uvicorn app:app | tee log", "! the shell script has a pipe")]
#[case::condition("if true; then uvicorn; fi", "! the shell script has a loop or a condition")]
#[case::repeated("while true; do uvicorn; done", "! the shell script has a loop or a condition")]
#[case::waits("while ! nc -z db 5432; do sleep 1; done; exec uvicorn a:b", "uvicorn a:b")]
#[case::asks_first("if [ -z \"$X\" ]; then echo no; exit 1; fi\nuvicorn a:b", "uvicorn a:b")]
#[case::exec_in_a_condition(
    "if [ -n \"$X\" ]; then exec uvicorn; fi; gunicorn",
    "! the shell script may or may not reach an exec"
)]
#[case::nested("for f in a b; do if [ -f $f ]; then cat $f; fi; done; uvicorn", "uvicorn")]
#[case::loop_at_the_end(
    "uvicorn a:b; while true; do sleep 1; done",
    "! the shell script has a loop or a condition"
)]
#[case::piped_loop(
    "for f in a; do echo $f; done | sort; uvicorn",
    "! the shell script has a loop or a condition"
)]
#[case::case_of("case $X in a) uvicorn;; esac", "! the shell script has a subshell or a function")]
#[case::subshell("(uvicorn)", "! the shell script has a subshell or a function")]
#[case::function("f() { uvicorn; }; f", "! the shell script has a subshell or a function")]
#[case::here_document("cat <<E\nE", "! the shell script has a here-document")]
#[case::open_quote("uvicorn 'app", "! the shell script has a quote or bracket that is not closed")]
#[case::open_substitution("uvicorn $(app", "! the shell script has a quote or bracket that is not closed")]
#[case::single_quotes("run 'a $B \"c\"' d", "run <a $B \"c\"> d")]
#[case::double_quotes(r#"run "a \"b\" \x" "" c"#, r#"run <a "b" \x> <> c"#)]
#[case::backslash(r"run a\ b", "run <a b>")]
#[case::hash_in_word("run a#b", "run a#b")]
#[case::substitution("run --workers $(nproc)", "run --workers ?")]
#[case::backticks("run a`nproc`", "run a?")]
#[case::program_substituted("$(which uvicorn) app", "! the shell script has a command substitution")]
#[case::glob("run *.conf", "run ?")]
#[case::parameters("exec \"$@\"", "! the shell script uses $@")]
#[case::unset("run $NONE x", "run ? x")]
#[case::set("run --port $PORT", "run --port 8000")]
#[case::braces("run --port=${PORT}", "run --port=8000")]
#[case::fallback_unused("run ${PORT:-9000}", "run 8000")]
#[case::fallback_the_image_may_set("run ${OTHER:-9000}", "run ?")]
#[case::fallback_for_unset("unset PORT; run ${PORT:-9000}", "run 9000")]
#[case::fallback_for_empty("run ${EMPTY:-9000}", "run 9000")]
#[case::must_be_set("run ${PORT:?missing}", "run 8000")]
#[case::odd_expansion("run ${PORT%0}", "run ?")]
#[case::split("run $OPTIONS", "run --keep-alive 10")]
#[case::quoted_is_not_split("run \"$OPTIONS\"", "run <--keep-alive 10>")]
#[case::empty_vanishes("run $EMPTY x", "run x")]
#[case::assigned("PORT=1; run $PORT", "run 1")]
#[case::exported("export PORT=1 && run $PORT", "run 1")]
#[case::kubelet_expands_first("run $(PORT)", "run 8000")]
#[case::secret("run --port $TOKEN", "run --port ?")]
#[case::prefix("A=1 B=2 run", "run")]
fn scripts(#[case] script: &str, #[case] words: &str) {
    let env = json!([
        {"name": "PORT", "value": "8000"},
        {"name": "OPTIONS", "value": "--keep-alive 10"},
        {"name": "EMPTY", "value": ""},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]);
    assert_eq!(run(&["sh", "-c", script], &env), words);
}

#[rstest]
#[case::shell_prefix(&["sh", "-c", "KEEP=7 run"])]
#[case::shell_export(&["sh", "-c", "export KEEP=7; exec run"])]
#[case::env(&["env", "KEEP=7", "run"])]
fn variables_of_the_command_line_are_kept(#[case] command: &[&str]) {
    let text = json!({ "command": command }).to_string();
    let container: Container<'_> = serde_json::from_str(&text).unwrap();
    let environment = Environment::read(&container, "", &Context::default(), MAX_EXPANSION);
    let launch = launch(&container, environment).unwrap();
    assert_eq!(launch.environment.get("KEEP").unwrap().known(), Ok("7"));
}

proptest::proptest! {
    #[test]
    fn unwrapping_never_panics(words in proptest::collection::vec(".*", 0..4), script in ".*") {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&words, &json!([]));
        run(&["sh", "-c", &script], &json!([]));
    }

    #[test]
    fn unwrapping_scripts_never_panics(script in "[-a$(){}\"'\\\\;&|<>= \n`#:?]{0,24}") {
        run(&["sh", "-c", &script], &json!([{"name": "a", "value": "b c"}]));
    }
}
