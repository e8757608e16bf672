//! The tables under pressure: every packet a new flow, a big table read out, a source limited.

use crate::Plan;
use crate::figures::{Book, median};
use crate::frames::{Kind, frame, listed_v4};
use crate::path::{config, draw, drop_entry, product};
use crate::run;
use crate::yard::{Draw, Yard};
use anyhow::{Result, ensure};
use sentinel::config::KernelConfig;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{ACTION_LIMIT, ACTION_WATCH, BlockEntry};
use sentinel_common::names::PROG_XDP;
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

const PASS: u32 = 2;
/// Flows that stand while the flood goes on.
const ESTABLISHED: u32 = 10_000;
/// The first of the flood's sources; those before it are the established ones.
const FLOOD: u32 = 1 << 20;

pub(crate) fn run(plan: &Plan, book: &mut Book) -> Result<()> {
    flood(plan, book)?;
    limit(plan, book)?;
    sweep(plan, book)
}

/// Sources none of which comes twice in a run of any length here.
fn everyone() -> Draw {
    draw(FLOOD, 0x3f00_0000)
}

/// The empty program and ours behind the driver, right after one another: (floor, net), ns.
fn pair(yard: &mut Yard, ours: BorrowedFd<'_>, draw: Draw, repeat: u32) -> Result<(f64, f64)> {
    let frame = frame(listed_v4(0), Kind::Udp);
    yard.draw(draw)?;
    yard.next(yard.program("yard_pass")?)?;
    let floor = run::time(yard.shuffle()?, &frame, repeat)?;
    yard.next(ours)?;
    let full = run::time(yard.shuffle()?, &frame, repeat)?;
    ensure!(full.code == PASS, "the program answered {}", full.code);
    Ok((floor.each, full.each - floor.each))
}

/// Every packet is a new flow, and the table is full.
fn flood(plan: &Plan, book: &mut Book) -> Result<()> {
    book.heading("net ns a packet, every packet a new flow, table full");
    let mut kernel = product(&config(1, 0), 1, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let mut yard = Yard::load(1, 0)?;
    let slots = config(1, 0).flow_capacity;
    // Fills the table; what is measured then has to make room first.
    pair(&mut yard, ours.as_fd(), everyone(), 2 * slots)?;
    // Number 0 is listed.
    let sources: Vec<Vec<u8>> = (1..=ESTABLISHED).map(|n| frame(listed_v4(n), Kind::Tcp)).collect();
    let touch = || -> Result<()> {
        // One run each: with more, the kernel rebuilds its dispatcher and waits for a grace period, every time. Two packets in
        // a row, as a connection has.
        for source in &sources {
            run::time(ours.as_fd(), source, 1)?;
            run::time(ours.as_fd(), source, 1)?;
        }
        Ok(())
    };
    touch()?;
    let (mut floors, mut nets) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let draw = Draw {
            // Other sources than the rounds before.
            state: 0x9e37_79b9 ^ (round as u32 + 1),
            ..everyone()
        };
        let (floor, net) = pair(&mut yard, ours.as_fd(), draw, plan.repeat)?;
        floors.push(floor);
        nets.push(net);
        touch()?;
    }
    let net = median(&nets);
    book.cost(
        "sentinel: new flow on every packet",
        net,
        "ns/packet",
        Some(median(&floors)),
    );
    let known: HashSet<Addr> = kernel
        .test_flows(boot_now())?
        .into_iter()
        .map(|(key, _)| key.remote)
        .collect();
    let kept = (1..=ESTABLISHED)
        .filter(|n| known.contains(&Addr::from(listed_v4(*n))))
        .count();
    book.at_most(10, "a new flow on every packet, table full", net, "ns", 250.0);
    let lost = f64::from(ESTABLISHED) - kept as f64;
    book.at_most(10, "established flows lost meanwhile, of 10,000", lost, "flows", 0.0);
    // The same for the textbook, to know what is usual.
    let (mut floors, mut nets) = (Vec::new(), Vec::new());
    let textbook = Yard::load(1, 0)?;
    let textbook = textbook.program("yard_textbook")?;
    pair(&mut yard, textbook, everyone(), 2 * slots)?;
    for round in 0..plan.rounds {
        let draw = Draw {
            state: 0x9e37_79b9 ^ (round as u32 + 1),
            ..everyone()
        };
        let (floor, net) = pair(&mut yard, textbook, draw, plan.repeat)?;
        floors.push(floor);
        nets.push(net);
    }
    let net = median(&nets);
    book.cost(
        "textbook: new flow on every packet",
        net,
        "ns/packet",
        Some(median(&floors)),
    );
    Ok(())
}

/// What the bucket of a limited source adds to a listed source that passes.
fn limit(plan: &Plan, book: &mut Book) -> Result<()> {
    book.heading("net ns a packet, a source that is limited and within its rate");
    let mut kernel = product(&config(1, 0), 1, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let limited = BlockEntry {
        action: ACTION_LIMIT,
        // A rate nobody reaches: both buckets are kept, and nothing is dropped.
        packet_ns: 1,
        byte_ns_q8: 1,
        burst_ms: 4_000_000,
        ..drop_entry()
    };
    let watched = BlockEntry {
        action: ACTION_WATCH,
        ..drop_entry()
    };
    let (one, other): (IpAddr, IpAddr) = (listed_v4(100), listed_v4(101));
    let mut blocks = kernel.blocks();
    blocks.put_block(one.into(), &limited)?;
    blocks.put_block(other.into(), &watched)?;
    let (one, other) = (frame(one, Kind::Tcp), frame(other, Kind::Tcp));
    let (mut floors, mut nets) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let floor = run::time(ours.as_fd(), &other, plan.repeat)?;
        let full = run::time(ours.as_fd(), &one, plan.repeat)?;
        ensure!((floor.code, full.code) == (PASS, PASS), "{floor:?} {full:?}");
        floors.push(floor.each);
        nets.push(full.each - floor.each);
    }
    let net = median(&nets);
    book.cost(
        "sentinel: two buckets, over a listed source that passes",
        net,
        "ns/packet",
        Some(median(&floors)),
    );
    book.at_most(13, "token bucket per source, packets and bytes", net, "ns", 5.0);
    Ok(())
}

/// A big table, all of whose slots are looked at.
fn sweep(plan: &Plan, book: &mut Book) -> Result<()> {
    book.heading(&format!("ms to look at {} flow slots", plan.slots));
    let big = KernelConfig {
        flow_capacity: plan.slots,
        // Nothing turns quiet meanwhile: what is measured is looking.
        report_interval: Duration::from_hours(1),
        ..config(1, 0)
    };
    let mut kernel = product(&big, 1, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let mut yard = Yard::load(1, 0)?;
    pair(&mut yard, ours.as_fd(), everyone(), 2 * plan.slots)?;
    let mut sweep = kernel.sweep();
    let mut times = Vec::new();
    for _ in 0..plan.rounds {
        let began = Instant::now();
        sweep.sweep(boot_now());
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let time = median(&times);
    book.cost(&format!("sweep over {} slots", plan.slots), time, "ms", None);
    let million = time * f64::from(1 << 20) / f64::from(plan.slots);
    book.at_most(9, "a million flow slots read", million, "ms", 5.0);
    Ok(())
}
