//! The room over a real store and a real directory; only the clock is played.

use super::*;
use crate::config::{ReportSchedule, TimeOfDay, Zone};
use crate::store::AuditFilter;
use crate::types::testing::alert;
use std::os::unix::fs::PermissionsExt;
use std::thread::JoinHandle;
use tempfile::TempDir;

struct House {
    directory: TempDir,
    store: Store,
    writer: Option<JoinHandle<()>>,
    health: watch::Receiver<Arc<Health>>,
    health_tx: watch::Sender<Arc<Health>>,
    acting: watch::Sender<Arc<Acting>>,
    metrics: Arc<Metrics>,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("s.db")).unwrap();
        let (health_tx, health) = watch::channel(Arc::default());
        let (acting, _) = watch::channel(Arc::default());
        Self {
            directory,
            store,
            writer: Some(std::thread::spawn(move || writer.run())),
            health,
            health_tx,
            acting,
            metrics: Arc::default(),
        }
    }

    fn config(&self) -> ReportsConfig {
        ReportsConfig {
            schedule: ReportSchedule::Daily,
            at: TimeOfDay { hour: 7, minute: 0 },
            timezone: Zone::utc(),
            formats: vec!["json".into(), "pdf".into()],
            directory: self.directory.path().join("a/reports"),
            keep: 2,
            ..ReportsConfig::default()
        }
    }

    fn room(&self, config: ReportsConfig, mail: bool, now: fn() -> Timestamp) -> Reporting {
        let deps = ReportDeps {
            store: self.store.clone(),
            mode: Mode::Production,
            acting: self.acting.subscribe(),
            metrics: Arc::clone(&self.metrics),
            health: self.health_tx.clone(),
            mail: watch::channel(mail).1,
        };
        let mut room = Reporting::new(config, deps);
        room.now = now;
        room
    }

    fn said(&self) -> Option<Condition> {
        self.health.borrow().components.get(&Component::Reports).cloned()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.store.close();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A clock for one test: a name, and the time it shows.
macro_rules! clock {
    ($name:ident) => {
        static $name: AtomicI64 = AtomicI64::new(0);
    };
}

#[tokio::test(start_paused = true)]
async fn the_past_day_is_told_once_and_a_missed_run_is_made_up_for_once() {
    clock!(CLOCK);
    let show = |text: &str| CLOCK.store(at(text).0, Ordering::Relaxed);
    let now = || Timestamp(CLOCK.load(Ordering::Relaxed));
    let house = House::new();
    let mut mint = Mint::Counted(0);
    let mut records = Vec::new();
    for time in [
        "2026-11-27T23:59:59Z",
        "2026-11-28T00:00:00Z",
        "2026-11-28T23:59:59.999Z",
        "2026-11-29T00:00:00Z",
    ] {
        records.push(Record::Alert(Arc::new(alert(&mut mint, at(time)))));
    }
    house.store.commit(records).await.unwrap();
    let room = house.room(house.config(), true, now);
    let directory = house.config().directory;

    show("2026-11-28T12:00:00Z");
    room.look().await.unwrap();
    assert_eq!(
        kept::list(&directory).unwrap(),
        [],
        "what was before the first start is not made up for"
    );
    show("2026-11-29T06:59:59Z");
    let wait = room.look().await.unwrap();
    assert_eq!(wait, Duration::from_secs(1));
    assert!(kept::list(&directory).unwrap().is_empty());
    show("2026-11-29T07:00:00Z");
    room.look().await.unwrap();
    let made = kept::list(&directory).unwrap();
    let names: Vec<_> = made.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(
        names,
        ["sentinel-daily-2026-11-28.json", "sentinel-daily-2026-11-28.pdf"]
    );
    for name in names {
        let mode = std::fs::metadata(directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640 & mode & 0o777, "{name}: {mode:o}");
        assert_eq!(mode & 0o007, 0, "{name}");
    }
    let (_, told) = kept::read(&directory, "sentinel-daily-2026-11-28.json")
        .unwrap()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let all = &told["alerts"]["all"];
    let total: u64 = ["low", "medium", "high"].iter().map(|s| all[s].as_u64().unwrap()).sum();
    assert_eq!(total, 2, "exactly the day");
    assert_eq!(
        (&told["alerts"]["read"], &told["alerts"]["sources"][0]["count"]),
        (&2.into(), &2.into())
    );
    assert_eq!(told["until"], "2026-11-29T00:00:00.000000Z");
    let mail = house.store.next_messages(ChannelKind::Email, 10).await.unwrap();
    let [
        Message {
            content: Content::Report { title, files },
            ..
        },
    ] = mail.as_slice()
    else {
        panic!("one message: {mail:?}")
    };
    assert_eq!((title.as_str(), files.len()), ("Sentinel daily report, 2026-11-28", 2));
    let line = house.store.audit(AuditFilter::default()).await.unwrap().items.remove(0);
    assert_eq!(line.verb, "report.made");
    assert!(
        line.subject.contains("sentinel-daily-2026-11-28.pdf"),
        "{}",
        line.subject
    );

    room.look().await.unwrap();
    assert_eq!(
        house.store.next_messages(ChannelKind::Email, 10).await.unwrap().len(),
        1,
        "once"
    );
    // Off for a week: the latest day is made up for, and no other; the next start makes none.
    show("2026-12-06T09:00:00Z");
    let room = house.room(house.config(), false, now);
    room.look().await.unwrap();
    room.look().await.unwrap();
    let days: Vec<_> = kept::list(&directory)
        .unwrap()
        .into_iter()
        .map(|kept| kept.day)
        .collect();
    assert_eq!(days, ["2026-12-05", "2026-12-05", "2026-11-28", "2026-11-28"]);
    show("2026-12-07T09:00:00Z");
    room.look().await.unwrap();
    let days: Vec<_> = kept::list(&directory)
        .unwrap()
        .into_iter()
        .map(|kept| kept.day)
        .collect();
    assert_eq!(
        days,
        ["2026-12-06", "2026-12-06", "2026-12-05", "2026-12-05"],
        "two are kept"
    );
    assert!(matches!(house.said(), Some(Condition::Ok { detail }) if detail.contains("2026-12-08T07:00")));
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_written_degrades_and_is_tried_again() {
    clock!(CLOCK);
    let now = || Timestamp(CLOCK.load(Ordering::Relaxed));
    let house = House::new();
    let mut config = house.config();
    let file = house.directory.path().join("a");
    std::fs::write(&file, "in the way").unwrap();
    config.formats = vec!["html".into()];
    CLOCK.store(at("2026-11-29T07:00:00Z").0, Ordering::Relaxed);
    house
        .store
        .commit(vec![Record::Reported(at("2026-11-28T07:00:00Z"))])
        .await
        .unwrap();
    let room = house.room(config.clone(), false, now);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(room.run(cancel.clone()));
    let mut health = house.health.clone();
    let degraded = |health: &Arc<Health>| {
        matches!(health.components.get(&Component::Reports), Some(Condition::Degraded { cause, mend })
            if cause.contains("a/reports") && mend.contains("reports.directory"))
    };
    health.wait_for(degraded).await.unwrap();
    assert_eq!(
        house.store.last_report().await.unwrap(),
        Some(at("2026-11-28T07:00:00Z"))
    );
    std::fs::remove_file(&file).unwrap();
    health
        .wait_for(|health| matches!(health.components.get(&Component::Reports), Some(Condition::Ok { .. })))
        .await
        .unwrap();
    assert_eq!(kept::list(&config.directory).unwrap().len(), 1);
    assert_eq!(
        house.store.last_report().await.unwrap(),
        Some(at("2026-11-29T07:00:00Z"))
    );
    cancel.cancel();
    running.await.unwrap();
}
