//! The webhook: admission reviews, the server that answers them, its certificates and its metrics.

pub mod admin;
pub mod certs;
pub mod metrics;
pub mod policy_file;
pub mod serve;
pub mod traces;
