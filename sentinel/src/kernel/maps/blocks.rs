//! The entries of decisions and the allowlist.

use super::Shared;
use super::address::{Octets4, Octets16, key4, key6, net4, net6};
use super::exact::ExactEntries;
use super::hints::{self, Cells, Hints};
use super::table::{Table, table};
use crate::config::KernelConfig;
use crate::kernel::attach::{AttachedList, bare, mode, unseen};
use crate::kernel::error::{KernelError, errno};
use crate::kernel::load::missing;
use crate::kernel::takeover::Takeover;
use crate::respond::{EnforceError, Enforcer};
use crate::types::{MapUse, canonical};
use aya::Ebpf;
use aya::maps::MapData;
use aya::maps::lpm_trie::LpmTrie;
use ipnet::IpNet;
use sentinel_common::entry::{ACTION_REDIRECT, AllowEntry, BlockEntry, FLAG_EGRESS, FLAG_SHADOW};
use sentinel_common::exact::{buckets, room};
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY};
use sentinel_common::names as n;
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use std::sync::{Arc, PoisonError};

/// The maps, and which cells of the hints they need.
pub(super) struct Tables {
    block4: Table<ExactEntries<4>>,
    block6: Table<ExactEntries<16>>,
    net4: Table<LpmTrie<MapData, Octets4, BlockEntry>>,
    net6: Table<LpmTrie<MapData, Octets16, BlockEntry>>,
    allow4: Table<LpmTrie<MapData, Octets4, AllowEntry>>,
    allow6: Table<LpmTrie<MapData, Octets16, AllowEntry>>,
    entries: Cells,
    allows: Cells,
}

impl Tables {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        config: &KernelConfig,
        hints: &Hints,
        mut takeover: Option<&mut Takeover>,
    ) -> Result<Self, KernelError> {
        let (capacity, nets) = (config.block_capacity, config.block_net_capacity);
        let (names4, names6) = ([n::MAP_BLOCK4, n::MAP_ENTRY4], [n::MAP_BLOCK6, n::MAP_ENTRY6]);
        let mut tables = Self {
            block4: exact(ebpf, names4, capacity, hints.seed, takeover.as_deref_mut())?,
            block6: exact(ebpf, names6, capacity, hints.seed, takeover)?,
            net4: table(ebpf, n::MAP_BLOCK_NET4, nets)?,
            net6: table(ebpf, n::MAP_BLOCK_NET6, nets)?,
            allow4: table(ebpf, n::MAP_ALLOW4, n::ALLOW_CAPACITY)?,
            allow6: table(ebpf, n::MAP_ALLOW6, n::ALLOW_CAPACITY)?,
            entries: Cells::new(HINT_ENTRY),
            allows: Cells::new(HINT_ALLOW),
        };
        let failed = |error: EnforceError| KernelError::Map {
            map: "of entries".into(),
            cause: error.to_string(),
        };
        for (net, _) in tables.blocks().map_err(failed)? {
            tables.entries.add(hints, net);
        }
        for (net, _) in tables.allowed().map_err(failed)? {
            tables.allows.add(hints, net);
        }
        Ok(tables)
    }

    pub(super) fn usage(&self) -> [(String, MapUse); 6] {
        [
            self.block4.usage(),
            self.block6.usage(),
            self.net4.usage(),
            self.net6.usage(),
            self.allow4.usage(),
            self.allow6.usage(),
        ]
    }

    fn get(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        match target {
            IpNet::V4(net) if net.prefix_len() == 32 => self.block4.get(&net.addr().octets()),
            IpNet::V6(net) if net.prefix_len() == 128 => self.block6.get(&net.addr().octets()),
            IpNet::V4(net) => self.net4.get(&key4(net)),
            IpNet::V6(net) => self.net6.get(&key6(net)),
        }
    }

    fn blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        let mut all = Vec::new();
        all.extend(
            self.block4
                .all()?
                .into_iter()
                .map(|(key, entry)| (net4(key, 32), entry)),
        );
        all.extend(
            self.block6
                .all()?
                .into_iter()
                .map(|(key, entry)| (net6(key, 128), entry)),
        );
        let nets = self.net4.all()?.into_iter();
        all.extend(nets.map(|(key, entry)| (net4(key.data(), key.prefix_len()), entry)));
        let nets = self.net6.all()?.into_iter();
        all.extend(nets.map(|(key, entry)| (net6(key.data(), key.prefix_len()), entry)));
        Ok(all)
    }

    fn allowed(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        let mut all = Vec::new();
        let nets = self.allow4.all()?.into_iter();
        all.extend(nets.map(|(key, entry)| (net4(key.data(), key.prefix_len()), entry)));
        let nets = self.allow6.all()?.into_iter();
        all.extend(nets.map(|(key, entry)| (net6(key.data(), key.prefix_len()), entry)));
        Ok(all)
    }
}

/// The kernel's block and allow maps, live.
#[derive(Clone)]
pub struct BlockMaps {
    shared: Arc<Shared>,
    attached: AttachedList,
}

impl BlockMaps {
    pub(in crate::kernel) fn new(shared: Arc<Shared>, attached: AttachedList) -> Self {
        Self { shared, attached }
    }

    /// Whether packets from everywhere in `target` are led to what is listed for it.
    fn hinted(&self, target: IpNet, bit: u32) -> bool {
        self.shared.hints.has(&self.shared.hints.stretch(target), bit)
    }
}

/// The entries of exact addresses of a family, in its index and its cells. Where they were made anew in another size they
/// are filled from the old ones, which the old programs go on reading.
fn exact<const N: usize>(
    ebpf: &mut Ebpf,
    names: [&'static str; 2],
    capacity: u32,
    seed: u64,
    takeover: Option<&mut Takeover>,
) -> Result<Table<ExactEntries<N>>, KernelError> {
    let [name, _] = names;
    let failed = |source| KernelError::System {
        call: format!("mapping {name}"),
        source,
    };
    let mut array = |name| ebpf.take_map(name).and_then(hints::array).ok_or_else(|| missing(name));
    let maps = [array(names[0])?, array(names[1])?];
    let mut entries = ExactEntries::new(maps, buckets(capacity), seed).map_err(failed)?;
    let shrunk = |old| KernelError::Shrunk {
        map: name.to_owned(),
        old: room(old),
        wanted: capacity,
    };
    let outgrown = takeover.map(|takeover| names.map(|name| takeover.outgrown(name)));
    if let Some([Some(index), Some(cells)]) = outgrown {
        let size = index.elements;
        let old = ExactEntries::new([index.map, cells.map], size, seed).map_err(failed)?;
        let moved = entries.adopt(&old, capacity).map_err(|error| match errno(&error) {
            Some(libc::ENOSPC) => shrunk(size),
            _ => KernelError::map(name, &error),
        })?;
        tracing::info!(
            map = name,
            entries = moved,
            to = capacity,
            "capacity changed, entries kept"
        );
    }
    let table = Table::new(entries, name, capacity)?;
    if table.used() > u64::from(capacity) {
        return Err(shrunk(buckets(capacity)));
    }
    Ok(table)
}

fn settings(error: &KernelError) -> EnforceError {
    EnforceError::Kernel {
        map: n::MAP_SETTINGS,
        cause: error.to_string(),
    }
}

/// The new order, with what the kernel noted on the old one.
fn merged(new: BlockEntry, target: IpNet, old: Option<BlockEntry>) -> BlockEntry {
    BlockEntry {
        prefix_len: target.prefix_len(),
        ..old.map_or_else(|| new.fresh(), |old| new.over(&old))
    }
}

impl Enforcer for BlockMaps {
    /// Counters of an entry that is there are read, then written with it: packets it meets in between
    /// (microseconds) go uncounted in the entry, not in the totals.
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        let merge = |old| merged(*entry, target, old);
        let mut guard = self.shared.tables();
        let tables = &mut *guard;
        let fresh = match target {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.put(&net.addr().octets(), merge),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.put(&net.addr().octets(), merge),
            IpNet::V4(net) => tables.net4.put(&key4(net), merge),
            IpNet::V6(net) => tables.net6.put(&key6(net), merge),
        }?;
        if fresh {
            tables.entries.add(&self.shared.hints, target);
        } else {
            self.shared.hints.set(&self.shared.hints.stretch(target), HINT_ENTRY);
        }
        self.shared.hints.changed();
        Ok(())
    }

    /// An entry that packets are not led to is not in force, and is not found.
    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let target = canonical(target);
        let entry = self.shared.tables().get(target)?;
        Ok(entry.filter(|_| self.hinted(target, HINT_ENTRY)))
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let target = canonical(target);
        let mut guard = self.shared.tables();
        let tables = &mut *guard;
        let old = match target {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.delete(&net.addr().octets()),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.delete(&net.addr().octets()),
            IpNet::V4(net) => tables.net4.delete(&key4(net)),
            IpNet::V6(net) => tables.net6.delete(&key6(net)),
        }?;
        if old.is_some() {
            tables.entries.remove(&self.shared.hints, target);
        }
        Ok(old)
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        let mut all = self.shared.tables().blocks()?;
        all.retain(|(target, _)| self.hinted(*target, HINT_ENTRY));
        Ok(all)
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        let merge = |_| AllowEntry {
            prefix_len: target.prefix_len(),
            ..*entry
        };
        let mut guard = self.shared.tables();
        let tables = &mut *guard;
        let fresh = match target {
            IpNet::V4(net) => tables.allow4.put(&key4(net), merge),
            IpNet::V6(net) => tables.allow6.put(&key6(net), merge),
        }?;
        if fresh {
            tables.allows.add(&self.shared.hints, target);
        } else {
            self.shared.hints.set(&self.shared.hints.stretch(target), HINT_ALLOW);
        }
        self.shared.hints.changed();
        Ok(())
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        let target = canonical(target);
        let mut guard = self.shared.tables();
        let tables = &mut *guard;
        let old = match target {
            IpNet::V4(net) => tables.allow4.delete(&key4(net))?,
            IpNet::V6(net) => tables.allow6.delete(&key6(net))?,
        };
        if old.is_some() {
            tables.allows.remove(&self.shared.hints, target);
        }
        Ok(old.is_some())
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        let mut all = self.shared.tables().allowed()?;
        all.retain(|(target, _)| self.hinted(*target, HINT_ALLOW));
        Ok(all)
    }

    /// A bit of the settings, which every packet that meets an entry, a list or a limit asks for.
    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        let change = |settings: &mut Settings| {
            settings.flags = if on {
                settings.flags | SETTING_ENFORCE
            } else {
                settings.flags & !SETTING_ENFORCE
            };
        };
        self.shared.settings.change(change).map_err(|error| settings(&error))
    }

    fn acting(&self) -> Result<bool, EnforceError> {
        let found = self.shared.settings.get().map_err(|error| settings(&error))?;
        Ok(found.flags & SETTING_ENFORCE != 0)
    }

    fn room(&self, target: IpNet) -> Option<(&'static str, u64)> {
        let tables = self.shared.tables();
        Some(match target {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.room(),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.room(),
            IpNet::V4(_) => tables.net4.room(),
            IpNet::V6(_) => tables.net6.room(),
        })
    }

    fn shortfall(&self, target: IpNet, entry: &BlockEntry) -> Option<String> {
        if entry.flags & FLAG_SHADOW != 0 {
            return None;
        }
        let bare = bare(&self.attached);
        if !bare.is_empty() {
            return Some(format!(
                "its packets pass on {bare}, where our program cannot be attached"
            ));
        }
        let reach = self.shared.reach.lock().unwrap_or_else(PoisonError::into_inner);
        if entry.action != ACTION_REDIRECT {
            let wanted = entry.flags & FLAG_EGRESS != 0;
            if wanted && !reach.egress {
                return Some("what goes out to it passes, because of `kernel.egress: false`".to_owned());
            }
            let unseen = unseen(&self.attached);
            return (wanted && !unseen.is_empty()).then(|| {
                format!("what goes out to it by {unseen} passes, because our program cannot be attached there")
            });
        }
        let (there, key) = match target {
            IpNet::V4(_) => (reach.honeypot4, "v4"),
            IpNet::V6(_) => (reach.honeypot6, "v6"),
        };
        if let Some(cause) = &reach.refused {
            return Some(format!(
                "its packets are dropped, because the honeypot cannot be reached: {cause}"
            ));
        }
        if !there {
            return Some(format!(
                "its packets are dropped, because `response.honeypot.{key}` names none"
            ));
        }
        let hook = mode(&self.attached).contains("tc");
        hook.then(|| "its packets are dropped where tc is the hook, which cannot redirect".to_owned())
    }

    fn name(&self) -> String {
        format!("xdp ({})", mode(&self.attached))
    }
}
