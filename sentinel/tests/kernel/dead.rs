//! F4: with the agent dead its blocks end by the kernel's clock, as the receiver sees it.

use super::life::{Bpffs, pinned};
use super::pair::{Pair, block, far};
use super::*;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::BlockEntry;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells a process that it is the agent, and where its pins are.
const PINS: &str = "DEAD_AGENT_PINS";
const NAME: &str = "dead::a_block_of_a_dead_agent_ends_when_it_said";
const LENGTH: Duration = Duration::from_secs(2);
/// The kernel looks at its clock once a jiffy.
const EARLY_NS: u64 = 10_000_000;
const LATE_NS: u64 = 50_000_000;

fn agent(pins: std::path::PathBuf) {
    let config = KernelConfig {
        pin: true,
        pin_path: pins,
        ..config()
    };
    let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
    kernel.attach(&["veth0".into()]).unwrap();
    let expires_ns = boot_now().after(LENGTH).0;
    kernel
        .blocks()
        .put_block(far(), &BlockEntry { expires_ns, ..block() })
        .unwrap();
    println!("expires {expires_ns}");
    std::thread::sleep(Duration::from_mins(1));
}

/// Runs an agent until its block stands, and kills it; when the block ends.
fn killed(pair: &Pair, bpffs: &Bpffs) -> u64 {
    let mut process = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", pair.near))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(PINS, bpffs.pins())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| Some(line.unwrap().split_once("expires ")?.1.to_owned()));
    process.kill().unwrap();
    process.wait().unwrap();
    line.expect("the agent ended before it had blocked")
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_block_of_a_dead_agent_ends_when_it_said() {
    if let Some(pins) = std::env::var_os(PINS) {
        return agent(pins.into());
    }
    if kernel(&config(), Mode::Simulation).is_none() || !loss::tools(&["nsenter"]) {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let sink = Pair::inside(&pair.near, || UdpSocket::bind("10.99.0.1:7401").unwrap());
    sink.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let source = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:7400").unwrap());
    // Neighbours know each other, and it passes before the block.
    source.send_to(&0u64.to_ne_bytes(), "10.99.0.1:7401").unwrap();
    sink.recv(&mut [0; 8]).unwrap();
    let expires = killed(&pair, &bpffs);
    assert!(boot_now().0 < expires, "the machine is too slow to be told anything");
    let mut sent = Vec::new();
    let (first, arrived) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut word = [0; 8];
            sink.recv(&mut word).expect("the block never ended");
            (u64::from_ne_bytes(word), boot_now().0)
        });
        while !receiver.is_finished() && boot_now().0 < expires + 3_000_000_000 {
            let now = boot_now().0;
            source.send_to(&now.to_ne_bytes(), "10.99.0.1:7401").unwrap();
            sent.push(now);
            std::thread::sleep(Duration::from_millis(1));
        }
        receiver.join().unwrap()
    });
    let before = sent
        .iter()
        .filter(|at| **at < first)
        .max()
        .expect("it held for a while");
    let (early, late) = (expires.saturating_sub(arrived), before.saturating_sub(expires));
    println!(
        "figure: the latest that was dropped was sent after the end = {:.1} ms",
        late as f64 / 1e6
    );
    println!(
        "figure: the first that passed came before the end = {:.1} ms",
        early as f64 / 1e6
    );
    assert!(
        sent.iter().filter(|at| **at < expires).count() > 20,
        "too few to show that it held"
    );
    assert!(early <= EARLY_NS, "{early} ns early");
    assert!(late <= LATE_NS, "{late} ns late");
    let left = pinned(&bpffs);
    assert!(sentinel::kernel::unpin(&left.pin_path, true).unwrap());
}
