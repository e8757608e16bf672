//! The table of exact addresses with an entry of their own: an index of buckets, and the cells it points to.
//!
//! A bucket has four slots, each one word: a tag and the number of a cell. An address has two buckets and lies in the
//! first where there is room, so that finding it mostly takes one line of memory and its cell another. A slot is written
//! by one store, its cell before it, and a cell that was freed is not used again before every packet that may have seen
//! it is through: what is replaced is replaced as a whole. There are at least four slots for an entry, so
//! that both buckets are hardly ever full; where they are the agent moves one of theirs to its other bucket (cuckoo
//! hashing; Pagh and Rodler 2004, with buckets of four as Dietzfelbinger and Weidling 2007 have it): a table is full when
//! it holds its capacity and no sooner.

use crate::addr::Addr;
use crate::entry::BlockEntry;
use crate::hash::Keys;

/// Slots of a bucket.
pub const WAYS: usize = 4;
/// Cells beyond the capacity, for entries that are being replaced.
pub const SPARE: u32 = 64;
/// The largest capacity.
pub const MOST: u32 = 1 << 24;
/// Buckets of the smallest table: below, two full buckets would not be rare enough.
const LEAST: u32 = 64;

/// Four slots of [`slot`]; 0 is a free one. 32 bytes.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// In no order.
    pub slots: [u64; WAYS],
}

/// An entry and whose it is. 192 bytes, of which a dropped packet touches the first 64.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The address.
    pub key: Addr,
    /// The entry.
    pub entry: BlockEntry,
    /// Zero.
    pub pad: [u64; 6],
}

/// Buckets of a table for that many entries, [`MOST`] of them; a power of two.
pub const fn buckets(capacity: u32) -> u32 {
    let wanted = capacity.next_power_of_two();
    if wanted < LEAST { LEAST } else { wanted }
}

/// Entries there is room for in a table of that many buckets; the capacity asked for may be less.
pub const fn room(buckets: u32) -> u32 {
    buckets
}

/// Cells of it. The first is never used: its number is that of no cell.
pub const fn cells(buckets: u32) -> u32 {
    1 + room(buckets) + SPARE
}

/// A slot's word.
#[inline(always)]
pub const fn slot(tag: u32, cell: u32) -> u64 {
    (tag as u64) << 32 | cell as u64
}

/// The tag in it.
#[inline(always)]
pub const fn tag(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// The cell in it; 0 for none.
#[inline(always)]
pub const fn cell(slot: u64) -> u32 {
    slot as u32
}

/// Where an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of its first bucket, before the mask.
    pub one: u32,
    /// Of its other bucket.
    pub two: u32,
    /// What tells it from others there: no two of a bucket share it.
    pub tag: u32,
}

impl Place {
    /// That of an IPv4 address as it stands in memory. The tag is the address itself.
    #[inline(always)]
    pub const fn v4(keys: &Keys, address: u32) -> Self {
        Self::v4_wide(keys, address as u64)
    }

    /// The same, where it stands in a register as wide as they are.
    #[inline(always)]
    pub const fn v4_wide(keys: &Keys, address: u64) -> Self {
        Self::new(keys, address.wrapping_add(keys.words[2]), address as u32)
    }

    /// That of an IPv6 address by halves as they stand in memory. Addresses may share a tag: the cell says whose it is.
    #[inline(always)]
    pub const fn v6(keys: &Keys, [high, low]: [u64; 2]) -> Self {
        let sum = high.wrapping_add(keys.words[2]).wrapping_mul(keys.words[4] | 1);
        let sum = (sum ^ sum >> 32).wrapping_add(low).wrapping_mul(keys.words[0] | 1);
        Self::new(keys, sum ^ sum >> 32, (sum >> 32) as u32)
    }

    /// Two rounds of multiply and fold, with secret factors (multiply-shift; Dietzfelbinger et al. 1997).
    #[inline(always)]
    const fn new(keys: &Keys, value: u64, tag: u32) -> Self {
        let hash = value.wrapping_mul(keys.words[1] | 1);
        let hash = (hash ^ hash >> 32).wrapping_mul(keys.words[3] | 1);
        Self {
            one: (hash >> 32) as u32,
            two: (hash >> 12) as u32,
            tag,
        }
    }
}

const _: () = {
    assert!(size_of::<Bucket>() == 32);
    assert!(size_of::<Cell>() == 192);
    assert!(core::mem::offset_of!(Cell, entry) + core::mem::offset_of!(BlockEntry, decision) == 64);
};

crate::pod!(Bucket, Cell);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_table_is_at_most_a_quarter_full_and_never_tiny() {
        for capacity in [1, 16, 127, 128, 129, 131_072, 1_000_000] {
            let slots = buckets(capacity) as usize * WAYS;
            assert!(slots >= 4 * capacity as usize, "{capacity}");
            assert!(buckets(capacity).is_power_of_two());
            assert!(room(buckets(capacity)) >= capacity && cells(buckets(capacity)) > capacity + 1);
        }
        assert_eq!(buckets(1), LEAST);
    }

    #[test]
    fn a_word_carries_both_parts() {
        let word = slot(0xdead_beef, 7);
        assert_eq!((tag(word), cell(word)), (0xdead_beef, 7));
        assert_eq!(cell(0), 0);
    }

    /// How full buckets get when neighbours are listed, as scanners' networks have them.
    #[test]
    fn neighbours_spread_over_both_buckets() {
        let keys = Keys::new(0x1234_5678_9abc_def1);
        let mask = buckets(1 << 15) - 1;
        let places = (0..1 << 16_u32).flat_map(|n| {
            let v4 = Place::v4(&keys, (0x0a00_0000_u32 + n).to_be());
            let high = 0x2001_0db8_0000_0000_u64.to_be();
            let low = Place::v6(&keys, [high, u64::from(n).to_be()]);
            let other = Place::v6(
                &keys,
                [(0x2001_0db8_0000_0000_u64 + u64::from(n)).to_be(), 1_u64.to_be()],
            );
            [(0, v4), (1, low), (2, other)]
        });
        let mut full = vec![[0_u32; 3]; mask as usize + 1];
        let mut both = vec![[0_u32; 3]; mask as usize + 1];
        let mut tags = HashSet::new();
        for (kind, place) in places {
            full[(place.one & mask) as usize][kind] += 1;
            both[(place.two & mask) as usize][kind] += 1;
            if kind == 1 {
                tags.insert((place.one & mask, place.tag));
            }
        }
        for kind in 0..3 {
            // Two to a bucket on average; random ones would have more than nine of them once in 20,000.
            for side in [&full, &both] {
                let crowded = side.iter().filter(|bucket| bucket[kind] > 9).count();
                assert!(crowded < 64, "{kind}: {crowded} of {}", mask + 1);
            }
        }
        assert!(tags.len() > (1 << 16) - 4, "{}", tags.len());
    }
}
