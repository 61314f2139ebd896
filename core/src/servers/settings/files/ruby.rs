//! puma.rb: the argument of a method that the file calls at top level.
//!
//! Parses tokens, and answers the name of a method if a call that always runs has a plain argument. Ruby is not
//! executed: anything else that could set the option makes the answer unknown. The caller checks the value.

mod lexer;
#[cfg(test)]
mod tests;

use self::lexer::Lexer;
use super::{
    Answer, Entry, Files, Query,
    script::{Kind, Token, encloses, source},
};

/// The maximum nesting depth of values.
const MAX_DEPTH: usize = 8;

/// Methods and variables that let code set arbitrary options, or read other files.
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
/// Plugins without a `config` method, which could set options (puma `lib/puma/dsl.rb` `_offer_plugins`).
const PLUGINS: [&str; 5] = ["cloudwatch", "newrelic", "solid_queue", "systemd", "tmp_restart"];
/// Libraries that do not change the environment.
const LIBRARIES: [&str; 10] =
    ["barnes", "concurrent", "erb", "etc", "fileutils", "json", "logger", "puma", "socket", "uri"];

/// Reads the argument of the method `key` from the file at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let answer = Lexer::new(path, text).tokens().and_then(|tokens| {
        let script = Script { files, path, tokens: &tokens };
        let Some((line, call)) = script.call(query.key)? else { return Ok(Answer::Absent) };
        let value = script.value(call.get(1..).unwrap_or_default(), line, MAX_DEPTH)?;
        Ok(Answer::Set(Entry { value, text: source(call, text), path: path.to_owned(), line }))
    });
    answer.unwrap_or_else(Answer::Unknown)
}

fn ends_statement(token: &Token<'_>) -> bool {
    token.kind == Kind::End || token.is(";")
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

    /// The last call of a method with its line.
    fn call(&self, key: &str) -> Result<Option<(usize, &'s [Token<'t>])>, String> {
        let mut last = None;
        for (at, token) in self.tokens.iter().enumerate() {
            let rest = self.tokens.get(at..).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
            let what = match token.kind {
                Kind::Word(word) if word == key => {
                    let statement = before.is_none_or(ends_statement);
                    let assigns = rest.get(1).is_some_and(|next| {
                        matches!(next.kind, Kind::Op(op) if op.ends_with('=') || op == "." || op == "&.")
                    });
                    if statement && token.depth == 0 && !assigns {
                        let ends = |token: &Token<'_>| token.depth == 0 && ends_statement(token);
                        let length = rest.iter().position(ends).unwrap_or(rest.len());
                        last = Some((token.line, rest.get(..length).unwrap_or_default()));
                        continue;
                    }
                    format!("{key} is not a plain call at the top level")
                }
                Kind::Word("load") if before.is_some_and(|before| before.is(".")) => continue,
                Kind::Word(word) if REFLECTION.contains(&word) => format!("{word} may set {key}"),
                Kind::Word("require") if !is_library(argument(rest)) => {
                    "a file of the app is read".to_owned()
                }
                Kind::Word("plugin")
                    if before.is_none_or(ends_statement)
                        && !argument(rest).is_some_and(|name| PLUGINS.contains(&name)) =>
                {
                    "this plugin is not known".to_owned()
                }
                Kind::Symbol(name) | Kind::Text(Some(name)) if name == key => {
                    format!("{key} may be set through a string with its name")
                }
                _ => continue,
            };
            return Err(self.fault(token.line, &what));
        }
        Ok(last)
    }

    /// The value of an integer expression.
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

    /// Checks that the file does not change the environment.
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

/// The name that is the only argument of a call.
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

/// Whether `require` loads a library, and not a file of the app.
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
