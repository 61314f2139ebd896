//! httpd.conf: the keep-alive timeout of one port's virtual hosts, with inheritance, conditions and includes.
//!
//! Turns the lines into what the main server and each virtual host set, and a key and a port into an [`Answer`].
//! `KeepAlive Off` is answered as the value `each-response`. Measured with httpd 2.4.71. What a number or a zero means, and which file is read, is
//! left to others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Entry, Files, Opened, Query};

/// Deeper than this nobody nests includes.
const DEEPEST: usize = 16;
/// How long all files together may be.
const MOST_BYTES: usize = 1 << 20;
/// How many files one configuration may include.
const MOST_FILES: usize = 128;
/// How many lines are read in all files together.
const MOST_LINES: usize = 100_000;
/// How long a line may get by the variables in it.
const LONGEST_LINE: usize = 8 << 10;
/// What `KeepAlive Off` means in a catalog entry.
const OFF: &str = "each-response";

/// Files of httpd's `docs/conf/extra` without any keep-alive directive and without virtual hosts.
const WITHOUT_TIMEOUTS: [&str; 9] = [
    "httpd-autoindex.conf",
    "httpd-dav.conf",
    "httpd-info.conf",
    "httpd-languages.conf",
    "httpd-manual.conf",
    "httpd-mpm.conf",
    "httpd-multilang-errordoc.conf",
    "httpd-userdir.conf",
    "proxy-html.conf",
];
/// Modules that are part of every httpd.
const BUILT_IN: [&str; 6] = ["core.c", "http_core.c", "mod_so.c", "core_module", "http_module", "so_module"];
/// Words of the patterns of old browsers in the stock `setenvif.conf`; no probe and no proxy has such a name.
const OLD_BROWSERS: [&str; 5] = ["Mozilla", "MSIE", "RealPlayer", "Java", "JDK"];

/// Reads `key` from the configuration whose main file is at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader {
        files,
        key: query.key,
        root: default_root(path),
        variables: BTreeMap::new(),
        defined: BTreeSet::new(),
        modules: BUILT_IN.iter().map(ToString::to_string).collect(),
        scopes: vec![Scope::default()],
        listens: Vec::new(),
        files_left: MOST_FILES,
        bytes_left: MOST_BYTES,
        lines_left: MOST_LINES,
    };
    let read = reader.file(path, text, &Context::default(), 0);
    match read.and_then(|()| reader.answer(path, query.port)) {
        Ok(Some(entry)) => Answer::Set(entry),
        Ok(None) => Answer::Absent,
        Err(why) => Answer::Unknown(why),
    }
}

/// `ServerRoot` where the file does not set it: of the layouts of httpd itself and of Debian.
fn default_root(path: &str) -> Option<String> {
    path.strip_suffix("/conf/httpd.conf")
        .or_else(|| path.strip_suffix("/apache2.conf"))
        .map(ToOwned::to_owned)
}

/// What one server sets: a value, or why nobody can tell it.
#[derive(Default)]
struct Scope {
    addresses: Vec<String>,
    /// A condition may leave it out.
    doubtful: bool,
    timeout: Option<Result<Entry, String>>,
    keep_alive: Option<Result<Entry, String>>,
}

/// Where a line stands.
#[derive(Clone, Default)]
struct Context {
    /// The server: 0 is the main one.
    scope: usize,
    /// The condition around it of which nobody can tell whether it holds.
    doubt: Option<String>,
    /// A condition around it does not hold.
    skipped: bool,
    /// It is within a section of some paths, such as `<Directory>`, where the directives are not allowed.
    inner: bool,
    /// It is within a macro, which may be used anywhere.
    in_macro: bool,
}

struct Reader<'r> {
    files: &'r dyn Files,
    key: &'r str,
    root: Option<String>,
    /// The variables that `Define` sets; `None` where nobody can tell the value.
    variables: BTreeMap<String, Option<String>>,
    defined: BTreeSet<String>,
    modules: BTreeSet<String>,
    scopes: Vec<Scope>,
    /// The ports of all `Listen`; `None` where one is not plain.
    listens: Vec<Option<u16>>,
    files_left: usize,
    bytes_left: usize,
    lines_left: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, text: &str, around: &Context, depth: usize) -> Result<(), String> {
        let mut context = around.clone();
        let mut sections: Vec<(String, Context)> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            let at = Spot { path, line: index + 1 };
            let mut line = first.trim_end_matches('\r').to_owned();
            while line.ends_with('\\') {
                line.pop();
                self.count(&at)?;
                let Some((_, next)) = lines.next() else { break };
                line.push_str(next.trim_end_matches('\r'));
            }
            self.count(&at)?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("</") {
                let name = name.trim_end_matches('>').trim();
                match sections.pop() {
                    Some((open, before)) if open.eq_ignore_ascii_case(name) => context = before,
                    Some(_) | None => return Err(at.says("a section is closed that is not open")),
                }
            } else if let Some(section) = line.strip_prefix('<') {
                let section = section.strip_suffix('>').ok_or_else(|| at.says("a section has no >"))?;
                let (name, rest) = split(section);
                let inside = self.section(name, rest, &context, &at);
                sections.push((name.to_owned(), std::mem::replace(&mut context, inside)));
            } else if !context.skipped {
                let (name, rest) = split(line);
                self.directive(name, rest, &context, &at, depth)?;
            }
        }
        match sections.pop() {
            Some((name, _)) => Err(format!("{path}: <{name}> is not closed")),
            None => Ok(()),
        }
    }

    fn count(&mut self, at: &Spot<'_>) -> Result<(), String> {
        self.lines_left =
            self.lines_left.checked_sub(1).ok_or_else(|| at.says("there are too many lines"))?;
        Ok(())
    }

    /// The context within a section.
    fn section(&mut self, name: &str, rest: &str, around: &Context, at: &Spot<'_>) -> Context {
        let mut context = around.clone();
        if context.skipped {
            return context;
        }
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "ifdefine" | "ifmodule" => {
                let (negated, word) = match rest.strip_prefix('!') {
                    Some(word) => (true, word),
                    None => (false, rest),
                };
                let word = words(word).into_iter().next().unwrap_or_default();
                let known = if lower == "ifdefine" { &self.defined } else { &self.modules };
                match known.contains(&word) {
                    true if negated => context.skipped = true,
                    true => {}
                    false => context.doubt = Some(format!("<{name} {rest}>")),
                }
            }
            "ifversion" | "iffile" | "ifdirective" | "ifsection" => {
                context.doubt = Some(format!("<{name} {rest}>"));
            }
            "macro" => context.in_macro = true,
            "virtualhost" => {
                // An address whose variable nobody can tell stays as it is written; it fits every port.
                let addresses = words(&self.expand(rest, at).unwrap_or_else(|_| rest.to_owned()));
                context.scope = self.scopes.len();
                let doubtful = context.doubt.is_some() || context.in_macro;
                self.scopes.push(Scope { addresses, doubtful, ..Scope::default() });
            }
            _ => context.inner = true,
        }
        context
    }

    fn directive(
        &mut self,
        name: &str,
        rest: &str,
        context: &Context,
        at: &Spot<'_>,
        depth: usize,
    ) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        let doubtful = context.doubt.is_some() || context.in_macro;
        match lower.as_str() {
            "keepalive" => self.set(name, rest, context, at)?,
            _ if name.eq_ignore_ascii_case(self.key) => self.set(name, rest, context, at)?,
            "include" | "includeoptional" if !context.inner => {
                if context.in_macro {
                    return Err(at.says("a macro includes files"));
                }
                self.include(rest, lower == "includeoptional", context, at, depth)?;
            }
            "listen" => {
                let port =
                    self.expand(rest, at).ok().and_then(|rest| words(&rest).first().and_then(|a| port_of(a)));
                self.listens.push(port.filter(|_| !context.in_macro));
            }
            "serverroot" => {
                let root = words(&self.expand(rest, at)?).into_iter().next();
                self.root = root.filter(|root| root.starts_with('/') && !doubtful);
            }
            "define" => {
                let value = self.expand(rest, at).ok();
                let mut parts = words(value.as_deref().unwrap_or(rest)).into_iter();
                let variable = parts.next().unwrap_or_default();
                if !doubtful {
                    self.defined.insert(variable.clone());
                }
                match parts.next() {
                    Some(word) => {
                        drop(self.variables.insert(variable, value.map(|_| word).filter(|_| !doubtful)));
                    }
                    None if doubtful => drop(self.variables.insert(variable, None)),
                    None => {}
                }
            }
            "undefine" => {
                let variable = words(rest).into_iter().next().unwrap_or_default();
                self.defined.remove(&variable);
                self.variables.insert(variable, None);
            }
            "loadmodule" if !doubtful => {
                let mut parts = words(rest).into_iter();
                self.modules.extend(parts.next());
                let file = parts.next().unwrap_or_default();
                let stem = file.rsplit('/').next().and_then(|base| base.strip_suffix(".so"));
                self.modules.extend(stem.map(|stem| format!("{stem}.c")));
            }
            "browsermatch" | "browsermatchnocase" if OLD_BROWSERS.iter().any(|word| rest.contains(word)) => {}
            _ if rest.contains("nokeepalive") => {
                return Err(at.says("some requests do without keep-alive (nokeepalive)"));
            }
            _ => {}
        }
        Ok(())
    }

    /// One of the two directives that matter.
    fn set(&mut self, name: &str, rest: &str, context: &Context, at: &Spot<'_>) -> Result<(), String> {
        if context.inner {
            return Err(at.says(&format!("{name} is not allowed here")));
        }
        if context.in_macro {
            return Err(at.says(&format!("a macro sets {name}")));
        }
        let Some(scope) = self.scopes.get(context.scope) else { return Ok(()) };
        let is_timeout = name.eq_ignore_ascii_case(self.key);
        let before = if is_timeout { &scope.timeout } else { &scope.keep_alive };
        let entry = self.expand(rest, at).and_then(|expanded| match words(&expanded).as_slice() {
            [value] => Ok(Entry {
                value: value.clone(),
                text: format!("{name} {rest}"),
                path: at.path.to_owned(),
                line: at.line,
            }),
            _ => Err(at.says(&format!("the value of {name} is not plain"))),
        });
        let entry = match (entry, &context.doubt) {
            (Ok(entry), Some(condition)) => match before {
                Some(Ok(before)) if before.value == entry.value => Ok(before.clone()),
                _ => Err(at.says(&format!("{name} stands in {condition}, which may not hold"))),
            },
            (entry, _) => entry,
        };
        if let Some(scope) = self.scopes.get_mut(context.scope) {
            *(if is_timeout { &mut scope.timeout } else { &mut scope.keep_alive }) = Some(entry);
        }
        Ok(())
    }

    fn include(
        &mut self,
        rest: &str,
        optional: bool,
        context: &Context,
        at: &Spot<'_>,
        depth: usize,
    ) -> Result<(), String> {
        if depth >= DEEPEST {
            return Err(at.says("includes are nested too deeply"));
        }
        let pattern = words(&self.expand(rest, at)?).into_iter().next().unwrap_or_default();
        let pattern = match &self.root {
            _ if pattern.starts_with('/') => pattern,
            Some(root) => format!("{}/{pattern}", root.trim_end_matches('/')),
            None => return Err(at.says("ServerRoot, where included files stand, is not known")),
        };
        let pattern = if pattern.ends_with('/') { format!("{pattern}*") } else { pattern };
        let (folder, base) = pattern.rsplit_once('/').unwrap_or_default();
        if folder.contains('*') || pattern.contains(['?', '[', '$']) {
            return Err(at.says("the pattern of the included files is not plain"));
        }
        let paths = if base.contains('*') {
            self.files.list(&pattern).map_err(|why| at.says(&why))?
        } else {
            vec![pattern]
        };
        for path in paths {
            self.files_left =
                self.files_left.checked_sub(1).ok_or_else(|| at.says("too many files are included"))?;
            let base = path.rsplit('/').next().unwrap_or_default();
            let text = match self.files.open(&path) {
                Opened::Text(text) => text.into_owned(),
                Opened::Missing if optional => continue,
                Opened::Missing | Opened::Unseen(_) if WITHOUT_TIMEOUTS.contains(&base) => continue,
                Opened::Missing => return Err(at.says(&format!("{path} is not there"))),
                Opened::Unseen(why) => return Err(at.says(&why)),
            };
            let left = self.bytes_left.checked_sub(text.len());
            self.bytes_left = left.ok_or_else(|| at.says("the included files are too long"))?;
            self.file(&path, &text, context, depth + 1)?;
        }
        Ok(())
    }

    /// Puts variables in: those of `Define`, then those of the container (httpd `ap_resolve_env`).
    fn expand(&self, text: &str, at: &Spot<'_>) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else { break };
            let value = match self.variables.get(name) {
                Some(value) => value.clone(),
                None => self.files.variable(name).transpose().map_err(|why| at.says(&why))?,
            };
            expanded.push_str(before);
            expanded
                .push_str(&value.ok_or_else(|| at.says(&format!("nobody can tell the variable {name}")))?);
            if expanded.len() > LONGEST_LINE {
                return Err(at.says("the line is too long"));
            }
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The value for a port: `None` where neither its virtual hosts nor the main server set one.
    fn answer(&self, path: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
        if let Some(port) = port
            && !self.listens.is_empty()
            && !self.listens.contains(&None)
            && !self.listens.contains(&Some(port))
        {
            return Err(format!("no Listen has port {port} in {path}"));
        }
        let mut answers = self.candidates(port).into_iter().map(|scope| self.of_scope(scope));
        let Some(first) = answers.next().transpose()? else { return Ok(None) };
        for other in answers {
            if other?.map(|entry| entry.value) != first.as_ref().map(|entry| entry.value.clone()) {
                return Err(format!("the virtual hosts in {path} have different values of {}", self.key));
            }
        }
        Ok(first)
    }

    /// The servers that may answer on a port: the virtual hosts of its number, else those of all ports, else the main
    /// server; and those of single addresses. For no port in particular: all.
    fn candidates(&self, port: Option<u16>) -> Vec<&Scope> {
        let Some(port) = port else { return self.scopes.iter().collect() };
        let best = |scope: &Scope| match scope.addresses.iter().map(|address| fit(address, port)).min() {
            Some(Fit::Port | Fit::AnyPort) if scope.doubtful => Fit::Perhaps,
            best => best.unwrap_or(Fit::No),
        };
        let fits = |wanted: Fit| {
            self.scopes.iter().skip(1).filter(move |scope| best(scope) == wanted).collect::<Vec<_>>()
        };
        let mut candidates = fits(Fit::Port);
        if candidates.is_empty() {
            candidates = fits(Fit::AnyPort);
        }
        if candidates.is_empty() {
            candidates.extend(self.scopes.first());
        }
        candidates.extend(fits(Fit::Perhaps));
        candidates
    }

    /// What a server does: what it sets itself, else what the main server sets.
    fn of_scope(&self, scope: &Scope) -> Result<Option<Entry>, String> {
        let main = self.scopes.first();
        let keep_alive = scope.keep_alive.as_ref().or_else(|| main?.keep_alive.as_ref());
        match keep_alive.cloned().transpose()? {
            Some(entry) if entry.value.eq_ignore_ascii_case("off") => {
                return Ok(Some(Entry { value: OFF.to_owned(), ..entry }));
            }
            Some(entry) if !entry.value.eq_ignore_ascii_case("on") => {
                return Err(format!("{} line {}: KeepAlive is neither On nor Off", entry.path, entry.line));
            }
            _ => {}
        }
        scope.timeout.as_ref().or_else(|| main?.timeout.as_ref()).cloned().transpose()
    }
}

/// How well a virtual host fits a port, the best first.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Fit {
    /// All addresses, and this port.
    Port,
    /// All addresses and all ports.
    AnyPort,
    /// One address, or one that is not plain.
    Perhaps,
    No,
}

/// Whether an address of `<VirtualHost>` has a port.
fn fit(address: &str, port: u16) -> Fit {
    let (host, number) = match address.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => (host, number),
        _ => (address, "*"),
    };
    let every_host = matches!(host, "*" | "0.0.0.0" | "[::]") || host.eq_ignore_ascii_case("_default_");
    match number.parse::<u16>() {
        Ok(number) if number != port => Fit::No,
        Ok(_) if every_host => Fit::Port,
        Err(_) if every_host && number == "*" => Fit::AnyPort,
        Ok(_) | Err(_) => Fit::Perhaps,
    }
}

/// The port of `8080`, `127.0.0.1:80` or `[::]:8080`.
fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').map_or(address, |(_, port)| port).parse().ok()
}

/// A line of a file.
struct Spot<'s> {
    path: &'s str,
    line: usize,
}

impl Spot<'_> {
    fn says(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }
}

/// The first word, and the rest.
fn split(line: &str) -> (&str, &str) {
    let (name, rest) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    (name, rest.trim())
}

/// Words, perhaps in quotes (httpd `ap_getword_conf`).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        let Some(first) = chars.peek().copied() else { return words };
        let quote = matches!(first, '"' | '\'').then(|| chars.next()).flatten();
        let mut word = String::new();
        while let Some(c) = chars.next() {
            match quote {
                Some(quote) if c == quote => break,
                Some(quote) if c == '\\' && chars.peek() == Some(&quote) => word.extend(chars.next()),
                None if c.is_ascii_whitespace() => break,
                _ => word.push(c),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{Given, told};
    use super::*;

    const FOLDER: Given<'_> = Given {
        files: &[
            ("/opt/conf/sites/site.conf", "<VirtualHost *:8443>\nKeepAliveTimeout 20\n</VirtualHost>"),
            ("/opt/conf/off.conf", "KeepAlive Off"),
        ],
        variables: &[("KEEP", "9")],
        of_image: true,
    };

    fn ask(text: &str, port: Option<u16>) -> String {
        let answer = read(&FOLDER, "/opt/conf/httpd.conf", text, Query { key: "KeepAliveTimeout", port });
        told(answer, |Entry { value, path, line, text }| {
            format!("{value} at {}:{line}: {text}", path.rsplit('/').next().unwrap())
        })
    }

    #[rstest]
    #[case::main("Listen 80\nKeepAliveTimeout 5", Some(80), "5 at httpd.conf:2: KeepAliveTimeout 5")]
    #[case::later_wins(
        "KeepAliveTimeout 5\nkeepalivetimeout 7",
        None,
        "7 at httpd.conf:2: keepalivetimeout 7"
    )]
    #[case::milliseconds("KeepAliveTimeout 500ms", None, "500ms at httpd.conf:1: KeepAliveTimeout 500ms")]
    #[case::quotes("KeepAliveTimeout \"5\"", None, "5 at httpd.conf:1: KeepAliveTimeout \"5\"")]
    #[case::continued("KeepAliveTimeout \\\n 5", None, "5 at httpd.conf:1: KeepAliveTimeout 5")]
    #[case::comment("# KeepAliveTimeout 5", None, "absent")]
    #[case::off("KeepAliveTimeout 5\nKeepAlive off", None, "each-response at httpd.conf:2: KeepAlive off")]
    #[case::on("KeepAliveTimeout 5\nKeepAlive On", None, "5 at httpd.conf:1: KeepAliveTimeout 5")]
    #[case::neither(
        "KeepAlive maybe",
        None,
        "? /opt/conf/httpd.conf line 1: KeepAlive is neither On nor Off"
    )]
    #[case::no_value(
        "KeepAliveTimeout",
        None,
        "? /opt/conf/httpd.conf line 1: the value of KeepAliveTimeout is not plain"
    )]
    #[case::of_the_host(
        "KeepAliveTimeout 5\n<VirtualHost *:8080>\nKeepAliveTimeout 30\n</VirtualHost>",
        Some(8080),
        "30 at httpd.conf:3: KeepAliveTimeout 30"
    )]
    #[case::inherited(
        "<VirtualHost *:8080>\n</VirtualHost>\nKeepAliveTimeout 5",
        Some(8080),
        "5 at httpd.conf:3: KeepAliveTimeout 5"
    )]
    #[case::of_another_host("<VirtualHost *:81>\nKeepAliveTimeout 3\n</VirtualHost>", Some(80), "absent")]
    #[case::host_off(
        "<VirtualHost _default_:81>\nKeepAlive Off\n</VirtualHost>",
        Some(81),
        "each-response at httpd.conf:2: KeepAlive Off"
    )]
    #[case::host_on_again(
        "KeepAlive Off\n<VirtualHost *:81>\nKeepAlive On\n</VirtualHost>",
        Some(81),
        "absent"
    )]
    #[case::any_port(
        "<VirtualHost *>\nKeepAliveTimeout 3\n</VirtualHost>",
        Some(81),
        "3 at httpd.conf:2: KeepAliveTimeout 3"
    )]
    #[case::port_before_any_port(
        "<VirtualHost *:*>\nKeepAliveTimeout 3\n</VirtualHost>\n<VirtualHost *:81>\n</VirtualHost>",
        Some(81),
        "absent"
    )]
    #[case::one_address(
        "<VirtualHost 10.0.0.1:81>\nKeepAliveTimeout 3\n</VirtualHost>",
        Some(81),
        "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
    )]
    #[case::hosts_differ(
        "<VirtualHost *:81>\nKeepAliveTimeout 3\n</VirtualHost>\n<VirtualHost *:81>\n</VirtualHost>",
        Some(81),
        "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
    )]
    #[case::no_such_port(
        "Listen 80\nListen [::]:81 http",
        Some(82),
        "? no Listen has port 82 in /opt/conf/httpd.conf"
    )]
    #[case::ports_of_variables(
        "Listen ${PORT}\nKeepAliveTimeout 3",
        Some(82),
        "3 at httpd.conf:2: KeepAliveTimeout 3"
    )]
    #[case::port_of_a_variable(
        "<VirtualHost *:${PORT}>\nKeepAliveTimeout 3\n</VirtualHost>",
        Some(82),
        "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
    )]
    #[case::include("Include conf/sites/*.conf", Some(8443), "20 at site.conf:2: KeepAliveTimeout 20")]
    #[case::include_of_a_folder("Include conf/sites/", Some(8443), "20 at site.conf:2: KeepAliveTimeout 20")]
    #[case::include_in_a_host(
        "<VirtualHost *:81>\nIncludeOptional /opt/conf/off.conf\n</VirtualHost>",
        Some(81),
        "each-response at off.conf:1: KeepAlive Off"
    )]
    #[case::server_root(
        "ServerRoot /srv\nInclude x.conf",
        None,
        "? /opt/conf/httpd.conf line 2: /srv/x.conf of the image may set it"
    )]
    #[case::unseen_include(
        "Include conf/x.conf",
        None,
        "? /opt/conf/httpd.conf line 1: /opt/conf/x.conf of the image may set it"
    )]
    #[case::harmless_include(
        "Include conf/extra/httpd-mpm.conf\nKeepAliveTimeout 4",
        None,
        "4 at httpd.conf:2: KeepAliveTimeout 4"
    )]
    #[case::pattern(
        "Include conf/*/x.conf",
        None,
        "? /opt/conf/httpd.conf line 1: the pattern of the included files is not plain"
    )]
    #[case::loaded(
        "LoadModule ssl_module modules/mod_ssl.so\n<IfModule mod_ssl.c>\nKeepAliveTimeout 4\n</IfModule>",
        None,
        "4 at httpd.conf:3: KeepAliveTimeout 4"
    )]
    #[case::not_loaded(
        "LoadModule ssl_module modules/mod_ssl.so\n<IfModule !ssl_module>\nKeepAliveTimeout 4\n<IfDefine X>\n</IfDefine>\n</IfModule>",
        None,
        "absent"
    )]
    #[case::perhaps_loaded(
        "<IfModule mod_x.c>\nKeepAliveTimeout 4\n</IfModule>",
        None,
        "? /opt/conf/httpd.conf line 2: KeepAliveTimeout stands in <IfModule mod_x.c>, which may not hold"
    )]
    #[case::condition_without_effect(
        "KeepAliveTimeout 4\n<IfModule mod_x.c>\nKeepAliveTimeout 4\n</IfModule>",
        None,
        "4 at httpd.conf:1: KeepAliveTimeout 4"
    )]
    #[case::overwritten_condition(
        "<IfDefine X>\nKeepAliveTimeout 5\n</IfDefine>\nKeepAliveTimeout 4",
        None,
        "4 at httpd.conf:4: KeepAliveTimeout 4"
    )]
    #[case::condition_of_another_port(
        "<IfModule mod_x.c>\n<VirtualHost *:81>\nKeepAliveTimeout 4\n</VirtualHost>\n</IfModule>",
        Some(80),
        "absent"
    )]
    #[case::conditional_host_beside_another(
        "<VirtualHost *:*>\nKeepAliveTimeout 3\n</VirtualHost>\n<IfModule x>\n<VirtualHost *:81>\n</VirtualHost>\n</IfModule>",
        Some(81),
        "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
    )]
    #[case::include_in_a_condition(
        "<IfVersion >= 2.4>\nInclude conf/off.conf\n</IfVersion>",
        None,
        "? /opt/conf/off.conf line 1: KeepAlive stands in <IfVersion >= 2.4>, which may not hold"
    )]
    #[case::defined(
        "Define FAST 3\n<IfDefine FAST>\nKeepAliveTimeout ${FAST}\n</IfDefine>",
        None,
        "3 at httpd.conf:3: KeepAliveTimeout ${FAST}"
    )]
    #[case::variable("KeepAliveTimeout ${KEEP}", None, "9 at httpd.conf:1: KeepAliveTimeout ${KEEP}")]
    #[case::other_variable(
        "KeepAliveTimeout ${X}",
        None,
        "? /opt/conf/httpd.conf line 1: nobody can tell the variable X"
    )]
    #[case::in_a_macro(
        "<Macro M $x>\nKeepAliveTimeout $x\n</Macro>",
        None,
        "? /opt/conf/httpd.conf line 2: a macro sets KeepAliveTimeout"
    )]
    #[case::in_a_folder(
        "<Directory />\nKeepAlive Off\n</Directory>",
        None,
        "? /opt/conf/httpd.conf line 2: KeepAlive is not allowed here"
    )]
    #[case::old_browsers("BrowserMatch \"Mozilla/2\" nokeepalive", None, "absent")]
    #[case::no_keep_alive(
        "SetEnv nokeepalive 1",
        None,
        "? /opt/conf/httpd.conf line 1: some requests do without keep-alive (nokeepalive)"
    )]
    #[case::open("<VirtualHost *:80>", None, "? /opt/conf/httpd.conf: <VirtualHost> is not closed")]
    #[case::closed(
        "</VirtualHost>",
        None,
        "? /opt/conf/httpd.conf line 1: a section is closed that is not open"
    )]
    #[case::template("<IfModule", None, "? /opt/conf/httpd.conf line 1: a section has no >")]
    fn values(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(text, port), expected);
    }

    #[test]
    fn growing_variables_end_soon() {
        let text = "Define A aaaaaaaa\n".to_owned() + &"Define A ${A}${A}\n".repeat(10_000);
        assert_eq!(ask(&text, None), "absent");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(text in "([a-z<>\"'${}\\\\ \n]|KeepAlive|Include |Define |</?VirtualHost|</?IfModule ){0,400}") {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
