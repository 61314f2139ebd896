//! The verdict: what the policy makes of findings.
//!
//! Turns findings and a policy into a [`Verdict`]. How it is told, and whether a mode holds it back, is left to the
//! doors.

use jiff::civil::Date;

use crate::{
    judgement::{
        finding::{Action, Edit, Finding},
        policy::{AnnotationExemption, Exempt, Policy, RejectAt, RejectFrom, RejectWhen, Subject},
    },
    workload::{
        annotations,
        object::{Object, Owner},
    },
};

/// What the policy makes of an object.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The findings with what follows from each; those of ignored rules are left out.
    pub judged: Vec<Judged>,
    /// What is to be said besides: exemptions that are over or not allowed.
    pub remarks: Vec<String>,
}

/// A finding and what follows from it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The finding.
    pub finding: Finding,
    /// What follows.
    pub action: Action,
    /// The reason of the exemption that keeps anything from following.
    pub exempt: Option<String>,
}

impl Verdict {
    /// The findings from which this follows, exempt ones left out.
    pub fn with_action(&self, action: Action) -> impl Iterator<Item = &Finding> {
        self.judged
            .iter()
            .filter(move |judged| judged.action == action && judged.exempt.is_none())
            .map(|judged| &judged.finding)
    }

    /// Whether the object is refused.
    pub fn rejects(&self) -> bool {
        self.with_action(Action::Reject).next().is_some()
    }

    /// The edits that mend the object.
    pub fn edits(&self) -> Vec<Edit> {
        self.with_action(Action::Patch).flat_map(|finding| finding.edits.iter().cloned()).collect()
    }

    /// Whether there is something to warn of.
    pub fn warns(&self) -> bool {
        self.with_action(Action::Warn).next().is_some() || !self.remarks.is_empty()
    }

    /// What it comes to.
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

/// What a verdict comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The object is admitted, perhaps patched.
    Admit,
    /// It is admitted with a warning.
    Warn,
    /// It is refused.
    Reject,
}

impl Decision {
    /// Every decision, the mildest first.
    pub const ALL: [Self; 3] = [Self::Admit, Self::Warn, Self::Reject];

    /// The word for it in the JSON of `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }
}

/// Decides what follows from the findings of an object.
pub fn decide(
    findings: Vec<Finding>,
    object: &Object<'_>,
    namespace: &str,
    policy: &Policy,
    today: Date,
) -> Verdict {
    let owner = object.owner.as_ref();
    let subject = Subject {
        namespace,
        owner_kind: owner.map_or(object.kind.as_str(), |owner| &owner.kind),
        owner: owner.map_or_else(|| object.name.as_deref(), |owner| Some(&owner.name)).unwrap_or_default(),
        name: object.name.as_deref().unwrap_or_default(),
        service_account: object.pod.service_account.as_deref().unwrap_or_default(),
    };
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

/// The exemption that covers a finding: the policy's, else the pod's own.
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

/// What the policy says of a finding, softened where it says so.
fn action(finding: &Finding, object: &Object<'_>, policy: &Policy) -> Action {
    match policy.action(finding.rule) {
        Action::Reject if policy.reject == RejectWhen::Reachable && !finding.reachable => Action::Warn,
        Action::Reject if policy.reject_from == RejectFrom::Certain && !finding.certainty.is_certain() => {
            Action::Warn
        }
        // What a workload makes is judged at the workload: a refusal here would strand what already runs.
        Action::Reject if policy.reject_at == RejectAt::Workloads && is_judged_at_owner(object) => {
            Action::Warn
        }
        Action::Patch if finding.edits.is_empty() => Action::Warn,
        action @ (Action::Reject | Action::Patch | Action::Warn | Action::Ignore) => action,
    }
}

/// Whether a workload owns it that we judge. Of others, such as an Argo Rollout, the first thing that we see is what they
/// make.
fn is_judged_at_owner(object: &Object<'_>) -> bool {
    object.owner.as_ref().and_then(Owner::judged).is_some()
}

/// The exemption that the pod claims for itself, or what is to be said of it.
fn own_exemption(
    object: &Object<'_>,
    policy: &Policy,
    today: Date,
) -> Result<Option<AnnotationExemption>, String> {
    let Some(text) = object.pod.annotations.get(annotations::EXEMPT) else { return Ok(None) };
    if !policy.annotation_exemptions {
        return Err(format!("{} does not count: the policy forbids it", annotations::EXEMPT));
    }
    match AnnotationExemption::parse(text) {
        Ok(own) if own.until < today => Err(expired_remark(&own.rules.to_string(), own.until)),
        Ok(own) => Ok(Some(own)),
        // That is a finding already.
        Err(_) => Ok(None),
    }
}

fn expired_remark(rules: &str, until: Date) -> String {
    format!("the exemption from {rules} ended on {until}")
}
