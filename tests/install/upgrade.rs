//! Upgrades and rollbacks while pods are created: with Helm, and with `kubectl apply --server-side`.
//!
//! The older version is generated: it has another image, so its Job has another spec, and one more webhook.

use std::{fs, path::Path, sync::Arc};

use linkerd_linger::{
    base::names,
    cluster::install::{Options, manifests, print},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    Bed, Stream, bed,
    cluster::{self, Told},
    support::{eventually, say},
};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/linkerd-linger");
/// A webhook of the older version only.
const RETIRED: &str = "retired.mutate.linkerd-linger.io";

/// Adds the webhook to a list of objects.
fn with_retired(objects: &mut [Value]) {
    let found = objects.iter_mut().find(|object| object["kind"] == "MutatingWebhookConfiguration").unwrap();
    let webhooks = found["webhooks"].as_array_mut().unwrap();
    let mut retired = webhooks[0].clone();
    retired["name"] = json!(RETIRED);
    retired["failurePolicy"] = json!("Ignore");
    retired["namespaceSelector"] = json!({"matchLabels": {"retired": "true"}});
    webhooks.push(retired);
}

/// The chart of the older version.
fn older_chart() -> TempDir {
    let older = tempfile::tempdir().unwrap();
    for entry in walkdir::WalkDir::new(CHART).into_iter().map(Result::unwrap) {
        let target = older.path().join(entry.path().strip_prefix(CHART).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    let path = older.path().join("Chart.yaml");
    let chart = fs::read_to_string(&path).unwrap();
    fs::write(&path, chart.replace(env!("CARGO_PKG_VERSION"), "0.0.1")).unwrap();
    let path = older.path().join("files/webhooks.yaml");
    let mut webhooks: Vec<Value> = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    with_retired(&mut webhooks);
    fs::write(&path, print(&[webhooks.into()]).unwrap()).unwrap();
    older
}

impl Bed {
    async fn helm(&self, args: &[&str]) -> Told {
        let mut helm = Command::from(cluster::helm().expect("it was built"));
        helm.args(args)
            .args(["--namespace", names::NAMESPACE, "--kubeconfig"])
            .arg(self.cluster.kubeconfig());
        Told::from(helm.kill_on_drop(true).output().await.unwrap())
    }

    async fn upgrade(&self, chart: &Path) {
        let chart = chart.to_str().unwrap();
        self.helm(&["upgrade", "linger", chart, "--set", "failurePolicy=Fail"]).await.ok();
    }

    /// The names of the mutating webhooks, and whether each has a `caBundle`.
    async fn webhooks(&self) -> Vec<(String, bool)> {
        let found = self.json(&["mutatingwebhookconfiguration", names::WEBHOOK_CONFIGURATION]).await;
        let webhook = |webhook: &Value| {
            let name = webhook["name"].as_str().unwrap().to_owned();
            (name, webhook["clientConfig"]["caBundle"].is_string())
        };
        found["webhooks"].as_array().unwrap().iter().map(webhook).collect()
    }

    async fn has_retired(&self) -> Option<bool> {
        let webhooks = self.webhooks().await;
        let retired = webhooks.iter().find(|(name, _)| name == RETIRED).map(|(_, trusted)| *trusted);
        assert!(webhooks.iter().all(|(name, trusted)| name == RETIRED || *trusted), "{webhooks:?}");
        retired
    }

    async fn jobs(&self) -> Vec<String> {
        let jobs = self.json(&["jobs", "-n", names::NAMESPACE]).await;
        let name = |job: &Value| job["metadata"]["name"].as_str().unwrap().to_owned();
        // Jobs of the CronJob do not belong to the release.
        let of_release = |job: &&Value| job["metadata"]["ownerReferences"].is_null();
        jobs["items"].as_array().unwrap().iter().filter(of_release).map(name).collect()
    }

    /// The resource versions of all installed objects, by kind and name.
    async fn versions(&self) -> Vec<String> {
        let namespaced = "configmap,serviceaccount,role,rolebinding,service,poddisruptionbudget,cronjob";
        let cluster =
            "mutatingwebhookconfiguration,validatingwebhookconfiguration,clusterrole,clusterrolebinding";
        let mut versions = Vec::new();
        for kinds in [namespaced, cluster] {
            let args = [kinds, "-n", names::NAMESPACE, "-l", "linkerd.io/extension=linger"];
            for object in self.json(&args).await["items"].as_array().unwrap() {
                let metadata = &object["metadata"];
                versions
                    .push(format!("{} {} {}", object["kind"], metadata["name"], metadata["resourceVersion"]));
            }
        }
        // The status of these changes on its own.
        for kind in ["deployment", "job"] {
            for object in self.json(&[kind, "-n", names::NAMESPACE]).await["items"].as_array().unwrap() {
                let metadata = &object["metadata"];
                versions.push(format!("{} {} {}", object["kind"], metadata["name"], metadata["generation"]));
            }
        }
        assert!(versions.len() > 12, "{versions:?}");
        versions
    }
}

#[tokio::test]
async fn helm_upgrades_and_rolls_back_under_a_stream_of_pods_and_none_fails() {
    let Some((bed, _turn)) = bed().await else { return };
    match tokio::task::spawn_blocking(cluster::helm).await.unwrap() {
        Ok(_) => {}
        Err(why) => return why.tell(),
    }
    let older = older_chart();
    bed.uninstall().await;
    let chart = older.path().to_str().unwrap();
    let install = ["install", "linger", chart, "--create-namespace", "--set", "failurePolicy=Fail"];
    bed.helm(&install).await.ok();
    bed.start_pods().await;
    let namespace = bed.namespace(&json!({names::MODE_LABEL: "enforce"})).await;
    bed.is_in_force(&namespace, true).await;
    assert_eq!(bed.has_retired().await, Some(true));
    let old_jobs = bed.jobs().await;
    let stream = Stream::start(&bed, &namespace).await;

    upgrade_to_this_version(&bed).await;
    let new_jobs = bed.jobs().await;
    assert_eq!((old_jobs.len(), new_jobs.len()), (1, 1));
    assert_ne!(old_jobs, new_jobs, "another image is another Job");
    let before = bed.versions().await;
    bed.upgrade(Path::new(CHART)).await;
    assert_eq!(bed.versions().await, before, "the same chart changes nothing");

    let manifest = bed.helm(&["get", "manifest", "linger"]).await.ok().stdout;
    let diff = ["diff", "--server-side", "--field-manager=drift-detection", "-f", "-"];
    let told = bed.cluster.kubectl_with(&diff, &manifest).await.ok();
    assert_eq!(told.stdout, "", "nothing drifts");

    bed.helm(&["rollback", "linger", "1"]).await.ok();
    assert_eq!(bed.has_retired().await, Some(false), "nobody has made its caBundle yet");
    bed.run_the_job().await;
    bed.roll_out().await;
    assert_eq!(bed.has_retired().await, Some(true));
    eventually("the Job of the newer version is gone", async || bed.jobs().await == old_jobs).await;

    upgrade_to_this_version(&bed).await;
    let created = stream.end().await;
    say(&format!("{created} pods were created during two upgrades and a rollback by Helm, and none failed"));
    assert!(created > 50, "the stream was steady: {created}");

    bed.helm(&["uninstall", "linger"]).await.ok();
    let left = bed.uninstall().await;
    assert!(!left.stdout.contains(names::WEBHOOK_CONFIGURATION), "Helm has removed them: {left:?}");
}

async fn upgrade_to_this_version(bed: &Arc<Bed>) {
    bed.upgrade(Path::new(CHART)).await;
    assert_eq!(bed.has_retired().await, None, "a webhook that this version does not have is gone");
    bed.run_the_job().await;
    bed.roll_out().await;
}

/// While `certs rotate` owned `caBundle` by server-side apply, the API server removed only the applier's part of the
/// entry, and refused the rest.
#[tokio::test]
async fn server_side_apply_removes_a_webhook_that_a_version_no_longer_has() {
    let Some((bed, _turn)) = bed().await else { return };
    bed.uninstall().await;
    let apply = async |objects: &[Value]| {
        let text = print(objects).unwrap();
        bed.cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &text).await.ok();
    };
    let mut objects = manifests(&Options::default());
    with_retired(&mut objects);
    apply(&objects).await;
    bed.start_pods().await;
    assert_eq!(bed.has_retired().await, Some(true));
    apply(&manifests(&Options::default())).await;
    assert_eq!(bed.has_retired().await, None);
    bed.uninstall().await;
}
