//! How long lists take over a store as it is after a busy month, while the writer goes on writing and others ask too.
//!
//! Arguments: `--json FILE` for a list of figures, `--quick` for a tenth of the alerts and fewer rounds, `--rounds N`, `--reports DIR`
//! to keep the reports that are made, `--hold SECONDS` to go on answering for a browser.

mod fill;

use anyhow::{Context, Result, ensure};
use fill::{LOUDEST, Rng, Sizes};
use futures_util::future::try_join_all;
use sentinel::api::{AppState, Doors};
use sentinel::auth::{Auth, Secrets};
use sentinel::bus::Bus;
use sentinel::config::{ApiConfig, Config};
use sentinel::store::{AlertFilter, Record, Store, Window};
use sentinel::time::wall_now;
use sentinel::types::{AlertId, DecisionId, Hits, Mint, Role, Session, Timestamp, hex};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What issue 7 asks of a list, ms, and of a page that is opened.
const GOAL: f64 = 100.0;
const PAGE_GOAL: f64 = 1000.0;
/// And what a report of a month may take, ms.
const REPORT_GOAL: f64 = 2000.0;
/// Who ask at once.
const CLIENTS: usize = 4;
/// What the writer is given meanwhile: so many alerts so often.
const MEANWHILE: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What the dashboard asks for when it is opened, and its largest files.
const OPENED: &[&str] = &[
    "/",
    "/assets/app.js",
    "/assets/style.css",
    "/assets/vendor/preact.mjs",
    "/assets/vendor/uplot.mjs",
    "/assets/pages/home.js",
    "/session",
    "/stats/history",
    "/alerts?limit=8",
    "/alerts?severity=high&since=1d&limit=1",
    "/alerts?severity=medium&since=1d&limit=1",
    "/alerts?severity=low&since=1d&limit=1",
    "/decisions?active=true&limit=8",
    "/decisions?watched=true&limit=1",
    "/protected",
];

struct Bench {
    sizes: Sizes,
    rounds: usize,
    /// Where the reports are kept, to look at.
    keep: Option<PathBuf>,
    /// How long it goes on answering afterwards, s, for a person with a browser.
    hold: u64,
    figures: Vec<Value>,
}

impl Bench {
    fn figure(&mut self, name: &str, value: f64, unit: &str, floor: Option<f64>) {
        println!("{name:<44} {value:>12.2} {unit}");
        let ratio = floor.map(|floor| value / floor);
        self.figures.push(json!({
            "suite": "api", "name": name, "value": value, "unit": unit, "better": "lower", "floor": floor, "ratio": ratio
        }));
    }

    fn times(&mut self, name: &str, mut times: Vec<f64>, goal: f64) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
        let (p50, p99, longest) = (at(0.5), at(0.99), at(1.0));
        self.figure(&format!("{name} p50"), p50, "ms", None);
        self.figure(&format!("{name} p99"), p99, "ms", Some(goal));
        self.figure(&format!("{name} max"), longest, "ms", None);
    }
}

/// A server on loopback over that store, as the agent has one.
struct Served {
    base: String,
    client: reqwest::Client,
    cancel: CancellationToken,
}

async fn serve(store: &Store, active: &[DecisionId], folder: &Path) -> Result<(Served, impl Future<Output = ()>)> {
    sentinel::tls::install();
    let config = Config {
        api: ApiConfig {
            listen: "127.0.0.1:0".parse()?,
            socket: folder.join("api.sock"),
            ..ApiConfig::default()
        },
        ..Config::default()
    };
    let (secret, now) = ("open", wall_now());
    let session = Session {
        digest: hex(&Sha256::digest(secret)),
        actor: "bench".to_owned(),
        role: Role::Viewer,
        token: None,
        began_at: now,
        used_at: now,
    };
    let hour = Duration::from_hours(1);
    let auth = Auth::new(store.clone(), Secrets::new()?, hour, Vec::new(), vec![session]);
    let hit = Hits {
        packets: 12,
        ..Hits::default()
    };
    let hits: HashMap<DecisionId, Hits> = active.iter().map(|id| (*id, hit)).collect();
    let state = AppState {
        store: store.clone(),
        auth: Arc::new(auth),
        commands: mpsc::channel(1).0,
        learning: mpsc::channel(1).0,
        enquiries: mpsc::channel(1).0,
        busiest: mpsc::channel(1).0,
        fleet: watch::channel(Arc::default()).1,
        tests: mpsc::channel(1).0,
        channels: watch::channel(Arc::default()).1,
        bus: Bus::default(),
        stats: watch::channel(Arc::default()).1,
        health: watch::channel(Arc::default()).1,
        hits: watch::channel(Arc::new(hits)).1,
        protected: watch::channel(Arc::default()).1,
        acting: watch::channel(Arc::default()).1,
        model: watch::channel(None).1,
        origins: Arc::default(),
        settings: watch::channel(None).1,
        reloads: mpsc::channel(1).0,
        config: Arc::new(config.clone()),
        metrics: Arc::default(),
        started: now,
        clock: sentinel::time::clock(),
    };
    let doors = Doors::take(&config.api).await?;
    let base = format!("http://{}", doors.local_addr()?);
    let cancel = CancellationToken::new();
    let served = tokio::spawn(doors.open(state, cancel.clone()));
    let cookie = reqwest::header::HeaderMap::from_iter([(
        reqwest::header::COOKIE,
        reqwest::header::HeaderValue::from_static("sentinel_session=open"),
    )]);
    let client = reqwest::Client::builder().default_headers(cookie).no_gzip().build()?;
    let ended = async move {
        if let Ok(Err(error)) = served.await {
            println!("the server ended: {error}");
        }
    };
    Ok((Served { base, client, cancel }, ended))
}

impl Served {
    /// ms until the whole answer was there, and the answer.
    async fn ask(&self, path: &str) -> Result<(f64, bytes::Bytes)> {
        let began = Instant::now();
        let answer = self.client.get(format!("{}{path}", self.base)).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.is_success(), "{path}: {status}");
        Ok((began.elapsed().as_secs_f64() * 1e3, body))
    }

    async fn json(&self, path: &str) -> Result<Value> {
        let (_, body) = self.ask(path).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// ms until a report of the whole month was there, and the report.
    async fn report(&self, format: &str) -> Result<(f64, bytes::Bytes)> {
        let began = Instant::now();
        let asked = self.client.post(format!("{}/reports", self.base));
        let body = json!({ "since": "30d", "format": format }).to_string();
        let answer = asked
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.is_success(), "report as {format}: {status}");
        Ok((began.elapsed().as_secs_f64() * 1e3, body))
    }

    /// `next_cursor` after so many pages of a thousand; a cursor holds its filter.
    async fn deep(&self, list: &str, filter: &str, pages: usize) -> Result<String> {
        let mut cursor = None;
        for _ in 0..pages {
            let path = match &cursor {
                None => format!("{list}?limit=1000{filter}"),
                Some(cursor) => format!("{list}?limit=1000{filter}&cursor={cursor}"),
            };
            let page = self.json(&path).await?;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        cursor.with_context(|| format!("{list} has one page only"))
    }
}

/// What is asked for, each a list with the filters the dashboard and the command line use.
async fn paths(served: &Served, some: &[AlertId], pages: usize) -> Result<Vec<(String, String)>> {
    let (alerts, high) = (
        served.deep("/alerts", "", pages).await?,
        served.deep("/alerts", "&severity=high", pages / 4 + 1).await?,
    );
    let (decisions, active) = (
        served.deep("/decisions", "", pages / 2 + 1).await?,
        served.deep("/decisions", "&active=true", pages / 2 + 1).await?,
    );
    let deep = served.json(&format!("/alerts?limit=1&cursor={alerts}")).await?;
    let quiet = deep["items"][0]["source"].as_str().unwrap_or("45.3.7.9").to_owned();
    let middle = some[some.len() / 2];
    let all = [
        ("alerts newest", "/alerts?limit=100".to_owned()),
        ("alerts one, for its total", "/alerts?limit=1".to_owned()),
        ("alerts deep down", format!("/alerts?limit=100&cursor={alerts}")),
        ("alerts severity=high", "/alerts?limit=100&severity=high".to_owned()),
        (
            "alerts severity=medium,high",
            "/alerts?limit=100&severity=medium,high".to_owned(),
        ),
        (
            "alerts severity=high deep down",
            format!("/alerts?limit=100&severity=high&cursor={high}"),
        ),
        ("alerts detector=beacon", "/alerts?limit=100&detector=beacon".to_owned()),
        (
            "alerts detector=port_scan",
            "/alerts?limit=100&detector=port_scan".to_owned(),
        ),
        (
            "alerts detector=lateral_movement (none)",
            "/alerts?limit=100&detector=lateral_movement".to_owned(),
        ),
        (
            "alerts severity and detector",
            "/alerts?limit=100&severity=high&detector=beacon".to_owned(),
        ),
        ("alerts ip= of few", format!("/alerts?limit=100&ip={quiet}")),
        ("alerts ip= of very many", format!("/alerts?limit=100&ip={LOUDEST}")),
        (
            "alerts ip= of very many, severity=high",
            format!("/alerts?limit=100&ip={LOUDEST}&severity=high"),
        ),
        (
            "alerts ip= a /24",
            format!("/alerts?limit=100&ip={LOUDEST}/24").replace(".9/24", ".0/24"),
        ),
        ("alerts ip= a /8", "/alerts?limit=100&ip=45.0.0.0/8".to_owned()),
        ("alerts ip= any IPv4", "/alerts?limit=100&ip=0.0.0.0/0".to_owned()),
        ("alerts since=1h", "/alerts?limit=100&since=1h".to_owned()),
        ("alerts since=1d", "/alerts?limit=100&since=1d".to_owned()),
        ("alerts since=29d", "/alerts?limit=100&since=29d".to_owned()),
        (
            "alerts since=7d, severity=high",
            "/alerts?limit=100&since=7d&severity=high".to_owned(),
        ),
        (
            "alerts since=7d, ip= of very many",
            format!("/alerts?limit=100&since=7d&ip={LOUDEST}"),
        ),
        ("investigations newest", "/investigations?limit=100".to_owned()),
        (
            "investigations risk=high",
            "/investigations?limit=100&risk=high".to_owned(),
        ),
        (
            "investigations ip= of very many",
            format!("/investigations?limit=100&ip={LOUDEST}"),
        ),
        (
            "investigations alert=",
            format!("/investigations?limit=1&alert={middle}"),
        ),
        (
            "investigations since=7d",
            "/investigations?limit=100&since=7d".to_owned(),
        ),
        ("decisions newest", "/decisions?limit=100".to_owned()),
        (
            "decisions deep down",
            format!("/decisions?limit=100&cursor={decisions}"),
        ),
        ("decisions active=true", "/decisions?limit=200&active=true".to_owned()),
        (
            "decisions active=true deep down",
            format!("/decisions?limit=200&active=true&cursor={active}"),
        ),
        ("decisions active=false", "/decisions?limit=100&active=false".to_owned()),
        (
            "decisions simulated=true",
            "/decisions?limit=100&simulated=true".to_owned(),
        ),
        ("decisions watched=true", "/decisions?limit=100&watched=true".to_owned()),
        ("decisions ip=", "/decisions?limit=100&ip=45.0.99.7".to_owned()),
        ("decisions ip= a /16", "/decisions?limit=100&ip=45.0.0.0/16".to_owned()),
        ("decisions since=7d", "/decisions?limit=100&since=7d".to_owned()),
        ("actions newest", "/actions?limit=100".to_owned()),
        (
            "actions status=enforced",
            "/actions?limit=100&status=enforced".to_owned(),
        ),
        (
            "actions status=failed (none)",
            "/actions?limit=100&status=failed".to_owned(),
        ),
        ("actions ip=", "/actions?limit=100&ip=45.0.99.7".to_owned()),
        ("actions since=7d", "/actions?limit=100&since=7d".to_owned()),
        ("audit newest", "/audit?limit=100".to_owned()),
        ("audit since=7d", "/audit?limit=100&since=7d".to_owned()),
        ("simulation since=30d", "/simulation?since=30d".to_owned()),
    ];
    Ok(all.into_iter().map(|(name, path)| (name.to_owned(), path)).collect())
}

/// Each client asks for everything, from a place of its own on.
async fn lists(bench: &mut Bench, served: &Served, paths: &[(String, String)]) -> Result<()> {
    let rounds = bench.rounds;
    let client = |who: usize| async move {
        let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); paths.len()];
        for _ in 0..rounds {
            for n in 0..paths.len() {
                let n = (n + who * paths.len() / CLIENTS) % paths.len();
                times[n].push(served.ask(&paths[n].1).await?.0);
            }
        }
        anyhow::Ok(times)
    };
    let all = try_join_all((0..CLIENTS).map(client)).await?;
    for (n, (name, _)) in paths.iter().enumerate() {
        let times = all.iter().flat_map(|one| one[n].iter().copied()).collect();
        bench.times(name, times, GOAL);
    }
    Ok(())
}

/// All that a page asks for at once, until the last answer is there.
async fn opened(bench: &mut Bench, served: &Served) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..bench.rounds {
        let began = Instant::now();
        try_join_all(OPENED.iter().map(|path| served.ask(path))).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    bench.times("dashboard opened, all it asks for", times, PAGE_GOAL);
    Ok(())
}

/// Reports of the whole month, one after the other.
async fn reports(bench: &mut Bench, served: &Served) -> Result<()> {
    for format in ["json", "html", "pdf"] {
        let (ms, report) = served.report(format).await?;
        if let Some(folder) = &bench.keep {
            std::fs::write(folder.join(format!("report.{format}")), &report)?;
        }
        bench.figure(&format!("report of 30 days, {format}"), ms, "ms", Some(REPORT_GOAL));
        bench.figure(
            &format!("report of 30 days, {format}, size"),
            report.len() as f64 / 1024.0,
            "KiB",
            None,
        );
    }
    Ok(())
}

/// Alerts go on coming until told to stop; ms that each commit took.
async fn write(store: Store, stop: CancellationToken) -> Result<Vec<f64>> {
    let (mut rng, mut mint) = (Rng(2), Mint::Random);
    let mut times = Vec::new();
    while !stop.is_cancelled() {
        let alert = |_| Record::Alert(Arc::new(fill::alert(&mut rng, &mut mint, wall_now())));
        let group: Vec<Record> = (0..MEANWHILE).map(alert).collect();
        let began = Instant::now();
        store.commit(group).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

/// Totals are what they say: counted by hand over pages.
async fn right(store: &Store, some: Timestamp) -> Result<()> {
    let mut filter = AlertFilter {
        window: Window {
            limit: 1000,
            cursor: None,
            since: Some(some),
        },
        ..AlertFilter::default()
    };
    let (mut counted, mut total) = (0, 0);
    loop {
        let page = store.alerts(filter.clone()).await?;
        counted += page.items.len() as u64;
        total = total.max(page.total);
        filter.window.cursor = page.next_cursor;
        if filter.window.cursor.is_none() {
            break;
        }
    }
    ensure!(counted == total, "{total} told, {counted} counted");
    Ok(())
}

async fn run(bench: &mut Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("sentinel.db");
    let (store, writer) = Store::open(&path)?;
    let writer = std::thread::spawn(move || writer.run());
    let now = wall_now();
    let began = Instant::now();
    let (active, some) = fill::fill(&store, bench.sizes, now).await?;
    let records = store.tally().written as f64;
    bench.figure(
        "filling, µs a record",
        began.elapsed().as_secs_f64() * 1e6 / records,
        "µs",
        None,
    );
    let size = std::fs::metadata(&path)?.len();
    bench.figure("size of the database", size as f64 / f64::from(1 << 20), "MiB", None);
    let hour = Timestamp(now.0 - Duration::from_hours(3).as_nanos() as i64);
    right(&store, hour).await?;
    let (served, ended) = serve(&store, &active, folder.path()).await?;
    let asked = paths(&served, &some, if bench.sizes.alerts > 200_000 { 80 } else { 20 }).await?;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write(store.clone(), stop.clone()));
    let measured = async {
        lists(bench, &served, &asked).await?;
        opened(bench, &served).await?;
        reports(bench, &served).await
    };
    let measured = measured.await;
    if bench.hold > 0 {
        println!("look at {} (cookie sentinel_session=open)", served.base);
        tokio::time::sleep(Duration::from_secs(bench.hold)).await;
    }
    stop.cancel();
    let commits = writing.await??;
    measured?;
    bench.times("commit of 20 alerts meanwhile", commits, GOAL);
    served.cancel.cancel();
    ended.await;
    store.close();
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))
}

fn main() -> Result<()> {
    let mut bench = Bench {
        sizes: Sizes {
            alerts: 1_000_000,
            decisions: 120_000,
        },
        rounds: 12,
        keep: None,
        hold: 0,
        figures: Vec::new(),
    };
    let small = Sizes {
        alerts: 100_000,
        decisions: 12_000,
    };
    let mut json: Option<PathBuf> = None;
    if std::env::args().len() == 1 {
        // Run as a test: only whether it works.
        bench.sizes = Sizes {
            alerts: 5_000,
            decisions: 2_200,
        };
        bench.rounds = 1;
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = args.next().map(PathBuf::from),
            "--quick" => (bench.sizes, bench.rounds) = (small, 6),
            "--reports" => bench.keep = args.next().map(PathBuf::from),
            "--hold" => bench.hold = args.next().and_then(|n| n.parse().ok()).unwrap_or(600),
            "--rounds" => bench.rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(bench.rounds),
            _ => {}
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(&mut bench))?;
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(&bench.figures)?)?;
    }
    Ok(())
}
