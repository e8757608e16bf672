//! F3: agents that pin are killed and followed by the next one, under a flood of a blocked source, at any moment.
//!
//! Each agent is a process of its own (this test's executable, told by its environment), ended by SIGKILL: some of them
//! wherever their start has come to.

use super::frames::Rng;
use super::life::Bpffs;
use super::loss::{self, EACH_ANOTHER, Witness, quiet_pair, received, tools};
use super::pair::{Pair, block};
use super::*;
use nix::sys::signal::Signal;
use sentinel::kernel::{leftovers, on_xdp, unpin};
use sentinel::respond::Enforcer;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the pins are; tells a process that it is an agent.
const PINS: &str = "UPGRADES_PINS";
const NAME: &str = "upgrades::agents_killed_at_any_moment_under_a_flood_leave_neither_a_gap_nor_a_remnant";
/// An agent that nobody ends ends.
const LIFETIME: Duration = Duration::from_mins(15);
/// Of a start, on busy processors.
const START: Duration = Duration::from_mins(5);
const LISTED: &str = "192.0.2.7";
const OTHER: &str = "198.51.100.7";

fn listed() -> ipnet::IpNet {
    format!("{LISTED}/32").parse().unwrap()
}

/// What the process does that is an agent.
fn agent(pins: PathBuf) {
    let config = KernelConfig {
        pin: true,
        pin_path: pins,
        ..config()
    };
    let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
    let mut asked = std::io::stdin().lines();
    println!("loaded ");
    asked.next();
    let known = kernel.blocks().get_block(listed()).unwrap();
    if known.is_none() {
        kernel.blocks().put_block(listed(), &block()).unwrap();
    }
    kernel.attach(&["veth0".into()]).unwrap();
    let hits = |kernel: &Kernel| kernel.blocks().get_block(listed()).unwrap().unwrap().hits;
    println!("ready {} {}", known.is_some(), hits(&kernel));
    // Each further line is a question for the hits.
    let begin = Instant::now();
    while begin.elapsed() < LIFETIME && asked.next().is_some() {
        println!("hits {}", hits(&kernel));
    }
}

/// A running agent; killed with its owner.
struct Agent {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Agent {
    fn spawn(pair: &Pair, pins: &Path) -> Self {
        let mut process = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", pair.near))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(PINS, pins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    /// What follows a word on a line of its own, or behind the name of the test.
    fn hears(&mut self, word: &str) -> String {
        let begin = Instant::now();
        loop {
            let mut line = String::new();
            assert!(
                self.said.read_line(&mut line).unwrap() > 0,
                "the agent ended without `{word}`"
            );
            assert!(begin.elapsed() < START, "no `{word}`");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Lets it go on.
    fn nod(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits until its programs are loaded, has them put in the place of the former, and says what it found.
    fn takes_over(&mut self, flood: Option<&mut Flood>) -> String {
        self.hears("loaded ");
        if let Some(flood) = flood {
            flood.go_on();
            std::thread::sleep(Duration::from_millis(30));
        }
        self.nod();
        self.hears("ready ")
    }

    fn hits(&mut self) -> u64 {
        self.nod();
        self.hears("hits ").parse().unwrap()
    }

    /// Ids of programs and maps it holds (`/proc/PID/fdinfo`).
    fn held(&self) -> Held {
        let mut held = Held::default();
        for file in std::fs::read_dir(format!("/proc/{}/fdinfo", self.process.id())).unwrap() {
            let info = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            for line in info.lines() {
                let id = |name: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
                held.programs.extend(id("prog_id:"));
                held.maps.extend(id("map_id:"));
            }
        }
        held
    }

    /// Resident, MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, Default)]
struct Held {
    programs: BTreeSet<u64>,
    maps: BTreeSet<u64>,
}

/// All the kernel has of a kind.
fn all(kind: &str) -> BTreeSet<u64> {
    let out = Command::new("bpftool").args(["-j", kind, "show"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    json.as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_u64())
        .collect()
}

/// A flood that goes on until it is dropped, and never beyond `packets`; it can be held for a while.
struct Flood {
    trafgen: Child,
    running: Option<Instant>,
    took: Duration,
    _dir: tempfile::TempDir,
}

impl Flood {
    fn start(pair: &Pair, packets: u64) -> Self {
        let (dir, file) = loss::frame(pair, LISTED, EACH_ANOTHER);
        let trafgen = Command::new("ip")
            .args(["netns", "exec", &pair.far, "trafgen", "--no-sock-mem", "--cpus", "1"])
            .args(["--dev", "veth0", "--num", &packets.to_string(), "--conf"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // It works through a child, which goes with the group.
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            trafgen,
            running: Some(Instant::now()),
            took: Duration::ZERO,
            _dir: dir,
        }
    }

    fn signal(&self, signal: Signal) {
        let group = nix::unistd::Pid::from_raw(self.trafgen.id() as i32);
        let _ = nix::sys::signal::killpg(group, signal);
    }

    fn go_on(&mut self) {
        if self.running.is_none() {
            self.running = Some(Instant::now());
            self.signal(Signal::SIGCONT);
        }
    }

    fn hold(&mut self) {
        if let Some(since) = self.running.take() {
            self.signal(Signal::SIGSTOP);
            self.took += since.elapsed();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.trafgen.wait();
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn agents_killed_at_any_moment_under_a_flood_leave_neither_a_gap_nor_a_remnant() {
    if let Some(pins) = std::env::var_os(PINS) {
        return agent(pins.into());
    }
    if !tools(&["trafgen", "nft", "bpftool", "nsenter"]) || kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let upgrades = number("UPGRADES", 3);
    let mut rng = Rng(number("UPGRADES_SEED", 1).max(1));
    let (pair, bpffs) = (quiet_pair(), Bpffs::new());
    let witness = Witness::new(&pair.near);
    // Positive control: before the block they pass.
    loss::flood(&pair, LISTED, "7", 100);
    // A veth whose receiver is not given time loses some before they come in.
    let mut control = 0;
    eventually("unlisted packets to pass", || {
        let now = witness.count("listed");
        std::thread::sleep(Duration::from_secs(2));
        std::mem::replace(&mut control, now) == now && now > 50
    });

    let mut current = Agent::spawn(&pair, &bpffs.pins());
    assert!(current.takes_over(None).starts_with("false"));
    let (first, begun) = (current.memory(), received(&pair));
    let mut flood = Flood::start(&pair, 2_000_000 * (upgrades + 10));
    let mut former = current.held();
    let (mut starts, mut struck) = (Vec::new(), 0);
    for round in 0..upgrades {
        drop(current);
        if round % 8 == 1 {
            // Another, which does not get far.
            let mut doomed = Agent::spawn(&pair, &bpffs.pins());
            doomed.nod();
            if rng.one_in(4) {
                flood.go_on();
            }
            let usual = starts.iter().sum::<Duration>() / u32::try_from(starts.len()).unwrap();
            std::thread::sleep(usual * rng.below(1000) as u32 / 1000);
            let held = doomed.held();
            former.programs.extend(held.programs);
            former.maps.extend(held.maps);
            struck += 1;
        }
        if round % 16 > 0 {
            // Verifying programs beside a flood takes a machine of two processors seconds; the swap is what matters.
            flood.hold();
        }
        let start = Instant::now();
        current = Agent::spawn(&pair, &bpffs.pins());
        let found = current.takes_over(Some(&mut flood));
        assert!(found.starts_with("true"), "round {round}: the block was forgotten");
        starts.push(start.elapsed());
        let held = current.held();
        former.programs.extend(held.programs);
        former.maps.extend(held.maps);
        if round % 10 == 3 {
            // Who is not listed passes all the while.
            let before = witness.count("other");
            loss::flood(&pair, OTHER, "7", 50);
            eventually("somebody else to pass", || witness.count("other") > before);
        }
        assert_eq!(witness.count("listed"), control, "round {round}: it got through");
        if round % 50 == 49 {
            println!("{} upgrades, nothing got through", round + 1);
        }
    }
    flood.hold();
    let took = flood.took;
    drop(flood);
    let mut came = 0;
    eventually("the flood to end", || {
        let now = received(&pair);
        std::thread::sleep(Duration::from_secs(2));
        std::mem::replace(&mut came, now) == now
    });
    let came = came - begun - witness.count("other");
    let hits = current.hits();
    assert_eq!(witness.count("listed"), control, "it got through");
    assert_eq!(hits, came, "every packet of it is one hit, whoever counted");

    let (held, last) = (current.held(), current.memory());
    former.programs.retain(|id| !held.programs.contains(id));
    former.maps.retain(|id| !held.maps.contains(id));
    eventually("programs and maps of former agents to go", || {
        former.programs.is_disjoint(&all("prog")) && former.maps.is_disjoint(&all("map"))
    });
    let there = Pair::inside(&pair.near, || on_xdp("veth0").len());
    assert_eq!(there, 1);
    let left = leftovers(&bpffs.pins()).unwrap();
    assert!(
        left.fits && left.foreign.is_empty() && left.interfaces.len() == 1,
        "{left:?}"
    );

    drop(current);
    starts.sort();
    println!("figure: upgrades = {upgrades} agents");
    println!("figure: killed on their way in beside = {struck} agents");
    println!("figure: flood = {:.0} packets/s", came as f64 / took.as_secs_f64());
    println!("figure: packets of the blocked source that came in = {came} packets");
    println!("figure: packets of it behind the gate = 0 packets");
    println!("figure: programs and maps of former agents left = 0 objects");
    println!(
        "figure: programs and maps seen = {} objects",
        former.programs.len() + former.maps.len() + held.maps.len()
    );
    println!("figure: memory of the first agent = {first:.1} MiB");
    println!("figure: memory of the last agent = {last:.1} MiB");
    println!(
        "figure: start, median = {:.0} ms",
        starts[starts.len() / 2].as_secs_f64() * 1e3
    );
    assert!(last < first + 16.0, "{first} MiB before, {last} MiB now");
    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(!bpffs.pins().exists(), "{:?}", leftovers(&bpffs.pins()).unwrap());
    // And after it, they pass again.
    eventually("the programs to go", || {
        loss::flood(&pair, LISTED, "7", 10);
        witness.count("listed") > control
    });
}
