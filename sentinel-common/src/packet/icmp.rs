//! ICMP as flows: a request and its answers are one flow, and who asked is its source.
//!
//! ICMP has no ports, so type and code take their place, by the mapping of Community ID 1: a request has its own type
//! as source port and its answer's type as destination port, an answer the other way round; whatever is neither has its
//! type and code.

use crate::flow::PROTO_ICMP;

/// The place of ports: (source, destination) for a message of this protocol, type and code.
#[inline(always)]
pub const fn ports(proto: u8, kind: u8, code: u8) -> (u16, u16) {
    let other = if proto == PROTO_ICMP {
        counterpart4(kind)
    } else {
        counterpart6(kind)
    };
    match other {
        Some(other) => (kind as u16, other as u16),
        None => (kind as u16, code as u16),
    }
}

/// ICMP (RFC 792, 950, 1256): echo, timestamp, information, address mask, router discovery.
#[inline(always)]
const fn counterpart4(kind: u8) -> Option<u8> {
    Some(match kind {
        8 => 0,
        0 => 8,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        10 => 9,
        9 => 10,
        _ => return None,
    })
}

/// ICMPv6 (RFC 4443, 4861, 2710, 4620): echo, router and neighbour discovery, multicast listeners, node information.
#[inline(always)]
const fn counterpart6(kind: u8) -> Option<u8> {
    Some(match kind {
        128 => 129,
        129 => 128,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        130 => 131,
        131 => 130,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

/// Whether these ports are those of a message that has an answer, so that both directions are one flow.
pub const fn two_way(proto: u8, source: u16, destination: u16) -> bool {
    let other = if proto == PROTO_ICMP {
        counterpart4(source as u8)
    } else {
        counterpart6(source as u8)
    };
    matches!(other, Some(other) if other as u16 == destination)
}
