//! Reads the configs of images from registries, OCI layouts and `docker save` archives.
//!
//! Turns the image names of pods into [`ImageFacts`]. `servers` interprets the configs.

mod archive;
mod authorities;
mod cache;
mod credentials;
mod digest;
mod manifest;
mod platform;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

pub use self::platform::{Platform, PlatformError};
use self::{
    archive::Archive,
    registry::{Failure, HostError, Registries},
};
use crate::{base::plural::count, workload::image_config::ImageFacts};

/// The maximum number of images that are read concurrently.
const MAX_CONCURRENT: usize = 8;

/// Where and how to read configs.
#[derive(Clone, Debug)]
pub struct Options {
    /// OCI layouts and `docker save` archives, which are searched first.
    pub archives: Vec<PathBuf>,
    /// Whether to query registries for images that are not in an archive.
    pub registries: bool,
    /// The platform to select from multi-platform images.
    pub platform: Platform,
    /// The mirror of a registry, a host with an optional path: `docker.io` -> `mirror.example.com/hub`.
    pub mirrors: BTreeMap<String, String>,
    /// The registries to access over plain HTTP.
    pub insecure: BTreeSet<String>,
    /// The timeout of a request.
    pub timeout: Duration,
}

/// An image, registry or archive that could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageError {
    /// The image, the registry or the archive.
    pub place: String,
    /// The problem.
    pub message: String,
    /// How to fix it.
    pub help: String,
}

/// The result of reading images.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The config of each image, by the name that pods use.
    pub facts: BTreeMap<String, ImageFacts>,
    /// The errors.
    pub errors: Vec<ImageError>,
    /// The images that are not in an archive, if registries are not queried.
    pub absent: Vec<String>,
}

/// Reads the configs of images; calls `progress` with the number of finished images and their total.
pub async fn read(
    names: BTreeSet<String>,
    options: &Options,
    mut progress: impl FnMut(usize, usize),
) -> Images {
    let mut images = Images::default();
    let all = names.len();
    let rest = from_archives(names, options, &mut images);
    if !options.registries {
        images.absent = rest;
        return images;
    }
    if rest.is_empty() {
        return images;
    }
    progress(all - rest.len(), all);
    from_registries(rest, all, Arc::new(Registries::new(options)), &mut images, progress).await;
    images
}

/// Reads images from archives; returns the names of the others.
fn from_archives(names: BTreeSet<String>, options: &Options, images: &mut Images) -> Vec<String> {
    let mut archives = Vec::new();
    for path in &options.archives {
        match Archive::open(path) {
            Ok(archive) => archives.push(archive),
            Err(error) => images.errors.push(ImageError {
                place: path.display().to_string(),
                message: error.to_string(),
                help: "give an OCI layout directory, or the output of `docker save`".to_owned(),
            }),
        }
    }
    let mut rest = Vec::new();
    for name in names {
        match archives.iter().find_map(|archive| Some((archive, archive.find(&name, &options.platform)?))) {
            None => rest.push(name),
            Some((_, Ok(facts))) => {
                images.facts.insert(name, facts);
            }
            Some((archive, Err(error))) => images.errors.push(ImageError {
                place: archive.path().display().to_string(),
                message: format!("cannot read the config of {name}: {error}"),
                help: "save the image again".to_owned(),
            }),
        }
    }
    rest
}

async fn from_registries(
    names: Vec<String>,
    all: usize,
    registries: Arc<Registries>,
    images: &mut Images,
    mut progress: impl FnMut(usize, usize),
) {
    let mut done = all - names.len();
    let limit = Arc::new(Semaphore::new(MAX_CONCURRENT));
    let mut tasks = JoinSet::new();
    for name in names {
        let (registries, limit) = (Arc::clone(&registries), Arc::clone(&limit));
        tasks.spawn(async move {
            let _permit = limit.acquire().await;
            let read = registries.read(&name).await;
            (name, read)
        });
    }
    // A registry that does not respond is one error, for any number of images.
    let mut host_failure: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(task) = tasks.join_next().await {
        done += 1;
        progress(done, all);
        match task {
            Ok((name, Ok(facts))) => {
                images.facts.insert(name, facts);
            }
            Ok((name, Err(Failure::Registry(host)))) => host_failure.entry(host).or_default().push(name),
            Ok((name, Err(Failure::Image { message, help }))) => {
                images.errors.push(ImageError { place: name, message, help });
            }
            Err(error) => images.errors.push(ImageError {
                place: "--images".to_owned(),
                message: format!("reading an image failed: {error}"),
                help: "report this as a bug".to_owned(),
            }),
        }
    }
    for (host, mut names) in host_failure {
        names.sort();
        let HostError { why, help } = registries.host_error(&host);
        let message = format!("{why}; not read: {}", listed(&names));
        images.errors.push(ImageError { place: format!("registry {host}"), message, help });
    }
    images.errors.sort_by(|a, b| a.place.cmp(&b.place));
}

/// The first names of a list, and the number of the others.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let (first, rest) = names.split_at(names.len().min(SHOWN));
    let first = first.join(", ");
    if rest.is_empty() { first } else { format!("{first} and {}", count(rest.len(), "more image")) }
}
