//! The kernel programs against the rooms of user space, on frames at random: the same reading of the packet, the same
//! verdict, the same counters, the same hits.
//!
//! `PARITY_PACKETS` and `PARITY_SEED` set how many and which; `cargo xtask prove parity` does. A frame that tells them apart is
//! made as small as it goes and kept below `tests/fixtures/fuzz`, where every run begins.

mod corpus;
mod generate;

use crate::{config, kernel, moved};
use generate::Generator;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sentinel::config::{KernelConfig, Mode};
use sentinel::kernel::{BlockMaps, Kernel, probe};
use sentinel::replay::ModelGate;
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};
use sentinel_common::verdict::Verdict;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Frames of a run where nothing else is asked for.
const PACKETS: u64 = 200_000;
/// Frames between two changes of the lists.
const EPOCH: u64 = 5_000;
/// The CPU this test stays on, so that it knows whose record to read.
const CPU: usize = 0;
/// Lengths of prefixes. Four, because the kernel looks below an expired one no more often than that.
const LENGTHS4: [u8; 4] = [8, 16, 24, 30];
const LENGTHS6: [u8; 4] = [32, 48, 64, 125];

type Moves = BTreeMap<&'static str, u64>;

/// Both sides.
struct Sides {
    kernel: Kernel,
    blocks: BlockMaps,
    model: ModelGate,
    program: &'static str,
    enforce: bool,
    /// Plain packets take the short way, which leaves no reading behind.
    short: bool,
}

impl Sides {
    fn new(kernel: Kernel) -> Self {
        let blocks = kernel.blocks();
        Self {
            kernel,
            blocks,
            model: ModelGate::new(4096, 4096, true),
            program: PROG_XDP,
            enforce: true,
            short: false,
        }
    }

    fn take_short(&mut self, short: bool) {
        self.short = short;
        self.kernel.test_short(short).unwrap();
    }

    /// Other lists, another mode, the other program.
    fn change(&mut self, generator: &mut Generator, epoch: u64) {
        for (net, _) in self.blocks.list_blocks().unwrap() {
            self.blocks.delete_block(net).unwrap();
        }
        for (net, _) in self.blocks.list_allows().unwrap() {
            self.blocks.delete_allow(net).unwrap();
        }
        self.enforce = !generator.rng.one_in(4);
        self.kernel.set_enforce(self.enforce).unwrap();
        self.model = ModelGate::new(4096, 4096, self.enforce);
        self.program = if epoch % 2 == 1 && probe::multi_buffer() {
            PROG_XDP_FRAGS
        } else {
            PROG_XDP
        };
        self.take_short(epoch / 2 % 2 == 1);
        let entries = generator.rng.below(60);
        for _ in 0..entries {
            let net = net(generator);
            let entry = BlockEntry {
                expires_ns: generator.rng.pick(&[NEVER_NS, NEVER_NS, NEVER_NS, 1]),
                action: ACTION_DROP,
                flags: generator.rng.pick(&[0, 0, FLAG_SHADOW]),
                prefix_len: net.prefix_len(),
                decision: [1; 16],
                ..BlockEntry::default()
            };
            self.blocks.put_block(net, &entry).unwrap();
            self.model.put_block(net, &entry).unwrap();
        }
        for _ in 0..generator.rng.below(6) {
            let net = net(generator);
            let entry = AllowEntry {
                expires_ns: generator.rng.pick(&[NEVER_NS, NEVER_NS, 1]),
                prefix_len: net.prefix_len(),
                ..AllowEntry::default()
            };
            self.blocks.put_allow(net, &entry).unwrap();
            self.model.put_allow(net, &entry).unwrap();
        }
        // Taken away again, so that what is left of them shows.
        for _ in 0..generator.rng.below(20) {
            let net = net(generator);
            let gone = self.blocks.delete_block(net).unwrap().is_some();
            assert_eq!(gone, self.model.delete_block(net).unwrap().is_some(), "{net}");
        }
    }

    /// What user space makes of a frame: the reading, the XDP code, and the counters that move.
    fn expect(&mut self, frame: &[u8]) -> (Result<PacketMeta, ParseError>, u32, Moves) {
        let bytes = frame.len() as u64;
        let parsed = parse_ethernet(&frame);
        let mut moves = Moves::new();
        let meta = match &parsed {
            Ok(meta) => meta,
            Err(error) => {
                let hidden = error.hides_source() && self.enforce;
                moves.insert(reason(*error), 1);
                let (packets, octets) = if hidden {
                    ("drop_hidden", "drop_hidden_bytes")
                } else {
                    ("pass_other", "pass_other_bytes")
                };
                moves.extend([(packets, 1), (octets, bytes)]);
                return (parsed, if hidden { 1 } else { 2 }, moves);
            }
        };
        if meta.too_deep {
            moves.insert("too_deep", 1);
        }
        let (verdict, _) = self.model.judge(meta, bytes, 2);
        let (packets, octets) = match (verdict.drops(), meta.ip_version == 4) {
            (true, true) => ("drop_v4", "drop_v4_bytes"),
            (true, false) => ("drop_v6", "drop_v6_bytes"),
            (false, true) => ("pass_v4", "pass_v4_bytes"),
            (false, false) => ("pass_v6", "pass_v6_bytes"),
        };
        moves.extend([(packets, 1), (octets, bytes)]);
        if verdict != Verdict::Pass {
            moves.insert(verdict.as_str(), 1);
        }
        (parsed, if verdict.drops() { 1 } else { 2 }, moves)
    }

    /// One frame by itself; says how the two differ.
    fn differ(&mut self, frame: &[u8]) -> Option<String> {
        let before = self.kernel.test_counters().unwrap();
        let (parsed, code, moves) = self.expect(frame);
        let told = self.compare(frame, parsed.as_ref().ok(), code);
        told.or_else(|| {
            let seen = relevant(moved(&before, &self.kernel.test_counters().unwrap()));
            (seen != moves).then(|| format!("counters: kernel {seen:?}, user space {moves:?}"))
        })
    }

    /// Runs the program on a frame: its answer and its reading of it.
    fn compare(&mut self, frame: &[u8], meta: Option<&PacketMeta>, code: u32) -> Option<String> {
        let answer = self.kernel.test_run(self.program, frame, 1).unwrap().code;
        if answer != code {
            return Some(format!("verdict: kernel {answer}, user space {code}"));
        }
        if self.short {
            return None;
        }
        let read = self.kernel.test_meta(CPU);
        match (meta, read) {
            (Some(meta), Ok(read)) if *meta != read => Some(format!("reading: kernel {read:?}, user space {meta:?}")),
            (Some(_), Err(error)) => Some(format!("reading: {error}")),
            _ => None,
        }
    }

    /// What the entries met, on both sides.
    fn hits_differ(&self) -> Option<String> {
        let facts = |entries: Vec<(IpNet, BlockEntry)>| -> BTreeMap<IpNet, [u64; 4]> {
            entries
                .into_iter()
                .map(|(net, e)| (net, [e.hits, e.hit_bytes, e.would_hits, e.would_bytes]))
                .collect()
        };
        let kernel = facts(self.blocks.list_blocks().unwrap());
        let model = facts(self.model.list_blocks().unwrap());
        (kernel != model).then(|| format!("entries: kernel {kernel:?}, user space {model:?}"))
    }
}

/// A prefix, mostly of few sources.
fn net(generator: &mut Generator) -> IpNet {
    let exact = generator.rng.one_in(2);
    if generator.rng.one_in(2) {
        let length = if exact { 32 } else { generator.rng.pick(&LENGTHS4) };
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(generator.source4()), length)).trunc()
    } else {
        let mut address = generator.source6();
        address[0] = 0xfd;
        let length = if exact { 128 } else { generator.rng.pick(&LENGTHS6) };
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), length)).trunc()
    }
}

const fn reason(error: ParseError) -> &'static str {
    match error {
        ParseError::NotIp => "not_ip",
        ParseError::Truncated => "truncated",
        ParseError::Malformed | ParseError::Mapped => "malformed",
        ParseError::TooDeep => "too_deep",
    }
}

/// Counters of reading and judging. What flows and the ring make of it is proved elsewhere, and expired entries are met
/// in an order that is the kernel's own.
fn relevant(mut moved: Moves) -> Moves {
    moved.retain(|label, _| !label.starts_with("event_") && !label.starts_with("flow_") && *label != "expired");
    moved
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Ends the test with the smallest frame that still tells the sides apart, and keeps it.
fn fail(sides: &mut Sides, frame: &[u8], seed: u64, at: u64, why: &str) -> ! {
    let small = corpus::minimised(frame, |frame| sides.differ(frame).is_some());
    let told = sides.differ(&small).unwrap_or_else(|| why.to_owned());
    let file = corpus::keep(&small, seed, &told);
    panic!(
        "seed {seed}, frame {at}: {why}\n{}\nat its smallest: {}\n{told}\nkept as {}",
        corpus::hex(frame),
        corpus::hex(&small),
        file.display()
    );
}

#[test]
fn the_kernel_and_user_space_agree() {
    // Flows are many, and here beside the point.
    let quiet = KernelConfig {
        report_interval: Duration::from_hours(24),
        ..config()
    };
    let Some(kernel) = kernel(&quiet, Mode::Production) else {
        return;
    };
    let mut set = nix::sched::CpuSet::new();
    set.set(CPU).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
    let seed = number("PARITY_SEED").unwrap_or_else(|| sentinel::time::boot_now().0);
    let packets = number("PARITY_PACKETS").unwrap_or(PACKETS);
    let mut generator = Generator::new(seed);
    let mut sides = Sides::new(kernel);
    println!(
        "PARITY_SEED={seed}: {packets} frames, {} real ones known",
        generator.known()
    );
    for (name, frame) in corpus::frames() {
        for (enforce, short) in [(true, false), (false, true), (true, true)] {
            sides.take_short(short);
            sides.enforce = enforce;
            sides.kernel.set_enforce(enforce).unwrap();
            sides.model = ModelGate::new(1, 1, enforce);
            assert_eq!(sides.differ(&frame), None, "{}", name.display());
        }
    }
    let began = Instant::now();
    let (mut done, mut parsed, mut dropped) = (0, 0, 0);
    while done < packets {
        sides.change(&mut generator, done / EPOCH);
        let before = sides.kernel.test_counters().unwrap();
        let mut expected = Moves::new();
        let mut frames = Vec::new();
        for _ in 0..EPOCH.min(packets - done) {
            let frame = generator.frame();
            let (meta, code, moves) = sides.expect(&frame);
            if let Some(why) = sides.compare(&frame, meta.as_ref().ok(), code) {
                fail(&mut sides, &frame, seed, done, &why);
            }
            for (label, n) in moves {
                *expected.entry(label).or_insert(0) += n;
            }
            done += 1;
            parsed += u64::from(meta.is_ok());
            dropped += u64::from(code == 1);
            frames.push(frame);
        }
        let seen = relevant(moved(&before, &sides.kernel.test_counters().unwrap()));
        let why = (seen != expected)
            .then(|| format!("counters: kernel {seen:?}, user space {expected:?}"))
            .or_else(|| sides.hits_differ());
        if let Some(why) = why {
            for frame in frames {
                if let Some(one) = sides.differ(&frame) {
                    fail(&mut sides, &frame, seed, done, &one);
                }
            }
            panic!("seed {seed}, before frame {done}: {why}");
        }
    }
    let took = began.elapsed().as_secs_f64();
    for (name, value, unit) in [
        ("frames", done as f64, ""),
        ("differences", 0.0, ""),
        ("frames a second", (done as f64 / took).round(), "1/s"),
        ("parsed", parsed as f64, ""),
        ("dropped", dropped as f64, ""),
    ] {
        println!("figure: {name} = {value} {unit}");
    }
    // A generator gone astray would prove nothing.
    assert!(
        parsed * 2 > done && dropped * 50 > done,
        "{parsed} parsed, {dropped} dropped of {done}"
    );
}
