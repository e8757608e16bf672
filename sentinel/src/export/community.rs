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
    fn the_specification_s_own_examples() {
        let end = |ip: &str, port| (Addr::from(ip.parse::<IpAddr>().unwrap()), port);
        for (a, b, proto, expected) in [
            (
                end("128.232.110.120", 34855),
                end("66.35.250.204", 80),
                6,
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                end("192.168.1.52", 54585),
                end("8.8.8.8", 53),
                17,
                "1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
            ),
            (
                end("192.168.0.89", 8),
                end("192.168.0.1", 0),
                1,
                "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=",
            ),
            (
                end("fe80::200:86ff:fe05:80da", 135),
                end("fe80::260:97ff:fe07:69ea", 136),
                58,
                "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            ),
        ] {
            assert_eq!(id(a, b, proto), expected);
            assert_eq!(id(b, a, proto), expected);
        }
    }
}
