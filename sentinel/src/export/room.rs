//! The room: sinks as the settings ask for them, and one task that hands round what is not in the store.

use super::board::Board;
use super::drops::Drops;
use super::outlet::{Batching, Feed, Outlet, Target};
use super::to_elastic::ToElastic;
use super::to_file::ToFile;
use super::to_splunk::ToSplunk;
use super::{Dropped, Happening, Observer, Totals};
use crate::bus::Bus;
use crate::config::{ExportConfig, ServerConfig, SinkConfig};
use crate::files::host_name;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::time;
use crate::types::{ActionKind, DecisionId, FlowEnd, Health, Hits, Stats, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Events that wait for one sink, alerts apart; past this the newest is dropped and counted.
const QUEUE: usize = 8192;
/// Flows on their way here; likewise.
const FLOWS: usize = 16_384;
/// Flows handed round at once.
const AT_ONCE: usize = 256;
/// Lines written together, and how long one waits for others: a file is read while it grows.
const LINES: usize = 1024;
const LINGER: Duration = Duration::from_millis(100);

/// What the room shares with the rest of the house.
pub struct Deps {
    /// Where alerts are.
    pub store: Store,
    /// What says that there may be new ones.
    pub bus: Bus,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
    /// Counts requests to open files anew.
    pub reopen: watch::Receiver<u64>,
    /// What the kernel dropped, by decision.
    pub hits: watch::Receiver<Arc<HashMap<DecisionId, Hits>>>,
    /// Totals.
    pub stats: watch::Receiver<Arc<Stats>>,
    /// When the agent started.
    pub started: Timestamp,
}

/// What was built.
pub struct Export {
    /// Where flows that ended go, if any sink wants them.
    pub flows: Option<mpsc::Sender<FlowEnd>>,
    /// Tasks to run, each with its name; none where nothing is exported.
    pub rooms: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

struct Queue {
    name: &'static str,
    sink: SinkConfig,
    sender: mpsc::Sender<Arc<Happening>>,
}

/// Builds what the settings ask for. Nothing is opened or connected to yet: what cannot be is a trouble of its sink.
pub fn open(config: &ExportConfig, deps: Deps, cancel: &CancellationToken) -> Export {
    let by = Arc::new(Observer {
        host: host_name(),
        version: env!("CARGO_PKG_VERSION"),
    });
    let sinks = [
        (ToFile::NAME, &config.eve.sink),
        (ToElastic::NAME, &config.elasticsearch.sink),
        (ToSplunk::NAME, &config.splunk.sink),
    ];
    let names: Vec<_> = sinks
        .iter()
        .filter(|(_, sink)| sink.enabled)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        return Export {
            flows: None,
            rooms: Vec::new(),
        };
    }
    let mut builder = Builder {
        board: Arc::new(Board::new(&names, deps.health.clone())),
        by,
        deps,
        cancel: cancel.clone(),
        queues: Vec::new(),
        rooms: Vec::new(),
    };
    let lines = Batching {
        events: LINES,
        flush: LINGER,
    };
    if config.eve.sink.enabled {
        builder.sink("export eve", ToFile::new(&config.eve), &config.eve.sink, lines);
    }
    let elastic = &config.elasticsearch;
    if elastic.sink.enabled {
        let target = ToElastic::new(elastic);
        builder.sink("export elasticsearch", target, &elastic.sink, batching(&elastic.server));
    }
    let splunk = &config.splunk;
    if splunk.sink.enabled {
        let target = ToSplunk::new(splunk, Arc::clone(&builder.by));
        builder.sink("export splunk", target, &splunk.sink, batching(&splunk.server));
    }
    let (sender, flows) = mpsc::channel(FLOWS);
    let round = Round {
        hits: builder.deps.hits,
        stats: builder.deps.stats,
        flows,
        store: builder.deps.store,
        queues: builder.queues,
        metrics: builder.deps.metrics,
        started: builder.deps.started,
        known: HashMap::new(),
        drops: Drops::new(builder.deps.started),
    };
    let mut rooms = builder.rooms;
    rooms.push(("export", round.run(config.stats_interval, cancel.clone()).boxed()));
    Export {
        flows: config.wants("flow").then_some(sender),
        rooms,
    }
}

/// The names by which sinks that want alerts keep how far they have come.
pub fn readers(config: &ExportConfig) -> Vec<&'static str> {
    [
        (ToFile::NAME, &config.eve.sink),
        (ToElastic::NAME, &config.elasticsearch.sink),
        (ToSplunk::NAME, &config.splunk.sink),
    ]
    .into_iter()
    .filter(|(_, sink)| sink.enabled && sink.types.iter().any(|kind| kind == "alert"))
    .map(|(name, _)| name)
    .collect()
}

/// The servers of what is enabled, each with what it is for and its host: so that nobody blocks them.
pub fn endpoints(config: &ExportConfig) -> Vec<(String, String)> {
    let servers = [
        (
            ToElastic::NAME,
            &config.elasticsearch.sink,
            &config.elasticsearch.server,
        ),
        (ToSplunk::NAME, &config.splunk.sink, &config.splunk.server),
    ];
    let on = servers.into_iter().filter(|(_, sink, _)| sink.enabled);
    let host = |url: &str| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned);
    on.filter_map(|(name, _, server)| Some((format!("export to {name}"), host(&server.url)?)))
        .collect()
}

fn batching(server: &ServerConfig) -> Batching {
    Batching {
        events: server.batch,
        flush: server.flush,
    }
}

struct Builder {
    board: Arc<Board>,
    by: Arc<Observer>,
    deps: Deps,
    cancel: CancellationToken,
    queues: Vec<Queue>,
    rooms: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

impl Builder {
    fn sink<T: Target + 'static>(&mut self, room: &'static str, target: T, sink: &SinkConfig, batching: Batching) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let feed = Feed {
            store: self.deps.store.clone(),
            alerts: sink.wants("alert"),
            queue,
            wake: self.deps.bus.subscribe(),
            reopen: self.deps.reopen.clone(),
        };
        let shared = (Arc::clone(&self.board), Arc::clone(&self.deps.metrics));
        let outlet = Outlet::new(target, feed, sink.format(), Arc::clone(&self.by), shared, batching);
        self.queues.push(Queue {
            name: T::NAME,
            sink: sink.clone(),
            sender,
        });
        self.rooms.push((room, outlet.run(self.cancel.clone()).boxed()));
    }
}

/// Hands round what is not in the store, and never waits for a sink.
struct Round {
    hits: watch::Receiver<Arc<HashMap<DecisionId, Hits>>>,
    stats: watch::Receiver<Arc<Stats>>,
    flows: mpsc::Receiver<FlowEnd>,
    store: Store,
    queues: Vec<Queue>,
    metrics: Arc<Metrics>,
    started: Timestamp,
    /// Decisions that were looked up.
    known: HashMap<DecisionId, (ipnet::IpNet, ActionKind)>,
    drops: Drops,
}

impl Round {
    async fn run(mut self, every: Duration, cancel: CancellationToken) {
        let mut timer = interval_at(Instant::now() + every, every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flows = Vec::new();
        // Nobody sends flows where none are wanted.
        let (mut open, mut counted) = (true, true);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = timer.tick() => {
                    let totals = Totals::of(&self.stats.borrow(), self.started);
                    self.offer(Happening::Stats(Arc::new(totals)));
                }
                changed = self.hits.changed(), if counted => {
                    counted = changed.is_ok();
                    self.tell_drops().await;
                }
                received = self.flows.recv_many(&mut flows, AT_ONCE), if open => {
                    open = received > 0;
                    let clock = time::clock();
                    for flow in flows.drain(..) {
                        self.offer(Happening::Flow(flow, clock));
                    }
                }
            }
        }
    }

    async fn tell_drops(&mut self) {
        let table = Arc::clone(&self.hits.borrow_and_update());
        self.known.retain(|id, _| table.contains_key(id));
        if !self.queues.iter().any(|queue| queue.sink.wants("drop")) {
            return;
        }
        for news in self.drops.news(&table, Instant::now()) {
            let Some((target, action)) = self.look_up(news.decision).await else {
                continue;
            };
            // What goes to the honeypot is not dropped.
            if action == ActionKind::RedirectToHoneypot {
                continue;
            }
            self.offer(Happening::Drop(Dropped {
                at: news.hits.last_hit.unwrap_or_else(time::wall_now),
                decision: news.decision,
                target,
                action,
                packets: news.packets,
                bytes: news.bytes,
                total: news.hits.packets,
                first: news.hits.first_hit,
            }));
        }
    }

    async fn look_up(&mut self, id: DecisionId) -> Option<(ipnet::IpNet, ActionKind)> {
        if let Some(known) = self.known.get(&id) {
            return Some(*known);
        }
        if let Ok(Some(decision)) = self.store.decision(id).await {
            let known = (decision.target, decision.action);
            self.known.insert(id, known);
            return Some(known);
        }
        // The disk lags, or it is a decision nobody stored: without a target there is nothing true to say.
        self.metrics.dropped("export", "unknown_decision", 1);
        None
    }

    fn offer(&self, happening: Happening) {
        let happening = Arc::new(happening);
        for queue in self.queues.iter().filter(|queue| queue.sink.wants(happening.kind())) {
            if let Err(mpsc::error::TrySendError::Full(_)) = queue.sender.try_send(Arc::clone(&happening)) {
                self.metrics.dropped("export", "queue_full", 1);
                self.metrics.exported(queue.name, "dropped", 1);
            }
        }
    }
}
