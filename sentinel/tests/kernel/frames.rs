//! Frames, written byte by byte.

use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SYN: u8 = 0x02;

/// An Ethernet frame with an IP packet inside.
pub(crate) fn frame(src: &str, dst: &str, l4: &[u8], proto: u8) -> Vec<u8> {
    tagged(&[], src, dst, l4, proto)
}

/// The same behind VLAN tags.
pub(crate) fn tagged(tags: &[u16], src: &str, dst: &str, l4: &[u8], proto: u8) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        out.extend(tag.to_be_bytes());
        out.extend([0, 7]);
    }
    match (src.parse().unwrap(), dst.parse().unwrap()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend(0x0800u16.to_be_bytes());
            out.extend([0x45, 0]);
            out.extend((20 + l4.len() as u16).to_be_bytes());
            out.extend([0, 1, 0, 0, 64, proto, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend(0x86ddu16.to_be_bytes());
            out.extend([0x60, 0, 0, 0]);
            out.extend((l4.len() as u16).to_be_bytes());
            out.extend([proto, 64]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        _ => panic!("{src} and {dst} are of different families"),
    }
    out.extend(l4);
    out
}

pub(crate) fn tcp(src_port: u16, dst_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(src_port.to_be_bytes());
    out.extend(dst_port.to_be_bytes());
    out.extend(1000u32.to_be_bytes());
    out.extend(2000u32.to_be_bytes());
    out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    out
}

pub(crate) fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(src_port.to_be_bytes());
    out.extend(dst_port.to_be_bytes());
    out.extend((8 + payload.len() as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}
