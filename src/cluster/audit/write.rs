//! Writes policy reports and Events about the result of an audit.
//!
//! An object that says the same is not written again. Each request has a deadline, and after a few failed requests no more
//! are sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::Request,
};
use serde_json::Value;

use super::{
    events::{self, MAX_EVENTS},
    policy_report::{self, Failing, MAX_REPORTS, ReportApi},
    read::Scope,
    report::AuditReport,
};
use crate::{
    base::{names, plural::count},
    cluster::{
        Cluster,
        check::{Read, ReadError},
        refused,
    },
};

/// After so many failed requests no more are sent: the next ones would fail too, and each may take 30 s.
const MAX_FAILURES: usize = 5;

/// What was written, or would be in a dry run.
#[derive(Debug, Default)]
pub struct Written {
    what: &'static str,
    limit: usize,
    dry_run: bool,
    written: usize,
    unchanged: usize,
    deleted: usize,
    /// Reports without findings that were kept, because the audit is not whole.
    kept: usize,
    /// Owners beyond the maximum.
    left_out: usize,
    /// The failed requests.
    pub errors: Vec<ReadError>,
}

impl Written {
    fn new(what: &'static str, limit: usize, dry_run: bool) -> Self {
        Self { what, limit, dry_run, ..Self::default() }
    }

    fn gave_up(&self) -> bool {
        self.errors.len() >= MAX_FAILURES
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, limit, written, unchanged, deleted, kept, left_out, .. } = self;
        let [write, delete] =
            if self.dry_run { ["would be written", "would be deleted"] } else { ["written", "deleted"] };
        write!(f, "{what}: {written} {write}, {unchanged} unchanged")?;
        if *deleted > 0 {
            write!(f, ", {deleted} {delete}")?;
        }
        if *kept > 0 {
            write!(f, ", {kept} kept because not everything could be read")?;
        }
        if *left_out > 0 {
            write!(f, "; {} left out: the limit is {limit} {what}", count(*left_out, "workload"))?;
        }
        if self.gave_up() {
            write!(f, "; stopped after {}", count(self.errors.len(), "failed request"))?;
        }
        Ok(())
    }
}

impl Cluster {
    /// The APIs for policy reports that the cluster serves, the preferred one first.
    ///
    /// # Errors
    ///
    /// Returns an error if the API server does not answer.
    pub async fn report_apis(&self) -> Read<Vec<ReportApi>> {
        let mut served = Vec::new();
        for api in ReportApi::ALL {
            let path = format!("/apis/{}", api.api_version());
            let found: Option<APIResourceList> =
                self.get(&path, &format!("read the resources of {}", api.api_version())).await?;
            let resources = found.into_iter().flat_map(|found| found.resources);
            if resources.into_iter().any(|resource| resource.name == api.resource()) {
                served.push(api);
            }
        }
        Ok(served)
    }

    /// Writes a report for each owner with findings to the first API, and deletes those of other owners and those in the
    /// other APIs. Only the namespaces of `scope` are looked at. If the audit is not whole, nothing is deleted.
    pub async fn write_reports(
        &self,
        apis: &[ReportApi],
        report: &AuditReport,
        scope: &Scope,
        now: Timestamp,
        dry_run: bool,
    ) -> Written {
        let mut result = Written::new("reports", MAX_REPORTS, dry_run);
        let failing = policy_report::failing(report);
        result.left_out = failing.len().saturating_sub(MAX_REPORTS);
        for (index, api) in apis.iter().enumerate() {
            let wanted = if index == 0 { &failing[..failing.len().min(MAX_REPORTS)] } else { &[] };
            let stored = match self.stored_reports(*api, scope).await {
                Ok(stored) => stored,
                Err(error) => {
                    result.errors.push(error);
                    continue;
                }
            };
            let current = self.write_changed(*api, wanted, &stored, now, &mut result).await;
            for key in stored.keys().filter(|key| !current.contains(*key)) {
                if !report.errors.is_empty() {
                    result.kept += 1;
                } else if !result.gave_up() {
                    let deleted = dry_run || self.delete_report(*api, key, &mut result).await;
                    result.deleted += usize::from(deleted);
                }
            }
        }
        result
    }

    /// Our reports by namespace and name.
    async fn stored_reports(&self, api: ReportApi, scope: &Scope) -> Read<BTreeMap<Key, Value>> {
        let ours = format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY);
        let namespaces: Vec<_> = match scope.namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().map(|name| Some(&**name)).collect(),
        };
        let mut stored = BTreeMap::new();
        for namespace in namespaces {
            let what = format!("list {}.{}", api.resource(), api.group());
            self.pages(
                &api.path(namespace),
                ListParams::default().labels(&ours),
                &what,
                |page: Vec<Value>| {
                    stored.extend(page.into_iter().map(|report| (Key::of(&report), report)));
                },
            )
            .await?;
        }
        Ok(stored)
    }

    /// Returns the keys of all wanted reports.
    async fn write_changed(
        &self,
        api: ReportApi,
        wanted: &[Failing<'_>],
        stored: &BTreeMap<Key, Value>,
        now: Timestamp,
        result: &mut Written,
    ) -> BTreeSet<Key> {
        let mut current = BTreeSet::new();
        for failing in wanted {
            let mut report = policy_report::render(failing, api, now);
            let key = Key::of(&report);
            if let Some(stored) = stored.get(&key) {
                policy_report::keep_timestamps(&mut report, stored);
            }
            if stored.get(&key).is_some_and(|stored| policy_report::is_stored(&report, stored)) {
                result.unchanged += 1;
            } else if !result.gave_up() {
                let applied = result.dry_run || self.apply_report(api, &key, &report, result).await;
                result.written += usize::from(applied);
            }
            current.insert(key);
        }
        current
    }

    async fn apply_report(&self, api: ReportApi, key: &Key, report: &Value, result: &mut Written) -> bool {
        let what = format!("apply the {} {key}", api.resource());
        let params = PatchParams::apply(names::REPORTS_FIELD_MANAGER).force();
        let request =
            Request::new(api.path(Some(&key.namespace))).patch(&key.name, &params, &Patch::Apply(report));
        result.note(self.change(&what, request).await)
    }

    async fn delete_report(&self, api: ReportApi, key: &Key, result: &mut Written) -> bool {
        let what = format!("delete the {} {key}", api.resource());
        let request =
            Request::new(api.path(Some(&key.namespace))).delete(&key.name, &DeleteParams::default());
        result.note(self.change(&what, request).await)
    }

    /// Writes an Event for each owner with findings, and counts repetitions in the Event that is there.
    pub async fn write_events(&self, report: &AuditReport, now: Timestamp, dry_run: bool) -> Written {
        let mut result = Written::new("events", MAX_EVENTS, dry_run);
        let failing = policy_report::failing(report);
        result.left_out = failing.len().saturating_sub(MAX_EVENTS);
        for failing in failing.iter().take(MAX_EVENTS) {
            if result.gave_up() {
                break;
            }
            let event = events::render(failing, now);
            match self.write_event(&event, now, dry_run).await {
                Ok(true) => result.written += 1,
                Ok(false) => result.unchanged += 1,
                Err(error) => result.errors.push(error),
            }
        }
        result
    }

    /// Returns whether the Event had to be written. In a dry run nothing is read either.
    async fn write_event(&self, event: &Value, now: Timestamp, dry_run: bool) -> Read<bool> {
        if dry_run {
            return Ok(true);
        }
        let key = Key::of(event);
        let path = events::path(&key.namespace);
        let stored: Option<Value> =
            self.get(&format!("{path}/{}", key.name), &format!("get the event {key}")).await?;
        let request = match &stored {
            None => Request::new(&*path).create(&PostParams::default(), event.to_string().into_bytes()),
            Some(stored) => match events::repetition(stored, now) {
                None => return Ok(false),
                Some(patch) => {
                    Request::new(&*path).patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                }
            },
        };
        self.change(&format!("write the event {key}"), request).await
    }

    /// Sends a change. Returns `false` if the object or its namespace is gone.
    async fn change<E: std::error::Error + 'static>(
        &self,
        what: &str,
        request: Result<hyper::Request<Vec<u8>>, E>,
    ) -> Read<bool> {
        match self.request(what, request).await? {
            Ok(_) => Ok(true),
            Err(status) if status.code == 404 => Ok(false),
            Err(status) => Err(refused(what, &status)),
        }
    }
}

impl Written {
    /// Keeps the error of a change, and returns whether there was a change.
    fn note(&mut self, changed: Read<bool>) -> bool {
        changed.unwrap_or_else(|error| {
            self.errors.push(error);
            false
        })
    }
}

/// The namespace and name of an object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    namespace: String,
    name: String,
}

impl Key {
    fn of(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self { namespace: text("namespace"), name: text("name") }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
