//! Every try is counted by what became of it.

use super::clock::WallClock;
use super::{IntelError, IntelSource, Profile, Reply};
use crate::metrics::{IntelLabels, Metrics};
use crate::types::{IntelVerdict, LastError, Severity, Timestamp};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was counted; shared with who tells of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    state: Mutex<Counts>,
}

/// Since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// By result; the words are those of [`IntelError::label`].
    pub(super) requests: BTreeMap<&'static str, u64>,
    /// Answers, and those of them that knew the address.
    pub(super) answers: u64,
    pub(super) knowing: u64,
    pub(super) last_answer_at: Option<Timestamp>,
    pub(super) last_error: Option<LastError>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// How often the source knows an address it is asked about, 0 to 1: what was seen, and before much was seen about a
    /// half, as if ten answers had gone before.
    pub(super) fn coverage(&self) -> f64 {
        let counts = self.lock();
        (counts.knowing as f64 + 5.0) / (counts.answers as f64 + 10.0)
    }

    /// Counts a question that was held back with that word.
    pub(super) fn held_back(&self, result: &'static str) {
        *self.lock().requests.entry(result).or_default() += 1;
    }
}

/// Counts; dropped tries as `dropped`.
pub(super) struct Counted {
    inner: Box<dyn IntelSource>,
    tally: Arc<Tally>,
    metrics: Arc<Metrics>,
    clock: WallClock,
}

impl Counted {
    pub(super) fn new(inner: Box<dyn IntelSource>, tally: Arc<Tally>, metrics: Arc<Metrics>, clock: WallClock) -> Self {
        Self {
            inner,
            tally,
            metrics,
            clock,
        }
    }

    fn note(&self, told: &Result<Reply, IntelError>) {
        let mut counts = self.tally.lock();
        match told {
            Ok(reply) => {
                counts.answers += 1;
                counts.knowing += u64::from(reply.indicator.verdict != IntelVerdict::Unknown);
                counts.last_answer_at = Some(self.clock.now());
            }
            // What we held back ourselves hides no cause.
            Err(IntelError::BreakerOpen { .. } | IntelError::Quota { .. }) => {}
            Err(error) => {
                counts.last_error = Some(LastError {
                    at: self.clock.now(),
                    result: error.label().to_owned(),
                    reason: error.to_string(),
                });
            }
        }
    }
}

/// Counts once, whatever happens.
struct Outcome<'a> {
    counted: &'a Counted,
    result: &'static str,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        let (source, result) = (self.counted.inner.profile().name, self.result);
        self.counted.tally.held_back(result);
        let labels = IntelLabels { source, result };
        self.counted.metrics.intel_requests.get_or_create(&labels).inc();
    }
}

impl IntelSource for Counted {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let mut outcome = Outcome {
                counted: self,
                result: "dropped",
            };
            let told = self.inner.ask(ip, severity).await;
            outcome.result = told.as_ref().map_or_else(IntelError::label, |_| "ok");
            self.note(&told);
            told
        })
    }
}
