//! Addresses about which nobody outside can know anything.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(s: [u16; 4], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0), length)
}

/// IANA IPv4 Special-Purpose Address Registry (RFC 6890), multicast (RFC 5771), and what is reserved.
const IPV4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 8), "this network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "private (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "shared address space (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "loopback (RFC 1122)"),
    (v4(169, 254, 0, 0, 16), "link-local (RFC 3927)"),
    (v4(172, 16, 0, 0, 12), "private (RFC 1918)"),
    (v4(192, 0, 0, 0, 24), "protocol assignments (RFC 6890)"),
    (v4(192, 0, 2, 0, 24), "documentation (RFC 5737)"),
    (v4(192, 31, 196, 0, 24), "AS112 (RFC 7535)"),
    (v4(192, 52, 193, 0, 24), "multicast tunnelling (RFC 7450)"),
    (v4(192, 88, 99, 0, 24), "6to4 relays (RFC 7526)"),
    (v4(192, 168, 0, 0, 16), "private (RFC 1918)"),
    (v4(192, 175, 48, 0, 24), "AS112 (RFC 7534)"),
    (v4(198, 18, 0, 0, 15), "benchmarking (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "documentation (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "documentation (RFC 5737)"),
];

/// From here on: multicast (RFC 5771), reserved (RFC 1112), broadcast (RFC 8190).
const IPV4_UPPER: u8 = 224;

/// Within global unicast, IANA IPv6 Special-Purpose Address Registry (RFC 6890).
const IPV6: [(Ipv6Net, &str); 6] = [
    (v6([0x2001, 0, 0, 0], 23), "protocol assignments (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation (RFC 3849)"),
    (v6([0x2002, 0, 0, 0], 16), "6to4 (RFC 3056)"),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), "AS112 (RFC 7534)"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation (RFC 9637)"),
    (v6([0x3ffe, 0, 0, 0], 16), "the former 6bone (RFC 3701)"),
];

/// Everything that is given out for use in the Internet lies here (RFC 4291, 2.4; IANA IPv6 address space).
const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// Why nobody outside is asked about `ip`; `None` for an address that belongs to somebody in the Internet. `own` are
/// addresses and prefixes of this host and of those it protects.
pub fn special(ip: IpAddr, own: &[IpNet]) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if own.iter().any(|net| net.contains(&ip)) {
        return Some("our own");
    }
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] >= IPV4_UPPER => Some("multicast or reserved (RFC 5771, RFC 1112)"),
        IpAddr::V4(ip) => IPV4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, why)| *why),
        IpAddr::V6(ip) if !GLOBAL.contains(&ip) => Some("not global unicast (RFC 4291)"),
        IpAddr::V6(ip) => IPV6.iter().find(|(net, _)| net.contains(&ip)).map(|(_, why)| *why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let why = special(text.parse().unwrap(), &["8.8.4.0/24".parse().unwrap()]);
        match expected {
            None => assert_eq!(why, None, "{text}"),
            Some(part) => assert!(why.is_some_and(|why| why.contains(part)), "{text}: {why:?}"),
        }
    }

    #[test]
    fn only_addresses_of_the_internet_are_asked_about() {
        for (text, part) in [
            ("0.0.0.0", "this network"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "shared"),
            ("100.127.255.255", "shared"),
            ("127.9.9.9", "loopback"),
            ("169.254.1.1", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "protocol"),
            ("192.0.2.7", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.3.4", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.255", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.1.1.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("8.8.4.4", "our own"),
            ("::ffff:8.8.4.4", "our own"),
            ("::ffff:10.0.0.1", "private"),
            ("::", "not global"),
            ("::1", "not global"),
            ("64:ff9b::808:808", "not global"),
            ("64:ff9b:1::1", "not global"),
            ("100::1", "not global"),
            ("fc00::1", "not global"),
            ("fdff::1", "not global"),
            ("fe80::1", "not global"),
            ("ff02::1", "not global"),
            ("5f00::1", "not global"),
            ("2001::1", "protocol"),
            ("2001:1ff::1", "protocol"),
            ("2001:db8::1", "documentation"),
            ("2002:808:808::1", "6to4"),
            ("2620:4f:8000::1", "AS112"),
            ("3fff:fff::1", "documentation"),
            ("3ffe::1", "6bone"),
        ] {
            check(text, Some(part));
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
        ] {
            check(text, None);
        }
    }
}
