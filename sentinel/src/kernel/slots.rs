//! Which interface counts in which element of `STATS`, and what interfaces counted that are gone.
//!
//! There are twice as many elements as an agent watches interfaces. Until the programs of an earlier agent are taken
//! down they go on counting, and nobody else does where they do.

use super::error::KernelError;
use super::rawmap;
use aya::maps::{Array, MapData};
use sentinel_common::names as n;
use sentinel_common::stat::{COUNTERS, CpuBlock};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Indexes of the interfaces watched, as the header of pinned maps has them; 0 for none.
pub(super) type Watching = [u32; n::WATCHED_INTERFACES as usize];

/// Slots by interface index, modulo their number.
type Table = [u32; n::SLOT_TABLE as usize];

/// Hands out slots.
pub(super) struct Slots {
    table: Array<MapData, Table>,
    stats: OwnedFd,
    /// Interface index by slot; 0 for a free one.
    owners: [u32; n::MAX_INTERFACES as usize],
    /// Slots of this run; others in `owners` are an earlier agent's, whose counters go on if their interface is
    /// watched again.
    taken: Vec<u32>,
}

impl Slots {
    /// Knows the slots of the interfaces an earlier agent watched.
    pub(super) fn new(table: Array<MapData, Table>, stats: OwnedFd, before: &[u32]) -> Self {
        // One that cannot be read knows nobody.
        let slots = table.get(&0, 0).unwrap_or([u32::MAX; n::SLOT_TABLE as usize]);
        let mut owners = [0; n::MAX_INTERFACES as usize];
        for ifindex in before.iter().copied().filter(|ifindex| *ifindex != 0) {
            let slot = slots[(ifindex % n::SLOT_TABLE) as usize];
            if let Some(owner) = owners.get_mut(slot as usize).filter(|owner| **owner == 0) {
                *owner = ifindex;
            }
        }
        Self {
            table,
            stats,
            owners,
            taken: Vec::new(),
        }
    }

    /// The interfaces of this run.
    pub(super) fn watching(&self) -> Watching {
        let mut watching = Watching::default();
        for (to, slot) in watching.iter_mut().zip(&self.taken) {
            *to = self.owners[*slot as usize];
        }
        watching
    }

    /// Gives the interface an element of the counters: the one it had, else one of nobody's, zeroed.
    ///
    /// # Errors
    /// [`KernelError::TooManyInterfaces`]; [`KernelError::Map`] where the kernel refuses. (That two interfaces share an
    /// element of the table is for the caller to see, who knows their names.)
    pub(super) fn take(&mut self, ifindex: u32) -> Result<Taken, KernelError> {
        let at = |wanted: u32| self.owners.iter().position(|owner| *owner == wanted);
        let (slot, fresh) = match (at(ifindex), at(0)) {
            (Some(slot), _) => (slot as u32, false),
            (None, Some(slot)) => (slot as u32, true),
            (None, None) => {
                return Err(KernelError::TooManyInterfaces {
                    wanted: self.owners.len() + 1,
                    max: n::WATCHED_INTERFACES,
                });
            }
        };
        if fresh {
            self.zero(slot)?;
        }
        self.point(ifindex, slot)?;
        self.owners[slot as usize] = ifindex;
        self.taken.push(slot);
        Ok(Taken { slot, fresh })
    }

    /// Undoes [`Slots::take`]: what an earlier agent's programs count goes on where it did.
    pub(super) fn untake(&mut self, taken: Taken) {
        if taken.fresh {
            self.release(taken.slot);
        } else {
            self.taken.retain(|slot| *slot != taken.slot);
        }
    }

    /// Takes a slot back from an interface that is gone: nobody inherits what it counted.
    pub(super) fn release(&mut self, slot: u32) {
        let Some(owner) = self.owners.get_mut(slot as usize) else {
            return;
        };
        let element = std::mem::take(owner) % n::SLOT_TABLE;
        self.taken.retain(|taken| *taken != slot);
        // Interfaces of two agents may share an element of the table; who is left has it.
        let left = (0..n::MAX_INTERFACES).find(|slot| match self.owners[*slot as usize] {
            0 => false,
            owner => owner % n::SLOT_TABLE == element,
        });
        let _ = self.point(element, left.unwrap_or(0));
        let _ = self.zero(slot);
    }

    /// The interfaces that an earlier agent watched and this one does not.
    pub(super) fn untaken(&self) -> impl Iterator<Item = u32> {
        let slots = self.owners.into_iter().zip(0u32..);
        let untaken = slots.filter(|(owner, slot)| *owner != 0 && !self.taken.contains(slot));
        untaken.map(|(owner, _)| owner)
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
        let begin = std::mem::offset_of!(CpuBlock, counters);
        let counters = begin..begin + size_of::<[u64; COUNTERS]>();
        rawmap::zero_per_cpu(self.stats.as_fd(), slot, size_of::<CpuBlock>(), counters).map_err(|source| {
            KernelError::System {
                call: format!("emptying {}", n::MAP_STATS),
                source,
            }
        })
    }
}

/// A slot that was given out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) slot: u32,
    /// Whether it was nobody's before.
    fresh: bool,
}

impl Taken {
    /// One that was given out before.
    pub(super) const fn old(slot: u32) -> Self {
        Self { slot, fresh: false }
    }
}

/// What is counted for interfaces by name, beyond what the kernel holds now.
pub(super) type Carried = BTreeMap<String, [u64; COUNTERS]>;
