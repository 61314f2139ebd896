//! The lexer for shell scripts: words with resolved quotes, and operators.
//!
//! The caller expands variables.

use crate::workload::word::{Piece, Word};

/// An operator that joins or ends commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    /// `;` or a new line.
    Then,
    /// `&&`.
    And,
    /// `||`.
    Or,
    /// `&`.
    Background,
    /// `|`.
    Pipe,
    /// `<`: the next word is a file or a descriptor.
    Read,
    /// `>`, `2>&1`: the next word is a file or a descriptor to write to.
    Write,
}

/// A part of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// Plain text.
    Literal(String),
    /// Text in quotes or after a backslash.
    Quoted(String),
    /// `$NAME`, `${NAME}` or `${NAME:-fallback}`.
    Variable {
        /// `NAME`.
        name: String,
        /// The fallback.
        fallback: Option<Fallback>,
        /// Whether it is in double quotes, and therefore not split.
        quoted: bool,
    },
    /// Something that only a real shell can evaluate, with the reason.
    Unknown(String),
}

/// The fallback of a variable that is not set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Fallback {
    /// The text after the operator.
    pub(super) text: String,
    /// Whether it also replaces an empty value: `${NAME:-fallback}`, unlike `${NAME-fallback}`.
    pub(super) for_empty: bool,
    /// Whether it is also assigned: `${NAME:=fallback}`.
    pub(super) assigns: bool,
}

/// A word or an operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// A word of a command.
    Word(Vec<Part>),
    /// An operator between words.
    Operator(Operator),
}

/// A character, or an unknown value that kubelet inserts.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Symbol {
    Char(char),
    Unknown(String),
}

/// Splits a script into tokens; the error names the unsupported construct.
pub(super) fn tokens(script: &Word) -> Result<Vec<Token>, String> {
    let mut symbols = Vec::with_capacity(script.len());
    for piece in script.pieces() {
        match piece {
            Piece::Text(text) => symbols.extend(text.chars().map(Symbol::Char)),
            Piece::Unknown(why) => symbols.push(Symbol::Unknown(why.clone())),
        }
    }
    let mut lexer = Lexer { symbols, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer {
    symbols: Vec<Symbol>,
    at: usize,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.peek_after(0)
    }

    fn peek_after(&self, skipped: usize) -> Option<char> {
        match self.symbols.get(self.at + skipped) {
            Some(Symbol::Char(c)) => Some(*c),
            Some(Symbol::Unknown(_)) | None => None,
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(skipped, c)| self.peek_after(skipped) == Some(c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn eat_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| keep(*c)) {
            text.push(c);
            self.at += 1;
        }
        text
    }

    fn token(&mut self) -> Result<Option<Token>, String> {
        while self.eat(" ") || self.eat("\t") || self.eat("\r") || self.eat("\\\n") {}
        if self.peek() == Some('#') {
            self.eat_while(|c| c != '\n');
        }
        if self.at >= self.symbols.len() {
            return Ok(None);
        }
        if let Some(operator) = self.operator()? {
            return Ok(Some(Token::Operator(operator)));
        }
        let parts = self.word()?;
        let descriptor =
            matches!(parts.as_slice(), [Part::Literal(text)] if text.chars().all(|c| c.is_ascii_digit()));
        if descriptor && matches!(self.peek(), Some('<' | '>')) {
            return Ok(self.operator()?.map(Token::Operator));
        }
        Ok(Some(Token::Word(parts)))
    }

    fn operator(&mut self) -> Result<Option<Operator>, String> {
        if self.eat("<<") {
            return Err("the shell script has a here-document".to_owned());
        }
        if matches!(self.peek(), Some('(' | ')')) {
            return Err("the shell script has a subshell or a function".to_owned());
        }
        let operators = [
            ("&&", Operator::And),
            ("||", Operator::Or),
            ("&>>", Operator::Write),
            ("&>", Operator::Write),
            (">>", Operator::Write),
            (">&", Operator::Write),
            (">|", Operator::Write),
            ("<&", Operator::Read),
            (">", Operator::Write),
            ("<", Operator::Read),
            ("|", Operator::Pipe),
            ("&", Operator::Background),
            (";", Operator::Then),
            ("\n", Operator::Then),
        ];
        Ok(operators.into_iter().find(|(text, _)| self.eat(text)).map(|(_, operator)| operator))
    }

    fn word(&mut self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            match self.symbols.get(self.at).cloned() {
                None => break,
                Some(Symbol::Unknown(why)) => {
                    parts.push(Part::Unknown(why));
                    self.at += 1;
                }
                Some(Symbol::Char(c)) => match c {
                    ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                    '\'' => self.single_quoted(&mut parts)?,
                    '"' => self.double_quoted(&mut parts)?,
                    '$' => self.dollar(&mut parts, false)?,
                    '`' => self.backticks(&mut parts)?,
                    '\\' => {
                        self.at += 1;
                        let escaped = self.peek();
                        self.at += usize::from(escaped.is_some());
                        if escaped != Some('\n') {
                            parts.push(Part::Quoted(escaped.unwrap_or('\\').to_string()));
                        }
                    }
                    '*' | '?' => {
                        self.at += 1;
                        parts.push(Part::Unknown("the shell script has a glob".to_owned()));
                    }
                    _ => {
                        let text = self.eat_while(|c| !" \t\r\n;&|<>()'\"$`\\*?".contains(c));
                        parts.push(Part::Literal(text));
                    }
                },
            }
        }
        Ok(parts)
    }

    fn single_quoted(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.symbols.get(self.at).cloned() {
                None => return Err(UNCLOSED.to_owned()),
                Some(Symbol::Char('\'')) => break,
                Some(Symbol::Char(c)) => text.push(c),
                Some(Symbol::Unknown(why)) => {
                    parts.push(Part::Quoted(std::mem::take(&mut text)));
                    parts.push(Part::Unknown(why));
                }
            }
            self.at += 1;
        }
        self.at += 1;
        parts.push(Part::Quoted(text));
        Ok(())
    }

    fn double_quoted(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        self.at += 1;
        parts.push(Part::Quoted(String::new()));
        loop {
            match self.symbols.get(self.at).cloned() {
                None => return Err(UNCLOSED.to_owned()),
                Some(Symbol::Unknown(why)) => {
                    parts.push(Part::Unknown(why));
                    self.at += 1;
                }
                Some(Symbol::Char(c)) => match c {
                    '"' => break,
                    '$' => self.dollar(parts, true)?,
                    '`' => self.backticks(parts)?,
                    '\\' if matches!(self.peek_after(1), Some('$' | '`' | '"' | '\\')) => {
                        parts.extend(self.peek_after(1).map(|c| Part::Quoted(c.to_string())));
                        self.at += 2;
                    }
                    '\\' if self.eat("\\\n") => {}
                    '\\' => {
                        parts.push(Part::Quoted("\\".to_owned()));
                        self.at += 1;
                    }
                    _ => parts.push(Part::Quoted(self.eat_while(|c| !"\"$`\\".contains(c)))),
                },
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Parses what follows a dollar sign.
    fn dollar(&mut self, parts: &mut Vec<Part>, quoted: bool) -> Result<(), String> {
        self.at += 1;
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match self.peek() {
            Some('(') => {
                self.balanced()?;
                parts.push(Part::Unknown(SUBSTITUTION.to_owned()));
            }
            Some('{') => {
                self.at += 1;
                let inner = self.eat_while(|c| c != '}');
                if !self.eat("}") {
                    return Err(UNCLOSED.to_owned());
                }
                parts.push(braced(&inner, quoted));
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                parts.push(Part::Variable { name: self.eat_while(named), fallback: None, quoted });
            }
            Some(c) if "@*#?!-$0123456789".contains(c) => {
                self.at += 1;
                parts.push(Part::Unknown(format!("the shell script uses ${c}")));
            }
            Some(_) | None => parts.push(Part::Quoted("$".to_owned())),
        }
        Ok(())
    }

    /// Skips a command substitution with nested parentheses.
    fn balanced(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        while let Some(symbol) = self.symbols.get(self.at) {
            self.at += 1;
            match symbol {
                Symbol::Char('(') => depth += 1,
                Symbol::Char(')') if depth == 1 => return Ok(()),
                Symbol::Char(')') => depth = depth.saturating_sub(1),
                Symbol::Char(_) | Symbol::Unknown(_) => {}
            }
        }
        Err(UNCLOSED.to_owned())
    }

    fn backticks(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        self.at += 1;
        self.eat_while(|c| c != '`');
        if !self.eat("`") {
            return Err(UNCLOSED.to_owned());
        }
        parts.push(Part::Unknown(SUBSTITUTION.to_owned()));
        Ok(())
    }
}

const SUBSTITUTION: &str = "the shell script has a command substitution";
const UNCLOSED: &str = "the shell script has a quote or bracket that is not closed";

/// `${...}`: a name, possibly with a fallback that contains no variable.
fn braced(inner: &str, quoted: bool) -> Part {
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let unknown = || Part::Unknown(format!("the shell script uses ${{{inner}}}"));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return unknown();
    }
    let fallback = [":-", ":=", "-", "="].into_iter().find_map(|operator| {
        let text = rest.strip_prefix(operator)?.to_owned();
        Some(Fallback { text, for_empty: operator.starts_with(':'), assigns: operator.ends_with('=') })
    });
    match fallback {
        None if rest.is_empty() || rest.starts_with([':', '?']) && rest.contains('?') => {
            Part::Variable { name: name.to_owned(), fallback: None, quoted }
        }
        Some(fallback) if !fallback.text.contains(['$', '`', '\'', '"', '\\']) => {
            Part::Variable { name: name.to_owned(), fallback: Some(fallback), quoted }
        }
        None | Some(_) => unknown(),
    }
}
