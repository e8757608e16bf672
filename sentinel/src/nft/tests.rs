//! Pure parts by property; the rest against the kernel's own nf_tables and real packets, each test in a network namespace
//! of its own thread.

use super::netlink::{Answer, elements};
use super::plan::{Kind, SetId, comment, kinds, terms};
use super::{Nft, NftError, script};
use crate::config::{Config, KernelConfig};
use crate::respond::{EnforceError, Enforcer};
use crate::time;
use crate::types::{Ktime, Rate};
use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use sentinel_common::entry::{
    ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, AllowEntry, BlockEntry, FLAG_EACH, FLAG_EGRESS, FLAG_OPENINGS,
    FLAG_SHADOW, NEVER_NS,
};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpSocket;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn entry(action: u8, flags: u8, lasts: Duration) -> BlockEntry {
    BlockEntry {
        expires_ns: time::boot_now().after(lasts).0,
        action,
        flags,
        decision: *uuid::Uuid::from_u128(0x1234_5678).as_bytes(),
        ..BlockEntry::default()
    }
}

const LONG: Duration = Duration::from_mins(10);
const ALLOW: AllowEntry = AllowEntry {
    expires_ns: NEVER_NS,
    prefix_len: 0,
    pad: [0; 7],
};

proptest! {
    #[test]
    fn terms_survive_the_comment(
        decision in any::<[u8; 16]>(), ends in any::<[u64; 3]>(), rates in any::<[u32; 3]>(), action in 1u8..=3, flags in 0u8..8,
    ) {
        let entry = BlockEntry {
            decision, action, flags,
            expires_ns: ends[0], watch_until_ns: ends[1], reapply_ns: ends[2],
            burst_ms: rates[0], packet_ns: rates[1], byte_ns_q8: rates[2],
            prefix_len: 24,
            ..BlockEntry::default()
        };
        let text = comment(&entry);
        prop_assert!(text.len() < 128 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'), "{}", text);
        prop_assert_eq!(terms(&text, 24), Some(entry));
    }

    #[test]
    fn hostile_comments_are_nobodys(text in ".{0,200}") {
        prop_assert_eq!(terms(&text, 24), None);
    }

    #[test]
    fn hostile_answers_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..64) {
        let _ = elements(&bytes);
        let _ = elements(bytes.get(cut..).unwrap_or_default());
        let _ = Answer::default().take(&bytes);
    }
}

#[test]
fn names_of_sets_are_read_as_written_and_others_are_not_ours() {
    for kind in Kind::ALL {
        for (v6, most) in [(false, 32), (true, 128)] {
            for len in 0..=most {
                let set = SetId { kind, v6, len };
                assert_eq!(SetId::parse(&set.to_string()), Some(set));
            }
        }
    }
    for other in [
        "",
        "_",
        "block4_33",
        "block6_129",
        "block4_032",
        "block4_+1",
        "block5_1",
        "blöck4_1",
        "4_1",
    ] {
        assert_eq!(SetId::parse(other), None, "{other}");
    }
}

#[test]
fn an_entry_is_told_with_its_counters_its_end_and_its_rate() {
    let mut out = String::new();
    let rate = Rate {
        packets: 100,
        bytes: 1000,
        burst_ms: 3000,
        each: false,
        openings: false,
    };
    let entry = BlockEntry {
        expires_ns: 5_000_000_000,
        burst_ms: rate.burst_ms,
        packet_ns: rate.packet_ns(),
        byte_ns_q8: rate.byte_ns_q8(),
        ..entry(ACTION_LIMIT, 0, LONG)
    };
    let entry = BlockEntry {
        expires_ns: 5_000_000_000,
        ..entry
    };
    script::put(&mut out, net("192.0.2.0/24"), &entry, (7, 9), Ktime(1_500_000_000));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with(
        "add element inet sentinel block4_24 { 192.0.2.0 counter packets 7 bytes 9 timeout 3700ms comment \"1:"
    ));
    assert!(lines[1].starts_with(
        "add element inet sentinel both4_24 { 192.0.2.0 limit rate 100/second burst 300 packets limit rate 1000 bytes/second burst 2000 bytes timeout 3700ms"
    ));
    assert_eq!(kinds(&entry), [Kind::Block, Kind::Both]);
}

/// A namespace of this thread's own with the table in it; `None` without root.
fn arena(config: &KernelConfig) -> Option<Nft> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: namespaces need root");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
    for address in ["fd00::1", "fd00::9", "fd00:1::9"] {
        ip(&format!("-6 addr add {address}/128 dev lo nodad"));
    }
    let (nft, lease) = Nft::open(config).unwrap();
    // The namespace goes with its thread, and the table with it.
    std::mem::forget(lease);
    Some(nft)
}

fn config() -> KernelConfig {
    Config::default().kernel
}

fn ip(line: &str) {
    assert!(
        Command::new("ip").args(line.split(' ')).status().unwrap().success(),
        "{line}"
    );
}

fn nft(line: &str) -> String {
    let out = Command::new("nft").args(line.split(' ')).output().unwrap();
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A sender and a receiver on loopback.
struct Pair {
    from: UdpSocket,
    to: UdpSocket,
}

impl Pair {
    fn new(from: &str) -> Self {
        let to = if from.starts_with('[') {
            "[fd00::1]:0"
        } else {
            "127.0.0.1:0"
        };
        let (from, to) = (UdpSocket::bind(from).unwrap(), UdpSocket::bind(to).unwrap());
        from.connect(to.local_addr().unwrap()).unwrap();
        to.set_nonblocking(true).unwrap();
        Self { from, to }
    }

    /// Sends that many datagrams of 100 bytes of payload, and returns how many came through.
    fn send(&self, count: usize) -> usize {
        // What is dropped on its way out is told as an error here.
        (0..count).for_each(|_| drop(self.from.send(&[0; 100])));
        self.received()
    }

    fn received(&self) -> usize {
        let mut buffer = [0; 200];
        std::iter::from_fn(|| self.to.recv(&mut buffer).ok()).count()
    }

    /// Sends every half millisecond for so long; returns how many came through.
    fn stream(&self, lasts: Duration) -> usize {
        let end = time::boot_now().after(lasts);
        let mut through = 0;
        while time::boot_now() < end {
            through += self.send(1);
            std::thread::sleep(Duration::from_micros(300));
        }
        through
    }
}

#[test]
fn addresses_and_prefixes_are_blocked_and_what_is_allowed_is_asked_first() {
    let Some(mut nft) = arena(&config()) else { return };
    for (source, exact, wide) in [
        ("127.0.0.9:0", "127.0.0.9/32", "127.0.0.8/29"),
        ("[fd00:1::9]:0", "fd00:1::9/128", "fd00:1::/48"),
    ] {
        let pair = Pair::new(source);
        for target in [net(exact), net(wide)] {
            assert_eq!(pair.send(3), 3);
            let order = entry(ACTION_DROP, 0, LONG);
            nft.put_block(target, &order).unwrap();
            assert_eq!(pair.send(3), 0, "{target}");
            let read = nft.get_block(target).unwrap().unwrap();
            assert!(
                read.same_order(&BlockEntry {
                    prefix_len: target.prefix_len(),
                    ..order
                }),
                "{read:?}"
            );
            assert_eq!(read.hits, 3);
            assert!(read.hit_bytes >= 3 * 128);
            // An order that changes keeps its counters.
            nft.put_block(target, &entry(ACTION_DROP, 0, LONG * 2)).unwrap();
            assert_eq!(nft.get_block(target).unwrap().unwrap().hits, 3);
            nft.put_allow(net(wide), &ALLOW).unwrap();
            assert_eq!(pair.send(3), 3, "allowed");
            assert!(nft.delete_allow(net(wide)).unwrap());
            assert_eq!(nft.list_allows().unwrap(), []);
            assert_eq!(nft.list_blocks().unwrap().len(), 1);
            assert_eq!(nft.delete_block(target).unwrap().unwrap().hits, 3);
            assert_eq!(nft.get_block(target).unwrap(), None);
            assert_eq!(nft.delete_block(target).unwrap(), None);
        }
        assert_eq!(pair.send(3), 3);
    }
}

#[test]
fn the_more_specific_decision_wins() {
    let Some(mut nft) = arena(&config()) else { return };
    let pair = Pair::new("127.0.0.9:0");
    nft.put_block(net("127.0.0.0/24"), &entry(ACTION_DROP, 0, LONG))
        .unwrap();
    assert_eq!(pair.send(2), 0);
    let limited = BlockEntry {
        packet_ns: 1_000_000_000,
        burst_ms: 5000,
        ..entry(ACTION_LIMIT, 0, LONG)
    };
    nft.put_block(net("127.0.0.9/32"), &limited).unwrap();
    assert_eq!(pair.send(20), 5, "its rate, within a blocked prefix");
    assert_eq!(nft.get_block(net("127.0.0.9/32")).unwrap().unwrap().hits, 15);
    nft.delete_block(net("127.0.0.9/32")).unwrap();
    assert_eq!(pair.send(2), 0);
}

#[test]
fn a_block_ends_on_time_with_nobody_alive() {
    let Some(mut nft) = arena(&config()) else { return };
    let pair = Pair::new("127.0.0.9:0");
    let order = entry(ACTION_DROP, 0, Duration::from_millis(1700));
    nft.put_block(net("127.0.0.9/32"), &order).unwrap();
    drop(nft);
    // The kernel's own reading lies between the two, however long this waits for a processor.
    let free = loop {
        let before = time::boot_now();
        if pair.send(1) > 0 {
            break time::boot_now();
        }
        let late = before.since(Ktime(order.expires_ns));
        assert!(late < Duration::from_millis(800), "late by {late:?}");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(
        free.0 >= order.expires_ns,
        "early by {:?}",
        Ktime(order.expires_ns).since(free)
    );
}

#[test]
fn rates_hold_within_a_tenth() {
    let Some(mut nft) = arena(&config()) else { return };
    let pair = Pair::new("127.0.0.9:0");
    let target = net("127.0.0.9/32");
    // A packet is of 128 bytes from its network header on.
    for (packets, bytes, want) in [
        (200, 0, 200.0),
        (0, 25_600, 200.0),
        (400, 25_600, 200.0),
        (200, 51_200, 200.0),
    ] {
        let rate = Rate {
            packets,
            bytes,
            burst_ms: 100,
            each: false,
            openings: false,
        };
        let order = BlockEntry {
            packet_ns: rate.packet_ns(),
            byte_ns_q8: rate.byte_ns_q8(),
            burst_ms: rate.burst_ms,
            ..entry(ACTION_LIMIT, 0, LONG)
        };
        nft.put_block(target, &order).unwrap();
        assert!(nft.get_block(target).unwrap().unwrap().same_order(&BlockEntry {
            prefix_len: 32,
            ..order
        }));
        // Its burst, of bytes a second's worth, is used up first; behind a limit on packets that takes its time.
        pair.send(1000);
        pair.stream(Duration::from_millis(1500));
        // A thread that stands still for longer than a burst offers less than the rate, or finds more saved up.
        let mut rates = Vec::new();
        let holds = (0..5).any(|_| {
            let begin = time::boot_now();
            let through = pair.stream(Duration::from_secs(2)) as f64;
            let rate = through / time::boot_now().since(begin).as_secs_f64();
            rates.push(rate);
            // What was saved up is a burst at most, however long it stood still.
            assert!(rate < want * 1.15, "{rates:.0?} instead of {want} a second");
            (rate / want - 1.0).abs() < 0.1
        });
        assert!(
            holds,
            "{rates:.0?} instead of {want} a second: {packets} packets, {bytes} bytes"
        );
        nft.delete_block(target).unwrap();
    }
}

/// A connection from an address of ours.
fn connected(from: IpAddr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = if from.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn a_limit_on_what_opens_lets_connections_that_stand_go_on() {
    let Some(mut nft) = arena(&config()) else { return };
    for (source, server, target) in [
        ("127.0.0.9", "127.0.0.1:0", "127.0.0.9/32"),
        ("fd00:1::9", "[fd00::1]:0", "fd00:1::/64"),
    ] {
        let listener = TcpListener::bind(server).unwrap();
        let to = listener.local_addr().unwrap();
        let mut client = connected(source.parse().unwrap(), to);
        client.set_nodelay(true).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let limit = BlockEntry {
            packet_ns: 1_000_000_000,
            burst_ms: 5000,
            ..entry(ACTION_LIMIT, FLAG_OPENINGS, LONG)
        };
        nft.put_block(net(target), &limit).unwrap();
        let read = nft.get_block(net(target)).unwrap().unwrap();
        assert!(
            read.same_order(&BlockEntry {
                prefix_len: net(target).prefix_len(),
                ..limit
            }),
            "{read:?}"
        );
        for _ in 0..100 {
            client.write_all(b"x").unwrap();
            served.read_exact(&mut [0; 1]).unwrap();
        }
        assert_eq!(nft.get_block(net(target)).unwrap().unwrap().hits, 0, "none was late");
        let pair = Pair::new(&SocketAddr::new(source.parse().unwrap(), 0).to_string());
        assert_eq!(pair.send(20), 5, "what opens has its rate");
        assert_eq!(nft.delete_block(net(target)).unwrap().unwrap().hits, 15);
        assert_eq!(nft.list_blocks().unwrap(), []);
    }
}

#[test]
fn what_goes_out_is_blocked_where_that_is_asked() {
    let Some(mut nft) = arena(&config()) else { return };
    for (peer, target) in [("[fd00::9]:0", "fd00::9/128"), ("127.0.0.9:0", "127.0.0.8/30")] {
        let pair = Pair::new(peer);
        let back = || pair.to.send_to(&[0; 9], pair.from.local_addr().unwrap()).is_ok();
        assert!(back());
        nft.put_block(net(target), &entry(ACTION_DROP, FLAG_EGRESS, LONG))
            .unwrap();
        assert!(!back(), "sent to {target}");
        let read = nft.get_block(net(target)).unwrap().unwrap();
        assert_eq!((read.hits, read.flags), (1, FLAG_EGRESS));
        nft.put_allow(net(target), &ALLOW).unwrap();
        assert!(back(), "allowed");
        nft.delete_allow(net(target)).unwrap();
        nft.delete_block(net(target)).unwrap();
        assert!(back());
    }
}

#[test]
fn simulation_counts_and_drops_nothing() {
    let Some(mut nft) = arena(&config()) else { return };
    let (pair, target) = (Pair::new("127.0.0.9:0"), net("127.0.0.9/32"));
    let limited = BlockEntry {
        packet_ns: 1_000_000_000,
        burst_ms: 5000,
        ..entry(ACTION_LIMIT, FLAG_SHADOW, LONG)
    };
    for (order, would) in [(entry(ACTION_DROP, FLAG_SHADOW | FLAG_EGRESS, LONG), 20), (limited, 15)] {
        nft.put_block(target, &order).unwrap();
        assert_eq!(pair.send(20), 20);
        let read = nft.get_block(target).unwrap().unwrap();
        assert_eq!((read.hits, read.would_hits), (0, would));
        nft.delete_block(target).unwrap();
    }
    // Everything at once, and back.
    nft.put_block(target, &entry(ACTION_DROP, 0, LONG)).unwrap();
    assert_eq!(pair.send(2), 0);
    nft.set_enforcing(false).unwrap();
    assert_eq!(pair.send(3), 3);
    nft.put_block(target, &entry(ACTION_DROP, 0, LONG * 2)).unwrap();
    assert_eq!(pair.send(4), 4);
    let read = nft.get_block(target).unwrap().unwrap();
    assert_eq!((read.hits, read.would_hits), (2, 7));
    nft.set_enforcing(true).unwrap();
    assert_eq!(pair.send(5), 0);
    let read = nft.get_block(target).unwrap().unwrap();
    assert_eq!((read.hits, read.would_hits), (7, 7));
}

#[test]
fn a_full_list_refuses_and_changes_nothing() {
    let small = KernelConfig {
        block_capacity: 3,
        block_net_capacity: 1,
        ..config()
    };
    let Some(mut nft) = arena(&small) else { return };
    let order = entry(ACTION_DROP, 0, LONG);
    for host in 1..=3 {
        nft.put_block(net(&format!("127.0.9.{host}/32")), &order).unwrap();
    }
    let full = nft.put_block(net("127.0.0.9/32"), &order).unwrap_err();
    assert_eq!(
        full,
        EnforceError::Full {
            map: "nft_block4",
            capacity: 3
        }
    );
    nft.put_block(net("127.0.9.3/32"), &order)
        .expect("one that is there is renewed");
    nft.put_block(net("fd00:1::9/128"), &order)
        .expect("the other family has its own");
    nft.put_block(net("127.9.0.0/16"), &order).expect("prefixes too");
    assert!(matches!(
        nft.put_block(net("127.8.0.0/16"), &order),
        Err(EnforceError::Full { .. })
    ));
    assert_eq!(Pair::new("127.0.0.9:0").send(2), 2);
    nft.put_ahead(&[(net("127.0.0.9/32"), order), (net("127.0.0.8/32"), order)]);
    assert_eq!(nft.list_blocks().unwrap().len(), 5);
    nft.delete_block(net("127.0.9.1/32")).unwrap();
    nft.put_block(net("127.0.0.9/32"), &order).expect("room again");
    assert_eq!(nft.usage().read()["nft_block4"].entries, 3);
}

#[test]
fn tables_of_others_stay_and_one_of_our_name_is_refused() {
    let Some(mut ours) = arena(&config()) else { return };
    nft("add table inet other");
    nft("add set inet other block4_32 { type ipv4_addr ; }");
    nft("add element inet other block4_32 { 192.0.2.1 }");
    let before = nft("list table inet other");
    ours.put_block(net("127.0.0.9/32"), &entry(ACTION_DROP, 0, LONG))
        .unwrap();
    ours.delete_block(net("127.0.0.9/32")).unwrap();
    assert_eq!(nft("list table inet other"), before);
    Nft::remove().unwrap();
    assert_eq!(nft("list tables"), "table inet other\n");
    Nft::remove().expect("nothing to remove is no error");
    nft("add table inet sentinel");
    assert!(matches!(Nft::open(&config()), Err(NftError::Foreign)));
    Nft::remove().unwrap();
    assert!(nft("list tables").contains("sentinel"), "not ours to remove");
}

#[test]
fn the_next_agent_goes_on_with_what_is_in_force() {
    let Some(mut nft) = arena(&config()) else { return };
    let (pair, target) = (Pair::new("127.0.0.9:0"), net("127.0.0.9/32"));
    let order = entry(ACTION_DROP, FLAG_EGRESS, LONG);
    nft.put_allow(net("127.0.0.1/32"), &ALLOW).unwrap();
    nft.put_block(target, &order).unwrap();
    assert_eq!(pair.send(2), 0);
    drop(nft);
    let (mut nft, lease) = Nft::open(&config()).unwrap();
    assert_eq!(pair.send(2), 0, "a gap");
    assert_eq!(nft.list_allows().unwrap().len(), 1);
    nft.put_block(target, &order).unwrap();
    assert_eq!(nft.get_block(target).unwrap().unwrap().hits, 4);
    // A table that cannot be gone on with is made anew, allowlist and all.
    drop(nft);
    let larger = KernelConfig {
        block_capacity: 500_000,
        ..config()
    };
    let (nft, second) = Nft::open(&larger).unwrap();
    assert_eq!(nft.list_allows().unwrap().len(), 1);
    drop((nft, second));
    lease.end().unwrap();
    assert_eq!(pair.send(2), 2);
}

#[test]
fn what_somebody_else_changed_is_seen_and_mended() {
    let Some(mut ours) = arena(&config()) else { return };
    let (pair, target) = (Pair::new("127.0.0.9:0"), net("127.0.0.9/32"));
    let order = entry(ACTION_DROP, 0, LONG);
    let allowed = net("127.0.0.77/32");
    for harm in [
        "flush chain inet sentinel act4",
        "insert rule inet sentinel in4 accept",
        "flush set inet sentinel block4_32",
        "delete table inet sentinel",
        "flush ruleset",
    ] {
        ours.put_allow(allowed, &ALLOW).unwrap();
        ours.put_block(target, &order).unwrap();
        assert_eq!(pair.send(2), 0);
        nft(harm);
        assert_eq!(pair.send(2), 2, "{harm}");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(ours.get_block(target).unwrap(), None, "{harm}");
        assert_eq!(ours.list_blocks().unwrap(), [], "{harm}");
        ours.put_block(target, &order).unwrap();
        assert!(ours.get_block(target).unwrap().is_some());
        assert_eq!(pair.send(2), 0, "{harm}");
        assert!(
            ours.list_allows().unwrap().iter().any(|(net, _)| *net == allowed),
            "{harm}"
        );
    }
    // Without an entry that would be missed, the switch is what is looked at.
    ours.delete_block(target).unwrap();
    nft("delete table inet sentinel");
    std::thread::sleep(Duration::from_millis(150));
    assert!(!ours.acting().unwrap());
    ours.set_acting(true).unwrap();
    assert!(ours.acting().unwrap());
    // A stop is one all the same.
    nft("delete table inet sentinel");
    std::thread::sleep(Duration::from_millis(150));
    ours.set_acting(false).unwrap();
    ours.put_block(target, &order).unwrap();
    assert!(!ours.acting().unwrap());
    assert_eq!(pair.send(2), 2, "it only counts");
    ours.set_acting(true).unwrap();
    assert_eq!(pair.send(2), 0);
    assert!(ours.list_allows().unwrap().iter().any(|(net, _)| *net == allowed));
}

#[test]
fn what_may_be_in_force_although_it_failed_can_be_taken_back() {
    let Some(mut ours) = arena(&config()) else { return };
    let killed = || {
        Err(NftError::Run {
            cause: "it did not end".into(),
        })
    };
    let (pair, order) = (Pair::new("127.0.0.9:0"), entry(ACTION_DROP, 0, LONG));
    // As if the program had been killed after the kernel had done its work.
    let (target, before) = (net("127.0.0.9/32"), ours.sets.clone());
    ours.put_block(target, &order).unwrap();
    assert!(ours.settle(killed(), before, true).is_err());
    std::thread::sleep(Duration::from_millis(150));
    assert!(ours.get_block(target).unwrap().is_some());
    assert_eq!(pair.send(2), 0);
    assert!(ours.delete_block(target).unwrap().is_some());
    assert_eq!(pair.send(2), 2);
    // And as if before: the set is not there.
    let (target, before) = (net("127.0.0.8/29"), ours.sets.clone());
    ours.sets.insert(SetId::of(Kind::Block, target));
    assert!(ours.settle(killed(), before, true).is_err());
    assert_eq!(ours.get_block(target).unwrap(), None);
    assert!(ours.acting().is_err(), "nobody knows");
    ours.set_acting(true).expect("lays what is asked");
    assert!(ours.acting().unwrap());
    ours.put_block(target, &order).unwrap();
    assert_eq!(pair.send(2), 0);
    // What was refused is not there, and is not asked.
    let before = ours.sets.clone();
    ours.sets.insert(SetId::of(Kind::Block, net("127.0.0.0/24")));
    let refused = Err(NftError::Refused { said: "no".into() });
    assert!(ours.settle(refused, before.clone(), true).is_err());
    assert_eq!(ours.sets, before);
}

#[test]
fn thousands_go_in_and_out_by_the_batch() {
    let Some(mut nft) = arena(&config()) else { return };
    let order = entry(ACTION_DROP, 0, LONG);
    let many: u32 = std::env::var("NFT_MANY")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000);
    let target = |n: u32| net(&format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + n)));
    let entries: Vec<_> = (0..many).map(|n| (target(n), order)).collect();
    let begin = time::boot_now();
    nft.put_ahead(&entries);
    let put = time::boot_now();
    for (target, order) in &entries {
        nft.put_block(*target, order).unwrap();
        let read = nft.get_block(*target).unwrap().unwrap();
        assert!(read.same_order(&BlockEntry {
            prefix_len: 32,
            ..*order
        }));
    }
    let read = time::boot_now();
    assert_eq!(nft.list_blocks().unwrap().len(), many as usize);
    let listed = time::boot_now();
    let targets: Vec<_> = entries.iter().map(|(target, _)| *target).collect();
    nft.delete_ahead(&targets);
    for target in &targets {
        assert!(nft.delete_block(*target).unwrap().is_some());
        assert_eq!(nft.get_block(*target).unwrap(), None);
    }
    let gone = time::boot_now();
    assert_eq!(nft.usage().read()["nft_block4"].entries, 0);
    eprintln!(
        "{many}: put {:?}, each read back {:?}, listed {:?}, removed and read back {:?}",
        put.since(begin),
        read.since(put),
        listed.since(read),
        gone.since(listed)
    );
}

#[test]
fn what_cannot_be_carried_out_is_said() {
    let Some(nft) = arena(&config()) else { return };
    let order = |action, flags| entry(action, flags, LONG);
    assert_eq!(
        nft.shortfall(net("192.0.2.1/32"), &order(ACTION_DROP, FLAG_EGRESS)),
        None
    );
    let said = |target: &str, entry: &BlockEntry| nft.shortfall(net(target), entry).unwrap();
    assert!(said("192.0.2.1/32", &order(ACTION_REDIRECT, 0)).contains("dropped"));
    assert!(said("192.0.2.0/24", &order(ACTION_LIMIT, FLAG_EACH)).contains("share"));
    assert_eq!(
        nft.shortfall(net("192.0.2.1/32"), &order(ACTION_LIMIT, FLAG_OPENINGS)),
        None
    );
    let bytes = BlockEntry {
        byte_ns_q8: 1000,
        burst_ms: 100,
        ..order(ACTION_LIMIT, 0)
    };
    assert!(said("192.0.2.1/32", &bytes).contains("second"));
    assert_eq!(nft.name(), "nftables");
}
