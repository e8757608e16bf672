//! The way to the store: waits for the disk, but no longer than the deadline, and forgets nothing that is on its way.

use crate::metrics::Metrics;
use crate::store::{Record, Store, StoreError};
use crate::types::{AlertId, DecisionId};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Commits that may be on their way beyond the deadline; past this the newest is lost, counted and said.
const LATE: usize = 256;

/// How long late commits are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Records the database refused for what they are.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) alerts: HashSet<AlertId>,
    pub(super) decisions: HashSet<DecisionId>,
}

/// Commits, in order.
pub(super) struct Memory {
    store: Store,
    metrics: Arc<Metrics>,
    deadline: Duration,
    late: FuturesOrdered<BoxFuture<'static, Refused>>,
    lost: u64,
}

impl Memory {
    pub(super) fn new(store: Store, metrics: Arc<Metrics>, deadline: Duration) -> Self {
        Self {
            store,
            metrics,
            deadline,
            late: FuturesOrdered::new(),
            lost: 0,
        }
    }

    /// The store itself, for commits whose answer somebody else awaits.
    pub(super) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Commits of which nobody knows yet whether they are durable.
    pub(super) fn late(&self) -> usize {
        self.late.len()
    }

    /// Records lost because too many commits were late, since the disk last kept up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns when the records are durable or the deadline has passed. While earlier commits are late nothing is waited
    /// for: order is kept, and a disk that hangs is not paid for twice.
    pub(super) async fn remember(&mut self, records: Vec<Record>) -> Refused {
        if records.is_empty() {
            return Refused::default();
        }
        if self.late.len() >= LATE {
            let items = records.len() as u64;
            self.lost += items;
            self.metrics.dropped("respond", "store_behind", items);
            tracing::error!(
                records = items,
                "not stored: too many commits wait for the disk already"
            );
            return Refused::default();
        }
        let behind = !self.late.is_empty();
        let commit = keep(self.store.clone(), Arc::clone(&self.metrics), records);
        self.late.push_back(Box::pin(commit));
        // Polled once in any case, so that the commit has its place in the store's queue.
        let patience = if behind { Duration::ZERO } else { self.deadline };
        let mut refused = Refused::default();
        let settled = tokio::time::timeout(patience, async {
            while let Some(more) = self.late.next().await {
                refused.alerts.extend(more.alerts);
                refused.decisions.extend(more.decisions);
            }
        })
        .await;
        if settled.is_ok() {
            self.lost = 0;
        } else if !behind {
            tracing::warn!(deadline = ?self.deadline, "the store is slow; going on, its answer is awaited in the background");
        }
        refused
    }

    /// Waits until a late commit was answered; never returns when none is late.
    pub(super) async fn settle(&mut self) {
        match self.late.next().await {
            Some(_) if self.late.is_empty() => {
                self.lost = 0;
                tracing::info!("the store has caught up");
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Gives late commits one more chance before the end; says how many had none.
    pub(super) async fn flush(&mut self) {
        let all = async { while self.late.next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::error!(commits = self.late.len(), "ended before the store answered");
        }
    }
}

/// Keeps the records together; where one of them is refused for what it is, keeps the others one by one.
async fn keep(store: Store, metrics: Arc<Metrics>, records: Vec<Record>) -> Refused {
    let mut refused = Refused::default();
    match store.commit(records.clone()).await {
        Ok(()) => return refused,
        Err(StoreError::Rejected(_)) => {}
        Err(error) => {
            tracing::warn!(%error, "going on before the store has the record");
            return refused;
        }
    }
    let single = records.into_iter().map(|record| {
        let store = &store;
        async move {
            let outcome = store.commit(vec![record.clone()]).await;
            (record, outcome)
        }
    });
    for (record, outcome) in join_all(single).await {
        let Err(error) = outcome else { continue };
        tracing::error!(%error, ?record, "a record is not in the store");
        if !matches!(error, StoreError::Rejected(_)) {
            continue;
        }
        metrics.dropped("respond", "refused_by_store", 1);
        match &record {
            Record::Alert(alert) => {
                refused.alerts.insert(alert.id);
            }
            Record::Decision(decision) => {
                refused.decisions.insert(decision.id);
            }
            // None but the first two is asked for again.
            _ => {}
        }
    }
    refused
}
