//! The verdict: what the policy decides about findings.
//!
//! Turns findings and a policy into a [`Verdict`]. The entry points render it, and apply their mode.

use jiff::civil::Date;

use crate::{
    judgement::{
        finding::{Action, Edit, Finding},
        policy::{AnnotationExemption, Exempt, Policy, RejectAt, RejectFrom, RejectWhen, Subject},
    },
    workload::{annotations, object::Object},
};

/// The decision of the policy about an object.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The findings with their actions; those of ignored rules are left out.
    pub judged: Vec<Judged>,
    /// Further remarks: exemptions that have expired or are not allowed.
    pub remarks: Vec<String>,
}

/// A finding and its action.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The finding.
    pub finding: Finding,
    /// The action.
    pub action: Action,
    /// The reason of the exemption that suppresses the action.
    pub exempt: Option<String>,
}

impl Verdict {
    /// The findings with this action, without exempt ones.
    pub fn with_action(&self, action: Action) -> impl Iterator<Item = &Finding> {
        self.judged
            .iter()
            .filter(move |judged| judged.action == action && judged.exempt.is_none())
            .map(|judged| &judged.finding)
    }

    /// Whether the object is rejected.
    pub fn rejects(&self) -> bool {
        self.with_action(Action::Reject).next().is_some()
    }

    /// The edits that fix the object.
    pub fn edits(&self) -> Vec<&Edit> {
        self.with_action(Action::Patch).flat_map(|finding| &*finding.edits).collect()
    }

    /// Whether there is something to warn about.
    pub fn warns(&self) -> bool {
        self.with_action(Action::Warn).next().is_some() || !self.remarks.is_empty()
    }

    /// The overall decision.
    pub fn decision(&self) -> Decision {
        if self.rejects() {
            Decision::Reject
        } else if self.warns() {
            Decision::Warn
        } else {
            Decision::Admit
        }
    }
}

/// The overall decision of a verdict.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Decision {
    /// The object is admitted, possibly patched.
    Admit,
    /// It is admitted with a warning.
    Warn,
    /// It is rejected.
    Reject,
}

impl Decision {
    /// Every decision, the mildest first.
    pub const ALL: [Self; 3] = [Self::Admit, Self::Warn, Self::Reject];

    /// The name in the JSON of `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }
}

/// Decides the action for each finding of an object.
pub fn decide(
    findings: Vec<Finding>,
    object: &Object<'_>,
    namespace: &str,
    policy: &Policy,
    today: Date,
) -> Verdict {
    let subject = Subject::of(object, namespace);
    let (own, mut remarks) = match own_exemption(object, policy, today) {
        Ok(own) => (own, Vec::new()),
        Err(remark) => (None, vec![remark]),
    };
    let mut judged = Vec::new();
    for finding in findings {
        let action = action(&finding, object, policy);
        if action == Action::Ignore {
            continue;
        }
        let exempt = match exemption(&finding, &subject, own.as_ref(), policy, today) {
            Exempt::No => None,
            Exempt::Yes(reason) => Some(reason),
            Exempt::Expired { until, .. } => {
                remarks.push(expired_remark(finding.rule.as_str(), until));
                None
            }
        };
        judged.push(Judged { finding, action, exempt });
    }
    remarks.dedup();
    Verdict { judged, remarks }
}

/// The exemption for a finding: that of the policy, otherwise the pod's own.
fn exemption(
    finding: &Finding,
    subject: &Subject<'_>,
    own: Option<&AnnotationExemption>,
    policy: &Policy,
    today: Date,
) -> Exempt {
    match (policy.exemption(subject, finding.rule, today), own.filter(|own| own.rules.contains(finding.rule)))
    {
        (yes @ Exempt::Yes(_), _) => yes,
        (_, Some(own)) => Exempt::Yes(own.reason.clone()),
        (other @ (Exempt::No | Exempt::Expired { .. }), None) => other,
    }
}

/// The action of the policy for a finding, reduced where the policy says so.
fn action(finding: &Finding, object: &Object<'_>, policy: &Policy) -> Action {
    match policy.action(finding.rule) {
        Action::Reject if policy.reject == RejectWhen::Reachable && !finding.reachable => Action::Warn,
        Action::Reject if policy.reject_from == RejectFrom::Certain && !finding.certainty.is_certain() => {
            Action::Warn
        }
        Action::Reject if object.is_guess() => Action::Warn,
        // Rejecting what a controller creates would block workloads that already run.
        Action::Reject if policy.reject_at == RejectAt::Workloads && has_controller(object) => Action::Warn,
        Action::Patch if finding.edits.is_empty() => Action::Warn,
        action @ (Action::Reject | Action::Patch | Action::Warn | Action::Ignore) => action,
    }
}

/// Whether a workload or a custom resource has created the object. Other owners, such as a ConfigMap, create nothing.
fn has_controller(object: &Object<'_>) -> bool {
    object.owner.as_ref().is_some_and(|owner| owner.judged().is_some() || owner.is_custom())
}

/// The exemption from the annotation of the pod, or the remark about it.
fn own_exemption(
    object: &Object<'_>,
    policy: &Policy,
    today: Date,
) -> Result<Option<AnnotationExemption>, String> {
    let Some(text) = object.pod.annotations.get(annotations::EXEMPT) else { return Ok(None) };
    if !policy.annotation_exemptions {
        return Err(format!("{} is ignored: the policy forbids it", annotations::EXEMPT));
    }
    match AnnotationExemption::parse(text) {
        Ok(own) if own.until < today => Err(expired_remark(&own.rules.to_string(), own.until)),
        Ok(own) => Ok(Some(own)),
        // `invalid-annotation` reports it.
        Err(_) => Ok(None),
    }
}

fn expired_remark(rules: &str, until: Date) -> String {
    format!("the exemption from {rules} expired on {until}")
}
