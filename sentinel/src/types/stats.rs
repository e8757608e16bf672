//! A snapshot of the counters, as the dashboard and `/stats` show them.

use super::Timestamp;
use sentinel_common::stat::{COUNTERS, Counter};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// Something that does not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What is wrong.
    pub cause: String,
    /// What the operator can do.
    pub mend: String,
}

/// Kernel counters of one interface, summed over CPUs.
#[derive(Clone, Debug)]
pub struct InterfaceStats {
    /// Interface name.
    pub name: String,
    /// `native`, `generic`, `tc` or `none`.
    pub xdp_mode: &'static str,
    /// Why it is not native, where it is not.
    pub fallback: Option<String>,
    /// What is wrong with it: it is gone, or cannot be attached to.
    pub trouble: Option<Trouble>,
    /// Whether the egress program is attached.
    pub egress: bool,
    /// Indexed by [`Counter`].
    pub counters: [u64; COUNTERS],
}

impl InterfaceStats {
    /// Whether the configuration asked for the way it is attached, where that is not native.
    pub fn wanted(&self) -> bool {
        self.fallback.as_deref().is_some_and(|why| why.starts_with("wanted"))
    }

    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MapUse {
    /// Elements held.
    pub entries: u64,
    /// Elements it can hold.
    pub capacity: u64,
}

/// Everything that is counted, at one instant.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// When it was taken.
    pub at: Timestamp,
    /// Per interface.
    pub interfaces: Vec<InterfaceStats>,
    /// Per map.
    pub maps: BTreeMap<String, MapUse>,
    /// Flows in the agent's table.
    pub flows_active: u64,
    /// Sources in the agent's windows.
    pub sources_active: u64,
    /// How long interfaces were there and unprotected, at most, summed over them.
    pub unprotected: Duration,
    /// Items dropped on the way, by (stage, reason).
    pub lost: BTreeMap<(&'static str, &'static str), u64>,
}

impl Stats {
    /// Sum of one counter over all interfaces.
    pub fn total(&self, counter: Counter) -> u64 {
        self.interfaces.iter().map(|i| i.get(counter)).sum()
    }
}
