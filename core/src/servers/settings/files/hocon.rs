//! HOCON: application.conf of Play, Akka and Pekko.
//!
//! Reads the value at a dotted path (lightbend/config `HOCON.md`). The value keeps its unit. The caller handles
//! reference.conf of libraries, system properties and the default.

mod lexer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::lexer::FieldPath;
use super::{Answer, Entry, Files, Opened, Query, cursor::Cursor};

/// The maximum nesting depth of objects and includes.
const MAX_DEPTH: usize = 32;
/// The maximum number of included files.
const MAX_FILES: usize = 64;

/// Reads the path `key` from the file at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let key: Vec<&str> = query.key.split('.').collect();
    let mut found = Found {
        key: &key,
        state: Ok(Answer::Absent),
        root_keys: BTreeSet::new(),
        variables: BTreeSet::new(),
    };
    let mut reader = Reader { files, found: &mut found, files_left: MAX_FILES };
    match reader.file(path, text, Place::On(0), 0) {
        Ok(()) => found.answer(),
        Err(why) => Answer::Unknown(why),
    }
}

/// The position of an object or a value relative to the requested path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The first n words of the path lead to it.
    On(usize),
    /// It is below the path.
    Below,
    /// It is elsewhere.
    Off,
}

/// The state of the search.
struct Found<'k> {
    key: &'k [&'k str],
    /// The error says why the answer is unknown.
    state: Result<Answer, String>,
    /// The first words of all paths that are set.
    root_keys: BTreeSet<String>,
    /// The variables that the value depends on.
    variables: BTreeSet<String>,
}

impl Found<'_> {
    fn answer(self) -> Answer {
        // A substitution finds a path in the file before it finds a variable.
        if let Some(variable) = self.variables.iter().find(|variable| self.root_keys.contains(*variable)) {
            return Answer::Unknown(format!(
                "the file sets {variable}, which takes precedence over the variable"
            ));
        }
        self.state.unwrap_or_else(Answer::Unknown)
    }

    fn step(&self, place: Place, word: &str) -> Place {
        match place {
            Place::On(words) if words == self.key.len() => Place::Below,
            Place::On(words) if self.key.get(words) == Some(&word) => Place::On(words + 1),
            Place::On(_) | Place::Off => Place::Off,
            Place::Below => Place::Below,
        }
    }

    /// Whether a value at this position affects the answer: it is at the path, above it or below it.
    fn counts(place: Place) -> bool {
        place != Place::Off
    }
}

/// A part of a value.
#[derive(Debug, Eq, PartialEq)]
enum Part {
    /// Text without quotes, with the surrounding whitespace.
    Plain(String),
    Quoted(String),
    /// `${NAME}` or `${?NAME}`.
    Variable {
        name: String,
        optional: bool,
    },
    Object,
    Array,
}

struct Reader<'r, 'k> {
    files: &'r dyn Files,
    found: &'r mut Found<'k>,
    files_left: usize,
}

impl Reader<'_, '_> {
    fn file(&mut self, path: &str, text: &str, place: Place, depth: usize) -> Result<(), String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let cursor = &mut Cursor::new(path, text);
        lexer::skip_lines(cursor);
        match cursor.peek() {
            Some('{') => {
                cursor.take();
                self.object(cursor, place, depth, true)?;
                lexer::skip_lines(cursor);
            }
            Some(_) => self.object(cursor, place, depth, false)?,
            None => {}
        }
        if cursor.peek().is_some() { Err(cursor.fault("this is not HOCON")) } else { Ok(()) }
    }

    /// Parses the fields of an object, up to its brace or to the end of the file.
    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: Place,
        depth: usize,
        braces: bool,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(cursor.fault("objects are nested too deeply"));
        }
        loop {
            lexer::skip_separators(cursor);
            match cursor.peek() {
                None if !braces => return Ok(()),
                Some('}') if braces => {
                    cursor.take();
                    return Ok(());
                }
                None => return Err(cursor.fault("a brace is not closed")),
                Some(_) => self.field(cursor, place, depth)?,
            }
            lexer::skip_blanks(cursor);
            if !matches!(cursor.peek(), None | Some(',' | '\n' | '}')) {
                return Err(cursor.fault("this is not HOCON"));
            }
        }
    }

    fn field(&mut self, cursor: &mut Cursor<'_>, place: Place, depth: usize) -> Result<(), String> {
        let (start, line) = (cursor.at, cursor.line);
        let words = match lexer::field_path(cursor)? {
            FieldPath::Path(words) => words,
            FieldPath::Include => return self.include(cursor, place, depth),
        };
        if place == Place::On(0) {
            self.found.root_keys.extend(words.first().cloned());
        }
        let place = words.iter().fold(place, |place, word| self.found.step(place, word));
        lexer::skip_lines(cursor);
        let appends = cursor.rest().starts_with("+=");
        match cursor.peek() {
            Some('{') => {}
            Some('=' | ':') => drop(cursor.take().is_some()),
            Some('+') if appends => {
                cursor.step("+=".len());
            }
            Some(_) | None => return Err(cursor.fault("a key has no value")),
        }
        lexer::skip_lines(cursor);
        let (parts, end) = self.value(cursor, place, depth)?;
        let text = if place == Place::On(self.found.key.len()) { cursor.text.get(start..end) } else { None };
        let text = text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        self.set(
            place,
            &parts,
            appends,
            Entry { value: String::new(), text, path: cursor.path.to_owned(), line },
        );
        Ok(())
    }

    /// Records the effect of a field on the path.
    fn set(&mut self, place: Place, parts: &[Part], appends: bool, entry: Entry) {
        if !Found::counts(place) {
            return;
        }
        let doubt = |what: &str| Err(format!("{} line {}: {what}", entry.path, entry.line));
        let exact = place == Place::On(self.found.key.len());
        self.found.state = match parts {
            // The fields of the object are already recorded.
            [Part::Object, rest @ ..] if !exact && rest.iter().all(|part| *part == Part::Object) => {
                return;
            }
            _ if !exact => doubt("a value above or below the key is not a literal"),
            _ if appends => doubt("the value is a list"),
            [Part::Variable { name, optional }] => {
                self.found.variables.insert(name.clone());
                match self.files.variable(name) {
                    Some(Ok(value)) => Ok(Answer::Set(Entry { value, ..entry })),
                    Some(Err(why)) => Err(why),
                    None if *optional => return,
                    None => doubt(&format!("{name} is not set")),
                }
            }
            [Part::Quoted(value)] => Ok(Answer::Set(Entry { value: value.clone(), ..entry })),
            [Part::Plain(value)] if value != "null" => {
                Ok(Answer::Set(Entry { value: value.clone(), ..entry }))
            }
            _ => doubt("the value is not a literal"),
        };
    }

    /// Parses a value, up to the end of its field; returns the end of its last text.
    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: Place,
        depth: usize,
    ) -> Result<(Vec<Part>, usize), String> {
        let mut parts = Vec::new();
        let mut end = cursor.at;
        loop {
            lexer::skip_blanks(cursor);
            let rest = cursor.rest();
            match cursor.peek() {
                None | Some(',' | '\n' | '}' | ']') => {
                    return if parts.is_empty() {
                        Err(cursor.fault("a key has no value"))
                    } else {
                        Ok((parts, end))
                    };
                }
                Some('{') => {
                    cursor.take();
                    self.object(cursor, place, depth + 1, true)?;
                    parts.push(Part::Object);
                }
                Some('[') => {
                    cursor.take();
                    self.array(cursor, depth + 1)?;
                    parts.push(Part::Array);
                }
                Some('"') => {
                    parts.push(Part::Quoted(lexer::quoted(cursor)?));
                    end = cursor.at;
                }
                Some('$') if rest.starts_with("${") => {
                    parts.push(lexer::substitution(cursor)?);
                    end = cursor.at;
                }
                Some(_) => {
                    let start = cursor.at;
                    let text = lexer::unquoted(cursor)?;
                    end = start + text.len();
                    parts.push(Part::Plain(text));
                }
            }
        }
    }

    fn array(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(cursor.fault("lists are nested too deeply"));
        }
        loop {
            lexer::skip_separators(cursor);
            match cursor.peek() {
                None => return Err(cursor.fault("a bracket is not closed")),
                Some(']') => {
                    cursor.take();
                    return Ok(());
                }
                Some(_) => drop(self.value(cursor, Place::Off, depth)?),
            }
            if cursor.peek() == Some('}') {
                return Err(cursor.fault("a brace closes nothing"));
            }
        }
    }

    /// Parses what follows `include`. A file outside of the input makes earlier values uncertain.
    fn include(&mut self, cursor: &mut Cursor<'_>, place: Place, depth: usize) -> Result<(), String> {
        let line = cursor.line;
        lexer::skip_blanks(cursor);
        let (name, plain) = if cursor.peek() == Some('"') {
            (lexer::quoted(cursor)?, true)
        } else {
            (lexer::include_call(cursor)?, false)
        };
        if place == Place::Off {
            return Ok(());
        }
        let folder = cursor.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if name.starts_with('/') { name.clone() } else { format!("{folder}/{name}") };
        let has_ending = name.to_ascii_lowercase().ends_with(".conf");
        let opened = if plain && has_ending { self.files.open(&path) } else { Opened::Missing };
        match opened {
            Opened::Text(text) => {
                let too_many = || cursor.fault("too many files are included");
                self.files_left = self.files_left.checked_sub(1).ok_or_else(too_many)?;
                return self.file(&path, &text, place, depth + 1);
            }
            Opened::Missing => {
                let what = format!("{} line {line}: {name} is not in the input", cursor.path);
                self.found.state = Err(what);
            }
            Opened::Unknown(why) => self.found.state = Err(why),
        }
        Ok(())
    }
}
