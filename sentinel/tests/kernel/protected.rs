//! S3 and I1 in the real maps: whatever is put, taken, listed, limited, stopped and switched, in any order, nothing of a
//! protected source is dropped, redirected or limited.

use super::frames::{ACK, Rng, SYN, TCP, UDP, frame, tcp, udp};
use super::limits::{TARGETS, any_entry, pick};
use super::*;
use sentinel::kernel::{ListId, ListOrder};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};

/// Protected all the while; [`TARGETS`] cover and neighbour them.
const PROTECTED: [&str; 4] = ["10.0.0.1/32", "10.0.0.128/25", "fd00::1/128", "fd00:0:0:1::/64"];
/// A source of each, and some that nobody protects.
const SPARED: [&str; 4] = ["10.0.0.1", "10.0.0.130", "fd00::1", "fd00:0:0:1::9"];
const OTHERS: [&str; 4] = ["10.0.0.2", "10.0.0.100", "fd00::2", "fd00:0:0:2::9"];
const PASS: u32 = 2;
const STEPS: usize = 40;

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

/// A target of an entry: any of the usual, or exactly what is protected.
fn any_target(rng: &mut Rng) -> ipnet::IpNet {
    net(if rng.one_in(3) {
        pick(rng, &PROTECTED)
    } else {
        pick(rng, &TARGETS)
    })
}

fn any_frame(rng: &mut Rng, source: &str) -> Vec<u8> {
    let port = rng.below(60_000) as u16 + 1;
    let (l4, proto) = match rng.below(4) {
        0 => (udp(port, 53, b"?"), UDP),
        1 => (tcp(port, 22, ACK, b"x"), TCP),
        _ => (tcp(1000, port, SYN, b""), TCP),
    };
    let ours = if source.contains(':') { "fd00:9::9" } else { "10.9.9.9" };
    frame(source, ours, &l4, proto)
}

/// One change of whatever there is to change.
fn step(kernel: &mut Kernel, rng: &mut Rng) {
    let mut blocks = kernel.blocks();
    let spared = |target: &ipnet::IpNet| PROTECTED.iter().any(|one| net(one) == target.trunc());
    match rng.below(10) {
        0..=3 => {
            let target = any_target(rng);
            let entry = BlockEntry {
                prefix_len: target.prefix_len(),
                ..any_entry(rng)
            };
            // A full list refuses, and that is none of this test's.
            let _ = blocks.put_block(target, &entry);
        }
        4 => drop(blocks.delete_block(any_target(rng)).unwrap()),
        5 => {
            let target = any_target(rng);
            let entry = AllowEntry {
                expires_ns: if spared(&target) {
                    NEVER_NS
                } else {
                    pick(rng, &[1, NEVER_NS])
                },
                prefix_len: target.prefix_len(),
                pad: [0; 7],
            };
            blocks.put_allow(target, &entry).unwrap();
        }
        6 => {
            let target = any_target(rng);
            if !spared(&target) {
                blocks.delete_allow(target).unwrap();
            }
        }
        7 => {
            let order = ListOrder {
                decision: u128::from(rng.next()).to_ne_bytes(),
                expires_ns: NEVER_NS,
                shadow: rng.one_in(4),
            };
            let mut entries: Vec<_> = (0..rng.below(6))
                .map(|_| any_target(rng))
                .filter(|one| one.prefix_len() > 0)
                .collect();
            entries.sort_unstable();
            entries.dedup();
            let list = ListId::new(rng.below(4) as u8).unwrap();
            kernel.lists().replace(list, &order, entries).unwrap();
        }
        8 => kernel.set_enforce(!rng.one_in(4)).unwrap(),
        _ => {
            // Enough SYNs of one source for the kernel to limit it by itself.
            let source = if rng.one_in(2) {
                pick(rng, &SPARED)
            } else {
                pick(rng, &OTHERS)
            };
            for _ in 0..30 {
                let syn = any_frame(rng, source);
                kernel.test_run(PROG_XDP, &syn, 1).unwrap();
            }
        }
    }
}

#[test]
fn nothing_of_a_protected_source_is_ever_stopped_in_the_real_maps() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok().map(|text| text.parse().unwrap()) };
    let reflex = ReflexConfig {
        syns: 20,
        ports: 10,
        ..Config::default().kernel.reflex
    };
    let config = KernelConfig { reflex, ..config() };
    let Some(mut kernel) = kernel(&config, Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), Some((None, 2222))).unwrap();
    let forever = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    for one in PROTECTED {
        kernel.blocks().put_allow(net(one), &forever).unwrap();
    }
    let sequences = number("PROTECTED_SEQUENCES").unwrap_or(60);
    let seed = number("PROTECTED_SEED")
        .unwrap_or_else(|| sentinel::time::boot_now().0)
        .max(1);
    let mut rng = Rng(seed);
    let programs: Vec<&str> = std::iter::once(PROG_XDP)
        .chain(probe::multi_buffer().then_some(PROG_XDP_FRAGS))
        .collect();
    let (mut judged, mut stopped) = (0u64, 0u64);
    for sequence in 0..sequences {
        for at in 0..STEPS {
            step(&mut kernel, &mut rng);
            let before = kernel.test_counters().unwrap();
            for source in SPARED {
                let frame = any_frame(&mut rng, source);
                let program = pick(&mut rng, &programs);
                let code = kernel.test_run(program, &frame, 1).unwrap().code;
                judged += 1;
                assert_eq!(
                    code, PASS,
                    "seed {seed}, sequence {sequence}, step {at}: {source} is stopped"
                );
            }
            let moved = moved(&before, &kernel.test_counters().unwrap());
            let passed: u64 = ["pass_v4", "pass_v6"].iter().filter_map(|name| moved.get(name)).sum();
            assert_eq!(
                passed,
                SPARED.len() as u64,
                "seed {seed}, sequence {sequence}, step {at}: {moved:?}"
            );
            let source = pick(&mut rng, &OTHERS);
            let other = any_frame(&mut rng, source);
            stopped += u64::from(kernel.test_run(PROG_XDP, &other, 1).unwrap().code != PASS);
        }
    }
    println!("figure: sequences in the real maps = {sequences} sequences");
    println!("figure: packets of protected sources = {judged} packets");
    println!("figure: of them stopped = 0 packets");
    println!("figure: packets of others stopped = {stopped} packets");
    assert!(stopped > sequences, "nothing was ever stopped, so nothing is shown");
}
