//! Who wants to know something about an address asks here.

use super::IntelError;
use super::IntelSource;
use super::cache::Cache;
use super::clients::covers;
use super::clock::WallClock;
use super::keeper::Keeper;
use super::quota::{Books, Meter};
use super::redis::Link;
use super::scheduler::{Candidate, Choice, Question, believe, choose};
use super::shelf::{Age, Shelf, told};
use super::special::special;
use super::stack::{Deps, Stack, assemble};
use crate::config::{CacheBackend, IntelConfig, SeverityThresholds, SourceConfig};
use crate::metrics::{IntelLabels, Metrics, SourceLabels};
use crate::store::Store;
use crate::types::{Answer, CacheStatus, Indicator, IntelStatus, Severity, SourceStatus, Timestamp};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// How often what is left of each quota is told to the metrics.
const TELL: Duration = Duration::from_secs(5);

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nobody was asked: the address is none of the Internet, and why.
    Special(&'static str),
    /// No source is enabled.
    NoSources,
    /// This many sources said something, of this many.
    Sources {
        /// With an indicator: known already or fresh.
        told: usize,
        /// Enabled ones.
        of: usize,
    },
}

/// All sources behind one question. Cheap to clone.
#[derive(Clone)]
pub struct Intel {
    inner: Arc<Inner>,
}

struct Inner {
    enabled: bool,
    /// Those of the configuration, in its order.
    known: Vec<(&'static str, Known)>,
    stacks: Vec<Enabled>,
    thresholds: RwLock<[f64; 2]>,
    own: RwLock<Arc<[IpNet]>>,
    places: Semaphore,
    shelf: Arc<Shelf>,
    store: Option<Store>,
    redis: Option<Arc<Link>>,
    metrics: Arc<Metrics>,
    clock: WallClock,
}

/// What is told of a source whether it is asked or not.
struct Known {
    key: bool,
    weight: f64,
}

struct Enabled {
    stack: Stack,
    weight: f64,
}

impl Enabled {
    /// As the scheduler sees it.
    fn candidate(&self, severity: Severity, now: Timestamp) -> Candidate {
        let stack = &self.stack;
        Candidate {
            group: stack.profile.group,
            weight: self.weight,
            coverage: stack.tally.coverage(),
            purse: stack.meter.purse(now, severity),
            shut: stack.gate.shut(Instant::now()),
        }
    }
}

/// The work behind the questions; `app` gives it a task.
pub struct Upkeep {
    keeper: Keeper,
    redis: Option<Arc<Link>>,
    store: Option<Store>,
    meters: Vec<Arc<Meter>>,
    metrics: Arc<Metrics>,
    clock: WallClock,
}

impl Intel {
    /// Wraps those of the clients that the configuration enables. Each client is known by the name in its profile.
    pub fn new(
        config: &IntelConfig,
        thresholds: &SeverityThresholds,
        clients: Vec<Box<dyn IntelSource>>,
        store: Option<Store>,
        metrics: Arc<Metrics>,
    ) -> (Self, Upkeep) {
        Self::with_clock(config, thresholds, clients, store, metrics, WallClock::system())
    }

    /// The same with another wall clock.
    pub fn with_clock(
        config: &IntelConfig,
        thresholds: &SeverityThresholds,
        clients: Vec<Box<dyn IntelSource>>,
        store: Option<Store>,
        metrics: Arc<Metrics>,
        clock: WallClock,
    ) -> (Self, Upkeep) {
        let redis = match &config.cache {
            CacheBackend::Memory => None,
            CacheBackend::Redis(url) => Some(Arc::new(Link::new(url))),
        };
        let rows = config.cache_entries as u64;
        let (keep, keeper) = Keeper::new(clock.clone(), store.clone(), redis.clone(), rows);
        let sources = config.sources.each();
        let names = sources.iter().map(|(name, _)| *name);
        let shelf = Arc::new(Shelf::new(
            names,
            config.cache_entries,
            clock.clone(),
            store.clone(),
            redis.clone(),
            keep.clone(),
        ));
        let deps = Deps {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            shelf: Arc::clone(&shelf),
            books: Books {
                clock: clock.clone(),
                store: store.clone(),
                redis: redis.clone(),
                keep,
            },
            retry_within: config.deadline,
            reserve: config.reserve,
        };
        let stacks = enabled(config, clients, &deps);
        let upkeep = Upkeep {
            keeper,
            redis: redis.clone(),
            store: store.clone(),
            meters: stacks.iter().map(|s| Arc::clone(&s.stack.meter)).collect(),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
        };
        let known = |source: &SourceConfig| Known {
            key: source.key.is_some(),
            weight: source.weight,
        };
        // As many alerts as may be looked into at the same time, each asking everybody.
        let places = config.concurrency * stacks.len();
        let inner = Inner {
            enabled: config.enabled,
            known: sources.iter().map(|(name, source)| (*name, known(source))).collect(),
            stacks,
            thresholds: RwLock::new([thresholds.medium, thresholds.high]),
            own: RwLock::new(Arc::from([])),
            places: Semaphore::new(places),
            shelf,
            store,
            redis,
            metrics,
            clock,
        };
        (Self { inner: Arc::new(inner) }, upkeep)
    }

    /// Addresses and prefixes that nobody outside is asked about, beside the special ones.
    pub fn set_own(&self, own: Vec<IpNet>) {
        *self.inner.own.write().unwrap_or_else(PoisonError::into_inner) = own.into();
    }

    /// Which answers are worth how much follows from these levels from now on.
    pub fn set_thresholds(&self, thresholds: &SeverityThresholds) {
        let mut held = self.inner.thresholds.write().unwrap_or_else(PoisonError::into_inner);
        *held = [thresholds.medium, thresholds.high];
    }

    /// Why nobody outside would be asked about this address.
    pub fn special(&self, ip: IpAddr) -> Option<&'static str> {
        let own = Arc::clone(&self.inner.own.read().unwrap_or_else(PoisonError::into_inner));
        special(ip, &own)
    }

    /// Names and how much their words count, of those that are asked.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let stacks = self.inner.stacks.iter();
        stacks.map(|s| (s.stack.profile.name, s.stack.profile.group, s.weight))
    }

    /// Each enabled source as one that can be asked directly, behind all of its wrappers and past the scheduler.
    pub fn each(&self) -> impl Iterator<Item = Arc<dyn IntelSource>> {
        self.inner.stacks.iter().map(|s| s.stack.source())
    }

    /// What is in memory of `ip` and within its time; waits for nothing and spends nothing.
    pub fn known(&self, ip: IpAddr) -> Vec<Indicator> {
        let ip = ip.to_canonical();
        let now = self.inner.clock.now();
        let stacks = self.inner.stacks.iter();
        let kept = stacks.filter_map(|s| self.inner.shelf.glance(s.stack.profile.name, ip));
        kept.map(|kept| told(&kept, now)).collect()
    }

    /// Asks what the sources know of `ip`, and tells each answer as it comes: first what is known already, then what is
    /// not worth a request, then those that were asked, at the same time. `believed` is the probability of harm without
    /// them. One answer for each enabled source, whatever happens. Dropping the future gives up what is under way.
    ///
    /// [`Answer::result`] is `fresh`, `cache`, `stale` (past its time, with less confidence), `skipped` (not worth a
    /// request), `busy` (too many requests at the same time), or the error's label.
    pub async fn ask_all(
        &self,
        ip: IpAddr,
        severity: Severity,
        believed: f64,
        mut answers: impl FnMut(Answer),
    ) -> Asked {
        let ip = ip.to_canonical();
        if let Some(why) = self.special(ip) {
            return Asked::Special(why);
        }
        let stacks = &self.inner.stacks;
        if stacks.is_empty() {
            return Asked::NoSources;
        }
        let began = Instant::now();
        let mut heard = 0;
        let mut tell = |answer: Answer| {
            heard += usize::from(answer.indicator.is_some());
            answers(answer);
        };
        let mut question = Question {
            severity,
            believed,
            thresholds: *self.inner.thresholds.read().unwrap_or_else(PoisonError::into_inner),
            answered: Vec::new(),
        };
        let mut stale: Vec<Option<super::Reply>> = stacks.iter().map(|_| None).collect();
        let mut open: Vec<usize> = Vec::new();
        let looks = stacks.iter().map(|s| s.stack.cache.find(ip));
        for (at, found) in futures_util::future::join_all(looks).await.into_iter().enumerate() {
            let Enabled { stack, weight } = &stacks[at];
            match found {
                Some((reply, Age::Fresh)) => {
                    let indicator = reply.indicator;
                    question.believed = believe(question.believed, *weight, indicator.score, indicator.confidence);
                    question.answered.push(stack.profile.group);
                    self.hit(stack.profile.name);
                    tell(answer(stack, "cache", "", Some(indicator), began));
                }
                // Whoever rotates IPv6 addresses must not drain the quota of one that knows IPv4 only.
                _ if !covers(stack.profile.name, ip) => {
                    let error = IntelError::Unsupported("it knows no addresses of this kind");
                    tell(answer(stack, error.label(), &error.to_string(), None, began));
                }
                late => {
                    stale[at] = late.map(|(reply, _)| reply);
                    open.push(at);
                }
            }
        }
        let now = self.inner.clock.now();
        let candidates: Vec<Candidate> = open.iter().map(|at| stacks[*at].candidate(severity, now)).collect();
        let mut requests = FuturesUnordered::new();
        for (at, choice) in open.into_iter().zip(choose(&question, &candidates)) {
            let stack = &stacks[at].stack;
            let stale = stale[at].take();
            let held = match choice {
                Choice::Ask { .. } => match self.inner.places.try_acquire() {
                    Ok(place) => {
                        requests.push(async move {
                            let _place = place;
                            (stack, stack.cache.fetch(ip, severity, stale).await)
                        });
                        continue;
                    }
                    Err(_) => (
                        "busy",
                        "as many requests are under way as `intel.concurrency` alerts need".to_owned(),
                    ),
                },
                Choice::NotWorth { value, price } => (
                    "skipped",
                    format!("an answer could change too little to be worth a request ({value:.4} of {price:.4})"),
                ),
                Choice::Spent { period, reserved } => {
                    let error = IntelError::Quota { period, reserved };
                    (error.label(), error.to_string())
                }
                Choice::Shut => {
                    let status = stack.gate.status(Instant::now());
                    let error = IntelError::BreakerOpen {
                        for_another: Duration::from_millis(status.retry_in_ms),
                        failures: status.failures,
                    };
                    (error.label(), error.to_string())
                }
            };
            self.held_back(stack, held.0);
            tell(match stale {
                Some(reply) => answer(stack, "stale", &held.1, Some(reply.indicator), began),
                None => answer(stack, held.0, &held.1, None, began),
            });
        }
        while let Some((stack, result)) = requests.next().await {
            tell(match result {
                Ok(reply) => {
                    let word = self.word(stack, &reply);
                    let reason = match word {
                        "stale" => "past its time; the source did not answer",
                        _ => "",
                    };
                    answer(stack, word, reason, Some(reply.indicator), began)
                }
                Err(error) => answer(stack, error.label(), &error.to_string(), None, began),
            });
        }
        let of = stacks.len();
        Asked::Sources { told: heard, of }
    }

    /// The word for an answer that was asked for.
    fn word(&self, stack: &Stack, reply: &super::Reply) -> &'static str {
        if !reply.cached {
            return "fresh";
        }
        let ttl = stack.profile.ttl.of(reply.indicator.verdict);
        if self.inner.clock.now() < reply.indicator.asked_at.after(ttl) {
            "cache"
        } else {
            "stale"
        }
    }

    fn hit(&self, source: &'static str) {
        let hits = &self.inner.metrics.intel_cache_hits;
        hits.get_or_create(&SourceLabels { source }).inc();
    }

    fn held_back(&self, stack: &Stack, result: &'static str) {
        let source = stack.profile.name;
        stack.tally.held_back(result);
        let requests = &self.inner.metrics.intel_requests;
        requests.get_or_create(&IntelLabels { source, result }).inc();
    }

    /// How everything stands.
    pub fn status(&self) -> IntelStatus {
        let inner = &self.inner;
        let now = inner.clock.now();
        let [entries, capacity, evicted, unwritten] = inner.shelf.tally();
        let stored = inner.store.as_ref().map(Store::tally).unwrap_or_default();
        IntelStatus {
            enabled: inner.enabled,
            sources: inner
                .known
                .iter()
                .map(|(name, known)| self.source(name, known, now))
                .collect(),
            cache: CacheStatus {
                entries,
                capacity,
                evicted,
                expired_in_store: stored.intel_expired,
                evicted_in_store: stored.intel_evicted,
                unwritten,
            },
            redis: inner.redis.as_ref().map(|redis| redis.status()),
        }
    }

    fn source(&self, name: &str, known: &Known, now: Timestamp) -> SourceStatus {
        use std::sync::atomic::Ordering::Relaxed;
        let mut status = SourceStatus {
            name: name.to_owned(),
            enabled: false,
            key: known.key,
            weight: known.weight,
            docs: String::new(),
            breaker: crate::types::BreakerStatus::default(),
            quota: Vec::new(),
            paused_until: None,
            cache_hits: 0,
            cache_misses: 0,
            cache_stale: 0,
            cache_entries: 0,
            requests: std::collections::BTreeMap::new(),
            last_answer_at: None,
            last_error: None,
        };
        let Some(Enabled { stack, .. }) = self.inner.stacks.iter().find(|s| s.stack.profile.name == name) else {
            return status;
        };
        let counts = stack.tally.counts();
        let cache: &Cache = &stack.cache;
        status.enabled = true;
        stack.profile.docs.clone_into(&mut status.docs);
        status.breaker = stack.gate.status(Instant::now());
        status.quota = stack.meter.status(now);
        status.paused_until = stack.meter.paused_until(now);
        status.cache_hits = cache.tally.hits.load(Relaxed);
        status.cache_misses = cache.tally.misses.load(Relaxed);
        status.cache_stale = cache.tally.stale.load(Relaxed);
        status.cache_entries = self.inner.shelf.held(name);
        status.requests = counts
            .requests
            .iter()
            .map(|(word, n)| ((*word).to_owned(), *n))
            .collect();
        status.last_answer_at = counts.last_answer_at;
        status.last_error = counts.last_error;
        status
    }
}

impl fmt::Debug for Intel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intel")
            .field("enabled", &self.inner.enabled)
            .finish_non_exhaustive()
    }
}

impl Upkeep {
    /// Writes down what is learnt, holds the connection to Redis, and tells what is left of each quota, until every
    /// [`Intel`] is gone and all is written.
    pub async fn run(self) {
        let redis = async {
            match &self.redis {
                Some(link) => link.run().await,
                None => std::future::pending().await,
            }
        };
        let tell = async {
            for meter in &self.meters {
                // Whoever asks tries again, and says why it fails.
                let _ = meter.ready(self.store.as_ref(), &self.clock).await;
            }
            loop {
                for meter in &self.meters {
                    let left = meter.remaining(self.clock.now());
                    let source = meter.source();
                    if let Some(left) = left {
                        let gauge = self
                            .metrics
                            .intel_quota_remaining
                            .get_or_create(&SourceLabels { source });
                        gauge.set(i64::try_from(left).unwrap_or(i64::MAX));
                    }
                }
                sleep(TELL).await;
            }
        };
        tokio::select! {
            () = self.keeper.run() => {}
            () = redis => {}
            () = tell => {}
        }
    }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upkeep")
    }
}

/// Those of the clients that are to be asked, wrapped, in the order of the configuration.
fn enabled(config: &IntelConfig, clients: Vec<Box<dyn IntelSource>>, deps: &Deps) -> Vec<Enabled> {
    let mut clients: Vec<_> = clients.into_iter().map(Some).collect();
    let on = config
        .sources
        .each()
        .into_iter()
        .filter(|(_, source)| config.enabled && source.on());
    on.filter_map(|(name, source)| {
        let client = clients
            .iter_mut()
            .find(|client| client.as_ref().is_some_and(|c| c.profile().name == name))?
            .take()?;
        Some(Enabled {
            stack: assemble(client, source, deps),
            weight: source.weight,
        })
    })
    .collect()
}

fn answer(stack: &Stack, result: &str, reason: &str, indicator: Option<Indicator>, began: Instant) -> Answer {
    Answer {
        source: stack.profile.name.to_owned(),
        indicator,
        result: result.to_owned(),
        reason: reason.to_owned(),
        took_ms: began.elapsed().as_millis() as u64,
    }
}
