//! Keeps the facts current: reads again whenever the kernel announces a change, and every few seconds for
//! the lists of name servers, which announce nothing.

use super::endpoints::{Endpoint, Endpoints, Found, LOOK_UP};
use super::facts::HostFacts;
use super::netlink::{HostError, read};
use super::operator;
use super::sessions::Sessions;
use crate::types::{Component, Condition, Health};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::BTreeSet;
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

/// The room: a netlink connection and the latest facts.
pub struct HostRoom {
    connection: BoxFuture<'static, ()>,
    announcements: BoxStream<'static, ()>,
    handle: Handle,
    facts: watch::Sender<Arc<HostFacts>>,
    /// As of the start: protected as long as we run.
    operators: BTreeSet<IpAddr>,
    sessions: Sessions,
    endpoints: Endpoints,
    others: Option<watch::Receiver<Vec<Endpoint>>>,
}

impl HostRoom {
    /// Opens netlink and reads the facts once. `first` is what the thread does first that reads who is logged in.
    ///
    /// # Errors
    /// [`HostError`] when netlink cannot be opened or refuses.
    pub async fn open(
        endpoints: Vec<Endpoint>,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, watch::Receiver<Arc<HostFacts>>), HostError> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let (facts, watcher) = watch::channel(Arc::default());
        let mut room = Self {
            connection: Box::pin(connection),
            announcements: Box::pin(messages.map(|_| ())),
            handle,
            facts,
            operators: operator::peers(),
            sessions: Sessions::begin(first)?,
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
        let fresh = tokio::select! {
            () = &mut self.connection => return Err(HostError::Closed),
            fresh = read(&self.handle) => fresh?,
        };
        let sessions = self.sessions.look().await;
        let fresh = Arc::new(HostFacts {
            operators: self.operators.clone(),
            sessions,
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
        Ok(())
    }

    /// Runs until cancelled. A reading that fails leaves the last facts in force, is said in `health` and tried again.
    ///
    /// # Errors
    /// [`HostError::Closed`] when the connection to the kernel is gone.
    pub async fn run(mut self, health: watch::Sender<Arc<Health>>, cancel: CancellationToken) -> Result<(), HostError> {
        let mut timer = tokio::time::interval(REREAD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A resolver that takes its time delays nothing else.
        let mut looking: BoxFuture<'static, Found> = Box::pin(self.endpoints.look_up());
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
                () = cancel.cancelled() => return Ok(()),
                () = &mut self.connection => return Err(HostError::Closed),
                announced = self.announcements.next() => {
                    if announced.is_none() {
                        return Err(HostError::Closed);
                    }
                    tokio::time::sleep(SETTLE).await;
                    while let Some(Some(())) = futures_util::FutureExt::now_or_never(self.announcements.next()) {}
                }
                _ = timer.tick() => {}
            }
            let refreshed = self.refresh().await;
            let condition = condition(refreshed.as_ref().err(), &self.facts.borrow());
            health.send_if_modified(|health| Health::note(health, Component::Host, condition));
            match refreshed {
                Err(HostError::Closed) => return Err(HostError::Closed),
                Err(error) => tracing::warn!(%error, "host facts kept as they were"),
                Ok(()) => {}
            }
        }
    }
}

fn condition(error: Option<&HostError>, facts: &HostFacts) -> Condition {
    match error {
        None => Condition::Ok {
            detail: format!(
                "{} addresses, {} gateways, {} resolvers protected",
                facts.addresses.len(),
                facts.gateways.len(),
                facts.resolvers.len()
            ),
        },
        Some(error) => Condition::Degraded {
            cause: format!("{error}; what was known before stays protected, a change may be missed"),
            mend: "tried again within 5 s; list what must never be blocked under `allowlist`".into(),
        },
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
