//! Ruby's strings, commands and regular expressions.
//!
//! Reads a literal, and keeps the text of a plain one.

use super::{super::super::script::Kind, Lexer};

/// The maximum nesting depth of the code in strings.
const MAX_DEPTH: usize = 8;

impl<'t> Lexer<'t> {
    /// A string, command or regular expression between two equal quotes.
    pub(super) fn quoted(&mut self, quote: char, depth: usize) -> Result<Kind<'t>, String> {
        self.cursor.take();
        let start = self.cursor.at;
        let mut plain = matches!(quote, '"' | '\'');
        loop {
            let end = self.cursor.at;
            match self.cursor.take() {
                None => return Err(self.cursor.fault("a string is not closed")),
                Some('\\') => {
                    plain = false;
                    self.cursor.take();
                }
                Some('#') if quote != '\'' && self.cursor.peek() == Some('{') => {
                    plain = false;
                    self.code(depth)?;
                }
                Some('\n') if quote == '/' => return Err(self.cursor.fault("a pattern is not closed")),
                Some(c) if c == quote => {
                    return Ok(Kind::Text(self.cursor.text.get(start..end).filter(|_| plain)));
                }
                Some(_) => {}
            }
        }
    }

    /// Skips `{...}` in a string. Code that changes settings is not expected there.
    fn code(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(self.cursor.fault("strings are nested too deeply"));
        }
        let mut open = 0_usize;
        while let Some(c) = self.cursor.peek() {
            match c {
                '"' | '\'' | '`' => drop(self.quoted(c, depth + 1)?),
                '{' | '}' => {
                    self.cursor.take();
                    open = if c == '{' { open + 1 } else { open - 1 };
                    if open == 0 {
                        return Ok(());
                    }
                }
                '\n' | '/' | '%' | '?' | '#' | '=' => {
                    return Err(self.cursor.fault("a string contains code, which is not evaluated"));
                }
                _ => drop(self.cursor.take()),
            }
        }
        Err(self.cursor.fault("a string is not closed"))
    }

    /// `%w[a b]` and similar.
    pub(super) fn percent(&mut self) -> Result<Kind<'t>, String> {
        self.cursor.take();
        if self.cursor.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            self.cursor.take();
        }
        let left = self.cursor.take();
        let right = match left {
            Some('(') => ')',
            Some('[') => ']',
            Some('{') => '}',
            Some('<') => '>',
            Some(c @ ('|' | '!' | '/' | '-' | '^')) => c,
            Some(_) | None => return Err(self.cursor.fault("this is not Ruby")),
        };
        let mut open = 1_usize;
        while let Some(c) = self.cursor.take() {
            match c {
                '\\' => drop(self.cursor.take()),
                '#' if self.cursor.peek() == Some('{') => {
                    return Err(self.cursor.fault("a string contains code, which is not evaluated"));
                }
                c if c == right => {
                    open -= 1;
                    if open == 0 {
                        return Ok(Kind::Text(None));
                    }
                }
                c if Some(c) == left => open += 1,
                _ => {}
            }
        }
        Err(self.cursor.fault("a string is not closed"))
    }
}
