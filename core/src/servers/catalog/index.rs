//! The index from signs to servers. Uses only hash lookups.

use std::collections::BTreeSet;

use foldhash::HashMap;

use super::entry::{Server, Sign, SignKind, Strength};

/// A matching sign: the server and the strength.
#[derive(Clone, Debug)]
pub(in crate::servers) struct SignMatch {
    /// The index of the server in the catalog.
    pub(in crate::servers) server: usize,
    /// The index of the product in the server.
    pub(in crate::servers) product: Option<usize>,
    pub(in crate::servers) strength: Strength,
    tag: Vec<(String, bool)>,
}

impl SignMatch {
    /// Whether an image with this tag matches. A digest matches only if no word is required or forbidden.
    pub(in crate::servers) fn takes_tag(&self, tag: Option<&str>) -> bool {
        let takes = |tag: &str| self.tag.iter().all(|(word, wanted)| tag.contains(word.as_str()) == *wanted);
        tag.map_or(self.tag.is_empty(), takes)
    }
}

/// How an image was recognised.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::servers) enum MatchKind {
    /// By its name only, in another registry or namespace.
    Name,
    /// By its path, in the server's own registry or in a mirror.
    Path,
}

/// The maximum number of path parts. Registries allow 255 characters, and mirrors add one or two parts.
const MAX_PARTS: usize = 8;

/// The servers of each sign.
type Matches = HashMap<String, Vec<SignMatch>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    exact: HashMap<SignKind, Matches>,
    prefixes: HashMap<SignKind, Prefixes>,
    /// Image paths with two or more parts, without the registry.
    mirrored: Signs,
}

#[derive(Clone, Debug, Default)]
struct Signs {
    exact: Matches,
    prefixes: Prefixes,
}

/// Signs with an asterisk at the end, and their lengths.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    lengths: BTreeSet<usize>,
    matches: Matches,
}

/// Adds a match of a sign. Few signs have two, so the list has room for one.
fn add(matches: &mut Matches, text: &str, sign_match: SignMatch) {
    matches.entry(text.to_owned()).or_insert_with(|| Vec::with_capacity(1)).push(sign_match);
}

impl Prefixes {
    fn add(&mut self, text: &str, sign_match: SignMatch) {
        self.lengths.insert(text.len());
        add(&mut self.matches, text, sign_match);
    }

    /// All servers together have only few distinct prefix lengths.
    fn matches<'i>(&'i self, text: &str) -> impl Iterator<Item = &'i SignMatch> {
        let heads = self.lengths.range(..=text.len()).filter_map(|length| text.get(..*length));
        heads.filter_map(|head| self.matches.get(head)).flatten()
    }
}

impl Index {
    pub(super) fn of(servers: &[Server]) -> Self {
        let mut index = Self::default();
        for (at, server) in servers.iter().enumerate() {
            for Sign { kind, text, prefix, strength, tag, product } in &server.signs {
                let sign_match =
                    SignMatch { server: at, product: *product, strength: *strength, tag: tag.clone() };
                let path = text.split_once('/').map_or("", |(_, path)| path);
                if *kind == SignKind::Image && path.contains('/') {
                    if *prefix {
                        index.mirrored.prefixes.add(path, sign_match.clone());
                    } else {
                        add(&mut index.mirrored.exact, path, sign_match.clone());
                    }
                }
                if *prefix {
                    index.prefixes.entry(*kind).or_default().add(text, sign_match);
                } else {
                    add(index.exact.entry(*kind).or_default(), text, sign_match);
                }
            }
        }
        index
    }

    /// The servers that match `text`.
    pub(super) fn matches(&self, kind: SignKind, text: &str) -> Vec<&SignMatch> {
        let exact = self.exact.get(&kind).and_then(|of_kind| of_kind.get(text));
        let prefixes = self.prefixes.get(&kind).into_iter().flat_map(|prefixes| prefixes.matches(text));
        exact.into_iter().flatten().chain(prefixes).collect()
    }

    /// The servers that match the repository of an image, including its registry: first in their own registry; if there
    /// is none, in a mirror, which keeps the end of the path; and by the last part only.
    pub(super) fn image_matches(&self, repository: &str) -> Vec<(&SignMatch, MatchKind)> {
        let mut found: Vec<_> = self
            .matches(SignKind::Image, repository)
            .into_iter()
            .map(|sign_match| (sign_match, MatchKind::Path))
            .collect();
        let parts = repository.match_indices('/').map(|(at, _)| at + 1);
        let mut tails = parts.take(MAX_PARTS).filter_map(|at| repository.get(at..));
        while found.is_empty()
            && let Some(tail) = tails.next().filter(|tail| tail.contains('/'))
        {
            let exact = self.mirrored.exact.get(tail).into_iter().flatten();
            let prefixes = self.mirrored.prefixes.matches(tail);
            found.extend(exact.chain(prefixes).map(|sign_match| (sign_match, MatchKind::Path)));
        }
        let name = repository.rsplit('/').next().unwrap_or(repository);
        found.extend(
            self.matches(SignKind::ImageName, name)
                .into_iter()
                .map(|sign_match| (sign_match, MatchKind::Name)),
        );
        found
    }
}
