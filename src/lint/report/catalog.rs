//! An entry of the catalog -> what people and programs read of it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::servers::{
    Server,
    literal::{LiteralServer, Start},
};

/// A server as `catalog list` and `catalog show` have it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its family.
    pub family: String,
    /// The programs that behave as it says, with their sources.
    pub products: Vec<ProductReport>,
    /// How it is recognised: each sign with what it is worth.
    pub signs: Vec<String>,
    /// The configuration files that are read.
    pub files: Vec<String>,
    /// Listeners with ports of their own.
    pub listeners: Vec<String>,
    /// What can change its idle timeout, in order of precedence.
    pub settings: Vec<String>,
    /// What happens when nothing does.
    pub defaults: Vec<DefaultReport>,
    /// What surprises people.
    pub gotchas: Vec<String>,
    /// Where settings and behaviour come from.
    pub sources: Vec<String>,
    /// Whether `install --engine policy` decides its timeout, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_engine: Option<PolicyEngineReport>,
}

/// Whether admission policies in CEL decide the timeout of a server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEngineReport {
    /// How the server must be started for that: `gunicorn`, `python -m gunicorn`, `image docker.io/minio/minio`; empty if
    /// policies leave it alone.
    pub starts: Vec<String>,
    /// Why policies leave it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A program that behaves as an entry says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductReport {
    /// Its name.
    pub name: String,
    /// Where that was read.
    pub source: String,
}

/// A default of a server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultReport {
    /// What the server does: `closes after 5s`.
    pub closes: String,
    /// When it holds: versions, modes, an image.
    pub when: String,
    /// `certain`, `likely` or `unknown`.
    pub certainty: &'static str,
    /// Why.
    pub because: String,
    /// Where the number comes from.
    pub source: String,
}

impl ServerReport {
    /// What is to be said of a server.
    pub fn of(server: &Server) -> Self {
        Self {
            id: server.id.clone(),
            name: server.name.clone(),
            family: server.family.clone(),
            products: server
                .products
                .iter()
                .map(|product| ProductReport { name: product.name.clone(), source: product.source.clone() })
                .collect(),
            signs: server.describe_signs(),
            files: server.describe_files(),
            listeners: server.describe_listeners(),
            settings: server.describe_settings(),
            defaults: server
                .describe_defaults()
                .into_iter()
                .map(|default| DefaultReport {
                    closes: default.closes,
                    when: default.when,
                    certainty: default.certainty,
                    because: default.because,
                    source: default.source,
                })
                .collect(),
            gotchas: server.gotchas.clone(),
            sources: server.sources.clone(),
            policy_engine: None,
        }
    }

    /// The same with what admission policies decide.
    pub fn with_policy_engine(self, literal: Result<LiteralServer<'_>, String>) -> Self {
        let start = |start: &Start| match start {
            Start::Command(words) => words.clone(),
            Start::Module(words) => format!("python -m {words}"),
            Start::Image(repository) => format!("image {repository}"),
        };
        let report = match literal {
            Ok(literal) => {
                PolicyEngineReport { starts: literal.starts.iter().map(start).collect(), why: None }
            }
            Err(why) => PolicyEngineReport { starts: Vec::new(), why: Some(why) },
        };
        Self { policy_engine: Some(report), ..self }
    }
}

/// A table of servers, a heading for each family.
pub fn list(servers: &[ServerReport]) -> String {
    let width = servers.iter().map(|server| server.id.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut family = "";
    for server in servers {
        if server.family != family {
            family = &server.family;
            let space = if text.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{space}{family}");
        }
        let closes: Vec<_> = server.defaults.iter().map(|default| default.closes.as_str()).collect();
        let mut different: Vec<&str> = Vec::new();
        for closes in closes {
            if !different.contains(&closes) {
                different.push(closes);
            }
        }
        let told = match &server.policy_engine {
            None => different.join(", "),
            Some(PolicyEngineReport { why: Some(why), .. }) => format!("left alone ({why})"),
            Some(PolicyEngineReport { starts, why: None }) => format!("decided for {}", starts.join(", ")),
        };
        let _ = writeln!(text, "  {:width$}  {}: {told}", server.id, server.name);
    }
    text
}

/// All that is known of a server.
pub fn show(server: &ServerReport) -> String {
    let mut text = format!("{} ({}, family {})\n", server.name, server.id, server.family);
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{title}");
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
    };
    section("Recognised by", server.signs.clone());
    let products = server.products.iter();
    section("Programs", products.map(|product| format!("{}: {}", product.name, product.source)).collect());
    section("Configuration files", server.files.clone());
    section("Listeners", server.listeners.clone());
    section("Settings, in order of precedence", server.settings.clone());
    let defaults = server.defaults.iter().flat_map(|default| {
        let when = if default.when.is_empty() { String::new() } else { format!(" ({})", default.when) };
        let because =
            if default.because.is_empty() { String::new() } else { format!(": {}", default.because) };
        [
            format!("{}{when}", default.closes),
            format!("  {}{because}", default.certainty),
            format!("  source: {}", default.source),
        ]
    });
    section("Default", defaults.collect());
    section("Notes", server.gotchas.clone());
    section("Sources", server.sources.clone());
    text
}
