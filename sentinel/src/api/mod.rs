//! HTTP: looking at what the agent saw and did, asking it to block or unblock, the dashboard.
//!
//! In: requests on a loopback port and on a unix socket. Out: JSON, problem documents, events, the page; [`Command`]s upstream.
//! Invariant: nothing is shown that is not durable; no page of another origin can make us act; every operator's action is audited.
//! Deliberately elsewhere: deciding (`decide`), keeping (`store`), logins (a later room of this one).

mod acting;
mod allowlist;
mod assets;
mod bind;
mod commands;
mod dto;
mod error;
mod guard;
mod history;
mod import;
mod intel;
mod learn;
mod lists;
mod query;
mod router;
mod simulation;
mod status;
mod stream;
#[cfg(test)]
mod tests;

pub use error::ApiError;

use crate::bus::Bus;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::time::wall_now as now;
use crate::types::{Acting, Command, DecisionId, Enquiry, Health, Hits, LearnRequest, Protected, Stats, Timestamp};
use guard::Door;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long open requests and streams may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// What the API needs of the other rooms.
#[derive(Clone, Debug)]
pub struct AppState {
    /// What was seen, decided and done.
    pub store: Store,
    /// The way upstream.
    pub commands: mpsc::Sender<Command>,
    /// The way to learn mode.
    pub learning: mpsc::Sender<LearnRequest>,
    /// The way to the world outside.
    pub enquiries: mpsc::Sender<Enquiry>,
    /// Events for the streams.
    pub bus: Bus,
    /// Counters, refreshed at least once a second.
    pub stats: watch::Receiver<Arc<Stats>>,
    /// State of every part.
    pub health: watch::Receiver<Arc<Health>>,
    /// What the kernel counted for each decision in force.
    pub hits: watch::Receiver<Arc<HashMap<DecisionId, Hits>>>,
    /// What may never be touched.
    pub protected: watch::Receiver<Arc<Vec<Protected>>>,
    /// Whether anything is carried out.
    pub acting: watch::Receiver<Arc<Acting>>,
    /// The configuration in use.
    pub config: Arc<Config>,
    /// For `/metrics`, and for what the API itself counts.
    pub metrics: Arc<Metrics>,
    /// When the agent started.
    pub started: Timestamp,
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
    /// Streams that are open; axum's own shutdown does not wait for them.
    sockets: TaskTracker,
    history: history::History,
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
            sockets: TaskTracker::new(),
            history: history::History::default(),
        })
    }
}

/// Both doors, taken and not yet open. Taking them first lets a start fail before anything is attached.
pub struct Doors {
    tcp: TcpListener,
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
    pub async fn take(listen: SocketAddr, socket: &Path) -> Result<Self, ApiError> {
        let tcp = bind::tcp(listen).await?;
        let unix = bind::unix(socket).await?;
        let unlink = bind::Unlink(socket.into());
        Ok(Self { tcp, unix, unlink })
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
        let Self { tcp, unix, unlink } = self;
        let api = Api::new(state, cancel.clone());
        let by_tcp = axum::serve(bind::Bounded::new(tcp), router::router(Arc::clone(&api), Door::Tcp))
            .with_graceful_shutdown(cancel.clone().cancelled_owned());
        let by_unix = axum::serve(bind::Bounded::new(unix), router::router(Arc::clone(&api), Door::Unix))
            .with_graceful_shutdown(cancel.clone().cancelled_owned());
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

/// Takes both doors and answers until `cancel`.
///
/// # Errors
/// [`ApiError`] when a door cannot be taken, or what the system says when one breaks.
pub async fn serve(
    state: AppState,
    listen: SocketAddr,
    socket: &Path,
    cancel: CancellationToken,
) -> Result<(), ServeError> {
    let doors = Doors::take(listen, socket).await?;
    Ok(doors.open(state, cancel).await?)
}

/// Why [`serve`] ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A door could not be taken.
    #[error(transparent)]
    Doors(#[from] ApiError),
    /// A door broke.
    #[error("the API stopped: {0}")]
    Broken(#[from] std::io::Error),
}
