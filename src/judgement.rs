//! What is wrong with a pod, and what follows from it.
//!
//! Turns a pod and a policy into findings, a verdict and a patch. How it is told is left to `lint`, `admission` and
//! `cluster`.

pub mod close_wait;
pub mod facts;
pub mod fields;
pub mod finding;
pub mod judge;
pub mod patch;
pub mod policy;
pub mod rules;
pub mod survey;
pub mod timing;
pub mod verdict;
