//! The lists of one address family: exact addresses and prefixes, changed together.

use super::ListError;
use super::exact::{Exact, Side};
use super::nets::{Net, Nets, ip_net};
use crate::config::KernelConfig;
use crate::kernel::error::KernelError;
use crate::kernel::load::{list_buckets, missing};
use crate::kernel::maps::hints::{self, Hints};
use crate::kernel::mmap::Mapped;
use crate::kernel::takeover::Outgrown;
use crate::types::MapUse;
use aya::Ebpf;
use aya::maps::MapData;
use ipnet::IpNet;
use sentinel_common::hint::{HINT_LIST, HINT_LIST_NET, cell4, cell6_long};
use sentinel_common::list::in_force;
use sentinel_common::names as n;
use std::os::fd::AsFd;

/// What a change touched: slots and prefixes, in no order, some twice.
#[derive(Default)]
pub(super) struct Touched {
    slots: Vec<u32>,
    nets: Vec<Net>,
}

/// How many entries a change added, removed, found already there.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) kept: u64,
}

impl Tally {
    fn count(&mut self, was: bool, is: bool) {
        self.added += u64::from(is && !was);
        self.removed += u64::from(was && !is);
        self.kept += u64::from(was && is);
    }
}

/// The lists' entries of the family whose addresses have `N` bytes.
pub(super) struct Family<const N: usize> {
    exact: Exact<N>,
    nets: Nets<N>,
    /// Programs that are loaded later name the map by its descriptor.
    _map: MapData,
    name: &'static str,
    key: &'static str,
    /// Slots became free since the last wait.
    pub(super) freed: bool,
}

impl<const N: usize> Family<N> {
    /// Takes over what the maps hold, with `versions` in force. Where the table was made anew in another size the
    /// addresses come from the old one, which the old programs go on reading.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        config: &KernelConfig,
        hints: &Hints,
        versions: u32,
        outgrown: Option<&Outgrown>,
    ) -> Result<Self, KernelError> {
        let (name, trie, key, capacity) = if N == 4 {
            (n::MAP_LIST4, n::MAP_LIST_NET4, "list_capacity", config.list_capacity)
        } else {
            (n::MAP_LIST6, n::MAP_LIST_NET6, "list6_capacity", config.list6_capacity)
        };
        let map = ebpf
            .take_map(name)
            .and_then(hints::array)
            .ok_or_else(|| missing(name))?;
        let buckets = list_buckets(capacity);
        let mapped = |map: &MapData, buckets| {
            Mapped::new(map.fd().as_fd(), Exact::<N>::bytes(buckets)).map_err(|source| KernelError::System {
                call: format!("mapping {name}"),
                source,
            })
        };
        let memory = mapped(&map, buckets)?;
        let mut family = Self {
            exact: Exact::new(memory, buckets, hints.seed, capacity),
            nets: Nets::new(ebpf, trie, config.list_net_capacity, hints)?,
            _map: map,
            name,
            key,
            freed: false,
        };
        if let Some(old) = outgrown {
            let from = Exact::new(mapped(&old.map, old.elements)?, old.elements, hints.seed, capacity);
            let entries = family.adopt(&from, versions).ok_or_else(|| KernelError::Shrunk {
                map: name.to_owned(),
                old: from.slots() / 2,
                wanted: capacity,
            })?;
            tracing::info!(map = name, entries, to = capacity, "capacity changed, entries kept");
        }
        family.level(hints, versions).map_err(|error| KernelError::Map {
            map: trie.to_owned(),
            cause: error.to_string(),
        })?;
        Ok(family)
    }

    /// Puts every address of a table in force into this one, with its hits; says how many there were, or `None` where
    /// they do not fit.
    fn adopt(&mut self, from: &Exact<N>, versions: u32) -> Option<u64> {
        let mut entries = 0;
        for slot in from.members(u32::MAX) {
            let (even, odd) = from.masks(slot);
            let lists = in_force(even, odd, versions);
            if lists == 0 {
                continue;
            }
            let address = from.address(slot);
            if self.exact.used >= u64::from(self.exact.capacity) {
                return None;
            }
            entries += 1;
            if self.exact.place(address, lists, Side::Even).is_some_and(|to| {
                self.exact.mark(to, lists, Side::Odd, true);
                self.exact.take_hits(to, from, slot);
                true
            }) {
                continue;
            }
            let net = (address, 8 * N as u8);
            if !(self.nets.mark(net, lists, Side::Even, true) && self.nets.mark(net, lists, Side::Odd, true)) {
                return None;
            }
        }
        Some(entries)
    }

    /// An earlier agent may have ended in the midst of a change: what was in force stays, the rest goes.
    fn level(&mut self, hints: &Hints, versions: u32) -> Result<(), ListError> {
        self.exact.level(versions);
        let used = self.exact.members(u32::MAX).map(|slot| self.cell(slot, hints.seed));
        let used: Vec<u32> = used.collect();
        hints.set_cells(N == 16, &used, HINT_LIST);
        self.nets.level(versions);
        Ok(self.nets.flush(hints)?)
    }

    pub(super) fn usage(&self) -> [(String, MapUse); 2] {
        let exact = MapUse {
            entries: self.exact.used,
            capacity: u64::from(self.exact.capacity),
        };
        [(self.name.to_owned(), exact), self.nets.usage()]
    }

    /// Puts an entry on a list in one version.
    pub(super) fn add(
        &mut self,
        net: Net,
        bit: u32,
        side: Side,
        hints: &Hints,
        touched: &mut Touched,
    ) -> Result<(), ListError> {
        if usize::from(net.1) == 8 * N {
            if let Some(slot) = self.exact.find(net.0) {
                self.exact.mark(slot, bit, side, true);
                touched.slots.push(slot);
                return Ok(());
            }
            if !self.nets.contains(net) {
                if self.exact.used >= u64::from(self.exact.capacity) {
                    return Err(ListError::Full {
                        map: self.name,
                        capacity: self.exact.capacity,
                        key: self.key,
                    });
                }
                if let Some(slot) = self.exact.place(net.0, bit, side) {
                    hints.set_cells(N == 16, &[self.cell(slot, hints.seed)], HINT_LIST);
                    touched.slots.push(slot);
                    return Ok(());
                }
                // Both buckets are full, though the table is not: among the prefixes there is room for such.
            }
        }
        if !self.nets.mark(net, bit, side, true) {
            let (map, capacity) = self.nets.full();
            return Err(ListError::Full {
                map,
                capacity,
                key: "list_net_capacity",
            });
        }
        touched.nets.push(net);
        Ok(())
    }

    /// Takes an entry off a list in one version.
    pub(super) fn remove(&mut self, net: Net, bit: u32, side: Side, touched: &mut Touched) {
        if usize::from(net.1) == 8 * N
            && let Some(slot) = self.exact.find(net.0)
            && self.exact.has(slot, bit, side.other())
        {
            self.exact.mark(slot, bit, side, false);
            touched.slots.push(slot);
        }
        if self.nets.has(net, bit, side.other()) {
            self.nets.mark(net, bit, side, false);
            touched.nets.push(net);
        }
    }

    /// Takes everything off a list in one version but what was touched.
    pub(super) fn remove_others(&mut self, bit: u32, side: Side, touched: &mut Touched) {
        let mut wanted = vec![0u64; self.exact.slots().div_ceil(64) as usize];
        for &slot in &touched.slots {
            wanted[slot as usize / 64] |= 1 << (slot % 64);
        }
        let others: Vec<u32> = self
            .exact
            .members(bit)
            .filter(|&slot| wanted[slot as usize / 64] >> (slot % 64) & 1 == 0)
            .collect();
        for &slot in &others {
            self.exact.mark(slot, bit, side, false);
        }
        touched.slots.extend(others);
        touched.nets.sort_unstable();
        let others: Vec<Net> = self
            .nets
            .members(bit)
            .filter(|net| touched.nets.binary_search(net).is_err())
            .collect();
        for &net in &others {
            self.nets.mark(net, bit, side, false);
        }
        touched.nets.extend(others);
    }

    /// Writes to the kernel what is not written yet.
    pub(super) fn flush(&mut self, hints: &Hints) -> Result<(), ListError> {
        Ok(self.nets.flush(hints)?)
    }

    /// What a change comes to, from the version in force to `side`.
    pub(super) fn tally(&self, bit: u32, side: Side, touched: &mut Touched, tally: &mut Tally) {
        touched.slots.sort_unstable();
        touched.slots.dedup();
        touched.nets.sort_unstable();
        touched.nets.dedup();
        for &slot in &touched.slots {
            tally.count(self.exact.has(slot, bit, side.other()), self.exact.has(slot, bit, side));
        }
        for &net in &touched.nets {
            tally.count(self.nets.has(net, bit, side.other()), self.nets.has(net, bit, side));
        }
    }

    /// Brings the other version of what was touched up to `from`, and frees what is on no list any more.
    pub(super) fn settle(&mut self, bit: u32, from: Side, hints: &Hints, touched: &Touched) -> Result<(), ListError> {
        let mut empty = Vec::new();
        for &slot in &touched.slots {
            let used = self.exact.masks(slot) != (0, 0);
            let on = self.exact.has(slot, bit, from);
            self.exact.mark(slot, bit, from.other(), on);
            if used && self.exact.masks(slot) == (0, 0) {
                self.exact.used -= 1;
                empty.push(self.cell(slot, hints.seed));
            }
        }
        self.freed |= !empty.is_empty();
        self.unhint(empty, hints);
        for &net in &touched.nets {
            let on = self.nets.has(net, bit, from);
            self.nets.mark(net, bit, from.other(), on);
        }
        self.flush(hints)
    }

    /// Clears the hint of those cells that no address is in any more: one look at every slot says which.
    fn unhint(&self, mut cells: Vec<u32>, hints: &Hints) {
        if cells.is_empty() {
            return;
        }
        cells.sort_unstable();
        cells.dedup();
        let first = cells.first().copied().unwrap_or(0);
        let last = cells.last().copied().unwrap_or(0);
        let mut used = vec![0u64; (last - first) as usize / 64 + 1];
        for slot in self.exact.members(u32::MAX) {
            let cell = self.cell(slot, hints.seed);
            if (first..=last).contains(&cell) {
                used[(cell - first) as usize / 64] |= 1 << ((cell - first) % 64);
            }
        }
        let unused = cells
            .into_iter()
            .filter(|cell| used[(cell - first) as usize / 64] >> ((cell - first) % 64) & 1 == 0);
        hints.clear_cells(N == 16, unused, HINT_LIST);
    }

    fn cell(&self, slot: u32, seed: u64) -> u32 {
        cell::<N>(self.exact.address(slot), seed)
    }

    /// Every entry of a list in force, with the packets it met.
    pub(super) fn entries(&self, bit: u32, side: Side) -> Result<Vec<(IpNet, u64)>, ListError> {
        let slots = self
            .exact
            .members(bit)
            .filter(|&slot| self.exact.has(slot, bit, side))
            .map(|slot| {
                let net = ip_net::<N>((self.exact.address(slot), 8 * N as u8));
                (net, self.exact.hits(slot))
            });
        let mut all: Vec<_> = slots.collect();
        for net in self.nets.members(bit).filter(|&net| self.nets.has(net, bit, side)) {
            all.push((ip_net::<N>(net), self.nets.hits(net)?));
        }
        Ok(all)
    }

    /// The lists a packet from `address` meets, by the same way: hints first.
    pub(super) fn met(&self, address: u128, versions: u32, hints: &Hints) -> u32 {
        let net = ip_net::<N>((address, 8 * N as u8));
        let mut lists = 0;
        if hints.packet_has(net, HINT_LIST)
            && let Some(slot) = self.exact.find(address)
        {
            let (even, odd) = self.exact.masks(slot);
            lists = in_force(even, odd, versions);
        }
        if hints.packet_has(net, HINT_LIST_NET) {
            lists |= self.nets.covering(address, versions);
        }
        lists
    }
}

const fn cell<const N: usize>(address: u128, seed: u64) -> u32 {
    if N == 4 {
        cell4((address >> 96) as u32)
    } else {
        cell6_long((address >> 64) as u64, seed)
    }
}
