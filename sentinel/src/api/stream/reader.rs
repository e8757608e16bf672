//! One open stream, from the greeting to the goodbye.

use super::outbox::{Outbox, Topic};
use super::wish::{EventId, Wish};
use crate::api::dto::{self, MessageDto, VERSION};
use crate::api::{Api, now};
use crate::auth::Who;
use crate::types::{DecisionId, Event, Hits, Live};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

/// A reader that takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a reader may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Pings keep middleboxes and half-open connections honest.
const PING: Duration = Duration::from_secs(20);

/// Hit counters one message carries; others follow with a later one.
const HITS: usize = 1000;

/// What a reader is told when the agent ends.
const CLOSING: &str = "sentinel is shutting down";

/// The reader is gone, or as good as.
struct Gone;

pub(super) struct Reader {
    socket: WebSocket,
    api: Arc<Api>,
    wish: Wish,
    /// Who reads; asked anew now and then whether they still may.
    who: Who,
    /// Hit counters the reader knows.
    shown: Arc<HashMap<DecisionId, Hits>>,
    outbox: Outbox,
}

impl Reader {
    pub(super) fn new(socket: WebSocket, api: Arc<Api>, wish: Wish, who: Who) -> Self {
        Self {
            outbox: Outbox::new(wish.batched),
            socket,
            api,
            wish,
            who,
            shown: Arc::default(),
        }
    }

    pub(super) async fn run(mut self) {
        // An error only says that the reader left.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), Gone> {
        let mut live = self.greet()?;
        let mut health = self.api.health.clone();
        let mut second = every(Duration::from_secs(1));
        let mut ping = every(PING);
        let cancel = self.api.cancel.clone();
        health.mark_changed();
        let mut health_lives = true;
        loop {
            let due = self.outbox.due(Instant::now());
            let room = !self.outbox.is_full();
            tokio::select! {
                () = cancel.cancelled() => return self.farewell(close_code::AWAY, CLOSING).await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.flush().await?,
                event = live.recv(), if room => match event {
                    Ok(event) => self.tell(&event)?,
                    Err(RecvError::Lagged(missed)) => self.lagged(Some(missed))?,
                    Err(RecvError::Closed) => return self.farewell(close_code::AWAY, CLOSING).await,
                },
                changed = health.changed(), if self.wish.has("health") && health_lives && room => match changed {
                    Ok(()) => {
                        let data = self.api.health_now();
                        self.say(Some("health"), &MessageDto::Health { data })?;
                    }
                    Err(_) => health_lives = false,
                },
                _ = second.tick(), if self.wish.has("stats") && room => {
                    let mut data = self.api.stats_now();
                    data.hits = Some(self.moved());
                    // Each carries what moved since the one before: none may take another's place.
                    self.say(None, &MessageDto::Stats { data })?;
                }
                _ = ping.tick() => {
                    if !self.api.auth.still(&self.who, now()) {
                        return self.farewell(close_code::POLICY, "you are logged out").await;
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Close(_))) | None => return Err(Gone),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                        let reason = "this stream takes no messages; use the other paths to ask for something";
                        return self.farewell(close_code::UNSUPPORTED, reason).await;
                    }
                    Some(Err(error)) => {
                        let Some((code, reason)) = fault(error) else {
                            return Err(Gone);
                        };
                        return self.farewell(code, reason).await;
                    }
                },
            }
        }
    }

    /// Says who speaks, and what a reader that comes back has missed; answers with what is published from now on.
    fn greet(&mut self) -> Result<broadcast::Receiver<Live>, Gone> {
        let started = self.api.started;
        let wanted = self.wish.after.filter(|id| id.started == started);
        let resumed = self.api.bus.resume(wanted.map_or(u64::MAX, |id| id.seq));
        let hello = MessageDto::Hello {
            version: VERSION,
            mode: dto::mode(&self.api.config),
            started,
            last: self.name(resumed.last),
        };
        self.say(None, &hello)?;
        if self.wish.after.is_some() && wanted.is_none() {
            self.lagged(None)?;
        } else if resumed.missed > 0 {
            self.lagged(Some(resumed.missed))?;
        }
        for live in resumed.earlier {
            self.tell(&live)?;
        }
        Ok(resumed.live)
    }

    fn name(&self, seq: u64) -> String {
        let started = self.api.started;
        EventId { started, seq }.to_string()
    }

    /// An event, if it is wanted.
    fn tell(&mut self, live: &Live) -> Result<(), Gone> {
        if !self.wish.wants(&live.event) {
            return Ok(());
        }
        let hits = self.api.hits.borrow().clone();
        let acting = self.api.acting.borrow().clone();
        let text = dto::event(live, &self.name(live.seq), &hits, &acting).map_err(|_| Gone)?;
        self.outbox.add(Some(topic(&live.event)), text);
        Ok(())
    }

    /// Events are gone: so many, or nobody knows how many.
    fn lagged(&mut self, missed: Option<u64>) -> Result<(), Gone> {
        self.api.metrics.dropped("stream", "lagged", missed.unwrap_or(0));
        self.say(None, &MessageDto::Lagged { missed })
    }

    /// Counters that moved since the last message.
    fn moved(&mut self) -> HashMap<String, Hits> {
        let now = self.api.hits.borrow().clone();
        if Arc::ptr_eq(&now, &self.shown) {
            return HashMap::new();
        }
        let differs = |(id, hits): &(&DecisionId, &Hits)| self.shown.get(*id) != Some(*hits);
        let moved: Vec<(DecisionId, Hits)> = now.iter().filter(differs).take(HITS).map(|(k, v)| (*k, *v)).collect();
        if moved.len() < HITS {
            self.shown = now;
        } else {
            // Only what was shown is known, so that the rest still differs next time.
            Arc::make_mut(&mut self.shown).extend(moved.iter().copied());
        }
        moved.into_iter().map(|(id, hits)| (id.to_string(), hits)).collect()
    }

    fn say(&mut self, topic: Option<&'static str>, message: &MessageDto) -> Result<(), Gone> {
        let text = serde_json::to_string(message).map_err(|_| Gone)?;
        self.outbox.add(topic.map(|kind| (kind, String::new())), text);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        for text in self.outbox.take(Instant::now()) {
            self.send(Message::Text(text.into())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                self.api.metrics.dropped("stream", "stuck", 1);
                Err(Gone)
            }
        }
    }

    /// Says goodbye and waits a moment for the reader's own, so that it sees an end and not a reset.
    async fn farewell(&mut self, code: u16, reason: &'static str) -> Result<(), Gone> {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        self.send(Message::Close(Some(frame))).await?;
        let _ = timeout(GOODBYE, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// What an event is about.
fn topic(event: &Event) -> Topic {
    let id = match event {
        Event::Alert(alert) => alert.id.to_string(),
        Event::Investigation(investigation) => investigation.id.to_string(),
        Event::Decision(decision) => decision.id.to_string(),
        Event::Action(action) => action.id.to_string(),
    };
    (event.kind(), id)
}

/// The close code and words for what a reader did wrong (RFC 6455, 7.4.1); `None` where it only left.
fn fault(error: axum::Error) -> Option<(u16, &'static str)> {
    use tungstenite::Error::{Capacity, Protocol, Utf8};
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match *error.into_inner().downcast::<tungstenite::Error>().ok()? {
        Capacity(_) => Some((close_code::SIZE, "a message may have 4096 bytes at most")),
        Utf8(_) => Some((close_code::INVALID, "text must be UTF-8")),
        Protocol(ResetWithoutClosingHandshake) => None,
        Protocol(_) => Some((close_code::PROTOCOL, "this is no WebSocket frame (RFC 6455)")),
        _ => None,
    }
}
