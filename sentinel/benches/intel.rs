//! What a question about an address costs before anybody outside is asked.
//!
//! `cargo bench -p sentinel --bench intel -- [--json FILE]`. The figures over Redis need a `redis-server` on the path.

use anyhow::Context;
use futures_util::future::BoxFuture;
use sentinel::config::{CacheBackend, Config, IntelConfig};
use sentinel::intel::{
    Asked, Candidate, Intel, IntelError, IntelSource, Profile, Purse, Question, QuotaHint, Reply, Ttl, Upkeep, choose,
};
use sentinel::metrics::Metrics;
use sentinel::store::Store;
use sentinel::types::{BreakerState, Indicator, IntelVerdict, Secret, Severity, Timestamp};
use serde_json::json;
use std::hint::black_box;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What issue 5 asks for, µs.
const IN_PROCESS: f64 = 1_000.0;
const OVER_REDIS: f64 = 5_000.0;
const ALL_DOWN: f64 = 5_000.0;
/// Questions per figure.
const QUESTIONS: u32 = 5_000;
const NAMES: [&str; 5] = ["virustotal", "abuseipdb", "otx", "ipqualityscore", "greynoise"];

/// A source on the spot: it answers at once, or fails at once.
struct Local {
    profile: Profile,
    up: bool,
}

impl IntelSource for Local {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn ask(&self, ip: IpAddr, _severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            if !self.up {
                return Err(IntelError::Transport("refused".into()));
            }
            let now: Timestamp = sentinel::time::wall_now();
            let mut indicator = Indicator::new(self.profile.name, ip, now);
            indicator.judge(IntelVerdict::Malicious, 0.9, 0.8);
            indicator.category("ssh brute force");
            indicator.fact("totalReports", &117);
            let hint = QuotaHint::default();
            Ok(Reply {
                indicator,
                cached: false,
                hint,
            })
        })
    }
}

fn settings(cache: CacheBackend) -> IntelConfig {
    let mut config = IntelConfig {
        cache,
        ..IntelConfig::default()
    };
    let s = &mut config.sources;
    for source in [
        &mut s.virustotal,
        &mut s.abuseipdb,
        &mut s.otx,
        &mut s.ipqualityscore,
        &mut s.greynoise,
    ] {
        source.key = Some(Secret::new("none"));
        (source.per_minute, source.per_day, source.per_month) = (0, 0, 0);
    }
    config
}

fn intel(cache: CacheBackend, up: bool, store: Option<Store>) -> (Intel, Upkeep) {
    let hour = Duration::from_hours(1);
    let client = |name| {
        let (bad, benign, unknown) = (hour, hour, hour);
        let profile = Profile {
            name,
            group: name,
            ttl: Ttl { bad, benign, unknown },
            docs: "",
            spares: false,
        };
        Box::new(Local { profile, up }) as Box<dyn IntelSource>
    };
    let clients = NAMES.into_iter().map(client).collect();
    let thresholds = Config::default().risk_thresholds;
    Intel::new(&settings(cache), &thresholds, clients, store, Arc::new(Metrics::new()))
}

fn address(n: u32) -> IpAddr {
    IpAddr::from((0x2d00_0000 + n).to_be_bytes())
}

async fn ask(intel: &Intel, n: u32) -> Asked {
    intel
        .ask_all(address(n), Severity::High, 0.65, |a| drop(black_box(a)))
        .await
}

/// µs, each.
async fn times(intel: &Intel, address: impl Fn(u32) -> u32) -> Vec<f64> {
    let mut times = Vec::with_capacity(QUESTIONS as usize);
    for n in 0..QUESTIONS {
        let began = Instant::now();
        black_box(ask(intel, address(n)).await);
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn row(name: &str, value: f64, unit: &str, floor: Option<f64>) -> serde_json::Value {
    println!("{name:<28} {value:>14.2} {unit}");
    let ratio = floor.map(|floor| value / floor);
    json!({ "suite": "intel", "name": name, "value": value, "unit": unit, "better": "lower", "floor": floor, "ratio": ratio })
}

/// Median and 99th percentile.
fn rows(name: &str, times: &[f64], goal: f64, out: &mut Vec<serde_json::Value>) {
    let at = |share: usize| times[times.len() * share / 100];
    out.push(row(&format!("{name}_p50"), at(50), "µs", None));
    out.push(row(&format!("{name}_p99"), at(99), "µs", Some(goal)));
}

async fn cached(out: &mut Vec<serde_json::Value>) {
    let (intel, _upkeep) = intel(CacheBackend::Memory, true, None);
    for n in 0..1_000 {
        ask(&intel, n).await;
    }
    rows("cache_hit", &times(&intel, |n| n % 1_000).await, IN_PROCESS, out);
}

async fn all_down(out: &mut Vec<serde_json::Value>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (store, writer) = Store::open(&folder.path().join("sentinel.db"))?;
    let writer = std::thread::spawn(move || writer.run());
    let (intel, upkeep) = intel(CacheBackend::Memory, false, Some(store.clone()));
    let upkeep = tokio::spawn(upkeep.run());
    let shut = || {
        let sources = intel.status().sources;
        sources.iter().filter(|s| s.breaker.state == BreakerState::Open).count() == NAMES.len()
    };
    while !shut() {
        ask(&intel, 0).await;
    }
    rows("all_down", &times(&intel, |n| n).await, ALL_DOWN, out);
    drop(intel);
    upkeep.await?;
    store.close();
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))
}

fn scheduler(out: &mut Vec<serde_json::Value>) {
    let candidates: Vec<Candidate> = NAMES
        .into_iter()
        .map(|group| Candidate {
            group,
            weight: 0.8,
            coverage: 0.5,
            purse: Purse {
                spent: None,
                left: vec![(0.5, 0.6)],
            },
            shut: false,
        })
        .collect();
    let question = Question {
        severity: Severity::High,
        believed: 0.65,
        thresholds: [0.6, 0.8],
        answered: Vec::new(),
    };
    let began = Instant::now();
    let calls = 200_000;
    for _ in 0..calls {
        black_box(choose(black_box(&question), black_box(&candidates)));
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
    out.push(row("scheduler_five_sources", each, "µs", None));
}

/// Ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn over_redis(out: &mut Vec<serde_json::Value>) -> anyhow::Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let started = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        println!("no redis-server here: figures over Redis are left out");
        return Ok(());
    };
    let _server = Server(child);
    let url = || CacheBackend::Redis(Secret::new(format!("redis://127.0.0.1:{port}/0")));
    let start = async || -> anyhow::Result<_> {
        let (intel, upkeep) = intel(url(), true, None);
        let upkeep = tokio::spawn(upkeep.run());
        for _ in 0..1_000 {
            if intel.status().redis.is_some_and(|r| r.up) {
                return Ok((intel, upkeep));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("Redis did not answer within 10 s")
    };
    let (first, writing) = start().await?;
    for n in 0..QUESTIONS {
        ask(&first, n).await;
        if n % 500 == 0 {
            // The queue of answers to be written has its bound.
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }
    drop(first);
    writing.await.context("upkeep")?;
    let (second, _reading) = start().await?;
    let times = times(&second, |n| n).await;
    let found = second.status().redis.map_or(0, |r| r.hits);
    let all = u64::from(QUESTIONS) * NAMES.len() as u64;
    anyhow::ensure!(found * 100 >= all * 99, "only {found} of {all} found in Redis");
    rows("redis_hit_five_sources", &times, OVER_REDIS, out);
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments
        .iter()
        .position(|a| a == "--json")
        .and_then(|i| arguments.get(i + 1));
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        cached(&mut out).await;
        all_down(&mut out).await?;
        scheduler(&mut out);
        over_redis(&mut out).await
    })?;
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(&out)?)?;
    }
    Ok(())
}
