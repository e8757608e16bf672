//! Community ID version 1 (github.com/corelight/community-id-spec): the same flow has the same name in every tool.

use base64_text::encode;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use sentinel_common::packet::icmp_two_way;
use sha1::{Digest, Sha1};

const PROTO_SCTP: u8 = 132;

/// The community id of a flow with seed 0, from its source and destination as the parser gives them.
pub fn id(source: (Addr, u16), destination: (Addr, u16), proto: u8) -> String {
    let icmp = matches!(proto, PROTO_ICMP | PROTO_ICMPV6);
    let one_way = icmp && !icmp_two_way(proto, source.1, destination.1);
    let in_order = (octets(&source.0), source.1) <= (octets(&destination.0), destination.1);
    let (low, high) = if in_order || one_way {
        (source, destination)
    } else {
        (destination, source)
    };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    hash.update(octets(&low.0));
    hash.update(octets(&high.0));
    hash.update([proto, 0]);
    if icmp || matches!(proto, PROTO_TCP | PROTO_UDP | PROTO_SCTP) {
        hash.update(low.1.to_be_bytes());
        hash.update(high.1.to_be_bytes());
    }
    format!("1:{}", encode(&hash.finalize()))
}

/// Base64 (RFC 4648, 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    encode(bytes)
}

fn octets(addr: &Addr) -> Vec<u8> {
    addr.as_v4().map_or_else(|| addr.0.to_vec(), |v4| v4.to_vec())
}

mod base64_text {
    //! Base64 (RFC 4648, 4) of a digest; twelve lines are not worth a package.

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let word = u32::from_be_bytes([
                0,
                chunk[0],
                chunk.get(1).copied().unwrap_or(0),
                chunk.get(2).copied().unwrap_or(0),
            ]);
            for i in 0..4 {
                let letter = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
                out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn the_whole_baseline_of_the_specification() {
        let end = |ip: &str, port| (Addr::from(ip.parse::<IpAddr>().unwrap()), port);
        for (a, from, b, to, proto, expected) in [
            (
                "fe80::200:86ff:fe05:80da",
                135,
                "fe80::260:97ff:fe07:69ea",
                136,
                58,
                "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            ),
            (
                "fe80::260:97ff:fe07:69ea",
                136,
                "fe80::200:86ff:fe05:80da",
                135,
                58,
                "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            ),
            (
                "fe80::260:97ff:fe07:69ea",
                135,
                "fe80::200:86ff:fe05:80da",
                136,
                58,
                "1:zavyT/cezQr1fmImYCwYnMXbgck=",
            ),
            (
                "fe80::200:86ff:fe05:80da",
                136,
                "fe80::260:97ff:fe07:69ea",
                135,
                58,
                "1:zavyT/cezQr1fmImYCwYnMXbgck=",
            ),
            (
                "3ffe:501:1800:2345::2",
                3,
                "3ffe:507:0:1:200:86ff:fe05:80da",
                0,
                58,
                "1:2ObVBgIn28oZvibYZhZMBgh7WdQ=",
            ),
            (
                "3ffe:501:410:0:2c0:dfff:fe47:33e",
                1,
                "3ffe:507:0:1:200:86ff:fe05:80da",
                4,
                58,
                "1:hLZd0XGWojozrvxqE0dWB1iM6R0=",
            ),
            (
                "3ffe:507:0:1:200:86ff:fe05:80da",
                128,
                "3ffe:501:0:1001::2",
                129,
                58,
                "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
            ),
            (
                "3ffe:501:0:1001::2",
                129,
                "3ffe:507:0:1:200:86ff:fe05:80da",
                128,
                58,
                "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
            ),
            (
                "fe80::200:86ff:fe05:80da",
                133,
                "ff02::2",
                134,
                58,
                "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=",
            ),
            (
                "fe80::260:97ff:fe07:69ea",
                134,
                "ff02::1",
                133,
                58,
                "1:pkvHqCL88/tg1k4cPigmZXUtL00=",
            ),
            ("192.168.0.89", 8, "192.168.0.1", 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            ("192.168.0.1", 0, "192.168.0.89", 8, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            ("10.0.0.1", 11, "10.0.0.2", 0, 1, "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
            (
                "2001:470:e5bf:dead:4957:2174:e82c:4887",
                63943,
                "2607:f8b0:400c:c03::1a",
                25,
                6,
                "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            ),
            (
                "2607:f8b0:400c:c03::1a",
                25,
                "2001:470:e5bf:dead:4957:2174:e82c:4887",
                63943,
                6,
                "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            ),
            (
                "192.168.170.8",
                7,
                "192.168.170.56",
                7,
                132,
                "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            ),
            (
                "192.168.170.56",
                7,
                "192.168.170.8",
                7,
                132,
                "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            ),
            (
                "128.232.110.120",
                34855,
                "66.35.250.204",
                80,
                6,
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                "66.35.250.204",
                80,
                "128.232.110.120",
                34855,
                6,
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                "192.168.1.52",
                54585,
                "8.8.8.8",
                53,
                17,
                "1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
            ),
            (
                "8.8.8.8",
                53,
                "192.168.1.52",
                54585,
                17,
                "1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
            ),
            ("10.1.12.1", 0, "10.1.12.2", 0, 46, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
            ("10.1.12.2", 0, "10.1.12.1", 0, 46, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        ] {
            assert_eq!(id(end(a, from), end(b, to), proto), expected, "{a} {b} {proto}");
        }
    }
}
