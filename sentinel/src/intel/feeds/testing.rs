//! A scripted HTTP server on the loopback, and what tests of the room need beside it.

use super::block::{ListEnforcer, ListHold, ListRefused, ListUse};
use super::fetch::Patience;
use super::room::{Asked, FeedDeps, FeedError, FeedRoom, Feeds};
use crate::config::{Config, CustomFeed, IntelConfig};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::types::{Health, Protected, Secret, Timestamp};
use futures_util::StreamExt;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a server does with a request: given its head, lower case, it says which bytes go out, and then what happens.
pub(super) type Script = Arc<dyn Fn(&str) -> (Vec<u8>, After) + Send + Sync>;

/// What a server does once it has sent its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Closes.
    Close,
    /// Says nothing more, and keeps the connection.
    Hang,
    /// Goes on with zeros for ever.
    Flood,
    /// Goes on with one byte every 50 ms.
    Drip,
}

/// A server; it ends with this value.
pub(super) struct Server {
    pub(super) at: SocketAddr,
    /// Heads of the requests that came.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&str) -> (Vec<u8>, After) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, heads): (Script, _) = (Arc::new(script), Arc::clone(&asked));
        let task = tokio::task::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&script), Arc::clone(&heads)));
            }
        });
        Self { at, asked, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Script, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    heads.lock().unwrap().push(head.clone());
    let (bytes, after) = script(&head);
    let _ = stream.write_all(&bytes).await;
    match after {
        After::Close => {}
        After::Hang => std::future::pending().await,
        After::Flood => while stream.write_all(&[b'0'; 8_192]).await.is_ok() {},
        After::Drip => {
            while stream.write_all(b"1").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A whole answer.
pub(super) fn answer(status: u16, headers: &str, body: &[u8]) -> (Vec<u8>, After) {
    let mut bytes = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    (bytes, After::Close)
}

/// So many addresses on the internet, one a line, spread over it.
pub(super) fn list(count: u32) -> String {
    lines((0..count).map(|n| format!("{}.{}.{}.7", 20 + n % 60, n / 60 % 256, n / 15_360)))
}

/// One a line.
pub(super) fn lines(all: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    all.into_iter()
        .fold(String::new(), |text, one| text + &format!("{one}\n"))
}

/// Lists in memory, as the kernel would have them; it refuses what has more entries than `room`.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) lists: Mutex<BTreeMap<u8, (ListHold, Vec<IpNet>)>>,
    pub(super) room: Option<usize>,
    /// How often a list was put there.
    pub(super) puts: AtomicUsize,
}

impl ListEnforcer for Memory {
    fn put(&self, list: u8, hold: &ListHold, nets: &mut dyn Iterator<Item = IpNet>) -> Result<u64, ListRefused> {
        let nets: Vec<IpNet> = nets.collect();
        self.puts.fetch_add(1, Ordering::Relaxed);
        if self.room.is_some_and(|room| nets.len() > room) {
            return Err(ListRefused::Full("LIST4 is full; raise `kernel.list_capacity`".into()));
        }
        let count = nets.len() as u64;
        self.lists.lock().unwrap().insert(list, (*hold, nets));
        Ok(count)
    }

    fn take_off(&self, list: u8) -> Result<(), ListRefused> {
        self.lists.lock().unwrap().remove(&list);
        Ok(())
    }

    fn standing(&self) -> Result<Vec<ListUse>, ListRefused> {
        let lists = self.lists.lock().unwrap();
        let all = lists.iter().map(|(&list, (hold, nets))| ListUse {
            list,
            id: hold.id,
            dropped: nets.len() as u64,
            would_drop: 0,
        });
        Ok(all.collect())
    }
}

/// A room, its clock, and all that hangs on it.
pub(super) struct Bench {
    pub(super) room: FeedRoom,
    pub(super) feeds: Feeds,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) health: watch::Receiver<Arc<Health>>,
    pub(super) metrics: Arc<Metrics>,
    /// Says what is protected.
    pub(super) guards: watch::Sender<Arc<Vec<Protected>>>,
}

/// What a room is made with.
#[derive(Default)]
pub(super) struct Setup<'a> {
    pub(super) enabled: &'a [&'a str],
    pub(super) block: &'a [&'a str],
    pub(super) protected: Vec<Protected>,
    pub(super) kernel: Option<Arc<dyn ListEnforcer>>,
    pub(super) store: Option<Store>,
    pub(super) max_bytes: Option<u64>,
    pub(super) custom: Vec<(&'a str, String)>,
    /// A local API of CrowdSec.
    pub(super) lapi: Option<String>,
    /// Who says nothing, or too little, is given up after seconds: for tests that wait for that.
    pub(super) hasty: bool,
}

/// 2026-01-01T00:00:00Z.
pub(super) const START: Timestamp = Timestamp(1_767_225_600_000_000_000);

/// Settings of a room that keeps its lists in `directory`.
pub(super) fn settings(directory: &Path, setup: &Setup<'_>) -> IntelConfig {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let mut config = Config::default().intel;
    config.feeds.enabled = names(setup.enabled);
    config.feeds.block = names(setup.block);
    let own = setup.custom.iter().map(|(name, place)| CustomFeed {
        name: (*name).to_owned(),
        place: Secret::new(place),
    });
    config.feeds.custom = own.collect();
    if let Some(url) = &setup.lapi {
        config.feeds.crowdsec.url.clone_from(url);
        config.feeds.crowdsec.key = Some(Secret::new("s3cret-key"));
    }
    config.feeds.directory = directory.to_owned();
    config.feeds.max_bytes = setup.max_bytes.unwrap_or(config.feeds.max_bytes);
    config
}

/// A room, its lists, and what hangs on it.
pub(super) type Built = (
    FeedRoom,
    Feeds,
    watch::Receiver<Arc<Health>>,
    Arc<Metrics>,
    watch::Sender<Arc<Vec<Protected>>>,
);

/// Builds a room.
pub(super) fn build(config: &IntelConfig, setup: &Setup<'_>, mirror: Option<&str>) -> Result<Built, FeedError> {
    let (health_tx, health) = watch::channel(Arc::default());
    let (guards, protected) = watch::channel(Arc::new(setup.protected.clone()));
    let metrics = Arc::new(Metrics::new());
    let deps = FeedDeps {
        protected,
        kernel: setup.kernel.clone(),
        store: setup.store.clone(),
        simulate: false,
        health: health_tx,
        metrics: Arc::clone(&metrics),
    };
    // Long enough for an answer on a busy machine.
    let long = Duration::from_mins(1);
    let (idle, whole) = if setup.hasty {
        (Duration::from_secs(3), Duration::from_secs(5))
    } else {
        (long, long)
    };
    let patience = Patience {
        connect: long,
        idle,
        whole,
    };
    let (room, feeds) = FeedRoom::build(config, deps, mirror, patience)?;
    Ok((room, feeds, health, metrics, guards))
}

impl FeedRoom {
    /// One look at everything, until all that was asked has answered.
    pub(super) async fn tend(&mut self) -> Timestamp {
        let mut asked = Asked::new();
        self.look(&mut asked).await;
        while let Some((at, outcome)) = asked.next().await {
            self.settle(at, outcome).await;
        }
        self.look(&mut asked).await
    }
}

impl Bench {
    /// A room whose clock stands at `at`, opened.
    pub(super) async fn new(directory: &Path, mirror: &str, setup: Setup<'_>, at: Timestamp) -> Self {
        let config = settings(directory, &setup);
        let (mut room, feeds, health, metrics, guards) = build(&config, &setup, Some(mirror)).unwrap();
        let clock = Arc::new(AtomicI64::new(at.0));
        let now = Arc::clone(&clock);
        room.now = Box::new(move || Timestamp(now.load(Ordering::Relaxed)));
        room.spread = Duration::ZERO;
        room.open().await;
        Self {
            room,
            feeds,
            clock,
            health,
            metrics,
            guards,
        }
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_nanos() as i64, Ordering::Relaxed);
    }

    /// How the only feed stands.
    pub(super) fn status(&self) -> crate::types::FeedStatus {
        self.feeds.status()[0].clone()
    }
}

pub(super) fn protected(target: &str, guard: &str) -> Protected {
    Protected {
        target: target.parse().unwrap(),
        guard: guard.into(),
        reason: "for the test".into(),
    }
}
