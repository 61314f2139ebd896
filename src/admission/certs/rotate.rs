//! Runs the rotation steps in a cluster until none is left.
//!
//! Reads all objects again before each step. Each write names the resource version that was read, so if two runs
//! overlap, one write is refused and that run starts over.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{
    Certificate, Observed, PROPAGATION, Published, Step, Stored, Trust, issue::IssueError, next, renew,
    track_trust,
};
use crate::{
    base::{errors::describe, names, pem},
    review::WebhookKind,
};

/// The timeouts of a rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// The limit for the whole rotation.
    pub deadline: Duration,
    /// The delay between two attempts to reach the API server.
    pub retry: Duration,
    /// How long to wait until every API server has seen a change.
    pub propagation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5 * 60),
            retry: Duration::from_secs(2),
            propagation: PROPAGATION,
        }
    }
}

/// Why the rotation did not complete.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The API server refuses a request.
    #[error("the API server did not allow the request to {what}: {why}")]
    Refused {
        /// The operation.
        what: String,
        /// The reason.
        why: String,
    },
    /// The deadline passed.
    #[error("gave up after {after:?}; the last failed step was to {what}")]
    Deadline {
        /// The length of the deadline.
        after: Duration,
        /// The last operation.
        what: String,
    },
    /// The Secret was not created by this command.
    #[error(
        "the Secret {namespace}/{secret} was not created by `certs rotate` ({why}), so it is not changed: if \
         another program manages it, delete the CronJob with `kubectl -n {namespace} delete cronjob {keeper}`; \
         otherwise delete the Secret",
        namespace = names::NAMESPACE,
        secret = names::CERTIFICATE_SECRET,
        keeper = names::CERTIFICATE_CRON_JOB
    )]
    Foreign {
        /// The difference that shows it.
        why: String,
    },
    /// A certificate could not be created.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Runs steps until none is left, and returns those that changed something.
///
/// # Errors
///
/// Returns an error if the API server refuses a request or the deadline passes.
pub async fn rotate(
    client: Client,
    clock: impl Fn() -> Timestamp,
    timeouts: Timeouts,
) -> Result<Vec<Step>, RotateError> {
    let mut run = Run {
        cluster: Cluster::new(client),
        timeouts,
        trust: None,
        done: vec![],
        current_operation: "reach the API server".to_owned(),
    };
    match timeout(timeouts.deadline, run.until_done(clock)).await {
        Ok(Ok(())) => Ok(run.done),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(RotateError::Deadline { after: timeouts.deadline, what: run.current_operation }),
    }
}

struct Run {
    cluster: Cluster,
    timeouts: Timeouts,
    trust: Option<Trust>,
    done: Vec<Step>,
    current_operation: String,
}

impl Run {
    async fn until_done(&mut self, clock: impl Fn() -> Timestamp) -> Result<(), RotateError> {
        loop {
            let Some(observation) = self.observe().await? else { continue };
            let now = clock();
            self.trust = track_trust(self.trust.take(), &observation.observed, now);
            let step = next(&observation.observed, self.trust.as_ref(), self.timeouts.propagation, now);
            match &step {
                Step::Done => return Ok(()),
                Step::AwaitPropagation(rest) => {
                    "wait until every API server trusts the new CA".clone_into(&mut self.current_operation);
                    info!(?rest, "waiting until every API server trusts the new CA");
                    sleep(*rest).await;
                }
                Step::AwaitConfiguration(configuration) => {
                    self.current_operation = format!(
                        "find the {} {}",
                        configuration.configuration(),
                        names::WEBHOOK_CONFIGURATION
                    );
                    info!(kind = configuration.configuration(), "waiting for the webhook configuration");
                    sleep(self.timeouts.retry).await;
                }
                Step::RenewAuthority { .. } | Step::RenewLeaf => {
                    self.current_operation = format!("write the Secret {}", names::CERTIFICATE_SECRET);
                    let renew = renew(observation.observed.stored.as_ref(), &step, now)?;
                    let written = self.cluster.store(observation.secret, &renew).await;
                    self.record(written, step, "wrote the Secret").await?;
                }
                Step::Publish { configuration, bundle } => {
                    let (configuration, bundle) = (*configuration, bundle.clone());
                    self.current_operation = format!("patch the {}", configuration.configuration());
                    let written = self.cluster.publish(configuration, &observation, &bundle).await;
                    self.record(written, step, "wrote the CA certificates to the webhook configurations")
                        .await?;
                }
            }
        }
    }

    /// Reads the current state; `None` if the read should be repeated.
    async fn observe(&mut self) -> Result<Option<Observation>, RotateError> {
        match self.cluster.observe().await {
            Ok(observation) => match observation.secret.as_ref().and_then(foreign_reason) {
                Some(why) => Err(RotateError::Foreign { why }),
                None => Ok(Some(observation)),
            },
            Err(error) => {
                "read the Secret and the webhook configurations".clone_into(&mut self.current_operation);
                self.retry_later(error).await.map(|()| None)
            }
        }
    }

    async fn record(
        &mut self,
        written: kube::Result<()>,
        step: Step,
        message: &str,
    ) -> Result<(), RotateError> {
        match written {
            Ok(()) => {
                info!(?step, "{message}");
                self.done.push(step);
                Ok(())
            }
            Err(error) => self.retry_later(error).await,
        }
    }

    /// Waits after a transient error.
    async fn retry_later(&mut self, error: kube::Error) -> Result<(), RotateError> {
        if !is_retryable(&error) {
            return Err(RotateError::Refused {
                what: self.current_operation.clone(),
                why: short_message(&error),
            });
        }
        warn!(error = short_message(&error), "could not {}; retrying", self.current_operation);
        self.current_operation = format!("{} ({})", self.current_operation, short_message(&error));
        sleep(self.timeouts.retry).await;
        Ok(())
    }
}

/// The message of the API server, or the connection error. kube's own text repeats it three times.
fn short_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}: {}", status.code, status.reason, status.message),
        _ => describe(error),
    }
}

/// Reports whether the same request may succeed later: a write conflict (409), a busy or starting API server, or a
/// network error. With 403 and 404, the Role or the namespace may be created after this request, when all manifests are
/// applied at once.
fn is_retryable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 403 | 404 | 408 | 409 | 429 | 500..),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

/// The current state, with the resource versions that a write must name.
struct Observation {
    observed: Observed,
    secret: Option<Secret>,
    configurations: [Option<DynamicObject>; 2],
}

/// Why a Secret was not created by [`empty_secret`]. A CronJob left behind by an earlier installation must not
/// overwrite a certificate of the user or of cert-manager.
fn foreign_reason(secret: &Secret) -> Option<String> {
    let ours = empty_secret();
    if secret.type_ != ours.type_ {
        return Some(format!("its type is {}", secret.type_.as_deref().unwrap_or_default()));
    }
    let labels = secret.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(names::EXTENSION_LABEL));
    (label.map(String::as_str) != Some(names::EXTENSION))
        .then(|| format!("it has no label {}={}", names::EXTENSION_LABEL, names::EXTENSION))
}

/// The three objects.
struct Cluster {
    secrets: Api<Secret>,
    configurations: [Api<DynamicObject>; 2],
}

impl Cluster {
    fn new(client: Client) -> Self {
        let resources = [
            ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ];
        let configurations = resources.map(|resource| Api::all_with(client.clone(), &resource));
        Self { secrets: Api::namespaced(client, names::NAMESPACE), configurations }
    }

    /// Reads the Secret last, so that its CAs are at least as new as the bundles.
    async fn observe(&self) -> kube::Result<Observation> {
        let [mutating, validating] = &self.configurations;
        let configurations = [
            mutating.get_opt(names::WEBHOOK_CONFIGURATION).await?,
            validating.get_opt(names::WEBHOOK_CONFIGURATION).await?,
        ];
        let secret = self.secrets.get_opt(names::CERTIFICATE_SECRET).await?;
        let published = configurations.each_ref().map(|found| found.as_ref().map(published));
        let observed = Observed { stored: secret.as_ref().map(stored), published };
        Ok(Observation { observed, secret, configurations })
    }

    /// Creates or replaces the Secret, unless it was changed since it was read.
    async fn store(&self, observation: Option<Secret>, content: &Stored) -> kube::Result<()> {
        let params = PostParams {
            field_manager: Some(names::CERTIFICATE_FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let exists = observation.is_some();
        let mut secret = observation.unwrap_or_else(empty_secret);
        let data = secret.data.get_or_insert_default();
        data.extend(content.write().into_iter().map(|(key, bytes)| (key.to_owned(), ByteString(bytes))));
        if exists {
            self.secrets.replace(names::CERTIFICATE_SECRET, &params, &secret).await?;
        } else {
            self.secrets.create(&params, &secret).await?;
        }
        Ok(())
    }

    /// Writes `caBundle` of every webhook, and nothing else, if the configuration has not changed since it was read.
    ///
    /// Does not use server-side apply, which would make this client own a part of each webhook. If another applier then
    /// removed a webhook, the API server would keep our part, which is not a valid webhook, and would refuse the whole
    /// object.
    async fn publish(
        &self,
        configuration: WebhookKind,
        observation: &Observation,
        bundle: &[Certificate],
    ) -> kube::Result<()> {
        let position = match configuration {
            WebhookKind::Mutating => 0,
            WebhookKind::Validating => 1,
        };
        let (Some(found), api) = (&observation.configurations[position], &self.configurations[position])
        else {
            return Ok(());
        };
        let ca_bundle = ByteString(pem::certificates(bundle.iter().map(Certificate::der)).into_bytes());
        let webhooks: Vec<_> = webhooks(found)
            .iter()
            .map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": ca_bundle}}))
            .collect();
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "webhooks": webhooks,
        });
        let params = PatchParams {
            field_manager: Some(names::CERTIFICATE_FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(names::WEBHOOK_CONFIGURATION, &params, &Patch::Strategic(&patch)).await?;
        Ok(())
    }
}

fn empty_secret() -> Secret {
    let labels = [("app.kubernetes.io/name", names::SERVER), (names::EXTENSION_LABEL, names::EXTENSION)];
    let labels: BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Secret {
        metadata: ObjectMeta {
            name: Some(names::CERTIFICATE_SECRET.to_owned()),
            namespace: Some(names::NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        // Not `kubernetes.io/tls`: that type requires a serving certificate at every moment.
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn stored(secret: &Secret) -> Stored {
    Stored::read(|key| Some(secret.data.as_ref()?.get(key)?.0.as_slice()))
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn published(configuration: &DynamicObject) -> Published {
    let bundle = |webhook: &Value| {
        let text: Option<ByteString> =
            serde_json::from_value(webhook["clientConfig"]["caBundle"].clone()).ok();
        text.map(|text| Certificate::read_all(&text.0)).unwrap_or_default()
    };
    Published { bundles: webhooks(configuration).iter().map(bundle).collect() }
}
