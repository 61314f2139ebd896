//! The response to a review, and its JSON.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::wording;
use crate::judgement::finding::Edit;

/// The initial capacity for a patch, in bytes. Most patches are shorter.
const PATCH_BYTES: usize = 1024;
/// The initial capacity for all of an answer but its texts, in bytes.
const FRAME_BYTES: usize = 512;

/// The response to a review.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'u> {
    uid: &'u str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Answer<'a>,
}

impl<'u> Answer<'u> {
    pub(super) const fn admit(uid: &'u str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            patch: None,
            patch_type: None,
            audit_annotations: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Denies as Pod Security admission does: code 403, reason Forbidden, no warnings.
    pub(super) const fn deny(uid: &'u str, message: String) -> Self {
        Self {
            uid,
            allowed: false,
            status: Some(Status { code: 403, reason: "Forbidden", message }),
            patch: None,
            patch_type: None,
            audit_annotations: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        wording::limit(&mut self.warnings);
        self
    }

    /// Adds an annotation to the audit event. The API server prefixes the key with the name of the webhook.
    pub(super) fn audit(mut self, key: &'static str, value: &str) -> Self {
        self.audit_annotations.insert(key, value.to_owned());
        self
    }

    /// Adds the edits as a patch, base64-encoded as the API requires.
    pub(super) fn patch(mut self, edits: &[&Edit]) -> Self {
        let mut json = Vec::with_capacity(PATCH_BYTES);
        serde_json::to_writer(&mut json, edits)
            .expect("a list of strings and JSON values is always valid JSON");
        self.patch = Some(STANDARD.encode(json));
        self.patch_type = Some("JSONPatch");
        self
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let review = Review { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: self };
        // Few texts contain characters that JSON escapes.
        let texts = self.patch.iter().chain(self.audit_annotations.values()).chain(&self.warnings);
        let mut json = Vec::with_capacity(FRAME_BYTES + texts.map(String::len).sum::<usize>());
        serde_json::to_writer(&mut json, &review)
            .expect("strings, numbers and booleans are always valid JSON");
        json
    }
}
