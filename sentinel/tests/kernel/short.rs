//! The short way of plain packets beside the whole one, in the real kernel: the same verdicts, the same counters, the same
//! slots, the same hits.

use super::frames::{ACK, Rng, TCP, UDP, frame, hostile, tagged, tcp, udp};
use super::pair::block;
use super::*;
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, ACTION_LIMIT, AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::flow::FlowKey;
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};
use sentinel_common::slot::{Head, Slot};
use std::time::Duration;

const PSH: u8 = 0x08;
/// Sources: blocked, blocked for show, allowed, limited, blocked by prefix, expired, and four nobody listed.
const FAR4: [&str; 10] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "192.0.2.4",
    "198.51.100.9",
    "192.0.2.5",
    "203.0.113.1",
    "203.0.113.2",
    "192.0.2.77",
    "100.64.0.1",
];
const FAR6: [&str; 10] = [
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8::3",
    "2001:db8::4",
    "2001:db8:9::9",
    "2001:db8::5",
    "3fff::1",
    "3fff::2",
    "2001:db8::77",
    "2a00::1",
];

/// A slot that is due for a report takes the whole way: none becomes due while a test of this lasts.
fn undue() -> KernelConfig {
    KernelConfig {
        report_interval: Duration::from_secs(10),
        ..config()
    }
}

fn lists(kernel: &Kernel) {
    let mut blocks = kernel.blocks();
    let entry = |action, flags, expires_ns| BlockEntry {
        action,
        flags,
        expires_ns,
        packet_ns: 1_000_000_000,
        burst_ms: 3_000,
        ..BlockEntry::default()
    };
    for far in [FAR4, FAR6] {
        let exact = |n: usize| far[n].parse::<std::net::IpAddr>().unwrap().into();
        blocks.put_block(exact(0), &entry(ACTION_DROP, 0, NEVER_NS)).unwrap();
        blocks
            .put_block(exact(1), &entry(ACTION_DROP, FLAG_SHADOW, NEVER_NS))
            .unwrap();
        blocks.put_block(exact(2), &entry(ACTION_DROP, 0, NEVER_NS)).unwrap();
        blocks.put_allow(exact(2), &allow()).unwrap();
        blocks.put_block(exact(3), &entry(ACTION_LIMIT, 0, NEVER_NS)).unwrap();
        blocks.put_block(exact(5), &entry(ACTION_DROP, 0, 1)).unwrap();
    }
    for net in ["198.51.100.0/24", "2001:db8:9::/48"] {
        blocks
            .put_block(net.parse().unwrap(), &entry(ACTION_DROP, 0, NEVER_NS))
            .unwrap();
    }
}

fn allow() -> AllowEntry {
    AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    }
}

/// One of the changes that come while packets flow: sources nobody listed so far are blocked, allowed, covered by a
/// prefix, and let go again.
fn relist(kernel: &Kernel, change: usize, v4: bool) {
    let mut blocks = kernel.blocks();
    let far = if v4 { FAR4 } else { FAR6 };
    let host = |n: usize| far[n].parse::<std::net::IpAddr>().unwrap().into();
    let net = if v4 { "203.0.112.0/23" } else { "3fff::/47" }.parse().unwrap();
    let (block, allow) = (block(), allow());
    match change {
        0 => blocks.put_block(host(8), &block).unwrap(),
        1 => drop(blocks.delete_block(host(8)).unwrap()),
        2 => blocks.put_allow(host(6), &allow).unwrap(),
        3 => drop(blocks.delete_allow(host(6)).unwrap()),
        4 => blocks.put_block(net, &block).unwrap(),
        _ => drop(blocks.delete_block(net).unwrap()),
    }
}

/// Behind two extension headers that change nothing, or others that do.
fn extended(mut frame: Vec<u8>, chain: &[u8]) -> Vec<u8> {
    let proto = frame[20];
    let mut headers = Vec::new();
    for (at, _) in chain.iter().enumerate() {
        let next = chain.get(at + 1).copied().unwrap_or(proto);
        headers.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame[20] = chain[0];
    let len = u16::from_be_bytes([frame[18], frame[19]]) + headers.len() as u16;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame.splice(54..54, headers);
    frame
}

/// Mostly what a running conversation brings, with everything in between that is not quite.
fn traffic(rng: &mut Rng, from: usize, v4: bool) -> Vec<u8> {
    let (far, near) = if v4 {
        (FAR4[from], "10.0.0.1")
    } else {
        (FAR6[from], "fd00::1")
    };
    let payload = vec![0x55; rng.pick(&[0, 0, 1, 20, 20, 100, 1400])];
    let port = rng.pick(&[4000, 4001]);
    if rng.one_in(4) {
        return frame(far, near, &udp(port, 53, &payload), UDP);
    }
    let flags = rng.pick(&[
        ACK,
        ACK,
        ACK | PSH,
        ACK | PSH,
        ACK,
        ACK | 0x01,
        0x02,
        0x04,
        ACK | 0x20,
        0x18 | 0x40,
        0,
    ]);
    let mut l4 = tcp(port, 443, flags, &payload);
    if rng.one_in(12) {
        // A header that says it is longer than the packet, or shorter than a header.
        l4[12] = rng.pick(&[0xf0, 0x40, 0x00]);
    }
    let mut out = match rng.below(12) {
        0 => tagged(&[0x8100], far, near, &l4, TCP),
        1 => tagged(&[0x88a8, 0x8100], far, near, &l4, TCP),
        _ => frame(far, near, &l4, TCP),
    };
    if !v4 && out[12..14] == [0x86, 0xdd] && rng.one_in(4) {
        let chain: &[u8] = rng.pick(&[&[0u8][..], &[0, 60], &[60, 43], &[0, 60, 43], &[51], &[44]]);
        out = extended(out, chain);
    }
    if rng.one_in(20) {
        let at = 12 + rng.below(out.len() - 12);
        out[at] ^= 1 << rng.below(8);
    }
    if rng.one_in(30) {
        out.truncate(14 + rng.below(out.len() - 14));
    }
    out
}

/// A slot but for its times and what came of the seed.
fn facts(kernel: &Kernel) -> BTreeMap<(FlowKey, u32), (u32, u16, Slot)> {
    let mut slots = BTreeMap::new();
    for (head, mut slot) in kernel.test_slots().unwrap() {
        let Head { packets, state, .. } = head;
        // Which packets were counted apart is what the ways differ in.
        slot.fold();
        let bare = Slot {
            first: 0,
            due: 0,
            // With the number of changes, of which a kernel that was made later may have seen more.
            clear: 0,
            // How far a source was told goes with the records that are tried again.
            told: 0,
            number: 0,
            ..slot
        };
        slots.insert((slot.key(), slot.direction()), (packets, state, bare));
    }
    slots
}

fn hits(kernel: &Kernel) -> BTreeMap<ipnet::IpNet, [u64; 4]> {
    let entries = kernel.blocks().list_blocks().unwrap();
    let hits = |e: BlockEntry| [e.hits, e.hit_bytes, e.would_hits, e.would_bytes];
    entries.into_iter().map(|(net, entry)| (net, hits(entry))).collect()
}

#[test]
fn both_ways_come_to_the_same() {
    const PACKETS: usize = 40_000;
    // Without a budget nothing is reported, and the slots keep all they counted. A table in which five flows of one
    // bucket are as good as impossible: of some hundred flows 10^-9.
    let quiet = KernelConfig {
        flow_capacity: 1 << 18,
        event_budget: 0,
        ..config()
    };
    let (Some(mut short), Some(mut whole)) = (kernel(&quiet, Mode::Production), kernel(&quiet, Mode::Production))
    else {
        return;
    };
    pin(0);
    whole.test_short(false).unwrap();
    lists(&short);
    lists(&whole);
    let seed = sentinel::time::boot_now().0;
    println!("seed {seed}");
    let mut rng = Rng(seed | 1);
    for n in 0..PACKETS {
        if n == PACKETS / 2 {
            for kernel in [&short, &whole] {
                kernel.set_enforce(false).unwrap();
            }
        }
        if rng.one_in(100) {
            let (change, v4) = (rng.below(6), rng.one_in(2));
            for kernel in [&short, &whole] {
                relist(kernel, change, v4);
            }
        }
        let (from, v4) = (rng.below(10), rng.one_in(2));
        // A limited source's tokens come with time, of which the two see different instants: those are left to others.
        let frame = match from {
            3 => continue,
            _ if rng.one_in(50) => hostile(&mut rng),
            _ => traffic(&mut rng, from, v4),
        };
        let program = if n % 4 == 3 && probe::multi_buffer() {
            PROG_XDP_FRAGS
        } else {
            PROG_XDP
        };
        let codes = [&mut short, &mut whole].map(|kernel| kernel.test_run(program, &frame, 1).unwrap().code);
        assert_eq!(codes[0], codes[1], "packet {n}: {frame:02x?}");
    }
    let labelled = |kernel: &Kernel| {
        let mut moved = moved(&[0; COUNTERS], &kernel.test_counters().unwrap());
        // How often a refused record was tried again depends on time.
        moved.retain(|label, _| !label.starts_with("event_"));
        moved
    };
    assert_eq!(labelled(&short), labelled(&whole));
    assert_eq!(hits(&short), hits(&whole));
    let (one, other) = (facts(&short), facts(&whole));
    assert_eq!(one.len(), other.len());
    for (key, slot) in one {
        assert_eq!(Some(&slot), other.get(&key), "{key:?}");
    }
}

/// What went the short way leaves no reading behind: that it is taken shows by that.
#[test]
fn plain_packets_take_it_until_something_is_to_be_asked() {
    let Some(mut kernel) = kernel(&undue(), Mode::Production) else {
        return;
    };
    pin(0);
    let other = frame("203.0.113.9", "10.0.0.1", &tcp(1, 2, 0x02, b""), TCP);
    let goes_short = |kernel: &mut Kernel, frame: &[u8], code: u32| {
        kernel.test_run(PROG_XDP, &other, 1).unwrap();
        assert_eq!(kernel.test_run(PROG_XDP, frame, 1).unwrap().code, code);
        kernel.test_meta(0).unwrap().src_port == 1
    };
    let plain = frame("203.0.113.1", "10.0.0.1", &tcp(4000, 443, ACK, &[0; 100]), TCP);
    assert!(!goes_short(&mut kernel, &plain, 2), "a new flow");
    kernel.test_run(PROG_XDP, &plain, 40).unwrap();
    assert!(goes_short(&mut kernel, &plain, 2));
    let longer = frame("203.0.113.1", "10.0.0.1", &tcp(4000, 443, ACK, &[0; 101]), TCP);
    assert!(!goes_short(&mut kernel, &longer, 2), "the longest so far");
    let fin = frame("203.0.113.1", "10.0.0.1", &tcp(4000, 443, ACK | 0x01, &[0; 100]), TCP);
    assert!(!goes_short(&mut kernel, &fin, 2));
    // A block strikes a flow that runs, from the next packet on, and by the short way too.
    let mut blocks = kernel.blocks();
    let source: std::net::IpAddr = "203.0.113.1".parse().unwrap();
    let block = block();
    blocks.put_block(source.into(), &block).unwrap();
    assert!(goes_short(&mut kernel, &plain, 1));
    blocks.delete_block(source.into()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    goes_short(&mut kernel, &plain, 2);
    assert!(goes_short(&mut kernel, &plain, 2));
}

/// Beside what is listed, a source is looked for once, and again when the lists have changed.
#[test]
fn a_neighbour_of_what_is_listed_takes_it_too_until_the_lists_change() {
    let Some(mut kernel) = kernel(&undue(), Mode::Production) else {
        return;
    };
    pin(0);
    let (block, allow) = (block(), allow());
    for (far, near, beside, net) in [
        ("203.0.113.1", "10.0.0.1", "203.0.113.9", "203.0.112.0/20"),
        ("3fff::1", "fd00::1", "3fff::9", "3fff::/44"),
    ] {
        let mut blocks = kernel.blocks();
        let host = |text: &str| text.parse::<std::net::IpAddr>().unwrap().into();
        let net = net.parse().unwrap();
        let other = frame("100.64.0.9", "10.0.0.1", &tcp(1, 2, 0x02, b""), TCP);
        let plain = frame(far, near, &tcp(4000, 443, ACK, &[0; 100]), TCP);
        let mut goes_short = |code: u32| {
            kernel.test_run(PROG_XDP, &other, 1).unwrap();
            assert_eq!(kernel.test_run(PROG_XDP, &plain, 1).unwrap().code, code, "{far}");
            kernel.test_meta(0).unwrap().src_port == 1
        };
        for _ in 0..20 {
            goes_short(2);
        }
        assert!(goes_short(2), "{far}: nothing is listed");
        blocks.put_block(host(beside), &block).unwrap();
        assert!(!goes_short(2), "{far}: the lists have changed");
        assert!(goes_short(2), "{far}: and nothing was found");
        blocks.put_allow(host(beside), &allow).unwrap();
        assert!(!goes_short(2) && goes_short(2), "{far}: beside what is allowed");
        // From the next packet on.
        blocks.put_block(net, &block).unwrap();
        assert!(!goes_short(1), "{far}");
        blocks.put_allow(host(far), &allow).unwrap();
        assert!(
            !goes_short(2) && !goes_short(2),
            "{far}: an allowed source is told of as one"
        );
        assert!(blocks.delete_allow(host(far)).unwrap());
        assert!(!goes_short(1), "{far}");
        blocks.delete_block(net).unwrap().unwrap();
        assert!(!goes_short(2) && goes_short(2), "{far}: free again");
    }
}
