//! Which custom resources `audit` reads, and what it says about those that it cannot read.

use rstest::rstest;
use serde_json::Value;

use crate::{
    DEFINITIONS, KINDS, cluster, json, list, racing, run,
    simulated::{Answers, ApiServer, Fault},
    stdout,
};

const ROLLOUTS: &str = "GET /apis/argoproj.io/v1alpha1/rollouts?";
const WORKFLOWS: &str = "GET /apis/argoproj.io/v1alpha1/workflows?";
const BATCHES: &str = "GET /apis/example.com/v1alpha1/batches?";

fn definition(group: &str, plural: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

/// A schema with a pod template.
fn with_template() -> Value {
    let container =
        json!({"type": "object", "properties": {"name": {"type": "string"}, "image": {"type": "string"}}});
    let pod = json!({"type": "object", "properties": {"containers": {"type": "array", "items": container}}});
    let template = json!({"type": "object", "properties": {"spec": pod}});
    json!({"type": "object", "properties": {"template": template}})
}

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A custom resource with the pod template of the Deployment.
fn custom(kind: &str, name: &str) -> Value {
    let mut object = racing(name);
    object["apiVersion"] = "argoproj.io/v1alpha1".into();
    object["kind"] = kind.into();
    object
}

/// The cluster with a Rollout instead of the Deployment, and with other custom resources.
fn with_custom_resources() -> Answers {
    let mut answers = cluster();
    answers.insert(KINDS[0], list(&json!([])));
    let definitions = json!([
        definition("argoproj.io", "rollouts", "Rollout", &with_template()),
        definition("argoproj.io", "workflows", "Workflow", &open()),
        definition("example.com", "batches", "Batch", &open()),
        definition("example.com", "caches", "Cache", &open()),
        definition("example.com", "routes", "Route", &json!({"type": "object"})),
    ]);
    answers.insert(DEFINITIONS, list(&definitions));
    answers.insert(ROLLOUTS, list(&json!([custom("Rollout", "cart")])));
    answers.insert(WORKFLOWS, list(&json!([])));
    answers.insert(BATCHES, list(&json!([])));
    answers
}

fn status(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "message": message, "code": code}))
}

#[test]
fn resources_are_read_whose_schema_has_a_template_or_that_are_known_or_own_pods() {
    let mut answers = with_custom_resources();
    let owner =
        json!([{"apiVersion": "example.com/v1alpha1", "kind": "Batch", "name": "b", "controller": true}]);
    let metadata = json!({"name": "b-1", "namespace": "shop", "ownerReferences": owner});
    let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "b", "image": "b:1"}]}});
    answers.insert(KINDS[7], list(&json!([pod])));
    let server = ApiServer::start(answers);
    let report = json(&run(&server, &["-A", "-o", "json"]));
    let names: Vec<_> =
        report["owners"].as_array().unwrap().iter().map(|it| (&it["kind"], &it["name"])).collect();
    assert_eq!(names, [(&json!("Batch"), &json!("b")), (&json!("Rollout"), &json!("cart"))]);
    assert_eq!(
        (&report["owners"][1]["admission"]["enforce"], &report["errors"]),
        (&json!("rejected"), &json!([]))
    );
    let requests = server.requests();
    let read = |path: &str| requests.iter().filter(|request| request.starts_with(path)).count();
    assert_eq!([ROLLOUTS, WORKFLOWS, BATCHES].map(read), [1, 1, 1]);
    assert_eq!(
        (read("GET /apis/example.com/v1alpha1/caches"), read("GET /apis/example.com/v1alpha1/routes")),
        (0, 0)
    );
    assert_eq!(read("GET /api/v1/namespaces/shop/configmaps/cart "), 1, "the ConfigMap of the Rollout");
}

#[rstest]
#[case::definitions_forbidden(
    DEFINITIONS,
    status(403, "no"),
    "no permission to list customresourcedefinitions"
)]
#[case::forbidden(WORKFLOWS, status(403, "no"), "no permission to list workflows.argoproj.io")]
#[case::not_found(
    WORKFLOWS,
    status(404, "gone"),
    "cannot list workflows.argoproj.io: the API server returned 404: gone"
)]
#[case::not_allowed(
    WORKFLOWS,
    status(405, "no list"),
    "cannot list workflows.argoproj.io: the API server returned 405: no list"
)]
fn what_cannot_be_read_is_told_once_and_the_rest_goes_on(
    #[case] list_of: &'static str,
    #[case] answer: (u16, Value),
    #[case] told: &str,
) {
    let mut answers = with_custom_resources();
    answers.insert(KINDS[0], list(&json!([racing("api")])));
    answers.insert(list_of, answer);
    let output = run(&ApiServer::start(answers), &["-A"]);
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    assert!(errors.contains(told), "{errors}");
    assert!(stdout(&output).contains("deployment/api"), "{output:?}");
    assert_eq!(stdout(&output).contains("rollout/cart"), list_of == WORKFLOWS);
    assert_eq!(output.status.code(), Some(2));
}

#[rstest]
#[case::definitions(DEFINITIONS, "no permission to list customresourcedefinitions")]
#[case::a_resource(WORKFLOWS, "no permission to list workflows.argoproj.io")]
fn what_may_not_be_read_can_be_left_out(#[case] list_of: &'static str, #[case] told: &str) {
    let mut answers = with_custom_resources();
    answers.insert(list_of, status(403, "no"));
    let output =
        run(&ApiServer::start(answers), &["-A", "--only-permitted", "--fail-on=never", "-o", "json"]);
    assert_eq!((&json(&output)["errors"], &json(&output)["leftOut"]), (&json!([]), &json!([told])));
    let notes = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(notes.trim(), format!("note: custom resources were left out: {told}"));
    assert_eq!(output.status.code(), Some(0));
}

#[rstest]
#[case::overloaded(Fault::TooManyRequests)]
#[case::closed_within_the_page(Fault::Closes)]
fn a_page_that_fails_once_is_read_again(#[case] fault: Fault) {
    for page in [DEFINITIONS, ROLLOUTS] {
        let server = ApiServer::start_with(with_custom_resources(), vec![(page, fault)]);
        let report = json(&run(&server, &["-A", "-o", "json"]));
        assert_eq!(
            (report["owners"].as_array().unwrap().len(), &report["errors"]),
            (1, &json!([])),
            "{report:#}"
        );
    }
}

#[rstest]
#[case::with_a_fresh_token(true)]
#[case::without_one(false)]
fn a_list_whose_token_expires_goes_on_with_a_fresh_one(#[case] has_fresh: bool) {
    let mut answers = with_custom_resources();
    let page = |token: &str, name: &str| {
        (200, json!({"metadata": {"continue": token}, "items": [custom("Rollout", name)]}))
    };
    answers.insert(ROLLOUTS, page("old", "cart"));
    let fresh = if has_fresh { "fresh" } else { "" };
    let gone = json!({"kind": "Status", "message": "expired", "code": 410, "metadata": {"continue": fresh}});
    answers.insert("GET /apis/argoproj.io/v1alpha1/rollouts?&limit=50&continue=old", (410, gone));
    answers.insert("GET /apis/argoproj.io/v1alpha1/rollouts?&limit=50&continue=fresh", page("", "api"));
    let output = run(&ApiServer::start(answers), &["-A", "-o", "json"]);
    let report = json(&output);
    let names: Vec<_> =
        report["owners"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    if has_fresh {
        assert_eq!((names.as_slice(), &report["errors"]), (["api", "cart"].as_slice(), &json!([])));
    } else {
        assert_eq!(names, ["cart"]);
        let told = report["errors"][0]["message"].as_str().unwrap();
        assert!(told.starts_with("cannot list rollouts.argoproj.io: the API server returned 410"), "{told}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn only_the_custom_resources_of_a_namespace_are_read() {
    let mut answers = with_custom_resources();
    for kind in KINDS.into_iter().chain([ROLLOUTS, WORKFLOWS]) {
        answers.remove(kind);
        let (root, plural) = kind.trim_end_matches('?').rsplit_once('/').unwrap();
        let path: &str = format!("{root}/namespaces/shop/{plural}?").leak();
        let items = if kind == ROLLOUTS { json!([custom("Rollout", "cart")]) } else { json!([]) };
        answers.insert(path, list(&items));
    }
    let report = json(&run(&ApiServer::start(answers), &["-n", "shop", "-o", "json"]));
    assert_eq!(
        (report["owners"].as_array().unwrap().len(), &report["errors"]),
        (1, &json!([])),
        "{report:#}"
    );
}
