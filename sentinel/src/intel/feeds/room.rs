//! Drives the feeds: loads what was kept, fetches what is due, publishes, hands over to the kernel.

use super::block::ListEnforcer;
use super::disk::Shelf;
use super::fetch::{self, FetchError, Fetched, Fetcher, Patience, Version};
use super::parse::{self, Parsed};
use super::protect;
use super::renew::{self, Plan};
use super::schedule::Ended;
use super::set::FeedSet;
use super::slot::{Place, Slot, shown};
use crate::config::IntelConfig;
use crate::metrics::{FeedFetchLabels, FeedLabels, Metrics};
use crate::store::Store;
use crate::time;
use crate::types::{Component, Condition, FeedStatus, Health, Indicator, Protected, Renewals, Timestamp};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use sentinel_common::hash::SplitMix64;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::io::BufReader;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the kernel's counters are read, and the clock is looked at.
const TICK: Duration = Duration::from_secs(10);
/// A file of the operator's is missing.
const GONE: &str = "its file is not there; the list has no entries until it is";
/// What is due at the start comes at some time within this.
const SPREAD: Duration = Duration::from_secs(30);

/// Lists of the kernel's that are the feeds': a feed's number is its list's. The last eight of 32 are left to others.
pub(super) const LISTS: u8 = 24;

/// Why feeds cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// There is no such feed.
    #[error("`{0}` is no feed; the names are those of `intel.feeds.enabled` in config/settings.yml")]
    Unknown(String),
    /// The address of this one is none; it is not repeated, since it may hold a key.
    #[error("the address of `{0}` is no URL to fetch lists from; check `intel.feeds.custom`")]
    Url(String),
    /// There is no HTTP client.
    #[error(
        "the HTTP client cannot be set up: {0}; are there certificates of authorities here (Debian: ca-certificates)?"
    )]
    Client(String),
}

/// What the room is handed.
pub struct FeedDeps {
    /// What no list may name, kept current.
    pub protected: watch::Receiver<Arc<Vec<Protected>>>,
    /// The kernel's lists; `None` where there is no kernel.
    pub kernel: Option<Arc<dyn ListEnforcer>>,
    /// Where it is written down what the kernel drops by whose word; `None` where nothing is kept.
    pub store: Option<Store>,
    /// Lists in the kernel only count.
    pub simulate: bool,
    /// The board of what works.
    pub health: watch::Sender<Arc<Health>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The lists in force, for everybody who asks. Cheap to clone; a look-up waits for nobody.
#[derive(Clone)]
pub struct Feeds {
    set: watch::Receiver<Arc<FeedSet>>,
    status: watch::Receiver<Arc<Vec<FeedStatus>>>,
}

impl Feeds {
    /// What each feed says of an address, source `feed:NAME`; empty where none lists it. `asked_at` and `last_seen` are
    /// when the feed's provider last confirmed its list, `first_seen` is when the entry was first met on it.
    pub fn matches(&self, ip: IpAddr) -> Vec<Indicator> {
        self.set.borrow().matches(ip)
    }

    /// Whether any feed lists an address; under a microsecond among a million entries, and no allocation.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.set.borrow().contains(ip)
    }

    /// The lists as they stand now; they never change, what changes is which ones these are.
    pub fn set(&self) -> Arc<FeedSet> {
        Arc::clone(&self.set.borrow())
    }

    /// How each feed stands, in the order of the configuration's names.
    pub fn status(&self) -> Arc<Vec<FeedStatus>> {
        Arc::clone(&self.status.borrow())
    }
}

type Now = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// What is being asked: which feed, and what came of it.
pub(super) type Asked = FuturesUnordered<BoxFuture<'static, (Ticket, Result<Fetched, FetchError>)>>;

/// Which feed is asked, and where: slots may have moved when the answer comes, or its slot be gone.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    number: u8,
    place: String,
}

/// The room that keeps the lists.
pub struct FeedRoom {
    pub(super) slots: Vec<Slot>,
    pub(super) fetcher: Fetcher,
    pub(super) shelf: Shelf,
    pub(super) mirror: Option<String>,
    pub(super) patience: Patience,
    renewals: Renewals<IntelConfig>,
    pub(super) deps: FeedDeps,
    pub(super) set: watch::Sender<Arc<FeedSet>>,
    status: watch::Sender<Arc<Vec<FeedStatus>>>,
    pub(super) now: Now,
    luck: SplitMix64,
    /// What is protected, as all lists in force and in the kernel were judged by.
    pub(super) guarded: Arc<Vec<Protected>>,
    pub(super) spread: Duration,
    /// What keeps lists from being kept.
    disk: Option<String>,
}

impl FeedRoom {
    /// A room for the feeds that are enabled.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn new(config: &IntelConfig, deps: FeedDeps) -> Result<(Self, Feeds), FeedError> {
        Self::build(config, deps, None, Patience::DEFAULT)
    }

    /// The same, with every built-in feed at `mirror/NAME` in place of its provider's address: for a mirror of one's
    /// own, which may be anywhere and need not speak TLS, and for tests.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn mirrored(config: &IntelConfig, deps: FeedDeps, mirror: &str) -> Result<(Self, Feeds), FeedError> {
        Self::build(config, deps, Some(mirror), Patience::DEFAULT)
    }

    pub(super) fn build(
        config: &IntelConfig,
        deps: FeedDeps,
        mirror: Option<&str>,
        patience: Patience,
    ) -> Result<(Self, Feeds), FeedError> {
        let Plan { slots, fetcher, shelf } = renew::plan(config, mirror, patience, &[])?;
        let (set, sets) = watch::channel(Arc::new(FeedSet::empty(LISTS.into())));
        let (status, statuses) = watch::channel(Arc::default());
        let room = Self {
            slots,
            fetcher,
            shelf,
            mirror: mirror.map(str::to_owned),
            patience,
            renewals: Renewals::default(),
            deps,
            set,
            status,
            now: Box::new(time::wall_now),
            luck: SplitMix64(std::hash::RandomState::new().hash_one(0)),
            guarded: Arc::default(),
            spread: SPREAD,
            disk: None,
        };
        let feeds = Feeds {
            set: sets,
            status: statuses,
        };
        Ok((room, feeds))
    }

    /// What is due at the start is asked for at some time within `spread`; 30 s unless told. Many agents that start at the
    /// same time must not ask at the same time.
    #[must_use]
    pub fn spread_over(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// Has it hear of other settings.
    #[must_use]
    pub fn with_renewals(mut self, renewals: Renewals<IntelConfig>) -> Self {
        self.renewals = renewals;
        self
    }

    /// Keeps the lists until `cancel`. What an earlier run kept counts at once.
    pub async fn run(mut self, cancel: CancellationToken) {
        let work = async {
            self.open().await;
            let mut asked = Asked::new();
            loop {
                let next = self.look(&mut asked).await;
                let left = Duration::from_nanos((next.0 - (self.now)().0).max(0) as u64);
                // Who is slow to answer holds up nobody else.
                tokio::select! {
                    Some((ticket, outcome)) = asked.next() => self.settle(ticket, outcome).await,
                    renewal = self.renewals.next() => {
                        let taken = self.renew(&renewal.settings).await.map_err(|error| error.to_string());
                        // Whoever asked may have left.
                        let _ = renewal.taken.send(taken);
                    }
                    () = tokio::time::sleep(left.clamp(Duration::from_millis(100), TICK)) => {}
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    pub(super) fn luck(&mut self) -> f64 {
        (self.luck.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Loads what was kept.
    pub(super) async fn open(&mut self) {
        self.guarded = Arc::clone(&self.deps.protected.borrow());
        let all: Vec<usize> = (0..self.slots.len()).collect();
        self.load(&all, self.spread).await;
        self.sweep_kernel().await;
        for at in 0..self.slots.len() {
            self.put_in_kernel(at).await;
        }
        self.publish();
    }

    /// Begins to fetch what is due, and lets go what nobody confirmed for too long. Says when there is something to do
    /// again.
    pub(super) async fn look(&mut self, asked: &mut Asked) -> Timestamp {
        let now = (self.now)();
        self.let_go(now).await;
        self.guard().await;
        let due: Vec<usize> = (0..self.slots.len()).filter(|&at| self.slots[at].due(now)).collect();
        // Written before anybody is asked: a crash must not make us ask again.
        let mut before = Vec::with_capacity(due.len());
        for &at in &due {
            let slot = &mut self.slots[at];
            before.push(slot.meta.asked_at.replace(now));
            slot.put_off(now, slot.feed.interval);
        }
        let mut unmarked = self.write_metas(&due).await;
        for (at, before) in due.into_iter().zip(before) {
            if let Some(why) = unmarked.remove(&at) {
                self.slots[at].meta.asked_at = before;
                self.take(at, Err(FetchError::Unmarked(why))).await;
            } else {
                self.slots[at].asking = true;
                asked.push(Box::pin(self.ask(at)));
            }
        }
        self.read_kernel().await;
        self.publish();
        let idle = self.slots.iter().filter(|slot| !slot.asking);
        let next = idle.filter_map(|slot| slot.meta.next_at).min();
        next.unwrap_or(Timestamp(i64::MAX))
    }

    /// Takes in what came of asking, and keeps what is known since.
    pub(super) async fn settle(&mut self, ticket: Ticket, outcome: Result<Fetched, FetchError>) {
        let same = |slot: &Slot| slot.number == ticket.number && slot.meta.place == ticket.place;
        let Some(at) = self.slots.iter().position(same) else {
            return;
        };
        self.slots[at].asking = false;
        self.guard().await;
        self.take(at, outcome).await;
        self.write_metas(&[at]).await;
        self.publish();
    }

    /// Asks one feed's provider.
    fn ask(&self, at: usize) -> impl Future<Output = (Ticket, Result<Fetched, FetchError>)> + Send + use<> {
        let slot = &self.slots[at];
        let held = self.set.borrow().lists()[usize::from(slot.number)]
            .as_ref()
            .map(|list| list.fetched_at);
        let version = slot.meta.version(held);
        let (place, to) = (slot.place.clone(), self.shelf.scratch(&slot.feed.name));
        let (fetcher, now) = (self.fetcher.clone(), (self.now)());
        let ticket = Ticket {
            number: slot.number,
            place: slot.meta.place.clone(),
        };
        async move {
            let outcome = match place {
                Place::Web(url) => fetcher.fetch(&url, &version, to).await,
                Place::File(path) => fetch::local(path, &version, fetcher.max_bytes).await,
                Place::Lapi(lapi) => lapi.ask(&version, to, now).await,
            };
            (ticket, outcome)
        }
    }

    async fn take(&mut self, at: usize, outcome: Result<Fetched, FetchError>) {
        let now = (self.now)();
        let luck = self.luck();
        let gone = matches!(outcome, Ok(Fetched::Gone));
        let outcome = match outcome {
            Ok(Fetched::Gone) if self.is_empty(at) => Ok(Fetched::Unchanged),
            outcome => outcome,
        };
        let (result, ended) = match outcome {
            Ok(Fetched::Unchanged) => {
                let set = self.set.borrow().confirmed(self.slots[at].number, now);
                self.set.send_replace(Arc::new(set));
                let slot = &mut self.slots[at];
                slot.meta.checked_at = Some(now);
                slot.tally.unchanged += 1;
                slot.complaint = gone.then(|| GONE.to_owned());
                if slot.wants_renewal(now) {
                    self.put_in_kernel(at).await;
                }
                ("unchanged", Ended::Well)
            }
            Ok(came) => match self.believe(at, came, now).await {
                Ok(()) => {
                    self.slots[at].tally.accepted += 1;
                    self.put_in_kernel(at).await;
                    ("accepted", Ended::Well)
                }
                Err(why) => {
                    let slot = &mut self.slots[at];
                    slot.tally.refused += 1;
                    slot.complaint = Some(format!("its latest list is refused: {why}"));
                    slot.meta.last_error.clone_from(&slot.complaint);
                    tracing::warn!(feed = %slot.feed.name, %why, "a list is refused whole; the old one stays");
                    ("refused", Ended::Asked { retry_after: None })
                }
            },
            Err(error) => {
                let slot = &mut self.slots[at];
                slot.tally.failed += 1;
                slot.meta.last_error = Some(shown(&error.to_string()));
                tracing::warn!(feed = %slot.feed.name, %error, "no list came");
                ("failed", error.ended())
            }
        };
        let slot = &mut self.slots[at];
        if ended == Ended::Well {
            slot.meta.failures = 0;
            slot.meta.last_error = None;
        } else {
            slot.meta.failures = slot.meta.failures.saturating_add(1);
        }
        slot.put_off(now, slot.wait(ended, luck));
        let feed = slot.feed.name.to_string();
        self.deps
            .metrics
            .feed_fetches
            .get_or_create(&FeedFetchLabels { feed, result })
            .inc();
    }

    /// Whether its list is in force and has nothing on it.
    fn is_empty(&self, at: usize) -> bool {
        let set = self.set.borrow();
        set.lists()[usize::from(self.slots[at].number)]
            .as_ref()
            .is_some_and(|list| list.entries == 0 && list.spared.is_empty())
    }

    /// Reads a list that came; if it is believed it is in force.
    async fn believe(&mut self, at: usize, came: Fetched, now: Timestamp) -> Result<(), String> {
        let (file, version) = match came {
            Fetched::List(file, version) => (Some(file), version),
            Fetched::Gone | Fetched::Unchanged => (None, Version::default()),
        };
        let gone = file.is_none();
        let slot = &self.slots[at];
        let (feed, number, place) = (Arc::clone(&slot.feed), slot.number, slot.meta.place.clone());
        let set = Arc::clone(&self.set.borrow());
        let protected = Arc::clone(&self.guarded);
        let shelf = self.shelf.clone();
        let believed = tokio::task::spawn_blocking(move || {
            let list = match &file {
                None => Parsed::default(),
                Some(file) => {
                    let file = std::fs::File::open(file.path()).map_err(|error| error.to_string())?;
                    parse::parse(&mut BufReader::with_capacity(64 * 1_024, file), feed.format)
                        .map_err(|error| error.to_string())?
                }
            };
            let set = protect::believed(&set, list, &feed, number, &protected, now)?;
            let kept = protect::keep(&shelf, &set, number, place);
            Ok::<_, String>((set, kept.err().map(|error| error.to_string())))
        })
        .await
        .map_err(|_| "reading it failed; please report that".to_owned())?;
        let (set, lost) = believed?;
        self.set.send_replace(Arc::new(set));
        let slot = &mut self.slots[at];
        slot.complaint = lost.map(|error| {
            tracing::warn!(feed = %slot.feed.name, %error, "a list is in force and could not be kept for the next start");
            format!("in force, and not kept for the next start: {error}; check `intel.feeds.directory`")
        });
        if gone {
            slot.complaint = Some(GONE.to_owned());
        }
        slot.meta.fetched_at = Some(now);
        slot.meta.checked_at = Some(now);
        slot.meta.etag = version.etag;
        slot.meta.last_modified = version.last_modified;
        Ok(())
    }

    /// Drops lists that nobody confirmed for longer than they hold.
    async fn let_go(&mut self, now: Timestamp) {
        for at in 0..self.slots.len() {
            let number = self.slots[at].number;
            let set = Arc::clone(&self.set.borrow());
            let Some(list) = &set.lists()[usize::from(number)] else {
                continue;
            };
            if self.slots[at].holds_until(list) > now {
                continue;
            }
            self.set.send_replace(Arc::new(set.with(number, None, &[])));
            let slot = &mut self.slots[at];
            slot.complaint = Some("its list was not confirmed for too long and no longer counts".into());
            tracing::warn!(feed = %slot.feed.name, "a list was not confirmed for too long and no longer counts");
            self.take_from_kernel(at).await;
        }
    }

    /// Writes down what is known of these; says of which that failed, and why.
    async fn write_metas(&mut self, slots: &[usize]) -> BTreeMap<usize, String> {
        let shelf = self.shelf.clone();
        let web = slots.iter().map(|&at| (at, &self.slots[at]));
        let metas: Vec<_> = web
            .filter(|(_, slot)| matches!(slot.place, Place::Web(_)))
            .map(|(at, slot)| (at, slot.feed.name.to_string(), slot.meta.clone()))
            .collect();
        if slots.is_empty() {
            return BTreeMap::new();
        }
        let all: Vec<usize> = metas.iter().map(|(at, ..)| *at).collect();
        let written = tokio::task::spawn_blocking(move || {
            shelf
                .prepare()
                .map_err(|error| format!("{}: {error}", shelf.0.display()))?;
            let failed = metas.iter().filter_map(|(at, name, meta)| {
                let error = shelf.write_meta(name, meta).err()?;
                Some((*at, error.to_string()))
            });
            Ok(failed.collect::<BTreeMap<_, _>>())
        })
        .await;
        let written: Result<_, String> = written.unwrap_or_else(|_| Err("writing failed".into()));
        self.disk = match &written {
            Ok(failed) => failed.values().next().cloned(),
            Err(why) => Some(why.clone()),
        };
        written.unwrap_or_else(|why| all.into_iter().map(|at| (at, why.clone())).collect())
    }

    /// Tells everybody how things stand.
    pub(super) fn publish(&mut self) {
        let set = Arc::clone(&self.set.borrow());
        let list = |slot: &Slot| set.lists()[usize::from(slot.number)].as_ref();
        let all: Vec<FeedStatus> = self.slots.iter().map(|slot| slot.status(list(slot))).collect();
        for one in &all {
            let labels = FeedLabels { feed: one.name.clone() };
            self.deps
                .metrics
                .feed_entries
                .get_or_create(&labels)
                .set(one.entries as i64);
        }
        let mut troubles: Vec<String> = self.slots.iter().filter_map(|slot| slot.trouble(list(slot))).collect();
        troubles.extend(
            self.disk
                .clone()
                .map(|why| format!("lists cannot be kept over a restart: {why}")),
        );
        let condition = if troubles.is_empty() {
            let lists = all.iter().filter(|one| one.fetched_at.is_some()).count();
            Condition::Ok {
                detail: format!("{lists} of {} lists in force", all.len()),
            }
        } else {
            Condition::Degraded {
                cause: troubles.join("; "),
                mend: "lists already in force stay until their time is over; `sentinel intel status` tells of each"
                    .into(),
            }
        };
        if !all.is_empty() {
            self.deps
                .health
                .send_if_modified(|board| Health::note(board, Component::Feeds, condition));
        }
        self.status.send_if_modified(|old| {
            let changed = **old != all;
            if changed {
                *old = Arc::new(all);
            }
            changed
        });
    }
}
