//! SQLite: one writer, many readers, an audit that shows tampering.
//!
//! In: [`Record`]s to keep, filters to look by. Out: pages of nouns, and a [`Condition`] that says whether the disk takes them.
//! Invariant: [`Store::commit`] resolves only when the records survive `kill -9` and power cut (WAL, `synchronous=FULL`);
//! the only SQL of the house is here. Deliberately elsewhere: what to keep (every room), when to give up waiting (`respond`).

mod access;
mod alerts;
mod audit;
mod backlog;
mod ballast;
mod bouncers;
mod cursors;
mod ends;
mod error;
mod figures;
mod filter;
mod fleet;
mod insert;
mod intel;
mod messages;
mod operate;
mod plan;
mod proof;
mod read;
mod record;
mod retention;
mod schema;
mod sightings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use audit::{AuditEntry, AuditVerdict};
pub use bouncers::CHANGES_MAX;
pub use error::StoreError;
pub use figures::{
    ActionCount, ActionStep, AlertFigures, AuditFigures, BySeverity, Count, DecisionCount, DetectorCount, Figures,
    IntelSourceCount, InvestigationFigures, ResponseFigures, SourceCount, Step, TakenBack, TargetCount, Times,
};
pub use filter::{ActionFilter, AlertFilter, AuditFilter, DecisionFilter, InvestigationFilter, PAGE_MAX, Page, Window};
pub use messages::ROUTER;
pub use record::Record;
pub use retention::{Pruned, Retain, Space};
pub use writer::Writer;

use crate::types::{
    Action, ActionId, ActionKind, Alert, AlertId, Allowed, Bystander, Condition, Decision, DecisionId, Investigation,
    InvestigationId, KeptAnswer, ProofRow, QuotaRow, Session, Stop, Tally as ShadowTally, Timestamp, Token,
};
use ipnet::IpNet;
use read::Readers;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::{Semaphore, oneshot, watch};
use writer::{Batch, Order};

/// Records that may wait for the writer; a commit beyond that waits in turn.
const QUEUE: usize = 16_384;

/// What the writer has counted.
#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    rejected: AtomicU64,
    overflow: AtomicU64,
    backlog: AtomicU64,
    intel_expired: AtomicU64,
    intel_evicted: AtomicU64,
}

/// Records by what became of them, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Durable.
    pub written: u64,
    /// Refused for what they were.
    pub rejected: u64,
    /// Lost because the disk refused and the backlog was full.
    pub overflow: u64,
    /// Waiting in memory now.
    pub backlog: u64,
    /// Answers of intelligence sources removed because they were too old.
    pub intel_expired: u64,
    /// Answers of intelligence sources removed because there were too many.
    pub intel_evicted: u64,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    orders: Option<SyncSender<Order>>,
    places: Arc<Semaphore>,
    readers: Arc<Readers>,
    /// The turn of whoever counts a period: it takes a reader for seconds.
    counting: Arc<Semaphore>,
    condition: watch::Receiver<Condition>,
    counters: Arc<Counters>,
}

impl Store {
    /// Opens the database, making directory and file where missing and migrating an older one.
    ///
    /// # Errors
    /// [`StoreError`] when it is damaged, foreign, of a newer release, in use, or cannot be written; it is then unchanged.
    pub fn open(path: &Path) -> Result<(Self, Writer), StoreError> {
        schema::make_directory(path)?;
        let lock = lock(path)?;
        let connection = schema::open_writer(path)?;
        let head = audit::Head::load(&connection).map_err(StoreError::Read)?;
        match insert::end_open(&connection) {
            Ok(0) => {}
            Ok(n) => tracing::info!(investigations = n, "left open at the last end; nobody answered them"),
            // A full disk must not keep the agent from starting.
            Err(error) => tracing::warn!(%error, "investigations left open at the last end stay open"),
        }
        let ballast = ballast::Ballast::beside(path);
        ballast.fill();
        let counters = Arc::new(Counters::default());
        // Places in the queue are given out by the semaphore, so a send into this channel never waits.
        let (orders, inbox) = sync_channel(QUEUE + 3);
        let (condition_in, condition) = watch::channel(writer::healthy());
        let store = Self {
            orders: Some(orders),
            places: Arc::new(Semaphore::new(QUEUE)),
            readers: Arc::new(Readers::new(path.into(), None)),
            counting: Arc::new(Semaphore::new(1)),
            condition,
            counters: Arc::clone(&counters),
        };
        let writer = Writer {
            connection,
            orders: inbox,
            condition: condition_in,
            counters,
            head,
            backlog: backlog::Backlog::default(),
            had_ballast: ballast.ready(),
            ballast,
            observer: None,
            retry_at: None,
            // What an end together left to be worked in at the last end.
            fold_at: Some(std::time::Instant::now()),
            pass: None,
            _lock: lock,
        };
        Ok((store, writer))
    }

    /// Opens a database for looking only, while an agent runs or none does.
    ///
    /// # Errors
    /// [`StoreError`] when it is missing, damaged, foreign or of another version.
    pub fn read_only(path: &Path) -> Result<Self, StoreError> {
        let first = schema::open_reader(path)?;
        let condition = Condition::Ok {
            detail: "read only".to_owned(),
        };
        Ok(Self {
            orders: None,
            places: Arc::new(Semaphore::new(0)),
            readers: Arc::new(Readers::new(path.into(), Some(first))),
            counting: Arc::new(Semaphore::new(1)),
            condition: watch::channel(condition).1,
            counters: Arc::default(),
        })
    }

    /// Keeps the records: all of them or none. Resolves when they are durable; waits for a place in the queue first.
    ///
    /// Once queued they are written even if the caller stops waiting.
    ///
    /// # Errors
    /// [`StoreError::Queued`] when the disk refuses but the records are kept and will be written;
    /// [`StoreError::Overflow`], [`StoreError::Rejected`], [`StoreError::Closed`], [`StoreError::ReadOnly`] when they are not kept.
    pub async fn commit(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let Some(orders) = &self.orders else {
            return Err(StoreError::ReadOnly);
        };
        if records.is_empty() {
            return Ok(());
        }
        let weight = records.len().min(QUEUE) as u32;
        let place = Arc::clone(&self.places).acquire_many_owned(weight).await;
        let (answer, outcome) = oneshot::channel();
        let batch = Batch {
            records,
            answer,
            _place: place.map_err(|_| StoreError::Closed)?,
        };
        orders.try_send(Order::Commit(batch)).map_err(|_| StoreError::Closed)?;
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same for whoever is content with records that wait in memory for the disk: they will be written, in their order.
    ///
    /// # Errors
    /// As [`Store::commit`], [`StoreError::Queued`] apart.
    pub async fn keep(&self, records: Vec<Record>) -> Result<(), StoreError> {
        match self.commit(records).await {
            Err(StoreError::Queued { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Asks whether the writer comes to what it is told; resolves when it did, with an error where it has ended. One question
    /// at a time: they take no places of the queue.
    ///
    /// # Errors
    /// [`StoreError::Closed`] where it has ended, [`StoreError::Busy`] where its queue is full, [`StoreError::ReadOnly`].
    pub fn ask(&self) -> Result<oneshot::Receiver<()>, StoreError> {
        let Some(orders) = &self.orders else {
            return Err(StoreError::ReadOnly);
        };
        let (here, answer) = oneshot::channel();
        match orders.try_send(Order::Ask(here)) {
            Ok(()) => Ok(answer),
            Err(std::sync::mpsc::TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }

    /// Removes what may go, little by little while nothing else is to be written; resolves when it is done.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another removal goes on; [`StoreError::Read`] where the database refused, and what went
    /// until then is gone; [`StoreError::Closed`], [`StoreError::ReadOnly`].
    pub async fn retain(&self, rule: Retain) -> Result<Pruned, StoreError> {
        let Some(orders) = &self.orders else {
            return Err(StoreError::ReadOnly);
        };
        let (done, outcome) = oneshot::channel();
        match orders.try_send(Order::Retain(rule, done)) {
            Ok(()) => outcome.await.unwrap_or(Err(StoreError::Closed)),
            Err(std::sync::mpsc::TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }

    /// How large the database is, and what is in it.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn space(&self) -> Result<Space, StoreError> {
        self.readers.with(retention::space).await
    }

    /// The run of a scheduled report that was made last, as it was kept.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn last_report(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.with(operate::last_report).await
    }

    /// Tells the writer to write what is queued and end. Later commits fail with [`StoreError::Closed`].
    pub fn close(&self) {
        self.places.close();
        if let Some(orders) = &self.orders {
            // A writer that has ended already needs no telling.
            let _ = orders.try_send(Order::Close);
        }
    }

    /// Whether the disk takes records; changes are announced.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    /// What became of the records so far.
    pub fn tally(&self) -> Tally {
        Tally {
            written: self.counters.written.load(Relaxed),
            rejected: self.counters.rejected.load(Relaxed),
            overflow: self.counters.overflow.load(Relaxed),
            backlog: self.counters.backlog.load(Relaxed),
            intel_expired: self.counters.intel_expired.load(Relaxed),
            intel_evicted: self.counters.intel_evicted.load(Relaxed),
        }
    }

    /// A page of alerts.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] or [`StoreError::Read`]; so for every list.
    pub async fn alerts(&self, filter: AlertFilter) -> Result<Page<Alert>, StoreError> {
        self.readers.with(move |c| plan::page(c, &filter)).await
    }

    /// One alert.
    ///
    /// # Errors
    /// [`StoreError::Read`]; so for every look-up.
    pub async fn alert(&self, id: AlertId) -> Result<Option<Alert>, StoreError> {
        self.readers.with(move |c| read::by_id::<AlertFilter>(c, id.0)).await
    }

    /// A page of investigations.
    ///
    /// # Errors
    /// As [`Store::alerts`].
    pub async fn investigations(&self, filter: InvestigationFilter) -> Result<Page<Investigation>, StoreError> {
        self.readers.with(move |c| plan::page(c, &filter)).await
    }

    /// One investigation.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn investigation(&self, id: InvestigationId) -> Result<Option<Investigation>, StoreError> {
        self.readers
            .with(move |c| read::by_id::<InvestigationFilter>(c, id.0))
            .await
    }

    /// A page of decisions.
    ///
    /// # Errors
    /// As [`Store::alerts`].
    pub async fn decisions(&self, filter: DecisionFilter) -> Result<Page<Decision>, StoreError> {
        self.readers.with(move |c| plan::page(c, &filter)).await
    }

    /// One decision.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn decision(&self, id: DecisionId) -> Result<Option<Decision>, StoreError> {
        self.readers.with(move |c| read::by_id::<DecisionFilter>(c, id.0)).await
    }

    /// Every decision in force, oldest first: what the kernel must hold.
    ///
    /// # Errors
    /// [`StoreError::Read`], also when one of them cannot be understood: none may be left out unnoticed.
    pub async fn active_decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.readers.with(read::active).await
    }

    /// Whose decisions by detectors ran out since `since`: target, how many, and when the last one did; those whose last
    /// one did latest, `limit` of them at most. Limits on addresses that may be forged do not count.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn offenders(&self, since: Timestamp, limit: usize) -> Result<Vec<(IpNet, u32, Timestamp)>, StoreError> {
        self.readers.with(move |c| read::offenders(c, since, limit)).await
    }

    /// Every decision that is over and whose target was on probation when last heard of, the oldest first.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn watched_decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.readers.with(read::watched).await
    }

    /// What a decision followed from, where that was kept.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn proof(&self, id: DecisionId) -> Result<Option<ProofRow>, StoreError> {
        self.readers.with(move |c| proof::find(c, id)).await
    }

    /// A page of actions.
    ///
    /// # Errors
    /// As [`Store::alerts`].
    pub async fn actions(&self, filter: ActionFilter) -> Result<Page<Action>, StoreError> {
        self.readers.with(move |c| plan::page(c, &filter)).await
    }

    /// The actions of these decisions.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn actions_of(&self, decisions: Vec<DecisionId>) -> Result<Vec<Action>, StoreError> {
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        self.readers.with(move |c| read::actions_of(c, &decisions)).await
    }

    /// Every isolation of a container that is not told to be over, with what must be put back, the oldest first.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn isolations(&self) -> Result<Vec<(Action, Option<String>)>, StoreError> {
        self.readers
            .with(|c| read::beside(c, ActionKind::IsolateContainer))
            .await
    }

    /// Every ban by ARP that is not told to be over, likewise.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn bans(&self) -> Result<Vec<(Action, Option<String>)>, StoreError> {
        self.readers.with(|c| read::beside(c, ActionKind::ArpBan)).await
    }

    /// What must be put back when an action is undone.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn undo(&self, action: ActionId) -> Result<Option<String>, StoreError> {
        self.readers.with(move |c| read::undo(c, action)).await
    }

    /// One action.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn action(&self, id: ActionId) -> Result<Option<Action>, StoreError> {
        self.readers.with(move |c| read::by_id::<ActionFilter>(c, id.0)).await
    }

    /// A page of the audit.
    ///
    /// # Errors
    /// As [`Store::alerts`].
    pub async fn audit(&self, filter: AuditFilter) -> Result<Page<AuditEntry>, StoreError> {
        self.readers.with(move |c| plan::page(c, &filter)).await
    }

    /// What a source last said of an address, too old or not.
    ///
    /// # Errors
    /// As [`Store::alert`]; a row that cannot be understood is none.
    pub async fn intel_answer(&self, source: &'static str, ip: IpAddr) -> Result<Option<KeptAnswer>, StoreError> {
        self.readers.with(move |c| intel::answer(c, source, ip)).await
    }

    /// What was spent of a source's quota.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn intel_quota(&self, source: &'static str) -> Result<Vec<QuotaRow>, StoreError> {
        self.readers.with(move |c| intel::quota(c, source)).await
    }

    /// Who stopped acting, if it is stopped.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn stop(&self) -> Result<Option<Stop>, StoreError> {
        self.readers.with(operate::stop).await
    }

    /// The settings of the latest start, as they were kept.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn settings(&self) -> Result<Option<String>, StoreError> {
        self.readers.with(operate::settings).await
    }

    /// Every token, ended ones too.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.readers.with(access::tokens).await
    }

    /// Every session.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        self.readers.with(access::sessions).await
    }

    /// Whom operators put on the allowlist, by target; those that ran out while no agent ran among them.
    ///
    /// # Errors
    /// As [`Store::active_decisions`].
    pub async fn allowlist(&self) -> Result<Vec<Allowed>, StoreError> {
        self.readers.with(operate::allowlist).await
    }

    /// What the entries of these decisions have met, as it was last kept.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn tallies(&self, decisions: Vec<DecisionId>) -> Result<Vec<ShadowTally>, StoreError> {
        self.readers.with(move |c| operate::tallies(c, &decisions)).await
    }

    /// What entries of decisions have met, of those that met anything since then; the latest first.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn tallies_since(&self, since: Timestamp, limit: usize) -> Result<Vec<ShadowTally>, StoreError> {
        self.readers.with(move |c| operate::moved(c, since, limit)).await
    }

    /// Sources with established sessions under these decisions, as they were last kept.
    ///
    /// # Errors
    /// As [`Store::alert`].
    pub async fn bystanders(&self, decisions: Vec<DecisionId>) -> Result<Vec<Bystander>, StoreError> {
        self.readers.with(move |c| operate::bystanders(c, &decisions)).await
    }

    /// What happened from the full hour that `since` is in to `until`, counted; the audit is recomputed for it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another period is counted, also for somebody who gave up waiting; [`StoreError::Read`].
    pub async fn figures(&self, since: Timestamp, until: Timestamp) -> Result<Figures, StoreError> {
        let turn = Arc::clone(&self.counting).try_acquire_owned();
        let turn = turn.map_err(|_| StoreError::Busy)?;
        self.readers
            .with(move |c| {
                let _turn = turn;
                figures::of(c, since, until)
            })
            .await
    }

    /// Recomputes the whole hash chain.
    ///
    /// # Errors
    /// [`StoreError::Read`]; a broken chain is no error but a verdict.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, StoreError> {
        self.readers.with(audit::verify).await
    }
}

/// How the database and the files beside it are made and opened: for us alone, and never through a symbolic link, by
/// which whoever may write to the directory would have root overwrite a file elsewhere.
fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

/// Takes the lock that keeps a second agent away; the kernel releases it with the process.
fn lock(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let unwritable = |e: &std::io::Error| StoreError::Unwritable {
        path: path.clone().into(),
        cause: e.to_string(),
    };
    let mut file = own_file().read(true).open(&path).map_err(|e| unwritable(&e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(64).read_to_string(&mut holder);
            return Err(StoreError::InUse {
                path: database.into(),
                holder: if holder.is_empty() {
                    "pid unknown".to_owned()
                } else {
                    holder
                },
            });
        }
        Err(TryLockError::Error(e)) => return Err(unwritable(&e)),
    }
    // The process id is only for the message above; a full disk must not keep the agent from starting.
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = write!(file, "pid {}", std::process::id());
    Ok(file)
}
