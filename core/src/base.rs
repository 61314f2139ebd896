//! Shared utilities: text, plurals, durations, YAML, names.

pub mod duration;
pub mod errors;
pub mod names;
pub mod plural;
pub mod text;
pub mod walk;
pub mod yaml;
