//! Servers.
mod idle;
pub use self::idle::{Evidence, Idle, Why, Window};
