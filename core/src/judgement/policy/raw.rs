//! Parses the text of a policy file into a checked [`Policy`], or returns all mistakes.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{
    CloseWait, Policy, PolicyError, RejectAt, RejectFrom, RejectWhen, Via,
    exemption::{Exemption, Pattern, RuleSet},
};
use crate::{
    base::{duration, yaml},
    judgement::{
        fields::{self as read, Field, Mistakes, Section},
        finding::{Action, RuleId},
    },
    servers::{Catalog, RawServer},
    workload::annotations::{MAX_SECONDS, MIN_SECONDS},
};

pub(super) const FIELDS: [&str; 9] = [
    "closeWait",
    "tolerance",
    "reject",
    "rejectAt",
    "assumeInjected",
    "rules",
    "servers",
    "exemptions",
    "annotations",
];
pub(super) const CLOSE_WAIT_FIELDS: [&str; 4] = ["timeout", "via", "cni", "images"];
pub(super) const EXEMPTION_FIELDS: [&str; 6] =
    ["namespace", "owner", "serviceAccount", "rules", "reason", "until"];

pub(super) fn parse(text: &str) -> Result<Policy, Vec<PolicyError>> {
    read::file(text, "policy", |mistakes, whole, text| {
        let mut policy = Policy::default();
        read_policy(mistakes, whole, text, &mut policy);
        policy
    })
}

fn read_policy(mistakes: &mut Mistakes, whole: &Field<'_>, text: &str, policy: &mut Policy) {
    let Some(root) = mistakes.section(whole, &FIELDS) else { return };
    if let Some(field) = root.get("closeWait") {
        read_close_wait(mistakes, &field, &mut policy.close_wait);
    }
    if let Some(field) = root.get("tolerance")
        && let Some(tolerance) = read_duration(mistakes, &field)
    {
        policy.tolerance = tolerance;
    }
    if let Some(field) = root.get("reject") {
        read_reject(mistakes, &field, policy);
    }
    if let Some(field) = root.get("rejectAt")
        && let Some(at) = mistakes.parse_one_of(&field, "value", &RejectAt::ALL, RejectAt::as_str)
    {
        policy.reject_at = at;
    }
    if let Some(field) = root.get("assumeInjected") {
        let word = mistakes.parse_one_of(&field, "value", &["true", "false"], |word| word);
        policy.assume_injected = word == Some("true");
    }
    if let Some(field) = root.get("rules") {
        policy.rules = read_rules(mistakes, &field);
    }
    if let Some(field) = root.get("servers") {
        read_servers(mistakes, &field, text, policy);
    }
    if let Some(field) = root.get("exemptions") {
        let items = mistakes.list(&field);
        policy.exemptions = items.iter().filter_map(|item| read_exemption(mistakes, item)).collect();
    }
    if let Some(field) = root.get("annotations")
        && let Some(section) = mistakes.section(&field, &["exempt"])
        && let Some(field) = section.get("exempt")
    {
        let word = mistakes.parse_one_of(&field, "value", &["allow", "forbid"], |word| word);
        policy.annotation_exemptions = word != Some("forbid");
    }
}

/// Reads `reject`: a word, or a list of two words for reachability and certainty.
fn read_reject(mistakes: &mut Mistakes, field: &Field<'_>, policy: &mut Policy) {
    let words = match field.node.value {
        yaml::Value::Sequence(_) => mistakes.list(field),
        yaml::Value::Scalar(_) | yaml::Value::Mapping(_) => vec![field.clone()],
    };
    let known = [
        RejectWhen::Always.as_str(),
        RejectWhen::Reachable.as_str(),
        RejectFrom::Certain.as_str(),
        RejectFrom::Likely.as_str(),
    ];
    let (mut when, mut from) = (None, None);
    for item in &words {
        let Some(word) = mistakes.parse_one_of(item, "value", &known, |word| word) else { continue };
        let found = RejectWhen::ALL.into_iter().find(|value| value.as_str() == word);
        let twice = match found {
            Some(value) => when.replace(value).is_some(),
            None => {
                let value = RejectFrom::ALL.into_iter().find(|value| value.as_str() == word);
                from.replace(value.unwrap_or_default()).is_some()
            }
        };
        if twice {
            mistakes
                .at(item, format!("{word} contradicts an earlier value; use one of {}", known.join(", ")));
        }
    }
    policy.reject = when.unwrap_or_default();
    policy.reject_from = from.unwrap_or_default();
}

fn read_close_wait(mistakes: &mut Mistakes, field: &Field<'_>, close_wait: &mut CloseWait) {
    let Some(section) = mistakes.section(field, &CLOSE_WAIT_FIELDS) else { return };
    if let Some(field) = section.get("timeout")
        && let Some(word) = mistakes.word(&field)
    {
        if word == "off" {
            close_wait.timeout = None;
        } else if let Some(timeout) = read_duration(mistakes, &field) {
            if timeout < seconds(MIN_SECONDS) || timeout > seconds(MAX_SECONDS) {
                mistakes.at(&field, format!("{word} is not between 1s and 2147483s; or write off"));
            } else if timeout.subsec_nanos() > 0 {
                mistakes.at(
                    &field,
                    format!("{word} is not a whole number of seconds, which the kernel requires"),
                );
            } else {
                close_wait.timeout = Some(timeout);
            }
        }
    }
    if let Some(field) = section.get("via")
        && let Some(via) = mistakes.parse_one_of(&field, "value", &Via::ALL, Via::as_str)
    {
        close_wait.via = via;
    }
    if let Some(field) = section.get("cni") {
        let word = mistakes.parse_one_of(&field, "value", &["true", "false"], |word| word);
        close_wait.cni = word == Some("true");
    }
    let Some(field) = section.get("images") else { return };
    for item in mistakes.list(&field) {
        let Some(image) = mistakes.word(&item) else { continue };
        if let Some(reason) = not_a_repository(image) {
            mistakes.at(&item, format!("{image:?} {reason}"));
        } else if !close_wait.images.iter().any(|known| known == image) {
            close_wait.images.push(image.to_owned());
        }
    }
}

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}

fn not_a_repository(image: &str) -> Option<&'static str> {
    let last = image.rsplit('/').next().unwrap_or_default();
    if image.contains("://") {
        Some("has a scheme; write only the repository, like registry.example.com/linkerd/proxy-init")
    } else if image.contains('@') || last.contains(':') {
        Some("has a tag or a digest; write only the repository, which matches all of them")
    } else if last.is_empty() || image.contains(char::is_whitespace) || image.contains('*') {
        Some("is not a repository like registry.example.com/linkerd/proxy-init")
    } else {
        None
    }
}

fn read_duration(mistakes: &mut Mistakes, field: &Field<'_>) -> Option<Duration> {
    let word = mistakes.word(field)?;
    duration::parse(word).map_err(|error| mistakes.at(field, error.to_string())).ok()
}

fn read_rules(mistakes: &mut Mistakes, field: &Field<'_>) -> BTreeMap<RuleId, Action> {
    let mut rules = BTreeMap::new();
    let Some(section) = mistakes.map(field) else { return rules };
    for (name, field) in section.fields() {
        let Ok(rule) = name.parse::<RuleId>() else {
            let message = read::unknown_name("rule", name, &RuleId::ALL.map(RuleId::as_str));
            mistakes.add(field.line, format!("rules: {message}"));
            continue;
        };
        match mistakes.parse_one_of(&field, "action", &Action::ALL, Action::as_str) {
            Some(Action::Patch) if !rule.can_patch() => {
                mistakes.at(&field, "this rule has no patch; use reject, warn or ignore");
            }
            Some(action) => {
                rules.insert(rule, action);
            }
            None => {}
        }
    }
    rules
}

fn read_exemption(mistakes: &mut Mistakes, field: &Field<'_>) -> Option<Exemption> {
    let section = mistakes.section(field, &EXEMPTION_FIELDS)?;
    let before = mistakes.0.len();
    let namespace = read_pattern(mistakes, &section, "namespace");
    let service_account = read_pattern(mistakes, &section, "serviceAccount");
    let (owner_kind, owner) = read_owner(mistakes, &section);
    if ["namespace", "owner", "serviceAccount"].iter().all(|name| section.get(name).is_none()) {
        mistakes.at(
            field,
            "it would exempt everything; give at least one of namespace, owner and serviceAccount",
        );
    }
    let rules = read_rule_set(mistakes, &section);
    let reason = match section.get("reason") {
        Some(reason) => mistakes.word(&reason).map(str::to_owned),
        None => {
            mistakes.at(field, "reason is missing; explain why the exemption is needed");
            None
        }
    };
    let until = match section.get("until") {
        Some(until) => {
            let word = mistakes.word(&until)?;
            let date = read::date(word);
            if date.is_none() {
                mistakes.at(&until, format!("{word:?} is not a date such as 2027-01-31"));
            }
            date
        }
        None => {
            mistakes.at(field, "until is missing; give the last day of the exemption, such as 2027-01-31");
            None
        }
    };
    if mistakes.0.len() > before {
        return None;
    }
    let (reason, until) = (reason?, until?);
    let line = section.line as u64;
    Some(Exemption { line, namespace, owner_kind, owner, service_account, rules, reason, until })
}

fn read_pattern(mistakes: &mut Mistakes, section: &Section<'_>, name: &str) -> Option<Pattern> {
    let field = section.get(name)?;
    let word = mistakes.word(&field)?;
    let pattern = Pattern::read(word);
    if pattern.is_none() {
        mistakes.at(&field, format!("{word:?} is neither a name nor a prefix that ends with an asterisk"));
    }
    pattern
}

fn read_owner(mistakes: &mut Mistakes, section: &Section<'_>) -> (Option<String>, Option<Pattern>) {
    let Some(field) = section.get("owner") else { return (None, None) };
    let Some(word) = mistakes.word(&field) else { return (None, None) };
    let (kind, name) = word.split_once('/').map_or((None, word), |(kind, name)| (Some(kind), name));
    let pattern = Pattern::read(name);
    if pattern.is_none() || kind.is_some_and(|kind| kind.is_empty() || kind.contains('*')) {
        mistakes.at(&field, format!("{word:?} is neither like Deployment/web nor like web-*"));
        return (None, None);
    }
    (kind.map(str::to_owned), pattern)
}

fn read_rule_set(mistakes: &mut Mistakes, section: &Section<'_>) -> RuleSet {
    let Some(field) = section.get("rules") else { return RuleSet::All };
    let mut rules = Vec::new();
    let items = mistakes.list(&field);
    if items.is_empty() && matches!(field.node.value, yaml::Value::Sequence(_)) {
        mistakes.at(&field, "it is empty; omit it to exempt from every rule");
    }
    for item in items {
        rules.extend(mistakes.parse_one_of(&item, "rule", &RuleId::ALL, RuleId::as_str));
    }
    RuleSet::Only(rules)
}

fn read_servers(mistakes: &mut Mistakes, field: &Field<'_>, text: &str, policy: &mut Policy) {
    let before = mistakes.0.len();
    let mut servers = Vec::new();
    for (index, item) in mistakes.list(field).iter().enumerate() {
        // Parses each item separately, so that all mistakes are reported.
        let nth = serde_saphyr::with_deserializer_from_str(text, |file| Nth { index }.deserialize(file));
        match nth {
            Ok(Some(server)) => servers.push(server),
            Ok(None) => {}
            Err(error) => {
                let line = error.location().map_or(item.line, |location| location.line() as usize);
                let message = error.without_snippet().to_string();
                mistakes.add(line, format!("{}: {}", item.path, message.lines().next().unwrap_or_default()));
            }
        }
    }
    if mistakes.0.len() > before {
        return;
    }
    match Catalog::builtin().with(servers) {
        Ok(catalog) => policy.catalog = Cow::Owned(catalog),
        Err(errors) => {
            mistakes.0.extend(errors.into_iter().map(|error| PolicyError {
                line: error.line,
                message: format!("servers: {}", error.message),
            }))
        }
    }
}

/// Deserializes one item of `servers`, and skips the rest of the file.
struct Nth {
    index: usize,
}

impl<'de> DeserializeSeed<'de> for Nth {
    type Value = Option<Spanned<RawServer>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Nth {
    type Value = Option<Spanned<RawServer>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "servers" {
                found = map.next_value_seed(NthItem { index: self.index })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct NthItem {
    index: usize,
}

impl<'de> DeserializeSeed<'de> for NthItem {
    type Value = Option<Spanned<RawServer>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NthItem {
    type Value = Option<Spanned<RawServer>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.index {
            list.next_element::<IgnoredAny>()?;
        }
        let found = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}
