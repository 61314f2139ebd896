//! The catalog: what we know about servers, checked once.
//!
//! Turns the text of `catalog.yaml` into [`Server`]s with an index of their signs, so that recognising one costs the
//! same however many there are.

mod check;
mod format;
mod index;
mod raw;
mod version;

use std::{sync::LazyLock, time::Duration};

use serde_saphyr::Spanned;

use self::index::Index;
pub(super) use self::index::{Mark, SignKind};
pub use self::raw::RawServer;
pub(super) use self::{
    format::{Format, Reading},
    version::{Fit, Version, Versions},
};

/// Servers, and the signs by which they are recognised.
#[derive(Clone, Debug)]
pub struct Catalog {
    servers: Vec<Server>,
    index: Index,
}

/// A mistake in a catalog.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct CatalogError {
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::parse(include_str!("catalog.yaml")).expect("a unit test parses the catalog that is built in")
});

impl Catalog {
    /// The catalog that comes with the program.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a catalog.
    ///
    /// # Errors
    ///
    /// Every mistake with its line; where the text is not of the schema's shape, the first one.
    pub fn parse(text: &str) -> Result<Self, Vec<CatalogError>> {
        let empty = Self { servers: Vec::new(), index: Index::default() };
        match serde_saphyr::from_str::<Vec<Spanned<RawServer>>>(text) {
            Ok(raw) => empty.with(raw),
            Err(error) => {
                let line = error.location().map_or(0, |location| location.line());
                let message = error.without_snippet().to_string();
                let message = message.lines().next().unwrap_or_default();
                // The line is told already.
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                Err(vec![CatalogError { line, message }])
            }
        }
    }

    /// This catalog with more entries; one with a known id takes the other's place.
    ///
    /// # Errors
    ///
    /// Every mistake in the entries, with its line in the file that they were read from.
    pub fn with(&self, extra: Vec<Spanned<RawServer>>) -> Result<Self, Vec<CatalogError>> {
        let mut servers = self.servers.clone();
        let added = check::servers(&servers, extra)?;
        for server in added {
            match servers.iter_mut().find(|known| known.id == server.id) {
                Some(known) => *known = server,
                None => servers.push(server),
            }
        }
        let index = Index::of(&servers);
        Ok(Self { servers, index })
    }

    /// Every server, in the order of the file.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    pub(super) fn server(&self, at: usize) -> Option<&Server> {
        self.servers.get(at)
    }

    pub(super) fn marks(&self, kind: SignKind, text: &str) -> Vec<&Mark> {
        self.index.marks(kind, text)
    }
}

/// A server of the catalog.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in policies and messages.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The program that runs it: with it, a setting that only this server reads is proof enough.
    pub(super) runtime: Option<String>,
    /// A more general entry, which this one replaces where both are recognised.
    pub(super) refines: Option<String>,
    /// What to say when a single hint speaks for it.
    pub(super) doubt: Option<String>,
    signs: Vec<Sign>,
    /// Repositories whose tag is the version.
    pub(super) version_from: Vec<String>,
    /// What the listed images put before `args`.
    pub(super) entrypoint: Vec<String>,
    /// Flags, arguments and variables are compared without regard to case.
    pub(super) ignore_case: bool,
    /// Variables that hold more command line, the strongest first.
    pub(super) arguments_env: Vec<String>,
    /// Variables that the entrypoint of the listed images adds to the JVM's options, the strongest first.
    pub(super) java_options_env: Vec<String>,
    pub(super) mode: Option<Mode>,
    pub(super) settings: Vec<Setting>,
    pub(super) defaults: Vec<IdleDefault>,
}

impl Server {
    /// The flag or variable by which a pod's spec sets the idle timeout, the strongest first; `None` where only a
    /// file or code does.
    pub fn knob(&self) -> Option<String> {
        self.knobs().next()
    }

    /// The same for every flag and variable, the strongest first.
    pub fn knobs(&self) -> impl Iterator<Item = String> {
        let sets_idle = |setting: &&Setting| match setting.sets {
            Sets::Idle { format, .. } => format != Format::Word,
            Sets::Part(_) => true,
            Sets::File | Sets::Doubt(_) | Sets::Mode { .. } => false,
        };
        self.settings.iter().filter(sets_idle).filter_map(|setting| {
            let name = match &setting.source {
                Source::Flag { names, .. } => names.last().map(|flag| flag.full.clone()),
                Source::Argument(names) | Source::Env(names) | Source::Property(names) => {
                    names.first().cloned()
                }
                Source::Spring(names) => names.first().map(|name| format!("--{name}")),
                Source::Mount(_) | Source::Subcommand => None,
            }?;
            Some(match &setting.directive {
                Some(directive) => format!("{name} {directive}"),
                None => name,
            })
        })
    }
}

/// A sign of a server.
#[derive(Clone, Debug)]
struct Sign {
    kind: SignKind,
    /// Without the asterisk of a prefix.
    text: String,
    prefix: bool,
    strength: Strength,
    /// Words that an image's tag must have, or (`false`) must not have.
    tag: Vec<(String, bool)>,
}

/// What a sign is worth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Strength {
    /// Proof only together with another one.
    Hint,
    /// Proof.
    Reliable,
}

/// Ways of working between which settings choose, such as gunicorn's worker classes.
#[derive(Clone, Debug)]
pub(super) struct Mode {
    pub(super) start: String,
    pub(super) steps: Vec<ModeStep>,
}

/// The first of `choices` that is set decides, if the mode so far is one of `when`.
#[derive(Clone, Debug)]
pub(super) struct ModeStep {
    pub(super) when: Vec<String>,
    pub(super) choices: Vec<Setting>,
}

/// Something that can change what the server does with idle connections.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) source: Source,
    /// Of several occurrences the first counts, not the last.
    pub(super) first_wins: bool,
    /// The value counts only when it starts with this word, which is not part of it.
    pub(super) directive: Option<String>,
    /// It is read only when the command line has no flag.
    pub(super) unless_flags: bool,
    pub(super) versions: Option<Versions>,
    /// The modes in which it acts; empty for all.
    pub(super) modes: Vec<String>,
    pub(super) sets: Sets,
}

/// Where a setting stands.
#[derive(Clone, Debug)]
pub(super) enum Source {
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
}

/// A flag's name: `--kee[p-alive]` may be cut anywhere within the brackets, `<name>` stands for any word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Flag {
    pub(super) full: String,
    pub(super) shortest: usize,
}

/// What a setting does.
#[derive(Clone, Debug)]
pub(super) enum Sets {
    /// The idle timeout.
    Idle {
        format: Format,
        special: Vec<(String, Outcome)>,
        /// What the server adds to it, and from which version on.
        plus: Option<(Duration, Option<Versions>)>,
    },
    /// Names a file that may set it.
    File,
    /// Makes the answer uncertain, for this reason.
    Doubt(String),
    /// The idle timeout of one of several ports or profiles, which makes the answer uncertain for this reason.
    Part(String),
    /// Chooses a mode.
    Mode { values: Vec<(String, String)>, otherwise: Option<String> },
}

/// What a special value stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Idle connections close after this long.
    After(Duration),
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

/// What the server does when no setting says otherwise.
#[derive(Clone, Debug)]
pub(super) struct IdleDefault {
    pub(super) outcome: Outcome,
    /// How much later than the timeout the server may get round to closing.
    pub(super) late: Duration,
    pub(super) versions: Option<Versions>,
    /// Also taken when the version may be another: older releases have long been out of support.
    pub(super) assumed: bool,
    /// The modes in which it holds; empty for all.
    pub(super) modes: Vec<String>,
    /// It comes from a file in the listed images, and says nothing about others.
    pub(super) own_image: bool,
    pub(super) obeys: Obeys,
    /// Where it comes from, or why it is not known.
    pub(super) source: String,
}

/// Which settings act beside a default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Obeys {
    /// All.
    All,
    /// Only their special values.
    Special,
    /// None.
    Nothing,
}

#[cfg(test)]
mod tests;
