//! Accounting to the unit, bounds that are reached, and the real program against the host's parser.

use super::frames::{Rng, SYN, TCP, UDP, frame, hostile, tcp, udp};
use super::*;
use sentinel::kernel::decode;
use sentinel::respond::{EnforceError, Enforcer};
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::flow::{Direction, FlowKey, FlowValue, Half, STATE_REPORTED};
use sentinel_common::names::PROG_XDP;
use sentinel_common::packet::{ParseError, parse_ethernet};
use std::collections::HashMap;
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
    const BATCHES: usize = 100;
    const FRAMES: usize = 2000;
    let quiet = KernelConfig {
        report_interval: Duration::from_hours(24),
        flow_capacity: 65_536,
        ..config()
    };
    let Some(mut kernel) = kernel(&quiet, Mode::Production) else {
        return;
    };
    let mut rng = Rng(0x5eed_0001);
    for batch in 0..BATCHES {
        let mut model: HashMap<FlowKey, FlowValue> = HashMap::new();
        let mut expected = BTreeMap::new();
        let mut count = |label: &'static str, n: u64| *expected.entry(label).or_insert(0) += n;
        let before = kernel.test_counters().unwrap();
        for _ in 0..FRAMES {
            let frame = hostile(&mut rng);
            let parsed = parse_ethernet(&frame.as_slice());
            let hidden = parsed.is_err_and(ParseError::hides_source);
            let code = if hidden { 1 } else { 2 };
            assert_eq!(kernel.test_run(PROG_XDP, &frame, 1).unwrap().code, code);
            let bytes = frame.len() as u64;
            match parsed {
                Ok(meta) => {
                    let key = FlowKey::of(&meta, Direction::Ingress);
                    let value = model.entry(key).or_default();
                    value.update(&meta, Direction::Ingress, 1, u64::MAX);
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
        let flows: HashMap<_, _> = kernel.test_flows().unwrap().into_iter().collect();
        assert_eq!(flows.len(), model.len(), "batch {batch}");
        for (key, value) in model {
            let kernel = flows
                .get(&key)
                .unwrap_or_else(|| panic!("batch {batch}: no {key:?} in the kernel"));
            assert_eq!(timeless(*kernel), timeless(value), "batch {batch}: {key:?}");
        }
        kernel.test_forget().unwrap();
    }
}

/// What does not depend on when it happened or whether a report found room.
fn timeless(value: FlowValue) -> FlowValue {
    let half = |half: Half| Half {
        first_ns: 0,
        last_ns: 0,
        ..half
    };
    FlowValue {
        ingress: half(value.ingress),
        egress: half(value.egress),
        state: value.state & !STATE_REPORTED,
        reported_ns: 0,
        reported_packets: 0,
        ifindex: 0,
        ..value
    }
}

#[test]
fn the_verifier_is_far_from_its_limit() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let cost = kernel.verifier_cost(PROG_XDP).unwrap();
    println!("verifier walked {cost:?} instructions");
    assert!(cost.is_none_or(|cost| cost < 200_000), "{cost:?}");
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
    for n in 0..100 {
        kernel.test_run(PROG_XDP, &probe(n), 1).unwrap();
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    let (sent, lost) = (get(&moved, "event_sent"), get(&moved, "event_lost"));
    assert_eq!((get(&moved, "flow_new"), sent + lost), (100, 100), "{moved:?}");
    // A record takes 280 bytes and a header of 8.
    assert_eq!(sent, 4096 / 288, "{moved:?}");
}

#[test]
fn a_spent_budget_defers_and_counts() {
    let tight = KernelConfig {
        event_budget: 1,
        ..config()
    };
    let Some(mut kernel) = kernel(&tight, Mode::Production) else {
        return;
    };
    let before = kernel.test_counters().unwrap();
    for n in 0..2000 {
        kernel.test_run(PROG_XDP, &probe(n), 1).unwrap();
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
    let before = kernel.test_counters().unwrap();
    for n in 0..5000 {
        kernel.test_run(PROG_XDP, &probe(n), 1).unwrap();
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    assert_eq!((get(&moved, "flow_new"), get(&moved, "flow_refused")), (5000, 0));
    assert!(kernel.test_flows().unwrap().len() <= 512);
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
    let long = Duration::from_millis(50);
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
    kernel.test_run(PROG_XDP, &packet, 5).unwrap();
    kernel.test_run(PROG_XDP, &probe(1), 1).unwrap();
    let mut sweep = kernel.sweep().with_idle(Duration::from_secs(5));
    let now = boot_now();
    assert_eq!(sweep.sweep(now), vec![], "nothing is quiet yet");
    let told = sweep.sweep(now.after(Duration::from_millis(200)));
    assert_eq!(told.len(), 1, "one flow has packets unreported: {told:?}");
    assert_eq!(
        (told[0].value.ingress.packets, told[0].value.ingress.payload_bytes),
        (5, 15)
    );
    sweep.sweep(now.after(Duration::from_millis(300)));
    assert_eq!(sweep.sweep(now.after(Duration::from_millis(400))), vec![], "told once");
    assert_eq!(kernel.test_flows().unwrap().len(), 2);
    sweep.sweep(now.after(Duration::from_secs(6)));
    assert_eq!(kernel.test_flows().unwrap().len(), 0, "idle flows leave");
}
