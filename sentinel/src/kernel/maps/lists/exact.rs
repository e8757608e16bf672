//! The table of exact addresses: buckets of four in mapped memory, shared by all lists of a family.
//!
//! Addresses are 128-bit integers with the family's bits at the top. A slot's address is written before its masks, and a
//! slot that was freed is not used again before every packet that may have seen it is through ([`super::super::grace`]).

use crate::kernel::mmap::Mapped;
use sentinel_common::list::{BUCKET_SLOTS, buckets4, buckets6, in_force};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// One of the two versions of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Even,
    Odd,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

/// The table of a family whose addresses have `N` bytes.
pub(super) struct Exact<const N: usize> {
    memory: Mapped,
    /// Buckets less one.
    mask: u32,
    seed: u64,
    pub(super) used: u64,
    pub(super) capacity: u32,
}

impl<const N: usize> Exact<N> {
    /// 32-bit words of an address.
    const KEY: usize = N / 4;
    /// 32-bit words of a slot: address, two masks, hits.
    const WORDS: usize = if N == 4 { 4 } else { 8 };
    const EVEN: usize = Self::KEY;
    const ODD: usize = Self::KEY + 1;
    const HITS: usize = Self::KEY + 2;

    /// Bytes of a table of `buckets`.
    pub(super) const fn bytes(buckets: u32) -> usize {
        buckets as usize * BUCKET_SLOTS * Self::WORDS * 4
    }

    /// Takes over a table as it is.
    pub(super) fn new(memory: Mapped, buckets: u32, seed: u64, capacity: u32) -> Self {
        let mut table = Self {
            memory,
            mask: buckets - 1,
            seed,
            used: 0,
            capacity,
        };
        table.used = (0..table.slots()).filter(|&slot| table.masks(slot) != (0, 0)).count() as u64;
        table
    }

    pub(super) const fn slots(&self) -> u32 {
        (self.mask + 1) * BUCKET_SLOTS as u32
    }

    fn slot(&self, slot: u32) -> &[AtomicU32] {
        let at = slot as usize * Self::WORDS;
        &self.memory.words32()[at..at + Self::WORDS]
    }

    /// Both masks, even first.
    pub(super) fn masks(&self, slot: u32) -> (u32, u32) {
        let words = self.slot(slot);
        (words[Self::EVEN].load(Relaxed), words[Self::ODD].load(Relaxed))
    }

    pub(super) fn has(&self, slot: u32, bit: u32, side: Side) -> bool {
        self.word(slot, side).load(Relaxed) & bit != 0
    }

    fn word(&self, slot: u32, side: Side) -> &AtomicU32 {
        &self.slot(slot)[match side {
            Side::Even => Self::EVEN,
            Side::Odd => Self::ODD,
        }]
    }

    /// Puts a slot on a list in one version, or takes it off.
    pub(super) fn mark(&self, slot: u32, bit: u32, side: Side, on: bool) {
        let word = self.word(slot, side);
        let mask = word.load(Relaxed);
        let wanted = if on { mask | bit } else { mask & !bit };
        if wanted != mask {
            word.store(wanted, Release);
        }
    }

    pub(super) fn address(&self, slot: u32) -> u128 {
        let mut octets = [0; 16];
        for (part, word) in octets.chunks_exact_mut(4).zip(&self.slot(slot)[..Self::KEY]) {
            part.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        u128::from_be_bytes(octets)
    }

    /// Packets the address met, as far as the field counts.
    pub(super) fn hits(&self, slot: u32) -> u64 {
        let words = self.slot(slot);
        let first = words[Self::HITS].load(Relaxed);
        if N == 4 {
            return u64::from(first);
        }
        let second = words[Self::HITS + 1].load(Relaxed);
        let mut octets = [0; 8];
        octets[..4].copy_from_slice(&first.to_ne_bytes());
        octets[4..].copy_from_slice(&second.to_ne_bytes());
        u64::from_ne_bytes(octets)
    }

    /// Goes on counting where a slot of another table stands.
    pub(super) fn take_hits(&self, slot: u32, from: &Self, old: u32) {
        let old = &from.slot(old)[Self::HITS..];
        for (to, from) in self.slot(slot)[Self::HITS..].iter().zip(old) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    fn key(address: u128) -> [u32; 4] {
        let octets = address.to_be_bytes();
        let word = |n: usize| u32::from_ne_bytes([octets[n], octets[n + 1], octets[n + 2], octets[n + 3]]);
        [word(0), word(4), word(8), word(12)]
    }

    fn buckets(&self, address: u128) -> (u32, u32) {
        let octets = address.to_be_bytes();
        if N == 4 {
            buckets4(Self::key(address)[0], self.seed, self.mask)
        } else {
            let (high, low) = octets.split_at(8);
            let word = |part: &[u8]| part.try_into().map_or(0, u64::from_ne_bytes);
            buckets6([word(high), word(low)], self.seed, self.mask)
        }
    }

    /// The slot of an address.
    pub(super) fn find(&self, address: u128) -> Option<u32> {
        let (one, two) = self.buckets(address);
        let key = Self::key(address);
        [one, two].into_iter().flat_map(in_bucket).find(|&slot| {
            let words = self.slot(slot);
            let same = words[..Self::KEY]
                .iter()
                .zip(key)
                .all(|(word, key)| word.load(Relaxed) == key);
            same && self.masks(slot) != (0, 0)
        })
    }

    /// A slot for an address that has none, with nothing in it but the address and the list; `None` where both of its
    /// buckets are full.
    pub(super) fn place(&mut self, address: u128, bit: u32, side: Side) -> Option<u32> {
        let (one, two) = self.buckets(address);
        let free = |bucket: u32| {
            let mut free = in_bucket(bucket).filter(|&slot| self.masks(slot) == (0, 0));
            let first = free.next();
            first.map(|slot| (slot, free.count()))
        };
        let slot = match (free(one), free(two)) {
            (Some((slot, more)), Some((_, other))) if more >= other => slot,
            (_, Some((slot, _))) | (Some((slot, _)), None) => slot,
            (None, None) => return None,
        };
        let words = self.slot(slot);
        for word in &words[Self::HITS..] {
            word.store(0, Relaxed);
        }
        for (word, key) in words[..Self::KEY].iter().zip(Self::key(address)) {
            word.store(key, Release);
        }
        self.mark(slot, bit, side, true);
        self.used += 1;
        Some(slot)
    }

    /// Makes both versions of every slot what `versions` has in force.
    pub(super) fn level(&mut self, versions: u32) {
        for slot in 0..self.slots() {
            let (even, odd) = self.masks(slot);
            if even != odd {
                let wanted = in_force(even, odd, versions);
                self.word(slot, Side::Even).store(wanted, Relaxed);
                self.word(slot, Side::Odd).store(wanted, Relaxed);
                self.used -= u64::from(wanted == 0);
            }
        }
    }

    /// Slots in use with an address on any of `lists` in either version.
    pub(super) fn members(&self, lists: u32) -> impl Iterator<Item = u32> + '_ {
        let words = self.memory.words32();
        (0..self.slots()).filter(move |&slot| {
            let at = slot as usize * Self::WORDS;
            (words[at + Self::EVEN].load(Acquire) | words[at + Self::ODD].load(Relaxed)) & lists != 0
        })
    }
}

fn in_bucket(bucket: u32) -> std::ops::Range<u32> {
    let first = bucket * BUCKET_SLOTS as u32;
    first..first + BUCKET_SLOTS as u32
}
