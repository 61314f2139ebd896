//! Finds the file that a program reads: one that a flag or a variable names, or one at a default path.

use std::borrow::Cow;

use super::{FileFormat, Files, Opened, disk::Origin, too_long};
use crate::{
    servers::{
        catalog::{ConfigFile, Setting, Source},
        settings::{Reader, Reading, shorten},
    },
    workload::word::{Word, basename},
};

/// The file that a program reads.
pub(super) enum Located<'a> {
    /// Not named and not mounted: that of the image, if there is one.
    InImage,
    /// The path, the text and the origin of the file.
    At(String, Cow<'a, str>, Origin),
    /// Unknown, with the reason.
    Unknown(String),
}

impl Reader<'_, '_> {
    /// Finds a configuration file of the server.
    pub(super) fn located(&self, config: &ConfigFile) -> Located<'_> {
        for setting in &config.named_by {
            match self.read(setting) {
                Reading::Absent => {}
                Reading::Unknown(why) => return Located::Unknown(why),
                Reading::Set { text, .. } if config.format.merges() && self.is_repeated(setting) => {
                    return Located::Unknown(format!("{}: several files are named", shorten(&text)));
                }
                Reading::Set { value, text, .. } => return self.named_file(&value, &text, config),
            }
        }
        for path in &config.at {
            let Some(path) = self.absolute(path) else { continue };
            match self.opened(&path, config.format) {
                Located::InImage => {}
                located @ (Located::At(..) | Located::Unknown(_)) => return located,
            }
        }
        if let Some(why) = self.launch.writes.as_ref().filter(|_| !config.at.is_empty()) {
            return Located::Unknown(why.clone());
        }
        match self.disk.beside(config, self.recognition.own_image) {
            Some(Err(why)) => Located::Unknown(why),
            Some(Ok((path, text))) => Located::At(path, text, Origin::Image),
            None => Located::InImage,
        }
    }

    /// Whether a flag is repeated on the command line.
    fn is_repeated(&self, setting: &Setting) -> bool {
        let Source::Flag { names, .. } = &setting.source else { return false };
        let is_meant = |word: &Word| {
            let text = word.prefix();
            names.iter().any(|flag| text.split('=').next() == Some(&flag.full))
        };
        self.lines().map(|line| line.iter().filter(|word| is_meant(word)).count()).sum::<usize>() > 1
    }

    /// A file whose path comes from the command line or a variable.
    fn named_file(&self, value: &str, text: &str, config: &ConfigFile) -> Located<'_> {
        let path = value.strip_prefix("file:").unwrap_or(value);
        let hidden =
            |what: &str| Located::Unknown(format!("{}: {what} may set the idle timeout", shorten(text)));
        if path.contains(':') {
            return hidden("a module");
        }
        match self.absolute(path).map(|path| self.opened(&path, config.format)) {
            Some(located @ Located::At(..)) => located,
            Some(Located::Unknown(why)) => Located::Unknown(format!("{}: {why}", shorten(text))),
            Some(Located::InImage) | None => hidden("a file of the image"),
        }
    }

    /// A mounted file.
    fn opened(&self, path: &str, format: FileFormat) -> Located<'_> {
        if !self.disk.is_mounted(path) {
            return Located::InImage;
        }
        match self.disk.open(path) {
            Opened::Text(text) if text.len() > format.longest() => Located::Unknown(too_long(path)),
            Opened::Text(text) => match self.disk.origin(path) {
                Some(origin) => Located::At(path.to_owned(), text, origin),
                None => Located::InImage,
            },
            Opened::Missing => Located::InImage,
            Opened::Unknown(why) => Located::Unknown(why),
        }
    }

    /// Resolves a relative path with the working directory. If that is set by the image, a mount with the same name
    /// counts.
    pub(super) fn absolute(&self, path: &str) -> Option<String> {
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
