//! nginx's lexer (nginx `src/core/ngx_conf_file.c`).
//!
//! Splits a text into words, semicolons and braces.

use super::super::cursor::Cursor;

/// A part of a directive.
pub(super) enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// The next token; `None` at the end of the text.
pub(super) fn next(cursor: &mut Cursor<'_>) -> Result<Option<Token>, String> {
    loop {
        match cursor.peek() {
            None => return Ok(None),
            Some(c) if c.is_ascii_whitespace() => drop(cursor.take()),
            Some('#') => cursor.skip_line(),
            Some(';') => return Ok(cursor.take().map(|_| Token::End)),
            Some('{') => return Ok(cursor.take().map(|_| Token::Open)),
            Some('}') => return Ok(cursor.take().map(|_| Token::Close)),
            Some(quote @ ('"' | '\'')) => {
                cursor.take();
                return quoted(cursor, quote).map(|word| Some(Token::Word(word)));
            }
            Some(_) => return Ok(Some(Token::Word(word(cursor)))),
        }
    }
}

fn quoted(cursor: &mut Cursor<'_>, quote: char) -> Result<String, String> {
    let mut word = String::new();
    while let Some(c) = cursor.take() {
        match c {
            '\\' => word.extend(cursor.take()),
            c if c == quote => return Ok(word),
            c => word.push(c),
        }
    }
    Err(cursor.fault("a quote is not closed"))
}

/// A brace after a dollar sign belongs to a variable.
fn word(cursor: &mut Cursor<'_>) -> String {
    let mut word = String::new();
    while let Some(c) = cursor.peek() {
        if c == '{' && word.ends_with('$') {
            while let Some(c) = cursor.take() {
                word.push(c);
                if c == '}' {
                    break;
                }
            }
            continue;
        }
        if c.is_ascii_whitespace() || matches!(c, ';' | '{') {
            break;
        }
        cursor.take();
        if c == '\\' { word.extend(cursor.take()) } else { word.push(c) }
    }
    word
}

/// Skips the code of a block with balanced braces, ignoring strings and comments.
pub(super) fn skip_code(cursor: &mut Cursor<'_>) -> Result<(), String> {
    let mut open = 1;
    while let Some(c) = cursor.take() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            '"' | '\'' => drop(quoted(cursor, c)?),
            '-' if cursor.peek() == Some('-') => cursor.skip_line(),
            _ => {}
        }
        if open == 0 {
            return Ok(());
        }
    }
    Err(cursor.fault("a block of Lua is not closed"))
}
