//! `lint` as teams run it: over a repository as it is.

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
fn what_is_no_object_is_skipped_and_counted() {
    let directory = repository();
    fs::remove_file(directory.path().join("base/cart.yaml")).unwrap();
    write(directory.path(), &[("base/config.yaml", "apiVersion: v1\nkind: ConfigMap\n")]);
    let output = run(directory.path(), &["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "no object here runs pods; skipped 5 documents that are not Kubernetes objects; \
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
fn what_is_not_rendered_is_linted_as_it_is() {
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
fn what_another_program_completes_is_not_linted(#[case] text: &str, #[case] expected: &str) {
    let directory = directory(&[("web.yaml", text), ("map.yaml", "apiVersion: v1\nkind: ConfigMap\n")]);
    let output = run(directory.path(), &["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(last_line(&output), format!("no object here runs pods; not linted: {expected}"));
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
