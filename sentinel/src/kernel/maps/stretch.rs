//! Which cells of the hints a prefix touches.

use ipnet::IpNet;
use sentinel_common::hint::{LONG_LEN, MIDDLE_LEN, cell4, cell6_long, cell6_middle, cell6_short};
use std::ops::Range;

/// Cells of one family's array, side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) v6: bool,
    pub(super) cells: Range<u32>,
}

/// The cells of a canonical prefix.
pub(super) fn of(net: IpNet, seed: u64) -> Stretch {
    let cells = match net {
        IpNet::V4(net) => cell4(net.network().to_bits())..cell4(net.broadcast().to_bits()) + 1,
        IpNet::V6(net) => {
            let first = high(net.network().to_bits());
            if net.prefix_len() < MIDDLE_LEN {
                cell6_short(first)..cell6_short(high(net.broadcast().to_bits())) + 1
            } else {
                let cell = if net.prefix_len() < LONG_LEN {
                    cell6_middle(first, seed)
                } else {
                    cell6_long(first, seed)
                };
                cell..cell + 1
            }
        }
    };
    Stretch {
        v6: matches!(net, IpNet::V6(_)),
        cells,
    }
}

const fn high(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentinel_common::hint::{CELLS4, CELLS6_SHORT};

    fn check(net: &str, expected: Range<u32>) {
        let net: IpNet = net.parse().unwrap();
        assert_eq!(of(net, 1).cells, expected, "{net}");
    }

    #[test]
    fn a_prefix_has_every_cell_it_touches() {
        check("0.0.0.0/0", 0..CELLS4);
        check("10.0.0.0/8", 0x0a_0000..0x0b_0000);
        check("10.1.2.0/24", 0x0a_0102..0x0a_0103);
        check("10.1.2.128/25", 0x0a_0102..0x0a_0103);
        check("10.1.2.3/32", 0x0a_0102..0x0a_0103);
        check("255.255.255.255/32", 0xff_ffff..0x100_0000);
        check("::/0", 0..CELLS6_SHORT);
        check("fe80::/10", 0xfe80..0xfec0);
        check("2001:c00::/31", 0x2001..0x2002);
    }

    #[test]
    fn longer_ipv6_prefixes_have_the_cell_a_packet_will_ask() {
        let seed = 0x9e37_79b9_7f4a_7c15;
        let high = 0x2001_0db8_1234_5678;
        for (net, cell) in [
            ("2001:db8::/32", cell6_middle(high, seed)),
            ("2001:db8:1200::/40", cell6_middle(high, seed)),
            ("2001:db8:1234::/48", cell6_long(high, seed)),
            ("2001:db8:1234:5678::/64", cell6_long(high, seed)),
            ("2001:db8:1234:5678::9/128", cell6_long(high, seed)),
        ] {
            assert_eq!(of(net.parse().unwrap(), seed).cells, cell..cell + 1, "{net}");
        }
    }
}
