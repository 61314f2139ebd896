//! Spring Boot's profiles: which are active, and which documents apply.
//!
//! Reads the names of profiles and the conditions of documents.

use super::{
    super::{
        Files, placeholder,
        tree::{self, Value, relaxed},
    },
    Document, begins_with_one_of, is_of_variable, variable,
};

/// The property that activates profiles.
pub(super) const ACTIVE: &str = "spring.profiles.active";

/// Whether a document applies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Applies {
    Yes,
    No,
    /// Unknown.
    Unknown,
}

/// The profiles that unconditional documents activate; `None` if these are left to the app's own files.
pub(super) fn activated(files: &dyn Files, documents: &[Document]) -> Result<Option<Vec<String>>, String> {
    for document in documents.iter().rev() {
        let leaf = document.leaves.iter().rev().find(|leaf| begins_with_one_of(&leaf.name, &[ACTIVE]));
        let Some(leaf) = leaf else { continue };
        if document.leaves.iter().any(|leaf| tree::is_condition(&leaf.name)) {
            return Err(document.fault(leaf, &format!("{} depends on a profile", leaf.name)));
        }
        let names = names(&leaf.value)
            .filter(|_| relaxed(&leaf.name) == ACTIVE)
            .ok_or_else(|| document.fault(leaf, &format!("{} is not a list of profiles", leaf.name)))?;
        let expanded = names.iter().map(|name| {
            placeholder::expand(name, &|name| match variable(files, name) {
                None if !is_of_variable(name) => Some(Err(format!("{name} may be set elsewhere"))),
                value => value,
            })
        });
        let expanded = expanded.collect::<Result<Vec<_>, _>>().map_err(|why| document.fault(leaf, &why))?;
        let active: Vec<String> = expanded.iter().flat_map(|names| split_names(names)).collect();
        return Ok(Some(active).filter(|active| !active.is_empty()));
    }
    Ok(None)
}

/// The names in a comma-separated text or a list.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(text) if text.contains('$') => Some(vec![text.clone()]),
        Value::Text(text) => Some(split_names(text)),
        Value::List(items) => items.clone(),
        Value::Null => Some(Vec::new()),
        Value::Empty | Value::Unsupported(_) | Value::Duplicate => None,
    }
}

pub(super) fn split_names(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

pub(super) fn is_name(profile: &str) -> bool {
    !profile.is_empty()
        && profile.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@'))
}

impl Document {
    /// Whether its conditions are true.
    pub(super) fn applies(&self, active: Option<&[String]>) -> Applies {
        let mut all = Applies::Yes;
        for leaf in self.leaves.iter().filter(|leaf| tree::is_condition(&leaf.name)) {
            let one = match relaxed(&leaf.name).as_str() {
                "spring.config.activate.onprofile" => holds(&leaf.value, active),
                // Old releases treat it as a condition, new ones refuse or ignore it.
                "spring.profiles" => match holds(&leaf.value, active) {
                    Applies::Yes => Applies::Yes,
                    Applies::No | Applies::Unknown => Applies::Unknown,
                },
                _ => Applies::Unknown,
            };
            all = match (all, one) {
                (Applies::No, _) | (_, Applies::No) => Applies::No,
                (Applies::Unknown, _) | (_, Applies::Unknown) => Applies::Unknown,
                (Applies::Yes, Applies::Yes) => Applies::Yes,
            };
        }
        all
    }
}

/// Whether one of the profiles of a condition is active.
fn holds(condition: &Value, active: Option<&[String]>) -> Applies {
    let (Some(names), Some(active)) = (names(condition), active) else { return Applies::Unknown };
    if names.is_empty() {
        return Applies::Yes;
    }
    let mut any = Applies::No;
    for name in names {
        let (profile, wanted) = match name.strip_prefix('!') {
            Some(profile) => (profile.trim(), false),
            None => (name.as_str(), true),
        };
        if !is_name(profile) {
            any = Applies::Unknown;
        } else if active.iter().any(|active| active == profile) == wanted {
            return Applies::Yes;
        }
    }
    any
}
