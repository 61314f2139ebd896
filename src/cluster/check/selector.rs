//! Label selectors, as API servers match them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether labels match a selector; no selector matches everything.
pub(super) fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    selector.match_labels.iter().flatten().all(equal)
        && selector.match_expressions.iter().flatten().all(|expression| holds(expression, labels))
}

fn holds(expression: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&expression.key);
    let listed = || {
        let values = expression.values.as_deref().unwrap_or_default();
        value.is_some_and(|value| values.contains(value))
    };
    match expression.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // API servers refuse all other operators.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::no_condition(json!({}), true)]
    #[case::label(json!({"matchLabels": {"mode": "warn"}}), true)]
    #[case::other_label(json!({"matchLabels": {"mode": "off"}}), false)]
    #[case::one_of(json!({"matchExpressions": [{"key": "mode", "operator": "In", "values": ["off", "warn"]}]}), true)]
    #[case::none_of(json!({"matchExpressions": [{"key": "mode", "operator": "NotIn", "values": ["warn"]}]}), false)]
    #[case::absent_is_none_of(json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}), true)]
    #[case::absent_is_not_one_of(json!({"matchExpressions": [{"key": "x", "operator": "In", "values": [""]}]}), false)]
    #[case::exists(json!({"matchExpressions": [{"key": "mode", "operator": "Exists"}]}), true)]
    #[case::does_not_exist(json!({"matchExpressions": [{"key": "mode", "operator": "DoesNotExist"}]}), false)]
    #[case::all_must_hold(
        json!({"matchLabels": {"mode": "warn"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}),
        false
    )]
    fn selectors_are_matched(#[case] selector: serde_json::Value, #[case] expected: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels = BTreeMap::from([("mode".to_owned(), "warn".to_owned())]);
        assert_eq!(matches(Some(&selector), &labels), expected);
    }
}
