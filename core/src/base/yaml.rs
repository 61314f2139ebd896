//! Parses YAML as kubectl does, and keeps the line of each node.
//!
//! Turns the events of a YAML parser into trees, with anchors and merge keys resolved and YAML 1.1 scalars as in
//! sigs.k8s.io/yaml. `manifest` and `policy` interpret the trees.

mod scalar;

use std::{collections::HashMap, iter, rc::Rc};

use serde_saphyr::granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

pub use self::scalar::{Kind, Scalar};

/// The maximum depth. serde_json's limit is 128; Kubernetes objects are far less deep.
const MAX_DEPTH: usize = 100;

/// The maximum number of entries that merge keys may copy in one file.
const MAX_MERGED: usize = 1_000_000;

/// The lines of a text without their ends, and the offset of each. As for the parser, a line ends with a line feed, a
/// carriage return, or both (YAML 1.2.2, section 5.4).
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = Some(0);
    iter::from_fn(move || {
        let start = next?;
        let rest = &text[start..];
        let end = memchr::memchr2(b'\n', b'\r', rest.as_bytes());
        next = end.map(|end| start + end + if rest[end..].starts_with("\r\n") { 2 } else { 1 });
        Some((start, &rest[..end.unwrap_or(rest.len())]))
    })
}

/// A value with its position.
#[derive(Debug)]
pub struct Node {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The value.
    pub value: Value,
    depth: usize,
}

/// The value of a node.
#[derive(Debug)]
pub enum Value {
    /// A string, number, boolean or null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// A map with unique keys; the last of several equal keys wins.
    Mapping(Vec<Entry>),
}

impl Value {
    /// The kind of value, for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Scalar(scalar) => match scalar.kind {
                Kind::Null => "nothing",
                Kind::Bool(_) => "a boolean",
                Kind::Number(_) | Kind::Infinite => "a number",
                Kind::Text => "a string",
            },
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a map",
        }
    }
}

/// A key and its value in a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key as in JSON: `on:` is the key `true`.
    pub key: String,
    /// The line of the key.
    pub line: usize,
    /// The line of an earlier entry with the same key in the same map.
    pub earlier: Option<usize>,
    /// The value.
    pub value: Rc<Node>,
}

/// A YAML error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The problem.
    pub message: String,
    /// How to fix it.
    pub help: Option<&'static str>,
}

impl YamlError {
    /// An error at the place of this node.
    pub fn at(node: &Node, message: impl Into<String>) -> Self {
        Self { line: node.line, column: node.column, message: message.into(), help: None }
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        let help = match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart => Some("indent YAML with spaces instead of tabs"),
            ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey | ErrorKind::MappingKeyNotAllowed => {
                Some("end a key with a colon and a space; quote text that contains a colon and a space")
            }
            ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => {
                Some("start all keys of a map in the same column")
            }
            ErrorKind::UnknownAnchor => {
                Some("an anchor must be defined before it is used, in the same document")
            }
            _ => None,
        };
        let mark = error.marker();
        Self { line: mark.line().max(1), column: mark.col() + 1, message: error.info(), help }
    }
}

/// Parses every non-empty document of `text`. An invalid document does not affect the others.
pub fn documents(text: &str) -> Vec<Result<Rc<Node>, YamlError>> {
    let mut reader = Reader { parser: Parser::new_from_str(text), merged: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(Some(root)) if root.is_empty() => {}
            Ok(Some(root)) => documents.push(Ok(root)),
            Ok(None) => return documents,
            Err(error) => {
                documents.push(Err(error));
                if !matches!(reader.parser.proceed_next_document(), Ok(true)) {
                    return documents;
                }
            }
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { kind: Kind::Null, .. }))
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    merged: usize,
}

/// A collection that is being parsed.
struct Open {
    start: Marker,
    anchor: usize,
    depth: usize,
    nodes: Nodes,
}

enum Nodes {
    Sequence(Vec<Rc<Node>>),
    Mapping { key: Option<Rc<Node>>, pairs: Vec<(Rc<Node>, Rc<Node>)> },
}

impl Open {
    fn new(start: Marker, anchor: usize, nodes: Nodes) -> Self {
        Self { start, anchor, depth: 0, nodes }
    }

    fn take(&mut self, node: Rc<Node>) {
        self.depth = self.depth.max(node.depth);
        match &mut self.nodes {
            Nodes::Sequence(items) => items.push(node),
            Nodes::Mapping { key, pairs } => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
    }
}

impl Reader<'_> {
    /// The root of the next document; `None` at the end.
    fn document(&mut self) -> Result<Option<Rc<Node>>, YamlError> {
        let mut anchors = HashMap::new();
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event?;
            let (anchor, node) = match event {
                Event::StreamEnd => return Ok(None),
                Event::DocumentEnd => return Ok(root),
                Event::SequenceStart(_, anchor, _) => {
                    open.push(Open::new(span.start, anchor, Nodes::Sequence(Vec::new())));
                    continue;
                }
                Event::MappingStart(_, anchor, _) => {
                    let nodes = Nodes::Mapping { key: None, pairs: Vec::new() };
                    open.push(Open::new(span.start, anchor, nodes));
                    continue;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let text = if span.is_empty() && style == ScalarStyle::Plain { "".into() } else { text };
                    let tag = tag.as_deref().and_then(|tag| tag.core_suffix());
                    let scalar = Scalar::read(text.into_owned(), style == ScalarStyle::Plain, tag);
                    (anchor, Rc::new(leaf(span, scalar)))
                }
                Event::Alias(id) => (0, anchors.get(&id).cloned().ok_or_else(|| is_recursive(span))?),
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(ended) => (ended.anchor, Rc::new(self.close(ended)?)),
                    None => continue,
                },
                _ => continue,
            };
            if anchor != 0 {
                anchors.insert(anchor, Rc::clone(&node));
            }
            match open.last_mut() {
                Some(parent) => parent.take(node),
                None => root = Some(node),
            }
        }
        Ok(None)
    }

    fn close(&mut self, ended: Open) -> Result<Node, YamlError> {
        let (line, column, depth) = (ended.start.line(), ended.start.col() + 1, ended.depth + 1);
        let value = match ended.nodes {
            Nodes::Sequence(items) => Value::Sequence(items),
            Nodes::Mapping { pairs, .. } => Value::Mapping(self.entries(pairs)?),
        };
        let node = Node { line, column, value, depth };
        if depth > MAX_DEPTH {
            return Err(YamlError::at(&node, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(node)
    }

    /// The entries of a map after merging, in their order; the last of several equal keys wins.
    fn entries(&mut self, pairs: Vec<(Rc<Node>, Rc<Node>)>) -> Result<Vec<Entry>, YamlError> {
        let mut entries = Entries::default();
        for (key, value) in pairs {
            if is_merge(&key) {
                for merged in merged_maps(&value)? {
                    self.merged += merged.len();
                    if self.merged > MAX_MERGED {
                        return Err(YamlError::at(
                            &key,
                            format!("`<<` copies more than {MAX_MERGED} entries"),
                        ));
                    }
                    for entry in merged {
                        entries.set(Entry { earlier: None, ..entry.clone() });
                    }
                }
                continue;
            }
            let name = key_name(&key)?;
            entries.set_own(Entry { key: name, line: key.line, earlier: None, value });
        }
        Ok(entries.list)
    }
}

#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    places: HashMap<String, (usize, bool)>,
}

impl Entries {
    fn set(&mut self, entry: Entry) {
        match self.places.get(&entry.key) {
            Some(&(place, _)) => self.list[place] = entry,
            None => {
                self.places.insert(entry.key.clone(), (self.list.len(), false));
                self.list.push(entry);
            }
        }
    }

    /// Sets an entry of the map itself, and remembers the line of an earlier one.
    fn set_own(&mut self, mut entry: Entry) {
        let key = entry.key.clone();
        if let Some(&(place, true)) = self.places.get(&key) {
            entry.earlier = Some(self.list[place].line);
        }
        self.set(entry);
        if let Some((_, own)) = self.places.get_mut(&key) {
            *own = true;
        }
    }
}

fn leaf(span: Span, scalar: Scalar) -> Node {
    Node { line: span.start.line(), column: span.start.col() + 1, value: Value::Scalar(scalar), depth: 0 }
}

fn is_recursive(span: Span) -> YamlError {
    YamlError {
        line: span.start.line(),
        column: span.start.col() + 1,
        message: "the anchor contains itself".to_owned(),
        help: Some("use the alias only after the end of the anchor's value"),
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar(scalar) if scalar.plain && scalar.text == "<<")
}

/// The maps that `<<: value` merges, in ascending order of precedence.
fn merged_maps(value: &Node) -> Result<Vec<&[Entry]>, YamlError> {
    let map = |node: &'_ Rc<Node>| matches!(node.value, Value::Mapping(_));
    match &value.value {
        Value::Mapping(entries) => Ok(vec![entries]),
        Value::Sequence(items) if items.iter().all(map) => Ok(items
            .iter()
            .rev()
            .filter_map(|item| match &item.value {
                Value::Mapping(entries) => Some(entries.as_slice()),
                Value::Scalar(_) | Value::Sequence(_) => None,
            })
            .collect()),
        Value::Scalar(_) | Value::Sequence(_) => {
            Err(YamlError::at(value, "`<<` needs a map or a list of maps"))
        }
    }
}

fn key_name(key: &Node) -> Result<String, YamlError> {
    let Value::Scalar(scalar) = &key.value else {
        return Err(YamlError::at(key, format!("the key of a map is {}, not a string", key.value.noun())));
    };
    match &scalar.kind {
        Kind::Bool(value) => Ok(value.to_string()),
        Kind::Number(number) => Ok(number.clone()),
        Kind::Text | Kind::Infinite => Ok(scalar.text.clone()),
        Kind::Null => Err(YamlError::at(key, "the key of a map is empty")),
    }
}

#[cfg(test)]
mod tests;
