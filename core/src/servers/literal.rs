//! The part of the catalog that literal words and variables decide, for engines that cannot read shell scripts, files or
//! image tags.
//!
//! Turns a server into a [`LiteralServer`], or the reason why there is none. What it says is what `resolve` says of the same
//! container, and certain; everything else is left out. Files, volumes and hooks must be absent, see
//! [`LiteralServer::reads_files`].

use std::time::Duration;

use super::{
    catalog::{
        Catalog, Effect, Flag, Format, Grade, IdleDefault, Obeys, Outcome, Server, Setting, SignKind, Source,
        Strength, VersionMatch,
    },
    command::plain_wrappers,
};

/// A server of the catalog, as far as literal words and variables decide.
#[derive(Clone, Debug)]
pub struct LiteralServer<'c> {
    /// The entry.
    pub server: &'c Server,
    /// How it starts.
    pub starts: Vec<Start>,
    /// The steps that select the mode, from the first [`Behaviour`]'s.
    pub steps: Vec<Step>,
    /// What it does in each mode, the default mode first; one without a mode if the entry has none.
    pub behaviours: Vec<Behaviour>,
    /// Whether it reads files, so that volumes and hooks can change the answer.
    pub reads_files: bool,
    /// Whether it reads variables, so that unknown ones can change the answer.
    pub reads_variables: bool,
    /// Parts of images whose tags select a version with other answers.
    pub not_images: Vec<String>,
    /// The first release from which all answers are these, although the tag is of such an image. They are those of images
    /// without a version, too.
    pub since: Option<[u64; 3]>,
    /// Ports of other listeners, which have timeouts of their own.
    pub other_ports: Vec<u16>,
}

/// How a server is started.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Start {
    /// `command` is this program, possibly with its first argument.
    Command(String),
    /// `command` is `python -m` with this module, possibly with its first argument.
    Module(String),
    /// The image is of this repository, and there is no `command`.
    Image(String),
}

/// A place where a value can be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Literal {
    /// A flag: a regular expression that matches the word with its name, and with its value after `=`.
    Flag(String),
    /// A variable.
    Variable(String),
}

/// A step that selects a mode: the first choice that is set.
#[derive(Clone, Debug)]
pub struct Step {
    /// The modes in which it applies; empty for all.
    pub when: Vec<String>,
    /// The choices.
    pub choices: Vec<Choice>,
}

/// A value that selects a mode.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where the value is.
    pub at: Literal,
    /// The mode of each value.
    pub values: Vec<(String, String)>,
    /// The mode of any other value; `None` if it is unknown.
    pub otherwise: Option<String>,
}

/// What a server does in a mode.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The mode; empty if the entry has none.
    pub mode: String,
    /// What sets the timeout, in order of precedence.
    pub settings: Vec<LiteralSetting>,
    /// Words that make the answer unknown, as a regular expression; empty for none.
    pub doubtful_words: String,
    /// Names of variables that make the answer unknown, as a regular expression; empty for none.
    pub doubtful_variables: String,
    /// The timeout if nothing sets it, before the margins; `None` if it is not certain.
    pub default: Option<(Duration, Duration)>,
    /// How much earlier the server may close.
    pub early: Duration,
    /// How much later the server may close.
    pub late: Duration,
}

/// A setting of the idle timeout.
#[derive(Clone, Debug)]
pub struct LiteralSetting {
    /// Where it is.
    pub at: Literal,
    /// How its value is read.
    pub format: LiteralFormat,
}

/// The formats of literal values. Values of another form, and zero, are not decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LiteralFormat {
    /// Digits: seconds.
    Seconds,
    /// Digits: milliseconds.
    Milliseconds,
    /// Digits with the units h, m and s, as in Go.
    Duration,
    /// Digits, possibly with the unit s, as in nginx.
    NginxSeconds,
}

/// Programs that run other code, so that their name alone says nothing.
const INTERPRETERS: [&str; 8] = ["python", "pypy", "node", "nodejs", "java", "dotnet", "php", "ruby"];

/// The short flags that can be combined with another one, see `flags`.
const SWITCHES: &str = "[RqtTXF]*";

/// Programs that run the words after them, each with the subcommand that it needs; it is empty if it needs none. The words
/// may follow after `--`, but not after options or assignments of variables.
pub fn wrappers() -> impl Iterator<Item = (&'static str, &'static str)> {
    plain_wrappers()
}

impl Catalog {
    /// The part of a server that literal words and variables decide.
    ///
    /// # Errors
    ///
    /// Returns the reason if there is none.
    pub fn literal<'c>(&'c self, server: &'c Server) -> Result<LiteralServer<'c>, String> {
        Reader { catalog: self, server }.read()
    }
}

struct Reader<'c> {
    catalog: &'c Catalog,
    server: &'c Server,
}

/// Words and variables that make an answer unknown.
#[derive(Default)]
struct Doubts {
    words: Vec<String>,
    variables: Vec<String>,
}

impl<'c> Reader<'c> {
    fn read(&self) -> Result<LiteralServer<'c>, String> {
        let server = self.server;
        if server.other_ports.is_some() || server.listeners.iter().any(|it| it.name.contains('<')) {
            return Err("its ports have different timeouts".to_owned());
        }
        if server.products.iter().any(|product| product.has_ports()) {
            return Err("its timeout is known only for some ports".to_owned());
        }
        if server.ignore_case {
            return Err("the case of its settings does not matter".to_owned());
        }
        if !server.image_files.is_empty() || server.templates.is_some() {
            return Err("it reads files of its image".to_owned());
        }
        let choices = server.mode.iter().flat_map(|mode| mode.steps.iter().flat_map(|step| &step.choices));
        let named_by = server.files.values().flat_map(|file| &file.named_by);
        let ports = server.listeners.iter().flat_map(|listener| &listener.port);
        let all: Vec<&Setting> =
            server.settings.iter().chain(choices).chain(named_by).chain(ports.clone()).collect();
        if all.iter().any(|setting| matches!(setting.source, Source::Property(_) | Source::Spring(_))) {
            return Err("it reads Java properties".to_owned());
        }
        let is_silent = |setting: &Setting| matches!(setting.effect, Effect::Nothing | Effect::Names);
        if all.iter().any(|setting| matches!(setting.source, Source::Subcommand) && !is_silent(setting)) {
            return Err("a subcommand changes its timeout".to_owned());
        }
        let starts = self.starts();
        if starts.is_empty() {
            return Err("no program, module or image identifies it by itself".to_owned());
        }
        let mut common = Doubts::default();
        // A port that is set may be that of a listener with another timeout.
        for setting in server.files.values().flat_map(|file| &file.named_by).chain(ports) {
            common.add(setting);
        }
        common.variables.extend(server.arguments_env.iter().map(|name| escape(name)));
        common.variables.extend(server.java_options_env.iter().map(|name| escape(name)));
        let steps = self.steps(&mut common)?;
        let behaviours: Vec<_> = self.modes().iter().map(|mode| self.behaviour(mode, &common)).collect();
        if behaviours.iter().all(|it| it.settings.is_empty() && it.default.is_none()) {
            return Err(self.nothing_certain());
        }
        let is_file = |setting: &&Setting| matches!(setting.source, Source::File { .. } | Source::Mount(_));
        let is_variable = |setting: &&Setting| matches!(setting.source, Source::Env(_));
        Ok(LiteralServer {
            server,
            starts,
            steps,
            behaviours,
            reads_files: !server.files.is_empty() || all.iter().any(is_file),
            reads_variables: !server.arguments_env.is_empty() || all.iter().any(is_variable),
            not_images: if self.has_versions() { self.versioned_images() } else { Vec::new() },
            since: self.since(),
            other_ports: server.listeners.iter().flat_map(|it| it.default_ports.iter().copied()).collect(),
        })
    }

    /// Why nothing is certain.
    fn nothing_certain(&self) -> String {
        let likely = |default: &IdleDefault| match &default.grade {
            Grade::Likely(why) => Some(why.clone()),
            Grade::Certain(_) => None,
        };
        self.server
            .defaults
            .iter()
            .find_map(likely)
            .unwrap_or_else(|| "no literal value sets its timeout, and its default has none".to_owned())
    }

    fn has_versions(&self) -> bool {
        self.server.settings.iter().any(|setting| setting.versions.is_some())
            || self.server.defaults.iter().any(|default| default.versions.is_some())
    }

    /// The release since which the version changes nothing, see [`LiteralServer::since`].
    fn since(&self) -> Option<[u64; 3]> {
        let mut since = [0; 3];
        let listeners = self.server.listeners.iter().flat_map(|listener| &listener.port);
        let choices = self.server.mode.iter().flat_map(|mode| mode.steps.iter().flat_map(|it| &it.choices));
        for setting in self.server.settings.iter().chain(listeners).chain(choices) {
            if let Some(versions) = &setting.versions {
                since = since.max(versions.all_from()?);
            }
        }
        let own_image = self.server.defaults.iter().any(|default| default.own_image);
        for mode in self.modes() {
            let applies = |modes: &[String]| modes.is_empty() || modes.contains(&mode);
            // Without a version, the first default applies if it is the only one that may.
            let [default] = self.open_defaults(&applies, own_image)[..] else { return None };
            if let Some(versions) = &default.versions {
                since = since.max(versions.all_from()?);
            }
        }
        Some(since)
    }

    /// The paths of the images whose tag is the version.
    fn versioned_images(&self) -> Vec<String> {
        let path = |from: &String| from.split_once('/').map_or("", |(_, path)| path).to_owned();
        self.server.version_from.iter().map(path).collect()
    }

    /// The ways to start it that no other entry shares.
    fn starts(&self) -> Vec<Start> {
        let mut starts: Vec<Start> = Vec::new();
        let depends_on_image = self.server.defaults.iter().any(|default| default.own_image);
        for sign in &self.server.signs {
            let has_ports =
                sign.product.and_then(|at| self.server.products.get(at)).is_some_and(|it| it.has_ports());
            if sign.strength != Strength::Reliable || sign.prefix || !sign.tag.is_empty() || has_ports {
                continue;
            }
            let start = match sign.kind {
                SignKind::Command if !depends_on_image && !is_interpreter(&sign.text) => {
                    Start::Command(sign.text.clone())
                }
                SignKind::Module if !depends_on_image => Start::Module(sign.text.clone()),
                SignKind::Image
                    if !self.has_versions()
                        || self.server.version_from.is_empty()
                        || self.since().is_some() =>
                {
                    Start::Image(sign.text.clone())
                }
                SignKind::Command
                | SignKind::Module
                | SignKind::Image
                | SignKind::ImageName
                | SignKind::Jar
                | SignKind::Class
                | SignKind::Setting
                | SignKind::Flag => continue,
            };
            if sign.text.split(' ').count() <= 2 && !self.is_shared(sign.kind, &sign.text) {
                starts.push(start);
            }
        }
        starts.sort();
        starts.dedup();
        starts
    }

    /// Whether another entry may be recognised by the same words or image.
    fn is_shared(&self, kind: SignKind, text: &str) -> bool {
        let first = text.split(' ').next().unwrap_or(text);
        let two_words = first.len() < text.len();
        // The more specific entry replaces the general one, see `recognise`.
        let is_other = |other: &&Server| {
            other.id != self.server.id
                && (kind != SignKind::Image || self.server.refines.as_ref() != Some(&other.id))
        };
        let others = self.catalog.servers().filter(is_other);
        others.flat_map(|other| &other.signs).filter(|sign| sign.kind == kind).any(|sign| {
            if kind == SignKind::Image {
                return if sign.prefix { text.starts_with(&sign.text) } else { text == sign.text };
            }
            let other_first = sign.text.split(' ').next().unwrap_or(&sign.text);
            if sign.prefix {
                return text.starts_with(&sign.text) || sign.text.starts_with(first);
            }
            let other_second = other_first.len() < sign.text.len();
            other_first == first && (!two_words || !other_second || sign.text == text)
        })
    }

    fn modes(&self) -> Vec<String> {
        let Some(mode) = &self.server.mode else { return vec![String::new()] };
        let mut modes = vec![mode.start.clone()];
        for choice in mode.steps.iter().flat_map(|step| &step.choices) {
            if let Effect::Mode { values, otherwise } = &choice.effect {
                modes.extend(values.iter().map(|(_, mode)| mode.clone()).chain(otherwise.clone()));
            }
        }
        let mut seen = Vec::new();
        modes.retain(|mode| {
            let is_new = !seen.contains(mode);
            seen.push(mode.clone());
            is_new
        });
        modes
    }

    fn steps(&self, doubts: &mut Doubts) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        for step in self.server.mode.iter().flat_map(|mode| &mode.steps) {
            let mut choices = Vec::new();
            for setting in &step.choices {
                let Effect::Mode { values, otherwise } = &setting.effect else {
                    doubts.add(setting);
                    continue;
                };
                match &setting.source {
                    // Files are absent.
                    Source::File { .. } | Source::Mount(_) => {}
                    Source::Flag { .. } | Source::Env(_) if is_plain(setting) => {
                        for at in literals(&setting.source, doubts) {
                            let (values, otherwise) = (values.clone(), otherwise.clone());
                            choices.push(Choice { at, values, otherwise });
                        }
                    }
                    Source::Flag { .. } | Source::Env(_) | Source::Argument(_) => doubts.add(setting),
                    Source::Property(_) | Source::Spring(_) | Source::Subcommand => {
                        return Err("a subcommand or a property selects its mode".to_owned());
                    }
                }
            }
            steps.push(Step { when: step.when.clone(), choices });
        }
        Ok(steps)
    }

    fn behaviour(&self, mode: &str, common: &Doubts) -> Behaviour {
        let applies = |modes: &[String]| modes.is_empty() || modes.iter().any(|known| known == mode);
        let own_image = self.server.defaults.iter().any(|default| default.own_image);
        let defaults = self.open_defaults(&applies, own_image);
        let obeys_all = defaults.iter().all(|default| default.obeys == Obeys::All);
        let mut doubts = Doubts { words: common.words.clone(), variables: common.variables.clone() };
        let mut settings: Vec<LiteralSetting> = Vec::new();
        for setting in self.server.settings.iter().filter(|setting| applies(&setting.modes)) {
            let format = match &setting.effect {
                Effect::Nothing | Effect::Names | Effect::Mode { .. } => continue,
                Effect::Idle { format, special, plus: None } if obeys_all && is_plain(setting) => {
                    let is_number =
                        |(value, _): &(String, Outcome)| value.starts_with(|c: char| matches!(c, '1'..='9'));
                    literal_format(*format).filter(|_| !special.iter().any(is_number))
                }
                Effect::Idle { .. } | Effect::File | Effect::Unknown(_) | Effect::Part(_) => None,
            };
            match (&setting.source, format) {
                (Source::File { .. } | Source::Mount(_), _) => {}
                (source @ (Source::Flag { .. } | Source::Env(_)), Some(format)) => {
                    settings.extend(literals(source, &mut doubts).map(|at| LiteralSetting { at, format }));
                }
                (_, _) => doubts.add(setting),
            }
        }
        let all =
            |of: fn(&IdleDefault) -> Duration| defaults.iter().map(|it| of(it)).max().unwrap_or_default();
        Behaviour {
            mode: mode.to_owned(),
            settings,
            doubtful_words: any_of(&doubts.words),
            doubtful_variables: any_of(&doubts.variables),
            default: certain(&defaults),
            early: all(|default| default.early),
            late: all(|default| default.late),
        }
    }

    /// The defaults that may apply if the version is unknown and no file was read.
    fn open_defaults(&self, applies: &dyn Fn(&[String]) -> bool, own_image: bool) -> Vec<&'c IdleDefault> {
        let mut open = Vec::new();
        for default in &self.server.defaults {
            if !applies(&default.modes) || default.own_image && !own_image || default.file.is_some() {
                continue;
            }
            open.push(default);
            let fit = default.versions.as_ref().map_or(VersionMatch::Yes, |versions| versions.fit(None));
            if fit == VersionMatch::Yes || default.assumed {
                break;
            }
        }
        open
    }
}

/// The window of the defaults, if it is certain and the same for all.
fn certain(defaults: &[&IdleDefault]) -> Option<(Duration, Duration)> {
    let first = defaults.first()?;
    let is_certain = |default: &&IdleDefault| {
        matches!(default.grade, Grade::Certain(_))
            && (default.outcome, default.early, default.late) == (first.outcome, first.early, first.late)
    };
    match first.outcome {
        Outcome::After { from, to } if defaults.iter().all(is_certain) => Some((from, to)),
        Outcome::After { .. }
        | Outcome::Never
        | Outcome::EachResponse
        | Outcome::Default
        | Outcome::Unset
        | Outcome::Unknown => None,
    }
}

impl Doubts {
    /// Adds the words or variables of a setting that must not be set.
    fn add(&mut self, setting: &Setting) {
        match &setting.source {
            Source::Flag { names, .. } => {
                self.words.extend(names.iter().map(|flag| format!("{}(=.*)?", pattern(flag))));
                self.words.extend(names.iter().filter_map(attached));
            }
            Source::Argument(names) => {
                self.words.extend(names.iter().map(|name| format!("{}=.*", open(name))))
            }
            Source::Env(names) => self.variables.extend(names.iter().map(|name| open(name))),
            Source::Property(_)
            | Source::Spring(_)
            | Source::Mount(_)
            | Source::Subcommand
            | Source::File { .. } => {}
        }
    }
}

/// Whether a setting is read in the usual way, and what it sets is certain.
fn is_plain(setting: &Setting) -> bool {
    let usual = match &setting.source {
        Source::Flag { names, glued, bare } => {
            !glued && bare.is_none() && names.iter().all(|flag| !flag.full.contains('<'))
        }
        Source::Env(names) => names.iter().all(|name| !name.contains('<')),
        Source::Argument(_)
        | Source::Property(_)
        | Source::Spring(_)
        | Source::Mount(_)
        | Source::Subcommand
        | Source::File { .. } => false,
    };
    usual
        && !setting.first_wins
        && !setting.unless_flags
        && setting.directive.is_none()
        && setting.likely.is_none()
}

/// The places of a flag or a variable.
fn literals(source: &Source, doubts: &mut Doubts) -> std::vec::IntoIter<Literal> {
    match source {
        Source::Flag { names, .. } => {
            doubts.words.extend(names.iter().filter_map(attached));
            let names: Vec<_> = names.iter().map(pattern).collect();
            vec![Literal::Flag(format!("^({})(=.*)?$", names.join("|")))]
        }
        Source::Env(names) => names.iter().map(|name| Literal::Variable(name.clone())).collect(),
        Source::Argument(_)
        | Source::Property(_)
        | Source::Spring(_)
        | Source::Mount(_)
        | Source::Subcommand
        | Source::File { .. } => Vec::new(),
    }
    .into_iter()
}

/// The names of a flag and its abbreviations.
fn pattern(flag: &Flag) -> String {
    if flag.full.contains('<') {
        return open(&flag.full);
    }
    let mut text = escape(flag.full.get(..flag.shortest).unwrap_or(&flag.full));
    let rest: Vec<char> = flag.full.get(flag.shortest..).unwrap_or_default().chars().collect();
    for char in &rest {
        text.push('(');
        text.push_str(&escape(&char.to_string()));
    }
    text + &")?".repeat(rest.len())
}

/// A short flag with its value in the same word, or combined with others.
fn attached(flag: &Flag) -> Option<String> {
    let letter = flag.full.strip_prefix('-').filter(|_| flag.full.len() == 2)?;
    let letter = escape(letter);
    Some(format!("-({SWITCHES}{letter}[^=].*|[RqtTXF]+{letter}.*)"))
}

/// A name in which `<name>` stands for any word.
fn open(name: &str) -> String {
    match name.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1))) {
        Some((head, tail)) => format!("{}.+{}", escape(head), escape(tail)),
        None => escape(name),
    }
}

/// A regular expression that matches this text.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        if !char.is_ascii_alphanumeric() && !matches!(char, '-' | '_' | '/') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// A regular expression that matches any of these; empty for none.
fn any_of(patterns: &[String]) -> String {
    if patterns.is_empty() { String::new() } else { format!("^({})$", patterns.join("|")) }
}

fn is_interpreter(command: &str) -> bool {
    let name = command.split(' ').next().unwrap_or(command);
    INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

const fn literal_format(format: Format) -> Option<LiteralFormat> {
    match format {
        Format::Seconds | Format::FloatSeconds | Format::ApacheTime => Some(LiteralFormat::Seconds),
        Format::Nginx => Some(LiteralFormat::NginxSeconds),
        Format::Milliseconds | Format::Hocon | Format::Haproxy => Some(LiteralFormat::Milliseconds),
        Format::Go | Format::GoOrSeconds | Format::Prometheus | Format::GoOrNanoseconds => {
            Some(LiteralFormat::Duration)
        }
        Format::Spring | Format::Quarkus | Format::TimeSpan | Format::Iso8601 | Format::Word => None,
    }
}

#[cfg(test)]
mod tests;
