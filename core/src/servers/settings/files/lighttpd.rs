//! lighttpd.conf: the idle timeout of the server.
//!
//! Evaluates assignments, conditions, variables and includes for a key such as `server.max-keep-alive-idle`, in
//! seconds. The value is also `0` if `server.max-keep-alive-requests` is. Conditions are not matched with a port: a
//! value in a condition must equal the global one. Measured with lighttpd 1.4.69.

mod lexer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::lexer::{Kind, Lexer, Token};
use super::{Answer, Entry, Files, Query, includes::Includes};

/// The maximum nesting depth of includes.
const MAX_DEPTH: usize = 16;
/// The maximum total length of all files, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The maximum number of included files.
const MAX_FILES: usize = 128;
/// The maximum number of tokens in all files together.
const MAX_TOKENS: usize = 200_000;
/// The maximum length of a value after variable expansion.
const MAX_VALUE_LEN: usize = 8 << 10;
/// With zero the server closes after each response (lighttpd `src/h1.c`).
const REQUESTS: &str = "server.max-keep-alive-requests";

/// Files in lighttpd's `doc/config` without these keys.
const WITHOUT_TIMEOUTS: [&str; 21] = [
    "access_log.conf",
    "auth.conf",
    "cgi.conf",
    "debug.conf",
    "deflate.conf",
    "dirlisting.conf",
    "evhost.conf",
    "expire.conf",
    "fastcgi.conf",
    "magnet.conf",
    "mime.conf",
    "modules.conf",
    "proxy.conf",
    "rrdtool.conf",
    "scgi.conf",
    "simple_vhost.conf",
    "ssi.conf",
    "status.conf",
    "tls.conf",
    "userdir.conf",
    "webdav.conf",
];
/// Commands of the Debian package, which print MIME types or an empty condition.
const HARMLESS_COMMANDS: [&str; 3] = ["create-mime.conf.pl", "create-mime.assign.pl", "use-ipv6.pl"];

/// Reads `key` from the configuration whose main file is at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader {
        includes: Includes { files, files_left: MAX_FILES, bytes_left: MAX_BYTES },
        key: query.key,
        folder: path.rsplit_once('/').map_or("", |(folder, _)| folder),
        variables: BTreeMap::new(),
        idle: Setting::default(),
        requests: Setting::default(),
        tokens_left: MAX_TOKENS,
    };
    reader.file(path, text, false, 0).and_then(|()| reader.answer()).into()
}

/// The global value and those in conditions.
#[derive(Default)]
struct Setting {
    general: Option<Entry>,
    conditional: Vec<Entry>,
}

/// A value of a variable.
#[derive(Clone)]
enum Value {
    Text(String),
    Number(String),
}

struct Reader<'r> {
    includes: Includes<'r>,
    key: &'r str,
    /// The directory of the main file, which includes are relative to.
    folder: &'r str,
    /// `None` if the value is unknown.
    variables: BTreeMap<String, Option<Value>>,
    idle: Setting,
    requests: Setting,
    tokens_left: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, text: &str, conditional: bool, depth: usize) -> Result<(), String> {
        let tokens = Lexer::new(path, text).run(self.tokens_left)?;
        self.tokens_left = self.tokens_left.saturating_sub(tokens.len());
        let at = |line: usize, what: &str| format!("{path} line {line}: {what}");
        // Whether each surrounding block is a condition, the innermost last.
        let mut blocks = vec![conditional];
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            let inside = blocks.last().copied().unwrap_or(conditional);
            match &token.kind {
                Kind::End => {}
                Kind::Mark("}") if blocks.len() > 1 => drop(blocks.pop()),
                Kind::Mark("$") => {
                    rest = block(rest).ok_or_else(|| at(token.line, "a condition has no block"))?;
                    blocks.push(true);
                }
                Kind::Word(word) if matches!(word.as_str(), "if" | "else" | "elif" | "elsif" | "elseif") => {
                    rest = block(rest).ok_or_else(|| at(token.line, "a condition has no block"))?;
                    blocks.push(true);
                }
                Kind::Word(word) if word == "global" => {
                    rest = block(rest).ok_or_else(|| at(token.line, "global has no block"))?;
                    blocks.push(false);
                }
                Kind::Word(word) if word == "include" || word == "include_shell" => {
                    let (value, after) = expression(rest);
                    rest = after;
                    let value = self.value(value);
                    let Some(Value::Text(value)) = value else {
                        return Err(at(token.line, "it is not clear which files are included"));
                    };
                    if word == "include" {
                        self.include(&value, inside, &at(token.line, ""), depth)?;
                    } else if !is_harmless(&value) {
                        return Err(at(token.line, "the output of a command is included"));
                    }
                }
                Kind::Word(key) => {
                    let Some((Token { kind: Kind::Mark(operator @ ("=" | ":=" | "+=")), .. }, after)) =
                        rest.split_first()
                    else {
                        return Err(at(token.line, "a key has no value"));
                    };
                    let (value, after) = expression(after);
                    rest = after;
                    self.assign(key, operator, value, inside, &Location { path, line: token.line })?;
                }
                Kind::Text(_) | Kind::Number(_) | Kind::Mark(_) => {
                    return Err(at(token.line, "this is not an assignment"));
                }
            }
        }
        if blocks.len() > 1 { Err(format!("{path}: a block is not closed")) } else { Ok(()) }
    }

    fn assign(
        &mut self,
        key: &str,
        operator: &str,
        tokens: &[Token],
        conditional: bool,
        location: &Location<'_>,
    ) -> Result<(), String> {
        let value = self.value(tokens);
        if key == self.key || key == REQUESTS {
            let (Some(Value::Number(number) | Value::Text(number)), "=" | ":=") = (value, operator) else {
                return Err(format!(
                    "{} line {}: the value of {key} is not a literal",
                    location.path, location.line
                ));
            };
            let entry = Entry {
                text: format!("{key} = {number}"),
                value: number,
                path: location.path.to_owned(),
                line: location.line,
            };
            let setting = if key == REQUESTS { &mut self.requests } else { &mut self.idle };
            if conditional {
                setting.conditional.push(entry);
            } else {
                setting.general = Some(entry);
            }
            return Ok(());
        }
        let name = variable(key);
        let value = match operator {
            "+=" => {
                self.variables.get(&name).cloned().flatten().zip(value).and_then(|(old, new)| join(old, new))
            }
            _ => value,
        };
        // Values in a condition only apply within it.
        self.variables.insert(name, value.filter(|_| !conditional));
        Ok(())
    }

    /// A concatenation of strings and variables; `None` for anything else.
    fn value(&self, tokens: &[Token]) -> Option<Value> {
        let mut sum: Option<Value> = None;
        for part in tokens.split(|token| matches!(token.kind, Kind::Mark("+"))) {
            let [Token { kind, .. }] = part else { return None };
            let value = match kind {
                Kind::Text(text) => Value::Text(text.clone()),
                Kind::Number(number) => Value::Number(number.clone()),
                Kind::Word(word) => match word.strip_prefix("env.") {
                    Some(name) => Value::Text(self.includes.files.variable(name)?.ok()?),
                    None => self.variables.get(&variable(word))?.clone()?,
                },
                Kind::Mark(_) | Kind::End => return None,
            };
            sum = Some(match sum {
                Some(sum) => join(sum, value)?,
                None => value,
            });
        }
        sum
    }

    fn include(&mut self, pattern: &str, conditional: bool, at: &str, depth: usize) -> Result<(), String> {
        let pattern = match pattern {
            _ if pattern.starts_with('/') => pattern.to_owned(),
            _ if pattern.starts_with("./") || pattern.starts_with("../") => {
                return Err(format!("{at}the included file is in the working directory"));
            }
            _ => format!("{}/{pattern}", self.folder),
        };
        let (folder, _) = pattern.rsplit_once('/').unwrap_or_default();
        if depth >= MAX_DEPTH || folder.contains('*') || pattern.contains(['?', '[', '{']) {
            return Err(format!(
                "{at}the pattern of the included files is not a literal, or they are nested too deeply"
            ));
        }
        let fault = |why: String| format!("{at}{why}");
        for path in self.includes.paths(pattern).map_err(fault)? {
            if let Some(text) = self.includes.open(&path, &WITHOUT_TIMEOUTS, false).map_err(fault)? {
                self.file(&path, &text, conditional, depth + 1)?;
            }
        }
        Ok(())
    }

    fn answer(self) -> Result<Option<Entry>, String> {
        for setting in [&self.requests, &self.idle] {
            let general = setting.general.as_ref().map(|entry| &entry.value);
            if let Some(other) = setting.conditional.iter().find(|entry| Some(&entry.value) != general) {
                return Err(format!("{} line {}: a condition sets {}", other.path, other.line, other.text));
            }
        }
        let closes =
            self.requests.general.filter(|requests| requests.value.bytes().all(|digit| digit == b'0'));
        match closes {
            Some(requests) => Ok(Some(Entry { value: "0".to_owned(), ..requests })),
            None => Ok(self.idle.general),
        }
    }
}

/// The location of a line.
struct Location<'s> {
    path: &'s str,
    line: usize,
}

/// The name of a variable; it is in `var` if it has no dot.
fn variable(key: &str) -> String {
    if key.contains('.') { key.to_owned() } else { format!("var.{key}") }
}

fn join(left: Value, right: Value) -> Option<Value> {
    match (left, right) {
        (Value::Text(mut left), Value::Text(right) | Value::Number(right)) => {
            left.push_str(&right);
            Some(Value::Text(left))
                .filter(|value| matches!(value, Value::Text(text) if text.len() < MAX_VALUE_LEN))
        }
        (Value::Number(_), _) => None,
    }
}

/// A command of the Debian package with optional arguments.
fn is_harmless(command: &str) -> bool {
    let plain = !command.contains([';', '|', '&', '`', '$', '\n']);
    let program =
        command.split_ascii_whitespace().next().and_then(|path| path.strip_prefix("/usr/share/lighttpd/"));
    plain && program.is_some_and(|program| HARMLESS_COMMANDS.contains(&program))
}

/// The tokens after the next brace that opens a block.
fn block(tokens: &[Token]) -> Option<&[Token]> {
    let open = tokens.iter().position(|token| matches!(token.kind, Kind::Mark("{" | "}")))?;
    tokens.get(open).filter(|token| matches!(token.kind, Kind::Mark("{")))?;
    tokens.get(open + 1..)
}

/// The tokens up to the end of a statement, and the rest.
fn expression(tokens: &[Token]) -> (&[Token], &[Token]) {
    let end = tokens.iter().position(|token| matches!(token.kind, Kind::End | Kind::Mark("}")));
    tokens.split_at_checked(end.unwrap_or(tokens.len())).unwrap_or((tokens, &[]))
}
