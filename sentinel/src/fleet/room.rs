//! The loop: what changed here is told, what others tell is followed, for as long as the Redis is there.

use super::clocks::Clocks;
use super::link::{Away, BATCH, Link, Place};
use super::open::{Deps, degraded, note};
use super::presence::{self, Presence};
use super::word::{Deaf, Said, Signer, read};
use crate::config::{FleetConfig, Mode};
use crate::store::{Record, StoreError};
use crate::types::{Condition, FleetBooks, FleetNode, FleetStatus};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

/// The name under which alerts are read from the store.
pub const READER: &str = "fleet";
/// Before the first entry of the stream.
const NOWHERE: &str = "0-0";
/// How often it is looked at what changed here.
const LOOK: Duration = Duration::from_millis(100);
/// How often a node says that it is there, and every how many times it looks who else is.
const PRESENT: Duration = Duration::from_secs(15);
const ROLL_CALL: u32 = 4;
/// First pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Until what the database did not take is tried again.
pub(super) const LATER: Duration = Duration::from_secs(1);
/// Changes looked at, words told and alerts told at once.
pub(super) const CHANGES: usize = 256;
pub(super) const WORDS: usize = 64;
pub(super) const ALERTS: usize = 64;
/// How often words that are over are forgotten.
pub(super) const FORGET: Duration = Duration::from_mins(1);
/// For how long it is told that words were not heard.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The room.
pub struct Fleet {
    pub(super) config: FleetConfig,
    pub(super) place: Place,
    pub(super) mode: Mode,
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) signer: Signer,
    pub(super) deps: Deps,
    /// How far the stream has been heard.
    pub(super) position: Option<String>,
    /// What was not heard of late, and why.
    pub(super) deaf: Option<(Deaf, Instant)>,
    /// What could not be done of late.
    pub(super) failed: Option<(String, Instant)>,
    /// The last alert that was told, by order of arrival, once that was looked up.
    pub(super) alerts: Option<i64>,
    /// Words of this node came from the future, by the clock of the Redis.
    pub(super) ahead: Option<Instant>,
    /// It has not heard the others yet.
    pub(super) joins: bool,
    /// It said that it is there.
    pub(super) shown: bool,
    /// Another node has this one's name.
    pub(super) twin: bool,
    pub(super) status: FleetStatus,
    pub(super) forgot: Instant,
}

/// What became of what is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is durable.
    Now,
    /// It waits in memory for the disk.
    Later,
    /// It is not.
    Not,
}

fn not_kept() -> Away {
    Away {
        cause: "was asked for all it knows, and the database did not take or tell it".to_owned(),
        mend: "see the database's condition; it is asked again".to_owned(),
    }
}

impl Fleet {
    /// Runs until it is cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut pause = PAUSE;
        self.publish_status();
        self.sign_anew().await;
        loop {
            let began = Instant::now();
            let away = tokio::select! {
                () = cancel.cancelled() => return,
                away = self.session() => away,
            };
            self.lost(&away);
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE;
            }
            // Not all nodes at once, when it comes back.
            let jitter = RandomState::new().hash_one(&self.name) % 1000;
            let waits = pause + pause.mul_f64(jitter as f64 / 1000.0);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(waits) => {}
            }
            // A node that has not heard the others yet does not know how old what it has is.
            while !self.joins && self.digest().await == CHANGES {}
            self.count_waiting().await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// As long as the Redis is there; why it is not any more.
    async fn session(&mut self) -> Away {
        match self.hold().await {
            Ok(never) => match never {},
            Err(away) => away,
        }
    }

    async fn hold(&mut self) -> Result<std::convert::Infallible, Away> {
        let mut link = self.place.connect().await?;
        self.catch_up(&mut link).await?;
        self.status.connected = true;
        self.deps.metrics.fleet.connected.set(1);
        tracing::info!(node = self.name, "the Redis of the fleet answers");
        let mut look = interval(LOOK);
        let mut present = interval(PRESENT);
        for timer in [&mut look, &mut present] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut times = 0;
        let mut news = Box::pin(link.news(self.position.as_deref().unwrap_or(NOWHERE)));
        loop {
            tokio::select! {
                entries = &mut news => {
                    let entries = entries?;
                    let full = entries.len() == BATCH;
                    // What was not kept is read once more from the same place.
                    let _ = self.hear(entries).await;
                    if full {
                        self.still_whole(&mut link).await?;
                    }
                    news = Box::pin(link.news(self.position.as_deref().unwrap_or(NOWHERE)));
                }
                _ = look.tick() => self.tell(&mut link).await?,
                _ = present.tick() => {
                    self.still_whole(&mut link).await?;
                    self.show_up(&mut link, times % ROLL_CALL == 0).await?;
                    times += 1;
                }
            }
            self.how();
        }
    }

    /// After an absence: what is still in the stream is read on; where something is gone from it, or all of it, what is
    /// known of every subject is compared.
    async fn catch_up(&mut self, link: &mut Link) -> Result<(), Away> {
        let read_before = self.position.as_deref().is_some_and(|position| position != NOWHERE);
        if read_before && self.is_whole(link).await? {
            return Ok(());
        }
        let end = link.last().await?;
        let mut cursor = 0;
        let mut heard = 0;
        loop {
            let (next, entries) = link.words(cursor).await?;
            heard += entries.len();
            self.hear(entries).await.map_err(|_| not_kept())?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        if self.joins {
            // Whatever stood here before is as old as it is.
            while self.digest().await == CHANGES {}
            self.joins = false;
        }
        let mut after = String::new();
        let mut told = 0;
        loop {
            let words = self.deps.store.fleet_words_after(after, CHANGES).await;
            let mut words = words.map_err(|_| not_kept())?;
            let Some(last) = words.last() else { break };
            after = last.subject.clone();
            // What was signed with another key convinces nobody.
            words.retain(|word| self.signer.knows(&word.body, &word.mac));
            for some in words.chunks(WORDS) {
                told += self.publish(link, some).await?;
            }
        }
        tracing::info!(heard, told, "all that the fleet knows was compared");
        let books = FleetBooks {
            position: Some(end.clone()),
            ..FleetBooks::default()
        };
        if self.keep(books).await == Kept::Not {
            return Err(not_kept());
        }
        self.position = Some(end);
        Ok(())
    }

    /// Whether nothing is gone from the stream since this node last read it.
    async fn is_whole(&self, link: &mut Link) -> Result<bool, Away> {
        match &self.position {
            Some(position) if position != NOWHERE => link.has(position).await,
            _ => Ok(true),
        }
    }

    /// A stream that lost something is as good as a new one.
    async fn still_whole(&self, link: &mut Link) -> Result<(), Away> {
        if self.is_whole(link).await? {
            return Ok(());
        }
        Err(Away {
            cause: "lost some of what it had; all that the fleet knows is compared".to_owned(),
            mend: "see its memory limit (`maxmemory-policy noeviction`) and `fleet.keep`, if this comes again"
                .to_owned(),
        })
    }

    /// Words of this node that were signed with another key are said anew.
    pub(super) async fn sign_anew(&mut self) {
        let mut after = String::new();
        loop {
            let Ok(words) = self.deps.store.fleet_words_after(after, CHANGES).await else {
                return;
            };
            let Some(last) = words.last() else { return };
            after = last.subject.clone();
            let clocks = self.clocks();
            let stale = words.iter().filter(|word| !self.signer.knows(&word.body, &word.mac));
            let ours = stale
                .filter_map(|word| read(&word.body).ok())
                .filter(|said| said.node == self.name);
            let words: Vec<_> = ours
                .map(|known| {
                    let version = Said::next(Some(&known), clocks.wall);
                    let again = Said::new(&self.name, version, known.what.clone(), Some(&known));
                    self.signer.word(&again, clocks.desk)
                })
                .collect();
            if !words.is_empty() {
                tracing::info!(words = words.len(), "signed anew with another key");
                self.keep(FleetBooks {
                    words,
                    ..FleetBooks::default()
                })
                .await;
            }
        }
    }

    pub(super) fn clocks(&self) -> Clocks {
        Clocks {
            wall: (self.deps.now)(),
            desk: (self.deps.desk)(),
        }
    }

    async fn show_up(&mut self, link: &mut Link, roll_call: bool) -> Result<(), Away> {
        let now = (self.deps.now)();
        let stopped = self.deps.acting.borrow().stopped.is_some();
        let (mode, in_force) = match self.mode {
            Mode::Simulation => ("simulation", 0),
            Mode::Production if stopped => ("stopped", 0),
            Mode::Production => ("production", (self.deps.in_force)()),
        };
        let presence = Presence {
            node: FleetNode {
                name: self.name.clone(),
                at: now,
                release: env!("CARGO_PKG_VERSION").to_owned(),
                mode: mode.to_owned(),
                in_force,
            },
            instance: self.instance.clone(),
        };
        // The run before this one was another instance, too.
        let other = presence::present(link, &self.signer, &presence, now).await?;
        self.twin = other && std::mem::replace(&mut self.shown, true);
        self.shown = true;
        if roll_call {
            self.status.nodes = presence::nodes(link, &self.signer, now).await?;
            let there = self
                .status
                .nodes
                .iter()
                .filter(|node| now < node.at.after(presence::THERE));
            self.deps.metrics.fleet.nodes.set(there.count() as i64);
        }
        Ok(())
    }

    pub(super) async fn keep(&self, books: FleetBooks) -> Kept {
        match self.deps.store.commit(vec![Record::FleetBooks(Box::new(books))]).await {
            Ok(()) => Kept::Now,
            Err(error) => {
                tracing::warn!(%error, "what was told and heard of the fleet waits for the disk");
                // It is not asked ten times a second.
                sleep(LATER).await;
                if matches!(error, StoreError::Queued { .. }) {
                    Kept::Later
                } else {
                    Kept::Not
                }
            }
        }
    }

    async fn count_waiting(&mut self) {
        if let Ok((_, waiting)) = self.deps.store.fleet_unsent(1).await {
            self.waits(waiting);
        }
        self.publish_status();
    }

    pub(super) fn waits(&mut self, words: u64) {
        self.status.waiting = words;
        self.deps.metrics.fleet.waiting.set(words.cast_signed());
    }

    fn lost(&mut self, away: &Away) {
        if self.status.connected || self.status.cause != away.cause {
            tracing::warn!(
                cause = away.cause,
                mend = away.mend,
                "the Redis of the fleet is away; this node goes on alone"
            );
        }
        self.status.connected = false;
        self.status.cause.clone_from(&away.cause);
        self.deps.metrics.fleet.connected.set(0);
        note(
            &self.deps.health,
            degraded(
                format!("the Redis of the fleet {}; this node goes on alone", away.cause),
                away.mend.clone(),
            ),
        );
        self.publish_status();
    }

    /// Tells how things stand, with the Redis there.
    fn how(&mut self) {
        let lately = |at: &Instant| at.elapsed() < REMEMBERED;
        self.deaf = self.deaf.filter(|(_, at)| lately(at));
        self.failed = self.failed.take().filter(|(_, at)| lately(at));
        let condition = if self.twin {
            degraded(
                format!("another node calls itself {}, too", self.name),
                "give each a `fleet.name` of its own and restart",
            )
        } else if self.ahead.is_some_and(|at| lately(&at)) {
            degraded(
                "this node's clock is more than ten minutes ahead of the Redis', which takes none of its words",
                "have both keep time (NTP): the latest word holds",
            )
        } else if let Some((deaf, _)) = self.deaf {
            let (cause, mend) = deaf.told();
            degraded(cause, mend)
        } else if let Some((why, _)) = &self.failed {
            degraded(
                format!("a word of another node could not be followed: {why}"),
                "see the log; what the others have in force may be missing here until they say so again",
            )
        } else {
            Condition::Ok {
                detail: format!("as {}, with {} nodes known", self.name, self.status.nodes.len().max(1)),
            }
        };
        self.status.cause = match &condition {
            Condition::Ok { .. } => String::new(),
            Condition::Degraded { cause, .. } => cause.clone(),
        };
        note(&self.deps.health, condition);
        self.publish_status();
    }

    fn publish_status(&mut self) {
        if let Some(position) = &self.position {
            self.status.position.clone_from(position);
        }
        self.deps.status.send_if_modified(|told| {
            let changed = **told != self.status;
            if changed {
                *told = Arc::new(self.status.clone());
            }
            changed
        });
    }
}
