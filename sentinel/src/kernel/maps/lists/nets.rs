//! The trie of prefixes, and what is known of it: every prefix, the lists that have it, and those it stands for.
//!
//! The kernel asks for the longest match only, so each prefix carries the lists of all shorter ones that cover it. The
//! order of the map below is that of the address space, covering before covered, so one walk brings all of them up.

use super::exact::Side;
use crate::kernel::error::KernelError;
use crate::kernel::maps::hints::{Cells, Hints};
use crate::kernel::maps::table::{Table, table};
use crate::respond::EnforceError;
use crate::types::MapUse;
use aya::Ebpf;
use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sentinel_common::hint::HINT_LIST_NET;
use sentinel_common::list::{NetSlot, in_force};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A prefix: its bits at the top of a 128-bit integer, and its length.
pub(super) type Net = (u128, u8);

/// What a prefix says in each version: its own lists, and those of what covers it with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    own: [u32; 2],
    written: Option<NetMasks>,
}

/// Masks as the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NetMasks {
    all: [u32; 2],
    own: [u32; 2],
}

const fn at(side: Side) -> usize {
    match side {
        Side::Even => 0,
        Side::Odd => 1,
    }
}

/// The prefixes of a family whose addresses have `N` bytes.
pub(super) struct Nets<const N: usize> {
    trie: Table<LpmTrie<MapData, [u8; N], NetSlot>>,
    known: BTreeMap<Net, Known>,
    cells: Cells,
    changed: bool,
}

impl<const N: usize> Nets<N> {
    /// Takes over the trie as it is.
    pub(super) fn new(ebpf: &mut Ebpf, name: &'static str, capacity: u32, hints: &Hints) -> Result<Self, KernelError> {
        let trie: Table<LpmTrie<MapData, [u8; N], NetSlot>> = table(ebpf, name, capacity)?;
        let known: BTreeMap<Net, Known> = trie
            .all()
            .map_err(|error| KernelError::Map {
                map: name.to_owned(),
                cause: error.to_string(),
            })?
            .into_iter()
            .map(|(key, slot)| {
                let mut octets = [0; 16];
                octets[..N].copy_from_slice(&key.data());
                let own = [slot.own_even, slot.own_odd];
                let all = [slot.even, slot.odd];
                let known = Known {
                    own,
                    written: Some(NetMasks { all, own }),
                };
                ((u128::from_be_bytes(octets), key.prefix_len() as u8), known)
            })
            .collect();
        let mut cells = Cells::new(HINT_LIST_NET);
        for &net in known.keys() {
            cells.add(hints, ip_net::<N>(net));
        }
        Ok(Self {
            trie,
            known,
            cells,
            changed: false,
        })
    }

    pub(super) fn usage(&self) -> (String, MapUse) {
        self.trie.usage()
    }

    pub(super) fn full(&self) -> (&'static str, u32) {
        (self.trie.name, self.trie.capacity)
    }

    pub(super) fn contains(&self, net: Net) -> bool {
        self.known.contains_key(&net)
    }

    pub(super) fn has(&self, net: Net, bit: u32, side: Side) -> bool {
        self.known.get(&net).is_some_and(|known| known.own[at(side)] & bit != 0)
    }

    /// Puts a prefix on a list in one version, or takes it off; false where there is no room for it. The kernel has it
    /// after [`Nets::flush`].
    pub(super) fn mark(&mut self, net: Net, bit: u32, side: Side, on: bool) -> bool {
        if on && !self.known.contains_key(&net) && self.known.len() >= self.trie.capacity as usize {
            return false;
        }
        let known = self.known.entry(net).or_default();
        let own = &mut known.own[at(side)];
        let wanted = if on { *own | bit } else { *own & !bit };
        self.changed |= wanted != *own || known.written.is_none();
        *own = wanted;
        true
    }

    /// Makes both versions of every prefix what `versions` has in force.
    pub(super) fn level(&mut self, versions: u32) {
        for known in self.known.values_mut() {
            let [even, odd] = known.own;
            let own = [in_force(even, odd, versions); 2];
            self.changed |= own != known.own;
            known.own = own;
        }
    }

    /// Prefixes on any of `lists` in either version.
    pub(super) fn members(&self, lists: u32) -> impl Iterator<Item = Net> + '_ {
        self.known
            .iter()
            .filter(move |(_, known)| (known.own[0] | known.own[1]) & lists != 0)
            .map(|(net, _)| *net)
    }

    /// Packets whose longest match it was, modulo 2^32.
    pub(super) fn hits(&self, net: Net) -> Result<u64, EnforceError> {
        Ok(self.trie.get(&key(net))?.map_or(0, |slot| u64::from(slot.hits)))
    }

    /// Lists in one version that have a prefix covering `address`, as the kernel's longest match says.
    pub(super) fn covering(&self, address: u128, versions: u32) -> u32 {
        (0..=(8 * N) as u8)
            .rev()
            .find_map(|len| self.known.get(&(address & mask(len), len)))
            .and_then(|known| known.written)
            .map_or(0, |masks| in_force(masks.all[0], masks.all[1], versions))
    }

    /// Writes what changed.
    pub(super) fn flush(&mut self, hints: &Hints) -> Result<(), EnforceError> {
        if !self.changed {
            return Ok(());
        }
        let mut covers: Vec<(Net, [u32; 2])> = Vec::new();
        for (&net, known) in &mut self.known {
            while covers.last().is_some_and(|&(cover, _)| !covered(net, cover)) {
                covers.pop();
            }
            if known.own == [0, 0] {
                if known.written.is_some() {
                    self.trie.delete(&key(net))?;
                    known.written = None;
                    self.cells.remove(hints, ip_net::<N>(net));
                }
                continue;
            }
            let above = covers.last().map_or([0, 0], |&(_, masks)| masks);
            let masks = NetMasks {
                all: [known.own[0] | above[0], known.own[1] | above[1]],
                own: known.own,
            };
            if known.written != Some(masks) {
                let merge = |old: Option<NetSlot>| NetSlot {
                    even: masks.all[0],
                    odd: masks.all[1],
                    own_even: masks.own[0],
                    own_odd: masks.own[1],
                    hits: old.map_or(0, |old| old.hits),
                    prefix_len: u32::from(net.1),
                };
                if self.trie.put(&key(net), merge)? {
                    self.cells.add(hints, ip_net::<N>(net));
                }
                known.written = Some(masks);
            }
            covers.push((net, masks.all));
        }
        self.known.retain(|_, known| known.own != [0, 0]);
        self.changed = false;
        Ok(())
    }
}

/// As the rest of the agent has it.
pub(super) fn ip_net<const N: usize>((bits, len): Net) -> IpNet {
    if N == 4 {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from((bits >> 96) as u32), len.min(32)))
    } else {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(bits), len.min(128)))
    }
}

const fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len as u32) }
}

const fn covered(net: Net, by: Net) -> bool {
    by.1 <= net.1 && net.0 & mask(by.1) == by.0
}

fn key<const N: usize>(net: Net) -> Key<[u8; N]> {
    let mut octets = [0; N];
    octets.copy_from_slice(&net.0.to_be_bytes()[..N]);
    Key::new(u32::from(net.1), octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_comes_before_covered() {
        let ten = 10u128 << 120;
        assert!(covered((ten, 24), (ten, 8)));
        assert!(covered((ten, 8), (0, 0)));
        assert!(!covered((ten, 8), (ten, 24)));
        assert!(!covered((11 << 120, 8), (ten, 8)));
        assert!((ten, 8u8) < (ten, 24));
    }
}
