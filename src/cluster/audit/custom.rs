//! Finds the custom resources whose objects may have pod templates, in the schemas of their CustomResourceDefinitions.
//!
//! Pure functions. A cluster can have hundreds of CRDs, and few of them run pods.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    base::text::{Text, nullable},
    workload::object::{TypeMeta, is_as_written},
};

/// The custom resources whose schemas are open, but whose objects have pod templates. Those whose controllers use the
/// template as it is written are known, too.
const WITH_TEMPLATES: [(&str, &str); 9] = [
    ("argoproj.io", "CronWorkflow"),
    ("argoproj.io", "Workflow"),
    ("argoproj.io", "WorkflowTemplate"),
    ("serving.knative.dev", "Service"),
    ("serving.kserve.io", "InferenceService"),
    ("tekton.dev", "Pipeline"),
    ("tekton.dev", "PipelineRun"),
    ("tekton.dev", "Task"),
    ("tekton.dev", "TaskRun"),
];

/// A namespaced custom resource whose objects may have pod templates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Resource {
    /// The API group.
    pub group: String,
    /// The version that is read.
    pub version: String,
    /// The name in paths.
    pub plural: String,
    /// `kind`.
    pub kind: String,
    /// What its schema says.
    pub templates: Templates,
}

/// Whether objects of a schema can have pod templates.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Templates {
    /// The schema has no containers.
    None,
    /// A part of the schema allows any field.
    Possible,
    /// The schema has containers with an image.
    InSchema,
}

impl Resource {
    /// Reads a CustomResourceDefinition. `None` if its objects cannot have pod templates, are not namespaced, or are not
    /// served. The templates of resources without a namespace are for other objects to use.
    ///
    /// # Errors
    ///
    /// Returns an error if a field has another type than in the Kubernetes API.
    pub(super) fn read(json: &str) -> Result<Option<Self>, serde_json::Error> {
        let Definition { spec } = serde_json::from_str(json)?;
        let served = || spec.versions.iter().filter(|version| version.served);
        let version = served().find(|version| version.storage).or_else(|| served().next());
        let Some(version) = version.filter(|_| &*spec.scope == "Namespaced") else { return Ok(None) };
        let templates = version.templates();
        Ok((templates != Templates::None).then(|| Self {
            group: spec.group.to_string(),
            version: version.name.to_string(),
            plural: spec.names.plural.to_string(),
            kind: spec.names.kind.to_string(),
            templates,
        }))
    }

    /// Whether its objects are read without a look at the owners of workloads and pods.
    pub(super) fn is_known(&self) -> bool {
        let name = (&*self.group, &*self.kind);
        self.templates == Templates::InSchema
            || WITH_TEMPLATES.contains(&name)
            || is_as_written(&self.group, &self.kind)
    }

    /// `apiVersion`.
    pub(super) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

/// The type of the items of a list.
pub(super) fn type_meta<'m>(api_version: &'m str, kind: &'m str) -> TypeMeta<'m> {
    TypeMeta { api_version: Text::from(api_version), kind: Text::from(kind) }
}

#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    group: Text<'a>,
    #[serde(borrow)]
    names: Names<'a>,
    #[serde(borrow)]
    scope: Text<'a>,
    #[serde(borrow)]
    versions: Vec<Version<'a>>,
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    plural: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
    #[serde(borrow, default)]
    schema: Option<Validation<'a>>,
}

#[derive(Deserialize)]
struct Validation<'a> {
    #[serde(borrow, default, rename = "openAPIV3Schema")]
    schema: Option<&'a RawValue>,
}

impl Version<'_> {
    fn templates(&self) -> Templates {
        let Some(json) = self.schema.as_ref().and_then(|it| it.schema) else { return Templates::Possible };
        let Ok(root) = serde_json::from_str::<Schema<'_>>(json.get()) else { return Templates::Possible };
        let parts = root.properties.iter().filter(|(name, _)| !matches!(&***name, "metadata" | "status"));
        let parts = parts.map(|(_, schema)| schema.templates()).max();
        root.openness().max(parts.unwrap_or(Templates::None))
    }
}

/// A part of an OpenAPI schema.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    properties: HashMap<Text<'a>, Self>,
    #[serde(borrow, default)]
    items: Option<Part<'a>>,
    #[serde(borrow, default)]
    additional_properties: Option<Part<'a>>,
    #[serde(default, rename = "x-kubernetes-preserve-unknown-fields", deserialize_with = "nullable")]
    preserves_unknown_fields: bool,
}

impl Schema<'_> {
    const fn openness(&self) -> Templates {
        if self.preserves_unknown_fields { Templates::Possible } else { Templates::None }
    }

    fn templates(&self) -> Templates {
        if self.has_containers() {
            return Templates::InSchema;
        }
        let inner = [&self.items, &self.additional_properties].into_iter().flatten();
        let inner = inner.filter_map(|part| part.0.as_deref()).chain(self.properties.values());
        inner.map(Self::templates).fold(self.openness(), Ord::max)
    }

    /// Whether it has a field that a pod, or a step of a workflow, has for its containers.
    fn has_containers(&self) -> bool {
        let lists = ["containers", "steps"].into_iter().filter_map(|name| self.property(name));
        let items = lists.filter_map(|list| list.items.as_ref()?.0.as_deref());
        let single = ["container", "script"].into_iter().filter_map(|name| self.property(name));
        items.chain(single).any(|container| container.property("image").is_some())
    }

    fn property(&self, name: &'static str) -> Option<&Self> {
        self.properties.get(&Text::from(name))
    }
}

/// A schema in a place that can also have a boolean.
struct Part<'a>(Option<Box<Schema<'a>>>);

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartVisitor;
        impl<'de> Visitor<'de> for PartVisitor {
            type Value = Part<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a schema or a boolean")
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Part(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Part(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Schema::deserialize(MapAccessDeserializer::new(map))
                    .map(|schema| Part(Some(Box::new(schema))))
            }
        }
        deserializer.deserialize_any(PartVisitor)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn definition(schema: &Value, scope: &str) -> Value {
        json!({"spec": {
            "group": "example.com", "names": {"plural": "shops", "kind": "Shop"}, "scope": scope,
            "versions": [
                {"name": "v1alpha1", "served": true, "storage": false},
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
            ],
        }})
    }

    fn templates(schema: &Value) -> Option<Templates> {
        let read = Resource::read(&definition(schema, "Namespaced").to_string()).unwrap();
        read.map(|resource| {
            assert_eq!(resource.api_version(), "example.com/v1");
            resource.templates
        })
    }

    /// A schema with these properties.
    fn object(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties})
    }

    fn containers() -> Value {
        json!({"type": "array", "items": object(&json!({"name": {}, "image": {"type": "string"}}))})
    }

    #[rstest]
    #[case::template(
        json!({"spec": object(&json!({"template": object(&json!({"spec": object(&json!({"containers": containers()}))}))}))}),
        Some(Templates::InSchema)
    )]
    #[case::in_a_list(
        json!({"spec": object(&json!({"groups": {"items": object(&json!({"containers": containers()}))}}))}),
        Some(Templates::InSchema)
    )]
    #[case::in_a_map(
        json!({"spec": {"additionalProperties": object(&json!({"podSpec": object(&json!({"containers": containers()}))}))}}),
        Some(Templates::InSchema)
    )]
    #[case::steps(json!({"spec": object(&json!({"steps": containers()}))}), Some(Templates::InSchema))]
    #[case::script(
        json!({"spec": object(&json!({"script": object(&json!({"image": {}, "source": {}}))}))}),
        Some(Templates::InSchema)
    )]
    #[case::open_template(
        json!({"spec": object(&json!({"template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}))}),
        Some(Templates::Possible)
    )]
    #[case::nothing(json!({"spec": object(&json!({"host": {"type": "string"}}))}), None)]
    #[case::any_labels(json!({"spec": {"additionalProperties": true, "items": null}}), None)]
    #[case::names_of_containers(json!({"spec": object(&json!({"containers": {"items": {"type": "string"}}}))}), None)]
    #[case::status(json!({"status": object(&json!({"containers": containers()}))}), None)]
    fn the_schema_shows_whether_there_can_be_templates(
        #[case] properties: Value,
        #[case] expected: Option<Templates>,
    ) {
        assert_eq!(templates(&object(&properties)), expected);
    }

    #[rstest]
    #[case::an_open_root(json!({"x-kubernetes-preserve-unknown-fields": true}))]
    #[case::a_schema_that_cannot_be_read(json!({"properties": 3}))]
    fn an_unknown_schema_may_have_templates(#[case] schema: Value) {
        assert_eq!(templates(&schema), Some(Templates::Possible));
    }

    #[test]
    fn resources_without_a_namespace_are_left_out() {
        let definition = definition(&json!({"x-kubernetes-preserve-unknown-fields": true}), "Cluster");
        assert_eq!(Resource::read(&definition.to_string()).unwrap(), None);
    }
}
