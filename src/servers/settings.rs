//! What a container says about one setting of its server.
//!
//! Finds flags, arguments, variables, properties and mounts, with their place. What they mean is left to `settle`.

use super::{
    catalog::{Flag, Sets, Setting, Source},
    environment::Environment,
    recognise::Found,
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
        if let (Sets::Doubt(_), Source::Env(names)) = (&setting.sets, &setting.source)
            && !names.iter().any(|name| self.environment.is_set(name))
        {
            // The server does not read it; that a Secret might hold it is no reason for doubt.
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
                self.lines().find_map(|line| Self::decided(flags.read(&line))).unwrap_or(Value::Absent)
            }
            Source::Argument(names) => {
                self.lines().find_map(|line| argument(names, &line)).unwrap_or(Value::Absent)
            }
            Source::Env(names) => self.variable(names),
            Source::Property(names) => self.property(names),
            Source::SpringJson(name) => self.spring_json(name),
            Source::Mount(paths) => self.mount(paths),
            Source::Subcommand => self.subcommand(),
        }
    }

    fn decided(value: Value) -> Option<Value> {
        (value != Value::Absent).then_some(value)
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

    fn variable(&self, names: &[String]) -> Value {
        for name in names {
            let value =
                match name.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
                    Some((head, tail)) => self.patterned(head, tail),
                    None => self
                        .environment
                        .get(name)
                        .map_or(Value::Absent, |word| set(&format!("{name}="), &word)),
                };
            if value != Value::Absent {
                return value;
            }
        }
        Value::Absent
    }

    /// Variables that differ in one word of their name: they must agree.
    fn patterned(&self, head: &str, tail: &str) -> Value {
        let names = self.environment.names();
        let matching = names.iter().filter(|name| matches_pattern(name, head, tail, false));
        let values = matching.filter_map(|name| {
            let word = self.environment.get(name)?;
            Some(set(&format!("{name}="), &word))
        });
        match agreed(values.collect()) {
            Value::Absent => match self.environment.get(&format!("{head}X{tail}")) {
                Some(word) => set("", &word),
                None => Value::Absent,
            },
            value => value,
        }
    }

    fn property(&self, names: &[String]) -> Value {
        let more = self.found.server.java_options_env.iter().filter_map(|name| self.split(name));
        for line in std::iter::once(self.found.options.clone()).chain(more) {
            for word in line.iter().rev() {
                let set_here = names.iter().find(|name| {
                    word.prefix()
                        .strip_prefix("-D")
                        .and_then(|text| text.strip_prefix(name.as_str()))
                        .is_some_and(|rest| rest.starts_with('='))
                });
                match set_here {
                    Some(name) => return set(&format!("-D{name}="), &word.after(name.len() + 3)),
                    None if word.prefix().is_empty() && word.why().is_some() => {
                        return Value::Unknown(unseen(word));
                    }
                    None => {}
                }
            }
        }
        Value::Absent
    }

    /// SPRING_APPLICATION_JSON with nested or dotted keys.
    fn spring_json(&self, name: &str) -> Value {
        const VARIABLE: &str = "SPRING_APPLICATION_JSON";
        let Some(word) = self.environment.get(VARIABLE) else { return Value::Absent };
        let json = match word.known() {
            Err(why) => return Value::Unknown(why.to_owned()),
            Ok(text) => serde_json::from_str::<serde_json::Value>(text),
        };
        let Ok(json) = json else { return Value::Unknown(format!("{VARIABLE} is not JSON")) };
        match dotted(&json, name) {
            None => Value::Absent,
            Some(value) => {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                Value::Set { text: format!("{VARIABLE} with {name}={value}"), value, at: word.at }
            }
        }
    }

    fn mount(&self, paths: &[String]) -> Value {
        let mounts = self.container.mounts.iter().enumerate();
        let mut covering =
            mounts.filter(|(_, mount)| paths.iter().any(|path| covers(&mount.mount_path, path)));
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

fn argument(names: &[String], line: &[Word]) -> Option<Value> {
    line.iter().rev().find_map(|word| {
        names.iter().find_map(|name| {
            word.prefix().strip_prefix(name.as_str())?.strip_prefix('=')?;
            Some(set(&format!("{name}="), &word.after(name.len() + 1)))
        })
    })
}

/// One value of several, when they agree.
fn agreed(values: Vec<Value>) -> Value {
    let mut agreed = Value::Absent;
    for value in values {
        agreed = match (agreed, value) {
            (Value::Absent, value) => value,
            (Value::Unknown(why), _) | (_, Value::Unknown(why)) => Value::Unknown(why),
            (Value::Set { value: a, text, at }, Value::Set { value: b, .. }) if a == b => {
                Value::Set { value: a, text, at }
            }
            (Value::Set { text, .. }, Value::Set { text: other, .. }) => {
                Value::Unknown(format!("{text} and {other} differ"))
            }
            (set @ Value::Set { .. }, Value::Absent) => set,
        };
    }
    agreed
}

fn dotted<'j>(json: &'j serde_json::Value, name: &str) -> Option<&'j serde_json::Value> {
    let object = json.as_object()?;
    object.iter().find_map(|(key, value)| match name.strip_prefix(key.as_str())? {
        "" => Some(value),
        rest => dotted(value, rest.strip_prefix('.')?),
    })
}

/// A mount hides or adds to a path at, above or below it.
fn covers(mounted: &str, path: &str) -> bool {
    let mounted = mounted.trim_end_matches('/');
    if !path.contains('/') {
        return basename(mounted) == path;
    }
    let below = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('/'));
    mounted == path || below(mounted, path) || below(path, mounted)
}

fn matches_pattern(name: &str, head: &str, tail: &str, ignore_case: bool) -> bool {
    let (name, head, tail) = if ignore_case {
        (name.to_ascii_lowercase(), head.to_ascii_lowercase(), tail.to_ascii_lowercase())
    } else {
        (name.to_owned(), head.to_owned(), tail.to_owned())
    };
    name.strip_prefix(&head)
        .and_then(|rest| rest.strip_suffix(&tail))
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
        let mut values: Vec<(String, Value)> = Vec::new();
        let mut at = 0;
        while let Some(word) = line.get(at) {
            if word.known() == Ok("--") {
                break;
            }
            let after_flag =
                at > 0 && line[at - 1].prefix().starts_with('-') && !line[at - 1].prefix().contains('=');
            at += 1;
            let found = match self.value(word, line.get(at)) {
                Some((name, value, taken)) => {
                    at += usize::from(taken);
                    (name, value)
                }
                None if word.prefix().is_empty() && word.why().is_some() && !after_flag => {
                    (String::new(), Value::Unknown(unseen(word)))
                }
                None => continue,
            };
            if found.1 == Value::Absent {
                continue;
            }
            if found.0.is_empty() && !self.first_wins {
                values.clear();
            }
            match values.iter_mut().find(|(name, _)| *name == found.0) {
                Some(known) if !self.first_wins => *known = found,
                Some(_) => {}
                None => {
                    values.retain(|(name, _)| !name.is_empty() || self.first_wins);
                    values.push(found);
                }
            }
        }
        if self.first_wins {
            values.truncate(1);
        }
        agreed(values.into_iter().map(|(_, value)| value).collect())
    }

    /// The value that a word, and perhaps the next one, give to the flag; and whether the next one was taken.
    fn value(&self, word: &Word, next: Option<&Word>) -> Option<(String, Value, bool)> {
        let text = word.prefix();
        let (name, equals) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
        let flag = self.names.iter().find(|flag| self.matches(flag, name));
        let Some(flag) = flag else {
            let short = self
                .names
                .iter()
                .find(|flag| flag.full.len() == 2 && text.starts_with(flag.full.as_str()))?;
            let value = self.directed(&format!("{} ", short.full), &word.after(2));
            return (!text.starts_with("--")).then(|| (short.full.clone(), value, false));
        };
        // Flags whose names have a word of their own, one for each entrypoint, do not replace one another.
        let name = if flag.full.contains('<') { name.to_ascii_lowercase() } else { flag.full.clone() };
        if equals {
            let length = text.find('=').map_or(text.len(), |at| at + 1);
            return Some((name, self.directed(&text[..length], &word.after(length)), false));
        }
        if let Some(bare) = self.bare {
            let value = Value::Set { value: bare.to_owned(), text: text.to_owned(), at: word.at.clone() };
            return Some((name, value, false));
        }
        match next {
            _ if self.glued => None,
            None => Some((name, Value::Unknown(format!("{text} has no value")), false)),
            Some(next) => Some((name, self.directed(&format!("{text} "), next), true)),
        }
    }

    fn matches(&self, flag: &Flag, name: &str) -> bool {
        if let Some((head, tail)) =
            flag.full.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1)))
        {
            return matches_pattern(name, head, tail, self.ignore_case);
        }
        let same = |full: &str| if self.ignore_case { full.eq_ignore_ascii_case(name) } else { full == name };
        name.len() >= flag.shortest && flag.full.get(..name.len()).is_some_and(same)
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
