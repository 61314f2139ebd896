//! Parses manifests into objects, each as JSON with line numbers.
//!
//! Reads YAML as kubectl does, and JSON: one object, several objects, or one per line. Lists are split into their
//! items, and the object is extracted from admission reviews. `workload` interprets the objects.

mod document;
mod json;
mod lines;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::document::Document;
use self::lines::{Lines, Source};
use crate::{
    base::{
        text::{Text, nullable},
        walk,
        yaml::{self, YamlError},
    },
    workload::context::{Context, Unprivileged},
};

/// The content of a file.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in order.
    pub documents: Vec<Document>,
    /// What could not be parsed. The remaining objects are in `documents`.
    pub errors: Vec<ManifestError>,
    /// The number of documents that are not Kubernetes objects: `kind` is missing, or `apiVersion` is not a string.
    pub others: usize,
}

/// A part of a file that cannot be parsed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {message}", Place { file: file.as_str(), line: *line, column: *column })]
pub struct ManifestError {
    /// The file, as given.
    pub file: String,
    /// The line, from 1; 0 if the error is about the whole file.
    pub line: usize,
    /// The column, from 1, if known.
    pub column: Option<usize>,
    /// The problem.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
    /// What the surrounding text looks like.
    pub looks_like: LooksLike,
}

impl ManifestError {
    /// An error about a whole file.
    pub fn of_file(file: &str, message: String, help: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: None,
            message,
            help: help.map(str::to_owned),
            looks_like: LooksLike::Manifest,
        }
    }
}

/// What a text looks like that cannot be parsed as an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LooksLike {
    /// A Kubernetes object with a mistake.
    Manifest,
    /// A patch of kustomize, which is not a complete object.
    Patch,
    /// A template, or a text with variables for another program.
    Template,
    /// Not a Kubernetes object: it has no `kind`.
    Other,
}

struct Place<'a> {
    file: &'a str,
    line: usize,
    column: Option<usize>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// The maximum depth of nested lists; kubectl does not nest them.
const MAX_LISTS: usize = 8;

const RENDER_FIRST: &str =
    "this is a Helm template, not a manifest; render it first: helm template ... | linkerd-linger lint -";

const BUILD_FIRST: &str = "this looks like a patch, not a whole object; build it first: kubectl kustomize ... | linkerd-linger lint -";

/// Parses the text of a file; `file` is its name in messages.
pub fn read(file: &str, text: &str) -> Manifests {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Source::new(file, text));
    let start = text.trim_start();
    if start.starts_with('{') && !start.starts_with("{{") {
        let json = read_json(&source);
        if json.errors.is_empty() {
            return json;
        }
        // `{kind: Pod}` is YAML, and the file may contain more documents.
        let yaml = read_yaml(&source);
        let is_yaml = yaml.errors.is_empty() || yaml.documents.len() > json.documents.len();
        return if is_yaml { yaml } else { json };
    }
    read_yaml(&source)
}

/// Collects the namespaces and ConfigMaps of documents.
pub fn context<'d>(documents: impl IntoIterator<Item = &'d Document>) -> Context {
    let mut context = Context::default();
    for document in documents {
        if document.api_version() != "v1" || !matches!(document.kind(), "Namespace" | "ConfigMap") {
            continue;
        }
        let Ok(object) = serde_json::from_str::<ContextObject<'_>>(document.json()) else { continue };
        let metadata = object.metadata;
        if document.kind() == "Namespace" {
            let labels = metadata.labels.iter();
            let labels = labels.map(|(key, value)| (&**key, value.as_deref().unwrap_or_default()));
            if let Some(unprivileged) = Unprivileged::of(labels) {
                context.unprivileged.insert(metadata.name.to_string(), unprivileged);
            }
            let annotations = context.namespaces.entry(metadata.name.to_string()).or_default();
            annotations.extend(strings(metadata.annotations));
        } else {
            let namespace = document.review_namespace().unwrap_or(&metadata.namespace);
            let key = (namespace.to_owned(), metadata.name.to_string());
            context.config_maps.insert(key, strings(object.data).collect());
        }
    }
    context
}

type Strings<'a> = BTreeMap<Text<'a>, Option<Text<'a>>>;

fn strings(map: Strings<'_>) -> impl Iterator<Item = (String, String)> {
    map.into_iter().map(|(key, value)| (key.to_string(), value.unwrap_or_default().to_string()))
}

#[derive(Deserialize)]
struct ContextObject<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: ContextMetadata<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    data: Strings<'a>,
}

#[derive(Default, Deserialize)]
struct ContextMetadata<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    namespace: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    labels: Strings<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    annotations: Strings<'a>,
}

fn read_yaml(source: &Arc<Source>) -> Manifests {
    let mut manifests = Manifests::default();
    for document in yaml::documents(source.text()) {
        let written = document.and_then(|root| json::write(&root, source.text().len()));
        match written {
            Ok((json, table)) => manifests.take(source, &json, Lines::Table(table)),
            Err(error) => manifests.errors.push(yaml_error(source, error)),
        }
    }
    manifests
}

fn yaml_error(source: &Source, error: YamlError) -> ManifestError {
    let mut document = source.document_around(error.line);
    let has_kind = document.any(|line| line.starts_with("kind:"));
    let template = source.document_around(error.line).any(is_template);
    ManifestError {
        file: source.file().to_owned(),
        line: error.line,
        column: Some(error.column),
        message: error.message,
        help: if template { Some(RENDER_FIRST.to_owned()) } else { error.help.map(str::to_owned) },
        looks_like: LooksLike::of(template, has_kind),
    }
}

impl LooksLike {
    const fn of(template: bool, has_kind: bool) -> Self {
        match (template, has_kind) {
            (true, _) => Self::Template,
            (false, true) => Self::Manifest,
            (false, false) => Self::Other,
        }
    }
}

fn is_template(line: &str) -> bool {
    line.split_once("{{").is_some_and(|(_, rest)| rest.contains("}}"))
}

fn read_json(source: &Arc<Source>) -> Manifests {
    let mut manifests = Manifests::default();
    let Err(broken) = manifests.take_json(source, 0, source.text().len()) else { return manifests };
    // A truncated value would continue into the following one, so from here on each value ends where the next one may
    // start.
    let mut from = broken.from;
    while from < source.text().len() {
        let to = end_of_part(source.text(), from);
        if !is_between_values(&source.text()[from..to])
            && let Err(broken) = manifests.take_json(source, from, to)
        {
            let has_kind = source.text()[from..to].contains("\"kind\"");
            manifests.errors.push(json_error(source, broken.at, has_kind, &broken.error));
        }
        from = to;
    }
    manifests
}

/// The start of the next line that may begin a value or separate YAML documents.
fn end_of_part(text: &str, from: usize) -> usize {
    let starts = text[from..].match_indices('\n').map(|(end, _)| from + end + 1);
    let begins = |start: &usize| ["{", "[", "---"].iter().any(|begin| text[*start..].starts_with(begin));
    starts.into_iter().find(begins).unwrap_or(text.len())
}

/// Whether a part contains only separators and comments, as Helm writes them.
fn is_between_values(part: &str) -> bool {
    let says_nothing = |line: &str| line.is_empty() || line.starts_with('#');
    part.lines().all(|line| says_nothing(line.strip_prefix("---").unwrap_or(line).trim()))
}

/// An invalid JSON value.
struct Broken {
    /// The start of the value.
    from: usize,
    /// The position of the error.
    at: usize,
    error: serde_json::Error,
}

fn json_error(source: &Source, offset: usize, has_kind: bool, error: &serde_json::Error) -> ManifestError {
    let (line, column) = source.position(offset);
    let template = is_template(source.line_text(line));
    ManifestError {
        file: source.file().to_owned(),
        line,
        column: Some(column),
        message: lines::without_position(error),
        help: template.then(|| RENDER_FIRST.to_owned()),
        looks_like: LooksLike::of(template, has_kind),
    }
}

/// The fields that distinguish objects, lists and admission reviews.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    api_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
}

/// A string field; `None` if it has another type, such as `apiVersion: 1` in files of other programs.
fn name<'a>(field: Option<&'a RawValue>) -> Option<Text<'a>> {
    match field.map(RawValue::get) {
        None | Some("null") => Some(Text::default()),
        Some(json) => serde_json::from_str(json).ok(),
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

impl Manifests {
    /// Adds the values of a part of `source`, up to an invalid one.
    fn take_json(&mut self, source: &Arc<Source>, from: usize, to: usize) -> Result<(), Broken> {
        // The truncated value ends with its text, not on the next line.
        let text = source.text()[from..to].trim_end();
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        loop {
            let end = stream.byte_offset();
            match stream.next() {
                None => return Ok(()),
                Some(Ok(value)) => {
                    let base = value.get().as_ptr() as usize - source.text().as_ptr() as usize;
                    self.take(source, value.get(), Lines::Same { base });
                }
                Some(Err(error)) => {
                    let blank = text[end..].len() - text[end..].trim_start().len();
                    let at = from + lines::offset_at(text, error.line(), error.column());
                    return Err(Broken { from: from + end + blank, at, error });
                }
            }
        }
    }

    /// Adds a document of `source`, whose whole text is `json`.
    fn take(&mut self, source: &Arc<Source>, json: &str, lines: Lines) {
        self.split(&Document::root(source, lines, json), json, 0);
    }

    fn split(&mut self, whole: &Document, json: &str, depth: usize) {
        if !json.starts_with('{') {
            self.others += 1;
            return;
        }
        if depth > MAX_LISTS {
            return self.errors.push(ManifestError {
                file: whole.file().to_owned(),
                line: whole.line(),
                column: None,
                message: format!("lists are nested more than {MAX_LISTS} levels deep"),
                help: None,
                looks_like: LooksLike::Manifest,
            });
        }
        let shape = match serde_json::from_str::<Shape<'_>>(json) {
            Ok(shape) => shape,
            Err(error) => return self.errors.push(whole.read_error("the document", &error)),
        };
        let (Some(api_version), Some(kind)) = (name(shape.api_version), name(shape.kind)) else {
            self.others += 1;
            return;
        };
        if let Some(item_kind) = kind.strip_suffix("List")
            && let Some(items) = shape.items
        {
            for (_, item) in walk::children(items.get()) {
                self.split(&whole.part(json, item, &api_version, item_kind), item, depth + 1);
            }
        } else if &*kind == "AdmissionReview" && api_version.starts_with("admission.k8s.io/") {
            self.review(whole, json, shape.request, depth);
        } else if kind.is_empty() && whole.kind().is_empty() {
            self.others += 1;
        } else {
            self.documents.push(whole.with_type(&api_version, &kind));
        }
    }

    fn review(&mut self, whole: &Document, json: &str, request: Option<&RawValue>, depth: usize) {
        let request = match request.map(|request| serde_json::from_str::<Request<'_>>(request.get())) {
            Some(Ok(request)) => request,
            Some(Err(error)) => return self.errors.push(whole.read_error("the admission review", &error)),
            None => return,
        };
        // An admission review of a deletion has no object.
        if let Some(object) = request.object.filter(|object| object.get() != "null") {
            let part = whole.part(json, object.get(), "", "");
            self.split(&part.under_review(request.namespace.as_deref()), object.get(), depth + 1);
        }
    }
}

#[cfg(test)]
mod tests;
