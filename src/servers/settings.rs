//! What a container says about one setting of its server.
//!
//! Finds flags, arguments, variables, properties and mounts, with their place. What they mean is left to `settle`.

mod spring;

use std::{borrow::Cow, mem};

use super::{
    catalog::{Flag, Sets, Setting, Source},
    command::Launch,
    recognise::{JAVA_VALUED, JVM_OPTIONS, Recognition, shorten},
};
use crate::workload::{
    environment::Environment,
    pod::Container,
    word::{Place, Word, basename},
};

/// A setting as the container has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// Nothing sets it.
    Absent,
    /// It is set.
    Set {
        /// The value alone.
        value: String,
        /// As it is written: `--keep-alive 10`.
        text: String,
        /// Where.
        at: Place,
    },
    /// It may be set, and we do not see to what.
    Unknown(String),
}

impl Value {
    fn decided(self) -> Option<Self> {
        (self != Self::Absent).then_some(self)
    }
}

/// What settings are read from.
pub(super) struct Reader<'a, 'c> {
    pub(super) found: &'a Recognition<'c>,
    pub(super) launch: &'a Launch,
    pub(super) container: &'a Container<'a>,
}

/// More words than this nobody puts into a variable.
const MOST_WORDS: usize = 4096;

impl Reader<'_, '_> {
    const fn environment(&self) -> &Environment {
        &self.launch.environment
    }

    /// Reads one setting.
    pub(super) fn read(&self, setting: &Setting) -> Value {
        let flagged = self.found.arguments.iter().any(|word| word.prefix().starts_with('-'));
        if setting.unless_flags && flagged {
            return Value::Absent;
        }
        match &setting.source {
            Source::Flag { names, glued, bare } => {
                let flags = Flags {
                    names,
                    glued: *glued,
                    bare: bare.as_deref(),
                    ignore_case: self.found.server.ignore_case,
                    first_wins: setting.first_wins,
                    directive: setting.directive.as_deref(),
                };
                self.lines().find_map(|line| flags.read(&line).decided()).unwrap_or(Value::Absent)
            }
            Source::Argument(names) => {
                self.lines().find_map(|line| self.argument(names, &line)).unwrap_or(Value::Absent)
            }
            // That a Secret might hold what only casts doubt is no reason for doubt.
            Source::Env(names) if matches!(setting.sets, Sets::Doubt(_)) => self.set_variable(names),
            Source::Env(names) => self.set_variable(names).decided().unwrap_or_else(|| {
                let hidden = names.iter().find_map(|name| self.environment().get(name));
                hidden.map_or(Value::Absent, |word| set("", &word))
            }),
            Source::Property(names) => {
                self.property(|name| names.iter().any(|known| self.named(known, name)))
            }
            Source::Spring(names) => {
                names.iter().find_map(|name| self.spring(name).decided()).unwrap_or(Value::Absent)
            }
            Source::Mount(paths) => self.mount(paths),
            Source::Subcommand => self.subcommand(),
        }
    }

    /// The command line, then the variables that hold more of it.
    fn lines(&self) -> impl Iterator<Item = Cow<'_, [Word]>> {
        let more = self.found.server.arguments_env.iter().filter_map(|name| self.split(name).map(Cow::Owned));
        std::iter::once(Cow::Borrowed(self.found.arguments.as_slice())).chain(more)
    }

    /// The words in a variable.
    fn split(&self, name: &str) -> Option<Vec<Word>> {
        let word = self.environment().get(name)?;
        let at = || word.at.clone();
        Some(match word.known() {
            Err(_) => vec![word.into_owned()],
            Ok(text) => match shlex::split(text) {
                Some(parts) if parts.len() > MOST_WORDS => {
                    vec![Word::unknown(format!("{name} is too long to follow"), at())]
                }
                Some(parts) => parts.iter().map(|part| Word::text(part, at())).collect(),
                None => vec![Word::unknown(format!("{name} has an open quote"), at())],
            },
        })
    }

    /// The variable of one of these names that the pod itself sets.
    fn set_variable(&self, names: &[String]) -> Value {
        let set_names = self.environment().names();
        names
            .iter()
            .find_map(|known| set_names.iter().find(|name| self.named(known, name)))
            .and_then(|name| Some(set(&format!("{name}="), &*self.environment().get(name)?)))
            .unwrap_or(Value::Absent)
    }

    fn named(&self, known: &str, name: &str) -> bool {
        is_named(known, name, self.found.server.ignore_case)
    }

    fn argument(&self, names: &[String], line: &[Word]) -> Option<Value> {
        line.iter().rev().find_map(|word| {
            let Some((name, _)) = word.prefix().split_once('=') else {
                let may_be = names.iter().any(|known| may_begin(word, known));
                return may_be.then(|| Value::Unknown(unseen(word)));
            };
            let known = names.iter().any(|known| self.named(known, name));
            known.then(|| set(&format!("{name}="), &word.after(name.len() + 1)))
        })
    }

    /// A system property: one variable beats the command line, the others yield to it.
    fn property(&self, is_meant: impl Fn(&str) -> bool) -> Value {
        let [strongest, others @ ..] = JVM_OPTIONS;
        let of_entrypoint = self.found.server.java_options_env.iter().filter(|_| self.found.own_entrypoint);
        let weaker = of_entrypoint.map(String::as_str).chain(others);
        let weaker = weaker.filter_map(|name| self.split(name));
        let own = std::iter::once(Cow::Borrowed(self.found.options.as_slice()));
        let strongest = self.split(strongest).into_iter();
        for line in strongest.map(Cow::Owned).chain(own).chain(weaker.map(Cow::Owned)) {
            for (at, word) in line.iter().enumerate().rev() {
                let text = word.prefix();
                // A class path in a file, as Jib writes it, sets nothing.
                let is_value = at > 0 && JAVA_VALUED.contains(&line[at - 1].prefix());
                let assigned = text.strip_prefix("-D").and_then(|text| text.split_once('='));
                if let Some((name, _)) = assigned.filter(|(name, _)| is_meant(name)) {
                    return set(&format!("-D{name}="), &word.after(name.len() + 3));
                }
                if text.starts_with('@') && !is_value || text.starts_with("-XX:VMOptionsFile=") {
                    return Value::Unknown(format!("{}: a file may set the idle timeout", shorten(text)));
                }
                if assigned.is_none() && may_begin(word, "-D") {
                    return Value::Unknown(unseen(word));
                }
            }
        }
        Value::Absent
    }

    fn mount(&self, paths: &[String]) -> Value {
        let mounts = self.container.mounts.iter().enumerate();
        let working_dir = self.container.working_dir.as_deref();
        let mut covering =
            mounts.filter(|(_, mount)| paths.iter().any(|path| covers(&mount.mount_path, path, working_dir)));
        match (covering.next(), &self.launch.writes) {
            (Some((index, mount)), _) => Value::Set {
                value: mount.mount_path.to_string(),
                text: format!("the volume at {}", mount.mount_path),
                at: Place::Mount(index),
            },
            (None, Some(why)) => Value::Unknown(why.clone()),
            (None, None) => Value::Absent,
        }
    }

    fn subcommand(&self) -> Value {
        let word = self.found.arguments.iter().find(|word| !word.prefix().starts_with('-'));
        word.map_or(Value::Absent, |word| set("", word))
    }
}

/// Whether a word that is not wholly known may turn out to begin with `text`.
fn may_begin(word: &Word, text: &str) -> bool {
    let alike =
        |text: &str, head: &str| text.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    word.why().is_some() && (alike(text, word.prefix()) || alike(word.prefix(), text))
}

fn unseen(word: &Word) -> String {
    word.why().unwrap_or_default().to_owned()
}

/// A value with the text before it.
fn set(before: &str, word: &Word) -> Value {
    match word.known() {
        Ok(value) => {
            Value::Set { value: value.to_owned(), text: format!("{before}{value}"), at: word.at.clone() }
        }
        Err(why) => Value::Unknown(why.to_owned()),
    }
}

/// A mount hides or adds to a path at, above or below it.
fn covers(mounted: &str, path: &str, working_dir: Option<&str>) -> bool {
    let mounted = mounted.trim_end_matches('/');
    let below = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'));
    if path.contains('/') {
        return mounted == path || below(mounted, path) || below(path, mounted);
    }
    let last = basename(mounted);
    let named = path.strip_suffix('*').map_or(last == path, |head| last.starts_with(head));
    let around = |dir: &str| dir.trim_end_matches('/') == mounted || below(dir, mounted);
    named || working_dir.is_some_and(around)
}

/// Whether a name is the known one, in which `<NAME>` stands for any word.
fn is_named(known: &str, name: &str, ignore_case: bool) -> bool {
    let (known, name) = if ignore_case {
        (Cow::Owned(known.to_ascii_lowercase()), Cow::Owned(name.to_ascii_lowercase()))
    } else {
        (Cow::Borrowed(known), Cow::Borrowed(name))
    };
    let Some((head, tail)) =
        known.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1)))
    else {
        return known == name;
    };
    name.strip_prefix(head)
        .and_then(|rest| rest.strip_suffix(tail))
        .is_some_and(|word| !word.is_empty() && !word.contains('.'))
}

/// One flag's names and how its server reads flags.
struct Flags<'a> {
    names: &'a [Flag],
    glued: bool,
    bare: Option<&'a str>,
    ignore_case: bool,
    first_wins: bool,
    directive: Option<&'a str>,
}

/// Flags that take a value in every server that has them, so that an unknown word behind one is no flag itself.
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

/// Short flags of gunicorn, nginx, httpd and varnishd that take no value, so that another one may follow in the same
/// word: `-Rkgevent`.
const SWITCHES: [char; 6] = ['R', 'q', 't', 'T', 'X', 'F'];

impl Flags<'_> {
    fn read(&self, line: &[Word]) -> Value {
        let mut last = Value::Absent;
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
                    Value::Unknown(unseen(word))
                }
                None => continue,
            };
            if value == Value::Absent {
                continue;
            }
            last = value;
            if self.first_wins {
                break;
            }
        }
        last
    }

    /// The value that a word, and perhaps the next one, give to the flag; and whether the next one was taken.
    fn value(&self, word: &Word, next: Option<&Word>) -> Option<(Value, bool)> {
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
            let value = Value::Set { value: bare.to_owned(), text: text.to_owned(), at: word.at.clone() };
            return Some((value, false));
        }
        (!self.glued).then(|| self.next_word(text, next))
    }

    /// A short flag with its value in the same word, or behind others.
    fn short(&self, word: &Word, next: Option<&Word>) -> Option<(Value, bool)> {
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

    fn next_word(&self, text: &str, next: Option<&Word>) -> (Value, bool) {
        match next {
            None => (Value::Unknown(format!("{text} has no value")), false),
            Some(next) => (self.directed(&format!("{text} "), next), true),
        }
    }

    fn matches(&self, flag: &Flag, name: &str) -> bool {
        let cut = flag.full.get(..name.len()).filter(|_| name.len() >= flag.shortest);
        is_named(cut.unwrap_or(&flag.full), name, self.ignore_case)
    }

    /// The value, or what follows the directive in it.
    fn directed(&self, before: &str, word: &Word) -> Value {
        let value = set(before, word);
        let (Some(directive), Value::Set { value, text, at }) = (self.directive, &value) else {
            return value;
        };
        match value.trim().split_once(|c: char| c.is_whitespace() || c == '=') {
            Some((first, rest)) if first.eq_ignore_ascii_case(directive) => {
                Value::Set { value: rest.trim().to_owned(), text: text.clone(), at: at.clone() }
            }
            Some(_) | None => Value::Absent,
        }
    }
}

/// Whether a word that is not wholly known may turn out to be a flag; a value is none.
fn may_become(word: &Word, flag: &Flag) -> bool {
    let head = flag.full.split_once('<').map_or(flag.full.as_str(), |(head, _)| head);
    may_begin(word, head) && !word.prefix().contains('=')
}
