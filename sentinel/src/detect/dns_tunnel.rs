//! Data inside DNS: many queries much longer than names are, from one client to one server.
//!
//! Looks for: command and control and exfiltration over DNS (MITRE ATT&CK T1071.004, T1048.003, T1572). Statistical: it
//! never blocks, since the client may be the resolver of a whole office. Headers only: names, their entropy and record
//! types are not seen. Blind spots: tunnels with short queries (a download through TXT records), below the limit, over TCP,
//! over encrypted DNS, or spread over many servers. Known false positives: look-ups of reputation services that put
//! hashes into names; a host that sends many dynamic updates (RFC 2136).

use super::{Detector, Finding, Voice, narrow, place, row, share, span};
use crate::config::DnsTunnelConfig;
use crate::flow::{Bounded, Observation, Ring};
use crate::types::{Detector as Name, EvidenceClass, Family};
use sentinel_common::addr::Addr;
use std::time::Duration;

const SLOTS: usize = 12;
const DNS: u16 = 53;
/// Payload of the longest ordinary query: header 12, a whole `ip6.arpa` name 74, type and class 4, EDNS 11 and a cookie
/// 12 (RFC 1035, 3596, 6891, 7873).
const ORDINARY: u64 = 113;
/// Payload of the longest query there is: a name of 255, and 40 bytes for EDNS options. Longer ones are floods.
const LONGEST: u64 = 12 + 255 + 4 + 11 + 40;

/// What one client asks one server.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// Payload beyond ordinary queries, bytes.
    excess: Ring<SLOTS>,
    /// Queries that were longer.
    long: Ring<SLOTS>,
    /// Answers, and their payload.
    answers: Ring<SLOTS>,
    answered: Ring<SLOTS>,
}

/// Adds up, per client and server, what queries carry beyond the longest ordinary one, as long as they are answered.
#[derive(Debug)]
pub struct DnsTunnel {
    pairs: Bounded<(Addr, Addr), Pair>,
    window: Duration,
    slot_ns: u64,
    excess: u32,
    queries: u32,
}

impl DnsTunnel {
    /// Nobody seen yet.
    pub fn new(config: &DnsTunnelConfig, sources: usize) -> Self {
        Self {
            pairs: Bounded::new(Self::capacity(sources)),
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            excess: narrow(config.excess).max(1),
            queries: config.queries.max(1),
        }
    }

    /// Pairs of client and server: an eighth of `flow.max_sources`.
    const fn capacity(sources: usize) -> usize {
        share(sources, 8)
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<(Addr, Addr), Pair>::memory_bound(Self::capacity(sources))
    }

    fn finding(&self, o: &Observation, excess: u32, long: u32, answered: u32) -> Finding {
        let window = span(self.window);
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Tunnel,
            technique: "dns tunnel".into(),
            ratio: f64::from(excess) / f64::from(self.excess),
            class: EvidenceClass::Statistical,
            evidence: vec![
                row(
                    "query_bytes_in_excess",
                    excess.into(),
                    self.excess.into(),
                    format!("bytes/{window}"),
                ),
                row(
                    "long_queries",
                    long.into(),
                    self.queries.into(),
                    format!("queries/{window}"),
                ),
                row("answer_bytes", answered.into(), 0.0, format!("bytes/{window}")),
            ],
            summary: format!(
                "{} sent {} {long} queries of more than {ORDINARY} bytes within {window}, {excess} bytes in excess of that (the \
                 limit is {}), and got {answered} bytes of answers; names are not seen",
                o.source,
                place(&o.target),
                self.excess
            ),
        }
    }
}

impl Detector for DnsTunnel {
    fn name(&self) -> Name {
        Name::DnsTunnel
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        if !o.udp() || o.target.port != DNS {
            return None;
        }
        let key = (Addr::from(o.source), Addr::from(o.target.ip));
        let (ahead, back) = (&o.forward_delta, &o.reverse_delta);
        let most = ahead.packets.saturating_mul(LONGEST);
        let beyond = ahead.payload.saturating_sub(ahead.packets.saturating_mul(ORDINARY));
        let long = beyond > 0 && ahead.payload <= most;
        // Only who asked at length is kept.
        let pair = if long {
            self.pairs.touch_or(key, Pair::default)
        } else {
            self.pairs.touch(&key)?
        };
        pair.answers.add(o.at, self.slot_ns, narrow(back.packets));
        let answered = pair.answered.add(o.at, self.slot_ns, narrow(back.payload));
        if !long {
            return None;
        }
        let excess = pair.excess.add(o.at, self.slot_ns, narrow(beyond));
        let queries = pair.long.add(o.at, self.slot_ns, narrow(ahead.packets));
        let answers = pair.answers.sum(o.at, self.slot_ns);
        if excess < self.excess || queries < self.queries || answers < queries / 2 {
            return None;
        }
        let ratio = f64::from(excess) / f64::from(self.excess);
        voice
            .may_wonder(o.source, Name::DnsTunnel, Family::Tunnel, ratio, o.at)
            .then(|| self.finding(o, excess, queries, answered))
    }

    fn load(&self) -> (usize, u64) {
        (self.pairs.len(), self.pairs.evicted())
    }
}
