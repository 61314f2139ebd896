//! Reads paths into documents with their origin.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;

use super::{
    super::progress::Progress,
    render,
    repository::{FileUse, Repository},
};
use crate::lint::{
    manifest::{self, Document, LooksLike, ManifestError},
    report::{NotRendered, Skipped},
};

pub(super) const STDIN: &str = "<stdin>";

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The objects.
    pub(crate) documents: Vec<CollectedDocument>,
    /// What could not be read.
    pub(crate) errors: Vec<ManifestError>,
    /// Skipped documents.
    pub(crate) skipped: Skipped,
}

/// An object and its origin.
#[derive(Debug)]
pub(crate) struct CollectedDocument {
    pub(crate) document: Document,
    pub(crate) origin: Origin,
}

/// The origin of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Its file was named, or it was on stdin.
    Named,
    /// Its file was found in a directory.
    Found,
    /// It was rendered from this kustomization.yaml or Chart.yaml.
    Rendered(String),
}

impl Collected {
    /// Reads these paths; without paths, stdin.
    pub(super) fn read(paths: &[PathBuf], render: Option<Duration>) -> anyhow::Result<Self> {
        let stdin = [PathBuf::from("-")];
        let paths = match paths {
            [] if io::stdin().is_terminal() => {
                bail!("nothing to read: give files, directories, or - with input on stdin; see --help");
            }
            [] => &stdin,
            paths => paths,
        };
        let mut all = Self::default();
        for path in paths {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let result = io::stdin().read_to_end(&mut bytes).map(|_| bytes);
                all.add(STDIN, result, &Origin::Named);
            } else if path.is_dir() {
                all.add_directory(path, render)?;
            } else {
                all.add(&path.to_string_lossy(), fs::read(path), &Origin::Named);
            }
        }
        Ok(all)
    }

    fn add_directory(&mut self, directory: &Path, render: Option<Duration>) -> anyhow::Result<()> {
        let mut repository = Repository::walk(directory);
        self.errors.append(&mut repository.errors);
        let jobs = repository.jobs();
        let mut done = Vec::new();
        match render {
            None => self.skipped.not_rendered.extend(jobs.iter().map(|job| NotRendered {
                file: repository.file_of(job).to_string_lossy().into_owned(),
                why: "because of --no-render".to_owned(),
            })),
            Some(limit) => {
                for rendered in render::render(jobs, limit)? {
                    let file = repository.file_of(&rendered.job).to_string_lossy().into_owned();
                    match rendered.result {
                        Ok(text) => {
                            self.add_text(&rendered.command, &text, &Origin::Rendered(file));
                            done.push(rendered.job);
                        }
                        Err(why) => self.skipped.not_rendered.push(NotRendered { file, why }),
                    }
                }
            }
        }
        let remaining = repository.remaining(&done);
        let mut progress = Progress::new("reading");
        for (index, (file, how)) in remaining.iter().enumerate() {
            progress.show(index, remaining.len());
            let name = file.to_string_lossy();
            match how {
                FileUse::Lint => self.add(&name, fs::read(file), &Origin::Found),
                FileUse::Patch => self.skipped.patches.push(name.into_owned()),
                FileUse::Template => self.skipped.templates.push(name.into_owned()),
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &str, bytes: io::Result<Vec<u8>>, origin: &Origin) {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                return self.errors.push(ManifestError::of_file(
                    file,
                    format!("cannot read it: {error}"),
                    None,
                ));
            }
        };
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        match String::from_utf8(bytes) {
            Ok(text) => self.add_text(file, &text, origin),
            Err(_) => {
                let (found, help) = if utf16 {
                    (
                        "it is UTF-16",
                        "save it as UTF-8; PowerShell's `>` writes UTF-16, `| Out-File -Encoding utf8` does not",
                    )
                } else {
                    ("it is not UTF-8 text", "give manifests in YAML or JSON")
                };
                self.errors.push(ManifestError::of_file(file, found.to_owned(), Some(help)));
            }
        }
    }

    fn add_text(&mut self, file: &str, text: &str, origin: &Origin) {
        let read = manifest::read(file, text);
        let collected = |document| CollectedDocument { document, origin: origin.clone() };
        self.documents.extend(read.documents.into_iter().map(collected));
        self.skipped.documents += read.others;
        for error in read.errors {
            self.add_error(error, origin);
        }
    }

    /// Adds an error. Skips it if its document is not a manifest: a directory may contain other YAML files.
    pub(super) fn add_error(&mut self, error: ManifestError, origin: &Origin) {
        let is_found = *origin != Origin::Named;
        let files = match error.looks_like {
            LooksLike::Patch if is_found => &mut self.skipped.patches,
            LooksLike::Template if is_found => &mut self.skipped.templates,
            LooksLike::Other if is_found => {
                self.skipped.documents += 1;
                return;
            }
            LooksLike::Manifest | LooksLike::Patch | LooksLike::Template | LooksLike::Other => {
                return self.errors.push(error);
            }
        };
        if files.last() != Some(&error.file) {
            files.push(error.file);
        }
    }

    /// Skips a valid patch.
    pub(super) fn skip_patch(&mut self, patch: &Document) {
        if self.skipped.patches.last().is_none_or(|last| last != patch.file()) {
            self.skipped.patches.push(patch.file().to_owned());
        }
    }
}
