//! Who has been spoken about, so that nobody repeats itself.

use super::{Finding, capacity, score, severity};
use crate::config::SeverityThresholds;
use crate::flow::Bounded;
use crate::types::{Detector, EvidenceClass, Family, Ktime, Severity};
use std::net::IpAddr;
use std::time::Duration;

/// Peers of a source that are told of each by itself within a pause: whoever is infected may have several masters, and one
/// that talks with hundreds is told of that often.
const PEERS: u8 = 4;

/// What an alert is about: the source (or, where sources are forged, the service's address; or both, a source and its
/// peer), detector and family.
type Topic = (Option<IpAddr>, Option<IpAddr>, Detector, Family);

/// What was said of a topic.
#[derive(Clone, Copy, Debug)]
struct Said {
    at: Ktime,
    severity: Severity,
    /// Of a source: with how many peers, since when, within a pause.
    peers: u8,
    since: Ktime,
}

/// Remembers what was said and how gravely. Bounded; what makes room may be said again.
#[derive(Debug)]
pub struct Voice {
    said: Bounded<Topic, Said>,
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
        Bounded::<Topic, Said>::memory_bound(capacity(sources))
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

    /// The same of a source and one of its peers, of which [`PEERS`] are told of within a pause.
    pub fn may_wonder_about(
        &self,
        [source, peer]: [IpAddr; 2],
        detector: Detector,
        family: Family,
        ratio: f64,
        at: Ktime,
    ) -> bool {
        let (own, pair) = (
            (Some(source), None, detector, family),
            (Some(source), Some(peer), detector, family),
        );
        let many = |said: &Said| at.since(said.since) < self.after && said.peers >= PEERS;
        let another = !self.lately(&pair, at);
        self.fresh(&pair, EvidenceClass::Statistical, ratio, at) && !(another && self.said.peek(&own).is_some_and(many))
    }

    /// Whether it was spoken of within a pause.
    fn lately(&self, topic: &Topic, at: Ktime) -> bool {
        self.said.peek(topic).is_some_and(|said| at.since(said.at) < self.after)
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
            Some(said) => at.since(said.at) >= self.after || now > said.severity,
        }
    }

    /// Takes down that a finding is told of.
    pub(super) fn said(&mut self, detector: Detector, finding: &Finding, severity: Severity) {
        let (source, family, at) = (finding.source, finding.family, finding.at);
        let target = finding.targets.first().map(|t| t.ip);
        if source.is_none() {
            self.note((None, target, detector, family), at, severity, false);
            return;
        }
        let pair = (source, target, detector, family);
        let of_two = finding.class == EvidenceClass::Statistical && target.is_some();
        let another = of_two && !self.lately(&pair, at);
        self.note((source, None, detector, family), at, severity, another);
        if of_two {
            self.note(pair, at, severity, false);
        }
    }

    fn note(&mut self, topic: Topic, at: Ktime, severity: Severity, another: bool) {
        let before = self.said.peek(&topic).filter(|said| at.since(said.since) < self.after);
        let (since, peers) = before.map_or((at, 0), |said| (said.since, said.peers));
        let said = Said {
            at,
            severity,
            peers: peers.saturating_add(u8::from(another)),
            since,
        };
        self.said.insert(topic, said);
    }

    pub(super) fn forget(&mut self, now: Ktime) {
        while self
            .said
            .oldest()
            .is_some_and(|(_, said)| now.since(said.at) >= self.after)
        {
            self.said.pop_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Service;
    use std::borrow::Cow;

    fn finding(peer: u8, second: u64) -> Finding {
        Finding {
            at: Ktime(second * 1_000_000_000),
            source: Some(IpAddr::from([10, 0, 0, 1])),
            targets: vec![Service {
                ip: IpAddr::from([192, 0, 2, peer]),
                port: 443,
                proto: 6,
            }],
            family: Family::C2,
            technique: Cow::Borrowed("beacon"),
            ratio: 1.5,
            class: EvidenceClass::Statistical,
            evidence: Vec::new(),
            summary: String::new(),
        }
    }

    #[test]
    fn several_peers_of_a_source_are_news_each_once_and_not_all_of_hundreds() {
        let thresholds = crate::config::Config::default().severity_thresholds;
        let mut voice = Voice::new(Duration::from_mins(1), thresholds, 1024);
        let mut told = |peer: u8, second: u64| {
            let finding = finding(peer, second);
            let pair = [finding.source.unwrap(), finding.targets[0].ip];
            let may = voice.may_wonder_about(pair, Detector::Beacon, Family::C2, 1.5, finding.at);
            if may {
                voice.said(Detector::Beacon, &finding, Severity::Medium);
            }
            may
        };
        assert!(told(1, 0) && told(2, 1) && told(3, 2), "each is another");
        assert!(!told(1, 30) && !told(2, 31), "none is told twice");
        assert!(told(4, 32));
        assert!(!told(5, 33) && !told(6, 59), "of a fifth enough was said");
        assert!(told(5, 60), "a minute later it is told of");
        assert!(told(1, 61) && told(6, 62) && told(7, 63) && !told(8, 64));
        let pair = |peer: u8| [IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, peer])];
        let may = |peer, ratio| {
            voice.may_wonder_about(pair(peer), Detector::Beacon, Family::C2, ratio, Ktime(65_000_000_000))
        };
        assert!(!may(7, 1.5) && !may(8, 9.0));
    }
}
