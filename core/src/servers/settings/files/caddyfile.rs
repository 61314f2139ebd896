//! Caddyfile: the idle timeout of the server on a port.
//!
//! Reads the global option `servers [ADDRESS] { timeouts { idle DURATION } }`, with imports, snippets and variables, as
//! the key `idle`. Site blocks cannot set it; only their addresses and whether they bind to hosts matter. The catalog
//! defines the meaning of zero.

mod imports;
mod lexer;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::{lexer::Token, ports::port_of};
use super::{Answer, Entry, Files, Query};

/// The maximum number of importd files.
const MAX_FILES: usize = 128;
/// The maximum total length of all files, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The maximum number of tokens in all files together.
const MAX_TOKENS: usize = 200_000;
/// The port of Caddy's admin endpoint (caddy `admin.go`: `DefaultAdminListen`).
const ADMIN_PORT: u16 = 2019;

/// Reads the idle timeout from the Caddyfile at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader {
        files,
        paths: Vec::new(),
        tokens: Vec::new(),
        snippets: BTreeMap::new(),
        files_left: MAX_FILES,
        tokens_left: MAX_TOKENS,
        blocks: 0,
        servers: Vec::new(),
        http_port: Some(80),
        https_port: Some(443),
        admin_port: match files.variable("CADDY_ADMIN") {
            Some(address) => address.ok().and_then(|address| port_of(&address)),
            None => Some(ADMIN_PORT),
        },
        bytes_left: MAX_BYTES,
        sites: Vec::new(),
        unseen: false,
        bound: false,
    };
    let read = reader.lex(path, text).and_then(|tokens| {
        reader.put(tokens)?;
        reader.run()
    });
    read.and_then(|()| reader.answer(path, query.port)).into()
}

/// The tokens that replace an `import` of this name.
struct Snippet {
    tokens: Vec<Token>,
    /// Whether sites that import it may bind to hosts.
    may_bind: bool,
}

/// One `servers` option.
struct Servers {
    /// The listener address; `None` for all listeners without their own option.
    address: Option<String>,
    idle: Option<Entry>,
}

struct Reader<'r> {
    files: &'r dyn Files,
    paths: Vec<String>,
    /// The remaining tokens in reverse order.
    tokens: Vec<Token>,
    snippets: BTreeMap<String, Snippet>,
    files_left: usize,
    tokens_left: usize,
    bytes_left: usize,
    /// The number of blocks so far.
    blocks: usize,
    servers: Vec<Servers>,
    /// `None` if it is unknown.
    http_port: Option<u16>,
    https_port: Option<u16>,
    admin_port: Option<u16>,
    /// The addresses of each site block.
    sites: Vec<Vec<String>>,
    /// Whether some sites are unknown.
    unseen: bool,
    /// Whether sites may bind to hosts.
    bound: bool,
}

impl Reader<'_> {
    fn says(&self, token: &Token, what: &str) -> String {
        let path = self.paths.get(token.path).map_or("", String::as_str);
        format!("{path} line {}: {what}", token.line)
    }

    /// Puts tokens before the remaining ones.
    fn put(&mut self, tokens: Vec<Token>) -> Result<(), String> {
        let left = self.tokens_left.checked_sub(tokens.len());
        self.tokens_left = left.ok_or_else(|| "the Caddyfile is too long".to_owned())?;
        self.tokens.extend(tokens.into_iter().rev());
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(token) = self.tokens.pop() {
            if token.is("{") {
                if self.blocks > 0 {
                    return Err(self.says(&token, "a block has no address"));
                }
                self.blocks += 1;
                self.global(&token)?;
            } else if token.is("import") {
                if let Err(why) = self.import(&token) {
                    if self.blocks == 0 {
                        return Err(why);
                    }
                    self.unseen = true;
                }
            } else {
                self.block(&token)?;
            }
        }
        Ok(())
    }

    /// Parses a site block, a snippet or a named route, from its first address on.
    fn block(&mut self, first: &Token) -> Result<(), String> {
        let mut keys = vec![first.text.clone()];
        while let Some(token) = self.tokens.pop() {
            let goes_on = keys.last().is_some_and(|key| key.ends_with(','));
            if token.is("{") || (token.fresh && !goes_on) {
                self.tokens.push(token);
                break;
            }
            keys.push(token.text);
        }
        let braces = self.tokens.last().is_some_and(|token| token.is("{"));
        let body = if braces { self.body(first)? } else { self.tokens.drain(..).rev().collect() };
        if let Some(name) = first.text.strip_prefix('(').and_then(|name| name.strip_suffix(')')) {
            let may_bind = body.iter().any(|token| token.is("bind") || token.is("import"));
            self.snippets.insert(name.to_owned(), Snippet { tokens: body, may_bind });
            return Ok(());
        }
        self.blocks += 1;
        if first.text.starts_with("&(") {
            return Ok(());
        }
        self.bound |= body.iter().any(|token| token.is("bind"));
        let imports =
            body.windows(2).filter(|pair| matches!(pair, [import, _] if import.is("import") && import.fresh));
        for name in imports.filter_map(|pair| pair.get(1)) {
            self.bound |= self.snippets.get(&name.text).is_none_or(|snippet| snippet.may_bind);
        }
        self.sites.push(keys.iter().map(|key| key.trim_end_matches(',').to_owned()).collect());
        Ok(())
    }

    /// The tokens between the next brace and its counterpart.
    fn body(&mut self, start: &Token) -> Result<Vec<Token>, String> {
        let mut body = Vec::new();
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.pop() {
            if token.is("{") {
                depth += 1;
                if depth == 1 {
                    continue;
                }
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(body);
                }
            }
            body.push(token);
        }
        Err(self.says(start, "a block is not closed"))
    }

    /// The next option of a block with its arguments; `None` at the end of the block.
    fn option(&mut self, start: &Token) -> Result<Option<(Token, Vec<Token>)>, String> {
        while let Some(token) = self.tokens.pop() {
            if token.is("}") {
                return Ok(None);
            }
            if token.is("import") {
                self.import(&token)?;
                continue;
            }
            if token.is_obscure() || token.is("{") {
                return Err(self.says(&token, "it is not clear which option this is"));
            }
            let arguments = self.arguments();
            return Ok(Some((token, arguments)));
        }
        Err(self.says(start, "a block is not closed"))
    }

    /// The rest of the line, up to a brace.
    fn arguments(&mut self) -> Vec<Token> {
        let mut arguments = Vec::new();
        while let Some(token) = self.tokens.pop_if(|token| !token.fresh && !token.is("{") && !token.is("}")) {
            arguments.push(token);
        }
        arguments
    }

    /// Whether a block starts here; if so, enters it.
    fn opens(&mut self) -> bool {
        self.tokens.pop_if(|token| token.is("{")).is_some()
    }

    /// Parses the block of global options, after its brace.
    fn global(&mut self, start: &Token) -> Result<(), String> {
        while let Some((option, arguments)) = self.option(start)? {
            let port = arguments.first().and_then(|argument| port_of(&argument.text));
            match option.text.as_str() {
                "servers" => {
                    self.servers_option(&option, &arguments)?;
                    continue;
                }
                "http_port" => self.http_port = port,
                "https_port" => self.https_port = port,
                "admin" if arguments.first().is_some_and(|argument| argument.is("off")) => {
                    self.admin_port = Some(0);
                }
                "admin" if !arguments.is_empty() => self.admin_port = port,
                "default_bind" => self.bound = true,
                _ => {}
            }
            if self.tokens.last().is_some_and(|token| token.is("{")) {
                self.body(&option)?;
            }
        }
        Ok(())
    }

    fn servers_option(&mut self, servers: &Token, arguments: &[Token]) -> Result<(), String> {
        if arguments.iter().any(Token::is_obscure) {
            return Err(self.says(servers, "the address is not a literal"));
        }
        let address = arguments.first().map(|argument| argument.text.clone());
        let mut idle = None;
        if self.opens() {
            while let Some((option, _)) = self.option(servers)? {
                if !option.is("timeouts") {
                    if self.tokens.last().is_some_and(|token| token.is("{")) {
                        self.body(&option)?;
                    }
                } else if self.opens() {
                    while let Some((timeout, arguments)) = self.option(&option)? {
                        if timeout.is("idle") {
                            idle = Some(self.entry(&timeout, &arguments)?);
                        }
                    }
                }
            }
        }
        self.servers.push(Servers { address, idle });
        Ok(())
    }

    fn entry(&self, idle: &Token, arguments: &[Token]) -> Result<Entry, String> {
        match arguments {
            [value, ..] if !value.is_obscure() => Ok(Entry {
                value: value.text.clone(),
                text: format!("idle {}", value.text),
                path: self.paths.get(idle.path).cloned().unwrap_or_default(),
                line: idle.line,
            }),
            _ => Err(self.says(idle, "the value of idle is not a literal")),
        }
    }
}
