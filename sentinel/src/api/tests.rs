//! The API over a real store and a real server; only the room that decides is played, by a task that answers commands.

use super::*;
use crate::auth::Secrets;
use crate::store::{Record, Writer};
use crate::types::testing::{action, alert, decision};
use crate::types::{
    Action, ActionKind, ActionStatus, Alert, AlertId, AllowDone, BadLine, Busiest, Busy, BusyFlow, BusyPer, BusySource,
    ChannelKind, Channels, Checked, CommandError, Component, Decision, DecisionStatus, Deleted, Detector, Enquiry,
    Event, Evidence, EvidenceClass, FeedStatus, FleetStatus, ImportError, Imported, IntelReport, IntelStatus,
    InterfaceStats, KeyChange, LearnError, LearnWish, Learning, MapUse, Mint, Moved, NewDecision, Origin, Rate,
    Reloaded, Role, Selector, Session, Severity, Stop, Terms, TestOutcome, TestWish, Veto,
};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use sentinel_common::stat::COUNTERS;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tower::ServiceExt;

mod access;
mod again;
mod bouncers;
mod document;
mod glance;
mod golden;
mod http;
mod notifications;
mod operate;
mod pages;
mod paging;
mod reports;
mod secret_door;
mod server;
mod sightings;
mod traffic;

/// 2026-01-01T00:00:00Z.
const T0: Timestamp = Timestamp(1_767_225_600_000_000_000);

/// The secret of a session that is open, and its cookie.
const SECRET: &str = "open";
const COOKIE: &str = "sentinel_session=open";

/// The same, as a browser is told of it.
fn cookie_of_the_open_session() -> Value {
    json!({
        "name": "sentinel_session", "value": SECRET, "url": "http://127.0.0.1/", "httpOnly": true, "sameSite": "Strict"
    })
}

/// Where to listen.
fn doors_at(listen: &str, socket: &std::path::Path) -> ApiConfig {
    ApiConfig {
        listen: listen.parse().unwrap(),
        socket: socket.into(),
        ..Config::default().api
    }
}

/// Header of a request that is to come without it.
const NOBODY: &str = "x-nobody";

/// A house with a store in a directory of its own.
struct House {
    state: AppState,
    cancel: CancellationToken,
    stats: watch::Sender<Arc<Stats>>,
    health: watch::Sender<Arc<Health>>,
    fleet: watch::Sender<Arc<FleetStatus>>,
    hits: watch::Sender<Arc<HashMap<DecisionId, Hits>>>,
    protected: watch::Sender<Arc<Vec<Protected>>>,
    channels: watch::Sender<Arc<Channels>>,
    model: watch::Sender<Option<Arc<ModelCard>>>,
    writer: Option<JoinHandle<()>>,
    directory: TempDir,
}

/// Learn mode as the room of that name answers: on after `start`, and never with flows enough to accept.
async fn teach(mut wishes: mpsc::Receiver<LearnRequest>) {
    let mut since = None;
    while let Some((wish, reply)) = wishes.recv().await {
        let status = |since| Learning {
            since,
            resumed: None,
            warning: None,
            seen: 120,
            kept: 120,
            left_out: 3,
            suspects: 1,
            levels: Vec::new(),
            model: "ab".repeat(32),
            calibrated: false,
            realised: Vec::new(),
            drift: None,
        };
        let answer = match wish {
            LearnWish::Start => {
                since = Some(now());
                Ok(status(since))
            }
            LearnWish::Status => Ok(status(since)),
            LearnWish::Accept if since.is_some() => Err(LearnError::TooFew {
                have: 120,
                missing: 9_880,
            }),
            LearnWish::Discard if since.take().is_some() => Ok(status(None)),
            LearnWish::Accept | LearnWish::Discard => Err(LearnError::NotLearning),
        };
        let _ = reply.send(answer);
    }
}

/// Knows that 203.0.113.7 is bad, and nothing else.
async fn know(mut questions: mpsc::Receiver<Enquiry>) {
    while let Some(question) = questions.recv().await {
        match question {
            Enquiry::Status(reply) => {
                let _ = reply.send(IntelReport {
                    status: IntelStatus::default(),
                    feeds: vec![FeedStatus {
                        name: "ipsum".to_owned(),
                        ..FeedStatus::default()
                    }],
                    geoip: Vec::new(),
                });
            }
            Enquiry::Check(ip, reply) => {
                let bad = ip == std::net::IpAddr::from([203, 0, 113, 7]);
                let level = if bad { Severity::High } else { Severity::Low };
                let _ = reply.send(Checked {
                    ip,
                    special: None,
                    answers: Vec::new(),
                    risk: crate::types::testing::risk(level, u32::from(bad)),
                    country: None,
                    network: None,
                });
            }
        }
    }
}

/// Two flows of one source, as the room that keeps them tells.
async fn move_about(mut questions: mpsc::Receiver<BusyRequest>) {
    let moved = |packets_sent, bytes_sent, bytes_per_second| Moved {
        packets_sent,
        bytes_sent,
        packets_received: 2,
        bytes_received: 100,
        packets_per_second: 1.5,
        bytes_per_second,
    };
    let flow = |source_port, moved| {
        Busy::Flow(BusyFlow {
            source: [203, 0, 113, 7].into(),
            source_port,
            destination: [192, 0, 2, 1].into(),
            destination_port: 443,
            proto: 6,
            from_inside: false,
            moved,
            first_seen: T0,
            last_seen: T0.after(Duration::from_secs(2)),
            established: true,
            closed: false,
            allowlisted: false,
        })
    };
    while let Some((per, of, reply)) = questions.recv().await {
        let (long, fast) = (flow(1, moved(9, 9_000, 0.0)), flow(2, moved(5, 500, 250.0)));
        let source = Busy::Source(BusySource {
            source: [203, 0, 113, 7].into(),
            flows: 2,
            closed: 0,
            moved: moved(14, 9_500, 250.0),
            first_seen: T0,
            last_seen: T0,
        });
        let told = match per {
            BusyPer::Flow => Busiest {
                at: T0,
                flows: 2,
                looked_at: 2,
                total: 2,
                by_bytes: vec![long.clone(), fast.clone()],
                by_packets: vec![long.clone(), fast.clone()],
                by_rate: vec![fast, long],
            },
            BusyPer::Source => Busiest {
                at: T0,
                flows: 2,
                looked_at: 2,
                total: 1,
                by_bytes: vec![source.clone()],
                by_packets: vec![source.clone()],
                by_rate: vec![source],
            },
        };
        let elsewhere = of.is_some_and(|net: ipnet::IpNet| !net.contains(&std::net::IpAddr::from([203, 0, 113, 7])));
        let told = if elsewhere { Busiest::default() } else { told };
        let _ = reply.send(Arc::new(told));
    }
}

/// Finds one key changed, and nothing wrong.
async fn read_anew(mut wishes: mpsc::Receiver<ReloadWish>) {
    while let Some(wish) = wishes.recv().await {
        let change = |key: &str| KeyChange {
            key: key.to_owned(),
            old: "old".to_owned(),
            new: "new".to_owned(),
        };
        let _ = wish.reply.send(Ok(Reloaded {
            applied: vec![change("response.duration")],
            restart: vec![change("mode")],
            ..Reloaded::default()
        }));
    }
}

/// Takes every test message but Slack's.
async fn tell(mut wishes: mpsc::Receiver<TestWish>) {
    while let Some(wish) = wishes.recv().await {
        let wanted = ChannelKind::ALL
            .into_iter()
            .filter(|kind| wish.channel.is_none_or(|channel| channel == *kind));
        let outcomes = wanted.map(|channel| TestOutcome {
            channel,
            taken: channel != ChannelKind::Slack,
            detail: format!("asked by {}", wish.actor),
            mend: (channel == ChannelKind::Slack).then(|| "make a new webhook".to_owned()),
        });
        let _ = wish.reply.send(outcomes.collect());
    }
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("sentinel.db")).unwrap();
        let writer = std::thread::spawn(move || Writer::run(writer));
        let (commands, inbox) = mpsc::channel(8);
        let (learning, wishes) = mpsc::channel(8);
        tokio::spawn(teach(wishes));
        let (enquiries, questions) = mpsc::channel(8);
        tokio::spawn(know(questions));
        let (busiest, asked) = mpsc::channel(8);
        tokio::spawn(move_about(asked));
        let (tests, tried) = mpsc::channel(8);
        tokio::spawn(tell(tried));
        let (reloads, read) = mpsc::channel(8);
        tokio::spawn(read_anew(read));
        let (channels, channels_out) = watch::channel(Arc::default());
        let bus = Bus::default();
        let (model, model_out) = watch::channel(None);
        let (stats, stats_out) = watch::channel(Arc::default());
        let (health, health_out) = watch::channel(Arc::default());
        let (fleet, fleet_out) = watch::channel(Arc::default());
        let (hits, hits_out) = watch::channel(Arc::default());
        let (protected, protected_out) = watch::channel(Arc::default());
        let (acting, acting_out) = watch::channel(Arc::default());
        tokio::spawn(decide(inbox, store.clone(), bus.clone(), acting, protected.clone()));
        let kept = Session {
            digest: crate::types::hex(&Sha256::digest(SECRET)),
            actor: "dashboard".to_owned(),
            role: Role::Operator,
            token: None,
            began_at: now(),
            used_at: now(),
        };
        let hour = Duration::from_hours(1);
        let auth = Auth::new(store.clone(), Secrets::weak(), hour, Vec::new(), vec![kept]);
        let state = AppState {
            store,
            auth: Arc::new(auth),
            commands,
            learning,
            enquiries,
            busiest,
            tests,
            channels: channels_out,
            bus,
            stats: stats_out,
            health: health_out,
            fleet: fleet_out,
            hits: hits_out,
            protected: protected_out,
            acting: acting_out,
            model: model_out,
            config: Arc::new(Config {
                reports: crate::config::ReportsConfig {
                    directory: directory.path().join("reports"),
                    ..crate::config::ReportsConfig::default()
                },
                traffic_log: crate::config::TrafficLogConfig {
                    path: directory.path().join("traffic_log.csv"),
                    ..crate::config::TrafficLogConfig::default()
                },
                ..Config::default()
            }),
            origins: Arc::default(),
            settings: watch::channel(None).1,
            reloads,
            metrics: Arc::default(),
            started: now(),
            clock: crate::time::clock(),
        };
        state.metrics.watch_stats(state.stats.clone());
        state.metrics.watch_health(state.health.clone());
        Self {
            state,
            cancel: CancellationToken::new(),
            stats,
            health,
            fleet,
            hits,
            protected,
            channels,
            model,
            writer: Some(writer),
            directory,
        }
    }

    /// Behind a door at which everybody who says nothing else is logged in as an operator.
    fn router(&self, door: Door) -> Router {
        let logged_in = |mut request: Request<Body>| async move {
            let headers = request.headers_mut();
            if headers.remove(NOBODY).is_none() && !headers.contains_key("authorization") {
                headers.entry("cookie").or_insert(HeaderValue::from_static(COOKIE));
            }
            request
        };
        router::router(Api::new(self.state.clone(), self.cancel.clone()), door)
            .layer(axum::middleware::map_request(logged_in))
    }

    /// Turns `api.crowdsec` on.
    fn let_bouncers_in(&mut self) {
        let mut config = Config::clone(&self.state.config);
        config.api.crowdsec = true;
        self.state.config = Arc::new(config);
    }

    async fn keep(&self, records: Vec<Record>) {
        self.state.store.commit(records).await.unwrap();
    }

    /// The state as the kernel would leave it: one interface, attached in generic mode.
    fn attach(&self, set: &[(sentinel_common::stat::Counter, u64)]) {
        let mut counters = [0; COUNTERS];
        for (counter, value) in set {
            counters[*counter as usize] = *value;
        }
        self.stats.send_replace(Arc::new(Stats {
            at: now(),
            interfaces: vec![InterfaceStats {
                name: "eth0".into(),
                xdp_mode: "generic",
                egress: true,
                fallback: None,
                trouble: None,
                counters,
            }],
            maps: BTreeMap::from([
                (
                    "BLOCK4".into(),
                    MapUse {
                        entries: 3,
                        capacity: 131_072,
                    },
                ),
                (
                    "FLOWS".into(),
                    MapUse {
                        entries: 91_750,
                        capacity: 131_072,
                    },
                ),
            ]),
            flows_active: 412,
            sources_active: 57,
            unprotected: Duration::ZERO,
            lost: BTreeMap::new(),
        }));
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.state.store.close();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

/// Plays the room that decides: refuses 192.0.2.0/24, stores and publishes what it takes or takes back.
async fn decide(
    mut inbox: mpsc::Receiver<Command>,
    store: Store,
    bus: Bus,
    acting: watch::Sender<Arc<Acting>>,
    protected: watch::Sender<Arc<Vec<Protected>>>,
) {
    let mut mint = Mint::Random;
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Add(wish, reply) => {
                let guarded: ipnet::IpNet = "192.0.2.0/24".parse().unwrap();
                let answer = if guarded.contains(&wish.target) {
                    Err(CommandError::Vetoed(Veto {
                        guard: "gateway".into(),
                        reason: "192.0.2.1 is the default gateway; blocking it would cut this host off".into(),
                    }))
                } else {
                    let decision = taken(&mut mint, &wish);
                    let event = Arc::new(decision.clone());
                    let _ = store.commit(vec![Record::Decision(Arc::clone(&event))]).await;
                    bus.publish(Event::Decision(event));
                    Ok(decision)
                };
                let _ = reply.send(answer);
            }
            Command::Delete { which, reply, .. } => {
                let mut deleted = Vec::new();
                for mut decision in store.active_decisions().await.unwrap() {
                    let meant = match &which {
                        Selector::Id(id) => decision.id == *id,
                        Selector::Target(target) => decision.target == *target,
                        Selector::All => true,
                    };
                    if meant {
                        decision.status = DecisionStatus::Deleted;
                        decision.ended_at = Some(now());
                        let event = Arc::new(decision.clone());
                        let _ = store.commit(vec![Record::Decision(Arc::clone(&event))]).await;
                        bus.publish(Event::Decision(event));
                        deleted.push(decision);
                    }
                }
                let mut covering = store.active_decisions().await.unwrap();
                covering.retain(|d| !d.simulated && deleted.iter().any(|gone| d.target.contains(&gone.target)));
                let found = if deleted.is_empty() {
                    Err(CommandError::NotFound)
                } else {
                    Ok(Deleted {
                        decisions: deleted,
                        covering,
                    })
                };
                let _ = reply.send(found);
            }
            Command::Confirm { id, reply, .. } => {
                let found = store.decision(id).await.unwrap();
                let found = found.filter(|d| d.until_if_confirmed.is_some());
                let confirmed = found.map(|d| Decision {
                    expires_at: d.until_if_confirmed,
                    until_if_confirmed: None,
                    ..d
                });
                let _ = reply.send(confirmed.ok_or(CommandError::NotFound));
            }
            Command::Act {
                on,
                actor,
                reason,
                reply,
            } => {
                let stopped = (!on).then(|| Stop {
                    at: now(),
                    actor,
                    reason,
                });
                let _ = store.commit(vec![Record::Acting(stopped.clone())]).await;
                acting.send_replace(Arc::new(Acting { stopped }));
                let _ = reply.send(Ok(Acting::clone(&acting.borrow())));
            }
            Command::Allow(wish, reply) => {
                let entry = wish.entry(now());
                let there = store.allowlist().await.unwrap();
                let changed = there.iter().any(|known| known.target == entry.target);
                let _ = store.commit(vec![Record::Allow(Arc::new(entry.clone()))]).await;
                protected.send_modify(|list| {
                    Arc::make_mut(list).push(Protected {
                        target: entry.target,
                        guard: "allowlist".into(),
                        reason: entry.reason(),
                    });
                });
                let _ = reply.send(Ok(AllowDone {
                    entry,
                    changed,
                    ended: Vec::new(),
                }));
            }
            Command::Disallow { target, reply, .. } => {
                let there = store.allowlist().await.unwrap();
                let found = there.into_iter().find(|known| known.target == target);
                let _ = store.commit(vec![Record::Disallow(target)]).await;
                protected.send_modify(|list| Arc::make_mut(list).retain(|p| p.target != target));
                let _ = reply.send(found.ok_or(CommandError::NotFound));
            }
            Command::Fleet { orders, reply, .. } => {
                let _ = reply.send(vec![crate::types::FleetOutcome::Content; orders.len()]);
            }
            Command::Import(import, reply) => {
                let guarded: ipnet::IpNet = "192.0.2.0/24".parse().unwrap();
                let mut bad = import.unread;
                let (refused, good): (Vec<_>, Vec<_>) = import
                    .wishes
                    .into_iter()
                    .partition(|one| guarded.contains(&one.wish.target));
                bad.extend(refused.into_iter().map(|one| BadLine {
                    line: one.line,
                    problem: "it is the default gateway's".into(),
                    guard: Some("gateway".into()),
                }));
                bad.sort();
                let total = bad.len() as u64;
                let answer = if bad.is_empty() || import.skip_bad {
                    for one in &good {
                        let decision = Arc::new(taken(&mut mint, &one.wish));
                        let _ = store.commit(vec![Record::Decision(decision)]).await;
                    }
                    Ok(Imported {
                        imported: good.len() as u64,
                        skipped: total,
                        bad,
                        simulated: true,
                        ..Imported::default()
                    })
                } else {
                    Err(ImportError::Bad { lines: bad, total })
                };
                let _ = reply.send(answer);
            }
        }
    }
}

fn taken(mint: &mut Mint, wish: &NewDecision) -> Decision {
    let at = now();
    Decision {
        id: mint.decision(at),
        at,
        target: wish.target,
        action: wish.action,
        terms: Terms {
            rate: wish.rate,
            egress: wish.egress == Some(true),
            ..Terms::default()
        },
        expires_at: Some(at.after(wish.duration)),
        until_if_confirmed: None,
        simulated: true,
        origin: Origin::Operator,
        actor: wish.actor.clone(),
        reason: wish.reason.clone(),
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

fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "127.0.0.1:8000")
        .body(Body::empty())
        .unwrap()
}

fn send(method: &str, path: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8000")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

async fn answer(router: &Router, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (
        parts.status,
        parts.headers,
        body.collect().await.unwrap().to_bytes().to_vec(),
    )
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, Value) {
    let (status, _, body) = answer(router, request).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
}
