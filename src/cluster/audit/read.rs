//! Reads the objects of an audit, page by page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::Audit;
use crate::{
    base::names,
    cluster::{
        Cluster,
        check::{Read, ReadError},
        gather::NOT_COMPLETED,
    },
    workload::object::{Kind, Object},
};

/// The kinds that are read, in order: a Job names its CronJob, and pods come last.
const KINDS: [Kind; 8] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::Job,
    Kind::ReplicaSet,
    Kind::ReplicationController,
    Kind::Pod,
];

/// How many ConfigMaps are read at once.
const CONCURRENT_READS: usize = 16;

/// The longest ConfigMap that is kept, in bytes. The files that servers are configured with are far shorter.
const MAX_CONFIG_MAP_LEN: usize = 256 << 10;

/// Which objects are read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The namespaces; all if empty.
    pub namespaces: Vec<String>,
    /// The label selector of the workloads and pods.
    pub selector: Option<String>,
}

/// What is being read, for a progress line.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// The kind.
    pub kind: Kind,
    /// The number of objects read so far, of all kinds.
    pub read: usize,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects, now {}", self.read, plural(self.kind))
    }
}

/// The ConfigMaps that were asked for.
#[derive(Default)]
struct ConfigMaps {
    asked: BTreeSet<(String, String)>,
    forbidden: BTreeSet<String>,
    failed: bool,
}

impl Cluster {
    /// Reads the objects, and judges them. What cannot be read is noted once for each kind and namespace, and the others
    /// are read all the same.
    pub async fn audit(&self, audit: &mut Audit, scope: &Scope, mut progress: impl FnMut(Objects)) {
        let all = [String::new()];
        let namespaces: &[String] = if scope.namespaces.is_empty() { &all } else { &scope.namespaces };
        let mut config_maps = ConfigMaps::default();
        let mut read = 0;
        for kind in KINDS {
            for namespace in namespaces {
                let (path, what) = place(kind, namespace);
                let mut params = ListParams::default();
                if let Some(selector) = &scope.selector {
                    params = params.labels(selector);
                }
                if kind == Kind::Pod {
                    params = params.fields(NOT_COMPLETED);
                }
                let mut pages = self.pager(&path, params, &what);
                loop {
                    progress(Objects { kind, read });
                    let page: Vec<Box<RawValue>> = match pages.next().await {
                        Ok(Some(page)) => page,
                        Ok(None) => break,
                        Err(error) => {
                            audit.unread(&error);
                            break;
                        }
                    };
                    read += page.len();
                    self.config_maps(audit, &mut config_maps, kind, &page).await;
                    for object in &page {
                        audit.add(kind, object.get());
                    }
                }
            }
        }
    }

    /// Reads the ConfigMaps that the objects of a page use, and forgets those of namespaces that the list has passed.
    async fn config_maps(
        &self,
        audit: &mut Audit,
        config_maps: &mut ConfigMaps,
        kind: Kind,
        page: &[Box<RawValue>],
    ) {
        // Each object is parsed again when it is judged: keeping a page of parsed objects takes more memory.
        let mut wanted = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        for object in page {
            let Ok(object) = Object::read_as(kind, object.get()) else { continue };
            let namespace = object.namespace.as_deref().unwrap_or_default();
            namespaces.insert(namespace.to_owned());
            wanted.extend(
                object.pod.config_maps().into_iter().map(|name| (namespace.to_owned(), name.to_owned())),
            );
        }
        audit.context.config_maps.retain(|(namespace, _), _| namespaces.contains(namespace));
        config_maps.asked.retain(|(namespace, _)| namespaces.contains(namespace));
        let mut wanted = wanted
            .into_iter()
            .filter(|key| !config_maps.forbidden.contains(&key.0) && config_maps.asked.insert(key.clone()))
            .collect::<Vec<_>>()
            .into_iter();
        let mut reads = JoinSet::new();
        loop {
            while reads.len() < CONCURRENT_READS
                && let Some((namespace, name)) = wanted.next()
            {
                let cluster = self.clone();
                reads.spawn(async move {
                    let found = cluster.config_map(&namespace, &name).await;
                    ((namespace, name), found)
                });
            }
            match reads.join_next().await {
                None => break,
                Some(Ok((key, Ok(Some(data))))) => {
                    audit.context.config_maps.insert(key, data);
                }
                Some(Ok((_, Ok(None)))) => {}
                Some(Ok(((namespace, _), Err(error)))) => {
                    let is_new = match error {
                        ReadError::Forbidden { .. } => config_maps.forbidden.insert(namespace),
                        ReadError::Failed { .. } => !std::mem::replace(&mut config_maps.failed, true),
                    };
                    if is_new {
                        audit.unread(&error);
                    }
                }
                Some(Err(error)) => audit.fail(format!("cannot read a ConfigMap: {error}"), None),
            }
        }
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Read<Option<BTreeMap<String, String>>> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let what = format!("get configmaps in the namespace {namespace}");
        let found: Option<ConfigMap> = self.get(&path, &what).await?;
        let data = found.and_then(|map| map.data).unwrap_or_default();
        let length: usize = data.values().map(String::len).sum();
        Ok((length <= MAX_CONFIG_MAP_LEN).then_some(data))
    }

    /// The facts of the installation; empty if there are none.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be read.
    pub async fn facts_text(&self) -> Read<Option<String>> {
        self.own_config_map(names::FACTS_CONFIG_MAP, names::FACTS_KEY).await
    }
}

impl Audit {
    fn unread(&mut self, error: &ReadError) {
        let help = match error {
            ReadError::Forbidden { .. } => {
                "ask for this permission, or name with -n the namespaces that you may read"
            }
            ReadError::Failed { .. } => "run the audit again: its result is not whole",
        };
        self.fail(error.to_string(), Some(help.to_owned()));
    }
}

/// The name of a kind in paths and messages.
fn plural(kind: Kind) -> String {
    format!("{}s", kind.as_str().to_lowercase())
}

/// The API path of the objects of a kind in a namespace, or in all if it is empty, and the operation for messages.
fn place(kind: Kind, namespace: &str) -> (String, String) {
    let plural = plural(kind);
    let root = match kind.group() {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/v1"),
    };
    if namespace.is_empty() {
        (format!("{root}/{plural}"), format!("list {plural}"))
    } else {
        let what = format!("list {plural} in the namespace {namespace}");
        (format!("{root}/namespaces/{namespace}/{plural}"), what)
    }
}
