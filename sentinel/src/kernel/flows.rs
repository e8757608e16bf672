//! The flow table as the agent sees it: its size, and its memory to read beside the kernel programs.

use super::error::KernelError;
use super::load::missing;
use super::mmap::Mapped;
use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use sentinel_common::names::{MAP_FLOWS, MAP_STATS, MAP_TAKEN, MAX_INTERFACES};
use sentinel_common::slot::{Bucket, Head, Slot, WAYS};
use sentinel_common::stat::CpuBlock;
use sentinel_common::table::taken;
use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};

/// 64-bit words of a bucket, a head and a slot.
const BUCKET_WORDS: usize = size_of::<Bucket>() / 8;
const HEAD_WORDS: usize = size_of::<Head>() / 8;
const SLOT_WORDS: usize = size_of::<Slot>() / 8;

/// Buckets whose heads are fetched at once: 32 KiB.
pub(super) const AHEAD: usize = 512;

/// How large the flow table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowSize {
    cpus: u32,
    /// Of one CPU; a power of two.
    buckets: u32,
}

impl FlowSize {
    /// At least `capacity` slots over all CPUs this machine can have.
    pub(super) fn new(capacity: u32) -> Self {
        let cpus = nr_cpus().map_or(1, |n| n as u32).max(1);
        let buckets = capacity.div_ceil(cpus).div_ceil(WAYS as u32).next_power_of_two();
        Self { cpus, buckets }
    }

    /// Buckets of all CPUs.
    pub(super) const fn buckets(self) -> u32 {
        self.cpus * self.buckets
    }

    /// Slots of all CPUs.
    pub(super) const fn slots(self) -> u32 {
        self.buckets() * WAYS as u32
    }

    /// Cells for conversations: one for two slots, a power of two.
    pub(super) const fn cells(self) -> u32 {
        (self.slots() / 2).next_power_of_two()
    }

    /// What cuts a hash down to a bucket of one CPU.
    pub(super) const fn mask(self) -> u32 {
        self.buckets - 1
    }
}

/// The memory of the table, and the agent's own words beside it. The maps live as long as this does.
pub(super) struct FlowMemory {
    table: Mapped,
    taken: Mapped,
    size: FlowSize,
    /// Programs that are loaded later refer to the maps by descriptor.
    _maps: [MapData; 2],
}

impl FlowMemory {
    pub(super) fn new(ebpf: &mut Ebpf, size: FlowSize) -> Result<Self, KernelError> {
        let failed = |name: &str, source| KernelError::System {
            call: format!("mapping the memory of {name}"),
            source,
        };
        let Some(Map::Array(map)) = ebpf.take_map(MAP_FLOWS) else {
            return Err(missing(MAP_FLOWS));
        };
        let bytes = size.buckets() as usize * size_of::<Bucket>();
        let table = Mapped::new(map.fd().as_fd(), bytes).map_err(|error| failed(MAP_FLOWS, error))?;
        let Some(Map::Array(words)) = ebpf.take_map(MAP_TAKEN) else {
            return Err(missing(MAP_TAKEN));
        };
        let taken =
            Mapped::new(words.fd().as_fd(), size.slots() as usize * 8).map_err(|error| failed(MAP_TAKEN, error))?;
        Ok(Self {
            table,
            taken,
            size,
            _maps: [map, words],
        })
    }

    /// Slots, over all CPUs.
    pub(super) const fn slots(&self) -> u32 {
        self.size.slots()
    }

    /// The head of a slot, as of now.
    pub(super) fn head(&self, slot: u32) -> Head {
        self.heads(slot)[slot as usize % WAYS]
    }

    /// The heads of the bucket a slot is in, each as of now.
    pub(super) fn heads(&self, slot: u32) -> [Head; WAYS] {
        let at = slot as usize / WAYS * BUCKET_WORDS;
        let mut words = [0; WAYS * HEAD_WORDS];
        for (to, from) in words.iter_mut().zip(&self.table.words()[at..at + WAYS * HEAD_WORDS]) {
            *to = from.load(Ordering::Relaxed);
        }
        // SAFETY: the words are the size of the heads, and any bytes are one.
        unsafe { std::mem::transmute::<[u64; WAYS * HEAD_WORDS], [Head; WAYS]>(words) }
    }

    /// Has the heads of as many buckets from that of `slot` on fetched into the cache as are worth it. One after the other
    /// they would each be waited for, since every bucket's are in a line of memory of their own.
    pub(super) fn fetch_heads(&self, slot: u32) {
        let words = self.table.words();
        let first = slot as usize / WAYS * BUCKET_WORDS;
        let behind = words.len().min(first + AHEAD * BUCKET_WORDS);
        // Nothing hangs on one sum of all: the loads do not wait for each other.
        let sum = (first..behind)
            .step_by(BUCKET_WORDS)
            .fold(0, |sum: u64, at| sum ^ words[at].load(Ordering::Relaxed));
        std::hint::black_box(sum);
    }

    /// The counters of a slot whose head is `head`; `None` where the kernel is at it.
    pub(super) fn slot(&self, slot: u32, head: &Head) -> Option<Slot> {
        let (bucket, way) = (slot as usize / WAYS, slot as usize % WAYS);
        let at = bucket * BUCKET_WORDS + WAYS * HEAD_WORDS + way * SLOT_WORDS;
        let mut copy = [0; SLOT_WORDS];
        fence(Ordering::Acquire);
        for (to, from) in copy.iter_mut().zip(&self.table.words()[at..at + SLOT_WORDS]) {
            *to = from.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        // SAFETY: the words are the size of a slot, and any bytes are one.
        let slot_now = unsafe { std::mem::transmute::<[u64; SLOT_WORDS], Slot>(copy) };
        (self.head(slot) == *head).then_some(slot_now)
    }

    /// Tells the kernel that the agent has what stands under `head`; false where the kernel moved on meanwhile.
    pub(super) fn claim(&self, slot: u32, head: &Head) -> bool {
        let word = &self.taken.words()[slot as usize];
        word.store(taken(head), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.head(slot) == *head {
            return true;
        }
        word.store(0, Ordering::SeqCst);
        false
    }

    /// Empties the table. For tests, while no packets pass.
    pub(super) fn forget(&self) {
        for word in self.table.words().iter().chain(self.taken.words()) {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// Writes every CPU's number where the programs look for it; a map that has them already is left alone.
pub(super) fn number_cpus(stats: &mut PerCpuArray<MapData, CpuBlock>) -> Result<(), KernelError> {
    let failed = |error| KernelError::map(MAP_STATS, &error);
    for slot in 0..MAX_INTERFACES {
        let mut blocks: Vec<CpuBlock> = stats.get(&slot, 0).map_err(failed)?.to_vec();
        if blocks.iter().enumerate().all(|(cpu, block)| block.cpu == cpu as u32) {
            continue;
        }
        for (cpu, block) in blocks.iter_mut().enumerate() {
            block.cpu = cpu as u32;
        }
        let values = PerCpuValues::try_from(blocks).map_err(|source| KernelError::System {
            call: "numbering the CPUs".into(),
            source,
        })?;
        stats.set(slot, values, 0).map_err(failed)?;
    }
    Ok(())
}
