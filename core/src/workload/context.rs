//! What is known in addition to the pods: namespaces and ConfigMaps of the same input, and the configs of images.
//!
//! `lint` and `explain` fill it from the files that they read and, with `--images`, from registries and archives. At
//! admission only the object is known, and the path of the request says whether its namespace allows privileged
//! containers.

use std::{collections::BTreeMap, sync::Arc};

use crate::workload::image_config::{ImageFacts, ImageIndex};

/// The label of a namespace that sets the enforced Pod Security level.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// The levels that refuse privileged containers, and unsafe sysctls (pod-security-admission
/// `policy/check_privileged.go`, `check_sysctls.go`). They also refuse NET_ADMIN (`check_capabilities_baseline.go`).
pub const UNPRIVILEGED_LEVELS: [&str; 2] = ["baseline", "restricted"];
/// The label of a namespace in which something else refuses privileged containers, such as Gatekeeper, Kyverno, an
/// OpenShift SCC or a ValidatingAdmissionPolicy.
pub const PRIVILEGED_LABEL: &str = "linkerd-linger.io/privileged";
/// The only value of [`PRIVILEGED_LABEL`].
pub const NEVER: &str = "never";

/// Why no pod of a namespace may be privileged or set an unsafe sysctl.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unprivileged {
    /// Pod Security enforces `baseline` or `restricted`, which refuse linkerd-init as well.
    PodSecurity,
    /// The namespace has the label [`PRIVILEGED_LABEL`].
    Label,
    /// One of the two; the path of the webhook does not distinguish them.
    PodSecurityOrLabel,
}

impl Unprivileged {
    /// Reads the labels of a namespace. Pod Security comes first, because it is the more specific reason.
    pub fn of<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Option<Self> {
        labels.into_iter().fold(None, |found, (key, value)| match key {
            POD_SECURITY_LABEL if UNPRIVILEGED_LEVELS.contains(&value) => Some(Self::PodSecurity),
            PRIVILEGED_LABEL if value == NEVER => found.or(Some(Self::Label)),
            _ => found,
        })
    }

    /// The reason, as a clause.
    pub const fn why(self) -> &'static str {
        match self {
            Self::PodSecurity => "the namespace enforces Pod Security baseline or restricted",
            Self::Label => "the namespace has the label linkerd-linger.io/privileged: never",
            Self::PodSecurityOrLabel => {
                "the namespace enforces Pod Security baseline or restricted, or has the label \
                 linkerd-linger.io/privileged: never"
            }
        }
    }
}

/// The namespaces, ConfigMaps and image configs that are known in addition to the pods.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The annotations of each namespace.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The `data` of each ConfigMap, by namespace (empty if the manifest has none) and name.
    pub config_maps: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// The namespaces in which no pod may be privileged.
    pub unprivileged: BTreeMap<String, Unprivileged>,
    /// The config of each image, by the name that pods use.
    pub images: BTreeMap<String, ImageFacts>,
    /// The configs of images from a facts file.
    pub known_images: Arc<ImageIndex>,
}

impl Context {
    /// An annotation of a namespace.
    pub fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// The data of a ConfigMap; one without a namespace in its manifest is used for every namespace.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        let of = |namespace: &str| self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        of(namespace).or_else(|| of(""))
    }

    /// The config and the digest of an image, by the name that the pod uses.
    pub fn image(&self, image: &str) -> Option<&ImageFacts> {
        self.images.get(image).or_else(|| self.known_images.get(image))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_label(&[], None)]
    #[case::baseline(&[(POD_SECURITY_LABEL, "baseline")], Some(Unprivileged::PodSecurity))]
    #[case::restricted(&[(POD_SECURITY_LABEL, "restricted")], Some(Unprivileged::PodSecurity))]
    #[case::privileged(&[(POD_SECURITY_LABEL, "privileged")], None)]
    #[case::own_label(&[(PRIVILEGED_LABEL, "never")], Some(Unprivileged::Label))]
    #[case::own_label_wins_over_a_privileged_level(
        &[(POD_SECURITY_LABEL, "privileged"), (PRIVILEGED_LABEL, "never")], Some(Unprivileged::Label)
    )]
    #[case::both(&[(PRIVILEGED_LABEL, "never"), (POD_SECURITY_LABEL, "baseline")], Some(Unprivileged::PodSecurity))]
    #[case::both_the_other_way_round(
        &[(POD_SECURITY_LABEL, "baseline"), (PRIVILEGED_LABEL, "never")], Some(Unprivileged::PodSecurity)
    )]
    #[case::unknown_value(&[(PRIVILEGED_LABEL, "Never")], None)]
    fn labels_of_a_namespace(#[case] labels: &[(&str, &str)], #[case] expected: Option<Unprivileged>) {
        assert_eq!(Unprivileged::of(labels.iter().copied()), expected);
    }
}
