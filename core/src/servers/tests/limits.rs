//! Tests expensive pods: the answer is an error about the limit, and is returned at once.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use super::{CART, say};
use crate::{
    servers::{Catalog, cases, command},
    workload::{
        context::Context,
        environment::{Environment, MAX_EXPANSION},
        pod::Container,
        word::MAX_LEN,
    },
};

/// A0 is ten bytes, and each further one twice the one before: A39 would have 5 TB.
fn doubling(first: &Value) -> Vec<Value> {
    let doubled = |n: usize| json!({"name": format!("A{n}"), "value": format!("$(A{0})$(A{0})", n - 1)});
    std::iter::once(first.clone()).chain((1..40).map(doubled)).collect()
}

fn ten_bytes() -> Value {
    json!({"name": "A0", "value": "xxxxxxxxxx"})
}

fn ten_unknowns() -> Value {
    json!({"name": "A0", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
}

fn flags(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("--entryPoints.e{n}.transport.respondingTimeouts.idleTimeout=30s")).collect()
}

const WORD: &str = "an argument is too long to start a program with";
const LINE: &str = "- unknown: the command line is too long to parse";

#[rstest]
#[case::doubled(
    json!({"command": ["uvicorn", "--timeout-keep-alive", "$(A39)"], "env": doubling(&ten_bytes())}),
    &format!("uvicorn unknown: {WORD}"))]
#[case::doubled_unknown(
    json!({"command": ["uvicorn", "--timeout-keep-alive", "$(A39)"], "env": doubling(&ten_unknowns())}),
    &format!("uvicorn unknown: {WORD}"))]
#[case::doubled_in_a_script(
    json!({"command": ["sh", "-c", format!("A=xxxxxxxxxx;{} exec uvicorn $A", "A=$A$A;".repeat(40))]}),
    &format!("uvicorn unknown: {WORD}"))]
#[case::doubled_unknown_in_a_script(
    json!({"command": ["sh", "-c", format!("A=$(x);{} exec uvicorn $A", "A=$A$A;".repeat(40))]}),
    &format!("uvicorn unknown: {WORD}"))]
#[case::repeated_in_args(
    json!({"command": vec!["$(A)$(A)"; 100_000], "env": [{"name": "A", "value": "x".repeat(MAX_LEN / 2)}]}), LINE)]
#[case::repeated_in_env(
    json!({"command": ["uvicorn"], "env": std::iter::once(json!({"name": "A", "value": "x".repeat(MAX_LEN / 2)}))
        .chain((0..50_000).map(|n| json!({"name": format!("B{n}"), "value": "$(A)$(A)"}))).collect::<Vec<_>>()}),
    LINE)]
#[case::repeated_in_a_script(
    json!({"command": ["sh", "-c", "x $A$A;".repeat(10_000)], "env": [{"name": "A", "value": "x ".repeat(MAX_LEN / 4)}]}),
    LINE)]
#[case::brackets_that_do_not_close(json!({"command": ["uvicorn", "$(".repeat(3_000_000)]}), &format!("uvicorn unknown: {WORD}"))]
#[case::brackets_in_each_word(json!({"command": vec!["$(".repeat(MAX_LEN / 2); 50]}), LINE)]
#[case::flags(json!({"image": "traefik:v3", "args": flags(60_000)}), LINE)]
#[case::fewer_flags(json!({"image": "traefik:v3", "args": flags(8_000)}), "traefik unknown: the ports of traefik have different idle timeouts")]
#[case::many_args(json!({"command": vec!["a"; 1_000_000]}), LINE)]
#[case::sources(
    json!({"command": vec!["$(BBB)"; 50_000], "envFrom": (0..50_000)
        .map(|n| json!({"prefix": format!("P{n}_"), "secretRef": {"name": "s"}})).collect::<Vec<_>>()}),
    LINE)]
#[case::script(
    json!({"command": ["sh", "-c", format!("{} exec uvicorn", "echo a;".repeat(900_000))]}),
    &format!("- unknown: {WORD}"))]
#[case::script_of_short_words(
    json!({"command": ["sh", "-c", format!("exec uvicorn {}", "a ".repeat(MAX_LEN / 2 - 100))]}), LINE)]
#[case::sourced_again(
    json!({"command": ["sh", "-c", format!("{} exec uvicorn", ". x;".repeat(MAX_LEN / 4 - 100))],
        "env": (0..6_000).map(|n| json!({"name": format!("B{n}")})).collect::<Vec<_>>()}),
    LINE)]
fn are_not_followed(#[case] mut container: Value, #[case] said: &str) {
    if container["image"].is_null() {
        container["image"] = json!(CART);
    }
    let start = Instant::now();
    assert_eq!(say(&container), said);
    // A tenth of it when optimised; what was unlimited took minutes, or all memory.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[rstest]
#[case::doubled(json!({"env": doubling(&ten_bytes())}))]
#[case::doubled_unknown(json!({"env": doubling(&ten_unknowns())}))]
#[case::doubled_at_length(json!({"env": (0..60).flat_map(|_| doubling(&ten_bytes())).collect::<Vec<_>>()}))]
#[case::many(json!({"env": (0..100_000).map(|n| json!({"name": format!("B{n}")})).collect::<Vec<_>>()}))]
fn an_environment_takes_no_more_than_its_room(#[case] container: Value) {
    let text = container.to_string();
    let container: Container<'_> = serde_json::from_str(&text).unwrap();
    let environment = Environment::read(&container, "", &Context::default(), MAX_EXPANSION);
    let names = environment.names();
    let lengths = names.iter().map(|name| environment.get(name).unwrap().len());
    assert!(lengths.clone().all(|length| length <= MAX_LEN));
    assert!(lengths.sum::<usize>() <= MAX_EXPANSION);
    assert!(names.len() <= MAX_EXPANSION / 128);
}

/// Otherwise a body of thousands of containers would cost thousands of rooms.
#[rstest]
#[case::alone(0, "uvicorn 5s")]
#[case::beside_others(99, LINE)]
fn containers_share_the_room(#[case] others: usize, #[case] said: &str) {
    let variables: Vec<_> = (0..300).map(|n| json!({"name": format!("B{n}")})).collect();
    let container = json!({"image": CART, "command": ["uvicorn"], "env": variables});
    assert_eq!(super::say_beside(&container, others), said);
}

#[test]
fn an_environment_without_room_may_hold_anything() {
    let text = json!({"command": ["a"], "env": [{"name": "A", "value": "1"}]}).to_string();
    let container: Container<'_> = serde_json::from_str(&text).unwrap();
    let environment = Environment::read(&container, "", &Context::default(), 200);
    assert_eq!(environment.get("A").unwrap().known(), Ok("1"));
    let environment = Environment::read(&container, "", &Context::default(), 100);
    assert_eq!(environment.get("B").unwrap().known(), Err("B may be set by too much text to evaluate"));
    assert_eq!(
        command::launch(&container, environment).unwrap_err(),
        "the command line is too long to parse"
    );
}

/// Programs with configuration files: image, command line, path and key.
const CONFIGURED: [(&str, &str, &str, &str); 20] = [
    ("nginx:1.27", "", "/etc/nginx", "nginx.conf"),
    ("httpd:2.4", "", "/usr/local/apache2/conf", "httpd.conf"),
    ("haproxy:3.0", "", "/usr/local/etc/haproxy", "haproxy.cfg"),
    ("envoyproxy/envoy:v1.31.0", "", "/etc/envoy", "envoy.yaml"),
    ("traefik:v3.1", "", "/etc/traefik", "traefik.yml"),
    ("traefik:v3.1", "", "/etc/traefik", "traefik.toml"),
    ("caddy:2", "", "/etc/caddy", "Caddyfile"),
    ("caddy:2", "caddy run -c /c/c.json", "/c", "c.json"),
    ("tomcat:10.1", "", "/usr/local/tomcat/conf", "server.xml"),
    ("jetty:12", "", "/var/lib/jetty/start.d", "http.ini"),
    ("hashicorp/vault:1.17", "vault server -config=/c/v.hcl", "/c", "v.hcl"),
    ("grafana/grafana:11.0.0", "", "/etc/grafana", "grafana.ini"),
    ("grafana/loki:3.1.0", "loki -config.file=/c/l.yaml", "/c", "l.yaml"),
    (CART, "gunicorn -c /c/g.py a:b", "/c", "g.py"),
    (CART, "puma -C /c/puma.rb", "/c", "puma.rb"),
    (CART, "lighttpd -f /c/l.conf", "/c", "l.conf"),
    (CART, "uwsgi --ini /c/u.ini", "/c", "u.ini"),
    (CART, "java -Dconfig.file=/c/a.conf -cp x play.core.server.ProdServerStart", "/c", "a.conf"),
    (CART, "java -jar a.jar --server.tomcat.threads.max=1", "/app/config", "application.yaml"),
    (CART, "java -jar quarkus-run.jar", "/app/config", "application.properties"),
];

/// What texts are made of that parsers take for something.
const FRAGMENTS: [&str; 40] = [
    "a",
    "b: ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "</a>",
    "\"",
    "'",
    "\n",
    "\n\n",
    "  ",
    "\t",
    ";",
    ":",
    "=",
    ",",
    "#",
    "//",
    "&x ",
    "*x",
    "$",
    "${a:b}",
    "%prod.",
    "\\",
    "\0",
    "é",
    "server ",
    "http ",
    "listen 80",
    "include *",
    "timeout ",
    "0",
    "10s",
    "true",
];

/// More than fifty milliseconds are too long for a pod; without optimisation everything takes about ten times as long.
const MAX_MILLISECONDS: u128 = 500;

fn answered(case: &Value) -> u128 {
    let text = json!([case]).to_string();
    let cases = cases::parse(&text).unwrap();
    let start = Instant::now();
    let _ = cases[0].1.check(Catalog::builtin());
    start.elapsed().as_millis()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn any_configuration_is_answered_soon(
        which in 0..CONFIGURED.len(),
        fragments in proptest::collection::vec(proptest::sample::select(&FRAGMENTS[..]), 0..400),
    ) {
        let (image, command, path, key) = CONFIGURED[which];
        let case = json!({
            "name": "a/b", "image": image, "command": command, "mounts": {path: "c"}, "working_dir": "/app", "port": 80,
            "config_maps": {"c": {key: fragments.concat()}}, "expect": "x",
        });
        let took = answered(&case);
        proptest::prop_assert!(took < MAX_MILLISECONDS, "{took} ms");
    }

    #[test]
    fn any_command_line_is_answered_soon(
        which in 0..CONFIGURED.len(),
        words in proptest::collection::vec("[-a-zA-Z0-9=./:$(){}'\" ]{0,20}", 0..40),
        variables in proptest::collection::btree_map("[A-Z_]{1,20}", "[ -~]{0,40}", 0..20),
    ) {
        let (image, command, ..) = CONFIGURED[which];
        let mut line: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        line.extend(words);
        let case = json!({"name": "a/b", "image": image, "command": line, "env": variables, "port": 80, "expect": "x"});
        let took = answered(&case);
        proptest::prop_assert!(took < MAX_MILLISECONDS, "{took} ms");
    }
}
