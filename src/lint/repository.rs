//! Files of kustomize and Helm: reads the file names in kustomization.yaml, and the type of the chart in Chart.yaml.
//!
//! `cmd` finds these files and runs the programs.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// The file names that kustomize looks for.
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The file name that Helm looks for.
pub const CHART: &str = "Chart.yaml";

/// The files that a kustomization names, relative to its directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kustomization {
    /// Whether it is a Component, which can only be built as part of another kustomization.
    pub is_component: bool,
    /// Files with complete objects, and directories of other kustomizations.
    pub resources: Vec<String>,
    /// Files of patches.
    pub patches: Vec<String>,
    /// Other files: configuration of kustomize, and the contents of ConfigMaps and Secrets.
    pub others: Vec<String>,
}

/// The fields of a Chart.yaml.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chart {
    /// The name; empty if it is missing.
    pub name: String,
    /// Whether it is a library chart, which has no templates of its own.
    pub is_library: bool,
}

impl Kustomization {
    /// Parses a kustomization.yaml. An invalid one names no files; kustomize reports the error.
    pub fn read(text: &str) -> Self {
        let raw: RawKustomization = serde_saphyr::from_str(text).unwrap_or_default();
        let of_target = |list: Vec<PatchFile>| list.into_iter().filter_map(PatchFile::path);
        let mut patches: Vec<_> = of_target(raw.patches).chain(of_target(raw.patches_json6902)).collect();
        // The others are inline.
        patches.extend(raw.patches_strategic_merge.into_iter().filter(|patch| !patch.contains('\n')));
        let mut others: Vec<_> = of_target(raw.replacements).collect();
        for list in [raw.configurations, raw.crds, raw.generators, raw.transformers, raw.validators] {
            others.extend(list);
        }
        for generator in raw.config_map_generator.into_iter().chain(raw.secret_generator) {
            let files = generator.files.into_iter().chain(generator.envs).chain(generator.env);
            others.extend(files.map(|file| file.rsplit('=').next().unwrap_or_default().to_owned()));
        }
        others.extend(
            raw.helm_charts
                .into_iter()
                .flat_map(|chart| chart.values_file.into_iter().chain(chart.additional_values_files)),
        );
        let mut resources = raw.resources;
        resources.extend(raw.bases.into_iter().chain(raw.components));
        Self { is_component: raw.kind == "Component", resources, patches, others }
    }
}

impl Chart {
    /// Parses a Chart.yaml. Helm reports the error in an invalid one.
    pub fn read(text: &str) -> Self {
        let raw: RawChart = serde_saphyr::from_str(text).unwrap_or_default();
        Self { name: raw.name, is_library: raw.chart_type == "library" }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawKustomization {
    kind: String,
    #[serde(deserialize_with = "list")]
    resources: Vec<String>,
    #[serde(deserialize_with = "list")]
    bases: Vec<String>,
    #[serde(deserialize_with = "list")]
    components: Vec<String>,
    #[serde(deserialize_with = "list")]
    patches: Vec<PatchFile>,
    #[serde(deserialize_with = "list")]
    patches_strategic_merge: Vec<String>,
    #[serde(deserialize_with = "list")]
    patches_json6902: Vec<PatchFile>,
    #[serde(deserialize_with = "list")]
    replacements: Vec<PatchFile>,
    #[serde(deserialize_with = "list")]
    configurations: Vec<String>,
    #[serde(deserialize_with = "list")]
    crds: Vec<String>,
    #[serde(deserialize_with = "list")]
    generators: Vec<String>,
    #[serde(deserialize_with = "list")]
    transformers: Vec<String>,
    #[serde(deserialize_with = "list")]
    validators: Vec<String>,
    #[serde(deserialize_with = "list")]
    config_map_generator: Vec<Generator>,
    #[serde(deserialize_with = "list")]
    secret_generator: Vec<Generator>,
    #[serde(deserialize_with = "list")]
    helm_charts: Vec<HelmChart>,
}

/// A patch or a similar item with its file in `path`; old kustomizations have only the file name.
#[derive(Deserialize)]
#[serde(untagged)]
enum PatchFile {
    Name(String),
    Path { path: Option<String> },
}

impl PatchFile {
    fn path(self) -> Option<String> {
        match self {
            Self::Name(path) => (!path.contains('\n')).then_some(path),
            Self::Path { path } => path,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generator {
    #[serde(deserialize_with = "list")]
    files: Vec<String>,
    #[serde(deserialize_with = "list")]
    envs: Vec<String>,
    env: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HelmChart {
    values_file: Option<String>,
    #[serde(deserialize_with = "list")]
    additional_values_files: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawChart {
    name: String,
    #[serde(rename = "type")]
    chart_type: String,
}

/// A list, or nothing; items of another type are skipped.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item<T> {
        Read(T),
        Other(IgnoredAny),
    }
    let items = Option::<Vec<Item<T>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(items
        .into_iter()
        .filter_map(|item| match item {
            Item::Read(value) => Some(value),
            Item::Other(_) => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_names_its_files() {
        let text = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [web.yaml, ../base, 'https://example.com/all.yaml']
components:
- ../../components/tls
patches:
- path: replicas.yaml
  target: {kind: Deployment}
- patch: |-
    - op: remove
      path: /spec
- old.yaml
patchesStrategicMerge:
- limits.yaml
- |-
  kind: Deployment
  apiVersion: apps/v1
patchesJson6902: [{path: six.yaml}]
replacements: [{path: replace.yaml}, {source: {kind: Pod}}]
configMapGenerator:
- name: a
  files: [app.yaml, key=other.yaml]
  envs:
secretGenerator: [{env: secret.env}]
transformers: [labels.yaml]
helmCharts: [{name: x, valuesFile: values.yaml}]
";
        let read = Kustomization::read(text);
        assert_eq!(
            read,
            Kustomization {
                is_component: false,
                resources: ["web.yaml", "../base", "https://example.com/all.yaml", "../../components/tls"]
                    .map(str::to_owned)
                    .into(),
                patches: ["replicas.yaml", "old.yaml", "six.yaml", "limits.yaml"].map(str::to_owned).into(),
                others: [
                    "replace.yaml",
                    "labels.yaml",
                    "app.yaml",
                    "other.yaml",
                    "secret.env",
                    "values.yaml"
                ]
                .map(str::to_owned)
                .into(),
            }
        );
    }

    #[test]
    fn a_kustomization_that_cannot_be_read_names_nothing() {
        for text in ["", "resources: [", "- a\n", "resources: 3\n"] {
            assert_eq!(Kustomization::read(text), Kustomization::default(), "{text:?}");
        }
        assert!(Kustomization::read("kind: Component\n").is_component);
    }

    #[test]
    fn a_library_chart_is_recognised() {
        let chart = Chart::read("apiVersion: v2\nname: parts\nversion: 1.0\ntype: library\n");
        assert_eq!(chart, Chart { name: "parts".into(), is_library: true });
        assert_eq!(Chart::read("name: [").name, "");
    }
}
