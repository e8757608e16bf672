//! Frames, written byte by byte.

use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

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

/// A small generator of numbers (xorshift64*), so that a failure can be run again from its seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A frame as an adversary would send it: mostly well formed, with tags, options, extension headers and fragments,
/// often cut short or altered in a few bytes. At least an Ethernet header, which is what the kernel's test run takes.
pub(crate) fn hostile(rng: &mut Rng) -> Vec<u8> {
    let mut out = rng.bytes(12);
    for _ in 0..rng.pick(&[0, 0, 0, 1, 1, 2, 3, 4]) {
        out.extend(rng.pick(&[0x8100u16, 0x88a8, 0x9100]).to_be_bytes());
        out.extend(rng.bytes(2));
    }
    match rng.below(10) {
        0 => out.extend(rng.pick(&[0x0806u16, 0x8847, 0x88cc, 0x0000, 0xffff]).to_be_bytes()),
        1..=5 => {
            out.extend(0x0800u16.to_be_bytes());
            hostile_v4(rng, &mut out);
        }
        _ => {
            out.extend(0x86ddu16.to_be_bytes());
            hostile_v6(rng, &mut out);
        }
    }
    if rng.one_in(3) {
        for _ in 0..=rng.below(4) {
            let at = rng.below(out.len());
            out[at] = rng.next() as u8;
        }
    }
    if rng.one_in(3) {
        out.truncate(14 + rng.below(out.len() - 13));
    }
    out.resize(out.len().max(14), 0);
    out
}

fn hostile_v4(rng: &mut Rng, out: &mut Vec<u8>) {
    let words = rng.pick(&[5, 5, 5, 5, 6, 10, 15, 4]);
    let proto = rng.pick(&[1, 6, 6, 6, 17, 17, 47, 58, 0, 44]);
    let mut l4 = hostile_l4(rng, proto);
    let options = rng.bytes(usize::from(words) * 4_usize - 16);
    let total = if rng.one_in(10) {
        rng.next() as u16
    } else {
        (16 + options.len() + l4.len()) as u16
    };
    out.extend([0x40 | words, 0]);
    out.extend(total.to_be_bytes());
    out.extend(rng.bytes(2));
    out.extend(
        rng.pick(&[0u16, 0, 0, 0x4000, 0x2000, 0x2001, 0x0100, 0x1fff, 0x8000])
            .to_be_bytes(),
    );
    out.extend([64, proto, 0, 0]);
    out.extend([10, 0, 0, rng.pick(&[1, 2, 3])]);
    out.extend(options);
    out.append(&mut l4);
}

fn hostile_v6(rng: &mut Rng, out: &mut Vec<u8>) {
    let mut chain = Vec::new();
    for _ in 0..rng.pick(&[0, 0, 0, 1, 1, 2, 3, 8, 9, 12]) {
        chain.push(rng.pick(&[0u8, 43, 44, 51, 60, 135, 139, 140]));
    }
    let proto = rng.pick(&[6, 6, 17, 58, 59, 4]);
    chain.push(proto);
    let mut payload = Vec::new();
    for pair in chain.windows(2) {
        let (kind, next) = (pair[0], pair[1]);
        if kind == 44 {
            payload.extend([next, 0]);
            payload.extend(rng.pick(&[0u16, 0, 1, 8, 9, 0xfff8, 6]).to_be_bytes());
            payload.extend(rng.bytes(4));
        } else {
            let units = rng.pick(&[0u8, 0, 1, 2, 30]);
            payload.extend([next, units]);
            let len = if kind == 51 {
                (usize::from(units) + 2) * 4
            } else {
                (usize::from(units) + 1) * 8
            };
            payload.extend(rng.bytes(len - 2));
        }
    }
    payload.extend(hostile_l4(rng, proto));
    let len = if rng.one_in(10) {
        rng.next() as u16
    } else {
        payload.len() as u16
    };
    out.extend([0x60, 0, 0, 0]);
    out.extend(len.to_be_bytes());
    out.extend([chain[0], 64]);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    for _ in 0..2 {
        if rng.one_in(40) {
            out.extend(mapped);
        } else {
            out.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, rng.pick(&[1, 2, 3])]);
        }
    }
    out.append(&mut payload);
}

fn hostile_l4(rng: &mut Rng, proto: u8) -> Vec<u8> {
    let mut l4 = match proto {
        6 => {
            let flags = rng.pick(&[0u8, 1, 2, 4, 0x10, 0x12, 0x14, 0x18, 0x11, 0x29, 0xff]);
            let mut out = tcp(rng.pick(&[1, 2]), rng.pick(&[22, 80]), flags, &[]);
            out[8..12].copy_from_slice(&rng.pick(&[1001u32, 2000]).to_be_bytes());
            out[12] = rng.pick(&[0x50, 0x50, 0x80, 0xf0, 0x00]);
            out
        }
        17 => udp(rng.pick(&[1, 2]), rng.pick(&[53, 123]), &[]),
        _ => rng.bytes(8),
    };
    let more = rng.pick(&[0, 0, 1, 5, 200]);
    l4.extend(rng.bytes(more));
    l4
}
