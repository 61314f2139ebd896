//! A container's environment, as kubelet would make it.
//!
//! Turns `envFrom` and `env` into variables, with ConfigMaps from the surroundings and `$(VAR)` expanded. What nobody
//! can read from a manifest, such as a Secret, stays unresolved with its reason.

use std::collections::{BTreeMap, HashMap};

use super::word::{Piece, Place, Word};
use crate::{
    pod::{Container, EnvVar, ValueFrom},
    surroundings::Surroundings,
};

/// The variables of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    variables: HashMap<String, Word>,
    /// Sources of `envFrom` that we cannot read: the prefix of their names, and which they are.
    unread: Vec<(String, String)>,
}

impl Environment {
    /// Reads `envFrom`, then `env`.
    pub(super) fn read(container: &Container<'_>, namespace: &str, surroundings: &Surroundings) -> Self {
        let mut environment = Self::default();
        for source in &container.env_from {
            if let Some(config_map) = &source.config_map_ref {
                match surroundings.config_map(namespace, &config_map.name) {
                    Some(data) => environment.take(&source.prefix, &config_map.name, data),
                    None => environment.miss(&source.prefix, format!("ConfigMap {}", config_map.name)),
                }
            } else if let Some(secret) = &source.secret_ref {
                environment.miss(&source.prefix, format!("Secret {}", secret.name));
            } else {
                environment.miss(&source.prefix, "a source of envFrom".to_owned());
            }
        }
        for (index, variable) in container.env.iter().enumerate() {
            if let Some(word) = environment.resolve(variable, Place::Env(index), namespace, surroundings) {
                environment.variables.insert(variable.name.to_string(), word);
            }
        }
        environment
    }

    fn take(&mut self, prefix: &str, name: &str, data: &BTreeMap<String, String>) {
        for (key, value) in data {
            let word = Word::text(value, Place::ConfigMap(name.to_owned()));
            self.variables.insert(format!("{prefix}{key}"), word);
        }
    }

    /// A source that we cannot read may also hold what earlier sources set.
    fn miss(&mut self, prefix: &str, source: String) {
        for (name, word) in self.variables.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
            *word = Word::new([Piece::Unknown(format!("{name} may be set by {source}"))], word.at.clone());
        }
        self.unread.push((prefix.to_owned(), source));
    }

    fn resolve(
        &self,
        variable: &EnvVar<'_>,
        at: Place,
        namespace: &str,
        surroundings: &Surroundings,
    ) -> Option<Word> {
        let name = &variable.name;
        let unknown =
            |from: String| Some(Word::new([Piece::Unknown(format!("{name} comes from {from}"))], at.clone()));
        match &variable.value_from {
            None => Some(self.expand(&variable.value, at)),
            Some(ValueFrom { config_map_key_ref: Some(key), .. }) => {
                let data = surroundings.config_map(namespace, &key.name);
                match data.map(|data| data.get(&*key.key)) {
                    Some(Some(value)) => Some(Word::text(value, Place::ConfigMap(key.name.to_string()))),
                    Some(None) if key.optional => None,
                    Some(None) | None => unknown(format!("ConfigMap {}", key.name)),
                }
            }
            Some(ValueFrom { secret_key_ref: Some(key), .. }) => unknown(format!("Secret {}", key.name)),
            Some(ValueFrom { config_map_key_ref: None, secret_key_ref: None }) => {
                unknown("a field of the pod".to_owned())
            }
        }
    }

    /// The value of a variable: `None` when nothing sets it.
    pub(super) fn get(&self, name: &str) -> Option<Word> {
        if let Some(word) = self.variables.get(name) {
            return Some(word.clone());
        }
        let (_, source) = self.unread.iter().rev().find(|(prefix, _)| name.starts_with(prefix.as_str()))?;
        let why = format!("{name} may be set by {source}");
        Some(Word::new([Piece::Unknown(why)], Place::Env(0)))
    }

    /// Sets a variable, as a shell does.
    pub(super) fn set(&mut self, name: &str, value: Word) {
        self.variables.insert(name.to_owned(), value);
    }

    /// The names that are known to be set, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Kubelet's expansion: `$(VAR)` is the variable's value, `$$` a dollar sign; an unknown name stays as written.
    pub(super) fn expand(&self, text: &str, at: Place) -> Word {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let (before, from) = rest.split_at(dollar);
            pieces.push(Piece::Text(before.to_owned()));
            if let Some(after) = from.strip_prefix("$$") {
                pieces.push(Piece::Text("$".to_owned()));
                rest = after;
            } else if let Some((name, after)) = from.strip_prefix("$(").and_then(|from| from.split_once(')'))
            {
                match self.named(name) {
                    Some(word) => pieces.extend(word.pieces().iter().cloned()),
                    None => pieces.push(Piece::Text(format!("$({name})"))),
                }
                rest = after;
            } else {
                pieces.push(Piece::Text("$".to_owned()));
                rest = &from[1..];
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Word::new(pieces, at)
    }

    /// A source that we cannot read is not taken to hold `$(nproc)`, which is meant for the shell.
    fn named(&self, name: &str) -> Option<Word> {
        let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if self.variables.contains_key(name) || (!name.is_empty() && name.chars().all(usual)) {
            return self.get(name);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(container: &serde_json::Value) -> Environment {
        let text = container.to_string();
        let container: Container<'_> = serde_json::from_str(&text).unwrap();
        let mut surroundings = Surroundings::default();
        let data = [("KEEP", "30"), ("PORT", "8000")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        surroundings.config_maps.insert(("shop".to_owned(), "web".to_owned()), data.into());
        Environment::read(&container, "shop", &surroundings)
    }

    fn show(word: Option<Word>) -> String {
        match word {
            None => "(unset)".to_owned(),
            Some(word) => word.known().map_or_else(|why| format!("? {why}"), ToOwned::to_owned),
        }
    }

    #[rstest]
    #[case::literal(json!([{"name": "A", "value": "1"}]), "A", "1")]
    #[case::last_one_counts(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), "A", "2")]
    #[case::no_value_is_empty(json!([{"name": "A"}]), "A", "")]
    #[case::unset(json!([]), "A", "(unset)")]
    #[case::earlier_variable(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)0"}]), "B", "10")]
    #[case::later_variable_stays(json!([{"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}]), "B", "$(A)")]
    #[case::escaped(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$$(A)"}]), "B", "$(A)")]
    #[case::lone_dollar(json!([{"name": "B", "value": "$5 $"}]), "B", "$5 $")]
    #[case::unclosed(json!([{"name": "B", "value": "$(A"}]), "B", "$(A")]
    #[case::config_map_key(
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "KEEP"}}}]), "A", "30")]
    #[case::missing_key(
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "X"}}}]),
        "A", "? A comes from ConfigMap web")]
    #[case::optional_key(
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "X", "optional": true}}}]),
        "A", "(unset)")]
    #[case::missing_config_map(
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "X"}}}]),
        "A", "? A comes from ConfigMap none")]
    #[case::secret(
        json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]), "A", "? A comes from Secret s")]
    #[case::field(
        json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
        "A", "? A comes from a field of the pod")]
    #[case::unknown_spreads(
        json!([{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "A", "value": "x$(S)"}]),
        "A", "? S comes from Secret s")]
    fn variables(#[case] env: serde_json::Value, #[case] name: &str, #[case] value: &str) {
        assert_eq!(show(read(&json!({ "env": env })).get(name)), value);
    }

    #[rstest]
    #[case::config_map(json!([{"configMapRef": {"name": "web"}}]), "KEEP", "30")]
    #[case::prefix(json!([{"prefix": "APP_", "configMapRef": {"name": "web"}}]), "APP_KEEP", "30")]
    #[case::secret(json!([{"secretRef": {"name": "app-env"}}]), "KEEP", "? KEEP may be set by Secret app-env")]
    #[case::prefix_limits(json!([{"prefix": "APP_", "secretRef": {"name": "app-env"}}]), "KEEP", "(unset)")]
    #[case::absent_config_map(json!([{"configMapRef": {"name": "no"}}]), "KEEP", "? KEEP may be set by ConfigMap no")]
    #[case::neither(json!([{}]), "KEEP", "? KEEP may be set by a source of envFrom")]
    #[case::later_secret_may_win(
        json!([{"configMapRef": {"name": "web"}}, {"secretRef": {"name": "s"}}]), "KEEP", "? KEEP may be set by Secret s")]
    #[case::later_config_map_wins(
        json!([{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "web"}}]), "KEEP", "30")]
    fn sources(#[case] env_from: serde_json::Value, #[case] name: &str, #[case] value: &str) {
        assert_eq!(show(read(&json!({ "envFrom": env_from })).get(name)), value);
    }

    #[test]
    fn env_wins_over_env_from() {
        let environment = read(&json!({
            "env": [{"name": "KEEP", "value": "5"}],
            "envFrom": [{"secretRef": {"name": "s"}}],
        }));
        assert_eq!(show(environment.get("KEEP")), "5");
    }

    #[test]
    fn a_command_for_the_shell_is_no_variable_of_a_secret() {
        let environment = read(&json!({"envFrom": [{"secretRef": {"name": "s"}}]}));
        assert_eq!(environment.expand("-w $(nproc)", Place::Args(0)).known(), Ok("-w $(nproc)"));
        assert_eq!(environment.expand("$(N)", Place::Args(0)).known(), Err("N may be set by Secret s"));
    }
}
