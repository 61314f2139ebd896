//! Describes catalog entries in text, for `catalog show` and the documentation.

use super::{
    Outcome, Strength,
    entry::{Effect, Grade, IdleDefault, Server, Setting, SignKind, Source},
};
use crate::base::duration::format;

/// A default as text.
#[derive(Clone, Debug)]
pub struct DefaultWords {
    /// The behaviour: `closes after 5s`.
    pub closes: String,
    /// The condition.
    pub when: String,
    /// `certain`, `likely` or `unknown`.
    pub certainty: &'static str,
    /// The reason.
    pub because: String,
    /// The source of the value, or why it is unknown.
    pub source: String,
}

impl Server {
    /// Each sign with its kind and strength.
    pub fn describe_signs(&self) -> Vec<String> {
        let kind = |kind| match kind {
            SignKind::Image => "image",
            SignKind::ImageName => "image named",
            SignKind::Command => "command",
            SignKind::Module => "python -m",
            SignKind::Jar => "java -jar",
            SignKind::Class => "Java class",
            SignKind::Setting => "setting",
            SignKind::Flag => "flag",
        };
        let signs = self.signs.iter().map(|sign| {
            let star = if sign.prefix { "*" } else { "" };
            let hint = if sign.strength == Strength::Hint { " (a hint)" } else { "" };
            let tags: String = sign
                .tag
                .iter()
                .map(|(word, wanted)| format!(", tag {} {word}", if *wanted { "with" } else { "without" }))
                .collect();
            let product = sign.product.and_then(|at| self.products.get(at));
            let product = product.map_or_else(String::new, |product| format!(": {}", product.name));
            format!("{} {}{star}{tags}{hint}{product}", kind(sign.kind), sign.text)
        });
        signs.collect()
    }

    /// Each setting, in order of precedence.
    pub fn describe_settings(&self) -> Vec<String> {
        let own = self.settings.iter().map(Setting::describe);
        let listeners = self.listeners.iter().flat_map(|listener| {
            let settings = listener.settings.iter();
            settings.map(move |setting| format!("listener {}: {}", listener.name, setting.describe()))
        });
        own.chain(listeners).collect()
    }

    /// Each configuration file: its format, its paths, and the settings that name another path.
    pub fn describe_files(&self) -> Vec<String> {
        let files = self.files.iter().map(|(name, file)| {
            let at = if file.at.is_empty() { String::new() } else { format!(" at {}", file.at.join(", ")) };
            let named: Vec<_> = file.named_by.iter().map(Setting::place).collect();
            let named = if named.is_empty() {
                String::new()
            } else {
                format!(", or as named by {}", named.join(", "))
            };
            format!("{name}: {}{at}{named}", file.format.as_str())
        });
        files.collect()
    }

    /// Each additional listener with its ports.
    pub fn describe_listeners(&self) -> Vec<String> {
        let listeners = self.listeners.iter().map(|listener| {
            let ports = listener.default_ports.iter().chain(listener.named_ports.values());
            let ports: Vec<_> = ports.map(u16::to_string).collect();
            let ports = if ports.is_empty() { "no port by default".to_owned() } else { ports.join(", ") };
            let set: Vec<_> = listener.port.iter().map(Setting::place).collect();
            let set = if set.is_empty() { String::new() } else { format!("; set by {}", set.join(", ")) };
            format!("{}: {ports}{set}", listener.name)
        });
        listeners.collect()
    }

    /// Each default, in the order in which they are tried.
    pub fn describe_defaults(&self) -> Vec<DefaultWords> {
        let own = self.defaults.iter().map(IdleDefault::describe);
        let listeners = self.listeners.iter().flat_map(|listener| {
            listener.defaults.iter().map(|default| {
                let mut words = default.describe();
                let when = format!("listener {}", listener.name);
                words.when = if words.when.is_empty() { when } else { format!("{when}; {}", words.when) };
                words
            })
        });
        own.chain(listeners).collect()
    }
}

impl Setting {
    /// The source of the setting.
    fn place(&self) -> String {
        let list = |names: &[String]| names.join(", ");
        match &self.source {
            Source::Flag { names, .. } => {
                format!("flag {}", names.iter().map(|flag| flag.full.as_str()).collect::<Vec<_>>().join(", "))
            }
            Source::Argument(names) => format!("argument {}=", list(names)),
            Source::Env(names) => format!("variable {}", list(names)),
            Source::Property(names) => format!("property {}", list(names)),
            Source::Spring(names) => format!("Spring property {}", list(names)),
            Source::Mount(paths) => format!("volume at {}", list(paths)),
            Source::Subcommand => "subcommand".to_owned(),
            Source::File { name, key } => format!("file {name}, key {key}"),
        }
    }

    fn describe(&self) -> String {
        let place = self.place();
        let directive = self.directive.as_ref().map_or_else(String::new, |word| format!(" {word}"));
        let effect = match &self.effect {
            Effect::Idle { format, .. } => format!("idle timeout as {}", format.as_str()),
            Effect::File => "names a file that may set it".to_owned(),
            Effect::Unknown(why) | Effect::Part(why) => format!("makes the timeout unknown: {why}"),
            Effect::Mode { .. } => "chooses a mode".to_owned(),
            Effect::Nothing => "does not set it".to_owned(),
            Effect::Names => "names it".to_owned(),
        };
        let modes =
            if self.modes.is_empty() { String::new() } else { format!(" (mode {})", self.modes.join(", ")) };
        format!("{place}{directive}{modes}: {effect}")
    }
}

impl IdleDefault {
    fn describe(&self) -> DefaultWords {
        let late = match (self.early.is_zero(), self.late.is_zero()) {
            (true, true) => String::new(),
            (true, false) => format!(", up to {} late", format(self.late)),
            (false, true) => format!(", up to {} early", format(self.early)),
            (false, false) => format!(", up to {} early or {} late", format(self.early), format(self.late)),
        };
        let closes = match self.outcome {
            Outcome::After { from, to } if from != to => {
                format!("closes after {} to {}{late}", format(from), format(to))
            }
            Outcome::After { from, .. } => format!("closes after {}{late}", format(from)),
            Outcome::Never => "never closes".to_owned(),
            Outcome::EachResponse => "closes after each response".to_owned(),
            Outcome::Default | Outcome::Unset | Outcome::Unknown => "unknown".to_owned(),
        };
        let when = [
            self.versions.as_ref().map(|versions| format!("versions {versions}")),
            (!self.modes.is_empty()).then(|| format!("mode {}", self.modes.join(", "))),
            self.own_image.then(|| "the listed images".to_owned()),
            self.file.as_ref().map(|file| format!("where file {file} was read")),
        ];
        let (certainty, because) = match &self.grade {
            _ if self.outcome == Outcome::Unknown => ("unknown", String::new()),
            Grade::Certain(why) => ("certain", why.clone()),
            Grade::Likely(why) => ("likely", why.clone()),
        };
        let when: Vec<String> = when.into_iter().flatten().collect();
        DefaultWords { closes, when: when.join("; "), certainty, because, source: self.source.clone() }
    }
}
