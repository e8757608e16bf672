//! How the sinks are, as one part of `/health`.

use crate::types::{Component, Condition, Health};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What is wrong, and the mend.
type Wrong = (String, String);

/// Shared by the sinks.
#[derive(Debug)]
pub(super) struct Board {
    sinks: Mutex<BTreeMap<&'static str, Option<Wrong>>>,
    health: watch::Sender<Arc<Health>>,
}

impl Board {
    pub(super) fn new(sinks: &[&'static str], health: watch::Sender<Arc<Health>>) -> Self {
        let board = Self {
            sinks: Mutex::new(sinks.iter().map(|name| (*name, None)).collect()),
            health,
        };
        board.publish(&board.sinks.lock().unwrap_or_else(PoisonError::into_inner));
        board
    }

    /// Notes that a sink takes what it gets.
    pub(super) fn good(&self, sink: &'static str) {
        if self.note(sink, None) {
            tracing::info!(sink, "export: it takes events again");
        }
    }

    /// Notes what is wrong with a sink.
    pub(super) fn bad(&self, sink: &'static str, cause: &str, mend: &str) {
        if self.note(sink, Some((cause.to_owned(), mend.to_owned()))) {
            tracing::warn!(sink, cause, mend, "export");
        }
    }

    /// Whether it is news.
    fn note(&self, sink: &'static str, wrong: Option<Wrong>) -> bool {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        if sinks.get(sink) == Some(&wrong) {
            return false;
        }
        sinks.insert(sink, wrong);
        self.publish(&sinks);
        true
    }

    fn publish(&self, sinks: &BTreeMap<&'static str, Option<Wrong>>) {
        let wrong = sinks
            .iter()
            .filter_map(|(name, wrong)| wrong.as_ref().map(|(cause, mend)| (name, cause, mend)));
        let (causes, mends): (Vec<_>, Vec<_>) = wrong
            .map(|(name, cause, mend)| (format!("{name}: {cause}"), format!("{name}: {mend}")))
            .unzip();
        let condition = if causes.is_empty() {
            let names: Vec<_> = sinks.keys().copied().collect();
            Condition::Ok {
                detail: names.join(", "),
            }
        } else {
            Condition::Degraded {
                cause: causes.join("; "),
                mend: mends.join("; "),
            }
        };
        self.health
            .send_if_modified(|board| Health::note(board, Component::Export, condition));
    }
}
