//! Finds the metrics and label matchers in a PromQL expression.

/// A metric in an expression, with the labels that its selector names and the values they are compared with.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<(String, String)>,
}

/// Words that stand where a metric could.
const KEYWORDS: [&str; 4] = ["and", "or", "unless", "offset"];
/// Words that a list of labels follows.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The selectors of an expression, in their order.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut selectors: Vec<Selector> = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = after_string(rest).1;
        } else if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if first == '{' {
            let (matchers, after) = matchers(&rest[1..]);
            selectors.last_mut().unwrap().matchers = matchers;
            rest = after;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_name(first) {
            let word = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            rest = rest[word.len()..].trim_start();
            if LISTS.contains(&word) {
                rest = rest.split_once(')').unwrap().1;
            } else if !rest.starts_with('(') && !is_aggregation(rest) && !KEYWORDS.contains(&word) {
                selectors.push(Selector { metric: word.to_owned(), matchers: Vec::new() });
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    selectors
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// `sum by (...) (...)`
fn is_aggregation(rest: &str) -> bool {
    ["by (", "without ("].iter().any(|list| rest.starts_with(list))
}

fn matchers(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (matchers, after);
        }
        let (label, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap());
        let (value, after) = after_string(after.trim_start_matches(['=', '!', '~', ' ']));
        matchers.push((label.to_owned(), value.to_owned()));
        rest = after;
    }
}

/// The text in the quotes that an expression begins with, and what follows them.
fn after_string(text: &str) -> (&str, &str) {
    text.strip_prefix('"').unwrap().split_once('"').unwrap()
}

#[test]
fn selectors_are_found_in_an_expression() {
    let found = selectors(
        "sum by (le, name) (rate(a_bucket{le=~\"5(\\\\.0)?\", name!=\"x\"}[5m] offset 10m)) > 1e3 \
         and on (instance) (time() - b:c:d5m > 7 * 86400) or label_replace(e, \"to\", \"$1\", \"from\", \"(.*)\")",
    );
    let names: Vec<_> = found.iter().map(|it| &*it.metric).collect();
    assert_eq!(names, ["a_bucket", "b:c:d5m", "e"]);
    let matchers = [("le".to_owned(), "5(\\\\.0)?".to_owned()), ("name".to_owned(), "x".to_owned())];
    assert_eq!(found[0].matchers, matchers);
}
