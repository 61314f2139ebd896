//! Parses YAML, JSON and TOML into flat lists of names.
//!
//! Turns the trees of three parsers into leaves with lines.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::{Leaf, Style, Value};
use crate::base::yaml;

/// The maximum nesting depth of maps.
const MAX_DEPTH: usize = 32;
/// The maximum number of values; YAML aliases can multiply them.
const MAX_LEAVES: usize = 50_000;
/// The maximum number of keys that merge keys may copy, estimated from the text.
const MAX_MERGED: usize = 100_000;
/// The maximum length of a name, because each leaf below repeats it.
const MAX_NAME_LEN: usize = 512;

/// The documents of a text; the error begins with `line 7: `.
pub(super) fn documents(text: &str, style: Style) -> Result<Vec<Vec<Leaf>>, String> {
    let documents = any_documents(text, style)?;
    match documents.iter().flatten().find(|leaf| leaf.name.is_empty()) {
        Some(leaf) if !matches!(leaf.value, Value::Null | Value::Empty) => {
            Err(leaf.fault("the file is not a map"))
        }
        _ => Ok(documents),
    }
}

/// The documents of a text, which need not be maps.
fn any_documents(text: &str, style: Style) -> Result<Vec<Vec<Leaf>>, String> {
    match style {
        Style::Yaml | Style::RelaxedYaml if merges_too_much(text) => Err(format!(
            "line {}: `<<` copies too many keys",
            Lines::new(text).at(text.find("<<").unwrap_or(0))
        )),
        Style::Yaml | Style::RelaxedYaml => yaml::documents(text)
            .into_iter()
            .map(|root| {
                let root = root.map_err(|error| format!("line {}: {}", error.line, error.message))?;
                let mut flat = Flat::new(style);
                flat.yaml("", root.line, &root, 0)?;
                Ok(flat.leaves)
            })
            .collect(),
        Style::Json => json(text, style).map(|leaves| leaves.into_iter().collect()),
        Style::Appsettings => {
            json(&without_comments(text)?, style).map(|leaves| leaves.into_iter().collect())
        }
        Style::Toml => {
            let lines = Lines::new(text);
            let table = DeTable::parse(text).map_err(|error| {
                let line = error.span().map_or(1, |span| lines.at(span.start));
                format!("line {line}: {}", error.message())
            })?;
            let mut flat = Flat::new(style);
            flat.toml("", 1, table.get_ref(), &lines, 0)?;
            flat.leaves.sort_by_key(|leaf| leaf.line);
            Ok(vec![flat.leaves])
        }
    }
}

/// Whether merge keys may copy too many keys.
fn merges_too_much(text: &str) -> bool {
    text.matches("<<").count().saturating_mul(text.matches(':').count()) > MAX_MERGED
}

/// The offsets of line ends.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of an offset, from 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

struct Flat {
    style: Style,
    leaves: Vec<Leaf>,
    left: usize,
}

impl Flat {
    const fn new(style: Style) -> Self {
        Self { style, leaves: Vec::new(), left: MAX_LEAVES }
    }

    /// Counts values, and refuses a depth above the limit.
    fn enter(&mut self, line: usize, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("line {line}: maps are nested too deeply"));
        }
        self.left =
            self.left.checked_sub(1).ok_or_else(|| format!("line {line}: the file has too many values"))?;
        Ok(())
    }

    fn name(&self, above: &str, key: &str, line: usize) -> Result<String, String> {
        let key = self.style.part(key);
        let name = if above.is_empty() { key } else { format!("{above}.{key}") };
        if name.len() > MAX_NAME_LEN {
            return Err(format!("line {line}: a key is too long"));
        }
        Ok(name)
    }

    fn leaf(&mut self, name: &str, line: usize, value: Value) {
        self.leaves.push(Leaf { name: name.to_owned(), line, value });
    }

    fn yaml(&mut self, name: &str, line: usize, node: &yaml::Node, depth: usize) -> Result<(), String> {
        self.enter(line, depth)?;
        let value = match &node.value {
            yaml::Value::Mapping(entries) if entries.is_empty() => Value::Empty,
            yaml::Value::Mapping(entries) => {
                for entry in entries {
                    let below = self.name(name, &entry.key, entry.line)?;
                    if entry.earlier.is_some() {
                        self.leaf(&below, entry.line, Value::Duplicate);
                    }
                    self.yaml(&below, entry.line, &entry.value, depth + 1)?;
                }
                return Ok(());
            }
            yaml::Value::Sequence(items) => {
                self.left = self.left.saturating_sub(items.len());
                Value::List(items.iter().map(|item| text_of(&item.value)).collect())
            }
            yaml::Value::Scalar(scalar) => of_scalar(scalar),
        };
        self.leaf(name, line, value);
        Ok(())
    }

    fn toml(
        &mut self,
        name: &str,
        line: usize,
        table: &DeTable<'_>,
        lines: &Lines,
        depth: usize,
    ) -> Result<(), String> {
        self.enter(line, depth)?;
        if table.is_empty() {
            self.leaf(name, line, Value::Empty);
        }
        for (key, value) in table {
            let line = lines.at(key.span().start);
            let below = self.name(name, key.get_ref(), line)?;
            match value.get_ref() {
                DeValue::Table(table) => self.toml(&below, line, table, lines, depth + 1)?,
                value => self.leaf(&below, line, of_toml(value)),
            }
        }
        Ok(())
    }

    fn json(&mut self, name: &str, line: usize, raw: &str, whole: &Whole<'_>) -> Result<(), String> {
        self.enter(line, whole.depth)?;
        let broken = |error: &serde_json::Error| format!("line {line}: {name} is not valid: {error}");
        let value = match raw.as_bytes().first() {
            Some(b'{') => {
                let Pairs(pairs) = serde_json::from_str(raw).map_err(|error| broken(&error))?;
                if pairs.is_empty() {
                    self.leaf(name, line, Value::Empty);
                }
                for (key, value) in pairs {
                    let line = whole.line_of_key(value.get());
                    let below = self.name(name, &key, line)?;
                    self.json(&below, line, value.get(), &Whole { depth: whole.depth + 1, ..*whole })?;
                }
                return Ok(());
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|error| broken(&error))?;
                Value::List(items.iter().map(|item| serde_json::from_str(item.get()).ok()).collect())
            }
            Some(b'"') => Value::Text(serde_json::from_str(raw).map_err(|error| broken(&error))?),
            Some(b'n') => Value::Null,
            _ if matches!(raw, "true" | "false") => Value::Text(raw.to_owned()),
            _ => number(raw),
        };
        self.leaf(name, line, value);
        Ok(())
    }
}

/// A number that all programs parse alike: without exponent, base, plus sign and leading zeros.
fn number(text: &str) -> Value {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let some_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if some_digits(whole) && some_digits(fraction) && (whole == "0" || !whole.starts_with('0')) {
        Value::Text(text.to_owned())
    } else {
        Value::Unsupported(text.to_owned())
    }
}

fn of_scalar(scalar: &yaml::Scalar) -> Value {
    let text = &scalar.text;
    match scalar.kind {
        yaml::Kind::Null => Value::Null,
        yaml::Kind::Text => Value::Text(text.clone()),
        yaml::Kind::Bool(_) if matches!(text.as_str(), "true" | "false") => Value::Text(text.clone()),
        yaml::Kind::Number(_) => number(text),
        yaml::Kind::Bool(_) | yaml::Kind::Infinite => Value::Unsupported(text.clone()),
    }
}

fn text_of(value: &yaml::Value) -> Option<String> {
    match value {
        yaml::Value::Scalar(scalar) => match of_scalar(scalar) {
            Value::Text(text) => Some(text),
            _ => None,
        },
        yaml::Value::Sequence(_) | yaml::Value::Mapping(_) => None,
    }
}

fn of_toml(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Text(value.to_string()),
        DeValue::Integer(value) if value.radix() == 10 => number(value.as_str()),
        DeValue::Integer(value) => Value::Unsupported(value.to_string()),
        DeValue::Float(value) => number(value.as_str()),
        DeValue::Datetime(value) => Value::Unsupported(value.to_string()),
        DeValue::Array(items) => {
            let text = |item: &toml::Spanned<DeValue<'_>>| item.get_ref().as_str().map(ToOwned::to_owned);
            Value::List(items.iter().map(text).collect())
        }
        DeValue::Table(_) => Value::Empty,
    }
}

/// The whole text of a JSON file, for line numbers.
#[derive(Clone, Copy)]
struct Whole<'t> {
    text: &'t str,
    lines: &'t Lines,
    depth: usize,
}

impl Whole<'_> {
    /// The line of the key with this value; a JSON key contains no line break.
    fn line_of_key(&self, value: &str) -> usize {
        let at = value.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let before = self.text.get(..at).unwrap_or_default().trim_end();
        let key = before.strip_suffix(':').unwrap_or(before).trim_end();
        self.lines.at(key.len().saturating_sub(1))
    }
}

/// `None` if the text is blank.
fn json(text: &str, style: Style) -> Result<Option<Vec<Leaf>>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("line {}: {error}", error.line().max(1)))?;
    let mut flat = Flat::new(style);
    let lines = Lines::new(text);
    flat.json("", 1, raw.get(), &Whole { text, lines: &lines, depth: 0 })?;
    Ok(Some(flat.leaves))
}

/// The pairs of an object, including repeated keys.
struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(OfMap)
    }
}

/// Replaces comments and trailing commas by blanks, so that lines keep their numbers.
fn without_comments(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut comma: Option<usize> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                plain.push(' ');
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    blank(&mut plain, c);
                }
                continue;
            }
            '/' if chars.peek() == Some(&'*') => {
                let start = plain.len();
                blank(&mut plain, c);
                blank(&mut plain, chars.next().unwrap_or(' '));
                let mut last = ' ';
                loop {
                    let Some(c) = chars.next() else {
                        return Err(format!("line {}: a comment is not closed", Lines::new(text).at(start)));
                    };
                    blank(&mut plain, c);
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                continue;
            }
            ',' => comma = Some(plain.len()),
            '}' | ']' => {
                if let Some(at) = comma.take() {
                    plain.replace_range(at..=at, " ");
                }
            }
            c if c.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        plain.push(c);
        if c == '"' {
            while let Some(c) = chars.next() {
                plain.push(c);
                match c {
                    '\\' => plain.extend(chars.next()),
                    '"' => break,
                    _ => {}
                }
            }
        }
    }
    Ok(plain)
}

/// Appends a blank for each byte, but keeps line breaks.
fn blank(plain: &mut String, c: char) {
    if c == '\n' {
        plain.push('\n');
    } else {
        plain.extend(std::iter::repeat_n(' ', c.len_utf8()));
    }
}
