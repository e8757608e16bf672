//! The store against real files: reopened, killed, filled up, damaged and tampered with.

mod bouncers;
mod cursors;
mod ends;
mod figures;
mod fleet;
mod intel;
mod links;
mod plans;
mod retention;
mod sightings;
mod tampering;

use super::*;
use crate::types::testing::investigation;
use crate::types::{
    ActionKind, ActionStatus, DecisionStatus, Detector, EvidenceClass, Family, InvestigationState, Mint, Origin,
    Severity, Terms,
};
use rusqlite::Connection;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn alert(mint: &mut Mint, second: i64, source: &str) -> Arc<Alert> {
    let at = Timestamp(second * 1_000_000_000);
    Arc::new(Alert {
        id: mint.alert(at),
        at,
        evidence_at: crate::types::Ktime(7),
        source: Some(source.parse().unwrap()),
        targets: Vec::new(),
        detector: Detector::PortScan,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.9,
        severity: Severity::High,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: "probed 40 ports".into(),
        sensor: "xdp".into(),
        standing: None,
        former: None,
        explanation: None,
    })
}

fn decision(mint: &mut Mint, second: i64, target: &str, status: DecisionStatus) -> Arc<Decision> {
    let at = Timestamp(second * 1_000_000_000);
    Arc::new(Decision {
        id: mint.decision(at),
        at,
        target: target.parse().unwrap(),
        action: ActionKind::BlockIp,
        terms: Terms::default(),
        expires_at: Some(at.after(Duration::from_mins(1))),
        until_if_confirmed: None,
        simulated: false,
        origin: Origin::Detector,
        actor: "port_scan".into(),
        reason: "because".into(),
        alert: None,
        severity: Some(Severity::High),
        risk: None,
        basis: None,
        checks: Vec::new(),
        collateral: None,
        investigation: None,
        status,
        veto: None,
        ended_at: None,
    })
}

fn action(mint: &mut Mint, of: &Decision) -> Arc<Action> {
    Arc::new(Action {
        id: mint.action(of.at),
        decision: of.id,
        kind: of.action,
        target: of.target,
        status: ActionStatus::Enforced,
        intent_at: of.at,
        entered_at: Some(of.at),
        outcome_at: Some(of.at),
        expires_at: of.expires_at,
        outcome: "read back from xdp (native)".into(),
        hits: 3,
        would_hits: 0,
    })
}

fn audit(n: usize) -> Record {
    Record::Audit {
        at: Timestamp(n as i64),
        actor: "alice".into(),
        verb: "decisions.add".into(),
        subject: format!("203.0.113.{n}"),
        detail: "done".into(),
    }
}

/// A running store; the writer ends with it.
struct Running {
    store: Store,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn at(path: &Path) -> Self {
        let (store, writer) = Store::open(path).unwrap();
        let thread = std::thread::spawn(move || writer.run());
        Self {
            store,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.store.close();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/by/open/sentinel.db");
    (directory, path)
}

/// Polls until `done` holds; fails the test after a minute.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_came_back_is_known_after_a_restart() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let rate = |openings| {
        Some(crate::types::Rate {
            packets: 10,
            bytes: 0,
            burst_ms: 1000,
            each: false,
            openings,
        })
    };
    let mut ran_out = |n: i64, target: &str, status, terms| {
        let mut d = Decision::clone(&decision(&mut mint, n, target, status));
        (d.expires_at, d.terms.rate) = (Some(Timestamp(n * 1_000)), terms);
        Record::Decision(Arc::new(d))
    };
    let (over, back) = (DecisionStatus::Expired, DecisionStatus::Deleted);
    for d in [
        ran_out(1, "192.0.2.1/32", over, None),
        ran_out(2, "192.0.2.1/32", over, rate(false)),
        ran_out(3, "192.0.2.2/32", over, rate(true)),
        ran_out(4, "192.0.2.3/32", over, None),
        ran_out(5, "192.0.2.3/32", back, None),
        ran_out(6, "192.0.2.3/32", over, None),
        ran_out(7, "2001:db8::/64", over, None),
    ] {
        store.commit(vec![d]).await.unwrap();
    }
    let told: Vec<String> = store
        .offenders(Timestamp(0), 10)
        .await
        .unwrap()
        .into_iter()
        .map(|(target, times, last)| format!("{target} {times} {}", last.0))
        .collect();
    assert_eq!(
        told,
        ["2001:db8::/64 1 7000", "192.0.2.3/32 1 6000", "192.0.2.1/32 2 2000"]
    );
    assert_eq!(store.offenders(Timestamp(6_500), 10).await.unwrap().len(), 1);
    assert_eq!(store.offenders(Timestamp(0), 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn reopened_database_shows_everything() {
    let (_directory, path) = place();
    let mut mint = Mint::Counted(0);
    let a = alert(&mut mint, 1, "203.0.113.7");
    let d = decision(&mut mint, 2, "203.0.113.7/32", DecisionStatus::Active);
    let x = action(&mut mint, &d);
    {
        let running = Running::at(&path);
        let records = vec![
            Record::Alert(a.clone()),
            Record::Decision(d.clone()),
            Record::Action(x.clone()),
            audit(1),
        ];
        running.store.commit(records).await.unwrap();
        let ended = Decision {
            status: DecisionStatus::Deleted,
            ended_at: Some(Timestamp(9_000)),
            ..(*d).clone()
        };
        running
            .store
            .commit(vec![Record::Decision(Arc::new(ended))])
            .await
            .unwrap();
        assert_eq!(running.store.tally().written, 5);
    }
    let running = Running::at(&path);
    let store = &running.store;
    assert_eq!(store.alert(a.id).await.unwrap().as_ref(), Some(&*a));
    assert_eq!(store.action(x.id).await.unwrap().as_ref(), Some(&*x));
    let kept = store.decision(d.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.status, kept.ended_at),
        (DecisionStatus::Deleted, Some(Timestamp(9_000)))
    );
    assert!(store.active_decisions().await.unwrap().is_empty());
    let verdict = store.verify_audit().await.unwrap();
    assert_eq!((verdict.intact, verdict.broken), (1, None));
    assert_eq!(
        store.audit(AuditFilter::default()).await.unwrap().items[0].actor,
        "alice"
    );

    let beside = Store::read_only(&path).unwrap();
    assert_eq!(beside.alerts(AlertFilter::default()).await.unwrap().total, 1);
    assert!(matches!(beside.commit(vec![audit(2)]).await, Err(StoreError::ReadOnly)));
}

#[tokio::test]
async fn what_was_found_out_is_kept_as_it_last_was_and_found_by_address_alert_and_risk() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let alerts = ["203.0.113.7", "203.0.113.8", "2001:db8::1"].map(|source| alert(&mut mint, 1, source));
    let levels = [Severity::Low, Severity::High, Severity::High];
    let found = |n: usize, level| investigation(&alerts[n], level, 0);
    for (n, level) in levels.into_iter().enumerate() {
        let record = Record::Investigation(Arc::new(found(n, level)));
        store.commit(vec![record]).await.unwrap();
    }
    let last = found(0, Severity::Medium);
    store
        .commit(vec![Record::Investigation(Arc::new(last.clone()))])
        .await
        .unwrap();
    assert_eq!(store.investigation(last.id).await.unwrap(), Some(last.clone()));
    let total = async |filter| store.investigations(filter).await.unwrap().total;
    let all = InvestigationFilter::default();
    assert_eq!(total(all.clone()).await, 3);
    let near = InvestigationFilter {
        ip: "203.0.113.0/24".parse().ok(),
        ..all.clone()
    };
    assert_eq!(total(near).await, 2);
    let of = InvestigationFilter {
        alert: Some(alerts[2].id),
        ..all.clone()
    };
    assert_eq!(total(of).await, 1);
    let high = InvestigationFilter {
        level: vec![Severity::High],
        ..all
    };
    assert_eq!(total(high).await, 2);
}

#[tokio::test]
async fn what_a_killed_agent_left_open_is_over_when_the_next_one_starts() {
    let (_directory, path) = place();
    let mut mint = Mint::Counted(0);
    let [left, ended] =
        ["203.0.113.7", "203.0.113.8"].map(|source| investigation(&alert(&mut mint, 1, source), Severity::Medium, 0));
    let ended = Investigation {
        state: InvestigationState::Complete,
        ..ended
    };
    {
        let running = Running::at(&path);
        let records = [&left, &ended].map(|found| Record::Investigation(Arc::new(found.clone())));
        running.store.commit(records.into()).await.unwrap();
    }
    let running = Running::at(&path);
    let over = Investigation {
        state: InvestigationState::NoAnswer,
        ..left.clone()
    };
    assert_eq!(running.store.investigation(left.id).await.unwrap(), Some(over));
    assert_eq!(running.store.investigation(ended.id).await.unwrap(), Some(ended));
    let states = Connection::open(&path).unwrap().query_row(
        "SELECT group_concat(state) FROM (SELECT state FROM investigations ORDER BY seq)",
        [],
        |row| row.get::<_, String>(0),
    );
    assert_eq!(states.unwrap(), "no_answer,complete");
}

impl Store {
    /// Lends every connection to somebody who does not give it back until the value is dropped.
    pub(crate) fn hang(&self) -> Vec<std::sync::mpsc::Sender<()>> {
        let hang = |_| {
            let (until, over) = std::sync::mpsc::channel::<()>();
            let readers = Arc::clone(&self.readers);
            tokio::spawn(async move {
                readers
                    .with(move |_| {
                        let _ = over.recv();
                        Ok(())
                    })
                    .await
            });
            until
        };
        (0..read::READERS).map(hang).collect()
    }
}

#[tokio::test]
async fn looks_that_are_given_up_and_hang_take_no_more_than_their_places() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let begun = Arc::new(AtomicU64::new(0));
    let mut hanging = Vec::new();
    for _ in 0..4 * read::READERS {
        let (until, over) = std::sync::mpsc::channel::<()>();
        hanging.push(until);
        let begun = Arc::clone(&begun);
        let look = running.store.readers.with(move |_| {
            begun.fetch_add(1, Relaxed);
            let _ = over.recv();
            Ok(())
        });
        let given_up = tokio::time::timeout(Duration::from_millis(20), look).await;
        assert!(given_up.is_err());
    }
    eventually("every place to be taken", || {
        begun.load(Relaxed) >= read::READERS as u64
    })
    .await;
    assert_eq!(begun.load(Relaxed), read::READERS as u64);
    drop(hanging);
    let alerts = running.store.alerts(AlertFilter::default());
    let read = tokio::time::timeout(Duration::from_mins(1), alerts).await;
    assert_eq!(read.expect("their places come back").unwrap().total, 0);
}

#[tokio::test]
async fn pages_are_stable_under_inserts() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let first: Vec<_> = (0..25).map(|n| alert(&mut mint, n, "198.51.100.1")).collect();
    store
        .commit(first.iter().cloned().map(Record::Alert).collect())
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut filter = AlertFilter::default();
    filter.window.limit = 10;
    loop {
        let page = store.alerts(filter.clone()).await.unwrap();
        seen.extend(page.items.into_iter().map(|a| a.id));
        // Something new between any two pages must neither repeat nor hide a row.
        store
            .commit(vec![Record::Alert(alert(&mut mint, 100, "198.51.100.2"))])
            .await
            .unwrap();
        filter.window.cursor = page.next_cursor;
        if filter.window.cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = first.iter().rev().map(|a| a.id).collect();
    assert_eq!(seen, expected);

    filter.window.cursor = Some("de5".into());
    assert!(
        matches!(store.alerts(filter).await, Err(StoreError::Cursor(_))),
        "another list's mark"
    );
}

#[tokio::test]
async fn filters_find_what_they_name() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let records = vec![
        Record::Alert(alert(&mut mint, 1, "198.51.100.1")),
        Record::Alert(alert(&mut mint, 2, "2001:db8::1")),
        Record::Decision(decision(&mut mint, 3, "198.51.100.0/24", DecisionStatus::Active)),
        Record::Decision(decision(&mut mint, 4, "2001:db8::/64", DecisionStatus::Expired)),
    ];
    store.commit(records).await.unwrap();

    let alerts = async |ip: &str, since: Option<i64>| {
        let window = Window {
            since: since.map(|s| Timestamp(s * 1_000_000_000)),
            ..Window::default()
        };
        let ip = Some(ip.parse().unwrap());
        store
            .alerts(AlertFilter {
                window,
                ip,
                ..AlertFilter::default()
            })
            .await
            .unwrap()
            .total
    };
    assert_eq!(alerts("198.51.100.1/32", None).await, 1);
    assert_eq!(alerts("198.51.0.0/16", None).await, 1);
    assert_eq!(alerts("2001:db8::/32", None).await, 1);
    assert_eq!(
        alerts("::/0", None).await,
        2,
        "IPv4 lies inside ::/0 as mapped addresses"
    );
    assert_eq!(alerts("198.51.100.1/32", Some(2)).await, 0);

    let decisions = async |ip: Option<&str>, active| {
        let ip = ip.map(|ip| ip.parse().unwrap());
        let filter = DecisionFilter {
            ip,
            active,
            ..DecisionFilter::default()
        };
        store.decisions(filter).await.unwrap().total
    };
    assert_eq!(
        decisions(Some("198.51.100.77/32"), None).await,
        1,
        "an address inside a blocked prefix"
    );
    assert_eq!(decisions(Some("198.51.101.1/32"), None).await, 0);
    assert_eq!(decisions(None, Some(true)).await, 1);
    assert_eq!(decisions(None, Some(false)).await, 1);
    let severe = AlertFilter {
        severity: vec![Severity::Low, Severity::Medium],
        ..AlertFilter::default()
    };
    assert_eq!(store.alerts(severe).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_refused_record_takes_only_its_own_commit_with_it() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let mut bad = (*alert(&mut mint, 1, "198.51.100.1")).clone();
    bad.score = f64::NAN;
    let refused = store.commit(vec![audit(1), Record::Alert(Arc::new(bad))]);
    let kept = store.commit(vec![audit(2)]);
    let (refused, kept) = tokio::join!(refused, kept);
    assert!(matches!(refused, Err(StoreError::Rejected(_))));
    kept.unwrap();
    let verdict = store.verify_audit().await.unwrap();
    assert_eq!((verdict.intact, verdict.broken), (1, None), "the chain has no hole");
    assert_eq!(store.tally().rejected, 2);
}

/// Not a test of its own: the process that [`killed_agent_loses_no_acknowledged_row`] kills.
#[tokio::test]
async fn child_that_commits_until_killed() {
    let Some(path) = std::env::var_os("SENTINEL_STORE_CHILD") else {
        return;
    };
    let running = Running::at(Path::new(&path));
    let mut mint = Mint::Random;
    for n in 0.. {
        let decision = decision(&mut mint, n, "198.51.100.1/32", DecisionStatus::Active);
        let id = decision.id;
        running
            .store
            .commit(vec![Record::Decision(decision), audit(1)])
            .await
            .unwrap();
        println!("acknowledged {id}");
    }
}

#[tokio::test]
async fn killed_agent_loses_no_acknowledged_row() {
    use std::io::{BufRead, BufReader};
    let (_directory, path) = place();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::child_that_commits_until_killed",
                "--nocapture",
            ])
            .env("SENTINEL_STORE_CHILD", &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = acknowledged.len() + 20 + round * 7;
        for line in lines {
            let line = line.unwrap();
            if let Some((_, id)) = line.split_once("acknowledged ") {
                acknowledged.push(id.parse::<DecisionId>().unwrap());
            }
            if acknowledged.len() == wanted {
                // SIGKILL; what it still manages to print counts as acknowledged too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= wanted, "the child ended by itself");
    }
    let running = Running::at(&path);
    for id in &acknowledged {
        assert!(
            running.store.decision(*id).await.unwrap().is_some(),
            "{id} was acknowledged and is gone"
        );
    }
    let verdict = running.store.verify_audit().await.unwrap();
    assert_eq!(verdict.broken, None);
    assert!(verdict.intact >= acknowledged.len() as i64);
    println!(
        "kill -9: {} acknowledged rows in 5 rounds, none lost",
        acknowledged.len()
    );
}

#[tokio::test]
async fn a_database_of_the_first_release_is_migrated_with_what_it_holds() {
    let (_directory, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut mint = Mint::Counted(0);
    let old = decision(&mut mint, 1, "192.0.2.1/32", DecisionStatus::Active);
    {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "application_id", 0x5345_4e54).unwrap();
        connection.execute_batch(include_str!("migrations/0001.sql")).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute(
                "INSERT INTO decisions (id, at, low, high, action, status, origin, json)
                 VALUES (?1, 1, x'00', x'00', 'block_ip', 'active', 'detector', ?2)",
                rusqlite::params![old.id.0.as_bytes(), serde_json::to_string(&*old).unwrap()],
            )
            .unwrap();
    }
    let running = Running::at(&path);
    let store = &running.store;
    assert_eq!(store.active_decisions().await.unwrap(), [Decision::clone(&old)]);
    assert_eq!(store.watched_decisions().await.unwrap(), []);
    let watched = Decision {
        status: DecisionStatus::Expired,
        terms: Terms {
            watch_until: Some(Timestamp(5_000)),
            ..old.terms
        },
        ..Decision::clone(&old)
    };
    let keep = |decision: &Decision| vec![Record::Decision(Arc::new(decision.clone()))];
    store.commit(keep(&watched)).await.unwrap();
    assert_eq!(store.watched_decisions().await.unwrap(), std::slice::from_ref(&watched));
    let only = DecisionFilter {
        watched: true,
        ..DecisionFilter::default()
    };
    assert_eq!(
        store.decisions(only).await.unwrap().items,
        std::slice::from_ref(&watched)
    );
    let over = Decision {
        terms: Terms::default(),
        ..watched
    };
    store.commit(keep(&over)).await.unwrap();
    assert_eq!(store.watched_decisions().await.unwrap(), []);
    assert_eq!(store.active_decisions().await.unwrap(), []);
}

#[test]
fn refuses_what_it_cannot_use_and_changes_nothing() {
    let (directory, path) = place();
    drop(Running::at(&path));
    let good = std::fs::read(&path).unwrap();
    let refuse = |bytes: &[u8], words: &[&str]| {
        let path = directory.path().join("refused.db");
        for tail in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{tail}", path.display()));
        }
        std::fs::write(&path, bytes).unwrap();
        for error in [Store::open(&path).map(|_| ()), Store::read_only(&path).map(|_| ())] {
            let text = error.unwrap_err().to_string();
            for word in words {
                assert!(text.contains(word), "`{word}` is missing in: {text}");
            }
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "the refused file was changed");
    };
    refuse(
        b"these are not the pages you are looking for, and there are quite many of them",
        &["move it away", "-wal"],
    );

    let newer = directory.path().join("newer.db");
    std::fs::write(&newer, &good).unwrap();
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    refuse(
        &std::fs::read(&newer).unwrap(),
        &["99", &format!("up to {}", schema::VERSION), "move the file away"],
    );

    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    refuse(&std::fs::read(&foreign).unwrap(), &["another program", "store.path"]);
}

#[test]
fn refuses_a_damaged_page() {
    let (directory, path) = place();
    drop(Running::at(&path));
    let mut bytes = std::fs::read(&path).unwrap();
    let page = 4096;
    assert!(bytes.len() > 3 * page);
    bytes[2 * page..3 * page].fill(0xff);
    let damaged = directory.path().join("damaged.db");
    std::fs::write(&damaged, &bytes).unwrap();
    let text = Store::open(&damaged).unwrap_err().to_string();
    assert!(text.contains("restore a backup"), "{text}");
    assert!(std::fs::read(&damaged).unwrap() == bytes);
}

#[test]
fn refuses_a_second_agent_and_an_unusable_place() {
    let (directory, path) = place();
    let running = Running::at(&path);
    let text = Store::open(&path).unwrap_err().to_string();
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    drop(running);
    drop(Running::at(&path));

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = Store::open(&file.join("sentinel.db")).unwrap_err().to_string();
    assert!(
        text.contains("cannot be written") && text.contains("store.path"),
        "{text}"
    );
    let text = Store::read_only(&directory.path().join("none.db"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("sentinel run"), "{text}");
}

#[tokio::test]
async fn tampered_audit_is_found() {
    let (_directory, path) = place();
    let check = async |sql: &str, expected: &str| {
        let _ = std::fs::remove_dir_all(path.parent().unwrap());
        {
            let running = Running::at(&path);
            running.store.commit((1..=5).map(audit).collect()).await.unwrap();
            assert_eq!(running.store.verify_audit().await.unwrap().broken, None);
        }
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let verdict = Running::at(&path).store.verify_audit().await.unwrap();
        assert!(
            verdict.broken.as_ref().is_some_and(|b| b.contains(expected)),
            "{sql}: {verdict:?}"
        );
    };
    check("UPDATE audit SET actor = 'mallory' WHERE seq = 3", "row 3 is not").await;
    check("UPDATE audit SET at = at + 1 WHERE seq = 1", "row 1 is not").await;
    check(
        "UPDATE audit SET verb = verb || subject, subject = '' WHERE seq = 2",
        "row 2 is not",
    )
    .await;
    check("DELETE FROM audit WHERE seq = 4", "row 4 is missing").await;
    check("DELETE FROM audit WHERE seq = 5", "ends at row 4").await;
    check("DELETE FROM audit", "ends at row 0").await;
}

/// A small tmpfs that goes away with the value.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Self(directory))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

/// Writes zeros until the disk is full.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

#[tokio::test]
async fn full_disk_queues_degrades_and_recovers() {
    let Some(disk) = Tmpfs::new("2m") else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let path = disk.0.path().join("sentinel.db");
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let mut all = Vec::new();
    store.commit(vec![audit(1)]).await.unwrap();
    fill(&disk.0.path().join("filler"));

    // The log may have pages to reuse: commit until the disk says no. Large rows, so that it cannot take one now and then.
    let large = || Record::Audit {
        at: Timestamp(2),
        actor: "alice".into(),
        verb: "note".into(),
        subject: String::new(),
        detail: "x".repeat(16 * 1024),
    };
    let mut queued = Vec::new();
    while queued.len() < 20 {
        let decision = decision(&mut mint, 1, "198.51.100.1/32", DecisionStatus::Active);
        all.push(decision.id);
        // A tmpfs counts its pages per CPU and finds a few more now and then.
        fill(&disk.0.path().join("filler"));
        let started = Instant::now();
        match store.commit(vec![Record::Decision(decision), large()]).await {
            Ok(()) => assert!(all.len() < 10_000, "the disk never filled"),
            Err(StoreError::Queued { .. }) => queued.push(started.elapsed()),
            Err(other) => panic!("{other}"),
        }
        assert!(started.elapsed() < Duration::from_mins(1), "the answer came late");
    }
    queued.sort();
    eprintln!(
        "figure: answer while the disk is full, median = {:.3} s",
        queued[10].as_secs_f64()
    );
    let condition = store.condition();
    let said = |words: [&str; 2]| match &*condition.borrow() {
        Condition::Degraded { cause, mend } => cause.contains(words[0]) && mend.contains(words[1]),
        Condition::Ok { .. } => false,
    };
    eventually("degraded, with cause and mend", || said(["full", "free space"])).await;
    assert!(store.tally().backlog > 0);
    let readable = store.audit(AuditFilter::default()).await.unwrap().total;
    assert!(readable > 0, "reading goes on");

    std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    eventually("recovery", || matches!(*condition.borrow(), Condition::Ok { .. })).await;
    for id in &all {
        assert!(
            store.decision(*id).await.unwrap().is_some(),
            "{id} was queued and is gone"
        );
    }
    let verdict = store.verify_audit().await.unwrap();
    assert_eq!((verdict.broken, verdict.intact), (None, all.len() as i64 + 1));
    assert_eq!(store.tally().backlog, 0);
}

#[tokio::test]
async fn ballast_carries_the_first_records_on_a_full_disk() {
    let Some(disk) = Tmpfs::new("20m") else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let path = disk.0.path().join("sentinel.db");
    let reserve = disk.0.path().join("sentinel.db.ballast");
    let running = Running::at(&path);
    assert!(reserve.exists());
    fill(&disk.0.path().join("filler"));
    let condition = running.store.condition();
    for n in 0.. {
        running
            .store
            .commit(vec![audit(n)])
            .await
            .expect("the reserve makes room");
        assert!(n < 10_000, "the disk never filled");
        if matches!(*condition.borrow(), Condition::Degraded { .. }) {
            break;
        }
    }
    assert!(!reserve.exists());
    std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    eventually("a new reserve", || matches!(*condition.borrow(), Condition::Ok { .. })).await;
    assert!(reserve.exists());
}

#[test]
fn backlog_keeps_room_for_decisions_and_counts_what_it_refuses() {
    let mut mint = Mint::Counted(0);
    let one = alert(&mut mint, 1, "198.51.100.1");
    let found = investigation(&one, Severity::High, 0);
    let spent = QuotaRow {
        source: "x".into(),
        period: "day".into(),
        began_at: Timestamp(0),
        spent: 1,
        learned: None,
    };
    for plenty in [
        Record::Alert(one),
        Record::Investigation(Arc::new(found)),
        Record::IntelQuota(spent),
    ] {
        let mut backlog = backlog::Backlog::default();
        let mut taken = 0;
        while backlog.take(vec![plenty.clone(); 64]) {
            taken += 64;
        }
        assert_eq!(taken, backlog::BACKLOG / 2, "{plenty:?}");
        assert!(backlog.take(vec![audit(1)]), "must not push out the audit: {plenty:?}");
        while backlog.take(vec![audit(1); 64]) {}
        assert!(backlog.len() <= backlog::BACKLOG && backlog.len() > backlog::BACKLOG - 64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_commit_is_many_times_one_by_one() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let alone = Instant::now();
    for n in 0..100 {
        store.commit(vec![audit(n)]).await.unwrap();
    }
    let alone = alone.elapsed() / 100;
    let together = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..5_000 {
        let store = store.clone();
        tasks.spawn(async move { store.commit(vec![audit(n)]).await });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap().unwrap();
    }
    let together = together.elapsed() / 5_000;
    println!("group commit: {alone:?} a row alone, {together:?} a row among 5,000 waiters");
    assert_eq!(store.tally().written, 5_100);
}

#[tokio::test]
async fn damage_while_running_degrades_and_shows_in_the_audit() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    running.store.commit(vec![audit(1)]).await.unwrap();
    // Another connection takes the table away: what the writer finds is no matter of the record or of space.
    Connection::open(&path)
        .unwrap()
        .execute_batch("DROP TABLE audit")
        .unwrap();
    let result = running.store.commit(vec![audit(2)]).await;
    assert!(matches!(result, Err(StoreError::Queued { .. })), "{result:?}");
    assert!(matches!(
        *running.store.condition().borrow(),
        Condition::Degraded { .. }
    ));
    let sql = "CREATE TABLE audit (seq INTEGER PRIMARY KEY, at INTEGER, actor TEXT, verb TEXT, subject TEXT, detail TEXT, hash BLOB)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let condition = running.store.condition();
    eventually("recovery", || matches!(*condition.borrow(), Condition::Ok { .. })).await;
    let verdict = running.store.verify_audit().await.unwrap();
    assert_eq!(
        verdict.broken.as_deref(),
        Some("row 1 is missing"),
        "what was lost is seen"
    );
}

#[tokio::test]
async fn decisions_are_found_by_the_alerts_they_followed_from() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let alerts: Vec<AlertId> = (0..3).map(|n| mint.alert(Timestamp(n))).collect();
    let mut made = Vec::new();
    for (second, alert) in [
        (1, Some(alerts[0])),
        (2, Some(alerts[1])),
        (3, None),
        (4, Some(alerts[0])),
    ] {
        let plain = decision(&mut mint, second, "203.0.113.7/32", DecisionStatus::Active);
        made.push(Arc::new(Decision {
            alert,
            ..(*plain).clone()
        }));
    }
    store
        .commit(made.iter().cloned().map(Record::Decision).collect())
        .await
        .unwrap();
    let found = async |wanted: &[AlertId]| {
        let filter = DecisionFilter {
            alert: wanted.to_vec(),
            ..DecisionFilter::default()
        };
        let page = store.decisions(filter).await.unwrap();
        page.items.into_iter().map(|d| d.id).collect::<Vec<_>>()
    };
    assert_eq!(found(&alerts[..1]).await, [made[3].id, made[0].id]);
    assert_eq!(found(&alerts[..2]).await, [made[3].id, made[1].id, made[0].id]);
    assert_eq!(found(&alerts[2..]).await, []);
    assert_eq!(found(&[]).await.len(), 4);
}
