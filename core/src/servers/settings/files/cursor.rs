//! A cursor in the text of a file.
//!
//! Reads a text and counts its lines.

/// A position in a text.
pub(super) struct Cursor<'t> {
    pub(super) path: &'t str,
    pub(super) text: &'t str,
    /// The offset in bytes.
    pub(super) at: usize,
    /// The line, from 1.
    pub(super) line: usize,
}

impl<'t> Cursor<'t> {
    /// The start of a text.
    pub(super) const fn new(path: &'t str, text: &'t str) -> Self {
        Self { path, text, at: 0, line: 1 }
    }

    /// The reason for an unknown answer, with file and line.
    pub(super) fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    /// The remaining text.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text since an offset.
    pub(super) fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Skips and returns the next character.
    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Skips a backslash that continues a line.
    pub(super) fn continue_line(&mut self) -> Result<(), String> {
        self.take();
        if self.peek() == Some('\r') {
            self.take();
        }
        if self.take() == Some('\n') { Ok(()) } else { Err(self.fault("a backslash is outside of a string")) }
    }

    /// Skips this many bytes.
    pub(super) fn step(&mut self, bytes: usize) -> &'t str {
        let rest = self.rest();
        let passed = rest.get(..bytes).unwrap_or(rest);
        self.at += passed.len();
        self.line += passed.matches('\n').count();
        passed
    }

    /// Skips characters as long as the condition is true.
    pub(super) fn while_in(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        self.step(rest.find(|c| !belongs(c)).unwrap_or(rest.len()))
    }

    /// Skips the rest of the line.
    pub(super) fn skip_line(&mut self) {
        self.while_in(|c| c != '\n');
    }
}
