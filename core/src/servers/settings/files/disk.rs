//! The file system of a container, as far as it is known from its mounts and the catalog.
//!
//! Provides the text of ConfigMaps, of templates with expanded variables, and of files that the catalog knows for a
//! server's own image. Everything else is unknown, with the name of the source.

use std::{borrow::Cow, collections::BTreeSet};

use super::{Files, MAX_LEN, Opened, nginx::envsubst, too_long};
use crate::{
    servers::{
        catalog::{ConfigFile, Server},
        command::Launch,
    },
    workload::{
        context::Context,
        pod::{Container, FileSource, Mount, Pod, VolumeKind},
        word::{basename, is_within},
    },
};

/// The files of a container.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Disk<'a> {
    pub(in crate::servers) pod: &'a Pod<'a>,
    pub(in crate::servers) container: &'a Container<'a>,
    pub(in crate::servers) namespace: &'a str,
    pub(in crate::servers) context: &'a Context,
    pub(in crate::servers) launch: &'a Launch,
    /// The server, if the image is its own.
    pub(in crate::servers) image_of: Option<&'a Server>,
    /// Whether the image's ENTRYPOINT runs, and renders templates.
    pub(in crate::servers) has_entrypoint: bool,
}

/// The origin of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// A key of a ConfigMap.
    ConfigMap { name: String, key: String },
    /// A key of a ConfigMap with a template, which the image's ENTRYPOINT renders.
    Template { name: String, key: String },
    /// The image.
    Image,
}

/// A mounted file.
enum Mounted<'a> {
    Key { config_map: &'a str, key: &'a str, text: &'a str },
    Missing,
    Unknown(String),
}

impl<'a> Disk<'a> {
    /// Whether a mount covers a path.
    pub(super) fn is_mounted(&self, path: &str) -> bool {
        self.mount(path).is_some()
            || self.template(path).is_some_and(|template| self.mount(&template).is_some())
    }

    /// The origin of a file; `None` if it does not exist.
    pub(super) fn origin(&self, path: &str) -> Option<Origin> {
        if self.mount(path).is_some() {
            return self.origin_of_mount(path);
        }
        if let Some(template) = self.template(path)
            && let Some(Origin::ConfigMap { name, key }) = self.origin_of_mount(&template)
        {
            return Some(Origin::Template { name, key });
        }
        self.image_file(path).map(|_| Origin::Image)
    }

    fn origin_of_mount(&self, path: &str) -> Option<Origin> {
        match self.mounted(self.mount(path)?, path) {
            Mounted::Key { config_map, key, .. } => {
                Some(Origin::ConfigMap { name: config_map.to_owned(), key: key.to_owned() })
            }
            Mounted::Missing | Mounted::Unknown(_) => None,
        }
    }

    /// For a mount next to a file of the image that may include the mounted files: that file, if the image is the
    /// server's own, or why it is unknown.
    pub(super) fn beside(
        &self,
        config: &ConfigFile,
        own_image: bool,
    ) -> Option<Result<(String, Cow<'_, str>), String>> {
        if !config.format.includes() {
            return None;
        }
        let path = config.at.iter().find(|path| path.starts_with('/'))?;
        let folder = folder(path);
        let templates = self.image_of.and_then(|server| server.templates.as_ref());
        let near = |mount: &&Mount<'_>| {
            let at = mount.mount_path.trim_end_matches('/');
            is_within(at, folder)
                || templates.is_some_and(|templates| at == templates.from || is_within(at, &templates.from))
        };
        let mount = self.container.mounts.iter().find(near);
        let writes = self.launch.writes.as_ref();
        match (mount, writes, self.image_file(path)) {
            (None, None, _) => None,
            (_, _, Some(text)) if own_image => Some(Ok((path.clone(), Cow::Borrowed(text)))),
            (Some(mount), ..) => {
                Some(Err(format!("the volume at {} may set the idle timeout", mount.mount_path)))
            }
            (None, Some(why), _) => Some(Err(why.clone())),
        }
    }

    /// The mount that covers a path: the one with the longest path.
    fn mount(&self, path: &str) -> Option<&'a Mount<'a>> {
        let covering = self.container.mounts.iter().filter(|mount| {
            let at = mount.mount_path.trim_end_matches('/');
            at == path || is_within(path, at)
        });
        covering.max_by_key(|mount| mount.mount_path.trim_end_matches('/').len())
    }

    fn mounted(&self, mount: &'a Mount<'a>, path: &str) -> Mounted<'a> {
        let unseen = |what: String| Mounted::Unknown(format!("{what} at {} may set it", mount.mount_path));
        if mount.has_sub_path_expr {
            return unseen("the volume with subPathExpr".to_owned());
        }
        let Some(relative) = relative(mount, path) else { return Mounted::Missing };
        let Some(volume) = self.pod.volumes.iter().find(|volume| volume.name == mount.name) else {
            return unseen("the volume".to_owned());
        };
        match &volume.kind {
            VolumeKind::EmptyDir => unseen(format!("emptyDir {}", mount.name)),
            VolumeKind::Secret(name) => unseen(format!("Secret {name}")),
            VolumeKind::Other => unseen("the volume".to_owned()),
            VolumeKind::Projected { sources, .. } => {
                let mut found = Mounted::Missing;
                for source in sources {
                    match self.source(source, &relative) {
                        Mounted::Missing => {}
                        // The last of several sources with the same path wins.
                        mounted @ (Mounted::Key { .. } | Mounted::Unknown(_)) => found = mounted,
                    }
                }
                found
            }
        }
    }

    fn source(&self, source: &'a FileSource<'a>, relative: &str) -> Mounted<'a> {
        match source {
            FileSource::Other => Mounted::Missing,
            FileSource::Secret(name) => Mounted::Unknown(format!("Secret {name} may set it")),
            FileSource::ConfigMap { name, items, optional } => {
                let item = items.iter().find(|item| &*item.path == relative);
                if !items.is_empty() && item.is_none() {
                    return Mounted::Missing;
                }
                let key = item.map_or(relative, |item| &item.key);
                let Some(data) = self.context.config_map(self.namespace, name) else {
                    let optional = if *optional { "optional " } else { "" };
                    return Mounted::Unknown(format!(
                        "{optional}ConfigMap {name} may set it in its key {key}, and is not in the input"
                    ));
                };
                data.get_key_value(key).map_or(Mounted::Missing, |(key, text)| Mounted::Key {
                    config_map: name,
                    key,
                    text,
                })
            }
        }
    }

    /// The files in a directory of a mount, relative to it; the error says why they are unknown.
    fn names(&self, mount: &'a Mount<'a>, within: &str) -> Result<Vec<String>, String> {
        let unseen = |what: String| Err(format!("{what} at {} may set it", mount.mount_path));
        if mount.has_sub_path_expr || !mount.sub_path.is_empty() {
            return unseen("part of the volume".to_owned());
        }
        let Some(volume) = self.pod.volumes.iter().find(|volume| volume.name == mount.name) else {
            return unseen("the volume".to_owned());
        };
        let sources = match &volume.kind {
            VolumeKind::EmptyDir => {
                return unseen(format!("emptyDir {}", mount.name));
            }
            VolumeKind::Secret(name) => return unseen(format!("Secret {name}")),
            VolumeKind::Other => return unseen("the volume".to_owned()),
            VolumeKind::Projected { sources, .. } => sources,
        };
        let mut names = Vec::new();
        for source in sources {
            match source {
                FileSource::Other => {}
                FileSource::Secret(name) => return unseen(format!("Secret {name}")),
                FileSource::ConfigMap { items, .. } if !items.is_empty() => {
                    names.extend(items.iter().map(|item| item.path.to_string()));
                }
                FileSource::ConfigMap { name, .. } => match self.context.config_map(self.namespace, name) {
                    Some(data) => names.extend(data.keys().cloned()),
                    None => return Err(format!("ConfigMap {name} may set it, and is not in the input")),
                },
            }
        }
        let below = |name: &String| match within {
            "" => Some(name.clone()),
            _ => name.strip_prefix(within)?.strip_prefix('/').map(str::to_owned),
        };
        Ok(names.iter().filter_map(below).filter(|name| !name.contains('/')).collect())
    }

    fn image_file(&self, path: &str) -> Option<&'a str> {
        self.image_of?.image_files.get(path).map(String::as_str)
    }

    /// The template that a file is rendered from.
    fn template(&self, path: &str) -> Option<String> {
        let templates = self.image_of?.templates.as_ref().filter(|_| self.has_entrypoint)?;
        let name = path.strip_prefix(&templates.to)?.strip_prefix('/')?;
        Some(format!("{}/{name}{}", templates.from, templates.suffix))
    }

    fn folder_names(&self, folder: &str, mounted_only: bool) -> Result<BTreeSet<String>, String> {
        let mut names = BTreeSet::new();
        match self.mount(folder) {
            Some(mount) => {
                let at = mount.mount_path.trim_end_matches('/');
                let within = folder.strip_prefix(at).unwrap_or_default().trim_start_matches('/');
                names.extend(self.names(mount, within)?);
            }
            None if mounted_only => {}
            None => match self.image_of.filter(|server| !server.image_files.is_empty()) {
                Some(server) => {
                    let files = server.image_files.keys().filter(|path| self::folder(path) == folder);
                    names.extend(files.map(|path| basename(path).to_owned()));
                }
                None => return Err(format!("files of the image in {folder} may set it")),
            },
        }
        let mounts = self.container.mounts.iter().map(|mount| mount.mount_path.trim_end_matches('/'));
        names.extend(mounts.filter(|at| self::folder(at) == folder).map(|at| basename(at).to_owned()));
        Ok(names)
    }
}

impl Files for Disk<'_> {
    fn open(&self, path: &str) -> Opened<'_> {
        let path = &*normal(path);
        if let Some(why) = &self.launch.writes {
            return Opened::Unknown(why.clone());
        }
        if let Some(mount) = self.mount(path) {
            return match self.mounted(mount, path) {
                Mounted::Key { text, .. } if text.len() > MAX_LEN => Opened::Unknown(too_long(path)),
                Mounted::Key { text, .. } => Opened::Text(Cow::Borrowed(text)),
                Mounted::Missing => Opened::Missing,
                Mounted::Unknown(why) => Opened::Unknown(why),
            };
        }
        if let Some(template) = self.template(path)
            && let Some(mount) = self.mount(&template)
        {
            match self.mounted(mount, &template) {
                Mounted::Key { text, .. } => {
                    return match envsubst(text, &|name| self.variable(name)) {
                        Ok(text) => Opened::Text(Cow::Owned(text)),
                        Err(why) => Opened::Unknown(why),
                    };
                }
                // Not rendered from a template, so the file of the image stays.
                Mounted::Missing => {}
                Mounted::Unknown(why) => return Opened::Unknown(why),
            }
        }
        match (self.image_file(path), self.image_of) {
            (Some(text), _) => Opened::Text(Cow::Borrowed(text)),
            (None, Some(_) | None) => Opened::Unknown(format!("{path} of the image may set it")),
        }
    }

    fn list(&self, pattern: &str) -> Result<Vec<String>, String> {
        self.listed(pattern, false)
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        let word = self.launch.environment.get(name)?;
        Some(word.known().map(str::to_owned).map_err(str::to_owned))
    }
}

impl Disk<'_> {
    /// The paths that match a pattern, optionally without those of the image.
    pub(super) fn listed(&self, pattern: &str, mounted_only: bool) -> Result<Vec<String>, String> {
        if let Some(why) = &self.launch.writes {
            return Err(why.clone());
        }
        let pattern = &*normal(pattern);
        let (folder, last) = (folder(pattern), basename(pattern));
        if folder.contains('*') {
            return Err(format!("{pattern} has an asterisk in a folder's name"));
        }
        let mut names = self.folder_names(folder, mounted_only)?;
        if let Some(templates) = self.image_of.and_then(|server| server.templates.as_ref())
            && self.has_entrypoint
            && templates.to == folder
            && self.mount(folder).is_none()
        {
            let made = self.folder_names(&templates.from, mounted_only)?;
            names.extend(
                made.iter().filter_map(|name| Some(name.strip_suffix(&templates.suffix)?.to_owned())),
            );
        }
        Ok(names
            .into_iter()
            .filter(|name| matches(last, name))
            .map(|name| format!("{folder}/{name}"))
            .collect())
    }
}

/// The path of a file within its volume.
fn relative(mount: &Mount<'_>, path: &str) -> Option<String> {
    let at = mount.mount_path.trim_end_matches('/');
    let below = path.strip_prefix(at)?.trim_start_matches('/');
    Some(match (&*mount.sub_path, below) {
        ("", below) => below.to_owned(),
        (sub_path, "") => sub_path.to_owned(),
        (sub_path, below) => format!("{sub_path}/{below}"),
    })
}

/// The folder of a path.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path without `.`, `..` and repeated slashes.
fn normal(path: &str) -> Cow<'_, str> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

/// Whether a name matches a pattern with asterisks.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
