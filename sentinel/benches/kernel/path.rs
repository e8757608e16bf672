//! What a packet costs: blocked and passed, by family, shape and length of the list, beside the yardsticks.

use crate::Plan;
use crate::figures::{Book, median};
use crate::filter::Filter;
use crate::frames::{self, BASE, Kind, MASK, PREFIX, frame, listed_v4, listed_v6};
use crate::run;
use crate::yard::{Draw, Yard};
use anyhow::{Result, ensure};
use sentinel::config::{Config, KernelConfig, Mode};
use sentinel::kernel::Kernel;
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names::PROG_XDP;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const DROP: u32 = 1;
const PASS: u32 = 2;
/// Length of the list most figures are for.
const LIST: u32 = 10_000;
/// Listed prefixes, where there are any.
const PREFIXES: u32 = 10_000;

/// The allowlist every host has.
const ALLOWED: [&str; 7] = [
    "127.0.0.0/8",
    "10.0.0.1/32",
    "10.0.0.254/32",
    "169.254.0.0/16",
    "::1/128",
    "fe80::/10",
    "fd00::1/128",
];

/// A program on a frame, and what it must answer.
struct Cell<'a> {
    name: String,
    program: BorrowedFd<'a>,
    frame: Vec<u8>,
    code: u32,
    /// Sources that the frame changes among with every run.
    draw: Option<Draw>,
}

/// Net costs in ns, by the name of the cell.
pub(crate) type Costs = HashMap<String, f64>;

pub(crate) fn run(plan: &Plan, book: &mut Book) -> Result<()> {
    let mut costs = Costs::new();
    for &entries in &plan.entries {
        book.heading(&format!("net ns a packet, {entries} listed"));
        lists(plan, book, entries, &mut costs)?;
    }
    book.heading(&format!("net ns a packet, {LIST} and {PREFIXES} prefixes listed"));
    prefixes(plan, book, &mut costs)?;
    gates(plan, book, &costs);
    Ok(())
}

/// The kernel configuration of a run.
pub(crate) fn config(entries: u32, prefixes: u32) -> KernelConfig {
    KernelConfig {
        block_capacity: entries + 16,
        block_net_capacity: prefixes + 16,
        // The steady path: what a report costs is the ring's matter.
        report_interval: Duration::from_hours(1),
        ..Config::default().kernel
    }
}

/// The product with lists of a length.
pub(crate) fn product(config: &KernelConfig, entries: u32, prefixes: u32) -> Result<Kernel> {
    let kernel = Kernel::load(config, Mode::Production)?;
    let mut blocks = kernel.blocks();
    let block = drop_entry();
    for n in 0..entries {
        blocks.put_block(listed_v4(n).into(), &block)?;
        blocks.put_block(listed_v6(n).into(), &block)?;
    }
    for n in 0..prefixes {
        blocks.put_block(frames::prefix_v4(n), &block)?;
        blocks.put_block(frames::prefix_v6(n), &block)?;
    }
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    for net in ALLOWED {
        blocks.put_allow(net.parse()?, &allow)?;
    }
    Ok(kernel)
}

pub(crate) fn drop_entry() -> BlockEntry {
    BlockEntry {
        expires_ns: NEVER_NS,
        action: ACTION_DROP,
        ..BlockEntry::default()
    }
}

/// Sources numbered from `first`.
pub(crate) const fn draw(first: u32, sources: u32) -> Draw {
    Draw {
        sources,
        first,
        base: BASE,
        mask: MASK,
        prefix: u32::from_ne_bytes(PREFIX),
        ifindex: 0,
        state: 0x2545_f491,
    }
}

fn source(v4: bool, blocked: bool, entries: u32) -> IpAddr {
    match (v4, blocked) {
        (true, true) => listed_v4(entries / 2),
        (false, true) => listed_v6(entries / 2),
        (true, false) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        (false, false) => IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 9)),
    }
}

const fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

const fn verdict(blocked: bool) -> (&'static str, u32) {
    if blocked { ("blocked", DROP) } else { ("passed", PASS) }
}

/// Cells of one program: each family, listed and not.
fn cells<'a>(who: &str, program: BorrowedFd<'a>, entries: u32, kinds: &[Kind], families: &[bool]) -> Vec<Cell<'a>> {
    let mut all = Vec::new();
    for &v4 in families {
        for blocked in [true, false] {
            for kind in kinds {
                let (word, code) = verdict(blocked);
                all.push(Cell {
                    name: format!("{who}: {word} {} {}, {entries} listed", family(v4), kind.name(v4)),
                    program,
                    frame: frame(source(v4, blocked, entries), *kind),
                    code,
                    draw: None,
                });
            }
        }
    }
    all
}

/// The same with another source for every packet.
fn random<'a>(who: &str, program: BorrowedFd<'a>, entries: u32, families: &[bool]) -> Vec<Cell<'a>> {
    let mut all = Vec::new();
    for &v4 in families {
        for blocked in [true, false] {
            let (word, code) = verdict(blocked);
            let first = if blocked { 0 } else { entries };
            all.push(Cell {
                name: format!("{who}: {word} {} random sources, {entries} listed", family(v4)),
                program,
                frame: frame(source(v4, true, entries), Kind::Udp),
                code,
                draw: Some(draw(first, entries)),
            });
        }
    }
    all
}

fn lists(plan: &Plan, book: &mut Book, entries: u32, costs: &mut Costs) -> Result<()> {
    let mut kernel = product(&config(entries, 0), entries, 0)?;
    let ours = kernel.test_program(PROG_XDP)?;
    let mut yard = Yard::load(entries, 0)?;
    let steady = Yard::load(entries, 0)?;
    let (bare, textbook) = (steady.program("yard_bare")?, steady.program("yard_textbook")?);
    let both = [true, false];
    let mut all = cells("sentinel", ours.as_fd(), entries, &Kind::ALL, &both);
    all.extend(cells("bare hash", bare, entries, &[Kind::Tcp], &[true]));
    all.extend(cells("textbook", textbook, entries, &[Kind::Tcp], &both));
    let filters = if entries == LIST { filters(book)? } else { Vec::new() };
    for filter in &filters {
        all.extend(cells(filter.name, filter.program(), entries, &[Kind::Tcp], &both));
    }
    if entries > 1 {
        all.extend(random("sentinel", ours.as_fd(), entries, &both));
        all.extend(random("bare hash", bare, entries, &[true]));
        all.extend(random("textbook", textbook, entries, &both));
        for filter in &filters {
            all.extend(random(filter.name, filter.program(), entries, &both));
        }
    }
    measure(plan, book, &mut yard, &all, costs)?;
    kernel.test_accounting(false)?;
    let mut without = cells("sentinel without flows", ours.as_fd(), entries, &[Kind::Tcp], &both);
    without.retain(|cell| cell.code == PASS);
    measure(plan, book, &mut yard, &without, costs)
}

/// The firewalls in use that are to be had.
fn filters(book: &Book) -> Result<Vec<Filter>> {
    if !Filter::available() {
        book.note("xdp-filter is not installed (Debian package xdp-tools): left out");
        return Ok(Vec::new());
    }
    book.note("XDP-Firewall is no Debian package: left out");
    [("xdp-filter", None), ("xdp-filter (addresses only)", Some("ipv4,ipv6"))]
        .into_iter()
        .map(|(name, features)| Filter::load(name, features, LIST))
        .collect()
}

fn prefixes(plan: &Plan, book: &mut Book, costs: &mut Costs) -> Result<()> {
    let entries = LIST;
    let mut plain = product(&config(entries, 0), entries, 0)?;
    let mut full = product(&config(entries, PREFIXES), entries, PREFIXES)?;
    let (plain, full) = (plain.test_program(PROG_XDP)?, full.test_program(PROG_XDP)?);
    let mut yard = Yard::load(1, 0)?;
    let wide = Yard::load(entries, PREFIXES)?;
    let both = [true, false];
    let mut all = cells("sentinel, no prefixes", plain.as_fd(), entries, &[Kind::Tcp], &both);
    all.extend(cells(
        "sentinel, with prefixes",
        full.as_fd(),
        entries,
        &[Kind::Tcp],
        &both,
    ));
    all.extend(cells(
        "textbook, with prefixes",
        wide.program("yard_textbook")?,
        entries,
        &[Kind::Tcp],
        &both,
    ));
    all.retain(|cell| cell.code == PASS);
    for v4 in both {
        let inside = if v4 {
            frames::prefix_v4(7).addr()
        } else {
            frames::prefix_v6(7).addr()
        };
        all.push(Cell {
            name: format!("sentinel, with prefixes: blocked {} by prefix", family(v4)),
            program: full.as_fd(),
            frame: frame(inside, Kind::Tcp),
            code: DROP,
            draw: None,
        });
    }
    measure(plan, book, &mut yard, &all, costs)
}

/// Runs cells and their floors in turn, and takes the median of the paired differences.
fn measure(plan: &Plan, book: &mut Book, yard: &mut Yard, cells: &[Cell<'_>], costs: &mut Costs) -> Result<()> {
    let mut nets = vec![Vec::new(); cells.len()];
    let mut floors = vec![Vec::new(); cells.len()];
    for _ in 0..plan.rounds {
        for (index, cell) in cells.iter().enumerate() {
            let (floor, full) = pair(plan, yard, cell)?;
            ensure!(
                full.code == cell.code,
                "{}: the program answered {}",
                cell.name,
                full.code
            );
            floors[index].push(floor.each);
            nets[index].push(full.each - floor.each);
        }
    }
    for ((cell, nets), floors) in cells.iter().zip(nets).zip(floors) {
        let net = median(&nets);
        book.cost(&cell.name, net, "ns/packet", Some(median(&floors)));
        costs.insert(cell.name.clone(), net);
    }
    Ok(())
}

/// The empty program and the cell's own, one right after the other.
fn pair(plan: &Plan, yard: &mut Yard, cell: &Cell<'_>) -> Result<(run::Run, run::Run)> {
    let empty = if cell.code == DROP { "yard_drop" } else { "yard_pass" };
    match cell.draw {
        None => Ok((
            run::time(yard.program(empty)?, &cell.frame, plan.repeat)?,
            run::time(cell.program, &cell.frame, plan.repeat)?,
        )),
        Some(draw) => {
            yard.draw(draw)?;
            yard.next(yard.program(empty)?)?;
            let floor = run::time(yard.shuffle()?, &cell.frame, plan.repeat)?;
            yard.draw(draw)?;
            yard.next(cell.program)?;
            Ok((floor, run::time(yard.shuffle()?, &cell.frame, plan.repeat)?))
        }
    }
}

fn gates(plan: &Plan, book: &mut Book, costs: &Costs) {
    let get = |name: &str| costs.get(name).copied().unwrap_or(f64::NAN);
    let last = plan.entries.last().copied().unwrap_or(LIST);
    let hot = |who: &str, word: &str, ip: &str| get(&format!("{who}: {word} {ip} TCP, {LIST} listed"));
    book.at_most(
        1,
        "blocked IPv4 / one bare hash hit (stretch 0.35)",
        hot("sentinel", "blocked", "IPv4") / hot("bare hash", "blocked", "IPv4"),
        "×",
        1.1,
    );
    book.at_most(
        2,
        "passed IPv4, lists and flows / one bare hash miss",
        hot("sentinel", "passed", "IPv4") / hot("bare hash", "passed", "IPv4"),
        "×",
        0.5,
    );
    let worst = |word: &str| {
        let kinds = ["TCP", "UDP", "VLAN TCP", "extension headers TCP"];
        let costs = kinds.map(|kind| get(&format!("sentinel: {word} IPv6 {kind}, {LIST} listed")));
        costs.into_iter().fold(f64::NEG_INFINITY, f64::max)
    };
    book.at_most(3, "passed IPv6, the dearest shape", worst("passed"), "ns", 15.0);
    book.at_most(
        3,
        "blocked IPv6, the dearest shape (stretch)",
        worst("blocked"),
        "ns",
        8.0,
    );
    if costs.keys().any(|name| name.starts_with("xdp-filter")) {
        for ip in ["IPv4", "IPv6"] {
            book.at_least(
                4,
                &format!("xdp-filter (all features) / ours, passed {ip}"),
                hot("xdp-filter", "passed", ip) / hot("sentinel", "passed", ip),
                "×",
                8.0,
            );
        }
    }
    for ip in ["IPv4", "IPv6"] {
        let at = |entries: u32| get(&format!("sentinel: passed {ip} TCP, {entries} listed"));
        book.at_most(
            5,
            &format!("passed {ip} at {last} listed / at 1"),
            at(last) / at(1),
            "×",
            2.0,
        );
        let with = |which: &str| get(&format!("sentinel, {which} prefixes: passed {ip} TCP, {LIST} listed"));
        book.at_most(
            5,
            &format!("passed {ip}: what {PREFIXES} prefixes add"),
            with("with") - with("no"),
            "ns",
            1.0,
        );
    }
}
