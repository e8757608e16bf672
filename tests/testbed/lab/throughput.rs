//! The live half of the benchmark `pipeline`: new flows through the real ring, and real attacks among them.

use super::account::Account;
use super::attack::{Attack, Expect};
use super::figure::{figure, quantile};
use super::load;
use super::{Lab, once};
use crate::{interrupt, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Records a second that make a million a minute.
const MILLION_A_MINUTE: f64 = 1_000_000.0 / 60.0;
const FLOWS_PER_SECOND: u64 = 17_500;
const SECONDS: u64 = 60;
/// Attacks that must get through while the load runs.
const ATTACKS: u32 = 5;

/// It still scans when it is blocked.
const SCAN: Attack = Attack {
    name: "nmap syn scan",
    line: "nmap -n -Pn -sS -p1-20000 --max-rate 1000 {target}",
    v6: false,
    detector: "port_scan",
    expect: Expect::Block,
};

/// Measures and writes the figures.
///
/// # Errors
/// When the lab broke, or an attack went unblocked under load.
pub fn pipeline(agent: &Path, json: &Path) -> Result<()> {
    interrupt::listen()?;
    let mut figures = Vec::new();
    // Each window of 4 ms may carry what a burst brings.
    let roomy = json!({ "kernel": { "event_budget": 2000 } });
    figures.extend(live(agent, "live", &roomy, SECONDS)?);
    figures.extend(live(agent, "live_default_budget", &json!({}), SECONDS / 3)?);
    std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    Ok(())
}

fn live(agent: &Path, name: &str, settings: &Value, seconds: u64) -> Result<Vec<Value>> {
    let mut lab = Lab::new(agent, settings)?;
    let from = lab.attacker()?;
    let before = Account::settled(&lab.agent)?;
    let start = Instant::now();
    let mut load = load::syns(
        &lab,
        &from,
        "drnd(1024, 65535)",
        FLOWS_PER_SECOND * seconds,
        Some(FLOWS_PER_SECOND),
    )?;
    let mut reactions = Vec::new();
    for n in 1..=ATTACKS {
        let due = Duration::from_secs(seconds) * n / (ATTACKS + 2);
        let waited = wait::until("the next attack", due * 2, || {
            Ok((start.elapsed() >= due || !load.running()?).then_some(()))
        });
        waited?;
        let attacker = lab.attacker()?;
        let seen = SCAN.run(&lab, &attacker);
        ensure!(load.running()?, "the load ended before the attack was over");
        println!("{name}: {}", once::line(&seen));
        ensure!(seen.ok, "an attack under load went unblocked");
        reactions.push(seen.evidence_to_drop_ms.context("the decision has no first hit")?);
    }
    load.finish()?;
    let took = start.elapsed().as_secs_f64();
    let books = Account::settled(&lab.agent)?.since(&before);
    println!(
        "{name}: {:.0} flows in {took:.1} s; records: {:.0} sent = {:.0} decoded + {:.0} dropped before the decoder + \
         {:.0} refused; {:.0} fetched by the sweep; {:.0} judged; counted losses: {:.0} ring full, {:.0} put off by the \
         budget",
        books.flows,
        books.sent,
        books.ring,
        books.channel,
        books.refused,
        books.sweep,
        books.scored,
        books.lost,
        books.deferred
    );
    let stored = lab.agent.active()?.len();
    ensure!(stored >= ATTACKS as usize, "{stored} decisions are stored");
    lab.agent.stop()?;
    reactions.sort_by(f64::total_cmp);
    let row = |what: &str, value: f64, unit: &str, better: &str, floor: Option<f64>| {
        figure("pipeline", &format!("{name}_{what}"), value, unit, better, floor)
    };
    Ok(vec![
        row(
            "flows_per_s",
            books.flows / took,
            "flows/s",
            "higher",
            Some(MILLION_A_MINUTE),
        ),
        row(
            "records_per_s",
            books.scored / took,
            "records/s",
            "higher",
            Some(MILLION_A_MINUTE),
        ),
        row("uncounted", books.uncounted(), "records", "lower", None),
        row("lost_ring_full", books.lost, "records", "lower", None),
        row("lost_channel_full", books.channel, "records", "lower", None),
        row("put_off_by_budget", books.deferred, "records", "lower", None),
        row("agent_cpu", 100.0 * books.cpu / took, "% of a core", "lower", None),
        row(
            "agent_cpu_per_record",
            1e6 * books.cpu / books.scored,
            "us/record",
            "lower",
            None,
        ),
        row(
            "evidence_to_first_drop_p50",
            quantile(&reactions, 0.5),
            "ms",
            "lower",
            None,
        ),
        row(
            "evidence_to_first_drop_max",
            quantile(&reactions, 1.0),
            "ms",
            "lower",
            None,
        ),
    ])
}
