//! The environment of a container, as kubelet creates it.
//!
//! Turns `envFrom` and `env` into variables, with ConfigMaps from the context and `$(VAR)` expanded, on top of the
//! image's ENV if its config is known. Values that are not in the input, such as those of a Secret, stay unknown, with
//! the reason.

use std::{
    borrow::Cow,
    cell::{Cell, LazyCell},
    collections::BTreeMap,
    sync::Arc,
};

use foldhash::HashMap;

use crate::workload::{
    context::Context,
    pod::{Container, EnvVar, ValueFrom},
    word::{MAX_LEN, Piece, Place, Word, cut},
};

/// The maximum number of bytes of words, variables and scripts that are processed for a pod. It is the limit of Linux
/// for arguments and environment: a quarter of the usual 8 MiB of stack (`execve(2)`).
///
/// The containers of a pod share it, so that the cost of a pod does not depend on the number of containers.
pub(crate) const MAX_EXPANSION: usize = 2 << 20;

/// The cost of a word in addition to its text: about the memory that it takes.
const MAX_VALUE_LEN: usize = 128;

/// The variables of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: HashMap<String, Variable>,
    /// Sources that cannot be read: the prefix of their variables, and their names.
    unread: Vec<(String, String)>,
    /// The image's ENV, if its config is known. Programs see it, but kubelet's `$(VAR)` does not.
    image: HashMap<String, Word>,
    /// Whether the config of the image is known.
    knows_image: bool,
    /// Whether the environment was cleared, so that nothing comes from the image.
    bare: bool,
    /// The rest of [`MAX_EXPANSION`]; creating words reduces it.
    remaining: Cell<usize>,
}

#[derive(Clone, Debug)]
struct Variable {
    /// `None` if it is known to be unset.
    value: Option<Word>,
    /// Whether programs that a shell starts see it.
    exported: bool,
}

impl Environment {
    /// Reads the image's ENV, `envFrom`, then `env`. Processes at most `remaining` bytes, now and later.
    pub(crate) fn read(
        container: &Container<'_>,
        namespace: &str,
        context: &Context,
        remaining: usize,
    ) -> Self {
        let mut environment = Self { remaining: Cell::new(remaining), ..Self::default() };
        if !environment.fill(container, namespace, context) {
            environment.set_exhausted();
        }
        environment
    }

    /// Returns `false` if the limit was reached.
    fn fill(&mut self, container: &Container<'_>, namespace: &str, context: &Context) -> bool {
        if let Some(facts) = context.image(&container.image) {
            let place: Arc<str> = format!("ENV of {}", facts.name(&container.image)).into();
            for (name, value) in &facts.config.env {
                if !self.charge(name.len() + value.len()) {
                    return false;
                }
                let word = Word::text(value, Place::ImageConfig(Arc::clone(&place)));
                self.image.insert(name.clone(), word);
            }
            self.knows_image = true;
        }
        for source in &container.env_from {
            if !self.charge(source.prefix.len() + self.variables.len()) {
                return false;
            }
            if let Some(config_map) = &source.config_map_ref {
                match context.config_map(namespace, &config_map.name) {
                    Some(data) => {
                        if !self.take(&source.prefix, &config_map.name, data) {
                            return false;
                        }
                    }
                    None => self.set_unavailable(&source.prefix, &format!("ConfigMap {}", config_map.name)),
                }
            } else if let Some(secret) = &source.secret_ref {
                self.set_unavailable(&source.prefix, &format!("Secret {}", secret.name));
            } else {
                self.set_unavailable(&source.prefix, "a source of envFrom");
            }
        }
        for (index, variable) in container.env.iter().enumerate() {
            if let Some(word) = self.resolve(variable, Place::Env(index), namespace, context) {
                if !self.charge(variable.name.len() + word.len()) {
                    return false;
                }
                self.set(&variable.name, word, true);
            }
        }
        true
    }

    fn take(&mut self, prefix: &str, name: &str, data: &BTreeMap<String, String>) -> bool {
        data.iter().all(|(key, value)| {
            let remaining = self.charge(prefix.len() + key.len() + value.len());
            if remaining {
                let word = Word::text(value, Place::ConfigMap(name.to_owned()));
                self.set(&format!("{prefix}{key}"), word, true);
            }
            remaining
        })
    }

    /// Marks a source as unavailable; it may also override variables of earlier sources.
    fn set_unavailable(&mut self, prefix: &str, source: &str) {
        let source = cut(source, 100);
        for (name, variable) in self.variables.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
            let at = variable.value.take().map_or(Place::Env(0), |word| word.at);
            let why = format!("{name} may be set by {source}");
            *variable = Variable { value: Some(Word::unknown(why, at)), exported: true };
        }
        self.unread.push((prefix.to_owned(), source));
    }

    /// Marks all variables as uncertain: `source` may set any of them.
    pub(crate) fn doubt(&mut self, source: &str) {
        self.unread.clear();
        if self.charge(self.variables.len()) {
            self.set_unavailable("", source);
        } else {
            self.set_exhausted();
        }
    }

    fn set_exhausted(&mut self) {
        self.variables.clear();
        self.image.clear();
        self.unread = vec![(String::new(), "too much text to evaluate".to_owned())];
    }

    fn resolve(&self, variable: &EnvVar<'_>, at: Place, namespace: &str, context: &Context) -> Option<Word> {
        let name = &variable.name;
        let unknown = |from: String| Some(Word::unknown(format!("{name} comes from {from}"), at.clone()));
        match variable.value_from.as_deref() {
            None => Some(self.expand(&variable.value, at)),
            Some(ValueFrom { config_map_key_ref: Some(key), .. }) => {
                let data = context.config_map(namespace, &key.name);
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

    /// Charges this many bytes for a word. Returns `false` if the limit is reached; it stays reached.
    #[must_use]
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let left = self.remaining.get().checked_sub(bytes.saturating_add(MAX_VALUE_LEN));
        self.remaining.set(left.unwrap_or_default());
        left.is_some()
    }

    /// The value of a variable; `None` if it is not set.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, Word>> {
        if let Some(variable) = self.variables.get(name) {
            return variable.value.as_ref().map(Cow::Borrowed);
        }
        self.unread(name).map(Cow::Owned).or_else(|| self.image.get(name).map(Cow::Borrowed))
    }

    /// A variable that an unavailable source may set.
    fn unread(&self, name: &str) -> Option<Word> {
        let (_, source) = self.unread.iter().rev().find(|(prefix, _)| name.starts_with(prefix.as_str()))?;
        Some(Word::unknown(format!("{name} may be set by {source}"), Place::Env(0)))
    }

    /// The value for insertion into another word. Only this operation can multiply text, so it is charged.
    pub(crate) fn get_for_expansion(&self, name: &str) -> Option<Cow<'_, Word>> {
        let remaining = self.charge(name.len() + self.unread.len());
        let word = self.get(name)?;
        if remaining && self.charge(word.len() + word.pieces().len() * MAX_VALUE_LEN) {
            return Some(word);
        }
        Some(Cow::Owned(Word::unknown(TOO_LONG, Place::Env(0))))
    }

    /// Whether the pod itself sets a variable, possibly to an unknown value.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|variable| variable.value.is_some())
    }

    /// Whether a variable is known to be unset, even by the image.
    pub(crate) fn is_unset(&self, name: &str) -> bool {
        let is_absent = || self.bare || self.knows_image && !may_come_from_kubelet(name);
        self.variables.get(name).map_or_else(is_absent, |variable| variable.value.is_none())
            && self.get(name).is_none()
    }

    /// Sets a variable as a shell does; an exported variable stays exported.
    pub(crate) fn set(&mut self, name: &str, value: Word, exported: bool) {
        let of_image = || !self.variables.contains_key(name) && self.image.contains_key(name);
        let exported =
            exported || of_image() || self.variables.get(name).is_some_and(|variable| variable.exported);
        self.variables.insert(name.to_owned(), Variable { value: Some(value), exported });
    }

    /// Exports a variable; returns `false` if it is not set.
    pub(crate) fn export(&mut self, name: &str) -> bool {
        match self.variables.get_mut(name) {
            Some(variable) => variable.exported = true,
            None => return self.image.contains_key(name),
        }
        self.is_set(name)
    }

    /// Unsets a variable.
    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.insert(name.to_owned(), Variable { value: None, exported: false });
    }

    /// Clears the environment.
    pub(crate) fn clear(&mut self) {
        self.variables.clear();
        self.unread.clear();
        self.image.clear();
        self.bare = true;
    }

    /// Removes variables that are not exported.
    pub(crate) fn leave_shell(&mut self) {
        self.variables.retain(|_, variable| variable.exported || variable.value.is_none());
    }

    /// The names of the variables that are known to be set, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let set = self.variables.iter().filter(|(_, variable)| variable.value.is_some());
        let of_image = self.image.keys().filter(|name| !self.variables.contains_key(*name));
        let mut names: Vec<&str> = set.map(|(name, _)| name).chain(of_image).map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Expands `$(VAR)` and `$$` as kubelet does; unknown names stay as written.
    pub(crate) fn expand(&self, text: &str, at: Place) -> Word {
        if text.len() > MAX_LEN {
            return Word::text(text, at);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut closes = true;
        while let Some(dollar) = rest.find('$') {
            let (before, from) = rest.split_at(dollar);
            pieces.push(Piece::Text(before.to_owned()));
            let named = from.strip_prefix("$(").filter(|_| closes);
            let found = named.and_then(|from| from.split_once(')'));
            // If there is none here, there is none further on.
            closes &= named.is_none() || found.is_some();
            if let Some(after) = from.strip_prefix("$$") {
                pieces.push(Piece::Text("$".to_owned()));
                rest = after;
            } else if let Some((name, after)) = found {
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

    /// The value for `$(name)`. An unavailable source is assumed not to contain names such as `nproc`, which are meant
    /// for the shell. kubelet does not know the image's ENV (kubernetes `pkg/kubelet/kubelet_pods.go`,
    /// `makeEnvironmentVariables`).
    fn named(&self, name: &str) -> Option<Cow<'_, Word>> {
        let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let may_be_read = !name.is_empty() && name.chars().all(usual) && self.unread(name).is_some();
        if self.variables.contains_key(name) || may_be_read { self.get_for_expansion(name) } else { None }
    }
}

/// Whether kubelet or a container runtime may set a variable that neither the pod nor the image sets: those of Services
/// (kubernetes `pkg/kubelet/envvars/envvars.go`), and those that every container has.
fn may_come_from_kubelet(name: &str) -> bool {
    matches!(name, "HOME" | "HOSTNAME" | "PATH" | "TERM")
        || name.ends_with("_PORT")
        || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|part| name.contains(part))
}

/// Why a command line is not interpreted.
pub(crate) const TOO_LONG: &str = "the command line is too long to parse";

/// The variables of a container as kubelet sets them: the value of a name, or why it is unknown; `None` if it is not
/// set.
///
/// The proxy has about 70 variables, and a review looks up three of them. So the whole environment is read only for
/// variables that depend on others.
pub fn variables(
    container: &Container<'_>,
    namespace: &str,
    context: &Context,
) -> impl Fn(&str) -> Option<Result<String, String>> {
    let environment = LazyCell::new(move || Environment::read(container, namespace, context, MAX_EXPANSION));
    let only_env = container.env_from.is_empty() && context.image(&container.image).is_none();
    move |name| match container.env.iter().rev().find(|variable| &*variable.name == name) {
        Some(variable) if is_literal(variable) => Some(Ok(variable.value.to_string())),
        None if only_env => None,
        _ => environment.get(name).map(|word| word.known().map(str::to_owned).map_err(str::to_owned)),
    }
}

/// Whether the value of a variable is its text.
fn is_literal(variable: &EnvVar<'_>) -> bool {
    variable.value_from.is_none() && variable.value.len() <= MAX_LEN && !variable.value.contains('$')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::workload::image_config::{ImageConfig, ImageFacts};

    fn read(container: &serde_json::Value) -> Environment {
        let text = container.to_string();
        let container: Container<'_> = serde_json::from_str(&text).unwrap();
        let mut context = Context::default();
        let data = [("KEEP", "30"), ("PORT", "8000")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        context.config_maps.insert(("shop".to_owned(), "web".to_owned()), data.into());
        Environment::read(&container, "shop", &context, MAX_EXPANSION)
    }

    fn show(word: Option<Cow<'_, Word>>) -> String {
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

    /// Reads a container whose image has the ENV `KEEP=75`, `BASE=/srv`.
    fn read_with_image(container: &serde_json::Value) -> Environment {
        let text = container.to_string();
        let container: Container<'_> = serde_json::from_str(&text).unwrap();
        let env = [("KEEP", "75"), ("BASE", "/srv")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = ImageConfig { env: env.into(), ..ImageConfig::default() };
        let facts = ImageFacts { digest: "sha256:ab".to_owned(), config, doubt: None };
        let images = [("cart:3".to_owned(), facts)].into();
        Environment::read(&container, "shop", &Context { images, ..Context::default() }, MAX_EXPANSION)
    }

    #[rstest]
    #[case::of_the_image(json!([]), json!([]), "KEEP", "75")]
    #[case::pod_wins(json!([{"name": "KEEP", "value": "5"}]), json!([]), "KEEP", "5")]
    #[case::empty_of_the_pod_wins(json!([{"name": "KEEP"}]), json!([]), "KEEP", "")]
    #[case::a_secret_may_win(json!([]), json!([{"secretRef": {"name": "s"}}]), "KEEP", "? KEEP may be set by Secret s")]
    #[case::prefix_does_not(json!([]), json!([{"prefix": "A_", "secretRef": {"name": "s"}}]), "KEEP", "75")]
    #[case::kubelet_does_not_expand_it(json!([{"name": "A", "value": "$(KEEP)"}]), json!([]), "A", "$(KEEP)")]
    fn the_pod_wins_over_the_image(
        #[case] env: serde_json::Value,
        #[case] env_from: serde_json::Value,
        #[case] name: &str,
        #[case] value: &str,
    ) {
        let environment = read_with_image(&json!({"image": "cart:3", "env": env, "envFrom": env_from}));
        assert_eq!(show(environment.get(name)), value);
    }

    #[test]
    fn a_variable_of_the_image_says_where_it_stands() {
        let environment = read_with_image(&json!({"image": "cart:3"}));
        assert_eq!(environment.names(), ["BASE", "KEEP"]);
        let word = environment.get("KEEP").unwrap().into_owned();
        assert_eq!(word.at, Place::ImageConfig("ENV of cart:3@sha256:ab".into()));
    }

    #[rstest]
    #[case::of_nobody("LIMIT", true)]
    #[case::of_the_image("KEEP", false)]
    #[case::of_a_service("WEB_PORT", false)]
    #[case::of_the_runtime("HOSTNAME", false)]
    fn variables_missing_from_the_image_are_unset(#[case] name: &str, #[case] is_unset: bool) {
        assert_eq!(read_with_image(&json!({"image": "cart:3"})).is_unset(name), is_unset);
        assert!(!read_with_image(&json!({"image": "other:1"})).is_unset(name));
    }

    #[test]
    fn an_emptied_environment_has_nothing_of_the_image() {
        let mut environment = read_with_image(&json!({"image": "cart:3"}));
        environment.unset("BASE");
        assert_eq!(
            (show(environment.get("BASE")), environment.names()),
            ("(unset)".to_owned(), vec!["KEEP"])
        );
        environment.clear();
        assert_eq!(
            (show(environment.get("KEEP")), environment.is_unset("KEEP")),
            ("(unset)".to_owned(), true)
        );
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
