//! Accounting to the unit, bounds that are reached, and the real program against the host's parser.

use super::frames::{Rng, SYN, TCP, UDP, frame, hostile, tcp, udp};
use super::*;
use sentinel::kernel::{Record, decode};
use sentinel::respond::{EnforceError, Enforcer};
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_IDLE, Direction, FlowKey, Half};
use sentinel_common::names::{
    PROG_COOKIE, PROG_COOKIE_FRAGS, PROG_EGRESS, PROG_INGRESS, PROG_REDIRECT, PROG_REDIRECT_FRAGS, PROG_RESTORE,
    PROG_XDP, PROG_XDP_FRAGS,
};
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};
use sentinel_common::slot::{Head, Slot};
use sentinel_common::table::{Host, Pass};
use sentinel_common::talk::{self, Words};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A SYN from a source of its own.
fn probe(n: u32) -> Vec<u8> {
    let [_, b, c, d] = n.to_be_bytes();
    frame(&format!("100.{b}.{c}.{d}"), "10.0.0.1", &tcp(4000, 22, SYN, b""), TCP)
}

fn get(moved: &BTreeMap<&str, u64>, label: &str) -> u64 {
    moved.get(label).copied().unwrap_or(0)
}

#[test]
fn the_program_and_the_host_agree_on_hostile_frames() {
    const FRAMES: usize = 200_000;
    const BATCH: usize = 2000;
    // Without a budget nothing is reported, and the slots keep all they counted.
    let quiet = KernelConfig {
        report_interval: Duration::from_hours(24),
        flow_capacity: 65_536,
        event_budget: 0,
        ..config()
    };
    let Some(mut kernel) = kernel(&quiet, Mode::Production) else {
        return;
    };
    pin(0);
    let mut rng = Rng(0x5eed_0001);
    let (mut done, mut next) = (0, None);
    for batch in 0.. {
        if done == FRAMES {
            break;
        }
        let mut model: HashMap<FlowKey, Model> = HashMap::new();
        let mut buckets = Buckets::default();
        let mut expected = BTreeMap::new();
        let mut count = |label: &'static str, n: u64| *expected.entry(label).or_insert(0) += n;
        let before = kernel.test_counters().unwrap();
        for _ in 0..BATCH.min(FRAMES - done) {
            let frame = next.take().unwrap_or_else(|| hostile(&mut rng));
            let parsed = parse_ethernet(&frame.as_slice());
            // A fifth flow in a bucket makes another go; the next batch begins with it.
            if let Ok(meta) = &parsed
                && !model.contains_key(&FlowKey::of(meta, Direction::Ingress))
                && !buckets.admit(&kernel, meta, WAYS)
            {
                next = Some(frame);
                break;
            }
            done += 1;
            let hidden = parsed.is_err_and(ParseError::hides_source);
            let code = if hidden { 1 } else { 2 };
            assert_eq!(kernel.test_run(PROG_XDP, &frame, 1).unwrap().code, code);
            let bytes = frame.len() as u64;
            match parsed {
                Ok(meta) => {
                    let key = FlowKey::of(&meta, Direction::Ingress);
                    model.entry(key).or_default().ingress(&meta);
                    let v4 = meta.ip_version == 4;
                    count(if v4 { "pass_v4" } else { "pass_v6" }, 1);
                    count(if v4 { "pass_v4_bytes" } else { "pass_v6_bytes" }, bytes);
                    if meta.too_deep {
                        count("too_deep", 1);
                    }
                }
                Err(error) => {
                    count(if hidden { "drop_hidden" } else { "pass_other" }, 1);
                    count(
                        if hidden {
                            "drop_hidden_bytes"
                        } else {
                            "pass_other_bytes"
                        },
                        bytes,
                    );
                    let reason = match error {
                        ParseError::NotIp => "not_ip",
                        ParseError::Truncated => "truncated",
                        ParseError::Malformed | ParseError::Mapped => "malformed",
                        ParseError::TooDeep => "too_deep",
                    };
                    count(reason, 1);
                }
            }
        }
        count("flow_new", model.len() as u64);
        let mut moved = moved(&before, &kernel.test_counters().unwrap());
        // Nobody reads the ring here: how many records fit is no matter of the parser's.
        moved.retain(|label, _| !label.starts_with("event_"));
        assert_eq!(moved, expected, "batch {batch}");
        let flows: HashMap<_, _> = kernel
            .test_slots()
            .unwrap()
            .into_iter()
            .map(|(h, s)| (s.key(), (h, s)))
            .collect();
        assert_eq!(flows.len(), model.len(), "batch {batch}");
        for (key, one) in model {
            let (head, slot) = flows
                .get(&key)
                .unwrap_or_else(|| panic!("batch {batch}: no {key:?} in the kernel"));
            let known = (timeless(head, slot), head.state);
            assert_eq!(
                known,
                (timeless(&one.head, &one.slot), one.head.state),
                "batch {batch}: {key:?}"
            );
        }
        kernel.test_forget().unwrap();
    }
}

/// A slot on the host, that nothing is reported of.
#[derive(Default)]
struct Model {
    head: Head,
    slot: Slot,
    cell: Rc<Cell<talk::Cell>>,
}

impl Model {
    fn ingress(&mut self, packet: &PacketMeta) {
        let pass = Pass {
            packet,
            direction: Direction::Ingress,
            hash: 0,
            now_ns: 1,
            interval_ns: u64::from(u32::MAX),
            ifindex: 0,
            allowed: Some(false),
            clear: 0,
        };
        let mut host = Silent(Rc::clone(&self.cell));
        let created = self.head.tag == 0;
        if created {
            pass.begin(&mut self.head, &mut self.slot, 1, &mut host);
        }
        pass.add(&mut self.head, &mut self.slot, 0, created, &mut host);
    }
}

/// Takes no report.
struct Silent(Rc<Cell<talk::Cell>>);

/// The cell of one flow.
struct Own(Rc<Cell<talk::Cell>>);

impl Words for Own {
    fn get(&self, index: usize) -> u64 {
        Words::get(&*self.0, index)
    }

    fn set(&self, index: usize, word: u64) {
        Words::set(&*self.0, index, word);
    }
}

impl Host for Silent {
    type Words = Own;

    fn words(&mut self, _hash: u64) -> Option<Own> {
        Some(Own(Rc::clone(&self.0)))
    }

    fn allowed(&mut self) -> bool {
        false
    }

    fn report(&mut self, _head: &Head, _slot: &Slot, _way: usize, _cause: u32) -> bool {
        false
    }

    fn taken(&mut self, _way: usize) -> u64 {
        0
    }

    fn evicted(&mut self, packets: u32, _told: bool) {
        panic!("{packets} packets evicted");
    }

    fn hide(&self, way: u64) -> u64 {
        way
    }
}

/// What was counted, but for when.
fn timeless(head: &Head, slot: &Slot) -> Half {
    Half {
        first_ns: 0,
        last_ns: 0,
        ..slot.half(head, 0)
    }
}

/// K2: far from the limit of a million, and no more than a fifth above what was written down of this kernel.
#[test]
fn the_verifier_is_far_from_its_limit() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let written: BTreeMap<String, BTreeMap<String, u32>> =
        serde_json::from_str(include_str!("../../../xtask/verifier.json")).unwrap();
    let (major, minor, _) = probe::kernel_version().unwrap();
    let known = written.get(&format!("{major}.{minor}"));
    if known.is_none() {
        println!("xtask/verifier.json knows nothing of Linux {major}.{minor}");
    }
    let frags = [PROG_XDP_FRAGS, PROG_REDIRECT_FRAGS, PROG_COOKIE_FRAGS];
    let frags = frags.into_iter().filter(|_| probe::multi_buffer());
    for program in [
        PROG_XDP,
        PROG_INGRESS,
        PROG_EGRESS,
        PROG_REDIRECT,
        PROG_RESTORE,
        PROG_COOKIE,
    ]
    .into_iter()
    .chain(frags)
    {
        let cost = kernel.verifier_cost(program).unwrap();
        let before = known.and_then(|known| known.get(program)).copied();
        println!("{program}: the verifier walked {cost:?} instructions, {before:?} before");
        assert!(cost.is_none_or(|cost| cost < 500_000), "{program}: {cost:?}");
        if let (Some(cost), Some(before)) = (cost, before) {
            assert!(cost <= before + before / 5, "{program}: {before} before, {cost} now");
        }
    }
}

#[test]
fn a_full_ring_loses_and_counts() {
    let small = KernelConfig {
        ring_bytes: 4096,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    let before = kernel.test_counters().unwrap();
    for frame in Buckets::choose(&kernel, 100, WAYS, (0..).map(probe)) {
        kernel.test_run(PROG_XDP, &frame, 1).unwrap();
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    let (sent, lost) = (get(&moved, "event_sent"), get(&moved, "event_lost"));
    let thinned = get(&moved, "event_thinned");
    assert_eq!(
        (get(&moved, "flow_new"), sent + lost + thinned),
        (100, 100),
        "{moved:?}"
    );
    // A record takes 192 bytes and a header of 8; above three quarters those of new flows stay away, which is looked at
    // once a jiffy.
    assert!((3072 / 200..=4096 / 200).contains(&sent), "{moved:?}");
    let held: u64 = kernel
        .test_slots()
        .unwrap()
        .iter()
        .map(|(head, _)| u64::from(head.packets))
        .sum();
    assert_eq!(sent + held, 100, "what was not reported waits in its slot");
}

#[test]
fn a_spent_budget_defers_and_counts() {
    let tight = KernelConfig {
        event_budget: 1,
        flow_capacity: 65_536,
        ..config()
    };
    let Some(mut kernel) = kernel(&tight, Mode::Production) else {
        return;
    };
    let before = kernel.test_counters().unwrap();
    for frame in Buckets::choose(&kernel, 2000, WAYS, (0..).map(probe)) {
        kernel.test_run(PROG_XDP, &frame, 1).unwrap();
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    let (sent, deferred) = (get(&moved, "event_sent"), get(&moved, "event_deferred"));
    assert_eq!((get(&moved, "flow_new"), sent + deferred), (2000, 2000), "{moved:?}");
    assert!(sent >= 1 && deferred > 0, "{moved:?}");
}

#[test]
fn flows_make_room_and_blocks_do_not() {
    let small = KernelConfig {
        flow_capacity: 512,
        block_capacity: 16,
        block_net_capacity: 16,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let block = BlockEntry {
        expires_ns: NEVER_NS,
        action: ACTION_DROP,
        ..BlockEntry::default()
    };
    for (pattern, full) in [
        ("192.0.2.{}/32", "BLOCK4"),
        ("2001:db8::{}/128", "BLOCK6"),
        ("198.18.{}.0/24", "BLOCK_NET4"),
        ("2001:db8:{}::/48", "BLOCK_NET6"),
    ] {
        let net = |n: u32| pattern.replace("{}", &n.to_string()).parse().unwrap();
        for n in 1..=16 {
            blocks.put_block(net(n), &block).unwrap();
        }
        assert_eq!(
            blocks.put_block(net(17), &block),
            Err(EnforceError::Full {
                map: full,
                capacity: 16
            })
        );
        blocks.put_block(net(3), &block).unwrap();
        assert!(blocks.get_block(net(17)).unwrap().is_none());
        for n in 1..=16 {
            assert!(blocks.get_block(net(n)).unwrap().is_some(), "{full} {n}");
        }
    }
    assert_eq!(blocks.list_blocks().unwrap().len(), 64);
    pin(0);
    let before = kernel.test_counters().unwrap();
    for n in 0..5000 {
        kernel.test_run(PROG_XDP, &probe(n), 1).unwrap();
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    assert_eq!((get(&moved, "flow_new"), get(&moved, "flow_refused")), (5000, 0));
    assert!(kernel.test_slots().unwrap().len() <= 512);
    assert_eq!(blocks.list_blocks().unwrap().len(), 64);
    let (_, maps) = kernel.counters().read().unwrap();
    for map in ["BLOCK4", "BLOCK6", "BLOCK_NET4", "BLOCK_NET6"] {
        assert_eq!((maps[map].entries, maps[map].capacity), (16, 16), "{map}");
    }
    for (net, _) in blocks.list_blocks().unwrap() {
        blocks.delete_block(net).unwrap().unwrap();
    }
    let (_, maps) = kernel.counters().read().unwrap();
    assert_eq!(maps["BLOCK4"].entries + maps["BLOCK_NET6"].entries, 0);
}

#[test]
fn allow_entries_come_and_go() {
    let Some(kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let entry = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    for net in ["10.1.2.3/8", "127.0.0.1/32", "::1/128", "fe80::/10"] {
        blocks.put_allow(net.parse().unwrap(), &entry).unwrap();
    }
    let mut nets: Vec<_> = blocks
        .list_allows()
        .unwrap()
        .into_iter()
        .map(|(net, entry)| (net.to_string(), entry.prefix_len))
        .collect();
    nets.sort();
    let expected = [
        ("10.0.0.0/8", 8),
        ("127.0.0.1/32", 32),
        ("::1/128", 128),
        ("fe80::/10", 10),
    ];
    assert_eq!(nets, expected.map(|(net, len)| (net.to_owned(), len)));
    assert!(blocks.delete_allow("10.0.0.0/8".parse().unwrap()).unwrap());
    assert!(!blocks.delete_allow("10.0.0.0/8".parse().unwrap()).unwrap());
    assert!(!blocks.delete_allow("127.0.0.0/8".parse().unwrap()).unwrap());
    assert_eq!(blocks.list_allows().unwrap().len(), 3);
}

#[tokio::test]
async fn a_full_channel_drops_the_newest_and_counts() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    for n in 0..3000 {
        kernel.test_run(PROG_XDP, &probe(n), 1).unwrap();
    }
    let sent = kernel.test_counters().unwrap()[Counter::EventSent as usize];
    let lost = kernel.ring_lost();
    let (out, mut batches) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    cancel.cancel();
    kernel.ring().run(out, cancel).await;
    let mut got = 0;
    while let Some(batch) = batches.recv().await {
        got += decode(&batch).inspect(|record| assert!(record.is_ok())).count() as u64;
    }
    let lost = lost.load(Ordering::Relaxed);
    assert_eq!(got + lost, sent);
    assert!(got > 0 && lost > 0, "got {got}, lost {lost}");
}

#[test]
fn the_sweep_tells_of_quiet_flows_once_and_forgets_idle_ones() {
    use sentinel::time::boot_now;
    // Longer than this test is at it, however busy the machine: what passes by is in the clock that the sweep is given.
    let long = Duration::from_secs(20);
    let Some(mut kernel) = kernel(
        &KernelConfig {
            report_interval: long,
            ..config()
        },
        Mode::Production,
    ) else {
        return;
    };
    let packet = frame("100.0.0.1", "10.0.0.1", &udp(1, 2, b"abc"), UDP);
    // The first packet is reported at once, the others within the interval are not.
    pin(0);
    kernel.test_run(PROG_XDP, &packet, 5).unwrap();
    kernel.test_run(PROG_XDP, &probe(1), 1).unwrap();
    let mut sweep = kernel.sweep().with_idle(Duration::from_mins(10));
    let now = boot_now();
    assert_eq!(sweep.sweep(now), vec![], "nothing is quiet yet");
    let told = sweep.sweep(now.after(Duration::from_secs(40)));
    assert_eq!(told.len(), 1, "one flow has packets unreported: {told:?}");
    assert_eq!((told[0].counts.packets, told[0].counts.payload_bytes), (4, 12));
    assert_eq!(told[0].cause, CAUSE_IDLE);
    assert_eq!(sweep.sweep(now.after(Duration::from_mins(1))), vec![], "told once");
    assert_eq!(kernel.counters().read().unwrap().1["FLOWS"].entries, 2);

    // The flow goes on: what it counted while it was quiet must not be told again.
    kernel.test_run(PROG_XDP, &packet, 3).unwrap();
    let mut records = ring(&mut kernel);
    records.retain_mut(|record| sweep.settle(record));
    let after = sweep.sweep(now.after(Duration::from_secs(90)));
    let sum = |records: &[FlowRecord]| records.iter().map(|r| r.counts.packets).sum::<u64>();
    assert_eq!(
        sum(&records) + sum(&told) + sum(&after),
        9,
        "{records:?} {told:?} {after:?}"
    );
    sweep.sweep(now.after(Duration::from_mins(11)));
    assert_eq!(
        kernel.counters().read().unwrap().1["FLOWS"].entries,
        0,
        "idle slots count for none"
    );
}

/// Every flow record in the ring. It can be asked for once.
fn ring(kernel: &mut Kernel) -> Vec<FlowRecord> {
    let reader = kernel.ring();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (out, mut batches) = mpsc::channel(4096);
        let cancel = CancellationToken::new();
        cancel.cancel();
        reader.run(out, cancel).await;
        let mut records = Vec::new();
        while let Some(batch) = batches.recv().await {
            records.extend(decode(&batch).map(|record| match record.unwrap() {
                Record::Flow(flow) => flow,
                other => panic!("{other:?}"),
            }));
        }
        records
    })
}
