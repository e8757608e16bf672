//! Every action by itself: each family, exact and prefix, in force, as a shadow and in simulation, to the counter.

use super::frames::{ACK, RST, SYN, TCP, UDP, frame, tcp, udp};
use super::*;
use sentinel::kernel::{BlockMaps, Record, decode};
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH, AllowEntry, BlockEntry, FLAG_EGRESS, FLAG_SHADOW,
    NEVER_NS,
};
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};
use std::net::IpAddr;

const DROP: u32 = 1;
const PASS: u32 = 2;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// How an entry counts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Enforced,
    Shadow,
    Simulation,
}

const WAYS: [Way; 3] = [Way::Enforced, Way::Shadow, Way::Simulation];

/// Where an entry can stand, and frames from there: (target, IPv4, TCP, ICMP, first fragment).
type Place = (&'static str, bool, Vec<u8>, Vec<u8>, Vec<u8>);

/// The four places.
fn places() -> Vec<Place> {
    let v4 = |l4: &[u8], proto| frame("198.51.100.7", "10.0.0.1", l4, proto);
    let v6 = |l4: &[u8], proto| frame("2001:db8::7", "2001:db8:1::1", l4, proto);
    let syn = tcp(4000, 22, SYN, b"");
    let mut first4 = v4(&syn, TCP);
    first4[20] = 0x20;
    let first6 = v6(&[&[TCP, 0, 0, 1, 0, 0, 0, 9], &syn[..]].concat(), 44);
    let (echo4, echo6) = (
        v4(&[8, 0, 0, 0, 0, 1, 0, 1], ICMP),
        v6(&[128, 0, 0, 0, 0, 1, 0, 1], ICMPV6),
    );
    vec![
        ("198.51.100.7/32", true, v4(&syn, TCP), echo4.clone(), first4.clone()),
        ("198.51.100.0/24", true, v4(&syn, TCP), echo4, first4),
        ("2001:db8::7/128", false, v6(&syn, TCP), echo6.clone(), first6.clone()),
        ("2001:db8::/32", false, v6(&syn, TCP), echo6, first6),
    ]
}

fn entry(action: u8, way: Way) -> BlockEntry {
    BlockEntry {
        action,
        expires_ns: NEVER_NS,
        flags: if way == Way::Shadow { FLAG_SHADOW } else { 0 },
        decision: [7; 16],
        ..BlockEntry::default()
    }
}

/// What one packet moves: by what became of it (`pass`, `drop`, `redirect`), and the counters named.
fn moves(fate: &str, v4: bool, bytes: u64, more: &[&'static str]) -> BTreeMap<&'static str, u64> {
    let (packets, octets) = match (fate, v4) {
        ("pass", true) => ("pass_v4", "pass_v4_bytes"),
        ("pass", false) => ("pass_v6", "pass_v6_bytes"),
        ("drop", true) => ("drop_v4", "drop_v4_bytes"),
        ("drop", false) => ("drop_v6", "drop_v6_bytes"),
        ("redirect", true) => ("redirect_v4", "redirect_v4_bytes"),
        ("redirect", false) => ("redirect_v6", "redirect_v6_bytes"),
        ("egress", true) => ("egress_v4", "egress_v4_bytes"),
        ("egress", false) => ("egress_v6", "egress_v6_bytes"),
        ("egress_drop", true) => ("egress_drop_v4", "egress_drop_v4_bytes"),
        ("egress_drop", false) => ("egress_drop_v6", "egress_drop_v6_bytes"),
        other => panic!("{other:?}"),
    };
    let mut all = BTreeMap::from([(packets, 1), (octets, bytes)]);
    if matches!(fate, "pass" | "redirect" | "egress") {
        all.extend([("flow_new", 1), ("event_sent", 1)]);
    }
    for name in more {
        *all.entry(name).or_default() += 1;
    }
    all
}

/// A kernel and its lists, one frame at a time.
struct Bench {
    kernel: Kernel,
    blocks: BlockMaps,
    program: &'static str,
}

impl Bench {
    fn put(&mut self, target: &str, entry: &BlockEntry, way: Way) {
        self.kernel.set_enforce(way != Way::Simulation).unwrap();
        self.blocks.put_block(target.parse().unwrap(), entry).unwrap();
    }

    #[track_caller]
    fn send(&mut self, frame: &[u8], code: u32, expected: &BTreeMap<&'static str, u64>, what: &str) {
        self.kernel.test_forget().unwrap();
        let before = self.kernel.test_counters().unwrap();
        let answer = self.kernel.test_run(self.program, frame, 1).unwrap();
        let after = self.kernel.test_counters().unwrap();
        assert_eq!(answer.code, code, "{what}");
        assert_eq!(moved(&before, &after), *expected, "{what}");
    }

    #[track_caller]
    fn take(&mut self, target: &str) -> BlockEntry {
        self.blocks.delete_block(target.parse().unwrap()).unwrap().unwrap()
    }
}

/// Runs with both XDP programs, where this kernel has both.
fn both(test: impl Fn(&mut Bench)) {
    let Some(kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let blocks = kernel.blocks();
    let mut bench = Bench {
        kernel,
        blocks,
        program: PROG_XDP,
    };
    test(&mut bench);
    if probe::multi_buffer() {
        bench.program = PROG_XDP_FRAGS;
        test(&mut bench);
    }
}

/// (hits, their bytes, would-be hits, their bytes) of `n` packets.
fn tally(way: Way, n: u64, bytes: u64) -> (u64, u64, u64, u64) {
    if way == Way::Enforced {
        (n, n * bytes, 0, 0)
    } else {
        (0, 0, n, n * bytes)
    }
}

fn counted(entry: &BlockEntry) -> (u64, u64, u64, u64) {
    (entry.hits, entry.hit_bytes, entry.would_hits, entry.would_bytes)
}

#[test]
fn a_rate_limit_passes_its_rate_and_drops_the_rest() {
    both(|bench| {
        for (target, v4, syn, _, later) in places() {
            for way in WAYS {
                let what = format!("{target} {way:?}");
                let limit = BlockEntry {
                    // One packet in 4.3 s.
                    packet_ns: u32::MAX,
                    ..entry(ACTION_LIMIT, way)
                };
                bench.put(target, &limit, way);
                let bytes = syn.len() as u64;
                bench.send(&syn, PASS, &moves("pass", v4, bytes, &[]), &what);
                let (code, fate, reason) = match way {
                    Way::Enforced => (DROP, "drop", "drop_limit"),
                    _ => (PASS, "pass", "would_limit"),
                };
                bench.send(&syn, code, &moves(fate, v4, bytes, &[reason]), &what);
                // Fragments are judged by their source, and limited too.
                let fragment = later.len() as u64;
                bench.send(&later, code, &moves(fate, v4, fragment, &[reason]), &what);
                let taken = bench.take(target);
                let (hits, octets, would, would_octets) = tally(way, 2, 0);
                assert_eq!((taken.hits, taken.would_hits), (hits, would), "{what}");
                assert_eq!(
                    taken.hit_bytes + taken.would_bytes,
                    bytes + fragment + octets + would_octets,
                    "{what}"
                );
                assert!(
                    taken.first_hit_ns > 0 && taken.packet_tat_ns > taken.first_hit_ns,
                    "{what}"
                );
            }
        }
    });
}

#[test]
fn a_limit_on_bytes_counts_the_whole_frame() {
    both(|bench| {
        for (target, v4, ..) in places() {
            let (from, to) = if v4 {
                ("198.51.100.7", "10.0.0.1")
            } else {
                ("2001:db8::7", "2001:db8:1::1")
            };
            let syn = frame(from, to, &tcp(4000, 22, SYN, &[0; 1000]), TCP);
            let limit = BlockEntry {
                // 60 bytes a second: a frame of 1,054 is paid for after 17 s.
                byte_ns_q8: u32::MAX,
                ..entry(ACTION_LIMIT, Way::Enforced)
            };
            bench.put(target, &limit, Way::Enforced);
            let bytes = syn.len() as u64;
            bench.send(&syn, PASS, &moves("pass", v4, bytes, &[]), target);
            bench.send(&syn, DROP, &moves("drop", v4, bytes, &["drop_limit"]), target);
            let taken = bench.take(target);
            let cost = (u64::from(u32::MAX) * bytes) >> 8;
            assert_eq!(taken.byte_tat_ns - taken.first_hit_ns, cost, "{target}");
            assert_eq!(taken.packet_tat_ns, 0);
        }
    });
}

#[test]
fn a_redirected_source_goes_to_the_honeypot_and_what_cannot_is_dropped() {
    both(|bench| {
        bench
            .kernel
            .set_honeypot(Some((None, 2222)), Some((None, 2222)))
            .unwrap();
        for (target, v4, syn, echo, fragment) in places() {
            for way in WAYS {
                let what = format!("{target} {way:?}");
                bench.put(target, &entry(ACTION_REDIRECT, way), way);
                let (bytes, echo_bytes, fragment_bytes) = (syn.len() as u64, echo.len() as u64, fragment.len() as u64);
                if way == Way::Enforced {
                    bench.send(&syn, PASS, &moves("redirect", v4, bytes, &[]), &what);
                    let failed = moves("drop", v4, fragment_bytes, &["redirect_failed"]);
                    bench.send(&fragment, DROP, &failed, &what);
                } else {
                    bench.send(&syn, PASS, &moves("pass", v4, bytes, &["would_redirect"]), &what);
                    let would = moves("pass", v4, fragment_bytes, &["would_redirect"]);
                    bench.send(&fragment, PASS, &would, &what);
                }
                bench.send(&echo, PASS, &moves("pass", v4, echo_bytes, &[]), &what);
                let taken = bench.take(target);
                let (hits, _, would, _) = tally(way, 2, 0);
                assert_eq!((taken.hits, taken.would_hits), (hits, would), "{what}");
                assert_eq!(taken.hit_bytes + taken.would_bytes, bytes + fragment_bytes, "{what}");
            }
        }
        bench.kernel.set_honeypot(None, None).unwrap();
        for (target, v4, syn, ..) in places() {
            bench.put(target, &entry(ACTION_REDIRECT, Way::Enforced), Way::Enforced);
            let bytes = syn.len() as u64;
            let failed = moves("drop", v4, bytes, &["redirect_failed"]);
            bench.send(&syn, DROP, &failed, "without a honeypot");
            assert_eq!(counted(&bench.take(target)), tally(Way::Enforced, 1, bytes));
        }
    });
}

#[test]
fn a_return_is_told_once_and_brings_the_action_back_where_that_was_asked() {
    both(|bench| {
        for (target, v4, syn, ..) in places() {
            for way in WAYS {
                let bytes = syn.len() as u64;
                let over = BlockEntry {
                    expires_ns: 1,
                    watch_until_ns: NEVER_NS,
                    ..entry(ACTION_DROP, way)
                };
                let what = format!("{target} {way:?}");
                bench.put(target, &over, way);
                let told = moves("pass", v4, bytes, &["returned", "event_sent", "expired"]);
                bench.send(&syn, PASS, &told, &what);
                bench.send(&syn, PASS, &moves("pass", v4, bytes, &["expired"]), &what);
                let taken = bench.take(target);
                assert!(taken.returned_ns > 0, "{what}");
                assert_eq!(counted(&taken), (0, 0, 0, 0), "{what}");

                let again = BlockEntry {
                    reapply_ns: 3_600_000_000_000,
                    ..over
                };
                bench.put(target, &again, way);
                let exact = target.ends_with("/32") && v4 || target.ends_with("/128");
                let (code, fate, reason) = match (way, exact) {
                    (Way::Enforced, true) => (DROP, "drop", "drop_exact"),
                    (Way::Enforced, false) => (DROP, "drop", "drop_prefix"),
                    _ => (PASS, "pass", "would_drop"),
                };
                let told = moves(fate, v4, bytes, &[reason, "returned", "event_sent"]);
                bench.send(&syn, code, &told, &what);
                bench.send(&syn, code, &moves(fate, v4, bytes, &[reason]), &what);
                assert_eq!(counted(&bench.take(target)), tally(way, 2, bytes), "{what}");

                let watch = BlockEntry {
                    reapply_ns: 3_600_000_000_000,
                    ..BlockEntry {
                        action: ACTION_WATCH,
                        ..over
                    }
                };
                bench.put(target, &watch, way);
                let told = moves("pass", v4, bytes, &["returned", "event_sent"]);
                bench.send(&syn, PASS, &told, &what);
                bench.send(&syn, PASS, &moves("pass", v4, bytes, &[]), &what);
                assert_eq!(counted(&bench.take(target)), (0, 0, 0, 0), "{what}");
            }
        }
    });
}

#[test]
fn a_watch_hides_no_block_behind_it() {
    both(|bench| {
        let (_, _, syn, ..) = &places()[0];
        let watch = BlockEntry {
            expires_ns: 1,
            watch_until_ns: NEVER_NS,
            ..entry(ACTION_DROP, Way::Enforced)
        };
        bench.put("198.51.100.7/32", &watch, Way::Enforced);
        bench.put("198.51.100.0/24", &watch, Way::Enforced);
        bench.put("198.51.0.0/16", &entry(ACTION_DROP, Way::Enforced), Way::Enforced);
        let mut told = moves("drop", true, syn.len() as u64, &["drop_prefix", "expired"]);
        told.extend([("returned", 2), ("event_sent", 2)]);
        bench.send(syn, DROP, &told, "two watch, one blocks");
        for target in ["198.51.100.7/32", "198.51.100.0/24", "198.51.0.0/16"] {
            bench.take(target);
        }
    });
}

#[test]
fn the_more_specific_decision_wins_whatever_it_says() {
    both(|bench| {
        let (_, _, syn, ..) = &places()[0];
        let bytes = syn.len() as u64;
        let limit = BlockEntry {
            packet_ns: u32::MAX,
            ..entry(ACTION_LIMIT, Way::Enforced)
        };
        bench.put("198.51.100.7/32", &limit, Way::Enforced);
        bench.put("198.51.100.0/24", &entry(ACTION_DROP, Way::Enforced), Way::Enforced);
        bench.send(syn, PASS, &moves("pass", true, bytes, &[]), "within its rate");
        bench.send(syn, DROP, &moves("drop", true, bytes, &["drop_limit"]), "above it");
        assert_eq!(counted(&bench.take("198.51.100.7/32")), (1, bytes, 0, 0));
        assert_eq!(counted(&bench.take("198.51.100.0/24")), (0, 0, 0, 0));

        // A shadow within its rate would have let the packet pass; it decides nothing, and speaks for the other shadow.
        let shadow = BlockEntry {
            flags: FLAG_SHADOW,
            ..limit
        };
        bench.put("198.51.100.7/32", &shadow, Way::Shadow);
        bench.put("198.51.100.0/24", &entry(ACTION_DROP, Way::Shadow), Way::Shadow);
        bench.send(syn, PASS, &moves("pass", true, bytes, &[]), "shadow within its rate");
        bench.put("198.51.100.0/24", &entry(ACTION_DROP, Way::Enforced), Way::Enforced);
        bench.send(
            syn,
            DROP,
            &moves("drop", true, bytes, &["drop_prefix"]),
            "a real block behind",
        );
        assert_eq!(counted(&bench.take("198.51.100.7/32")), (0, 0, 1, bytes));
        assert_eq!(counted(&bench.take("198.51.100.0/24")), (1, bytes, 0, 0));
    });
}

#[test]
fn what_goes_out_to_a_blocked_address_is_dropped_where_the_entry_says_so() {
    const UNSPEC: i32 = -1;
    const SHOT: i32 = 2;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let out4 = frame("10.0.0.1", "198.51.100.7", &udp(4000, 53, b"abc"), UDP);
    let out6 = frame("2001:db8:1::1", "2001:db8::7", &udp(4000, 53, b"abc"), UDP);
    let mut check = |out: &[u8], code: i32, expected: BTreeMap<&'static str, u64>, what: &str| {
        kernel.test_forget().unwrap();
        let before = kernel.test_counters().unwrap();
        let answer = kernel.test_egress(out).unwrap().0;
        let moved = moved(&before, &kernel.test_counters().unwrap());
        assert_eq!((answer, moved), (code, expected), "{what}");
    };
    for (target, v4, out) in [
        ("198.51.100.7/32", true, &out4),
        ("198.51.100.0/24", true, &out4),
        ("2001:db8::7/128", false, &out6),
        ("2001:db8::/32", false, &out6),
    ] {
        let bytes = out.len() as u64;
        let net = target.parse().unwrap();
        for shadow in [false, true] {
            let block = BlockEntry {
                flags: FLAG_EGRESS | if shadow { FLAG_SHADOW } else { 0 },
                ..entry(ACTION_DROP, Way::Enforced)
            };
            blocks.put_block(net, &block).unwrap();
            if shadow {
                check(out, UNSPEC, moves("egress", v4, bytes, &["egress_would_drop"]), target);
            } else {
                check(out, SHOT, moves("egress_drop", v4, bytes, &[]), target);
            }
            let allow = AllowEntry {
                expires_ns: NEVER_NS,
                ..AllowEntry::default()
            };
            blocks.put_allow(net, &allow).unwrap();
            check(out, UNSPEC, moves("egress", v4, bytes, &[]), "allow before block");
            blocks.delete_allow(net).unwrap();
            let way = if shadow { Way::Shadow } else { Way::Enforced };
            let taken = blocks.delete_block(net).unwrap().unwrap();
            assert_eq!(counted(&taken), tally(way, 1, bytes), "{target}");
        }
        for silent in [
            entry(ACTION_DROP, Way::Enforced),
            BlockEntry {
                flags: FLAG_EGRESS,
                expires_ns: 1,
                ..entry(ACTION_DROP, Way::Enforced)
            },
            BlockEntry {
                flags: FLAG_EGRESS,
                ..entry(ACTION_REDIRECT, Way::Enforced)
            },
        ] {
            blocks.put_block(net, &silent).unwrap();
            check(out, UNSPEC, moves("egress", v4, bytes, &[]), target);
            assert_eq!(counted(&blocks.delete_block(net).unwrap().unwrap()), (0, 0, 0, 0));
        }
    }
}

#[tokio::test]
async fn a_return_names_the_source_the_decision_and_what_is_in_force_again() {
    for (way, prefix, reapply_ns) in [
        (Way::Enforced, "198.51.100.0/24", 3_600_000_000_000),
        (Way::Shadow, "198.51.100.7/32", 0),
        (Way::Simulation, "198.51.100.0/24", 0),
    ] {
        let Some(mut kernel) = kernel(&config(), Mode::Production) else {
            return;
        };
        kernel.set_enforce(way != Way::Simulation).unwrap();
        let over = BlockEntry {
            expires_ns: 1,
            watch_until_ns: NEVER_NS,
            reapply_ns,
            ..entry(ACTION_LIMIT, way)
        };
        let net: ipnet::IpNet = prefix.parse().unwrap();
        kernel.blocks().put_block(net, &over).unwrap();
        let reader = kernel.ring();
        let (out, mut batches) = tokio::sync::mpsc::channel(64);
        let cancel = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(reader.run(out, cancel.clone()));
        let (_, _, syn, ..) = &places()[0];
        kernel.test_run(PROG_XDP, syn, 1).unwrap();
        kernel.test_run(PROG_XDP, syn, 1).unwrap();
        let mut told = Vec::new();
        while told.is_empty() {
            let batch = tokio::time::timeout(Duration::from_mins(1), batches.recv()).await;
            let batch = batch.expect("nothing was told").expect("the reader goes on");
            told.extend(decode(&batch).filter_map(|record| match record.unwrap() {
                Record::Return(told) => Some(told),
                _ => None,
            }));
        }
        cancel.cancel();
        task.await.unwrap();
        let [told] = told[..] else {
            panic!("told {} times", told.len())
        };
        assert_eq!(IpAddr::from(told.remote), "198.51.100.7".parse::<IpAddr>().unwrap());
        assert_eq!((told.decision, told.action), ([7; 16], u32::from(ACTION_LIMIT)));
        assert_eq!(told.prefix_len, u32::from(net.prefix_len()));
        assert_eq!(told.shadow, u32::from(way != Way::Enforced));
        let until = if reapply_ns == 0 { 0 } else { told.now_ns + reapply_ns };
        assert_eq!(told.reapplied_until_ns, until);
        assert!(told.now_ns <= boot_now().0);
        let kept = kernel.blocks().get_block(net).unwrap().unwrap();
        assert_eq!(kept.returned_ns, told.now_ns);
    }
}

#[tokio::test]
async fn a_return_that_a_full_ring_swallowed_is_told_by_the_next_packet() {
    let small = KernelConfig {
        ring_bytes: 4096,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    // Records of new flows leave the last quarter of the ring to others; those of resets do not.
    for flags in [ACK, RST] {
        for n in 0..40 {
            let flow = frame("203.0.113.1", "10.0.0.1", &tcp(1000 + n, 53, flags, b""), TCP);
            kernel.test_run(PROG_XDP, &flow, 1).unwrap();
        }
    }
    let net = "198.51.100.7/32".parse().unwrap();
    let watch = BlockEntry {
        watch_until_ns: NEVER_NS,
        ..entry(ACTION_WATCH, Way::Enforced)
    };
    kernel.blocks().put_block(net, &watch).unwrap();
    let (_, _, syn, ..) = &places()[0];
    // The record of a return is smaller, so one may just fit.
    let other = "198.51.100.8/32".parse().unwrap();
    kernel.blocks().put_block(other, &watch).unwrap();
    let first = frame("198.51.100.8", "10.0.0.1", &tcp(4000, 22, SYN, b""), TCP);
    kernel.test_run(PROG_XDP, &first, 1).unwrap();
    let count = |kernel: &Kernel, counter: Counter| kernel.test_counters().unwrap()[counter as usize];
    let lost = count(&kernel, Counter::EventLost);
    assert!(lost > 0, "the ring is full");
    let before = count(&kernel, Counter::Returned);
    kernel.test_run(PROG_XDP, syn, 1).unwrap();
    assert_eq!(count(&kernel, Counter::Returned), before);
    assert!(count(&kernel, Counter::EventLost) > lost);
    assert_eq!(kernel.blocks().get_block(net).unwrap().unwrap().returned_ns, 0);

    let reader = kernel.ring();
    let (out, mut batches) = tokio::sync::mpsc::channel(64);
    let cancel = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(reader.run(out, cancel.clone()));
    let batch = tokio::time::timeout(Duration::from_mins(1), batches.recv()).await;
    assert!(batch.unwrap().is_some(), "the ring is read");
    kernel.test_run(PROG_XDP, syn, 1).unwrap();
    kernel.test_run(PROG_XDP, syn, 1).unwrap();
    assert_eq!(count(&kernel, Counter::Returned), before + 1);
    assert!(kernel.blocks().get_block(net).unwrap().unwrap().returned_ns > 0);
    cancel.cancel();
    task.await.unwrap();
}
