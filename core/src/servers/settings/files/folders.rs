//! Spring Boot's configuration directories and the active profiles.
//!
//! Finds the directories from the command line, the environment and the mounts, and reads each with `spring`
//! (spring-boot `ConfigDataEnvironment.java`: `classpath:/`, `classpath:/config/`, `file:./`, `file:./config/`; the
//! last one takes precedence).

use super::{Answer, Disk, Files, MAX_TREE_LEN, Opened, Reader, Reading, spring, too_long};
use crate::{
    servers::catalog::ConfigFile,
    workload::word::{basename, is_within},
};

/// The properties that name directories, files and profiles.
const IMPORT: &str = "spring.config.import";
const NAME: &str = "spring.config.name";
const LOCATION: &str = "spring.config.location";
const ADDITIONAL: &str = "spring.config.additional-location";
const PROFILES: &str = "spring.profiles.active";
const MORE_PROFILES: &str = "spring.profiles.include";

/// The default name of the configuration files.
const APPLICATION: &str = "application";
/// The extensions of the configuration files.
const ENDINGS: [&str; 3] = ["properties", "yaml", "yml"];

/// The mounted files only. Files of the image next to them are unknown, and rare.
pub(super) struct MountedOnly<'d, 'a>(pub(super) &'d Disk<'a>);

impl Files for MountedOnly<'_, '_> {
    fn open(&self, path: &str) -> Opened<'_> {
        if !self.0.is_mounted(path) {
            return Opened::Missing;
        }
        match self.0.open(path) {
            Opened::Text(text) if text.len() > MAX_TREE_LEN => Opened::Unknown(too_long(path)),
            opened => opened,
        }
    }

    fn list(&self, pattern: &str) -> Result<Vec<String>, String> {
        self.0.listed(pattern, true)
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        self.0.variable(name)
    }
}

/// A directory and the name of its configuration files.
struct Folder {
    path: String,
    name: String,
}

impl Reader<'_, '_> {
    /// Reads a property from the directories, in order of precedence.
    pub(super) fn spring_folders(&self, config: &ConfigFile, key: &str) -> Answer {
        match self.in_folders(config, key) {
            Ok(answer) => answer,
            Err(why) => Answer::Unknown(why),
        }
    }

    fn in_folders(&self, config: &ConfigFile, key: &str) -> Result<Answer, String> {
        if let Some(import) = self.set_to(IMPORT)? {
            return Err(format!("{IMPORT}={import} may set it"));
        }
        let profiles = match (self.set_to(MORE_PROFILES), self.set_to(PROFILES)) {
            (Ok(None), Ok(profiles)) => {
                let profiles = profiles.unwrap_or_default();
                let names = profiles.split(',').map(str::trim).filter(|name| !name.is_empty());
                Some(names.map(str::to_owned).collect::<Vec<_>>())
            }
            (Ok(Some(_)) | Err(_), _) | (_, Err(_)) => None,
        };
        let files = MountedOnly(&self.disk);
        for folder in self.folders(config)?.into_iter().rev() {
            let answer = spring::read(&files, &folder.path, &folder.name, profiles.as_deref(), key);
            if answer != Answer::Absent {
                return Ok(answer);
            }
        }
        Ok(Answer::Absent)
    }

    /// Whether one of the directories contains a file from the input.
    pub(super) fn has_spring_file(&self, config: &ConfigFile) -> bool {
        let files = MountedOnly(&self.disk);
        let is_there = |folder: &Folder, ending: &str| {
            let path = format!("{}/{}.{ending}", folder.path.trim_end_matches('/'), folder.name);
            matches!(files.open(&path), Opened::Text(_))
        };
        let has_file = |folder: &Folder| ENDINGS.iter().any(|ending| is_there(folder, ending));
        self.folders(config).is_ok_and(|folders| folders.iter().any(has_file))
    }

    /// Whether a property names directories.
    pub(super) fn names_folders(&self) -> bool {
        [LOCATION, ADDITIONAL].iter().any(|name| self.spring(name) != Reading::Absent)
    }

    /// A Spring property from the command line or the environment.
    fn set_to(&self, name: &str) -> Result<Option<String>, String> {
        match self.spring(name) {
            Reading::Absent => Ok(None),
            Reading::Set { value, .. } => Ok(Some(value)),
            Reading::Unknown(why) => Err(why),
        }
    }

    /// The mounted directories, in ascending order of precedence.
    fn folders(&self, config: &ConfigFile) -> Result<Vec<Folder>, String> {
        let name = self.set_to(NAME)?.unwrap_or_else(|| APPLICATION.to_owned());
        if name.contains(',') {
            return Err(format!("{NAME}={name} names several files"));
        }
        let mut folders = Vec::new();
        match self.set_to(LOCATION)? {
            Some(locations) => self.located_at(&locations, &name, LOCATION, &mut folders)?,
            None => {
                for at in &config.at {
                    folders.extend(self.standard(at, &name).map(|path| Folder { path, name: name.clone() }));
                }
            }
        }
        if let Some(locations) = self.set_to(ADDITIONAL)? {
            self.located_at(&locations, &name, ADDITIONAL, &mut folders)?;
        }
        Ok(folders)
    }

    /// The directories in `file:/etc/app/,optional:file:/etc/more/x.yaml`.
    fn located_at(
        &self,
        locations: &str,
        name: &str,
        property: &str,
        folders: &mut Vec<Folder>,
    ) -> Result<(), String> {
        for location in locations.split([',', ';']).map(str::trim).filter(|location| !location.is_empty()) {
            let location = location.strip_prefix("optional:").unwrap_or(location);
            if location.starts_with("classpath:") {
                continue;
            }
            let path = location.strip_prefix("file:").unwrap_or(location);
            let path = self.absolute(path).filter(|path| !path.contains([':', '*']));
            let Some(path) = path else {
                return Err(format!("{property}={location} may set it"));
            };
            let (folder, name) = match path.strip_suffix('/') {
                Some(folder) => (folder, name),
                None => {
                    let (folder, file) = path.rsplit_once('/').unwrap_or_default();
                    (folder, file.rsplit_once('.').map_or(file, |(stem, _)| stem))
                }
            };
            if !self.has_mounts(folder) {
                return Err(format!("{property}={location}: files of the image may set it"));
            }
            folders.push(Folder { path: folder.to_owned(), name: name.to_owned() });
        }
        Ok(())
    }

    /// A directory below the working directory, if something is mounted there. If the working directory is set by the
    /// image, a mount with the name of the directory, or with a configuration file, shows it.
    fn standard(&self, at: &str, name: &str) -> Option<String> {
        if let Some(dir) = self.container.working_dir.as_deref().filter(|dir| dir.starts_with('/')) {
            let dir = dir.trim_end_matches('/');
            let path = if at == "." { dir.to_owned() } else { format!("{dir}/{at}") };
            return self.has_mounts(&path).then_some(path);
        }
        let mounts = self.container.mounts.iter().map(|mount| mount.mount_path.trim_end_matches('/'));
        let mut folders = mounts.filter_map(|path| {
            let is_file = basename(path).strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']));
            let folder = if is_file { path.rsplit_once('/')?.0 } else { path };
            let is_config = basename(folder) == "config";
            let fits = if at == "." { is_file && !is_config } else { basename(folder) == at };
            fits.then(|| folder.to_owned())
        });
        folders.next()
    }

    /// Whether a mount is at, above or below a directory.
    fn has_mounts(&self, folder: &str) -> bool {
        self.container.mounts.iter().any(|mount| {
            let at = mount.mount_path.trim_end_matches('/');
            at == folder || is_within(at, folder) || is_within(folder, at)
        })
    }
}
