//! The lexer of the Caddyfile (caddy `caddyconfig/caddyfile/lexer.go`).
//!
//! Splits a text into tokens.

use super::super::cursor::Cursor;

/// Replaces a variable with an unknown value in a token.
pub(super) const UNKNOWN: char = '\u{1}';

/// A word or a brace with its position.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) quoted: bool,
    /// Whether it is the first token of its line.
    pub(super) fresh: bool,
    pub(super) line: usize,
    /// The index of its file in [`super::Reader::paths`].
    pub(super) path: usize,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && !self.quoted
    }

    /// Whether its text is unknown.
    pub(super) fn is_obscure(&self) -> bool {
        self.text.contains(UNKNOWN) || self.text.contains("{args") || self.text.contains("{block")
    }
}

pub(super) struct Lexer<'l> {
    cursor: Cursor<'l>,
    fresh: bool,
    path: usize,
    tokens: Vec<Token>,
}

impl<'l> Lexer<'l> {
    /// A lexer for the file at `path`, which has this number in [`super::Reader::paths`].
    pub(super) const fn new(path: &'l str, number: usize, text: &'l str) -> Self {
        Self { cursor: Cursor::new(path, text), fresh: true, path: number, tokens: Vec::new() }
    }

    /// All tokens of the text.
    pub(super) fn run(mut self) -> Result<Vec<Token>, String> {
        self.cursor.while_in(|c| c == '\u{feff}');
        while let Some(c) = self.cursor.peek() {
            match c {
                '\n' => {
                    self.cursor.take();
                    self.fresh = true;
                }
                c if c.is_whitespace() => drop(self.cursor.take()),
                '#' => self.cursor.skip_line(),
                '\\' if self.cursor.rest().starts_with("\\\n") => {
                    self.cursor.step(2);
                }
                '\\' if self.cursor.rest().starts_with("\\\r\n") => {
                    self.cursor.step(3);
                }
                '"' | '`' => self.quoted(c)?,
                _ => self.word()?,
            }
        }
        Ok(self.tokens)
    }

    fn push(&mut self, text: String, quoted: bool, line: usize) {
        self.tokens.push(Token {
            text,
            quoted,
            fresh: std::mem::take(&mut self.fresh),
            line,
            path: self.path,
        });
    }

    fn quoted(&mut self, quote: char) -> Result<(), String> {
        let line = self.cursor.line;
        let mut text = String::new();
        let mut chars = self.cursor.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.cursor.step(at + 1);
                self.push(text, true, line);
                return Ok(());
            }
            if c == '\\' && quote == '"' {
                match chars.next() {
                    Some((_, '"')) => text.push('"'),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                }
            } else {
                text.push(c);
            }
        }
        Err(self.cursor.fault("a quote is not closed"))
    }

    fn word(&mut self) -> Result<(), String> {
        let line = self.cursor.line;
        let word = self.cursor.while_in(|c| !c.is_whitespace());
        let heredoc =
            word.strip_prefix("<<").filter(|_| self.cursor.rest().trim_start_matches('\r').starts_with('\n'));
        match heredoc {
            // The text continues to the next occurrence of its marker.
            Some(marker) if !marker.is_empty() => {
                let end = self
                    .cursor
                    .rest()
                    .find(marker)
                    .ok_or_else(|| self.cursor.fault("a heredoc is not closed"))?;
                let text = self.cursor.step(end + marker.len()).to_owned();
                self.push(text, true, line);
            }
            _ => self.push(
                word.strip_prefix("\\<").map_or_else(|| word.to_owned(), |rest| format!("<{rest}")),
                false,
                line,
            ),
        }
        Ok(())
    }
}
