//! Which HTTP server runs in a container, and what it does with idle connections.
//!
//! Turns a container and the [`Catalog`] into a [`Server`] and an [`Idle`]. Annotations, and what follows from the
//! answer, are left to others.

mod catalog;
mod command;
mod idle;
mod recognise;
mod resolve;
mod settings;

pub use self::{
    catalog::{Catalog, CatalogError, RawServer, Server},
    idle::{Evidence, Idle, Why, Window},
};
use self::{
    command::Launch,
    recognise::{Recognised, WAY_OUT},
    settings::Reader,
};
use crate::workload::{
    context::Context,
    environment::{self, Environment},
    pod::{Container, Pod},
};

/// The server that runs in a container of `pod`, as far as its spec shows, and what it does with idle connections.
///
/// ConfigMaps are looked up in `namespace`. A server is named without an answer when only one hint speaks for it.
pub fn judge<'c>(
    catalog: &'c Catalog,
    pod: &Pod<'_>,
    container: &Container<'_>,
    namespace: &str,
    context: &Context,
) -> (Option<&'c Server>, Idle) {
    let containers = pod.containers.len() + pod.init_containers.len();
    let room = environment::ROOM / containers.max(1);
    let environment = Environment::read(container, namespace, context, room);
    let (server, idle) = match command::launch(container, environment) {
        Ok(launch) => judge_launch(catalog, pod, container, &launch),
        Err(why) => (None, Idle::Unknown(Why(format!("{why}; {WAY_OUT}")))),
    };
    (server, idle.clean())
}

fn judge_launch<'c>(
    catalog: &'c Catalog,
    pod: &Pod<'_>,
    container: &Container<'_>,
    launch: &Launch,
) -> (Option<&'c Server>, Idle) {
    match recognise::recognise(catalog, container, launch) {
        Recognised::Nothing(why) => (None, Idle::Unknown(Why(why))),
        Recognised::Hint(server, why) => (Some(server), Idle::Unknown(Why(why))),
        Recognised::Server(found) => {
            let reader = Reader { found: &found, launch, container };
            (Some(found.server), resolve::resolve(&reader, pod))
        }
    }
}

#[cfg(test)]
mod tests;
