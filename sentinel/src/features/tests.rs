//! When flows are told of, and that nothing outgrows its bounds.

use super::schema::index_of;
use super::{Builder, Cut, FeatureRecord, Limits};
use crate::config::Config;
use crate::flow::FlowTable;
use crate::types::Ktime;
use proptest::prelude::*;
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    CAUSE_CLOSE, CAUSE_FIRST, CAUSE_PERIODIC, Direction, FlowKey, Half, KEY_FRAGMENT, STATE_CLOSED,
    STATE_OPENED_BY_EGRESS, STATE_REPORTED,
};

const MS: u64 = 1_000_000;
const SEC: u64 = 1000 * MS;
/// Begin of time: an instant on no round number.
const T0: u64 = 1_234 * SEC + 567 * MS;

const SMALL: Limits = Limits {
    flows: 64,
    sources: 32,
    destinations: 16,
    pairs: 32,
    services: 16,
    sketches: 4,
};

/// Flow table and builder, as they stand behind each other.
struct Rig {
    table: FlowTable,
    builder: Builder,
    out: Vec<FeatureRecord>,
}

impl Rig {
    fn new(limits: &Limits) -> Self {
        Self {
            table: FlowTable::new(&Config::default().flow),
            builder: Builder::new(limits),
            out: Vec::new(),
        }
    }

    fn roomy() -> Self {
        Self::new(&Limits::from(&Config::default().flow))
    }

    fn take(&mut self, record: &FlowRecord) {
        if let Some(seen) = self.table.apply(record) {
            self.builder.record(record, &seen, &mut self.out);
        }
    }

    fn tick(&mut self, ms: u64) -> Vec<FeatureRecord> {
        self.table.tick(Ktime(T0 + ms * MS));
        self.builder.tick(Ktime(T0 + ms * MS), &mut self.out);
        std::mem::take(&mut self.out)
    }
}

fn key(client: u16, proto: u8) -> FlowKey {
    let [high, low] = client.to_be_bytes();
    FlowKey {
        remote: Addr::v4([198, 51, high, low]),
        local: Addr::v4([10, 0, 0, 1]),
        remote_port: 40_000,
        local_port: 80,
        proto,
        ..FlowKey::default()
    }
}

/// `packets` of 100 bytes between two instants, ms.
fn half(packets: u64, from: u64, to: u64) -> Half {
    Half {
        packets,
        bytes: packets * 100,
        squares: packets * 10_000,
        payload_bytes: packets * 60,
        first_ns: T0 + from * MS,
        last_ns: T0 + to * MS,
        len_min: 100,
        len_max: 100,
        ..Half::default()
    }
}

fn record(key: FlowKey, direction: Direction, counts: Half) -> FlowRecord {
    FlowRecord {
        state: STATE_REPORTED,
        ..FlowRecord::new(key, direction, counts, CAUSE_PERIODIC, counts.last_ns)
    }
}

fn far(key: FlowKey, packets: u64, from: u64, to: u64) -> FlowRecord {
    record(key, Direction::Ingress, half(packets, from, to))
}

fn near(key: FlowKey, packets: u64, from: u64, to: u64) -> FlowRecord {
    record(key, Direction::Egress, half(packets, from, to))
}

fn value(record: &FeatureRecord, name: &str) -> f64 {
    record.vector.0[index_of(name).unwrap()]
}

fn cuts(records: &[FeatureRecord]) -> Vec<(Cut, u64, bool)> {
    let ms = |r: &FeatureRecord| (r.at.0 - T0 / 10_000_000 * 10_000_000) / MS;
    records.iter().map(|r| (r.cut, ms(r), r.continued)).collect()
}

#[test]
fn a_short_flow_is_told_once_three_seconds_after_its_beginning() {
    let mut rig = Rig::roomy();
    rig.take(&far(key(1, 17), 1, 0, 0));
    rig.take(&near(key(1, 17), 1, 20, 20));
    assert!(rig.tick(2_990).is_empty());
    let told = rig.tick(60_000);
    assert_eq!(
        cuts(&told),
        [(Cut::Mark, 3_000, false)],
        "and not again: nothing came since"
    );
    let expected = [
        ("f_n", 1.0),
        ("r_n", 1.0),
        ("f_b", 100.0),
        ("noreply", 0.0),
        ("ws_flows", 1.0),
        ("ws_failr", 0.0),
        ("t300_p_cvi", -1.0),
    ];
    for (name, number) in expected {
        assert_eq!(value(&told[0], name), number, "{name}");
    }
    assert!(rig.builder.is_empty());
}

#[test]
fn a_long_flow_is_told_at_its_marks_and_in_pieces_of_a_minute() {
    let mut rig = Rig::roomy();
    for second in 0..130 {
        rig.take(&far(key(1, 17), 10, second * 1000, second * 1000));
    }
    let told = rig.tick(200_000);
    let expected = [
        (Cut::Mark, 3_000, false),
        (Cut::Mark, 10_000, true),
        (Cut::Mark, 30_000, true),
        (Cut::Active, 60_000, true),
        (Cut::Mark, 90_000, true),
        (Cut::Active, 120_000, true),
        (Cut::Idle, 144_000, true),
    ];
    assert_eq!(cuts(&told), expected);
    let counts: Vec<f64> = told.iter().map(|r| value(r, "f_n")).collect();
    // Whatever comes at the very instant belongs to what is told next.
    assert_eq!(counts, [30.0, 100.0, 300.0, 600.0, 300.0, 600.0, 100.0]);
    assert_eq!(told[4].start, Ktime(T0 + 60 * SEC));
    assert_eq!(value(&told[1], "ws_n"), 80.0, "five slots of 2 s, the last just begun");
    assert_eq!(
        value(&told[6], "ws_n"),
        10.0 * 4.0,
        "as of 5 s after its last packet, not 15"
    );
    assert_eq!(value(&told[2], "t60_p_flows"), 1.0, "pieces are no flows of their own");
    assert_eq!(value(&told[0], "ws_failr"), 1.0, "nobody answered");
}

#[test]
fn a_connection_is_told_a_second_after_its_end_and_its_echo_is_not() {
    let mut rig = Rig::roomy();
    let state = |mut r: FlowRecord, state, cause, change: fn(&mut Half)| {
        (r.state, r.cause) = (state, cause);
        change(&mut r.counts);
        r
    };
    let k = key(1, 6);
    rig.take(&state(far(k, 1, 0, 0), 0, CAUSE_FIRST, |c| c.syn = 1));
    let closed = STATE_REPORTED | STATE_CLOSED;
    rig.take(&state(near(k, 1, 1, 1), closed, CAUSE_CLOSE, |c| {
        (c.rst, c.payload_bytes) = (1, 0);
    }));
    let told = rig.tick(1_100);
    assert_eq!(cuts(&told), [(Cut::Closed, 1_000, false)]);
    assert_eq!((value(&told[0], "ws_failr"), value(&told[0], "f_syn_r")), (1.0, 1.0));
    rig.take(&state(near(k, 1, 1_500, 1_500), closed, CAUSE_CLOSE, |c| {
        (c.rst, c.payload_bytes) = (1, 0);
    }));
    assert!(rig.tick(20_000).is_empty());
    assert_eq!(rig.builder.losses().echoes, 1);
    // But who goes on at a closed door is told of.
    rig.take(&state(far(k, 500, 21_000, 21_000), closed, CAUSE_PERIODIC, |c| {
        c.syn = 500;
    }));
    assert_eq!(cuts(&rig.tick(60_000)), [(Cut::Mark, 24_000, true)]);
}

#[test]
fn a_new_connection_on_old_ports_is_a_new_flow() {
    let mut rig = Rig::roomy();
    let k = key(1, 6);
    let mut first = far(k, 1, 0, 0);
    (first.state, first.cause, first.counts.syn) = (0, CAUSE_FIRST, 1);
    let mut reset = near(k, 1, 1, 1);
    (reset.state, reset.counts.rst) = (STATE_REPORTED | STATE_CLOSED, 1);
    let mut again = far(k, 1, 500, 500);
    (again.state, again.cause, again.counts.syn) = (0, CAUSE_FIRST, 1);
    for record in [&first, &reset, &again] {
        rig.take(record);
    }
    let told = rig.tick(10_000);
    assert_eq!(cuts(&told), [(Cut::Closed, 500, false), (Cut::Mark, 3_500, false)]);
    assert_eq!(value(&told[1], "t60_p_flows"), 2.0);
}

#[test]
fn traffic_is_accounted_to_whoever_opened_the_flow() {
    let mut rig = Rig::roomy();
    let mut out = near(key(1, 17), 5, 0, 0);
    out.state = STATE_OPENED_BY_EGRESS;
    rig.take(&out);
    rig.take(&FlowRecord {
        state: STATE_OPENED_BY_EGRESS,
        ..far(key(1, 17), 2, 10, 10)
    });
    let told = rig.tick(5_000);
    assert_eq!((value(&told[0], "f_n"), value(&told[0], "r_n")), (5.0, 2.0));
    assert_eq!(told[0].source.to_string(), "10.0.0.1");
    assert_eq!((told[0].target.port, told[0].from_inside), (40_000, true));
}

#[test]
fn later_fragments_are_a_flow_without_ports() {
    let mut rig = Rig::roomy();
    let mut k = key(1, 17);
    (k.remote_port, k.local_port, k.flags) = (0, 0, KEY_FRAGMENT);
    rig.take(&far(key(1, 17), 1, 0, 0));
    rig.take(&far(k, 3, 0, 0));
    let mut told = rig.tick(5_000);
    told.sort_by_key(|r| r.source_port);
    let ports: Vec<_> = told
        .iter()
        .map(|r| (r.source_port, r.target.port, value(r, "f_n")))
        .collect();
    assert_eq!(ports, [(0, 0, 3.0), (40_000, 80, 1.0)]);
}

#[test]
fn a_flood_of_forged_sources_reaches_every_bound_and_none_goes_beyond() {
    let mut rig = Rig::new(&SMALL);
    for client in 0..20_000_u16 {
        let mut syn = far(key(client, 6), 1, u64::from(client) / 10, u64::from(client) / 10);
        (syn.state, syn.cause, syn.counts.syn) = (0, CAUSE_FIRST, 1);
        rig.take(&syn);
        let held = rig.builder.held();
        let most = [
            SMALL.sources,
            SMALL.destinations,
            SMALL.pairs,
            SMALL.services,
            SMALL.sketches,
        ];
        assert!(rig.builder.len() <= SMALL.flows && held.iter().zip(most).all(|(n, most)| *n <= most));
    }
    let losses = rig.builder.losses();
    assert_eq!(losses.flows, 20_000 - 64);
    assert_eq!((losses.sources, losses.pairs), (20_000 - 32, 20_000 - 32));
    assert_eq!((losses.destinations, losses.services), (0, 0));
    rig.builder.finish(&mut rig.out);
    assert_eq!(rig.out.len(), 20_000, "whoever makes room is told early");
    let last = rig.out.last().unwrap();
    assert_eq!(value(last, "wd_n"), 20_000.0, "the destination's counters stand");
    assert_eq!(value(last, "wd_srcs"), 3194.0, "as many as a sketch can tell");
}

#[test]
fn who_was_pushed_out_of_the_queue_by_early_ends_leaves_no_place_behind() {
    let mut rig = Rig::new(&SMALL);
    for n in 0..5_000_u16 {
        let at = u64::from(n) / 100;
        let mut syn = far(key(n % 50, 6), 1, at, at);
        (syn.state, syn.cause, syn.counts.syn) = (0, CAUSE_FIRST, 1);
        syn.key.remote_port = n;
        rig.take(&syn);
        let mut reset = near(syn.key, 1, at, at);
        (reset.state, reset.counts.rst) = (STATE_REPORTED | STATE_CLOSED, 1);
        rig.take(&reset);
        assert!(rig.builder.queued() <= 2 * SMALL.flows + 1);
    }
}

#[test]
fn the_default_limits_fit_in_ninety_mebibytes() {
    let bound = Builder::memory_bound(&Limits::from(&Config::default().flow));
    assert!((70 << 20..=90 << 20).contains(&bound), "{} MiB", bound >> 20);
}

/// A record of anything, at a time that mostly grows.
fn anything() -> impl Strategy<Value = Vec<FlowRecord>> {
    let numbers = prop::collection::vec(0u64..1 << 40, 6);
    let small = prop::collection::vec(any::<u32>(), 6);
    let one = (
        0u64..4_000,
        0u64..500,
        0u16..4,
        0u8..3,
        any::<bool>(),
        any::<u8>(),
        numbers,
        small,
    );
    prop::collection::vec(one, 1..60).prop_map(|raw| {
        let mut now = T0;
        let mut all = Vec::new();
        for (gap, back, client, proto, inward, state, numbers, small) in raw {
            now += gap * MS;
            let direction = if inward { Direction::Ingress } else { Direction::Egress };
            let packets = numbers[0] % 5;
            let counts = Half {
                packets,
                bytes: numbers[1],
                payload_bytes: numbers[2],
                squares: numbers[3],
                first_ns: now - back * MS,
                last_ns: now,
                zero_payload: small[0],
                syn: small[1] % 2,
                synack: small[2] % 2,
                fin: small[3],
                rst: small[4] % 2,
                ack: small[5],
                ..Half::default()
            };
            let counts = if packets == 0 { Half::default() } else { counts };
            let proto = [1, 6, 17][usize::from(proto)];
            all.push(FlowRecord {
                state: u32::from(state),
                ..FlowRecord::new(key(client, proto), direction, counts, u32::from(state % 7), now)
            });
        }
        all
    })
}

proptest! {
    #[test]
    fn no_number_is_ever_nan_or_infinite(records in anything()) {
        let mut rig = Rig::new(&SMALL);
        for record in &records {
            rig.take(record);
        }
        rig.builder.finish(&mut rig.out);
        for told in &rig.out {
            prop_assert!(told.vector.0.iter().all(|v| v.is_finite()), "{told:?}");
            prop_assert!(told.start <= told.end);
        }
    }

    /// All packets of a flow are told of exactly once, over its pieces' last records.
    #[test]
    fn no_packet_is_lost_or_told_twice(records in anything()) {
        let mut rig = Rig::roomy();
        let mut sent = 0;
        for record in records.iter().filter(|r| r.key.proto != 6) {
            sent += record.counts.packets;
            rig.take(record);
        }
        rig.builder.finish(&mut rig.out);
        let mut open = std::collections::BTreeMap::new();
        let mut total = 0.0;
        for told in &rig.out {
            let count = value(told, "f_n") + value(told, "r_n");
            let who = (told.source, told.target.ip, told.target.proto);
            let before = open.insert(who, (told.start, count));
            match before {
                // A later record of the same piece has it all.
                Some((start, count_before)) if start == told.start => total += count - count_before,
                _ => total += count,
            }
        }
        prop_assert_eq!(total, sent as f64);
    }

    /// How often time is told to pass changes nothing.
    #[test]
    fn ticks_in_between_change_nothing(records in anything()) {
        let (mut plain, mut ticked) = (Rig::roomy(), Rig::roomy());
        let mut now = T0;
        for record in &records {
            while now + 77 * MS < record.now_ns {
                now += 77 * MS;
                ticked.builder.tick(Ktime(now), &mut ticked.out);
            }
            plain.take(record);
            ticked.take(record);
        }
        let end = Ktime(now + 100 * SEC);
        plain.builder.tick(end, &mut plain.out);
        ticked.builder.tick(end, &mut ticked.out);
        prop_assert_eq!(plain.out, ticked.out);
    }

    /// Records of the same instant from different CPUs come in any order.
    #[test]
    fn flows_of_one_instant_may_come_in_any_order(order in Just((0u16..12).collect::<Vec<_>>()).prop_shuffle()) {
        let told = |order: &[u16]| {
            let mut rig = Rig::roomy();
            for client in order {
                rig.take(&far(key(*client, 17), u64::from(*client) + 1, 0, 0));
            }
            rig.tick(20_000)
        };
        prop_assert_eq!(told(&(0..12).collect::<Vec<_>>()), told(&order));
    }
}
