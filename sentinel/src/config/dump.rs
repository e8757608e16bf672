//! The settings in force as text, for the audit: every key with its value, secrets masked.

use super::decoy::show_decoy;
use super::intel::CacheBackend;
use super::keys::{self, Draft};
use super::resolved::{Config, Mode, Switch};
use super::value::{Slot, show_duration, show_size};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

/// Stands where a secret does.
const MASKED: &str = "(secret)";

/// Key to value, as people write them; what may hold a secret is masked.
pub fn effective(config: &Config) -> BTreeMap<String, String> {
    let mut draft = Draft {
        config: config.clone(),
        enable_production_actions: config.mode == Mode::Production,
    };
    keys::all()
        .map(|key| (key.path.to_owned(), show(&(key.slot)(&mut draft), MASKED)))
        .collect()
}

fn list<T: Display>(items: &[T], none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// A value as people write it, with `mask` for what may hold a secret.
pub(super) fn show(slot: &Slot<'_>, mask: &str) -> String {
    match slot {
        Slot::Bool(value) => value.to_string(),
        Slot::U8(value, _) => value.to_string(),
        Slot::U32(value, _) => value.to_string(),
        Slot::Usize(value, _) => value.to_string(),
        Slot::Real(value, _) => value.to_string(),
        Slot::Size32(value, _) => show_size(u64::from(**value)),
        Slot::Size64(value, _) => show_size(**value),
        Slot::Time(value, _) => show_duration(**value),
        Slot::Millis(value, _) => show_duration(std::time::Duration::from_millis((**value).into())),
        Slot::Decoy4(value) => show_decoy(**value),
        Slot::Decoy6(value) => show_decoy(**value),
        Slot::Mode(value) => match **value {
            Mode::Simulation => "simulation".to_owned(),
            Mode::Production => "production".to_owned(),
        },
        Slot::Hook(value) => value.as_str().to_owned(),
        Slot::Action(value) => value.as_str().to_owned(),
        Slot::Path(value) => value.display().to_string(),
        Slot::Listen(value) => value.to_string(),
        Slot::Prefixes(value) => list(value, "none"),
        Slot::Interfaces(value) => list(value, "auto"),
        Slot::Ports(value) => list(value, "none"),
        Slot::AllOrPorts(value) => list(value, "all"),
        Slot::Switch(value) => match **value {
            Switch::Auto => "auto",
            Switch::On => "true",
            Switch::Off => "false",
        }
        .to_owned(),
        Slot::File(value) | Slot::Socket(value) => value.as_deref().unwrap_or(Path::new("")).display().to_string(),
        // A URL may carry a key in its user part or its path.
        Slot::Url(value) => value.split_once("://").map_or(mask.to_owned(), |(scheme, rest)| {
            let host = rest.split('/').next().unwrap_or_default();
            format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
        }),
        Slot::Cache(CacheBackend::Memory) => "memory".to_owned(),
        Slot::Cache(CacheBackend::Redis(_)) => format!("redis {mask}"),
        Slot::Network(value) => value.as_deref().unwrap_or_default().to_owned(),
        Slot::Probes(value) => {
            let texts: Vec<_> = value.iter().map(|probe| probe.text.clone()).collect();
            list(&texts, "none")
        }
        Slot::Names(value, _) | Slot::FeedNames(value) | Slot::Containers(value) | Slot::Hosts(value) => {
            list(value, "none")
        }
        Slot::Own(value) => value.show(),
        Slot::Feeds(value) => {
            let named: Vec<_> = value.iter().map(|feed| format!("{}={mask}", feed.name)).collect();
            list(&named, "none")
        }
    }
}

/// Keys whose values differ, with the old and the new one; `-` where there was or is none.
pub fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<(String, String, String)> {
    let value = |of: &BTreeMap<String, String>, key: &String| of.get(key).map_or("-".to_owned(), Clone::clone);
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| (key.clone(), value(old, key), value(new, key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn every_key_is_told_and_no_secret() {
        let mut config = Config::default();
        let before = effective(&config);
        assert_eq!(before.len(), keys::all().count());
        assert_eq!(before["mode"], "simulation");
        assert_eq!(before["response.duration"], show_duration(config.response.duration));
        config.intel.cache = CacheBackend::Redis(Secret::new("redis://:hunter2@192.0.2.1/"));
        config.mode = Mode::Production;
        let after = effective(&config);
        let told = changes(&before, &after);
        let keys: Vec<_> = told.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(keys, ["enable_production_actions", "intel.cache", "mode"], "{told:?}");
        assert_eq!(told[2], ("mode".into(), "simulation".into(), "production".into()));
        assert!(!format!("{after:?}").contains("hunter2"));
    }
}
