//! The Kubernetes side: objects that run pods, and what their specs say.
//!
//! Turns JSON into pods, containers, probes, variables and annotations. Others decide what any of it means for HTTP.

pub mod annotations;
pub mod context;
pub(crate) mod environment;
pub mod image;
pub mod image_config;
pub mod object;
pub mod pod;
pub(crate) mod word;
