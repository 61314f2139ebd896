//! Tests that docs/schemas is up to date, and that input and output are valid by the schemas.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use linkerd_linger::cmd::schema::Name;
use rstest::rstest;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Panics with everything that is wrong with a value.
fn assert_valid(schema: &Value, value: &Value, what: &str) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what} is not valid:\n{}", errors.join("\n"));
}

fn run(args: &[&str]) -> Vec<u8> {
    let program = env!("CARGO_BIN_EXE_linkerd-linger");
    let output = Command::new(program).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.code() < Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_schemas_are_documented() {
    for name in Name::ALL {
        let path = format!("docs/schemas/{}.json", name.as_str());
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(root().join("docs/schemas")).unwrap();
            fs::write(root().join(&path), name.text().unwrap()).unwrap();
        }
        let same = read(&path) == name.text().unwrap();
        assert!(same, "{path} is not what the code says: run UPDATE_DOCS=1 cargo test --test schemas");
    }
}

/// Manifests with servers, ports, exemptions, findings and patches.
fn manifests() -> Vec<PathBuf> {
    let cases = root().join("tests/cases");
    let files = walkdir::WalkDir::new(cases).into_iter().map(|entry| entry.unwrap().into_path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == "yaml")).collect();
    files.push(root().join("examples/shop.yaml"));
    files
}

#[test]
fn output_of_explain_and_lint_is_valid() {
    let schema = Name::Report.schema().to_value();
    let files = manifests();
    let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    for command in ["explain", "lint"] {
        let printed = run(&[&[command, "-o", "json", "--assume-injected"], files.as_slice()].concat());
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        assert!(printed["objects"].as_array().unwrap().len() > 20);
        assert_valid(&schema, &printed, command);
    }
}

#[test]
fn sarif_is_valid_by_the_schema_of_oasis() {
    let schema: Value = serde_json::from_str(&read("tests/fixtures/schemas/sarif-2.1.0.json")).unwrap();
    let files = manifests();
    let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let printed = run(&[&["lint", "-o", "sarif", "--assume-injected"], files.as_slice()].concat());
    let log: Value = serde_json::from_slice(&printed).unwrap();
    assert!(log["runs"][0]["results"].as_array().unwrap().len() > 20);
    assert_valid(&schema, &log, "the SARIF log");
}

/// The YAML blocks of a page that are whole files: those that the program's own reader takes.
fn blocks(page: &str, is_whole: impl Fn(&str) -> bool) -> Vec<String> {
    let text = read(page);
    let blocks = text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.filter(|block| is_whole(block)).collect()
}

#[test]
fn policies_are_valid() {
    let schema = Name::Policy.schema().to_value();
    let is_policy = |text: &str| linkerd_linger::judgement::policy::Policy::parse(text).is_ok();
    let mut texts = blocks("docs/policy.md", is_policy);
    texts.push(read("examples/policy.yaml"));
    assert!(texts.len() > 1);
    for text in texts {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_valid(&schema, &value, &text);
    }
}

#[test]
fn facts_are_valid() {
    let schema = Name::Facts.schema().to_value();
    let is_facts = |text: &str| linkerd_linger::judgement::facts::Facts::parse(text).is_ok();
    let texts = blocks("docs/facts.md", is_facts);
    assert!(!texts.is_empty());
    for text in texts {
        let facts = linkerd_linger::judgement::facts::Facts::parse(&text).unwrap();
        for text in [linkerd_linger::judgement::facts::print(&facts).unwrap(), text] {
            let value: Value = serde_saphyr::from_str(&text).unwrap();
            assert_valid(&schema, &value, &text);
        }
    }
}

#[rstest]
#[case::field_of_a_policy(Name::Policy, json!({"tolerence": "1s"}))]
#[case::duration_without_a_unit(Name::Policy, json!({"tolerance": "5"}))]
#[case::rule(Name::Policy, json!({"rules": {"close-wait": "warn"}}))]
#[case::patch_of_a_rule_without(Name::Policy, json!({"rules": {"invalid-annotation": "patch"}}))]
#[case::exemption_without_end(Name::Policy, json!({"exemptions": [{"namespace": "a", "reason": "b"}]}))]
#[case::field_of_a_server(Name::Policy, json!({"servers": [{"id": "a", "name": "A", "idel": []}]}))]
#[case::facts(Name::Facts, json!({"version": 1, "servers": [{"name": "a"}]}))]
#[case::baseline(Name::Baseline, json!({"version": 1, "findings": [{"rul": "a"}]}))]
#[case::report(Name::Report, json!({"objects": []}))]
fn a_mistake_is_not_valid(#[case] name: Name, #[case] value: Value) {
    let validator = jsonschema::validator_for(&name.schema().to_value()).unwrap();
    assert!(!validator.is_valid(&value));
}
