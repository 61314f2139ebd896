//! Reads keys of configuration files.
//!
//! Turns a file of a catalog entry and a key into a [`Reading`], with a reader for each format. `located` finds the
//! file, and `disk` provides its text.

mod caddy_json;
mod caddyfile;
mod cursor;
mod disk;
mod envoy;
mod folders;
mod format;
mod haproxy;
mod hcl;
mod hocon;
mod httpd;
mod includes;
mod ini;
mod jetty_ini;
mod lighttpd;
mod located;
mod nginx;
mod placeholder;
mod properties;
mod python;
mod quarkus;
mod ruby;
mod script;
mod server_xml;
mod spring;
#[cfg(test)]
mod testing;
mod tree;

use std::borrow::Cow;

pub(in crate::servers) use self::{disk::Disk, format::FileFormat};
use self::{disk::Origin, folders::MountedOnly, format::style, located::Located};
use super::{Reader, Reading};
use crate::{servers::catalog::ConfigFile, workload::word::Place};

/// The maximum length of a file. Real configuration files are far shorter, and a pod must not cost more than 50 ms.
const MAX_LEN: usize = 64 << 10;
/// The same for YAML and similar formats, whose parsers are slower: 64 KiB of nested maps took 90 ms for six keys.
const MAX_TREE_LEN: usize = 32 << 10;

/// The files that a program can read, as far as they are known.
trait Files {
    /// Opens a file.
    fn open(&self, path: &str) -> Opened<'_>;
    /// Lists the paths that match a pattern with asterisks in its last part (`/etc/nginx/conf.d/*.conf`), sorted; the
    /// error says why they are unknown.
    fn list(&self, pattern: &str) -> Result<Vec<String>, String>;
    /// Reads a variable of the container: `None` if it is not set; the error says why its value is unknown.
    fn variable(&self, name: &str) -> Option<Result<String, String>>;
}

/// The result of opening a file.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Opened<'a> {
    /// A file.
    Text(Cow<'a, str>),
    /// The file does not exist.
    Missing,
    /// The file may exist, but its content is unknown, for this reason.
    Unknown(String),
}

/// A query for a key.
#[derive(Clone, Copy, Debug)]
struct Query<'q> {
    /// The directive or the dotted path.
    key: &'q str,
    /// The port of the listener; `None` for the program in general.
    port: Option<u16>,
}

/// The answer to a query.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    /// The file does not set the key.
    Absent,
    /// The file sets the key.
    Set(Entry),
    /// Unknown; the clause names the file and line.
    Unknown(String),
}

impl From<Result<Option<Entry>, String>> for Answer {
    fn from(found: Result<Option<Entry>, String>) -> Self {
        match found {
            Ok(Some(entry)) => Self::Set(entry),
            Ok(None) => Self::Absent,
            Err(why) => Self::Unknown(why),
        }
    }
}

/// A key and its value in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// The value: `10s`.
    value: String,
    /// The text as written: `keepalive_timeout 10s`.
    text: String,
    /// The file, after includes.
    path: String,
    /// The line, from 1.
    line: usize,
}

impl Reader<'_, '_> {
    /// Reads a key of a file of the server.
    pub(super) fn file(&self, name: &str, key: &str) -> Reading {
        let Some(config) = self.recognition.server.files.get(name) else { return Reading::Absent };
        let key = format!("{}{key}", config.prefix);
        if config.format == FileFormat::Spring {
            return self.reading(self.spring_folders(config, &key));
        }
        let (path, text) = match self.located(config) {
            Located::InImage => return Reading::Absent,
            Located::Unknown(why) => return Reading::Unknown(why),
            Located::At(path, text, _) => (path, text),
        };
        let profile = match self.profile(config) {
            Ok(profile) => profile,
            Err(why) => return Reading::Unknown(why),
        };
        let query = Query { key: &key, port: self.port };
        let mounted = MountedOnly(&self.disk);
        let files: &dyn Files = if config.format == FileFormat::Quarkus { &mounted } else { &self.disk };
        self.reading(config.format.read(files, &path, &text, query, profile.as_deref()))
    }

    fn reading(&self, answer: Answer) -> Reading {
        match answer {
            Answer::Absent => Reading::Absent,
            Answer::Unknown(why) => Reading::Unknown(why),
            Answer::Set(Entry { value, text, path, line }) => {
                Reading::Set { value, text, at: self.place(path, line) }
            }
        }
    }

    /// The active Quarkus profile; the error says why it is unknown.
    fn profile(&self, config: &ConfigFile) -> Result<Option<String>, String> {
        if config.format != FileFormat::Quarkus {
            return Ok(None);
        }
        let property = self.property(|name| name == "quarkus.profile");
        let variable = || self.set_variable(&["QUARKUS_PROFILE".to_owned()]);
        match property.decided().unwrap_or_else(variable) {
            Reading::Absent => Ok(None),
            Reading::Set { value, .. } => Ok(Some(value)),
            Reading::Unknown(why) => Err(why),
        }
    }

    /// The names below a key that replace `<name>`.
    pub(super) fn names_in_file(&self, name: &str, head: &str) -> Vec<String> {
        let Some(config) = self.recognition.server.files.get(name) else { return Vec::new() };
        let Located::At(path, text, _) = self.located(config) else { return Vec::new() };
        let head = format!("{}{head}", config.prefix);
        let names = style(&path).map(|style| tree::children(&text, style, head.trim_end_matches('.')));
        names.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether a file was found only by its name, because the working directory is set by the image.
    pub(in crate::servers) fn is_found_by_name(&self, name: &str) -> bool {
        let Some(config) = self.recognition.server.files.get(name) else { return false };
        let is_named = config.named_by.iter().any(|setting| self.read(setting) != Reading::Absent)
            || config.format == FileFormat::Spring && self.names_folders();
        !is_named
            && self.container.working_dir.is_none()
            && config.at.iter().all(|path| !path.starts_with('/'))
    }

    /// Whether a file of the server comes from the input, and not from the image.
    pub(in crate::servers) fn has_read(&self, name: &str) -> bool {
        let Some(config) = self.recognition.server.files.get(name) else { return false };
        if config.format == FileFormat::Spring {
            return self.has_spring_file(config);
        }
        let of_input = |origin: &Origin| matches!(origin, Origin::ConfigMap { .. } | Origin::Template { .. });
        matches!(self.located(config), Located::At(_, _, origin) if of_input(&origin))
    }

    /// Whether the answer may differ between ports because of files.
    pub(in crate::servers) fn files_have_ports(&self) -> bool {
        self.recognition.server.files.values().any(|config| {
            config.format.has_ports() && matches!(self.located(config), Located::At(..) | Located::Unknown(_))
        })
    }

    fn place(&self, path: String, line: usize) -> Place {
        match self.disk.origin(&path) {
            Some(Origin::ConfigMap { name, key } | Origin::Template { name, key }) => {
                Place::Line { config_map: name, key, line }
            }
            Some(Origin::Image) | None => Place::ImageLine { path, line },
        }
    }
}

fn too_long(path: &str) -> String {
    format!("{path} is too long and was not read")
}
