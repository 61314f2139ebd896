//! Reads files and stdin into a report, for `lint` and `explain`.

mod files;
mod not_judged;
mod render;
mod repository;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::civil::Date;

pub(crate) use self::files::{CollectedDocument, Origin};
use self::{
    files::{Collected, STDIN},
    not_judged::NotJudgedObjects,
};
use super::{images::ImageArgs, output::note, progress::Progress};
use crate::{
    admission::policy_file::{self, PolicyFileError},
    base::{clock::today, duration, plural::count},
    images::ImageError,
    judgement::{
        close_wait,
        finding::Finding,
        judge::{Judgement, judge},
        policy::Policy,
    },
    linkerd::Injection,
    lint::{
        comments,
        manifest::{self, Document},
        report::{
            ErrorReport, LineReport, ObjectReport, Report,
            text::{self, Styles},
        },
    },
    workload::{
        self,
        object::{Object, Reading},
    },
};

#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Files, directories, or - for stdin
    ///
    /// A file holds YAML with any number of documents, or JSON: one object, several, or one per line. In a directory, every
    /// *.yaml, *.yml and *.json file below it is read, except in hidden directories; symbolic links are followed. A
    /// directory with a kustomization.yaml is built with `kustomize` or `kubectl kustomize`, and one with a Chart.yaml is
    /// rendered with `helm template`, if the program is on the PATH. kustomize may fetch remote bases. YAML files that are
    /// not Kubernetes objects are skipped and counted. Without a PATH argument, stdin is read if it is a pipe.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The policy file: actions per rule, exemptions, your own servers [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The facts file with measured idle timeouts (see `measure`)
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// The image of the init container that the webhook adds
    ///
    /// Without it, pods that need this init container get a warning, as from a webhook without `--init-image`.
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    init_image: Option<String>,
    /// Judge every pod as if it were injected
    ///
    /// Use it if the annotation linkerd.io/inject is on a namespace that is not in the input.
    #[arg(long)]
    assume_injected: bool,
    /// Read the files of a directory as they are, without kustomize or helm
    #[arg(long)]
    no_render: bool,
    /// How long kustomize or helm may take to render one directory
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    render_timeout: Duration,
    #[command(flatten)]
    images: ImageArgs,
}

impl Inputs {
    /// The policy of the flags, or the default policy.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let mut policy = self.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
        policy.close_wait.init_image.clone_from(&self.init_image);
        if let Some(path) = &self.facts {
            policy.facts = policy_file::facts(path, &policy_file::text(path)?)?;
        }
        Ok(policy)
    }

    /// Reads everything, and judges each object that runs pods.
    pub(crate) fn report(&self) -> anyhow::Result<Report> {
        Ok(self.load()?.report())
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        let policy = self.policy()?;
        let render = (!self.no_render).then_some(self.render_timeout);
        let read = Collected::read(&self.paths, render)?;
        if read.documents.is_empty() && read.errors.is_empty() {
            note!("{}", text::not_linted(&read.skipped));
            let others = match read.skipped.documents {
                0 => String::new(),
                number => format!("; skipped {} that are not Kubernetes objects", count(number, "document")),
            };
            bail!("no Kubernetes object found in {}{others}", self.names());
        }
        let documents = || read.documents.iter().map(|collected| &collected.document);
        let images = self.images.read(documents())?;
        let mut context = manifest::context(documents());
        context.images = images.facts;
        context.known_images.clone_from(&policy.facts.index);
        Ok(Loaded {
            read,
            image_errors: images.errors,
            context,
            policy,
            today: today(),
            assume_injected: self.assume_injected,
        })
    }

    /// The names of the inputs.
    pub(crate) fn names(&self) -> String {
        let name =
            |path: &PathBuf| if path.as_os_str() == "-" { STDIN.into() } else { path.display().to_string() };
        let names: Vec<_> = self.paths.iter().map(name).collect();
        if names.is_empty() { STDIN.to_owned() } else { names.join(", ") }
    }
}

/// What was read, and the inputs for judging it.
pub(crate) struct Loaded {
    read: Collected,
    image_errors: Vec<ImageError>,
    context: workload::context::Context,
    policy: Policy,
    today: Date,
    assume_injected: bool,
}

impl Loaded {
    /// The objects that run pods, each with its document, in the order of the report.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&CollectedDocument, Object<'_>)> {
        self.read.documents.iter().filter(|read| !read.document.is_patch()).flat_map(|read| {
            read.document.objects().unwrap_or_default().into_iter().map(move |object| (read, object))
        })
    }

    /// Judges an object, and passes the judgement to `then`.
    pub(crate) fn judge<R>(&self, object: &Object<'_>, then: impl FnOnce(&Judgement<'_>) -> R) -> R {
        let injection =
            if self.assume_injected { Injection::Assumed } else { self.policy.injection(object.kind) };
        let namespace = object.namespace.as_deref().unwrap_or_default();
        then(&judge(object, namespace, &self.context, &self.policy, self.today, injection))
    }

    /// Judges each object that runs pods.
    pub(crate) fn report(&mut self) -> Report {
        let documents = std::mem::take(&mut self.read.documents);
        let mut objects = Vec::new();
        let mut warnings = Vec::new();
        let mut not_judged = NotJudgedObjects::default();
        let mut progress = Progress::new("linting");
        for (index, CollectedDocument { document, origin }) in documents.iter().enumerate() {
            progress.show(index, documents.len());
            if !document.is_patch() {
                warnings.extend(document.template_errors().into_iter().map(ErrorReport::from));
            }
            match document.read() {
                Ok(Reading::Pods(_)) if document.is_patch() => self.read.skip_patch(document),
                Ok(Reading::Pods(read)) => objects.extend(read.iter().map(|object| {
                    let (report, findings) =
                        self.judge(object, |judgement| ObjectReport::of(object, judgement));
                    placed(report, &findings, document, origin)
                })),
                Ok(reading) => not_judged.add(document, &reading),
                Err(error) => self.read.add_error(error, origin),
            }
        }
        self.read.documents = documents;
        let errors = std::mem::take(&mut self.read.errors);
        let mut errors: Vec<_> = errors.into_iter().map(ErrorReport::from).collect();
        errors.extend(std::mem::take(&mut self.image_errors).into_iter().map(image_error));
        let mut skipped = std::mem::take(&mut self.read.skipped);
        not_judged.report(&objects, &mut skipped);
        let mut report = Report { objects, errors, warnings, skipped };
        let texts: BTreeMap<_, _> =
            self.read.documents.iter().map(|read| (read.document.file(), read.document.text())).collect();
        for (file, text) in texts {
            comments::apply(&mut report, file, text);
        }
        report
    }
}

/// Judges a document without other input.
pub(crate) fn judge_alone(document: &Document, policy: &Policy) -> anyhow::Result<ObjectReport> {
    let objects = document.objects().map_err(|error| anyhow::anyhow!("{error}"))?;
    let object = objects.first().with_context(|| format!("{}: it runs no pod", document.file()))?;
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let context = workload::context::Context::default();
    let judgement = judge(object, namespace, &context, policy, today(), policy.injection(object.kind));
    let (report, findings) = ObjectReport::of(object, &judgement);
    Ok(placed(report, &findings, document, &Origin::Named))
}

fn image_error(error: ImageError) -> ErrorReport {
    let ImageError { place, message, help } = error;
    ErrorReport { file: place, line: None, column: None, message, help: Some(help) }
}

/// The report of an object, with its location in the file and those of its findings.
fn placed(
    mut report: ObjectReport,
    findings: &[Finding],
    document: &Document,
    origin: &Origin,
) -> ObjectReport {
    report.rendered_from = match origin {
        Origin::Named | Origin::Found => None,
        Origin::Rendered(from) => Some(from.clone()),
    };
    report.file = Some(document.file().to_owned());
    report.line = Some(document.line());
    for (reported, finding) in report.findings.iter_mut().zip(findings) {
        for pointer in &finding.at {
            let line = document.line_of(pointer);
            let text = excerpt(document.line_text(line));
            let line = LineReport { file: document.file().to_owned(), line, text };
            if !reported.lines.contains(&line) {
                reported.lines.push(line);
            }
        }
    }
    report
}

/// The maximum length of a printed line, in characters, because minified JSON is a single long line.
const MAX_LINE_LEN: usize = 160;

fn excerpt(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE_LEN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn read_policy(path: &Path) -> Result<Policy, PolicyFileError> {
    policy_file::parse(path, &policy_file::text(path)?)
}

/// Prints to stderr what was not linted, and what could not be read.
pub(crate) fn print_errors(report: &Report) {
    note!("{}", text::not_linted(&report.skipped));
    for warning in &report.warnings {
        note!("{}", text::warning(warning, &Styles::colored()));
    }
    for error in &report.errors {
        note!("{}", text::error(error, &Styles::colored()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_minified_json_is_cut() {
        assert_eq!(excerpt("short"), "short");
        let cut = excerpt(&"ü".repeat(30_000));
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (MAX_LINE_LEN + 1, true));
    }
}
