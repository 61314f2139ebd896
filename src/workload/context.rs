//! What else is known beside the pods: namespaces and ConfigMaps of the same input, and the configs of images.
//!
//! Filled by `lint` and `explain` from the files they read, and with `--images` from registries and archives. At
//! admission an object comes alone, and the path that was called says whether its namespace allows privileged containers.

use std::{collections::BTreeMap, sync::Arc};

use crate::workload::image_config::{ImageFacts, ImageIndex};

/// The label by which a namespace chooses what Pod Security refuses in it.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// Its values that refuse privileged containers, and sysctls that kubelets do not call safe (pod-security-admission
/// `policy/check_privileged.go`, `check_sysctls.go`). They refuse NET_ADMIN too (`check_capabilities_baseline.go`).
pub const UNPRIVILEGED_LEVELS: [&str; 2] = ["baseline", "restricted"];
/// The label by which a namespace says that something else refuses privileged containers in it, such as Gatekeeper,
/// Kyverno, an OpenShift SCC or a ValidatingAdmissionPolicy.
pub const PRIVILEGED_LABEL: &str = "linkerd-linger.io/privileged";
/// Its only value.
pub const NEVER: &str = "never";

/// Why no pod of a namespace may be privileged or set an unsafe sysctl.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unprivileged {
    /// Pod Security enforces `baseline` or `restricted`, which refuse linkerd-init as well.
    PodSecurity,
    /// The namespace has the label [`PRIVILEGED_LABEL`].
    Label,
    /// One of the two: the webhook's path does not say which.
    PodSecurityOrLabel,
}

impl Unprivileged {
    /// Reads the labels of a namespace. Of the two reasons Pod Security says more, so it comes first.
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

/// Namespaces, ConfigMaps and image configs beside the pods that are judged.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The annotations of each namespace, by its name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// `data` of each ConfigMap, by namespace (empty where the manifest names none) and name.
    pub config_maps: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// The namespaces in which no pod may be privileged.
    pub unprivileged: BTreeMap<String, Unprivileged>,
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
