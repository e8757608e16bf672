//! From the alerts in the store to messages in the store: nothing is lost between the two.

use super::room::Board;
use super::router::{Books, Route, Router};
use crate::bus::Bus;
use crate::config::AlertingConfig;
use crate::metrics::Metrics;
use crate::store::{ROUTER, Record, Store, StoreError};
use crate::types::{ChannelKind, Event, Message, Mint, Routed, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Alerts taken at once.
const BATCH: usize = 512;
/// How often it is looked whether a digest is due, and for alerts nobody told of.
const TICK: Duration = Duration::from_secs(1);
/// How often what waits is counted anew.
const RECOUNT: Duration = Duration::from_mins(1);
/// Messages that may wait for one channel; beyond that alerts are folded into one digest, however long it takes.
const WAITING: u64 = 10_000;

pub(super) struct Dispatcher {
    pub(super) config: AlertingConfig,
    pub(super) store: Store,
    pub(super) bus: Bus,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wakes: BTreeMap<ChannelKind, Arc<Notify>>,
    pub(super) now: fn() -> Timestamp,
}

/// Where the dispatcher stands.
struct Standing {
    cursor: i64,
    books: Books,
}

impl Dispatcher {
    /// Routes alerts until it is told to end; those left are routed by the next run.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let mut live = self.bus.subscribe();
        let Some(mut standing) = self.standing(&cancel).await else {
            return;
        };
        let mut router = Router::new(&self.config, Mint::Random);
        let mut counted = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = tick.tick() => {}
                told = live.recv() => match told {
                    Ok(told) if matches!(told.event, Event::Alert(_)) => {}
                    Ok(_) => continue,
                    // The store has what was missed here.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
            // One look into the store answers all that was told meanwhile.
            while live.try_recv().is_ok() {}
            if counted.elapsed() >= RECOUNT {
                counted = Instant::now();
                // Others put messages down too.
                if let Ok(waiting) = self.store.messages_waiting().await {
                    self.board.waiting(&waiting);
                }
            }
            while self.route(&mut standing, &mut router).await {
                if cancel.is_cancelled() {
                    return;
                }
            }
        }
    }

    /// Where the last run stood; on the first start ever, at the end: what was before is no news.
    async fn standing(&self, cancel: &CancellationToken) -> Option<Standing> {
        loop {
            match self.read_standing().await {
                Ok(standing) => return Some(standing),
                Err(error) => tracing::warn!(%error, "where the messages stand cannot be read; tried again"),
            }
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    async fn read_standing(&self) -> Result<Standing, StoreError> {
        let newest = self.store.newest_alert().await?;
        let cursor = self.store.cursor(ROUTER).await?;
        let books = self.store.router_books().await?;
        let books = books.map(|text| {
            serde_json::from_str(&text).unwrap_or_else(|error| {
                tracing::error!(%error, "the books of the messages cannot be read: digests begin anew");
                Books::default()
            })
        });
        self.board.waiting(&self.store.messages_waiting().await?);
        let standing = Standing {
            cursor: cursor.unwrap_or(newest).min(newest),
            books: books.unwrap_or_default(),
        };
        if cursor.is_none() {
            // So that what comes from now on is news, also after a kill in this second.
            self.keep(standing.cursor, &standing.books, Vec::new()).await?;
        }
        Ok(standing)
    }

    /// Takes some alerts, and the digests that are due; whether there may be more.
    async fn route(&self, standing: &mut Standing, router: &mut Router<'_>) -> bool {
        let alerts = match self.store.alerts_after(standing.cursor, BATCH).await {
            Ok(alerts) => alerts,
            Err(error) => {
                tracing::warn!(%error, "alerts cannot be read; they are told later");
                return false;
            }
        };
        let now = (self.now)();
        let full = self.board.full(WAITING);
        let mut books = standing.books.clone();
        let mut messages = Vec::new();
        let mut folded = Vec::new();
        for (_, alert) in &alerts {
            for route in router.take(&mut books, alert, now, &full) {
                match route {
                    Route::Told(message) => messages.push(message),
                    Route::Folded(channel, why) => folded.push((channel, why)),
                }
            }
        }
        messages.extend(router.due(&mut books, now, &full));
        let cursor = alerts.last().map_or(standing.cursor, |(seq, _)| *seq);
        if cursor == standing.cursor && messages.is_empty() {
            // What only grew old is forgotten again when it is read.
            standing.books = books;
            return false;
        }
        let put_down: Vec<_> = messages.iter().map(|message| message.channel).collect();
        match self.keep(cursor, &books, messages).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "messages cannot be put down; alerts wait in the database");
                return false;
            }
        }
        for (channel, why) in folded {
            self.metrics.notices.fold(channel, why);
        }
        self.board.put_down(&put_down, &books);
        let channels: BTreeSet<_> = put_down.into_iter().collect();
        for channel in &channels {
            if let Some(wake) = self.wakes.get(channel) {
                wake.notify_one();
            }
        }
        *standing = Standing { cursor, books };
        alerts.len() == BATCH
    }

    /// Until it is on disk nothing has happened.
    async fn keep(&self, cursor: i64, books: &Books, messages: Vec<Message>) -> Result<(), StoreError> {
        let books = serde_json::to_string(books).unwrap_or_default();
        let routed = Routed {
            cursor,
            books,
            messages,
        };
        self.store.keep(vec![Record::Routed(Box::new(routed))]).await
    }
}
