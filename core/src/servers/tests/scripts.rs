//! Tests ambiguous scripts and flags: there is never a number that the spec does not determine.

use rstest::rstest;
use serde_json::{Value, json};

use super::{CART, env, run, say};

const UVICORN_ENV: &str = "uvicorn unknown: UVICORN_TIMEOUT_KEEP_ALIVE may be set by";

#[rstest]
#[case::dot(". /vault/secrets/config && exec uvicorn a:b", "a file that the shell script reads")]
#[case::source("source x && uvicorn a:b", "a file that the shell script reads")]
#[case::dot_env("set -a; . ./.env; set +a; exec uvicorn a:b", "a file that the shell script reads")]
#[case::dot_if_there("[ -f .env ] && . ./.env; exec uvicorn a:b", "a file that the shell script reads")]
#[case::dot_as_a_command("command . ./.env; exec uvicorn a:b", "a file that the shell script reads")]
#[case::export(
    "export $(cat f | xargs) && exec uvicorn a:b",
    "an export of the shell script that is not known"
)]
#[case::declare("declare -x $(cat f) && exec uvicorn a:b", "an export of the shell script that is not known")]
#[case::eval("eval $(cat f); exec uvicorn a:b", "an eval in the shell script")]
#[case::command_unseen("$(cat f); exec uvicorn a:b", "a command of the shell script that is not known")]
#[case::uv("uv run --env-file .env uvicorn a:b", "the file of --env-file")]
#[case::uv_glued("uv run --env-file=.env -- uvicorn a:b", "the file of --env-file")]
fn a_script_may_set_any_variable(#[case] script: &str, #[case] by: &str) {
    assert_eq!(run(CART, &format!("sh -c '{script}'")), format!("{UVICORN_ENV} {by}"));
}

#[rstest]
#[case::activate(". .venv/bin/activate && exec uvicorn a:b", "uvicorn 5s")]
#[case::flag_beats_source(". ./x; exec uvicorn a:b --timeout-keep-alive 9", "uvicorn 9s")]
#[case::set_behind_source(". ./x; export UVICORN_TIMEOUT_KEEP_ALIVE=9; exec uvicorn a:b", "uvicorn 9s")]
#[case::source_before_fallback(
    ". ./x; exec uvicorn a:b --timeout-keep-alive ${KA:-7}",
    "uvicorn unknown: KA may be set by a file that the shell script reads"
)]
#[case::read_before_fallback(
    "read KA < /x; exec uvicorn a:b --timeout-keep-alive ${KA:-7}",
    "uvicorn unknown: KA is read by the shell script"
)]
#[case::fallback(
    "exec uvicorn a:b --timeout-keep-alive ${KA:-7}",
    "uvicorn unknown: the pod does not set $KA, and its image may"
)]
#[case::fallback_that_assigns(
    ": ${UVICORN_TIMEOUT_KEEP_ALIVE:=9}; export UVICORN_TIMEOUT_KEEP_ALIVE; exec uvicorn a:b",
    "uvicorn unknown: the shell script sets UVICORN_TIMEOUT_KEEP_ALIVE if it is empty"
)]
#[case::fallback_of_unset("unset KA; exec uvicorn a:b --timeout-keep-alive ${KA:-7}", "uvicorn 7s")]
#[case::fallback_of_empty("KA=; exec uvicorn a:b --timeout-keep-alive ${KA:-7}", "uvicorn 7s")]
#[case::no_fallback_of_empty(
    "KA=; exec uvicorn a:b --timeout-keep-alive \"${KA-7}\"",
    "uvicorn unknown: uvicorn cannot parse --timeout-keep-alive  as seconds"
)]
#[case::fallback_without_colon("unset KA; exec uvicorn a:b --timeout-keep-alive ${KA-7}", "uvicorn 7s")]
#[case::empty_stays(
    "export UVICORN_TIMEOUT_KEEP_ALIVE=; : ${UVICORN_TIMEOUT_KEEP_ALIVE=9}; exec uvicorn a:b",
    "uvicorn 5s"
)]
#[case::empty_is_set(
    "export UVICORN_TIMEOUT_KEEP_ALIVE=; : ${UVICORN_TIMEOUT_KEEP_ALIVE:=9}; exec uvicorn a:b",
    "uvicorn unknown: the shell script sets UVICORN_TIMEOUT_KEEP_ALIVE if it is empty"
)]
#[case::alternative(
    "KA=; exec uvicorn a:b --timeout-keep-alive ${KA+7}",
    "uvicorn unknown: the shell script uses ${KA+7}"
)]
#[case::reckoned(
    "KA=7; let KA=KA+1; exec uvicorn a:b --timeout-keep-alive $KA",
    "uvicorn unknown: KA is reckoned by the shell script"
)]
#[case::reckoned_in_quotes(
    "KA=7; let \"KA += 1\" X=2; exec uvicorn a:b --timeout-keep-alive $KA",
    "uvicorn unknown: KA is reckoned by the shell script"
)]
#[case::separator(
    "OPTS=--timeout-keep-alive,9; IFS=,; exec uvicorn a:b $OPTS",
    "uvicorn unknown: the shell script sets IFS, which changes how words are split"
)]
#[case::separator_of_quoted("IFS=,; KA=9; exec uvicorn a:b --timeout-keep-alive \"$KA\"", "uvicorn 9s")]
#[case::separator_of_one_command(
    "KA=9; IFS= read -r LINE; exec uvicorn a:b --timeout-keep-alive $KA",
    "uvicorn 9s"
)]
#[case::appended("KA=1; KA+=5; exec uvicorn a:b --timeout-keep-alive $KA", "uvicorn 15s")]
// Conditions.
#[case::exec_on_condition(
    "[ -f /flags/dev ] && exec uvicorn a:b --reload; exec gunicorn a:b -k gevent --keep-alive 75",
    "- unknown: the shell script may or may not reach an exec"
)]
#[case::exec_otherwise(
    "[ -f x ] || exec uvicorn a:b; exec gunicorn a:b",
    "- unknown: the shell script may or may not reach an exec"
)]
#[case::server_on_condition(
    "[ \"$MODE\" = dev ] && uvicorn a:b --timeout-keep-alive 70; uvicorn a:b",
    "- unknown: the shell script may or may not reach the command that starts a server"
)]
#[case::server_on_condition_before_another(
    "test \"$MODE\" = dev && uvicorn a:b --reload\ngunicorn -k gthread a:b --keep-alive 9",
    "- unknown: the shell script may or may not reach the command that starts a server"
)]
#[case::server_otherwise(
    "[ -f x ] || poetry run uvicorn a:b; gunicorn -k gevent a:b",
    "- unknown: the shell script may or may not reach the command that starts a server"
)]
#[case::server_before_more(
    "[ -f x ] && python -m uvicorn a:b && echo over; gunicorn -k gevent a:b",
    "- unknown: the shell script may or may not reach the command that starts a server"
)]
#[case::server_on_condition_last("prepare; [ -f x ] && uvicorn a:b; exit 0", "uvicorn 5s")]
#[case::migrate_on_condition(
    "[ -n \"$X\" ] && python manage.py migrate; exec gunicorn -k gevent a:b",
    "gunicorn 2s"
)]
#[case::anything_on_condition("cd /app && pip install -r r.txt; exec uvicorn a:b", "uvicorn 5s")]
#[case::exec_on_condition_last("set -e; prepare && exec uvicorn a:b", "uvicorn 5s")]
#[case::exec_on_condition_then_nothing("prepare && exec uvicorn a:b && echo over; ", "uvicorn 5s")]
#[case::exit_on_condition("prepare || exit 1; exec uvicorn a:b", "uvicorn 5s")]
#[case::exit("uvicorn a:b; exit 0; echo over", "uvicorn 5s")]
#[case::export_on_condition(
    "[ -f x ] && export UVICORN_TIMEOUT_KEEP_ALIVE=10; exec uvicorn a:b",
    "uvicorn unknown: the shell script sets UVICORN_TIMEOUT_KEEP_ALIVE only if another command succeeds or fails"
)]
#[case::export_otherwise(
    "[ -n \"$Y\" ] || export UVICORN_TIMEOUT_KEEP_ALIVE=10; exec uvicorn a:b",
    "uvicorn unknown: the shell script sets UVICORN_TIMEOUT_KEEP_ALIVE only if another command succeeds or fails"
)]
#[case::export_in_the_same_list(
    "prepare && export UVICORN_TIMEOUT_KEEP_ALIVE=10 && exec uvicorn a:b",
    "uvicorn 10s"
)]
#[case::export_always("A=1 && export UVICORN_TIMEOUT_KEEP_ALIVE=10; exec uvicorn a:b", "uvicorn 10s")]
// Who sees a variable.
#[case::not_exported("UVICORN_TIMEOUT_KEEP_ALIVE=9; exec uvicorn a:b", "uvicorn 5s")]
#[case::exported_later(
    "UVICORN_TIMEOUT_KEEP_ALIVE=9; export UVICORN_TIMEOUT_KEEP_ALIVE; uvicorn a:b",
    "uvicorn 9s"
)]
#[case::exported_before(
    "export UVICORN_TIMEOUT_KEEP_ALIVE; UVICORN_TIMEOUT_KEEP_ALIVE=9; uvicorn a:b",
    "uvicorn 9s"
)]
#[case::exported_in_quotes("export \"UVICORN_TIMEOUT_KEEP_ALIVE=9\"; uvicorn a:b", "uvicorn 9s")]
#[case::all_exported("set -a; UVICORN_TIMEOUT_KEEP_ALIVE=9; uvicorn a:b", "uvicorn 9s")]
#[case::all_exported_by_name("set -eo allexport; UVICORN_TIMEOUT_KEEP_ALIVE=9; uvicorn a:b", "uvicorn 9s")]
#[case::all_exported_no_more("set -a; set +a; UVICORN_TIMEOUT_KEEP_ALIVE=9; uvicorn a:b", "uvicorn 5s")]
// Servers with a configuration in a file keep their default only behind commands that write none.
#[case::migrate("python manage.py migrate && exec gunicorn a:b", "gunicorn each response")]
#[case::anything_before_uvicorn("cp a b && exec uvicorn a:b", "uvicorn 5s")]
#[case::copy(
    "cp /cfg/gunicorn.conf.py . && exec gunicorn a:b",
    "gunicorn unknown: the shell script runs cp, which may write a file that sets it"
)]
#[case::copy_below_flags("cp a . && exec gunicorn a:b -k gevent --keep-alive 9", "gunicorn 9s")]
fn scripts(#[case] script: &str, #[case] said: &str) {
    let container = json!({"image": CART, "command": ["sh", "-c", script]});
    assert_eq!(say(&container), said);
}

#[rstest]
#[case::template(
    "nginx",
    "envsubst < /tmpl/t > /etc/nginx/conf.d/default.conf && exec nginx -g \"daemon off;\"",
    "nginx unknown: the shell script writes a file that may set it"
)]
#[case::copy(
    "nginx",
    "cp /x /etc/nginx/nginx.conf; exec nginx",
    "nginx unknown: the shell script runs cp, which may write a file that sets it"
)]
#[case::edit(
    "nginx",
    "sed -i s/65/5/ /etc/nginx/nginx.conf && nginx",
    "nginx unknown: the shell script runs sed, which may write a file that sets it"
)]
#[case::beside(
    "nginx",
    "confd -watch & exec nginx",
    "nginx unknown: the shell script runs confd, which may write a file that sets it"
)]
#[case::inner_shell(
    "nginx",
    "sh -c \"cp a b\" && exec nginx",
    "nginx unknown: the shell script runs sh, which may write a file that sets it"
)]
#[case::append(
    "httpd:2.4",
    "echo \"KeepAliveTimeout 75\" >> conf/httpd.conf && httpd-foreground",
    "apache-httpd unknown: the shell script writes a file that may set it"
)]
#[case::truncate(
    "httpd:2.4",
    "> conf/httpd.conf; httpd-foreground",
    "apache-httpd unknown: the shell script writes a file that may set it"
)]
#[case::tomcat(
    "tomcat:10.1",
    "cp /cfg/server.xml conf/ && exec catalina.sh run",
    "tomcat unknown: the shell script runs cp, which may write a file that sets it"
)]
#[case::harmless(
    "nginx",
    "set -e; cd /; echo start >&2; sleep 5 > /dev/null; exec nginx > /var/log/x 2>&1",
    "nginx 65s"
)]
fn scripts_of_images(#[case] image: &str, #[case] script: &str, #[case] said: &str) {
    assert_eq!(say(&json!({"image": image, "command": ["sh", "-c", script]})), said);
}

#[rstest]
#[case::wait("wait-for-it.sh db:5432 -t 60")]
#[case::port("nc -z db 5432")]
#[case::database("pg_isready -h db")]
#[case::request("curl -fsS --retry 5 http://db:8080/health")]
#[case::request_of_a_variable("curl -fsS http://$DB:8080/health")]
#[case::wget("wget -qO- http://db:8080/health")]
#[case::probe("wget --spider http://db:8080/health")]
#[case::files("rm -f /tmp/x.pid && touch /tmp/ready")]
#[case::environment("env")]
#[case::environment_sorted("env FOO=bar grep FOO /etc/hosts")]
#[case::version("python3 --version && pip list")]
#[case::python("python3.11 manage.py migrate")]
#[case::poetry("poetry run python manage.py migrate")]
#[case::uv("uv run manage.py migrate")]
#[case::django("python -m django migrate")]
#[case::django_admin("django-admin migrate")]
#[case::alembic("poetry run alembic upgrade head")]
#[case::alembic_module("python -m alembic upgrade head")]
#[case::flask("flask --app x db upgrade")]
#[case::flask_module("python -m flask db upgrade")]
#[case::rails("bundle exec rails db:migrate")]
#[case::artisan("php artisan migrate --force")]
#[case::timed("timeout 30 nc -z db 5432")]
#[case::config_test("nginx -t")]
#[case::condition("[ -n \"$X\" ] && nginx -t; true")]
#[case::redirect("exec 2> /dev/null")]
fn harmless(#[case] before: &str) {
    let command = ["sh", "-c", &format!("{before} && exec nginx")];
    assert_eq!(say(&json!({"image": "nginx", "command": command})), "nginx 65s");
}

#[rstest]
#[case::download("curl -o /etc/nginx/nginx.conf http://x", "curl")]
#[case::download_among_others("curl -fsSLo /etc/nginx/nginx.conf http://x", "curl")]
#[case::download_by_name("curl -O http://x/nginx.conf", "curl")]
#[case::download_at_length("curl --output=/etc/nginx/nginx.conf http://x", "curl")]
#[case::download_unseen("curl $ARGS", "curl")]
#[case::wget("wget http://x/nginx.conf", "wget")]
#[case::wget_elsewhere("wget -qO /etc/nginx/nginx.conf http://x", "wget")]
#[case::waits_and_runs("wait-for-it.sh db:5432 -- cp a b", "wait-for-it.sh")]
#[case::timed("timeout 30 cp a b", "timeout")]
#[case::environment("env A=b cp a b", "env")]
#[case::python("python3.11 setup.py", "python3.11")]
#[case::flask("flask --app x configure", "flask")]
fn may_write(#[case] before: &str, #[case] program: &str) {
    let command = ["sh", "-c", &format!("{before}; exec nginx")];
    let why = format!("nginx unknown: the shell script runs {program}, which may write a file that sets it");
    assert_eq!(say(&json!({"image": "nginx", "command": command})), why);
}

#[rstest]
#[case::behind_a_switch("uvicorn a:b --proxy-headers $OPTS", "uvicorn unknown: the pod does not set $OPTS")]
#[case::behind_a_switch_of_gunicorn(
    "gunicorn a:b -k gevent --preload $OPTS",
    "gunicorn unknown: the pod does not set $OPTS"
)]
#[case::cut_flag("uvicorn a:b --timeout-$OPTS 9", "uvicorn unknown: the pod does not set $OPTS")]
#[case::value("uvicorn a:b --host 0.0.0.0 --port $PORT", "uvicorn 5s")]
#[case::value_with_fallback("uvicorn a:b --workers ${N:-4} --log-level=$LEVEL", "uvicorn 5s")]
#[case::behind_a_value("uvicorn a:b --port $PORT $OPTS", "uvicorn unknown: the pod does not set $OPTS")]
#[case::argument_of_jetty("java -jar start.jar $OPTS", "jetty unknown: the pod does not set $OPTS")]
#[case::property("java -D$OPTS -jar start.jar", "jetty unknown: the pod does not set $OPTS")]
#[case::other_option_of_java("java -Xmx$MEM -jar start.jar", "jetty 30s")]
fn unknown_words(#[case] script: &str, #[case] said: &str) {
    assert_eq!(say(&json!({"image": CART, "command": ["sh", "-c", script]})), said);
}

fn from_secret(name: &str) -> Value {
    json!([{"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
}

#[rstest]
#[case::prometheus(
    json!({"image": "prom/prometheus", "args": ["--web.enable-lifecycle", "$(X)"], "env": from_secret("X")}),
    "prometheus unknown: X comes from Secret s")]
#[case::unknown_before_another_entrypoint(
    json!({"image": "traefik", "args": ["--ping", "$(X)", "--entryPoints.b.transport.respondingTimeouts.idleTimeout=3s"],
        "env": from_secret("X")}),
    "traefik unknown: X comes from Secret s")]
#[case::unread_entrypoint(
    json!({"image": "traefik", "envFrom": [{"secretRef": {"name": "s"}}],
        "env": env(&[("TRAEFIK_ENTRYPOINTS_A_TRANSPORT_RESPONDINGTIMEOUTS_IDLETIMEOUT", "3s")])}),
    "traefik unknown: the ports of traefik have different idle timeouts")]
#[case::spring(
    json!({"image": CART, "command": ["sh", "-c", "java -jar a.jar --debug $ARGS"], "env": env(&[("SERVER_TOMCAT_A", "x")])}),
    "spring-boot-tomcat unknown: the pod does not set $ARGS")]
#[case::next_env_file(
    json!({"image": "node:20.11", "command": ["node", "--env-file=.env", "server.js"], "env": env(&[("NEXT_X", "x")])}),
    "nextjs unknown: KEEP_ALIVE_TIMEOUT may be set by the file of --env-file")]
#[case::env_cleared(
    json!({"image": CART, "command": ["env", "-i", "uvicorn", "a:b"], "envFrom": [{"secretRef": {"name": "s"}}]}),
    "uvicorn 5s")]
#[case::env_cleared_and_set(
    json!({"image": CART, "command": ["env", "-i", "UVICORN_TIMEOUT_KEEP_ALIVE=8", "uvicorn", "a:b"],
        "env": env(&[("UVICORN_TIMEOUT_KEEP_ALIVE", "9")])}),
    "uvicorn 8s")]
#[case::env_unsets(
    json!({"image": CART, "command": ["env", "-u", "UVICORN_TIMEOUT_KEEP_ALIVE", "uvicorn", "a:b"],
        "env": env(&[("UVICORN_TIMEOUT_KEEP_ALIVE", "9")])}),
    "uvicorn 5s")]
#[case::env_splits(
    json!({"image": CART, "command": ["env", "-S", "uvicorn a:b"]}), "- unknown: env is not a server in the catalog")]
#[case::script_unsets(
    json!({"image": CART, "command": ["sh", "-c", "unset UVICORN_TIMEOUT_KEEP_ALIVE; exec uvicorn a:b"],
        "envFrom": [{"secretRef": {"name": "s"}}]}),
    "uvicorn 5s")]
#[case::script_sets_what_is_exported(
    json!({"image": CART, "command": ["sh", "-c", "UVICORN_TIMEOUT_KEEP_ALIVE=8; exec uvicorn a:b"],
        "env": env(&[("UVICORN_TIMEOUT_KEEP_ALIVE", "9")])}),
    "uvicorn 8s")]
#[case::script_sets_what_may_be_exported(
    json!({"image": CART, "command": ["sh", "-c", "UVICORN_TIMEOUT_KEEP_ALIVE=8; exec uvicorn a:b"],
        "envFrom": [{"secretRef": {"name": "s"}}]}),
    "uvicorn unknown: UVICORN_TIMEOUT_KEEP_ALIVE may be set by Secret s")]
#[case::clustered(json!({"image": CART, "command": ["gunicorn", "-Rkgevent", "a:b"]}), "gunicorn 2s")]
#[case::clustered_file(
    json!({"image": CART, "command": ["gunicorn", "-k", "gevent", "-Rc", "conf.py", "a:b"]}),
    "gunicorn unknown: -Rc conf.py: a file of the image may set the idle timeout")]
#[case::no_threads(json!({"image": CART, "command": ["gunicorn", "--threads", "0", "a:b"]}), "gunicorn each response")]
fn containers(#[case] container: Value, #[case] said: &str) {
    assert_eq!(say(&container), said);
}

#[rstest]
#[case::line_break("9\n", "UVICORN_TIMEOUT_KEEP_ALIVE=9 at /spec/template/spec/containers/0/env/0")]
#[case::escape("9\u{1b}[1m", "unknown")]
fn evidence_is_one_printable_line(#[case] value: &str, #[case] text: &str) {
    let container =
        json!({"image": CART, "command": ["uvicorn"], "env": env(&[("UVICORN_TIMEOUT_KEEP_ALIVE", value)])});
    let (said, evidence) = super::told(super::Catalog::builtin(), &container);
    assert_eq!(evidence.map_or_else(|| "unknown".to_owned(), |evidence| evidence.to_string()), text);
    assert!(!said.contains(char::is_control), "{said:?}");
}
