//! Requests are spent as the provider allows, and never twice.
//!
//! In: questions, what providers tell of their quota. Out: requests, or [`IntelError::Quota`]. Invariant: a request is
//! written down before it goes out, so that no crash overspends. Deliberately elsewhere: which question is worth a
//! request (`scheduler`).

mod account;
mod meter;
mod recent;

pub(super) use account::Period;
pub use meter::Purse;
pub(super) use meter::{Meter, WINDOW};

use super::clock::WallClock;
use super::keeper::Keep;
use super::redis::{Link, Shared, Spending};
use super::{IntelError, IntelSource, Profile, Reply};
use crate::store::Store;
use crate::types::{Condition, Severity};
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for the database: until what was spent before is read, and until it is written down.
pub(super) const WRITTEN: Duration = Duration::from_millis(500);

/// Where spent requests are written down.
#[derive(Clone)]
pub(super) struct Books {
    pub(super) clock: WallClock,
    pub(super) store: Option<Store>,
    pub(super) redis: Option<Arc<Link>>,
    pub(super) keep: Keep,
}

/// Lets a request out after it was counted in memory, in the shared Redis where there is one, and durably in the
/// database. What is lost in a crash are requests that were counted and not made: at most those under way. While the
/// disk takes no records, nobody is asked.
pub(super) struct Quota {
    inner: Box<dyn IntelSource>,
    meter: Arc<Meter>,
    books: Books,
}

impl Quota {
    pub(super) fn new(inner: Box<dyn IntelSource>, meter: Arc<Meter>, books: Books) -> Self {
        Self { inner, meter, books }
    }

    /// Counts one request everywhere; what cannot be written down is given back.
    async fn spend(&self, severity: Severity) -> Result<Turn<'_>, IntelError> {
        if let Some(store) = &self.books.store {
            ready_to_write(store)?;
        }
        self.meter.ready(self.books.store.as_ref(), &self.books.clock).await?;
        self.meter.take(self.books.clock.now(), severity)?;
        let mut turn = Turn::new(&self.meter);
        if let Some(redis) = &self.books.redis {
            turn.asked = self.meter.shared(severity);
            match redis.spend(self.meter.source(), &turn.asked).await {
                Some(Spending::Granted(counts)) => {
                    turn.told();
                    turn.shared = true;
                    self.meter.adopt(&turn.asked, &counts);
                }
                Some(Spending::Refused { period, counts }) => {
                    turn.told();
                    self.meter.give_back(false);
                    self.meter.adopt(&turn.asked, &counts);
                    let grave = self.meter.purse(self.books.clock.now(), Severity::High);
                    return Err(IntelError::Quota {
                        period: period.as_str(),
                        reserved: severity != Severity::High && grave.spent.is_none(),
                    });
                }
                None => turn.unheard(),
            }
        } else {
            turn.told();
        }
        if let Some(store) = &self.books.store {
            let rows = self.meter.rows().into_iter().map(crate::store::Record::IntelQuota);
            let written = tokio::time::timeout(WRITTEN, store.commit(rows.collect())).await;
            let cause = match written {
                Ok(Ok(())) => return Ok(turn),
                Ok(Err(error)) => error.to_string(),
                Err(_) => late(),
            };
            self.give_back(&turn).await;
            return Err(unwritten(&cause));
        }
        Ok(turn)
    }

    /// Takes back what was counted and is not asked for. The row may be written still: then a restart counts one too
    /// many, never one too few.
    async fn give_back(&self, turn: &Turn<'_>) {
        self.meter.give_back(self.books.redis.is_some() && !turn.shared);
        if let Some(redis) = self.books.redis.as_ref().filter(|_| turn.shared) {
            redis.give_back(self.meter.source(), &turn.asked).await;
        }
    }
}

/// Refuses while the disk does: what is counted then would have to be given back.
fn ready_to_write(store: &Store) -> Result<(), IntelError> {
    match &*store.condition().borrow() {
        Condition::Ok { .. } => Ok(()),
        Condition::Degraded { cause, .. } => Err(unwritten(cause)),
    }
}

fn late() -> String {
    format!("not within {} ms", WRITTEN.as_millis())
}

fn unread(cause: &str) -> IntelError {
    IntelError::Unavailable(format!("nobody is asked while spent quota cannot be read: {cause}"))
}

fn unwritten(cause: &str) -> IntelError {
    IntelError::Unavailable(format!(
        "nobody is asked while spent quota cannot be written down: {cause}"
    ))
}

/// One request under way. Dropped before Redis has answered, it may not have been counted there.
struct Turn<'a> {
    meter: &'a Meter,
    asked: Vec<Shared>,
    told: bool,
    /// Whether Redis has counted it.
    shared: bool,
}

impl<'a> Turn<'a> {
    fn new(meter: &'a Meter) -> Self {
        Self {
            meter,
            asked: Vec::new(),
            told: false,
            shared: false,
        }
    }

    fn told(&mut self) {
        if !self.told {
            self.told = true;
            self.meter.told();
        }
    }

    fn unheard(&mut self) {
        if !self.told {
            self.meter.owe(&self.asked);
            self.told();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.unheard();
        self.meter.done();
    }
}

impl IntelSource for Quota {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let turn = self.spend(severity).await?;
            let told = self.inner.ask(ip, severity).await;
            drop(turn);
            let now = self.books.clock.now();
            let learnt = match &told {
                Ok(reply) => self.meter.answered(now, reply.hint),
                Err(IntelError::RateLimited { retry_after, hint }) => self.meter.refused(now, *retry_after, *hint),
                Err(_) => false,
            };
            if learnt {
                self.books.keep.quota(self.meter.rows());
            }
            told
        })
    }
}
