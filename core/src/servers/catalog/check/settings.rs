//! Checks raw settings and defaults.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::{Mistakes, Names, exact};
use crate::servers::catalog::{
    entry::{Effect, Flag, Grade, IdleDefault, Obeys, Outcome, Setting, Source},
    format::{Format, Parsed},
    raw::{RawDefault, RawSetting},
    version::Versions,
};

/// The purpose of a setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// Sets the idle timeout.
    Idle,
    /// Sets the idle timeout of the listener whose name replaces `<name>`.
    IdleOfOne,
    /// Selects a mode.
    Mode,
    /// Names a port or a path.
    Name,
}

impl Mistakes {
    pub(super) fn settings(&mut self, raw: Vec<Spanned<RawSetting>>, names: &Names) -> Vec<Setting> {
        exact(raw.into_iter().filter_map(|setting| self.setting(setting, names, Use::Idle)))
    }

    pub(super) fn settings_of_one(&mut self, raw: Vec<Spanned<RawSetting>>, names: &Names) -> Vec<Setting> {
        exact(raw.into_iter().filter_map(|setting| self.setting(setting, names, Use::IdleOfOne)))
    }

    pub(super) fn naming(&mut self, raw: Vec<Spanned<RawSetting>>, names: &Names) -> Vec<Setting> {
        exact(raw.into_iter().filter_map(|setting| self.setting(setting, names, Use::Name)))
    }

    pub(super) fn setting(
        &mut self,
        raw: Spanned<RawSetting>,
        names: &Names,
        used_for: Use,
    ) -> Option<Setting> {
        let mut sources = sources(&raw.value);
        if sources.len() != 1 {
            let places = "flag, argument, env, property, spring, mount, subcommand, file";
            self.add(&raw, format!("a setting needs exactly one of {places}"));
        }
        let source = sources.pop()?;
        if matches!(&source, Source::Flag { names, .. } if names.iter().any(is_inconsistent)) {
            self.add(
                &raw,
                "a flag must start with a dash or a slash, and its brackets must be closed".to_owned(),
            );
        }
        let files = raw.value.file.iter().chain(&raw.value.unless_file);
        for file in files.filter(|file| !names.files.contains(&file.value)) {
            self.add(file, format!("there is no file {}", file.value));
        }
        if raw.value.file.is_some() != raw.value.key.is_some() {
            self.add(&raw, "file and key must be used together".to_owned());
        }
        let effect = self.effect(&raw, used_for);
        let of_one = matches!(used_for, Use::IdleOfOne | Use::Name);
        if has_gap(&source) && !of_one && !matches!(effect, Effect::Part(_) | Effect::Nothing) {
            self.add(
                &raw,
                "a name with a <gap> stands for one of several settings, so it needs sets: part".to_owned(),
            );
        }
        let setting = raw.value;
        let versions = self.versions(setting.versions.as_ref());
        let modes = self.known(setting.modes, names);
        Some(Setting {
            source,
            first_wins: setting.first_wins,
            directive: setting.directive,
            unless_flags: setting.unless_flags,
            unless_file: setting.unless_file.map(|file| file.value),
            versions,
            modes,
            effect,
            likely: setting.likely,
        })
    }

    fn effect(&mut self, raw: &Spanned<RawSetting>, used_for: Use) -> Effect {
        let setting = &raw.value;
        match setting.sets.as_ref().map(|sets| (sets.value.as_str(), sets)) {
            Some(("file", _)) => Effect::File,
            Some(("nothing", _)) => Effect::Nothing,
            Some((sets @ ("doubt" | "part"), at)) => {
                if setting.why.is_none() {
                    self.add(at, format!("a setting with sets: {sets} needs why"));
                }
                let why = setting.why.clone().unwrap_or_default();
                if sets == "part" { Effect::Part(why) } else { Effect::Unknown(why) }
            }
            Some((other, at)) if other != "idle" => {
                let known = "idle, file, doubt, part, nothing";
                self.add(at, format!("unknown value {other:?} of sets; expected one of {known}"));
                Effect::File
            }
            Some(_) | None => match used_for {
                Use::Name => Effect::Names,
                Use::Mode => {
                    if setting.values.is_empty() && setting.otherwise.is_none() {
                        self.add(raw, "a choice of mode needs values or otherwise".to_owned());
                    }
                    let values =
                        setting.values.iter().map(|(value, mode)| (value.clone(), mode.clone())).collect();
                    Effect::Mode { values, otherwise: setting.otherwise.clone() }
                }
                Use::Idle | Use::IdleOfOne => self.idle(raw),
            },
        }
    }

    fn idle(&mut self, raw: &Spanned<RawSetting>) -> Effect {
        let setting = &raw.value;
        let format = setting.format.as_ref().map(|name| (name, Format::find(&name.value)));
        let format = match format {
            Some((_, Some(format))) => format,
            Some((name, None)) => {
                let known = Format::ALL.map(Format::as_str).join(", ");
                self.add(name, format!("unknown format {}; expected one of {known}", name.value));
                Format::Word
            }
            None => {
                self.add(raw, "a setting of the idle timeout needs a format".to_owned());
                Format::Word
            }
        };
        let special =
            setting.special.iter().map(|(value, outcome)| (value.clone(), self.outcome(outcome))).collect();
        let plus_versions = self.versions(setting.plus_versions.as_ref());
        let plus = setting.plus.as_ref().map(|plus| (self.duration(plus), plus_versions));
        Effect::Idle { format, special, plus }
    }

    pub(super) fn versions(&mut self, raw: Option<&Spanned<String>>) -> Option<Versions> {
        let raw = raw?;
        let versions = Versions::parse(&raw.value);
        if versions.is_none() {
            self.add(raw, format!("{:?} is not a version range such as >=2.5 <3 || >=4", raw.value));
        }
        versions
    }

    fn duration(&mut self, raw: &Spanned<String>) -> Duration {
        duration(&raw.value).unwrap_or_else(|| {
            self.add(raw, format!("{:?} is not a duration such as 5s or 1m30s", raw.value));
            Duration::ZERO
        })
    }

    fn outcome(&mut self, raw: &Spanned<String>) -> Outcome {
        match raw.value.as_str() {
            "never" => Outcome::Never,
            "each-response" => Outcome::EachResponse,
            "default" => Outcome::Default,
            "unset" => Outcome::Unset,
            "unknown" => Outcome::Unknown,
            window => match window.split_once("..").map(|(from, to)| (duration(from), duration(to))) {
                Some((Some(from), Some(to))) if from < to => Outcome::After { from, to },
                Some(_) => {
                    self.add(raw, format!("{window:?} is not a window such as 65s..75s"));
                    Outcome::Unknown
                }
                None => Outcome::after(self.duration(raw)),
            },
        }
    }

    pub(super) fn idle_default(&mut self, raw: Spanned<RawDefault>, names: &Names) -> IdleDefault {
        let outcome = self.outcome(&raw.value.closes);
        let source = self.source(&raw, outcome);
        let grade = self.grade(&raw, outcome);
        let files = raw.value.file.iter().chain(&raw.value.settled_by);
        for file in files.filter(|file| !names.files.contains(&file.value)) {
            self.add(file, format!("there is no file {}", file.value));
        }
        let default = raw.value;
        let obeys = match default.obeys.as_ref().map(|obeys| (obeys.value.as_str(), obeys)) {
            None | Some(("all", _)) => Obeys::All,
            Some(("special", _)) => Obeys::Special,
            Some(("nothing", _)) => Obeys::Nothing,
            Some((other, at)) => {
                self.add(
                    at,
                    format!("unknown value {other:?} of obeys; expected one of all, special, nothing"),
                );
                Obeys::All
            }
        };
        IdleDefault {
            outcome,
            late: default.late.as_ref().map_or(Duration::ZERO, |late| self.duration(late)),
            early: default.early.as_ref().map_or(Duration::ZERO, |early| self.duration(early)),
            versions: self.versions(default.versions.as_ref()),
            assumed: default.assumed,
            modes: self.known(default.modes, names),
            own_image: default.own_image,
            file: default.file.map(|file| file.value),
            obeys,
            source,
            grade,
            settled_by: default.settled_by.map(|file| file.value),
            raise: default.raise,
        }
    }

    fn source(&mut self, raw: &Spanned<RawDefault>, outcome: Outcome) -> String {
        match (outcome, &raw.value.source, &raw.value.why) {
            (Outcome::Unknown, _, Some(why)) => why.clone(),
            (Outcome::Unknown, _, None) => {
                self.add(raw, "a default of unknown needs why".to_owned());
                String::new()
            }
            (Outcome::Default | Outcome::Unset, ..) => {
                self.add(raw, format!("closes: {} is not a valid default", raw.value.closes.value));
                String::new()
            }
            (_, Some(source), _) if !source.trim().is_empty() => source.clone(),
            (Outcome::After { .. } | Outcome::Never | Outcome::EachResponse, ..) => {
                self.add(raw, format!("closes: {} has no source", raw.value.closes.value));
                String::new()
            }
        }
    }

    fn grade(&mut self, raw: &Spanned<RawDefault>, outcome: Outcome) -> Grade {
        let sentence = |text: &Option<Spanned<String>>| {
            text.as_ref().map(|text| text.value.clone()).filter(|text| !text.trim().is_empty())
        };
        match (sentence(&raw.value.certain), sentence(&raw.value.likely)) {
            (Some(why), None) => Grade::Certain(why),
            (None, Some(why)) => Grade::Likely(why),
            (None, None) if outcome == Outcome::Unknown => Grade::Certain(String::new()),
            (None, None) | (Some(_), Some(_)) => {
                let closes = &raw.value.closes.value;
                let grades = "certain or likely, with the reason";
                self.add(raw, format!("closes: {closes} has no grade; add {grades}"));
                Grade::Likely(String::new())
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    match Format::Go.read(text) {
        Some(Parsed::Time(time)) => Some(time),
        Some(Parsed::Negative | Parsed::Word) | None => None,
    }
}

/// The sources of a setting.
fn sources(raw: &RawSetting) -> Vec<Source> {
    let mut sources = Vec::new();
    if !raw.flag.is_empty() {
        let names = raw.flag.iter().map(|name| Flag::parse(name)).collect();
        sources.push(Source::Flag { names, glued: raw.glued, bare: raw.bare.clone() });
    }
    let lists = [
        (&raw.argument, Source::Argument as fn(Vec<String>) -> Source),
        (&raw.env, Source::Env),
        (&raw.property, Source::Property),
        (&raw.spring, Source::Spring),
        (&raw.mount, Source::Mount),
    ];
    let named = lists.into_iter().filter(|(names, _)| !names.is_empty());
    sources.extend(named.map(|(names, of)| of(names.clone())));
    if raw.subcommand {
        sources.push(Source::Subcommand);
    }
    if let Some(file) = &raw.file {
        sources.push(Source::File { name: file.value.clone(), key: raw.key.clone().unwrap_or_default() });
    }
    sources
}

fn is_inconsistent(flag: &Flag) -> bool {
    !flag.full.starts_with(['-', '/']) || flag.full.contains(['[', ']'])
}

/// Whether a name contains a placeholder such as `<name>`.
fn has_gap(source: &Source) -> bool {
    let has_gap = |name: &String| name.contains('<');
    match source {
        Source::Flag { names, .. } => names.iter().any(|flag| has_gap(&flag.full)),
        Source::Argument(names) | Source::Env(names) | Source::Property(names) | Source::Spring(names) => {
            names.iter().any(has_gap)
        }
        Source::File { key, .. } => has_gap(key),
        Source::Mount(_) | Source::Subcommand => false,
    }
}

impl Flag {
    fn parse(text: &str) -> Self {
        match text.split_once('[').and_then(|(head, tail)| Some((head, tail.strip_suffix(']')?))) {
            Some((head, tail)) => Self { full: format!("{head}{tail}"), shortest: head.len() },
            None => Self { full: text.to_owned(), shortest: text.len() },
        }
    }
}
