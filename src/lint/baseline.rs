//! A baseline: the findings that a team knows of, so that only new ones are reported.
//!
//! A report -> a baseline file, and a baseline file -> suppressed findings. An entry names the object and no line, so that
//! an edit elsewhere in a file does not bring its findings back.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

use super::report::{FindingReport, ObjectReport, Report, Suppression};
use crate::judgement::{fields::unknown_name, finding::RuleId};

/// The version of the format.
const VERSION: u32 = 1;

/// The findings of a baseline file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Baseline(BTreeMap<Key, usize>);

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Key {
    rule: String,
    kind: String,
    namespace: String,
    name: String,
    container: Option<String>,
}

/// The findings that `lint --baseline` does not report.
#[derive(Deserialize, JsonSchema, Serialize)]
#[schemars(title = "Baseline of linkerd-linger")]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    findings: Vec<Entry>,
}

/// Findings of one rule in one container of one object.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: String,
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    /// The number of findings.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    count: usize,
}

const fn one() -> usize {
    1
}

const fn is_one(count: &usize) -> bool {
    *count == 1
}

/// Why a baseline file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is no YAML of this form.
    #[error("{0}")]
    Form(#[from] serde_saphyr::Error),
    /// It is of another version.
    #[error(
        "its version is {0}, but this program reads version {VERSION}: recreate it with --write-baseline"
    )]
    Version(u32),
    /// It names a rule that does not exist.
    #[error("{0}")]
    Rule(String),
}

const HEAD: &str = "\
# Findings that `linkerd-linger lint --baseline` does not report. Remove entries when they are fixed;
# `linkerd-linger lint --write-baseline` recreates the file.
";

/// The JSON Schema of a baseline file.
pub fn schema() -> Schema {
    schema_for!(File)
}

impl Baseline {
    /// The findings of a report that count.
    pub fn of(report: &Report) -> Self {
        let mut counts = BTreeMap::new();
        for object in &report.objects {
            for finding in object.findings.iter().filter(|finding| finding.counts()) {
                *counts.entry(key(object, finding)).or_insert(0) += 1;
            }
        }
        Self(counts)
    }

    /// How many findings it has.
    pub fn len(&self) -> usize {
        self.0.values().sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the text of a baseline file.
    ///
    /// # Errors
    ///
    /// When it is not of the form that [`Self::text`] writes.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let file: File = serde_saphyr::from_str(text)?;
        if file.version != VERSION {
            return Err(BaselineError::Version(file.version));
        }
        let mut counts = BTreeMap::new();
        for Entry { rule, kind, namespace, name, container, count } in file.findings {
            if rule.parse::<RuleId>().is_err() {
                return Err(BaselineError::Rule(unknown_name(
                    "rule",
                    &rule,
                    &RuleId::ALL.map(RuleId::as_str),
                )));
            }
            *counts.entry(Key { rule, kind, namespace, name, container }).or_insert(0) += count;
        }
        Ok(Self(counts))
    }

    /// The text of a baseline file.
    ///
    /// # Errors
    ///
    /// None that we know of: it consists of strings and numbers.
    pub fn text(&self) -> Result<String, serde_saphyr::ser::Error> {
        let entries = self.0.clone().into_iter().map(|(key, count)| {
            let Key { rule, kind, namespace, name, container } = key;
            Entry { rule, kind, namespace, name, container, count }
        });
        let file = File { version: VERSION, findings: entries.collect() };
        Ok(format!("{HEAD}{}", serde_saphyr::to_string(&file)?))
    }

    /// Suppresses the findings that it has, and returns how many of its own are no longer there. Where there are more of one
    /// kind than it has, all of that kind are reported: nobody can tell which of them is new.
    pub fn apply(&self, report: &mut Report) -> usize {
        let found = Self::of(report).0;
        for object in &mut report.objects {
            let keys: Vec<_> = object.findings.iter().map(|finding| key(object, finding)).collect();
            for (finding, key) in object.findings.iter_mut().zip(keys) {
                let known = self.0.get(&key).copied().unwrap_or_default();
                if finding.counts() && found.get(&key).is_some_and(|found| *found <= known) {
                    finding.suppressed = Some(Suppression::Baseline);
                }
            }
        }
        let gone =
            |(key, known): (&Key, &usize)| known.saturating_sub(found.get(key).copied().unwrap_or_default());
        self.0.iter().map(gone).sum()
    }
}

fn key(object: &ObjectReport, finding: &FindingReport) -> Key {
    Key {
        rule: finding.rule.as_str().to_owned(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        container: finding.container.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("", "")]
    #[case::version("version: 2\nfindings: []\n", "its version is 2")]
    #[case::rule(
        "version: 1\nfindings: [{rule: close-wait-unse, kind: Pod, name: a}]\n",
        "did you mean close-wait-unset?"
    )]
    #[case::field("version: 1\nfindings: [{rule: close-wait-unset, kind: Pod, nam: a}]\n", "nam")]
    fn a_baseline_that_cannot_be_read_says_why(#[case] text: &str, #[case] expected: &str) {
        let error = Baseline::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_baseline_is_read_back() {
        let key = |name: &str, container: Option<&str>| Key {
            rule: "close-wait-unset".into(),
            kind: "Pod".into(),
            namespace: String::new(),
            name: name.into(),
            container: container.map(str::to_owned),
        };
        let baseline = Baseline([(key("a", None), 1), (key("true", Some("web")), 3)].into());
        assert_eq!(Baseline::parse(&baseline.text().unwrap()).unwrap(), baseline);
        assert_eq!(baseline.len(), 4);
    }
}
