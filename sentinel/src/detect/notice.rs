//! What the kernel itself noticed: sources past a threshold, returns on probation, ports under a flood of SYNs.

use super::{Detectors, Finding, place, row, span};
use crate::flow::Bounded;
use crate::types::{Alert, DecisionId, Detector as Name, Evidence, EvidenceClass, Family, Ktime, Service};
use sentinel_common::entry::{ACTION_LIMIT, ACTION_REDIRECT, ACTION_WATCH};
use sentinel_common::event::{
    REFLEX_BYTES, REFLEX_HALF_OPEN, REFLEX_PACKETS, REFLEX_PORTS, REFLEX_SYNS, ReflexRecord, ReturnRecord,
    SynFloodRecord,
};
use sentinel_common::flow::PROTO_TCP;
use sentinel_common::settings::Reflex;
use std::net::IpAddr;
use std::time::Duration;

/// Ports under flood that are remembered, so that their end is told once.
const FLOODED: usize = 1024;

/// One thing the kernel noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A source crossed a threshold.
    Reflex(ReflexRecord),
    /// A source on probation returned.
    Return(ReturnRecord),
    /// A port came under a SYN flood, or out of it.
    SynFlood(SynFloodRecord),
}

/// Thresholds that the kernel was given, for what is said about crossing them.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelLimits {
    /// Per source.
    pub reflex: Reflex,
    /// Half-open handshakes of one port within a second.
    pub syn_flood_half_open: u32,
}

/// What is remembered of notices.
#[derive(Debug)]
pub(super) struct Noticed {
    limits: KernelLimits,
    realert_after: Duration,
    /// Ports told to be under flood, and when.
    flooded: Bounded<(IpAddr, u16), Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Ktime,
    over: bool,
}

impl Noticed {
    pub(super) fn new(realert_after: Duration) -> Self {
        Self {
            limits: KernelLimits::default(),
            realert_after,
            flooded: Bounded::new(FLOODED),
        }
    }

    pub(super) const fn set_realert_after(&mut self, after: Duration) {
        self.realert_after = after;
    }
}

/// A measure of [`ReflexRecord`]: its bit, and how it is named and told.
struct Measure {
    bit: u32,
    name: &'static str,
    unit: &'static str,
    family: Family,
    technique: &'static str,
    told: &'static str,
    value: fn(&ReflexRecord) -> u64,
    limit: fn(&Reflex) -> u64,
}

/// The most telling first: it gives the alert its family.
const MEASURES: [Measure; 5] = [
    Measure {
        bit: REFLEX_PORTS,
        name: "distinct_ports",
        unit: "ports",
        family: Family::Scan,
        technique: "port scan",
        told: "distinct ports",
        value: |r| r.ports.into(),
        limit: |l| l.ports.into(),
    },
    Measure {
        bit: REFLEX_HALF_OPEN,
        name: "half_open",
        unit: "handshakes",
        family: Family::Flood,
        technique: "syn flood",
        told: "half-open handshakes",
        value: |r| r.half_open.into(),
        limit: |l| l.half_open.into(),
    },
    Measure {
        bit: REFLEX_SYNS,
        name: "syns",
        unit: "SYNs",
        family: Family::Flood,
        technique: "syn flood",
        told: "SYNs",
        value: |r| r.syns.into(),
        limit: |l| l.syns.into(),
    },
    Measure {
        bit: REFLEX_PACKETS,
        name: "packets",
        unit: "packets",
        family: Family::Flood,
        technique: "packet flood",
        told: "packets",
        value: |r| r.packets.into(),
        limit: |l| l.packets.into(),
    },
    Measure {
        bit: REFLEX_BYTES,
        name: "bytes",
        unit: "bytes",
        family: Family::Flood,
        technique: "packet flood",
        told: "bytes",
        value: |r| r.bytes,
        limit: |l| l.bytes,
    },
];

impl Detectors {
    /// Tells the thresholds that the kernel was given.
    #[must_use]
    pub fn with_limits(mut self, limits: KernelLimits) -> Self {
        self.noticed.limits = limits;
        self
    }

    /// Takes in what the kernel noticed. An alert, unless it would be a repetition.
    pub fn notice(&mut self, notice: &Notice) -> Option<Alert> {
        match notice {
            Notice::Reflex(record) => self.reflex(record),
            Notice::Return(record) => self.returned(record),
            Notice::SynFlood(record) => self.syn_flood(record),
        }
    }

    fn reflex(&mut self, record: &ReflexRecord) -> Option<Alert> {
        let limits = self.noticed.limits.reflex;
        let crossed: Vec<&Measure> = MEASURES.iter().filter(|m| record.crossed & m.bit != 0).collect();
        let first = crossed.first()?;
        let (at, source) = (Ktime(record.now_ns), IpAddr::from(record.remote));
        let ratio = crossed
            .iter()
            .map(|m| ratio((m.value)(record), (m.limit)(&limits)))
            .fold(1.0, f64::max);
        if !self.speaker.voice.may(source, Name::Reflex, first.family, ratio, at) {
            return None;
        }
        let window = span(Duration::from_nanos(limits.window_ns));
        let evidence: Vec<Evidence> = crossed
            .iter()
            .map(|m| {
                let (value, limit) = ((m.value)(record) as f64, (m.limit)(&limits) as f64);
                row(m.name, value, limit, format!("{}/{window}", m.unit))
            })
            .collect();
        let measured: Vec<String> = crossed
            .iter()
            .map(|m| format!("{} {} (limit {})", (m.value)(record), m.told, (m.limit)(&limits)))
            .collect();
        // The kernel counts an IPv6 /64 as one source.
        let whom = if source.is_ipv6() { " with its /64" } else { "" };
        let until = self.speaker.clock.wall(Ktime(record.limited_until_ns));
        let limited = match (record.limited_until_ns, record.shadow) {
            (0, _) => "the kernel does nothing about it by itself".to_owned(),
            (_, 0) => format!("the kernel limits it by itself until {until}"),
            _ => format!("the kernel would limit it by itself until {until}, were this no simulation"),
        };
        self.speaker.utter(
            Name::Reflex,
            Finding {
                at,
                source: Some(source),
                targets: Vec::new(),
                family: first.family,
                technique: first.technique.into(),
                ratio,
                class: EvidenceClass::Behaviour,
                evidence,
                summary: format!(
                    "{source}{whom} reached {} within {window}; {limited}",
                    measured.join(", ")
                ),
            },
        )
    }

    fn returned(&mut self, record: &ReturnRecord) -> Option<Alert> {
        let (at, source) = (Ktime(record.now_ns), IpAddr::from(record.remote));
        let former = DecisionId(uuid::Uuid::from_bytes(record.decision));
        let again = record.reapplied_until_ns > 0;
        // What is in force again is always told: it must be decided anew before that lapses.
        let voice = &self.speaker.voice;
        if !again && !voice.may(source, Name::Probation, Family::Unknown, 1.0, at) {
            return None;
        }
        let action = u8::try_from(record.action).unwrap_or(0);
        let what = match action {
            ACTION_LIMIT => "its rate limit",
            ACTION_REDIRECT => "its redirection to the honeypot",
            _ => "its block",
        };
        let until = self.speaker.clock.wall(Ktime(record.reapplied_until_ns));
        let done = match (again, record.shadow) {
            (false, _) => "nothing is in force against it".to_owned(),
            (true, 0) => format!("{what} is in force again at once, until {until} unless renewed"),
            (true, _) => format!("{what} counts again at once, in simulation, until {until} unless renewed"),
        };
        let ended = if action == ACTION_WATCH {
            "was released from"
        } else {
            "outlived"
        };
        let alert = self.speaker.utter(
            Name::Probation,
            Finding {
                at,
                source: Some(source),
                targets: Vec::new(),
                family: Family::Unknown,
                technique: "return".into(),
                ratio: 1.0,
                class: EvidenceClass::Behaviour,
                evidence: vec![row("returns", 1.0, 1.0, "packets while on probation")],
                summary: format!("{source} returned while on probation: it {ended} decision {former}; {done}"),
            },
        );
        alert.map(|alert| Alert {
            former: Some(former),
            ..alert
        })
    }

    fn syn_flood(&mut self, record: &SynFloodRecord) -> Option<Alert> {
        let (at, begins) = (Ktime(record.now_ns), record.under_flood != 0);
        let target = Service {
            ip: IpAddr::from(record.local),
            port: record.port,
            proto: PROTO_TCP,
        };
        let key = (target.ip, target.port);
        let told = self.noticed.flooded.peek(&key).copied();
        let news = match told {
            None => begins,
            Some(told) if begins => at.since(told.at) >= self.noticed.realert_after,
            Some(told) => !told.over,
        };
        if !news {
            return None;
        }
        let half_open = record.syns.saturating_sub(record.completed);
        let limit = self.noticed.limits.syn_flood_half_open;
        let told_at = told.filter(|_| !begins).map_or(at, |told| told.at);
        self.noticed.flooded.insert(
            key,
            Told {
                at: told_at,
                over: !begins,
            },
        );
        let numbers = format!(
            "{} handshakes begun and {} completed within a second",
            record.syns, record.completed
        );
        let shown = place(&target);
        let summary = match (begins, record.answered) {
            (true, 0) => format!(
                "{shown} is under a SYN flood, {numbers} (limit {limit} half-open); nobody is blocked, as such sources are \
                 mostly forged, and the kernel programs answer no SYN with a cookie"
            ),
            (true, _) => format!(
                "{shown} is under a SYN flood, {numbers} (limit {limit} half-open); nobody is blocked, as such sources are \
                 mostly forged, and the kernel programs answer SYNs with cookies, so that real clients still connect"
            ),
            (false, _) => format!("{shown} is no longer under a SYN flood, {numbers}"),
        };
        self.speaker.utter(
            Name::SynFloodKernel,
            Finding {
                at,
                source: None,
                targets: vec![target],
                family: Family::Flood,
                technique: if begins { "syn flood" } else { "syn flood over" }.into(),
                ratio: if begins {
                    ratio(half_open.into(), limit.into())
                } else {
                    0.0
                },
                class: EvidenceClass::Behaviour,
                evidence: vec![row("half_open", half_open.into(), limit.into(), "handshakes/s")],
                summary,
            },
        )
    }
}

/// Measurement over limit; a plain crossing where the limit is not known.
fn ratio(value: u64, limit: u64) -> f64 {
    if limit == 0 {
        return 1.0;
    }
    (value as f64 / limit as f64).max(1.0)
}

#[cfg(test)]
#[path = "tests_notice.rs"]
mod tests;
