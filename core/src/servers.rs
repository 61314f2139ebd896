//! Detects the HTTP server in a container and its idle timeout.
//!
//! Turns a container and the [`Catalog`] into a [`Server`] and an [`Answer`] for each port. Callers apply annotations
//! and judge the answers.

pub mod cases;
mod catalog;
mod command;
mod idle;
pub mod literal;
mod recognise;
mod resolve;
mod settings;

use std::collections::BTreeMap;

pub use self::{
    catalog::{Catalog, CatalogError, Product, RawServer, Server},
    idle::{Certainty, Evidence, Idle, Origin, Why, Window},
    resolve::Answer,
};
use self::{
    command::Launch,
    recognise::{HELP, Recognised, Recognition},
    settings::{Disk, Reader},
};
use crate::{
    base::text::Text,
    workload::{
        context::Context,
        environment::{self, Environment},
        pod::{Container, Pod},
    },
};

/// The server in a container and its idle timeout.
#[derive(Clone, Debug)]
pub struct DetectedServer<'c> {
    /// The server, if it was recognised. With a single hint, it is named without an answer.
    pub server: Option<&'c Server>,
    /// The product, if the catalog entry covers several.
    pub product: Option<&'c Product>,
    /// The answer for the container in general.
    pub general: Answer,
    /// The answers for the queried ports, if ports differ.
    pub by_port: BTreeMap<u16, Answer>,
}

impl DetectedServer<'_> {
    /// The answer for a port, or for the container in general.
    pub fn at(&self, port: Option<u16>) -> &Answer {
        port.and_then(|port| self.by_port.get(&port)).unwrap_or(&self.general)
    }

    /// The name for messages.
    pub fn name(&self) -> Option<&str> {
        self.product.map(|product| product.name.as_str()).or_else(|| Some(self.server?.name.as_str()))
    }

    fn clean(self) -> Self {
        self.map(Idle::clean)
    }

    /// Lowers the certainty of what the config of an image shows, if another image may run.
    fn with_doubt(self, doubt: Option<&str>) -> Self {
        let Some(doubt) = doubt else { return self };
        self.map(|mut idle| {
            if let Some(evidence) = idle.evidence_mut()
                && evidence.is_of_image()
            {
                evidence.certainty = Certainty::Likely(match &evidence.certainty {
                    Certainty::Certain => doubt.to_owned(),
                    Certainty::Likely(why) => format!("{why}; {doubt}"),
                });
            }
            idle
        })
    }

    fn map(mut self, change: impl Fn(Idle) -> Idle) -> Self {
        let change = |answer: Answer| Answer { idle: change(answer.idle), raise: answer.raise };
        self.general = change(self.general);
        self.by_port = self.by_port.into_iter().map(|(port, answer)| (port, change(answer))).collect();
        self
    }
}

/// The maximum number of queried ports; real pods have a handful.
const MAX_PORTS: usize = 32;

/// Detects the server in a container of `pod`, as far as its spec shows, and its idle timeout: in general and for each
/// of `ports`.
///
/// ConfigMaps are read from `namespace`.
pub fn detected<'c>(
    catalog: &'c Catalog,
    pod: &Pod<'_>,
    container: &Container<'_>,
    ports: &[u16],
    namespace: &str,
    context: &Context,
) -> DetectedServer<'c> {
    let facts = context.image(&container.image);
    let in_directory;
    let container = match facts {
        Some(facts) if container.working_dir.as_deref().is_none_or(str::is_empty) => {
            let working_dir = Some(Text::from(facts.config.directory()));
            in_directory = Container { working_dir, ..container.clone() };
            &in_directory
        }
        Some(_) | None => container,
    };
    let containers = pod.containers.len() + pod.init_containers.len();
    let remaining = environment::MAX_EXPANSION / containers.max(1);
    let read = || Environment::read(container, namespace, context, remaining);
    let recognised = |launch: Result<Launch, String>| {
        let unread = launch.as_ref().err().cloned();
        // A setting that only one server reads identifies it, even if a script starts it.
        let launch = launch.unwrap_or_else(|_| Launch::unread(read()));
        StartCommand { recognised: recognise::recognise(catalog, container, &launch, facts), launch, unread }
    };
    let from_pod = recognised(command::launch(container, read()));
    let from_image = facts.and_then(|facts| command::launch_of_image(container, facts, read()));
    let StartCommand { recognised, launch, unread } = match from_image {
        Some(launch) => from_pod.or_image(recognised(launch)),
        None => from_pod,
    };
    let unknown = |server, why: String| DetectedServer {
        server,
        product: None,
        general: Answer { idle: Idle::Unknown(Why(why)), raise: None },
        by_port: BTreeMap::new(),
    };
    let detected = match (recognised, unread) {
        (Recognised::Server(found), _) => {
            let has_entrypoint = found.own_entrypoint || command::has_entrypoint(container, facts);
            let disk = Disk {
                pod,
                container,
                namespace,
                context,
                launch: &launch,
                image_of: found.own_image.then_some(found.server),
                has_entrypoint,
            };
            answers(&found, &launch, container, disk, ports)
        }
        (Recognised::Hint(..) | Recognised::Nothing(_), Some(why)) => unknown(None, format!("{why}; {HELP}")),
        (Recognised::Hint(server, why), None) => unknown(Some(server), why),
        (Recognised::Nothing(why), None) => unknown(None, why),
    };
    detected.with_doubt(facts.and_then(|facts| facts.doubt.as_deref())).clean()
}

/// A command line and the server that it starts.
struct StartCommand<'c> {
    recognised: Recognised<'c>,
    launch: Launch,
    /// Why the command line cannot be interpreted.
    unread: Option<String>,
}

impl StartCommand<'_> {
    /// Chooses between the command line of the pod and the one completed by the config of the image.
    ///
    /// The command line of the image takes precedence, unless it hides the server that the catalog lists for this
    /// image: behind a start script, or as a program that a product is built on.
    fn or_image(self, from_image: Self) -> Self {
        match (&self.recognised, &from_image.recognised) {
            (Recognised::Server(listed), Recognised::Server(found)) => {
                let hides_it = !found.own_image || listed.server.id != found.server.id;
                if listed.own_image && hides_it { self } else { from_image }
            }
            (Recognised::Server(listed), Recognised::Hint(..) | Recognised::Nothing(_)) => {
                let is_read = from_image.unread.is_none() && !from_image.launch.starts_script();
                if listed.only_name.is_some() && is_read { from_image } else { self }
            }
            (Recognised::Hint(..) | Recognised::Nothing(_), _) => from_image,
        }
    }
}

fn answers<'c>(
    found: &Recognition<'c>,
    launch: &Launch,
    container: &Container<'_>,
    disk: Disk<'_>,
    ports: &[u16],
) -> DetectedServer<'c> {
    let at =
        |port| Reader { recognition: found, launch, container, disk: disk.clone(), listener: None, port };
    let general = at(None);
    let has_ports = !found.server.listeners.is_empty()
        || found.server.other_ports.is_some()
        || found.product.is_some_and(|product| product.has_ports())
        || general.files_have_ports();
    let ports = if has_ports { ports } else { &[] };
    let by_port = ports.iter().take(MAX_PORTS).map(|port| (*port, resolve::resolve(&at(Some(*port)))));
    DetectedServer {
        server: Some(found.server),
        product: found.product,
        by_port: by_port.collect(),
        general: resolve::resolve(&general),
    }
}

#[cfg(test)]
mod tests;
