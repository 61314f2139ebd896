//! The policy: the user's YAML file, parsed and checked.
//!
//! Sets what follows from a finding: an action for each rule, exemptions with a reason and an end date, and the
//! thresholds of the rules. All mistakes of a file are reported at once, with their lines. `docs/policy.md` describes
//! the schema.

mod annotation;
mod exemption;
mod raw;
mod schema;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::civil::Date;

pub use self::schema::schema;
pub use self::{
    annotation::{AnnotationError, AnnotationExemption},
    exemption::{Exempt, Exemption, Pattern, RuleSet, Subject},
};
use super::facts::Facts;
pub use super::fields::PolicyError;
use crate::{
    judgement::finding::{Action, RuleId},
    linkerd::{Injection, proxy_init::UPSTREAM_IMAGES},
    servers::Catalog,
    workload::object::Kind,
};

/// The default close-wait timeout: 1 h, as kube-proxy sets it for nodes (`conntrack.tcpCloseWaitTimeout`).
pub const CLOSE_WAIT_TIMEOUT: Duration = Duration::from_secs(3600);

/// A checked policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The close-wait timeout and how to set it.
    pub close_wait: CloseWait,
    /// How close the period of a probe may be to an idle timeout.
    pub tolerance: Duration,
    /// Which findings with the action `reject` are rejected.
    pub reject: RejectWhen,
    /// How certain a finding must be to reject an object.
    pub reject_from: RejectFrom,
    /// Which objects are rejected.
    pub reject_at: RejectAt,
    /// The actions that differ from the defaults of the rules.
    pub rules: BTreeMap<RuleId, Action>,
    /// The exemptions, with their reasons and end dates.
    pub exemptions: Vec<Exemption>,
    /// Whether a pod may exempt itself with an annotation.
    pub annotation_exemptions: bool,
    /// Whether a workload whose template has no injection annotation is judged as an injected one.
    pub assume_injected: bool,
    /// The server catalog: the built-in entries and those of the user.
    pub catalog: Cow<'static, Catalog>,
    /// Measurements of servers, from a facts file.
    pub facts: Facts,
}

/// The close-wait timeout and how to set it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseWait {
    /// How long a silent half-closed connection is remembered; `None` leaves the timeout unchanged.
    pub timeout: Option<Duration>,
    /// The repositories of proxy-init images, upstream's first.
    pub images: Vec<String>,
    /// The method.
    pub via: Via,
    /// Whether pods that are meshed through linkerd-cni may get our init container, which is privileged.
    pub cni: bool,
    /// The image of our init container. It is set by a flag, not in the file.
    pub init_image: Option<String>,
}

/// The method of setting the close-wait timeout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Via {
    /// linkerd-init if possible, otherwise our init container.
    #[default]
    Auto,
    /// Only linkerd-init.
    ProxyInit,
    /// Our init container.
    InitContainer,
    /// `spec.securityContext.sysctls`, which kubelet must allow.
    PodSysctl,
}

impl Via {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Auto, Self::ProxyInit, Self::InitContainer, Self::PodSysctl];

    /// The name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ProxyInit => "proxy-init",
            Self::InitContainer => "init-container",
            Self::PodSysctl => "pod-sysctl",
        }
    }
}

impl Default for CloseWait {
    fn default() -> Self {
        Self {
            timeout: Some(CLOSE_WAIT_TIMEOUT),
            images: UPSTREAM_IMAGES.map(str::to_owned).to_vec(),
            via: Via::default(),
            cni: false,
            init_image: None,
        }
    }
}

/// Which findings with the action `reject` are rejected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RejectWhen {
    /// All of them.
    #[default]
    Always,
    /// Only those that can cause failures with the current settings of the proxy.
    Reachable,
}

impl RejectWhen {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Always, Self::Reachable];

    /// The name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Reachable => "reachable",
        }
    }
}

/// How certain a finding must be to reject an object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RejectFrom {
    /// Certain; likely findings give a warning.
    #[default]
    Certain,
    /// Likely or certain.
    Likely,
}

impl RejectFrom {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Certain, Self::Likely];

    /// The name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
        }
    }
}

/// Which objects are rejected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RejectAt {
    /// Workloads, and pods on their own.
    #[default]
    Both,
    /// Only workloads. Their pods get warnings, so that no rollout stops half-way.
    Workloads,
}

impl RejectAt {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Both, Self::Workloads];

    /// The name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Workloads => "workloads",
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            close_wait: CloseWait::default(),
            tolerance: Duration::from_millis(100),
            reject: RejectWhen::default(),
            reject_from: RejectFrom::default(),
            reject_at: RejectAt::default(),
            rules: BTreeMap::new(),
            exemptions: Vec::new(),
            annotation_exemptions: true,
            assume_injected: false,
            catalog: Cow::Borrowed(Catalog::builtin()),
            facts: Facts::default(),
        }
    }
}

impl Policy {
    /// Parses a policy file; an empty file is the default policy.
    ///
    /// # Errors
    ///
    /// Returns every mistake, sorted by line.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyError>> {
        raw::parse(text)
    }

    /// The action for a finding of a rule.
    pub fn action(&self, rule: RuleId) -> Action {
        self.rules.get(&rule).copied().unwrap_or_else(|| rule.default_action())
    }

    /// How to judge an object of this kind that has no proxy. Pods carry the annotations that count, except those of
    /// their namespace. For workloads the policy may assume injection.
    pub fn injection(&self, kind: Kind) -> Injection {
        if self.assume_injected && kind != Kind::Pod { Injection::Assumed } else { Injection::AsAnnotated }
    }

    /// Whether an exemption covers an object today.
    pub fn exemption(&self, subject: &Subject<'_>, rule: RuleId, today: Date) -> Exempt {
        let mut expired = Exempt::No;
        for exemption in self.exemptions.iter().filter(|exemption| exemption.covers(subject, rule)) {
            if exemption.until >= today {
                return Exempt::Yes(exemption.reason.clone());
            }
            if expired == Exempt::No {
                expired = Exempt::Expired { reason: exemption.reason.clone(), until: exemption.until };
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests;
