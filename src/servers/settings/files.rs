//! Keys of configuration files: which file a program reads, and what it says.
//!
//! Turns a file of a catalog entry and a key into a [`Reading`], by one reader for each format. Where files come from is
//! left to `disk`.

mod caddy_json;
mod caddyfile;
mod cursor;
mod disk;
mod envoy;
mod folders;
mod haproxy;
mod hcl;
mod hocon;
mod httpd;
mod includes;
mod ini;
mod jetty_ini;
mod lighttpd;
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

pub(in crate::servers) use self::disk::Disk;
use self::{disk::Origin, folders::MountedOnly, ini::Dialect, tree::Style};
use super::{Reader, Reading};
use crate::{
    servers::catalog::{ConfigFile, Setting, Source},
    workload::word::{Place, Word, basename},
};

/// Longer files are not read: configuration files are far shorter, and a pod must not cost more than 50 ms.
const LONGEST: usize = 64 << 10;
/// The same for YAML and its like, whose parsers take longer: 64 KiB of nested maps took 90 ms where six keys were read.
const LONGEST_TREE: usize = 32 << 10;

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
    /// appsettings.json of .NET.
    Appsettings,
    /// YAML, JSON, TOML or .properties, by the ending of the path.
    ByEnding,
    /// Caddyfile, or Caddy's JSON, by the ending of the path.
    Caddy,
    /// The bootstrap configuration of Envoy.
    Envoy,
    /// haproxy.cfg.
    Haproxy,
    /// HCL of Vault.
    Hcl,
    /// HOCON.
    Hocon,
    /// httpd.conf.
    Httpd,
    /// An ini file of a Go program.
    Ini,
    /// start.ini and start.d of Jetty.
    JettyIni,
    /// lighttpd.conf.
    Lighttpd,
    /// nginx.conf.
    Nginx,
    /// Python with plain assignments.
    Python,
    /// application.properties of Quarkus, with profiles.
    Quarkus,
    /// Ruby with plain calls.
    Ruby,
    /// server.xml of Tomcat.
    ServerXml,
    /// The folders in which Spring Boot looks for application.properties and application.yaml.
    Spring,
    /// Configuration of uWSGI: ini, YAML or JSON, by the ending of the path.
    Uwsgi,
}

impl FileFormat {
    /// Every format.
    pub(in crate::servers) const ALL: [Self; 18] = [
        Self::Appsettings,
        Self::ByEnding,
        Self::Caddy,
        Self::Envoy,
        Self::Haproxy,
        Self::Hcl,
        Self::Hocon,
        Self::Httpd,
        Self::Ini,
        Self::JettyIni,
        Self::Lighttpd,
        Self::Nginx,
        Self::Python,
        Self::Quarkus,
        Self::Ruby,
        Self::ServerXml,
        Self::Spring,
        Self::Uwsgi,
    ];

    /// Its name in the catalog.
    pub(in crate::servers) const fn as_str(self) -> &'static str {
        match self {
            Self::Appsettings => "appsettings",
            Self::ByEnding => "by-ending",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Hcl => "hcl",
            Self::Hocon => "hocon",
            Self::Httpd => "httpd",
            Self::Ini => "ini",
            Self::JettyIni => "jetty-ini",
            Self::Lighttpd => "lighttpd",
            Self::Nginx => "nginx",
            Self::Python => "python",
            Self::Quarkus => "quarkus",
            Self::Ruby => "ruby",
            Self::ServerXml => "server-xml",
            Self::Spring => "spring",
            Self::Uwsgi => "uwsgi",
        }
    }

    /// The format of this name.
    pub(in crate::servers) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// One file of this format may have a timeout for each port.
    pub(in crate::servers) const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::Caddy
                | Self::Envoy
                | Self::Haproxy
                | Self::Hcl
                | Self::Httpd
                | Self::Nginx
                | Self::ServerXml
        )
    }

    /// Files beside the main one may be part of it.
    const fn includes(self) -> bool {
        matches!(self, Self::Httpd | Self::Lighttpd | Self::Nginx)
    }

    const fn longest(self) -> usize {
        match self {
            Self::Appsettings | Self::ByEnding | Self::Quarkus | Self::Spring | Self::Uwsgi => LONGEST_TREE,
            Self::Caddy
            | Self::Envoy
            | Self::Haproxy
            | Self::Hcl
            | Self::Hocon
            | Self::Httpd
            | Self::Ini
            | Self::JettyIni
            | Self::Lighttpd
            | Self::Nginx
            | Self::Python
            | Self::Ruby
            | Self::ServerXml => LONGEST,
        }
    }

    /// The program reads several files where several are named.
    const fn merges(self) -> bool {
        matches!(self, Self::Haproxy | Self::Hcl | Self::Uwsgi)
    }

    /// Reads a key of one file. `profile` is that which is active, where the program has such; `None` for its default.
    fn read(
        self,
        files: &dyn Files,
        path: &str,
        text: &str,
        query: Query<'_>,
        profile: Option<&str>,
    ) -> Answer {
        match self {
            Self::Appsettings => tree::read(files, path, text, query, Style::Appsettings, false),
            Self::ByEnding => by_ending(files, path, text, query),
            Self::Caddy if path.ends_with(".json") => caddy_json::read(files, path, text, query),
            Self::Caddy => caddyfile::read(files, path, text, query),
            Self::Envoy => envoy::read(files, path, text, query),
            Self::Haproxy => haproxy::read(files, path, text, query),
            Self::Hcl => hcl::read(files, path, text, query),
            Self::Hocon => hocon::read(files, path, text, query),
            Self::Httpd => httpd::read(files, path, text, query),
            Self::Ini => ini::read(files, path, text, query, Dialect::Go),
            Self::JettyIni => jetty_ini::read(files, path, text, query),
            Self::Lighttpd => lighttpd::read(files, path, text, query),
            Self::Nginx => nginx::read(files, path, text, query),
            Self::Python => python::read(files, path, text, query),
            Self::Quarkus => quarkus::read(files, path, text, profile, query.key),
            Self::Ruby => ruby::read(files, path, text, query),
            Self::ServerXml => server_xml::read(files, path, text, query),
            Self::Uwsgi if path.ends_with(".ini") => ini::read(files, path, text, query, Dialect::Uwsgi),
            Self::Uwsgi => {
                let key = format!("uwsgi.{}", query.key);
                by_ending(files, path, text, Query { key: &key, ..query })
            }
            // Its folders are read in `spring_folders`.
            Self::Spring => Answer::Absent,
        }
    }
}

fn too_long(path: &str) -> String {
    format!("{path} is too long and was not read")
}

/// How a file is written, by the ending of its path; `None` where that is not one that we read.
fn style(path: &str) -> Option<Style> {
    Some(match path.rsplit_once('.')?.1 {
        "yaml" | "yml" => Style::Yaml,
        "json" => Style::Json,
        "toml" => Style::Toml,
        _ => return None,
    })
}

fn by_ending(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    match style(path) {
        Some(style) => tree::read(files, path, text, query, style, false),
        None if path.ends_with(".properties") => properties::read(files, path, text, query),
        None => Answer::Unknown(format!("{path} has a format that is not known")),
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
        let key = format!("{}{key}", config.prefix);
        if config.format == FileFormat::Spring {
            return self.reading(self.spring_folders(config, &key));
        }
        let (path, text) = match self.located(config) {
            Located::OfTheImage => return Reading::Absent,
            Located::Unseen(why) => return Reading::Unknown(why),
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

    /// The profile of Quarkus; the error says why nobody can tell.
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

    /// The names below a key of a file that come before a `<name>`.
    pub(super) fn names_in_file(&self, name: &str, head: &str) -> Vec<String> {
        let Some(config) = self.found.server.files.get(name) else { return Vec::new() };
        let Located::At(path, text, _) = self.located(config) else { return Vec::new() };
        let head = format!("{}{head}", config.prefix);
        let names = style(&path).map(|style| tree::children(&text, style, head.trim_end_matches('.')));
        names.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether a file was found by its name alone, since only the image knows the working directory.
    pub(in crate::servers) fn is_found_by_name(&self, name: &str) -> bool {
        let Some(config) = self.found.server.files.get(name) else { return false };
        let is_named = config.named_by.iter().any(|setting| self.read(setting) != Reading::Absent)
            || config.format == FileFormat::Spring && self.names_folders();
        !is_named
            && self.container.working_dir.is_none()
            && config.at.iter().all(|path| !path.starts_with('/'))
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
                Reading::Set { text, .. } if config.format.merges() && self.is_repeated(setting) => {
                    return Located::Unseen(format!("{}: several files are named", super::shorten(&text)));
                }
                Reading::Set { value, text, .. } => return self.named_file(&value, &text, config),
            }
        }
        for path in &config.at {
            let Some(path) = self.absolute(path) else { continue };
            match self.opened(&path, config.format) {
                Located::OfTheImage => {}
                located @ (Located::At(..) | Located::Unseen(_)) => return located,
            }
        }
        if let Some(why) = self.launch.writes.as_ref().filter(|_| !config.at.is_empty()) {
            return Located::Unseen(why.clone());
        }
        match self.disk.beside(config, self.found.own_image) {
            Some(Err(why)) => Located::Unseen(why),
            Some(Ok((path, text))) => Located::At(path, text, Origin::Image),
            None => Located::OfTheImage,
        }
    }

    /// Whether a flag stands more than once on the command line.
    fn is_repeated(&self, setting: &Setting) -> bool {
        let Source::Flag { names, .. } = &setting.source else { return false };
        let is_meant = |word: &Word| {
            let text = word.prefix();
            names.iter().any(|flag| text.split('=').next() == Some(&flag.full))
        };
        self.lines().map(|line| line.iter().filter(|word| is_meant(word)).count()).sum::<usize>() > 1
    }

    /// A file whose path the command line or a variable gives.
    fn named_file(&self, value: &str, text: &str, config: &ConfigFile) -> Located<'_> {
        let path = value.strip_prefix("file:").unwrap_or(value);
        let hidden = |what: &str| {
            Located::Unseen(format!("{}: {what} may set the idle timeout", super::shorten(text)))
        };
        if path.contains(':') {
            return hidden("a module");
        }
        match self.absolute(path).map(|path| self.opened(&path, config.format)) {
            Some(located @ Located::At(..)) => located,
            Some(Located::Unseen(why)) => Located::Unseen(format!("{}: {why}", super::shorten(text))),
            Some(Located::OfTheImage) | None => hidden("a file of the image"),
        }
    }

    /// A path of a mounted file.
    fn opened(&self, path: &str, format: FileFormat) -> Located<'_> {
        if !self.disk.is_mounted(path) {
            return Located::OfTheImage;
        }
        match self.disk.open(path) {
            Opened::Text(text) if text.len() > format.longest() => Located::Unseen(too_long(path)),
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
