//! lighttpd's lexer (lighttpd `config_tokenizer` in `src/configfile.c`).
//!
//! Splits a text into tokens.

use super::super::cursor::Cursor;

/// A token with its line.
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
}

/// The kind of a token.
pub(super) enum Kind {
    /// A key or a keyword.
    Word(String),
    Text(String),
    Number(String),
    Mark(&'static str),
    /// The end of a line, outside of parentheses.
    End,
}

/// The operators and brackets, longer ones first.
const MARKS: [&str; 20] = [
    "=>", "==", "=~", "=^", "=$", "!=", "!~", "+=", ":=", "=", "+", ",", "(", ")", "{", "}", "[", "]", "$",
    "\u{a0}",
];

pub(super) struct Lexer<'l> {
    cursor: Cursor<'l>,
    parentheses: usize,
    tokens: Vec<Token>,
}

impl<'l> Lexer<'l> {
    pub(super) const fn new(path: &'l str, text: &'l str) -> Self {
        Self { cursor: Cursor::new(path, text), parentheses: 0, tokens: Vec::new() }
    }

    /// The tokens of the text; an error if there are more than `most`.
    pub(super) fn run(mut self, most: usize) -> Result<Vec<Token>, String> {
        while let Some(c) = self.cursor.peek() {
            let line = self.cursor.line;
            if self.tokens.len() >= most {
                return Err(self.cursor.fault("the configuration is too long"));
            }
            let kind = match c {
                ' ' | '\t' | '\r' => {
                    self.cursor.take();
                    continue;
                }
                '\n' => {
                    self.cursor.take();
                    if self.parentheses > 0 {
                        continue;
                    }
                    Kind::End
                }
                '#' => {
                    self.cursor.skip_line();
                    continue;
                }
                '"' => Kind::Text(self.text()?),
                c if c.is_ascii_digit() => {
                    Kind::Number(self.cursor.while_in(|c| c.is_ascii_digit()).to_owned())
                }
                c if c.is_ascii_alphabetic() || matches!(c, '.' | '_' | '-') => {
                    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                    Kind::Word(self.cursor.while_in(belongs).to_owned())
                }
                _ => {
                    let mark = MARKS.into_iter().find(|mark| self.cursor.rest().starts_with(mark));
                    let mark = mark.ok_or_else(|| self.cursor.fault("there is an unexpected character"))?;
                    self.cursor.step(mark.len());
                    match mark {
                        "(" => self.parentheses += 1,
                        ")" => self.parentheses = self.parentheses.saturating_sub(1),
                        "\u{a0}" => continue,
                        _ => {}
                    }
                    Kind::Mark(mark)
                }
            };
            self.tokens.push(Token { kind, line });
        }
        Ok(self.tokens)
    }

    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.cursor.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.cursor.step(at + 1);
                    return Ok(text);
                }
                '\\' => text.push(chars.next_if(|(_, next)| *next == '"').map_or('\\', |(_, quote)| quote)),
                c => text.push(c),
            }
        }
        Err(self.cursor.fault("a quote is not closed"))
    }
}
