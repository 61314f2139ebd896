//! A parser for HCL 1 and JSON, which differ only in separators (hcl `hcl/parser`, `json/parser`).
//!
//! Turns the text into blocks and values.

use super::super::cursor::Cursor;

/// The maximum nesting depth of blocks and lists.
const MAX_DEPTH: usize = 32;

/// A value; scalars other than strings and numbers are not distinguished.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(String),
    Other,
    List(Vec<Self>),
    Object(Vec<Item>),
}

/// `key = value`, or a block with its labels.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) keys: Vec<String>,
    pub(super) value: Value,
    /// The text as written; empty for blocks and lists.
    pub(super) text: String,
    pub(super) line: usize,
}

pub(super) struct Parser<'t> {
    cursor: Cursor<'t>,
}

impl<'t> Parser<'t> {
    /// A parser for the file at `path`.
    pub(super) fn new(path: &'t str, text: &'t str) -> Self {
        Self { cursor: Cursor::new(path, text.strip_prefix('\u{feff}').unwrap_or(text)) }
    }

    /// Skips whitespace and comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.cursor.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.cursor.skip_line();
            } else if rest.starts_with("/*") {
                let length =
                    rest.find("*/").ok_or_else(|| self.cursor.fault("a comment is not closed"))? + "*/".len();
                self.cursor.step(length);
            } else if self.cursor.peek().is_some_and(char::is_whitespace) {
                self.cursor.take();
            } else {
                return Ok(());
            }
        }
    }

    /// The items of the whole text.
    pub(super) fn document(&mut self) -> Result<Vec<Item>, String> {
        self.skip()?;
        let json = self.cursor.peek() == Some('{');
        if json {
            self.cursor.take();
        }
        let items = self.items(json, 0)?;
        self.skip()?;
        if self.cursor.peek().is_some() { Err(self.cursor.fault("this is not HCL")) } else { Ok(items) }
    }

    fn items(&mut self, braces: bool, depth: usize) -> Result<Vec<Item>, String> {
        if depth > MAX_DEPTH {
            return Err(self.cursor.fault("blocks are nested too deeply"));
        }
        let mut items = Vec::new();
        loop {
            self.skip()?;
            match self.cursor.peek() {
                None if !braces => return Ok(items),
                None => return Err(self.cursor.fault("a brace is not closed")),
                Some('}') if braces => {
                    self.cursor.take();
                    return Ok(items);
                }
                Some(',') => drop(self.cursor.take()),
                Some(_) => items.push(self.item(depth)?),
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, String> {
        let (start, line) = (self.cursor.at, self.cursor.line);
        let mut keys = Vec::new();
        loop {
            self.skip()?;
            match self.cursor.peek() {
                Some('"') => keys.push(self.string()?),
                Some('=' | ':') if keys.len() == 1 => {
                    self.cursor.take();
                    break;
                }
                Some('{') if !keys.is_empty() => break,
                Some(c) if c.is_alphabetic() || c == '_' => keys.push(self.word().to_owned()),
                Some(_) | None => return Err(self.cursor.fault("this is not HCL")),
            }
        }
        let value = self.value(depth)?;
        let text = match value {
            Value::Scalar(_) => self.cursor.since(start),
            _ => "",
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Item { keys, value, text, line })
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip()?;
        match self.cursor.peek() {
            Some('"') => self.string().map(Value::Scalar),
            Some('{') => {
                self.cursor.take();
                self.items(true, depth + 1).map(Value::Object)
            }
            Some('[') => {
                self.cursor.take();
                self.list(depth + 1).map(Value::List)
            }
            Some('<') => self.here_document(),
            Some(c) if c.is_ascii_digit() || c == '-' => Ok(Value::Scalar(self.word().to_owned())),
            Some(c) if c.is_alphabetic() => {
                self.word();
                Ok(Value::Other)
            }
            Some(_) | None => Err(self.cursor.fault("a key has no value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        if depth > MAX_DEPTH {
            return Err(self.cursor.fault("lists are nested too deeply"));
        }
        let mut values = Vec::new();
        loop {
            self.skip()?;
            match self.cursor.peek() {
                Some(']') => {
                    self.cursor.take();
                    return Ok(values);
                }
                Some(',') => drop(self.cursor.take()),
                Some(_) => values.push(self.value(depth)?),
                None => return Err(self.cursor.fault("a bracket is not closed")),
            }
        }
    }

    fn word(&mut self) -> &'t str {
        self.cursor.while_in(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'))
    }

    fn string(&mut self) -> Result<String, String> {
        self.cursor.take();
        let mut string = String::new();
        loop {
            match self.cursor.take() {
                Some('"') => return Ok(string),
                Some('\\') => match self.cursor.take() {
                    Some(c @ ('"' | '\\' | '/')) => string.push(c),
                    // No relevant value contains other characters.
                    Some(_) => string.push('\u{fffd}'),
                    None => return Err(self.cursor.fault("a string is not closed")),
                },
                Some('$') if self.cursor.peek() == Some('{') => {
                    return Err(self.cursor.fault("a string contains code, which is not evaluated"));
                }
                Some('\n') | None => return Err(self.cursor.fault("a string is not closed")),
                Some(c) => string.push(c),
            }
        }
    }

    /// `<<EOF` or `<<-EOF`, up to the line with the same word.
    fn here_document(&mut self) -> Result<Value, String> {
        let rest = self.cursor.rest();
        let mut lines = rest.split_inclusive('\n');
        let first = lines.next().unwrap_or_default();
        let word = first.strip_prefix("<<").map_or("", |word| word.trim_start_matches('-').trim());
        let mut length = first.len();
        for line in lines.by_ref() {
            if !word.is_empty() && line.trim() == word {
                // The line break after the word is not part of it.
                let read = length + line.trim_end().len();
                self.cursor.step(read);
                return Ok(Value::Other);
            }
            length += line.len();
        }
        Err(self.cursor.fault("a here-document is not closed"))
    }
}
