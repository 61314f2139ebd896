//! Checks raw entries, and reports every mistake with its line.
//!
//! This module checks signs, products, files and listeners; `settings` checks settings and defaults.

mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::{
    CatalogError,
    entry::{ConfigFile, Listener, Mode, ModeStep, Product, Server, Sign, SignKind, Strength, Templates},
    raw::{RawFile, RawListener, RawMode, RawProduct, RawServer, RawSigns},
};
use crate::servers::settings::FileFormat;

/// Checks entries that are added to `known` ones. Each comes with the name of its family.
pub(super) fn servers<'f>(
    known: &[Server],
    raw: impl Iterator<Item = (&'f str, Spanned<RawServer>)>,
) -> Result<Vec<Server>, Vec<CatalogError>> {
    let mut mistakes = Mistakes::default();
    let mut ids = BTreeSet::new();
    let mut refined = Vec::new();
    let mut servers = Vec::new();
    for (family, raw) in raw {
        let RawServer { id, refines, .. } = &raw.value;
        if id.value.is_empty()
            || !id
                .value
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        {
            mistakes.add(id, format!("id {:?} may contain only a-z, 0-9, dashes and underscores", id.value));
        }
        if !ids.insert(id.value.clone()) {
            mistakes.add(id, format!("id {} is used twice", id.value));
        }
        refined.extend(refines.clone());
        servers.push(mistakes.server(family, raw));
    }
    for general in refined {
        let there = ids.contains(&general.value) || known.iter().any(|server| server.id == general.value);
        if !there {
            mistakes.add(&general, format!("refines {}, which does not exist", general.value));
        }
    }
    if mistakes.0.is_empty() { Ok(servers) } else { Err(mistakes.sorted()) }
}

/// The names that the settings and defaults of an entry may refer to.
struct Names {
    modes: BTreeSet<String>,
    files: BTreeSet<String>,
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

    fn server(&mut self, family: &str, raw: Spanned<RawServer>) -> Server {
        let raw = raw.value;
        let mut signs = self.signs(&raw.reliable, Strength::Reliable, None);
        signs.extend(self.signs(&raw.hints, Strength::Hint, None));
        let mut products = Vec::new();
        for (at, product) in raw.products.into_iter().enumerate() {
            signs.extend(self.product_signs(&product, at));
            let RawProduct { name, source, ports, .. } = product.value;
            products.push(Product { name, source, ports });
        }
        if raw.idle.is_empty() {
            self.add(&raw.id, format!("{} has no default under idle", raw.id.value));
        }
        let names = Names {
            modes: raw.mode.as_ref().map(modes).unwrap_or_default(),
            files: raw.files.keys().cloned().collect(),
        };
        let mode = raw.mode.map(|mode| self.mode(mode, &names));
        let files = raw.files.into_iter().filter_map(|(name, file)| Some((name, self.file(file, &names)?)));
        let files: BTreeMap<_, _> = files.collect();
        let listeners = exact(raw.listeners.into_iter().map(|listener| self.listener(listener, &names)));
        let settings = self.settings(raw.settings, &names);
        let defaults = exact(raw.idle.into_iter().map(|default| self.idle_default(default, &names)));
        let templates = raw.templates.map(|raw| Templates { from: raw.from, to: raw.to, suffix: raw.suffix });
        Server {
            id: raw.id.value,
            name: raw.name,
            family: family.to_owned(),
            runtime: raw.runtime,
            refines: raw.refines.map(|refines| refines.value),
            doubt: raw.doubt,
            command_is_enough: raw.command_is_enough,
            signs,
            products,
            version_from: raw.version_from,
            version_env: raw.version_env,
            entrypoint: raw.entrypoint,
            takes_arguments: raw.takes_arguments,
            ignore_case: raw.ignore_case,
            arguments_env: raw.arguments_env,
            java_options_env: raw.java_options_env,
            mode,
            files,
            image_files: raw.image_files,
            templates,
            listeners,
            other_ports: raw.other_ports.map(|why| why.value),
            settings,
            defaults,
            raise: raw.raise,
            gotchas: raw.gotchas,
            sources: raw.sources,
        }
    }

    fn signs(&mut self, raw: &RawSigns, strength: Strength, product: Option<usize>) -> Vec<Sign> {
        let kinds = [
            (SignKind::Image, &raw.images),
            (SignKind::Command, &raw.commands),
            (SignKind::Module, &raw.modules),
            (SignKind::Jar, &raw.jars),
            (SignKind::Class, &raw.classes),
            (SignKind::Setting, &raw.settings),
            (SignKind::Flag, &raw.flags),
        ];
        let mut signs = Vec::new();
        for (kind, texts) in kinds {
            for text in texts {
                signs.extend(self.sign(kind, text, strength));
            }
        }
        for sign in &mut signs {
            sign.product = product;
        }
        signs
    }

    fn product_signs(&mut self, product: &Spanned<RawProduct>, at: usize) -> Vec<Sign> {
        let raw = &product.value;
        if raw.source.trim().is_empty() {
            self.add(product, format!("product {} has no source", raw.name));
        }
        let signs = RawSigns {
            images: raw.images.clone(),
            commands: raw.commands.clone(),
            modules: raw.modules.clone(),
            jars: raw.jars.clone(),
            classes: raw.classes.clone(),
            settings: raw.settings.clone(),
            flags: raw.flags.clone(),
        };
        let signs = self.signs(&signs, Strength::Reliable, Some(at));
        if signs.is_empty() {
            self.add(product, format!("{} needs at least one sign by which it is recognised", raw.name));
        }
        signs
    }

    fn sign(&mut self, kind: SignKind, spanned: &Spanned<String>, strength: Strength) -> Option<Sign> {
        let (text, tag) = match spanned.value.split_once(' ') {
            Some((text, tag)) if kind == SignKind::Image => (text, tag),
            Some(_) | None => (spanned.value.as_str(), ""),
        };
        let tag = tag.split_whitespace().map(|word| match word.split_at_checked(1) {
            Some(("+", word)) => Some((word.to_owned(), true)),
            Some(("-", word)) => Some((word.to_owned(), false)),
            Some(_) | None => None,
        });
        let Some(tag) = tag.collect::<Option<Vec<_>>>() else {
            self.add(
                spanned,
                format!("{:?}: after the image, only +word or -word of its tag may follow", spanned.value),
            );
            return None;
        };
        let (kind, text) = match text.strip_prefix("*/") {
            Some(name) if kind == SignKind::Image => (SignKind::ImageName, name),
            Some(_) | None => (kind, text),
        };
        if kind == SignKind::Image && !text.split('/').next().is_some_and(|host| host.contains(['.', ':'])) {
            self.add(spanned, format!("image {text} needs its registry"));
        }
        if kind == SignKind::Flag && !text.starts_with("--") {
            self.add(spanned, format!("flag {text} needs two dashes here"));
        }
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if text.is_empty() || text.contains('*') {
            self.add(
                spanned,
                format!("{:?} is not a valid sign: an asterisk is allowed only at the end", spanned.value),
            );
            return None;
        }
        if kind == SignKind::Setting && strength == Strength::Reliable && prefix {
            self.add(
                spanned,
                format!("setting {text}* can only be a hint, because many programs may read it"),
            );
        }
        Some(Sign { kind, text: text.to_owned(), prefix, strength, tag, product: None })
    }

    fn mode(&mut self, raw: RawMode, names: &Names) -> Mode {
        let steps = raw.steps.into_iter().map(|step| {
            let choices = step.choices.into_iter();
            let choices =
                exact(choices.filter_map(|choice| self.setting(choice, names, settings::Use::Mode)));
            ModeStep { when: self.known(step.when, names), choices }
        });
        Mode { start: raw.start, steps: exact(steps) }
    }

    fn known(&mut self, found: Vec<Spanned<String>>, names: &Names) -> Vec<String> {
        for name in &found {
            if !names.modes.contains(&name.value) {
                self.add(name, format!("there is no mode {}", name.value));
            }
        }
        exact(found.into_iter().map(|name| name.value))
    }

    fn file(&mut self, raw: Spanned<RawFile>, names: &Names) -> Option<ConfigFile> {
        let Some(format) = FileFormat::find(&raw.value.format.value) else {
            let known = FileFormat::ALL.map(FileFormat::as_str).join(", ");
            let found = &raw.value.format;
            self.add(found, format!("unknown file format {}; expected one of {known}", found.value));
            return None;
        };
        let named_by = self.naming(raw.value.named_by, names);
        Some(ConfigFile { format, at: raw.value.at, named_by, prefix: raw.value.prefix })
    }

    fn listener(&mut self, raw: Spanned<RawListener>, names: &Names) -> Listener {
        if raw.value.port.is_empty() && raw.value.default_port.is_empty() {
            self.add(&raw, format!("listener {} has neither port nor default_port", raw.value.name));
        }
        if raw.value.idle.is_empty() {
            self.add(&raw, format!("listener {} has no default under idle", raw.value.name));
        }
        let raw = raw.value;
        Listener {
            name: raw.name,
            versions: self.versions(raw.versions.as_ref()),
            port: self.naming(raw.port, names),
            default_ports: raw.default_port,
            named_ports: raw.default_port_of,
            settings: self.settings_of_one(raw.settings, names),
            defaults: exact(raw.idle.into_iter().map(|default| self.idle_default(default, names))),
        }
    }
}

/// Collects into a list without spare capacity. `collect` alone keeps the memory of the parsed list, whose items are larger:
/// in the built-in catalog, that was over half of its memory.
fn exact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.shrink_to_fit();
    list
}

/// All modes that the steps can select.
fn modes(raw: &RawMode) -> BTreeSet<String> {
    let choices = raw.steps.iter().flat_map(|step| &step.choices);
    let led_to = choices.flat_map(|choice| choice.value.values.values().chain(&choice.value.otherwise));
    led_to.chain([&raw.start]).cloned().collect()
}
