//! Looking for open doors at a walker's pace: a few a minute, for hours.
//!
//! Looks for: active scanning (MITRE ATT&CK T1595.001) and network service discovery (T1046) below the limits of
//! [`PortScan`](super::PortScan). Blind spots: fewer doors than the limit in six hours; a scan spread over many sources;
//! one that ends within a quarter of an hour, asks
//! every door more than twice or talks with a service for every two doors; TCP scans with an ordinary
//! stack from inside to the Internet, and UDP scans from inside, which peer-to-peer and calls look like; UDP scans from
//! a system port. Known false
//! positives: an inventory or vulnerability scanner of one's own; an FTP client whose passive data ports are filtered.

use super::port_scan::{TRACEROUTE, bare_syn};
use super::sketch::{Sketch, digest};
use super::{Detector, Finding, MAX_TARGETS, Voice, local, row, share};
use crate::config::SlowScanConfig;
use crate::flow::{Bounded, Fate, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime, Service};
use sentinel_common::addr::Addr;
use std::time::Duration;

const MINUTE_NS: u64 = 60_000_000_000;
const HOUR: Duration = Duration::from_hours(1);
/// Slots of each window.
const SLOTS: usize = 6;
/// Length of a slot of the window of an hour, and of six.
const SLOT_NS: [u64; 2] = [10 * MINUTE_NS, 60 * MINUTE_NS];
/// Doors of one minute that count: what is faster is a port scan's business.
const PER_MINUTE: u8 = 12;
/// Tries of two doors beyond which nobody is looking for doors: monitoring asks the same ones again and again, a scanner
/// once, and once more where nothing came back.
const TRIES: u32 = 5;
/// Ports below this are servers' (RFC 6335, system ports).
const SYSTEM: u16 = 1024;
/// Time over which doors must have been tried, so that monitoring had the time to come round again.
const SETTLE: Duration = Duration::from_mins(15);

/// Sources that tried one door so far, per suspect.
const ONCE: usize = 4;

/// What is kept of a source that tried at least two doors in vain.
#[derive(Debug, Default)]
struct Suspect {
    minute: u64,
    in_minute: u8,
    /// When it tried the first and the latest of the doors in the longer window, and how many new ones between.
    since: Ktime,
    latest: Ktime,
    found: u32,
    hour: Sketch<SLOTS, 4>,
    six: Sketch<SLOTS, 8>,
    tries: [Ring<SLOTS>; 2],
    /// Services it talked with in six hours.
    talked: Sketch<SLOTS, 4>,
    /// Doors tried last.
    doors: Vec<Service>,
    said: Option<(Ktime, f64)>,
}

/// Counts distinct doors (host and port) tried in vain per source, over an hour and over six.
///
/// At most twelve new doors of a minute count. Nobody is accused before a quarter of an hour of that, nor who tried its
/// doors more than two and a half times each, or who talked with at least half as many services.
#[derive(Debug)]
pub struct SlowScan {
    /// The one door each of these tried: forged sources come once, and push no suspect out.
    once: Bounded<Addr, u64>,
    suspects: Bounded<Addr, Suspect>,
    limits: [u32; 2],
}

impl SlowScan {
    /// Nobody suspected yet.
    pub fn new(config: &SlowScanConfig, sources: usize) -> Self {
        Self {
            once: Bounded::new(ONCE * Self::capacity(sources)),
            suspects: Bounded::new(Self::capacity(sources)),
            limits: [config.doors_1h.max(1), config.doors_6h.max(1)],
        }
    }

    /// Sources suspected at once: an eighth of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 8)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        let own = MAX_TARGETS * size_of::<Service>();
        Bounded::<Addr, u64>::memory_bound(ONCE * Self::capacity(sources))
            + Bounded::<Addr, Suspect>::memory_bound(Self::capacity(sources))
            + Self::capacity(sources) * own
    }

    /// Whether this is a door tried in vain.
    fn door(o: &Observation) -> bool {
        if !o.fate.failed() {
            return false;
        }
        match (o.udp(), o.from_inside) {
            (true, true) => false,
            // A server's port to a client's is an answer that came late.
            (true, false) => {
                !TRACEROUTE.contains(&o.target.port) && (o.source_port >= SYSTEM || o.target.port < SYSTEM)
            }
            // From inside to the Internet an ordinary stack fails for many reasons; a raw socket does not.
            (false, true) => local(o.target.ip) || bare_syn(o) || matches!(o.fate, Fate::Probe(_)),
            (false, false) => true,
        }
    }

    /// Whether a source is suspected, or becomes so by a second door.
    fn suspected(&mut self, source: Addr, door: u64) -> bool {
        if self.suspects.peek(&source).is_some() {
            return true;
        }
        let first = *self.once.touch_or(source, || door);
        if first != door {
            self.once.remove(&source);
        }
        first != door
    }

    fn finding(&self, o: &Observation, (window, doors): (usize, u32)) -> Option<Finding> {
        let suspect = self.suspects.peek(&Addr::from(o.source))?;
        let (limit, hours) = (self.limits[window], ["1h", "6h"][window]);
        let talked = suspect.talked.count();
        Some(Finding {
            at: o.at,
            source: Some(o.source),
            targets: suspect.doors.iter().rev().copied().collect(),
            family: Family::Scan,
            technique: "slow scan".into(),
            ratio: f64::from(doors) / f64::from(limit),
            class: EvidenceClass::Behaviour,
            evidence: vec![
                row("distinct_doors", doors.into(), limit.into(), format!("doors/{hours}")),
                row(
                    "services_talked_with",
                    talked.into(),
                    f64::from(doors) / 2.0,
                    "services/6h",
                ),
            ],
            summary: format!(
                "{} tried about {doors} doors (host and port) in vain within {hours}, at most {PER_MINUTE} a minute counted, \
                 and talked with {talked} services; the limit is {limit}",
                o.source
            ),
        })
    }
}

impl Detector for SlowScan {
    fn name(&self) -> Name {
        Name::SlowScan
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.fate_now || !(o.tcp() || o.udp()) {
            return None;
        }
        let source = Addr::from(o.source);
        let door = (Addr::from(o.target.ip), o.target.port, o.target.proto);
        let slots = SLOT_NS.map(|ns| o.at.0 / ns);
        if o.fate == Fate::Talked {
            if let Some(suspect) = self.suspects.touch(&source) {
                suspect.talked.add(&door, slots[1]);
            }
            return None;
        }
        if !Self::door(o) || !self.suspected(source, digest(&door)) {
            return None;
        }
        let suspect = self.suspects.touch_or(source, Suspect::default);
        let minute = o.at.0 / MINUTE_NS;
        if minute > suspect.minute {
            (suspect.minute, suspect.in_minute) = (minute, 0);
        }
        if suspect.in_minute >= PER_MINUTE {
            return None;
        }
        if suspect.found == 0 || o.at.since(suspect.latest) >= 6 * HOUR {
            (suspect.since, suspect.found) = (o.at, 0);
        }
        let tries = [0, 1].map(|i| suspect.tries[i].add(o.at, SLOT_NS[i], 1));
        let fresh = [suspect.hour.add(&door, slots[0]), suspect.six.add(&door, slots[1])];
        suspect.talked.advance(slots[1]);
        if !fresh.contains(&true) {
            return None;
        }
        suspect.in_minute += 1;
        suspect.latest = o.at;
        suspect.found = suspect.found.saturating_add(1);
        if suspect.doors.len() >= MAX_TARGETS {
            suspect.doors.remove(0);
        }
        suspect.doors.push(o.target);
        // What cannot have reached a limit needs no estimate, which may be some per cent above the truth.
        if 4 * suspect.found < 3 * self.limits[0].min(self.limits[1]) {
            return None;
        }
        let doors = [suspect.hour.count(), suspect.six.count()];
        let talked = suspect.talked.count();
        let over = |i: usize| f64::from(doors[i]) / f64::from(self.limits[i]);
        let worst = usize::from(over(1) > over(0));
        let (doors, ratio) = (doors[worst], over(worst));
        let again = 2 * u64::from(tries[worst]) > u64::from(TRIES) * u64::from(doors);
        if ratio < 1.0 || doors <= 2 * talked || again || o.at.since(suspect.since) < SETTLE {
            return None;
        }
        // The evidence stays in the window for hours; it is news again when it doubled.
        let news = suspect
            .said
            .is_none_or(|(at, before)| o.at.since(at) >= HOUR || ratio >= 2.0 * before);
        if !news || !voice.may(o.source, Name::SlowScan, Family::Scan, ratio, o.at) {
            return None;
        }
        suspect.said = Some((o.at, ratio));
        self.finding(o, (worst, doors))
    }

    fn load(&self) -> (usize, u64) {
        (
            self.once.len() + self.suspects.len(),
            self.once.evicted() + self.suspects.evicted(),
        )
    }
}
