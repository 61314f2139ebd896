//! What every part shares, and nothing of the problem: text, plurals, time, PEM, YAML, names.
//!
//! Only `clock`, `pem` and `shutdown` reach the world outside.

pub(crate) mod clock;
pub mod duration;
pub(crate) mod errors;
pub mod names;
pub(crate) mod pem;
pub(crate) mod plural;
pub mod shutdown;
pub mod text;
pub(crate) mod yaml;
