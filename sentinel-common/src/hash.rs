//! Where a flow is kept: what tells flows apart in one word, and the keyed hash that leads to a bucket.

use crate::flow::{Direction, KEY_FRAGMENT};
use crate::packet::PacketMeta;
use crate::slot::{SLOT_EGRESS, SLOT_V4};

/// What tells flows of the same two addresses apart, in one word: the ports as they stand in a packet that comes in
/// (32 bits), the protocol, `flags`.
#[inline(always)]
pub const fn ends(ports: u32, proto: u8, flags: u8) -> u64 {
    ports as u64 | (proto as u64) << PROTO_SHIFT | (flags as u64) << FLAGS_SHIFT
}

/// Where the protocol stands in it.
pub(crate) const PROTO_SHIFT: u32 = 32;
/// Where the flags stand.
pub(crate) const FLAGS_SHIFT: u32 = 40;

/// The keys of [`hash`]: multiples of one secret, made once. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// One for each word of a flow that is hashed.
    pub words: [u64; 5],
}

impl Keys {
    /// The keys of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            words: [
                seed,
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                seed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f),
                seed.wrapping_mul(0x1656_67b1_9e37_79f9),
                seed.wrapping_mul(0x27d4_eb2f_1656_67c5),
            ],
        }
    }
}

/// A keyed hash of a flow's ends and protocol, the same for both directions.
///
/// Products of keyed halves (NH, RFC 4418), each key a multiple of the seed: without the seed nobody can say which flows
/// meet in a bucket.
#[inline(always)]
pub fn hash(keys: &Keys, packet: &PacketMeta, direction: Direction) -> u64 {
    let (remote, local) = match direction {
        Direction::Ingress => (&packet.src, &packet.dst),
        Direction::Egress => (&packet.dst, &packet.src),
    };
    let ends = ends_of(packet, direction);
    if packet.ip_version == 4 {
        hash4(keys, remote.tail(), local.tail(), ends)
    } else {
        hash6(keys, remote.halves(), local.halves(), ends)
    }
}

/// As [`hash`], of IPv4 addresses as they stand in memory and [`ends`].
#[inline(always)]
pub const fn hash4(keys: &Keys, remote: u32, local: u32, ends: u64) -> u64 {
    let pair = (remote as u64) << 32 | local as u64;
    let sum = fold(undirected(ends), keys.words[1]).wrapping_add(fold(pair, keys.words[0]));
    sum.wrapping_mul(keys.words[0] | 1)
}

/// As [`hash`], of the halves of IPv6 addresses as they stand in memory.
#[inline(always)]
pub const fn hash6(keys: &Keys, remote: [u64; 2], local: [u64; 2], ends: u64) -> u64 {
    let [seed, key, remote1, local0, local1] = keys.words;
    fold(undirected(ends), key)
        .wrapping_add(fold(remote[0], seed))
        .wrapping_add(fold(remote[1], remote1))
        .wrapping_add(fold(local[0], local0))
        .wrapping_add(fold(local[1], local1))
        .wrapping_mul(seed | 1)
}

/// The same word for both directions.
#[inline(always)]
const fn undirected(ends: u64) -> u64 {
    ends & !((SLOT_EGRESS as u64) << FLAGS_SHIFT)
}

/// [`ends`] of a packet's flow in its direction.
#[inline(always)]
pub const fn ends_of(packet: &PacketMeta, direction: Direction) -> u64 {
    let (first, second, egress) = match direction {
        Direction::Ingress => (packet.src_port, packet.dst_port, 0),
        Direction::Egress => (packet.dst_port, packet.src_port, SLOT_EGRESS),
    };
    let fragment = if packet.later_fragment { KEY_FRAGMENT } else { 0 };
    let v4 = if packet.ip_version == 4 { SLOT_V4 } else { 0 };
    let ports = ((first as u32) << 16 | second as u32).to_be();
    ends(ports, packet.proto, fragment | v4 | egress)
}

#[inline(always)]
const fn fold(word: u64, key: u64) -> u64 {
    let low = (word as u32).wrapping_add(key as u32);
    let high = ((word >> 32) as u32).wrapping_add((key >> 32) as u32);
    low as u64 * high as u64
}

/// Where a hash leads in this direction: bucket (to be masked) and tag.
#[inline(always)]
pub const fn place(hash: u64, direction: Direction) -> (u32, u32) {
    let mixed = match direction {
        Direction::Ingress => hash,
        Direction::Egress => !hash,
    };
    ((mixed >> 36) as u32, (mixed >> 8) as u32 | 1)
}

crate::pod!(Keys);
