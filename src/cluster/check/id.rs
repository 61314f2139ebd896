//! The list of checks: name, category and usual description of each.

/// A check; its name is its section in `docs/check.md`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CheckId {
    /// A client can be made of the kubeconfig.
    ApiClient,
    /// The API server answers.
    ApiQuery,
    /// It is not too old.
    ApiVersion,
    /// Linkerd injects proxies here.
    LinkerdInjector,
    /// Nothing of ours is there yet.
    PreFresh,
    /// The user may create what is installed.
    PreAccess,
    /// Our namespace.
    Namespace,
    /// Its label, by which `linkerd check` finds us.
    ExtensionLabel,
    /// The Deployment has pods that are ready.
    Server,
    /// The policy can be used.
    Policy,
    /// Both webhook configurations are there.
    Configurations,
    /// Ours comes after Linkerd's.
    Order,
    /// Ours is called again after webhooks that come later.
    Reinvocation,
    /// API servers trust the serving certificate.
    CaBundle,
    /// The certificates are not near their end.
    Lifetime,
    /// The labels of namespaces are ones that we know.
    ModeLabels,
    /// There is a namespace to work in.
    OptedIn,
    /// Pod Security keeps nothing from being patched.
    PodSecurity,
    /// No policy of someone else refuses what we patched, live.
    PatchAdmitted,
    /// A pod is patched, live.
    DryRunPatched,
    /// A pod is rejected, live.
    DryRunRejected,
    /// What init containers will set.
    CloseWait,
    /// What the kernel has.
    CloseWaitKernel,
    /// What the timeout costs in entries of conntrack.
    ConntrackEntries,
    /// Init containers that fail at it.
    CloseWaitFails,
    /// Pods from before the webhook.
    Restarts,
    /// Pods whose probe meets the idle timeout.
    ProbeRaces,
}

/// The headings of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Category {
    /// The API server.
    Api,
    /// Linkerd itself.
    Linkerd,
    /// Before the installation.
    Pre,
    /// The objects of the installation.
    Installation,
    /// The webhook configurations.
    Webhooks,
    /// Their certificates.
    Certificate,
    /// The namespaces of the users.
    Namespaces,
    /// The live path.
    DryRun,
    /// The pods of the users.
    DataPlane,
}

impl Category {
    /// The name that is shown; ASCII, for it is underlined by its bytes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "kubernetes-api",
            Self::Linkerd => "linkerd-existence",
            Self::Pre => "pre-linkerd-linger-setup",
            Self::Installation => "linkerd-linger",
            Self::Webhooks => "linkerd-linger-webhooks",
            Self::Certificate => "linkerd-linger-certificate",
            Self::Namespaces => "linkerd-linger-namespaces",
            Self::DryRun => "linkerd-linger-dry-run",
            Self::DataPlane => "linkerd-linger-data-plane",
        }
    }
}

impl CheckId {
    /// Every check, in the order in which they are made.
    pub const ALL: [Self; 27] = [
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
        Self::Order,
        Self::Reinvocation,
        Self::CaBundle,
        Self::Lifetime,
        Self::ModeLabels,
        Self::OptedIn,
        Self::PodSecurity,
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

    /// Its name: the anchor of its hint.
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
            Self::Order => "webhook-order",
            Self::Reinvocation => "webhook-reinvocation",
            Self::CaBundle => "ca-bundle",
            Self::Lifetime => "certificate-lifetime",
            Self::ModeLabels => "mode-labels",
            Self::OptedIn => "opted-in",
            Self::PodSecurity => "pod-security",
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

    /// What it proves.
    pub const fn description(self) -> &'static str {
        match self {
            Self::ApiClient => "can initialize the client",
            Self::ApiQuery => "can query the Kubernetes API",
            Self::ApiVersion => "is running the minimum Kubernetes API version",
            Self::LinkerdInjector => "Linkerd's proxy injector is installed",
            Self::PreFresh => "linkerd-linger is not installed yet",
            Self::PreAccess => "can create what is installed",
            Self::Namespace => "linkerd-linger Namespace exists",
            Self::ExtensionLabel => "linkerd-linger Namespace has the label linkerd.io/extension=linger",
            Self::Server => "webhook server is ready",
            Self::Policy => "policy can be used",
            Self::Configurations => "webhook configurations exist",
            Self::Order => "mutating webhook comes after Linkerd's injectors",
            Self::Reinvocation => "mutating webhook is called again after later webhooks",
            Self::CaBundle => "API server trusts the serving certificate",
            Self::Lifetime => "certificates are not near their end",
            Self::ModeLabels => "labels of namespaces are understood",
            Self::OptedIn => "namespaces opt in",
            Self::PodSecurity => "these namespaces let linkerd-init be patched",
            Self::PatchAdmitted => "no other policy refuses the patch (server-side dry run)",
            Self::DryRunPatched => "a pod is patched (server-side dry run)",
            Self::DryRunRejected => "a pod is rejected (server-side dry run)",
            Self::CloseWait => "close-wait timeouts (for opaque TCP, not HTTP/1) of injected pods",
            Self::CloseWaitKernel => "close-wait timeouts in the kernels of injected pods",
            Self::ConntrackEntries => "conntrack entries of injected pods are far from their limit",
            Self::CloseWaitFails => "no init container fails to set its close-wait timeout",
            Self::Restarts => "no pod is older than the webhook",
            Self::ProbeRaces => "no pod would be rejected if it were created again",
        }
    }

    /// The heading that it stands under.
    pub const fn category(self) -> Category {
        match self {
            Self::ApiClient | Self::ApiQuery | Self::ApiVersion => Category::Api,
            Self::LinkerdInjector => Category::Linkerd,
            Self::PreFresh | Self::PreAccess => Category::Pre,
            Self::Namespace | Self::ExtensionLabel | Self::Server | Self::Policy => Category::Installation,
            Self::Configurations | Self::Order | Self::Reinvocation => Category::Webhooks,
            Self::CaBundle | Self::Lifetime => Category::Certificate,
            Self::ModeLabels | Self::OptedIn | Self::PodSecurity => Category::Namespaces,
            Self::PatchAdmitted | Self::DryRunPatched | Self::DryRunRejected => Category::DryRun,
            Self::CloseWait
            | Self::CloseWaitKernel
            | Self::ConntrackEntries
            | Self::CloseWaitFails
            | Self::Restarts
            | Self::ProbeRaces => Category::DataPlane,
        }
    }

    /// Whether a failure may pass by itself: pods start, certificates are made, API servers take up configurations.
    pub const fn may_recover(self) -> bool {
        matches!(self, Self::Server | Self::CaBundle | Self::DryRunPatched | Self::DryRunRejected)
    }
}
