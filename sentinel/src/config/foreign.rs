//! YAML of other programs, read as ours is, without its strictness about names.

use super::tree::{self, Node, Value};

/// The document as JSON; of a key that stands there twice the first counts. Scalars are text.
///
/// # Errors
/// What is wrong with it, and where.
pub fn foreign_yaml(text: &str) -> Result<serde_json::Value, String> {
    tree::parse(text)
        .map(json)
        .map_err(|fault| format!("line {}: {}", fault.line, fault.message))
}

fn json(node: Node) -> serde_json::Value {
    match node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => text.into(),
        Value::List(items) => items.into_iter().map(json).collect(),
        Value::Map(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                if let Value::Text(name) = key.value {
                    map.entry(name).or_insert_with(|| json(value));
                }
            }
            map.into()
        }
    }
}
