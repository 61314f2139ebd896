//! The results of the rules: a [`Finding`] says what is wrong and where, an [`Edit`] fixes it.
//!
//! The policy and the verdict decide what follows from a finding.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use jsonptr::{Pointer, PointerBuf};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value;

use crate::{judgement::timeline::Timeline, servers::Certainty};

/// The rules, with the names that policies, annotations, metrics and documents use.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RuleId {
    /// Requests arrive when the server closes the idle connection.
    ProbeMatchesIdleTimeout,
    /// The server closes idle connections that the proxy may still reuse.
    IdleTimeoutBelowProxyPool,
    /// Nothing sets the close-wait timeout, although it could be set.
    CloseWaitUnset,
    /// linkerd-init has the flag for the close-wait timeout, and will fail because of it.
    CloseWaitBroken,
    /// Linkerd cannot set the close-wait timeout here, and no other method is allowed.
    CloseWaitUnsupported,
    /// A container is not what its name says: linkerd-init is not Linkerd's, or linger-close-wait is not ours.
    CloseWaitUntrusted,
    /// An annotation of linkerd-linger is invalid.
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

    /// The name.
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

    /// The action if the policy does not set one.
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

    /// Whether its findings can contain an edit, so that [`Action::Patch`] makes sense.
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
    /// Ignore it; it is not even counted.
    Ignore,
    /// Admit the object with a warning.
    Warn,
    /// Fix the object; if there is no fix, warn.
    Patch,
    /// Reject the object.
    Reject,
}

impl Action {
    /// Every action, the mildest first.
    pub const ALL: [Self; 4] = [Self::Ignore, Self::Warn, Self::Patch, Self::Reject];

    /// The name in policies and metrics.
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

/// A name that is not in a closed set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown {noun} {name:?}; expected one of {known}")]
pub struct UnknownName {
    /// The kind of name.
    pub noun: &'static str,
    /// The unknown name.
    pub name: String,
    /// The known names.
    pub known: String,
}

/// A problem that a rule found in a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// Whether it can cause failures with the current settings of the proxy.
    pub reachable: bool,
    /// How certain it is.
    pub certainty: Certainty,
    /// The container, unless the finding is about the whole pod.
    pub container: Option<String>,
    /// The locations in the object, the most relevant first: JSON pointers from the root of the object.
    pub at: Vec<PointerBuf>,
    /// The location and the fact, in one line that fits an admission warning.
    pub message: String,
    /// The reason: how it is known, and whether it can cause failures now. May be empty.
    pub note: String,
    /// How to fix it, in one line.
    pub help: String,
    /// The edits that fix it; empty if none is known.
    pub edits: Arc<[Edit]>,
    /// The numbers that the rule compared, if it is about idle connections.
    pub timeline: Option<Timeline>,
}

/// A change of the object.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The location: a JSON pointer from the root of the object.
    pub at: PointerBuf,
    /// The change.
    pub change: Change,
}

impl Edit {
    /// The path of its JSON Patch operation.
    pub fn path(&self) -> Cow<'_, Pointer> {
        match self.change {
            Change::Append(_) => Cow::Owned(self.at.with_trailing_token("-")),
            Change::Set(_) | Change::Replace(_) | Change::Insert(_) | Change::Remove => {
                Cow::Borrowed(&self.at)
            }
        }
    }
}

/// Serializes as an operation of a JSON Patch (RFC 6902). `add` replaces a member that exists (4.1), so it does not
/// depend on the current content of the object.
impl Serialize for Edit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (op, value) = match &self.change {
            Change::Set(value) | Change::Insert(value) | Change::Append(value) => ("add", Some(value)),
            Change::Replace(value) => ("replace", Some(value)),
            Change::Remove => ("remove", None),
        };
        let mut operation = serializer.serialize_struct("Edit", 3)?;
        operation.serialize_field("op", op)?;
        operation.serialize_field("path", self.path().as_str())?;
        match value {
            Some(value) => operation.serialize_field("value", value)?,
            None => operation.skip_field("value")?,
        }
        operation.end()
    }
}

/// The kinds of change. Each is safe to apply to the object that it was planned for.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Sets a member of an existing object, whether or not the member exists.
    Set(Value),
    /// Replaces an item of an existing list.
    Replace(Value),
    /// Appends to an existing list.
    Append(Value),
    /// Inserts before an item of an existing list.
    Insert(Value),
    /// Removes an item of an existing list.
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
        assert!(error.starts_with("unknown rule \"probe\"; expected one of probe-matches-idle-timeout, "));
    }
}
