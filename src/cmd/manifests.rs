//! What `lint` and `explain` share: files and stdin -> a report.

use std::{
    collections::HashSet,
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use walkdir::WalkDir;

use super::images::ImageArgs;
use crate::{
    admission::policy_file::{self, PolicyFileError},
    base::clock::today,
    images::{ImageError, Images},
    judgement::{close_wait, finding::Finding, judge::judge, policy::Policy},
    linkerd::Injection,
    lint::{
        manifest::{self, Document, ManifestError, Manifests},
        report::{
            ErrorReport, LineReport, ObjectReport, Report,
            text::{self, Styles},
        },
    },
};

/// What to read, and how to show what comes of it.
#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Files, directories, or - for stdin
    ///
    /// YAML with any number of documents, or JSON: one object, several, or one per line. Of a directory, every *.yaml,
    /// *.yml and *.json below it, except in hidden directories; links are followed. Without a PATH, stdin is read if it
    /// is a pipe.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) output: Format,
    /// The policy file: actions per rule, exemptions, servers of your own [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The file with what was measured of servers (see `measure`)
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// The image that the webhook is given for its own init container
    ///
    /// Without it, pods that need such a container get a warning, as they would from a webhook without it.
    #[arg(long, value_name = "IMAGE", value_parser = close_wait::read_image)]
    init_image: Option<String>,
    /// Judge every pod as if it were in the mesh
    ///
    /// For manifests that do not say so themselves, where the annotation is on a namespace that is not among them.
    #[arg(long)]
    assume_injected: bool,
    #[command(flatten)]
    images: ImageArgs,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

const STDIN: &str = "<stdin>";

impl Inputs {
    /// Reads everything, and judges each object that runs pods.
    pub(crate) fn report(&self) -> anyhow::Result<Report> {
        let mut policy = self.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
        policy.close_wait.init_image.clone_from(&self.init_image);
        if let Some(path) = &self.facts {
            policy.facts = policy_file::facts(path, &policy_file::text(path)?)?;
        }
        let read = self.read()?;
        if read.documents.is_empty() && read.errors.is_empty() {
            let others = match read.others {
                0 => String::new(),
                count => format!("; {count} document(s) without a kind were skipped"),
            };
            bail!("no Kubernetes object in {}{others}", self.names());
        }
        let images = self.images.read(&read.documents)?;
        Ok(self.judge(read, images, &policy, today()))
    }

    fn judge(&self, read: Manifests, images: Images, policy: &Policy, today: Date) -> Report {
        let mut context = manifest::context(&read.documents);
        context.images = images.facts;
        context.known_images.clone_from(&policy.facts.index);
        let mut errors = read.errors;
        let mut objects = Vec::new();
        for document in &read.documents {
            match document.object() {
                Ok(None) => {}
                Ok(Some(object)) => {
                    let injection =
                        if self.assume_injected { Injection::Assumed } else { policy.injection(object.kind) };
                    let namespace = object.namespace.as_deref().unwrap_or_default();
                    let judgement = judge(&object, namespace, &context, policy, today, injection);
                    let (report, findings) = ObjectReport::of(&object, &judgement);
                    objects.push(placed(report, &findings, document));
                }
                Err(error) => errors.push(error),
            }
        }
        let mut errors: Vec<_> = errors.into_iter().map(ErrorReport::from).collect();
        errors.extend(images.errors.into_iter().map(image_error));
        Report { objects, errors }
    }

    fn read(&self) -> anyhow::Result<Manifests> {
        let stdin = [PathBuf::from("-")];
        let paths = match self.paths.as_slice() {
            [] if io::stdin().is_terminal() => {
                bail!("nothing to read: give files, directories, or - and something on stdin; see --help");
            }
            [] => &stdin,
            paths => paths,
        };
        let mut all = Manifests::default();
        for path in paths {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let result = io::stdin().read_to_end(&mut bytes).map(|_| bytes);
                add(&mut all, STDIN, result);
            } else if path.is_dir() {
                add_directory(&mut all, path);
            } else {
                add(&mut all, &path.to_string_lossy(), fs::read(path));
            }
        }
        Ok(all)
    }

    fn names(&self) -> String {
        let name =
            |path: &PathBuf| if path.as_os_str() == "-" { STDIN.into() } else { path.display().to_string() };
        let names: Vec<_> = self.paths.iter().map(name).collect();
        if names.is_empty() { STDIN.to_owned() } else { names.join(", ") }
    }
}

/// Follows links, as those of a mounted ConfigMap are, but into each directory only once.
fn add_directory(all: &mut Manifests, directory: &Path) {
    let mut walked = HashSet::new();
    let mut is_new = |path: &Path| fs::canonicalize(path).map_or(true, |real| walked.insert(real));
    let walk = WalkDir::new(directory).follow_links(true).sort_by_file_name().into_iter();
    let walk = walk.filter_entry(|entry| {
        let hidden = entry.depth() > 0 && is_hidden(entry.path());
        !entry.file_type().is_dir() || (!hidden && is_new(entry.path()))
    });
    for entry in walk {
        match entry {
            Ok(entry) if is_manifest(entry.path()) && entry.file_type().is_file() => {
                add(all, &entry.path().to_string_lossy(), fs::read(entry.path()));
            }
            Ok(_) => {}
            // A link to a directory above it, whose files are read already.
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = error.path().unwrap_or(directory);
                // A link that leads nowhere matters if it is to a manifest or, having no extension, to a directory.
                let matters = !is_hidden(path) && (is_manifest(path) || path.extension().is_none());
                if matters || !path.is_symlink() {
                    let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                    all.errors.push(whole_file(
                        &path.to_string_lossy(),
                        format!("cannot read it: {why}"),
                        None,
                    ));
                }
            }
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn add(all: &mut Manifests, file: &str, bytes: io::Result<Vec<u8>>) {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return all.errors.push(whole_file(file, format!("cannot read it: {error}"), None)),
    };
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    match String::from_utf8(bytes) {
        Ok(text) => {
            let read = manifest::read(file, &text);
            all.documents.extend(read.documents);
            all.errors.extend(read.errors);
            all.others += read.others;
        }
        Err(_) => {
            let (found, help) = if utf16 {
                (
                    "it is UTF-16",
                    "save it as UTF-8; PowerShell's `>` writes UTF-16, `| Out-File -Encoding utf8` does not",
                )
            } else {
                ("it is not UTF-8 text", "give manifests in YAML or JSON")
            };
            all.errors.push(whole_file(file, found.to_owned(), Some(help)));
        }
    }
}

fn whole_file(file: &str, message: String, help: Option<&str>) -> ManifestError {
    ManifestError { file: file.to_owned(), line: 0, column: None, message, help: help.map(str::to_owned) }
}

fn image_error(error: ImageError) -> ErrorReport {
    let ImageError { place, message, help } = error;
    ErrorReport { file: place, line: None, column: None, message, help: Some(help) }
}

/// The report on an object with its place in its file, and the places of its findings.
fn placed(mut report: ObjectReport, findings: &[Finding], document: &Document) -> ObjectReport {
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

/// The longest line that is shown, in characters: minified JSON is one line of many thousands.
const LONGEST_LINE: usize = 160;

fn excerpt(line: &str) -> String {
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn read_policy(path: &Path) -> Result<Policy, PolicyFileError> {
    policy_file::parse(path, &policy_file::text(path)?)
}

/// Prints to stdout; that a pager was closed is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Prints to stderr what could not be read.
pub(crate) fn print_errors(report: &Report) {
    for error in &report.errors {
        anstream::eprint!("{}", text::error(error, &Styles::colored()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_minified_json_is_cut() {
        assert_eq!(excerpt("short"), "short");
        let cut = excerpt(&"ü".repeat(30_000));
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (LONGEST_LINE + 1, true));
    }
}
