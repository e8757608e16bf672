//! Accounting to the unit under real traffic: nothing that came in is missing from the verdicts, and no new flow from
//! the records, whatever is full.

use super::pair::{Pair, block, ip};
use super::*;
use sentinel::kernel::{Record, decode};
use sentinel::respond::Enforcer;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PACKETS: u64 = 60_000;
/// Another port with every packet, and so a new flow.
pub(crate) const EACH_ANOTHER: &str = "dinc(1, 65000)";

/// Whether the tools are there; says which are not.
pub(crate) fn tools(names: &[&str]) -> bool {
    names.iter().all(|name| {
        let there = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output()
            .is_ok_and(|out| out.status.success());
        if !there {
            skip(&format!("no {name}"));
        }
        there
    })
}

/// A pair without neighbour discovery or anything else of the namespaces' own on the wire.
pub(crate) fn quiet_pair() -> Pair {
    let pair = Pair::new();
    for ns in [&pair.near, &pair.far] {
        let args = "net.ipv6.conf.veth0.disable_ipv6=1";
        let done = Command::new("ip")
            .args(["netns", "exec", ns, "sysctl", "-qw", args])
            .status();
        assert!(done.unwrap().success());
        ip(&format!("-n {ns} link set veth0 arp off"));
    }
    pair
}

/// A number of the near interface's statistics.
pub(crate) fn received(pair: &Pair) -> u64 {
    let args = ["-n", &pair.near, "-j", "-s", "link", "show", "veth0"];
    let out = Command::new("ip").args(args).output().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

/// Counters of nftables, an independent witness behind XDP and before everything else: `listed` is 192.0.2.0/24,
/// `other` is 198.51.100.0/24.
pub(crate) struct Witness<'a>(&'a str);

impl<'a> Witness<'a> {
    pub(crate) fn new(namespace: &'a str) -> Self {
        let rules = "add table inet w; add chain inet w c { type filter hook prerouting priority -400; }; \
                     add counter inet w listed; add counter inet w other; \
                     add rule inet w c ip saddr 192.0.2.0/24 counter name listed; \
                     add rule inet w c ip saddr 198.51.100.0/24 counter name other";
        let witness = Self(namespace);
        witness.nft(&[rules]);
        witness
    }

    fn nft(&self, args: &[&str]) -> String {
        let mut all = vec!["netns", "exec", self.0, "nft"];
        all.extend(args);
        let out = Command::new("ip").args(all).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Packets it saw.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let text = self.nft(&["-j", "list", "counter", "inet", "w", name]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let items = json["nftables"].as_array().unwrap();
        let counter = items.iter().find_map(|item| item.get("counter")).unwrap();
        counter["packets"].as_u64().unwrap()
    }
}

/// UDP packets to port 9999 of 10.99.0.1, as trafgen is told of them; the source port in its own language. The file goes
/// with its folder.
pub(crate) fn frame(pair: &Pair, source: &str, port: &str) -> (tempfile::TempDir, PathBuf) {
    let out = Command::new("ip")
        .args(["-n", &pair.near, "-j", "link", "show", "veth0"])
        .output()
        .unwrap();
    let links: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let mac = links[0]["address"].as_str().unwrap();
    let frame =
        format!("{{ eth(da={mac}), ipv4(saddr={source}, daddr=10.99.0.1), udp(sp={port}, dp=9999), fill('x', 20) }}\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frame.cfg");
    std::fs::write(&file, frame).unwrap();
    (folder, file)
}

/// Sends that many of them.
pub(crate) fn flood(pair: &Pair, source: &str, port: &str, packets: u64) {
    let (_folder, file) = frame(pair, source, port);
    let count = packets.to_string();
    let out = Command::new("ip")
        .args([
            "netns",
            "exec",
            &pair.far,
            "trafgen",
            "--no-sock-mem",
            "--cpus",
            "1",
            "--dev",
            "veth0",
        ])
        .args(["--num", &count, "--conf", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Verdicts of the attached interface, summed: every packet that came in is in exactly one of these.
pub(crate) fn verdicts(kernel: &Kernel) -> u64 {
    const EACH: [Counter; 10] = [
        Counter::PassV4,
        Counter::PassV6,
        Counter::PassOther,
        Counter::DropV4,
        Counter::DropV6,
        Counter::DropHidden,
        Counter::RedirectV4,
        Counter::RedirectV6,
        Counter::AnswerV4,
        Counter::AnswerV6,
    ];
    let interfaces = kernel.counters().read().unwrap().0;
    EACH.iter().map(|counter| interfaces[0].get(*counter)).sum()
}

pub(crate) fn count(kernel: &Kernel, counter: Counter) -> u64 {
    kernel.counters().read().unwrap().0[0].get(counter)
}

/// Waits until what the far side sent has come in, or no more comes: a veth whose receiver is not given time loses
/// some.
fn settled(pair: &Pair, at_least: u64) -> u64 {
    let (mut came, mut since) = (received(pair), Instant::now());
    while came < at_least && since.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(20));
        let now = received(pair);
        if now != came {
            (came, since) = (now, Instant::now());
        }
    }
    came
}

#[test]
fn what_came_in_is_what_was_judged_and_nothing_listed_gets_behind() {
    if !tools(&["trafgen", "nft"]) {
        return;
    }
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = quiet_pair();
    let witness = Witness::new(&pair.near);
    let net = "192.0.2.0/24".parse().unwrap();
    kernel.blocks().put_block(net, &block()).unwrap();
    let begun = received(&pair);
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    flood(&pair, "192.0.2.7", "7", PACKETS);
    let listed = settled(&pair, begun + PACKETS) - begun;
    flood(&pair, "198.51.100.7", "7", PACKETS / 2);
    let other = settled(&pair, begun + listed + PACKETS / 2) - begun - listed;
    assert!(
        listed > PACKETS / 4 && other > PACKETS / 2 / 4,
        "{listed} and {other} came in"
    );
    assert_eq!(verdicts(&kernel), listed + other, "every packet is in one verdict");
    assert_eq!(witness.count("listed"), 0, "nothing listed got behind the gate");
    assert_eq!(witness.count("other"), other, "and nothing else was kept");
    assert_eq!(count(&kernel, Counter::DropV4), count(&kernel, Counter::DropPrefix));
    let hits = kernel.blocks().get_block(net).unwrap().unwrap().hits;
    assert_eq!(count(&kernel, Counter::DropPrefix), hits);
    assert_eq!(hits, listed);
}

/// What a reader that first slept was given.
#[derive(Default)]
struct Delivered {
    records: u64,
    /// Packets the records are of.
    packets: u64,
    channel_lost: u64,
    /// What the interface received of the flood.
    came: u64,
}

/// Floods with a new flow per packet while the reader sleeps for `sleep`, then lets it catch up.
async fn with_a_sleeping_reader(kernel: &mut Kernel, pair: &Pair, sleep: Duration) -> Delivered {
    let reader = kernel.ring();
    let lost = reader.lost();
    let (out, mut batches) = mpsc::channel(4096);
    let cancel = CancellationToken::new();
    let (begun, before) = (Instant::now(), received(pair));
    flood(pair, "100.64.0.1", EACH_ANOTHER, PACKETS);
    tokio::time::sleep(sleep.saturating_sub(begun.elapsed())).await;
    let task = tokio::spawn(reader.run(out, cancel.clone()));
    flood(pair, "100.64.0.2", EACH_ANOTHER, PACKETS / 4);
    let came = settled(pair, before + PACKETS + PACKETS / 4) - before;
    cancel.cancel();
    task.await.unwrap();
    let mut delivered = Delivered {
        channel_lost: lost.load(Ordering::Relaxed),
        came,
        ..Delivered::default()
    };
    while let Some(batch) = batches.recv().await {
        for record in decode(&batch) {
            delivered.records += 1;
            if let Record::Flow(flow) = record.unwrap() {
                delivered.packets += flow.counts.packets;
            }
        }
    }
    delivered
}

#[tokio::test]
async fn a_reader_that_slept_through_a_flood_misses_nothing_uncounted() {
    if !tools(&["trafgen"]) {
        return;
    }
    let ingress_only = KernelConfig {
        egress: false,
        flow_capacity: 16_384,
        ..config()
    };
    let Some(mut kernel) = kernel(&ingress_only, Mode::Production) else {
        return;
    };
    let pair = quiet_pair();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let delivered = with_a_sleeping_reader(&mut kernel, &pair, Duration::from_secs(2)).await;
    let came = delivered.came;
    assert!(came > (PACKETS + PACKETS / 4) / 4, "{came} came in");
    assert_eq!(verdicts(&kernel), came);
    let of = |counter| count(&kernel, counter);
    let (sent, new) = (of(Counter::EventSent), of(Counter::FlowNew));
    assert_eq!(
        delivered.records + delivered.channel_lost,
        sent,
        "what was put on the ring came off it"
    );
    assert_eq!(delivered.channel_lost, 0, "the channel has room for all of it");
    assert_eq!(new + of(Counter::FlowRefused), came);
    let withheld = of(Counter::EventLost) + of(Counter::EventDeferred) + of(Counter::EventThinned);
    // A flow here is one packet: told in a record, waiting in its slot, refused a slot, or evicted untold and counted.
    let waiting: u64 = kernel
        .test_flows(sentinel::time::boot_now())
        .unwrap()
        .iter()
        .map(|(_, value)| value.ingress.packets)
        .sum();
    let (refused, lost) = (of(Counter::FlowRefused), of(Counter::FlowLost));
    println!(
        "{new} new flows: {} told, {waiting} waiting, {refused} refused, {lost} lost; {withheld} records withheld by reason",
        delivered.packets
    );
    assert!(withheld > 0 && lost > 0, "ring and table were to run full");
    assert_eq!(
        delivered.packets + waiting + refused + lost,
        came,
        "every packet of the flood"
    );
}

#[test]
fn lists_filled_beyond_their_bound_refuse_and_the_rest_stands() {
    const CAPACITY: u32 = 1000;
    let small = KernelConfig {
        block_capacity: CAPACITY,
        block_net_capacity: CAPACITY,
        flow_capacity: 512,
        ring_bytes: 4096,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let address = |n: u32| format!("100.64.{}.{}", n >> 8, n & 255);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..CAPACITY * 12 / 10 {
        match blocks.put_block(format!("{}/32", address(n)).parse().unwrap(), &block()) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert!(error.to_string().contains("full"), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (CAPACITY, CAPACITY / 5));
    // Every entry that was taken blocks; every source that was refused passes, with flows and ring full on the way.
    let before = kernel.test_counters().unwrap();
    for n in 0..CAPACITY * 12 / 10 {
        let frame = frames::frame(&address(n), "10.0.0.1", &frames::udp(n as u16, 9, b"x"), frames::UDP);
        let code = kernel
            .test_run(sentinel_common::names::PROG_XDP, &frame, 1)
            .unwrap()
            .code;
        assert_eq!(code, if n < CAPACITY { 1 } else { 2 }, "{}", address(n));
    }
    for n in 0..5000u32 {
        let source = format!("101.0.{}.{}", n >> 8, n & 255);
        let frame = frames::frame(&source, "10.0.0.1", &frames::udp(n as u16, 9, b"x"), frames::UDP);
        let code = kernel
            .test_run(sentinel_common::names::PROG_XDP, &frame, 1)
            .unwrap()
            .code;
        assert_eq!(code, 2, "what cannot be accounted or reported passes");
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    let get = |label: &str| moved.get(label).copied().unwrap_or(0);
    assert_eq!(get("drop_exact"), u64::from(CAPACITY), "{moved:?}");
    assert_eq!(get("pass_v4"), 5000 + u64::from(CAPACITY / 5), "{moved:?}");
    assert!(get("event_lost") + get("event_thinned") > 0, "{moved:?}");
    assert_eq!(
        get("flow_new") + get("flow_refused"),
        5000 + u64::from(CAPACITY / 5),
        "{moved:?}"
    );
}
