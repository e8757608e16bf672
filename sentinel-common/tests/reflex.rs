//! The rules of what one source and one port may do, against plain models.

use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::event::{REFLEX_BYTES, REFLEX_PACKETS, REFLEX_PORTS, REFLEX_SYNS};
use sentinel_common::flow::{PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use sentinel_common::packet::{PacketMeta, TCP_ACK, TCP_SYN};
use sentinel_common::reflex::{
    Bucket, ESTIMATE, PORT_CALM_NS, PORT_WINDOW_NS, Port, Seen, Source, Turn, WAYS, cell_holds, cell_later, cell_mark,
    opens, port_bit, source_address, source_key, source_word,
};
use sentinel_common::settings::Reflex;
use std::collections::HashSet;
use std::net::IpAddr;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

fn second() -> Reflex {
    Reflex {
        window_ns: S,
        hold_ns: 10 * S,
        packet_ns: 10_000_000,
        burst_ms: 100,
        ..Reflex::default()
    }
}

fn victim(bucket: &Bucket, reflex: &Reflex, now: u64) -> usize {
    bucket.victim(reflex, now, |worth| worth) as usize & (WAYS - 1)
}

fn packets(n: u32) -> Seen {
    Seen {
        packets: n,
        bytes: u64::from(n) * 100,
        ..Seen::default()
    }
}

proptest! {
    #[test]
    fn a_key_is_a_source_and_back(bytes: [u8; 16], v4: [u8; 4], seed: u64) {
        let mut prefix = bytes;
        prefix[8..].fill(0);
        // No IPv6 source begins like an IPv4 word does; ::ffff:0:0/96 itself is refused by the parser.
        prop_assume!(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) != 0xffff);
        prop_assert_eq!(source_address(source_key(source_word(&Addr(bytes), 6), seed), seed), Addr(prefix));
        let v4 = Addr::v4(v4);
        prop_assert_eq!(source_address(source_key(source_word(&v4, 4), seed), seed), v4);
    }

    #[test]
    fn what_is_near_no_threshold_is_told_so_at_once(
        thresholds in (0u32..40, 0u32..40, 0u32..40, 0u32..201, 0u64..5_000),
        steps in prop::collection::vec((0u64..300, 0u32..3, any::<bool>(), any::<bool>(), 0u32..64), 1..120),
    ) {
        let (packets, syns, half_open, ports, bytes) = thresholds;
        let whole = Reflex { packets, syns, half_open, ports, bytes, ..second() };
        let short = Reflex { least: whole.least_of(), ..whole };
        let mut now = 50 * S;
        let mut source = Source::new(7, now);
        for (wait, packets, syn, completed, port) in steps {
            now += wait * MS;
            let seen = Seen {
                packets,
                syns: u32::from(syn),
                completed: u32::from(completed),
                bytes: u64::from(packets) * 60,
                // A port is noted with a packet or a SYN, as the gate has it.
                port: if syn || packets > 0 { 1 << port } else { 0 },
            };
            source.add(&seen, &whole, now);
            prop_assert_eq!(source.crossed(&short), source.crossed(&whole));
        }
    }

    #[test]
    fn counts_are_those_of_the_window_and_each_bit_is_told_once(
        steps in prop::collection::vec((0u64..400, 1u32..40), 1..200)
    ) {
        let reflex = Reflex { packets: 100, bytes: 8_000, ..second() };
        let mut now = 50 * S;
        let mut source = Source::new(7, now);
        let (mut began, mut count, mut told) = (now, 0u64, 0);
        for (wait, n) in steps {
            now += wait * MS;
            if (now >> 20) - (began >> 20) >= S >> 20 {
                (began, count, told) = (now, 0, 0);
            }
            count += u64::from(n);
            source.add(&packets(n), &reflex, now);
            prop_assert_eq!((u64::from(source.packets), source.bytes), (count, count * 100));
            let mut due = 0;
            if count > 100 { due |= REFLEX_PACKETS; }
            if count * 100 > 8_000 { due |= REFLEX_BYTES; }
            let crossed = source.crossed(&reflex);
            prop_assert_eq!(crossed, due & !told);
            source.raised |= crossed;
            told |= crossed;
        }
    }

    #[test]
    fn a_limited_source_gets_its_rate_and_its_burst_and_no_more(gap in 1u64..2_000, seed: u8) {
        let reflex = second();
        let start = (100 + u64::from(seed)) * S;
        let mut source = Source::new(7, start);
        source.limit(REFLEX_PACKETS, &reflex, start);
        let (mut now, mut passed) = (start, 0u64);
        while now < start + 5 * S {
            passed += u64::from(!source.over(false, 60, &reflex, now));
            now += gap * 10_000;
        }
        let offered = 5 * S / (gap * 10_000) + 1;
        let rate = 5 * S / 10_000_000 + 100 / 10 + 1;
        prop_assert!(passed <= rate, "{} of {}", passed, offered);
        prop_assert!(passed + 2 >= offered.min(5 * S / 10_000_000), "{} of {}", passed, offered);
    }

    #[test]
    fn a_limit_lasts_its_hold_and_not_a_wrap_more(start in 0u64..(1 << 60), later in 0u64..(1 << 53)) {
        let mut source = Source::new(7, start);
        let until = source.limit(REFLEX_SYNS, &second(), start);
        prop_assert!(until >= start + 10 * S && until <= start + 10 * S + (1 << 24));
        prop_assert!(source.limited(start) && source.limited(until - 1) && !source.limited(until));
        prop_assert!(!source.limited(until + later));
        prop_assert!(cell_holds(cell_mark(until), start) && cell_holds(cell_mark(until), until - 1));
    }

    #[test]
    fn a_limit_by_longer_holds_is_not_cut_short(
        start in 0u64..(1 << 60), first in 1u64..300, then in 1u64..300, after in 0u64..400
    ) {
        let hold = |seconds| Reflex { hold_ns: seconds * S, ..second() };
        let (mut source, now) = (Source::new(7, start), start + after * S);
        let promised = source.limit(REFLEX_SYNS, &hold(first), start);
        let until = source.limit(REFLEX_SYNS, &hold(then), now);
        prop_assert!(until >= promised, "a told end is moved forward");
        prop_assert!(until <= promised.max(now + then * S + (1 << 24)), "or only by what is new");
        prop_assert!(source.limited(until - 1) && !source.limited(until));
        let mark = cell_later(cell_mark(promised), until, now);
        prop_assert!(cell_holds(mark, now) && cell_holds(mark, until - 1));
        // Whoever shares the cell holds as long as was told, too.
        let shared = cell_later(cell_mark(promised), now + 1, now);
        prop_assert!(promised <= now || cell_holds(shared, promised - 1));
    }

    #[test]
    fn the_victim_is_who_is_missed_least(counts in prop::array::uniform4(1u32..50), limited in 0usize..5, old in 0usize..5) {
        let reflex = second();
        let now = 100 * S;
        let mut bucket = Bucket::default();
        for (n, count) in counts.iter().enumerate() {
            let at = if n == old { now - 2 * S } else { now };
            bucket.slots[n] = Source::new(n as u64 + 1, at);
            bucket.slots[n].add(&packets(*count), &reflex, at);
            if n == limited {
                bucket.slots[n].limit(REFLEX_SYNS, &reflex, at);
            }
        }
        for n in 0..WAYS {
            prop_assert_eq!(bucket.find(n as u64 + 1), n);
        }
        prop_assert_eq!(bucket.find(99), WAYS);
        let victim = victim(&bucket, &reflex, now);
        prop_assert_ne!(victim, limited);
        if old < WAYS && old != limited {
            prop_assert_eq!(victim, old);
        } else {
            let least = (0..WAYS).filter(|n| *n != limited).map(|n| counts[n]).min();
            prop_assert_eq!(Some(counts[victim]), least);
        }
    }
}

#[test]
fn an_empty_slot_goes_first_and_limits_go_last() {
    let (reflex, now) = (second(), 100 * S);
    let mut bucket = Bucket::default();
    for n in 0..WAYS {
        assert_eq!(bucket.slots[victim(&bucket, &reflex, now)].key, 0);
        let at = victim(&bucket, &reflex, now);
        bucket.slots[at] = Source::new(n as u64 + 1, now);
        bucket.slots[at].limit(REFLEX_SYNS, &reflex, now);
    }
    let all: HashSet<_> = bucket.slots.iter().map(|slot| slot.key).collect();
    assert_eq!(all.len(), WAYS);
    assert!(
        victim(&bucket, &reflex, now) < WAYS,
        "all limited: one goes nevertheless"
    );
}

#[test]
fn ports_are_estimated_within_a_fifth() {
    for (zeros, estimate) in ESTIMATE.iter().enumerate().skip(1) {
        let exact = -64.0 * (zeros as f64 / 64.0).ln();
        assert!((f64::from(*estimate) - exact).abs() <= 0.5, "{zeros}");
    }
    let reflex = Reflex { ports: 60, ..second() };
    for (real, seeds) in [(20u16, 200u64), (60, 200), (150, 200)] {
        let mut sum = 0.0;
        for seed in 0..seeds {
            let mut source = Source::new(7, S);
            for port in 0..real {
                let syn = PacketMeta {
                    proto: PROTO_TCP,
                    tcp_flags: TCP_SYN,
                    dst_port: 1 + port,
                    ..PacketMeta::EMPTY
                };
                // Each twice: what is counted is different ones.
                for _ in 0..2 {
                    let seen = Seen {
                        port: port_bit(&syn, true, seed.wrapping_mul(0x9e37_79b9)),
                        ..Seen::default()
                    };
                    source.add(&seen, &reflex, S);
                }
            }
            sum += f64::from(source.port_estimate());
            if real == 20 {
                assert_eq!(source.crossed(&reflex) & REFLEX_PORTS, 0);
            }
        }
        let mean = sum / seeds as f64;
        assert!((mean / f64::from(real) - 1.0).abs() < 0.1, "{mean} for {real}");
    }
}

#[test]
fn what_opens_and_what_answers() {
    let tcp = |tcp_flags| PacketMeta {
        proto: PROTO_TCP,
        tcp_flags,
        ..PacketMeta::EMPTY
    };
    let udp = |dst_port| PacketMeta {
        proto: PROTO_UDP,
        dst_port,
        ..PacketMeta::EMPTY
    };
    assert!(opens(&tcp(TCP_SYN)) && opens(&tcp(0)) && opens(&udp(53)));
    assert!(!opens(&tcp(TCP_ACK)) && !opens(&tcp(TCP_ACK | TCP_SYN)));
    // An answer to a question of ours comes to a port of Linux's choice.
    assert_eq!(port_bit(&udp(40_000), false, 7), 0);
    assert_eq!(port_bit(&udp(161), false, 7).count_ones(), 1);
    assert_eq!(port_bit(&tcp(TCP_ACK), false, 7), 0);
}

#[test]
fn openings_limit_what_opens_and_volume_everything() {
    let reflex = second();
    let mut source = Source::new(7, S);
    source.limit(REFLEX_PORTS, &reflex, S);
    let drops = |source: &mut Source, opens| (0..100).filter(|_| source.over(opens, 60, &reflex, S)).count();
    assert_eq!(drops(&mut source, false), 0);
    assert_eq!(drops(&mut source, true), 100 - 11);
    source.limit(REFLEX_BYTES, &reflex, S);
    assert_eq!(drops(&mut source, false), 100);
    // When it is over and something else limits it, the old cause is forgotten.
    let later = 100 * S;
    assert!(!source.over(true, 60, &reflex, later));
    source.limit(REFLEX_PORTS, &reflex, later);
    assert!((0..100).all(|_| !source.over(false, 60, &reflex, later)));
}

#[test]
fn a_flood_begins_once_lasts_while_it_lasts_and_ends_once() {
    let mut port = Port::default();
    let mut turns = Vec::new();
    let mut syn = |port: &mut Port, now: u64, completes: bool| {
        if let Some(turn) = port.begun(100, now) {
            turns.push((now / S, matches!(turn, Turn::Begins { .. })));
        }
        port.syns += 1;
        port.completed += u64::from(completes);
        port.under_flood(now)
    };
    // A busy server: a thousand a second, all complete.
    for n in 0..5_000 {
        assert!(!syn(&mut port, 10 * S + n * MS, true));
    }
    // Ten seconds of flood at five hundred a second, then half a minute of ten a second.
    for n in 0..5_000 {
        let now = 15 * S + n * 2 * MS;
        assert!(syn(&mut port, now, false) || now < 16 * S + 300 * MS);
    }
    for n in 0..300 {
        let now = 25 * S + n * 100 * MS;
        let under = syn(&mut port, now, true);
        assert_eq!(under, now < 25 * S + PORT_CALM_NS + PORT_WINDOW_NS && under);
    }
    assert_eq!(turns.len(), 2, "{turns:?}");
    assert!(turns[0].1 && turns[0].0 == 15, "{turns:?}");
    assert!(!turns[1].1 && (29..=31).contains(&turns[1].0), "{turns:?}");

    // One that ends in silence is over with the next handshake, whenever that is.
    let mut port = Port::default();
    for n in 0..200 {
        let _ = port.begun(100, 10 * S + n);
        port.syns += 1;
    }
    assert!(port.under_flood(11 * S) && !port.under_flood(16 * S));
    assert!(matches!(
        port.begun(100, 900 * S),
        Some(Turn::Over {
            syns: 200,
            completed: 0
        })
    ));
    assert_eq!(port.begun(100, 901 * S), None);
}

#[test]
fn a_cookie_comes_back_to_where_it_was_given_out_and_for_as_long_as_it_is_taken() {
    let (here, behind) = (Addr::v4([192, 0, 2, 1]).folded(), Addr::v4([192, 0, 2, 2]).folded());
    assert!(!Port::default().answered(here, S) && !Port::default().answered(0, S));
    let port = Port {
        answered_ns: 10 * S,
        answered_for: here,
        ..Port::default()
    };
    assert!(port.answered(here, 10 * S) && port.answered(here, 130 * S));
    assert!(!port.answered(behind, 10 * S) && !port.answered(here, 140 * S));
}

#[test]
fn what_neighbours_need_to_find_each_other_opens_nothing() {
    let icmp = |kind: u16| PacketMeta {
        proto: PROTO_ICMPV6,
        src_port: kind,
        ..PacketMeta::EMPTY
    };
    let kinds: Vec<u16> = (0..256).filter(|kind| !opens(&icmp(*kind))).collect();
    assert_eq!(kinds, [133, 134, 135, 136]);
}

#[test]
fn an_ipv6_source_is_its_64() {
    let word = |text: &str| {
        source_word(
            &text.parse::<IpAddr>().unwrap().into(),
            if text.contains(':') { 6 } else { 4 },
        )
    };
    assert_eq!(word("2001:db8::1"), word("2001:db8::ffff:1"));
    assert_ne!(word("2001:db8::1"), word("2001:db8:0:1::1"));
    assert_ne!(word("192.0.2.1"), word("192.0.2.2"));
}
