//! The rule that updates a flow, the entries that expire, and the names both sides rely on.

use sentinel_common::addr::Addr;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::event::{FlowRecord, KIND_FLOW, VERSION};
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_PERIODIC, Direction, FlowKey, FlowValue, Half, KEY_FRAGMENT, PROTO_TCP, PROTO_UDP,
    STATE_CLOSED, STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS, STATE_REPORTED,
};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};
use sentinel_common::slot::{HEAD_TOLD, Head, Slot, UNIT_SHIFT};
use sentinel_common::stat::{COUNTERS, Counter};
use sentinel_common::table::{Host, Pass};
use sentinel_common::talk::{self, Words};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use Direction::{Egress, Ingress};

/// In units, as every time here: what a slot keeps of the time is no finer.
const INTERVAL: u64 = 100;

fn tcp(flags: u8, seq: u32, ack: u32, payload: u32) -> PacketMeta {
    PacketMeta {
        src: Addr::v4([198, 51, 100, 7]),
        dst: Addr::v4([10, 0, 0, 1]),
        src_port: 4000,
        dst_port: 22,
        proto: PROTO_TCP,
        tcp_flags: flags,
        tcp_seq: seq,
        tcp_ack: ack,
        ip_version: 4,
        l3_len: 40 + payload,
        payload_len: payload,
        ..PacketMeta::default()
    }
}

/// Both directions of one flow, and a ring that may refuse.
#[derive(Default)]
struct Flow {
    slots: [(Head, Slot); 2],
    cell: Rc<Cell<talk::Cell>>,
    ring: Ring,
}

#[derive(Default)]
struct Ring {
    cell: Rc<Cell<talk::Cell>>,
    now_ns: u64,
    refuses: bool,
    asked: Option<u32>,
    told: FlowValue,
}

struct Word(Rc<Cell<talk::Cell>>);

impl Words for Word {
    fn get(&self, index: usize) -> u64 {
        Words::get(&*self.0, index)
    }

    fn set(&self, index: usize, word: u64) {
        Words::set(&*self.0, index, word);
    }
}

impl Host for Ring {
    type Words = Word;

    fn words(&mut self, _hash: u64) -> Option<Word> {
        Some(Word(Rc::clone(&self.cell)))
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, head: &Head, slot: &Slot, _way: usize, cause: u32) -> bool {
        self.asked = Some(cause);
        if !self.refuses {
            let state = u32::from(head.state & HEAD_TOLD);
            self.told.absorb(slot.direction(), &slot.half(head, self.now_ns), state);
        }
        !self.refuses
    }

    fn taken(&mut self, _way: usize) -> u64 {
        0
    }

    fn evicted(&mut self, packets: u32, _told: bool) {
        panic!("{packets} evicted");
    }

    fn hide(&self, way: u64) -> u64 {
        way
    }
}

impl Flow {
    /// The cause of the record this packet asked for.
    fn pass(&mut self, direction: Direction, packet: &PacketMeta, now: u64) -> Option<u32> {
        let pass = Pass {
            packet,
            direction,
            hash: 7,
            now_ns: now << UNIT_SHIFT,
            interval_ns: INTERVAL << UNIT_SHIFT,
            ifindex: 1,
            allowed: None,
            clear: 0,
        };
        self.ring.cell = Rc::clone(&self.cell);
        self.ring.asked = None;
        self.ring.now_ns = pass.now_ns;
        let (head, slot) = &mut self.slots[direction.number() as usize];
        let created = head.tag == 0;
        if created {
            pass.begin(head, slot, 1, &mut self.ring);
        }
        pass.add(head, slot, 0, created, &mut self.ring);
        self.ring.asked
    }

    /// What was reported, and what was not yet.
    fn value(&self) -> FlowValue {
        let mut value = self.ring.told;
        for (head, slot) in &self.slots {
            let state = u32::from(head.state & HEAD_TOLD);
            value.absorb(slot.direction(), &slot.half(head, self.ring.now_ns), state);
        }
        value
    }

    fn unreported(&self) -> u32 {
        self.slots.iter().map(|(head, _)| head.packets).sum()
    }
}

/// Runs packets through the rule, and returns the flow and the causes of its records.
fn run(packets: &[(Direction, PacketMeta, u64)]) -> (FlowValue, Vec<Option<u32>>) {
    let mut flow = Flow::default();
    let causes = packets
        .iter()
        .map(|(direction, packet, now)| flow.pass(*direction, packet, *now))
        .collect();
    (flow.value(), causes)
}

fn has(value: &FlowValue, bit: u32) -> bool {
    value.state & bit != 0
}

const SYN_IN: u8 = TCP_SYN;
const SYNACK: u8 = TCP_SYN | TCP_ACK;

#[test]
fn a_forged_reset_closes_nothing() {
    let talk = [
        (Ingress, tcp(SYN_IN, 100, 0, 0), 1),
        (Egress, tcp(SYNACK, 7000, 101, 0), 2),
        (Ingress, tcp(TCP_ACK, 101, 7001, 0), 3),
        (Ingress, tcp(TCP_ACK | TCP_PSH, 101, 7001, 50), 4),
        (Egress, tcp(TCP_ACK, 7001, 151, 0), 5),
    ];
    let closed = |reset: (Direction, PacketMeta, u64)| has(&run(&[&talk[..], &[reset]].concat()).0, STATE_CLOSED);
    // From where the far side is, or a little ahead: what it sent may be on its way still.
    assert!(closed((Ingress, tcp(TCP_RST, 151, 0, 0), 6)));
    assert!(closed((Ingress, tcp(TCP_RST | TCP_ACK, 151 + 60_000, 7001, 0), 6)));
    assert!(closed((Egress, tcp(TCP_RST, 7001, 0, 0), 6)), "our own");
    // Our acknowledgement is told of in steps, and 101 was the latest that was.
    for seq in [100, 0, 151 + (2 << 20), 1 << 31] {
        assert!(!closed((Ingress, tcp(TCP_RST, seq, 0, 0), 6)), "{seq}");
    }
    // Right behind the handshake, before we acknowledged anything.
    assert!(has(
        &run(&[&talk[..3], &[(Ingress, tcp(TCP_RST, 101, 0, 0), 4)]].concat()).0,
        STATE_CLOSED
    ));
    assert!(!has(
        &run(&[&talk[..3], &[(Ingress, tcp(TCP_RST, 9, 0, 0), 4)]].concat()).0,
        STATE_CLOSED
    ));
    // Without a handshake nobody can say where the far side is.
    assert!(has(
        &run(&[&talk[..2], &[(Ingress, tcp(TCP_RST, 9, 0, 0), 4)]].concat()).0,
        STATE_CLOSED
    ));
}

#[test]
fn a_handshake_is_proven_by_the_right_acknowledgement_alone() {
    let opened = [
        (Ingress, tcp(SYN_IN, 100, 0, 0), 1),
        (Egress, tcp(SYNACK, 7000, 101, 0), 2),
    ];
    let with = |last: PacketMeta| run(&[opened[0], opened[1], (Ingress, last, 3)]).0;
    assert!(has(&with(tcp(TCP_ACK, 101, 7001, 0)), STATE_HANDSHAKE));
    // The final ACK may be lost: the first data carries the same number.
    assert!(has(&with(tcp(TCP_ACK | TCP_PSH, 101, 7001, 50)), STATE_HANDSHAKE));
    assert!(!has(&with(tcp(TCP_ACK, 101, 7000, 0)), STATE_HANDSHAKE), "one short");
    assert!(!has(&with(tcp(TCP_ACK, 101, 7002, 0)), STATE_HANDSHAKE), "one over");
    assert!(!has(&with(tcp(TCP_PSH, 101, 7001, 9)), STATE_HANDSHAKE), "no ACK flag");
    assert!(
        !has(&with(tcp(TCP_ACK | TCP_RST, 101, 7001, 0)), STATE_HANDSHAKE),
        "a reset"
    );
    // Nothing we sent: nothing to know.
    let blind = run(&[(Ingress, tcp(SYN_IN, 1, 0, 0), 1), (Ingress, tcp(TCP_ACK, 2, 0, 0), 2)]).0;
    assert!(!has(&blind, STATE_HANDSHAKE));
}

#[test]
fn a_cookie_that_came_back_is_a_handshake() {
    let ack = tcp(TCP_ACK, 101, 7001, 0);
    let vouched = |hash: u64| {
        let mut flow = Flow::default();
        talk::vouch(&*flow.cell, &ack, hash);
        let cause = flow.pass(Ingress, &ack, 1);
        (flow, cause)
    };
    let (mut flow, cause) = vouched(7);
    assert_eq!(cause, Some(CAUSE_FIRST));
    assert!(has(&flow.ring.told, STATE_HANDSHAKE), "its first record says so");
    assert!(!has(&flow.value(), STATE_OPENED_BY_EGRESS));
    flow.pass(Egress, &tcp(TCP_ACK | TCP_PSH, 7001, 101, 9), 2);
    assert_ne!(
        flow.slots[1].0.state & STATE_HANDSHAKE as u16,
        0,
        "our side knows it too"
    );
    assert!(!has(&flow.value(), STATE_OPENED_BY_EGRESS));
    // A forged reset is told from one of the far side's, as behind any handshake.
    for (seq, closes) in [(9, false), (101, true)] {
        let (mut flow, _) = vouched(7);
        flow.pass(Ingress, &tcp(TCP_RST, seq, 0, 0), 2);
        assert_eq!(has(&flow.value(), STATE_CLOSED), closes, "{seq}");
    }
    // Whoever begins anew on these ports proves itself, and no other flow of the cell has a share in it.
    flow.pass(Ingress, &tcp(TCP_RST, 101, 0, 0), 3);
    flow.pass(Ingress, &tcp(SYN_IN, 1, 0, 0), 4);
    flow.pass(Ingress, &tcp(TCP_ACK, 2, 9, 0), 5);
    assert_eq!(flow.slots[0].0.state & STATE_HANDSHAKE as u16, 0);
    let (other, _) = vouched(8);
    assert!(!has(&other.value(), STATE_HANDSHAKE), "of another hash");
    // Without it the same packet proves nothing.
    assert!(!has(&run(&[(Ingress, ack, 1)]).0, STATE_HANDSHAKE));
}

#[test]
fn a_connection_of_our_own_is_proven_by_the_syn_ack() {
    let (value, _) = run(&[
        (Egress, tcp(SYN_IN, u32::MAX, 0, 0), 1),
        (Ingress, tcp(SYNACK, 5, 0, 0), 2),
    ]);
    assert!(
        has(&value, STATE_OPENED_BY_EGRESS) && has(&value, STATE_HANDSHAKE),
        "the number wraps"
    );
    let (value, _) = run(&[(Ingress, tcp(SYN_IN, 1, 0, 0), 1), (Egress, tcp(SYNACK, 5, 2, 0), 2)]);
    assert!(!has(&value, STATE_OPENED_BY_EGRESS));
}

#[test]
fn a_flow_closes_by_two_fins_or_one_reset_and_says_so_once() {
    let fin = TCP_FIN | TCP_ACK;
    let (value, causes) = run(&[
        (Ingress, tcp(TCP_ACK, 1, 1, 0), 1),
        (Ingress, tcp(fin, 1, 1, 0), 2),
        (Egress, tcp(fin, 1, 1, 0), 3),
        (Ingress, tcp(TCP_ACK, 1, 1, 0), 4),
        (Ingress, tcp(TCP_RST, 1, 1, 0), 5),
    ]);
    assert!(has(&value, STATE_CLOSED));
    let (first, close) = (Some(CAUSE_FIRST), Some(CAUSE_CLOSE));
    // A FIN of each side is told of, and so is a reset; that it closes what was closed is for the agent to see.
    assert_eq!(causes, [first, close, close, None, close]);
    let (value, causes) = run(&[(Ingress, tcp(fin, 1, 1, 0), 1), (Ingress, tcp(fin, 1, 1, 0), 2)]);
    assert!(!has(&value, STATE_CLOSED), "both from one side");
    assert_eq!(causes, [close, None]);
    let (_, causes) = run(&[
        (Ingress, tcp(SYN_IN, 1, 0, 0), 1),
        (Egress, tcp(TCP_RST | TCP_ACK, 0, 2, 0), 1),
    ]);
    assert_eq!(causes, [Some(CAUSE_FIRST), Some(CAUSE_CLOSE)]);
    let (_, causes) = run(&[(Ingress, tcp(TCP_RST, 1, 0, 0), 1)]);
    assert_eq!(causes, [Some(CAUSE_CLOSE)], "closed before it began");
}

#[test]
fn a_busy_flow_is_reported_by_the_interval() {
    let udp = PacketMeta {
        proto: PROTO_UDP,
        l3_len: 128,
        payload_len: 100,
        ..PacketMeta::default()
    };
    let at = |now| (Ingress, udp, now);
    let (value, causes) = run(&[at(1000), at(1001), at(1099), at(1100), at(1101), at(1300)]);
    let (first, again) = (Some(CAUSE_FIRST), Some(CAUSE_PERIODIC));
    assert_eq!(causes, [first, None, None, again, None, again]);
    assert_eq!(
        (value.ingress.packets, value.ingress.bytes, value.ingress.payload_bytes),
        (6, 768, 600)
    );
    assert_eq!(
        (value.ingress.first_ns, value.ingress.last_ns, value.last_ns()),
        (1000 << UNIT_SHIFT, 1300 << UNIT_SHIFT, 1300 << UNIT_SHIFT)
    );
}

#[test]
fn a_report_that_found_no_room_is_tried_again() {
    let mut flow = Flow::default();
    let packet = tcp(SYN_IN, 1, 0, 0);
    flow.ring.refuses = true;
    assert_eq!(flow.pass(Ingress, &packet, 1), Some(CAUSE_FIRST));
    assert_eq!(flow.pass(Ingress, &packet, 2), None, "not with every packet");
    assert_eq!(flow.pass(Ingress, &packet, 101), Some(CAUSE_FIRST));
    assert_eq!((flow.unreported(), flow.ring.told.ingress.packets), (3, 0));
    flow.ring.refuses = false;
    assert_eq!(flow.pass(Ingress, &packet, 201), Some(CAUSE_FIRST));
    assert_eq!((flow.unreported(), flow.ring.told.ingress.packets), (0, 4));
    assert_eq!(flow.pass(Ingress, &packet, 202), None);
    assert!(has(&flow.value(), STATE_REPORTED));
    assert_eq!(flow.unreported(), 1);
    // A clock that steps back by a jiffy between interfaces reports nothing early.
    assert_eq!(flow.pass(Ingress, &packet, 190), None);
}

#[test]
fn counts_of_flags_report_before_they_overflow_and_then_stand_still() {
    let mut flow = Flow::default();
    flow.ring.refuses = true;
    let packet = tcp(SYN_IN, 1, 0, 0);
    let asked = (0..100_000)
        .filter(|_| flow.pass(Ingress, &packet, 1).is_some())
        .count();
    assert!(asked > 60_000, "from 2^15 on every packet asks: {asked}");
    let half = flow.value().ingress;
    assert_eq!((half.packets, half.bytes), (100_000, 4_000_000));
    assert_eq!((half.syn, half.ack), (u32::from(u16::MAX), 0));
    flow.ring.refuses = false;
    flow.pass(Ingress, &packet, 1);
    for _ in 0..40_000 {
        flow.pass(Ingress, &packet, 1);
    }
    let half = flow.value().ingress;
    assert_eq!((half.packets, half.syn), (140_001, 65_535 + 40_000));
}

#[test]
fn probes_are_told_apart() {
    let count = |flags: u8| run(&[(Ingress, tcp(flags, 1, 1, 0), 1)]).0.ingress;
    let null = count(0);
    assert_eq!((null.null, null.xmas, null.bare_fin), (1, 0, 0));
    let xmas = count(TCP_FIN | TCP_PSH | TCP_URG);
    assert_eq!((xmas.null, xmas.xmas, xmas.bare_fin), (0, 1, 0));
    let fin = count(TCP_FIN);
    assert_eq!((fin.null, fin.xmas, fin.bare_fin, fin.fin), (0, 0, 1, 1));
    let real = count(TCP_FIN | TCP_ACK);
    assert_eq!(
        (real.null, real.xmas, real.bare_fin, real.fin, real.ack),
        (0, 0, 0, 1, 1)
    );
    // The ECN bits are no part of a probe's signature.
    assert_eq!(count(0xc0).null, 1);
    // A header cut short has no flags, and is no probe.
    let cut = PacketMeta {
        src_port: 0,
        dst_port: 0,
        ..tcp(0, 0, 0, 0)
    };
    assert_eq!(run(&[(Ingress, cut, 1)]).0.ingress.null, 0);
    let later = PacketMeta {
        fragment: true,
        later_fragment: true,
        ..cut
    };
    let half = run(&[(Ingress, later, 1)]).0.ingress;
    assert_eq!((half.null, half.fragments), (0, 1));
}

#[test]
fn lengths_and_super_packets() {
    let big = PacketMeta {
        segments: 3,
        ..tcp(TCP_ACK | TCP_PSH, 1, 1, 3000)
    };
    let (value, _) = run(&[(Egress, tcp(TCP_ACK, 1, 1, 0), 1), (Egress, big, 2)]);
    let half = value.egress;
    assert_eq!(
        (half.packets, half.bytes, half.payload_bytes),
        (4, 40 + 3 * 40 + 3000, 3000)
    );
    assert_eq!((half.len_min, half.len_max, half.zero_payload), (40, 1040, 1));
    assert_eq!((half.ack, half.psh), (4, 1));
    assert_eq!(half.squares, 40 * 40 + 3 * 1040 * 1040);
    // Three packets of 1,001 bytes at most: the last is two shorter.
    let odd = PacketMeta {
        segments: 3,
        ..tcp(TCP_ACK, 1, 1, 3001)
    };
    let half = run(&[(Egress, odd, 1)]).0.egress;
    assert_eq!(half.squares, 2 * 1041 * 1041 + 1039 * 1039);
    assert_eq!(half.bytes, 2 * 1041 + 1039);
}

#[test]
fn keys_are_seen_from_the_interface() {
    let packet = tcp(SYN_IN, 1, 0, 0);
    let answer = PacketMeta {
        src: packet.dst,
        dst: packet.src,
        src_port: packet.dst_port,
        dst_port: packet.src_port,
        ..packet
    };
    let key = FlowKey::of(&packet, Ingress);
    assert_eq!(key, FlowKey::of(&answer, Egress));
    assert_eq!(
        (key.remote_port, key.local_port, IpAddr::from(key.remote)),
        (4000, 22, "198.51.100.7".parse().unwrap())
    );
    let later = PacketMeta {
        later_fragment: true,
        fragment: true,
        ..packet
    };
    assert_eq!(FlowKey::of(&later, Ingress).flags, KEY_FRAGMENT);
}

#[test]
fn entries_end_at_their_instant() {
    for (expires_ns, now, expired) in [
        (100, 99, false),
        (100, 100, true),
        (100, 101, true),
        (NEVER_NS, u64::MAX, false),
        (0, 0, true),
    ] {
        let block = BlockEntry {
            expires_ns,
            ..BlockEntry::default()
        };
        let allow = AllowEntry {
            expires_ns,
            ..AllowEntry::default()
        };
        assert_eq!(
            (block.expired(now), allow.expired(now)),
            (expired, expired),
            "{expires_ns} at {now}"
        );
    }
    let order = BlockEntry {
        expires_ns: 7,
        decision: [1; 16],
        action: 1,
        prefix_len: 32,
        ..BlockEntry::default()
    };
    assert!(order.same_order(&BlockEntry {
        hits: 9,
        last_hit_ns: 3,
        ..order
    }));
    for other in [
        BlockEntry { expires_ns: 8, ..order },
        BlockEntry {
            decision: [2; 16],
            ..order
        },
        BlockEntry { action: 0, ..order },
        BlockEntry { flags: 1, ..order },
        BlockEntry {
            prefix_len: 24,
            ..order
        },
    ] {
        assert!(!order.same_order(&other));
    }
}

#[test]
fn records_and_counters_are_what_they_say() {
    let record = FlowRecord::new(FlowKey::default(), Egress, Half::default(), CAUSE_FIRST, 5);
    assert_eq!(
        (record.header.kind, record.header.version, record.header.len),
        (KIND_FLOW, VERSION, 192)
    );
    let mut labels: Vec<_> = Counter::ALL.iter().map(|counter| counter.label()).collect();
    assert!(
        Counter::ALL
            .iter()
            .enumerate()
            .all(|(index, counter)| *counter as usize == index && index < COUNTERS)
    );
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Counter::ALL.len());
}
