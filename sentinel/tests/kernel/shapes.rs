//! The shapes a packet comes in, for both families: one row each.

use super::frames::{SYN, TCP, UDP, frame, tagged, tcp, udp};

/// One row of the verdict matrix.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) frame: Vec<u8>,
    /// A source can be read from it. Where not, nothing can be listed, and it passes.
    pub(crate) readable: bool,
    /// Counter beside those of the verdict.
    pub(crate) also: Option<&'static str>,
}

/// Address, exact target and prefix of each family's source.
pub(crate) const SOURCE4: [&str; 3] = ["198.51.100.7", "198.51.100.7/32", "198.51.100.0/24"];
pub(crate) const SOURCE6: [&str; 3] = ["2001:db8::7", "2001:db8::7/128", "2001:db8::/64"];
const NEAR4: &str = "10.0.0.1";
const NEAR6: &str = "2001:db8:1::1";

const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// Length of the Ethernet header, and so where the IP header begins.
const IP: usize = 14;

fn row(name: &'static str, frame: Vec<u8>) -> Shape {
    Shape {
        name,
        frame,
        readable: true,
        also: None,
    }
}

fn unreadable(name: &'static str, frame: Vec<u8>) -> Shape {
    Shape {
        readable: false,
        also: Some("truncated"),
        ..row(name, frame)
    }
}

fn v4(l4: &[u8], proto: u8) -> Vec<u8> {
    frame(SOURCE4[0], NEAR4, l4, proto)
}

fn v6(payload: &[u8], next: u8) -> Vec<u8> {
    frame(SOURCE6[0], NEAR6, payload, next)
}

fn cut(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.truncate(len);
    frame
}

/// IPv4 with its fragment word set.
fn fragment4(word: u16) -> Vec<u8> {
    let mut frame = v4(&tcp(1, 2, SYN, b"x"), TCP);
    frame[IP + 6..IP + 8].copy_from_slice(&word.to_be_bytes());
    frame
}

/// IPv4 with `words` words of options.
fn options4(words: u8) -> Vec<u8> {
    let options = vec![1; usize::from(words) * 4];
    let mut frame = v4(&[&options[..], &tcp(1, 2, SYN, b"x")].concat(), TCP);
    frame[IP] = 0x45 + words;
    frame
}

/// An IPv6 fragment header in front of TCP.
fn fragment6(word: u16) -> Vec<u8> {
    let [high, low] = word.to_be_bytes();
    v6(
        &[&[TCP, 0, high, low, 0, 0, 0, 9][..], &tcp(1, 2, SYN, b"x")].concat(),
        44,
    )
}

/// Extension headers of these kinds, each of eight bytes, in front of TCP.
fn chain6(kinds: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, _) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(TCP);
        payload.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    payload.extend(tcp(1, 2, SYN, b"x"));
    v6(&payload, kinds[0])
}

pub(crate) fn shapes4() -> Vec<Shape> {
    let tags = |tags: &[u16]| tagged(tags, SOURCE4[0], NEAR4, &udp(1, 2, b"x"), UDP);
    vec![
        row("TCP", v4(&tcp(1, 2, SYN, b"x"), TCP)),
        row("UDP", v4(&udp(1, 2, b"x"), UDP)),
        row("ICMP", v4(&[8, 0, 0, 0, 0, 1, 0, 1], ICMP)),
        row("another protocol", v4(&[0; 8], 47)),
        row("one word of options", options4(1)),
        row("all options", options4(10)),
        row("first fragment", fragment4(0x2000)),
        row("later fragment", fragment4(0x2001)),
        row("last fragment", fragment4(0x00b9)),
        row("VLAN", tags(&[0x8100])),
        row("QinQ", tags(&[0x88a8, 0x8100])),
        row("QinQ, old EtherType", tags(&[0x9100, 0x8100])),
        row("three tags", tags(&[0x88a8, 0x8100, 0x8100])),
        row("L4 cut short", cut(v4(&tcp(1, 2, SYN, b"x"), TCP), IP + 20 + 6)),
        row("no L4", cut(v4(&tcp(1, 2, SYN, b"x"), TCP), IP + 20)),
        row("options cut short", cut(options4(10), IP + 20 + 8)),
        unreadable("header cut short", cut(v4(&tcp(1, 2, SYN, b"x"), TCP), IP + 18)),
        unreadable("nothing behind the tag", cut(tags(&[0x8100]), 16)),
    ]
}

pub(crate) fn shapes6() -> Vec<Shape> {
    let tags = |tags: &[u16]| tagged(tags, SOURCE6[0], NEAR6, &udp(1, 2, b"x"), UDP);
    let auth = [&[TCP, 4, 0, 0][..], &[0; 20], &tcp(1, 2, SYN, b"x")].concat();
    vec![
        row("TCP", v6(&tcp(1, 2, SYN, b"x"), TCP)),
        row("UDP", v6(&udp(1, 2, b"x"), UDP)),
        row("ICMPv6", v6(&[128, 0, 0, 0, 0, 1, 0, 1], ICMP6)),
        row("no next header", v6(&[], 59)),
        row("hop-by-hop options", chain6(&[0])),
        row("routing and destination options", chain6(&[43, 60])),
        row("authentication header", v6(&auth, 51)),
        row("eight extension headers", chain6(&[60; 8])),
        Shape {
            also: Some("too_deep"),
            ..row("nine extension headers", chain6(&[60; 9]))
        },
        row("atomic fragment", fragment6(0)),
        row("first fragment", fragment6(1)),
        row("later fragment", fragment6(9)),
        row("VLAN", tags(&[0x8100])),
        row("QinQ", tags(&[0x88a8, 0x8100])),
        row("three tags", tags(&[0x88a8, 0x8100, 0x8100])),
        row("L4 cut short", cut(v6(&tcp(1, 2, SYN, b"x"), TCP), IP + 40 + 6)),
        row("extension header cut short", cut(chain6(&[60, 60]), IP + 40 + 9)),
        unreadable("header cut short", cut(v6(&tcp(1, 2, SYN, b"x"), TCP), IP + 38)),
    ]
}
