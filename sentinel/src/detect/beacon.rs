//! An implant that calls home: connections to one service at jittered intervals, alike except for the odd upload.
//!
//! Looks for: command and control over an application protocol (MITRE ATT&CK T1071.001), scheduled transfer (T1029) and
//! exfiltration over that channel (T1041). Statistical: it never blocks. Blind spots: an implant without jitter, which
//! looks like any poller; jitter beyond half the interval; one that has sent home once or never yet; one long
//! connection; one that missed a turn lately; UDP, DNS and ICMP; fewer than nine check-ins. Known false positives: a client that polls by a jittered
//! timer with requests of one length and uploads now and then (telemetry with back-off, some mail and sync clients).

use super::silence::Silence;
use super::{Detector, Finding, Voice, place, row, share};
use crate::config::BeaconConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;

/// Connections remembered per source and service; the oldest makes room.
const KEPT: usize = 16;
/// Consistency factor of the median absolute deviation (Rousseeuw and Croux, 1993).
const MAD: f64 = 1.4826;
/// Least variation: below it a timer without jitter is at work, as in monitoring and polling.
const LEAST_VARIATION: f64 = 0.03;
/// Shortest usual time between two connections.
const LEAST_PERIOD: f64 = 1.0;
/// Check-ins and their answers are of one length each, up to this share or so many bytes.
const ALIKE: (f64, f64) = (0.02, 16.0);
/// Share of connections that are check-ins; the rest may be other business with the same service.
const CHECK_INS: f64 = 0.5;
/// An upload sends so many times what a check-in sends, and more than it gets.
const UPLOAD: f64 = 2.0;
/// Uploads among those remembered that took a check-in's turn: one may do so by chance.
const UPLOADS: usize = 2;
/// An implant that uploads does so when it would have checked in, so that from the check-in before to the one behind are two
/// intervals; so many at least. Where somebody else at the same host uploads, there is one, and jitter makes it no longer than this.
const TURN: f64 = 1.5;
/// From one check-in to the next is no farther off the usual interval than so many times the largest variation: jitter drawn evenly
/// ends at 1.35 of its variation, and there is some room. What comes at any time is, by chance, as regular as an implant for sixteen
/// connections about once an hour, but hardly ever without one that is far off.
const FAR: f64 = 1.72;

/// One ended connection.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    started: Ktime,
    sent: u32,
    got: u32,
}

/// What one source did to one service.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    calls: [Call; KEPT],
    held: u8,
    /// A client that is like an implant is so every hour of its life.
    silence: Silence,
}

/// What was measured of a pair.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    /// In the rhythm, and remembered in all.
    calls: usize,
    of: usize,
    period: f64,
    variation: f64,
    check_in: u32,
    alike: f64,
    /// How far a check-in was off its time at most, of the usual interval.
    off: f64,
    /// That took a check-in's turn.
    uploads: usize,
}

impl Pair {
    fn push(&mut self, call: Call) {
        if usize::from(self.held) == KEPT {
            self.calls.rotate_left(1);
            self.calls[KEPT - 1] = call;
        } else {
            self.calls[usize::from(self.held)] = call;
            self.held += 1;
        }
    }

    /// The rhythm of the commonest question and answer, and of the uploads between them.
    fn rhythm(&self) -> Option<Rhythm> {
        let calls = &self.calls[..usize::from(self.held)];
        let alike = |usual: &Call| calls.iter().filter(|c| c.like(usual)).count();
        let usual = calls.iter().max_by_key(|c| alike(c))?;
        let upload = |c: &Call| f64::from(c.sent) >= UPLOAD * f64::from(usual.sent) && c.sent > c.got;
        let mut starts: Vec<u64> = calls
            .iter()
            .filter(|c| c.like(usual) || upload(c))
            .map(|c| c.started.0)
            .collect();
        starts.sort_unstable();
        let gaps: Vec<f64> = starts.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect();
        let period = median(&gaps)?;
        let spread = median(&gaps.iter().map(|g| (g - period).abs()).collect::<Vec<_>>())?;
        let (off, uploads) = turns(calls, |c| c.like(usual), upload, period);
        (period > 0.0).then(|| Rhythm {
            calls: starts.len(),
            of: calls.len(),
            period,
            variation: MAD * spread / period,
            check_in: usual.sent,
            alike: alike(usual) as f64 / calls.len() as f64,
            off,
            uploads,
        })
    }
}

impl Call {
    /// Whether it asked and got as much as another.
    fn like(&self, other: &Self) -> bool {
        let near = |a: u32, b: u32| f64::from(a.abs_diff(b)) <= (ALIKE.0 * f64::from(b)).max(ALIKE.1);
        near(self.sent, other.sent) && near(self.got, other.got)
    }
}

/// How far a check-in was off its time at most, and how many uploads took the turn of one. The usual interval is that of check-ins
/// with none between, or else `period`.
fn turns(
    calls: &[Call],
    check_in: impl Fn(&Call) -> bool,
    upload: impl Fn(&Call) -> bool,
    period: f64,
) -> (f64, usize) {
    let mut order: Vec<&Call> = calls.iter().filter(|call| check_in(call) || upload(call)).collect();
    order.sort_by_key(|call| call.started);
    // From one check-in to the next: how long, s, and how many uploads between.
    let mut spans: Vec<(f64, usize)> = Vec::new();
    let mut latest: Option<&Call> = None;
    let mut between = 0;
    for call in order {
        if check_in(call) {
            if let Some(latest) = latest {
                spans.push(((call.started.0 - latest.started.0) as f64 / 1e9, between));
            }
            (latest, between) = (Some(call), 0);
        } else {
            between += 1;
        }
    }
    let plain: Vec<f64> = spans.iter().filter(|span| span.1 == 0).map(|span| span.0).collect();
    let period = median(&plain).unwrap_or(period);
    let took_turns = |(span, uploads): &&(f64, usize)| *span >= (TURN - 1.0 + *uploads as f64) * period;
    let off = plain.iter().map(|span| (span / period - 1.0).abs()).fold(0.0, f64::max);
    (off, spans.iter().filter(took_turns).map(|span| span.1).sum())
}

/// The middle value; `None` of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Measures the rhythm of each source's connections to each service, in either direction.
///
/// Only ended TCP connections in which both sides spoke count. The time between their beginnings must vary little
/// (robustly: 1.4826 MAD / median), and yet more than a plain timer's; half of those remembered must send and get the same
/// number of bytes, and two at least must be uploads. What is neither is left out.
#[derive(Debug)]
pub struct Beacon {
    pairs: Bounded<(Addr, Addr, u16), Pair>,
    connections: usize,
    max_variation: f64,
    max_period: f64,
}

impl Beacon {
    /// Nobody seen yet.
    pub fn new(config: &BeaconConfig, sources: usize) -> Self {
        Self {
            pairs: Bounded::new(Self::capacity(sources)),
            connections: (config.connections as usize).clamp(3, KEPT),
            max_variation: config.max_variation,
            max_period: config.max_period.as_secs_f64(),
        }
    }

    /// Pairs of source and service: an eighth of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 8)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<(Addr, Addr, u16), Pair>::memory_bound(Self::capacity(sources))
    }

    fn fits(&self, r: &Rhythm) -> bool {
        (LEAST_PERIOD..=self.max_period).contains(&r.period)
            && (LEAST_VARIATION..=self.max_variation).contains(&r.variation)
            && r.off <= FAR * self.max_variation
            && r.alike >= CHECK_INS
            && r.calls >= self.connections
            && r.uploads >= UPLOADS
    }

    fn finding(&self, o: &Observation, r: &Rhythm, ratio: f64) -> Finding {
        let percent = |share: f64| (share * 100.0).round();
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::C2,
            technique: "beacon".into(),
            ratio,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row(
                    "interval_variation",
                    r.variation,
                    self.max_variation,
                    "1.4826 MAD/median",
                ),
                row("interval", r.period, self.max_period, "s"),
                row("check_ins_alike", r.alike, CHECK_INS, "share"),
                row(
                    "uploads",
                    r.uploads as f64,
                    UPLOADS as f64,
                    format!("of {} connections", r.of),
                ),
            ],
            summary: format!(
                "{} connected to {} every {:.1} s, varying by {} % (the limit is {} %): of {} connections {:.0} sent about {} \
                 bytes and got the same answer, {} uploaded more",
                o.source,
                place(&o.target),
                r.period,
                percent(r.variation),
                percent(self.max_variation),
                r.of,
                r.alike * r.of as f64,
                r.check_in,
                r.uploads
            ),
        }
    }
}

impl Detector for Beacon {
    fn name(&self) -> Name {
        Name::Beacon
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let spoke = o.forward.payload > 0 && o.reverse.payload > 0;
        if !o.tcp() || !o.completed || !o.closed_now || !spoke {
            return None;
        }
        let key = (Addr::from(o.source), Addr::from(o.target.ip), o.target.port);
        let pair = self.pairs.touch_or(key, Pair::default);
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        pair.push(Call {
            started: o.started,
            sent: narrow(o.forward.payload),
            got: narrow(o.reverse.payload),
        });
        if usize::from(pair.held) < self.connections || pair.silence.holds(o.at) {
            return None;
        }
        let rhythm = pair.rhythm()?;
        if !self.fits(&rhythm) {
            return None;
        }
        let pair = self.pairs.peek_mut(&key)?;
        let ratio = self.max_variation / rhythm.variation;
        if !voice.may_wonder_about([o.source, o.target.ip], Name::Beacon, Family::C2, ratio, o.at) {
            return None;
        }
        pair.silence.broken(o.at);
        Some(self.finding(o, &rhythm, ratio))
    }

    fn load(&self) -> (usize, u64) {
        (self.pairs.len(), self.pairs.evicted())
    }
}
