//! Reads the objects of an audit, page by page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::{
    Audit,
    custom::{self, Resource},
};
use crate::{
    base::names,
    cluster::{
        Cluster, Pager,
        check::{Read, ReadError},
        gather::NOT_COMPLETED,
    },
    workload::object::{Kind, Object, Reading},
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

/// How many CustomResourceDefinitions are in a page. One with pod templates can have a megabyte of schemas.
const DEFINITIONS_PAGE_SIZE: u32 = 10;

/// How many custom resources of a kind are in a page. A workflow can have hundreds of kilobytes of status.
const CUSTOM_PAGE_SIZE: u32 = 50;

/// Where CustomResourceDefinitions are.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Which objects are read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The namespaces; all if empty.
    pub namespaces: Vec<String>,
    /// The label selector of the workloads and pods.
    pub selector: Option<String>,
    /// Whether custom resources that the user may not list are left out without an error.
    pub only_permitted: bool,
}

/// What is being read, for a progress line.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The plural name of the kind.
    pub plural: String,
    /// The number of objects read so far, of all kinds.
    pub read: usize,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects, now {}", self.read, self.plural)
    }
}

/// The objects of a list.
enum Source<'r> {
    BuiltIn(Kind),
    Custom(&'r Resource),
}

impl Source<'_> {
    fn plural(&self) -> String {
        match self {
            Self::BuiltIn(kind) => format!("{}s", kind.as_str().to_lowercase()),
            Self::Custom(resource) => resource.plural.clone(),
        }
    }

    /// The API path of the objects in a namespace, or in all if it is empty, and the operation for messages.
    fn place(&self, namespace: &str) -> (String, String) {
        let plural = self.plural();
        let (root, name) = match self {
            Self::BuiltIn(kind) if kind.group().is_empty() => ("/api/v1".to_owned(), plural.clone()),
            Self::BuiltIn(kind) => (format!("/apis/{}/v1", kind.group()), plural.clone()),
            Self::Custom(resource) => {
                (format!("/apis/{}", resource.api_version()), format!("{plural}.{}", resource.group))
            }
        };
        if namespace.is_empty() {
            (format!("{root}/{plural}"), format!("list {name}"))
        } else {
            let what = format!("list {name} in the namespace {namespace}");
            (format!("{root}/namespaces/{namespace}/{plural}"), what)
        }
    }

    fn params(&self, scope: &Scope) -> ListParams {
        let mut params = ListParams::default();
        if let Some(selector) = &scope.selector {
            params = params.labels(selector);
        }
        match self {
            Self::BuiltIn(Kind::Pod) => params.fields(NOT_COMPLETED),
            Self::BuiltIn(_) => params,
            Self::Custom(_) => params.limit(CUSTOM_PAGE_SIZE),
        }
    }
}

/// The progress of an audit.
struct Reader<'a, P> {
    cluster: &'a Cluster,
    audit: &'a mut Audit,
    scope: &'a Scope,
    progress: P,
    config_maps: ConfigMaps,
    /// The number of objects read so far.
    read: usize,
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
    pub async fn audit(&self, audit: &mut Audit, scope: &Scope, progress: impl FnMut(Objects)) {
        let config_maps = ConfigMaps::default();
        let mut reader = Reader { cluster: self, audit, scope, progress, config_maps, read: 0 };
        for kind in KINDS {
            reader.list(&Source::BuiltIn(kind)).await;
        }
        for resource in reader.custom_resources().await {
            let owner = (resource.group.clone(), resource.kind.clone());
            if resource.is_known() || reader.audit.custom_owners.contains(&owner) {
                reader.list(&Source::Custom(&resource)).await;
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

impl<P: FnMut(Objects)> Reader<'_, P> {
    /// The custom resources whose objects may have pod templates.
    async fn custom_resources(&mut self) -> Vec<Resource> {
        let mut found = Vec::new();
        let params = ListParams::default().limit(DEFINITIONS_PAGE_SIZE);
        let mut pages = self.cluster.pager(DEFINITIONS, params, "list customresourcedefinitions");
        loop {
            (self.progress)(Objects { plural: "customresourcedefinitions".to_owned(), read: self.read });
            let text = match pages.next_text().await {
                Ok(Some(text)) => text,
                Ok(None) => return found,
                Err(error) => {
                    self.unread_custom(&error);
                    return found;
                }
            };
            for definition in self.items(&pages, &text) {
                match Resource::read(definition.get()) {
                    Ok(resource) => found.extend(resource),
                    Err(error) => {
                        self.audit.fail(format!("cannot read a CustomResourceDefinition: {error}"), None);
                    }
                }
            }
        }
    }

    /// Reads and judges the objects of a kind.
    async fn list(&mut self, source: &Source<'_>) {
        let all = [String::new()];
        let scope = self.scope;
        let namespaces: &[String] = if scope.namespaces.is_empty() { &all } else { &scope.namespaces };
        for namespace in namespaces {
            let (path, what) = source.place(namespace);
            let mut pages = self.cluster.pager(&path, source.params(scope), &what);
            loop {
                (self.progress)(Objects { plural: source.plural(), read: self.read });
                let text = match pages.next_text().await {
                    Ok(Some(text)) => text,
                    Ok(None) => break,
                    Err(error) => {
                        match source {
                            Source::BuiltIn(_) => self.audit.unread(&error),
                            Source::Custom(_) => self.unread_custom(&error),
                        }
                        break;
                    }
                };
                let page = self.items(&pages, &text);
                self.read += page.len();
                self.judge(source, &page).await;
            }
        }
    }

    /// The objects of a page.
    fn items<'t>(&mut self, pages: &Pager<'_>, text: &'t str) -> Vec<&'t RawValue> {
        pages.items(text).unwrap_or_else(|error| {
            self.audit.unread(&error);
            Vec::new()
        })
    }

    /// Judges the objects of a page.
    async fn judge(&mut self, source: &Source<'_>, page: &[&RawValue]) {
        match source {
            Source::BuiltIn(kind) => {
                let read = |json| Object::read_as(*kind, json).into_iter().collect();
                self.read_config_maps(page, read).await;
                page.iter().for_each(|object| self.audit.add(*kind, object.get()));
            }
            Source::Custom(resource) => {
                let api_version = resource.api_version();
                let meta = custom::type_meta(&api_version, &resource.kind);
                let read = |json| Object::read_all_as(&meta, json).map(Reading::objects).unwrap_or_default();
                self.read_config_maps(page, read).await;
                page.iter().for_each(|object| self.audit.add_custom(&meta, object.get()));
            }
        }
    }

    /// Notes that custom resources, or their definitions, could not be read.
    fn unread_custom(&mut self, error: &ReadError) {
        match error {
            ReadError::Forbidden { .. } if self.scope.only_permitted => {
                self.audit.left_out.push(error.to_string());
            }
            ReadError::Forbidden { .. } => {
                let help = "ask for this permission, or leave out with --only-permitted the custom resources that you \
                            may not list: their pods are judged all the same";
                self.audit.fail(error.to_string(), Some(help.to_owned()));
            }
            ReadError::Failed { .. } => self.audit.unread(error),
        }
    }

    /// Reads the ConfigMaps that the objects of a page use, and forgets those of namespaces that the list has passed.
    async fn read_config_maps<'p>(
        &mut self,
        page: &[&'p RawValue],
        read: impl Fn(&'p str) -> Vec<Object<'p>>,
    ) {
        let Self { cluster, audit, config_maps, .. } = self;
        // Each object is parsed again when it is judged: keeping a page of parsed objects takes more memory.
        let mut wanted = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        for object in page {
            for object in read(object.get()) {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                namespaces.insert(namespace.to_owned());
                wanted.extend(
                    object.pod.config_maps().into_iter().map(|name| (namespace.to_owned(), name.to_owned())),
                );
            }
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
                let cluster = cluster.clone();
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
