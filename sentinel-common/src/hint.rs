//! Hints: a few bits per stretch of address space that say whether anything is listed there at all.
//!
//! A packet whose hints are zero passes without another look-up. Hints say too much at worst, never too little: an
//! entry is written first and its hint last, and a hint is taken back only when nothing is left behind it. One too many
//! costs time.
//!
//! Four bits make a cell, sixteen cells a 64-bit word. IPv4 has a cell per /24. IPv6 has three, which a packet's hints
//! unite: one for the first 16 bits as they are, for prefixes shorter than /32; one for a hash of the first 32, for /32 to
//! /47; one for a hash of the first 48, for the rest.

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
    CELLS6_SHORT + scatter(high >> 32, seed)
}

/// The cell of the /48 of an IPv6 address.
#[inline(always)]
pub const fn cell6_long(high: u64, seed: u64) -> u32 {
    CELLS6_SHORT + CELLS6_HASHED + scatter(high >> 16, seed.rotate_left(32))
}

/// Multiply-shift hashing (Dietzfelbinger et al. 1997): universal for a random odd factor.
#[inline(always)]
const fn scatter(value: u64, seed: u64) -> u32 {
    (value.wrapping_mul(seed | 1) >> (64 - HASHED_BITS)) as u32
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
