//! From a sign to the servers that it speaks for, by hash lookups only.

use std::collections::{BTreeSet, HashMap};

use super::entry::{Server, Sign, SignKind, Strength};

/// A sign that was found: for which server it speaks, and how loudly.
#[derive(Clone, Debug)]
pub(in crate::servers) struct SignMatch {
    /// The server's place in the catalog.
    pub(in crate::servers) server: usize,
    /// The product's place among the server's.
    pub(in crate::servers) product: Option<usize>,
    pub(in crate::servers) strength: Strength,
    tag: Vec<(String, bool)>,
}

impl SignMatch {
    /// Whether an image with this tag counts; a digest alone says nothing of words that must not be there.
    pub(in crate::servers) fn takes_tag(&self, tag: Option<&str>) -> bool {
        let takes = |tag: &str| self.tag.iter().all(|(word, wanted)| tag.contains(word.as_str()) == *wanted);
        tag.map_or(self.tag.is_empty(), takes)
    }
}

/// How an image was recognised.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::servers) enum MatchKind {
    /// By its name alone, in a registry or namespace that is not the server's.
    Name,
    /// By its path, at the server's registry or at a mirror.
    Path,
}

/// Longer paths nobody writes: registries allow 255 characters, and mirrors put a name or two before a path.
const MAX_PARTS: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    exact: HashMap<SignKind, HashMap<String, Vec<SignMatch>>>,
    prefixes: HashMap<SignKind, Prefixes>,
    /// The paths of images without their registry, where they have two parts or more.
    mirrored: Signs,
}

#[derive(Clone, Debug, Default)]
struct Signs {
    exact: HashMap<String, Vec<SignMatch>>,
    prefixes: Prefixes,
}

/// Signs that end in an asterisk, and the lengths that they have.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    lengths: BTreeSet<usize>,
    matches: HashMap<String, Vec<SignMatch>>,
}

impl Prefixes {
    fn add(&mut self, text: &str, sign_match: SignMatch) {
        self.lengths.insert(text.len());
        self.matches.entry(text.to_owned()).or_default().push(sign_match);
    }

    /// The lengths that prefixes have are few, and the same for all servers.
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
                        index.mirrored.exact.entry(path.to_owned()).or_default().push(sign_match.clone());
                    }
                }
                if *prefix {
                    index.prefixes.entry(*kind).or_default().add(text, sign_match);
                } else {
                    index.exact.entry(*kind).or_default().entry(text.clone()).or_default().push(sign_match);
                }
            }
        }
        index
    }

    /// The servers that `text` speaks for.
    pub(super) fn matches(&self, kind: SignKind, text: &str) -> Vec<&SignMatch> {
        let exact = self.exact.get(&kind).and_then(|of_kind| of_kind.get(text));
        let prefixes = self.prefixes.get(&kind).into_iter().flat_map(|prefixes| prefixes.matches(text));
        exact.into_iter().flatten().chain(prefixes).collect()
    }

    /// The servers that an image's repository, with its registry, speaks for: at their own registry; where there are
    /// none, at a mirror, which keeps the end of the path; and by the last part alone.
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
