//! What a person wishes.

use super::{Guards, Judge};
use crate::types::{
    ActionKind, CommandError, Decision, DecisionStatus, Needs, NewDecision, Origin, Selector, Timestamp, Veto,
    canonical,
};

impl Judge {
    /// An operator's wish. On a target with a decision in force it takes that decision's place under its name, be it
    /// longer or shorter, and ends any hold. About a prefix it is provisional.
    ///
    /// # Errors
    /// [`CommandError::Vetoed`] where a guard refuses; [`CommandError::Invalid`] for a duration of zero or beyond
    /// `response.max_duration`, for parameters that do not belong together, where nothing is asked for, or where no
    /// container that is to be isolated has the address.
    pub fn operator(&mut self, wish: &NewDecision, guards: &Guards, now: Timestamp) -> Result<Decision, CommandError> {
        self.latest = self.latest.max(now);
        self.acceptable(wish, guards)?;
        let mut decision = self.wished(wish, now);
        self.provide(&mut decision, now);
        self.on_probation(&mut decision);
        self.forget_hold(&decision.target);
        self.ledger.put(decision.clone());
        Ok(decision)
    }

    /// Whether an operator's wish can be had; changes nothing.
    ///
    /// # Errors
    /// As [`Judge::operator`].
    pub fn acceptable(&self, wish: &NewDecision, guards: &Guards) -> Result<(), CommandError> {
        if wish.action == ActionKind::LogOnly {
            let text = "`log_only` changes nothing; ask for `block`, `rate_limit` or `redirect`";
            return Err(CommandError::Invalid(text.to_owned()));
        }
        self.makes_sense(wish).map_err(CommandError::Invalid)?;
        if wish.duration.is_zero() {
            let text = "the duration is zero; give one such as `4h`";
            return Err(CommandError::Invalid(text.to_owned()));
        }
        if wish.duration > self.config.max_duration {
            return Err(CommandError::Invalid(format!(
                "the duration of {} s is beyond the {} s of `response.max_duration`; shorten it or raise that",
                wish.duration.as_secs(),
                self.config.max_duration.as_secs()
            )));
        }
        self.permitted(canonical(wish.target), guards)
            .map_err(CommandError::Vetoed)?;
        if wish.action.profile().needs == Needs::Container {
            self.may_isolate(wish)?;
        }
        self.affordable(wish).map_err(CommandError::Vetoed)?;
        Ok(())
    }

    /// The decision that an acceptable wish asks for, not in force yet.
    pub(super) fn wished(&mut self, wish: &NewDecision, now: Timestamp) -> Decision {
        let target = canonical(wish.target);
        let standing = self.ledger.on(&target);
        let mut decision = Decision {
            id: standing.map_or_else(|| self.mint.decision(now), |d| d.id),
            at: standing.map_or(now, |d| d.at),
            target,
            action: wish.action,
            terms: self.terms(wish.action, wish.rate, wish.egress),
            expires_at: Some(now.after(wish.duration)),
            until_if_confirmed: None,
            simulated: self.simulates() && !standing.is_some_and(|d| self.held_back(d)),
            origin: Origin::Operator,
            actor: wish.actor.clone(),
            reason: wish.reason.clone(),
            alert: standing.and_then(|d| d.alert),
            severity: standing.and_then(|d| d.severity),
            risk: standing.and_then(|d| d.risk),
            basis: None,
            checks: Vec::new(),
            collateral: self.costs(wish),
            investigation: standing.and_then(|d| d.investigation),
            status: DecisionStatus::Active,
            veto: None,
            ended_at: None,
        };
        self.on_probation(&mut decision);
        decision
    }

    /// Peers that behaved well lately and lose service by a wish about a prefix; `None` where nobody can.
    pub(super) fn costs(&self, wish: &NewDecision) -> Option<u32> {
        let target = canonical(wish.target);
        let wide = target.prefix_len() < target.max_prefix_len() && !wish.action.profile().rated;
        wide.then(|| self.peers.within(target))
    }

    /// Whether a wish about a prefix costs no more peers their service than may lose it.
    pub(super) fn affordable(&self, wish: &NewDecision) -> Result<(), Veto> {
        let collateral = self.costs(wish).unwrap_or(0);
        let budget = wish.collateral.unwrap_or(self.config.policy.widen.budget);
        if collateral <= budget {
            return Ok(());
        }
        Err(Veto {
            guard: "collateral".to_owned(),
            reason: format!(
                "{collateral} peers in {} that behaved well within a day would lose service, and {budget} may; name a \
                 smaller prefix, or accept it with `--collateral {collateral}`",
                canonical(wish.target)
            ),
        })
    }

    /// Whether what is asked for belongs together.
    pub(super) fn makes_sense(&self, wish: &NewDecision) -> Result<(), String> {
        let target = canonical(wish.target);
        if let Some(rate) = &wish.rate {
            if !wish.action.profile().rated {
                return Err(format!(
                    "a rate belongs to `rate_limit`, not to `{}`",
                    wish.action.as_str()
                ));
            }
            rate.check()?;
            if rate.each && target.prefix_len() == target.max_prefix_len() {
                return Err(format!(
                    "`each` is for the addresses under a prefix, and {} is one address; leave it out",
                    target.addr()
                ));
            }
        }
        if wish.egress == Some(true) && !wish.action.profile().egress {
            return Err(format!(
                "`egress` drops what goes out to the target, which belongs to `block`, not to `{}`",
                wish.action.as_str()
            ));
        }
        if wish.action.profile().needs == Needs::Honeypot && !self.config.honeypot.serves(&target) {
            let family = if target.addr().is_ipv4() { "v4" } else { "v6" };
            return Err(format!(
                "there is no honeypot for {target}; name one in `response.honeypot.{family}` of the settings and restart"
            ));
        }
        Ok(())
    }

    /// An operator takes decisions back. Their targets are held from now on, and on probation from now on unless
    /// `forget`. Returns those that were in force.
    pub fn delete(&mut self, which: &Selector, forget: bool, now: Timestamp) -> Vec<Decision> {
        self.latest = self.latest.max(now);
        let names: Vec<_> = match which {
            Selector::Id(id) => self.ledger.named(*id).map(|d| d.id).into_iter().collect(),
            Selector::Target(target) => self.ledger.on(&canonical(*target)).map(|d| d.id).into_iter().collect(),
            Selector::All => self.ledger.iter().map(|d| d.id).collect(),
        };
        let mut ended: Vec<_> = names
            .into_iter()
            .filter_map(|id| self.end(id, DecisionStatus::Deleted, now))
            .collect();
        for decision in &mut ended {
            if !forget && !self.config.probation.is_zero() {
                decision.terms.watch_until = Some(now.after(self.config.probation));
            }
            self.offenders.forget(&decision.target);
            self.hold(decision.target, now);
        }
        ended
    }
}
