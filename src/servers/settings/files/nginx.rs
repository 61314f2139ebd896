//! nginx.conf: the directive of one port's `server` blocks, with inheritance and includes.
//!
//! Turns the text into blocks and directives, and a key and a port into an [`Answer`]. Which file is read is left to the
//! caller.

use super::{Answer, Entry, Files, Opened, Query};

/// Deeper than this nobody nests blocks and includes.
const DEEPEST: usize = 16;
/// How many files one configuration may include.
const MOST_FILES: usize = 64;
/// How many directives are read in all files together.
const MOST_DIRECTIVES: usize = 100_000;

/// Files that every nginx image brings, with types and parameters alone (nginx `conf/`).
const WITHOUT_TIMEOUTS: [&str; 8] = [
    "mime.types",
    "fastcgi_params",
    "fastcgi.conf",
    "scgi_params",
    "uwsgi_params",
    "proxy_params",
    "koi-utf",
    "win-utf",
];

/// A directive, perhaps with a block.
#[derive(Debug)]
struct Directive {
    words: Vec<String>,
    block: Option<Vec<Self>>,
    path: String,
    line: usize,
}

/// Reads `key` from the configuration whose main file is at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut parser = Parser {
        files,
        folder: path.rsplit_once('/').map_or("", |(folder, _)| folder),
        files_left: MOST_FILES,
        directives_left: MOST_DIRECTIVES,
    };
    match parser.file(path, text, 0).and_then(|directives| find(&directives, path, query)) {
        Ok(Some(entry)) => Answer::Set(entry),
        Ok(None) => Answer::Absent,
        Err(why) => Answer::Unknown(why),
    }
}

/// The value for a port: `None` where no scope sets it.
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

/// The blocks of a name.
fn blocks<'d>(directives: &'d [Directive], name: &str) -> impl Iterator<Item = &'d [Directive]> {
    let named =
        directives.iter().filter(move |directive| directive.words.first().is_some_and(|word| word == name));
    named.filter_map(|directive| directive.block.as_deref())
}

/// The last value in a scope; nginx refuses a second one, so that it is the only one.
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
            Err(format!("{} line {}: the value of {key} is not plain", directive.path, directive.line))
        }
    }
}

/// Which location answers depends on the path, so that all must agree with their server.
fn locations(scope: &[Directive], key: &str, own: Option<&Entry>, depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err("the blocks are nested too deeply".to_owned());
    }
    for block in ["location", "if", "limit_except"] {
        for inner in blocks(scope, block) {
            if let Some(entry) = value(inner, key)?
                && own.is_none_or(|own| own.value != entry.value)
            {
                return Err(format!("{} line {}: {key} of one {block} is another", entry.path, entry.line));
            }
            locations(inner, key, own, depth + 1)?;
        }
    }
    Ok(())
}

/// Whether a server has a port; without `listen` it has port 80 (nginx `ngx_http_core_module`).
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

/// The port of `8080`, `127.0.0.1`, `*:80` or `[::]:8080`; `None` for a socket.
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

struct Parser<'f> {
    files: &'f dyn Files,
    /// The folder of the main file, in which includes are looked up.
    folder: &'f str,
    files_left: usize,
    directives_left: usize,
}

impl Parser<'_> {
    fn file(&mut self, path: &str, text: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let mut tokens = Tokens { text, at: 0, line: 1, path };
        let directives = self.block(&mut tokens, depth, false)?;
        Ok(directives)
    }

    fn block(
        &mut self,
        tokens: &mut Tokens<'_>,
        depth: usize,
        inside: bool,
    ) -> Result<Vec<Directive>, String> {
        if depth > DEEPEST {
            return Err(tokens.fault("blocks or includes are nested too deeply"));
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = tokens.line;
        while let Some(token) = tokens.next()? {
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = tokens.line;
                    }
                    words.push(word);
                }
                Token::End => {
                    let words = std::mem::take(&mut words);
                    if words.first().is_some_and(|word| word == "include") {
                        let pattern = words.get(1).map_or("", String::as_str);
                        directives.extend(self.include(pattern, tokens, depth)?);
                    } else {
                        directives.push(self.directive(words, None, tokens.path, line)?);
                    }
                }
                Token::Open => {
                    let words = std::mem::take(&mut words);
                    let block = if words.first().is_some_and(|word| word.ends_with("_by_lua_block")) {
                        tokens.skip_code()?;
                        Vec::new()
                    } else {
                        self.block(tokens, depth + 1, true)?
                    };
                    directives.push(self.directive(words, Some(block), tokens.path, line)?);
                }
                Token::Close if inside && words.is_empty() => return Ok(directives),
                Token::Close => return Err(tokens.fault("a brace closes nothing")),
            }
        }
        if inside || !words.is_empty() {
            return Err(tokens.fault("the file ends within a directive"));
        }
        Ok(directives)
    }

    fn directive(
        &mut self,
        words: Vec<String>,
        block: Option<Vec<Directive>>,
        path: &str,
        line: usize,
    ) -> Result<Directive, String> {
        self.directives_left = self.directives_left.saturating_sub(1);
        if words.is_empty() || self.directives_left == 0 {
            return Err(format!("{path} line {line}: a directive has no name, or there are too many"));
        }
        Ok(Directive { words, block, path: path.to_owned(), line })
    }

    fn include(
        &mut self,
        pattern: &str,
        tokens: &Tokens<'_>,
        depth: usize,
    ) -> Result<Vec<Directive>, String> {
        let name = pattern.rsplit('/').next().unwrap_or(pattern);
        if WITHOUT_TIMEOUTS.contains(&name) {
            return Ok(Vec::new());
        }
        let pattern =
            if pattern.starts_with('/') { pattern.to_owned() } else { format!("{}/{pattern}", self.folder) };
        let of_include = |why: String| format!("{} line {}: {why}", tokens.path, tokens.line);
        let paths = if pattern.contains('*') {
            self.files.list(&pattern).map_err(of_include)?
        } else {
            vec![pattern]
        };
        let mut directives = Vec::new();
        for path in paths {
            self.files_left =
                self.files_left.checked_sub(1).ok_or_else(|| tokens.fault("too many files are included"))?;
            let text = match self.files.open(&path) {
                Opened::Text(text) => text.into_owned(),
                Opened::Missing => return Err(of_include(format!("{path} is not there"))),
                Opened::Unseen(why) => return Err(of_include(why)),
            };
            directives.extend(self.file(&path, &text, depth + 1)?);
        }
        Ok(directives)
    }
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// nginx' lexer (nginx `src/core/ngx_conf_file.c`).
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    path: &'t str,
}

impl Tokens<'_> {
    fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn next(&mut self) -> Result<Option<Token>, String> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(c) if c.is_ascii_whitespace() => drop(self.take()),
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.take();
                    }
                }
                Some(';') => return Ok(self.take().map(|_| Token::End)),
                Some('{') => return Ok(self.take().map(|_| Token::Open)),
                Some('}') => return Ok(self.take().map(|_| Token::Close)),
                Some(quote @ ('"' | '\'')) => {
                    self.take();
                    return self.quoted(quote).map(|word| Some(Token::Word(word)));
                }
                Some(_) => return Ok(Some(Token::Word(self.word()))),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut word = String::new();
        while let Some(c) = self.take() {
            match c {
                '\\' => word.extend(self.take()),
                c if c == quote => return Ok(word),
                c => word.push(c),
            }
        }
        Err(self.fault("a quote is not closed"))
    }

    /// A brace behind a dollar sign belongs to a variable.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c == '{' && word.ends_with('$') {
                while let Some(c) = self.take() {
                    word.push(c);
                    if c == '}' {
                        break;
                    }
                }
                continue;
            }
            if c.is_ascii_whitespace() || matches!(c, ';' | '{') {
                break;
            }
            self.take();
            if c == '\\' { word.extend(self.take()) } else { word.push(c) }
        }
        word
    }

    /// Skips the code of a block whose braces are balanced outside of strings and comments.
    fn skip_code(&mut self) -> Result<(), String> {
        let mut open = 1;
        while let Some(c) = self.take() {
            match c {
                '{' => open += 1,
                '}' => open -= 1,
                '"' | '\'' => drop(self.quoted(c)?),
                '-' if self.peek() == Some('-') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.take();
                    }
                }
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
        Err(self.fault("a block of Lua is not closed"))
    }
}

/// Replaces variables in a template as the image's ENTRYPOINT does: those that the container sets, and no others
/// (docker-nginx `20-envsubst-on-templates.sh`).
///
/// # Errors
///
/// Why the value of one is unknown.
pub(super) fn envsubst(
    text: &str,
    variable: &dyn Fn(&str) -> Option<Result<String, String>>,
) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        replaced.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, behind) = braced.unwrap_or_else(|| after.split_at(end));
        match variable(name).transpose()? {
            Some(value) => {
                replaced.push_str(&value);
                rest = behind;
            }
            None => {
                replaced.push('$');
                rest = after;
            }
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{Given, told_with_file};
    use super::*;

    const FOLDER: Given<'_> = Given {
        files: &[("/etc/nginx/conf.d/site.conf", "server { listen 8443; keepalive_timeout 20s; }")],
        variables: &[],
        of_image: true,
    };

    fn ask(text: &str, port: Option<u16>) -> String {
        let query = Query { key: "keepalive_timeout", port };
        told_with_file(read(&FOLDER, "/etc/nginx/nginx.conf", text, query))
    }

    #[rstest]
    #[case::of_http(
        "events {}\nhttp {\n  keepalive_timeout 10s;\n  server { listen 8080; }\n}",
        Some(8080),
        "10s at nginx.conf:3"
    )]
    #[case::of_the_server(
        "http { keepalive_timeout 10s; server { listen 8080; keepalive_timeout 30; } }",
        Some(8080),
        "30 at nginx.conf:1"
    )]
    #[case::of_another_server(
        "http { server { listen 81; keepalive_timeout 30; } server { listen 80; } }",
        Some(80),
        "absent"
    )]
    #[case::all_servers_agree(
        "http { keepalive_timeout 5; server { listen 81; } server { listen 80; } }",
        None,
        "5 at nginx.conf:1"
    )]
    #[case::servers_differ(
        "http { server { listen 81; keepalive_timeout 5; } server { listen 80; } }",
        None,
        "? the servers in /etc/nginx/nginx.conf have different values of keepalive_timeout"
    )]
    #[case::two_of_one_port(
        "http { server { server_name a; keepalive_timeout 5; } server { server_name b; } }",
        Some(80),
        "? the servers in /etc/nginx/nginx.conf have different values of keepalive_timeout"
    )]
    #[case::no_such_port(
        "http { server { listen 80; } }",
        Some(8080),
        "? no server listens on port 8080 in /etc/nginx/nginx.conf"
    )]
    #[case::location(
        "http { server { location / { keepalive_timeout 5; } } }",
        Some(80),
        "? /etc/nginx/nginx.conf line 1: keepalive_timeout of one location is another"
    )]
    #[case::location_that_agrees(
        "http { keepalive_timeout 5; server { location / { keepalive_timeout 5; } } }",
        Some(80),
        "5 at nginx.conf:1"
    )]
    #[case::include(
        "http { keepalive_timeout 65; include conf.d/*.conf; }",
        Some(8443),
        "20s at site.conf:1"
    )]
    #[case::harmless_include(
        "http { include /etc/nginx/mime.types; keepalive_timeout 65; }",
        None,
        "65 at nginx.conf:1"
    )]
    #[case::unseen_include(
        "http { include extra.conf; }",
        None,
        "? /etc/nginx/nginx.conf line 1: /etc/nginx/extra.conf of the image may set it"
    )]
    #[case::header_timeout("http { keepalive_timeout 75s 60s; }", None, "75s at nginx.conf:1")]
    #[case::comment("http { # keepalive_timeout 1;\n }", None, "absent")]
    #[case::quotes(
        "http { keepalive_timeout '7s'; log_format main '$remote_addr {';\n }",
        None,
        "7s at nginx.conf:1"
    )]
    #[case::variable(
        "http { keepalive_timeout $x; }",
        None,
        "? /etc/nginx/nginx.conf line 1: the value of keepalive_timeout is not plain"
    )]
    #[case::variable_in_braces(
        "http { keepalive_timeout 4; server { return 301 https://${host}/x; } }",
        None,
        "4 at nginx.conf:1"
    )]
    #[case::lua(
        "http { init_by_lua_block { local x = '}' -- }\n y = {} }\n keepalive_timeout 3; }",
        None,
        "3 at nginx.conf:3"
    )]
    #[case::stream(
        "stream { server { listen 8080; } } http { keepalive_timeout 3; server {} }",
        Some(8080),
        "? no server listens on port 8080 in /etc/nginx/nginx.conf"
    )]
    #[case::address(
        "http { server { listen [::]:8080 default_server; keepalive_timeout 3; } }",
        Some(8080),
        "3 at nginx.conf:1"
    )]
    #[case::open("http { server {", None, "? /etc/nginx/nginx.conf line 1: the file ends within a directive")]
    #[case::template("{{ .Values.config }}", None, "? /etc/nginx/nginx.conf line 1: a brace closes nothing")]
    fn values(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(text, port), expected);
    }

    #[rstest]
    #[case::braces("keepalive_timeout ${KEEP};", "keepalive_timeout 9s;")]
    #[case::plain("keepalive_timeout $KEEP;", "keepalive_timeout 9s;")]
    #[case::other_variable("return 200 $host;", "return 200 $host;")]
    fn templates(#[case] text: &str, #[case] expected: &str) {
        let variable = |name: &str| (name == "KEEP").then(|| Ok("9s".to_owned()));
        assert_eq!(envsubst(text, &variable), Ok(expected.to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(text in "[a-z{};'\"#$\\\\ \n]{0,2000}") {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
