//! Vault's HCL and its JSON form: a key of the listener on a port.
//!
//! Reads a key of the `listener` blocks of type `tcp` for a port (vault `internalshared/configutil/listener.go`). The
//! value keeps its unit.

mod parser;
#[cfg(test)]
mod tests;

use self::parser::{Item, Parser, Value};
use super::{Answer, Entry, Files, Query};

/// The default port of a listener (vault `command/server/listener_tcp.go`).
const DEFAULT_PORT: u16 = 8200;

/// Reads `key` from the listeners of the file at `path`.
pub(super) fn read(_files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    Parser::new(path, text).document().and_then(|items| find(path, &items, query)).into()
}

fn find(path: &str, items: &[Item], query: Query<'_>) -> Result<Option<Entry>, String> {
    let mut listeners = Vec::new();
    for item in items {
        if let Some((name, labels)) = item.keys.split_first()
            && name.eq_ignore_ascii_case("listener")
        {
            let label = labels.first().map(String::as_str);
            collect(&item.value, label, &mut listeners);
        }
    }
    let mut doubt = None;
    let mut answers = Vec::new();
    for (label, listener) in &listeners {
        let kind = match scalar(path, listener, "type")? {
            Some(kind) => Some(kind.value),
            None => label.map(str::to_owned),
        };
        match kind.map(|kind| kind.to_ascii_lowercase()).as_deref() {
            Some("tcp") => {}
            Some("unix") => continue,
            Some(_) | None => return Err(format!("the type of a listener in {path} is not a literal")),
        }
        let address = scalar(path, listener, "address")?;
        let port = match &address {
            None => Some(DEFAULT_PORT),
            Some(address) => address.value.rsplit_once(':').and_then(|(_, port)| port.parse().ok()),
        };
        match (query.port, port) {
            (Some(_), None) => {
                let line = address.map_or(0, |address| address.line);
                doubt = Some(format!("{path} line {line}: the address is not a literal"));
            }
            (Some(queried), Some(port)) if queried != port => {}
            _ => answers.push(scalar(path, listener, query.key)?),
        }
    }
    let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
    match (answers.split_first(), doubt, query.port) {
        (Some((first, rest)), ..) if rest.iter().all(|other| value(other) == value(first)) => {
            Ok(first.clone())
        }
        (Some(_), ..) => Err(format!("the listeners in {path} have different values of {}", query.key)),
        (None, Some(doubt), _) => Err(doubt),
        (None, None, Some(port)) => Err(format!("no listener has port {port} in {path}")),
        (None, None, None) => Err(format!("{path} has no listener")),
    }
}

/// The listeners in a value: `"tcp" {}`, and in JSON `{"tcp": {}}`, `[{"tcp": {}}]` or `{"tcp": [{}]}`.
fn collect<'i>(value: &'i Value, label: Option<&'i str>, listeners: &mut Vec<(Option<&'i str>, &'i [Item])>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| collect(value, label, listeners)),
        Value::Object(items) => {
            let labels =
                |item: &Item| item.keys.len() == 1 && matches!(item.value, Value::Object(_) | Value::List(_));
            if label.is_none() && !items.is_empty() && items.iter().all(labels) {
                for item in items {
                    collect(&item.value, item.keys.first().map(String::as_str), listeners);
                }
            } else {
                listeners.push((label, items));
            }
        }
        // Vault ignores a listener without a type.
        Value::Scalar(_) | Value::Other => listeners.push((None, &[])),
    }
}

/// The scalar value of a key, which is case-insensitive (hcl `ObjectList.Filter`).
fn scalar(path: &str, items: &[Item], key: &str) -> Result<Option<Entry>, String> {
    let mut of_key =
        items.iter().filter(|item| item.keys.first().is_some_and(|name| name.eq_ignore_ascii_case(key)));
    let Some(item) = of_key.next() else { return Ok(None) };
    match (&item.value, of_key.next()) {
        (Value::Scalar(value), None) if item.keys.len() == 1 && !value.contains("${") => Ok(Some(Entry {
            value: value.clone(),
            text: item.text.clone(),
            path: path.to_owned(),
            line: item.line,
        })),
        _ => Err(format!("{path} line {}: the value of {key} is not a literal", item.line)),
    }
}
