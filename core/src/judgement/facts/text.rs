//! Prints facts as a facts file.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;

use super::{Behaviour, Facts, ImageFact, ServerFact};
use crate::base::duration;

/// Measured idle timeouts of servers, and fields of image configs.
#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, title = "Facts of linkerd-linger")]
struct File<'f> {
    version: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Server<'f>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image<'f>>,
}

/// Fields of an image config.
#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
struct Image<'f> {
    image: &'f str,
    digest: &'f str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'f [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'f [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<&'f str, &'f str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'f str,
    source: &'f str,
    date: String,
}

impl<'f> From<&'f ImageFact> for Image<'f> {
    fn from(fact: &'f ImageFact) -> Self {
        let config = &fact.facts.config;
        Self {
            image: &fact.image,
            digest: &fact.facts.digest,
            entrypoint: &config.entrypoint,
            cmd: &config.cmd,
            env: config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            working_dir: &config.working_dir,
            source: &fact.source,
            date: fact.date.to_string(),
        }
    }
}

/// The measurement of a server: exactly one of `closesAfter`, `closesEachResponse` and `openAfter`.
#[derive(JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
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
            Behaviour::ClosesAfter(from, to) => {
                closes_after = Some([from, to].map(duration::format).to_vec())
            }
            Behaviour::ClosesEachResponse => closes_each_response = Some(true),
            Behaviour::OpenAfter(time) => open_after = Some(duration::format(time)),
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

/// The JSON Schema of a facts file.
pub fn schema() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<File<'_>>()
}

/// Prints a facts file that [`Facts::parse`] can read.
///
/// # Errors
///
/// Every value can be written as YAML, so no error is known.
pub fn print(facts: &Facts) -> Result<String, serde_saphyr::ser::Error> {
    let file = File {
        version: 1,
        servers: facts.servers.iter().map(Server::from).collect(),
        images: facts.images.iter().map(Image::from).collect(),
    };
    serde_saphyr::to_string(&file)
}
