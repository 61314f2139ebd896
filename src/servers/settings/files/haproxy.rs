//! haproxy.cfg: how long the frontend of one port keeps an idle connection.
//!
//! Turns sections, their `defaults` and conditions into one [`Answer`] for the key `idle`: `timeout http-keep-alive`, else
//! `timeout http-request`, else `timeout client` (haproxy `h1_set_idle_expiration` and `h1_refresh_timeout` in
//! `src/mux_h1.c`; measured with 2.6.12), or the value `close` under `option httpclose`. Several configuration files are
//! left to others.

use std::collections::BTreeMap;

use super::{Answer, Entry, Files, Query};

/// How much text variables may bring.
const LONGEST: usize = 1 << 20;
/// What `option httpclose` is answered as.
const CLOSE: &str = "close";
/// How many sections one file may have.
const MOST_SECTIONS: usize = 1024;

/// The timeouts that act on an idle connection, the strongest first.
const TIMEOUTS: [&str; 3] = ["http-keep-alive", "http-request", "client"];
/// Sections in which nothing matters to us (haproxy `REGISTER_CONFIG_SECTION`).
const OTHER_SECTIONS: [&str; 21] = [
    "acme",
    "backend",
    "cache",
    "crt-list",
    "crt-store",
    "fcgi-app",
    "global",
    "healthcheck",
    "http-errors",
    "log-forward",
    "log-profile",
    "mailers",
    "namespace_list",
    "peers",
    "program",
    "resolvers",
    "ring",
    "traces",
    "userlist",
    "dynamic-update",
    "spoe-agent",
];
/// Prefixes of addresses that are no TCP port.
const NO_TCP: [&str; 10] =
    ["abns", "abnsz", "fd", "quic4", "quic6", "rhttp", "rev", "sockpair", "unix", "udp"];

/// Reads the idle timeout from the configuration at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader { files, path, variables: BTreeMap::new(), left: LONGEST, sections: Vec::new() };
    match reader.sections(text).and_then(|()| reader.answer(query.port)) {
        Ok(Some(entry)) => Answer::Set(entry),
        Ok(None) => Answer::Absent,
        Err(why) => Answer::Unknown(why),
    }
}

/// One of `defaults`, `frontend` and `listen`, or any other section.
#[derive(Default)]
struct Section {
    kind: String,
    name: String,
    line: usize,
    /// The `defaults` section from which it inherits.
    base: Option<usize>,
    /// What listens: a range of ports, or why nobody can tell it.
    binds: Vec<Result<(u16, u16), String>>,
    mode: Option<String>,
    /// The values of [`TIMEOUTS`].
    timeouts: [Option<Entry>; 3],
    /// The HTTP modes that it chooses (`true`) or takes back, in order.
    http_modes: Vec<(bool, Entry)>,
    /// Why nobody can tell what it says.
    doubt: Option<String>,
    disabled: bool,
}

/// A word of a line; `Err` where a variable in it is not known.
type Word = Result<String, String>;

struct Reader<'r> {
    files: &'r dyn Files,
    path: &'r str,
    /// What `setenv` sets; `None` where nobody can tell it.
    variables: BTreeMap<String, Option<String>>,
    left: usize,
    sections: Vec<Section>,
}

impl Reader<'_> {
    fn at(&self, line: usize, what: &str) -> String {
        format!("{} line {line}: {what}", self.path)
    }

    fn sections(&mut self, text: &str) -> Result<(), String> {
        let mut conditions = 0_usize;
        // A section began in the condition around this line; or in one that has ended, so that the line may belong to
        // another section.
        let (mut begun, mut lost) = (false, false);
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let words = self.words(text, line)?;
            let Some(first) = words.first() else { continue };
            let first = first.clone()?;
            match first.as_str() {
                ".if" => conditions += 1,
                ".endif" | ".else" | ".elif" => {
                    lost |= begun;
                    let ends = usize::from(first == ".endif");
                    conditions = conditions
                        .checked_sub(ends)
                        .ok_or_else(|| self.at(line, "a condition is not open"))?;
                }
                "defaults" | "frontend" | "listen" => {
                    let section = self.section(&first, &words, line)?;
                    self.begin(section, conditions, line)?;
                    (begun, lost) = (conditions > 0, false);
                }
                name if OTHER_SECTIONS.contains(&name) => {
                    let section = Section { kind: first.clone(), line, ..Section::default() };
                    self.begin(section, conditions, line)?;
                    (begun, lost) = (conditions > 0, false);
                }
                _ if matters(&words) && lost => {
                    return Err(self.at(line, "this may belong to a section that a condition leaves out"));
                }
                _ => self.line(text, &words, conditions, line)?,
            }
        }
        if conditions == 0 { Ok(()) } else { Err(format!("{}: a condition is not closed", self.path)) }
    }

    fn begin(&mut self, mut section: Section, conditions: usize, line: usize) -> Result<(), String> {
        if conditions > 0 {
            section.doubt = Some(self.at(line, "a condition may leave this section out"));
        }
        if self.sections.len() == MOST_SECTIONS {
            return Err(self.at(line, "there are too many sections"));
        }
        self.sections.push(section);
        Ok(())
    }

    /// `frontend NAME [from DEFAULTS]`; old releases take addresses in place of `from`.
    fn section(&self, kind: &str, words: &[Word], line: usize) -> Result<Section, String> {
        let mut rest = words.iter().skip(1).cloned().collect::<Result<Vec<String>, String>>()?;
        let mut from = None;
        if let [.., word, name] = rest.as_slice()
            && word == "from"
        {
            from = Some(name.clone());
            rest.truncate(rest.len() - 2);
        }
        let is_defaults = kind == "defaults";
        let named = |wanted: &str| {
            self.sections.iter().rposition(|section| section.kind == "defaults" && section.name == wanted)
        };
        let base = match &from {
            Some(from) => Some(
                named(from)
                    .ok_or_else(|| self.at(line, &format!("the defaults section {from} is not there")))?,
            ),
            None if is_defaults => None,
            None => self.sections.iter().rposition(|section| section.kind == "defaults"),
        };
        let mut rest = rest.into_iter();
        let name = rest.next().unwrap_or_default();
        let binds = rest.next().map(|addresses| ports(&addresses)).unwrap_or_default();
        Ok(Section { kind: kind.to_owned(), name, line, base, binds, ..Section::default() })
    }

    /// A line within a section.
    fn line(&mut self, text: &str, words: &[Word], conditions: usize, line: usize) -> Result<(), String> {
        let word = |index: usize| words.get(index).map_or("", |word| word.as_deref().unwrap_or("?"));
        let matters = matters(words);
        let in_global = self.sections.last().is_some_and(|section| section.kind == "global");
        if in_global && matches!(word(0), "setenv" | "unsetenv" | "resetenv") {
            return self.set_variable(words, conditions > 0, line);
        }
        let fault = matters.then(|| words.iter().find_map(|word| word.clone().err())).flatten();
        let doubt = (matters && conditions > 0).then(|| self.at(line, "a condition may leave this out"));
        let path = self.path;
        let Some(section) = self.sections.last_mut() else { return Ok(()) };
        if !matches!(section.kind.as_str(), "defaults" | "frontend" | "listen") {
            return Ok(());
        }
        section.doubt = section.doubt.take().or(doubt);
        if word(0) == "bind" {
            let addresses = words.get(1).cloned().unwrap_or_else(|| Ok(String::new()));
            match addresses {
                Ok(addresses) => section.binds.extend(ports(&addresses)),
                Err(why) => section.binds.push(Err(why)),
            }
            return Ok(());
        }
        section.doubt = section.doubt.take().or(fault);
        let entry =
            |value: &str| Entry { value: value.to_owned(), text: shown(text), path: path.to_owned(), line };
        match (word(0), word(1)) {
            ("disabled", _) => section.disabled |= conditions == 0,
            ("enabled", _) => section.disabled = false,
            ("mode", mode) => section.mode = Some(mode.to_owned()),
            // Releases before 2.1 call it so.
            ("clitimeout", value) => {
                section.timeouts = {
                    let [keep_alive, request, _] = std::mem::take(&mut section.timeouts);
                    [keep_alive, request, Some(entry(value))]
                }
            }
            ("timeout", name) => {
                for (timeout, _) in
                    section.timeouts.iter_mut().zip(TIMEOUTS).filter(|(_, known)| *known == name)
                {
                    *timeout = Some(entry(word(2)));
                }
            }
            ("option", mode) if is_http_mode(mode) => section.http_modes.push((true, entry(mode))),
            ("no", "option") if is_http_mode(word(2)) => section.http_modes.push((false, entry(word(2)))),
            ("default", "option") if is_http_mode(word(2)) => {
                section.doubt = Some(format!("{path} line {line}: the HTTP mode is not plain"));
            }
            _ => {}
        }
        Ok(())
    }

    /// `setenv` and its kin; `presetenv` yields to variables of the image, so that it tells nothing.
    fn set_variable(&mut self, words: &[Word], doubtful: bool, line: usize) -> Result<(), String> {
        let words = words.iter().cloned().collect::<Result<Vec<String>, String>>()?;
        match words.as_slice() {
            [keyword, name, value] if keyword == "setenv" => {
                self.variables.insert(name.clone(), (!doubtful).then(|| value.clone()));
                Ok(())
            }
            [keyword, names @ ..] if keyword == "unsetenv" => {
                self.variables.extend(names.iter().map(|name| (name.clone(), None)));
                Ok(())
            }
            _ => Err(self.at(line, "it changes variables")),
        }
    }

    /// Cuts a line into words (haproxy `parse_line` in `src/tools.c`).
    fn words(&mut self, text: &str, line: usize) -> Result<Vec<Word>, String> {
        let mut words: Vec<Word> = Vec::new();
        let mut word: Option<Word> = None;
        let mut quote = None;
        let mut chars = text.chars().peekable();
        let add = |word: &mut Option<Word>, piece: &str| {
            if let Ok(word) = word.get_or_insert_with(|| Ok(String::new())) {
                word.push_str(piece);
            }
        };
        while let Some(c) = chars.next() {
            let mut buffer = [0; 4];
            match (c, quote) {
                ('#', None) => break,
                ('"' | '\'', None) => {
                    quote = Some(c);
                    add(&mut word, "");
                }
                ('"' | '\'', Some(open)) if open == c => quote = None,
                ('\\', None | Some('"')) => match chars.next() {
                    Some('n') => add(&mut word, "\n"),
                    Some('r') => add(&mut word, "\r"),
                    Some('t') => add(&mut word, "\t"),
                    Some(c @ (' ' | '\\' | '#' | '\'' | '"' | '$')) => {
                        add(&mut word, c.encode_utf8(&mut buffer));
                    }
                    // Codes in hexadecimal digits stay as they are written.
                    other => {
                        add(&mut word, "\\");
                        add(&mut word, other.map_or("", |c| c.encode_utf8(&mut buffer)));
                    }
                },
                ('$', Some('"')) => match self.variable(&variable(&mut chars)) {
                    Ok(value) => {
                        self.left = self
                            .left
                            .checked_sub(value.len())
                            .ok_or_else(|| self.at(line, "variables bring too much text"))?;
                        add(&mut word, &value);
                    }
                    Err(why) => word = Some(Err(self.at(line, &why))),
                },
                (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
                (c, _) => add(&mut word, c.encode_utf8(&mut buffer)),
            }
        }
        if quote.is_some() {
            return Err(self.at(line, "a quote is not closed"));
        }
        words.extend(word);
        Ok(words)
    }

    /// The value of a variable: `NAME`, or `NAME-default`.
    fn variable(&self, name: &str) -> Result<String, String> {
        let name = name.split(['-', '[']).next().unwrap_or_default();
        let value = match self.variables.get(name) {
            Some(value) => value.clone(),
            None => self.files.variable(name).transpose()?,
        };
        value.ok_or_else(|| format!("nobody can tell the variable {name}"))
    }

    /// What the frontends of a port do with an idle connection.
    fn answer(&self, port: Option<u16>) -> Result<Option<Entry>, String> {
        let path = self.path;
        let open = || self.sections.iter().filter(|section| !section.disabled && section.kind != "defaults");
        let exact = |section: &&Section| match port {
            Some(port) => section.binds.iter().flatten().any(|(low, high)| (*low..=*high).contains(&port)),
            None => !section.binds.is_empty(),
        };
        let mut found: Vec<&Section> = open().filter(exact).collect();
        if let (true, Some(port)) = (found.is_empty(), port) {
            let unknown = open().flat_map(|section| &section.binds).find_map(|bind| bind.clone().err());
            return Err(unknown.unwrap_or_else(|| format!("no frontend has port {port} in {path}")));
        }
        let answers =
            found.drain(..).map(|section| self.of_section(section)).collect::<Result<Vec<_>, _>>()?;
        let mut answers = answers.into_iter();
        let Some(first) = answers.next() else { return Ok(None) };
        let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
        if answers.any(|other| value(&other) != value(&first)) {
            return Err(format!("the frontends in {path} have different idle timeouts"));
        }
        Ok(first)
    }

    /// A section, and the `defaults` behind it, the nearest first.
    fn chain<'s>(&'s self, section: &'s Section) -> impl Iterator<Item = &'s Section> + Clone {
        std::iter::successors(Some(section), |section| self.sections.get(section.base?))
    }

    fn of_section(&self, section: &Section) -> Result<Option<Entry>, String> {
        let chain = self.chain(section);
        if let Some(doubt) = chain.clone().find_map(|section| section.doubt.clone()) {
            return Err(doubt);
        }
        if chain.clone().any(|section| section.disabled) {
            return Err(self.at(section.line, "its defaults are disabled"));
        }
        if chain.clone().find_map(|section| section.mode.as_deref()) != Some("http") {
            return Err(self.at(section.line, "this section is not in mode http"));
        }
        if let Some(entry) = self.close(section) {
            return Ok(Some(entry));
        }
        let timeout = |place: usize| chain.clone().find_map(|section| section.timeouts.get(place)?.clone());
        let client = timeout(2);
        // Zero is the same as no timeout, and the next one acts.
        let Some(entry) = [timeout(0), timeout(1)].into_iter().flatten().find(|entry| !is_zero(&entry.value))
        else {
            return Ok(client);
        };
        let Some(client) = client.filter(|client| !is_zero(&client.value)) else { return Ok(Some(entry)) };
        match (milliseconds(&entry.value), milliseconds(&client.value)) {
            (Some(idle), Some(client)) if idle <= client => Ok(Some(entry)),
            (Some(_), Some(_)) => {
                // haproxy commit 2c9c2f9d7, released with 2.9.0 and brought to some older branches.
                Err(self
                    .at(entry.line, "timeout client is shorter, and releases before 2.9 may close after it"))
            }
            _ => Err(self.at(entry.line, "this time or timeout client is not plain")),
        }
    }

    /// `option httpclose`, where it is the last mode that is chosen; `no option` takes back a mode of its own name alone.
    fn close(&self, section: &Section) -> Option<Entry> {
        let mut chain: Vec<&Section> = self.chain(section).collect();
        chain.reverse();
        let mut mode: Option<&Entry> = None;
        for (chosen, entry) in chain.into_iter().flat_map(|section| &section.http_modes) {
            if *chosen {
                mode = Some(entry);
            } else {
                mode = mode.filter(|mode| mode.value != entry.value);
            }
        }
        let mode = mode.filter(|mode| matches!(mode.value.as_str(), "httpclose" | "forceclose"))?;
        Some(Entry { value: CLOSE.to_owned(), ..mode.clone() })
    }
}

/// Whether a line can change the answer.
fn matters(words: &[Word]) -> bool {
    let word = |index: usize| words.get(index).map_or("", |word| word.as_deref().unwrap_or("?"));
    match word(0) {
        "bind" | "mode" | "clitimeout" | "disabled" | "enabled" => true,
        "timeout" => TIMEOUTS.contains(&word(1)) || word(1) == "?",
        "option" => is_http_mode(word(1)),
        "no" | "default" => word(1) == "option" && is_http_mode(word(2)),
        _ => false,
    }
}

fn is_http_mode(option: &str) -> bool {
    matches!(
        option,
        "httpclose" | "forceclose" | "http-server-close" | "http-keep-alive" | "http-tunnel" | "?"
    )
}

fn is_zero(time: &str) -> bool {
    let unit = time.trim_start_matches('0');
    unit.len() < time.len() && matches!(unit, "" | "us" | "ms" | "s" | "m" | "h" | "d")
}

/// A time; a bare number counts milliseconds.
fn milliseconds(time: &str) -> Option<u64> {
    let end = time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len());
    let (number, unit) = time.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "" | "ms" => Some(number),
        "us" => Some(number.div_ceil(1000)),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// A line as it is written, without its comment and its indentation.
fn shown(text: &str) -> String {
    text.split(" #").next().unwrap_or(text).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of a variable behind a dollar sign, and what else stands within its braces.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut name = String::new();
    if chars.next_if_eq(&'{').is_some() {
        name.extend(chars.by_ref().take_while(|c| *c != '}'));
        return name;
    }
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
        name.push(c);
    }
    name
}

/// The ports of `:80,*:443`, `ipv4@:80`, `[::]:8000-8100`; nothing for what is no TCP port.
fn ports(addresses: &str) -> Vec<Result<(u16, u16), String>> {
    let mut ports = Vec::new();
    for address in addresses.split(',') {
        let kind = address.split_once('@').map_or("", |(kind, _)| kind);
        let kind = kind.rsplit('+').next().unwrap_or(kind);
        if address.starts_with('/') || NO_TCP.contains(&kind) {
            continue;
        }
        let behind = address.rsplit_once(':').map_or(address, |(_, port)| port);
        let (low, high) = behind.split_once('-').unwrap_or((behind, behind));
        ports.push(match (low.parse(), high.parse()) {
            (Ok(low), Ok(high)) => Ok((low, high)),
            _ => Err(format!("the port of bind {address} is not plain")),
        });
    }
    ports
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{Given, NOTHING, told};
    use super::*;

    const VARIABLES: Given<'_> = Given { variables: &[("KEEP", "9s")], ..NOTHING };

    fn ask(text: &str, port: Option<u16>) -> String {
        let answer = read(&VARIABLES, "/h.cfg", text, Query { key: "idle", port });
        told(answer, |Entry { value, line, text, .. }| format!("{value} at {line}: {text}"))
    }

    #[rstest]
    #[case::keep_alive(
        "timeout client 50s\n timeout http-keep-alive  4s # c\ntimeout http-request 6s",
        "4s at 6: timeout http-keep-alive 4s"
    )]
    #[case::request("timeout client 12s\ntimeout http-request 6s", "6s at 6: timeout http-request 6s")]
    #[case::longer_than_the_client(
        "timeout client 5s\nmaxconn 3\ntimeout http-keep-alive 6000",
        "? /h.cfg line 7: timeout client is shorter, and releases before 2.9 may close after it"
    )]
    #[case::as_long_as_the_client(
        "timeout client 5s\ntimeout http-request 5000",
        "5000 at 6: timeout http-request 5000"
    )]
    #[case::endless_client(
        "timeout client 0\ntimeout http-keep-alive 1m",
        "1m at 6: timeout http-keep-alive 1m"
    )]
    #[case::no_time(
        "timeout client 5s\ntimeout http-request soon",
        "? /h.cfg line 6: this time or timeout client is not plain"
    )]
    #[case::client("timeout client 5000\ntimeout server 9s", "5000 at 5: timeout client 5000")]
    #[case::nothing("", "absent")]
    #[case::later_wins("timeout client 5s\ntimeout client 7s", "7s at 6: timeout client 7s")]
    #[case::zero_is_unset("timeout http-keep-alive 0s\ntimeout client 7s", "7s at 6: timeout client 7s")]
    #[case::zero_of_the_client("timeout client 0", "0 at 5: timeout client 0")]
    #[case::close("option httpclose\ntimeout client 7s", "close at 5: option httpclose")]
    #[case::close_of_the_server("option http-server-close\ntimeout client 7s", "7s at 6: timeout client 7s")]
    #[case::close_is_overridden(
        "option httpclose\noption http-keep-alive\ntimeout client 7s",
        "7s at 7: timeout client 7s"
    )]
    #[case::close_is_taken_back("option forceclose\nno option forceclose", "absent")]
    #[case::other_is_taken_back(
        "option httpclose\nno option http-server-close",
        "close at 5: option httpclose"
    )]
    #[case::quoted("timeout client \"${KEEP}\"", "9s at 5: timeout client \"${KEEP}\"")]
    #[case::variable("timeout client \"$X\"", "? /h.cfg line 5: nobody can tell the variable X")]
    #[case::mode("mode tcp", "? /h.cfg line 2: this section is not in mode http")]
    #[case::condition(
        ".if defined(X)\ntimeout client 3s\n.endif",
        "? /h.cfg line 6: a condition may leave this out"
    )]
    #[case::other_condition(
        ".if defined(X)\nmaxconn 3\n.endif\ntimeout client 3s",
        "3s at 8: timeout client 3s"
    )]
    #[case::next_section("backend b\ntimeout client 3s\noption httpclose", "absent")]
    #[case::open_condition(".if 1", "? /h.cfg: a condition is not closed")]
    #[case::open_quote("acl x '", "? /h.cfg line 5: a quote is not closed")]
    fn lines(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(&format!("global\nfrontend web\nbind :80\nmode http\n{text}"), Some(80)), expected);
    }

    #[rstest]
    #[case::defaults(
        "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind *:80",
        Some(80),
        "5s at 3: timeout client 5s"
    )]
    #[case::weaker_of_its_own(
        "defaults\nmode http\ntimeout http-keep-alive 5s\nfrontend a\nbind *:80\ntimeout client 9s",
        Some(80),
        "5s at 3: timeout http-keep-alive 5s"
    )]
    #[case::of_its_own(
        "defaults\nmode http\ntimeout client 5s\nlisten a\nbind ipv4@:80 name x\ntimeout client 6s",
        Some(80),
        "6s at 6: timeout client 6s"
    )]
    #[case::last_defaults(
        "defaults\nmode http\ntimeout client 5s\ndefaults\nmode http\nfrontend a\nbind :80",
        Some(80),
        "absent"
    )]
    #[case::named(
        "defaults x\nmode http\ntimeout client 5s\ndefaults y\nmode http\nfrontend a from x\nbind :80",
        Some(80),
        "5s at 3: timeout client 5s"
    )]
    #[case::defaults_of_defaults(
        "defaults x\nmode http\ntimeout client 5s\ndefaults y from x\nfrontend a from y\nbind :80",
        Some(80),
        "5s at 3: timeout client 5s"
    )]
    #[case::missing_defaults(
        "frontend a from x",
        Some(80),
        "? /h.cfg line 1: the defaults section x is not there"
    )]
    #[case::close_of_defaults(
        "defaults\nmode http\noption httpclose\nfrontend a\nbind :80\nfrontend b\nno option httpclose\nbind :81",
        Some(81),
        "absent"
    )]
    #[case::list_and_range("frontend a\nmode http\nbind :80,[::]:8000-8010", Some(8005), "absent")]
    #[case::old_addresses(
        "listen a 0.0.0.0:80\nmode http\nclitimeout 5000",
        Some(80),
        "5000 at 3: clitimeout 5000"
    )]
    #[case::socket(
        "frontend a\nbind unix@/x:80\nbind quic4@:80",
        Some(80),
        "? no frontend has port 80 in /h.cfg"
    )]
    #[case::disabled("frontend a\ndisabled\nbind :80", Some(80), "? no frontend has port 80 in /h.cfg")]
    #[case::port_of_a_variable(
        "frontend a\nbind \":${PORT}\"",
        Some(80),
        "? /h.cfg line 2: nobody can tell the variable PORT"
    )]
    #[case::set_variable(
        "global\nsetenv PORT 80\nsetenv X 3s\nfrontend a\nmode http\nbind \":${PORT}\"\ntimeout client \"$X\"",
        Some(80),
        "3s at 7: timeout client \"$X\""
    )]
    #[case::all(
        "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind :80\nfrontend b\nbind :81",
        None,
        "5s at 3: timeout client 5s"
    )]
    #[case::differ(
        "defaults\nmode http\ntimeout client 5s\nfrontend a\nbind :80\nfrontend b\nbind :81\ntimeout client 6s",
        None,
        "? the frontends in /h.cfg have different idle timeouts"
    )]
    #[case::section_in_a_condition(
        ".if 1\nfrontend a\nmode http\nbind :80\n.endif",
        Some(80),
        "? /h.cfg line 2: a condition may leave this section out"
    )]
    #[case::line_behind_such_a_section(
        "frontend b\nmode http\nbind :81\n.if 1\nfrontend a\n.endif\ntimeout client 6s",
        Some(81),
        "? /h.cfg line 7: this may belong to a section that a condition leaves out"
    )]
    #[case::other_section_in_a_condition(
        ".if 1\nfrontend a\nbind :80\n.endif\nfrontend b\nmode http\nbind :81\ntimeout client 6s",
        Some(81),
        "6s at 8: timeout client 6s"
    )]
    fn sections(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(text, port), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(
            text in "([a-z:0\"'${}\\\\ \n]|timeout |client|\nfrontend |\ndefaults |bind |\n.if|\n.endif|from ){0,400}"
        ) {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
