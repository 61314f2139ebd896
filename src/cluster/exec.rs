//! Runs programs in containers, adds ephemeral containers, forwards ports and reads logs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, LogParams, Patch, PatchParams},
    core::Request,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::timeout,
};

use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::{Cluster, Read, ReadError, cause, parse, refused};

/// The timeout of a program. Reading a node with 100,000 sockets takes seconds.
const RUN: Duration = Duration::from_secs(60);
/// The maximum length of the output, in bytes: 200 bytes for each of 500,000 sockets.
const MAX_OUTPUT_LEN: u64 = 100 << 20;
/// The maximum length of the quoted error output, in characters.
const MAX_ERROR_LEN: usize = 500;

impl Cluster {
    /// Runs a program in a container and returns its standard output.
    ///
    /// Uses WebSocket, which API servers since 1.30 handle themselves, and older ones pass on to kubelet.
    ///
    /// # Errors
    ///
    /// Returns an error if the program cannot be started, fails, or does not end in time.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &[String],
    ) -> Read<Vec<u8>> {
        let what =
            format!("run {} in the container {container} of the pod {namespace}/{pod}", command.join(" "));
        let failed = |why: String| ReadError::Failed { what: what.clone(), why };
        let exchange = async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
            let mut process = pods
                .exec(pod, command, &params)
                .await
                .map_err(|error| denied(&error, "exec", namespace, &what))?;
            let (mut output, mut errors) = (Vec::new(), Vec::new());
            let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
            let read = async {
                if let Some(stdout) = stdout {
                    stdout.take(MAX_OUTPUT_LEN).read_to_end(&mut output).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            let read_errors = async {
                if let Some(stderr) = stderr {
                    stderr.take(MAX_OUTPUT_LEN).read_to_end(&mut errors).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            tokio::try_join!(read, read_errors).map_err(|error| failed(error.to_string()))?;
            let status = match status {
                Some(status) => status.await,
                None => None,
            };
            match status {
                Some(status) if status.status.as_deref() == Some("Success") => Ok(output),
                status => {
                    let stderr = String::from_utf8_lossy(&errors);
                    let stderr: String = stderr.trim().chars().take(MAX_ERROR_LEN).collect();
                    let message = status.and_then(|status| status.message).unwrap_or_default();
                    Err(failed(if stderr.is_empty() { message } else { stderr }))
                }
            }
        };
        let late = |_| failed(format!("it did not end within {}s", RUN.as_secs()));
        timeout(RUN, exchange).await.map_err(late)?
    }

    /// Opens a connection to a port of a pod. It arrives on the loopback interface of the pod, and so bypasses the
    /// proxy.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be opened. If nothing listens on the port, the stream ends.
    pub async fn port_forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Read<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        let what = format!("forward the port {port} of the pod {namespace}/{pod}");
        let failed = |why: String| ReadError::Failed { what: what.clone(), why };
        let open = async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let mut forwarder = pods
                .portforward(pod, &[port])
                .await
                .map_err(|error| denied(&error, "portforward", namespace, &what))?;
            forwarder
                .take_stream(port)
                .ok_or_else(|| failed("the API server forwarded a different port".to_owned()))
        };
        let late = |_| failed(format!("no response within {}s", super::RESPONSE_TIMEOUT.as_secs()));
        timeout(super::RESPONSE_TIMEOUT, open).await.map_err(late)?
    }

    /// Opens the log of a container, each line with its timestamp: the last `since` of it, or the log of the container
    /// before the last restart. The caller limits the time to read it.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be opened, for example if the container has never restarted.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Duration,
        previous: bool,
    ) -> Read<impl AsyncRead + Send + 'static> {
        let what = format!("read the log of the container {container} of the pod {namespace}/{pod}");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            since_seconds: Some(i64::try_from(since.as_secs().max(1)).unwrap_or(i64::MAX)),
            timestamps: true,
            ..LogParams::default()
        };
        let late = |_| ReadError::Failed {
            what: what.clone(),
            why: format!("no response within {}s", super::RESPONSE_TIMEOUT.as_secs()),
        };
        let stream = timeout(super::RESPONSE_TIMEOUT, pods.log_stream(pod, &params)).await.map_err(late)?;
        Ok(stream.map_err(|error| denied(&error, "log", namespace, &what))?.compat())
    }

    /// Applies a part of an object with its own field manager; with `dry_run` only checks whether that is possible.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server refuses it, for example because another manager owns the field.
    pub async fn apply(&self, path: &str, part: &Value, manager: &str, dry_run: bool) -> Read<()> {
        let what = format!("apply to {path}");
        let (resource, name) = path.rsplit_once('/').unwrap_or(("", path));
        let params = PatchParams { dry_run, ..PatchParams::apply(manager) };
        let request = Request::new(resource).patch(name, &params, &Patch::Apply(part));
        match self.request(&what, request).await? {
            Ok(text) => parse::<serde::de::IgnoredAny>(&what, &text).map(drop),
            Err(status) => Err(ReadError::Failed { what, why: status.message.clone() }),
        }
    }

    /// Adds an ephemeral container to a pod.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server refuses it.
    pub async fn add_ephemeral_container(&self, namespace: &str, pod: &str, container: &Value) -> Read<()> {
        let what = format!("patch pods/ephemeralcontainers of the pod {namespace}/{pod}");
        let patch = json!({"spec": {"ephemeralContainers": [container]}});
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let request = Request::new(path).patch_subresource(
            "ephemeralcontainers",
            pod,
            &PatchParams::default(),
            &Patch::Strategic(patch),
        );
        match self.request(&what, request).await? {
            Ok(text) => parse::<serde::de::IgnoredAny>(&what, &text).map(drop),
            // Admission plugins also answer 403; their reason matters to the user.
            Err(status) if status.code == 403 && !status.message.contains("cannot patch resource") => {
                Err(ReadError::Failed { what, why: status.message.clone() })
            }
            Err(status) => Err(refused(&what, &status)),
        }
    }
}

/// The error for a connection that the API server did not open; a refusal is a response without an upgrade.
fn denied(error: &kube::Error, subresource: &str, namespace: &str, what: &str) -> ReadError {
    let why = cause(error);
    if why.contains("403") {
        ReadError::Forbidden { what: format!("create pods/{subresource} in the namespace {namespace}") }
    } else {
        ReadError::Failed { what: what.to_owned(), why }
    }
}
