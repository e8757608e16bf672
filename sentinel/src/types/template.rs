//! A text with places in it that each message fills.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Names of the places there can be.
pub const PLACES: [&str; 11] = [
    "action", "alerts", "detector", "family", "host", "id", "kind", "severity", "source", "summary", "title",
];

/// Longest template, bytes.
const LONGEST: usize = 4096;

/// Such as `[{severity}] {title}`; `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(&'static str),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// [`TemplateError`]: a place that is not known or not closed, or it is too long.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LONGEST {
            return Err(wrong("is too long", format!("write {LONGEST} bytes at most")));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let tail = &rest[at..];
            rest = if let Some(tail) = tail.strip_prefix("{{") {
                plain.push('{');
                tail
            } else if let Some(tail) = tail.strip_prefix("}}") {
                plain.push('}');
                tail
            } else {
                let (name, tail) = tail
                    .strip_prefix('{')
                    .and_then(|tail| tail.split_once('}'))
                    .ok_or_else(|| {
                        wrong(
                            "has a brace without its other",
                            "write `{{` or `}}` where a brace is meant",
                        )
                    })?;
                let place = PLACES.into_iter().find(|place| *place == name);
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Place(place.ok_or_else(|| unknown(name))?));
                tail
            };
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text with its places filled; one without a value is left empty.
    pub fn fill(&self, values: &BTreeMap<&'static str, String>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place(name) => out.push_str(values.get(name).map_or("", String::as_str)),
            }
        }
        out
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn wrong(message: impl Into<String>, mend: impl Into<String>) -> TemplateError {
    TemplateError {
        message: message.into(),
        mend: mend.into(),
    }
}

fn unknown(name: &str) -> TemplateError {
    let mut known = String::new();
    for place in PLACES {
        let _ = write!(known, "{}`{{{place}}}`", if known.is_empty() { "" } else { ", " });
    }
    let name: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    wrong(
        format!("has the place `{{{name}}}`, which is not known"),
        format!("known are {known}; write `{{{{` where a brace is meant"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_braces_are_braces() {
        let values = BTreeMap::from([("severity", "high".to_owned()), ("source", "{title}".to_owned())]);
        for (template, filled) in [
            ("[{severity}] {source}", "[high] {title}"),
            ("{{{severity}}}", "{high}"),
            ("{host}", ""),
            ("", ""),
            ("plain", "plain"),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(parsed.fill(&values), filled, "what fills a place is no template");
            assert_eq!(parsed.to_string(), template);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_mend() {
        for (template, message) in [
            ("{severty}", "has the place `{severty}`, which is not known"),
            ("{", "has a brace without its other"),
            ("} {severity}", "has a brace without its other"),
            ("{\u{1b}[31m}", "has the place `{\\u{1b}[31m}`, which is not known"),
        ] {
            assert_eq!(Template::parse(template).unwrap_err().message, message);
        }
        assert!(Template::parse(&"x".repeat(5000)).is_err());
        assert!(Template::parse("{x}").unwrap_err().mend.contains("`{severity}`"));
    }
}
