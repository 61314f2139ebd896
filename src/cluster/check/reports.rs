//! Checks that the CronJob of `install --reports` writes reports.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, Job, JobCondition},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::{CheckId, CheckResult, Outcome, Read, Snapshot};
use crate::{base::names, cluster::audit::ReportApi};

/// How old the last success of a CronJob may be that runs every day: one run may fail for a passing reason.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(48);
/// The longest text of a container, in characters.
const MAX_TEXT_LEN: usize = 300;

/// The CronJob of `install --reports`, with what it needs and what it did.
#[derive(Clone, Debug)]
pub struct ReportsJob {
    /// The CronJob.
    pub cron_job: CronJob,
    /// The APIs for reports that the cluster serves.
    pub apis: Read<Vec<ReportApi>>,
    /// The Jobs in our namespace.
    pub jobs: Read<Vec<Job>>,
    /// The pods in our namespace.
    pub pods: Read<Vec<Pod>>,
}

pub(super) fn checks(snapshot: &Snapshot, now: Timestamp) -> Vec<CheckResult> {
    match &snapshot.reports {
        Err(error) => vec![CheckResult::unread(CheckId::ReportRuns, error)],
        Ok(None) => Vec::new(),
        Ok(Some(reports)) => vec![apis(reports), runs(reports, now)],
    }
}

fn apis(reports: &ReportsJob) -> CheckResult {
    let id = CheckId::ReportApis;
    let full_name = |api: ReportApi| format!("{}.{}", api.resource(), api.group());
    match reports.apis.as_deref() {
        Err(error) => CheckResult::unread(id, error),
        Ok([]) => {
            let why = format!(
                "the cluster has neither the CRD {} nor {}, so no report is written: install the CRDs of \
                 openreports.io, or install again without --reports",
                full_name(ReportApi::OpenReports),
                full_name(ReportApi::PolicyReports),
            );
            CheckResult::of(id, Outcome::Error(why))
        }
        Ok([api, ..]) => CheckResult::good(id, format!("{} ({})", id.description(), full_name(*api))),
    }
}

fn runs(reports: &ReportsJob, now: Timestamp) -> CheckResult {
    let id = CheckId::ReportRuns;
    let jobs = match &reports.jobs {
        Err(error) => return CheckResult::unread(id, error),
        Ok(jobs) => jobs,
    };
    let spec = &reports.cron_job.spec;
    let status = reports.cron_job.status.clone().unwrap_or_default();
    let success = status.last_successful_time.map(|Time(time)| time);
    let last_success =
        success.map_or_else(|| "it never succeeded".to_owned(), |at| format!("the last success was at {at}"));
    if let Some((job, condition)) = last_failure(&reports.cron_job.metadata, jobs) {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let namespace = names::NAMESPACE;
        let why = format!(
            "the last run, Job {name}, failed: {}; {last_success}. After a correction, run it at once: `kubectl -n \
             {namespace} create job reports-now --from=cronjob/{}`",
            reason(job, condition, reports.pods.as_deref().unwrap_or_default()),
            names::REPORTS,
        );
        return CheckResult::of(id, Outcome::Error(why));
    }
    if spec.suspend == Some(true) {
        let why = format!(
            "the CronJob is suspended, so reports become outdated; {last_success}. To continue: `kubectl -n {} patch \
             cronjob {} -p '{{\"spec\":{{\"suspend\":false}}}}'`",
            names::NAMESPACE,
            names::REPORTS
        );
        return CheckResult::of(id, Outcome::Warning(why));
    }
    let since = success.or_else(|| created(&reports.cron_job.metadata));
    if runs_every_day(&spec.schedule) && since.is_some_and(|since| now.duration_since(since) > MAX_AGE) {
        let why = format!(
            "{last_success}, although its schedule is {:?}; `kubectl -n {} describe cronjob {}` shows whether it is \
             started",
            spec.schedule,
            names::NAMESPACE,
            names::REPORTS
        );
        return CheckResult::of(id, Outcome::Warning(why));
    }
    let last_success = success.map_or_else(|| "no run has ended yet".to_owned(), |_| last_success);
    CheckResult::good(id, format!("{} ({last_success})", id.description()))
}

/// The run that ended last, with its condition, if it failed.
fn last_failure<'a>(cron_job: &ObjectMeta, jobs: &'a [Job]) -> Option<(&'a Job, &'a JobCondition)> {
    let ours = jobs.iter().filter(|job| is_owned_by(&job.metadata, cron_job));
    let ended = ours.filter_map(|job| Some((job, ended(job)?)));
    let last = ended.max_by_key(|(job, _)| created(&job.metadata))?;
    Some(last).filter(|(_, condition)| condition.type_ == "Failed")
}

/// The condition with which a Job ended; `None` if it has not.
fn ended(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|it| it.status == "True" && matches!(&*it.type_, "Complete" | "Failed"))
}

/// Why a Job failed: what its container said, or else what the controller says.
fn reason(job: &Job, condition: &JobCondition, pods: &[Pod]) -> String {
    let of_container = pods.iter().filter(|pod| is_owned_by(&pod.metadata, &job.metadata)).find_map(|pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
        let terminated = statuses.iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())?;
        let mut text = format!("exit code {}", terminated.exit_code);
        if let Some(reason) = terminated.reason.as_deref().filter(|reason| *reason != "Error") {
            text = format!("{text} ({reason})");
        }
        Some(match terminated.message.as_deref().and_then(error_line) {
            Some(line) => format!("{text}, {line}"),
            None => text,
        })
    });
    let of_controller = || condition.message.clone().or_else(|| condition.reason.clone());
    of_container.or_else(of_controller).unwrap_or_else(|| "without a reason".to_owned())
}

/// The line of a log that says what went wrong: the last error, or else the last line.
fn error_line(log: &str) -> Option<String> {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let line = lines().find(|line| line.starts_with("error")).or_else(|| lines().next())?;
    Some(line.chars().take(MAX_TEXT_LEN).collect())
}

fn is_owned_by(object: &ObjectMeta, owner: &ObjectMeta) -> bool {
    let owners = object.owner_references.as_deref().unwrap_or_default();
    owner.uid.as_ref().is_some_and(|uid| owners.iter().any(|it| it.uid == *uid))
}

fn created(object: &ObjectMeta) -> Option<Timestamp> {
    object.creation_timestamp.as_ref().map(|Time(time)| *time)
}

/// Whether a schedule in the format of cron has at least one run a day.
fn runs_every_day(schedule: &str) -> bool {
    match schedule.split_whitespace().collect::<Vec<_>>()[..] {
        [name] => matches!(name, "@hourly" | "@daily" | "@midnight"),
        [_, _, day, month, weekday] => [day, month, weekday].iter().all(|field| matches!(*field, "*" | "?")),
        _ => false,
    }
}
