//! Feeds' lists: up to 32, of any size, each exchanged or changed at one instant.
//!
//! A change is written into the version of the list that is not in force; then one store turns the version over; when no
//! packet goes by the old one any more, that is brought up to the new one. So no packet is judged by a part of a change,
//! what does not change is not written, and a change that cannot be carried out is undone before anyone saw it.

mod exact;
mod family;
mod feeds;
mod nets;

use super::Shared;
use super::grace;
use super::hints::Hints;
use crate::config::KernelConfig;
use crate::kernel::error::{KernelError, chain};
use crate::kernel::load::take;
use crate::kernel::settings::SettingsMap;
use crate::kernel::takeover::Takeover;
use crate::respond::EnforceError;
use crate::types::{MapUse, canonical};
use aya::Ebpf;
use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use exact::Side;
use family::{Family, Tally, Touched};
use ipnet::IpNet;
use nets::Net;
use sentinel_common::entry::NEVER_NS;
pub use sentinel_common::list::ListHits;
use sentinel_common::list::{LIST_NEVER_NS, MAX_LISTS, Standing, bit};
use sentinel_common::names as n;
use std::net::IpAddr;
use std::sync::Arc;

/// One of the lists there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(u8);

impl ListId {
    /// The list of this number; there are 32.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as u32) < MAX_LISTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number, from 0.
    pub const fn number(self) -> u8 {
        self.0
    }

    const fn bit(self) -> u32 {
        bit(self.0 as u32)
    }
}

/// What a list does to the packets of those who are on it: it drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOrder {
    /// The decision behind it: a UUID in network order.
    pub decision: [u8; 16],
    /// First instant at which it no longer holds: `CLOCK_BOOTTIME`, ns; `NEVER_NS` for no end.
    pub expires_ns: u64,
    /// Count what would have been dropped, and let it pass.
    pub shadow: bool,
}

/// What a change of a list came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListChange {
    /// Entries that were not on it.
    pub added: u64,
    /// Entries that are no longer on it.
    pub removed: u64,
    /// Entries the change named that were on it already.
    pub kept: u64,
}

/// A list in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub list: ListId,
    /// What it does.
    pub order: ListOrder,
    /// What it has done since it came into use. A packet that is on several lists counts for the lowest.
    pub hits: ListHits,
}

/// Why a list was not changed; it is then as it was.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListError {
    /// There is no room for all of it; nothing was evicted for it.
    #[error(
        "{map} is full at {capacity} entries; raise `kernel.{key}`, which must hold old and new entries side by side while a list is exchanged, or take a smaller list"
    )]
    Full {
        /// Map name.
        map: &'static str,
        /// Its capacity.
        capacity: u32,
        /// The setting that bounds it.
        key: &'static str,
    },
    /// The list is not in use.
    #[error("list {number} is not in use; load it as a whole first")]
    NotInUse {
        /// Its number.
        number: u8,
    },
    /// The kernel refused.
    #[error("{map}: {cause}")]
    Kernel {
        /// Map name.
        map: String,
        /// The kernel's words.
        cause: String,
    },
}

impl From<EnforceError> for ListError {
    fn from(error: EnforceError) -> Self {
        match error {
            EnforceError::Full { map, capacity } => Self::Full {
                map,
                capacity,
                key: "list_net_capacity",
            },
            EnforceError::Kernel { map, cause } => Self::Kernel {
                map: map.to_owned(),
                cause,
            },
        }
    }
}

impl From<KernelError> for ListError {
    fn from(error: KernelError) -> Self {
        Self::Kernel {
            map: n::MAP_SETTINGS.to_owned(),
            cause: error.to_string(),
        }
    }
}

/// The lists' maps.
pub(super) struct Lists {
    four: Family<4>,
    six: Family<16>,
    standing: Array<MapData, Standing>,
    hits: PerCpuArray<MapData, ListHits>,
    settings: Arc<SettingsMap>,
}

/// What a change touched in each family.
#[derive(Default)]
struct Change {
    four: Touched,
    six: Touched,
}

impl Lists {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        config: &KernelConfig,
        hints: &Hints,
        settings: Arc<SettingsMap>,
        takeover: Option<&mut Takeover>,
    ) -> Result<Self, KernelError> {
        let versions = settings.get()?.list_versions;
        let (four, six) = takeover.map_or((None, None), |takeover| {
            (takeover.outgrown(n::MAP_LIST4), takeover.outgrown(n::MAP_LIST6))
        });
        let mut lists = Self {
            four: Family::new(ebpf, config, hints, versions, four.as_ref())?,
            six: Family::new(ebpf, config, hints, versions, six.as_ref())?,
            standing: take(ebpf, n::MAP_LISTS)?,
            hits: take(ebpf, n::MAP_LIST_HITS)?,
            settings,
        };
        let failed = |error: ListError| KernelError::Map {
            map: n::MAP_LISTS.to_owned(),
            cause: error.to_string(),
        };
        for number in 0..MAX_LISTS as u8 {
            let list = ListId(number);
            let side = side_of(list, versions);
            // A new map is all zeros, which is an end long past; then this is what an unused list should say.
            let order = lists.order(list, side).map_err(failed)?;
            lists.stand(list, side, order).map_err(failed)?;
            lists.stand(list, side.other(), order).map_err(failed)?;
        }
        Ok(lists)
    }

    pub(super) fn usage(&self) -> impl Iterator<Item = (String, MapUse)> {
        self.four.usage().into_iter().chain(self.six.usage())
    }

    /// Carries a change out: `prepare` makes it in the version that is not in force.
    fn carry_out(
        &mut self,
        list: ListId,
        order: Option<ListOrder>,
        hints: &Hints,
        prepare: impl FnOnce(&mut Self, Side, &mut Change) -> Result<(), ListError>,
    ) -> Result<ListChange, ListError> {
        let old = side_of(list, self.settings.get()?.list_versions);
        let new = old.other();
        // What the change before this one freed may be used again once no packet looks at it any more.
        if self.four.freed || self.six.freed {
            grace::wait();
            (self.four.freed, self.six.freed) = (false, false);
        }
        let mut change = Change::default();
        let mut tally = Tally::default();
        let written = prepare(self, new, &mut change)
            .and_then(|()| self.four.flush(hints))
            .and_then(|()| self.six.flush(hints))
            .and_then(|()| self.stand(list, new, order));
        self.four.tally(list.bit(), new, &mut change.four, &mut tally);
        self.six.tally(list.bit(), new, &mut change.six, &mut tally);
        let turned = written.and_then(|()| {
            let bit = list.bit();
            Ok(self.settings.change(|settings| settings.list_versions ^= bit)?)
        });
        let from = if turned.is_ok() {
            hints.changed();
            grace::wait();
            new
        } else {
            old
        };
        let settled = self
            .four
            .settle(list.bit(), from, hints, &change.four)
            .and(self.six.settle(list.bit(), from, hints, &change.six));
        turned?;
        settled?;
        self.stand(list, old, order)?;
        Ok(ListChange {
            added: tally.added,
            removed: tally.removed,
            kept: tally.kept,
        })
    }

    fn add(
        &mut self,
        net: IpNet,
        list: ListId,
        side: Side,
        hints: &Hints,
        change: &mut Change,
    ) -> Result<(), ListError> {
        match key(net) {
            (false, net) => self.four.add(net, list.bit(), side, hints, &mut change.four),
            (true, net) => self.six.add(net, list.bit(), side, hints, &mut change.six),
        }
    }

    fn remove(&mut self, net: IpNet, list: ListId, side: Side, change: &mut Change) {
        match key(net) {
            (false, net) => self.four.remove(net, list.bit(), side, &mut change.four),
            (true, net) => self.six.remove(net, list.bit(), side, &mut change.six),
        }
    }

    fn standing(&self, side: Side) -> Result<Standing, ListError> {
        self.standing.get(&element(side), 0).map_err(|error| failed(&error))
    }

    /// What a list does in one version; `None` where it is not in use.
    fn order(&self, list: ListId, side: Side) -> Result<Option<ListOrder>, ListError> {
        let standing = self.standing(side)?;
        let at = usize::from(list.0);
        Ok((standing.used & list.bit() != 0).then(|| ListOrder {
            decision: standing.decisions[at],
            expires_ns: match standing.expires_ns[at] {
                LIST_NEVER_NS => NEVER_NS,
                expires => expires,
            },
            shadow: standing.shadow & list.bit() != 0,
        }))
    }

    /// Writes what a list does in one version.
    fn stand(&mut self, list: ListId, side: Side, order: Option<ListOrder>) -> Result<(), ListError> {
        let mut standing = self.standing(side)?;
        let at = usize::from(list.0);
        standing.used &= !list.bit();
        standing.shadow &= !list.bit();
        standing.expires_ns[at] = LIST_NEVER_NS;
        standing.decisions[at] = [0; 16];
        if let Some(order) = order {
            standing.used |= list.bit();
            standing.shadow |= if order.shadow { list.bit() } else { 0 };
            standing.expires_ns[at] = order.expires_ns.min(LIST_NEVER_NS);
            standing.decisions[at] = order.decision;
        }
        standing.next_expiry_ns = standing.expires_ns.iter().copied().min().unwrap_or(LIST_NEVER_NS);
        self.standing
            .set(element(side), standing, 0)
            .map_err(|error| failed(&error))
    }

    fn hits(&self, list: ListId) -> Result<ListHits, ListError> {
        let each = self.hits.get(&u32::from(list.0), 0).map_err(|error| failed(&error))?;
        let mut sum = ListHits::default();
        for one in each.iter() {
            sum.hits += one.hits;
            sum.hit_bytes += one.hit_bytes;
            sum.would_hits += one.would_hits;
            sum.would_bytes += one.would_bytes;
        }
        Ok(sum)
    }

    /// Begins a list's counters afresh.
    fn forget_hits(&mut self, list: ListId) -> Result<(), ListError> {
        let cpus = self
            .hits
            .get(&u32::from(list.0), 0)
            .map_err(|error| failed(&error))?
            .len();
        let none = PerCpuValues::try_from(vec![ListHits::default(); cpus]).map_err(|error| ListError::Kernel {
            map: n::MAP_LIST_HITS.to_owned(),
            cause: error.to_string(),
        })?;
        self.hits
            .set(u32::from(list.0), none, 0)
            .map_err(|error| failed(&error))
    }
}

const fn element(side: Side) -> u32 {
    match side {
        Side::Even => 0,
        Side::Odd => 1,
    }
}

const fn side_of(list: ListId, versions: u32) -> Side {
    if versions & list.bit() == 0 {
        Side::Even
    } else {
        Side::Odd
    }
}

fn failed(error: &MapError) -> ListError {
    ListError::Kernel {
        map: n::MAP_LISTS.to_owned(),
        cause: chain(error),
    }
}

/// Whether it is IPv6, and the prefix with its bits at the top.
fn key(net: IpNet) -> (bool, Net) {
    match canonical(net) {
        IpNet::V4(net) => (false, (u128::from(net.network().to_bits()) << 96, net.prefix_len())),
        IpNet::V6(net) => (true, (net.network().to_bits(), net.prefix_len())),
    }
}

/// The feeds' lists in the kernel, live. A change waits a few milliseconds for packets under way; it holds up no
/// decision's entry.
#[derive(Clone)]
pub struct ListMaps {
    shared: Arc<Shared>,
}

impl ListMaps {
    pub(in crate::kernel) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes a list what `nets` and `order` say, at one instant. Duplicates and overlaps are fine.
    ///
    /// # Errors
    /// [`ListError`]; the list is then as it was.
    pub fn replace(
        &self,
        list: ListId,
        order: &ListOrder,
        nets: impl IntoIterator<Item = IpNet>,
    ) -> Result<ListChange, ListError> {
        let hints = &self.shared.hints;
        let mut lists = self.shared.lists();
        let versions = lists.settings.get()?.list_versions;
        if lists.order(list, side_of(list, versions))?.is_none() {
            lists.forget_hits(list)?;
        }
        lists.carry_out(list, Some(*order), hints, |lists, side, change| {
            for net in nets {
                lists.add(net, list, side, hints, change)?;
            }
            lists.four.remove_others(list.bit(), side, &mut change.four);
            lists.six.remove_others(list.bit(), side, &mut change.six);
            Ok(())
        })
    }

    /// Takes some entries off a list and puts some on it, at one instant; what is in both stays on it.
    ///
    /// # Errors
    /// [`ListError`]; the list is then as it was.
    pub fn change(
        &self,
        list: ListId,
        add: impl IntoIterator<Item = IpNet>,
        remove: impl IntoIterator<Item = IpNet>,
    ) -> Result<ListChange, ListError> {
        let hints = &self.shared.hints;
        let mut lists = self.shared.lists();
        let versions = lists.settings.get()?.list_versions;
        let order = lists.order(list, side_of(list, versions))?;
        let order = order.ok_or(ListError::NotInUse { number: list.0 })?;
        lists.carry_out(list, Some(order), hints, |lists, side, change| {
            for net in remove {
                lists.remove(net, list, side, change);
            }
            for net in add {
                lists.add(net, list, side, hints, change)?;
            }
            Ok(())
        })
    }

    /// Takes a list out of use with everything on it, at one instant.
    ///
    /// # Errors
    /// [`ListError::Kernel`].
    pub fn remove(&self, list: ListId) -> Result<ListChange, ListError> {
        let hints = &self.shared.hints;
        self.shared.lists().carry_out(list, None, hints, |lists, side, change| {
            lists.four.remove_others(list.bit(), side, &mut change.four);
            lists.six.remove_others(list.bit(), side, &mut change.six);
            Ok(())
        })
    }

    /// The lists in use, by number.
    ///
    /// # Errors
    /// [`ListError::Kernel`].
    pub fn in_use(&self) -> Result<Vec<Listed>, ListError> {
        let lists = self.shared.lists();
        let versions = lists.settings.get()?.list_versions;
        let mut all = Vec::new();
        for list in (0..MAX_LISTS as u8).map(ListId) {
            if let Some(order) = lists.order(list, side_of(list, versions))? {
                let hits = lists.hits(list)?;
                all.push(Listed { list, order, hits });
            }
        }
        Ok(all)
    }

    /// Every entry of a list, as the kernel has it, with the packets it met (modulo 2^32, IPv6 addresses excepted).
    ///
    /// # Errors
    /// [`ListError::Kernel`].
    pub fn entries(&self, list: ListId) -> Result<Vec<(IpNet, u64)>, ListError> {
        let lists = self.shared.lists();
        let side = side_of(list, lists.settings.get()?.list_versions);
        let mut all = lists.four.entries(list.bit(), side)?;
        all.extend(lists.six.entries(list.bit(), side)?);
        Ok(all)
    }

    /// The lists a packet from `address` meets, asked of the kernel's memory the way the kernel asks.
    ///
    /// # Errors
    /// [`ListError::Kernel`].
    pub fn met(&self, address: IpAddr) -> Result<Vec<ListId>, ListError> {
        let lists = self.shared.lists();
        let versions = lists.settings.get()?.list_versions;
        let hints = &self.shared.hints;
        let met = match key(IpNet::from(address)) {
            (false, (address, _)) => lists.four.met(address, versions, hints),
            (true, (address, _)) => lists.six.met(address, versions, hints),
        };
        let all = (0..MAX_LISTS as u8).map(ListId);
        Ok(all.filter(|list| met & list.bit() != 0).collect())
    }

    /// Makes a change in the version that is not in force and goes no further, as an agent that is killed.
    #[cfg(test)]
    pub(super) fn abandon_change(&self, list: ListId, add: Vec<IpNet>, remove: &[IpNet]) {
        let hints = &self.shared.hints;
        let mut lists = self.shared.lists();
        let side = side_of(list, lists.settings.get().unwrap().list_versions).other();
        let mut change = Change::default();
        for net in remove {
            lists.remove(*net, list, side, &mut change);
        }
        for net in add {
            lists.add(net, list, side, hints, &mut change).unwrap();
        }
        lists.four.flush(hints).unwrap();
        lists.six.flush(hints).unwrap();
        lists.stand(list, side, None).unwrap();
    }
}
