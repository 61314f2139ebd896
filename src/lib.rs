//! linkerd-linger ends the 500s and 502s that connection timeouts cause behind Linkerd.
pub mod finding;
pub mod pod;
pub mod servers;
pub mod surroundings;
pub mod text;
pub mod workload;
