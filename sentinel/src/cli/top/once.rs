//! The same as plain text, for scripts and screen readers: no colour, no frame, nothing cut off.

use super::super::output::{Format, Output};
use super::super::table::Table;
use super::feed::Snapshot;
use super::state::State;
use super::view::{ago, hits, latest};
use super::words::{age, bytes, clock, count, moved, packets, place, protocol, stage, volume};
use crate::cli::remaining;
use crate::types::{Busy, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write;

/// Rows of each list.
const ROWS: usize = 10;

pub(super) fn print(output: &Output, state: &State, now: Timestamp) {
    match output.format() {
        Format::Json => output.json(&json(&state.snapshot)),
        Format::Human | Format::Raw => output.line(text(state, now).trim_end()),
    }
}

/// Every figure and row.
fn json(snapshot: &Snapshot) -> Value {
    let history = &snapshot.history;
    json!({
        "version": snapshot.version,
        "uptime_seconds": snapshot.uptime.as_secs(),
        "mode": if snapshot.production { "production" } else { "simulation" },
        "stopped": snapshot.stopped,
        "degraded": snapshot.parts.iter().filter_map(|part| {
            let (cause, mend) = part.trouble.as_ref()?;
            Some(json!({ "part": part.name, "cause": cause, "mend": mend }))
        }).collect::<Vec<_>>(),
        "per_second": {
            "passed": latest(history, |s| s.passed), "dropped": latest(history, |s| s.dropped),
            "would_drop": latest(history, |s| s.would_drop), "bytes": latest(history, |s| s.bytes),
        },
        "flows_active": snapshot.flows_active,
        "sources_active": snapshot.sources_active,
        "interfaces": snapshot.interfaces,
        "ring_lost": snapshot.ring_lost,
        "maps": snapshot.maps.iter().map(|map| json!({
            "name": map.name, "entries": map.entries, "capacity": map.capacity,
        })).collect::<Vec<_>>(),
        "alerts_total": snapshot.alerts_total,
        "alerts": snapshot.alerts.iter().take(ROWS).map(|row| json!({
            "id": row.id, "at": row.at, "severity": row.severity, "detector": row.detector, "source": row.source,
            "summary": row.summary,
        })).collect::<Vec<_>>(),
        "decisions_total": snapshot.decisions_total,
        "decisions": snapshot.decisions.iter().take(ROWS).map(|row| json!({
            "id": row.id, "target": row.target, "action": row.action, "state": row.state, "expires_at": row.until,
            "hits": row.hits, "would_hits": row.would_hits, "reason": row.reason,
        })).collect::<Vec<_>>(),
        "flows_total": snapshot.busy_total,
        "flows": snapshot.busy.iter().take(ROWS).collect::<Vec<_>>(),
    })
}

pub(super) fn text(state: &State, now: Timestamp) -> String {
    let snapshot = &state.snapshot;
    let history = &snapshot.history;
    let mode = if snapshot.production {
        "PRODUCTION"
    } else {
        "SIMULATION"
    };
    let mut lines = vec![match &snapshot.stopped {
        Some(stop) => format!("STOPPED ({mode}): entries only count: {stop}"),
        None if snapshot.production => format!("{mode}: decisions are carried out"),
        None => format!("{mode}: no decision is carried out; what would be dropped is counted"),
    }];
    lines.push(format!(
        "sentinel {}, up {}, at {now}",
        snapshot.version,
        age(snapshot.uptime)
    ));
    let troubles: Vec<_> = snapshot
        .parts
        .iter()
        .filter_map(|part| Some((&part.name, part.trouble.as_ref()?)))
        .collect();
    if troubles.is_empty() {
        lines.push(format!("health: ok, all {} parts", snapshot.parts.len()));
    }
    for (name, (cause, mend)) in troubles {
        lines.push(format!("health: {name} is degraded: {cause}; {mend}"));
    }
    lines.push(format!(
        "packets a second: {} passed, {} dropped, {} would be dropped; {}/s",
        latest(history, |s| s.passed),
        latest(history, |s| s.dropped),
        latest(history, |s| s.would_drop),
        bytes(latest(history, |s| s.bytes) as f64)
    ));
    lines.push(format!(
        "{} flows of {} sources; ring lost {} records; on {}",
        snapshot.flows_active,
        snapshot.sources_active,
        snapshot.ring_lost,
        if snapshot.interfaces.is_empty() {
            "no interface".to_owned()
        } else {
            snapshot.interfaces.join(", ")
        }
    ));
    for (what, items) in snapshot.lost.iter().filter(|(_, items)| *items > 0) {
        lines.push(format!("lost: {items} at {what}"));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    for (heading, table) in [
        (
            format!("Lists and tables of the kernel: {}", snapshot.maps.len()),
            maps(snapshot),
        ),
        (
            format!("Newest alerts, of {}", snapshot.alerts_total),
            alerts(snapshot, now),
        ),
        (
            format!("Newest decisions, of {}", snapshot.decisions_total),
            decisions(snapshot, now),
        ),
        (
            format!("Busiest flows by rate, of {}", snapshot.busy_total),
            flows(snapshot),
        ),
    ] {
        let _ = writeln!(text, "\n{heading}");
        if !table.is_empty() {
            text.push_str(&table.aligned(false));
        }
    }
    text
}

fn maps(snapshot: &Snapshot) -> Table {
    let mut table = Table::new(&["List", "Held", "Room", "Full"]);
    for map in &snapshot.maps {
        table.row([
            map.name.clone(),
            map.entries.to_string(),
            map.capacity.to_string(),
            format!("{:.1} %", map.share() * 100.0),
        ]);
    }
    table
}

fn alerts(snapshot: &Snapshot, now: Timestamp) -> Table {
    let mut table = Table::new(&["Time", "Ago", "Severity", "Source", "Detector", "What"]);
    for row in snapshot.alerts.iter().take(ROWS) {
        table.row([
            clock(row.at),
            ago(now, row.at),
            format!("{:?}", row.severity).to_lowercase(),
            row.source.clone(),
            row.detector.to_owned(),
            row.summary.clone(),
        ]);
    }
    table
}

fn decisions(snapshot: &Snapshot, now: Timestamp) -> Table {
    let mut table = Table::new(&["Target", "Action", "State", "Left", "Packets", "Why"]);
    for row in snapshot.decisions.iter().take(ROWS) {
        table.row([
            row.target.clone(),
            row.action.clone(),
            row.state.to_owned(),
            row.until.map_or_else(String::new, |end| remaining(now, end)),
            hits(row),
            row.reason.clone(),
        ]);
    }
    table
}

fn flows(snapshot: &Snapshot) -> Table {
    let mut table = Table::new(&["From", "To", "Proto", "Bytes", "Packets", "Rate", "State"]);
    for busy in snapshot.busy.iter().take(ROWS) {
        let Busy::Flow(flow) = busy else { continue };
        let numbers = moved(busy);
        table.row([
            place(flow.source, flow.source_port),
            place(flow.destination, flow.destination_port),
            protocol(flow.proto),
            bytes(volume(numbers)),
            count(packets(numbers)),
            format!("{}/s", bytes(numbers.bytes_per_second)),
            stage(flow).to_owned(),
        ]);
    }
    table
}
