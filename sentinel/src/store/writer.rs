//! The one writer: group commit, and what happens when the disk refuses.

use super::audit::Head;
use super::backlog::{BACKLOG, Backlog};
use super::ballast::Ballast;
use super::error::{is_about_the_record, is_full};
use super::insert::insert;
use super::retention::{AT_LEAST, Pass, Pruned, Retain};
use super::{Counters, Record, StoreError, ends};
use crate::types::Condition;
use rusqlite::{Connection, TransactionBehavior};
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

/// Records one transaction takes at most.
const GROUP: usize = 4096;

/// Pause between tries while the disk refuses.
const RETRY: Duration = Duration::from_millis(250);

/// One commit on its way to the writer.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
    /// The place it takes in the queue.
    pub(super) _place: OwnedSemaphorePermit,
}

/// What the writer is told.
pub(super) enum Order {
    Commit(Batch),
    /// Remove what may go, a little at a time.
    Retain(Retain, oneshot::Sender<Result<Pruned, StoreError>>),
    /// Somebody wants to know whether it is there.
    Ask(oneshot::Sender<()>),
    Close,
}

type Observer = Box<dyn Fn(Duration) + Send>;

/// The writing end; give it a thread of its own.
pub struct Writer {
    pub(super) connection: Connection,
    pub(super) orders: Receiver<Order>,
    pub(super) condition: watch::Sender<Condition>,
    pub(super) counters: Arc<Counters>,
    pub(super) head: Head,
    pub(super) backlog: Backlog,
    pub(super) ballast: Ballast,
    /// Whether the disk was large enough for one at the start.
    pub(super) had_ballast: bool,
    pub(super) observer: Option<Observer>,
    /// When to try again; set while degraded.
    pub(super) retry_at: Option<Instant>,
    /// When to go on working ends in that were kept together; set while there may be any.
    pub(super) fold_at: Option<Instant>,
    /// What is being removed.
    pub(super) pass: Option<Pass>,
    /// Held for its lock: one agent per database.
    pub(super) _lock: File,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Calls `observer` with the time each transaction took, fsync included.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(Duration) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Writes until [`super::Store::close`] is called or every [`super::Store`] is gone. Blocks.
    pub fn run(mut self) {
        let mut open = true;
        while open {
            // Nothing is worked in while the disk refuses.
            let idle_work = self.fold_at.or_else(|| self.pass.as_ref().map(|pass| pass.at));
            let order = match self.retry_at.or(idle_work) {
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.orders.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let idle = matches!(order, Err(RecvTimeoutError::Timeout));
            match order {
                Ok(Order::Commit(first)) => {
                    let (batches, more) = self.gather(first);
                    open = more;
                    self.settle(batches);
                }
                Ok(Order::Retain(rule, done)) => self.begin(rule, done),
                // Whoever asked may have left.
                Ok(Order::Ask(here)) => drop(here.send(())),
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => open = false,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.retry_at.is_some_and(|at| at <= Instant::now()) {
                self.retry();
            }
            if idle && self.retry_at.is_none() && self.fold_at.is_some_and(|at| at <= Instant::now()) {
                self.fold();
            } else if open && self.retry_at.is_none() {
                self.remove(idle);
            }
        }
        self.end();
    }

    /// Takes what is queued behind `first`, up to the group's bound.
    fn gather(&mut self, first: Batch) -> (Vec<Batch>, bool) {
        let mut size = first.records.len();
        let mut batches = vec![first];
        while size < GROUP {
            match self.orders.try_recv() {
                Ok(Order::Commit(batch)) => {
                    size += batch.records.len();
                    batches.push(batch);
                }
                Ok(Order::Retain(rule, done)) => self.begin(rule, done),
                Ok(Order::Ask(here)) => drop(here.send(())),
                Ok(Order::Close) => return (batches, false),
                Err(_) => break,
            }
        }
        (batches, true)
    }

    /// One transaction for all; every waiter is answered.
    fn settle(&mut self, batches: Vec<Batch>) {
        if !self.backlog.is_empty() {
            // Order is kept: what came first waits at the front.
            let cause = "earlier records still wait for the disk".to_owned();
            return self.shelve(batches, &cause, MEND_DISK);
        }
        match self.with_ballast(|writer| writer.write(&batches)) {
            Ok(refusals) => {
                for (batch, refusal) in batches.into_iter().zip(refusals) {
                    let n = batch.records.len() as u64;
                    let result = match refusal {
                        None => {
                            self.counters.written.fetch_add(n, Relaxed);
                            Ok(())
                        }
                        Some(cause) => {
                            self.counters.rejected.fetch_add(n, Relaxed);
                            tracing::error!(%cause, records = n, "records refused by the database");
                            Err(StoreError::Rejected(cause))
                        }
                    };
                    // A waiter that left needs no answer.
                    let _ = batch.answer.send(result);
                }
            }
            Err(error) => self.shelve(batches, &error.to_string(), mend(&error)),
        }
    }

    /// Writes the batches; for each, why it was refused, if it was.
    fn write(&mut self, batches: &[Batch]) -> rusqlite::Result<Vec<Option<String>>> {
        let started = Instant::now();
        let mut transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut head = self.head;
        let mut refusals = Vec::with_capacity(batches.len());
        for batch in batches {
            let before = head;
            let savepoint = transaction.savepoint()?;
            match batch
                .records
                .iter()
                .try_for_each(|record| insert(&savepoint, &mut head, &self.counters, record))
            {
                Ok(()) => {
                    savepoint.commit()?;
                    refusals.push(None);
                    if batch.records.iter().any(|record| matches!(record, Record::Ended(_))) {
                        self.fold_at = Some(Instant::now());
                    }
                }
                Err(error) if is_about_the_record(&error) => {
                    head = before;
                    savepoint.finish()?;
                    refusals.push(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        if head != self.head {
            head.save(&transaction)?;
        }
        transaction.commit()?;
        self.head = head;
        if let Some(observe) = &self.observer {
            observe(started.elapsed());
        }
        Ok(refusals)
    }

    /// Tries once more with the ballast released if the disk is full.
    fn with_ballast<T>(&mut self, mut work: impl FnMut(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        match work(self) {
            Err(error) if is_full(&error) && self.ballast.give_up() => {
                tracing::warn!("disk full: the reserve beside the database was released");
                let result = work(self);
                if result.is_ok() {
                    self.degrade("the disk is full; the last reserve is in use", MEND_DISK);
                }
                result
            }
            result => result,
        }
    }

    /// Keeps what the disk refused, as far as the backlog goes. Whoever is told so finds the state degraded already.
    fn shelve(&mut self, batches: Vec<Batch>, cause: &str, mend: &str) {
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            let n = batch.records.len() as u64;
            let error = if self.backlog.take(batch.records) {
                StoreError::Queued { cause: cause.into() }
            } else {
                self.counters.overflow.fetch_add(n, Relaxed);
                StoreError::Overflow {
                    cause: cause.into(),
                    bound: BACKLOG,
                }
            };
            answers.push((batch.answer, error));
        }
        self.counters.backlog.store(self.backlog.len() as u64, Relaxed);
        if self.retry_at.is_none() {
            self.degrade(cause, mend);
        }
        for (answer, error) in answers {
            // A waiter that left needs no answer.
            let _ = answer.send(Err(error));
        }
    }

    /// Writes the backlog, oldest first, as far as the disk lets it.
    fn retry(&mut self) {
        while !self.backlog.is_empty() {
            let n = self.backlog.len().min(GROUP);
            match self.write_backlog(n) {
                Ok(rejected) => {
                    self.backlog.done(n);
                    self.counters.written.fetch_add(n as u64 - rejected, Relaxed);
                    self.counters.rejected.fetch_add(rejected, Relaxed);
                    self.counters.backlog.store(self.backlog.len() as u64, Relaxed);
                    self.fold_at.get_or_insert_with(Instant::now);
                }
                Err(error) => return self.degrade(&error.to_string(), mend(&error)),
            }
        }
        self.ballast.fill();
        if self.ballast.ready() || !self.had_ballast {
            if self.retry_at.take().is_some() {
                tracing::info!("the database takes records again");
            }
            self.condition.send_replace(healthy());
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn write_backlog(&mut self, n: usize) -> rusqlite::Result<u64> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut head = self.head;
        let mut rejected = 0;
        for record in self.backlog.oldest(n) {
            match insert(&transaction, &mut head, &self.counters, record) {
                Ok(()) => {}
                Err(error) if is_about_the_record(&error) => {
                    rejected += 1;
                    tracing::error!(%error, "a queued record was refused by the database");
                }
                Err(error) => return Err(error),
            }
        }
        head.save(&transaction)?;
        transaction.commit()?;
        self.head = head;
        Ok(rejected)
    }

    /// Works some of what ended together into its rows; nobody waits for that.
    fn fold(&mut self) {
        let mut more = || -> rusqlite::Result<bool> {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let more = ends::fold(&transaction, ends::FOLD)?;
            transaction.commit()?;
            Ok(more)
        };
        self.fold_at = match more() {
            Ok(true) => Some(Instant::now()),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(%error, "what ended together is not in its own rows yet; readers see it all the same");
                Some(Instant::now() + RETRY)
            }
        };
    }

    /// Begins to remove what may go; one at a time.
    fn begin(&mut self, rule: Retain, done: oneshot::Sender<Result<Pruned, StoreError>>) {
        if self.pass.is_some() {
            // Whoever asked may have left.
            let _ = done.send(Err(StoreError::Busy));
        } else {
            self.pass = Some(Pass::new(rule, done));
        }
    }

    /// Removes some of it: in a pause, and once a second where there is none.
    fn remove(&mut self, idle: bool) {
        let now = Instant::now();
        let due = |pass: &Pass| idle && pass.at <= now || now >= pass.last + AT_LEAST;
        if self.pass.as_ref().is_some_and(due)
            && let Some(pass) = self.pass.take()
        {
            self.pass = pass.step(&mut self.connection, &mut self.head);
        }
    }

    fn degrade(&mut self, cause: &str, mend: &str) {
        if self.retry_at.is_none() {
            tracing::error!(cause, "the database does not take records");
        }
        self.retry_at = Some(Instant::now() + RETRY);
        self.condition.send_replace(Condition::Degraded {
            cause: format!("{cause} ({} records wait in memory)", self.backlog.len()),
            mend: mend.to_owned(),
        });
    }

    fn end(mut self) {
        self.retry();
        if !self.backlog.is_empty() {
            tracing::error!(
                records = self.backlog.len(),
                "ended with records that the disk never took"
            );
        }
        // Leaves one plain file behind where it can; the next start would do the same.
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::warn!(%error, "the write-ahead log was not folded into the database");
        }
    }
}

const MEND_DISK: &str = "free space on the disk of the database, or mount it writable; Sentinel goes on enforcing \
                         and writes what waits as soon as it can";

/// What the operator can do about an error of the disk.
fn mend(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            "the database file was damaged while in use: stop Sentinel, move the file away together with its -wal and \
             -shm files or restore a backup, and start it again"
        }
        Some(DatabaseBusy | DatabaseLocked) => {
            "another program holds the database locked; end it, Sentinel tries again"
        }
        _ => MEND_DISK,
    }
}

/// The usual state.
pub(super) fn healthy() -> Condition {
    Condition::Ok {
        detail: "wal, synchronous=full".to_owned(),
    }
}
