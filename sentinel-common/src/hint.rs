//! Hints: a few bits per stretch of address space that say whether anything is listed there at all.
//!
//! A packet whose hints are zero passes without another look-up. Hints say too much at worst, never too little: an
//! entry is written first and its hint last, and a hint is taken back only when nothing is left behind it. One too many
//! costs time.
//!
//! Four bits make a cell, sixteen cells a 64-bit word. IPv4 has a cell per /24. IPv6 has three, which a packet's hints
//! unite: one for the first 16 bits as they are, for prefixes shorter than /32; one for a hash of the first 32, for /32 to
//! /47; one for a hash of the first 48, for the rest. In front of each of the three regions a word says in which of its
//! 64ths there may be anything ([`part6`]): where there is nothing, no cell is looked up.

use crate::addr::Addr;

/// Bit of a cell: an allow entry.
pub const HINT_ALLOW: u32 = 1;
/// Bit of a cell: an entry of a decision, exact or prefix.
pub const HINT_ENTRY: u32 = 2;
/// Bit of a cell: an exact address of a feed's list.
pub const HINT_LIST: u32 = 4;
/// Bit of a cell: a prefix of a feed's list.
pub const HINT_LIST_NET: u32 = 8;
/// All of them.
pub const HINT_ALL: u32 = 15;

/// A number that no change has. The agent counts them from 1 on: everything that is written may concern a source for
/// which nothing was found before, what is taken away may not.
pub const NO_EPOCH: u32 = 0;
/// A number that no change has either: before it the agent begins with 1 again.
pub const NEVER_EPOCH: u32 = u32::MAX;

/// The number of the change behind the one of this number.
pub const fn next_epoch(epoch: u32) -> u32 {
    if epoch >= NEVER_EPOCH - 1 {
        NO_EPOCH + 1
    } else {
        epoch + 1
    }
}

/// Cells in a word, as a shift.
const CELLS_SHIFT: u32 = 4;
/// Bits that address the cells of each hashed region.
const HASHED_BITS: u32 = 22;
/// Cells of the IPv4 array.
pub const CELLS4: u32 = 1 << 24;
/// Cells of the region of short IPv6 prefixes, which is the first.
pub const CELLS6_SHORT: u32 = 1 << 16;
/// Cells of each hashed region.
pub const CELLS6_HASHED: u32 = 1 << HASHED_BITS;
/// Cells of the IPv6 array: the short region, that of /32s, that of /48s.
pub const CELLS6: u32 = CELLS6_SHORT + 2 * CELLS6_HASHED;
/// Words of the IPv4 array, 8 MiB.
pub const WORDS4: u32 = CELLS4 >> CELLS_SHIFT;
/// Words of the IPv6 array, 4 MiB and 32 KiB.
pub const WORDS6: u32 = CELLS6 >> CELLS_SHIFT;

/// Shortest prefix whose cell is that of its /32.
pub const MIDDLE_LEN: u8 = 32;
/// Shortest prefix whose cell is that of its /48.
pub const LONG_LEN: u8 = 48;

/// The word a cell lies in, and by how much to shift it.
#[inline(always)]
pub const fn place(cell: u32) -> (u32, u32) {
    (cell >> CELLS_SHIFT, (cell & ((1 << CELLS_SHIFT) - 1)) * 4)
}

/// The cell of an IPv4 address as a host integer.
#[inline(always)]
pub const fn cell4(address: u32) -> u32 {
    address >> 8
}

/// The cell of prefixes shorter than /32 that cover an IPv6 address; `high` is the first 64 bits as a host integer.
#[inline(always)]
pub const fn cell6_short(high: u64) -> u32 {
    (high >> 48) as u32
}

/// The cell of the /32 of an IPv6 address.
#[inline(always)]
pub const fn cell6_middle(high: u64, seed: u64) -> u32 {
    middle(scattered(high, factors(seed))[0])
}

/// The cell of the /48 of an IPv6 address.
#[inline(always)]
pub const fn cell6_long(high: u64, seed: u64) -> u32 {
    long(scattered(high, factors(seed))[1])
}

/// Regions of the IPv6 array.
pub const REGIONS6: usize = 3;

/// The factors of [`scattered`], made of a seed.
#[must_use]
pub const fn factors(seed: u64) -> [u64; 2] {
    [seed | 1, seed.rotate_left(32) | 1]
}

/// Hashes of the first 32 and the first 48 bits of an IPv6 address, whose upper bits count: multiply-shift (Dietzfelbinger
/// et al. 1997), universal for random odd factors.
#[inline(always)]
pub const fn scattered(high: u64, factors: [u64; 2]) -> [u64; 2] {
    [
        (high >> 32).wrapping_mul(factors[0]),
        (high >> 16).wrapping_mul(factors[1]),
    ]
}

/// The cell that the first of them leads to.
#[inline(always)]
pub const fn middle(hash: u64) -> u32 {
    CELLS6_SHORT + (hash >> (64 - HASHED_BITS)) as u32
}

/// The cell that the second leads to.
#[inline(always)]
pub const fn long(hash: u64) -> u32 {
    CELLS6_SHORT + CELLS6_HASHED + (hash >> (64 - HASHED_BITS)) as u32
}

/// Which region a cell of the IPv6 array lies in, and in which 64th of it: what the first bits of the address or hash
/// say that leads there ([`part`]).
#[must_use]
pub const fn part6(cell: u32) -> (usize, u32) {
    if cell < CELLS6_SHORT {
        return (0, cell / (CELLS6_SHORT / 64));
    }
    let hashed = cell - CELLS6_SHORT;
    (
        1 + (hashed / CELLS6_HASHED) as usize,
        hashed % CELLS6_HASHED / (CELLS6_HASHED / 64),
    )
}

/// The 64th of its region that an address (the first 64 bits as a host integer) or hash leads to.
#[inline(always)]
pub const fn part(leads: u64) -> u32 {
    (leads >> 58) as u32
}

/// Last four bytes of an address as a host integer: the IPv4 address of a mapped one.
#[inline(always)]
pub const fn low32(address: &Addr) -> u32 {
    u64::from_be(address.halves()[1]) as u32
}

/// First eight bytes of an address as a host integer.
#[inline(always)]
pub const fn high64(address: &Addr) -> u64 {
    u64::from_be(address.halves()[0])
}

const _: () = assert!(HINT_ALLOW | HINT_ENTRY | HINT_LIST | HINT_LIST_NET == HINT_ALL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_has_a_number_that_says_something_else() {
        for (epoch, next) in [
            (NO_EPOCH, 1),
            (1, 2),
            (NEVER_EPOCH - 2, NEVER_EPOCH - 1),
            (NEVER_EPOCH - 1, 1),
            (NEVER_EPOCH, 1),
        ] {
            assert_eq!(next_epoch(epoch), next);
        }
    }

    #[test]
    fn every_cell_has_its_own_four_bits() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(15), (0, 60));
        assert_eq!(place(16), (1, 0));
        assert_eq!(place(CELLS4 - 1), (WORDS4 - 1, 60));
        assert_eq!(place(CELLS6 - 1), (WORDS6 - 1, 60));
    }

    #[test]
    fn the_three_regions_do_not_touch() {
        for (high, seed) in [
            (0, 0),
            (u64::MAX, u64::MAX),
            (0x2001_0db8_dead_beef, 0x1234_5678_9abc_def1),
        ] {
            assert!(cell6_short(high) < CELLS6_SHORT);
            assert!((CELLS6_SHORT..CELLS6_SHORT + CELLS6_HASHED).contains(&cell6_middle(high, seed)));
            assert!((CELLS6_SHORT + CELLS6_HASHED..CELLS6).contains(&cell6_long(high, seed)));
        }
    }

    #[test]
    fn a_part_is_what_leads_there() {
        let (seed, mut high) = (0x9e37_79b9_7f4a_7c15, 0x2001_0db8_dead_beef_u64);
        for _ in 0..1000 {
            high = high.wrapping_mul(0xd134_2543_de82_ef95) + 1;
            let [second, third] = scattered(high, factors(seed));
            assert_eq!(part6(cell6_short(high)), (0, part(high)));
            assert_eq!(part6(cell6_middle(high, seed)), (1, part(second)));
            assert_eq!(part6(cell6_long(high, seed)), (2, part(third)));
        }
    }

    #[test]
    fn addresses_as_integers() {
        assert_eq!(low32(&Addr::v4([1, 2, 3, 4])), 0x0102_0304);
        let mut address = Addr::default();
        address.0[0] = 0x20;
        address.0[7] = 7;
        assert_eq!(high64(&address), 0x2000_0000_0000_0007);
    }

    #[test]
    fn hashed_cells_scatter() {
        let seed = 0x9e37_79b9_7f4a_7c15;
        let cells: std::collections::HashSet<_> = (0..4096u64)
            .map(|n| cell6_long((0x2001_0db8_0000 + n) << 16, seed))
            .collect();
        assert!(cells.len() > 4000, "{}", cells.len());
    }
}
