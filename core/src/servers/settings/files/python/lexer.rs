//! Python's lexer (The Python Language Reference, chapter 2).
//!
//! Splits the text into statements with their scope.

use super::super::{
    cursor::Cursor,
    script::{Kind, Token, source},
};

/// Keywords of compound statements.
const COMPOUND: [&str; 11] =
    ["if", "elif", "else", "for", "while", "try", "except", "finally", "with", "async", "def"];

/// The scope of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// At top level; always runs.
    Top,
    /// At top level within `if`, `for` and so on, or their first line.
    Block,
    /// The first line of a function or class at top level.
    Header,
    /// Within a function or a class, which has its own variables.
    Inner,
}

#[derive(Debug)]
pub(super) struct Statement<'t> {
    pub(super) tokens: Vec<Token<'t>>,
    pub(super) scope: Scope,
}

impl<'t> Statement<'t> {
    pub(super) fn line(&self) -> usize {
        self.tokens.first().map_or(0, |token| token.line)
    }

    pub(super) fn first(&self) -> &'t str {
        self.tokens.first().and_then(Token::word).unwrap_or_default()
    }

    /// The source as written, on one line and without comments.
    pub(super) fn source(&self, text: &str) -> String {
        source(&self.tokens, text)
    }
}

pub(super) struct Lexer<'t> {
    cursor: Cursor<'t>,
    depth: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(path: &'t str, text: &'t str) -> Self {
        Self { cursor: Cursor::new(path, text), depth: 0 }
    }

    /// All statements of the file, with their scopes.
    pub(super) fn statements(mut self) -> Result<Vec<Statement<'t>>, String> {
        let mut statements = Vec::new();
        // The open blocks: their indentation, and whether they are in a function or class.
        let mut blocks: Vec<(usize, bool)> = Vec::new();
        while let Some((indent, tokens)) = self.logical_line()? {
            while blocks.last().is_some_and(|(of_block, _)| *of_block >= indent) {
                blocks.pop();
            }
            let inner = blocks.last().is_some_and(|(_, inner)| *inner);
            let word = |at: usize| tokens.get(at).and_then(Token::word).unwrap_or_default();
            let header = matches!(word(0), "def" | "class") || (word(0) == "async" && word(1) == "def");
            let opens = tokens.last().is_some_and(|token| token.is(":"));
            let compound = header || opens || COMPOUND.contains(&word(0));
            let scope = match (inner, header) {
                (true, _) => Scope::Inner,
                (false, true) => Scope::Header,
                (false, false) if compound || indent > 0 => Scope::Block,
                (false, false) => Scope::Top,
            };
            if compound {
                blocks.push((indent, inner || header));
                statements.push(Statement { tokens, scope });
            } else {
                let parts = tokens.split(|token| token.is(";") && token.depth == 0);
                let parts = parts.filter(|part| !part.is_empty());
                statements.extend(parts.map(|part| Statement { tokens: part.to_vec(), scope }));
            }
        }
        Ok(statements)
    }

    /// The indentation and the tokens of the next logical line that is not empty.
    fn logical_line(&mut self) -> Result<Option<(usize, Vec<Token<'t>>)>, String> {
        let mut tokens = Vec::new();
        let mut indent = self.indentation();
        loop {
            let Some(c) = self.cursor.peek() else {
                if self.depth > 0 {
                    return Err(self.cursor.fault("a bracket is not closed"));
                }
                return Ok((!tokens.is_empty()).then_some((indent, tokens)));
            };
            match c {
                '\n' => {
                    self.cursor.take();
                    if self.depth == 0 {
                        if !tokens.is_empty() {
                            return Ok(Some((indent, tokens)));
                        }
                        indent = self.indentation();
                    }
                }
                '\r' if !self.cursor.rest().starts_with("\r\n") => {
                    return Err(self.cursor.fault("a line has an unusual line ending"));
                }
                ' ' | '\t' | '\r' | '\u{c}' => drop(self.cursor.take()),
                '#' => {
                    while self.cursor.peek().is_some_and(|c| c != '\n') {
                        if self.cursor.take() == Some('\r') && self.cursor.peek() != Some('\n') {
                            return Err(self.cursor.fault("a line has an unusual line ending"));
                        }
                    }
                }
                '\\' => self.cursor.continue_line()?,
                _ => tokens.push(self.token(c)?),
            }
        }
    }

    fn indentation(&mut self) -> usize {
        let mut width = 0;
        while let Some(c) = self.cursor.peek() {
            match c {
                ' ' => width += 1,
                '\t' => width = (width / 8 + 1) * 8,
                '\u{c}' => width = 0,
                _ => break,
            }
            self.cursor.take();
        }
        width
    }

    fn token(&mut self, first: char) -> Result<Token<'t>, String> {
        let (start, line) = (self.cursor.at, self.cursor.line);
        let mut depth = self.depth;
        let kind = match first {
            '"' | '\'' => self.string("")?,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = self.cursor.while_in(|c| c.is_ascii_alphanumeric() || c == '_');
                match self.cursor.peek() {
                    Some('"' | '\'') if is_prefix(word) => self.string(word)?,
                    Some(c) if !c.is_ascii() && c.is_alphanumeric() => {
                        return Err(self.cursor.fault("a name has letters that are not ASCII"));
                    }
                    _ => Kind::Word(word),
                }
            }
            c if c.is_ascii_digit() => {
                Kind::Number(self.cursor.while_in(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
            }
            _ => {
                let op = self.operator()?;
                match op {
                    "(" | "[" | "{" => self.depth += 1,
                    ")" | "]" | "}" => {
                        depth = self
                            .depth
                            .checked_sub(1)
                            .ok_or_else(|| self.cursor.fault("a bracket closes nothing"))?;
                        self.depth = depth;
                    }
                    _ => {}
                }
                Kind::Op(op)
            }
        };
        Ok(Token { kind, start, end: self.cursor.at, line, depth })
    }

    fn operator(&mut self) -> Result<&'t str, String> {
        let rest = self.cursor.rest();
        let longest =
            ["**=", "//=", ">>=", "<<=", "...", ":=", "==", "!=", "<=", ">=", "->", "+=", "-=", "*="]
                .into_iter()
                .chain(["/=", "%=", "&=", "|=", "^=", "@=", "**", "//", "<<", ">>"])
                .find(|op| rest.starts_with(op));
        let length = match longest {
            Some(op) => op.len(),
            None if rest.starts_with(|c| "()[]{}.,:;=+-*/%&|^~<>@".contains(c)) => 1,
            None => return Err(self.cursor.fault("this is not Python")),
        };
        Ok(self.cursor.step(length))
    }

    /// A string after its prefix.
    fn string(&mut self, prefix: &str) -> Result<Kind<'t>, String> {
        let rest = self.cursor.rest();
        let quote = if rest.starts_with("\"\"\"") {
            "\"\"\""
        } else if rest.starts_with("'''") {
            "'''"
        } else if rest.starts_with('"') {
            "\""
        } else {
            "'"
        };
        let formatted = prefix.contains(['f', 'F', 't', 'T']);
        self.cursor.step(quote.len());
        let (start, mut escapes, mut braces) = (self.cursor.at, false, 0_usize);
        loop {
            if self.cursor.rest().starts_with(quote) {
                break;
            }
            match self.cursor.take() {
                None => return Err(self.cursor.fault("a string is not closed")),
                Some('\n') if quote.len() == 1 => return Err(self.cursor.fault("a string is not closed")),
                Some('\\') => {
                    escapes = true;
                    self.cursor.take();
                }
                Some('{') if formatted && braces == 0 && self.cursor.peek() == Some('{') => {
                    self.cursor.take();
                }
                Some('{') if formatted => braces += 1,
                Some('}') if formatted => braces = braces.saturating_sub(1),
                Some(_) => {}
            }
        }
        let text = self.cursor.since(start);
        self.cursor.step(quote.len());
        if braces > 0 || (formatted && text.contains(":=")) {
            return Err(self.cursor.fault("an f-string contains code, which is not evaluated"));
        }
        let plain = !escapes && matches!(prefix, "" | "r" | "R" | "u" | "U");
        Ok(Kind::Text(plain.then_some(text)))
    }
}

fn is_prefix(word: &str) -> bool {
    const PREFIXES: [&str; 11] = ["r", "u", "b", "br", "rb", "f", "fr", "rf", "t", "tr", "rt"];
    PREFIXES.iter().any(|prefix| word.eq_ignore_ascii_case(prefix))
}
