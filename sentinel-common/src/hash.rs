//! Where a flow is kept: what tells flows of the same addresses apart, and the keyed hash that leads to a bucket.

use crate::addr::Addr;
use crate::flow::{Direction, KEY_FRAGMENT};
use crate::packet::PacketMeta;
use crate::slot::{SLOT_EGRESS, SLOT_V4};

/// Protocol and flags of a flow (`KEY_*`, [`SLOT_EGRESS`], [`SLOT_V4`]; in a slot [`crate::slot::SLOT_WAITS`] too) in one word.
#[inline(always)]
pub const fn kind(proto: u8, flags: u8) -> u32 {
    proto as u32 | (flags as u32) << FLAGS_SHIFT
}

/// Where the flags stand in it.
pub(crate) const FLAGS_SHIFT: u32 = 8;

/// Numbers that look random, the same for the same seed on every machine (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

/// The keys of [`hash`], made of one secret, once. 80 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// One for each 32-bit word of a flow that is hashed.
    pub words: [u64; 10],
}

impl Keys {
    /// None made yet.
    pub const EMPTY: Self = Self { words: [0; 10] };

    /// The keys of a seed: the first numbers of [`SplitMix64`].
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mut keys = Self::EMPTY;
        let (mut numbers, mut at) = (SplitMix64(seed), 0);
        while at < keys.words.len() {
            keys.words[at] = numbers.draw();
            at += 1;
        }
        keys
    }
}

/// A keyed hash of a flow's ends and protocol, the same for both directions.
///
/// A sum of pair-multiply-shift (Thorup, "High speed hashing for integers and strings"): over the keys, the upper 33 bits
/// of the sums of two flows agree no more often than by chance, so that without the keys nobody can say which flows meet
/// in a bucket. Lower bits promise less and less.
#[inline(always)]
pub fn hash(keys: &Keys, packet: &PacketMeta, direction: Direction) -> u64 {
    let ends = Ends::of(packet, direction);
    let (ports, kind) = (u64::from(ends.ports), u64::from(ends.kind) & HASHED);
    let key = |n: usize| keys.words[n];
    if packet.ip_version == 4 {
        let (remote, local) = (u64::from(ends.remote.tail()), u64::from(ends.local.tail()));
        times_mix(folded4(key, || remote, || local, || ports, || kind))
    } else {
        let (remote, local) = (ends.remote.words(), ends.local.words());
        let word = |n| u64::from(if n < 4 { remote[n] } else { local[n & 3] });
        times_mix(folded6(key, word, || ports, || kind))
    }
}

/// The [`hash`] but for its last step, a product with [`MIX`]: of [`Keys::words`] by number, IPv4 addresses and ports as they
/// stand in memory, and protocol and `KEY_*` as [`kind`] has them; all but the keys of 32 bits. Each is asked for when it is
/// needed, so that no register has to keep it.
#[inline(always)]
pub fn folded4(
    key: impl Fn(usize) -> u64,
    remote: impl Fn() -> u64,
    local: impl Fn() -> u64,
    ports: impl Fn() -> u64,
    kind: impl Fn() -> u64,
) -> u64 {
    folded(pair(&key, 0, remote, local).wrapping_add(pair(&key, 2, ports, kind)))
}

/// As [`folded4`], of the words of the remote and the local IPv6 address as they stand in memory, by number.
#[inline(always)]
pub fn folded6(
    key: impl Fn(usize) -> u64,
    word: impl Fn(usize) -> u64,
    ports: impl Fn() -> u64,
    kind: impl Fn() -> u64,
) -> u64 {
    let mut sum = pair(&key, 0, || word(0), || word(1));
    sum = sum.wrapping_add(pair(&key, 2, ports, kind));
    sum = sum.wrapping_add(pair(&key, 4, || word(2), || word(3)));
    sum = sum.wrapping_add(pair(&key, 6, || word(4), || word(5)));
    folded(sum.wrapping_add(pair(&key, 8, || word(6), || word(7))))
}

/// What is hashed of a [`kind`]: what both directions have, and neither family by itself.
const HASHED: u64 = !((SLOT_EGRESS as u64 | SLOT_V4 as u64) << FLAGS_SHIFT);

/// The upper bits brought into all others, one to one. Of sums alone, flows whose ports go up in even steps would go
/// through the buckets in even steps, which may meet few of them.
#[inline(always)]
const fn folded(sum: u64) -> u64 {
    sum ^ sum >> 32
}

/// What they are multiplied by then.
pub const MIX: i32 = 0x5851_f42d;

#[inline(always)]
const fn times_mix(folded: u64) -> u64 {
    folded.wrapping_mul(MIX as u64)
}

#[inline(always)]
fn pair(key: impl Fn(usize) -> u64, at: usize, one: impl Fn() -> u64, other: impl Fn() -> u64) -> u64 {
    let first = key(at).wrapping_add(other());
    first.wrapping_mul(key(at + 1).wrapping_add(one()))
}

/// A packet's flow in its direction.
pub(crate) struct Ends<'a> {
    pub(crate) v4: bool,
    pub(crate) remote: &'a Addr,
    pub(crate) local: &'a Addr,
    /// As they stand in a packet that comes in.
    pub(crate) ports: u32,
    /// As [`kind`].
    pub(crate) kind: u32,
}

impl<'a> Ends<'a> {
    #[inline(always)]
    pub(crate) const fn of(packet: &'a PacketMeta, direction: Direction) -> Self {
        let (remote, local, first, second, egress) = match direction {
            Direction::Ingress => (&packet.src, &packet.dst, packet.src_port, packet.dst_port, 0),
            Direction::Egress => (&packet.dst, &packet.src, packet.dst_port, packet.src_port, SLOT_EGRESS),
        };
        let fragment = if packet.later_fragment { KEY_FRAGMENT } else { 0 };
        let v4 = if packet.ip_version == 4 { SLOT_V4 } else { 0 };
        Self {
            v4: packet.ip_version == 4,
            remote,
            local,
            ports: ((first as u32) << 16 | second as u32).to_be(),
            kind: kind(packet.proto, fragment | v4 | egress),
        }
    }
}

impl Ends<'_> {
    /// Both addresses as they stand in memory: of IPv6 by halves; of IPv4 in the first word, as they stand beside each other
    /// in the header of a packet that comes in.
    #[inline(always)]
    pub(crate) const fn words(&self) -> [u64; 4] {
        if self.v4 {
            return [together(self.remote.tail(), self.local.tail()), 0, 0, 0];
        }
        let ([a, b], [c, d]) = (self.remote.halves(), self.local.halves());
        [a, b, c, d]
    }
}

/// Two words that stand in memory one behind the other.
#[inline(always)]
const fn together(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

/// The two words that stand there.
#[inline(always)]
pub(crate) const fn apart(both: u64) -> [u32; 2] {
    if cfg!(target_endian = "little") {
        [both as u32, (both >> 32) as u32]
    } else {
        [(both >> 32) as u32, both as u32]
    }
}

/// Where a hash leads in this direction: bucket (to be masked; of 22 bits, as many as the largest table has) and tag. They
/// share ten bits at most.
#[inline(always)]
pub const fn place(hash: u64, direction: Direction) -> (u32, u32) {
    let hash = match direction {
        Direction::Ingress => hash,
        Direction::Egress => !hash,
    };
    ((hash >> 20) as u32, (hash >> 32) as u32 | 1)
}

/// The other bucket of a flow, where its own is crowded: by the bits of its tag that its bucket has no part in, so that
/// those who crowd one do not meet again. From there it leads back. The same where there is only one (`mask` of 0).
#[inline(always)]
pub const fn beside(bucket: u32, tag: u32, mask: u32) -> u32 {
    bucket ^ (tag >> 10 | 1) & mask
}

crate::pod!(Keys);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Flows that differ in one word only, by little or in its upper bits alone, are as far apart as any.
    #[test]
    fn neighbours_scatter() {
        const BUCKETS: u32 = 1 << 12;
        let neighbour: [fn(u32) -> PacketMeta; 4] = [
            |n| PacketMeta {
                src: Addr::v4([192, 0, (n >> 8) as u8, n as u8]),
                ..packet(4)
            },
            |n| PacketMeta {
                src_port: n as u16,
                ..packet(4)
            },
            |n| PacketMeta {
                dst_port: n as u16,
                ..packet(6)
            },
            |n| {
                let mut far = packet(6);
                far.src.0[6..8].copy_from_slice(&(n as u16).to_be_bytes());
                far
            },
        ];
        for seed in 0..20 {
            for neighbour in neighbour {
                let (mut buckets, mut places) = (HashSet::new(), HashSet::new());
                for n in 0..BUCKETS {
                    let hash = hash(&Keys::new(seed), &neighbour(n), Direction::Ingress);
                    let (bucket, tag) = place(hash, Direction::Ingress);
                    buckets.insert(bucket & (BUCKETS - 1));
                    places.insert((bucket & (BUCKETS - 1), tag));
                }
                // By chance 2,589, give or take 30.
                assert!((2400..2800).contains(&buckets.len()), "{}", buckets.len());
                assert_eq!(places.len(), BUCKETS as usize, "a tag met twice in one bucket");
            }
        }
    }

    fn packet(ip_version: u8) -> PacketMeta {
        PacketMeta {
            src: Addr::v4([192, 0, 2, 1]),
            dst: Addr::v4([10, 0, 0, 1]),
            src_port: 4000,
            dst_port: 443,
            proto: 6,
            ip_version,
            ..PacketMeta::default()
        }
    }
}
