//! Policy: the user's file, raw YAML -> checked.
//!
//! Says what follows from a finding: an action per rule, exemptions with a reason and an end, and the numbers that
//! the rules need. Every mistake of a file is reported at once, with its line. The schema is in `docs/policy.md`.

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

/// The close-wait timeout that is set where the policy names none: 1 h, as kube-proxy sets it for nodes
/// (`conntrack.tcpCloseWaitTimeout`).
pub const CLOSE_WAIT_TIMEOUT: Duration = Duration::from_secs(3600);

/// What to do about what the rules find.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The close-wait timeout, and who can set it.
    pub close_wait: CloseWait,
    /// How close a probe's period may come to an idle timeout.
    pub tolerance: Duration,
    /// When a finding that is to be rejected is.
    pub reject: RejectWhen,
    /// How sure a finding must be to lead to a rejection.
    pub reject_from: RejectFrom,
    /// Which objects are rejected.
    pub reject_at: RejectAt,
    /// The actions that differ from the rules' own.
    pub rules: BTreeMap<RuleId, Action>,
    /// Who may do what a rule forbids, why, and until when.
    pub exemptions: Vec<Exemption>,
    /// Whether a pod may exempt itself by an annotation.
    pub annotation_exemptions: bool,
    /// Whether a workload whose template says nothing of injection is judged as one that Linkerd injects.
    pub assume_injected: bool,
    /// The servers: ours, and the user's own.
    pub catalog: Cow<'static, Catalog>,
    /// What was measured of the servers of workloads, from a file of its own.
    pub facts: Facts,
}

/// The close-wait timeout, and who can set it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloseWait {
    /// How long a silent half-closed connection is remembered; `None` to leave it alone.
    pub timeout: Option<Duration>,
    /// The repositories of proxy-init images, upstream's first.
    pub images: Vec<String>,
    /// What is to set it.
    pub via: Via,
    /// Whether a pod that is meshed through linkerd-cni may get our init container, which is privileged.
    pub cni: bool,
    /// The image of our init container. No file says it: commands take it as a flag.
    pub init_image: Option<String>,
}

/// What is to set the close-wait timeout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Via {
    /// linkerd-init where it can, else our init container.
    #[default]
    Auto,
    /// linkerd-init and nothing else.
    ProxyInit,
    /// Our init container.
    InitContainer,
    /// `spec.securityContext.sysctls`, which kubelets must allow.
    PodSysctl,
}

impl Via {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Auto, Self::ProxyInit, Self::InitContainer, Self::PodSysctl];

    /// Its name in policies.
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

/// When a finding whose action is to reject leads to that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RejectWhen {
    /// Whether it can do harm today or not.
    #[default]
    Always,
    /// Only when it can do harm with the pod's proxy as it is set up now.
    Reachable,
}

impl RejectWhen {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Always, Self::Reachable];

    /// Its name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Reachable => "reachable",
        }
    }
}

/// How sure a finding must be to lead to a rejection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RejectFrom {
    /// Certain: a likely one is warned of.
    #[default]
    Certain,
    /// Likely or certain.
    Likely,
}

impl RejectFrom {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Certain, Self::Likely];

    /// Its name in policies.
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
    /// Workloads, and pods by themselves.
    #[default]
    Both,
    /// Workloads only: their pods get warnings, so that no rollout stops half-way.
    Workloads,
}

impl RejectAt {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Both, Self::Workloads];

    /// Its name in policies.
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
    /// Reads a policy file; an empty one is the default policy.
    ///
    /// # Errors
    ///
    /// Every mistake in it, by line.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyError>> {
        raw::parse(text)
    }

    /// What to do about a finding of a rule.
    pub fn action(&self, rule: RuleId) -> Action {
        self.rules.get(&rule).copied().unwrap_or_else(|| rule.default_action())
    }

    /// What to think of an object of this kind that has no proxy. Pods come with the annotations that count, their
    /// namespace's left aside; of workloads the policy may know more.
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
