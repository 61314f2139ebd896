//! Shared utilities: those of the core, and the date, hashes, PEM files and signals.

pub(crate) mod clock;
pub(crate) mod digest;
pub(crate) mod pem;
pub mod shutdown;

pub use linkerd_linger_core::base::*;
