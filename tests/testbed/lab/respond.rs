//! The benchmark `respond`: from the packet that completes the evidence to the first packet dropped.

use super::attack::{ATTACKS, Attack, Expect};
use super::figure::{figure, quantile};
use super::{Lab, once};
use crate::agent::Agent;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What takes turns; each round has an attacker of its own. All of them go on sending while they are judged, so that
/// what is measured is the defender and not the attacker's next packet.
const ROUNDS: [&str; 5] = [
    "nmap syn scan",
    "syn flood",
    "udp flood",
    "icmp flood",
    "nmap syn scan, ipv6",
];
/// A log-in attempt takes as long as the tool likes: told apart from the others.
const PATIENT: &str = "ssh brute force";
/// One round in so many is a patient one.
const PATIENT_EVERY: u32 = 6;
/// What the issue asks for, ms.
const P50: f64 = 100.0;
const P99: f64 = 1000.0;

/// Attacks `rounds` times and writes p50 and p99 of what each took; a third as often with the database in memory, to
/// tell the disk's share.
///
/// # Errors
/// When an attack went unblocked or the lab broke.
pub fn respond(agent: &Path, json: &Path, rounds: u32) -> Result<()> {
    interrupt::listen()?;
    let mut figures = attacked(agent, "", rounds, false)?;
    figures.extend(attacked(agent, "database_in_memory_", rounds / 3, true)?);
    std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}

fn attacked(agent: &Path, label: &str, rounds: u32, in_memory: bool) -> Result<Vec<Value>> {
    let mut lab = Lab::new(agent, &json!({}))?;
    if in_memory {
        lab.agent.stop()?;
        lab.agent.database_on_tmpfs("64m")?;
        lab.agent.launch()?;
    }
    let mut eager = Vec::new();
    let mut patient = Vec::new();
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        let name = if round % PATIENT_EVERY == PATIENT_EVERY - 1 {
            PATIENT
        } else {
            ROUNDS[(round - round / PATIENT_EVERY) as usize % ROUNDS.len()]
        };
        let attack: &Attack = ATTACKS.iter().find(|a| a.name == name).context("no such attack")?;
        ensure!(attack.expect == Expect::Block, "{name} blocks nobody");
        let attacker = lab.attacker()?;
        let seen = attack.run(&lab, &attacker);
        println!("{}", once::line(&seen));
        ensure!(seen.ok, "an attack went unblocked");
        let took = seen.evidence_to_drop_ms.context("the decision has no first hit")?;
        if name == PATIENT { &mut patient } else { &mut eager }.push(took);
        kinds.entry(attack.name).or_default().push(took);
    }
    let mut rows = Vec::new();
    let mut row = |what: &str, value: f64, floor: Option<f64>| {
        rows.push(figure(
            "respond",
            &format!("{label}{what}"),
            value,
            "ms",
            "lower",
            floor,
        ));
    };
    eager.sort_by(f64::total_cmp);
    patient.sort_by(f64::total_cmp);
    row("evidence_to_first_drop_p50", quantile(&eager, 0.5), Some(P50));
    row("evidence_to_first_drop_p99", quantile(&eager, 0.99), Some(P99));
    for (name, mut values) in kinds {
        values.sort_by(f64::total_cmp);
        row(
            &format!("{}_p50", name.replace([' ', ','], "_").replace("__", "_")),
            quantile(&values, 0.5),
            None,
        );
        row(
            &format!("{}_max", name.replace([' ', ','], "_").replace("__", "_")),
            quantile(&values, 1.0),
            None,
        );
    }
    let commit = commit_ms(&lab.agent)?;
    row("database_commit_mean", commit, None);
    lab.agent.stop()?;
    Ok(rows)
}

/// One transaction of the agent's database, fsync included, on average.
fn commit_ms(agent: &Agent) -> Result<f64> {
    let metrics = agent.metrics()?;
    let sum = metrics.sum("sentinel_store_write_seconds_sum", &[]);
    let count = metrics.sum("sentinel_store_write_seconds_count", &[]);
    let drops = metrics.sum("sentinel_detect_to_drop_seconds_count", &[]);
    let total = metrics.sum("sentinel_detect_to_drop_seconds_sum", &[]);
    println!(
        "sentinel_detect_to_drop_seconds: {drops:.0} first drops, mean {:.1} ms; {count:.0} transactions",
        1e3 * total / drops.max(1.0)
    );
    Ok(1e3 * sum / count.max(1.0))
}
