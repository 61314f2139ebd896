//! YAML, JSON and TOML: the value at a dotted path.
//!
//! Parses the text into documents, each a flat list of dotted names with values, and answers a key. `spring` and
//! `quarkus` select documents.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use super::{Answer, Entry, Files, Query, placeholder};

/// The syntax of a file and the comparison of its keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// YAML with one document; keys are compared exactly.
    Yaml,
    /// JSON; keys are compared exactly.
    Json,
    /// TOML; keys are compared exactly.
    Toml,
    /// .NET's appsettings.json: JSON with comments and trailing commas; keys are case-insensitive, and `A:B` is nested.
    Appsettings,
    /// Spring's application.yaml: keys are compared without case, dashes and underscores, and `a.b` is nested; the last
    /// of several documents wins.
    RelaxedYaml,
}

/// Replaces a dot within a key, which does not separate levels.
pub(super) const DOT_IN_KEY: char = '\0';

/// A value that is not a map, with its position.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Leaf {
    /// The dotted path of its keys.
    pub(super) name: String,
    /// The line of its key, from 1.
    pub(super) line: usize,
    /// The value.
    pub(super) value: Value,
}

/// The value of a leaf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// A string, a boolean or a number with a unique spelling.
    Text(String),
    /// A list whose items are all strings, or `None`.
    List(Option<Vec<String>>),
    /// null or empty.
    Null,
    /// A map without keys.
    Empty,
    /// A number or a word that programs parse differently: `0x10`, `yes`.
    Unsupported(String),
    /// A repeated key in the same map; the leaves below belong to the last one.
    Duplicate,
}

impl Style {
    /// Normalizes keys for comparison; dots are kept.
    pub(super) fn comparable(self, name: &str) -> String {
        match self {
            Self::Yaml | Self::Json | Self::Toml => name.to_owned(),
            Self::Appsettings => name.to_ascii_lowercase(),
            Self::RelaxedYaml => relaxed(name),
        }
    }

    /// A key as part of a dotted name.
    fn part(self, key: &str) -> String {
        match self {
            Self::Yaml | Self::Json | Self::Toml => key.replace('.', "\0"),
            Self::Appsettings => key.replace('.', "\0").replace(':', "."),
            Self::RelaxedYaml => key.to_owned(),
        }
    }

    /// Whether a key may name several levels, so that a value next to a map is not an error.
    const fn is_flat(self) -> bool {
        matches!(self, Self::Appsettings | Self::RelaxedYaml)
    }
}

/// Removes dashes, underscores and case.
pub(super) fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads the value at `query.key`. With `placeholders`, `${VAR}` and `${VAR:default}` are expanded.
pub(super) fn read(
    files: &dyn Files,
    path: &str,
    text: &str,
    query: Query<'_>,
    style: Style,
    placeholders: bool,
) -> Answer {
    let answer = single(text, style, query.key).and_then(|leaves| {
        let Some(leaf) = find(&leaves, style, query.key)? else { return Ok(Answer::Absent) };
        let value = plain(leaf)?;
        let value = if placeholders {
            placeholder::resolve(files, value).map_err(|why| leaf.fault(&why))?
        } else if placeholder::is_in(value) {
            return Err(leaf.fault(&format!("{} has a placeholder", leaf.written())));
        } else {
            value.to_owned()
        };
        let between = if style == Style::Toml { " = " } else { ": " };
        Ok(Answer::Set(leaf.entry(value, path, between)))
    });
    answer.unwrap_or_else(|why| Answer::Unknown(format!("{path} {why}")))
}

/// The keys of the map at a dotted path, in file order; empty if there is no map. An empty path means the whole file.
pub(super) fn children(text: &str, style: Style, key: &str) -> Result<Vec<String>, String> {
    let leaves = single(text, style, key)?;
    if !key.is_empty()
        && let Some(leaf) = find_or_map(&leaves, style, key)?
        && style.comparable(&leaf.name) == style.comparable(key)
        && !matches!(leaf.value, Value::Null | Value::Empty)
    {
        return Err(leaf.fault(&format!("{} is not a map", leaf.written())));
    }
    let wanted = style.comparable(key);
    let mut names: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for leaf in &leaves {
        let depth = if key.is_empty() {
            0
        } else if below(&style.comparable(&leaf.name), &wanted) {
            key.matches('.').count() + 1
        } else {
            continue;
        };
        let Some(name) = leaf.name.split('.').nth(depth).filter(|name| !name.is_empty()) else { continue };
        if name.contains(DOT_IN_KEY) {
            return Err(leaf.fault(&format!("{} has a key with a dot", leaf.written())));
        }
        if seen.insert(style.comparable(name)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The documents of a text, each with its leaves in file order; the error begins with `line 7: `.
pub(super) fn documents(text: &str, style: Style) -> Result<Vec<Vec<Leaf>>, String> {
    parse::documents(text.strip_prefix('\u{feff}').unwrap_or(text), style)
}

/// The only relevant document, for a program without conditions.
fn single(text: &str, style: Style, key: &str) -> Result<Vec<Leaf>, String> {
    let mut documents = documents(text, style)?;
    if style == Style::RelaxedYaml {
        let mut counting = Vec::new();
        for document in documents {
            let condition = document.iter().find(|leaf| is_condition(&leaf.name));
            match find_or_map(&document, style, key)? {
                Some(leaf) if condition.is_some() => {
                    return Err(leaf.fault(&format!("{} applies only in some profiles", leaf.written())));
                }
                Some(_) => counting = document,
                None => {}
            }
        }
        return Ok(counting);
    }
    match documents.pop() {
        None => Ok(Vec::new()),
        Some(document) if documents.is_empty() => Ok(document),
        Some(document) => {
            let line = document.first().map_or(1, |leaf| leaf.line);
            Err(format!("line {line}: the file has several documents"))
        }
    }
}

/// Merges documents; the last of several leaves with the same name wins.
pub(super) fn merged(documents: Vec<Vec<Leaf>>) -> Vec<Leaf> {
    let mut places = HashMap::new();
    let mut leaves: Vec<Leaf> = Vec::new();
    for leaf in documents.into_iter().flatten() {
        let key = (leaf.name.clone(), leaf.value == Value::Duplicate);
        if let Some(earlier) = places.get(&key).and_then(|place: &usize| leaves.get_mut(*place)) {
            *earlier = leaf;
        } else {
            places.insert(key, leaves.len());
            leaves.push(leaf);
        }
    }
    leaves
}

/// Whether a Spring property is a condition of its document.
pub(super) fn is_condition(name: &str) -> bool {
    let name = relaxed(name);
    let name = name.split_once('[').map_or(name.as_str(), |(name, _)| name);
    name == "spring.profiles" || name.starts_with("spring.config.activate")
}

/// The leaf at a dotted path; `None` if the file does not contain it.
pub(super) fn find<'l>(leaves: &'l [Leaf], style: Style, key: &str) -> Result<Option<&'l Leaf>, String> {
    let leaf = find_or_map(leaves, style, key)?;
    let wanted = style.comparable(key);
    match leaf {
        Some(leaf) if style.comparable(&leaf.name) != wanted => {
            Err(leaf.fault(&format!("{key} is a map, not a value")))
        }
        Some(Leaf { value: Value::Empty, .. }) => Ok(None),
        leaf => Ok(leaf),
    }
}

/// The leaf at a dotted path, or the first one below it.
fn find_or_map<'l>(leaves: &'l [Leaf], style: Style, key: &str) -> Result<Option<&'l Leaf>, String> {
    let wanted = style.comparable(key);
    let mut found: Option<&Leaf> = None;
    let mut map: Option<&Leaf> = None;
    for leaf in leaves {
        let name = style.comparable(&leaf.name);
        if name.contains(DOT_IN_KEY) {
            let dotted = name.replace(DOT_IN_KEY, ".");
            if dotted == wanted || below(&dotted, &wanted) || below(&wanted, &dotted) {
                return Err(leaf.fault(&format!("{} has a key with a dot", leaf.written())));
            }
        } else if name == wanted {
            if found.is_some() {
                return Err(leaf.fault(&format!("{} is set twice", leaf.written())));
            }
            found = Some(leaf);
        } else if below(&name, &wanted) {
            map = map.or(Some(leaf));
        } else if below(&wanted, &name) {
            match leaf.value {
                Value::Duplicate => return Err(leaf.fault(&format!("{} is set twice", leaf.written()))),
                Value::Null | Value::Empty => {}
                _ if style.is_flat() => {}
                Value::Text(_) | Value::List(_) | Value::Unsupported(_) => {
                    return Err(leaf.fault(&format!("{} is not a map", leaf.written())));
                }
            }
        }
    }
    match (found, map) {
        (Some(leaf), Some(_)) if !matches!(leaf.value, Value::Duplicate) => {
            Err(leaf.fault(&format!("{} is set twice", leaf.written())))
        }
        (found, map) => Ok(found.or(map)),
    }
}

/// Whether a name is below the name of a map.
fn below(name: &str, map: &str) -> bool {
    name.strip_prefix(map).is_some_and(|rest| rest.starts_with('.'))
}

/// The text of a leaf.
pub(super) fn plain(leaf: &Leaf) -> Result<&str, String> {
    let what = match &leaf.value {
        Value::Text(text) => return Ok(text),
        Value::List(_) => "is a list, not a value",
        Value::Null => "is null",
        Value::Empty => "is a map, not a value",
        Value::Unsupported(_) => "is not a plain value",
        Value::Duplicate => "is set twice",
    };
    Err(leaf.fault(&format!("{} {what}", leaf.written())))
}

impl Leaf {
    /// The reason for an unknown answer, with the line.
    pub(super) fn fault(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }

    /// The name as in the file, with dots.
    pub(super) fn written(&self) -> String {
        self.name.replace(DOT_IN_KEY, ".")
    }

    /// The entry with the effective value; `between` separates the name and the value.
    pub(super) fn entry(&self, value: String, path: &str, between: &str) -> Entry {
        let written = if let Value::Text(text) = &self.value { text.as_str() } else { value.as_str() };
        let text = format!("{}{between}{written}", self.written());
        Entry { value, text, path: path.to_owned(), line: self.line }
    }
}
