//! The order of the wrappers, in one place.

use super::breaker::{Breaker, Gate};
use super::cache::Cache;
use super::clock::WallClock;
use super::counted::{Counted, Tally};
use super::quota::{Books, Meter, Quota};
use super::retry::Retry;
use super::shelf::Shelf;
use super::timeout::Timeout;
use super::{IntelSource, Profile};
use crate::config::SourceConfig;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;

/// What the wrappers of all sources share.
#[derive(Clone)]
pub(super) struct Deps {
    pub(super) clock: WallClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) books: Books,
    /// No further try begins later than this after the question.
    pub(super) retry_within: Duration,
    /// Share of every quota kept for grave alerts.
    pub(super) reserve: f64,
}

/// A source with everything that stands between it and who asks, and what can be told of each layer.
pub(super) struct Stack {
    pub(super) profile: Profile,
    pub(super) cache: Arc<Cache>,
    pub(super) meter: Arc<Meter>,
    pub(super) gate: Arc<Gate>,
    pub(super) tally: Arc<Tally>,
}

impl Stack {
    /// As who asks sees it.
    pub(super) fn source(&self) -> Arc<dyn IntelSource> {
        Arc::<Cache>::clone(&self.cache)
    }
}

/// Wraps a client, from the inside out:
///
/// 1. `timeout`: one request, one bound in time.
/// 2. `quota`: what goes out is counted, so each further try is, and time spent writing it down is not the provider's.
/// 3. `breaker`: a source left alone spends no quota; a spent quota is no failure.
/// 4. `counted`: each try by its result, those held back by breaker and quota too.
/// 5. `retry`: only what failed by chance; an open breaker and a spent quota end it.
/// 6. `cache`: what is known asks nobody, and many who ask at the same time share all of the above.
pub(super) fn assemble(client: Box<dyn IntelSource>, config: &SourceConfig, deps: &Deps) -> Stack {
    let profile = *client.profile();
    let meter = Arc::new(Meter::new(profile.name, config, deps.reserve));
    let (gate, tally) = (Arc::<Gate>::default(), Arc::<Tally>::default());
    let timeout = Timeout::new(client, config.timeout);
    let quota = Quota::new(Box::new(timeout), Arc::clone(&meter), deps.books.clone());
    let breaker = Breaker::new(Box::new(quota), Arc::clone(&gate));
    let (metrics, clock) = (Arc::clone(&deps.metrics), deps.clock.clone());
    let counted = Counted::new(Box::new(breaker), Arc::clone(&tally), metrics, clock);
    let retry = Retry::new(Box::new(counted), deps.retry_within);
    Stack {
        profile,
        cache: Arc::new(Cache::new(Arc::new(retry), Arc::clone(&deps.shelf))),
        meter,
        gate,
        tally,
    }
}
