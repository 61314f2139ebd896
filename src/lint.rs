//! Manifests in files: text -> documents with lines, and reports with excerpts.

pub mod baseline;
pub mod comments;
pub mod fix;
pub mod manifest;
pub mod report;
pub mod repository;
