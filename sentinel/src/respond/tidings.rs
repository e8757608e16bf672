//! What is still to be stored, then told.

use super::memory::Refused;
use crate::store::Record;
use crate::types::{
    Action, ActionStatus, Alert, CommandError, Decision, DecisionId, DecisionStatus, Ended, EndedOne, Ending, Event,
    Timestamp,
};
use std::sync::Arc;
use tokio::sync::oneshot;

type Reply<T> = (oneshot::Sender<Result<T, CommandError>>, Result<T, CommandError>);

/// Records of an outcome, and who is to hear of it once they are durable.
#[derive(Default)]
pub(super) struct Tidings {
    pub(super) records: Vec<Record>,
    pub(super) events: Vec<Event>,
    pub(super) applied: Vec<Reply<Decision>>,
    pub(super) withdrawn: Vec<Reply<Vec<Decision>>>,
    pub(super) failed: Vec<DecisionId>,
    /// What ended together.
    pub(super) ended: Vec<Ended>,
    /// One line stands for all of it, and is kept by whoever began it.
    pub(super) unaudited: bool,
}

impl Tidings {
    pub(super) fn alert(&mut self, alert: &Arc<Alert>) {
        self.records.push(Record::Alert(Arc::clone(alert)));
    }

    pub(super) fn decision(&mut self, decision: &Decision) {
        let decision = Arc::new(decision.clone());
        self.records.push(Record::Decision(Arc::clone(&decision)));
        self.events.push(Event::Decision(decision));
    }

    pub(super) fn action(&mut self, action: &Action) {
        let action = Arc::new(action.clone());
        self.records.push(Record::Action(Arc::clone(&action)));
        self.events.push(Event::Action(action));
    }

    /// Tells of a decision and its action that ended as many others did: their records are one.
    pub(super) fn ended(&mut self, decision: &Decision, action: Option<Action>, ending: Ending) {
        let one = EndedOne {
            decision: decision.id,
            watch_until: ending.watch_until,
            hits: ending.hits,
            would_hits: ending.would_hits,
        };
        let same = |ended: &&mut Ended| (ended.at, ended.status, &ended.by) == (ending.at, ending.status, &ending.by);
        match self.ended.last_mut().filter(same) {
            Some(ended) => ended.each.push(one),
            None => self.ended.push(Ended {
                at: ending.at,
                status: ending.status,
                by: ending.by,
                each: vec![one],
            }),
        }
        self.events.extend(action.map(|action| Event::Action(Arc::new(action))));
        self.events.push(Event::Decision(Arc::new(decision.clone())));
    }

    pub(super) fn audit(&mut self, at: Timestamp, actor: &str, verb: &str, subject: String, detail: String) {
        if self.unaudited {
            return;
        }
        self.records.push(Record::Audit {
            at,
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            subject,
            detail,
        });
    }

    /// Passes an alert on, unless the store does not have it.
    pub(super) fn tell_alert(&mut self, alert: Arc<Alert>, refused: &Refused) {
        if !refused.alerts.contains(&alert.id) {
            self.events.push(Event::Alert(alert));
        }
    }
}

/// One structured line per event, for people who follow the log.
pub(super) fn log(event: &Event) {
    match event {
        Event::Alert(alert) => {
            let (detector, severity) = (alert.detector.as_str(), alert.severity.as_str());
            tracing::info!(id = %alert.id, detector, severity, score = alert.score, "alert: {}", alert.summary);
        }
        Event::Investigation(found) => {
            let state = found.state.as_str();
            tracing::info!(id = %found.id, alert = %found.alert, ip = %found.ip, state, "investigation: {}", found.risk.summary);
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

pub(super) fn audit_verb(decision: &Decision) -> &'static str {
    match decision.status {
        DecisionStatus::Vetoed => "vetoed",
        DecisionStatus::Logged => "logged",
        _ => "decided",
    }
}

pub(super) fn action_verb(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Simulated => "simulated",
        ActionStatus::Failed => "failed",
        ActionStatus::Reverted => "reverted",
        ActionStatus::Expired => "expired",
        _ => "enforced",
    }
}
