//! When a case is told, and what it carries.

use super::*;
use crate::config::Config;
use crate::investigate::Weigh;
use crate::types::{AlertId, Detector, EvidenceClass, Family, Indicator, IntelVerdict, Ktime};
use InvestigationState::{Complete, NoAnswer, Open};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::{Instant, sleep};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);
const MS: Duration = Duration::from_millis(1);

/// Sources that answer by a script: name, after how long, what.
#[derive(Clone, Default)]
struct Script {
    known: Vec<Answer>,
    later: Vec<(Duration, Answer)>,
    /// Questions that were dropped before everybody had answered.
    given_up: Arc<AtomicUsize>,
}

/// Counts when it is dropped unfinished.
struct Watched(Arc<AtomicUsize>, bool);

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sources for Script {
    fn weigher(&self) -> Weigher {
        ["a", "b", "c"]
            .map(|name| {
                let group = name.to_owned();
                (name.to_owned(), Weigh { weight: 1.0, group })
            })
            .into()
    }

    fn special(&self, ip: IpAddr) -> Option<&'static str> {
        (ip == IpAddr::from([10, 0, 0, 1])).then_some("private")
    }

    fn any(&self) -> bool {
        true
    }

    fn known(&self, _: IpAddr) -> Vec<Answer> {
        self.known.clone()
    }

    fn ask(&self, _: IpAddr, _: Severity, _: f64) -> BoxStream<'static, Answer> {
        let watched = Watched(Arc::clone(&self.given_up), false);
        let steps = (self.later.clone().into_iter(), watched);
        stream::unfold(steps, |(mut later, mut watched)| async move {
            let Some((after, answer)) = later.next() else {
                watched.1 = true;
                drop(watched);
                return None;
            };
            sleep(after).await;
            Some((answer, (later, watched)))
        })
        .boxed()
    }

    fn place(&self, _: IpAddr) -> (Option<String>, Option<String>, Option<ipnet::IpNet>) {
        (Some("NL".to_owned()), None, None)
    }
}

fn alert(n: u8, severity: Severity) -> Arc<Alert> {
    Arc::new(Alert {
        id: AlertId(uuid::Uuid::from_u128(n.into())),
        at: NOW,
        evidence_at: Ktime(0),
        source: Some(IpAddr::from([203, 0, 113, n])),
        targets: Vec::new(),
        detector: Detector::PortScan,
        family: Family::Scan,
        technique: "syn vertical".into(),
        score: 0.6,
        severity,
        class: EvidenceClass::Behaviour,
        evidence: Vec::new(),
        summary: "it scanned".into(),
        sensor: "test".into(),
        standing: Some(crate::types::Standing {
            proven: true,
            ..crate::types::Standing::default()
        }),
        former: None,
        explanation: None,
    })
}

fn answer(source: &str, verdict: Option<IntelVerdict>) -> Answer {
    let indicator = verdict.map(|verdict| {
        let mut indicator = Indicator::new(source, IpAddr::from([203, 0, 113, 1]), NOW);
        let bad = verdict >= IntelVerdict::Suspicious;
        indicator.judge(verdict, if bad { 1.0 } else { 0.0 }, 0.9);
        indicator
    });
    Answer {
        source: source.to_owned(),
        result: if indicator.is_some() { "fresh" } else { "timeout" }.to_owned(),
        indicator,
        reason: String::new(),
        took_ms: 1,
    }
}

struct Bench {
    alerts: Option<mpsc::Sender<Arc<Alert>>>,
    cases: mpsc::Receiver<Case>,
    begun: Instant,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(script: &Script, concurrency: usize) -> Self {
        let config = IntelConfig {
            concurrency,
            ..Config::default().intel
        };
        let (alerts, input) = mpsc::channel(64);
        let (output, cases) = mpsc::channel(64);
        let metrics = Arc::new(Metrics::new());
        metrics.watch_stats(watch::channel(Arc::default()).1);
        let thresholds = Config::default().risk_thresholds;
        let room = Investigations::new(
            script.clone(),
            &config,
            watch::channel(thresholds).1,
            Arc::clone(&metrics),
            || NOW,
        );
        tokio::spawn(room.run(input, output));
        Self {
            alerts: Some(alerts),
            cases,
            begun: Instant::now(),
            metrics,
        }
    }

    async fn send(&self, alert: Arc<Alert>) {
        self.alerts.as_ref().expect("open").send(alert).await.expect("running");
    }

    /// The next case: how many ms after the start, whether revised, and the investigation.
    async fn next(&mut self) -> Option<(u128, bool, Investigation)> {
        let case = self.cases.recv().await?;
        let found = case.investigation.expect("somebody").as_ref().clone();
        Some((self.begun.elapsed().as_millis(), case.revised, found))
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_word_waits_for_nobody_and_all_answers_make_the_second() {
    let script = Script {
        later: vec![
            (300 * MS, answer("a", Some(IntelVerdict::Malicious))),
            (200 * MS, answer("b", Some(IntelVerdict::Malicious))),
        ],
        ..Script::default()
    };
    let mut bench = Bench::new(&script, 8);
    bench.send(alert(1, Severity::Medium)).await;
    let (at, revised, first) = bench.next().await.expect("a case");
    assert_eq!((at, revised, first.state), (0, false, Open));
    assert!(first.risk.local_only && first.country.as_deref() == Some("NL"));
    let (at, revised, second) = bench.next().await.expect("a case");
    assert_eq!((at, revised, second.state), (500, true, Complete));
    assert_eq!(
        (second.id, second.risk.corroborated_by, second.revisions),
        (first.id, 2, 1)
    );
    bench.alerts = None;
    assert!(bench.next().await.is_none());
    assert_eq!(script.given_up.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_what_is_known_is_told_and_what_is_late_revises_it() {
    let script = Script {
        later: vec![
            (100 * MS, answer("a", Some(IntelVerdict::Malicious))),
            (2_900 * MS, answer("b", Some(IntelVerdict::Benign))),
            (1_000 * MS, answer("c", None)),
        ],
        ..Script::default()
    };
    let mut bench = Bench::new(&script, 8);
    bench.send(alert(1, Severity::Medium)).await;
    let mut seen = Vec::new();
    let mut scores = Vec::new();
    for _ in 0..5 {
        let (at, revised, found) = bench.next().await.expect("a case");
        seen.push((at, revised, found.state, found.answers.len()));
        scores.push(found.risk.score);
    }
    assert_eq!(
        seen,
        [
            (0, false, Open, 0),
            (2_000, true, Open, 1),
            (3_000, true, Open, 2),
            (4_000, true, Open, 3),
            (4_000, true, Complete, 3),
        ]
    );
    assert!(scores[1] > scores[0] && scores[2] < scores[1], "{scores:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_answering_is_a_state_of_its_own() {
    let script = Script {
        later: vec![(50 * MS, answer("a", None)), (50 * MS, answer("b", None))],
        ..Script::default()
    };
    let mut bench = Bench::new(&script, 8);
    bench.send(alert(1, Severity::Medium)).await;
    let (_, _, first) = bench.next().await.expect("a case");
    let (_, _, last) = bench.next().await.expect("a case");
    assert_eq!(last.state, NoAnswer);
    assert!((first.risk.score - last.risk.score).abs() < 1e-12 && last.risk.local_only);

    let mut inside = Alert::clone(&alert(1, Severity::Medium));
    inside.source = Some(IpAddr::from([10, 0, 0, 1]));
    bench.send(Arc::new(inside)).await;
    let (_, _, private) = bench.next().await.expect("a case");
    assert_eq!(private.state, InvestigationState::LocalOnly);
    let text = bench.metrics.encode().expect("metrics");
    for state in ["no_answer", "local_only"] {
        let line = format!("sentinel_investigations_total{{state=\"{state}\"}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_is_in_the_first_word_and_stands_where_nobody_says_something_newer() {
    let script = Script {
        known: vec![answer("a", Some(IntelVerdict::Malicious))],
        later: vec![(50 * MS, answer("a", None))],
        ..Script::default()
    };
    let mut bench = Bench::new(&script, 8);
    bench.send(alert(1, Severity::Medium)).await;
    let (at, _, first) = bench.next().await.expect("a case");
    assert_eq!((at, first.risk.corroborated_by), (0, 1));
    let (_, _, last) = bench.next().await.expect("a case");
    assert_eq!((last.risk.corroborated_by, last.answers.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_mildest_gives_way_and_is_counted() {
    let script = Script {
        later: vec![(1_000 * MS, answer("a", Some(IntelVerdict::Malicious)))],
        ..Script::default()
    };
    let mut bench = Bench::new(&script, 2);
    for (n, severity) in [
        (1, Severity::Low),
        (2, Severity::Medium),
        (3, Severity::High),
        (4, Severity::Low),
    ] {
        bench.send(alert(n, severity)).await;
    }
    let mut states = Vec::new();
    for _ in 0..5 {
        let (_, revised, found) = bench.next().await.expect("a case");
        let last = found.ip.to_string().pop().expect("a digit");
        states.push((last, revised, found.state));
    }
    assert_eq!(
        states,
        [
            ('1', false, Open),
            ('2', false, Open),
            ('1', true, NoAnswer),
            ('3', false, Open),
            ('4', false, NoAnswer),
        ]
    );
    assert_eq!(script.given_up.load(Ordering::Relaxed), 1, "its questions were dropped");
    let text = bench.metrics.encode().expect("metrics");
    for reason in ["gave_way", "busy"] {
        let line = format!("sentinel_events_dropped_total{{stage=\"investigate\",reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    // The house closes: what is open is told as it stands.
    bench.alerts = None;
    let mut ended = Vec::new();
    while let Some((at, revised, found)) = bench.next().await {
        ended.push((at, revised, found.state));
    }
    assert_eq!(ended, [(0, true, NoAnswer), (0, true, NoAnswer)]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_about_nobody_passes_through() {
    let mut bench = Bench::new(&Script::default(), 8);
    let mut flood = Alert::clone(&alert(1, Severity::High));
    flood.source = None;
    bench.send(Arc::new(flood)).await;
    let case = bench.cases.recv().await.expect("a case");
    assert!(case.investigation.is_none() && !case.revised);
}
