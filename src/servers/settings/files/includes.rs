//! The files that a configuration includes.
//!
//! Finds and opens the files of a pattern, and bounds how many they are and how long. The readers decide which patterns
//! a program takes, and what the files say.

use super::{Files, Opened};

/// The files that may still be included.
pub(super) struct Includes<'f> {
    pub(super) files: &'f dyn Files,
    pub(super) files_left: usize,
    pub(super) bytes_left: usize,
}

impl Includes<'_> {
    /// The paths that fit a pattern, which may have asterisks in its last part.
    pub(super) fn paths(&self, pattern: String) -> Result<Vec<String>, String> {
        if pattern.contains('*') { self.files.list(&pattern) } else { Ok(vec![pattern]) }
    }

    /// The text of a file; `None` where nobody sees one whose name is among the `harmless`, and where one that is
    /// `optional` is not there.
    pub(super) fn open(
        &mut self,
        path: &str,
        harmless: &[&str],
        optional: bool,
    ) -> Result<Option<String>, String> {
        self.files_left = self.files_left.checked_sub(1).ok_or("too many files are included")?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let text = match self.files.open(path) {
            Opened::Text(text) => text.into_owned(),
            Opened::Missing if optional => return Ok(None),
            Opened::Missing | Opened::Unknown(_) if harmless.contains(&name) => return Ok(None),
            Opened::Missing => return Err(format!("{path} is not there")),
            Opened::Unknown(why) => return Err(why),
        };
        let left = self.bytes_left.checked_sub(text.len());
        self.bytes_left = left.ok_or("the included files are too long")?;
        Ok(Some(text))
    }
}
