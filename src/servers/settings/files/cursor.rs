//! A place in the text of a file.
//!
//! Steps through a text and counts its lines. The readers decide what the text means.

/// A place in a text.
pub(super) struct Cursor<'t> {
    pub(super) path: &'t str,
    pub(super) text: &'t str,
    /// How many bytes are before it.
    pub(super) at: usize,
    /// Its line, from 1.
    pub(super) line: usize,
}

impl<'t> Cursor<'t> {
    /// The beginning of a text.
    pub(super) const fn new(path: &'t str, text: &'t str) -> Self {
        Self { path, text, at: 0, line: 1 }
    }

    /// Why it is unknown, with file and line.
    pub(super) fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What has been read from a place on.
    pub(super) fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over the next character.
    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Steps over a backslash that continues a line.
    pub(super) fn continue_line(&mut self) -> Result<(), String> {
        self.take();
        if self.peek() == Some('\r') {
            self.take();
        }
        if self.take() == Some('\n') {
            Ok(())
        } else {
            Err(self.fault("a backslash stands outside of a string"))
        }
    }

    /// Steps over this many bytes.
    pub(super) fn step(&mut self, bytes: usize) -> &'t str {
        let rest = self.rest();
        let passed = rest.get(..bytes).unwrap_or(rest);
        self.at += passed.len();
        self.line += passed.matches('\n').count();
        passed
    }

    /// Steps over the characters up to the first that does not belong to them.
    pub(super) fn while_in(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        self.step(rest.find(|c| !belongs(c)).unwrap_or(rest.len()))
    }

    /// Steps to the end of the line.
    pub(super) fn skip_line(&mut self) {
        self.while_in(|c| c != '\n');
    }
}
