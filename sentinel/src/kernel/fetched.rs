//! What the sweep told of and the kernel did not yet: by slot and filling.
//!
//! A flood of forged flows fills it to as many as there are slots. The entries lie beside each other, and what is hashed is
//! their place: a table of the entries themselves has room for twice as many as are in it, 48 MiB with the default flow table.

use crate::types::Ktime;
use sentinel_common::flow::{FlowKey, Half};
use slab::Slab;
use std::collections::HashMap;

/// A slot, and which filling of it.
pub(super) type Filling = (u32, u16);

/// What was fetched of a filling of a slot.
pub(super) struct Fetched {
    pub(super) key: FlowKey,
    pub(super) counts: Half,
    /// When the slot was first seen to have moved on.
    pub(super) moved: Option<Ktime>,
}

/// All of it.
#[derive(Default)]
pub(super) struct Outstanding {
    places: HashMap<Filling, u32>,
    entries: Slab<Fetched>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, filling: Filling) -> Option<&Fetched> {
        self.entries.get(*self.places.get(&filling)? as usize)
    }

    /// In the place of what was fetched of the same filling before.
    pub(super) fn insert(&mut self, filling: Filling, fetched: Fetched) {
        self.remove(filling);
        let place = self.entries.insert(fetched);
        self.places.insert(filling, place as u32);
    }

    pub(super) fn remove(&mut self, filling: Filling) -> Option<Fetched> {
        let place = self.places.remove(&filling)?;
        self.entries.try_remove(place as usize)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(Filling, &mut Fetched) -> bool) {
        let entries = &mut self.entries;
        self.places.retain(|filling, place| {
            let place = *place as usize;
            let kept = entries.get_mut(place).is_some_and(|fetched| keep(*filling, fetched));
            if !kept {
                entries.try_remove(place);
            }
            kept
        });
        // After a flood. What is left lies anywhere among what is free, so it moves together.
        if self.entries.len() < self.entries.capacity() / 4 {
            let mut left = Slab::with_capacity(self.entries.len());
            for place in self.places.values_mut() {
                if let Some(fetched) = self.entries.try_remove(*place as usize) {
                    *place = left.insert(fetched) as u32;
                }
            }
            self.entries = left;
            self.places.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(port: u16) -> Fetched {
        Fetched {
            key: FlowKey {
                remote_port: port,
                ..FlowKey::default()
            },
            counts: Half::default(),
            moved: None,
        }
    }

    fn port(outstanding: &Outstanding, filling: Filling) -> Option<u16> {
        outstanding.get(filling).map(|fetched| fetched.key.remote_port)
    }

    #[test]
    fn each_filling_has_its_own() {
        let mut all = Outstanding::default();
        all.insert((7, 1), fetched(71));
        all.insert((7, 2), fetched(72));
        all.insert((8, 1), fetched(81));
        all.insert((7, 2), fetched(720));
        assert_eq!(all.len(), 3, "the same filling is there once");
        assert_eq!(port(&all, (7, 2)), Some(720));
        assert_eq!(all.remove((7, 1)).map(|f| f.key.remote_port), Some(71));
        assert!(all.remove((7, 1)).is_none() && port(&all, (7, 1)).is_none());
        all.insert((9, 1), fetched(91));
        assert_eq!(
            [(7, 2), (8, 1), (9, 1)].map(|filling| port(&all, filling)),
            [Some(720), Some(81), Some(91)]
        );
    }

    #[test]
    fn what_is_let_go_of_is_gone_and_its_room_with_it() {
        let mut all = Outstanding::default();
        for slot in 0..100_000 {
            all.insert((slot, 0), fetched(slot as u16));
        }
        let full = all.entries.capacity();
        all.retain(|(slot, _), fetched| {
            assert_eq!(fetched.key.remote_port, slot as u16);
            slot % 10_000 == 9_999
        });
        let left: Vec<u32> = (0..10).map(|n| n * 10_000 + 9_999).collect();
        assert_eq!((all.len(), all.places.len()), (10, 10));
        assert!(left.iter().all(|slot| port(&all, (*slot, 0)) == Some(*slot as u16)));
        assert!(
            all.entries.capacity() < full / 100,
            "{} of {full}",
            all.entries.capacity()
        );
        all.insert((1, 1), fetched(11));
        assert_eq!((all.len(), port(&all, (1, 1))), (11, Some(11)));
    }

    #[test]
    fn as_many_as_there_are_slots_take_what_the_page_says() {
        let slots = 1_u32 << 17;
        let mut all = Outstanding::default();
        for slot in 0..slots {
            all.insert((slot, 0), fetched(0));
        }
        // A slab's entry is either one of ours or the next that is free; a hash table has room for 8 of 7, and a byte for each.
        let entries = all.entries.capacity() * size_of::<Option<Fetched>>();
        let places = all.places.capacity() * 8 / 7 * (size_of::<(Filling, u32)>() + 1);
        assert!(entries + places <= 26 << 20, "{entries} and {places} bytes");
    }
}
