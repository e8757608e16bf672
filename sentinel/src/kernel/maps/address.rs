//! Prefixes as the kernel's maps have them.

use aya::maps::lpm_trie::Key;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) type Octets4 = [u8; 4];
pub(super) type Octets16 = [u8; 16];

pub(super) fn key4(net: Ipv4Net) -> Key<Octets4> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

pub(super) fn key6(net: Ipv6Net) -> Key<Octets16> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

pub(super) fn net4(address: Octets4, len: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(address), len.min(32) as u8))
}

pub(super) fn net6(address: Octets16, len: u32) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), len.min(128) as u8))
}
