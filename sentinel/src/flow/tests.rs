//! What the table makes of records that are late, lost, repeated or re-created.

use super::{Cause, Fate, FlowTable, Observation};
use crate::config::{Config, FlowConfig};
use crate::types::Ktime;
use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_IDLE, CAUSE_PERIODIC, FlowKey, FlowValue, Half, STATE_CLOSED, STATE_HANDSHAKE,
    STATE_OPENED_BY_EGRESS,
};
use std::time::Duration;

const SEC: u64 = 1_000_000_000;
const CLIENT: [u8; 4] = [198, 51, 100, 1];
const SERVER: [u8; 4] = [10, 0, 0, 1];

/// Builds one record. Far side [`CLIENT`]:40000, near side [`SERVER`]:80.
#[derive(Clone, Copy)]
struct Record(FlowRecord);

fn record(proto: u8, cause: u32, now_ns: u64) -> Record {
    let key = FlowKey {
        remote: Addr::v4(CLIENT),
        local: Addr::v4(SERVER),
        remote_port: 40_000,
        local_port: 80,
        proto,
        ..FlowKey::default()
    };
    Record(FlowRecord::new(key, FlowValue::default(), cause, now_ns))
}

impl Record {
    fn half(half: &mut Half, packets: u64, first_ns: u64, last_ns: u64) {
        (half.packets, half.bytes) = (packets, packets * 100);
        (half.first_ns, half.last_ns) = (first_ns, last_ns);
    }

    fn far(mut self, packets: u64, first_ns: u64) -> Self {
        Self::half(&mut self.0.value.ingress, packets, first_ns, self.0.now_ns);
        self
    }

    fn near(mut self, packets: u64, first_ns: u64) -> Self {
        Self::half(&mut self.0.value.egress, packets, first_ns, self.0.now_ns);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut FlowRecord)) -> Self {
        change(&mut self.0);
        self
    }
}

fn table() -> FlowTable {
    FlowTable::new(&Config::default().flow)
}

#[expect(clippy::large_types_passed_by_value, reason = "the builder hands over what it built")]
fn apply(table: &mut FlowTable, record: Record) -> Observation {
    table.apply(&record.0).unwrap()
}

#[test]
fn deltas_are_against_the_last_state_known() {
    let mut table = table();
    let first = apply(&mut table, record(17, CAUSE_FIRST, SEC).far(1, SEC));
    assert!(first.new && first.cause == Cause::First && first.forward_delta.packets == 1);
    // The records in between were lost.
    let later = apply(
        &mut table,
        record(17, CAUSE_PERIODIC, 2 * SEC).far(50, SEC).near(7, SEC),
    );
    assert_eq!(
        (later.forward_delta.packets, later.reverse_delta.packets, later.new),
        (49, 7, false)
    );
    assert_eq!(later.forward.bytes, 5000);
    assert!(
        table
            .apply(&record(17, CAUSE_IDLE, 3 * SEC).far(50, SEC).near(7, SEC).0)
            .is_none(),
        "nothing new"
    );
    assert!(
        table.apply(&record(17, CAUSE_PERIODIC, SEC).far(20, SEC).0).is_none(),
        "late"
    );
    assert_eq!(table.losses().stale, 2);
}

#[test]
fn a_flow_the_kernel_created_anew_goes_on_with_its_initiator() {
    let mut table = table();
    let open = record(17, CAUSE_FIRST, SEC)
        .near(1, SEC)
        .with(|r| r.value.state = STATE_OPENED_BY_EGRESS);
    assert!(apply(&mut table, open).from_inside);
    apply(
        &mut table,
        record(17, CAUSE_PERIODIC, 2 * SEC)
            .near(1, SEC)
            .far(900, SEC)
            .with(|r| r.value.state = STATE_OPENED_BY_EGRESS),
    );
    // Forgotten by the kernel, re-created by what the server sends.
    let again = apply(&mut table, record(17, CAUSE_FIRST, 3 * SEC).far(1, 3 * SEC));
    assert!(again.from_inside && !again.new);
    assert_eq!((again.forward_delta.packets, again.reverse_delta.packets), (0, 1));
    let more = apply(&mut table, record(17, CAUSE_PERIODIC, 4 * SEC).far(800, 3 * SEC));
    assert_eq!(more.reverse_delta.packets, 799);
}

#[test]
fn a_flow_that_begins_with_the_answer_belongs_to_who_was_answered() {
    let answer = record(6, CAUSE_FIRST, SEC)
        .far(1, SEC)
        .with(|r| r.value.ingress.synack = 1);
    let seen = apply(&mut table(), answer);
    assert_eq!((seen.source, seen.target.port), ("10.0.0.1".parse().unwrap(), 40_000));
    assert!(seen.from_inside);
    let answer = record(6, CAUSE_FIRST, SEC)
        .near(1, SEC)
        .with(|r| (r.value.egress.synack, r.value.state) = (1, STATE_OPENED_BY_EGRESS));
    let seen = apply(&mut table(), answer);
    assert_eq!((seen.source, seen.target.port), ("198.51.100.1".parse().unwrap(), 80));
}

/// What a record shows beyond the counts.
type Change = fn(&mut FlowRecord);

#[test]
fn fates_of_tcp() {
    let syn = |r: &mut FlowRecord| r.value.ingress.syn = 1;
    let cases: [(&str, Fate, Change); 6] = [
        ("refused", Fate::Refused, |r| {
            (r.value.egress.rst, r.value.state) = (1, STATE_CLOSED);
        }),
        ("half-open", Fate::HalfOpen, |r| {
            (r.value.egress.synack, r.value.ingress.rst) = (1, 1);
        }),
        ("pending", Fate::Open, |r| r.value.egress.synack = 1),
        ("talked", Fate::Talked, |r| {
            (
                r.value.egress.synack,
                r.value.ingress.ack,
                r.value.ingress.payload_bytes,
            ) = (1, 3, 99);
            r.value.state = STATE_HANDSHAKE;
        }),
        ("empty", Fate::Empty, |r| {
            (r.value.egress.synack, r.value.ingress.ack, r.value.ingress.rst) = (1, 1, 1);
            r.value.state = STATE_HANDSHAKE | STATE_CLOSED;
        }),
        ("a download by FTP", Fate::Talked, |r| {
            (r.value.egress.synack, r.value.ingress.ack, r.value.ingress.fin) = (1, 3, 1);
            (r.value.egress.fin, r.value.egress.payload_bytes) = (1, 60);
            r.value.state = STATE_HANDSHAKE | STATE_CLOSED;
        }),
    ];
    for (name, fate, change) in cases {
        let seen = apply(
            &mut table(),
            record(6, CAUSE_CLOSE, SEC)
                .far(2, SEC)
                .near(1, SEC)
                .with(syn)
                .with(change),
        );
        assert_eq!(seen.fate, fate, "{name}");
        assert_eq!(seen.fate_now, fate != Fate::Open, "{name}");
    }
}

#[test]
fn silence_is_noticed_once_and_a_late_answer_mends_it() {
    let mut table = table();
    apply(&mut table, record(17, CAUSE_FIRST, SEC).far(1, SEC));
    assert!(table.tick(Ktime(2 * SEC - 1)).is_empty());
    let silent = table.tick(Ktime(2 * SEC + 7));
    assert_eq!(silent.len(), 1);
    assert_eq!(
        (silent[0].fate, silent[0].cause, silent[0].at),
        (Fate::Unanswered, Cause::TimedOut, Ktime(2 * SEC))
    );
    assert!(table.tick(Ktime(3 * SEC)).is_empty());
    let late = apply(&mut table, record(17, CAUSE_IDLE, 4 * SEC).far(1, SEC).near(1, 4 * SEC));
    assert!(late.fate == Fate::Talked && late.fate_now);
}

#[test]
fn nobody_has_to_answer_a_multicast() {
    let mut table = table();
    let group = record(17, CAUSE_FIRST, SEC)
        .far(1, SEC)
        .with(|r| r.key.local = Addr::v4([239, 255, 255, 250]));
    apply(&mut table, group);
    assert!(table.tick(Ktime(9 * SEC)).is_empty());
}

#[test]
fn without_egress_silence_proves_nothing() {
    let mut table = table().with_egress(false);
    apply(&mut table, record(17, CAUSE_FIRST, SEC).far(1, SEC));
    let went_on = record(6, CAUSE_PERIODIC, SEC)
        .far(3, SEC)
        .with(|r| (r.value.ingress.syn, r.value.ingress.ack) = (1, 2));
    assert!(apply(&mut table, went_on).completed);
    assert!(table.tick(Ktime(9 * SEC)).is_empty());
}

#[test]
fn quiet_flows_and_sources_leave() {
    let mut table = table();
    apply(&mut table, record(17, CAUSE_FIRST, SEC).far(1, SEC).near(1, SEC));
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
        let syn = record(6, CAUSE_FIRST, SEC)
            .far(1, SEC)
            .with(|r| (r.key.local_port, r.value.ingress.syn) = (port, 1));
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
            let r = record(proto, cause, at * SEC / 4)
                .far(far, SEC)
                .near(near, SEC)
                .with(|r| (r.key.local_port, r.value.state, r.value.ingress.syn) = (port, state, far as u32));
            if let Some(seen) = table.apply(&r.0) {
                prop_assert!(seen.forward_delta.packets <= seen.forward.packets);
                prop_assert!(seen.reverse_delta.packets <= seen.reverse.packets);
                prop_assert!(seen.window.flows >= u32::from(seen.new));
            }
            table.tick(Ktime(at * SEC / 4));
            prop_assert!(table.len() <= 4 && table.sources() <= 2);
        }
    }
}
