//! Drowning a TCP service in handshakes that are never finished.

use super::sketch::Sketch;
use super::{Detector, Finding, Voice, capacity, place, row, span};
use crate::config::SynFloodConfig;
use crate::flow::{Bounded, Fate, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime, Service};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 8;
/// SYNs a client may send for one connection before they count one by one: the first and two repetitions.
const PATIENCE: u32 = 3;
/// Services watched for floods from everywhere; the least recently hit makes room.
const SERVICES: usize = 1024;
/// Handshakes a source completed in the last minute weigh this much against those it did not.
const HONEST: u32 = 3;
/// Pairs of source and host watched for floods over many ports; the least recently hit makes room.
const SPRAYS: usize = 64;
/// Refused ports asked again by a new connection within the window: no scanner does that, a flood of random ports must.
const AGAIN: u32 = 8;
/// Words of the sketch that estimates the number of sources.
const SKETCH: usize = 32;

/// Half-open handshakes of one source with one service.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    half_open: Ring<SLOTS>,
    flagged: Ktime,
}

/// Half-open handshakes of everybody with one service.
#[derive(Clone, Debug)]
struct Crowd {
    half_open: Ring<SLOTS>,
    /// Sources of this window and the one before.
    sketch: Sketch<2, SKETCH>,
}

/// SYNs of one source to all ports of one host, once there are many.
#[derive(Clone, Debug)]
struct Spray {
    /// Ports that refused in this window, a bit each.
    refused: Box<[u64; 1024]>,
    epoch: u64,
    again: Ring<SLOTS>,
}

/// Counts half-open handshakes per source and service, and per service over all sources.
///
/// A handshake is half-open when the initiator reset it after the SYN-ACK or let the time to answer pass; so are
/// repeated SYNs in one flow. One source that floods many ports of a host is told from a scan by asking ports again
/// that had just refused. Who completes handshakes as well is no flood until the others outweigh them threefold.
#[derive(Debug)]
pub struct SynFlood {
    pairs: Bounded<(Addr, Addr, u16), Pair>,
    crowds: Bounded<(Addr, u16), Crowd>,
    hosts: Bounded<(Addr, Addr), Ring<SLOTS>>,
    sprays: Bounded<(Addr, Addr), Spray>,
    window: Duration,
    slot_ns: u64,
    limit: u32,
    limit_all: u32,
}

impl SynFlood {
    /// No flood yet.
    pub fn new(config: &SynFloodConfig, sources: usize) -> Self {
        Self {
            pairs: Bounded::new(capacity(sources)),
            crowds: Bounded::new(SERVICES),
            hosts: Bounded::new(capacity(sources)),
            sprays: Bounded::new(SPRAYS),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            limit: config.half_open.max(1),
            limit_all: config.half_open_all.max(1),
        }
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<(Addr, Addr, u16), Pair>::memory_bound(capacity(sources))
            + Bounded::<(Addr, Addr), Ring<SLOTS>>::memory_bound(capacity(sources))
            + Bounded::<(Addr, u16), Crowd>::memory_bound(SERVICES)
            + Bounded::<(Addr, Addr), Spray>::memory_bound(SPRAYS)
            + SPRAYS * size_of::<[u64; 1024]>()
    }

    /// Half-open handshakes this observation adds.
    fn fresh(o: &Observation) -> u32 {
        if !o.tcp() || o.completed || o.forward.syn == 0 {
            return 0;
        }
        let repeated = if o.forward.syn > PATIENCE {
            o.forward_delta.syn.min(o.forward.syn - PATIENCE)
        } else {
            0
        };
        let given_up = u32::from(o.fate_now && matches!(o.fate, Fate::HalfOpen | Fate::Unanswered));
        repeated.max(given_up)
    }

    /// Notes a SYN that came to nothing; how many SYNs the source sent the host, and how many refused ports it asked
    /// again, once both say flood.
    fn spray(&mut self, o: &Observation) -> Option<(u32, u32)> {
        let key = (Addr::from(o.source), Addr::from(o.target.ip));
        let sums = self.hosts.touch_or(key, Ring::default);
        let syns = sums.add(o.at, self.slot_ns, o.forward_delta.syn);
        if syns < self.limit {
            return None;
        }
        let epoch = o.at.0 / (self.window.as_nanos() as u64).max(1);
        let spray = self.sprays.touch_or(key, || Spray {
            refused: Box::new([0; 1024]),
            epoch,
            again: Ring::default(),
        });
        if epoch > spray.epoch {
            spray.epoch = epoch;
            *spray.refused = [0; 1024];
        }
        let mut again = 0;
        if o.fate_now && o.fate == Fate::Refused {
            let (word, bit) = (usize::from(o.target.port / 64), 1 << (o.target.port % 64));
            again = u32::from(spray.refused[word] & bit != 0);
            spray.refused[word] |= bit;
        }
        let again = spray.again.add(o.at, self.slot_ns, again);
        (syns >= self.limit_all && again >= AGAIN).then_some((syns, again))
    }

    fn sprayed(&self, o: &Observation, syns: u32, again: u32) -> Finding {
        let window = span(self.window);
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Flood,
            technique: "syn flood many ports".into(),
            ratio: f64::from(syns) / f64::from(self.limit_all),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row("syns", syns.into(), self.limit_all.into(), format!("segments/{window}")),
                row(
                    "refused_ports_asked_again",
                    again.into(),
                    AGAIN.into(),
                    format!("ports/{window}"),
                ),
            ],
            summary: format!(
                "{} sent {} {syns} SYNs over many ports within {window} (the limit is {}) and asked {again} ports again that \
                 had just refused, which no scan does",
                o.source, o.target.ip, self.limit_all
            ),
        }
    }

    fn alone(&self, o: &Observation, half_open: u32) -> Finding {
        let window = span(self.window);
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Flood,
            technique: "syn flood".into(),
            ratio: f64::from(half_open) / f64::from(self.limit),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row(
                    "half_open",
                    half_open.into(),
                    self.limit.into(),
                    format!("handshakes/{window}"),
                ),
                row(
                    "completed",
                    o.window.completed.into(),
                    f64::from(half_open) / f64::from(HONEST),
                    "handshakes/64s",
                ),
            ],
            summary: format!(
                "{} left {half_open} handshakes with {} unfinished within {window}; the limit is {}",
                o.source,
                place(&o.target),
                self.limit
            ),
        }
    }

    fn together(&self, at: Ktime, target: Service, half_open: u32, sources: f64) -> Finding {
        let window = span(self.window);
        let sources = sources.round();
        Finding {
            at,
            source: None,
            targets: vec![target],
            family: Family::Flood,
            technique: "syn flood distributed".into(),
            ratio: f64::from(half_open) / f64::from(self.limit_all),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row(
                    "half_open_all",
                    half_open.into(),
                    self.limit_all.into(),
                    format!("handshakes/{window}"),
                ),
                row("sources_estimated", sources, 0.0, format!("sources/{window}")),
            ],
            summary: format!(
                "About {sources} sources left {half_open} handshakes with {} unfinished within {window} (the limit is {}); \
                 the sources look forged, so nobody is blocked",
                place(&target),
                self.limit_all
            ),
        }
    }
}

impl Detector for SynFlood {
    fn name(&self) -> Name {
        Name::SynFlood
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let in_vain = o.tcp() && !o.completed && o.forward.syn > 0;
        if in_vain && let Some((syns, again)) = self.spray(o) {
            let ratio = f64::from(syns) / f64::from(self.limit_all);
            if voice.may(o.source, Name::SynFlood, Family::Flood, ratio, o.at) {
                return Some(self.sprayed(o, syns, again));
            }
        }
        let fresh = Self::fresh(o);
        if fresh == 0 {
            return None;
        }
        let (source, target) = (Addr::from(o.source), Addr::from(o.target.ip));
        let pair = self.pairs.touch_or((source, target, o.target.port), Pair::default);
        let half_open = pair.half_open.add(o.at, self.slot_ns, fresh);
        let alone = half_open >= self.limit && half_open >= HONEST.saturating_mul(o.window.completed);
        if alone {
            pair.flagged = o.at;
        }
        if pair.flagged.0 != 0 && o.at.since(pair.flagged) < self.window {
            // One source that floods alone is no crowd.
            let ratio = f64::from(half_open) / f64::from(self.limit);
            return (alone && voice.may(o.source, Name::SynFlood, Family::Flood, ratio, o.at))
                .then(|| self.alone(o, half_open));
        }
        let crowd = self.crowds.touch_or((target, o.target.port), || Crowd {
            half_open: Ring::default(),
            sketch: Sketch::default(),
        });
        crowd
            .sketch
            .add(&source, o.at.0 / (self.window.as_nanos() as u64).max(1));
        let all = crowd.half_open.add(o.at, self.slot_ns, fresh);
        if all < self.limit_all {
            return None;
        }
        let ratio = f64::from(all) / f64::from(self.limit_all);
        if !voice.may_about(o.target.ip, Name::SynFlood, Family::Flood, ratio, o.at) {
            return None;
        }
        let sources = crowd.sketch.estimate();
        Some(self.together(o.at, o.target, all, sources))
    }

    fn load(&self) -> (usize, u64) {
        (
            self.pairs.len() + self.crowds.len() + self.hosts.len() + self.sprays.len(),
            self.pairs.evicted() + self.crowds.evicted() + self.hosts.evicted() + self.sprays.evicted(),
        )
    }
}
