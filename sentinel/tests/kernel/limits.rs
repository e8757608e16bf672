//! Rate limits against the clock and across CPUs, and the kernel's verdicts against the model's.

use super::frames::{ACK, Rng, SYN, TCP, UDP, frame, tcp, udp};
use super::*;
use sentinel::kernel::BlockMaps;
use sentinel::replay::ModelGate;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH, AllowEntry, BlockEntry, FLAG_EACH, FLAG_EGRESS,
    FLAG_OPENINGS, FLAG_SHADOW, NEVER_NS,
};
use sentinel_common::names::PROG_XDP;
use sentinel_common::packet::parse_ethernet;
use sentinel_common::redirect::rewritable;
use sentinel_common::verdict::Verdict;
use std::time::{Duration, Instant};

const DROP: u32 = 1;
const PASS: u32 = 2;

fn limit(packet_ns: u32, burst_ms: u32) -> BlockEntry {
    BlockEntry {
        action: ACTION_LIMIT,
        expires_ns: NEVER_NS,
        packet_ns,
        burst_ms,
        decision: [7; 16],
        ..BlockEntry::default()
    }
}

fn count(kernel: &Kernel, counter: Counter) -> u64 {
    kernel.test_counters().unwrap()[counter as usize]
}

#[test]
fn a_flood_of_a_second_gets_its_rate_and_its_burst() {
    const BURST_MS: u64 = 20;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let v4 = frame("198.51.100.7", "10.0.0.1", &udp(1, 2, b"x"), UDP);
    let v6 = frame("2001:db8::7", "2001:db8:1::1", &udp(1, 2, b"x"), UDP);
    for (net, frame, passed, by_bytes) in [
        ("198.51.100.7/32", &v4, Counter::PassV4, false),
        ("2001:db8::/32", &v6, Counter::PassV6, true),
    ] {
        let net = net.parse().unwrap();
        let (mut rates, mut idle) = (vec![10_000u64, 2_000, 500], 0);
        while let Some(rate) = rates.pop() {
            let mut entry = limit((1_000_000_000 / rate) as u32, BURST_MS as u32);
            if by_bytes {
                entry.packet_ns = 0;
                entry.byte_ns_q8 = (256_000_000_000 / (rate * frame.len() as u64)) as u32;
            }
            blocks.put_block(net, &entry).unwrap();
            let (before, start) = (count(&kernel, passed), Instant::now());
            let (mut offered, mut latest, mut least) = (0u64, start, 0.0);
            // One packet a call: the kernel takes tens of milliseconds to prepare for more, and a bucket that has run
            // clear by then gives nothing back for the time it was.
            while start.elapsed() < Duration::from_secs(1) {
                // A slice of time: a busy machine offers less than the rate in some, and what is not offered is not due.
                let (slice, mut within, mut missed) = (latest, 0u64, Duration::ZERO);
                while slice.elapsed() < Duration::from_millis(50) {
                    kernel.test_run(PROG_XDP, frame, 1).unwrap();
                    within += 1;
                    let now = Instant::now();
                    missed += (now - latest).saturating_sub(Duration::from_millis(BURST_MS / 2));
                    latest = now;
                }
                offered += within;
                least += (rate as f64 * latest.duration_since(slice).saturating_sub(missed).as_secs_f64())
                    .min(within as f64);
            }
            let seconds = start.elapsed().as_secs_f64();
            let got = (count(&kernel, passed) - before) as f64;
            let burst = rate as f64 * BURST_MS as f64 / 1000.0 + 1.0;
            let due = rate as f64 * seconds;
            println!("{net}: {rate}/s, {offered} offered in {seconds:.3} s, {least:.0} of them due: {got} passed");
            if rate == 500 && offered as f64 <= 1.2 * due {
                // The machine was somebody else's for that second.
                idle += 1;
                assert!(idle < 20, "{offered} in a second are no flood");
                rates.push(rate);
            }
            assert!(got <= due * 1.05 + burst, "{got} of {due}");
            assert!(got >= least * 0.95, "{got} of {least}");
            let entry = blocks.delete_block(net).unwrap().unwrap();
            assert_eq!(
                entry.hits,
                offered - got as u64,
                "what did not pass was counted at the entry"
            );
        }
    }
}

#[test]
fn cpus_that_meet_at_one_bucket_overshoot_by_a_packet_each_at_most() {
    const ROUNDS: u32 = 2_000;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let cpus = std::thread::available_parallelism().unwrap().get().min(4) as u64;
    if cpus < 2 {
        println!("skipped: one CPU meets nobody");
        return;
    }
    let mut blocks = kernel.blocks();
    let net = "198.51.100.7/32".parse().unwrap();
    let frame = frame("198.51.100.7", "10.0.0.1", &udp(1, 2, b"x"), UDP);
    kernel.test_run(PROG_XDP, &frame, 1).unwrap();
    for round in 0..20 {
        // 1,000 packets of burst, and none after it for as long as this takes (4.3 s a packet).
        let entry = BlockEntry {
            decision: [round; 16],
            ..limit(u32::MAX, 1_000 * 4_294)
        };
        blocks.put_block(net, &entry).unwrap();
        let before = count(&kernel, Counter::PassV4);
        std::thread::scope(|scope| {
            for _ in 0..cpus {
                scope.spawn(|| kernel.test_rerun(PROG_XDP, &frame, ROUNDS).unwrap());
            }
        });
        let passed = count(&kernel, Counter::PassV4) - before;
        let entry = blocks.delete_block(net).unwrap().unwrap();
        assert_eq!(
            passed + entry.hits,
            cpus * u64::from(ROUNDS),
            "each packet passed or was dropped"
        );
        let allowed = entry.rate().burst_ns() / u64::from(u32::MAX) + 1;
        // The first packets of all CPUs may each find an empty bucket and set it: `cpus - 1` are forgiven there, and
        // as many may find room for the last.
        let most = allowed + 2 * (cpus - 1);
        assert!((allowed..=most).contains(&passed), "{passed} of {allowed}");
    }
}

#[test]
fn each_address_under_a_prefix_has_its_own_bucket_where_that_is_asked() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    for (net, of) in [
        (
            "198.51.100.0/24",
            &(|n| format!("198.51.100.{n}")) as &dyn Fn(u32) -> String,
        ),
        ("2001:db8::/64", &|n| format!("2001:db8::{n:x}")),
    ] {
        let net: ipnet::IpNet = net.parse().unwrap();
        let near = if net.addr().is_ipv4() {
            "10.0.0.1"
        } else {
            "2001:db8:1::1"
        };
        for (flags, passed) in [(0, 1), (FLAG_EACH, 100)] {
            let entry = BlockEntry {
                flags,
                decision: [flags + 1; 16],
                ..limit(u32::MAX, 0)
            };
            blocks.put_block(net, &entry).unwrap();
            let codes: Vec<u32> = (0..200)
                .map(|n| {
                    let frame = frame(&of(n % 100 + 1), near, &udp(1, 2, b"x"), UDP);
                    kernel.test_run(PROG_XDP, &frame, 1).unwrap().code
                })
                .collect();
            assert_eq!(codes.iter().filter(|code| **code == PASS).count(), passed, "{net}");
            let entry = blocks.delete_block(net).unwrap().unwrap();
            assert_eq!(entry.hits, 200 - passed as u64);
        }
    }
    assert_eq!(count(&kernel, Counter::LimitShared), 0);
}

#[test]
fn more_addresses_than_buckets_get_no_more_than_the_buckets_let_through() {
    const ADDRESSES: u32 = 300_000;
    const BUCKETS: f64 = 4.0 * sentinel_common::names::LIMIT_SETS as f64;
    /// Of a packet and of the burst, seconds.
    const COST: f64 = u32::MAX as f64 / 1e9;
    const BURST: f64 = 5.0;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let net = "2001:db8::/32".parse().unwrap();
    let entry = BlockEntry {
        flags: FLAG_EACH,
        ..limit(u32::MAX, 5_000)
    };
    blocks.put_block(net, &entry).unwrap();
    let mut frame = frame("2001:db8::7", "2001:db8:1::1", &udp(1, 2, b"x"), UDP);
    let started = Instant::now();
    let mut passed = 0u32;
    for n in 0..ADDRESSES {
        frame[26..30].copy_from_slice(&n.to_be_bytes());
        passed += u32::from(kernel.test_run(PROG_XDP, &frame, 1).unwrap().code == PASS);
    }
    let seconds = started.elapsed().as_secs_f64();
    let most = BUCKETS * (((seconds + BURST) / COST).floor() + 1.0);
    println!("{passed} of {ADDRESSES} addresses passed in {seconds:.1} s; at most {most}");
    assert!(f64::from(passed) <= most);
    let entry = blocks.delete_block(net).unwrap().unwrap();
    assert_eq!(entry.hits, u64::from(ADDRESSES - passed));
    assert!(entry.hits > 0, "the table was never full");
    assert!(count(&kernel, Counter::LimitShared) > 0, "and nobody was told");
}

/// What the kernel did with a packet, as the model would put it.
fn verdict_of(code: u32, moved: &BTreeMap<&'static str, u64>) -> Verdict {
    let reasons = [
        ("pass_allowed", Verdict::PassAllowed),
        ("would_drop", Verdict::WouldDrop),
        ("would_limit", Verdict::WouldLimit),
        ("would_redirect", Verdict::WouldRedirect),
        ("drop_exact", Verdict::DropExact),
        ("drop_prefix", Verdict::DropPrefix),
        ("drop_limit", Verdict::DropLimit),
        ("redirect_failed", Verdict::Redirect),
        ("redirect_v4", Verdict::Redirect),
        ("redirect_v6", Verdict::Redirect),
    ];
    let found: Vec<Verdict> = reasons
        .iter()
        .filter(|(name, _)| moved.contains_key(name))
        .map(|(_, verdict)| *verdict)
        .collect();
    match found[..] {
        [] => {
            assert_eq!(code, PASS, "{moved:?}");
            Verdict::Pass
        }
        [one] => one,
        _ => panic!("counted twice: {moved:?}"),
    }
}

/// An entry with what the clock cannot change: ends that are past or far, rates that let one packet through or all.
pub(crate) fn any_entry(rng: &mut Rng) -> BlockEntry {
    let far = 1 << 60;
    let one = u32::MAX;
    let action = pick(
        rng,
        &[
            ACTION_DROP,
            ACTION_DROP,
            ACTION_LIMIT,
            ACTION_LIMIT,
            ACTION_REDIRECT,
            ACTION_WATCH,
            0,
            9,
        ],
    );
    let (packet_ns, byte_ns_q8) = pick(rng, &[(one, 0), (0, one), (one, one), (1, 0), (0, 1), (0, 0), (1, one)]);
    BlockEntry {
        expires_ns: pick(rng, &[NEVER_NS, NEVER_NS, far, 1, 0]),
        action,
        flags: pick(
            rng,
            &[
                0,
                0,
                0,
                FLAG_SHADOW,
                FLAG_EACH,
                FLAG_EACH | FLAG_SHADOW,
                FLAG_EGRESS,
                FLAG_OPENINGS,
                FLAG_OPENINGS | FLAG_EACH,
            ],
        ),
        packet_ns,
        byte_ns_q8,
        burst_ms: pick(rng, &[0, 1, 10]),
        watch_until_ns: pick(rng, &[0, 0, 1, far, NEVER_NS]),
        reapply_ns: pick(rng, &[0, 0, far]),
        // New ones in every scene: the kernel remembers the buckets of addresses under a decision.
        decision: u128::from(rng.next()).to_ne_bytes(),
        ..BlockEntry::default()
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len())]
}

/// A packet from one of a few sources; large, so that a limit on bytes lets one through and no second for six seconds.
fn any_frame(rng: &mut Rng) -> Vec<u8> {
    let payload = [0; 300];
    let (l4, proto) = match rng.below(9) {
        0 => ([&[8, 0, 0, 0, 0, 1, 0, 1][..], &payload].concat(), 1),
        1 => ([&[128, 0, 0, 0, 0, 1, 0, 1][..], &payload].concat(), 58),
        2 => (payload.to_vec(), 47),
        3 | 4 => (udp(1, 2, &payload), UDP),
        5 | 6 => (tcp(1, 2, ACK, &payload), TCP),
        _ => (tcp(1, 2, SYN, &payload), TCP),
    };
    let host = rng.below(3) + 1;
    if rng.below(2) == 0 {
        let mut out = frame(&format!("10.0.0.{host}"), "10.0.9.9", &l4, proto);
        if rng.below(5) == 0 {
            out[20..22].copy_from_slice(&pick(rng, &[0x2000u16, 0x2001, 0x00b9]).to_be_bytes());
        }
        out
    } else {
        frame(&format!("fd00::{host}"), "fd00:9::9", &l4, proto)
    }
}

pub(crate) const TARGETS: [&str; 14] = [
    "10.0.0.1/32",
    "10.0.0.2/32",
    "10.0.0.3/32",
    "10.0.0.0/31",
    "10.0.0.0/30",
    "10.0.0.0/24",
    "10.0.0.0/16",
    "0.0.0.0/0",
    "fd00::1/128",
    "fd00::2/128",
    "fd00::/127",
    "fd00::/64",
    "fd00::/32",
    "::/0",
];

/// Random entries and packets: the kernel and the model of it say the same, and note the same.
#[test]
fn the_model_of_the_gate_says_what_the_kernel_does() {
    const SCENES: usize = 150;
    const PACKETS: usize = 40;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), Some((None, 2222))).unwrap();
    let mut blocks = kernel.blocks();
    let seed = std::env::var("SENTINEL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| boot_now().0 | 1);
    println!("SENTINEL_SEED={seed}");
    let mut rng = Rng(seed);
    let mut seen = BTreeMap::new();
    for scene in 0..SCENES {
        let enforce = rng.below(4) != 0;
        kernel.set_enforce(enforce).unwrap();
        let mut model = ModelGate::new(64, 64, enforce);
        let targets: Vec<ipnet::IpNet> = (0..=rng.below(7))
            .map(|_| pick(&mut rng, &TARGETS).parse().unwrap())
            .collect();
        let allow = (rng.below(4) == 0).then(|| pick(&mut rng, &TARGETS).parse::<ipnet::IpNet>().unwrap());
        if let Some(net) = allow {
            let entry = AllowEntry {
                expires_ns: pick(&mut rng, &[1, NEVER_NS]),
                prefix_len: net.prefix_len(),
                pad: [0; 7],
            };
            blocks.put_allow(net, &entry).unwrap();
            model.put_allow(net, &entry).unwrap();
        }
        for net in &targets {
            let entry = BlockEntry {
                prefix_len: net.prefix_len(),
                ..any_entry(&mut rng)
            };
            blocks.put_block(*net, &entry).unwrap();
            model.put_block(*net, &entry).unwrap();
        }
        let mut returned = 0;
        for n in 0..PACKETS {
            let frame = any_frame(&mut rng);
            let meta = parse_ethernet(&frame.as_slice()).unwrap();
            let before = kernel.test_counters().unwrap();
            let code = kernel.test_run(PROG_XDP, &frame, 1).unwrap().code;
            let moved = moved(&before, &kernel.test_counters().unwrap());
            let said = verdict_of(code, &moved);
            let (expected, _) = model.judge(&meta, frame.len() as u64, boot_now().0);
            let what = format!("SENTINEL_SEED={seed} scene {scene} packet {n}: {targets:?} {meta:?} {moved:?}");
            assert_eq!(said, expected, "{what}");
            let gone = expected.drops() || expected == Verdict::Redirect && !rewritable(&meta);
            assert_eq!(code, if gone { DROP } else { PASS }, "{what}");
            returned += moved.get("returned").copied().unwrap_or_default();
            *seen.entry(expected.as_str()).or_insert(0) += 1;
        }
        assert_eq!(returned, model.returned(), "SENTINEL_SEED={seed} scene {scene}");
        same_entries(
            &mut blocks,
            &mut model,
            &targets,
            &format!("SENTINEL_SEED={seed} scene {scene}"),
        );
        if let Some(net) = allow {
            blocks.delete_allow(net).unwrap();
        }
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), 9, "every verdict these entries have: {seen:?}");
}

/// Takes the entries out of both, and compares what was noted on them, but for the clock.
fn same_entries(blocks: &mut BlockMaps, model: &mut ModelGate, targets: &[ipnet::IpNet], what: &str) {
    for net in targets {
        let (kernel, model) = (blocks.delete_block(*net).unwrap(), model.delete_block(*net).unwrap());
        let (Some(kernel), Some(model)) = (kernel, model) else {
            assert_eq!(kernel, model, "{what} {net}");
            continue;
        };
        let noted = |entry: &BlockEntry| {
            (
                (entry.hits, entry.hit_bytes, entry.would_hits, entry.would_bytes),
                (entry.first_hit_ns > 0, entry.returned_ns > 0),
                (entry.packet_tat_ns > 0, entry.byte_tat_ns > 0),
            )
        };
        assert_eq!(noted(&kernel), noted(&model), "{what} {net}: {kernel:?} {model:?}");
        assert!(kernel.same_order(&model), "{what} {net}");
    }
}
