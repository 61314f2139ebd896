//! The sections of haproxy.cfg and their settings.
//!
//! Turns lines and conditions into sections. `haproxy` applies inheritance.

use super::{
    super::Entry,
    Reader, TIMEOUTS,
    words::{Word, shown},
};

/// The maximum number of sections in a file.
const MAX_SECTIONS: usize = 1024;
/// Sections without relevant settings (haproxy `REGISTER_CONFIG_SECTION`).
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
/// Prefixes of addresses that are not TCP ports.
const NO_TCP: [&str; 10] =
    ["abns", "abnsz", "fd", "quic4", "quic6", "rhttp", "rev", "sockpair", "unix", "udp"];

/// A section `defaults`, `frontend` or `listen`, or any other section.
#[derive(Default)]
pub(super) struct Section {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) line: usize,
    /// The `defaults` section that it inherits from.
    pub(super) base: Option<usize>,
    /// The port ranges of its listeners, or why they are unknown.
    pub(super) binds: Vec<Result<(u16, u16), String>>,
    pub(super) mode: Option<String>,
    /// The values of [`TIMEOUTS`].
    pub(super) timeouts: [Option<Entry>; 3],
    /// The HTTP modes that it enables (`true`) or disables, in order.
    pub(super) http_modes: Vec<(bool, Entry)>,
    /// Why its content is unknown.
    pub(super) doubt: Option<String>,
    pub(super) disabled: bool,
}

impl Reader<'_> {
    /// Reads all sections of the file.
    pub(super) fn sections(&mut self, text: &str) -> Result<(), String> {
        let mut conditions = 0_usize;
        // A section began in the condition around this line, or in one that has ended, so the line may belong to
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
                    conditions =
                        conditions.checked_sub(ends).ok_or_else(|| self.at(line, "no condition is open"))?;
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
                    return Err(self.at(line, "this may belong to a section that a condition excludes"));
                }
                _ => self.line(text, &words, conditions, line)?,
            }
        }
        if conditions == 0 { Ok(()) } else { Err(format!("{}: a condition is not closed", self.path)) }
    }

    fn begin(&mut self, mut section: Section, conditions: usize, line: usize) -> Result<(), String> {
        if conditions > 0 {
            section.doubt = Some(self.at(line, "a condition may exclude this section"));
        }
        if self.sections.len() == MAX_SECTIONS {
            return Err(self.at(line, "there are too many sections"));
        }
        self.sections.push(section);
        Ok(())
    }

    /// `frontend NAME [from DEFAULTS]`; old releases accept addresses instead of `from`.
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
                    .ok_or_else(|| self.at(line, &format!("the defaults section {from} does not exist")))?,
            ),
            None if is_defaults => None,
            None => self.sections.iter().rposition(|section| section.kind == "defaults"),
        };
        let mut rest = rest.into_iter();
        let name = rest.next().unwrap_or_default();
        let binds = rest.next().map(|addresses| ports(&addresses)).unwrap_or_default();
        Ok(Section { kind: kind.to_owned(), name, line, base, binds, ..Section::default() })
    }

    /// Parses a line of a section.
    fn line(&mut self, text: &str, words: &[Word], conditions: usize, line: usize) -> Result<(), String> {
        let word = |index: usize| words.get(index).map_or("", |word| word.as_deref().unwrap_or("?"));
        let matters = matters(words);
        let in_global = self.sections.last().is_some_and(|section| section.kind == "global");
        if in_global && matches!(word(0), "setenv" | "unsetenv" | "resetenv") {
            return self.set_variable(words, conditions > 0, line);
        }
        let fault = matters.then(|| words.iter().find_map(|word| word.clone().err())).flatten();
        let doubt = (matters && conditions > 0).then(|| self.at(line, "a condition may exclude this"));
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
            // The name in releases before 2.1.
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
                section.doubt = Some(format!("{path} line {line}: the HTTP mode is not a literal"));
            }
            _ => {}
        }
        Ok(())
    }

    /// `setenv` and similar; `presetenv` does not override variables of the image, so its value is unknown.
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

/// The ports of `:80,*:443`, `ipv4@:80`, `[::]:8000-8100`; empty for addresses that are not TCP ports.
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
            _ => Err(format!("the port of bind {address} is not a literal")),
        });
    }
    ports
}
