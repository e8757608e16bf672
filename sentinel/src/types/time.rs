//! Two clocks that must not be mixed up: the kernel's boot clock and the wall clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// `CLOCK_BOOTTIME`, ns. The clock of flows, detection and expiry; it does not jump. In replay: capture time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Ktime(pub u64);

impl Ktime {
    /// This instant plus `d`, saturating.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_nanos() as u64))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall clock, ns since 1970-01-01 UTC. For people and for the store; serialised as RFC 3339 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant plus `d`, saturating.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_nanos() as i64))
    }

    /// This instant less `d`, saturating.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d.as_nanos() as i64))
    }

    /// Milliseconds since 1970, for `UUIDv7`.
    pub fn unix_millis(self) -> u64 {
        (self.0.max(0) / 1_000_000) as u64
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        write!(f, "{at:.6}")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at: jiff::Timestamp = text.parse()?;
        // Years beyond 2262 are as late as can be told.
        let range = i128::from(i64::MIN)..=i128::from(i64::MAX);
        Ok(Self(at.as_nanosecond().clamp(*range.start(), *range.end()) as i64))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Ties the two clocks: wall = boot + offset. A snapshot; the wall clock may be stepped later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock minus boot clock, ns. Zero in replay, where both are capture time.
    pub offset_ns: i64,
}

impl Clock {
    /// The wall time of a boot-clock instant.
    pub fn wall(self, at: Ktime) -> Timestamp {
        Timestamp((at.0 as i64).saturating_add(self.offset_ns))
    }

    /// The boot-clock instant of a wall time; zero if it lies before boot.
    pub fn boot(self, at: Timestamp) -> Ktime {
        Ktime(at.0.saturating_sub(self.offset_ns).max(0) as u64)
    }
}
