//! A map with a ceiling: the least recently touched entry makes room, and that is counted.

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::RawEntryMut;
use std::hash::{Hash, RandomState};

/// A hash map of at most `capacity` entries in order of last touch. Every operation is O(1).
///
/// The hasher is randomly keyed, so that senders cannot aim at one bucket; nothing here iterates in hash order.
#[derive(Debug)]
pub struct Bounded<K, V> {
    map: LinkedHashMap<K, V, RandomState>,
    capacity: usize,
    evicted: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    /// An empty map. A capacity of zero counts as one.
    pub fn new(capacity: usize) -> Self {
        Self {
            map: LinkedHashMap::with_hasher(RandomState::new()),
            capacity: capacity.max(1),
            evicted: 0,
        }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The most it holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries that had to make room since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The value, now the most recently touched.
    pub fn touch(&mut self, key: &K) -> Option<&mut V> {
        match self.map.raw_entry_mut().from_key(key) {
            RawEntryMut::Occupied(mut entry) => {
                entry.to_back();
                Some(entry.into_mut())
            }
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// The value, its age unchanged.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// The value for changing, its age unchanged.
    pub fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    /// Sets a value as the most recently touched; returns the entry that made room for it, if one had to.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.map.insert(key, value);
        if self.map.len() <= self.capacity {
            return None;
        }
        self.evicted += 1;
        self.map.pop_front()
    }

    /// The value, made if there is none; a surplus entry makes room silently but counted.
    pub fn touch_or(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.map.len() >= self.capacity && !self.map.contains_key(&key) {
            self.map.pop_front();
            self.evicted += 1;
        }
        match self.map.raw_entry_mut().from_key(&key) {
            RawEntryMut::Occupied(mut entry) => {
                entry.to_back();
                entry.into_mut()
            }
            RawEntryMut::Vacant(entry) => entry.insert(key, make()).1,
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// The least recently touched entry.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.map.front()
    }

    /// Takes the least recently touched entry out.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        self.map.pop_front()
    }

    /// Entries, least recently touched first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// Upper bound of the heap bytes of a map of `capacity` such entries, whatever they own themselves apart.
    ///
    /// A node is key, value and two links in a box of its own, of one of jemalloc's sizes (16 bytes apart up to 128, from there
    /// on four to each doubling); the table has a pointer and a control byte per slot, at most 16/7 slots per entry just
    /// after it doubled.
    pub const fn memory_bound(capacity: usize) -> usize {
        let node = size_of::<K>() + size_of::<V>() + 2 * size_of::<usize>();
        let apart = if node > 128 { node.next_power_of_two() / 8 } else { 16 };
        capacity * (node.next_multiple_of(apart) + (size_of::<usize>() + 1) * 16 / 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_touched_makes_room() {
        let mut map = Bounded::new(2);
        assert_eq!(map.insert(1, 'a'), None);
        assert_eq!(map.insert(2, 'b'), None);
        assert_eq!(map.touch(&1), Some(&mut 'a'));
        assert_eq!(map.insert(3, 'c'), Some((2, 'b')));
        *map.touch_or(4, || 'd') = 'e';
        assert_eq!(
            map.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(),
            [(3, 'c'), (4, 'e')]
        );
        assert_eq!((map.len(), map.evicted()), (2, 2));
    }
}
