//! Tests the output and exit codes of the binary.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rstest::rstest;
use tempfile::TempDir;

const BAD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    linkerd.io/inject: enabled
spec:
  containers:
  - name: web
    image: example.com/web
    command: [uvicorn, app:app, --port, '8000']
    ports:
    - containerPort: 8000
    livenessProbe:
      httpGet:
        port: 8000
      periodSeconds: 5
";

const QUIET: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: sleeper
  annotations:
    linkerd.io/inject: disabled
spec:
  containers:
  - name: sleeper
    image: example.com/sleeper
";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn run(directory: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may exit before it reads the input.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[rstest]
#[case::nothing_found(&["lint", "quiet.yaml"], 0)]
#[case::rejected(&["lint", "bad.yaml"], 1)]
#[case::one_of_many(&["lint", "quiet.yaml", "bad.yaml"], 1)]
#[case::directory(&["lint", "."], 2)]
#[case::below_a_directory(&["lint", "deep"], 1)]
#[case::stdin(&["lint", "-"], 1)]
#[case::stdin_by_default(&["lint"], 1)]
#[case::warned(&["lint", "--policy", "warn.policy", "bad.yaml"], 0)]
#[case::warning_fails(&["lint", "--policy", "warn.policy", "--fail-on", "warning", "bad.yaml"], 1)]
#[case::ignored(&["lint", "--policy", "ignore.policy", "--fail-on", "warning", "bad.yaml"], 0)]
#[case::injection_that_the_policy_assumes(&["lint", "--policy", "assume.policy", "silent.yaml"], 1)]
#[case::no_such_file(&["lint", "none.yaml"], 2)]
#[case::broken(&["lint", "broken.yaml"], 2)]
#[case::no_objects(&["lint", "values.yaml"], 2)]
#[case::no_such_flag(&["lint", "--none"], 2)]
#[case::bad_policy(&["lint", "--policy", "bad.policy", "quiet.yaml"], 2)]
#[case::explained(&["explain", "bad.yaml"], 0)]
#[case::explained_in_part(&["explain", "bad.yaml", "broken.yaml"], 2)]
fn exit_codes(#[case] args: &[&str], #[case] code: i32) {
    let pod = BAD.lines().skip(6).fold(String::new(), |text, line| text + "    " + line + "\n");
    let workload = format!("apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n{pod}");
    let files = [
        ("quiet.yaml", QUIET),
        ("bad.yaml", BAD),
        ("deep/er/bad.json", r#"{"kind":"List","apiVersion":"v1","items":[]}"#),
        ("deep/er/bad.yml", BAD),
        ("broken.yaml", "kind: [\n"),
        ("values.yaml", "replicas: 3\n"),
        ("warn.policy", "rules: {probe-matches-idle-timeout: warn}\n"),
        (
            "ignore.policy",
            "rules: {probe-matches-idle-timeout: ignore, idle-timeout-below-proxy-pool: ignore, close-wait-unset: ignore, \
             close-wait-unsupported: ignore}\n",
        ),
        ("assume.policy", "assumeInjected: true\n"),
        ("silent.yaml", &workload),
        ("bad.policy", "reject: never\ntolerance: 5\n"),
    ];
    let directory = directory(&files);
    let output = run(directory.path(), args, BAD);
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn lint_points_at_the_lines() {
    let directory = directory(&[("bad.yaml", BAD)]);
    let output = run(directory.path(), &["lint", "bad.yaml"], "");
    let text = stdout(&output);
    assert!(text.contains("Pod web  error[probe-matches-idle-timeout]: web: "), "{text}");
    assert!(text.contains("17 |       periodSeconds: 5\n"), "{text}");
    assert!(text.contains("1 object, 1 would be rejected"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn readable_inputs_are_reported_despite_errors() {
    let text = format!(
        "{BAD}---\nkind: Pod\nmetadata: {{{{ .Values.meta }}}}\n---\napiVersion: v1\nkind: Pod\nspec: 3\n"
    );
    let directory = directory(&[("all.yaml", &text)]);
    let output = run(directory.path(), &["lint", "all.yaml"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("1 would be rejected"), "{}", stdout(&output));
    let errors = stderr(&output);
    assert!(errors.contains("all.yaml:20:"), "{errors}");
    assert!(errors.contains("= help: this is a Helm template"), "{errors}");
    assert!(errors.contains("all.yaml:24: error: cannot read Pod: spec: "), "{errors}");
}

#[test]
fn directories_are_read_in_order_and_hidden_ones_are_not() {
    let files = [
        ("b.yaml", QUIET),
        ("a/z.yml", QUIET),
        (".git/c.yaml", "kind: ["),
        ("notes.txt", "kind: ["),
        ("a/A.json", ""),
    ];
    let directory = directory(&files);
    let output = run(directory.path(), &["lint", "-o", "json", "."], "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let read: Vec<_> =
        report["objects"].as_array().unwrap().iter().map(|object| object["file"].clone()).collect();
    assert_eq!(read, ["./a/z.yml", "./b.yaml"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn links_in_a_directory_are_followed_once() {
    let outside = directory(&[("real/web.yaml", QUIET)]);
    let inside = directory(&[("a/web.yaml", QUIET), ("b.yaml", QUIET)]);
    let link = |target: &Path, name: &str| symlink(target, inside.path().join(name)).unwrap();
    link(&outside.path().join("real"), "linked");
    link(Path::new(".."), "a/up");
    link(Path::new("linked"), "twice");
    // Temporary files of editors, and files that are not manifests.
    link(Path::new("nobody@host.1"), ".#b.yaml");
    link(Path::new("nowhere"), "notes.txt");
    let output = run(inside.path(), &["lint", "-o", "json", "."], "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let read: Vec<_> =
        report["objects"].as_array().unwrap().iter().map(|object| object["file"].clone()).collect();
    assert_eq!(read, ["./a/web.yaml", "./b.yaml", "./linked/web.yaml"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[rstest]
#[case::manifest("web.yaml")]
#[case::perhaps_a_directory("overlays")]
fn a_link_that_leads_nowhere_is_named(#[case] name: &str) {
    let directory = directory(&[("quiet.yaml", QUIET)]);
    symlink("nowhere", directory.path().join(name)).unwrap();
    let output = run(directory.path(), &["lint", "."], "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("./{name}: error: cannot read it: ")), "{}", stderr(&output));
}

#[test]
fn the_json_names_each_object() {
    let directory = directory(&[]);
    let output = run(directory.path(), &["explain", "-o", "json", "-"], BAD);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let object = &report["objects"][0];
    assert_eq!((&object["kind"], &object["name"]), (&"Pod".into(), &"web".into()));
    assert_eq!((&object["namespace"], &object["verdict"]), (&"".into(), &"reject".into()));
    assert_eq!(object["file"], "<stdin>");
    assert_eq!(object["findings"][0]["rule"], "probe-matches-idle-timeout");
}

#[test]
fn a_policy_shows_all_of_its_mistakes() {
    let directory = directory(&[("p.yaml", "reject: never\ntolerance: 5\n"), ("bad.yaml", BAD)]);
    let output = run(directory.path(), &["lint", "--policy", "p.yaml", "bad.yaml"], "");
    let expected = "\
error: cannot use the policy p.yaml:
  p.yaml:1: reject: unknown value \"never\"; expected one of always, reachable, certain, likely
  p.yaml:2: tolerance: \"5\" is not a duration: it has no unit; write it like 1h, 1m30s or 100ms
";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_namespace_in_the_same_input_counts() {
    let pod = BAD
        .replace("enabled", "x")
        .replace("linkerd.io/inject", "other")
        .replace("name: web\n  ann", "namespace: shop\n  name: web\n  ann");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {linkerd.io/inject: enabled}}\n";
    let directory = directory(&[("pod.yaml", &pod), ("namespace.yaml", namespace)]);
    assert_eq!(
        run(directory.path(), &["lint", "--fail-on", "reject", "pod.yaml", "namespace.yaml"], "")
            .status
            .code(),
        Some(1)
    );
    assert_eq!(run(directory.path(), &["lint", "--assume-injected", "pod.yaml"], "").status.code(), Some(1));
}

#[test]
fn the_image_of_the_webhook_shows_what_it_would_add() {
    let pod = include_str!("../examples/pods/6-combined.yaml");
    let directory = directory(&[("pod.yaml", pod)]);
    let close_wait = |more: &[&str]| {
        let output = run(directory.path(), &[&["explain", "-o", "json", "pod.yaml"], more].concat(), "");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["objects"][0].clone()
    };
    let without = close_wait(&[]);
    assert_eq!(without["closeWait"]["action"], "init-container");
    assert_eq!(without["findings"][0]["rule"], "close-wait-unsupported");
    let with = close_wait(&["--init-image", "registry.example.com/linkerd-linger:1.0.0"]);
    assert_eq!(with["closeWait"]["action"], "repair");
    assert_eq!(with["patch"][1]["value"]["name"], "linger-close-wait");

    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {\
                     pod-security.kubernetes.io/enforce: baseline}}\n---\n";
    fs::write(directory.path().join("pod.yaml"), format!("{namespace}{pod}")).unwrap();
    let refused = close_wait(&["--init-image", "registry.example.com/linkerd-linger:1.0.0"]);
    assert_eq!(
        (&refused["closeWait"]["action"], &refused["patch"]),
        (&"none".into(), &serde_json::json!([]))
    );
}

#[test]
fn text_that_is_not_utf_8_is_named() {
    let directory = directory(&[]);
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("kind: Pod".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    fs::write(directory.path().join("a.yaml"), utf16).unwrap();
    let output = run(directory.path(), &["lint", "a.yaml"], "");
    assert!(
        stderr(&output).starts_with("a.yaml: error: it is UTF-16\n  = help: save it as UTF-8"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn help_has_examples_and_exit_codes() {
    for command in ["lint", "explain", "install", "uninstall"] {
        let output = run(Path::new("."), &[command, "--help"], "");
        let help = stdout(&output);
        assert!(help.contains("Examples:\n") && help.contains("Exit codes:\n"), "{help}");
    }
}

#[test]
fn install_prints_manifests_and_names_the_mistakes_of_a_policy() {
    let directory = directory(&[("bad.policy", "reject: never\n"), ("good.policy", "tolerance: 50ms\n")]);
    let output = run(directory.path(), &["install", "--set-policy", "good.policy"], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("    tolerance: 50ms\n"));
    let output = run(directory.path(), &["install", "--set-policy", "bad.policy"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("  bad.policy:1: reject: "), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_certificate_of_ones_own_is_installed_without_its_key() {
    let directory = directory(&[]);
    let issued = run(directory.path(), &["certs", "issue", "--out", "mine"], "");
    assert_eq!(issued.status.code(), Some(0), "{}", stderr(&issued));
    let mode = fs::metadata(directory.path().join("mine/tls.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Both in one file, as some tools write it.
    let read = |name: &str| fs::read_to_string(directory.path().join("mine").join(name)).unwrap();
    fs::write(directory.path().join("all.pem"), read("tls.key") + &read("ca.crt")).unwrap();
    let output = run(directory.path(), &["install", "--tls", "byo", "--ca-bundle", "all.pem"], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let bundle = STANDARD.encode(read("ca.crt"));
    assert_eq!(stdout(&output).matches(&bundle).count(), 18);
    assert!(!stdout(&output).contains(&STANDARD.encode(&read("tls.key")[..60])));
    // An existing key may be in use, so it is not overwritten.
    let again = run(directory.path(), &["certs", "issue", "--out", "mine"], "");
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("cannot write mine/ca.crt"), "{}", stderr(&again));
}

#[rstest]
#[case::byo_without_bundle(&["install", "--tls", "byo"])]
#[case::bundle_without_byo(&["install", "--ca-bundle", "ca.crt"])]
#[case::no_certificate(&["install", "--tls", "byo", "--ca-bundle", "none.crt"])]
#[case::no_such_mode(&["install", "--default-mode", "on"])]
#[case::a_network_policy_does_not_hold_on_the_host_network(&["install", "--network-policy", "--host-network"])]
#[case::two_servers_at_a_port(&["install", "--admin-port", "8443"])]
#[case::a_port_of_root(&["install", "--webhook-port", "443"])]
#[case::no_such_effect(&["install", "--toleration", "pool:Never"])]
#[case::a_node_has_one_value(&["install", "--node-selector", "a=1", "--node-selector", "a=2"])]
#[case::no_secret_has_this_name(&["install", "--image-pull-secret", "My_Secret"])]
#[case::a_collector_without_a_scheme(&["install", "--otlp-endpoint", "collector:4318"])]
#[case::labels_of_no_monitor(&["install", "--pod-monitor-label", "release=prometheus"])]
fn install_refuses(#[case] args: &[&str]) {
    let directory = directory(&[("ca.crt", ""), ("none.crt", "nothing")]);
    assert_eq!(run(directory.path(), args, "").status.code(), Some(2));
}

#[rstest]
#[case::reports(
    &["--reports", "--reports-events"],
    "--reports installs a CronJob, but --engine policy installs no pods: remove --reports, and run \
     `linkerd-linger audit --all-namespaces --write-reports` where you run scheduled jobs"
)]
#[case::sockets(
    &["--sockets"],
    "--sockets installs a DaemonSet, but --engine policy installs no pods: remove --sockets; `linkerd-linger sockets` \
     reads the connections of pods without it"
)]
#[case::ha(&["--ha"], "--ha configures the server, but --engine policy installs none: remove --ha")]
#[case::traces(
    &["--otlp-endpoint", "http://collector.traces:4318"],
    "--otlp-endpoint configures the server, but --engine policy installs none: remove --otlp-endpoint"
)]
fn flags_about_pods_are_refused_without_pods(#[case] flags: &[&str], #[case] message: &str) {
    let args: Vec<_> = ["install", "--engine", "policy"].iter().chain(flags).copied().collect();
    let output = run(directory(&[]).path(), &args, "");
    let expected = format!("error: {message}\n");
    assert_eq!((stderr(&output), stdout(&output), output.status.code()), (&*expected, "", Some(2)));
}

const ENTRY: &str = "\
- id: cart
  name: Cart
  reliable: {commands: [cartd]}
  settings:
    - {flag: [--idle], format: go-duration}
  idle:
    - {closes: 30s, source: our own main.go, certain: cartd reads its timeout only from --idle}
";

#[test]
fn the_catalog_shows_an_entry_with_its_sources() {
    let directory = directory(&[("p.yaml", &format!("servers:\n{ENTRY}"))]);
    let output = run(directory.path(), &["catalog", "show", "cart", "--policy", "p.yaml"], "");
    let expected = "\
Cart (cart, family policy)

Recognised by
  command cartd

Settings, in order of precedence
  flag --idle: idle timeout as go-duration

Default
  closes after 30s
    certain: cartd reads its timeout only from --idle
    source: our own main.go
";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn the_catalog_names_what_a_wrong_id_may_mean() {
    let output = run(directory(&[]).path(), &["catalog", "show", "gunicron"], "");
    let expected = "error: unknown server id gunicron; did you mean gunicorn? `linkerd-linger catalog list` lists all ids\n";
    assert_eq!((stderr(&output), output.status.code()), (expected, Some(2)));
}

#[test]
fn cases_of_the_catalog_pass_or_say_what_is_said_instead() {
    let cases = "\
- {name: cart/flag, command: cartd --idle 10s, expect: certain cart 10s}
- {name: cart/default, command: cartd, expect: certain cart 20s}
";
    let directory = directory(&[("ours.yaml", ENTRY), ("cases.yaml", cases)]);
    let output = run(directory.path(), &["catalog", "test", "--servers", "ours.yaml", "cases.yaml"], "");
    let expected = "\
cases.yaml:2: cart/default: expected certain cart 20s; got certain cart 30s: default of cart (our own main.go)
1 passed, 1 failed
";
    assert_eq!((stdout(&output), output.status.code()), (expected, Some(1)));
}

#[test]
fn an_entry_without_a_source_or_a_grade_does_not_load() {
    let entry = "\
- id: cart
  name: Cart
  reliable: {commands: [cartd]}
  settings:
    - {flag: [--idle], format: fortnights}
  idle:
    - {closes: 30s}
";
    let directory = directory(&[("ours.yaml", entry)]);
    let output = run(directory.path(), &["catalog", "test", "--servers", "ours.yaml"], "");
    let told = stderr(&output);
    for part in [
        "ours.yaml:5: unknown format fortnights; expected one of seconds,",
        "ours.yaml:7: closes: 30s has no source",
        "ours.yaml:7: closes: 30s has no grade; add certain or likely, with the reason",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(output.status.code(), Some(2));
}

/// Runs the program after these commands of a shell, and with these redirections.
fn run_in_shell(directory: &Path, before: &str, args: &[&str], redirection: &str) -> Output {
    let script = format!("{before} exec \"$0\" \"$@\" {redirection}");
    let program = env!("CARGO_BIN_EXE_linkerd-linger");
    Command::new("sh").args(["-c", &script, program]).args(args).current_dir(directory).output().unwrap()
}

#[rstest]
#[case::findings(&["lint", "bad.yaml"])]
#[case::findings_as_json(&["lint", "-o", "json", "bad.yaml"])]
#[case::fixes(&["lint", "--diff", "bad.yaml"])]
#[case::explained(&["explain", "bad.yaml"])]
#[case::manifests(&["install"])]
#[case::objects_to_delete(&["uninstall"])]
#[case::catalog(&["catalog", "list"])]
#[case::schema(&["schema", "policy"])]
#[case::completion(&["completion", "bash"])]
#[case::demo(&["demo"])]
fn a_result_that_cannot_be_printed_is_an_error(#[case] args: &[&str]) {
    let directory = directory(&[("bad.yaml", BAD)]);
    let output = run_in_shell(directory.path(), "", args, ">/dev/full");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error: cannot write "), "{}", stderr(&output));
}

#[rstest]
#[case::findings(&["lint", "bad.yaml"], 1)]
#[case::no_such_file(&["lint", "none.yaml"], 2)]
#[case::fixed(&["lint", "--fix", "bad.yaml"], 0)]
#[case::server_that_does_not_start(&["serve", "--self-signed", "--listen", "192.0.2.1:443"], 2)]
fn a_note_that_cannot_be_printed_changes_no_exit_code(#[case] args: &[&str], #[case] code: i32) {
    let directory = directory(&[("bad.yaml", BAD)]);
    let output = run_in_shell(directory.path(), "", args, "2>/dev/full");
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn a_certificate_is_issued_even_if_that_cannot_be_printed() {
    let directory = directory(&[]);
    let output =
        run_in_shell(directory.path(), "", &["certs", "issue", "--out", "."], ">/dev/full 2>/dev/full");
    assert_eq!(output.status.code(), Some(0));
    assert!(directory.path().join("tls.key").exists());
}

#[test]
fn a_certificate_that_cannot_be_written_leaves_no_file_in_the_way() {
    let directory = directory(&[]);
    let args = ["certs", "issue", "--out", "."];
    let output = run_in_shell(directory.path(), "trap '' XFSZ; ulimit -f 0;", &args, "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ca.crt: File too large"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[rstest]
#[case::fixes(&["lint", "--fix", "bad.yaml"], "bad.yaml")]
#[case::baseline(&["lint", "--write-baseline", "baseline.yaml", "bad.yaml"], "baseline.yaml")]
#[case::output(&["lint", "-o", "json=report.json", "bad.yaml"], "report.json")]
fn a_full_disk_leaves_the_old_file(#[case] args: &[&str], #[case] written: &str) {
    let files = [("bad.yaml", BAD), ("baseline.yaml", "old"), ("report.json", "old")];
    let directory = directory(&files);
    // A limit for the size of files, since a disk cannot be filled without harm.
    let output = run_in_shell(directory.path(), "trap '' XFSZ; ulimit -f 0;", args, "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(written) && stderr(&output).contains("File too large"),
        "{}",
        stderr(&output)
    );
    for (name, text) in files {
        assert_eq!(fs::read_to_string(directory.path().join(name)).unwrap(), text, "{name}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), files.len(), "no temporary file is left");
}
