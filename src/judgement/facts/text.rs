//! Facts -> the text of a facts file.

use serde::Serialize;

use super::{Behaviour, Facts, ServerFact};
use crate::base::duration;

#[derive(Serialize)]
struct File<'f> {
    version: u32,
    servers: Vec<Server<'f>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Server<'f> {
    namespace: &'f str,
    kind: &'f str,
    name: &'f str,
    container: &'f str,
    port: u16,
    image: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_after: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_each_response: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_after: Option<String>,
    source: &'f str,
    date: String,
}

impl<'f> From<&'f ServerFact> for Server<'f> {
    fn from(fact: &'f ServerFact) -> Self {
        let (mut closes_after, mut closes_each_response, mut open_after) = (None, None, None);
        match fact.behaviour {
            Behaviour::ClosesAfter(from, to) => closes_after = Some([from, to].map(duration::show).to_vec()),
            Behaviour::ClosesEachResponse => closes_each_response = Some(true),
            Behaviour::OpenAfter(time) => open_after = Some(duration::show(time)),
        }
        Self {
            namespace: &fact.namespace,
            kind: &fact.kind,
            name: &fact.name,
            container: &fact.container,
            port: fact.port,
            image: &fact.image,
            digest: fact.digest.as_deref(),
            closes_after,
            closes_each_response,
            open_after,
            source: &fact.source,
            date: fact.date.to_string(),
        }
    }
}

/// The text of a facts file, which [`Facts::parse`] reads back.
///
/// # Errors
///
/// None that we know of: every value has a YAML text.
pub fn print(facts: &Facts) -> Result<String, serde_saphyr::ser::Error> {
    let file = File { version: 1, servers: facts.servers.iter().map(Server::from).collect() };
    serde_saphyr::to_string(&file)
}
