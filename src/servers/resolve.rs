//! What a recognised server does with idle connections.
//!
//! Turns its settings, the strongest first, and its defaults into an [`Idle`]. Whatever might decide and cannot be read
//! makes the answer unknown, never the default.

use std::time::Duration;

use super::{
    catalog::{Fit, Format, IdleDefault, Obeys, Outcome, Reading, Server, Sets, Setting, Versions},
    idle::{Evidence, Idle, Why, Window},
    recognise::{WAY_OUT, shorten},
    settings::{Reader, Value},
};
use crate::workload::pod::Pod;

/// Works out the answer for what `reader` reads.
pub(super) fn resolve(reader: &Reader<'_, '_>, pod: &Pod<'_>) -> Idle {
    Resolver { reader, pod, server: reader.found.server }.idle().unwrap_or_else(|why| Idle::Unknown(Why(why)))
}

struct Resolver<'a, 'c> {
    reader: &'a Reader<'a, 'c>,
    pod: &'a Pod<'a>,
    server: &'c Server,
}

/// A sentence about what cannot be known, with the way out.
fn why(fact: &str) -> String {
    let longest = 200 - WAY_OUT.len() - 2;
    let fact: String = fact.chars().take(longest).collect();
    format!("{fact}; {WAY_OUT}")
}

impl<'c> Resolver<'_, 'c> {
    fn idle(&self) -> Result<Idle, String> {
        let mode = self.mode()?;
        let defaults = self.defaults(mode);
        let obeys_nothing =
            !defaults.is_empty() && defaults.iter().all(|default| default.obeys == Obeys::Nothing);
        if !obeys_nothing {
            for setting in self.server.settings.iter().filter(|setting| self.acts(setting, mode)) {
                match self.setting(setting, &defaults)? {
                    Effect::Nothing => {}
                    Effect::Default => break,
                    Effect::Idle(idle) => return Ok(idle),
                }
            }
        }
        self.default(&defaults, mode)
    }

    fn fits(&self, versions: Option<&Versions>) -> Fit {
        versions.map_or(Fit::Yes, |versions| versions.fit(self.reader.found.version.as_ref()))
    }

    /// A setting of newer releases acts unless the version is known to be older.
    fn acts(&self, setting: &Setting, mode: Option<&str>) -> bool {
        holds(&setting.modes, mode) && self.fits(setting.versions.as_ref()) != Fit::No
    }

    fn mode(&self) -> Result<Option<&'c str>, String> {
        let Some(choice) = &self.server.mode else { return Ok(None) };
        let mut mode = choice.start.as_str();
        for step in &choice.steps {
            if !holds(&step.when, Some(mode)) {
                continue;
            }
            for setting in step.choices.iter().filter(|setting| self.acts(setting, Some(mode))) {
                if let Some(chosen) = self.chosen(setting)? {
                    mode = chosen;
                    break;
                }
            }
        }
        Ok(Some(mode))
    }

    /// The mode that a setting chooses, if it is set.
    fn chosen(&self, setting: &'c Setting) -> Result<Option<&'c str>, String> {
        let (value, text) = match self.reader.read(setting) {
            Value::Absent => return Ok(None),
            Value::Unknown(fact) => return Err(why(&fact)),
            Value::Set { value, text, .. } => (value, shorten(&text)),
        };
        match &setting.sets {
            Sets::Mode { values, otherwise } => {
                let named = values.iter().find(|(known, _)| *known == value).map(|(_, mode)| mode);
                let mode = named.or(otherwise.as_ref());
                mode.map(|mode| Some(mode.as_str()))
                    .ok_or_else(|| why(&format!("we do not know what {} does with {text}", self.server.id)))
            }
            Sets::File => Err(why(&format!("{text}: that file may choose how {} works", self.server.id))),
            Sets::Doubt(fact) | Sets::Part(fact) => Err(why(&format!("{text}: {fact}"))),
            Sets::Idle { .. } => Ok(None),
        }
    }

    /// The defaults that may hold: one, unless the version leaves it open.
    fn defaults(&self, mode: Option<&str>) -> Vec<&'c IdleDefault> {
        let mut open = Vec::new();
        for default in &self.server.defaults {
            let known_image = !default.own_image || self.reader.found.own_image;
            if !holds(&default.modes, mode) || !known_image {
                continue;
            }
            match self.fits(default.versions.as_ref()) {
                Fit::No => {}
                Fit::Unsure if !default.assumed => open.push(default),
                Fit::Unsure | Fit::Yes => {
                    open.push(default);
                    break;
                }
            }
        }
        open
    }

    fn setting(&self, setting: &Setting, defaults: &[&IdleDefault]) -> Result<Effect, String> {
        let (value, text, at) = match self.reader.read(setting) {
            Value::Absent => return Ok(Effect::Nothing),
            Value::Unknown(fact) => return Err(why(&fact)),
            Value::Set { value, text, at } => (value, text, at),
        };
        let (format, special, plus) = match &setting.sets {
            Sets::Idle { format, special, plus } => (*format, special, plus),
            Sets::File => return Err(why(&format!("{}: a file may set the idle timeout", shorten(&text)))),
            Sets::Doubt(fact) | Sets::Part(fact) => {
                return Err(why(&format!("{}: {fact}", shorten(&text))));
            }
            Sets::Mode { .. } => return Ok(Effect::Nothing),
        };
        let evidence =
            Evidence::SetBy { at: at.pointer(self.pod, self.reader.container), text: text.clone() };
        if let Some(outcome) = special_of(special, format, &value) {
            return self.outcome(outcome, evidence, defaults, &text);
        }
        if defaults.iter().any(|default| default.obeys != Obeys::All) {
            return Ok(Effect::Nothing);
        }
        match format.read(&value) {
            Some(Reading::Word) => Ok(Effect::Nothing),
            Some(Reading::Time(timeout)) => {
                let mut window = self.window(timeout, defaults);
                if let Some((plus, versions)) = plus {
                    let fit = self.fits(versions.as_ref());
                    window.from += if fit == Fit::Yes { *plus } else { Duration::ZERO };
                    window.to += if fit == Fit::No { Duration::ZERO } else { *plus };
                }
                Ok(Effect::Idle(Idle::ClosesAfter(window, evidence)))
            }
            Some(Reading::Negative) | None => {
                let text = shorten(&text);
                Err(why(&format!(
                    "we cannot read {text} as {} in the way of {}",
                    format.as_str(),
                    self.server.id
                )))
            }
        }
    }

    fn outcome(
        &self,
        outcome: Outcome,
        evidence: Evidence,
        defaults: &[&IdleDefault],
        text: &str,
    ) -> Result<Effect, String> {
        Ok(match outcome {
            Outcome::After(timeout) => {
                Effect::Idle(Idle::ClosesAfter(self.window(timeout, defaults), evidence))
            }
            Outcome::Never => Effect::Idle(Idle::NeverCloses(evidence)),
            Outcome::EachResponse => Effect::Idle(Idle::ClosesEachResponse(evidence)),
            Outcome::Default => Effect::Default,
            Outcome::Unset => Effect::Nothing,
            Outcome::Unknown => {
                return Err(why(&format!(
                    "we do not know what {} does with {}",
                    self.server.id,
                    shorten(text)
                )));
            }
        })
    }

    fn window(&self, timeout: Duration, defaults: &[&IdleDefault]) -> Window {
        let late = defaults.iter().map(|default| default.late).max().unwrap_or_default();
        Window { timeout, from: timeout, to: timeout + late }
    }

    fn default(&self, defaults: &[&IdleDefault], mode: Option<&str>) -> Result<Idle, String> {
        let Some(default) = defaults.first() else {
            return Err(why(&format!("we know no default of this release of {}", self.server.id)));
        };
        if defaults.iter().any(|other| (other.outcome, other.late) != (default.outcome, default.late)) {
            let mut words: Vec<String> = defaults.iter().map(|default| words(default.outcome)).collect();
            words.dedup();
            let words = words.join(" or ").replace(" or after ", " or ");
            return Err(why(&match &self.server.doubt {
                Some(doubt) => format!("{}: {doubt}", self.server.id),
                None => format!("{} closes idle connections {words} by version", self.server.id),
            }));
        }
        let mode = mode.map_or_else(String::new, |mode| format!(" ({mode})"));
        let version = self.reader.found.version.as_ref();
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        let server = format!("{}{mode}{version}", self.server.id);
        let evidence = Evidence::DefaultOf { server, source: default.source.clone() };
        match default.outcome {
            Outcome::After(timeout) => Ok(Idle::ClosesAfter(self.window(timeout, &[*default]), evidence)),
            Outcome::Never => Ok(Idle::NeverCloses(evidence)),
            Outcome::EachResponse => Ok(Idle::ClosesEachResponse(evidence)),
            Outcome::Default | Outcome::Unset | Outcome::Unknown => Err(why(&default.source)),
        }
    }
}

/// What one setting says.
enum Effect {
    Nothing,
    Default,
    Idle(Idle),
}

/// Whether something bound to modes holds in this one; an empty list is bound to none.
fn holds(modes: &[String], mode: Option<&str>) -> bool {
    modes.is_empty() || mode.is_some_and(|mode| modes.iter().any(|known| known == mode))
}

/// A special value is written as in the catalog, or reads the same: `0s` is `0`, and `negative` is every value below.
fn special_of(special: &[(String, Outcome)], format: Format, value: &str) -> Option<Outcome> {
    let same =
        |known: &str, name: &str| known == name || format == Format::Word && known.eq_ignore_ascii_case(name);
    let named = |name: &str| special.iter().find(|(known, _)| same(known, name)).map(|(_, outcome)| *outcome);
    named(value).or_else(|| match format.read(value) {
        Some(Reading::Time(Duration::ZERO)) => named("0"),
        Some(Reading::Negative) => named("negative"),
        Some(Reading::Time(_) | Reading::Word) | None => None,
    })
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::After(timeout) => format!("after {} s", timeout.as_secs()),
        Outcome::Never => "never".to_owned(),
        Outcome::EachResponse => "after each response".to_owned(),
        Outcome::Default | Outcome::Unset | Outcome::Unknown => "at a time we do not know".to_owned(),
    }
}
