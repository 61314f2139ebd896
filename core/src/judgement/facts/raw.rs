//! Parses the text of a facts file into checked [`Facts`], or returns all mistakes.

use std::time::Duration;

use jiff::civil::Date;

use super::{Behaviour, Facts, ImageFact, ServerFact};
use crate::{
    base::duration,
    judgement::fields::{self, Field, Mistakes, PolicyError, Section, date},
    workload::image_config::{ImageConfig, ImageFacts},
};

/// The version of the format.
const VERSION: &str = "1";
const FIELDS: [&str; 3] = ["version", "servers", "images"];
const IMAGE_FIELDS: [&str; 8] =
    ["image", "digest", "entrypoint", "cmd", "env", "workingDir", "source", "date"];
const SERVER_FIELDS: [&str; 12] = [
    "namespace",
    "kind",
    "name",
    "container",
    "port",
    "image",
    "digest",
    "closesAfter",
    "closesEachResponse",
    "openAfter",
    "source",
    "date",
];
const KINDS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "Pod"];

pub(super) fn parse(text: &str) -> Result<Facts, Vec<PolicyError>> {
    fields::file(text, "facts", |mistakes, whole, _| read(mistakes, whole))
}

fn read(mistakes: &mut Mistakes, whole: &Field<'_>) -> Facts {
    let Some(root) = mistakes.section(whole, &FIELDS) else { return Facts::default() };
    match root.get("version") {
        None => mistakes.add(root.line, format!("version: it is missing; write version: {VERSION}")),
        Some(field) => {
            if let Some(word) = mistakes.word(&field)
                && word != VERSION
            {
                mistakes.at(&field, format!("{word:?} is not supported; use {VERSION}"));
            }
        }
    }
    let mut items = |name: &str| root.get(name).map(|field| mistakes.list(&field)).unwrap_or_default();
    let (servers, images) = (items("servers"), items("images"));
    let servers = servers.iter().filter_map(|item| read_server(mistakes, item)).collect();
    let images = images.iter().filter_map(|item| read_image(mistakes, item)).collect();
    Facts::new(servers, images)
}

fn read_image(mistakes: &mut Mistakes, item: &Field<'_>) -> Option<ImageFact> {
    let section = mistakes.section(item, &IMAGE_FIELDS)?;
    let mut text = |name: &str| {
        let field = required(mistakes, &section, name)?;
        mistakes.word(&field).map(str::to_owned)
    };
    let (image, digest, source) = (text("image"), text("digest"), text("source"));
    let day = read_date(mistakes, &section);
    let mut words = |name: &str| -> Vec<String> {
        let Some(field) = section.get(name) else { return Vec::new() };
        let items = mistakes.list(&field);
        items.iter().filter_map(|item| mistakes.text(item)).map(str::to_owned).collect()
    };
    let (entrypoint, cmd) = (words("entrypoint"), words("cmd"));
    let env = section.get("env").and_then(|field| mistakes.map(&field));
    let env = env.iter().flat_map(|map| map.fields());
    let env =
        env.filter_map(|(name, field)| Some((name.to_owned(), mistakes.text(&field)?.to_owned()))).collect();
    let working_dir =
        section.get("workingDir").and_then(|field| mistakes.word(&field)).unwrap_or_default().to_owned();
    let config = ImageConfig { entrypoint, cmd, env, working_dir, ..ImageConfig::default() };
    Some(ImageFact {
        image: image?,
        facts: ImageFacts { digest: digest?, config, doubt: None },
        source: source?,
        date: day?,
    })
}

fn read_date(mistakes: &mut Mistakes, section: &Section<'_>) -> Option<Date> {
    let field = required(mistakes, section, "date")?;
    let word = mistakes.word(&field)?;
    let day = date(word);
    if day.is_none() {
        mistakes.at(&field, format!("{word:?} is not a date; write it like 2027-01-31"));
    }
    day
}

fn read_server(mistakes: &mut Mistakes, item: &Field<'_>) -> Option<ServerFact> {
    let section = mistakes.section(item, &SERVER_FIELDS)?;
    // Reads all fields before the first missing one returns, so that all mistakes are found.
    let kind = required(mistakes, &section, "kind")
        .and_then(|field| mistakes.parse_one_of(&field, "kind", &KINDS, |kind| kind));
    let mut text = |name: &str| {
        let field = required(mistakes, &section, name)?;
        mistakes.word(&field).map(str::to_owned)
    };
    let (namespace, name, container) = (text("namespace"), text("name"), text("container"));
    let (image, source) = (text("image"), text("source"));
    let port = required(mistakes, &section, "port").and_then(|field| {
        let word = mistakes.word(&field)?;
        let port = word.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            mistakes.at(&field, format!("{word:?} is not a port; use a number from 1 to 65535"));
        }
        port
    });
    let day = read_date(mistakes, &section);
    let digest = section.get("digest").and_then(|field| mistakes.word(&field)).map(str::to_owned);
    let behaviour = read_behaviour(mistakes, &section);
    Some(ServerFact {
        namespace: namespace?,
        kind: kind?.to_owned(),
        name: name?,
        container: container?,
        port: port?,
        image: image?,
        digest,
        behaviour: behaviour?,
        source: source?,
        date: day?,
    })
}

fn required<'n>(mistakes: &mut Mistakes, section: &Section<'n>, name: &str) -> Option<Field<'n>> {
    let field = section.get(name);
    if field.is_none() {
        mistakes.add(section.line, format!("{}.{name}: it is missing", section.path));
    }
    field
}

fn read_behaviour(mistakes: &mut Mistakes, section: &Section<'_>) -> Option<Behaviour> {
    let mut found = Vec::new();
    if let Some(field) = section.get("closesAfter") {
        let times = mistakes.list(&field);
        let read: Vec<_> = times.iter().filter_map(|time| read_duration(mistakes, time)).collect();
        match read[..] {
            [time] if times.len() == 1 => found.push(Behaviour::ClosesAfter(time, time)),
            [from, to] if times.len() == 2 && from <= to => found.push(Behaviour::ClosesAfter(from, to)),
            _ if read.len() == times.len() => {
                mistakes.at(&field, "expected one duration, or a list of the earliest and the latest one");
            }
            _ => {}
        }
        if found.is_empty() {
            return None;
        }
    }
    if let Some(field) = section.get("closesEachResponse") {
        mistakes.parse_one_of(&field, "value", &["true"], |word| word)?;
        found.push(Behaviour::ClosesEachResponse);
    }
    if let Some(field) = section.get("openAfter") {
        let time = read_duration(mistakes, &field)?;
        found.push(Behaviour::OpenAfter(time));
    }
    if let [one] = found[..] {
        return Some(one);
    }
    mistakes.add(
        section.line,
        format!("{}: give exactly one of closesAfter, closesEachResponse and openAfter", section.path),
    );
    None
}

fn read_duration(mistakes: &mut Mistakes, field: &Field<'_>) -> Option<Duration> {
    let word = mistakes.word(field)?;
    duration::parse(word).map_err(|error| mistakes.at(field, error.to_string())).ok()
}
