//! `WS /stream`: events as they become durable, counters once a second.
//!
//! A reader that lags loses the oldest events, is told how many, and the loss is counted.

use super::dto::{self, MessageDto, VERSION};
use super::error::Problem;
use super::query::Params;
use super::{Api, Shared, now};
use crate::auth::Who;
use crate::types::{DecisionId, Hits};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Readers at the same time; a further one is refused.
pub(super) const CLIENTS: usize = 64;

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

/// Largest message taken from a reader, bytes; nothing it says is used.
const INCOMING: usize = 4096;

/// What there is to ask for, by the name in messages.
const KINDS: [&str; 6] = ["alert", "investigation", "decision", "action", "stats", "health"];

/// What a reader asked for: one bit per kind.
#[derive(Clone, Copy, Debug)]
struct Wanted(u8);

impl Wanted {
    const ALL: Self = Self((1 << KINDS.len()) - 1);

    fn parse(text: &str) -> Option<Self> {
        let bit = |word| KINDS.iter().position(|kind| *kind == word).map(|place| 1 << place);
        text.split(',')
            .try_fold(0, |bits, word| Some(bits | bit(word)?))
            .map(Self)
    }

    fn has(self, kind: &str) -> bool {
        KINDS
            .iter()
            .enumerate()
            .any(|(place, known)| *known == kind && self.0 & (1 << place) != 0)
    }
}

pub(super) async fn stream(
    State(api): State<Shared>,
    Extension(who): Extension<Who>,
    mut params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let expected = "of `alert`, `investigation`, `decision`, `action`, `stats`, `health`, several with commas";
    let wanted = params.take("types", expected, Wanted::parse)?;
    params.finish()?;
    let wanted = wanted.unwrap_or(Wanted::ALL);
    let upgrade = upgrade.map_err(|_| {
        let detail = "open this path as a WebSocket; the lists and /stats answer plain requests";
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade-required",
            "A WebSocket is needed",
            detail,
        )
    })?;
    let Ok(place) = Arc::clone(&api.clients).try_acquire_owned() else {
        return Err(Problem::unavailable(format!(
            "{CLIENTS} streams are open already; close one"
        )));
    };
    let upgrade = upgrade.max_message_size(INCOMING).max_frame_size(INCOMING);
    let tracked = api.sockets.token();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _held = (place, tracked);
        api.metrics.stream_clients.inc();
        Reader {
            socket,
            api: Arc::clone(&api),
            wanted,
            who,
            shown: Arc::default(),
        }
        .run()
        .await;
        api.metrics.stream_clients.dec();
    }))
}

/// The reader is gone, or as good as.
struct Gone;

struct Reader {
    socket: WebSocket,
    api: Arc<Api>,
    wanted: Wanted,
    /// Who reads; asked anew now and then whether they still may.
    who: Who,
    /// Hit counters the reader knows.
    shown: Arc<HashMap<DecisionId, Hits>>,
}

impl Reader {
    async fn run(mut self) {
        // An error only says that the reader left.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), Gone> {
        let mut live = self.api.bus.subscribe();
        let mut health = self.api.health.clone();
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let cancel = self.api.cancel.clone();
        let (version, mode, started) = (VERSION, dto::mode(&self.api.config), self.api.started);
        self.say(&MessageDto::Hello { version, mode, started }).await?;
        health.mark_changed();
        let mut health_lives = true;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return self.farewell(close_code::AWAY, CLOSING).await,
                event = live.recv() => match event {
                    Ok(event) if self.wanted.has(event.event.kind()) => {
                        let hits = self.api.hits.borrow().clone();
                        let acting = self.api.acting.borrow().clone();
                        let text = dto::event(&event, &hits, &acting).map_err(|_| Gone)?;
                        self.send(Message::Text(text.into())).await?;
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        self.api.metrics.dropped("stream", "lagged", missed);
                        self.say(&MessageDto::Lagged { missed }).await?;
                    }
                    Err(RecvError::Closed) => return self.farewell(close_code::AWAY, CLOSING).await,
                },
                changed = health.changed(), if self.wanted.has("health") && health_lives => match changed {
                    Ok(()) => {
                        let data = self.api.health_now();
                        self.say(&MessageDto::Health { data }).await?;
                    }
                    Err(_) => health_lives = false,
                },
                _ = second.tick(), if self.wanted.has("stats") => {
                    let mut data = self.api.stats_now();
                    data.hits = Some(self.moved());
                    self.say(&MessageDto::Stats { data }).await?;
                }
                _ = ping.tick() => {
                    if !self.api.auth.still(&self.who, now()) {
                        return self.farewell(close_code::POLICY, "you are logged out").await;
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                    Some(Ok(_)) => {}
                },
            }
        }
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

    async fn say(&mut self, message: &MessageDto) -> Result<(), Gone> {
        let text = serde_json::to_string(message).map_err(|_| Gone)?;
        self.send(Message::Text(text.into())).await
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
