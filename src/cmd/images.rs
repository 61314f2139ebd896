//! The flags of `lint`, `explain` and `learn` for reading image configs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::{output::note_line, progress::Progress};
use crate::{
    base::duration,
    images::{self, Images, Options, Platform},
    linkerd::{self, proxy_init},
    lint::manifest::Document,
    workload::annotations::Annotations,
};

/// Where to read what the images of pods run.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageArgs {
    /// Read image configs from the registries, or from an OCI layout or a `docker save` archive
    ///
    /// ENTRYPOINT, CMD and ENV of an image show which server a container runs if its manifest does not. Without a PATH,
    /// image configs are read from the registries, with the credentials of `docker login`. May be repeated: with and
    /// without a PATH, images that no archive contains are read from their registries.
    #[arg(
        long,
        value_name = "PATH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = source,
        help_heading = HEADING
    )]
    images: Vec<Source>,
    /// The platform to read from a multi-platform image
    #[arg(long, value_name = "OS/ARCH", default_value = "linux/amd64", help_heading = HEADING)]
    platform: Platform,
    /// Read the images of a registry from a mirror; may be repeated
    #[arg(long, value_name = "REGISTRY=HOST", requires = "images", value_parser = mirror, help_heading = HEADING)]
    registry_mirror: Vec<(String, String)>,
    /// Connect to this registry over plain HTTP, for a registry on this machine; may be repeated
    #[arg(long, value_name = "HOST", requires = "images", value_parser = host, help_heading = HEADING)]
    insecure_registry: Vec<String>,
    /// How long to wait for the response to one request
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait,
        help_heading = HEADING
    )]
    registry_timeout: Duration,
}

const HEADING: &str = "Images";

/// A value of `--images`.
#[derive(Clone, Debug)]
enum Source {
    Registries,
    Archive(PathBuf),
}

fn source(text: &str) -> Result<Source, String> {
    Ok(if text.is_empty() { Source::Registries } else { Source::Archive(PathBuf::from(text)) })
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).map_err(|error| error.to_string())?;
    if wait.is_zero() { Err("the timeout cannot be 0s; write it like 10s".to_owned()) } else { Ok(wait) }
}

/// A host with an optional port, as in the name of an image before the first slash.
fn host(text: &str) -> Result<String, String> {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if !name.is_empty() && name.chars().all(is_name) && port.parse::<u16>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a host; write it like localhost:5000, without http:// and without a path"
        ))
    }
}

fn mirror(text: &str) -> Result<(String, String), String> {
    let help = "write it like docker.io=mirror.example.com or docker.io=mirror.example.com/hub";
    let (registry, mirror) = text.split_once('=').ok_or_else(|| help.to_owned())?;
    let (at, path) = mirror.split_once('/').unwrap_or((mirror, ""));
    let is_path =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | '/');
    host(registry).and_then(|_| host(at)).map_err(|error| format!("{error}; {help}"))?;
    if path.chars().all(is_path) {
        Ok((registry.to_owned(), mirror.to_owned()))
    } else {
        Err(format!("{path:?} is not a repository path; {help}"))
    }
}

impl ImageArgs {
    /// Reads the configs of the images in these documents, if the flags request it.
    pub(crate) fn read<'d>(&self, documents: impl Iterator<Item = &'d Document>) -> anyhow::Result<Images> {
        if self.images.is_empty() {
            return Ok(Images::default());
        }
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let images = runtime.block_on(read(names(documents), &self.options()));
        if !images.absent.is_empty() {
            let names = images::listed(&images.absent);
            note_line!(
                "note: the archives of --images do not contain {names}; add --images without a PATH to read from \
                 the registries, too"
            );
        }
        Ok(images)
    }

    /// Reads the configs of these images, from registries unless the flags name archives.
    pub(crate) async fn read_names(&self, names: BTreeSet<String>) -> Images {
        let registries = self.images.is_empty() || self.options().registries;
        read(names, &Options { registries, ..self.options() }).await
    }

    fn options(&self) -> Options {
        let archives = self.images.iter().filter_map(|source| match source {
            Source::Registries => None,
            Source::Archive(path) => Some(path.clone()),
        });
        Options {
            archives: archives.collect(),
            registries: self.images.iter().any(|source| matches!(source, Source::Registries)),
            platform: self.platform.clone(),
            mirrors: self.registry_mirror.iter().cloned().collect::<BTreeMap<_, _>>(),
            insecure: self.insecure_registry.iter().cloned().collect(),
            timeout: self.registry_timeout,
        }
    }
}

/// Reads configs, and shows the progress on a terminal.
async fn read(names: BTreeSet<String>, options: &Options) -> Images {
    let mut progress = Progress::new("reading image configs");
    images::read(names, options, |done, all| progress.show(done, all)).await
}

/// The images of containers without an idle timeout annotation, except Linkerd's own.
fn names<'d>(documents: impl Iterator<Item = &'d Document>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for object in documents.flat_map(|document| document.objects().unwrap_or_default()) {
        let annotations = Annotations::read(&object.pod);
        let apps = object.pod.running_containers().filter(|container| {
            let is_linkerds = matches!(&*container.name, linkerd::PROXY | proxy_init::NAME);
            !is_linkerds && !container.image.is_empty() && annotations.idle_of(&container.name).is_none()
        });
        names.extend(apps.map(|container| container.image.to_string()));
    }
    names
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lint::manifest;

    #[rstest]
    #[case::host("docker.io=mirror.example.com:5000", Some("mirror.example.com:5000"))]
    #[case::path("docker.io=mirror.example.com/hub", Some("mirror.example.com/hub"))]
    #[case::no_host("docker.io=", None)]
    #[case::no_registry("=mirror.example.com", None)]
    #[case::no_equals("mirror.example.com", None)]
    #[case::url("docker.io=https://mirror.example.com", None)]
    #[case::upper_case_path("docker.io=mirror.example.com/Hub", None)]
    fn mirrors(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(mirror(text).ok(), expected.map(|host| ("docker.io".to_owned(), host.to_owned())));
    }

    #[test]
    fn the_images_of_apps_are_read() {
        let text = "\
kind: Pod
apiVersion: v1
metadata: {annotations: {config.linkerd.io/x: z}}
spec:
  initContainers:
  - {name: linkerd-proxy, image: proxy, restartPolicy: Always}
  - {name: migrate, image: migrations}
  - {name: sidecar, image: envoy, restartPolicy: Always}
  containers:
  - {name: a, image: cart:3}
  - {name: b, image: cart:3}
  - {name: c}
---
kind: Pod
apiVersion: v1
metadata: {annotations: {linkerd-linger.io/idle-timeout: 75s}}
spec: {containers: [{name: a, image: declared}]}
";
        let documents = manifest::read("a.yaml", text).documents;
        assert_eq!(names(documents.iter()), ["cart:3", "envoy"].map(str::to_owned).into());
    }
}
