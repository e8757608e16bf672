//! Carries orders out: remember, do, read back, remember, tell.

use super::held::{Awaited, Held, Owed, entry_of, outcome};
use super::memory::{Memory, Refused};
use super::probation::Watched;
use super::tidings::{Tidings, action_verb, audit_verb, log};
use super::{EnforceError, Enforcer, Order};
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::{
    Action, ActionId, ActionKind, ActionStatus, Clock, CommandError, Condition, Decision, DecisionId, DecisionStatus,
    Event, Ktime, Mint, Stop, Timestamp, canonical,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// More than so many ends, or events, at once are one line of the audit, and one of the log.
const MANY: usize = 1024;

/// How what was in force before a restart came into force.
pub(super) const AGAIN: &str = "again after a restart by";

/// What the responder works with.
pub struct Deps {
    /// Durable memory.
    pub store: Store,
    /// The live lane.
    pub bus: Bus,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How long a deed waits for the disk before it goes on without.
    pub commit_deadline: Duration,
}

/// The responder; one order after the other, so that store and kernel cannot run apart.
pub struct Responder<E> {
    pub(super) enforcer: E,
    pub(super) bus: Bus,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: Memory,
    pub(super) mint: Mint,
    pub(super) clock: Clock,
    /// In force, by target.
    pub(super) held: BTreeMap<IpNet, Held>,
    /// Entries that should be gone and are not known to be; tried again until they are.
    /// Several actions may wait for the same entry to go.
    pub(super) owed: BTreeMap<IpNet, Vec<Owed>>,
    /// Over, and watched for a return.
    pub(super) watched: Watched,
    /// Actions of an earlier run whose decisions were not taken up yet.
    pub(super) earlier: HashMap<DecisionId, Action>,
    /// Actions whose targets an import took over, while it may still be taken back.
    pub(super) replaced: HashMap<DecisionId, Action>,
    /// What is never touched; asked once more before a write.
    pub(super) protected: Vec<IpNet>,
    pub(super) allow_fault: Option<String>,
    /// Why the latest write of a block failed.
    pub(super) put_fault: Option<String>,
    pub(super) awaited: VecDeque<Awaited>,
    /// Targets whose counters are to be read next, and the names of decisions whose counters are gone.
    pub(super) fresh: Vec<IpNet>,
    pub(super) gone: Vec<DecisionId>,
    pub(super) cursor: Option<IpNet>,
    /// Who stopped acting, where it is stopped.
    pub(super) stopped: Option<Stop>,
}

impl<E: Enforcer> Responder<E> {
    /// A responder that holds nothing yet.
    pub fn new(enforcer: E, deps: Deps, clock: Clock) -> Self {
        Self {
            enforcer,
            bus: deps.bus,
            memory: Memory::new(deps.store, Arc::clone(&deps.metrics), deps.commit_deadline),
            metrics: deps.metrics,
            mint: Mint::Random,
            clock,
            held: BTreeMap::new(),
            owed: BTreeMap::new(),
            watched: Watched::default(),
            earlier: HashMap::new(),
            replaced: HashMap::new(),
            protected: Vec::new(),
            allow_fault: None,
            put_fault: None,
            awaited: VecDeque::new(),
            fresh: Vec::new(),
            gone: Vec::new(),
            cursor: None,
            stopped: None,
        }
    }

    /// Carries out a batch of orders and answers whoever waits. Returns the decisions that could not be enforced.
    pub async fn carry_out(&mut self, orders: Vec<Order>, now: Timestamp) -> Vec<DecisionId> {
        let (intents, before) = self.intents(&orders, now);
        let refused = self.memory.remember(before.records).await;
        self.ahead(&orders, &refused);

        let mut tidings = Tidings::default();
        for (order, intent) in orders.into_iter().zip(intents) {
            match order {
                Order::Note(alert) => tidings.tell_alert(alert, &refused),
                Order::Prove(_) => {}
                Order::Learn(investigation) => tidings.events.push(Event::Investigation(investigation)),
                Order::Apply {
                    decision,
                    alert,
                    evidence_at,
                    reply,
                } => {
                    if let Some(alert) = alert {
                        tidings.tell_alert(alert, &refused);
                    }
                    let outcome = self.apply(decision, intent, evidence_at, &refused, now, &mut tidings);
                    tidings.applied.extend(reply.map(|reply| (reply, outcome)));
                }
                Order::Confirm { decision, reply, .. } => {
                    let outcome = self.apply(decision, intent, None, &refused, now, &mut tidings);
                    tidings.applied.extend(reply.map(|reply| (reply, outcome)));
                }
                Order::Withdraw {
                    decisions,
                    cause,
                    actor,
                    reply,
                } => {
                    let outcome = self.withdraw(decisions, cause, &actor, now, &mut tidings);
                    tidings.withdrawn.extend(reply.map(|reply| (reply, outcome)));
                }
            }
        }
        self.tell(tidings).await
    }

    /// Tells the enforcer what a batch will put, where a target comes up in it once.
    fn ahead(&mut self, orders: &[Order], refused: &Refused) {
        let mut puts: BTreeMap<IpNet, Option<&Decision>> = BTreeMap::new();
        for order in orders {
            match order {
                Order::Apply { decision, .. } if acts(decision) && !refused.decisions.contains(&decision.id) => {
                    let other = puts.insert(decision.target, Some(decision)).is_some();
                    if other {
                        puts.insert(decision.target, None);
                    }
                }
                Order::Withdraw { decisions, .. } => {
                    puts.extend(decisions.iter().map(|decision| (decision.target, None)));
                }
                _ => {}
            }
        }
        let puts: Vec<&Decision> = puts.into_values().flatten().collect();
        if puts.len() > 1 {
            self.put_ahead(puts.into_iter());
        }
    }

    pub(super) fn put_ahead<'a>(&mut self, decisions: impl Iterator<Item = &'a Decision>) {
        let may = decisions.filter(|decision| self.refusal(decision).is_none());
        let entries: Vec<_> = may
            .map(|decision| (decision.target, entry_of(decision, self.clock)))
            .collect();
        self.enforcer.put_ahead(&entries);
    }

    /// The write-ahead half: everything that is about to be done, as it stands before it is done.
    fn intents(&mut self, orders: &[Order], now: Timestamp) -> (Vec<Option<Action>>, Tidings) {
        let mut before = Tidings::default();
        let mut minted = HashMap::new();
        let intents = orders
            .iter()
            .map(|order| match order {
                Order::Note(alert) => {
                    self.metrics.alert(alert);
                    before.alert(alert);
                    None
                }
                Order::Prove(row) => {
                    before.records.push(Record::Proof(row.clone()));
                    None
                }
                Order::Learn(investigation) => {
                    let record = Record::Investigation(Arc::clone(investigation));
                    before.records.push(record);
                    None
                }
                Order::Apply { decision, alert, .. } => {
                    if let Some(alert) = alert {
                        self.metrics.alert(alert);
                        before.alert(alert);
                    }
                    self.metrics.decision(decision);
                    before.decision(decision);
                    let intent = acts(decision).then(|| self.intent(decision, &mut minted, now));
                    if let Some(action) = &intent {
                        before.action(action);
                    }
                    let (subject, verb) = (decision.target.to_string(), audit_verb(decision));
                    before.audit(now, &decision.actor, verb, subject, decision.reason.clone());
                    intent
                }
                Order::Confirm {
                    decision, actor, why, ..
                } => {
                    before.decision(decision);
                    let intent = acts(decision).then(|| self.intent(decision, &mut minted, now));
                    if let Some(action) = &intent {
                        before.action(action);
                    }
                    let detail = format!("{}: {why}", decision.id);
                    before.audit(now, actor, "confirmed", decision.target.to_string(), detail);
                    intent
                }
                Order::Withdraw {
                    decisions,
                    cause,
                    actor,
                    ..
                } => {
                    if decisions.len() > MANY {
                        let subject = format!("{} decisions", decisions.len());
                        before.audit(
                            now,
                            actor,
                            cause.as_str(),
                            subject,
                            "each as its record says".to_owned(),
                        );
                        return None;
                    }
                    for decision in decisions {
                        let detail = match &decision.veto {
                            Some(veto) => format!("{}: {}", decision.id, veto.reason),
                            None => decision.id.to_string(),
                        };
                        before.audit(now, actor, cause.as_str(), decision.target.to_string(), detail);
                    }
                    None
                }
            })
            .collect();
        (intents, before)
    }

    /// The action that stands for a decision: a new one, or the one already held (or minted in the same batch) when a
    /// decision is extended.
    pub(super) fn intent(
        &mut self,
        decision: &Decision,
        minted: &mut HashMap<DecisionId, (ActionId, Timestamp)>,
        now: Timestamp,
    ) -> Action {
        let held = self
            .held
            .get(&decision.target)
            .filter(|held| held.decision.id == decision.id)
            .map(|held| &held.action);
        let (id, intent_at) = match held {
            Some(action) => (action.id, action.intent_at),
            None => *(minted.entry(decision.id)).or_insert_with(|| (self.mint.action(now), now)),
        };
        let (entered_at, outcome_at) = held.map(|a| (a.entered_at, a.outcome_at)).unwrap_or_default();
        Action {
            id,
            decision: decision.id,
            kind: decision.action.in_kernel(),
            target: decision.target,
            status: ActionStatus::Intent,
            intent_at,
            entered_at,
            outcome_at,
            expires_at: decision.expires_at,
            outcome: String::new(),
            hits: 0,
            would_hits: 0,
        }
    }

    fn apply(
        &mut self,
        decision: Decision,
        intent: Option<Action>,
        evidence_at: Option<Ktime>,
        refused: &Refused,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Decision, CommandError> {
        let unstored = refused.decisions.contains(&decision.id);
        let Some(action) = intent else {
            if !unstored {
                tidings.events.push(Event::Decision(Arc::new(decision.clone())));
            }
            return match &decision.veto {
                Some(veto) => Err(CommandError::Vetoed(veto.clone())),
                None => Ok(decision),
            };
        };
        if unstored {
            let cause = "the database refuses the decision's record".to_owned();
            return self.give_up(decision, action, cause, now, tidings);
        }
        self.install(decision, action, evidence_at, "by", now, tidings)
    }

    /// Writes a decision's entry, reads it back, holds it and tells of it; or gives it up. What is put back at a start is
    /// told by [`Responder::reword`], since only when the programs are attached it is known what they can carry out.
    pub(super) fn install(
        &mut self,
        decision: Decision,
        mut action: Action,
        evidence_at: Option<Ktime>,
        how: &'static str,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Decision, CommandError> {
        if let Err(cause) = self.write(&decision, tidings) {
            return self.give_up(decision, action, cause, now, tidings);
        }
        action.kind = decision.action.in_kernel();
        action.status = status_of(&decision);
        self.unwatch(&decision.target, tidings);
        let mut held = Held {
            decision: decision.clone(),
            action,
            how,
            instead: None,
            told: how != AGAIN,
        };
        if held.told {
            held.instead = self
                .enforcer
                .shortfall(decision.target, &entry_of(&decision, self.clock));
            tell_outcome(&mut held, &self.enforcer.name(), self.stopped.as_ref(), now, tidings);
        }
        // One of the same batch may have failed before.
        tidings.failed.retain(|failed| *failed != decision.id);
        tidings.events.push(Event::Decision(Arc::new(decision.clone())));
        for owed in self.owed.remove(&decision.target).unwrap_or_default() {
            let outcome = format!("its entry was taken over by decision {}", decision.id);
            end_owed(owed, outcome, now, tidings);
        }
        let old = self.held.insert(decision.target, held);
        let extended = old.as_ref().is_some_and(|old| old.decision.id == decision.id);
        if let Some(old) = old.filter(|_| !extended) {
            self.supersede(old, &decision, now, tidings);
        }
        if let Some(evidence_at) = evidence_at.filter(|_| !extended && !decision.simulated) {
            self.await_drop(&decision, evidence_at);
        }
        self.fresh.push(decision.target);
        Ok(decision)
    }

    /// The checks that must hold whoever decided; why it is not to be done, in words.
    fn refusal(&self, decision: &Decision) -> Option<String> {
        let target = decision.target;
        if decision.expires_at.is_none() {
            return Some("an action without an end is never written".to_owned());
        }
        if canonical(target) != target {
            return Some(format!("{target} is not spelled as the kernel's maps spell it"));
        }
        let mut protected = self.protected.iter();
        let net = protected.find(|p| p.contains(&target) || target.contains(*p))?;
        Some(format!("{target} overlaps {net}, which is protected"))
    }

    /// The write itself; why it was not done, in words.
    fn write(&mut self, decision: &Decision, tidings: &mut Tidings) -> Result<(), String> {
        let target = decision.target;
        if let Some(cause) = self.refusal(decision) {
            return Err(cause);
        }
        let entry = entry_of(decision, self.clock);
        let mut written = self.put_and_read(target, &entry);
        if matches!(written, Err(EnforceError::Full { .. })) && self.make_room(target, tidings) {
            written = self.put_and_read(target, &entry);
        }
        if written.is_ok() && !decision.simulated && self.stopped.is_none() {
            // An entry behind a switch that is off only counts.
            written = self.check_switch(true).map(drop);
        }
        self.put_fault = written.as_ref().err().map(|error| format!("{target}: {error}"));
        written.map_err(|error| error.to_string())
    }

    pub(super) fn put_and_read(
        &mut self,
        target: IpNet,
        entry: &sentinel_common::entry::BlockEntry,
    ) -> Result<(), EnforceError> {
        let differs = |cause: &str| EnforceError::Kernel {
            map: "block",
            cause: cause.to_owned(),
        };
        self.enforcer.put_block(target, entry)?;
        match self.enforcer.get_block(target)? {
            Some(found) if found.same_order(entry) => Ok(()),
            Some(_) => Err(differs("the entry read back differs from the one written")),
            None => Err(differs("the entry written could not be read back")),
        }
    }

    /// A decision that could not be carried out: nothing of it may stay in force, nor of one it was to replace.
    fn give_up(
        &mut self,
        mut decision: Decision,
        mut action: Action,
        cause: String,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Decision, CommandError> {
        let target = decision.target;
        if let Some(old) = self.held.remove(&target).filter(|old| old.decision.id != decision.id) {
            self.supersede(old, &decision, now, tidings);
        }
        self.unwatch(&target, tidings);
        decision.terms.watch_until = None;
        self.gone.push(decision.id);
        action.status = ActionStatus::Failed;
        action.outcome_at = Some(now);
        action.outcome = format!("not enforced: {cause}");
        decision.status = DecisionStatus::Failed;
        decision.ended_at = Some(now);
        if let Err(error) = self.remove(target) {
            let settled = std::mem::replace(
                &mut action.outcome,
                format!(
                    "failed: {cause}; what of it is in the kernel could not be removed ({error}), tried again every second"
                ),
            );
            self.owe(&action, Some(decision.clone()), ActionStatus::Failed, settled);
        }
        tidings.audit(now, "sentinel", "failed", target.to_string(), action.outcome.clone());
        tidings.action(&action);
        tidings.decision(&decision);
        tidings.failed.push(decision.id);
        Err(CommandError::Failed(cause))
    }

    /// Makes the tidings durable, then tells whoever listens or waits.
    pub(super) async fn tell(&mut self, mut tidings: Tidings) -> Vec<DecisionId> {
        let ended = tidings.ended.into_iter().map(|ended| Record::Ended(Arc::new(ended)));
        tidings.records.extend(ended);
        self.memory.remember(tidings.records).await;
        let many = tidings.events.len() > MANY;
        if many {
            tracing::info!(events = tidings.events.len(), "decisions and actions in bulk");
        }
        for event in tidings.events {
            if !many {
                log(&event);
            }
            self.bus.publish(event);
        }
        for (reply, outcome) in tidings.applied {
            let _ = reply.send(outcome);
        }
        for (reply, outcome) in tidings.withdrawn {
            let _ = reply.send(outcome);
        }
        tidings.failed
    }

    /// Waits until a commit that was late is answered; never returns when none is.
    pub async fn settle(&mut self) {
        self.memory.settle().await;
    }

    /// Waits, for a bounded time, for what is not durable yet; call it last.
    pub async fn flush(&mut self) {
        self.memory.flush().await;
    }

    /// How this room fares, for `/health`: the worst first.
    pub fn condition(&self) -> Condition {
        let degraded = |cause: String, mend: &str| Condition::Degraded {
            cause,
            mend: mend.to_owned(),
        };
        if let Some(cause) = &self.allow_fault {
            let cause = format!("the kernel's allow map is not complete: {cause}");
            return degraded(
                cause,
                "shorten `allowlist`; no block is written for what it lists meanwhile",
            );
        }
        if let Some((target, _)) = self.owed.iter().next() {
            let cause = format!("{} entries could not be removed, {target} first", self.owed.len());
            return degraded(
                cause,
                "tried again every second; they lapse on time by themselves; see the log",
            );
        }
        if self.memory.lost() > 0 {
            let cause = format!("the store does not answer; {} records are lost", self.memory.lost());
            return degraded(cause, "look at the disk of `store.path`; enforcement goes on");
        }
        if self.memory.late() > 0 {
            let cause = format!(
                "the store is slower than `store.commit_deadline`; {} commits told of are not known to be durable yet",
                self.memory.late()
            );
            return degraded(cause, "look at the disk of `store.path`; enforcement goes on");
        }
        if let Some(cause) = &self.put_fault {
            let cause = format!("the latest block could not be enforced: {cause}");
            return degraded(cause, "the next one that can be clears this; see the action's outcome");
        }
        Condition::Ok {
            detail: match self.watches() {
                0 => format!("{} in force through {}", self.held.len(), self.enforcer.name()),
                watched => format!(
                    "{} in force, {watched} on probation through {}",
                    self.held.len(),
                    self.enforcer.name()
                ),
            },
        }
    }

    /// Decisions in force, by action and origin, for the gauge.
    pub fn in_force(&self) -> impl Iterator<Item = &Decision> {
        self.held.values().map(|held| &held.decision)
    }

    /// Number of decisions in force.
    pub fn holds(&self) -> usize {
        self.held.len()
    }
}

/// How far an action in force got.
const fn status_of(decision: &Decision) -> ActionStatus {
    if decision.simulated {
        ActionStatus::Simulated
    } else {
        ActionStatus::Enforced
    }
}

/// Whether a decision asks for an entry.
fn acts(decision: &Decision) -> bool {
    decision.status == DecisionStatus::Active && decision.action != ActionKind::LogOnly
}

/// Says what became of an action in force.
pub(super) fn tell_outcome(
    held: &mut Held,
    enforcer: &str,
    stopped: Option<&Stop>,
    now: Timestamp,
    tidings: &mut Tidings,
) {
    describe(held, enforcer, stopped, now);
    let action = &held.action;
    let (subject, verb) = (held.decision.target.to_string(), action_verb(action.status));
    tidings.audit(now, "sentinel", verb, subject, action.outcome.clone());
    tidings.action(action);
}

/// Writes into an action in force what became of it.
pub(super) fn describe(held: &mut Held, enforcer: &str, stopped: Option<&Stop>, now: Timestamp) {
    let by = format!("{} {enforcer}", held.how);
    let action = &mut held.action;
    if action.outcome_at.replace(now).is_none() {
        action.entered_at.get_or_insert(now);
    }
    (action.status, action.outcome) = match stopped.filter(|_| !held.decision.simulated) {
        Some(stop) => (ActionStatus::Simulated, held_back(stop)),
        None => (
            status_of(&held.decision),
            outcome(&held.decision, &by, held.instead.clone()),
        ),
    };
}

/// What is told of what a stop holds back.
fn held_back(stop: &Stop) -> String {
    format!(
        "held back since {}: {stop}; its entry stands and only counts, read back",
        stop.at
    )
}

/// An entry that was owed to be removed is no longer there as such.
pub(super) fn end_owed(mut owed: Owed, outcome: String, now: Timestamp, tidings: &mut Tidings) {
    owed.action.status = owed.ended;
    owed.action.outcome = outcome;
    owed.action.outcome_at = Some(now);
    let (subject, verb) = (owed.action.target.to_string(), action_verb(owed.ended));
    tidings.audit(now, "sentinel", verb, subject, owed.action.outcome.clone());
    tidings.action(&owed.action);
}
