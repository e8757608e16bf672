//! The shared Redis: a real one (Debian's `redis-server`), and what only claims to be one.

use super::{Database, Scripted, address, ask, ask_first, at, config, eventually, intel, percentiles};
use crate::config::{CacheBackend, IntelConfig};
use crate::intel::redis::waiting;
use crate::intel::{Intel, WallClock};
use crate::types::{RedisStatus, Secret, Severity, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a question waits for Redis where that is not what is tried: a server or a thread may stand still.
const PATIENT: Duration = Duration::from_secs(5);

/// A server on a loopback port of its own; ends with the value.
struct Server {
    child: Child,
    port: u16,
    password: &'static str,
    folder: TempDir,
}

impl Server {
    /// `None`, and a word on why, where none is installed.
    fn start(password: &'static str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..10 {
            let port = free_port();
            let Some(child) = spawn(port, password, &folder) else {
                eprintln!("skipped: no redis-server here; apt-get install redis-server");
                return None;
            };
            // Until it was bound anew the port was anybody's.
            if let Some(child) = listening(child) {
                return Some(Self {
                    child,
                    port,
                    password,
                    folder,
                });
            }
        }
        panic!("redis-server ends as soon as it has begun");
    }

    fn url(&self, password: &str) -> CacheBackend {
        url(self.port, password)
    }

    /// Another client.
    async fn client(&self) -> redis::aio::MultiplexedConnection {
        let CacheBackend::Redis(url) = self.url(self.password) else {
            unreachable!()
        };
        let client = redis::Client::open(url.expose()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Waits until an answer is there.
    async fn holds(&self, n: u32) {
        let mut wire = self.client().await;
        eventually("an answer in Redis", async || {
            redis::cmd("EXISTS")
                .arg(key(n))
                .query_async::<bool>(&mut wire)
                .await
                .unwrap()
        })
        .await;
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Begins again, empty, on the same port.
    fn again(&mut self) {
        let child = spawn(self.port, self.password, &self.folder).unwrap();
        self.child = listening(child).expect("its port is free");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, password: &str, folder: &TempDir) -> Option<Child> {
    Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .args(["--requirepass", password, "--dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// The server, once it listens; `None` where it ended instead.
fn listening(mut child: Child) -> Option<Child> {
    let said = BufReader::new(child.stdout.take().unwrap());
    let mut lines = said.lines().map_while(Result::ok);
    if lines.any(|line| line.contains("Ready to accept connections")) {
        return Some(child);
    }
    child.wait().unwrap();
    None
}

/// Tells how long questions took, most of which wait for no Redis.
fn few_wait(what: &str, times: Vec<Duration>) {
    let longest = times.iter().max().copied().unwrap();
    let (median, _) = percentiles(times);
    eprintln!("figure: {what}, median = {median:.3} ms");
    eprintln!("figure: {what}, longest = {:.3} s", longest.as_secs_f64());
    assert!(median < PATIENT.as_secs_f64() * 500.0, "each waits for it");
}

/// The key of an answer.
fn key(n: u32) -> String {
    format!("sentinel:intel:answer:virustotal:{}", address(n))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn url(port: u16, password: &str) -> CacheBackend {
    CacheBackend::Redis(Secret::new(format!("redis://:{password}@127.0.0.1:{port}/0")))
}

fn noon() -> Timestamp {
    at("2026-11-27T12:00:00Z")
}

/// One of several sentinels.
struct Sentinel {
    intel: Intel,
    upkeep: JoinHandle<()>,
}

impl Sentinel {
    fn start(config: &IntelConfig, source: &Scripted) -> Self {
        Self::waiting(PATIENT, config, source)
    }

    /// One that waits for Redis for so long at most.
    fn waiting(within: Duration, config: &IntelConfig, source: &Scripted) -> Self {
        let clock = WallClock::by(noon);
        let (intel, upkeep) = waiting(within, || intel(config, &[source], None, clock));
        let upkeep = tokio::spawn(upkeep.run());
        Self { intel, upkeep }
    }

    async fn connected(config: &IntelConfig, source: &Scripted) -> Self {
        let sentinel = Self::start(config, source);
        eventually("Redis answers", async || sentinel.redis().up).await;
        sentinel
    }

    fn redis(&self) -> RedisStatus {
        self.intel.status().redis.unwrap()
    }

    fn spent(&self, period: &str) -> u64 {
        let source = self.intel.status().sources.remove(0);
        source.quota.iter().find(|q| q.period == period).unwrap().spent
    }

    async fn ask(&self, n: u32) -> &'static str {
        ask_first(&self.intel, address(n), Severity::High).await
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

fn settings(cache: CacheBackend, limits: [u32; 3]) -> IntelConfig {
    IntelConfig {
        cache,
        ..config(&[("virustotal", limits)])
    }
}

fn source() -> Scripted {
    Scripted::new("virustotal").clock(noon)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_sentinel_learnt_the_other_knows() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("right"), [0, 0, 0]), source());
    let [one, other] = [
        Sentinel::connected(&config, &source).await,
        Sentinel::connected(&config, &source).await,
    ];
    for n in 0..500 {
        assert_eq!(one.ask(n).await, "fresh");
    }
    server.holds(499).await;
    let asked = source.begun();
    let mut times = Vec::new();
    for n in 0..500 {
        let began = Instant::now();
        let result = other.ask(n).await;
        times.push(began.elapsed());
        assert_eq!(result, "cache");
    }
    let (median, p99) = percentiles(times);
    eprintln!("figure: found in Redis, median = {median:.3} ms");
    eprintln!("figure: found in Redis, p99 = {p99:.3} ms");
    assert_eq!(source.begun(), asked);
    assert!(other.redis().hits >= 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_share_a_quota_to_the_last_request() {
    let Some(server) = Server::start("right") else { return };
    let limits = [0, 40, 0];
    let config = settings(server.url("right"), limits);
    let (source, seen) = source().provider("virustotal", limits, noon, 0, 1_000_000, false);
    let [one, other] = [
        Sentinel::connected(&config, &source).await,
        Sentinel::connected(&config, &source).await,
    ];
    // Many at the same time count once each.
    let first = futures_util::future::join_all((0..10).map(|n| one.ask(n)));
    let second = futures_util::future::join_all((1_000..1_010).map(|n| other.ask(n)));
    tokio::join!(first, second);
    assert_eq!(
        (seen.requests.load(SeqCst), one.spent("day").max(other.spent("day"))),
        (20, 20)
    );
    for n in 20..40 {
        let (first, second) = (one.ask(n), other.ask(1_000 + n));
        tokio::join!(first, second);
    }
    assert_eq!((seen.requests.load(SeqCst), seen.violations.load(SeqCst)), (40, 0));
    assert_eq!(one.spent("day").max(other.spent("day")), 40);
    assert_eq!(one.ask(5_000).await, "quota");
    // Of a minute, too.
    let limits = [6, 0, 0];
    let config = settings(server.url("right"), limits);
    let (source, seen) = source.provider("virustotal", limits, noon, 0, 1_000_000, false);
    let [one, other] = [
        Sentinel::connected(&config, &source).await,
        Sentinel::connected(&config, &source).await,
    ];
    for n in 10_000..10_008 {
        let (first, second) = (one.ask(n), other.ask(10_000 + n));
        tokio::join!(first, second);
    }
    assert_eq!((seen.requests.load(SeqCst), seen.violations.load(SeqCst)), (6, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_comes_back_loses_and_blocks_nothing() {
    let Some(mut server) = Server::start("right") else {
        return;
    };
    let (config, source) = (settings(server.url("right"), [0, 500, 0]), source());
    let one = Sentinel::connected(&config, &source).await;
    for n in 0..10 {
        assert_eq!(one.ask(n).await, "fresh");
    }
    server.end();
    let mut times = Vec::new();
    for n in 10..30 {
        let began = Instant::now();
        assert_eq!(one.ask(n).await, "fresh");
        times.push(began.elapsed());
    }
    few_wait("question while Redis was killed", times);
    let status = one.redis();
    assert!(!status.up && !status.cause.is_empty(), "{status:?}");
    assert_eq!(one.spent("day"), 30);
    server.again();
    eventually("Redis is back", async || one.redis().up).await;
    eventually("debts are settled", async || one.redis().owed == 0).await;
    // Another one that starts now knows what was learnt in the outage, and what was spent.
    let other = Sentinel::connected(&config, &source).await;
    server.holds(29).await;
    for n in 10..30 {
        assert_eq!(other.ask(n).await, "cache", "{n}");
    }
    assert_eq!(one.ask(50).await, "fresh");
    assert_eq!(other.ask(51).await, "fresh");
    assert_eq!((one.spent("day"), other.spent("day")), (31, 32));
    assert_eq!(source.begun(), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_spent_while_redis_hung_is_added_up() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("right"), [0, 500, 0]), source());
    // Far more than a question takes that does not wait, so that one that does is told from it.
    let within = Duration::from_secs(1);
    let [one, other] = [(); 2].map(|()| Sentinel::waiting(within, &config, &source));
    for sentinel in [&one, &other] {
        eventually("Redis answers", async || sentinel.redis().up).await;
    }
    for n in 0..10 {
        one.ask(n).await;
        other.ask(1_000 + n).await;
    }
    server.signal(Signal::SIGSTOP);
    let mut times = Vec::new();
    for n in 10..30 {
        let began = Instant::now();
        assert_eq!(one.ask(n).await, "fresh");
        assert_eq!(other.ask(1_000 + n).await, "fresh");
        times.push(began.elapsed());
    }
    server.signal(Signal::SIGCONT);
    few_wait("two questions while Redis hung", times);
    for sentinel in [&one, &other] {
        eventually("Redis is back", async || sentinel.redis().up).await;
    }
    assert_eq!(one.ask(100).await, "fresh");
    assert_eq!(other.ask(1_100).await, "fresh");
    assert_eq!(one.ask(101).await, "fresh");
    // What Redis may have counted and not confirmed counts twice: too many, never too few.
    let spent = one.spent("day");
    assert!((63..=67).contains(&spent), "{spent}");
}

/// The one key of a quota's period.
async fn quota_key(wire: &mut redis::aio::MultiplexedConnection, period: &str) -> String {
    let pattern = format!("sentinel:intel:quota:virustotal:{period}*");
    let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(wire).await.unwrap();
    assert_eq!(keys.len(), 1);
    keys.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_key_spoils_its_own_command_and_no_other() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("right"), [0, 500, 0]), source());
    let [one, other] = [
        Sentinel::connected(&config, &source).await,
        Sentinel::connected(&config, &source).await,
    ];
    for n in 0..3 {
        assert_eq!(one.ask(n).await, "fresh");
    }
    server.holds(2).await;
    let mut wire = server.client().await;
    let day = quota_key(&mut wire, "day").await;
    redis::pipe()
        .cmd("HSET")
        .arg(key(10))
        .arg("x")
        .arg("y")
        .cmd("SET")
        .arg(day)
        .arg("no number")
        .query_async::<()>(&mut wire)
        .await
        .unwrap();
    // Neither its answer nor its quota can be read: as if nothing were there.
    assert_eq!(other.ask(10).await, "fresh");
    assert_eq!(other.ask(1).await, "cache");
    let status = other.redis();
    assert!(status.up && status.cause.contains("refuses commands"), "{status:?}");
    assert_eq!((status.failures, status.hits), (2, 1));
    assert_eq!(other.spent("day"), 1);
    // It is written over with what was learnt.
    eventually("mended", async || one.ask(10).await == "cache").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_down_is_given_back_to_all() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("right"), [60, 500, 0]), source());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sentinel.db");
    let database = Database::open(&path);
    let store = Some(database.store.clone());
    let (intel, upkeep) = waiting(PATIENT, || intel(&config, &[&source], store, WallClock::by(noon)));
    let one = Sentinel {
        intel,
        upkeep: tokio::spawn(upkeep.run()),
    };
    eventually("Redis answers", async || one.redis().up).await;
    assert_eq!(one.ask(1).await, "fresh");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("DROP TABLE intel_quota")
        .unwrap();
    assert_eq!(one.ask(2).await, "unavailable");
    assert_eq!((one.spent("day"), one.spent("minute")), (1, 1));
    let mut wire = server.client().await;
    let (day, minute) = (quota_key(&mut wire, "day").await, quota_key(&mut wire, "minute").await);
    let spent: u64 = redis::cmd("GET").arg(&day).query_async(&mut wire).await.unwrap();
    let seconds: Vec<u64> = redis::cmd("HVALS").arg(minute).query_async(&mut wire).await.unwrap();
    let kept: i64 = redis::cmd("TTL").arg(&day).query_async(&mut wire).await.unwrap();
    assert_eq!((spent, seconds.iter().sum::<u64>()), (1, 1));
    assert!(kept > 0, "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_never_repeated() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("s3cret-and-wrong"), [0, 500, 0]), source());
    let one = Sentinel::start(&config, &source);
    eventually("the cause", async || one.redis().cause.contains("password")).await;
    assert_eq!(one.ask(1).await, "fresh");
    let status = one.redis();
    assert!(!status.up && status.failures > 0);
    let told = format!("{status:?} {:?} {:?}", one.intel, config.cache);
    assert!(!told.contains("s3cret"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_accepts_and_never_answers_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = settings(url(listener.local_addr().unwrap().port(), "x"), [0, 500, 0]);
    let source = source();
    let one = Sentinel::start(&config, &source);
    let mut times = Vec::new();
    for n in 0..20 {
        let began = Instant::now();
        assert_eq!(one.ask(n).await, "fresh");
        times.push(began.elapsed());
    }
    few_wait("question before a Redis that never answers", times);
    eventually("the cause", async || one.redis().cause.contains("in time")).await;
    assert!(!one.redis().up);
    eventually("answers wait for its return", async || one.redis().owed == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_redis_is_not_believed_without_bounds() {
    let Some(server) = Server::start("right") else { return };
    let (config, source) = (settings(server.url("right"), [0, 0, 0]), source());
    let one = Sentinel::connected(&config, &source).await;
    let mut wire = server.client().await;
    let mut kept = serde_json::to_value(crate::types::KeptAnswer {
        indicator: Scripted::bad("virustotal", address(0), at("2026-11-27T11:00:00Z")).indicator,
        expires_at: at("2099-01-01T00:00:00Z"),
    })
    .unwrap();
    let mut put = async |n: u32, value: String| {
        redis::cmd("SET")
            .arg(key(n))
            .arg(value)
            .query_async::<()>(&mut wire)
            .await
            .unwrap();
    };
    put(1, "not json".into()).await;
    put(2, "x".repeat(10 << 20)).await;
    put(3, kept.to_string()).await;
    kept["indicator"]["score"] = 1e9.into();
    kept["indicator"]["categories"] = vec!["\u{1b}[31m".repeat(40); 40].into();
    put(0, kept.to_string()).await;
    for n in [1, 2, 3] {
        assert_eq!(one.ask(n).await, "fresh", "{n}: of no use, or about another address");
    }
    let told = ask(&one.intel, address(0), Severity::High).await.remove(0);
    let indicator = told.indicator.unwrap();
    assert_eq!(told.result, "cache");
    assert!((indicator.score - 1.0).abs() < 1e-12);
    assert!(indicator.categories.len() <= crate::types::INDICATOR_PARTS);
    assert!(indicator.categories.iter().all(|c| !c.contains('\u{1b}')));
}
