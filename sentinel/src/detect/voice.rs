//! Who has been spoken about, so that nobody repeats itself.

use super::{Finding, capacity, score, severity};
use crate::config::SeverityThresholds;
use crate::flow::Bounded;
use crate::types::{Detector, EvidenceClass, Family, Ktime, Severity};
use std::net::IpAddr;
use std::time::Duration;

/// What an alert is about: the source (or, where sources are forged, the service's address), detector and family.
pub(super) type Topic = (Option<IpAddr>, Option<IpAddr>, Detector, Family);

/// The topic of a finding.
pub(super) fn topic(detector: Detector, finding: &Finding) -> Topic {
    let target = match finding.source {
        None => finding.targets.first().map(|t| t.ip),
        Some(_) => None,
    };
    (finding.source, target, detector, finding.family)
}

/// Remembers what was said and how gravely. Bounded; what makes room may be said again.
#[derive(Debug)]
pub struct Voice {
    said: Bounded<Topic, (Ktime, Severity)>,
    after: Duration,
    thresholds: SeverityThresholds,
}

impl Voice {
    /// Nothing said yet.
    pub fn new(after: Duration, thresholds: SeverityThresholds, sources: usize) -> Self {
        Self {
            said: Bounded::new(capacity(sources)),
            after,
            thresholds,
        }
    }

    /// Goes by another pause and other thresholds; what was said stays said.
    pub(super) const fn renew(&mut self, after: Duration, thresholds: SeverityThresholds) {
        self.after = after;
        self.thresholds = thresholds;
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Topic, (Ktime, Severity)>::memory_bound(capacity(sources))
    }

    pub(super) fn thresholds(&self) -> SeverityThresholds {
        self.thresholds
    }

    /// Whether an alert about `source` at `ratio` of its limit would say something new.
    pub fn may(&self, source: IpAddr, detector: Detector, family: Family, ratio: f64, at: Ktime) -> bool {
        self.fresh(
            &(Some(source), None, detector, family),
            EvidenceClass::Behaviour,
            ratio,
            at,
        )
    }

    /// The same where sources are forged and only the target is known.
    pub fn may_about(&self, target: IpAddr, detector: Detector, family: Family, ratio: f64, at: Ktime) -> bool {
        self.fresh(
            &(None, Some(target), detector, family),
            EvidenceClass::Behaviour,
            ratio,
            at,
        )
    }

    /// The same for a statistical oddity, whose severity never rises past medium.
    pub fn may_wonder(&self, source: IpAddr, detector: Detector, family: Family, ratio: f64, at: Ktime) -> bool {
        self.fresh(
            &(Some(source), None, detector, family),
            EvidenceClass::Statistical,
            ratio,
            at,
        )
    }

    fn fresh(&self, topic: &Topic, class: EvidenceClass, ratio: f64, at: Ktime) -> bool {
        let Some(mut now) = severity(score(ratio), &self.thresholds) else {
            return false;
        };
        if class == EvidenceClass::Statistical {
            now = now.min(Severity::Medium);
        }
        match self.said.peek(topic) {
            None => true,
            Some((then, before)) => at.since(*then) >= self.after || now > *before,
        }
    }

    pub(super) fn said(&mut self, topic: Topic, at: Ktime, severity: Severity) {
        self.said.insert(topic, (at, severity));
    }

    pub(super) fn forget(&mut self, now: Ktime) {
        while self
            .said
            .oldest()
            .is_some_and(|(_, (at, _))| now.since(*at) >= self.after)
        {
            self.said.pop_oldest();
        }
    }
}
