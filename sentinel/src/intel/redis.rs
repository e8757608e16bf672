//! What several sentinels share: answers, and the count of spent quota.

use super::Profile;
use super::quota::Period;
use crate::types::{Indicator, KeptAnswer, RedisStatus, Secret, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// In front of every key.
const PREFIX: &str = "sentinel:intel:";
/// How long who asks waits for it at most; after that it is taken for gone.
const COMMAND: Duration = Duration::from_millis(50);
/// How long a group of answers may take to be written; nobody waits for that.
const WRITE: Duration = Duration::from_secs(1);
/// How long making a connection may take; nobody waits for that.
const CONNECT: Duration = Duration::from_secs(2);
/// First pause between two connections; it doubles until one has held for longer than the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often a connection that nobody uses is tried.
const PING: Duration = Duration::from_secs(5);
/// The longest answer that is read, bytes: an [`Indicator`] at its bounds is smaller.
const LONGEST: isize = 64 * 1024;
/// Answers that wait for its return; beyond that the oldest goes, and is counted.
pub(super) const OWED: usize = 4_096;
/// Answers written in one go.
const GROUP: usize = 256;

/// One period of a quota, as it is counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) period: Period,
    /// When it began; names its key.
    pub(super) began: Timestamp,
    /// Spent as far as we know, this request not counted.
    pub(super) floor: u64,
    /// Of that, what was never told.
    pub(super) owed: u64,
    /// The highest count allowed.
    pub(super) ceiling: u64,
    /// How long the key is kept.
    pub(super) keep: Duration,
}

/// What became of counting a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spending {
    /// Counted; the counts of the periods now.
    Granted(Vec<u64>),
    /// Not counted: this period is spent.
    Refused {
        /// The first that is.
        period: Period,
        /// The counts of the periods.
        counts: Vec<u64>,
    },
}

/// A connection that is kept by [`Link::run`]. Who asks never waits for one to be made, and never longer than
/// `within` for an answer: [`COMMAND`], but for tests.
pub(super) struct Link {
    within: Duration,
    client: Result<Client, &'static str>,
    script: Script,
    back: Script,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Told when the connection broke.
    broken: Notify,
    cause: Mutex<String>,
    /// Whether a command was refused since the last ping.
    refused: AtomicBool,
    owed: Mutex<VecDeque<Arc<KeptAnswer>>>,
    hits: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own knows the password.
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(url: &Secret) -> Self {
        crate::tls::install();
        // What the library says of a wrong URL may repeat it.
        let client = Client::open(url.expose())
            .map_err(|_| "`intel.cache` is no URL of a Redis; write such as `redis://127.0.0.1:6379/0`");
        Self {
            #[cfg(not(test))]
            within: COMMAND,
            #[cfg(test)]
            within: WITHIN.get(),
            client,
            script: Script::new(include_str!("redis.lua")),
            back: Script::new(include_str!("redis_back.lua")),
            connection: Mutex::default(),
            broken: Notify::new(),
            cause: Mutex::new("not reached yet".to_owned()),
            refused: AtomicBool::new(false),
            owed: Mutex::default(),
            hits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Keeps a connection for as long as it is polled.
    pub(super) async fn run(&self) {
        let client = match &self.client {
            Ok(client) => client,
            Err(cause) => {
                tracing::error!(cause, "the shared Redis is not used");
                self.fail(cause);
                return std::future::pending().await;
            }
        };
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            match self.connect(client).await {
                Ok(()) => {
                    tracing::info!("the shared Redis answers");
                    self.hold().await;
                    tracing::warn!(
                        cause = self.status().cause,
                        "the shared Redis is away; memory and database go on"
                    );
                    if began.elapsed() > PAUSE_MAX {
                        pause = PAUSE;
                    }
                }
                Err(cause) => self.fail(cause),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect(&self, client: &Client) -> Result<(), &'static str> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT));
        let made = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok(connection)
        };
        match timeout(CONNECT, made).await {
            Ok(Ok(connection)) => {
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
                self.because("");
                Ok(())
            }
            Ok(Err(error)) => Err(cause(&error)),
            Err(_) => Err(LATE),
        }
    }

    /// Until the connection breaks.
    async fn hold(&self) {
        self.settle_debts().await;
        while self.connection().is_some() {
            tokio::select! {
                () = self.broken.notified() => {}
                () = sleep(PING) => {
                    let pong: Option<()> = self.say(CONNECT, |mut c| async move { redis::cmd("PING").query_async(&mut c).await }).await;
                    if pong.is_some() && !self.refused.swap(false, Relaxed) {
                        self.because("");
                    }
                    // What it refused it may take now.
                    self.settle_debts().await;
                }
            }
        }
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether that is another cause than before.
    fn because(&self, cause: &str) -> bool {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let other = *known != cause;
        if other {
            cause.clone_into(&mut known);
        }
        other
    }

    /// A command was answered with an error: the connection is as good as before, for the other sources, too.
    fn refuse(&self, cause: &str) {
        self.failures.fetch_add(1, Relaxed);
        self.refused.store(true, Relaxed);
        if self.because(cause) {
            tracing::warn!(cause, "the shared Redis refused a command");
        }
    }

    /// Lets go of the connection.
    fn fail(&self, cause: &str) {
        self.failures.fetch_add(1, Relaxed);
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.because(cause);
        self.broken.notify_one();
    }

    /// One command; `None` where there is no connection or no good answer in time.
    async fn say<T, F>(&self, within: Duration, command: impl FnOnce(MultiplexedConnection) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let connection = self.connection()?;
        match timeout(within, command(connection)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                if breaks(&error) {
                    self.fail(cause(&error));
                } else {
                    self.refuse(cause(&error));
                }
                None
            }
            Err(_) => {
                self.fail(LATE);
                None
            }
        }
    }

    /// What a source said of an address to any of the sentinels.
    pub(super) async fn get(&self, profile: &Profile, ip: IpAddr, now: Timestamp) -> Option<KeptAnswer> {
        let key = answer_key(profile.name, ip);
        let bytes: Vec<u8> = self
            .say(self.within, |mut c| async move {
                redis::cmd("GETRANGE")
                    .arg(key)
                    .arg(0)
                    .arg(LONGEST)
                    .query_async(&mut c)
                    .await
            })
            .await?;
        if bytes.is_empty() || bytes.len() > LONGEST as usize {
            return None;
        }
        let kept = serde_json::from_slice(&bytes).ok();
        let kept = kept.and_then(|kept| believed(kept, profile, now))?;
        self.hits.fetch_add(1, Relaxed);
        Some(kept)
    }

    /// Writes answers for the others; what cannot be written waits for its return.
    pub(super) async fn put(&self, answers: Vec<Arc<KeptAnswer>>, now: Timestamp) {
        if answers.is_empty() {
            return;
        }
        for group in answers.chunks(GROUP) {
            if !self.write(group, now).await {
                self.owe(group);
            }
        }
    }

    fn owe(&self, answers: &[Arc<KeptAnswer>]) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.extend(answers.iter().cloned());
        let beyond = owed.len().saturating_sub(OWED);
        owed.drain(..beyond);
        self.dropped.fetch_add(beyond as u64, Relaxed);
    }

    async fn settle_debts(&self) {
        loop {
            let group: Vec<_> = {
                let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
                owed.iter().take(GROUP).cloned().collect()
            };
            // Their time to live was reckoned when they were made; a little more does no harm, readers reckon anew.
            if group.is_empty() || !self.write(&group, Timestamp(0)).await {
                return;
            }
            let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
            for written in &group {
                // What came in meanwhile may have pushed out some of them.
                if owed.front().is_some_and(|first| Arc::ptr_eq(first, written)) {
                    owed.pop_front();
                }
            }
        }
    }

    async fn write(&self, answers: &[Arc<KeptAnswer>], now: Timestamp) -> bool {
        let mut pipe = redis::pipe();
        for kept in answers {
            let Ok(json) = serde_json::to_vec(&**kept) else {
                continue;
            };
            let told = &kept.indicator;
            let ttl = super::clock::between(told.asked_at, kept.expires_at) * super::shelf::LIVES;
            let passed = super::clock::between(told.asked_at, now.min(kept.expires_at));
            let seconds = ttl.saturating_sub(passed).as_secs().max(1);
            pipe.cmd("SETEX")
                .arg(answer_key(&told.source, told.ip))
                .arg(seconds)
                .arg(json)
                .ignore();
        }
        let written: Option<()> = self
            .say(WRITE, |mut c| async move { pipe.query_async(&mut c).await })
            .await;
        written.is_some()
    }

    /// Counts one request of a source in all of its periods, or in none; `None` where Redis does not say.
    pub(super) async fn spend(&self, source: &str, periods: &[Shared]) -> Option<Spending> {
        if periods.is_empty() {
            return Some(Spending::Granted(Vec::new()));
        }
        let mut call = self.script.prepare_invoke();
        for shared in periods {
            let (kind, keep) = match shared.period {
                Period::Minute => ("w", super::quota::WINDOW as u64),
                _ => ("c", shared.keep.as_secs()),
            };
            call.key(quota_key(source, shared));
            call.arg(kind)
                .arg(shared.floor)
                .arg(shared.owed)
                .arg(shared.ceiling)
                .arg(keep);
        }
        let call = &call;
        let told: Vec<u64> = self
            .say(self.within, |mut c| async move {
                let value: redis::Value = call.invoke_async(&mut c).await?;
                Ok(Vec::from_redis_value(value)?)
            })
            .await?;
        let (refused, counts) = told.split_first().filter(|(_, counts)| counts.len() == periods.len())?;
        match (*refused as usize).checked_sub(1).map(|at| periods.get(at)) {
            None => Some(Spending::Granted(counts.to_vec())),
            Some(shared) => Some(Spending::Refused {
                period: shared?.period,
                counts: counts.to_vec(),
            }),
        }
    }

    /// Takes back one request that [`Link::spend`] counted and that was not made. Where Redis does not hear of it, one
    /// too many stays counted.
    pub(super) async fn give_back(&self, source: &str, periods: &[Shared]) {
        if periods.is_empty() {
            return;
        }
        let mut call = self.back.prepare_invoke();
        for shared in periods {
            let kind = if shared.period == Period::Minute { "w" } else { "c" };
            call.key(quota_key(source, shared));
            call.arg(kind).arg(shared.keep.as_secs());
        }
        let call = &call;
        let _: Option<()> = self
            .say(self.within, |mut c| async move { call.invoke_async(&mut c).await })
            .await;
    }

    /// How it stands.
    pub(super) fn status(&self) -> RedisStatus {
        RedisStatus {
            up: self.connection().is_some(),
            cause: self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            hits: self.hits.load(Relaxed),
            failures: self.failures.load(Relaxed),
            owed: self.owed.lock().unwrap_or_else(PoisonError::into_inner).len() as u64,
            dropped: self.dropped.load(Relaxed),
        }
    }
}

const LATE: &str = "does not answer in time; memory and database go on without it";

/// Whether the connection is of no use any more; whatever else a server answers is about that command only.
fn breaks(error: &RedisError) -> bool {
    let kinds = [ErrorKind::Io, ErrorKind::Parse, ErrorKind::AuthenticationFailed];
    error.is_timeout() || kinds.contains(&error.kind()) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// Why, in our own words: the library's may repeat what stands in the URL.
fn cause(error: &RedisError) -> &'static str {
    if error.is_timeout() {
        return LATE;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => "refuses the user or password of `intel.cache`; correct them there",
        ErrorKind::InvalidClientConfig => "`intel.cache` cannot be used; see its user, password and database",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => {
            "is a replica that takes no writes; point `intel.cache` at the master"
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            "does not permit its commands; allow GETRANGE, SETEX, EVALSHA and SCRIPT on `sentinel:intel:*`"
        }
        ErrorKind::Server(_) | ErrorKind::Extension => {
            "refuses commands; see its log, its memory limit, and what else writes to `sentinel:intel:*`"
        }
        ErrorKind::Io if error.is_connection_refusal() => "refuses connections; start it, or set `intel.cache: memory`",
        ErrorKind::Io => "is not reached or broke the connection; memory and database go on without it",
        _ => "answers what no Redis answers; see `intel.cache`",
    }
}

fn answer_key(source: &str, ip: IpAddr) -> String {
    format!("{PREFIX}answer:{source}:{ip}")
}

fn quota_key(source: &str, shared: &Shared) -> String {
    let name = shared.period.as_str();
    match shared.period {
        Period::Minute => format!("{PREFIX}quota:{source}:{name}"),
        _ => format!("{PREFIX}quota:{source}:{name}:{}", shared.began.0 / 1_000_000_000),
    }
}

/// Whoever may write to the Redis is not believed without bounds either: the indicator is built anew within them.
fn believed(kept: KeptAnswer, profile: &Profile, now: Timestamp) -> Option<KeptAnswer> {
    let told = kept.indicator;
    if kept.expires_at <= told.asked_at || told.asked_at > now.after(super::shelf::AHEAD) {
        return None;
    }
    let mut indicator = Indicator::new(&told.source, told.ip, told.asked_at.min(now));
    indicator.judge(told.verdict, told.score, told.confidence);
    indicator.spare = told.spare && profile.spares;
    (indicator.first_seen, indicator.last_seen) = (told.first_seen, told.last_seen);
    told.categories.iter().for_each(|text| indicator.category(text));
    told.raw.iter().for_each(|(name, value)| indicator.fact(name, value));
    let expires_at = kept.expires_at;
    Some(KeptAnswer { indicator, expires_at })
}

#[cfg(test)]
thread_local! {
    static WITHIN: std::cell::Cell<Duration> = const { std::cell::Cell::new(COMMAND) };
}

/// Runs `make`; who asks a [`Link`] that it makes on this thread waits for so long at most.
#[cfg(test)]
pub(super) fn waiting<T>(within: Duration, make: impl FnOnce() -> T) -> T {
    WITHIN.set(within);
    let made = make();
    WITHIN.set(COMMAND);
    made
}

#[cfg(test)]
mod tests {
    use super::super::clients::{greynoise, virustotal};
    use super::super::tests::{IP, Scripted};
    use super::*;

    #[test]
    fn only_who_can_say_so_spares_and_nothing_was_asked_in_the_future() {
        let now = Timestamp(1_000_000_000_000);
        let of = |profile: &Profile, ahead: Duration| {
            let mut indicator = Scripted::bad(profile.name, IP, now.after(ahead)).indicator;
            indicator.spare = true;
            let expires_at = now.after(Duration::from_hours(1));
            believed(KeptAnswer { indicator, expires_at }, profile, now)
        };
        for (profile, spares) in [(&greynoise::PROFILE, true), (&virustotal::PROFILE, false)] {
            assert_eq!(of(profile, Duration::ZERO).unwrap().indicator.spare, spares);
        }
        let ahead = of(&greynoise::PROFILE, Duration::from_mins(4)).unwrap();
        assert_eq!(ahead.indicator.asked_at, now);
        assert_eq!(of(&greynoise::PROFILE, Duration::from_mins(6)), None);
    }
}
