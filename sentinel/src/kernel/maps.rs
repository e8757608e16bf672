//! The block and allow maps, typed. This is their only writer, so it also knows how full they are.

use super::attach::{AttachedList, mode};
use super::error::{KernelError, chain, errno};
use super::load::take;
use crate::config::KernelConfig;
use crate::respond::{EnforceError, Enforcer};
use crate::types::{MapUse, canonical};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use aya::{Ebpf, Pod};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sentinel_common::entry::{AllowEntry, BlockEntry};
use sentinel_common::names as n;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Pairs<K, V> = Vec<(K, V)>;

/// A kernel map that fails loudly when it is full.
trait Store {
    type Key: Pod;
    type Value: Pod;
    fn get(&self, key: &Self::Key) -> Result<Option<Self::Value>, MapError>;
    fn set(&mut self, key: &Self::Key, value: &Self::Value) -> Result<(), MapError>;
    fn unset(&mut self, key: &Self::Key) -> Result<(), MapError>;
    fn all(&self) -> Result<Pairs<Self::Key, Self::Value>, MapError>;
}

impl<K: Pod, V: Pod> Store for HashMap<MapData, K, V> {
    type Key = K;
    type Value = V;

    fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        found(Self::get(self, key, 0))
    }

    fn set(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn unset(&mut self, key: &K) -> Result<(), MapError> {
        self.remove(key)
    }

    fn all(&self) -> Result<Pairs<K, V>, MapError> {
        self.iter().collect()
    }
}

/// An entry that knows the prefix it stands for.
trait Prefixed: Pod {
    fn prefix_len(&self) -> u8;
}

impl Prefixed for BlockEntry {
    fn prefix_len(&self) -> u8 {
        self.prefix_len
    }
}

impl Prefixed for AllowEntry {
    fn prefix_len(&self) -> u8 {
        self.prefix_len
    }
}

impl<K: Pod, V: Prefixed> Store for LpmTrie<MapData, K, V> {
    type Key = Key<K>;
    type Value = V;

    /// A trie answers with the longest prefix that covers the key; only the very same prefix counts here.
    fn get(&self, key: &Key<K>) -> Result<Option<V>, MapError> {
        let entry = found(Self::get(self, key, 0))?;
        Ok(entry.filter(|entry| u32::from(entry.prefix_len()) == key.prefix_len()))
    }

    fn set(&mut self, key: &Key<K>, value: &V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn unset(&mut self, key: &Key<K>) -> Result<(), MapError> {
        self.remove(key)
    }

    fn all(&self) -> Result<Pairs<Key<K>, V>, MapError> {
        self.iter().collect()
    }
}

fn found<V>(answer: Result<V, MapError>) -> Result<Option<V>, MapError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A map, its name, its capacity and how much of it is used.
struct Table<M> {
    map: M,
    name: &'static str,
    capacity: u32,
    used: u64,
}

impl<M: Store> Table<M> {
    fn failed(&self, error: &MapError) -> EnforceError {
        match errno(error) {
            Some(libc::E2BIG | libc::ENOSPC) => self.full(),
            _ => EnforceError::Kernel {
                map: self.name,
                cause: chain(error),
            },
        }
    }

    const fn full(&self) -> EnforceError {
        EnforceError::Full {
            map: self.name,
            capacity: self.capacity,
        }
    }

    fn get(&self, key: &M::Key) -> Result<Option<M::Value>, EnforceError> {
        self.map.get(key).map_err(|error| self.failed(&error))
    }

    /// Writes what `merge` makes of the value that is there.
    fn put(&mut self, key: &M::Key, merge: impl FnOnce(Option<M::Value>) -> M::Value) -> Result<(), EnforceError> {
        let old = self.get(key)?;
        let fresh = old.is_none();
        // The kernel's maps of prefixes hold one more, for renewals.
        if fresh && self.used >= u64::from(self.capacity) {
            return Err(self.full());
        }
        let value = merge(old);
        self.map.set(key, &value).map_err(|error| self.failed(&error))?;
        self.used += u64::from(fresh);
        Ok(())
    }

    fn delete(&mut self, key: &M::Key) -> Result<Option<M::Value>, EnforceError> {
        let Some(old) = self.get(key)? else { return Ok(None) };
        match self.map.unset(key) {
            Ok(()) => {}
            Err(error) if errno(&error) == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        }
        self.used = self.used.saturating_sub(1);
        Ok(Some(old))
    }

    fn all(&self) -> Result<Pairs<M::Key, M::Value>, EnforceError> {
        self.map.all().map_err(|error| self.failed(&error))
    }

    fn usage(&self) -> (String, MapUse) {
        let usage = MapUse {
            entries: self.used,
            capacity: u64::from(self.capacity),
        };
        (self.name.to_owned(), usage)
    }
}

type Octets4 = [u8; 4];
type Octets16 = [u8; 16];

struct Tables {
    block4: Table<HashMap<MapData, Octets4, BlockEntry>>,
    block6: Table<HashMap<MapData, Octets16, BlockEntry>>,
    net4: Table<LpmTrie<MapData, Octets4, BlockEntry>>,
    net6: Table<LpmTrie<MapData, Octets16, BlockEntry>>,
    allow4: Table<LpmTrie<MapData, Octets4, AllowEntry>>,
    allow6: Table<LpmTrie<MapData, Octets16, AllowEntry>>,
}

/// The maps all handles share, and what is known of the flow map.
pub(super) struct Shared {
    tables: Mutex<Tables>,
    /// Flow slots in use on the latest whole pass of the sweep.
    pub(super) flows: AtomicU64,
    flow_capacity: u32,
}

impl Shared {
    pub(super) fn new(ebpf: &mut Ebpf, config: &KernelConfig, flow_slots: u32) -> Result<Self, KernelError> {
        let (exact, nets) = (config.block_capacity, config.block_net_capacity);
        let tables = Tables {
            block4: table(ebpf, n::MAP_BLOCK4, exact)?,
            block6: table(ebpf, n::MAP_BLOCK6, exact)?,
            net4: table(ebpf, n::MAP_BLOCK_NET4, nets)?,
            net6: table(ebpf, n::MAP_BLOCK_NET6, nets)?,
            allow4: table(ebpf, n::MAP_ALLOW4, n::ALLOW_CAPACITY)?,
            allow6: table(ebpf, n::MAP_ALLOW6, n::ALLOW_CAPACITY)?,
        };
        Ok(Self {
            tables: Mutex::new(tables),
            flows: AtomicU64::new(0),
            flow_capacity: flow_slots,
        })
    }

    /// The maps. A panic elsewhere while they were held leaves them as the kernel has them, which is whole.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full each map is; the flow map as of the latest sweep.
    pub(super) fn usage(&self) -> BTreeMap<String, MapUse> {
        let tables = self.tables();
        let flows = MapUse {
            entries: self.flows.load(Ordering::Relaxed),
            capacity: u64::from(self.flow_capacity),
        };
        BTreeMap::from([
            tables.block4.usage(),
            tables.block6.usage(),
            tables.net4.usage(),
            tables.net6.usage(),
            tables.allow4.usage(),
            tables.allow6.usage(),
            (n::MAP_FLOWS.to_owned(), flows),
        ])
    }
}

fn table<M: Store + TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
    capacity: u32,
) -> Result<Table<M>, KernelError> {
    Ok(Table {
        map: take(ebpf, name)?,
        name,
        capacity,
        used: 0,
    })
}

/// The kernel's block and allow maps, live.
#[derive(Clone)]
pub struct BlockMaps {
    shared: Arc<Shared>,
    attached: AttachedList,
}

impl BlockMaps {
    pub(super) fn new(shared: Arc<Shared>, attached: AttachedList) -> Self {
        Self { shared, attached }
    }
}

/// The new order, with the counters of the old one where the decision is the same.
fn merged(new: BlockEntry, target: IpNet, old: Option<BlockEntry>) -> BlockEntry {
    let old = old.filter(|old| old.decision == new.decision).unwrap_or_default();
    BlockEntry {
        prefix_len: target.prefix_len(),
        hits: old.hits,
        hit_bytes: old.hit_bytes,
        would_hits: old.would_hits,
        would_bytes: old.would_bytes,
        first_hit_ns: old.first_hit_ns,
        last_hit_ns: old.last_hit_ns,
        ..new
    }
}

fn key4(net: Ipv4Net) -> Key<Octets4> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

fn key6(net: Ipv6Net) -> Key<Octets16> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

fn net4(address: Octets4, len: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), len.min(32) as u8))
}

fn net6(address: Octets16, len: u32) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), len.min(128) as u8))
}

impl Enforcer for BlockMaps {
    /// Counters of an entry that is there are read, then written with it: packets it meets in between
    /// (microseconds) go uncounted in the entry, not in the totals.
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        let merge = |old| merged(*entry, target, old);
        let mut tables = self.shared.tables();
        match target {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.put(&net.addr().octets(), merge),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.put(&net.addr().octets(), merge),
            IpNet::V4(net) => tables.net4.put(&key4(net), merge),
            IpNet::V6(net) => tables.net6.put(&key6(net), merge),
        }
    }

    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let tables = self.shared.tables();
        match canonical(target) {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.get(&net.addr().octets()),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.get(&net.addr().octets()),
            IpNet::V4(net) => tables.net4.get(&key4(net)),
            IpNet::V6(net) => tables.net6.get(&key6(net)),
        }
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        let mut tables = self.shared.tables();
        match canonical(target) {
            IpNet::V4(net) if net.prefix_len() == 32 => tables.block4.delete(&net.addr().octets()),
            IpNet::V6(net) if net.prefix_len() == 128 => tables.block6.delete(&net.addr().octets()),
            IpNet::V4(net) => tables.net4.delete(&key4(net)),
            IpNet::V6(net) => tables.net6.delete(&key6(net)),
        }
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        let tables = self.shared.tables();
        let mut all = Vec::new();
        all.extend(
            tables
                .block4
                .all()?
                .into_iter()
                .map(|(key, entry)| (net4(key, 32), entry)),
        );
        all.extend(
            tables
                .block6
                .all()?
                .into_iter()
                .map(|(key, entry)| (net6(key, 128), entry)),
        );
        all.extend(
            tables
                .net4
                .all()?
                .into_iter()
                .map(|(key, entry)| (net4(key.data(), key.prefix_len()), entry)),
        );
        all.extend(
            tables
                .net6
                .all()?
                .into_iter()
                .map(|(key, entry)| (net6(key.data(), key.prefix_len()), entry)),
        );
        Ok(all)
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        let target = canonical(target);
        let merge = |_| AllowEntry {
            prefix_len: target.prefix_len(),
            ..*entry
        };
        let mut tables = self.shared.tables();
        match target {
            IpNet::V4(net) => tables.allow4.put(&key4(net), merge),
            IpNet::V6(net) => tables.allow6.put(&key6(net), merge),
        }
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        let mut tables = self.shared.tables();
        let old = match canonical(target) {
            IpNet::V4(net) => tables.allow4.delete(&key4(net))?,
            IpNet::V6(net) => tables.allow6.delete(&key6(net))?,
        };
        Ok(old.is_some())
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        let tables = self.shared.tables();
        let mut all = Vec::new();
        all.extend(
            tables
                .allow4
                .all()?
                .into_iter()
                .map(|(key, entry)| (net4(key.data(), key.prefix_len()), entry)),
        );
        all.extend(
            tables
                .allow6
                .all()?
                .into_iter()
                .map(|(key, entry)| (net6(key.data(), key.prefix_len()), entry)),
        );
        Ok(all)
    }

    fn name(&self) -> String {
        format!("xdp ({})", mode(&self.attached))
    }
}
