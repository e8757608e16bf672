//! From what changed in this node's books to what it tells the others. Pure.

use super::clocks::Clocks;
use super::word::{Decided, Said, What, clean};
use crate::config::FleetConfig;
use crate::types::{
    Allowed, Decision, DecisionStatus, FleetChange, FleetLocal, FleetStanding, FleetWord, Origin, Timestamp,
};
use ipnet::IpNet;
use std::net::IpAddr;

/// Who ended something here, for people elsewhere.
pub(super) const SOMEBODY: &str = "an operator";

/// Who says what, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller<'a> {
    pub(super) config: &'a FleetConfig,
    pub(super) node: &'a str,
    pub(super) clocks: Clocks,
    /// It has just come to the fleet: what stands here is as old as it is, and what the others know of it may be newer.
    pub(super) joins: bool,
}

impl Teller<'_> {
    /// What is to be said of a change, if anything: `known` is the latest word on its subject.
    pub(super) fn say(&self, change: &FleetChange, known: Option<&Said>) -> Option<Said> {
        let target: IpNet = change.subject.get(1..)?.parse().ok()?;
        if is_private(target) && !self.config.private {
            return None;
        }
        let (what, since) = match &change.local {
            FleetLocal::Decision(None) => return None,
            FleetLocal::Decision(Some(standing)) => {
                let decision = &standing.decision;
                let what = self.of_decision(standing, change.known.as_ref(), known)?;
                (what, decision.ended_at.unwrap_or(decision.at))
            }
            FleetLocal::Allowed(entry) => {
                let what = self.of_allowed(target, entry.as_ref(), known)?;
                (what, entry.as_ref().map_or(Timestamp(0), |entry| entry.at))
            }
        };
        if !self.joins {
            let version = Said::next(known, self.clocks.wall);
            return Some(Said::new(self.node, version, what, known));
        }
        let version = self.clocks.told(since).0;
        (version > known.map_or(0, |known| known.version)).then(|| Said::new(self.node, version, what, known))
    }

    fn of_decision(&self, standing: &FleetStanding, word: Option<&FleetWord>, known: Option<&Said>) -> Option<What> {
        let decision = &standing.decision;
        if decision.status == DecisionStatus::Active {
            return self.decided(standing, known).map(What::Decided);
        }
        // What was only tried here ends nothing elsewhere.
        if decision.simulated {
            return None;
        }
        // It came and went between two looks: somebody else may have it, too, and a person's word is later.
        let by_a_person = decision.status == DecisionStatus::Deleted && decision.veto.is_none();
        let ours = !decision.is_followed() && decision.expires_at > Some(self.clocks.desk);
        if known.is_none() && by_a_person && ours {
            return Some(Self::released(
                decision,
                true,
                decision.expires_at.map(|end| self.clocks.told(end)),
            ));
        }
        // It ended: that is told where the others still have it.
        let Some(Said {
            node,
            what: What::Decided(told),
            ..
        }) = known
        else {
            return None;
        };
        let we_told = node == self.node;
        let since = we_told || decision.ended_at >= word.map(|word| word.at);
        if told.until <= self.clocks.wall || !since {
            return None;
        }
        let by_person = match decision.status {
            // A guard of this node has its reasons here; what our detectors told is taken back with it.
            DecisionStatus::Deleted if decision.veto.is_some() => {
                (we_told && told.by == Origin::Detector).then_some(false)
            }
            DecisionStatus::Deleted => Some(true),
            DecisionStatus::Lifted => Some(false),
            // A person here shortened it, and it ran out before that was told.
            DecisionStatus::Expired => {
                let shortened = decision
                    .expires_at
                    .is_some_and(|end| self.clocks.told(end) < told.until);
                let by_person = decision.origin == Origin::Operator && !decision.is_followed();
                (shortened && by_person).then_some(true)
            }
            DecisionStatus::Failed => we_told.then_some(told.by == Origin::Operator),
            _ => None,
        }?;
        Some(Self::released(decision, by_person, Some(told.until)))
    }

    fn released(decision: &Decision, by_person: bool, until: Option<Timestamp>) -> What {
        What::Released {
            target: decision.target,
            actor: if by_person { SOMEBODY } else { "sentinel" }.to_owned(),
            by_person,
            until,
        }
    }

    /// What is told of a decision that is in force, if it is told at all and is not known as it is.
    fn decided(&self, standing: &FleetStanding, known: Option<&Said>) -> Option<Decided> {
        let (decision, share) = (&standing.decision, &self.config.share);
        let named = |list: &[String], word: &str| list.iter().any(|one| one == word);
        let provisional = decision.until_if_confirmed.is_some();
        // What others may not be harmed by: what is not in force yet or only tried, what was heard from them, and what
        // anybody can forge.
        let tried = decision.simulated || provisional || !standing.enforced;
        if tried || decision.is_followed() || decision.of_the_unproven() {
            return None;
        }
        let confidence = match decision.origin {
            Origin::Operator => 1.0,
            _ => standing.sure.unwrap_or(0.0),
        };
        let may = named(&share.actions, decision.action.as_str())
            && named(&share.by, decision.origin.as_str())
            && confidence >= share.min_confidence;
        let until = self.clocks.told(decision.expires_at?);
        if let Some(What::Decided(told)) = known.map(|known| &known.what)
            && told.action == decision.action
            && told.rate == decision.terms.rate
            && told.egress == decision.terms.egress
            && told.until == until
        {
            return None;
        }
        may.then(|| Decided {
            id: decision.id,
            target: decision.target,
            action: decision.action,
            rate: decision.terms.rate,
            egress: decision.terms.egress,
            until,
            by: decision.origin,
            actor: clean(&decision.actor),
            reason: clean(&decision.reason),
            severity: decision.severity,
            risk: decision.risk,
            confidence,
        })
    }

    fn of_allowed(&self, target: IpNet, entry: Option<&Allowed>, known: Option<&Said>) -> Option<What> {
        if !self.config.share.allowlist {
            return None;
        }
        let Some(entry) = entry else {
            let Some(What::Allowed { until, .. }) = known.map(|known| &known.what) else {
                return None;
            };
            // Its time ran out, for everybody.
            if until.is_some_and(|until| until <= self.clocks.wall) {
                return None;
            }
            return Some(What::Disallowed {
                target,
                actor: SOMEBODY.to_owned(),
            });
        };
        let until = entry.expires_at.map(|end| self.clocks.told(end));
        // As it is taken over elsewhere: a text that is shortened there is no other text.
        let comment = clean(&entry.comment);
        if let Some(What::Allowed {
            comment: told,
            until: end,
            ..
        }) = known.map(|known| &known.what)
            && (told, end) == (&comment, &until)
        {
            return None;
        }
        Some(What::Allowed {
            target,
            actor: clean(&entry.actor),
            comment,
            until,
        })
    }
}

/// Whether elsewhere somebody else may have the address (RFC 1918, RFC 6598, RFC 4193, and what never leaves a link).
pub(super) fn is_private(target: IpNet) -> bool {
    match target.addr() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}
