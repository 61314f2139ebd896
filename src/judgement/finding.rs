//! The nouns of judgement: a [`Finding`] says what is wrong and where, an [`Edit`] what would mend it.
//!
//! What follows from a finding is left to the policy and the verdict.

use std::{fmt, str::FromStr};

use json_patch::jsonptr::PointerBuf;
use serde_json::Value;

use crate::servers::Certainty;

/// The rules, by the names that policies, annotations, metrics and documents use.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RuleId {
    /// Requests come at the moment at which the server closes the idle connection.
    ProbeMatchesIdleTimeout,
    /// The server closes idle connections that the proxy still re-uses.
    IdleTimeoutBelowProxyPool,
    /// Nothing sets the close-wait timeout, and something could.
    CloseWaitUnset,
    /// The proxy-init container is told to set the close-wait timeout, and will fail to.
    CloseWaitBroken,
    /// Linkerd cannot set the close-wait timeout here, and nothing else is allowed to.
    CloseWaitUnsupported,
    /// A container is not what its name says: linkerd-init not Linkerd's, or linger-close-wait not ours.
    CloseWaitUntrusted,
    /// One of our annotations cannot be read.
    InvalidAnnotation,
}

impl RuleId {
    /// Every rule, in the order in which reports list them.
    pub const ALL: [Self; 7] = [
        Self::ProbeMatchesIdleTimeout,
        Self::IdleTimeoutBelowProxyPool,
        Self::CloseWaitUnset,
        Self::CloseWaitBroken,
        Self::CloseWaitUnsupported,
        Self::CloseWaitUntrusted,
        Self::InvalidAnnotation,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProbeMatchesIdleTimeout => "probe-matches-idle-timeout",
            Self::IdleTimeoutBelowProxyPool => "idle-timeout-below-proxy-pool",
            Self::CloseWaitUnset => "close-wait-unset",
            Self::CloseWaitBroken => "close-wait-broken",
            Self::CloseWaitUnsupported => "close-wait-unsupported",
            Self::CloseWaitUntrusted => "close-wait-untrusted",
            Self::InvalidAnnotation => "invalid-annotation",
        }
    }

    /// What happens on a finding of it when the policy says nothing.
    pub const fn default_action(self) -> Action {
        match self {
            Self::ProbeMatchesIdleTimeout => Action::Reject,
            Self::CloseWaitUnset | Self::CloseWaitBroken => Action::Patch,
            Self::IdleTimeoutBelowProxyPool
            | Self::CloseWaitUnsupported
            | Self::CloseWaitUntrusted
            | Self::InvalidAnnotation => Action::Warn,
        }
    }

    /// Whether its findings can carry an edit, so that [`Action::Patch`] makes sense for it.
    pub const fn can_patch(self) -> bool {
        matches!(self.default_action(), Action::Patch)
    }
}

impl FromStr for RuleId {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name).ok_or_else(|| UnknownName {
            noun: "rule",
            name: name.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do about a finding.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Nothing; it is not even counted.
    Ignore,
    /// Admit, and say so.
    Warn,
    /// Mend it; where nothing can be mended, warn.
    Patch,
    /// Refuse the object.
    Reject,
}

impl Action {
    /// Every action, the mildest first.
    pub const ALL: [Self; 4] = [Self::Ignore, Self::Warn, Self::Patch, Self::Reject];

    /// Its name in policies and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Warn => "warn",
            Self::Patch => "patch",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for Action {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|action| action.as_str() == name).ok_or_else(|| UnknownName {
            noun: "action",
            name: name.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// A word that names none of a closed set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no {noun} is named {name:?}; there are {known}")]
pub struct UnknownName {
    /// What was looked for.
    pub noun: &'static str,
    /// The word.
    pub name: String,
    /// The words that would do.
    pub known: String,
}

/// Something that a rule found in a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// Whether it can do harm with this pod's proxy as it is set up now.
    pub reachable: bool,
    /// How sure it is.
    pub certainty: Certainty,
    /// The container, unless it is about the whole pod.
    pub container: Option<String>,
    /// The places in the object that it is about, most telling first: JSON pointers from the object's root.
    pub at: Vec<PointerBuf>,
    /// The place and the fact, in one line that fits an admission warning.
    pub message: String,
    /// The reason: how we know, and whether it can do harm now. Empty where the message says it all.
    pub note: String,
    /// The way out, in one line.
    pub help: String,
    /// What would mend it; empty when we know of nothing.
    pub edits: Vec<Edit>,
}

/// A change of the object that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where: a JSON pointer from the object's root.
    pub at: PointerBuf,
    /// What.
    pub change: Change,
}

/// The kinds of change, each safe to apply to the object that it was planned on.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Sets a member of an object that is there, whether the member is or not.
    Set(Value),
    /// Replaces an item of a list that is there.
    Replace(Value),
    /// Appends to a list that is there.
    Append(Value),
    /// Inserts before an item of a list that is there.
    Insert(Value),
    /// Removes an item of a list that is there.
    Remove,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for rule in RuleId::ALL {
            assert_eq!(rule.as_str().parse(), Ok(rule));
        }
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        let error = "probe".parse::<RuleId>().unwrap_err().to_string();
        assert!(error.starts_with("no rule is named \"probe\"; there are probe-matches-idle-timeout, "));
    }
}
