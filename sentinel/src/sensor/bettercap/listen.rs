//! The half of the sensor that keeps a connection to Bettercap and reads what it says.
//!
//! Bettercap (`api.rest`, `modules/api_rest/api_rest_ws.go`) sends all it remembers, forgets it, and goes on with what
//! happens; it pings every 54 s and hangs up on whoever does not answer within 60; it reads frames of at most 512 bytes.
//! So nothing is sent but pongs, and what comes twice is known (`seen`).

use super::event::{Event, Malformed, read};
use super::seen::Seen;
use super::services::Services;
use super::skew::Skew;
use crate::config::BettercapConfig;
use crate::metrics::Metrics;
use crate::time;
use crate::types::{Component, Condition, Health, Sighting, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use rustls::pki_types::ServerName;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

/// Pause before it is tried again, doubled each time, and the longest.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A connection that lasted so long is no failure.
const STABLE: Duration = Duration::from_secs(10);
/// Silence after which a connection is given up: twice the pings of Bettercap.
const SILENCE: Duration = Duration::from_mins(2);
/// Events read before others get their turn.
const TURN: u32 = 256;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Away(&'static str),
    #[error("it refused the name or the password")]
    Refused,
    #[error("it answered with status {0} and opened no WebSocket")]
    Status(u16),
    #[error("{0}")]
    Tls(&'static str),
    #[error("it sent an event longer than `bettercap.max_event`")]
    TooLong,
    #[error("it broke the WebSocket protocol")]
    Protocol,
    #[error("it said nothing for two minutes, not even a ping")]
    Silent,
    #[error("{0}")]
    Settings(&'static str),
}

impl Trouble {
    /// As a label of metrics.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Refused => "unauthorized",
            Self::Status(_) => "status",
            Self::Tls(_) => "tls",
            Self::TooLong => "too_long",
            Self::Protocol => "protocol",
            Self::Silent => "silent",
            Self::Settings(_) => "settings",
        }
    }

    const fn mend(&self) -> &'static str {
        match self {
            Self::Away(_) | Self::Silent => "is Bettercap running with `api.rest on`? Check `bettercap.url`",
            Self::Refused => {
                "set `bettercap.username` and BETTERCAP_PASSWORD as `api.rest.username` and `api.rest.password` are"
            }
            Self::Status(_) => {
                "set `api.rest.websocket true` in Bettercap before `api.rest on`, and check `bettercap.url`"
            }
            Self::Tls(_) => "name its certificate (`api.rest.certificate`) in `bettercap.ca_file`",
            Self::TooLong => "raise `bettercap.max_event`, or restart Bettercap, which forgets that event",
            Self::Protocol => "is it a Bettercap that listens there? Check `bettercap.url`",
            Self::Settings(_) => "mend `bettercap.url` or `bettercap.ca_file`",
        }
    }
}

/// Keeps listening.
pub struct BettercapListener {
    pub(super) config: BettercapConfig,
    pub(super) events: mpsc::Sender<(i64, Event)>,
    pub(super) connected: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: watch::Sender<Arc<Health>>,
    pub(super) hearing: Hearing,
    pub(super) sightings: mpsc::Sender<Sighting>,
    pub(super) air: Air,
    /// Before it is tried again: the first time, and at most.
    pub(super) pauses: (Duration, Duration),
}

/// How many sightings are passed on: whoever sends on the air can make up others by the thousand.
#[derive(Debug, Default)]
pub(super) struct Air {
    began: Option<tokio::time::Instant>,
    passed: u32,
}

impl Air {
    /// Sightings passed on in a second; more are counted.
    const A_SECOND: u32 = 100;

    fn allows(&mut self, now: tokio::time::Instant) -> bool {
        if self
            .began
            .is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1))
        {
            *self = Self {
                began: Some(now),
                passed: 0,
            };
        }
        self.passed += 1;
        self.passed <= Self::A_SECOND
    }
}

/// What was heard so far, over all connections.
pub(super) struct Hearing {
    services: Services,
    seen: Seen,
    skew: Skew,
    /// What happened before is not judged: an earlier run of the agent did, or nobody can do anything about it.
    since: Timestamp,
    /// Kinds of rubbish that were logged.
    logged: HashSet<&'static str>,
}

impl Hearing {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            services: Services::new(),
            seen: Seen::new(),
            skew: Skew::default(),
            since,
            logged: HashSet::new(),
        }
    }

    /// A connection begins.
    fn connected(&mut self, now: Timestamp) {
        self.seen.connected();
        self.skew.connected(now);
    }

    /// Reads one event; nothing where it was heard before or is older than the agent.
    pub(super) fn hear(&mut self, text: &str, metrics: &Metrics) -> Option<(i64, Event)> {
        let heard = match read(text, &self.services) {
            Ok(heard) => heard,
            Err(why) => {
                self.refuse(why, metrics);
                return None;
            }
        };
        if self.skew.history_over(time::wall_now) {
            self.seen.caught_up();
        }
        if !self.seen.is_new(heard.identity, heard.stamp_ns) {
            metrics.bettercap.event("duplicate");
            return None;
        }
        if let Some(behind) = self.skew.heard(heard.stamp_ns, time::wall_now) {
            let seconds = behind.as_secs();
            tracing::warn!(
                seconds,
                "the clock of Bettercap's machine is behind this one's; its times are corrected by that"
            );
        }
        if self.skew.ours(heard.stamp_ns) < self.since.0 {
            metrics.bettercap.event("before_start");
            return None;
        }
        let (kind, at) = match &heard.event {
            Event::Packet(packet) => ("packet", packet.at_ns),
            Event::Words(words) => ("words", words.at_ns),
            Event::Sighting(sighting) => ("sighting", sighting.last_at.0),
            Event::Other => {
                metrics.bettercap.event("other");
                return None;
            }
        };
        metrics.bettercap.event(kind);
        let (at, mut event) = (self.skew.ours(at), heard.event);
        if let Event::Sighting(sighting) = &mut event {
            // Nobody was seen in the future: such a row would never make room.
            let at = Timestamp(at).min(time::wall_now());
            (sighting.first_at, sighting.last_at) = (at, at);
        }
        Some((at, event))
    }

    fn refuse(&mut self, why: Malformed, metrics: &Metrics) {
        self.rubbish(why.reason(), &why, metrics);
    }

    fn rubbish(&mut self, reason: &'static str, why: &dyn std::fmt::Display, metrics: &Metrics) {
        metrics.bettercap.refused(reason);
        if self.logged.insert(reason) {
            tracing::warn!("Bettercap sent what cannot be used: {why}; more of this kind is only counted");
        }
    }
}

impl BettercapListener {
    /// Runs until cancelled; then the other half ends too.
    pub async fn run(mut self, cancel: CancellationToken) {
        let (first, longest) = self.pauses;
        let mut pause = first;
        let mut told = None;
        loop {
            let began = tokio::time::Instant::now();
            let trouble = tokio::select! {
                () = cancel.cancelled() => return,
                trouble = self.listen() => trouble,
            };
            self.connected.store(false, Ordering::Relaxed);
            self.metrics.bettercap.connected(false);
            self.metrics.bettercap.lost(trouble.reason());
            if began.elapsed() >= STABLE {
                pause = first;
                told = None;
            }
            if told != Some(trouble.reason()) {
                told = Some(trouble.reason());
                tracing::warn!("Bettercap is not heard: {trouble}; {}; tried again", trouble.mend());
            }
            self.note(Condition::Degraded {
                cause: format!("not heard: {trouble}"),
                mend: trouble.mend().to_owned(),
            });
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    fn note(&self, condition: Condition) {
        self.health
            .send_if_modified(|board| Health::note(board, Component::Bettercap, condition));
    }

    /// One connection, until it ends.
    async fn listen(&mut self) -> Trouble {
        let Some(url) = self.config.events() else {
            return Trouble::Settings("its URL cannot be used");
        };
        let request = match self.request(&url) {
            Ok(request) => request,
            Err(trouble) => return trouble,
        };
        let uri = request.uri().clone();
        let connecting = async {
            let stream = connect(&uri).await?;
            if uri.scheme_str() != Some("wss") {
                return Ok::<_, Trouble>(Line::Plain(stream));
            }
            let client = crate::tls::client(self.config.ca_file.as_deref()).map_err(Trouble::Settings)?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host).map_err(|_| Trouble::Settings("its URL names no server"))?;
            let tls = tokio_rustls::TlsConnector::from(Arc::new(client));
            let stream = tls.connect(name, stream).await.map_err(|error| broken(&error))?;
            Ok(Line::Tls(Box::new(stream)))
        };
        let line = match timeout(self.config.timeout, connecting).await {
            Ok(Ok(line)) => line,
            Ok(Err(trouble)) => return trouble,
            Err(_) => return Trouble::Away("it did not answer in time"),
        };
        match line {
            Line::Plain(stream) => self.speak(request, stream).await,
            Line::Tls(stream) => self.speak(request, stream).await,
        }
    }

    fn request(&self, url: &str) -> Result<Request<()>, Trouble> {
        let mut request = url
            .into_client_request()
            .map_err(|_| Trouble::Settings("its URL cannot be used"))?;
        if let Some(password) = &self.config.password {
            let pair = STANDARD.encode(format!("{}:{}", self.config.username, password.expose()));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
                .map_err(|_| Trouble::Settings("its password cannot be sent"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(&mut self, request: Request<()>, stream: S) -> Trouble {
        let longest = self.config.max_event as usize;
        let bounds = WebSocketConfig::default()
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest))
            .read_buffer_size(64 * 1024);
        let opening = tokio_tungstenite::client_async_with_config(request, stream, Some(bounds));
        let mut socket = match timeout(self.config.timeout, opening).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return Trouble::Away("it did not answer in time"),
        };
        tracing::info!("connected to Bettercap");
        self.connected.store(true, Ordering::Relaxed);
        self.metrics.bettercap.connected(true);
        self.note(Condition::Ok {
            detail: "connected; it told of no packet yet".to_owned(),
        });
        let mut packets = false;
        self.hearing.connected(time::wall_now());
        let mut turn = 0;
        loop {
            let message = match timeout(SILENCE, socket.next()).await {
                Err(_) => return Trouble::Silent,
                Ok(None) => return Trouble::Away("it closed the connection"),
                Ok(Some(Err(error))) => return failed(&error),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Text(text) => {
                    if self.take(&text) && !std::mem::replace(&mut packets, true) {
                        self.note(Condition::Ok {
                            detail: "heard".to_owned(),
                        });
                    }
                }
                Message::Close(_) => return Trouble::Away("it closed the connection"),
                Message::Binary(_) => self.hearing.rubbish("binary", &"a binary frame", &self.metrics),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
            turn = (turn + 1) % TURN;
            if turn == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes in one event; whether it was of a packet.
    fn take(&mut self, text: &str) -> bool {
        let Some(event) = self.hearing.hear(text, &self.metrics) else {
            return false;
        };
        if let (_, Event::Sighting(sighting)) = event {
            let room = self.air.allows(tokio::time::Instant::now());
            if !room || self.sightings.try_send(*sighting).is_err() {
                self.metrics.dropped("bettercap", "sightings", 1);
            }
            return false;
        }
        if self.events.try_send(event).is_err() {
            self.metrics.dropped("bettercap", "queue_full", 1);
        }
        true
    }
}

enum Line {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn connect(uri: &Uri) -> Result<TcpStream, Trouble> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| broken(&error))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn broken(error: &io::Error) -> Trouble {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Trouble::Tls(crate::tls::words(tls));
    }
    Trouble::Away(match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to it",
        io::ErrorKind::TimedOut => "it did not answer in time",
        _ => "the connection broke off",
    })
}

fn failed(error: &WsError) -> Trouble {
    match error {
        WsError::Http(response) if response.status() == StatusCode::UNAUTHORIZED => Trouble::Refused,
        WsError::Http(response) => Trouble::Status(response.status().as_u16()),
        WsError::Capacity(_) => Trouble::TooLong,
        WsError::Io(error) => broken(error),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Trouble::Away("it closed the connection"),
        _ => Trouble::Protocol,
    }
}

/// The time from which events are judged.
pub(super) fn since() -> Timestamp {
    time::wall_now()
}
