//! Facts that no manifest says: what was measured of the servers of workloads.
//!
//! A facts file -> [`Facts`], which stand between what a pod spec sets and a server's default. A fact is certain as long as the
//! container has the image that was measured; after that it is likely.

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
        pod::TEMPLATE_HASH,
    },
};

/// What is known beside manifests.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// What was measured of the servers of workloads.
    pub servers: Arc<Vec<ServerFact>>,
    /// What the configs of images say.
    pub images: Arc<Vec<ImageFact>>,
    /// The images, to be looked up by the names that pods have for them.
    pub index: Arc<ImageIndex>,
}

/// What the config of an image says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageFact {
    /// The name that the image had.
    pub image: String,
    /// Its digest, its config.
    pub facts: ImageFacts,
    /// Where the config was read.
    pub source: String,
    /// When it was read.
    pub date: Date,
}

/// What was measured of a server.
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
    /// The image that the container had, as its spec names it.
    pub image: String,
    /// The digest of that image, as the node pulled it.
    pub digest: Option<String>,
    /// What the server did.
    pub behaviour: Behaviour,
    /// How it is known, such as `linkerd-linger 0.1.0, 4 connections`.
    pub source: String,
    /// When it was measured.
    pub date: Date,
}

/// What a server did with idle connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// It closed them, at the earliest and at the latest after these times.
    ClosesAfter(Duration, Duration),
    /// It closed the connection with each response.
    ClosesEachResponse,
    /// It had closed none after this time.
    OpenAfter(Duration),
}

impl Facts {
    /// Reads the text of a facts file.
    ///
    /// # Errors
    ///
    /// Every mistake in it, with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<PolicyError>> {
        raw::parse(text)
    }

    /// Facts about servers and images.
    pub fn new(servers: Vec<ServerFact>, images: Vec<ImageFact>) -> Self {
        let mut index = ImageIndex::default();
        for image in &images {
            index.insert(&image.image, image.facts.clone(), &image.date.to_string());
        }
        Self { servers: Arc::new(servers), images: Arc::new(images), index: Arc::new(index) }
    }

    /// Answers for the ports of a workload whose server was measured, unless the pod spec sets the timeout.
    pub(super) fn apply(&self, apps: &mut [App<'_, '_>], object: &Object<'_>, namespace: &str) {
        if self.servers.is_empty() {
            return;
        }
        let Some((kind, name)) = workload(object) else { return };
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
    /// The answer for a container that has this image now.
    fn idle(&self, image: &str) -> Idle {
        let same =
            image == self.image || self.digest.as_deref().is_some_and(|digest| image.ends_with(digest));
        let certainty = if same {
            Certainty::Certain
        } else {
            Certainty::Likely(format!("the image was {} then, and is {image} now", self.image))
        };
        let evidence = Evidence::measured(format!("measured on {} ({})", self.date, self.source), certainty);
        match self.behaviour {
            Behaviour::ClosesAfter(from, to) => {
                let timeout = (from == to).then_some(from);
                Idle::ClosesAfter(Window { timeout, from, to }, evidence)
            }
            Behaviour::ClosesEachResponse => Idle::ClosesEachResponse(evidence),
            // A later close is not known, and not guessed.
            Behaviour::OpenAfter(_) => Idle::NeverCloses(evidence),
        }
    }
}

/// The kind and the name of the workload that an object is, or belongs to; `None` if it has no name of its own.
pub fn workload<'o>(object: &'o Object<'_>) -> Option<(&'o str, &'o str)> {
    let own = || Some((object.kind.as_str(), &**object.name.as_ref()?));
    match &object.owner {
        Some(owner) if &*owner.kind == "ReplicaSet" => {
            let hash = object.pod.labels.get(TEMPLATE_HASH);
            Some(("Deployment", deployment_of(&owner.name, hash)?))
        }
        Some(owner) => Some((&owner.kind, &owner.name)),
        None => own(),
    }
}

/// The Deployment of a ReplicaSet: its name without the hash of the pod template, which its pods have as a label. Without
/// the label the name alone shows it (kubernetes `SafeEncodeString`).
pub fn deployment_of<'r>(replica_set: &'r str, template_hash: Option<&str>) -> Option<&'r str> {
    const HASH: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let labelled = template_hash.and_then(|hash| replica_set.strip_suffix(hash)?.strip_suffix('-'));
    labelled.or_else(|| {
        let (name, hash) = replica_set.rsplit_once('-')?;
        (!hash.is_empty() && hash.len() <= 10 && hash.bytes().all(|byte| HASH.contains(&byte)))
            .then_some(name)
    })
}

#[cfg(test)]
mod tests;
