//! The Kubernetes side: objects that run pods, and what their specs say.
//!
//! Turns JSON into pods, containers, probes, variables and annotations. What any of it means for HTTP is left to others.

pub mod annotations;
pub mod context;
pub(crate) mod environment;
pub mod image;
pub mod image_config;
pub mod object;
pub mod pod;
pub(crate) mod word;
