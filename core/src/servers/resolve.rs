//! Computes a server's idle timeout from its settings, in order of precedence, and its defaults.
//!
//! If something relevant cannot be read, the answer is unknown; the default is not used.

use std::time::Duration;

use super::{
    catalog::{
        Effect, Format, Grade, IdleDefault, Obeys, Outcome, Parsed, Server, Setting, Source, VersionMatch,
        Versions,
    },
    idle::{Certainty, Evidence, Idle, Origin, Why, Window},
    recognise::{HELP, shorten},
    settings::{ListenerOf, Reader, Reading},
};
use crate::workload::word::Place;

/// The idle timeout of a server, and the setting to raise it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The idle timeout.
    pub idle: Idle,
    /// The setting, as found in the input: `--keep-alive`, `keepalive_timeout in ConfigMap web`.
    pub raise: Option<String>,
}

impl Answer {
    /// An unknown answer with this reason.
    pub(super) fn unknown(fact: &str) -> Self {
        Self { idle: Idle::Unknown(Why(why(fact))), raise: None }
    }
}

/// Computes the answer for the port of `reader`, or for the server in general.
pub(super) fn resolve(reader: &Reader<'_, '_>) -> Answer {
    let server = reader.recognition.server;
    let Some(port) = reader.port else {
        let listeners = if server.listeners.iter().any(|listener| listener.name.contains('<')) {
            reader.instances()
        } else {
            Vec::new()
        };
        let main = of_main(reader);
        if matches!(main.idle, Idle::Unknown(_)) {
            return main;
        }
        for (listener, name) in listeners {
            let one = of(&reader.of_listener(name), &listener.settings, &listener.defaults);
            match (&one.idle, &main.idle) {
                (Idle::Unknown(_), _) => return one,
                (Idle::ClosesAfter(one, _), Idle::ClosesAfter(main, _)) if one == main => {}
                _ => {
                    let fact = format!("the ports of {} have different idle timeouts", server.id);
                    return Answer::unknown(&fact);
                }
            }
        }
        return main;
    };
    if let Some(product) = reader.recognition.product
        && !product.ports.is_empty()
        && !product.ports.contains(&port)
    {
        return Answer::unknown(&format!("the idle timeout of port {port} of {} is not known", product.name));
    }
    match reader.listener_of(port) {
        ListenerOf::Main => of_main(reader),
        ListenerOf::Unknown(fact) => Answer::unknown(&fact),
        ListenerOf::Own(listener, name) => {
            of(&reader.of_listener(name), &listener.settings, &listener.defaults)
        }
    }
}

fn of_main(reader: &Reader<'_, '_>) -> Answer {
    of(reader, &reader.recognition.server.settings, &reader.recognition.server.defaults)
}

fn of(reader: &Reader<'_, '_>, settings: &[Setting], defaults: &[IdleDefault]) -> Answer {
    let resolver = Resolver { reader, server: reader.recognition.server, settings, defaults };
    resolver.answer().unwrap_or_else(|why| Answer { idle: Idle::Unknown(Why(why)), raise: None })
}

struct Resolver<'a, 'c> {
    reader: &'a Reader<'a, 'c>,
    server: &'c Server,
    settings: &'a [Setting],
    defaults: &'a [IdleDefault],
}

/// Why a file that was found only by its name may not be the right one.
const BY_WORKING_DIRECTORY: &str = "whether this file is read depends on the image's working directory";

/// Builds a sentence about an unknown fact, with its help.
fn why(fact: &str) -> String {
    let longest = 200 - HELP.len() - 2;
    let fact: String = fact.chars().take(longest).collect();
    format!("{fact}; {HELP}")
}

impl Resolver<'_, '_> {
    fn answer(&self) -> Result<Answer, String> {
        let mode = self.mode()?;
        let defaults = self.open_defaults(mode);
        let obeys_nothing =
            !defaults.is_empty() && defaults.iter().all(|default| default.obeys == Obeys::Nothing);
        if !obeys_nothing {
            for setting in self.settings.iter().filter(|setting| self.is_active(setting, mode)) {
                match self.setting(setting, &defaults)? {
                    Step::Next => {}
                    Step::Default => break,
                    Step::Answer(answer) => return Ok(answer),
                }
            }
        }
        self.default(&defaults, mode)
    }

    fn fits(&self, versions: Option<&Versions>) -> VersionMatch {
        versions.map_or(VersionMatch::Yes, |versions| versions.fit(self.reader.recognition.version.as_ref()))
    }

    /// Whether a setting is active; settings of newer releases are, unless the version is known to be older.
    fn is_active(&self, setting: &Setting, mode: Option<&str>) -> bool {
        mode_applies(&setting.modes, mode) && self.fits(setting.versions.as_ref()) != VersionMatch::No
    }

    fn mode(&self) -> Result<Option<&str>, String> {
        let Some(choice) = &self.server.mode else { return Ok(None) };
        let mut mode = choice.start.as_str();
        for step in &choice.steps {
            if !mode_applies(&step.when, Some(mode)) {
                continue;
            }
            for setting in step.choices.iter().filter(|setting| self.is_active(setting, Some(mode))) {
                if let Some(chosen) = self.chosen(setting)? {
                    mode = chosen;
                    break;
                }
            }
        }
        Ok(Some(mode))
    }

    /// The mode that a setting selects, if it is set.
    fn chosen<'s>(&self, setting: &'s Setting) -> Result<Option<&'s str>, String> {
        let (value, text) = match self.reader.read(setting) {
            Reading::Absent => return Ok(None),
            Reading::Unknown(fact) => return Err(why(&fact)),
            Reading::Set { value, text, .. } => (value, shorten(&text)),
        };
        match &setting.effect {
            Effect::Mode { values, otherwise } => {
                let named = values.iter().find(|(known, _)| *known == value).map(|(_, mode)| mode);
                let mode = named.or(otherwise.as_ref());
                mode.map(|mode| Some(mode.as_str()))
                    .ok_or_else(|| why(&format!("it is not known what {} does with {text}", self.server.id)))
            }
            Effect::File => Err(why(&format!("{text}: the file may set the mode of {}", self.server.id))),
            Effect::Unknown(fact) | Effect::Part(fact) => Err(why(&format!("{text}: {fact}"))),
            Effect::Idle { .. } | Effect::Nothing | Effect::Names => Ok(None),
        }
    }

    /// The defaults that may apply: one, unless the version is ambiguous.
    fn open_defaults(&self, mode: Option<&str>) -> Vec<&IdleDefault> {
        let mut open = Vec::new();
        for default in self.defaults {
            let known_image = !default.own_image || self.reader.recognition.own_image;
            let read = default.file.as_ref().is_none_or(|file| self.reader.has_read(file));
            if !mode_applies(&default.modes, mode) || !known_image || !read {
                continue;
            }
            match self.fits(default.versions.as_ref()) {
                VersionMatch::No => {}
                VersionMatch::Unsure if !default.assumed => open.push(default),
                VersionMatch::Unsure | VersionMatch::Yes => {
                    open.push(default);
                    break;
                }
            }
        }
        open
    }

    fn setting(&self, setting: &Setting, defaults: &[&IdleDefault]) -> Result<Step, String> {
        if matches!(setting.effect, Effect::Nothing | Effect::Names | Effect::Mode { .. }) {
            return Ok(Step::Next);
        }
        let (value, text, at) = match self.reader.read(setting) {
            Reading::Absent => return Ok(Step::Next),
            Reading::Unknown(fact) => return Err(why(&fact)),
            Reading::Set { value, text, at } => (value, text, at),
        };
        let (format, special, plus) = match &setting.effect {
            Effect::Idle { format, special, plus } => (*format, special, plus),
            Effect::File => return Err(why(&format!("{}: a file may set the idle timeout", shorten(&text)))),
            Effect::Unknown(fact) | Effect::Part(fact) => {
                return Err(why(&format!("{}: {fact}", shorten(&text))));
            }
            Effect::Mode { .. } | Effect::Nothing | Effect::Names => return Ok(Step::Next),
        };
        let set_value = SetValue { setting, text: &text, at: &at };
        if let Some(outcome) = special_of(special, format, &value) {
            return self.outcome(outcome, &set_value, defaults);
        }
        if defaults.iter().any(|default| default.obeys != Obeys::All) {
            return Ok(Step::Next);
        }
        match format.read(&value) {
            Some(Parsed::Word) => Ok(Step::Next),
            Some(Parsed::Time(timeout)) => {
                let mut window = window(Outcome::after(timeout), margin(defaults));
                if let Some((plus, versions)) = plus {
                    let fit = self.fits(versions.as_ref());
                    window.from += if fit == VersionMatch::Yes { *plus } else { Duration::ZERO };
                    window.to += if fit == VersionMatch::No { Duration::ZERO } else { *plus };
                }
                Ok(Step::Answer(self.set(&set_value, |evidence| Idle::ClosesAfter(window, evidence))))
            }
            Some(Parsed::Negative) | None => {
                let text = shorten(&text);
                Err(why(&format!("{} cannot parse {text} as {}", self.server.id, format.as_str())))
            }
        }
    }

    fn outcome(
        &self,
        outcome: Outcome,
        set_value: &SetValue<'_>,
        defaults: &[&IdleDefault],
    ) -> Result<Step, String> {
        Ok(match outcome {
            Outcome::After { .. } => {
                let window = window(outcome, margin(defaults));
                Step::Answer(self.set(set_value, |evidence| Idle::ClosesAfter(window, evidence)))
            }
            Outcome::Never => Step::Answer(self.set(set_value, Idle::NeverCloses)),
            Outcome::EachResponse => Step::Answer(self.set(set_value, Idle::ClosesEachResponse)),
            Outcome::Default => Step::Default,
            Outcome::Unset => Step::Next,
            Outcome::Unknown => {
                let text = shorten(set_value.text);
                return Err(why(&format!("it is not known what {} does with {text}", self.server.id)));
            }
        })
    }

    /// The answer of a setting, with its evidence and help.
    fn set(&self, set_value: &SetValue<'_>, idle: impl FnOnce(Evidence) -> Idle) -> Answer {
        let name = set_value.text.split([' ', '=', ':']).next().unwrap_or_default();
        let directive = set_value.setting.directive.as_ref().map(|directive| format!("{name} {directive}"));
        let name = directive.as_deref().unwrap_or(name);
        let place = set_value.at.pointer(self.reader.disk.pod, self.reader.container);
        let (origin, raise) = match set_value.at {
            Place::ImageLine { .. } => {
                let origin = Origin::DefaultOf {
                    server: self.title(None),
                    source: format!("{} in {place}", set_value.text),
                };
                (origin, name.to_owned())
            }
            Place::Line { .. } => {
                let origin = Origin::SetBy { at: place.clone(), text: set_value.text.to_owned() };
                (origin, format!("{name} in {place}"))
            }
            Place::Command(_)
            | Place::Args(_)
            | Place::Env(_)
            | Place::ConfigMap(_)
            | Place::Mount(_)
            | Place::ImageConfig(_) => {
                (Origin::SetBy { at: place, text: set_value.text.to_owned() }, name.to_owned())
            }
        };
        let certainty = match &set_value.setting.likely {
            Some(why) => Certainty::Likely(why.clone()),
            None => match &set_value.setting.source {
                Source::File { name, .. } if self.reader.is_found_by_name(name) => {
                    Certainty::Likely(BY_WORKING_DIRECTORY.to_owned())
                }
                _ => Certainty::Certain,
            },
        };
        let image_fields = match &origin {
            // If one of them sets the timeout, the evidence already names it.
            Origin::SetBy { at, .. } => self.image_fields().filter(|field| field != at).collect(),
            Origin::DefaultOf { .. } | Origin::Measured { .. } => self.image_fields().collect(),
        };
        Answer { idle: idle(Evidence { origin, image_fields, certainty }), raise: Some(raise) }
    }

    fn default(&self, defaults: &[&IdleDefault], mode: Option<&str>) -> Result<Answer, String> {
        let Some(first) = defaults.first() else {
            return Err(why(&format!("the default of this release of {} is not known", self.server.id)));
        };
        let same = defaults
            .iter()
            .all(|other| (other.outcome, Margin::of(other)) == (first.outcome, Margin::of(first)));
        let windows: Option<Vec<Window>> = defaults
            .iter()
            .map(|default| match default.outcome {
                Outcome::After { .. } => Some(window(default.outcome, Margin::of(default))),
                Outcome::Never
                | Outcome::EachResponse
                | Outcome::Default
                | Outcome::Unset
                | Outcome::Unknown => None,
            })
            .collect();
        let mut doubts: Vec<String> = Vec::new();
        if !same {
            let Some(_) = &windows else { return Err(why(&self.differ(defaults))) };
            doubts.push(self.server.doubt.clone().unwrap_or_else(|| "the version is not known".to_owned()));
        }
        doubts.extend(defaults.iter().find_map(|default| match &default.grade {
            Grade::Likely(reason) => match &default.settled_by {
                Some(file) if !self.reader.has_read(file) => Some(reason.clone()),
                Some(file) if self.reader.is_found_by_name(file) => Some(BY_WORKING_DIRECTORY.to_owned()),
                Some(_) => None,
                None => Some(reason.clone()),
            },
            Grade::Certain(_) => None,
        }));
        doubts.extend(self.reader.recognition.named_alike());
        if first.outcome == Outcome::Unknown {
            return Err(why(&first.source));
        }
        if !doubts.is_empty()
            && let Some(name) = self.reader.hidden()
        {
            return Err(why(&name));
        }
        let mut sources: Vec<&str> = defaults.iter().map(|default| default.source.as_str()).collect();
        sources.dedup();
        let certainty =
            if doubts.is_empty() { Certainty::Certain } else { Certainty::Likely(doubts.join("; ")) };
        let origin = Origin::DefaultOf { server: self.title(mode), source: sources.join("; ") };
        let evidence = Evidence { origin, image_fields: self.image_fields().collect(), certainty };
        let idle = match (first.outcome, windows.as_deref().and_then(union)) {
            (Outcome::After { .. }, Some(window)) => Idle::ClosesAfter(window, evidence),
            (Outcome::Never, _) => Idle::NeverCloses(evidence),
            (Outcome::EachResponse, _) => Idle::ClosesEachResponse(evidence),
            (Outcome::After { .. } | Outcome::Default | Outcome::Unset | Outcome::Unknown, _) => {
                return Err(why(&first.source));
            }
        };
        let raise =
            first.raise.clone().or_else(|| self.setting_name(mode)).or_else(|| self.server.raise.clone());
        Ok(Answer { idle, raise })
    }

    /// The fields of the image's config that show the server and its version.
    fn image_fields(&self) -> impl Iterator<Item = String> {
        self.reader.recognition.image_fields.iter().cloned()
    }

    /// The setting that raises the timeout.
    fn setting_name(&self, mode: Option<&str>) -> Option<String> {
        self.settings
            .iter()
            .filter(|setting| self.is_active(setting, mode))
            .find_map(|setting| setting.setting_name(self.reader.listener.as_deref()))
    }

    /// The reason for an unknown answer, if the defaults of several releases differ.
    fn differ(&self, defaults: &[&IdleDefault]) -> String {
        if let Some(doubt) = &self.server.doubt {
            return format!("{}: {doubt}", self.server.id);
        }
        let mut words: Vec<String> = defaults.iter().map(|default| words(default.outcome)).collect();
        words.dedup();
        let words = words.join(" or ").replace(" or after ", " or ");
        format!("{} closes idle connections {words}, depending on the version", self.server.id)
    }

    /// The name of the server in the evidence: `node-http 20.11`, `gunicorn (gthread)`.
    fn title(&self, mode: Option<&str>) -> String {
        let found = self.reader.recognition;
        let product = found.product.map(|product| &*product.name);
        let mut title = self.server.id.clone();
        for kind in [mode, product].into_iter().flatten() {
            title.extend([" (", kind, ")"]);
        }
        if let Some(version) = &found.version {
            title.push(' ');
            title.push_str(&version.to_string());
        }
        title
    }
}

/// A setting with its text and location.
struct SetValue<'a> {
    setting: &'a Setting,
    text: &'a str,
    at: &'a Place,
}

/// The result of a setting.
enum Step {
    /// Continue with the next setting.
    Next,
    /// Use the default.
    Default,
    /// Use this answer.
    Answer(Answer),
}

/// Whether something that is limited to modes applies in this one; an empty list means all modes.
fn mode_applies(modes: &[String], mode: Option<&str>) -> bool {
    modes.is_empty() || mode.is_some_and(|mode| modes.iter().any(|known| known == mode))
}

/// How much earlier or later than its timeout a server may close.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
struct Margin {
    early: Duration,
    late: Duration,
}

impl Margin {
    fn of(default: &IdleDefault) -> Self {
        Self { early: default.early, late: default.late }
    }
}

/// The largest margin of these defaults.
fn margin(defaults: &[&IdleDefault]) -> Margin {
    defaults.iter().map(|default| Margin::of(default)).fold(Margin::default(), |one, other| Margin {
        early: one.early.max(other.early),
        late: one.late.max(other.late),
    })
}

fn window(outcome: Outcome, margin: Margin) -> Window {
    match outcome {
        Outcome::After { from, to } => Window {
            timeout: (from == to).then_some(from),
            from: from.saturating_sub(margin.early),
            to: to + margin.late,
        },
        Outcome::Never | Outcome::EachResponse | Outcome::Default | Outcome::Unset | Outcome::Unknown => {
            Window::exactly(Duration::ZERO)
        }
    }
}

/// The window that covers several windows.
fn union(windows: &[Window]) -> Option<Window> {
    let (first, rest) = windows.split_first()?;
    let mut all = *first;
    for window in rest {
        all.timeout = all.timeout.filter(|timeout| window.timeout == Some(*timeout));
        all.from = all.from.min(window.from);
        all.to = all.to.max(window.to);
    }
    Some(all)
}

/// Finds the special value with this text, or with the same value: `0s` is `0`, and `negative` is every negative value.
fn special_of(special: &[(String, Outcome)], format: Format, value: &str) -> Option<Outcome> {
    let same =
        |known: &str, name: &str| known == name || format == Format::Word && known.eq_ignore_ascii_case(name);
    let named = |name: &str| special.iter().find(|(known, _)| same(known, name)).map(|(_, outcome)| *outcome);
    named(value).or_else(|| match format.read(value) {
        Some(Parsed::Time(Duration::ZERO)) => named("0"),
        Some(Parsed::Negative) => named("negative"),
        Some(Parsed::Time(_) | Parsed::Word) | None => None,
    })
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::After { from, to } if from != to => {
            format!("after {} s to {} s", from.as_secs(), to.as_secs())
        }
        Outcome::After { from, .. } => format!("after {} s", from.as_secs()),
        Outcome::Never => "never".to_owned(),
        Outcome::EachResponse => "after each response".to_owned(),
        Outcome::Default | Outcome::Unset | Outcome::Unknown => "after an unknown time".to_owned(),
    }
}
