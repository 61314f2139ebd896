//! The schema of the catalog, as YAML has it; `catalog.yaml` documents each field.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

type Texts = Vec<Spanned<String>>;

/// An entry of a catalog before it is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServer {
    pub(super) id: Spanned<String>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) runtime: Option<String>,
    #[serde(default)]
    pub(super) refines: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) doubt: Option<String>,
    #[serde(default)]
    pub(super) reliable: RawSigns,
    #[serde(default)]
    pub(super) hints: RawSigns,
    #[serde(default)]
    pub(super) version_from: Vec<String>,
    #[serde(default)]
    pub(super) entrypoint: Vec<String>,
    #[serde(default)]
    pub(super) ignore_case: bool,
    #[serde(default)]
    pub(super) arguments_env: Vec<String>,
    #[serde(default)]
    pub(super) java_options_env: Vec<String>,
    #[serde(default)]
    pub(super) mode: Option<RawMode>,
    #[serde(default)]
    pub(super) settings: Vec<Spanned<RawSetting>>,
    #[serde(default)]
    pub(super) idle: Vec<Spanned<RawDefault>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigns {
    #[serde(default)]
    pub(super) images: Texts,
    #[serde(default)]
    pub(super) commands: Texts,
    #[serde(default)]
    pub(super) modules: Texts,
    #[serde(default)]
    pub(super) jars: Texts,
    #[serde(default)]
    pub(super) classes: Texts,
    #[serde(default)]
    pub(super) settings: Texts,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMode {
    pub(super) start: String,
    pub(super) steps: Vec<RawStep>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    #[serde(default)]
    pub(super) when: Texts,
    pub(super) choices: Vec<Spanned<RawSetting>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSetting {
    #[serde(default)]
    pub(super) flag: Vec<String>,
    #[serde(default)]
    pub(super) argument: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) property: Vec<String>,
    #[serde(default)]
    pub(super) spring: Vec<String>,
    #[serde(default)]
    pub(super) mount: Vec<String>,
    #[serde(default)]
    pub(super) subcommand: bool,
    #[serde(default)]
    pub(super) bare: Option<String>,
    #[serde(default)]
    pub(super) glued: bool,
    #[serde(default)]
    pub(super) first_wins: bool,
    #[serde(default)]
    pub(super) directive: Option<String>,
    #[serde(default)]
    pub(super) unless_flags: bool,
    #[serde(default)]
    pub(super) sets: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) why: Option<String>,
    #[serde(default)]
    pub(super) format: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) special: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) plus: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) plus_versions: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) versions: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) modes: Texts,
    #[serde(default)]
    pub(super) values: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) otherwise: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefault {
    pub(super) closes: Spanned<String>,
    #[serde(default)]
    pub(super) late: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) versions: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) assumed: bool,
    #[serde(default)]
    pub(super) modes: Texts,
    #[serde(default)]
    pub(super) own_image: bool,
    #[serde(default)]
    pub(super) obeys: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) why: Option<String>,
}
