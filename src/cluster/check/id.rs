//! The checks with their names, categories and descriptions.

/// A check. The name is that of its section in `docs/check.md`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CheckId {
    /// A client can be created from the kubeconfig.
    ApiClient,
    /// The API server responds.
    ApiQuery,
    /// The API server is new enough.
    ApiVersion,
    /// Linkerd's injector is installed.
    LinkerdInjector,
    /// The extension is not installed yet.
    PreFresh,
    /// The user can create all objects of the installation.
    PreAccess,
    /// The namespace of the extension exists.
    Namespace,
    /// The namespace has the label that `linkerd check` looks for.
    ExtensionLabel,
    /// The Deployment has ready pods.
    Server,
    /// The policy is valid.
    Policy,
    /// Both webhook configurations exist.
    Configurations,
    /// The custom resources in the rules of the validating webhook exist.
    Workloads,
    /// The admission policies and their bindings exist.
    AdmissionPolicies,
    /// Our configuration comes after Linkerd's.
    Order,
    /// Our webhook is called again after webhooks that come later.
    Reinvocation,
    /// API servers trust the serving certificate.
    CaBundle,
    /// The certificates are not close to expiry.
    Lifetime,
    /// The labels of the namespaces are valid.
    ModeLabels,
    /// At least one namespace is opted in.
    OptedIn,
    /// No opted-in namespace refuses privileged containers.
    PodSecurity,
    /// The cluster has an API for reports.
    ReportApis,
    /// The CronJob that writes reports succeeds.
    ReportRuns,
    /// No policy or webhook rejects our patch, checked with a dry run.
    PatchAdmitted,
    /// A pod is patched, checked with a dry run.
    DryRunPatched,
    /// A pod is rejected, checked with a dry run.
    DryRunRejected,
    /// The timeouts that init containers set.
    CloseWait,
    /// The timeouts in the kernels.
    CloseWaitKernel,
    /// The conntrack entries that the timeout keeps.
    ConntrackEntries,
    /// Init containers that fail to set the timeout.
    CloseWaitFails,
    /// Pods that are older than the webhook.
    Restarts,
    /// Pods with a probe that meets the idle timeout.
    ProbeRaces,
}

/// The headings of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Category {
    /// The API server.
    Api,
    /// Linkerd.
    Linkerd,
    /// Before the installation.
    Pre,
    /// The objects of the installation.
    Installation,
    /// The webhook configurations.
    Webhooks,
    /// The certificates.
    Certificate,
    /// The namespaces of the users.
    Namespaces,
    /// The reports of `install --reports`.
    Reports,
    /// The dry runs.
    DryRun,
    /// The pods of the users.
    DataPlane,
}

impl Category {
    /// The displayed name; ASCII, because it is underlined by its length in bytes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "kubernetes-api",
            Self::Linkerd => "linkerd-existence",
            Self::Pre => "pre-linkerd-linger-setup",
            Self::Installation => "linkerd-linger",
            Self::Webhooks => "linkerd-linger-webhooks",
            Self::Certificate => "linkerd-linger-certificate",
            Self::Namespaces => "linkerd-linger-namespaces",
            Self::Reports => "linkerd-linger-reports",
            Self::DryRun => "linkerd-linger-dry-run",
            Self::DataPlane => "linkerd-linger-data-plane",
        }
    }
}

impl CheckId {
    /// Every check, in the order of execution.
    pub const ALL: [Self; 31] = [
        Self::ApiClient,
        Self::ApiQuery,
        Self::ApiVersion,
        Self::LinkerdInjector,
        Self::PreFresh,
        Self::PreAccess,
        Self::Namespace,
        Self::ExtensionLabel,
        Self::Server,
        Self::Policy,
        Self::Configurations,
        Self::Workloads,
        Self::AdmissionPolicies,
        Self::Order,
        Self::Reinvocation,
        Self::CaBundle,
        Self::Lifetime,
        Self::ModeLabels,
        Self::OptedIn,
        Self::PodSecurity,
        Self::ReportApis,
        Self::ReportRuns,
        Self::PatchAdmitted,
        Self::DryRunPatched,
        Self::DryRunRejected,
        Self::CloseWait,
        Self::CloseWaitKernel,
        Self::ConntrackEntries,
        Self::CloseWaitFails,
        Self::Restarts,
        Self::ProbeRaces,
    ];

    /// The name, which is the anchor of its hint.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiClient => "api-client",
            Self::ApiQuery => "api-query",
            Self::ApiVersion => "api-version",
            Self::LinkerdInjector => "linkerd-injector",
            Self::PreFresh => "pre-no-other-installation",
            Self::PreAccess => "pre-access",
            Self::Namespace => "namespace",
            Self::ExtensionLabel => "extension-label",
            Self::Server => "server",
            Self::Policy => "policy",
            Self::Configurations => "webhook-configurations",
            Self::Workloads => "webhook-workloads",
            Self::AdmissionPolicies => "admission-policies",
            Self::Order => "webhook-order",
            Self::Reinvocation => "webhook-reinvocation",
            Self::CaBundle => "ca-bundle",
            Self::Lifetime => "certificate-lifetime",
            Self::ModeLabels => "mode-labels",
            Self::OptedIn => "opted-in",
            Self::PodSecurity => "pod-security",
            Self::ReportApis => "report-apis",
            Self::ReportRuns => "report-runs",
            Self::PatchAdmitted => "patch-admitted",
            Self::DryRunPatched => "dry-run-patched",
            Self::DryRunRejected => "dry-run-rejected",
            Self::CloseWait => "close-wait-values",
            Self::CloseWaitKernel => "close-wait-in-kernel",
            Self::ConntrackEntries => "conntrack-entries",
            Self::CloseWaitFails => "close-wait-failing",
            Self::Restarts => "pods-to-restart",
            Self::ProbeRaces => "probe-races",
        }
    }

    /// The default description.
    pub const fn description(self) -> &'static str {
        match self {
            Self::ApiClient => "can initialize the client",
            Self::ApiQuery => "can query the Kubernetes API",
            Self::ApiVersion => "is running the minimum Kubernetes API version",
            Self::LinkerdInjector => "Linkerd's proxy injector is installed",
            Self::PreFresh => "linkerd-linger is not installed yet",
            Self::PreAccess => "can create the objects of the installation",
            Self::Namespace => "linkerd-linger Namespace exists",
            Self::ExtensionLabel => "linkerd-linger Namespace has the label linkerd.io/extension=linger",
            Self::Server => "webhook server is ready",
            Self::Policy => "policy can be used",
            Self::Configurations => "webhook configurations exist",
            Self::Workloads => "custom resources of `install --workloads` exist",
            Self::AdmissionPolicies => "admission policies and their bindings exist",
            Self::Order => "mutating webhook is called after Linkerd's injectors",
            Self::Reinvocation => "mutating webhook is called again after later webhooks",
            Self::CaBundle => "API server trusts the serving certificate",
            Self::Lifetime => "certificates do not expire soon",
            Self::ModeLabels => "namespace labels are valid",
            Self::OptedIn => "namespaces opt in",
            Self::PodSecurity => "these namespaces allow the patch of linkerd-init",
            Self::ReportApis => "the cluster has an API for reports",
            Self::ReportRuns => "reports are written",
            Self::PatchAdmitted => "no other policy refuses the patch (server-side dry run)",
            Self::DryRunPatched => "a pod is patched (server-side dry run)",
            Self::DryRunRejected => "a pod is rejected (server-side dry run)",
            Self::CloseWait => "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods",
            Self::CloseWaitKernel => "close-wait timeouts in the kernels of injected pods",
            Self::ConntrackEntries => "conntrack entries of injected pods are far from their limit",
            Self::CloseWaitFails => "no init container fails to set the close-wait timeout",
            Self::Restarts => "no pod is older than the webhook",
            Self::ProbeRaces => "no pod would be rejected when it is re-created",
        }
    }

    /// The category.
    pub const fn category(self) -> Category {
        match self {
            Self::ApiClient | Self::ApiQuery | Self::ApiVersion => Category::Api,
            Self::LinkerdInjector => Category::Linkerd,
            Self::PreFresh | Self::PreAccess => Category::Pre,
            Self::Namespace
            | Self::ExtensionLabel
            | Self::Server
            | Self::Policy
            | Self::AdmissionPolicies => Category::Installation,
            Self::Configurations | Self::Workloads | Self::Order | Self::Reinvocation => Category::Webhooks,
            Self::CaBundle | Self::Lifetime => Category::Certificate,
            Self::ModeLabels | Self::OptedIn | Self::PodSecurity => Category::Namespaces,
            Self::ReportApis | Self::ReportRuns => Category::Reports,
            Self::PatchAdmitted | Self::DryRunPatched | Self::DryRunRejected => Category::DryRun,
            Self::CloseWait
            | Self::CloseWaitKernel
            | Self::ConntrackEntries
            | Self::CloseWaitFails
            | Self::Restarts
            | Self::ProbeRaces => Category::DataPlane,
        }
    }

    /// Whether a failure may go away without a change: pods start, certificates are issued, API servers load
    /// configurations.
    pub const fn may_recover(self) -> bool {
        matches!(self, Self::Server | Self::CaBundle | Self::DryRunPatched | Self::DryRunRejected)
    }
}
