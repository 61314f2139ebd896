//! Text of the Common Expression Language, in which admission policies are written.

use std::fmt::Display;

use serde_json::{Value, json};

/// A string literal. JSON's escapes are also those of CEL.
pub(super) fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of string literals.
pub(super) fn texts<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> String {
    let list: Vec<_> = list.into_iter().map(|item| text(item.as_ref())).collect();
    format!("[{}]", list.join(", "))
}

/// A field of a map or object, or a value if it is absent: CEL fails on absent fields.
pub(super) fn field(of: &str, name: &str, absent: &str) -> String {
    format!("has({of}.{name}) ? {of}.{name} : {absent}")
}

/// A variable of a policy. Later variables can use it as `variables.NAME`.
pub(super) fn variable(name: &str, expression: impl Display) -> Value {
    json!({"name": name, "expression": expression.to_string()})
}

/// One value with a name: `let name = value in body`.
pub(super) fn bind(name: &str, value: &str, body: &str) -> String {
    format!("[{value}].map({name}, {body})[0]")
}

/// A regular expression (RE2) that matches only this text.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        if !char.is_alphanumeric() && !matches!(char, '-' | '_' | '/' | ':' | '@' | ' ' | '\n') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
