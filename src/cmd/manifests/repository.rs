//! Finds the files to read and the directories to render below a directory.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use super::render::{Job, Renderer};
use crate::lint::{
    manifest::ManifestError,
    repository::{CHART, Chart, KUSTOMIZATIONS, Kustomization},
};

/// The content of a directory tree.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// The manifests, in order.
    files: Vec<PathBuf>,
    /// The kustomizations, by the real path of their directory.
    kustomizations: BTreeMap<PathBuf, ParsedFile<Kustomization>>,
    /// The charts that are no part of another, by directory.
    charts: BTreeMap<PathBuf, Chart>,
    /// Paths that could not be read.
    pub(super) errors: Vec<ManifestError>,
}

/// A parsed file with its path.
#[derive(Debug)]
struct ParsedFile<T> {
    file: PathBuf,
    read: T,
}

impl<T> ParsedFile<T> {
    fn directory(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new("."))
    }
}

/// How to handle a file that is not rendered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FileUse {
    /// Lint it.
    Lint,
    /// A patch of a kustomization that was not built.
    Patch,
    /// A template of a chart that was not rendered.
    Template,
}

impl Repository {
    /// Walks a directory tree. Follows symlinks, such as those of a mounted ConfigMap, but enters each directory only
    /// once.
    pub(super) fn walk(directory: &Path) -> Self {
        let mut repository = Self::default();
        let mut walked = HashSet::new();
        let mut is_new = |path: &Path| fs::canonicalize(path).map_or(true, |real| walked.insert(real));
        let walk = WalkDir::new(directory).follow_links(true).sort_by_file_name().into_iter();
        let walk = walk.filter_entry(|entry| {
            let hidden = entry.depth() > 0 && is_hidden(entry.path());
            !entry.file_type().is_dir() || (!hidden && is_new(entry.path()))
        });
        for entry in walk {
            match entry {
                Ok(entry) if entry.file_type().is_file() => repository.add(entry.into_path()),
                Ok(_) => {}
                // A symlink to a parent directory, whose files are already read.
                Err(error) if error.loop_ancestor().is_some() => {}
                Err(error) => {
                    let path = error.path().unwrap_or(directory);
                    // A broken symlink matters if its name is that of a manifest or, without an extension, could be
                    // that of a directory.
                    let matters = !is_hidden(path) && (is_manifest(path) || path.extension().is_none());
                    if matters || !path.is_symlink() {
                        let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                        let message = format!("cannot read it: {why}");
                        repository.errors.push(ManifestError::of_file(
                            &path.to_string_lossy(),
                            message,
                            None,
                        ));
                    }
                }
            }
        }
        let charts: Vec<_> = repository.charts.keys().cloned().collect();
        // Helm renders the charts in `charts/` together with their parent.
        let is_part = |chart: &Path| charts.iter().any(|of| chart.starts_with(of.join("charts")));
        repository.charts.retain(|directory, _| !is_part(directory));
        repository
    }

    fn add(&mut self, path: PathBuf) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        if KUSTOMIZATIONS.contains(&name) {
            let read = Kustomization::read(&fs::read_to_string(&path).unwrap_or_default());
            self.kustomizations.insert(real(&directory), ParsedFile { file: path, read });
        } else if name == CHART {
            self.charts.insert(directory, Chart::read(&fs::read_to_string(&path).unwrap_or_default()));
        } else if is_manifest(&path) {
            self.files.push(path);
        }
    }

    /// The directories to render: kustomizations that no other one includes, and charts.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let included: BTreeSet<PathBuf> =
            self.kustomizations.values().flat_map(|found| paths(found, &found.read.resources)).collect();
        let roots = self
            .kustomizations
            .iter()
            .filter(|(directory, found)| !included.contains(*directory) && !found.read.is_component)
            .map(|(_, found)| Job { directory: found.directory().to_owned(), renderer: Renderer::Kustomize });
        let charts = self.charts.iter().filter(|(_, chart)| !chart.is_library).map(|(directory, chart)| {
            let renderer = Renderer::Helm(release_name(&chart.name));
            Job { directory: directory.clone(), renderer }
        });
        roots.chain(charts).collect()
    }

    /// The kustomization.yaml or Chart.yaml of a job.
    pub(super) fn file_of(&self, job: &Job) -> PathBuf {
        match job.renderer {
            Renderer::Kustomize => self
                .kustomizations
                .get(&real(&job.directory))
                .map_or_else(|| job.directory.clone(), |found| found.file.clone()),
            Renderer::Helm(_) => job.directory.join(CHART),
        }
    }

    /// The files to read directly after rendering these directories: those that no rendered directory uses.
    pub(super) fn remaining(&self, rendered: &[Job]) -> Vec<(&Path, FileUse)> {
        let of = |renderer: fn(&Renderer) -> bool| {
            rendered.iter().filter(move |job| renderer(&job.renderer)).map(|job| &job.directory)
        };
        let built = self.built(of(|renderer| *renderer == Renderer::Kustomize));
        let charts: BTreeSet<&PathBuf> = of(|renderer| matches!(renderer, Renderer::Helm(_))).collect();
        let (mut covered, mut patches) = (BTreeSet::new(), BTreeSet::new());
        for (directory, found) in &self.kustomizations {
            covered.extend(paths(found, &found.read.others));
            if built.contains(directory) {
                covered.extend(paths(found, &found.read.resources));
                covered.extend(paths(found, &found.read.patches));
            } else {
                patches.extend(paths(found, &found.read.patches));
            }
        }
        let mut remaining = Vec::new();
        for file in &self.files {
            if let Some(directory) = self.chart_of(file) {
                let is_used = charts.contains(directory)
                    || self.charts.get(directory).is_some_and(|chart| chart.is_library);
                if is_template(file, directory) && !is_used {
                    remaining.push((file.as_path(), FileUse::Template));
                }
                if is_template(file, directory) {
                    continue;
                }
            }
            let path = real(file);
            if patches.contains(&path) && !covered.contains(&path) {
                remaining.push((file, FileUse::Patch));
            } else if !covered.contains(&path) {
                remaining.push((file, FileUse::Lint));
            }
        }
        remaining
    }

    /// These directories and all kustomizations that they include.
    fn built<'d>(&self, roots: impl Iterator<Item = &'d PathBuf>) -> BTreeSet<PathBuf> {
        let mut built = BTreeSet::new();
        let mut open: Vec<PathBuf> = roots.map(|directory| real(directory)).collect();
        while let Some(directory) = open.pop() {
            if let Some(found) = self.kustomizations.get(&directory)
                && built.insert(directory)
            {
                open.extend(paths(found, &found.read.resources));
            }
        }
        built
    }

    fn chart_of(&self, file: &Path) -> Option<&PathBuf> {
        file.ancestors()
            .skip(1)
            .find_map(|directory| self.charts.get_key_value(directory))
            .map(|(key, _)| key)
    }
}

/// Whether a file belongs to a chart: a template, or a part of a dependency.
fn is_template(file: &Path, chart: &Path) -> bool {
    ["templates", "charts"].iter().any(|directory| file.starts_with(chart.join(directory)))
}

/// The real paths of the files that a kustomization names, without remote ones.
fn paths<'f>(
    found: &'f ParsedFile<Kustomization>,
    names: &'f [String],
) -> impl Iterator<Item = PathBuf> + use<'f> {
    names.iter().filter_map(|name| fs::canonicalize(found.directory().join(name)).ok())
}

fn real(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A valid Helm release name: at most 53 letters, digits and dashes.
fn release_name(chart: &str) -> String {
    let is_letter = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    let name: String = chart.to_lowercase().chars().filter(is_letter).take(53).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "release".to_owned() } else { name.to_owned() }
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
