//! The commands: an `Args` and a `run` for each. Only this module connects the parts.

pub mod audit;
pub mod catalog;
pub mod certs;
pub mod check;
pub mod completion;
mod connection;
pub mod demo;
pub mod diagnose;
pub mod explain;
pub mod extension_metadata;
mod facts;
mod fix;
mod formats;
mod images;
pub mod install;
pub mod learn;
pub mod lint;
mod log;
pub mod man;
mod manifests;
pub mod measure;

mod progress;
pub mod schema;
pub mod serve;
pub mod set_close_wait;
pub mod sockets;
pub mod uninstall;
pub mod wait;
mod write;
