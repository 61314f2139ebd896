//! Image configs: what a container runs if its pod spec does not set it.
//!
//! Parses the JSON in registries, OCI layouts and `docker save` archives (OCI image-spec `config.md`; Docker's schema 2
//! has the same fields). `images` reads it from there.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::text::nullable;

/// The maximum length of a config. Real ones have a few KiB, most of it the history of the layers.
pub const MAX_LEN: usize = 1 << 20;

/// The fields of an image config that decide what runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImageConfig {
    /// ENTRYPOINT: the program and its first arguments.
    pub entrypoint: Vec<String>,
    /// CMD: further arguments, or the program if there is no ENTRYPOINT.
    pub cmd: Vec<String>,
    /// ENV, in order; the last of several equal names wins.
    pub env: Vec<(String, String)>,
    /// WORKDIR; empty if not set, which means `/`.
    pub working_dir: String,
    /// USER; empty if not set, which means root.
    pub user: String,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageConfigError {
    /// It is longer than [`MAX_LEN`].
    #[error("the image config has {0} bytes; the limit is {MAX_LEN} bytes")]
    TooLong(usize),
    /// It is not a JSON image config.
    #[error("the image config is not valid")]
    Invalid(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default, deserialize_with = "nullable")]
    config: RawConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawConfig {
    #[serde(default, deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    working_dir: String,
    #[serde(default, deserialize_with = "nullable")]
    user: String,
    #[serde(default, deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// Parses the JSON of a config.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is too long, or is not a JSON image config.
    pub fn parse(json: &[u8]) -> Result<Self, ImageConfigError> {
        if json.len() > MAX_LEN {
            return Err(ImageConfigError::TooLong(json.len()));
        }
        let RawImage { config } = serde_json::from_slice(json).map_err(ImageConfigError::Invalid)?;
        // An entry without `=` sets nothing (runc passes it on, but programs cannot find it).
        let env = config.env.iter().filter_map(|entry| entry.split_once('='));
        Ok(Self {
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            working_dir: config.working_dir,
            user: config.user,
            labels: config.labels,
        })
    }

    /// A variable of ENV.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The working directory of the program.
    pub fn directory(&self) -> &str {
        if self.working_dir.is_empty() { "/" } else { &self.working_dir }
    }
}

/// The config and the digest of an image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImageFacts {
    /// The digest that the name of the image resolves to: that of its index or manifest, such as `sha256:4f53...`.
    pub digest: String,
    /// The config.
    pub config: ImageConfig,
    /// Why a container may run another image; `None` if the registry was just read, or the pod names the digest.
    pub doubt: Option<String>,
}

impl ImageFacts {
    /// The name of the image in evidence: as the pod writes it, with the digest that was read.
    pub fn name(&self, image: &str) -> String {
        let name = image.split('@').next().unwrap_or(image);
        format!("{name}@{}", self.digest)
    }
}

/// Images whose configs were read earlier, by digest, and by the names that referred to the digests then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImageIndex {
    by_digest: BTreeMap<String, ImageFacts>,
    by_name: BTreeMap<String, ImageFacts>,
}

impl ImageIndex {
    /// Adds an image with the name that it had on a day; the last one with a name wins.
    pub fn insert(&mut self, name: &str, facts: ImageFacts, day: &str) {
        let named =
            ImageFacts { doubt: Some(format!("{name} was {} on {day}", facts.digest)), ..facts.clone() };
        self.by_name.insert(name.to_owned(), named);
        self.by_digest.insert(facts.digest.clone(), facts);
    }

    /// The image that a pod refers to: by its digest, otherwise by its name.
    pub fn get(&self, image: &str) -> Option<&ImageFacts> {
        match image.split_once('@') {
            Some((_, digest)) => self.by_digest.get(digest),
            None => self.by_name.get(image),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_fields_of_a_config_are_read() {
        let json = br#"{"architecture": "amd64", "os": "linux", "config": {
            "Entrypoint": ["/docker-entrypoint.sh"], "Cmd": ["nginx", "-g", "daemon off;"],
            "Env": ["PATH=/usr/bin", "A=1=2", "PATH=/bin", "NONE"], "WorkingDir": "/srv", "User": "101",
            "Labels": {"maintainer": "x"}, "ExposedPorts": {"80/tcp": {}}}, "rootfs": {}, "history": []}"#;
        let config = ImageConfig::parse(json).unwrap();
        assert_eq!(config.entrypoint, ["/docker-entrypoint.sh"]);
        assert_eq!(config.cmd, ["nginx", "-g", "daemon off;"]);
        assert_eq!((config.variable("PATH"), config.variable("A")), (Some("/bin"), Some("1=2")));
        assert_eq!(config.variable("NONE"), None);
        assert_eq!((config.directory(), &*config.user, &*config.labels["maintainer"]), ("/srv", "101", "x"));
    }

    #[rstest]
    #[case::no_config("{}")]
    #[case::null_config(r#"{"config": null}"#)]
    #[case::null_fields(r#"{"config": {"Entrypoint": null, "Cmd": null, "Env": null, "WorkingDir": null}}"#)]
    fn absent_fields_are_empty(#[case] json: &str) {
        let config = ImageConfig::parse(json.as_bytes()).unwrap();
        assert_eq!(config, ImageConfig::default());
        assert_eq!(config.directory(), "/");
    }

    #[rstest]
    #[case::no_json(b"not JSON".to_vec(), "the image config is not valid")]
    #[case::other_type(br#"{"config": {"Cmd": "nginx"}}"#.to_vec(), "the image config is not valid")]
    #[case::too_long(vec![b' '; MAX_LEN + 1], "the image config has 1048577 bytes; the limit is 1048576 bytes")]
    fn invalid_configs_are_refused(#[case] json: Vec<u8>, #[case] message: &str) {
        assert_eq!(ImageConfig::parse(&json).unwrap_err().to_string(), message);
    }

    #[test]
    fn an_image_is_certain_by_its_digest_alone() {
        let mut index = ImageIndex::default();
        index.insert(
            "web:1",
            ImageFacts { digest: "sha256:ab".to_owned(), ..ImageFacts::default() },
            "2026-11-30",
        );
        assert_eq!(index.get("web@sha256:ab").unwrap().doubt, None);
        assert_eq!(index.get("web:1@sha256:ab").unwrap().doubt, None);
        assert_eq!(index.get("web:1").unwrap().doubt.as_deref(), Some("web:1 was sha256:ab on 2026-11-30"));
        assert!(index.get("web:2").is_none() && index.get("web:1@sha256:cd").is_none());
    }

    #[rstest]
    #[case::tag("cart:3", "cart:3@sha256:ab")]
    #[case::digest("cart@sha256:cd", "cart@sha256:ab")]
    fn a_name_has_the_digest_that_was_read(#[case] image: &str, #[case] name: &str) {
        let facts = ImageFacts { digest: "sha256:ab".to_owned(), ..ImageFacts::default() };
        assert_eq!(facts.name(image), name);
    }
}
