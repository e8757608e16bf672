//! The loop: what changed here is told, what others tell is followed, for as long as the Redis is there.

use super::link::{Away, Entry, Link, Place};
use super::open::{Deps, degraded, note};
use super::presence::{self, Presence};
use super::word::{Deaf, Said, Signer, read};
use super::{accept, share};
use crate::config::{FleetConfig, Mode};
use crate::store::Record;
use crate::types::{
    Alert, Command, Condition, FleetBooks, FleetNode, FleetOrder, FleetOutcome, FleetStatus, FleetWord,
};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

/// The name under which alerts are read from the store.
pub const READER: &str = "fleet";
/// How often it is looked at what changed here.
const LOOK: Duration = Duration::from_millis(100);
/// How often a node says that it is there, and every how many times it looks who else is.
const PRESENT: Duration = Duration::from_secs(15);
const ROLL_CALL: u32 = 4;
/// First pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Until what the database did not take is tried again.
const LATER: Duration = Duration::from_secs(1);
/// Changes looked at, words told and alerts told at once.
const CHANGES: usize = 256;
const WORDS: usize = 64;
const ALERTS: usize = 64;
/// How often words that are over are forgotten.
const FORGET: Duration = Duration::from_mins(1);
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
    /// Another node has this one's name.
    pub(super) twin: bool,
    pub(super) status: FleetStatus,
    pub(super) forgot: Instant,
}

/// An alert, as it is told to dashboards.
#[derive(Serialize)]
struct Told<'a> {
    node: &'a str,
    alert: &'a Alert,
}

impl Fleet {
    /// Runs until it is cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut pause = PAUSE;
        self.publish_status();
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
            while self.digest().await == CHANGES {}
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
        let mut news = Box::pin(link.news(self.position.as_deref().unwrap_or("0-0")));
        loop {
            tokio::select! {
                entries = &mut news => {
                    let entries = entries?;
                    self.hear(entries).await;
                    news = Box::pin(link.news(self.position.as_deref().unwrap_or("0-0")));
                }
                _ = look.tick() => self.tell(&mut link).await?,
                _ = present.tick() => {
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
        if let Some(position) = &self.position
            && link.has(position).await?
        {
            return Ok(());
        }
        let end = link.last().await?;
        let mut cursor = 0;
        let mut heard = 0;
        loop {
            let (next, entries) = link.words(cursor).await?;
            heard += entries.len();
            self.hear(entries).await;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut after = String::new();
        let mut told = 0;
        loop {
            let words = self
                .deps
                .store
                .fleet_words_after(after, CHANGES)
                .await
                .unwrap_or_default();
            let Some(last) = words.last() else { break };
            after = last.subject.clone();
            for some in words.chunks(WORDS) {
                told += self.publish(link, some).await?;
            }
        }
        tracing::info!(heard, told, "all that the fleet knows was compared");
        self.position = Some(end.clone());
        self.keep(FleetBooks {
            position: Some(end),
            ..FleetBooks::default()
        })
        .await;
        Ok(())
    }

    /// What changed here becomes words. Returns how many changes there were.
    async fn digest(&mut self) -> usize {
        let Ok(changes) = self.deps.store.fleet_changes(CHANGES).await else {
            return 0;
        };
        if changes.is_empty() {
            return 0;
        }
        let now = (self.deps.now)();
        let mut books = FleetBooks::default();
        for change in &changes {
            let known = change.known.as_ref().and_then(|word| read(&word.body).ok());
            let said = share::say(change, known.as_ref(), &self.config, &self.name, now);
            books.words.extend(said.map(|said| self.signer.word(&said, now)));
            books.seen.push((change.subject.clone(), change.seq));
        }
        if self.keep(books).await { changes.len() } else { 0 }
    }

    /// What changed here is told, and alerts.
    async fn tell(&mut self, link: &mut Link) -> Result<(), Away> {
        while self.digest().await == CHANGES {}
        loop {
            let Ok((words, waiting)) = self.deps.store.fleet_unsent(WORDS).await else {
                break;
            };
            self.waits(waiting);
            if words.is_empty() {
                break;
            }
            self.publish(link, &words).await?;
            if words.len() < WORDS {
                self.waits(waiting - words.len() as u64);
                break;
            }
        }
        if self.config.share.alerts {
            self.tell_alerts(link).await?;
        }
        if self.forgot.elapsed() > FORGET {
            self.forgot = Instant::now();
            let forget = Some((self.deps.now)());
            self.keep(FleetBooks {
                forget,
                ..FleetBooks::default()
            })
            .await;
        }
        Ok(())
    }

    /// Returns how many were news.
    async fn publish(&mut self, link: &mut Link, words: &[FleetWord]) -> Result<u64, Away> {
        let news = link.publish(words, (self.deps.now)()).await?;
        let told = news.iter().filter(|news| **news).count() as u64;
        self.deps.metrics.fleet.told("news", told);
        self.deps.metrics.fleet.told("known", words.len() as u64 - told);
        self.status.told += told;
        let sent = words.iter().filter(|word| !word.sent);
        let sent: Vec<_> = sent.map(|word| (word.subject.clone(), word.version.clone())).collect();
        if !sent.is_empty() {
            self.keep(FleetBooks {
                sent,
                ..FleetBooks::default()
            })
            .await;
        }
        Ok(told)
    }

    async fn tell_alerts(&mut self, link: &mut Link) -> Result<(), Away> {
        let store = self.deps.store.clone();
        loop {
            let seq = match store.cursor(READER).await {
                Ok(Some(seq)) => seq,
                // What was before the fleet is not told.
                Ok(None) => {
                    let Ok(newest) = store.newest_alert().await else {
                        return Ok(());
                    };
                    newest
                }
                Err(_) => return Ok(()),
            };
            let Ok(alerts) = store.alerts_after(seq, ALERTS).await else {
                return Ok(());
            };
            let told: Vec<_> = alerts
                .iter()
                .filter_map(|(_, alert)| {
                    let node = &self.name;
                    let body = serde_json::to_string(&Told { node, alert }).ok()?;
                    let mac = self.signer.sign(&body);
                    Some((body, mac))
                })
                .collect();
            if !told.is_empty() {
                link.alerts(&told).await?;
                self.deps.metrics.fleet.alerts.inc_by(told.len() as u64);
            }
            let last = alerts.last().map_or(seq, |(seq, _)| *seq);
            if last == seq && store.cursor(READER).await.is_ok_and(|cursor| cursor.is_some()) {
                return Ok(());
            }
            let cursor = Record::Cursor {
                name: READER,
                seq: last,
            };
            if store.commit(vec![cursor]).await.is_err() || alerts.len() < ALERTS {
                return Ok(());
            }
        }
    }

    /// Entries of others, in their order: those that are news are followed.
    async fn hear(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last() else { return };
        let position = (!last.id.is_empty()).then(|| last.id.clone());
        // What changed here meanwhile must have its version before it is compared.
        while self.digest().await == CHANGES {}
        let now = (self.deps.now)();
        let mut heard: Vec<(Said, FleetWord)> = Vec::with_capacity(entries.len());
        for entry in &entries {
            match self.signer.hear(&entry.body, &entry.mac, now) {
                Ok(word) => heard.push(word),
                Err(deaf) => {
                    self.deps.metrics.fleet.heard(deaf.as_str(), 1);
                    self.status.refused += 1;
                    self.deaf = Some((deaf, Instant::now()));
                }
            }
        }
        let subjects = heard.iter().map(|(_, word)| word.subject.clone()).collect();
        let Ok(known) = self.deps.store.fleet_words(subjects).await else {
            // It is read once more from the same place.
            sleep(LATER).await;
            return;
        };
        let mut known: HashMap<String, String> = known.into_iter().map(|word| (word.subject, word.version)).collect();
        let mut books = FleetBooks {
            position: position.clone(),
            ..FleetBooks::default()
        };
        let mut orders = Vec::new();
        let mut delays = Vec::new();
        for (said, word) in heard {
            if known.get(&word.subject).is_some_and(|version| *version >= word.version) {
                self.deps.metrics.fleet.heard("known", 1);
                continue;
            }
            known.insert(word.subject.clone(), word.version.clone());
            books.words.push(word);
            match accept::order(&said, &self.config, now) {
                Ok(order) => {
                    orders.push(order);
                    delays.push(said.version);
                }
                Err(why) => {
                    self.deps.metrics.fleet.heard(why, 1);
                    self.status.refused += 1;
                }
            }
        }
        let Some(outcomes) = self.order(orders).await else {
            return;
        };
        let done = (self.deps.now)();
        for (outcome, said) in outcomes.into_iter().zip(delays) {
            let result = match outcome {
                FleetOutcome::Done => "done",
                FleetOutcome::Content => "content",
                FleetOutcome::Vetoed(_) => "vetoed",
                FleetOutcome::Failed(why) => {
                    self.failed = Some((why, Instant::now()));
                    "failed"
                }
            };
            if matches!(result, "done" | "content") {
                self.status.followed += 1;
                let delay = (done.0 - said).max(0) as f64 / 1e9;
                self.deps.metrics.fleet.delay.observe(delay);
            } else {
                self.status.refused += 1;
            }
            self.deps.metrics.fleet.heard(result, 1);
        }
        self.position = position.or(self.position.take());
        self.keep(books).await;
    }

    /// `None` where the desk is closing: what was heard is heard again at the next start.
    async fn order(&self, orders: Vec<FleetOrder>) -> Option<Vec<FleetOutcome>> {
        if orders.is_empty() {
            return Some(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let most = self.config.accept.max_entries;
        let command = Command::Fleet { orders, most, reply };
        self.deps.commands.send(command).await.ok()?;
        answer.await.ok()
    }

    async fn show_up(&mut self, link: &mut Link, roll_call: bool) -> Result<(), Away> {
        let now = (self.deps.now)();
        let mode = match self.mode {
            Mode::Simulation => "simulation",
            Mode::Production => "production",
        };
        let presence = Presence {
            node: FleetNode {
                name: self.name.clone(),
                at: now,
                release: env!("CARGO_PKG_VERSION").to_owned(),
                mode: mode.to_owned(),
                in_force: (self.deps.in_force)(),
            },
            instance: self.instance.clone(),
        };
        self.twin = presence::present(link, &self.signer, &presence, now).await?;
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

    async fn keep(&self, books: FleetBooks) -> bool {
        match self.deps.store.commit(vec![Record::FleetBooks(Box::new(books))]).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "what was told and heard of the fleet is not kept; it is told and heard again");
                // The disk is not asked ten times a second.
                sleep(LATER).await;
                false
            }
        }
    }

    async fn count_waiting(&mut self) {
        if let Ok((_, waiting)) = self.deps.store.fleet_unsent(1).await {
            self.waits(waiting);
        }
        self.publish_status();
    }

    fn waits(&mut self, words: u64) {
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
