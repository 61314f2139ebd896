//! The `securityContext` of a pod or a container.

use serde::Deserialize;

use crate::base::text::{Text, nullable};

/// The fields of a `securityContext` that the rules read; absent ones are `None`. The others are skipped.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    /// `privileged`, of a container.
    pub privileged: Option<bool>,
    /// `allowPrivilegeEscalation`, of a container.
    pub allow_privilege_escalation: Option<bool>,
    /// `runAsUser`: a user ID.
    pub run_as_user: Option<i64>,
    /// `runAsGroup`: a group ID.
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`.
    pub run_as_non_root: Option<bool>,
    /// `procMount`, of a container.
    #[serde(borrow)]
    pub proc_mount: Option<Text<'a>>,
    /// `sysctls`, of a pod.
    #[serde(borrow)]
    pub sysctls: Option<Vec<Sysctl<'a>>>,
}

/// A sysctl that kubelet sets in the network namespace of the pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Sysctl<'a> {
    /// `name`, with dots or slashes.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub name: Text<'a>,
    /// `value`.
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub value: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_fields_are_none_and_others_are_skipped() {
        let json = r#"{"privileged": true, "runAsUser": 0, "runAsGroup": null, "sysctls": [{"name": "a"}],
                       "capabilities": {"add": ["NET_ADMIN"]}}"#;
        let context: SecurityContext<'_> = serde_json::from_str(json).unwrap();
        let expected = SecurityContext {
            privileged: Some(true),
            run_as_user: Some(0),
            sysctls: Some(vec![Sysctl { name: "a".into(), value: Text::default() }]),
            ..SecurityContext::default()
        };
        assert_eq!(context, expected);
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        for json in [r#"{"privileged": "true"}"#, r#"{"runAsUser": "0"}"#, r#"{"sysctls": {}}"#, "true"] {
            assert!(serde_json::from_str::<SecurityContext<'_>>(json).is_err(), "{json}");
        }
    }
}
