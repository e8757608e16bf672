//! The benchmark `respond`: from the packet that completes the evidence to the first packet dropped.

use super::attack::{Attack, Expect};
use super::{Lab, once};
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// What is repeated; each round has an attacker of its own.
const ROUND: Attack = Attack {
    name: "nmap syn scan",
    line: "nmap -n -Pn -sS -p1-20000 --max-rate 1000 {target}",
    v6: false,
    detector: "port_scan",
    expect: Expect::Block,
};

/// Attacks `rounds` times and writes p50 and p99 of what each took.
///
/// # Errors
/// When an attack went unblocked or the lab broke.
pub fn respond(agent: &Path, json: &Path, rounds: u32) -> Result<()> {
    interrupt::listen()?;
    let mut lab = Lab::new(agent, &json!({}))?;
    let (mut reaction, mut total) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let attacker = lab.attacker()?;
        let seen = ROUND.run(&lab, &attacker);
        println!("{}", once::line(&seen));
        ensure!(seen.ok, "an attack went unblocked");
        reaction.push(seen.evidence_to_drop_ms.context("the decision has no first hit")?);
        total.push(seen.first_drop_ms.context("the decision has no first hit")?);
    }
    let figures: Vec<Value> = [
        ("evidence_to_first_drop", reaction),
        ("tool_start_to_first_drop", total),
    ]
    .into_iter()
    .flat_map(|(name, mut values)| {
        values.sort_by(f64::total_cmp);
        [("p50", 0.50), ("p99", 0.99)].map(|(label, q)| {
            let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len());
            json!({
                "suite": "respond", "name": format!("{name}_{label}"), "value": values[rank - 1], "unit": "ms",
                "better": "lower", "floor": null, "ratio": null,
            })
        })
    })
    .collect();
    std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}
