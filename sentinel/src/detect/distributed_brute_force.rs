//! Guessing credentials together: many sources, each below the limit of one, at one log-in service.
//!
//! Looks for: password spraying and credential stuffing by a botnet (MITRE ATT&CK T1110.003, T1110.004). Nobody is
//! blocked: each source alone did too little. Blind spots: fewer attempts than the limit in a window; attempts kept in
//! one connection; log-ins over HTTP; a rise slow enough to become the service's habit. Known false positives: a service
//! that many people suddenly use for short commands (`git fetch` after an announcement); a fleet that restarts.

use super::brute_force::technique;
use super::sketch::{Sketch, digest};
use super::{Detector, Finding, Voice, place, row, span};
use crate::config::DistributedConfig;
use crate::flow::{Bounded, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 10;
/// Log-in services watched; the least recently used makes room.
const SERVICES: usize = 512;
/// Attempts of one source that count within a window.
const PER_SOURCE: u8 = 6;
/// Buckets in which attempts per source are counted; sources that share one count as one.
const BUCKETS: usize = 1024;
/// So many attempts must there be for every real session.
const OUTWEIGH: u32 = 4;
/// Times the service's habit.
const HABIT: f64 = 3.0;
/// Weight of a new window in the habit.
const ALPHA: f64 = 0.1;
/// Longest attempt.
const ATTEMPT: Duration = Duration::from_mins(1);

/// What everybody does to one log-in service.
#[derive(Debug)]
struct Crowd {
    attempts: Ring<SLOTS>,
    sessions: Ring<SLOTS>,
    sources: Sketch<2, 8>,
    window: u64,
    /// Attempts per source (by digest) and of all in this window.
    by_source: Box<[u8; BUCKETS]>,
    in_window: u32,
    /// Attempts in a usual window.
    habit: f64,
    said: bool,
}

impl Crowd {
    fn new(window: u64) -> Self {
        Self {
            attempts: Ring::default(),
            sessions: Ring::default(),
            sources: Sketch::default(),
            window,
            by_source: Box::new([0; BUCKETS]),
            in_window: 0,
            habit: 0.0,
            said: false,
        }
    }

    /// Ends the running window: what it held becomes habit, unless it was accused.
    fn turn(&mut self, window: u64) {
        if window <= self.window {
            return;
        }
        if !self.said {
            self.habit += ALPHA * (f64::from(self.in_window) - self.habit);
        }
        // Windows in which nothing happened.
        let quiet = (window - self.window - 1).min(1000) as i32;
        self.habit *= (1.0 - ALPHA).powi(quiet);
        self.window = window;
        *self.by_source = [0; BUCKETS];
        (self.in_window, self.said) = (0, false);
    }
}

/// Counts short connections of all sources together per log-in service.
///
/// A source counts at most six times in a window. Nobody speaks while real sessions are more than a quarter as many, or
/// before three times the service's habit is reached.
#[derive(Debug)]
pub struct DistributedBruteForce {
    crowds: Bounded<(Addr, u16), Crowd>,
    window: Duration,
    slot_ns: u64,
    ports: Vec<u16>,
    limit: u32,
    sources: u32,
    max_payload: u64,
}

impl DistributedBruteForce {
    /// Nobody seen yet.
    pub fn new(config: &DistributedConfig) -> Self {
        let mut ports = config.ports.clone();
        ports.sort_unstable();
        Self {
            crowds: Bounded::new(SERVICES),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            ports,
            limit: config.attempts.max(1),
            sources: config.sources.max(2),
            max_payload: config.max_payload,
        }
    }

    pub(super) const fn memory_bound() -> usize {
        Bounded::<(Addr, u16), Crowd>::memory_bound(SERVICES) + SERVICES * BUCKETS
    }

    fn finding(&self, o: &Observation, attempts: u32, sources: u32, sessions: u32, ratio: f64) -> Finding {
        let window = span(self.window);
        Finding {
            at: o.at,
            source: None,
            targets: vec![o.target],
            family: Family::BruteForce,
            technique: format!("{} distributed", technique(o.target.port)).into(),
            ratio,
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row(
                    "attempts_all",
                    attempts.into(),
                    self.limit.into(),
                    format!("connections/{window}"),
                ),
                row(
                    "sources_estimated",
                    sources.into(),
                    self.sources.into(),
                    format!("sources/{window}"),
                ),
                row(
                    "sessions",
                    sessions.into(),
                    f64::from(attempts) / f64::from(OUTWEIGH),
                    format!("connections/{window}"),
                ),
            ],
            summary: format!(
                "About {sources} sources made and ended {attempts} short connections to {} within {window}, beside {sessions} \
                 real sessions (the limit is {}); each alone did too little, so nobody is blocked",
                place(&o.target),
                self.limit
            ),
        }
    }
}

impl Detector for DistributedBruteForce {
    fn name(&self) -> Name {
        Name::DistributedBruteForce
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.tcp() || !o.completed || o.from_inside || self.ports.binary_search(&o.target.port).is_err() {
            return None;
        }
        let largest = o.forward.payload.max(o.reverse.payload);
        let before = (o.forward.payload.saturating_sub(o.forward_delta.payload))
            .max(o.reverse.payload.saturating_sub(o.reverse_delta.payload));
        let session = largest > self.max_payload && before <= self.max_payload;
        let short = o.at.since(o.started) <= ATTEMPT;
        let attempt = o.closed_now && short && o.forward.payload > 0 && largest <= self.max_payload;
        if !session && !attempt {
            return None;
        }
        let window = o.at.0 / (self.window.as_nanos() as u64).max(1);
        let key = (Addr::from(o.target.ip), o.target.port);
        let crowd = self.crowds.touch_or(key, || Crowd::new(window));
        crowd.turn(window);
        let sessions = crowd.sessions.add(o.at, self.slot_ns, session.into());
        if !attempt {
            return None;
        }
        let source = Addr::from(o.source);
        let made = &mut crowd.by_source[digest(&source) as usize % BUCKETS];
        let counts = *made < PER_SOURCE;
        *made = made.saturating_add(1);
        crowd.in_window = crowd.in_window.saturating_add(counts.into());
        crowd.sources.add(&source, window);
        let attempts = crowd.attempts.add(o.at, self.slot_ns, counts.into());
        let sources = crowd.sources.count();
        let limit = f64::from(self.limit).max(HABIT * crowd.habit);
        let ratio = f64::from(attempts) / limit;
        if ratio < 1.0 || sources < self.sources || attempts < OUTWEIGH.saturating_mul(sessions) {
            return None;
        }
        crowd.said = true;
        voice
            .may_about(
                o.target.ip,
                Name::DistributedBruteForce,
                Family::BruteForce,
                ratio,
                o.at,
            )
            .then(|| self.finding(o, attempts, sources, sessions, ratio))
    }

    fn load(&self) -> (usize, u64) {
        (self.crowds.len(), self.crowds.evicted())
    }
}
