//! The short way of plain packets ends where the whole rule does.

use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Direction, Half, PROTO_TCP, PROTO_UDP};
use sentinel_common::hash::{Keys, hash, place};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};
use sentinel_common::plain::{PSH_SHIFT, Plain};
use sentinel_common::slot::{Bucket, Head, Slot, UNIT_SHIFT, WAYS, units};
use sentinel_common::table::{Host, Learned, Pass, TELL};
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
    now_ns: u64,
    reports: Vec<(Half, bool)>,
}

impl<'a> Host for Around<'a> {
    type Words = &'a Cell<talk::Cell>;

    fn words(&mut self, _hash: u64) -> Option<Self::Words> {
        Some(self.cell)
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, head: &Head, slot: &Slot, _way: usize, _cause: u32) -> bool {
        self.reports.push((slot.half(head, self.now_ns), self.refuses));
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
        len: u64::from(packet.l3_len),
        payload_len: u64::from(packet.payload_len),
        psh: u64::from(step.tcp && step.flags & TCP_PSH != 0) << PSH_SHIFT,
        now: u64::from(units(now_ns)),
    })
}

fn direction(step: &Step) -> Direction {
    if step.out {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

fn pass<'a>(step: &Step, packet: &'a PacketMeta, now_ns: u64) -> Pass<'a> {
    Pass {
        packet,
        direction: direction(step),
        hash: hash(&KEYS, packet, direction(step)),
        now_ns,
        interval_ns: INTERVAL_NS,
        ifindex: 1,
        allowed: if step.out { None } else { Some(step.allowed) },
        clear: 0,
    }
}

/// A bucket with everything a packet that goes the whole way adds to the totals.
fn folded(bucket: &Bucket) -> Bucket {
    let mut bucket = *bucket;
    for slot in &mut bucket.slots {
        slot.fold();
    }
    bucket
}

/// One table all packets go the whole way through, and one in which those go the short way that fit.
#[derive(Default)]
struct Both {
    whole: Bucket,
    mixed: Bucket,
    cells: [Cell<talk::Cell>; 2],
    /// Packets that went the short way.
    short: u32,
}

impl Both {
    fn step(&mut self, step: &Step, now_ns: u64) -> Result<(), TestCaseError> {
        let packet = packet(step);
        let pass = pass(step, &packet, now_ns);
        let (_, tag) = place(pass.hash, pass.direction);
        let [mut whole, mut mixed] = self.cells.each_ref().map(|cell| Around {
            cell,
            refuses: step.refuses,
            now_ns,
            reports: Vec::new(),
        });
        let learned = pass.count(&mut self.whole, tag, || None, &mut whole);
        let way = (self.mixed.find(tag) & 3) as usize;
        let (head, slot) = (&mut self.mixed.heads[way], &mut self.mixed.slots[way]);
        let found = head.tag == tag && slot.holds(&packet, pass.direction);
        let packets = u64::from(head.packets) + 1;
        let runs = found && slot.runs() && packets & u64::from(TELL - 1) != 0;
        let short = plain(step, &packet, now_ns).filter(|plain| runs && plain.fits(slot));
        if let Some(plain) = short {
            plain.count(head, slot, packets);
            self.short += 1;
            prop_assert_eq!(
                learned,
                Learned {
                    counted: true,
                    ..Learned::default()
                },
                "nothing to tell a source of"
            );
        } else {
            prop_assert_eq!(learned, pass.count(&mut self.mixed, tag, || None, &mut mixed));
        }
        prop_assert_eq!(folded(&self.whole), folded(&self.mixed));
        prop_assert_eq!(whole.reports, mixed.reports);
        prop_assert_eq!(self.cells[0].get(), self.cells[1].get());
        for way in 0..WAYS {
            let halves = [&self.whole, &self.mixed].map(|bucket| bucket.slots[way].half(&bucket.heads[way], now_ns));
            prop_assert_eq!(halves[0], halves[1], "what the agent reads");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn it_is_the_same_as_the_whole_rule(steps in prop::collection::vec(step(), 1..400)) {
        let (mut both, mut now_ns) = (Both::default(), 1_000_000_000_000);
        for step in &steps {
            now_ns += step.wait_ns;
            both.step(step, now_ns)?;
        }
    }

    /// The longest run of packets between two that go the whole way, each as long as packets are.
    #[test]
    fn sums_have_room(payload in prop::sample::select(vec![0u32, 1, 1448, 65_495]), flags in prop::sample::select(vec![ACK, ACK | TCP_PSH])) {
        let (mut both, mut now_ns) = (Both::default(), 1_000_000_000_000);
        for _ in 0..200 {
            now_ns += 1 << UNIT_SHIFT;
            both.step(&Step { flags, payload, ..RUNNING }, now_ns)?;
        }
        // All but those until it is settled, and each 32nd.
        prop_assert!(both.short > 170, "{}", both.short);
    }
}

/// A packet of a conversation that runs.
const RUNNING: Step = Step {
    tcp: true,
    out: false,
    flags: TCP_ACK,
    payload: 100,
    wait_ns: 0,
    allowed: false,
    refuses: false,
    fragment: false,
};
