//! What more knowledge makes of a decision.

use super::judge::basis;
use super::{Guards, Judge};
use crate::types::{ActionKind, Alert, Decision, DecisionStatus, Origin, Risk, Terms, Timestamp, canonical};
use ipnet::IpNet;

/// What became of a decision when more was known.
#[derive(Clone, Debug, PartialEq)]
pub enum Revision {
    /// In force now, under its old name where there was one.
    Changed(Decision),
    /// No longer in force.
    Lifted(Decision),
}

impl Judge {
    /// What an alert leads to now that more is known of its source. An alert that was only logged may act after all; what
    /// it led to may become graver, longer or milder, or be lifted. What a person decided stands, and so does what later
    /// alerts led to.
    pub fn revise(&mut self, alert: &Alert, risk: &Risk, guards: &Guards, now: Timestamp) -> Option<Revision> {
        let target = canonical(IpNet::from(alert.source?));
        let (wanted, _) = self.carried(self.wanted(alert, risk), &target);
        let standing = self.ledger.on(&target).cloned();
        match standing {
            // It ran out or was taken back meanwhile: that is not undone by an answer that took its time.
            None if self.acted.contains(&alert.id) => None,
            Some(standing) if standing.origin == Origin::Operator => None,
            Some(standing) if wanted < standing.action => self.soften(standing, alert, wanted, risk, now),
            _ => {
                let decision = self.judge(alert, risk, guards, now)?;
                (decision.status == DecisionStatus::Active).then_some(Revision::Changed(decision))
            }
        }
    }

    /// Makes what an alert led to milder, or ends it.
    fn soften(
        &mut self,
        standing: Decision,
        alert: &Alert,
        wanted: ActionKind,
        risk: &Risk,
        now: Timestamp,
    ) -> Option<Revision> {
        if standing.alert != Some(alert.id) {
            return None;
        }
        if wanted == ActionKind::LogOnly {
            let mut lifted = self.end(standing.id, DecisionStatus::Lifted, now)?;
            lifted.reason = format!("lifted: {}; it had been: {}", risk.summary, standing.reason);
            lifted.risk = Some(risk.level);
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
        milder.reason = format!("made milder: {}; {}", alert.summary, risk.summary);
        let rate = milder.terms.rate;
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
