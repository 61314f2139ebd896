//! Tests `lint` on whole repositories.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rstest::rstest;
use tempfile::TempDir;

/// A Deployment whose probe runs when its server closes the connection.
const BAD: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  namespace: shop
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata:
      annotations:
        linkerd.io/inject: enabled
    spec:
      containers:
      - name: web
        image: example.com/cart
        command: [uvicorn, app:app, --timeout-keep-alive, '10']
        ports:
        - containerPort: 8000
        livenessProbe:
          httpGet:
            port: 8000
          periodSeconds: 10
";

/// Patches of the kind that kustomize takes, and no API server.
const PATCHES: [&str; 2] = [
    "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  template:
    spec:
      containers:
      - $patch: delete
        name: debug
      - name: web
        env:
        - value: nothing
",
    "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  template:
    spec:
      containers:
      - name: web
        ports:
        - name: admin
",
];

const OVERLAY: &str = "\
resources: [../../base]
patches:
- path: remove-debug.yaml
- path: ports.yaml
";

/// What lies around in a repository beside manifests.
const OTHERS: [(&str, &str); 5] = [
    ("grafana/datasources.yaml", "apiVersion: 1\ndatasources:\n- {name: Metrics, type: prometheus}\n"),
    ("docker-compose.yml", "services:\n  cart: {image: example.com/cart, ports: ['8000:8000']}\n"),
    (".gitlab/ci.yml", "kind: [\n"),
    ("ci/pipeline.yml", "on: push\njobs: {test: {steps: [{run: make}]}}\n"),
    ("broken-values.yaml", "replicas: {\n"),
];

const CHART: [(&str, &str); 4] = [
    ("charts/cart/Chart.yaml", "apiVersion: v2\nname: Cart\nversion: 1.0.0\n"),
    ("charts/cart/values.yaml", "replicas: 2\n"),
    ("charts/cart/templates/web.yaml", "kind: Deployment\nreplicas: {{ .Values.replicas }}\n"),
    ("charts/cart/charts/part/Chart.yaml", "apiVersion: v2\nname: part\nversion: 1.0.0\n"),
];

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    directory
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A repository with a base, an overlay, a chart, and other YAML.
fn repository() -> TempDir {
    let directory = directory(&[
        ("base/kustomization.yaml", "resources: [cart.yaml]\n"),
        ("base/cart.yaml", BAD),
        ("overlays/prod/kustomization.yaml", OVERLAY),
        ("overlays/prod/remove-debug.yaml", PATCHES[0]),
        ("overlays/prod/ports.yaml", PATCHES[1]),
    ]);
    write(directory.path(), &OTHERS);
    write(directory.path(), &CHART);
    directory
}

/// Runs the program with these programs, shell scripts, and no others on the PATH.
fn run_with(programs: &[(&str, &str)], directory: &Path, args: &[&str]) -> Output {
    let bin = tempfile::tempdir().unwrap();
    for (name, script) in programs {
        let path = bin.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(args)
        .current_dir(directory)
        .env("PATH", bin.path())
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

fn run(directory: &Path, args: &[&str]) -> Output {
    run_with(&[], directory, args)
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn last_line(output: &Output) -> &str {
    stdout(output).lines().last().unwrap_or_default()
}

#[test]
fn documents_without_an_object_are_skipped_and_counted() {
    let directory = repository();
    fs::remove_file(directory.path().join("base/cart.yaml")).unwrap();
    write(directory.path(), &[("base/config.yaml", "apiVersion: v1\nkind: ConfigMap\n")]);
    let output = run(directory.path(), &["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "no object runs pods; skipped 5 documents that are not Kubernetes objects; \
                    not linted: 2 patch files, 1 template file";
    assert_eq!(last_line(&output), expected);
    let expected = "\
note: not rendered, because helm is not on the PATH: ./charts/cart/Chart.yaml
note: not rendered, because neither kustomize nor kubectl is on the PATH: ./overlays/prod/kustomization.yaml
note: patches that were not linted: ./overlays/prod/ports.yaml, ./overlays/prod/remove-debug.yaml
note: templates that were not linted: ./charts/cart/templates/web.yaml
";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn unrendered_files_are_linted_as_they_are() {
    let output = run(repository().path(), &["lint", "--no-render", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("./base/cart.yaml:22 Deployment shop/cart  error["),
        "{}",
        stdout(&output)
    );
    assert!(stderr(&output).contains("note: not rendered, because of --no-render: "), "{}", stderr(&output));
}

#[rstest]
#[case::kustomize("kustomize", "[ \"$*\" = 'build ./overlays/prod' ]", "kustomize build ./overlays/prod")]
#[case::kubectl("kubectl", "[ \"$*\" = 'kustomize ./overlays/prod' ]", "kubectl kustomize ./overlays/prod")]
fn kustomizations_that_no_other_includes_are_built(
    #[case] program: &str,
    #[case] test: &str,
    #[case] command: &str,
) {
    let directory = repository();
    let script = format!("{test} && exec /bin/cat base/cart.yaml");
    let output = run_with(&[(program, &script)], directory.path(), &["lint", "-o", "json", "."]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = report["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 1, "{report}");
    assert_eq!(objects[0]["file"], *command);
    assert_eq!(objects[0]["renderedFrom"], "./overlays/prod/kustomization.yaml");
    assert_eq!(report["skipped"]["patches"], serde_json::json!([]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn charts_are_rendered_with_the_charts_in_them() {
    let script = "[ \"$*\" = 'template cart ./charts/cart' ] && exec /bin/cat base/cart.yaml";
    let output = run_with(&[("helm", script)], repository().path(), &["lint", "-o", "json", "."]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["objects"][0]["file"], "helm template cart ./charts/cart");
    assert_eq!(report["objects"][0]["renderedFrom"], "./charts/cart/Chart.yaml");
    assert_eq!(report["objects"][1]["file"], "./base/cart.yaml");
    assert_eq!(report["skipped"]["templates"], serde_json::json!([]));
}

#[rstest]
#[case::fails("echo 'Error: no such base' >&2; exit 1", "because kustomize failed: no such base")]
#[case::says_nothing("exit 3", "because kustomize failed: it printed no error")]
#[case::hangs("exec /bin/sleep 60", "because kustomize did not end within 200ms")]
fn a_kustomization_that_cannot_be_built_is_named(#[case] script: &str, #[case] why: &str) {
    let (directory, since) = (repository(), Instant::now());
    let args = ["lint", "--render-timeout", "200ms", "."];
    let output = run_with(&[("kustomize", script)], directory.path(), &args);
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let note = format!("note: not rendered, {why}: ./overlays/prod/kustomization.yaml\n");
    assert!(stderr(&output).contains(&note), "{}", stderr(&output));
    assert!(stdout(&output).contains("./base/cart.yaml:22 "), "{}", stdout(&output));
}

#[rstest]
#[case::syntax("apiVersion: v1\nkind: Pod\nspec: {\n", "./web.yaml:")]
#[case::type_of_a_field(
    "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: b, args: [80]}]}\n",
    "./web.yaml:3: error: cannot read Pod: spec.containers[0].args[0]: "
)]
#[case::not_even_an_object(
    "apiVersion: v1\nkind: Pod\nspec: 3\n",
    "./web.yaml:3: error: cannot read Pod: spec: "
)]
fn a_mistake_in_an_object_is_told_with_its_place(#[case] text: &str, #[case] expected: &str) {
    let output = run(directory(&[("web.yaml", text)]).path(), &["lint", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
}

#[rstest]
#[case::variable_of_flux(
    "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: b, args: [a],\n ports: [{containerPort: '${PORT}'}]}]}\n",
    "1 template file"
)]
#[case::patch_that_no_kustomization_names(PATCHES[1], "1 patch file")]
fn templates_and_patches_are_not_linted(#[case] text: &str, #[case] expected: &str) {
    let directory = directory(&[("web.yaml", text), ("map.yaml", "apiVersion: v1\nkind: ConfigMap\n")]);
    let output = run(directory.path(), &["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(last_line(&output), format!("no object runs pods; not linted: {expected}"));
}

#[test]
fn a_patch_that_is_named_is_an_error_that_says_what_to_do() {
    let directory = directory(&[("patch.yaml", PATCHES[1])]);
    let output = run(directory.path(), &["lint", "patch.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("= help: this looks like a patch, not a whole object"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn several_outputs_are_written_at_once() {
    let directory = directory(&[("cart.yaml", BAD)]);
    let args = ["lint", "-o", "text", "-o", "sarif=out.sarif", "-o", "junit=out.xml", "cart.yaml"];
    let output = run(directory.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("cart.yaml:22 Deployment shop/cart  error["), "{}", stdout(&output));
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    let log: serde_json::Value = serde_json::from_str(&read("out.sarif")).unwrap();
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "probe-matches-idle-timeout");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "cart.yaml");
    assert_eq!(place["region"]["startLine"], 22);
    assert!(read("out.xml").contains("<failure type=\"probe-matches-idle-timeout\""));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[rstest]
#[case::two_to_stdout(&["-o", "text", "-o", "json"], "two outputs go to stdout: write one to a file, such as")]
#[case::one_file_twice(&["-o", "json=a", "-o", "sarif=a"], "two outputs go to a: ")]
#[case::no_such_format(&["-o", "pdf"], "unknown format \"pdf\"; expected one of text, json, html, sarif, junit, github")]
#[case::no_file(&["-o", "json="], "the file name after the = is missing")]
#[case::no_directory(&["-o", "json=none/a"], "cannot write none/a: ")]
#[case::no_baseline(&["--baseline", "none.yaml"], "cannot read the baseline none.yaml: ")]
#[case::no_object_of_stdin(&["--fix", "-"], "no Kubernetes object found in <stdin>")]
fn flags_that_cannot_be_followed(#[case] flags: &[&str], #[case] expected: &str) {
    let directory = directory(&[("cart.yaml", BAD)]);
    let args: Vec<&str> = ["lint"]
        .iter()
        .chain(flags)
        .chain(flags.last().filter(|last| **last != "-").map(|_| &"cart.yaml"))
        .copied()
        .collect();
    let output = run(directory.path(), &args);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[rstest]
#[case::after_the_value(
    "periodSeconds: 10",
    "periodSeconds: 10 # linkerd-linger: ignore[probe-matches-idle-timeout] soon"
)]
#[case::above_the_value(
    "          periodSeconds",
    "          # linkerd-linger: ignore[probe-matches-idle-timeout] soon\n          periodSeconds"
)]
#[case::above_the_object(
    "apiVersion",
    "# linkerd-linger: ignore[probe-matches-idle-timeout] soon\n\napiVersion"
)]
fn a_comment_suppresses_a_finding(#[case] old: &str, #[case] new: &str) {
    let directory = directory(&[("cart.yaml", &BAD.replacen(old, new, 1))]);
    let output = run(directory.path(), &["lint", "cart.yaml"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(last_line(&output).contains(", 1 finding suppressed"), "{}", stdout(&output));
    let output = run(directory.path(), &["lint", "-o", "sarif", "cart.yaml"]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([{"kind": "inSource", "justification": "soon"}]);
    assert_eq!(log["runs"][0]["results"][0]["suppressions"], expected);
}

#[rstest]
#[case::elsewhere(
    "kind: Deployment # linkerd-linger: ignore[probe-matches-idle-timeout] soon",
    "cart.yaml:2: warning: this comment suppresses no finding of probe-matches-idle-timeout\n"
)]
#[case::no_reason(
    "kind: Deployment # linkerd-linger: ignore[probe-matches-idle-timeout]",
    "cart.yaml:2: warning: this comment gives no reason, so it suppresses nothing\n"
)]
fn a_comment_that_does_nothing_is_warned_of(#[case] line: &str, #[case] expected: &str) {
    let directory = directory(&[("cart.yaml", &BAD.replace("kind: Deployment", line))]);
    let output = run(directory.path(), &["lint", "cart.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
    assert!(last_line(&output).contains("1 warning"), "{}", stdout(&output));
}

#[test]
fn a_baseline_hides_what_is_known_and_nothing_else() {
    let directory = directory(&[("cart.yaml", BAD)]);
    let lint = |args: &[&str]| run(directory.path(), &[&["lint"], args].concat());
    let written = lint(&["--write-baseline", "known.yaml", "cart.yaml"]);
    assert_eq!((written.status.code(), stderr(&written)), (Some(0), "wrote 1 finding to known.yaml\n"));
    let known = lint(&["--baseline", "known.yaml", "cart.yaml"]);
    assert_eq!((known.status.code(), stderr(&known)), (Some(0), ""));
    assert!(last_line(&known).contains("1 finding suppressed"), "{}", stdout(&known));
    write(directory.path(), &[("more.yaml", &BAD.replace("name: cart", "name: more"))]);
    let more = lint(&["--baseline", "known.yaml", "cart.yaml", "more.yaml"]);
    assert_eq!(more.status.code(), Some(1));
    assert!(stdout(&more).starts_with("more.yaml:22 "), "{}", stdout(&more));
    let gone = lint(&["--baseline", "known.yaml", "more.yaml"]);
    assert!(
        stderr(&gone).contains("note: the baseline has 1 finding not found in the manifests"),
        "{}",
        stderr(&gone)
    );
}

#[test]
fn a_baseline_of_files_that_cannot_be_read_is_not_written() {
    let directory = directory(&[("cart.yaml", BAD), ("broken.yaml", "kind: [\n"), ("known.yaml", "old")]);
    let output =
        run(directory.path(), &["lint", "--write-baseline", "known.yaml", "cart.yaml", "broken.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("error: known.yaml was not written: 1 error while reading"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(directory.path().join("known.yaml")).unwrap(), "old");
}

/// A manifest with comments and a form of its own, of which a fix keeps everything.
fn odd(command: &str, probe: &str) -> String {
    format!(
        "\
# The cart.
apiVersion: v1
kind: Pod
metadata: {{name: cart, annotations: {{linkerd.io/inject: enabled}}}}
spec:
    containers:
    -   name:  web   # two spaces
        image: 'example.com/cart'
        {command}
        {probe}
---
apiVersion: v1
kind: ConfigMap
"
    )
}

#[rstest]
#[case::flag(
    "command: [uvicorn, 'app:app', --timeout-keep-alive, \"10\"] # ten",
    "livenessProbe: {httpGet: {port: 8000}, periodSeconds: 10}",
    "[uvicorn, 'app:app', --timeout-keep-alive, \"10\"] # ten",
    "[uvicorn, 'app:app', --timeout-keep-alive, \"75\"] # ten"
)]
#[case::flag_with_its_value(
    "args: [] \n        command: [gunicorn, app, '--keep-alive=10', -k, gthread]",
    "livenessProbe: {httpGet: {port: 8000}, periodSeconds: 10}",
    "--keep-alive=10",
    "--keep-alive=75"
)]
#[case::flag_in_a_script(
    "command:\n        - sh\n        - -c\n        - |\n          set -e\n          exec uvicorn app:app --timeout-keep-alive 10",
    "livenessProbe: {httpGet: {port: 8000}, periodSeconds: 10}",
    "--timeout-keep-alive 10",
    "--timeout-keep-alive 75"
)]
#[case::period_of_a_default(
    "command: [hypercorn, 'app:app'] # its default is 5s",
    "livenessProbe: {httpGet: {port: 8000}, periodSeconds: 5} # five",
    "periodSeconds: 5}",
    "periodSeconds: 6}"
)]
#[case::period_that_is_not_written(
    "command: [uvicorn, 'app:app']\n        env: [{name: UVICORN_TIMEOUT_KEEP_ALIVE, value: '10'}]",
    "livenessProbe:\n            httpGet: {port: 8000}",
    "            httpGet",
    "            periodSeconds: 11\n            httpGet"
)]
fn a_fix_changes_one_value(#[case] command: &str, #[case] probe: &str, #[case] old: &str, #[case] new: &str) {
    let before = odd(command, probe);
    let directory = directory(&[("cart.yaml", &before)]);
    let read = || fs::read_to_string(directory.path().join("cart.yaml")).unwrap();
    let diff = run(directory.path(), &["lint", "--diff", "cart.yaml"]);
    assert_eq!(read(), before, "--diff changed the file");
    assert!(
        stdout(&diff).starts_with("--- cart.yaml\n+++ cart.yaml\n@@ "),
        "{}{}",
        stdout(&diff),
        stderr(&diff)
    );
    let fixed = run(directory.path(), &["lint", "--fix", "cart.yaml"]);
    assert_eq!(read(), before.replacen(old, new, 1), "{}", stderr(&fixed));
    assert!(stderr(&fixed).starts_with("fixed 1 finding in 1 file\n"), "{}", stderr(&fixed));
    assert!(!stdout(&fixed).contains("[probe-matches-idle-timeout]"), "{}", stdout(&fixed));
    let again = run(directory.path(), &["lint", "--fix", "cart.yaml"]);
    assert!(stderr(&again).starts_with("fixed 0 findings in 0 files\n"), "{}", stderr(&again));
}

#[test]
fn a_period_that_others_share_is_not_changed() {
    let shared = "\
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {linkerd.io/inject: enabled}}
spec:
  containers:
  - name: web
    image: example.com/a
    command: [hypercorn, 'app:app']
    livenessProbe: &probe {httpGet: {port: 8000}, periodSeconds: 5}
  - name: other
    image: example.com/b
    livenessProbe: *probe
";
    let directory = directory(&[("a.yaml", shared)]);
    let output = run(directory.path(), &["lint", "--fix", "a.yaml"]);
    assert_eq!(fs::read_to_string(directory.path().join("a.yaml")).unwrap(), shared);
    assert!(stderr(&output).contains("fixed 0 findings in 0 files\na.yaml:1: "), "{}", stderr(&output));
}

#[test]
fn several_objects_of_a_file_are_fixed() {
    let other = BAD.replace("name: cart", "name: more");
    let list = format!("{BAD}---\n# More.\n{other}");
    let directory = directory(&[("all.yaml", &list)]);
    let output = run(directory.path(), &["lint", "--fix", "all.yaml"]);
    let fixed = fs::read_to_string(directory.path().join("all.yaml")).unwrap();
    assert_eq!(fixed, list.replace("alive, '10'", "alive, '75'"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

/// A RayCluster whose two groups have the pod template of the Deployment.
fn ray_cluster() -> String {
    let (_, template) = BAD.split_once("  template:\n").unwrap();
    let lines: String = template.lines().map(|line| format!("  {line}\n")).collect();
    let template = format!("    template:\n{lines}");
    format!(
        "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {{name: demo, namespace: shop}}\nspec:\n  \
         headGroupSpec:\n{template}  workerGroupSpecs:\n  - groupName: small\n{template}"
    )
}

#[test]
fn each_pod_template_of_an_object_is_fixed() {
    let text = ray_cluster();
    let directory = directory(&[("ray.yaml", &text)]);
    let output = run(directory.path(), &["lint", "--fix", "ray.yaml"]);
    let fixed = fs::read_to_string(directory.path().join("ray.yaml")).unwrap();
    assert_eq!(fixed, text.replace("alive, '10'", "alive, '75'"), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("fixed 2 findings in 1 file\n"), "{}", stderr(&output));
}

#[test]
fn a_baseline_distinguishes_the_pod_templates_of_an_object() {
    let text = ray_cluster();
    let directory = directory(&[("ray.yaml", &text.replacen("alive, '10'", "alive, '75'", 1))]);
    run(directory.path(), &["lint", "--write-baseline", "known.yaml", "ray.yaml"]);
    let args = ["lint", "--baseline", "known.yaml", "--fail-on", "warning", "ray.yaml"];
    assert_eq!(run(directory.path(), &args).status.code(), Some(0));
    write(directory.path(), &[("ray.yaml", &text)]);
    let output = run(directory.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("RayCluster shop/demo (spec.headGroupSpec.template)  warning["));
    assert!(last_line(&output).ends_with("1 warning, 1 finding suppressed"), "{}", last_line(&output));
}

const WITHOUT_TEMPLATE: &str = "\
apiVersion: kafka.strimzi.io/v1
kind: KafkaNodePool
metadata: {name: broker}
spec: {replicas: 3}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec: {parentRefs: [{name: public}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: cart, namespace: shop}
spec:
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: cart}
";

#[test]
fn objects_that_may_run_pods_are_counted_by_kind() {
    let directory = directory(&[("all.yaml", WITHOUT_TEMPLATE)]);
    let output = run(directory.path(), &["lint", "all.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(last_line(&output), "no object runs pods; not judged, no pod template: 1 KafkaNodePool");
    let report = run(directory.path(), &["lint", "-o", "json", "all.yaml"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let kind = |api_version: &str, kind: &str, why: &str| serde_json::json!({"apiVersion": api_version, "kind": kind, "objects": 1, "why": why});
    let expected = serde_json::json!([
        kind("kafka.strimzi.io/v1", "KafkaNodePool", "no-pod-template"),
        kind("v1", "ConfigMap", "no-pods"),
        kind("gateway.networking.k8s.io/v1", "HTTPRoute", "no-pods"),
    ]);
    assert_eq!(report["skipped"]["kinds"], expected);
}

#[rstest]
#[case::with_the_deployment(BAD, "note: judged with the object that has their pod template")]
#[case::without("", "note: not judged, because the object with their pod template is not in the input")]
fn a_rollout_may_have_the_pod_template_of_a_deployment(#[case] more: &str, #[case] note: &str) {
    let directory = directory(&[("all.yaml", &format!("{WITHOUT_TEMPLATE}---\n{more}"))]);
    for command in ["lint", "explain"] {
        let output = run(directory.path(), &[command, "all.yaml"]);
        assert_eq!(stderr(&output), format!("{note}: Rollout shop/cart (Deployment cart)\n"));
    }
}

#[test]
fn stdin_cannot_be_fixed() {
    let directory = directory(&[("cart.yaml", BAD)]);
    let stdin = fs::File::open(directory.path().join("cart.yaml")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["lint", "--fix", "-"])
        .stdin(stdin)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "error: --fix changes files, but <stdin> is not a file\n");
}

#[test]
fn rules_are_listed_and_explained() {
    let directory = directory(&[("p.yaml", "rules: {close-wait-unset: ignore}\n")]);
    let list = run(directory.path(), &["lint", "--list-rules", "--policy", "p.yaml"]);
    assert!(
        stdout(&list).starts_with("probe-matches-idle-timeout     reject  probes or regular requests"),
        "{}",
        stdout(&list)
    );
    assert!(stdout(&list).contains("close-wait-unset               ignore  "), "{}", stdout(&list));
    let page = run(directory.path(), &["explain", "close-wait-unset"]);
    assert!(stdout(&page).starts_with("# close-wait-unset\n\n**Finds** "), "{}", stdout(&page));
    assert_eq!(page.status.code(), Some(0));
}

#[test]
fn shells_complete_and_each_command_has_a_page() {
    let directory = directory(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(directory.path(), &["completion", shell]);
        assert!(stdout(&output).contains("write-baseline"), "{shell}: {}", stderr(&output));
        assert!(!stdout(&output).contains("_extension-metadata -"), "{shell} shows hidden commands");
    }
    let output = run(directory.path(), &["man", "man1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["linkerd-linger.1", "linkerd-linger-lint.1"] {
        let text = fs::read_to_string(directory.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".TH linkerd-linger"), "{text}");
    }
}

/// A step of action.yml by its name.
fn step(name: &str) -> serde_json::Value {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/action.yml")).unwrap();
    let action: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let steps = action["runs"]["steps"].as_array().unwrap();
    let inputs: Vec<_> = action["inputs"].as_object().unwrap().keys().collect();
    for input in inputs {
        assert!(text.contains(&format!("${{{{ inputs.{input} }}}}")), "no step uses {input}");
    }
    steps.iter().find(|step| step["name"] == name).unwrap().clone()
}

#[rstest]
#[case::defaults(&[], "::error file=deploy/cart.yaml,line=22,title=probe-matches-idle-timeout::", Some(1))]
#[case::all_inputs(&[("POLICY", "my policy.yaml"), ("FAIL_ON", "warning"), ("SARIF_FILE", "my lint.sarif")], "::warning file=deploy/cart.yaml,", Some(1))]
#[case::baseline(&[("BASELINE", "known.yaml")], "", Some(0))]
fn the_action_of_github_lints(
    #[case] set: &[(&str, &str)],
    #[case] expected: &str,
    #[case] code: Option<i32>,
) {
    let directory = directory(&[
        ("deploy/cart.yaml", BAD),
        ("my policy.yaml", "rules: {probe-matches-idle-timeout: warn}\n"),
    ]);
    run(directory.path(), &["lint", "--write-baseline", "known.yaml", "deploy"]);
    let bin = directory.path().join("linkerd-linger/bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_linkerd-linger"), bin.join("linkerd-linger")).unwrap();
    let step = step("Lint");
    let mut command = Command::new("bash");
    command.args(["-e", "-c", step["run"].as_str().unwrap()]).current_dir(directory.path());
    // What the workflow does not set is empty, but for the inputs with a default.
    for name in step["env"].as_object().unwrap().keys() {
        command.env(name, "");
    }
    command.env("RUNNER_TEMP", directory.path()).env("LINT_PATH", "deploy").env("FAIL_ON", "reject");
    let output = command.envs(set.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), code, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).starts_with(expected), "{}", stdout(&output));
    let sarif = set.iter().any(|(name, _)| *name == "SARIF_FILE");
    assert_eq!(directory.path().join("my lint.sarif").exists(), sarif);
}

#[test]
fn the_hook_of_pre_commit_lints_a_directory() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.pre-commit-hooks.yaml")).unwrap();
    let hooks: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let (entry, args) = (hooks[0]["entry"].as_str().unwrap(), hooks[0]["args"].as_array().unwrap());
    let words: Vec<_> = entry.split(' ').chain(args.iter().map(|arg| arg.as_str().unwrap())).collect();
    assert_eq!(words[0], "linkerd-linger");
    let output = run(directory(&[("deploy/cart.yaml", BAD)]).path(), &words[1..]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
