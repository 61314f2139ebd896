//! Scheduling and image pull options of pods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Options;

/// The label with the operating system of a node; our images are for Linux only.
const OS_LABEL: (&str, &str) = ("kubernetes.io/os", "linux");
/// The maximum length of the name in a label key, or of a label value (apimachinery `pkg/util/validation`).
const LABEL_LENGTH: usize = 63;
/// The maximum length of the prefix of a label key, and of an object name: both are DNS subdomains.
const SUBDOMAIN_LENGTH: usize = 253;

/// A toleration for a taint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Toleration {
    /// The taint's key.
    pub key: String,
    /// The taint's value; `None` tolerates every value.
    pub value: Option<String>,
    /// The taint's effect; `None` tolerates every effect.
    pub effect: Option<Effect>,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// No new pods are scheduled.
    NoSchedule,
    /// New pods are scheduled only if there is no other node.
    PreferNoSchedule,
    /// Running pods are evicted too.
    NoExecute,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 3] = [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute];

    /// Its name in the Kubernetes API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// An invalid option.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// There is no `=`.
    #[error("expected KEY=VALUE, such as pool=system")]
    NoValue,
    /// The key is not a valid label key.
    #[error(
        "{0:?} is not a label key: expected up to 63 letters, digits, `-`, `_` or `.`, after an optional DNS name and \
         a slash, such as node-role.kubernetes.io/control-plane"
    )]
    Key(String),
    /// The value is not a valid label value.
    #[error("{0:?} is not a label value: expected up to 63 letters, digits, `-`, `_` or `.`")]
    Value(String),
    /// The effect does not exist.
    #[error("{0:?} is not a taint effect: expected NoSchedule, PreferNoSchedule or NoExecute")]
    Effect(String),
    /// The name is not a valid object name.
    #[error("{0:?} is not a Secret name: expected lower-case letters, digits, `-` and `.`")]
    Name(String),
    /// The name is not that of a custom resource.
    #[error(
        "{0:?} is not a custom resource: expected PLURAL.GROUP, such as rollouts.argoproj.io (see `kubectl \
         api-resources`); workloads of Kubernetes itself are always reviewed"
    )]
    Workload(String),
}

impl Toleration {
    /// Parses `KEY[=VALUE][:EFFECT]`, the format of `kubectl taint`.
    ///
    /// # Errors
    ///
    /// Returns an error if a part is not valid in a taint.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let (taint, effect) = match text.split_once(':') {
            Some((taint, effect)) => (taint, Some(read_effect(effect)?)),
            None => (text, None),
        };
        let (key, value) = match taint.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (taint, None),
        };
        if let Some(value) = value.filter(|value| !is_label_value(value)) {
            return Err(ReadError::Value(value.to_owned()));
        }
        Ok(Self { key: read_key(key)?, value: value.map(str::to_owned), effect })
    }

    fn value(&self) -> Value {
        let mut toleration = match &self.value {
            Some(value) => json!({"key": self.key, "operator": "Equal", "value": value}),
            None => json!({"key": self.key, "operator": "Exists"}),
        };
        if let Some(effect) = self.effect {
            toleration["effect"] = json!(effect.as_str());
        }
        toleration
    }
}

/// Parses a label `KEY=VALUE`.
///
/// # Errors
///
/// Returns an error if it is not a valid label.
pub fn read_label(text: &str) -> Result<(String, String), ReadError> {
    let (key, value) = text.split_once('=').ok_or(ReadError::NoValue)?;
    let key = read_key(key)?;
    if is_label_value(value) { Ok((key, value.to_owned())) } else { Err(ReadError::Value(value.to_owned())) }
}

/// Parses the name of a Secret.
///
/// # Errors
///
/// Returns an error if the name is not valid.
pub fn read_secret_name(text: &str) -> Result<String, ReadError> {
    if is_subdomain(text) { Ok(text.to_owned()) } else { Err(ReadError::Name(text.to_owned())) }
}

/// The scheduling fields of the pods of the server and of the Jobs.
pub(super) fn placement(options: &Options) -> Value {
    let mut fields = node_selector(&options.node_selector);
    if let Some(secrets) = image_pull_secrets(options) {
        fields["imagePullSecrets"] = secrets;
    }
    if !options.tolerations.is_empty() {
        fields["tolerations"] = options.tolerations.iter().map(Toleration::value).collect();
    }
    fields
}

/// The scheduling fields of pods that run on every Linux node.
pub(super) fn on_every_node(options: &Options) -> Value {
    let mut fields = node_selector(&BTreeMap::new());
    if let Some(secrets) = image_pull_secrets(options) {
        fields["imagePullSecrets"] = secrets;
    }
    fields["tolerations"] = json!([{"operator": "Exists"}]);
    fields
}

/// Always selects Linux, because Windows nodes often have no taint.
fn node_selector(more: &BTreeMap<String, String>) -> Value {
    let (key, value) = OS_LABEL;
    let mut selector = json!({ key: value });
    for (key, value) in more {
        selector[key] = json!(value);
    }
    json!({ "nodeSelector": selector })
}

fn image_pull_secrets(options: &Options) -> Option<Value> {
    let secrets = &options.image_pull_secrets;
    (!secrets.is_empty()).then(|| secrets.iter().map(|name| json!({ "name": name })).collect())
}

fn read_effect(text: &str) -> Result<Effect, ReadError> {
    let found = Effect::ALL.into_iter().find(|effect| effect.as_str() == text);
    found.ok_or_else(|| ReadError::Effect(text.to_owned()))
}

fn read_key(text: &str) -> Result<String, ReadError> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name) {
        Ok(text.to_owned())
    } else {
        Err(ReadError::Key(text.to_owned()))
    }
}

/// Whether the text is a valid label value; it may be empty.
fn is_label_value(text: &str) -> bool {
    let ends = |end: Option<char>| end.is_none_or(|end| end.is_ascii_alphanumeric());
    text.len() <= LABEL_LENGTH
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(text.chars().next())
        && ends(text.chars().last())
}

pub(super) fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || c == '-')
    };
    text.len() <= SUBDOMAIN_LENGTH && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::every_effect("pool", json!({"key": "pool", "operator": "Exists"}))]
    #[case::every_value("pool:NoExecute", json!({"key": "pool", "operator": "Exists", "effect": "NoExecute"}))]
    #[case::one_value("pool=system", json!({"key": "pool", "operator": "Equal", "value": "system"}))]
    #[case::empty_value("pool=:NoSchedule", json!({"key": "pool", "operator": "Equal", "value": "", "effect": "NoSchedule"}))]
    #[case::whole(
        "node-role.kubernetes.io/control-plane=x:PreferNoSchedule",
        json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Equal", "value": "x", "effect": "PreferNoSchedule"})
    )]
    fn a_toleration_is_written_as_kubectl_writes_a_taint(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(Toleration::read(text).unwrap().value(), expected);
    }

    #[rstest]
    #[case::empty("", ReadError::Key(String::new()))]
    #[case::no_key("=a:NoSchedule", ReadError::Key(String::new()))]
    #[case::lower_case("a:noschedule", ReadError::Effect("noschedule".to_owned()))]
    #[case::no_effect("a:", ReadError::Effect(String::new()))]
    #[case::bad_value("a=b c", ReadError::Value("b c".to_owned()))]
    #[case::two_slashes("a/b/c", ReadError::Key("a/b/c".to_owned()))]
    #[case::no_prefix("/b", ReadError::Key("/b".to_owned()))]
    fn invalid_tolerations_are_refused(#[case] text: &str, #[case] expected: ReadError) {
        assert_eq!(Toleration::read(text), Err(expected));
    }

    #[rstest]
    #[case::plain("pool=system", Ok(("pool", "system")))]
    #[case::prefix("example.com/pool=a_b.c", Ok(("example.com/pool", "a_b.c")))]
    #[case::empty_value("pool=", Ok(("pool", "")))]
    #[case::no_value("pool", Err(ReadError::NoValue))]
    #[case::no_key("=system", Err(ReadError::Key(String::new())))]
    #[case::upper_case_prefix("Example.com/pool=a", Err(ReadError::Key("Example.com/pool".to_owned())))]
    #[case::ends_in_a_dash("pool=a-", Err(ReadError::Value("a-".to_owned())))]
    #[case::two_equal_signs("pool=a=b", Err(ReadError::Value("a=b".to_owned())))]
    fn labels(#[case] text: &str, #[case] expected: Result<(&str, &str), ReadError>) {
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read_label(text), expected);
    }

    #[test]
    fn a_label_is_no_longer_than_the_api_allows() {
        let (longest, longer) = ("a".repeat(63), "a".repeat(64));
        assert!(read_label(&format!("{longest}={longest}")).is_ok());
        assert!(read_label(&format!("{longer}=a")).is_err());
        assert!(read_label(&format!("a={longer}")).is_err());
    }

    #[rstest]
    #[case::plain("registry.example", true)]
    #[case::empty("", false)]
    #[case::upper_case("Registry", false)]
    #[case::two_dots("a..b", false)]
    #[case::dash_first("-a", false)]
    fn names_of_secrets(#[case] name: &str, #[case] good: bool) {
        assert_eq!(read_secret_name(name).is_ok(), good);
    }
}
