//! What is lost when, and what never is.

use super::formats::{by, each, validator};
use super::server::{Say, Server};
use super::{Books, Running, STARTED, alerts_in, counted, eventually, file_only, lines};
use crate::config::Format;
use crate::export::Happening;
use crate::export::board::Board;
use crate::export::outlet::{Answer, Batching, Doc, Feed, Outlet, Target, Trouble};
use crate::metrics::Metrics;
use crate::store::Record;
use crate::types::{
    ActionKind, Decision, DecisionId, DecisionStatus, Hits, InterfaceStats, Mint, Origin, Stats, Terms,
};
use sentinel_common::stat::COUNTERS;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_first_start_begins_with_what_comes_and_a_restart_where_the_run_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let mut mint = Mint::Counted(0);
    books.alerts(&mut mint, 0..3).await;
    let (config, path) = file_only(dir.path());
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    let mut names = books.alerts(&mut mint, 10..20).await;
    eventually("ten lines", || alerts_in(&path) == names).await;
    running.stop().await;
    names.extend(books.alerts(&mut mint, 20..25).await);
    let running = Running::start(&config, &books.store);
    eventually("what came in between", || alerts_in(&path) == names).await;
    assert_eq!(running.wrong(), None);
    running.stop().await;
    let validator = validator();
    assert!(lines(&path).iter().all(|line| validator.is_valid(line)));
}

#[tokio::test]
async fn kills_lose_no_alert() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let mut mint = Mint::Counted(0);
    let (config, path) = file_only(dir.path());
    let mut names = Vec::new();
    for round in 0..12 {
        let running = Running::start(&config, &books.store);
        if round == 0 {
            books.begun(&config).await;
        } else {
            tokio::time::sleep(Duration::from_millis(20 * (round % 8))).await;
        }
        names.extend(
            books
                .alerts(&mut mint, round as i64 * 100..round as i64 * 100 + 50)
                .await,
        );
        tokio::time::sleep(Duration::from_millis(15 * (round % 9))).await;
        running.kill().await;
    }
    let running = Running::start(&config, &books.store);
    let missing = || {
        let there: HashSet<String> = alerts_in(&path).into_iter().collect();
        names.iter().filter(|name| !there.contains(*name)).count()
    };
    eventually("all of them", || missing() == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_told_and_loses_no_alert() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let (config, path) = file_only(dir.path());
    std::fs::create_dir(&path).unwrap();
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    let names = books.alerts(&mut Mint::Counted(0), 0..5).await;
    eventually("it to be told", || {
        running.wrong().is_some_and(|wrong| wrong.contains("eve.json"))
    })
    .await;
    std::fs::remove_dir(&path).unwrap();
    eventually("all of them", || alerts_in(&path) == names).await;
    eventually("health", || running.wrong().is_none()).await;
    // Moved aside, and told so.
    let aside = dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    running.reopen.send_modify(|times| *times += 1);
    let more = books.alerts(&mut Mint::Counted(900), 10..12).await;
    eventually("a file anew", || alerts_in(&path) == more).await;
    assert_eq!(alerts_in(&aside), names);
    running.stop().await;
}

/// A sink that takes nothing until it is opened.
#[derive(Clone)]
struct Closed {
    open: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<String>>>,
    tries: Arc<Mutex<u32>>,
}

impl Target for Closed {
    const NAME: &'static str = "splunk";

    async fn deliver(&mut self, docs: &[Doc]) -> Answer {
        *self.tries.lock().unwrap() += 1;
        if !self.open.load(Ordering::Relaxed) {
            let trouble = Trouble {
                cause: "closed".to_owned(),
                ..Trouble::default()
            };
            return Answer::none(docs.len(), trouble);
        }
        self.got
            .lock()
            .unwrap()
            .extend(docs.iter().filter_map(|doc| doc.id.clone()));
        Answer::taken(docs.len())
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_loses_no_alert_and_is_not_knocked_at_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let begun = Instant::now();
    let sink = Closed {
        open: Arc::default(),
        got: Arc::default(),
        tries: Arc::default(),
    };
    let (health, _board) = watch::channel(Arc::default());
    let (queue_in, queue) = mpsc::channel(8);
    let bus = crate::bus::Bus::default();
    let (_reopen, reopen) = watch::channel(0);
    let feed = Feed {
        store: books.store.clone(),
        alerts: true,
        queue,
        wake: bus.subscribe(),
        reopen,
    };
    let metrics = Arc::new(Metrics::new());
    let batching = Batching {
        events: 100,
        flush: Duration::from_secs(1),
    };
    let shared = (Arc::new(Board::new(&["splunk"], health)), Arc::clone(&metrics));
    let outlet = Outlet::new(sink.clone(), feed, Format::Eve, Arc::new(by()), shared, batching);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(outlet.run(cancel.clone()));
    while books.store.cursor("splunk").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut mint = Mint::Counted(0);
    let mut names = Vec::new();
    for minute in 0..50 {
        names.extend(books.alerts(&mut mint, minute * 60..minute * 60 + 20).await);
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    tokio::time::sleep_until(begun + Duration::from_hours(1)).await;
    let (outage, tries) = (begun.elapsed(), *sink.tries.lock().unwrap());
    assert_eq!(sink.got.lock().unwrap().len(), 0);
    sink.open.store(true, Ordering::Relaxed);
    while sink.got.lock().unwrap().len() < names.len() {
        assert!(begun.elapsed() < outage * 2, "{}", sink.got.lock().unwrap().len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(*sink.got.lock().unwrap(), names, "in order, none twice");
    // Between half a minute and a minute apart, once it is known to last.
    let most = outage.as_secs() / 30 + 10;
    assert!(
        (outage.as_secs() / 60..most).contains(&u64::from(tries)),
        "{tries} tries in {outage:?}"
    );
    cancel.cancel();
    task.await.unwrap();
    drop(queue_in);
    assert_eq!(counted(&metrics, "splunk", "delivered"), names.len() as u64);
}

/// A decision that is stored, so that what is dropped under it has a name.
async fn blocked(books: &Books, id: u128, action: ActionKind) -> DecisionId {
    let decision = Decision {
        id: DecisionId(uuid::Uuid::from_u128(id)),
        at: STARTED,
        target: "203.0.113.7/32".parse().unwrap(),
        action,
        terms: Terms::default(),
        expires_at: Some(STARTED.after(Duration::from_hours(1))),
        until_if_confirmed: None,
        simulated: false,
        origin: Origin::Operator,
        actor: "alice".into(),
        reason: "because".into(),
        alert: None,
        severity: None,
        risk: None,
        basis: None,
        checks: Vec::new(),
        collateral: None,
        investigation: None,
        status: DecisionStatus::Active,
        veto: None,
        ended_at: None,
    };
    let id = decision.id;
    books
        .store
        .commit(vec![Record::Decision(Arc::new(decision))])
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn drops_flows_and_totals_are_lines() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let (mut config, path) = file_only(dir.path());
    config.eve.sink.types.push("flow".to_owned());
    config.stats_interval = Duration::from_millis(300);
    let running = Running::start(&config, &books.store);
    let block = blocked(&books, 1, ActionKind::BlockIp).await;
    let redirect = blocked(&books, 2, ActionKind::RedirectToHoneypot).await;
    let hits = Hits {
        packets: 7,
        bytes: 420,
        would_packets: 3,
        first_hit: Some(STARTED.after(Duration::from_secs(1))),
        last_hit: Some(STARTED.after(Duration::from_secs(2))),
        ..Hits::default()
    };
    let unknown = DecisionId(uuid::Uuid::from_u128(3));
    running.hits.send_replace(Arc::new(HashMap::from([
        (block, hits),
        (redirect, hits),
        (unknown, hits),
    ])));
    let mut counters = [0; COUNTERS];
    counters[0] = 99;
    running.stats.send_replace(Arc::new(Stats {
        at: STARTED.after(Duration::from_mins(1)),
        interfaces: vec![InterfaceStats {
            name: "eth0".into(),
            xdp_mode: "native",
            fallback: None,
            trouble: None,
            egress: true,
            counters,
        }],
        ..Stats::default()
    }));
    for (_, happening) in each() {
        if let Happening::Flow(flow, _) = happening {
            running.flows.as_ref().unwrap().send(flow).await.unwrap();
        }
    }
    let of = |kind: &str| -> Vec<_> {
        lines(&path)
            .into_iter()
            .filter(|line| line["event_type"] == kind)
            .collect()
    };
    // The first of them may have been written before there were any figures.
    let told = || {
        let mut stats = of("stats").into_iter();
        stats.find(|line| line["stats"]["capture"]["kernel_packets"] == 99)
    };
    eventually("each", || {
        of("drop").len() == 1 && of("flow").len() == 2 && told().is_some()
    })
    .await;
    let dropped = &of("drop")[0];
    assert_eq!(dropped["src_ip"], "203.0.113.7");
    assert_eq!(dropped["sentinel"]["packets"], 7);
    assert_eq!(dropped["sentinel"]["decision"], block.to_string());
    assert_eq!(told().unwrap()["stats"]["uptime"], 60);
    let validator = validator();
    for line in lines(&path) {
        assert!(validator.is_valid(&line), "{line:#}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_there_is_no_room_for_is_dropped_and_counted_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let books = Books::open(&dir.path().join("s.db"));
    let server = Server::start(|_| Say::Hang).await;
    let (mut config, path) = file_only(dir.path());
    config.eve.sink.types = vec!["flow".to_owned(), "alert".to_owned()];
    config.splunk.sink.enabled = true;
    config.splunk.sink.types = vec!["flow".to_owned()];
    config.splunk.server.url = server.url();
    config.splunk.server.timeout = Duration::from_mins(1);
    let running = Running::start(&config, &books.store);
    books.begun(&config).await;
    let Some((_, Happening::Flow(flow, _))) = each().into_iter().find(|(name, _)| *name == "flow") else {
        panic!("a flow")
    };
    let flows = running.flows.clone().unwrap();
    for n in 0..12_000_u64 {
        let mut flow = flow.clone();
        flow.started.0 += n;
        flows.send(flow).await.unwrap();
        if n % 512 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let names = books.alerts(&mut Mint::Counted(0), 0..5).await;
    eventually("the file", || {
        lines(&path).len() + running.counted("eve", "dropped") as usize == 12_005
    })
    .await;
    assert_eq!(alerts_in(&path), names, "alerts come through");
    // What waits in the batch that hangs, and in its queue; the rest is told of.
    let dropped = running.counted("splunk", "dropped");
    assert!((12_000 - 8192 - 500..=12_000 - 8192).contains(&dropped), "{dropped}");
    let text = running.metrics.encode().unwrap();
    assert!(
        text.contains("sentinel_events_dropped_total{stage=\"export\",reason=\"queue_full\"}"),
        "{text}"
    );
    let metrics = running.stop().await;
    let all = counted(&metrics, "splunk", "dropped");
    assert_eq!(all, 12_000, "what was never handed over is counted at the end");
}
