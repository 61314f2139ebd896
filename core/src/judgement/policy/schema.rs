//! The JSON Schema of a policy file, for editors. A test holds that it has the fields that the reader of the file has.
//!
//! The reader is written by hand, since it reports all mistakes with their lines; these types have its fields and nothing
//! else. Nothing reads them.

#![allow(dead_code, reason = "the schema is derived from the fields, and nothing reads them")]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};

use super::{RejectAt, RejectFrom, RejectWhen, Via};
use crate::{
    judgement::finding::{Action, RuleId},
    servers::RawServer,
};

/// The actions for findings, and how the webhook sets the close-wait timeout.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "Policy of linkerd-linger")]
struct PolicyFile {
    close_wait: Option<CloseWait>,
    /// How far a close may be from the server's idle timeout, such as 100ms.
    tolerance: Option<Duration>,
    /// Which findings are rejected: one word, or one about whether it can fail now and one about the certainty.
    reject: Option<Reject>,
    /// On which objects findings are rejected.
    reject_at: Option<RejectPlace>,
    /// Judge workloads as if they were injected.
    assume_injected: Option<bool>,
    /// The action for findings of each rule.
    rules: Option<Actions>,
    /// Your own servers, in the format of the catalog.
    servers: Option<Vec<RawServer>>,
    /// Temporary exemptions of known findings.
    exemptions: Option<Vec<Exemption>>,
    annotations: Option<Annotations>,
}

/// The close-wait timeout.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CloseWait {
    /// The timeout in whole seconds, or off.
    timeout: Option<DurationOrOff>,
    /// The container or field that sets the timeout.
    via: Option<ViaName>,
    /// Whether pods that use linkerd-cni also get the init container.
    cni: Option<bool>,
    /// Repositories of mirrors of linkerd-init's image.
    images: Option<Vec<String>>,
}

/// An exemption of workloads. At least one of `namespace`, `owner` and `serviceAccount` is given.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Exemption {
    /// A namespace, or a prefix that ends with an asterisk.
    namespace: Option<String>,
    /// A workload such as Deployment/web or web-*.
    owner: Option<String>,
    /// A service account, or a prefix that ends with an asterisk.
    service_account: Option<String>,
    /// The rules; all rules if it is missing.
    #[schemars(length(min = 1))]
    rules: Option<Vec<RuleName>>,
    /// Why the exemption is needed.
    reason: String,
    /// The last day of the exemption.
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    until: String,
}

/// Which annotations of pods are allowed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Annotations {
    /// Whether pods may exempt themselves.
    exempt: Option<AllowOrForbid>,
}

/// The JSON Schema of a policy file.
pub fn schema() -> Schema {
    SchemaSettings::default().into_generator().into_root_schema_for::<PolicyFile>()
}

/// As `base::duration` reads it.
const DURATION: &str = r"^0$|^([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))*$";

/// A value that the reader checks, with its schema.
macro_rules! value {
    ($name:ident, $schema:expr) => {
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

value!(Duration, json_schema!({"type": "string", "pattern": DURATION}));
// `off` is a boolean in YAML 1.1, which some editors read.
value!(
    DurationOrOff,
    json_schema!({"anyOf": [{"type": "string", "pattern": DURATION}, {"enum": ["off", false]}]})
);
value!(Reject, reject());
value!(RejectPlace, json_schema!({"enum": RejectAt::ALL.map(RejectAt::as_str)}));
value!(ViaName, json_schema!({"enum": Via::ALL.map(Via::as_str)}));
value!(AllowOrForbid, json_schema!({"enum": ["allow", "forbid"]}));
value!(RuleName, json_schema!({"enum": RuleId::ALL.map(RuleId::as_str)}));
value!(Actions, actions());

fn reject() -> Schema {
    let words =
        [RejectWhen::ALL.map(RejectWhen::as_str).as_slice(), &RejectFrom::ALL.map(RejectFrom::as_str)]
            .concat();
    json_schema!({"anyOf": [
        {"enum": words},
        {"type": "array", "items": {"enum": words}, "maxItems": 2, "uniqueItems": true},
    ]})
}

fn actions() -> Schema {
    let mut properties = serde_json::Map::new();
    for rule in RuleId::ALL {
        let matches = |action: &Action| *action != Action::Patch || rule.can_patch();
        let actions: Vec<_> = Action::ALL.into_iter().filter(matches).map(Action::as_str).collect();
        properties.insert(rule.as_str().to_owned(), serde_json::json!({"enum": actions}));
    }
    json_schema!({"type": "object", "properties": properties, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::raw, *};

    #[test]
    fn the_schema_has_the_fields_of_the_parser() {
        let schema = schema().to_value();
        let fields = |at: &str| -> BTreeSet<String> {
            schema.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect()
        };
        let known =
            |fields: &[&str]| -> BTreeSet<String> { fields.iter().map(|&name| name.to_owned()).collect() };
        assert_eq!(fields("/properties"), known(&raw::FIELDS));
        assert_eq!(fields("/$defs/Exemption/properties"), known(&raw::EXEMPTION_FIELDS));
        assert_eq!(fields("/$defs/CloseWait/properties"), known(&raw::CLOSE_WAIT_FIELDS));
    }
}
