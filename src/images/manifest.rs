//! Manifests and indexes of images, in the formats of OCI and Docker's schema 2 (OCI image-spec `manifest.md`,
//! `image-index.md`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::platform::Platform;
use crate::{base::text::nullable, workload::image_config};

/// The maximum length of a manifest or index (OCI distribution-spec, "Pushing Manifests": registries accept 4 MiB).
pub(super) const MAX_LEN: usize = 4 << 20;

/// The maximum depth of nested indexes.
pub(super) const MAX_DEPTH: usize = 4;

/// The supported media types of manifests and indexes.
pub(super) const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The supported media types of configs.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// A reference to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "nullable")]
    media_type: String,
    pub(super) digest: String,
    #[serde(default, deserialize_with = "nullable")]
    size: u64,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawPlatform {
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    variant: String,
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub(super) enum Manifest {
    /// An index of manifests for several platforms.
    Index(Vec<Descriptor>),
    /// A manifest; the descriptor is that of its config.
    Config(Descriptor),
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("its manifest is not valid: {0}")]
    Invalid(serde_json::Error),
    #[error("its manifest has schema version 1, which is not supported")]
    Schema1,
    #[error("it is not a container image: its config has the type {0}")]
    NoImage(String),
    #[error("its manifest contains neither a config nor platforms")]
    Empty,
    #[error("it has no image for {wanted}; it has {}", found.join(", "))]
    NoPlatform { wanted: Platform, found: Vec<String> },
    #[error("the image config has {0} bytes; the limit is {longest} bytes", longest = image_config::MAX_LEN)]
    LongConfig(u64),
    #[error("its indexes are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
}

/// Parses a manifest or an index.
pub(super) fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
    let raw: RawManifest = serde_json::from_slice(json).map_err(ManifestError::Invalid)?;
    match raw {
        RawManifest { schema_version: 1, .. } => Err(ManifestError::Schema1),
        RawManifest { manifests: Some(manifests), .. } => Ok(Manifest::Index(manifests)),
        RawManifest { config: Some(config), .. } => {
            let known = config.media_type.is_empty() || CONFIG_TYPES.contains(&&*config.media_type);
            if !known {
                return Err(ManifestError::NoImage(config.media_type));
            }
            if config.size > image_config::MAX_LEN as u64 {
                return Err(ManifestError::LongConfig(config.size));
            }
            Ok(Manifest::Config(config))
        }
        RawManifest { .. } => Err(ManifestError::Empty),
    }
}

/// The manifest for a platform: the only one, or the first that matches.
pub(super) fn choose<'d>(
    manifests: impl IntoIterator<Item = &'d Descriptor>,
    wanted: &Platform,
) -> Result<&'d Descriptor, ManifestError> {
    let manifests: Vec<_> = manifests.into_iter().collect();
    if let [only @ Descriptor { platform: None, .. }] = manifests.as_slice() {
        return Ok(only);
    }
    let fits = |descriptor: &&&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|platform| {
            platform.os == wanted.os
                && platform.architecture == wanted.architecture
                && wanted.variant.as_ref().is_none_or(|variant| *variant == platform.variant)
        })
    };
    manifests.iter().find(fits).copied().ok_or_else(|| {
        let platforms = manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref());
        // BuildKit adds attestations to the index, with the platform unknown/unknown.
        let named = platforms.filter(|platform| platform.os != "unknown");
        let found = named.map(|platform| {
            let variant = if platform.variant.is_empty() { "" } else { "/" };
            format!("{}/{}{variant}{}", platform.os, platform.architecture, platform.variant)
        });
        ManifestError::NoPlatform { wanted: wanted.clone(), found: found.collect() }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const INDEX: &str = r#"{"schemaVersion": 2, "manifests": [
        {"digest": "sha256:1", "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": "sha256:2", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:3", "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
        {"digest": "sha256:4", "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}]}"#;

    fn chosen(index: &str, platform: &str) -> String {
        let Ok(Manifest::Index(manifests)) = parse(index.as_bytes()) else { panic!("{index} is no index") };
        match choose(&manifests, &platform.parse().unwrap()) {
            Ok(descriptor) => descriptor.digest.clone(),
            Err(error) => error.to_string(),
        }
    }

    #[rstest]
    #[case::plain("linux/amd64", "sha256:2")]
    #[case::any_variant("linux/arm", "sha256:3")]
    #[case::variant("linux/arm/v7", "sha256:4")]
    #[case::none(
        "windows/amd64",
        "it has no image for windows/amd64; it has linux/amd64, linux/arm/v6, linux/arm/v7"
    )]
    fn the_manifest_of_a_platform_is_chosen(#[case] platform: &str, #[case] digest: &str) {
        assert_eq!(chosen(INDEX, platform), digest);
    }

    #[test]
    fn an_only_manifest_may_have_no_platform() {
        assert_eq!(chosen(r#"{"manifests": [{"digest": "sha256:5"}]}"#, "linux/amd64"), "sha256:5");
    }

    #[rstest]
    #[case::docker("application/vnd.docker.container.image.v1+json")]
    #[case::oci("application/vnd.oci.image.config.v1+json")]
    fn the_config_of_an_image_is_read(#[case] media_type: &str) {
        let json =
            format!(r#"{{"schemaVersion": 2, "config": {{"mediaType": "{media_type}", "digest": "d"}}}}"#);
        assert!(matches!(parse(json.as_bytes()), Ok(Manifest::Config(config)) if config.digest == "d"));
    }

    #[rstest]
    #[case::schema_1(r#"{"schemaVersion": 1}"#, "its manifest has schema version 1, which is not supported")]
    #[case::empty("{}", "its manifest contains neither a config nor platforms")]
    #[case::chart(
        r#"{"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "d"}}"#,
        "it is not a container image: its config has the type application/vnd.cncf.helm.config.v1+json"
    )]
    #[case::long(
        r#"{"config": {"digest": "d", "size": 1048577}}"#,
        "the image config has 1048577 bytes; the limit is 1048576 bytes"
    )]
    fn other_manifests_are_refused(#[case] json: &str, #[case] message: &str) {
        assert_eq!(parse(json.as_bytes()).unwrap_err().to_string(), message);
    }

    #[test]
    fn no_json_is_refused() {
        assert!(parse(b"<html>").unwrap_err().to_string().starts_with("its manifest is not valid: "));
    }
}
