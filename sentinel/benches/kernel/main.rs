//! What the data path costs, in the real kernel: floors, yardsticks and the product in turn, within one run.
//!
//! In: the kernel object, `target/bpf/yardstick.o`, and firewalls of Debian's packages where they are installed.
//! Out: figures as a table and, with `--json FILE`, as a list; the goals as `gate N: value (goal …) met/not met`. A goal
//! that is missed fails nothing. Deliberately elsewhere: what loading and swapping lists costs (the suite `lists`), and
//! that the verdicts are right (`tests/kernel`).
//!
//! Arguments: `--json FILE`; `--quick` for fewer rounds and no million entries; `--only PART` (`path`, `flows`, `ring`,
//! `e2e`).

mod e2e;
mod figures;
mod filter;
mod flows;
mod frames;
mod net;
mod path;
mod ring;
mod run;
mod yard;

use anyhow::{Context, Result};
use figures::Book;
use sentinel::kernel::probe;
use std::path::PathBuf;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Rounds, each of which runs everything it compares in turn.
    pub(crate) rounds: usize,
    /// Runs of a program within a round.
    pub(crate) repeat: u32,
    /// Sizes of the lists.
    pub(crate) entries: Vec<u32>,
    /// Packets a round sends over a veth pair.
    pub(crate) packets: u32,
    /// How long the ring is under load, s.
    pub(crate) ring_secs: u64,
    /// Slots of the big flow table.
    pub(crate) slots: u32,
    json: Option<PathBuf>,
    only: Option<String>,
}

/// A part of the suite.
type Part = fn(&Plan, &mut Book) -> Result<()>;

fn plan() -> Plan {
    let mut plan = Plan {
        rounds: 11,
        repeat: 200_000,
        entries: vec![1, 10_000, 1_000_000],
        packets: 1_000_000,
        ring_secs: 10,
        slots: 1 << 20,
        json: None,
        only: None,
    };
    let short = Plan {
        rounds: 3,
        repeat: 50_000,
        entries: vec![1, 10_000],
        packets: 200_000,
        ring_secs: 1,
        slots: 1 << 16,
        ..plan.clone()
    };
    if std::env::args().len() == 1 {
        // Run as a test, without `cargo bench` and without arguments: only whether it works.
        plan = short.clone();
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => plan.json = args.next().map(PathBuf::from),
            "--only" => plan.only = args.next(),
            "--quick" => {
                plan = Plan {
                    json: plan.json,
                    only: plan.only,
                    ..short.clone()
                }
            }
            _ => {}
        }
    }
    plan
}

fn main() -> Result<()> {
    let plan = plan();
    if !probe::has_object() || !yard::object().is_file() {
        println!("skipped: no kernel objects; run `cargo xtask build-ebpf` and build again");
        return Ok(());
    }
    if !probe::missing_capabilities().is_empty() {
        println!("skipped: needs {}", probe::missing_capabilities().join(" and "));
        return Ok(());
    }
    if probe::run_time_stats() {
        println!("note: kernel.bpf_stats_enabled is on and adds two clock reads to every figure");
    }
    run::pin(0)?;
    let mut book = Book::default();
    let parts: [(&str, Part); 4] = [
        ("path", path::run),
        ("flows", flows::run),
        ("ring", ring::run),
        ("e2e", e2e::run),
    ];
    for (name, part) in parts {
        if plan.only.as_ref().is_none_or(|only| only == name) {
            part(&plan, &mut book).with_context(|| format!("part {name}"))?;
        }
    }
    book.gates();
    if let Some(path) = &plan.json {
        book.write(path)?;
    }
    Ok(())
}
