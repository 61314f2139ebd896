//! Tests the results for containers.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

mod kinds;
mod limits;
mod scripts;
mod traps;

/// Words for what `judge` says of a container: `gunicorn 10s..11s`, `nginx 65s`, `- unknown: ...`.
fn say(container: &Value) -> String {
    say_beside(container, 0)
}

/// The same beside this many other containers.
fn say_beside(container: &Value, others: usize) -> String {
    let containers: Vec<_> = std::iter::once(container.clone()).chain(vec![json!({}); others]).collect();
    told_of(Catalog::builtin(), &json!(containers)).0
}

fn told(catalog: &Catalog, container: &Value) -> (String, Option<Evidence>) {
    told_of(catalog, &json!([container]))
}

fn told_of(catalog: &Catalog, containers: &Value) -> (String, Option<Evidence>) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}},
    });
    let text = object.to_string();
    let object = crate::workload::object::Object::read(&text).unwrap().unwrap();
    let mut context = Context::default();
    let data = [("SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT".to_owned(), "30s".to_owned())];
    context.config_maps.insert(("shop".to_owned(), "web".to_owned()), data.into());
    let detected = detected(catalog, &object.pod, &object.pod.containers[0], &[], "shop", &context);
    let server = detected.server.map_or("-", |server| &server.id);
    let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
    let idle = detected.general.idle;
    let evidence = idle.evidence().cloned();
    match idle {
        Idle::ClosesAfter(window, _) => {
            let Window { timeout, from, to } = window;
            let text = match timeout {
                Some(timeout) if (timeout, timeout) != (from, to) && timeout != from => {
                    format!("{} ({}..{})", seconds(timeout), seconds(from), seconds(to))
                }
                Some(_) | None if from == to => seconds(from),
                Some(_) | None => format!("{}..{}", seconds(from), seconds(to)),
            };
            (format!("{server} {text}"), evidence)
        }
        Idle::ClosesEachResponse(_) => (format!("{server} each response"), evidence),
        Idle::NeverCloses(_) => (format!("{server} never"), evidence),
        Idle::Unknown(why) => {
            assert!(why.0.chars().count() <= 200, "{why}");
            assert!(why.0.ends_with(HELP), "{why}");
            let fact = why.0.strip_suffix(HELP).unwrap().trim_end_matches("; ").to_owned();
            (format!("{server} unknown: {fact}"), None)
        }
    }
}

fn run(image: &str, line: &str) -> String {
    say(&json!({"image": image, "command": shlex::split(line).unwrap()}))
}

const CART: &str = "registry.example.com/shop/cart:3";

#[rstest]
// gunicorn
#[case::gunicorn_sync(CART, "gunicorn a:b", "gunicorn each response")]
#[case::gunicorn_sync_ignores_keep_alive(CART, "gunicorn --keep-alive 10 a:b", "gunicorn each response")]
#[case::gunicorn_gthread(
    CART,
    "gunicorn --worker-class gthread --threads 8 --keep-alive 10 a:b",
    "gunicorn 10s..11s"
)]
#[case::gunicorn_threads(CART, "gunicorn --threads=4 a:b", "gunicorn 2s..3s")]
#[case::gunicorn_one_thread(CART, "gunicorn --threads 1 a:b", "gunicorn each response")]
#[case::gunicorn_gevent(CART, "gunicorn -k gevent --keep-alive 10 a:b", "gunicorn 10s")]
#[case::gunicorn_attached(CART, "gunicorn -kgevent --keep-alive=10 a:b", "gunicorn 10s")]
#[case::gunicorn_abbreviated(CART, "gunicorn -k gevent --kee 10 a:b", "gunicorn 10s")]
#[case::gunicorn_last_counts(CART, "gunicorn -k gevent --keep-alive 10 --keep-alive 20 a:b", "gunicorn 20s")]
#[case::gunicorn_zero(CART, "gunicorn -k gevent --keep-alive 0 a:b", "gunicorn each response")]
#[case::gunicorn_odd(
    CART,
    "gunicorn -k gevent --keep-alive x a:b",
    "gunicorn unknown: gunicorn cannot parse --keep-alive x as seconds"
)]
#[case::gunicorn_no_value(
    CART,
    "gunicorn -k gevent --keep-alive",
    "gunicorn unknown: --keep-alive has no value"
)]
#[case::gunicorn_uvicorn_worker(CART, "gunicorn -k uvicorn.workers.UvicornWorker a:b", "gunicorn 2s")]
#[case::gunicorn_aiohttp(CART, "gunicorn -k aiohttp.GunicornWebWorker a:b", "gunicorn 2s")]
#[case::gunicorn_asgi(CART, "gunicorn -k asgi a:b", "gunicorn 2s..3s")]
#[case::gunicorn_tornado(CART, "gunicorn -k tornado --keep-alive 7 a:b", "gunicorn 3600s")]
#[case::gunicorn_tornado_off(CART, "gunicorn -k tornado --keep-alive 0 a:b", "gunicorn each response")]
#[case::gunicorn_gevent_wsgi(CART, "gunicorn -k gevent_wsgi --keep-alive 3 a:b", "gunicorn never")]
#[case::gunicorn_own_worker(
    CART,
    "gunicorn -k my.Worker a:b",
    "gunicorn unknown: it is not known what gunicorn does with -k my.Worker"
)]
#[case::gunicorn_file(
    CART,
    "gunicorn -c conf.py a:b",
    "gunicorn unknown: -c conf.py: a file of the image may set the idle timeout"
)]
#[case::gunicorn_file_below(CART, "gunicorn -c conf.py -k gevent --keep-alive 10 a:b", "gunicorn 10s")]
#[case::gunicorn_file_may_set(
    CART,
    "gunicorn -c conf.py -k gevent a:b",
    "gunicorn unknown: -c conf.py: a file of the image may set the idle timeout"
)]
#[case::gunicorn_options(
    CART,
    "sh -c 'exec gunicorn $OPTIONS a:b'",
    "gunicorn unknown: the pod does not set $OPTIONS"
)]
#[case::gunicorn_value_unknown(
    CART,
    "sh -c 'exec gunicorn --workers $(nproc) a:b'",
    "gunicorn each response"
)]
#[case::gunicorn_module(CART, "python3.12 -m gunicorn -k gevent a:b", "gunicorn 2s")]
#[case::gunicorn_script(CART, "python /usr/local/bin/gunicorn -k gevent a:b", "gunicorn 2s")]
#[case::gunicorn_in_nginx("nginx", "gunicorn -k gevent a:b", "gunicorn 2s")]
// uvicorn, fastapi, hypercorn
#[case::uvicorn(CART, "uvicorn a:b", "uvicorn 5s")]
#[case::uvicorn_flag(CART, "uvicorn a:b --timeout-keep-alive 75", "uvicorn 75s")]
#[case::uvicorn_zero(CART, "uvicorn a:b --timeout-keep-alive=0", "uvicorn each response")]
#[case::uvicorn_no_abbreviation(CART, "uvicorn a:b --timeout-keep 75", "uvicorn 5s")]
#[case::uvicorn_after_migration(
    CART,
    "sh -c 'python manage.py migrate && exec uvicorn catalog.main:app'",
    "uvicorn 5s"
)]
#[case::uvicorn_module(CART, "poetry run python -m uvicorn a:b", "uvicorn 5s")]
#[case::fastapi(CART, "fastapi run main.py", "fastapi-cli 5s")]
#[case::hypercorn(CART, "hypercorn --keep-alive 15 a:b", "hypercorn 15s")]
#[case::hypercorn_default(CART, "hypercorn a:b", "hypercorn 5s")]
#[case::hypercorn_file(
    CART,
    "hypercorn -c h.toml a:b",
    "hypercorn unknown: -c h.toml: a file of the image may set the idle timeout"
)]
// node
#[case::node("node:20.11-alpine", "node server.js", "node-http 5s")]
#[case::node_buffer("node:20.18.1", "node server.js", "node-http 6s")]
#[case::node_22("node:22.9", "node .", "node-http 6s")]
#[case::node_old("node:6", "node server.js", "node-http 120s")]
#[case::node_future(
    "node:30",
    "node server.js",
    "node-http unknown: the default of this release of node-http is not known"
)]
#[case::node_open("node:20", "node server.js", "node-http 5s..6s")]
#[case::node_alone(CART, "node server.js", "node-http 5s..6s")]
#[case::node_npm(
    "node:20.11",
    "npm run start:prod",
    "node-http unknown: npm run runs a script from package.json, which may set the idle timeout"
)]
#[case::node_npm_start(
    "node:20.11",
    "npm start",
    "node-http unknown: npm start runs a script from package.json, which may set the idle timeout"
)]
#[case::node_process_file(
    "node:20.11",
    "pm2-runtime ecosystem.config.js",
    "node-http unknown: the process file ecosystem.config.js may set the idle timeout"
)]
#[case::node_preload(
    "node:20.11",
    "node --require ./x.js server.js",
    "node-http unknown: --require ./x.js runs before the app and may set the idle timeout"
)]
#[case::node_own_flag(
    "node:20.11",
    "node server.js --keep-alive-timeout 65000",
    "node-http unknown: --keep-alive-timeout may set the idle timeout in an app-specific way"
)]
#[case::mirror("mirror.example.com/dockerhub/library/nginx:1.27", "", "nginx 65s")]
#[case::another_nginx("registry.example.com/team/nginx:1.27", "", "nginx 65s..75s")]
#[case::vllm("vllm/vllm-openai:v0.9.2", "vllm serve m", "vllm 5s")]
#[case::vllm_module(CART, "python3 -m vllm.entrypoints.openai.api_server --model m", "vllm 5s")]
#[case::conda(CART, "conda run -n web uvicorn a:b", "uvicorn 5s")]
#[case::node_loader("node:20.11", "node --require dd-trace/init server.js", "node-http 5s")]
#[case::node_eval("node:20.11", "node -e 0", "- unknown: node is not a server in the catalog")]
#[case::node_shell("node:20.11", "sh -c 'npx tsc && node dist/main'", "node-http 5s")]
#[case::next_start("node:20.11", "npx next start --keepAliveTimeout 70000", "nextjs 70s")]
#[case::next_start_buffer("node:22.9", "next start --keepAliveTimeout=70000", "nextjs 70s (71s..71s)")]
#[case::next_start_either(CART, "next start --keepAliveTimeout 70000", "nextjs 70s..71s")]
#[case::next_bin("node:20.11", "node node_modules/.bin/next start", "nextjs 5s")]
#[case::next_default(CART, "next start", "nextjs 5s..6s")]
// proxies
#[case::nginx("nginx:1.27.3-alpine", "", "nginx 65s")]
#[case::nginx_foreground("nginx", "nginx -g 'daemon off;'", "nginx 65s")]
#[case::nginx_entrypoint("nginx", "/docker-entrypoint.sh nginx -g 'daemon off;'", "nginx 65s")]
#[case::nginx_file(
    "nginx",
    "nginx -c /x.conf",
    "nginx unknown: -c /x.conf: a file of the image may set the idle timeout"
)]
#[case::nginx_elsewhere(CART, "nginx", "nginx 65s..75s")]
#[case::nginx_other("nginx", "/app/foo", "- unknown: foo is not a server in the catalog")]
#[case::httpd("httpd:2.4", "", "apache-httpd 5s")]
#[case::httpd_directive("httpd:2.4", "httpd -DFOREGROUND -c 'KeepAliveTimeout 15'", "apache-httpd 15s")]
#[case::httpd_other_directive("httpd:2.4", "httpd -DFOREGROUND -c 'KeepAlive On'", "apache-httpd 5s")]
#[case::httpd_php("php:8.3-apache", "", "apache-httpd 5s")]
#[case::httpd_not_fpm(
    "wordpress:6-fpm",
    "",
    "php-fpm unknown: PHP-FPM speaks FastCGI and no HTTP, so another server answers the probes"
)]
#[case::httpd_file(
    "httpd:2.4",
    "httpd -f x.conf",
    "apache-httpd unknown: -f x.conf: a file of the image may set the idle timeout"
)]
#[case::haproxy(
    "haproxy:3",
    "",
    "haproxy unknown: haproxy has no default: timeout http-keep-alive, http-request or client in haproxy.cfg sets it"
)]
#[case::envoy("envoyproxy/envoy:v1.31", "", "envoy 3600s")]
#[case::envoy_file(
    "envoyproxy/envoy:v1.31",
    "envoy -c /etc/e.yaml",
    "envoy unknown: -c /etc/e.yaml: a file of the image may set the idle timeout"
)]
#[case::traefik("traefik:v3.1", "traefik", "traefik 180s")]
#[case::traefik_flag(
    "traefik:v3.1",
    "traefik --entrypoints.a.transport.respondingtimeouts.idletimeout=42",
    "traefik unknown: the ports of traefik have different idle timeouts"
)]
#[case::traefik_zero(
    "traefik:v1.7",
    "traefik --respondingTimeouts.idleTimeout=0s",
    "traefik unknown: it is not known what traefik does with --respondingTimeouts.idleTimeout=0s"
)]
#[case::caddy("caddy:2.8", "", "caddy 300s")]
#[case::caddy_old("caddy:2.2", "", "caddy never")]
#[case::caddy_latest("caddy", "", "caddy 300s")]
#[case::caddy_major("caddy:2-alpine", "", "caddy 300s")]
#[case::caddy_files("caddy:2.8", "caddy file-server", "caddy 30s")]
#[case::caddy_proxy(CART, "caddy reverse-proxy --to :80", "caddy 300s")]
#[case::caddy_elsewhere(
    CART,
    "caddy run",
    "caddy unknown: caddy runs with the Caddyfile of an unknown image"
)]
// others
#[case::prometheus("prom/prometheus:v2.53.0", "", "prometheus 300s")]
#[case::prometheus_flag(
    "quay.io/prometheus/prometheus",
    "prometheus --web.read-timeout=1m30s",
    "prometheus 90s"
)]
#[case::prometheus_zero(
    "quay.io/prometheus/prometheus",
    "prometheus --web.read-timeout 0s",
    "prometheus never"
)]
#[case::exporter("quay.io/prometheus/node-exporter:v1.8", "", "prometheus-exporters never")]
#[case::exporter_hint(CART, "redis_exporter", "prometheus-exporters never")]
#[case::puma(CART, "bundle exec puma -p 80", "puma 20s..65s")]
#[case::puma_file(
    CART,
    "puma -C config/puma.rb",
    "puma unknown: -C config/puma.rb: a file of the image may set the idle timeout"
)]
#[case::tomcat("tomcat:10.1", "", "tomcat 20s..21s")]
#[case::tomcat_elsewhere(
    CART,
    "catalina.sh run",
    "tomcat unknown: tomcat runs with the server.xml of an unknown image"
)]
#[case::jetty("jetty:12", "", "jetty 30s")]
#[case::jetty_argument(CART, "java -jar /jetty/start.jar jetty.http.idleTimeout=60000", "jetty 60s")]
#[case::jetty_property(CART, "java -Djetty.http.idleTimeout=60000 -jar start.jar", "jetty 60s")]
#[case::jetty_zero(CART, "java -jar start.jar jetty.http.idleTimeout=0", "jetty never")]
#[case::quarkus(CART, "java -jar app/quarkus-run.jar", "quarkus 1800s")]
#[case::quarkus_property(CART, "java -Dquarkus.http.idle-timeout=45 -jar quarkus-run.jar", "quarkus 45s")]
#[case::kestrel("mcr.microsoft.com/dotnet/aspnet:8.0", "dotnet App.dll", "kestrel 130s..132s")]
#[case::kestrel_old("mcr.microsoft.com/dotnet/aspnet:5.0", "", "kestrel 120s..122s")]
#[case::kestrel_image("mcr.microsoft.com/dotnet/aspnet", "", "kestrel 130s..132s")]
#[case::kestrel_flag(
    "mcr.microsoft.com/dotnet/aspnet:8.0",
    "dotnet App.dll --Kestrel:Limits:KeepAliveTimeout=00:01:00",
    "kestrel unknown: --Kestrel:Limits:KeepAliveTimeout=00:01:00: Kestrel reads it only if the app binds that section"
)]
#[case::kestrel_alone(CART, "dotnet App.dll", "kestrel unknown: only the command suggests kestrel")]
#[case::spring_flag(
    CART,
    "java -jar a.jar --server.tomcat.keep-alive-timeout=20s",
    "spring-boot-tomcat 20s..21s"
)]
#[case::spring_property(
    CART,
    "java -Dserver.tomcat.keep-alive-timeout=20000 -jar a.jar",
    "spring-boot-tomcat 20s..21s"
)]
#[case::spring_fallback(
    CART,
    "java -jar a.jar --server.tomcat.connection-timeout=5s",
    "spring-boot-tomcat 5s..6s"
)]
#[case::spring_never(
    CART,
    "java -jar a.jar --server.tomcat.keep-alive-timeout=-1",
    "spring-boot-tomcat never"
)]
#[case::spring_jetty(
    CART,
    "java -cp x a.Main --server.jetty.connection-idle-timeout=PT20S",
    "spring-boot-jetty 20s"
)]
#[case::spring_undertow(
    CART,
    "java -jar a.jar --server.undertow.no-request-timeout=1m",
    "spring-boot-undertow 60s..60.05s"
)]
#[case::spring_netty(CART, "java -jar a.jar --server.netty.idle-timeout=1m", "spring-boot-netty 60s")]
#[case::java(CART, "java -jar app.jar", "- unknown: java is not a server in the catalog")]
#[case::report("python:3", "python -m report", "- unknown: python is not a server in the catalog")]
#[case::pipe(CART, "sh -c 'uvicorn a:b | tee x'", "- unknown: the shell script has a pipe")]
#[case::nothing(CART, "", "- unknown: image registry.example.com/shop/cart is not a server in the catalog")]
fn commands(#[case] image: &str, #[case] line: &str, #[case] said: &str) {
    assert_eq!(run(image, line), said);
}

fn env(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

#[rstest]
#[case::flag_beats_env("uvicorn a:b --timeout-keep-alive 9", &[("UVICORN_TIMEOUT_KEEP_ALIVE", "75")], "uvicorn 9s")]
#[case::env_beats_default("uvicorn a:b", &[("UVICORN_TIMEOUT_KEEP_ALIVE", "75")], "uvicorn 75s")]
#[case::empty_env_is_unset("uvicorn a:b", &[("UVICORN_TIMEOUT_KEEP_ALIVE", "")], "uvicorn 5s")]
#[case::shell_sets_env("sh -c 'UVICORN_TIMEOUT_KEEP_ALIVE=7 uvicorn a:b'", &[], "uvicorn 7s")]
#[case::fastapi_reads_no_env("fastapi run", &[("UVICORN_TIMEOUT_KEEP_ALIVE", "75")], "fastapi-cli 5s")]
#[case::not_the_cli("python main.py", &[("UVICORN_TIMEOUT_KEEP_ALIVE", "75")], "- unknown: python is not a server in the catalog")]
#[case::argument_env("gunicorn a:b", &[("GUNICORN_CMD_ARGS", "-k gevent --keep-alive '7'")], "gunicorn 7s")]
#[case::flag_beats_argument_env("gunicorn --keep-alive 9 a:b", &[("GUNICORN_CMD_ARGS", "-k gevent --keep-alive 7")], "gunicorn 9s")]
#[case::broken_argument_env("gunicorn a:b", &[("GUNICORN_CMD_ARGS", "-k 'x")], "gunicorn unknown: GUNICORN_CMD_ARGS has a quote that is not closed")]
#[case::kubelet("gunicorn -k gevent --keep-alive $(KEEP) a:b", &[("KEEP", "8")], "gunicorn 8s")]
#[case::spring_env("java -jar app.jar", &[("SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT", "20s")], "spring-boot-tomcat 20s..21s")]
#[case::spring_env_canonical("java -jar app.jar", &[("SERVER_TOMCAT_KEEPALIVETIMEOUT", "20000")], "spring-boot-tomcat 20s..21s")]
#[case::spring_default("java -jar app.jar", &[("SERVER_TOMCAT_THREADS_MAX", "9")], "spring-boot-tomcat 60s..61s")]
#[case::spring_netty_default("java -jar app.jar", &[("SERVER_NETTY_CONNECTION_TIMEOUT", "9s")], "spring-boot-netty never")]
#[case::spring_each("java -jar app.jar", &[("SERVER_TOMCAT_MAX_KEEP_ALIVE_REQUESTS", "1")], "spring-boot-tomcat each response")]
#[case::spring_requests("java -jar app.jar", &[("SERVER_TOMCAT_MAX_KEEP_ALIVE_REQUESTS", "100")], "spring-boot-tomcat 60s..61s")]
#[case::spring_flag_beats_env("java -jar a.jar --server.tomcat.keep-alive-timeout=9s", &[("SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT", "20s")], "spring-boot-tomcat 9s..10s")]
#[case::spring_property_of_the_jvm("java -jar app.jar", &[("JAVA_TOOL_OPTIONS", "-Xmx1g -Dserver.netty.idle-timeout=30s")], "spring-boot-netty 30s")]
#[case::spring_keep_alive_beats_connection("java -jar a.jar", &[("SERVER_TOMCAT_CONNECTION_TIMEOUT", "5s"), ("SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT", "20s")], "spring-boot-tomcat 20s..21s")]
#[case::spring_json_nested("java -jar a.jar", &[("SERVER_TOMCAT_BASEDIR", "x"), ("SPRING_APPLICATION_JSON", r#"{"server":{"tomcat":{"keep-alive-timeout":"7s"}}}"#)], "spring-boot-tomcat 7s..8s")]
#[case::spring_json_dotted("java -jar a.jar", &[("SERVER_TOMCAT_BASEDIR", "x"), ("SPRING_APPLICATION_JSON", r#"{"server.tomcat":{"keep-alive-timeout":7000}}"#)], "spring-boot-tomcat 7s..8s")]
#[case::spring_json_broken("java -jar a.jar", &[("SERVER_TOMCAT_BASEDIR", "x"), ("SPRING_APPLICATION_JSON", "{")], "spring-boot-tomcat unknown: SPRING_APPLICATION_JSON is not JSON")]
#[case::spring_java_options("java -jar a.jar", &[("SERVER_TOMCAT_BASEDIR", "x"), ("JAVA_TOOL_OPTIONS", "-Xmx1g -Dserver.tomcat.keep-alive-timeout=8s")], "spring-boot-tomcat 8s..9s")]
#[case::spring_location("java -jar a.jar", &[("SERVER_TOMCAT_BASEDIR", "x"), ("SPRING_CONFIG_LOCATION", "/c")], "spring-boot-tomcat unknown: spring.config.location=/c: files of the image may set it")]
#[case::spring_two("java -jar a.jar", &[("SERVER_TOMCAT_A", "x"), ("SERVER_JETTY_A", "x")], "- unknown: it can be spring-boot-tomcat or spring-boot-jetty")]
#[case::spring_not_java("/app/foo", &[("SERVER_TOMCAT_A", "x")], "- unknown: foo is not a server in the catalog")]
#[case::spring_no_command("", &[("SERVER_TOMCAT_A", "x")], "spring-boot-tomcat unknown: only a setting suggests spring-boot-tomcat")]
#[case::quarkus_env("java -jar quarkus-run.jar", &[("QUARKUS_HTTP_IDLE_TIMEOUT", "5M")], "quarkus 300s")]
#[case::next_standalone("node server.js", &[("NEXT_TELEMETRY_DISABLED", "1"), ("KEEP_ALIVE_TIMEOUT", "70000")], "nextjs 70s..71s")]
#[case::next_standalone_zero("node server.js", &[("NEXT_TELEMETRY_DISABLED", "1"), ("KEEP_ALIVE_TIMEOUT", "0")], "nextjs 5s..6s")]
#[case::next_start_ignores_env("next start", &[("KEEP_ALIVE_TIMEOUT", "70000")], "nextjs 5s..6s")]
#[case::kestrel_env("dotnet a.dll", &[("ASPNETCORE_URLS", "http://+:80")], "kestrel 130s..132s")]
#[case::kestrel_limits("dotnet a.dll", &[("Kestrel__Limits__KeepAliveTimeout", "1")], "kestrel unknown: Kestrel__Limits__KeepAliveTimeout=1: Kestrel reads it only if the app binds that section")]
#[case::traefik_flags_hide_env("traefik --ping", &[("TRAEFIK_ENTRYPOINTS_WEB_TRANSPORT_RESPONDINGTIMEOUTS_IDLETIMEOUT", "30s")], "traefik 180s")]
#[case::puma_env("puma", &[("PUMA_PERSISTENT_TIMEOUT", "30")], "puma unknown: PUMA_PERSISTENT_TIMEOUT=30: Puma reads it from 7.0 on, and the version does not show")]
#[case::rails("rails server", &[("RAILS_ENV", "production")], "puma 20s..65s")]
fn variables(#[case] line: &str, #[case] pairs: &[(&str, &str)], #[case] said: &str) {
    assert_eq!(say(&json!({"image": CART, "command": shlex::split(line).unwrap(), "env": env(pairs)})), said);
}

#[rstest]
#[case::args_are_flags(json!({"image": "prom/prometheus", "args": ["--web.read-timeout=1m"]}), "prometheus 60s")]
#[case::args_are_a_command(json!({"image": "nginx", "args": ["nginx", "-g", "daemon off;"]}), "nginx 65s")]
#[case::args_are_another_command(json!({"image": "nginx", "args": ["/app/foo"]}), "- unknown: foo is not a server in the catalog")]
#[case::args_of_an_unknown_image(json!({"image": CART, "args": ["gunicorn", "-k", "gevent", "a:b"]}), "gunicorn 2s")]
#[case::flags_of_an_unknown_image(
    json!({"image": CART, "args": ["--port", "80"]}),
    "- unknown: image registry.example.com/shop/cart is not a server in the catalog")]
#[case::args_after_the_entrypoint(json!({"image": "node:20.11", "args": ["server.js"]}), "node-http 5s")]
#[case::jetty_args(json!({"image": "jetty:12", "args": ["jetty.http.idleTimeout=9000"]}), "jetty 9s")]
#[case::node_image_alone(
    json!({"image": "node:20.11"}),
    "node-http unknown: only the image suggests node-http (the version of Node.js is not known)")]
#[case::node_env(
    json!({"image": "node:20.11", "args": ["server.js"], "env": [{"name": "KEEP_ALIVE_TIMEOUT", "value": "9"}]}),
    "node-http unknown: KEEP_ALIVE_TIMEOUT may set the idle timeout in an app-specific way")]
#[case::node_secret_is_no_doubt(
    json!({"image": "node:20.11", "args": ["server.js"], "envFrom": [{"secretRef": {"name": "s"}}]}), "node-http 5s")]
#[case::java_options_unseen(
    json!({"image": CART, "command": ["sh", "-c", "java $JAVA_OPTS -jar a.jar"],
        "env": [{"name": "SERVER_TOMCAT_A", "value": "x"}]}),
    "spring-boot-tomcat unknown: the pod does not set $JAVA_OPTS")]
#[case::java_options_seen(
    json!({"image": CART, "command": ["sh", "-c", "java $JAVA_OPTS -jar a.jar"],
        "env": [{"name": "JAVA_OPTS", "value": "-Xmx1g -Dserver.tomcat.keep-alive-timeout=9s"}]}),
    "spring-boot-tomcat 9s..10s")]
#[case::next_standalone(
    json!({"image": "node:20.11", "args": ["node", "server.js"], "env": [{"name": "NEXT_PUBLIC_X", "value": "9"}]}),
    "nextjs 5s")]
#[case::mount(
    json!({"image": "nginx", "volumeMounts": [{"mountPath": "/etc/nginx/conf.d"}]}),
    "nginx unknown: /etc/nginx/nginx.conf line 1: the volume at /etc/nginx/conf.d may set it")]
#[case::mount_below(
    json!({"image": "nginx", "volumeMounts": [{"mountPath": "/etc/nginx/conf.d/site.conf"}]}),
    "nginx unknown: /etc/nginx/nginx.conf line 1: the volume at /etc/nginx/conf.d/site.conf may set it")]
#[case::mount_above(
    json!({"image": "nginx", "volumeMounts": [{"mountPath": "/etc/nginx/"}]}),
    "nginx unknown: the volume at /etc/nginx/ may set it")]
#[case::mount_beside(json!({"image": "nginx", "volumeMounts": [{"mountPath": "/etc/nginx/ssl"}]}), "nginx 65s")]
#[case::mount_by_name(
    json!({"image": CART, "command": ["gunicorn"], "volumeMounts": [{"mountPath": "/app/gunicorn.conf.py"}]}),
    "gunicorn unknown: the volume at /app/gunicorn.conf.py may set it")]
#[case::secret_may_set(
    json!({"image": CART, "command": ["uvicorn", "a:b"], "envFrom": [{"secretRef": {"name": "app-env"}}]}),
    "uvicorn unknown: UVICORN_TIMEOUT_KEEP_ALIVE may be set by Secret app-env")]
#[case::flag_beats_secret(
    json!({"image": CART, "command": ["uvicorn", "--timeout-keep-alive", "9"], "envFrom": [{"secretRef": {"name": "s"}}]}),
    "uvicorn 9s")]
#[case::env_beats_secret(
    json!({"image": CART, "command": ["uvicorn"], "envFrom": [{"secretRef": {"name": "s"}}],
        "env": [{"name": "UVICORN_TIMEOUT_KEEP_ALIVE", "value": "9"}]}),
    "uvicorn 9s")]
#[case::no_variables_no_doubt(
    json!({"image": CART, "command": ["hypercorn", "a:b"], "envFrom": [{"secretRef": {"name": "s"}}]}), "hypercorn 5s")]
#[case::secret_may_set_arguments(
    json!({"image": CART, "command": ["gunicorn", "a:b"], "envFrom": [{"secretRef": {"name": "s"}}]}),
    "gunicorn unknown: GUNICORN_CMD_ARGS may be set by Secret s")]
#[case::secret_may_set_any_entrypoint(
    json!({"image": "traefik", "envFrom": [{"secretRef": {"name": "s"}}]}),
    "traefik unknown: TRAEFIK_ENTRYPOINTS_TRAEFIK_TRANSPORT_RESPONDINGTIMEOUTS_IDLETIMEOUT may be set by Secret s")]
#[case::value_from_a_secret(
    json!({"image": CART, "command": ["uvicorn", "--timeout-keep-alive", "$(KEEP)"],
        "env": [{"name": "KEEP", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
    "uvicorn unknown: KEEP comes from Secret s")]
#[case::config_map(
    json!({"image": CART, "command": ["java", "-jar", "a.jar"], "envFrom": [{"configMapRef": {"name": "web"}}]}),
    "spring-boot-tomcat 30s..31s")]
fn containers(#[case] container: Value, #[case] said: &str) {
    assert_eq!(say(&container), said);
}

#[rstest]
#[case::flag(
    json!({"image": CART, "command": ["gunicorn", "-k", "gevent"], "args": ["--keep-alive", "10"]}),
    "--keep-alive 10 at /spec/template/spec/containers/0/args/1")]
#[case::script(
    json!({"image": CART, "command": ["sh", "-c", "exec uvicorn --timeout-keep-alive=9"]}),
    "--timeout-keep-alive=9 at /spec/template/spec/containers/0/command/2")]
#[case::variable(
    json!({"image": CART, "command": ["uvicorn"], "env": [{"name": "UVICORN_TIMEOUT_KEEP_ALIVE", "value": "9"}]}),
    "UVICORN_TIMEOUT_KEEP_ALIVE=9 at /spec/template/spec/containers/0/env/0")]
#[case::config_map(
    json!({"image": CART, "command": ["java", "-jar", "a.jar"], "envFrom": [{"configMapRef": {"name": "web"}}]}),
    "SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT=30s at ConfigMap web")]
#[case::default_of_a_version(
    json!({"image": "nginx:1.27.3-alpine"}),
    "default of nginx 1.27.3 (nginx conf/nginx.conf: keepalive_timeout 65, as in the images of nginx.org and OpenResty)")]
#[case::default_of_a_mode(
    json!({"image": CART, "command": ["gunicorn", "-k", "gevent"]}),
    "default of gunicorn (gevent) (gunicorn 27.0.1 gunicorn/config.py: keepalive 2, which these workers take over; measured); likely: a gunicorn.conf.py in the working directory of the image may set it")]
fn evidence(#[case] container: Value, #[case] text: &str) {
    assert_eq!(told(Catalog::builtin(), &container).1.unwrap().to_string(), text);
}

proptest::proptest! {
    #[test]
    fn judging_never_panics(words in proptest::collection::vec("(java|node|gunicorn|-D|-k|--|=|\\$\\(A\\)|.){0,3}", 0..5)) {
        say(&json!({"image": "node:20", "command": words}));
        say(&json!({"image": "nginx", "args": words, "env": [{"name": "A", "value": words.concat()}]}));
    }
}
