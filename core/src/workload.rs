//! Kubernetes objects that run pods, and the contents of their specs.
//!
//! Parses JSON into pods, containers, probes, variables and annotations.

pub mod annotations;
pub mod context;
pub mod environment;
pub mod image;
pub mod image_config;
mod kind;
pub mod object;
pub mod owner;
pub mod pod;
mod template;
pub mod word;
