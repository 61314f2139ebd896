//! A CronJob that audits the cluster and writes reports, with its RBAC.

use serde_json::{Value, json};

use super::{Options, container_security, labels, namespaced, object, pod_security, pods, with};
use crate::{base::names, cluster::audit::ReportApi};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Once an hour, at a minute that few other jobs use.
const SCHEDULE: &str = "41 * * * *";
/// An audit of a large cluster takes minutes. A run that hangs must not delay the next one.
const DEADLINE_SECONDS: u32 = 1800;

/// The custom resources with pod templates that the CronJob may read. Without a right, those of other groups are known by
/// their pods.
const CUSTOM_RESOURCES: [(&str, &[&str]); 10] = [
    (
        "apps.kruise.io",
        &[
            "advancedcronjobs",
            "broadcastjobs",
            "clonesets",
            "daemonsets",
            "statefulsets",
            "uniteddeployments",
        ],
    ),
    ("argoproj.io", &["cronworkflows", "rollouts", "workflows", "workflowtemplates"]),
    ("jobset.x-k8s.io", &["jobsets"]),
    ("keda.sh", &["scaledjobs"]),
    ("kubeflow.org", &["mpijobs", "paddlejobs", "pytorchjobs", "tfjobs", "xgboostjobs"]),
    ("leaderworkerset.x-k8s.io", &["leaderworkersets"]),
    ("ray.io", &["rayclusters", "rayjobs", "rayservices"]),
    ("serving.knative.dev", &["configurations", "revisions", "services"]),
    ("serving.kserve.io", &["inferenceservices"]),
    ("tekton.dev", &["pipelineruns", "pipelines", "taskruns", "tasks"]),
];

/// The options of `install --reports`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reports {
    /// When the cluster is audited, in the format of cron.
    pub schedule: String,
    /// Whether Events are written, too.
    pub events: bool,
}

impl Default for Reports {
    fn default() -> Self {
        Self { schedule: SCHEDULE.to_owned(), events: false }
    }
}

/// The schedule is not in the format of cron.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not a schedule: expected five fields such as \"41 * * * *\" for minute, hour, day, month and weekday, or \
     @hourly or @daily"
)]
pub struct ScheduleError(String);

/// Checks that a schedule has the form of cron. The API server checks the values of its fields.
///
/// # Errors
///
/// Returns an error if it has another number of fields, or other characters.
pub fn read_schedule(text: &str) -> Result<String, ScheduleError> {
    let field = |field: &str| {
        field.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | ',' | '-' | '?'))
    };
    let fields: Vec<_> = text.split_whitespace().collect();
    let known =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"].contains(&text);
    if known || fields.len() == 5 && fields.into_iter().all(field) {
        Ok(text.to_owned())
    } else {
        Err(ScheduleError(text.to_owned()))
    }
}

/// The ServiceAccount, its rights and the CronJob.
pub(super) fn objects(options: &Options, reports: &Reports) -> Vec<Value> {
    let name = names::REPORTS;
    let version = format!("{RBAC}/v1");
    let account = namespaced("v1", "ServiceAccount", name);
    let binding = json!({
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": names::NAMESPACE}],
    });
    vec![
        with(account, json!({"automountServiceAccountToken": false})),
        with(object(&version, "ClusterRole", name), json!({"rules": rules(reports)})),
        with(object(&version, "ClusterRoleBinding", name), binding),
        cron_job(options, reports),
    ]
}

/// What `audit` reads, and the reports and Events that it writes. Secrets are not among them.
fn rules(reports: &Reports) -> Vec<Value> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let mut rules = vec![
        rule("", &["namespaces", "pods", "replicationcontrollers"], &["list"]),
        rule("", &["configmaps"], &["get"]),
        // The version of Linkerd's injector and the image of the init container are in Deployments.
        rule("apps", &["deployments"], &["get", "list"]),
        rule("apps", &["daemonsets", "replicasets", "statefulsets"], &["list"]),
        rule("batch", &["cronjobs", "jobs"], &["list"]),
        rule(
            "admissionregistration.k8s.io",
            &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
            &["list"],
        ),
    ];
    rules.push(rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["list"]));
    rules.extend(CUSTOM_RESOURCES.map(|(group, resources)| rule(group, resources, &["list"])));
    // The API server asks for `create` and `patch` if an object that is applied does not exist.
    rules.extend(
        ReportApi::ALL
            .map(|api| rule(api.group(), &[api.resource()], &["list", "create", "patch", "delete"])),
    );
    if reports.events {
        rules.push(rule("events.k8s.io", &["events"], &["get", "create", "patch"]));
    }
    rules
}

fn cron_job(options: &Options, reports: &Reports) -> Value {
    let mut args = vec![
        "audit",
        "--all-namespaces",
        "--only-permitted",
        "--write-reports",
        "--fail-on=never",
        "--output=summary",
    ];
    if reports.events {
        args.push("--events");
    }
    let container = json!({
        "name": "audit",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        // The status of a failed pod has the end of its log, which `check` shows.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": container_security(),
    });
    let pod = json!({
        "serviceAccountName": names::REPORTS,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [container],
    });
    let job = json!({
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        // The next run is the retry.
        "backoffLimit": 0,
        "template": {
            "metadata": {
                "labels": with(labels(), json!({"app.kubernetes.io/component": "reports"})),
                "annotations": {"linkerd.io/inject": "disabled"},
            },
            "spec": with(pod, pods::placement(options)),
        },
    });
    let spec = json!({
        "schedule": reports.schedule,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    });
    with(namespaced("batch/v1", "CronJob", names::REPORTS), json!({"spec": spec}))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::default(SCHEDULE, true)]
    #[case::ranges("*/15 8-18 1,15 JAN-JUN mon", true)]
    #[case::named("@hourly", true)]
    #[case::empty("", false)]
    #[case::four_fields("0 * * *", false)]
    #[case::seconds("0 0 * * * *", false)]
    #[case::unknown_name("@reboot", false)]
    #[case::time_zone("TZ=UTC 0 * * *", false)]
    fn schedules(#[case] text: &str, #[case] good: bool) {
        assert_eq!(read_schedule(text).is_ok(), good);
    }
}
