//! One spelling for every address and prefix.

use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

/// The prefix with its host bits cleared; IPv4-mapped IPv6 (`::ffff:0:0/96` and longer) as IPv4, because that is what
/// the packets of such an address are.
pub fn canonical(target: IpNet) -> IpNet {
    if let IpNet::V6(v6) = target
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(len) = v6.prefix_len().checked_sub(96)
        && let Ok(net) = Ipv4Net::new(v4, len)
    {
        return IpNet::V4(net.trunc());
    }
    target.trunc()
}

/// What a request of ours has no business with unless it is meant, in words: addresses of one link, among them those where
/// clouds tell secrets to whoever asks, those of nobody and of many. `None` for all others, private ones too.
///
/// Sources: RFC 6890 and the registries it made; addresses of metadata services from the providers' documentation.
pub fn off_limits(ip: IpAddr) -> Option<&'static str> {
    const METADATA: &str = "where clouds keep secrets (instance metadata)";
    const LINK_LOCAL: &str = "an address of one link, where clouds keep secrets too";
    let v4 = |ip: Ipv4Addr| match ip.octets() {
        [169, 254, ..] => Some(LINK_LOCAL),
        // Alibaba's, Oracle's and Azure's.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Some(METADATA),
        [0, ..] => Some("an address of nobody"),
        [224..=255, ..] => Some("an address of many"),
        _ => None,
    };
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("an address of nobody"),
            [0, 0, 0, 0, 0, 0, 0, 1] => None,
            // IPv4 in IPv6 dress: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
            // Amazon's, Google's and Scaleway's.
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
            | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
            | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => Some(METADATA),
            [0xfe80..=0xfebf, ..] => Some(LINK_LOCAL),
            [0xff00..=0xffff, ..] => Some("an address of many"),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_no_business_on_the_link() {
        for (ip, off) in [
            ("169.254.169.254", true),
            ("100.100.100.200", true),
            ("100.100.100.201", false),
            ("168.63.129.16", true),
            ("fd20:ce::254", true),
            ("0.0.0.0", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("203.0.113.7", false),
            ("::", true),
            ("::1", false),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("2002:0a00:0001::1", false),
            ("fd00:ec2::254", true),
            ("fd00:ec2::255", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("ff02::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(off_limits(ip.parse().unwrap()).is_some(), off, "{ip}");
        }
    }
}
