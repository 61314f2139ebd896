//! Finds the parts of JSON text without building a tree.

use std::fmt;

use jsonptr::Pointer;
use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::base::text::Text;

/// The members of an object or the items of a list, each with its JSON pointer token; empty for scalars.
pub fn children(json: &str) -> Vec<(Text<'_>, &str)> {
    let mut children = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // The text is known to be valid JSON, so an error means a scalar.
    let _ = Members(&mut children).deserialize(&mut deserializer);
    children
}

/// The offset of the value that a pointer refers to, or of its closest existing ancestor.
pub fn offset_of(json: &str, pointer: &Pointer) -> usize {
    let mut here = json;
    for token in pointer.tokens() {
        let token = token.decoded();
        // The last of several equal keys wins.
        let Some((_, child)) = children(here).into_iter().rev().find(|(name, _)| **name == *token) else {
            break;
        };
        here = child;
    }
    offset_in(json, here)
}

/// The path of the innermost value at an offset: `spec.containers[0].image`.
pub fn path_at(json: &str, offset: usize) -> String {
    let mut path = String::new();
    let mut here = json;
    // Each step parses its part again. The limit bounds the cost; Kubernetes objects are not deeper.
    for _ in 0..64 {
        let is_list = here.starts_with('[');
        let around = children(here).into_iter().find(|(_, child)| {
            let start = offset_in(json, child);
            (start..=start + child.len()).contains(&offset)
        });
        let Some((name, child)) = around else { break };
        if is_list {
            path.push_str(&format!("[{name}]"));
        } else if path.is_empty() {
            path.push_str(&name);
        } else {
            path.push_str(&format!(".{name}"));
        }
        here = child;
    }
    path
}

/// The offset of `part`, which is a slice of `json`.
pub fn offset_in(json: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(json.as_ptr() as usize)
}

struct Members<'c, 'a>(&'c mut Vec<(Text<'a>, &'a str)>);

impl<'de> DeserializeSeed<'de> for Members<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            self.0.push((name, map.next_value::<&RawValue>()?.get()));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element::<&RawValue>()? {
            self.0.push((Text(self.0.len().to_string().into()), item.get()));
        }
        Ok(())
    }
}
