//! What is too old or too much goes, nothing else does, and the file shrinks while it is used.

use super::*;
use crate::store::{Retain, insert, plan};
use crate::types::{Bystander, Ended, EndedOne, Hits, ProofRow, Tally as ShadowTally};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

const DAY: i64 = 86_400;
/// Now: the hundredth day.
const NOW: Timestamp = Timestamp(100 * DAY * 1_000_000_000);

fn ago(days: i64) -> Timestamp {
    Timestamp(NOW.0 - days * DAY * 1_000_000_000)
}

fn aged(days: i64) -> Retain {
    Retain {
        now: NOW,
        alerts: Some(ago(days)),
        investigations: Some(ago(days)),
        decisions: Some(ago(days)),
        ..Retain::default()
    }
}

fn number(path: &Path, sql: &str) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Puts alerts into a file nobody else has open, in one transaction: `each` of every hour.
fn fill_alerts(path: &Path, hours: std::ops::Range<i64>, each: i64) {
    let mut connection = schema::open_writer(path).unwrap();
    let transaction = connection.transaction().unwrap();
    let mut mint = Mint::Random;
    let mut head = audit::Head::default();
    for hour in hours {
        for n in 0..each {
            let source = std::net::Ipv4Addr::from(0xcb00_7100 + (n % 250) as u32).to_string();
            let record = Record::Alert(alert(&mut mint, hour * 3600 + n % 3600, &source));
            insert::insert(&transaction, &mut head, &Counters::default(), &record).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn what_is_old_goes_and_lists_totals_and_cursors_hold() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let mut records = Vec::new();
    for day in 0..100 {
        let one = alert(&mut mint, day * DAY + 5, "203.0.113.7");
        let mut found = investigation(&one, Severity::Medium, 0);
        found.state = if day == 3 {
            InvestigationState::Open
        } else {
            InvestigationState::Complete
        };
        records.extend([Record::Alert(one), Record::Investigation(Arc::new(found))]);
    }
    // One that came late, long after younger ones.
    records.push(Record::Alert(alert(&mut mint, DAY, "203.0.113.8")));
    records.push(Record::Alert(alert(&mut mint, 99 * DAY + 6, "203.0.113.9")));
    store.commit(records).await.unwrap();
    let window = |cursor| AlertFilter {
        window: Window {
            limit: 5,
            cursor,
            since: None,
        },
        ..AlertFilter::default()
    };
    let first = store.alerts(window(None)).await.unwrap();
    assert_eq!(first.total, 102);

    let gone = store.retain(aged(90)).await.unwrap();
    // Of the days 0 to 9, and the late one; the open investigation stays.
    assert_eq!(
        gone.rows,
        BTreeMap::from([(("alerts", "age"), 11), (("investigations", "age"), 9)])
    );
    let again = store.retain(aged(90)).await.unwrap();
    assert_eq!(again.rows, BTreeMap::new(), "nothing is left to go");
    let mut page = store.alerts(window(first.next_cursor.clone())).await.unwrap();
    let mut seen = first.items.len() + page.items.len();
    assert_eq!(page.total, 91);
    while let Some(cursor) = page.next_cursor {
        page = store.alerts(window(Some(cursor))).await.unwrap();
        seen += page.items.len();
    }
    assert_eq!(
        seen, 92,
        "a page in flight goes on where it was, after one that went since"
    );
    let hours = number(&path, "SELECT sum(alerts) FROM alert_hours");
    assert_eq!((hours, number(&path, "SELECT count(*) FROM alerts")), (91, 91));
    assert_eq!(number(&path, "SELECT count(*) FROM alert_hours WHERE alerts <= 0"), 0);

    // All of it is old: the newest of each stays, so that numbers go on.
    let last = number(&path, "SELECT max(seq) FROM alerts");
    store.retain(aged(-1)).await.unwrap();
    assert_eq!(number(&path, "SELECT count(*) FROM alerts"), 1);
    store
        .commit(vec![Record::Alert(alert(&mut mint, 99 * DAY + 7, "203.0.113.9"))])
        .await
        .unwrap();
    assert_eq!(number(&path, "SELECT max(seq) FROM alerts"), last + 1);
    let space = store.space().await.unwrap();
    assert_eq!(space.removed["alerts.age"], 11 + 90);
    assert!(space.shrinks && space.bytes > 0);
    assert_eq!(space.oldest["alerts"], Timestamp((99 * DAY + 6) * 1_000_000_000));
}

#[tokio::test]
async fn what_no_reader_has_come_to_stays_by_age_and_is_told_as_lost_by_size() {
    let (_directory, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    fill_alerts(&path, 0..40, 1000);
    let note = Connection::open(&path).unwrap();
    for (key, value) in [("cursor.siem", "39000"), ("cursor.mail", "12000"), ("cursorless", "1")] {
        note.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", [key, value])
            .unwrap();
    }
    drop(note);
    let running = Running::at(&path);
    let gone = running.store.retain(aged(1)).await.unwrap();
    assert_eq!(gone.rows, BTreeMap::from([(("alerts", "age"), 12_000)]));
    assert_eq!(gone.unread, BTreeMap::new());

    let before = running.store.space().await.unwrap();
    let used = before.bytes - before.free;
    let bound = Retain {
        now: NOW,
        max_bytes: Some(used / 2),
        ..Retain::default()
    };
    let gone = running.store.retain(bound).await.unwrap();
    let (lost, all) = (gone.unread["mail"], gone.of("size"));
    assert_eq!(lost, all, "all of them were unread by one");
    assert!(!gone.too_large && all > 8_000 && all < 28_000, "{gone:?}");
    assert_eq!(gone.unread.get("siem"), None);
    let after = running.store.space().await.unwrap();
    assert!(after.bytes - after.free <= used / 2, "{after:?}");
    assert!(after.bytes < before.bytes * 7 / 10, "{before:?} {after:?}");
    assert_eq!(after.removed["unread.mail"], lost);
    assert_eq!(
        number(&path, "SELECT min(seq) FROM alerts"),
        12_000 + all as i64 + 1,
        "the oldest went"
    );

    // A bound that cannot be held is said.
    let tiny = Retain {
        max_bytes: Some(4096),
        ..bound
    };
    let gone = running.store.retain(tiny).await.unwrap();
    assert!(gone.too_large && gone.unread["siem"] == 999, "{gone:?}");
    assert_eq!(number(&path, "SELECT count(*) FROM alerts"), 1);
}

#[tokio::test]
async fn decisions_go_with_what_belongs_to_them_and_never_one_that_still_matters() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let store = &running.store;
    let mut mint = Mint::Counted(0);
    let kept_alert = alert(&mut mint, DAY, "203.0.113.7");
    let mut records = vec![Record::Alert(kept_alert.clone())];
    let mut put = |status, change: &dyn Fn(&mut Decision, &mut Action)| {
        let mut one = Decision::clone(&decision(&mut mint, 2 * DAY, "203.0.113.7/32", status));
        let mut done = Action::clone(&action(&mut mint, &one));
        done.status = ActionStatus::Expired;
        change(&mut one, &mut done);
        let hits = Hits::default();
        let (at, ip) = (one.at, "203.0.113.9".parse().unwrap());
        records.extend([
            Record::Undo {
                action: done.id,
                json: "{}".into(),
            },
            Record::Proof(Box::new(ProofRow {
                decision: one.id,
                at,
                sha256: [7; 32],
                ground: "{}".into(),
                proof: "{}".into(),
            })),
            Record::Tally(Arc::new(ShadowTally {
                decision: one.id,
                at,
                hits,
                seen: hits,
            })),
            Record::Bystander(Arc::new(Bystander {
                decision: one.id,
                ip,
                sessions: 1,
                first: at,
                last: at,
            })),
            Record::Decision(Arc::new(one.clone())),
            Record::Action(Arc::new(done)),
        ]);
        one.id
    };
    let over = DecisionStatus::Expired;
    let plain = put(over, &|_, _| {});
    let vetoed = put(DecisionStatus::Vetoed, &|_, _| {});
    let stay = [
        put(DecisionStatus::Active, &|_, a| a.status = ActionStatus::Enforced),
        put(over, &|d, _| {
            d.terms.watch_until = Some(Timestamp(3 * DAY * 1_000_000_000));
        }),
        put(over, &|_, a| {
            (a.kind, a.status) = (ActionKind::IsolateContainer, ActionStatus::Enforced);
        }),
        put(over, &|d, _| d.alert = Some(kept_alert.id)),
        put(over, &|d, _| d.ended_at = Some(ago(1))),
        // The newest row of all.
        put(over, &|_, _| {}),
    ];
    store.commit(records).await.unwrap();
    let rule = Retain {
        alerts: None,
        ..aged(50)
    };
    let gone = store.retain(rule).await.unwrap();
    assert_eq!(
        gone.rows,
        BTreeMap::from([(("actions", "age"), 2), (("decisions", "age"), 2)])
    );
    for id in [plain, vetoed] {
        assert_eq!(store.decision(id).await.unwrap(), None);
        assert!(store.actions_of(vec![id]).await.unwrap().is_empty());
        assert_eq!(store.proof(id).await.unwrap(), None);
        assert!(store.tallies(vec![id]).await.unwrap().is_empty());
        assert!(store.bystanders(vec![id]).await.unwrap().is_empty());
    }
    for id in stay {
        assert!(store.decision(id).await.unwrap().is_some());
        assert!(store.proof(id).await.unwrap().is_some(), "with its ground");
        assert_eq!(store.actions_of(vec![id]).await.unwrap().len(), 1);
    }
    assert_eq!(number(&path, "SELECT count(*) FROM undos"), 6);
    // For the size what is over goes whatever its alert and its end, and never what still matters.
    let tiny = Retain {
        now: NOW,
        max_bytes: Some(4096),
        ..Retain::default()
    };
    let gone = store.retain(tiny).await.unwrap();
    assert_eq!((gone.rows[&("decisions", "size")], gone.too_large), (2, true));
    for id in [stay[0], stay[1], stay[2], stay[5]] {
        assert!(store.decision(id).await.unwrap().is_some());
    }
    assert_eq!(store.isolations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_end_told_apart_keeps_its_decision_until_it_is_worked_in() {
    let directory = TempDir::new().unwrap();
    let connection = schema::open_writer(&directory.path().join("s.db")).unwrap();
    let mut head = audit::Head::default();
    let mut mint = Mint::Counted(0);
    let mut put = |record: &Record| insert::insert(&connection, &mut head, &Counters::default(), record).unwrap();
    let [first, last] = [1, 2].map(|n| decision(&mut mint, n, "203.0.113.7/32", DecisionStatus::Active));
    put(&Record::Decision(first.clone()));
    put(&Record::Decision(last));
    put(&Record::Ended(Arc::new(Ended {
        at: Timestamp(9),
        status: DecisionStatus::Expired,
        by: "expired".into(),
        each: vec![EndedOne {
            decision: first.id,
            watch_until: None,
            hits: 0,
            would_hits: 0,
        }],
    })));
    let pass = |connection: Connection| {
        let (done, mut outcome) = oneshot::channel();
        let mut connection = connection;
        let mut pass = Some(crate::store::retention::Pass::new(aged(50), done));
        let mut head = audit::Head::default();
        while let Some(now) = pass {
            pass = now.step(&mut connection, &mut head);
        }
        (connection, outcome.try_recv().unwrap().unwrap())
    };
    let (connection, gone) = pass(connection);
    assert_eq!(gone.of("age"), 0);
    while crate::store::ends::fold(&connection, 10).unwrap() {}
    let (connection, gone) = pass(connection);
    assert_eq!(gone.of("age"), 1);
    let left = plan::page(&connection, &DecisionFilter::default()).unwrap();
    assert_eq!((left.total, left.items.len()), (1, 1));
}

#[tokio::test]
async fn the_audit_goes_only_with_a_line_that_tells_of_it_and_the_chain_holds() {
    let (_directory, path) = place();
    let line = |day: i64| Record::Audit {
        at: Timestamp(day * DAY * 1_000_000_000),
        actor: "alice".into(),
        verb: "decisions.add".into(),
        subject: "203.0.113.7".into(),
        detail: "done".into(),
    };
    let rule = Retain {
        now: NOW,
        audit: Some(ago(30)),
        ..Retain::default()
    };
    {
        let running = Running::at(&path);
        let store = &running.store;
        store.commit((0..100).map(line).collect()).await.unwrap();
        let whole = store.verify_audit().await.unwrap();
        assert_eq!((whole.intact, whole.pruned, &whole.broken), (100, 0, &None));
        let gone = store.retain(rule).await.unwrap();
        assert_eq!(gone.rows, BTreeMap::from([(("audit", "age"), 70)]));
        let verdict = store.verify_audit().await.unwrap();
        assert_eq!((verdict.intact, verdict.pruned, &verdict.broken), (31, 70, &None));
        let newest = store.audit(AuditFilter::default()).await.unwrap().items.remove(0);
        assert_eq!(
            (newest.verb.as_str(), newest.subject.as_str()),
            ("audit.prune", "rows 1 to 70")
        );
        // Not again for some lines more: the audit would be about itself.
        store.commit(vec![line(100)]).await.unwrap();
        assert_eq!(store.retain(rule).await.unwrap().rows, BTreeMap::new());
        let later = Retain {
            audit: Some(ago(20)),
            ..rule
        };
        assert_eq!(store.retain(later).await.unwrap().of("age"), 10);
        let verdict = store.verify_audit().await.unwrap();
        assert_eq!((verdict.pruned, &verdict.broken), (80, &None));
    }
    // After a restart the chain goes on.
    {
        let running = Running::at(&path);
        running.store.commit(vec![line(101)]).await.unwrap();
        assert_eq!(running.store.verify_audit().await.unwrap().broken, None);
    }
    let tampered = |sql: &str, said: &str| {
        let copy = path.with_extension("copy");
        std::fs::copy(&path, &copy).unwrap();
        let connection = Connection::open(&copy).unwrap();
        connection.execute_batch(sql).unwrap();
        let verdict = audit::verify(&connection).unwrap();
        let broken = verdict.broken.unwrap_or_default();
        assert!(broken.contains(said), "{sql}: {broken:?}");
    };
    tampered(
        "UPDATE meta SET value = '80 ' || hex(zeroblob(32)) WHERE key = 'audit_anchor'",
        "row 81 is not as",
    );
    tampered(
        "UPDATE meta SET value = replace(value, '80 ', '79 ') WHERE key = 'audit_anchor'",
        "row 80 is missing",
    );
    tampered("DELETE FROM meta WHERE key = 'audit_anchor'", "row 1 is missing");
    tampered(
        "UPDATE meta SET value = 'x' WHERE key = 'audit_anchor'",
        "row 1 is missing",
    );
    tampered("DELETE FROM audit WHERE seq = 81", "row 81 is missing");
    // Somebody removes more, and moves the anchor as it ought to be: no line tells of that.
    tampered(
        "UPDATE meta SET value = (SELECT '90 ' || lower(hex(hash)) FROM audit WHERE seq = 90) WHERE key = 'audit_anchor';
         DELETE FROM audit WHERE seq <= 90",
        "no line of it tells",
    );
}

/// A file as a release before made it.
fn of_before(path: &Path, each: i64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    fill_alerts(path, 0..10, each);
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = delete; PRAGMA auto_vacuum = 0; VACUUM; PRAGMA journal_mode = wal;")
        .unwrap();
}

#[tokio::test]
async fn a_file_of_before_is_made_anew_once_and_loses_nothing() {
    let (_directory, path) = place();
    of_before(&path, 500);
    assert_eq!(number(&path, "PRAGMA auto_vacuum"), 0);
    let running = Running::at(&path);
    let space = running.store.space().await.unwrap();
    assert!(space.shrinks);
    let filter = AlertFilter::default();
    assert_eq!(running.store.alerts(filter).await.unwrap().total, 5_000);
    let sound = Connection::open(&path).unwrap();
    let verdict: String = sound.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn where_there_is_no_room_to_make_it_anew_it_is_used_as_it_is_until_the_next_start() {
    let Some(disk) = Tmpfs::new("64m") else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let path = disk.0.path().join("d/sentinel.db");
    of_before(&path, 2_000);
    let filler = disk.0.path().join("filler");
    let free = nix::sys::statvfs::statvfs(disk.0.path()).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let needed = 2 * path.metadata().unwrap().len();
    std::fs::write(&filler, vec![0; (free - needed) as usize + (1 << 20)]).unwrap();
    {
        let running = Running::at(&path);
        assert!(!running.store.space().await.unwrap().shrinks);
        let gone = running.store.retain(aged(1)).await.unwrap();
        assert_eq!(gone.of("age"), 19_999, "rows go all the same");
    }
    std::fs::remove_file(&filler).unwrap();
    let running = Running::at(&path);
    assert!(running.store.space().await.unwrap().shrinks);
    assert_eq!(running.store.alerts(AlertFilter::default()).await.unwrap().total, 1);
}

/// One alert a commit, until `over` or so many; how long each took, the shortest first.
async fn commit_times(store: &Store, over: &AtomicBool, most: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut mint = Mint::Random;
    while !over.load(Relaxed) && took.len() < most {
        let one = alert(&mut mint, 99 * DAY, "198.51.100.1");
        let began = Instant::now();
        store.commit(vec![Record::Alert(one)]).await.unwrap();
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort();
    took
}

/// Commits go on, somebody holds a snapshot, and the file shrinks all the same. `RETENTION_ALERTS=1000000` for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_shrinks_while_it_is_used_and_commits_hardly_wait() {
    let (_directory, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let rows: i64 = std::env::var("RETENTION_ALERTS").map_or(40_000, |rows| rows.parse().unwrap());
    fill_alerts(&path, 0..rows / 1000, 1000);
    let running = Running::at(&path);
    let store = running.store.clone();
    let before = std::fs::metadata(&path).unwrap().len();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM alerts").unwrap();
    let seen = |reader: &Connection| -> i64 {
        reader
            .query_row("SELECT count(*) FROM alerts", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(seen(&reader), rows);
    // Over many more rows it would be the log, which nobody can fold in meanwhile, that is measured.
    let reader = (rows <= 100_000).then_some(reader);
    let quiet = commit_times(&store, &AtomicBool::new(false), 200).await;

    let over = Arc::new(AtomicBool::new(false));
    let commits = {
        let (store, over) = (store.clone(), Arc::clone(&over));
        tokio::spawn(async move { commit_times(&store, &over, usize::MAX).await })
    };
    let began = Instant::now();
    let gone = store.retain(aged(1)).await.unwrap();
    let pass = began.elapsed();
    over.store(true, Relaxed);
    let took = commits.await.unwrap();
    assert_eq!(gone.rows[&("alerts", "age")], rows as u64);
    if let Some(reader) = reader {
        assert_eq!(seen(&reader), rows, "the snapshot is as it was");
    }
    // What the reader held back goes with the next one.
    store.retain(aged(1)).await.unwrap();
    let after = std::fs::metadata(&path).unwrap().len();
    println!(
        "{rows} alerts removed in {:.1} s; {} commits meanwhile (before: p50 {:.1} ms, p99 {:.1} ms): p50 {:.1} ms, p99 {:.1} ms, \
         longest {:.1} ms; file {} to {} KiB",
        pass.as_secs_f64(),
        took.len(),
        quiet[quiet.len() / 2].as_secs_f64() * 1e3,
        quiet[quiet.len() * 99 / 100].as_secs_f64() * 1e3,
        took[took.len() / 2].as_secs_f64() * 1e3,
        took[took.len() * 99 / 100].as_secs_f64() * 1e3,
        took[took.len() - 1].as_secs_f64() * 1e3,
        before / 1024,
        after / 1024
    );
    assert!(after < before / 2, "{before} to {after}");
    assert!(took.len() > 10);
    let kept = (quiet.len() + took.len()) as i64;
    assert_eq!(number(&path, "SELECT count(*) FROM alerts"), kept);
}

/// Not a test of its own: the process that [`a_kill_in_the_middle_leaves_a_sound_file`] kills.
#[tokio::test]
async fn child_that_removes_until_killed() {
    let Some(path) = std::env::var_os("SENTINEL_STORE_PRUNER") else {
        return;
    };
    let running = Running::at(Path::new(&path));
    println!("removing");
    running.store.retain(aged(1)).await.unwrap();
    println!("removed");
}

#[test]
fn a_kill_in_the_middle_leaves_a_sound_file() {
    use std::io::{BufRead, BufReader};
    let (_directory, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    fill_alerts(&path, 0..30, 1000);
    let mut left = 30_000;
    for round in 0..4 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::retention::child_that_removes_until_killed",
                "--nocapture",
            ])
            .env("SENTINEL_STORE_PRUNER", &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("removing"))
            .unwrap();
        // In the midst of it: once some are gone, if there are any left to go.
        let begun = Instant::now();
        while left > 0 && number(&path, "SELECT count(*) FROM alerts") == left {
            assert!(begun.elapsed() < Duration::from_mins(1), "nothing is removed");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(10 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let connection = Connection::open(&path).unwrap();
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok", "round {round}");
        let (rows, hours): (i64, i64) = connection
            .query_row(
                "SELECT (SELECT count(*) FROM alerts), (SELECT sum(alerts) FROM alert_hours)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert!(rows == hours && rows <= left, "round {round}: {rows} and {hours}");
        left = rows;
    }
    println!("killed 4 times; {left} of 30000 rows were left");
    assert!(left < 30_000);
}
