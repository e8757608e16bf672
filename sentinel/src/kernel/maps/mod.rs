//! The maps that say who is blocked, who is allowed and who is on a feed's list; this is their only writer.
//!
//! In: entries, lists. Out: the kernel's maps ([`table`], [`lists`]), the hints in front of them ([`hints`]).
//! Invariant: what is written first is the entry, then its hint, and last the number of the change, by which packets of
//! sources that were found to be on no list ask again; what is taken back first is the entry; a full map
//! refuses and changes nothing.
//! Deliberately elsewhere: who is to be blocked (`decide`), carrying it out (`respond`).

mod address;
mod blocks;
mod exact;
mod grace;
mod hints;
mod lists;
mod stretch;
mod table;
#[cfg(test)]
mod tests;

pub use blocks::BlockMaps;
pub use lists::{ListChange, ListError, ListHits, ListId, ListMaps, ListOrder, Listed};

use super::error::KernelError;
use super::load::missing;
use super::settings::SettingsMap;
use super::takeover::Takeover;
use crate::config::KernelConfig;
use crate::types::MapUse;
use aya::Ebpf;
use blocks::Tables;
use hints::Hints;
use lists::Lists;
use sentinel_common::names as n;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The maps all handles share, and what is known of the flow map.
pub(super) struct Shared {
    tables: Mutex<Tables>,
    lists: Mutex<Lists>,
    hints: Hints,
    settings: Arc<SettingsMap>,
    /// Flow slots in use on the latest whole pass of the sweep.
    pub(super) flows: AtomicU64,
    flow_capacity: u32,
    /// What can be carried out beyond dropping.
    pub(super) reach: Mutex<Reach>,
}

/// What this kernel, with these settings, can carry out beyond dropping.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Whether there is a honeypot for IPv4.
    pub(super) honeypot4: bool,
    /// Whether there is one for IPv6.
    pub(super) honeypot6: bool,
    /// Why nothing can be sent there, where it cannot.
    pub(super) refused: Option<String>,
    /// Whether anything looks at what goes out.
    pub(super) egress: bool,
}

impl Shared {
    /// Takes the maps of a loaded object. What they hold already, because an earlier agent pinned them, stays in force.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        config: &KernelConfig,
        settings: &Arc<SettingsMap>,
        flow_slots: u32,
        mut takeover: Option<&mut Takeover>,
    ) -> Result<Self, KernelError> {
        let array = |name| ebpf.take_map(name).and_then(hints::array).ok_or_else(|| missing(name));
        let hints = Hints::new([n::MAP_HINT4, n::MAP_HINT6, n::MAP_EPOCH], array, settings)?;
        let tables = Tables::new(ebpf, config, &hints, takeover.as_deref_mut())?;
        let lists = Lists::new(ebpf, config, &hints, Arc::clone(settings), takeover)?;
        Ok(Self {
            tables: Mutex::new(tables),
            lists: Mutex::new(lists),
            hints,
            settings: Arc::clone(settings),
            flows: AtomicU64::new(0),
            flow_capacity: flow_slots,
            reach: Mutex::new(Reach {
                egress: config.egress,
                ..Reach::default()
            }),
        })
    }

    /// The maps. A panic elsewhere while they were held leaves them as the kernel has them, which is whole.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full each map is; the flow map as of the latest sweep.
    pub(super) fn usage(&self) -> BTreeMap<String, MapUse> {
        let flows = MapUse {
            entries: self.flows.load(Ordering::Relaxed),
            capacity: u64::from(self.flow_capacity),
        };
        let mut all = BTreeMap::from([(n::MAP_FLOWS.to_owned(), flows)]);
        all.extend(self.tables().usage());
        all.extend(self.lists().usage());
        all
    }

    /// Cells of the hints in which each bit is set: allow, entry, list, list prefix. For tests.
    pub(super) fn hinted(&self) -> [u64; 4] {
        [1, 2, 4, 8].map(|bit| self.hints.count(bit))
    }
}
