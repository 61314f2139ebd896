//! Volumes and where containers mount them.
//!
//! Turns the sources of volumes that a reader may follow into types; of all others only the kind is kept.

use serde::{Deserialize, de::IgnoredAny};

use super::ObjectRef;
use crate::base::text::{Text, nullable};

/// A mounted volume of a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "RawMount<'a>", bound(deserialize = "'de: 'a"))]
pub struct Mount<'a> {
    /// The volume's name.
    pub name: Text<'a>,
    /// Where it appears.
    pub mount_path: Text<'a>,
    /// `subPath`: the one file or folder of the volume that appears there; empty for the whole volume.
    pub sub_path: Text<'a>,
    /// `subPathExpr` is set: which part of the volume appears depends on variables.
    pub has_sub_path_expr: bool,
    /// The whole volume, and nothing of it seen outside: no `subPath`, `subPathExpr` or `mountPropagation`.
    pub is_plain: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMount<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    mount_path: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    sub_path: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    sub_path_expr: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    mount_propagation: Text<'a>,
}

impl<'a> From<RawMount<'a>> for Mount<'a> {
    fn from(raw: RawMount<'a>) -> Self {
        let propagated = !matches!(&*raw.mount_propagation, "" | "None");
        let has_sub_path_expr = !raw.sub_path_expr.is_empty();
        Self {
            is_plain: raw.sub_path.is_empty() && !has_sub_path_expr && !propagated,
            name: raw.name,
            mount_path: raw.mount_path,
            sub_path: raw.sub_path,
            has_sub_path_expr,
        }
    }
}

/// A volume of the pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "RawVolume<'a>", bound(deserialize = "'de: 'a"))]
pub struct Volume<'a> {
    /// The name by which mounts refer to it.
    pub name: Text<'a>,
    /// What it holds.
    pub kind: VolumeKind<'a>,
}

/// What a volume holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VolumeKind<'a> {
    /// `emptyDir`: what the pod's containers write.
    EmptyDir,
    /// Files from ConfigMaps and other sources: `configMap`, or `projected`.
    Projected {
        /// The sources, each with its files.
        sources: Vec<FileSource<'a>>,
        /// It is a `projected` volume, as that of a service account's token is.
        is_projected: bool,
    },
    /// `secret`, with the Secret's name.
    Secret(Text<'a>),
    /// Any other.
    Other,
}

impl Volume<'_> {
    /// It is an `emptyDir`.
    pub const fn is_empty_dir(&self) -> bool {
        matches!(self.kind, VolumeKind::EmptyDir)
    }

    /// It is of a kind that holds a service account's token: `projected`, or a `secret` as before Kubernetes 1.21.
    pub const fn is_token(&self) -> bool {
        matches!(self.kind, VolumeKind::Projected { is_projected: true, .. } | VolumeKind::Secret(_))
    }
}

/// A source of files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileSource<'a> {
    /// A ConfigMap of the pod's namespace.
    ConfigMap {
        /// Its name.
        name: Text<'a>,
        /// The keys that become files, with their paths; empty for all keys under their own names.
        items: Vec<KeyToPath<'a>>,
        /// The pod starts without it.
        optional: bool,
    },
    /// A Secret of the pod's namespace, with its name.
    Secret(Text<'a>),
    /// A token, a field of the pod, a trust bundle.
    Other,
}

/// A key of a ConfigMap and the path of its file in the volume.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct KeyToPath<'a> {
    /// The key.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub key: Text<'a>,
    /// The path in the volume.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub path: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVolume<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(default)]
    empty_dir: Option<IgnoredAny>,
    #[serde(borrow, default)]
    config_map: Option<RawConfigMap<'a>>,
    #[serde(borrow, default)]
    projected: Option<RawProjected<'a>>,
    #[serde(borrow, default)]
    secret: Option<RawSecret<'a>>,
}

#[derive(Deserialize)]
struct RawConfigMap<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    items: Vec<KeyToPath<'a>>,
    #[serde(default, deserialize_with = "nullable")]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSecret<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    secret_name: Text<'a>,
}

#[derive(Deserialize)]
struct RawProjected<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    sources: Vec<RawSource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSource<'a> {
    #[serde(borrow, default)]
    config_map: Option<RawConfigMap<'a>>,
    #[serde(borrow, default)]
    secret: Option<ObjectRef<'a>>,
}

impl<'a> From<RawConfigMap<'a>> for FileSource<'a> {
    fn from(raw: RawConfigMap<'a>) -> Self {
        Self::ConfigMap { name: raw.name, items: raw.items, optional: raw.optional }
    }
}

impl<'a> From<RawSource<'a>> for FileSource<'a> {
    fn from(raw: RawSource<'a>) -> Self {
        match (raw.config_map, raw.secret) {
            (Some(config_map), _) => config_map.into(),
            (None, Some(secret)) => Self::Secret(secret.name),
            (None, None) => Self::Other,
        }
    }
}

impl<'a> From<RawVolume<'a>> for Volume<'a> {
    fn from(raw: RawVolume<'a>) -> Self {
        let kind = match (raw.config_map, raw.projected, raw.secret) {
            (Some(config_map), ..) => {
                VolumeKind::Projected { sources: vec![config_map.into()], is_projected: false }
            }
            (None, Some(projected), _) => VolumeKind::Projected {
                sources: projected.sources.into_iter().map(Into::into).collect(),
                is_projected: true,
            },
            (None, None, Some(secret)) => VolumeKind::Secret(secret.secret_name),
            (None, None, None) if raw.empty_dir.is_some() => VolumeKind::EmptyDir,
            (None, None, None) => VolumeKind::Other,
        };
        Self { name: raw.name, kind }
    }
}
