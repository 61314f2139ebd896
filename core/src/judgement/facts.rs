//! Facts from outside of manifests: measurements of servers, and configs of images.
//!
//! Parses a facts file into [`Facts`]. They take precedence over the defaults of a server, but not over settings in the
//! pod spec. A fact is certain while the container runs the measured image, and likely otherwise.

mod raw;
mod text;

use std::{sync::Arc, time::Duration};

use jiff::civil::Date;

pub use self::text::{print, schema};
use super::{fields::PolicyError, survey::App};
use crate::{
    servers::{Answer, Certainty, Evidence, Idle, Window},
    workload::{
        image_config::{ImageFacts, ImageIndex},
        object::Object,
    },
};

/// What is known in addition to manifests.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Measurements of the servers of workloads.
    pub servers: Arc<Vec<ServerFact>>,
    /// The configs of images.
    pub images: Arc<Vec<ImageFact>>,
    /// The images, indexed by the names that pods use.
    pub index: Arc<ImageIndex>,
}

/// The config of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageFact {
    /// The name of the image.
    pub image: String,
    /// The digest and the config.
    pub facts: ImageFacts,
    /// Where the config was read.
    pub source: String,
    /// When the config was read.
    pub date: Date,
}

/// A measurement of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFact {
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's kind: `Deployment`, `StatefulSet`, `DaemonSet` or `Pod`.
    pub kind: String,
    /// The workload's name.
    pub name: String,
    /// The container.
    pub container: String,
    /// The port.
    pub port: u16,
    /// The image of the container, as its spec names it.
    pub image: String,
    /// The digest of that image, as the node pulled it.
    pub digest: Option<String>,
    /// The measured behaviour.
    pub behaviour: Behaviour,
    /// How it was measured, such as `linkerd-linger 0.1.0, 4 connections`.
    pub source: String,
    /// When it was measured.
    pub date: Date,
}

/// What a server did with idle connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// It closed them between these two times.
    ClosesAfter(Duration, Duration),
    /// It closed the connection after each response.
    ClosesEachResponse,
    /// It closed none within this time.
    OpenAfter(Duration),
}

impl Facts {
    /// Parses the text of a facts file.
    ///
    /// # Errors
    ///
    /// Returns every mistake with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyError>> {
        raw::parse(text)
    }

    /// Creates facts about servers and images.
    pub fn new(servers: Vec<ServerFact>, images: Vec<ImageFact>) -> Self {
        let mut index = ImageIndex::default();
        for image in &images {
            index.insert(&image.image, image.facts.clone(), &image.date.to_string());
        }
        Self { servers: Arc::new(servers), images: Arc::new(images), index: Arc::new(index) }
    }

    /// Uses the measurement of a workload for its ports, unless the pod spec sets the timeout.
    pub(super) fn apply(&self, apps: &mut [App<'_, '_>], object: &Object<'_>, namespace: &str) {
        if self.servers.is_empty() {
            return;
        }
        let Some((kind, name)) = object.workload() else { return };
        let is_of =
            |fact: &&ServerFact| fact.namespace == namespace && fact.kind == kind && fact.name == name;
        for fact in self.servers.iter().filter(is_of) {
            let Some(app) = apps.iter_mut().find(|app| *app.container.name == *fact.container) else {
                continue;
            };
            let known = app.detected.at(Some(fact.port));
            let is_set = known.idle.evidence().is_some_and(Evidence::is_set_for_certain);
            if !is_set {
                let answer = Answer { idle: fact.idle(&app.container.image), raise: known.raise.clone() };
                app.detected.by_port.insert(fact.port, answer);
            }
        }
    }
}

impl ServerFact {
    /// The idle timeout of a container that now has this image.
    fn idle(&self, image: &str) -> Idle {
        let same =
            image == self.image || self.digest.as_deref().is_some_and(|digest| image.ends_with(digest));
        let certainty = if same {
            Certainty::Certain
        } else {
            Certainty::Likely(format!(
                "the image was {} during the measurement, but is {image} now",
                self.image
            ))
        };
        let evidence = Evidence::measured(format!("measured on {} ({})", self.date, self.source), certainty);
        match self.behaviour {
            Behaviour::ClosesAfter(from, to) => {
                let timeout = (from == to).then_some(from);
                Idle::ClosesAfter(Window { timeout, from, to }, evidence)
            }
            Behaviour::ClosesEachResponse => Idle::ClosesEachResponse(evidence),
            // Whether it closes later is unknown.
            Behaviour::OpenAfter(_) => Idle::NeverCloses(evidence),
        }
    }
}

#[cfg(test)]
mod tests;
