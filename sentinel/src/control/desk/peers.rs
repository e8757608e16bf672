//! Who is who: good peers for the judge, and sessions that protect their peers.

use super::Desk;
use crate::respond::Enforcer;
use crate::types::{Action, Decision, Origin};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl<E: Enforcer> Desk<E> {
    /// Names who was under a detector's decision when the agent last ran: see [`Desk::protect`].
    pub fn expect(&mut self, remembered: &[(Decision, Option<Action>)]) {
        let accused = remembered.iter().map(|(decision, _)| decision);
        self.accused = accused.filter(|d| casts_doubt(d)).map(|d| d.target).collect();
    }

    /// Takes in who behaved well lately, where that changed.
    pub(super) fn meet_peers(&mut self) {
        if self.deps.peers.has_changed().unwrap_or(false) {
            let peers = Arc::clone(&self.deps.peers.borrow_and_update());
            self.judge.set_peers(peers);
        }
    }

    /// The sessions that protect their peers.
    pub(super) fn trusted(&mut self, sessions: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let suspect = |ip: IpAddr| {
            let target = IpNet::from(ip);
            let before = self.accused.iter().any(|net| net.contains(&target));
            before || self.judge.covering(target).any(casts_doubt)
        };
        let known = &self.sessions;
        let trusted = sessions.iter().filter(|ip| known.contains(*ip) || !suspect(**ip));
        let trusted: BTreeSet<IpAddr> = trusted.copied().collect();
        let only_counted = |ip: &&IpAddr| {
            let mut about = self.judge.covering(IpNet::from(**ip));
            !known.contains(*ip) && about.any(|decision| decision.simulated && accuses(decision))
        };
        for ip in trusted.iter().filter(only_counted) {
            tracing::warn!(
                %ip,
                "logged in while what a detector decided about it only counted: protected all the same, since nothing kept its \
                 owner out; if that is nobody of yours, end the session and change the password"
            );
        }
        let doubted: Vec<&IpAddr> = sessions.difference(&trusted).collect();
        if !doubted.is_empty() && !self.doubted {
            tracing::warn!(
                ?doubted,
                "logged in while a detector's decision is in force on it: not protected by that"
            );
        }
        self.doubted = !doubted.is_empty();
        self.sessions.clone_from(&trusted);
        trusted
    }
}

/// Whether a decision takes the protection from whoever logs in at its address. Who does under one that only counts is a session
/// like any other: it kept nobody out, and its real one would cut off an owner who was taken for a guesser.
fn casts_doubt(decision: &Decision) -> bool {
    accuses(decision) && !decision.simulated
}

/// Whether a decision says that whoever is at the address attacked.
fn accuses(decision: &Decision) -> bool {
    decision.origin != Origin::Operator && !decision.of_the_unproven()
}
