//! The words of a command line, each with its place in the pod and with what we cannot know of it.
//!
//! Nouns for `environment`, `command` and `settings`, which make and read them.

use crate::pod::{Container, Pod};

/// Where a text stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// An item of `command`.
    Command(usize),
    /// An item of `args`.
    Args(usize),
    /// An item of `env`.
    Env(usize),
    /// A key of the ConfigMap of this name.
    ConfigMap(String),
    /// An item of `volumeMounts`.
    Mount(usize),
}

impl Place {
    /// The JSON pointer from the object's root; `ConfigMap web` where the text stands in another object.
    pub(super) fn pointer(&self, pod: &Pod<'_>, container: &Container<'_>) -> String {
        let (field, index) = match self {
            Self::Command(index) => ("command", index),
            Self::Args(index) => ("args", index),
            Self::Env(index) => ("env", index),
            Self::Mount(index) => ("volumeMounts", index),
            Self::ConfigMap(name) => return format!("ConfigMap {name}"),
        };
        pod.container_pointer(container, [field, &index.to_string()]).to_string()
    }
}

/// A part of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// Text that we know.
    Text(String),
    /// Text that we do not know, and why: `it may be set by Secret app-env`.
    Unknown(String),
}

/// A word of a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    /// Its parts: no text is empty, and no two texts are neighbours.
    pieces: Vec<Piece>,
    /// Where it stands.
    pub(super) at: Place,
}

impl Word {
    /// A word of these parts.
    pub(super) fn new(pieces: impl IntoIterator<Item = Piece>, at: Place) -> Self {
        let mut word = Self { pieces: Vec::new(), at };
        for piece in pieces {
            match (piece, word.pieces.last_mut()) {
                (Piece::Text(text), _) if text.is_empty() => {}
                (Piece::Text(text), Some(Piece::Text(before))) => before.push_str(&text),
                (piece, _) => word.pieces.push(piece),
            }
        }
        word
    }

    /// A word that is wholly known.
    pub(super) fn text(text: &str, at: Place) -> Self {
        Self::new([Piece::Text(text.to_owned())], at)
    }

    /// The whole word, or why it is not known.
    pub(super) fn known(&self) -> Result<&str, &str> {
        match self.why() {
            Some(why) => Err(why),
            None => Ok(self.prefix()),
        }
    }

    /// What is known of its beginning.
    pub(super) fn prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Unknown(_)) | None => "",
        }
    }

    /// Why some of it is not known.
    pub(super) fn why(&self) -> Option<&str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Unknown(why) => Some(why.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Its parts.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The word without its first `length` bytes, which are known.
    pub(super) fn after(&self, length: usize) -> Self {
        let mut pieces = self.pieces.clone();
        if let Some(Piece::Text(text)) = pieces.first_mut() {
            *text = text.get(length..).unwrap_or_default().to_owned();
        }
        Self::new(pieces, self.at.clone())
    }
}

/// The last part of a path.
pub(super) fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
