//! Frames and lists: what comes, and what is listed.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bits of a listed IPv4 address that never change: the first octet stays clear of what is special.
pub(crate) const BASE: u32 = 0x4000_0000;
/// Those that do.
pub(crate) const MASK: u32 = 0x3fff_ffff;
/// The first word of every listed IPv6 address.
pub(crate) const PREFIX: [u8; 4] = [0x20, 0x01, 0x0d, 0xb8];

/// Where frames go to.
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// An odd multiplier permutes the numbers, so that lists are scattered over the address space as real ones are.
const fn scattered(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b1)
}

/// The `n`th IPv4 source. Those that are listed come first.
pub(crate) fn listed_v4(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(BASE | scattered(n) & MASK))
}

/// The `n`th IPv6 source.
pub(crate) fn listed_v6(n: u32) -> IpAddr {
    let low = u128::from(scattered(n));
    let high = u128::from(u32::from_be_bytes(PREFIX)) << 96;
    IpAddr::V6(Ipv6Addr::from(high | low << 64 | low))
}

/// The `n`th listed IPv4 prefix; none of the sources is in it.
pub(crate) fn prefix_v4(n: u32) -> IpNet {
    let network = 0x2000_0000 | (scattered(n) & 0x001f_ffff) << 8;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(network), 24))
}

/// The `n`th listed IPv6 prefix.
pub(crate) fn prefix_v6(n: u32) -> IpNet {
    let network = 0x2400 << 112 | u128::from(scattered(n)) << 80;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(network), 48))
}

/// What a frame carries beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    /// TCP behind a VLAN tag.
    Vlan,
    /// TCP behind IPv4 options, or behind two IPv6 extension headers.
    Options,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Vlan, Self::Options];

    pub(crate) const fn name(self, v4: bool) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Vlan => "VLAN TCP",
            Self::Options if v4 => "options TCP",
            Self::Options => "extension headers TCP",
        }
    }
}

/// A small frame: TCP with ACK, or UDP, with 20 bytes of payload.
pub(crate) fn frame(source: IpAddr, kind: Kind) -> Vec<u8> {
    let proto = if kind == Kind::Udp { 17 } else { 6 };
    let mut l4 = vec![0x9c, 0x40, 0x00, 0x09];
    if proto == 6 {
        l4.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        l4.extend([0, 28, 0, 0]);
    }
    l4.extend([0x55; 20]);
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if kind == Kind::Vlan {
        out.extend([0x81, 0x00, 0x00, 0x07]);
    }
    let options = kind == Kind::Options;
    match source {
        IpAddr::V4(source) => {
            let more = if options { 8 } else { 0 };
            let mut header = vec![0x45 + (more / 4) as u8, 0];
            header.extend((20 + more + l4.len() as u16).to_be_bytes());
            header.extend([0, 1, 0x40, 0, 64, proto, 0, 0]);
            header.extend(source.octets());
            header.extend(NEAR.octets());
            header.extend(vec![1; usize::from(more)]);
            let check = checksum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            out.extend([0x08, 0x00]);
            out.extend(header);
        }
        IpAddr::V6(source) => {
            let chain = if options { 16 } else { 0 };
            out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend((l4.len() as u16 + chain).to_be_bytes());
            out.extend([if options { 0 } else { proto }, 64]);
            out.extend(source.octets());
            out.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
            if options {
                out.extend([60, 0, 1, 4, 0, 0, 0, 0]);
                out.extend([proto, 0, 1, 4, 0, 0, 0, 0]);
            }
        }
    }
    out.extend(l4);
    out
}

/// The checksum of an IPv4 header (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
