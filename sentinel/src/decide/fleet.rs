//! What another node decided, taken up here: asked of this node's own guards first.

use super::{Guards, Judge};
use crate::types::{
    Check, CheckVerdict, Decision, DecisionStatus, FleetDecision, NewDecision, Origin, Rate, Selector, Terms,
    Timestamp, Veto, canonical,
};
use ipnet::IpNet;
use std::time::Duration;

/// The guard that keeps room.
pub const ENTRIES: &str = "fleet_entries";

/// What comes of another node's decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// It is over, or something at least as good is in force.
    Content,
    /// A person here has just ended what was on the target.
    Held,
    /// To be put in force; `vetoed` where a guard refuses.
    Do(Box<Decision>),
}

impl Judge {
    /// Another node's decision. On a target with a decision in force it takes that one's place under its name; a
    /// detector's never shortens or softens it, nor overrules a person, here or there. About a prefix it is provisional
    /// here, too. At most `most` decisions of others are in force.
    pub fn follow(&mut self, word: &FleetDecision, most: usize, guards: &Guards, now: Timestamp) -> Followed {
        self.latest = self.latest.max(now);
        let target = canonical(word.target);
        if word.until <= now {
            return Followed::Content;
        }
        if self.released(target).is_some_and(|released| released > word.as_of) {
            return Followed::Held;
        }
        let (action, instead) = self.carried(word.action, &target);
        let mut decision = Decision {
            // A name that is taken by another target stays with it.
            id: match self.ledger.named(word.id) {
                Some(other) if other.target != target => self.mint.decision(now),
                _ => word.id,
            },
            at: now,
            target,
            action,
            terms: Terms {
                egress: action.profile().egress && word.egress,
                ..self.terms(action, word.rate, Some(false))
            },
            expires_at: Some(word.until),
            until_if_confirmed: None,
            simulated: self.simulates(),
            // What a person chose there is overruled by no detector here.
            origin: if word.by_person {
                Origin::Operator
            } else {
                Origin::Fleet
            },
            actor: word.actor.clone(),
            reason: instead.map_or_else(|| word.reason.clone(), |why| format!("{} ({why})", word.reason)),
            alert: None,
            severity: word.severity,
            risk: word.risk,
            basis: None,
            investigation: None,
            checks: vec![Check {
                guard: Decision::FOLLOWED.to_owned(),
                verdict: CheckVerdict::Passed,
                reason: format!("{} decided it, and it is followed here", word.actor),
            }],
            collateral: None,
            status: DecisionStatus::Active,
            veto: None,
            ended_at: None,
        };
        let wish = wish(&decision, word, now);
        let refused = self
            .permitted(target, guards)
            .and_then(|()| self.possible(&wish))
            .and_then(|()| self.affordable(&wish))
            .and_then(|()| self.room_for(&target, most));
        if let Err(veto) = refused {
            // What is in force under that name stays as it is told.
            decision.id = self.mint.decision(now);
            decision.status = DecisionStatus::Vetoed;
            decision.expires_at = None;
            decision.veto = Some(veto);
            return Followed::Do(Box::new(decision));
        }
        decision.collateral = self.costs(&wish);
        if !word.by_person {
            let enacted = self.enact(decision, word.until);
            return enacted.map_or(Followed::Content, |decision| Followed::Do(Box::new(decision)));
        }
        if let Some(standing) = self.ledger.on(&target) {
            let same = standing.action == decision.action
                && standing.origin == Origin::Operator
                && standing.expires_at.max(standing.until_if_confirmed) == decision.expires_at
                && standing.terms.rate == decision.terms.rate
                && standing.terms.egress == decision.terms.egress;
            if same && (!standing.simulated || decision.simulated) {
                return Followed::Content;
            }
            decision.simulated &= !self.held_back(standing);
            (decision.id, decision.at) = (standing.id, standing.at);
            decision.alert = standing.alert;
            decision.investigation = standing.investigation;
        }
        self.provide(&mut decision, now);
        self.on_probation(&mut decision);
        self.forget_hold(&target);
        self.ledger.put(decision.clone());
        Followed::Do(Box::new(decision))
    }

    /// Another node ended what it had on a target: nothing is left on it here, unless a person chose it and none took it
    /// back. Where a person did, evidence from before leads to nothing, here as there.
    pub fn release(&mut self, target: IpNet, by_person: bool, as_of: Timestamp, now: Timestamp) -> Vec<Decision> {
        let target = canonical(target);
        if by_person {
            let here = self.released(target);
            let ended = self.delete(&Selector::Target(target), false, now);
            // What the same nodes say next is later than this.
            self.hold(target, here.map_or(as_of, |here| here.max(as_of)));
            return ended;
        }
        self.latest = self.latest.max(now);
        let standing = self.ledger.on(&target).filter(|d| d.origin != Origin::Operator);
        let standing = standing.map(|d| d.id);
        let ended = standing.and_then(|id| self.end(id, DecisionStatus::Lifted, now));
        ended.into_iter().collect()
    }

    /// Whether what is asked for belongs together.
    fn possible(&self, wish: &NewDecision) -> Result<(), Veto> {
        self.makes_sense(wish).map_err(|reason| Veto {
            guard: "not_possible".to_owned(),
            reason,
        })
    }

    fn room_for(&self, target: &IpNet, most: usize) -> Result<(), Veto> {
        if self.ledger.of_others() < most || self.ledger.on(target).is_some() {
            return Ok(());
        }
        Err(Veto {
            guard: ENTRIES.to_owned(),
            reason: format!(
                "{most} decisions of other nodes are in force, as many as `fleet.accept.max_entries` allows"
            ),
        })
    }
}

/// As a person here would have asked for it.
fn wish(decision: &Decision, word: &FleetDecision, now: Timestamp) -> NewDecision {
    NewDecision {
        target: decision.target,
        action: decision.action,
        rate: word.rate.filter(|_| decision.action.profile().rated).map(|rate| Rate {
            // It means nothing on one address.
            each: rate.each && decision.is_wide(),
            ..rate
        }),
        egress: None,
        duration: Duration::from_nanos((word.until.0 - now.0).max(0).cast_unsigned()),
        collateral: None,
        reason: String::new(),
        actor: String::new(),
    }
}
