//! What the table makes of records that are late, out of order or of a flow begun anew.

use super::{Cause, Fate, FlowTable, ModelFlows, Observation};
use crate::config::{Config, FlowConfig};
use crate::types::Ktime;
use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_IDLE, CAUSE_PERIODIC, Direction, FlowKey, Half, PROTO_ICMPV6, STATE_CLOSED,
    STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS, STATE_REPORTED,
};
use sentinel_common::packet::PacketMeta;
use std::net::IpAddr;
use std::time::Duration;

const SEC: u64 = 1_000_000_000;
const CLIENT: [u8; 4] = [198, 51, 100, 1];
const SERVER: [u8; 4] = [10, 0, 0, 1];

/// What both directions did up to `now_ns`. Far side [`CLIENT`]:40000, near side [`SERVER`]:80.
#[derive(Clone, Copy)]
struct Report {
    key: FlowKey,
    cause: u32,
    now_ns: u64,
    state: u32,
    ingress: Half,
    egress: Half,
}

fn report(proto: u8, cause: u32, now_ns: u64) -> Report {
    let key = FlowKey {
        remote: Addr::v4(CLIENT),
        local: Addr::v4(SERVER),
        remote_port: 40_000,
        local_port: 80,
        proto,
        ..FlowKey::default()
    };
    Report {
        key,
        cause,
        now_ns,
        state: 0,
        ingress: Half::default(),
        egress: Half::default(),
    }
}

impl Report {
    fn half(packets: u64, first_ns: u64, last_ns: u64) -> Half {
        Half {
            packets,
            bytes: packets * 100,
            first_ns,
            last_ns,
            ..Half::default()
        }
    }

    fn far(mut self, packets: u64, first_ns: u64) -> Self {
        self.ingress = Self::half(packets, first_ns, self.now_ns);
        self
    }

    fn near(mut self, packets: u64, first_ns: u64) -> Self {
        self.egress = Self::half(packets, first_ns, self.now_ns);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// One for each direction that did anything; state goes with each.
    fn records(&self) -> Vec<FlowRecord> {
        [(Direction::Ingress, self.ingress), (Direction::Egress, self.egress)]
            .into_iter()
            .filter(|(_, half)| half.packets > 0)
            .map(|(direction, half)| FlowRecord {
                state: self.state,
                ..FlowRecord::new(self.key, direction, half, self.cause, self.now_ns)
            })
            .collect()
    }
}

fn table() -> FlowTable {
    FlowTable::new(&Config::default().flow)
}

/// The observation of the last record.
#[expect(clippy::large_types_passed_by_value, reason = "the builder hands over what it built")]
fn apply(table: &mut FlowTable, report: Report) -> Observation {
    let seen = report.records().iter().filter_map(|record| table.apply(record)).last();
    seen.unwrap()
}

#[test]
fn records_add_up() {
    let mut table = table();
    let first = apply(&mut table, report(17, CAUSE_FIRST, SEC).far(1, SEC));
    assert!(first.new && first.cause == Cause::First && first.forward_delta.packets == 1);
    let later = apply(&mut table, report(17, CAUSE_PERIODIC, 2 * SEC).far(49, SEC));
    assert_eq!((later.forward_delta.packets, later.new), (49, false));
    let back = apply(&mut table, report(17, CAUSE_FIRST, 2 * SEC).near(7, SEC));
    assert_eq!(
        (
            back.cause,
            back.forward_delta.packets,
            back.reverse_delta.packets,
            back.forward.bytes
        ),
        (Cause::Periodic, 0, 7, 5000)
    );
    let nothing = FlowRecord::new(
        report(17, 0, 0).key,
        Direction::Ingress,
        Half::default(),
        CAUSE_IDLE,
        3 * SEC,
    );
    assert!(table.apply(&nothing).is_none(), "nothing new");
    assert_eq!(table.losses().stale, 1);
}

#[test]
fn a_flow_the_kernel_created_anew_goes_on_with_its_initiator() {
    let mut table = table();
    let open = report(17, CAUSE_FIRST, SEC)
        .near(1, SEC)
        .with(|r| r.state = STATE_OPENED_BY_EGRESS);
    assert!(apply(&mut table, open).from_inside);
    apply(&mut table, report(17, CAUSE_PERIODIC, 2 * SEC).far(900, SEC));
    // Forgotten by the kernel, re-created by what the server sends.
    let again = apply(&mut table, report(17, CAUSE_FIRST, 3 * SEC).far(1, 3 * SEC));
    assert!(again.from_inside && !again.new);
    assert_eq!((again.forward_delta.packets, again.reverse_delta.packets), (0, 1));
    assert_eq!((again.forward.packets, again.reverse.packets), (1, 901));
}

#[test]
fn a_flow_that_begins_with_the_answer_belongs_to_who_was_answered() {
    let answer = report(6, CAUSE_FIRST, SEC).far(1, SEC).with(|r| r.ingress.synack = 1);
    let seen = apply(&mut table(), answer);
    assert_eq!((seen.source, seen.target.port), ("10.0.0.1".parse().unwrap(), 40_000));
    assert!(seen.from_inside);
    let answer = report(6, CAUSE_FIRST, SEC)
        .near(1, SEC)
        .with(|r| (r.egress.synack, r.state) = (1, STATE_OPENED_BY_EGRESS));
    let seen = apply(&mut table(), answer);
    assert_eq!((seen.source, seen.target.port), ("198.51.100.1".parse().unwrap(), 80));
}

#[test]
fn whichever_record_comes_first_the_opener_is_the_same() {
    let syn = report(6, CAUSE_FIRST, SEC).far(1, SEC).with(|r| r.ingress.syn = 1);
    let answer = report(6, CAUSE_FIRST, SEC).near(1, SEC).with(|r| r.egress.synack = 1);
    for order in [[syn, answer], [answer, syn]] {
        let mut table = table();
        for one in order {
            let seen = apply(&mut table, one);
            assert_eq!((seen.source_port, seen.target.port), (40_000, 80));
        }
        let silent = table.tick(Ktime(3 * SEC));
        assert_eq!(silent.len(), 1, "the SYN waited for the rest of the handshake");
        assert_eq!(silent[0].fate, Fate::HalfOpen);
    }
}

#[test]
fn a_connection_on_the_ports_of_one_that_closed_is_another() {
    let mut table = table();
    let syn = |at: u64| report(6, CAUSE_FIRST, at).far(1, at).with(|r| r.ingress.syn = 1);
    assert!(apply(&mut table, syn(SEC)).new);
    let refused = report(6, CAUSE_CLOSE, SEC)
        .near(1, SEC)
        .with(|r| (r.egress.rst, r.state) = (1, STATE_CLOSED));
    assert_eq!(apply(&mut table, refused).fate, Fate::Refused);
    assert!(!apply(&mut table, syn(SEC)).new, "only late");
    let more = syn(2 * SEC).with(|r| r.state = STATE_REPORTED);
    assert!(!apply(&mut table, more).new, "the kernel knew the flow: tried again");
    let fresh = apply(&mut table, syn(30 * SEC));
    assert!(fresh.new && fresh.fate == Fate::Open && fresh.forward.packets == 1);
}

/// What a record shows beyond the counts.
type Change = fn(&mut Report);

#[test]
fn fates_of_tcp() {
    let syn = |r: &mut Report| r.ingress.syn = 1;
    let cases: [(&str, Fate, Change); 6] = [
        ("refused", Fate::Refused, |r| {
            (r.egress.rst, r.state) = (1, STATE_CLOSED);
        }),
        ("half-open", Fate::HalfOpen, |r| {
            (r.egress.synack, r.ingress.rst) = (1, 1);
        }),
        ("pending", Fate::Open, |r| r.egress.synack = 1),
        ("talked", Fate::Talked, |r| {
            (r.egress.synack, r.ingress.ack, r.ingress.payload_bytes) = (1, 3, 99);
            r.state = STATE_HANDSHAKE;
        }),
        ("empty", Fate::Empty, |r| {
            (r.egress.synack, r.ingress.ack, r.ingress.rst) = (1, 1, 1);
            r.state = STATE_HANDSHAKE | STATE_CLOSED;
        }),
        ("a download by FTP", Fate::Talked, |r| {
            (r.egress.synack, r.ingress.ack, r.ingress.fin) = (1, 3, 1);
            (r.egress.fin, r.egress.payload_bytes) = (1, 60);
            r.state = STATE_HANDSHAKE | STATE_CLOSED;
        }),
    ];
    for (name, fate, change) in cases {
        let both = report(6, CAUSE_CLOSE, SEC)
            .far(2, SEC)
            .near(1, SEC)
            .with(syn)
            .with(change);
        let mut table = table();
        let seen: Vec<_> = both.records().iter().filter_map(|record| table.apply(record)).collect();
        assert_eq!(seen[1].fate, fate, "{name}");
        let changed = seen.iter().filter(|o| o.fate_now).count();
        assert_eq!(changed > 0, fate != Fate::Open, "{name}");
    }
}

#[test]
fn silence_is_noticed_once_and_a_late_answer_mends_it() {
    let mut table = table();
    apply(&mut table, report(17, CAUSE_FIRST, SEC).far(1, SEC));
    assert!(table.tick(Ktime(2 * SEC - 1)).is_empty());
    let silent = table.tick(Ktime(2 * SEC + 7));
    assert_eq!(silent.len(), 1);
    assert_eq!(
        (silent[0].fate, silent[0].cause, silent[0].at),
        (Fate::Unanswered, Cause::TimedOut, Ktime(2 * SEC))
    );
    assert!(table.tick(Ktime(3 * SEC)).is_empty());
    let late = apply(&mut table, report(17, CAUSE_IDLE, 4 * SEC).near(1, 4 * SEC));
    assert!(late.fate == Fate::Talked && late.fate_now);
}

#[test]
fn nobody_has_to_answer_a_multicast() {
    let mut table = table();
    let group = report(17, CAUSE_FIRST, SEC)
        .far(1, SEC)
        .with(|r| r.key.local = Addr::v4([239, 255, 255, 250]));
    apply(&mut table, group);
    assert!(table.tick(Ktime(9 * SEC)).is_empty());
}

#[test]
fn without_egress_silence_proves_nothing() {
    let mut table = table().with_egress(false);
    apply(&mut table, report(17, CAUSE_FIRST, SEC).far(1, SEC));
    let went_on = report(6, CAUSE_PERIODIC, SEC)
        .far(3, SEC)
        .with(|r| (r.ingress.syn, r.ingress.ack) = (1, 2));
    assert!(apply(&mut table, went_on).completed);
    assert!(table.tick(Ktime(9 * SEC)).is_empty());
}

#[test]
fn quiet_flows_and_sources_leave() {
    let mut table = table();
    apply(&mut table, report(17, CAUSE_FIRST, SEC).far(1, SEC).near(1, SEC));
    table.tick(Ktime(61 * SEC));
    assert_eq!((table.len(), table.sources()), (1, 1));
    table.tick(Ktime(61 * SEC + 1));
    assert_eq!(table.len(), 0);
    table.tick(Ktime(66 * SEC));
    assert_eq!((table.len(), table.sources(), table.losses().flows), (0, 0, 0));
}

#[test]
fn who_is_pushed_out_unanswered_is_judged_at_the_next_tick() {
    let config = FlowConfig {
        max_flows: 2,
        max_sources: 2,
        idle_timeout: Duration::from_mins(1),
        answer_timeout: Duration::from_secs(1),
    };
    let mut table = FlowTable::new(&config);
    for port in 0..5 {
        let syn = report(6, CAUSE_FIRST, SEC)
            .far(1, SEC)
            .with(|r| (r.key.local_port, r.ingress.syn) = (port, 1));
        apply(&mut table, syn);
    }
    assert_eq!((table.len(), table.losses().flows), (2, 3));
    assert_eq!(table.tick(Ktime(SEC + 1)).len(), 3);
    assert_eq!(table.tick(Ktime(2 * SEC)).len(), 2);
    assert_eq!(table.losses().unjudged, 0);
}

proptest! {
    /// Whatever arrives, in whatever order: no panic, bounded, and deltas never exceed what was sent.
    #[test]
    fn any_records_are_survived(records in prop::collection::vec(
        (0u16..6, 0u64..40, 0u64..40, 0u32..4, 0u64..20, 0u32..64, prop::sample::select(vec![1u8, 6, 17, 132])), 1..200)
    ) {
        let config = FlowConfig { max_flows: 4, max_sources: 2, ..Config::default().flow };
        let mut table = FlowTable::new(&config);
        for (port, far, near, cause, at, state, proto) in records {
            let r = report(proto, cause, at * SEC / 4)
                .far(far, SEC)
                .near(near, SEC)
                .with(|r| (r.key.local_port, r.state, r.ingress.syn) = (port, state, far as u32));
            for seen in r.records().iter().filter_map(|record| table.apply(record)) {
                prop_assert!(seen.forward_delta.packets <= seen.forward.packets);
                prop_assert!(seen.reverse_delta.packets <= seen.reverse.packets);
                prop_assert!(seen.window.flows >= u32::from(seen.new));
            }
            table.tick(Ktime(at * SEC / 4));
            prop_assert!(table.len() <= 4 && table.sources() <= 2);
        }
    }
}

#[test]
fn the_busiest_come_first_each_told_from_whoever_opened_it() {
    use crate::types::{Busy, BusyBy, BusyPer, Clock};
    let mut table = table();
    let flow = |port: u16, client: u8, packets: u64| {
        report(6, CAUSE_FIRST, 100 * SEC)
            .far(packets, 99 * SEC)
            .near(1, 99 * SEC)
            .with(|r| {
                r.key.remote = Addr::v4([198, 51, 100, client]);
                r.key.remote_port = port;
            })
    };
    for (port, client, packets) in [(1, 1, 10), (2, 2, 30), (3, 1, 25), (4, 3, 5)] {
        apply(&mut table, flow(port, client, packets));
    }
    let ask = |per, at: u64| table.busiest(per, None, Ktime(at * SEC), Clock::default());
    let flows = ask(BusyPer::Flow, 100);
    let ports = |rows: &[Busy]| -> Vec<u16> {
        rows.iter()
            .map(|row| match row {
                Busy::Flow(flow) => flow.source_port,
                Busy::Source(_) => 0,
            })
            .collect()
    };
    for by in [BusyBy::Bytes, BusyBy::Packets, BusyBy::Rate] {
        assert_eq!(ports(flows.by(by)), [2, 3, 1, 4], "{by:?}");
    }
    assert_eq!((flows.flows, flows.looked_at, flows.total), (4, 4, 4));
    let Busy::Flow(first) = &flows.by_bytes[0] else {
        panic!("a flow")
    };
    assert_eq!(first.source, IpAddr::from([198, 51, 100, 2]));
    assert_eq!((first.moved.packets_sent, first.moved.packets_received), (30, 1));
    assert_eq!((first.moved.bytes_per_second, first.from_inside), (3_100.0, false));

    let sources = ask(BusyPer::Source, 100);
    let Busy::Source(first) = &sources.by_bytes[0] else {
        panic!("a source")
    };
    assert_eq!((first.flows, first.moved.packets_sent, sources.total), (2, 35, 3));

    let one = |net: &str| table.busiest(BusyPer::Flow, net.parse().ok(), Ktime(100 * SEC), Clock::default());
    assert_eq!(ports(&one("198.51.100.1/32").by_bytes), [3, 1], "who opened them");
    assert_eq!(one("198.51.100.0/24").total, 4);
    assert_eq!(one("203.0.113.99/32").total, 0);

    let later = ask(BusyPer::Flow, 120);
    let Busy::Flow(first) = &later.by_rate[0] else {
        panic!("a flow")
    };
    assert!(first.moved.bytes_per_second < 0.1, "nothing came for 20 s");
}

#[test]
fn of_very_many_flows_the_busiest_256_are_told() {
    use crate::types::{Busy, BusyPer, Clock};
    let mut table = table();
    for port in 1..=5_000u16 {
        let report = report(6, CAUSE_FIRST, 100 * SEC).far(u64::from(port), 99 * SEC);
        apply(&mut table, report.with(|r| r.key.remote_port = port));
    }
    let told = table.busiest(BusyPer::Flow, None, Ktime(100 * SEC), Clock::default());
    let ports: Vec<u16> = told
        .by_packets
        .iter()
        .map(|row| match row {
            Busy::Flow(flow) => flow.source_port,
            Busy::Source(_) => 0,
        })
        .collect();
    assert_eq!(ports, (5_000 - 255..=5_000).rev().collect::<Vec<_>>());
    assert_eq!(told.total, 5_000);
}

#[test]
fn each_flow_is_told_of_once_when_it_ends_and_what_there_is_no_room_for_is_counted() {
    let config = FlowConfig {
        max_flows: 4,
        idle_timeout: Duration::from_secs(10),
        ..Config::default().flow
    };
    let flow = |port: u16, at: u64| {
        let key = FlowKey {
            remote_port: port,
            ..report(17, CAUSE_FIRST, at).key
        };
        FlowRecord::new(key, Direction::Ingress, Report::half(2, at, at), CAUSE_FIRST, at)
    };
    let mut untold = FlowTable::new(&config);
    let mut table = FlowTable::new(&config).with_ended(true);
    for port in 1..=6 {
        untold.apply(&flow(port, SEC));
        table.apply(&flow(port, SEC));
    }
    let ports = |ended: &[crate::types::FlowEnd]| ended.iter().map(|flow| flow.source_port).collect::<Vec<_>>();
    let (ended, lost) = table.take_ended();
    assert_eq!((ports(&ended), lost), (vec![1, 2], 0), "those that made room");
    assert_eq!(
        (ended[0].packets_ahead, ended[0].bytes_ahead, ended[0].packets_back),
        (2, 200, 0)
    );
    assert_eq!(ended[0].state, crate::types::FlowState::New);
    table.tick(Ktime(5 * SEC));
    assert_eq!(table.take_ended().0, []);
    table.tick(Ktime(20 * SEC));
    assert_eq!(ports(&table.take_ended().0), [3, 4, 5, 6], "those that were quiet");
    assert_eq!(untold.take_ended(), (Vec::new(), 0), "nobody asked");
    for n in 0..20_004_u32 {
        table.apply(&flow((n % 60_000) as u16, (30 + u64::from(n)) * SEC / 1000));
    }
    let (ended, lost) = table.take_ended();
    assert_eq!(ended.len() as u64 + lost, 20_000);
    assert_eq!(lost, 20_000 - 16_384);
}

#[test]
fn of_a_capture_the_far_side_is_who_sent_first_or_was_answered_by_who_advertises_itself() {
    let (near, far): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::23".parse().unwrap());
    let packet = |from: IpAddr, to: IpAddr, kind| PacketMeta {
        src: from.into(),
        dst: to.into(),
        proto: PROTO_ICMPV6,
        src_port: kind,
        ..PacketMeta::EMPTY
    };
    // Echo request and answer; then the same after the neighbour was found, whose question went to a group.
    for first in [None, Some(packet(near, far, 136)), Some(packet(far, near, 135))] {
        let mut flows = ModelFlows::new(16, Duration::from_secs(1));
        if let Some(first) = first {
            flows.direction(&first);
        }
        assert_eq!(flows.direction(&packet(far, near, 128)), Direction::Ingress);
        assert_eq!(flows.direction(&packet(near, far, 129)), Direction::Egress);
    }
}
