//! Test cases of the catalog: containers and the expected results.
//!
//! Parses case files into [`Case`]s and compares the results with the expectations. `docs/catalog.md` documents the
//! format.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use serde_saphyr::Spanned;

use super::{Catalog, CatalogError, Idle, detected};
use crate::workload::{
    context::Context,
    image_config::{ImageConfig, ImageFacts},
    object::Object,
};

/// A container and the expected result.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name: the id of an entry, a slash, and what the case shows.
    pub name: String,
    #[serde(default = "image")]
    image: String,
    #[serde(default)]
    command: Words,
    #[serde(default)]
    args: Words,
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    #[serde(default)]
    env_from: Vec<String>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    mounts: BTreeMap<String, String>,
    #[serde(default)]
    config_maps: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    image_config: Option<CaseImage>,
    #[serde(default)]
    post_start: Words,
    /// The port that is asked for.
    #[serde(default)]
    pub port: Option<u16>,
    /// The expected result: `certain gunicorn 10s`, `likely nextjs 5s..6s`, `unknown nginx`.
    pub expect: String,
}

fn image() -> String {
    "registry.example.com/shop/cart:3".to_owned()
}

/// The config of the image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseImage {
    #[serde(default)]
    entrypoint: Words,
    #[serde(default)]
    cmd: Words,
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    #[serde(default)]
    working_dir: String,
}

impl CaseImage {
    fn facts(&self) -> Result<ImageFacts, String> {
        let env = self.env.iter().map(|(name, value)| (name.clone(), value.text()));
        let config = ImageConfig {
            entrypoint: self.entrypoint.words()?,
            cmd: self.cmd.words()?,
            env: env.collect(),
            working_dir: self.working_dir.clone(),
            ..ImageConfig::default()
        };
        Ok(ImageFacts { digest: "sha256:case".to_owned(), config, doubt: None })
    }
}

/// A command line: one string, split as a shell does, or a list of words.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Line(String),
    List(Vec<Scalar>),
}

impl Default for Words {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// A string, or text that YAML reads as a number or a boolean.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Words {
    fn words(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Line(line) => shlex::split(line).ok_or_else(|| format!("{line}: a quote is not closed")),
            Self::List(words) => Ok(words.iter().map(Scalar::text).collect()),
        }
    }
}

/// Parses a file of cases, each with its line.
///
/// # Errors
///
/// Returns every mistake with its line; if the text does not match the schema, only the first one.
pub fn parse(text: &str) -> Result<Vec<(u64, Case)>, Vec<CatalogError>> {
    let cases: Vec<Spanned<Case>> = super::catalog::parse(text)?;
    let mut names = BTreeMap::new();
    let mut mistakes = Vec::new();
    let mut read = Vec::new();
    for case in cases {
        let line = case.referenced.line();
        let case = case.value;
        if let Some(first) = names.insert(case.name.clone(), line) {
            let message = format!("case {:?} is there twice: see line {first}", case.name);
            mistakes.push(CatalogError { line, message });
        }
        read.push((line, case));
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

impl Case {
    /// Compares the result for the container with the expected one.
    ///
    /// # Errors
    ///
    /// Returns the actual result, or what is wrong with the case.
    pub fn check(&self, catalog: &Catalog) -> Result<(), String> {
        let actual = self.actual(catalog)?;
        let matches = match self.expect.split_once(": ") {
            Some((head, reason)) => {
                actual.split_once(": ").is_some_and(|(found, why)| found == head && why.contains(reason))
            }
            None => actual.split(": ").next() == Some(&*self.expect),
        };
        if matches { Ok(()) } else { Err(format!("expected {}; got {actual}", self.expect)) }
    }

    /// The actual result: `certain gunicorn 10s`, `unknown - : reason`.
    fn actual(&self, catalog: &Catalog) -> Result<String, String> {
        let object = self.object()?.to_string();
        let object = Object::read(&object).map_err(|error| error.to_string())?;
        let object = object.ok_or("the case makes no pod")?;
        let mut context = Context::default();
        for (name, data) in &self.config_maps {
            context.config_maps.insert(("shop".to_owned(), name.clone()), data.clone());
        }
        if let Some(image) = &self.image_config {
            context.images.insert(self.image.clone(), image.facts()?);
        }
        let container = object.pod.containers.first().ok_or("the case makes no container")?;
        let ports: Vec<u16> = self.port.into_iter().collect();
        let detected = detected(catalog, &object.pod, container, &ports, "shop", &context);
        let id = detected.server.map_or("-", |server| &server.id);
        let idle = &detected.at(self.port).idle;
        let answer = match idle {
            Idle::ClosesAfter(window, _) if window.from == window.to => seconds(window.from),
            Idle::ClosesAfter(window, _) => format!("{}..{}", seconds(window.from), seconds(window.to)),
            Idle::ClosesEachResponse(_) => "each-response".to_owned(),
            Idle::NeverCloses(_) => "never".to_owned(),
            Idle::Unknown(why) => return Ok(format!("unknown {id}: {why}")),
        };
        let certainty = idle.evidence().map_or("unknown", |evidence| evidence.certainty.as_str());
        Ok(format!(
            "{certainty} {id} {answer}: {}",
            idle.evidence().map(ToString::to_string).unwrap_or_default()
        ))
    }

    /// The pod with the container, without what only `config_maps` and `image_config` tell.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the case.
    pub fn object(&self) -> Result<Value, String> {
        let env: Vec<Value> =
            self.env.iter().map(|(name, value)| json!({"name": name, "value": value.text()})).collect();
        let env_from: Vec<Value> = self
            .env_from
            .iter()
            .map(|name| match name.strip_prefix("secret ") {
                Some(secret) => json!({"secretRef": {"name": secret}}),
                None => json!({"configMapRef": {"name": name}}),
            })
            .collect();
        let mut mounts = Vec::new();
        let mut volumes = Vec::new();
        for (index, (path, source)) in self.mounts.iter().enumerate() {
            let name = format!("v{index}");
            let (volume, sub_path) = match source.split_once(' ') {
                Some(("secret", secret)) => (json!({"name": name, "secret": {"secretName": secret}}), None),
                Some(_) => return Err(format!("mounts: {source:?} is neither a ConfigMap nor a Secret")),
                None if source == "emptyDir" => (json!({"name": name, "emptyDir": {}}), None),
                None => {
                    let (config_map, key) = source
                        .split_once('/')
                        .map_or((source.as_str(), None), |(name, key)| (name, Some(key)));
                    (json!({"name": name, "configMap": {"name": config_map}}), key)
                }
            };
            volumes.push(volume);
            mounts.push(json!({"name": name, "mountPath": path, "subPath": sub_path.unwrap_or_default()}));
        }
        let mut container = json!({
            "name": "app",
            "image": self.image,
            "command": self.command.words()?,
            "args": self.args.words()?,
            "env": env,
            "envFrom": env_from,
            "volumeMounts": mounts,
        });
        if let Some(dir) = &self.working_dir {
            container["workingDir"] = json!(dir);
        }
        let hook = self.post_start.words()?;
        if !hook.is_empty() {
            container["lifecycle"] = json!({"postStart": {"exec": {"command": hook}}});
        }
        Ok(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"},
            "spec": {"containers": [container], "volumes": volumes},
        }))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
