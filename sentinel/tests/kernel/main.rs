//! The real programs in the real kernel. Needs root and the kernel object; says so where it cannot run.
#![expect(clippy::unwrap_used, reason = "tests")]

mod accounting;
mod actions;
mod boot;
mod capabilities;
mod conversation;
mod cookies;
mod decoy;
mod elsewhere;
mod exact;
mod features;
mod feeds;
mod flood;
mod foreign;
mod frames;
mod hints;
mod interfaces;
mod life;
mod limits;
mod lists;
mod live;
mod loss;
mod matrix;
mod pair;
mod parity;
mod protected;
mod redirect;
mod reflex;
mod shapes;
mod short;
mod stop;
mod torn;
mod upgrade;
mod upgrades;
mod verdicts;

use sentinel::config::{Config, KernelConfig, Mode, ReflexConfig, SynCookieConfig};
use sentinel::kernel::{Kernel, KernelError, probe};
use sentinel_common::flow::Direction;
use sentinel_common::packet::{PacketMeta, parse_ethernet};
use sentinel_common::slot::WAYS;
use sentinel_common::stat::{COUNTERS, Counter};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A small configuration: tests make many kernels. What the kernel does by itself is quiet but for the tests of it: a
/// handful of sources that send a million frames would not go unnoticed.
fn config() -> KernelConfig {
    let defaults = Config::default().kernel;
    KernelConfig {
        reflex: ReflexConfig {
            enabled: false,
            ..defaults.reflex
        },
        syn_cookies: SynCookieConfig {
            half_open: 1_000_000_000,
            ..defaults.syn_cookies
        },
        block_capacity: 256,
        block_net_capacity: 256,
        flow_capacity: 4096,
        ring_bytes: 1 << 20,
        event_budget: 1_000_000,
        ..defaults
    }
}

/// Says why a test cannot run. Under `cargo xtask test`, which installs what there is to install, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "cannot run: {why}");
    println!("skipped: {why}");
}

/// The programs, loaded; `None`, with the reason printed, where this machine cannot.
fn kernel(config: &KernelConfig, mode: Mode) -> Option<Kernel> {
    if !probe::has_object() {
        skip("no kernel object; `cargo xtask build-ebpf`");
        return None;
    }
    if !probe::missing_capabilities().is_empty() {
        skip("needs root");
        return None;
    }
    match Kernel::load(config, mode) {
        Ok(kernel) => Some(kernel),
        Err(KernelError::Refused { call, .. }) => {
            skip(&format!("this kernel refuses {call}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for what is true soon: a test beside this one that forks holds our descriptors until it executes, and what they
/// keep in the kernel stays until then.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_mins(2), "{what}");
        std::thread::yield_now();
    }
}

/// Keeps the calling thread on one CPU, and its test runs with it: a flow is accounted by the CPU that sees it.
fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

/// Buckets of the flow table, and the tags of the flows in them. The hash has a random seed: which flows meet is luck,
/// and a test that counts each must leave out the one too many.
#[derive(Default)]
struct Buckets(BTreeMap<u32, Vec<u32>>);

impl Buckets {
    /// Lets a new flow in, by a packet of it that comes in; false where `most` others or one of its tag are there.
    fn admit(&mut self, kernel: &Kernel, packet: &PacketMeta, most: usize) -> bool {
        let (bucket, tag) = kernel.test_place(packet, Direction::Ingress).unwrap();
        let tags = self.0.entry(bucket).or_default();
        let room = tags.len() < most && !tags.contains(&tag);
        if room {
            tags.push(tag);
        }
        room
    }

    /// The first `count` of some frames, each of a flow of its own, that have room, `most` to a bucket.
    fn choose(kernel: &Kernel, count: usize, most: usize, frames: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut buckets = Self::default();
        let chosen: Vec<_> = frames
            .filter(|frame| buckets.admit(kernel, &parse_ethernet(&frame.as_slice()).unwrap(), most))
            .take(count)
            .collect();
        assert_eq!(chosen.len(), count);
        chosen
    }
}

/// The agent hands these to tasks of their own.
const fn sendable<T: Send + 'static>() {}
const _: () = {
    sendable::<Kernel>();
    sendable::<sentinel::kernel::BlockMaps>();
    sendable::<sentinel::kernel::ListMaps>();
    sendable::<sentinel::kernel::RingReader>();
    sendable::<sentinel::kernel::FlowSweep>();
    sendable::<sentinel::kernel::Counters>();
};

/// Counters that moved between two readings.
fn moved(before: &[u64; COUNTERS], after: &[u64; COUNTERS]) -> BTreeMap<&'static str, u64> {
    Counter::ALL
        .iter()
        .filter(|counter| after[**counter as usize] != before[**counter as usize])
        .map(|counter| (counter.label(), after[*counter as usize] - before[*counter as usize]))
        .collect()
}
