//! A kernel map that fails loudly when it is full, its capacity, and how much of it is used.

use crate::kernel::error::{KernelError, chain, errno};
use crate::kernel::load::take;
use crate::respond::EnforceError;
use crate::types::MapUse;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use aya::{Ebpf, Pod};
use sentinel_common::entry::{AllowEntry, BlockEntry};
use sentinel_common::list::NetSlot;

/// `BPF_NOEXIST`: create, do not replace.
pub(super) const NO_EXIST: u64 = 1;

pub(super) type Pairs<K, V> = Vec<(K, V)>;

/// A kernel map that fails loudly when it is full.
pub(super) trait Store {
    type Key: Pod;
    type Value: Pod;
    /// Whether [`NO_EXIST`] is heeded. Tries took it and replaced all the same, up to Linux 6.12 (and its predecessors
    /// without the fix of `trie_update_elem` of December 2024).
    const EXCLUSIVE: bool;
    fn get(&self, key: &Self::Key) -> Result<Option<Self::Value>, MapError>;
    fn set(&mut self, key: &Self::Key, value: &Self::Value, flags: u64) -> Result<(), MapError>;
    fn unset(&mut self, key: &Self::Key) -> Result<(), MapError>;
    fn all(&self) -> Result<Pairs<Self::Key, Self::Value>, MapError>;
}

/// An entry that knows the prefix it stands for.
pub(super) trait Prefixed: Pod {
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

impl Prefixed for NetSlot {
    fn prefix_len(&self) -> u8 {
        self.prefix_len as u8
    }
}

impl<K: Pod, V: Prefixed> Store for LpmTrie<MapData, K, V> {
    type Key = Key<K>;
    type Value = V;
    const EXCLUSIVE: bool = false;

    /// A trie answers with the longest prefix that covers the key; only the very same prefix counts here.
    fn get(&self, key: &Key<K>) -> Result<Option<V>, MapError> {
        let entry = found(Self::get(self, key, 0))?;
        Ok(entry.filter(|entry| u32::from(entry.prefix_len()) == key.prefix_len()))
    }

    fn set(&mut self, key: &Key<K>, value: &V, flags: u64) -> Result<(), MapError> {
        self.insert(key, value, flags)
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
pub(super) struct Table<M> {
    map: M,
    pub(super) name: &'static str,
    pub(super) capacity: u32,
    used: u64,
}

impl<M: Store> Table<M> {
    /// A map that an earlier agent pinned already holds some.
    pub(super) fn new(map: M, name: &'static str, capacity: u32) -> Result<Self, KernelError> {
        let all = map.all().map_err(|error| KernelError::map(name, &error))?;
        Ok(Self {
            map,
            name,
            capacity,
            used: all.len() as u64,
        })
    }

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

    pub(super) fn get(&self, key: &M::Key) -> Result<Option<M::Value>, EnforceError> {
        self.map.get(key).map_err(|error| self.failed(&error))
    }

    /// Writes what `merge` makes of the value that is there; says whether there was none.
    pub(super) fn put(
        &mut self,
        key: &M::Key,
        merge: impl Fn(Option<M::Value>) -> M::Value,
    ) -> Result<bool, EnforceError> {
        let absent = M::EXCLUSIVE || self.get(key)?.is_none();
        // The kernel's maps of prefixes hold one more, for renewals.
        if absent && self.used < u64::from(self.capacity) {
            match self.map.set(key, &merge(None), NO_EXIST) {
                Ok(()) => {
                    self.used += 1;
                    return Ok(true);
                }
                Err(error) if errno(&error) == Some(libc::EEXIST) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let Some(old) = self.get(key)? else {
            return Err(self.full());
        };
        self.map
            .set(key, &merge(Some(old)), 0)
            .map_err(|error| self.failed(&error))?;
        Ok(false)
    }

    pub(super) fn delete(&mut self, key: &M::Key) -> Result<Option<M::Value>, EnforceError> {
        let Some(old) = self.get(key)? else { return Ok(None) };
        match self.map.unset(key) {
            Ok(()) => {}
            Err(error) if errno(&error) == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        }
        self.used = self.used.saturating_sub(1);
        Ok(Some(old))
    }

    pub(super) fn all(&self) -> Result<Pairs<M::Key, M::Value>, EnforceError> {
        self.map.all().map_err(|error| self.failed(&error))
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Its name, and how many more it can hold.
    pub(super) fn room(&self) -> (&'static str, u64) {
        (self.name, u64::from(self.capacity).saturating_sub(self.used))
    }

    pub(super) fn usage(&self) -> (String, MapUse) {
        let usage = MapUse {
            entries: self.used,
            capacity: u64::from(self.capacity),
        };
        (self.name.to_owned(), usage)
    }
}

pub(super) fn table<M: Store + TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
    capacity: u32,
) -> Result<Table<M>, KernelError> {
    Table::new(take(ebpf, name)?, name, capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentinel_common::entry::NEVER_NS;
    use std::collections::BTreeMap;

    /// A trie as kernels had it before they heeded [`NO_EXIST`].
    #[derive(Default)]
    struct OldTrie(BTreeMap<u32, BlockEntry>);

    impl Store for OldTrie {
        type Key = u32;
        type Value = BlockEntry;
        const EXCLUSIVE: bool = <LpmTrie<MapData, [u8; 4], BlockEntry> as Store>::EXCLUSIVE;

        fn get(&self, key: &u32) -> Result<Option<BlockEntry>, MapError> {
            Ok(self.0.get(key).copied())
        }

        fn set(&mut self, key: &u32, value: &BlockEntry, _flags: u64) -> Result<(), MapError> {
            self.0.insert(*key, *value);
            Ok(())
        }

        fn unset(&mut self, key: &u32) -> Result<(), MapError> {
            self.0.remove(key);
            Ok(())
        }

        fn all(&self) -> Result<Pairs<u32, BlockEntry>, MapError> {
            Ok(self.0.iter().map(|(key, entry)| (*key, *entry)).collect())
        }
    }

    #[test]
    fn a_prefix_renewed_where_tries_heed_no_flags_stays_one_prefix_with_its_counters() {
        let mut table = Table {
            map: OldTrie::default(),
            name: "BLOCK_NET4",
            capacity: 2,
            used: 0,
        };
        let order = BlockEntry {
            expires_ns: NEVER_NS,
            ..BlockEntry::default()
        };
        let merge = |old: Option<BlockEntry>| old.map_or(order, |old| order.over(&old));
        assert!(table.put(&1, merge).unwrap(), "new");
        table.map.0.get_mut(&1).unwrap().hits = 7;
        for _ in 0..3 {
            assert!(!table.put(&1, merge).unwrap(), "there already");
        }
        assert_eq!(table.get(&1).unwrap().unwrap().hits, 7);
        assert_eq!(table.usage().1.entries, 1);
        assert!(table.put(&2, merge).unwrap(), "there is room for another");
        assert!(matches!(table.put(&3, merge), Err(EnforceError::Full { .. })));
        assert!(!table.put(&1, merge).unwrap(), "a full one still renews");
    }
}
