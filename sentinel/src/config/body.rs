//! A webhook's body of one's own: JSON whose texts are templates.

use super::value::{Fault, fault};
use super::words::Word;
use crate::types::Template;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Longest body, bytes.
const LONGEST: usize = 16 * 1024;
/// Deepest nesting.
const DEEPEST: usize = 16;

/// JSON in whose texts the places of a [`Template`] are filled: whatever fills them stays a text.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyTemplate(Node);

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyTemplate(…)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(Template),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Plain(Value),
}

impl BodyTemplate {
    /// The body with its places filled.
    pub fn fill(&self, values: &BTreeMap<&'static str, String>) -> Value {
        fn fill(node: &Node, values: &BTreeMap<&'static str, String>) -> Value {
            match node {
                Node::Text(template) => template.fill(values).into(),
                Node::List(items) => items.iter().map(|item| fill(item, values)).collect(),
                Node::Map(pairs) => pairs
                    .iter()
                    .map(|(name, node)| (name.clone(), fill(node, values)))
                    .collect(),
                Node::Plain(value) => value.clone(),
            }
        }
        fill(&self.0, values)
    }
}

fn node(value: Value, depth: usize) -> Result<Node, Fault> {
    if depth > DEEPEST {
        return Err(fault("is nested too deeply", format!("nest {DEEPEST} levels at most")));
    }
    Ok(match value {
        Value::String(text) => Node::Text(Template::parse(&text).map_err(|error| fault(error.message, error.mend))?),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| node(item, depth + 1));
            Node::List(items.collect::<Result<_, _>>()?)
        }
        Value::Object(pairs) => {
            let pairs = pairs
                .into_iter()
                .map(|(name, value)| Ok((name, node(value, depth + 1)?)));
            Node::Map(pairs.collect::<Result<_, Fault>>()?)
        }
        plain => Node::Plain(plain),
    })
}

impl Word for BodyTemplate {
    fn wants() -> String {
        "JSON such as `{\"text\": \"[{severity}] {title}\"}`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(fault("is too long", format!("write {LONGEST} bytes at most")));
        }
        let value = serde_json::from_str(text).map_err(|error| {
            fault(
                format!("is no JSON (line {}, column {})", error.line(), error.column()),
                format!("write {}, in single quotes", Self::wants()),
            )
        })?;
        node(value, 0).map(Self)
    }

    /// Many receivers want a key in it.
    fn show(&self, mask: &str) -> String {
        mask.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_fills_a_place_stays_a_text() {
        let Ok(body) = BodyTemplate::read(r#"{"text": "{title}", "n": 1, "list": ["{severity}", null]}"#) else {
            panic!("a body")
        };
        let hostile = r#"", "admin": true, "x": "{severity}"#;
        let values = BTreeMap::from([("title", hostile.to_owned()), ("severity", "high".to_owned())]);
        assert_eq!(
            body.fill(&values),
            json!({ "text": hostile, "n": 1, "list": ["high", null] })
        );
    }

    #[test]
    fn what_is_no_body_is_said() {
        for (text, message) in [
            ("{", "is no JSON (line 1, column 1)"),
            (r#"{"a": "{severty}"}"#, "has the place `{severty}`, which is not known"),
        ] {
            assert_eq!(
                BodyTemplate::read(text).err().map(|fault| fault.message).as_deref(),
                Some(message)
            );
        }
        let deep = format!("{}{}", "[".repeat(20), "]".repeat(20));
        assert!(BodyTemplate::read(&deep).is_err());
    }
}
