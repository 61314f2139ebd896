//! Generates `values.yaml` and the table in the README from the chart's schema.

use linkerd_linger::cluster::install::print;
use serde_json::{Map, Value};

const BEGIN: &str = "<!-- values: generated from values.schema.json -->\n";
const END: &str = "<!-- end of values -->\n";
/// The maximum length of a comment line in `values.yaml`.
const WIDTH: usize = 100;

/// A value that users can set.
pub(crate) struct Described {
    pub(crate) path: String,
    pub(crate) description: String,
    default: Value,
}

/// Every value, by its path.
pub(crate) fn all(schema: &Value) -> Vec<Described> {
    let mut all = Vec::new();
    collect("", schema, &mut all);
    all
}

fn collect(prefix: &str, schema: &Value, all: &mut Vec<Described>) {
    for (key, value) in properties(schema) {
        let path = format!("{prefix}{key}");
        if value.get("properties").is_some() {
            assert_eq!(value["additionalProperties"], false, "{path} takes unknown values");
            collect(&format!("{path}."), value, all);
        } else {
            let default = value.get("default").unwrap_or_else(|| panic!("{path} has no default")).clone();
            all.push(Described { path, description: description(value), default });
        }
    }
}

fn properties(schema: &Value) -> &Map<String, Value> {
    schema["properties"].as_object().unwrap()
}

fn description(value: &Value) -> String {
    value["description"].as_str().unwrap().to_owned()
}

/// The text of `values.yaml`.
pub(crate) fn file(schema: &Value) -> String {
    let text = "# The default values of linkerd-linger. This file is generated from values.schema.json.\n";
    text.to_owned() + &map(schema, "")
}

fn map(schema: &Value, indent: &str) -> String {
    let mut text = String::new();
    for (key, value) in properties(schema) {
        if indent.is_empty() {
            text.push('\n');
        }
        text += &comment(&description(value), indent);
        if value.get("properties").is_some() {
            text += &format!("{indent}{key}:\n{}", map(value, &format!("{indent}  ")));
        } else {
            text += &format!("{indent}{key}: {}\n", inline(&value["default"]));
        }
    }
    text
}

fn comment(text: &str, indent: &str) -> String {
    let mut lines = vec![format!("{indent}#")];
    for word in text.split(' ') {
        if lines.last().unwrap().len() + 1 + word.len() > WIDTH {
            lines.push(format!("{indent}#"));
        }
        *lines.last_mut().unwrap() += &format!(" {word}");
    }
    lines.join("\n") + "\n"
}

/// A scalar or an empty collection, as YAML.
fn inline(value: &Value) -> String {
    let text = print(std::slice::from_ref(value)).unwrap();
    text.trim_start_matches("---\n").trim_end().to_owned()
}

/// The README with a new table.
pub(crate) fn in_readme(readme: &str, schema: &Value) -> String {
    let (before, rest) = readme.split_once(BEGIN).expect("the README has the table's beginning");
    let (_, after) = rest.split_once(END).expect("the README has the table's end");
    let mut table = "| value | default | description |\n|---|---|---|\n".to_owned();
    for Described { path, description, default } in all(schema) {
        table += &format!("| `{path}` | `{}` | {description} |\n", inline(&default));
    }
    format!("{before}{BEGIN}{table}{END}{after}")
}
