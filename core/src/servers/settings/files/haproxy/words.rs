//! The words of a line of haproxy.cfg.
//!
//! Splits a line into words, with variables expanded.

use super::Reader;

/// A word of a line; `Err` if it contains an unknown variable.
pub(super) type Word = Result<String, String>;

impl Reader<'_> {
    /// Splits a line into words (haproxy `parse_line` in `src/tools.c`).
    pub(super) fn words(&mut self, text: &str, line: usize) -> Result<Vec<Word>, String> {
        let mut words: Vec<Word> = Vec::new();
        let mut word: Option<Word> = None;
        let mut quote = None;
        let mut chars = text.chars().peekable();
        let add = |word: &mut Option<Word>, piece: &str| {
            if let Ok(word) = word.get_or_insert_with(|| Ok(String::new())) {
                word.push_str(piece);
            }
        };
        while let Some(c) = chars.next() {
            let mut buffer = [0; 4];
            match (c, quote) {
                ('#', None) => break,
                ('"' | '\'', None) => {
                    quote = Some(c);
                    add(&mut word, "");
                }
                ('"' | '\'', Some(open)) if open == c => quote = None,
                ('\\', None | Some('"')) => match chars.next() {
                    Some('n') => add(&mut word, "\n"),
                    Some('r') => add(&mut word, "\r"),
                    Some('t') => add(&mut word, "\t"),
                    Some(c @ (' ' | '\\' | '#' | '\'' | '"' | '$')) => {
                        add(&mut word, c.encode_utf8(&mut buffer));
                    }
                    // Hexadecimal escapes stay as written.
                    other => {
                        add(&mut word, "\\");
                        add(&mut word, other.map_or("", |c| c.encode_utf8(&mut buffer)));
                    }
                },
                ('$', Some('"')) => match self.variable(&variable(&mut chars)) {
                    Ok(value) => {
                        self.left = self
                            .left
                            .checked_sub(value.len())
                            .ok_or_else(|| self.at(line, "variables expand to too much text"))?;
                        add(&mut word, &value);
                    }
                    Err(why) => word = Some(Err(self.at(line, &why))),
                },
                (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
                (c, _) => add(&mut word, c.encode_utf8(&mut buffer)),
            }
        }
        if quote.is_some() {
            return Err(self.at(line, "a quote is not closed"));
        }
        words.extend(word);
        Ok(words)
    }

    /// The value of a variable: `NAME`, or `NAME-default`.
    fn variable(&self, name: &str) -> Result<String, String> {
        let name = name.split(['-', '[']).next().unwrap_or_default();
        let value = match self.variables.get(name) {
            Some(value) => value.clone(),
            None => self.files.variable(name).transpose()?,
        };
        value.ok_or_else(|| format!("the value of the variable {name} is not known"))
    }
}

/// A line as written, without its comment and indentation.
pub(super) fn shown(text: &str) -> String {
    text.split(" #").next().unwrap_or(text).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of a variable after a dollar sign, and the rest of the text in its braces.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut name = String::new();
    if chars.next_if_eq(&'{').is_some() {
        name.extend(chars.by_ref().take_while(|c| *c != '}'));
        return name;
    }
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
        name.push(c);
    }
    name
}
