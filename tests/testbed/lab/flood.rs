//! The agent's memory under a flood from forged sources, and that of its kernel maps.

use super::Lab;
use super::account::{Account, memory};
use super::figure::figure;
use super::load;
use crate::{child, interrupt};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Distinct sources are nearly as many: 24 bits are drawn at random.
const FLOOD: u64 = 2_000_000;

/// A SYN flood from forged sources on an open port, default settings: what the agent's memory does.
///
/// # Errors
/// When the lab broke.
pub fn flood(agent: &Path, json: &Path) -> Result<()> {
    interrupt::listen()?;
    let mut lab = Lab::new(agent, &json!({}))?;
    let from = lab.attacker()?;
    let before = Account::settled(&lab.agent)?;
    let resident = memory(&lab.agent, "VmRSS")?;
    let maps = kernel_maps(lab.agent.pid().context("the agent is not running")?)?;
    for (map, bytes) in &maps {
        println!("kernel map {map:<12} {:>8.2} MiB", bytes / f64::from(1 << 20));
    }
    let start = Instant::now();
    load::syns(&lab, &from, "80", FLOOD, None)?.finish()?;
    let took = start.elapsed().as_secs_f64();
    let during = memory(&lab.agent, "VmRSS")?;
    let books = Account::settled(&lab.agent)?.since(&before);
    let (anonymous, files) = (memory(&lab.agent, "RssAnon")?, memory(&lab.agent, "RssFile")?);
    println!("flood: at rest {anonymous:.0} MiB of heap and stacks, {files:.0} MiB of program and ring");
    let (after, peak) = (memory(&lab.agent, "VmRSS")?, memory(&lab.agent, "VmHWM")?);
    println!(
        "flood: {FLOOD} SYNs from as many sources in {took:.1} s; {:.0} flows, {:.0} records judged, {:.0} put off by the \
         budget, {:.0} ring full; RSS {resident:.0} MiB before, {during:.0} at its end, {after:.0} after, {peak:.0} at most",
        books.flows, books.scored, books.deferred, books.lost
    );
    let blocked = lab.agent.active()?.len();
    lab.agent.stop()?;
    let row =
        |what: &str, value: f64, unit: &str| figure("pipeline", &format!("flood_{what}"), value, unit, "lower", None);
    let figures = [
        row("packets_per_s", FLOOD as f64 / took, "packets/s"),
        row("rss_before", resident, "MiB"),
        row("rss_peak", peak, "MiB"),
        row("rss_growth", peak - resident, "MiB"),
        row("rss_after", after, "MiB"),
        row("uncounted", books.uncounted(), "records"),
        row("forged_sources_blocked", blocked as f64, "addresses"),
        row(
            "kernel_maps",
            maps.iter().map(|(_, b)| b).sum::<f64>() / f64::from(1 << 20),
            "MiB",
        ),
    ];
    std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}

/// Bytes the kernel accounts to each map the agent holds (`memlock` in `/proc/PID/fdinfo`), by `bpftool`'s name.
fn kernel_maps(pid: u32) -> Result<Vec<(String, f64)>> {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["-j", "map", "show"]);
    let shown = child::must(bpftool, Duration::from_secs(20))?;
    let named: Vec<Value> = serde_json::from_str(&shown).unwrap_or_default();
    let mut maps = BTreeMap::new();
    for file in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(info) = std::fs::read_to_string(file?.path()) else {
            continue;
        };
        let field = |name: &str| -> Option<u64> {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line?.trim_start_matches(':').trim().parse().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
            maps.insert(id, bytes as f64);
        }
    }
    let name = |id: u64| {
        let map = named.iter().find(|map| map["id"].as_u64() == Some(id));
        map.and_then(|map| map["name"].as_str())
            .map_or_else(|| id.to_string(), str::to_owned)
    };
    Ok(maps.into_iter().map(|(id, bytes)| (name(id), bytes)).collect())
}
