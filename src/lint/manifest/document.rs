//! An object of a file, as JSON with line numbers.

use std::sync::Arc;

use json_patch::jsonptr::Pointer;
use serde_json::Value;

use super::{
    BUILD_FIRST, LooksLike, ManifestError, is_template,
    lines::{self, Lines, Source},
};
use crate::{
    base::{text::Text, walk},
    workload::object::{Kind, Object, Reading, UnreadableTemplate},
};

/// An object of a file.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    lines: Arc<Lines>,
    json: String,
    /// The offset of `json` in the JSON of its YAML document or file.
    base: usize,
    /// The number of bytes at the start of `json` that were added.
    added: usize,
    api_version: String,
    kind: String,
    review_namespace: Option<String>,
}

impl Document {
    /// A whole document.
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

    /// A part of this document. An item of a list gets the type of the list if it has none.
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

    /// Sets the namespace of the admission request.
    pub(super) fn under_review(mut self, namespace: Option<&str>) -> Self {
        self.review_namespace = namespace.filter(|name| !name.is_empty()).map(str::to_owned);
        self
    }

    /// Sets the type, which is its own or that of the list; the latter is also added to the JSON.
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

    /// The text of the whole file.
    pub fn text(&self) -> &str {
        self.source.text()
    }

    /// The first line, from 1.
    pub fn line(&self) -> usize {
        self.line_at(0)
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The namespace of the admission request that contained the object.
    pub fn review_namespace(&self) -> Option<&str> {
        self.review_namespace.as_deref()
    }

    /// The line of the value that a JSON pointer refers to, or of its closest existing ancestor. If the value has a
    /// key, the line is that of the key.
    pub fn line_of(&self, pointer: &Pointer) -> usize {
        self.line_at(walk::offset_of(&self.json, pointer))
    }

    /// The text of a line, without the line end.
    pub fn line_text(&self, line: usize) -> &str {
        self.source.line_text(line)
    }

    /// The pods that the object describes.
    ///
    /// # Errors
    ///
    /// Returns an error if a field of a built-in kind has another type than in the Kubernetes API.
    pub fn read(&self) -> Result<Reading<'_>, ManifestError> {
        let mut reading =
            Object::read_all(&self.json).map_err(|error| self.read_error(&self.kind, &error))?;
        if let Reading::Pods(objects) = &mut reading {
            for object in objects.iter_mut().filter(|it| it.namespace.as_deref().is_none_or(str::is_empty)) {
                object.namespace = self.review_namespace().map(Text::from);
            }
        }
        Ok(reading)
    }

    /// The objects to judge, one for each pod or pod template.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn objects(&self) -> Result<Vec<Object<'_>>, ManifestError> {
        self.read().map(Reading::objects)
    }

    /// Why parts of a custom resource that look like pod templates are not judged.
    pub fn template_errors(&self) -> Vec<ManifestError> {
        let unreadable = Object::unreadable_templates(&self.json).into_iter();
        unreadable
            .map(|UnreadableTemplate { template, json, error }| {
                let start = walk::offset_in(&self.json, json);
                let offset = start + lines::offset_at(json, error.line(), error.column());
                let (field, why) = (walk::path_at(&self.json, offset), lines::without_position(&error));
                ManifestError {
                    file: self.file().to_owned(),
                    line: self.line_at(offset),
                    column: None,
                    message: format!(
                        "{template} of this {} looks like a pod template, but was not judged: {field}: {why}",
                        self.kind
                    ),
                    help: Some("use the type that a pod has for this field".to_owned()),
                    looks_like: LooksLike::Manifest,
                }
            })
            .collect()
    }

    /// Turns an error of serde_json into one at the line of the file.
    pub(super) fn read_error(&self, what: &str, error: &serde_json::Error) -> ManifestError {
        let offset = lines::offset_at(&self.json, error.line(), error.column());
        let path = walk::path_at(&self.json, offset);
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let message = lines::without_position(error);
        let line = self.line_at(offset);
        let looks_like = self.looks_like(line);
        let help = match looks_like {
            LooksLike::Patch => BUILD_FIRST,
            LooksLike::Template => "replace its variables first, or pipe the output of the rendering program",
            LooksLike::Manifest | LooksLike::Other => {
                "the API server would reject it, too: use the type that the field expects"
            }
        };
        ManifestError {
            file: self.file().to_owned(),
            line,
            column: None,
            message: format!("cannot read {what}: {place}{message}"),
            help: Some(help.to_owned()),
            looks_like,
        }
    }

    /// Whether it contains a directive of a strategic merge patch.
    pub fn is_patch(&self) -> bool {
        const DIRECTIVES: [&str; 4] =
            ["\"$patch\"", "\"$retainKeys\"", "\"$setElementOrder/", "\"$deleteFromPrimitiveList/"];
        DIRECTIVES.iter().any(|directive| self.json.contains(directive))
    }

    /// What the document looks like, given the invalid line.
    fn looks_like(&self, line: usize) -> LooksLike {
        if self.source.document_around(line).any(is_template) || self.line_text(line).contains("${") {
            LooksLike::Template
        } else if self.is_patch() || self.lacks_required_fields() {
            LooksLike::Patch
        } else {
            LooksLike::Manifest
        }
    }

    /// Whether a workload lacks required fields: images, and the selector in `apps/v1`. Patches contain only the
    /// changed fields.
    fn lacks_required_fields(&self) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(kind) = Kind::find(group, &self.kind) else { return false };
        let Ok(object) = serde_json::from_str::<Value>(&self.json) else { return false };
        let pod = kind.pod_at().resolve(&object).ok();
        let containers = pod.and_then(|pod| pod.get("spec")?.get("containers")?.as_array());
        let no_image = |container: &Value| container.is_object() && container.get("image").is_none();
        let no_selector =
            |spec: &Value| kind.group() == "apps" && spec.is_object() && spec.get("selector").is_none();
        containers.is_some_and(|containers| containers.iter().any(no_image))
            || object.get("spec").is_some_and(no_selector)
    }

    fn line_at(&self, offset: usize) -> usize {
        self.lines.line_at(&self.source, self.base + offset.saturating_sub(self.added))
    }
}
