//! Events of a Bettercap per second, from JSON text to rows of the traffic log, on one core; beside them a simple
//! pipeline in Python: a dictionary for each event, a z-score and a CSV writer (`bettercap.py`), on the same events.
//!
//! `cargo bench -p sentinel --bench bettercap -- [--json FILE] [--events N]`

use sentinel::config::{Config, TrafficLogConfig};
use sentinel::detect::Detectors;
use sentinel::flow::FlowTable;
use sentinel::sensor::BettercapReplay;
use sentinel::traffic::{Batch, Recorder};
use sentinel::types::{Clock, Ktime, Mint};
use sentinel_common::event::FlowRecord;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The goal: so many times the events of the pipeline in Python.
const TIMES: f64 = 10.0;
/// Between two looks at what fell due, in the events' time.
const TICK: Duration = Duration::from_millis(100);
/// How much later each repetition of the recording is.
const LATER: i64 = 30;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
    let events = value("--events").and_then(|n| n.parse().ok()).unwrap_or(400_000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut figures = Vec::new();
    for (name, recordings) in [
        ("clients", &["benign.jsonl"][..]),
        ("scan", &["scan.jsonl"]),
        ("clients and scan", &["benign.jsonl", "scan.jsonl"]),
    ] {
        let text = repeated(recordings, events);
        let many = text.lines().count() as f64;
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, &text).expect("written");
        let (seconds, rows, alerts) = ours(&text, &folder.path().join(format!("{}.csv", figures.len())));
        let rate = many / seconds;
        println!("{name}: {rate:.0} events a second, {rows} rows, {alerts} alerts");
        let theirs = python(&file, &folder.path().join("python.csv"));
        if let Some((_, score)) = theirs.filter(|_| figures.is_empty()) {
            println!("the z-score alone, in Python: {:.0} a second", 1.0 / score);
        }
        let theirs = theirs.map(|(seconds, _)| many / seconds);
        if let Some(theirs) = theirs {
            println!(
                "{name}: {theirs:.0} events a second in Python; ours are {:.1} times as many",
                rate / theirs
            );
        } else {
            println!("{name}: no python3 to compare with");
        }
        let floor = theirs.map(|theirs| theirs * TIMES);
        figures.push(json!({
            "suite": "bettercap", "name": name, "value": rate, "unit": "events/s", "better": "higher",
            "floor": floor, "ratio": floor.map(|floor| rate / floor),
        }));
    }
    if let Some(path) = value("--json") {
        std::fs::write(path, serde_json::to_vec(&figures).expect("JSON")).expect("written");
    }
}

/// Recorded events, again and again, each time later.
fn repeated(names: &[&str], most: usize) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/bettercap");
    let recorded: String = names
        .iter()
        .map(|name| std::fs::read_to_string(folder.join(name)).expect("a recording"))
        .collect();
    let (mut text, mut round) = (String::new(), 0);
    let mut many = 0;
    while many < most {
        for line in recorded.lines() {
            // Times are the only texts of that form.
            let mut rest = line;
            while let Some(at) = rest.find("\"2026-11-29T") {
                let (before, time) = rest.split_at(at + 1);
                let end = time.find('"').unwrap_or(time.len());
                let at: jiff::Timestamp = time[..end].parse().expect("a time");
                let later = at + jiff::SignedDuration::from_secs(round * LATER);
                let _ = write!(text, "{before}{later:.9}");
                rest = &time[end..];
            }
            text.push_str(rest);
            text.push('\n');
            many += 1;
        }
        round += 1;
    }
    text
}

/// From text to rows; seconds, rows and alerts.
fn ours(text: &str, path: &Path) -> (f64, usize, usize) {
    let config = Config::default();
    let inside = vec!["10.77.0.1/32".parse().expect("a prefix")];
    let interval = config.kernel.report_interval;
    let mut replay = BettercapReplay::new(config.flow.max_flows, interval, config.flow.idle_timeout, inside);
    let mut table = FlowTable::new(&config.flow);
    let mut detectors = Detectors::new(&config, Clock::default(), Mint::Counted(0), "bettercap").with_rows(&config);
    let log = TrafficLogConfig {
        path: path.to_owned(),
        ..config.traffic_log.clone()
    };
    let mut recorder = Recorder::new(&log, "bench");
    let sensor: Arc<str> = "bettercap".into();
    let (mut rows, mut alerts, mut ticked) = (0, 0, Ktime::default());
    let mut records: Vec<FlowRecord> = Vec::new();
    let start = Instant::now();
    let mut take = |records: &mut Vec<FlowRecord>, over: bool| {
        for record in records.drain(..) {
            if let Some(seen) = table.apply(&record) {
                alerts += detectors.record(&record, &seen).len();
            }
            let now = Ktime(record.now_ns);
            if now.since(ticked) >= TICK {
                ticked = now;
                for seen in table.tick(now) {
                    alerts += detectors.observe(&seen).len();
                }
                alerts += detectors.tick(now).len();
                let (batch, lost) = detectors.take_rows();
                assert_eq!(lost, 0, "rows were lost");
                rows += batch.len();
                let batch = Batch {
                    sensor: Arc::clone(&sensor),
                    clock: Clock::default(),
                    rows: batch,
                };
                recorder.write(&[batch]).expect("written");
            }
        }
        if over {
            detectors.finish_rows();
            let (batch, _) = detectors.take_rows();
            rows += batch.len();
        }
    };
    for line in text.lines() {
        replay.event(line, &mut records);
        take(&mut records, false);
    }
    replay.end(&mut records);
    take(&mut records, true);
    (start.elapsed().as_secs_f64(), rows, alerts)
}

/// Seconds that the pipeline in Python takes, and one score of it, by its own account.
fn python(events: &Path, csv: &PathBuf) -> Option<(f64, f64)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bettercap.py");
    let output = Command::new("python3").arg(script).arg(events).arg(csv).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (whole, score) = text.trim().split_once(' ')?;
    Some((whole.parse().ok()?, score.parse().ok()?))
}
