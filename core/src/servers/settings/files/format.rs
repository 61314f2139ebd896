//! The formats of configuration files and their readers.

use super::{
    Answer, Files, MAX_LEN, MAX_TREE_LEN, Query, caddy_json, caddyfile, envoy, haproxy, hcl, hocon, httpd,
    ini::{self, Dialect},
    jetty_ini, lighttpd, nginx, properties, python, quarkus, ruby, server_xml,
    tree::{self, Style},
};

/// The supported formats of configuration files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum FileFormat {
    /// appsettings.json of .NET.
    Appsettings,
    /// YAML, JSON, TOML or .properties, by the extension of the path.
    ByEnding,
    /// Caddyfile, or Caddy's JSON, by the extension of the path.
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
    /// Spring Boot's directories with application.properties and application.yaml.
    Spring,
    /// Configuration of uWSGI: ini, YAML or JSON, by the extension of the path.
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

    /// The name in the catalog.
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

    /// The format with this name.
    pub(in crate::servers) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// Whether a file can have a timeout for each port.
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

    /// Whether the file can include other files.
    pub(super) const fn includes(self) -> bool {
        matches!(self, Self::Httpd | Self::Lighttpd | Self::Nginx)
    }

    pub(super) const fn longest(self) -> usize {
        match self {
            Self::Appsettings | Self::ByEnding | Self::Quarkus | Self::Spring | Self::Uwsgi => MAX_TREE_LEN,
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
            | Self::ServerXml => MAX_LEN,
        }
    }

    /// Whether the program merges several files if several are named.
    pub(super) const fn merges(self) -> bool {
        matches!(self, Self::Haproxy | Self::Hcl | Self::Uwsgi)
    }

    /// Reads a key of a file. `profile` is the active profile, if the program has profiles; `None` for the default.
    pub(super) fn read(
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
            // `spring_folders` reads its directories.
            Self::Spring => Answer::Absent,
        }
    }
}

/// The syntax of a file, by the extension of its path; `None` if it is not supported.
pub(super) fn style(path: &str) -> Option<Style> {
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
