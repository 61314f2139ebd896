//! One object of a file, as JSON that knows its lines.

use std::sync::Arc;

use json_patch::jsonptr::Pointer;

use super::{
    ManifestError,
    lines::{self, Lines, Source},
    walk,
};
use crate::{base::text::Text, workload::object::Object};

/// An object of a file.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    lines: Arc<Lines>,
    json: String,
    /// Where `json` begins in the JSON of its YAML document or file.
    base: usize,
    /// How many bytes were put at the front of `json` that the file does not have.
    added: usize,
    api_version: String,
    kind: String,
    review_namespace: Option<String>,
}

impl Document {
    /// All of a document.
    pub(super) fn root(source: &Arc<Source>, lines: Lines, json: &str) -> Self {
        Self {
            source: Arc::clone(source),
            lines: Arc::new(lines),
            json: json.to_owned(),
            base: 0,
            added: 0,
            api_version: String::new(),
            kind: String::new(),
            review_namespace: None,
        }
    }

    /// A part of this document; a list gives its items the type that they may leave out.
    pub(super) fn part(&self, json: &str, part: &str, list_version: &str, item_kind: &str) -> Self {
        Self {
            source: Arc::clone(&self.source),
            lines: Arc::clone(&self.lines),
            json: part.to_owned(),
            base: self.base + walk::offset_in(json, part),
            added: 0,
            api_version: list_version.to_owned(),
            kind: item_kind.to_owned(),
            review_namespace: self.review_namespace.clone(),
        }
    }

    /// The same with the namespace of the request that it came in.
    pub(super) fn under_review(mut self, namespace: Option<&str>) -> Self {
        self.review_namespace = namespace.filter(|name| !name.is_empty()).map(str::to_owned);
        self
    }

    /// The same with the type that it names itself, or else its list does: then the JSON gets it too.
    pub(super) fn with_type(&self, api_version: &str, kind: &str) -> Self {
        let mut document = self.clone();
        if !kind.is_empty() {
            document.api_version = api_version.to_owned();
            document.kind = kind.to_owned();
        } else if let Some(rest) = self.json.strip_prefix('{') {
            let [version, kind] =
                [&self.api_version, &self.kind].map(|name| serde_json::Value::from(name.as_str()));
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            let front = format!("{{\"apiVersion\":{version},\"kind\":{kind}{comma}");
            document.added = front.len() - 1;
            document.json = front + rest;
        }
        document
    }

    /// The object as JSON.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The file, as given.
    pub fn file(&self) -> &str {
        self.source.file()
    }

    /// The line that it begins on, from 1.
    pub fn line(&self) -> usize {
        self.line_at(0)
    }

    /// Its `apiVersion`.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Its `kind`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The namespace of the admission request that it came in.
    pub fn review_namespace(&self) -> Option<&str> {
        self.review_namespace.as_deref()
    }

    /// The line of the value that a JSON pointer into the object names, or of the last of its ancestors that exists.
    /// Where the value has a key, the line is that of the key.
    pub fn line_of(&self, pointer: &Pointer) -> usize {
        self.line_at(walk::offset_of(&self.json, pointer))
    }

    /// The text of a line of the file, without its end.
    pub fn line_text(&self, line: usize) -> &str {
        self.source.line_text(line)
    }

    /// The object, if it is of a kind that holds a pod.
    ///
    /// # Errors
    ///
    /// When a field that we read has another type than the API gives it.
    pub fn object(&self) -> Result<Option<Object<'_>>, ManifestError> {
        let mut object = Object::read(&self.json).map_err(|error| self.read_error(&self.kind, &error))?;
        if let Some(object) = &mut object
            && object.namespace.as_deref().is_none_or(str::is_empty)
        {
            object.namespace = self.review_namespace().map(Text::from);
        }
        Ok(object)
    }

    /// What serde_json says of `json`, at the line of the file.
    pub(super) fn read_error(&self, what: &str, error: &serde_json::Error) -> ManifestError {
        let offset = lines::offset_at(&self.json, error.line(), error.column());
        let path = walk::path_at(&self.json, offset);
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let message = lines::without_position(error);
        ManifestError {
            file: self.file().to_owned(),
            line: self.line_at(offset),
            column: None,
            message: format!("cannot read {what}: {place}{message}"),
            help: Some(
                "the API server would refuse it too: give the field the type that it expects".to_owned(),
            ),
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.lines.line_at(&self.source, self.base + offset.saturating_sub(self.added))
    }
}
