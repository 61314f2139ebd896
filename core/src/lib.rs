//! The core of linkerd-linger: bytes in, a verdict and bytes out. It uses no I/O, no clock and no async code.
//!
//! The crate `linkerd-linger` re-exports these modules, and its documentation says how they work together.
//!
//! A module imports only from itself and from the modules above it. `tests/layering.rs` enforces this.

pub mod base;

pub mod workload;

pub mod linkerd;

pub mod servers;

pub mod judgement;

pub mod review;
