//! puma.rb: the argument of a method that the file calls at top level.
//!
//! Turns the text into tokens and a method's name into an [`Answer`], where a call that always runs has a plain
//! argument. Ruby itself is not run: what could set the option in another way makes the answer unknown. Which values
//! Puma accepts is left to the caller.

use super::{Answer, Entry, Files, Query};

/// Deeper than this nobody nests values or the code in strings.
const DEEPEST: usize = 8;

/// Methods and variables through which code can set any option, or read other files.
const REFLECTION: [&str; 20] = [
    "@config",
    "@options",
    "Kernel",
    "__send__",
    "class_eval",
    "class_exec",
    "define_method",
    "eval",
    "instance_eval",
    "instance_exec",
    "instance_variable_get",
    "instance_variable_set",
    "load",
    "method_missing",
    "module_eval",
    "public_send",
    "require_relative",
    "send",
    "singleton_class",
    "autoload",
];
/// Plugins without a method `config`, which could set options (puma `lib/puma/dsl.rb` `_offer_plugins`).
const PLUGINS: [&str; 5] = ["cloudwatch", "newrelic", "solid_queue", "systemd", "tmp_restart"];
/// Libraries that leave the environment alone.
const LIBRARIES: [&str; 10] =
    ["barnes", "concurrent", "erb", "etc", "fileutils", "json", "logger", "puma", "socket", "uri"];
/// Words behind which an expression begins.
const BEFORE_EXPRESSIONS: [&str; 17] = [
    "and", "begin", "case", "do", "else", "elsif", "ensure", "if", "in", "not", "or", "rescue", "then",
    "unless", "until", "when", "while",
];
const OPERATORS: [&str; 31] = [
    "||=", "&&=", "**=", "<<=", ">>=", "<=>", "===", "...", "||", "&&", "==", "!=", "<=", ">=", "=>", "=~",
    "!~", "->", "**", "<<", ">>", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "::", "..", "&.",
];

/// Reads the argument of the method `key` from the file at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let lexer = Lexer {
        path,
        text,
        at: 0,
        line: 1,
        tokens: Vec::new(),
        open: Vec::new(),
        blanks_end: 0,
        loop_begins: false,
    };
    let answer = lexer.tokens().and_then(|tokens| {
        let script = Script { files, path, tokens: &tokens };
        let Some((line, call)) = script.call(query.key)? else { return Ok(Answer::Absent) };
        let value = script.value(call.get(1..).unwrap_or_default(), line, DEEPEST)?;
        Ok(Answer::Set(Entry { value, text: source(call, text), path: path.to_owned(), line }))
    });
    answer.unwrap_or_else(Answer::Unknown)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind<'t> {
    /// A name of any kind, or a keyword.
    Word(&'t str),
    Number(&'t str),
    /// A string; the text is that of one without escapes and code.
    Text(Option<&'t str>),
    /// `:name` or `name:`.
    Symbol(&'t str),
    Op(&'t str),
    /// The end of a line that ends a statement.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    kind: Kind<'t>,
    start: usize,
    end: usize,
    line: usize,
    /// How many brackets and blocks are open around it.
    depth: usize,
}

impl<'t> Token<'t> {
    fn word(&self) -> Option<&'t str> {
        match self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, op: &str) -> bool {
        self.kind == Kind::Op(op)
    }

    fn ends_statement(&self) -> bool {
        self.kind == Kind::End || self.is(";")
    }

    /// Whether an operator may follow, and no expression.
    fn is_value(&self) -> bool {
        match self.kind {
            Kind::Word(word) => !BEFORE_EXPRESSIONS.contains(&word),
            Kind::Number(_) | Kind::Text(_) | Kind::Symbol(_) => true,
            Kind::Op(op) => matches!(op, ")" | "]" | "}"),
            Kind::End => false,
        }
    }
}

/// Tokens as they are written, on one line and without comments.
fn source(tokens: &[Token<'_>], text: &str) -> String {
    let mut source = String::new();
    let mut end = None;
    for token in tokens.iter().filter(|token| token.kind != Kind::End) {
        if end.is_some_and(|end| end < token.start) {
            source.push(' ');
        }
        source.push_str(text.get(token.start..token.end).unwrap_or_default());
        end = Some(token.end);
    }
    source
}

struct Script<'s, 't> {
    files: &'s dyn Files,
    path: &'s str,
    tokens: &'s [Token<'t>],
}

impl<'s, 't> Script<'s, 't> {
    fn fault(&self, line: usize, what: &str) -> String {
        format!("{} line {line}: {what}", self.path)
    }

    /// The last call of a method, with its line.
    fn call(&self, key: &str) -> Result<Option<(usize, &'s [Token<'t>])>, String> {
        let mut last = None;
        for (at, token) in self.tokens.iter().enumerate() {
            let rest = self.tokens.get(at..).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
            let what = match token.kind {
                Kind::Word(word) if word == key => {
                    let statement = before.is_none_or(Token::ends_statement);
                    let assigns = rest.get(1).is_some_and(|next| {
                        matches!(next.kind, Kind::Op(op) if op.ends_with('=') || op == "." || op == "&.")
                    });
                    if statement && token.depth == 0 && !assigns {
                        let ends = |token: &Token<'_>| token.depth == 0 && token.ends_statement();
                        let length = rest.iter().position(ends).unwrap_or(rest.len());
                        last = Some((token.line, rest.get(..length).unwrap_or_default()));
                        continue;
                    }
                    format!("{key} is not called plainly at top level")
                }
                Kind::Word("load") if before.is_some_and(|before| before.is(".")) => continue,
                Kind::Word(word) if REFLECTION.contains(&word) => format!("{word} may set {key}"),
                Kind::Word("require") if !is_library(argument(rest)) => {
                    "a file of the app is read".to_owned()
                }
                Kind::Word("plugin")
                    if before.is_none_or(Token::ends_statement)
                        && !argument(rest).is_some_and(|name| PLUGINS.contains(&name)) =>
                {
                    "we do not know this plugin".to_owned()
                }
                Kind::Symbol(name) | Kind::Text(Some(name)) if name == key => {
                    format!("{key} may be set by its name")
                }
                _ => continue,
            };
            return Err(self.fault(token.line, &what));
        }
        Ok(last)
    }

    /// The whole number that an expression is.
    fn value(&self, tokens: &[Token<'t>], line: usize, depth: usize) -> Result<String, String> {
        let not_plain = || self.fault(line, "the value is not a plain number");
        let deeper = depth.checked_sub(1).ok_or_else(not_plain)?;
        let tokens = trimmed(tokens);
        match tokens {
            [Token { kind: Kind::Number(number) | Kind::Text(Some(number)), .. }] => {
                if is_decimal(number) {
                    Ok((*number).to_owned())
                } else {
                    Err(not_plain())
                }
            }
            [open, inside @ .., close] if encloses(open, inside, close, "(", ")") => {
                self.value(inside, line, deeper)
            }
            [rest @ .., dot, to_i] if dot.is(".") && to_i.word() == Some("to_i") => {
                self.value(rest, line, deeper)
            }
            [integer, open, inside @ .., close]
                if integer.word() == Some("Integer") && encloses(open, inside, close, "(", ")") =>
            {
                self.value(inside, line, deeper)
            }
            [env, dot, fetch, open, Token { kind: Kind::Text(Some(name)), .. }, rest @ ..]
                if env.word() == Some("ENV")
                    && dot.is(".")
                    && fetch.word() == Some("fetch")
                    && open.is("(") =>
            {
                match rest {
                    [close] if close.is(")") => self.variable(name, None, line, deeper),
                    [comma, default @ .., close]
                        if comma.is(",") && encloses(open, default, close, "(", ")") =>
                    {
                        self.variable(name, Some(default), line, deeper)
                    }
                    [close, open, default @ .., end]
                        if close.is(")") && encloses(open, default, end, "{", "}") =>
                    {
                        self.variable(name, Some(default), line, deeper)
                    }
                    _ => Err(not_plain()),
                }
            }
            [env, open, Token { kind: Kind::Text(Some(name)), .. }, close, rest @ ..]
                if env.word() == Some("ENV") && open.is("[") && close.is("]") =>
            {
                match rest {
                    [] => self.variable(name, None, line, deeper),
                    [or, default @ ..] if or.is("||") => self.variable(name, Some(default), line, deeper),
                    _ => Err(not_plain()),
                }
            }
            _ => Err(not_plain()),
        }
    }

    fn variable(
        &self,
        name: &str,
        default: Option<&[Token<'t>]>,
        line: usize,
        depth: usize,
    ) -> Result<String, String> {
        self.environment_is_ours()?;
        match (self.files.variable(name).transpose()?, default) {
            (Some(value), _) if is_decimal(&value) => Ok(value),
            (Some(_), _) => Err(self.fault(line, &format!("{name} is not a whole number"))),
            (None, Some(default)) => self.value(default, line, depth),
            (None, None) => Err(self.fault(line, &format!("{name} is not set"))),
        }
    }

    /// That the file does not change the environment.
    fn environment_is_ours(&self) -> Result<(), String> {
        for (at, token) in self.tokens.iter().enumerate() {
            let rest = self.tokens.get(at..).unwrap_or_default();
            let harmless = match token.word() {
                Some("ENV") => match rest {
                    [_, dot, method, ..] if dot.is(".") => {
                        matches!(
                            method.word(),
                            Some("fetch" | "key?" | "has_key?" | "include?" | "values_at")
                        )
                    }
                    [_, open, _, close, next @ ..] if open.is("[") && close.is("]") => {
                        !matches!(next, [Token { kind: Kind::Op(op), .. }, ..]
                            if op.ends_with('=') && !matches!(*op, "==" | "!=" | "===" | "<=" | ">="))
                    }
                    _ => false,
                },
                Some("require") => argument(rest)
                    .and_then(|name| name.split('/').next())
                    .is_some_and(|name| LIBRARIES.contains(&name)),
                Some("Dotenv") => false,
                _ => true,
            };
            if !harmless {
                return Err(self.fault(token.line, "the file may change the environment"));
            }
        }
        Ok(())
    }
}

/// The name that a call gets as its only argument.
fn argument<'t>(call: &[Token<'t>]) -> Option<&'t str> {
    let arguments = call.get(1..)?;
    let arguments = match arguments {
        [open, rest @ ..] if open.is("(") => rest,
        _ => arguments,
    };
    match arguments.first()?.kind {
        Kind::Text(text) => text,
        Kind::Symbol(name) => Some(name),
        _ => None,
    }
}

/// Whether `require` takes a library, and not a file of the app.
fn is_library(name: Option<&str>) -> bool {
    name.is_some_and(|name| !name.starts_with(['.', '/', '~']))
}

fn is_decimal(number: &str) -> bool {
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (number == "0" || !number.starts_with('0'))
}

fn trimmed<'s, 't>(mut tokens: &'s [Token<'t>]) -> &'s [Token<'t>] {
    while let [first, rest @ ..] = tokens
        && first.kind == Kind::End
    {
        tokens = rest;
    }
    while let [rest @ .., last] = tokens
        && last.kind == Kind::End
    {
        tokens = rest;
    }
    tokens
}

/// Whether two brackets are a pair around all that is between them.
fn encloses(open: &Token<'_>, inside: &[Token<'_>], close: &Token<'_>, left: &str, right: &str) -> bool {
    open.is(left)
        && close.is(right)
        && open.depth == close.depth
        && inside.iter().all(|token| token.depth > open.depth)
}

/// A lexer for what configuration files use of Ruby.
struct Lexer<'t> {
    path: &'t str,
    text: &'t str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'t>>,
    /// What closes the brackets and blocks that are open.
    open: Vec<&'static str>,
    /// Where the blanks behind a line break end.
    blanks_end: usize,
    /// A loop has begun, so that `do` belongs to it.
    loop_begins: bool,
}

impl<'t> Lexer<'t> {
    fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn tokens(mut self) -> Result<Vec<Token<'t>>, String> {
        while let Some(c) = self.peek() {
            let line_begins = self.at == 0 || self.text.as_bytes().get(self.at - 1) == Some(&b'\n');
            if line_begins && self.rest().starts_with("=begin") {
                self.skip_comment_block()?;
                continue;
            }
            if line_begins && self.rest().lines().next() == Some("__END__") {
                break;
            }
            match c {
                '\n' => {
                    let (start, line) = (self.at, self.line);
                    self.take();
                    self.loop_begins = false;
                    if self.statement_ends() {
                        self.push(Kind::End, start, line, self.open.len());
                    }
                }
                ' ' | '\t' | '\r' => drop(self.take().is_some()),
                '#' => self.skip_line(),
                '\\' => {
                    self.take();
                    if self.peek() == Some('\r') {
                        self.take();
                    }
                    if self.take() != Some('\n') {
                        return Err(self.fault("a backslash stands outside of a string"));
                    }
                }
                _ => self.token(c)?,
            }
        }
        if self.open.is_empty() {
            Ok(self.tokens)
        } else {
            Err(self.fault("a block or bracket is not closed"))
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.take();
        }
    }

    fn skip_comment_block(&mut self) -> Result<(), String> {
        loop {
            self.skip_line();
            if self.take().is_none() {
                return Err(self.fault("a comment is not closed"));
            }
            if self.rest().starts_with("=end") {
                self.skip_line();
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
        if self.blanks_end <= self.at {
            self.blanks_end = self.text.len() - self.rest().trim_start().len();
        }
        let next = self.text.get(self.blanks_end..).unwrap_or_default();
        !((next.starts_with('.') && !next.starts_with("..")) || next.starts_with("&."))
    }

    fn push(&mut self, kind: Kind<'t>, start: usize, line: usize, depth: usize) {
        self.tokens.push(Token { kind, start, end: self.at, line, depth });
    }

    fn token(&mut self, first: char) -> Result<(), String> {
        let (start, line) = (self.at, self.line);
        let after_value = self.tokens.last().is_some_and(Token::is_value);
        let spaced = self.tokens.last().is_none_or(|token| token.end < start);
        let next = self.rest().chars().nth(1);
        // Behind a method's name a literal is one where it looks like one: `puts /x/`.
        let after_name = matches!(self.tokens.last(), Some(Token { kind: Kind::Word(_), .. }));
        let literal =
            !after_value || (after_name && spaced && next.is_some_and(|c| !c.is_whitespace() && c != '='));
        let mut depth = self.open.len();
        let kind = match first {
            '"' | '\'' | '`' => self.quoted(first, 0)?,
            '/' if literal => self.quoted('/', 0)?,
            '%' if literal => self.percent()?,
            '<' if self.begins_here_document(after_value, spaced) => {
                return Err(self.fault("we do not read here-documents"));
            }
            '?' if !after_value => return Err(self.fault("we do not read character literals")),
            ':' if next.is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '"' | '\'')) => {
                self.take();
                match self.peek() {
                    Some(quote @ ('"' | '\'')) => match self.quoted(quote, 0)? {
                        Kind::Text(Some(name)) => Kind::Symbol(name),
                        _ => return Err(self.fault("a symbol is not plain")),
                    },
                    _ => Kind::Symbol(self.name()),
                }
            }
            c if c.is_ascii_digit() => Kind::Number(self.number()),
            c if c.is_alphabetic() || matches!(c, '_' | '@' | '$') => {
                let word = self.name();
                if self.peek() == Some(':') && !self.rest().starts_with("::") && !first.is_ascii_punctuation()
                {
                    self.take();
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

    /// Opens or closes the block of a keyword, and returns the depth of one that closes.
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
            Err(self.fault(&format!("{with} closes nothing")))
        }
    }

    fn name(&mut self) -> &'t str {
        let rest = self.rest();
        let sigils = rest.len() - rest.trim_start_matches(['@', '$']).len();
        let behind = rest.get(sigils..).unwrap_or_default();
        let belongs = |c: char| c.is_alphanumeric() || c == '_';
        let mut length = sigils + behind.find(|c| !belongs(c)).unwrap_or(behind.len());
        let mut after = rest.get(length..).unwrap_or_default().chars();
        if length > sigils && matches!(after.next(), Some('?' | '!')) && after.next() != Some('=') {
            length += 1;
        }
        // `$!` and the like.
        if length == sigils && sigils > 0 {
            length += rest.get(length..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        }
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn number(&mut self) -> &'t str {
        let rest = self.rest();
        let mut length = 0;
        let mut chars = rest.chars().peekable();
        while let Some(c) = chars.next() {
            let decimal = c == '.' && chars.peek().is_some_and(char::is_ascii_digit);
            if !(c.is_ascii_alphanumeric() || c == '_' || decimal) {
                break;
            }
            length += c.len_utf8();
        }
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn operator(&mut self) -> Result<&'t str, String> {
        let rest = self.rest();
        let length = match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            Some(op) => op.len(),
            None if rest.starts_with(|c| "()[]{}.,:;=+-*/%&|^~<>!?".contains(c)) => 1,
            None => return Err(self.fault("this is not Ruby")),
        };
        self.at += length;
        rest.get(..length).ok_or_else(|| self.fault("this is not Ruby"))
    }

    fn begins_here_document(&self, after_value: bool, spaced: bool) -> bool {
        let Some(behind) = self.rest().strip_prefix("<<") else { return false };
        let named = behind.trim_start_matches(['~', '-']);
        let begins = named.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '"' | '\'' | '`'));
        begins && (!after_value || spaced)
    }

    /// A string, command or pattern between two of the same quotes.
    fn quoted(&mut self, quote: char, depth: usize) -> Result<Kind<'t>, String> {
        self.take();
        let start = self.at;
        let mut plain = matches!(quote, '"' | '\'');
        loop {
            let end = self.at;
            match self.take() {
                None => return Err(self.fault("a string is not closed")),
                Some('\\') => {
                    plain = false;
                    self.take();
                }
                Some('#') if quote != '\'' && self.peek() == Some('{') => {
                    plain = false;
                    self.code(depth)?;
                }
                Some('\n') if quote == '/' => return Err(self.fault("a pattern is not closed")),
                Some(c) if c == quote => {
                    return Ok(Kind::Text(self.text.get(start..end).filter(|_| plain)));
                }
                Some(_) => {}
            }
        }
    }

    /// Skips `{...}` in a string. What changes settings there is not looked for, as it has no reason to be there.
    fn code(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(self.fault("strings are nested too deeply"));
        }
        let mut open = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => drop(self.quoted(c, depth + 1)?),
                '{' | '}' => {
                    self.take();
                    open = if c == '{' { open + 1 } else { open - 1 };
                    if open == 0 {
                        return Ok(());
                    }
                }
                '\n' | '/' | '%' | '?' | '#' | '=' => {
                    return Err(self.fault("a string holds code that we do not read"));
                }
                _ => drop(self.take().is_some()),
            }
        }
        Err(self.fault("a string is not closed"))
    }

    /// `%w[a b]` and the like.
    fn percent(&mut self) -> Result<Kind<'t>, String> {
        self.take();
        if self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            self.take();
        }
        let left = self.take();
        let right = match left {
            Some('(') => ')',
            Some('[') => ']',
            Some('{') => '}',
            Some('<') => '>',
            Some(c @ ('|' | '!' | '/' | '-' | '^')) => c,
            Some(_) | None => return Err(self.fault("this is not Ruby")),
        };
        let mut open = 1_usize;
        while let Some(c) = self.take() {
            match c {
                '\\' => drop(self.take().is_some()),
                '#' if self.peek() == Some('{') => {
                    return Err(self.fault("a string holds code that we do not read"));
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
        Err(self.fault("a string is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{Given, NOTHING, told_with_line};
    use super::*;

    const VARIABLES: Given<'_> =
        Given { variables: &[("SET", "7"), ("OCTAL", "010"), ("SECRET", "?")], ..NOTHING };

    fn ask(text: &str) -> String {
        let query = Query { key: "persistent_timeout", port: None };
        told_with_line(read(&VARIABLES, "/puma.rb", text, query)).replacen("? /puma.rb line ", "? ", 1)
    }

    const RAILS: &str = "# Puma can load options. persistent_timeout 1
threads_count = ENV.fetch('RAILS_MAX_THREADS', 3).to_i
threads threads_count, threads_count
port ENV.fetch(\"PORT\") { 3000 }
worker_timeout 3600 if ENV.fetch(\"RAILS_ENV\", \"development\") == \"development\"
plugin :tmp_restart
plugin :solid_queue if ENV[\"SOLID_QUEUE_IN_PUMA\"]
pidfile ENV[\"PIDFILE\"] if ENV[\"PIDFILE\"]
bind \"tcp://#{ENV.fetch('BIND', \"0.0.0.0\")}:#{ENV['PORT']}\"
if ENV.fetch('WEB_CONCURRENCY', 1).to_i > 1
  preload_app!
  on_worker_boot do |index|
    ActiveSupport.on_load(:active_record) { ActiveRecord::Base.establish_connection }
    x = if index > 1 then 2 else 3 end
  end
end
";

    const NOT_PLAIN: &str = "? 1: the value is not a plain number";
    const NOT_TOP: &str = "persistent_timeout is not called plainly at top level";

    #[rstest]
    #[case::empty("", "absent")]
    #[case::rails(RAILS, "absent")]
    #[case::behind_rails(&format!("{RAILS}persistent_timeout 20"), "20 at 17")]
    #[case::plain("persistent_timeout 20", "20 at 1")]
    #[case::parentheses("port 80\npersistent_timeout(20)\n", "20 at 2")]
    #[case::comment_behind("persistent_timeout 20 # seconds\r\n", "20 at 1")]
    #[case::string("persistent_timeout '20'", "20 at 1")]
    #[case::last_wins("persistent_timeout 20\npersistent_timeout 30", "30 at 2")]
    #[case::semicolon("port 80; persistent_timeout 30; workers 2", "30 at 1")]
    #[case::comment("# persistent_timeout 20", "absent")]
    #[case::comment_block("=begin\npersistent_timeout 20\n=end\nport 80", "absent")]
    #[case::behind_the_end("port 80\n__END__\npersistent_timeout 20", "absent")]
    #[case::in_a_string("x = 'a\npersistent_timeout 20\n'", "absent")]
    #[case::other_method("first_data_timeout 20", "absent")]
    #[case::fetch("persistent_timeout ENV.fetch('X', 20)", "20 at 1")]
    #[case::fetch_a_block("persistent_timeout ENV.fetch('X') { 20 }", "20 at 1")]
    #[case::fetch_a_block_to_i("persistent_timeout(ENV.fetch('X') { 20 }.to_i)", "20 at 1")]
    #[case::fetch_set("persistent_timeout ENV.fetch('SET', 20).to_i", "7 at 1")]
    #[case::fetch_nested("persistent_timeout Integer(ENV.fetch('X', ENV.fetch(\"SET\", '20')))", "7 at 1")]
    #[case::fetch_alone("persistent_timeout ENV.fetch('X').to_i", "? 1: X is not set")]
    #[case::index("persistent_timeout Integer(ENV['SET'])", "7 at 1")]
    #[case::index_or("persistent_timeout Integer(ENV['X'] || 20)", "20 at 1")]
    #[case::index_or_to_i("persistent_timeout (ENV['X'] || 20).to_i", "20 at 1")]
    #[case::lines("persistent_timeout(\n  ENV\n    .fetch('X', 20)\n)", "20 at 1")]
    #[case::secret("persistent_timeout ENV.fetch('SECRET', 20)", "? SECRET comes from a Secret")]
    #[case::octal("persistent_timeout ENV.fetch('OCTAL', 20)", "? 1: OCTAL is not a whole number")]
    #[case::environment_set(
        "ENV['X'] ||= '9'\npersistent_timeout ENV.fetch('X', 20)",
        "? 1: the file may change the environment"
    )]
    #[case::dotenv(
        "require 'dotenv/load'\npersistent_timeout ENV.fetch('X', 20)",
        "? 1: the file may change the environment"
    )]
    #[case::library("require 'etc'\npersistent_timeout ENV.fetch('X', 20)", "20 at 2")]
    #[case::float("persistent_timeout 2.5", NOT_PLAIN)]
    #[case::octal_number("persistent_timeout 010", NOT_PLAIN)]
    #[case::sum("persistent_timeout 10 + 5", NOT_PLAIN)]
    #[case::negative("persistent_timeout -5", NOT_PLAIN)]
    #[case::variable("persistent_timeout timeout", NOT_PLAIN)]
    #[case::active_support("persistent_timeout 30.seconds", NOT_PLAIN)]
    #[case::ternary("persistent_timeout x ? 1 : 2", NOT_PLAIN)]
    #[case::modifier("persistent_timeout 20 if x", NOT_PLAIN)]
    #[case::modifier_in_parentheses("persistent_timeout(20) unless x", NOT_PLAIN)]
    #[case::no_argument("persistent_timeout", NOT_PLAIN)]
    #[case::in_if("if x\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
    #[case::in_else("unless x\nelse\npersistent_timeout 20\nend", &format!("? 3: {NOT_TOP}"))]
    #[case::in_case("case x\nwhen 1 then 2\nelse\npersistent_timeout 20\nend", &format!("? 4: {NOT_TOP}"))]
    #[case::in_a_block("on_worker_boot do\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
    #[case::in_braces("inject {\n  persistent_timeout 20\n}", &format!("? 2: {NOT_TOP}"))]
    #[case::in_while("while x do\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
    #[case::in_a_method("def x\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
    #[case::in_an_assigned_if("x = if y\n  persistent_timeout 20\nend", &format!("? 2: {NOT_TOP}"))]
    #[case::behind_then("x and persistent_timeout 20", &format!("? 1: {NOT_TOP}"))]
    #[case::behind_and("x and\n  persistent_timeout 20", &format!("? 2: {NOT_TOP}"))]
    #[case::own_method("def persistent_timeout(x)\nend", &format!("? 1: {NOT_TOP}"))]
    #[case::assignment("persistent_timeout = 20", &format!("? 1: {NOT_TOP}"))]
    #[case::receiver("self.persistent_timeout 20", &format!("? 1: {NOT_TOP}"))]
    #[case::continued("foo x,\n  persistent_timeout(20)", &format!("? 2: {NOT_TOP}"))]
    #[case::behind_a_block("if x\n  y\nend\npersistent_timeout 20", "20 at 4")]
    #[case::behind_a_loop("while x do y end\npersistent_timeout 20", "20 at 2")]
    #[case::behind_modifiers(
        "a if b\nreturn unless x\nbegin\n y\nend while z\npersistent_timeout 20",
        "20 at 6"
    )]
    #[case::class_call("x = self.class\npersistent_timeout 20", "20 at 2")]
    #[case::labels("foo if: 1, end: 2, class: 'x'\nbar :if, :end\npersistent_timeout 20", "20 at 3")]
    #[case::words("x = %w[if do end]\npersistent_timeout 20", "20 at 2")]
    #[case::pattern("x =~ /if \\/ [do]/\npersistent_timeout 20 ", "20 at 2")]
    #[case::division("x = y / 2\nz = a/b\npersistent_timeout 20", "20 at 3")]
    #[case::lambda(
        "lowlevel_error_handler do |e|\n  [500, {}, [\"x\"]]\nend\npersistent_timeout 20",
        "20 at 4"
    )]
    #[case::hash("ssl_bind 'x', 9292, {\n  key: 'a',\n  'cert' => 'b',\n}\npersistent_timeout 20", "20 at 5")]
    #[case::here_document("x = <<~END\n  persistent_timeout 20\nEND", "? 1: we do not read here-documents")]
    #[case::append("x << y\npersistent_timeout 20", "20 at 2")]
    #[case::send("send(:port, 1)", "? 1: send may set persistent_timeout")]
    #[case::symbol("@x[:persistent_timeout] = 20", "? 1: persistent_timeout may be set by its name")]
    #[case::options("@options[x] = 20", "? 1: @options may set persistent_timeout")]
    #[case::eval(
        "persistent_timeout 20\ninstance_eval(File.read('x'))",
        "? 2: instance_eval may set persistent_timeout"
    )]
    #[case::load("load 'config/puma/production.rb'", "? 1: load may set persistent_timeout")]
    #[case::load_of_a_receiver("x = YAML.load('a: 1')\npersistent_timeout 20", "20 at 2")]
    #[case::require_relative("require_relative 'x'", "? 1: require_relative may set persistent_timeout")]
    #[case::require_path("require './config/x'", "? 1: a file of the app is read")]
    #[case::require_computed("require File.expand_path('x')", "? 1: a file of the app is read")]
    #[case::require("require 'barnes'\npersistent_timeout 20", "20 at 2")]
    #[case::plugin("plugin :heroku", "? 1: we do not know this plugin")]
    #[case::not_closed("persistent_timeout 20\nif x", "? 2: a block or bracket is not closed")]
    #[case::end_too_many("persistent_timeout 20\nend", "? 2: end closes nothing")]
    #[case::string_not_closed("persistent_timeout 20\nx = 'a", "? 2: a string is not closed")]
    #[case::code_in_a_string(
        "persistent_timeout 20\nx = \"#{y = 1}\"",
        "? 2: a string holds code that we do not read"
    )]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text), expected);
    }

    #[test]
    fn the_text_is_on_one_line() {
        let query = Query { key: "persistent_timeout", port: None };
        let text = "persistent_timeout ENV.fetch('X') { # why\n  20\n}";
        let Answer::Set(entry) = read(&VARIABLES, "/puma.rb", text, query) else { panic!() };
        assert_eq!(entry.text, "persistent_timeout ENV.fetch('X') { 20 }");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(persistent_timeout|if|do|end|ENV|fetch|%w|<<|#\\{|[ =:;#'\"(){}/?\\\\\n]|\\PC){0,60}") {
            ask(&text);
        }
    }
}
