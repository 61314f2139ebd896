//! The controller of an object, and the workload above that.
//!
//! A pod names only its direct owner. The Deployment of a ReplicaSet and the CronJob of a Job follow from the names that
//! their controllers generate.

use serde::Deserialize;

use crate::{
    base::text::{Text, nullable},
    workload::kind::{Kind, group_of, is_custom_group},
};

/// The controller among `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Owner<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    api_version: Text<'a>,
    /// The kind.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub kind: Text<'a>,
    /// The name.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) controller: bool,
}

impl Owner<'_> {
    /// The kind, if it runs pods and so is judged itself.
    pub fn judged(&self) -> Option<Kind> {
        Kind::of(&self.api_version, &self.kind)
    }

    /// Whether it is a ReplicaSet.
    pub(super) fn is_replica_set(&self) -> bool {
        &*self.kind == "ReplicaSet"
    }

    /// Whether it is a custom resource.
    pub fn is_custom(&self) -> bool {
        is_custom_group(group_of(&self.api_version))
    }
}

/// The Deployment of a ReplicaSet: the name without the pod-template hash, which its pods have as a label. Without the
/// label, the hash is recognised by its characters (`SafeEncodeString` in k8s.io/apimachinery/pkg/util/rand). It encodes
/// the digits of a number of 32 bits, which has fewer than five digits once in 400,000 times.
pub fn deployment_of<'r>(replica_set: &'r str, template_hash: Option<&str>) -> Option<&'r str> {
    const HASH: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let labelled = template_hash.and_then(|hash| replica_set.strip_suffix(hash)?.strip_suffix('-'));
    labelled.or_else(|| {
        let (name, hash) = replica_set.rsplit_once('-')?;
        ((5..=10).contains(&hash.len()) && hash.bytes().all(|byte| HASH.contains(&byte))).then_some(name)
    })
}

/// The CronJob of a Job: the name without the minutes since 1970 (kubernetes `pkg/controller/cronjob`).
pub fn cron_job_of(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    (minutes.len() >= 8 && minutes.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::by_name("web-6bdb4c48bb", None, Some("web"))]
    #[case::by_name_with_dashes("my-web-6bdb4c48bb", None, Some("my-web"))]
    #[case::by_label("web-production", Some("production"), Some("web"))]
    #[case::by_name_where_the_label_is_of_another("web-6bdb4c48bb", Some("7d9c8b5f4"), Some("web"))]
    #[case::no_hash("web-production", None, None)]
    #[case::too_short_for_a_hash("web-v2", None, None)]
    #[case::no_dash("web", None, None)]
    fn deployments(#[case] replica_set: &str, #[case] hash: Option<&str>, #[case] deployment: Option<&str>) {
        assert_eq!(deployment_of(replica_set, hash), deployment);
    }

    #[rstest]
    #[case::with_minutes("report-29012345", Some("report"))]
    #[case::another_number("report-2", None)]
    #[case::no_dash("report", None)]
    fn cron_jobs(#[case] job: &str, #[case] cron_job: Option<&str>) {
        assert_eq!(cron_job_of(job), cron_job);
    }
}
