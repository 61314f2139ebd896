//! Volumes and volume mounts.
//!
//! Parses the volume sources that can be read; only the kind of others is kept.

use serde::{Deserialize, de::IgnoredAny};

use super::ObjectRef;
use crate::base::text::{Text, nullable};

/// A mounted volume of a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "RawMount<'a>", bound(deserialize = "'de: 'a"))]
pub struct Mount<'a> {
    /// The name of the volume.
    pub name: Text<'a>,
    /// The mount path.
    pub mount_path: Text<'a>,
    /// `subPath`: the file or directory of the volume that is mounted; empty for the whole volume.
    pub sub_path: Text<'a>,
    /// Whether `subPathExpr` is set, so that the mounted part depends on variables.
    pub has_sub_path_expr: bool,
    /// Whether the mount has no `subPath`, `subPathExpr` or `mountPropagation`.
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
    /// The name that mounts refer to.
    pub name: Text<'a>,
    /// The kind.
    pub kind: VolumeKind<'a>,
}

/// The kind of a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VolumeKind<'a> {
    /// `emptyDir`: files that the containers of the pod write.
    EmptyDir,
    /// `configMap` or `projected`: files from ConfigMaps and other sources.
    Projected {
        /// The sources, each with its files.
        sources: Vec<FileSource<'a>>,
        /// Whether it is a `projected` volume, such as that of a service account token.
        is_projected: bool,
    },
    /// `secret`, with the name of the Secret.
    Secret(Text<'a>),
    /// Any other.
    Other,
}

impl Volume<'_> {
    /// Whether it is an `emptyDir`.
    pub const fn is_empty_dir(&self) -> bool {
        matches!(self.kind, VolumeKind::EmptyDir)
    }

    /// The names of the ConfigMaps that it has files of.
    pub(super) fn config_maps(&self) -> impl Iterator<Item = &str> {
        let sources = match &self.kind {
            VolumeKind::Projected { sources, .. } => sources.as_slice(),
            VolumeKind::EmptyDir | VolumeKind::Secret(_) | VolumeKind::Other => &[],
        };
        sources.iter().filter_map(|source| match source {
            FileSource::ConfigMap { name, .. } => Some(&**name),
            FileSource::Secret(_) | FileSource::Other => None,
        })
    }

    /// Whether its kind can contain a service account token: `projected`, or `secret` as before Kubernetes 1.21.
    pub const fn is_token(&self) -> bool {
        matches!(self.kind, VolumeKind::Projected { is_projected: true, .. } | VolumeKind::Secret(_))
    }
}

/// A source of files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "RawSource<'a>", bound(deserialize = "'de: 'a"))]
pub enum FileSource<'a> {
    /// A ConfigMap in the namespace of the pod.
    ConfigMap {
        /// The name.
        name: Text<'a>,
        /// The keys that become files, with their paths; empty for all keys with their own names.
        items: Vec<KeyToPath<'a>>,
        /// Whether the pod starts without it.
        optional: bool,
    },
    /// A Secret in the namespace of the pod.
    Secret(Text<'a>),
    /// A token, a field of the pod, a trust bundle.
    Other,
}

/// A key of a ConfigMap and its file path in the volume.
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
    sources: Vec<FileSource<'a>>,
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
            (None, Some(projected), _) => {
                VolumeKind::Projected { sources: projected.sources, is_projected: true }
            }
            (None, None, Some(secret)) => VolumeKind::Secret(secret.secret_name),
            (None, None, None) if raw.empty_dir.is_some() => VolumeKind::EmptyDir,
            (None, None, None) => VolumeKind::Other,
        };
        Self { name: raw.name, kind }
    }
}
