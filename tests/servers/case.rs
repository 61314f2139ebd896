//! The cases: a real server with its command line, and the equivalent pod manifest.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};

/// A server with its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// `server/what-is-special`.
    pub(crate) name: String,
    /// Where the server comes from.
    pub(crate) from: Origin,
    /// What is set, for people; nothing for the default.
    #[serde(default)]
    pub(crate) set: String,
    /// Runs on this machine, and in the container unless `container` gives another command there.
    pub(crate) command: Words,
    /// The command of the container, where this machine starts the server in another way.
    pub(crate) container: Option<Words>,
    /// Only `args` of the container, as its image has the command.
    pub(crate) args: Option<Words>,
    /// The image of the container, where that says more than the command.
    pub(crate) image: Option<String>,
    /// Variables.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Variables that only this machine needs.
    #[serde(default)]
    pub(crate) own_env: BTreeMap<String, String>,
    /// Configuration files, which the container has from a ConfigMap.
    #[serde(default)]
    pub(crate) config: BTreeMap<String, String>,
    /// Where the container has a configuration file, if not in its working directory.
    #[serde(default)]
    pub(crate) mounts: BTreeMap<String, String>,
    /// Files of the app, which the image has.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// What is requested.
    #[serde(default = "root")]
    pub(crate) path: String,
    /// Why `explain` may say that it is unknown: then the measurement is written down and not compared.
    pub(crate) unknown: Option<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// Where a server comes from: packages of one registry, with their versions, or programs of this machine.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// Packages of Debian; the first has the version to tell.
    Debian(Vec<String>),
    /// Packages of PyPI.
    Pip(Vec<String>),
    /// Packages of npm.
    Npm(Vec<String>),
    /// A command of a Go module.
    Go(String),
    /// An archive of Maven Central: `group:artifact:version:type`.
    Maven(String),
    /// A project of Maven, which is built.
    Project(Project),
    /// A program of this machine, and the arguments that print its version.
    Program(Vec<String>),
}

/// A project of Maven.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(deny_unknown_fields)]
pub(crate) struct Project {
    /// The framework, for people.
    pub(crate) name: String,
    /// Its version, for `{version}` in the files.
    pub(crate) version: String,
    pub(crate) files: BTreeMap<String, String>,
}

/// Words of a command line: a line, or a list where a word has spaces.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    Line(String),
    List(Vec<String>),
}

impl Words {
    pub(crate) fn list(&self, place: &Place) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(|word| place.fill(word)).collect(),
            Self::List(words) => words.iter().map(|word| place.fill(word)).collect(),
        }
    }
}

/// Where one case runs, for `{dir}`, `{port}`, `{cache}`, `{package}` and `{version}` in its text.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The working directory.
    pub(crate) dir: PathBuf,
    /// The port of the server.
    pub(crate) port: u16,
    /// The directory for everything that is built once.
    pub(crate) cache: PathBuf,
    /// The directory of the package.
    pub(crate) package: PathBuf,
    /// The version of the server.
    pub(crate) version: String,
}

impl Place {
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir.display().to_string())
            .replace("{port}", &self.port.to_string())
            .replace("{cache}", &self.cache.display().to_string())
            .replace("{package}", &self.package.display().to_string())
            .replace("{version}", &self.version)
    }
}

impl Case {
    /// Writes the files into the working directory.
    pub(crate) fn write(&self, place: &Place) {
        for (name, text) in self.files.iter().chain(&self.config) {
            let path = place.dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, place.fill(text)).unwrap();
        }
    }

    /// The same as a manifest for `explain`: the ConfigMap, and a pod that is probed at the port.
    pub(crate) fn manifest(&self, place: &Place) -> String {
        let command = self.container.as_ref().unwrap_or(&self.command).list(place);
        let image = self.image.as_deref().unwrap_or("registry.example.com/shop/web:1");
        let env: Vec<Value> =
            self.env.iter().map(|(name, value)| json!({"name": name, "value": place.fill(value)})).collect();
        let keys: Vec<String> = self.config.keys().map(|name| name.replace('/', "-")).collect();
        let data: BTreeMap<&String, String> =
            keys.iter().zip(self.config.values().map(|text| place.fill(text))).collect();
        let mounts: Vec<Value> = self
            .config
            .keys()
            .zip(&keys)
            .map(|(name, key)| {
                let own = || place.dir.join(name).display().to_string();
                let path = self.mounts.get(name).cloned().unwrap_or_else(own);
                json!({"name": "config", "mountPath": path, "subPath": key})
            })
            .collect();
        let mut container = json!({
            "name": "web",
            "image": place.fill(image),
            "workingDir": place.dir,
            "env": env,
            "ports": [{"containerPort": place.port}],
            "readinessProbe": {"httpGet": {"path": self.path, "port": place.port}},
            "volumeMounts": mounts,
        });
        match &self.args {
            Some(args) => container["args"] = json!(args.list(place)),
            None => container["command"] = json!(command),
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "annotations": {"linkerd.io/inject": "enabled"}},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            },
        });
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": data});
        format!("{pod}\n---\n{map}\n")
    }
}

/// Reads the cases of a folder.
pub(crate) fn read(folder: &Path) -> Vec<Case> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|found| found == "yaml")).collect();
    files.sort();
    let cases = files.iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        serde_saphyr::from_str::<Vec<Case>>(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    cases.collect()
}
