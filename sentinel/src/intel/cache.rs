//! Nobody is asked twice.

use super::shelf::{Age, Shelf, told};
use super::{IntelError, IntelSource, Profile, QuotaHint, Reply};
use crate::types::{KeptAnswer, Severity};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

type Flight = Shared<BoxFuture<'static, Result<Reply, IntelError>>>;
type WeakFlight = WeakShared<BoxFuture<'static, Result<Reply, IntelError>>>;

/// Requests under way, by address. Bounded by who waits: one that nobody waits for is dropped with its request.
#[derive(Default)]
struct Flights {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// Requests begun so far: each has its number.
    begun: u64,
    by_ip: BTreeMap<IpAddr, (u64, WeakFlight)>,
}

impl Flights {
    /// Joins the request about `ip` that is under way, or begins one.
    fn join(
        self: &Arc<Self>,
        ip: IpAddr,
        begin: impl FnOnce() -> BoxFuture<'static, Result<Reply, IntelError>>,
    ) -> Flight {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = list.by_ip.get(&ip).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        list.begun += 1;
        let number = list.begun;
        let landing = Landing {
            flights: Arc::clone(self),
            ip,
            number,
        };
        let request = begin();
        let flight = async move {
            let _landing = landing;
            request.await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            list.by_ip.insert(ip, (number, weak));
        }
        flight
    }
}

/// Takes a request off the list when it is over or dropped.
struct Landing {
    flights: Arc<Flights>,
    ip: IpAddr,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut list = self.flights.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list
            .by_ip
            .get(&self.ip)
            .is_some_and(|(number, _)| *number == self.number)
        {
            list.by_ip.remove(&self.ip);
        }
    }
}

/// What a cache has counted.
#[derive(Debug, Default)]
pub(super) struct CacheTally {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) stale: AtomicU64,
}

/// Answers what is known from the shelf; asks once for what many want to know at the same time; and where the source
/// does not answer, tells what it said before, with less confidence (`shelf::confidence`).
pub(super) struct Cache {
    inner: Arc<dyn IntelSource>,
    shelf: Arc<Shelf>,
    flights: Arc<Flights>,
    pub(super) tally: CacheTally,
}

impl Cache {
    pub(super) fn new(inner: Arc<dyn IntelSource>, shelf: Arc<Shelf>) -> Self {
        Self {
            inner,
            shelf,
            flights: Arc::default(),
            tally: CacheTally::default(),
        }
    }

    /// What is known without asking, and whether it is still in time.
    pub(super) async fn find(&self, ip: IpAddr) -> Option<(Reply, Age)> {
        let found = self.shelf.find(self.profile(), ip.to_canonical()).await;
        let counter = match &found {
            Some((_, Age::Fresh)) => &self.tally.hits,
            _ => &self.tally.misses,
        };
        counter.fetch_add(1, Relaxed);
        found.map(|(kept, age)| (self.reply(&kept), age))
    }

    /// Asks. What is known but too old stands in for an answer that does not come.
    ///
    /// # Errors
    /// [`IntelError`]: nobody answered, and nothing is known.
    pub(super) async fn fetch(
        &self,
        ip: IpAddr,
        severity: Severity,
        stale: Option<Reply>,
    ) -> Result<Reply, IntelError> {
        let ip = ip.to_canonical();
        // Somebody may have asked in the meantime.
        if let Some((kept, Age::Fresh)) = self.shelf.at_hand(self.profile().name, ip).await {
            return Ok(self.reply(&kept));
        }
        let mut answer = self.flight(ip, severity).await;
        // A request for a milder alert does not get at what is kept for a grave one.
        if severity == Severity::High && matches!(answer, Err(IntelError::Quota { reserved: true, .. })) {
            answer = self.flight(ip, severity).await;
        }
        match (answer, stale) {
            (Err(_), Some(stale)) => {
                self.tally.stale.fetch_add(1, Relaxed);
                Ok(stale)
            }
            (answer, _) => answer,
        }
    }

    fn flight(&self, ip: IpAddr, severity: Severity) -> Flight {
        self.flights.join(ip, || {
            let (inner, shelf) = (Arc::clone(&self.inner), Arc::clone(&self.shelf));
            async move {
                let reply = inner.ask(ip, severity).await?;
                let profile = inner.profile();
                let ttl = profile.ttl.of(reply.indicator.verdict);
                shelf.put(profile.name, reply.indicator.clone(), ttl).await;
                Ok(reply)
            }
            .boxed()
        })
    }

    fn reply(&self, kept: &KeptAnswer) -> Reply {
        Reply {
            indicator: told(kept, self.shelf.now()),
            cached: true,
            hint: QuotaHint::default(),
        }
    }
}

impl IntelSource for Cache {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            match self.find(ip).await {
                Some((reply, Age::Fresh)) => Ok(reply),
                stale => self.fetch(ip, severity, stale.map(|(reply, _)| reply)).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::WallClock;
    use super::super::keeper::Keeper;
    use super::super::tests::{IP, Scripted};
    use super::*;
    use crate::types::{IntelVerdict, Timestamp};
    use std::sync::atomic::AtomicI64;
    use std::time::Duration;

    struct Rig {
        now: Arc<AtomicI64>,
        source: Scripted,
        cache: Cache,
    }

    impl Rig {
        fn new() -> Self {
            let now = Arc::new(AtomicI64::new(0));
            let at = Arc::clone(&now);
            let clock = WallClock::by(move || Timestamp(at.load(Relaxed)));
            let (keep, _keeper) = Keeper::new(clock.clone(), None, None, 10);
            let shelf = Arc::new(Shelf::new(["x"], 1_000, clock.clone(), None, None, keep));
            let source = Scripted::new("x").clock(move || clock.now());
            let cache = Cache::new(source.boxed().into(), shelf);
            Self { now, source, cache }
        }

        async fn after(&self, hours: u64) -> Result<Reply, IntelError> {
            self.now
                .fetch_add(Duration::from_hours(hours).as_nanos() as i64, Relaxed);
            self.cache.ask(IP, Severity::Low).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_questions_at_once_are_one_request() {
        let rig = Rig::new();
        let _source = rig.source.clone().takes(Duration::from_secs(1));
        let mapped = IpAddr::V6("::ffff:45.83.64.1".parse().unwrap());
        let asks = (0..20).map(|n| rig.cache.ask(if n % 2 == 0 { IP } else { mapped }, Severity::High));
        let told = futures_util::future::join_all(asks).await;
        assert!(
            told.iter()
                .all(|t| t.as_ref().is_ok_and(|r| r.indicator.verdict == IntelVerdict::Malicious))
        );
        assert_eq!(rig.source.begun(), 1);
        assert!(rig.cache.flights.list.lock().unwrap().by_ip.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_lives_as_long_as_somebody_waits_for_it() {
        let rig = Rig::new();
        let source = rig.source.clone().takes(Duration::from_secs(10));
        let patient = rig.cache.ask(IP, Severity::High);
        let hasty = tokio::time::timeout(Duration::from_secs(1), rig.cache.ask(IP, Severity::High));
        let (told, given_up) = tokio::join!(patient, hasty);
        assert!(told.is_ok() && given_up.is_err());
        assert_eq!((source.begun(), source.finished()), (1, 1));
        let other = IpAddr::from([45, 83, 64, 2]);
        let nobody = tokio::time::timeout(Duration::from_secs(1), rig.cache.ask(other, Severity::High)).await;
        assert!(nobody.is_err());
        assert_eq!((source.begun(), source.finished()), (2, 1), "dropped with the question");
        assert!(rig.cache.flights.list.lock().unwrap().by_ip.is_empty());
    }

    #[tokio::test]
    async fn what_is_known_asks_nobody_until_it_is_too_old() {
        let rig = Rig::new();
        assert!(!rig.after(0).await.unwrap().cached);
        assert!(rig.after(5).await.unwrap().cached);
        assert_eq!(rig.source.begun(), 1);
        assert!(!rig.after(2).await.unwrap().cached);
        assert_eq!(rig.source.begun(), 2);
        // "Never heard of it" is an answer, with a time of its own.
        let now = rig.cache.shelf.now();
        let unknown = Reply {
            indicator: crate::types::Indicator::new("x", IP, now),
            cached: false,
            hint: QuotaHint::default(),
        };
        let source = rig.source.clone().answering(move |_| Ok(unknown.clone()));
        assert!(!rig.after(7).await.unwrap().cached);
        let told = rig.after(4).await.unwrap();
        assert!(told.cached && told.indicator.verdict == IntelVerdict::Unknown);
        assert_eq!(source.begun(), 3);
    }

    #[tokio::test]
    async fn what_is_too_old_stands_in_for_a_source_that_fails() {
        let rig = Rig::new();
        let before = rig.after(0).await.unwrap().indicator;
        rig.source.always(Err(IntelError::Status(500)));
        let told = rig.after(12).await.unwrap();
        assert!(told.cached && told.indicator.asked_at == before.asked_at);
        assert!((told.indicator.confidence - before.confidence / 2.0).abs() < 1e-9);
        assert_eq!(rig.cache.tally.stale.load(Relaxed), 1);
        assert_eq!(
            rig.after(12).await,
            Err(IntelError::Status(500)),
            "four times its life: of no use"
        );
        assert_eq!(rig.source.begun(), 3);
    }

    #[tokio::test]
    async fn a_grave_question_does_not_share_the_refusal_of_a_mild_one() {
        let rig = Rig::new();
        let (period, reserved) = ("day", true);
        rig.source.then(vec![Err(IntelError::Quota { period, reserved })]);
        let _source = rig.source.clone().takes(Duration::from_millis(20));
        let (mild, grave) = tokio::join!(rig.cache.ask(IP, Severity::Low), rig.cache.ask(IP, Severity::High));
        assert_eq!(mild, Err(IntelError::Quota { period, reserved }));
        assert!(grave.is_ok());
        assert_eq!(rig.source.begun(), 2);
    }
}
