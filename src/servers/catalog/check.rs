//! Raw entries -> servers: every mistake, each with its line.

use std::{collections::BTreeSet, time::Duration};

use serde_saphyr::Spanned;

use super::{
    CatalogError, Flag, IdleDefault, Mode, ModeStep, Obeys, Outcome, Server, Sets, Setting, Sign, SignKind,
    Source, Strength,
    format::{Format, Reading},
    raw::{RawDefault, RawMode, RawServer, RawSetting, RawSigns},
    version::Versions,
};

/// Checks entries that join `known` ones.
pub(super) fn servers(
    known: &[Server],
    raw: Vec<Spanned<RawServer>>,
) -> Result<Vec<Server>, Vec<CatalogError>> {
    let mut mistakes = Mistakes::default();
    let ids: Vec<String> = raw.iter().map(|server| server.value.id.value.clone()).collect();
    let mut servers = Vec::new();
    for (at, raw) in raw.into_iter().enumerate() {
        let RawServer { id, refines, .. } = &raw.value;
        if id.value.is_empty()
            || !id.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        {
            mistakes.add(id, format!("id {:?} is not made of a-z, 0-9 and dashes", id.value));
        }
        if ids[..at].contains(&id.value) {
            mistakes.add(id, format!("id {} is there twice", id.value));
        }
        if let Some(general) = refines {
            let there = ids.contains(&general.value) || known.iter().any(|server| server.id == general.value);
            if !there {
                mistakes.add(general, format!("refines {}, which is not there", general.value));
            }
        }
        servers.push(mistakes.server(raw));
    }
    if mistakes.0.is_empty() { Ok(servers) } else { Err(mistakes.sorted()) }
}

#[derive(Default)]
struct Mistakes(Vec<CatalogError>);

impl Mistakes {
    fn add<T>(&mut self, at: &Spanned<T>, message: String) {
        self.0.push(CatalogError { line: at.referenced.line(), message });
    }

    fn sorted(mut self) -> Vec<CatalogError> {
        self.0.sort_by_key(|mistake| mistake.line);
        self.0
    }

    fn server(&mut self, raw: Spanned<RawServer>) -> Server {
        let raw = raw.value;
        let mut signs = self.signs(&raw.reliable, Strength::Reliable);
        signs.extend(self.signs(&raw.hints, Strength::Hint));
        if signs.is_empty() {
            self.add(&raw.id, format!("nothing tells how {} is recognised", raw.id.value));
        }
        if raw.idle.is_empty() {
            self.add(&raw.id, format!("{} has no default under idle", raw.id.value));
        }
        let modes = raw.mode.as_ref().map(modes).unwrap_or_default();
        let mode = raw.mode.map(|mode| self.mode(mode, &modes));
        let settings =
            raw.settings.into_iter().filter_map(|setting| self.setting(setting, &modes, false)).collect();
        let defaults = raw.idle.into_iter().map(|default| self.idle_default(default, &modes)).collect();
        Server {
            id: raw.id.value,
            name: raw.name,
            runtime: raw.runtime,
            refines: raw.refines.map(|refines| refines.value),
            doubt: raw.doubt,
            signs,
            version_from: raw.version_from,
            entrypoint: raw.entrypoint,
            ignore_case: raw.ignore_case,
            arguments_env: raw.arguments_env,
            java_options_env: raw.java_options_env,
            mode,
            settings,
            defaults,
        }
    }

    fn signs(&mut self, raw: &RawSigns, strength: Strength) -> Vec<Sign> {
        let kinds = [
            (SignKind::Image, &raw.images),
            (SignKind::Command, &raw.commands),
            (SignKind::Module, &raw.modules),
            (SignKind::Jar, &raw.jars),
            (SignKind::Class, &raw.classes),
            (SignKind::Setting, &raw.settings),
        ];
        let mut signs = Vec::new();
        for (kind, texts) in kinds {
            for text in texts {
                signs.extend(self.sign(kind, text, strength));
            }
        }
        signs
    }

    fn sign(&mut self, kind: SignKind, spanned: &Spanned<String>, strength: Strength) -> Option<Sign> {
        let (text, tag) = match spanned.value.split_once(' ') {
            Some((text, tag)) if kind == SignKind::Image => (text, tag),
            Some(_) | None => (spanned.value.as_str(), ""),
        };
        if kind == SignKind::Image && !text.split('/').next().is_some_and(|host| host.contains(['.', ':'])) {
            self.add(spanned, format!("image {text} does not name its registry"));
        }
        let tag = tag.split_whitespace().map(|word| match word.split_at_checked(1) {
            Some(("+", word)) => Some((word.to_owned(), true)),
            Some(("-", word)) => Some((word.to_owned(), false)),
            Some(_) | None => None,
        });
        let Some(tag) = tag.collect::<Option<Vec<_>>>() else {
            self.add(spanned, format!("{:?}: after an image come +word or -word of its tag", spanned.value));
            return None;
        };
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if text.is_empty() || text.contains('*') {
            self.add(spanned, format!("{:?} is no sign: an asterisk may only end it", spanned.value));
            return None;
        }
        if kind == SignKind::Setting && strength == Strength::Reliable {
            self.add(spanned, format!("setting {text} can only be a hint"));
        }
        Some(Sign { kind, text: text.to_owned(), prefix, strength, tag })
    }

    fn mode(&mut self, raw: RawMode, modes: &BTreeSet<String>) -> Mode {
        let steps = raw.steps.into_iter().map(|step| ModeStep {
            when: self.known(step.when, modes),
            choices: step
                .choices
                .into_iter()
                .filter_map(|choice| self.setting(choice, modes, true))
                .collect(),
        });
        Mode { start: raw.start, steps: steps.collect() }
    }

    fn known(&mut self, names: Vec<Spanned<String>>, modes: &BTreeSet<String>) -> Vec<String> {
        for name in &names {
            if !modes.contains(&name.value) {
                self.add(name, format!("no mode is named {}", name.value));
            }
        }
        names.into_iter().map(|name| name.value).collect()
    }

    fn versions(&mut self, raw: Option<&Spanned<String>>) -> Option<Versions> {
        let raw = raw?;
        let versions = Versions::parse(&raw.value);
        if versions.is_none() {
            self.add(raw, format!("{:?} is no range of versions, such as >=2.5 <3 || >=4", raw.value));
        }
        versions
    }

    fn duration(&mut self, raw: &Spanned<String>) -> Duration {
        if let Some(Reading::Time(time)) = Format::Go.read(&raw.value) {
            return time;
        }
        self.add(raw, format!("{:?} is no duration, such as 5s or 1m30s", raw.value));
        Duration::ZERO
    }

    fn outcome(&mut self, raw: &Spanned<String>) -> Outcome {
        match raw.value.as_str() {
            "never" => Outcome::Never,
            "each-response" => Outcome::EachResponse,
            "default" => Outcome::Default,
            "unset" => Outcome::Unset,
            "unknown" => Outcome::Unknown,
            _ => Outcome::After(self.duration(raw)),
        }
    }

    fn setting(
        &mut self,
        raw: Spanned<RawSetting>,
        modes: &BTreeSet<String>,
        chooses: bool,
    ) -> Option<Setting> {
        let mut sources = sources(&raw.value);
        if sources.len() != 1 {
            let places = "flag, argument, env, property, spring, mount, subcommand";
            self.add(&raw, format!("a setting needs exactly one of {places}"));
        }
        let source = sources.pop()?;
        if matches!(&source, Source::Flag { names, .. } if names.iter().any(odd)) {
            self.add(&raw, "a flag starts with a dash or a slash, and its brackets close".to_owned());
        }
        let sets = self.sets(&raw, chooses);
        if has_gap(&source) && !matches!(sets, Sets::Part(_)) {
            self.add(&raw, "a name with a <gap> is that of one of several: it sets part".to_owned());
        }
        let setting = raw.value;
        let versions = self.versions(setting.versions.as_ref());
        let modes = self.known(setting.modes, modes);
        Some(Setting {
            source,
            first_wins: setting.first_wins,
            directive: setting.directive,
            unless_flags: setting.unless_flags,
            versions,
            modes,
            sets,
        })
    }

    fn sets(&mut self, raw: &Spanned<RawSetting>, chooses: bool) -> Sets {
        let setting = &raw.value;
        match setting.sets.as_ref().map(|sets| (sets.value.as_str(), sets)) {
            Some(("file", _)) => Sets::File,
            Some((sets @ ("doubt" | "part"), at)) => {
                if setting.why.is_none() {
                    self.add(at, format!("a setting that sets {sets} says why"));
                }
                let why = setting.why.clone().unwrap_or_default();
                if sets == "part" { Sets::Part(why) } else { Sets::Doubt(why) }
            }
            Some((other, at)) if other != "idle" => {
                self.add(at, format!("{other:?} is nothing that a setting sets: idle, file, doubt or part"));
                Sets::File
            }
            Some(_) | None if chooses => {
                if setting.values.is_empty() && setting.otherwise.is_none() {
                    self.add(raw, "a choice of mode needs values or otherwise".to_owned());
                }
                let values =
                    setting.values.iter().map(|(value, mode)| (value.clone(), mode.clone())).collect();
                Sets::Mode { values, otherwise: setting.otherwise.clone() }
            }
            Some(_) | None => self.sets_idle(raw),
        }
    }

    fn sets_idle(&mut self, raw: &Spanned<RawSetting>) -> Sets {
        let setting = &raw.value;
        let format = setting.format.as_ref().map(|name| (name, Format::find(&name.value)));
        let format = match format {
            Some((_, Some(format))) => format,
            Some((name, None)) => {
                let known = Format::ALL.map(Format::as_str).join(", ");
                self.add(name, format!("no format is named {}; there are {known}", name.value));
                Format::Word
            }
            None => {
                self.add(raw, "a setting of the idle timeout needs its format".to_owned());
                Format::Word
            }
        };
        let special =
            setting.special.iter().map(|(value, outcome)| (value.clone(), self.outcome(outcome))).collect();
        let plus_versions = self.versions(setting.plus_versions.as_ref());
        let plus = setting.plus.as_ref().map(|plus| (self.duration(plus), plus_versions));
        Sets::Idle { format, special, plus }
    }

    fn idle_default(&mut self, raw: Spanned<RawDefault>, modes: &BTreeSet<String>) -> IdleDefault {
        let outcome = self.outcome(&raw.value.closes);
        let source = match (outcome, &raw.value.source, &raw.value.why) {
            (Outcome::Unknown, _, Some(why)) => why.clone(),
            (Outcome::Unknown, _, None) => {
                self.add(&raw, "a default that is not known says why".to_owned());
                String::new()
            }
            (Outcome::Default | Outcome::Unset, ..) => {
                self.add(&raw, format!("closes: {} is no default", raw.value.closes.value));
                String::new()
            }
            (_, Some(source), _) if !source.trim().is_empty() => source.clone(),
            (Outcome::After(_) | Outcome::Never | Outcome::EachResponse, ..) => {
                self.add(&raw, format!("closes: {} has no source", raw.value.closes.value));
                String::new()
            }
        };
        let default = raw.value;
        let obeys = match default.obeys.as_ref().map(|obeys| (obeys.value.as_str(), obeys)) {
            None | Some(("all", _)) => Obeys::All,
            Some(("special", _)) => Obeys::Special,
            Some(("nothing", _)) => Obeys::Nothing,
            Some((other, at)) => {
                self.add(at, format!("{other:?} is nothing that a default obeys: all, special or nothing"));
                Obeys::All
            }
        };
        IdleDefault {
            outcome,
            late: default.late.as_ref().map_or(Duration::ZERO, |late| self.duration(late)),
            versions: self.versions(default.versions.as_ref()),
            assumed: default.assumed,
            modes: self.known(default.modes, modes),
            own_image: default.own_image,
            obeys,
            source,
        }
    }
}

/// Every mode that the steps can lead to.
fn modes(raw: &RawMode) -> BTreeSet<String> {
    let choices = raw.steps.iter().flat_map(|step| &step.choices);
    let led_to = choices.flat_map(|choice| choice.value.values.values().chain(&choice.value.otherwise));
    led_to.chain([&raw.start]).cloned().collect()
}

/// The places of a setting.
fn sources(raw: &RawSetting) -> Vec<Source> {
    let mut sources = Vec::new();
    if !raw.flag.is_empty() {
        let names = raw.flag.iter().map(|name| Flag::parse(name)).collect();
        sources.push(Source::Flag { names, glued: raw.glued, bare: raw.bare.clone() });
    }
    if !raw.argument.is_empty() {
        sources.push(Source::Argument(raw.argument.clone()));
    }
    if !raw.env.is_empty() {
        sources.push(Source::Env(raw.env.clone()));
    }
    if !raw.property.is_empty() {
        sources.push(Source::Property(raw.property.clone()));
    }
    if !raw.spring.is_empty() {
        sources.push(Source::Spring(raw.spring.clone()));
    }
    if !raw.mount.is_empty() {
        sources.push(Source::Mount(raw.mount.clone()));
    }
    if raw.subcommand {
        sources.push(Source::Subcommand);
    }
    sources
}

fn odd(flag: &Flag) -> bool {
    !flag.full.starts_with(['-', '/']) || flag.full.contains(['[', ']'])
}

/// Whether a name has a `<gap>` in which any word may stand.
fn has_gap(source: &Source) -> bool {
    let has_gap = |name: &String| name.contains('<');
    match source {
        Source::Flag { names, .. } => names.iter().any(|flag| has_gap(&flag.full)),
        Source::Argument(names) | Source::Env(names) | Source::Property(names) | Source::Spring(names) => {
            names.iter().any(has_gap)
        }
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
