//! Reads the objects that the checks need.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList},
};
use kube::api::ListParams;

use super::{Cluster, RawPod};
use crate::{
    base::names,
    cluster::check::{
        Policies, Read, ReadError, Snapshot,
        data_plane::{PodJudge, PodSummary},
        pre::Permission,
        reports::ReportsJob,
        workloads::{self, Resources},
    },
};

/// A label of every injected pod.
pub const INJECTED: &str = "linkerd.io/control-plane-ns";
/// The field selector for pods that have not completed. Completed pods keep their settings, but have no connections.
pub const NOT_COMPLETED: &str = "status.phase!=Succeeded,status.phase!=Failed";

impl Cluster {
    /// Reads the objects of the installation, and those of Linkerd in the namespace `linkerd`.
    pub async fn snapshot(&self, linkerd: &str) -> Snapshot {
        let own = |what: &str| format!("get {what} in the namespace {}", names::NAMESPACE);
        let injector = format!("/apis/apps/v1/namespaces/{linkerd}/deployments/linkerd-proxy-injector");
        let injector_what = format!("get the deployment linkerd-proxy-injector in the namespace {linkerd}");
        let deployment =
            format!("/apis/apps/v1/namespaces/{}/deployments/{}", names::NAMESPACE, names::SERVER);
        let deployment_what = own(&format!("the deployment {}", names::SERVER));
        let secret = format!("/api/v1/namespaces/{}/secrets/{}", names::NAMESPACE, names::CERTIFICATE_SECRET);
        let secret_what = own(&format!("the secret {}", names::CERTIFICATE_SECRET));
        const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
        let mutating = format!("{ADMISSION}/mutatingwebhookconfigurations");
        let validating = format!("{ADMISSION}/validatingwebhookconfigurations");
        let (mutating, validating, namespaces, server, certificate, policy, injector, policies, reports) = tokio::join!(
            self.list(&mutating, "list mutatingwebhookconfigurations"),
            self.list(&validating, "list validatingwebhookconfigurations"),
            self.list("/api/v1/namespaces", "list namespaces"),
            self.get(&deployment, &deployment_what),
            self.get(&secret, &secret_what),
            self.own_config_map(names::POLICY_CONFIG_MAP, names::POLICY_KEY),
            self.get(&injector, &injector_what),
            self.policies(),
            self.reports(),
        );
        let resources = self.resources(validating.as_deref().unwrap_or_default()).await;
        Snapshot {
            mutating,
            validating,
            namespaces,
            server,
            certificate,
            policy,
            injector,
            policies,
            resources,
            reports,
        }
    }

    /// The CronJob that writes reports, with its runs; `None` if it is not installed.
    async fn reports(&self) -> Read<Option<ReportsJob>> {
        let namespace = names::NAMESPACE;
        let batch = format!("/apis/batch/v1/namespaces/{namespace}");
        let cron_job = format!("{batch}/cronjobs/{}", names::REPORTS);
        let what = format!("get the cronjob {} in the namespace {namespace}", names::REPORTS);
        let Some(cron_job) = self.get(&cron_job, &what).await? else { return Ok(None) };
        let (jobs, pods) = (format!("{batch}/jobs"), format!("/api/v1/namespaces/{namespace}/pods"));
        let [list_jobs, list_pods] =
            ["jobs", "pods"].map(|resource| format!("list {resource} in the namespace {namespace}"));
        let (apis, jobs, pods) =
            tokio::join!(self.report_apis(), self.list(&jobs, &list_jobs), self.list(&pods, &list_pods));
        Ok(Some(ReportsJob { cron_job, apis, jobs, pods }))
    }

    /// Reads which resources the API groups have whose custom resources the validating webhook reviews.
    async fn resources(
        &self,
        validating: &[ValidatingWebhookConfiguration],
    ) -> Read<BTreeMap<String, Resources>> {
        let mut found = BTreeMap::new();
        for group in workloads::in_rules(validating).into_keys() {
            let what = format!("read the resources of the API group {group}");
            let mut resources = Resources::new();
            let versions: Option<APIGroup> = self.get(&format!("/apis/{group}"), &what).await?;
            for version in versions.into_iter().flat_map(|group| group.versions) {
                let path = format!("/apis/{}", version.group_version);
                let list: Option<APIResourceList> = self.get(&path, &what).await?;
                resources.extend(
                    list.into_iter().flat_map(|list| list.resources).map(|it| (it.name, it.namespaced)),
                );
            }
            found.insert(group, resources);
        }
        Ok(found)
    }

    /// The admission policies. API servers before 1.36 have no mutating ones.
    async fn policies(&self) -> Read<Policies> {
        const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
        let path = |resource: &str| (format!("{ADMISSION}/{resource}"), format!("list {resource}"));
        let paths = [
            path("mutatingadmissionpolicies"),
            path("mutatingadmissionpolicybindings"),
            path("validatingadmissionpolicies"),
            path("validatingadmissionpolicybindings"),
        ];
        let [mutating, mutating_bindings, validating, validating_bindings] = &paths;
        let (mutating, mutating_bindings, validating, validating_bindings) = tokio::join!(
            self.list(&mutating.0, &mutating.1),
            self.list(&mutating_bindings.0, &mutating_bindings.1),
            self.list(&validating.0, &validating.1),
            self.list(&validating_bindings.0, &validating_bindings.1),
        );
        Ok(Policies {
            mutating: mutating?,
            mutating_bindings: mutating_bindings?,
            validating: validating?,
            validating_bindings: validating_bindings?,
        })
    }

    /// A key of a ConfigMap of the installation; `None` if it is not there.
    pub(in crate::cluster) async fn own_config_map(&self, name: &str, key: &str) -> Read<Option<String>> {
        let path = format!("/api/v1/namespaces/{}/configmaps/{name}", names::NAMESPACE);
        let what = format!("get the configmap {name} in the namespace {}", names::NAMESPACE);
        let found: Option<ConfigMap> = self.get(&path, &what).await?;
        Ok(found.and_then(|map| map.data).unwrap_or_default().remove(key))
    }

    /// Judges the injected pods of a namespace, or of all namespaces.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be listed.
    pub async fn pods(&self, namespace: Option<&str>, judge: &PodJudge) -> Read<Vec<PodSummary>> {
        let (path, what) = match namespace {
            Some(name) => {
                (format!("/api/v1/namespaces/{name}/pods"), format!("list pods in the namespace {name}"))
            }
            None => ("/api/v1/pods".to_owned(), "list pods".to_owned()),
        };
        let params = ListParams::default().labels(INJECTED).fields(NOT_COMPLETED);
        let mut seen = Vec::new();
        self.pages(&path, params, &what, |pods: Vec<RawPod>| {
            seen.extend(pods.iter().filter_map(|pod| judge.summarize(pod.get())));
        })
        .await?;
        Ok(seen)
    }

    /// Checks whether the user can create each object of an installation.
    pub async fn access(&self, permissions: &[Permission]) -> Vec<(Permission, Read<bool>)> {
        // Concurrently, since each request may wait until its timeout.
        let reviews: Vec<_> = permissions
            .iter()
            .copied()
            .map(|permission| {
                let cluster = self.clone();
                (permission, tokio::spawn(async move { cluster.can_create(&permission).await }))
            })
            .collect();
        let mut access = Vec::new();
        for (permission, answer) in reviews {
            let answer = answer.await.unwrap_or_else(|error| {
                let what = format!("read whether you can create {}", permission.resource);
                Err(ReadError::Failed { what, why: error.to_string() })
            });
            access.push((permission, answer));
        }
        access
    }
}
