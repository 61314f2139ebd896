//! The schema of the catalog, as YAML has it; `docs/catalog.md` documents each field.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

type Texts = Vec<Spanned<String>>;

/// An entry of a catalog before it is checked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawServer {
    #[schemars(with = "String")]
    pub(super) id: Spanned<String>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) runtime: Option<String>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) refines: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) doubt: Option<String>,
    #[serde(default)]
    pub(super) command_is_enough: bool,
    #[serde(default)]
    pub(super) reliable: RawSigns,
    #[serde(default)]
    pub(super) hints: RawSigns,
    #[serde(default)]
    #[schemars(with = "Vec<RawProduct>")]
    pub(super) products: Vec<Spanned<RawProduct>>,
    #[serde(default)]
    pub(super) version_from: Vec<String>,
    #[serde(default)]
    pub(super) version_env: Vec<String>,
    #[serde(default)]
    pub(super) entrypoint: Vec<String>,
    #[serde(default)]
    pub(super) takes_arguments: bool,
    #[serde(default)]
    pub(super) ignore_case: bool,
    #[serde(default)]
    pub(super) arguments_env: Vec<String>,
    #[serde(default)]
    pub(super) java_options_env: Vec<String>,
    #[serde(default)]
    pub(super) mode: Option<RawMode>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawFile>")]
    pub(super) files: BTreeMap<String, Spanned<RawFile>>,
    #[serde(default)]
    pub(super) image_files: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) templates: Option<RawTemplates>,
    #[serde(default)]
    #[schemars(with = "Vec<RawListener>")]
    pub(super) listeners: Vec<Spanned<RawListener>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) other_ports: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<RawSetting>")]
    pub(super) settings: Vec<Spanned<RawSetting>>,
    #[serde(default)]
    #[schemars(with = "Vec<RawDefault>")]
    pub(super) idle: Vec<Spanned<RawDefault>>,
    #[serde(default)]
    pub(super) raise: Option<String>,
    #[serde(default)]
    pub(super) gotchas: Vec<String>,
    #[serde(default)]
    pub(super) sources: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProduct {
    pub(super) name: String,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) images: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) commands: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) modules: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) jars: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) classes: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) settings: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) flags: Texts,
    #[serde(default)]
    pub(super) ports: Vec<u16>,
    pub(super) source: String,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[schemars(with = "String")]
    pub(super) format: Spanned<String>,
    #[serde(default)]
    pub(super) at: Vec<String>,
    #[serde(default)]
    #[schemars(with = "Vec<RawSetting>")]
    pub(super) named_by: Vec<Spanned<RawSetting>>,
    #[serde(default)]
    pub(super) prefix: String,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplates {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default = "template_suffix")]
    pub(super) suffix: String,
}

/// As the nginx image has it (docker-nginx `20-envsubst-on-templates.sh`).
fn template_suffix() -> String {
    ".template".to_owned()
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    pub(super) name: String,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) versions: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<RawSetting>")]
    pub(super) port: Vec<Spanned<RawSetting>>,
    #[serde(default)]
    pub(super) default_port: Vec<u16>,
    #[serde(default)]
    pub(super) default_port_of: BTreeMap<String, u16>,
    #[serde(default)]
    #[schemars(with = "Vec<RawSetting>")]
    pub(super) settings: Vec<Spanned<RawSetting>>,
    #[serde(default)]
    #[schemars(with = "Vec<RawDefault>")]
    pub(super) idle: Vec<Spanned<RawDefault>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSigns {
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) images: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) commands: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) modules: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) jars: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) classes: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) settings: Texts,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) flags: Texts,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMode {
    pub(super) start: String,
    pub(super) steps: Vec<RawStep>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) when: Texts,
    #[schemars(with = "Vec<RawSetting>")]
    pub(super) choices: Vec<Spanned<RawSetting>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
    #[schemars(with = "Option<String>")]
    pub(super) file: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) likely: Option<String>,
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
    #[schemars(with = "Option<String>")]
    pub(super) unless_file: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) sets: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) why: Option<String>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) format: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub(super) special: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) plus: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) plus_versions: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) versions: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) modes: Texts,
    #[serde(default)]
    pub(super) values: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) otherwise: Option<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefault {
    #[schemars(with = "String")]
    pub(super) closes: Spanned<String>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) late: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) early: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) versions: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) assumed: bool,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) modes: Texts,
    #[serde(default)]
    pub(super) own_image: bool,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) file: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) obeys: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) certain: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) likely: Option<Spanned<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) settled_by: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) raise: Option<String>,
    #[serde(default)]
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) why: Option<String>,
}
