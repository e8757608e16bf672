//! What the agent may still do once it runs: `sandbox`; and the places its settings name.

use super::intel::CustomFeed;
use super::keys::{Draft, Key, all, key};
use super::resolved::Config;
use super::value::Slot;
use std::path::{Path, PathBuf};

/// `sandbox:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Whether the agent gives up what it does not need any more.
    pub enabled: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

pub(super) const KEYS: &[Key] = &[key(
    "sandbox.enabled",
    "Whether the running agent gives up what it does not need any more",
    |d| Slot::Bool(&mut d.config.sandbox.enabled),
)];

/// Paths that are directories; the others are files.
const DIRECTORIES: [&str; 3] = ["kernel.pin_path", "intel.feeds.directory", "reports.directory"];
/// Written, though it may be nothing.
const WRITTEN: &str = "alerting.file.path";
/// Only read, though it is always there.
const READ: &str = "detect.model.file";

/// A place the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file that is read.
    Read(PathBuf),
    /// A directory in which files are written, renamed and removed.
    Write(PathBuf),
}

/// Every place the settings name, in the order of their keys. Sockets of others are none: they are connected to.
pub fn places(config: &Config) -> Vec<Place> {
    let mut draft = Draft {
        config: config.clone(),
        enable_production_actions: true,
    };
    let mut places = Vec::new();
    for key in all() {
        let (path, written) = match (key.slot)(&mut draft) {
            Slot::Path(path) => (path.clone(), key.path != READ),
            Slot::File(Some(path)) => (path.clone(), key.path == WRITTEN),
            _ => continue,
        };
        if key.path == "kernel.pin_path" && !config.kernel.pin {
            continue;
        }
        places.push(if !written {
            Place::Read(path)
        } else if DIRECTORIES.contains(&key.path) {
            Place::Write(path)
        } else {
            Place::Write(folder(&path))
        });
    }
    let feeds = &config.intel.feeds.custom;
    let files = feeds.iter().filter_map(|CustomFeed { place, .. }| {
        let path = Path::new(place.expose());
        path.is_absolute().then(|| Place::Read(path.to_owned()))
    });
    places.extend(files);
    places
}

/// The directory a file is in.
fn folder(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn every_path_of_the_settings_is_a_place_and_what_is_written_is_a_folder() {
        let mut config = Config::default();
        config.alerting.file.path = Some("/var/log/alerts.jsonl".into());
        config.api.certificate = Some("/etc/tls/cert.pem".into());
        config.intel.feeds.custom = vec![
            CustomFeed {
                name: "mine".into(),
                place: Secret::new("/etc/lists/mine.txt"),
            },
            CustomFeed {
                name: "theirs".into(),
                place: Secret::new("https://lists.example.com/theirs.txt"),
            },
        ];
        config.store.path = "sentinel.db".into();
        let places = places(&config);
        for wanted in [
            Place::Write("/var/log".into()),
            Place::Read("/etc/tls/cert.pem".into()),
            Place::Read("/etc/lists/mine.txt".into()),
            Place::Write(".".into()),
            Place::Write("data/feeds".into()),
            Place::Read(config.detect.model.file.clone()),
        ] {
            assert!(places.contains(&wanted), "{wanted:?} of {places:?}");
        }
        assert!(!places.contains(&Place::Write(config.kernel.pin_path.clone())));
        config.kernel.pin = true;
        assert!(super::places(&config).contains(&Place::Write(config.kernel.pin_path.clone())));
    }
}
