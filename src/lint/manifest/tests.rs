use json_patch::jsonptr::PointerBuf;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: web
    command: [uvicorn,
      app]
    livenessProbe:
      httpGet: {port: 8080}
      periodSeconds: 5
";

fn one(text: &str) -> Document {
    let mut manifests = read("shop.yaml", text);
    assert_eq!(manifests.errors, []);
    assert_eq!(manifests.documents.len(), 1);
    manifests.documents.remove(0)
}

fn line(document: &Document, pointer: &str) -> usize {
    document.line_of(&PointerBuf::parse(pointer).unwrap())
}

#[rstest]
#[case("", 1)]
#[case("/metadata", 3)]
#[case("/spec/containers", 6)]
#[case("/spec/containers/0", 7)]
#[case("/spec/containers/0/command/0", 8)]
#[case("/spec/containers/0/command/1", 9)]
#[case("/spec/containers/0/livenessProbe", 10)]
#[case("/spec/containers/0/livenessProbe/httpGet/port", 11)]
#[case("/spec/containers/0/livenessProbe/periodSeconds", 12)]
#[case::absent("/spec/containers/0/livenessProbe/timeoutSeconds", 10)]
#[case::absent_below("/metadata/annotations/a~1b", 3)]
#[case::no_such_item("/spec/containers/7/name", 6)]
fn pointers_lead_to_lines(#[case] pointer: &str, #[case] expected: usize) {
    let ends = ["\n", "\r\n", "\r"].map(|end| POD.replace('\n', end));
    for text in ends.into_iter().chain([format!("\u{feff}{POD}")]) {
        let document = one(&text);
        assert_eq!(line(&document, pointer), expected);
        assert_eq!(document.line_text(12), "      periodSeconds: 5");
        assert_eq!(document.objects().unwrap()[0].display_name(), "web");
    }
}

#[test]
fn json_keeps_its_own_lines() {
    let text = "{\n \"apiVersion\": \"v1\",\n \"kind\": \"Pod\",\n \"metadata\": {\n  \"name\": \"a\\ud83d\\ude00\\n\"\n },\
                \n \"spec\": {\"containers\": [\n  {\"name\": \"x\"}]}\n}\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}";
    let manifests = read("a.json", text);
    assert_eq!(manifests.errors, []);
    let [first, second] = manifests.documents.as_slice() else { panic!() };
    assert_eq!((line(first, "/metadata/name"), line(first, "/spec/containers/0/name")), (5, 8));
    assert_eq!(first.objects().unwrap()[0].display_name(), "a😀\n");
    assert_eq!((second.line(), line(second, "/kind")), (10, 10));
}

#[test]
fn lists_are_split_and_their_items_keep_their_lines() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n-\n  \
                apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: b\n---\nkind: List\nitems: []\n";
    let manifests = read("list.yaml", text);
    let [a, b] = manifests.documents.as_slice() else { panic!("{manifests:?}") };
    assert_eq!((a.kind(), a.line(), line(a, "/metadata/name")), ("Pod", 4, 6));
    assert_eq!((b.kind(), b.line(), line(b, "/metadata/name")), ("Deployment", 8, 11));
    assert_eq!(b.objects().unwrap()[0].display_name(), "b");
}

#[test]
fn items_of_a_typed_list_inherit_its_type() {
    let text = "{\"apiVersion\":\"apps/v1\",\"kind\":\"DeploymentList\",\"items\":[\n{\"metadata\":\n{\"name\":\"b\"}},{}]}";
    let manifests = read("list.json", text);
    let [b, empty] = manifests.documents.as_slice() else { panic!("{manifests:?}") };
    assert_eq!((b.line(), line(b, "/metadata"), line(b, "/metadata/name")), (2, 3, 3));
    assert_eq!(b.objects().unwrap()[0].display_name(), "b");
    assert_eq!(empty.json(), r#"{"apiVersion":"apps/v1","kind":"Deployment"}"#);
}

#[test]
fn a_review_gives_up_its_object() {
    let text = "kind: AdmissionReview\napiVersion: admission.k8s.io/v1\nrequest:\n  namespace: shop\n  object:\n    \
                apiVersion: v1\n    kind: Pod\n    metadata: {name: web}\n";
    let document = one(text);
    let object = document.objects().unwrap().remove(0);
    assert_eq!(object.namespace.as_deref(), Some("shop"));
    assert_eq!((document.line(), line(&document, "/metadata/name")), (5, 8));
    let deletion = "kind: AdmissionReview\napiVersion: admission.k8s.io/v1\nrequest: {object: null}\n";
    assert!(read("d.yaml", deletion).documents.is_empty());
}

#[test]
fn anchors_and_merges_become_what_kubectl_sees() {
    let text = "apiVersion: v1\nkind: Pod\nx: &p\n  periodSeconds: 5\n  port: 1\nu:\n  <<: *p\n  port: 2\nz: *p\n\
                w: {<<: [{a: 1}, {a: 2, b: 2}]}\n";
    let document = one(text);
    let json: serde_json::Value = serde_json::from_str(document.json()).unwrap();
    assert_eq!(json["u"], serde_json::json!({"periodSeconds": 5, "port": 2}));
    assert_eq!(json["z"], json["x"]);
    assert_eq!(json["w"], serde_json::json!({"a": 1, "b": 2}));
    assert_eq!((line(&document, "/u/periodSeconds"), line(&document, "/u/port")), (4, 8));
    assert_eq!((line(&document, "/z"), line(&document, "/z/port")), (9, 5));
}

#[test]
fn words_and_numbers_are_those_of_yaml_1_1() {
    let text = "kind: X\non: yes\nmode: 0644\nport: 8080.0\nquoted: 'yes'\nblock: |\n  no\n8080: off\nd: 2027-01-31\n";
    let json: serde_json::Value = serde_json::from_str(one(text).json()).unwrap();
    let expected = serde_json::json!({"kind": "X", "true": true, "mode": 420, "port": 8080, "quoted": "yes",
        "block": "no\n", "8080": false, "d": "2027-01-31"});
    assert_eq!(json, expected);
}

#[test]
fn of_two_keys_the_last_counts() {
    let document = one("apiVersion: v1\nkind: Pod\nkind: Deployment\n");
    assert_eq!((document.kind(), line(&document, "/kind")), ("Deployment", 3));
}

#[rstest]
#[case::number(
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: web\n    ports:\n    - containerPort: x\n",
    7,
    "cannot read Pod: spec.containers[0].ports[0].containerPort: invalid type: string \"x\", expected u16"
)]
#[case::list(
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    name: web\n",
    4,
    "cannot read Pod: spec.containers: invalid type: map, expected a sequence"
)]
#[case::boolean(
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: web\n    args:\n    - \
    --port\n    - 80\n",
    8,
    "cannot read Pod: spec.containers[0].args[1]: invalid type: integer `80`, expected a string"
)]
#[case::json(
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n\"spec\":{\n\"containers\":3}}",
    3,
    "cannot read Pod: spec.containers: invalid type: integer `3`, expected a sequence"
)]
fn wrong_types_lead_to_lines(#[case] text: &str, #[case] line: usize, #[case] message: &str) {
    let error = one(text).objects().unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (line, message));
    assert_eq!(error.to_string(), format!("shop.yaml:{line}: {message}"));
}

/// The start of a Rollout whose template has one container.
const ROLLOUT: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:\n  template:\n    spec:\n      \
    containers:\n      - name: web\n        image: web:1\n";

#[rstest]
#[case::port(
    &format!("{ROLLOUT}        ports:\n        - containerPort: x\n"),
    10,
    "spec.template of this Rollout looks like a pod template, but was not judged: \
     spec.template.spec.containers[0].ports[0].containerPort: invalid type: string \"x\", expected u16"
)]
#[case::sidecar_of_a_task(
    "apiVersion: tekton.dev/v1\nkind: Task\nspec:\n  steps:\n  - image: a\n  sidecars:\n  - image: b\n    args: 3\n",
    8,
    "spec of this Task looks like a pod template, but was not judged: spec.sidecars[0].args: invalid type: integer \
     `3`, expected a sequence"
)]
fn wrong_types_in_custom_resources_lead_to_lines(
    #[case] text: &str,
    #[case] line: usize,
    #[case] message: &str,
) {
    let errors = one(text).template_errors();
    let errors: Vec<_> = errors.iter().map(|error| (error.line, error.message.as_str())).collect();
    assert_eq!(errors, [(line, message)]);
}

#[rstest]
#[case::good(ROLLOUT)]
#[case::no_template("apiVersion: example.com/v1\nkind: Shop\nspec:\n  containers: 3\n")]
#[case::built_in("apiVersion: v1\nkind: Pod\nspec:\n  containers: 3\n")]
fn other_objects_have_no_unreadable_template(#[case] text: &str) {
    assert!(one(text).template_errors().is_empty());
}

#[rstest]
#[case::value("kind: Pod\nspec:\n  replicas: {{ .Values.replicas }}\n")]
#[case::flow("{{- if .Values.enabled }}\nkind: Pod\n{{- end }}\n")]
#[case::include("kind: Pod\nmetadata:\n  labels:\n    {{- include \"labels\" . | nindent 4 }}\n")]
#[case::quoted_key("kind: Pod\nname: {{ include \"x\" . }}-web\n")]
#[case::json("{\"kind\": {{ .Values.kind }}}\n")]
fn helm_templates_get_their_hint(#[case] text: &str) {
    let manifests = read("t.yaml", text);
    assert_eq!(manifests.errors[0].help.as_deref(), Some(RENDER_FIRST), "{manifests:?}");
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let text =
        format!("{POD}---\nkind: [\n---\n# nothing\n---\nkind: Pod\n\tx: 1\n---\nvalues: 3\n---\n{POD}");
    let manifests = read("shop.yaml", &text);
    assert_eq!((manifests.documents.len(), manifests.others), (2, 1));
    let places: Vec<_> = manifests.errors.iter().map(|error| error.line).collect();
    assert_eq!(places, [14, 18]);
    assert_eq!(manifests.errors[1].help.as_deref(), Some("indent YAML with spaces instead of tabs"));
    assert_eq!(manifests.documents[1].line(), 23);
}

#[test]
fn a_broken_line_does_not_hide_the_others() {
    let manifests = read("a.jsonl", "{\"kind\":\"Pod\"}\n{\"kind\":,}\n{\"kind\":\"Job\"}\n");
    assert_eq!(manifests.documents.iter().map(Document::kind).collect::<Vec<_>>(), ["Pod", "Job"]);
    assert_eq!(manifests.errors[0].to_string(), "a.jsonl:2:10: expected value");
}

#[rstest]
#[case::a_line_cut_off(
    "{\"kind\":\"Pod\"}\n{\"kind\":,}\n{\"kind\":\"Job\"}\n{\"x\":\n{\"kind\":\"Pod\"}\n{\"kind\":\"Job\"}\n",
    &[1, 3, 5, 6],
    &[2, 4]
)]
#[case::separators(
    "{\"kind\":\"Pod\"}\n---\n{\"kind\":]}\n--- # last\n# a comment\n{\"kind\":\"Job\"}\n",
    &[1, 6],
    &[3]
)]
#[case::several_lines(
    "{\n \"kind\": \"Pod\",\n \"x\": [\n}\n{\n \"kind\": \"Job\"\n}\n",
    &[5],
    &[4]
)]
#[case::after_a_value("{\"kind\":\"Pod\"} x\n{\"kind\":\"Job\"}\n", &[1, 2], &[1])]
#[case::yaml_between("{\"kind\":\"Pod\"}\n---\nkind: Job\n---\n{\"kind\":]}\n", &[1, 3], &[5])]
fn the_lines_of_json_after_a_broken_value_are_read(
    #[case] text: &str,
    #[case] read_at: &[usize],
    #[case] broken_at: &[usize],
) {
    let manifests = read("a.json", text);
    assert_eq!(manifests.documents.iter().map(Document::line).collect::<Vec<_>>(), read_at);
    assert_eq!(manifests.errors.iter().map(|error| error.line).collect::<Vec<_>>(), broken_at);
}

#[test]
fn many_broken_lines_take_no_longer_each() {
    let started = std::time::Instant::now();
    let manifests = read("a.jsonl", &"{\"x\":\n".repeat(100_000));
    assert_eq!(manifests.errors.len(), 100_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn flow_yaml_and_json_with_separators_are_yaml() {
    assert_eq!(one("{kind: Pod}").kind(), "Pod");
    assert_eq!(read("a", "{\"kind\":\"Pod\"}\n---\n{\"kind\":\"Job\"}\n").documents.len(), 2);
}

#[test]
fn namespaces_and_config_maps_are_collected() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations: {linkerd.io/inject: enabled}\n\
                ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: env, namespace: shop}\ndata: {A: '5', B: null}\n\
                ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: all}\ndata:\n";
    let context = context(&read("s.yaml", text).documents);
    assert_eq!(context.namespace_annotation("shop", "linkerd.io/inject"), Some("enabled"));
    assert_eq!(context.config_map("shop", "env").unwrap()["A"], "5");
    assert!(context.config_map("other", "all").unwrap().is_empty());
}

#[test]
fn namespaces_that_refuse_privilege_are_told_by_their_label() {
    let namespace = |name: &str, level: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{\
             pod-security.kubernetes.io/enforce: {level}}}}}\n"
        )
    };
    let text = namespace("a", "baseline") + &namespace("b", "restricted") + &namespace("c", "privileged");
    let context = context(&read("s.yaml", &text).documents);
    assert_eq!(context.unprivileged.into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn aliases_cannot_blow_up_memory() {
    use std::fmt::Write;
    let mut text = format!("kind: X\na0: &a0 {}\n", "x".repeat(100));
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let manifests = read("laughs.yaml", &text);
    assert_eq!(manifests.errors[0].message, "anchors and aliases make this document too large");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        read("any", &text);
    }

    #[test]
    fn yaml_like_text_becomes_json(
        text in "([ ]{0,4}(- |\\? )?(kind|a|<<|'b'|\"\\\\u00e9\"|\\{|\\[|&x|\\*x|!!str|\\||---|5|0x|~|\\}|\\]|,)(: |:|,|)(v1|\\{|\\[|&x|&x \\{\\}|\\*x|0644|yes|\\||\u{1f600}|)\r?\n){0,12}"
    ) {
        for document in read("any", &text).documents {
            let value: serde_json::Value = serde_json::from_str(document.json()).unwrap();
            prop_assert!(value.is_object());
            prop_assert!(document.line() <= yaml::lines(&text).count());
            let _ = document.objects();
        }
    }
}

#[test]
fn nesting_does_not_overflow_the_stack() {
    let lists = r#"{"kind":"List","items":["#.repeat(10_000) + &"]}".repeat(10_000);
    assert_eq!(read("l.json", &lists).errors[0].message, "lists are nested more than 8 levels deep");
    let deep =
        format!(r#"{{"apiVersion":"v1","kind":"Pod","spec":{}1{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert!(one(&deep).objects().is_err());
    assert_eq!(read("y.yaml", &format!("a: {}", "[".repeat(2_000))).errors.len(), 1);
}
