//! A step from addresses to the prefix they are of, with everything it followed from, so that it can be come to again.

use super::ceiling::Ceiling;
use super::judged::{Ground, difference};
use super::{Guards, Judge};
use crate::types::{Decision, DecisionId, Mint, Peers, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Decisions, and peers, up to which a step can be come to again; beyond that nothing is kept of it.
pub const WIDENED: usize = 4096;

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Widened {
    /// When.
    pub at: Timestamp,
    /// The decision it followed from.
    pub cause: Decision,
    /// The network that a database had the address in.
    pub network: Option<IpNet>,
    /// Decisions in force: those of the prefix that count, and those on it and around it.
    pub about: Vec<Decision>,
    /// Peers of the prefix that behaved well lately.
    pub peers: Peers,
    /// Decisions of detectors that began within the last minute, anywhere.
    pub begun: usize,
    /// Decisions of detectors in force, anywhere.
    pub active: usize,
    /// What came of it.
    pub outcome: Decision,
}

impl Widened {
    /// Whether it is small enough to be kept.
    pub fn can_be_kept(&self) -> bool {
        self.about.len() <= WIDENED && self.peers.len() <= WIDENED
    }

    /// Comes to the step again.
    ///
    /// # Errors
    /// What comes out differently, in words.
    pub fn verify(&self, ground: &Ground) -> Result<(), String> {
        let mut judge = Judge::new(&ground.response, ground.mode, Mint::Counted(0));
        judge.stopped = ground.stopped;
        for decision in &self.about {
            judge.ledger.put(decision.clone());
        }
        judge.peers = Arc::new(self.peers.clone());
        judge.ceiling = Ceiling::with(self.begun, self.at);
        judge.elsewhere = self.active.saturating_sub(judge.ledger.detectors());
        let guards = Guards::given(ground.protected.clone());
        let again = judge.widened(&self.cause, self.network, &guards, self.at);
        let mut again = again.ok_or("no prefix follows from it")?.outcome;
        let known = |id: DecisionId| self.about.iter().any(|d| d.id == id);
        if !known(again.id) && !known(self.outcome.id) {
            again.id = self.outcome.id;
        }
        if again == self.outcome {
            return Ok(());
        }
        Err(difference(&self.outcome, &again))
    }
}
