//! A checked entry of the catalog: a server, its signs, its settings and its defaults.
//!
//! `check` creates these types; `recognise`, `settings` and `resolve` use them.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use super::{format::Format, version::Versions};
use crate::servers::settings::FileFormat;

/// A server of the catalog.
#[derive(Clone, Debug)]
pub struct Server {
    /// The id in policies and messages.
    pub id: String,
    /// The display name.
    pub name: String,
    /// The catalog file of the entry, such as `python`; `policy` for entries of a user.
    pub family: String,
    /// The runtime of the server. Together with it, a setting that only this server reads identifies the server.
    pub(in crate::servers) runtime: Option<String>,
    /// A more general entry, which this one replaces if both match.
    pub(in crate::servers) refines: Option<String>,
    /// The reason to show if there is only a single hint.
    pub(in crate::servers) doubt: Option<String>,
    /// A single hint from the command is enough, because all defaults are only likely.
    pub(in crate::servers) command_is_enough: bool,
    pub(in crate::servers) signs: Vec<Sign>,
    /// Programs with other names that behave as this entry says.
    pub products: Vec<Product>,
    /// Image repositories whose tag is the version.
    pub(in crate::servers) version_from: Vec<String>,
    /// Variables in the ENV of images that contain the version; the first one that is set wins.
    pub(in crate::servers) version_env: Vec<String>,
    /// The words that the listed images put before `args`.
    pub(in crate::servers) entrypoint: Vec<String>,
    /// Whether the listed images treat `args` as arguments of their program, never as another command.
    pub(in crate::servers) takes_arguments: bool,
    /// Whether flags, arguments and variables are case-insensitive.
    pub(in crate::servers) ignore_case: bool,
    /// Variables that contain further arguments, in order of precedence.
    pub(in crate::servers) arguments_env: Vec<String>,
    /// Variables that the entrypoint of the listed images adds to the JVM options, in order of precedence.
    pub(in crate::servers) java_options_env: Vec<String>,
    pub(in crate::servers) mode: Option<Mode>,
    /// The configuration files, by the names that settings use.
    pub(in crate::servers) files: BTreeMap<String, ConfigFile>,
    /// The relevant lines of files in the listed images, by path.
    pub(in crate::servers) image_files: BTreeMap<String, String>,
    /// Files that the ENTRYPOINT of the listed images renders from templates with variables.
    pub(in crate::servers) templates: Option<Templates>,
    /// Additional listeners, each with its own port.
    pub(in crate::servers) listeners: Vec<Listener>,
    /// Why nothing is known about ports without a listener.
    pub(in crate::servers) other_ports: Option<String>,
    pub(in crate::servers) settings: Vec<Setting>,
    pub(in crate::servers) defaults: Vec<IdleDefault>,
    /// The setting to change if no flag or variable sets the idle timeout: `server.keepAliveTimeout`.
    pub(in crate::servers) raise: Option<String>,
    /// Surprising behaviour, in sentences.
    pub gotchas: Vec<String>,
    /// The sources of the flags and the behaviour. Each default has its own source.
    pub sources: Vec<String>,
}

/// A program that behaves as its entry says.
#[derive(Clone, Debug)]
pub struct Product {
    /// The display name.
    pub name: String,
    /// The source that shows this behaviour.
    pub source: String,
    /// The ports with this behaviour; empty for all.
    pub(in crate::servers) ports: Vec<u16>,
}

impl Product {
    /// Whether the behaviour is known only for some ports.
    pub(in crate::servers) const fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }
}

/// A sign that identifies a server.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Sign {
    pub(in crate::servers) kind: SignKind,
    /// The text, without the asterisk of a prefix.
    pub(in crate::servers) text: String,
    pub(in crate::servers) prefix: bool,
    pub(in crate::servers) strength: Strength,
    /// Words that the tag of the image must contain, or (`false`) must not contain.
    pub(in crate::servers) tag: Vec<(String, bool)>,
    /// The index of the product that it identifies.
    pub(in crate::servers) product: Option<usize>,
}

/// The kinds of sign.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::servers) enum SignKind {
    /// An image's repository, with its registry.
    Image,
    /// The last part of an image's repository, in any registry and namespace.
    ImageName,
    /// A program, possibly with its first argument.
    Command,
    /// A module that Python runs.
    Module,
    /// A jar that Java runs.
    Jar,
    /// A class that Java runs.
    Class,
    /// A variable or property that only this server reads.
    Setting,
    /// A flag that only this server has, with two dashes.
    Flag,
}

/// The strength of a sign.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::servers) enum Strength {
    /// Identifies the server only together with another sign.
    Hint,
    /// Identifies the server.
    Reliable,
}

/// The modes that settings select, such as gunicorn's worker classes.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Mode {
    pub(in crate::servers) start: String,
    pub(in crate::servers) steps: Vec<ModeStep>,
}

/// The first of `choices` that is set selects the mode, if the current mode is one of `when`.
#[derive(Clone, Debug)]
pub(in crate::servers) struct ModeStep {
    pub(in crate::servers) when: Vec<String>,
    pub(in crate::servers) choices: Vec<Setting>,
}

/// A configuration file.
#[derive(Clone, Debug)]
pub(in crate::servers) struct ConfigFile {
    pub(in crate::servers) format: FileFormat,
    /// The paths where the program looks for it; the first existing file wins. A name without a slash is relative to
    /// the working directory.
    pub(in crate::servers) at: Vec<String>,
    /// The settings that name its path, in order of precedence.
    pub(in crate::servers) named_by: Vec<Setting>,
    /// The prefix of every key.
    pub(in crate::servers) prefix: String,
}

/// Files rendered from templates: `/etc/nginx/templates/x.conf.template` becomes `/etc/nginx/conf.d/x.conf`.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Templates {
    pub(in crate::servers) from: String,
    pub(in crate::servers) to: String,
    pub(in crate::servers) suffix: String,
}

/// A listener with its own port.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Listener {
    /// The name. `<name>` stands for each name that the settings of the port contain.
    pub(in crate::servers) name: String,
    /// The releases with this listener.
    pub(in crate::servers) versions: Option<Versions>,
    /// The settings with its port or address, in order of precedence.
    pub(in crate::servers) port: Vec<Setting>,
    /// The ports if no setting names one.
    pub(in crate::servers) default_ports: Vec<u16>,
    /// The ports of listeners that exist by default, by name.
    pub(in crate::servers) named_ports: BTreeMap<String, u16>,
    pub(in crate::servers) settings: Vec<Setting>,
    pub(in crate::servers) defaults: Vec<IdleDefault>,
}

/// A setting that may change how the server handles idle connections.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Setting {
    pub(in crate::servers) source: Source,
    /// Whether the first of several occurrences wins, instead of the last.
    pub(in crate::servers) first_wins: bool,
    /// The word that the value must start with; it is not part of the value.
    pub(in crate::servers) directive: Option<String>,
    /// Read only if the command line has no flags.
    pub(in crate::servers) unless_flags: bool,
    /// Read only if this configuration file is not part of the input.
    pub(in crate::servers) unless_file: Option<String>,
    pub(in crate::servers) versions: Option<Versions>,
    /// The modes in which it is active; empty for all.
    pub(in crate::servers) modes: Vec<String>,
    pub(in crate::servers) effect: Effect,
    /// What may override it, as a sentence.
    pub(in crate::servers) likely: Option<String>,
}

/// Where a setting can be set.
#[derive(Clone, Debug)]
pub(in crate::servers) enum Source {
    /// A flag.
    Flag {
        names: Vec<Flag>,
        /// Whether the value must be attached with `=`.
        glued: bool,
        /// The value of the flag if none is given.
        bare: Option<String>,
    },
    /// An argument `key=value`.
    Argument(Vec<String>),
    /// An environment variable; `<NAME>` stands for any word.
    Env(Vec<String>),
    /// A Java system property.
    Property(Vec<String>),
    /// A Spring Boot property, in any source that Spring reads.
    Spring(Vec<String>),
    /// A volume mounted at, above or below a path. A name without a slash is the last part of a path, or relative to
    /// the working directory.
    Mount(Vec<String>),
    /// The first argument that is not a flag.
    Subcommand,
    /// A key in a configuration file of the server.
    File { name: String, key: String },
}

/// The name of a flag. `--kee[p-alive]` can be abbreviated within the brackets; `<name>` stands for any word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) struct Flag {
    pub(in crate::servers) full: String,
    pub(in crate::servers) shortest: usize,
}

/// The effect of a setting.
#[derive(Clone, Debug)]
pub(in crate::servers) enum Effect {
    /// Sets the idle timeout.
    Idle {
        format: Format,
        special: Vec<(String, Outcome)>,
        /// What the server adds to the value, and since which version.
        plus: Option<(Duration, Option<Versions>)>,
    },
    /// Names a file that may set the timeout.
    File,
    /// Makes the answer unknown, for this reason.
    Unknown(String),
    /// Sets the idle timeout of one of several ports or profiles, which makes the answer unknown for this reason.
    Part(String),
    /// Selects a mode.
    Mode { values: Vec<(String, String)>, otherwise: Option<String> },
    /// None, although it looks relevant.
    Nothing,
    /// Sets a port or a path for other settings.
    Names,
}

/// The meaning of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Outcome {
    /// The server closes idle connections within this time.
    After { from: Duration, to: Duration },
    /// The server keeps them open.
    Never,
    /// The server closes the connection after each response.
    EachResponse,
    /// The default applies; settings of lower precedence are ignored.
    Default,
    /// The same as if it were not set.
    Unset,
    /// Unknown.
    Unknown,
}

impl Outcome {
    /// An exact timeout.
    pub(in crate::servers) const fn after(timeout: Duration) -> Self {
        Self::After { from: timeout, to: timeout }
    }
}

/// The behaviour if no setting changes it.
#[derive(Clone, Debug)]
pub(in crate::servers) struct IdleDefault {
    pub(in crate::servers) outcome: Outcome,
    /// How much later than the timeout the server may close.
    pub(in crate::servers) late: Duration,
    /// How much earlier than the timeout the server may close.
    pub(in crate::servers) early: Duration,
    pub(in crate::servers) versions: Option<Versions>,
    /// Also used for unknown versions, because older releases are no longer supported.
    pub(in crate::servers) assumed: bool,
    /// The modes in which it applies; empty for all.
    pub(in crate::servers) modes: Vec<String>,
    /// It comes from a file of the listed images, and does not apply to others.
    pub(in crate::servers) own_image: bool,
    /// Applies only if this configuration file was read from the input.
    pub(in crate::servers) file: Option<String>,
    pub(in crate::servers) obeys: Obeys,
    /// The source of the value, or why it is unknown.
    pub(in crate::servers) source: String,
    pub(in crate::servers) grade: Grade,
    /// Certain if this configuration file was read from the input.
    pub(in crate::servers) settled_by: Option<String>,
    /// The setting to change.
    pub(in crate::servers) raise: Option<String>,
}

/// The certainty of a default, with the reason as a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Grade {
    /// Nothing outside of the pod spec can change the timeout.
    Certain(String),
    /// Files of the image, or the code of the app, may set another timeout.
    Likely(String),
}

/// The settings that apply together with a default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Obeys {
    /// All settings.
    All,
    /// Only settings with special values.
    Special,
    /// None.
    Nothing,
}

impl Server {
    /// The flags and variables that set the idle timeout, in order of precedence.
    pub fn setting_names(&self) -> impl Iterator<Item = String> {
        self.settings.iter().filter_map(|setting| setting.setting_name(None))
    }
}

impl Setting {
    /// The display name of a flag, variable or property that sets the idle timeout; for a listener, with its name
    /// filled in.
    pub(in crate::servers) fn setting_name(&self, listener: Option<&str>) -> Option<String> {
        let sets_idle = match self.effect {
            Effect::Idle { format, .. } => format != Format::Word,
            Effect::Part(_) => true,
            Effect::File | Effect::Unknown(_) | Effect::Mode { .. } | Effect::Nothing | Effect::Names => {
                false
            }
        };
        let source = listener.map_or(Cow::Borrowed(&self.source), |name| self.source.named(name));
        let name = match &*source {
            Source::Flag { names, .. } => names.last().map(|flag| flag.full.clone()),
            Source::Argument(names) | Source::Env(names) | Source::Property(names) => names.first().cloned(),
            Source::Spring(names) => names.first().map(|name| format!("--{name}")),
            Source::Mount(_) | Source::Subcommand | Source::File { .. } => None,
        };
        let name = name.filter(|_| sets_idle)?;
        Some(match &self.directive {
            Some(directive) => format!("{name} {directive}"),
            None => name,
        })
    }

    /// The names of its flags and variables, as written.
    pub(in crate::servers) fn names(&self) -> impl Iterator<Item = &str> {
        let (flags, names): (&[Flag], &[String]) = match &self.source {
            Source::Flag { names, .. } => (names, &[]),
            Source::Argument(names)
            | Source::Env(names)
            | Source::Property(names)
            | Source::Spring(names) => (&[], names),
            Source::Mount(_) | Source::Subcommand | Source::File { .. } => (&[], &[]),
        };
        flags.iter().map(|flag| flag.full.as_str()).chain(names.iter().map(String::as_str))
    }
}

impl Source {
    /// The source with the name of a listener in place of `<name>`; upper case for variables.
    pub(in crate::servers) fn named(&self, listener: &str) -> Cow<'_, Self> {
        let fill = |text: &String| fill(text, listener);
        let upper = listener.to_ascii_uppercase();
        match self {
            Self::Flag { names, glued, bare } if names.iter().any(|flag| flag.full.contains('<')) => {
                let names = names.iter().map(|flag| {
                    let full = fill(&flag.full);
                    Flag { shortest: full.len(), full }
                });
                Cow::Owned(Self::Flag { names: names.collect(), glued: *glued, bare: bare.clone() })
            }
            Self::Env(names) if names.iter().any(|name| name.contains('<')) => {
                Cow::Owned(Self::Env(names.iter().map(|name| self::fill(name, &upper)).collect()))
            }
            Self::Argument(names) => Cow::Owned(Self::Argument(names.iter().map(fill).collect())),
            Self::Property(names) => Cow::Owned(Self::Property(names.iter().map(fill).collect())),
            Self::Spring(names) => Cow::Owned(Self::Spring(names.iter().map(fill).collect())),
            Self::File { name, key } if key.contains('<') => {
                Cow::Owned(Self::File { name: name.clone(), key: fill(key) })
            }
            Self::Flag { .. } | Self::Env(_) | Self::Mount(_) | Self::Subcommand | Self::File { .. } => {
                Cow::Borrowed(self)
            }
        }
    }
}

/// Replaces `<...>` in a text.
fn fill(text: &str, name: &str) -> String {
    match text.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
        Some((head, tail)) => format!("{head}{name}{tail}"),
        None => text.to_owned(),
    }
}
