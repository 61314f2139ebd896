//! Reads the settings of a server from a container.
//!
//! Finds flags, arguments, variables, properties, mounts and keys of files, with their location. `resolve` interprets
//! them.

mod files;
mod flags;
mod listeners;
mod look_alike;
mod spring;

use std::borrow::Cow;

use self::flags::Flags;
pub(super) use self::{
    files::{Disk, FileFormat},
    listeners::ListenerOf,
};
use super::{
    catalog::{Effect, Setting, Source},
    command::Launch,
    recognise::{JAVA_VALUED, JVM_OPTIONS, Recognition, shorten},
};
use crate::workload::{
    environment::Environment,
    pod::Container,
    word::{Place, Word, basename, is_within},
};

/// A setting in a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// The setting is not set.
    Absent,
    /// It is set.
    Set {
        /// The value.
        value: String,
        /// The text as written: `--keep-alive 10`.
        text: String,
        /// The location.
        at: Place,
    },
    /// It may be set to an unknown value, for this reason.
    Unknown(String),
}

impl Reading {
    fn decided(self) -> Option<Self> {
        (self != Self::Absent).then_some(self)
    }
}

/// Reads the settings of a container.
pub(super) struct Reader<'a, 'c> {
    pub(super) recognition: &'a Recognition<'c>,
    pub(super) launch: &'a Launch,
    pub(super) container: &'a Container<'a>,
    /// The files of the container.
    pub(super) disk: Disk<'a>,
    /// The listener whose name replaces `<name>`.
    pub(super) listener: Option<String>,
    /// The port of the query; `None` for the server in general.
    pub(super) port: Option<u16>,
}

/// The maximum number of words in a variable.
const MAX_WORDS: usize = 4096;

impl<'a, 'c> Reader<'a, 'c> {
    const fn environment(&self) -> &Environment {
        &self.launch.environment
    }

    /// A reader for a listener with this name.
    pub(super) fn of_listener(&self, name: String) -> Self {
        Self { listener: Some(name), disk: self.disk.clone(), ..*self }
    }

    /// Code or files outside of the input that may set the timeout.
    pub(super) fn hidden(&self) -> Option<String> {
        let look_alike =
            self.look_alike().map(|name| format!("{name} may set the idle timeout in an app-specific way"));
        self.recognition.hidden.clone().or(look_alike)
    }

    /// Reads a setting.
    pub(super) fn read(&self, setting: &Setting) -> Reading {
        let flagged = self.recognition.arguments.iter().any(|word| word.prefix().starts_with('-'));
        if setting.unless_flags && flagged {
            return Reading::Absent;
        }
        if setting.unless_file.as_ref().is_some_and(|file| self.has_read(file)) {
            return Reading::Absent;
        }
        match &*self.source(setting) {
            Source::Flag { names, glued, bare } => {
                let flags = Flags {
                    names,
                    glued: *glued,
                    bare: bare.as_deref(),
                    ignore_case: self.recognition.server.ignore_case,
                    first_wins: setting.first_wins,
                    directive: setting.directive.as_deref(),
                };
                self.lines().find_map(|line| flags.read(&line).decided()).unwrap_or(Reading::Absent)
            }
            Source::Argument(names) => {
                self.lines().find_map(|line| self.argument(names, &line)).unwrap_or(Reading::Absent)
            }
            // A setting that only makes the answer unknown is ignored if its value may come from a Secret.
            Source::Env(names) if matches!(setting.effect, Effect::Unknown(_)) => self.set_variable(names),
            Source::Env(names) => self.set_variable(names).decided().unwrap_or_else(|| {
                let hidden = names.iter().find_map(|name| self.environment().get(name));
                hidden.map_or(Reading::Absent, |word| set("", &word))
            }),
            Source::Property(names) => {
                self.property(|name| names.iter().any(|known| self.named(known, name)))
            }
            Source::Spring(names) => {
                names.iter().find_map(|name| self.spring(name).decided()).unwrap_or(Reading::Absent)
            }
            Source::Mount(paths) => self.mount(paths),
            Source::Subcommand => self.subcommand(),
            Source::File { name, key } => self.file(name, key),
        }
    }

    /// The source of a setting, with the name of the current listener.
    fn source<'s>(&self, setting: &'s Setting) -> Cow<'s, Source> {
        self.listener.as_deref().map_or(Cow::Borrowed(&setting.source), |name| setting.source.named(name))
    }

    /// The command line, followed by the variables with further arguments.
    fn lines(&self) -> impl Iterator<Item = Cow<'_, [Word]>> {
        let more =
            self.recognition.server.arguments_env.iter().filter_map(|name| self.split(name).map(Cow::Owned));
        std::iter::once(Cow::Borrowed(self.recognition.arguments.as_slice())).chain(more)
    }

    /// Splits a variable into words.
    fn split(&self, name: &str) -> Option<Vec<Word>> {
        let word = self.environment().get(name)?;
        let at = || word.at.clone();
        Some(match word.known() {
            Err(_) => vec![word.into_owned()],
            Ok(text) => match shlex::split(text) {
                Some(parts) if parts.len() > MAX_WORDS => {
                    vec![Word::unknown(format!("{name} is too long to parse"), at())]
                }
                Some(parts) => parts.iter().map(|part| Word::text(part, at())).collect(),
                None => vec![Word::unknown(format!("{name} has a quote that is not closed"), at())],
            },
        })
    }

    /// The value of the first of these variables that the pod sets.
    fn set_variable(&self, names: &[String]) -> Reading {
        let set_names = self.environment().names();
        names
            .iter()
            .find_map(|known| set_names.iter().find(|name| self.named(known, name)))
            .and_then(|name| Some(set(&format!("{name}="), &*self.environment().get(name)?)))
            .unwrap_or(Reading::Absent)
    }

    fn named(&self, known: &str, name: &str) -> bool {
        is_named(known, name, self.recognition.server.ignore_case)
    }

    fn argument(&self, names: &[String], line: &[Word]) -> Option<Reading> {
        line.iter().rev().find_map(|word| {
            let Some((name, _)) = word.prefix().split_once('=') else {
                let may_be = names.iter().any(|known| may_begin(word, known));
                return may_be.then(|| Reading::Unknown(unknown_reason(word)));
            };
            let known = names.iter().any(|known| self.named(known, name));
            known.then(|| set(&format!("{name}="), &word.after(name.len() + 1)))
        })
    }

    /// A system property: one variable overrides the command line, the others do not.
    fn property(&self, is_meant: impl Fn(&str) -> bool) -> Reading {
        let [strongest, others @ ..] = JVM_OPTIONS;
        let of_entrypoint =
            self.recognition.server.java_options_env.iter().filter(|_| self.recognition.own_entrypoint);
        let weaker = of_entrypoint.map(String::as_str).chain(others);
        let weaker = weaker.filter_map(|name| self.split(name));
        let own = std::iter::once(Cow::Borrowed(self.recognition.options.as_slice()));
        let strongest = self.split(strongest).into_iter();
        for line in strongest.map(Cow::Owned).chain(own).chain(weaker.map(Cow::Owned)) {
            for (at, word) in line.iter().enumerate().rev() {
                let text = word.prefix();
                // A file with a class path, as written by Jib, sets nothing.
                let is_value = at > 0 && JAVA_VALUED.contains(&line[at - 1].prefix());
                let assigned = text.strip_prefix("-D").and_then(|text| text.split_once('='));
                if let Some((name, _)) = assigned.filter(|(name, _)| is_meant(name)) {
                    return set(&format!("-D{name}="), &word.after(name.len() + 3));
                }
                if text.starts_with('@') && !is_value || text.starts_with("-XX:VMOptionsFile=") {
                    return Reading::Unknown(format!("{}: a file may set the idle timeout", shorten(text)));
                }
                if assigned.is_none() && may_begin(word, "-D") {
                    return Reading::Unknown(unknown_reason(word));
                }
            }
        }
        Reading::Absent
    }

    fn mount(&self, paths: &[String]) -> Reading {
        let mounts = self.container.mounts.iter().enumerate();
        let working_dir = self.container.working_dir.as_deref();
        let mut covering =
            mounts.filter(|(_, mount)| paths.iter().any(|path| covers(&mount.mount_path, path, working_dir)));
        match (covering.next(), &self.launch.writes) {
            (Some((index, mount)), _) => Reading::Set {
                value: mount.mount_path.to_string(),
                text: format!("the volume at {}", mount.mount_path),
                at: Place::Mount(index),
            },
            (None, Some(why)) => Reading::Unknown(why.clone()),
            (None, None) => Reading::Absent,
        }
    }

    fn subcommand(&self) -> Reading {
        let word = self.recognition.arguments.iter().find(|word| !word.prefix().starts_with('-'));
        word.map_or(Reading::Absent, |word| set("", word))
    }
}

/// Whether a partly unknown word may start with `text`.
fn may_begin(word: &Word, text: &str) -> bool {
    let alike =
        |text: &str, head: &str| text.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    word.why().is_some() && (alike(text, word.prefix()) || alike(word.prefix(), text))
}

fn unknown_reason(word: &Word) -> String {
    word.why().unwrap_or_default().to_owned()
}

/// A value with the text before it.
fn set(before: &str, word: &Word) -> Reading {
    match word.known() {
        Ok(value) => {
            Reading::Set { value: value.to_owned(), text: format!("{before}{value}"), at: word.at.clone() }
        }
        Err(why) => Reading::Unknown(why.to_owned()),
    }
}

/// Whether a mount hides a path or adds to it.
fn covers(mounted: &str, path: &str, working_dir: Option<&str>) -> bool {
    let mounted = mounted.trim_end_matches('/');
    if path.contains('/') {
        return mounted == path || is_within(mounted, path) || is_within(path, mounted);
    }
    let last = basename(mounted);
    let named = path.strip_suffix('*').map_or(last == path, |head| last.starts_with(head));
    let around = |dir: &str| dir.trim_end_matches('/') == mounted || is_within(dir, mounted);
    named || working_dir.is_some_and(around)
}

/// Whether a name matches a known one, in which `<NAME>` stands for any word.
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
