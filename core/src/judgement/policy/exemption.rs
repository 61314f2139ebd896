//! Exemptions: which objects a rule does not apply to, why, and until when.

use std::fmt;

use jiff::civil::Date;

use crate::{
    judgement::finding::RuleId,
    workload::{
        object::Object,
        owner::{cron_job_of, deployment_of},
        pod::TEMPLATE_HASH,
    },
};

/// An exemption of the policy file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exemption {
    /// The line in the file.
    pub line: u64,
    /// The namespace, if the exemption names one.
    pub namespace: Option<Pattern>,
    /// The kind of the owner, if the exemption names one.
    pub owner_kind: Option<String>,
    /// The owner, if the exemption names one.
    pub owner: Option<Pattern>,
    /// The service account, if the exemption names one.
    pub service_account: Option<Pattern>,
    /// The rules.
    pub rules: RuleSet,
    /// The reason.
    pub reason: String,
    /// The last day of the exemption.
    pub until: Date,
}

/// A name or a prefix of names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    text: String,
    prefix: bool,
}

impl Pattern {
    /// Parses `web` or `web-*`; `None` if the text is empty or has an asterisk elsewhere.
    pub fn read(text: &str) -> Option<Self> {
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        let good = !text.contains(['*', '/']) && (prefix || !text.is_empty());
        good.then(|| Self { text: text.to_owned(), prefix })
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.text) } else { name == self.text }
    }
}

/// The rules of an exemption.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RuleSet {
    /// All rules.
    All,
    /// These rules.
    Only(Vec<RuleId>),
}

impl RuleSet {
    /// Whether the set contains a rule.
    pub fn contains(&self, rule: RuleId) -> bool {
        match self {
            Self::All => true,
            Self::Only(rules) => rules.contains(&rule),
        }
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every rule"),
            Self::Only(rules) => {
                f.write_str(&rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The attributes of an object that exemptions match.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The namespace; empty if unknown.
    pub namespace: &'a str,
    /// The kind of the controller, or of the workload itself; empty if there is none.
    pub owner_kind: &'a str,
    /// The name of the owner.
    pub owner: &'a str,
    /// The hash that a Deployment gave the pod of its ReplicaSet as a label.
    pub template_hash: Option<&'a str>,
    /// The name of the object.
    pub name: &'a str,
    /// The service account; empty means `default`.
    pub service_account: &'a str,
}

impl<'a> Subject<'a> {
    /// The attributes of an object in this namespace.
    pub fn of(object: &'a Object<'_>, namespace: &'a str) -> Self {
        let owner = object.owner.as_ref();
        Self {
            namespace,
            owner_kind: owner.map_or_else(|| object.kind_name(), |owner| &owner.kind),
            owner: owner
                .map_or_else(|| object.name.as_deref(), |owner| Some(&owner.name))
                .unwrap_or_default(),
            template_hash: object.pod.labels.get(TEMPLATE_HASH),
            name: object.name.as_deref().unwrap_or_default(),
            service_account: object.pod.service_account.as_deref().unwrap_or_default(),
        }
    }
}

/// Whether an exemption covers an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exempt {
    /// No exemption covers it.
    No,
    /// An exemption covers it, for this reason.
    Yes(String),
    /// An exemption covered it until it expired.
    Expired {
        /// The reason.
        reason: String,
        /// The last day.
        until: Date,
    },
}

impl Exemption {
    /// Whether the exemption is for this object and this rule, whatever the date.
    pub fn covers(&self, subject: &Subject<'_>, rule: RuleId) -> bool {
        let matches =
            |pattern: &Option<Pattern>, name: &str| pattern.as_ref().is_none_or(|it| it.matches(name));
        let account = if subject.service_account.is_empty() { "default" } else { subject.service_account };
        self.rules.contains(rule)
            && matches(&self.namespace, subject.namespace)
            && matches(&self.service_account, account)
            && self.owner.as_ref().is_none_or(|owner| self.matches_owner(owner, subject))
    }

    fn matches_owner(&self, owner: &Pattern, subject: &Subject<'_>) -> bool {
        let Some(kind) = &self.owner_kind else {
            return owner.matches(subject.name)
                || owner.matches(subject.owner)
                || workload_above(subject).is_some_and(|(_, name)| owner.matches(name));
        };
        (kind == subject.owner_kind && owner.matches(subject.owner))
            || workload_above(subject).is_some_and(|(of, name)| kind == of && owner.matches(name))
    }
}

/// The Deployment of a ReplicaSet, or the CronJob of a Job.
fn workload_above<'a>(subject: &Subject<'a>) -> Option<(&'static str, &'a str)> {
    match subject.owner_kind {
        "ReplicaSet" => Some(("Deployment", deployment_of(subject.owner, subject.template_hash)?)),
        "Job" => Some(("CronJob", cron_job_of(subject.owner)?)),
        _ => None,
    }
}
