//! Alerts and wishes in, decisions out.

use super::ceiling::Ceiling;
use super::ledger::{Ledger, supernets};
use super::measure::Measure;
use super::offenders::{Offenders, lengthened};
use super::widen::Refused;
use super::{Found, Guards};
use crate::config::{Mode, ResponseConfig};
use crate::types::{
    ActionKind, Alert, AlertId, Basis, CheckVerdict, ContainerSet, Decision, DecisionId, DecisionStatus, Detector,
    Mint, Needs, Origin, Peers, Rate, Risk, Terms, Timestamp, Veto, canonical,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long after an operator took a decision back the same address is only logged, not blocked.
pub const HOLD: Duration = Duration::from_mins(1);
/// The longest of [`hold`], for which releases are remembered.
const LONGEST: Duration = Duration::from_hours(6);
/// Releases remembered; the one that ends first makes room.
const HOLDS: usize = 16_384;
/// A decision that ends no more than this much sooner than a new one counts as equal: extending it would only churn.
const SLACK: Duration = Duration::from_secs(30);

/// For how long what a detector says of somebody released may rest on what was before: as long as it looks back.
const fn hold(detector: Detector) -> Duration {
    match detector {
        Detector::SlowScan => LONGEST,
        Detector::SlowDos | Detector::IcmpTunnel => Duration::from_mins(5),
        _ => HOLD,
    }
}

/// How the reason of a renewed decision begins, and where in it the reason of the first one stands.
const RETURNED: &str = "returned on probation after decision ";
const BEFORE: &str = ", then: ";

/// The reason of the first decision of a row of renewals.
fn first_word(reason: &str) -> &str {
    reason
        .strip_prefix(RETURNED)
        .and_then(|rest| rest.split_once(BEFORE))
        .map_or(reason, |(_, first)| first)
}

/// Turns alerts and operators' wishes into decisions and knows which are in force. Pure: takes the time, does nothing.
///
/// One decision per target is in force. A new one on the same target extends it and keeps its name, so that the kernel's
/// counters and its history stay together; only an operator may shorten. Who an operator released is held: until [`HOLD`]
/// has passed (longer for detectors that look back further), evidence leads to a line in the log; evidence from before the release leads to nothing.
#[derive(Debug)]
pub struct Judge {
    pub(super) config: ResponseConfig,
    pub(super) mode: Mode,
    /// A person stopped all acting: what is decided meanwhile is simulated.
    pub(super) stopped: bool,
    pub(super) mint: Mint,
    pub(super) ledger: Ledger,
    /// Released target to the moment of release.
    holds: BTreeMap<IpNet, Timestamp>,
    hold_ends: BTreeSet<(Timestamp, IpNet)>,
    pub(super) latest: Timestamp,
    /// Alerts that led to a deed of late, in their order.
    pub(super) acted: BTreeSet<AlertId>,
    acted_order: VecDeque<AlertId>,
    /// What each of the alerts behind a decision asks for by itself: it is as grave as the gravest of them.
    pub(super) support: BTreeMap<DecisionId, Vec<(AlertId, ActionKind)>>,
    pub(super) offenders: Offenders,
    pub(super) ceiling: Ceiling,
    /// Decisions of detectors that are in force and not on these books.
    pub(super) elsewhere: usize,
    /// Who behaved well lately.
    pub(super) peers: Arc<Peers>,
    /// Prefixes that were refused or rolled back.
    pub(super) refused: VecDeque<Refused>,
    /// What is known of containers; `None` where no engine is configured.
    pub(super) containers: Option<Arc<ContainerSet>>,
}

/// Independent groups of sources outside that make evidence more than local.
pub(super) const CORROBORATED: u32 = 2;

/// Alerts remembered to have led to a deed; the oldest is forgotten.
const ACTED: usize = 16_384;

/// What a risk rests on.
pub(super) const fn basis(risk: &Risk) -> Basis {
    if risk.corroborated_by >= CORROBORATED {
        Basis::IndependentSources
    } else {
        Basis::LocalEvidenceOnly
    }
}

/// Why, in words; with the risk where anybody outside had a say in it.
fn reason(alert: &Alert, risk: &Risk) -> String {
    if risk.local_only {
        alert.summary.clone()
    } else {
        format!("{}; {}", alert.summary, risk.summary)
    }
}

impl Judge {
    /// A judge with an empty ledger.
    pub fn new(config: &ResponseConfig, mode: Mode, mint: Mint) -> Self {
        Self {
            config: config.clone(),
            mode,
            stopped: false,
            mint,
            ledger: Ledger::default(),
            holds: BTreeMap::new(),
            hold_ends: BTreeSet::new(),
            latest: Timestamp::default(),
            acted: BTreeSet::new(),
            acted_order: VecDeque::new(),
            support: BTreeMap::new(),
            offenders: Offenders::default(),
            ceiling: Ceiling::default(),
            elsewhere: 0,
            peers: Arc::default(),
            refused: VecDeque::new(),
            containers: None,
        }
    }

    /// Takes over who came back before a restart: target, how many decisions ran out, and when the last one did.
    pub fn recall(&mut self, past: impl IntoIterator<Item = (IpNet, u32, Timestamp)>) {
        for (target, times, ended) in past {
            let memory = self.config.policy.repeat.memory;
            self.offenders.note(canonical(target), times, ended, memory);
        }
    }

    /// Whether a detector may begin one more decision.
    pub(super) fn may_begin(&mut self, now: Timestamp) -> Result<(), Veto> {
        let active = self.ledger.detectors() + self.elsewhere;
        self.ceiling.allows(self.config.policy.ceiling, active, now)
    }

    /// What an alert leads to, given the risk of its source.
    ///
    /// `None` where nobody can be named, where a decision at least as good is in force already, or where the evidence is
    /// older than a release. A decision `logged` or `vetoed` is for the record only; an `active` one with a name that is
    /// known already extends that decision.
    pub fn judge<'a>(
        &mut self,
        alert: &Alert,
        found: impl Into<Found<'a>>,
        guards: &Guards,
        now: Timestamp,
    ) -> Option<Decision> {
        self.latest = self.latest.max(now);
        let Found { risk, investigation } = found.into();
        let target = canonical(IpNet::from(alert.source?));
        let mut measure = self.measure(alert, risk);
        let wanted = measure.reaction;
        let mut decision = Decision {
            id: self.mint.decision(now),
            at: now,
            target,
            action: wanted,
            terms: Terms::default(),
            expires_at: None,
            until_if_confirmed: None,
            simulated: self.simulates(),
            origin: Origin::Detector,
            actor: alert.detector.as_str().to_owned(),
            reason: reason(alert, risk),
            alert: Some(alert.id),
            severity: Some(alert.severity),
            risk: Some(risk.level),
            basis: Some(basis(risk)),
            investigation,
            checks: Vec::new(),
            collateral: None,
            status: DecisionStatus::Logged,
            veto: None,
            ended_at: None,
        };
        if wanted == ActionKind::LogOnly {
            decision.checks = measure.checks;
            return Some(decision);
        }
        if let Err(veto) = self.permitted(target, guards) {
            decision.status = DecisionStatus::Vetoed;
            decision.veto = Some(self.suspecting(veto, alert));
            return Some(decision);
        }
        if let Some(released) = self.released(target) {
            if alert.at <= released {
                return None;
            }
            // By when it was seen: what is learnt of it later does not make it newer.
            if alert.at < released.after(hold(alert.detector)) {
                decision.action = ActionKind::LogOnly;
                decision.reason = format!(
                    "only logged, because an operator released {} at {released}: {}",
                    target.addr(),
                    alert.summary
                );
                return Some(decision);
            }
        }
        measure.check(
            "protected",
            CheckVerdict::Passed,
            format!("overlaps none of the {} protected prefixes", guards.protected().len()),
        );
        let (action, instead) = self.carried(wanted, &target);
        decision.action = action;
        for why in instead.map(str::to_owned).into_iter().chain(measure.softened()) {
            decision.reason = format!("{} ({why})", decision.reason);
        }
        decision.terms = self.terms(decision.action, measure.rate, None);
        let length = self.again(&target, &mut measure, now);
        decision.checks = measure.checks;
        if self.ledger.on(&target).is_none()
            && let Err(veto) = self.may_begin(now)
        {
            decision.status = DecisionStatus::Vetoed;
            decision.veto = Some(veto);
            return Some(decision);
        }
        let enacted = self.enact(decision, now.after(length));
        let standing = self.ledger.on(&target).filter(|d| d.origin == Origin::Detector);
        if let Some(id) = standing.map(|d| d.id) {
            self.supported(id, alert.id, action);
            self.acted_on(alert.id);
        }
        enacted
    }

    /// How long it lasts this time: longer for who came back. An address that may be forged has no history.
    fn again(&self, target: &IpNet, measure: &mut Measure, now: Timestamp) -> Duration {
        let (times, length) = self.returning(target, measure.length, now);
        if times == 0 || measure.rate.is_some() {
            return measure.length;
        }
        measure.check(
            "repeat",
            CheckVerdict::Passed,
            format!(
                "{times} decisions about it ran out lately: this one lasts {} s instead of {} s",
                length.as_secs(),
                measure.length.as_secs()
            ),
        );
        length
    }

    /// How often decisions about a target ran out lately, and how long one lasts then that lasts `first` the first time.
    fn returning(&self, target: &IpNet, first: Duration, now: Timestamp) -> (u32, Duration) {
        let repeat = &self.config.policy.repeat;
        let times = self.offenders.times(target, now, repeat.memory);
        let length = lengthened(first, repeat.factor, times, self.config.max_duration);
        (times, length)
    }

    /// The action by which a reaction is carried out on a target, and why where it is another than was asked for.
    pub(super) fn carried(&self, wanted: ActionKind, target: &IpNet) -> (ActionKind, Option<&'static str>) {
        match wanted.profile().needs {
            Needs::Container => self.isolated(target),
            Needs::Honeypot if !self.config.honeypot.serves(target) => {
                (ActionKind::BlockIp, Some("blocked, because its family has no honeypot"))
            }
            Needs::Honeypot | Needs::Nothing => (wanted, None),
        }
    }

    /// Remembers that an alert led to a deed, or was content with one.
    pub(super) fn acted_on(&mut self, alert: AlertId) {
        if self.acted.insert(alert) {
            self.acted_order.push_back(alert);
        }
        if self.acted_order.len() > ACTED
            && let Some(oldest) = self.acted_order.pop_front()
        {
            self.acted.remove(&oldest);
        }
    }

    /// Puts an automatic decision in force until `end`, or longer where the one on its target lasts longer; `None` where
    /// one at least as good is in force.
    pub(super) fn enact(&mut self, mut decision: Decision, end: Timestamp) -> Option<Decision> {
        let (target, wanted, now) = (decision.target, decision.action, decision.at);
        let as_good = |d: &Decision| {
            let strong = d.action >= decision.action || (d.target == target && d.origin == Origin::Operator);
            strong && (decision.simulated || !d.simulated) && d.expires_at.is_none_or(|e| e.after(SLACK) >= end)
        };
        // What may be forged prolongs nothing graver, not even by its five minutes.
        let graver = |d: &Decision| d.action > decision.action && (decision.simulated || !d.simulated);
        let forged = decision.of_the_unproven() && self.ledger.covering(target).any(graver);
        if forged || self.ledger.covering(target).any(as_good) {
            return None;
        }
        decision.expires_at = Some(end);
        decision.status = DecisionStatus::Active;
        // The kernel asks the narrowest entry, so a milder one here would undo a graver one around it.
        let around = self.ledger.covering(target);
        let gravest = around
            .filter(|d| decision.simulated || !d.simulated)
            .max_by_key(|d| d.action);
        if let Some(graver) = gravest.filter(|d| d.action > decision.action) {
            decision.action = graver.action;
            decision.terms = graver.terms;
        }
        // Others have ceilings of their own.
        if self.ledger.on(&target).is_none() && decision.origin != Origin::Fleet {
            self.ceiling.begin(decision.at);
        }
        if let Some(standing) = self.ledger.on(&target) {
            decision.simulated &= !self.held_back(standing);
            decision.id = standing.id;
            decision.at = standing.at;
            decision.expires_at = standing.expires_at.max(standing.until_if_confirmed).max(Some(end));
            decision.severity = standing.severity.max(decision.severity);
            decision.risk = standing.risk.max(decision.risk);
            if standing.origin == Origin::Detector && standing.action > wanted {
                // It goes on for what it began with; this alert only lengthens it.
                decision.alert = standing.alert;
                decision.actor.clone_from(&standing.actor);
                decision.reason.clone_from(&standing.reason);
                decision.basis = standing.basis.max(decision.basis);
                decision.investigation = standing.investigation;
            }
            if standing.origin == Origin::Detector && decision.origin == Origin::Fleet {
                // What was seen here is what it is for.
                decision.origin = Origin::Detector;
                decision.alert = standing.alert;
                decision.actor.clone_from(&standing.actor);
                decision.reason.clone_from(&standing.reason);
                decision.basis = standing.basis;
                decision.investigation = standing.investigation;
            }
            if standing.origin == Origin::Operator {
                // What a person chose is lengthened, never overruled.
                decision.action = standing.action;
                decision.terms = standing.terms;
                decision.origin = Origin::Operator;
                decision.actor.clone_from(&standing.actor);
            }
        }
        self.provide(&mut decision, now);
        self.on_probation(&mut decision);
        self.ledger.put(decision.clone());
        Some(decision)
    }

    /// What an alert that somebody returned on probation leads to: the action of the `former` decision again, with a
    /// fresh end, where the configuration says so and it was its end that was reached. A release by a person stands.
    pub fn returned(&mut self, alert: &Alert, former: &Decision, guards: &Guards, now: Timestamp) -> Option<Decision> {
        self.latest = self.latest.max(now);
        if former.status != DecisionStatus::Expired || former.terms.reapply_ms == 0 {
            return None;
        }
        let length = if let (Origin::Operator, Some(end)) = (former.origin, former.expires_at) {
            Duration::from_nanos((end.0 - former.at.0).max(0) as u64)
        } else {
            let first = if former.action.profile().rated {
                self.config.rate_limit_duration
            } else {
                self.config.duration
            };
            self.returning(&former.target, first, now).1
        };
        let mut decision = Decision {
            id: self.mint.decision(now),
            at: now,
            // It came back here, whoever was first to block it.
            origin: if former.origin == Origin::Fleet {
                Origin::Detector
            } else {
                former.origin
            },
            simulated: former.simulated || self.simulates(),
            reason: format!("{RETURNED}{}{BEFORE}{}", former.id, first_word(&former.reason)),
            alert: Some(alert.id),
            status: DecisionStatus::Logged,
            expires_at: None,
            until_if_confirmed: None,
            ended_at: None,
            veto: None,
            ..former.clone()
        };
        if let Err(veto) = self.permitted(decision.target, guards) {
            decision.status = DecisionStatus::Vetoed;
            decision.veto = Some(veto);
            return Some(decision);
        }
        if self
            .released(decision.target)
            .is_some_and(|released| now < released.after(HOLD))
        {
            return None;
        }
        let end = now.after(length.min(self.config.max_duration));
        self.enact(decision, end)
    }

    /// What an action is carried out with; what the wish leaves open is as configured.
    pub(super) fn terms(&self, action: ActionKind, rate: Option<Rate>, egress: Option<bool>) -> Terms {
        Terms {
            rate: (action.profile().rated).then(|| rate.unwrap_or(self.config.rate_limit)),
            egress: action.profile().egress && egress.unwrap_or(self.config.block_egress),
            watch_until: None,
            reapply_ms: 0,
        }
    }

    /// Sets what comes after a decision's end.
    pub(super) fn on_probation(&self, decision: &mut Decision) {
        // Anybody can return in the name of an address that may be forged, and what was never confirmed comes back by no
        // packet.
        let unfit = decision.of_the_unproven() || decision.until_if_confirmed.is_some();
        let on = !self.config.probation.is_zero() && !unfit;
        let end = decision.expires_at.filter(|_| on);
        decision.terms.watch_until = end.map(|end| end.after(self.config.probation));
        decision.terms.reapply_ms = if on { self.config.reapply.as_millis() as u64 } else { 0 };
    }

    /// Ends what has run out by `now`, in the order of the ends; what was provisional is rolled back.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Decision> {
        self.latest = self.latest.max(now);
        let mut ended = Vec::new();
        while let Some(id) = self.ledger.ended(now) {
            let Some(mut decision) = self.take(id) else {
                break;
            };
            if let (Some(end), true) = (decision.expires_at, decision.until_if_confirmed.is_some()) {
                ended.push(self.lapsed(decision, end));
                continue;
            }
            decision.status = DecisionStatus::Expired;
            decision.ended_at = decision.expires_at;
            self.ran_out(&decision);
            ended.push(decision);
        }
        while let Some((end, target)) = self.hold_ends.first().copied().filter(|(end, _)| *end <= now) {
            self.hold_ends.remove(&(end, target));
            self.holds.remove(&target);
        }
        ended
    }

    /// Ends whatever overlaps what the guards protect by now. For guards that changed, and after [`Judge::restore`]. How
    /// wide a prefix may be is asked of wishes: what is in force stays.
    pub fn recheck(&mut self, guards: &Guards, now: Timestamp) -> Vec<Decision> {
        let mut refused = Vec::new();
        for decision in self.ledger.iter() {
            if let Err(veto) = guards.check(decision.target) {
                refused.push((decision.id, veto));
            }
        }
        refused
            .into_iter()
            .filter_map(|(id, veto)| {
                let mut decision = self.end(id, DecisionStatus::Deleted, now)?;
                decision.veto = Some(veto);
                Some(decision)
            })
            .collect()
    }

    /// Takes over decisions that were in force before a restart; others are passed over. In simulation all of them are
    /// simulated; in production those that were simulated stay so until new evidence or an operator says otherwise.
    /// Call [`Judge::expire`] and [`Judge::recheck`] next.
    pub fn restore(&mut self, decisions: Vec<Decision>) {
        for mut decision in decisions {
            let acts = decision.status == DecisionStatus::Active && decision.action != ActionKind::LogOnly;
            if !acts || decision.expires_at.is_none() {
                continue;
            }
            decision.simulated |= self.mode == Mode::Simulation;
            decision.target = canonical(decision.target);
            self.ledger.put(decision);
        }
    }

    /// A decision could not be carried out: it is in force no longer.
    pub fn fail(&mut self, id: DecisionId) -> Option<Decision> {
        self.end(id, DecisionStatus::Failed, self.latest)
    }

    /// Decisions in force, in the order of their targets.
    pub fn active(&self) -> impl Iterator<Item = &Decision> {
        self.ledger.iter()
    }

    /// Decisions in force on a target and on the prefixes around it, the narrowest first.
    pub fn covering(&self, target: IpNet) -> impl Iterator<Item = &Decision> {
        self.ledger.covering(canonical(target))
    }

    /// Number of decisions in force.
    pub fn len(&self) -> usize {
        self.ledger.len()
    }

    /// Whether no decision is in force.
    pub fn is_empty(&self) -> bool {
        self.ledger.len() == 0
    }

    /// A decision ran out: if a detector took it, its target is somebody who comes back next time.
    fn ran_out(&mut self, decision: &Decision) {
        if decision.origin == Origin::Detector
            && !decision.of_the_unproven()
            && let Some(end) = decision.expires_at
        {
            let memory = self.config.policy.repeat.memory;
            self.offenders.note(decision.target, 1, end, memory);
        }
    }

    pub(super) fn permitted(&self, target: IpNet, guards: &Guards) -> Result<(), Veto> {
        let widest = match target {
            IpNet::V4(_) => self.config.widest_v4,
            IpNet::V6(_) => self.config.widest_v6,
        };
        if target.prefix_len() < widest {
            return Err(Veto {
                guard: "too_wide".to_owned(),
                reason: format!("{target} is wider than the /{widest} that the configuration allows"),
            });
        }
        guards.check(target)
    }

    /// Takes a decision off the books, with what stood behind it.
    fn take(&mut self, id: DecisionId) -> Option<Decision> {
        self.support.remove(&id);
        self.ledger.take(id)
    }

    pub(super) fn end(&mut self, id: DecisionId, status: DecisionStatus, now: Timestamp) -> Option<Decision> {
        let mut decision = self.take(id)?;
        decision.status = status;
        decision.ended_at = Some(now);
        decision.terms.watch_until = None;
        Some(decision)
    }

    /// The latest release that concerns a target: its own, or that of a prefix around it.
    pub(super) fn released(&self, target: IpNet) -> Option<Timestamp> {
        supernets(target).filter_map(|net| self.holds.get(&net).copied()).max()
    }

    pub(super) fn hold(&mut self, target: IpNet, now: Timestamp) {
        self.forget_hold(&target);
        if self.holds.len() >= HOLDS
            && let Some((_, oldest)) = self.hold_ends.pop_first()
        {
            self.holds.remove(&oldest);
        }
        self.holds.insert(target, now);
        self.hold_ends.insert((now.after(LONGEST), target));
    }

    pub(super) fn forget_hold(&mut self, target: &IpNet) {
        if let Some(released) = self.holds.remove(target) {
            self.hold_ends.remove(&(released.after(LONGEST), *target));
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
