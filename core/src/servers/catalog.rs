//! The catalog of servers.
//!
//! Reads and checks the built-in catalog once. The resulting [`Server`]s have an index of their signs, so that recognition
//! costs the same for any number of servers.

mod check;
mod describe;
mod entry;
mod format;
mod index;
mod raw;
mod version;

use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_saphyr::Spanned;

use self::index::Index;
pub(super) use self::{
    entry::{
        ConfigFile, Effect, Flag, Grade, IdleDefault, Listener, Obeys, Outcome, Setting, SignKind, Source,
        Strength,
    },
    format::{Format, Parsed},
    index::{MatchKind, SignMatch},
    version::{Version, VersionMatch, Versions},
};
pub use self::{
    entry::{Product, Server},
    raw::RawServer,
};

/// Servers and the signs that identify them.
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
    /// The problem.
    pub message: String,
}

/// The built-in catalog: the name and the entries of each family. `build.rs` writes it from `catalog/*.yaml`.
const JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/catalog.json"));

static BUILTIN: LazyLock<Catalog> = LazyLock::new(|| {
    const READ: &str = "a unit test reads the catalog that is built in";
    let families: Vec<(&str, Vec<&RawValue>)> = serde_json::from_str(JSON).expect(READ);
    // One entry at a time: raw entries take ten times the memory of the JSON.
    let read = |entry: &RawValue| serde_json::from_str(entry.get()).expect(READ);
    let of_family =
        |(family, entries): (_, Vec<_>)| entries.into_iter().map(move |entry| (family, read(entry)));
    let catalog = Catalog::empty().joined(families.into_iter().flat_map(of_family));
    catalog.expect("a unit test compares it with its files, which it checks")
});

impl Catalog {
    /// The built-in catalog.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    fn empty() -> Self {
        Self { servers: Vec::new(), index: Index::default() }
    }

    /// Parses a catalog.
    ///
    /// # Errors
    ///
    /// Returns every mistake with its line; if the text does not match the schema, only the first one.
    pub fn parse(text: &str) -> Result<Self, Vec<CatalogError>> {
        Self::empty().with(parse(text)?)
    }

    /// Adds the entries of a text; an entry with a known id replaces the old one.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Catalog::parse`].
    pub fn with_text(&self, text: &str) -> Result<Self, Vec<CatalogError>> {
        self.with(parse(text)?)
    }

    /// Adds entries; an entry with a known id replaces the old one.
    ///
    /// # Errors
    ///
    /// Returns every mistake in the entries, with its line in their file.
    pub fn with(&self, extra: Vec<Spanned<RawServer>>) -> Result<Self, Vec<CatalogError>> {
        self.joined(extra.into_iter().map(|entry| ("policy", entry)))
    }

    fn joined<'f>(
        &self,
        extra: impl Iterator<Item = (&'f str, Spanned<RawServer>)>,
    ) -> Result<Self, Vec<CatalogError>> {
        let mut servers = self.servers.clone();
        let added = check::servers(&servers, extra)?;
        for server in added {
            match servers.iter_mut().find(|known| known.id == server.id) {
                Some(known) => *known = server,
                None => servers.push(server),
            }
        }
        servers.shrink_to_fit();
        let index = Index::of(&servers);
        Ok(Self { servers, index })
    }

    /// All servers, in the order of the files.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// The server with this id.
    pub fn find(&self, id: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.id == id)
    }

    pub(super) fn server(&self, at: usize) -> Option<&Server> {
        self.servers.get(at)
    }

    pub(super) fn matches(&self, kind: SignKind, text: &str) -> Vec<&SignMatch> {
        self.index.matches(kind, text)
    }

    pub(super) fn image_matches(&self, repository: &str) -> Vec<(&SignMatch, MatchKind)> {
        self.index.image_matches(repository)
    }
}

/// Parses the entries of a text.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<Spanned<T>>, Vec<CatalogError>> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default();
        // The message already contains the line.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        vec![CatalogError { line, message }]
    })
}

#[cfg(test)]
mod tests;
