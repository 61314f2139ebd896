//! Manifests in files: parses them into documents with line numbers, and reports findings with excerpts.

pub mod baseline;
pub mod comments;
pub mod fix;
pub mod manifest;
pub mod report;
pub mod repository;
