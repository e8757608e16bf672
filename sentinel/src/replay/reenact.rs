//! A log of flows as feature records: each flow is played as packets that add up to what the log tells of it.
//!
//! Where its packets lay in time, which of them had the payload, and their single lengths no log tells: both sides take turns,
//! first at once, a handshake before all, then in bursts, and a FIN or RST is last; what nobody answers comes evenly. So of such
//! records the totals, the flags and all that is counted over flows are the log's; shortest and longest packet, the length's
//! deviation and shares of flags are estimates.

use super::features::{FeatureReplay, FeatureSummary};
use crate::config::Config;
use crate::features::FeatureRecord;
use crate::sensor::flowlog::{LoggedFlow, Side};
use sentinel_common::addr::Addr;
use sentinel_common::flow::PROTO_TCP;
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Payload of a full segment, bytes: Ethernet's 1,500 less headers and time stamps.
const FULL: u64 = 1448;
/// Payload of a segment at least, where somebody has more to say than goes into one, bytes.
const SAYS: u64 = 64;
/// Between two turns of a talk, ns.
const TURN_NS: u64 = 25_000_000;
/// Turns that a talk begins with.
const AT_ONCE: u64 = 10;
/// From this turn on the one before the last is near the last.
const CLOSES: u64 = 3;
/// Turns of a burst thereafter.
const BURST: u64 = 4;
/// The longest packet there is, bytes.
const LONGEST: u64 = 65_535;

/// A packet that is to come: when, of which flow, in which turn, of which side, the how manieth of it.
type Due = (u64, usize, u64, usize, u64);

/// Plays logged flows, sorted by their beginning, and hands over the records.
pub fn reenact(config: &Config, flows: &[LoggedFlow], mut each: impl FnMut(&FeatureRecord)) -> FeatureSummary {
    let mut replay = FeatureReplay::new(config);
    let mut due: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
    let mut next = 0;
    loop {
        let soonest = due.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        if let Some(flow) = flows.get(next).filter(|flow| flow.start_ns <= soonest) {
            for side in 0..2 {
                if let Some((at, turn)) = when(flow, side, 0) {
                    due.push(Reverse((at, next, turn, side, 0)));
                }
            }
            next += 1;
            continue;
        }
        let Some(Reverse((at, number, _, side, nth))) = due.pop() else {
            break;
        };
        let flow = &flows[number];
        replay.packet(at, &packet(flow, side, nth));
        if let Some((at, turn)) = when(flow, side, nth + 1) {
            due.push(Reverse((at, number, turn, side, nth + 1)));
        }
        for record in replay.records().drain(..) {
            each(&record);
        }
    }
    let summary = replay.finish();
    for record in replay.records().drain(..) {
        each(&record);
    }
    summary
}

/// When a side sends its nth packet, and in which turn; none where it sends no more.
fn when(flow: &LoggedFlow, side: usize, nth: u64) -> Option<(u64, u64)> {
    let packets = flow.sides.map(|side| side.packets);
    if nth >= packets[side] {
        return None;
    }
    let (turn, into) = if packets.contains(&0) {
        (nth, evenly(flow.lasted_ns, nth, packets[side] - 1))
    } else {
        let last = [0, 1].map(|side| turn(packets, side, packets[side] - 1));
        let turn = turn(packets, side, nth);
        (turn, into(flow.lasted_ns, turn, last[0].max(last[1])))
    };
    Some((flow.start_ns.saturating_add(into), turn))
}

/// The turn a packet has in a talk: whoever opened it has the even ones. Of the side that sends less, packets lie as far apart as
/// they can; the last word has who sends more, or else who answers.
fn turn([ahead, back]: [u64; 2], side: usize, nth: u64) -> u64 {
    let rounds = ahead.max(back);
    let (packets, last) = if side == 0 {
        (ahead, rounds - 1)
    } else if back < ahead {
        (back, rounds - 2)
    } else {
        (back, rounds - 1)
    };
    let steps = u128::from(packets - 1).max(1);
    2 * (u128::from(last) * u128::from(nth) / steps) as u64 + side as u64
}

/// How long after a talk's beginning a turn comes, ns: the first ones at once, as handshakes and first requests do, the last two at
/// the end, and those between in bursts, each of which ends where its share of the time does; evenly where there is no more time
/// than that.
fn into(lasted_ns: u64, turn: u64, last: u64) -> u64 {
    if turn == last || evenly(lasted_ns, 1, last) <= TURN_NS {
        return evenly(lasted_ns, turn, last);
    }
    if turn + 1 == last && turn >= CLOSES {
        return lasted_ns - TURN_NS;
    }
    if turn < AT_ONCE {
        return turn * TURN_NS;
    }
    let (bursts, later) = ((last + 1 - AT_ONCE).div_ceil(BURST), turn - AT_ONCE);
    let end = evenly(lasted_ns, later / BURST + 1, bursts);
    end.saturating_sub((BURST - 1 - later % BURST) * TURN_NS)
        .max((AT_ONCE - 1) * TURN_NS)
}

/// So many of so many parts of a time.
fn evenly(time: u64, of: u64, parts: u64) -> u64 {
    (u128::from(time) * u128::from(of) / u128::from(parts.max(1))) as u64
}

/// The nth packet of a side.
fn packet(flow: &LoggedFlow, side: usize, nth: u64) -> PacketMeta {
    let sent = &flow.sides[side];
    let (from, to) = (flow.ends[side], flow.ends[1 - side]);
    let (flags, payload) = if flow.proto == PROTO_TCP {
        segment(sent, side, nth)
    } else {
        (0, part(sent.payload, nth, sent.packets))
    };
    let headers = part(sent.bytes.saturating_sub(sent.payload), nth, sent.packets);
    PacketMeta {
        src: Addr::from(from.0),
        dst: Addr::from(to.0),
        src_port: from.1,
        dst_port: to.1,
        proto: flow.proto,
        tcp_flags: flags,
        ip_version: if from.0.is_ipv4() { 4 } else { 6 },
        segments: 1,
        // The numbers of a handshake that was completed; what follows asks for none.
        tcp_seq: u32::from(flags & TCP_SYN == 0),
        tcp_ack: u32::from(flags & TCP_ACK != 0),
        l3_len: (headers + payload).min(LONGEST) as u32,
        payload_len: payload.min(LONGEST) as u32,
        ..PacketMeta::EMPTY
    }
}

/// Flags and payload of a side's nth TCP segment.
fn segment(sent: &Side, side: usize, nth: u64) -> (u8, u64) {
    let has = |flags| sent.flags & flags == flags;
    let syns = match (has(TCP_SYN), side) {
        (false, _) => 0,
        // Nothing but SYNs: it went unanswered, and was repeated.
        (true, 0) if !has(TCP_ACK) && sent.payload == 0 => sent.packets - u64::from(has(TCP_RST) && sent.packets > 1),
        (true, _) => 1,
    };
    let last = |flags| u64::from(has(flags));
    let ends = (last(TCP_FIN) + last(TCP_RST)).min(sent.packets - syns.min(sent.packets));
    let first_end = sent.packets - ends;
    let acked = if has(TCP_ACK) { TCP_ACK } else { 0 };
    if nth < syns {
        return (if side == 0 { TCP_SYN } else { TCP_SYN | TCP_ACK }, 0);
    }
    // Where there is no room between, the last segments have the payload.
    let between = first_end.saturating_sub(syns);
    let (room, at) = if between > 0 {
        (between, nth - syns)
    } else {
        (ends, nth - first_end)
    };
    // Who talks has payload in every other segment or so; who only listens has little to say.
    let talks = (room / 2).min(sent.payload / SAYS);
    let filled = sent.payload.div_ceil(FULL).max(talks).min(room);
    let (before, behind) = (at * filled / room.max(1), (at + 1) * filled / room.max(1));
    let payload = if at < room && behind > before {
        segment_payload(sent.payload, before, filled)
    } else {
        0
    };
    let push = if payload > 0 && acked != 0 { TCP_PSH } else { 0 };
    let flags = if nth < first_end {
        acked | push
    } else if has(TCP_RST) && nth == sent.packets - 1 {
        TCP_RST | acked
    } else {
        TCP_FIN | acked | push
    };
    (flags, payload)
}

/// Payload of the nth of so many segments that have some: a few bytes each, and the rest in full segments from the first
/// on, as of a connection in which something long is said and little besides.
fn segment_payload(payload: u64, nth: u64, filled: u64) -> u64 {
    let few = SAYS.min(payload / filled);
    let (rest, more) = (payload - few * filled, FULL - few);
    if rest > more * filled {
        return part(payload, nth, filled);
    }
    few + rest.saturating_sub(nth * more).min(more)
}

/// The nth of so many parts of a whole: as even as whole numbers are.
fn part(whole: u64, nth: u64, parts: u64) -> u64 {
    let parts = u128::from(parts.max(1));
    let until = |nth: u64| u128::from(whole) * u128::from(nth) / parts;
    (until(nth + 1) - until(nth)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::flowlog::Side;
    use proptest::prelude::*;

    fn flow(proto: u8, lasted_ns: u64, sides: [Side; 2]) -> LoggedFlow {
        LoggedFlow {
            start_ns: 1_600_000_000_000_000_000,
            lasted_ns,
            proto,
            ends: [
                ("192.0.2.1".parse().unwrap(), 40_000),
                ("198.51.100.2".parse().unwrap(), 443),
            ],
            sides,
            label: 0,
        }
    }

    /// Never so much payload that it would not go into the packets between the first and the last two.
    fn side() -> impl Strategy<Value = Side> {
        (0..60u64, 0..200_000u64, 0..64u8).prop_map(|(packets, payload, flags)| Side {
            packets,
            bytes: if packets == 0 {
                0
            } else {
                payload.min(packets * 15_000) + packets * 52
            },
            payload: if packets == 0 { 0 } else { payload.min(packets * 15_000) },
            flags,
        })
    }

    proptest! {
        #[test]
        fn the_packets_of_a_flow_add_up_to_what_the_log_tells(
            sides in [side(), side()], lasted in 0..200_000_000_000u64, tcp in any::<bool>()
        ) {
            let flow = flow(if tcp { PROTO_TCP } else { 17 }, lasted, sides);
            for (number, sent) in sides.iter().enumerate() {
                let (mut bytes, mut payload, mut latest) = (0, 0, flow.start_ns);
                for nth in 0..sent.packets {
                    let packet = packet(&flow, number, nth);
                    bytes += u64::from(packet.l3_len);
                    payload += u64::from(packet.payload_len);
                    prop_assert!(packet.payload_len <= packet.l3_len);
                    let (at, _) = when(&flow, number, nth).unwrap();
                    prop_assert!(latest <= at && at <= flow.start_ns + lasted);
                    latest = at;
                }
                prop_assert_eq!(when(&flow, number, sent.packets), None);
                let seats = sent.packets > 1 || sent.flags & TCP_SYN == 0;
                if !tcp || (seats && sent.flags & TCP_ACK != 0) {
                    prop_assert_eq!((bytes, payload), (sent.bytes, sent.payload));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_count_that_a_log_may_tell_is_too_large(
            packets in [0..=1_000_000_000u64, 0..=1_000_000_000u64], bytes in [0..=1_000_000_000_000_000u64, 0..=1_000_000_000_000_000u64],
            flags in 0..64u8, lasted in 0..3_200_000_000_000_000_000u64, nth in any::<u64>(), tcp in any::<bool>(),
        ) {
            let side = |at: usize| Side { packets: packets[at], bytes: bytes[at], payload: bytes[at] / 2, flags };
            let flow = flow(if tcp { PROTO_TCP } else { 17 }, lasted, [side(0), side(1)]);
            for (number, sent) in packets.into_iter().enumerate() {
                for nth in [0, 1, nth % sent.max(1), sent.saturating_sub(1)] {
                    if when(&flow, number, nth).is_some() {
                        packet(&flow, number, nth);
                    }
                }
            }
        }
    }

    #[test]
    fn a_connection_is_opened_used_and_closed() {
        let sent = |packets, payload, flags| Side {
            packets,
            bytes: packets * 52 + payload,
            payload,
            flags,
        };
        let all = TCP_SYN | TCP_ACK | TCP_FIN;
        let flow = flow(PROTO_TCP, 1_000_000_000, [sent(6, 500, all), sent(5, 3000, all)]);
        let mut seen: Vec<(u64, usize, u8, u32)> = Vec::new();
        for side in 0..2 {
            for nth in 0..flow.sides[side].packets {
                let packet = packet(&flow, side, nth);
                seen.push((
                    when(&flow, side, nth).unwrap().0,
                    side,
                    packet.tcp_flags,
                    packet.payload_len,
                ));
            }
        }
        seen.sort_unstable();
        let handshake: Vec<_> = seen.iter().take(2).map(|(_, side, flags, _)| (*side, *flags)).collect();
        assert_eq!(handshake, [(0, TCP_SYN), (1, TCP_SYN | TCP_ACK)]);
        let last = seen.last().unwrap();
        assert_eq!((last.1, last.2), (0, TCP_FIN | TCP_ACK));
        assert_eq!(
            seen.iter()
                .filter(|(_, side, _, payload)| *side == 1 && *payload > 0)
                .count(),
            3
        );

        let config = Config::default();
        let mut records = Vec::new();
        reenact(&config, &[flow], |record| records.push(*record));
        let [record] = records[..] else {
            panic!("{records:#?}");
        };
        assert_eq!((record.source, record.target.port), ("192.0.2.1".parse().unwrap(), 443));
        let value = |name| record.vector.0[crate::features::FEATURES.iter().position(|f| f.name == name).unwrap()];
        let told = ["f_n", "f_b", "f_dur", "f_fin", "f_zero_r", "r_n"].map(value);
        let expected = [6.0, 812.0, 1.0, 1.0, 4.0 / 6.0, 5.0];
        assert!(told.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{told:?}");
    }

    /// In the order in which they are played: ns after the beginning, and of which side.
    fn played(lasted: u64, packets: [u64; 2]) -> Vec<(u64, usize)> {
        let flow = flow(
            17,
            lasted,
            packets.map(|packets| Side {
                packets,
                bytes: 60 * packets,
                ..Side::default()
            }),
        );
        let mut all = Vec::new();
        for (side, packets) in packets.into_iter().enumerate() {
            all.extend((0..packets).map(|nth| (when(&flow, side, nth).unwrap(), side)));
        }
        all.sort_unstable();
        all.into_iter()
            .map(|((at, _), side)| (at - flow.start_ns, side))
            .collect()
    }

    proptest! {
        /// A talk lasts as long as the log says, and no answer comes before there was something to answer.
        #[test]
        fn a_talk_begins_and_ends_when_it_did_and_goes_by_turns(
            packets in [0..60u64, 0..60u64], lasted in prop_oneof![0..2_000_000_000u64, 0..3_200_000_000_000_000_000u64],
        ) {
            let all = played(lasted, packets);
            if all.len() > 1 {
                prop_assert_eq!((all[0].0, all[all.len() - 1].0), (0, lasted));
            }
            if packets[0] > 0 && packets[1] > 0 {
                let mut sent = [0_u64; 2];
                for (_, side) in all {
                    sent[side] += 1;
                    prop_assert!(sent[0] >= sent[1].min(1) && sent[1] <= sent[0] + packets[1].saturating_sub(packets[0]));
                }
            }
        }
    }

    #[test]
    fn a_talk_says_most_at_its_beginning() {
        const MS: u64 = 1_000_000;
        let at = |lasted, packets| -> Vec<u64> { played(lasted * MS, packets).iter().map(|(at, _)| at / MS).collect() };
        assert_eq!(at(2000, [1, 1]), [0, 2000]);
        assert_eq!(at(9000, [0, 3]), [0, 4500, 9000]);
        assert_eq!(at(3000, [2, 2]), [0, 25, 50, 3000]);
        assert_eq!(at(63_000, [4, 3]), [0, 25, 50, 75, 100, 62_975, 63_000]);
        assert_eq!(at(20, [2, 2]), [0, 6, 13, 20]);
        let long = at(90_000, [10, 9]);
        assert_eq!(long[..11], [0, 25, 50, 75, 100, 125, 150, 175, 200, 225, 29_925]);
        assert_eq!(
            long[11..],
            [29_950, 29_975, 30_000, 59_925, 59_950, 59_975, 89_975, 90_000]
        );
    }

    #[test]
    fn an_attempt_that_nobody_answered_is_nothing_but_syns() {
        let syns = Side {
            packets: 3,
            bytes: 180,
            payload: 0,
            flags: TCP_SYN,
        };
        let flow = flow(PROTO_TCP, 3_000_000_000, [syns, Side::default()]);
        let flags: Vec<u8> = (0..3).map(|nth| packet(&flow, 0, nth).tcp_flags).collect();
        assert_eq!(flags, [TCP_SYN; 3]);
    }
}
