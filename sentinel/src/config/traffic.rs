//! The traffic log: `traffic_log`.

use super::keys::{Key, MIB, key, millis, secs};
use super::resolved::Config;
use super::value::Slot;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `traffic_log:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficLogConfig {
    /// Whether it is written.
    pub enabled: bool,
    /// Where.
    pub path: PathBuf,
    /// How long a row waits for others at most.
    pub flush_interval: Duration,
    /// So many rows are written at once.
    pub flush_records: usize,
    /// Whether each writing waits for the disk.
    pub fsync: bool,
    /// Size at which the file is moved aside, bytes.
    pub max_bytes: u64,
    /// Files kept beside it.
    pub keep: usize,
    /// Whether each day (UTC) has files of its own.
    pub daily: bool,
    /// Rows of a second beyond which the others are left out.
    pub max_per_second: usize,
}

impl Default for TrafficLogConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "data/traffic_log.csv".into(),
            flush_interval: secs(1),
            flush_records: 100,
            fsync: false,
            max_bytes: 64 * MIB,
            keep: 7,
            daily: true,
            max_per_second: 1000,
        }
    }
}

pub(super) const KEYS: &[Key] = &[
    key("traffic_log.enabled", "Whether a row for each flow is written", |d| {
        Slot::Bool(&mut d.config.traffic_log.enabled)
    }),
    key("traffic_log.path", "The file", |d| {
        Slot::Path(&mut d.config.traffic_log.path)
    }),
    key(
        "traffic_log.flush_interval",
        "How long a row waits for others at most",
        |d| Slot::Time(&mut d.config.traffic_log.flush_interval, millis(10)..=secs(60)),
    ),
    key("traffic_log.flush_records", "So many rows are written at once", |d| {
        Slot::Usize(&mut d.config.traffic_log.flush_records, 1..=5_000)
    }),
    key(
        "traffic_log.fsync",
        "Whether each writing waits until it survives a power cut",
        |d| Slot::Bool(&mut d.config.traffic_log.fsync),
    ),
    key("traffic_log.max_bytes", "Size at which the file is moved aside", |d| {
        Slot::Size64(&mut d.config.traffic_log.max_bytes, 65_536..=1_024 * 1_024 * MIB)
    }),
    key("traffic_log.keep", "Files kept beside it; the oldest go", |d| {
        Slot::Usize(&mut d.config.traffic_log.keep, 0..=10_000)
    }),
    key(
        "traffic_log.daily",
        "Whether each day (UTC) has files of its own",
        |d| Slot::Bool(&mut d.config.traffic_log.daily),
    ),
    key(
        "traffic_log.max_per_second",
        "Rows of a second beyond which the others are left out",
        |d| Slot::Usize(&mut d.config.traffic_log.max_per_second, 1..=20_000),
    ),
];

/// What else may not be written to by the log, which would move it aside.
pub(super) fn check(config: &Config, say: &mut impl FnMut(&'static str, String, &str)) {
    let log = &config.traffic_log;
    if !log.enabled {
        return;
    }
    let others: [(&str, &Path); 3] = [
        ("store.path", &config.store.path),
        ("export.eve.file", &config.export.eve.file),
        ("detect.model.site", &config.detect.model.site),
    ];
    for (key, other) in others {
        if *other == log.path {
            say(
                "traffic_log.path",
                format!("is the file of `{key}` too"),
                "give each its own file",
            );
        }
    }
    if log.path.file_stem().is_none() {
        say(
            "traffic_log.path",
            "names no file".into(),
            "name one, such as data/traffic_log.csv",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shares_its_file_with_nothing() {
        let said = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            let mut said = Vec::new();
            check(&config, &mut |_, what, _| said.push(what));
            said
        };
        assert!(said(&|_| ()).is_empty());
        let shared = said(&|config| config.traffic_log.path = config.store.path.clone());
        assert_eq!(shared, ["is the file of `store.path` too"]);
        assert_eq!(said(&|config| config.traffic_log.path = "/".into()), ["names no file"]);
        let off = said(&|config| {
            config.traffic_log.enabled = false;
            config.traffic_log.path = config.store.path.clone();
        });
        assert!(off.is_empty());
    }
}
