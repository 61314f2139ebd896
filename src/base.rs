//! Shared utilities: text, plurals, durations, PEM, YAML, names.
//!
//! Only `clock`, `pem` and `shutdown` do I/O or read the clock.

pub(crate) mod clock;
pub mod duration;
pub(crate) mod errors;
pub mod names;
pub(crate) mod pem;
pub(crate) mod plural;
pub mod shutdown;
pub mod text;
pub(crate) mod yaml;
