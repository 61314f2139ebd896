//! YAML, JSON and TOML: the value at a dotted path.
//!
//! Turns the text into documents, each a flat list of dotted names with their values, and a key into an [`Answer`].
//! `spring` and `quarkus` decide which document of several counts.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use super::{Answer, Entry, Files, Query, placeholder};

/// How a file is written, and how its keys are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// YAML with one document, keys as they are.
    Yaml,
    /// JSON, keys as they are.
    Json,
    /// TOML, keys as they are.
    Toml,
    /// appsettings.json of .NET: JSON with comments and trailing commas; keys without case, `A:B` as nested.
    Appsettings,
    /// application.yaml of Spring: keys without case, dashes and underscores, `a.b` as nested; several documents, of
    /// which the last counts.
    RelaxedYaml,
}

/// Stands for a dot that is part of one key, and does not part two.
pub(super) const DOT_IN_KEY: char = '\0';

/// A value that is no map, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Leaf {
    /// The keys of all maps around it and its own, with dots between them.
    pub(super) name: String,
    /// The line of its own key, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
}

/// What a leaf is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// A string, a boolean or a number without a second spelling.
    Text(String),
    /// A list whose items are all texts, or `None`.
    List(Option<Vec<String>>),
    /// null or nothing.
    Null,
    /// A map without keys.
    Empty,
    /// A number or a word that programs read differently: `0x10`, `yes`.
    Unsupported(String),
    /// The map has the same key before: what is below it is that of the last one.
    Duplicate,
}

impl Style {
    /// Keys as they are compared; the dots between them stay.
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

    /// A key may name several levels at once, so that a value beside a map is no fault.
    const fn is_flat(self) -> bool {
        matches!(self, Self::Appsettings | Self::RelaxedYaml)
    }
}

/// Dashes, underscores and case do not count.
pub(super) fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads the value at `query.key`. `placeholders`: the program replaces `${VAR}` and `${VAR:default}` by variables.
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

/// The keys of the map at a dotted path, in the order of the file; none where there is no map. An empty path means the
/// whole file.
pub(super) fn children(text: &str, style: Style, key: &str) -> Result<Vec<String>, String> {
    let leaves = single(text, style, key)?;
    if !key.is_empty()
        && let Some(leaf) = find_or_map(&leaves, style, key)?
        && style.comparable(&leaf.name) == style.comparable(key)
        && !matches!(leaf.value, Value::Null | Value::Empty)
    {
        return Err(leaf.fault(&format!("{} is no map", leaf.written())));
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

/// The documents of a text, each as its leaves in the order of the file; the error begins with `line 7: `.
pub(super) fn documents(text: &str, style: Style) -> Result<Vec<Vec<Leaf>>, String> {
    parse::documents(text.strip_prefix('\u{feff}').unwrap_or(text), style)
}

/// The document that counts, for a program that knows no conditions.
fn single(text: &str, style: Style, key: &str) -> Result<Vec<Leaf>, String> {
    let mut documents = documents(text, style)?;
    if style == Style::RelaxedYaml {
        let mut counting = Vec::new();
        for document in documents {
            let condition = document.iter().find(|leaf| is_condition(&leaf.name));
            match find_or_map(&document, style, key)? {
                Some(leaf) if condition.is_some() => {
                    return Err(leaf.fault(&format!("{} counts in some profiles alone", leaf.written())));
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

/// One document of several: of leaves with one name the last counts.
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

/// Whether a property of Spring says when its document counts.
pub(super) fn is_condition(name: &str) -> bool {
    let name = relaxed(name);
    let name = name.split_once('[').map_or(name.as_str(), |(name, _)| name);
    name == "spring.profiles" || name.starts_with("spring.config.activate")
}

/// The leaf at a dotted path: `None` where the file leaves it out.
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
                    return Err(leaf.fault(&format!("{} is no map", leaf.written())));
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

/// Whether a name is that of something in the map of another name.
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
        Value::Unsupported(_) => "is no plain value",
        Value::Duplicate => "is set twice",
    };
    Err(leaf.fault(&format!("{} {what}", leaf.written())))
}

impl Leaf {
    /// Why it is unknown, with the line.
    pub(super) fn fault(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }

    /// Its name as the file has it, with dots.
    pub(super) fn written(&self) -> String {
        self.name.replace(DOT_IN_KEY, ".")
    }

    /// What the file says, with the value that the program sees; `between` stands between name and value.
    pub(super) fn entry(&self, value: String, path: &str, between: &str) -> Entry {
        let written = if let Value::Text(text) = &self.value { text.as_str() } else { value.as_str() };
        let text = format!("{}{between}{written}", self.written());
        Entry { value, text, path: path.to_owned(), line: self.line }
    }
}
