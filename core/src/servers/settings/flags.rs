//! Parses command-line flags as servers do: attached values, combined short flags, abbreviations.
//!
//! Returns the value of a flag.

use std::mem;

use super::{Reading, is_named, may_begin, set, unknown_reason};
use crate::{servers::catalog::Flag, workload::word::Word};

/// The names of a flag, and how its server parses flags.
pub(super) struct Flags<'a> {
    pub(super) names: &'a [Flag],
    pub(super) glued: bool,
    pub(super) bare: Option<&'a str>,
    pub(super) ignore_case: bool,
    pub(super) first_wins: bool,
    pub(super) directive: Option<&'a str>,
}

/// Flags that take a value in every server that supports them, so the following word is not a flag.
const VALUED: [&str; 41] = [
    "--access-logfile",
    "--app-dir",
    "--backlog",
    "--bind",
    "--chdir",
    "--config",
    "--config.file",
    "--env",
    "--env-file",
    "--error-logfile",
    "--forwarded-allow-ips",
    "--graceful-timeout",
    "--group",
    "--host",
    "--hostname",
    "--limit-concurrency",
    "--log-config",
    "--log-level",
    "--loglevel",
    "--max-requests",
    "--max-requests-jitter",
    "--name",
    "--pid",
    "--port",
    "--root-path",
    "--server.port",
    "--ssl-certfile",
    "--ssl-keyfile",
    "--storage.tsdb.path",
    "--storage.tsdb.retention.time",
    "--threads",
    "--timeout",
    "--uds",
    "--user",
    "--web.external-url",
    "--web.listen-address",
    "--worker-tmp-dir",
    "--workers",
    "-b",
    "-p",
    "-w",
];

/// Short flags of gunicorn, nginx, httpd and varnishd without a value, which can be combined with another flag:
/// `-Rkgevent`.
const SWITCHES: [char; 6] = ['R', 'q', 't', 'T', 'X', 'F'];

impl Flags<'_> {
    /// The value of the flag on a command line.
    pub(super) fn read(&self, line: &[Word]) -> Reading {
        let mut last = Reading::Absent;
        let mut words = line.iter().peekable();
        let mut valued = false;
        while let Some(word) = words.next() {
            if word.known() == Ok("--") {
                break;
            }
            let behind = mem::replace(&mut valued, VALUED.contains(&word.prefix()));
            let value = match self.value(word, words.peek().copied()) {
                Some((value, taken)) => {
                    words.next_if(|_| taken);
                    valued &= !taken;
                    value
                }
                None if !behind && self.names.iter().any(|flag| may_become(word, flag)) => {
                    Reading::Unknown(unknown_reason(word))
                }
                None => continue,
            };
            if value == Reading::Absent {
                continue;
            }
            last = value;
            if self.first_wins {
                break;
            }
        }
        last
    }

    /// The value of the flag in a word, and possibly the next one; also returns whether the next one was used.
    fn value(&self, word: &Word, next: Option<&Word>) -> Option<(Reading, bool)> {
        let text = word.prefix();
        let (name, equals) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
        let is_whole = equals || word.why().is_none();
        if !is_whole || !self.names.iter().any(|flag| self.matches(flag, name)) {
            return self.short(word, next);
        }
        if equals {
            let length = text.find('=').map_or(text.len(), |at| at + 1);
            return Some((self.directed(&text[..length], &word.after(length)), false));
        }
        if let Some(bare) = self.bare {
            let value = Reading::Set { value: bare.to_owned(), text: text.to_owned(), at: word.at.clone() };
            return Some((value, false));
        }
        (!self.glued).then(|| self.next_word(text, next))
    }

    /// A short flag with its value in the same word, or combined with others.
    fn short(&self, word: &Word, next: Option<&Word>) -> Option<(Reading, bool)> {
        let text = word.prefix();
        let flags = text.strip_prefix('-').filter(|flags| !flags.starts_with('-'))?;
        let switched = flags.trim_start_matches(SWITCHES);
        let (name, rest) = self.names.iter().filter(|flag| flag.full.len() == 2).find_map(|flag| {
            let letter = &flag.full[1..];
            Some((&flag.full, flags.strip_prefix(letter).or_else(|| switched.strip_prefix(letter))?))
        })?;
        if rest.is_empty() && word.why().is_none() {
            return Some(self.next_word(text, next));
        }
        Some((self.directed(&format!("{name} "), &word.after(text.len() - rest.len())), false))
    }

    fn next_word(&self, text: &str, next: Option<&Word>) -> (Reading, bool) {
        match next {
            None => (Reading::Unknown(format!("{text} has no value")), false),
            Some(next) => (self.directed(&format!("{text} "), next), true),
        }
    }

    fn matches(&self, flag: &Flag, name: &str) -> bool {
        let cut = flag.full.get(..name.len()).filter(|_| name.len() >= flag.shortest);
        is_named(cut.unwrap_or(&flag.full), name, self.ignore_case)
    }

    /// The value, or its part after the directive.
    fn directed(&self, before: &str, word: &Word) -> Reading {
        let value = set(before, word);
        let (Some(directive), Reading::Set { value, text, at }) = (self.directive, &value) else {
            return value;
        };
        match value.trim().split_once(|c: char| c.is_whitespace() || c == '=') {
            Some((first, rest)) if first.eq_ignore_ascii_case(directive) => {
                Reading::Set { value: rest.trim().to_owned(), text: text.clone(), at: at.clone() }
            }
            Some(_) | None => Reading::Absent,
        }
    }
}

/// Whether a partly unknown word may be a flag; a value is not.
fn may_become(word: &Word, flag: &Flag) -> bool {
    let head = flag.full.split_once('<').map_or(flag.full.as_str(), |(head, _)| head);
    may_begin(word, head) && !word.prefix().contains('=')
}
