//! Killed while it writes, a hundred times.

use super::*;
use crate::metrics::Metrics;
use crate::types::{Component, Condition};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const KILLS: usize = 100;
/// Where the child writes, and from which number on.
const NAME: &str = "SENTINEL_TEST_TRAFFIC_KILLED";

fn config_of(directory: &Path) -> TrafficLogConfig {
    TrafficLogConfig {
        max_bytes: 1 << 20,
        keep: 10_000,
        flush_interval: Duration::from_millis(10),
        max_per_second: 1_000_000,
        ..config(directory)
    }
}

/// Writes by the real room until it is killed.
fn write_for_ever(directory: &Path, mut number: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (health, told) = watch::channel(Arc::default());
        let deps = Deps {
            metrics: Arc::new(Metrics::new()),
            health,
            reopen: watch::channel(0).1,
        };
        let (sender, room) = open(&config_of(directory), deps).unwrap();
        let running = tokio::spawn(room.run());
        // Files are named by the day: the rows are of now.
        let clock = Clock {
            offset_ns: crate::time::wall_now().0 - row(number).record.at.0 as i64,
        };
        while !running.is_finished() {
            let rows = (number..number + 1 + number % 700).map(row).collect::<Vec<_>>();
            number += rows.len() as u64;
            let batch = Batch {
                sensor: "xdp".into(),
                clock,
                rows,
            };
            sender.send(batch).await.unwrap();
            let health: Arc<crate::types::Health> = told.borrow().clone();
            let bad = health.components.get(&Component::TrafficLog);
            assert!(!matches!(bad, Some(Condition::Degraded { .. })), "{bad:?}");
        }
    });
}

fn bytes_of(config: &TrafficLogConfig) -> u64 {
    let files = names::all(&config.path)
        .unwrap_or_default()
        .into_iter()
        .map(|older| older.path);
    let sizes = files
        .chain([config.path.clone()])
        .filter_map(|path| path.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// What was found so far; a file that was moved aside changes no more.
#[derive(Default)]
struct Found {
    older: Vec<PathBuf>,
    rows: Vec<u64>,
}

impl Found {
    /// All rows in order, and whether the last line is torn.
    fn look(&mut self, config: &TrafficLogConfig) -> (Vec<u64>, bool) {
        for path in older(config) {
            if !self.older.contains(&path) {
                self.rows.extend(numbers(&path));
                self.older.push(path);
            }
        }
        let mut all = self.rows.clone();
        let text = std::fs::read(&config.path).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = std::str::from_utf8(&text[..whole]).unwrap();
        for (at, line) in lines.lines().enumerate() {
            if at == 0 {
                assert_eq!(line, heading());
            } else {
                all.push(number_of(line).unwrap_or_else(|| panic!("{line}")));
            }
        }
        (all, whole < text.len())
    }
}

#[test]
fn whatever_moment_it_is_killed_at_every_whole_line_is_a_row_and_in_order() {
    if let Ok(wish) = std::env::var(NAME) {
        let (number, directory) = wish.split_once(' ').unwrap();
        return write_for_ever(Path::new(directory), number.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let config = config_of(dir.path());
    let test = "traffic::tests::killed::whatever_moment_it_is_killed_at_every_whole_line_is_a_row_and_in_order";
    let mut moments = sentinel_common::hash::SplitMix64(0x5eed);
    let (mut known, mut torn, mut found) = (0, 0, Found::default());
    for kill in 0..KILLS {
        let before = bytes_of(&config);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(NAME, format!("{known} {}", dir.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while bytes_of(&config) <= before {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "kill {kill}: it writes nothing"
            );
            assert!(child.try_wait().unwrap().is_none(), "kill {kill}: it ended by itself");
            std::thread::yield_now();
        }
        let moment = Duration::from_micros(moments.draw() % 20_000);
        let written = Instant::now();
        while written.elapsed() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (rows, cut) = found.look(&config);
        assert!(
            rows.is_sorted_by(|a, b| a < b),
            "kill {kill}: rows in order, none twice"
        );
        torn += usize::from(cut);
        known = rows.last().map_or(0, |last| last + 1);
    }
    // The next start cuts off what is torn, and goes on.
    append(&mut LogFile::new(config.clone()), [row(known)]);
    let (rows, cut) = found.look(&config);
    assert_eq!((rows.last(), cut), (Some(&known), false));
    let files = older(&config).len() + 1;
    println!("{KILLS} kills, {} rows in {files} files, {torn} torn lines", rows.len());
    assert!(
        files > 1 && rows.len() > 10 * KILLS,
        "{} rows in {files} files",
        rows.len()
    );
}
