//! Events of a Bettercap, one a line, into flow records.

use crate::{Target, file};
use sentinel::sensor::BettercapReplay;
use std::time::Duration;

/// The target.
pub const TARGET: Target = Target {
    name: "bettercap",
    run,
    seeds,
};

/// Flows there is room for; few, so that the bound is reached.
const CAPACITY: usize = 8;

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let interval = Duration::from_secs(1);
    let mut replay = BettercapReplay::new(CAPACITY, interval, interval * 60, Vec::new());
    let mut records = Vec::new();
    let mut events = 0;
    for event in text.lines() {
        events += 1;
        replay.event(event, &mut records);
    }
    replay.end(&mut records);
    // A summary tells of each of its ports once, and of nothing that was not said.
    assert!(
        records.len() <= text.len() + events * CAPACITY,
        "{} records",
        records.len()
    );
}

/// Recorded events, one of each kind, and some in a row.
fn seeds() -> Vec<Vec<u8>> {
    let text = ["benign", "scan"].map(|name| file(&format!("tests/fixtures/bettercap/{name}.jsonl")));
    let text = String::from_utf8(text.concat()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut kinds = std::collections::BTreeMap::new();
    for line in &lines {
        let kind = line.split("\"tag\":").nth(1).and_then(|rest| rest.split(',').next());
        kinds.entry(kind).or_insert(*line);
    }
    let rows = lines.chunks(6).take(10).map(|row| row.join("\n"));
    kinds
        .into_values()
        .map(str::to_owned)
        .chain(rows)
        .map(String::into_bytes)
        .collect()
}
