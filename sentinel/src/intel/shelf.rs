//! Where answers are kept: in memory, and from there in the database and the shared Redis.

use super::Profile;
use super::clock::{WallClock, between};
use super::keeper::Keep;
use super::redis::Link;
use crate::store::Store;
use crate::types::{Indicator, KeptAnswer, Timestamp};
use futures_util::FutureExt;
use moka::future::Cache;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long a look-up in the database may take; it is given up then, and the source asked.
const READ: Duration = Duration::from_millis(100);
/// How far ahead of our clock an answer may lie: that of a clock that was set back, or of another sentinel's.
pub(super) const AHEAD: Duration = Duration::from_mins(5);
/// An answer is of use, ever less, for this many times its time to live.
pub(super) const LIVES: u32 = 4;

/// Where it was found, and how good it is still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Within its time to live.
    Fresh,
    /// Beyond, but better than nothing.
    Stale,
}

/// The age of an answer; `None` where it is of no use any more.
pub(super) fn age(kept: &KeptAnswer, now: Timestamp) -> Option<Age> {
    let asked_at = kept.indicator.asked_at;
    if asked_at > now.after(AHEAD) {
        return None;
    }
    if now < kept.expires_at {
        return Some(Age::Fresh);
    }
    let ttl = between(asked_at, kept.expires_at);
    (between(asked_at, now) < ttl * LIVES).then_some(Age::Stale)
}

/// What is left of the confidence of an answer that is `age` old and holds for `ttl`: all of it within its time to live,
/// then half for every further time to live, `confidence · 2^-((age - ttl) / ttl)`; nothing from four of them on.
pub(super) fn confidence(confidence: f64, age: Duration, ttl: Duration) -> f64 {
    let lives = age.as_secs_f64() / ttl.as_secs_f64().max(f64::MIN_POSITIVE);
    if lives >= f64::from(LIVES) {
        return 0.0;
    }
    confidence * (-(lives - 1.0).max(0.0)).exp2()
}

/// The indicator of an answer, with the confidence it deserves now.
pub(super) fn told(kept: &KeptAnswer, now: Timestamp) -> Indicator {
    let mut indicator = kept.indicator.clone();
    let asked_at = indicator.asked_at;
    let ttl = between(asked_at, kept.expires_at);
    indicator.confidence = confidence(indicator.confidence, between(asked_at, now), ttl);
    indicator
}

type Key = (&'static str, IpAddr);

/// Answers of all sources by source and address, bounded in memory: the least used makes room, and is counted.
pub(super) struct Shelf {
    memory: Cache<Key, Arc<KeptAnswer>>,
    capacity: u64,
    entries: Arc<BTreeMap<&'static str, AtomicU64>>,
    evicted: Arc<AtomicU64>,
    clock: WallClock,
    store: Option<Store>,
    redis: Option<Arc<Link>>,
    keep: Keep,
}

impl Shelf {
    pub(super) fn new(
        sources: impl IntoIterator<Item = &'static str>,
        capacity: usize,
        clock: WallClock,
        store: Option<Store>,
        redis: Option<Arc<Link>>,
        keep: Keep,
    ) -> Self {
        let entries: Arc<BTreeMap<_, AtomicU64>> =
            Arc::new(sources.into_iter().map(|name| (name, AtomicU64::new(0))).collect());
        let evicted = Arc::<AtomicU64>::default();
        let (counts, pushed_out) = (Arc::clone(&entries), Arc::clone(&evicted));
        let memory = Cache::builder()
            .max_capacity(capacity as u64)
            .eviction_listener(move |key: Arc<Key>, _, cause| {
                if let Some(count) = counts.get(key.0) {
                    count.fetch_sub(1, Relaxed);
                }
                if cause == moka::notification::RemovalCause::Size {
                    pushed_out.fetch_add(1, Relaxed);
                }
            })
            .build();
        Self {
            memory,
            capacity: capacity as u64,
            entries,
            evicted,
            clock,
            store,
            redis,
            keep,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is in memory and of use.
    pub(super) async fn at_hand(&self, source: &'static str, ip: IpAddr) -> Option<(Arc<KeptAnswer>, Age)> {
        let kept = self.memory.get(&(source, ip)).await?;
        let age = age(&kept, self.now())?;
        Some((kept, age))
    }

    /// What is in memory and within its time, without waiting for anything.
    pub(super) fn glance(&self, source: &'static str, ip: IpAddr) -> Option<Arc<KeptAnswer>> {
        let found = self.at_hand(source, ip).now_or_never().flatten();
        found.and_then(|(kept, age)| (age == Age::Fresh).then_some(kept))
    }

    /// What is known anywhere and of use: memory first, then database and Redis, each given little time.
    pub(super) async fn find(&self, profile: &Profile, ip: IpAddr) -> Option<(Arc<KeptAnswer>, Age)> {
        let source = profile.name;
        let near = self.at_hand(source, ip).await;
        if matches!(near, Some((_, Age::Fresh))) || (self.store.is_none() && self.redis.is_none()) {
            return near;
        }
        let (stored, shared) = tokio::join!(self.stored(source, ip), self.shared(profile, ip));
        let now = self.now();
        let best = [stored, shared]
            .into_iter()
            .flatten()
            .filter(|kept| kept.indicator.source == source && kept.indicator.ip.to_canonical() == ip)
            .map(|mut kept| {
                // Whatever was written there, it holds for no longer than it would today.
                let ttl = profile.ttl.of(kept.indicator.verdict);
                kept.expires_at = kept.expires_at.min(kept.indicator.asked_at.after(ttl));
                kept
            })
            .filter_map(|kept| age(&kept, now).map(|age| (Arc::new(kept), age)))
            .chain(near)
            .max_by_key(|(kept, _)| kept.indicator.asked_at)?;
        self.remember(source, ip, Arc::clone(&best.0)).await;
        Some(best)
    }

    async fn stored(&self, source: &'static str, ip: IpAddr) -> Option<KeptAnswer> {
        let look = self.store.as_ref()?.intel_answer(source, ip);
        match tokio::time::timeout(READ, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(source, %error, "an answer kept in the database could not be read");
                None
            }
            Err(_) => None,
        }
    }

    async fn shared(&self, profile: &Profile, ip: IpAddr) -> Option<KeptAnswer> {
        self.redis.as_ref()?.get(profile, ip, self.now()).await
    }

    /// Keeps an answer everywhere.
    pub(super) async fn put(&self, source: &'static str, indicator: Indicator, ttl: Duration) {
        if ttl.is_zero() {
            return;
        }
        let ip = indicator.ip.to_canonical();
        let expires_at = indicator.asked_at.after(ttl);
        let kept = Arc::new(KeptAnswer { indicator, expires_at });
        self.remember(source, ip, Arc::clone(&kept)).await;
        self.keep.answer(kept);
    }

    async fn remember(&self, source: &'static str, ip: IpAddr, kept: Arc<KeptAnswer>) {
        if let Some(count) = self.entries.get(source) {
            count.fetch_add(1, Relaxed);
        }
        self.memory.insert((source, ip), kept).await;
    }

    /// Answers of one source in memory.
    pub(super) fn held(&self, source: &str) -> u64 {
        self.entries.get(source).map_or(0, |count| count.load(Relaxed))
    }

    /// Answers in memory, how many there may be, how many were pushed out, and notes that were not written.
    pub(super) fn tally(&self) -> [u64; 4] {
        let held = self.entries.values().map(|count| count.load(Relaxed)).sum();
        [held, self.capacity, self.evicted.load(Relaxed), self.keep.lost()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Keeper;
    use super::super::tests::{IP, Scripted};
    use super::*;

    #[test]
    fn confidence_holds_for_its_time_and_then_halves_with_every_further_one() {
        let hours = |h: f64| Duration::from_secs_f64(h * 3_600.0);
        for (age, left) in [
            (0.0, 0.8),
            (6.0, 0.8),
            (12.0, 0.4),
            (18.0, 0.2),
            (23.9, 0.101),
            (24.0, 0.0),
            (900.0, 0.0),
        ] {
            let now = confidence(0.8, hours(age), hours(6.0));
            assert!((now - left).abs() < 1e-3, "{age} h: {now}");
        }
        assert!(confidence(0.8, hours(1.0), Duration::ZERO).abs() < 1e-12);
    }

    #[test]
    fn ages_have_borders() {
        let kept = KeptAnswer {
            indicator: Scripted::bad("x", IP, Timestamp(0)).indicator,
            expires_at: Timestamp(1_000_000_000),
        };
        let at = |nanos| age(&kept, Timestamp(nanos));
        assert_eq!(at(-(AHEAD.as_nanos() as i64) - 1), None, "of a clock that was set back");
        assert_eq!(
            (at(-5), at(0), at(999_999_999)),
            (Some(Age::Fresh), Some(Age::Fresh), Some(Age::Fresh))
        );
        assert_eq!(
            (at(1_000_000_000), at(3_999_999_999)),
            (Some(Age::Stale), Some(Age::Stale))
        );
        assert_eq!((at(4_000_000_000), at(i64::MAX)), (None, None));
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_makes_room_is_counted() {
        let clock = WallClock::by(|| Timestamp(0));
        let (keep, _keeper) = Keeper::new(clock.clone(), None, None, 10);
        let shelf = Shelf::new(["x", "y"], 100, clock, None, None, keep);
        for n in 0..5_000_u32 {
            let ip = IpAddr::from((0x2d00_0000 + n).to_be_bytes());
            let name = if n % 2 == 0 { "x" } else { "y" };
            let told = Scripted::bad(name, ip, Timestamp(0)).indicator;
            shelf.put(name, told, Duration::from_hours(1)).await;
        }
        shelf.memory.run_pending_tasks().await;
        let [held, capacity, evicted, unwritten] = shelf.tally();
        assert_eq!((held, capacity, evicted), (100, 100, 4_900));
        assert_eq!(shelf.held("x") + shelf.held("y"), 100);
        // The queue to the database has its bound, too: nobody takes from it here.
        assert_eq!(unwritten, 5_000 - super::super::keeper::QUEUE as u64);
        shelf
            .put("x", Scripted::bad("x", IP, Timestamp(0)).indicator, Duration::ZERO)
            .await;
        assert!(shelf.at_hand("x", IP).await.is_none(), "a time to live of zero is none");
    }
}
