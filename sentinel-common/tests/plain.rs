//! The short way of plain packets ends where the whole rule does.

use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Direction, PROTO_TCP, PROTO_UDP};
use sentinel_common::hash::{Keys, hash, place};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};
use sentinel_common::plain::Plain;
use sentinel_common::slot::{Bucket, Head, Slot};
use sentinel_common::table::{Host, Learned, Pass};
use sentinel_common::talk;
use std::cell::Cell;

const KEYS: Keys = Keys::new(0x0123_4567_89ab_cdef);
const INTERVAL_NS: u64 = 5_000_000_000;
const ACK: u8 = TCP_ACK;
const FLAGS: [u8; 8] = [
    ACK,
    ACK,
    ACK | TCP_PSH,
    ACK | TCP_PSH,
    TCP_SYN,
    ACK | TCP_FIN,
    TCP_RST,
    ACK | 0x40,
];

/// A ring that may refuse, and one conversation.
struct Around<'a> {
    cell: &'a Cell<talk::Cell>,
    refuses: bool,
    reports: u32,
}

impl<'a> Host for Around<'a> {
    type Words = &'a Cell<talk::Cell>;

    fn words(&mut self, _hash: u64) -> Option<Self::Words> {
        Some(self.cell)
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, _head: &Head, _slot: &Slot, _way: usize, _cause: u32) -> bool {
        self.reports += 1;
        !self.refuses
    }

    fn taken(&mut self, _way: usize) -> u64 {
        0
    }

    fn evicted(&mut self, _packets: u32, _told: bool) {}

    fn hide(&self, way: u64) -> u64 {
        way
    }
}

/// A packet of one of two flows, near or far.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, drawn one by one")]
struct Step {
    tcp: bool,
    out: bool,
    flags: u8,
    payload: u32,
    wait_ns: u64,
    allowed: bool,
    refuses: bool,
    fragment: bool,
}

prop_compose! {
    fn step()(
        tcp in prop::bool::weighted(0.7),
        out in prop::bool::weighted(0.2),
        flags in prop::sample::select(&FLAGS[..]),
        payload in prop::sample::select(vec![0u32, 0, 1, 100, 1448, 70_000]),
        wait in prop::sample::select(vec![0u64, 0, 1000, 70_000, 4_000_000, 300_000_000, 6_000_000_000, 61_000_000_000]),
        odd in 0u8..100,
    ) -> Step {
        Step {
            tcp, out, flags, payload, wait_ns: wait, allowed: odd < 3, refuses: odd > 60, fragment: odd == 50,
        }
    }
}

fn packet(step: &Step) -> PacketMeta {
    let (far, near) = (Addr::v4([192, 0, 2, 1]), Addr::v4([10, 0, 0, 1]));
    let (src, dst, ports) = if step.out {
        (near, far, (22, 4000))
    } else {
        (far, near, (4000, 22))
    };
    let headers = if step.tcp { 40 } else { 28 };
    PacketMeta {
        src,
        dst,
        src_port: ports.0,
        dst_port: ports.1,
        proto: if step.tcp { PROTO_TCP } else { PROTO_UDP },
        tcp_flags: if step.tcp { step.flags } else { 0 },
        // Mostly what completes the handshake.
        tcp_ack: 1,
        ip_version: 4,
        fragment: step.fragment,
        l3_len: headers + step.payload,
        payload_len: step.payload,
        ..PacketMeta::default()
    }
}

/// Whether the short way may take it at all, as the gate asks.
fn plain(step: &Step, packet: &PacketMeta, now_ns: u64) -> Option<Plain> {
    let data = !step.tcp || step.flags & !TCP_PSH == TCP_ACK;
    (data && !step.out && !step.fragment && !step.allowed).then_some(Plain {
        len: packet.l3_len,
        payload_len: packet.payload_len,
        psh: u32::from(step.tcp && step.flags & TCP_PSH != 0),
        now_ns,
    })
}

fn direction(step: &Step) -> Direction {
    if step.out {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

proptest! {
    #[test]
    fn it_is_the_same_as_the_whole_rule(steps in prop::collection::vec(step(), 1..400)) {
        let (mut bucket, cell) = (Bucket::default(), Cell::new(talk::Cell::default()));
        let mut now_ns = 1_000_000_000_000;
        for step in &steps {
            now_ns += step.wait_ns;
            let packet = packet(step);
            let hash = hash(&KEYS, &packet, direction(step));
            let (_, tag) = place(hash, direction(step));
            let way = (bucket.find(tag) & 3) as usize;
            let found = bucket.heads[way].tag == tag && bucket.slots[way].holds(&packet, direction(step));
            let short = plain(step, &packet, now_ns)
                .filter(|plain| found && plain.fits(&bucket.heads[way], &bucket.slots[way]));
            let (mut other, before) = (bucket, cell.get());
            let mut around = Around { cell: &cell, refuses: step.refuses, reports: 0 };
            let pass = Pass {
                packet: &packet,
                direction: direction(step),
                hash,
                now_ns,
                interval_ns: INTERVAL_NS,
                ifindex: 1,
                allowed: if step.out { None } else { Some(step.allowed) },
            };
            let learned = pass.count(&mut bucket, tag, &mut around);
            if let Some(plain) = short {
                plain.count(&mut other.heads[way], &mut other.slots[way]);
                prop_assert_eq!(other, bucket);
                prop_assert_eq!(learned, Learned { counted: true, ..Learned::default() }, "nothing to tell a source of");
                prop_assert_eq!((around.reports, cell.get()), (0, before));
            }
        }
    }
}

/// What the property would not show if nothing ever took the short way.
#[test]
fn a_running_conversation_takes_it() {
    let (mut bucket, cell) = (Bucket::default(), Cell::new(talk::Cell::default()));
    let step = Step {
        tcp: true,
        out: false,
        flags: TCP_ACK,
        payload: 100,
        wait_ns: 0,
        allowed: false,
        refuses: false,
        fragment: false,
    };
    let packet = packet(&step);
    let hash = hash(&KEYS, &packet, Direction::Ingress);
    let (_, tag) = place(hash, Direction::Ingress);
    let mut short = 0;
    for n in 0..320u64 {
        let now_ns = 1_000_000_000_000 + n * 1_000_000;
        let way = (bucket.find(tag) & 3) as usize;
        let fits = bucket.heads[way].tag == tag
            && plain(&step, &packet, now_ns).is_some_and(|plain| plain.fits(&bucket.heads[way], &bucket.slots[way]));
        short += u32::from(fits);
        let pass = Pass {
            packet: &packet,
            direction: Direction::Ingress,
            hash,
            now_ns,
            interval_ns: INTERVAL_NS,
            ifindex: 1,
            allowed: Some(false),
        };
        let mut around = Around {
            cell: &cell,
            refuses: false,
            reports: 0,
        };
        pass.count(&mut bucket, tag, &mut around);
    }
    // All but the first 16, until it is settled, and each 32nd.
    assert!(short > 280, "{short}");
}
