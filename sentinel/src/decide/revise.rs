//! What more knowledge makes of a decision.

use super::judge::basis;
use super::{Guards, Judge};
use crate::types::{
    ActionKind, Alert, AlertId, Decision, DecisionId, DecisionStatus, Detector, InvestigationId, Origin, Rate, Risk,
    Terms, Timestamp, canonical,
};
use ipnet::IpNet;

/// What became of a decision when more was known.
#[derive(Clone, Debug, PartialEq)]
pub enum Revision {
    /// In force now, under its old name where there was one.
    Changed(Decision),
    /// No longer in force.
    Lifted(Decision),
}

/// What is known of the source of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// How risky it is.
    pub risk: &'a Risk,
    /// Where that is told.
    pub investigation: Option<InvestigationId>,
}

impl<'a> From<&'a Risk> for Found<'a> {
    fn from(risk: &'a Risk) -> Self {
        Self {
            risk,
            investigation: None,
        }
    }
}

/// Alerts remembered behind one decision; the one that asks for least is forgotten.
const SUPPORT: usize = 16;

impl Judge {
    /// Remembers what an alert asks for by itself of the decision on its source.
    pub(super) fn supported(&mut self, decision: DecisionId, alert: AlertId, asks: ActionKind) {
        let support = self.support.entry(decision).or_default();
        support.retain(|(old, _)| *old != alert);
        support.push((alert, asks));
        if support.len() > SUPPORT
            && let Some(mildest) = (0..support.len()).min_by_key(|at| support[*at].1)
        {
            support.remove(mildest);
        }
    }

    /// What an alert leads to now that more is known of its source. An alert that was only logged may act after all; what
    /// it led to may become graver, longer or milder, or be lifted, though never milder than other alerts about the same
    /// source ask for. What a person decided stands, and so does what a return on probation led to.
    pub fn revise<'a>(
        &mut self,
        alert: &Alert,
        found: impl Into<Found<'a>>,
        guards: &Guards,
        now: Timestamp,
    ) -> Option<Revision> {
        if alert.detector == Detector::Probation {
            return None;
        }
        let found = found.into();
        let target = canonical(IpNet::from(alert.source?));
        let measure = self.measure(alert, found.risk);
        let (wanted, _) = self.carried(measure.reaction, &target);
        let standing = self.ledger.on(&target).cloned();
        match standing {
            // It ran out or was taken back meanwhile: that is not undone by an answer that took its time.
            None if self.acted.contains(&alert.id) => None,
            Some(standing) if standing.origin == Origin::Operator => None,
            Some(standing) if wanted < standing.action => {
                self.soften(standing, alert, (wanted, measure.rate), found, now)
            }
            _ => {
                let decision = self.judge(alert, found, guards, now)?;
                (decision.status == DecisionStatus::Active).then_some(Revision::Changed(decision))
            }
        }
    }

    /// Makes what an alert led to milder, or ends it, as far as no other alert behind it asks for more.
    fn soften(
        &mut self,
        standing: Decision,
        alert: &Alert,
        (wanted, limit): (ActionKind, Option<Rate>),
        found: Found<'_>,
        now: Timestamp,
    ) -> Option<Revision> {
        let support = self.support.get(&standing.id)?;
        if !support.iter().any(|(behind, _)| *behind == alert.id) {
            return None;
        }
        self.supported(standing.id, alert.id, wanted);
        let support = self.support.get(&standing.id)?;
        let wanted = support.iter().map(|(_, asks)| *asks).max()?;
        if wanted >= standing.action {
            return None;
        }
        let risk = found.risk;
        if wanted == ActionKind::LogOnly {
            let mut lifted = self.end(standing.id, DecisionStatus::Lifted, now)?;
            lifted.reason = format!("lifted: {}; it had been: {}", risk.summary, standing.reason);
            lifted.risk = Some(risk.level);
            lifted.investigation = found.investigation.or(lifted.investigation);
            return Some(Revision::Lifted(lifted));
        }
        // The kernel asks the narrowest entry: a milder one here would open a hole in a graver one around it.
        let graver = |d: &Decision| d.id != standing.id && d.action > wanted && (standing.simulated || !d.simulated);
        if self.ledger.covering(standing.target).any(graver) {
            return None;
        }
        let mut milder = standing;
        milder.action = wanted;
        milder.risk = Some(risk.level);
        milder.basis = Some(basis(risk));
        milder.investigation = found.investigation.or(milder.investigation);
        milder.reason = format!("made milder: {}; {}", alert.summary, risk.summary);
        let rate = limit.or(milder.terms.rate);
        let (watch_until, reapply_ms) = (milder.terms.watch_until, milder.terms.reapply_ms);
        milder.terms = Terms {
            watch_until,
            reapply_ms,
            ..self.terms(wanted, rate, None)
        };
        self.ledger.put(milder.clone());
        Some(Revision::Changed(milder))
    }
}
