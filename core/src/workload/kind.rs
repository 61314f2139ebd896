//! The kinds that run pods, and the API groups of Kubernetes.

use jsonptr::Pointer;

/// The kinds that are a pod or contain a pod template.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// core/v1 Pod.
    Pod,
    /// apps Deployment.
    Deployment,
    /// apps StatefulSet.
    StatefulSet,
    /// apps DaemonSet.
    DaemonSet,
    /// apps ReplicaSet.
    ReplicaSet,
    /// core/v1 ReplicationController.
    ReplicationController,
    /// batch Job.
    Job,
    /// batch CronJob.
    CronJob,
    /// core/v1 PodTemplate.
    PodTemplate,
    /// A custom resource with a pod template. `Object::kind_name` is its kind in the API.
    Custom,
}

/// `spec.template`.
const TEMPLATE: &Pointer = Pointer::from_static("/spec/template");
/// The pod template of a CronJob.
const JOB_TEMPLATE: &Pointer = Pointer::from_static("/spec/jobTemplate/spec/template");
/// The pod template of a PodTemplate.
const OWN_TEMPLATE: &Pointer = Pointer::from_static("/template");

impl Kind {
    /// The kinds that are part of Kubernetes.
    pub const BUILT_IN: [Self; 9] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
        Self::PodTemplate,
    ];

    /// The `kind` in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::PodTemplate => "PodTemplate",
            Self::Custom => "custom resource",
        }
    }

    /// The API group; empty for the core group, and for custom resources, which can have any.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController | Self::PodTemplate | Self::Custom => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// Finds the built-in kind with this name and group. `extensions` counts as `apps`, for old manifests.
    pub fn find(group: &str, kind: &str) -> Option<Self> {
        let group = if group == "extensions" { "apps" } else { group };
        Self::BUILT_IN.into_iter().find(|known| known.as_str() == kind && known.group() == group)
    }

    /// Finds the kind by an `apiVersion`, such as `apps/v1`.
    pub(super) fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::find(group_of(api_version), kind)
    }

    /// The JSON pointer of the pod, for built-in kinds.
    pub const fn pod_at(self) -> &'static Pointer {
        match self {
            Self::Pod | Self::Custom => Pointer::root(),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::ReplicationController
            | Self::Job => TEMPLATE,
            Self::CronJob => JOB_TEMPLATE,
            Self::PodTemplate => OWN_TEMPLATE,
        }
    }
}

/// The groups of Kubernetes itself that contain a dot (k8s.io/api, apiextensions-apiserver, kube-aggregator). None of
/// their kinds runs pods.
const KUBERNETES_GROUPS: [&str; 17] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// The API group of an `apiVersion`; empty for the core group.
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether an API group is none of Kubernetes itself.
pub fn is_custom_group(group: &str) -> bool {
    group.contains('.') && !KUBERNETES_GROUPS.contains(&group)
}
