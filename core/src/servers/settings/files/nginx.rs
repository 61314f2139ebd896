//! nginx.conf: a directive of the `server` blocks on a port, with inheritance and includes.
//!
//! Parses blocks and directives, and answers a key for a port.

mod lexer;
mod parser;
mod template;
#[cfg(test)]
mod tests;

use self::parser::{Directive, Parser};
pub(super) use self::template::envsubst;
use super::{Answer, Entry, Files, Query};

/// The maximum nesting depth of blocks and includes.
const MAX_DEPTH: usize = 16;

/// Reads `key` from the configuration whose main file is at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    Parser::new(files, path).file(path, text, 0).and_then(|directives| find(&directives, path, query)).into()
}

/// The value for a port; `None` if no block sets it.
fn find(main: &[Directive], path: &str, query: Query<'_>) -> Result<Option<Entry>, String> {
    let mut answers: Vec<Option<Entry>> = Vec::new();
    for http in blocks(main, "http") {
        let inherited = value(http, query.key)?;
        for server in blocks(http, "server").filter(|server| listens(server, query.port)) {
            let own = value(server, query.key)?.or_else(|| inherited.clone());
            answers.push(own.clone());
            locations(server, query.key, own.as_ref(), 0)?;
        }
        if query.port.is_none() && answers.is_empty() {
            answers.push(inherited);
        }
    }
    let Some((first, rest)) = answers.split_first() else {
        return match query.port {
            Some(port) => Err(format!("no server listens on port {port} in {path}")),
            None => Ok(None),
        };
    };
    let same = |other: &Option<Entry>| {
        other.as_ref().map(|entry| &entry.value) == first.as_ref().map(|entry| &entry.value)
    };
    if rest.iter().all(same) {
        Ok(first.clone())
    } else {
        Err(format!("the servers in {path} have different values of {}", query.key))
    }
}

/// The blocks with a name.
fn blocks<'d>(directives: &'d [Directive], name: &str) -> impl Iterator<Item = &'d [Directive]> {
    let named =
        directives.iter().filter(move |directive| directive.words.first().is_some_and(|word| word == name));
    named.filter_map(|directive| directive.block.as_deref())
}

/// The last value in a block; nginx accepts only one.
fn value(scope: &[Directive], key: &str) -> Result<Option<Entry>, String> {
    let found = scope.iter().rev().find(|directive| directive.words.first().is_some_and(|word| word == key));
    let Some(directive) = found else { return Ok(None) };
    match directive.words.get(1) {
        Some(value) if !value.contains('$') => Ok(Some(Entry {
            value: value.clone(),
            text: directive.words.join(" "),
            path: directive.path.clone(),
            line: directive.line,
        })),
        Some(_) | None => {
            Err(format!("{} line {}: the value of {key} is not a literal", directive.path, directive.line))
        }
    }
}

/// The location depends on the path of the request, so all must agree with their server.
fn locations(scope: &[Directive], key: &str, own: Option<&Entry>, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("the blocks are nested too deeply".to_owned());
    }
    for block in ["location", "if", "limit_except"] {
        for inner in blocks(scope, block) {
            if let Some(entry) = value(inner, key)?
                && own.is_none_or(|own| own.value != entry.value)
            {
                return Err(format!(
                    "{} line {}: {key} has a different value in one {block}",
                    entry.path, entry.line
                ));
            }
            locations(inner, key, own, depth + 1)?;
        }
    }
    Ok(())
}

/// Whether a server listens on a port; the default is 80 (nginx `ngx_http_core_module`).
fn listens(server: &[Directive], port: Option<u16>) -> bool {
    let Some(port) = port else { return true };
    let mut listens = server
        .iter()
        .filter(|directive| directive.words.first().is_some_and(|word| word == "listen"))
        .peekable();
    if listens.peek().is_none() {
        return port == 80;
    }
    listens.any(|directive| directive.words.get(1).is_some_and(|address| port_of(address) == Some(port)))
}

/// The port of `8080`, `127.0.0.1`, `*:80` or `[::]:8080`; `None` for a Unix socket.
fn port_of(address: &str) -> Option<u16> {
    if address.starts_with("unix:") {
        return None;
    }
    let behind = address.rsplit_once(']').map_or(address, |(_, behind)| behind);
    match behind.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(address.parse().unwrap_or(80)),
    }
}
