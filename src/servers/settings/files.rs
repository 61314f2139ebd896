//! Keys of configuration files: which file a program reads, and what it says.
//!
//! Turns a file of a catalog entry and a key into a [`Reading`], by one reader for each format. Where files come from is
//! left to `disk`.

mod disk;
mod nginx;

use std::borrow::Cow;

pub(in crate::servers) use self::disk::Disk;
use self::disk::Origin;
use super::{Reader, Reading};
use crate::{
    servers::catalog::ConfigFile,
    workload::word::{Place, basename},
};

/// Longer files are not read: configuration files are far shorter, and a pod must not cost more than some milliseconds.
const LONGEST: usize = 256 << 10;

/// The files that a program can read, as far as the input shows them.
trait Files {
    /// The text of a file.
    fn open(&self, path: &str) -> Opened<'_>;
    /// The paths that match a pattern with asterisks in its last part (`/etc/nginx/conf.d/*.conf`), sorted; the error
    /// says why nobody can tell.
    fn list(&self, pattern: &str) -> Result<Vec<String>, String>;
    /// A variable of the container: `None` where it is not set; the error says why its value is unknown.
    fn variable(&self, name: &str) -> Option<Result<String, String>>;
}

/// What is at a path.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Opened<'a> {
    /// A file.
    Text(Cow<'a, str>),
    /// There is no such file.
    Missing,
    /// There may be a file, and nobody can tell what it says: why.
    Unseen(String),
}

/// What is asked of a file.
#[derive(Clone, Copy, Debug)]
struct Query<'q> {
    /// The directive or the dotted path.
    key: &'q str,
    /// The port whose listener is meant; `None` for the program in general.
    port: Option<u16>,
}

/// What a file says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    /// The file leaves it to the program's default.
    Absent,
    /// It sets the key.
    Set(Entry),
    /// Why nobody can tell: a clause that names file and line.
    Unknown(String),
}

/// A key and its value in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// The value alone: `10s`.
    value: String,
    /// As it is written: `keepalive_timeout 10s`.
    text: String,
    /// The file that says it, after includes.
    path: String,
    /// Its line, from 1.
    line: usize,
}

/// The formats of configuration files that we read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum FileFormat {
    /// nginx.conf.
    Nginx,
}

impl FileFormat {
    /// Every format.
    pub(in crate::servers) const ALL: [Self; 1] = [Self::Nginx];

    /// Its name in the catalog.
    pub(in crate::servers) const fn as_str(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
        }
    }

    /// The format of this name.
    pub(in crate::servers) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// One file of this format may have a timeout for each port.
    pub(in crate::servers) const fn has_ports(self) -> bool {
        match self {
            Self::Nginx => true,
        }
    }

    /// Files beside the main one may be part of it.
    const fn includes(self) -> bool {
        match self {
            Self::Nginx => true,
        }
    }

    fn read(self, files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
        match self {
            Self::Nginx => nginx::read(files, path, text, query),
        }
    }
}

/// The file that a program reads.
enum Located<'a> {
    /// Nobody names or mounts one: that of the image, if there is one.
    OfTheImage,
    /// This one, and where it comes from.
    At(String, Cow<'a, str>, Origin),
    /// Nobody can tell: why.
    Unseen(String),
}

impl Reader<'_, '_> {
    /// Reads a key of one of the server's files.
    pub(super) fn file(&self, name: &str, key: &str) -> Reading {
        let Some(config) = self.found.server.files.get(name) else { return Reading::Absent };
        let (path, text) = match self.located(config) {
            Located::OfTheImage => return Reading::Absent,
            Located::Unseen(why) => return Reading::Unknown(why),
            Located::At(path, text, _) => (path, text),
        };
        let key = format!("{}{key}", config.prefix);
        match config.format.read(&self.disk, &path, &text, Query { key: &key, port: self.port }) {
            Answer::Absent => Reading::Absent,
            Answer::Unknown(why) => Reading::Unknown(why),
            Answer::Set(Entry { value, text, path, line }) => {
                Reading::Set { value, text, at: self.place(path, line) }
            }
        }
    }

    /// Whether one of the server's files comes from the input, and not from the image.
    pub(in crate::servers) fn has_read(&self, name: &str) -> bool {
        let config = self.found.server.files.get(name);
        config.is_some_and(|config| {
            matches!(
                self.located(config),
                Located::At(.., Origin::ConfigMap { .. } | Origin::Template { .. })
            )
        })
    }

    /// Whether the answer may differ from port to port because of files.
    pub(in crate::servers) fn files_have_ports(&self) -> bool {
        self.found.server.files.values().any(|config| {
            config.format.has_ports() && matches!(self.located(config), Located::At(..) | Located::Unseen(_))
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

    fn located(&self, config: &ConfigFile) -> Located<'_> {
        for setting in &config.named_by {
            match self.read(setting) {
                Reading::Absent => {}
                Reading::Unknown(why) => return Located::Unseen(why),
                Reading::Set { value, text, .. } => return self.named_file(&value, &text),
            }
        }
        for path in &config.at {
            let Some(path) = self.absolute(path) else { continue };
            match self.opened(&path) {
                Located::OfTheImage => {}
                located @ (Located::At(..) | Located::Unseen(_)) => return located,
            }
        }
        match self.disk.beside(config, self.found.own_image) {
            Some(Err(why)) => Located::Unseen(why),
            Some(Ok((path, text))) => Located::At(path, text, Origin::Image),
            None => Located::OfTheImage,
        }
    }

    /// A file whose path the command line or a variable gives.
    fn named_file(&self, value: &str, text: &str) -> Located<'_> {
        let path = value.strip_prefix("file:").unwrap_or(value);
        let hidden = |what: &str| {
            Located::Unseen(format!("{}: {what} may set the idle timeout", super::shorten(text)))
        };
        if path.contains(':') {
            return hidden("a module");
        }
        match self.absolute(path).map(|path| self.opened(&path)) {
            Some(located @ Located::At(..)) => located,
            Some(Located::Unseen(why)) => Located::Unseen(format!("{}: {why}", super::shorten(text))),
            Some(Located::OfTheImage) | None => hidden("a file of the image"),
        }
    }

    /// A path of a mounted file.
    fn opened(&self, path: &str) -> Located<'_> {
        if !self.disk.is_mounted(path) {
            return Located::OfTheImage;
        }
        match self.disk.open(path) {
            Opened::Text(text) if text.len() > LONGEST => {
                Located::Unseen(format!("{path} is longer than {} KiB and was not read", LONGEST >> 10))
            }
            Opened::Text(text) => match self.disk.origin(path) {
                Some(origin) => Located::At(path.to_owned(), text, origin),
                None => Located::OfTheImage,
            },
            Opened::Missing => Located::OfTheImage,
            Opened::Unseen(why) => Located::Unseen(why),
        }
    }

    /// A relative path stands in the working directory; where the image decides that, a mount of the same name counts.
    fn absolute(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix("./").unwrap_or(path);
        if path.starts_with('/') {
            return Some(path.to_owned());
        }
        match self.container.working_dir.as_deref().filter(|dir| dir.starts_with('/')) {
            Some(dir) => Some(format!("{}/{path}", dir.trim_end_matches('/'))),
            None => {
                let mounts = self.container.mounts.iter();
                let mut named = mounts.filter(|mount| {
                    mount.mount_path.strip_suffix(path).is_some_and(|head| head.ends_with('/'))
                        && basename(path) == basename(&mount.mount_path)
                });
                named.next().map(|mount| mount.mount_path.to_string())
            }
        }
    }
}
