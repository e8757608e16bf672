//! Captures: pcap and pcapng, compressed or not, with every frame in them parsed.

use crate::{Target, file};
use sentinel::sensor::pcap::Capture;
use sentinel_common::packet::parse_ethernet;
use std::io::Cursor;
use std::path::Path;

/// The target.
pub const TARGET: Target = Target {
    name: "pcap",
    run,
    seeds,
};

/// Longest frame: what is taken for a record, and the header that may be put in front (bytes).
const LONGEST: usize = 262_144 + 14;
/// Frames that are read of one: what is compressed can hold very many.
const FRAMES: u64 = 10_000;

fn run(bytes: &[u8]) {
    let Ok(mut capture) = Capture::of(Path::new("fuzz.pcap"), Box::new(Cursor::new(bytes.to_vec()))) else {
        return;
    };
    while capture.records() < FRAMES {
        let Some(Ok(frame)) = capture.next() else { break };
        assert!(frame.bytes.len() <= LONGEST, "{} bytes", frame.bytes.len());
        let _ = parse_ethernet(&frame.bytes);
    }
    // Whatever ended it: it stays ended, or goes on.
    let _ = capture.next().is_none();
}

/// The beginnings of the captures there are, whole and cut, and small ones of every kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = small();
    for name in ["benign", "bruteforce_ssh", "c2_beacon", "icmp_flood", "scan_syn"] {
        let mut bytes = file(&format!("tests/fixtures/{name}.pcap"));
        bytes.truncate(2_000);
        seeds.push(bytes);
    }
    seeds
}

/// A capture of one packet for each link type, byte order and resolution, and of pcapng each kind of block.
pub(crate) fn small() -> Vec<Vec<u8>> {
    let packet: &[u8] = &[
        0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7, 0, 53, 0, 53, 0, 8, 0, 0,
    ];
    let mut out = Vec::new();
    for link in [1u32, 113, 276, 101, 0, 12, 147] {
        let skip = match link {
            1 => 14,
            113 => 16,
            276 => 20,
            0 => 4,
            _ => 0,
        };
        let frame = [vec![8; skip], packet.to_vec()].concat();
        for (magic, big) in [(0xa1b2_c3d4u32, false), (0xa1b2_3c4d, true)] {
            let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
            let half = |half: u16| if big { half.to_be_bytes() } else { half.to_le_bytes() };
            let len = frame.len() as u32;
            let head = [
                &word(magic)[..],
                &half(2),
                &half(4),
                &word(0),
                &word(0),
                &word(65_535),
                &word(link),
            ]
            .concat();
            let record = [&word(1)[..], &word(2), &word(len), &word(len), &frame].concat();
            out.push([head, record.clone(), record].concat());
        }
        out.push(next_generation(link as u16, &frame));
    }
    out
}

/// Section header, interface, packet in its three forms, and a block nobody knows (pcapng, sections 4.1 to 4.5).
fn next_generation(link: u16, frame: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, &body, &len].concat()
    };
    let len = (frame.len() as u32).to_le_bytes();
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [
        &link.to_le_bytes()[..],
        &[0, 0, 0xff, 0xff, 0, 0],
        &[9, 0, 1, 0, 9, 0, 0, 0],
    ]
    .concat();
    let packet = [&[0; 4][..], &[0, 0, 6, 0], &[1; 4], &len, &len, frame].concat();
    [
        block(0x0a0d_0d0a, &section),
        block(1, &interface),
        block(6, &packet),
        block(2, &packet),
        block(3, &[&len, frame].concat()),
        block(0xbad, b"what is this"),
    ]
    .concat()
}
