//! What outlives an agent, and what an agent outlives: upgrades with pinned maps, interfaces that come and go, other
//! people's programs.

use super::pair::{Pair, block, ip};
use super::*;
use sentinel::config::Hook;
use sentinel::kernel::{State, leftovers, on_tc, on_xdp, unpin};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names as n;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A bpffs of a test's own, seen by nobody else by its path.
pub(crate) struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(dir)
    }

    fn pins(&self) -> PathBuf {
        self.0.path().join("sentinel")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

pub(crate) fn pinned(bpffs: &Bpffs) -> KernelConfig {
    KernelConfig {
        pin: true,
        pin_path: bpffs.pins(),
        ..config()
    }
}

fn far() -> ipnet::IpNet {
    "10.99.0.2/32".parse().unwrap()
}

/// A steady rate of datagrams from `far` to `near`, and how many of them the receiver's stack was handed.
struct Stream {
    stop: AtomicBool,
    sent: AtomicU64,
    got: AtomicU64,
}

impl Stream {
    const fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            got: AtomicU64::new(0),
        }
    }

    /// Sends and receives beside `work`, at about 10,000 datagrams a second.
    fn beside<T: Send>(&self, pair: &Pair, work: impl FnOnce() -> T + Send) -> T {
        let sink = Pair::inside(&pair.near, || UdpSocket::bind("10.99.0.1:7301").unwrap());
        sink.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let source = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:7300").unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !self.stop.load(Ordering::Relaxed) {
                    if source.send_to(&[7; 32], "10.99.0.1:7301").is_ok() {
                        self.sent.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            scope.spawn(|| {
                while !self.stop.load(Ordering::Relaxed) {
                    if sink.recv(&mut [0; 64]).is_ok() {
                        self.got.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let done = work();
            self.stop.store(true, Ordering::Relaxed);
            done
        })
    }

    fn wait(&self, counter: &AtomicU64, more: u64) {
        let (start, begin) = (counter.load(Ordering::Relaxed), Instant::now());
        while counter.load(Ordering::Relaxed) < start + more {
            assert!(begin.elapsed() < Duration::from_secs(20), "the stream dried up");
            std::thread::yield_now();
        }
    }
}

/// F3: an agent that pins is replaced 25 times under traffic of a blocked source; nothing of it passes, and the entry
/// and the counters of the interface go on.
#[test]
fn hot_upgrades_let_nothing_through_and_keep_what_was_counted() {
    const UPGRADES: u64 = 25;
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let config = pinned(&bpffs);
    let start = || {
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    let mut agent = start();
    let stream = Stream::new();
    let agent = stream.beside(&pair, || {
        // Positive control: before the block they pass.
        stream.wait(&stream.got, 200);
        let entry = BlockEntry {
            decision: [9; 16],
            ..block()
        };
        agent.blocks().put_block(far(), &entry).unwrap();
        // What was on its way when the block came is read first.
        std::thread::sleep(Duration::from_millis(50));
        let (passed, sent) = (stream.got.load(Ordering::Relaxed), stream.sent.load(Ordering::Relaxed));
        for _ in 0..UPGRADES {
            stream.wait(&stream.sent, 20);
            // The one before ends, as by SIGTERM; its programs go on judging until the next has swapped them.
            drop(agent);
            stream.wait(&stream.sent, 20);
            agent = start();
        }
        stream.wait(&stream.sent, 20);
        let leaked = stream.got.load(Ordering::Relaxed) - passed;
        let tried = stream.sent.load(Ordering::Relaxed) - sent;
        println!("{UPGRADES} upgrades: {tried} datagrams of a blocked source, {leaked} passed");
        assert_eq!(leaked, 0);

        let mut blocks = agent.blocks();
        let kept = blocks.get_block(far()).unwrap().unwrap();
        assert!(
            kept.same_order(&BlockEntry {
                prefix_len: 32,
                ..entry
            }),
            "{kept:?}"
        );
        assert!(kept.hits >= tried, "an upgrade forgot hits: {} of {tried}", kept.hits);
        let counters = agent.counters().read().unwrap().0;
        let dropped = counters[0].get(Counter::DropExact);
        assert!(dropped >= tried, "an upgrade forgot counters: {dropped} of {tried}");
        let usage = agent.counters().read().unwrap().1;
        assert_eq!(
            usage[n::MAP_BLOCK4].entries,
            1,
            "a map that was taken over is not empty"
        );
        // And after it, they pass again.
        blocks.delete_block(far()).unwrap();
        stream.wait(&stream.got, 200);
        agent
    });
    drop(agent);
    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(!bpffs.pins().exists(), "{:?}", leftovers(&bpffs.pins()));
}

#[test]
fn a_changed_capacity_keeps_what_is_in_force_and_one_too_small_is_refused() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let start = |config: &KernelConfig| {
        let mut kernel = Kernel::load(config, Mode::Production)?;
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()]))?;
        Ok::<_, KernelError>(kernel)
    };
    let agent = start(&pinned(&bpffs)).unwrap();
    let mut blocks = agent.blocks();
    let nets = (1..=100u8).map(|n| format!("198.51.100.{n}/32").parse().unwrap());
    let all: Vec<ipnet::IpNet> = nets.chain([far(), "203.0.113.0/24".parse().unwrap()]).collect();
    for net in &all {
        blocks.put_block(*net, &block()).unwrap();
    }
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    blocks.put_allow("192.0.2.0/24".parse().unwrap(), &allow).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    drop((agent, blocks));

    let small = KernelConfig {
        block_capacity: 50,
        ..pinned(&bpffs)
    };
    let error = start(&small).err().unwrap();
    assert!(
        matches!(&error, KernelError::Shrunk { map, .. } if map == n::MAP_BLOCK4),
        "{error}"
    );
    assert!(error.to_string().contains("kernel.block_capacity"), "{error}");
    assert!(!pair.ping("10.99.0.1"), "a refused start changed what is in force");

    for capacity in [1024, 128] {
        let other = KernelConfig {
            block_capacity: capacity,
            block_net_capacity: capacity,
            ..pinned(&bpffs)
        };
        let agent = start(&other).unwrap();
        let usage = agent.counters().read().unwrap().1;
        assert_eq!(
            (usage[n::MAP_BLOCK4].entries, usage[n::MAP_BLOCK_NET4].entries),
            (101, 1)
        );
        assert_eq!(usage[n::MAP_BLOCK4].capacity, u64::from(capacity));
        let blocks = agent.blocks();
        for net in &all {
            assert!(blocks.get_block(*net).unwrap().is_some(), "{net}");
        }
        assert_eq!(blocks.list_allows().unwrap().len(), 1);
        let hits = blocks.get_block(far()).unwrap().unwrap().hits;
        assert!(hits >= 2 && !pair.ping("10.99.0.1"), "{hits}");
        assert!(
            blocks.get_block(far()).unwrap().unwrap().hits > hits,
            "another map is read than written"
        );
        let strange = leftovers(&bpffs.pins()).foreign;
        assert_eq!(strange, Vec::<PathBuf>::new());
    }
}

fn bpftool(args: &[&str]) {
    let out = Command::new("bpftool").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
}

#[test]
fn maps_of_another_layout_and_foreign_pins_are_refused_and_left_alone() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let config = pinned(&bpffs);
    let text = |path: &Path| path.display().to_string();
    let start = || {
        let mut kernel = Kernel::load(&config, Mode::Production)?;
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()]))?;
        Ok::<_, KernelError>(kernel)
    };
    let agent = start().unwrap();
    agent.blocks().put_block(far(), &block()).unwrap();
    drop(agent);
    let found = leftovers(&bpffs.pins());
    assert!(
        found.fits && found.made_by.is_some() && found.interfaces.len() == 1,
        "{found:?}"
    );
    assert!(
        found.maps.contains(&n::MAP_BLOCK4.to_owned()) && found.foreign.is_empty(),
        "{found:?}"
    );
    assert!(!found.maps.contains(&n::MAP_EVENTS.to_owned()), "{found:?}");

    // Another layout: the first byte of the layout in the header is changed.
    let header = bpffs.pins().join("maps/HEADER");
    let made = sentinel_common::pin::PinHeader::new("0.0.7");
    let mut bytes: Vec<String> = Vec::new();
    bytes.extend(made.magic.to_ne_bytes().map(|b| b.to_string()));
    bytes.extend((made.layout ^ 1).to_ne_bytes().map(|b| b.to_string()));
    bytes.extend(made.policy.to_ne_bytes().map(|b| b.to_string()));
    bytes.extend([0u8; 68].map(|b| b.to_string()));
    bytes.extend(made.agent.map(|b| b.to_string()));
    let mut update = vec!["map", "update", "pinned"];
    let path = text(&header);
    update.extend([path.as_str(), "key", "0", "0", "0", "0", "value"]);
    update.extend(bytes.iter().map(String::as_str));
    bpftool(&update);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::PinnedLayout { .. }), "{error}");
    let said = error.to_string();
    for part in ["0.0.7", env!("CARGO_PKG_VERSION"), "layout", "sentinel detach"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!leftovers(&bpffs.pins()).fits);
    assert!(!pair.ping("10.99.0.1"), "a refused start changed what is in force");

    // The way out that leaves no gap: forget the maps, keep the programs.
    assert!(unpin(&bpffs.pins(), false).unwrap());
    assert!(!pair.ping("10.99.0.1"), "the old programs still judge by the old maps");
    let agent = {
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        kernel.blocks().put_block(far(), &block()).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    assert!(!pair.ping("10.99.0.1"));
    drop(agent);

    // A foreign map beside ours is nobody's business of ours; one in the place of ours is refused.
    let other = bpffs.pins().join("maps/other");
    bpftool(&[
        "map",
        "create",
        &text(&other),
        "type",
        "hash",
        "key",
        "4",
        "value",
        "4",
        "entries",
        "1",
        "name",
        "mine",
    ]);
    drop(start().unwrap());
    assert_eq!(leftovers(&bpffs.pins()).foreign, [other.clone()]);
    let allow6 = bpffs.pins().join("maps/ALLOW6");
    std::fs::remove_file(&allow6).unwrap();
    bpftool(&[
        "map",
        "create",
        &text(&allow6),
        "type",
        "hash",
        "key",
        "4",
        "value",
        "4",
        "entries",
        "1",
        "name",
        "x",
    ]);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::PinnedLayout { .. }), "{error}");
    assert!(error.to_string().contains("ALLOW6"), "{error}");

    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(other.exists() && !header.exists(), "{:?}", leftovers(&bpffs.pins()));
    assert!(pair.ping("10.99.0.1"), "detached");

    // Maps without a header were never an agent's.
    bpftool(&[
        "map",
        "create",
        &text(&allow6),
        "type",
        "hash",
        "key",
        "4",
        "value",
        "4",
        "entries",
        "1",
        "name",
        "x",
    ]);
    let error = start().err().unwrap();
    assert!(matches!(error, KernelError::ForeignPins { .. }), "{error}");
    assert!(error.to_string().contains("kernel.pin_path"), "{error}");
    assert!(!unpin(&bpffs.pins(), true).unwrap());
    assert!(other.exists() && allow6.exists());
}

/// F9: an interface is deleted and made again, 50 times.
#[test]
fn an_interface_that_comes_back_is_protected_again_and_inherits_nothing() {
    const TIMES: usize = 50;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let wanted = ["veth0".to_owned(), "lo".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    kernel.blocks().put_block(far(), &block()).unwrap();
    let mut worst = Duration::ZERO;
    let mut dropped = 0;
    for _ in 0..TIMES {
        ip(&format!("-n {} link del veth0", pair.near));
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        assert_eq!((looks[0].state, looks[1].state), (State::Absent, State::Attached));
        let (interfaces, _) = kernel.counters().read().unwrap();
        let gone = interfaces.iter().find(|i| i.name == "veth0").unwrap();
        assert_eq!(gone.xdp_mode, "none");
        assert!(
            gone.trouble.as_ref().is_some_and(|t| t.cause.contains("veth0")),
            "{gone:?}"
        );
        pair.wire();
        let since = Instant::now();
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        worst = worst.max(since.elapsed());
        assert_eq!((looks[0].state, looks[1].state), (State::Came, State::Attached));
        let socket = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:0").unwrap());
        for _ in 0..3 {
            socket.send_to(b"?", "10.99.0.1:9").unwrap();
        }
        let begin = Instant::now();
        loop {
            let (interfaces, _) = kernel.counters().read().unwrap();
            let back = interfaces.iter().find(|i| i.name == "veth0").unwrap();
            assert_eq!((back.xdp_mode, &back.trouble), ("native", &None));
            let now = back.get(Counter::DropExact);
            assert!(now >= dropped, "counters went backwards");
            if now >= dropped + 3 {
                assert_eq!(now, dropped + 3, "something was counted twice, or inherited");
                dropped = now;
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "not dropped: {back:?}");
        }
    }
    println!("{TIMES} times re-created, re-attached in {worst:?} at most");
    assert!(worst < Duration::from_secs(5));
    assert_eq!(kernel.attached().len(), 2);
    // A slot that was freed counts for its next owner from zero.
    ip(&format!("-n {} link add veth9 type veth peer name veth8", pair.near));
    let third = [wanted[1].clone(), "veth9".to_owned()];
    Pair::inside(&pair.near, || kernel.tend(&third));
    let (interfaces, _) = kernel.counters().read().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["lo", "veth9"]);
    assert_eq!(interfaces[1].get(Counter::DropExact), 0);
}

#[test]
fn a_renamed_interface_stays_protected_until_another_takes_its_name() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let wanted = ["veth0".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    kernel.blocks().put_block(far(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    ip(&format!("-n {} link set veth0 name lan0", pair.near));
    let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
    assert_eq!(looks[0].state, State::Attached);
    assert!(!pair.ping("10.99.0.1"), "renamed, and unprotected");
    let trouble = kernel.counters().read().unwrap().0[0].trouble.clone().unwrap();
    assert!(
        trouble.cause.contains("lan0") && trouble.mend.contains("kernel.interfaces"),
        "{trouble:?}"
    );
    ip(&format!("-n {} link add veth0 type veth peer name veth8", pair.near));
    let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
    assert_eq!(looks[0].state, State::Came);
    assert_eq!(kernel.attached().len(), 1);
    assert!(pair.ping("10.99.0.1"), "lan0 is not what is to be watched");
}

/// An XDP program of somebody else's: an empty one that passes, on a link that ends with the test.
fn foreign_xdp(ns: &str) -> sentinel::kernel::testrun::Floor {
    Pair::inside(ns, || sentinel::kernel::testrun::Floor::attach("veth0")).unwrap()
}

#[test]
fn a_foreign_xdp_program_is_named_and_lived_with() {
    let Some(mut strict) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let foreign = foreign_xdp(&pair.near);
    let watched = ["veth0".to_owned()];
    let error = Pair::inside(&pair.near, || strict.attach(&watched)).unwrap_err();
    assert!(matches!(error, KernelError::ForeignXdp { .. }), "{error}");
    let said = error.to_string();
    let own = format!("process {}", std::process::id());
    for part in [
        "floor_pass",
        "native XDP",
        "loaded by user 0",
        &own,
        "kernel.hook: auto",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    drop(strict);
    let auto = KernelConfig {
        hook: Hook::Auto,
        ..config()
    };
    for tcx in [probe::tcx(), false] {
        let mut kernel = Kernel::load(&auto, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach_with(&watched, tcx)).unwrap();
        let attached = kernel.attached();
        assert_eq!(attached[0].xdp_mode, "tc");
        assert!(
            attached[0]
                .fallback
                .as_ref()
                .is_some_and(|why| why.contains("floor_pass")),
            "{attached:?}"
        );
        assert!(pair.ping("10.99.0.1") && pair.ping("fd99::1"));
        kernel.blocks().put_block(far(), &block()).unwrap();
        assert!(!pair.ping("10.99.0.1") && pair.ping("fd99::1"), "tcx {tcx}");
        let interfaces = kernel.counters().read().unwrap().0;
        assert!(interfaces[0].get(Counter::DropExact) >= 2 && interfaces[0].get(Counter::PassV4) >= 2);
        assert_eq!(interfaces[0].xdp_mode, "tc");
        let on_tc = Pair::inside(&pair.near, || on_tc("veth0"));
        assert!(on_tc.iter().any(|one| one.is_sentinel()), "{on_tc:?}");
        Pair::inside(&pair.near, || drop(kernel));
        assert!(pair.ping("10.99.0.1"), "gone with its agent");
        let left = Pair::inside(&pair.near, || (on_xdp("veth0"), sentinel::kernel::on_tc("veth0")));
        assert_eq!((left.0.len(), left.1.len()), (1, 0), "{left:?}");
    }
    // Freed, the hook is taken again.
    drop(foreign);
    let mut kernel = Kernel::load(&auto, Mode::Production).unwrap();
    Pair::inside(&pair.near, || kernel.attach(&watched)).unwrap();
    assert_eq!(kernel.attached()[0].xdp_mode, "native");
}

#[test]
fn a_foreign_filter_on_tc_stays_where_it_is() {
    let tc = KernelConfig {
        hook: Hook::Tc,
        ..config()
    };
    let Some(mut kernel) = kernel(&tc, Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    ip(&format!("netns exec {} tc qdisc add dev veth0 clsact", pair.near));
    let filter = "filter add dev veth0 ingress protocol ip prio 7 bpf bytecode";
    let added = Command::new("tc")
        .args(["-n", &pair.near])
        .args(filter.split_whitespace())
        .arg("1,6 0 0 4294967295,")
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    for tcx in [probe::tcx(), false] {
        Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], tcx)).unwrap();
        let attached = &kernel.attached()[0];
        assert_eq!(attached.xdp_mode, "tc");
        assert!(
            attached
                .fallback
                .as_deref()
                .is_some_and(|why| why.starts_with("wanted"))
        );
        let there = Pair::inside(&pair.near, || on_tc("veth0"));
        assert!(there.iter().any(|one| one.name == "a bpf filter"), "{there:?}");
        Pair::inside(&pair.near, || kernel.detach());
        let there = Pair::inside(&pair.near, || on_tc("veth0"));
        assert_eq!(there.len(), 1, "{there:?}");
    }
}

#[test]
fn an_upgrade_may_change_the_hook_without_a_gap() {
    if kernel(&config(), Mode::Simulation).is_none() || !probe::tcx() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let start = |hook| {
        let config = KernelConfig { hook, ..pinned(&bpffs) };
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    let mut agent = start(Hook::Xdp);
    let stream = Stream::new();
    stream.beside(&pair, || {
        stream.wait(&stream.got, 100);
        agent.blocks().put_block(far(), &block()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let passed = stream.got.load(Ordering::Relaxed);
        for hook in [Hook::Tc, Hook::Auto, Hook::Tc, Hook::Xdp] {
            stream.wait(&stream.sent, 20);
            drop(agent);
            agent = start(hook);
            let mode = if hook == Hook::Tc { "tc" } else { "native" };
            assert_eq!(agent.attached()[0].xdp_mode, mode);
            let there = Pair::inside(&pair.near, || (on_xdp("veth0").len(), on_tc("veth0").len()));
            assert_eq!(there, if hook == Hook::Tc { (0, 1) } else { (1, 0) });
        }
        stream.wait(&stream.sent, 20);
        assert_eq!(stream.got.load(Ordering::Relaxed), passed);
    });
}

#[test]
fn three_interfaces_are_counted_each_for_itself() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    for (number, name) in [(1, "veth1"), (2, "veth2")] {
        ip(&format!(
            "-n {} link add {name} type veth peer name {name} netns {}",
            pair.near, pair.far
        ));
        for (ns, host) in [(&pair.near, 1), (&pair.far, 2)] {
            ip(&format!("-n {ns} addr add 10.98.{number}.{host}/24 dev {name}"));
            ip(&format!("-n {ns} link set {name} up"));
        }
    }
    let watched = ["veth0", "veth1", "veth2", "absent0"].map(str::to_owned);
    Pair::inside(&pair.near, || kernel.attach_present(&watched)).unwrap();
    kernel
        .blocks()
        .put_block("10.98.1.2/32".parse().unwrap(), &block())
        .unwrap();
    assert!(pair.ping("10.99.0.1") && pair.ping("10.98.2.1") && !pair.ping("10.98.1.1"));
    let interfaces = kernel.counters().read().unwrap().0;
    let of = |name: &str| interfaces.iter().find(|i| i.name == name).unwrap();
    assert!(of("veth1").get(Counter::DropExact) >= 2);
    assert_eq!(of("veth0").get(Counter::DropV4) + of("veth2").get(Counter::DropV4), 0);
    assert!(of("veth0").get(Counter::PassV4) >= 2 && of("veth2").get(Counter::PassV4) >= 2);
    assert_eq!(of("absent0").xdp_mode, "none");
    let error = Pair::inside(&pair.near, || kernel.attach_present(&["absent0".into()])).unwrap_err();
    assert!(matches!(error, KernelError::NoInterface { .. }), "{error}");
}
