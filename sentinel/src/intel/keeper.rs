//! What was learnt is written down in groups, off the way of who asked.

use super::clock::WallClock;
use super::redis::Link;
use crate::store::{Record, Store};
use crate::types::{KeptAnswer, QuotaRow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Notes that may wait; a further one is counted and not written, it is in memory still.
pub(super) const QUEUE: usize = 4_096;
/// How long a group gathers. A crash loses at most that much of what was learnt: answers, never spent quota.
const GATHER: Duration = Duration::from_millis(250);
/// Time between two removals of what is too old or too much.
const TRIM: Duration = Duration::from_mins(1);

enum Note {
    Answer(Arc<KeptAnswer>),
    Quota(Vec<QuotaRow>),
}

/// Where notes are left. Never waits.
#[derive(Clone)]
pub(super) struct Keep {
    notes: Sender<Note>,
    lost: Arc<AtomicU64>,
}

impl Keep {
    pub(super) fn answer(&self, kept: Arc<KeptAnswer>) {
        self.leave(Note::Answer(kept));
    }

    /// Only what providers told: what was spent is written before it is spent.
    pub(super) fn quota(&self, rows: Vec<QuotaRow>) {
        self.leave(Note::Quota(rows));
    }

    fn leave(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Notes that were not written.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Writes them.
pub(super) struct Keeper {
    notes: Receiver<Note>,
    lost: Arc<AtomicU64>,
    clock: WallClock,
    store: Option<Store>,
    redis: Option<Arc<Link>>,
    /// Answers the database may hold.
    rows: u64,
}

impl Keeper {
    pub(super) fn new(clock: WallClock, store: Option<Store>, redis: Option<Arc<Link>>, rows: u64) -> (Keep, Self) {
        let (sender, notes) = channel(QUEUE);
        let lost = Arc::default();
        let keep = Keep {
            notes: sender,
            lost: Arc::clone(&lost),
        };
        let keeper = Self {
            notes,
            lost,
            clock,
            store,
            redis,
            rows,
        };
        (keep, keeper)
    }

    /// Until every [`Keep`] is gone and all notes are written.
    pub(super) async fn run(mut self) {
        let mut trim = interval(TRIM);
        trim.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut group = Vec::new();
        loop {
            tokio::select! {
                n = self.notes.recv_many(&mut group, QUEUE) => {
                    if n == 0 {
                        return;
                    }
                    if !self.notes.is_closed() {
                        sleep(GATHER).await;
                        while group.len() < QUEUE && let Ok(note) = self.notes.try_recv() {
                            group.push(note);
                        }
                    }
                    self.write(group.split_off(0)).await;
                }
                _ = trim.tick() => {
                    let now = self.clock.now();
                    let rows = self.rows;
                    self.commit(vec![Record::IntelTrim { now, rows }]).await;
                }
            }
        }
    }

    async fn write(&self, group: Vec<Note>) {
        let answers: Vec<_> = group
            .iter()
            .filter_map(|note| match note {
                Note::Answer(kept) => Some(Arc::clone(kept)),
                Note::Quota(_) => None,
            })
            .collect();
        let records = group.into_iter().flat_map(|note| match note {
            Note::Answer(kept) => vec![Record::IntelAnswer(kept)],
            Note::Quota(rows) => rows.into_iter().map(Record::IntelQuota).collect(),
        });
        let share = async {
            if let Some(redis) = &self.redis {
                redis.put(answers, self.clock.now()).await;
            }
        };
        tokio::join!(self.commit(records.collect()), share);
    }

    async fn commit(&self, records: Vec<Record>) {
        let Some(store) = &self.store else { return };
        let n = records.len() as u64;
        if let Err(error) = store.keep(records).await {
            self.lost.fetch_add(n, Relaxed);
            tracing::debug!(%error, records = n, "answers of intelligence sources were not written down");
        }
    }
}
