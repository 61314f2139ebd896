//! OCI layouts and `docker save` archives (OCI image-spec `image-layout.md`; moby `image/tarexport`).
//!
//! Unpacks nothing: archive entries are read in place, by names that are compared and never opened as paths.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    digest,
    manifest::{self, Descriptor, Manifest, ManifestError},
    platform::Platform,
};
use crate::{
    base::text::nullable,
    workload::{
        image::ImageRef,
        image_config::{self, ImageConfig, ImageConfigError, ImageFacts},
    },
};

/// The maximum number of entries; `docker save` writes a few for each layer.
const MAX_ENTRIES: usize = 100_000;

/// The files that list the images of an OCI layout and of an archive.
const OCI_INDEX: &str = "index.json";
const DOCKER_LIST: &str = "manifest.json";

/// The annotations with the name of an image. containerd's is complete, OCI's may be just a tag.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is compressed; decompress it first, for example with gunzip or zstd -d")]
    Compressed,
    #[error("it has more than {MAX_ENTRIES} entries")]
    ManyEntries,
    #[error("it has neither {OCI_INDEX} nor {DOCKER_LIST}")]
    NoImages,
    #[error("its {DOCKER_LIST} is not valid: {0}")]
    List(serde_json::Error),
    #[error("{name} has {bytes} bytes; the limit is {longest} bytes")]
    TooLong { name: String, bytes: u64, longest: usize },
    #[error("it does not contain {0}")]
    Missing(String),
    #[error("{0} is not a sha256 digest")]
    Digest(String),
    #[error("the digest of {0} does not match its content")]
    Changed(String),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    Config(String),
}

impl From<ImageConfigError> for ArchiveError {
    fn from(error: ImageConfigError) -> Self {
        match error {
            ImageConfigError::TooLong(_) => Self::Config(error.to_string()),
            ImageConfigError::Invalid(source) => {
                Self::Config(format!("the image config is not valid: {source}"))
            }
        }
    }
}

/// The images of a layout or an archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    contents: Contents,
    images: Vec<Listed>,
}

/// An image that an archive lists.
#[derive(Debug)]
struct Listed {
    /// The repository with its registry, and the tag; `None` if the archive has no repository.
    name: Option<(String, String)>,
    at: Location,
}

/// The location of the config.
#[derive(Debug)]
enum Location {
    /// In the manifest or index of this descriptor.
    Manifest(Descriptor),
    /// In the entry with this name.
    Config(String),
}

/// An item of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default, deserialize_with = "nullable")]
    repo_tags: Vec<String>,
}

impl Archive {
    /// Reads the list of images from a directory or an archive.
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let contents = Contents::open(path)?;
        let mut images = Vec::new();
        let index = contents.read(OCI_INDEX, manifest::MAX_LEN).map(|json| manifest::parse(&json));
        let has_index = match index {
            Ok(Ok(Manifest::Index(descriptors))) => {
                images.extend(descriptors.into_iter().map(|descriptor| Listed {
                    name: name_of(&descriptor),
                    at: Location::Manifest(descriptor),
                }));
                true
            }
            Ok(Ok(Manifest::Config(_)) | Err(ManifestError::Empty)) | Err(ArchiveError::Missing(_)) => false,
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => return Err(error),
        };
        match contents.read(DOCKER_LIST, manifest::MAX_LEN) {
            Ok(json) => {
                let listed: Vec<DockerImage> = serde_json::from_slice(&json).map_err(ArchiveError::List)?;
                for image in listed {
                    // The index comes first, because it contains the digest of the manifest.
                    images.extend(image.repo_tags.iter().map(|tag| Listed {
                        name: Some(full_name(tag)),
                        at: Location::Config(image.config.clone()),
                    }));
                }
            }
            Err(ArchiveError::Missing(_)) if has_index => {}
            Err(ArchiveError::Missing(_)) => return Err(ArchiveError::NoImages),
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), contents, images })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The config of an image, by the digest or the name that a pod uses; `None` if the archive does not contain the
    /// image.
    pub(super) fn find(&self, image: &str, platform: &Platform) -> Option<Result<ImageFacts, ArchiveError>> {
        let digest = image.split_once('@').map(|(_, digest)| digest);
        let name = full_name(image);
        let is_meant = |listed: &&Listed| match (digest, &listed.at) {
            (Some(digest), Location::Manifest(descriptor)) => descriptor.digest == digest,
            (Some(_), Location::Config(_)) => false,
            (None, _) => listed.name.as_ref() == Some(&name),
        };
        let found: Vec<_> = self.images.iter().filter(is_meant).collect();
        let manifests = found.iter().filter_map(|listed| match &listed.at {
            Location::Manifest(descriptor) => Some(descriptor),
            Location::Config(_) => None,
        });
        let manifests: Vec<_> = manifests.collect();
        match (manifests.as_slice(), found.first()?) {
            ([], Listed { at: Location::Config(entry), .. }) => Some(self.of_config(entry)),
            ([only], _) => Some(self.of_manifest(only, platform)),
            (several, _) => Some(
                manifest::choose(several.iter().copied(), platform)
                    .map_err(ArchiveError::from)
                    .and_then(|descriptor| self.of_manifest(descriptor, platform)),
            ),
        }
    }

    /// An image without a manifest has only the digest of its config, which Docker calls the image ID.
    fn of_config(&self, entry: &str) -> Result<ImageFacts, ArchiveError> {
        let json = self.contents.read(entry, image_config::MAX_LEN)?;
        Ok(ImageFacts { digest: digest::of(&json), config: ImageConfig::parse(&json)?, doubt: None })
    }

    fn of_manifest(&self, top: &Descriptor, platform: &Platform) -> Result<ImageFacts, ArchiveError> {
        let mut descriptor = top.clone();
        for _ in 0..manifest::MAX_DEPTH {
            let json = self.contents.blob(&descriptor.digest, manifest::MAX_LEN)?;
            match manifest::parse(&json)? {
                Manifest::Index(manifests) => descriptor = manifest::choose(&manifests, platform)?.clone(),
                Manifest::Config(config) => {
                    let json = self.contents.blob(&config.digest, image_config::MAX_LEN)?;
                    return Ok(ImageFacts {
                        digest: top.digest.clone(),
                        config: ImageConfig::parse(&json)?,
                        doubt: None,
                    });
                }
            }
        }
        Err(ManifestError::TooDeep.into())
    }
}

/// The full name of a reference: `nginx` is `docker.io/library/nginx` with the tag `latest`.
fn full_name(image: &str) -> (String, String) {
    let image = ImageRef::of(image);
    let tag = if image.tag.is_empty() { "latest" } else { image.tag };
    (image.qualified().into_owned(), tag.to_owned())
}

fn name_of(descriptor: &Descriptor) -> Option<(String, String)> {
    let names = NAMES.into_iter().filter_map(|key| descriptor.annotations.get(key));
    let mut whole = names.filter(|name| name.contains(['/', ':']));
    whole.next().map(|name| full_name(name))
}

/// The files of a directory, or the entries of an archive.
#[derive(Debug)]
enum Contents {
    Directory(PathBuf),
    Tar { file: File, entries: HashMap<String, Entry> },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: u64,
    size: u64,
}

impl Contents {
    fn open(path: &Path) -> Result<Self, ArchiveError> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        let length = file.read(&mut magic)?;
        // RFC 1952, RFC 8878, and the formats of bzip2 and xz.
        let compressed: [&[u8]; 4] =
            [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh", &[0xfd, b'7', b'z', b'X']];
        if compressed.iter().any(|head| magic[..length].starts_with(head)) {
            return Err(ArchiveError::Compressed);
        }
        file.seek(SeekFrom::Start(0))?;
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(file);
        for (number, entry) in archive.entries_with_seek()?.enumerate() {
            if number >= MAX_ENTRIES {
                return Err(ArchiveError::ManyEntries);
            }
            let entry = entry?;
            if entry.header().entry_type().is_file() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let name = name.strip_prefix("./").unwrap_or(&name);
                entries.insert(
                    name.to_owned(),
                    Entry { position: entry.raw_file_position(), size: entry.size() },
                );
            }
        }
        Ok(Self::Tar { file: archive.into_inner(), entries })
    }

    /// Reads a blob of at most this length, and checks its digest.
    fn blob(&self, digest: &str, longest: usize) -> Result<Vec<u8>, ArchiveError> {
        let hex = digest::hex(digest).ok_or_else(|| ArchiveError::Digest(digest.to_owned()))?;
        let bytes = self.read(&format!("blobs/sha256/{hex}"), longest)?;
        if digest::of(&bytes) == digest { Ok(bytes) } else { Err(ArchiveError::Changed(digest.to_owned())) }
    }

    /// Reads a file or an entry of at most this length. File names are constants or checked digests; entry names may
    /// come from the archive.
    fn read(&self, name: &str, longest: usize) -> Result<Vec<u8>, ArchiveError> {
        let too_long = |bytes| ArchiveError::TooLong { name: name.to_owned(), bytes, longest };
        let mut bytes = Vec::new();
        match self {
            Self::Directory(directory) => {
                let is_plain = |part: &str| !matches!(part, "" | "." | "..");
                if !name.split('/').all(is_plain) {
                    return Err(ArchiveError::Missing(name.to_owned()));
                }
                let file = match File::open(directory.join(name)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(ArchiveError::Missing(name.to_owned()));
                    }
                    Err(error) => return Err(error.into()),
                };
                let size = file.metadata()?.len();
                file.take(longest as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() > longest {
                    return Err(too_long(size.max(bytes.len() as u64)));
                }
            }
            Self::Tar { file, entries } => {
                let Entry { position, size } =
                    *entries.get(name).ok_or_else(|| ArchiveError::Missing(name.to_owned()))?;
                if size > longest as u64 {
                    return Err(too_long(size));
                }
                let mut file = file;
                file.seek(SeekFrom::Start(position))?;
                file.take(size).read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    /// The files of an OCI layout with one image, as (path, content).
    fn layout(names: &serde_json::Value) -> Vec<(String, Vec<u8>)> {
        let blob = |json: serde_json::Value| {
            let bytes = json.to_string().into_bytes();
            let digest = digest::of(&bytes);
            (format!("blobs/sha256/{}", digest::hex(&digest).unwrap()), bytes, digest)
        };
        let config = blob(json!({"config": {"Cmd": ["gunicorn"]}}));
        let image = blob(json!({"schemaVersion": 2, "config": {"digest": config.2, "size": config.1.len()}}));
        let platform = json!({"os": "linux", "architecture": "amd64"});
        let index =
            blob(json!({"schemaVersion": 2, "manifests": [{"digest": image.2, "platform": platform}]}));
        let top = json!({"schemaVersion": 2, "manifests": [{"digest": index.2, "annotations": names}]});
        vec![
            (config.0, config.1),
            (image.0, image.1),
            (index.0, index.1),
            (OCI_INDEX.to_owned(), top.to_string().into_bytes()),
        ]
    }

    fn docker(config: &str, tag: &str) -> (String, Vec<u8>) {
        let list = json!([{"Config": config, "RepoTags": [tag], "Layers": []}]);
        (DOCKER_LIST.to_owned(), list.to_string().into_bytes())
    }

    fn write_directory(files: &[(String, Vec<u8>)]) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layout");
        for (name, bytes) in files {
            let path = path.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        (directory, path)
    }

    fn write_tar(files: &[(String, Vec<u8>)]) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            // The builder refuses names with `..`, so the header is written by hand.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes.as_slice()).unwrap();
        }
        tar.finish().unwrap();
        (directory, path)
    }

    fn find(path: &Path, image: &str) -> String {
        let archive = match Archive::open(path) {
            Ok(archive) => archive,
            Err(error) => return format!("! {error}"),
        };
        match archive.find(image, &"linux/amd64".parse().unwrap()) {
            None => "(none)".to_owned(),
            Some(Ok(facts)) => facts.config.cmd.join(" "),
            Some(Err(error)) => format!("! {error}"),
        }
    }

    #[rstest]
    #[case::containerd(json!({"io.containerd.image.name": "docker.io/shop/cart:3"}), "shop/cart:3", "gunicorn")]
    #[case::oci(json!({"org.opencontainers.image.ref.name": "example.com/cart:3"}), "example.com/cart:3", "gunicorn")]
    #[case::other_tag(json!({"io.containerd.image.name": "docker.io/shop/cart:3"}), "shop/cart:4", "(none)")]
    #[case::tag_alone(json!({"org.opencontainers.image.ref.name": "3"}), "shop/cart:3", "(none)")]
    fn an_image_is_found_by_its_name(
        #[case] names: serde_json::Value,
        #[case] image: &str,
        #[case] cmd: &str,
    ) {
        let files = layout(&names);
        let (_directory, path) = write_directory(&files);
        assert_eq!(find(&path, image), cmd);
        let (_directory, path) = write_tar(&files);
        assert_eq!(find(&path, image), cmd);
    }

    #[test]
    fn an_image_is_found_by_its_digest() {
        let files = layout(&json!({}));
        let (_directory, path) = write_directory(&files);
        let digest = digest::of(&files[2].1);
        assert_eq!(find(&path, &format!("shop/cart:3@{digest}")), "gunicorn");
        assert_eq!(find(&path, "shop/cart@sha256:00"), "(none)");
        let archive = Archive::open(&path).unwrap();
        let facts =
            archive.find(&format!("cart@{digest}"), &"linux/amd64".parse().unwrap()).unwrap().unwrap();
        assert_eq!(facts.digest, digest);
        let none = archive.find(&format!("cart@{digest}"), &"linux/arm64".parse().unwrap()).unwrap();
        assert_eq!(none.unwrap_err().to_string(), "it has no image for linux/arm64; it has linux/amd64");
    }

    #[test]
    fn the_output_of_docker_save_is_read() {
        let config = br#"{"config": {"Cmd": ["nginx"]}}"#.to_vec();
        let (_directory, path) =
            write_tar(&[("ab.json".to_owned(), config.clone()), docker("ab.json", "nginx:1.27")]);
        assert_eq!(find(&path, "nginx:1.27"), "nginx");
        assert_eq!(find(&path, "docker.io/library/nginx:1.27"), "nginx");
        assert_eq!(find(&path, "nginx"), "(none)");
        let facts = Archive::open(&path).unwrap().find("nginx:1.27", &"linux/amd64".parse().unwrap());
        assert_eq!(facts.unwrap().unwrap().digest, digest::of(&config));
    }

    #[test]
    fn a_config_that_is_too_long_is_refused() {
        let config = ("ab.json".to_owned(), vec![b' '; image_config::MAX_LEN + 1]);
        let (_directory, path) = write_tar(&[config, docker("ab.json", "cart:3")]);
        assert_eq!(find(&path, "cart:3"), "! ab.json has 1048577 bytes; the limit is 1048576 bytes");
    }

    #[test]
    fn a_size_beyond_the_end_of_the_file_is_not_believed() {
        let (_directory, path) = write_tar(&[docker("ab.json", "cart:3")]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 1024);
        let mut header = tar::Header::new_gnu();
        header.set_path("ab.json").unwrap();
        header.set_size(1000);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"{}");
        fs::write(&path, bytes).unwrap();
        // The reader may stop at the cut entry, or read what there is of it.
        assert!(["! ", ""].iter().any(|head| find(&path, "cart:3").starts_with(head)));
    }

    #[rstest]
    #[case::parent("../secret.json")]
    #[case::absolute("/etc/hostname")]
    fn a_path_out_of_the_archive_is_not_followed(#[case] config: &str) {
        let list = docker(config, "cart:3");
        let (directory, path) = write_directory(std::slice::from_ref(&list));
        fs::write(directory.path().join("secret.json"), r#"{"config": {"Cmd": ["secret"]}}"#).unwrap();
        assert_eq!(find(&path, "cart:3"), format!("! it does not contain {config}"));
        let (directory, path) = write_tar(&[list]);
        fs::write(directory.path().join("secret.json"), r#"{"config": {"Cmd": ["secret"]}}"#).unwrap();
        assert_eq!(find(&path, "cart:3"), format!("! it does not contain {config}"));
    }

    #[test]
    fn a_digest_that_is_a_path_is_not_followed() {
        let top = json!({"manifests": [{"digest": "sha256:../../index.json",
            "annotations": {"io.containerd.image.name": "docker.io/library/cart:3"}}]});
        let (_directory, path) = write_directory(&[(OCI_INDEX.to_owned(), top.to_string().into_bytes())]);
        assert_eq!(find(&path, "cart:3"), "! sha256:../../index.json is not a sha256 digest");
    }

    #[test]
    fn a_changed_blob_is_refused() {
        let mut files = layout(&json!({"io.containerd.image.name": "docker.io/library/cart:3"}));
        files[0].1 = br#"{"config": {"Cmd": ["other"]}}"#.to_vec();
        let (_directory, path) = write_tar(&files);
        assert!(find(&path, "cart:3").ends_with(" does not match its content"));
    }

    #[rstest]
    #[case::compressed(&[0x1f, 0x8b, 8, 0], "! it is compressed; decompress it first, for example with gunzip or zstd -d")]
    #[case::no_archive(&[0; 2048], "! it has neither index.json nor manifest.json")]
    fn other_files_are_refused(#[case] bytes: &[u8], #[case] message: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        fs::write(&path, bytes).unwrap();
        assert_eq!(find(&path, "cart:3"), message);
    }
}
