//! The API server of a cluster: reads objects, checks permissions, and creates pods in dry-run mode.
//!
//! Returns the types of `check`. Every request has a timeout.

pub mod apiserver;
pub mod audit;
pub mod check;
mod exec;
pub mod gather;
pub mod install;

use std::{env, error::Error as _, ffi::OsString, path::PathBuf, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Body as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{
    Client, Config,
    api::{ListParams, PostParams},
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
    core::Request,
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, value::RawValue};
use tokio::time::{sleep, timeout};

use crate::{
    base::{errors::describe, names},
    cluster::check::{
        CheckResult, Read, ReadError,
        dry_run::{self, Answer, DryRun},
        pre::Permission,
    },
};

/// The timeout of a request, as long as that of Linkerd's own checks (linkerd2 `RequestTimeout`).
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of objects in a page, as kubectl's `--chunk-size`.
const PAGE_SIZE: u32 = 500;
/// The status of an expired continue token.
const GONE: u16 = 410;
/// The most memory that is asked for before a body is read; more if it is longer.
const LARGE_BODY: u64 = 8 << 20;
/// How often a page is asked for.
const ATTEMPTS: u32 = 3;
/// The pause after a broken connection.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The cluster to connect to, and the user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Target {
    /// The kubeconfig; otherwise `$KUBECONFIG`, `~/.kube/config` or the ServiceAccount of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; otherwise the current one.
    pub context: Option<String>,
    /// The user to impersonate.
    pub user: Option<String>,
    /// The groups to impersonate.
    pub groups: Vec<String>,
}

/// Why the client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Impersonating a group requires a user.
    #[error("--as-group needs --as")]
    GroupsWithoutUser,
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// TLS or the credentials cannot be set up.
    #[error("cannot set up the client")]
    Client(#[from] kube::Error),
}

impl ConnectError {
    /// The message with its causes.
    pub fn message(&self) -> String {
        let source = self.source();
        source.map_or_else(|| self.to_string(), |source| format!("{self}: {}", describe(source)))
    }
}

/// The API server of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// The version of the API server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// `1`.
    pub major: String,
    /// `31`, or `31+`.
    pub minor: String,
    /// `v1.31.4-gke.1`.
    pub git_version: String,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

impl Cluster {
    /// Creates a client. Sends no request yet, but may run the credential commands of the kubeconfig.
    ///
    /// # Errors
    ///
    /// Returns an error if the kubeconfig cannot be used.
    pub async fn connect(target: &Target) -> Result<Self, ConnectError> {
        if target.user.is_none() && !target.groups.is_empty() {
            return Err(ConnectError::GroupsWithoutUser);
        }
        let mut config = config(target).await?;
        if let Some(user) = &target.user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(target.groups.clone());
        }
        Ok(Self { client: Client::try_from(config)? })
    }

    /// The namespace of the kubeconfig's context.
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// The version of the API server.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not answer with a version.
    pub async fn version(&self) -> Read<ServerVersion> {
        self.read("read the API server's version", hyper::Request::get("/version").body(Vec::new())).await
    }

    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read; `what` is the operation for messages.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, what: &str) -> Read<Option<T>> {
        match self.request(what, hyper::Request::get(path).body(Vec::new())).await? {
            Ok(text) => parse(what, &text).map(Some),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(refused(what, &status)),
        }
    }

    /// Lists all objects below a path.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be listed.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, what: &str) -> Read<Vec<T>> {
        let mut all = Vec::new();
        self.pages(path, ListParams::default(), what, |items| all.extend(items)).await?;
        Ok(all)
    }

    /// Lists the objects below a path, page by page.
    ///
    /// # Errors
    ///
    /// Returns an error if a page cannot be read.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        params: ListParams,
        what: &str,
        mut each: impl FnMut(Vec<T>),
    ) -> Read<()> {
        let mut pages = self.pager(path, params, what);
        while let Some(items) = pages.next().await? {
            each(items);
        }
        Ok(())
    }

    /// The pages of the list below a path. Without a limit in `params`, they have 500 objects.
    pub(in crate::cluster) fn pager<'c>(
        &'c self,
        path: &'c str,
        params: ListParams,
        what: &'c str,
    ) -> Pager<'c> {
        let limit = params.limit.unwrap_or(PAGE_SIZE);
        Pager { cluster: self, path, params: params.limit(limit), what, ended: false }
    }

    /// Checks whether the user can create objects.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not answer.
    pub async fn can_create(&self, permission: &Permission) -> Read<bool> {
        let what = "read your permissions from the API server";
        let attributes = ResourceAttributes {
            verb: Some("create".to_owned()),
            group: Some(permission.group.to_owned()),
            resource: Some(permission.resource.to_owned()),
            namespace: permission.namespaced.then(|| names::NAMESPACE.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let body = serde_json::to_vec(&review)
            .map_err(|error| ReadError::Failed { what: what.to_owned(), why: error.to_string() })?;
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let request = Request::new(path).create(&PostParams::default(), body);
        let answer: SelfSubjectAccessReview = self.read(what, request).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Creates a pod with `dryRun=All`: it passes admission and is not stored.
    async fn dry_run_create(&self, namespace: &str, pod: &Value) -> Answer {
        let what = format!("create pods in the namespace {namespace} in a dry run");
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let request = Request::new(path).create(&params, pod.to_string().into_bytes());
        match self.send(&what, request).await {
            Err(error) => Answer::NotSent(error),
            Ok(Reply { code, body, warnings }) if (200..300).contains(&code) => {
                Answer::Admitted { pod: body, warnings }
            }
            Ok(Reply { code, body, .. }) => {
                let status = status(code, &body);
                // The message of the authorizer; admission plugins also answer 403.
                if code == 403 && status.message.contains("cannot create resource") {
                    Answer::NotSent(ReadError::Forbidden { what })
                } else {
                    Answer::Refused(status.message)
                }
            }
        }
    }

    /// Runs a dry run. If something other than our webhook rejects the pod, sends it once more without our patch.
    pub async fn dry_run(&self, dry_run: &DryRun) -> CheckResult {
        let answer = self.dry_run_create(&dry_run.namespace, &dry_run.pod).await;
        let unpatched = match dry_run.without_patch(&answer) {
            Some(pod) => Some(self.dry_run_create(&dry_run.namespace, &pod).await),
            None => None,
        };
        dry_run::result(dry_run, &answer, unpatched.as_ref())
    }

    async fn read<T: DeserializeOwned, E: std::error::Error + 'static>(
        &self,
        what: &str,
        request: Result<hyper::Request<Vec<u8>>, E>,
    ) -> Read<T> {
        match self.request(what, request).await? {
            Ok(text) => parse(what, &text),
            Err(status) => Err(refused(what, &status)),
        }
    }

    /// The body of a response, or the error status.
    async fn request<E: std::error::Error + 'static>(
        &self,
        what: &str,
        request: Result<hyper::Request<Vec<u8>>, E>,
    ) -> Read<Result<String, Box<kube::core::Status>>> {
        let Reply { code, body, .. } = self.send(what, request).await?;
        Ok(if (200..300).contains(&code) { Ok(body) } else { Err(status(code, &body)) })
    }

    async fn send<E: std::error::Error + 'static>(
        &self,
        what: &str,
        request: Result<hyper::Request<Vec<u8>>, E>,
    ) -> Read<Reply> {
        let failed = |why: String| ReadError::Failed { what: what.to_owned(), why };
        let request = request.map_err(|error| failed(describe(&error)))?.map(Body::from);
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| failed(cause(&error)))?;
            let (head, mut body) = response.into_parts();
            // Without a second copy of all frames: a page of a list has megabytes.
            let length = body.size_hint().exact().unwrap_or_default().min(LARGE_BODY);
            let mut bytes = Vec::with_capacity(length as usize);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| failed(cause(&error)))?;
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            let warnings = head.headers.get_all("warning").iter();
            let warnings = warnings.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
            let body = String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            Ok(Reply { code: head.status.as_u16(), body, warnings })
        };
        let late = |_| failed(format!("no response within {}s", RESPONSE_TIMEOUT.as_secs()));
        timeout(RESPONSE_TIMEOUT, exchange).await.map_err(late)?
    }
}

/// A list that is read page by page.
pub(in crate::cluster) struct Pager<'c> {
    cluster: &'c Cluster,
    path: &'c str,
    params: ListParams,
    what: &'c str,
    ended: bool,
}

impl Pager<'_> {
    /// The next page; `None` after the last one.
    ///
    /// Asks once more after a broken connection. The client itself asks again if the API server is overloaded.
    pub(in crate::cluster) async fn next<T: DeserializeOwned>(&mut self) -> Read<Option<Vec<T>>> {
        let Some(text) = self.next_text().await? else { return Ok(None) };
        let page: Page<T> = parse(self.what, &text)?;
        Ok(Some(page.items.unwrap_or_default()))
    }

    /// The next page as text, whose [`items`](Self::items) borrow from it.
    pub(in crate::cluster) async fn next_text(&mut self) -> Read<Option<String>> {
        if self.ended {
            return Ok(None);
        }
        for attempt in 1.. {
            let delay =
                match self.cluster.request(self.what, Request::new(self.path).list(&self.params)).await {
                    Ok(Ok(text)) => {
                        self.pass(&text)?;
                        return Ok(Some(text));
                    }
                    // etcd has compacted the revision. The new token continues the list with newer objects.
                    Ok(Err(status))
                        if status.code == GONE
                            && self.params.continue_token.is_some()
                            && attempt < ATTEMPTS =>
                    {
                        let fresh = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                        // An empty token would begin the list again.
                        let fresh = fresh.filter(|token| !token.is_empty());
                        if fresh.is_none() || fresh == self.params.continue_token {
                            return Err(refused(self.what, &status));
                        }
                        self.params.continue_token = fresh;
                        Duration::ZERO
                    }
                    Ok(Err(status)) => return Err(refused(self.what, &status)),
                    Err(_) if attempt == 1 => RETRY_DELAY,
                    Err(error) => return Err(error),
                };
            sleep(delay).await;
        }
        Ok(None)
    }

    /// Notes the token of the page after this one.
    fn pass(&mut self, text: &str) -> Read<()> {
        let page: Page<IgnoredAny> = parse(self.what, text)?;
        let token = page.metadata.token.filter(|token| !token.is_empty());
        if token.is_some() && token == self.params.continue_token {
            let why = "the API server returned the same page again".to_owned();
            return Err(ReadError::Failed { what: self.what.to_owned(), why });
        }
        self.ended = token.is_none();
        self.params.continue_token = token;
        Ok(())
    }

    /// The JSON of each object of a page.
    pub(in crate::cluster) fn items<'t>(&self, text: &'t str) -> Read<Vec<&'t RawValue>> {
        let page: Page<&RawValue> = parse(self.what, text)?;
        Ok(page.items.unwrap_or_default())
    }
}

struct Reply {
    code: u16,
    body: String,
    warnings: Vec<String>,
}

/// Finds the configuration as kubectl does: the flag, the environment, the home directory, and in a pod its
/// ServiceAccount.
async fn config(target: &Target) -> Result<Config, kube::config::KubeconfigError> {
    let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &target.kubeconfig {
        return Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await;
    }
    if let Some(kubeconfig) = listed(env::var_os("KUBECONFIG"))? {
        return Config::from_custom_kubeconfig(kubeconfig, &options).await;
    }
    match Config::from_kubeconfig(&options).await {
        Err(error) if target.context.is_none() => Config::incluster().map_err(|_| error),
        found => found,
    }
}

/// The existing files in the variable; kubectl skips missing ones, kube does not. `None` if there are none.
fn listed(variable: Option<OsString>) -> Result<Option<Kubeconfig>, kube::config::KubeconfigError> {
    let paths: Vec<_> =
        env::split_paths(&variable.unwrap_or_default()).filter(|path| path.exists()).collect();
    paths.iter().try_fold(None, |merged: Option<Kubeconfig>, path| {
        let next = Kubeconfig::read_from(path)?;
        merged.unwrap_or_default().merge(next).map(Some)
    })
}

fn parse<'t, T: Deserialize<'t>>(what: &str, text: &'t str) -> Read<T> {
    serde_json::from_str(text).map_err(|error| ReadError::Failed {
        what: what.to_owned(),
        why: format!("the response cannot be parsed: {error}"),
    })
}

/// The status in a response, or a generated one for the response of a proxy.
fn status(code: u16, body: &str) -> Box<kube::core::Status> {
    let parsed = serde_json::from_str::<kube::core::Status>(body).ok().filter(|it| !it.message.is_empty());
    let text: String = body.trim().chars().take(200).collect();
    let mut status = parsed.unwrap_or_else(|| kube::core::Status::failure(&text, ""));
    status.code = code;
    status.boxed()
}

fn refused(what: &str, status: &kube::core::Status) -> ReadError {
    let what = what.to_owned();
    match status.code {
        403 => ReadError::Forbidden { what },
        code => {
            ReadError::Failed { what, why: format!("the API server returned {code}: {}", status.message) }
        }
    }
}

/// The cause of a kube error; the texts of its variants do not help users.
fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(source) => describe(&**source),
        other => other.source().map_or_else(|| other.to_string(), describe),
    }
}

/// The JSON of a Pod.
type RawPod = Box<RawValue>;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_are_not_there_are_left_out_of_the_list() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            let context = serde_json::json!({"name": name, "context": {"cluster": name, "user": name}});
            let config = serde_json::json!({"apiVersion": "v1", "kind": "Config", "contexts": [context]});
            fs::write(&path, config.to_string()).unwrap();
            path
        };
        let missing = directory.path().join("missing");
        let list = |paths: &[PathBuf]| listed(Some(env::join_paths(paths).unwrap())).unwrap();
        let found = list(&[missing.clone(), file("a"), file("b")]).unwrap();
        let names: Vec<_> = found.contexts.iter().map(|context| context.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(list(&[missing]).is_none() && listed(None).unwrap().is_none());
    }
}
