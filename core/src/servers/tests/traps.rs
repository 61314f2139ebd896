//! Tests containers that look like a known server but have no answer, or another one.

use rstest::rstest;
use serde_json::json;

use super::{CART, env, run, say};

const NODE: &str = "node:20.20";
const TRAEFIK: &str = "traefik:v3.1";
const JAVA: &str = "java -jar app.jar";
const TOMCAT_60: &str = "spring-boot-tomcat 60s..61s";
const TOMCAT_10: &str = "spring-boot-tomcat 10s..11s";

#[rstest]
// The entrypoint of the node image puts node before what is no command.
#[case::script(NODE, &["./start.sh"], "- unknown: start.sh is not a server in the catalog")]
#[case::yarn(NODE, &["yarn", "workspace", "api", "dev"], "- unknown: yarn is not a server in the catalog")]
#[case::celery(NODE, &["celery", "-A", "x"], "- unknown: celery is not a server in the catalog")]
#[case::python(NODE, &["python3", "-m", "http.server"], "python-http-server each response")]
#[case::fastify(NODE, &["fastify", "start", "app.js"], "fastify 73s")]
#[case::entrypoint(NODE, &["/app/entrypoint.sh", "node", "server.js"], "- unknown: entrypoint.sh is not a server in the catalog")]
#[case::option(NODE, &["--enable-source-maps", "server.js"], "node-http 6s")]
#[case::module(NODE, &["dist/server.mjs"], "node-http 6s")]
#[case::common_js(NODE, &["dist/server.cjs"], "node-http 6s")]
#[case::node_itself(NODE, &["node", "."], "node-http 6s")]
#[case::jetty_script("jetty:12", &["/app/run.sh"], "- unknown: run.sh is not a server in the catalog")]
#[case::jetty_option("jetty:12", &["--module=http"], "jetty 30s")]
// Traefik's timeouts are those of one entrypoint.
#[case::traefik_one_entrypoint(
    TRAEFIK,
    &["--entryPoints.web.address=:8000", "--entryPoints.traefik.address=:8080", "--ping",
        "--entryPoints.web.transport.respondingTimeouts.idleTimeout=10s"],
    "traefik unknown: the ports of traefik have different idle timeouts")]
#[case::traefik_single_dash(
    TRAEFIK,
    &["-entrypoints.web.transport.respondingTimeouts.idleTimeout=10s"],
    "traefik unknown: the ports of traefik have different idle timeouts")]
#[case::traefik_1_for_all("traefik:1.7", &["--respondingTimeouts.idleTimeout=10s"], "traefik 10s")]
#[case::traefik_1_file("traefik:1.7", &["-c", "/x.toml"], "traefik unknown: -c /x.toml: a file of the image may set the idle timeout")]
// Apache reads more than its files.
#[case::apache_keep_alive_off(
    "httpd:2.4", &["httpd-foreground", "-c", "KeepAlive Off"], "apache-httpd each response")]
#[case::apache_keep_alive_on("httpd:2.4", &["httpd-foreground", "-c", "KeepAlive On"], "apache-httpd 5s")]
#[case::apache_include(
    "httpd:2.4",
    &["httpd-foreground", "-c", "Include /cfg/x.conf"],
    "apache-httpd unknown: -c Include /cfg/x.conf: a file may set the idle timeout")]
#[case::apache_include_optional(
    "httpd:2.4",
    &["httpd-foreground", "-C", "IncludeOptional /cfg/x.conf"],
    "apache-httpd unknown: -C IncludeOptional /cfg/x.conf: a file may set the idle timeout")]
#[case::apache_server_root(
    "httpd:2.4",
    &["httpd-foreground", "-d", "/srv/apache"],
    "apache-httpd unknown: -d /srv/apache: a file may set the idle timeout")]
#[case::apache_before_the_file(
    "php:8.2-apache",
    &["apache2-foreground", "-C", "KeepAliveTimeout 10"],
    "apache-httpd unknown: -C KeepAliveTimeout 10: the configuration, read after it, may set it again")]
// Next.js, Caddy, Tomcat, Jetty, Gunicorn, Envoy
#[case::next_zero(NODE, &["npx", "next", "start", "--keepAliveTimeout", "0"], "nextjs 6s")]
#[case::caddy_resume(
    "caddy:2.8", &["caddy", "run", "--resume"], "caddy unknown: --resume: a file may set the idle timeout")]
#[case::tomcat_config(
    "tomcat:10.1",
    &["catalina.sh", "run", "-config", "other.xml"],
    "tomcat unknown: -config other.xml: a file may set the idle timeout")]
#[case::tomcat_debug("tomcat:10.1", &["catalina.sh", "jpda", "run"], "tomcat 20s..21s")]
#[case::jetty_base(
    "jetty:12",
    &["jetty.base=/srv/base"],
    "jetty unknown: jetty.base=/srv/base: its files may set the idle timeout")]
#[case::gunicorn_paste(
    CART,
    &["gunicorn", "--paste", "production.ini"],
    "gunicorn unknown: --paste production.ini: the file may set the mode of gunicorn")]
#[case::gunicorn_paste_below(
    CART,
    &["gunicorn", "-k", "gevent", "--paste=production.ini"],
    "gunicorn unknown: --paste=production.ini: a file may set the idle timeout")]
#[case::envoy_inline(
    "envoyproxy/envoy:v1.31",
    &["envoy", "--config-yaml", "admin: {}"],
    "envoy unknown: --config-yaml admin: {}: it may set the idle timeout")]
fn arguments(#[case] image: &str, #[case] args: &[&str], #[case] said: &str) {
    assert_eq!(say(&json!({"image": image, "args": args})), said);
}

#[rstest]
// A program that a package brings is not the app's own script.
#[case::fastify(NODE, "node node_modules/.bin/fastify start app.js", "fastify 73s")]
#[case::http_server(NODE, "node .bin/http-server", "http-server-npm 6s")]
#[case::vite(
    NODE,
    "node node_modules/vite/bin/vite.js preview",
    "- unknown: vite.js is not a server in the catalog"
)]
#[case::global(NODE, "node /usr/local/bin/fastify start", "fastify 73s")]
#[case::behind_a_value(NODE, "node --env-file .env node_modules/.bin/fastify start app.js", "fastify 73s")]
#[case::www(NODE, "node ./bin/www", "node-http 6s")]
#[case::next(NODE, "node node_modules/next/dist/bin/next start", "nextjs 6s")]
#[case::ts_node(NODE, "node node_modules/.bin/ts-node app.ts", "node-http 6s")]
// Files and options of Java
#[case::argument_file(
    CART,
    "java @/app/jvm.args -jar app.jar --server.tomcat.threads.max=9",
    "spring-boot-tomcat unknown: @/app/jvm.args: a file may set the idle timeout"
)]
#[case::argument_file_before(
    CART,
    "java @/app/jvm.args -Djetty.http.idleTimeout=10000 -jar start.jar",
    "jetty 10s"
)]
#[case::class_path_file(
    CART,
    "java -cp @/app/jib-classpath-file a.Main --server.tomcat.keep-alive-timeout=10s",
    TOMCAT_10
)]
#[case::options_file(
    CART,
    "java -XX:VMOptionsFile=/o -jar app.jar --server.tomcat.threads.max=9",
    "spring-boot-tomcat unknown: -XX:VMOptionsFile=/o: a file may set the idle timeout"
)]
#[case::quarkus_profile(
    CART,
    "java -D%prod.quarkus.http.idle-timeout=10s -jar quarkus-run.jar",
    "quarkus unknown: -D%prod.quarkus.http.idle-timeout=10s: it applies only to one profile"
)]
#[case::quarkus_locations(
    CART,
    "java -Dquarkus.config.locations=/c -jar quarkus-run.jar",
    "quarkus unknown: -Dquarkus.config.locations=/c: a file of the image may set the idle timeout"
)]
// An image that is a hint says nothing of the configuration in it.
#[case::envoy_of_istio(
    "istio/proxyv2:1.20",
    "envoy",
    "envoy unknown: envoy runs with the configuration of an unknown image"
)]
#[case::caddy_working_directory("caddy:2.8", "caddy run", "caddy 300s")]
#[case::dotnet_runtime(
    "mcr.microsoft.com/dotnet/runtime:8.0",
    "dotnet Worker.dll",
    "kestrel unknown: only the command suggests kestrel"
)]
#[case::dotnet_core("mcr.microsoft.com/dotnet/core/aspnet:3.1", "dotnet App.dll", "kestrel 120s..122s")]
#[case::kestrel_slash(
    "mcr.microsoft.com/dotnet/aspnet:8.0",
    "dotnet App.dll /kestrel:limits:keepalivetimeout=00:00:10",
    "kestrel unknown: /kestrel:limits:keepalivetimeout=00:00:10: Kestrel reads it only if the app binds that section"
)]
#[case::python_options(CART, "python -X dev -m uvicorn a:b", "uvicorn 5s")]
fn commands(#[case] image: &str, #[case] line: &str, #[case] said: &str) {
    assert_eq!(run(image, line), said);
}

#[rstest]
#[case::superset(
    "apache/superset:4.0.0", "", &[("GUNICORN_CMD_ARGS", "--log-level debug")],
    "superset 2s..3s")]
#[case::meinheld(
    "tiangolo/meinheld-gunicorn", "", &[("GUNICORN_CMD_ARGS", "--threads 4 --keep-alive 10")],
    "gunicorn unknown: only a setting suggests gunicorn")]
#[case::next_needs_its_script(
    NODE, "node .output/server/index.mjs", &[("NEXT_PUBLIC_X", "1"), ("KEEP_ALIVE_TIMEOUT", "9000")],
    "node-http unknown: KEEP_ALIVE_TIMEOUT may set the idle timeout in an app-specific way")]
#[case::traefik_one_entrypoint(
    TRAEFIK, "traefik", &[("TRAEFIK_ENTRYPOINTS_WEB_TRANSPORT_RESPONDINGTIMEOUTS_IDLETIMEOUT", "10s")],
    "traefik unknown: the ports of traefik have different idle timeouts")]
#[case::traefik_home(
    TRAEFIK, "traefik", &[("XDG_CONFIG_HOME", "/cfg")],
    "traefik unknown: XDG_CONFIG_HOME=/cfg: a file in that directory may set the idle timeout")]
#[case::tomcat_base(
    "tomcat:10.1", "catalina.sh run", &[("CATALINA_BASE", "/srv/base")],
    "tomcat unknown: CATALINA_BASE=/srv/base: its files may set the idle timeout")]
#[case::jetty_base(
    "jetty:12", "java -jar start.jar", &[("JETTY_BASE", "/srv/base")],
    "jetty unknown: JETTY_BASE=/srv/base: its files may set the idle timeout")]
#[case::kestrel_upper_case(
    "mcr.microsoft.com/dotnet/aspnet:8.0", "dotnet App.dll", &[("KESTREL__LIMITS__KEEPALIVETIMEOUT", "00:00:10")],
    "kestrel unknown: KESTREL__LIMITS__KEEPALIVETIMEOUT=00:00:10: Kestrel reads it only if the app binds that section")]
#[case::quarkus_launch_script(
    CART, "java -jar /deployments/quarkus-run.jar", &[("JAVA_OPTS_APPEND", "-Dquarkus.http.idle-timeout=10s")],
    "quarkus unknown: -Dquarkus.http.idle-timeout=10s: it applies only if the start script gives it to java")]
#[case::quarkus_read_idle(
    CART, "java -jar quarkus-run.jar", &[("QUARKUS_HTTP_READ_IDLE_TIMEOUT", "10s")],
    "quarkus unknown: QUARKUS_HTTP_READ_IDLE_TIMEOUT=10s: it may end idle connections sooner")]
#[case::quarkus_profile(
    CART, "java -jar quarkus-run.jar", &[("_PROD_QUARKUS_HTTP_IDLE_TIMEOUT", "10s")],
    "quarkus unknown: _PROD_QUARKUS_HTTP_IDLE_TIMEOUT=10s: it applies only to one profile")]
#[case::jetty_options_elsewhere(
    CART, "java -jar /jetty/start.jar", &[("JAVA_OPTIONS", "-Djetty.http.idleTimeout=10000")], "jetty 30s")]
#[case::jetty_options_without_its_entrypoint(
    "jetty:12", "java -jar /jetty/start.jar", &[("JAVA_OPTIONS", "-Djetty.http.idleTimeout=10000")], "jetty 30s")]
#[case::nginx_templates(
    "nginx", "", &[("NGINX_ENVSUBST_TEMPLATE_DIR", "/templates")],
    "nginx unknown: NGINX_ENVSUBST_TEMPLATE_DIR=/templates: its templates may set the idle timeout")]
#[case::jetty_options("jetty:12", "", &[("JAVA_OPTIONS", "-Djetty.http.idleTimeout=10000")], "jetty 10s")]
fn variables(#[case] image: &str, #[case] line: &str, #[case] pairs: &[(&str, &str)], #[case] said: &str) {
    let container = json!({"image": image, "command": shlex::split(line).unwrap(), "env": env(pairs)});
    assert_eq!(say(&container), said);
}

/// Beside `SERVER_TOMCAT_THREADS_MAX`, which tells that this is Spring Boot with Tomcat.
#[rstest]
#[case::default(JAVA, &[], TOMCAT_60)]
#[case::location(
    "java -jar app.jar --spring.config.location=/c/", &[],
    "spring-boot-tomcat unknown: spring.config.location=/c/: files of the image may set it")]
#[case::additional_location(
    "java -Dspring.config.additional-location=/c/ -jar app.jar", &[],
    "spring-boot-tomcat unknown: spring.config.additional-location=/c/: files of the image may set it")]
#[case::import(
    "java -jar app.jar --spring.config.import=/c/a.yml", &[],
    "spring-boot-tomcat unknown: spring.config.import=/c/a.yml may set it")]
#[case::name(
    "java -jar app.jar --spring.config.name=shop", &[],
    "spring-boot-tomcat 60s..61s")]
#[case::name_property(
    "java -Dspring.config.name=shop -jar app.jar", &[],
    "spring-boot-tomcat 60s..61s")]
#[case::name_variable(
    JAVA, &[("SPRING_CONFIG_NAME", "shop")],
    "spring-boot-tomcat 60s..61s")]
#[case::literal_variable(JAVA, &[("server.tomcat.keep-alive-timeout", "20s")], "spring-boot-tomcat 20s..21s")]
#[case::mixed_case_variable(JAVA, &[("Server_Tomcat_KeepAliveTimeout", "20s")], "spring-boot-tomcat 20s..21s")]
#[case::not_that_variable(JAVA, &[("SERVER_TOMCAT_KEEP_ALIVETIMEOUT", "20s")], TOMCAT_60)]
#[case::camel_case_flag("java -jar app.jar --server.tomcat.keepAliveTimeout=10s", &[], TOMCAT_10)]
#[case::camel_case_property("java -Dserver.tomcat.keepAliveTimeout=10s -jar app.jar", &[], TOMCAT_10)]
#[case::camel_case_json(
    JAVA, &[("SPRING_APPLICATION_JSON", r#"{"server":{"tomcat":{"keepAliveTimeout":"10s"}}}"#)], TOMCAT_10)]
#[case::json_flag(r#"java -jar app.jar '--spring.application.json={"server.tomcat.keep-alive-timeout":"10s"}'"#, &[], TOMCAT_10)]
#[case::one_request_flag(
    "java -jar app.jar --server.tomcat.max-keep-alive-requests=1", &[], "spring-boot-tomcat each response")]
#[case::one_request_property(
    "java -Dserver.tomcat.maxKeepAliveRequests=1 -jar app.jar", &[], "spring-boot-tomcat each response")]
#[case::strongest_options(JAVA, &[("_JAVA_OPTIONS", "-Dserver.tomcat.keep-alive-timeout=10s")], TOMCAT_10)]
#[case::strongest_options_win(
    "java -Dserver.tomcat.keep-alive-timeout=9s -jar app.jar",
    &[("_JAVA_OPTIONS", "-Dserver.tomcat.keep-alive-timeout=10s")], TOMCAT_10)]
#[case::flag_beats_location(
    "java -jar app.jar --spring.config.location=/c/ --server.tomcat.keep-alive-timeout=10s", &[], TOMCAT_10)]
fn spring(#[case] line: &str, #[case] pairs: &[(&str, &str)], #[case] said: &str) {
    let pairs: Vec<_> = [("SERVER_TOMCAT_THREADS_MAX", "9")].iter().chain(pairs).copied().collect();
    let container = json!({"image": CART, "command": shlex::split(line).unwrap(), "env": env(&pairs)});
    assert_eq!(say(&container), said);
}

#[rstest]
#[case::sites("php:8.2-apache", "", "/etc/apache2/sites-available/000-default.conf", "apache-httpd")]
#[case::configurations("wordpress:6", "", "/etc/apache2/conf-available", "apache-httpd")]
#[case::modules("wordpress:6", "", "/etc/apache2/mods-available/x.conf", "apache-httpd")]
#[case::ports("wordpress", "", "/etc/apache2/ports.conf", "apache-httpd")]
#[case::virtual_hosts(
    "httpd:2.4",
    "httpd-foreground -c 'KeepAliveTimeout 10'",
    "/usr/local/apache2/conf/extra",
    "apache-httpd"
)]
#[case::bitnami_vhosts("bitnami/apache:2.4", "", "/vhosts", "apache-bitnami")]
#[case::nginx_scripts("nginx", "", "/docker-entrypoint.d", "nginx")]
#[case::nginx_script("nginx:1.27", "", "/docker-entrypoint.d/99-tune.sh", "nginx")]
#[case::bitnami_nginx_scripts("bitnami/nginx:1.27", "", "/docker-entrypoint-initdb.d", "nginx-bitnami")]
#[case::bitnami_apache_scripts("bitnami/apache:2.4", "", "/docker-entrypoint-initdb.d", "apache-bitnami")]
#[case::traefik_file(TRAEFIK, "traefik", "/etc/traefik/traefik.yaml", "traefik")]
#[case::traefik_directory(TRAEFIK, "traefik", "/etc/traefik", "traefik")]
#[case::traefik_above(TRAEFIK, "traefik", "/etc", "traefik")]
#[case::traefik_working_directory(TRAEFIK, "traefik", "/srv/app/traefik.yml", "traefik")]
#[case::traefik_home(TRAEFIK, "traefik", "/root/.config", "traefik")]
#[case::traefik_1_working_directory("traefik:1.7", "", "/srv/app/traefik.toml", "traefik")]
#[case::caddy_working_directory("caddy:2.8", "caddy run", "/srv/Caddyfile", "caddy")]
#[case::jetty_etc("jetty:12", "", "/var/lib/jetty/etc/jetty-http.xml", "jetty")]
#[case::quarkus_config(CART, "java -jar quarkus-run.jar", "/deployments/config", "quarkus")]
#[case::quarkus_properties(CART, "java -jar quarkus-run.jar", "/x/config/application.properties", "quarkus")]
#[case::spring_config(
    CART,
    "java -jar app.jar --server.tomcat.threads.max=9",
    "/app/config",
    "spring-boot-tomcat"
)]
#[case::spring_file(
    CART,
    "java -jar app.jar --server.tomcat.threads.max=9",
    "/app/application.yml",
    "spring-boot-tomcat"
)]
#[case::spring_profile(
    CART,
    "java -jar app.jar --server.tomcat.threads.max=9",
    "/app/application-prod.yml",
    "spring-boot-tomcat"
)]
#[case::working_directory(CART, "gunicorn -k gevent a:b", "/srv/app", "gunicorn")]
#[case::above_the_working_directory(CART, "gunicorn -k gevent a:b", "/srv", "gunicorn")]
fn mounts(#[case] image: &str, #[case] line: &str, #[case] path: &str, #[case] server: &str) {
    let container = json!({
        "image": image, "command": shlex::split(line).unwrap(), "workingDir": "/srv/app",
        "volumeMounts": [{"mountPath": path}],
    });
    let (said, start) = (say(&container), format!("{server} unknown: the volume at {path}"));
    assert!(said.starts_with(&start), "{said}");
}

#[rstest]
#[case::files_that_caddy_serves("caddy:2.8", "", "/srv", "caddy 300s")]
#[case::beside_the_working_directory(CART, "gunicorn -k gevent a:b", "/srv/app/static", "gunicorn 2s")]
#[case::traefik_dynamic(TRAEFIK, "traefik", "/etc/traefik/dynamic", "traefik 180s")]
#[case::web_apps("jetty:12", "", "/var/lib/jetty/webapps", "jetty 30s")]
fn mounts_beside(#[case] image: &str, #[case] line: &str, #[case] path: &str, #[case] said: &str) {
    let container = json!({
        "image": image, "command": shlex::split(line).unwrap(), "workingDir": "/srv/app",
        "volumeMounts": [{"mountPath": path}],
    });
    assert_eq!(say(&container), said);
}

#[rstest]
#[case::wordpress(
    "wordpress@sha256:00",
    "- unknown: image docker.io/library/wordpress is not a server in the catalog"
)]
#[case::nextcloud(
    "nextcloud@sha256:00",
    "- unknown: image docker.io/library/nextcloud is not a server in the catalog"
)]
#[case::latest("wordpress", "apache-httpd 5s")]
#[case::tag_and_digest("wordpress:6@sha256:00", "apache-httpd 5s")]
fn digests(#[case] image: &str, #[case] said: &str) {
    assert_eq!(say(&json!({"image": image})), said);
}
