//! The flow table against plain sums: whatever makes room, whatever finds none, whatever the agent fetches meanwhile,
//! every packet is told of once, waits in its slot, or is counted as lost.

use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Direction, EGRESS, FlowKey, FlowValue, Half, PROTO_TCP};
use sentinel_common::hash::{Keys, beside, hash, place};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use sentinel_common::slot::{Bucket, HEAD_BESIDE, HEAD_BUSY, Head, Slot, WAYS, age, units};
use sentinel_common::table::{Host, Learned, Pass, taken};
use sentinel_common::talk::{self, Words};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

const BUCKETS: usize = 4;
const KEYS: Keys = Keys::new(0x0123_4567_89ab_cdef);
const INTERVAL_NS: u64 = 100_000_000;
const FLAGS: [u8; 6] = [TCP_ACK, TCP_ACK, TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK | TCP_FIN, TCP_RST];

/// The ring, which may refuse, and the agent, who fetches as the real one does.
#[derive(Default)]
struct Agent {
    refuses: bool,
    now_ns: u64,
    /// Bucket at hand.
    bucket: usize,
    cells: HashMap<u64, Rc<Cell<talk::Cell>>>,
    told: HashMap<FlowKey, FlowValue>,
    taken: HashMap<usize, u64>,
    fetched: HashMap<(usize, u16), Half>,
    lost: u64,
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

impl Host for Agent {
    type Words = Word;

    fn words(&mut self, hash: u64) -> Option<Word> {
        Some(Word(Rc::clone(self.cells.entry(hash >> 62).or_default())))
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, head: &Head, slot: &Slot, way: usize, _cause: u32) -> bool {
        if self.refuses {
            return false;
        }
        let mut counts = slot.half(head, self.now_ns);
        if let Some(fetched) = self.fetched.remove(&(self.bucket * WAYS + way, head.seq)) {
            counts.subtract(&fetched);
        }
        self.told
            .entry(slot.key())
            .or_default()
            .absorb(slot.direction(), &counts, 0);
        true
    }

    fn taken(&mut self, way: usize) -> u64 {
        self.taken.get(&(self.bucket * WAYS + way)).copied().unwrap_or(0)
    }

    fn evicted(&mut self, packets: u32, told: bool) {
        self.lost += if told { 0 } else { u64::from(packets) };
    }

    fn moved(&mut self, tag: u32) {
        self.bucket = beside(self.bucket as u32, tag, BUCKETS as u32 - 1) as usize;
    }

    fn hide(&self, way: u64) -> u64 {
        way
    }
}

/// Counts a packet where its hash leads to.
fn count(buckets: &mut [Bucket; BUCKETS], pass: &Pass<'_>, agent: &mut Agent) -> Learned {
    let (bucket, tag) = place(pass.hash, pass.direction);
    let own = bucket & (BUCKETS as u32 - 1);
    let other = beside(own, tag, BUCKETS as u32 - 1);
    assert_eq!(beside(other, tag, BUCKETS as u32 - 1), own);
    (agent.bucket, agent.now_ns) = (own as usize, pass.now_ns);
    let [own, other] = buckets
        .get_disjoint_mut([own as usize, other as usize])
        .expect("two buckets");
    pass.count(own, tag, || Some(other), agent)
}

impl Agent {
    /// Fetches what fell silent.
    fn sweep(&mut self, buckets: &[Bucket], now_ns: u64) {
        for (index, bucket) in buckets.iter().enumerate() {
            for (way, (head, slot)) in bucket.heads.iter().zip(&bucket.slots).enumerate() {
                if head.packets == 0 || age(units(now_ns), head.last) < units(INTERVAL_NS) {
                    continue;
                }
                let number = index * WAYS + way;
                let whole = slot.half(head, now_ns);
                let mut counts = whole;
                if let Some(before) = self.fetched.insert((number, head.seq), whole) {
                    counts.subtract(&before);
                }
                self.taken.insert(number, taken(head));
                self.told
                    .entry(slot.key())
                    .or_default()
                    .absorb(slot.direction(), &counts, 0);
            }
        }
    }
}

fn packet(flow: u8, direction: Direction, flags: u8, len: u16) -> PacketMeta {
    let (far, near) = (Addr::v4([192, 0, 2, flow]), Addr::v4([10, 0, 0, 1]));
    let ((src, src_port), (dst, dst_port)) = match direction {
        Direction::Ingress => ((far, 4000), (near, 22)),
        Direction::Egress => ((near, 22), (far, 4000)),
    };
    PacketMeta {
        src,
        dst,
        src_port,
        dst_port,
        proto: PROTO_TCP,
        tcp_flags: flags,
        ip_version: 4,
        l3_len: 40 + u32::from(len),
        payload_len: u32::from(len),
        ..PacketMeta::default()
    }
}

proptest! {
    #[test]
    fn every_packet_is_told_of_once(steps in prop::collection::vec((0u8..60, 0u8..20, any::<u16>(), 0usize..6), 1..1500)) {
        let mut buckets = [Bucket::default(); BUCKETS];
        let mut agent = Agent::default();
        let mut passed: HashMap<(FlowKey, u32), (u64, u64, u64)> = HashMap::new();
        let (mut now_ns, mut refused, mut told_by_learned, mut total) = (1_u64 << 40, 0_u64, 0_u64, 0_u64);
        for (flow, event, len, flags) in steps {
            now_ns += 4_000_000;
            match event {
                0 => now_ns += 2 * INTERVAL_NS,
                1 => agent.sweep(&buckets, now_ns),
                2 => agent.refuses = !agent.refuses,
                3 => now_ns += 70_000_000_000 * u64::from(len % 8 == 0),
                _ => {}
            }
            let direction = if event % 2 == 0 { Direction::Ingress } else { Direction::Egress };
            let packet = packet(flow, direction, FLAGS[flags], len);
            let hash = hash(&KEYS, &packet, direction);
            let pass = Pass {
                packet: &packet, direction, hash, now_ns, interval_ns: INTERVAL_NS, ifindex: 1, allowed: None, clear: 0,
            };
            let learned = count(&mut buckets, &pass, &mut agent);
            total += 1;
            if !learned.counted {
                refused += 1;
                continue;
            }
            if direction == Direction::Ingress {
                told_by_learned += u64::from(learned.packets);
            }
            let sum = passed.entry((FlowKey::of(&packet, direction), direction.number())).or_default();
            sum.0 += 1;
            sum.1 += u64::from(packet.l3_len);
            sum.2 += u64::from(packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN);
        }
        let mut slots: Vec<_> = buckets
            .iter()
            .flat_map(|bucket| bucket.heads.iter().zip(&bucket.slots))
            .filter(|(head, _)| head.tag != 0 && age(units(now_ns), head.last) < units(60_000_000_000))
            .map(|(_, slot)| (slot.key(), slot.direction()))
            .collect();
        slots.sort_unstable();
        let before = slots.len();
        slots.dedup();
        prop_assert_eq!(before, slots.len(), "a flow is in one of its buckets");
        for bucket in &buckets {
            let mut tags: Vec<_> = bucket.heads.iter().map(|head| head.tag).filter(|tag| *tag != 0).collect();
            tags.sort_unstable();
            let before = tags.len();
            tags.dedup();
            prop_assert_eq!(before, tags.len(), "tags are unique in a bucket");
        }
        agent.sweep(&buckets, now_ns + 10 * INTERVAL_NS);
        let told: u64 = agent.told.values().map(|v| v.ingress.packets + v.egress.packets).sum();
        prop_assert_eq!(total, told + agent.lost + refused);
        for ((key, direction), (packets, bytes, syn)) in passed {
            let told = agent.told.get(&key).copied().unwrap_or_default();
            let half = if direction == EGRESS { told.egress } else { told.ingress };
            prop_assert!(half.packets <= packets && half.bytes <= bytes && u64::from(half.syn) <= syn);
            if agent.lost == 0 {
                prop_assert_eq!((half.packets, half.bytes, u64::from(half.syn)), (packets, bytes, syn));
            }
        }
        prop_assert!(told_by_learned <= total);
    }
}

/// The latest time of a slot is kept in units, which go round: no slot is let grow so old that it could be mistaken.
#[test]
fn what_is_refused_for_days_is_given_up_and_its_times_are_right_until_then() {
    const STEP_NS: u64 = 30 << 30;
    let packet = packet(1, Direction::Ingress, TCP_ACK, 100);
    let hash = hash(&KEYS, &packet, Direction::Ingress);
    let (_, tag) = place(hash, Direction::Ingress);
    let (mut bucket, mut since) = (Bucket::default(), 0);
    let mut agent = Agent {
        refuses: true,
        ..Agent::default()
    };
    for step in 1..=10_000 {
        let now_ns = step * STEP_NS;
        let pass = Pass {
            packet: &packet,
            direction: Direction::Ingress,
            hash,
            now_ns,
            interval_ns: INTERVAL_NS,
            ifindex: 1,
            allowed: None,
            clear: 0,
        };
        agent.now_ns = now_ns;
        pass.count(&mut bucket, tag, || None, &mut agent);
        let half = bucket.slots[0].half(&bucket.heads[0], now_ns);
        since = if half.packets == 0 { step } else { since };
        assert_eq!(half.packets, step - since);
        if half.packets > 0 {
            assert_eq!((half.first_ns, half.last_ns), ((since + 1) * STEP_NS, now_ns));
        }
    }
    assert!(agent.lost > 0 && agent.lost == since, "{} {since}", agent.lost);
}

#[test]
fn an_established_flow_in_use_makes_no_room() {
    let proven = sentinel_common::flow::STATE_HANDSHAKE as u16;
    let busy = HEAD_BUSY;
    let head = |tag, last, state| Head {
        tag,
        last,
        state,
        packets: 1,
        seq: 0,
    };
    let mut bucket = Bucket::default();
    let now = 10_000_000;
    assert_eq!(bucket.victim(9, now), Some(0), "an empty place");
    bucket.heads = [1, 3, 5, 7].map(|tag| head(tag, now, busy | proven));
    assert_eq!(bucket.victim(9, now), None, "all are established and in use");
    assert_eq!(bucket.victim(5, now), Some(2), "tags are unique");
    bucket.heads[1] = head(3, now - 1000, busy);
    bucket.heads[3] = head(7, now, 0);
    assert_eq!(bucket.victim(9, now), Some(3), "one packet, unproven");
    bucket.heads[3] = head(7, now, busy);
    assert_eq!(bucket.victim(9, now), Some(1), "the quietest of the unproven");
    bucket.heads = [1, 3, 5, 7].map(|tag| head(tag, now - 2_000_000, busy | proven));
    assert!(bucket.victim(9, now).is_some(), "two minutes of silence");
}

/// Whoever finds its own bucket full of flows in use makes none of them go while there is room in its other one, and is
/// found there from then on.
#[test]
fn where_all_are_in_use_a_flow_goes_beside() {
    const HELD: usize = WAYS + 2;
    let mut agent = Agent::default();
    let mut buckets = [Bucket::default(); BUCKETS];
    let crowd = |flow: &u8| {
        let packet = packet(*flow, Direction::Ingress, TCP_ACK, 100);
        place(hash(&KEYS, &packet, Direction::Ingress), Direction::Ingress).0 & (BUCKETS as u32 - 1) == 0
    };
    let established: Vec<u8> = (0..=255).filter(crowd).take(HELD).collect();
    let held = |buckets: &[Bucket; BUCKETS]| -> Vec<u8> {
        let heads = buckets.iter().flat_map(|bucket| bucket.heads.iter().zip(&bucket.slots));
        let mut held: Vec<u8> = heads
            .filter(|(head, _)| head.state & HEAD_BUSY != 0)
            .map(|(_, slot)| slot.key().remote.0[15])
            .collect();
        held.sort_unstable();
        held
    };
    let mut now_ns = 1 << 40;
    let mut pass = |flow: u8, buckets: &mut [Bucket; BUCKETS]| {
        now_ns += 1_000_000;
        let packet = packet(flow, Direction::Ingress, TCP_ACK, 100);
        let pass = Pass {
            packet: &packet,
            direction: Direction::Ingress,
            hash: hash(&KEYS, &packet, Direction::Ingress),
            now_ns,
            interval_ns: INTERVAL_NS,
            ifindex: 1,
            allowed: None,
            clear: 0,
        };
        count(buckets, &pass, &mut agent)
    };
    for round in 0..3 {
        for flow in &established {
            let learned = pass(*flow, &mut buckets);
            assert_eq!((learned.counted, learned.created), (true, round == 0));
            assert!(pass(*flow, &mut buckets).counted);
        }
        assert_eq!(held(&buckets), established, "round {round}");
        for newcomer in (0..=255).filter(|flow| !established.contains(flow)) {
            pass(newcomer, &mut buckets);
        }
        assert_eq!(held(&buckets), established, "round {round}, after the flood");
    }
}

#[test]
fn that_a_flow_may_be_beside_is_known_whatever_becomes_of_the_first_place() {
    let pass = |packet: &PacketMeta, bucket: &mut Bucket, agent: &mut Agent| {
        let hash = hash(&KEYS, packet, Direction::Ingress);
        let pass = Pass {
            packet,
            direction: Direction::Ingress,
            hash,
            now_ns: 1 << 40,
            interval_ns: INTERVAL_NS,
            ifindex: 1,
            allowed: Some(false),
            clear: 0,
        };
        pass.count(bucket, place(hash, Direction::Ingress).1, || None, agent);
    };
    let (mut bucket, mut agent) = (Bucket::default(), Agent::default());
    pass(&packet(1, Direction::Ingress, TCP_ACK, 100), &mut bucket, &mut agent);
    bucket.heads[0].state |= HEAD_BESIDE;
    for flags in [TCP_ACK | TCP_FIN, TCP_SYN, TCP_RST, TCP_SYN] {
        pass(&packet(1, Direction::Ingress, flags, 0), &mut bucket, &mut agent);
        assert_ne!(bucket.heads[0].state & HEAD_BESIDE, 0, "{flags:x}");
    }
    // Another flow takes the place.
    bucket.heads[0].last = bucket.heads[0].last.wrapping_sub(2_000_000);
    for way in 1..WAYS {
        bucket.heads[way] = Head {
            tag: 2 * way as u32 + 1,
            last: 1 << 24,
            state: HEAD_BUSY | sentinel_common::flow::STATE_HANDSHAKE as u16,
            packets: 0,
            seq: 0,
        };
    }
    let tag = bucket.heads[0].tag;
    pass(&packet(2, Direction::Ingress, TCP_SYN, 0), &mut bucket, &mut agent);
    assert_ne!(bucket.heads[0].tag, tag);
    assert_ne!(bucket.heads[0].state & HEAD_BESIDE, 0);
}

#[test]
fn a_hash_is_of_a_flow_not_of_a_direction() {
    let (there, back) = (
        packet(7, Direction::Ingress, TCP_ACK, 1),
        packet(7, Direction::Egress, TCP_SYN, 2),
    );
    let one = hash(&KEYS, &there, Direction::Ingress);
    assert_eq!(one, hash(&KEYS, &back, Direction::Egress));
    assert_ne!(one, hash(&Keys::new(1), &there, Direction::Ingress));
    assert_ne!(place(one, Direction::Ingress), place(one, Direction::Egress));
    // Flows that differ in a little spread over the buckets like chance would have it.
    let mut filled = vec![0u32; 256];
    for flow in 0..=255u8 {
        for port in 0..16u16 {
            let mut packet = packet(flow, Direction::Ingress, TCP_ACK, 1);
            packet.src_port = port;
            let (bucket, _) = place(hash(&KEYS, &packet, Direction::Ingress), Direction::Ingress);
            filled[bucket as usize & 255] += 1;
        }
    }
    assert!(filled.iter().all(|n| (1..=48).contains(n)), "{filled:?}");
}
