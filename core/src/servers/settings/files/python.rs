//! gunicorn.conf.py and other Python files whose module variables are settings.
//!
//! Parses logical lines, and answers a variable if a top-level statement assigns a plain value. Python is not executed:
//! anything else that could set the variable makes the answer unknown. The caller checks the value.

mod lexer;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;

use self::lexer::{Lexer, Scope, Statement};
use super::{
    Answer, Entry, Files, Query,
    script::{Kind, Token},
};

/// The maximum depth of variables that refer to other variables.
const MAX_DEPTH: usize = 8;

/// Modules of the standard library that change neither variables of other modules nor the environment.
const PLAIN_MODULES: [&str; 26] = [
    "__future__",
    "collections",
    "datetime",
    "functools",
    "gc",
    "json",
    "logging",
    "math",
    "multiprocessing",
    "os",
    "pathlib",
    "platform",
    "random",
    "re",
    "resource",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "string",
    "sys",
    "tempfile",
    "threading",
    "time",
    "typing",
    "uuid",
];

/// Names that let code set arbitrary variables.
const REFLECTION: [&str; 18] = [
    "__builtins__",
    "__dict__",
    "__import__",
    "__setattr__",
    "_getframe",
    "currentframe",
    "eval",
    "exec",
    "execfile",
    "globals",
    "import_module",
    "locals",
    "modules",
    "run_path",
    "runpy",
    "setattr",
    "stack",
    "vars",
];

/// Keywords that bind the following name.
const BINDERS: [&str; 8] = ["as", "class", "def", "del", "for", "global", "nonlocal", "type"];

/// Statements that may bind names anywhere.
const BINDING_STATEMENTS: [&str; 6] = ["case", "del", "except", "for", "match", "with"];

/// Reads the variable `key` from the module at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let module = match Lexer::new(path, text).statements() {
        Ok(statements) => Module { files, path, statements },
        Err(why) => return Answer::Unknown(why),
    };
    match module.assignment(query.key, module.statements.len()) {
        Ok(None) => Answer::Absent,
        Ok(Some((at, value))) => match module.value(value, at, MAX_DEPTH) {
            Ok(value) => match module.statements.get(at) {
                Some(statement) => Answer::Set(Entry {
                    value,
                    text: statement.source(text),
                    path: path.to_owned(),
                    line: statement.line(),
                }),
                None => Answer::Absent,
            },
            Err(why) => Answer::Unknown(why),
        },
        Err(why) => Answer::Unknown(why),
    }
}

/// Whether a token is an assignment operator: `=`, `+=` and so on.
fn assigns(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Op(op) if op.ends_with('=') && !matches!(op, "==" | "!=" | "<=" | ">="))
}

/// The effect of a statement on a variable.
enum Effect<'m, 't> {
    Nothing,
    /// Assigns this expression.
    Sets(&'m [Token<'t>]),
    /// Unknown.
    Unknown(String),
}

struct Module<'m, 't> {
    files: &'m dyn Files,
    path: &'m str,
    statements: Vec<Statement<'t>>,
}

impl<'t> Module<'_, 't> {
    fn fault(&self, line: usize, what: &str) -> String {
        format!("{} line {line}: {what}", self.path)
    }

    /// The last statement before `end` that assigns the variable, and its right-hand side.
    fn assignment(&self, name: &str, end: usize) -> Result<Option<(usize, &[Token<'t>])>, String> {
        let calls = self.calls_its_functions();
        let mut last = Ok(None);
        for (at, statement) in self.statements.iter().enumerate() {
            if matches!(statement.scope, Scope::Header | Scope::Inner) {
                let import = if calls { self.foreign_import(statement) } else { None };
                if let Some(why) = self.inner_doubt(statement, name).or(import) {
                    return Err(why);
                }
            } else if at < end {
                match self.effect(statement, name) {
                    Effect::Nothing => {}
                    Effect::Sets(value) => last = Ok(Some((at, value))),
                    Effect::Unknown(why) => last = Err(why),
                }
            }
        }
        last
    }

    /// Whether the file calls its own functions or classes at top level.
    fn calls_its_functions(&self) -> bool {
        let headers = self.statements.iter().filter(|statement| statement.scope == Scope::Header);
        let mut own = BTreeSet::new();
        for header in headers {
            if header.first() == "class" {
                return true;
            }
            let position = header.tokens.iter().position(|token| token.word() == Some("def"));
            own.extend(position.and_then(|at| header.tokens.get(at + 1)).and_then(Token::word));
        }
        let outside = self.statements.iter().filter(|statement| statement.scope != Scope::Inner);
        outside.flat_map(|statement| statement.tokens.windows(3)).any(|tokens| match tokens {
            [before, name, after] => {
                name.word().is_some_and(|name| own.contains(name))
                    && (after.is("(") || before.is("@"))
                    && before.word() != Some("def")
            }
            _ => false,
        }) || self.statements.iter().any(|statement| {
            statement.scope != Scope::Inner
                && match statement.tokens.as_slice() {
                    [name, after, ..] if name.word().is_some_and(|name| own.contains(name)) => after.is("("),
                    [at, name] => at.is("@") && name.word().is_some_and(|name| own.contains(name)),
                    _ => false,
                }
        })
    }

    /// The effect of a top-level statement.
    fn effect<'m>(&'m self, statement: &'m Statement<'t>, name: &str) -> Effect<'m, 't> {
        if let Some(why) = self.any_doubt(statement, name).or_else(|| self.foreign_import(statement)) {
            return Effect::Unknown(why);
        }
        if matches!(statement.first(), "import" | "from") {
            return match self.imports(statement, name) {
                Some(why) => Effect::Unknown(why),
                None => Effect::Nothing,
            };
        }
        let mut sets = Effect::Nothing;
        let tokens = &statement.tokens;
        let equals = |token: &Token<'_>| token.is("=") && token.depth == 0;
        let last_equals = tokens.iter().rposition(equals);
        for (at, token) in tokens.iter().enumerate() {
            if token.word() != Some(name) {
                continue;
            }
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let after = tokens.get(at + 1);
            if before.is_some_and(|before| before.is(".")) {
                continue;
            }
            let plain = at == 0
                && statement.scope == Scope::Top
                && after.is_some_and(|after| after.is("=") || after.is(":"))
                && tokens.iter().filter(|token| equals(token)).count() <= 1;
            let keyword_argument = token.depth > 0 && after.is_some_and(|after| after.is("="));
            if plain {
                if let Some(equals) = last_equals {
                    sets = Effect::Sets(tokens.get(equals + 1..).unwrap_or_default());
                }
            } else if before.and_then(Token::word).is_some_and(|word| BINDERS.contains(&word))
                || BINDING_STATEMENTS.contains(&statement.first())
                || after.is_some_and(|after| assigns(after) && !keyword_argument)
                || (last_equals.is_some_and(|equals| equals > at)
                    && !after.is_some_and(|after| after.is(".") || after.is("[")))
            {
                return Effect::Unknown(
                    self.fault(token.line, &format!("{name} is not set in the plain form at top level")),
                );
            }
        }
        sets
    }

    /// Why a function or class may set a variable.
    fn inner_doubt(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        let declares = tokens.iter().position(|token| token.word() == Some("global"));
        let global =
            declares.is_some_and(|from| tokens.iter().skip(from).any(|token| token.word() == Some(name)));
        let header = statement.scope == Scope::Header
            && tokens.windows(2).any(|pair| match pair {
                [word, behind] => behind.word() == Some(name) && matches!(word.word(), Some("def" | "class")),
                _ => false,
            });
        let walrus = tokens.windows(2).any(|pair| match pair {
            [variable, op] => variable.word() == Some(name) && op.is(":="),
            _ => false,
        });
        if global || header || walrus {
            return Some(
                self.fault(statement.line(), &format!("{name} is not set in the plain form at top level")),
            );
        }
        self.any_doubt(statement, name)
    }

    /// Why any statement may set a variable.
    fn any_doubt(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let after = tokens.get(at + 1);
            let what = match token.kind {
                Kind::Word(word) if REFLECTION.contains(&word) => format!("{word} may set {name}"),
                Kind::Word(word)
                    if word == name
                        && before.is_some_and(|before| before.is("."))
                        && after.is_some_and(assigns) =>
                {
                    format!("an attribute named {name} is set")
                }
                Kind::Text(Some(text))
                    if text == name && before.is_some_and(|before| before.is("(") || before.is("[")) =>
                {
                    format!("{name} may be set through a string with its name")
                }
                _ => continue,
            };
            return Some(self.fault(token.line, &what));
        }
        None
    }

    /// An import of unknown code.
    fn foreign_import(&self, statement: &Statement<'t>) -> Option<String> {
        let tokens = &statement.tokens;
        let at = tokens.iter().position(|token| token.word() == Some("import"))?;
        let plain = |token: Option<&Token<'_>>| {
            token.and_then(Token::word).is_some_and(|module| PLAIN_MODULES.contains(&module))
        };
        let known = match statement.first() {
            "from" => plain(tokens.get(1)) && !tokens.iter().any(|token| token.is("*")),
            "import" => tokens
                .split(|token| token.is(","))
                .enumerate()
                .all(|(index, module)| plain(if index == 0 { module.get(1) } else { module.first() })),
            _ => false,
        };
        let line = tokens.get(at).map_or(0, |token| token.line);
        (!known).then(|| self.fault(line, "the file imports unknown code"))
    }

    /// An import that rebinds a well-known name.
    fn imports(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        let usual = match statement.first() {
            "import" => name == "os",
            _ => {
                matches!(name, "environ" | "getenv")
                    && tokens.get(1).and_then(Token::word) == Some("os")
                    && tokens.get(2).and_then(Token::word) == Some("import")
            }
        };
        let alias = tokens.iter().any(|token| token.word() == Some("as"));
        let named = tokens.iter().find(|token| token.word() == Some(name))?;
        (!usual || alias).then(|| self.fault(named.line, &format!("an import sets {name}")))
    }
}
