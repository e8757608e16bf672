//! What a packet costs in the kernel: the real programs by `BPF_PROG_TEST_RUN`, net of an empty program run in turn.
//!
//! Arguments: `--json FILE` for a list of figures, `--quick` for fewer rounds and no million entries.

use anyhow::{Context, Result};
use sentinel::config::{Config, KernelConfig, Mode};
use sentinel::kernel::{Kernel, probe};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names::{PROG_FLOOR_DROP, PROG_FLOOR_PASS, PROG_XDP};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Serialize)]
struct Figure {
    suite: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    better: &'static str,
    floor: f64,
    ratio: f64,
}

struct Plan {
    rounds: usize,
    repeat: u32,
    entries: Vec<u32>,
    json: Option<PathBuf>,
}

fn plan() -> Plan {
    let mut plan = Plan {
        rounds: 9,
        repeat: 1_000_000,
        entries: vec![1, 10_000, 1_000_000],
        json: None,
    };
    if std::env::args().len() == 1 {
        // Run as a test, without `cargo bench` and without arguments: only whether it works.
        (plan.rounds, plan.repeat, plan.entries) = (1, 1000, vec![1]);
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => plan.json = args.next().map(PathBuf::from),
            "--quick" => {
                plan.rounds = 3;
                plan.entries.pop();
            }
            _ => {}
        }
    }
    plan
}

fn main() -> Result<()> {
    let plan = plan();
    if !probe::has_object() {
        println!("skipped: no kernel object; run `cargo xtask build-ebpf` and build again");
        return Ok(());
    }
    if !probe::missing_capabilities().is_empty() {
        println!("skipped: needs {}", probe::missing_capabilities().join(" and "));
        return Ok(());
    }
    if probe::run_time_stats() {
        println!("note: kernel.bpf_stats_enabled is on and adds two clock reads to every figure");
    }
    let mut figures = Vec::new();
    println!(
        "{:<44} {:>9} {:>9} {:>7}",
        "ns a packet, median", "net", "floor", "ratio"
    );
    for &entries in &plan.entries {
        measure(&plan, entries, &mut figures)?;
    }
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A frame to be measured, and what the program must answer.
struct Subject {
    name: String,
    frame: Vec<u8>,
    blocked: bool,
    net: Vec<f64>,
    floor: Vec<f64>,
}

fn measure(plan: &Plan, entries: u32, figures: &mut Vec<Figure>) -> Result<()> {
    let config = KernelConfig {
        block_capacity: entries + 1,
        // The steady path: what a report costs is the ring's matter.
        report_interval: Duration::from_hours(1),
        ..Config::default().kernel
    };
    let mut kernel = Kernel::load(&config, Mode::Production)?;
    fill(&kernel, entries)?;
    let mut subjects = subjects(entries);
    for _ in 0..plan.rounds {
        for subject in &mut subjects {
            let floor = if subject.blocked {
                PROG_FLOOR_DROP
            } else {
                PROG_FLOOR_PASS
            };
            let floor = kernel.test_run(floor, &subject.frame, plan.repeat)?;
            let full = kernel.test_run(PROG_XDP, &subject.frame, plan.repeat)?;
            anyhow::ensure!(full.code == floor.code, "{}: verdict {}", subject.name, full.code);
            let nanos = |time: Duration| time.as_nanos() as f64;
            subject.floor.push(nanos(floor.each));
            subject.net.push(nanos(full.each) - nanos(floor.each));
        }
    }
    for mut subject in subjects {
        let (value, floor) = (median(&mut subject.net), median(&mut subject.floor));
        let ratio = (value + floor) / floor;
        println!("{:<44} {value:>9.1} {floor:>9.1} {ratio:>7.2}", subject.name);
        figures.push(Figure {
            suite: "kernel",
            name: subject.name,
            value,
            unit: "ns/packet",
            better: "lower",
            floor,
            ratio,
        });
    }
    Ok(())
}

/// The middle of an odd number of values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Listed sources, scattered over the address space as real lists are, and the allowlist every host has.
fn fill(kernel: &Kernel, entries: u32) -> Result<()> {
    let mut blocks = kernel.blocks();
    let block = BlockEntry {
        expires_ns: NEVER_NS,
        action: ACTION_DROP,
        ..BlockEntry::default()
    };
    for n in 0..entries {
        blocks.put_block(listed_v4(n).into(), &block)?;
        blocks.put_block(listed_v6(n).into(), &block)?;
    }
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    for net in [
        "127.0.0.0/8",
        "10.0.0.1/32",
        "10.0.0.254/32",
        "169.254.0.0/16",
        "::1/128",
        "fe80::/10",
        "fd00::1/128",
    ] {
        blocks.put_allow(net.parse()?, &allow)?;
    }
    Ok(())
}

fn listed_v4(n: u32) -> IpAddr {
    // An odd multiplier permutes the numbers; the first octet stays clear of what is special.
    let scattered = n.wrapping_mul(0x9e37_79b1) & 0x3fff_ffff;
    IpAddr::V4(Ipv4Addr::from(0x4000_0000 | scattered))
}

fn listed_v6(n: u32) -> IpAddr {
    let scattered = u128::from(n.wrapping_mul(0x9e37_79b1));
    IpAddr::V6(Ipv6Addr::from(
        0x2001_0db8_0000_0000_0000_0000_0000_0000 | scattered << 64 | scattered,
    ))
}

fn subjects(entries: u32) -> Vec<Subject> {
    let middle = entries / 2;
    let mut all = Vec::new();
    for blocked in [true, false] {
        for (family, listed, other) in [
            ("IPv4", listed_v4(middle), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))),
            (
                "IPv6",
                listed_v6(middle),
                IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 9)),
            ),
        ] {
            for (kind, proto, vlan) in [("TCP", 6, false), ("UDP", 17, false), ("VLAN TCP", 6, true)] {
                let source = if blocked { listed } else { other };
                let verdict = if blocked { "blocked" } else { "passed" };
                all.push(Subject {
                    name: format!("{verdict} {family} {kind}, {entries} listed"),
                    frame: frame(source, proto, vlan),
                    blocked,
                    net: Vec::new(),
                    floor: Vec::new(),
                });
            }
        }
    }
    all
}

/// A small frame: TCP with ACK, or UDP, with 20 bytes of payload.
fn frame(source: IpAddr, proto: u8, vlan: bool) -> Vec<u8> {
    let mut l4 = vec![0x9c, 0x40, 0x01, 0xbb];
    if proto == 6 {
        l4.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        l4.extend([0, 28, 0, 0]);
    }
    l4.extend([0x55; 20]);
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if vlan {
        out.extend([0x81, 0x00, 0x00, 0x07]);
    }
    match source {
        IpAddr::V4(source) => {
            out.extend([0x08, 0x00, 0x45, 0]);
            out.extend((20 + l4.len() as u16).to_be_bytes());
            out.extend([0, 1, 0x40, 0, 64, proto, 0, 0]);
            out.extend(source.octets());
            out.extend([10, 0, 0, 1]);
        }
        IpAddr::V6(source) => {
            out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend((l4.len() as u16).to_be_bytes());
            out.extend([proto, 64]);
            out.extend(source.octets());
            out.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        }
    }
    out.extend(l4);
    out
}
