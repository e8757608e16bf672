//! HTTP: looking at what the agent saw and did, asking it to block or unblock, the dashboard.
//!
//! In: requests on a loopback port and on a unix socket. Out: JSON, problem documents, events, the page; [`Command`]s upstream.
//! Invariant: nothing is shown that is not durable, nor to anybody who may not look; no page of another origin can make us
//! act; every operator's action is audited.
//! Deliberately elsewhere: deciding (`decide`), keeping (`store`), who somebody is (`auth`).

mod access;
mod acting;
mod allowlist;
mod assets;
mod bind;
mod bouncers;
mod busiest;
mod coding;
mod commands;
mod conditional;
mod dto;
mod error;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod history;
mod import;
mod intel;
mod learn;
mod lists;
mod login;
mod model;
mod notifications;
mod openapi;
mod query;
mod reports;
mod routed;
mod router;
mod secured;
mod settings;
mod sightings;
mod simulation;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod traffic;

pub use error::ApiError;

use crate::auth::Auth;
use crate::bus::Bus;
use crate::config::{ApiConfig, Config, InForce, Origins};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::time::{boot_now, wall_now as now};
use crate::types::{
    Acting, BusyRequest, Channels, Clock, Command, DecisionId, Enquiry, FleetStatus, Health, Hits, LearnRequest,
    ModelCard, Protected, ReloadWish, Stats, TestWish, Timestamp,
};
use futures_util::future::BoxFuture;
use guard::Door;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long open requests and streams may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// Bouncers that are told of changes at a time: what one is told at its start is some 30 MB of 100,000 decisions.
const BOUNCERS: usize = 2;

/// Refused log-ins the audit has in a minute; the others are only counted.
const REFUSALS: u32 = 30;
const REFUSALS_PER: Duration = Duration::from_mins(1);

/// Where a one-time link leads. What follows `#` is not sent to any server by itself, and so is in nobody's log.
pub fn login_url(config: &ApiConfig, listening: SocketAddr, code: &str) -> String {
    format!("{}/login#{code}", config.url(listening))
}

/// What the API needs of the other rooms.
#[derive(Clone, Debug)]
pub struct AppState {
    /// What was seen, decided and done.
    pub store: Store,
    /// Who may ask for what.
    pub auth: Arc<Auth>,
    /// The way upstream.
    pub commands: mpsc::Sender<Command>,
    /// The way to learn mode.
    pub learning: mpsc::Sender<LearnRequest>,
    /// The way to the world outside.
    pub enquiries: mpsc::Sender<Enquiry>,
    /// The way to whoever keeps the flows.
    pub busiest: mpsc::Sender<BusyRequest>,
    /// Events for the streams.
    pub bus: Bus,
    /// Counters, refreshed at least once a second.
    pub stats: watch::Receiver<Arc<Stats>>,
    /// State of every part.
    pub health: watch::Receiver<Arc<Health>>,
    /// How the fleet is.
    pub fleet: watch::Receiver<Arc<FleetStatus>>,
    /// What the kernel counted for each decision in force.
    pub hits: watch::Receiver<Arc<HashMap<DecisionId, Hits>>>,
    /// The way to who tells people.
    pub tests: mpsc::Sender<TestWish>,
    /// How it stands with the channels.
    pub channels: watch::Receiver<Arc<Channels>>,
    /// What may never be touched.
    pub protected: watch::Receiver<Arc<Vec<Protected>>>,
    /// Whether anything is carried out.
    pub acting: watch::Receiver<Arc<Acting>>,
    /// The model that judges; none where none does.
    pub model: watch::Receiver<Option<Arc<ModelCard>>>,
    /// The configuration of the start.
    pub config: Arc<Config>,
    /// Where it came from.
    pub origins: Arc<Origins>,
    /// The settings that hold since they were last read anew; none before.
    pub settings: watch::Receiver<Option<Arc<InForce>>>,
    /// The way to who reads them anew.
    pub reloads: mpsc::Sender<ReloadWish>,
    /// For `/metrics`, and for what the API itself counts.
    pub metrics: Arc<Metrics>,
    /// When the agent started.
    pub started: Timestamp,
    /// How the clocks stood then, as the room that decides has it.
    pub clock: Clock,
}

impl AppState {
    /// The time by which decisions and the entries of the allowlist end; a step of the wall clock does not move it.
    fn desk_now(&self) -> Timestamp {
        self.clock.wall(boot_now())
    }
}

/// The state of the running server.
#[derive(Debug)]
struct Api {
    state: AppState,
    cancel: CancellationToken,
    /// Places for streams.
    clients: Arc<Semaphore>,
    /// The turn of the one import that is read at a time.
    imports: Semaphore,
    /// The turn of the one question about one address's flows that is answered at a time.
    walks: tokio::sync::Mutex<()>,
    /// The turn of the one question about the traffic log that is answered at a time.
    tails: tokio::sync::Mutex<()>,
    /// The turn of the one report that is made at a time.
    reports: Semaphore,
    /// Places for bouncers that are told of changes.
    bouncers: Semaphore,
    /// Streams that are open; axum's own shutdown does not wait for them.
    sockets: TaskTracker,
    history: history::History,
    /// Since when refused log-ins are counted, and how many the audit has of them.
    refused: Mutex<(Timestamp, u32)>,
}

impl Deref for Api {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.state
    }
}

type Shared = Arc<Api>;

impl Api {
    fn new(state: AppState, cancel: CancellationToken) -> Shared {
        Arc::new(Self {
            state,
            cancel,
            clients: Arc::new(Semaphore::new(stream::CLIENTS)),
            imports: Semaphore::new(1),
            walks: tokio::sync::Mutex::default(),
            tails: tokio::sync::Mutex::default(),
            reports: Semaphore::new(1),
            bouncers: Semaphore::new(BOUNCERS),
            sockets: TaskTracker::new(),
            history: history::History::default(),
            refused: Mutex::default(),
        })
    }

    /// The settings that hold.
    fn in_force(&self) -> Arc<InForce> {
        let reloaded = self.settings.borrow().clone();
        reloaded.unwrap_or_else(|| {
            Arc::new(InForce {
                config: Arc::clone(&self.config),
                origins: Arc::clone(&self.origins),
                pending: Vec::new(),
            })
        })
    }

    /// Whether the audit may have one more refused log-in.
    fn may_audit_refusal(&self, now: Timestamp) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= refused.0.after(REFUSALS_PER) {
            *refused = (now, 0);
        }
        refused.1 += 1;
        refused.1 <= REFUSALS
    }
}

/// Both doors, taken and not yet open. Taking them first lets a start fail before anything is attached.
pub struct Doors {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    unix: UnixListener,
    unlink: bind::Unlink,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors")
            .field("tcp", &self.tcp)
            .field("unix", &self.unix)
            .finish_non_exhaustive()
    }
}

impl Doors {
    /// Takes the port and the socket.
    ///
    /// # Errors
    /// [`ApiError`], which names the address and the mend.
    pub async fn take(config: &ApiConfig) -> Result<Self, ApiError> {
        let tls = secured::acceptor(config)?;
        let tcp = bind::tcp(config.listen, tls.is_some()).await?;
        let unix = bind::unix(&config.socket, &config.socket_group).await?;
        let unlink = bind::Unlink(config.socket.clone());
        Ok(Self { tcp, tls, unix, unlink })
    }

    /// The address in use; tells the port where 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until `cancel`, then lets open requests and streams end, three seconds at most.
    ///
    /// # Errors
    /// What the system says when a door breaks.
    pub async fn open(self, state: AppState, cancel: CancellationToken) -> std::io::Result<()> {
        let Self { tcp, tls, unix, unlink } = self;
        let api = Api::new(state, cancel.clone());
        let tcp = bind::Bounded::new(tcp);
        let door = if tls.is_some() { Door::Tls } else { Door::Tcp };
        let answers = router::router(Arc::clone(&api), door).into_make_service_with_connect_info::<bind::Peer>();
        let over = cancel.clone().cancelled_owned();
        let by_tcp: BoxFuture<'static, std::io::Result<()>> = match tls {
            None => Box::pin(axum::serve(tcp, answers).with_graceful_shutdown(over).into_future()),
            Some(tls) => {
                let secret = secured::Secured::new(tcp, tls);
                Box::pin(axum::serve(secret, answers).with_graceful_shutdown(over).into_future())
            }
        };
        let local = router::router(Arc::clone(&api), Door::Unix).into_make_service_with_connect_info::<bind::User>();
        let by_unix = axum::serve(bind::Bounded::new(unix), local)
            .with_graceful_shutdown(cancel.clone().cancelled_owned())
            .into_future();
        let served = async { tokio::try_join!(by_tcp, by_unix).map(|_| ()) };
        let patience = async {
            cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let ended = async {
            let result = served.await;
            api.sockets.close();
            api.sockets.wait().await;
            result
        };
        let remembering = async {
            api.remember().await;
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = ended => result,
            () = remembering => Ok(()),
            () = patience => {
                tracing::warn!("requests were still open when the API closed");
                Ok(())
            }
        };
        drop(unlink);
        result
    }
}
