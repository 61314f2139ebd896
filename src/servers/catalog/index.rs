//! From a sign to the servers that it speaks for, by hash lookups only.

use std::collections::{BTreeSet, HashMap};

use super::{Server, Sign, Strength};

/// What kind of thing a sign is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::servers) enum SignKind {
    /// An image's repository, with its registry.
    Image,
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
}

/// A sign that was found: for which server it speaks, and how loudly.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Mark {
    /// The server's place in the catalog.
    pub(in crate::servers) server: usize,
    pub(in crate::servers) strength: Strength,
    tag: Vec<(String, bool)>,
}

impl Mark {
    /// Whether an image with this tag counts; a digest alone says nothing of words that must not be there.
    pub(in crate::servers) fn takes_tag(&self, tag: Option<&str>) -> bool {
        let takes = |tag: &str| self.tag.iter().all(|(word, wanted)| tag.contains(word.as_str()) == *wanted);
        tag.map_or(self.tag.is_empty(), takes)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    exact: HashMap<SignKind, HashMap<String, Vec<Mark>>>,
    prefixes: HashMap<SignKind, Prefixes>,
}

/// Signs that end in an asterisk, and the lengths that they have.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    lengths: BTreeSet<usize>,
    marks: HashMap<String, Vec<Mark>>,
}

impl Index {
    pub(super) fn of(servers: &[Server]) -> Self {
        let mut index = Self::default();
        for (at, server) in servers.iter().enumerate() {
            for Sign { kind, text, prefix, strength, tag } in &server.signs {
                let mark = Mark { server: at, strength: *strength, tag: tag.clone() };
                let of_kind = if *prefix {
                    let prefixes = index.prefixes.entry(*kind).or_default();
                    prefixes.lengths.insert(text.len());
                    &mut prefixes.marks
                } else {
                    index.exact.entry(*kind).or_default()
                };
                of_kind.entry(text.clone()).or_default().push(mark);
            }
        }
        index
    }

    /// The servers that `text` speaks for. The lengths that prefixes have are few, and the same for all servers.
    pub(super) fn marks(&self, kind: SignKind, text: &str) -> Vec<&Mark> {
        let exact = self.exact.get(&kind).and_then(|of_kind| of_kind.get(text));
        let prefixes = self.prefixes.get(&kind).into_iter().flat_map(|Prefixes { lengths, marks }| {
            lengths.range(..=text.len()).filter_map(|length| marks.get(text.get(..*length)?))
        });
        exact.into_iter().chain(prefixes).flatten().collect()
    }
}
