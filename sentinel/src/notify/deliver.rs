//! One channel's messages, in order, until each is taken.

use super::channels::{Channel, ChannelError, Fault};
use super::letter::{Letter, Sender};
use super::room::Board;
use super::router::SETTLE;
use crate::metrics::Metrics;
use crate::store::{Record, Store, StoreError};
use crate::types::{ChannelKind, ChannelTrouble, Message, MessageId, MessageState, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The first pause after a failure; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_mins(5);
/// Tries of a letter that the other side does not want; then those behind it have their turn.
const REFUSALS: u32 = 5;
/// How long what is on its way may take once the house is being closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// The store is asked again at least so often: a message may have been put down by an earlier run.
const LOOK: Duration = Duration::from_secs(30);

pub(super) struct Deliverer {
    pub(super) channel: Box<dyn Channel>,
    pub(super) store: Store,
    pub(super) sender: Arc<Sender>,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<Metrics>,
    /// Told when something was put down for this channel.
    pub(super) wake: Arc<Notify>,
    /// Messages handed over before it is written down that they were; a kill in between tells so many twice.
    pub(super) at_once: usize,
    pub(super) now: fn() -> Timestamp,
}

/// Tries of the message at the front.
#[derive(Default)]
struct Patience {
    since: Option<Timestamp>,
    tries: u32,
    refusals: u32,
}

impl Deliverer {
    fn kind(&self) -> ChannelKind {
        self.channel.kind()
    }

    /// Hands over what waits until it is told to end.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let mut patience = Patience::default();
        loop {
            // What is on its way may still be answered: given up, it would be told twice.
            let late = async {
                cancel.cancelled().await;
                tokio::time::sleep(FAREWELL).await;
            };
            let wait = tokio::select! {
                wait = self.step(&mut patience, &cancel) => wait,
                () = late => return,
            };
            if cancel.is_cancelled() {
                return;
            }
            let Some(wait) = wait else { continue };
            // What is new changes nothing while the other side is away.
            let woken = async {
                if patience.tries == 0 {
                    self.wake.notified().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = woken => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// What waits at the front; how long to wait then, if at all.
    async fn step(&self, patience: &mut Patience, cancel: &CancellationToken) -> Option<Duration> {
        let front = match self.store.next_messages(self.kind(), self.at_once).await {
            Ok(front) => front,
            Err(error) => {
                tracing::warn!(channel = self.kind().as_str(), %error, "messages that wait cannot be read");
                return Some(LOOK);
            }
        };
        if front.is_empty() {
            return Some(LOOK);
        }
        let mut sent = Vec::new();
        let mut then = None;
        for message in front {
            if cancel.is_cancelled() {
                break;
            }
            let early = message.due.0.saturating_sub((self.now)().0);
            // Nothing is ever due later than that: more is a clock that was set back meanwhile.
            if early > 0 && early <= SETTLE.as_nanos() as i64 {
                then = Some(Duration::from_nanos(early as u64));
                break;
            }
            match self.hand_over(&message).await {
                Ok(()) => sent.push(message.id),
                Err(error) => {
                    self.settle(&std::mem::take(&mut sent), MessageState::Sent, None, patience)
                        .await;
                    return self.failed(&message, error, patience).await;
                }
            }
        }
        self.settle(&sent, MessageState::Sent, None, patience).await;
        then
    }

    async fn hand_over(&self, message: &Message) -> Result<(), ChannelError> {
        let letter = Letter::write(&self.store, message, &self.sender)
            .await
            .map_err(|error| {
                ChannelError::away(
                    format!("what it is to tell cannot be read: {error}"),
                    "look at the component `store` in /health",
                )
            })?;
        self.channel.deliver(&letter).await
    }

    async fn failed(&self, message: &Message, error: ChannelError, patience: &mut Patience) -> Option<Duration> {
        self.metrics.notices.note(self.kind(), "failed");
        let now = (self.now)();
        patience.tries += 1;
        if error.fault == Fault::Letter {
            patience.refusals += 1;
            if patience.refusals >= REFUSALS {
                tracing::error!(channel = self.kind().as_str(), id = %message.id, %error, "message refused for good");
                self.settle(&[message.id], MessageState::Refused, Some(error.cause), patience)
                    .await;
                return None;
            }
        }
        let since = *patience.since.get_or_insert(now);
        if patience.tries == 1 {
            tracing::warn!(channel = self.kind().as_str(), %error, "a channel takes no messages; they wait");
        }
        let doubled = FIRST.saturating_mul(1 << (patience.tries - 1).min(16)).min(LONGEST);
        let pause = error.after.map_or(doubled, |asked| asked.clamp(FIRST, 12 * LONGEST));
        self.board.trouble(
            self.kind(),
            ChannelTrouble {
                since,
                tries: patience.tries,
                cause: error.cause,
                mend: error.mend,
                next: now.after(pause),
            },
        );
        Some(pause)
    }

    /// Notes that messages are over. What the disk does not take now is told again after a crash: the identifiers are the same.
    async fn settle(&self, over: &[MessageId], state: MessageState, cause: Option<String>, patience: &mut Patience) {
        let Some(last) = over.last() else { return };
        let at = (self.now)();
        let mut records = Vec::with_capacity(over.len() + 1);
        for id in over {
            if let Some(cause) = &cause {
                records.push(Record::Audit {
                    at,
                    actor: "sentinel".to_owned(),
                    verb: "not_told".to_owned(),
                    subject: format!("message {id}"),
                    detail: format!("{} refused it: {cause}", self.kind().as_str()),
                });
            }
            records.push(Record::Settled {
                id: *id,
                at,
                state,
                cause: cause.clone(),
            });
        }
        loop {
            match self.store.commit(records.clone()).await {
                // It will be written; until then it would be found waiting again.
                Err(StoreError::Queued { .. }) => {
                    let front = || self.store.next_messages(self.kind(), self.at_once);
                    while front()
                        .await
                        .is_ok_and(|front| front.iter().any(|message| message.id == *last))
                    {
                        tokio::time::sleep(FIRST).await;
                    }
                    break;
                }
                Err(error @ StoreError::Overflow { .. }) => {
                    tracing::error!(id = %last, %error, "it is not kept that a message was told; tried again");
                    tokio::time::sleep(FIRST).await;
                }
                Ok(()) | Err(_) => break,
            }
        }
        *patience = Patience::default();
        for _ in over {
            self.metrics.notices.note(self.kind(), state.as_str());
            self.board.settled(self.kind(), at, state);
        }
    }
}
