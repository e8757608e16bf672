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

    /// The counters of every attached interface, summed over CPUs, and how full each map is.
    /// Counters only grow while the agent runs; the CPUs are read one after the other.
    ///
    /// # Errors
    /// [`KernelError::Map`] when the kernel does not let the map be read.
    pub fn read(&self) -> Result<(Vec<InterfaceStats>, BTreeMap<String, MapUse>), KernelError> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner).clone();
        let interfaces = attached
            .into_iter()
            .map(|one| {
                Ok(InterfaceStats {
                    counters: self.slot(one.slot)?,
                    name: one.interface,
                    xdp_mode: one.xdp_mode,
                    egress: one.egress,
                })
            })
            .collect::<Result<_, KernelError>>()?;
        Ok((interfaces, self.shared.usage()))
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
