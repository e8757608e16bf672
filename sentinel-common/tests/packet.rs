//! The parser: what it makes of each shape of frame, and that no truncation or noise upsets it.

use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};

const SRC4: [u8; 4] = [198, 51, 100, 7];
const DST4: [u8; 4] = [10, 0, 0, 1];
const SRC6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const DST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn ether(tags: &[u16], ethertype: u16, l3: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 12];
    for tag in tags {
        out.extend(tag.to_be_bytes());
        out.extend([0, 1]);
    }
    out.extend(ethertype.to_be_bytes());
    out.extend(l3);
    out
}

fn v4(options: &[u8], fragment: u16, proto: u8, l4: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut out = vec![0x40 | (header / 4) as u8, 0];
    out.extend(((header + l4.len()) as u16).to_be_bytes());
    out.extend([0, 1]);
    out.extend(fragment.to_be_bytes());
    out.extend([64, proto, 0, 0]);
    out.extend(SRC4);
    out.extend(DST4);
    out.extend(options);
    out.extend(l4);
    out
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x60, 0, 0, 0];
    out.extend((payload.len() as u16).to_be_bytes());
    out.extend([next, 64]);
    out.extend(SRC6);
    out.extend(DST6);
    out.extend(payload);
    out
}

fn tcp(payload: usize) -> Vec<u8> {
    let mut out = vec![
        0x9c, 0x40, 0, 22, 0, 0, 0, 5, 0, 0, 0, 6, 0x60, 0x12, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1,
    ];
    out.resize(24 + payload, 0x55);
    out
}

fn udp(payload: usize) -> Vec<u8> {
    let mut out = vec![0x30, 0x39, 0, 53];
    out.extend((8 + payload as u16).to_be_bytes());
    out.extend([0, 0]);
    out.resize(8 + payload, 0x55);
    out
}

fn tcp4() -> PacketMeta {
    PacketMeta {
        src: Addr::v4(SRC4),
        dst: Addr::v4(DST4),
        src_port: 40_000,
        dst_port: 22,
        proto: 6,
        tcp_flags: 0x12,
        ip_version: 4,
        tcp_seq: 5,
        tcp_ack: 6,
        l3_len: 54,
        payload_len: 10,
        ..PacketMeta::default()
    }
}

fn udp6() -> PacketMeta {
    PacketMeta {
        src: Addr(SRC6),
        dst: Addr(DST6),
        src_port: 12_345,
        dst_port: 53,
        proto: 17,
        ip_version: 6,
        l3_len: 51,
        payload_len: 3,
        ..PacketMeta::default()
    }
}

/// One extension header of 8 bytes.
fn ext(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

fn fragment(next: u8, word: u16) -> [u8; 8] {
    let [high, low] = word.to_be_bytes();
    [next, 0, high, low, 0, 0, 0, 9]
}

/// Offsets are counted from the end of the frame, by the lengths that are expected.
#[track_caller]
fn check(frame: &[u8], expected: Result<PacketMeta, ParseError>) {
    let expected = expected.map(|meta| {
        let header = match meta.proto {
            6 => 24,
            17 => 8,
            _ => 0,
        };
        let has_ports = header > 0 && !meta.later_fragment;
        let l4_len = if has_ports { meta.payload_len + header } else { 0 };
        PacketMeta {
            l3_offset: (frame.len() - meta.l3_len as usize) as u16,
            l4_offset: if has_ports {
                (frame.len() - l4_len as usize) as u16
            } else {
                0
            },
            ..meta
        }
    });
    assert_eq!(parse_ethernet(&frame), expected);
}

#[test]
fn ipv4() {
    check(&ether(&[], 0x0800, &v4(&[], 0, 6, &tcp(10))), Ok(tcp4()));
    let options = PacketMeta { l3_len: 94, ..tcp4() };
    check(&ether(&[], 0x0800, &v4(&[1; 40], 0, 6, &tcp(10))), Ok(options));
    let icmp = PacketMeta {
        proto: 1,
        l3_len: 36,
        payload_len: 8,
        src: Addr::v4(SRC4),
        dst: Addr::v4(DST4),
        ip_version: 4,
        src_port: 8,
        dst_port: 0,
        ..PacketMeta::default()
    };
    check(&ether(&[], 0x0800, &v4(&[], 0, 1, &[8; 16])), Ok(icmp));
    let answer = PacketMeta {
        src_port: 0,
        dst_port: 8,
        ..icmp
    };
    check(&ether(&[], 0x0800, &v4(&[], 0, 1, &[0; 16])), Ok(answer));
    let unreachable = PacketMeta {
        src_port: 3,
        dst_port: 3,
        ..icmp
    };
    check(&ether(&[], 0x0800, &v4(&[], 0, 1, &[3; 16])), Ok(unreachable));
    check(
        &ether(&[], 0x0800, &v4(&[], 0, 47, &[8; 16])),
        Ok(PacketMeta {
            proto: 47,
            payload_len: 16,
            src_port: 0,
            ..icmp
        }),
    );
}

#[test]
fn tags() {
    let packet = v4(&[], 0, 6, &tcp(10));
    for tags in [
        &[0x8100][..],
        &[0x88a8, 0x8100],
        &[0x9100, 0x8100],
        &[0x8100, 0x8100, 0x8100],
    ] {
        check(&ether(tags, 0x0800, &packet), Ok(tcp4()));
    }
    check(&ether(&[0x8100; 4], 0x0800, &packet), Err(ParseError::TooDeep));
    check(&ether(&[0x8100], 0x0806, &[0; 28]), Err(ParseError::NotIp));
}

#[test]
fn ipv4_fragments() {
    let first = PacketMeta {
        fragment: true,
        ..tcp4()
    };
    check(&ether(&[], 0x0800, &v4(&[], 0x2000, 6, &tcp(10))), Ok(first));
    check(&ether(&[], 0x0800, &v4(&[], 0x4000, 6, &tcp(10))), Ok(tcp4()));
    let later = PacketMeta {
        src_port: 0,
        dst_port: 0,
        tcp_flags: 0,
        tcp_seq: 0,
        tcp_ack: 0,
        payload_len: 34,
        later_fragment: true,
        ..first
    };
    check(&ether(&[], 0x0800, &v4(&[], 0x2001, 6, &tcp(10))), Ok(later));
    check(&ether(&[], 0x0800, &v4(&[], 0x1fff, 6, &tcp(10))), Ok(later));
}

#[test]
fn ipv6_extension_headers() {
    check(&ether(&[], 0x86dd, &v6(17, &udp(3))), Ok(udp6()));
    let chain = [&ext(60)[..], &ext(43), &ext(17), &udp(3)].concat();
    check(
        &ether(&[], 0x86dd, &v6(0, &chain)),
        Ok(PacketMeta { l3_len: 75, ..udp6() }),
    );
    // An authentication header counts in units of four bytes.
    let auth = [&[17, 4][..], &[0; 22], &udp(3)].concat();
    check(
        &ether(&[], 0x86dd, &v6(51, &auth)),
        Ok(PacketMeta { l3_len: 75, ..udp6() }),
    );
    for kind in [135, 139, 140] {
        let chain = [&ext(17)[..], &udp(3)].concat();
        check(
            &ether(&[], 0x86dd, &v6(kind, &chain)),
            Ok(PacketMeta { l3_len: 59, ..udp6() }),
        );
    }
}

#[test]
fn ipv6_fragments() {
    let with = |word| ether(&[], 0x86dd, &v6(44, &[&fragment(17, word)[..], &udp(3)].concat()));
    let atomic = PacketMeta { l3_len: 59, ..udp6() };
    check(&with(0), Ok(atomic));
    let first = PacketMeta {
        fragment: true,
        ..atomic
    };
    check(&with(1), Ok(first));
    let later = PacketMeta {
        later_fragment: true,
        src_port: 0,
        dst_port: 0,
        payload_len: 11,
        ..first
    };
    check(&with(8), Ok(later));
    check(&with(0xfff9), Ok(later));
}

#[test]
fn a_chain_too_deep_still_names_its_source() {
    let chain = |n: usize| [ext(60).repeat(n - 1), ext(17).to_vec(), udp(3)].concat();
    let eight = PacketMeta {
        l3_len: 51 + 64,
        ..udp6()
    };
    check(&ether(&[], 0x86dd, &v6(60, &chain(8))), Ok(eight));
    let nine = parse_ethernet(&ether(&[], 0x86dd, &v6(60, &chain(9))).as_slice()).unwrap();
    assert_eq!(
        (nine.src, nine.proto, nine.too_deep, nine.src_port),
        (Addr(SRC6), 60, true, 0)
    );
}

#[test]
fn what_contradicts_itself() {
    let break_at = |at: usize, value: u8, ethertype: u16, mut packet: Vec<u8>| {
        packet[at] = value;
        ether(&[], ethertype, &packet)
    };
    let (four, six) = (v4(&[], 0, 6, &tcp(10)), v6(17, &udp(3)));
    check(&break_at(0, 0x65, 0x0800, four.clone()), Err(ParseError::Malformed));
    check(&break_at(0, 0x44, 0x0800, four.clone()), Err(ParseError::Malformed));
    check(&break_at(3, 19, 0x0800, four.clone()), Err(ParseError::Malformed));
    check(&break_at(0, 0x40, 0x86dd, six), Err(ParseError::Malformed));
    check(&ether(&[], 0x86dd, &four), Err(ParseError::Malformed));
    // An IPv4-mapped address inside IPv6 would pass for an IPv4 source.
    let mut mapped = v6(17, &udp(3));
    mapped[8..24].copy_from_slice(&Addr::v4(SRC4).0);
    check(&ether(&[], 0x86dd, &mapped), Err(ParseError::Mapped));
}

#[test]
fn padding_is_no_header() {
    // The packet ends with its IP header; what follows in the frame looks like TCP.
    let mut packet = v4(&[], 0, 6, &tcp(10));
    packet[2..4].copy_from_slice(&20u16.to_be_bytes());
    let meta = parse_ethernet(&ether(&[], 0x0800, &packet).as_slice()).unwrap();
    assert_eq!(
        (meta.src_port, meta.tcp_flags, meta.payload_len, meta.l4_offset),
        (0, 0, 0, 0)
    );
    let mut packet = v6(60, &[&ext(17)[..], &udp(3)].concat());
    packet[4..6].copy_from_slice(&7u16.to_be_bytes());
    let meta = parse_ethernet(&ether(&[], 0x86dd, &packet).as_slice()).unwrap();
    assert_eq!((meta.proto, meta.src_port), (60, 0));
}

/// Every shape, cut at every byte: an error before the addresses are complete, the source from then on.
#[test]
fn cut_at_every_byte() {
    let shapes = [
        (ether(&[0x88a8, 0x8100], 0x0800, &v4(&[1; 8], 0, 6, &tcp(10))), 22 + 20),
        (ether(&[], 0x0800, &v4(&[], 0, 17, &udp(10))), 14 + 20),
        (ether(&[], 0x86dd, &v6(17, &udp(3))), 14 + 40),
        (
            ether(
                &[0x8100],
                0x86dd,
                &v6(
                    0,
                    &[&ext(44)[..], &fragment(51, 1), &[6, 1], &[0; 10], &tcp(4)].concat(),
                ),
            ),
            18 + 40,
        ),
    ];
    for (frame, known) in shapes {
        let whole = parse_ethernet(&frame.as_slice()).unwrap();
        for len in 0..frame.len() {
            match parse_ethernet(&&frame[..len]) {
                Ok(meta) => {
                    assert!(len >= known, "{len}");
                    assert_eq!((meta.src, meta.dst, meta.l3_len), (whole.src, whole.dst, whole.l3_len));
                }
                Err(error) => {
                    assert!(len < known, "{len}");
                    assert_eq!(error, ParseError::Truncated);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_ethernet(&frame.as_slice());
    }

    #[test]
    fn any_ip_is_survived(six in any::<bool>(), l3 in prop::collection::vec(any::<u8>(), 0..300)) {
        let ethertype = if six { 0x86dd } else { 0x0800 };
        if let Ok(meta) = parse_ethernet(&ether(&[], ethertype, &l3).as_slice()) {
            prop_assert_eq!(meta.ip_version, if six { 6 } else { 4 });
            prop_assert!(meta.payload_len <= meta.l3_len);
            prop_assert!(!meta.later_fragment || meta.fragment);
            prop_assert!(!meta.later_fragment || (meta.src_port, meta.dst_port) == (0, 0));
        }
    }
}
