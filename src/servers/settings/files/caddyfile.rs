//! Caddyfile: the idle timeout of the server of one port.
//!
//! Turns the global option `servers [ADDRESS] { timeouts { idle DURATION } }`, with imports, snippets and variables, into
//! one [`Answer`] for the key `idle`. What stands in site blocks cannot set it; of them their addresses are read, and
//! whether they bind to hosts. What zero means is left to the catalog.

use std::collections::BTreeMap;

use super::{Answer, Entry, Files, Opened, Query};

/// How many files one configuration may import.
const MOST_FILES: usize = 128;
/// How long all files together may be.
const MOST_BYTES: usize = 1 << 20;
/// How many tokens are read in all files and imports together.
const MOST_TOKENS: usize = 200_000;
/// Stands in a token in place of a variable that nobody can tell.
const UNKNOWN: char = '\u{1}';
/// The port of Caddy's admin endpoint (caddy `admin.go`: `DefaultAdminListen`).
const ADMIN_PORT: u16 = 2019;

/// Reads the idle timeout from the Caddyfile at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader {
        files,
        paths: Vec::new(),
        tokens: Vec::new(),
        snippets: BTreeMap::new(),
        files_left: MOST_FILES,
        tokens_left: MOST_TOKENS,
        blocks: 0,
        servers: Vec::new(),
        http_port: Some(80),
        https_port: Some(443),
        admin_port: match files.variable("CADDY_ADMIN") {
            Some(address) => address.ok().and_then(|address| port_of(&address)),
            None => Some(ADMIN_PORT),
        },
        bytes_left: MOST_BYTES,
        sites: Vec::new(),
        unseen: false,
        bound: false,
    };
    let read = reader.lex(path, text).and_then(|tokens| {
        reader.put(tokens)?;
        reader.run()
    });
    match read.and_then(|()| reader.answer(path, query.port)) {
        Ok(Some(entry)) => Answer::Set(entry),
        Ok(None) => Answer::Absent,
        Err(why) => Answer::Unknown(why),
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    quoted: bool,
    /// It is the first of its line.
    fresh: bool,
    line: usize,
    /// The number of its file in [`Reader::paths`].
    path: usize,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        self.text == text && !self.quoted
    }

    /// Nobody can tell what it stands for.
    fn is_obscure(&self) -> bool {
        self.text.contains(UNKNOWN) || self.text.contains("{args") || self.text.contains("{block")
    }
}

/// Tokens that `import` puts in place of a name.
struct Snippet {
    tokens: Vec<Token>,
    /// Sites that import it may bind to hosts.
    may_bind: bool,
}

/// One `servers` option.
struct Servers {
    /// The listener that it is for; `None` for all that have no option of their own.
    address: Option<String>,
    idle: Option<Entry>,
}

struct Reader<'r> {
    files: &'r dyn Files,
    paths: Vec<String>,
    /// What is still to be read, the next token last.
    tokens: Vec<Token>,
    snippets: BTreeMap<String, Snippet>,
    files_left: usize,
    tokens_left: usize,
    bytes_left: usize,
    /// How many blocks have been read.
    blocks: usize,
    servers: Vec<Servers>,
    /// `None` where nobody can tell it.
    http_port: Option<u16>,
    https_port: Option<u16>,
    admin_port: Option<u16>,
    /// The addresses of each site block.
    sites: Vec<Vec<String>>,
    /// Some sites are not known.
    unseen: bool,
    /// Sites may bind to hosts.
    bound: bool,
}

impl Reader<'_> {
    fn says(&self, token: &Token, what: &str) -> String {
        let path = self.paths.get(token.path).map_or("", String::as_str);
        format!("{path} line {}: {what}", token.line)
    }

    /// Puts tokens before those that are still to be read.
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

    /// A site block, a snippet or a named route, from its first address on.
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

    /// What stands between the next brace and its counterpart.
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

    /// The next option in a block, and its arguments; `None` at the end of the block.
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
                return Err(self.says(&token, "nobody can tell which option this is"));
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

    /// Whether a block opens here; then it steps into it.
    fn opens(&mut self) -> bool {
        self.tokens.pop_if(|token| token.is("{")).is_some()
    }

    /// The block of global options, behind its brace.
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
            return Err(self.says(servers, "the address is not plain"));
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
            _ => Err(self.says(idle, "the value of idle is not plain")),
        }
    }

    /// Puts a snippet or files in place of `import NAME`.
    fn import(&mut self, import: &Token) -> Result<(), String> {
        let arguments = self.arguments();
        if self.tokens.last().is_some_and(|token| token.is("{") && !token.fresh) {
            self.body(import)?;
        }
        let Some((name, rest)) = arguments.split_first() else {
            return Err(self.says(import, "nothing is imported"));
        };
        if name.is_obscure() {
            return Err(self.says(import, "nobody can tell what is imported"));
        }
        let imported = match self.snippets.get(&name.text) {
            Some(snippet) => snippet.tokens.clone(),
            None => self.imported_files(import, &name.text)?,
        };
        let mut imported: Vec<Token> =
            imported.into_iter().map(|token| Token { text: filled(&token.text, rest), ..token }).collect();
        if let Some(first) = imported.first_mut() {
            first.fresh = true;
        }
        self.put(imported)
    }

    fn imported_files(&mut self, import: &Token, pattern: &str) -> Result<Vec<Token>, String> {
        let folder = self
            .paths
            .get(import.path)
            .and_then(|path| path.rsplit_once('/'))
            .map_or("", |(folder, _)| folder);
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{folder}/{}", pattern.trim_start_matches("./"))
        };
        let (folder, _) = pattern.rsplit_once('/').unwrap_or_default();
        if folder.contains('*') || pattern.contains(['?', '[', '{']) || pattern.contains("..") {
            return Err(self.says(import, "the pattern of the imported files is not plain"));
        }
        let paths = if pattern.contains('*') {
            self.files.list(&pattern).map_err(|why| self.says(import, &why))?
        } else {
            vec![pattern]
        };
        let mut tokens = Vec::new();
        for path in paths {
            let left = self.files_left.checked_sub(1);
            self.files_left = left.ok_or_else(|| self.says(import, "too many files are imported"))?;
            let text = match self.files.open(&path) {
                Opened::Text(text) => text.into_owned(),
                Opened::Missing => return Err(self.says(import, &format!("{path} is not there"))),
                Opened::Unseen(why) => return Err(self.says(import, &why)),
            };
            tokens.extend(self.lex(&path, &text)?);
        }
        Ok(tokens)
    }

    /// The value for a port: `None` where no option sets it.
    fn answer(&self, path: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
        let mut answers: Vec<Option<&Entry>> =
            self.servers.iter().map(|servers| servers.idle.as_ref()).collect();
        let for_all = self.servers.iter().find(|servers| servers.address.is_none());
        if for_all.is_none() {
            answers.push(None);
        }
        if let Some(port) = port {
            let sites: Vec<Vec<Option<u16>>> = self
                .sites
                .iter()
                .map(|site| site.iter().map(|key| self.port_of_site(key)).collect())
                .collect();
            let listens = sites.iter().flatten().any(|known| *known == Some(port));
            let all_known = !self.unseen && sites.iter().flatten().all(Option::is_some);
            if !listens
                && (all_known
                    || self.http_port.is_none_or(|http| http == port)
                    || self.admin_port.is_none_or(|admin| admin == port))
            {
                return Err(format!("no site in {path} has port {port}"));
            }
            // Sites of several addresses may share one server, and then the options of any of them act.
            let alone = sites.iter().all(|ports| ports.windows(2).all(|pair| pair.first() == pair.last()));
            if all_known && alone && !self.bound {
                let address = format!(":{port}");
                let own = self.servers.iter().find(|servers| servers.address.as_ref() == Some(&address));
                answers = vec![own.or(for_all).and_then(|servers| servers.idle.as_ref())];
            }
        }
        let mut answers = answers.into_iter();
        let first = answers.next().flatten();
        if answers.any(|other| other.map(|entry| &entry.value) != first.map(|entry| &entry.value)) {
            return Err(format!("the servers in {path} have different idle timeouts"));
        }
        Ok(first.cloned())
    }

    /// The port of `:8080`, `http://example.com`, `example.com:8443/path`; `None` where nobody can tell it.
    fn port_of_site(&self, address: &str) -> Option<u16> {
        if address.contains([UNKNOWN, '{']) {
            return None;
        }
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let host = rest.split('/').next().unwrap_or(rest);
        match host.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
            _ if scheme == "http" => self.http_port,
            _ => self.https_port,
        }
    }

    /// Cuts a text into tokens, with the values of variables (caddy `caddyconfig/caddyfile/lexer.go`).
    fn lex(&mut self, path: &str, text: &str) -> Result<Vec<Token>, String> {
        let left = self.bytes_left.checked_sub(text.len());
        self.bytes_left = left.ok_or_else(|| format!("{path}: the files are too long"))?;
        let text = self.expand(path, text)?;
        let number = self.paths.len();
        self.paths.push(path.to_owned());
        let mut lexer = Lexer { rest: &text, line: 1, fresh: true, path: number, tokens: Vec::new() };
        lexer.run().map_err(|what| format!("{path} line {}: {what}", lexer.line))?;
        Ok(lexer.tokens)
    }

    /// Puts in the values of `{$NAME}` and `{$NAME:default}`; the image may set those that the pod does not set.
    fn expand(&self, path: &str, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{$") {
            let Some((name, behind)) = after.split_once('}') else { break };
            expanded.push_str(before);
            match self.files.variable(name.split(':').next().unwrap_or(name)) {
                Some(Ok(value))
                    if value.contains('\n') || expanded.len() + value.len() > text.len() + (256 << 10) =>
                {
                    return Err(format!("{path}: a variable brings too much text"));
                }
                Some(Ok(value)) => expanded.push_str(&value),
                Some(Err(_)) | None => expanded.push(UNKNOWN),
            }
            // The lines behind keep their numbers.
            expanded.extend(name.chars().filter(|c| *c == '\n'));
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// The port of `8080`, `:2019` or `localhost:2019`.
fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').map_or(address, |(_, port)| port).parse().ok()
}

/// Puts the arguments of an import in.
fn filled(text: &str, arguments: &[Token]) -> String {
    if !text.contains("{args") {
        return text.to_owned();
    }
    let mut filled = text.to_owned();
    for (index, argument) in arguments.iter().enumerate().take(8) {
        filled = filled.replace(&format!("{{args[{index}]}}"), &argument.text);
        filled = filled.replace(&format!("{{args.{index}}}"), &argument.text);
    }
    filled
}

struct Lexer<'l> {
    rest: &'l str,
    line: usize,
    fresh: bool,
    path: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), &'static str> {
        self.rest = self.rest.trim_start_matches('\u{feff}');
        while let Some(c) = self.rest.chars().next() {
            match c {
                '\n' => {
                    self.step(1);
                    self.fresh = true;
                }
                c if c.is_whitespace() => drop(self.step(c.len_utf8())),
                '#' => drop(self.step(self.rest.find('\n').unwrap_or(self.rest.len()))),
                '\\' if self.rest.starts_with("\\\n") => drop(self.step(2)),
                '\\' if self.rest.starts_with("\\\r\n") => drop(self.step(3)),
                '"' | '`' => self.quoted(c)?,
                _ => self.word()?,
            }
        }
        Ok(())
    }

    /// Steps over this many bytes.
    fn step(&mut self, bytes: usize) -> &str {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += passed.matches('\n').count();
        self.rest = rest;
        passed
    }

    fn push(&mut self, text: String, quoted: bool, line: usize) {
        self.tokens.push(Token {
            text,
            quoted,
            fresh: std::mem::take(&mut self.fresh),
            line,
            path: self.path,
        });
    }

    fn quoted(&mut self, quote: char) -> Result<(), &'static str> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.step(at + 1);
                self.push(text, true, line);
                return Ok(());
            }
            if c == '\\' && quote == '"' {
                match chars.next() {
                    Some((_, '"')) => text.push('"'),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                }
            } else {
                text.push(c);
            }
        }
        Err("a quote is not closed")
    }

    fn word(&mut self) -> Result<(), &'static str> {
        let line = self.line;
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let word = self.step(end).to_owned();
        let heredoc =
            word.strip_prefix("<<").filter(|_| self.rest.trim_start_matches('\r').starts_with('\n'));
        match heredoc {
            // The text goes on to the next place where its marker stands.
            Some(marker) if !marker.is_empty() => {
                let end = self.rest.find(marker).ok_or("a text behind << does not end")?;
                let text = self.step(end + marker.len()).to_owned();
                self.push(text, true, line);
            }
            _ => self.push(
                word.strip_prefix("\\<").map_or_else(|| word.clone(), |rest| format!("<{rest}")),
                false,
                line,
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{Given, told_with_file};
    use super::*;

    const FOLDER: Given<'_> = Given {
        files: &[
            ("/c/idle.caddy", "\nservers {\n timeouts {\n  idle 8s\n }\n}"),
            ("/c/sites/a.caddy", ":8081 {\n respond a\n}"),
        ],
        variables: &[("KEEP", "9s")],
        of_image: true,
    };

    fn ask(text: &str, port: Option<u16>) -> String {
        told_with_file(read(&FOLDER, "/c/Caddyfile", text, Query { key: "idle", port }))
    }

    /// A file with one `servers` option for all, and one for port 8443.
    const BOTH: &str = "{\n servers {\n  timeouts {\n   idle 30s\n  }\n }\n servers :8443 {\n  timeouts {\n   \
                        read_body 1s\n   idle 5s\n  }\n }\n}\n";
    const ONE: &str = "{\n servers {\n  timeouts {\n   idle 30s\n  }\n }\n}\n";

    #[rstest]
    #[case::all(":8080 {\n}", Some(8080), "30s at Caddyfile:4")]
    #[case::own("a:8080 {\n}\nb:8443 {\n}", Some(8443), "5s at Caddyfile:10")]
    #[case::other("a:8080 {\n}\nb:8443 {\n}", Some(8080), "30s at Caddyfile:4")]
    #[case::shared_server(
        "a:8080, b:8443 {\n}",
        Some(8080),
        "? the servers in /c/Caddyfile have different idle timeouts"
    )]
    #[case::bound(
        ":8443 {\n bind 127.0.0.1\n}",
        Some(8443),
        "? the servers in /c/Caddyfile have different idle timeouts"
    )]
    #[case::no_port(":8443 {\n}", None, "? the servers in /c/Caddyfile have different idle timeouts")]
    #[case::unknown_address(
        "{$SITE} {\n}",
        Some(8443),
        "? the servers in /c/Caddyfile have different idle timeouts"
    )]
    #[case::no_site(":8443 {\n}", Some(9000), "? no site in /c/Caddyfile has port 9000")]
    #[case::admin("{$SITE} {\n}", Some(2019), "? no site in /c/Caddyfile has port 2019")]
    #[case::unseen_sites(
        "import /other/*.caddy\nimport other",
        Some(8443),
        "? the servers in /c/Caddyfile have different idle timeouts"
    )]
    fn two_options(#[case] sites: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("{BOTH}{sites}"), port), expected);
    }

    #[rstest]
    #[case::no_port(":8443 {\n}", None, "30s at Caddyfile:4")]
    #[case::unknown_address("{$SITE} {\n}", Some(8443), "30s at Caddyfile:4")]
    #[case::without_braces(":8443\nrespond \"{\"", Some(8443), "30s at Caddyfile:4")]
    #[case::http("http://a {\n}", Some(80), "30s at Caddyfile:4")]
    #[case::https("a.example.com {\n}", Some(443), "30s at Caddyfile:4")]
    #[case::redirect("a.example.com {\n}", Some(80), "? no site in /c/Caddyfile has port 80")]
    #[case::sites_of_files("import sites/*.caddy", Some(8081), "30s at Caddyfile:4")]
    #[case::several_lines("a:80,\nb:80 {\n}", Some(80), "30s at Caddyfile:4")]
    #[case::heredoc(":80 {\n respond <<END\n } {\n END 200\n}\n", Some(80), "30s at Caddyfile:4")]
    #[case::snippet_and_route("(s) {\n bind x\n}\n&(r) {\n}\n:80 {\n}", Some(80), "30s at Caddyfile:4")]
    fn one_option(#[case] sites: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("{ONE}{sites}"), port), expected);
    }

    #[rstest]
    #[case::nothing(":80 {\n}", "absent")]
    #[case::other_options(
        "{\n email a@b\n log {\n  output stdout\n }\n servers {\n  trace\n }\n}\n:80",
        "absent"
    )]
    #[case::not_global(":80 {\n servers {\n  timeouts {\n   idle 3s\n  }\n }\n}", "absent")]
    #[case::comment("{\n servers {\n  timeouts {\n   # idle 3s\n  }\n }\n}\n:80", "absent")]
    #[case::file("{\n import idle.caddy\n}\n:80", "8s at idle.caddy:4")]
    #[case::first_file("import /c/sites/*.caddy\n:80 {\n}", "absent")]
    #[case::unseen_first_file("import x\n:80 {\n}", "? /c/Caddyfile line 1: /c/x of the image may set it")]
    #[case::unseen_file("{\n import x\n}\n:80", "? /c/Caddyfile line 2: /c/x of the image may set it")]
    #[case::snippet(
        "(t) {\n timeouts {\n  idle {args[0]}\n }\n}\n{\n servers {\n  import t 6s\n }\n}\n:80",
        "6s at Caddyfile:3"
    )]
    #[case::snippet_of_itself("(t) {\n import t\n}\n{\n import t\n}\n:80", "? the Caddyfile is too long")]
    #[case::variable("{\n servers {\n  timeouts {\n   idle {$KEEP:4s}\n  }\n }\n}\n:80", "9s at Caddyfile:4")]
    #[case::unknown_variable(
        "{\n servers {\n  timeouts {\n   idle {$X:4s}\n  }\n }\n}\n:80",
        "? /c/Caddyfile line 4: the value of idle is not plain"
    )]
    #[case::unknown_options(
        "{\n {$X}\n}\n:80",
        "? /c/Caddyfile line 2: nobody can tell which option this is"
    )]
    #[case::http_port("{\n http_port 8080\n}\nhttp://a {\n}", "? no site in /c/Caddyfile has port 80")]
    #[case::open_block("{\n servers {", "? /c/Caddyfile line 2: a block is not closed")]
    #[case::open_quote("respond \"", "? /c/Caddyfile line 1: a quote is not closed")]
    #[case::second_global(":80 {\n}\n{\n}", "? /c/Caddyfile line 3: a block has no address")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Some(80)), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(
            text in "([a-z:{}\"`<\\\\$, \n]|\\{\n|\n\\}|servers |timeouts |idle |import |\\(a\\)|:80|<<E\n){0,300}"
        ) {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
