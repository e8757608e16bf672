//! Data inside ping: echo replies that are no echo, or requests of ever different length.
//!
//! Looks for: command and control over a non-application layer protocol (MITRE ATT&CK T1095), protocol tunnelling
//! (T1572). An echo reply returns the data of the request (RFC 792, RFC 4443 4.2): replies that carry more were made by a
//! program, and what goes out as our reply nobody can forge. That blocks who asked from outside. All else is an oddity:
//! replies to inside hosts can be forged, and so can requests of any length. Blind spots: a tunnel that keeps one length
//! both ways; other ICMP types; tunnels below the limits. Known false positives: path MTU probing by ping with many
//! lengths.

use super::sketch::Sketch;
use super::{Detector, Finding, Voice, narrow, row, share, span};
use crate::config::IcmpTunnelConfig;
use crate::flow::{Bounded, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family};
use sentinel_common::addr::Addr;
use sentinel_common::flow::PROTO_ICMP;
use std::time::Duration;

const SLOTS: usize = 10;
/// Replies must carry so many times what requests do.
const TIMES: u64 = 2;
/// Echoes per length and more: whoever probes the path MTU tries each length once or twice.
const EACH: u32 = 4;

/// Echoes between one asker and one asked.
#[derive(Clone, Debug, Default)]
struct Pair {
    asked: Ring<SLOTS>,
    answered: Ring<SLOTS>,
    echoes: Ring<SLOTS>,
    lengths: Sketch<SLOTS, 1>,
}

/// What spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Excess,
    Lengths,
}

/// Compares, per asker and asked, what echo requests carried with what came back, and counts their lengths.
#[derive(Debug)]
pub struct IcmpTunnel {
    pairs: Bounded<(Addr, Addr), Pair>,
    window: Duration,
    slot_ns: u64,
    excess: u32,
    lengths: u32,
    egress: bool,
}

impl IcmpTunnel {
    /// Nobody seen yet.
    pub fn new(config: &IcmpTunnelConfig, sources: usize, egress: bool) -> Self {
        Self {
            pairs: Bounded::new(Self::capacity(sources)),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            excess: narrow(config.excess).max(1),
            lengths: config.lengths.max(2),
            egress,
        }
    }

    /// Pairs of asker and asked: a sixteenth of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 16)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<(Addr, Addr), Pair>::memory_bound(Self::capacity(sources))
    }

    fn finding(&self, o: &Observation, sign: Sign, class: EvidenceClass, ratio: f64, pair: [u32; 3]) -> Finding {
        let window = span(self.window);
        let [asked, answered, lengths] = pair;
        let excess = answered.saturating_sub(asked);
        let (technique, summary) = match sign {
            Sign::Excess => (
                "icmp tunnel",
                format!(
                    "{} got {answered} bytes in echo replies from {} for {asked} bytes in requests within {window}, {excess} \
                     more than an echo can have (the limit is {})",
                    o.source, o.target.ip, self.excess
                ),
            ),
            Sign::Lengths => (
                "icmp lengths",
                format!(
                    "{} sent {} echoes of about {lengths} different lengths within {window}, {asked} bytes (the limit is {} \
                     lengths); ping has one or two",
                    o.source, o.target.ip, self.lengths
                ),
            ),
        };
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Tunnel,
            technique: technique.into(),
            ratio,
            class,
            evidence: vec![
                row(
                    "reply_bytes_in_excess",
                    excess.into(),
                    self.excess.into(),
                    format!("bytes/{window}"),
                ),
                row(
                    "distinct_lengths",
                    lengths.into(),
                    self.lengths.into(),
                    format!("lengths/{window}"),
                ),
                row("request_bytes", asked.into(), 0.0, format!("bytes/{window}")),
            ],
            summary,
        }
    }
}

/// Whether a flow is of echoes, and whether its initiator asked (`true`) or we saw an answer first.
fn echo(o: &Observation) -> Option<bool> {
    let (request, reply) = if o.target.proto == PROTO_ICMP {
        (8, 0)
    } else {
        (128, 129)
    };
    match (o.source_port, o.target.port) {
        (a, b) if (a, b) == (request, reply) => Some(true),
        (a, b) if (a, b) == (reply, request) => Some(false),
        _ => None,
    }
}

impl Detector for IcmpTunnel {
    fn name(&self) -> Name {
        Name::IcmpTunnel
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.icmp() {
            return None;
        }
        let asked_first = echo(o)?;
        let slot = o.at.0 / self.slot_ns.max(1);
        let pair = self
            .pairs
            .touch_or((Addr::from(o.source), Addr::from(o.target.ip)), Pair::default);
        let asked = pair.asked.add(o.at, self.slot_ns, narrow(o.forward_delta.payload));
        let answered = pair.answered.add(o.at, self.slot_ns, narrow(o.reverse_delta.payload));
        let echoes = pair.echoes.add(o.at, self.slot_ns, narrow(o.forward_delta.packets));
        pair.lengths.advance(slot);
        if o.forward_delta.packets == 1 {
            pair.lengths.add(&o.forward_delta.payload, slot);
        }
        let lengths = pair.lengths.count();
        let excess = answered.saturating_sub(asked);
        let told = [asked, answered, lengths];
        if asked_first && self.egress && excess >= self.excess && u64::from(answered) >= TIMES * u64::from(asked) {
            let ratio = f64::from(excess) / f64::from(self.excess);
            let (class, may) = if o.from_inside {
                let may = voice.may_wonder(o.source, Name::IcmpTunnel, Family::Tunnel, ratio, o.at);
                (EvidenceClass::Statistical, may)
            } else {
                let may = voice.may(o.source, Name::IcmpTunnel, Family::Tunnel, ratio, o.at);
                (EvidenceClass::Behaviour, may)
            };
            return may.then(|| self.finding(o, Sign::Excess, class, ratio, told));
        }
        if lengths < self.lengths || echoes < EACH * lengths {
            return None;
        }
        let ratio = f64::from(lengths) / f64::from(self.lengths);
        voice
            .may_wonder(o.source, Name::IcmpTunnel, Family::Tunnel, ratio, o.at)
            .then(|| self.finding(o, Sign::Lengths, EvidenceClass::Statistical, ratio, told))
    }

    fn load(&self) -> (usize, u64) {
        (self.pairs.len(), self.pairs.evicted())
    }
}
