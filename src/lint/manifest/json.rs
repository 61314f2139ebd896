//! Writes a YAML tree as JSON, with a table of the source lines.

use crate::base::yaml::{Kind, Node, Scalar, Value, YamlError};

/// How much longer than the file its JSON may be, because anchors can expand a small file without limit.
const MAX_GROWTH: usize = 32 << 20;

/// Offsets in the JSON text with their source lines, in order.
pub(crate) type Table = Vec<(usize, usize)>;

/// Writes a document; `source_len` is the length of its file.
pub(crate) fn write(root: &Node, source_len: usize) -> Result<(String, Table), YamlError> {
    // No character becomes longer than `\u0000`.
    let mut writer = Writer { json: String::new(), table: Vec::new(), max: source_len * 6 + MAX_GROWTH };
    writer.value(root, root.line)?;
    Ok((writer.json, writer.table))
}

struct Writer {
    json: String,
    table: Table,
    max: usize,
}

impl Writer {
    /// Writes a value at the line that is reported for it: that of its key, if it has one.
    fn value(&mut self, node: &Node, line: usize) -> Result<(), YamlError> {
        if self.json.len() > self.max {
            return Err(YamlError::at(node, "anchors and aliases make this document too large"));
        }
        self.table.push((self.json.len(), line));
        match &node.value {
            Value::Scalar(scalar) => self.scalar(node, scalar)?,
            Value::Sequence(items) => {
                self.json.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.json.push(',');
                    }
                    self.value(item, item.line)?;
                }
                self.json.push(']');
            }
            Value::Mapping(entries) => {
                self.json.push('{');
                for (index, entry) in entries.iter().enumerate() {
                    if index > 0 {
                        self.json.push(',');
                    }
                    self.string(&entry.key);
                    self.json.push(':');
                    self.value(&entry.value, entry.line)?;
                }
                self.json.push('}');
            }
        }
        Ok(())
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar) -> Result<(), YamlError> {
        match &scalar.kind {
            Kind::Null => self.json.push_str("null"),
            Kind::Bool(value) => self.json.push_str(if *value { "true" } else { "false" }),
            Kind::Number(number) => self.json.push_str(number),
            Kind::Text => self.string(&scalar.text),
            Kind::Infinite => {
                return Err(YamlError {
                    help: Some("quote it if it is a string"),
                    ..YamlError::at(node, format!("{} is a number that JSON cannot represent", scalar.text))
                });
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.json.push_str(&serde_json::Value::from(text).to_string());
    }
}
