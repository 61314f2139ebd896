//! A lexer for the subset of Ruby in configuration files.
//!
//! Splits the text into tokens, and counts open blocks.

mod strings;

use super::super::{
    cursor::Cursor,
    script::{Kind, Token},
};

/// Keywords that are followed by an expression.
const BEFORE_EXPRESSIONS: [&str; 17] = [
    "and", "begin", "case", "do", "else", "elsif", "ensure", "if", "in", "not", "or", "rescue", "then",
    "unless", "until", "when", "while",
];
const OPERATORS: [&str; 31] = [
    "||=", "&&=", "**=", "<<=", ">>=", "<=>", "===", "...", "||", "&&", "==", "!=", "<=", ">=", "=>", "=~",
    "!~", "->", "**", "<<", ">>", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "::", "..", "&.",
];

/// Whether an operator may follow, and not an expression.
fn is_value(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word(word) => !BEFORE_EXPRESSIONS.contains(&word),
        Kind::Number(_) | Kind::Text(_) | Kind::Symbol(_) => true,
        Kind::Op(op) => matches!(op, ")" | "]" | "}"),
        Kind::End => false,
    }
}

pub(super) struct Lexer<'t> {
    cursor: Cursor<'t>,
    tokens: Vec<Token<'t>>,
    /// The closing tokens of the open brackets and blocks.
    open: Vec<&'static str>,
    /// The end of the blanks after a line break.
    blanks_end: usize,
    /// Whether a loop has started, so that `do` belongs to it.
    loop_begins: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(path: &'t str, text: &'t str) -> Self {
        Self {
            cursor: Cursor::new(path, text),
            tokens: Vec::new(),
            open: Vec::new(),
            blanks_end: 0,
            loop_begins: false,
        }
    }

    /// All tokens of the file.
    pub(super) fn tokens(mut self) -> Result<Vec<Token<'t>>, String> {
        while let Some(c) = self.cursor.peek() {
            let line_begins =
                self.cursor.at == 0 || self.cursor.text.as_bytes().get(self.cursor.at - 1) == Some(&b'\n');
            if line_begins && self.cursor.rest().starts_with("=begin") {
                self.skip_comment_block()?;
                continue;
            }
            if line_begins && self.cursor.rest().lines().next() == Some("__END__") {
                break;
            }
            match c {
                '\n' => {
                    let (start, line) = (self.cursor.at, self.cursor.line);
                    self.cursor.take();
                    self.loop_begins = false;
                    if self.statement_ends() {
                        self.push(Kind::End, start, line, self.open.len());
                    }
                }
                ' ' | '\t' | '\r' => drop(self.cursor.take()),
                '#' => self.cursor.skip_line(),
                '\\' => self.cursor.continue_line()?,
                _ => self.token(c)?,
            }
        }
        if self.open.is_empty() {
            Ok(self.tokens)
        } else {
            Err(self.cursor.fault("a block or bracket is not closed"))
        }
    }

    fn skip_comment_block(&mut self) -> Result<(), String> {
        loop {
            self.cursor.skip_line();
            if self.cursor.take().is_none() {
                return Err(self.cursor.fault("a comment is not closed"));
            }
            if self.cursor.rest().starts_with("=end") {
                self.cursor.skip_line();
                return Ok(());
            }
        }
    }

    /// Whether the line break before the cursor ends a statement.
    fn statement_ends(&mut self) -> bool {
        let continues = match self.tokens.last().map(|token| token.kind) {
            Some(Kind::Word(word)) => {
                matches!(word, "and" | "or" | "not" | "if" | "unless" | "while" | "until")
            }
            Some(Kind::Op(op)) => !matches!(op, ")" | "]" | "}" | ";" | "{" | "|"),
            Some(Kind::End) | None => true,
            Some(Kind::Number(_) | Kind::Text(_) | Kind::Symbol(_)) => false,
        };
        if continues || matches!(self.open.last(), Some(&(")" | "]"))) {
            return false;
        }
        if self.blanks_end <= self.cursor.at {
            self.blanks_end = self.cursor.text.len() - self.cursor.rest().trim_start().len();
        }
        let next = self.cursor.text.get(self.blanks_end..).unwrap_or_default();
        !((next.starts_with('.') && !next.starts_with("..")) || next.starts_with("&."))
    }

    fn push(&mut self, kind: Kind<'t>, start: usize, line: usize, depth: usize) {
        self.tokens.push(Token { kind, start, end: self.cursor.at, line, depth });
    }

    fn token(&mut self, first: char) -> Result<(), String> {
        let (start, line) = (self.cursor.at, self.cursor.line);
        let after_value = self.tokens.last().is_some_and(is_value);
        let spaced = self.tokens.last().is_none_or(|token| token.end < start);
        let next = self.cursor.rest().chars().nth(1);
        // After the name of a method, text that looks like a literal is one: `puts /x/`.
        let after_name = matches!(self.tokens.last(), Some(Token { kind: Kind::Word(_), .. }));
        let literal =
            !after_value || (after_name && spaced && next.is_some_and(|c| !c.is_whitespace() && c != '='));
        let mut depth = self.open.len();
        let kind = match first {
            '"' | '\'' | '`' => self.quoted(first, 0)?,
            '/' if literal => self.quoted('/', 0)?,
            '%' if literal => self.percent()?,
            '<' if self.begins_here_document(after_value, spaced) => {
                return Err(self.cursor.fault("here-documents are not evaluated"));
            }
            '?' if !after_value => return Err(self.cursor.fault("character literals are not evaluated")),
            ':' if next.is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '"' | '\'')) => {
                self.cursor.take();
                match self.cursor.peek() {
                    Some(quote @ ('"' | '\'')) => match self.quoted(quote, 0)? {
                        Kind::Text(Some(name)) => Kind::Symbol(name),
                        _ => return Err(self.cursor.fault("a symbol is not a literal")),
                    },
                    _ => Kind::Symbol(self.name()),
                }
            }
            c if c.is_ascii_digit() => Kind::Number(self.number()),
            c if c.is_alphabetic() || matches!(c, '_' | '@' | '$') => {
                let word = self.name();
                if self.cursor.peek() == Some(':')
                    && !self.cursor.rest().starts_with("::")
                    && !first.is_ascii_punctuation()
                {
                    self.cursor.take();
                    Kind::Symbol(word)
                } else {
                    depth = self.keyword(word, after_value)?.unwrap_or(depth);
                    Kind::Word(word)
                }
            }
            _ => {
                let op = self.operator()?;
                depth = self.bracket(op)?.unwrap_or(depth);
                Kind::Op(op)
            }
        };
        self.push(kind, start, line, depth);
        Ok(())
    }

    /// Opens or closes the block of a keyword; returns the depth of a closed one.
    fn keyword(&mut self, word: &str, after_value: bool) -> Result<Option<usize>, String> {
        if self
            .tokens
            .last()
            .is_some_and(|token| token.is(".") || token.is("&.") || token.word() == Some("def"))
        {
            return Ok(None);
        }
        match word {
            "if" | "unless" if !after_value => self.open.push("end"),
            "for" => {
                self.open.push("end");
                self.loop_begins = true;
            }
            "while" | "until" if !after_value => {
                self.open.push("end");
                self.loop_begins = true;
            }
            "do" if self.loop_begins => self.loop_begins = false,
            "def" | "class" | "module" | "begin" | "case" | "do" => self.open.push("end"),
            "end" => return self.close("end").map(Some),
            _ => {}
        }
        Ok(None)
    }

    fn bracket(&mut self, op: &str) -> Result<Option<usize>, String> {
        match op {
            "(" => self.open.push(")"),
            "[" => self.open.push("]"),
            "{" => self.open.push("}"),
            ")" | "]" | "}" => return self.close(op).map(Some),
            _ => {}
        }
        Ok(None)
    }

    fn close(&mut self, with: &str) -> Result<usize, String> {
        if self.open.pop() == Some(with) {
            Ok(self.open.len())
        } else {
            Err(self.cursor.fault(&format!("{with} closes nothing")))
        }
    }

    fn name(&mut self) -> &'t str {
        let rest = self.cursor.rest();
        let sigils = rest.len() - rest.trim_start_matches(['@', '$']).len();
        let behind = rest.get(sigils..).unwrap_or_default();
        let belongs = |c: char| c.is_alphanumeric() || c == '_';
        let mut length = sigils + behind.find(|c| !belongs(c)).unwrap_or(behind.len());
        let mut after = rest.get(length..).unwrap_or_default().chars();
        if length > sigils && matches!(after.next(), Some('?' | '!')) && after.next() != Some('=') {
            length += 1;
        }
        // `$!` and similar.
        if length == sigils && sigils > 0 {
            let next = rest.get(length..).and_then(|rest| rest.chars().next());
            length += next.filter(|next| *next != '\n').map_or(0, char::len_utf8);
        }
        self.cursor.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn number(&mut self) -> &'t str {
        let rest = self.cursor.rest();
        let mut length = 0;
        let mut chars = rest.chars().peekable();
        while let Some(c) = chars.next() {
            let decimal = c == '.' && chars.peek().is_some_and(char::is_ascii_digit);
            if !(c.is_ascii_alphanumeric() || c == '_' || decimal) {
                break;
            }
            length += c.len_utf8();
        }
        self.cursor.step(length)
    }

    fn operator(&mut self) -> Result<&'t str, String> {
        let rest = self.cursor.rest();
        let length = match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            Some(op) => op.len(),
            None if rest.starts_with(|c| "()[]{}.,:;=+-*/%&|^~<>!?".contains(c)) => 1,
            None => return Err(self.cursor.fault("this is not Ruby")),
        };
        Ok(self.cursor.step(length))
    }

    fn begins_here_document(&self, after_value: bool, spaced: bool) -> bool {
        let Some(behind) = self.cursor.rest().strip_prefix("<<") else { return false };
        let named = behind.trim_start_matches(['~', '-']);
        let begins = named.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '"' | '\'' | '`'));
        begins && (!after_value || spaced)
    }
}
