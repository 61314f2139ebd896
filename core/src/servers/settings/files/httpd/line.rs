//! A line of httpd.conf: its location and its words.
//!
//! Splits a line into words.

/// The location of a line.
pub(super) struct Location<'s> {
    pub(super) path: &'s str,
    pub(super) line: usize,
}

impl Location<'_> {
    /// The reason for an unknown answer, with file and line.
    pub(super) fn says(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }
}

/// The first word and the rest.
pub(super) fn split(line: &str) -> (&str, &str) {
    let (name, rest) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    (name, rest.trim())
}

/// Splits words, which may be quoted (httpd `ap_getword_conf`).
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        let Some(first) = chars.peek().copied() else { return words };
        let quote = matches!(first, '"' | '\'').then(|| chars.next()).flatten();
        let mut word = String::new();
        while let Some(c) = chars.next() {
            match quote {
                Some(quote) if c == quote => break,
                Some(quote) if c == '\\' && chars.peek() == Some(&quote) => word.extend(chars.next()),
                None if c.is_ascii_whitespace() => break,
                _ => word.push(c),
            }
        }
        words.push(word);
    }
}
