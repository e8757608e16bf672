//! The question to all sources.

use super::{Database, IP, Scripted, address, ask, at, config, eventually, intel, percentiles};
use crate::config::IntelConfig;
use crate::intel::{Asked, Intel, IntelError, WallClock};
use crate::types::{BreakerState, Severity};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

const ALL: [(&str, [u32; 3]); 5] = [
    ("virustotal", [4, 500, 0]),
    ("abuseipdb", [0, 1_000, 0]),
    ("otx", [60, 0, 0]),
    ("ipqualityscore", [0, 0, 1_000]),
    ("greynoise", [0, 50, 0]),
];

fn clock() -> WallClock {
    WallClock::by(|| at("2026-11-27T12:00:00Z"))
}

fn sources() -> Vec<Scripted> {
    ALL.iter()
        .map(|(name, _)| Scripted::new(name).clock(|| at("2026-11-27T12:00:00Z")))
        .collect()
}

fn all(sources: &[Scripted], config: &IntelConfig) -> Intel {
    intel(config, &sources.iter().collect::<Vec<_>>(), None, clock()).0
}

fn begun(sources: &[Scripted]) -> u64 {
    sources.iter().map(Scripted::begun).sum()
}

#[tokio::test]
async fn private_own_and_reserved_addresses_are_never_asked_about() {
    let sources = sources();
    let intel = all(&sources, &config(&ALL));
    intel.set_own(vec!["45.83.64.0/24".parse().unwrap()]);
    for ip in [
        "10.0.0.1",
        "45.83.64.1",
        "::ffff:45.83.64.1",
        "fe80::1",
        "224.0.0.1",
        "203.0.113.7",
    ] {
        let told = intel.ask_all(ip.parse().unwrap(), Severity::High, 0.7, |a| panic!("{a:?}"));
        assert!(matches!(told.await, Asked::Special(_)), "{ip}");
    }
    assert_eq!(begun(&sources), 0);
}

#[tokio::test]
async fn who_knows_no_addresses_of_a_kind_is_not_asked_about_one_and_spends_nothing() {
    let sources = sources();
    let intel = all(&sources, &config(&ALL));
    let mut told = Vec::new();
    let asked = intel
        .ask_all("2a00:1450::1".parse().unwrap(), Severity::High, 0.7, |a| {
            told.push((a.source, a.result));
        })
        .await;
    assert!(matches!(asked, Asked::Sources { of: 5, .. }), "{asked:?}");
    assert!(
        told.contains(&("greynoise".to_owned(), "unsupported".to_owned())),
        "{told:?}"
    );
    assert_eq!((told.len(), sources[4].begun()), (5, 0));
    let greynoise = &intel.status().sources[4];
    assert_eq!((greynoise.name.as_str(), greynoise.quota[0].spent), ("greynoise", 0));
}

#[tokio::test(start_paused = true)]
async fn known_answers_come_first_and_slow_sources_hold_up_nobody() {
    let sources = sources();
    let intel = all(&sources, &config(&ALL));
    for (n, source) in sources.iter().enumerate() {
        let _ = source.clone().takes(Duration::from_millis(100 * (5 - n as u64)));
    }
    let first = ask(&intel, IP, Severity::High).await;
    let order: Vec<_> = first
        .iter()
        .map(|a| (a.source.as_str(), a.result.as_str(), a.took_ms))
        .collect();
    let expected = [
        ("greynoise", "fresh", 100),
        ("ipqualityscore", "fresh", 200),
        ("otx", "fresh", 300),
        ("abuseipdb", "fresh", 400),
        ("virustotal", "fresh", 500),
    ];
    assert_eq!(order, expected);
    let again = ask(&intel, IP, Severity::Low).await;
    assert!(again.iter().all(|a| a.result == "cache" && a.took_ms == 0), "{again:?}");
    let status = intel.status();
    assert!(
        status.sources[..5]
            .iter()
            .all(|s| (s.cache_hits, s.cache_misses) == (1, 1))
    );
    assert_eq!(status.cache.entries, 5);
}

#[tokio::test]
async fn what_changes_nothing_is_not_asked_and_the_reason_is_told() {
    let sources = sources();
    let intel = all(&sources, &config(&ALL));
    let mut answers = Vec::new();
    let told = intel.ask_all(IP, Severity::Low, 0.001, |a| answers.push(a)).await;
    assert_eq!(
        (told, answers.len(), begun(&sources)),
        (Asked::Sources { told: 0, of: 5 }, 5, 0)
    );
    assert!(
        answers
            .iter()
            .all(|a| a.result == "skipped" && a.reason.contains("worth")),
        "{answers:?}"
    );
}

#[tokio::test]
async fn as_many_alerts_as_allowed_ask_everybody_at_the_same_time() {
    let sources = sources();
    let mut config = config(&ALL.map(|(name, _)| (name, [0, 0, 0])));
    config.concurrency = 4;
    let intel = all(&sources, &config);
    for source in &sources {
        let _ = source.clone().takes(Duration::from_millis(100));
    }
    let told = join_all((0..4).map(|n| ask(&intel, address(n), Severity::High))).await;
    assert!(told.iter().flatten().all(|a| a.result == "fresh"), "{told:?}");
    assert_eq!(begun(&sources), 20);
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_under_way() {
    let sources = sources();
    let mut config = config(&ALL);
    config.concurrency = 1;
    let intel = all(&sources, &config);
    let otx = sources[2].clone().takes(Duration::from_secs(5));
    let asks = join_all((0..20).map(|n| ask(&intel, address(n), Severity::High)));
    let given_up = tokio::time::timeout(Duration::from_millis(300), asks).await;
    assert!(given_up.is_err());
    let busy: u64 = intel
        .status()
        .sources
        .iter()
        .filter_map(|s| s.requests.get("busy"))
        .sum();
    assert!(otx.begun() <= 5 && busy > 0, "{} {busy}", otx.begun());
    // Dropped questions give their places back.
    let _ = sources[2].clone().takes(Duration::ZERO);
    let told = ask(&intel, address(100), Severity::High).await;
    assert!(
        told.iter().all(|a| a.result == "fresh" || a.result == "quota"),
        "{told:?}"
    );
    assert!(intel.status().sources[2].requests["dropped"] > 0);
}

#[tokio::test]
async fn questions_can_be_handed_to_another_thread() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let sources = sources();
    let intel = all(&sources, &config(&ALL));
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let ours = intel.clone();
    sent(async move {
        ours.ask_all(IP, Severity::High, 0.7, |answer| {
            let _ = tell.try_send(answer);
        })
        .await
    })
    .await;
    let mut n = 0;
    while told.recv().await.is_some() {
        n += 1;
    }
    assert_eq!(n, 5);
}

#[tokio::test]
async fn nobody_enabled_is_a_state_of_its_own() {
    let sources = sources();
    for config in [
        IntelConfig::default(),
        IntelConfig {
            enabled: false,
            ..config(&ALL)
        },
    ] {
        let intel = all(&sources, &config);
        assert_eq!(intel.ask_all(IP, Severity::High, 0.7, |_| ()).await, Asked::NoSources);
        assert!(intel.status().sources.iter().all(|s| !s.enabled));
    }
}

#[tokio::test]
async fn the_status_tells_everything_but_keys() {
    let sources = sources();
    let mut config = config(&ALL);
    config.cache = crate::config::CacheBackend::Redis(crate::types::Secret::new("redis://:s3cret-word@127.0.0.1:1/0"));
    sources[0].always(Err(IntelError::Unauthorised { status: 401 }));
    let intel = all(&sources, &config);
    ask(&intel, IP, Severity::High).await;
    let status = intel.status();
    let json = serde_json::to_string_pretty(&status).unwrap();
    for never in ["k3y-never-told", "s3cret-word"] {
        assert!(!json.contains(never) && !format!("{intel:?} {status:?}").contains(never));
    }
    let [virustotal, abuseipdb, .., threatcrowd] = &status.sources[..] else {
        panic!("{json}")
    };
    assert!(virustotal.enabled && virustotal.key && !threatcrowd.enabled && !threatcrowd.key);
    assert_eq!(virustotal.breaker.state, BreakerState::Open);
    assert_eq!(virustotal.requests["unauthorised"], 1);
    assert_eq!(virustotal.last_error.as_ref().unwrap().result, "unauthorised");
    let quota: Vec<_> = virustotal
        .quota
        .iter()
        .map(|q| (q.period.as_str(), q.spent, q.allowed, q.reserve))
        .collect();
    assert_eq!(quota, [("minute", 1, 4, 1), ("day", 1, 500, 125)]);
    assert_eq!(abuseipdb.requests["ok"], 1);
    assert!(abuseipdb.last_answer_at.is_some());
    let back: crate::types::IntelStatus = serde_json::from_str(&json).unwrap();
    assert_eq!(back, status);
}

#[tokio::test]
async fn with_every_source_down_a_question_costs_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("sentinel.db"));
    let sources = sources();
    for source in &sources {
        source.always(Err(IntelError::Transport("refused".into())));
    }
    let limits = ALL.map(|(name, _)| (name, [0, 0, 0]));
    let refs: Vec<_> = sources.iter().collect();
    let (intel, upkeep) = intel(&config(&limits), &refs, Some(database.store.clone()), clock());
    let upkeep = tokio::spawn(upkeep.run());
    let open = || {
        let status = intel.status();
        status.sources[..5]
            .iter()
            .all(|s| s.breaker.state == BreakerState::Open)
    };
    eventually("every breaker open", async || {
        ask(&intel, IP, Severity::High).await;
        open()
    })
    .await;
    let before = begun(&sources);
    let mut times = Vec::new();
    for n in 0..1_000 {
        let began = Instant::now();
        let told = ask(&intel, address(n), Severity::High).await;
        times.push(began.elapsed());
        assert!(told.iter().all(|a| a.result == "breaker"), "{told:?}");
    }
    assert_eq!(begun(&sources), before);
    let (median, p99) = percentiles(times);
    eprintln!("figure: all sources down, looked up in the database, median = {median:.3} ms");
    eprintln!("figure: all sources down, looked up in the database, p99 = {p99:.3} ms");
    drop(intel);
    upkeep.await.unwrap();
}

#[tokio::test]
async fn what_is_known_is_told_from_memory() {
    let sources = sources();
    let intel = all(&sources, &config(&ALL.map(|(name, _)| (name, [0, 0, 0]))));
    ask(&intel, IP, Severity::High).await;
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let began = Instant::now();
        let told = ask(&intel, IP, Severity::High).await;
        times.push(began.elapsed());
        assert!(told.len() == 5 && told.iter().all(|a| a.result == "cache"));
    }
    let (median, p99) = percentiles(times);
    eprintln!("figure: five sources from memory, median = {median:.3} ms");
    eprintln!("figure: five sources from memory, p99 = {p99:.3} ms");
}
