//! Label selectors as API servers evaluate them (k8s.io/apimachinery `pkg/labels/selector.go`).

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn matches(selector: &Value, labels: &Labels) -> bool {
    let equal = |(key, value): (&String, &Value)| labels.get(key).is_some_and(|label| label == value);
    selector["matchLabels"].as_object().into_iter().flatten().all(equal)
        && selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|expression| holds(expression, labels))
}

fn holds(expression: &Value, labels: &Labels) -> bool {
    let value = labels.get(expression["key"].as_str().unwrap());
    let among = |value: &String| expression["values"].as_array().unwrap().iter().any(|known| known == value);
    match expression["operator"].as_str().unwrap() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        operator => panic!("there is no operator {operator}"),
    }
}
