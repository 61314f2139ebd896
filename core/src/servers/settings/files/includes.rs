//! The files that a configuration includes.
//!
//! Finds and opens the files of a pattern, with limits for their number and length.

use super::{Files, Opened};

/// The remaining limits for included files.
pub(super) struct Includes<'f> {
    pub(super) files: &'f dyn Files,
    pub(super) files_left: usize,
    pub(super) bytes_left: usize,
}

impl Includes<'_> {
    /// The paths that match a pattern with optional asterisks in its last part.
    pub(super) fn paths(&self, pattern: String) -> Result<Vec<String>, String> {
        if pattern.contains('*') { self.files.list(&pattern) } else { Ok(vec![pattern]) }
    }

    /// The text of a file; `None` if it is unknown but `harmless`, or if it is `optional` and missing.
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
            Opened::Missing => return Err(format!("{path} does not exist")),
            Opened::Unknown(why) => return Err(why),
        };
        let left = self.bytes_left.checked_sub(text.len());
        self.bytes_left = left.ok_or("the included files are too long")?;
        Ok(Some(text))
    }
}
