//! Reads checked values from YAML nodes, and collects every mistake.

use std::fmt;

use jiff::civil::Date;

use crate::base::yaml::{self, Entry, Kind, Node, Scalar, Value};

/// A mistake in a policy file or a facts file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct PolicyError {
    /// Its line, from 1.
    pub line: u64,
    /// The field, what is wrong with it, and how to fix it.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Mistakes(pub(super) Vec<PolicyError>);

/// A map of the file, with the path that messages show.
pub(super) struct Section<'n> {
    pub(super) path: String,
    pub(super) line: usize,
    entries: &'n [Entry],
}

/// A field that has a value.
#[derive(Clone)]
pub(super) struct Field<'n> {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) node: &'n Node,
}

impl Mistakes {
    pub(super) fn add(&mut self, line: usize, message: impl Into<String>) {
        self.0.push(PolicyError { line: line as u64, message: message.into() });
    }

    pub(super) fn at(&mut self, field: &Field<'_>, message: impl AsRef<str>) {
        self.add(field.line, format!("{}: {}", field.path, message.as_ref()));
    }

    /// A map whose fields have known names; empty if the field has no value.
    pub(super) fn section<'n>(&mut self, field: &Field<'n>, known: &[&str]) -> Option<Section<'n>> {
        let section = self.map(field)?;
        let prefix = if section.path.is_empty() { String::new() } else { format!("{}: ", section.path) };
        for entry in section.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.add(entry.line, format!("{prefix}{}", unknown_name("field", &entry.key, known)));
        }
        Some(section)
    }

    /// A map with arbitrary keys.
    pub(super) fn map<'n>(&mut self, field: &Field<'n>) -> Option<Section<'n>> {
        let Value::Mapping(entries) = &field.node.value else {
            let path = if field.path.is_empty() { "the file" } else { &field.path };
            self.add(field.line, format!("{path}: expected a map, found {}", field.node.value.noun()));
            return None;
        };
        let section = Section { path: field.path.clone(), line: field.line, entries };
        for entry in entries {
            if let Some(earlier) = entry.earlier {
                let path = section.path_of(&entry.key);
                self.add(entry.line, format!("{path}: already set on line {earlier}; keep one of them"));
            }
        }
        Some(section)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, field: &Field<'n>) -> Vec<Field<'n>> {
        let Value::Sequence(items) = &field.node.value else {
            self.at(field, format!("expected a list, found {}", field.node.value.noun()));
            return Vec::new();
        };
        let item = |(index, node): (usize, &'n std::rc::Rc<Node>)| Field {
            path: format!("{}[{index}]", field.path),
            line: node.line,
            node: node.as_ref(),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// A word as written: `off` stays a word, although YAML reads it as a boolean.
    pub(super) fn word<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar(Scalar { text, .. }) if !text.trim().is_empty() => Some(text.trim()),
            Value::Scalar(_) => {
                self.at(field, "it is empty");
                None
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                self.at(field, format!("expected a string, found {}", field.node.value.noun()));
                None
            }
        }
    }

    /// A scalar as written, possibly empty.
    pub(super) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar(Scalar { text, .. }) => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => {
                self.at(field, format!("expected a string, found {}", field.node.value.noun()));
                None
            }
        }
    }

    /// A word out of a closed set.
    pub(super) fn parse_one_of<T: Copy>(
        &mut self,
        field: &Field<'_>,
        noun: &str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Option<T> {
        let word = self.word(field)?;
        let found = all.iter().copied().find(|value| as_str(*value) == word);
        if found.is_none() {
            let known: Vec<_> = all.iter().copied().map(as_str).collect();
            self.at(field, unknown_name(noun, word, &known));
        }
        found
    }
}

impl<'n> Section<'n> {
    /// A field that is present and has a value.
    pub(super) fn get(&self, name: &str) -> Option<Field<'n>> {
        self.fields().find(|(key, _)| *key == name).map(|(_, field)| field)
    }

    /// The fields that have a value.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'n str, Field<'n>)> {
        self.entries.iter().filter(|entry| !is_null(&entry.value)).map(|entry| {
            let path = self.path_of(&entry.key);
            (entry.key.as_str(), Field { path, line: entry.line, node: entry.value.as_ref() })
        })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(Scalar { kind: Kind::Null, .. }))
}

/// Reads a file with a single document, such as a policy file; an empty file is the default.
///
/// `read` also gets the text without its byte order mark.
pub(super) fn file<T: Default>(
    text: &str,
    what: &str,
    read: impl FnOnce(&mut Mistakes, &Field<'_>, &str) -> T,
) -> Result<T, Vec<PolicyError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut mistakes = Mistakes::default();
    let mut roots = Vec::new();
    for document in yaml::documents(text) {
        match document {
            Ok(root) => roots.push(root),
            Err(error) => {
                let help = error.help.map(|help| format!("; {help}")).unwrap_or_default();
                mistakes.add(error.line, format!("{} at column {}{help}", error.message, error.column));
            }
        }
    }
    if let Some(second) = roots.get(1) {
        mistakes.add(second.line, format!("a second document; a {what} file must have only one"));
    }
    let found = roots.first().map(|root| {
        let whole = Field { path: String::new(), line: root.line, node: root };
        read(&mut mistakes, &whole, text)
    });
    if mistakes.0.is_empty() {
        return Ok(found.unwrap_or_default());
    }
    mistakes.0.sort_by_key(|mistake| mistake.line);
    Err(mistakes.0)
}

/// A date of the form 2027-01-31.
pub(super) fn date(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == "2027-01-31".len())
}

/// Returns the message for an unknown name, with the closest match or all known names.
pub fn unknown_name(noun: &str, word: &str, known: &[&str]) -> String {
    let near = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    let nearest = known.iter().copied().max_by(|a, b| near(a).total_cmp(&near(b)));
    match nearest.filter(|name| near(name) >= 0.85) {
        Some(name) => format!("unknown {noun} {word:?}; did you mean {name}?"),
        None => format!("unknown {noun} {word:?}; expected one of {}", known.join(", ")),
    }
}
