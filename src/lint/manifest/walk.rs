//! JSON text -> the texts of its parts, without building a tree.

use std::fmt;

use json_patch::jsonptr::Pointer;
use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::base::text::Text;

/// The members of an object or a list, each with its token in a JSON pointer; none of anything else.
pub(crate) fn children(json: &str) -> Vec<(Text<'_>, &str)> {
    let mut children = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // An error can only mean that it is not JSON, of which we have made sure, or a scalar.
    let _ = Members(&mut children).deserialize(&mut deserializer);
    children
}

/// Where the value of a pointer begins, or that of the last of its ancestors that exists.
pub(crate) fn offset_of(json: &str, pointer: &Pointer) -> usize {
    let mut here = json;
    for token in pointer.tokens() {
        let token = token.decoded();
        // Of two members of one name the last counts.
        let Some((_, child)) = children(here).into_iter().rev().find(|(name, _)| **name == *token) else {
            break;
        };
        here = child;
    }
    offset_in(json, here)
}

/// The path of the innermost value around an offset, as people write it: `spec.containers[0].image`.
pub(crate) fn path_at(json: &str, offset: usize) -> String {
    let mut path = String::new();
    let mut here = json;
    // Each step reads its part again: no object of Kubernetes is deeper, and others must not cost us much.
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

/// Where `part`, a slice of `json`, begins.
pub(crate) fn offset_in(json: &str, part: &str) -> usize {
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
