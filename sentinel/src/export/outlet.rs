//! One sink: what waits for it, in which batches it goes, and what follows from the answer.

use super::board::Board;
use super::{Happening, Observer};
use crate::config::Format;
use crate::metrics::Metrics;
use crate::store::{DecisionFilter, PAGE_MAX, Record, Store, StoreError, Window};
use crate::types::{Alert, AlertId, Decision, Live, Timestamp};
use sentinel_common::hash::SplitMix64;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How often alerts are looked for that nobody told of.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of one batch at most, unless one event alone has more. Elasticsearch takes 100 MB, Splunk 1 MB by older defaults.
const BYTES: usize = 1 << 20;
/// First pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that we choose.
const LONGEST: Duration = Duration::from_mins(1);
/// Longest pause that a server may ask for.
const PATIENCE: Duration = Duration::from_hours(1);
/// Alerts read at once: their decisions, of which one may have several, must fit on a page.
const ALERTS: usize = 250;
/// How long an orderly end tries to hand over what is there.
const FAREWELL: Duration = Duration::from_secs(2);

/// An event, written in the format of its sink.
#[derive(Clone, Debug)]
pub(super) struct Doc {
    pub(super) body: String,
    pub(super) id: Option<String>,
    pub(super) at: Timestamp,
    /// Of an alert: its place in the order of arrival.
    pub(super) seq: Option<i64>,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The sink has it.
    Taken,
    /// The sink will never take it; why.
    Refused(String),
    /// Not yet.
    Again,
}

/// Why not everything was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) cause: String,
    pub(super) mend: String,
    /// How long the sink wants to be left alone.
    pub(super) after: Option<Duration>,
    /// Fewer at once may be taken; one alone never will be.
    pub(super) split: bool,
}

/// What a sink says to a batch: a verdict for each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) trouble: Option<Trouble>,
}

impl Answer {
    /// All of so many were taken.
    pub(super) fn taken(events: usize) -> Self {
        Self {
            verdicts: vec![Verdict::Taken; events],
            trouble: None,
        }
    }

    /// None of so many was.
    pub(super) fn none(events: usize, trouble: Trouble) -> Self {
        Self {
            verdicts: vec![Verdict::Again; events],
            trouble: Some(trouble),
        }
    }
}

/// Where events go.
pub(super) trait Target: Send + Sync {
    /// Its name in settings, metrics and the store.
    const NAME: &'static str;

    /// Hands over a batch; may be given up at any time.
    fn deliver(&mut self, docs: &[Doc]) -> impl Future<Output = Answer> + Send;

    /// Somebody moved the file aside.
    fn reopen(&mut self) {}
}

/// How batches are made.
#[derive(Clone, Debug)]
pub(super) struct Batching {
    pub(super) events: usize,
    pub(super) flush: Duration,
}

/// What a sink is fed from.
pub(super) struct Feed {
    pub(super) store: Store,
    /// Whether it wants alerts.
    pub(super) alerts: bool,
    /// The rest; whoever puts in drops and counts what there is no room for.
    pub(super) queue: mpsc::Receiver<Arc<Happening>>,
    /// Says that there may be a new alert.
    pub(super) wake: broadcast::Receiver<Live>,
    /// Counts requests to open files anew.
    pub(super) reopen: watch::Receiver<u64>,
}

/// A sink and what waits for it.
pub(super) struct Outlet<T> {
    target: T,
    feed: Feed,
    format: Format,
    by: Arc<Observer>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    batching: Batching,
    waiting: VecDeque<Doc>,
    /// Events of the next batch at most; less than configured after a batch that was too large.
    limit: usize,
    /// The last alert that was read, and the last that is passed by.
    read: i64,
    passed: i64,
    failures: u32,
    /// Whether anything was ever taken, since the start.
    takes: bool,
    dice: u64,
}

impl<T: Target> Outlet<T> {
    pub(super) fn new(
        target: T,
        feed: Feed,
        format: Format,
        by: Arc<Observer>,
        (board, metrics): (Arc<Board>, Arc<Metrics>),
        batching: Batching,
    ) -> Self {
        Self {
            target,
            feed,
            format,
            by,
            board,
            metrics,
            limit: batching.events,
            batching,
            waiting: VecDeque::new(),
            read: 0,
            passed: 0,
            failures: 0,
            takes: false,
            dice: RandomState::new().hash_one(T::NAME),
        }
    }

    /// Runs until cancelled; then hands over what is there, if that does not take long. What is left of the alerts is
    /// handed over by the next run.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let in_time = self.work(&cancel).await;
        if in_time {
            let _ = timeout(FAREWELL, self.end()).await;
        }
        let mut left = self.waiting.iter().filter(|doc| doc.seq.is_none()).count() as u64;
        while self.feed.queue.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            self.dropped("ended", left);
        }
    }

    /// Works until cancelled. A batch on its way then has some time to be answered, since giving it up would have it sent
    /// twice; whether it was.
    async fn work(&mut self, cancel: &CancellationToken) -> bool {
        tokio::select! {
            () = cancel.cancelled() => return false,
            () = self.begin() => {}
        }
        loop {
            tokio::select! {
                () = cancel.cancelled() => return true,
                () = self.gather() => {}
            }
            let late = async {
                cancel.cancelled().await;
                sleep(FAREWELL).await;
            };
            let pause = tokio::select! {
                pause = self.deliver() => pause,
                () = late => return false,
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = cancel.cancelled() => return true,
                    () = sleep(pause) => {}
                    () = reopened(&mut self.feed.reopen) => self.target.reopen(),
                }
            }
        }
    }

    /// Where the run before ended. One that there never was begins with what comes, not with history.
    async fn begin(&mut self) {
        // A cursor of a sink that takes no alerts would keep them in the database for ever.
        if !self.feed.alerts {
            return;
        }
        loop {
            match self.place().await {
                Ok(place) => {
                    (self.read, self.passed) = (place, place);
                    return;
                }
                Err(error) => {
                    let mend = "see what `/health` says of the database; it is tried again every second";
                    self.board.bad(T::NAME, &error.to_string(), mend);
                    sleep(LOOK).await;
                }
            }
        }
    }

    async fn place(&mut self) -> Result<i64, StoreError> {
        let newest = self.feed.store.newest_alert().await?;
        match self.feed.store.cursor(T::NAME).await? {
            Some(place) if place <= newest => Ok(place),
            // The table was emptied, and numbers began anew.
            Some(_) => Ok(0),
            None => {
                self.keep(newest).await;
                Ok(newest)
            }
        }
    }

    /// Waits until there is something to hand over: a full batch, or what came within the time to wait for more.
    async fn gather(&mut self) {
        let mut due: Option<Instant> = None;
        loop {
            self.read_alerts().await;
            while self.waiting.len() < self.batching.events
                && let Ok(happening) = self.feed.queue.try_recv()
            {
                self.take(&happening, None);
            }
            if !self.waiting.is_empty() {
                let due = *due.get_or_insert_with(|| Instant::now() + self.batching.flush);
                if self.failures > 0 || self.waiting.len() >= self.limit || due <= Instant::now() {
                    return;
                }
            }
            let until = due.unwrap_or_else(|| Instant::now() + LOOK);
            let room = self.waiting.len() < self.batching.events;
            tokio::select! {
                () = sleep_until(until) => {}
                Some(happening) = self.feed.queue.recv(), if room => self.take(&happening, None),
                // Any word will do, also that words were missed; that nobody speaks any more is no reason to spin.
                news = self.feed.wake.recv(), if due.is_none() => {
                    if matches!(news, Err(broadcast::error::RecvError::Closed)) {
                        sleep_until(until).await;
                    }
                }
                () = reopened(&mut self.feed.reopen) => self.target.reopen(),
            }
        }
    }

    /// Takes in alerts, as far as a batch has room.
    async fn read_alerts(&mut self) {
        while self.feed.alerts {
            let room = self.batching.events.saturating_sub(self.waiting.len()).min(ALERTS);
            if room == 0 {
                return;
            }
            let alerts = match self.alerts(room).await {
                Ok(alerts) => alerts,
                Err(error) => {
                    tracing::debug!(sink = T::NAME, %error, "alerts cannot be read now");
                    return;
                }
            };
            let all = alerts.len() < room;
            for (seq, alert, decision) in alerts {
                self.read = seq;
                self.take(&Happening::Alert(alert, decision), Some(seq));
            }
            if all {
                return;
            }
        }
    }

    /// The next alerts, each with the decision it led to.
    async fn alerts(&self, room: usize) -> Result<Vec<(i64, Arc<Alert>, Option<Arc<Decision>>)>, StoreError> {
        let store = &self.feed.store;
        let alerts = store.alerts_after(self.read, room).await?;
        if alerts.is_empty() {
            return Ok(Vec::new());
        }
        let filter = DecisionFilter {
            window: Window {
                limit: PAGE_MAX,
                ..Window::default()
            },
            alert: alerts.iter().map(|(_, alert)| alert.id).collect(),
            ..DecisionFilter::default()
        };
        let page = store.decisions(filter).await?;
        // Newest first: the one that an alert led to at once is put in last, before those it was widened to.
        let mut first: HashMap<AlertId, Arc<Decision>> = HashMap::new();
        for decision in page.items {
            if let Some(alert) = decision.alert {
                first.insert(alert, Arc::new(decision));
            }
        }
        let alerts = alerts.into_iter().map(|(seq, alert)| {
            let decision = first.get(&alert.id).cloned();
            (seq, Arc::new(alert), decision)
        });
        Ok(alerts.collect())
    }

    fn take(&mut self, happening: &Happening, seq: Option<i64>) {
        self.waiting.push_back(Doc {
            body: happening.render(self.format, &self.by).to_string(),
            id: happening.id(),
            at: happening.at(),
            seq,
        });
    }

    /// How many go at once.
    fn next(&self) -> usize {
        let mut bytes = 0;
        let fit = self.waiting.iter().take(self.limit).take_while(|doc| {
            bytes += doc.body.len();
            bytes <= BYTES
        });
        fit.count().max(1)
    }

    /// Hands over one batch; how long to wait where it was not taken.
    async fn deliver(&mut self) -> Option<Duration> {
        let events = self.next().min(self.waiting.len());
        let docs = &self.waiting.make_contiguous()[..events];
        let answer = self.target.deliver(docs).await;
        let pause = self.settle(events, answer);
        let passed = self
            .waiting
            .iter()
            .find_map(|doc| doc.seq)
            .map_or(self.read, |seq| seq - 1);
        if passed > self.passed {
            self.passed = passed;
            self.keep(passed).await;
        }
        pause
    }

    fn settle(&mut self, events: usize, answer: Answer) -> Option<Duration> {
        let Answer { verdicts, trouble } = answer;
        let alone = trouble.as_ref().is_some_and(|trouble| trouble.split) && events == 1;
        let mut refusals = Vec::new();
        let mut again = Vec::new();
        let mut taken = 0;
        let batch: Vec<Doc> = self.waiting.drain(..events).collect();
        // An event without a verdict was not taken.
        let verdicts = verdicts.into_iter().chain(std::iter::repeat(Verdict::Again));
        for (doc, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Taken => taken += 1,
                Verdict::Refused(why) => refusals.push((doc, why)),
                Verdict::Again if alone => refusals.push((doc, trouble.clone().unwrap_or_default().cause)),
                Verdict::Again => again.push(doc),
            }
        }
        self.takes |= taken > 0;
        // Nothing was ever taken: that is the settings' fault and not an event's, and no event is passed by for it.
        if !self.takes
            && let Some((_, why)) = refusals.first()
        {
            let cause = format!("it refuses every event: {why}");
            let mut back: Vec<Doc> = refusals.into_iter().map(|(doc, _)| doc).chain(again).collect();
            self.metrics.exported(T::NAME, "retried", back.len() as u64);
            back.sort_by_key(|doc| (doc.seq.is_none(), doc.seq, doc.at));
            for doc in back.into_iter().rev() {
                self.waiting.push_front(doc);
            }
            self.failures = self.failures.saturating_add(1);
            self.limit = self.batching.events;
            self.board.bad(
                T::NAME,
                &cause,
                "check `format`, the index and its mapping; nothing is lost meanwhile",
            );
            return Some(self.pause());
        }
        let count = |result, events: usize| {
            if events > 0 {
                self.metrics.exported(T::NAME, result, events as u64);
            }
        };
        count("delivered", taken);
        count("refused", refusals.len());
        count("retried", again.len());
        for doc in again.into_iter().rev() {
            self.waiting.push_front(doc);
        }
        match trouble {
            Some(trouble) if !alone && trouble.split => {
                self.limit = (events / 2).max(1);
                None
            }
            Some(trouble) if !alone => {
                self.failures = self.failures.saturating_add(1);
                self.board.bad(T::NAME, &trouble.cause, &trouble.mend);
                Some(
                    trouble
                        .after
                        .map_or_else(|| self.pause(), |after| after.clamp(PAUSE, PATIENCE)),
                )
            }
            _ => {
                self.failures = 0;
                self.limit = (self.limit * 2).min(self.batching.events);
                match refusals.first() {
                    None => self.board.good(T::NAME),
                    Some((_, why)) => self.board.bad(
                        T::NAME,
                        &format!("it refuses events, and they are passed by: {why}"),
                        "see docs/export.md for the mapping it needs; `sentinel_export_events_total` counts them",
                    ),
                }
                None
            }
        }
    }

    /// The pause after so many failures, half of it drawn at random, so that many agents do not come back together.
    fn pause(&mut self) -> Duration {
        let longest = PAUSE
            .saturating_mul(1 << self.failures.saturating_sub(1).min(10))
            .min(LONGEST);
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let share = (SplitMix64(self.dice).draw() >> 11) as f64 / (1_u64 << 53) as f64;
        longest.mul_f64(0.5 + share / 2.0)
    }

    async fn keep(&self, seq: i64) {
        let cursor = Record::Cursor { name: T::NAME, seq };
        if let Err(error) = self.feed.store.commit(vec![cursor]).await {
            tracing::debug!(sink = T::NAME, %error, "how far it came is not kept; what was handed over may be again");
        }
    }

    /// Tries once more with what is there.
    async fn end(&mut self) {
        self.read_alerts().await;
        while let Ok(happening) = self.feed.queue.try_recv() {
            self.take(&happening, None);
        }
        while !self.waiting.is_empty() {
            if self.deliver().await.is_some() {
                return;
            }
        }
    }

    fn dropped(&self, reason: &'static str, events: u64) {
        self.metrics.dropped("export", reason, events);
        self.metrics.exported(T::NAME, "dropped", events);
    }
}

/// Waits for the next request to open files anew.
async fn reopened(requests: &mut watch::Receiver<u64>) {
    if requests.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
