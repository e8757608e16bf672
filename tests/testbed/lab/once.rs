//! One scripted pass: every attack beside benign traffic, and a report.

use super::{ATTACKS, Attack, Benign, Lab, Seen, Traffic, leftovers};
use crate::{interrupt, wait};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The kernel frees what was detached a moment later.
const GONE: Duration = Duration::from_mins(1);

/// What a pass saw.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Every attack as it must be, every benign transfer whole, nothing left behind.
    pub ok: bool,
    /// Per attack.
    pub attacks: Vec<Seen>,
    /// Per benign client and tool.
    pub benign: Vec<Traffic>,
    /// What stayed in the kernel or in `ip netns` afterwards.
    pub left_behind: Vec<String>,
}

/// Runs `attacks` one after the other beside benign traffic, and tells each as it is seen.
///
/// # Errors
/// When the lab itself breaks; an attack that goes unblocked is in the report.
pub fn pass(lab: &mut Lab, attacks: &[Attack], mut tell: impl FnMut(&Seen)) -> Result<(Vec<Seen>, Vec<Traffic>)> {
    let benign = Benign::start(&lab.client, &lab.protected)?;
    let mut all = Vec::new();
    for attack in attacks {
        let attacker = match lab.attacker() {
            Ok(attacker) => attacker,
            Err(error) => {
                benign.finish();
                return Err(error);
            }
        };
        let seen = attack.run(lab, &attacker);
        tell(&seen);
        all.push(seen);
        if interrupt::wanted() {
            break;
        }
    }
    Ok((all, benign.finish()))
}

/// `cargo xtask lab --once`.
///
/// # Errors
/// When an attack went unblocked, a benign client failed, something was left behind, or the lab broke.
pub fn once(agent: &Path, json: Option<&Path>) -> Result<()> {
    interrupt::listen()?;
    eprintln!(
        "\n==> the lab: a protected host, a benign client, {} attacks",
        ATTACKS.len()
    );
    let mut lab = Lab::new(agent, &json!({}))?;
    let (attacks, mut benign) = pass(&mut lab, ATTACKS, |seen| println!("{}", line(seen)))?;
    let mut deeds = lab.agent.deeds(lab.client.v4.into())?;
    deeds.extend(lab.agent.deeds(lab.client.v6.into())?);
    if let Some(deed) = deeds.first() {
        benign.push(Traffic {
            tool: "agent".into(),
            client: lab.client.v4.to_string(),
            failures: deeds.len() as u64,
            first_failure: Some(format!(
                "decided about the benign client: {} {}",
                deed["action"], deed["reason"]
            )),
            ..Traffic::default()
        });
    }
    let programs = lab.agent.programs()?;
    ensure!(!programs.is_empty(), "the agent holds no kernel program");
    let stopped = lab.agent.stop()?;
    drop(lab);
    let _ = wait::until("nothing to be left", GONE, || {
        Ok(leftovers(&programs).is_empty().then_some(()))
    });
    let left_behind = leftovers(&programs);
    for traffic in &benign {
        let failure = traffic.first_failure.as_deref().unwrap_or_default();
        println!(
            "benign  {:<8} {:>4} transfers  {:>2} failures  {:>6} KiB  {failure}",
            traffic.tool,
            traffic.transfers,
            traffic.failures,
            traffic.bytes / 1024
        );
    }
    println!(
        "left behind: {}",
        if left_behind.is_empty() {
            "nothing".to_owned()
        } else {
            left_behind.join(", ")
        }
    );
    let report = Report {
        ok: stopped.code == 0
            && attacks.len() == ATTACKS.len()
            && attacks.iter().all(|seen| seen.ok)
            && benign.iter().all(|traffic| traffic.failures == 0)
            && left_behind.is_empty(),
        attacks,
        benign,
        left_behind,
    };
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    if !report.ok {
        bail!(
            "the pass did not go as it must (agent's exit code {}); its log ends with:\n{}",
            stopped.code,
            tail(&stopped.output)
        );
    }
    Ok(())
}

/// One attack in one line.
pub(super) fn line(seen: &Seen) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
    let verdict = match (&seen.failure, seen.kernel_drops) {
        (Some(failure), _) => format!("FAILED: {failure}"),
        (None, 0) => "said aloud, nobody blocked".to_owned(),
        (None, drops) => format!("blocked, {drops} packets dropped in the kernel"),
    };
    let why = seen.alert["summary"].as_str().unwrap_or_default();
    format!(
        "{:<26} {:<14} detected {:>8}  first drop {:>8}  {verdict}\n    {}",
        seen.attack,
        seen.attacker,
        ms(seen.detected_ms),
        ms(seen.first_drop_ms),
        why.escape_debug()
    )
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
