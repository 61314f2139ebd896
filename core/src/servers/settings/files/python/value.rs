//! The value of a Python expression, if it is plain.
//!
//! Evaluates the tokens of an expression: a number, a string, a variable of the file, or an environment variable.

use super::{
    super::script::{Kind, Token, encloses},
    Module, assigns,
    lexer::{Scope, Statement},
};

impl<'t> Module<'_, 't> {
    /// The value of an expression in the statement at `at`.
    pub(super) fn value(&self, tokens: &[Token<'t>], at: usize, depth: usize) -> Result<String, String> {
        let line = tokens.first().map_or(0, |token| token.line);
        let not_plain = || self.fault(line, "the value is not a plain number or string");
        let deeper = depth.checked_sub(1).ok_or_else(not_plain)?;
        match tokens {
            [Token { kind: Kind::Number(number), .. }] if is_plain_number(number) => Ok((*number).to_owned()),
            [Token { kind: Kind::Text(Some(text)), .. }] => Ok((*text).to_owned()),
            [Token { kind: Kind::Word(name), .. }] => {
                let (from, value) = self.assignment(name, at)?.ok_or_else(not_plain)?;
                self.value(value, from, deeper)
            }
            [open, inside @ .., close] if encloses(open, inside, close, "(", ")") => {
                self.value(inside, at, deeper)
            }
            [int, open, inside @ .., close]
                if int.word() == Some("int") && encloses(open, inside, close, "(", ")") =>
            {
                self.untouched("int", at)?;
                let value = self.value(inside, at, deeper)?;
                let digits = value.trim();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(self.fault(line, "the value is not a whole number"));
                }
                let number = digits.trim_start_matches('0');
                Ok(if number.is_empty() { "0" } else { number }.to_owned())
            }
            _ => self.environment(tokens, at, deeper)?.ok_or_else(not_plain),
        }
    }

    /// The value of `os.environ["X"]`, `os.environ.get("X", 5)` or `os.getenv("X", 5)`; `None` for anything else.
    fn environment(&self, tokens: &[Token<'t>], at: usize, depth: usize) -> Result<Option<String>, String> {
        let dotted = match tokens {
            [os, dot, rest @ ..] if os.word() == Some("os") && dot.is(".") => {
                self.untouched("os", at)?;
                rest
            }
            _ => tokens,
        };
        let (arguments, root) = match dotted {
            [environ, open, inside @ .., close]
                if environ.word() == Some("environ") && encloses(open, inside, close, "[", "]") =>
            {
                (inside, "environ")
            }
            [environ, dot, get, open, inside @ .., close]
                if environ.word() == Some("environ")
                    && dot.is(".")
                    && get.word() == Some("get")
                    && encloses(open, inside, close, "(", ")") =>
            {
                (inside, "environ")
            }
            [getenv, open, inside @ .., close]
                if getenv.word() == Some("getenv") && encloses(open, inside, close, "(", ")") =>
            {
                (inside, "getenv")
            }
            _ => return Ok(None),
        };
        if dotted.len() == tokens.len() {
            self.untouched(root, at)?;
        }
        let (variable, default) = match arguments {
            [Token { kind: Kind::Text(Some(variable)), .. }] => (*variable, None),
            [Token { kind: Kind::Text(Some(variable)), .. }, comma, default @ ..] if comma.is(",") => {
                (*variable, Some(default))
            }
            _ => return Ok(None),
        };
        self.environment_is_ours()?;
        match (self.files.variable(variable), default) {
            (Some(value), _) => value.map(Some),
            (None, Some(default)) => self.value(default, at, depth).map(Some),
            (None, None) => {
                let line = tokens.first().map_or(0, |token| token.line);
                Err(self.fault(line, &format!("{variable} is not set")))
            }
        }
    }

    /// Checks that a name still has its standard meaning.
    fn untouched(&self, name: &str, at: usize) -> Result<(), String> {
        match self.assignment(name, at)? {
            None => Ok(()),
            Some((from, _)) => {
                let line = self.statements.get(from).map_or(0, Statement::line);
                Err(self.fault(line, &format!("the file sets {name}")))
            }
        }
    }

    /// Checks that nothing changes the environment before the file reads it.
    fn environment_is_ours(&self) -> Result<(), String> {
        for statement in &self.statements {
            let outside = matches!(statement.scope, Scope::Top | Scope::Block);
            if let Some(why) = self.foreign_import(statement).filter(|_| outside) {
                return Err(why);
            }
            if matches!(statement.first(), "from") {
                continue;
            }
            let tokens = &statement.tokens;
            let deletes = tokens.iter().any(|token| token.word() == Some("del"));
            let last_set = tokens.iter().rposition(|token| assigns(token) && token.depth == 0);
            for (at, token) in tokens.iter().enumerate() {
                let reads = match token.word() {
                    Some("environ") => match tokens.get(at + 1..).unwrap_or_default() {
                        [dot, get, open, ..] if dot.is(".") && get.word() == Some("get") => open.is("("),
                        [open, Token { kind: Kind::Text(_), .. }, close, ..] => {
                            open.is("[") && close.is("]") && !deletes && last_set.is_none_or(|set| set < at)
                        }
                        _ => false,
                    },
                    Some("environb" | "putenv" | "unsetenv" | "dotenv" | "load_dotenv") => false,
                    _ => true,
                };
                if !reads {
                    return Err(self.fault(token.line, "the file may change the environment"));
                }
            }
        }
        Ok(())
    }
}

/// `5` or `0.5`; no other notation.
fn is_plain_number(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}
