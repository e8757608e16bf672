//! Keeps the facts current: reads again whenever the kernel announces a change, and every few seconds for
//! the lists of name servers, which announce nothing.

use super::endpoints::{Endpoint, Endpoints, Found, LOOK_UP};
use super::facts::HostFacts;
use super::netlink::{HostError, read};
use super::operator;
use super::rtnetlink::Announcements;
use super::sessions::{Blind, Known, Sessions};
use crate::types::{Component, Condition, Health};
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the resolvers, and who is logged in, are read again.
const REREAD: Duration = Duration::from_secs(5);
/// Announcements that come within this time of each other are answered by one reading.
const SETTLE: Duration = Duration::from_millis(50);
/// Rest after a reading, as a multiple of what it took: a router's table that changes all the time is read over and over.
const REST: u32 = 2;

/// The room: the ear for announcements and the latest facts.
pub struct HostRoom {
    /// `None` where there is none: then all is read every few seconds.
    announcements: Option<Announcements>,
    /// Not before then is anything read for an announcement.
    rested: Instant,
    facts: watch::Sender<Arc<HostFacts>>,
    /// As of the start: protected as long as we run.
    operators: BTreeSet<IpAddr>,
    sessions: Sessions,
    /// Why sessions may be open that are not seen.
    blind: Option<Blind>,
    endpoints: Endpoints,
    others: Option<watch::Receiver<Vec<Endpoint>>>,
}

impl HostRoom {
    /// Opens netlink and reads the facts once. `first` is what the thread does first that reads who is logged in.
    ///
    /// # Errors
    /// [`HostError`] when anything of it cannot be read: an agent that does not know whom to protect does not start.
    pub async fn open(
        endpoints: Vec<Endpoint>,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, watch::Receiver<Arc<HostFacts>>), HostError> {
        let (facts, watcher) = watch::channel(Arc::default());
        let mut room = Self {
            announcements: None,
            rested: Instant::now(),
            facts,
            operators: operator::peers(),
            sessions: Sessions::begin(first).map_err(HostError::Sessions)?,
            blind: None,
            endpoints: Endpoints::new(endpoints),
            others: None,
        };
        room.refresh().await?;
        Ok((room, watcher))
    }

    /// Has it hear when other servers are talked to.
    #[must_use]
    pub fn following(self, others: watch::Receiver<Vec<Endpoint>>) -> Self {
        Self {
            others: Some(others),
            ..self
        }
    }

    /// Others, when they are told; never, where nobody tells.
    async fn next_endpoints(others: &mut Option<watch::Receiver<Vec<Endpoint>>>) -> Vec<Endpoint> {
        if let Some(told) = others
            && told.changed().await.is_ok()
        {
            return told.borrow_and_update().clone();
        }
        *others = None;
        std::future::pending().await
    }

    async fn refresh(&mut self) -> Result<(), HostError> {
        // What is announced from here on may not be in what is read.
        let deaf = match &self.announcements {
            Some(announcements) => {
                announcements.forget();
                None
            }
            None => match Announcements::open() {
                Ok(announcements) => {
                    self.announcements = Some(announcements);
                    None
                }
                Err(error) => Some(HostError::Announcements(error)),
            },
        };
        let began = Instant::now();
        let fresh = read().await;
        self.rested = Instant::now() + began.elapsed() * REST;
        let Known { peers, blind, unread } = self.sessions.look().await;
        self.blind = blind;
        // What could not be read stays as it was; the rest need not wait for it.
        let (fresh, refused) = match fresh {
            Ok(fresh) => (fresh, None),
            Err(error) => ((**self.facts.borrow()).clone(), Some(error)),
        };
        let fresh = Arc::new(HostFacts {
            operators: self.operators.clone(),
            sessions: peers,
            endpoints: self.endpoints.addresses(),
            ..fresh
        });
        self.facts.send_if_modified(|old| {
            let changed = *old != fresh;
            if changed {
                tracing::info!(
                    addresses = fresh.addresses.len(),
                    gateways = ?fresh.gateways,
                    resolvers = ?fresh.resolvers,
                    operators = ?fresh.operators,
                    sessions = ?fresh.sessions,
                    endpoints = fresh.endpoints.len(),
                    interface = ?fresh.default_interface,
                    "host facts read"
                );
                *old = fresh;
            }
            changed
        });
        let amiss = refused.or(unread.map(HostError::Sessions)).or(deaf);
        amiss.map_or(Ok(()), Err)
    }

    /// Waits until something is announced; for ever, where nobody hears it.
    async fn heard(announcements: Option<&Announcements>) -> io::Result<()> {
        match announcements {
            Some(announcements) => announcements.heard().await,
            None => std::future::pending().await,
        }
    }

    /// Runs until cancelled. A reading that fails leaves the last facts in force, is said in `health` and tried again.
    pub async fn run(mut self, health: watch::Sender<Arc<Health>>, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(REREAD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A resolver that takes its time delays nothing else.
        let mut looking: BoxFuture<'static, Found> = Box::pin(self.endpoints.look_up());
        // When what was announced is read.
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                found = &mut looking => {
                    let wait = tokio::time::sleep(LOOK_UP);
                    let changed = self.endpoints.take(found, Instant::now());
                    let next = self.endpoints.look_up();
                    looking = Box::pin(async move {
                        wait.await;
                        next.await
                    });
                    if !changed {
                        continue;
                    }
                }
                list = Self::next_endpoints(&mut self.others) => {
                    self.endpoints.set(list);
                    looking = Box::pin(self.endpoints.look_up());
                    continue;
                }
                () = cancel.cancelled() => return,
                heard = Self::heard(self.announcements.as_ref()), if due.is_none() => {
                    if heard.is_err() {
                        self.announcements = None;
                    }
                    due = Some(self.rested.max(Instant::now() + SETTLE));
                    continue;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                _ = timer.tick() => {}
            }
            due = None;
            let refreshed = self.refresh().await;
            let condition = condition(refreshed.as_ref().err(), self.blind, &self.facts.borrow());
            let news = health.send_if_modified(|health| Health::note(health, Component::Host, condition));
            match (refreshed, self.blind) {
                (Err(error), _) => tracing::warn!(%error, "the host is not known as it should be"),
                (Ok(()), Some(blind)) if news => {
                    let [cause, mend] = blind.told();
                    tracing::warn!(mend, "{cause}");
                }
                (Ok(()), _) => {}
            }
        }
    }
}

fn condition(error: Option<&HostError>, blind: Option<Blind>, facts: &HostFacts) -> Condition {
    match (error, blind) {
        (None, None) => Condition::Ok {
            detail: format!(
                "{} addresses, {} gateways, {} resolvers protected",
                facts.addresses.len(),
                facts.gateways.len(),
                facts.resolvers.len()
            ),
        },
        (None, Some(blind)) => {
            let [cause, mend] = blind.told().map(str::to_owned);
            Condition::Degraded { cause, mend }
        }
        (Some(error), _) => Condition::Degraded {
            cause: format!("{error}; what was known before stays protected, a change may be missed or seen late"),
            mend: "tried again within 5 s; list what must never be blocked under `allowlist`".into(),
        },
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
