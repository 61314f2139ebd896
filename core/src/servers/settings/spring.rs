//! Reads a Spring Boot property from all sources of Spring except files.
//!
//! Compares names with Spring's relaxed binding.

use std::borrow::Cow;

use super::{Reader, Reading, may_begin, set, unknown_reason};

impl Reader<'_, '_> {
    /// A property from the command line, JSON, the JVM options or a variable; the first that sets it wins.
    pub(super) fn spring(&self, name: &str) -> Reading {
        let json = || self.in_json(name);
        self.in_arguments(name).decided().or_else(|| json().decided()).unwrap_or_else(|| self.outside(name))
    }

    fn in_arguments(&self, name: &str) -> Reading {
        let options = self.recognition.arguments.iter().take_while(|word| word.known() != Ok("--"));
        let found = options.collect::<Vec<_>>().into_iter().rev().find_map(|word| {
            let text = word.prefix();
            if !text.contains('=') && may_begin(word, "--") {
                return Some(Reading::Unknown(unknown_reason(word)));
            }
            let (found, _) = text.strip_prefix("--")?.split_once('=')?;
            let value = || set(&format!("--{found}="), &word.after(found.len() + 3));
            (relaxed(found) == relaxed(name)).then(value)
        });
        found.unwrap_or(Reading::Absent)
    }

    /// A property from the JVM options or a variable.
    fn outside(&self, name: &str) -> Reading {
        let wanted = relaxed(name);
        self.property(|found| relaxed(found) == wanted).decided().unwrap_or_else(|| {
            let names = self.environment().names();
            let found = names.into_iter().find(|found| is_variable(found, name));
            let variable = found.map_or_else(|| Cow::Owned(variable(name)), Cow::Borrowed);
            let word = self.environment().get(&variable);
            word.map_or(Reading::Absent, |word| set(&format!("{variable}="), &word))
        })
    }

    /// A property from `spring.application.json`, with nested or dotted keys.
    fn in_json(&self, name: &str) -> Reading {
        const JSON: &str = "spring.application.json";
        let json = self.in_arguments(JSON).decided().unwrap_or_else(|| self.outside(JSON));
        let Reading::Set { value, text, at } = json else { return json };
        let place = text.split('=').next().unwrap_or_default();
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&value) else {
            return Reading::Unknown(format!("{place} is not JSON"));
        };
        match dotted(&json, &relaxed(name)) {
            None => Reading::Absent,
            Some(value) => {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                Reading::Set { text: format!("{place} with {name}={value}"), value, at }
            }
        }
    }
}

/// Removes dashes, underscores and case.
fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// `SERVER_TOMCAT_KEEP_ALIVE_TIMEOUT`: the usual name of the variable.
fn variable(name: &str) -> String {
    name.replace(['.', '-'], "_").to_ascii_uppercase()
}

/// Whether a variable sets a property: it has the same name, or underscores for dots, and underscores or nothing for
/// dashes.
fn is_variable(found: &str, name: &str) -> bool {
    let undashed = name.replace('-', "");
    relaxed(found) == relaxed(name) && found.contains('.')
        || [name, &undashed].iter().any(|name| variable(name).eq_ignore_ascii_case(found))
}

fn dotted<'j>(json: &'j serde_json::Value, name: &str) -> Option<&'j serde_json::Value> {
    json.as_object()?.iter().find_map(|(key, value)| match name.strip_prefix(relaxed(key).as_str())? {
        "" => Some(value),
        rest => dotted(value, rest.strip_prefix('.')?),
    })
}
