//! Guessing credentials: one short connection to a log-in service after the other.

use super::{Detector, Finding, Voice, place, row, share, span};
use crate::config::BruteForceConfig;
use crate::flow::{Bounded, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 12;
/// Attempts overlap where together they were open for more than this share, in quarters, of the time they stretch over.
const OVERLAP: u64 = 5;

/// What one source did to one log-in service.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// Connections opened.
    opened: Ring<SLOTS>,
    /// Short ones closed.
    attempts: Ring<SLOTS>,
    /// Time these were open, ms.
    busy_ms: Ring<SLOTS>,
    /// First of the attempts that are in the window (or were, when it was last empty).
    since: Ktime,
}

/// Counts short completed connections per source and log-in service.
///
/// An attempt is a completed connection that closed after the client sent something, but no more than
/// `max_payload`. Connections still open count beside a quarter of the limit in closed ones: tools open many at once.
/// Where they do not overlap, as a person's or a script's sessions do not, twice as many are needed: a log-in that
/// succeeded looks the same from outside, and tools guess several at a time.
#[derive(Debug)]
pub struct BruteForce {
    pairs: Bounded<(Addr, Addr, u16), Pair>,
    window: Duration,
    slot_ns: u64,
    ports: Vec<u16>,
    limit: u32,
    max_payload: u64,
}

impl BruteForce {
    /// Nobody seen yet.
    pub fn new(config: &BruteForceConfig, sources: usize) -> Self {
        let mut ports = config.ports.clone();
        ports.sort_unstable();
        Self {
            pairs: Bounded::new(Self::capacity(sources)),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            ports,
            limit: config.attempts.max(1),
            max_payload: config.max_payload,
        }
    }

    /// Pairs of source and log-in service: a quarter of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 4)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<(Addr, Addr, u16), Pair>::memory_bound(Self::capacity(sources))
    }

    fn finding(&self, o: &Observation, attempts: u32, opened: u32, limit: u32) -> Finding {
        let window = span(self.window);
        let measured = attempts.max(opened);
        let parallel = opened > attempts;
        let how = if parallel {
            format!(
                "opened {opened} connections to {} and ended {attempts} of them",
                place(&o.target)
            )
        } else {
            format!("made and ended {attempts} connections to {}", place(&o.target))
        };
        let unit = format!("connections/{window}");
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::BruteForce,
            technique: technique(o.target.port).into(),
            ratio: f64::from(measured) / f64::from(limit),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row("attempts", attempts.into(), limit.into(), unit.as_str()),
                row("opened", opened.into(), limit.into(), unit.as_str()),
                row(
                    "last_payload",
                    o.forward.payload as f64,
                    self.max_payload as f64,
                    "bytes",
                ),
            ],
            summary: format!(
                "{} {how} within {window}, each with at most {} bytes from the client; the limit is {}",
                o.source, self.max_payload, limit
            ),
        }
    }
}

/// What is guessed at a port.
pub(super) fn technique(port: u16) -> &'static str {
    match port {
        21 => "ftp login",
        22 => "ssh login",
        23 => "telnet login",
        3389 => "rdp login",
        5900 => "vnc login",
        _ => "login",
    }
}

impl Detector for BruteForce {
    fn name(&self) -> Name {
        Name::BruteForce
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.tcp() || !o.completed || self.ports.binary_search(&o.target.port).is_err() {
            return None;
        }
        let attempt = o.closed_now && o.forward.payload > 0 && o.forward.payload <= self.max_payload;
        // A connection first seen on its way counts as opened when it ends.
        let opened = o.completed_now && (o.forward.syn > 0 || attempt);
        if !attempt && !opened {
            return None;
        }
        let key = (Addr::from(o.source), Addr::from(o.target.ip), o.target.port);
        let pair = self.pairs.touch_or(key, Pair::default);
        let opened = pair.opened.add(o.at, self.slot_ns, opened.into());
        if pair.attempts.sum(o.at, self.slot_ns) == 0 {
            pair.since = o.started;
        }
        let attempts = pair.attempts.add(o.at, self.slot_ns, attempt.into());
        let open_ms = if attempt {
            o.at.since(o.started).as_millis() as u32
        } else {
            0
        };
        let busy_ms = pair.busy_ms.add(o.at, self.slot_ns, open_ms);
        let stretch_ms = o.at.since(pair.since).min(self.window).as_millis() as u64;
        let overlap = u64::from(busy_ms) * 4 >= stretch_ms * OVERLAP;
        let limit = if overlap {
            self.limit
        } else {
            self.limit.saturating_mul(2)
        };
        let in_parallel = overlap && opened >= limit && attempts >= (limit / 4).max(2);
        if attempts < limit && !in_parallel {
            return None;
        }
        let ratio = f64::from(attempts.max(opened)) / f64::from(limit);
        voice
            .may(o.source, Name::BruteForce, Family::BruteForce, ratio, o.at)
            .then(|| self.finding(o, attempts, opened, limit))
    }

    fn load(&self) -> (usize, u64) {
        (self.pairs.len(), self.pairs.evicted())
    }
}
