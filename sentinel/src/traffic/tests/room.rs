//! The room: what it counts, what it says, and what it does at its end.

use super::*;
use crate::metrics::Metrics;
use crate::traffic::room::WAITING;
use crate::types::{Component, Condition, Health};
use std::time::Duration;
use tokio::sync::watch;

struct House {
    config: TrafficLogConfig,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Arc<Health>>,
    reopen: watch::Sender<u64>,
    sender: Option<Sender>,
    room: Option<tokio::task::JoinHandle<()>>,
}

impl House {
    fn open(config: TrafficLogConfig) -> Self {
        let (health_tx, health) = watch::channel(Arc::default());
        let (reopen, told) = watch::channel(0);
        let metrics = Arc::new(Metrics::new());
        // What was dropped is told with the rest.
        metrics.watch_stats(watch::channel(Arc::default()).1);
        let deps = Deps {
            metrics: Arc::clone(&metrics),
            health: health_tx,
            reopen: told,
        };
        let (sender, room) = open(&config, deps).unwrap();
        Self {
            config,
            metrics,
            health,
            reopen,
            sender: Some(sender),
            room: Some(tokio::spawn(room.run())),
        }
    }

    async fn tell(&self, sensor: &str, rows: impl IntoIterator<Item = Row>) {
        let batch = Batch {
            sensor: sensor.into(),
            clock: Clock::default(),
            rows: rows.into_iter().collect(),
        };
        self.sender.as_ref().unwrap().send(batch).await.unwrap();
    }

    async fn close(&mut self) {
        self.sender = None;
        self.room.take().unwrap().await.unwrap();
    }

    async fn until(&mut self, degraded: bool) -> Condition {
        let is = |health: &Arc<Health>| {
            let condition = health.components.get(&Component::TrafficLog);
            condition.is_some_and(|condition| matches!(condition, Condition::Degraded { .. }) == degraded)
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), self.health.wait_for(is)).await;
        waited.unwrap().unwrap().components[&Component::TrafficLog].clone()
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|told| told == line)
    }
}

#[tokio::test]
async fn all_that_was_told_is_written_at_the_end_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing but the end has it written.
    let slow = TrafficLogConfig {
        flush_interval: Duration::from_mins(1),
        flush_records: 5_000,
        ..config(dir.path())
    };
    let mut house = House::open(slow);
    house.tell("xdp", (0..30).map(row)).await;
    house.tell("bettercap", (30..40).map(row)).await;
    house.close().await;
    assert_eq!(numbers(&house.config.path), (0..40).collect::<Vec<_>>());
    let text = std::fs::read_to_string(&house.config.path).unwrap();
    assert_eq!(text.matches(",bettercap,").count(), 10, "rows say who saw them");
    assert!(house.counted("sentinel_traffic_log_rows_total 40"));
    assert!(house.counted(&format!("sentinel_traffic_log_bytes_total {}", text.len())));
    let detail = house.config.path.display().to_string();
    assert_eq!(house.until(false).await, Condition::Ok { detail });
}

#[tokio::test]
async fn a_hundred_rows_do_not_wait_for_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let slow = TrafficLogConfig {
        flush_interval: Duration::from_mins(1),
        ..config(dir.path())
    };
    let mut house = House::open(slow);
    house.tell("xdp", (0..100).map(row)).await;
    for _ in 0..2_000 {
        if house.counted("sentinel_traffic_log_rows_total 100") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(numbers(&house.config.path).len(), 100);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_beyond_those_of_a_second_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::open(TrafficLogConfig {
        max_per_second: 25,
        ..config(dir.path())
    });
    house.tell("xdp", (0..20).map(row)).await;
    house.tell("xdp", (20..40).map(row)).await;
    house.close().await;
    assert_eq!(numbers(&house.config.path), (0..25).collect::<Vec<_>>());
    assert!(house.counted(r#"sentinel_events_dropped_total{stage="traffic",reason="rate"} 15"#));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_said_bounded_counted_and_got_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrafficLogConfig {
        flush_interval: Duration::from_millis(20),
        max_per_second: 1_000_000,
        ..config(dir.path())
    };
    std::fs::create_dir_all(&config.path).unwrap();
    let mut house = House::open(config);
    let Condition::Degraded { cause, mend } = house.until(true).await else {
        panic!("a directory is no file");
    };
    assert!(
        cause.contains("traffic_log.csv") && mend.contains("name the path"),
        "{cause}: {mend}"
    );
    for from in (0..12_000).step_by(1_000) {
        house.tell("xdp", (from..from + 1_000).map(row)).await;
    }
    std::fs::remove_dir(&house.config.path).unwrap();
    house.until(false).await;
    house.close().await;
    let kept = numbers(&house.config.path);
    assert_eq!(
        kept[..WAITING],
        (0..WAITING as u64).collect::<Vec<_>>(),
        "what waited is written"
    );
    let lost = 12_000 - kept.len();
    assert!(house.counted(&format!(
        r#"sentinel_events_dropped_total{{stage="traffic",reason="disk"}} {lost}"#
    )));
}

#[tokio::test]
async fn whoever_moves_the_file_aside_gets_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::open(TrafficLogConfig {
        flush_records: 1,
        ..config(dir.path())
    });
    house.tell("xdp", [row(1)]).await;
    house.until(false).await;
    while !house.counted("sentinel_traffic_log_rows_total 1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let aside = dir.path().join("aside.csv");
    std::fs::rename(&house.config.path, &aside).unwrap();
    house.reopen.send_modify(|times| *times += 1);
    // It is opened by the next look of the clock.
    while !house.config.path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.tell("xdp", [row(2)]).await;
    house.close().await;
    assert_eq!((numbers(&aside), numbers(&house.config.path)), (vec![1], vec![2]));
}

#[test]
fn a_log_that_is_switched_off_has_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let off = TrafficLogConfig {
        enabled: false,
        ..config(dir.path())
    };
    let deps = Deps {
        metrics: Arc::new(Metrics::new()),
        health: watch::channel(Arc::default()).0,
        reopen: watch::channel(0).1,
    };
    assert!(open(&off, deps).is_none());
}
