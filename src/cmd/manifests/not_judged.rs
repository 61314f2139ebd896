//! Counts the objects that are not judged, and finds out whether the workloads that they refer to are.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    base::text::{Text, nullable},
    lint::{
        manifest::Document,
        report::{NotJudged, ObjectReport, Skipped, SkippedKind, TemplateReference},
    },
    workload::object::Reading,
};

/// The objects without a pod template of their own.
#[derive(Debug, Default)]
pub(super) struct NotJudgedObjects {
    kinds: BTreeMap<(NotJudged, String, String), usize>,
    references: Vec<TemplateReference>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    metadata: Metadata<'a>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    namespace: Text<'a>,
}

impl NotJudgedObjects {
    /// Adds an object, unless it has pods.
    pub(super) fn add(&mut self, document: &Document, reading: &Reading<'_>) {
        let why = match reading {
            Reading::Pods(_) => return,
            Reading::NoTemplate => NotJudged::NoPodTemplate,
            Reading::NoPods => NotJudged::NoPods,
            Reading::WorkloadRef(target) => {
                let own = serde_json::from_str::<Named<'_>>(document.json()).map(|object| object.metadata);
                let Metadata { name, namespace } = own.unwrap_or_default();
                self.references.push(TemplateReference {
                    kind: document.kind().to_owned(),
                    namespace: document.review_namespace().unwrap_or(&namespace).to_owned(),
                    name: name.to_string(),
                    target_kind: target.kind.to_string(),
                    target_name: target.name.to_string(),
                    judged: false,
                });
                return;
            }
        };
        let key = (why, document.kind().to_owned(), document.api_version().to_owned());
        *self.kinds.entry(key).or_default() += 1;
    }

    /// Adds them to the skipped ones of a report with these objects.
    pub(super) fn report(self, judged: &[ObjectReport], skipped: &mut Skipped) {
        skipped.kinds = self
            .kinds
            .into_iter()
            .map(|((why, kind, api_version), objects)| SkippedKind { api_version, kind, objects, why })
            .collect();
        skipped.references = self.references;
        for reference in &mut skipped.references {
            reference.judged = judged.iter().any(|object| {
                object.kind == reference.target_kind
                    && object.name == reference.target_name
                    && object.namespace == reference.namespace
            });
        }
    }
}
