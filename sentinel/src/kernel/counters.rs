//! Reads the per-CPU counters and how full the maps are.

use super::attach::AttachedList;
use super::error::KernelError;
use super::maps::Shared;
use crate::types::{InterfaceStats, MapUse};
use aya::maps::{MapData, PerCpuArray};
use sentinel_common::names::MAP_STATS;
use sentinel_common::stat::{COUNTERS, CpuBlock};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// A handle that reads the kernel's counters; cheap to clone.
#[derive(Clone)]
pub struct Counters {
    stats: Arc<PerCpuArray<MapData, CpuBlock>>,
    shared: Arc<Shared>,
    attached: AttachedList,
}

impl Counters {
    pub(super) fn new(stats: PerCpuArray<MapData, CpuBlock>, shared: Arc<Shared>, attached: AttachedList) -> Self {
        Self {
            stats: Arc::new(stats),
            shared,
            attached,
        }
    }

    /// The counters of every interface that is or ought to be watched, summed over CPUs, and how full each map is.
    /// Counters only grow while the agent runs, also when an interface goes and comes back; the CPUs are read one after the other.
    ///
    /// # Errors
    /// [`KernelError::Map`] when the kernel does not let the map be read.
    pub fn read(&self) -> Result<(Vec<InterfaceStats>, BTreeMap<String, MapUse>), KernelError> {
        let watched = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let carried = |name: &str| watched.carried.get(name).copied().unwrap_or([0; COUNTERS]);
        let mut interfaces = Vec::new();
        for one in &watched.attached {
            let mut counters = carried(&one.interface);
            for (sum, counted) in counters.iter_mut().zip(self.slot(one.slot)?) {
                *sum += counted;
            }
            interfaces.push(InterfaceStats {
                counters,
                name: one.interface.clone(),
                xdp_mode: one.xdp_mode,
                fallback: one.fallback.clone(),
                trouble: watched.missing.get(&one.interface).cloned(),
                egress: one.egress,
            });
        }
        let attached = |name: &str| watched.attached.iter().any(|one| one.interface == name);
        for (name, trouble) in watched.missing.iter().filter(|(name, _)| !attached(name)) {
            interfaces.push(InterfaceStats {
                counters: carried(name),
                name: name.clone(),
                xdp_mode: "none",
                fallback: None,
                trouble: Some(trouble.clone()),
                egress: false,
            });
        }
        drop(watched);
        Ok((interfaces, self.shared.usage()))
    }

    /// As the kernel has them for one slot, whoever's it is, also when nothing is attached by us any more.
    ///
    /// # Errors
    /// As [`Counters::read`].
    pub fn of_slot(&self, slot: u32) -> Result<[u64; COUNTERS], KernelError> {
        self.slot(slot)
    }

    /// The counters of one slot, summed over CPUs.
    pub(super) fn slot(&self, slot: u32) -> Result<[u64; COUNTERS], KernelError> {
        let blocks = self
            .stats
            .get(&slot, 0)
            .map_err(|error| KernelError::map(MAP_STATS, &error))?;
        let mut sum = [0u64; COUNTERS];
        for block in blocks.iter() {
            for (total, one) in sum.iter_mut().zip(block.counters) {
                *total += one;
            }
        }
        Ok(sum)
    }
}
