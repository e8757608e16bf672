//! What outlives an agent: pinned programs and maps, taken over by the next one or refused by it.

use super::loss::received;
use super::pair::{Ending, Pair, block, far};
use super::*;
use sentinel::config::Hook;
use sentinel::kernel::{leftovers, on_tc, on_xdp, unpin};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_REDIRECT, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names as n;
use sentinel_common::settings::Settings;
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

    pub(crate) fn pins(&self) -> PathBuf {
        self.0.path().join("sentinel")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

pub(crate) fn pinned(bpffs: &Bpffs) -> KernelConfig {
    KernelConfig {
        pin: true,
        pin_path: bpffs.pins(),
        ..config()
    }
}

/// A steady rate of datagrams from `far` to `near`, and how many of them the receiver's stack was handed.
struct Stream {
    stop: AtomicBool,
    sent: AtomicU64,
    got: AtomicU64,
    /// How often the receiver waited in vain.
    idle: AtomicU64,
}

impl Stream {
    const fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            got: AtomicU64::new(0),
            idle: AtomicU64::new(0),
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
                    let came = sink.recv(&mut [0; 64]).is_ok();
                    let count = if came { &self.got } else { &self.idle };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            // Also where `work` fails: the scope waits for both.
            let _end = Ending(&self.stop);
            work()
        })
    }

    fn wait(counter: &AtomicU64, more: u64) {
        let (start, begin) = (counter.load(Ordering::Relaxed), Instant::now());
        while counter.load(Ordering::Relaxed) < start + more {
            assert!(begin.elapsed() < Duration::from_mins(1), "the stream dried up");
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
        Stream::wait(&stream.got, 200);
        let entry = BlockEntry {
            decision: [9; 16],
            ..block()
        };
        agent.blocks().put_block(far(), &entry).unwrap();
        // What was on its way when the block came is read first.
        Stream::wait(&stream.idle, 2);
        let (passed, sent) = (stream.got.load(Ordering::Relaxed), stream.sent.load(Ordering::Relaxed));
        let came = received(&pair);
        for _ in 0..UPGRADES {
            Stream::wait(&stream.sent, 20);
            // The one before ends, as by SIGTERM; its programs go on judging until the next has swapped them.
            drop(agent);
            Stream::wait(&stream.sent, 20);
            agent = start();
        }
        Stream::wait(&stream.sent, 20);
        let leaked = stream.got.load(Ordering::Relaxed) - passed;
        // A veth whose receiver is not given time loses some before anybody judges them.
        let tried = (stream.sent.load(Ordering::Relaxed) - sent).min(received(&pair) - came);
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
        Stream::wait(&stream.got, 200);
        agent
    });
    drop(agent);
    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(!bpffs.pins().exists(), "{:?}", leftovers(&bpffs.pins()).unwrap());
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
        let strange = leftovers(&bpffs.pins()).unwrap().foreign;
        assert_eq!(strange, Vec::<PathBuf>::new());
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
        Stream::wait(&stream.got, 100);
        agent.blocks().put_block(far(), &block()).unwrap();
        Stream::wait(&stream.idle, 2);
        let passed = stream.got.load(Ordering::Relaxed);
        for hook in [Hook::Tc, Hook::Auto, Hook::Tc, Hook::Xdp] {
            Stream::wait(&stream.sent, 20);
            drop(agent);
            agent = start(hook);
            let mode = if hook == Hook::Tc { "tc" } else { "native" };
            assert_eq!(agent.attached()[0].xdp_mode, mode);
            // The kernel ends a link whose pin went when it comes to it (`bpf_link_put`): until then both judge.
            let due = if hook == Hook::Tc { (0, 1) } else { (1, 0) };
            eventually("the hook before to be free", || {
                let there = Pair::inside(&pair.near, || (on_xdp("veth0").len(), on_tc("veth0").len()));
                there == due
            });
        }
        Stream::wait(&stream.sent, 20);
        assert_eq!(stream.got.load(Ordering::Relaxed), passed);
    });
}

/// An agent without `kernel.egress` leaves no egress program of the one before, which would go on dropping.
#[test]
fn an_upgrade_without_egress_takes_the_egress_program_down() {
    if kernel(&config(), Mode::Simulation).is_none() || !probe::tcx() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let links = || -> Vec<String> {
        let files = std::fs::read_dir(bpffs.pins().join("links")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("tcx-egress")).collect()
    };
    for egress in [true, false, true] {
        let config = KernelConfig {
            egress,
            ..pinned(&bpffs)
        };
        let mut agent = Kernel::load(&config, Mode::Production).unwrap();
        Pair::inside(&pair.near, || agent.attach(&["veth0".into()])).unwrap();
        assert_eq!(links().len(), usize::from(egress), "{:?}", links());
    }
}

/// Where an upgrade cannot redirect any more, outcomes say so, and nothing goes to the honeypot of the agent before.
#[test]
fn a_honeypot_of_the_agent_before_is_not_this_ones() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let path = bpffs.pins().join("maps/HONEYPOTS");
    let redirect = BlockEntry {
        action: ACTION_REDIRECT,
        ..block()
    };
    let set = |agent: &mut Kernel| agent.set_honeypot(Some((None, 2222)), None);
    let attach = |agent: &mut Kernel| Pair::inside(&pair.near, || agent.attach(&["veth0".into()])).unwrap();
    let mut agent = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
    set(&mut agent).unwrap();
    attach(&mut agent);
    assert_eq!(agent.blocks().shortfall(far(), &redirect), None);
    assert!(element(&path).iter().any(|byte| *byte != 0));
    drop(agent);

    let without = KernelConfig {
        egress: false,
        ..pinned(&bpffs)
    };
    let mut agent = Kernel::load(&without, Mode::Production).unwrap();
    assert!(
        element(&path).iter().any(|byte| *byte != 0),
        "the programs of the agent before still have theirs"
    );
    assert!(matches!(set(&mut agent), Err(KernelError::Honeypot { .. })));
    let said = agent.blocks().shortfall(far(), &redirect).unwrap();
    assert!(said.contains("dropped") && said.contains("kernel.egress"), "{said}");
    attach(&mut agent);
    assert!(element(&path).iter().all(|byte| *byte == 0));

    // One that was set in this run goes, too, with a word that cannot be carried out.
    let mut agent = kernel(&config(), Mode::Production).unwrap();
    set(&mut agent).unwrap();
    let nowhere = agent.set_honeypot(Some((Some("127.0.0.1".parse().unwrap()), 2222)), None);
    assert!(matches!(nowhere, Err(KernelError::Honeypot { .. })));
    let said = agent.blocks().shortfall(far(), &redirect).unwrap();
    assert!(said.contains("127.0.0.1"), "{said}");
}

pub(crate) fn bpftool(args: &[&str]) {
    let out = Command::new("bpftool").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
}

/// A pinned array's one element, in bytes.
fn element(path: &Path) -> Vec<u8> {
    let out = Command::new("bpftool")
        .args(["-j", "map", "lookup", "pinned"])
        .arg(path)
        .args(["key", "0", "0", "0", "0"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let bytes = json["value"].as_array().unwrap().iter();
    bytes
        .map(|byte| u8::from_str_radix(byte.as_str().unwrap().trim_start_matches("0x"), 16).unwrap())
        .collect()
}

/// The seed and the versions of lists describe what stands in kept maps; the rest is the new agent's to say.
#[test]
fn settings_that_describe_kept_maps_go_on_with_them() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let path = bpffs.pins().join("maps/SETTINGS");
    let start = |mode| {
        let mut kernel = Kernel::load(&pinned(&bpffs), mode).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    };
    start(Mode::Simulation);
    let seed = std::mem::offset_of!(Settings, seed);
    let versions = std::mem::offset_of!(Settings, list_versions);
    let flags = std::mem::offset_of!(Settings, flags);
    let mut bytes = element(&path);
    bytes[seed..seed + 8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    bytes[versions] = 9;
    let written: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let text = path.display().to_string();
    let mut update = vec!["map", "update", "pinned", &text, "key", "0", "0", "0", "0", "value"];
    update.extend(written.iter().map(String::as_str));
    bpftool(&update);
    start(Mode::Production);
    let after = element(&path);
    assert_eq!(after[seed..seed + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((after[versions], after[flags] & 1, bytes[flags] & 1), (9, 1, 0));
}

/// A memory cgroup of a test's own, of either version.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(bytes: u64) -> Option<Self> {
        for (root, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let dir = Path::new(root).join(format!("life-{}", std::process::id()));
            if std::fs::create_dir(&dir).is_err() {
                continue;
            }
            let group = Self(dir);
            if std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn maps_that_do_not_fit_into_the_memory_cgroup_are_refused_with_the_keys() {
    const CHILD: &str = "LIFE_TEST_CGROUP";
    if let Some(group) = std::env::var_os(CHILD) {
        std::fs::write(Path::new(&group).join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let huge = KernelConfig {
            block_capacity: 4_000_000,
            ..config()
        };
        println!("error: {}", Kernel::load(&huge, Mode::Simulation).err().unwrap());
        return;
    }
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    if probe::kernel_version().is_some_and(|version| version < (5, 11, 0)) {
        println!("skipped: this kernel charges maps to locked memory, which root has without limit");
        return;
    }
    let Some(group) = Cgroup::new(128 << 20) else {
        println!("skipped: no memory cgroup can be made here");
        return;
    };
    let out = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "life::maps_that_do_not_fit_into_the_memory_cgroup_are_refused_with_the_keys",
            "--nocapture",
        ])
        .env(CHILD, &group.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    for part in ["no memory for map ", "kernel.*_capacity", "memory limit"] {
        assert!(text.contains(part), "{part}: {out:?}");
    }
}
