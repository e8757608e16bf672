//! What nodes tell each other, from one node's database through a real Redis to another's desk: words a second, how late they
//! are at rest, what a word costs the Redis, and how long a newcomer takes.
//!
//! `cargo bench -p sentinel --bench fleet -- [--json FILE] [--words N]`

use sentinel::config::{BusBackend, Config, FleetConfig, RedisKind, RedisPlace};
use sentinel::fleet::{Deps, open};
use sentinel::metrics::Metrics;
use sentinel::store::{Record, Store};
use sentinel::time;
use sentinel::types::{
    Action, ActionKind, ActionStatus, Command, Decision, DecisionStatus, FleetOutcome, FleetStatus, Mint, Origin,
    Secret, Terms,
};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Words told one by one, to see how late they are.
const SINGLES: usize = 200;
const PATIENCE: Duration = Duration::from_mins(2);

/// Ended with it.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node, but for its desk, which only counts.
struct Node {
    store: Store,
    orders: Arc<AtomicU64>,
    status: watch::Receiver<Arc<FleetStatus>>,
    cancel: CancellationToken,
    began: Instant,
}

impl Node {
    async fn start(name: &str, port: u16, folder: &Path) -> Self {
        let (store, writer) = Store::open(&folder.join(format!("{name}.db"))).expect("a database");
        std::thread::spawn(move || writer.run());
        let (commands, mut inbox) = mpsc::channel(64);
        let orders = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&orders);
        tokio::spawn(async move {
            while let Some(command) = inbox.recv().await {
                if let Command::Fleet { orders, reply, .. } = command {
                    counted.fetch_add(orders.len() as u64, Relaxed);
                    let _ = reply.send(vec![FleetOutcome::Done; orders.len()]);
                }
            }
        });
        let config = Config {
            bus: BusBackend::Redis(RedisPlace {
                kind: RedisKind::Single,
                tls: false,
                user: None,
                password: None,
                hosts: vec![("127.0.0.1".to_owned(), port)],
                database: 0,
            }),
            fleet: FleetConfig {
                name: name.to_owned(),
                key: Some(Secret::new("0123456789abcdef0123456789abcdef")),
                ..FleetConfig::default()
            },
            ..Config::default()
        };
        let (status, told) = watch::channel(Arc::default());
        let deps = Deps {
            store: store.clone(),
            commands,
            metrics: Arc::new(Metrics::new()),
            health: watch::channel(Arc::default()).0,
            status,
            acting: watch::channel(Arc::default()).1,
            in_force: Box::new(|| 0),
            now: time::wall_now,
            desk: Box::new(time::wall_now),
        };
        let began = Instant::now();
        let fleet = open(&config, deps).await.expect("opens").expect("a fleet");
        let cancel = CancellationToken::new();
        tokio::spawn(fleet.run(cancel.clone()));
        let node = Self {
            store,
            orders,
            status: told,
            cancel,
            began,
        };
        node.until("connected", || node.status.borrow().connected).await;
        node
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain: {what}; {:?}",
                self.status.borrow()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn decide(&self, numbers: std::ops::Range<u32>) {
        // As the desk writes them: the decision, and that it is enforced.
        let records = numbers.map(decision).flat_map(|decision| {
            let enforced = Action {
                id: Mint::Random.action(decision.at),
                decision: decision.id,
                kind: decision.action,
                target: decision.target,
                status: ActionStatus::Enforced,
                intent_at: decision.at,
                entered_at: Some(decision.at),
                outcome_at: Some(decision.at),
                expires_at: decision.expires_at,
                outcome: String::new(),
                hits: 0,
                would_hits: 0,
            };
            [Record::Decision(Arc::new(decision)), Record::Action(Arc::new(enforced))]
        });
        self.store.commit(records.collect()).await.expect("stored");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.store.close();
    }
}

fn decision(number: u32) -> Decision {
    let at = time::wall_now();
    Decision {
        id: Mint::Random.decision(at),
        at,
        target: ipnet::IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + number))),
        action: ActionKind::BlockIp,
        terms: Terms::default(),
        expires_at: Some(at.after(Duration::from_hours(4))),
        until_if_confirmed: None,
        simulated: false,
        origin: Origin::Detector,
        actor: "port_scan".to_owned(),
        reason: "tried 412 ports of 198.51.100.10 within 10 s, where 60 are the limit; risk 0.91 (high)".to_owned(),
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
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
    let words = value("--words").and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let figures = runtime.block_on(measure(words));
    if let Some(file) = value("--json") {
        let text = serde_json::to_string(&figures).expect("JSON");
        std::fs::write(file, text).expect("written");
    }
}

async fn measure(words: u32) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let redis = std::process::Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--appendonly",
            "yes",
            "--dir",
        ])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn();
    let Ok(redis) = redis else {
        println!("no redis-server here: nothing is measured");
        return Vec::new();
    };
    let _redis = Redis(redis);
    let mut figures = Vec::new();
    let mut figure = |name: &str, value: f64, unit: &str, better: &str| {
        println!("{name}: {value:.4} {unit}");
        figures.push(json!({ "suite": "fleet", "name": name, "value": value, "unit": unit, "better": better }));
    };
    let one = Node::start("one", port, folder.path()).await;
    let two = Node::start("two", port, folder.path()).await;

    let mut late = Vec::new();
    for n in 0..SINGLES as u32 {
        let before = two.orders.load(Relaxed);
        let began = Instant::now();
        one.decide(n..n + 1).await;
        two.until("a word", || two.orders.load(Relaxed) > before).await;
        late.push(began.elapsed().as_secs_f64() * 1e3);
        // Not in step with the other side's looking.
        tokio::time::sleep(Duration::from_millis(u64::from(n * 37 % 101))).await;
    }
    late.sort_by(f64::total_cmp);
    figure("one word, median", late[SINGLES / 2], "ms", "lower");
    figure("one word, p99", late[SINGLES * 99 / 100], "ms", "lower");

    let before = two.orders.load(Relaxed);
    let (used, cpu) = (memory(port), cpu());
    let began = Instant::now();
    for from in (1000..1000 + words).step_by(1000) {
        one.decide(from..(from + 1000).min(1000 + words)).await;
    }
    let all = before + u64::from(words);
    two.until("all words", || two.orders.load(Relaxed) >= all).await;
    let took = began.elapsed().as_secs_f64();
    figure("words, database to desk", f64::from(words) / took, "words/s", "higher");
    let spent = (self::cpu() - cpu) / f64::from(words) * 1e6;
    figure("processor time of teller and hearer", spent, "µs/word", "lower");
    let each = (memory(port) - used) / f64::from(words);
    figure("memory of the Redis", each, "bytes/word", "lower");

    let three = Node::start("three", port, folder.path()).await;
    three.until("all words", || three.orders.load(Relaxed) >= all).await;
    let took = three.began.elapsed().as_secs_f64();
    figure("a newcomer hears all", (all as f64) / took, "words/s", "higher");
    figures
}

/// What the Redis says it uses, bytes.
fn memory(port: u16) -> f64 {
    let told = std::process::Command::new("redis-cli")
        .args(["-p", &port.to_string(), "INFO", "memory"])
        .output();
    let text = told
        .map(|told| String::from_utf8_lossy(&told.stdout).into_owned())
        .unwrap_or_default();
    let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|used| used.trim().parse().ok()).unwrap_or_default()
}

/// Processor time of this process, s.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("getrusage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
