//! HOCON's lexer (lightbend/config `HOCON.md`).
//!
//! Reads keys, strings and the parts of a value.

use super::{super::cursor::Cursor, Part};

/// The start of a field.
pub(super) enum FieldPath {
    Path(Vec<String>),
    Include,
}

fn at_comment(cursor: &Cursor<'_>) -> bool {
    cursor.rest().starts_with('#') || cursor.rest().starts_with("//")
}

/// Skips blanks and a comment, up to the end of the line.
pub(super) fn skip_blanks(cursor: &mut Cursor<'_>) {
    cursor.while_in(|c| c.is_whitespace() && c != '\n');
    if at_comment(cursor) {
        cursor.skip_line();
    }
}

/// Skips blanks, comments and line breaks.
pub(super) fn skip_lines(cursor: &mut Cursor<'_>) {
    skip_blanks(cursor);
    while cursor.peek() == Some('\n') {
        cursor.take();
        skip_blanks(cursor);
    }
}

/// Skips blanks, comments, line breaks and commas.
pub(super) fn skip_separators(cursor: &mut Cursor<'_>) {
    skip_lines(cursor);
    while cursor.peek() == Some(',') {
        cursor.take();
        skip_lines(cursor);
    }
}

/// The words of a key: `a.b."c.d"`.
pub(super) fn field_path(cursor: &mut Cursor<'_>) -> Result<FieldPath, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut blank) = (false, String::new());
    loop {
        match cursor.peek() {
            Some('"') => {
                word.push_str(&std::mem::take(&mut blank));
                word.push_str(&quoted(cursor)?);
                is_quoted = true;
            }
            Some('.') => {
                cursor.take();
                if word.is_empty() && !is_quoted {
                    return Err(cursor.fault("a key has an empty word"));
                }
                word.push_str(&std::mem::take(&mut blank));
                words.push(std::mem::take(&mut word));
                is_quoted = false;
            }
            Some('=' | ':' | '{' | '+' | '\n') | None => break,
            Some(c) if at_comment(cursor) || forbidden(c) => {
                return Err(cursor.fault("a key is not a literal"));
            }
            Some(c) if c.is_whitespace() => {
                cursor.take();
                let include = words.is_empty() && !is_quoted && blank.is_empty() && word == "include";
                let names = ["\"", "required(", "file(", "classpath(", "url(", "package("];
                let includes = |next: &str| names.iter().any(|name| next.starts_with(name));
                if include && includes(cursor.rest().trim_start()) {
                    return Ok(FieldPath::Include);
                }
                // Blanks are only significant between the parts of a word.
                if !word.is_empty() || is_quoted {
                    blank.push(c);
                }
            }
            Some(c) => {
                word.push_str(&std::mem::take(&mut blank));
                word.push(c);
                cursor.take();
            }
        }
    }
    if word.is_empty() && !is_quoted {
        return Err(cursor.fault("a key has an empty word"));
    }
    words.push(word);
    Ok(FieldPath::Path(words))
}

/// `required("x")`, `file("x")` or `required(file("x"))`.
pub(super) fn include_call(cursor: &mut Cursor<'_>) -> Result<String, String> {
    let mut open = 0_usize;
    let mut name = None;
    loop {
        match cursor.peek() {
            Some('"') => name = Some(quoted(cursor)?),
            Some('(') => {
                cursor.take();
                open += 1;
            }
            Some(')') => {
                cursor.take();
                open = open.saturating_sub(1);
                if open == 0 {
                    return name.ok_or_else(|| cursor.fault("an include is not a literal"));
                }
            }
            Some(c) if c.is_ascii_alphabetic() || c == ' ' => drop(cursor.take().is_some()),
            Some(_) | None => return Err(cursor.fault("an include is not a literal")),
        }
    }
}

/// A string in one or three quotes.
pub(super) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    if cursor.rest().starts_with("\"\"\"") {
        return triple_quoted(cursor);
    }
    cursor.take();
    let mut word = String::new();
    loop {
        match cursor.take() {
            Some('"') => return Ok(word),
            Some('\\') => match cursor.take() {
                Some(c @ ('"' | '\\' | '/')) => word.push(c),
                // No relevant value contains other characters.
                Some(_) => word.push('\u{fffd}'),
                None => return Err(cursor.fault("a string is not closed")),
            },
            Some('\n') | None => return Err(cursor.fault("a string is not closed")),
            Some(c) => word.push(c),
        }
    }
}

fn triple_quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    cursor.step(3);
    let rest = cursor.rest();
    let length = rest.find("\"\"\"").ok_or_else(|| cursor.fault("a string is not closed"))?;
    let behind = rest.get(length + 3..).unwrap_or_default();
    // Further quotes belong to the string.
    let more = behind.len() - behind.trim_start_matches('"').len();
    let text = cursor.step(length + more);
    cursor.step(3);
    Ok(text.to_owned())
}

/// `${NAME}`; longer paths may refer to unknown files.
pub(super) fn substitution(cursor: &mut Cursor<'_>) -> Result<Part, String> {
    cursor.step("${".len());
    let optional = cursor.peek() == Some('?');
    if optional {
        cursor.take();
    }
    let name = cursor.while_in(|c| !matches!(c, '}' | '\n'));
    if cursor.take() != Some('}') {
        return Err(cursor.fault("a substitution is not closed"));
    }
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Ok(Part::Array);
    }
    Ok(Part::Variable { name: name.to_owned(), optional })
}

/// Text without quotes, without trailing whitespace.
pub(super) fn unquoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    let start = cursor.at;
    while let Some(c) = cursor.peek() {
        if matches!(c, ',' | '\n' | '}' | ']' | '{' | '[' | '"' | '$') || at_comment(cursor) {
            break;
        }
        if forbidden(c) || matches!(c, '=' | ':' | '+') {
            return Err(cursor.fault("a value is not a literal"));
        }
        cursor.take();
    }
    if cursor.at == start {
        return Err(cursor.fault("a value is not a literal"));
    }
    Ok(cursor.since(start).trim_end().to_owned())
}

/// Characters that are only allowed in quotes.
fn forbidden(c: char) -> bool {
    matches!(c, '$' | '}' | '[' | ']' | ',' | '#' | '`' | '^' | '?' | '!' | '@' | '*' | '&' | '\\')
}
