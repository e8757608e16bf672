//! Sending a source to the honeypot: where that is, who was sent there under which port, and the checksums.
//!
//! A packet keeps its source port unless another conversation of that source that is still alive goes to the honeypot
//! under it; then one of a few others stands in, which a keyed hash of the conversation names. So one record is
//! enough: it is found by source and port as the honeypot sees them, and says what the source meant.

use crate::addr::Addr;
use crate::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use crate::packet::PacketMeta;
use crate::rate::{halves, mix};

/// Bit of [`Honeypot::flags`]: there is one.
pub const HONEYPOT_SET: u16 = 1;
/// Bit of [`Honeypot::flags`]: it has an address of its own; without, only the port is changed.
pub const HONEYPOT_ADDRESS: u16 = 2;

/// Ports tried for one conversation: its own, then others.
pub const CANDIDATES: u32 = 5;

/// A conversation quiet for so long gives its port up to another that asks for it, ns.
pub const IDLE_NS: u64 = 120_000_000_000;

/// Where one family's packets are sent: an element of the `HONEYPOTS` array (0 IPv4, 1 IPv6). 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Honeypot {
    /// Its address, where it has one.
    pub address: Addr,
    /// Its port, host order.
    pub port: u16,
    /// `HONEYPOT_*` bits.
    pub flags: u16,
    /// Zero.
    pub pad: u32,
}

impl Honeypot {
    /// The address a packet to `meta.dst` is sent to.
    #[inline(always)]
    pub const fn address_for(&self, meta: &PacketMeta) -> Addr {
        if self.flags & HONEYPOT_ADDRESS != 0 {
            self.address
        } else {
            meta.dst
        }
    }
}

/// Whom the honeypot talks to, as it sees it: key of the `REDIRECTS` map. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RedirectKey {
    /// The source.
    pub remote: Addr,
    /// Its port, or the one that stands in for it; host order.
    pub port: u16,
    /// TCP or UDP.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// What the source meant: value of the `REDIRECTS` map. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirected {
    /// Latest packet: `CLOCK_BOOTTIME`, ns.
    pub seen_ns: u64,
    /// The address it wrote to.
    pub address: Addr,
    /// The port it wrote to, host order.
    pub port: u16,
    /// The port it wrote from, host order.
    pub remote_port: u16,
    /// Zero.
    pub pad: u32,
}

impl Redirected {
    /// The conversation a packet belongs to.
    #[inline(always)]
    pub const fn of(meta: &PacketMeta, now_ns: u64) -> Self {
        Self {
            seen_ns: now_ns,
            address: meta.dst,
            port: meta.dst_port,
            remote_port: meta.src_port,
            pad: 0,
        }
    }

    /// Whether it is the same conversation.
    #[inline(always)]
    pub const fn same(&self, other: &Self) -> bool {
        self.port == other.port && self.remote_port == other.remote_port && same(&self.address, &other.address)
    }

    /// Whether another conversation may take the record over.
    #[inline(always)]
    pub const fn idle(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.seen_ns) > IDLE_NS
    }
}

/// Whether two addresses are the same, by words: a comparison of byte arrays would be a loop in the kernel.
#[inline(always)]
pub const fn same(left: &Addr, right: &Addr) -> bool {
    let (a, b) = halves(&left.0);
    let (c, d) = halves(&right.0);
    a == c && b == d
}

/// Whether a packet of a redirected source stays where it is: ICMP has no ports to send elsewhere, and without it
/// neighbours are not found and paths have no MTU. What answers a ping is the host itself.
#[inline(always)]
pub const fn stays(meta: &PacketMeta) -> bool {
    match meta.ip_version {
        4 => meta.proto == PROTO_ICMP,
        _ => meta.proto == PROTO_ICMPV6,
    }
}

/// Whether a packet can be rewritten: TCP or UDP, in one piece (no fragment can be, for the later ones have no ports),
/// with its header there.
#[inline(always)]
pub const fn rewritable(meta: &PacketMeta) -> bool {
    matches!(meta.proto, PROTO_TCP | PROTO_UDP) && !meta.fragment && meta.l4_offset != 0
}

/// The `n`th port a conversation may go under: its own, then others above 32,767.
#[inline(always)]
pub fn candidate(seed: u64, meta: &PacketMeta, n: u32) -> u16 {
    if n == 0 {
        return meta.src_port;
    }
    let (net, host) = halves(&meta.src.0);
    let (near_net, near_host) = halves(&meta.dst.0);
    let ports = u64::from(meta.src_port) << 32 | u64::from(meta.dst_port) << 8 | u64::from(n);
    let hash = mix(mix(mix(mix(mix(seed, ports), net), host), near_net), near_host);
    (hash >> 32) as u16 | 0x8000
}

/// Where in its header a protocol keeps its checksum, bytes.
#[inline(always)]
pub const fn checksum_offset(proto: u8) -> usize {
    if proto == PROTO_TCP { 16 } else { 6 }
}

/// A change to an Internet checksum, added up word by word (RFC 1624, eqn. 3). Words are as they stand in memory: the
/// sum does not mind their order, as long as all have the same (RFC 1071, 2B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u32);

impl Change {
    /// One word replaced by another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, from: u16, to: u16) -> Self {
        Self(self.0 + (!from) as u32 + to as u32)
    }

    /// `N` words replaced.
    #[inline(always)]
    #[must_use]
    pub fn words<const N: usize>(self, from: [u16; N], to: [u16; N]) -> Self {
        let mut change = self;
        for (from, to) in from.into_iter().zip(to) {
            change = change.word(from, to);
        }
        change
    }

    /// The checksum after it.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        let mut sum = (!checksum) as u32 + (self.0 & 0xffff) + (self.0 >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }

    /// The same for UDP, where zero means "none": none stays none, and what comes to zero is written as its other
    /// form (RFC 768; RFC 8200, 8.1).
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

const _: () = {
    assert!(size_of::<Honeypot>() == 24);
    assert!(size_of::<RedirectKey>() == 24);
    assert!(size_of::<Redirected>() == 32);
};

crate::pod!(Honeypot, RedirectKey, Redirected);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum of words, in full (RFC 1071).
    fn full(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn a_change_is_as_good_as_a_new_sum(
            before in proptest::array::uniform10(any::<u16>()),
            after in proptest::array::uniform10(any::<u16>()),
            rest in proptest::collection::vec(any::<u16>(), 1..40),
        ) {
            let old = full(&[&before[..], &rest].concat());
            let new = full(&[&after[..], &rest].concat());
            let changed = Change::default().words(before, after).apply(old);
            // Both forms of zero mean the same where any word of what is summed is not zero.
            let zero = |sum: u16| if sum == 0xffff { 0 } else { sum };
            prop_assert_eq!(zero(changed), zero(new));
            let udp = Change::default().words(before, after).apply_udp(old);
            prop_assert_eq!(udp == 0, old == 0);
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_without_and_none_loses_it() {
        let change = Change::default().word(1, 2);
        assert_eq!(change.apply_udp(0), 0);
        // A change that brings the sum to zero.
        let to_zero = Change::default().word(0x0000, 0x1234);
        assert_eq!((to_zero.apply(0x1234), to_zero.apply_udp(0x1234)), (0, 0xffff));
    }

    #[test]
    fn candidates_begin_with_the_own_port_and_spread() {
        let meta = PacketMeta {
            src: Addr::v4([192, 0, 2, 1]),
            dst: Addr::v4([198, 51, 100, 1]),
            src_port: 40_000,
            proto: PROTO_TCP,
            ip_version: 4,
            ..PacketMeta::EMPTY
        };
        let mut ports = std::collections::HashSet::new();
        for dst_port in 1..=1000 {
            let meta = PacketMeta { dst_port, ..meta };
            assert_eq!(candidate(7, &meta, 0), 40_000);
            for n in 1..CANDIDATES {
                let port = candidate(7, &meta, n);
                assert!(port >= 0x8000);
                ports.insert(port);
            }
        }
        // 4,000 draws of 32,768 hit about 3,766 different ones.
        assert!(ports.len() > 3_600, "{}", ports.len());
    }
}
