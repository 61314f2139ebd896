//! Prints Kubernetes objects as YAML, with the identifying fields first.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// The identifying fields, in reading order. All others follow by name.
const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "namespace"];

/// Prints documents, each with a `---` line before it.
///
/// # Errors
///
/// Every JSON value can be written as YAML, so no error is known.
pub fn print(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&Ordered(object))?);
    }
    Ok(text)
}

/// A value whose maps are printed in reading order.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| (rank(key), *key));
                let mut printed = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    printed.serialize_entry(key, &Ordered(value))?;
                }
                printed.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.serialize(serializer)
            }
        }
    }
}

fn rank(key: &str) -> usize {
    FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn api_version_and_kind_come_first() {
        let object = json!({
            "spec": {"ports": [{"port": 443, "name": "https"}]},
            "data": {"text": "a: 1\nb: 2\n"},
            "metadata": {"labels": {"b": "true", "a": "1"}, "name": "x"},
            "kind": "K",
            "apiVersion": "v1",
        });
        let text = "---\napiVersion: v1\nkind: K\nmetadata:\n  name: x\n  labels:\n    a: \"1\"\n    b: \"true\"\n\
                    data:\n  text: |\n    a: 1\n    b: 2\nspec:\n  ports:\n  - name: https\n    port: 443\n";
        assert_eq!(print(&[object]).unwrap(), text);
    }
    #[test]
    fn every_text_is_read_back() {
        let long = format!("# {}\n", "a policy with a long comment ".repeat(10));
        let texts = [
            "",
            " ",
            "\n",
            "a: 1  \n",
            "\ta\n",
            "a\r\nb\r\n",
            "  b: 1\na: 2\n",
            "a\n\n\n",
            "no",
            "1e3",
            "~",
            "a: b",
            "# a",
            "- a",
            "\u{feff}a: 1\n",
            "a\u{2028}b\n",
            "a # b",
            &long,
            long.trim_end(),
            "\n\n  a\n b\n",
            "---\na\n...\n",
        ];
        for text in texts {
            let object = json!({"data": {"policy.yaml": text}, "list": [text]});
            let printed = print(std::slice::from_ref(&object)).unwrap();
            let read: Value = serde_saphyr::from_str(&printed).unwrap();
            assert_eq!(read, object, "{printed}");
        }
    }
}
