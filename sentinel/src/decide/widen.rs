//! From addresses to the prefix they are of, where that costs nobody else their service.

use super::widened::{WIDENED, Widened};
use super::{Guards, Judge};
use crate::types::{ActionKind, Check, CheckVerdict, Decision, DecisionStatus, Origin, Peers, Timestamp, Veto};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// For how long a prefix that was refused is not looked at again.
const AGAIN: Duration = Duration::from_mins(10);
/// The same of one that was rolled back, and of those around it.
const SHUNNED: Duration = Duration::from_hours(1);
/// Refused prefixes remembered; the first of them makes room.
const REFUSED: usize = 1024;

/// A prefix that is not widened to for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    net: IpNet,
    until: Timestamp,
    /// Nor are those around it.
    around: bool,
}

/// Of whose addresses there is a history: an address, or a prefix of addresses.
struct Step {
    /// The prefix that would be decided about.
    net: IpNet,
    /// The prefix length of what is counted in it.
    counted: u8,
    /// How many it takes.
    enough: u32,
    /// What they are.
    what: &'static str,
    /// Whether those count that are not confirmed.
    provisional: bool,
}

impl Judge {
    /// Tells who behaved well lately.
    pub fn set_peers(&mut self, peers: Arc<Peers>) {
        self.peers = peers;
    }

    /// What follows from a decision that has just been taken for the prefix its target is of: a /24 once enough of its
    /// addresses are under decisions, a /64, and then a /56; from there to `network`, the prefix that a database has the
    /// address in as one of an autonomous system, where the settings ask for it. Refused where peers that behaved well would lose service
    /// beyond the budget, or a guard objects. Addresses that may be forged do not count.
    pub fn widen(
        &mut self,
        cause: &Decision,
        network: Option<IpNet>,
        guards: &Guards,
        now: Timestamp,
    ) -> Option<Decision> {
        Some(self.widened(cause, network, guards, now)?.outcome)
    }

    /// The same with everything it followed from.
    pub fn widened(
        &mut self,
        cause: &Decision,
        network: Option<IpNet>,
        guards: &Guards,
        now: Timestamp,
    ) -> Option<Widened> {
        if cause.status != DecisionStatus::Active || !counts(cause) {
            return None;
        }
        let step = self.step(&cause.target, network)?;
        // One around it that is as grave is enough.
        let around = |d: &Decision| d.action >= cause.action && (cause.simulated || !d.simulated);
        if self.ledger.covering(step.net).any(around) || self.refused_lately(&step.net, now) {
            return None;
        }
        let like = |d: &&Decision| {
            d.target.prefix_len() == step.counted
                && counts(d)
                && (cause.simulated || !d.simulated)
                && (step.provisional || d.until_if_confirmed.is_none())
        };
        let under: Vec<&Decision> = self.ledger.within(step.net).filter(like).collect();
        if under.len() < step.enough as usize {
            return None;
        }
        let about = under.iter().copied().chain(self.ledger.covering(step.net));
        let about: Vec<Decision> = about.take(WIDENED + 1).cloned().collect();
        let under: Vec<IpNet> = under.iter().map(|d| d.target).collect();
        // Those who are under decisions themselves have nothing left to lose.
        let already: u32 = under.iter().map(|net| self.peers.within(*net)).sum();
        let collateral = self.peers.within(step.net).saturating_sub(already);
        let mut decision = Decision {
            id: self.mint.decision(now),
            at: now,
            target: step.net,
            reason: format!(
                "{} {} of {} are under decisions; {collateral} peers that behaved well within a day would lose service; \
                 the latest: {}",
                under.len(),
                step.what,
                step.net,
                cause.reason
            ),
            expires_at: None,
            until_if_confirmed: None,
            collateral: Some(collateral),
            checks: Vec::new(),
            status: DecisionStatus::Logged,
            veto: None,
            ended_at: None,
            ..cause.clone()
        };
        let budget = self.config.policy.widen.budget;
        let permitted = if collateral > budget {
            Err(Veto {
                guard: "collateral".to_owned(),
                reason: format!(
                    "{collateral} peers that behaved well within a day would lose service, and `response.widen.budget` \
                     allows {budget}"
                ),
            })
        } else {
            self.permitted(step.net, guards)
        };
        let (begun, active) = (self.ceiling.begun(now), self.ledger.detectors() + self.elsewhere);
        let peers = self.peers.only(step.net);
        let followed = |outcome: Decision| Widened {
            at: now,
            cause: cause.clone(),
            network,
            about,
            peers,
            begun,
            active,
            outcome,
        };
        let permitted = permitted.and_then(|()| self.may_begin(now));
        if let Err(veto) = permitted {
            self.refuse(step.net, now);
            decision.status = DecisionStatus::Vetoed;
            decision.veto = Some(veto);
            return Some(followed(decision));
        }
        decision.checks.push(Check {
            guard: "collateral".to_owned(),
            verdict: CheckVerdict::Passed,
            reason: format!("{collateral} of at most {budget} peers would lose service"),
        });
        decision.terms = self.terms(decision.action, decision.terms.rate, None);
        let length = cause.expires_at.map_or(
            Duration::ZERO,
            |end| Duration::from_nanos((end.0 - now.0).max(0) as u64),
        );
        Some(followed(self.enact(decision, now.after(length))?))
    }

    /// The next wider prefix, what is counted in it, and how many it takes.
    fn step(&self, target: &IpNet, network: Option<IpNet>) -> Option<Step> {
        let widen = &self.config.policy.widen;
        let wider = |ip: IpAddr, len: u8| IpNet::new(ip, len).ok().map(|net| net.trunc());
        let (net, enough, what, provisional) = match (target, target.prefix_len()) {
            (IpNet::V4(_), 32) => (wider(target.addr(), 24)?, widen.v4_sources, "addresses", true),
            (IpNet::V6(_), 128) => (wider(target.addr(), 64)?, widen.v6_sources, "addresses", true),
            (IpNet::V6(_), 64) => (wider(target.addr(), 56)?, widen.v6_nets, "/64 prefixes", true),
            (IpNet::V4(_), 24) => {
                let net = in_network(target, network?, widen.as_widest_v4)?;
                (net, widen.as_nets, "confirmed /24 prefixes", false)
            }
            (IpNet::V6(_), 56) => {
                let net = in_network(target, network?, widen.as_widest_v6)?;
                (net, widen.as_nets, "confirmed /56 prefixes", false)
            }
            _ => return None,
        };
        (enough > 0).then_some(Step {
            net,
            counted: target.prefix_len(),
            enough,
            what,
            provisional,
        })
    }

    fn refused_lately(&self, net: &IpNet, now: Timestamp) -> bool {
        let concerns = |refused: &Refused| refused.net == *net || refused.around && net.contains(&refused.net);
        self.refused
            .iter()
            .any(|refused| refused.until > now && concerns(refused))
    }

    fn refuse(&mut self, net: IpNet, now: Timestamp) {
        self.keep_off(net, now.after(AGAIN), false, now);
    }

    /// A prefix was rolled back: neither it nor one that holds it is widened to for a while.
    pub(super) fn shun(&mut self, net: IpNet, at: Timestamp) {
        self.keep_off(net, at.after(SHUNNED), true, at);
    }

    fn keep_off(&mut self, net: IpNet, until: Timestamp, around: bool, now: Timestamp) {
        self.refused.retain(|refused| refused.until > now);
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(Refused { net, until, around });
    }
}

/// The network around a target, no wider than `widest`; `None` where it is not wider than the target. What a database says
/// is not believed further than that.
fn in_network(target: &IpNet, network: IpNet, widest: u8) -> Option<IpNet> {
    let len = network.prefix_len().max(widest);
    let around = network.contains(target) && len < target.prefix_len();
    around.then(|| IpNet::new(target.addr(), len).ok().map(|net| net.trunc()))?
}

/// Whether a decision says something about whoever is at the address: a detector's, and not of one that may be forged.
fn counts(decision: &Decision) -> bool {
    decision.origin == Origin::Detector && decision.action != ActionKind::LogOnly && !decision.of_the_unproven()
}
