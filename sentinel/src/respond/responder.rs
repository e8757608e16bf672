//! Carries orders out: remember, do, read back, remember, tell.

use super::held::{Held, HitTable, entry_of, hits_of};
use super::{Cause, EnforceError, Enforcer, Order};
use crate::bus::Bus;
use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::{
    Action, ActionKind, ActionStatus, Alert, Clock, CommandError, Condition, Decision, DecisionId, DecisionStatus,
    Event, Ktime, Mint, Protected, Timestamp,
};
use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

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
    enforcer: E,
    deps: Deps,
    mint: Mint,
    clock: Clock,
    held: BTreeMap<IpNet, Held>,
}

/// What is still to be told once the outcome is durable.
#[derive(Default)]
struct Tidings {
    records: Vec<Record>,
    events: Vec<Event>,
    applied: Vec<Reply<Decision>>,
    withdrawn: Vec<Reply<Vec<Decision>>>,
    failed: Vec<DecisionId>,
}

/// Who waits, and what they are to be told.
type Reply<T> = (oneshot::Sender<Result<T, CommandError>>, Result<T, CommandError>);

impl Tidings {
    fn alert(&mut self, alert: &Arc<Alert>) {
        self.records.push(Record::Alert(Arc::clone(alert)));
        self.events.push(Event::Alert(Arc::clone(alert)));
    }

    fn decision(&mut self, decision: &Decision) {
        let decision = Arc::new(decision.clone());
        self.records.push(Record::Decision(Arc::clone(&decision)));
        self.events.push(Event::Decision(decision));
    }

    fn action(&mut self, action: &Action) {
        let action = Arc::new(action.clone());
        self.records.push(Record::Action(Arc::clone(&action)));
        self.events.push(Event::Action(action));
    }

    fn audit(&mut self, at: Timestamp, actor: &str, verb: &str, subject: String, detail: String) {
        self.records.push(Record::Audit {
            at,
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            subject,
            detail,
        });
    }
}

impl<E: Enforcer> Responder<E> {
    /// A responder that holds nothing yet.
    pub fn new(enforcer: E, deps: Deps, clock: Clock) -> Self {
        Self {
            enforcer,
            deps,
            mint: Mint::Random,
            clock,
            held: BTreeMap::new(),
        }
    }

    /// Carries out a batch of orders and answers whoever waits. Returns the decisions that could not be enforced.
    pub async fn carry_out(&mut self, orders: Vec<Order>, now: Timestamp) -> Vec<DecisionId> {
        let (intents, records) = self.intents(&orders, now);
        self.remember(records).await;

        let mut tidings = Tidings::default();
        for (order, intent) in orders.into_iter().zip(intents) {
            match order {
                Order::Note(alert) => tidings.events.push(Event::Alert(alert)),
                Order::Apply {
                    decision,
                    alert,
                    evidence_at,
                    reply,
                } => {
                    tidings.events.extend(alert.map(Event::Alert));
                    let outcome = self.apply(decision, intent, evidence_at, now, &mut tidings);
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

    /// The write-ahead half: everything that is about to be done, as it stands before it is done.
    fn intents(&mut self, orders: &[Order], now: Timestamp) -> (Vec<Option<Action>>, Vec<Record>) {
        let mut before = Tidings::default();
        let intents = orders
            .iter()
            .map(|order| match order {
                Order::Note(alert) => {
                    self.deps.metrics.alert(alert);
                    before.alert(alert);
                    None
                }
                Order::Apply { decision, alert, .. } => {
                    if let Some(alert) = alert {
                        self.deps.metrics.alert(alert);
                        before.alert(alert);
                    }
                    self.deps.metrics.decision(decision);
                    before.decision(decision);
                    let intent = (decision.status == DecisionStatus::Active && decision.action != ActionKind::LogOnly)
                        .then(|| self.intent(decision, now));
                    if let Some(action) = &intent {
                        before.action(action);
                    }
                    before.audit(
                        now,
                        &decision.actor,
                        audit_verb(decision),
                        decision.target.to_string(),
                        decision.reason.clone(),
                    );
                    intent
                }
                Order::Withdraw {
                    decisions,
                    cause,
                    actor,
                    ..
                } => {
                    for decision in decisions {
                        before.audit(
                            now,
                            actor,
                            cause.as_str(),
                            decision.target.to_string(),
                            decision.id.to_string(),
                        );
                    }
                    None
                }
            })
            .collect();
        (intents, before.records)
    }

    /// The action that stands for a decision: a new one, or the one already held when a decision is extended.
    fn intent(&mut self, decision: &Decision, now: Timestamp) -> Action {
        let held = self
            .held
            .get(&decision.target)
            .filter(|held| held.decision.id == decision.id);
        let (id, intent_at) = held.map_or_else(
            || (self.mint.action(now), now),
            |held| (held.action.id, held.action.intent_at),
        );
        Action {
            id,
            decision: decision.id,
            kind: decision.action,
            target: decision.target,
            status: ActionStatus::Intent,
            intent_at,
            outcome_at: None,
            expires_at: decision.expires_at,
            outcome: String::new(),
            hits: 0,
            would_hits: 0,
        }
    }

    fn apply(
        &mut self,
        mut decision: Decision,
        intent: Option<Action>,
        evidence_at: Option<Ktime>,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Decision, CommandError> {
        let Some(mut action) = intent else {
            tidings.events.push(Event::Decision(Arc::new(decision.clone())));
            return match &decision.veto {
                Some(veto) => Err(CommandError::Vetoed(veto.clone())),
                None => Ok(decision),
            };
        };
        let entry = entry_of(&decision, self.clock);
        let written = self
            .enforcer
            .put_block(decision.target, &entry)
            .and_then(|()| self.enforcer.get_block(decision.target));
        action.outcome_at = Some(now);
        let failure = match written {
            Ok(Some(found)) if found.same_order(&entry) => None,
            Ok(Some(_)) => Some("the entry read back differs from the one written".to_owned()),
            Ok(None) => Some("the entry written could not be read back".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(cause) = failure {
            // An extension that failed must not leave the older entry in force without a decision that knows of it.
            let _ = self.enforcer.delete_block(decision.target);
            self.held.remove(&decision.target);
            action.status = ActionStatus::Failed;
            action.outcome = format!("not enforced: {cause}");
            decision.status = DecisionStatus::Failed;
            decision.ended_at = Some(now);
            tidings.audit(
                now,
                "sentinel",
                "failed",
                decision.target.to_string(),
                action.outcome.clone(),
            );
            tidings.action(&action);
            tidings.decision(&decision);
            tidings.failed.push(decision.id);
            return Err(CommandError::Failed(cause));
        }
        let (status, verb) = if decision.simulated {
            (ActionStatus::Simulated, "simulated: counted, not dropped, by")
        } else {
            (ActionStatus::Enforced, "enforced by")
        };
        action.status = status;
        action.outcome = format!("{verb} {}, read back", self.enforcer.name());
        tidings.audit(
            now,
            "sentinel",
            action_verb(status),
            decision.target.to_string(),
            action.outcome.clone(),
        );
        tidings.action(&action);
        let extended = self
            .held
            .get(&decision.target)
            .is_some_and(|held| held.decision.id == decision.id);
        let evidence_at = evidence_at.filter(|_| !extended && !decision.simulated);
        tidings.events.push(Event::Decision(Arc::new(decision.clone())));
        let held = Held {
            decision: decision.clone(),
            action,
            evidence_at,
        };
        if let Some(old) = self.held.insert(decision.target, held)
            && old.decision.id != decision.id
        {
            supersede(old, &decision, now, tidings);
        }
        Ok(decision)
    }

    fn withdraw(
        &mut self,
        decisions: Vec<Decision>,
        cause: Cause,
        actor: &str,
        now: Timestamp,
        tidings: &mut Tidings,
    ) -> Result<Vec<Decision>, CommandError> {
        let mut failures = Vec::new();
        for decision in &decisions {
            let removed = self.remove(decision);
            if let Err(error) = &removed {
                failures.push(format!("{}: {error}", decision.target));
            }
            if let Some(mut held) = self.held.remove(&decision.target) {
                let ended = if cause == Cause::Expired {
                    ActionStatus::Expired
                } else {
                    ActionStatus::Reverted
                };
                match &removed {
                    Ok(last) => {
                        held.action.status = ended;
                        held.action.outcome = format!("{} by {actor}; entry gone, read back", cause.as_str());
                        (held.action.hits, held.action.would_hits) = *last;
                    }
                    Err(error) => {
                        held.action.outcome = format!("removal failed: {error}; the kernel lets it lapse by itself");
                    }
                }
                held.action.outcome_at = Some(now);
                tidings.action(&held.action);
                self.deps.metrics.reverted(cause.as_str());
            }
            tidings.decision(decision);
        }
        if failures.is_empty() {
            Ok(decisions)
        } else {
            Err(CommandError::Failed(failures.join("; ")))
        }
    }

    /// Removes a decision's entry, proves that it is gone, and returns its last counters (hits, would-be hits).
    fn remove(&mut self, decision: &Decision) -> Result<(u64, u64), EnforceError> {
        let last = self.enforcer.delete_block(decision.target)?;
        match self.enforcer.get_block(decision.target)? {
            None => Ok(last.map_or((0, 0), |entry| (entry.hits, entry.would_hits))),
            Some(_) => Err(EnforceError::Kernel {
                map: "block",
                cause: "the entry is still there after its removal".into(),
            }),
        }
    }

    /// Makes the tidings durable, then tells whoever listens or waits.
    async fn tell(&mut self, tidings: Tidings) -> Vec<DecisionId> {
        self.remember(tidings.records).await;
        for event in tidings.events {
            log(&event);
            self.deps.bus.publish(event);
        }
        for (reply, outcome) in tidings.applied {
            let _ = reply.send(outcome);
        }
        for (reply, outcome) in tidings.withdrawn {
            let _ = reply.send(outcome);
        }
        tidings.failed
    }

    /// Waits for the disk, but no longer than the deadline: enforcement does not depend on it.
    async fn remember(&self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        match tokio::time::timeout(self.deps.commit_deadline, self.deps.store.commit(records)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "going on before the store has the record"),
            Err(_) => {
                tracing::warn!(deadline = ?self.deps.commit_deadline, "the store is slow; going on, the record is queued");
            }
        }
    }

    /// Puts back what was in force before a restart.
    pub fn restore(&mut self, decisions: Vec<(Decision, Option<Action>)>, now: Timestamp) -> Vec<DecisionId> {
        let mut failed = Vec::new();
        for (decision, action) in decisions {
            let entry = entry_of(&decision, self.clock);
            if let Err(error) = self.enforcer.put_block(decision.target, &entry) {
                tracing::error!(target_net = %decision.target, %error, "could not restore a decision");
                failed.push(decision.id);
                continue;
            }
            let mut action = action.unwrap_or_else(|| self.intent(&decision, now));
            action.status = if decision.simulated {
                ActionStatus::Simulated
            } else {
                ActionStatus::Enforced
            };
            self.held.insert(
                decision.target,
                Held {
                    decision,
                    action,
                    evidence_at: None,
                },
            );
        }
        failed
    }

    /// Makes the allow maps equal to the protected list: adds first, removes after.
    ///
    /// # Errors
    /// [`EnforceError`] when a map refuses; what could be added is in.
    pub fn protect(&mut self, protected: &[Protected]) -> Result<(), EnforceError> {
        let wanted: BTreeSet<IpNet> = protected.iter().map(|p| p.target.trunc()).collect();
        let present: BTreeSet<IpNet> = self.enforcer.list_allows()?.into_iter().map(|(net, _)| net).collect();
        for net in wanted.difference(&present) {
            let entry = AllowEntry {
                expires_ns: NEVER_NS,
                prefix_len: net.prefix_len(),
                ..AllowEntry::default()
            };
            self.enforcer.put_allow(*net, &entry)?;
        }
        for net in present.difference(&wanted) {
            self.enforcer.delete_allow(*net)?;
        }
        Ok(())
    }

    /// Notes first drops for `sentinel_detect_to_drop_seconds`. Returns whether any is still awaited.
    pub fn watch_first_drops(&mut self) -> bool {
        let mut awaited = false;
        for (target, held) in &mut self.held {
            let Some(evidence_at) = held.evidence_at else { continue };
            match self.enforcer.get_block(*target) {
                Ok(Some(entry)) if entry.hits > 0 => {
                    let took = Ktime(entry.first_hit_ns).since(evidence_at);
                    self.deps.metrics.detect_to_drop_seconds.observe(took.as_secs_f64());
                    held.evidence_at = None;
                }
                _ => awaited = true,
            }
        }
        awaited
    }

    /// The hit counters of everything in force.
    ///
    /// # Errors
    /// [`EnforceError`] when a map cannot be read.
    pub fn hits(&self) -> Result<HitTable, EnforceError> {
        let entries = self.enforcer.list_blocks()?;
        Ok(entries
            .iter()
            .map(|(_, entry)| {
                (
                    DecisionId(uuid::Uuid::from_bytes(entry.decision)),
                    hits_of(entry, self.clock),
                )
            })
            .collect())
    }

    /// Compares the kernel with what should be in force, repairs what differs and returns how many entries did.
    ///
    /// # Errors
    /// [`EnforceError`] when a map cannot be read; nothing is then repaired.
    pub fn self_check(&mut self) -> Result<u64, EnforceError> {
        let present: BTreeMap<IpNet, _> = self.enforcer.list_blocks()?.into_iter().collect();
        let mut drift = 0;
        for (target, held) in &self.held {
            let wanted = entry_of(&held.decision, self.clock);
            if !present.get(target).is_some_and(|entry| entry.same_order(&wanted)) {
                drift += 1;
                tracing::warn!(%target, decision = %held.decision.id, "block map differs from the decision; repaired");
                self.enforcer.put_block(*target, &wanted)?;
            }
        }
        for target in present.keys().filter(|target| !self.held.contains_key(*target)) {
            drift += 1;
            tracing::warn!(%target, "block map holds an entry without a decision; removed");
            self.enforcer.delete_block(*target)?;
        }
        Ok(drift)
    }

    /// How this room fares, for `/health`.
    pub fn condition(&self) -> Condition {
        Condition::Ok {
            detail: format!("{} in force through {}", self.held.len(), self.enforcer.name()),
        }
    }

    /// Decisions in force, by action and origin, for the gauge.
    pub fn in_force(&self) -> impl Iterator<Item = &Decision> {
        self.held.values().map(|held| &held.decision)
    }
}

/// An older decision on the same target gave way to a new one: its action is over, the entry is the new one's.
fn supersede(mut old: Held, by: &Decision, now: Timestamp, tidings: &mut Tidings) {
    old.action.status = ActionStatus::Reverted;
    old.action.outcome = format!("superseded by decision {}", by.id);
    old.action.outcome_at = Some(now);
    old.decision.status = DecisionStatus::Deleted;
    old.decision.ended_at = Some(now);
    tidings.action(&old.action);
    tidings.decision(&old.decision);
}

/// One structured line per event, for people who follow the log.
fn log(event: &Event) {
    match event {
        Event::Alert(alert) => {
            let (detector, severity) = (alert.detector.as_str(), alert.severity.as_str());
            tracing::info!(id = %alert.id, detector, severity, score = alert.score, "alert: {}", alert.summary);
        }
        Event::Decision(decision) => {
            tracing::debug!(id = %decision.id, target_net = %decision.target, status = ?decision.status, "decision");
        }
        Event::Action(action) => {
            let (kind, status) = (action.kind.as_str(), action.status);
            tracing::info!(id = %action.id, decision = %action.decision, kind, target_net = %action.target, ?status, "action: {}", action.outcome);
        }
    }
}

fn audit_verb(decision: &Decision) -> &'static str {
    match decision.status {
        DecisionStatus::Vetoed => "vetoed",
        DecisionStatus::Logged => "logged",
        _ => "decided",
    }
}

fn action_verb(status: ActionStatus) -> &'static str {
    if status == ActionStatus::Simulated {
        "simulated"
    } else {
        "enforced"
    }
}
