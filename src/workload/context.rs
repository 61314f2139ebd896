//! What else is known beside the pods: namespaces and ConfigMaps of the same input, and the configs of images.
//!
//! Filled by `lint` and `explain` from the files they read, and with `--images` from registries and archives. At admission an object comes alone, and the path that was
//! called says whether its namespace is unprivileged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::workload::image_config::{ImageFacts, ImageIndex};

/// The label by which a namespace chooses what Pod Security refuses in it.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// Its values that refuse privileged containers, and sysctls that kubelets do not call safe (pod-security-admission
/// `policy/check_privileged.go`, `check_sysctls.go`).
pub const UNPRIVILEGED: [&str; 2] = ["baseline", "restricted"];

/// Namespaces, ConfigMaps and image configs beside the pods that are judged.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The annotations of each namespace, by its name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// `data` of each ConfigMap, by namespace (empty where the manifest names none) and name.
    pub config_maps: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// The namespaces whose Pod Security lets no pod be privileged: those with `enforce` of `baseline` or `restricted`.
    pub unprivileged: BTreeSet<String>,
    /// The config of each image that was read, by the image's name as pods write it.
    pub images: BTreeMap<String, ImageFacts>,
    /// The configs of images that were read at another time, from a facts file.
    pub known_images: Arc<ImageIndex>,
}

impl Context {
    /// An annotation of a namespace.
    pub fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// The data of a ConfigMap; one whose manifest names no namespace serves every namespace.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        let of = |namespace: &str| self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        of(namespace).or_else(|| of(""))
    }

    /// The config and the digest of an image, by its name as a pod writes it.
    pub fn image(&self, image: &str) -> Option<&ImageFacts> {
        self.images.get(image).or_else(|| self.known_images.get(image))
    }
}
