//! The baseline: `detect.baseline`.

use super::keys::{DAY, HOUR, Key, key, secs};
use super::value::Slot;
use super::words::Choice;
use std::time::Duration;

/// `detect.baseline:`.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// What a source is compared with.
    pub mode: BaselineMode,
    /// Length of one observation.
    pub window: Duration,
    /// Observations before it may speak.
    pub warm_up: u32,
    /// Standard deviations from the source's own habit.
    pub z: f64,
    /// Length of one longer observation of inside hosts.
    pub long_window: Duration,
    /// How long a source's threshold is learned freely.
    pub settle: Duration,
    /// Share by which it may move a day from then on.
    pub drift: f64,
    /// `detect.baseline.stream`.
    pub stream: StreamConfig,
}

/// What a source is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaselineMode {
    /// Windows of it with its habit at this hour of the week.
    Habit,
    /// Each record of it with all before, at once.
    Stream,
    /// Both ways.
    Both,
}

impl BaselineMode {
    /// Whether windows are compared with habits.
    pub const fn habit(self) -> bool {
        matches!(self, Self::Habit | Self::Both)
    }

    /// Whether records are compared with those before.
    pub const fn stream(self) -> bool {
        matches!(self, Self::Stream | Self::Both)
    }
}

impl Choice for BaselineMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("habit", Self::Habit), ("stream", Self::Stream), ("both", Self::Both)];
}

/// `detect.baseline.stream:`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamConfig {
    /// Samples of a quantity before it may be odd.
    pub warm_up: u32,
    /// Standard deviations above the mean of what came before.
    pub z: f64,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: BaselineMode::Habit,
            window: secs(10),
            warm_up: 12,
            z: 6.0,
            long_window: secs(HOUR),
            settle: secs(DAY),
            drift: 0.01,
            stream: StreamConfig { warm_up: 30, z: 4.0 },
        }
    }
}

/// Its keys, in the order of `config/settings.yml`.
pub(super) const KEYS: &[Key] = &[
    key(
        "detect.baseline.enabled",
        "Whether the behavioural baseline runs",
        |d| Slot::Bool(&mut d.config.detect.baseline.enabled),
    ),
    key("detect.baseline.mode", "What a source is compared with", |d| {
        Slot::Words(&mut d.config.detect.baseline.mode)
    }),
    key(
        "detect.baseline.window",
        "Length of one observation of the baseline",
        |d| Slot::Time(&mut d.config.detect.baseline.window, secs(1)..=secs(HOUR)),
    ),
    key(
        "detect.baseline.warm_up",
        "Observations before the baseline may speak",
        |d| Slot::U32(&mut d.config.detect.baseline.warm_up, 2..=100_000),
    ),
    key(
        "detect.baseline.z",
        "Standard deviations from the source's own habit",
        |d| Slot::Real(&mut d.config.detect.baseline.z, 1.0..=1_000.0),
    ),
    key(
        "detect.baseline.long_window",
        "Length of one longer observation of inside hosts",
        |d| Slot::Time(&mut d.config.detect.baseline.long_window, secs(60)..=secs(DAY)),
    ),
    key(
        "detect.baseline.settle",
        "How long a source's threshold is learned freely",
        |d| Slot::Time(&mut d.config.detect.baseline.settle, secs(60)..=secs(90 * DAY)),
    ),
    key(
        "detect.baseline.drift",
        "Share by which a settled threshold may move a day",
        |d| Slot::Real(&mut d.config.detect.baseline.drift, 0.0..=0.2),
    ),
    key(
        "detect.baseline.stream.warm_up",
        "Samples of a quantity of one source before it may be odd",
        |d| Slot::U32(&mut d.config.detect.baseline.stream.warm_up, 2..=100_000),
    ),
    key(
        "detect.baseline.stream.z",
        "Standard deviations above the mean of what came before",
        |d| Slot::Real(&mut d.config.detect.baseline.stream.z, 1.0..=1_000.0),
    ),
];
