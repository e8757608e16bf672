//! Runs in a machine whose power will be cut: has the agent decide and tells the console what was acknowledged.
//!
//! In: the agent's socket, the number of this machine. Out: lines `power: in TARGET,…` when blocks were acknowledged,
//! `power: asked TARGET` before one is taken back, `power: out TARGET` when that was acknowledged; never before the answer.
//! It ends with the machine. Deliberately elsewhere: the cut, and what must be on the disk (`xtask`).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testbed::http;
use testbed::wait;

/// From the agent's start to its answer, without acceleration.
const START: Duration = Duration::from_mins(3);
/// Who ask at the same time, so that the database has to write groups.
const ASKERS: u8 = 2;
/// Blocks that one of them has before it takes any back.
const KEPT: usize = 20;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let socket = PathBuf::from(args.next().context("the agent's socket")?);
    let machine: u8 = args.next().context("the number of the machine")?.parse()?;
    wait::until("the agent", START, || {
        let answer = http::request(&socket, "GET", "/health/ready", None);
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })?;
    // The first self-check is due at once; it has been made when this is answered.
    let _ = http::request(&socket, "DELETE", "/decisions?target=198.18.255.254", None)?;
    let metrics = http::request(&socket, "GET", "/metrics", None)?.text;
    let drift = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sentinel_enforcement_drift_entries "));
    let verdict = http::request(&socket, "GET", "/audit/verify", None)?.json()?;
    let drift = drift.unwrap_or("unknown");
    say(&format!("started {drift} {}", verdict["broken"]))?;
    std::thread::scope(|scope| {
        let askers = (0..ASKERS).map(|asker| {
            scope.spawn({
                let socket = &socket;
                move || ask(socket, machine, asker)
            })
        });
        for asker in askers.collect::<Vec<_>>() {
            if let Ok(Err(error)) = asker.join() {
                let _ = say(&format!("failed {error:#}").replace('\n', " "));
            }
        }
    });
    Ok(())
}

/// One write, so that lines of two askers do not mix.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("power: {line}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn ask(socket: &Path, machine: u8, asker: u8) -> Result<()> {
    let reason = format!("machine {machine}");
    let mut kept: VecDeque<String> = VecDeque::new();
    for turn in 0..u32::MAX {
        let [_, _, high, low] = turn.to_be_bytes();
        let target = format!("{}.{machine}.{high}.{low}", 40 + asker);
        // One import at a time is what the agent takes.
        if asker == 0 && turn % 16 == 7 {
            let targets: Vec<String> = (0..50)
                .map(|n| format!("2001:db8:{machine:x}:{asker:x}:{turn:x}::{n:x}"))
                .collect();
            let lines = targets
                .iter()
                .map(|target| json!({ "value": target, "duration": "4h", "reason": reason }));
            let lines = Value::Array(lines.collect());
            let answer = http::request(socket, "POST", "/decisions/import?format=json", Some(&lines))?;
            ensure!(
                answer.status < 300 && answer.json()?["imported"] == 50,
                "{}",
                answer.text
            );
            say(&format!("in {}", targets.join(",")))?;
            continue;
        }
        let wish = json!({ "target": target, "duration": "4h", "reason": reason });
        let answer = http::request(socket, "POST", "/decisions", Some(&wish))?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.text);
        say(&format!("in {target}"))?;
        kept.push_back(target);
        if kept.len() > KEPT
            && turn % 2 == 0
            && let Some(target) = kept.pop_front()
        {
            say(&format!("asked {target}"))?;
            let path = format!("/decisions?target={target}&forget=true");
            let answer = http::request(socket, "DELETE", &path, None)?;
            ensure!(answer.status < 300, "{} {}", answer.status, answer.text);
            say(&format!("out {target}"))?;
        }
    }
    Ok(())
}
