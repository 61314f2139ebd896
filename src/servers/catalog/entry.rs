//! An entry of the catalog in its checked form: a server, its signs, its settings and its defaults.
//!
//! Nouns for `check`, which makes them, and for `recognise`, `settings` and `resolve`, which read them.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use super::{format::Format, version::Versions};
use crate::servers::settings::FileFormat;

/// A server of the catalog.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in policies and messages.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The file of the catalog that it stands in, such as `python`; `policy` for a user's own.
    pub family: String,
    /// The program that runs it: with it, a setting that only this server reads is proof enough.
    pub(in crate::servers) runtime: Option<String>,
    /// A more general entry, which this one replaces where both are recognised.
    pub(in crate::servers) refines: Option<String>,
    /// What to say when a single hint speaks for it.
    pub(in crate::servers) doubt: Option<String>,
    /// A single hint by the command is enough, as each default is likely.
    pub(in crate::servers) command_is_enough: bool,
    pub(in crate::servers) signs: Vec<Sign>,
    /// Programs that behave as this entry says, under their own names.
    pub products: Vec<Product>,
    /// Repositories whose tag is the version.
    pub(in crate::servers) version_from: Vec<String>,
    /// Variables in the ENV of images whose value is the version, the first that is set counts.
    pub(in crate::servers) version_env: Vec<String>,
    /// What the listed images put before `args`.
    pub(in crate::servers) entrypoint: Vec<String>,
    /// The listed images take `args` for arguments of their program, never for another command.
    pub(in crate::servers) takes_arguments: bool,
    /// Flags, arguments and variables are compared without regard to case.
    pub(in crate::servers) ignore_case: bool,
    /// Variables that hold more command line, the strongest first.
    pub(in crate::servers) arguments_env: Vec<String>,
    /// Variables that the entrypoint of the listed images adds to the JVM's options, the strongest first.
    pub(in crate::servers) java_options_env: Vec<String>,
    pub(in crate::servers) mode: Option<Mode>,
    /// Configuration files, by the names that settings use.
    pub(in crate::servers) files: BTreeMap<String, ConfigFile>,
    /// The lines that matter of files in the listed images, by path.
    pub(in crate::servers) image_files: BTreeMap<String, String>,
    /// Files that the listed images' ENTRYPOINT makes from templates with variables.
    pub(in crate::servers) templates: Option<Templates>,
    /// Listeners beside the main one, each with a port of its own.
    pub(in crate::servers) listeners: Vec<Listener>,
    /// Why nothing is known of ports that no listener has.
    pub(in crate::servers) other_ports: Option<String>,
    pub(in crate::servers) settings: Vec<Setting>,
    pub(in crate::servers) defaults: Vec<IdleDefault>,
    /// What to change where no flag or variable sets the idle timeout: `server.keepAliveTimeout`.
    pub(in crate::servers) raise: Option<String>,
    /// What surprises people, in sentences.
    pub gotchas: Vec<String>,
    /// Where flags and behaviour come from; each default has a source of its own.
    pub sources: Vec<String>,
}

/// A program that behaves as its entry says.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its name for people.
    pub name: String,
    /// Where it was read that it does.
    pub source: String,
    /// The ports that behave so; empty for all.
    pub(in crate::servers) ports: Vec<u16>,
}

impl Product {
    /// It is known of some ports alone.
    pub(in crate::servers) const fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }
}

/// A sign of a server.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Sign {
    pub(in crate::servers) kind: SignKind,
    /// Without the asterisk of a prefix.
    pub(in crate::servers) text: String,
    pub(in crate::servers) prefix: bool,
    pub(in crate::servers) strength: Strength,
    /// Words that an image's tag must have, or (`false`) must not have.
    pub(in crate::servers) tag: Vec<(String, bool)>,
    /// The product that it is a sign of: its place among the server's.
    pub(in crate::servers) product: Option<usize>,
}

/// What kind of thing a sign is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::servers) enum SignKind {
    /// An image's repository, with its registry.
    Image,
    /// The last part of an image's repository, whatever its registry and namespace.
    ImageName,
    /// A program, perhaps with its first argument.
    Command,
    /// A module that Python runs.
    Module,
    /// A jar that Java runs.
    Jar,
    /// A class that Java runs.
    Class,
    /// A variable or a property that only this server reads.
    Setting,
    /// A flag that only this server has, with two dashes.
    Flag,
}

/// What a sign is worth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::servers) enum Strength {
    /// Proof only together with another one.
    Hint,
    /// Proof.
    Reliable,
}

/// Ways of working between which settings choose, such as gunicorn's worker classes.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Mode {
    pub(in crate::servers) start: String,
    pub(in crate::servers) steps: Vec<ModeStep>,
}

/// The first of `choices` that is set decides, if the mode so far is one of `when`.
#[derive(Clone, Debug)]
pub(in crate::servers) struct ModeStep {
    pub(in crate::servers) when: Vec<String>,
    pub(in crate::servers) choices: Vec<Setting>,
}

/// A configuration file.
#[derive(Clone, Debug)]
pub(in crate::servers) struct ConfigFile {
    pub(in crate::servers) format: FileFormat,
    /// Where the program looks for it, the first that exists counts; a name without a slash stands in the working
    /// directory.
    pub(in crate::servers) at: Vec<String>,
    /// Settings that name its path, the strongest first.
    pub(in crate::servers) named_by: Vec<Setting>,
    /// Put before every key.
    pub(in crate::servers) prefix: String,
}

/// Files made from templates: `/etc/nginx/templates/x.conf.template` becomes `/etc/nginx/conf.d/x.conf`.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Templates {
    pub(in crate::servers) from: String,
    pub(in crate::servers) to: String,
    pub(in crate::servers) suffix: String,
}

/// A listener with a port of its own.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Listener {
    /// Its name; `<name>` makes one of each name that the port's settings show.
    pub(in crate::servers) name: String,
    /// The releases that have it.
    pub(in crate::servers) versions: Option<Versions>,
    /// Settings whose value is its port or address, the strongest first.
    pub(in crate::servers) port: Vec<Setting>,
    /// Its ports when none is set.
    pub(in crate::servers) default_ports: Vec<u16>,
    /// Ports of listeners that exist without being named, by their names.
    pub(in crate::servers) named_ports: BTreeMap<String, u16>,
    pub(in crate::servers) settings: Vec<Setting>,
    pub(in crate::servers) defaults: Vec<IdleDefault>,
}

/// Something that can change what the server does with idle connections.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Setting {
    pub(in crate::servers) source: Source,
    /// Of several occurrences the first counts, not the last.
    pub(in crate::servers) first_wins: bool,
    /// The value counts only when it starts with this word, which is not part of it.
    pub(in crate::servers) directive: Option<String>,
    /// It is read only when the command line has no flag.
    pub(in crate::servers) unless_flags: bool,
    /// It is read only where this configuration file does not come from the input.
    pub(in crate::servers) unless_file: Option<String>,
    pub(in crate::servers) versions: Option<Versions>,
    /// The modes in which it acts; empty for all.
    pub(in crate::servers) modes: Vec<String>,
    pub(in crate::servers) effect: Effect,
    /// What may overrule it, where something may: a sentence.
    pub(in crate::servers) likely: Option<String>,
}

/// Where a setting stands.
#[derive(Clone, Debug)]
pub(in crate::servers) enum Source {
    /// A flag.
    Flag {
        names: Vec<Flag>,
        /// The value must be glued on with `=`.
        glued: bool,
        /// The value of a flag that stands alone.
        bare: Option<String>,
    },
    /// An argument `key=value`.
    Argument(Vec<String>),
    /// A variable; `<NAME>` stands for any word.
    Env(Vec<String>),
    /// A Java system property.
    Property(Vec<String>),
    /// A Spring Boot property, wherever Spring looks for it.
    Spring(Vec<String>),
    /// A volume mounted at, above or below a path; a name without a slash is the last part of a path, or stands in the
    /// working directory.
    Mount(Vec<String>),
    /// The first argument that is no flag.
    Subcommand,
    /// A key of one of the server's configuration files.
    File { name: String, key: String },
}

/// A flag's name: `--kee[p-alive]` may be cut anywhere within the brackets, `<name>` stands for any word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) struct Flag {
    pub(in crate::servers) full: String,
    pub(in crate::servers) shortest: usize,
}

/// What a setting does.
#[derive(Clone, Debug)]
pub(in crate::servers) enum Effect {
    /// Sets the idle timeout.
    Idle {
        format: Format,
        special: Vec<(String, Outcome)>,
        /// What the server adds to it, and from which version on.
        plus: Option<(Duration, Option<Versions>)>,
    },
    /// Names a file that may set it.
    File,
    /// Makes the answer unknown, for this reason.
    Unknown(String),
    /// Sets the idle timeout of one of several ports or profiles, which makes the answer unknown for this reason.
    Part(String),
    /// Chooses a mode.
    Mode { values: Vec<(String, String)>, otherwise: Option<String> },
    /// Nothing, though it looks as if it did.
    Nothing,
    /// Gives a port or a path, which its user reads.
    Names,
}

/// What a value stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Outcome {
    /// Idle connections close within this time.
    After { from: Duration, to: Duration },
    /// They stay open.
    Never,
    /// Each response ends the connection.
    EachResponse,
    /// The default, whatever weaker settings say.
    Default,
    /// As if it were not set.
    Unset,
    /// We do not know.
    Unknown,
}

impl Outcome {
    /// A timeout that is exactly so long.
    pub(in crate::servers) const fn after(timeout: Duration) -> Self {
        Self::After { from: timeout, to: timeout }
    }
}

/// What the server does when no setting says otherwise.
#[derive(Clone, Debug)]
pub(in crate::servers) struct IdleDefault {
    pub(in crate::servers) outcome: Outcome,
    /// How much later than the timeout the server may get round to closing.
    pub(in crate::servers) late: Duration,
    /// How much sooner than the timeout the server may close.
    pub(in crate::servers) early: Duration,
    pub(in crate::servers) versions: Option<Versions>,
    /// Also taken when the version may be another: older releases have long been out of support.
    pub(in crate::servers) assumed: bool,
    /// The modes in which it holds; empty for all.
    pub(in crate::servers) modes: Vec<String>,
    /// It comes from a file in the listed images, and says nothing about others.
    pub(in crate::servers) own_image: bool,
    /// It holds where this configuration file was read from the input.
    pub(in crate::servers) file: Option<String>,
    pub(in crate::servers) obeys: Obeys,
    /// Where it comes from, or why it is not known.
    pub(in crate::servers) source: String,
    pub(in crate::servers) grade: Grade,
    /// It is certain where this configuration file was read from the input.
    pub(in crate::servers) settled_by: Option<String>,
    /// What to change to raise it.
    pub(in crate::servers) raise: Option<String>,
}

/// How sure a default is, with the reason as a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Grade {
    /// The program can take its timeout from nothing that the pod spec does not show.
    Certain(String),
    /// Files of the image or the app's code may set another.
    Likely(String),
}

/// Which settings act beside a default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Obeys {
    /// All.
    All,
    /// Only their special values.
    Special,
    /// None.
    Nothing,
}

impl Server {
    /// Every flag and variable that sets the idle timeout, the strongest first.
    pub fn setting_names(&self) -> impl Iterator<Item = String> {
        self.settings.iter().filter_map(|setting| setting.setting_name(None))
    }
}

impl Setting {
    /// Its name for people, if it is a flag, a variable or a property that sets the idle timeout, of this listener where
    /// it is that of one.
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

    /// The names of the flags and variables that it stands in, as they are written.
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
    /// The same with a listener's name in place of each `<name>`; variables have it in upper case.
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

/// A text with `<...>` replaced.
fn fill(text: &str, name: &str) -> String {
    match text.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
        Some((head, tail)) => format!("{head}{name}{tail}"),
        None => text.to_owned(),
    }
}
