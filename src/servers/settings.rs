//! What a container says about one setting of its server.
//!
//! Finds flags, arguments, variables, properties and mounts, with their place. What they mean is left to `settle`.

mod spring;

use std::borrow::Cow;

use super::{
    catalog::{Flag, Sets, Setting, Source},
    environment::Environment,
    recognise::{Found, JAVA_VALUED, JVM_OPTIONS, shorten},
    word::{Piece, Place, Word, basename},
};
use crate::pod::Container;

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
    pub(super) found: &'a Found<'c>,
    pub(super) environment: &'a Environment,
    pub(super) container: &'a Container<'a>,
}

impl Reader<'_, '_> {
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
                let hidden = names.iter().find_map(|name| self.environment.get(name));
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
    fn lines(&self) -> impl Iterator<Item = Vec<Word>> {
        let more = self.found.server.arguments_env.iter().filter_map(|name| self.split(name));
        std::iter::once(self.found.arguments.clone()).chain(more)
    }

    /// The words in a variable.
    fn split(&self, name: &str) -> Option<Vec<Word>> {
        let word = self.environment.get(name)?;
        Some(match word.known() {
            Err(_) => vec![word],
            Ok(text) => match shlex::split(text) {
                Some(parts) => parts.iter().map(|part| Word::text(part, word.at.clone())).collect(),
                None => vec![Word::new([Piece::Unknown(format!("{name} has an open quote"))], word.at)],
            },
        })
    }

    /// The variable of one of these names that the pod itself sets.
    fn set_variable(&self, names: &[String]) -> Value {
        let set_names = self.environment.names();
        names
            .iter()
            .find_map(|known| set_names.iter().find(|name| self.named(known, name)))
            .and_then(|name| Some(set(&format!("{name}="), &self.environment.get(name)?)))
            .unwrap_or(Value::Absent)
    }

    fn named(&self, known: &str, name: &str) -> bool {
        is_named(known, name, self.found.server.ignore_case)
    }

    fn argument(&self, names: &[String], line: &[Word]) -> Option<Value> {
        line.iter().rev().find_map(|word| {
            let (name, _) = word.prefix().split_once('=')?;
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
        let own = std::iter::once(self.found.options.clone());
        for line in self.split(strongest).into_iter().chain(own).chain(weaker) {
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
                if text.is_empty() && word.why().is_some() {
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
        covering.next().map_or(Value::Absent, |(index, mount)| Value::Set {
            value: mount.mount_path.to_string(),
            text: format!("the volume at {}", mount.mount_path),
            at: Place::Mount(index),
        })
    }

    fn subcommand(&self) -> Value {
        let word = self.found.arguments.iter().find(|word| !word.prefix().starts_with('-'));
        word.map_or(Value::Absent, |word| set("", word))
    }
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

impl Flags<'_> {
    fn read(&self, line: &[Word]) -> Value {
        let mut last = Value::Absent;
        let mut at = 0;
        while let Some(word) = line.get(at) {
            if word.known() == Ok("--") {
                break;
            }
            let after_flag =
                at > 0 && line[at - 1].prefix().starts_with('-') && !line[at - 1].prefix().contains('=');
            at += 1;
            let value = match self.value(word, line.get(at)) {
                Some((value, taken)) => {
                    at += usize::from(taken);
                    value
                }
                None if word.prefix().is_empty() && word.why().is_some() && !after_flag => {
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
        if !self.names.iter().any(|flag| self.matches(flag, name)) {
            let short = self
                .names
                .iter()
                .find(|flag| flag.full.len() == 2 && text.starts_with(flag.full.as_str()))?;
            let value = self.directed(&format!("{} ", short.full), &word.after(2));
            return (!text.starts_with("--")).then_some((value, false));
        }
        if equals {
            let length = text.find('=').map_or(text.len(), |at| at + 1);
            return Some((self.directed(&text[..length], &word.after(length)), false));
        }
        if let Some(bare) = self.bare {
            let value = Value::Set { value: bare.to_owned(), text: text.to_owned(), at: word.at.clone() };
            return Some((value, false));
        }
        match next {
            _ if self.glued => None,
            None => Some((Value::Unknown(format!("{text} has no value")), false)),
            Some(next) => Some((self.directed(&format!("{text} "), next), true)),
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
