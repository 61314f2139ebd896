use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};

use super::*;
use crate::cluster::{
    audit::ReportApi,
    check::reports::ReportsJob,
    install::{Options, Reports, manifests},
};

/// The CronJob of `install --reports` with this schedule, which was created in May and has this status.
fn reports(schedule: &str, status: Value, jobs: &[Value]) -> ReportsJob {
    let reports = Some(Reports { schedule: schedule.to_owned(), events: false });
    let objects = manifests(&Options { reports, ..Options::default() });
    let is_ours =
        |object: &&Value| object["kind"] == "CronJob" && object["metadata"]["name"] == names::REPORTS;
    let mut cron_job = objects.iter().find(is_ours).unwrap().clone();
    cron_job["metadata"]["uid"] = "c".into();
    cron_job["metadata"]["creationTimestamp"] = "2026-05-20T00:00:00Z".into();
    cron_job["status"] = status;
    ReportsJob {
        cron_job: serde_json::from_value(cron_job).unwrap(),
        apis: Ok(vec![ReportApi::OpenReports]),
        jobs: Ok(jobs.iter().map(|job| serde_json::from_value(job.clone()).unwrap()).collect()),
        pods: Ok(Vec::new()),
    }
}

/// A run that began at this hour of the last day, and ended with this condition.
fn job(hour: u8, condition: Value) -> Value {
    let name = format!("linkerd-linger-reports-{hour}");
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": names::REPORTS, "uid": "c"});
    let mut condition = condition;
    condition["status"] = "True".into();
    json!({
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": format!("2026-05-31T{hour:02}:41:00Z"), "ownerReferences": [owner],
        },
        "status": {"conditions": [condition]},
    })
}

fn failed(hour: u8) -> Value {
    let message = "Job has reached the specified backoff limit";
    job(hour, json!({"type": "Failed", "reason": "BackoffLimitExceeded", "message": message}))
}

fn complete(hour: u8) -> Value {
    job(hour, json!({"type": "Complete"}))
}

/// The pod of a run, whose container ended so.
fn pod(hour: u8, terminated: Value) -> Pod {
    let uid = format!("linkerd-linger-reports-{hour}");
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": uid, "uid": uid});
    let status = json!({"name": "audit", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                        "state": {"terminated": terminated}});
    serde_json::from_value(json!({
        "metadata": {"name": "audit", "ownerReferences": [owner]},
        "status": {"containerStatuses": [status]},
    }))
    .unwrap()
}

fn succeeded(at: &str) -> Value {
    json!({"lastScheduleTime": at, "lastSuccessfulTime": at})
}

const HOURLY: &str = "41 * * * *";
const LATELY: &str = "2026-05-31T23:41:00Z";

fn with(reports: ReportsJob) -> Snapshot {
    Snapshot { reports: Ok(Some(reports)), ..healthy() }
}

#[test]
fn without_reports_nothing_is_checked() {
    let results = installed(&healthy(), now());
    let of_reports = [CheckId::ReportApis, CheckId::ReportRuns];
    assert!(!results.iter().any(|result| of_reports.contains(&result.id)));
}

#[test]
fn a_success_is_told_with_its_time() {
    let snapshot = with(reports(HOURLY, succeeded(LATELY), &[complete(23), failed(22)]));
    let results = installed(&snapshot, now());
    let told = |id| results.iter().find(|result| result.id == id).map(|result| result.description.as_str());
    assert_eq!(
        told(CheckId::ReportApis),
        Some("the cluster has an API for reports (reports.openreports.io)")
    );
    let expected = "reports are written (the last success was at 2026-05-31T23:41:00Z)";
    assert_eq!(told(CheckId::ReportRuns), Some(expected));
    assert!(results.iter().all(|result| result.outcome == Outcome::Good));
}

#[rstest]
#[case::no_crd(
    |it: &mut ReportsJob| it.apis = Ok(Vec::new()),
    CheckId::ReportApis, "error", "neither the CRD reports.openreports.io nor policyreports.wgpolicyk8s.io"
)]
#[case::older_crd(|it: &mut ReportsJob| it.apis = Ok(vec![ReportApi::PolicyReports]), CheckId::ReportApis, "good", "")]
#[case::apis_not_readable(
    |it: &mut ReportsJob| it.apis = Err(ReadError::Failed { what: "read the resources".into(), why: "503".into() }),
    CheckId::ReportApis, "error", "cannot read the resources: 503"
)]
#[case::jobs_not_readable(
    |it: &mut ReportsJob| it.jobs = Err(ReadError::Forbidden { what: "list jobs".into() }),
    CheckId::ReportRuns, "warning", "not checked: no permission to list jobs"
)]
#[case::suspended(
    |it: &mut ReportsJob| it.cron_job.spec.suspend = Some(true), CheckId::ReportRuns, "warning", "is suspended"
)]
#[case::pods_not_readable(
    |it: &mut ReportsJob| *it = ReportsJob {
        pods: Err(ReadError::Forbidden { what: "list pods".into() }),
        ..reports(HOURLY, succeeded(LATELY), &[failed(23)])
    },
    CheckId::ReportRuns, "error",
    "Job linkerd-linger-reports-23, failed: Job has reached the specified backoff limit; the last success was at \
     2026-05-31T23:41:00Z. After a correction, run it at once: `kubectl -n linkerd-linger create job reports-now \
     --from=cronjob/linkerd-linger-reports`"
)]
#[case::the_error_of_the_container(
    |it: &mut ReportsJob| {
        let log = "shop: 3 findings\nerror: --write-reports: the cluster has no API for reports\n  = help: install\n";
        *it = reports(HOURLY, json!({}), &[complete(21), failed(23)]);
        it.pods = Ok(vec![
            pod(22, json!({"exitCode": 0})),
            pod(23, json!({"exitCode": 2, "reason": "Error", "message": log})),
        ]);
    },
    CheckId::ReportRuns, "error",
    "failed: exit code 2, error: --write-reports: the cluster has no API for reports; it never succeeded."
)]
#[case::killed(
    |it: &mut ReportsJob| {
        *it = reports(HOURLY, json!({}), &[failed(23)]);
        it.pods = Ok(vec![pod(23, json!({"exitCode": 137, "reason": "OOMKilled"}))]);
    },
    CheckId::ReportRuns, "error", "failed: exit code 137 (OOMKilled); it never succeeded."
)]
#[case::a_job_of_another_owner(
    |it: &mut ReportsJob| {
        let mut job = failed(23);
        job["metadata"]["ownerReferences"][0]["uid"] = "another".into();
        *it = reports(HOURLY, succeeded(LATELY), &[job]);
    },
    CheckId::ReportRuns, "good", ""
)]
#[case::not_started_for_days(
    |it: &mut ReportsJob| *it = reports(HOURLY, succeeded("2026-05-29T23:41:00Z"), &[]),
    CheckId::ReportRuns, "warning", "the last success was at 2026-05-29T23:41:00Z, although its schedule is \"41 * * * *\""
)]
#[case::never_started(
    |it: &mut ReportsJob| *it = reports("@daily", json!({}), &[]),
    CheckId::ReportRuns, "warning", "it never succeeded, although its schedule is \"@daily\""
)]
#[case::once_a_week(
    |it: &mut ReportsJob| *it = reports("0 3 * * mon", succeeded("2026-05-25T03:00:00Z"), &[]),
    CheckId::ReportRuns, "good", ""
)]
#[case::installed_just_now(
    |it: &mut ReportsJob| {
        *it = reports(HOURLY, json!({}), &[]);
        it.cron_job.metadata.creation_timestamp = Some(Time(now()));
    },
    CheckId::ReportRuns, "good", ""
)]
fn a_cron_job_with_one_problem(
    #[case] change: fn(&mut ReportsJob),
    #[case] id: CheckId,
    #[case] kind: &str,
    #[case] part: &str,
) {
    let mut reports = reports(HOURLY, succeeded(LATELY), &[]);
    change(&mut reports);
    assert_outcome(&outcome_of(&with(reports), id), kind, part);
}
