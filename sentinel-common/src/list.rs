//! Feed lists: up to 32 of them in shared tables, each exchanged as a whole by one store.
//!
//! Every element carries two masks of lists, one per version: it belongs to list n if bit n of the mask of the version
//! in force ([`crate::settings::Settings::list_versions`], read once per packet) is set. At rest both masks say the same. The
//! agent changes the mask of the other version, turns the version over, waits until no packet goes by the old one any
//! more, and brings its mask up.
//!
//! Exact addresses lie in buckets of four, in one of the two buckets their seeded hashes name; what finds both full is
//! kept among the prefixes. A prefix also carries the lists of every shorter prefix that covers it, so that the longest
//! match alone answers for all.

use crate::addr::Addr;

/// Lists there can be: one bit each.
pub const MAX_LISTS: u32 = 32;

/// Elements of a bucket.
pub const BUCKET_SLOTS: usize = 4;

/// The bit of a list in the masks below.
#[inline(always)]
pub const fn bit(list: u32) -> u32 {
    1 << (list & (MAX_LISTS - 1))
}

/// An exact IPv4 address. 16 bytes; free where both masks are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot4 {
    /// The address, network order as it stands in memory.
    pub address: u32,
    /// Lists it is on where their version is even.
    pub even: u32,
    /// Where it is odd.
    pub odd: u32,
    /// Packets it met, dropped or not, modulo 2^32.
    pub hits: u32,
}

/// A bucket of the IPv4 table: one cache line. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket4 {
    /// Its elements, in no order.
    pub slots: [Slot4; BUCKET_SLOTS],
}

/// An exact IPv6 address. 32 bytes; free where both masks are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// The address, network order as it stands in memory.
    pub address: [u64; 2],
    /// As [`Slot4::even`].
    pub even: u32,
    /// As [`Slot4::odd`].
    pub odd: u32,
    /// Packets it met, dropped or not.
    pub hits: u64,
}

/// A bucket of the IPv6 table: two cache lines. 128 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket6 {
    /// Its elements, in no order.
    pub slots: [Slot6; BUCKET_SLOTS],
}

/// A prefix: value of the tries. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetSlot {
    /// Lists that have it or a shorter prefix that covers it, where their version is even.
    pub even: u32,
    /// Where it is odd.
    pub odd: u32,
    /// Lists that have this very prefix, where their version is even. The agent's; packets do not ask.
    pub own_even: u32,
    /// Where it is odd.
    pub own_odd: u32,
    /// Packets that met it as their longest match, dropped or not, modulo 2^32.
    pub hits: u32,
    /// Its length.
    pub prefix_len: u32,
}

/// How every list stands in one version: an element of `LISTS`, the even one first. 784 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The earliest of `expires_ns`, so that a packet asks for one only.
    pub next_expiry_ns: u64,
    /// Lists that only count what they would have dropped.
    pub shadow: u32,
    /// Lists in use.
    pub used: u32,
    /// First instant at which each list no longer holds: `CLOCK_BOOTTIME`, ns; [`LIST_NEVER_NS`] for no end.
    pub expires_ns: [u64; MAX_LISTS as usize],
    /// The decision behind each list: a UUID in network order.
    pub decisions: [[u8; 16]; MAX_LISTS as usize],
}

/// An end that never comes, in [`Standing::expires_ns`]: the difference to it must not overflow.
pub const LIST_NEVER_NS: u64 = i64::MAX as u64;

impl Standing {
    /// No list in use.
    pub const EMPTY: Self = Self {
        next_expiry_ns: LIST_NEVER_NS,
        shadow: 0,
        used: 0,
        expires_ns: [LIST_NEVER_NS; MAX_LISTS as usize],
        decisions: [[0; 16]; MAX_LISTS as usize],
    };

    /// Lists that no longer hold at `now_ns`.
    ///
    /// Without a branch: thirty-two of them would be as many for the verifier to follow.
    #[inline(always)]
    pub fn expired(&self, now_ns: u64) -> u32 {
        let mut lists = 0;
        macro_rules! each {
            ($($n:literal)*) => {
                $(lists |= (self.expires_ns[$n].wrapping_sub(now_ns).wrapping_sub(1) >> 63 << $n) as u32;)*
            };
        }
        each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        lists
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// What a list has cost and would have: an element of the per-CPU array `LIST_HITS`. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListHits {
    /// Packets dropped.
    pub hits: u64,
    /// Their frame bytes.
    pub hit_bytes: u64,
    /// Packets that would have been, had the list or the agent not been in simulation.
    pub would_hits: u64,
    /// Their frame bytes.
    pub would_bytes: u64,
}

/// Lists whose version in force has an element with these masks.
#[inline(always)]
pub const fn in_force(even: u32, odd: u32, versions: u32) -> u32 {
    even & !versions | odd & versions
}

/// The lowest list of a mask; 0 for none.
#[inline(always)]
pub const fn lowest(lists: u32) -> u32 {
    lists & lists.wrapping_neg()
}

/// The number of the list with this single bit: a De Bruijn sequence, since kernel programs cannot count zeros.
#[inline(always)]
pub fn number(bit: u32) -> u32 {
    /// Where each bit goes.
    static NUMBERS: [u8; 32] = numbers();
    u32::from(NUMBERS[(bit.wrapping_mul(DE_BRUIJN) >> 27) as usize & 31])
}

const DE_BRUIJN: u32 = 0x077c_b531;

const fn numbers() -> [u8; 32] {
    let mut out = [0; 32];
    let mut n = 0;
    while n < 32 {
        out[((1u32 << n).wrapping_mul(DE_BRUIJN) >> 27) as usize] = n as u8;
        n += 1;
    }
    out
}

/// The two buckets of an IPv4 address (`address` as [`Slot4::address`]) in a table of `mask + 1` buckets.
#[inline(always)]
pub const fn buckets4(address: u32, seed: u64, mask: u32) -> (u32, u32) {
    choices((address as u64).wrapping_add(seed >> 32), seed, mask)
}

/// The two buckets of an IPv6 address (as [`Slot6::address`]).
#[inline(always)]
pub const fn buckets6(address: [u64; 2], seed: u64, mask: u32) -> (u32, u32) {
    let [high, low] = address;
    let high = high.wrapping_mul(seed.rotate_left(17) | 1);
    choices(high ^ high >> 32 ^ low, seed, mask)
}

/// Two rounds of multiply and fold, secret factors; each half of the outcome names a bucket.
#[inline(always)]
const fn choices(value: u64, seed: u64, mask: u32) -> (u32, u32) {
    let hash = value.wrapping_mul(seed | 1);
    let hash = (hash ^ hash >> 32).wrapping_mul(seed.rotate_left(29) | 1);
    let hash = hash ^ hash >> 29;
    (hash as u32 & mask, (hash >> 32) as u32 & mask)
}

/// An IPv6 address as [`Slot6::address`] has it.
#[inline(always)]
pub const fn words6(address: &Addr) -> [u64; 2] {
    address.halves()
}

const _: () = {
    assert!(size_of::<Bucket4>() == 64);
    assert!(size_of::<Bucket6>() == 128);
    assert!(size_of::<NetSlot>() == 24);
    assert!(size_of::<Standing>() == 784);
    assert!(size_of::<ListHits>() == 32);
};

crate::pod!(Slot4, Bucket4, Slot6, Bucket6, NetSlot, Standing, ListHits);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_bit_has_its_number() {
        for n in 0..32 {
            assert_eq!(number(bit(n)), n);
            assert_eq!(lowest(bit(n) | bit(31)), bit(n));
        }
        assert_eq!(lowest(0), 0);
    }

    #[test]
    fn a_version_has_its_own_mask() {
        assert_eq!(in_force(0b01, 0b10, 0), 0b01);
        assert_eq!(in_force(0b01, 0b10, 0b11), 0b10);
        assert_eq!(in_force(0b01, 0b10, 0b10), 0b11);
        assert_eq!(in_force(0b01, 0b10, 0b01), 0);
    }

    #[test]
    fn a_list_expires_at_its_instant_and_no_other_with_it() {
        let mut standing = Standing::EMPTY;
        standing.expires_ns[3] = 1000;
        standing.expires_ns[31] = 1001;
        assert_eq!(standing.expired(999), 0);
        assert_eq!(standing.expired(1000), bit(3));
        assert_eq!(standing.expired(1001), bit(3) | bit(31));
        assert_eq!(standing.expired(i64::MAX as u64 - 1), bit(3) | bit(31));
    }

    #[test]
    fn two_choices_fill_half_a_table_with_hardly_an_overflow() {
        let seed = 0x1234_5678_9abc_def1;
        let mask: u32 = 0x3fff;
        let mut fill = vec![0u8; mask as usize + 1];
        let mut refused = 0;
        for n in 0..(mask + 1) * 2 {
            // Neighbouring addresses, as scanners' networks have them.
            let octets = (0x0a00_0000 + n).to_be_bytes();
            let (one, two) = buckets4(u32::from_ne_bytes(octets), seed, mask);
            let best = if fill[one as usize] <= fill[two as usize] {
                one
            } else {
                two
            };
            if fill[best as usize] == BUCKET_SLOTS as u8 {
                refused += 1;
            } else {
                fill[best as usize] += 1;
            }
        }
        assert!(refused < 8, "{refused}");
    }

    #[test]
    fn buckets6_depend_on_every_word() {
        let seen: HashSet<_> = (0..1000u64)
            .flat_map(|n| [[n << 48, 1], [1, n << 48], [n, 2], [2, n]])
            .map(|address| buckets6(address, 0x1234_5678_9abc_def1, u32::MAX))
            .collect();
        assert!(seen.len() >= 3990, "{}", seen.len());
    }
}
