//! The room: takes what analyses tell, and writes it now and then.

use super::{Batch, Recorder, Sender};
use crate::config::TrafficLogConfig;
use crate::files::host_name;
use crate::files::rotating::LineError;
use crate::metrics::Metrics;
use crate::types::{Component, Condition, Health};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Batches on their way here, of all senders; past this the newest is dropped and counted.
const BATCHES: usize = 8;
/// Rows that wait while the disk takes none, some 6 MB; past this the newest are dropped and counted.
pub(super) const WAITING: usize = 10_000;
/// How long nothing is tried after something failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that rows are left out.
const SAY: Duration = Duration::from_mins(1);

/// What the room shares with the rest of the house.
pub struct Deps {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
    /// Counts requests to open files anew.
    pub reopen: watch::Receiver<u64>,
}

/// What comes back of it.
type Written = (Recorder, Result<(), LineError>);

/// The room.
pub struct TrafficRoom {
    config: TrafficLogConfig,
    deps: Deps,
    input: mpsc::Receiver<Batch>,
    desk: Option<Recorder>,
    /// The desk while it is lent.
    writing: Option<JoinHandle<Written>>,
    /// Rows that came, in their batches, how many there are, and how many are at the desk: no more than [`WAITING`] together.
    came: Vec<Batch>,
    waiting: usize,
    at_desk: usize,
    /// The file is to be opened anew.
    anew: bool,
    /// The second that runs, and the rows it had.
    second: (Instant, usize),
    /// Rows left out since it was last said.
    left_out: u64,
    said: Option<Instant>,
    failed: Option<Instant>,
}

/// Opens the log where it is wanted; the file itself is opened when the room runs. The room ends, with everything written,
/// when all senders are gone.
pub fn open(config: &TrafficLogConfig, deps: Deps) -> Option<(Sender, TrafficRoom)> {
    if !config.enabled {
        return None;
    }
    let (sender, input) = mpsc::channel(BATCHES);
    let room = TrafficRoom {
        desk: Some(Recorder::new(config, &host_name())),
        config: config.clone(),
        deps,
        input,
        writing: None,
        came: Vec::new(),
        waiting: 0,
        at_desk: 0,
        anew: false,
        second: (Instant::now(), 0),
        left_out: 0,
        said: None,
        failed: None,
    };
    Some((sender, room))
}

impl TrafficRoom {
    /// Writes until nobody can tell any more.
    pub async fn run(mut self) {
        let mut timer = interval(self.config.flush_interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reopen = self.deps.reopen.clone();
        loop {
            tokio::select! {
                batch = self.input.recv() => match batch {
                    Some(batch) => {
                        self.take(batch);
                        if self.waiting >= self.config.flush_records {
                            self.write(false);
                        }
                    }
                    None => break,
                },
                _ = timer.tick() => self.write(false),
                written = Self::written(&mut self.writing) => {
                    self.back(written);
                    if self.waiting >= self.config.flush_records {
                        self.write(false);
                    }
                }
                Ok(()) = reopen.changed() => {
                    self.anew = true;
                    self.failed = None;
                }
            }
        }
        self.rest().await;
        self.write(true);
        self.rest().await;
        self.deps
            .metrics
            .dropped("traffic", "unwritten", (self.waiting + self.at_desk) as u64);
    }

    /// Takes what the second and the room still have room for.
    fn take(&mut self, mut batch: Batch) {
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        let all = batch.rows.len();
        let left = self.config.max_per_second.saturating_sub(self.second.1);
        batch.rows.truncate(left);
        self.second.1 += batch.rows.len();
        self.leave_out((all - batch.rows.len()) as u64);
        let fits = batch.rows.len().min(WAITING - self.waiting - self.at_desk);
        self.deps
            .metrics
            .dropped("traffic", "disk", (batch.rows.len() - fits) as u64);
        batch.rows.truncate(fits);
        if fits > 0 {
            self.waiting += fits;
            self.came.push(batch);
        }
    }

    fn leave_out(&mut self, rows: u64) {
        self.deps.metrics.dropped("traffic", "rate", rows);
        self.left_out += rows;
        if self.left_out > 0 && self.said.is_none_or(|said| said.elapsed() >= SAY) {
            tracing::warn!(
                rows = self.left_out,
                limit = self.config.max_per_second,
                "more rows a second than `traffic_log.max_per_second`: the rest is left out of the traffic log"
            );
            self.said = Some(Instant::now());
            self.left_out = 0;
        }
    }

    /// Has written what waits, unless that is being done. After a failure nothing is tried for a while, but at the end.
    fn write(&mut self, last: bool) {
        if !last && self.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let Some(mut desk) = self.desk.take() else { return };
        let came = std::mem::take(&mut self.came);
        self.at_desk += std::mem::take(&mut self.waiting);
        if std::mem::take(&mut self.anew) {
            desk.file.reopen();
        }
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let outcome = desk.write(&came);
            (desk, outcome)
        }));
    }

    /// Waits for a writing that goes on.
    async fn rest(&mut self) {
        if self.writing.is_some() {
            let written = Self::written(&mut self.writing).await;
            self.back(written);
        }
    }

    /// What comes of a writing that goes on; never, where none does.
    async fn written(writing: &mut Option<JoinHandle<Written>>) -> Result<Written, JoinError> {
        match writing {
            Some(handle) => handle.await,
            None => std::future::pending().await,
        }
    }

    fn back(&mut self, written: Result<Written, JoinError>) {
        self.writing = None;
        let (mut desk, outcome) = match written {
            Ok(written) => written,
            // A room that panics closes the house.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let done = desk.file.take_done();
        self.deps
            .metrics
            .traffic
            .note(done.rows, done.bytes, done.repaired, done.rotated);
        self.at_desk = desk.lines.len();
        self.desk = Some(desk);
        self.failed = outcome.is_err().then(Instant::now);
        self.tell(outcome);
    }

    fn tell(&self, outcome: Result<(), LineError>) {
        let condition = match outcome {
            Ok(()) => Condition::Ok {
                detail: self.config.path.display().to_string(),
            },
            Err(error) => Condition::Degraded {
                cause: format!("{}: {}", error.path.display(), error.cause),
                mend: error.mend.to_owned(),
            },
        };
        let bad = matches!(condition, Condition::Degraded { .. });
        let text = format!("{condition:?}");
        let news = self
            .deps
            .health
            .send_if_modified(|board| Health::note(board, Component::TrafficLog, condition));
        if news && bad {
            tracing::warn!(condition = text, "the traffic log is not written");
        }
    }
}
