//! Judges pods: finds problems and decides what follows from them.
//!
//! Turns a pod and a policy into findings, a verdict and a patch. `lint`, `admission` and `cluster` report them.

pub mod close_wait;
pub mod facts;
pub mod fields;
pub mod finding;
pub mod judge;
pub mod patch;
pub mod policy;
pub mod rules;
pub mod survey;
pub mod timeline;
pub mod timing;
pub mod verdict;
