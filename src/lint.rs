//! Manifests in files: text -> documents with lines, and reports with excerpts.

pub mod manifest;
pub mod report;
pub mod repository;
