//! What survives a restart, a crash and a disk that refuses. Real databases on a real disk.

use super::{Database, IP, Scripted, address, ask, ask_first, at, config, eventually, intel};
use crate::intel::{IntelError, WallClock};
use crate::types::{Severity, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

const NOON: &str = "2026-11-27T12:00:00Z";

fn clock() -> (WallClock, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(at(NOON).0));
    let told = Arc::clone(&now);
    (WallClock::by(move || Timestamp(told.load(SeqCst))), now)
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_day_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentinel.db");
    let (clock, now) = clock();
    let limits = [7, 25, 60];
    let config = config(&[("virustotal", limits)]);
    let (reader, from) = (clock.clone(), Scripted::new("virustotal"));
    let (source, seen) = from.provider("virustotal", limits, move || reader.now(), 0, 1_000_000, false);
    let mut n = 0;
    let mut by_day = Vec::new();
    // A crash after every third question: the agent that asked is gone without a word, and its upkeep never ran.
    for day in 0..4 {
        let before = seen.requests.load(SeqCst);
        for _ in 0..20 {
            let database = Database::open(&path);
            let (intel, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock.clone());
            for _ in 0..3 {
                n += 1;
                ask_first(&intel, address(n), Severity::High).await;
            }
            // What was asked before counts as of the latest request then, so the minute is over.
            now.fetch_add(130_000_000_000, SeqCst);
        }
        by_day.push(seen.requests.load(SeqCst) - before);
        let next = at(NOON).after(Duration::from_hours(24 * (day + 1)));
        now.store(next.0, SeqCst);
    }
    assert_eq!(seen.violations.load(SeqCst), 0);
    // Days of 25 until the 60 of November are spent; on the fourth day, December the 1st would be the fifth.
    assert_eq!(by_day, [25, 25, 10, 0]);
}

#[tokio::test]
async fn a_request_is_written_down_before_it_goes_out() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("sentinel.db"));
    let source = Scripted::new("virustotal").takes(Duration::from_secs(1));
    let config = config(&[("virustotal", [4, 500, 0])]);
    let (intel, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock().0);
    let look = async {
        eventually("the request", async || source.begun() == 1).await;
        let rows = database.store.intel_quota("virustotal").await.unwrap();
        assert_eq!(source.finished(), 0, "under way");
        rows
    };
    let (_, rows) = tokio::join!(ask(&intel, IP, Severity::High), look);
    let spent: Vec<_> = rows.iter().map(|row| (row.period.as_str(), row.spent)).collect();
    assert_eq!(spent, [("day", 1), ("minute", 1)]);
}

#[tokio::test]
async fn nobody_is_asked_while_spent_quota_cannot_be_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("sentinel.db"));
    let source = Scripted::new("virustotal");
    let config = config(&[("virustotal", [4, 500, 0])]);
    let (intel, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock().0);
    database.store.close();
    let told = ask(&intel, IP, Severity::High).await;
    assert_eq!(
        (told[0].result.as_str(), source.begun()),
        ("unavailable", 0),
        "{told:?}"
    );
    assert!(told[0].reason.contains("cannot be written down"), "{told:?}");
    let error = intel.status().sources.remove(0).last_error.unwrap();
    assert_eq!(error.result, IntelError::Unavailable(String::new()).label());
}

#[tokio::test]
async fn while_the_disk_refuses_nothing_is_counted_and_nothing_queued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentinel.db");
    let database = Database::open(&path);
    let source = Scripted::new("virustotal");
    let config = config(&[("virustotal", [0, 500, 0])]);
    let (intel, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock().0);
    let spent = || intel.status().sources.remove(0).quota[0].spent;
    assert_eq!(ask_first(&intel, address(0), Severity::High).await, "fresh");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("ALTER TABLE intel_quota RENAME TO intel_quota_away")
        .unwrap();
    // The first one finds out, and is given back; the others are told before they count.
    let mut queued = None;
    for n in 1..20 {
        assert_eq!(ask_first(&intel, address(n), Severity::High).await, "unavailable");
        assert_eq!((spent(), source.begun()), (1, 1), "{n}");
        let backlog = database.store.tally().backlog;
        assert_eq!(*queued.get_or_insert(backlog), backlog, "{n}");
    }
    other
        .execute_batch("ALTER TABLE intel_quota_away RENAME TO intel_quota")
        .unwrap();
    eventually("the disk takes records", async || database.store.tally().backlog == 0).await;
    eventually("somebody is asked", async || {
        ask_first(&intel, address(20), Severity::High).await == "fresh"
    })
    .await;
    assert_eq!((spent(), source.begun()), (2, 2));
}

#[tokio::test]
async fn a_database_that_hangs_at_the_start_holds_up_no_request_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("sentinel.db"));
    let source = Scripted::new("virustotal");
    let config = config(&[("virustotal", [0, 500, 0])]);
    let (intel, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock().0);
    let hanging = database.store.hang();
    tokio::task::yield_now().await;
    let asks = futures_util::future::join_all((0..10).map(|n| ask_first(&intel, address(n), Severity::High)));
    let told = tokio::time::timeout(Duration::from_secs(20), asks).await;
    assert_eq!(told.expect("each in time"), ["unavailable"; 10]);
    assert_eq!(source.begun(), 0);
    drop(hanging);
    eventually("somebody is asked", async || {
        ask_first(&intel, address(10), Severity::High).await == "fresh"
    })
    .await;
}

#[tokio::test]
async fn answers_are_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentinel.db");
    let (clock, now) = clock();
    let date = clock.clone();
    let source = Scripted::new("virustotal").clock(move || date.now());
    let config = config(&[("virustotal", [0, 0, 0])]);
    {
        let database = Database::open(&path);
        let (first, upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock.clone());
        let upkeep = tokio::spawn(upkeep.run());
        for n in 0..50 {
            ask(&first, address(n), Severity::High).await;
        }
        drop(first);
        // Ends by itself once everything is written.
        upkeep.await.unwrap();
    }
    let database = Database::open(&path);
    let (second, _upkeep) = intel(&config, &[&source], Some(database.store.clone()), clock.clone());
    for n in 0..50 {
        let told = ask(&second, address(n), Severity::High).await;
        assert_eq!(told[0].result, "cache", "{told:?}");
    }
    assert_eq!(source.begun(), 50);
    // Too old by now, and the source is gone: better than nothing.
    now.fetch_add(Duration::from_hours(12).as_nanos() as i64, SeqCst);
    source.always(Err(IntelError::Status(500)));
    let told = ask(&second, address(0), Severity::High).await.remove(0);
    assert_eq!(told.result, "stale");
    assert!((told.indicator.unwrap().confidence - 0.4).abs() < 1e-9);
}
