//! The JSON Schema of `settings.yml`, for editors, from the one table of keys.

use super::decoy::show_decoy;
use super::intel::CUSTOM_FEEDS_MAX;
use super::keys::{self, Draft};
use super::probe::PROBES_MAX;
use super::resolved::Switch;
use super::value::{Slot, show_duration, show_size};
use crate::types::ActionKind;
use serde_json::{Map, Value, json};
use std::path::Path;

const DURATION: &str = "^([0-9]+(ns|us|ms|s|m|h|d))+$";
const SIZE: &str = "^[0-9]+ *(B|kB|KiB|MB|MiB|GB|GiB)?$";

/// The schema (draft 2020-12).
pub fn schema() -> Value {
    let mut draft = Draft::default();
    let mut root = section();
    for key in keys::all() {
        let mut at = &mut root;
        let mut parts = key.path.split('.').peekable();
        while let Some(part) = parts.next() {
            at = &mut at["properties"][part];
            if at.is_null() {
                *at = if parts.peek().is_some() {
                    section()
                } else {
                    leaf(&(key.slot)(&mut draft), key.doc)
                };
            }
        }
    }
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Sentinel settings");
    root
}

fn section() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": Map::new() })
}

fn leaf(slot: &Slot<'_>, doc: &str) -> Value {
    let whole = |range: &std::ops::RangeInclusive<u64>, value: u64| json!({ "type": "integer", "minimum": range.start(), "maximum": range.end(), "default": value });
    let mut out = match slot {
        Slot::Bool(value) => json!({ "type": "boolean", "default": **value }),
        Slot::U8(value, range) => whole(range, u64::from(**value)),
        Slot::U32(value, range) => whole(range, u64::from(**value)),
        Slot::Usize(value, range) => whole(range, **value as u64),
        Slot::Real(value, range) => {
            json!({ "type": "number", "minimum": range.start(), "maximum": range.end(), "default": **value })
        }
        Slot::Size32(value, _) => {
            json!({ "type": ["string", "integer"], "pattern": SIZE, "default": show_size(u64::from(**value)) })
        }
        Slot::Size64(value, _) => {
            json!({ "type": ["string", "integer"], "pattern": SIZE, "default": show_size(**value) })
        }
        Slot::Time(value, _) => json!({ "type": "string", "pattern": DURATION, "default": show_duration(**value) }),
        Slot::Millis(value, _) => {
            let time = std::time::Duration::from_millis((**value).into());
            json!({ "type": "string", "pattern": DURATION, "default": show_duration(time) })
        }
        Slot::Decoy4(value) => json!({ "type": "string", "default": show_decoy(**value) }),
        Slot::Decoy6(value) => json!({ "type": "string", "default": show_decoy(**value) }),
        Slot::Mode(_) => json!({ "enum": ["simulation", "production"], "default": "simulation" }),
        Slot::Hook(value) => json!({ "enum": ["xdp", "auto", "tc", "nftables"], "default": value.as_str() }),
        Slot::Action(value) => {
            json!({ "enum": ActionKind::DECIDED.map(ActionKind::as_str), "default": value.as_str() })
        }
        Slot::Path(value) => json!({ "type": "string", "minLength": 1, "default": **value }),
        Slot::Listen(value) => json!({ "type": "string", "default": value.to_string() }),
        Slot::Prefixes(value) => {
            json!({ "type": "array", "items": { "type": "string" }, "default": **value })
        }
        Slot::Interfaces(_) => json!({
            "oneOf": [
                { "const": "auto" },
                { "type": "array", "items": { "type": "string", "minLength": 1, "maxLength": 15 }, "maxItems": 16 },
            ],
            "default": "auto",
        }),
        Slot::Ports(value) => json!({
            "type": "array",
            "items": { "type": "integer", "minimum": 1, "maximum": 65_535 },
            "default": **value,
        }),
        Slot::AllOrPorts(_) => json!({
            "oneOf": [
                { "const": "all" },
                { "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65_535 } },
            ],
            "default": "all",
        }),
        Slot::Switch(value) => json!({
            "enum": ["auto", true, false],
            "default": match **value {
                Switch::Auto => json!("auto"),
                Switch::On => json!(true),
                Switch::Off => json!(false),
            },
        }),
        Slot::File(value) => json!({ "type": "string", "default": value.as_deref().unwrap_or(Path::new("")) }),
        Slot::Url(value) => json!({ "type": "string", "pattern": "^https?://", "default": **value }),
        Slot::Socket(value) => {
            let text = value
                .as_ref()
                .map_or(String::new(), |path| format!("unix://{}", path.display()));
            json!({ "type": "string", "pattern": "^(unix:///.+)?$", "default": text })
        }
        Slot::Network(value) => json!({ "type": "string", "default": value.as_deref().unwrap_or_default() }),
        Slot::Containers(value) | Slot::Hosts(value) => {
            json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "default": **value })
        }
        Slot::Probes(_) => json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^(tcp|https?)://.+$" },
            "maxItems": PROBES_MAX,
            "default": [],
        }),
        Slot::Cache(_) => json!({ "type": "string", "pattern": "^(memory|rediss?://.+)$", "default": "memory" }),
        Slot::Text(value, kind) => json!({ "type": "string", "pattern": kind.pattern, "default": **value }),
        Slot::Names(value, known) => {
            json!({ "type": "array", "items": { "enum": known }, "default": **value })
        }
        Slot::FeedNames(value) => {
            json!({ "type": "array", "items": { "type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$" }, "default": **value })
        }
        Slot::Words(value) => value.schema(),
        Slot::Feeds(_) => json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}=(/|https?://).+$" },
            "maxItems": CUSTOM_FEEDS_MAX,
            "default": [],
        }),
    };
    out["description"] = json!(format!("{doc}: {}.", slot.wants().replace('`', "")));
    out
}
