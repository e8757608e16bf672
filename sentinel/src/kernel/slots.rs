//! Which interface counts in which element of `STATS`, and what interfaces counted that are gone.

use super::error::KernelError;
use super::rawmap;
use aya::maps::{Array, MapData};
use sentinel_common::names as n;
use sentinel_common::stat::{COUNTERS, CpuBlock};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Interface index by slot; 0 for a free one.
pub(super) type Owners = [u32; n::MAX_INTERFACES as usize];

/// Slots by interface index, modulo their number.
type Table = [u32; n::SLOT_TABLE as usize];

/// Hands out slots.
pub(super) struct Slots {
    table: Array<MapData, Table>,
    stats: OwnedFd,
    owners: Owners,
    /// Slots of this run; others in `owners` are an earlier agent's, whose counters go on if their interface is
    /// watched again.
    taken: Vec<u32>,
}

impl Slots {
    pub(super) const fn new(table: Array<MapData, Table>, stats: OwnedFd, owners: Owners) -> Self {
        Self {
            table,
            stats,
            owners,
            taken: Vec::new(),
        }
    }

    pub(super) const fn owners(&self) -> Owners {
        self.owners
    }

    /// Gives the interface an element of the counters: the one it had, else one of nobody's, zeroed.
    ///
    /// # Errors
    /// [`KernelError::TooManyInterfaces`]; [`KernelError::Map`] where the kernel refuses. (That two interfaces share an
    /// element of the table is for the caller to see, who knows their names.)
    pub(super) fn take(&mut self, ifindex: u32) -> Result<u32, KernelError> {
        let mine = self.owners.iter().position(|owner| *owner == ifindex);
        let free = || self.owners.iter().position(|owner| *owner == 0);
        let spare = || (0..self.owners.len()).find(|slot| !self.taken.contains(&(*slot as u32)));
        let Some(slot) = mine.or_else(free).or_else(spare) else {
            return Err(KernelError::TooManyInterfaces {
                wanted: self.owners.len() + 1,
                max: n::MAX_INTERFACES,
            });
        };
        let slot = slot as u32;
        if mine.is_none() {
            self.zero(slot)?;
        }
        self.point(ifindex, slot)?;
        self.owners[slot as usize] = ifindex;
        self.taken.push(slot);
        Ok(slot)
    }

    /// Takes a slot back from an interface that is gone: nobody inherits what it counted.
    pub(super) fn release(&mut self, slot: u32) {
        let Some(owner) = self.owners.get_mut(slot as usize) else {
            return;
        };
        let ifindex = std::mem::take(owner);
        let _ = self.point(ifindex, 0);
        self.taken.retain(|taken| *taken != slot);
        let _ = self.zero(slot);
    }

    /// Forgets the slots of interfaces that an earlier agent watched and this one does not.
    pub(super) fn forget_untaken(&mut self) {
        for slot in 0..n::MAX_INTERFACES {
            if !self.taken.contains(&slot) && self.owners[slot as usize] != 0 {
                self.release(slot);
            }
        }
    }

    /// Nothing is attached any more; whose counters are whose stays known.
    pub(super) fn let_go(&mut self) {
        self.taken.clear();
    }

    /// Says which slot an interface counts in. The others' words are written as they stand.
    fn point(&mut self, ifindex: u32, slot: u32) -> Result<(), KernelError> {
        let failed = |error| KernelError::map(n::MAP_SLOTS, &error);
        let mut table = self.table.get(&0, 0).map_err(failed)?;
        table[(ifindex % n::SLOT_TABLE) as usize] = slot;
        self.table.set(0, table, 0).map_err(failed)
    }

    fn zero(&self, slot: u32) -> Result<(), KernelError> {
        const { assert!(std::mem::offset_of!(CpuBlock, counters) == 0) };
        let counters = size_of::<[u64; COUNTERS]>();
        rawmap::zero_per_cpu(self.stats.as_fd(), slot, size_of::<CpuBlock>(), counters).map_err(|source| {
            KernelError::System {
                call: format!("emptying {}", n::MAP_STATS),
                source,
            }
        })
    }
}

/// What is counted for interfaces by name, beyond what the kernel holds now.
pub(super) type Carried = BTreeMap<String, [u64; COUNTERS]>;
