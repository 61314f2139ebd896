//! Maps offsets in JSON text to lines, and lines to their text.

use super::json::Table;
use crate::base::yaml;

/// The text of a file with its lines.
#[derive(Debug)]
pub(crate) struct Source {
    file: String,
    text: String,
    starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let starts = yaml::lines(text).map(|(start, _)| start).collect();
        Self { file: file.to_owned(), text: text.to_owned(), starts }
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The line and column of an offset, both from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The text of a line, without the line end; empty if the line does not exist.
    pub(crate) fn line_text(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.starts.get(index)) else { return "" };
        yaml::lines(&self.text[*start..]).next().map_or("", |(_, line)| line)
    }

    /// The lines of the YAML document that contains this line.
    pub(crate) fn document_around(&self, line: usize) -> impl Iterator<Item = &str> {
        let at = line.clamp(1, self.starts.len());
        let starts_document = |line: &usize| self.line_text(*line).starts_with("---");
        let first = (1..=at).rev().find(starts_document).unwrap_or(1);
        let last = (at + 1..=self.starts.len()).find(starts_document).unwrap_or(self.starts.len() + 1);
        (first..last).map(|line| self.line_text(line))
    }
}

/// Maps offsets in the JSON of a document to lines.
#[derive(Debug)]
pub(crate) enum Lines {
    /// The JSON was converted from YAML.
    Table(Table),
    /// The JSON is a part of the file, from this offset on.
    Same {
        /// The offset.
        base: usize,
    },
}

impl Lines {
    pub(crate) fn line_at(&self, source: &Source, offset: usize) -> usize {
        match self {
            Self::Table(table) => {
                let next = table.partition_point(|(start, _)| *start <= offset);
                table.get(next.saturating_sub(1)).map_or(1, |(_, line)| *line)
            }
            Self::Same { base } => source.position(base + offset).0,
        }
    }
}

/// The offset for a line and a column of serde_json, which counts bytes, including the current one.
pub(crate) fn offset_at(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut offset = (start + column).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// A message of serde_json without the position at its end, which refers to the generated JSON and not to the file.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).unwrap_or(&message).to_owned()
}
