//! Test helpers for the readers: files and variables as input, and text for the answers.
//!
//! All readers share the same helpers.

use std::borrow::Cow;

use super::{Answer, Entry, Files, Opened};

/// The files and variables that a program finds.
#[derive(Clone, Copy)]
pub(super) struct TestFiles<'g> {
    /// Paths and texts. `?` and `secret` stand for unknown content; a path with a slash at the end stands for a
    /// directory with unknown files.
    pub(super) files: &'g [(&'g str, &'g str)],
    /// Names and values. `?` stands for an unknown value.
    pub(super) variables: &'g [(&'g str, &'g str)],
    /// Whether the image may contain other files.
    pub(super) of_image: bool,
}

/// Neither files nor variables.
pub(super) const NOTHING: TestFiles<'static> = TestFiles { files: &[], variables: &[], of_image: false };

impl<'g> TestFiles<'g> {
    fn text(&self, path: &str) -> Option<&'g str> {
        self.files.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
    }
}

impl Files for TestFiles<'_> {
    fn open(&self, path: &str) -> Opened<'_> {
        match self.text(path) {
            Some("?") => Opened::Unknown(format!("{path} comes from a Secret")),
            Some("secret") => Opened::Unknown(format!("Secret x at {path} may set it")),
            Some(text) => Opened::Text(Cow::Borrowed(text)),
            None if self.of_image => Opened::Unknown(format!("{path} of the image may set it")),
            None => Opened::Missing,
        }
    }

    fn list(&self, pattern: &str) -> Result<Vec<String>, String> {
        let (head, tail) = pattern.split_once('*').unwrap();
        if self.text(head).is_some() {
            return Err(format!("{head} is that of the image"));
        }
        let paths = self.files.iter().map(|(path, _)| *path);
        let mut listed: Vec<String> = paths
            .filter(|path| path.strip_prefix(head).is_some_and(|name| name.ends_with(tail)))
            .map(str::to_owned)
            .collect();
        listed.sort();
        Ok(listed)
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        let (_, value) = self.variables.iter().find(|(known, _)| *known == name)?;
        Some(if *value == "?" { Err(format!("{name} comes from a Secret")) } else { Ok((*value).to_owned()) })
    }
}

/// An answer in one line; `shown` formats an entry.
pub(super) fn describe(answer: Answer, shown: impl FnOnce(Entry) -> String) -> String {
    match answer {
        Answer::Absent => "absent".to_owned(),
        Answer::Set(entry) => shown(entry),
        Answer::Unknown(why) => format!("? {why}"),
    }
}

/// An answer as `VALUE at FILE:LINE`, without the directory.
pub(super) fn value_with_file(answer: Answer) -> String {
    describe(answer, |Entry { value, path, line, .. }| {
        format!("{value} at {}:{line}", path.rsplit('/').next().unwrap())
    })
}

/// An answer as `VALUE at LINE`.
pub(super) fn value_with_line(answer: Answer) -> String {
    describe(answer, |Entry { value, line, .. }| format!("{value} at {line}"))
}

/// An answer as `VALUE | TEXT | LINE`.
pub(super) fn value_with_text(answer: Answer) -> String {
    describe(answer, |Entry { value, text, line, .. }| format!("{value} | {text} | {line}"))
}
